//! What can be wrong with a key directory, and what to do about it.

use std::io;
use std::path::PathBuf;

/// Why keys can't be made or used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    /// The system refused.
    #[error("{}: can't {act} it", path.display())]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// What was tried.
        act: &'static str,
        /// The system's answer.
        source: io::Error,
    },
    /// Something is there already, and keys are never overwritten.
    #[error("{}: it exists already and is left as it is", path.display())]
    Exists {
        /// What is there.
        path: PathBuf,
    },
    /// Others than the owner may read or change it.
    #[error("{}: its mode is {mode:03o}; others must have no access (chmod {wanted:03o})", path.display())]
    Open {
        /// The file or directory.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
        /// What they should be.
        wanted: u32,
    },
    /// Not a key file of ours.
    #[error("{}: this is no sealed key: {what}", path.display())]
    NotAKey {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        what: &'static str,
    },
    /// Another seal, another name, or altered.
    #[error("{}: it does not open with this seal under this name; was `seal.key` replaced or the file renamed?", path.display())]
    Sealed {
        /// The file.
        path: PathBuf,
    },
    /// Made for tests.
    #[error("{}: this key was made for tests; a server that devices trust must not use it", path.display())]
    TestKey {
        /// The file.
        path: PathBuf,
    },
    /// A name that can't be a key's.
    #[error(
        "{name:?} can't name a key: use 1 to 64 of a-z, 0-9 and '-'; `seal` and `token` are taken"
    )]
    Name {
        /// The name that was given.
        name: String,
    },
    /// Text that is no seal.
    #[error("a seal is 64 hexadecimal digits (32 bytes)")]
    SealText,
    /// The cryptographic library did not do it.
    #[error("the cryptographic library could not {act}")]
    Crypto {
        /// What it was asked to do.
        act: &'static str,
    },
}
