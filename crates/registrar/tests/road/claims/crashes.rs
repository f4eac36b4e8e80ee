//! The server dies, or an operator acts, between any two steps.

use std::time::Duration;

use imprint_registrar::claims::{ClaimSpeaker, Opening};
use imprint_registrar::ledger::{
    CertificateFingerprint, ClaimAct, ClaimState, DeviceAct, RevocationReason,
};
use imprint_registrar::{Code, Ledger as _, Registrar};
use imprint_signer::KeySigner;

use super::support::*;
use crate::attacks::between::{Act, Between};
use crate::support::*;

type Road = Registrar<Between, KeySigner>;
/// What an operator does to a claim, or to this certificate of it.
type End = fn(CertificateFingerprint) -> ClaimAct;

async fn between() -> (Road, tempfile::TempDir, ClaimSpeaker) {
    let fleet = Fleet::new().await;
    let certificate = fleet.claim_certificate.clone();
    let (road, directory) = fleet.world.behind(Between::new);
    let speaker = speak(&road, &certificate, START).await.unwrap();
    (road, directory, speaker)
}

async fn open(road: &Road, speaker: &ClaimSpeaker, ownership: &str) -> Opening {
    let opened = road.claim_open(speaker, ownership, "thermo", mqtt(), START);
    opened.await.unwrap()
}

/// Polls a step until it hangs at this method, then drops it: a crash.
async fn dies_at<T>(road: &Road, method: &'static str, step: impl Future<Output = T>) {
    road.ledger().hang_before(method);
    let waited = tokio::time::timeout(Duration::from_millis(500), step).await;
    assert!(waited.is_err(), "it was to die at {method}");
    road.ledger().go_on();
}

#[tokio::test]
async fn a_crash_at_any_step_of_certify_leaves_one_certificate() {
    let (road, _directory, speaker) = between().await;
    let key = Key::new();
    for method in ["pending_intend", "pending_settle", "pending_settle"] {
        dies_at(&road, method, certify(&road, &speaker, &key, START)).await;
    }
    let first = certify(&road, &speaker, &key, START.plus(60))
        .await
        .unwrap();
    let again = certify(&road, &speaker, &key, START.plus(90))
        .await
        .unwrap();
    assert_eq!(again.der, first.der);
    let claim = road.ledger().claim_get("line-1").await.unwrap().unwrap();
    assert_eq!(claim.pending, 1);
    let rows = road.ledger().journal_read(0, 1_000).await.unwrap();
    let intended = rows.iter().filter(|row| row.kind == "pending-intended");
    assert_eq!(intended.count(), 1, "what was intended first is signed");
}

#[tokio::test]
async fn a_crash_at_any_step_of_register_leaves_one_device_and_one_answer() {
    let (road, _directory, speaker) = between().await;
    let pending = certify(&road, &speaker, &Key::new(), START).await.unwrap();
    let opening = open(&road, &speaker, &pending.ownership).await;
    let registration = registration("sn-1");
    let register = || road.claim_register(&opening, &registration, mqtt(), &chance, START);
    dies_at(&road, "device_register", register()).await;
    let found = road.ledger().device_get("sn-1").await.unwrap();
    assert!(found.is_none());
    // It is written, and the answer never leaves.
    dies_at(&road, "after device_register", register()).await;
    let registered = register().await.unwrap();
    assert!(registered.again);
    assert_eq!(registered.answer, registration.answer);
    let claim = road.ledger().claim_get("line-1").await.unwrap().unwrap();
    assert_eq!((claim.granted, claim.pending), (1, 0));
    road.member(&peer(&pending.der), &origin(), START)
        .await
        .unwrap();
}

#[tokio::test]
async fn a_claim_that_ends_between_two_steps_is_not_overrun() {
    let acts: [(End, Code); 3] = [
        (
            |_| ClaimAct::Revoke { reason: "a".into() },
            Code::ClaimRevoked,
        ),
        (
            |_| ClaimAct::Freeze { reason: "b".into() },
            Code::ClaimFrozen,
        ),
        (
            |fingerprint| ClaimAct::RevokeCertificate {
                fingerprint,
                reason: RevocationReason::KeyCompromise,
            },
            Code::ClaimRevoked,
        ),
    ];
    for (act, want) in acts {
        let (road, _directory, speaker) = between().await;
        let pending = certify(&road, &speaker, &Key::new(), START).await.unwrap();
        let opening = open(&road, &speaker, &pending.ownership).await;
        let shown = speaker.fingerprint();
        let ends = |method| {
            let act = Act::Claim("line-1", act(shown));
            road.ledger().before(method, act);
        };
        ends("device_register");
        let registration = registration("sn-1");
        let registered = road.claim_register(&opening, &registration, mqtt(), &chance, START);
        assert_eq!(code(registered.await), want);
        let found = road.ledger().device_get("sn-1").await.unwrap();
        assert!(found.is_none());

        let (road, _directory, speaker) = between().await;
        let shown = speaker.fingerprint();
        let ends = |method| {
            let act = Act::Claim("line-1", act(shown));
            road.ledger().before(method, act);
        };
        ends("pending_intend");
        let asked = certify(&road, &speaker, &Key::new(), START).await;
        assert_eq!(code(asked), want);
        let claim = road.ledger().claim_get("line-1").await.unwrap().unwrap();
        assert_eq!(claim.pending, 0);
    }
}

#[tokio::test]
async fn a_device_that_is_put_aside_between_two_steps_is_not_let_in() {
    let (road, _directory, speaker) = between().await;
    let token_less = |key: &Key| {
        let csr = key.csr("x", None);
        let hardware = registration("sn-1").hardware;
        road.device_issue(csr, "thermo", hardware, "test", &chance, START)
    };
    let old = Key::new();
    token_less(&old).await.unwrap();
    let name = "thermo-sn-1".parse().unwrap();
    let release = DeviceAct::Release { new_key: true };
    let released = road.ledger().device_act(&name, release, "test", START);
    released.await.unwrap();
    let pending = certify(&road, &speaker, &Key::new(), START).await.unwrap();
    let opening = open(&road, &speaker, &pending.ownership).await;
    let quarantine = DeviceAct::Quarantine { reason: "a".into() };
    let aside = Act::Device("thermo-sn-1", quarantine);
    road.ledger().before("device_register", aside);
    let registration = registration("sn-1");
    let registered = road.claim_register(&opening, &registration, mqtt(), &chance, START);
    assert_eq!(code(registered.await), Code::DeviceQuarantined);
    let claim = road.ledger().claim_get("line-1").await.unwrap().unwrap();
    assert_eq!((claim.state, claim.granted), (ClaimState::Active, 0));
}
