//! MQTT for devices: an endpoint for reserved topics, and no broker.
//!
//! ```text
//! socket ─ talk ─ session ─┬─ frame    where a packet ends
//!            │             └─ wrong    how a refusal looks in MQTT
//!            ├─ registrar: who is this certificate?
//!            ├─ claim: what a claim's holder publishes
//!            └─ dps: who registers by its entry, and who comes to its hub
//! ```
//!
//! The user name of a CONNECT says which of them is meant: Azure's SDKs write theirs in two forms that
//! nobody else's have.
//!
//! There is one message at a time between a device and us: nothing that a device publishes reaches
//! another one, and answers go to the connection that asked. To connect with its certificate is what
//! VERIFY means for a device that knows MQTT and nothing else.

mod frame;
mod session;
mod talk;
mod wrong;

use std::sync::Arc;

use imprint_claim::{Call, filter};
use imprint_dps::hub::{HubLogin, telemetry};
use imprint_dps::{Login, Question, SUBSCRIPTION, Transport};
use imprint_registrar::claims::{Arrival, ClaimSpeaker};
use imprint_registrar::enroll::Origin;
use imprint_registrar::refusal::{Code, Refusal};
use imprint_registrar::verify::Member;
use imprint_registrar::{Ledger, Registrar, Signer};

use crate::claim::Provision;
use crate::dps::{Asker, Dps, is_itself};
use crate::gate::{Gate, Turn};
use crate::hostile::{Fate, Hostile};
use crate::listener::{Door, Http, Peer, Protocol, Stream, Terms};
use crate::world::World;
use session::{Greeting, Message, Published};
use talk::Talk;

/// What MQTT is called in ALPN: by AWS with client certificates, and by everybody.
pub(crate) const ALPN: &[&[u8]] = &[b"x-amzn-mqtt-ca", b"mqtt"];

/// Everything that a device's connection needs.
pub(crate) struct Mqtt<L, S> {
    registrar: Arc<Registrar<L, S>>,
    world: World,
    gate: Arc<Gate>,
    provision: Arc<Provision<L, S>>,
    dps: Arc<Dps<L, S>>,
    /// Whether who was registered by connecting has to connect again.
    hang_up: bool,
    /// What makes the network rude.
    hostile: Option<Hostile>,
}

/// Who is at the other end, as far as its certificate says.
pub(crate) enum Speaker {
    /// A device of the fleet: by connecting it has done what it came for.
    Member(Box<Member>),
    /// The holder of a claim, which may provision devices and nothing else.
    Claim(Box<ClaimSpeaker>),
    /// A device that registers by its entry, and may do nothing else.
    Registrant(Box<Asker>),
    /// A device of the fleet that has come to its hub, by its name.
    AtHub(String),
}

/// What became of a greeting.
enum Judged {
    /// Come in.
    In(Speaker),
    /// Come again: the device is registered now.
    Again,
}

/// What became of a message.
enum Outcome {
    /// Nobody may publish there.
    Forbidden(Refusal),
    /// It was dealt with, and there is nothing to say.
    Taken,
    /// It was dealt with, and this is published back.
    Answered(Message),
    /// Rudeness: it was dealt with twice, and both answers are published.
    Doubled(Message, Message),
    /// Rudeness: it was dealt with, and the connection ends without a word, or after it was
    /// acknowledged.
    Lost { acknowledged: bool },
}

impl<L: Ledger, S: Signer> Mqtt<L, S> {
    pub(crate) fn new(
        registrar: &Arc<Registrar<L, S>>,
        world: &World,
        gate: &Arc<Gate>,
        provision: &Arc<Provision<L, S>>,
        dps: &Arc<Dps<L, S>>,
        hang_up: bool,
        hostile: Option<Hostile>,
    ) -> Self {
        Self {
            registrar: Arc::clone(registrar),
            world: world.clone(),
            gate: Arc::clone(gate),
            provision: Arc::clone(provision),
            dps: Arc::clone(dps),
            hang_up,
            hostile,
        }
    }

    /// Judges who comes: by the credential that goes with its user name.
    async fn judge(
        &self,
        greeting: &Greeting,
        peer: &Peer,
        origin: &Origin,
    ) -> Result<Judged, Refusal> {
        let user_name = greeting.user_name.as_deref().unwrap_or_default();
        if Login::is_user_name(user_name) {
            return self.registrant(greeting, user_name, peer, origin).await;
        }
        if HubLogin::is_user_name(user_name) {
            return self.at_hub(greeting, user_name, peer, origin).await;
        }
        self.by_certificate(peer, origin).await
    }

    /// A device that wants to be registered by its entry.
    async fn registrant(
        &self,
        greeting: &Greeting,
        user_name: &str,
        peer: &Peer,
        origin: &Origin,
    ) -> Result<Judged, Refusal> {
        let noted = |refusal| self.noted(refusal, origin);
        let login = Login::parse(&greeting.client_id, user_name)
            .map_err(|error| noted(unreadable(&error)))?;
        let token = password(greeting).map_err(noted)?;
        let (scope, id) = (&login.scope, &login.registration_id);
        let asker = self
            .dps
            .asker(scope, id, token, None, peer)
            .map_err(noted)?;
        let _place = self.gate.enter_new().ok_or(Code::Busy)?;
        self.dps.open(&asker, origin).await?;
        Ok(Judged::In(Speaker::Registrant(Box::new(asker))))
    }

    /// A device that comes to its hub, with the credential by which it was registered.
    async fn at_hub(
        &self,
        greeting: &Greeting,
        user_name: &str,
        peer: &Peer,
        origin: &Origin,
    ) -> Result<Judged, Refusal> {
        let noted = |refusal| self.noted(refusal, origin);
        let login = HubLogin::parse(&greeting.client_id, user_name)
            .map_err(|error| noted(unreadable(&error)))?;
        if let Some(token) = password(greeting).map_err(noted)? {
            // A signature that nobody has looked at yet takes no member's place.
            let _place = self.gate.enter_new().ok_or(Code::Busy)?;
            self.dps.at_hub(&login, token, origin).await?;
            return Ok(Judged::In(Speaker::AtHub(login.device_id)));
        }
        match self.by_certificate(peer, origin).await? {
            Judged::In(Speaker::Member(member)) => {
                is_itself(&login, &member).map_err(noted)?;
                Ok(Judged::In(Speaker::AtHub(login.device_id)))
            }
            judged => Ok(judged),
        }
    }

    fn noted(&self, refusal: Refusal, origin: &Origin) -> Refusal {
        self.registrar.note(&refusal, origin, self.world.now());
        refusal
    }

    /// Judges the certificate that was shown in TLS. Nothing else that such a client sends says who it
    /// is.
    async fn by_certificate(&self, peer: &Peer, origin: &Origin) -> Result<Judged, Refusal> {
        let now = self.world.now();
        let certificate = peer.certificate.as_ref().ok_or_else(|| {
            let refusal = Refusal::new(Code::CredentialMissing);
            self.registrar.note(&refusal, origin, now);
            refusal
        })?;
        let arrival = {
            let _place = self.gate.enter().ok_or(Code::Busy)?;
            let name = peer.server_name.as_deref();
            self.registrar
                .arrive(certificate, &peer.chain, name, origin, now)
                .await?
        };
        match arrival {
            Arrival::Member(member) => Ok(Judged::In(Speaker::Member(member))),
            Arrival::Claim(claim) => Ok(Judged::In(Speaker::Claim(claim))),
            Arrival::Newcomer(newcomer) => {
                let taken_in = self.provision.newcomer_in_turn(&newcomer, origin);
                let member = taken_in.await?;
                if self.hang_up {
                    return Ok(Judged::Again);
                }
                Ok(Judged::In(Speaker::Member(Box::new(member))))
            }
        }
    }

    /// Judges a client as [`Self::judge`] does, over a network that may be rude: `None`, it was
    /// judged, and hears nothing of it.
    async fn meet(
        &self,
        greeting: &Greeting,
        peer: &Peer,
        origin: &Origin,
    ) -> Result<Option<Judged>, Refusal> {
        let Some(hostile) = &self.hostile else {
            return self.judge(greeting, peer, origin).await.map(Some);
        };
        match hostile.fate() {
            Fate::Fair => {}
            Fate::Late(pause) => tokio::time::sleep(pause).await,
            Fate::Busy => return Err(hostile.busy()),
            Fate::Twice => drop(self.judge(greeting, peer, origin).await),
            Fate::Silent | Fate::Midway => {
                drop(self.judge(greeting, peer, origin).await);
                return Ok(None);
            }
        }
        self.judge(greeting, peer, origin).await.map(Some)
    }

    /// Deals with one message as [`Self::message`] does, over a network that may be rude.
    async fn hear(
        &self,
        speaker: &Speaker,
        client_id: &str,
        published: &Published,
        origin: &Origin,
    ) -> Outcome {
        let deal = || self.message(speaker, client_id, published, origin);
        let Some(hostile) = &self.hostile else {
            return deal().await;
        };
        match hostile.fate() {
            Fate::Fair => deal().await,
            Fate::Late(pause) => {
                tokio::time::sleep(pause).await;
                deal().await
            }
            Fate::Busy => match (speaker, Call::parse(&published.topic)) {
                (Speaker::Claim(_), Ok(call)) => {
                    let (topic, payload) = self.provision.turn_away(&call, hostile.busy());
                    Outcome::Answered(Message { topic, payload })
                }
                _ => deal().await,
            },
            Fate::Twice => match (deal().await, deal().await) {
                (Outcome::Answered(first), Outcome::Answered(second)) => {
                    Outcome::Doubled(first, second)
                }
                (_, second) => second,
            },
            fate @ (Fate::Silent | Fate::Midway) => {
                deal().await;
                Outcome::Lost {
                    acknowledged: fate == Fate::Midway,
                }
            }
        }
    }

    /// Deals with one message. A member has nothing to publish here; a claim's holder publishes to
    /// what is reserved for provisioning.
    async fn message(
        &self,
        speaker: &Speaker,
        client_id: &str,
        published: &Published,
        origin: &Origin,
    ) -> Outcome {
        match speaker {
            Speaker::Registrant(asker) => return self.asked(asker, published, origin).await,
            Speaker::AtHub(device) if telemetry(&published.topic, device).is_some() => {
                tracing::debug!(device, bytes = published.payload.len(), "telemetry");
                return Outcome::Taken;
            }
            _ => {}
        }
        let call = Call::parse(&published.topic);
        match (speaker, call) {
            (Speaker::Claim(claim), Ok(call)) => {
                let payload = &published.payload;
                let answer = self
                    .provision
                    .answer(&call, payload, claim, client_id, origin);
                let (topic, payload) = answer.await;
                Outcome::Answered(Message { topic, payload })
            }
            (speaker, call) => {
                let why = call
                    .err()
                    .map_or_else(String::new, |error| format!(": {error}"));
                let refusal = Refusal::new(Code::TopicForbidden)
                    .detail(format!("published to {:?}{why}", published.topic))
                    .about(speaker.name());
                Outcome::Forbidden(refusal)
            }
        }
    }
}

impl<L: Ledger, S: Signer> Mqtt<L, S> {
    /// Answers a question of a device that registers, when it is its turn.
    async fn asked(&self, asker: &Asker, published: &Published, origin: &Origin) -> Outcome {
        let question = match Question::parse(&published.topic) {
            Ok(question) => question,
            // Without a name for its answer nothing can be answered.
            Err(error) => {
                let refusal = Refusal::new(Code::TopicForbidden)
                    .detail(format!("published to {:?}: {error}", published.topic))
                    .about(asker.id());
                return Outcome::Forbidden(refusal);
            }
        };
        let id = asker.registration_id();
        let reply = match question.request(id, &published.payload) {
            Err(error) => self.dps.unreadable(&error, asker, origin),
            Ok(request) => loop {
                let at = self.gate.ticks();
                let origin = Origin {
                    at,
                    ..origin.clone()
                };
                let Some(place) = self.gate.enter_new() else {
                    break self.dps.busy(asker);
                };
                let (dps, transport) = (&self.dps, Transport::Mqtt);
                match dps.answer(asker, &request, transport, &origin).await {
                    Ok(reply) => break reply,
                    Err(Turn(wait)) => {
                        drop(place);
                        tokio::time::sleep(wait).await;
                    }
                }
            },
        };
        let (topic, payload) = self.dps.published(&reply, &question.rid);
        let payload = payload.into();
        Outcome::Answered(Message { topic, payload })
    }
}

/// The password as text: all that it can be is a shared access signature.
fn password(greeting: &Greeting) -> Result<Option<&str>, Refusal> {
    let bytes = greeting.password.as_ref().filter(|bytes| !bytes.is_empty());
    bytes
        .map(|bytes| std::str::from_utf8(bytes))
        .transpose()
        .map_err(|error| Refusal::new(Code::SignatureUnreadable).detail(error.to_string()))
}

/// A user name that says nothing.
fn unreadable(error: &impl std::fmt::Display) -> Refusal {
    Refusal::new(Code::UserNameUnreadable).detail(error.to_string())
}

impl Speaker {
    /// To which filters it may subscribe. To what end a member would, is its own business: nothing
    /// comes.
    fn filters(&self) -> fn(&str) -> bool {
        match self {
            Self::Member(_) | Self::AtHub(_) => |_| true,
            Self::Claim(_) => filter::reaches_a_reply,
            Self::Registrant(_) => |filter| filter == SUBSCRIPTION,
        }
    }

    fn name(&self) -> &str {
        match self {
            Self::Member(member) => member.device.id.as_str(),
            Self::Claim(claim) => claim.name(),
            Self::Registrant(asker) => asker.id(),
            Self::AtHub(device) => device,
        }
    }
}

impl<L: Ledger, S: Signer> Protocol for Mqtt<L, S> {
    async fn speak(&self, stream: impl Stream, peer: &Peer, terms: &Terms<'_>) {
        Talk::new(self, stream, peer, terms).run().await;
    }
}

/// One port for both: TLS says in ALPN which of them a client speaks.
pub(crate) struct Shared<D, L, S> {
    pub(crate) http: Http<D>,
    pub(crate) mqtt: Arc<Mqtt<L, S>>,
}

impl<D: Door, L: Ledger, S: Signer> Protocol for Shared<D, L, S> {
    async fn speak(&self, stream: impl Stream, peer: &Peer, terms: &Terms<'_>) {
        let chosen = peer.protocol.as_deref();
        if chosen.is_some_and(|chosen| ALPN.contains(&chosen)) {
            // In a box: a conversation in MQTT is large, and every connection's task would be.
            Box::pin(self.mqtt.speak(stream, peer, terms)).await;
        } else {
            self.http.speak(stream, peer, terms).await;
        }
    }
}

impl<L: Ledger, S: Signer> Protocol for Arc<Mqtt<L, S>> {
    async fn speak(&self, stream: impl Stream, peer: &Peer, terms: &Terms<'_>) {
        (**self).speak(stream, peer, terms).await;
    }
}
