//! A server whose every certificate has expired: it starts, and its operator reaches it.

use std::fs;

use imprint_identity::UnixTime;
use imprint_pkix::certificate::{self, Authority, Certificate, Server};
use imprint_pkix::key::PublicKey;
use imprint_pkix::{SignatureAlgorithm, pem};
use imprint_registrar::Signer as _;
use imprint_signer::{KeySigner, Seal};

use crate::support::Place;

/// Makes the chain in `place` anew, on the same keys, with an end in the past.
async fn expire(place: &Place) {
    let server = place.server();
    let signer = KeySigner::open(&server.join("keys"), &Seal::File, true).unwrap();
    let sign = async |key: &str, to_be_signed: Vec<u8>| {
        let algorithm = SignatureAlgorithm::EcdsaSha256;
        let signature = signer.sign(key, &to_be_signed).await.unwrap();
        let der = certificate::assemble(&to_be_signed, algorithm, &signature);
        Certificate::parse(&der).unwrap()
    };
    let old = |name: &str| {
        let text = fs::read_to_string(server.join(name)).unwrap();
        Certificate::parse(&pem::decode(pem::CERTIFICATE, &text).unwrap()[0]).unwrap()
    };
    let key_id = |of: &Certificate| <[u8; 20]>::try_from(of.subject_key_id().unwrap()).unwrap();
    let (root, issuing, own) = (
        old("ca/root.pem"),
        old("ca/issuing.pem"),
        old("tls/server.pem"),
    );
    let authority = |of: &Certificate, path_len| {
        let key: &PublicKey = of.public_key().unwrap();
        Authority {
            serial: [1; 20],
            issuer_der: root.subject_der(),
            authority_key_id: key_id(&root),
            subject_der: of.subject_der(),
            public_key: key,
            subject_key_id: key_id(of),
            not_before: LONG_AGO,
            not_after: LONG_AGO.plus(86_400),
            path_len,
            crl_url: None,
            issuer_url: None,
            signature_algorithm: SignatureAlgorithm::EcdsaSha256,
        }
        .to_be_signed()
    };
    let expired_root = sign("root", authority(&root, None)).await;
    let expired_issuing = sign("root", authority(&issuing, Some(0))).await;
    let own = Server {
        serial: [2; 20],
        issuer_der: issuing.subject_der(),
        authority_key_id: key_id(&issuing),
        subject_common_name: "127.0.0.1",
        public_key: own.public_key().unwrap(),
        subject_key_id: key_id(&own),
        not_before: LONG_AGO,
        not_after: LONG_AGO.plus(3_600),
        dns_names: &[],
        ip_addresses: &["127.0.0.1".parse().unwrap()],
        crl_url: None,
        issuer_url: None,
        signature_algorithm: SignatureAlgorithm::EcdsaSha256,
    };
    let own = sign("issuing", own.to_be_signed()).await;
    assert_eq!(
        expired_root.common_name().as_deref(),
        Some("Imprint Root CA")
    );
    let text = |certificate: &Certificate| pem::encode(pem::CERTIFICATE, certificate.der());
    fs::write(server.join("ca/root.pem"), text(&expired_root)).unwrap();
    fs::write(server.join("ca/issuing.pem"), text(&expired_issuing)).unwrap();
    fs::write(
        server.join("tls/server.pem"),
        text(&own) + &text(&expired_issuing),
    )
    .unwrap();
}

#[tokio::test]
async fn a_server_whose_every_certificate_has_expired_starts_and_can_be_asked() {
    let place = Place::with_fleet(crate::support::THERMO);
    expire(&place).await;
    let server = place.serve();
    assert_eq!(
        place.json(&["status"])["products"],
        serde_json::json!(["thermo"])
    );
    // No certificate leaves an authority that is at its end; whoever asks is told why.
    let request = place.request("a");
    let issue = [
        "device",
        "issue",
        "--csr",
        &request,
        "--product",
        "thermo",
        "--hardware",
        "custom:A",
    ];
    let refusal = place.refused(&issue);
    assert!(refusal.contains("[issuer-ending]"), "{refusal}");
    assert_eq!(server.end("TERM"), Some(0));
    let log = place.read("log");
    assert!(
        log.contains("the server's certificate has expired"),
        "{log}"
    );
}

/// 2020-01-01.
const LONG_AGO: UnixTime = UnixTime(1_577_836_800);
