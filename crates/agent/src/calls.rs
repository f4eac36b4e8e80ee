//! What the agent asks the server, one HTTPS round trip each.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use imprint_device::Failure;
use imprint_est::client::{Answer, HttpRequest, Refusal, ReplyError, encode};
use imprint_est::{Operation, Request, RequestKind, Retry, Secret};
use imprint_identity::UnixTime;
use imprint_pkix::certs_only;
use rustls_pki_types::CertificateDer;
use serde::{Deserialize, Serialize};

use crate::http::{Connection, Endpoint, HttpReply, LinkError, Timeouts};
use crate::tls::{ClientIdentity, Suites, client_config};
use crate::trust::{Roots, Time};

/// The registrar, as a device sees it.
#[derive(Debug, Clone)]
pub struct Server {
    /// Where it is.
    pub endpoint: Endpoint,
    /// By which it is known.
    pub roots: Arc<Roots>,
    /// The label in EST paths.
    pub product: Option<String>,
    /// How long to wait.
    pub timeouts: Timeouts,
    /// With which cryptography.
    pub suites: Suites,
    /// HTTPS round trips so far.
    pub trips: Arc<AtomicU32>,
}

/// What came of a certification request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Enrolled {
    /// These certificates: the device's, from other servers perhaps with others.
    Granted(Vec<CertificateDer<'static>>),
    /// Not yet; after so many seconds, if the server said.
    Pending(Option<u32>),
}

/// What a device says of its own trouble: closed codes, nothing else.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// The step at which it stands.
    pub step: String,
    /// A refusal's word or one of the agent's own, at most 32 characters.
    pub code: String,
    /// How often it has failed there.
    pub attempts: u32,
}

impl Server {
    /// A fresh connection, with or without the device's certificate.
    pub async fn open(
        &self,
        time: Time,
        identity: Option<ClientIdentity>,
    ) -> Result<Connection, LinkError> {
        let config = client_config(Arc::clone(&self.roots), time, self.suites, identity);
        let config = config.map_err(LinkError::Tls)?;
        Connection::open(&self.endpoint, config, self.timeouts).await
    }

    /// Round trips so far.
    pub fn trips(&self) -> u32 {
        self.trips.load(Ordering::Relaxed)
    }

    /// `GET /v1/time`: the server's time. It is worth what the handshake was worth.
    pub async fn time(&self, connection: &mut Connection) -> Result<UnixTime, CallError> {
        let reply = self.get(connection, "/v1/time", None).await?;
        let told: Told = json(&reply)?;
        Ok(UnixTime(told.unix))
    }

    /// The authorities' certificates (RFC 7030 section 4.1).
    pub async fn ca_certs(
        &self,
        connection: &mut Connection,
    ) -> Result<Vec<CertificateDer<'static>>, CallError> {
        match self.est(connection, RequestKind::CaCerts, None).await? {
            Answer::CaCerts(bag) => unwrap(&bag),
            Answer::Refused(refusal) => Err(refusal.into()),
            _ => Err(CallError::Unreadable(
                "cacerts was answered by something else".into(),
            )),
        }
    }

    /// `simpleenroll` with a bootstrap credential, or `simplereenroll` on a connection that shows
    /// the certificate to be renewed.
    pub async fn enroll(
        &self,
        connection: &mut Connection,
        request: RequestKind,
        authorization: Option<&Secret>,
    ) -> Result<Enrolled, CallError> {
        match self.est(connection, request, authorization).await? {
            Answer::Certificate(bag) => Ok(Enrolled::Granted(unwrap(&bag)?)),
            Answer::Pending { retry_after } => Ok(Enrolled::Pending(retry_after)),
            Answer::Refused(refusal) => Err(refusal.into()),
            _ => Err(CallError::Unreadable(
                "the request was answered by something else".into(),
            )),
        }
    }

    /// `GET /v1/profile`: the connection profile, a JSON object, kept byte for byte.
    pub async fn profile(
        &self,
        connection: &mut Connection,
        authorization: Option<&Secret>,
    ) -> Result<Vec<u8>, CallError> {
        let reply = self.get(connection, "/v1/profile", authorization).await?;
        let _: Profile = json(&reply)?;
        Ok(reply.body.to_vec())
    }

    /// `GET /v1/verify` on a connection that shows the new certificate: the server's time.
    pub async fn verify(&self, connection: &mut Connection) -> Result<UnixTime, CallError> {
        let reply = self.get(connection, "/v1/verify", None).await?;
        let verified: Verified = json(&reply)?;
        Ok(UnixTime(verified.server_time))
    }

    /// `POST /v1/report`.
    pub async fn report(
        &self,
        connection: &mut Connection,
        report: &Report,
        authorization: Option<&Secret>,
    ) -> Result<(), CallError> {
        let body = serde_json::to_vec(report).map_err(|e| CallError::Unreadable(e.to_string()))?;
        let headers = vec![
            ("Content-Type", "application/json".to_owned()),
            ("Content-Length", body.len().to_string()),
        ];
        let request = HttpRequest {
            method: "POST",
            path: "/v1/report".into(),
            headers,
            body,
        };
        let reply = connection
            .exchange(&request, authorization, &self.trips)
            .await?;
        success(&reply)
    }

    async fn est(
        &self,
        connection: &mut Connection,
        kind: RequestKind,
        authorization: Option<&Secret>,
    ) -> Result<Answer, CallError> {
        let operation: Operation = kind.operation();
        let request = encode(&Request {
            label: self.product.as_deref(),
            kind,
        });
        let reply = connection
            .exchange(&request, authorization, &self.trips)
            .await?;
        let header = |name: &str| reply.header(name);
        Ok(Answer::parse(operation, reply.status, header, &reply.body)?)
    }

    async fn get(
        &self,
        connection: &mut Connection,
        path: &str,
        authorization: Option<&Secret>,
    ) -> Result<HttpReply, CallError> {
        let headers = vec![("Accept", "application/json".to_owned())];
        let request = HttpRequest {
            method: "GET",
            path: path.into(),
            headers,
            body: Vec::new(),
        };
        let reply = connection
            .exchange(&request, authorization, &self.trips)
            .await?;
        success(&reply)?;
        Ok(reply)
    }
}

fn success(reply: &HttpReply) -> Result<(), CallError> {
    match reply.status {
        200..300 => Ok(()),
        400..600 => Err(Refusal::read(reply.status, |name| reply.header(name), &reply.body).into()),
        status => Err(ReplyError::Status { status }.into()),
    }
}

fn json<'a, T: Deserialize<'a>>(reply: &'a HttpReply) -> Result<T, CallError> {
    serde_json::from_slice(&reply.body).map_err(|error| CallError::Unreadable(error.to_string()))
}

fn unwrap(bag: &[u8]) -> Result<Vec<CertificateDer<'static>>, CallError> {
    let found = certs_only::decode(bag).map_err(|e| CallError::Unreadable(e.to_string()))?;
    Ok(found.into_iter().map(CertificateDer::from).collect())
}

#[derive(Deserialize)]
struct Told {
    unix: i64,
}

#[derive(Deserialize)]
struct Verified {
    server_time: i64,
}

/// What the agent itself reads of a connection profile; the rest is for the device's programs.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
pub struct Profile {
    /// When to renew, Unix seconds; without it at two thirds of the certificate's lifetime.
    #[serde(default)]
    pub renew_after: Option<i64>,
    /// `strict`: the product wants a device to rest when its attempts at a step are used up. Any other
    /// word, and none, is the default.
    #[serde(default)]
    pub quarantine: Option<String>,
}

impl Profile {
    /// The profile in these bytes; what can't be read says nothing.
    pub(crate) fn of(bytes: &[u8]) -> Self {
        serde_json::from_slice(bytes).unwrap_or_default()
    }

    /// Whether the product is strict.
    pub fn is_strict(&self) -> bool {
        self.quarantine.as_deref() == Some("strict")
    }
}

/// Why a question got no usable answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CallError {
    /// The connection failed.
    #[error(transparent)]
    Link(#[from] LinkError),
    /// The server said no.
    #[error("the server refused: {0}")]
    Refused(Refusal),
    /// The reply is no answer to this question.
    #[error(transparent)]
    Reply(#[from] ReplyError),
    /// The reply has the wrong content.
    #[error("the server's reply can't be read: {0}")]
    Unreadable(String),
}

impl From<Refusal> for CallError {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl CallError {
    /// What the state machine is told: the word, and whether to come back.
    ///
    /// Only a refusal that says so is final. Whatever else is wrong with a connection or a reply
    /// may be a captive portal, a proxy, or a server in the middle of an update.
    pub fn failure(&self) -> Failure {
        match self {
            Self::Link(error) => Failure::passing(error.code()),
            Self::Reply(_) | Self::Unreadable(_) => Failure::passing("reply-unreadable"),
            Self::Refused(refusal) => {
                let code = match &refusal.note {
                    Some(note) => note.code.clone(),
                    None => format!("http-{}", refusal.status),
                };
                let passing = Failure::passing(&code);
                match refusal.retry() {
                    Some(Retry::Never) => Failure::lasting(&code),
                    Some(Retry::After(seconds)) => Failure {
                        retry: imprint_device::Retry::After(seconds),
                        ..passing
                    },
                    None => passing,
                }
            }
        }
    }
}

impl CallError {
    /// Whether the server has named the moment at which it is this device's turn. Another server's
    /// `Retry-After` is what it tells everybody: that is no turn.
    pub fn is_turn(&self) -> bool {
        let Self::Refused(refusal) = self else {
            return false;
        };
        let note = refusal.note.as_ref();
        let named = matches!(refusal.retry(), Some(Retry::After(_)));
        named && note.is_some_and(|note| note.code == RATE_LIMITED)
    }
}

/// The registrar's word for a turn.
const RATE_LIMITED: &str = "rate-limited";

impl LinkError {
    /// The stable word for it.
    pub fn code(&self) -> &'static str {
        use crate::trust::TrustError;
        match self {
            Self::Resolve { .. } => "server-name-unresolved",
            Self::Connect { .. } => "server-unreachable",
            Self::Silent { .. } => "server-silent",
            Self::Trust(TrustError::Expired { .. }) => "server-certificate-expired",
            Self::Trust(TrustError::NotYetValid { .. }) => "server-certificate-not-yet-valid",
            Self::Trust(_) => "server-untrusted",
            Self::Tls(_) | Self::Handshake(_) => "tls-failed",
            Self::Lost(_) | Self::Broken(_) | Self::Injected => "reply-lost",
            Self::TooLong | Self::Request(_) | Self::Mqtt(_) => "reply-unreadable",
        }
    }
}
