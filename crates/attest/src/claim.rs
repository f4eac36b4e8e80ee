//! A claim certificate: shared by many devices, and on record here by its fingerprint.

use imprint_identity::UnixTime;

use crate::appraise::PeerCertificate;
use crate::key::KeyFingerprint;

/// Proof that the holder of a claim certificate is speaking. Only [`prove_claim`] makes one.
#[derive(Debug, Clone)]
pub struct ClaimHolder {
    der: Vec<u8>,
    key: KeyFingerprint,
}

impl ClaimHolder {
    /// The claim certificate, DER.
    #[must_use]
    pub fn der(&self) -> &[u8] {
        &self.der
    }

    /// Its key.
    #[must_use]
    pub const fn key(&self) -> KeyFingerprint {
        self.key
    }
}

/// Checks a certificate against the claim's certificate on record.
///
/// Who issued it is not looked at: what is on record byte for byte is the proof, and TLS has seen the
/// key at work. `grace_days`: so long after its end it is still heard, for devices that have lain on a
/// shelf.
pub fn prove_claim(
    peer: &PeerCertificate,
    on_record: &[u8],
    grace_days: u32,
    now: UnixTime,
) -> Result<ClaimHolder, ClaimDoubt> {
    if peer.der != on_record {
        return Err(ClaimDoubt::Other);
    }
    let certificate = peer.parsed.as_ref().ok_or(ClaimDoubt::Unreadable)?;
    if now < certificate.not_before() {
        return Err(ClaimDoubt::NotYetValid {
            from: certificate.not_before(),
        });
    }
    let end = certificate.not_after().plus(i64::from(grace_days) * 86_400);
    if now > end {
        return Err(ClaimDoubt::Expired {
            at: certificate.not_after(),
        });
    }
    Ok(ClaimHolder {
        der: peer.der.clone(),
        key: KeyFingerprint::of(certificate.spki_der()),
    })
}

/// What is doubtful about a claim certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ClaimDoubt {
    /// It is not the one on record.
    #[error("the claim certificate is not the one on record")]
    Other,
    /// It can't be read.
    #[error("the claim certificate can't be read")]
    Unreadable,
    /// Past its end, and past its grace.
    #[error("the claim certificate expired at {at}")]
    Expired {
        /// Its notAfter.
        at: UnixTime,
    },
    /// Not yet valid: one of the clocks is wrong.
    #[error("the claim certificate is not valid before {from}")]
    NotYetValid {
        /// Its notBefore.
        from: UnixTime,
    },
}
