//! HTTPS to the admin listener of a server that runs on this directory.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, anyhow, bail};
use axum::body::Body;
use http::{Request, Response};
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use imprint_pkix::certificate::Certificate;
use imprint_pkix::pem;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use crate::directory::Directory;
use crate::open::read_certificate;

/// One connection, for all that a command asks.
pub(crate) struct Remote {
    sender: SendRequest<Body>,
}

/// Why there is no connection.
pub(crate) enum ConnectError {
    /// Nobody listens there (any more).
    Refused(std::io::Error),
    /// Somebody does, and it is not the server of this directory, or it is broken.
    Other(anyhow::Error),
}

impl<E: Into<anyhow::Error>> From<E> for ConnectError {
    fn from(error: E) -> Self {
        Self::Other(error.into())
    }
}

impl Remote {
    pub(crate) async fn connect(
        directory: &Directory,
        address: &str,
    ) -> Result<Self, ConnectError> {
        let address: SocketAddr = address
            .parse()
            .with_context(|| format!("run/admin holds {address:?}"))?;
        let tcp = timeout(CONNECT_TIMEOUT, TcpStream::connect(reachable(address)))
            .await
            .map_err(|_| anyhow!("the admin listener at {address} does not answer"))?
            .map_err(ConnectError::Refused)?;
        let server = read_certificate(&directory.server_chain())?;
        let name = name_in(&server)?;
        let tls = TlsConnector::from(Arc::new(config(directory, &server)?));
        let tls = timeout(CONNECT_TIMEOUT, tls.connect(name, tcp))
            .await
            .map_err(|_| anyhow!("the admin listener at {address} does not speak TLS"))?
            .with_context(|| format!("TLS with the admin listener at {address}"))?;
        let (sender, connection) = http1::handshake(TokioIo::new(tls)).await?;
        tokio::spawn(connection);
        Ok(Self { sender })
    }

    pub(crate) async fn send(&mut self, request: Request<Body>) -> anyhow::Result<Response<Body>> {
        let exchange = async {
            // Right after an answer the connection may not have come round to the next request.
            self.sender.ready().await?;
            self.sender.send_request(request).await
        };
        let answer = timeout(ANSWER_TIMEOUT, exchange).await;
        let Ok(answer) = answer else {
            bail!("the server does not answer; see what is on record before trying again");
        };
        let answer: Response<Incoming> = answer.context(
            "the connection ended before the answer; see what is on record before trying again",
        )?;
        Ok(answer.map(Body::new))
    }
}

/// An address that is bound to every interface is reached by loopback.
fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}

/// A name that the server's certificate surely carries.
fn name_in(server: &Certificate) -> anyhow::Result<ServerName<'static>> {
    let name = server
        .names()
        .for_people()
        .find_map(|name| {
            let text = name
                .strip_prefix("DNS:")
                .or_else(|| name.strip_prefix("IP:"))?;
            ServerName::try_from(text.trim_start_matches("*.").to_owned()).ok()
        })
        .context("tls/server.pem carries no name")?;
    Ok(name)
}

fn config(directory: &Directory, server: &Certificate) -> anyhow::Result<ClientConfig> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let text = std::fs::read_to_string(directory.root_certificate())?;
    let mut roots = RootCertStore::empty();
    for der in pem::decode(pem::CERTIFICATE, &text)? {
        roots.add(CertificateDer::from(der))?;
    }
    let chain = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider))
        .build()?;
    let verifier = Arc::new(Pinned {
        der: server.der().to_vec(),
        chain,
    });
    Ok(ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_no_client_auth())
}

/// Trusts the very certificate that lies in the directory, also when it has expired: an operator
/// must reach a server whose certificates have ended, of all servers. Any other certificate has to
/// lead to the directory's root.
#[derive(Debug)]
struct Pinned {
    der: Vec<u8>,
    chain: Arc<WebPkiServerVerifier>,
}

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        if end_entity.as_ref() == self.der {
            return Ok(ServerCertVerified::assertion());
        }
        self.chain
            .verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.chain
            .verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.chain
            .verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.chain.supported_verify_schemes()
    }
}

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// 100,000 tokens are minted in seconds; a disk that is slower than this is broken.
const ANSWER_TIMEOUT: Duration = Duration::from_mins(1);
