//! Why an agent can't work at all. What goes wrong on the way into the fleet is no error here: the
//! machine takes note of it and knows what to do.

use std::io;

use crate::files::FileError;
use crate::keystore::KeyError;
use crate::store::StoreError;

/// Why an agent can't work at all.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AgentError {
    /// The state directory.
    #[error("the state directory can't be used")]
    Store(#[from] StoreError),
    /// The keys.
    #[error("the key store can't be used")]
    Key(#[from] KeyError),
    /// The journal: without it no step is taken, because a power cut could repeat it wrongly.
    #[error("the journal can't be read or written")]
    Journal(#[source] io::Error),
}

impl AgentError {
    /// What a person does next.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Store(StoreError::Busy { .. }) => {
                "stop the other agent, or give this one its own --state directory"
            }
            Self::Store(StoreError::File(FileError::ReadableByOthers { .. }))
            | Self::Key(KeyError::File(FileError::ReadableByOthers { .. })) => {
                "if nobody else can have read it: chmod 600; else make a new one"
            }
            Self::Store(StoreError::Json { .. }) => {
                "the file is damaged or not ours; restore it, or begin anew with `imprint agent reset`"
            }
            Self::Key(KeyError::Unreadable { .. }) => {
                "put the key back that was there; a device that lost its key needs a token bound to \
                 its hardware, and a factory reset"
            }
            Self::Store(_) | Self::Key(_) | Self::Journal(_) => {
                "check that the directory is on a writable disk with room, and belongs to this user"
            }
        }
    }
}
