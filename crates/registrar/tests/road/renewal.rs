//! Renewal: one unused successor a predecessor; the old certificate lives until the new one is used.

use imprint_pkix::certificate::Certificate;
use imprint_registrar::enroll::Kind;
use imprint_registrar::ledger::{CertificateOrigin, CertificateState};
use imprint_registrar::{Code, EnrollmentRequest, Shown};

use crate::support::*;

#[tokio::test]
async fn a_renewal_with_the_same_key_is_the_same_device_and_answers_twice_alike() {
    let world = World::new().await;
    let (key, old) = world.provisioned("sn-1").await;
    world.pass(200 * 86_400);
    let new = world.renew(&key, &old).await.unwrap();
    assert_eq!(new.device.as_str(), "thermo-sn-1");
    assert_ne!(new.certificate, old);
    world.pass(60);
    let again = world.renew(&key, &old).await.unwrap();
    assert_eq!(again.certificate, new.certificate);
    world
        .verify(&old)
        .await
        .expect("the old one stays good until the new one is used");
    assert!(world.verify(&new.certificate).await.unwrap().first_use);
    assert_eq!(code(world.verify(&old).await), Code::CertificateSuperseded);
    assert_eq!(
        code(world.renew(&key, &old).await),
        Code::CertificateSuperseded
    );
    let file = world.device("thermo-sn-1").await;
    let seen: Vec<_> = file
        .certificates
        .iter()
        .map(|c| (c.state, c.origin))
        .collect();
    assert_eq!(
        seen,
        [
            (CertificateState::Active, CertificateOrigin::Renewed),
            (CertificateState::Superseded, CertificateOrigin::Enrolled)
        ]
    );
}

#[tokio::test]
async fn another_key_takes_the_place_of_an_unused_successor() {
    let world = World::new().await;
    let (_, old) = world.provisioned("sn-1").await;
    let (first, second) = (Key::new(), Key::new());
    let unused = world.renew(&first, &old).await.unwrap();
    let taken = world.renew(&second, &old).await.unwrap();
    assert_eq!(
        code(world.verify(&unused.certificate).await),
        Code::CertificateSuperseded
    );
    assert_eq!(
        code(world.renew(&first, &old).await),
        Code::CertificateSuperseded
    );
    world.verify(&taken.certificate).await.unwrap();
    assert_eq!(code(world.verify(&old).await), Code::CertificateSuperseded);
}

#[tokio::test]
async fn a_used_successor_can_itself_be_renewed() {
    let world = World::new().await;
    let (key, mut certificate) = world.provisioned("sn-1").await;
    for _ in 0..5 {
        world.pass(240 * 86_400);
        let new = world.renew(&key, &certificate).await.unwrap();
        world.verify(&new.certificate).await.unwrap();
        certificate = new.certificate;
    }
    world.verify(&certificate).await.unwrap();
    let live = world.device("thermo-sn-1").await.certificates;
    assert_eq!(live.iter().filter(|c| c.state.is_live()).count(), 1);
}

#[tokio::test]
async fn the_first_use_of_a_certificate_may_be_its_renewal() {
    let world = World::new().await;
    let (key, token) = (Key::new(), world.token().await);
    let first = world.enroll(&key, "sn-1", &token).await.unwrap();
    let second = world.renew(&key, &first.certificate).await.unwrap();
    let states = world.device("thermo-sn-1").await.certificates;
    assert_eq!(
        states[1].state,
        CertificateState::Active,
        "showing it was proof of receipt"
    );
    world.verify(&second.certificate).await.unwrap();
}

#[tokio::test]
async fn a_renewal_names_the_subject_of_its_certificate_or_of_the_first_request() {
    let world = World::new().await;
    let (key, old) = world.provisioned("sn-1").await;
    let ask = |subject: &str| EnrollmentRequest {
        kind: Kind::Reenroll,
        shown: Shown::Certificate(peer(&old)),
        csr: key.csr(subject, None),
        ..by_token(&key, "", "")
    };
    assert_eq!(
        code(world.ask(ask("somebody-else")).await),
        Code::SubjectDiffers
    );
    world
        .ask(ask("whatever the device likes"))
        .await
        .expect("the first request's subject");
    world
        .ask(ask("thermo-sn-1"))
        .await
        .expect("the certificate's subject");
}

#[tokio::test]
async fn an_expired_certificate_does_not_renew_itself() {
    let world = World::new().await;
    let (key, old) = world.provisioned("sn-1").await;
    world.pass(366 * 86_400);
    assert_eq!(
        code(world.renew(&key, &old).await),
        Code::CertificateExpired
    );
    assert_eq!(code(world.verify(&old).await), Code::CertificateExpired);
}

#[tokio::test]
async fn a_renewal_that_takes_a_key_of_another_device_is_refused() {
    let world = World::new().await;
    let (_, mine) = world.provisioned("sn-1").await;
    let (theirs, _) = world.provisioned("sn-2").await;
    assert_eq!(code(world.renew(&theirs, &mine).await), Code::KeyInUse);
}

#[tokio::test]
async fn a_clock_that_went_back_is_a_passing_cause() {
    let world = World::new().await;
    let (_, certificate) = world.provisioned("sn-1").await;
    world.pass(-2 * 3_600);
    let refusal = world.verify(&certificate).await.map(|_| ()).unwrap_err();
    assert_eq!(refusal.code, Code::CertificateNotYetValid);
    assert_ne!(refusal.retry, imprint_registrar::Retry::Never);
}

#[tokio::test]
async fn a_leaf_never_outlives_its_issuer() {
    let world = World::with(|product| product.certificate.lifetime_days = 0).await;
    world.pass(9 * YEARS);
    let (_, certificate) = world.provisioned("sn-1").await;
    let issuer = world.road.authorities().issuing().certificate.not_after();
    assert_eq!(
        Certificate::parse(&certificate).unwrap().not_after(),
        issuer
    );
    world.pass(YEARS + 1);
    let token = world.token().await;
    assert_eq!(
        code(world.enroll(&Key::new(), "sn-2", &token).await),
        Code::IssuerEnding
    );
}
