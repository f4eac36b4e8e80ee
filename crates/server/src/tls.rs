//! TLS 1.2 and 1.3: who we are, and proof that the other side holds the key it shows.
//!
//! Whether a client certificate is *trusted* is decided on the road, for each request. Nothing is
//! resumed and nothing is early, so what a handshake proved belongs to this connection alone.

mod possession;

use std::fmt;
use std::io;
use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls::client::verify_server_name;
use rustls::crypto::CryptoProvider;
use rustls::crypto::aws_lc_rs::{cipher_suite as suite, default_provider, kx_group, sign};
use rustls::server::{
    Acceptor, ClientHello, NoServerSessionStorage, ParsedCertificate, ResolvesServerCert,
};
use rustls::sign::CertifiedKey;
use rustls::version::{TLS12, TLS13};
use rustls::{CipherSuite, ServerConfig, SupportedCipherSuite};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName};
use tokio::net::TcpStream;
use tokio_rustls::LazyConfigAcceptor;
use tokio_rustls::server::TlsStream;

use crate::config::Identity;
use possession::Possession;

/// One listener's TLS.
#[derive(Debug, Clone)]
pub(crate) struct Tls {
    shown: Arc<Shown>,
    client_order: Arc<ServerConfig>,
    aes128_first: Arc<ServerConfig>,
}

/// Whether clients are asked for a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Clients {
    /// Asked, and free to have none: a device has none before it is enrolled.
    MayShow,
    /// Not asked.
    Anonymous,
}

impl Tls {
    /// `protocols` are the names that are known in ALPN. With none, whatever a client offers is
    /// passed over; with some, TLS ends where no name is shared.
    pub(crate) fn new(
        shown: &Arc<Shown>,
        clients: Clients,
        protocols: &[&[u8]],
    ) -> Result<Self, rustls::Error> {
        let protocols: Vec<_> = protocols.iter().map(|name| name.to_vec()).collect();
        let with = |ignore_client_order| {
            let mut config = config(Arc::clone(shown), clients, ignore_client_order)?;
            config.alpn_protocols.clone_from(&protocols);
            Ok::<_, rustls::Error>(Arc::new(config))
        };
        Ok(Self {
            shown: Arc::clone(shown),
            client_order: with(false)?,
            aes128_first: with(true)?,
        })
    }

    /// The whole handshake. The caller bounds its time.
    pub(crate) async fn accept(&self, tcp: TcpStream) -> io::Result<TlsStream<TcpStream>> {
        let start = LazyConfigAcceptor::new(Acceptor::default(), tcp).await?;
        let config = self.config_for(&start.client_hello());
        start.into_stream(config).await
    }

    /// Whether a server name that a client asked for is one of those in our own certificate.
    pub(crate) fn answers_to(&self, name: &str) -> bool {
        let shown = self.shown.0.load();
        let Ok(Ok(own)) = shown.end_entity_cert().map(ParsedCertificate::try_from) else {
            return false;
        };
        ServerName::try_from(name).is_ok_and(|name| verify_server_name(&own, &name).is_ok())
    }

    /// SHA-384 in the key schedule costs half a signature verification for each handshake, so a
    /// client that merely lists AES-256 first (OpenSSL does) gets AES-128. One that lists a SHA-256
    /// suite first keeps its order: a controller without AES in hardware puts `ChaCha20` first.
    fn config_for(&self, hello: &ClientHello<'_>) -> Arc<ServerConfig> {
        let first = hello
            .cipher_suites()
            .iter()
            .find(|&&suite| is_offered(suite));
        let sha384 = matches!(
            first,
            Some(
                CipherSuite::TLS13_AES_256_GCM_SHA384
                    | CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384
                    | CipherSuite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384
            )
        );
        Arc::clone(if sha384 {
            &self.aes128_first
        } else {
            &self.client_order
        })
    }
}

fn config(
    shown: Arc<Shown>,
    clients: Clients,
    ignore_client_order: bool,
) -> Result<ServerConfig, rustls::Error> {
    let provider = Arc::new(provider());
    let algorithms = provider.signature_verification_algorithms;
    let builder =
        ServerConfig::builder_with_provider(provider).with_protocol_versions(&[&TLS13, &TLS12])?;
    let builder = match clients {
        Clients::MayShow => builder.with_client_cert_verifier(Arc::new(Possession(algorithms))),
        Clients::Anonymous => builder.with_no_client_auth(),
    };
    let mut config = builder.with_cert_resolver(shown);
    config.ignore_client_order = ignore_client_order;
    // A device connects once in months. Tickets would cost it a kilobyte and us a tenth of the
    // handshake, and a resumed session has not proven its key again.
    config.send_tls13_tickets = 0;
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.max_early_data_size = 0;
    // The extended master secret would matter if we resumed, renegotiated or took tls-unique, which
    // we don't; and strongSwan (5.9.8 measured) does not offer it.
    config.require_ems = false;
    Ok(config)
}

fn provider() -> CryptoProvider {
    CryptoProvider {
        cipher_suites: SUITES.to_vec(),
        // rustls takes the client's order among these.
        kx_groups: vec![
            kx_group::X25519MLKEM768,
            kx_group::X25519,
            kx_group::SECP256R1,
            kx_group::SECP384R1,
        ],
        ..default_provider()
    }
}

fn is_offered(wanted: CipherSuite) -> bool {
    SUITES.iter().any(|offered| offered.suite() == wanted)
}

const SUITES: [SupportedCipherSuite; 9] = [
    suite::TLS13_AES_128_GCM_SHA256,
    suite::TLS13_CHACHA20_POLY1305_SHA256,
    suite::TLS13_AES_256_GCM_SHA384,
    suite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
    suite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
    suite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
    suite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
    suite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
    suite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
];

/// The certificate that we show; it can be exchanged while connections come and go.
pub(crate) struct Shown(ArcSwap<CertifiedKey>);

impl Shown {
    pub(crate) fn new(identity: &Identity) -> Result<Self, rustls::Error> {
        Ok(Self(ArcSwap::from_pointee(certified(identity)?)))
    }

    /// New connections see the new certificate. An unusable one changes nothing.
    pub(crate) fn exchange(&self, identity: &Identity) -> Result<(), rustls::Error> {
        self.0.store(Arc::new(certified(identity)?));
        Ok(())
    }
}

fn certified(identity: &Identity) -> Result<CertifiedKey, rustls::Error> {
    let chain: Vec<_> = identity
        .chain
        .iter()
        .cloned()
        .map(CertificateDer::from)
        .collect();
    let private_key =
        PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(identity.private_key.as_slice()));
    let certified = CertifiedKey::new(chain, sign::any_supported_type(&private_key)?);
    certified.end_entity_cert()?;
    certified.keys_match()?;
    Ok(certified)
}

impl ResolvesServerCert for Shown {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.load_full())
    }
}

impl fmt::Debug for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Shown")
    }
}
