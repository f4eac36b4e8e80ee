//! The `https` listener's requests: read, counted, led to their door.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use http_body_util::BodyExt as _;
use hyper::body::{Bytes, Incoming};
use hyper::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderName, USER_AGENT};
use hyper::http::request::Parts;
use hyper::{Request, Response};
use imprint_attest::PeerCertificate;
use imprint_dps::Call;
use imprint_est::{Basic, HttpReply, LineStyle, Reply};
use imprint_identity::UnixTime;
use imprint_registrar::enroll::{Origin, Shown};
use imprint_registrar::refusal::{Class, Code, Refusal, Retry};
use imprint_registrar::{Ledger, Registrar, Signer, Ticks};
use zeroize::Zeroizing;

use crate::claim::Provision;
use crate::dps::Dps;
use crate::gate::{Gate, Place, Turn};
use crate::hostile::Hostile;
use crate::limits::{BODY, BODY_DISCARDED, ReportRate};
use crate::listener::{Door, Peer};
use crate::network::{self, Network};
use crate::reply::{ReplyBody, Torn, refused, response};
use crate::world::World;

/// Everything that a device's request needs.
pub(crate) struct Devices<L, S> {
    pub(crate) registrar: Arc<Registrar<L, S>>,
    pub(crate) world: World,
    /// `/cacerts`, ready: certs-only CMS, DER.
    pub(crate) ca_certs: Vec<u8>,
    pub(crate) trusted_proxies: Vec<Network>,
    pub(crate) body_timeout: Duration,
    pub(crate) gate: Arc<Gate>,
    pub(crate) provision: Arc<Provision<L, S>>,
    pub(crate) dps: Arc<Dps<L, S>>,
    pub(crate) report_rate: Mutex<ReportRate>,
    pub(crate) hostile: Option<Hostile>,
}

/// One request, all of it here.
#[derive(Clone)]
pub(crate) struct Asked {
    pub(crate) head: Parts,
    /// At most one byte more than [`BODY`]: enough to see that it is too long.
    pub(crate) body: Bytes,
    pub(crate) origin: Origin,
}

impl<L: Ledger, S: Signer> Door for Devices<L, S> {
    type Body = ReplyBody;

    async fn answer(
        &self,
        request: Request<Incoming>,
        peer: &Peer,
    ) -> Result<Response<ReplyBody>, Torn> {
        let asked = match self.read(request, peer).await {
            Ok(asked) => asked,
            Err(reply) => return Ok(closing(response(reply))),
        };
        match &self.hostile {
            None => Ok(response(self.in_turn(asked, peer).await)),
            Some(hostile) => hostile.treat(|| self.in_turn(asked.clone(), peer)).await,
        }
    }
}

impl<L: Ledger, S: Signer> Devices<L, S> {
    async fn read(&self, request: Request<Incoming>, peer: &Peer) -> Result<Asked, HttpReply> {
        let (head, body) = request.into_parts();
        let address = network::client(peer.address, &head.headers, &self.trusted_proxies);
        match tokio::time::timeout(self.body_timeout, whole(body)).await {
            Ok(Ok(body)) => {
                let origin = Origin {
                    door: "est",
                    address: address.to_string(),
                    at: Ticks::default(),
                };
                Ok(Asked { head, body, origin })
            }
            Ok(Err(error)) => Err(unread(400, "request-broken", &error.to_string())),
            Err(_) => {
                tracing::debug!(%address, "a body did not arrive in time");
                Err(unread(
                    408,
                    "request-too-slow",
                    "The request did not arrive in time.",
                ))
            }
        }
    }

    /// Answers when it is this request's turn. Who has to wait for a moment waits here and holds a
    /// connection, and no place on the road.
    async fn in_turn(&self, mut asked: Asked, peer: &Peer) -> HttpReply {
        loop {
            asked.origin.at = self.gate.ticks();
            // Only now, with the whole request here: whoever sends slowly holds up nobody.
            let Some(place) = self.place(&asked, peer) else {
                let busy = Refusal::new(Code::Busy).after(2 + self.world.below(9));
                return refused(&busy).encode(LineStyle::Wrapped);
            };
            match self.reply(&asked, peer).await {
                Ok(reply) => return reply,
                Err(Turn(wait)) => {
                    drop(place);
                    tokio::time::sleep(wait).await;
                }
            }
        }
    }

    fn place(&self, asked: &Asked, peer: &Peer) -> Option<Place<'_>> {
        // A certificate that anybody may have made says nothing about who is in: at DPS's paths everybody is
        // a newcomer.
        let is_newcomer = peer.certificate.is_none()
            || asked.head.headers.contains_key(AUTHORIZATION)
            || Call::is_path(asked.head.uri.path());
        if is_newcomer {
            self.gate.enter_new()
        } else {
            self.gate.enter()
        }
    }

    async fn reply(&self, asked: &Asked, peer: &Peer) -> Result<HttpReply, Turn> {
        let path = asked.head.uri.path();
        if path.starts_with("/v1/") {
            Ok(self.device(asked, peer).await)
        } else if Call::is_path(path) {
            self.register(asked, peer).await
        } else {
            self.est(asked, peer).await
        }
    }

    /// VERIFY is any request over mutual TLS by a certificate of ours, also where nobody asks who it
    /// is: third-party clients know no `/v1/verify`. A foreign certificate, such as the one that
    /// a maker put into the chip, is not our business here.
    pub(crate) async fn seen(&self, asked: &Asked, peer: &Peer, now: UnixTime) {
        let Some(certificate) = peer
            .certificate
            .as_ref()
            .filter(|shown| self.is_ours(shown))
        else {
            return;
        };
        // A refusal is noted by the registrar; what was asked for is for everybody.
        let _ = self.registrar.member(certificate, &asked.origin, now).await;
    }

    fn is_ours(&self, shown: &PeerCertificate) -> bool {
        let Some(certificate) = &shown.parsed else {
            return false;
        };
        let mut issuers = self.registrar.authorities().issuers().iter();
        issuers.any(|issuer| issuer.certificate.subject_der() == certificate.issuer_der())
    }

    /// A refusal as the reply of this server. Passing causes pass for thousands of devices at once,
    /// so each is told another moment to come back.
    pub(crate) fn refuse(&self, mut refusal: Refusal) -> Reply {
        // A turn is a moment of its own already.
        if let (Class::Passing, Retry::After(seconds), None) =
            (refusal.code.class(), refusal.retry, refusal.turn)
        {
            let spread = self.world.below(seconds / 2 + 1);
            refusal.retry = Retry::After(seconds.saturating_add(spread));
        }
        refused(&refusal)
    }
}

impl Asked {
    /// A header as text; what is not visible ASCII is not there.
    pub(crate) fn header(&self, name: &HeaderName) -> Option<&str> {
        self.head
            .headers
            .get(name)
            .and_then(|value| value.to_str().ok())
    }

    /// What stands in `Authorization`, if anything does.
    pub(crate) fn authorization(&self) -> Result<Option<&str>, String> {
        let value = self.head.headers.get(AUTHORIZATION);
        let text = value.map(|value| value.to_str()).transpose();
        text.map_err(|error| error.to_string())
    }

    pub(crate) fn content_type(&self) -> Option<&str> {
        self.header(&CONTENT_TYPE)
    }

    pub(crate) fn line_style(&self) -> LineStyle {
        LineStyle::for_request(self.header(&USER_AGENT), self.header(&ACCEPT))
    }

    /// What is shown to say who asks: the token in `Authorization` if there is one, else the client
    /// certificate. Credentials that can't be read are refused and not passed over.
    pub(crate) fn shown(&self, peer: &Peer) -> Result<Shown, Refusal> {
        if let Some(value) = self.head.headers.get(AUTHORIZATION) {
            let unreadable = |why: String| Refusal::new(Code::CredentialMissing).detail(why);
            let text = value
                .to_str()
                .map_err(|error| unreadable(error.to_string()))?;
            let basic = Basic::parse(text).map_err(|error| unreadable(error.to_string()))?;
            return Ok(Shown::Token {
                text: Zeroizing::new(basic.token().to_owned()),
                hardware: Some(basic.user).filter(|user| !user.is_empty()),
            });
        }
        Ok(peer
            .certificate
            .clone()
            .map_or(Shown::Nothing, Shown::Certificate))
    }
}

/// All of a body that is short enough. Of a longer one, the beginning; the rest is thrown away, up
/// to a bound.
async fn whole(mut body: Incoming) -> Result<Bytes, hyper::Error> {
    let mut kept = Vec::new();
    let mut seen = 0_usize;
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame?.into_data() else {
            continue;
        };
        seen = seen.saturating_add(data.len());
        let room = (BODY + 1).saturating_sub(kept.len()).min(data.len());
        kept.extend_from_slice(data.get(..room).unwrap_or_default());
        if seen > BODY_DISCARDED {
            break;
        }
    }
    Ok(kept.into())
}

/// The request is not here, so nobody can say more about it.
fn unread(status: u16, code: &'static str, text: &str) -> HttpReply {
    let reply = Reply::Refused {
        status,
        retry_after: Some(30),
        code,
        step: "BOOTSTRAP",
        text: text.to_owned(),
    };
    reply.encode(LineStyle::Wrapped)
}

/// What is left of the request would be read as the next one.
fn closing<B>(mut response: Response<B>) -> Response<B> {
    let close = hyper::header::HeaderValue::from_static("close");
    response
        .headers_mut()
        .insert(hyper::header::CONNECTION, close);
    response
}
