//! Claim provisioning meets the road: what was published becomes a request, the registrar answers,
//! the answer becomes what is published back. How messages look is the `claim` crate's knowledge, who
//! joins is the registrar's.
//!
//! ```text
//! create-from-csr, create   ─► claim_certify
//! provision                 ─► claim_open ─► claim_may_register ─► hook ─► fill ─► claim_register
//! the first connection      ───────────────────────► fill ─► just_in_time
//! ```
//!
//! A hook takes seconds where the road takes milliseconds: while one is asked, no place on the road
//! is held.

mod fill;
mod hook;

use std::collections::BTreeMap;
use std::sync::Arc;

use imprint_claim::{
    Call, Class as ClaimClass, Created, Format, MessageError, Outcome, Refusal as ClaimRefusal,
    Registered, Reply, Request, Retry as ClaimRetry, Topic,
};
use imprint_pkix::pem;
use imprint_registrar::claims::{
    ClaimSpeaker, JustInTime, Opening, PendingCertificate, Registration,
};
use imprint_registrar::enroll::Origin;
use imprint_registrar::refusal::{Class, Code, Refusal, Retry};
use imprint_registrar::verify::Member;
use imprint_registrar::{Ledger, Registrar, Signer};
use zeroize::Zeroizing;

use crate::gate::{Gate, Place, Turn};
use crate::outbound::Outbound;
use crate::world::World;
use fill::Templates;

/// What provisioning needs, for every door that has it.
pub(crate) struct Provision<L, S> {
    registrar: Arc<Registrar<L, S>>,
    world: World,
    gate: Arc<Gate>,
    outbound: Outbound,
    templates: Templates,
}

/// No, and what it is about, where the vendor's words name that: a template, a parameter.
#[derive(Debug)]
pub(crate) struct No {
    refusal: Box<Refusal>,
    about: String,
}

impl<L: Ledger, S: Signer> Provision<L, S> {
    pub(crate) fn new(
        registrar: &Arc<Registrar<L, S>>,
        world: &World,
        gate: &Arc<Gate>,
        outbound: &Outbound,
    ) -> Self {
        Self {
            registrar: Arc::clone(registrar),
            world: world.clone(),
            gate: Arc::clone(gate),
            outbound: outbound.clone(),
            templates: Templates::default(),
        }
    }

    /// Answers what a claim's holder has published: the topic and the payload to publish back.
    pub(crate) async fn answer(
        &self,
        call: &Call<'_>,
        payload: &[u8],
        speaker: &ClaimSpeaker,
        client_id: &str,
        origin: &Origin,
    ) -> (String, Zeroizing<Vec<u8>>) {
        let reply = match self.call(call, payload, speaker, client_id, origin).await {
            Ok(reply) => reply,
            Err(no) => Reply::Rejected(self.say(&no).rejected()),
        };
        (reply.topic(call), reply.encode(call.format))
    }

    /// The answer to who is turned away unheard.
    pub(crate) fn turn_away(
        &self,
        call: &Call<'_>,
        refusal: Refusal,
    ) -> (String, Zeroizing<Vec<u8>>) {
        let no = No::from(refusal);
        let reply = Reply::Rejected(self.say(&no).rejected());
        (reply.topic(call), reply.encode(call.format))
    }

    async fn call(
        &self,
        call: &Call<'_>,
        payload: &[u8],
        speaker: &ClaimSpeaker,
        client_id: &str,
        origin: &Origin,
    ) -> Result<Reply, No> {
        let request = Request::parse(call, payload)
            .map_err(|error| self.noted(unreadable(&error), speaker, origin))?;
        match request {
            Request::CreateFromCsr { csr_pem } => {
                let csr = csr_der(&csr_pem).map_err(|no| self.noted(no, speaker, origin))?;
                let certified = self.certify(speaker, &csr, origin).await?;
                Ok(Reply::Created(created(certified, None)))
            }
            Request::CreateKeys => {
                let (pending, key) = self.certify_with_key(speaker, client_id, origin).await?;
                Ok(Reply::Created(created(pending, Some(&key))))
            }
            Request::Register {
                ownership,
                parameters,
            } => {
                let Topic::Register { template } = call.topic else {
                    return Err(Refusal::new(Code::PayloadUnreadable).into());
                };
                let opened = self.open(speaker, &ownership, template, origin).await;
                let opening = opened.map_err(|refusal| No::about(refusal, template))?;
                self.register(&opening, parameters, client_id, origin).await
            }
        }
    }

    /// A pending certificate, when it is this device's turn.
    async fn certify(
        &self,
        speaker: &ClaimSpeaker,
        csr: &[u8],
        origin: &Origin,
    ) -> Result<PendingCertificate, Refusal> {
        loop {
            let (place, origin) = self.place_at(origin)?;
            let (chance, now) = (&*self.world.chance, self.world.now());
            let outcome = self
                .registrar
                .claim_certify(speaker, csr, &origin, chance, now)
                .await;
            drop(place);
            if let Some(outcome) = waited(outcome).await {
                return outcome.inspect(|pending| tell(pending, speaker, &origin));
            }
        }
    }

    /// The same with a key that is made here.
    async fn certify_with_key(
        &self,
        speaker: &ClaimSpeaker,
        client_id: &str,
        origin: &Origin,
    ) -> Result<(PendingCertificate, Zeroizing<Vec<u8>>), Refusal> {
        loop {
            let (place, origin) = self.place_at(origin)?;
            let (chance, now) = (&*self.world.chance, self.world.now());
            let outcome = self
                .registrar
                .claim_certify_with_key(speaker, client_id, &origin, chance, now)
                .await;
            drop(place);
            if let Some(outcome) = waited(outcome).await {
                return outcome.inspect(|(pending, _)| tell(pending, speaker, &origin));
            }
        }
    }

    async fn open(
        &self,
        speaker: &ClaimSpeaker,
        ownership: &str,
        template: &str,
        origin: &Origin,
    ) -> Result<Opening, Refusal> {
        let _place = self.place()?;
        let now = self.world.now();
        self.registrar
            .claim_open(speaker, ownership, template, origin, now)
            .await
    }

    async fn register(
        &self,
        opening: &Opening,
        parameters: BTreeMap<String, String>,
        client_id: &str,
        origin: &Origin,
    ) -> Result<Reply, No> {
        let speaker = opening.speaker();
        let noted = |no| self.noted(no, speaker, origin);
        // 1. What has been registered as asked needs nobody's word a second time.
        let asked = self.fill(opening, &parameters);
        let is_answered = |asked: &Registration| is_on_record(opening, asked);
        if has_hook(opening) && !asked.as_ref().is_ok_and(is_answered) {
            self.may_register(opening, &parameters, origin).await?;
        }
        let registration = match asked {
            Ok(registration) if is_on_record(opening, &registration) => registration,
            // 2. The hook, which may change what the device said: after all that the fleet itself knows.
            asked => match self.ask_hook(opening, &parameters, client_id, origin).await {
                Err(no) => return Err(noted(no)),
                Ok(None) => asked.map_err(noted)?,
                Ok(Some(overrides)) => {
                    let mut parameters = parameters;
                    parameters.extend(overrides);
                    self.fill(opening, &parameters).map_err(noted)?
                }
            },
        };
        // 3. The road, when it is this device's turn.
        let (registered, let_in) = loop {
            let (place, origin) = self.place_at(origin)?;
            let (chance, now) = (&*self.world.chance, self.world.now());
            let outcome = self
                .registrar
                .claim_register(opening, &registration, &origin, chance, now)
                .await;
            drop(place);
            if let Some(outcome) = waited(outcome).await {
                break (outcome.map_err(named)?, origin.at);
            }
        };
        tracing::info!(
            device = %registered.device.id,
            claim = speaker.name(),
            template = opening.template_name(),
            thing = registration.thing.as_ref().map(|thing| thing.name.as_str()),
            address = origin.address,
            again = registered.again,
            let_in_ms = let_in.0,
            "registered by claim"
        );
        let there = recorded(&registered.answer)
            .ok_or_else(|| Refusal::new(Code::LedgerUnavailable).detail("an answer on record"))?;
        Ok(Reply::Registered(there))
    }

    /// Whether anything but the hook stands in the way. A hook may name the hardware where the device
    /// does not; then nobody can tell before it has.
    async fn may_register(
        &self,
        opening: &Opening,
        parameters: &BTreeMap<String, String>,
        origin: &Origin,
    ) -> Result<(), No> {
        let Ok(hardware) = self.templates.hardware_claimed(opening, parameters) else {
            return Ok(());
        };
        let _place = self.place()?;
        let now = self.world.now();
        let may = self
            .registrar
            .claim_may_register(opening, &hardware, origin, now);
        Ok(may.await?)
    }

    /// Takes in a device that has come with the certificate of a registered CA, when it is its turn.
    pub(crate) async fn newcomer_in_turn(
        &self,
        newcomer: &JustInTime,
        origin: &Origin,
    ) -> Result<Member, Refusal> {
        loop {
            let (place, origin) = self.place_at(origin)?;
            let outcome = self.newcomer(newcomer, &origin).await;
            drop(place);
            if let Some(outcome) = waited(outcome).await {
                return outcome;
            }
        }
    }

    /// The same for a door that holds a place already and knows how to wait.
    pub(crate) async fn newcomer(
        &self,
        newcomer: &JustInTime,
        origin: &Origin,
    ) -> Result<Member, Refusal> {
        let now = self.world.now();
        let registration = self.templates.fill_newcomer(newcomer).map_err(|no| {
            let refusal = no.refusal.showing(Some(newcomer.certificate_id()));
            self.registrar.note(&refusal, origin, now);
            refusal
        })?;
        let chance = &*self.world.chance;
        let member = self
            .registrar
            .just_in_time(newcomer, &registration, origin, chance, now)
            .await?;
        tracing::info!(
            device = %member.device.id,
            authority = newcomer.authority().ca.name,
            address = origin.address,
            "registered at its first connection"
        );
        Ok(member)
    }

    /// A place on the road, and the origin with the time at the gate.
    fn place_at(&self, origin: &Origin) -> Result<(Place<'_>, Origin), Refusal> {
        let at = self.gate.ticks();
        let origin = origin.clone();
        Ok((self.place()?, Origin { at, ..origin }))
    }

    fn place(&self) -> Result<Place<'_>, Refusal> {
        let busy = || Refusal::new(Code::Busy).after(2 + self.world.below(9));
        self.gate.enter_new().ok_or_else(busy)
    }

    fn fill(
        &self,
        opening: &Opening,
        parameters: &BTreeMap<String, String>,
    ) -> Result<Registration, No> {
        self.templates.fill_claimed(opening, parameters)
    }

    /// Notes a refusal that the registrar has not seen.
    fn noted(&self, no: No, speaker: &ClaimSpeaker, origin: &Origin) -> No {
        let refusal = (*no.refusal).clone().about(speaker.name());
        let refusal = refusal.showing(Some(speaker.fingerprint().to_string()));
        self.registrar.note(&refusal, origin, self.world.now());
        no
    }

    /// How a refusal looks to a device that comes by claim: the one table.
    fn say<'n>(&self, no: &'n No) -> ClaimRefusal<'n> {
        let Refusal { code, retry, .. } = &*no.refusal;
        ClaimRefusal {
            code: code.as_str(),
            class: match code.class() {
                Class::Credential => ClaimClass::Credential,
                Class::Denied => ClaimClass::Denied,
                Class::Request => ClaimClass::Request,
                Class::Absent => ClaimClass::Absent,
                Class::Passing => ClaimClass::Passing,
                Class::Waiting => ClaimClass::Waiting,
            },
            message: code.message(),
            hint: code.hint(),
            // A turn is a moment of its own already; whatever else passes, passes for thousands.
            retry: match (retry, code.class(), no.refusal.turn) {
                (Retry::Never, ..) => ClaimRetry::Never,
                (Retry::After(seconds), Class::Passing, None) => {
                    ClaimRetry::After(seconds.saturating_add(self.world.below(seconds / 2 + 1)))
                }
                (Retry::After(seconds), ..) => ClaimRetry::After(*seconds),
            },
            about: &no.about,
        }
    }
}

impl No {
    fn new(code: Code, detail: impl Into<String>) -> Self {
        Refusal::new(code).detail(detail).into()
    }

    fn about(refusal: Refusal, about: &str) -> Self {
        Self {
            refusal: Box::new(refusal),
            about: about.to_owned(),
        }
    }
}

impl From<Refusal> for No {
    fn from(refusal: Refusal) -> Self {
        Self::about(refusal, "")
    }
}

/// What a template names stands in the template: whoever may use it may be told.
fn named(refusal: Refusal) -> No {
    let about = match (refusal.code, &refusal.detail) {
        (Code::RegistryMissing, Some(missing)) => missing.clone(),
        _ => String::new(),
    };
    No::about(refusal, &about)
}

fn tell(pending: &PendingCertificate, speaker: &ClaimSpeaker, origin: &Origin) {
    tracing::info!(
        certificate = pending.certificate_id,
        claim = speaker.name(),
        address = origin.address,
        again = pending.again,
        let_in_ms = origin.at.0,
        "pending certificate handed over"
    );
}

/// `None`: it was not this asker's turn; by now it is. Who waits for a moment waits here, without a
/// place.
async fn waited<T>(outcome: Result<T, Refusal>) -> Option<Result<T, Refusal>> {
    match outcome.as_ref().err().and_then(Turn::of) {
        Some(Turn(wait)) => {
            tokio::time::sleep(wait).await;
            None
        }
        None => Some(outcome),
    }
}

fn has_hook(opening: &Opening) -> bool {
    let template = opening.template.as_ref();
    template.is_some_and(|template| template.hook.is_some())
}

/// Whether this token has registered just that.
fn is_on_record(opening: &Opening, registration: &Registration) -> bool {
    let thing = registration.thing.as_ref().map(|thing| &thing.name);
    opening.registered.as_ref().is_some_and(|registered| {
        registered.hardware == registration.hardware
            && registered.thing.as_ref() == thing
            && registered.template == opening.template_name()
    })
}

fn unreadable(error: &MessageError) -> No {
    let code = Code::from_word(error.code()).unwrap_or(Code::PayloadUnreadable);
    No::new(code, error.to_string())
}

/// One PKCS#10 request from PEM, under either of its two labels.
fn csr_der(text: &str) -> Result<Vec<u8>, No> {
    let unreadable = |detail: String| No::new(Code::CsrUnreadable, detail);
    let label = if text.contains("BEGIN NEW CERTIFICATE REQUEST") {
        "NEW CERTIFICATE REQUEST"
    } else {
        "CERTIFICATE REQUEST"
    };
    let mut blocks =
        pem::decode(label, text).map_err(|error| unreadable(format!("PEM: {error}")))?;
    match (blocks.pop(), blocks.is_empty()) {
        (Some(der), true) => Ok(der),
        _ => Err(unreadable("not exactly one request in PEM".to_owned())),
    }
}

fn created(pending: PendingCertificate, key: Option<&[u8]>) -> Created {
    Created {
        ownership: pending.ownership,
        certificate_id: pending.certificate_id,
        certificate_pem: pem::encode(pem::CERTIFICATE, &pending.der),
        private_key_pem: key.map(|pkcs8| Zeroizing::new(pem::encode(PRIVATE_KEY, pkcs8))),
    }
}

/// An answer on record: kept as JSON, whatever format the device speaks.
fn recorded(answer: &[u8]) -> Option<Registered> {
    match Reply::parse(&ON_RECORD, Outcome::Accepted, answer) {
        Ok(Reply::Registered(registered)) => Some(registered),
        _ => None,
    }
}

const ON_RECORD: Call<'static> = Call {
    topic: Topic::Register { template: "" },
    format: Format::Json,
};
/// PKCS#8 (RFC 7468 section 10).
const PRIVATE_KEY: &str = "PRIVATE KEY";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_comes_in_pem_under_either_label_and_alone() {
        let pem = pem::encode("CERTIFICATE REQUEST", b"der");
        let old = pem.replace("CERTIFICATE", "NEW CERTIFICATE");
        for text in [&pem, &old, &pem.replace('\n', "\r\n")] {
            assert_eq!(csr_der(text).unwrap(), b"der", "{text}");
        }
        let twice = pem.repeat(2);
        for text in [
            "",
            "der",
            &twice,
            &pem.replace("CERTIFICATE REQUEST", "CERTIFICATE"),
        ] {
            let no = csr_der(text).unwrap_err();
            assert_eq!(no.refusal.code, Code::CsrUnreadable, "{text}");
        }
    }

    #[test]
    fn what_is_on_record_reads_back() {
        let registered = Registered {
            device_configuration: [("a".to_owned(), "b".to_owned())].into(),
            thing_name: Some("dev-1".to_owned()),
        };
        let answer = Reply::Registered(registered.clone()).encode(Format::Json);
        assert_eq!(recorded(&answer), Some(registered));
        assert_eq!(recorded(b""), Some(Registered::default()));
        assert_eq!(recorded(b"no"), None);
    }
}
