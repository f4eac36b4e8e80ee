//! Approval: a person says yes to one device with one key.

use imprint_registrar::ledger::{Acted, DeviceAct, DeviceState, TokenState};
use imprint_registrar::tokens::TokenOrder;
use imprint_registrar::{Code, Ledger as _, Retry};

use crate::support::*;

async fn approve(world: &World, name: &str) -> Acted<imprint_registrar::ledger::DeviceRecord> {
    let act = DeviceAct::Approve {
        key: None,
        until: world.now().plus(7 * 86_400),
    };
    let device = name.parse().unwrap();
    world
        .road
        .ledger()
        .device_act(&device, act, "test", world.now())
        .await
        .unwrap()
}

#[tokio::test]
async fn a_device_waits_until_it_is_approved_and_asks_the_same_question() {
    let world = World::with(|product| product.approval = true).await;
    let (id, token) = world
        .tokens(TokenOrder {
            count: 1,
            ..order()
        })
        .await
        .remove(0);
    let key = Key::new();
    for _ in 0..2 {
        let refusal = world
            .enroll(&key, "sn-1", &token)
            .await
            .map(|_| ())
            .unwrap_err();
        assert_eq!(refusal.code, Code::ApprovalPending);
        assert!(matches!(refusal.retry, Retry::After(1..)));
    }
    let file = world.device("thermo-sn-1").await;
    assert_eq!(file.device.state, DeviceState::Held);
    assert_eq!(file.waiting.len(), 1);
    let token_now = world.road.ledger().token_get(&id).await.unwrap().unwrap();
    assert_eq!(
        token_now.state,
        TokenState::Leased,
        "waiting leases the token to the key"
    );
    assert_eq!(
        code(world.enroll(&Key::new(), "sn-1", &token).await),
        Code::TokenLeased
    );

    assert!(matches!(
        approve(&world, "thermo-sn-1").await,
        Acted::Done(_)
    ));
    let enrolled = world.enroll(&key, "sn-1", &token).await.unwrap();
    world.verify(&enrolled.certificate).await.unwrap();
    assert_eq!(
        world.device("thermo-sn-1").await.device.state,
        DeviceState::Active
    );
}

#[tokio::test]
async fn an_approval_holds_for_its_days_and_its_key() {
    let world = World::with(|product| product.approval = true).await;
    let (key, token) = (Key::new(), world.token().await);
    assert_eq!(
        code(world.enroll(&key, "sn-1", &token).await),
        Code::ApprovalPending
    );
    approve(&world, "thermo-sn-1").await;
    world.pass(8 * 86_400);
    assert_eq!(
        code(world.enroll(&key, "sn-1", &token).await),
        Code::ApprovalPending
    );
    approve(&world, "thermo-sn-1").await;
    world.enroll(&key, "sn-1", &token).await.unwrap();
}

#[tokio::test]
async fn nobody_is_approved_who_does_not_wait() {
    let world = World::with(|product| product.approval = true).await;
    assert!(matches!(
        approve(&world, "thermo-sn-1").await,
        Acted::Absent
    ));
}
