//! One conversation: the socket, the clock, and the session between them.

use std::collections::VecDeque;
use std::pin::Pin;
use std::time::Duration;

use imprint_registrar::enroll::Origin;
use imprint_registrar::refusal::{Code, Refusal};
use imprint_registrar::{Ledger, Signer, Ticks};
use mqtt_protocol_core::mqtt::result_code::DisconnectReasonCode;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::session::{Greeting, Heard, Published, Session};
use super::wrong::Wrong;
use super::{Judged, Mqtt, Outcome, Speaker};
use crate::listener::{Peer, Stream, Terms};

/// A conversation with one client.
pub(super) struct Talk<'a, L, S, IO> {
    mqtt: &'a Mqtt<L, S>,
    stream: IO,
    peer: &'a Peer,
    terms: &'a Terms<'a>,
    origin: Origin,
    session: Session,
}

/// How a conversation ends.
enum Ending {
    /// The client went, or its connection broke.
    Gone,
    /// A rude network cuts it, behind what is to be sent.
    Cut,
    /// The client was turned away; the registrar has noted it.
    Refused,
    /// Something is wrong with what the client did.
    Wrong(Wrong),
    /// It is over for a reason of ours.
    Ours(DisconnectReasonCode),
}

/// A message that is being dealt with, and then what became of it.
type Working<'a> = Pin<Box<dyn Future<Output = (Published, Outcome)> + Send + 'a>>;

impl<'a, L: Ledger, S: Signer, IO: Stream> Talk<'a, L, S, IO> {
    pub(super) fn new(
        mqtt: &'a Mqtt<L, S>,
        stream: IO,
        peer: &'a Peer,
        terms: &'a Terms<'a>,
    ) -> Self {
        let origin = Origin {
            door: "mqtt",
            address: peer.address.to_string(),
            at: Ticks::default(),
        };
        Self {
            mqtt,
            stream,
            peer,
            terms,
            origin,
            session: Session::new(terms.limits.mqtt.clone()),
        }
    }

    /// From CONNECT to the end.
    pub(super) async fn run(mut self) {
        let ending = match self.converse().await {
            Ok(never) => match never {},
            Err(ending) => ending,
        };
        match &ending {
            Ending::Gone => return self.close(Duration::ZERO).await,
            Ending::Cut => {
                let _ = self.flush().await;
                return self.close(Duration::ZERO).await;
            }
            Ending::Refused => {}
            Ending::Wrong(wrong) => {
                self.note(&wrong.refusal);
                self.session.end(wrong);
            }
            Ending::Ours(reason) => self.session.part(*reason),
        }
        if self.flush().await.is_ok() {
            self.close(LINGER).await;
        }
    }

    async fn converse(&mut self) -> Result<std::convert::Infallible, Ending> {
        // 1. Who comes, within a bounded time.
        let greeting = self.greeting().await?;
        // 2. May they? On a port that is shared with HTTPS, who stays doesn't take the last places.
        if self.peer.protocol.is_some() && self.terms.is_crowded() {
            return Err(self.refuse(&Code::Busy.into()));
        }
        let met = self.mqtt.meet(&greeting, self.peer, &self.origin).await;
        let speaker = match met {
            Ok(Some(Judged::In(speaker))) => speaker,
            // Without a CONNACK, as AWS does it, the client connects again by itself.
            Ok(Some(Judged::Again)) => return Err(Ending::Gone),
            Ok(None) => return Err(Ending::Cut),
            Err(refusal) => return Err(self.refuse(&refusal)),
        };
        // 3. What they want, until they go.
        self.welcome(&greeting, &speaker)?;
        self.serve(&greeting, &speaker).await
    }

    async fn greeting(&mut self) -> Result<Greeting, Ending> {
        let patience = self.terms.limits.mqtt.connect;
        let greeted = timeout(patience, async {
            loop {
                if let Some(heard) = self.session.next().map_err(Ending::Wrong)? {
                    return match heard {
                        Heard::Greeting(greeting) => Ok(greeting),
                        Heard::Published(_) | Heard::Goodbye => Err(Ending::Gone),
                    };
                }
                self.read().await?;
            }
        });
        let greeted = greeted.await;
        greeted.unwrap_or_else(|_| {
            tracing::debug!(address = self.origin.address, "no CONNECT in time");
            Err(Ending::Gone)
        })
    }

    fn refuse(&mut self, refusal: &Refusal) -> Ending {
        self.session.refuse(refusal);
        Ending::Refused
    }

    fn welcome(&mut self, greeting: &Greeting, speaker: &Speaker) -> Result<(), Ending> {
        // What a client says about itself is quoted, and cut: it is a stranger's text in our log.
        let said = |text: &str| text.chars().take(SAID).collect::<String>();
        tracing::debug!(
            speaker = speaker.name(),
            address = self.origin.address,
            client_id = ?said(&greeting.client_id),
            user_name = ?greeting.user_name.as_deref().map(said),
            "connected over MQTT"
        );
        let mut name = [0; 8];
        (self.mqtt.world.chance)(&mut name);
        let name = format!("imprint-{}", hex::encode(name));
        self.session
            .accept(greeting, &name, speaker.filters())
            .map_err(Ending::Wrong)
    }

    async fn serve(
        &mut self,
        greeting: &Greeting,
        speaker: &Speaker,
    ) -> Result<std::convert::Infallible, Ending> {
        let (mqtt, origin) = (self.mqtt, self.origin.clone());
        let origin = &origin;
        // Half as long again as the client has promised (MQTT 3.1.1 section 3.1.2.10).
        let keep_alive = Duration::from_secs(self.session.keep_alive(greeting).into());
        let patience = keep_alive + keep_alive / 2;
        let old = Instant::now() + self.terms.limits.mqtt.connection_age;
        let mut silent = Instant::now() + patience;
        let mut stop = self.terms.lifetime.stop.clone();
        let mut asked: VecDeque<Published> = VecDeque::new();
        let mut working: Option<Working<'_>> = None;
        loop {
            // 1. What has come. Messages wait their turn; they are answered in their order.
            while let Some(heard) = self.session.next().map_err(Ending::Wrong)? {
                match heard {
                    Heard::Published(published) => asked.push_back(published),
                    Heard::Goodbye => return Err(Ending::Gone),
                    Heard::Greeting(_) => return Err(Ending::Wrong(Wrong::unexpected("CONNECT"))),
                }
            }
            // Only a whole packet is a sign of life: bytes can trickle for ever.
            if self.session.take_alive() {
                silent = Instant::now() + patience;
            }
            // 2. What can be begun, and what can be sent.
            if working.is_none() && self.session.has_room() {
                working = asked.pop_front().map(|published| -> Working<'_> {
                    Box::pin(async move {
                        let client_id = &greeting.client_id;
                        let outcome = mqtt.hear(speaker, client_id, &published, origin).await;
                        (published, outcome)
                    })
                });
            }
            self.flush().await?;
            // 3. What comes next.
            let idle = working.is_none();
            let done = async {
                match working.as_mut() {
                    Some(working) => working.await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                (published, outcome) = done => {
                    working = None;
                    self.settle(&published, outcome)?;
                }
                read = read(&mut self.stream, &mut self.session) => read?,
                () = sleep_until(silent) => return Err(Ending::Wrong(Wrong::new(
                    Code::MqttSilent,
                    DisconnectReasonCode::KeepAliveTimeout,
                    "no packet within one and a half keep-alives",
                ))),
                // Nobody keeps a place for later that others wait for.
                () = sleep(LATER), if idle => if self.terms.is_crowded() {
                    return Err(Ending::Ours(DisconnectReasonCode::ServerBusy));
                },
                () = sleep_until(old) => {
                    return Err(Ending::Ours(DisconnectReasonCode::MaximumConnectTime));
                }
                () = stopped(&mut stop) => {
                    // What is under way is finished, and nothing else is begun.
                    if let Some(working) = working {
                        let drain = self.terms.limits.drain;
                        if let Ok((published, outcome)) = timeout(drain, working).await {
                            self.settle(&published, outcome)?;
                        }
                    }
                    return Err(Ending::Ours(DisconnectReasonCode::ServerShuttingDown));
                }
            }
        }
    }

    fn settle(&mut self, published: &Published, outcome: Outcome) -> Result<(), Ending> {
        match outcome {
            Outcome::Forbidden(refusal) => {
                // Noted here where the connection goes on; what ends it is noted at its end.
                let noted = refusal.clone();
                let forbidden = self.session.forbid(published, refusal);
                forbidden.map_err(Ending::Wrong)?;
                self.note(&noted);
            }
            Outcome::Taken => self.session.take(published).map_err(Ending::Wrong)?,
            Outcome::Answered(message) => {
                let answered = self.session.answer(published, message);
                answered.map_err(Ending::Wrong)?;
            }
            Outcome::Doubled(first, second) => {
                let answered = self.session.answer(published, first);
                answered.map_err(Ending::Wrong)?;
                self.session.repeat(second).map_err(Ending::Wrong)?;
            }
            Outcome::Lost { acknowledged } => {
                if acknowledged {
                    self.session.take(published).map_err(Ending::Wrong)?;
                }
                return Err(Ending::Cut);
            }
        }
        Ok(())
    }

    fn note(&self, refusal: &Refusal) {
        let now = self.mqtt.world.now();
        self.mqtt.registrar.note(refusal, &self.origin, now);
    }

    async fn read(&mut self) -> Result<(), Ending> {
        read(&mut self.stream, &mut self.session).await
    }

    /// Sends what has to be sent. Who doesn't read is left alone after a while.
    async fn flush(&mut self) -> Result<(), Ending> {
        let bytes = self.session.take_output();
        if bytes.is_empty() {
            return Ok(());
        }
        let write = async {
            self.stream.write_all(&bytes).await?;
            self.stream.flush().await
        };
        match timeout(self.terms.limits.headers, write).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) | Err(_) => Err(Ending::Gone),
        }
    }

    /// Closes. What the client is still sending is read and thrown away for a while: a socket that is
    /// closed over unread bytes takes our last words back.
    async fn close(&mut self, linger: Duration) {
        let _ = timeout(self.terms.limits.headers, self.stream.shutdown()).await;
        let mut rest = [0; 4_096];
        let drained = async { while let Ok(1..) = self.stream.read(&mut rest).await {} };
        let _ = timeout(linger, drained).await;
    }
}

async fn read(stream: &mut impl Stream, session: &mut Session) -> Result<(), Ending> {
    let mut bytes = [0; 2_048];
    match stream.read(&mut bytes).await {
        Ok(0) | Err(_) => Err(Ending::Gone),
        Ok(count) => {
            session.feed(bytes.get(..count).unwrap_or_default());
            Ok(())
        }
    }
}

/// Waits for the server's end. (The guard that the channel lends may not be held while we finish.)
async fn stopped(stop: &mut watch::Receiver<bool>) {
    let _ = stop.wait_for(|stop| *stop).await;
}

/// Characters of what a client says about itself that are logged.
const SAID: usize = 128;
/// How long a client may think before it asks for something, where places run short.
const LATER: Duration = Duration::from_secs(5);
/// How long the last words get.
const LINGER: Duration = Duration::from_secs(1);
