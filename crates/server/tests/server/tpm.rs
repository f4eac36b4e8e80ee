//! A certificate for a key that lives in a TPM: a real one answers, and everything that only looks like
//! an answer is refused under a name of its own.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use imprint_attest::KeyFingerprint;
use imprint_attest::tpm::Public;
use imprint_identity::{HardwareId, IdentityStrength};
use imprint_pkix::certificate::Certificate;
use imprint_pkix::pem;
use imprint_registrar::Ledger as _;
use imprint_registrar::attested::{TpmAnswer, TpmQuestion};
use imprint_registrar::enroll::{Channel, Origin};
use imprint_registrar::ledger::{CertificateOrigin, CertificateState, DeviceFilter};
use imprint_registrar::product::Product;
use imprint_registrar::refusal::Code;
use serde_json::{Value, json};

use crate::support::tpm::{AK, DEVICE, EK, LOOSE, RESTRICTED, SIGNING, Tpm};
use crate::support::{Device, Fleet, Reply, request};

impl Fleet {
    async fn asked(&self, path: &str, body: &Value) -> Reply {
        let headers = [("Content-Type", "application/json")];
        let body = body.to_string();
        let ask = request("POST", path, &headers, body.as_bytes());
        self.client().once(&ask).await
    }

    async fn expects(&self, endorsement: &[u8]) -> String {
        let id = hardware(endorsement);
        let hardware = vec![HardwareId::parse(&id).unwrap()];
        let ledger = self.registrar.ledger();
        let added = ledger.allow_add("thermo", hardware, "test", self.now());
        added.await.unwrap();
        id
    }

    /// A whole answer to a fresh challenge, to be spoilt.
    async fn answer(&self, tpm: &Tpm) -> Value {
        let mut body = question(tpm);
        let told = self.asked("/v1/tpm/challenge", &body).await;
        assert_eq!(told.status, 200, "{} {}", told.code(), told.text());
        let told = told.json();
        let nonce = decoded(&told["nonce"]);
        let (statement, signature) = tpm.certifies(&nonce);
        body["secret"] = encoded(&tpm.opens(&decoded(&told["credential"])));
        body["key"] = encoded(&tpm.public(DEVICE));
        body["statement"] = encoded(&statement);
        body["signature"] = encoded(&signature);
        body["csr"] = encoded(&tpm.csr());
        body
    }
}

fn question(tpm: &Tpm) -> Value {
    json!({
        "product": "thermo",
        "endorsement_key": encoded(&tpm.public(EK)),
        "attestation_key": encoded(&tpm.public(AK)),
    })
}

fn encoded(bytes: &[u8]) -> Value {
    STANDARD.encode(bytes).into()
}

fn decoded(value: &Value) -> Vec<u8> {
    STANDARD.decode(value.as_str().unwrap()).unwrap()
}

/// SHA-256 over the SubjectPublicKeyInfo.
fn hardware(endorsement: &[u8]) -> String {
    let public = Public::parse(endorsement).unwrap();
    let hash = KeyFingerprint::of(public.public_key().spki_der());
    format!("tpm-ek:{}", hex::encode(hash.0))
}

fn leaf(told: &Reply) -> Vec<u8> {
    let chain = told.json()["chain"].as_str().unwrap().to_owned();
    pem::decode(pem::CERTIFICATE, &chain).unwrap().remove(0)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_in_a_tpm_gets_a_certificate_that_says_so() {
    let Some(tpm) = Tpm::new() else { return };
    let fleet = Fleet::start().await;
    tpm.key(AK, RESTRICTED, &[1; 32]);
    let key = tpm.key(DEVICE, SIGNING, &[2; 32]);
    let told = fleet.asked("/v1/tpm/challenge", &question(&tpm)).await;
    assert_eq!((told.status, told.code()), (403, "tpm-unknown"));
    let id = fleet.expects(&tpm.public(EK)).await;

    let body = fleet.answer(&tpm).await;
    let told = fleet.asked("/v1/tpm/enroll", &body).await;
    assert_eq!(told.status, 200, "{} {}", told.code(), told.text());
    let certificate = Certificate::parse(&leaf(&told)).unwrap();
    let public = Public::parse(&key).unwrap();
    assert_eq!(certificate.spki_der(), public.public_key().spki_der());
    // The reply was lost. The same answer, and a whole new one for the same key, get the same.
    let again = fleet.asked("/v1/tpm/enroll", &body).await;
    assert_eq!(leaf(&again), leaf(&told));
    let anew = fleet.answer(&tpm).await;
    assert_ne!(anew["csr"], body["csr"]);
    let anew = fleet.asked("/v1/tpm/enroll", &anew).await;
    assert_eq!(leaf(&anew), leaf(&told));
    assert_eq!(anew.json()["again"], true);

    let name = told.json()["device"].as_str().unwrap().to_owned();
    let file = fleet.registrar.ledger().device_get(&name).await.unwrap();
    let file = file.unwrap();
    assert_eq!(file.device.hardware.text().as_str(), id);
    assert_eq!(file.device.strength, IdentityStrength::ElementKey);
    let [record] = &file.certificates[..] else {
        panic!("one certificate")
    };
    assert_eq!(record.origin, CertificateOrigin::Attested);
    assert_eq!(record.state, CertificateState::Issued);
    let why = fleet.registrar.why(&name, fleet.now()).await.unwrap();
    let said = format!("{why:?}");
    assert!(
        said.contains("attested, its key lives in the TPM"),
        "{said}"
    );

    // The TPM is the device: it may come with another key, which takes the place of the unused one.
    tpm.key(DEVICE, SIGNING, &[3; 32]);
    let other = fleet.answer(&tpm).await;
    let other = fleet.asked("/v1/tpm/enroll", &other).await;
    assert_eq!(other.status, 200, "{} {}", other.code(), other.text());
    assert_eq!(other.json()["device"], name.as_str());
    let file = fleet.registrar.ledger().device_get(&name).await.unwrap();
    let states: Vec<_> = file
        .unwrap()
        .certificates
        .iter()
        .map(|one| one.state)
        .collect();
    assert_eq!(
        states,
        [CertificateState::Issued, CertificateState::Superseded]
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_only_looks_like_a_tpms_answer_has_a_code_of_its_own() {
    let (Some(tpm), Some(other)) = (Tpm::new(), Tpm::new()) else {
        return;
    };
    let fleet = Fleet::start().await;
    for tpm in [&tpm, &other] {
        fleet.expects(&tpm.public(EK)).await;
        tpm.key(AK, RESTRICTED, &[1; 32]);
        tpm.key(DEVICE, SIGNING, &[2; 32]);
    }
    let good = fleet.answer(&tpm).await;
    let of_other = fleet.answer(&other).await;
    let (old, by) = tpm.certifies(&[7; 32]);
    let software = Device::new();
    // In the same TPM: another attestation key, and a key that may leave it.
    let spare = tpm.key("0x81010012", RESTRICTED, &[4; 32]);
    tpm.key(DEVICE, LOOSE, &[5; 32]);
    let loose = fleet.answer(&tpm).await;
    let flipped = |field: &str, at: usize| {
        let mut bytes = decoded(&good[field]);
        bytes[at] ^= 1;
        encoded(&bytes)
    };
    let statement = decoded(&good["statement"]).len();
    let signature = decoded(&good["signature"]).len();
    let cut = encoded(&decoded(&good["key"])[..30]);
    let mut pretending = decoded(&loose["key"]);
    // The attributes of a key that stays, in a public area that the TPM does not have.
    pretending[6..10].copy_from_slice(&decoded(&good["key"])[6..10]);
    for (what, changes, want) in [
        (
            "another TPM's key",
            vec![("endorsement_key", of_other["endorsement_key"].clone())],
            "tpm-answer-wrong",
        ),
        (
            "another attestation key",
            vec![("attestation_key", encoded(&spare))],
            "tpm-answer-wrong",
        ),
        (
            "a device's key in its place",
            vec![("attestation_key", good["key"].clone())],
            "tpm-key-unsound",
        ),
        (
            "a guess",
            vec![("secret", encoded(&[7; 32]))],
            "tpm-answer-wrong",
        ),
        (
            "another TPM's secret",
            vec![("secret", of_other["secret"].clone())],
            "tpm-answer-wrong",
        ),
        (
            "a statement for another nonce",
            vec![("statement", encoded(&old)), ("signature", encoded(&by))],
            "tpm-nonce-wrong",
        ),
        (
            "a statement with one bit changed, first",
            vec![("statement", flipped("statement", 0))],
            "tpm-statement-wrong",
        ),
        (
            "in the middle",
            vec![("statement", flipped("statement", statement / 2))],
            "tpm-statement-wrong",
        ),
        (
            "last",
            vec![("statement", flipped("statement", statement - 1))],
            "tpm-statement-wrong",
        ),
        (
            "a signature with one bit changed",
            vec![("signature", flipped("signature", signature - 1))],
            "tpm-statement-wrong",
        ),
        (
            "another TPM's statement",
            vec![
                ("statement", of_other["statement"].clone()),
                ("signature", of_other["signature"].clone()),
            ],
            "tpm-statement-wrong",
        ),
        (
            "a key in software",
            vec![("csr", encoded(&software.csr("tpm", None)))],
            "tpm-key-other",
        ),
        (
            "another key of the TPM's",
            vec![("key", loose["key"].clone())],
            "tpm-key-other",
        ),
        ("half a key", vec![("key", cut)], "tpm-unreadable"),
        (
            "another product",
            vec![("product", "valve".into())],
            "product-unknown",
        ),
        (
            "no base64",
            vec![("secret", "?".into())],
            "payload-unreadable",
        ),
    ] {
        let mut body = good.clone();
        for (field, value) in changes {
            body[field] = value;
        }
        let told = fleet.asked("/v1/tpm/enroll", &body).await;
        assert_eq!(told.code(), want, "{what}: {}", told.text());
    }
    let told = fleet.asked("/v1/tpm/enroll", &loose).await;
    assert_eq!(
        told.code(),
        "tpm-key-unsound",
        "a key that may leave its TPM"
    );
    let mut posing = loose.clone();
    posing["key"] = encoded(&pretending);
    let told = fleet.asked("/v1/tpm/enroll", &posing).await;
    assert_eq!(
        told.code(),
        "tpm-key-other",
        "software that says it is a TPM"
    );
    for (body, status) in [(json!([]), 400), (json!({"product": "thermo"}), 400)] {
        for path in ["/v1/tpm/challenge", "/v1/tpm/enroll"] {
            assert_eq!(fleet.asked(path, &body).await.status, status);
        }
    }
    // None of this has made a device, and none of it keeps the right answer out, for ten minutes.
    let all = DeviceFilter::default();
    let devices = fleet.registrar.ledger().device_list(&all).await;
    assert!(devices.unwrap().is_empty());
    let answer = TpmAnswer {
        question: TpmQuestion {
            product: "thermo".to_owned(),
            endorsement_key: decoded(&good["endorsement_key"]),
            endorsement_certificate: None,
            intermediates: Vec::new(),
            attestation_key: decoded(&good["attestation_key"]),
        },
        secret: decoded(&good["secret"]),
        key: decoded(&good["key"]),
        statement: decoded(&good["statement"]),
        signature: decoded(&good["signature"]),
        csr: decoded(&good["csr"]),
    };
    let origin = Origin {
        at: imprint_registrar::Ticks::default(),
        door: "est",
        address: "127.0.0.1".to_owned(),
    };
    let chance = crate::support::seeded(7);
    let (road, later) = (&fleet.registrar, fleet.now().plus(1_800));
    let late = Box::pin(road.tpm_enroll(&answer, Channel::Tls12, &origin, &*chance, later)).await;
    assert_eq!(
        late.err().map(|refusal| refusal.code),
        Some(Code::TpmAnswerLate)
    );
    let told = fleet.asked("/v1/tpm/enroll", &good).await;
    assert_eq!(told.status, 200, "{}", told.text());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_makers_word_is_taken_where_the_product_names_the_maker() {
    let (Some(tpm), Some(stranger)) = (Tpm::new(), Tpm::new()) else {
        return;
    };
    let fleet = Fleet::start().await;
    let read = |tpm: &Tpm, file: &str| String::from_utf8(tpm.read(&format!("ca/{file}"))).unwrap();
    let root = read(&tpm, "swtpm-localca-rootca-cert.pem");
    let issuer = pem::decode(pem::CERTIFICATE, &read(&tpm, "issuercert.pem")).unwrap();
    let maker = pem::decode(pem::CERTIFICATE, &root).unwrap().remove(0);
    fleet
        .apply(Product {
            tpm_makers: vec![pem::encode(pem::CERTIFICATE, &maker)],
            ..Product::named("thermo")
        })
        .await;
    for (one, good) in [(&tpm, true), (&stranger, false)] {
        one.key(AK, RESTRICTED, &[1; 32]);
        one.key(DEVICE, SIGNING, &[2; 32]);
        one.tool("nvread", &["0x1c00002", "-o", "ek.der"]);
        let mut body = question(one);
        body["endorsement_certificate"] = encoded(&one.read("ek.der"));
        body["intermediates"] = vec![encoded(&issuer[0])].into();
        let told = fleet.asked("/v1/tpm/challenge", &body).await;
        if !good {
            assert_eq!((told.status, told.code()), (403, "tpm-unknown"));
            continue;
        }
        let told = told.json();
        let (statement, signature) = one.certifies(&decoded(&told["nonce"]));
        body["secret"] = encoded(&one.opens(&decoded(&told["credential"])));
        body["key"] = encoded(&one.public(DEVICE));
        body["statement"] = encoded(&statement);
        body["signature"] = encoded(&signature);
        body["csr"] = encoded(&one.csr());
        let told = fleet.asked("/v1/tpm/enroll", &body).await;
        assert_eq!(told.status, 200, "{} {}", told.code(), told.text());
        let name = told.json()["device"].as_str().unwrap().to_owned();
        let file = fleet.registrar.ledger().device_get(&name).await.unwrap();
        assert_eq!(
            file.unwrap().device.strength,
            IdentityStrength::VendorProven
        );
    }
}
