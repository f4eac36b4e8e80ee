//! The journal: every change, once, in a chain.

use super::*;
use crate::journal::Verifier;
use crate::ledger::{CrlRecord, DeviceAct, RevocationReason, TokenAct};

/// "Every change appends its line to the journal in the same transaction."
pub async fn every_change_is_told_once<P: Place>(bench: &mut Bench<P>) {
    let mut told = vec!["product-applied"];
    bench.mint(1).await;
    told.push("token-minted");
    let first = bench.enroll(1, 1).await;
    told.extend(["enrollment-intended", "enrollment-settled"]);
    bench.verify(first).await;
    told.push("certificate-verified");
    let renewal = bench.renewal(1, 2, first).await;
    let second = bench.intended(renewal).await.serial;
    bench.settle(second).await;
    bench.verify(second).await;
    told.extend(["enrollment-intended", "enrollment-settled"]);
    told.extend(["certificate-revoked", "certificate-verified"]);
    let device = device_id(1);
    let acts = [
        (
            DeviceAct::Quarantine { reason: "a".into() },
            vec!["device-quarantined"],
        ),
        (
            DeviceAct::Release { new_key: true },
            vec!["device-released"],
        ),
        (
            DeviceAct::Revoke {
                reason: RevocationReason::Unspecified,
                note: "b".into(),
            },
            vec!["certificate-revoked", "device-revoked"],
        ),
        (
            DeviceAct::Decommission { reason: "c".into() },
            vec!["device-decommissioned"],
        ),
    ];
    for (act, kinds) in acts {
        bench
            .open()
            .await
            .device_act(&device, act, ADMIN, NOW)
            .await
            .unwrap();
        told.extend(kinds);
    }
    let dormant = NewToken {
        dormant: true,
        ..new_token(2)
    };
    bench
        .open()
        .await
        .token_mint(vec![dormant], ADMIN, NOW)
        .await
        .unwrap();
    bench
        .open()
        .await
        .token_act(&token_id(2), TokenAct::Arm, ADMIN, NOW)
        .await
        .unwrap();
    told.extend(["token-minted", "token-armed"]);
    let grant = bench.grant(2, 9).await;
    bench.intended(grant).await;
    let rebind = TokenAct::Rebind { hardware: None };
    bench
        .open()
        .await
        .token_act(&token_id(2), rebind, ADMIN, NOW)
        .await
        .unwrap();
    bench
        .open()
        .await
        .token_act(&token_id(2), TokenAct::Revoke, ADMIN, NOW)
        .await
        .unwrap();
    told.extend([
        "enrollment-intended",
        "intent-voided",
        "token-rebound",
        "token-revoked",
    ]);
    bench
        .open()
        .await
        .allow_add("thermo", vec![hardware(1)], ADMIN, NOW)
        .await
        .unwrap();
    bench
        .open()
        .await
        .allow_remove("thermo", vec![hardware(1)], ADMIN, NOW)
        .await
        .unwrap();
    told.extend(["allow-added", "allow-removed"]);
    let crl = CrlRecord {
        issuer: "issuing".into(),
        number: 1,
        der: vec![1],
        this_update: NOW,
        next_update: NOW,
        through: 0,
    };
    bench.open().await.crl_publish(crl, NOW).await.unwrap();
    told.push("crl-published");
    assert_eq!(bench.kinds().await, told);
    for row in bench.journal().await {
        let by_operator = ["token-", "device-", "allow-", "product-"]
            .iter()
            .any(|kind| row.kind.starts_with(kind));
        let by_device = row.kind == "enrollment-intended";
        let actors: &[&str] = match (by_operator, by_device) {
            (true, _) => &[ADMIN],
            (_, true) => &["est"],
            // A certificate ends by an operator's act or by its successor's first use.
            _ => &[ADMIN, "server"],
        };
        assert!(actors.contains(&row.actor.as_str()), "{row:?}");
        assert!(
            row.detail.starts_with('{') && row.detail.ends_with('}'),
            "{row:?}"
        );
        serde_json::from_str::<serde_json::Value>(&row.detail).unwrap();
    }
}

/// A lost answer makes an operator, or a device, say it again.
pub async fn a_repeated_order_is_not_told_again<P: Place>(bench: &mut Bench<P>) {
    bench.member(1).await;
    bench.mint(2).await;
    let reason = RevocationReason::Unspecified;
    let acts = [
        DeviceAct::Quarantine { reason: "a".into() },
        DeviceAct::Release { new_key: true },
        DeviceAct::Revoke {
            reason,
            note: String::new(),
        },
        DeviceAct::Decommission {
            reason: String::new(),
        },
    ];
    for act in acts {
        bench
            .open()
            .await
            .device_act(&device_id(1), act.clone(), ADMIN, NOW)
            .await
            .unwrap();
        let (rows, device) = (bench.journal().await.len(), bench.device(&name(1)).await);
        bench
            .open()
            .await
            .device_act(&device_id(1), act.clone(), ADMIN, NOW)
            .await
            .unwrap();
        assert_eq!(bench.journal().await.len(), rows, "{act:?}");
        assert_eq!(bench.device(&name(1)).await, device, "{act:?}");
    }
    for act in [TokenAct::Arm, TokenAct::Revoke] {
        bench
            .open()
            .await
            .token_act(&token_id(2), act.clone(), ADMIN, NOW)
            .await
            .unwrap();
        let rows = bench.journal().await.len();
        bench
            .open()
            .await
            .token_act(&token_id(2), act.clone(), ADMIN, NOW)
            .await
            .unwrap();
        assert_eq!(bench.journal().await.len(), rows, "{act:?}");
    }
}

/// [`Ledger::journal_read`].
pub async fn the_journal_has_no_holes_and_is_read_in_pages<P: Place>(bench: &mut Bench<P>) {
    for n in 1..=5 {
        bench.mint(n).await;
        // A failure in between takes no number.
        let again = bench
            .open()
            .await
            .token_mint(vec![new_token(n)], ADMIN, NOW)
            .await;
        assert!(again.is_err());
    }
    let all = bench.journal().await;
    let numbers: Vec<_> = all.iter().map(|row| row.number).collect();
    assert_eq!(numbers, [1, 2, 3, 4, 5, 6]);
    let page = bench.open().await.journal_read(2, 3).await.unwrap();
    assert_eq!(page, all[2..5]);
    for after in [6, 7, u64::MAX] {
        assert!(
            bench
                .open()
                .await
                .journal_read(after, 9)
                .await
                .unwrap()
                .is_empty()
        );
    }
    assert!(
        bench
            .open()
            .await
            .journal_read(0, 0)
            .await
            .unwrap()
            .is_empty()
    );
    assert_eq!((all[0].at, all[0].hash), (NOW, None));
}

fn verify(rows: &[JournalRow]) -> Result<(u64, u64), crate::journal::Altered> {
    let mut verifier = Verifier::default();
    rows.iter().try_for_each(|row| verifier.row(row))?;
    let (seen, unchained, _) = verifier.seen();
    Ok((seen, unchained))
}

/// [`Ledger::journal_chain`].
pub async fn the_journal_is_chained_in_portions<P: Place>(bench: &mut Bench<P>) {
    for n in 1..=6 {
        bench.mint(n).await;
    }
    assert_eq!(verify(&bench.journal().await), Ok((7, 7)));
    for (limit, chained, left) in [(0, 0, 7), (3, 3, 4), (3, 3, 1), (3, 1, 0), (3, 0, 0)] {
        assert_eq!(
            bench.open().await.journal_chain(limit).await.unwrap(),
            chained
        );
        assert_eq!(verify(&bench.journal().await), Ok((7, left)));
    }
    bench.mint(7).await;
    assert_eq!(verify(&bench.journal().await), Ok((8, 1)));
    assert_eq!(bench.open().await.journal_chain(100).await.unwrap(), 1);
    assert_eq!(verify(&bench.journal().await), Ok((8, 0)));
}

/// [`Place::alter_journal`] is noticed.
pub async fn an_altered_row_is_named<P: Place>(bench: &mut Bench<P>) {
    for n in 1..=6 {
        bench.mint(n).await;
    }
    bench.open().await.journal_chain(100).await.unwrap();
    assert_eq!(verify(&bench.journal().await), Ok((7, 0)));
    for number in [7, 4] {
        bench.close().alter_journal(number).await;
        let found = verify(&bench.journal().await).map_err(|altered| altered.number);
        assert_eq!(found, Err(number), "the first one that was altered");
    }
    // What comes after goes on being told, and the alteration stays visible.
    bench.mint(9).await;
    bench.open().await.journal_chain(100).await.unwrap();
    assert_eq!(
        verify(&bench.journal().await).map_err(|altered| altered.number),
        Err(4)
    );
}

/// Design invariant 13.
pub async fn no_secret_is_in_the_journal<P: Place>(bench: &mut Bench<P>) {
    let sealed = b"the sealed private key".to_vec();
    bench.mint(0xa7).await;
    let grant = Grant {
        sealed_key: Some(sealed.clone()),
        ..bench.grant(0xa7, 1).await
    };
    let serial = bench.intended(grant).await.serial;
    bench.settle(serial).await;
    bench.verify(serial).await;
    let rebind = TokenAct::Rebind { hardware: None };
    bench
        .open()
        .await
        .token_act(&token_id(0xa7), rebind, ADMIN, NOW)
        .await
        .unwrap();
    let hex = |bytes: &[u8]| {
        bytes
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect::<Vec<_>>()
            .concat()
    };
    let secrets = [
        hex(&hash(0xa7).0),
        hex(&sealed),
        String::from_utf8(sealed).unwrap(),
    ];
    for row in bench.journal().await {
        for secret in &secrets {
            assert!(!row.detail.contains(secret), "{row:?}");
        }
    }
}

/// [`Ledger::journal_head`], [`Ledger::cursor_open`], [`Ledger::cursor_advance`].
pub async fn a_reader_begins_behind_the_last_row_and_never_goes_back<P: Place>(
    bench: &mut Bench<P>,
) {
    for n in 1..=3 {
        bench.mint(n).await;
    }
    assert_eq!(bench.open().await.journal_head().await.unwrap(), 4);
    let open = async |bench: &mut Bench<P>, name: &str| {
        bench.open().await.cursor_open(name, NOW).await.unwrap()
    };
    assert_eq!(open(bench, "https://a.example/?x='\"").await, 4);
    bench.mint(4).await;
    assert_eq!(open(bench, "https://a.example/?x='\"").await, 4);
    assert_eq!(open(bench, "https://b.example/").await, 5);
    for (to, stands) in [(6, 6), (5, 6), (0, 6), (9, 9)] {
        let ledger = bench.open().await;
        ledger
            .cursor_advance("https://b.example/", to, NOW)
            .await
            .unwrap();
        assert_eq!(open(bench, "https://b.example/").await, stands);
    }
    // One that was never opened is not made by moving it, and another one stays where it is.
    let ledger = bench.open().await;
    ledger.cursor_advance("nobody", 2, NOW).await.unwrap();
    assert_eq!(open(bench, "nobody").await, 5);
    assert_eq!(open(bench, "https://a.example/?x='\"").await, 4);
    assert_eq!(bench.journal().await.len(), 5, "reading is no change");
}

/// [`Ledger::epoch`].
pub async fn the_epoch_fits_a_serial_number<P: Place>(bench: &mut Bench<P>) {
    let epoch = bench.open().await.epoch();
    assert_eq!(epoch, 1, "nothing has been restored");
    assert_eq!(Serial::new(epoch, NOW, [0; 16]).0[0], epoch);
}
