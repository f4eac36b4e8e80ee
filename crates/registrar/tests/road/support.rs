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
        Self::signed_by(&["issuing"], change).await
    }

    /// With these issuing authorities, the first of which signs where nothing else is said.
    pub async fn signed_by(issuers: &[&str], change: impl FnOnce(&mut Product)) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let keys = directory.path().join("keys");
        let made = KeyDirectory::init(&keys, &Seal::File, true).unwrap();
        for name in ["root"].iter().chain(issuers) {
            made.create(name, KeyAlgorithm::P256).unwrap();
        }
        let signer = open_signer(directory.path());
        let authority = authorities(&signer, issuers).await;
        let ledger = Sqlite::open(&directory.path().join("imprint.db")).unwrap();
        let road = Registrar::new(ledger, signer, authority);
        let world = Self {
            road,
            now: AtomicI64::new(START.0),
            directory,
        };
        let mut product = Product::named("thermo");
        change(&mut product);
        world.apply(product).await;
        world
    }

    /// Product `thermo` is so from now on.
    pub async fn apply(&self, product: Product) {
        product.check().unwrap();
        let ledger = self.road.ledger();
        ledger
            .product_apply(vec![product], "test", START)
            .await
            .unwrap();
    }

    /// Rows of the journal of one kind, about one subject: what they say.
    pub async fn journal(&self, kind: &str, subject: &str) -> Vec<serde_json::Value> {
        let rows = self.road.ledger().journal_read(0, 100_000).await.unwrap();
        rows.iter()
            .filter(|row| row.kind == kind && row.subject == subject)
            .map(|row| serde_json::from_str(&row.detail).unwrap())
            .collect()
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

/// A root of 20 years and issuing authorities of 10 under it.
async fn authorities(signer: &KeySigner, names: &[&str]) -> Authorities {
    let algorithm = SignatureAlgorithm::EcdsaSha256;
    let root_name = dn::common_name_der("Test Root", None);
    let key = |name: &str| PublicKey::parse(signer.public_key(name).unwrap()).unwrap();
    let root_key = key("root");
    let authority = |name: &[u8], public_key: &PublicKey, years, path_len| {
        certificate::Authority {
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
        }
        .to_be_signed()
    };
    let signed = async |to_be_signed: Vec<u8>| {
        let signature = signer.sign("root", &to_be_signed).await.unwrap();
        let der = certificate::assemble(&to_be_signed, algorithm, &signature);
        Certificate::parse(&der).unwrap()
    };
    let root = signed(authority(&root_name, &root_key, 20, None)).await;
    let mut issuers = Vec::new();
    for &name in names {
        let subject = match name {
            "issuing" => "Test Issuing".to_owned(),
            other => format!("Test {other}"),
        };
        let subject = dn::common_name_der(&subject, None);
        let certificate = signed(authority(&subject, &key(name), 10, Some(0))).await;
        issuers.push(Issuer::new(name, name, certificate, algorithm).unwrap());
    }
    let public_http = Some("http://ca.example".to_owned());
    Authorities::new(issuers, vec![root], public_http).unwrap()
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

/// An RSA key of 2048 bits whose factors are neighbours, as a SubjectPublicKeyInfo. Nobody has to
/// steal its private half.
pub fn neighbours() -> PublicKey {
    let modulus = hex::decode(NEIGHBOURS.replace(char::is_whitespace, "")).unwrap();
    // RSAPublicKey { modulus, 65537 } (RFC 8017 appendix A.1.1).
    let mut bits = vec![0x30, 0x82, 0x01, 0x0a, 0x02, 0x82, 0x01, 0x01, 0x00];
    bits.extend(modulus);
    bits.extend([0x02, 0x03, 0x01, 0x00, 0x01]);
    let algorithm = imprint_pkix::key::KeyAlgorithm::Rsa { bits: 2048 };
    PublicKey::parse(&imprint_pkix::key::spki_der(algorithm, &bits)).unwrap()
}

/// A request on that key. Its signature is none: nobody should look so far.
pub fn neighbours_csr() -> Vec<u8> {
    let info = imprint_pkix::csr::request_info_der("a", neighbours().spki_der(), None);
    imprint_pkix::csr::assemble(&info, SignatureAlgorithm::RsaPkcs1Sha256, &[1; 256])
}

/// The product of two primes of 1024 bits that differ by 210.
const NEIGHBOURS: &str = "
    b0aa8338735a73232b3a3c6a588af7b4841b281cba40d435cbcde13992087271aeec3c2710a8444744ae2cbdabda574f
    f3b569a96f1cc74639783f82be49e9a1f5f1a852b7f25aebf1029f9612a66b9b461f5aefb5a432e9a4fe0e32c29de4dd
    4c40099a1b9911eda35ad230fd34ab6690c1dd9b020eaa7435da20d7a4b45315b7b8ffc8cb751caa7f6a232cde8ec8cd
    987ca2d729914b7035068da05a7eff8126d1fdb75f8c3ac1896c3d20b0319a3ed8d90b0eb865e3a8b4ca8dee264a195d
    ade5b11ec465cf42c61f7815a8b5ddc6061cede8aebbe4275fdb984f83fa3e1a1f4bb8700138cd73e5866403e90e51c0
    4e5deec90e14afa851a685e3bb21c07f";

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
