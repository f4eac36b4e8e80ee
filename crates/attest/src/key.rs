//! Proof that the asker holds the private key: the certificate request's own signature.

use std::fmt;

use aws_lc_rs::digest;
use imprint_pkix::csr::Csr;
use imprint_pkix::key::PublicKey;

use crate::signature::{SignatureError, verify_signature};
use crate::weak::{WeakKey, check_key};

/// SHA-256 over a SubjectPublicKeyInfo in DER: the name under which the registry knows a key.
///
/// The key is the public key, never the request's bytes: a secure element signs the same request
/// differently each time.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyFingerprint(pub [u8; 32]);

impl KeyFingerprint {
    /// The fingerprint of a SubjectPublicKeyInfo.
    #[must_use]
    pub fn of(spki_der: &[u8]) -> Self {
        Self(sha256(spki_der))
    }
}

impl fmt::Display for KeyFingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for KeyFingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyFingerprint({self})")
    }
}

/// A public key whose private half signed the request that carried it. Only
/// [`prove_possession`] makes one.
#[derive(Debug, Clone)]
pub struct ProvenKey {
    public_key: PublicKey,
    fingerprint: KeyFingerprint,
}

impl ProvenKey {
    /// The key itself.
    #[must_use]
    pub const fn public_key(&self) -> &PublicKey {
        &self.public_key
    }

    /// SHA-256 over its SubjectPublicKeyInfo.
    #[must_use]
    pub const fn fingerprint(&self) -> KeyFingerprint {
        self.fingerprint
    }

    /// The subject key identifier for certificates on this key: the leftmost 160 bits of SHA-256
    /// over the BIT STRING contents (RFC 7093 section 2, method 1).
    #[must_use]
    pub fn subject_key_id(&self) -> [u8; 20] {
        subject_key_id(&self.public_key)
    }
}

/// The subject key identifier of any key (RFC 7093 section 2, method 1).
#[must_use]
pub fn subject_key_id(key: &PublicKey) -> [u8; 20] {
    let mut id = [0; 20];
    id.iter_mut()
        .zip(sha256(key.key_bits()))
        .for_each(|(to, from)| *to = from);
    id
}

/// Checks the signature that a request carries over itself (RFC 2986 section 4.2), over the bytes
/// as received: an unsorted attribute set would re-encode differently. Before that, whether the key
/// is one whose private half anybody could work out: its signature would prove nothing.
pub fn prove_possession(csr: &Csr) -> Result<ProvenKey, PossessionError> {
    let public_key = csr.public_key();
    check_key(public_key)?;
    verify_signature(
        public_key,
        &csr.signature_algorithm(),
        csr.to_be_signed(),
        csr.signature(),
    )?;
    Ok(ProvenKey {
        fingerprint: KeyFingerprint::of(public_key.spki_der()),
        public_key: public_key.clone(),
    })
}

/// The asker has not shown that the private key is theirs.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PossessionError {
    /// The signature is not the key's.
    #[error("the request's signature does not prove possession of its key")]
    Signature(#[from] SignatureError),
    /// The key is anybody's.
    #[error(transparent)]
    Weak(#[from] WeakKey),
}

pub(crate) fn sha256(bytes: &[u8]) -> [u8; 32] {
    let mut out = [0; 32];
    out.copy_from_slice(digest::digest(&digest::SHA256, bytes).as_ref());
    out
}
