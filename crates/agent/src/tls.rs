//! TLS as the device speaks it: the server judged by [`crate::trust`], the device's key wherever
//! its key store keeps it.

use std::fmt;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{ResolvesClientCert, Resumption};
use rustls::crypto::{CryptoProvider, aws_lc_rs as library};
use rustls::sign::{CertifiedKey, Signer, SigningKey};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, OtherError, SignatureAlgorithm,
    SignatureScheme,
};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, SubjectPublicKeyInfoDer};

use imprint_device::Slot;

use crate::keystore::{KeyAlgorithm, KeyStore, PublicKey};
use crate::trust::{Roots, Time, TrustError, judge_server};

/// Which cryptography a connection may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Suites {
    /// TLS 1.3 and 1.2 with everything that is sound, AES-128-GCM first: SHA-384 makes the server's
    /// handshake a third dearer and no device safer.
    #[default]
    All,
    /// TLS 1.3 with X25519 and AES-128-GCM alone, so that measurements compare.
    Pinned,
}

/// The credential that a device shows in TLS.
#[derive(Debug, Clone)]
pub struct ClientIdentity {
    /// Its certificate, then those above it.
    pub chain: Vec<CertificateDer<'static>>,
    /// Where its key is.
    pub keys: Arc<dyn KeyStore>,
    /// Which key it is.
    pub slot: Slot,
    /// The key's public half.
    pub public: PublicKey,
}

/// A credential that is not the device's own: a claim, whose key lies in a file.
#[derive(Clone)]
pub(crate) struct Borrowed(Arc<CertifiedKey>);

impl Borrowed {
    /// Reads certificates and key, both as PEM.
    pub(crate) fn read(chain_pem: &[u8], key_pem: &[u8]) -> Result<Self, BorrowedError> {
        let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(chain_pem).collect();
        let chain = chain.ok().filter(|chain| !chain.is_empty());
        let chain = chain.ok_or(BorrowedError::Certificate)?;
        let key = PrivateKeyDer::from_pem_slice(key_pem).map_err(|_| BorrowedError::Key)?;
        let key = library::sign::any_supported_type(&key).map_err(|_| BorrowedError::Key)?;
        let certified = CertifiedKey::new(chain, key);
        match certified.keys_match() {
            Ok(()) => Ok(Self(Arc::new(certified))),
            Err(_) => Err(BorrowedError::Mismatch),
        }
    }
}

impl fmt::Debug for Borrowed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Borrowed")
    }
}

/// Why a certificate and its key can't be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BorrowedError {
    /// The certificate file.
    #[error("there is no certificate in the certificate file (PEM)")]
    Certificate,
    /// The key file.
    #[error("there is no private key in the key file (PEM) that can be used")]
    Key,
    /// Both are good, and not for each other.
    #[error("the key is not that of the certificate")]
    Mismatch,
}

/// What a device shows in TLS.
#[derive(Debug, Clone)]
pub(crate) enum Shown {
    Nothing,
    Own(ClientIdentity),
    Borrowed(Borrowed),
}

/// What is spoken inside of TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Spoken {
    Http,
    Mqtt,
}

impl Spoken {
    /// Its name in ALPN. By this one a port that also serves HTTPS knows a device that speaks MQTT
    /// and shows a certificate.
    fn protocol(self) -> Vec<u8> {
        match self {
            Self::Http => b"http/1.1".to_vec(),
            Self::Mqtt => b"x-amzn-mqtt-ca".to_vec(),
        }
    }
}

/// How to open a connection. Sessions are never resumed: VERIFY has to prove the new key, and a
/// device connects too seldom to gain from it.
pub fn client_config(
    roots: Arc<Roots>,
    time: Time,
    suites: Suites,
    identity: Option<ClientIdentity>,
) -> Result<Arc<ClientConfig>, rustls::Error> {
    let shown = identity.map_or(Shown::Nothing, Shown::Own);
    config_for(roots, time, suites, shown, Spoken::Http)
}

/// The same, for what a device shows and speaks.
pub(crate) fn config_for(
    roots: Arc<Roots>,
    time: Time,
    suites: Suites,
    shown: Shown,
    spoken: Spoken,
) -> Result<Arc<ClientConfig>, rustls::Error> {
    let provider = Arc::new(provider(suites));
    let versions = match suites {
        Suites::All => rustls::ALL_VERSIONS,
        Suites::Pinned => &[&rustls::version::TLS13],
    };
    let verifier = Arc::new(PinnedRoots {
        roots,
        time,
        provider: Arc::clone(&provider),
    });
    let builder = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(versions)?
        .dangerous()
        .with_custom_certificate_verifier(verifier);
    let mut config = match shown {
        Shown::Own(identity) => {
            builder.with_client_cert_resolver(Arc::new(identity.into_certified()))
        }
        Shown::Borrowed(Borrowed(key)) => builder.with_client_cert_resolver(Arc::new(Always(key))),
        Shown::Nothing => builder.with_no_client_auth(),
    };
    config.resumption = Resumption::disabled();
    config.alpn_protocols = vec![spoken.protocol()];
    Ok(Arc::new(config))
}

fn provider(suites: Suites) -> CryptoProvider {
    let mut provider = library::default_provider();
    match suites {
        Suites::All => provider.cipher_suites.sort_by_key(|suite| {
            let name = format!("{:?}", suite.suite());
            // Stable, so that the library's own order stays within each kind.
            (
                suite.version() != &rustls::version::TLS13,
                !name.contains("AES_128"),
            )
        }),
        Suites::Pinned => {
            provider.cipher_suites = vec![library::cipher_suite::TLS13_AES_128_GCM_SHA256];
            provider.kx_groups = vec![library::kx_group::X25519];
        }
    }
    provider
}

/// Judges the server's chain by the pinned roots, and by no clock when there is none.
#[derive(Debug)]
struct PinnedRoots {
    roots: Arc<Roots>,
    time: Time,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for PinnedRoots {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: rustls_pki_types::UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let chain: Vec<_> = std::iter::once(end_entity.clone())
            .chain(intermediates.iter().cloned())
            .collect();
        judge_server(&chain, &self.roots, server_name, self.time).map_err(into_rustls)?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, cert, dss, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, cert, dss, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider
            .signature_verification_algorithms
            .supported_schemes()
    }
}

fn into_rustls(error: TrustError) -> rustls::Error {
    rustls::Error::InvalidCertificate(CertificateError::Other(OtherError(Arc::new(error))))
}

/// The reason that [`PinnedRoots`] gave, if `error` is one of its refusals.
pub(crate) fn trust_error(error: &rustls::Error) -> Option<TrustError> {
    match error {
        rustls::Error::InvalidCertificate(CertificateError::Other(other)) => {
            other.0.downcast_ref::<TrustError>().cloned()
        }
        _ => None,
    }
}

impl ClientIdentity {
    fn into_certified(self) -> Always {
        let signer = StoreSigner {
            keys: self.keys,
            slot: self.slot,
            public: self.public,
        };
        Always(Arc::new(CertifiedKey::new(self.chain, Arc::new(signer))))
    }
}

/// Shows the credential whichever authorities the server names: whether it is good is the road's
/// to say, in a sentence, and not for TLS to swallow.
#[derive(Debug)]
struct Always(Arc<CertifiedKey>);

impl ResolvesClientCert for Always {
    fn resolve(
        &self,
        _root_hint_subjects: &[&[u8]],
        _sigschemes: &[SignatureScheme],
    ) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0))
    }

    fn has_certs(&self) -> bool {
        true
    }
}

/// A key that never leaves its store.
#[derive(Clone)]
struct StoreSigner {
    keys: Arc<dyn KeyStore>,
    slot: Slot,
    public: PublicKey,
}

impl StoreSigner {
    fn scheme_of_key(&self) -> SignatureScheme {
        match self.public.algorithm {
            KeyAlgorithm::P256 => SignatureScheme::ECDSA_NISTP256_SHA256,
            KeyAlgorithm::P384 => SignatureScheme::ECDSA_NISTP384_SHA384,
            KeyAlgorithm::Ed25519 => SignatureScheme::ED25519,
        }
    }
}

impl fmt::Debug for StoreSigner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "StoreSigner({:?})", self.slot)
    }
}

impl SigningKey for StoreSigner {
    fn choose_scheme(&self, offered: &[SignatureScheme]) -> Option<Box<dyn Signer>> {
        let fits = offered.contains(&self.scheme_of_key());
        fits.then(|| Box::new(self.clone()) as Box<dyn Signer>)
    }

    fn public_key(&self) -> Option<SubjectPublicKeyInfoDer<'_>> {
        Some(SubjectPublicKeyInfoDer::from(self.public.spki.as_slice()))
    }

    fn algorithm(&self) -> SignatureAlgorithm {
        match self.public.algorithm {
            KeyAlgorithm::P256 | KeyAlgorithm::P384 => SignatureAlgorithm::ECDSA,
            KeyAlgorithm::Ed25519 => SignatureAlgorithm::ED25519,
        }
    }
}

impl Signer for StoreSigner {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rustls::Error> {
        let signed = self.keys.sign(self.slot, message);
        signed.map_err(|error| rustls::Error::General(error.to_string()))
    }

    fn scheme(&self) -> SignatureScheme {
        self.scheme_of_key()
    }
}
