//! What a leaked claim, or a device that is not to be let in yet, tries.

use std::sync::Arc;

use imprint_registrar::claims::Registration;
use imprint_registrar::ledger::{ClaimAlarm, ClaimAlarmKind, DeviceAct, DeviceFilter, DeviceState};
use imprint_registrar::{Code, Ledger as _};

use super::support::*;
use crate::support::*;

#[tokio::test]
async fn a_device_that_is_held_with_its_certificate_does_not_renew_its_way_in() {
    let fleet = Fleet::new().await;
    let key = Key::new();
    let pending = fleet.certify(&key).await.unwrap();
    let mut held: Registration = registration("sn-1");
    held.thing.as_mut().unwrap().inactive = true;
    fleet.register_as(&pending, held).await.unwrap();
    for key in [&key, &Key::new()] {
        let renewed = fleet.world.renew(key, &pending.der).await;
        assert_eq!(code(renewed), Code::ApprovalPending);
    }
    // An operator's approval is a matter of time: no final answer.
    let shown = fleet.world.verify(&pending.der).await;
    assert_eq!(code(shown), Code::ApprovalPending);
    let file = fleet.world.device("thermo-sn-1").await;
    assert_eq!(file.device.state, DeviceState::Held);
    assert_eq!(file.certificates.len(), 1);
}

#[tokio::test]
async fn one_token_puts_one_device_on_the_list_that_is_approved_from() {
    let world = World::with(|product| product.approval = true).await;
    let fleet = Fleet::on(world, |_| {}).await;
    let pending = fleet.certify(&Key::new()).await.unwrap();
    let waits = fleet.register(&pending, "sn-1").await;
    assert_eq!(code(waits), Code::ApprovalPending);
    for other in ["sn-2", "sn-3", "sn-4"] {
        let refused = fleet.register(&pending, other).await;
        assert_eq!(code(refused), Code::KeyInUse, "{other}");
    }
    let ledger = fleet.world.road.ledger();
    let all = DeviceFilter {
        limit: 10,
        ..DeviceFilter::default()
    };
    assert_eq!(ledger.device_list(&all).await.unwrap().len(), 1);
    // The one that waits still gets in.
    let until = fleet.world.now().plus(86_400);
    let approve = DeviceAct::Approve { key: None, until };
    let name = "thermo-sn-1".parse().unwrap();
    let now = fleet.world.now();
    ledger
        .device_act(&name, approve, "test", now)
        .await
        .unwrap();
    fleet.register(&pending, "sn-1").await.unwrap();
    fleet.world.verify(&pending.der).await.unwrap();
}

#[tokio::test]
async fn a_device_that_was_put_aside_is_not_given_its_certificate_again() {
    let fleet = Fleet::new().await;
    let (key, certificate) = fleet.provisioned("sn-1").await;
    let again = fleet.certify(&key).await.unwrap();
    assert_eq!(again.der, certificate);
    let reason = "seen in two places".to_owned();
    act(
        &fleet.world,
        "thermo-sn-1",
        DeviceAct::Quarantine { reason },
    )
    .await;
    let refused = fleet.certify(&key).await.map(|_| ()).unwrap_err();
    assert_eq!(refused.code, Code::DeviceQuarantined);
    let told = refused.detail.unwrap();
    assert!(told.contains("seen in two places"), "{told}");
    let retired = DeviceAct::Decommission { reason: "x".into() };
    act(&fleet.world, "thermo-sn-1", retired).await;
    assert_eq!(code(fleet.certify(&key).await), Code::DeviceDecommissioned);
}

#[tokio::test]
async fn a_device_does_not_call_its_thing_like_another_device() {
    let fleet = Fleet::new().await;
    // By token: it is a device without a thing.
    fleet.world.provisioned("sn-9").await;
    let pending = fleet.certify(&Key::new()).await.unwrap();
    let mut wanted: Registration = registration("sn-1");
    wanted.thing.as_mut().unwrap().name = "thermo-sn-9".into();
    let refused = fleet.register_as(&pending, wanted.clone()).await;
    let refused = refused.map(|_| ()).unwrap_err();
    assert_eq!(refused.code, Code::ThingTaken);
    assert_eq!(refused.subject.as_deref(), Some("thermo-sn-1"));
    let found = fleet.world.road.ledger().device_get("sn-1").await;
    assert!(found.unwrap().is_none());
    wanted.thing.as_mut().unwrap().name = "hall-1-lamp".into();
    fleet.register_as(&pending, wanted).await.unwrap();
}

#[tokio::test]
async fn a_device_that_took_the_name_of_one_that_was_to_come_keeps_nobody_out() {
    let fleet = Fleet::new().await;
    let pending = fleet.certify(&Key::new()).await.unwrap();
    let mut squatter: Registration = registration("sn-1");
    squatter.thing.as_mut().unwrap().name = "thermo-sn-7".into();
    fleet.register_as(&pending, squatter).await.unwrap();
    // The one whose name it is comes later, and is that thing.
    fleet.provisioned("sn-7").await;
    let file = fleet.world.device("thermo-sn-7").await;
    assert_eq!(file.thing.unwrap().device, file.device.id);
    assert!(fleet.world.device("thermo-sn-1").await.thing.is_none());
    assert_eq!(told(&fleet.world, "thing-taken-back").await, 1);
    // A name that is nobody's stays whose it is.
    for (id, want) in [("sn-2", None), ("sn-3", Some(Code::ThingTaken))] {
        let pending = fleet.certify(&Key::new()).await.unwrap();
        let mut lamp: Registration = registration(id);
        lamp.thing.as_mut().unwrap().name = "lamp".into();
        let outcome = fleet.register_as(&pending, lamp).await;
        assert_eq!(outcome.err().map(|no| no.code), want, "{id}");
    }
}

#[tokio::test]
async fn what_strangers_call_themselves_is_counted_up_to_a_bound() {
    let fleet = Arc::new(Fleet::with(|claim| claim.limits.unknown_hardware = 0).await);
    let key = Key::new().fingerprint();
    for block in 0..11 {
        let asked = (0..100).map(|n| {
            let fleet = Arc::clone(&fleet);
            let alarm = ClaimAlarm {
                claim: "line-1".to_owned(),
                kind: ClaimAlarmKind::UnknownHardware,
                hardware: format!("x-{block}-{n}").parse().unwrap(),
                key,
                address: "10.0.0.9".to_owned(),
            };
            tokio::spawn(async move {
                let ledger = fleet.world.road.ledger();
                ledger.claim_alarm(alarm, START).await.unwrap()
            })
        });
        for asked in asked.collect::<Vec<_>>() {
            asked.await.unwrap();
        }
    }
    let claim = fleet.world.road.ledger().claim_get("line-1").await.unwrap();
    assert_eq!(claim.unwrap().unknown_hardware, 1_000);
}
