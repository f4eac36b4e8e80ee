//! `why` names the step, the cause, the evidence and what to do.

use imprint_identity::Step;
use imprint_registrar::Ledger as _;
use imprint_registrar::ledger::{DeviceAct, Report};

use crate::support::*;

#[tokio::test]
async fn why_follows_a_device_through_its_life() {
    let world = World::new().await;
    let why = async || {
        world
            .road
            .why("thermo-sn-1", world.now())
            .await
            .unwrap()
            .unwrap()
    };
    let (key, token) = (Key::new(), world.token().await);
    let enrolled = world.enroll(&key, "sn-1", &token).await.unwrap();
    let waiting = why().await;
    assert_eq!(
        (waiting.code.as_str(), waiting.step),
        ("not-verified", Step::Verify)
    );

    world.pass(5);
    let _ = world.enroll(&Key::new(), "sn-1", &token).await;
    let knocked = why().await;
    assert_eq!(knocked.code, "token-leased");
    let evidence = knocked.evidence.join("\n");
    assert!(
        evidence.contains("another key knocked 1 times"),
        "{evidence}"
    );
    assert!(
        evidence.contains("showing t-"),
        "which credential: {evidence}"
    );
    assert!(
        knocked.advice.join(" ").contains("rebind"),
        "{:?}",
        knocked.advice
    );

    world.pass(5);
    world.verify(&enrolled.certificate).await.unwrap();
    let well = why().await;
    assert_eq!(
        (well.code.as_str(), well.step),
        ("provisioned", Step::Provisioned)
    );

    let act = DeviceAct::Quarantine {
        reason: "odd traffic".into(),
    };
    let device = "thermo-sn-1".parse().unwrap();
    world
        .road
        .ledger()
        .device_act(&device, act, "ann", world.now())
        .await
        .unwrap();
    let aside = why().await;
    assert_eq!(aside.code, "device-quarantined");
    assert!(aside.cause.contains("odd traffic"), "{}", aside.cause);

    let wordless = DeviceAct::Quarantine {
        reason: String::new(),
    };
    let device = "thermo-sn-1".parse().unwrap();
    world
        .road
        .ledger()
        .device_act(&device, wordless, "ann", world.now())
        .await
        .unwrap();
    let cause = why().await.cause;
    assert!(!cause.contains("()"), "{cause}");
}

#[tokio::test]
async fn why_tells_what_the_device_says_of_itself() {
    let world = World::new().await;
    world.provisioned("sn-1").await;
    let report = Report {
        subject: "thermo-sn-1".into(),
        at: world.now(),
        step: Step::Verify,
        code: "clock-unset".into(),
        attempts: 3,
        address: "127.0.0.1".into(),
    };
    world.road.report(report, world.now()).await.unwrap();
    let why = world
        .road
        .why("thermo-sn-1", world.now())
        .await
        .unwrap()
        .unwrap();
    let evidence = why.evidence.join("\n");
    assert!(
        evidence.contains("the device says clock-unset at VERIFY"),
        "{evidence}"
    );
}

#[tokio::test]
async fn a_device_is_found_by_its_hardware_too() {
    let world = World::new().await;
    world.provisioned("sn-1").await;
    for subject in ["thermo-sn-1", "custom:sn-1", "sn-1"] {
        let why = world.road.why(subject, world.now()).await.unwrap().unwrap();
        assert_eq!(why.subject, "thermo-sn-1", "{subject}");
    }
}
