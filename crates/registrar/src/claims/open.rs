//! The beginning of a registration: are the ownership token and the template good?

use imprint_identity::UnixTime;

use super::arrive::ClaimSpeaker;
use super::definition::Template;
use super::permit::template_is_good;
use super::{fingerprint_of, ownership};
use crate::enroll::{Origin, Registrar};
use crate::ledger::{
    CertificateState, ClaimRecord, KeyFingerprint, Ledger, PendingRecord, PendingState,
    RegisteredRecord, RegistrationFacts, RegistrationQuery,
};
use crate::permit::device_is_good;
use crate::product::Product;
use crate::refusal::{Code, Refusal};
use crate::serial::Serial;
use crate::signer::Signer;

/// A registration that may begin: claim, template and ownership token are good. Only
/// [`Registrar::claim_open`] makes one, and [`Registrar::claim_register`] asks for it.
#[derive(Debug, Clone)]
pub struct Opening {
    /// The template; `None` is the product's own, with the hardware id in parameter `SerialNumber` and
    /// the device's name ([`super::device_name`]) as the thing's.
    pub template: Option<Template>,
    /// The product.
    pub product: Product,
    /// The certificate that is to be the device's, DER.
    pub certificate: Vec<u8>,
    /// SHA-256 of it, in hex: `AWS::IoT::Certificate::Id`.
    pub certificate_id: String,
    /// What this token has registered already, if it has: the same thing gets the same answer.
    pub registered: Option<RegisteredRecord>,
    pub(super) template_name: String,
    pub(super) speaker: ClaimSpeaker,
    pub(super) serial: Serial,
    pub(super) key: KeyFingerprint,
}

impl Opening {
    /// The claim.
    #[must_use]
    pub const fn speaker(&self) -> &ClaimSpeaker {
        &self.speaker
    }

    /// The template's name; the product's for a product's own.
    #[must_use]
    pub fn template_name(&self) -> &str {
        &self.template_name
    }
}

impl<L: Ledger, S: Signer> Registrar<L, S> {
    /// Begins a registration (`RegisterThing`). Checked in the order of AWS: the template, then the
    /// token. Nothing is written.
    pub async fn claim_open(
        &self,
        speaker: &ClaimSpeaker,
        token: &str,
        template: &str,
        origin: &Origin,
        now: UnixTime,
    ) -> Result<Opening, Refusal> {
        let outcome = self.open(speaker, token, template, now).await;
        self.noted(outcome, speaker, origin, now)
    }

    async fn open(
        &self,
        speaker: &ClaimSpeaker,
        token: &str,
        template: &str,
        now: UnixTime,
    ) -> Result<Opening, Refusal> {
        let serial = ownership::serial_in(self.signer(), token, speaker.name()).await;
        let query = RegistrationQuery {
            serial: serial.as_ref().ok().copied(),
            template: Some(template.to_owned()),
            ..RegistrationQuery::default()
        };
        let facts = self.claim_facts(speaker, query, now).await?;
        let claim = facts.claim.as_ref().ok_or(Code::ClaimUnknown)?;
        let document = template_is_good(template, &facts, claim)?.cloned();
        let serial = serial?;
        let pending = pending_is_good(&facts, claim, now)?;
        let certificate = pending.der.clone().ok_or(Code::OwnershipInvalid)?;
        Ok(Opening {
            template: document,
            product: facts.product.clone().ok_or(Code::ProductUnknown)?,
            certificate_id: fingerprint_of(&certificate).to_string(),
            certificate,
            registered: pending.registered.clone(),
            template_name: template.to_owned(),
            speaker: speaker.clone(),
            serial,
            key: pending.key,
        })
    }
}

/// Whether a pending certificate may be registered, or has been and is still good.
pub(super) fn pending_is_good<'a>(
    facts: &'a RegistrationFacts,
    claim: &ClaimRecord,
    now: UnixTime,
) -> Result<&'a PendingRecord, Refusal> {
    let invalid = |why: String| Refusal::new(Code::OwnershipInvalid).detail(why);
    let pending = facts
        .pending
        .as_ref()
        .filter(|pending| pending.claim == claim.claim.name)
        .ok_or_else(|| invalid("its certificate is not on record".into()))?;
    let about = |refusal: Refusal| match &pending.registered {
        Some(registered) => refusal.about(registered.device.as_str()),
        None => refusal,
    };
    if pending.state == PendingState::Registered {
        device_is_good(facts.key_owner.as_ref())?;
    }
    match (pending.state, pending.certificate_state) {
        (PendingState::Ended, _) => Err(invalid(format!(
            "certificate {} was not registered within its time and has been revoked",
            pending.serial
        ))),
        (_, CertificateState::Superseded) => Err(about(Code::CertificateSuperseded.into())),
        (_, CertificateState::Revoked | CertificateState::Void) => {
            Err(about(Code::CertificateRevoked.into()))
        }
        _ if now > pending.not_after => Err(about(Code::CertificateExpired.into())),
        (_, CertificateState::Intended) => Err(invalid("its certificate was never given".into())),
        (_, CertificateState::Issued | CertificateState::Active) => Ok(pending),
    }
}
