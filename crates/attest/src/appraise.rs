//! Who is asking? The one check that every door goes through.

use imprint_identity::{DeviceId, HardwareId, IdentityStrength, UnixTime};
use imprint_pkix::certificate::Certificate;
use imprint_pkix::key::PublicKey;

use crate::signature::verify_signature;

/// What a device shows to say who it is.
#[derive(Debug, Clone)]
pub enum Evidence {
    /// A one-time token; the token itself was already turned into a keyed hash by the caller.
    Token {
        /// The hardware id that the device typed, if it typed one.
        asserted: Option<HardwareId>,
    },
    /// A client certificate whose private key signed this TLS handshake.
    Certificate(PeerCertificate),
    /// What a door's own part of the road has proven before: a signature by a shared key ([`crate::prove_sas`]),
    /// a TPM's statement ([`crate::tpm::prove_certified`]).
    Vouched {
        /// Whose it is.
        hardware: HardwareId,
        /// How strongly that was proven.
        strength: IdentityStrength,
    },
    /// The word of an operator at the admin interface, for a certificate issued by hand.
    Operator {
        /// The hardware id that the operator typed.
        hardware: HardwareId,
    },
    /// Nothing at all.
    Nothing,
}

/// A client certificate as TLS handed it over: possession of its key is proven, nothing else.
#[derive(Debug, Clone)]
pub struct PeerCertificate {
    /// The certificate in DER, as received.
    pub der: Vec<u8>,
    /// The same, read; `None` when it is not a certificate that we can read.
    pub parsed: Option<Certificate>,
}

/// What the registry knows that bears on the evidence.
#[derive(Debug, Clone, Default)]
pub struct Known<'a> {
    /// The token's record, if its keyed hash is on record.
    pub token: Option<KnownToken>,
    /// The record of the certificate that was shown, found by its serial number.
    pub certificate: Option<KnownCertificate>,
    /// Our own issuing authorities, current and former.
    pub authorities: &'a [Authority],
}

/// A token on record.
#[derive(Debug, Clone)]
pub struct KnownToken {
    /// The hardware id for which it was minted, if it was minted for one.
    pub bound: Option<HardwareId>,
}

/// A certificate on record.
#[derive(Debug, Clone)]
pub struct KnownCertificate {
    /// The certificate in DER, exactly as it was issued.
    pub der: Vec<u8>,
    /// Whose it is.
    pub device: DeviceId,
    /// That device's hardware.
    pub hardware: HardwareId,
    /// How strongly that hardware was proven when the device was enrolled.
    pub strength: IdentityStrength,
    /// So many days past its end it is still heard: for one that a device was born with.
    pub grace_days: u32,
}

/// One of our issuing authorities.
#[derive(Debug, Clone)]
pub struct Authority {
    /// Its name in DER, byte for byte as certificates carry it.
    pub subject_der: Vec<u8>,
    /// Its public key.
    pub public_key: PublicKey,
}

/// Proof that a device's evidence was checked and held. Only [`appraise`] makes one.
#[derive(Debug, Clone)]
pub struct Appraised {
    speaker: Speaker,
    hardware: HardwareId,
    strength: IdentityStrength,
}

/// In what capacity the device speaks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Speaker {
    /// The holder of a token that is on record.
    TokenHolder,
    /// A device that already has this name, by its certificate.
    Member(DeviceId),
    /// An operator, for a device.
    Operator,
    /// A device that its door's own part of the road has vouched for.
    Vouched,
}

impl Appraised {
    /// In what capacity the device speaks.
    #[must_use]
    pub const fn speaker(&self) -> &Speaker {
        &self.speaker
    }

    /// The hardware that the identity is bound to.
    #[must_use]
    pub const fn hardware(&self) -> &HardwareId {
        &self.hardware
    }

    /// How strongly the hardware id is proven. A typed id is `asserted`, whatever its source.
    #[must_use]
    pub const fn strength(&self) -> IdentityStrength {
        self.strength
    }
}

/// Turns evidence into proof, or says what is doubtful about it.
pub fn appraise(evidence: &Evidence, known: &Known<'_>, now: UnixTime) -> Result<Appraised, Doubt> {
    match evidence {
        Evidence::Token { asserted } => {
            let token = known.token.as_ref().ok_or(Doubt::TokenUnknown)?;
            appraise_token(asserted.as_ref(), token.bound.as_ref())
        }
        Evidence::Certificate(peer) => appraise_certificate(peer, known, now),
        Evidence::Operator { hardware } => Ok(Appraised {
            speaker: Speaker::Operator,
            hardware: hardware.clone(),
            strength: IdentityStrength::Asserted,
        }),
        Evidence::Vouched { hardware, strength } => Ok(Appraised {
            speaker: Speaker::Vouched,
            hardware: hardware.clone(),
            strength: *strength,
        }),
        Evidence::Nothing => Err(Doubt::NothingShown),
    }
}

fn appraise_token(
    asserted: Option<&HardwareId>,
    bound: Option<&HardwareId>,
) -> Result<Appraised, Doubt> {
    let hardware = match (asserted, bound) {
        (Some(asserted), Some(bound)) if asserted != bound => {
            return Err(Doubt::TokenForOther {
                asserted: asserted.clone(),
            });
        }
        (Some(hardware), _) | (None, Some(hardware)) => hardware.clone(),
        (None, None) => return Err(Doubt::HardwareMissing),
    };
    Ok(Appraised {
        speaker: Speaker::TokenHolder,
        hardware,
        // A token says that an operator expects this device; nothing on the chip has spoken.
        strength: IdentityStrength::Asserted,
    })
}

fn appraise_certificate(
    peer: &PeerCertificate,
    known: &Known<'_>,
    now: UnixTime,
) -> Result<Appraised, Doubt> {
    let Some(certificate) = &peer.parsed else {
        return Err(Doubt::CertificateUnreadable);
    };
    // A certificate that is on record byte for byte needs no chain: the record is the proof that
    // we issued it, and TLS has proven the key (one P-256 verification saved for each request).
    let on_record = known
        .certificate
        .as_ref()
        .filter(|record| record.der == peer.der);
    if on_record.is_none() {
        let issuer = known
            .authorities
            .iter()
            .find(|authority| authority.subject_der == certificate.issuer_der())
            .ok_or(Doubt::IssuerUnknown)?;
        verify_signature(
            &issuer.public_key,
            &certificate.signature_algorithm(),
            certificate.to_be_signed(),
            certificate.signature(),
        )
        .map_err(|_| Doubt::IssuerUnknown)?;
    }
    let grace = on_record.map_or(0, |record| record.grace_days);
    if now > certificate.not_after().plus(i64::from(grace) * 86_400) {
        return Err(Doubt::CertificateExpired {
            at: certificate.not_after(),
        });
    }
    if now < certificate.not_before() {
        return Err(Doubt::CertificateNotYetValid {
            from: certificate.not_before(),
        });
    }
    let record = on_record.ok_or(Doubt::CertificateNotInRegistry)?;
    Ok(Appraised {
        speaker: Speaker::Member(record.device.clone()),
        hardware: record.hardware.clone(),
        strength: record.strength,
    })
}

/// What is doubtful about the evidence. The registrar turns each into a refusal.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Doubt {
    /// No credential came with the request.
    #[error("no credential was shown")]
    NothingShown,
    /// No token with this keyed hash is on record.
    #[error("the token is not on record")]
    TokenUnknown,
    /// The token was minted for another hardware id.
    #[error("the token is bound to other hardware than {asserted}")]
    TokenForOther {
        /// What the device said it is.
        asserted: HardwareId,
    },
    /// Neither the device nor the token names a hardware id.
    #[error("neither the device nor the token names a hardware id")]
    HardwareMissing,
    /// TLS accepted the key, but the certificate is not one that we can read.
    #[error("the client certificate can't be read")]
    CertificateUnreadable,
    /// The certificate names an issuer that is not ours, or was not signed by it.
    #[error("the client certificate is not from an authority of ours")]
    IssuerUnknown,
    /// Ours, but past its end.
    #[error("the client certificate expired at {at}")]
    CertificateExpired {
        /// Its notAfter.
        at: UnixTime,
    },
    /// Ours, but not yet valid: one of the clocks is wrong.
    #[error("the client certificate is not valid before {from}")]
    CertificateNotYetValid {
        /// Its notBefore.
        from: UnixTime,
    },
    /// Signed by our authority, and the registry has no record of it.
    #[error("the client certificate is ours but not in the registry")]
    CertificateNotInRegistry,
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: UnixTime = UnixTime(1_800_000_000);

    fn hardware(text: &str) -> HardwareId {
        HardwareId::parse(text).unwrap()
    }

    fn token(asserted: Option<&str>, bound: Option<&str>) -> Result<Appraised, Doubt> {
        let evidence = Evidence::Token {
            asserted: asserted.map(hardware),
        };
        let token = Some(KnownToken {
            bound: bound.map(hardware),
        });
        appraise(
            &evidence,
            &Known {
                token,
                ..Known::default()
            },
            NOW,
        )
    }

    #[test]
    fn a_token_names_the_hardware_that_was_typed_or_bound() {
        for (asserted, bound, want) in [
            (Some("sn-1"), None, Ok("sn-1")),
            (None, Some("sn-2"), Ok("sn-2")),
            (Some("sn-3"), Some("sn-3"), Ok("sn-3")),
            (None, None, Err(Doubt::HardwareMissing)),
            (
                Some("sn-4"),
                Some("sn-5"),
                Err(Doubt::TokenForOther {
                    asserted: hardware("sn-4"),
                }),
            ),
        ] {
            let got = token(asserted, bound).map(|appraised| appraised.hardware().clone());
            assert_eq!(got, want.map(hardware), "{asserted:?} {bound:?}");
        }
    }

    #[test]
    fn a_typed_id_is_asserted_whatever_its_source() {
        let appraised = token(Some("stm32:0123456789ab0123456789ac"), None).unwrap();
        assert_eq!(appraised.strength(), IdentityStrength::Asserted);
    }

    #[test]
    fn nothing_and_unknown_tokens_are_doubtful() {
        let known = Known::default();
        assert_eq!(
            appraise(&Evidence::Nothing, &known, NOW).err(),
            Some(Doubt::NothingShown)
        );
        let evidence = Evidence::Token {
            asserted: Some(hardware("sn-1")),
        };
        assert_eq!(
            appraise(&evidence, &known, NOW).err(),
            Some(Doubt::TokenUnknown)
        );
    }
}
