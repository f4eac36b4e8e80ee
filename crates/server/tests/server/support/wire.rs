//! A client that sends the bytes it is given and keeps the bytes it gets.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use imprint_pkix::certs_only;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{ResolvesClientCert, Resumption, WebPkiServerVerifier};
use rustls::crypto::CryptoProvider;
use rustls::crypto::aws_lc_rs::{default_provider, sign};
use rustls::sign::CertifiedKey;
use rustls::{
    ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme, SupportedProtocolVersion,
};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName, UnixTime};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// How to connect.
#[derive(Clone)]
pub(crate) struct Client {
    pub(crate) address: SocketAddr,
    roots: Arc<RootCertStore>,
    pub(crate) provider: CryptoProvider,
    pub(crate) versions: Vec<&'static SupportedProtocolVersion>,
    pub(crate) alpn: Vec<Vec<u8>>,
    identity: Option<Arc<CertifiedKey>>,
    name: &'static str,
}

impl Client {
    pub(crate) fn new(address: SocketAddr, root: &[u8]) -> Self {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from(root.to_vec())).unwrap();
        Self {
            address,
            roots: Arc::new(roots),
            provider: default_provider(),
            versions: vec![&rustls::version::TLS12, &rustls::version::TLS13],
            alpn: Vec::new(),
            identity: None,
            name: LOCALHOST,
        }
    }

    /// Asks TLS for a server of this name, and takes the one that is there.
    pub(crate) const fn naming(mut self, name: &'static str) -> Self {
        self.name = name;
        self
    }

    pub(crate) fn with_identity(mut self, certificate: &[u8], pkcs8: &[u8]) -> Self {
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(pkcs8.to_vec()));
        let key = sign::any_supported_type(&key).unwrap();
        let chain = vec![CertificateDer::from(certificate.to_vec())];
        self.identity = Some(Arc::new(CertifiedKey::new(chain, key)));
        self
    }

    pub(crate) fn speaking(mut self, version: &'static SupportedProtocolVersion) -> Self {
        self.versions = vec![version];
        self
    }

    /// A configuration; connections with the same one may resume, if the server lets them.
    pub(crate) fn config(&self) -> Arc<ClientConfig> {
        let builder = ClientConfig::builder_with_provider(Arc::new(self.provider.clone()))
            .with_protocol_versions(&self.versions)
            .unwrap();
        let provider = Arc::new(self.provider.clone());
        let verifier =
            WebPkiServerVerifier::builder_with_provider(Arc::clone(&self.roots), provider);
        let localhost = Arc::new(Localhost(verifier.build().unwrap()));
        let builder = builder
            .dangerous()
            .with_custom_certificate_verifier(localhost);
        let mut config = match &self.identity {
            Some(identity) => builder.with_client_cert_resolver(Arc::new(Shows(identity.clone()))),
            None => builder.with_no_client_auth(),
        };
        config.alpn_protocols.clone_from(&self.alpn);
        config.resumption = Resumption::in_memory_sessions(8);
        Arc::new(config)
    }

    pub(crate) async fn connect(&self) -> std::io::Result<Connection> {
        self.connect_with(self.config()).await
    }

    pub(crate) async fn connect_with(
        &self,
        config: Arc<ClientConfig>,
    ) -> std::io::Result<Connection> {
        self.connect_behind(b"", config).await
    }

    /// A connection that begins with what a proxy has to say.
    pub(crate) async fn connect_behind(
        &self,
        header: &[u8],
        config: Arc<ClientConfig>,
    ) -> std::io::Result<Connection> {
        let mut tcp = TcpStream::connect(self.address).await?;
        tcp.write_all(header).await?;
        // Or the request waits 40 ms for the acknowledgement of our Finished.
        tcp.set_nodelay(true)?;
        let name = ServerName::try_from(self.name).unwrap();
        Ok(Connection {
            tls: TlsConnector::from(config).connect(name, tcp).await?,
        })
    }

    /// One request on a connection of its own.
    pub(crate) async fn once(&self, bytes: &[u8]) -> Reply {
        let mut connection = self.connect().await.unwrap();
        connection.send(bytes).await;
        connection.reply().await.expect("a reply")
    }
}

/// Wants a certificate for `localhost`, whatever was asked for.
#[derive(Debug)]
struct Localhost(Arc<WebPkiServerVerifier>);

impl ServerCertVerifier for Localhost {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let name = ServerName::try_from(LOCALHOST).unwrap();
        self.0
            .verify_server_cert(end_entity, intermediates, &name, ocsp, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.0.verify_tls12_signature(message, certificate, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.0.verify_tls13_signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_verify_schemes()
    }
}

const LOCALHOST: &str = "localhost";

/// Shows its certificate to everybody, whatever it is.
#[derive(Debug)]
struct Shows(Arc<CertifiedKey>);

impl ResolvesClientCert for Shows {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0))
    }

    fn has_certs(&self) -> bool {
        true
    }
}

/// An open connection.
pub(crate) struct Connection {
    pub(crate) tls: TlsStream<TcpStream>,
}

impl Connection {
    pub(crate) async fn send(&mut self, bytes: &[u8]) {
        self.tls.write_all(bytes).await.unwrap();
        self.tls.flush().await.unwrap();
    }

    /// The next reply; `None` when the connection ends before it is complete.
    pub(crate) async fn reply(&mut self) -> Option<Reply> {
        let patience = Duration::from_secs(10);
        tokio::time::timeout(patience, self.read_reply())
            .await
            .expect("a reply or an end")
    }

    async fn read_reply(&mut self) -> Option<Reply> {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(self.tls.read_u8().await.ok()?);
        }
        let mut reply = Reply::parse(head);
        let length = reply
            .header("Content-Length")
            .map_or(0, |text| text.parse().unwrap());
        reply.body = vec![0; length];
        self.tls.read_exact(&mut reply.body).await.ok()?;
        Some(reply)
    }

    /// Whatever comes until the connection ends, and whether it does within `patience`.
    pub(crate) async fn rest(&mut self, patience: Duration) -> Option<Vec<u8>> {
        let mut bytes = Vec::new();
        // An end without close_notify is an error here, and still an end.
        let ended = tokio::time::timeout(patience, self.tls.read_to_end(&mut bytes))
            .await
            .is_ok();
        ended.then_some(bytes)
    }
}

/// An HTTP reply, to the byte.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) head: String,
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Reply {
    fn parse(head: Vec<u8>) -> Self {
        let head = String::from_utf8(head).unwrap();
        let mut lines = head.trim_end().split("\r\n");
        let status = lines
            .next()
            .unwrap()
            .split(' ')
            .nth(1)
            .unwrap()
            .parse()
            .unwrap();
        let header = |line: &str| {
            let (name, value) = line.split_once(": ").unwrap();
            (name.to_owned(), value.to_owned())
        };
        let headers = lines.map(header).collect();
        Self {
            status,
            headers,
            body: Vec::new(),
            head,
        }
    }

    /// A header by its name, spelled as the server spells it.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(header, _)| header == name);
        found.map(|(_, value)| value.as_str())
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.body.clone()).unwrap()
    }

    /// The refusal's word.
    pub(crate) fn code(&self) -> &str {
        let note = self.header("Imprint-Refusal").unwrap_or_default();
        note.split(';').next().unwrap_or_default()
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        assert_eq!(self.status, 200, "{self:?}");
        assert_eq!(
            self.header("Content-Type"),
            Some("application/json"),
            "{self:?}"
        );
        serde_json::from_slice(&self.body).unwrap()
    }

    /// The certificates of a certs-only reply.
    pub(crate) fn certificates(&self) -> Vec<Vec<u8>> {
        assert_eq!(self.status, 200, "{self:?}: {}", self.text());
        let dense: String = self.text().split_whitespace().collect();
        let der = STANDARD.decode(dense).unwrap();
        certs_only::decode(&der).unwrap()
    }

    /// The one certificate that an enrollment answers with.
    pub(crate) fn certificate(&self) -> Vec<u8> {
        let mut certificates = self.certificates();
        assert_eq!(
            certificates.len(),
            1,
            "exactly the certificate that was issued"
        );
        certificates.remove(0)
    }
}

/// A request as bytes. `Content-Length` is added when there is a body.
pub(crate) fn request(method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Vec<u8> {
    let mut lines = vec![
        format!("{method} {path} HTTP/1.1"),
        "Host: localhost".to_owned(),
    ];
    lines.extend(
        headers
            .iter()
            .map(|(name, value)| format!("{name}: {value}")),
    );
    if !body.is_empty() {
        lines.push(format!("Content-Length: {}", body.len()));
    }
    [lines.join("\r\n").as_bytes(), b"\r\n\r\n", body].concat()
}

/// A certification request in base64, as EST clients send it.
pub(crate) fn post(path: &str, headers: &[(&str, &str)], csr: &[u8]) -> Vec<u8> {
    let headers = [&[("Content-Type", "application/pkcs10")], headers].concat();
    request("POST", path, &headers, STANDARD.encode(csr).as_bytes())
}

pub(crate) fn basic(user: &str, password: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{user}:{password}")))
}
