//! Waiting for an operator's approval.

use imprint_identity::Step;

use super::*;
use crate::ledger::{Acted, DeviceAct, DeviceState, RevocationReason, TokenAct, Waited};

async fn waited<P: Place>(bench: &mut Bench<P>, wait: Wait, now: UnixTime) -> Waited {
    bench.open().await.enrollment_wait(wait, now).await.unwrap()
}

async fn approve<P: Place>(
    bench: &mut Bench<P>,
    n: u8,
    key: Option<KeyFingerprint>,
    until: UnixTime,
) -> Acted<DeviceRecord> {
    let act = DeviceAct::Approve { key, until };
    bench
        .open()
        .await
        .device_act(&device_id(n), act, ADMIN, NOW)
        .await
        .unwrap()
}

/// [`Ledger::enrollment_wait`].
pub async fn waiting_names_the_device_and_leases_the_token<P: Place>(bench: &mut Bench<P>) {
    bench.mint(1).await;
    assert_eq!(waited(bench, wait(1, 1), NOW).await, Waited::Listed);
    let file = bench.file(&name(1)).await;
    assert_eq!(
        (file.device.state, file.device.step),
        (DeviceState::Held, Step::Enroll)
    );
    assert_eq!(file.waiting, [(key(1), NOW)]);
    assert!(file.certificates.is_empty());
    let token = bench.token(1).await;
    assert_eq!(token.state, TokenState::Leased);
    assert_eq!(token.lease.as_ref().unwrap().key, key(1));
    assert_eq!(
        file.token,
        Some(token),
        "the file tells which token serves it"
    );
    let facts = bench.facts(query(1, 1)).await;
    assert_eq!((facts.approved_until, facts.key_owner), (None, None));
    assert_eq!(bench.kinds().await.last().unwrap(), "enrollment-waiting");
}

/// [`Ledger::enrollment_wait`]: repeatable.
pub async fn waiting_again_is_the_same_waiting<P: Place>(bench: &mut Bench<P>) {
    bench.mint(1).await;
    waited(bench, wait(1, 1), NOW).await;
    let before = bench.file(&name(1)).await;
    let today = Wait {
        device_version: Some(before.device.version),
        ..wait(1, 1)
    };
    for again in [wait(1, 1), today] {
        assert_eq!(waited(bench, again, NOW.plus(60)).await, Waited::Listed);
    }
    let after = bench.file(&name(1)).await;
    assert_eq!(
        (after.device, after.waiting),
        (before.device, before.waiting)
    );
    assert_eq!(bench.told("enrollment-waiting").await, 1);
}

/// [`Waited::Changed`].
pub async fn waiting_on_changed_facts_is_changed<P: Place>(bench: &mut Bench<P>) {
    bench.mint(1).await;
    waited(bench, wait(1, 1), NOW).await;
    bench.member(2).await;
    bench.mint(3).await;
    bench
        .open()
        .await
        .token_act(&token_id(3), TokenAct::Revoke, ADMIN, NOW)
        .await
        .unwrap();
    bench.mint(4).await;
    let version = Some(bench.device(&name(1)).await.version);
    let rows = [
        (
            "a second key at a leased token",
            Wait {
                device_version: version,
                ..wait(1, 2)
            },
        ),
        ("a revoked token", wait(3, 3)),
        ("an unknown token", wait(5, 5)),
        ("another device's key", wait(4, 2)),
        (
            "another device's hardware",
            Wait {
                hardware: hardware(2),
                ..wait(4, 4)
            },
        ),
        (
            "a device that has gone",
            Wait {
                device_version: Some(7),
                ..wait(4, 4)
            },
        ),
        (
            "an older record",
            Wait {
                device_version: Some(99),
                token: Some(hash(4)),
                ..wait(2, 4)
            },
        ),
    ];
    for (what, wait) in rows {
        assert_eq!(waited(bench, wait, NOW).await, Waited::Changed, "{what}");
    }
    assert_eq!(bench.token_state(4).await, TokenState::Minted);
    assert!(!bench.is_named(&name(4)).await);
    assert_eq!(bench.file(&name(1)).await.waiting.len(), 1);
}

/// [`DeviceAct::Approve`].
pub async fn an_approval_lets_the_key_in_and_holds_for_its_time<P: Place>(bench: &mut Bench<P>) {
    bench.mint(1).await;
    waited(bench, wait(1, 1), NOW).await;
    let until = NOW.plus(7 * 86_400);
    let Acted::Done(device) = approve(bench, 1, None, until).await else {
        panic!("not done")
    };
    assert_eq!(device.state, DeviceState::Held, "until it asks again");
    assert_eq!(bench.facts(query(1, 1)).await.approved_until, Some(until));
    assert_eq!(
        bench.facts(query(1, 2)).await.approved_until,
        None,
        "this key alone"
    );
    assert!(bench.file(&name(1)).await.waiting.is_empty());
    let again = approve(bench, 1, Some(key(1)), until).await;
    assert!(matches!(again, Acted::Done(_)));
    assert_eq!(bench.told("device-approved").await, 1);
    assert_eq!(
        waited(bench, wait(1, 1), NOW).await,
        Waited::Listed,
        "an old question"
    );

    let serial = bench.enroll(1, 1).await;
    assert_eq!(bench.device(&name(1)).await.state, DeviceState::Active);
    bench.verify(serial).await;
    assert_eq!(bench.token_state(1).await, TokenState::Spent);
}

/// [`DeviceAct::Approve`]: `NotNow`.
pub async fn an_approval_needs_one_who_waits<P: Place>(bench: &mut Bench<P>) {
    bench.member(1).await;
    let until = NOW.plus(60);
    assert_eq!(
        approve(bench, 1, None, until).await,
        Acted::NotNow { state: "active" }
    );
    assert_eq!(
        approve(bench, 1, Some(key(1)), until).await,
        Acted::NotNow { state: "active" }
    );
    // Two keys wait for one device: by two tokens that are bound to it.
    for n in [2, 3] {
        bench.mint(n).await;
        let version = bench.device(&name(1)).await.version;
        let second = Wait {
            device: device_id(1),
            hardware: hardware(1),
            device_version: Some(version),
            ..wait(n, n)
        };
        assert_eq!(
            waited(bench, second, NOW.plus(i64::from(n))).await,
            Waited::Listed
        );
    }
    let file = bench.file(&name(1)).await;
    assert_eq!(file.waiting, [(key(2), NOW.plus(2)), (key(3), NOW.plus(3))]);
    assert_eq!(
        file.device.state,
        DeviceState::Active,
        "it stays what it is"
    );
    assert_eq!(
        approve(bench, 1, None, until).await,
        Acted::NotNow { state: "active" }
    );
    assert!(matches!(
        approve(bench, 1, Some(key(3)), until).await,
        Acted::Done(_)
    ));
    assert_eq!(bench.file(&name(1)).await.waiting, [(key(2), NOW.plus(2))]);
    assert!(matches!(
        approve(bench, 1, None, until).await,
        Acted::Done(_)
    ));
}

/// [`Ledger::enrollment_wait`] after the approval's time.
pub async fn an_approval_that_is_over_is_asked_for_again<P: Place>(bench: &mut Bench<P>) {
    bench.mint(1).await;
    waited(bench, wait(1, 1), NOW).await;
    approve(bench, 1, None, NOW.plus(60)).await;
    let version = Some(bench.device(&name(1)).await.version);
    let again = Wait {
        device_version: version,
        ..wait(1, 1)
    };
    assert_eq!(waited(bench, again, NOW.plus(61)).await, Waited::Listed);
    assert_eq!(bench.file(&name(1)).await.waiting, [(key(1), NOW.plus(61))]);
    assert_eq!(bench.facts(query(1, 1)).await.approved_until, None);
}

/// [`DeviceAct::Revoke`], [`DeviceAct::Decommission`]: what an operator allowed before is over.
pub async fn a_device_that_is_revoked_loses_its_approvals<P: Place>(bench: &mut Bench<P>) {
    let reason = RevocationReason::Unspecified;
    let acts = [
        DeviceAct::Revoke {
            reason,
            note: String::new(),
        },
        DeviceAct::Decommission {
            reason: String::new(),
        },
    ];
    for (n, act) in (1..).zip(acts) {
        bench.mint(n).await;
        waited(bench, wait(n, n), NOW).await;
        approve(bench, n, None, NOW.plus(60)).await;
        assert!(bench.facts(query(n, n)).await.approved_until.is_some());
        bench
            .open()
            .await
            .device_act(&device_id(n), act, ADMIN, NOW)
            .await
            .unwrap();
        assert!(bench.facts(query(n, n)).await.approved_until.is_none());
        bench
            .open()
            .await
            .device_act(
                &device_id(n),
                DeviceAct::Release { new_key: true },
                ADMIN,
                NOW,
            )
            .await
            .unwrap();
        assert!(bench.facts(query(n, n)).await.approved_until.is_none());
    }
}
