//! What an agent is told at its start. The binary reads flags, files and environment; this crate
//! reads none.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use imprint_est::Secret;
use imprint_identity::{HardwareId, UnixTime};

use crate::http::{Endpoint, Timeouts};
use crate::keystore::KeyAlgorithm;
use crate::tls::Suites;
use crate::trust::Roots;

/// One device.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Where its files are.
    pub state: PathBuf,
    /// The server.
    pub server: Endpoint,
    /// The pinned roots.
    pub roots: Arc<Roots>,
    /// The product, as the label in EST paths.
    pub product: Option<String>,
    /// Who it says it is.
    pub hardware: HardwareId,
    /// The bootstrap credential. Not needed once it is kept in the state directory, nor after that.
    pub token: Option<Secret>,
    /// The kind of new keys.
    pub key: KeyAlgorithm,
    /// Whether a renewal takes a new key.
    pub rekey: bool,
    /// When this build was made, and what its product says of failures.
    pub patience: imprint_device::Settings,
    /// Waits are divided by this: 1 for a device, more for a demonstration.
    pub wait_divisor: u32,
    /// How long to wait for the network.
    pub timeouts: Timeouts,
    /// With which cryptography.
    pub suites: Suites,
}

/// What a device can't make itself: time and chance. The binary supplies both.
pub struct Surroundings {
    /// The clock, when there is one to be believed; `None` without. A device whose clock starts in
    /// 1970 or was set by hand has none, and takes the server's time.
    pub clock: Box<dyn Fn() -> Option<UnixTime> + Send + Sync>,
    /// 32 random bits, for the jitter of waits.
    pub chance: Box<dyn Fn() -> u32 + Send + Sync>,
}

impl fmt::Debug for Surroundings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Surroundings")
    }
}
