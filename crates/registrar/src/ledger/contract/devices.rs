//! Devices and what an operator does to them.

use imprint_identity::Step;

use super::*;
use crate::ledger::{
    Acted, Adopted, Adoption, DeviceAct, DeviceFilter, DeviceState, RefusalSample, Report,
    RevocationReason,
};

async fn act<P: Place>(bench: &mut Bench<P>, n: u8, act: DeviceAct) -> Acted<DeviceRecord> {
    bench
        .open()
        .await
        .device_act(&device_id(n), act, ADMIN, NOW.plus(9))
        .await
        .unwrap()
}

fn quarantine() -> DeviceAct {
    DeviceAct::Quarantine {
        reason: "smoke".into(),
    }
}

fn decommission() -> DeviceAct {
    DeviceAct::Decommission {
        reason: "scrapped".into(),
    }
}

fn revoke() -> DeviceAct {
    DeviceAct::Revoke {
        reason: RevocationReason::KeyCompromise,
        note: "lost".into(),
    }
}

/// [`Ledger::device_list`].
pub async fn devices_are_listed_by_name_in_pages<P: Place>(bench: &mut Bench<P>) {
    let valve = Product::named("valve");
    bench
        .open()
        .await
        .product_apply(vec![valve], ADMIN, NOW)
        .await
        .unwrap();
    for n in [3, 1, 2] {
        bench.member(n).await;
    }
    let token = NewToken {
        product: "valve".into(),
        ..new_token(4)
    };
    bench
        .open()
        .await
        .token_mint(vec![token], ADMIN, NOW)
        .await
        .unwrap();
    let grant = Grant {
        product: "valve".into(),
        ..bench.grant(4, 4).await
    };
    bench.intended(grant).await;
    act(bench, 2, quarantine()).await;
    let all = DeviceFilter::default();
    let rows = [
        (all.clone(), vec![1, 2, 3, 4]),
        (
            DeviceFilter {
                limit: 2,
                ..all.clone()
            },
            vec![1, 2],
        ),
        (
            DeviceFilter {
                limit: 2,
                after: Some(name(2)),
                ..all.clone()
            },
            vec![3, 4],
        ),
        (
            DeviceFilter {
                after: Some(name(4)),
                ..all.clone()
            },
            vec![],
        ),
        (
            DeviceFilter {
                product: Some("valve".into()),
                ..all.clone()
            },
            vec![4],
        ),
        (
            DeviceFilter {
                state: Some(DeviceState::Quarantined),
                ..all.clone()
            },
            vec![2],
        ),
        (
            DeviceFilter {
                state: Some(DeviceState::Pending),
                ..all.clone()
            },
            vec![4],
        ),
        (
            DeviceFilter {
                product: Some("nope".into()),
                ..all
            },
            vec![],
        ),
    ];
    for (filter, want) in rows {
        let found = bench.open().await.device_list(&filter).await.unwrap();
        let found: Vec<_> = found.into_iter().map(|device| device.id).collect();
        let want: Vec<_> = want.into_iter().map(device_id).collect();
        assert_eq!(found, want, "{filter:?}");
    }
}

/// [`Ledger::device_get`].
pub async fn a_device_is_found_by_its_name_and_by_any_spelling_of_its_hardware<P: Place>(
    bench: &mut Bench<P>,
) {
    bench.mint(1).await;
    let mac = HardwareId::parse("esp-mac:a0b1c2d3e4f5").unwrap();
    let grant = Grant {
        hardware: mac.clone(),
        ..bench.grant(1, 1).await
    };
    bench.intended(grant).await;
    for spelling in [
        "thermo-001",
        "esp-mac:a0b1c2d3e4f5",
        "esp-mac:A0:B1:C2:D3:E4:F5",
    ] {
        let found = bench.open().await.device_get(spelling).await.unwrap();
        assert_eq!(
            found.map(|file| file.device.hardware),
            Some(mac.clone()),
            "{spelling}"
        );
    }
    for other in [
        "",
        "thermo-00",
        "thermo-0011",
        "esp-mac:a0b1c2d3e4f6",
        "a0b1c2d3e4f5",
    ] {
        let found = bench.open().await.device_get(other).await.unwrap();
        assert!(found.is_none(), "{other}");
    }
}

/// [`DeviceFile`](crate::ledger::DeviceFile), every field.
pub async fn a_devices_file_has_everything<P: Place>(bench: &mut Bench<P>) {
    let mut serials = vec![bench.member(1).await];
    for _ in 0..33 {
        let shown = *serials.last().unwrap();
        let grant = bench.renewal(1, 1, shown).await;
        let serial = bench.intended(grant).await.serial;
        bench.settle(serial).await;
        bench.verify(serial).await;
        serials.push(serial);
    }
    let said = |subject: String, code: &str| Report {
        subject,
        at: NOW,
        step: Step::Verify,
        code: code.into(),
        attempts: 3,
        address: "10.0.0.1".into(),
    };
    let by_name = said(name(1), "tls-failed");
    let by_hardware = said(hardware(1).to_string(), "no-route");
    for report in [&by_hardware, &by_name, &said(name(2), "elsewhere")] {
        bench
            .open()
            .await
            .report_add(report.clone(), NOW)
            .await
            .unwrap();
    }
    let refused = |subject: String, code: &str| RefusalSample {
        subject,
        at: NOW,
        code: code.into(),
        step: Step::Enroll,
        detail: "detail".into(),
        address: "10.0.0.1".into(),
        credential: token_id(1),
        count: 2,
    };
    let samples = [
        refused(hardware(1).to_string(), "token-unknown"),
        refused(name(1), "token-leased"),
        refused(name(2), "elsewhere"),
    ];
    bench
        .open()
        .await
        .refusal_add(samples.to_vec(), NOW)
        .await
        .unwrap();

    let file = bench.file(&name(1)).await;
    let found: Vec<_> = file.certificates.iter().map(|one| one.serial).collect();
    let want: Vec<_> = serials.iter().rev().take(32).copied().collect();
    assert_eq!(found, want, "newest first, at most 32");
    assert_eq!(file.reports, [by_name, by_hardware]);
    assert_eq!(file.refusals, [samples[1].clone(), samples[0].clone()]);
    assert!(file.waiting.is_empty());
    let token = bench.token(1).await;
    assert!(
        file.token.is_none_or(|serving| serving == token),
        "not another device's token"
    );
}

/// [`Acted::Absent`].
pub async fn an_act_on_no_device_is_absent<P: Place>(bench: &mut Bench<P>) {
    for order in [
        quarantine(),
        DeviceAct::Release { new_key: true },
        decommission(),
        revoke(),
    ] {
        assert_eq!(act(bench, 1, order).await, Acted::Absent);
    }
    let approve = DeviceAct::Approve {
        key: None,
        until: NOW,
    };
    assert_eq!(act(bench, 1, approve).await, Acted::Absent);
}

/// [`DeviceAct::Quarantine`], [`DeviceAct::Release`].
pub async fn quarantine_holds_until_release<P: Place>(bench: &mut Bench<P>) {
    let serial = bench.member(1).await;
    let before = bench.device(&name(1)).await;
    let Acted::Done(device) = act(bench, 1, quarantine()).await else {
        panic!("not done")
    };
    assert_eq!(device.state, DeviceState::Quarantined);
    assert_eq!(device.reason.as_deref(), Some("smoke"));
    assert_eq!((device.updated_at, device.released), (NOW.plus(9), false));
    assert!(device.version > before.version);
    assert_eq!(bench.state(serial).await, CertificateState::Active);
    let Acted::Done(device) = act(bench, 1, DeviceAct::Release { new_key: true }).await else {
        panic!("not done")
    };
    assert_eq!((device.state, device.reason), (DeviceState::Active, None));
    assert_eq!((device.released, device.step), (true, Step::Provisioned));
}

/// [`Ledger::device_act`], the whole table.
pub async fn every_act_on_every_state_has_its_outcome<P: Place>(bench: &mut Bench<P>) {
    type State = DeviceState;
    let states = [
        State::Pending,
        State::Active,
        State::Held,
        State::Quarantined,
        State::Revoked,
        State::Decommissioned,
    ];
    // `None`: not now.
    let rows: [(DeviceAct, [Option<State>; 6]); 5] = [
        (
            quarantine(),
            [Some(State::Quarantined); 6].map(|state| state),
        ),
        (
            DeviceAct::Release { new_key: true },
            [
                Some(State::Pending),
                Some(State::Active),
                Some(State::Held),
                Some(State::Active),
                Some(State::Pending),
                Some(State::Pending),
            ],
        ),
        (
            DeviceAct::Release { new_key: false },
            [
                Some(State::Pending),
                Some(State::Active),
                Some(State::Held),
                Some(State::Active),
                None,
                None,
            ],
        ),
        (decommission(), [Some(State::Decommissioned); 6]),
        (revoke(), [Some(State::Revoked); 6]),
    ];
    let mut n = 0;
    for (order, wants) in rows {
        for (state, want) in states.into_iter().zip(wants) {
            let final_state = matches!(state, State::Revoked | State::Decommissioned);
            let want = match &order {
                DeviceAct::Quarantine { .. } if final_state => None,
                DeviceAct::Revoke { .. } if state == State::Decommissioned => None,
                _ => want,
            };
            n += 1;
            bench.mint(n).await;
            match state {
                State::Pending => {
                    let grant = bench.grant(n, n).await;
                    bench.intended(grant).await;
                    bench
                        .open()
                        .await
                        .token_act(
                            &token_id(n),
                            crate::ledger::TokenAct::Rebind { hardware: None },
                            ADMIN,
                            NOW,
                        )
                        .await
                        .unwrap();
                }
                State::Held => {
                    bench
                        .open()
                        .await
                        .enrollment_wait(wait(n, n), NOW)
                        .await
                        .unwrap();
                }
                _ => {
                    let serial = bench.enroll(n, n).await;
                    bench.verify(serial).await;
                }
            }
            match state {
                State::Quarantined => drop(act(bench, n, quarantine()).await),
                State::Revoked => drop(act(bench, n, revoke()).await),
                State::Decommissioned => drop(act(bench, n, decommission()).await),
                _ => {}
            }
            let before = bench.device(&name(n)).await;
            assert_eq!(before.state, state);
            match (act(bench, n, order.clone()).await, want) {
                (Acted::Done(after), Some(want)) => {
                    assert_eq!(after.state, want, "{order:?} on {state}");
                    assert_eq!(after, bench.device(&name(n)).await, "{order:?} on {state}");
                    // The same order again is done already.
                    let again = act(bench, n, order.clone()).await;
                    assert_eq!(again, Acted::Done(after), "{order:?} again");
                }
                (Acted::NotNow { state: said }, None) => {
                    assert_eq!(said, state.as_str(), "{order:?} on {state}");
                    assert_eq!(before, bench.device(&name(n)).await, "{order:?} on {state}");
                }
                (acted, want) => panic!("{order:?} on {state}: {acted:?}, not {want:?}"),
            }
        }
    }
}

/// [`DeviceAct::Release`]: an enrollment with a key that never verified is revoked.
pub async fn release_ends_what_was_never_proven<P: Place>(bench: &mut Bench<P>) {
    bench.mint(1).await;
    let signed = bench.enroll(1, 1).await;
    bench.mint(2).await;
    let grant = bench.grant(2, 2).await;
    let unsigned = bench.intended(grant).await.serial;
    for n in [1, 2] {
        let Acted::Done(device) = act(bench, n, DeviceAct::Release { new_key: true }).await else {
            panic!("{n}")
        };
        assert_eq!(
            (device.state, device.released),
            (DeviceState::Pending, true)
        );
    }
    let reason = RevocationReason::PrivilegeWithdrawn;
    assert_eq!(
        bench.certificate(signed).await.revoked,
        Some((NOW.plus(9), reason))
    );
    assert_eq!(bench.state(unsigned).await, CertificateState::Void);
}

/// [`DeviceAct::Release`]: what the device has shown to hold stays until its successor works.
pub async fn release_keeps_what_was_proven<P: Place>(bench: &mut Bench<P>) {
    let old = bench.member(1).await;
    let same_key = bench.renewal(1, 1, old).await;
    let same_key = bench.intended(same_key).await.serial;
    bench.settle(same_key).await;
    let new_key = Grant {
        generation: Generation::Operator,
        origin: CertificateOrigin::ByHand,
        ..bench.grant(1, 2).await
    };
    let new_key = bench.intended(new_key).await.serial;
    bench.settle(new_key).await;
    let Acted::Done(device) = act(bench, 1, DeviceAct::Release { new_key: true }).await else {
        panic!("not done")
    };
    assert_eq!(device.state, DeviceState::Active);
    assert_eq!(bench.state(old).await, CertificateState::Active);
    assert_eq!(
        bench.state(same_key).await,
        CertificateState::Issued,
        "its key has verified"
    );
    assert_eq!(bench.state(new_key).await, CertificateState::Revoked);
}

/// [`DeviceAct::Release`] without a new key: the quarantine ends and nothing else changes.
pub async fn a_release_that_keeps_the_key_allows_no_other<P: Place>(bench: &mut Bench<P>) {
    let keep = DeviceAct::Release { new_key: false };
    let proven = bench.member(1).await;
    bench.mint(2).await;
    let unproven = bench.enroll(2, 2).await;
    for (n, serial) in [(1, proven), (2, unproven)] {
        let before = (bench.device(&name(n)).await, bench.state(serial).await);
        act(bench, n, quarantine()).await;
        let Acted::Done(device) = act(bench, n, keep.clone()).await else {
            panic!("{n}")
        };
        assert_eq!((device.state, device.reason), (DeviceState::Active, None));
        assert_eq!((device.released, device.step), (false, before.0.step));
        assert_eq!(bench.state(serial).await, before.1);
    }
    // What was allowed before is not taken back by it.
    act(bench, 1, DeviceAct::Release { new_key: true }).await;
    act(bench, 1, keep).await;
    assert!(bench.device(&name(1)).await.released);
    assert_eq!(bench.told("device-released").await, 3);
}

/// [`DeviceRecord::released`](crate::ledger::DeviceRecord::released).
pub async fn the_next_enrollment_uses_the_release_up<P: Place>(bench: &mut Bench<P>) {
    let old = bench.member(1).await;
    act(bench, 1, DeviceAct::Release { new_key: true }).await;
    assert!(bench.facts(query(1, 2)).await.device.unwrap().released);
    bench.mint(2).await;
    let generation = Generation::Token(hash(2));
    let grant = Grant {
        generation,
        ..bench.grant(1, 2).await
    };
    let new = bench.intended(grant).await.serial;
    assert!(!bench.device(&name(1)).await.released);
    bench.settle(new).await;
    assert_eq!(
        bench.state(old).await,
        CertificateState::Active,
        "until the new one works"
    );
    bench.verify(new).await;
    assert_eq!(bench.state(old).await, CertificateState::Superseded);
}

/// [`DeviceAct::Decommission`].
pub async fn decommissioning_ends_every_certificate<P: Place>(bench: &mut Bench<P>) {
    let old = bench.member(1).await;
    let new = bench.renewal(1, 2, old).await;
    let new = bench.intended(new).await.serial;
    bench.settle(new).await;
    let Acted::Done(device) = act(bench, 1, decommission()).await else {
        panic!("not done")
    };
    assert_eq!(device.reason.as_deref(), Some("scrapped"));
    for serial in [old, new] {
        let record = bench.certificate(serial).await;
        let why = RevocationReason::CessationOfOperation;
        assert_eq!(record.state, CertificateState::Revoked);
        assert_eq!(record.revoked, Some((NOW.plus(9), why)));
    }
    assert_eq!(bench.told("device-decommissioned").await, 1);
}

/// [`DeviceAct::Revoke`].
pub async fn revoking_ends_every_certificate_and_every_intent<P: Place>(bench: &mut Bench<P>) {
    let old = bench.member(1).await;
    let unsigned = bench.renewal(1, 2, old).await;
    let unsigned = bench.intended(unsigned).await.serial;
    let Acted::Done(device) = act(bench, 1, revoke()).await else {
        panic!("not done")
    };
    assert_eq!(device.reason.as_deref(), Some("lost"));
    let revoked = bench.certificate(old).await.revoked;
    assert_eq!(
        revoked,
        Some((NOW.plus(9), RevocationReason::KeyCompromise))
    );
    assert_eq!(bench.state(unsigned).await, CertificateState::Void);
    let live = bench.facts(query(1, 1)).await.live;
    assert!(live.is_empty(), "{live:?}");
}

fn adoption(n: u8, serial: Serial) -> Adoption {
    Adoption {
        device: device_id(n),
        hardware: hardware(n),
        product: "thermo".into(),
        serial,
        issuer: "issuing".into(),
        key: key(n),
        der: vec![0x30, 3, 0x30, 1, n],
        to_be_signed: vec![0x30, 1, n],
        not_before: NOW.plus(-9),
        not_after: NOW.plus(99_999),
    }
}

async fn adopt<P: Place>(bench: &mut Bench<P>, adoption: Adoption) -> Adopted {
    bench
        .open()
        .await
        .device_adopt(adoption, ADMIN, NOW)
        .await
        .unwrap()
}

/// [`Ledger::device_adopt`].
pub async fn an_adopted_certificate_is_on_record_and_active<P: Place>(bench: &mut Bench<P>) {
    let serial = bench.serial();
    let taken = adoption(1, serial);
    let Adopted::Done(device) = adopt(bench, taken.clone()).await else {
        panic!("not done")
    };
    assert_eq!(
        (device.state, device.step),
        (DeviceState::Active, Step::Provisioned)
    );
    let record = bench.certificate(serial).await;
    assert_eq!(
        (record.state, record.origin),
        (CertificateState::Active, CertificateOrigin::Adopted)
    );
    assert_eq!(
        (record.der, record.to_be_signed),
        (Some(taken.der), taken.to_be_signed)
    );
    assert_eq!(
        (record.not_before, record.not_after),
        (taken.not_before, taken.not_after)
    );
    assert_eq!(bench.facts(query(1, 1)).await.key_owner, Some(device_id(1)));
    assert_eq!(bench.kinds().await.last().unwrap(), "device-adopted");
    // From here on it renews like any other.
    let renewal = bench.renewal(1, 2, serial).await;
    bench.intended(renewal).await;
}

/// [`Adopted::Done`].
pub async fn an_adoption_again_is_the_same_adoption<P: Place>(bench: &mut Bench<P>) {
    let serial = bench.serial();
    adopt(bench, adoption(1, serial)).await;
    assert!(matches!(
        adopt(bench, adoption(1, serial)).await,
        Adopted::Done(_)
    ));
    assert_eq!(bench.told("device-adopted").await, 1);
    assert_eq!(bench.file(&name(1)).await.certificates.len(), 1);
}

/// [`Adopted::Conflict`].
pub async fn what_is_on_record_otherwise_is_not_adopted<P: Place>(bench: &mut Bench<P>) {
    let on_record = bench.member(1).await;
    bench.mint(2).await;
    bench
        .open()
        .await
        .enrollment_wait(wait(2, 2), NOW)
        .await
        .unwrap();
    bench.member(3).await;
    act(bench, 3, revoke()).await;
    let new = bench.serial();
    let fresh = adoption(9, new);
    let rows = [
        (
            "serial number",
            Adoption {
                serial: on_record,
                ..fresh.clone()
            },
        ),
        (
            "serial number",
            Adoption {
                der: vec![1],
                ..adoption(1, on_record)
            },
        ),
        (
            "key",
            Adoption {
                key: key(1),
                ..fresh.clone()
            },
        ),
        (
            "name",
            Adoption {
                device: device_id(1),
                ..fresh.clone()
            },
        ),
        (
            "hardware",
            Adoption {
                hardware: hardware(1),
                ..fresh.clone()
            },
        ),
        (
            "device",
            Adoption {
                key: key(9),
                ..adoption(1, new)
            },
        ),
        (
            "device's state",
            Adoption {
                key: key(9),
                ..adoption(3, new)
            },
        ),
    ];
    for (want, adoption) in rows {
        match adopt(bench, adoption).await {
            Adopted::Conflict { what } => assert_eq!(what, want),
            Adopted::Done(device) => panic!("{want}: adopted as {}", device.id),
        }
    }
    assert!(!bench.is_named(&name(9)).await);
    // A device that is named and has no certificate takes one.
    let Adopted::Done(device) = adopt(bench, adoption(2, new)).await else {
        panic!("not done")
    };
    assert_eq!(device.state, DeviceState::Active);
}
