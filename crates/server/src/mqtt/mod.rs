//! MQTT for devices: an endpoint for reserved topics, and no broker.
//!
//! ```text
//! socket ─ talk ─ session ─┬─ frame    where a packet ends
//!            │             ├─ topics   who listens for what
//!            │             └─ wrong    how a refusal looks in MQTT
//!            └─ registrar: who is this certificate?
//! ```
//!
//! There is one message at a time between a device and us: nothing that a device publishes reaches
//! another one, and answers go to the connection that asked. To connect with its certificate is what
//! VERIFY means for a device that knows MQTT and nothing else.

mod frame;
mod session;
mod talk;
mod topics;
mod wrong;

use std::sync::Arc;

use imprint_registrar::enroll::Origin;
use imprint_registrar::refusal::{Code, Refusal};
use imprint_registrar::verify::Member;
use imprint_registrar::{Ledger, Registrar, Signer};
use tokio::sync::Semaphore;

use crate::listener::{Door, Http, Peer, Protocol, Stream, Terms};
use crate::world::World;
use session::Published;
use talk::Talk;

/// What MQTT is called in ALPN: by AWS with client certificates, and by everybody.
pub(crate) const ALPN: &[&[u8]] = &[b"x-amzn-mqtt-ca", b"mqtt"];

/// Everything that a device's connection needs.
pub(crate) struct Mqtt<L, S> {
    registrar: Arc<Registrar<L, S>>,
    world: World,
    /// Shared with the requests over HTTPS.
    in_flight: Arc<Semaphore>,
}

/// Who is at the other end, as far as its certificate says.
pub(crate) enum Speaker {
    /// A device of the fleet: by connecting it has done what it came for.
    Member(Box<Member>),
}

/// What became of a message.
enum Outcome {
    /// Nobody may publish there.
    Forbidden(Refusal),
}

impl<L: Ledger, S: Signer> Mqtt<L, S> {
    pub(crate) fn new(
        registrar: &Arc<Registrar<L, S>>,
        world: &World,
        in_flight: &Arc<Semaphore>,
    ) -> Self {
        Self {
            registrar: Arc::clone(registrar),
            world: world.clone(),
            in_flight: Arc::clone(in_flight),
        }
    }

    /// Judges the certificate that was shown in TLS. Nothing else that a client sends says who it is.
    async fn judge(&self, peer: &Peer, origin: &Origin) -> Result<Speaker, Refusal> {
        let now = self.world.now();
        let certificate = peer.certificate.as_ref().ok_or_else(|| {
            let refusal = Refusal::new(Code::CredentialMissing);
            self.registrar.note(&refusal, origin, now);
            refusal
        })?;
        let Ok(_permit) = self.in_flight.try_acquire() else {
            return Err(Refusal::new(Code::Busy));
        };
        let member = self.registrar.member(certificate, origin, now).await?;
        Ok(Speaker::Member(Box::new(member)))
    }

    /// Deals with one message. There is no topic yet to which anybody may publish.
    #[expect(
        clippy::unused_async,
        reason = "what a reserved topic asks for goes down the road"
    )]
    async fn message(&self, speaker: &Speaker, published: &Published) -> Outcome {
        let Speaker::Member(member) = speaker;
        let refusal = Refusal::new(Code::TopicForbidden)
            .detail(format!("published to {:?}", published.topic))
            .about(member.device.id.as_str());
        Outcome::Forbidden(refusal)
    }
}

impl Speaker {
    /// To which filters it may subscribe. To what end a member would, is its own business: nothing
    /// comes.
    fn filters(&self) -> fn(&str) -> bool {
        match self {
            Self::Member(_) => |_| true,
        }
    }

    fn name(&self) -> &str {
        match self {
            Self::Member(member) => member.device.id.as_str(),
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
            self.mqtt.speak(stream, peer, terms).await;
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
