//! What stops a claim whose key has leaked, and what never does.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use imprint_registrar::claims::PendingCertificate;
use imprint_registrar::ledger::{
    CertificateState, ClaimAct, ClaimState, DeviceAct, DeviceFilter, Registered,
};
use imprint_registrar::{Code, Ledger as _, Refusal, Retry};

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
        // A first certificate that nobody has used may be one whose answer was lost: no alarm.
        let alarms = u32::from(thief_uses_it);
        let record = fleet.claim().await;
        let state = (record.state, record.two_keys);
        assert_eq!(state, (ClaimState::Active, alarms));
        assert_eq!(
            told(&fleet.world, "claim-alarm").await,
            usize::from(thief_uses_it)
        );
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
async fn boards_that_lose_their_answers_with_keys_of_ours_freeze_no_claim() {
    let fleet = Fleet::new().await;
    let speaker = fleet.speaker().await.unwrap();
    let (road, now) = (&fleet.world.road, fleet.world.now());
    for n in 0..8 {
        let id = format!("sn-{n}");
        for turn in 0..3 {
            // The answer is lost, and the board forgets what it had: it begins anew with another key.
            let made = road.claim_certify_with_key(&speaker, "claim", mqtt(), &chance, now);
            let (pending, _) = made.await.unwrap();
            let outcome = fleet.register(&pending, &id).await;
            if turn == 0 {
                outcome.unwrap();
            } else {
                assert_eq!(code(outcome), Code::DeviceExists, "{id}");
            }
        }
    }
    let record = fleet.claim().await;
    assert_eq!((record.state, record.two_keys), (ClaimState::Active, 0));
    // The operator sees it, and lets the board in with the key that it has now.
    let why = road.why("thermo-sn-1", now).await.unwrap().unwrap();
    assert_eq!(why.code, "device-exists");
    let release = DeviceAct::Release { new_key: true };
    act(&fleet.world, "thermo-sn-1", release).await;
    fleet.provisioned("sn-1").await;
    // Another key for a device that is in use is somebody else's.
    let thief = fleet.certify(&Key::new()).await.unwrap();
    let refused = fleet.register(&thief, "sn-1").await;
    assert_eq!(code(refused), Code::DeviceExists);
    assert_eq!(fleet.claim().await.two_keys, 1);
}

#[tokio::test]
async fn a_leaked_claim_fills_no_revocation_list() {
    let fleet = Fleet::with(|claim| {
        claim.limits.pending = 20;
        claim.limits.unregistered = 10;
    })
    .await;
    fleet.provisioned("sn-1").await;
    let mut words = Vec::new();
    for _ in 0..3 {
        for _ in 0..40 {
            words.push(
                fleet
                    .certify(&Key::new())
                    .await
                    .map(|_| ())
                    .map_err(|no| no.code),
            );
        }
        fleet.world.pass(3_601);
        let (road, now) = (&fleet.world.road, fleet.world.now());
        road.housekeep(now).await.unwrap();
    }
    let certified = words.iter().filter(|word| word.is_ok()).count();
    assert_eq!(
        certified, 21,
        "20, and one for the device that was registered"
    );
    assert_eq!(words[21], Err(Code::ClaimLimited));
    assert_eq!(words[40], Err(Code::ClaimFrozen));
    assert_eq!(told(&fleet.world, "claim-limited").await, 1);
    assert_eq!(told(&fleet.world, "claim-frozen").await, 1);
    let reason = fleet.claim().await.reason.unwrap();
    assert!(
        reason.contains("21 keys") && reason.contains("1 devices"),
        "{reason}"
    );
    let (ledger, now) = (fleet.world.road.ledger(), fleet.world.now());
    let list = ledger.crl_facts("issuing", now).await.unwrap();
    assert_eq!(list.revoked.len(), 21);
}

#[tokio::test]
async fn a_storm_of_listed_devices_that_loses_its_answers_freezes_no_claim() {
    let fleet = Fleet::with(|claim| {
        claim.limits.pending = 4;
        claim.limits.unregistered = 4;
    })
    .await;
    let listed: Vec<String> = (0..60).map(|n| format!("sn-{n}")).collect();
    let names: Vec<&str> = listed.iter().map(String::as_str).collect();
    fleet.allow(&names).await;
    let speaker = fleet.speaker().await.unwrap();
    let road = &fleet.world.road;
    let make = async || {
        let now = fleet.world.now();
        let made = road.claim_certify_with_key(&speaker, "claim", mqtt(), &chance, now);
        made.await.map(|(pending, _)| pending)
    };
    // All have a certificate when the power of the hall fails, for longer than an hour.
    for _ in &names {
        make().await.unwrap();
    }
    fleet.world.pass(3_700);
    road.housekeep(fleet.world.now()).await.unwrap();
    // Then they come again, and every second answer is lost.
    for id in &names {
        make().await.unwrap();
        let pending = make().await.unwrap();
        fleet.register(&pending, id).await.unwrap();
        fleet.world.verify(&pending.der).await.unwrap();
    }
    fleet.world.pass(3_700);
    road.housekeep(fleet.world.now()).await.unwrap();
    let record = fleet.claim().await;
    assert_eq!(record.state, ClaimState::Active, "{:?}", record.reason);
    assert_eq!(told(&fleet.world, "pending-expired").await, 120);
}

/// A certificate that waits for its device, long after the one before: these come at a pace as well.
async fn certified(fleet: &Fleet) -> PendingCertificate {
    static CLOCK: AtomicU64 = AtomicU64::new(0);
    let origin = imprint_registrar::Origin {
        at: imprint_registrar::Ticks(CLOCK.fetch_add(60_000, Ordering::Relaxed)),
        ..mqtt().clone()
    };
    let speaker = fleet.speaker().await.unwrap();
    let csr = Key::new().csr("whatever", None);
    let (road, now) = (&fleet.world.road, fleet.world.now());
    let certified = road.claim_certify(&speaker, &csr, &origin, &chance, now);
    certified.await.unwrap()
}

#[tokio::test]
async fn one_key_has_one_turn_whatever_it_calls_its_device() {
    let slow = async || {
        World::with(|product| {
            product.limits.enrollments_per_second = 1;
            product.limits.burst = 1;
        })
        .await
    };
    let turn = |outcome: Result<_, Refusal>| {
        let refusal = outcome.map(|_: Registered| ()).unwrap_err();
        assert_eq!(refusal.code, Code::RateLimited);
        refusal.turn
    };
    let fleet = Fleet::on(slow().await, |_| {}).await;
    let first = certified(&fleet).await;
    fleet.register(&first, "sn-0").await.unwrap();
    let greedy = certified(&fleet).await;
    let own = turn(fleet.register(&greedy, "sn-1").await);
    for other in ["sn-2", "sn-3", "sn-4", "sn-5"] {
        assert_eq!(turn(fleet.register(&greedy, other).await), own, "{other}");
    }
    let next = certified(&fleet).await;
    let next = turn(fleet.register(&next, "sn-6").await);
    assert_eq!(next.zip(own).map(|(next, own)| next - own), Some(1_000));

    // On the list a name is one device, however many keys it was given.
    let fleet = Fleet::on(slow().await, |_| {}).await;
    fleet.allow(&["sn-0", "sn-1"]).await;
    let first = certified(&fleet).await;
    fleet.register(&first, "sn-0").await.unwrap();
    let mut turns = Vec::new();
    for _ in 0..4 {
        let pending = certified(&fleet).await;
        turns.push(turn(fleet.register(&pending, "sn-1").await));
    }
    turns.dedup();
    assert_eq!(turns.len(), 1, "{turns:?}");
}

#[tokio::test]
async fn the_list_that_is_approved_from_has_the_fleets_pace_and_the_claims_limits() {
    let world = World::with(|product| {
        product.approval = true;
        product.limits.enrollments_per_second = 1;
        product.limits.burst = 1;
    })
    .await;
    let fleet = Fleet::on(world, |_| {}).await;
    let mut words = Vec::new();
    for n in 0..3 {
        let pending = certified(&fleet).await;
        let id = format!("sn-{n}");
        words.push(code(fleet.register(&pending, &id).await));
        // Who is on the list is told so, at any pace.
        words.push(code(fleet.register(&pending, &id).await));
    }
    let (waits, later) = (Code::ApprovalPending, Code::RateLimited);
    assert_eq!(words, [waits, waits, later, later, later, later]);

    let world = World::with(|product| product.approval = true).await;
    let fleet = Fleet::on(world, |claim| claim.limits.expected_per_hour = vec![2]).await;
    let mut words = Vec::new();
    for n in 0..3 {
        let pending = fleet.certify(&Key::new()).await.unwrap();
        words.push(code(fleet.register(&pending, &format!("sn-{n}")).await));
    }
    assert_eq!(words, [waits, waits, Code::ClaimFrozen]);
    let found = fleet.world.road.ledger().device_get("sn-2").await;
    assert!(found.unwrap().is_none(), "and it is not listed");
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
    let at = |milliseconds| imprint_registrar::Origin {
        at: imprint_registrar::Ticks(milliseconds),
        ..mqtt().clone()
    };
    let (road, now) = (&fleet.world.road, fleet.world.now());
    let speaker = fleet.speaker().await.unwrap();
    let certify = async |key: &Key, at| {
        let csr = key.csr("whatever", None);
        road.claim_certify(&speaker, &csr, &at, &chance, now).await
    };
    let (one, two) = (Key::new(), Key::new());
    let first = certify(&one, at(0)).await.unwrap();
    let refused = certify(&two, at(0)).await.map(|_| ()).unwrap_err();
    assert_eq!(
        (refused.code, refused.turn),
        (Code::RateLimited, Some(1_000))
    );
    assert_eq!(
        fleet.claim().await.pending,
        1,
        "and nothing was signed for it"
    );
    // What has been answered is answered again at any pace.
    assert!(certify(&one, at(1)).await.unwrap().again);
    // Who has a certificate doesn't stand in line behind who has none.
    fleet.register(&first, "sn-1").await.unwrap();
    let second = certify(&two, at(1_000)).await.unwrap();
    let refused = fleet
        .register(&second, "sn-2")
        .await
        .map(|_| ())
        .unwrap_err();
    assert_eq!(refused.code, Code::RateLimited);
    assert!(fleet.register(&first, "sn-1").await.unwrap().again);
    let opening = fleet.open(&second.ownership).await.unwrap();
    let registration = registration("sn-2");
    road.claim_register(&opening, &registration, &at(5_000), &chance, now)
        .await
        .unwrap();
    assert_eq!(fleet.claim().await.granted, 2);
}

#[tokio::test]
async fn keys_that_are_made_here_are_made_at_the_fleets_pace_by_what_devices_call_themselves() {
    let world = World::with(|product| {
        product.limits.enrollments_per_second = 1;
        product.limits.burst = 1;
    })
    .await;
    let fleet = Fleet::on(world, |_| {}).await;
    let (road, now) = (&fleet.world.road, fleet.world.now());
    let speaker = fleet.speaker().await.unwrap();
    let made_at = async |address: &str, name: &str, milliseconds| {
        let origin = imprint_registrar::Origin {
            at: imprint_registrar::Ticks(milliseconds),
            address: address.to_owned(),
            ..mqtt().clone()
        };
        let made = road.claim_certify_with_key(&speaker, name, &origin, &chance, now);
        made.await.map(|_| ()).map_err(|refusal| refusal.turn)
    };
    let made = async |name: &str, at| made_at("192.0.2.1", name, at).await;
    assert_eq!(made("a", 0).await, Ok(()));
    assert_eq!(made("b", 0).await, Err(Some(1_000)));
    assert_eq!(made("c", 0).await, Err(Some(2_000)));
    assert_eq!(made("b", 500).await, Err(Some(500)), "it keeps its turn");
    assert_eq!(made("b", 1_000).await, Ok(()));
    assert_eq!(made("c", 2_000).await, Ok(()));
    assert_eq!(fleet.claim().await.pending, 3);

    // Somebody who thinks of thousands of names has a thousand turns, and who comes then stands behind
    // those and no more; the same name somewhere else has a turn of its own.
    for n in 0..5_000 {
        assert!(made(&format!("name {n}"), 2_000).await.is_err());
    }
    let behind = made_at("192.0.2.2", "name 0", 2_000).await.unwrap_err();
    assert!(
        (1_000_000..=1_025_000).contains(&behind.unwrap()),
        "{behind:?}"
    );
}

/// How long a full-size run may be: `IMPRINT_DEEP` does what takes minutes.
fn many(usually: usize, deep: usize) -> usize {
    #[expect(clippy::disallowed_methods, reason = "a test's own switch")]
    let set = std::env::var_os("IMPRINT_DEEP").is_some();
    if set { deep } else { usually }
}

/// Runs `act` for every number, so many at a time, and answers how each went.
async fn each<T: Send + 'static, F: Future<Output = T> + Send + 'static>(
    numbers: std::ops::Range<usize>,
    act: impl Fn(usize) -> F,
) -> Vec<T> {
    let mut running = tokio::task::JoinSet::new();
    let mut outcomes = Vec::new();
    for number in numbers {
        if running.len() >= AT_ONCE {
            outcomes.extend(running.join_next().await.map(Result::unwrap));
        }
        running.spawn(act(number));
    }
    outcomes.extend(running.join_all().await);
    outcomes
}

/// At the same time, as over as many connections.
const AT_ONCE: usize = 64;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_guesses_by_a_leaked_claim_make_no_device_beyond_a_list_of_a_thousand() {
    let (guesses, listed, joined) = (10_000, 1_000, many(100, 1_000));
    let fleet = Fleet::with(|claim| claim.allowlist = true).await;
    let names: Vec<String> = (0..listed).map(|n| format!("sn-{n}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    fleet.allow(&names).await;
    let fleet = Arc::new(fleet);
    let join = |n: usize| {
        let fleet = Arc::clone(&fleet);
        async move { drop(fleet.provisioned(&format!("sn-{n}")).await) }
    };
    each(0..joined / 2, join).await;

    // The thief: another key and another id each time, from as many connections as it likes.
    let outcomes = each(0..guesses, |n| {
        let fleet = Arc::clone(&fleet);
        async move {
            let id = n.wrapping_mul(0x9E37_79B9_7F4A_7C15);
            let pending = fleet.certify(&Key::new()).await?;
            let registered = fleet.register(&pending, &format!("guess-{id:016x}")).await;
            registered.map(drop)
        }
    })
    .await;
    let mut counts = std::collections::HashMap::new();
    for outcome in outcomes {
        *counts.entry(outcome.unwrap_err().code).or_insert(0_usize) += 1;
    }
    let unlisted = counts[&Code::HardwareNotAllowed];
    assert!((20..20 + AT_ONCE).contains(&unlisted), "{counts:?}");
    assert_eq!(unlisted + counts[&Code::ClaimFrozen], guesses, "{counts:?}");

    let record = fleet.claim().await;
    assert_eq!(record.state, ClaimState::Frozen);
    assert_eq!(record.granted, joined as u64 / 2);
    let signed = record.pending as usize;
    assert!(signed < 20 + AT_ONCE, "{signed} that wait for a device");
    let frozen = journal(&fleet.world).await;
    let frozen = frozen.iter().filter(|row| row.kind == "claim-frozen");
    assert_eq!(frozen.count(), 1, "an operator is told once");
    let (road, now) = (&fleet.world.road, fleet.world.now());
    let why = road.why("line-1", now).await.unwrap().unwrap();
    assert!(why.cause.starts_with("20 hardware ids"), "{}", why.cause);
    assert!(!why.cause.contains('\n'), "one sentence: {}", why.cause);

    // After a look at it the rest of the list comes in.
    fleet.act(ClaimAct::Thaw).await;
    each(joined / 2..joined, join).await;
    let all = DeviceFilter {
        limit: 20_000,
        ..DeviceFilter::default()
    };
    let devices = road.ledger().device_list(&all).await.unwrap();
    println!(
        "{guesses} guesses: {unlisted} refused one by one, then frozen: \"{}\"; {signed} certificates \
         that wait in vain, {} devices, all of them listed",
        why.cause,
        devices.len(),
    );
    assert_eq!(devices.len(), joined);
    assert!(
        devices
            .iter()
            .all(|one| one.id.as_str().starts_with("thermo-sn-"))
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_storm_of_listed_devices_never_freezes_their_claim() {
    let storm = many(300, 10_000);
    // Far above what is expected in an hour, which counts only who is not on the list.
    let fleet = Fleet::with(|claim| {
        claim.allowlist = true;
        claim.limits.expected_per_hour = vec![50];
    })
    .await;
    let names: Vec<String> = (0..storm).map(|n| format!("sn-{n}")).collect();
    for some in names.chunks(1_000) {
        let some: Vec<&str> = some.iter().map(String::as_str).collect();
        fleet.allow(&some).await;
    }
    let fleet = Arc::new(fleet);
    each(0..storm, |n| {
        let fleet = Arc::clone(&fleet);
        async move { drop(fleet.provisioned(&format!("sn-{n}")).await) }
    })
    .await;
    let record = fleet.claim().await;
    println!(
        "a storm of {storm} listed devices: {} registered, {:?}",
        record.granted, record.state,
    );
    assert_eq!(record.state, ClaimState::Active);
    assert_eq!(record.granted, storm as u64);
    assert_eq!(record.pending, 0);
    for kind in ["claim-frozen", "claim-alarm"] {
        assert_eq!(told(&fleet.world, kind).await, 0, "{kind}");
    }
}
