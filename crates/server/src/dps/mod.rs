//! Azure's device provisioning meets the road: what a device asks becomes a request, the registrar
//! answers, the answer becomes what the vendor's SDKs read. How it looks is the `dps` crate's knowledge,
//! who joins is the registrar's.
//!
//! ```text
//! https  the same with a TPM's keys and no credential   ─► entry_challenge    401
//! https  PUT /{idScope}/registrations/{id}/register ─┐
//! mqtts  $dps/registrations/PUT/iotdps-register/     ─┴─► entry_register
//! mqtts  <hub>/<deviceId>/?... , by its key             ─► shared_key_member    VERIFY
//! mqtts  <hub>/<deviceId>/?... , by its certificate     ─► arrive               VERIFY
//! ```
//!
//! A register is answered at once, because everything that it needs is here. What waits for a person, or
//! for its turn, is told to ask for its operation later; an operation is nothing but the register once
//! more.

mod at_hub;

pub(crate) use at_hub::is_itself;

use std::sync::Arc;

use aws_lc_rs::digest;
use imprint_dps::sas::{self, Sas};
use imprint_dps::{
    Call, Class as DpsClass, Etag, IdScope, OperationId, ParseError, Refusal as DpsRefusal,
    Registration, RegistrationId, RegistrationState, Reply, Request, Retry as DpsRetry,
    ServiceError, Status, Substatus, SymmetricKeyResult, TpmEvidence, TpmResult, Trace, Transport,
    X509Result,
};
use imprint_est::HttpReply;
use imprint_registrar::enroll::{Channel, Origin};
use imprint_registrar::entries::{EntryShown, Newcomer, SharedKeySignature, TpmKeys};
use imprint_registrar::ledger::{EntryKind, EntryRegistration};
use imprint_registrar::refusal::{Class, Code, Refusal, Retry};
use imprint_registrar::{Ledger, Registrar, Signer};

use crate::devices::{Asked, Devices};
use crate::gate::Turn;
use crate::listener::Peer;
use crate::world::World;

/// What the door needs.
pub(crate) struct Dps<L, S> {
    registrar: Arc<Registrar<L, S>>,
    world: World,
    /// Which fleet this is.
    scope: IdScope,
    /// The host to which devices are sent: this server, by the name that they know.
    hub: String,
}

/// A device that asks: what it calls itself, and what it shows for it.
pub(crate) struct Asker {
    id: RegistrationId,
    newcomer: Newcomer,
    /// The one operation that there is for a device.
    operation: OperationId,
    /// The connection that it came on.
    channel: Channel,
}

impl Asker {
    /// Its registration id, for the log.
    pub(crate) fn id(&self) -> &str {
        self.newcomer.id()
    }

    pub(crate) const fn registration_id(&self) -> &RegistrationId {
        &self.id
    }
}

impl<L: Ledger, S: Signer> Dps<L, S> {
    pub(crate) fn new(
        registrar: &Arc<Registrar<L, S>>,
        world: &World,
        scope: IdScope,
        hub: &str,
    ) -> Self {
        Self {
            registrar: Arc::clone(registrar),
            world: world.clone(),
            scope,
            hub: hub.to_owned(),
        }
    }

    /// Who asks, by what it shows: a SAS token if there is one, else a TPM's keys, else its certificate.
    /// Nothing is proven by that. What can't be read is refused and not passed over.
    pub(crate) fn asker(
        &self,
        scope: &IdScope,
        id: &RegistrationId,
        token: Option<&str>,
        tpm: Option<&TpmEvidence>,
        peer: &Peer,
    ) -> Result<Asker, Refusal> {
        if scope.canonical() != self.scope.canonical() {
            return Err(Refusal::new(Code::ScopeUnknown).detail(format!("scope {scope}")));
        }
        let shown = match (token, tpm, &peer.certificate) {
            (Some(text), ..) => {
                let expected = sas::registration_resource(&self.scope, id);
                EntryShown::SharedKey(signature(text, expected)?)
            }
            (None, Some(_), _) => EntryShown::Nothing,
            (None, None, Some(certificate)) => EntryShown::Certificate {
                peer: certificate.clone(),
                chain: peer.chain.clone(),
            },
            (None, None, None) => return Err(Code::CredentialMissing.into()),
        };
        let newcomer = Newcomer::new(id.as_str(), shown)?;
        Ok(Asker {
            newcomer: match tpm {
                None => newcomer,
                Some(tpm) => newcomer.with_tpm(TpmKeys {
                    endorsement: tpm.endorsement_key.clone(),
                    storage: tpm.storage_root_key.clone(),
                }),
            },
            operation: operation_of(&self.scope, id)?,
            id: id.clone(),
            channel: peer.channel,
        })
    }

    /// Judges who asks, where it is let in before it has asked.
    pub(crate) async fn open(&self, asker: &Asker, origin: &Origin) -> Result<(), Refusal> {
        let now = self.world.now();
        self.registrar
            .entry_open(&asker.newcomer, origin, now)
            .await
    }

    /// Answers one question. `Err`: it is not this device's turn yet, and worth waiting for.
    pub(crate) async fn answer(
        &self,
        asker: &Asker,
        request: &Request,
        transport: Transport,
        origin: &Origin,
    ) -> Result<Reply, Turn> {
        match self.act(asker, request, origin).await {
            Ok(reply) => Ok(reply),
            Err(refusal) => match Turn::of(&refusal) {
                Some(turn) => Err(turn),
                None => Ok(self.refused(&refusal, request, transport, asker)),
            },
        }
    }

    async fn act(
        &self,
        asker: &Asker,
        request: &Request,
        origin: &Origin,
    ) -> Result<Reply, Refusal> {
        let now = self.world.now();
        let noted = |refusal: Refusal| {
            let refusal = refusal.about(asker.newcomer.hardware().text().as_str());
            self.registrar.note(&refusal, origin, now);
            refusal
        };
        match request {
            Request::OperationStatus { operation_id } if *operation_id != asker.operation => {
                Err(noted(Code::OperationUnknown.into()))
            }
            Request::Lookup => {
                let known = self.registrar.entry_lookup(&asker.newcomer, origin, now);
                Ok(Reply::State(Box::new(state(asker, &known.await?, None))))
            }
            Request::Register(_) if asker.newcomer.shows_nothing() => {
                let chance = &*self.world.chance;
                let registrar = &self.registrar;
                let challenge = registrar.entry_challenge(&asker.newcomer, origin, chance, now);
                let blob = challenge.await?;
                Ok(Reply::Challenge { blob })
            }
            Request::Register(Registration { csr: Some(csr), .. }) => {
                // In a box: the road is long, and few walk it here.
                Box::pin(self.certify(asker, csr, origin)).await
            }
            Request::Register(_) | Request::OperationStatus { .. } => {
                let chance = &*self.world.chance;
                let told = self
                    .registrar
                    .entry_register(&asker.newcomer, &self.hub, origin, chance, now)
                    .await?;
                tracing::info!(
                    device = %told.device,
                    registration = told.registration.id,
                    entry = told.registration.entry,
                    address = origin.address,
                    again = told.again,
                    "registered by entry"
                );
                Ok(Reply::Done {
                    operation_id: asker.operation.clone(),
                    state: Box::new(state(asker, &told.registration, told.key_for_tpm)),
                })
            }
        }
    }

    /// A device that wants a certificate with its registration.
    async fn certify(&self, asker: &Asker, csr: &[u8], origin: &Origin) -> Result<Reply, Refusal> {
        let (chance, now) = (&*self.world.chance, self.world.now());
        let (hub, channel) = (&self.hub, asker.channel);
        let told = self
            .registrar
            .entry_certify(&asker.newcomer, csr, channel, hub, origin, chance, now)
            .await?;
        tracing::info!(
            device = %told.device,
            registration = told.registration.id,
            entry = told.registration.entry,
            address = origin.address,
            again = told.again,
            "registered by entry, with a certificate"
        );
        let mut state = state(asker, &told.registration, None);
        state.issued_certificate_chain = Some(told.chain);
        Ok(Reply::Done {
            operation_id: asker.operation.clone(),
            state: Box::new(state),
        })
    }

    /// How a refusal looks to a device that has said who it is.
    fn refused(
        &self,
        refusal: &Refusal,
        request: &Request,
        transport: Transport,
        asker: &Asker,
    ) -> Reply {
        // Who has proven nothing is told nothing to come back for.
        let unproven =
            refusal.code.class() == Class::Credential || refusal.code == Code::GuessingLimited;
        let operation = (!unproven).then_some(&asker.operation);
        let said = self.said(refusal);
        // Its operation would not say again what is to be certified, so it asks again as a whole.
        let waits = matches!(refusal.code.class(), Class::Waiting | Class::Passing);
        if waits && matches!(request, Request::Register(asked) if asked.csr.is_some()) {
            return Reply::Error(said.throttled());
        }
        said.reply(transport, &asker.id, operation)
    }

    /// The answer where there is no place on the road.
    pub(crate) fn busy(&self, asker: &Asker) -> Reply {
        let busy = Refusal::new(Code::Busy).after(2 + self.world.below(9));
        self.said(&busy)
            .reply(Transport::Mqtt, &asker.id, Some(&asker.operation))
    }

    /// The same refusal in the words of the `dps` crate. Passing causes pass for thousands of devices at
    /// once, so each is told another moment to come back.
    fn said(&self, refusal: &Refusal) -> DpsRefusal<'static> {
        let code = refusal.code;
        DpsRefusal {
            code: code.as_str(),
            class: match code.class() {
                Class::Credential => DpsClass::Credential,
                Class::Denied => DpsClass::Denied,
                Class::Request => DpsClass::Request,
                Class::Absent => DpsClass::Absent,
                Class::Passing => DpsClass::Passing,
                Class::Waiting => DpsClass::Waiting,
            },
            step: code.step().name(),
            message: code.message(),
            hint: code.hint(),
            retry: match (refusal.retry, code.class(), refusal.turn) {
                (Retry::Never, ..) => DpsRetry::Never,
                (Retry::After(seconds), Class::Passing, None) => {
                    DpsRetry::After(seconds.saturating_add(self.world.below(seconds / 2 + 1)))
                }
                (Retry::After(seconds), ..) => DpsRetry::After(seconds),
            },
        }
    }

    /// By what an answer is found in the log.
    fn tracking_id(&self) -> String {
        let mut id = [0; 8];
        (self.world.chance)(&mut id);
        hex::encode(id)
    }

    /// The topic and the payload of an answer over MQTT.
    pub(crate) fn published(&self, reply: &Reply, rid: &imprint_dps::Rid) -> (String, Vec<u8>) {
        let id = self.tracking_id();
        let at = self.world.now();
        reply.mqtt(rid, Trace { id: &id, at })
    }

    /// The answer to a question over MQTT that can't be read.
    pub(crate) fn unreadable(&self, error: &ParseError, asker: &Asker, origin: &Origin) -> Reply {
        let refusal = Refusal::new(Code::PayloadUnreadable)
            .detail(error.to_string())
            .about(asker.newcomer.hardware().text().as_str());
        self.registrar.note(&refusal, origin, self.world.now());
        Reply::Error(ServiceError::from(error))
    }
}

impl<L: Ledger, S: Signer> Devices<L, S> {
    /// Answers one request below `/{idScope}/registrations/`.
    pub(crate) async fn register(&self, asked: &Asked, peer: &Peer) -> Result<HttpReply, Turn> {
        let origin = Origin {
            door: "dps",
            ..asked.origin.clone()
        };
        let now = self.world.now();
        let dps = &self.dps;
        let id = dps.tracking_id();
        let trace = Trace { id: &id, at: now };
        let uri = &asked.head.uri;
        let target = uri
            .path_and_query()
            .map_or(uri.path(), |target| target.as_str());
        let method = asked.head.method.as_str();
        let call = match Call::parse(method, target, asked.content_type(), &asked.body) {
            Ok(call) => call,
            Err(error) => {
                let reply = Reply::Error(ServiceError::from(&error));
                return Ok(sent(reply.http(None, trace)));
            }
        };
        let token = asked.authorization().map_err(|why| {
            let refusal = Refusal::new(Code::SignatureUnreadable).detail(why);
            self.registrar.note(&refusal, &origin, now);
            refusal
        });
        let asker = token.and_then(|token| {
            let tpm = match &call.request {
                Request::Register(asked) => asked.tpm.as_ref(),
                _ => None,
            };
            let asker = dps.asker(&call.scope, &call.registration_id, token, tpm, peer);
            asker.inspect_err(|refusal| self.registrar.note(refusal, &origin, now))
        });
        let reply = match asker {
            Ok(asker) => {
                let transport = Transport::Https;
                dps.answer(&asker, &call.request, transport, &origin)
                    .await?
            }
            Err(refusal) => Reply::Error(dps.said(&refusal).error()),
        };
        Ok(sent(reply.http(Some(&call), trace)))
    }
}

/// A token, taken apart; the registrar says whether it is good.
fn signature(text: &str, expected: String) -> Result<SharedKeySignature, Refusal> {
    let unreadable = |why: String| Refusal::new(Code::SignatureUnreadable).detail(why);
    let sas = Sas::parse(text).map_err(|error| unreadable(error.to_string()))?;
    Ok(SharedKeySignature {
        resource: sas.resource.to_owned(),
        expiry: sas.expiry.to_owned(),
        signature: sas.signature,
        expected,
    })
}

/// The operation of a device: the same for the same device, whichever server it asks.
fn operation_of(scope: &IdScope, id: &RegistrationId) -> Result<OperationId, Refusal> {
    let name = format!("{}/{}", scope.canonical(), id.canonical());
    let hash = hex::encode(digest::digest(&digest::SHA256, name.as_bytes()));
    let part = |from, to| hash.get(from..to).unwrap_or_default();
    let text = format!(
        "5.{}.{}-{}-{}-{}-{}",
        part(0, 16),
        part(16, 24),
        part(24, 28),
        part(28, 32),
        part(32, 36),
        part(36, 48)
    );
    OperationId::new(&text)
        .map_err(|error| Refusal::new(Code::LedgerUnavailable).detail(error.to_string()))
}

/// What a device is told. All of it comes from the record, so the same device is told the same; but a
/// TPM's key is in other wrapping each time.
fn state(
    asker: &Asker,
    registration: &EntryRegistration,
    key_for_tpm: Option<Vec<u8>>,
) -> RegistrationState {
    let group = (registration.kind == EntryKind::Group).then(|| registration.entry.clone());
    let (symmetric_key, x509) = if key_for_tpm.is_some() {
        (None, None)
    } else if registration.shared_key {
        let enrollment_group_id = group;
        (
            Some(SymmetricKeyResult {
                enrollment_group_id,
            }),
            None,
        )
    } else {
        let x509 = X509Result {
            enrollment_group_id: group,
            ..X509Result::default()
        };
        (None, Some(x509))
    };
    RegistrationState {
        registration_id: Some(asker.id.clone()),
        created: Some(registration.created_at),
        assigned_hub: Some(registration.hub.clone()),
        device_id: Some(registration.device.as_str().to_owned()),
        status: Status::Assigned,
        substatus: Some(Substatus::InitialAssignment),
        last_updated: Some(registration.updated_at),
        etag: Some(Etag::of(format_args!(
            "{}-{}",
            registration.id, registration.version
        ))),
        tpm: key_for_tpm.map(|authentication_key| TpmResult { authentication_key }),
        symmetric_key,
        x509,
        ..RegistrationState::default()
    }
}

fn sent(reply: imprint_dps::HttpReply) -> HttpReply {
    HttpReply {
        status: reply.status,
        headers: reply.headers,
        body: reply.body,
    }
}
