//! Claims: a shared right names no device twice, and gives the same answer to the same question.

mod support;

use support::*;

use crate::support::*;

#[tokio::test]
async fn a_claim_makes_a_device_of_a_board_and_the_device_is_provisioned() {
    let fleet = Fleet::new().await;
    let key = Key::new();
    let pending = fleet.certify(&key).await.unwrap();
    let registered = fleet.register(&pending, "sn-1").await.unwrap();
    assert!(!registered.again);
    assert_eq!(registered.device.id.as_str(), "thermo-sn-1");
    let member = fleet.world.verify(&pending.der).await.unwrap();
    assert!(member.first_use);
    assert_eq!(member.device.id.as_str(), "thermo-sn-1");
}

#[tokio::test]
async fn the_claims_own_key_is_no_devices() {
    let fleet = Fleet::new().await;
    let refused = fleet.certify(&fleet.claim_key).await;
    assert_eq!(code(refused), imprint_registrar::Code::KeyInUse);
}
