//! TPM 2.0 without a TPM: what a server does with a device's chip (TCG TPM 2.0 Library, parts 1
//! and 2).
//!
//! [`Public`] reads a key's public area; [`EndorsementKey`], [`StorageKey`] and [`AttestationKey`] are
//! public areas whose attributes hold. [`make_credential`] seals a secret so that only the TPM with
//! that endorsement key opens it, and only for the key of that name; [`import_blob`] does so with a
//! key for HMAC, in the form that devices of Azure DPS import. [`prove_certified`] and [`prove_quote`]
//! check what a TPM has signed, [`prove_endorsement`] follows an endorsement key's certificate to its
//! maker.
//!
//! Randomness is an argument, but for the mask inside RSA-OAEP and nothing else, which the
//! cryptography library draws itself.

mod attested;
mod credential;
mod endorsement;
mod import;
mod kdf;
mod public;
mod read;
#[cfg(test)]
mod vectors;

pub use attested::{Certified, Quoted, prove_certified, prove_quote};
pub use credential::{Credential, MAX_SECRET, SealEntropy, make_credential};
pub use endorsement::{Endorsed, EndorsementDoubt, prove_endorsement};
pub use import::{ImportEntropy, import_blob};
pub use public::{
    AttestationKey, Attributes, Curve, EndorsementKey, Hash, Name, Public, StorageKey, TpmKind,
};
pub use read::TpmError;
