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
