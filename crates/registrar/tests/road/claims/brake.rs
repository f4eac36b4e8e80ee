//! What stops a claim whose key has leaked, and what never does.

use imprint_registrar::ledger::{CertificateState, ClaimAct, ClaimState, DeviceAct, DeviceFilter};
use imprint_registrar::{Code, Ledger as _, Retry};

use super::support::*;
use crate::support::*;

#[tokio::test]
async fn a_leaked_claim_makes_no_device_of_unlisted_hardware_and_is_frozen() {
    let fleet = Fleet::with(|claim| claim.allowlist = true).await;
    let listed: Vec<String> = (0..50).map(|n| format!("sn-{n}")).collect();
    let names: Vec<&str> = listed.iter().map(String::as_str).collect();
    fleet.allow(&names).await;
    for id in &names[..40] {
        fleet.provisioned(id).await;
    }
    assert_eq!(fleet.claim().await.state, ClaimState::Active);
    let mut words = Vec::new();
    for n in 0..60 {
        let outcome = match fleet.certify(&Key::new()).await {
            Ok(pending) => fleet.register(&pending, &format!("bad-{n}")).await,
            Err(refusal) => Err(refusal),
        };
        words.push(code(outcome));
    }
    let (before, after) = words.split_at(20);
    assert!(before.iter().all(|&word| word == Code::HardwareNotAllowed));
    assert!(after.iter().all(|&word| word == Code::ClaimFrozen));
    let devices = DeviceFilter::default();
    let devices = fleet.world.road.ledger().device_list(&devices).await;
    assert_eq!(devices.unwrap().len(), 40, "none beyond the list");
    let record = fleet.claim().await;
    assert_eq!(record.pending, 20, "and no more certificates than it took");
    let reason = record.reason.unwrap();
    assert!(reason.starts_with("20 hardware ids"), "{reason}");
    let frozen: Vec<_> = journal(&fleet.world)
        .await
        .into_iter()
        .filter(|row| row.kind == "claim-frozen")
        .collect();
    assert_eq!(frozen.len(), 1);
    assert!(frozen[0].detail.contains("20 hardware ids"), "{frozen:?}");
    let (road, now) = (&fleet.world.road, fleet.world.now());
    let why = road.why("line-1", now).await.unwrap().unwrap();
    assert_eq!((why.code.as_str(), why.cause), ("claim-frozen", reason));
    assert!(
        why.evidence[0].contains("40 devices"),
        "{why:?}",
        why = why.evidence
    );
    // What was in stays in, and after a look at it the rest comes in.
    fleet.act(ClaimAct::Thaw).await;
    for id in &names[40..] {
        fleet.provisioned(id).await;
    }
}

#[tokio::test]
async fn one_board_that_is_not_listed_stops_no_line_however_often_it_asks() {
    let fleet = Fleet::with(|claim| claim.allowlist = true).await;
    let key = Key::new();
    let pending = fleet.certify(&key).await.unwrap();
    for _ in 0..40 {
        let refused = fleet.register(&pending, "bad-1").await;
        assert_eq!(code(refused), Code::HardwareNotAllowed);
    }
    let record = fleet.claim().await;
    assert_eq!(
        (record.state, record.unknown_hardware),
        (ClaimState::Active, 1)
    );
    // The operator lists it, and its next request lets it in.
    fleet.allow(&["bad-1"]).await;
    fleet.register(&pending, "bad-1").await.unwrap();
}

#[tokio::test]
async fn a_thief_with_a_listed_id_raises_an_alarm_and_the_true_device_is_let_in() {
    for thief_uses_it in [false, true] {
        let fleet = Fleet::with(|claim| claim.allowlist = true).await;
        fleet.allow(&["sn-1"]).await;
        let stolen = fleet.certify(&Key::new()).await.unwrap();
        fleet.register(&stolen, "sn-1").await.unwrap();
        if thief_uses_it {
            fleet.world.verify(&stolen.der).await.unwrap();
        }
        fleet.world.pass(60);
        let own_key = Key::new();
        let own = fleet.certify(&own_key).await.unwrap();
        for _ in 0..3 {
            assert_eq!(code(fleet.register(&own, "sn-1").await), Code::DeviceExists);
        }
        let record = fleet.claim().await;
        assert_eq!((record.state, record.two_keys), (ClaimState::Active, 1));
        assert_eq!(told(&fleet.world, "claim-alarm").await, 1);
        let (road, now) = (&fleet.world.road, fleet.world.now());
        let why = road.why("thermo-sn-1", now).await.unwrap().unwrap();
        assert_eq!(why.code, "device-exists");
        let told = why.evidence.join("\n");
        assert!(told.contains("a second key"), "{told}");
        assert!(told.contains(&own_key.fingerprint().to_string()), "{told}");

        let release = DeviceAct::Release { new_key: true };
        act(&fleet.world, "thermo-sn-1", release).await;
        fleet.register(&own, "sn-1").await.unwrap();
        fleet.world.verify(&own.der).await.unwrap();
        let want = if thief_uses_it {
            Code::CertificateSuperseded
        } else {
            Code::CertificateRevoked
        };
        assert_eq!(code(fleet.world.verify(&stolen.der).await), want);
        let file = fleet.world.device("sn-1").await;
        assert_eq!(file.certificates[0].state, CertificateState::Active);
        assert_eq!(file.certificates[0].serial, own.serial);
        let again = fleet.register(&stolen, "sn-1").await;
        assert!(again.is_err(), "the thief's token is no good any more");
    }
}

#[tokio::test]
async fn second_keys_for_several_devices_freeze_a_claim_and_one_lost_key_does_not() {
    let fleet = Fleet::new().await;
    for id in ["sn-1", "sn-2", "sn-3"] {
        fleet.provisioned(id).await;
    }
    let knock = async |id: &str| {
        let pending = fleet.certify(&Key::new()).await?;
        fleet.register(&pending, id).await
    };
    for _ in 0..5 {
        assert_eq!(code(knock("sn-1").await), Code::DeviceExists);
    }
    assert_eq!(fleet.claim().await.state, ClaimState::Active);
    assert_eq!(code(knock("sn-2").await), Code::DeviceExists);
    assert_eq!(code(knock("sn-3").await), Code::DeviceExists);
    let record = fleet.claim().await;
    assert_eq!(record.state, ClaimState::Frozen);
    let reason = record.reason.unwrap();
    assert!(reason.contains("second key asked for 3"), "{reason}");
    assert_eq!(code(knock("sn-4").await), Code::ClaimFrozen);
}

#[tokio::test]
async fn above_its_curve_a_claim_is_frozen_and_a_storm_of_listed_devices_is_not() {
    let fleet = Fleet::with(|claim| claim.limits.expected_per_hour = vec![5]).await;
    let listed: Vec<String> = (0..40).map(|n| format!("sn-{n}")).collect();
    let names: Vec<&str> = listed.iter().map(String::as_str).collect();
    fleet.allow(&names).await;
    for id in names {
        fleet.provisioned(id).await;
    }
    assert_eq!(fleet.claim().await.state, ClaimState::Active);
    for n in 0..5 {
        fleet.provisioned(&format!("other-{n}")).await;
    }
    let pending = fleet.certify(&Key::new()).await.unwrap();
    let refused = fleet.register(&pending, "other-6").await;
    assert_eq!(code(refused), Code::ClaimFrozen, "and it is not let in");
    let reason = fleet.claim().await.reason.unwrap();
    assert!(reason.contains("5 were expected"), "{reason}");
    let found = fleet.world.road.ledger().device_get("other-6").await;
    assert!(found.unwrap().is_none());
}

#[tokio::test]
async fn a_claim_that_is_used_up_or_too_fast_says_so_and_burns_nothing() {
    let fleet = Fleet::with(|claim| {
        claim.limits.total = 3;
        claim.limits.per_minute = 2;
    })
    .await;
    let mut waiting = Vec::new();
    for minute in 0..2 {
        for _ in 0..2 {
            waiting.push(fleet.certify(&Key::new()).await.unwrap());
        }
        let refused = fleet.certify(&Key::new()).await.map(|_| ()).unwrap_err();
        assert_eq!(refused.code, Code::ClaimLimited, "minute {minute}");
        assert_eq!(refused.retry, Retry::After(60));
        fleet.world.pass(60);
    }
    fleet.register(&waiting[0], "sn-0").await.unwrap();
    fleet.register(&waiting[1], "sn-1").await.unwrap();
    let refused = fleet.register(&waiting[2], "sn-2").await;
    assert_eq!(code(refused), Code::ClaimLimited);
    fleet.world.pass(60);
    fleet.register(&waiting[2], "sn-2").await.unwrap();
    assert_eq!(
        code(fleet.register(&waiting[3], "sn-3").await),
        Code::ClaimUsedUp
    );
    // The same answer again is no use of it.
    assert!(fleet.register(&waiting[0], "sn-0").await.unwrap().again);
    assert_eq!(fleet.claim().await.granted, 3);
}

#[tokio::test]
async fn claims_go_at_the_fleets_pace_and_who_has_to_wait_loses_nothing() {
    let world = World::with(|product| {
        product.limits.enrollments_per_second = 1;
        product.limits.burst = 1;
    })
    .await;
    let fleet = Fleet::on(world, |_| {}).await;
    let (first, second) = (Key::new(), Key::new());
    let first = fleet.certify(&first).await.unwrap();
    let second = fleet.certify(&second).await.unwrap();
    fleet.register(&first, "sn-1").await.unwrap();
    let refused = fleet
        .register(&second, "sn-2")
        .await
        .map(|_| ())
        .unwrap_err();
    assert_eq!(refused.code, Code::RateLimited);
    // What has been answered is answered again at any pace.
    assert!(fleet.register(&first, "sn-1").await.unwrap().again);
    let opening = fleet.open(&second.ownership).await.unwrap();
    let later = imprint_registrar::Origin {
        at: imprint_registrar::Ticks(5_000),
        ..mqtt().clone()
    };
    let (road, now) = (&fleet.world.road, fleet.world.now());
    let registration = registration("sn-2");
    road.claim_register(&opening, &registration, &later, &chance, now)
        .await
        .unwrap();
    assert_eq!(fleet.claim().await.granted, 2);
}
