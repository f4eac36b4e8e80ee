//! Certificates by hand are on the same road, marked as such.

use imprint_identity::HardwareId;
use imprint_registrar::devices::OperatorError;
use imprint_registrar::ledger::CertificateOrigin;
use imprint_registrar::{Code, Signer as _};

use crate::support::*;

#[tokio::test]
async fn a_certificate_from_a_request_by_hand_is_recorded_and_repeatable() {
    let world = World::new().await;
    let key = Key::new();
    let hardware = HardwareId::parse("sn-1").unwrap();
    let issue = async |key: &Key| {
        let csr = key.csr("any", None);
        world
            .road
            .device_issue(csr, "thermo", hardware.clone(), "ann", &chance, world.now())
            .await
    };
    let first = issue(&key).await.unwrap();
    assert_eq!(issue(&key).await.unwrap().certificate, first.certificate);
    let file = world.device("thermo-sn-1").await;
    assert_eq!(file.certificates[0].origin, CertificateOrigin::ByHand);
    world.verify(&first.certificate).await.unwrap();
    assert_eq!(code(issue(&Key::new()).await), Code::DeviceExists);
}

/// A certificate that our authority signed and the registry never heard of: an older system's.
async fn from_outside(world: &World, key: &Key, serial: u8) -> Vec<u8> {
    let issuer = world.road.authorities().issuing();
    let hardware = HardwareId::parse("sn-9").unwrap();
    let hw_type = hardware.source().hw_type_octets();
    let to_be_signed = imprint_pkix::certificate::Leaf {
        serial: [serial; 20],
        issuer_der: issuer.certificate.subject_der(),
        authority_key_id: issuer.key_id,
        subject_common_name: "thermo-sn-9",
        public_key: &key.public(),
        subject_key_id: imprint_attest::subject_key_id(&key.public()),
        not_before: START.plus(-60),
        not_after: START.plus(YEARS),
        hardware: Some((&hw_type, hardware.raw())),
        uris: &[],
        dns_names: &[],
        crl_url: None,
        issuer_url: None,
        signature_algorithm: issuer.algorithm,
    }
    .to_be_signed();
    let signature = world
        .road
        .signer()
        .sign("issuing", &to_be_signed)
        .await
        .unwrap();
    imprint_pkix::certificate::assemble(&to_be_signed, issuer.algorithm, &signature)
}

#[tokio::test]
async fn a_certificate_of_ours_that_the_registry_does_not_know_is_refused_until_it_is_adopted() {
    let world = World::new().await;
    let key = Key::new();
    let certificate = from_outside(&world, &key, 5).await;
    assert_eq!(
        code(world.verify(&certificate).await),
        Code::CertNotInRegistry
    );
    for _ in 0..2 {
        let adopted = world
            .road
            .device_adopt(certificate.clone(), "thermo", None, "ann", world.now())
            .await
            .unwrap();
        assert_eq!(
            adopted.hardware.text().as_str(),
            "custom:sn-9",
            "read from the certificate"
        );
    }
    world.verify(&certificate).await.unwrap();
    let file = world.device("thermo-sn-9").await;
    assert_eq!(file.certificates[0].origin, CertificateOrigin::Adopted);
    world
        .renew(&key, &certificate)
        .await
        .expect("an adopted device is a member like any other");
}

#[tokio::test]
async fn what_is_not_ours_or_is_on_record_otherwise_is_not_adopted() {
    let world = World::new().await;
    let (_, enrolled) = world.provisioned("sn-9").await;
    let conflict = from_outside(&world, &Key::new(), 6).await;
    let outcome = world
        .road
        .device_adopt(conflict, "thermo", None, "ann", world.now())
        .await
        .unwrap_err();
    assert!(
        matches!(outcome, OperatorError::Conflict { .. }),
        "{outcome}"
    );
    let mut forged = enrolled;
    let last = forged.len() - 1;
    forged[last] ^= 1;
    for (der, product) in [(forged, "thermo"), (b"nonsense".to_vec(), "thermo")] {
        world
            .road
            .device_adopt(der, product, None, "ann", world.now())
            .await
            .unwrap_err();
    }
    assert_eq!(world.device("thermo-sn-9").await.certificates.len(), 1);
}
