//! One connection to the server, HTTP/1.1 inside TLS. Every wait has an end.

use std::net::SocketAddr;
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use http::{HeaderMap, Request, Uri};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use imprint_est::Secret;
use imprint_est::client::HttpRequest;
use rustls::{ClientConfig, HandshakeKind};
use rustls_pki_types::{CertificateDer, ServerName};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::tls;
use crate::trust::TrustError;

/// Where the server is: `https://host[:port]`, or `mqtts://host[:port]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// A DNS name or an address, as written, an IPv6 address without its brackets.
    pub host: String,
    /// The TCP port.
    pub port: u16,
    /// The name that the server's certificate has to have.
    pub name: ServerName<'static>,
}

impl Endpoint {
    /// Where MQTT is spoken: `mqtts://host[:port]`, or without the scheme.
    pub fn mqtts(text: &str) -> Result<Self, EndpointError> {
        let url = if text.contains("://") {
            text.to_owned()
        } else {
            format!("mqtts://{text}")
        };
        Self::parse(&url, "mqtts", DEFAULT_MQTT_PORT)
    }

    fn parse(url: &str, scheme: &'static str, default_port: u16) -> Result<Self, EndpointError> {
        let bad = |why| EndpointError {
            url: url.to_owned(),
            why,
        };
        let uri: Uri = url.parse().map_err(|_| bad("it is no URL"))?;
        if uri.scheme_str() != Some(scheme) {
            return Err(bad(match scheme {
                "https" => "it does not begin with https://",
                _ => "it does not begin with mqtts://",
            }));
        }
        if !matches!(uri.path(), "" | "/") || uri.query().is_some() {
            return Err(bad("it has a path; give host and port alone"));
        }
        let authority = uri.authority().ok_or_else(|| bad("it has no host"))?;
        if authority.as_str().contains('@') {
            return Err(bad("it has a user name in it"));
        }
        let host = authority
            .host()
            .trim_start_matches('[')
            .trim_end_matches(']')
            .to_owned();
        let port = authority.port_u16().unwrap_or(default_port);
        let name = ServerName::try_from(host.clone())
            .map_err(|_| bad("its host is neither a DNS name nor an address"))?;
        Ok(Self { host, port, name })
    }
}

impl FromStr for Endpoint {
    type Err = EndpointError;

    /// Where HTTPS is spoken: `https://host[:port]`.
    fn from_str(url: &str) -> Result<Self, EndpointError> {
        Self::parse(url, "https", DEFAULT_PORT)
    }
}

impl std::fmt::Display for Endpoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

/// A server URL that can't be dialled.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{url:?} is no server URL: {why}")]
pub struct EndpointError {
    url: String,
    why: &'static str,
}

/// How long the device waits before it calls a connection dead.
#[derive(Debug, Clone, Copy)]
pub struct Timeouts {
    /// For the name to resolve, and for each of its addresses to accept.
    pub connect: Duration,
    /// For the TLS handshake.
    pub handshake: Duration,
    /// From the first byte of a request to the last byte of its reply.
    pub exchange: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(10),
            handshake: Duration::from_secs(20),
            exchange: Duration::from_secs(30),
        }
    }
}

/// One open connection.
#[derive(Debug)]
pub struct Connection {
    sender: SendRequest<Full<Bytes>>,
    driver: JoinHandle<()>,
    host: String,
    exchange: Duration,
    chain: Vec<CertificateDer<'static>>,
    resumed: bool,
}

impl Connection {
    /// Connects, and shakes hands. The server was judged when this returns.
    pub async fn open(
        endpoint: &Endpoint,
        config: Arc<ClientConfig>,
        timeouts: Timeouts,
    ) -> Result<Self, LinkError> {
        let tls = secure(endpoint, config, timeouts).await?;
        let (_, session) = tls.get_ref();
        let resumed = session.handshake_kind() == Some(HandshakeKind::Resumed);
        let chain = session.peer_certificates().unwrap_or_default().to_vec();
        let (sender, connection) = http1::handshake(TokioIo::new(tls))
            .await
            .map_err(LinkError::Lost)?;
        let driver = tokio::spawn(async move {
            // Its end is seen by whoever waits for a reply.
            let _ = connection.await;
        });
        let (host, exchange) = (endpoint.to_string(), timeouts.exchange);
        Ok(Self {
            sender,
            driver,
            host,
            exchange,
            chain,
            resumed,
        })
    }

    /// What the server showed, its own certificate first.
    pub fn server_chain(&self) -> &[CertificateDer<'static>] {
        &self.chain
    }

    /// Whether TLS resumed an older session, and so proved no key.
    pub fn is_resumed(&self) -> bool {
        self.resumed
    }

    /// Whether the server has closed the connection.
    pub fn is_closed(&self) -> bool {
        self.sender.is_closed()
    }

    /// Sends one request and reads its reply: one HTTPS round trip, added to `trips` when the
    /// request leaves.
    pub async fn exchange(
        &mut self,
        request: &HttpRequest,
        authorization: Option<&Secret>,
        trips: &AtomicU32,
    ) -> Result<HttpReply, LinkError> {
        let request = self.build(request, authorization)?;
        trips.fetch_add(1, Ordering::Relaxed);
        timeout(self.exchange, self.send(request))
            .await
            .map_err(|_| LinkError::Silent { doing: "its reply" })?
    }

    fn build(
        &self,
        request: &HttpRequest,
        authorization: Option<&Secret>,
    ) -> Result<Request<Full<Bytes>>, LinkError> {
        let mut builder = Request::builder()
            .method(request.method)
            .uri(&request.path)
            .header("Host", &self.host)
            .header(
                "User-Agent",
                concat!("imprint-agent/", env!("CARGO_PKG_VERSION")),
            );
        for (name, value) in &request.headers {
            builder = builder.header(*name, value);
        }
        if let Some(secret) = authorization {
            let mut value = http::HeaderValue::from_bytes(secret.expose())
                .map_err(|error| LinkError::Request(error.into()))?;
            value.set_sensitive(true);
            builder = builder.header("Authorization", value);
        }
        let body = Full::new(Bytes::from(request.body.clone()));
        builder.body(body).map_err(LinkError::Request)
    }

    async fn send(&mut self, request: Request<Full<Bytes>>) -> Result<HttpReply, LinkError> {
        self.sender.ready().await.map_err(LinkError::Lost)?;
        let reply = self
            .sender
            .send_request(request)
            .await
            .map_err(LinkError::Lost)?;
        let (head, body) = reply.into_parts();
        let body = Limited::new(body, LONGEST_REPLY).collect().await;
        let body = body.map_err(|error| match error.downcast::<hyper::Error>() {
            Ok(lost) => LinkError::Lost(*lost),
            Err(_) => LinkError::TooLong,
        })?;
        Ok(HttpReply {
            status: head.status.as_u16(),
            headers: head.headers,
            body: body.to_bytes(),
        })
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

/// What came back.
#[derive(Debug, Clone)]
pub struct HttpReply {
    /// The status code.
    pub status: u16,
    /// All headers.
    pub headers: HeaderMap,
    /// The whole body.
    pub body: Bytes,
}

impl HttpReply {
    /// A header's value, when it is text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }
}

/// A TLS connection to the server, which was judged when this returns.
pub(crate) async fn secure(
    endpoint: &Endpoint,
    config: Arc<ClientConfig>,
    timeouts: Timeouts,
) -> Result<TlsStream<TcpStream>, LinkError> {
    let addresses = resolve(endpoint, timeouts.connect).await?;
    let tcp = dial(&addresses, timeouts.connect).await?;
    let connect = TlsConnector::from(config).connect(endpoint.name.clone(), tcp);
    let tls = timeout(timeouts.handshake, connect).await;
    tls.map_err(|_| LinkError::Silent {
        doing: "the TLS handshake",
    })?
    .map_err(handshake_error)
}

/// The addresses of the server, in the system's order.
pub(crate) async fn resolve(
    endpoint: &Endpoint,
    limit: Duration,
) -> Result<Vec<SocketAddr>, LinkError> {
    let host = endpoint.host.clone();
    let lookup = tokio::net::lookup_host((endpoint.host.as_str(), endpoint.port));
    let found = timeout(limit, lookup)
        .await
        .map_err(|_| LinkError::Silent {
            doing: "the name service",
        })?;
    let found = found.map_err(|source| LinkError::Resolve {
        host: host.clone(),
        source,
    })?;
    let addresses: Vec<_> = found.take(MOST_ADDRESSES).collect();
    if addresses.is_empty() {
        let source = std::io::ErrorKind::NotFound.into();
        return Err(LinkError::Resolve { host, source });
    }
    Ok(addresses)
}

/// The first of the addresses that accepts.
pub(crate) async fn dial(
    addresses: &[SocketAddr],
    limit: Duration,
) -> Result<TcpStream, LinkError> {
    let mut failure = LinkError::Silent {
        doing: "the connection",
    };
    for &address in addresses {
        match timeout(limit, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => {
                // Requests are small and single; waiting to fill a segment only costs time.
                let _ = stream.set_nodelay(true);
                return Ok(stream);
            }
            Ok(Err(source)) => failure = LinkError::Connect { address, source },
            Err(_) => {
                let source = std::io::ErrorKind::TimedOut.into();
                failure = LinkError::Connect { address, source };
            }
        }
    }
    Err(failure)
}

fn handshake_error(error: std::io::Error) -> LinkError {
    let inner = error
        .get_ref()
        .and_then(|inner| inner.downcast_ref::<rustls::Error>());
    match inner.map(|inner| (tls::trust_error(inner), inner)) {
        Some((Some(trust), _)) => LinkError::Trust(trust),
        Some((None, tls)) => LinkError::Tls(tls.clone()),
        None => LinkError::Handshake(error),
    }
}

const DEFAULT_PORT: u16 = 8443;
const DEFAULT_MQTT_PORT: u16 = 8883;
/// A profile and a chain have some KiB.
const LONGEST_REPLY: usize = 256 * 1024;
/// Dialled one after the other; a name with more of them is a mistake.
const MOST_ADDRESSES: usize = 8;

/// What went wrong between device and server. All of it may pass.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LinkError {
    /// The name has no address.
    #[error("the name {host} can't be resolved")]
    Resolve {
        /// The name.
        host: String,
        /// What the resolver said.
        source: std::io::Error,
    },
    /// Nobody accepts.
    #[error("{address} does not accept a connection")]
    Connect {
        /// The last address that was tried.
        address: SocketAddr,
        /// What the system said.
        source: std::io::Error,
    },
    /// The server is not who it should be.
    #[error("the server is not trusted: {0}")]
    Trust(TrustError),
    /// The two could not agree, or the server sent an alert.
    #[error("the TLS handshake failed")]
    Tls(#[source] rustls::Error),
    /// The connection broke in the handshake.
    #[error("the connection broke in the TLS handshake; is there TLS at this port?")]
    Handshake(#[source] std::io::Error),
    /// The connection broke afterwards.
    #[error("the connection broke before the reply was whole")]
    Lost(#[source] hyper::Error),
    /// The same, where MQTT is spoken.
    #[error("the connection broke before the answer came")]
    Broken(#[source] std::io::Error),
    /// What came is not MQTT as we know it.
    #[error("the server does not speak MQTT as it should: {0}")]
    Mqtt(String),
    /// Nothing came for too long.
    #[error("the server was silent for too long in {doing}")]
    Silent {
        /// What was waited for.
        doing: &'static str,
    },
    /// More bytes than any reply of ours.
    #[error("the reply is longer than {LONGEST_REPLY} bytes")]
    TooLong,
    /// Our own request can't be written, for instance a token with control characters.
    #[error("the request can't be written")]
    Request(#[source] http::Error),
    /// A fault that was asked for, in a demonstration or a test.
    #[error("the reply was lost on the way (a fault that was asked for)")]
    Injected,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_where_mqtt_is_spoken_is_a_host_and_a_port() {
        for (text, want) in [
            ("mqtts://localhost", Some("localhost:8883")),
            ("mqtts://fleet.example:443/", Some("fleet.example:443")),
            ("fleet.example:443", Some("fleet.example:443")),
            ("fleet.example", Some("fleet.example:8883")),
            ("[::1]:9", Some("[::1]:9")),
            ("mqtt://localhost", None),
            ("https://localhost", None),
            ("localhost/topic", None),
            ("me:pw@localhost", None),
            ("", None),
        ] {
            let got = Endpoint::mqtts(text).ok().map(|place| place.to_string());
            assert_eq!(got.as_deref(), want, "{text}");
        }
    }

    #[test]
    fn a_server_url_is_a_host_and_a_port() {
        for (url, want) in [
            (
                "https://localhost:8443",
                Some(("localhost:8443", "localhost")),
            ),
            (
                "https://fleet.example",
                Some(("fleet.example:8443", "fleet.example")),
            ),
            ("https://10.0.0.5:443/", Some(("10.0.0.5:443", "10.0.0.5"))),
            ("https://[::1]:9", Some(("[::1]:9", "::1"))),
            ("http://localhost:8443", None),
            ("localhost:8443", None),
            ("https://localhost/est", None),
            ("https://localhost?x=1", None),
            ("https://me:pw@localhost", None),
            ("https://-bad-.example.", None),
            ("https://", None),
            ("", None),
        ] {
            let got = url.parse::<Endpoint>();
            let seen = got
                .as_ref()
                .ok()
                .map(|e| (e.to_string(), e.name.to_str().into_owned()));
            assert_eq!(
                seen,
                want.map(|(a, b)| (a.to_owned(), b.to_owned())),
                "{url} {got:?}"
            );
        }
    }
}
