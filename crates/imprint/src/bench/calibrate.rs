//! What the parts of an enrollment cost alone, on this machine, now.
//!
//! The composite floor: a TLS handshake in memory, parsing and checking a request, issuing a
//! certificate, a bare TCP exchange of the same shape without cryptography, and a durable row in a
//! group of rows. CPU time of this thread, from the kernel (`/proc/thread-self/schedstat`, ns);
//! waiting for the disk costs none.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, bail};
use aws_lc_rs::agreement::{self, EphemeralPrivateKey, UnparsedPublicKey as Peer};
use aws_lc_rs::encoding::AsDer as _;
use aws_lc_rs::rand::{self, SystemRandom};
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1, ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair as _,
    UnparsedPublicKey,
};
use imprint_identity::UnixTime;
use imprint_pkix::certificate::{self, Authority, Leaf, Server};
use imprint_pkix::csr::{self, Csr};
use imprint_pkix::key::PublicKey;
use imprint_pkix::{SignatureAlgorithm, dn};
use rusqlite::{Connection, params};
use rustls::crypto::aws_lc_rs as library;
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, ClientConnection, RootCertStore, ServerConfig, ServerConnection};
use rustls_pki_types::{CertificateDer, PrivatePkcs8KeyDer, ServerName};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use crate::world;

/// Microseconds of CPU each.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Calibration {
    /// V: one P-256 verification.
    pub(crate) verify: f64,
    sign: f64,
    agree: f64,
    pub(crate) handshake: f64,
    pub(crate) request: f64,
    pub(crate) issue: f64,
    pub(crate) tcp: f64,
    pub(crate) row: f64,
    mtls: bool,
}

impl Calibration {
    pub(crate) fn measure(place: &Path, mtls: bool) -> anyhow::Result<Self> {
        let maker = Maker::new()?;
        Ok(Self {
            verify: maker.verify()?,
            sign: cost(ROUNDS, || maker.issuing.sign(b"to be signed").map(drop))?,
            agree: cost(ROUNDS, agree)?,
            handshake: maker.handshake(mtls)?,
            request: maker.request()?,
            issue: maker.issue()?,
            tcp: tcp()?,
            row: row(place)?,
            mtls,
        })
    }

    /// The cryptography alone: key agreement, the server's signature, the request's, the
    /// certificate's; with a client certificate two verifications more.
    pub(crate) fn primitives(&self) -> f64 {
        let client = if self.mtls { 2.0 * self.verify } else { 0.0 };
        self.agree + 2.0 * self.sign + self.verify + client
    }

    /// The floor with one durable row.
    pub(crate) fn composite(&self) -> f64 {
        self.handshake + self.request + self.issue + self.tcp + self.row
    }

    pub(crate) fn mean(&self, other: &Self) -> Self {
        let mean = |part: fn(&Self) -> f64| f64::midpoint(part(self), part(other));
        Self {
            verify: mean(|c| c.verify),
            sign: mean(|c| c.sign),
            agree: mean(|c| c.agree),
            handshake: mean(|c| c.handshake),
            request: mean(|c| c.request),
            issue: mean(|c| c.issue),
            tcp: mean(|c| c.tcp),
            row: mean(|c| c.row),
            mtls: self.mtls,
        }
    }
}

/// Authorities, a server and a device, in memory.
struct Maker {
    issuing: Key,
    issuing_der: Vec<u8>,
    server: Key,
    server_der: Vec<u8>,
    device: Key,
    device_der: Vec<u8>,
}

struct Key {
    pair: EcdsaKeyPair,
    pkcs8: Vec<u8>,
    public: PublicKey,
}

impl Key {
    fn new() -> anyhow::Result<Self> {
        let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING)?;
        let pkcs8 = pair.to_pkcs8v1()?.as_ref().to_vec();
        let public = PublicKey::parse(pair.public_key().as_der()?.as_ref())?;
        Ok(Self {
            pair,
            pkcs8,
            public,
        })
    }

    fn sign(&self, message: &[u8]) -> anyhow::Result<Vec<u8>> {
        Ok(self
            .pair
            .sign(&SystemRandom::new(), message)?
            .as_ref()
            .to_vec())
    }
}

impl Maker {
    fn new() -> anyhow::Result<Self> {
        let (issuing, server, device) = (Key::new()?, Key::new()?, Key::new()?);
        let name = dn::common_name_der("Bench Issuing CA", None);
        let now = world::now();
        let issuing_der = issuing.certify(
            &Authority {
                serial: [1; 20],
                issuer_der: &name,
                authority_key_id: ID,
                subject_der: &name,
                public_key: &issuing.public,
                subject_key_id: ID,
                not_before: now.plus(-3_600),
                not_after: now.plus(86_400),
                path_len: Some(0),
                crl_url: None,
                issuer_url: None,
                signature_algorithm: ALGORITHM,
            }
            .to_be_signed(),
        )?;
        let server_der = issuing.certify(
            &Server {
                serial: [2; 20],
                issuer_der: &name,
                authority_key_id: ID,
                subject_common_name: "localhost",
                public_key: &server.public,
                subject_key_id: ID,
                not_before: now.plus(-3_600),
                not_after: now.plus(86_400),
                dns_names: &["localhost".to_owned()],
                ip_addresses: &[],
                crl_url: None,
                issuer_url: None,
                signature_algorithm: ALGORITHM,
            }
            .to_be_signed(),
        )?;
        let device_der = issuing.certify(&leaf(&name, &device.public, now))?;
        Ok(Self {
            issuing,
            issuing_der,
            server,
            server_der,
            device,
            device_der,
        })
    }

    fn verify(&self) -> anyhow::Result<f64> {
        let signature = self.issuing.sign(b"to be signed")?;
        let key = UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, self.issuing.public.key_bits());
        cost(ROUNDS, || Ok(key.verify(b"to be signed", &signature)?))
    }

    fn request(&self) -> anyhow::Result<f64> {
        let info = csr::request_info_der("thermo-sn-1", self.device.public.spki_der(), None);
        let der = csr::assemble(&info, ALGORITHM, &self.device.sign(&info)?);
        cost(ROUNDS, || {
            let csr = Csr::parse(&der)?;
            let key = UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, csr.public_key().key_bits());
            Ok(key.verify(csr.to_be_signed(), csr.signature())?)
        })
    }

    fn issue(&self) -> anyhow::Result<f64> {
        let name = dn::common_name_der("Bench Issuing CA", None);
        let now = world::now();
        cost(ROUNDS, || {
            self.issuing
                .certify(&leaf(&name, &self.device.public, now))
                .map(drop)
        })
    }

    /// The server's part of a full handshake: X25519, AES-128-GCM, no tickets; with a client
    /// certificate its issuing authority is the trust anchor.
    fn handshake(&self, mtls: bool) -> anyhow::Result<f64> {
        let mut provider = library::default_provider();
        provider.cipher_suites = vec![library::cipher_suite::TLS13_AES_128_GCM_SHA256];
        provider.kx_groups = vec![library::kx_group::X25519];
        let provider = Arc::new(provider);
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from(self.issuing_der.clone()))?;
        let roots = Arc::new(roots);
        let versions = &[&rustls::version::TLS13];
        let server = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(versions)?;
        let server = if mtls {
            let verifier = WebPkiClientVerifier::builder_with_provider(
                Arc::clone(&roots),
                Arc::clone(&provider),
            );
            server.with_client_cert_verifier(verifier.build()?)
        } else {
            server.with_no_client_auth()
        };
        // As the real one sends it: its own certificate and its issuer's.
        let chain =
            [&self.server_der, &self.issuing_der].map(|der| CertificateDer::from(der.clone()));
        let key = PrivatePkcs8KeyDer::from(self.server.pkcs8.clone());
        let mut server = server.with_single_cert(chain.to_vec(), key.into())?;
        server.send_tls13_tickets = 0;
        let client = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(versions)?
            .with_root_certificates(roots);
        let mut client = if mtls {
            let chain = vec![CertificateDer::from(self.device_der.clone())];
            let key = PrivatePkcs8KeyDer::from(self.device.pkcs8.clone());
            client.with_client_auth_cert(chain, key.into())?
        } else {
            client.with_no_client_auth()
        };
        client.resumption = rustls::client::Resumption::disabled();
        let (server, client) = (Arc::new(server), Arc::new(client));
        let mut spent = Vec::with_capacity(ROUNDS);
        for _ in 0..ROUNDS {
            spent.push(shake(&server, &client)?);
        }
        spent.sort_by(f64::total_cmp);
        spent
            .get(ROUNDS / 2)
            .copied()
            .context("no handshake was measured")
    }
}

impl Key {
    fn certify(&self, to_be_signed: &[u8]) -> anyhow::Result<Vec<u8>> {
        Ok(certificate::assemble(
            to_be_signed,
            ALGORITHM,
            &self.sign(to_be_signed)?,
        ))
    }
}

fn leaf(issuer: &[u8], key: &PublicKey, now: UnixTime) -> Vec<u8> {
    Leaf {
        serial: [3; 20],
        issuer_der: issuer,
        authority_key_id: ID,
        subject_common_name: "thermo-sn-00000001",
        public_key: key,
        subject_key_id: ID,
        not_before: now.plus(-3_600),
        not_after: now.plus(80_000),
        hardware: Some((&[0x69, 0x01], b"sn-00000001")),
        uris: &[],
        dns_names: &[],
        crl_url: None,
        issuer_url: None,
        signature_algorithm: ALGORITHM,
    }
    .to_be_signed()
}

/// One handshake; microseconds spent on the server's side. A wall clock around each of its calls,
/// of which the median is taken: reading the kernel's CPU clock would cost as much as a call.
#[expect(clippy::disallowed_methods, reason = "this measures")]
fn shake(server: &Arc<ServerConfig>, client: &Arc<ClientConfig>) -> anyhow::Result<f64> {
    use std::time::Instant;
    let name = ServerName::try_from("localhost")?;
    let mut client = ClientConnection::new(Arc::clone(client), name)?;
    let mut spent = 0.0;
    let began = Instant::now();
    let mut server = ServerConnection::new(Arc::clone(server))?;
    spent += began.elapsed().as_secs_f64();
    let mut wire = Vec::with_capacity(8_192);
    for _ in 0..8 {
        wire.clear();
        while client.wants_write() {
            client.write_tls(&mut wire)?;
        }
        let began = Instant::now();
        let mut unread = wire.as_slice();
        while !unread.is_empty() {
            server.read_tls(&mut unread)?;
            server.process_new_packets()?;
        }
        let mut back = Vec::with_capacity(8_192);
        while server.wants_write() {
            server.write_tls(&mut back)?;
        }
        spent += began.elapsed().as_secs_f64();
        let mut unread = back.as_slice();
        while !unread.is_empty() {
            client.read_tls(&mut unread)?;
            client.process_new_packets()?;
        }
        if !client.is_handshaking() && !server.is_handshaking() && !client.wants_write() {
            return Ok(spent * 1e6);
        }
    }
    bail!("a handshake in memory did not end")
}

fn agree() -> anyhow::Result<()> {
    let mine = EphemeralPrivateKey::generate(&agreement::X25519, &SystemRandom::new())?;
    let _ = mine.compute_public_key()?;
    let peer = Peer::new(&agreement::X25519, X25519_BASE);
    agreement::agree_ephemeral(mine, peer, anyhow::anyhow!("no agreement"), |_| Ok(()))
}

/// A connection with an enrollment's messages, and nothing in them: the server's thread alone.
fn tcp() -> anyhow::Result<f64> {
    let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
    listener.set_nonblocking(true)?;
    let address = listener.local_addr()?;
    let server = std::thread::spawn(move || -> anyhow::Result<f64> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let before = thread_cpu_us()?;
        runtime.block_on(async {
            let listener = TcpListener::from_std(listener)?;
            let mut running = tokio::task::JoinSet::new();
            for _ in 0..CONNECTIONS {
                let (tcp, _) = listener.accept().await?;
                running.spawn(answer(tcp));
            }
            while let Some(done) = running.join_next().await {
                done??;
            }
            anyhow::Ok(())
        })?;
        Ok((thread_cpu_us()? - before) / f64::from(CONNECTIONS))
    });
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let mut running = tokio::task::JoinSet::new();
        for _ in 0..CONNECTIONS {
            if running.len() >= 64
                && let Some(done) = running.join_next().await
            {
                done??;
            }
            running.spawn(ask(address));
        }
        while let Some(done) = running.join_next().await {
            done??;
        }
        anyhow::Ok(())
    })?;
    server
        .join()
        .map_err(|_| anyhow::anyhow!("the echo server failed"))?
}

async fn answer(mut tcp: TcpStream) -> std::io::Result<()> {
    let mut buffer = vec![0; 4_096];
    tcp.set_nodelay(true)?;
    for (incoming, outgoing) in MESSAGES {
        tcp.read_exact(buffer.get_mut(..incoming).unwrap_or_default())
            .await?;
        tcp.write_all(buffer.get(..outgoing).unwrap_or_default())
            .await?;
    }
    tcp.shutdown().await
}

async fn ask(address: std::net::SocketAddr) -> std::io::Result<()> {
    let mut tcp = TcpStream::connect(address).await?;
    let mut buffer = vec![0; 4_096];
    tcp.set_nodelay(true)?;
    for (outgoing, incoming) in MESSAGES {
        tcp.write_all(buffer.get(..outgoing).unwrap_or_default())
            .await?;
        tcp.read_exact(buffer.get_mut(..incoming).unwrap_or_default())
            .await?;
    }
    // Until the server has hung up.
    tcp.read(&mut buffer).await.map(drop)
}

/// A row as one durable commit keeps it, in groups, WAL and FULL, with its unique keys.
fn row(place: &Path) -> anyhow::Result<f64> {
    let path = place.join("calibrate.db");
    for name in ["calibrate.db", "calibrate.db-wal", "calibrate.db-shm"] {
        let _ = fs::remove_file(place.join(name));
    }
    let mut database = Connection::open(path)?;
    database.execute_batch(
        "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA wal_autocheckpoint = 16000;
         CREATE TABLE row (serial BLOB PRIMARY KEY, device TEXT NOT NULL UNIQUE,
                           key BLOB NOT NULL UNIQUE, der BLOB NOT NULL, state INTEGER NOT NULL,
                           not_after INTEGER NOT NULL, at INTEGER NOT NULL) WITHOUT ROWID;
         CREATE INDEX row_not_after ON row (not_after);",
    )?;
    let der = vec![7_u8; 600];
    let mut number = 0_u32;
    let before = thread_cpu_us()?;
    for _ in 0..GROUPS {
        let transaction = database.transaction()?;
        {
            let mut insert =
                transaction.prepare_cached("INSERT INTO row VALUES (?1, ?2, ?3, ?4, 1, ?5, ?5)")?;
            for _ in 0..GROUP {
                number += 1;
                let mut serial = [0_u8; 20];
                let mut key = [0_u8; 32];
                world::chance(&mut serial);
                rand::fill(&mut key)?;
                serial[..4].copy_from_slice(&(number >> 8).to_be_bytes());
                let device = format!("thermo-sn-{number:08}");
                insert.execute(params![serial, device, key, der, number])?;
            }
        }
        transaction.commit()?;
    }
    Ok((thread_cpu_us()? - before) / f64::from(number))
}

/// Microseconds of CPU that `act` costs, on average.
fn cost(rounds: usize, mut act: impl FnMut() -> anyhow::Result<()>) -> anyhow::Result<f64> {
    for _ in 0..rounds / 10 {
        act()?;
    }
    let before = thread_cpu_us()?;
    for _ in 0..rounds {
        act()?;
    }
    #[expect(clippy::cast_precision_loss, reason = "some thousand")]
    Ok((thread_cpu_us()? - before) / rounds as f64)
}

/// What this thread has run, in microseconds: the first field is nanoseconds on a CPU.
fn thread_cpu_us() -> anyhow::Result<f64> {
    let text = fs::read_to_string("/proc/thread-self/schedstat")?;
    let first = text.split(' ').next().unwrap_or_default();
    Ok(first
        .parse::<f64>()
        .context("/proc/thread-self/schedstat can't be read")?
        / 1e3)
}

const ALGORITHM: SignatureAlgorithm = SignatureAlgorithm::EcdsaSha256;
const ID: [u8; 20] = [9; 20];
const ROUNDS: usize = 2_000;
const CONNECTIONS: u32 = 4_000;
/// What goes in and what comes back, as an enrollment by token has it on the wire.
const MESSAGES: [(usize, usize); 2] = [(230, 1_250), (800, 1_150)];
/// Rows in a group, as 64 devices in flight make them.
const GROUP: u32 = 16;
const GROUPS: u32 = 250;
/// The base point: a public key like any other.
const X25519_BASE: [u8; 32] = {
    let mut point = [0; 32];
    point[0] = 9;
    point
};
