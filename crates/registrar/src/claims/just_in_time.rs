//! A device with a certificate of a registered CA: provisioned at its first connection.

use imprint_identity::{DeviceId, UnixTime};

use super::arrive::JustInTime;
use super::definition::{AutoRegistration, CaMode, RegisteredCa};
use super::permit::{Join, Joining, may_join, newcomers_key_is_welcome, thing_change};
use super::register::Registration;
use crate::door::Door;
use crate::enroll::{ATTEMPTS, Chance, Origin, Registrar, random};
use crate::ledger::{
    Claimed, Credential, Ledger, RegistrationCertificate, RegistrationFacts, RegistrationGrant,
    RegistrationQuery,
};
use crate::refusal::{Code, Refusal};
use crate::serial::{EnrollmentId, Serial};
use crate::signer::Signer;
use crate::verify::Member;
use imprint_attest::PeerCertificate;

impl<L: Ledger, S: Signer> Registrar<L, S> {
    /// Registers a newcomer with the certificate that it has: device, certificate, key and thing in
    /// one transaction, then VERIFY, for it is using that certificate now. A hundred first
    /// connections at one time make one device, and each gets it.
    ///
    /// Where the CA's devices are only written down (`auto = "jitr"`), and where the template leaves
    /// the certificate inactive, the device is held: `approval-pending`, until an operator or a hook
    /// approves its key.
    pub async fn just_in_time(
        &self,
        newcomer: &JustInTime,
        registration: &Registration,
        origin: &Origin,
        chance: Chance<'_>,
        now: UnixTime,
    ) -> Result<Member, Refusal> {
        let outcome = self
            .take_in(newcomer, registration, origin, chance, now)
            .await;
        if let Err(refusal) = &outcome {
            self.note(refusal, origin, now);
        }
        outcome
    }

    async fn take_in(
        &self,
        newcomer: &JustInTime,
        registration: &Registration,
        origin: &Origin,
        chance: Chance<'_>,
        now: UnixTime,
    ) -> Result<Member, Refusal> {
        let certificate = newcomer.certificate();
        let serial = Serial::of_foreign(certificate.der());
        let key = newcomer.chained.key();
        let public_key = certificate.public_key().map_err(|_| Code::KeyUnsound)?;
        let peer = PeerCertificate {
            der: certificate.der().to_vec(),
            parsed: Some(certificate.clone()),
        };
        let enrollment = EnrollmentId(random(chance));
        let end = certificate.not_after();
        let past_end = (now > end).then_some(end);
        for _ in 0..ATTEMPTS {
            // 1. Recall.
            let query = RegistrationQuery {
                product: Some(newcomer.product.name.clone()),
                key: Some(key),
                serial: Some(serial),
                hardware: Some(registration.hardware.clone()),
                thing: registration.thing.as_ref().map(|thing| thing.name.clone()),
                authority: Some(newcomer.authority.ca.name.clone()),
                template: newcomer.template.as_ref().map(|one| one.name.clone()),
                references: registration.references(),
                ..RegistrationQuery::default()
            };
            let facts = self.ledger().registration_facts(&query, now).await?;
            // Somebody was faster with this very certificate: then it is a member.
            if facts.certificate.is_some() {
                return self.judge(&peer, origin, now).await;
            }

            // 2. Permit.
            let ca = may_register_itself(newcomer, &facts)?;
            newcomers_key_is_welcome(key, public_key, &facts, self.authorities())?;
            let joining = Joining {
                hardware: &registration.hardware,
                strength: ca.proves(),
                key,
                door: Door::JustInTime,
                listed_only: false,
                bound: false,
                name: None,
                past_end,
            };
            let device = match may_join(&joining, &facts, now)? {
                Join::Register(device) => device,
                Join::Wait(device) => {
                    self.list(enrollment, &device, &joining, None, &facts, origin, now)
                        .await?;
                    continue;
                }
            };

            self.paced(&newcomer.product, &joining, &facts, origin)?;

            // 3. Register, in one transaction; then its certificate is in use.
            let grant = grant(
                enrollment,
                newcomer,
                ca,
                registration,
                serial,
                device,
                &joining,
                &facts,
                origin,
            )?;
            let name = grant.device.clone();
            match self.ledger().device_register(grant, now).await? {
                Claimed::Done(_) => return self.judge(&peer, origin, now).await,
                _ if facts.device.is_none() => {
                    self.name_is_free(&name, &registration.hardware).await?;
                }
                _ => {}
            }
        }
        Err(Code::Busy.into())
    }

    /// A device that is held with its certificate: if its key has been approved it is active from now
    /// on, else it is told to wait, and an operator is told of it, once a minute.
    pub(crate) async fn held(
        &self,
        shown: &Credential,
        origin: &Origin,
        now: UnixTime,
    ) -> Result<(), Refusal> {
        let (device, key) = (&shown.device.id, shown.certificate.subject_key);
        let knock = self.knocks(device, now).then(|| origin.address.clone());
        let activated = self.ledger().device_activate(device, key, knock, now);
        if activated.await? {
            return Ok(());
        }
        Err(Refusal::new(Code::ApprovalPending)
            .detail(format!("{device} is held with its certificate"))
            .about(device.as_str())
            .showing(Some(shown.certificate.serial.to_string())))
    }
}

/// Whether the CA takes this newcomer in, as it stands now and not as it stood at the arrival.
fn may_register_itself<'a>(
    newcomer: &JustInTime,
    facts: &'a RegistrationFacts,
) -> Result<&'a RegisteredCa, Refusal> {
    let before = &newcomer.authority;
    let about = |code: Code| Refusal::new(code).detail(format!("CA {}", before.ca.name));
    let now = facts.authority.as_ref();
    // Another CA may have taken its name.
    let now = now.filter(|now| now.der == before.der);
    let ca = &now.ok_or_else(|| about(Code::CaNotRegistered))?.ca;
    if ca.mode != CaMode::Default && !newcomer.names_server {
        return Err(about(Code::SniMissing));
    }
    if !ca.active || ca.auto == AutoRegistration::Off {
        return Err(about(Code::CaDoesNotRegister));
    }
    if ca.product != before.ca.product || ca.template != before.ca.template {
        // What the device was to become is decided anew when it connects again.
        return Err(Refusal::new(Code::Busy).detail(format!("CA {} is used otherwise", ca.name)));
    }
    if let Some(template) = facts.template.as_ref().filter(|one| !one.enabled) {
        return Err(
            Refusal::new(Code::TemplateDisabled).detail(format!("template {}", template.name))
        );
    }
    Ok(ca)
}

fn grant(
    enrollment: EnrollmentId,
    newcomer: &JustInTime,
    ca: &RegisteredCa,
    registration: &Registration,
    serial: Serial,
    device: DeviceId,
    joining: &Joining<'_>,
    facts: &RegistrationFacts,
    origin: &Origin,
) -> Result<RegistrationGrant, Refusal> {
    let certificate = newcomer.certificate();
    let thing = registration.thing.as_ref();
    let template = newcomer.template.as_ref().map(|template| &template.name);
    Ok(RegistrationGrant {
        enrollment,
        hardware: registration.hardware.clone(),
        strength: joining.strength,
        product: newcomer.product.name.clone(),
        device_version: facts.device.as_ref().map(|known| known.version),
        key: joining.key,
        certificate: RegistrationCertificate::Foreign {
            authority: ca.name.clone(),
            serial,
            der: certificate.der().to_vec(),
            to_be_signed: certificate.to_be_signed().to_vec(),
            not_before: certificate.not_before(),
            not_after: certificate.not_after(),
        },
        template: template.unwrap_or(&newcomer.product.name).clone(),
        thing: thing
            .map(|spec| thing_change(spec, &device, facts, newcomer.template.as_ref()))
            .transpose()?,
        held: ca.auto == AutoRegistration::Jitr || thing.is_some_and(|thing| thing.inactive),
        listed: facts.allowed,
        past_end: joining.past_end,
        origin_of_request: origin.clone(),
        device,
    })
}
