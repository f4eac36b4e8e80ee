//! The [`Signer`] on sealed key files: the software key store that Imprint comes with.
//!
//! A directory, readable by its owner alone, holds
//!
//! ```text
//! seal.key      32 random bytes, or not there: then the caller hands the seal in
//! token.key     sealed: the key that turns tokens into what the ledger keeps of them
//! <name>.key    sealed: an authority's ECDSA key
//! ```
//!
//! A sealed file says nothing and signs nothing without the seal, and it does not open under another
//! name. Keys are opened once, at start: signing touches no disk.
//!
//! Keys made for tests carry that mark inside the sealed part, where no editor reaches it.
//! [`KeySigner::open`] refuses them unless the caller says that test keys are welcome: an authority
//! from a test bench never ends up in front of a fleet unnoticed.
//!
//! [`Signer`]: imprint_registrar::Signer

mod container;
mod directory;
mod error;
mod file;
mod seal;
mod signer;

pub use container::KeyAlgorithm;
pub use directory::KeyDirectory;
pub use error::KeyError;
pub use seal::Seal;
pub use signer::KeySigner;
