//! A device of an entry asks for a certificate when it registers: what it has shown is then a bootstrap
//! credential like a token, and ends with the first use of the certificate.
//!
//! A shared key, or a TPM by its challenge, serves one key of the device's own. The same key asking
//! again gets the same certificate, also once it is in use; another key is told `device-exists` until an
//! operator releases the device. Whoever has read a group's key in a firmware image can take over no
//! device that has its certificate. A device that came with a certificate renews that one here, by the
//! rules of any renewal.

use imprint_attest::KeyFingerprint;
use imprint_identity::{DeviceId, UnixTime};
use imprint_pkix::certificate::Certificate;
use imprint_pkix::csr::Csr;

use super::permit::{Proven, is_bound, is_of, name_in};
use super::register::{EntryShown, Newcomer};
use crate::door::Door;
use crate::enroll::{
    ATTEMPTS, Chance, Channel, Enrolled, EnrollmentRequest, Kind, Origin, Registrar, Shown,
    Vouched, random, refuse_csr,
};
use crate::ledger::{
    Claimed, EntryGrant, EntryRegistration, Generation, Ledger, RegistrationCertificate,
    RegistrationGrant, RegistrationQuery,
};
use crate::permit::device_is_good;
use crate::refusal::{Code, Refusal};
use crate::serial::{EnrollmentId, Serial};
use crate::signer::Signer;

/// A registration with the certificate that was issued for it.
#[derive(Clone)]
pub struct CertifiedByEntry {
    /// The device.
    pub device: DeviceId,
    /// What is on record.
    pub registration: EntryRegistration,
    /// DER: the device's certificate, its issuer's, and so on to the root.
    pub chain: Vec<Vec<u8>>,
    /// Whether the certificate had been issued before.
    pub again: bool,
}

impl<L: Ledger, S: Signer> Registrar<L, S> {
    /// Registers a device by its entry and issues it its certificate, once. `csr`: PKCS#10 in DER.
    pub async fn entry_certify(
        &self,
        newcomer: &Newcomer,
        csr: &[u8],
        channel: Channel,
        hub: &str,
        origin: &Origin,
        chance: Chance<'_>,
        now: UnixTime,
    ) -> Result<CertifiedByEntry, Refusal> {
        let outcome = self.certify_by_entry(newcomer, csr, channel, hub, origin, chance, now);
        let outcome = outcome.await;
        self.entry_noted(newcomer, outcome, origin, now)
    }

    async fn certify_by_entry(
        &self,
        newcomer: &Newcomer,
        csr: &[u8],
        channel: Channel,
        hub: &str,
        origin: &Origin,
        chance: Chance<'_>,
        now: UnixTime,
    ) -> Result<CertifiedByEntry, Refusal> {
        names(csr, newcomer)?;
        let request = |product, shown| EnrollmentRequest {
            kind: Kind::Enroll,
            product,
            shown,
            csr: csr.to_vec(),
            channel,
            origin: origin.clone(),
        };
        // Who came with a certificate has one on record from now on, and renews that.
        if let EntryShown::Certificate { peer, .. } = &newcomer.shown {
            let registered = self.register_by_entry(newcomer, hub, origin, chance, now);
            let registration = registered.await?.registration;
            let request = request(None, Shown::Certificate(peer.clone()));
            let enrolled = Box::pin(self.walk(&request, chance, now)).await?;
            return Ok(self.certified(enrolled, registration));
        }
        // 1. Which entry is this device's, and does its proof hold? Does it speak of this very device?
        let (mut proven, _) = self.proven(newcomer, origin, now).await?;
        if self.storage_key_is_new(&proven, newcomer, now).await? {
            (proven, _) = self.proven(newcomer, origin, now).await?;
        }
        let query = about(newcomer, &proven, proven.key, None);
        let facts = self.ledger().registration_facts(&query, now).await?;
        device_is_good(facts.device.as_ref())?;
        let known = facts.registration.as_ref();
        let entry = &proven.entry.entry;
        let vouched = Vouched {
            hardware: newcomer.hardware().clone(),
            strength: entry.proves(),
            name: name_in(entry)?,
            bound: is_bound(&proven, &facts, false),
            one_key: true,
            served: known.is_some_and(|known| !known.shared_key && is_of(known, entry)),
            generation: Generation::Entry,
            door: Door::Dps,
        };
        // 2. The road, as by a token.
        let request = request(Some(entry.product.clone()), Shown::Vouched(vouched));
        let enrolled = Box::pin(self.walk(&request, chance, now)).await?;
        // 3. Its registration. A crash before this leaves a device with a certificate, that asks again.
        let registration = self
            .registered_with(newcomer, &proven, &enrolled, hub, origin, chance, now)
            .await?;
        Ok(self.certified(enrolled, registration))
    }

    /// The registration of a device that has its certificate.
    async fn registered_with(
        &self,
        newcomer: &Newcomer,
        proven: &Proven,
        enrolled: &Enrolled,
        hub: &str,
        origin: &Origin,
        chance: Chance<'_>,
        now: UnixTime,
    ) -> Result<EntryRegistration, Refusal> {
        let entry = &proven.entry.entry;
        let leaf = Certificate::parse(&enrolled.certificate).map_err(|_| unreadable())?;
        let serial = Serial::from_octets(leaf.serial()).ok_or_else(unreadable)?;
        let key = KeyFingerprint::of(leaf.spki_der());
        for _ in 0..ATTEMPTS {
            let query = about(newcomer, proven, key, Some(serial));
            let facts = self.ledger().registration_facts(&query, now).await?;
            device_is_good(facts.device.as_ref())?;
            let device = facts.device.as_ref();
            let device = device.ok_or(Code::EnrollmentVoid)?;
            let known = facts.registration.filter(|known| known.live);
            if let Some(known) = &known
                && is_of(known, entry)
                && known.hub == hub
            {
                return Ok(known.clone());
            }
            // What it had before is heard until its certificate is used.
            let keeps_key = known.is_some_and(|known| known.shared_key);
            let (key, certificate) = if keeps_key {
                (proven.key, RegistrationCertificate::SharedKey)
            } else {
                (key, RegistrationCertificate::Own { serial })
            };
            let grant = EntryGrant {
                grant: RegistrationGrant {
                    enrollment: EnrollmentId(random(chance)),
                    hardware: newcomer.hardware().clone(),
                    strength: entry.proves(),
                    product: entry.product.clone(),
                    device_version: Some(device.version),
                    key,
                    certificate,
                    template: entry.product.clone(),
                    thing: None,
                    held: false,
                    listed: facts.allowed,
                    past_end: None,
                    origin_of_request: origin.clone(),
                    device: device.id.clone(),
                },
                kind: entry.kind,
                entry: entry.name.clone(),
                entry_version: proven.entry.version,
                id: newcomer.id().to_owned(),
                presented: newcomer.presented().to_owned(),
                hub: hub.to_owned(),
            };
            if let Claimed::Done(registration) = self.ledger().entry_register(grant, now).await? {
                return Ok(registration);
            }
        }
        // The entry has changed meanwhile, or somebody else was quicker: it asks again.
        Err(Code::Busy.into())
    }

    fn certified(&self, enrolled: Enrolled, registration: EntryRegistration) -> CertifiedByEntry {
        CertifiedByEntry {
            chain: self.authorities().chain(&enrolled.certificate),
            device: enrolled.device,
            registration,
            again: enrolled.again,
        }
    }
}

fn unreadable() -> Refusal {
    Refusal::new(Code::LedgerUnavailable).detail("a settled certificate can't be read")
}

/// What bears on a device and on one of its keys.
fn about(
    newcomer: &Newcomer,
    proven: &Proven,
    key: KeyFingerprint,
    serial: Option<Serial>,
) -> RegistrationQuery {
    RegistrationQuery {
        product: Some(proven.entry.entry.product.clone()),
        key: Some(key),
        serial,
        hardware: Some(newcomer.hardware().clone()),
        ..RegistrationQuery::default()
    }
}

/// A request may leave its name out. One that names somebody else was mixed up (DPS: the common name is
/// the registration id).
fn names(csr: &[u8], newcomer: &Newcomer) -> Result<(), Refusal> {
    let csr = Csr::parse(csr).map_err(refuse_csr)?;
    match csr.common_name().filter(|name| !name.is_empty()) {
        Some(name) if !name.eq_ignore_ascii_case(newcomer.id()) => {
            let detail = format!("the request is {name:?}'s");
            Err(Refusal::new(Code::RegistrationOther).detail(detail))
        }
        _ => Ok(()),
    }
}
