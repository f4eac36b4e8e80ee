//! The devices: cold connections, X25519 and AES-128-GCM, nothing resumed.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use aws_lc_rs::encoding::AsDer as _;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use imprint_pkix::{SignatureAlgorithm, certs_only, csr};
use rustls::client::Resumption;
use rustls::crypto::aws_lc_rs as library;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::{CertificateDer, PrivatePkcs8KeyDer, ServerName};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_rustls::TlsConnector;

use crate::directory::Directory;
use crate::open::read_certificate;

use super::PRODUCT;

/// A device with its key and its request.
pub(crate) struct Device {
    pkcs8: Vec<u8>,
    request: Vec<u8>,
    authorization: String,
    certificate: Vec<u8>,
}

impl Device {
    #[expect(
        clippy::expect_used,
        reason = "a machine that can't make keys can't be measured"
    )]
    pub(crate) fn new(at: usize, token: &str) -> Self {
        let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING).expect("a key");
        let pkcs8 = pair.to_pkcs8v1().expect("its encoding").as_ref().to_vec();
        let spki = pair.public_key().as_der().expect("its public half");
        let hardware = format!("sn-{at:08}");
        let info = csr::request_info_der(&format!("{PRODUCT}-{hardware}"), spki.as_ref(), None);
        let signature = pair.sign(&SystemRandom::new(), &info).expect("a signature");
        let der = csr::assemble(&info, SignatureAlgorithm::EcdsaSha256, signature.as_ref());
        Self {
            pkcs8,
            request: BASE64.encode(der).into_bytes(),
            authorization: BASE64.encode(format!("custom:{hardware}:{token}")),
            certificate: Vec::new(),
        }
    }

    /// Its certificate and key, as TLS shows them.
    fn shown(&self) -> (Vec<CertificateDer<'static>>, PrivatePkcs8KeyDer<'static>) {
        let chain = vec![CertificateDer::from(self.certificate.clone())];
        (chain, PrivatePkcs8KeyDer::from(self.pkcs8.clone()))
    }
}

/// Everything that the devices share.
pub(crate) struct Load {
    address: String,
    roots: RootCertStore,
    anonymous: Arc<ClientConfig>,
}

type Done = (Vec<Device>, Vec<Duration>);

impl Load {
    pub(crate) fn new(directory: &Directory, address: String) -> anyhow::Result<Self> {
        let root = read_certificate(&directory.root_certificate())?;
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from(root.der().to_vec()))?;
        let anonymous = Arc::new(quiet(builder(&roots)?.with_no_client_auth()));
        Ok(Self {
            address,
            roots,
            anonymous,
        })
    }

    /// First certificates by token. Each device comes back with its own.
    pub(crate) async fn enroll(
        self: &Arc<Self>,
        devices: Vec<Device>,
        in_flight: u32,
    ) -> anyhow::Result<Done> {
        self.each(devices, in_flight, |load, device| async move {
            let head = format!(
                "POST /.well-known/est/{PRODUCT}/simpleenroll HTTP/1.1\r\nHost: localhost\r\n\
                 Authorization: Basic {}\r\n{}",
                device.authorization,
                pkcs10(&device.request)
            );
            let config = Arc::clone(&load.anonymous);
            let body = load.ask(config, &head, &device.request).await?;
            let certificate = issued(&body)?;
            Ok(Device {
                certificate,
                ..device
            })
        })
        .await
    }

    /// First uses.
    pub(crate) async fn verify(
        self: &Arc<Self>,
        devices: Vec<Device>,
        in_flight: u32,
    ) -> anyhow::Result<Vec<Device>> {
        let done = self.each(devices, in_flight, |load, device| async move {
            let config = load.showing(&device)?;
            let head = "GET /v1/verify HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
            load.ask(config, head, &[]).await?;
            Ok(device)
        });
        Ok(done.await?.0)
    }

    /// Renewals, by the certificate shown in TLS.
    pub(crate) async fn renew(
        self: &Arc<Self>,
        devices: Vec<Device>,
        in_flight: u32,
    ) -> anyhow::Result<Done> {
        self.each(devices, in_flight, |load, mut device| async move {
            load.renew_once(&mut device).await?;
            Ok(device)
        })
        .await
    }

    /// One renewal. What goes wrong leaves the device as it was, and it may ask again.
    pub(crate) async fn renew_once(&self, device: &mut Device) -> anyhow::Result<()> {
        let config = self.showing(device)?;
        let head = format!(
            "POST /.well-known/est/{PRODUCT}/simplereenroll HTTP/1.1\r\nHost: localhost\r\n{}",
            pkcs10(&device.request)
        );
        let body = self.ask(config, &head, &device.request).await?;
        device.certificate = issued(&body)?;
        Ok(())
    }

    /// Runs `act` for every device, so many at a time, and measures each from before its connection
    /// to after its answer.
    async fn each<A, F>(
        self: &Arc<Self>,
        devices: Vec<Device>,
        in_flight: u32,
        act: A,
    ) -> anyhow::Result<Done>
    where
        A: Fn(Arc<Self>, Device) -> F,
        F: Future<Output = anyhow::Result<Device>> + Send + 'static,
    {
        let gate = Arc::new(Semaphore::new(in_flight as usize));
        let mut running = JoinSet::new();
        let (mut back, mut latencies) = (Vec::new(), Vec::new());
        for device in devices {
            let place = Arc::clone(&gate).acquire_owned().await?;
            let act = act(Arc::clone(self), device);
            running.spawn(async move {
                let began = Instant::now();
                let device = act.await;
                drop(place);
                (device, began.elapsed())
            });
            while let Some(done) = running.try_join_next() {
                let (device, latency) = done?;
                back.push(device?);
                latencies.push(latency);
            }
        }
        while let Some(done) = running.join_next().await {
            let (device, latency) = done?;
            back.push(device?);
            latencies.push(latency);
        }
        Ok((back, latencies))
    }

    fn showing(&self, device: &Device) -> anyhow::Result<Arc<ClientConfig>> {
        let (chain, key) = device.shown();
        let config = builder(&self.roots)?.with_client_auth_cert(chain, key.into())?;
        Ok(Arc::new(quiet(config)))
    }

    /// One request on one connection. Answers the body of a 200.
    async fn ask(
        &self,
        config: Arc<ClientConfig>,
        head: &str,
        body: &[u8],
    ) -> anyhow::Result<Vec<u8>> {
        let tcp = TcpStream::connect(&self.address).await?;
        tcp.set_nodelay(true)?;
        let name = ServerName::try_from("localhost")?;
        let mut tls = TlsConnector::from(config).connect(name, tcp).await?;
        tls.write_all(&[head.as_bytes(), body].concat()).await?;
        let mut answer = Vec::with_capacity(4_096);
        let length = loop {
            if tls.read_buf(&mut answer).await? == 0 {
                bail!("the server hung up: {}", String::from_utf8_lossy(&answer));
            }
            if let Some(length) = whole(&answer) {
                break length;
            }
        };
        if !answer.starts_with(b"HTTP/1.1 200 ") {
            bail!("the server said {}", String::from_utf8_lossy(&answer));
        }
        let from = answer.len() - length;
        Ok(answer.split_off(from))
    }
}

fn pkcs10(request: &[u8]) -> String {
    let length = request.len();
    format!(
        "Content-Type: application/pkcs10\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n"
    )
}

/// The length of the body, once all of it is there.
fn whole(answer: &[u8]) -> Option<usize> {
    let end = answer.windows(4).position(|four| four == b"\r\n\r\n")? + 4;
    let head = std::str::from_utf8(answer.get(..end)?).ok()?;
    let length = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length")
            .then(|| value.trim().parse().ok())?
    })?;
    (answer.len() == end + length).then_some(length)
}

fn issued(body: &[u8]) -> anyhow::Result<Vec<u8>> {
    let text: Vec<u8> = body
        .iter()
        .copied()
        .filter(|byte| !byte.is_ascii_whitespace())
        .collect();
    let certificates = certs_only::decode(&BASE64.decode(text)?)?;
    certificates
        .into_iter()
        .next()
        .context("the answer holds no certificate")
}

fn builder(
    roots: &RootCertStore,
) -> anyhow::Result<rustls::ConfigBuilder<ClientConfig, rustls::client::WantsClientCert>> {
    let mut provider = library::default_provider();
    provider.cipher_suites = vec![library::cipher_suite::TLS13_AES_128_GCM_SHA256];
    provider.kx_groups = vec![library::kx_group::X25519];
    Ok(ClientConfig::builder_with_provider(Arc::new(provider))
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_root_certificates(roots.clone()))
}

fn quiet(mut config: ClientConfig) -> ClientConfig {
    config.resumption = Resumption::disabled();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    config
}
