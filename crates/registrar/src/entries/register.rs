//! The registration of a device by its entry: it is found, proven, permitted and settled here.

use imprint_attest::{PeerCertificate, issuers_of};
use imprint_identity::{DeviceId, HardwareId, UnixTime};
use imprint_pkix::certificate::Certificate;

use super::definition::{is_own_spelling, is_registration_id};
use super::hub::is_guess;
use super::permit::{
    Proven, by_certificate, has_outgrown, is_bound, is_enabled, is_in, is_of, is_on_record, name_in,
};
use super::proof::SharedKeySignature;
use super::tpm::TpmKeys;
use crate::claims::{Join, Joining, fingerprint_of, may_join, newcomers_key_is_welcome};
use crate::door::Door;
use crate::enroll::{ATTEMPTS, Chance, Origin, Registrar, random};
use crate::ledger::{
    Claimed, DeviceRecord, DeviceState, EntryEvidence, EntryFacts, EntryGrant, EntryQuery,
    EntryRegistration, Ledger, RegistrationGrant, RegistrationQuery,
};
use crate::pace::DOORSTEP_MS;
use crate::permit::{certificate_is_good, device_is_good};
use crate::refusal::{Code, Refusal};
use crate::serial::EnrollmentId;
use crate::signer::Signer;

/// What a device shows to be registered by its entry.
#[derive(Debug, Clone)]
pub enum EntryShown {
    /// Nothing yet: it has to be challenged first.
    Nothing,
    /// A signature by the key that it shares with its entry.
    SharedKey(SharedKeySignature),
    /// A certificate whose key TLS has seen at work, and what was sent behind it, DER.
    Certificate {
        /// The device's own.
        peer: PeerCertificate,
        /// What came behind it.
        chain: Vec<Vec<u8>>,
    },
}

/// A device that wants to be registered: what it calls itself, and what it shows for it.
///
/// Good for a connection; what it shows is judged for each request.
#[derive(Debug, Clone)]
pub struct Newcomer {
    /// The registration id in lower case.
    id: String,
    /// As the device wrote it.
    presented: String,
    hardware: HardwareId,
    pub(super) shown: EntryShown,
    /// What it says about its TPM.
    tpm: Option<TpmKeys>,
}

impl Newcomer {
    /// Reads what a device calls itself.
    pub fn new(presented: &str, shown: EntryShown) -> Result<Self, Refusal> {
        let wrong = |why: String| Refusal::new(Code::HardwareInvalid).detail(why);
        if !is_registration_id(presented) {
            return Err(wrong(format!("{presented:?} is no registration id")));
        }
        let id = presented.to_ascii_lowercase();
        let hardware = HardwareId::parse(&id).map_err(|error| wrong(error.to_string()))?;
        is_own_spelling(&id, &hardware).map_err(wrong)?;
        Ok(Self {
            presented: presented.to_owned(),
            hardware,
            shown,
            id,
            tpm: None,
        })
    }

    /// The same device, with what it says about its TPM.
    #[must_use]
    pub fn with_tpm(mut self, keys: TpmKeys) -> Self {
        self.tpm = Some(keys);
        self
    }

    /// Whether it has shown nothing yet that could be proven.
    #[must_use]
    pub const fn shows_nothing(&self) -> bool {
        matches!(self.shown, EntryShown::Nothing)
    }

    pub(super) const fn tpm(&self) -> Option<&TpmKeys> {
        self.tpm.as_ref()
    }

    /// The registration id in lower case.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// As the device wrote it.
    #[must_use]
    pub fn presented(&self) -> &str {
        &self.presented
    }

    /// Its hardware id: under this, a device that has no name yet is known.
    #[must_use]
    pub fn hardware(&self) -> &HardwareId {
        &self.hardware
    }
}

/// A registration on record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RegisteredByEntry {
    /// The device.
    pub device: DeviceId,
    /// What the device is told is made of this alone, so the same question gets the same answer.
    pub registration: EntryRegistration,
    /// Whether it had been registered before.
    pub again: bool,
    /// For a TPM: the device's key, sealed for it anew. It is the same key each time.
    pub key_for_tpm: Option<Vec<u8>>,
}

impl<L: Ledger, S: Signer> Registrar<L, S> {
    /// Judges what a device shows, and does nothing: for a door that lets in before it is asked.
    pub async fn entry_open(
        &self,
        newcomer: &Newcomer,
        origin: &Origin,
        now: UnixTime,
    ) -> Result<(), Refusal> {
        let outcome = self.proven(newcomer, origin, now).await;
        self.entry_noted(newcomer, outcome.map(drop), origin, now)
    }

    /// Registers a device by its entry, once. The same device gets what it was told before, as long as
    /// its entry is enabled, its proof holds and it has not been put aside; a hundred requests at one
    /// time make one device. `hub`: the host that it is sent to.
    pub async fn entry_register(
        &self,
        newcomer: &Newcomer,
        hub: &str,
        origin: &Origin,
        chance: Chance<'_>,
        now: UnixTime,
    ) -> Result<RegisteredByEntry, Refusal> {
        let outcome = self.register_by_entry(newcomer, hub, origin, chance, now);
        let outcome = outcome.await;
        self.entry_noted(newcomer, outcome, origin, now)
    }

    /// What is on record of a device that proves to be of an entry.
    pub async fn entry_lookup(
        &self,
        newcomer: &Newcomer,
        origin: &Origin,
        now: UnixTime,
    ) -> Result<EntryRegistration, Refusal> {
        let outcome = self.proven(newcomer, origin, now).await;
        let outcome = outcome.and_then(|(proven, known)| match known {
            Some((registration, device)) if is_of(&registration, &proven.entry.entry) => {
                device_is_good(Some(&device))?;
                if registration.live && device.state == DeviceState::Active {
                    return Ok(registration);
                }
                Err(match device.state {
                    DeviceState::Held => Code::ApprovalPending,
                    _ => Code::OperationUnknown,
                }
                .into())
            }
            _ => Err(Code::OperationUnknown.into()),
        });
        self.entry_noted(newcomer, outcome, origin, now)
    }

    pub(super) async fn register_by_entry(
        &self,
        newcomer: &Newcomer,
        hub: &str,
        origin: &Origin,
        chance: Chance<'_>,
        now: UnixTime,
    ) -> Result<RegisteredByEntry, Refusal> {
        let enrollment = EnrollmentId(random(chance));
        for _ in 0..ATTEMPTS {
            // 1. Recall and appraise: which entry is this device's, and does its proof hold?
            let (proven, _) = self.proven(newcomer, origin, now).await?;
            if self.storage_key_is_new(&proven, newcomer, now).await? {
                continue;
            }
            let entry = &proven.entry.entry;

            // 2. Recall what bears on this device, and on its certificate if it has one.
            let query = RegistrationQuery {
                product: Some(entry.product.clone()),
                key: Some(proven.key),
                serial: proven.serial(),
                hardware: Some(newcomer.hardware.clone()),
                ..RegistrationQuery::default()
            };
            let facts = self.ledger().registration_facts(&query, now).await?;
            // From this one read: what was found with the entry may have changed since.
            let known = facts.registration.as_ref().zip(facts.device.as_ref());
            device_is_good(facts.device.as_ref())?;
            if let Some(certificate) = &facts.certificate {
                certificate_is_good(certificate)?;
            }

            // 3. Who is in gets what it was told.
            let its_own = facts
                .certificate
                .as_ref()
                .is_some_and(|one| known.is_some_and(|(_, device)| device.id == one.device));
            let outgrown = has_outgrown(&proven, &facts);
            let member = known.filter(|(registration, device)| {
                is_in(&proven, registration, device) && (proven.certificate.is_none() || its_own)
            });
            let on_record = |registration: &EntryRegistration| {
                is_on_record(&proven, registration, newcomer.presented(), hub)
            };
            if let Some((registration, device)) = known
                && (outgrown || member.is_some() && on_record(registration))
            {
                return Ok(RegisteredByEntry {
                    device: device.id.clone(),
                    registration: registration.clone(),
                    again: true,
                    key_for_tpm: if outgrown {
                        None
                    } else {
                        self.key_for_tpm(&proven, newcomer, chance).await?
                    },
                });
            }

            // 4. Permit: may this device join?
            if let Some(certificate) = &proven.certificate {
                let public_key = certificate.public_key().map_err(|_| Code::KeyUnsound)?;
                newcomers_key_is_welcome(proven.key, public_key, &facts, self.authorities())?;
            }
            let joining = Joining {
                hardware: &newcomer.hardware,
                strength: entry.proves(),
                key: proven.key,
                door: Door::Dps,
                listed_only: false,
                bound: is_bound(&proven, &facts, its_own),
                name: name_in(entry)?,
                past_end: None,
            };
            let device = if let Some((_, device)) = member {
                // It is told another hub, or writes its id in another way: no newcomer's affair.
                self.may_renew(&device.id, now)?;
                device.id.clone()
            } else {
                let device = match may_join(&joining, &facts, now)? {
                    Join::Register(device) => device,
                    Join::Wait(device) => {
                        self.list(enrollment, &device, &joining, None, &facts, origin, now)
                            .await?;
                        continue;
                    }
                };
                // 5. Newcomers come in at the fleet's pace.
                let product = facts.product.as_ref().ok_or(Code::ProductUnknown)?;
                self.paced(product, &joining, &facts, origin)?;
                device
            };

            // 6. Register, in one transaction.
            let grant = EntryGrant {
                grant: RegistrationGrant {
                    enrollment,
                    hardware: newcomer.hardware.clone(),
                    strength: joining.strength,
                    product: entry.product.clone(),
                    device_version: facts.device.as_ref().map(|known| known.version),
                    key: proven.key,
                    certificate: proven.to_be_kept(),
                    template: entry.product.clone(),
                    thing: None,
                    held: false,
                    listed: facts.allowed,
                    past_end: None,
                    origin_of_request: origin.clone(),
                    device: device.clone(),
                },
                kind: entry.kind,
                entry: entry.name.clone(),
                entry_version: proven.entry.version,
                id: newcomer.id.clone(),
                presented: newcomer.presented.clone(),
                hub: hub.to_owned(),
            };
            match self.ledger().entry_register(grant, now).await? {
                Claimed::Done(registration) => {
                    return Ok(RegisteredByEntry {
                        device,
                        registration,
                        again: false,
                        key_for_tpm: self.key_for_tpm(&proven, newcomer, chance).await?,
                    });
                }
                _ if facts.device.is_none() => {
                    self.name_is_free(&device, &newcomer.hardware).await?;
                }
                _ => {}
            }
        }
        Err(Code::Busy.into())
    }

    /// The entry whose proof a device shows, and what is on record of it.
    pub(super) async fn proven(
        &self,
        newcomer: &Newcomer,
        origin: &Origin,
        now: UnixTime,
    ) -> Result<(Proven, Known), Refusal> {
        // The right key always passes: a stranger's guesses lock nobody out.
        let limited = self.may_guess(origin, Some(&newcomer.hardware), now).err();
        let outcome = self.appraised(newcomer, now).await;
        match &outcome {
            Ok(_) => self.known_good(origin, now),
            Err(refusal) if is_guess(refusal) => {
                if let Some(limited) = limited {
                    return Err(limited);
                }
                self.guessed(origin, Some(&newcomer.hardware), now);
            }
            Err(_) => {}
        }
        outcome
    }

    async fn appraised(
        &self,
        newcomer: &Newcomer,
        now: UnixTime,
    ) -> Result<(Proven, Known), Refusal> {
        let (proven, known) = match &newcomer.shown {
            EntryShown::Nothing => return Err(Code::CredentialMissing.into()),
            EntryShown::SharedKey(signature) => {
                let shown = EntryEvidence::SharedKey;
                let facts = self.entries_for(newcomer, shown, now).await?;
                let proven = self.by_key(newcomer, signature, &facts, now).await?;
                (proven, facts.registered)
            }
            EntryShown::Certificate { peer, chain } => {
                // Ours are no business of an entry's: who has one is a member already, or a liar.
                if self.names_ours(peer) {
                    let detail = "a certificate of this server's own registers nobody";
                    return Err(Refusal::new(Code::EntryUnknown).detail(detail));
                }
                let sent: Vec<_> = chain
                    .iter()
                    .take(MOST_SENT)
                    .filter_map(|der| Certificate::parse(der).ok())
                    .collect();
                let issuers = issuers_of(peer, &sent);
                let shown = EntryEvidence::Certificate { issuers };
                let facts = self.entries_for(newcomer, shown, now).await?;
                let own = facts.individual.as_ref();
                let proven = by_certificate(&newcomer.id, peer, &sent, own, &facts.groups, now)?;
                (proven, facts.registered)
            }
        };
        // Only who has the key is told that it is no use.
        is_enabled(&proven.entry)?;
        Ok((proven, known))
    }

    pub(super) async fn entries_for(
        &self,
        newcomer: &Newcomer,
        shown: EntryEvidence,
        now: UnixTime,
    ) -> Result<EntryFacts, Refusal> {
        let id = newcomer.id.clone();
        let query = EntryQuery { id, shown };
        Ok(self.ledger().entry_facts(&query, now).await?)
    }

    /// Says whom a refusal is about, and keeps a sample of it.
    pub(super) fn entry_noted<T>(
        &self,
        newcomer: &Newcomer,
        outcome: Result<T, Refusal>,
        origin: &Origin,
        now: UnixTime,
    ) -> Result<T, Refusal> {
        outcome.map_err(|refusal| {
            let refusal = match &refusal.subject {
                Some(_) => refusal,
                None => refusal.about(newcomer.hardware.text().as_str()),
            };
            let refusal = refusal.showing(Some(newcomer.shown.name()));
            // Whom the door keeps for a moment has been told nothing yet.
            if refusal.turn.is_none_or(|turn| turn > DOORSTEP_MS) {
                self.note(&refusal, origin, now);
            }
            refusal
        })
    }
}

impl EntryShown {
    /// What was shown, by its public name.
    fn name(&self) -> String {
        match self {
            Self::Nothing => "TPM".to_owned(),
            Self::SharedKey(_) => "shared key".to_owned(),
            Self::Certificate { peer, .. } => fingerprint_of(&peer.der).to_string(),
        }
    }
}

/// What is on record of a device before it is registered.
pub(super) type Known = Option<(EntryRegistration, DeviceRecord)>;

/// What is looked at of what a device sent behind its certificate.
const MOST_SENT: usize = 4;
