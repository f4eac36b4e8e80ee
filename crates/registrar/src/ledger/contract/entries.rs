//! Entries, and what is registered by them.

use imprint_identity::Step;

use super::claims::mqtt;
use super::*;
use crate::entries::definition::{Attestation, Entry};
use crate::ledger::{
    Acted, Claimed, DeviceAct, DeviceState, EntryAct, EntryEvidence, EntryFacts, EntryGrant,
    EntryKind, EntryQuery, EntryRecord, EntryRegistration, KeyJudged, KeySlot, MOST_KEY_GROUPS,
    NewEntry, RegistrationCertificate, RegistrationGrant, RevocationReason, SealedKeys,
    ServiceAccess, ServiceKeyRecord, SharedKeyFacts,
};

const GROUP: &str = "line-1";
const HUB: &str = "hub.example";

impl<P: Place> Bench<P> {
    async fn entry_added(&mut self, new: NewEntry) -> Acted<EntryRecord> {
        let ledger = self.open().await;
        ledger.entry_add(new, ADMIN, NOW).await.unwrap()
    }

    async fn key_group(&mut self) {
        let new = by_key(EntryKind::Group, GROUP);
        assert!(matches!(self.entry_added(new).await, Acted::Done(_)));
    }

    async fn entry_done(&mut self, kind: EntryKind, name: &str, act: EntryAct) -> EntryRecord {
        let ledger = self.open().await;
        let acted = ledger.entry_act(kind, name, act, ADMIN, NOW.plus(3));
        match acted.await.unwrap() {
            Acted::Done(record) => record,
            other => panic!("not done: {other:?}"),
        }
    }

    async fn entry_found(&mut self, id: &str, shown: EntryEvidence) -> EntryFacts {
        let id = id.to_owned();
        let query = EntryQuery { id, shown };
        self.open().await.entry_facts(&query, NOW).await.unwrap()
    }

    /// Device `n` would be registered by the group with a shared key, decided on what is on record.
    async fn entry_order(&mut self, n: u8) -> EntryGrant {
        let certificate = RegistrationCertificate::SharedKey;
        self.entry_order_with(n, certificate).await
    }

    async fn entry_order_with(&mut self, n: u8, with: RegistrationCertificate) -> EntryGrant {
        let file = self.open().await.device_get(&name(n)).await.unwrap();
        let entry = self.open().await.entry_get(EntryKind::Group, GROUP).await;
        EntryGrant {
            grant: RegistrationGrant {
                enrollment: EnrollmentId([n; 8]),
                device: device_id(n),
                hardware: hardware(n),
                strength: IdentityStrength::Asserted,
                product: "thermo".into(),
                device_version: file.map(|file| file.device.version),
                key: key(n),
                certificate: with,
                template: "thermo".into(),
                thing: None,
                held: false,
                listed: false,
                past_end: None,
                origin_of_request: mqtt(),
            },
            kind: EntryKind::Group,
            entry: GROUP.into(),
            entry_version: entry.unwrap().unwrap().version,
            id: id(n),
            presented: id(n).to_uppercase(),
            hub: HUB.into(),
        }
    }

    async fn entry_settled(&mut self, order: EntryGrant) -> Claimed<EntryRegistration> {
        let ledger = self.open().await;
        ledger.entry_register(order, NOW.plus(2)).await.unwrap()
    }

    async fn entry_is_changed(&mut self, order: EntryGrant) -> bool {
        matches!(self.entry_settled(order).await, Claimed::Changed)
    }

    /// Device `n`, registered with a shared key.
    async fn with_key(&mut self, n: u8) -> EntryRegistration {
        let order = self.entry_order(n).await;
        settled(self.entry_settled(order).await)
    }

    async fn key_used(&mut self, n: u8) -> SharedKeyFacts {
        let judged = self.key_facts(n).await.unwrap().judged();
        self.key_used_as(n, judged).await
    }

    async fn key_used_as(&mut self, n: u8, judged: KeyJudged) -> SharedKeyFacts {
        let (id, ledger) = (device_id(n), self.open().await);
        let used = ledger.shared_key_verify(&id, judged, "mqtt from 10.0.0.1", NOW.plus(4));
        used.await.unwrap().unwrap()
    }

    async fn key_facts(&mut self, n: u8) -> Option<SharedKeyFacts> {
        let ledger = self.open().await;
        ledger.shared_key_facts(&name(n)).await.unwrap()
    }

    async fn device_does(&mut self, n: u8, act: DeviceAct) {
        let (id, ledger) = (device_id(n), self.open().await);
        let acted = ledger.device_act(&id, act, ADMIN, NOW.plus(5));
        assert!(matches!(acted.await.unwrap(), Acted::Done(_)));
    }
}

fn id(n: u8) -> String {
    format!("sn-{n:03}")
}

fn entry(kind: EntryKind, name: &str, attestation: Attestation) -> Entry {
    Entry {
        kind,
        name: name.to_owned(),
        product: "thermo".into(),
        attestation,
        device_id: None,
        strength: "asserted".into(),
    }
}

fn by_key(kind: EntryKind, name: &str) -> NewEntry {
    NewEntry {
        entry: entry(kind, name, Attestation::SymmetricKey),
        enabled: true,
        keys: SealedKeys {
            primary: Some(vec![1; 90]),
            secondary: Some(vec![2; 90]),
        },
        subjects: Vec::new(),
    }
}

fn by_authority(name: &str, subjects: &[&[u8]]) -> NewEntry {
    let attestation = Attestation::X509 {
        primary: "a".into(),
        secondary: None,
    };
    NewEntry {
        entry: entry(EntryKind::Group, name, attestation),
        enabled: true,
        keys: SealedKeys::default(),
        subjects: subjects.iter().map(|subject| subject.to_vec()).collect(),
    }
}

fn foreign(n: u8) -> RegistrationCertificate {
    RegistrationCertificate::Foreign {
        authority: format!("entry/{GROUP}"),
        serial: foreign_serial(n),
        der: vec![0x30, 6, 0x30, 2, n, n, 5, 0],
        to_be_signed: vec![0x30, 2, n, n],
        not_before: NOW,
        not_after: NOW.plus(86_400),
    }
}

fn foreign_serial(n: u8) -> Serial {
    let mut octets = [n; 20];
    octets[0] = 0;
    Serial(octets)
}

fn settled(outcome: Claimed<EntryRegistration>) -> EntryRegistration {
    match outcome {
        Claimed::Done(registration) => registration,
        other => panic!("not registered: {other:?}"),
    }
}

/// [`Ledger::entry_add`], [`Ledger::entry_get`], [`Ledger::entry_list`].
pub async fn an_entry_is_kept_as_it_is_and_once<P: Place>(bench: &mut Bench<P>) {
    // One name for a device and for a group: two entries.
    for kind in [EntryKind::Individual, EntryKind::Group] {
        let new = by_key(kind, GROUP);
        let Acted::Done(record) = bench.entry_added(new.clone()).await else {
            panic!("it is new")
        };
        assert_eq!(
            (record.entry.clone(), record.keys.clone()),
            (new.entry, new.keys)
        );
        assert_eq!(
            (record.enabled, record.registered, record.version),
            (true, 0, 1)
        );
        let there = bench.open().await.entry_get(kind, GROUP).await.unwrap();
        assert_eq!(there, Some(record));
        let again = bench.entry_added(by_key(kind, GROUP)).await;
        assert_eq!(again, Acted::NotNow { state: "exists" });
    }
    assert_eq!(bench.told("entry-made").await, 2);
    let all = bench.open().await.entry_list().await.unwrap();
    let kinds: Vec<_> = all.iter().map(|one| one.entry.kind).collect();
    assert_eq!(kinds, [EntryKind::Group, EntryKind::Individual]);
    let absent = bench.open().await.entry_get(EntryKind::Group, "no").await;
    assert_eq!(absent.unwrap(), None);
}

/// [`Ledger::entry_add`]: a stranger's signature is compared with each group's keys.
pub async fn there_are_no_more_groups_with_keys_than_can_be_asked<P: Place>(bench: &mut Bench<P>) {
    for n in 0..MOST_KEY_GROUPS {
        let new = by_key(EntryKind::Group, &format!("g{n}"));
        assert!(matches!(bench.entry_added(new).await, Acted::Done(_)));
    }
    let more = bench.entry_added(by_key(EntryKind::Group, "more")).await;
    assert_eq!(more, Acted::NotNow { state: "too many" });
    let own = bench
        .entry_added(by_key(EntryKind::Individual, "own"))
        .await;
    assert!(matches!(own, Acted::Done(_)));
    let x509 = bench.entry_added(by_authority("x509", &[b"a"])).await;
    assert!(matches!(x509, Acted::Done(_)));
}

/// [`Ledger::entry_act`].
pub async fn an_act_on_an_entry_is_told_once_and_moves_its_version<P: Place>(bench: &mut Bench<P>) {
    bench.key_group().await;
    let kind = EntryKind::Group;
    let storage_key = |byte| EntryAct::StorageKey {
        public: vec![byte; 300],
    };
    let key = |byte, slot| EntryAct::Key {
        slot,
        sealed: vec![byte; 90],
    };
    for (act, enabled, version) in [
        (EntryAct::Enable, true, 1),
        (EntryAct::Disable, false, 2),
        (EntryAct::Disable, false, 2),
        (key(7, KeySlot::Primary), false, 3),
        (key(8, KeySlot::Secondary), false, 4),
        (EntryAct::Enable, true, 5),
        (storage_key(1), true, 6),
        (storage_key(1), true, 6),
        (storage_key(2), true, 7),
    ] {
        let record = bench.entry_done(kind, GROUP, act).await;
        assert_eq!((record.enabled, record.version), (enabled, version));
    }
    let record = bench
        .open()
        .await
        .entry_get(kind, GROUP)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(record.keys.get(KeySlot::Primary), Some(&[7; 90][..]));
    assert_eq!(record.keys.get(KeySlot::Secondary), Some(&[8; 90][..]));
    assert_eq!(record.storage_key, Some(vec![2; 300]));
    for (told, times) in [
        ("entry-storage-key-seen", 2),
        ("entry-disabled", 1),
        ("entry-enabled", 1),
        ("entry-key-replaced", 2),
    ] {
        assert_eq!(bench.told(told).await, times, "{told}");
    }
    let ledger = bench.open().await;
    let absent = ledger.entry_act(EntryKind::Individual, GROUP, EntryAct::Enable, ADMIN, NOW);
    assert_eq!(absent.await.unwrap(), Acted::Absent);
}

/// [`Ledger::entry_act`]: what is replaced is what was decided on.
pub async fn an_entry_is_replaced_in_the_version_that_was_read<P: Place>(bench: &mut Bench<P>) {
    bench.entry_added(by_authority("acme", &[b"one"])).await;
    let kind = EntryKind::Group;
    let replace = |new: NewEntry, version| EntryAct::Replace {
        new: Box::new(new),
        version,
    };
    let two = by_authority("acme", &[b"two", b"three"]);
    let same = bench
        .entry_done(
            kind,
            "acme",
            replace(by_authority("acme", &[b"one"]), Some(1)),
        )
        .await;
    assert_eq!(same.version, 1, "nothing differs");
    let mut disabled = two.clone();
    disabled.enabled = false;
    let record = bench
        .entry_done(kind, "acme", replace(disabled, Some(1)))
        .await;
    assert_eq!((record.enabled, record.version), (false, 2));
    let late =
        bench
            .open()
            .await
            .entry_act(kind, "acme", replace(two.clone(), Some(1)), ADMIN, NOW);
    assert_eq!(late.await.unwrap(), Acted::NotNow { state: "changed" });
    for (issuer, found) in [(&b"one"[..], 0), (b"two", 1), (b"three", 1)] {
        let issuers = vec![issuer.to_vec()];
        let shown = EntryEvidence::Certificate { issuers };
        let facts = bench.entry_found("x", shown).await;
        assert_eq!(facts.groups.len(), found, "{issuer:?}");
    }
    // Keys that are not given stay.
    bench.key_group().await;
    let mut new = by_key(kind, GROUP);
    new.keys = SealedKeys {
        primary: None,
        secondary: Some(vec![9; 90]),
    };
    let record = bench.entry_done(kind, GROUP, replace(new, None)).await;
    assert_eq!(record.keys.get(KeySlot::Primary), Some(&[1; 90][..]));
    assert_eq!(record.keys.get(KeySlot::Secondary), Some(&[9; 90][..]));
    bench.entry_done(kind, GROUP, EntryAct::Reveal).await;
    for (told, times) in [("entry-changed", 2), ("entry-keys-revealed", 1)] {
        assert_eq!(bench.told(told).await, times, "{told}");
    }
}

/// [`Ledger::entry_act`]: registrations by an entry are over with it, by keys and by certificates.
pub async fn an_entry_that_is_deleted_takes_its_registrations_along<P: Place>(
    bench: &mut Bench<P>,
) {
    bench.key_group().await;
    let kind = EntryKind::Group;
    bench.with_key(1).await;
    bench.key_used(1).await;
    let order = bench.entry_order_with(2, foreign(2)).await;
    settled(bench.entry_settled(order).await);
    assert!(!bench.credential(foreign_serial(2)).await.registration_over);
    let order = bench.entry_order(3).await;
    let delete = |version| EntryAct::Delete { version };
    let ledger = bench.open().await;
    let late = ledger.entry_act(kind, GROUP, delete(Some(7)), ADMIN, NOW);
    assert_eq!(late.await.unwrap(), Acted::NotNow { state: "changed" });
    let was = bench.entry_done(kind, GROUP, delete(Some(1))).await;
    assert_eq!((was.entry.name.as_str(), was.registered), (GROUP, 2));

    let ledger = bench.open().await;
    assert_eq!(ledger.entry_get(kind, GROUP).await.unwrap(), None);
    assert!(ledger.entry_list().await.unwrap().is_empty());
    let again = ledger.entry_act(kind, GROUP, delete(None), ADMIN, NOW);
    assert_eq!(again.await.unwrap(), Acted::Absent);
    assert_eq!(bench.told("entry-deleted").await, 1);
    // What was decided before is not written after.
    assert!(bench.entry_is_changed(order).await);
    let facts = bench.key_facts(1).await.unwrap();
    assert!(!facts.registration.live && !facts.entry.enabled);
    assert_eq!(facts.entry.keys, SealedKeys::default());
    assert_eq!(facts.registration.entry, GROUP);
    assert!(!bench.key_used(1).await.registration.live);
    assert!(bench.credential(foreign_serial(2)).await.registration_over);
    // A group of the same name is another one, and takes them in by its own rules.
    bench.key_group().await;
    assert!(bench.credential(foreign_serial(2)).await.registration_over);
    let again = bench.with_key(1).await;
    assert!(again.live && again.verified_at.is_none());
    let order = bench.entry_order_with(2, foreign(2)).await;
    settled(bench.entry_settled(order).await);
    assert!(!bench.credential(foreign_serial(2)).await.registration_over);
}

/// [`Ledger::entry_page`], [`Ledger::entry_registrations`], [`Ledger::registration_end`].
pub async fn entries_and_their_registrations_are_read_in_pages<P: Place>(bench: &mut Bench<P>) {
    bench.key_group().await;
    for name in ["b", "a", "c"] {
        bench.entry_added(by_key(EntryKind::Individual, name)).await;
    }
    for n in 1..=3 {
        bench.with_key(n).await;
    }
    let ledger = bench.open().await;
    for (product, after, limit, want) in [
        ("thermo", "", 2, &["a", "b"][..]),
        ("thermo", "b", 2, &["c"]),
        ("other", "", 2, &[]),
    ] {
        let page = ledger.entry_page(EntryKind::Individual, product, after, limit);
        let page = page.await.unwrap();
        let names: Vec<_> = page.iter().map(|one| one.entry.name.as_str()).collect();
        assert_eq!(names, want, "{product} {after}");
    }
    let (one, two) = (id(1), id(2));
    let page = ledger.entry_registrations(EntryKind::Group, GROUP, &one, 1);
    assert_eq!(page.await.unwrap()[0].id, two);
    let late = ledger.registration_end(&two, Some(7), ADMIN, NOW);
    assert_eq!(late.await.unwrap(), Acted::NotNow { state: "changed" });
    for _ in 0..2 {
        let ended = ledger.registration_end(&two, None, ADMIN, NOW);
        let Acted::Done(ended) = ended.await.unwrap() else {
            panic!("it is there")
        };
        assert_eq!((ended.live, ended.version), (false, 2));
    }
    let absent = ledger.registration_end("no", None, ADMIN, NOW).await;
    assert_eq!(absent.unwrap(), Acted::Absent);
    assert_eq!(bench.told("registration-ended").await, 1);
}

/// [`Ledger::service_key_add`], [`Ledger::service_key_delete`].
pub async fn a_service_key_is_kept_once_and_taken_back<P: Place>(bench: &mut Bench<P>) {
    let key = |name: &str| ServiceKeyRecord {
        name: name.to_owned(),
        product: "thermo".into(),
        host: "hub.example".into(),
        access: ServiceAccess::Keys,
        sealed: vec![3; 60],
        created_at: NOW,
    };
    let ledger = bench.open().await;
    for name in ["b", "a"] {
        let added = ledger.service_key_add(key(name), ADMIN, NOW).await;
        assert_eq!(added.unwrap(), Acted::Done(key(name)));
    }
    let again = ledger.service_key_add(key("a"), ADMIN, NOW).await;
    assert_eq!(again.unwrap(), Acted::NotNow { state: "exists" });
    let all = ledger.service_key_list().await.unwrap();
    assert_eq!(all, [key("a"), key("b")]);
    let taken = ledger.service_key_delete("a", ADMIN, NOW).await;
    assert_eq!(taken.unwrap(), Acted::Done(key("a")));
    let twice = ledger.service_key_delete("a", ADMIN, NOW).await;
    assert_eq!(twice.unwrap(), Acted::Absent);
    assert_eq!(ledger.service_key_get("a").await.unwrap(), None);
    for (told, times) in [("service-key-made", 2), ("service-key-revoked", 1)] {
        assert_eq!(bench.told(told).await, times, "{told}");
    }
}

/// [`Ledger::entry_facts`].
pub async fn a_device_is_of_its_own_entry_else_of_groups<P: Place>(bench: &mut Bench<P>) {
    let names = |facts: &EntryFacts| -> Vec<String> {
        let groups = facts.groups.iter();
        groups.map(|group| group.entry.name.clone()).collect()
    };
    for name in ["first", GROUP] {
        bench.entry_added(by_key(EntryKind::Group, name)).await;
    }
    bench
        .entry_added(by_authority("acme", &[b"one", b"two"]))
        .await;
    bench.entry_added(by_authority("other", &[b"three"])).await;
    let by_key_of = async |bench: &mut Bench<P>, n| {
        let shown = EntryEvidence::SharedKey;
        bench.entry_found(&id(n), shown).await
    };
    let facts = by_key_of(bench, 1).await;
    assert_eq!(names(&facts), ["first", GROUP]);
    assert!(facts.individual.is_none() && facts.registered.is_none());
    // A device that comes again is looked for where it was.
    let registration = bench.with_key(1).await;
    let facts = by_key_of(bench, 1).await;
    assert_eq!(names(&facts), [GROUP, "first"]);
    let (found, device) = facts.registered.unwrap();
    assert_eq!((found, device.id), (registration, device_id(1)));

    let under = async |bench: &mut Bench<P>, issuers: &[&[u8]]| {
        let issuers = issuers.iter().map(|name| name.to_vec()).collect();
        let shown = EntryEvidence::Certificate { issuers };
        names(&bench.entry_found(&id(1), shown).await)
    };
    assert_eq!(under(bench, &[b"two"]).await, ["acme"]);
    assert_eq!(
        under(bench, &[b"three", b"one", b"two"]).await,
        ["other", "acme"]
    );
    assert!(under(bench, &[b"four"]).await.is_empty());
    assert!(under(bench, &[]).await.is_empty());

    let own = by_key(EntryKind::Individual, &id(1));
    bench.entry_added(own).await;
    let facts = by_key_of(bench, 1).await;
    assert_eq!(facts.individual.map(|own| own.entry.name), Some(id(1)));
    assert!(facts.groups.is_empty());
}

/// [`Ledger::entry_register`], 4.
pub async fn a_registration_makes_a_device_with_a_shared_key<P: Place>(bench: &mut Bench<P>) {
    bench.key_group().await;
    let registration = bench.with_key(1).await;
    assert_eq!(registration.device, device_id(1));
    assert_eq!(
        (registration.id.as_str(), registration.presented.as_str()),
        ("sn-001", "SN-001")
    );
    assert_eq!(
        (registration.kind, registration.entry.as_str()),
        (EntryKind::Group, GROUP)
    );
    assert_eq!(registration.hub, HUB);
    assert!(registration.shared_key && registration.live);
    assert_eq!((registration.version, registration.verified_at), (1, None));
    let file = bench.file(&name(1)).await;
    assert_eq!(
        (file.device.state, file.device.step),
        (DeviceState::Active, Step::Verify)
    );
    assert_eq!(file.registration, Some(registration));
    assert!(file.certificates.is_empty());
    let group = bench.open().await.entry_get(EntryKind::Group, GROUP).await;
    assert_eq!(group.unwrap().unwrap().registered, 1);
    assert_eq!(bench.told("device-registered").await, 1);
    assert_eq!(bench.facts(query(9, 1)).await.key_owner, Some(device_id(1)));
}

/// [`Ledger::entry_register`], 4, with a certificate.
pub async fn a_registration_keeps_the_certificate_that_came<P: Place>(bench: &mut Bench<P>) {
    bench.key_group().await;
    let order = bench.entry_order_with(1, foreign(1)).await;
    let registration = settled(bench.entry_settled(order.clone()).await);
    assert!(!registration.shared_key);
    assert_eq!(bench.key_facts(1).await.map(|facts| facts.device.id), None);
    let shown = bench.credential(foreign_serial(1)).await;
    assert_eq!(shown.device.id, device_id(1));
    assert_eq!(shown.certificate.state, CertificateState::Issued);
    let verified = bench.verify(foreign_serial(1)).await;
    assert_eq!(verified.device.step, Step::Provisioned);
    // Its registration is not ended by its own certificate.
    let file = bench.file(&name(1)).await;
    assert_eq!(file.registration, Some(registration.clone()));
    let again = settled(bench.entry_settled(order).await);
    assert_eq!(again, registration);
}

/// [`Ledger::entry_register`] with a certificate that the road has issued, and its first use.
pub async fn a_certificate_of_its_own_outgrows_a_shared_key<P: Place>(bench: &mut Bench<P>) {
    bench.key_group().await;
    // There is none yet.
    let own = RegistrationCertificate::Own {
        serial: foreign_serial(1),
    };
    let nothing = bench.entry_order_with(1, own.clone()).await;
    assert!(bench.entry_is_changed(nothing).await);
    let registration = bench.with_key(1).await;
    assert!(registration.shared_key);
    let nothing = bench.entry_order_with(1, own).await;
    assert!(bench.entry_is_changed(nothing).await);
    // Another than the device's own, intended, settled.
    let grant = Grant {
        generation: Generation::Entry,
        ..bench.grant(1, 1).await
    };
    let serial = bench.intended(grant).await.serial;
    bench.settle(serial).await;
    // Its key comes to the hub first: that ends no certificate which it may be waiting for.
    bench.key_used(1).await;
    assert_eq!(bench.state(serial).await, CertificateState::Issued);
    let own = RegistrationCertificate::Own { serial };
    let order = bench.entry_order_with(1, own.clone()).await;
    let mut other = order.clone();
    other.grant.certificate = RegistrationCertificate::Own {
        serial: foreign_serial(9),
    };
    assert!(bench.entry_is_changed(other).await);
    assert!(bench.key_facts(1).await.is_some());
    bench.verify(serial).await;
    assert!(
        bench.key_facts(1).await.is_none(),
        "its key is heard no more"
    );
    let file = bench.file(&name(1)).await;
    let known = file.registration.unwrap();
    assert!(known.live && !known.shared_key);
    assert_eq!(known.version, registration.version + 1);
    assert_eq!(bench.told("shared-key-outgrown").await, 1);
    let order = bench.entry_order_with(1, own).await;
    assert_eq!(settled(bench.entry_settled(order).await), known);
}

/// [`Ledger::entry_register`], 2.
pub async fn the_same_registration_has_the_same_answer<P: Place>(bench: &mut Bench<P>) {
    bench.key_group().await;
    let order = bench.entry_order(1).await;
    let first = settled(bench.entry_settled(order.clone()).await);
    assert_eq!(settled(bench.entry_settled(order.clone()).await), first);
    assert_eq!(bench.told("device-registered").await, 1);
    // Another hub is another answer.
    let mut moved = bench.entry_order(1).await;
    moved.hub = "other.example".into();
    let moved = settled(bench.entry_settled(moved).await);
    assert_eq!((moved.hub.as_str(), moved.version), ("other.example", 2));
    assert_eq!(moved.created_at, first.created_at);
    let group = bench.open().await.entry_get(EntryKind::Group, GROUP).await;
    assert_eq!(group.unwrap().unwrap().registered, 1);
    // One registration id, one device.
    let mut other = bench.entry_order(2).await;
    other.id = id(1);
    assert!(bench.entry_is_changed(other).await);
}

/// [`Ledger::entry_register`], 1 and 3.
pub async fn a_registration_by_an_entry_on_changed_facts_is_not_carried_out<P: Place>(
    bench: &mut Bench<P>,
) {
    bench.key_group().await;
    let order = bench.entry_order(1).await;
    bench
        .entry_done(EntryKind::Group, GROUP, EntryAct::Disable)
        .await;
    assert!(bench.entry_is_changed(order).await);
    let order = bench.entry_order(1).await;
    assert!(bench.entry_is_changed(order).await);
    bench
        .entry_done(EntryKind::Group, GROUP, EntryAct::Enable)
        .await;
    let mut unknown = bench.entry_order(1).await;
    unknown.entry = "nobody".into();
    assert!(bench.entry_is_changed(unknown).await);

    let older = bench.entry_order(1).await;
    let mut key_of_other = bench.entry_order(2).await;
    bench.with_key(1).await;
    key_of_other.grant.key = key(1);
    assert!(bench.entry_is_changed(key_of_other).await);
    let reason = "drill".to_owned();
    bench.device_does(1, DeviceAct::Quarantine { reason }).await;
    assert!(bench.entry_is_changed(older).await);
    let order = bench.entry_order(1).await;
    assert!(bench.entry_is_changed(order).await);
    assert!(!bench.is_named(&name(2)).await);
}

/// [`Ledger::entry_register`]: whoever is first makes the device, and all get that.
pub async fn sixty_four_registrations_make_one_device<P: Place>(bench: &mut Bench<P>) {
    bench.key_group().await;
    let order = bench.entry_order(1).await;
    let ledger = bench.open().await;
    let all = (0..64).map(|_| ledger.entry_register(order.clone(), NOW));
    let told: Vec<_> = together(all)
        .await
        .into_iter()
        .map(Result::unwrap)
        .collect();
    let told: Vec<_> = told.into_iter().map(settled).collect();
    assert!(told.iter().all(|one| *one == told[0]));
    assert_eq!(bench.told("device-registered").await, 1);
}

/// [`Ledger::shared_key_verify`].
pub async fn the_first_use_of_a_shared_key_provisions_the_device<P: Place>(bench: &mut Bench<P>) {
    bench.key_group().await;
    assert!(bench.key_facts(1).await.is_none());
    bench.with_key(1).await;
    let used = bench.key_used(1).await;
    assert_eq!(used.device.step, Step::Provisioned);
    assert_eq!(used.registration.verified_at, Some(NOW.plus(4)));
    assert_eq!(
        (used.entry.entry.name.as_str(), used.product.name.as_str()),
        (GROUP, "thermo")
    );
    assert_eq!(bench.told("shared-key-verified").await, 1);
    // What the device is told has not changed by that.
    assert_eq!(used.registration.version, 1);
    assert_eq!(used.registration.updated_at, NOW.plus(2));

    // Neither one that was put aside, nor one whose entry is disabled.
    bench.with_key(2).await;
    let reason = "drill".to_owned();
    bench.device_does(2, DeviceAct::Quarantine { reason }).await;
    assert_eq!(bench.key_used(2).await.registration.verified_at, None);
    bench.with_key(3).await;
    bench
        .entry_done(EntryKind::Group, GROUP, EntryAct::Disable)
        .await;
    assert_eq!(bench.key_used(3).await.device.step, Step::Verify);
    assert_eq!(bench.told("shared-key-verified").await, 1);
}

/// A key that was judged by an entry or a registration that has changed since may be none any more.
pub async fn a_shared_key_is_used_as_it_was_judged<P: Place>(bench: &mut Bench<P>) {
    bench.key_group().await;
    bench.with_key(1).await;
    let judged = bench.key_facts(1).await.unwrap().judged();
    for other in [
        KeyJudged {
            entry: judged.entry + 1,
            ..judged
        },
        KeyJudged {
            registration: judged.registration + 1,
            ..judged
        },
    ] {
        let after = bench.key_used_as(1, other).await;
        assert_eq!(after.registration.verified_at, None);
        assert_eq!(after.device.step, Step::Verify);
    }
    let after = bench.key_used_as(1, judged).await;
    assert_eq!(after.device.step, Step::Provisioned);
    assert_eq!(bench.told("shared-key-verified").await, 1);
}

/// One live identity: a shared key and a certificate take each other's place, when they are used.
pub async fn a_shared_key_and_a_certificate_take_each_others_place<P: Place>(bench: &mut Bench<P>) {
    bench.key_group().await;
    let serial = bench.member(1).await;
    bench
        .device_does(1, DeviceAct::Release { new_key: true })
        .await;
    bench.with_key(1).await;
    assert_eq!(bench.state(serial).await, CertificateState::Active);
    bench.key_used(1).await;
    assert_eq!(bench.state(serial).await, CertificateState::Superseded);

    bench
        .device_does(1, DeviceAct::Release { new_key: true })
        .await;
    bench.mint(2).await;
    let mut grant = bench.grant(1, 4).await;
    grant.generation = Generation::Token(hash(2));
    let serial = bench.intended(grant).await.serial;
    bench.settle(serial).await;
    assert!(bench.key_facts(1).await.unwrap().registration.live);
    bench.verify(serial).await;
    assert!(!bench.key_facts(1).await.unwrap().registration.live);
    assert_eq!(bench.told("registration-ended").await, 1);
}

/// [`Ledger::device_act`] on a device with a shared key.
pub async fn what_an_operator_ends_stays_ended_until_the_device_registers_again<P: Place>(
    bench: &mut Bench<P>,
) {
    bench.key_group().await;
    let revoke = DeviceAct::Revoke {
        reason: RevocationReason::KeyCompromise,
        note: "stolen".into(),
    };
    let decommission = DeviceAct::Decommission {
        reason: "old".into(),
    };
    for (n, act) in [(1, revoke), (2, decommission)] {
        bench.with_key(n).await;
        bench.key_used(n).await;
        bench.device_does(n, act.clone()).await;
        assert!(!bench.key_facts(n).await.unwrap().registration.live);
        let ended = bench.told("registration-ended").await;
        bench.device_does(n, act).await;
        assert_eq!(bench.told("registration-ended").await, ended);
        bench
            .device_does(n, DeviceAct::Release { new_key: true })
            .await;
        let device = bench.device(&name(n)).await;
        assert_eq!(
            (device.state, device.released),
            (DeviceState::Pending, true)
        );
        assert!(!bench.key_facts(n).await.unwrap().registration.live);
        let again = bench.with_key(n).await;
        assert!(again.live && again.verified_at.is_none());
        let device = bench.device(&name(n)).await;
        assert_eq!(
            (device.state, device.released),
            (DeviceState::Active, false)
        );
    }
    // A quarantine ends nothing.
    bench.with_key(3).await;
    let reason = "drill".to_owned();
    bench.device_does(3, DeviceAct::Quarantine { reason }).await;
    assert!(bench.key_facts(3).await.unwrap().registration.live);
    bench
        .device_does(3, DeviceAct::Release { new_key: false })
        .await;
    assert_eq!(bench.device(&name(3)).await.state, DeviceState::Active);
}
