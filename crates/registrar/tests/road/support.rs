//! A registrar on a fresh directory, and devices with keys to ask it.

use std::path::Path;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair as _};
use imprint_attest::{KeyFingerprint, PeerCertificate, subject_key_id};
use imprint_identity::{HardwareId, UnixTime};
use imprint_pkix::SignatureAlgorithm;
use imprint_pkix::certificate::{self, Certificate};
use imprint_pkix::dn;
use imprint_pkix::key::PublicKey;
use imprint_registrar::enroll::{Channel, Kind};
use imprint_registrar::ledger::RequestOrigin;
use imprint_registrar::tokens::TokenOrder;
use imprint_registrar::verify::Member;
use imprint_registrar::{
    Authorities, Code, Enrolled, EnrollmentRequest, Issuer, Ledger as _, Product, Refusal,
    Registrar, Shown, Signer as _, Ticks,
};
use imprint_signer::{KeyAlgorithm, KeyDirectory, KeySigner, Seal};
use imprint_sqlite::Sqlite;

pub type Road = Registrar<Sqlite, KeySigner>;

pub const START: UnixTime = UnixTime(1_800_000_000);
pub const YEARS: i64 = 365 * 86_400;

/// A registrar whose clock stands until it is moved.
pub struct World {
    pub road: Road,
    now: AtomicI64,
    directory: tempfile::TempDir,
}

impl World {
    /// With one product, `thermo`, changed by `change`.
    pub async fn with(change: impl FnOnce(&mut Product)) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let keys = directory.path().join("keys");
        let made = KeyDirectory::init(&keys, &Seal::File, true).unwrap();
        for name in ["root", "issuing"] {
            made.create(name, KeyAlgorithm::P256).unwrap();
        }
        let signer = open_signer(directory.path());
        let authority = authorities(&signer).await;
        let ledger = Sqlite::open(&directory.path().join("imprint.db")).unwrap();
        let road = Registrar::new(ledger, signer, authority);
        let world = Self {
            road,
            now: AtomicI64::new(START.0),
            directory,
        };
        let mut product = Product::named("thermo");
        change(&mut product);
        product.check().unwrap();
        world
            .road
            .ledger()
            .product_apply(vec![product], "test", START)
            .await
            .unwrap();
        world
    }

    pub async fn new() -> Self {
        Self::with(|_| {}).await
    }

    /// The same directory after a restart of the server.
    pub fn restarted(self) -> Self {
        let Self {
            road,
            now,
            directory,
        } = self;
        let authorities = road.authorities().clone();
        drop(road);
        let signer = open_signer(directory.path());
        let ledger = Sqlite::open(&directory.path().join("imprint.db")).unwrap();
        Self {
            road: Registrar::new(ledger, signer, authorities),
            now,
            directory,
        }
    }

    /// The same directory with something between the road and its ledger.
    pub fn behind<L: imprint_registrar::Ledger>(
        self,
        wrap: impl FnOnce(Sqlite) -> L,
    ) -> (Registrar<L, KeySigner>, tempfile::TempDir) {
        let Self {
            road, directory, ..
        } = self;
        let authorities = road.authorities().clone();
        drop(road);
        let signer = open_signer(directory.path());
        let ledger = Sqlite::open(&directory.path().join("imprint.db")).unwrap();
        (Registrar::new(wrap(ledger), signer, authorities), directory)
    }

    pub fn now(&self) -> UnixTime {
        UnixTime(self.now.load(Ordering::Relaxed))
    }

    pub fn pass(&self, seconds: i64) {
        self.now.fetch_add(seconds, Ordering::Relaxed);
    }

    pub async fn token(&self) -> String {
        self.tokens(TokenOrder {
            count: 1,
            ..order()
        })
        .await
        .remove(0)
        .1
    }

    pub async fn token_for(&self, hardware: &str) -> String {
        let hardware = vec![HardwareId::parse(hardware).unwrap()];
        self.tokens(TokenOrder {
            hardware,
            ..order()
        })
        .await
        .remove(0)
        .1
    }

    /// Public names and texts.
    pub async fn tokens(&self, order: TokenOrder) -> Vec<(String, String)> {
        let minted = self
            .road
            .token_new(order, "test", &chance, self.now())
            .await
            .unwrap();
        minted
            .into_iter()
            .map(|token| (token.id, token.text.to_string()))
            .collect()
    }

    pub async fn ask(&self, request: EnrollmentRequest) -> Result<Enrolled, Refusal> {
        self.road.enroll(request, &chance, self.now()).await
    }

    /// A first certificate by token.
    pub async fn enroll(
        &self,
        key: &Key,
        hardware: &str,
        token: &str,
    ) -> Result<Enrolled, Refusal> {
        self.ask(by_token(key, hardware, token)).await
    }

    /// Uses a certificate.
    pub async fn verify(&self, certificate: &[u8]) -> Result<Member, Refusal> {
        self.road
            .member(&peer(certificate), &origin(), self.now())
            .await
    }

    /// Renews `certificate` with `key`.
    pub async fn renew(&self, key: &Key, certificate: &[u8]) -> Result<Enrolled, Refusal> {
        self.ask(EnrollmentRequest {
            kind: Kind::Reenroll,
            shown: Shown::Certificate(peer(certificate)),
            csr: key.csr(&name_in(certificate), None),
            ..by_token(key, "", "")
        })
        .await
    }

    /// A device that is all the way in.
    pub async fn provisioned(&self, hardware: &str) -> (Key, Vec<u8>) {
        let key = Key::new();
        let enrolled = self
            .enroll(&key, hardware, &self.token().await)
            .await
            .unwrap();
        self.verify(&enrolled.certificate).await.unwrap();
        (key, enrolled.certificate)
    }

    /// Everything that the ledger has on disk.
    pub fn stored(&self) -> Vec<u8> {
        let mut all = Vec::new();
        for entry in std::fs::read_dir(self.directory.path()).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            if name.starts_with("imprint.db") {
                all.extend(std::fs::read(path).unwrap());
            }
        }
        all
    }

    pub async fn device(&self, name: &str) -> imprint_registrar::ledger::DeviceFile {
        self.road
            .ledger()
            .device_get(name)
            .await
            .unwrap()
            .expect("the device is on record")
    }
}

pub fn order() -> TokenOrder {
    TokenOrder {
        product: "thermo".to_owned(),
        ..TokenOrder::default()
    }
}

pub fn code<T>(outcome: Result<T, Refusal>) -> Code {
    match outcome {
        Ok(_) => panic!("this should have been refused"),
        Err(refusal) => refusal.code,
    }
}

pub fn by_token(key: &Key, hardware: &str, token: &str) -> EnrollmentRequest {
    EnrollmentRequest {
        kind: Kind::Enroll,
        product: None,
        shown: Shown::Token {
            text: token.to_owned().into(),
            hardware: (!hardware.is_empty()).then(|| hardware.to_owned()),
        },
        csr: key.csr("whatever the device likes", None),
        channel: Channel::Tls12,
        origin: origin(),
    }
}

pub fn origin() -> RequestOrigin {
    RequestOrigin {
        at: Ticks::default(),
        door: "est",
        address: "127.0.0.1".to_owned(),
    }
}

pub fn peer(certificate: &[u8]) -> PeerCertificate {
    PeerCertificate {
        der: certificate.to_vec(),
        parsed: Certificate::parse(certificate).ok(),
    }
}

pub fn name_in(certificate: &[u8]) -> String {
    Certificate::parse(certificate)
        .unwrap()
        .common_name()
        .unwrap()
}

fn open_signer(directory: &Path) -> KeySigner {
    KeySigner::open(&directory.join("keys"), &Seal::File, true).unwrap()
}

/// A root of 20 years and an issuing authority of 10 under it.
async fn authorities(signer: &KeySigner) -> Authorities {
    let algorithm = SignatureAlgorithm::EcdsaSha256;
    let root_name = dn::common_name_der("Test Root", None);
    let issuing_name = dn::common_name_der("Test Issuing", None);
    let key = |name: &str| PublicKey::parse(signer.public_key(name).unwrap()).unwrap();
    let (root_key, issuing_key) = (key("root"), key("issuing"));
    let authority = |name, public_key, years, path_len| certificate::Authority {
        serial: [7; 20],
        issuer_der: &root_name,
        authority_key_id: subject_key_id(&root_key),
        subject_der: name,
        public_key,
        subject_key_id: subject_key_id(public_key),
        not_before: START.plus(-86_400),
        not_after: START.plus(years * YEARS),
        path_len,
        crl_url: None,
        issuer_url: None,
        signature_algorithm: algorithm,
    };
    let mut made = Vec::new();
    for to_be_signed in [
        authority(&root_name, &root_key, 20, None).to_be_signed(),
        authority(&issuing_name, &issuing_key, 10, Some(0)).to_be_signed(),
    ] {
        let signature = signer.sign("root", &to_be_signed).await.unwrap();
        let der = certificate::assemble(&to_be_signed, algorithm, &signature);
        made.push(Certificate::parse(&der).unwrap());
    }
    let issuing = made.pop().unwrap();
    let issuer = Issuer::new("issuing", "issuing", issuing, algorithm).unwrap();
    let public_http = Some("http://ca.example".to_owned());
    Authorities::new(vec![issuer], made, public_http).unwrap()
}

/// A device's key.
pub struct Key {
    pair: EcdsaKeyPair,
    spki: Vec<u8>,
}

impl Key {
    pub fn new() -> Self {
        let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING).unwrap();
        let mut spki = P256_SPKI_HEAD.to_vec();
        spki.extend_from_slice(pair.public_key().as_ref());
        Self { pair, spki }
    }

    pub fn fingerprint(&self) -> KeyFingerprint {
        KeyFingerprint::of(&self.spki)
    }

    /// A request signed anew each time: no two have the same bytes.
    pub fn csr(&self, common_name: &str, challenge: Option<&str>) -> Vec<u8> {
        let info = imprint_pkix::csr::request_info_der(common_name, &self.spki, challenge);
        imprint_pkix::csr::assemble(&info, SignatureAlgorithm::EcdsaSha256, &self.sign(&info))
    }

    pub fn sign(&self, message: &[u8]) -> Vec<u8> {
        self.pair
            .sign(&SystemRandom::new(), message)
            .unwrap()
            .as_ref()
            .to_vec()
    }

    pub fn public(&self) -> PublicKey {
        PublicKey::parse(&self.spki).unwrap()
    }
}

/// Different bytes each time, and the same in every run.
pub fn chance(bytes: &mut [u8]) {
    static COUNT: AtomicU64 = AtomicU64::new(1);
    for chunk in bytes.chunks_mut(8) {
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let mixed = count.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes();
        chunk.copy_from_slice(&mixed[..chunk.len()]);
    }
}

/// SubjectPublicKeyInfo of P-256 up to the point (RFC 5480).
const P256_SPKI_HEAD: [u8; 26] = [
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a,
    0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
];
