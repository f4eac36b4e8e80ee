//! Who may take the place of a device that is there already: nobody without an operator.

use imprint_identity::HardwareId;
use imprint_registrar::ledger::{
    CertificateState, DeviceAct, DeviceState, RevocationReason, TokenAct,
};
use imprint_registrar::tokens::TokenOrder;
use imprint_registrar::{Code, Ledger as _};

use crate::support::*;

impl World {
    async fn act(&self, name: &str, act: DeviceAct) {
        let device = name.parse().unwrap();
        self.road
            .ledger()
            .device_act(&device, act, "test", self.now())
            .await
            .unwrap();
    }
}

#[tokio::test]
async fn an_unbound_token_never_names_a_registered_device() {
    let world = World::new().await;
    world.provisioned("sn-1").await;
    let token = world.token().await;
    assert_eq!(
        code(world.enroll(&Key::new(), "sn-1", &token).await),
        Code::DeviceExists
    );
    // The token was not touched: it still serves another device.
    world.enroll(&Key::new(), "sn-2", &token).await.unwrap();
}

#[tokio::test]
async fn an_unbound_token_does_not_take_a_device_whose_certificate_is_on_its_way() {
    let world = World::new().await;
    world
        .enroll(&Key::new(), "sn-1", &world.token().await)
        .await
        .unwrap();
    let other = world.token().await;
    assert_eq!(
        code(world.enroll(&Key::new(), "sn-1", &other).await),
        Code::DeviceExists
    );
}

#[tokio::test]
async fn a_token_bound_to_the_hardware_replaces_the_key_when_the_new_one_verifies() {
    let world = World::new().await;
    let (_, old) = world.provisioned("sn-1").await;
    let token = world.token_for("sn-1").await;
    let new = world.enroll(&Key::new(), "sn-1", &token).await.unwrap();
    assert_eq!(new.device.as_str(), "thermo-sn-1", "the same name");
    world
        .verify(&old)
        .await
        .expect("the old one lives until the new one has worked");
    world.verify(&new.certificate).await.unwrap();
    assert_eq!(code(world.verify(&old).await), Code::CertificateSuperseded);
    world.verify(&new.certificate).await.unwrap();
}

#[tokio::test]
async fn a_bound_token_serves_its_hardware_alone() {
    let world = World::new().await;
    let token = world.token_for("sn-1").await;
    assert_eq!(
        code(world.enroll(&Key::new(), "sn-2", &token).await),
        Code::TokenForOther
    );
    // No user name means the id to which the token is bound.
    let enrolled = world.enroll(&Key::new(), "", &token).await.unwrap();
    assert_eq!(enrolled.device.as_str(), "thermo-sn-1");
}

#[tokio::test]
async fn an_unbound_token_without_a_name_is_refused() {
    let world = World::new().await;
    let token = world.token().await;
    assert_eq!(
        code(world.enroll(&Key::new(), "", &token).await),
        Code::HardwareMissing
    );
}

#[tokio::test]
async fn a_released_device_comes_back_under_its_name_once() {
    let world = World::new().await;
    let (_, old) = world.provisioned("sn-1").await;
    world
        .act("thermo-sn-1", DeviceAct::Release { new_key: true })
        .await;
    world
        .verify(&old)
        .await
        .expect("release alone takes nothing away");
    let (key, token) = (Key::new(), world.token().await);
    let new = world.enroll(&key, "sn-1", &token).await.unwrap();
    let second = world.token().await;
    assert_eq!(
        code(world.enroll(&Key::new(), "sn-1", &second).await),
        Code::DeviceExists,
        "the release is used up"
    );
    let again = world.enroll(&key, "sn-1", &token).await.unwrap();
    assert_eq!(
        again.certificate, new.certificate,
        "and its own key may still ask"
    );
    world.verify(&new.certificate).await.unwrap();
    assert_eq!(code(world.verify(&old).await), Code::CertificateSuperseded);
}

#[tokio::test]
async fn a_revoked_device_stays_out_until_it_is_released() {
    let world = World::new().await;
    let (key, old) = world.provisioned("sn-1").await;
    let act = DeviceAct::Revoke {
        reason: RevocationReason::KeyCompromise,
        note: "stolen".into(),
    };
    world.act("thermo-sn-1", act).await;
    let refusal = world.verify(&old).await.map(|_| ()).unwrap_err();
    assert_eq!(refusal.code, Code::DeviceRevoked);
    assert!(refusal.detail.unwrap().contains("stolen"));
    assert_eq!(code(world.renew(&key, &old).await), Code::DeviceRevoked);
    let token = world.token_for("sn-1").await;
    assert_eq!(
        code(world.enroll(&Key::new(), "sn-1", &token).await),
        Code::DeviceRevoked
    );
    world
        .act("thermo-sn-1", DeviceAct::Release { new_key: true })
        .await;
    let word = code(world.verify(&old).await);
    assert!(
        matches!(word, Code::DeviceRevoked | Code::CertificateRevoked),
        "{word}"
    );
    let new = world.enroll(&Key::new(), "sn-1", &token).await.unwrap();
    world.verify(&new.certificate).await.unwrap();
    assert_eq!(
        code(world.verify(&old).await),
        Code::CertificateRevoked,
        "never reversed"
    );
}

#[tokio::test]
async fn a_quarantined_device_comes_back_with_its_own_certificate() {
    let world = World::new().await;
    let (_, certificate) = world.provisioned("sn-1").await;
    world
        .act(
            "thermo-sn-1",
            DeviceAct::Quarantine {
                reason: "odd traffic".into(),
            },
        )
        .await;
    assert_eq!(
        code(world.verify(&certificate).await),
        Code::DeviceQuarantined
    );
    world
        .act("thermo-sn-1", DeviceAct::Release { new_key: true })
        .await;
    world.verify(&certificate).await.unwrap();
}

#[tokio::test]
async fn a_decommissioned_device_is_refused_by_that_word() {
    let world = World::new().await;
    let (_, certificate) = world.provisioned("sn-1").await;
    world
        .act(
            "thermo-sn-1",
            DeviceAct::Decommission {
                reason: "scrapped".into(),
            },
        )
        .await;
    assert_eq!(
        code(world.verify(&certificate).await),
        Code::DeviceDecommissioned
    );
    let token = world.token_for("sn-1").await;
    assert_eq!(
        code(world.enroll(&Key::new(), "sn-1", &token).await),
        Code::DeviceDecommissioned
    );
    assert_eq!(
        world.device("thermo-sn-1").await.device.state,
        DeviceState::Decommissioned
    );
}

#[tokio::test]
async fn a_rebind_takes_the_token_from_its_holder_and_opens_it_again() {
    let world = World::new().await;
    let (id, token) = world
        .tokens(TokenOrder {
            count: 1,
            ..order()
        })
        .await
        .remove(0);
    let (thief, owner) = (Key::new(), Key::new());
    let stolen = world.enroll(&thief, "sn-1", &token).await.unwrap();
    world.verify(&stolen.certificate).await.unwrap();
    assert_eq!(
        code(world.enroll(&owner, "sn-1", &token).await),
        Code::TokenSpent
    );

    let act = TokenAct::Rebind {
        hardware: Some(HardwareId::parse("sn-1").unwrap()),
    };
    world
        .road
        .ledger()
        .token_act(&id, act, "test", world.now())
        .await
        .unwrap();
    assert!(matches!(
        code(world.verify(&stolen.certificate).await),
        Code::CertificateRevoked | Code::DeviceRevoked
    ));
    assert_eq!(
        code(world.enroll(&thief, "sn-1", &token).await),
        Code::CertificateRevoked
    );
    let rightful = world.enroll(&owner, "sn-1", &token).await.unwrap();
    assert_eq!(rightful.device.as_str(), "thermo-sn-1");
    world.verify(&rightful.certificate).await.unwrap();
    let states: Vec<_> = world
        .device("thermo-sn-1")
        .await
        .certificates
        .iter()
        .map(|c| c.state)
        .collect();
    assert_eq!(
        states,
        [CertificateState::Active, CertificateState::Revoked]
    );
}

#[tokio::test]
async fn one_key_is_never_two_devices() {
    let world = World::new().await;
    let key = Key::new();
    world
        .enroll(&key, "sn-1", &world.token().await)
        .await
        .unwrap();
    let other = world.token().await;
    assert_eq!(
        code(world.enroll(&key, "sn-2", &other).await),
        Code::KeyInUse
    );
    assert!(
        world
            .road
            .ledger()
            .device_get("thermo-sn-2")
            .await
            .unwrap()
            .is_none()
    );
    world
        .enroll(&Key::new(), "sn-2", &other)
        .await
        .expect("the token is still good");
}

#[tokio::test]
async fn two_hardware_ids_never_share_a_name() {
    let world = World::new().await;
    world
        .enroll(&Key::new(), "SN_1", &world.token().await)
        .await
        .unwrap();
    let other = world.token().await;
    assert_eq!(
        code(world.enroll(&Key::new(), "sn-1", &other).await),
        Code::NameTaken
    );
}
