//! Entries: devices that are registered by a shared key or a certificate that was written down before.

mod certificates;

use std::collections::BTreeSet;
use std::sync::Arc;

use aws_lc_rs::hmac;
use imprint_identity::Step;
use imprint_pkix::pem;
use imprint_registrar::entries::definition::{Attestation, Entry};
use imprint_registrar::entries::{
    EntryDeskError, EntryKeys, EntryOrder, EntryShown, HubMember, MadeEntry, Newcomer,
    RegisteredByEntry, SharedKeySignature,
};
use imprint_registrar::ledger::{
    CertificateState, DeviceAct, DeviceFilter, DeviceState, EntryKind, KeySlot, RevocationReason,
};
use imprint_registrar::{Code, Door, Ledger as _, Product, Refusal};
use zeroize::Zeroizing;

use crate::claims::just_in_time::{Maker, authority, leaf};
use crate::support::*;

const HUB: &str = "hub.example";
const SCOPE: &str = "0neTEST";

fn entry(kind: EntryKind, name: &str, attestation: Attestation) -> Entry {
    Entry {
        kind,
        name: name.to_owned(),
        product: "thermo".to_owned(),
        attestation,
        device_id: None,
        strength: "asserted".to_owned(),
    }
}

fn x509(primary: String, secondary: Option<String>) -> Attestation {
    Attestation::X509 { primary, secondary }
}

impl World {
    async fn made(&self, entry: Entry) -> MadeEntry {
        let order = EntryOrder {
            entry,
            enabled: true,
            keys: EntryKeys::default(),
        };
        let (road, now) = (&self.road, self.now());
        road.entry_new(order, "test", &chance, now).await.unwrap()
    }

    async fn individual(&self, name: &str) -> Vec<u8> {
        let attestation = Attestation::SymmetricKey;
        let made = self.made(entry(EntryKind::Individual, name, attestation));
        made.await.made.primary.unwrap().to_vec()
    }

    async fn group(&self, name: &str) -> Vec<u8> {
        let attestation = Attestation::SymmetricKey;
        let made = self.made(entry(EntryKind::Group, name, attestation));
        made.await.made.primary.unwrap().to_vec()
    }

    fn signed(&self, resource: &str, key: &[u8]) -> SharedKeySignature {
        let expected = resource.to_owned();
        let resource = resource.replace('/', "%2F");
        let expiry = self.now().plus(3_600).0.to_string();
        let signature = hmac(key, format!("{resource}\n{expiry}").as_bytes());
        SharedKeySignature {
            signature: signature.try_into().unwrap(),
            resource,
            expiry,
            expected,
        }
    }

    fn by_key(&self, id: &str, key: &[u8]) -> Newcomer {
        let resource = format!("{SCOPE}/registrations/{id}");
        let shown = EntryShown::SharedKey(self.signed(&resource, key));
        Newcomer::new(id, shown).unwrap()
    }

    async fn registers(&self, newcomer: &Newcomer) -> Result<RegisteredByEntry, Refusal> {
        let (road, now) = (&self.road, self.now());
        road.entry_register(newcomer, HUB, &origin(), &chance, now)
            .await
    }

    async fn register(&self, id: &str, key: &[u8]) -> Result<RegisteredByEntry, Refusal> {
        self.registers(&self.by_key(id, key)).await
    }

    async fn at_hub(&self, device: &str, key: &[u8]) -> Result<HubMember, Refusal> {
        let signature = self.signed(&format!("{HUB}/devices/{device}"), key);
        let (road, now) = (&self.road, self.now());
        road.shared_key_member(device, HUB, &signature, &origin(), now)
            .await
    }

    async fn switch(&self, kind: EntryKind, name: &str, enabled: bool) {
        let (road, now) = (&self.road, self.now());
        let switched = road.entry_switch(kind, name, enabled, "test", now).await;
        assert_eq!(switched.unwrap().enabled, enabled);
    }

    async fn does(&self, device: &str, act: DeviceAct) {
        let (ledger, id) = (self.road.ledger(), device.parse().unwrap());
        ledger
            .device_act(&id, act, "test", self.now())
            .await
            .unwrap();
    }
}

fn hmac(key: &[u8], message: &[u8]) -> Vec<u8> {
    let key = hmac::Key::new(hmac::HMAC_SHA256, key);
    hmac::sign(&key, message).as_ref().to_vec()
}

fn by_certificate(id: &str, certificate: &[u8], chain: Vec<Vec<u8>>) -> Newcomer {
    let peer = peer(certificate);
    Newcomer::new(id, EntryShown::Certificate { peer, chain }).unwrap()
}

#[tokio::test]
async fn a_device_with_its_own_key_is_registered_once_and_provisioned_at_its_hub() {
    let world = World::new().await;
    let key = world.individual("sn-1").await;
    let told = world.register("sn-1", &key).await.unwrap();
    assert_eq!(told.device.as_str(), "thermo-sn-1");
    assert_eq!((told.registration.hub.as_str(), told.again), (HUB, false));
    let file = world.device("thermo-sn-1").await;
    assert_eq!(file.device.state, DeviceState::Active);
    assert_eq!(file.device.step, Step::Verify);

    world.pass(600);
    let again = world.register("sn-1", &key).await.unwrap();
    assert_eq!(again.registration, told.registration);
    assert!(again.again);

    assert!(world.at_hub("thermo-sn-1", &key).await.unwrap().first_use);
    assert!(!world.at_hub("thermo-sn-1", &key).await.unwrap().first_use);
    let file = world.device("custom:sn-1").await;
    assert_eq!(file.device.step, Step::Provisioned);
    // To have come to its hub changes nothing that it is told.
    let after = world.register("sn-1", &key).await.unwrap().registration;
    assert_eq!(
        (after.version, after.updated_at, after.created_at),
        (
            1,
            told.registration.updated_at,
            told.registration.created_at
        )
    );
}

#[tokio::test]
async fn a_group_lets_in_who_has_a_key_that_is_derived_from_its_own() {
    let world = World::new().await;
    world.group("others").await;
    let group = world.group("line-1").await;
    for (id, derived_from) in [("sn-1", "sn-1"), ("SN-2", "SN-2"), ("SN-3", "sn-3")] {
        let key = hmac(&group, derived_from.as_bytes());
        let told = world.register(id, &key).await.unwrap();
        assert_eq!(told.registration.entry, "line-1");
        assert_eq!(told.registration.id, id.to_ascii_lowercase());
        world.at_hub(told.device.as_str(), &key).await.unwrap();
        let derived = world
            .road
            .entry_derive("line-1", KeySlot::Primary, derived_from);
        assert_eq!(derived.await.unwrap().expose(), key);
    }
    // The group's own key is nobody's.
    let refused = world.register("sn-4", &group).await;
    assert_eq!(code(refused), Code::EntryProofWrong);
    // Nor is one device's key another's.
    let other = hmac(&group, b"sn-1");
    assert_eq!(
        code(world.register("sn-5", &other).await),
        Code::EntryUnknown
    );
    assert_eq!(
        code(world.at_hub("thermo-sn-2", &other).await),
        Code::EntryProofWrong
    );
}

#[tokio::test]
async fn a_signature_that_is_not_good_is_refused_with_its_reason() {
    let world = World::new().await;
    let key = world.individual("sn-1").await;
    assert_eq!(
        code(world.register("sn-1", &[7; 64]).await),
        Code::EntryProofWrong
    );
    assert_eq!(code(world.register("sn-2", &key).await), Code::EntryUnknown);

    let expired = world.by_key("sn-1", &key);
    world.pass(3_600 + 301);
    assert_eq!(
        code(world.registers(&expired).await),
        Code::SignatureExpired
    );

    let mut other = world.signed("0neOTHER/registrations/sn-1", &key);
    other.expected = format!("{SCOPE}/registrations/sn-1");
    let other = Newcomer::new("sn-1", EntryShown::SharedKey(other)).unwrap();
    assert_eq!(code(world.registers(&other).await), Code::EntryProofWrong);

    for id in ["", "sn/1", "sn.", "sn 1"] {
        let shown = EntryShown::SharedKey(world.signed("x", &key));
        assert_eq!(
            code(Newcomer::new(id, shown)),
            Code::HardwareInvalid,
            "{id}"
        );
    }
    assert_eq!(
        code(world.at_hub("thermo-sn-1", &key).await),
        Code::EntryUnknown
    );
    // None of these has made a device.
    let (ledger, any) = (world.road.ledger(), DeviceFilter::default());
    assert!(ledger.device_list(&any).await.unwrap().is_empty());
}

#[tokio::test]
async fn who_guesses_is_slowed_down_and_the_right_key_always_passes() {
    let world = World::new().await;
    let key = world.individual("sn-1").await;
    let guess = async || code(world.register("sn-1", &[7; 32]).await);
    for _ in 0..10 {
        assert_eq!(guess().await, Code::EntryProofWrong);
    }
    assert_eq!(guess().await, Code::GuessingLimited);
    world.register("sn-1", &key).await.unwrap();
    world.at_hub("thermo-sn-1", &key).await.unwrap();
}

#[tokio::test]
async fn a_disabled_entry_registers_nobody_and_its_keys_are_not_heard() {
    let world = World::new().await;
    let group = world.group("line-1").await;
    let (one, two) = (hmac(&group, b"sn-1"), hmac(&group, b"sn-2"));
    world.register("sn-1", &one).await.unwrap();
    world.switch(EntryKind::Group, "line-1", false).await;
    assert_eq!(
        code(world.register("sn-1", &one).await),
        Code::EntryDisabled
    );
    assert_eq!(
        code(world.register("sn-2", &two).await),
        Code::EntryDisabled
    );
    assert_eq!(
        code(world.at_hub("thermo-sn-1", &one).await),
        Code::EntryDisabled
    );
    assert_eq!(world.device("thermo-sn-1").await.device.step, Step::Verify);
    // Who does not have the key is not told that it would be no use.
    assert_eq!(
        code(world.register("sn-1", &[7; 32]).await),
        Code::EntryUnknown
    );
    world.switch(EntryKind::Group, "line-1", true).await;
    world.at_hub("thermo-sn-1", &one).await.unwrap();
    world.register("sn-2", &two).await.unwrap();

    // An entry of its own that is disabled shuts out one device of a group.
    let attestation = Attestation::SymmetricKey;
    let own = world.made(entry(EntryKind::Individual, "sn-2", attestation));
    let own = own.await.made.primary.unwrap();
    world.switch(EntryKind::Individual, "sn-2", false).await;
    assert_eq!(
        code(world.register("sn-2", &two).await),
        Code::EntryProofWrong
    );
    assert_eq!(
        code(world.register("sn-2", &own).await),
        Code::EntryDisabled
    );
}

#[tokio::test]
async fn a_hundred_requests_at_one_time_make_one_device() {
    let world = Arc::new(World::new().await);
    let group = world.group("line-1").await;
    let key = hmac(&group, b"sn-1");
    let mut asking = Vec::new();
    for _ in 0..100 {
        let (world, key) = (Arc::clone(&world), key.clone());
        asking.push(tokio::spawn(async move {
            loop {
                match world.register("sn-1", &key).await {
                    Ok(told) => break told.registration,
                    Err(refusal) => assert_eq!(refusal.code, Code::Busy),
                }
            }
        }));
    }
    let mut told = BTreeSet::new();
    for asked in asking {
        let registration = asked.await.unwrap();
        told.insert(format!("{registration:?}"));
    }
    assert_eq!(told.len(), 1, "{told:?}");
    let ledger = world.road.ledger();
    let all = ledger.device_list(&DeviceFilter::default()).await.unwrap();
    assert_eq!(all.len(), 1);
    let group = ledger.entry_get(EntryKind::Group, "line-1").await.unwrap();
    assert_eq!(group.unwrap().registered, 1);
    let rows = ledger.journal_read(0, 1_000).await.unwrap();
    let registered = rows.iter().filter(|row| row.kind == "device-registered");
    assert_eq!(registered.count(), 1);
}

#[tokio::test]
async fn who_was_put_aside_is_refused_with_its_key_and_why_says_so() {
    for (act, want) in [
        (
            DeviceAct::Quarantine {
                reason: "drill".into(),
            },
            Code::DeviceQuarantined,
        ),
        (
            DeviceAct::Revoke {
                reason: RevocationReason::KeyCompromise,
                note: "stolen".into(),
            },
            Code::DeviceRevoked,
        ),
        (
            DeviceAct::Decommission {
                reason: "old".into(),
            },
            Code::DeviceDecommissioned,
        ),
    ] {
        let world = World::new().await;
        let key = world.individual("sn-1").await;
        world.register("sn-1", &key).await.unwrap();
        world.at_hub("thermo-sn-1", &key).await.unwrap();
        world.does("thermo-sn-1", act).await;
        assert_eq!(code(world.register("sn-1", &key).await), want);
        assert_eq!(code(world.at_hub("thermo-sn-1", &key).await), want);
        let why = world.road.why("thermo-sn-1", world.now()).await.unwrap();
        assert_eq!(why.unwrap().code, want.as_str());

        // An operator's release lets it in again: at once after a quarantine, else when it registers.
        world
            .does("thermo-sn-1", DeviceAct::Release { new_key: true })
            .await;
        let at_hub = world.at_hub("thermo-sn-1", &key).await;
        if want == Code::DeviceQuarantined {
            at_hub.unwrap();
        } else {
            assert_eq!(code(at_hub), Code::RegistrationEnded);
            world.pass(1);
            world.register("sn-1", &key).await.unwrap();
            assert!(world.at_hub("thermo-sn-1", &key).await.unwrap().first_use);
        }
        let why = world.road.why("thermo-sn-1", world.now()).await.unwrap();
        assert_eq!(why.unwrap().code, "provisioned");
    }
}

#[tokio::test]
async fn a_quarantine_that_ends_leaves_the_key_that_was_there() {
    let world = World::new().await;
    let key = world.individual("sn-1").await;
    world.register("sn-1", &key).await.unwrap();
    let reason = "drill".to_owned();
    world
        .does("thermo-sn-1", DeviceAct::Quarantine { reason })
        .await;
    world
        .does("thermo-sn-1", DeviceAct::Release { new_key: false })
        .await;
    let file = world.device("thermo-sn-1").await;
    assert_eq!(
        (file.device.state, file.device.released),
        (DeviceState::Active, false)
    );
    world.at_hub("thermo-sn-1", &key).await.unwrap();
}

#[tokio::test]
async fn a_key_is_replaced_slot_by_slot() {
    let world = World::new().await;
    let name = "sn-1";
    let attestation = Attestation::SymmetricKey;
    let made = world
        .made(entry(EntryKind::Individual, name, attestation))
        .await
        .made;
    let (first, second) = (made.primary.unwrap(), made.secondary.unwrap());
    world.register(name, &first).await.unwrap();
    world.at_hub("thermo-sn-1", &second).await.unwrap();
    let rotate = async |slot, key| {
        let (road, now) = (&world.road, world.now());
        road.entry_rotate(EntryKind::Individual, name, slot, key, "test", &chance, now)
            .await
    };
    let third = rotate(KeySlot::Primary, None)
        .await
        .unwrap()
        .made
        .primary
        .unwrap();
    assert_eq!(
        code(world.register(name, &first).await),
        Code::EntryProofWrong
    );
    assert_eq!(
        code(world.at_hub("thermo-sn-1", &first).await),
        Code::EntryProofWrong
    );
    for key in [&second, &third] {
        world.register(name, key).await.unwrap();
        world.at_hub("thermo-sn-1", key).await.unwrap();
    }
    // What was made elsewhere is taken, and not said; what is too short is not taken.
    let own = Zeroizing::new(vec![5; 32]);
    let taken = rotate(KeySlot::Secondary, Some(own.clone())).await.unwrap();
    assert!(taken.made.primary.is_none() && taken.made.secondary.is_none());
    world.register(name, &own).await.unwrap();
    for length in [0, 31, 65] {
        let refused = rotate(KeySlot::Primary, Some(Zeroizing::new(vec![5; length]))).await;
        assert!(matches!(refused, Err(EntryDeskError::Key(_))), "{length}");
    }
}

#[tokio::test]
async fn no_key_is_in_the_ledger_or_its_journal() {
    let world = World::new().await;
    let own = world.individual("sn-1").await;
    let group = world.group("line-1").await;
    let derived = hmac(&group, b"sn-2");
    world.register("sn-1", &own).await.unwrap();
    world.register("sn-2", &derived).await.unwrap();
    let (ledger, stored) = (world.road.ledger(), world.stored());
    let journal = format!("{:?}", ledger.journal_read(0, 1_000).await.unwrap());
    let listed = format!("{:?}", ledger.entry_list().await.unwrap());
    for key in [&own, &group, &derived] {
        assert!(!stored.windows(key.len()).any(|window| window == key));
        for text in [hex::encode(key), base64(key)] {
            assert!(
                !stored
                    .windows(text.len())
                    .any(|window| window == text.as_bytes())
            );
            assert!(!journal.contains(&text) && !listed.contains(&text));
        }
    }
}

fn base64(bytes: &[u8]) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode(bytes)
}

#[tokio::test]
async fn what_the_product_wants_of_newcomers_holds_for_entries() {
    let world = World::with(|product| product.allowlist = true).await;
    let key = world.individual("sn-1").await;
    assert_eq!(
        code(world.register("sn-1", &key).await),
        Code::HardwareNotAllowed
    );
    let ids = vec![imprint_identity::HardwareId::parse("sn-1").unwrap()];
    let ledger = world.road.ledger();
    ledger
        .allow_add("thermo", ids, "test", world.now())
        .await
        .unwrap();
    world.register("sn-1", &key).await.unwrap();

    let world = World::with(|product| product.minimum_strength = "flash-key".into()).await;
    let key = world.individual("sn-1").await;
    assert_eq!(
        code(world.register("sn-1", &key).await),
        Code::IdentityTooWeak
    );
    let mut strong = entry(EntryKind::Individual, "sn-2", Attestation::SymmetricKey);
    strong.strength = "flash-key".into();
    let key = world.made(strong).await.made.primary.unwrap();
    world.register("sn-2", &key).await.unwrap();

    let world = World::with(|product| product.approval = true).await;
    let key = world.individual("sn-1").await;
    assert_eq!(
        code(world.register("sn-1", &key).await),
        Code::ApprovalPending
    );
    assert_eq!(
        code(world.at_hub("thermo-sn-1", &key).await),
        Code::EntryUnknown
    );
    let until = world.now().plus(3_600);
    world
        .does("thermo-sn-1", DeviceAct::Approve { key: None, until })
        .await;
    world.register("sn-1", &key).await.unwrap();
    world.at_hub("thermo-sn-1", &key).await.unwrap();
}

#[tokio::test]
async fn a_closed_door_registers_no_newcomer_by_an_entry_and_keeps_nobody_out() {
    let world = World::new().await;
    let (inside, outside) = (
        world.individual("sn-1").await,
        world.individual("sn-2").await,
    );
    world.register("sn-1", &inside).await.unwrap();
    let product = Product {
        doors: Some(vec![Door::Est, Door::Claim, Door::JustInTime]),
        ..Product::named("thermo")
    };
    world.apply(product).await;
    assert_eq!(
        code(world.register("sn-2", &outside).await),
        Code::DoorClosed
    );
    world.register("sn-1", &inside).await.unwrap();
    world.at_hub("thermo-sn-1", &inside).await.unwrap();
    let product = Product {
        serial_pattern: Some("sn-[3-9]".into()),
        ..Product::named("thermo")
    };
    world.apply(product).await;
    assert_eq!(
        code(world.register("sn-2", &outside).await),
        Code::HardwareUnfit
    );
    world.at_hub("thermo-sn-1", &inside).await.unwrap();
}

#[tokio::test]
async fn a_device_that_is_registered_otherwise_is_not_taken_over_by_a_group() {
    let world = World::new().await;
    world.provisioned("sn-1").await;
    let group = world.group("line-1").await;
    let derived = hmac(&group, b"sn-1");
    assert_eq!(
        code(world.register("sn-1", &derived).await),
        Code::DeviceExists
    );
    // An entry of its own names it, as a token does that is bound to its hardware.
    let own = world.individual("sn-1").await;
    world.register("sn-1", &own).await.unwrap();
    world.at_hub("thermo-sn-1", &own).await.unwrap();
    let file = world.device("thermo-sn-1").await;
    let states: Vec<_> = file.certificates.iter().map(|one| one.state).collect();
    assert_eq!(states, [CertificateState::Superseded]);
}

#[tokio::test]
async fn a_certificate_takes_the_place_of_a_shared_key() {
    let world = World::new().await;
    let key = world.individual("sn-1").await;
    world.register("sn-1", &key).await.unwrap();
    world.at_hub("thermo-sn-1", &key).await.unwrap();
    let stronger = Key::new();
    let token = world.token().await;
    let refused = world.enroll(&stronger, "sn-1", &token).await;
    assert_eq!(code(refused), Code::DeviceExists);
    let token = world.token_for("sn-1").await;
    let enrolled = world.enroll(&stronger, "sn-1", &token).await.unwrap();
    // The old credential lives until the new one has worked.
    world.at_hub("thermo-sn-1", &key).await.unwrap();
    world.verify(&enrolled.certificate).await.unwrap();
    assert_eq!(
        code(world.at_hub("thermo-sn-1", &key).await),
        Code::RegistrationEnded
    );
}

#[tokio::test]
async fn an_entry_may_name_its_device_and_no_two_have_one_name() {
    let world = World::new().await;
    let mut named = entry(EntryKind::Individual, "sn-1", Attestation::SymmetricKey);
    named.device_id = Some("pump-7".into());
    let key = world.made(named.clone()).await.made.primary.unwrap();
    let told = world.register("sn-1", &key).await.unwrap();
    assert_eq!(told.device.as_str(), "pump-7");
    world.at_hub("pump-7", &key).await.unwrap();
    named.name = "sn-2".into();
    let key = world.made(named).await.made.primary.unwrap();
    assert_eq!(code(world.register("sn-2", &key).await), Code::NameTaken);
}

#[tokio::test]
async fn a_certificate_that_an_entry_names_registers_its_device() {
    let world = World::new().await;
    let (key, other) = (Key::new(), Key::new());
    let own = self_signed("X509-1", &key);
    let next = self_signed("x509-1", &other);
    let pem = |der: &[u8]| pem::encode(pem::CERTIFICATE, der);
    let attestation = x509(pem(&own), Some(pem(&next)));
    world
        .made(entry(EntryKind::Individual, "x509-1", attestation))
        .await;
    let shown = by_certificate("x509-1", &own, Vec::new());
    let told = world.registers(&shown).await.unwrap();
    assert!(!told.registration.shared_key);
    let again = world.registers(&shown).await.unwrap();
    assert_eq!(again.registration, told.registration);
    let member = world.verify(&own).await.unwrap();
    assert_eq!(member.device.id, told.device);
    assert_eq!(member.device.step, Step::Provisioned);

    // The second that it names takes the place of the first, when it is used.
    world
        .registers(&by_certificate("x509-1", &next, Vec::new()))
        .await
        .unwrap();
    world.verify(&own).await.unwrap();
    world.verify(&next).await.unwrap();
    assert_eq!(code(world.verify(&own).await), Code::CertificateSuperseded);
    assert_eq!(
        code(world.registers(&shown).await),
        Code::CertificateSuperseded
    );

    // Neither another certificate, nor this one under another name, nor a key.
    let stranger = self_signed("x509-1", &Key::new());
    let stranger = by_certificate("x509-1", &stranger, Vec::new());
    assert_eq!(
        code(world.registers(&stranger).await),
        Code::EntryProofWrong
    );
    let renamed = by_certificate("x509-2", &own, Vec::new());
    assert_eq!(
        code(world.registers(&renamed).await),
        Code::RegistrationOther
    );
    assert_eq!(
        code(world.register("x509-1", &[7; 32]).await),
        Code::EntryProofWrong
    );
}

#[tokio::test]
async fn of_groups_the_one_that_is_nearest_to_the_device_counts() {
    let world = World::new().await;
    let maker = Maker::new("Acme", None, true);
    let group = |name, root| entry(EntryKind::Group, name, x509(root, None));
    world.made(group("all", maker.root())).await;
    let key = Key::new();
    let certificate = maker.device("x509-1", &key);
    let shown = by_certificate("x509-1", &certificate, maker.chain());
    let told = world.registers(&shown).await.unwrap();
    assert_eq!(told.registration.entry, "all");
    world.verify(&certificate).await.unwrap();

    // Nearer, and disabled: no.
    world.made(group("factory", maker.factory())).await;
    let second = maker.device("x509-2", &Key::new());
    let second = by_certificate("x509-2", &second, maker.chain());
    let told = world.registers(&second).await.unwrap();
    assert_eq!(told.registration.entry, "factory");
    world.switch(EntryKind::Group, "factory", false).await;
    let third = maker.device("x509-3", &Key::new());
    let third = by_certificate("x509-3", &third, maker.chain());
    assert_eq!(code(world.registers(&third).await), Code::EntryDisabled);

    // Another authority of the same name.
    let thief = Maker::new("Acme", None, true);
    let stolen = thief.device("x509-4", &Key::new());
    let stolen = by_certificate("x509-4", &stolen, thief.chain());
    assert_eq!(code(world.registers(&stolen).await), Code::EntryProofWrong);
    let nobody = Maker::new("Nobody", None, false);
    let nobodys = nobody.device("x509-5", &Key::new());
    let nobodys = by_certificate("x509-5", &nobodys, nobody.chain());
    assert_eq!(code(world.registers(&nobodys).await), Code::EntryUnknown);
    // A second certificate for a device that has one.
    world.switch(EntryKind::Group, "factory", true).await;
    let twin = maker.device("x509-1", &Key::new());
    let twin = by_certificate("x509-1", &twin, maker.chain());
    assert_eq!(code(world.registers(&twin).await), Code::DeviceExists);
}

#[tokio::test]
async fn a_certificate_of_ours_registers_nobody_by_an_entry() {
    let world = World::new().await;
    let (_, certificate) = world.provisioned("sn-1").await;
    let shown = by_certificate("thermo-sn-1", &certificate, Vec::new());
    assert_eq!(code(world.registers(&shown).await), Code::EntryUnknown);
}

#[tokio::test]
async fn a_registration_survives_a_restart() {
    let world = World::new().await;
    let key = world.individual("sn-1").await;
    let told = world.register("sn-1", &key).await.unwrap().registration;
    let world = world.restarted();
    assert_eq!(
        world.register("sn-1", &key).await.unwrap().registration,
        told
    );
    world.at_hub("thermo-sn-1", &key).await.unwrap();
}

fn self_signed(name: &str, key: &Key) -> Vec<u8> {
    let (from, until) = (START.plus(-86_400), START.plus(YEARS));
    // Read for its name alone.
    let issuer = Maker::new(name, None, false).root_der();
    leaf(name, key, &issuer, key, from, until)
}

/// A device chooses what it sends behind its certificate, and by that no group.
#[tokio::test]
async fn a_decoy_does_not_lead_around_a_group_that_is_disabled() {
    let (root, factory, line, device) = (Key::new(), Key::new(), Key::new(), Key::new());
    let top = authority("Acme", &root, "Acme", &root, None);
    let below = authority("Acme Factory", &factory, "Acme", &root, None);
    let last = authority("Acme Line", &line, "Acme Factory", &factory, None);
    let (from, until) = (START.plus(-86_400), START.plus(YEARS));
    let own = leaf("x509-9", &device, &last, &line, from, until);
    let forged = authority("Acme Line", &Key::new(), "Acme", &Key::new(), None);
    // The root itself has signed for the line's key as well: then both groups are as near.
    let crossed = authority("Acme Line", &line, "Acme", &root, None);

    let world = World::new().await;
    let group = |name: &str, der: &[u8]| {
        let pem = pem::encode(pem::CERTIFICATE, der);
        entry(EntryKind::Group, name, x509(pem, None))
    };
    world.made(group("root", &top)).await;
    world.made(group("factory", &below)).await;
    for decoy in [&forged, &crossed] {
        for place in 0..3 {
            let mut sent = vec![last.clone(), below.clone()];
            sent.insert(place, decoy.clone());
            let shown = by_certificate("x509-9", &own, sent);
            world.switch(EntryKind::Group, "factory", false).await;
            assert_eq!(
                code(world.registers(&shown).await),
                Code::EntryDisabled,
                "{place}"
            );
        }
    }
    world.switch(EntryKind::Group, "factory", true).await;
    let sent = vec![forged, last, below];
    let told = world
        .registers(&by_certificate("x509-9", &own, sent))
        .await
        .unwrap();
    assert_eq!(told.registration.entry, "factory");
}

#[tokio::test]
async fn a_shared_key_that_a_certificate_replaced_does_not_come_back() {
    let world = World::new().await;
    let group = world.group("line-1").await;
    let grouped = hmac(&group, b"sn-1");
    let own = world.individual("sn-2").await;
    for (id, key) in [("sn-1", &grouped), ("sn-2", &own)] {
        let device = format!("thermo-{id}");
        world.register(id, key).await.unwrap();
        world.at_hub(&device, key).await.unwrap();
        let token = world.token_for(id).await;
        let enrolled = world.enroll(&Key::new(), id, &token).await.unwrap();
        world.verify(&enrolled.certificate).await.unwrap();
        assert_eq!(code(world.register(id, key).await), Code::DeviceExists);
        assert_eq!(
            code(world.at_hub(&device, key).await),
            Code::RegistrationEnded
        );
        world.verify(&enrolled.certificate).await.unwrap();
        // An operator may want it so.
        world
            .does(&device, DeviceAct::Release { new_key: true })
            .await;
        world.register(id, key).await.unwrap();
        world.at_hub(&device, key).await.unwrap();
    }
}

#[tokio::test]
async fn an_entry_of_its_own_shuts_a_groups_device_out_at_the_hub_too() {
    let world = World::new().await;
    let group = world.group("line-1").await;
    let (one, two) = (hmac(&group, b"sn-1"), hmac(&group, b"sn-2"));
    for (id, key) in [("sn-1", &one), ("sn-2", &two)] {
        world.register(id, key).await.unwrap();
    }
    world.at_hub("thermo-sn-1", &one).await.unwrap();
    let own = world.individual("sn-1").await;
    assert_eq!(
        code(world.at_hub("thermo-sn-1", &one).await),
        Code::RegistrationEnded
    );
    world.switch(EntryKind::Individual, "sn-1", false).await;
    assert_eq!(
        code(world.at_hub("thermo-sn-1", &one).await),
        Code::EntryDisabled
    );
    // Nobody else is told, and nobody else is shut out.
    assert_eq!(
        code(world.at_hub("thermo-sn-1", &[7; 32]).await),
        Code::EntryProofWrong
    );
    world.at_hub("thermo-sn-2", &two).await.unwrap();
    world.switch(EntryKind::Individual, "sn-1", true).await;
    world.register("sn-1", &own).await.unwrap();
    world.at_hub("thermo-sn-1", &own).await.unwrap();
}

#[tokio::test]
async fn one_hardware_id_is_one_registration_id() {
    let world = World::new().await;
    let group = world.group("line-1").await;
    for (id, own) in [
        ("custom:foo", "foo"),
        ("esp-mac:a1:b2:c3:d4:e5:f6", "esp-mac:a1b2c3d4e5f6"),
        ("esp-mac:a1-b2-c3-d4-e5-f6", "esp-mac:a1b2c3d4e5f6"),
    ] {
        let shown = EntryShown::SharedKey(world.signed("x", &group));
        let refused = Newcomer::new(id, shown).unwrap_err();
        assert_eq!(refused.code, Code::HardwareInvalid);
        assert!(refused.detail.unwrap().contains(own), "{id}");
        let named = entry(EntryKind::Individual, id, Attestation::SymmetricKey);
        assert!(named.check().unwrap_err().to_string().contains(own), "{id}");
        let named = entry(EntryKind::Individual, own, Attestation::SymmetricKey);
        named.check().unwrap();
    }
    // What no device can call itself is no device's entry.
    for id in ["sn-", "none", "stm32:xyz"] {
        let named = entry(EntryKind::Individual, id, Attestation::SymmetricKey);
        assert!(named.check().is_err(), "{id}");
    }
    world
        .register(
            "ESP-MAC:A1B2C3D4E5F6",
            &hmac(&group, b"esp-mac:a1b2c3d4e5f6"),
        )
        .await
        .unwrap();
}

#[tokio::test]
async fn who_writes_its_id_in_another_way_is_heard_in_that_way() {
    let world = World::new().await;
    let group = world.group("line-1").await;
    let (lower, upper) = (hmac(&group, b"sn-1"), hmac(&group, b"SN-1"));
    world.register("sn-1", &lower).await.unwrap();
    world.at_hub("thermo-sn-1", &lower).await.unwrap();
    let told = world.register("SN-1", &upper).await.unwrap();
    assert_eq!(told.registration.presented, "SN-1");
    let member = world.at_hub("thermo-sn-1", &upper).await.unwrap();
    // It is no other device, and has been here before.
    assert!(!member.first_use);
    let file = world.device("thermo-sn-1").await;
    assert_eq!(file.device.step, Step::Provisioned);
}

#[tokio::test]
async fn a_hub_with_a_new_name_is_told_to_whoever_is_in() {
    let world = World::new().await;
    let key = world.individual("sn-1").await;
    world.register("sn-1", &key).await.unwrap();
    world.at_hub("thermo-sn-1", &key).await.unwrap();
    let product = Product {
        doors: Some(vec![Door::Est]),
        allowlist: true,
        approval: true,
        ..Product::named("thermo")
    };
    world.apply(product).await;
    let newcomer = world.by_key("sn-1", &key);
    let (road, origin, now) = (&world.road, origin(), world.now());
    let told = road.entry_register(&newcomer, "hub-2.example", &origin, &chance, now);
    assert_eq!(told.await.unwrap().registration.hub, "hub-2.example");
    let file = world.device("thermo-sn-1").await;
    assert_eq!(file.device.step, Step::Provisioned);
}

#[tokio::test]
async fn a_keys_first_use_ends_nothing_that_was_asked_for_after_it() {
    let world = World::new().await;
    let key = world.individual("sn-1").await;
    world.register("sn-1", &key).await.unwrap();
    world.pass(5);
    let token = world.token_for("sn-1").await;
    let enrolled = world.enroll(&Key::new(), "sn-1", &token).await.unwrap();
    assert!(world.at_hub("thermo-sn-1", &key).await.unwrap().first_use);
    // The certificate is the successor: it is used, and takes the key's place.
    world.verify(&enrolled.certificate).await.unwrap();
    assert_eq!(
        code(world.at_hub("thermo-sn-1", &key).await),
        Code::RegistrationEnded
    );
}

#[tokio::test]
async fn a_chain_whose_time_is_wrong_is_no_guess() {
    let world = World::new().await;
    let maker = Maker::new("Acme", None, true);
    let root = x509(maker.root(), None);
    world.made(entry(EntryKind::Group, "all", root)).await;
    let tomorrow = maker.device_from(
        "x509-1",
        &Key::new(),
        START.plus(86_400),
        START.plus(2 * YEARS),
    );
    let over = maker.device_from("x509-1", &Key::new(), START.plus(-90_000), START.plus(-9));
    for _ in 0..12 {
        for (certificate, want) in [
            (&tomorrow, Code::CertificateNotYetValid),
            (&over, Code::CertificateExpired),
        ] {
            let shown = by_certificate("x509-1", certificate, maker.chain());
            assert_eq!(code(world.registers(&shown).await), want);
        }
    }
}

/// The signature of an ECDSA certificate can be written in two ways, and what was revoked is the key's.
#[tokio::test]
async fn a_revoked_certificate_does_not_come_back_with_another_writing_of_its_signature() {
    let world = World::new().await;
    let maker = Maker::new("Acme", None, false);
    let root = x509(maker.root(), None);
    world.made(entry(EntryKind::Group, "all", root)).await;
    let key = Key::new();
    let certificate = maker.device("x509-1", &key);
    let told = world
        .registers(&by_certificate("x509-1", &certificate, Vec::new()))
        .await
        .unwrap();
    let revoke = DeviceAct::Revoke {
        reason: RevocationReason::KeyCompromise,
        note: "stolen".into(),
    };
    world.does(told.device.as_str(), revoke).await;
    let release = DeviceAct::Release { new_key: true };
    world.does(told.device.as_str(), release).await;
    // Signed anew by the same authority: other bytes, the same device and key.
    let again = loop {
        let again = maker.device("x509-1", &key);
        if again != certificate {
            break again;
        }
    };
    for der in [&certificate, &again] {
        let shown = by_certificate("x509-1", der, Vec::new());
        assert_eq!(
            code(world.registers(&shown).await),
            Code::CertificateRevoked
        );
    }
    let replaced = maker.device("x509-1", &Key::new());
    world
        .registers(&by_certificate("x509-1", &replaced, Vec::new()))
        .await
        .unwrap();
}
