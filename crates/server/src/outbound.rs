//! The server as a client: one POST to an address that an operator has configured, and its answer.
//!
//! Webhooks and hooks go out here. HTTPS, with the certificate judged by the system's authorities or by
//! a file of the operator's own; in the clear only to this machine itself. Redirects are not
//! followed: whoever is configured is who is asked. Every wait and every answer has a bound, and what
//! is sent is signed, so that the receiver can tell it from anybody else's.

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::hmac;
use http::header::{HOST, HeaderName, HeaderValue, USER_AGENT};
use http::{Request, Uri};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use imprint_identity::UnixTime;
use imprint_pkix::pem;
use imprint_registrar::{Signer, SignerError};
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::{CertificateDer, ServerName};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

/// Posts; made once, for all that share the same authorities.
#[derive(Clone)]
pub struct Outbound {
    tls: Arc<ClientConfig>,
}

/// Whose word counts for the certificates of those who are called.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Roots {
    /// The authorities that the operating system trusts.
    #[default]
    System,
    /// The certificates in this PEM file, and no others.
    File(PathBuf),
    /// These certificates, DER, and no others.
    Der(Vec<Vec<u8>>),
}

impl Outbound {
    /// Reads the authorities. A system without any is no error: it can still be asked to call itself.
    pub fn new(roots: &Roots) -> Result<Self, OutboundError> {
        let provider = Arc::new(default_provider());
        let mut tls = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&TLS13, &TLS12])
            .map_err(OutboundError::Tls)?
            .with_root_certificates(store(roots)?)
            .with_no_client_auth();
        tls.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Self { tls: Arc::new(tls) })
    }

    /// One request on a connection of its own. `limit` bounds the whole of it: name, connection,
    /// handshake, request, answer. Any status is an answer.
    pub async fn post(
        &self,
        url: &Target,
        headers: &[(HeaderName, HeaderValue)],
        body: impl Into<Bytes>,
        limit: Duration,
    ) -> Result<Answer, OutboundError> {
        self.line(url.clone()).post(headers, body, limit).await
    }

    /// A line to `url`, for one request after the other on as few connections as the other side allows.
    #[must_use]
    pub fn line(&self, url: Target) -> Line {
        Line {
            tls: Arc::clone(&self.tls),
            url,
            kept: None,
        }
    }
}

impl fmt::Debug for Outbound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Outbound")
    }
}

/// Requests to one address, one after the other.
pub struct Line {
    tls: Arc<ClientConfig>,
    url: Target,
    kept: Option<SendRequest<Full<Bytes>>>,
}

/// What came back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// The body, at most [`LONGEST_ANSWER`] octets.
    pub body: Bytes,
}

impl Line {
    /// One request, as [`Outbound::post`].
    pub async fn post(
        &mut self,
        headers: &[(HeaderName, HeaderValue)],
        body: impl Into<Bytes>,
        limit: Duration,
    ) -> Result<Answer, OutboundError> {
        let request = self.url.request(headers, body.into())?;
        let answer = timeout(limit, self.exchange(request)).await;
        let answer = answer.unwrap_or(Err(OutboundError::Slow { limit }));
        if answer.is_err() {
            // Whatever is still on its way there must not be taken for the answer to the next one.
            self.kept = None;
        }
        answer
    }

    async fn exchange(&mut self, request: Request<Full<Bytes>>) -> Result<Answer, OutboundError> {
        if let Some(mut kept) = self.kept.take()
            && kept.ready().await.is_ok()
        {
            let answered = exchange(&mut kept, request.clone()).await;
            match answered {
                // The other side closes a connection on which nothing happens, and may do so just as
                // we use it again. Who is called may see one request twice: see `webhooks`.
                Err(OutboundError::Broken(_)) => {}
                answered => {
                    self.kept = Some(kept);
                    return answered;
                }
            }
        }
        let mut fresh = self.connect().await?;
        let answer = exchange(&mut fresh, request).await?;
        self.kept = Some(fresh);
        Ok(answer)
    }

    async fn connect(&self) -> Result<SendRequest<Full<Bytes>>, OutboundError> {
        let tcp = self.url.dial().await?;
        // Requests are small and single; waiting to fill a segment only costs time.
        let _ = tcp.set_nodelay(true);
        match &self.url.name {
            None => handshake(tcp).await,
            Some(name) => {
                let connect = TlsConnector::from(Arc::clone(&self.tls)).connect(name.clone(), tcp);
                handshake(connect.await.map_err(OutboundError::Handshake)?).await
            }
        }
    }
}

impl fmt::Debug for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Line({})", self.url)
    }
}

async fn handshake(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
) -> Result<SendRequest<Full<Bytes>>, OutboundError> {
    let (sender, connection) = http1::handshake(TokioIo::new(stream))
        .await
        .map_err(OutboundError::Broken)?;
    // It ends when the sender is dropped; how, is seen by whoever waits for an answer.
    tokio::spawn(connection);
    Ok(sender)
}

async fn exchange(
    sender: &mut SendRequest<Full<Bytes>>,
    request: Request<Full<Bytes>>,
) -> Result<Answer, OutboundError> {
    let answer = sender.send_request(request).await;
    let (head, body) = answer.map_err(OutboundError::Broken)?.into_parts();
    let body = Limited::new(body, LONGEST_ANSWER).collect().await;
    let body = body.map_err(|error| match error.downcast::<hyper::Error>() {
        Ok(broken) => OutboundError::Broken(*broken),
        Err(_) => OutboundError::TooLong,
    })?;
    Ok(Answer {
        status: head.status.as_u16(),
        body: body.to_bytes(),
    })
}

/// Where a POST goes: `https://host[:port]/path`, or `http://` to a loopback address.
#[derive(Clone, PartialEq, Eq)]
pub struct Target {
    text: String,
    uri: Uri,
    host: String,
    port: u16,
    /// The name in the certificate; `None` in the clear.
    name: Option<ServerName<'static>>,
}

impl Target {
    /// The URL as it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    fn request(
        &self,
        headers: &[(HeaderName, HeaderValue)],
        body: Bytes,
    ) -> Result<Request<Full<Bytes>>, OutboundError> {
        let path = self.uri.path_and_query().map_or("/", |path| path.as_str());
        let host = self.uri.authority().map_or("", |host| host.as_str());
        let mut request = Request::post(path)
            .header(HOST, host)
            .header(USER_AGENT, concat!("imprint/", env!("CARGO_PKG_VERSION")));
        for (name, value) in headers {
            request = request.header(name, value);
        }
        request
            .body(Full::new(body))
            .map_err(OutboundError::Request)
    }

    /// The first of the host's addresses that accepts. In the clear, addresses elsewhere do not count,
    /// whatever a name service makes of `localhost`.
    async fn dial(&self) -> Result<TcpStream, OutboundError> {
        let unreachable = |source| OutboundError::Unreachable {
            host: self.host.clone(),
            port: self.port,
            source,
        };
        let found = tokio::net::lookup_host((self.host.as_str(), self.port)).await;
        let found: Vec<SocketAddr> = found.map_err(unreachable)?.take(MOST_ADDRESSES).collect();
        let in_the_clear = self.name.is_none();
        let mut failure = io::ErrorKind::AddrNotAvailable.into();
        for address in found {
            if in_the_clear && !address.ip().to_canonical().is_loopback() {
                continue;
            }
            match timeout(DIAL, TcpStream::connect(address)).await {
                Ok(Ok(tcp)) => return Ok(tcp),
                Ok(Err(error)) => failure = error,
                Err(_) => failure = io::ErrorKind::TimedOut.into(),
            }
        }
        Err(unreachable(failure))
    }
}

impl FromStr for Target {
    type Err = OutboundError;

    fn from_str(text: &str) -> Result<Self, OutboundError> {
        let bad = |why| OutboundError::Url {
            url: text.chars().take(256).collect(),
            why,
        };
        let uri: Uri = text.parse().map_err(|_| bad("it is no URL"))?;
        let authority = uri.authority().ok_or_else(|| bad("it has no host"))?;
        if authority.as_str().contains('@') {
            return Err(bad(
                "it has a user name in it; what is sent is signed instead",
            ));
        }
        let host = authority.host();
        let bare = host
            .trim_start_matches('[')
            .trim_end_matches(']')
            .to_owned();
        let (name, port) = match uri.scheme_str() {
            Some("https") => {
                let name = ServerName::try_from(bare.clone())
                    .map_err(|_| bad("its host is neither a DNS name nor an address"))?;
                (Some(name), 443)
            }
            Some("http") if is_this_machine(&bare) => (None, 80),
            Some("http") => {
                return Err(bad(
                    "it is in the clear; begin it with https:// (http:// is for loopback)",
                ));
            }
            _ => return Err(bad("it begins neither with https:// nor with http://")),
        };
        Ok(Self {
            text: text.to_owned(),
            port: authority.port_u16().unwrap_or(port),
            host: bare,
            name,
            uri,
        })
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Target({})", self.text)
    }
}

fn is_this_machine(host: &str) -> bool {
    host == "localhost"
        || host
            .parse::<IpAddr>()
            .is_ok_and(|ip| ip.to_canonical().is_loopback())
}

fn store(roots: &Roots) -> Result<RootCertStore, OutboundError> {
    let mut store = RootCertStore::empty();
    match roots {
        // A system's bundle may hold one that rustls does not take; the others count all the same.
        Roots::System => {
            let bundle = SYSTEM_BUNDLES
                .iter()
                .map(Path::new)
                .find(|path| path.is_file());
            let certificates = bundle.map(certificates).transpose()?.unwrap_or_default();
            store.add_parsable_certificates(certificates.into_iter().map(CertificateDer::from));
        }
        Roots::File(path) => {
            let certificates = certificates(path)?;
            if certificates.is_empty() {
                return Err(OutboundError::Roots {
                    path: path.clone(),
                    why: "it holds no certificate in PEM".to_owned(),
                });
            }
            for der in certificates {
                let added = store.add(CertificateDer::from(der));
                added.map_err(|error| OutboundError::Roots {
                    path: path.clone(),
                    why: error.to_string(),
                })?;
            }
        }
        Roots::Der(certificates) => {
            for der in certificates {
                let der = CertificateDer::from(der.clone());
                store.add(der).map_err(OutboundError::Tls)?;
            }
        }
    }
    Ok(store)
}

fn certificates(path: &Path) -> Result<Vec<Vec<u8>>, OutboundError> {
    let fault = |why: String| OutboundError::Roots {
        path: path.to_owned(),
        why,
    };
    let text = std::fs::read_to_string(path).map_err(|error| fault(error.to_string()))?;
    pem::decode(pem::CERTIFICATE, &text).map_err(|error| fault(error.to_string()))
}

/// The key under which what goes to `url` is signed: made of the server's own secret, so that nothing
/// has to be kept, and one receiver can't speak for the server to another.
pub async fn key_for(signer: &impl Signer, url: &str) -> Result<SigningKey, SignerError> {
    // No token contains a zero octet, so no token's hash is ever a key of ours.
    let message = [KEY_DOMAIN, url.as_bytes()].concat();
    Ok(SigningKey(signer.token_mac(&message).await?))
}

/// What a receiver knows to tell the server's requests from others.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct SigningKey([u8; 32]);

impl SigningKey {
    /// The key as text, as the receiver has it: its 64 hex digits *are* the HMAC key's octets in hex.
    #[must_use]
    pub fn to_hex(&self) -> String {
        hex::encode(self.0)
    }

    /// `t=<unix seconds>,v1=<hex of HMAC-SHA256(key, "<unix seconds>.<body>")>`, for the header
    /// [`SIGNATURE`]. The time is under the signature, so that a receiver can refuse old requests.
    #[must_use]
    pub fn sign(&self, now: UnixTime, body: &[u8]) -> String {
        let key = hmac::Key::new(hmac::HMAC_SHA256, &self.0);
        let mut context = hmac::Context::with_key(&key);
        context.update(now.0.to_string().as_bytes());
        context.update(b".");
        context.update(body);
        format!("t={},v1={}", now.0, hex::encode(context.sign().as_ref()))
    }
}

/// The key is not printed.
impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SigningKey")
    }
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OutboundError {
    /// Not a URL that can be called.
    #[error("{url:?} can't be called: {why}")]
    Url {
        /// What was written.
        url: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// The authorities can't be read.
    #[error("{}: no authorities can be read from it: {why}", path.display())]
    Roots {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// TLS can't be set up.
    #[error("TLS can't be set up")]
    Tls(#[source] rustls::Error),
    /// Headers that HTTP does not allow.
    #[error("the request can't be made")]
    Request(#[source] http::Error),
    /// The name has no address, or nobody accepts there.
    #[error("{host}:{port} can't be reached")]
    Unreachable {
        /// The host.
        host: String,
        /// The port.
        port: u16,
        /// The system's word.
        source: io::Error,
    },
    /// The other side is not who it should be, or does not speak TLS.
    #[error("the TLS handshake failed")]
    Handshake(#[source] io::Error),
    /// The connection ended before the answer, or the answer is not HTTP.
    #[error("the connection broke before the answer")]
    Broken(#[source] hyper::Error),
    /// Not in time.
    #[error("no answer within {} s", limit.as_secs_f32())]
    Slow {
        /// How long was waited.
        limit: Duration,
    },
    /// The answer is longer than anybody has reason to send.
    #[error("the answer is longer than 64 KiB")]
    TooLong,
}

/// Where the signature of a request stands.
pub const SIGNATURE: HeaderName = HeaderName::from_static("imprint-signature");

/// Octets of an answer's body that are read: a hook's reply has some hundred.
pub const LONGEST_ANSWER: usize = 64 * 1024;

const KEY_DOMAIN: &[u8] = b"imprint webhook v1\0";
/// For one address; a name may have more, and the first may be dead.
const DIAL: Duration = Duration::from_secs(3);
/// Dialled one after the other; a name with more of them is a mistake.
const MOST_ADDRESSES: usize = 4;
/// Debian and its kin, Fedora and its kin, Alpine and BSD.
const SYSTEM_BUNDLES: [&str; 3] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/cert.pem",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_says_where_to_and_in_the_clear_only_to_this_machine() {
        for (text, want) in [
            (
                "https://hooks.example/imprint?a=1",
                Some(("hooks.example", 443)),
            ),
            ("https://hooks.example:8443", Some(("hooks.example", 8443))),
            ("https://[2001:db8::1]/x", Some(("2001:db8::1", 443))),
            ("http://127.0.0.1:9000/hook", Some(("127.0.0.1", 9000))),
            ("http://127.8.8.8/", Some(("127.8.8.8", 80))),
            ("http://[::1]:9000/", Some(("::1", 9000))),
            ("http://localhost:9000/", Some(("localhost", 9000))),
            ("http://hooks.example/", None),
            ("http://192.0.2.1/", None),
            ("http://localhost.example/", None),
            ("https://user:word@hooks.example/", None),
            ("ftp://hooks.example/", None),
            ("/hook", None),
            ("hooks.example", None),
            ("", None),
        ] {
            let read: Result<Target, _> = text.parse();
            let got = read
                .as_ref()
                .ok()
                .map(|target| (target.host.as_str(), target.port));
            assert_eq!(got, want, "{text}");
        }
    }

    #[test]
    fn a_signature_is_what_openssl_makes_of_time_and_body() {
        // printf '1795534500.{"a":1}' | openssl dgst -sha256 -mac HMAC -macopt hexkey:0707...07
        let key = SigningKey([7; 32]);
        let signature = key.sign(UnixTime(1_795_534_500), b"{\"a\":1}");
        assert_eq!(signature, OPENSSL);
        assert_ne!(signature, key.sign(UnixTime(1_795_534_501), b"{\"a\":1}"));
        assert_ne!(signature, key.sign(UnixTime(1_795_534_500), b"{\"a\":2}"));
        assert_eq!(format!("{key:?}"), "SigningKey");
    }

    #[test]
    fn authorities_that_are_none_are_refused() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("ca.pem");
        let error = Outbound::new(&Roots::File(path.clone())).unwrap_err();
        assert!(matches!(error, OutboundError::Roots { .. }), "{error}");
        std::fs::write(&path, "no certificate").unwrap();
        assert!(Outbound::new(&Roots::File(path)).is_err());
        assert!(Outbound::new(&Roots::Der(vec![vec![0x30, 0]])).is_err());
        assert!(Outbound::new(&Roots::System).is_ok());
    }

    const OPENSSL: &str =
        "t=1795534500,v1=656b45f97a1b646c37a783ebd42e5e1430858e7023bbaa92b5b9dcdb4dc17a44";
}
