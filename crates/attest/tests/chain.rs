//! Certificates of other CAs: where they lead, and what is doubtful on the way. And the certificates
//! of claims, which lead nowhere.

#![expect(clippy::unwrap_used, reason = "tests")]

use std::slice;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair as _};
use imprint_attest::{
    ChainDoubt, ClaimDoubt, PeerCertificate, issuers_of, prove_chain, prove_claim, subject_key_id,
};
use imprint_identity::UnixTime;
use imprint_pkix::SignatureAlgorithm;
use imprint_pkix::certificate::{Authority, Certificate, Leaf, Server, assemble};
use imprint_pkix::dn;
use imprint_pkix::key::PublicKey;

const NOW: UnixTime = UnixTime(1_800_000_000);
const ALGORITHM: SignatureAlgorithm = SignatureAlgorithm::EcdsaSha256;

struct Signing {
    pair: EcdsaKeyPair,
    name: String,
}

impl Signing {
    fn new(name: &str) -> Self {
        Self {
            pair: EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING).unwrap(),
            name: name.to_owned(),
        }
    }

    fn public(&self) -> PublicKey {
        let mut spki = P256_HEAD.to_vec();
        spki.extend_from_slice(self.pair.public_key().as_ref());
        PublicKey::parse(&spki).unwrap()
    }

    fn subject(&self) -> Vec<u8> {
        dn::common_name_der(&self.name, None)
    }

    fn signed(&self, to_be_signed: &[u8]) -> Certificate {
        let signature = self.pair.sign(&SystemRandom::new(), to_be_signed).unwrap();
        Certificate::parse(&assemble(to_be_signed, ALGORITHM, signature.as_ref())).unwrap()
    }

    /// A CA's certificate on `subject`, valid from a day ago for `seconds`.
    fn authority(&self, subject: &Self, path_len: Option<u8>, seconds: i64) -> Certificate {
        let (public, own) = (subject.public(), self.public());
        self.signed(
            &Authority {
                serial: [5; 20],
                issuer_der: &self.subject(),
                authority_key_id: subject_key_id(&own),
                subject_der: &subject.subject(),
                public_key: &public,
                subject_key_id: subject_key_id(&public),
                not_before: NOW.plus(-86_400),
                not_after: NOW.plus(seconds),
                path_len,
                crl_url: None,
                issuer_url: None,
                signature_algorithm: ALGORITHM,
            }
            .to_be_signed(),
        )
    }

    /// A device's certificate.
    fn leaf(&self, from: i64, until: i64) -> PeerCertificate {
        let (public, own) = (Self::new("d").public(), self.public());
        peer(
            self.signed(
                &Leaf {
                    serial: [6; 20],
                    issuer_der: &self.subject(),
                    authority_key_id: subject_key_id(&own),
                    subject_common_name: "sn-1",
                    public_key: &public,
                    subject_key_id: subject_key_id(&public),
                    not_before: NOW.plus(from),
                    not_after: NOW.plus(until),
                    hardware: None,
                    uris: &[],
                    dns_names: &[],
                    crl_url: None,
                    issuer_url: None,
                    signature_algorithm: ALGORITHM,
                }
                .to_be_signed(),
            ),
        )
    }
}

fn peer(certificate: Certificate) -> PeerCertificate {
    PeerCertificate {
        der: certificate.der().to_vec(),
        parsed: Some(certificate),
    }
}

/// `count` CAs in a row, each under the one before; the first stands by itself.
fn row(count: usize) -> (Vec<Signing>, Vec<Certificate>) {
    let keys: Vec<_> = (0..count)
        .map(|at| Signing::new(&format!("CA {at}")))
        .collect();
    let mut certificates = Vec::new();
    let mut above: Option<&Signing> = None;
    for key in &keys {
        certificates.push(above.unwrap_or(key).authority(key, None, 86_400));
        above = Some(key);
    }
    (keys, certificates)
}

#[test]
fn three_certificates_may_lead_to_a_ca_and_a_fourth_does_not() {
    let (keys, certificates) = row(5);
    let leaf = keys[4].leaf(-60, 60);
    // As devices send them: the nearest first.
    let sent: Vec<_> = certificates.iter().rev().cloned().collect();
    for (place, anchor) in certificates.iter().enumerate() {
        let proven = prove_chain(&leaf, &sent, anchor, 0, NOW);
        match place {
            // The leaf, and at most two between it and the anchor.
            2..=4 => assert_eq!(proven.unwrap().certificate().der(), leaf.der),
            _ => assert_eq!(proven.map(|_| ()), Err(ChainDoubt::Long), "{place}"),
        }
    }
    let names = issuers_of(&leaf, &sent);
    let near: Vec<_> = keys.iter().rev().map(Signing::subject).collect();
    assert_eq!(names[..4], near[..4]);
    assert!(names.len() <= 5);
}

#[test]
fn a_name_without_a_signature_leads_nowhere() {
    let (keys, certificates) = row(2);
    let impostor = Signing::new("CA 1");
    let leaf = impostor.leaf(-60, 60);
    let doubt = |leaf: &PeerCertificate, sent: &[Certificate], anchor: &Certificate| {
        prove_chain(leaf, sent, anchor, 0, NOW).map(|_| ())
    };
    assert_eq!(
        doubt(&leaf, &certificates, &certificates[1]),
        Err(ChainDoubt::Broken)
    );
    // The impostor's own certificate of that name, signed by itself, or by a stranger to the anchor.
    let own = impostor.authority(&impostor, None, 86_400);
    assert_eq!(
        doubt(&leaf, slice::from_ref(&own), &certificates[0]),
        Err(ChainDoubt::Broken),
        "it leads to itself, and no further"
    );
    assert_eq!(
        doubt(&leaf, &[own], &certificates[1]),
        Err(ChainDoubt::Broken)
    );
    // A device that signs for another device.
    let device = keys[1].leaf(-60, 60).parsed.unwrap();
    let as_issuer = Signing {
        name: "sn-1".into(),
        ..Signing::new("x")
    };
    let below = as_issuer.leaf(-60, 60);
    assert_eq!(
        doubt(&below, &[device], &certificates[1]),
        Err(ChainDoubt::Broken)
    );
}

#[test]
fn who_may_not_certify_leads_nowhere() {
    let (top, middle) = (Signing::new("top"), Signing::new("middle"));
    let leaf = middle.leaf(-60, 60);
    let below = top.authority(&middle, Some(0), 86_400);
    let allows = |path_len| top.authority(&top, path_len, 86_400);
    let lead = |anchor: &Certificate, sent: &[Certificate]| {
        prove_chain(&leaf, sent, anchor, 0, NOW).map(|_| ())
    };
    assert_eq!(lead(&allows(None), slice::from_ref(&below)), Ok(()));
    assert_eq!(lead(&allows(Some(1)), slice::from_ref(&below)), Ok(()));
    assert_eq!(
        lead(&allows(Some(0)), slice::from_ref(&below)),
        Err(ChainDoubt::MayNotCertify)
    );
    // A device's certificate on the key that signed, where a CA's has to be.
    let (public, own) = (middle.public(), top.public());
    let no_ca = top.signed(
        &Leaf {
            serial: [6; 20],
            issuer_der: &top.subject(),
            authority_key_id: subject_key_id(&own),
            subject_common_name: "middle",
            public_key: &public,
            subject_key_id: subject_key_id(&public),
            not_before: NOW.plus(-60),
            not_after: NOW.plus(60),
            hardware: None,
            uris: &[],
            dns_names: &[],
            crl_url: None,
            issuer_url: None,
            signature_algorithm: ALGORITHM,
        }
        .to_be_signed(),
    );
    assert_eq!(
        lead(&allows(None), slice::from_ref(&no_ca)),
        Err(ChainDoubt::MayNotCertify)
    );
    assert_eq!(lead(&no_ca, &[]), Err(ChainDoubt::MayNotCertify));
    // One that has ended, between.
    let ended = top.authority(&middle, None, -1);
    let expired = ChainDoubt::Expired { at: NOW.plus(-1) };
    assert_eq!(lead(&allows(None), &[ended]), Err(expired));
}

#[test]
fn what_is_no_clients_certificate_is_none_here() {
    let ca = Signing::new("ca");
    let anchor = ca.authority(&ca, None, 86_400);
    let lead = |leaf: &PeerCertificate| prove_chain(leaf, &[], &anchor, 0, NOW).map(|_| ());
    assert_eq!(lead(&ca.leaf(-60, 0)), Ok(()), "to the last second");
    let expired = ChainDoubt::Expired { at: NOW.plus(-1) };
    assert_eq!(lead(&ca.leaf(-60, -1)), Err(expired));
    let early = ChainDoubt::NotYetValid { from: NOW.plus(1) };
    assert_eq!(lead(&ca.leaf(1, 60)), Err(early));
    assert_eq!(lead(&peer(anchor.clone())), Err(ChainDoubt::Authority));
    let unread = PeerCertificate {
        der: vec![1],
        parsed: None,
    };
    assert_eq!(lead(&unread), Err(ChainDoubt::Unreadable));
    let (public, own) = (Signing::new("s").public(), ca.public());
    let server = ca.signed(
        &Server {
            serial: [7; 20],
            issuer_der: &ca.subject(),
            authority_key_id: subject_key_id(&own),
            subject_common_name: "server",
            public_key: &public,
            subject_key_id: subject_key_id(&public),
            not_before: NOW.plus(-60),
            not_after: NOW.plus(60),
            dns_names: &["server.example".to_owned()],
            ip_addresses: &[],
            crl_url: None,
            issuer_url: None,
            signature_algorithm: ALGORITHM,
        }
        .to_be_signed(),
    );
    assert_eq!(lead(&peer(server)), Err(ChainDoubt::NotForClients));
}

#[test]
fn a_claims_certificate_is_the_one_on_record_and_heard_through_its_grace() {
    let cloud = Signing::new("a cloud");
    let shown = cloud.leaf(-60, 60);
    let prove = |record: &[u8], grace, at| {
        prove_claim(&shown, record, grace, NOW.plus(at)).map(|holder| holder.der().to_vec())
    };
    let der = shown.der.clone();
    assert_eq!(prove(&der, 0, 60), Ok(der.clone()));
    let expired = Err(ClaimDoubt::Expired { at: NOW.plus(60) });
    assert_eq!(prove(&der, 0, 61), expired);
    assert_eq!(prove(&der, 2, 60 + 2 * 86_400), Ok(der.clone()));
    assert_eq!(prove(&der, 2, 61 + 2 * 86_400), expired);
    assert_eq!(prove(&der, u32::MAX, 61), Ok(der.clone()));
    let early = Err(ClaimDoubt::NotYetValid {
        from: NOW.plus(-60),
    });
    assert_eq!(prove(&der, 9, -61), early);
    let other = cloud.leaf(-60, 60).der;
    for record in [&other[..], &[], &der[1..]] {
        assert_eq!(prove(record, 0, 0), Err(ClaimDoubt::Other));
    }
}

/// SubjectPublicKeyInfo of P-256 up to the point (RFC 5480).
const P256_HEAD: [u8; 26] = [
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a,
    0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
];
