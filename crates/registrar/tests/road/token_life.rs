//! A token's life between minting and its lease.

use imprint_registrar::ledger::{Acted, TokenAct, TokenState};
use imprint_registrar::tokens::TokenOrder;
use imprint_registrar::{Code, Ledger as _};

use crate::support::*;

#[tokio::test]
async fn a_dormant_token_serves_nobody_until_it_is_armed() {
    let world = World::new().await;
    let asked = TokenOrder {
        count: 1,
        dormant: Some(true),
        ..order()
    };
    let (id, token) = world.tokens(asked).await.remove(0);
    let key = Key::new();
    assert_eq!(
        code(world.enroll(&key, "sn-1", &token).await),
        Code::TokenDormant
    );
    world
        .road
        .ledger()
        .token_act(&id, TokenAct::Arm, "test", START)
        .await
        .unwrap();
    world.enroll(&key, "sn-1", &token).await.unwrap();
}

#[tokio::test]
async fn a_revoked_token_serves_nobody_not_even_its_holder() {
    let world = World::new().await;
    let (id, token) = world
        .tokens(TokenOrder {
            count: 1,
            ..order()
        })
        .await
        .remove(0);
    let key = Key::new();
    world.enroll(&key, "sn-1", &token).await.unwrap();
    let acted = world
        .road
        .ledger()
        .token_act(&id, TokenAct::Revoke, "test", START)
        .await
        .unwrap();
    assert!(matches!(acted, Acted::Done(token) if token.state == TokenState::Revoked));
    assert_eq!(
        code(world.enroll(&key, "sn-1", &token).await),
        Code::TokenRevoked
    );
}

#[tokio::test]
async fn every_token_of_an_order_is_its_own_and_serves_one_device() {
    let world = World::new().await;
    let tokens = world
        .tokens(TokenOrder {
            count: 50,
            ..order()
        })
        .await;
    let texts: std::collections::BTreeSet<_> = tokens.iter().map(|(_, text)| text).collect();
    let names: std::collections::BTreeSet<_> = tokens.iter().map(|(id, _)| id).collect();
    assert_eq!((texts.len(), names.len()), (50, 50));
    for (at, (_, text)) in tokens.iter().enumerate().take(3) {
        world
            .enroll(&Key::new(), &format!("sn-{at}"), text)
            .await
            .unwrap();
    }
}

#[tokio::test]
async fn a_products_rule_may_want_every_token_bound() {
    let world = World::with(|product| product.token.bound = true).await;
    let order = TokenOrder {
        count: 1,
        ..order()
    };
    world
        .road
        .token_new(order, "test", &chance, START)
        .await
        .map(|_| ())
        .unwrap_err();
    world.token_for("sn-1").await;
}

#[tokio::test]
async fn a_token_before_its_certificate_tells_what_its_device_may_know() {
    let world = World::new().await;
    let (key, token) = (Key::new(), world.token().await);
    let holder = async |hardware: &str| {
        world
            .road
            .token_holder(&token, Some(hardware), &origin(), world.now())
            .await
    };
    let before = holder("sn-1").await.unwrap();
    assert!(before.device.is_none());
    world.enroll(&key, "sn-1", &token).await.unwrap();
    let after = holder("sn-1").await.unwrap();
    assert_eq!(after.device.unwrap().id.as_str(), "thermo-sn-1");
    assert_eq!(
        code(holder("sn-2").await),
        Code::TokenLeased,
        "it speaks for one device"
    );
}
