//! A factory reset: the device forgets who it is in the fleet.
//!
//! ```text
//! written down   a reset has begun: whatever starts next finishes it first
//! deleted        both keys, both credentials, what a template said, what ties RegisterThing to a
//!                certificate, for which hardware the directory is, the last refusal, leftovers of cuts
//! written down   the device is blank
//! kept           token and claim, if there are any; the journal
//! ```
//!
//! Keys go first: whoever takes the disk out in the middle finds certificates without keys and never
//! keys without a record that they are to go.

use std::path::Path;

use imprint_device::file::FileJournal;
use imprint_device::{Action, Device, Event, Place, Settings, Slot};
use imprint_identity::UnixTime;

use crate::error::AgentError;
use crate::keystore::{FileKeys, KeyAlgorithm, KeyError, KeyStore};
use crate::store::{StateDir, StoreError};

/// What a factory reset found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reset {
    /// There is no state directory: the device is blank already.
    Nothing,
    /// The device is blank now.
    Done {
        /// A token or a claim is still there, and will be used at the next start.
        bootstrap_kept: bool,
    },
}

/// Resets the device whose keys are files in the state directory at `state`, also where its other files
/// are damaged. After a power cut at any instant it may be asked for again, and an agent that is started
/// instead finishes it.
///
/// The fleet is not told, and still knows the device: `imprint device release` there lets it in again.
pub fn reset(state: &Path) -> Result<Reset, AgentError> {
    let Some(store) = StateDir::look(state) else {
        return Ok(Reset::Nothing);
    };
    let _lock = store.lock()?;
    // Nothing is asked of anybody, so neither the time nor a product's patience matters.
    let patience = Settings::new(UnixTime(0));
    let journal = FileJournal::new(store.path());
    let mut device = Device::wake(journal, patience).map_err(AgentError::Journal)?;
    let keys = FileKeys::open(&store.keys_path(), KeyAlgorithm::P256)?;
    let mut event = Event::FactoryReset;
    loop {
        let action = device.tell(&event, 0).map_err(AgentError::Journal)?;
        if action != Action::Wipe {
            break;
        }
        wipe(&store, &keys)?;
        event = Event::Wiped;
    }
    debug_assert_eq!(device.record().place, Place::Blank);
    Ok(Reset::Done {
        bootstrap_kept: store.has_bootstrap()?,
    })
}

/// Deletes what a reset deletes. Safe to repeat, from wherever it was interrupted.
pub(crate) fn wipe(store: &StateDir, keys: &dyn KeyStore) -> Result<(), WipeError> {
    for slot in Slot::ALL {
        keys.discard(slot)?;
    }
    store.forget_leftovers()?;
    for slot in Slot::ALL {
        store.forget_credential(slot)?;
    }
    Ok(store.forget_setup()?)
}

/// Something can't be deleted.
#[derive(Debug, thiserror::Error)]
pub(crate) enum WipeError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Key(#[from] KeyError),
}

impl From<WipeError> for AgentError {
    fn from(error: WipeError) -> Self {
        match error {
            WipeError::Store(error) => error.into(),
            WipeError::Key(error) => error.into(),
        }
    }
}
