//! What an operator does by hand: certificates from requests, certificates found outside.

use imprint_attest::{Evidence, KeyFingerprint, Known, PeerCertificate, appraise};
use imprint_identity::{DeviceId, HardwareId, Source, UnixTime};
use imprint_pkix::certificate::Certificate;

use crate::claims::definition::DefinitionError;
use crate::enroll::{Chance, Channel, Enrolled, EnrollmentRequest, Kind, Origin, Registrar, Shown};
use crate::ledger::{Adopted, Adoption, DeviceRecord, Ledger, LedgerError};
use crate::pace::Ticks;
use crate::refusal::Refusal;
use crate::serial::Serial;
use crate::signer::{Signer, SignerError};

/// Why an operator's order can't be carried out.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OperatorError {
    /// No such product.
    #[error("there is no product {name:?}; products come from `imprint apply`")]
    NoProduct {
        /// The name that was given.
        name: String,
    },
    /// The product wants every token bound to hardware.
    #[error("this product's tokens are bound: name the hardware with `--hardware`")]
    TokensAreBound,
    /// The product's pattern says that it is none of its own.
    #[error("{hardware} does not fit the pattern {pattern:?} of product {product:?}")]
    HardwareUnfit {
        /// The hardware.
        hardware: Box<HardwareId>,
        /// The product.
        product: String,
        /// Its pattern.
        pattern: String,
    },
    /// None, or too many.
    #[error("order 1 to {most} tokens at a time")]
    TokenCount {
        /// How many at most.
        most: u32,
    },
    /// No such claim.
    #[error("there is no claim {name:?}; claims come from `imprint apply` or `imprint claim new`")]
    NoClaim {
        /// The name that was given.
        name: String,
    },
    /// The claim's or its certificate's state does not allow it.
    #[error("claim {name:?} can't do this now: {state}")]
    ClaimNotNow {
        /// The claim.
        name: String,
        /// Its state as a word.
        state: &'static str,
    },
    /// Not a request for a certificate, or not a good one.
    #[error("this request can't be signed: {reason}")]
    NotARequest {
        /// Why.
        reason: String,
    },
    /// The certificate would end before it begins, or outlive its issuer.
    #[error("the lifetime has to be at least a second, within that of the issuing authority")]
    Lifetime,
    /// What the fleet file would have refused.
    #[error(transparent)]
    Definition(#[from] DefinitionError),
    /// Not a certificate.
    #[error("this is no certificate that can be read")]
    NotACertificate,
    /// Not ours, or not good.
    #[error("this certificate can't be adopted: {reason}")]
    NotAdoptable {
        /// Why.
        reason: String,
    },
    /// Something of it is on record otherwise.
    #[error("this certificate can't be adopted: its {what} is on record for something else")]
    Conflict {
        /// What.
        what: &'static str,
    },
    /// The ledger.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// The signer.
    #[error(transparent)]
    Signer(#[from] SignerError),
}

impl<L: Ledger, S: Signer> Registrar<L, S> {
    /// Issues a certificate from a request that came by hand: the same road, with an operator's word
    /// as evidence and `by-hand` on the record.
    pub async fn device_issue(
        &self,
        csr_der: Vec<u8>,
        product: &str,
        hardware: HardwareId,
        actor: &str,
        chance: Chance<'_>,
        now: UnixTime,
    ) -> Result<Enrolled, Refusal> {
        let request = EnrollmentRequest {
            kind: Kind::Enroll,
            product: Some(product.to_owned()),
            shown: Shown::Operator { hardware },
            csr: csr_der,
            channel: Channel::Operator,
            origin: Origin {
                at: Ticks::default(),
                door: "admin",
                address: actor.to_owned(),
            },
        };
        self.enroll(request, chance, now).await
    }

    /// Takes a certificate of ours that the registry does not know into it. `hardware` is taken from
    /// the certificate when it carries a hardwareModuleName of a source that we know.
    pub async fn device_adopt(
        &self,
        certificate_der: Vec<u8>,
        product: &str,
        hardware: Option<HardwareId>,
        actor: &str,
        now: UnixTime,
    ) -> Result<DeviceRecord, OperatorError> {
        let products = self.ledger().product_list().await?;
        if !products.iter().any(|known| known.name == product) {
            return Err(OperatorError::NoProduct {
                name: product.to_owned(),
            });
        }
        let certificate =
            Certificate::parse(&certificate_der).map_err(|_| OperatorError::NotACertificate)?;
        let not_adoptable = |reason: &str| OperatorError::NotAdoptable {
            reason: reason.to_owned(),
        };
        self.is_ours(&certificate, &certificate_der, now)?;
        if certificate.is_ca() {
            return Err(not_adoptable("it is an authority's"));
        }
        let serial = Serial::from_octets(certificate.serial())
            .ok_or_else(|| not_adoptable("its serial number does not have 20 octets"))?;
        let device = certificate
            .common_name()
            .and_then(|name| name.parse::<DeviceId>().ok())
            .ok_or_else(|| not_adoptable("its common name is no device's name"))?;
        let hardware = hardware
            .or_else(|| hardware_of(&certificate))
            .ok_or_else(|| not_adoptable("it names no hardware; give it with --hardware"))?;
        let key = certificate
            .public_key()
            .map_err(|_| not_adoptable("its key can't be used"))?;
        let issuer = self
            .authorities()
            .issuers()
            .iter()
            .find(|issuer| issuer.certificate.subject_der() == certificate.issuer_der())
            .ok_or_else(|| not_adoptable("its issuer is not loaded"))?;
        let adoption = Adoption {
            device,
            hardware,
            product: product.to_owned(),
            serial,
            issuer: issuer.name.clone(),
            key: KeyFingerprint::of(key.spki_der()),
            to_be_signed: certificate.to_be_signed().to_vec(),
            not_before: certificate.not_before(),
            not_after: certificate.not_after(),
            der: certificate_der,
        };
        match self.ledger().device_adopt(adoption, actor, now).await? {
            Adopted::Done(record) => Ok(record),
            Adopted::Conflict { what } => Err(OperatorError::Conflict { what }),
        }
    }

    /// Appraised like any certificate that a device shows: the one doubt that an adoption is for is
    /// that the registry does not know it.
    fn is_ours(
        &self,
        certificate: &Certificate,
        der: &[u8],
        now: UnixTime,
    ) -> Result<(), OperatorError> {
        let evidence = Evidence::Certificate(PeerCertificate {
            der: der.to_vec(),
            parsed: Some(certificate.clone()),
        });
        let known = Known {
            authorities: self.authorities().known(),
            ..Known::default()
        };
        match appraise(&evidence, &known, now) {
            Ok(_) | Err(imprint_attest::Doubt::CertificateNotInRegistry) => Ok(()),
            Err(doubt) => Err(OperatorError::NotAdoptable {
                reason: doubt.to_string(),
            }),
        }
    }
}

pub(crate) fn hardware_of(certificate: &Certificate) -> Option<HardwareId> {
    let (hw_type, raw) = certificate.hardware_module()?;
    HardwareId::new(Source::from_hw_type_octets(hw_type)?, raw).ok()
}
