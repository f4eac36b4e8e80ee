//! Registered CAs: devices that come with a certificate of their maker's, and everybody else who does.

use std::collections::BTreeSet;
use std::sync::Arc;

use imprint_attest::{PeerCertificate, subject_key_id};
use imprint_identity::{Step, UnixTime};
use imprint_pkix::SignatureAlgorithm;
use imprint_pkix::certificate::{self, Certificate};
use imprint_pkix::dn;
use imprint_pkix::pem;
use imprint_registrar::claims::definition::{AutoRegistration, CaMode, RegisteredCa};
use imprint_registrar::claims::{Arrival, Registration};
use imprint_registrar::ledger::{
    CertificateOrigin, CertificateState, Definitions, DeviceAct, DeviceFilter, DeviceState,
    Generation,
};
use imprint_registrar::verify::Member;
use imprint_registrar::{Code, Door, Ledger as _, Product, Refusal, Serial};

use super::support::*;
use crate::support::*;

/// Somebody else's CA, with an intermediate below it if it is to have one.
pub struct Maker {
    root: Vec<u8>,
    root_key: Key,
    /// The one that issues: its certificate and key.
    below: Option<(Vec<u8>, Key)>,
}

impl Maker {
    pub fn new(name: &str, path_len: Option<u8>, intermediate: bool) -> Self {
        let root_key = Key::new();
        let root = authority(name, &root_key, name, &root_key, path_len);
        let below = intermediate.then(|| {
            let key = Key::new();
            let below = format!("{name} Factory");
            (authority(&below, &key, name, &root_key, Some(0)), key)
        });
        Self {
            root,
            root_key,
            below,
        }
    }

    pub fn root_der(&self) -> Vec<u8> {
        self.root.clone()
    }

    pub fn root(&self) -> String {
        pem::encode(pem::CERTIFICATE, &self.root)
    }

    /// The authority that signs devices' certificates.
    pub fn factory(&self) -> String {
        let (der, _) = self.below.as_ref().expect("it has one below");
        pem::encode(pem::CERTIFICATE, der)
    }

    fn ca(&self) -> RegisteredCa {
        RegisteredCa {
            name: "acme".into(),
            certificate: pem::encode(pem::CERTIFICATE, &self.root),
            product: "thermo".into(),
            template: None,
            mode: CaMode::SniOnly,
            active: true,
            auto: AutoRegistration::Jitp,
            strength: "asserted".into(),
        }
    }

    /// A device's certificate, `days` from its beginning to its end.
    pub fn device(&self, name: &str, key: &Key) -> Vec<u8> {
        self.device_from(name, key, START.plus(-86_400), START.plus(9 * YEARS))
    }

    pub fn device_from(&self, name: &str, key: &Key, from: UnixTime, until: UnixTime) -> Vec<u8> {
        let (issuer, issuer_key) = match &self.below {
            Some((der, key)) => (der, key),
            None => (&self.root, &self.root_key),
        };
        leaf(name, key, issuer, issuer_key, from, until)
    }

    /// What a device sends behind its certificate.
    pub fn chain(&self) -> Vec<Vec<u8>> {
        self.below.iter().map(|(der, _)| der.clone()).collect()
    }
}

pub fn authority(
    name: &str,
    key: &Key,
    issuer: &str,
    issuer_key: &Key,
    path_len: Option<u8>,
) -> Vec<u8> {
    let valid = START.plus(-86_400)..START.plus(20 * YEARS);
    authority_from(name, key, issuer, issuer_key, path_len, valid)
}

fn authority_from(
    name: &str,
    key: &Key,
    issuer: &str,
    issuer_key: &Key,
    path_len: Option<u8>,
    valid: std::ops::Range<UnixTime>,
) -> Vec<u8> {
    let algorithm = SignatureAlgorithm::EcdsaSha256;
    let (public, issuer_public) = (key.public(), issuer_key.public());
    let to_be_signed = certificate::Authority {
        serial: [9; 20],
        issuer_der: &dn::common_name_der(issuer, None),
        authority_key_id: subject_key_id(&issuer_public),
        subject_der: &dn::common_name_der(name, None),
        public_key: &public,
        subject_key_id: subject_key_id(&public),
        not_before: valid.start,
        not_after: valid.end,
        path_len,
        crl_url: None,
        issuer_url: None,
        signature_algorithm: algorithm,
    }
    .to_be_signed();
    certificate::assemble(&to_be_signed, algorithm, &issuer_key.sign(&to_be_signed))
}

pub fn leaf(
    name: &str,
    key: &Key,
    issuer: &[u8],
    issuer_key: &Key,
    from: UnixTime,
    until: UnixTime,
) -> Vec<u8> {
    let algorithm = SignatureAlgorithm::EcdsaSha256;
    let issuer = Certificate::parse(issuer).unwrap();
    let (public, issuer_public) = (key.public(), issuer_key.public());
    let to_be_signed = certificate::Leaf {
        // Many makers count: one octet, and the same in every batch.
        serial: [3; 20],
        issuer_der: issuer.subject_der(),
        authority_key_id: subject_key_id(&issuer_public),
        subject_common_name: name,
        public_key: &public,
        subject_key_id: subject_key_id(&public),
        not_before: from,
        not_after: until,
        hardware: None,
        uris: &[],
        dns_names: &[],
        crl_url: None,
        issuer_url: None,
        signature_algorithm: algorithm,
    }
    .to_be_signed();
    certificate::assemble(&to_be_signed, algorithm, &issuer_key.sign(&to_be_signed))
}

/// A claim certificate of somebody else's, and its key.
pub fn claim_of_a_cloud() -> (Key, Vec<u8>) {
    let key = Key::new();
    let der = Maker::new("A Cloud", None, false).device("AWS IoT Certificate", &key);
    (key, der)
}

/// A world in which this CA is registered.
struct Fleet {
    world: World,
    maker: Maker,
}

impl Fleet {
    async fn new() -> Self {
        Self::with(World::new().await, Maker::new("Acme", None, false), |_| {}).await
    }

    async fn with(world: World, maker: Maker, change: impl FnOnce(&mut RegisteredCa)) -> Self {
        let mut ca = maker.ca();
        change(&mut ca);
        register_ca(&world, ca).await;
        Self { world, maker }
    }

    async fn arrive(&self, der: &[u8]) -> Result<Arrival, Refusal> {
        self.arrive_by(der, Some("fleet.example")).await
    }

    async fn arrive_by(&self, der: &[u8], sni: Option<&str>) -> Result<Arrival, Refusal> {
        let (road, now) = (&self.world.road, self.world.now());
        let chain = self.maker.chain();
        road.arrive(&peer(der), &chain, sni, mqtt(), now).await
    }

    /// First connection: by the product alone, as its certificate names the device.
    async fn connect(&self, der: &[u8]) -> Result<Member, Refusal> {
        self.connect_by(der, Some("fleet.example")).await
    }

    async fn connect_by(&self, der: &[u8], sni: Option<&str>) -> Result<Member, Refusal> {
        match self.arrive_by(der, sni).await? {
            Arrival::Member(member) => Ok(*member),
            Arrival::Newcomer(newcomer) => {
                let registration = Registration {
                    hardware: newcomer.hardware().unwrap(),
                    thing: None,
                    answer: Vec::new(),
                };
                let (road, now) = (&self.world.road, self.world.now());
                road.just_in_time(&newcomer, &registration, mqtt(), &chance, now)
                    .await
            }
            Arrival::Claim(_) => panic!("this is no claim"),
        }
    }
}

async fn register_ca(world: &World, ca: RegisteredCa) {
    let record = world.road.ca_register(ca, None).await.unwrap();
    let definitions = Definitions {
        authorities: vec![record],
        ..Definitions::default()
    };
    let ledger = world.road.ledger();
    ledger
        .fleet_apply(definitions, "test", START)
        .await
        .unwrap();
}

#[tokio::test]
async fn a_device_of_a_registered_ca_is_provisioned_at_its_first_connection() {
    for intermediate in [false, true] {
        let maker = Maker::new("Acme", Some(u8::from(intermediate)), intermediate);
        let fleet = Fleet::with(World::new().await, maker, |_| {}).await;
        let key = Key::new();
        let der = fleet.maker.device("sn-1", &key);
        let member = fleet.connect(&der).await.unwrap();
        assert!(member.first_use);
        assert_eq!(member.device.id.as_str(), "thermo-sn-1");
        assert_eq!(member.device.step, Step::Provisioned);
        assert_eq!(member.certificate.origin, CertificateOrigin::Foreign);
        assert_eq!(member.certificate.serial, Serial::of_foreign(&der));
        assert_eq!(member.certificate.serial.0[0], 0, "none of ours begins so");
        // From now on it is a member at every door, and its renewal is one of ours.
        assert!(!fleet.connect(&der).await.unwrap().first_use);
        fleet.world.verify(&der).await.unwrap();
        let renewed = fleet.world.renew(&key, &der).await.unwrap();
        fleet.world.verify(&renewed.certificate).await.unwrap();
        assert_eq!(
            code(fleet.world.verify(&der).await),
            Code::CertificateSuperseded
        );
        assert_eq!(code(fleet.connect(&der).await), Code::CertificateSuperseded);
        let file = fleet.world.device("thermo-sn-1").await;
        assert_eq!(
            file.certificates[0].generation,
            Generation::Renewal(Serial::of_foreign(&der))
        );
    }
}

#[tokio::test]
async fn a_closed_door_takes_no_newcomer_in_and_keeps_nobody_out() {
    let fleet = Fleet::new().await;
    let inside = fleet.maker.device("sn-1", &Key::new());
    let outside = fleet.maker.device("sn-2", &Key::new());
    fleet.connect(&inside).await.unwrap();
    let product = Product {
        doors: Some(vec![Door::Est]),
        ..Product::named("thermo")
    };
    fleet.world.apply(product).await;
    assert_eq!(code(fleet.connect(&outside).await), Code::DoorClosed);
    fleet.connect(&inside).await.unwrap();
    let product = Product {
        serial_pattern: Some("sn-[3-9]".into()),
        ..Product::named("thermo")
    };
    fleet.world.apply(product).await;
    assert_eq!(code(fleet.connect(&outside).await), Code::HardwareUnfit);
    fleet.connect(&inside).await.unwrap();
}

#[tokio::test]
async fn a_certificate_that_ended_on_the_shelf_is_good_for_its_products_grace() {
    const DAY: i64 = 86_400;
    for intermediate in [false, true] {
        let world = World::with(|product| product.bootstrap_grace_days = 10).await;
        let maker = Maker::new("Acme", None, intermediate);
        let fleet = Fleet::with(world, maker, |_| {}).await;
        let (key, late) = (Key::new(), Key::new());
        let der = |name, key: &Key| fleet.maker.device_from(name, key, START, START.plus(DAY));
        let (on_time, too_late) = (der("sn-1", &key), der("sn-2", &late));
        fleet.world.pass(11 * DAY);
        // It is a member, and renews into a certificate of ours.
        fleet.connect(&on_time).await.unwrap();
        let told = fleet
            .world
            .journal("device-registered", "thermo-sn-1")
            .await;
        assert_eq!(told[0]["grace"], START.plus(DAY).to_string());
        fleet.world.verify(&on_time).await.unwrap();
        let renewed = fleet.world.renew(&key, &on_time).await.unwrap();
        fleet.world.verify(&renewed.certificate).await.unwrap();
        // A second later it is over, for who came and for who did not.
        fleet.world.pass(1);
        for certificate in [&on_time, &too_late] {
            let outcome = fleet.connect(certificate).await;
            assert_eq!(code(outcome), Code::CertificateExpired);
        }
        fleet.world.verify(&renewed.certificate).await.unwrap();
    }
}

#[tokio::test]
async fn a_certificate_on_a_weak_key_makes_no_device() {
    let fleet = Fleet::new().await;
    let (public, issuer) = (neighbours(), fleet.maker.root_key.public());
    let algorithm = SignatureAlgorithm::EcdsaSha256;
    let to_be_signed = certificate::Leaf {
        serial: [3; 20],
        issuer_der: &dn::common_name_der("Acme", None),
        authority_key_id: subject_key_id(&issuer),
        subject_common_name: "sn-1",
        public_key: &public,
        subject_key_id: subject_key_id(&public),
        not_before: START,
        not_after: START.plus(YEARS),
        hardware: None,
        uris: &[],
        dns_names: &[],
        crl_url: None,
        issuer_url: None,
        signature_algorithm: algorithm,
    }
    .to_be_signed();
    let signature = fleet.maker.root_key.sign(&to_be_signed);
    let der = certificate::assemble(&to_be_signed, algorithm, &signature);
    assert_eq!(code(fleet.connect(&der).await), Code::KeyUnsound);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_hundred_first_connections_make_ten_devices_of_ten() {
    let fleet = Arc::new(Fleet::new().await);
    let mut tasks = Vec::new();
    for device in 0..10 {
        let der = fleet.maker.device(&format!("sn-{device}"), &Key::new());
        for _ in 0..10 {
            let (fleet, der) = (fleet.clone(), der.clone());
            tasks.push(tokio::spawn(async move { fleet.connect(&der).await }));
        }
    }
    let mut names = BTreeSet::new();
    for task in tasks {
        names.insert(task.await.unwrap().unwrap().device.id);
    }
    assert_eq!(names.len(), 10);
    let devices = DeviceFilter::default();
    let devices = fleet.world.road.ledger().device_list(&devices).await;
    assert_eq!(devices.unwrap().len(), 10);
    assert_eq!(told(&fleet.world, "device-registered").await, 10);
    assert_eq!(told(&fleet.world, "certificate-verified").await, 10);
}

#[tokio::test]
async fn what_no_registered_ca_has_signed_is_told_so() {
    let fleet = Fleet::new().await;
    let key = Key::new();
    let same_name = Maker::new("Acme", None, false).device("sn-1", &key);
    let other_name = Maker::new("Other", None, false).device("sn-1", &key);
    let by_a_device = {
        let issuer = fleet.maker.device("sn-2", &key);
        leaf("sn-3", &Key::new(), &issuer, &key, START, START.plus(YEARS))
    };
    for der in [&same_name, &other_name, &by_a_device] {
        assert_eq!(code(fleet.arrive(der).await), Code::CaNotRegistered);
    }
    // A CA's own certificate is no device's, and a broken one is no certificate.
    let root = fleet.maker.root.clone();
    assert_eq!(code(fleet.arrive(&root).await), Code::CaNotRegistered);
    assert_eq!(
        code(fleet.arrive(&[0x30, 0]).await),
        Code::CertificateUnreadable
    );
    let mut altered = fleet.maker.device("sn-1", &key);
    let end = altered.len() - 1;
    altered[end] ^= 1;
    assert_eq!(code(fleet.arrive(&altered).await), Code::CaNotRegistered);
    let devices = DeviceFilter::default();
    let devices = fleet.world.road.ledger().device_list(&devices).await;
    assert!(devices.unwrap().is_empty());
}

#[tokio::test]
async fn a_chain_is_followed_as_far_as_the_ca_allows() {
    // The root allows nobody below it; the device's issuer stands below it.
    let maker = Maker::new("Acme", Some(0), true);
    let fleet = Fleet::with(World::new().await, maker, |_| {}).await;
    let der = fleet.maker.device("sn-1", &Key::new());
    assert_eq!(code(fleet.arrive(&der).await), Code::CaNotRegistered);

    // Without what stands between, nothing leads there.
    let maker = Maker::new("Acme", None, true);
    let fleet = Fleet::with(World::new().await, maker, |_| {}).await;
    let der = fleet.maker.device("sn-1", &Key::new());
    let (road, now) = (&fleet.world.road, fleet.world.now());
    let alone = road.arrive(&peer(&der), &[], Some("x"), mqtt(), now).await;
    assert_eq!(code(alone), Code::CaNotRegistered);
    // In any order, with anything else in it.
    let noise = vec![vec![1, 2], fleet.maker.root.clone()];
    let chain = [noise, fleet.maker.chain()].concat();
    let found = road
        .arrive(&peer(&der), &chain, Some("x"), mqtt(), now)
        .await;
    assert!(matches!(found, Ok(Arrival::Newcomer(_))));
}

#[tokio::test]
async fn every_issuer_that_was_sent_is_tried() {
    let maker = Maker::new("Acme", None, true);
    let fleet = Fleet::with(World::new().await, maker, |_| {}).await;
    let der = fleet.maker.device("sn-1", &Key::new());
    let (good, below_key) = fleet.maker.below.as_ref().unwrap();
    // The intermediate was renewed with its key; another CA vouches for the same key as well.
    let expired = authority_from(
        "Acme Factory",
        below_key,
        "Acme",
        &fleet.maker.root_key,
        Some(0),
        START.plus(-9_000)..START.plus(-10),
    );
    let crossed = authority("Acme Factory", below_key, "Other", &Key::new(), Some(0));
    let chains: [&[&Vec<u8>]; 5] = [
        &[good],
        &[&expired, good],
        &[&crossed, good],
        &[&crossed, &expired, good],
        &[good, &crossed, &expired],
    ];
    let (road, now) = (&fleet.world.road, fleet.world.now());
    for chain in chains {
        let chain: Vec<Vec<u8>> = chain.iter().map(|der| (*der).clone()).collect();
        let found = road
            .arrive(&peer(&der), &chain, Some("x"), mqtt(), now)
            .await;
        assert!(matches!(found, Ok(Arrival::Newcomer(_))), "{found:?}");
    }
    // Where none of them leads there, what is wrong with the nearest one is said.
    let chain = [crossed, expired];
    let found = road
        .arrive(&peer(&der), &chain, Some("x"), mqtt(), now)
        .await;
    assert_eq!(code(found), Code::CertificateExpired);
}

#[tokio::test]
async fn a_certificate_out_of_its_time_is_told_so() {
    let fleet = Fleet::new().await;
    let device = |from: i64, until: i64| {
        let (from, until) = (START.plus(from), START.plus(until));
        fleet.maker.device_from("sn-1", &Key::new(), from, until)
    };
    let expired = device(-200, -100);
    assert_eq!(code(fleet.arrive(&expired).await), Code::CertificateExpired);
    let early = device(100, 200);
    assert_eq!(
        code(fleet.arrive(&early).await),
        Code::CertificateNotYetValid
    );
    fleet.world.pass(100);
    fleet.connect(&early).await.unwrap();
    fleet.world.pass(101);
    assert_eq!(code(fleet.connect(&early).await), Code::CertificateExpired);
}

#[tokio::test]
async fn a_ca_that_takes_nobody_in_says_so_and_its_members_go_on() {
    let changes: [fn(&mut RegisteredCa); 2] =
        [|ca| ca.active = false, |ca| ca.auto = AutoRegistration::Off];
    for change in changes {
        let fleet = Fleet::new().await;
        let member = fleet.maker.device("sn-1", &Key::new());
        fleet.connect(&member).await.unwrap();
        let mut ca = fleet.maker.ca();
        change(&mut ca);
        register_ca(&fleet.world, ca).await;
        let newcomer = fleet.maker.device("sn-2", &Key::new());
        assert_eq!(
            code(fleet.connect(&newcomer).await),
            Code::CaDoesNotRegister
        );
        fleet.connect(&member).await.unwrap();
    }
}

#[tokio::test]
async fn a_ca_that_is_switched_off_after_the_arrival_admits_nobody() {
    type Change = fn(&mut RegisteredCa);
    let rows: [(Change, Code); 4] = [
        (|ca| ca.active = false, Code::CaDoesNotRegister),
        (
            |ca| ca.auto = AutoRegistration::Off,
            Code::CaDoesNotRegister,
        ),
        // From now on an operator is asked.
        (|ca| ca.auto = AutoRegistration::Jitr, Code::ApprovalPending),
        // Another CA has its name.
        (
            |ca| *ca = Maker::new("Acme", None, false).ca(),
            Code::CaNotRegistered,
        ),
    ];
    for (row, (change, want)) in rows.into_iter().enumerate() {
        let fleet = Fleet::new().await;
        let der = fleet.maker.device("sn-1", &Key::new());
        let Arrival::Newcomer(newcomer) = fleet.arrive(&der).await.unwrap() else {
            panic!("a newcomer")
        };
        let mut ca = fleet.maker.ca();
        change(&mut ca);
        register_ca(&fleet.world, ca).await;
        let registration = Registration {
            hardware: newcomer.hardware().unwrap(),
            thing: None,
            answer: Vec::new(),
        };
        let (road, now) = (&fleet.world.road, fleet.world.now());
        let taken_in = road.just_in_time(&newcomer, &registration, mqtt(), &chance, now);
        assert_eq!(code(taken_in.await), want, "row {row}");
        let found = road.ledger().device_get("sn-1").await.unwrap();
        let registered = found.is_some_and(|file| file.device.state.is_registered());
        assert!(!registered, "row {row}");
    }
}

#[tokio::test]
async fn without_proof_of_its_key_a_cas_devices_name_the_server() {
    let fleet = Fleet::new().await;
    let der = fleet.maker.device("sn-1", &Key::new());
    assert_eq!(code(fleet.connect_by(&der, None).await), Code::SniMissing);
    fleet.connect_by(&der, Some("fleet.example")).await.unwrap();
    fleet.connect_by(&der, None).await.unwrap();
}

#[tokio::test]
async fn a_ca_is_registered_by_a_certificate_on_the_registration_code() {
    let world = World::new().await;
    let maker = Maker::new("Acme", None, false);
    let code = world.road.registration_code().await.unwrap();
    assert_eq!(code.len(), 64);
    assert_eq!(world.road.registration_code().await.unwrap(), code);
    let ca = || RegisteredCa {
        mode: CaMode::Default,
        ..maker.ca()
    };
    let proof = |name: &str, by: &Maker| by.device(name, &Key::new());
    let impostor = Maker::new("Acme", None, false);
    let bad = [
        None,
        Some(vec![1]),
        Some(proof("other", &maker)),
        Some(proof(&code, &impostor)),
    ];
    for proof in bad {
        let registered = world.road.ca_register(ca(), proof.as_deref()).await;
        assert!(registered.is_err(), "{proof:?}");
    }
    let good = proof(&code, &maker);
    let record = world.road.ca_register(ca(), Some(&good)).await.unwrap();
    assert_eq!(record.der, maker.root);
    // Under the name of an authority of ours its certificates would be taken for ours.
    let ours = Maker::new("Test Issuing", None, false);
    let registered = world.road.ca_register(ours.ca(), None).await;
    assert!(registered.is_err());
    let device = RegisteredCa {
        certificate: pem::encode(pem::CERTIFICATE, &proof("sn-1", &maker)),
        ..maker.ca()
    };
    assert!(world.road.ca_register(device, None).await.is_err());
}

#[tokio::test]
async fn a_devices_name_is_taken_once_whoever_comes_with_a_certificate_for_it() {
    let fleet = Fleet::new().await;
    fleet.world.provisioned("sn-1").await;
    let own_key = Key::new();
    let der = fleet.maker.device("sn-1", &own_key);
    assert_eq!(code(fleet.connect(&der).await), Code::DeviceExists);
    let release = DeviceAct::Release { new_key: true };
    act(&fleet.world, "thermo-sn-1", release).await;
    fleet.connect(&der).await.unwrap();
    // The same key in a certificate with another name.
    let twin = fleet.maker.device("sn-2", &own_key);
    assert_eq!(code(fleet.connect(&twin).await), Code::KeyInUse);
    // The same name in a second certificate.
    let second = fleet.maker.device("sn-1", &Key::new());
    assert_eq!(code(fleet.connect(&second).await), Code::DeviceExists);
}

#[tokio::test]
async fn what_a_product_wants_of_newcomers_holds_for_these_too() {
    let world = World::with(|product| {
        product.allowlist = true;
        product.minimum_strength = "flash-key".into();
    })
    .await;
    let fleet = Fleet::with(world, Maker::new("Acme", None, false), |_| {}).await;
    let der = fleet.maker.device("sn-1", &Key::new());
    assert_eq!(code(fleet.connect(&der).await), Code::HardwareNotAllowed);
    let id = imprint_identity::HardwareId::parse("sn-1").unwrap();
    let ledger = fleet.world.road.ledger();
    ledger
        .allow_add("thermo", vec![id], "test", START)
        .await
        .unwrap();
    assert_eq!(code(fleet.connect(&der).await), Code::IdentityTooWeak);
    let mut ca = fleet.maker.ca();
    ca.strength = "flash-key".into();
    register_ca(&fleet.world, ca).await;
    fleet.connect(&der).await.unwrap();
}

#[tokio::test]
async fn a_device_that_is_only_written_down_waits_for_its_activation() {
    let maker = Maker::new("Acme", None, false);
    let jitr = |ca: &mut RegisteredCa| ca.auto = AutoRegistration::Jitr;
    let fleet = Fleet::with(World::new().await, maker, jitr).await;
    let key = Key::new();
    let der = fleet.maker.device("sn-1", &key);
    for _ in 0..3 {
        assert_eq!(code(fleet.connect(&der).await), Code::ApprovalPending);
    }
    let file = fleet.world.device("thermo-sn-1").await;
    assert_eq!(file.device.state, DeviceState::Held);
    assert_eq!(file.certificates[0].state, CertificateState::Issued);
    assert_eq!(told(&fleet.world, "device-registered").await, 1);
    assert_eq!(
        told(&fleet.world, "certificate-waiting").await,
        1,
        "once a minute"
    );
    fleet.world.pass(61);
    assert_eq!(code(fleet.connect(&der).await), Code::ApprovalPending);
    assert_eq!(told(&fleet.world, "certificate-waiting").await, 2);
    // At no door, and by no other way.
    let elsewhere = fleet.world.verify(&der).await;
    assert_eq!(code(elsewhere), Code::ApprovalPending);
    let renewed = fleet.world.renew(&key, &der).await;
    assert_eq!(code(renewed), Code::ApprovalPending);
    assert_eq!(fleet.world.device("sn-1").await.certificates.len(), 1);
    let until = fleet.world.now().plus(86_400);
    let approve = DeviceAct::Approve { key: None, until };
    act(&fleet.world, "thermo-sn-1", approve).await;
    let member = fleet.world.verify(&der).await.unwrap();
    assert!(member.first_use, "whichever door it comes to first");
    assert_eq!(member.device.step, Step::Provisioned);
    fleet.connect(&der).await.unwrap();
    fleet.world.renew(&key, &der).await.unwrap();
}

#[tokio::test]
async fn one_approval_is_enough_where_product_and_ca_both_want_one() {
    let world = World::with(|product| product.approval = true).await;
    let maker = Maker::new("Acme", None, false);
    let jitr = |ca: &mut RegisteredCa| ca.auto = AutoRegistration::Jitr;
    let fleet = Fleet::with(world, maker, jitr).await;
    let der = fleet.maker.device("sn-1", &Key::new());
    for _ in 0..2 {
        assert_eq!(code(fleet.connect(&der).await), Code::ApprovalPending);
    }
    let until = fleet.world.now().plus(86_400);
    let approve = DeviceAct::Approve { key: None, until };
    act(&fleet.world, "thermo-sn-1", approve).await;
    assert!(fleet.connect(&der).await.unwrap().first_use);
}

#[tokio::test]
async fn a_foreign_certificate_that_is_revoked_here_is_refused() {
    let fleet = Fleet::new().await;
    let der = fleet.maker.device("sn-1", &Key::new());
    fleet.connect(&der).await.unwrap();
    let decommission = DeviceAct::Decommission { reason: "x".into() };
    act(&fleet.world, "thermo-sn-1", decommission).await;
    let refused = code(fleet.connect(&der).await);
    assert!(
        matches!(
            refused,
            Code::DeviceDecommissioned | Code::CertificateRevoked
        ),
        "{refused}"
    );
}

#[tokio::test]
async fn another_certificate_under_a_number_of_ours_is_nobody() {
    let fleet = Fleet::new().await;
    let (_, certificate) = fleet.world.provisioned("sn-1").await;
    // A stranger's certificate that says it is ours and has the serial number of a member's.
    let ours = Certificate::parse(&certificate).unwrap();
    let key = Key::new();
    let public = key.public();
    let algorithm = SignatureAlgorithm::EcdsaSha256;
    let to_be_signed = certificate::Leaf {
        serial: ours.serial().try_into().unwrap(),
        issuer_der: ours.issuer_der(),
        authority_key_id: [1; 20],
        subject_common_name: "thermo-sn-1",
        public_key: &public,
        subject_key_id: subject_key_id(&public),
        not_before: START,
        not_after: START.plus(YEARS),
        hardware: None,
        uris: &[],
        dns_names: &[],
        crl_url: None,
        issuer_url: None,
        signature_algorithm: algorithm,
    }
    .to_be_signed();
    let forged = certificate::assemble(&to_be_signed, algorithm, &key.sign(&to_be_signed));
    let shown = PeerCertificate {
        parsed: Certificate::parse(&forged).ok(),
        der: forged,
    };
    let arrived = arrive(&fleet.world, &shown).await;
    assert_eq!(code(arrived), Code::CertificateIssuerUnknown);
}

/// A certificate that waits for an operator's word does not come in behind another credential.
#[tokio::test]
async fn a_device_that_comes_in_otherwise_leaves_the_certificate_that_waited_outside() {
    let jitr = |ca: &mut RegisteredCa| ca.auto = AutoRegistration::Jitr;
    let maker = Maker::new("Acme", None, false);
    let fleet = Fleet::with(World::new().await, maker, jitr).await;
    let waiting = fleet.maker.device("sn-1", &Key::new());
    assert_eq!(code(fleet.connect(&waiting).await), Code::ApprovalPending);
    let token = fleet.world.token_for("sn-1").await;
    let key = Key::new();
    let enrolled = fleet.world.enroll(&key, "sn-1", &token).await.unwrap();
    assert_eq!(
        code(fleet.connect(&waiting).await),
        Code::CertificateRevoked
    );
    fleet.world.verify(&enrolled.certificate).await.unwrap();
    assert_eq!(
        code(fleet.connect(&waiting).await),
        Code::CertificateRevoked
    );
}
