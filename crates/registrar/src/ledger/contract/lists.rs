//! Products, allowlists, rings, revocation lists.

use imprint_identity::Step;

use super::*;
use crate::ledger::{CrlRecord, DeviceAct, RefusalSample, Report, RevocationReason};
use crate::product::{KeyKind, QuarantineRule};

/// [`Ledger::product_apply`], [`Ledger::product_list`].
pub async fn products_are_kept_as_they_are_and_listed_by_name<P: Place>(bench: &mut Bench<P>) {
    let mut gate = Product::named("gate");
    gate.approval = true;
    gate.allowlist = true;
    gate.naming = "{product}-{hardware}".into();
    gate.keys = vec![KeyKind::P384];
    gate.quarantine = QuarantineRule::Strict;
    gate.certificate.lifetime_days = 0;
    gate.token.bound = true;
    gate.connection.topic_prefix = "a \" b".into();
    gate.groups = vec!["b".into(), "a".into()];
    gate.attributes = [("site".into(), "north".into())].into();
    gate.doors = Some(vec![crate::door::Door::Est]);
    gate.serial_pattern = Some("\"[a-z]+\\d".into());
    let valve = Product::named("valve");
    let thermo = Product::named("thermo");
    let both = vec![valve.clone(), gate.clone()];
    bench
        .open()
        .await
        .product_apply(both, ADMIN, NOW)
        .await
        .unwrap();
    let listed = bench.open().await.product_list().await.unwrap();
    assert_eq!(listed, [gate.clone(), thermo.clone(), valve.clone()]);
    assert_eq!(bench.told("product-applied").await, 3);
    // The same again is no news; a change is, and is seen at once.
    gate.approval = false;
    bench
        .open()
        .await
        .product_apply(vec![valve.clone(), gate.clone()], ADMIN, NOW)
        .await
        .unwrap();
    assert_eq!(
        bench.open().await.product_list().await.unwrap(),
        [gate.clone(), thermo, valve]
    );
    assert_eq!(bench.told("product-applied").await, 4);
    let asked = FactsQuery {
        product: Some("gate".into()),
        ..query(1, 1)
    };
    assert_eq!(bench.facts(asked).await.product, Some(gate));
}

/// [`Ledger::allow_add`], [`Ledger::allow_remove`].
pub async fn an_allowlist_counts_what_is_new_and_what_was_there<P: Place>(bench: &mut Bench<P>) {
    bench
        .open()
        .await
        .product_apply(vec![Product::named("valve")], ADMIN, NOW)
        .await
        .unwrap();
    let ids = |list: &[u8]| list.iter().map(|n| hardware(*n)).collect::<Vec<_>>();
    let rows: [(&str, bool, &[u8], u64); 7] = [
        ("thermo", true, &[1, 2, 2], 2),
        ("thermo", true, &[2, 3], 1),
        ("thermo", true, &[1, 2, 3], 0),
        ("valve", true, &[1], 1),
        ("valve", false, &[2, 3], 0),
        ("thermo", false, &[2, 9, 2], 1),
        ("thermo", true, &[], 0),
    ];
    for (product, add, list, want) in rows {
        let ledger = bench.open().await;
        let changed = if add {
            ledger
                .allow_add(product, ids(list), ADMIN, NOW)
                .await
                .unwrap()
        } else {
            ledger
                .allow_remove(product, ids(list), ADMIN, NOW)
                .await
                .unwrap()
        };
        assert_eq!(changed, want, "{product} {add} {list:?}");
    }
    assert_eq!(
        (
            bench.told("allow-added").await,
            bench.told("allow-removed").await
        ),
        (3, 1)
    );
    for (n, product, allowed) in [
        (1, "thermo", true),
        (2, "thermo", false),
        (1, "valve", true),
        (3, "valve", false),
    ] {
        let asked = FactsQuery {
            product: Some(product.into()),
            token: None,
            ..query(n, 1)
        };
        assert_eq!(
            bench.facts(asked).await.allowed,
            allowed,
            "{n} in {product}"
        );
    }
}

/// [`Ledger::allow_list`].
pub async fn an_allowlist_is_read_in_pages<P: Place>(bench: &mut Bench<P>) {
    let ids: Vec<_> = (0..250).rev().map(hardware).collect();
    assert_eq!(
        bench
            .open()
            .await
            .allow_add("thermo", ids, ADMIN, NOW)
            .await
            .unwrap(),
        250
    );
    let mut read = Vec::new();
    while let Ok(page) = bench
        .open()
        .await
        .allow_list("thermo", read.last().map(String::as_str), 100)
        .await
        && !page.is_empty()
    {
        assert!(page.len() <= 100);
        read.extend(page);
    }
    let want: Vec<_> = (0..250).map(|n| hardware(n).to_string()).collect();
    assert_eq!(read, want);
    assert!(
        bench
            .open()
            .await
            .allow_list("nope", None, 10)
            .await
            .unwrap()
            .is_empty()
    );
}

/// [`Ledger::report_add`].
pub async fn reports_are_a_ring_of_sixteen<P: Place>(bench: &mut Bench<P>) {
    bench.mint(1).await;
    bench.enroll(1, 1).await;
    let before = bench.device(&name(1)).await;
    let rows = bench.journal().await.len();
    let report = |subject: String, attempts| Report {
        subject,
        at: NOW.plus(i64::from(attempts)),
        step: Step::Enroll,
        code: "tcp-refused".into(),
        attempts,
        address: "10.0.0.1".into(),
    };
    for attempts in 0..20 {
        for subject in [name(1), "sn-999".into()] {
            bench
                .open()
                .await
                .report_add(report(subject, attempts), NOW)
                .await
                .unwrap();
        }
    }
    let file = bench.file(&name(1)).await;
    let want: Vec<_> = (4..20)
        .rev()
        .map(|attempts| report(name(1), attempts))
        .collect();
    assert_eq!(file.reports, want);
    assert_eq!(file.device, before, "it changes no state");
    assert_eq!(bench.journal().await.len(), rows);
}

/// [`Ledger::refusal_add`], [`Ledger::refusal_list`].
pub async fn refusals_are_a_ring_of_sixteen_and_a_journal_row_each<P: Place>(bench: &mut Bench<P>) {
    let sample = |subject: &str, count| RefusalSample {
        subject: subject.into(),
        at: NOW,
        code: "token-unknown".into(),
        step: Step::Enroll,
        detail: "no such token".into(),
        address: "10.0.0.7".into(),
        credential: String::new(),
        count,
    };
    bench
        .open()
        .await
        .refusal_add(Vec::new(), NOW)
        .await
        .unwrap();
    for count in (0..20).step_by(2) {
        let two = vec![sample("10.0.0.7", count), sample("10.0.0.7", count + 1)];
        bench.open().await.refusal_add(two, NOW).await.unwrap();
    }
    bench
        .open()
        .await
        .refusal_add(vec![sample("10.0.0.70", 1)], NOW)
        .await
        .unwrap();
    let listed = bench.open().await.refusal_list("10.0.0.7").await.unwrap();
    let want: Vec<_> = (4..20)
        .rev()
        .map(|count| sample("10.0.0.7", count))
        .collect();
    assert_eq!(listed, want);
    assert_eq!(
        bench
            .open()
            .await
            .refusal_list("10.0.0.70")
            .await
            .unwrap()
            .len(),
        1
    );
    assert!(
        bench
            .open()
            .await
            .refusal_list("10.0.0.")
            .await
            .unwrap()
            .is_empty()
    );
    assert_eq!(bench.told("refusal").await, 21);
}

async fn revoke<P: Place>(bench: &mut Bench<P>, n: u8, at: UnixTime) {
    let reason = RevocationReason::KeyCompromise;
    let act = DeviceAct::Revoke {
        reason,
        note: String::new(),
    };
    bench
        .open()
        .await
        .device_act(&device_id(n), act, ADMIN, at)
        .await
        .unwrap();
}

/// [`Ledger::crl_facts`].
pub async fn a_list_says_what_is_revoked_until_a_week_after_its_end<P: Place>(
    bench: &mut Bench<P>,
) {
    let mut serials = Vec::new();
    for n in [3, 1, 2] {
        serials.push(bench.member(n).await);
    }
    let elsewhere = Grant {
        issuer: "other".into(),
        ..bench.grant(4, 4).await
    };
    bench.mint(4).await;
    let elsewhere = bench.intended(elsewhere).await.serial;
    bench.settle(elsewhere).await;
    for n in [2, 3, 4] {
        revoke(bench, n, NOW.plus(i64::from(n))).await;
    }
    let why = RevocationReason::KeyCompromise;
    let facts = bench.open().await.crl_facts("issuing", NOW).await.unwrap();
    let want = [
        (serials[0], NOW.plus(3), why),
        (serials[2], NOW.plus(2), why),
    ];
    assert_eq!(
        facts.revoked, want,
        "in the order of serials, of this issuer alone"
    );
    assert_eq!((facts.current, facts.stale, facts.through), (None, true, 2));
    let facts = bench.open().await.crl_facts("other", NOW).await.unwrap();
    assert_eq!(facts.revoked, [(elsewhere, NOW.plus(4), why)]);
    let week_after = NOW.plus((365 + 7) * 86_400);
    let facts = bench
        .open()
        .await
        .crl_facts("issuing", week_after)
        .await
        .unwrap();
    assert_eq!(facts.revoked.len(), 2);
    let facts = bench
        .open()
        .await
        .crl_facts("issuing", week_after.plus(1))
        .await
        .unwrap();
    assert_eq!((facts.revoked.len(), facts.through), (0, 2));
    let facts = bench.open().await.crl_facts("nobody", NOW).await.unwrap();
    assert_eq!(
        (facts.revoked.len(), facts.stale, facts.through),
        (0, false, 0)
    );
}

fn list(number: u64, through: u64) -> CrlRecord {
    CrlRecord {
        issuer: "issuing".into(),
        number,
        der: vec![u8::try_from(number).unwrap(); 9],
        this_update: NOW,
        next_update: NOW.plus(86_400),
        through,
    }
}

async fn publish<P: Place>(bench: &mut Bench<P>, crl: CrlRecord) -> bool {
    bench.open().await.crl_publish(crl, NOW).await.unwrap()
}

async fn is_stale<P: Place>(bench: &mut Bench<P>) -> bool {
    bench
        .open()
        .await
        .crl_facts("issuing", NOW)
        .await
        .unwrap()
        .stale
}

/// [`CrlFacts::stale`](crate::ledger::CrlFacts::stale).
pub async fn a_list_is_stale_by_count_and_not_by_time<P: Place>(bench: &mut Bench<P>) {
    for n in [1, 2] {
        bench.member(n).await;
    }
    assert!(publish(bench, list(1, 0)).await);
    assert!(!is_stale(bench).await);
    revoke(bench, 1, NOW).await;
    assert!(
        is_stale(bench).await,
        "in the second in which the list was made"
    );
    let facts = bench.open().await.crl_facts("issuing", NOW).await.unwrap();
    // Another one is revoked, by a slower clock, before the list made from these facts is out.
    revoke(bench, 2, NOW.plus(-9)).await;
    assert!(publish(bench, list(2, facts.through)).await);
    assert!(is_stale(bench).await, "the list can't know of the second");
    let facts = bench.open().await.crl_facts("issuing", NOW).await.unwrap();
    assert!(publish(bench, list(3, facts.through)).await);
    assert!(!is_stale(bench).await);
}

/// [`Ledger::crl_publish`].
pub async fn a_lists_number_only_grows<P: Place>(bench: &mut Bench<P>) {
    assert!(publish(bench, list(7, 0)).await);
    for number in [7, 6, 0] {
        assert!(!publish(bench, list(number, 9)).await);
    }
    let current = bench
        .open()
        .await
        .crl_facts("issuing", NOW)
        .await
        .unwrap()
        .current;
    assert_eq!(current, Some(list(7, 0)));
    assert!(publish(bench, list(8, 0)).await);
    let other = CrlRecord {
        issuer: "other".into(),
        ..list(1, 0)
    };
    assert!(publish(bench, other).await, "each issuer counts for itself");
    let current = bench
        .open()
        .await
        .crl_facts("issuing", NOW)
        .await
        .unwrap()
        .current;
    assert_eq!(current, Some(list(8, 0)));
    assert_eq!(bench.told("crl-published").await, 3);
}

/// [`Ledger::crl_publish`]: a slow publisher with older facts and a greater number.
pub async fn a_list_never_knows_of_fewer_revocations_than_the_one_before<P: Place>(
    bench: &mut Bench<P>,
) {
    assert!(publish(bench, list(1, 3)).await);
    assert!(!publish(bench, list(2, 2)).await);
    assert!(publish(bench, list(2, 3)).await);
    assert!(!publish(bench, list(9, 0)).await);
    let facts = bench.open().await.crl_facts("issuing", NOW).await.unwrap();
    assert_eq!(facts.current, Some(list(2, 3)));
}

/// Design invariant 8.
pub async fn revocation_never_reverses<P: Place>(bench: &mut Bench<P>) {
    let serial = bench.member(1).await;
    revoke(bench, 1, NOW.plus(9)).await;
    let revoked = bench.certificate(serial).await;
    revoke(bench, 1, NOW.plus(99)).await;
    for act in [
        DeviceAct::Release { new_key: true },
        DeviceAct::Decommission {
            reason: String::new(),
        },
    ] {
        bench
            .open()
            .await
            .device_act(&device_id(1), act, ADMIN, NOW.plus(99))
            .await
            .unwrap();
    }
    bench.settlement(serial, vec![1]).await;
    bench.verify(serial).await;
    assert_eq!(bench.certificate(serial).await, revoked);
    let facts = bench.open().await.crl_facts("issuing", NOW).await.unwrap();
    assert_eq!(
        facts.revoked,
        [(serial, NOW.plus(9), RevocationReason::KeyCompromise)]
    );
}
