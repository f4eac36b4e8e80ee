//! Our own agent by an entry's shared key, on the real server: power cuts and lost replies at every
//! moment, links that break at any byte, and every no that a device must understand.

use std::os::unix::fs::PermissionsExt as _;

use imprint_agent::device::Quarantine;
use imprint_agent::{Door, End, SharedKeyEntry, Strike};
use imprint_attest::GroupKey;
use imprint_dps::{IdScope, RegistrationId};
use imprint_est::Secret;
use imprint_registrar::Ledger as _;
use imprint_registrar::entries::definition::{Attestation, Entry};
use imprint_registrar::entries::{EntryKeys, EntryOrder};
use imprint_registrar::ledger::{DeviceAct, EntryKind};
use imprint_sim::chance;
use imprint_sim::checker::Outside;
use imprint_sim::many;
use imprint_sim::proxy::{Cut, Plan, Proxy, Way};
use imprint_sim::world::{PRODUCT, World};

use crate::claims::{Fate, assert_member, join, setup};
use crate::support::{assert_clean, judge};

/// A group's key.
async fn group(world: &World) -> GroupKey {
    let order = EntryOrder {
        entry: Entry {
            kind: EntryKind::Group,
            name: "line-1".to_owned(),
            product: PRODUCT.to_owned(),
            attestation: Attestation::SymmetricKey,
            device_id: None,
            strength: "asserted".to_owned(),
        },
        enabled: true,
        keys: EntryKeys::default(),
    };
    let chance = chance::real();
    let made = world.road().entry_new(order, "sim", &*chance, world.now());
    GroupKey::new(&made.await.unwrap().made.primary.unwrap()).unwrap()
}

fn door(group: &GroupKey, id: &str) -> Door {
    Door::SharedKey(SharedKeyEntry {
        scope: IdScope::new("0neTEST").unwrap(),
        registration_id: RegistrationId::new(id).unwrap(),
        key: Secret::new(group.derive(id).expose().to_vec()),
    })
}

/// One device after the other on one server, each struck one moment later than the one before it;
/// afterwards nobody tells it the key again.
async fn strike_everywhere(strike: Strike) -> Vec<String> {
    let world = World::new().await;
    let group = group(&world).await;
    let mut struck = Vec::new();
    for at in 0.. {
        assert!(at < 100, "the way in has an end");
        let state = tempfile::tempdir().unwrap();
        let id = format!("sn-{at}");
        let hardware = format!("custom:{id}");
        let fate = Fate::new(at, strike);
        let device = setup(&world, &hardware, door(&group, &id));
        let end = match join(&device, state.path(), &fate).await {
            End::PowerCut => {
                let again = setup(&world, &hardware, Door::Token);
                join(&again, state.path(), &Fate::none()).await
            }
            end => end,
        };
        let End::Member(agent) = end else {
            panic!("{at} {:?}: {end:?} {:?}", fate.struck(), fate.codes());
        };
        assert!(!agent.store().has_bootstrap().unwrap());
        assert_eq!(agent.record().losses, 0, "{at} {:?}", fate.struck());
        let name = format!("{PRODUCT}-{id}");
        assert_member(&world, &name, at + 1).await;
        let file = world.road().ledger().device_get(&name).await.unwrap();
        let file = file.unwrap();
        assert_eq!(file.certificates.len(), 1, "{at} {:?}", fate.struck());
        assert!(
            file.registration
                .is_some_and(|known| known.live && !known.shared_key)
        );
        match fate.struck() {
            Some(place) => struck.push(place),
            None => break,
        }
    }
    let (_, findings) = judge(world.place(), &Outside::default());
    assert_clean("shared keys", &findings);
    struck
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn power_cuts_at_every_moment_with_a_shared_key_make_no_second_certificate() {
    let struck = strike_everywhere(Strike::PowerCut).await;
    for place in [
        "ENROLL Journaled(Enroll",
        "ENROLL Answered(Enroll",
        "CREDENTIAL_STORE Performed(StoreCredential",
        "VERIFY Answered(Verify",
    ] {
        assert!(
            struck.iter().any(|found| found.starts_with(place)),
            "{place} in {struck:#?}"
        );
    }
    println!("power cuts: {} moments", struck.len());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lost_replies_with_a_shared_key_make_no_second_certificate() {
    let struck = strike_everywhere(Strike::ReplyLost).await;
    for action in ["Enroll", "Verify"] {
        let lost = format!("Answered({action}");
        assert!(
            struck.iter().any(|found| found.contains(&lost)),
            "{action} in {struck:#?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shared_key_is_kept_for_its_owner_alone_and_goes_after_verify() {
    let world = World::new().await;
    let group = group(&world).await;
    let state = tempfile::tempdir().unwrap();
    // Cut where the key is kept and nothing has been said yet.
    let device = setup(&world, "custom:sn-1", door(&group, "sn-1"));
    let cut = join(&device, state.path(), &Fate::new(1, Strike::PowerCut)).await;
    assert!(matches!(cut, End::PowerCut));
    let kept = state.path().join("shared-key.json");
    let mode = std::fs::metadata(&kept).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let again = setup(&world, "custom:sn-1", Door::Token);
    let End::Member(agent) = join(&again, state.path(), &Fate::none()).await else {
        panic!("a member")
    };
    assert!(!kept.exists());
    assert!(!agent.store().has_bootstrap().unwrap());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_no_is_understood() {
    let world = World::new().await;
    let group = group(&world).await;
    let wrong = GroupKey::new(&[7; 32]).unwrap();
    let state = || tempfile::tempdir().unwrap();
    let elsewhere = Door::SharedKey(SharedKeyEntry {
        scope: IdScope::new("0neOTHER").unwrap(),
        registration_id: RegistrationId::new("sn-1").unwrap(),
        key: Secret::new(group.derive("sn-1").expose().to_vec()),
    });
    let short = Door::SharedKey(SharedKeyEntry {
        scope: IdScope::new("0neTEST").unwrap(),
        registration_id: RegistrationId::new("sn-1").unwrap(),
        key: Secret::new(vec![1; 8]),
    });
    for (code, door) in [
        ("entry-unknown", door(&wrong, "sn-1")),
        ("scope-unknown", elsewhere),
        ("shared-key-unusable", short),
    ] {
        let (state, fate) = (state(), Fate::none());
        let device = setup(&world, "custom:sn-1", door);
        let end = join(&device, state.path(), &fate).await;
        let End::Quarantined(reason, _) = end else {
            panic!("{code}: {end:?}")
        };
        assert_ne!(reason, Quarantine::HardwareMismatch);
        assert_eq!(fate.codes().last().map(String::as_str), Some(code));
    }
    // A second board with the first one's name and key.
    let (first, second) = (state(), state());
    let device = setup(&world, "custom:sn-2", door(&group, "sn-2"));
    let end = join(&device, first.path(), &Fate::none()).await;
    assert!(matches!(end, End::Member(_)));
    let fate = Fate::none();
    let end = join(&device, second.path(), &fate).await;
    assert!(matches!(end, End::Quarantined(..)));
    assert_eq!(
        fate.codes().last().map(String::as_str),
        Some("device-exists")
    );
    // Until somebody says that the first one is gone.
    let id = format!("{PRODUCT}-sn-2").parse().unwrap();
    let act = DeviceAct::Release { new_key: true };
    let ledger = world.road().ledger();
    ledger
        .device_act(&id, act, "sim", world.now())
        .await
        .unwrap();
    let third = state();
    let end = join(&device, third.path(), &Fate::none()).await;
    assert!(matches!(end, End::Member(_)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_link_that_breaks_at_any_byte_costs_one_more_try() {
    let world = World::new().await;
    let group = group(&world).await;
    let (mut devices, mut cuts) = (0, 0);
    for way in [Way::Request, Way::Reply] {
        for after in (0..6_000_u64).step_by(many(500, 60)) {
            let proxy = Proxy::start(world.https()).await;
            proxy.arm(Some(Plan {
                way,
                after,
                how: Cut::Rst,
            }));
            let state = tempfile::tempdir().unwrap();
            let id = format!("cut-{devices}");
            let mut device = setup(&world, &format!("custom:{id}"), door(&group, &id));
            device.server = proxy.address();
            let fate = Fate::none();
            let heal = async {
                proxy.struck().await;
                proxy.reopen(world.https());
                std::future::pending::<()>().await;
            };
            let end = tokio::select! {
                end = join(&device, state.path(), &fate) => end,
                () = heal => unreachable!("it is never done"),
            };
            let codes = fate.codes();
            assert!(
                matches!(end, End::Member(_)),
                "{way:?} {after}: {end:?} {codes:?}"
            );
            cuts += usize::from(proxy.has_struck());
            devices += 1;
            let name = format!("{PRODUCT}-{id}");
            assert_member(&world, &name, devices).await;
            let file = world.road().ledger().device_get(&name).await.unwrap();
            assert_eq!(file.unwrap().certificates.len(), 1, "{way:?} {after}");
        }
    }
    assert!(cuts >= 8, "{cuts}");
    println!("links cut: {cuts} of {devices}");
}
