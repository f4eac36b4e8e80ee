//! The registration of a pending certificate: the device is named, permitted and settled here.

use imprint_identity::{DeviceId, HardwareId, IdentityStrength, UnixTime};

use super::arrive::ClaimSpeaker;
use super::open::{Opening, pending_is_good};
use super::permit::{Join, Joining, may_join, template_is_good, thing_change};
use super::thing::ThingSpec;
use crate::enroll::{ATTEMPTS, Chance, Origin, Registrar, random};
use crate::issue::name_of;
use crate::ledger::{
    ClaimAlarm, ClaimAlarmKind, Claimed, Ledger, PendingRecord, PendingState, Registered,
    RegistrationCertificate, RegistrationFacts, RegistrationGrant, RegistrationQuery, Wait,
};
use crate::product::Product;
use crate::refusal::{Code, Refusal};
use crate::serial::EnrollmentId;
use crate::signer::Signer;

/// What the door has made of a request by evaluating its template.
#[derive(Debug, Clone)]
pub struct Registration {
    /// The device's hardware id, as the device says it: nothing on the chip has spoken.
    pub hardware: HardwareId,
    /// The thing, if the template makes one.
    pub thing: Option<ThingSpec>,
    /// The answer, whole, as the device will get it now and whenever it asks again.
    pub answer: Vec<u8>,
}

/// The name that a device of this product gets, unless it has one: for the thing and the answer of a
/// product's own template.
pub fn device_name(product: &Product, hardware: &HardwareId) -> Result<DeviceId, Refusal> {
    name_of(product, hardware)
}

impl<L: Ledger, S: Signer> Registrar<L, S> {
    /// Registers a device with its pending certificate, in one transaction with its thing and the
    /// answer. The same token for the same thing and hardware gets the answer that was given first,
    /// byte for byte; for another one it is refused.
    pub async fn claim_register(
        &self,
        opening: &Opening,
        registration: &Registration,
        origin: &Origin,
        chance: Chance<'_>,
        now: UnixTime,
    ) -> Result<Registered, Refusal> {
        let outcome = self
            .register(opening, registration, origin, chance, now)
            .await;
        self.noted(outcome, &opening.speaker, origin, now)
    }

    async fn register(
        &self,
        opening: &Opening,
        registration: &Registration,
        origin: &Origin,
        chance: Chance<'_>,
        now: UnixTime,
    ) -> Result<Registered, Refusal> {
        let enrollment = EnrollmentId(random(chance));
        for _ in 0..ATTEMPTS {
            // 1. Recall: what do we know of this claim, certificate, hardware and thing?
            let query = RegistrationQuery {
                serial: Some(opening.serial),
                template: Some(opening.template_name.clone()),
                hardware: Some(registration.hardware.clone()),
                thing: registration.thing.as_ref().map(|thing| thing.name.clone()),
                ..RegistrationQuery::default()
            };
            let facts = self.claim_facts(&opening.speaker, query, now).await?;
            let claim = facts.claim.as_ref().ok_or(Code::ClaimUnknown)?;
            template_is_good(&opening.template_name, &facts, claim)?;
            let pending = pending_is_good(&facts, claim, now)?;

            // 2. The same registration has its answer already; another one by this token has none.
            if let Some(answered) = answered(pending, &facts, opening, registration)? {
                return Ok(answered);
            }

            // 3. Permit: may this device join, and what will its thing be?
            let joining = Joining {
                hardware: &registration.hardware,
                strength: IdentityStrength::Asserted,
                key: opening.key,
                listed_only: claim.claim.allowlist,
            };
            let join = match may_join(&joining, &facts, now) {
                Ok(join) => join,
                Err(refusal) => {
                    let speaker = &opening.speaker;
                    let other_product = facts
                        .device
                        .as_ref()
                        .is_some_and(|device| device.product != claim.claim.product);
                    if !other_product {
                        self.brake(&refusal, speaker, &joining, origin, now).await;
                    }
                    return Err(refusal);
                }
            };
            let device = match join {
                Join::Register(device) => device,
                Join::Wait(device) => {
                    let wait = waiting(enrollment, &device, &joining, &facts, origin);
                    self.wait(wait, now).await?;
                    continue;
                }
            };
            let thing = registration.thing.as_ref();
            let thing_change = thing
                .map(|spec| thing_change(spec, &device, &facts))
                .transpose()?;

            // 4. Newcomers come in at the fleet's pace, claims or not.
            let product = facts.product.as_ref().ok_or(Code::ProductUnknown)?;
            self.paced(product, &registration.hardware, origin)?;

            // 5. Register, in one transaction.
            let grant = RegistrationGrant {
                enrollment,
                hardware: registration.hardware.clone(),
                strength: joining.strength,
                product: claim.claim.product.clone(),
                device_version: facts.device.as_ref().map(|known| known.version),
                key: opening.key,
                certificate: RegistrationCertificate::Pending {
                    claim: claim.claim.name.clone(),
                    shown: opening.speaker.fingerprint(),
                    serial: opening.serial,
                    answer: registration.answer.clone(),
                },
                template: opening.template_name.clone(),
                thing: thing_change,
                held: thing.is_some_and(|thing| thing.inactive),
                listed: facts.allowed,
                origin_of_request: origin.clone(),
                device,
            };
            let name = grant.device.clone();
            match self.ledger().device_register(grant, now).await? {
                Claimed::Done(registered) => return Ok(registered),
                Claimed::Changed => {
                    if facts.device.is_none() {
                        self.name_is_free(&name, &registration.hardware).await?;
                    }
                }
                Claimed::UsedUp => return Err(Code::ClaimUsedUp.into()),
                Claimed::Limited { seconds } => {
                    return Err(Refusal::new(Code::ClaimLimited).after(seconds));
                }
            }
        }
        Err(Code::Busy.into())
    }

    /// Puts a device on the list that an operator approves from. `Ok`: the facts have changed.
    pub(super) async fn wait(&self, wait: Wait, now: UnixTime) -> Result<(), Refusal> {
        let device = wait.device.clone();
        match self.ledger().enrollment_wait(wait, now).await? {
            crate::ledger::Waited::Changed => Ok(()),
            crate::ledger::Waited::Listed => {
                Err(Refusal::new(Code::ApprovalPending).about(device.as_str()))
            }
        }
    }

    /// Whether it is this device's turn. What tells devices apart here is what they say they are: keys
    /// that the server makes are new each time.
    pub(super) fn paced(
        &self,
        product: &Product,
        hardware: &HardwareId,
        origin: &Origin,
    ) -> Result<(), Refusal> {
        let who = super::fingerprint_of(hardware.text().as_bytes()).0;
        self.pace(product, &who, origin)
            .map_err(|refusal| refusal.about(hardware.text().as_str()))
    }

    /// Counts what would show that a claim's key has leaked. The refusal stands whether or not it
    /// could be counted.
    async fn brake(
        &self,
        refusal: &Refusal,
        speaker: &ClaimSpeaker,
        joining: &Joining<'_>,
        origin: &Origin,
        now: UnixTime,
    ) {
        let kind = match refusal.code {
            Code::HardwareNotAllowed => ClaimAlarmKind::UnknownHardware,
            Code::DeviceExists => ClaimAlarmKind::TwoKeys,
            _ => return,
        };
        tracing::warn!(
            claim = speaker.name(),
            key = %joining.key,
            address = origin.address,
            "an alarm on a claim: {refusal}"
        );
        let alarm = ClaimAlarm {
            claim: speaker.name().to_owned(),
            kind,
            hardware: joining.hardware.clone(),
            key: joining.key,
            address: origin.address.clone(),
        };
        match self.ledger().claim_alarm(alarm, now).await {
            Ok(Some(crate::ledger::ClaimState::Frozen)) => {
                tracing::error!(claim = speaker.name(), "the claim is frozen");
            }
            Ok(_) => {}
            Err(error) => tracing::warn!(%error, "an alarm could not be kept"),
        }
    }
}

/// What a token that has registered something answers: the same to the same, a no to any other.
fn answered(
    pending: &PendingRecord,
    facts: &RegistrationFacts,
    opening: &Opening,
    registration: &Registration,
) -> Result<Option<Registered>, Refusal> {
    if pending.state != PendingState::Registered {
        return Ok(None);
    }
    let registered = pending.registered.as_ref().ok_or(Code::OwnershipUsed)?;
    let thing = registration.thing.as_ref().map(|thing| &thing.name);
    let same = registered.hardware == registration.hardware
        && registered.template == opening.template_name
        && registered.thing.as_ref() == thing;
    let device = facts
        .key_owner
        .as_ref()
        .filter(|owner| same && owner.id == registered.device);
    match device {
        Some(device) => Ok(Some(Registered {
            device: device.clone(),
            answer: registered.answer.clone(),
            again: true,
        })),
        None => Err(Refusal::new(Code::OwnershipUsed)
            .detail(format!(
                "it registered {} as {} by template {}, and {} was to be registered by {}",
                registered.device,
                registered.thing.as_deref().unwrap_or("no thing"),
                registered.template,
                thing.map_or(registration.hardware.text().as_str(), |name| name.as_str()),
                opening.template_name
            ))
            .about(registered.device.as_str())),
    }
}

/// What is written down for a device that waits for approval.
pub(super) fn waiting(
    enrollment: EnrollmentId,
    device: &DeviceId,
    joining: &Joining<'_>,
    facts: &RegistrationFacts,
    origin: &Origin,
) -> Wait {
    Wait {
        enrollment,
        device: device.clone(),
        hardware: joining.hardware.clone(),
        strength: joining.strength,
        product: facts
            .product
            .as_ref()
            .map(|product| product.name.clone())
            .unwrap_or_default(),
        device_version: facts.device.as_ref().map(|known| known.version),
        key: joining.key,
        token: None,
        origin_of_request: origin.clone(),
    }
}
