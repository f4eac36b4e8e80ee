//! Same question, same answer; a token serves one key; spent means proven receipt.

use imprint_identity::Step;
use imprint_registrar::ledger::{CertificateState, DeviceState, TokenState};
use imprint_registrar::{Code, Ledger as _};

use crate::support::*;

#[tokio::test]
async fn a_device_that_asks_again_gets_the_same_bytes() {
    let world = World::new().await;
    let (key, token) = (Key::new(), world.token().await);
    let first = world.enroll(&key, "sn-1", &token).await.unwrap();
    assert!(!first.again);
    for _ in 0..3 {
        world.pass(1_000);
        let again = world.enroll(&key, "sn-1", &token).await.unwrap();
        assert!(again.again);
        assert_eq!(again.certificate, first.certificate);
    }
    let world = world.restarted();
    let after_restart = world.enroll(&key, "sn-1", &token).await.unwrap();
    assert_eq!(after_restart.certificate, first.certificate);
}

#[tokio::test]
async fn asking_again_does_not_depend_on_time_or_token_expiry() {
    let world = World::new().await;
    let (key, token) = (Key::new(), world.token().await);
    let first = world.enroll(&key, "sn-1", &token).await.unwrap();
    // 91 days later the token would no longer begin a lease; this one has begun.
    world.pass(91 * 86_400);
    assert_eq!(
        world
            .enroll(&key, "sn-1", &token)
            .await
            .unwrap()
            .certificate,
        first.certificate
    );
    let other = world.token().await;
    world.pass(91 * 86_400);
    assert_eq!(
        code(world.enroll(&Key::new(), "sn-2", &other).await),
        Code::TokenExpired
    );
}

#[tokio::test]
async fn a_certificate_past_its_end_is_not_given_out_again() {
    let world = World::new().await;
    let (key, token) = (Key::new(), world.token().await);
    world.enroll(&key, "sn-1", &token).await.unwrap();
    world.pass(366 * 86_400);
    assert_eq!(
        code(world.enroll(&key, "sn-1", &token).await),
        Code::CertificateExpired
    );
}

#[tokio::test]
async fn a_token_is_spent_by_the_first_use_of_its_certificate_and_not_before() {
    let world = World::new().await;
    let key = Key::new();
    let (id, token) = world
        .tokens(imprint_registrar::tokens::TokenOrder {
            count: 1,
            ..order()
        })
        .await
        .remove(0);
    let state = async || {
        world
            .road
            .ledger()
            .token_get(&id)
            .await
            .unwrap()
            .unwrap()
            .state
    };
    assert_eq!(state().await, TokenState::Minted);
    let enrolled = world.enroll(&key, "sn-1", &token).await.unwrap();
    assert_eq!(state().await, TokenState::Leased);
    let device = world.device("thermo-sn-1").await.device;
    assert_eq!(
        (device.state, device.step),
        (DeviceState::Active, Step::Verify)
    );

    let member = world.verify(&enrolled.certificate).await.unwrap();
    assert!(member.first_use);
    assert_eq!(state().await, TokenState::Spent);
    let device = world.device("thermo-sn-1").await.device;
    assert_eq!(
        (device.state, device.step),
        (DeviceState::Active, Step::Provisioned)
    );

    assert!(!world.verify(&enrolled.certificate).await.unwrap().first_use);
    let again = world.enroll(&key, "sn-1", &token).await.unwrap();
    assert_eq!(
        again.certificate, enrolled.certificate,
        "a spent token still answers its own key"
    );
}

#[tokio::test]
async fn a_second_key_never_gets_a_certificate_from_a_token() {
    let world = World::new().await;
    let (key, thief) = (Key::new(), Key::new());
    let (id, token) = world
        .tokens(imprint_registrar::tokens::TokenOrder {
            count: 1,
            ..order()
        })
        .await
        .remove(0);
    let enrolled = world.enroll(&key, "sn-1", &token).await.unwrap();
    for hardware in ["sn-1", "sn-2"] {
        let refusal = world
            .enroll(&thief, hardware, &token)
            .await
            .map(|_| ())
            .unwrap_err();
        assert_eq!(refusal.code, Code::TokenLeased);
        let told = refusal.detail.unwrap();
        let holder = key.fingerprint().to_string();
        assert!(
            told.contains("thermo-sn-1") && told.contains(&holder),
            "{told}"
        );
        assert!(told.contains(&START.to_string()), "since when: {told}");
    }
    world.verify(&enrolled.certificate).await.unwrap();
    world.pass(10 * YEARS / 20);
    assert_eq!(
        code(world.enroll(&thief, "sn-1", &token).await),
        Code::TokenSpent
    );
    assert_eq!(
        world
            .road
            .ledger()
            .token_get(&id)
            .await
            .unwrap()
            .unwrap()
            .alarms,
        3
    );
    assert_eq!(world.device("thermo-sn-1").await.certificates.len(), 1);
    assert!(
        world
            .road
            .ledger()
            .device_get("thermo-sn-2")
            .await
            .unwrap()
            .is_none()
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_many_keys_at_once_one_gets_the_token() {
    let world = std::sync::Arc::new(World::new().await);
    for round in 0..20 {
        let token = world.token().await;
        let hardware = format!("sn-{round}");
        let tasks: Vec<_> = (0..8)
            .map(|_| {
                let (world, token, hardware) = (world.clone(), token.clone(), hardware.clone());
                tokio::spawn(async move {
                    world
                        .enroll(&Key::new(), &hardware, &token)
                        .await
                        .map(|e| e.certificate)
                })
            })
            .collect();
        let mut winners = 0;
        for task in tasks {
            match task.await.unwrap() {
                Ok(_) => winners += 1,
                Err(refusal) => {
                    assert!(
                        matches!(refusal.code, Code::TokenLeased | Code::Busy),
                        "{refusal}"
                    );
                }
            }
        }
        assert_eq!(winners, 1, "round {round}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn one_key_asking_many_times_at_once_gets_one_certificate() {
    let world = std::sync::Arc::new(World::new().await);
    for round in 0..20 {
        let (key, token) = (Key::new(), world.token().await);
        let hardware = format!("sn-{round}");
        let requests: Vec<_> = (0..8).map(|_| by_token(&key, &hardware, &token)).collect();
        let tasks: Vec<_> = requests
            .into_iter()
            .map(|request| {
                let world = world.clone();
                tokio::spawn(async move { world.ask(request).await.unwrap().certificate })
            })
            .collect();
        let mut answers = std::collections::BTreeSet::new();
        for task in tasks {
            answers.insert(task.await.unwrap());
        }
        assert_eq!(answers.len(), 1, "round {round}");
        let certificates = world
            .device(&format!("thermo-sn-{round}"))
            .await
            .certificates;
        assert_eq!(certificates.len(), 1);
        assert_eq!(certificates[0].state, CertificateState::Issued);
    }
}

#[tokio::test]
async fn a_request_that_does_not_prove_its_key_leaves_the_token_alone() {
    let world = World::new().await;
    let (key, other) = (Key::new(), Key::new());
    let (id, token) = world
        .tokens(imprint_registrar::tokens::TokenOrder {
            count: 1,
            ..order()
        })
        .await
        .remove(0);
    let mut request = by_token(&key, "sn-1", &token);
    // The victim's public key under a signature by another key.
    let csr = imprint_pkix::csr::Csr::parse(&request.csr).unwrap();
    let signature = other.sign(csr.to_be_signed());
    request.csr = imprint_pkix::csr::assemble(
        csr.to_be_signed(),
        imprint_pkix::SignatureAlgorithm::EcdsaSha256,
        &signature,
    );
    assert_eq!(code(world.ask(request).await), Code::PossessionUnproven);
    assert_eq!(
        world
            .road
            .ledger()
            .token_get(&id)
            .await
            .unwrap()
            .unwrap()
            .state,
        TokenState::Minted
    );
}
