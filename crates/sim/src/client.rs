//! A device by hand: TLS, HTTP and EST with nothing in between, and no second tries.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{Method, Request};
use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use imprint_pkix::certs_only;
use rustls::client::Resumption;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::key::DeviceKey;

/// Opens links to servers under one root.
#[derive(Clone)]
pub struct Client {
    roots: Arc<RootCertStore>,
    anonymous: Arc<ClientConfig>,
}

/// An open connection. Dropping it closes it.
pub struct Link {
    sender: SendRequest<Full<Bytes>>,
    driver: tokio::task::JoinHandle<()>,
}

/// What the server said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// The code in `Imprint-Refusal`, if there is one.
    pub refusal: Option<String>,
    /// The body.
    pub body: Vec<u8>,
}

/// The link broke, or was never made.
#[derive(Debug)]
pub struct Broken(pub String);

impl Client {
    /// For servers whose chain ends at `root_der`.
    #[must_use]
    pub fn new(root_der: &[u8]) -> Self {
        let mut roots = RootCertStore::empty();
        roots
            .add(CertificateDer::from(root_der.to_vec()))
            .expect("a root");
        let roots = Arc::new(roots);
        let builder = Self::builder(&roots);
        let anonymous = Self::unresumed(builder.with_no_client_auth());
        Self { roots, anonymous }
    }

    fn builder(
        roots: &Arc<RootCertStore>,
    ) -> rustls::ConfigBuilder<ClientConfig, rustls::client::WantsClientCert> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_root_certificates(Arc::clone(roots))
    }

    fn unresumed(mut config: ClientConfig) -> Arc<ClientConfig> {
        config.resumption = Resumption::disabled();
        Arc::new(config)
    }

    /// Without a certificate.
    pub async fn connect(&self, to: SocketAddr) -> Result<Link, Broken> {
        Link::open(to, to.ip().into(), Arc::clone(&self.anonymous)).await
    }

    /// With a certificate of the fleet.
    pub async fn connect_as(
        &self,
        to: SocketAddr,
        key: &DeviceKey,
        certificate: &[u8],
    ) -> Result<Link, Broken> {
        self.showing(to, to.ip().into(), key, certificate).await
    }

    /// With the certificate that a device was born with: it names the server in TLS.
    pub async fn connect_newborn(
        &self,
        to: SocketAddr,
        key: &DeviceKey,
        certificate: &[u8],
    ) -> Result<Link, Broken> {
        let name = ServerName::try_from("localhost").expect("a name");
        self.showing(to, name, key, certificate).await
    }

    async fn showing(
        &self,
        to: SocketAddr,
        name: ServerName<'static>,
        key: &DeviceKey,
        certificate: &[u8],
    ) -> Result<Link, Broken> {
        let chain = vec![CertificateDer::from(certificate.to_vec())];
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.pkcs8().to_vec()));
        let config = Self::builder(&self.roots).with_client_auth_cert(chain, key);
        Link::open(to, name, Self::unresumed(config.map_err(broken)?)).await
    }

    /// Enrolls on a connection of its own.
    pub async fn enroll(
        &self,
        to: SocketAddr,
        key: &DeviceKey,
        hardware: &str,
        token: &str,
    ) -> Result<Answer, Broken> {
        self.connect(to).await?.enroll(key, hardware, token).await
    }

    /// VERIFY on a connection of its own.
    pub async fn verify(
        &self,
        to: SocketAddr,
        key: &DeviceKey,
        certificate: &[u8],
    ) -> Result<Answer, Broken> {
        let mut link = self.connect_as(to, key, certificate).await?;
        link.send(Method::GET, "/v1/verify", None, None).await
    }
}

impl Link {
    async fn open(
        to: SocketAddr,
        name: ServerName<'static>,
        config: Arc<ClientConfig>,
    ) -> Result<Self, Broken> {
        let opening = async {
            let tcp = TcpStream::connect(to).await.map_err(broken)?;
            tcp.set_nodelay(true).map_err(broken)?;
            let tls = TlsConnector::from(config)
                .connect(name, tcp)
                .await
                .map_err(broken)?;
            http1::handshake(TokioIo::new(tls)).await.map_err(broken)
        };
        let (sender, connection) = timely(opening).await?;
        let driver = tokio::spawn(async move {
            let _ = connection.await;
        });
        Ok(Self { sender, driver })
    }

    /// `simpleenroll` with a token.
    pub async fn enroll(
        &mut self,
        key: &DeviceKey,
        hardware: &str,
        token: &str,
    ) -> Result<Answer, Broken> {
        let basic = format!("Basic {}", STANDARD.encode(format!("{hardware}:{token}")));
        let csr = STANDARD.encode(key.csr(hardware));
        self.send(
            Method::POST,
            "/.well-known/est/simpleenroll",
            Some(&basic),
            Some(csr),
        )
        .await
    }

    /// `simplereenroll` by the certificate that was shown.
    pub async fn renew(&mut self, key: &DeviceKey, name: &str) -> Result<Answer, Broken> {
        let csr = STANDARD.encode(key.csr(name));
        self.send(
            Method::POST,
            "/.well-known/est/simplereenroll",
            None,
            Some(csr),
        )
        .await
    }

    /// One request, one reply.
    pub async fn send(
        &mut self,
        method: Method,
        path: &str,
        authorization: Option<&str>,
        csr: Option<String>,
    ) -> Result<Answer, Broken> {
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header("Host", "localhost");
        if let Some(value) = authorization {
            request = request.header("Authorization", value);
        }
        if csr.is_some() {
            request = request
                .header("Content-Type", "application/pkcs10")
                .header("Content-Transfer-Encoding", "base64");
        }
        let body = Full::new(Bytes::from(csr.unwrap_or_default()));
        let request = request.body(body).map_err(broken)?;
        let exchange = async {
            self.sender.ready().await.map_err(broken)?;
            let reply = self.sender.send_request(request).await.map_err(broken)?;
            let (head, body) = reply.into_parts();
            let body = body.collect().await.map_err(broken)?.to_bytes().to_vec();
            let code = head
                .headers
                .get("Imprint-Refusal")
                .and_then(|value| value.to_str().ok());
            let refusal = code.map(|value| {
                value
                    .split(';')
                    .next()
                    .unwrap_or_default()
                    .trim()
                    .to_owned()
            });
            Ok(Answer {
                status: head.status.as_u16(),
                refusal,
                body,
            })
        };
        timely(exchange).await
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

impl Answer {
    /// The certificate that was granted, DER.
    #[must_use]
    pub fn certificate(&self) -> Option<Vec<u8>> {
        (self.status == 200).then(|| granted(&self.body))
    }
}

/// The first certificate of an EST reply's body.
#[must_use]
pub fn granted(body: &[u8]) -> Vec<u8> {
    let text: Vec<u8> = body
        .iter()
        .copied()
        .filter(|byte| !byte.is_ascii_whitespace())
        .collect();
    let der = STANDARD.decode(text).expect("a reply of 200 is base64");
    certs_only::decode(&der)
        .expect("a reply of 200 holds certificates")
        .swap_remove(0)
}

async fn timely<O>(exchange: impl Future<Output = Result<O, Broken>>) -> Result<O, Broken> {
    match tokio::time::timeout(PATIENCE, exchange).await {
        Ok(outcome) => outcome,
        Err(_) => Err(Broken("nothing came for too long".to_owned())),
    }
}

fn broken(error: impl std::error::Error) -> Broken {
    Broken(error.to_string())
}

/// Longer than the server's own patience under load.
const PATIENCE: Duration = Duration::from_secs(20);
