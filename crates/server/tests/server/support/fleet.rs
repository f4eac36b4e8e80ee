//! Authorities, a ledger and a running server in a directory that disappears.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use imprint_attest::subject_key_id;
use imprint_identity::{HardwareId, UnixTime};
use imprint_pkix::certificate::{Authority, Certificate, Server as ServerProfile, assemble};
use imprint_pkix::key::PublicKey;
use imprint_pkix::{SignatureAlgorithm, dn};
use imprint_registrar::product::Product;
use imprint_registrar::tokens::TokenOrder;
use imprint_registrar::{Authorities, Issuer, Ledger, Registrar, Signer as _};
use imprint_server::outbound::Roots;
use imprint_server::{Config, Identity, Limits, Running, Server, World};
use imprint_signer::{KeyAlgorithm, KeyDirectory, KeySigner, Seal};
use imprint_sqlite::Sqlite;
use tempfile::TempDir;
use zeroize::Zeroizing;

use super::keys::Device;
use super::outage::Outage;
use super::seeded;
use super::wire::{Client, Reply, basic, post};

pub(crate) struct Fleet<L = Sqlite> {
    pub(crate) registrar: Arc<Registrar<L, KeySigner>>,
    pub(crate) running: Running,
    pub(crate) root: Vec<u8>,
    pub(crate) issuer: Certificate,
    world: World,
    _directory: TempDir,
}

impl Fleet {
    pub(crate) async fn start() -> Self {
        Self::start_with(|_| {}).await
    }

    /// A server on free ports of the loopback, with the product `thermo`.
    pub(crate) async fn start_with(change: impl FnOnce(&mut Config)) -> Self {
        let directory = TempDir::new().unwrap();
        let ledger = Sqlite::open(&directory.path().join("imprint.db")).unwrap();
        let fleet = Self::start_on(ledger, directory, change).await;
        fleet.apply(Product::named("thermo")).await;
        fleet
    }
}

impl Fleet<Outage> {
    /// A server that loses its database at once.
    pub(crate) async fn in_an_outage() -> Self {
        Self::start_on(Outage, TempDir::new().unwrap(), |_| {}).await
    }
}

impl<L: Ledger> Fleet<L> {
    async fn start_on(ledger: L, directory: TempDir, change: impl FnOnce(&mut Config)) -> Self {
        let keys = directory.path().join("keys");
        let made = KeyDirectory::init(&keys, &Seal::File, true).unwrap();
        let root_key = made.create("root", KeyAlgorithm::P256).unwrap();
        let issuing_key = made.create("issuing", KeyAlgorithm::P256).unwrap();
        let signer = KeySigner::open(&keys, &Seal::File, true).unwrap();
        let world = World {
            now: Arc::new(clock),
            chance: seeded(0x1234_5678_9abc_def1),
        };

        let root = authority(&signer, "root", &root_key, None).await;
        let issuer = authority(&signer, "issuing", &issuing_key, Some(&root)).await;
        let identity = server_certificate(&signer, &issuer).await;
        let issuing = Issuer::new(
            "issuing",
            "issuing",
            issuer.clone(),
            SignatureAlgorithm::EcdsaSha256,
        );
        let authorities =
            Authorities::new(vec![issuing.unwrap()], vec![root.clone()], None).unwrap();
        let registrar = Arc::new(Registrar::new(ledger, signer, authorities));

        let mut config = config(identity);
        change(&mut config);
        let running = Server::start(config, Arc::clone(&registrar), world.clone())
            .await
            .unwrap();
        let root = root.der().to_vec();
        Self {
            registrar,
            running,
            root,
            issuer,
            world,
            _directory: directory,
        }
    }

    pub(crate) fn https(&self) -> SocketAddr {
        self.running.addresses().https.unwrap()
    }

    pub(crate) fn mqtts(&self) -> SocketAddr {
        self.running.addresses().mqtts.unwrap()
    }

    pub(crate) async fn apply(&self, product: Product) {
        self.registrar
            .ledger()
            .product_apply(vec![product], "test", clock())
            .await
            .unwrap();
    }

    /// A new token's text and its public name.
    pub(crate) async fn token(&self, product: &str, hardware: Option<&str>) -> (String, String) {
        let order = TokenOrder {
            product: product.to_owned(),
            hardware: hardware
                .map(|text| HardwareId::parse(text).unwrap())
                .into_iter()
                .collect(),
            count: 1,
            expires_in_seconds: None,
            dormant: None,
        };
        let chance = aws_chance;
        let minted = self
            .registrar
            .token_new(order, "test", &chance, clock())
            .await
            .unwrap();
        (minted[0].text.as_str().to_owned(), minted[0].id.clone())
    }

    /// A client that trusts this fleet's root.
    pub(crate) fn client(&self) -> Client {
        Client::new(self.https(), &self.root)
    }

    /// A client that shows this certificate.
    pub(crate) fn client_as(&self, device: &Device, certificate: &[u8]) -> Client {
        self.client().with_identity(certificate, &device.pkcs8)
    }

    /// `simpleenroll` for `thermo` with a token.
    pub(crate) async fn enroll(&self, device: &Device, hardware: &str, token: &str) -> Reply {
        let path = "/.well-known/est/thermo/simpleenroll";
        let authorization = basic(hardware, token);
        let headers = [("Authorization", authorization.as_str())];
        self.client()
            .once(&post(path, &headers, &device.csr("any", None)))
            .await
    }

    /// A device that has its certificate and has not used it yet.
    pub(crate) async fn enrolled(&self, hardware: &str) -> (Device, Vec<u8>) {
        let (token, _) = self.token("thermo", None).await;
        let device = Device::new();
        let certificate = self.enroll(&device, hardware, &token).await.certificate();
        (device, certificate)
    }

    pub(crate) fn now(&self) -> UnixTime {
        self.world.now()
    }

    /// The fleet without a server, whose ledger is still open.
    pub(crate) async fn stopped(self) -> Stopped<L> {
        let Self {
            registrar,
            running,
            root,
            issuer,
            world,
            _directory: directory,
        } = self;
        running.shutdown().await;
        Stopped {
            registrar,
            root,
            issuer,
            world,
            directory,
        }
    }

    /// Another server certificate of this fleet.
    pub(crate) async fn another_identity(&self) -> Identity {
        server_certificate(self.registrar.signer(), &self.issuer).await
    }
}

/// Waits until `done` says so, for a bounded time.
pub(crate) async fn eventually<F: Future<Output = bool>>(what: &str, done: impl Fn() -> F) {
    for _ in 0..200 {
        if done().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("not within two seconds: {what}");
}

#[expect(
    clippy::disallowed_methods,
    reason = "the world's clock, on which TLS clients insist"
)]
pub(crate) fn clock() -> UnixTime {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    UnixTime(since.as_secs().try_into().unwrap())
}

pub(crate) fn aws_chance(bytes: &mut [u8]) {
    aws_lc_rs::rand::fill(bytes).unwrap();
}

async fn authority(
    signer: &KeySigner,
    name: &str,
    key: &[u8],
    above: Option<&Certificate>,
) -> Certificate {
    let public_key = PublicKey::parse(key).unwrap();
    let subject = dn::common_name_der(&format!("Test {name}"), None);
    let own_id = subject_key_id(&public_key);
    let above_id = above.map(|above| above.subject_key_id().unwrap().try_into().unwrap());
    let profile = Authority {
        serial: serial(),
        issuer_der: above.map_or(&subject, |above| above.subject_der()),
        authority_key_id: above_id.unwrap_or(own_id),
        subject_der: &subject,
        public_key: &public_key,
        subject_key_id: own_id,
        not_before: clock().plus(-86_400),
        not_after: clock().plus(3_650 * 86_400),
        path_len: above.map(|_| 0),
        crl_url: None,
        issuer_url: None,
        signature_algorithm: SignatureAlgorithm::EcdsaSha256,
    };
    let by = if above.is_some() { "root" } else { name };
    Certificate::parse(&signed(signer, by, &profile.to_be_signed()).await).unwrap()
}

async fn server_certificate(signer: &KeySigner, issuer: &Certificate) -> Identity {
    let device = Device::new();
    let public_key = PublicKey::parse(&device.public_key_der()).unwrap();
    let profile = ServerProfile {
        serial: serial(),
        issuer_der: issuer.subject_der(),
        authority_key_id: issuer.subject_key_id().unwrap().try_into().unwrap(),
        subject_common_name: "Test registrar",
        subject_key_id: subject_key_id(&public_key),
        public_key: &public_key,
        not_before: clock().plus(-3_600),
        not_after: clock().plus(30 * 86_400),
        dns_names: &["localhost".to_owned()],
        ip_addresses: &["127.0.0.1".parse().unwrap()],
        crl_url: None,
        issuer_url: None,
        signature_algorithm: SignatureAlgorithm::EcdsaSha256,
    };
    let leaf = signed(signer, "issuing", &profile.to_be_signed()).await;
    Identity {
        chain: vec![leaf, issuer.der().to_vec()],
        private_key: Zeroizing::new(device.pkcs8.clone()),
    }
}

async fn signed(signer: &KeySigner, by: &str, to_be_signed: &[u8]) -> Vec<u8> {
    let signature = signer.sign(by, to_be_signed).await.unwrap();
    assemble(to_be_signed, SignatureAlgorithm::EcdsaSha256, &signature)
}

fn serial() -> [u8; 20] {
    let mut serial = [1; 20];
    aws_chance(&mut serial[1..]);
    serial
}

/// A fleet whose server has stopped.
pub(crate) struct Stopped<L = Sqlite> {
    registrar: Arc<Registrar<L, KeySigner>>,
    root: Vec<u8>,
    issuer: Certificate,
    world: World,
    directory: TempDir,
}

impl<L: Ledger> Stopped<L> {
    /// Mints a token, as a command on the stopped directory does.
    pub(crate) async fn token(&self, product: &str) {
        let order = TokenOrder {
            product: product.to_owned(),
            count: 1,
            ..TokenOrder::default()
        };
        let minted = self
            .registrar
            .token_new(order, "test", &aws_chance, clock());
        minted.await.unwrap();
    }

    /// Its server again, on other ports.
    pub(crate) async fn started(self, change: impl FnOnce(&mut Config)) -> Fleet<L> {
        let identity = server_certificate(self.registrar.signer(), &self.issuer).await;
        let mut config = config(identity);
        change(&mut config);
        let registrar = Arc::clone(&self.registrar);
        let running = Server::start(config, registrar, self.world.clone()).await;
        Fleet {
            registrar: self.registrar,
            running: running.unwrap(),
            root: self.root,
            issuer: self.issuer,
            world: self.world,
            _directory: self.directory,
        }
    }
}

/// Free ports of the loopback.
fn config(identity: Identity) -> Config {
    let loopback = Some(SocketAddr::from(([127, 0, 0, 1], 0)));
    Config {
        https: loopback,
        http: loopback,
        mqtts: loopback,
        mqtt_on_https: false,
        just_in_time_hang_up: false,
        id_scope: "0neTEST".into(),
        hub: "localhost".into(),
        admin: loopback,
        identity,
        admin_tokens: vec![imprint_server::admin::token_digest("an admin token")],
        trusted_proxies: Vec::new(),
        proxy_protocol: false,
        webhooks: Vec::new(),
        outbound_roots: Roots::default(),
        limits: Limits::default(),
        hostile: None,
    }
}
