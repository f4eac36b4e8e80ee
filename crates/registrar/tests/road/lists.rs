//! Revocation lists: what was revoked is on the next one, numbers only grow.

use imprint_attest::verify_signature;
use imprint_pkix::certificate::Certificate;
use imprint_pkix::crl::{Crl, Reason};
use imprint_registrar::Ledger as _;
use imprint_registrar::ledger::{DeviceAct, RevocationReason};

use crate::support::*;

async fn list(world: &World) -> Crl {
    let lists = world.road.crl_renew(world.now(), false).await.unwrap();
    Crl::parse(&lists[0].der).unwrap()
}

#[tokio::test]
async fn a_revoked_certificate_is_on_the_next_list_with_its_reason() {
    let world = World::new().await;
    let (_, certificate) = world.provisioned("sn-1").await;
    let before = list(&world).await;
    assert!(before.revoked().is_empty());
    world.pass(1);
    let act = DeviceAct::Revoke {
        reason: RevocationReason::KeyCompromise,
        note: String::new(),
    };
    let device = "thermo-sn-1".parse().unwrap();
    world
        .road
        .ledger()
        .device_act(&device, act, "test", world.now())
        .await
        .unwrap();
    let after = list(&world).await;
    let entry = &after.revoked()[0];
    assert_eq!(
        entry.serial,
        Certificate::parse(&certificate).unwrap().serial()
    );
    assert_eq!(entry.reason, Some(Reason::KeyCompromise));
    assert!(after.number() > before.number());
    let issuer = world.road.authorities().issuing();
    verify_signature(
        issuer.certificate.public_key().unwrap(),
        &after.signature_algorithm(),
        after.to_be_signed(),
        after.signature(),
    )
    .unwrap();
}

#[tokio::test]
async fn a_list_is_renewed_ahead_of_its_end_and_not_before_it_is_due() {
    let world = World::new().await;
    let first = list(&world).await;
    world.pass(3_600);
    assert_eq!(list(&world).await.number(), first.number());
    world.pass(86_400);
    let second = list(&world).await;
    assert!(second.number() > first.number());
    assert!(first.next_update().unwrap() > world.now(), "well ahead");
}

#[tokio::test]
async fn numbers_grow_when_the_clock_goes_back() {
    let world = World::new().await;
    let first = list(&world).await;
    world.pass(-30 * 86_400);
    let lists = world.road.crl_renew(world.now(), true).await.unwrap();
    assert!(lists[0].number > first.number().unwrap());
}

#[tokio::test]
async fn a_superseded_certificate_is_on_the_list() {
    let world = World::new().await;
    let (key, old) = world.provisioned("sn-1").await;
    let new = world.renew(&key, &old).await.unwrap();
    world.verify(&new.certificate).await.unwrap();
    world.pass(1);
    let list = list(&world).await;
    assert_eq!(list.revoked().len(), 1);
    assert_eq!(list.revoked()[0].reason, Some(Reason::Superseded));
}
