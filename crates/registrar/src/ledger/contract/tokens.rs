//! Tokens and what an operator does to them.

use imprint_identity::Step;

use super::*;
use crate::ledger::{
    Acted, DeviceState, LedgerError, RevocationReason, TokenAct, TokenAlarm, TokenFilter,
};

async fn act<P: Place>(bench: &mut Bench<P>, n: u8, act: TokenAct) -> Acted<TokenRecord> {
    bench
        .open()
        .await
        .token_act(&token_id(n), act, ADMIN, NOW.plus(9))
        .await
        .unwrap()
}

const REBIND: TokenAct = TokenAct::Rebind { hardware: None };

/// [`Ledger::token_mint`].
pub async fn tokens_are_minted_all_or_none<P: Place>(bench: &mut Bench<P>) {
    bench.mint(1).await;
    let same_id = NewToken {
        id: token_id(1),
        ..new_token(3)
    };
    let same_secret = NewToken {
        hash: hash(1),
        ..new_token(3)
    };
    let no_product = NewToken {
        product: "nope".into(),
        ..new_token(3)
    };
    for bad in [same_id, same_secret, no_product] {
        let tokens = vec![new_token(2), bad];
        let minted = bench.open().await.token_mint(tokens, ADMIN, NOW).await;
        assert!(
            matches!(minted, Err(LedgerError::Unavailable { .. })),
            "{minted:?}"
        );
        assert!(
            bench
                .open()
                .await
                .token_get(&token_id(2))
                .await
                .unwrap()
                .is_none()
        );
    }
    assert_eq!(bench.told("token-minted").await, 1);
    let two = vec![
        new_token(2),
        NewToken {
            dormant: true,
            ..new_token(3)
        },
    ];
    bench
        .open()
        .await
        .token_mint(two, ADMIN, NOW)
        .await
        .unwrap();
    assert_eq!(bench.token_state(2).await, TokenState::Minted);
    assert_eq!(bench.token_state(3).await, TokenState::Dormant);
    bench
        .open()
        .await
        .token_mint(Vec::new(), ADMIN, NOW)
        .await
        .unwrap();
    assert_eq!(bench.told("token-minted").await, 3);
}

/// [`Ledger::token_get`], [`Ledger::token_list`].
pub async fn a_token_is_found_by_its_id_and_listed_newest_first<P: Place>(bench: &mut Bench<P>) {
    bench
        .open()
        .await
        .product_apply(vec![Product::named("valve")], ADMIN, NOW)
        .await
        .unwrap();
    let bound = NewToken {
        bound: Some(hardware(7)),
        product: "valve".into(),
        ..new_token(2)
    };
    let tokens = vec![
        new_token(1),
        bound,
        NewToken {
            dormant: true,
            ..new_token(3)
        },
    ];
    bench
        .open()
        .await
        .token_mint(tokens, ADMIN, NOW)
        .await
        .unwrap();
    let token = bench.token(2).await;
    assert_eq!(
        (token.id, token.hash, token.bound),
        (token_id(2), hash(2), Some(hardware(7)))
    );
    assert_eq!(
        (token.product.as_str(), token.minted_by.as_str()),
        ("valve", ADMIN)
    );
    assert_eq!(
        (token.minted_at, token.expires_at),
        (NOW, NOW.plus(90 * 86_400))
    );
    assert_eq!((token.lease, token.spent_at, token.alarms), (None, None, 0));
    let all = TokenFilter::default();
    let rows = [
        (all.clone(), vec![3, 2, 1]),
        (
            TokenFilter {
                limit: 2,
                ..all.clone()
            },
            vec![3, 2],
        ),
        (
            TokenFilter {
                product: Some("thermo".into()),
                ..all.clone()
            },
            vec![3, 1],
        ),
        (
            TokenFilter {
                state: Some(TokenState::Minted),
                ..all.clone()
            },
            vec![2, 1],
        ),
        (
            TokenFilter {
                state: Some(TokenState::Spent),
                ..all.clone()
            },
            vec![],
        ),
        (
            TokenFilter {
                product: Some("nope".into()),
                ..all
            },
            vec![],
        ),
    ];
    for (filter, want) in rows {
        let found = bench.open().await.token_list(&filter).await.unwrap();
        let found: Vec<_> = found.into_iter().map(|token| token.id).collect();
        let want: Vec<_> = want.into_iter().map(token_id).collect();
        assert_eq!(found, want, "{filter:?}");
    }
}

/// [`Ledger::token_act`], the whole table.
pub async fn every_act_on_every_state_has_its_outcome<P: Place>(bench: &mut Bench<P>) {
    let bind = || TokenAct::Rebind {
        hardware: Some(hardware(99)),
    };
    let rows: [(TokenState, TokenAct, Result<TokenState, &str>); 20] = [
        (
            TokenState::Dormant,
            TokenAct::Revoke,
            Ok(TokenState::Revoked),
        ),
        (
            TokenState::Minted,
            TokenAct::Revoke,
            Ok(TokenState::Revoked),
        ),
        (
            TokenState::Leased,
            TokenAct::Revoke,
            Ok(TokenState::Revoked),
        ),
        (TokenState::Spent, TokenAct::Revoke, Err("spent")),
        (
            TokenState::Revoked,
            TokenAct::Revoke,
            Ok(TokenState::Revoked),
        ),
        (TokenState::Dormant, TokenAct::Arm, Ok(TokenState::Minted)),
        (TokenState::Minted, TokenAct::Arm, Ok(TokenState::Minted)),
        (TokenState::Leased, TokenAct::Arm, Err("leased")),
        (TokenState::Spent, TokenAct::Arm, Err("spent")),
        (TokenState::Revoked, TokenAct::Arm, Err("revoked")),
        (TokenState::Dormant, REBIND, Err("dormant")),
        (TokenState::Minted, REBIND, Ok(TokenState::Minted)),
        (TokenState::Leased, REBIND, Ok(TokenState::Minted)),
        (TokenState::Spent, REBIND, Ok(TokenState::Minted)),
        (TokenState::Revoked, REBIND, Err("revoked")),
        (TokenState::Dormant, bind(), Err("dormant")),
        (TokenState::Minted, bind(), Err("minted")),
        (TokenState::Leased, bind(), Ok(TokenState::Minted)),
        (TokenState::Spent, bind(), Ok(TokenState::Minted)),
        (TokenState::Revoked, bind(), Err("revoked")),
    ];
    for (n, (state, order, want)) in (1..).zip(rows) {
        let dormant = state == TokenState::Dormant;
        let token = NewToken {
            dormant,
            ..new_token(n)
        };
        bench
            .open()
            .await
            .token_mint(vec![token], ADMIN, NOW)
            .await
            .unwrap();
        match state {
            TokenState::Leased => {
                bench.enroll(n, n).await;
            }
            TokenState::Spent => {
                let serial = bench.enroll(n, n).await;
                bench.verify(serial).await;
            }
            TokenState::Revoked => drop(act(bench, n, TokenAct::Revoke).await),
            TokenState::Dormant | TokenState::Minted => {}
        }
        assert_eq!(bench.token_state(n).await, state);
        let before = bench.token(n).await;
        let acted = act(bench, n, order.clone()).await;
        let after = bench.token(n).await;
        match (acted, want) {
            (Acted::Done(record), Ok(state)) => {
                assert_eq!(
                    (record.state, &record),
                    (state, &after),
                    "{order:?} on {state}"
                );
                if let TokenAct::Rebind {
                    hardware: Some(hardware),
                } = order
                {
                    assert_eq!(after.bound, Some(hardware));
                }
            }
            (Acted::NotNow { state: said }, Err(want)) => {
                assert_eq!((said, &before), (want, &after), "{order:?} on {state}");
            }
            (acted, want) => panic!("{order:?} on {state}: {acted:?}, not {want:?}"),
        }
    }
}

/// [`Acted::Absent`].
pub async fn an_act_on_no_token_is_absent<P: Place>(bench: &mut Bench<P>) {
    for order in [TokenAct::Revoke, TokenAct::Arm, REBIND] {
        assert_eq!(act(bench, 1, order).await, Acted::Absent);
    }
}

/// [`TokenAct::Revoke`].
pub async fn revoking_a_leased_token_voids_what_was_not_signed<P: Place>(bench: &mut Bench<P>) {
    bench.mint(1).await;
    let grant = bench.grant(1, 1).await;
    let unsigned = bench.intended(grant).await.serial;
    bench.mint(2).await;
    let signed = bench.enroll(2, 2).await;
    act(bench, 1, TokenAct::Revoke).await;
    act(bench, 2, TokenAct::Revoke).await;
    assert_eq!(bench.state(unsigned).await, CertificateState::Void);
    assert!(matches!(
        bench.settlement(unsigned, vec![1]).await,
        Settlement::Void
    ));
    // What was issued is another matter: `device revoke`.
    assert_eq!(
        bench.verify(signed).await.certificate.state,
        CertificateState::Active
    );
    assert_eq!(bench.token_state(2).await, TokenState::Revoked);
}

/// [`TokenAct::Rebind`], from leased and from spent, before and after the signature.
pub async fn a_rebind_takes_everything_back_that_the_token_gave<P: Place>(bench: &mut Bench<P>) {
    for n in [1, 2, 3] {
        bench.mint(n).await;
        let grant = bench.grant(n, n).await;
        let serial = bench.intended(grant).await.serial;
        if n > 1 {
            bench.settle(serial).await;
        }
        if n > 2 {
            bench.verify(serial).await;
        }
        let Acted::Done(token) = act(bench, n, REBIND).await else {
            panic!("not done")
        };
        assert_eq!(
            (token.state, token.lease, token.spent_at),
            (TokenState::Minted, None, None)
        );
        let record = bench.certificate(serial).await;
        let reason = RevocationReason::PrivilegeWithdrawn;
        if n > 1 {
            assert_eq!(record.state, CertificateState::Revoked);
            assert_eq!(record.revoked, Some((NOW.plus(9), reason)));
        } else {
            assert_eq!(
                (record.state, record.revoked),
                (CertificateState::Void, None)
            );
        }
        let device = bench.device(&name(n)).await;
        assert_eq!(
            (device.state, device.step),
            (DeviceState::Pending, Step::Enroll)
        );
        assert!(bench.file(&name(n)).await.token.is_none());
        assert_eq!(bench.told("token-rebound").await, usize::from(n));
    }
    let listed = bench.open().await.crl_facts("issuing", NOW).await.unwrap();
    assert_eq!(listed.revoked.len(), 2);
    let row = bench.journal().await.pop().unwrap();
    assert_eq!(
        (row.kind.as_str(), row.actor.as_str()),
        ("token-rebound", ADMIN)
    );
    assert!(
        row.detail.contains(&key(3).to_string()),
        "the journal knows whom it was taken from"
    );
}

/// [`TokenAct::Rebind`]: the renewal of what was taken back is taken back.
pub async fn a_rebind_follows_the_renewals<P: Place>(bench: &mut Bench<P>) {
    let first = bench.member(1).await;
    let second = bench.renewal(1, 2, first).await;
    let second = bench.intended(second).await.serial;
    bench.settle(second).await;
    bench.verify(second).await;
    let third = bench.renewal(1, 3, second).await;
    let third = bench.intended(third).await.serial;
    act(bench, 1, REBIND).await;
    assert_eq!(
        bench.state(first).await,
        CertificateState::Superseded,
        "as it was"
    );
    assert_eq!(bench.state(second).await, CertificateState::Revoked);
    assert_eq!(bench.state(third).await, CertificateState::Void);
    assert_eq!(bench.device(&name(1)).await.state, DeviceState::Pending);
}

/// [`TokenAct::Rebind`]: another token's certificate stays, and the device with it.
pub async fn a_rebind_leaves_what_came_from_elsewhere<P: Place>(bench: &mut Bench<P>) {
    bench.member(1).await;
    bench.mint(2).await;
    let generation = Generation::Token(hash(2));
    let second = Grant {
        generation,
        ..bench.grant(1, 2).await
    };
    let second = bench.intended(second).await.serial;
    bench.settle(second).await;
    bench.verify(second).await;
    let before = bench.device(&name(1)).await;
    assert!(matches!(act(bench, 1, REBIND).await, Acted::Done(_)));
    assert_eq!(bench.state(second).await, CertificateState::Active);
    let after = bench.device(&name(1)).await;
    assert_eq!((after.state, after.step), (before.state, before.step));
    assert_eq!(bench.token_state(2).await, TokenState::Spent);
}

/// [`TokenAct::Rebind`]: it is open again, bound if it was said so.
pub async fn a_rebound_token_serves_another_key<P: Place>(bench: &mut Bench<P>) {
    let stolen = bench.member(1).await;
    act(
        bench,
        1,
        TokenAct::Rebind {
            hardware: Some(hardware(2)),
        },
    )
    .await;
    let generation = Generation::Token(hash(1));
    let thief = Grant {
        generation,
        ..bench.grant(1, 1).await
    };
    assert!(
        bench.is_changed(thief).await,
        "it is bound to other hardware now"
    );
    let right = Grant {
        generation,
        ..bench.grant(2, 2).await
    };
    let serial = bench.intended(right).await.serial;
    bench.settle(serial).await;
    bench.verify(serial).await;
    assert_eq!(bench.token(1).await.lease.unwrap().device, device_id(2));
    assert_eq!(bench.state(stolen).await, CertificateState::Revoked);
    // The first holder's device may come again, by another token.
    bench.mint(3).await;
    let again = Grant {
        generation: Generation::Token(hash(3)),
        ..bench.grant(1, 9).await
    };
    bench.intended(again).await;
}

fn alarm(n: u8, k: u8) -> TokenAlarm {
    TokenAlarm {
        hash: hash(n),
        key: key(k),
        hardware: Some(hardware(k)),
        address: "10.9.9.9".into(),
    }
}

/// [`Ledger::token_alarm`].
pub async fn a_second_key_is_counted_and_the_first_sixteen_are_told<P: Place>(
    bench: &mut Bench<P>,
) {
    bench.mint(1).await;
    let serial = bench.enroll(1, 1).await;
    for k in 0..20 {
        bench
            .open()
            .await
            .token_alarm(alarm(1, 50 + k), NOW)
            .await
            .unwrap();
    }
    bench.verify(serial).await;
    bench
        .open()
        .await
        .token_alarm(alarm(1, 90), NOW)
        .await
        .unwrap();
    let token = bench.token(1).await;
    assert_eq!((token.alarms, token.state), (21, TokenState::Spent));
    assert_eq!(token.lease.unwrap().key, key(1));
    let rows = bench.journal().await;
    let told: Vec<_> = rows
        .iter()
        .filter(|row| row.kind == "token-alarm")
        .collect();
    assert_eq!(told.len(), 16);
    assert_eq!(told[0].subject, token_id(1));
    for word in [
        key(50).to_string(),
        key(1).to_string(),
        "10.9.9.9".into(),
        name(1),
    ] {
        assert!(
            told[0].detail.contains(&word),
            "{word} is missing in {}",
            told[0].detail
        );
    }
    act(bench, 1, REBIND).await;
    assert_eq!(bench.token(1).await.alarms, 0, "a new holder begins anew");
}

/// [`Ledger::token_alarm`] where there is nothing to be alarmed about.
pub async fn who_holds_the_token_raises_no_alarm<P: Place>(bench: &mut Bench<P>) {
    bench.mint(1).await;
    bench
        .open()
        .await
        .token_alarm(alarm(1, 2), NOW)
        .await
        .unwrap();
    bench
        .open()
        .await
        .token_alarm(alarm(9, 2), NOW)
        .await
        .unwrap();
    bench.enroll(1, 1).await;
    bench
        .open()
        .await
        .token_alarm(alarm(1, 1), NOW)
        .await
        .unwrap();
    assert_eq!(
        (bench.token(1).await.alarms, bench.told("token-alarm").await),
        (0, 0)
    );
}
