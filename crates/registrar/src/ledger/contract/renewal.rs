//! Renewals: one unused successor a predecessor, and the old one lives until the new one works.

use super::*;
use crate::ledger::{DeviceAct, RevocationReason};

/// [`Ledger::enrollment_intend`], 4, and [`Ledger::credential_verify`].
pub async fn a_renewal_leaves_the_old_one_live_until_the_new_one_is_used<P: Place>(
    bench: &mut Bench<P>,
) {
    let old = bench.member(1).await;
    let renewal = bench.renewal(1, 2, old).await;
    let new = bench.intended(renewal.clone()).await.serial;
    bench.settle(new).await;
    assert_eq!(bench.state(old).await, CertificateState::Active);
    assert_eq!(bench.state(new).await, CertificateState::Issued);
    let device = bench.device(&name(1)).await;
    assert_eq!(
        device.step,
        imprint_identity::Step::Provisioned,
        "it has arrived before"
    );
    let live: Vec<_> = bench
        .facts(query(1, 1))
        .await
        .live
        .iter()
        .map(|one| one.serial)
        .collect();
    assert_eq!(live, [new, old], "newest first");

    bench.verify(new).await;
    let old = bench.certificate(old).await;
    assert_eq!(old.state, CertificateState::Superseded);
    assert_eq!(
        old.revoked,
        Some((NOW.plus(2), RevocationReason::Superseded))
    );
    let facts = bench.open().await.crl_facts("issuing", NOW).await.unwrap();
    assert_eq!(
        facts.revoked,
        [(old.serial, NOW.plus(2), RevocationReason::Superseded)]
    );
    assert!(
        matches!(bench.intend(renewal).await, Intention::Settled(record) if record.serial == new)
    );
}

/// [`Ledger::enrollment_intend`], 4: what is shown.
pub async fn only_a_live_certificate_of_the_device_is_renewed<P: Place>(bench: &mut Bench<P>) {
    let old = bench.member(1).await;
    let foreign = bench.member(2).await;
    let nobody = bench.serial();
    for shown in [foreign, nobody] {
        let grant = bench.renewal(1, 3, shown).await;
        assert!(bench.is_changed(grant).await, "{shown}");
    }
    let renewal = bench.renewal(1, 3, old).await;
    let new = bench.intended(renewal).await.serial;
    bench.settle(new).await;
    bench.verify(new).await;
    let late = bench.renewal(1, 4, old).await;
    assert!(
        bench.is_changed(late).await,
        "what is superseded is not renewed"
    );
    let newcomer = bench.renewal(9, 9, old).await;
    assert!(bench.is_changed(newcomer).await);
    assert!(!bench.is_named(&name(9)).await);
}

/// [`Grant::replaces`](crate::ledger::Grant::replaces), signed and not signed.
pub async fn another_key_takes_the_place_of_an_unused_successor<P: Place>(bench: &mut Bench<P>) {
    let old = bench.member(1).await;
    let mut replaces = None;
    let mut before: Option<(Serial, CertificateState)> = None;
    for (k, settled) in [(2, true), (3, false), (4, true)] {
        let grant = Grant {
            replaces,
            ..bench.renewal(1, k, old).await
        };
        let serial = bench.intended(grant).await.serial;
        if settled {
            bench.settle(serial).await;
        }
        if let Some((gone, state)) = before {
            let record = bench.certificate(gone).await;
            assert_eq!(record.state, state, "key {k}");
            let reason = record.revoked.map(|(_, reason)| reason);
            let revoked = state == CertificateState::Superseded;
            assert_eq!(reason, revoked.then_some(RevocationReason::Superseded));
        }
        let state = if settled {
            CertificateState::Superseded
        } else {
            CertificateState::Void
        };
        (replaces, before) = (Some(serial), Some((serial, state)));
    }
    assert_eq!(bench.state(old).await, CertificateState::Active);
    assert_eq!(
        bench.facts(query(1, 1)).await.live.len(),
        2,
        "one unused successor"
    );
}

/// [`Grant::replaces`](crate::ledger::Grant::replaces) that has been used meanwhile, or is nobody's.
pub async fn a_successor_in_use_is_not_replaced<P: Place>(bench: &mut Bench<P>) {
    let old = bench.member(1).await;
    let foreign = bench.member(2).await;
    let renewal = bench.renewal(1, 3, old).await;
    let new = bench.intended(renewal).await.serial;
    bench.settle(new).await;
    let nobody = bench.serial();
    for replaces in [old, foreign, nobody] {
        let grant = Grant {
            replaces: Some(replaces),
            ..bench.renewal(1, 4, old).await
        };
        assert!(bench.is_changed(grant).await, "{replaces}");
    }
    for serial in [old, foreign] {
        assert_eq!(bench.state(serial).await, CertificateState::Active);
    }
    let decided = Grant {
        replaces: Some(new),
        ..bench.renewal(1, 4, old).await
    };
    bench.verify(new).await;
    assert!(
        bench.is_changed(decided).await,
        "it was used between the read and the write"
    );
    assert_eq!(bench.state(new).await, CertificateState::Active);
}

/// [`Ledger::credential_verify`]: every *older* live certificate, and what only renews such a one.
pub async fn first_use_ends_older_ones_and_leaves_newer_ones<P: Place>(bench: &mut Bench<P>) {
    let first = bench.member(1).await;
    let unsigned = bench.renewal(1, 2, first).await;
    let unsigned = bench.intended(unsigned).await.serial;
    let second = Grant {
        generation: Generation::Operator,
        origin: CertificateOrigin::ByHand,
        ..bench.grant(1, 3).await
    };
    let second = bench.intended(second).await.serial;
    bench.settle(second).await;
    let renewed = bench.renewal(1, 4, first).await;
    let renewed = bench.intended(renewed).await.serial;
    bench.settle(renewed).await;
    let newer = Grant {
        generation: Generation::Operator,
        origin: CertificateOrigin::ByHand,
        ..bench.grant(1, 5).await
    };
    let newer = bench.intended(newer).await.serial;
    bench.settle(newer).await;
    bench.verify(second).await;
    assert_eq!(bench.state(first).await, CertificateState::Superseded);
    assert_eq!(bench.state(unsigned).await, CertificateState::Void);
    assert_eq!(bench.state(second).await, CertificateState::Active);
    assert_eq!(
        bench.state(renewed).await,
        CertificateState::Superseded,
        "whoever had the key before has no way back"
    );
    assert_eq!(bench.state(newer).await, CertificateState::Issued);
    bench.verify(newer).await;
    assert_eq!(bench.state(second).await, CertificateState::Superseded);
    // And a device that shows an older one now proves nothing.
    assert_eq!(
        bench.verify(first).await.certificate.state,
        CertificateState::Superseded
    );
    let act = DeviceAct::Quarantine {
        reason: "drill".into(),
    };
    bench
        .open()
        .await
        .device_act(&device_id(1), act, ADMIN, NOW)
        .await
        .unwrap();
    assert_eq!(
        bench.state(newer).await,
        CertificateState::Active,
        "quarantine ends nothing"
    );
}

/// [`Generation::Renewal`] with the key that the device has.
pub async fn a_renewal_with_the_same_key_is_another_certificate<P: Place>(bench: &mut Bench<P>) {
    let old = bench.member(1).await;
    let renewal = bench.renewal(1, 1, old).await;
    let new = bench.intended(renewal.clone()).await.serial;
    assert_ne!(new, old);
    bench.settle(new).await;
    assert!(
        matches!(bench.intend(renewal).await, Intention::Settled(record) if record.serial == new)
    );
    let generation = Generation::Renewal(old);
    let facts = bench
        .facts(FactsQuery {
            shown: Some(old),
            generation,
            ..query(1, 1)
        })
        .await;
    assert_eq!(facts.same.unwrap().serial, new);
    let facts = bench.facts(query(1, 1)).await;
    assert_eq!(
        facts.same.unwrap().serial,
        old,
        "the token's question has its own answer"
    );
}
