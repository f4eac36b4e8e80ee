//! Recall, intend, settle, verify.

use imprint_identity::Step;

use super::*;
use crate::ledger::{DeviceAct, DeviceState, LedgerError, RevocationReason, TokenAct};

/// [`Ledger::enrollment_facts`] of an empty ledger.
pub async fn of_strangers_nothing_is_known<P: Place>(bench: &mut Bench<P>) {
    let facts = bench.facts(query(1, 1)).await;
    assert!(facts.token.is_none() && facts.shown.is_none() && facts.product.is_none());
    assert!(facts.device.is_none() && facts.same.is_none() && facts.live.is_empty());
    assert!(facts.key_owner.is_none() && facts.approved_until.is_none());
    assert!(!facts.allowed && !facts.named_product_exists);
    let serial = bench.serial();
    assert!(
        bench
            .open()
            .await
            .credential_facts(serial)
            .await
            .unwrap()
            .is_none()
    );
    assert!(
        bench
            .open()
            .await
            .device_get("thermo-001")
            .await
            .unwrap()
            .is_none()
    );
    assert!(
        bench
            .open()
            .await
            .token_get(&token_id(1))
            .await
            .unwrap()
            .is_none()
    );
}

/// [`Ledger::enrollment_facts`], every field.
pub async fn facts_tell_everything_that_bears_on_a_request<P: Place>(bench: &mut Bench<P>) {
    bench.mint(1).await;
    let serial = bench.enroll(1, 1).await;
    bench
        .open()
        .await
        .allow_add("thermo", vec![hardware(1)], ADMIN, NOW)
        .await
        .unwrap();
    let asked = FactsQuery {
        product: Some("thermo".into()),
        ..query(1, 1)
    };
    let facts = bench.facts(asked).await;
    let certificate = bench.certificate(serial).await;
    assert_eq!(facts.token, Some(bench.token(1).await));
    assert_eq!(facts.device, Some(bench.device(&name(1)).await));
    assert_eq!(facts.product, Some(Product::named("thermo")));
    assert_eq!(facts.same.as_ref(), Some(&certificate));
    assert_eq!(facts.live, [certificate]);
    assert_eq!(facts.key_owner, Some(device_id(1)));
    assert!(facts.allowed && facts.named_product_exists && facts.shown.is_none());

    // Another key, another token, other hardware: each is seen for itself.
    let facts = bench.facts(query(1, 2)).await;
    assert!(facts.same.is_none() && facts.key_owner.is_none() && facts.live.len() == 1);
    let generation = Generation::Token(hash(2));
    let facts = bench
        .facts(FactsQuery {
            generation,
            ..query(1, 1)
        })
        .await;
    assert!(facts.same.is_none() && facts.key_owner.is_some());
    let facts = bench
        .facts(FactsQuery {
            asserted: Some(hardware(2)),
            ..query(1, 1)
        })
        .await;
    assert!(facts.device.is_none() && facts.same.is_none() && facts.live.is_empty());
    assert!(!facts.allowed && facts.key_owner == Some(device_id(1)));
}

/// [`Facts::product`](crate::ledger::Facts::product), [`Facts::named_product_exists`].
pub async fn the_product_is_the_certificates_then_the_tokens_then_the_named_one<P: Place>(
    bench: &mut Bench<P>,
) {
    let serial = bench.member(1).await;
    let valve = NewToken {
        product: "valve".into(),
        ..new_token(2)
    };
    let products = ["gate", "valve"].map(Product::named).to_vec();
    bench
        .open()
        .await
        .product_apply(products, ADMIN, NOW)
        .await
        .unwrap();
    bench
        .open()
        .await
        .token_mint(vec![valve], ADMIN, NOW)
        .await
        .unwrap();
    let all = FactsQuery {
        product: Some("gate".into()),
        shown: Some(serial),
        ..query(2, 9)
    };
    let rows = [
        (all.clone(), Some("thermo"), true),
        (
            FactsQuery {
                shown: None,
                ..all.clone()
            },
            Some("valve"),
            true,
        ),
        (
            FactsQuery {
                shown: None,
                token: None,
                ..all.clone()
            },
            Some("gate"),
            true,
        ),
        (
            FactsQuery {
                product: None,
                ..all.clone()
            },
            Some("thermo"),
            false,
        ),
        (
            FactsQuery {
                product: Some("nope".into()),
                shown: None,
                ..all.clone()
            },
            Some("valve"),
            false,
        ),
        (
            FactsQuery {
                product: None,
                shown: None,
                token: None,
                ..all
            },
            None,
            false,
        ),
    ];
    for (asked, product, exists) in rows {
        let facts = bench.facts(asked.clone()).await;
        let found = facts.product.map(|product| product.name);
        assert_eq!(
            (found.as_deref(), facts.named_product_exists),
            (product, exists),
            "{asked:?}"
        );
    }
}

/// [`Facts::device`](crate::ledger::Facts::device).
pub async fn the_device_is_the_certificates_then_the_asserted_then_the_bound_one<P: Place>(
    bench: &mut Bench<P>,
) {
    let shown = bench.member(1).await;
    bench.member(2).await;
    bench.member(3).await;
    let bound = NewToken {
        bound: Some(hardware(3)),
        ..new_token(4)
    };
    bench
        .open()
        .await
        .token_mint(vec![bound], ADMIN, NOW)
        .await
        .unwrap();
    let all = FactsQuery {
        shown: Some(shown),
        asserted: Some(hardware(2)),
        ..query(4, 9)
    };
    let rows = [
        (all.clone(), Some(1)),
        (
            FactsQuery {
                shown: None,
                ..all.clone()
            },
            Some(2),
        ),
        (
            FactsQuery {
                shown: None,
                asserted: None,
                ..all.clone()
            },
            Some(3),
        ),
        (
            FactsQuery {
                shown: None,
                asserted: Some(hardware(9)),
                ..all.clone()
            },
            None,
        ),
        (
            FactsQuery {
                shown: None,
                asserted: None,
                token: None,
                ..all
            },
            None,
        ),
    ];
    for (asked, device) in rows {
        let facts = bench.facts(asked.clone()).await;
        let found = facts.device.map(|device| device.id.to_string());
        assert_eq!(found, device.map(name), "{asked:?}");
    }
    let facts = bench
        .facts(FactsQuery {
            shown: Some(shown),
            ..query(1, 1)
        })
        .await;
    assert_eq!(facts.shown.unwrap().certificate.serial, shown);
}

/// [`Ledger::enrollment_intend`], 5.
pub async fn an_intent_names_the_device_owns_the_key_and_leases_the_token<P: Place>(
    bench: &mut Bench<P>,
) {
    bench.mint(1).await;
    let grant = bench.grant(1, 1).await;
    let record = bench.intended(grant.clone()).await;
    assert_eq!(
        (record.serial, record.state),
        (grant.serial, CertificateState::Intended)
    );
    assert_eq!((record.request_key, record.subject_key), (key(1), key(1)));
    assert_eq!(
        (&record.to_be_signed, &record.der),
        (&grant.to_be_signed, &None)
    );
    assert_eq!(
        (record.generation, record.origin),
        (grant.generation, grant.origin)
    );
    assert_eq!(
        (record.not_before, record.not_after),
        (grant.not_before, grant.not_after)
    );
    assert_eq!(
        (record.intended_at, record.settled_at, record.verified_at),
        (NOW, None, None)
    );
    assert_eq!(
        (record.issuer.as_str(), &record.asked_subject),
        ("issuing", &grant.asked_subject)
    );
    assert_eq!(bench.certificate(record.serial).await, record);

    let device = bench.device(&name(1)).await;
    assert_eq!((device.id, device.hardware), (device_id(1), hardware(1)));
    assert_eq!(
        (device.state, device.step),
        (DeviceState::Pending, Step::Enroll)
    );
    assert_eq!(
        (device.created_at, device.released, device.reason),
        (NOW, false, None)
    );
    let token = bench.token(1).await;
    let lease = token.lease.unwrap();
    assert_eq!(token.state, TokenState::Leased);
    assert_eq!(
        (lease.key, lease.device, lease.since),
        (key(1), device_id(1), NOW)
    );
    assert_eq!(lease.address, "10.0.0.1");
    assert_eq!(bench.facts(query(1, 1)).await.key_owner, Some(device_id(1)));
    assert_eq!(bench.kinds().await.last().unwrap(), "enrollment-intended");
}

/// [`Ledger::enrollment_intend`], 1.
pub async fn the_same_question_gets_the_same_answer<P: Place>(bench: &mut Bench<P>) {
    bench.mint(1).await;
    let first = bench.grant(1, 1).await;
    let serial = bench.intended(first.clone()).await.serial;
    let rows = bench.journal().await.len();
    // Asked again with what was decided on before, and with what is on record now.
    let stale = Grant {
        serial: bench.serial(),
        ..first.clone()
    };
    let fresh = bench.grant(1, 1).await;
    assert_eq!(bench.intended(stale.clone()).await.serial, serial);
    assert_eq!(bench.intended(fresh.clone()).await.serial, serial);
    assert_eq!(
        bench.journal().await.len(),
        rows,
        "an answer from the record writes nothing"
    );
    let settled = bench.settle(serial).await;
    for again in [&first, &stale, &fresh] {
        assert!(matches!(bench.intend(again.clone()).await, Intention::Settled(s) if s == settled));
    }
    let active = bench.verify(serial).await.certificate;
    for again in [&first, &stale, &fresh] {
        assert!(matches!(bench.intend(again.clone()).await, Intention::Settled(s) if s == active));
    }
    assert_eq!(bench.file(&name(1)).await.certificates.len(), 1);
}

/// [`Ledger::enrollment_intend`], 2: whom it is leased to.
pub async fn a_token_serves_one_key_and_one_device<P: Place>(bench: &mut Bench<P>) {
    bench.mint(1).await;
    let serial = bench.enroll(1, 1).await;
    for spent in [false, true] {
        if spent {
            bench.verify(serial).await;
        }
        // Another key for the same device; another device with another key; with the same key.
        let other_key = bench.grant(1, 2).await;
        let generation = Generation::Token(hash(1));
        let other_device = Grant {
            generation,
            ..bench.grant(2, 2).await
        };
        let same_key = Grant {
            generation,
            ..bench.grant(2, 1).await
        };
        for grant in [other_key, other_device, same_key] {
            assert!(bench.is_changed(grant).await);
        }
        assert!(!bench.is_named(&name(2)).await);
        assert!(bench.facts(query(1, 2)).await.key_owner.is_none());
        assert_eq!(bench.token(1).await.lease.unwrap().key, key(1));
    }
}

/// [`Ledger::enrollment_intend`], 2: every other state of a token.
pub async fn a_token_that_is_not_open_or_not_for_this_is_changed_facts<P: Place>(
    bench: &mut Bench<P>,
) {
    bench
        .open()
        .await
        .product_apply(vec![Product::named("valve")], ADMIN, NOW)
        .await
        .unwrap();
    let tokens = vec![
        NewToken {
            dormant: true,
            ..new_token(1)
        },
        new_token(2),
        NewToken {
            bound: Some(hardware(9)),
            ..new_token(3)
        },
        NewToken {
            product: "valve".into(),
            ..new_token(4)
        },
    ];
    bench
        .open()
        .await
        .token_mint(tokens, ADMIN, NOW)
        .await
        .unwrap();
    bench
        .open()
        .await
        .token_act(&token_id(2), TokenAct::Revoke, ADMIN, NOW)
        .await
        .unwrap();
    for n in 1..=5 {
        let grant = bench.grant(n, n).await;
        assert!(bench.is_changed(grant).await, "token {n}");
        assert!(!bench.is_named(&name(n)).await, "token {n}");
    }
}

/// [`Ledger::enrollment_intend`], 3: the key.
pub async fn a_key_belongs_to_one_device<P: Place>(bench: &mut Bench<P>) {
    bench.member(1).await;
    bench.mint(2).await;
    let stolen = bench.grant(2, 1).await;
    assert!(bench.is_changed(stolen).await);
    assert!(!bench.is_named(&name(2)).await);
    assert_eq!(bench.token_state(2).await, TokenState::Minted);
    // A server-made key: who asks may ask for others, what is certified belongs to one.
    let asks = Grant {
        subject_key: key(7),
        ..bench.grant(2, 2).await
    };
    assert_eq!(bench.intended(asks).await.subject_key, key(7));
    bench.mint(3).await;
    let taken = Grant {
        subject_key: key(7),
        ..bench.grant(3, 3).await
    };
    assert!(bench.is_changed(taken).await);
    // For ever: also when the certificate is revoked.
    let reason = RevocationReason::KeyCompromise;
    let revoke = DeviceAct::Revoke {
        reason,
        note: "lost".into(),
    };
    bench
        .open()
        .await
        .device_act(&device_id(1), revoke, ADMIN, NOW)
        .await
        .unwrap();
    let stolen = bench.grant(2, 1).await;
    assert!(bench.is_changed(stolen).await);
}

/// [`Ledger::enrollment_intend`], 3: name and hardware.
pub async fn hardware_has_one_name_and_a_name_has_one_hardware<P: Place>(bench: &mut Bench<P>) {
    bench.member(1).await;
    bench.mint(2).await;
    let second_name = Grant {
        hardware: hardware(1),
        ..bench.grant(2, 2).await
    };
    assert!(bench.is_changed(second_name).await);
    let other_hardware = Grant {
        device: device_id(1),
        device_version: Some(bench.device(&name(1)).await.version),
        ..bench.grant(2, 2).await
    };
    assert!(bench.is_changed(other_hardware).await);
    assert_eq!(bench.token_state(2).await, TokenState::Minted);
    assert!(!bench.is_named(&name(2)).await);
}

/// [`Ledger::enrollment_intend`], 3: the version.
pub async fn a_decision_on_an_older_record_is_not_carried_out<P: Place>(bench: &mut Bench<P>) {
    bench.member(1).await;
    bench
        .open()
        .await
        .token_mint(vec![new_token(2)], ADMIN, NOW)
        .await
        .unwrap();
    let generation = Generation::Token(hash(2));
    let decided = Grant {
        generation,
        ..bench.grant(1, 2).await
    };
    let never = Grant {
        device_version: None,
        ..decided.clone()
    };
    let later = Grant {
        device_version: decided.device_version.map(|v| v + 1),
        ..decided.clone()
    };
    let act = DeviceAct::Release { new_key: true };
    bench
        .open()
        .await
        .device_act(&device_id(1), act, ADMIN, NOW)
        .await
        .unwrap();
    assert!(bench.is_changed(never).await);
    assert!(bench.is_changed(decided.clone()).await);
    let absent = Grant {
        device_version: Some(1),
        ..bench.grant(3, 3).await
    };
    let absent = Grant {
        generation,
        ..absent
    };
    assert!(
        bench.is_changed(absent).await,
        "a device that is not there has no version"
    );
    assert_eq!(bench.token_state(2).await, TokenState::Minted);
    // On today's record it is carried out; the release has made it the version that `later` guessed.
    bench.intended(later).await;
}

/// [`Ledger::enrollment_intend`], 3: where the device stands.
pub async fn a_device_that_was_put_aside_is_not_signed_for<P: Place>(bench: &mut Bench<P>) {
    let reason = || "drill".to_owned();
    let revoke = DeviceAct::Revoke {
        reason: RevocationReason::Unspecified,
        note: reason(),
    };
    let acts = [
        DeviceAct::Quarantine { reason: reason() },
        revoke,
        DeviceAct::Decommission { reason: reason() },
    ];
    bench.member(1).await;
    bench.mint(2).await;
    for act in acts {
        bench
            .open()
            .await
            .device_act(&device_id(1), act.clone(), ADMIN, NOW)
            .await
            .unwrap();
        let generation = Generation::Token(hash(2));
        let grant = Grant {
            generation,
            ..bench.grant(1, 2).await
        };
        assert!(bench.is_changed(grant).await, "{act:?}");
    }
    assert_eq!(bench.token_state(2).await, TokenState::Minted);
}

/// Design invariant 9, and that a failed operation leaves nothing.
pub async fn a_serial_number_is_never_used_twice_and_the_failure_leaves_nothing<P: Place>(
    bench: &mut Bench<P>,
) {
    let serial = bench.member(1).await;
    bench.mint(2).await;
    let rows = bench.journal().await.len();
    let again = Grant {
        serial,
        ..bench.grant(2, 2).await
    };
    assert!(bench.is_changed(again).await);
    assert!(!bench.is_named(&name(2)).await);
    assert_eq!(bench.token_state(2).await, TokenState::Minted);
    assert!(bench.facts(query(2, 2)).await.key_owner.is_none());
    assert_eq!(bench.journal().await.len(), rows);
    bench.enroll(2, 2).await;
}

/// Design invariant 6, under any interleaving.
pub async fn of_sixty_four_askers_with_two_keys_one_key_wins<P: Place>(bench: &mut Bench<P>) {
    bench.mint(1).await;
    let grants: Vec<_> = (0..64)
        .map(|k| grant(1, 1 + k % 2, bench.serial()))
        .collect();
    let ledger = bench.open().await;
    let answers = together(
        grants
            .into_iter()
            .map(|one| ledger.enrollment_intend(one, NOW)),
    )
    .await;
    let mut winners = std::collections::BTreeSet::new();
    let mut changed = 0;
    for answer in answers {
        match answer.unwrap() {
            Intention::Intended(record) => {
                winners.insert((record.serial, record.request_key));
            }
            Intention::Settled(record) => panic!("nobody has settled {}", record.serial),
            Intention::Changed => changed += 1,
        }
    }
    assert_eq!((winners.len(), changed), (1, 32), "{winners:?}");
    let (serial, winner) = winners.into_iter().next().unwrap();
    assert_eq!(bench.token(1).await.lease.unwrap().key, winner);
    let file = bench.file(&name(1)).await;
    assert_eq!(
        file.certificates
            .iter()
            .map(|one| one.serial)
            .collect::<Vec<_>>(),
        [serial]
    );
}

/// Design invariant 4, under any interleaving; also of settlements.
pub async fn sixty_four_askers_with_one_key_get_one_certificate<P: Place>(bench: &mut Bench<P>) {
    bench.mint(1).await;
    let grants: Vec<_> = (0..64).map(|_| grant(1, 1, bench.serial())).collect();
    let ledger = bench.open().await;
    let answers = together(
        grants
            .into_iter()
            .map(|one| ledger.enrollment_intend(one, NOW)),
    )
    .await;
    let serials: std::collections::BTreeSet<_> = answers
        .into_iter()
        .map(|answer| match answer.unwrap() {
            Intention::Intended(record) => record.serial,
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(serials.len(), 1);
    let serial = serials.into_iter().next().unwrap();
    let ders = (0..64_u8).map(|n| vec![0x30, 1, n]);
    let ledger = bench.open().await;
    let settled = together(ders.map(|der| ledger.enrollment_settle(serial, der, NOW))).await;
    let kept: std::collections::BTreeSet<_> = settled
        .into_iter()
        .map(|answer| match answer.unwrap() {
            Settlement::Settled(record) => record.der.unwrap(),
            Settlement::Void => panic!("{serial} is void"),
        })
        .collect();
    assert_eq!(
        kept.len(),
        1,
        "all are answered with the certificate that stays"
    );
    assert_eq!(bench.certificate(serial).await.der, kept.into_iter().next());
}

/// One asker's failure or luck is not another's.
pub async fn sixty_four_newcomers_get_a_certificate_each<P: Place>(bench: &mut Bench<P>) {
    let tokens = (1..=64).map(new_token).collect();
    bench
        .open()
        .await
        .token_mint(tokens, ADMIN, NOW)
        .await
        .unwrap();
    // Every eighth shows a serial number that another one has: it alone must fail.
    let first = bench.serial();
    let grants: Vec<_> = (1..=64)
        .map(|n| grant(n, n, if n % 8 == 1 { first } else { bench.serial() }))
        .collect();
    let ledger = bench.open().await;
    let answers = together(
        grants
            .into_iter()
            .map(|one| ledger.enrollment_intend(one, NOW)),
    )
    .await;
    let changed = answers
        .iter()
        .filter(|one| matches!(one, Ok(Intention::Changed)))
        .count();
    let intended = answers
        .iter()
        .filter(|one| matches!(one, Ok(Intention::Intended(_))))
        .count();
    assert_eq!((changed, intended), (7, 57));
    for n in 1..=64 {
        let leased = bench.token_state(n).await == TokenState::Leased;
        assert_eq!(leased, bench.is_named(&name(n)).await, "device {n}");
    }
}

/// [`Ledger::enrollment_settle`].
pub async fn the_first_settlement_stays<P: Place>(bench: &mut Bench<P>) {
    bench.mint(1).await;
    let grant = bench.grant(1, 1).await;
    let serial = bench.intended(grant).await.serial;
    let settled = bench.settle(serial).await;
    assert_eq!(settled.state, CertificateState::Issued);
    assert_eq!(settled.settled_at, Some(NOW.plus(1)));
    assert_eq!(settled.der, Some(der(&settled)));
    let device = bench.device(&name(1)).await;
    assert_eq!(
        (device.state, device.step),
        (DeviceState::Active, Step::Verify)
    );
    assert_eq!(bench.kinds().await.last().unwrap(), "enrollment-settled");
    let rows = bench.journal().await.len();
    match bench
        .settlement(serial, b"a second signature".to_vec())
        .await
    {
        Settlement::Settled(again) => assert_eq!(again, settled),
        Settlement::Void => panic!("it was settled"),
    }
    assert_eq!(bench.certificate(serial).await, settled);
    assert_eq!(bench.journal().await.len(), rows);
}

/// [`Settlement::Void`].
pub async fn what_was_voided_or_revoked_does_not_settle<P: Place>(bench: &mut Bench<P>) {
    let reason = RevocationReason::Unspecified;
    let revoke = || DeviceAct::Revoke {
        reason,
        note: "drill".into(),
    };
    for (n, settled_first) in [(1, false), (2, true)] {
        bench.mint(n).await;
        let grant = bench.grant(n, n).await;
        let serial = bench.intended(grant).await.serial;
        if settled_first {
            bench.settle(serial).await;
        }
        bench
            .open()
            .await
            .device_act(&device_id(n), revoke(), ADMIN, NOW)
            .await
            .unwrap();
        let before = bench.certificate(serial).await;
        assert!(matches!(
            bench.settlement(serial, vec![1]).await,
            Settlement::Void
        ));
        assert_eq!(bench.certificate(serial).await, before);
        assert_eq!(bench.device(&name(n)).await.state, DeviceState::Revoked);
    }
}

/// A serial number that nobody wrote down was signed against the rules.
pub async fn a_settlement_of_nothing_is_an_error<P: Place>(bench: &mut Bench<P>) {
    let serial = bench.serial();
    let settled = bench
        .open()
        .await
        .enrollment_settle(serial, vec![1], NOW)
        .await;
    assert!(
        matches!(settled, Err(LedgerError::Broken { .. })),
        "{settled:?}"
    );
    assert!(
        bench
            .open()
            .await
            .credential_facts(serial)
            .await
            .unwrap()
            .is_none()
    );
}

/// [`DeviceState::Quarantined`] ends by release alone, and what was on its way goes nowhere.
pub async fn settling_leaves_a_quarantined_device_where_it_is<P: Place>(bench: &mut Bench<P>) {
    bench.mint(1).await;
    let grant = bench.grant(1, 1).await;
    let serial = bench.intended(grant).await.serial;
    let act = DeviceAct::Quarantine {
        reason: "drill".into(),
    };
    bench
        .open()
        .await
        .device_act(&device_id(1), act, ADMIN, NOW)
        .await
        .unwrap();
    assert!(matches!(
        bench.settlement(serial, vec![1]).await,
        Settlement::Void
    ));
    assert_eq!(bench.device(&name(1)).await.state, DeviceState::Quarantined);
}

/// [`Grant::replaces`](crate::ledger::Grant::replaces): the same question, written down anew.
pub async fn an_intent_past_its_end_is_replaced_for_the_same_key<P: Place>(bench: &mut Bench<P>) {
    bench.mint(1).await;
    let grant = bench.grant(1, 1).await;
    let old = bench.intended(grant).await.serial;
    let anew = Grant {
        replaces: Some(old),
        ..bench.grant(1, 1).await
    };
    let new = bench.intended(anew.clone()).await.serial;
    assert_ne!(new, old);
    assert_eq!(bench.state(old).await, CertificateState::Void);
    // Decided twice, done once.
    assert_eq!(bench.intended(anew).await.serial, new);
    assert!(matches!(
        bench.settlement(old, vec![1]).await,
        Settlement::Void
    ));
    bench.settle(new).await;
}

/// [`CertificateRecord::to_be_signed`], [`CertificateRecord::der`], wherever one is in the other.
pub async fn what_is_to_be_signed_comes_back_to_the_octet<P: Place>(bench: &mut Bench<P>) {
    let large = vec![0x5a; 3_000];
    let tbs = [0x30, 3, 1, 2, 3];
    let rows: [(&[u8], Vec<u8>); 6] = [
        (&tbs, [&[0x30, 9][..], &tbs, &[0; 4]].concat()),
        (&tbs, [&[0x30, 0x81, 200][..], &tbs, &[0; 195]].concat()),
        (&tbs, [&[0x30, 0x82, 1, 0][..], &tbs].concat()),
        (&tbs, b"nothing of the kind".to_vec()),
        (&tbs, tbs.to_vec()),
        (
            &large,
            [&[0x30, 0x82, 0x0b, 0xc0][..], &large, &[7; 8]].concat(),
        ),
    ];
    for (n, (tbs, der)) in (1..).zip(rows) {
        bench.mint(n).await;
        let grant = Grant {
            to_be_signed: tbs.to_vec(),
            ..bench.grant(n, n).await
        };
        let serial = bench.intended(grant).await.serial;
        assert_eq!(bench.certificate(serial).await.to_be_signed, tbs);
        bench.settlement(serial, der.clone()).await;
        let record = bench.certificate(serial).await;
        assert_eq!(
            (record.to_be_signed.as_slice(), record.der),
            (tbs, Some(der)),
            "row {n}"
        );
        let active = bench.verify(serial).await.certificate;
        assert_eq!(
            (active.to_be_signed.as_slice(), active.serial),
            (tbs, serial),
            "row {n}"
        );
    }
}

/// [`Ledger::credential_verify`].
pub async fn the_first_use_spends_the_token_and_provisions_the_device<P: Place>(
    bench: &mut Bench<P>,
) {
    bench.mint(1).await;
    let serial = bench.enroll(1, 1).await;
    assert_eq!(
        bench.token_state(1).await,
        TokenState::Leased,
        "not before the device is back"
    );
    let shown = bench.verify(serial).await;
    assert_eq!(shown.certificate.state, CertificateState::Active);
    assert_eq!(shown.certificate.verified_at, Some(NOW.plus(2)));
    assert_eq!(
        (shown.device.state, shown.device.step),
        (DeviceState::Active, Step::Provisioned)
    );
    assert_eq!(shown.product, Product::named("thermo"));
    let token = bench.token(1).await;
    assert_eq!(
        (token.state, token.spent_at),
        (TokenState::Spent, Some(NOW.plus(2)))
    );
    assert_eq!(
        token.lease.unwrap().key,
        key(1),
        "it stays known whom it served"
    );
    let last = bench.journal().await.pop().unwrap();
    assert_eq!(
        (last.kind.as_str(), last.subject),
        ("certificate-verified", name(1))
    );
    assert!(last.detail.contains("est from 10.0.0.1"), "{}", last.detail);
    // The second use is no news.
    let again = bench.verify(serial).await;
    assert_eq!(
        (again.certificate, again.device),
        (shown.certificate, shown.device)
    );
    assert_eq!(bench.told("certificate-verified").await, 1);
}

/// [`Ledger::credential_verify`] does nothing otherwise.
pub async fn what_is_not_issued_is_not_verified<P: Place>(bench: &mut Bench<P>) {
    let nobody = bench.serial();
    let verified = bench
        .open()
        .await
        .credential_verify(nobody, "", NOW)
        .await
        .unwrap();
    assert!(verified.is_none());
    bench.mint(1).await;
    let grant = bench.grant(1, 1).await;
    let serial = bench.intended(grant).await.serial;
    assert_eq!(
        bench.verify(serial).await.certificate.state,
        CertificateState::Intended
    );
    assert_eq!(bench.device(&name(1)).await.state, DeviceState::Pending);
    let reason = RevocationReason::Unspecified;
    let act = DeviceAct::Revoke {
        reason,
        note: String::new(),
    };
    bench
        .open()
        .await
        .device_act(&device_id(1), act, ADMIN, NOW)
        .await
        .unwrap();
    assert_eq!(
        bench.verify(serial).await.certificate.state,
        CertificateState::Void
    );
    assert_eq!(bench.told("certificate-verified").await, 0);
    assert_eq!(bench.token_state(1).await, TokenState::Leased);
}

/// [`Ledger::credential_verify`] on a device that may not speak.
pub async fn a_device_put_aside_before_its_first_use_is_not_provisioned<P: Place>(
    bench: &mut Bench<P>,
) {
    bench.mint(1).await;
    let serial = bench.enroll(1, 1).await;
    let act = DeviceAct::Quarantine {
        reason: "drill".into(),
    };
    bench
        .open()
        .await
        .device_act(&device_id(1), act, ADMIN, NOW)
        .await
        .unwrap();
    let shown = bench.verify(serial).await;
    assert_eq!(shown.certificate.state, CertificateState::Issued);
    assert_eq!(
        (shown.device.state, shown.device.step),
        (DeviceState::Quarantined, Step::Verify)
    );
    assert_eq!(bench.token_state(1).await, TokenState::Leased);
}

/// [`Ledger::sealed_key_wipe`], and the wipe on first use.
pub async fn sealed_keys_are_kept_until_they_are_used_or_old<P: Place>(bench: &mut Bench<P>) {
    let mut serials = Vec::new();
    for n in 1..=3 {
        bench.mint(n).await;
        let subject_key = key(100 + n);
        let sealed_key = Some(vec![n; 60]);
        let grant = Grant {
            subject_key,
            sealed_key,
            ..bench.grant(n, n).await
        };
        let at = NOW.plus(i64::from(n) * 100);
        let intention = bench
            .open()
            .await
            .enrollment_intend(grant, at)
            .await
            .unwrap();
        let Intention::Intended(record) = intention else {
            panic!("{intention:?}")
        };
        assert_eq!(record.sealed_key, Some(vec![n; 60]));
        bench.settle(record.serial).await;
        serials.push(record.serial);
    }
    bench.verify(serials[2]).await;
    assert_eq!(bench.certificate(serials[2]).await.sealed_key, None, "used");
    let wipe = |seconds| NOW.plus(seconds);
    assert_eq!(
        bench
            .open()
            .await
            .sealed_key_wipe(wipe(100), NOW)
            .await
            .unwrap(),
        0
    );
    assert_eq!(bench.told("sealed-keys-wiped").await, 0);
    assert_eq!(
        bench
            .open()
            .await
            .sealed_key_wipe(wipe(101), NOW)
            .await
            .unwrap(),
        1
    );
    assert_eq!(bench.certificate(serials[0]).await.sealed_key, None, "old");
    assert_eq!(
        bench.certificate(serials[1]).await.sealed_key,
        Some(vec![2; 60]),
        "young"
    );
    assert_eq!(
        bench
            .open()
            .await
            .sealed_key_wipe(wipe(9_999), NOW)
            .await
            .unwrap(),
        1
    );
    assert_eq!(
        bench
            .open()
            .await
            .sealed_key_wipe(wipe(9_999), NOW)
            .await
            .unwrap(),
        0
    );
    assert_eq!(bench.told("sealed-keys-wiped").await, 2);
}

/// [`Generation::Operator`].
pub async fn an_operators_certificate_is_one_a_key<P: Place>(bench: &mut Bench<P>) {
    let by_hand = |grant: Grant| Grant {
        generation: Generation::Operator,
        origin: CertificateOrigin::ByHand,
        origin_of_request: RequestOrigin {
            at: Ticks::default(),
            door: "admin",
            address: ADMIN.into(),
        },
        ..grant
    };
    let first = by_hand(bench.grant(1, 1).await);
    let record = bench.intended(first).await;
    assert_eq!(record.origin, CertificateOrigin::ByHand);
    let row = bench.journal().await.pop().unwrap();
    assert_eq!(
        (row.kind.as_str(), row.actor.as_str()),
        ("enrollment-intended", ADMIN)
    );
    bench.settle(record.serial).await;
    let again = by_hand(bench.grant(1, 1).await);
    assert!(
        matches!(bench.intend(again).await, Intention::Settled(r) if r.serial == record.serial)
    );
    let other = by_hand(bench.grant(1, 2).await);
    assert_ne!(bench.intended(other).await.serial, record.serial);
}
