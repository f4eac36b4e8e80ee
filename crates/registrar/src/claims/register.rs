//! The registration of a pending certificate: the device is named, permitted and settled here.

use std::collections::BTreeSet;

use imprint_identity::{DeviceId, HardwareId, IdentityStrength, UnixTime};

use super::arrive::ClaimSpeaker;
use super::open::{Opening, pending_is_good};
use super::permit::{Join, Joining, may_join, template_is_good, thing_change};
use super::thing::ThingSpec;
use crate::door::Door;
use crate::enroll::{ATTEMPTS, Chance, Origin, Registrar, random};
use crate::issue::name_of;
use crate::ledger::{
    ClaimAlarm, ClaimAlarmKind, ClaimRecord, Claimed, Ledger, PendingRecord, PendingState,
    Registered, RegistrationCertificate, RegistrationFacts, RegistrationGrant, RegistrationQuery,
    Wait, Waited,
};
use crate::product::Product;
use crate::refusal::{Code, Refusal};
use crate::registry::Reference;
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

impl Registration {
    pub(super) fn references(&self) -> BTreeSet<Reference> {
        self.thing
            .as_ref()
            .map(Reference::all_of)
            .unwrap_or_default()
    }
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
                references: registration.references(),
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
            let joining = joining(opening, &registration.hardware, claim, &facts, now);
            let device = match self
                .joins(&joining, &facts, claim, &opening.speaker, origin, now)
                .await?
            {
                Join::Register(device) => device,
                Join::Wait(device) => {
                    let by = Some(claim.claim.name.clone());
                    self.list(enrollment, &device, &joining, by, &facts, origin, now)
                        .await?;
                    continue;
                }
            };
            let thing = registration.thing.as_ref();
            let thing_change = thing
                .map(|spec| thing_change(spec, &device, &facts, facts.template.as_ref()))
                .transpose()?;

            // 4. Newcomers come in at the fleet's pace, claims or not.
            let product = facts.product.as_ref().ok_or(Code::ProductUnknown)?;
            self.paced(product, &joining, &facts, origin)?;

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
                past_end: joining.past_end,
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
                Claimed::Limited { seconds, why } => {
                    let refusal = Refusal::new(Code::ClaimLimited).detail(why);
                    return Err(refusal.after(seconds));
                }
            }
        }
        Err(Code::Busy.into())
    }

    /// Whether a device with this hardware may be registered, as far as the fleet itself knows: asked
    /// before anybody else is, such as a hook. Nothing is written but what the claim's brake counts, and
    /// [`Self::claim_register`] judges it all again.
    pub async fn claim_may_register(
        &self,
        opening: &Opening,
        hardware: &HardwareId,
        origin: &Origin,
        now: UnixTime,
    ) -> Result<(), Refusal> {
        let outcome = self.may_register(opening, hardware, origin, now).await;
        self.noted(outcome, &opening.speaker, origin, now)
    }

    async fn may_register(
        &self,
        opening: &Opening,
        hardware: &HardwareId,
        origin: &Origin,
        now: UnixTime,
    ) -> Result<(), Refusal> {
        let query = RegistrationQuery {
            serial: Some(opening.serial),
            template: Some(opening.template_name.clone()),
            hardware: Some(hardware.clone()),
            ..RegistrationQuery::default()
        };
        let facts = self.claim_facts(&opening.speaker, query, now).await?;
        let claim = facts.claim.as_ref().ok_or(Code::ClaimUnknown)?;
        template_is_good(&opening.template_name, &facts, claim)?;
        if pending_is_good(&facts, claim, now)?.state == PendingState::Registered {
            // What it registered is answered again, or refused, when all of it is known.
            return Ok(());
        }
        let joining = joining(opening, hardware, claim, &facts, now);
        let join = self
            .joins(&joining, &facts, claim, &opening.speaker, origin, now)
            .await?;
        match join {
            // Whom an operator has on the list already, a hook has been asked about.
            Join::Wait(device) if facts.listed_for.as_ref() == Some(&device) => {
                Err(Refusal::new(Code::ApprovalPending).about(device.as_str()))
            }
            Join::Wait(_) | Join::Register(_) => Ok(()),
        }
    }

    /// May this device join? A no is counted where it would show that the claim's key has leaked.
    async fn joins(
        &self,
        joining: &Joining<'_>,
        facts: &RegistrationFacts,
        claim: &ClaimRecord,
        speaker: &ClaimSpeaker,
        origin: &Origin,
        now: UnixTime,
    ) -> Result<Join, Refusal> {
        let refusal = match may_join(joining, facts, now) {
            Ok(join) => return Ok(join),
            Err(refusal) => refusal,
        };
        let other_product = facts
            .device
            .as_ref()
            .is_some_and(|device| device.product != claim.claim.product);
        if !other_product {
            let in_use = facts.device_in_use;
            self.brake(&refusal, speaker, joining, in_use, origin, now)
                .await;
        }
        Err(refusal)
    }

    /// Puts a device on the list that an operator approves from, when it is its turn. `Ok`: the facts
    /// have changed. `claim`: by which it comes.
    pub(crate) async fn list(
        &self,
        enrollment: EnrollmentId,
        device: &DeviceId,
        joining: &Joining<'_>,
        claim: Option<String>,
        facts: &RegistrationFacts,
        origin: &Origin,
        now: UnixTime,
    ) -> Result<(), Refusal> {
        // Who is on it asks for what is on record.
        if facts.listed_for.as_ref() != Some(device) {
            let product = facts.product.as_ref().ok_or(Code::ProductUnknown)?;
            self.paced(product, joining, facts, origin)?;
        }
        let wait = Wait {
            claim,
            ..waiting(enrollment, device, joining, facts, origin)
        };
        match self.ledger().enrollment_wait(wait, now).await? {
            Waited::Changed => Ok(()),
            outcome => Err(outcome.refusal().about(device.as_str())),
        }
    }

    /// Whether it is this device's turn. A hardware id on the allowlist has one turn, with however many
    /// keys: the server makes a new one each time. Off the list anybody can call itself anything, so
    /// there it is the key that waits.
    pub(crate) fn paced(
        &self,
        product: &Product,
        joining: &Joining<'_>,
        facts: &RegistrationFacts,
        origin: &Origin,
    ) -> Result<(), Refusal> {
        let hardware = joining.hardware.text();
        let who = if facts.allowed {
            super::fingerprint_of(hardware.as_bytes()).0
        } else {
            joining.key.0
        };
        self.pace(product, &who, origin)
            .map_err(|refusal| refusal.about(hardware.as_str()))
    }

    /// Counts what would show that a claim's key has leaked. The refusal stands whether or not it
    /// could be counted.
    async fn brake(
        &self,
        refusal: &Refusal,
        speaker: &ClaimSpeaker,
        joining: &Joining<'_>,
        in_use: bool,
        origin: &Origin,
        now: UnixTime,
    ) {
        let kind = match refusal.code {
            Code::HardwareNotAllowed => ClaimAlarmKind::UnknownHardware,
            // A board that has lost its answer, with a key that the server made, comes with another
            // key, and nobody has used the first. It is refused, for it may be somebody else; whoever
            // has taken over a device that is in use is somebody else.
            Code::DeviceExists if in_use => ClaimAlarmKind::TwoKeys,
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

fn joining<'a>(
    opening: &Opening,
    hardware: &'a HardwareId,
    claim: &ClaimRecord,
    facts: &RegistrationFacts,
    now: UnixTime,
) -> Joining<'a> {
    let end = facts.shown.as_ref().map(|shown| shown.not_after);
    Joining {
        hardware,
        strength: IdentityStrength::Asserted,
        key: opening.key,
        door: Door::Claim,
        listed_only: claim.claim.allowlist,
        bound: false,
        name: None,
        past_end: end.filter(|&end| now > end),
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
fn waiting(
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
        claim: None,
        listed: facts.allowed,
        past_end: joining.past_end,
        origin_of_request: origin.clone(),
    }
}
