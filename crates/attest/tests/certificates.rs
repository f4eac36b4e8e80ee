//! Certificates as evidence: ours, on record, in time; else a doubt that says which is not.

#![expect(clippy::unwrap_used, reason = "tests")]

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1_SIGNING, ECDSA_P384_SHA384_ASN1_SIGNING, EcdsaKeyPair,
    EcdsaSigningAlgorithm, Ed25519KeyPair, KeyPair as _,
};
use imprint_attest::{
    Appraised, Authority, Doubt, Evidence, Known, KnownCertificate, PeerCertificate, Speaker,
    appraise, prove_possession, subject_key_id, verify_signature,
};
use imprint_identity::{HardwareId, IdentityStrength, UnixTime};
use imprint_pkix::SignatureAlgorithm;
use imprint_pkix::certificate::{Certificate, Leaf, assemble};
use imprint_pkix::csr::Csr;
use imprint_pkix::key::PublicKey;
use imprint_pkix::{csr, dn};

const NOW: UnixTime = UnixTime(1_800_000_000);

struct Signing(EcdsaKeyPair);

impl Signing {
    fn new() -> Self {
        Self(EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING).unwrap())
    }

    fn public(&self) -> PublicKey {
        let mut spki = P256_HEAD.to_vec();
        spki.extend_from_slice(self.0.public_key().as_ref());
        PublicKey::parse(&spki).unwrap()
    }

    fn sign(&self, message: &[u8]) -> Vec<u8> {
        self.0
            .sign(&SystemRandom::new(), message)
            .unwrap()
            .as_ref()
            .to_vec()
    }
}

/// A leaf from `issuer` for a fresh key, valid from an hour ago for a day.
fn leaf(issuer: &Signing, issuer_name: &str) -> Vec<u8> {
    let device = Signing::new().public();
    let to_be_signed = Leaf {
        serial: [5; 20],
        issuer_der: &dn::common_name_der(issuer_name, None),
        authority_key_id: subject_key_id(&issuer.public()),
        subject_common_name: "thermo-1",
        public_key: &device,
        subject_key_id: subject_key_id(&device),
        not_before: NOW.plus(-3_600),
        not_after: NOW.plus(86_400),
        hardware: None,
        uris: &["urn:x:thermo-1".to_owned()],
        dns_names: &[],
        crl_url: None,
        issuer_url: None,
        signature_algorithm: SignatureAlgorithm::EcdsaSha256,
    }
    .to_be_signed();
    assemble(
        &to_be_signed,
        SignatureAlgorithm::EcdsaSha256,
        &issuer.sign(&to_be_signed),
    )
}

fn shown(der: &[u8]) -> Evidence {
    Evidence::Certificate(PeerCertificate {
        der: der.to_vec(),
        parsed: Certificate::parse(der).ok(),
    })
}

fn record(der: &[u8]) -> KnownCertificate {
    KnownCertificate {
        der: der.to_vec(),
        device: "thermo-1".parse().unwrap(),
        hardware: HardwareId::parse("sn-1").unwrap(),
        strength: IdentityStrength::SiliconId,
        grace_days: 0,
    }
}

fn judge(
    issuer: &Signing,
    der: &[u8],
    on_record: Option<&[u8]>,
    now: UnixTime,
) -> Result<Appraised, Doubt> {
    let authorities = [Authority {
        subject_der: dn::common_name_der("Ours", None),
        public_key: issuer.public(),
    }];
    let certificate = on_record.map(record);
    let known = Known {
        token: None,
        certificate,
        authorities: &authorities,
    };
    appraise(&shown(der), &known, now)
}

#[test]
fn a_certificate_on_record_speaks_for_its_device() {
    let issuer = Signing::new();
    let der = leaf(&issuer, "Ours");
    let appraised = judge(&issuer, &der, Some(&der), NOW).unwrap();
    assert_eq!(
        appraised.speaker(),
        &Speaker::Member("thermo-1".parse().unwrap())
    );
    assert_eq!(appraised.hardware(), &HardwareId::parse("sn-1").unwrap());
    assert_eq!(appraised.strength(), IdentityStrength::SiliconId);
}

#[test]
fn every_doubt_about_a_certificate_has_its_name() {
    let (issuer, stranger) = (Signing::new(), Signing::new());
    let ours = leaf(&issuer, "Ours");
    let other = leaf(&issuer, "Ours");
    let foreign = leaf(&stranger, "Theirs");
    let pretender = leaf(&stranger, "Ours");
    let mut altered = ours.clone();
    let last = altered.len() - 1;
    altered[last] ^= 1;
    let doubt = |der: &[u8], record: Option<&[u8]>, now| judge(&issuer, der, record, now).err();
    let day = 86_400;
    let until = NOW.plus(day);
    let from = NOW.plus(-3_600);
    assert_eq!(
        doubt(&ours, None, NOW),
        Some(Doubt::CertificateNotInRegistry)
    );
    assert_eq!(
        doubt(&ours, Some(&other), NOW),
        Some(Doubt::CertificateNotInRegistry)
    );
    assert_eq!(doubt(&foreign, None, NOW), Some(Doubt::IssuerUnknown));
    assert_eq!(doubt(&pretender, None, NOW), Some(Doubt::IssuerUnknown));
    assert_eq!(
        doubt(&altered, Some(&ours), NOW),
        Some(Doubt::IssuerUnknown)
    );
    assert_eq!(
        doubt(b"junk", None, NOW),
        Some(Doubt::CertificateUnreadable)
    );
    assert_eq!(
        doubt(&ours, Some(&ours), until),
        None,
        "the last second is still good"
    );
    let expired = Some(Doubt::CertificateExpired { at: until });
    assert_eq!(doubt(&ours, Some(&ours), until.plus(1)), expired);
    assert_eq!(
        doubt(&ours, Some(&ours), from),
        None,
        "the first second is good"
    );
    let early = Some(Doubt::CertificateNotYetValid { from });
    assert_eq!(doubt(&ours, Some(&ours), from.plus(-1)), early);
}

#[test]
fn possession_is_proven_by_the_requests_own_signature_alone() {
    let (key, other) = (Signing::new(), Signing::new());
    let info = csr::request_info_der("x", key.public().spki_der(), None);
    let algorithm = SignatureAlgorithm::EcdsaSha256;
    let request =
        |signature: &[u8]| Csr::parse(&csr::assemble(&info, algorithm, signature)).unwrap();
    let proven = prove_possession(&request(&key.sign(&info))).unwrap();
    assert_eq!(proven.public_key(), &key.public());
    assert_eq!(proven.subject_key_id(), subject_key_id(&key.public()));
    prove_possession(&request(&other.sign(&info))).unwrap_err();
    prove_possession(&request(&key.sign(b"something else"))).unwrap_err();
    prove_possession(&request(b"")).unwrap_err();
}

#[test]
fn signatures_verify_under_their_own_algorithm_and_no_other() {
    let message = b"to be signed";
    let ecdsa = |algorithm: &'static EcdsaSigningAlgorithm, head: &[u8]| {
        let pair = EcdsaKeyPair::generate(algorithm).unwrap();
        let spki = [head, pair.public_key().as_ref()].concat();
        let signature = pair
            .sign(&SystemRandom::new(), message)
            .unwrap()
            .as_ref()
            .to_vec();
        (PublicKey::parse(&spki).unwrap(), signature)
    };
    let ed25519 = Ed25519KeyPair::generate().unwrap();
    let ed25519_spki = [&ED25519_HEAD[..], ed25519.public_key().as_ref()].concat();
    let rows = [
        (
            ecdsa(&ECDSA_P256_SHA256_ASN1_SIGNING, &P256_HEAD),
            SignatureAlgorithm::EcdsaSha256,
        ),
        (
            ecdsa(&ECDSA_P384_SHA384_ASN1_SIGNING, &P384_HEAD),
            SignatureAlgorithm::EcdsaSha384,
        ),
        (
            (
                PublicKey::parse(&ed25519_spki).unwrap(),
                ed25519.sign(message).as_ref().to_vec(),
            ),
            SignatureAlgorithm::Ed25519,
        ),
    ];
    for ((key, signature), algorithm) in &rows {
        verify_signature(key, algorithm, message, signature).unwrap();
        verify_signature(key, algorithm, b"other", signature).unwrap_err();
        for (_, wrong) in rows.iter().filter(|(_, other)| other != algorithm) {
            verify_signature(key, wrong, message, signature).unwrap_err();
        }
    }
}

/// SubjectPublicKeyInfo up to the key itself (RFC 5480, RFC 8410).
const P256_HEAD: [u8; 26] = [
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a,
    0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
];
const P384_HEAD: [u8; 23] = [
    0x30, 0x76, 0x30, 0x10, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x05, 0x2b,
    0x81, 0x04, 0x00, 0x22, 0x03, 0x62, 0x00,
];
const ED25519_HEAD: [u8; 12] = [
    0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00,
];
