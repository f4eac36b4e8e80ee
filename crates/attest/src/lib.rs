//! Evidence becomes proof here or nowhere (RFC 9334).
//!
//! A door collects *evidence*: a one-time token, a certificate whose key TLS has seen at work, a
//! signature by a shared key, a TPM's statement ([`tpm`]), the word of an operator. [`appraise`] checks it against what the registry knows and yields
//! [`Appraised`], which no other code can make; the road asks for that type and so cannot forget
//! the check. [`prove_possession`] does the same for the key in a certificate request.
//!
//! Pure: facts and time are arguments. What a token's *state* permits is not decided here but by
//! the registrar; this crate decides only who is speaking.

mod appraise;
mod chain;
mod claim;
mod key;
mod shared_key;
mod signature;
mod token;
pub mod tpm;
mod weak;

pub use appraise::{
    Appraised, Authority, Doubt, Evidence, Known, KnownCertificate, KnownToken, PeerCertificate,
    Speaker, appraise,
};
pub use chain::{ChainDoubt, Chained, issuers_of, prove_chain};
pub use claim::{ClaimDoubt, ClaimHolder, prove_claim};
pub use key::{KeyFingerprint, PossessionError, ProvenKey, prove_possession, subject_key_id};
pub use shared_key::{
    ExpiryUnit, GroupKey, KeyHolder, KeySlot, KnownKeys, SasEvidence, SharedKey, SharedKeyDoubt,
    SharedKeyLength, answer as answer_challenge, prove_answer, prove_sas,
};
pub use signature::{SignatureError, verify_signature};
pub use token::{Token, TokenTextError};
pub use weak::{WeakKey, check_key};
