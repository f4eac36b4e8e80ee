//! Our own agent by claim, and just in time, on the real server: power cuts and lost replies at every
//! moment, links that break at any byte, and every no that a device must understand.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex};

use http::Method;
use imprint_agent::device::{Event, Quarantine, Record};
use imprint_agent::{
    Claim, Door, End, Endpoint, Moment, Observer, OwnCertificate, RefusalText, Silent, Strike,
};
use imprint_est::Secret;
use imprint_identity::Step;
use imprint_pkix::certificate::{Authority, Leaf};
use imprint_pkix::key::PublicKey;
use imprint_pkix::{SignatureAlgorithm, dn, pem};
use imprint_registrar::Ledger as _;
use imprint_registrar::claims::definition::{AutoRegistration, CaMode, RegisteredCa};
use imprint_registrar::ledger::{ClaimAct, Definitions, DeviceFilter};
use imprint_sim::agent::Setup;
use imprint_sim::chance;
use imprint_sim::checker::Outside;
use imprint_sim::client::Client;
use imprint_sim::key::DeviceKey;
use imprint_sim::many;
use imprint_sim::proxy::{Cut, Plan, Proxy, Way};
use imprint_sim::tap::Quiet;
use imprint_sim::world::{PRODUCT, World, real_now};
use tokio::sync::{Barrier, Semaphore};
use tokio::task::JoinSet;

use crate::support::{assert_clean, judge, seconds};

/// A claim of a world, as a device has it.
fn claim_of((chain_pem, key_pem): &(String, String), broker: SocketAddr) -> Claim {
    Claim {
        broker: Endpoint::mqtts(&broker.to_string()).unwrap(),
        template: None,
        parameters: BTreeMap::new(),
        chain_pem: chain_pem.clone(),
        key_pem: Secret::new(key_pem.clone().into_bytes()),
    }
}

pub(crate) fn setup(world: &World, hardware: &str, door: Door) -> Setup {
    let mut setup = Setup::new(&world.place().root_pem(), world.https(), hardware, "");
    setup.door = door;
    setup
}

/// Strikes once, at one moment, and remembers where.
#[derive(Clone)]
pub(crate) struct Fate(Arc<Mutex<Seen>>);

struct Seen {
    strike: Strike,
    at: usize,
    moments: usize,
    struck: Option<String>,
    codes: Vec<String>,
}

impl Fate {
    pub(crate) fn new(at: usize, strike: Strike) -> Self {
        let (moments, struck, codes) = (0, None, Vec::new());
        Self(Arc::new(Mutex::new(Seen {
            strike,
            at,
            moments,
            struck,
            codes,
        })))
    }

    pub(crate) fn none() -> Self {
        Self::new(usize::MAX, Strike::None)
    }

    pub(crate) fn struck(&self) -> Option<String> {
        self.0.lock().unwrap().struck.clone()
    }

    pub(crate) fn codes(&self) -> Vec<String> {
        self.0.lock().unwrap().codes.clone()
    }
}

impl Observer for Fate {
    fn trouble(&mut self, _: &Record, refusal: &RefusalText) {
        let mut seen = self.0.lock().unwrap();
        seen.codes.push(refusal.code.clone());
        assert!(seen.codes.len() < 200, "{:?}", seen.codes);
    }

    fn strike(&mut self, record: &Record, moment: Moment<'_>) -> Strike {
        let mut seen = self.0.lock().unwrap();
        seen.moments += 1;
        let possible = seen.strike == Strike::PowerCut || matches!(moment, Moment::Answered(_));
        if seen.moments - 1 < seen.at || seen.struck.is_some() || !possible {
            return Strike::None;
        }
        seen.struck = Some(format!("{} {moment:?}", record.step()));
        seen.strike
    }
}

pub(crate) async fn join(setup: &Setup, state: &Path, fate: &Fate) -> End {
    Box::pin(setup.join(state, Box::new(fate.clone())))
        .await
        .unwrap()
}

/// The device is on record as a member, and the fleet has exactly so many devices.
pub(crate) async fn assert_member(world: &World, device: &str, devices: usize) {
    let ledger = world.road().ledger();
    let file = ledger.device_get(device).await.unwrap();
    let file = file.unwrap_or_else(|| panic!("no {device}"));
    assert_eq!(file.device.step, Step::Provisioned, "{device}");
    let all = ledger.device_list(&DeviceFilter::default()).await.unwrap();
    assert_eq!(all.len(), devices, "{device}");
}

/// One device after the other on one server, each struck one moment later than the one before it;
/// afterwards nobody tells it the claim again.
async fn strike_everywhere(strike: Strike) -> Vec<String> {
    let world = World::new().await;
    let claim = Door::Claim(claim_of(&world.claim("line-1").await, world.mqtts()));
    let mut struck = Vec::new();
    for at in 0.. {
        assert!(at < 100, "the way in has an end");
        let state = tempfile::tempdir().unwrap();
        let hardware = format!("custom:sn-{at}");
        let fate = Fate::new(at, strike);
        let device = setup(&world, &hardware, claim.clone());
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
        assert_member(&world, &format!("{PRODUCT}-sn-{at}"), at + 1).await;
        match fate.struck() {
            Some(place) => struck.push(place),
            None => break,
        }
    }
    struck
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn power_cuts_at_every_moment_of_a_claim_make_no_second_device() {
    let struck = strike_everywhere(Strike::PowerCut).await;
    for place in [
        "ENROLL Answered(Enroll",
        "CREDENTIAL_STORE Performed(StoreCredential",
        "REGISTER Journaled(Register",
        "REGISTER Answered(Register",
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
async fn lost_replies_to_a_claim_make_no_second_device() {
    let struck = strike_everywhere(Strike::ReplyLost).await;
    for action in ["Enroll", "Register", "Verify"] {
        let lost = format!("Answered({action}");
        assert!(
            struck.iter().any(|found| found.contains(&lost)),
            "{action} in {struck:#?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn agents_come_by_claim_through_a_rude_network_with_one_certificate_each() {
    let seed = chance::seed();
    println!("IMPRINT_SEED={seed}");
    let devices = many(60, 1_000);
    let world = World::with(Quiet, Some(chance::seeded(seed))).await;
    let claim = Door::Claim(claim_of(&world.claim("line-1").await, world.mqtts()));
    let mut troubles: BTreeMap<String, usize> = BTreeMap::new();
    for number in 0..devices {
        let state = tempfile::tempdir().unwrap();
        let device = setup(&world, &format!("custom:sn-{number}"), claim.clone());
        let fate = Fate::none();
        let end = join(&device, state.path(), &fate).await;
        let End::Member(_) = end else {
            panic!("{number}: {end:?} {:?}", fate.codes());
        };
        for code in fate.codes() {
            *troubles.entry(code).or_default() += 1;
        }
        let name = format!("{PRODUCT}-sn-{number}");
        assert_member(&world, &name, number + 1).await;
        let file = world.road().ledger().device_get(&name).await.unwrap();
        let live = file.unwrap().certificates;
        let live = live.iter().filter(|one| one.state.is_live()).count();
        assert_eq!(live, 1, "{name}");
    }
    println!("hostile, claims: {devices} devices met {troubles:?}");
    assert!(
        !troubles.is_empty(),
        "nothing was rude, so nothing was tested"
    );
    let claim = world.road().ledger().claim_get("line-1").await.unwrap();
    assert_eq!(claim.unwrap().reason, None, "the claim goes on");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_link_that_breaks_at_any_byte_costs_a_claim_one_more_try() {
    let world = World::new().await;
    let files = world.claim("line-1").await;
    let (mut devices, mut cuts) = (0, 0);
    for way in [Way::Request, Way::Reply] {
        for at in (0..6_000_u64).step_by(many(500, 60)) {
            let proxy = Proxy::start(world.mqtts()).await;
            proxy.arm(Some(Plan {
                way,
                after: at,
                how: Cut::Rst,
            }));
            let door = Door::Claim(claim_of(&files, proxy.address()));
            let state = tempfile::tempdir().unwrap();
            let device = setup(&world, &format!("custom:cut-{devices}"), door);
            let fate = Fate::none();
            let heal = async {
                proxy.struck().await;
                proxy.reopen(world.mqtts());
                std::future::pending::<()>().await;
            };
            let end = tokio::select! {
                end = join(&device, state.path(), &fate) => end,
                () = heal => unreachable!("it is never done"),
            };
            let codes = fate.codes();
            assert!(
                matches!(end, End::Member(_)),
                "{way:?} {at}: {end:?} {codes:?}"
            );
            cuts += usize::from(proxy.has_struck());
            devices += 1;
            assert_member(&world, &format!("{PRODUCT}-cut-{}", devices - 1), devices).await;
        }
    }
    assert!(cuts >= 8, "{cuts}");
    println!("links cut: {cuts} of {devices}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_revoked_claim_puts_its_newcomers_in_quarantine_and_touches_no_member() {
    let world = World::new().await;
    let claim = Door::Claim(claim_of(&world.claim("line-1").await, world.mqtts()));
    let (early, late) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let member = setup(&world, "custom:early", claim.clone());
    let End::Member(agent) = join(&member, early.path(), &Fate::none()).await else {
        panic!("no member");
    };
    let act = ClaimAct::Revoke {
        reason: "leaked".into(),
    };
    let ledger = world.road().ledger();
    ledger
        .claim_act("line-1", act, "test", world.now())
        .await
        .unwrap();
    let fate = Fate::none();
    let end = join(&setup(&world, "custom:late", claim), late.path(), &fate).await;
    let End::Quarantined(Quarantine::Refused, refused) = end else {
        panic!("{end:?} {:?}", fate.codes());
    };
    assert_eq!(
        refused.record().refusal.clone().unwrap().code.as_str(),
        "claim-revoked"
    );
    // The member renews, which is more than a claim could stop.
    let mut agent = agent;
    let renewed = Box::pin(agent.renew_now(real_now())).await.unwrap();
    assert_eq!(renewed, imprint_agent::Renewed::Done);
    assert_member(&world, &format!("{PRODUCT}-early"), 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_template_that_is_not_there_is_told_and_mended_by_a_person() {
    let world = World::new().await;
    let files = world.claim("line-1").await;
    let state = tempfile::tempdir().unwrap();
    let mut claim = claim_of(&files, world.mqtts());
    claim.template = Some("lamps".into());
    let wrong = setup(&world, "custom:sn-1", Door::Claim(claim.clone()));
    let end = join(&wrong, state.path(), &Fate::none()).await;
    let End::Quarantined(Quarantine::Refused, agent) = end else {
        panic!("{end:?}");
    };
    let refusal = agent.record().refusal.clone().unwrap();
    assert_eq!(
        (refusal.code.as_str(), refusal.step),
        ("template-unknown", Step::Register)
    );
    drop(agent);
    claim.template = None;
    let mended = setup(&world, "custom:sn-1", Door::Claim(claim));
    let end = Box::pin(mended.join_by(state.path(), Box::new(Silent), Event::Release))
        .await
        .unwrap();
    assert!(matches!(end, End::Member(_)), "{end:?}");
    assert_member(&world, &format!("{PRODUCT}-sn-1"), 1).await;
}

/// Another company's CA.
struct Factory {
    key: DeviceKey,
    subject: Vec<u8>,
    der: Vec<u8>,
}

impl Factory {
    fn new() -> Self {
        let key = DeviceKey::new();
        let subject = dn::common_name_der("Factory CA", None);
        let public_key = PublicKey::parse(key.spki()).unwrap();
        let tbs = Authority {
            serial: [7; 20],
            issuer_der: &subject,
            authority_key_id: [9; 20],
            subject_der: &subject,
            public_key: &public_key,
            subject_key_id: [9; 20],
            not_before: real_now().plus(-86_400),
            not_after: real_now().plus(86_400),
            path_len: Some(0),
            crl_url: None,
            issuer_url: None,
            signature_algorithm: SignatureAlgorithm::EcdsaSha256,
        }
        .to_be_signed();
        let der = key.certify(&tbs);
        Self { key, subject, der }
    }

    /// A device that was born here.
    fn born(&self, name: &str, broker: Option<SocketAddr>) -> OwnCertificate {
        let (key, certificate) = self.bear(name);
        OwnCertificate {
            chain_pem: pem::encode(pem::CERTIFICATE, &certificate),
            key_pem: Secret::new(key.pem().into_bytes()),
            broker: broker.map(|at| Endpoint::mqtts(&format!("localhost:{}", at.port())).unwrap()),
        }
    }

    fn bear(&self, name: &str) -> (DeviceKey, Vec<u8>) {
        let key = DeviceKey::new();
        let public_key = PublicKey::parse(key.spki()).unwrap();
        let mut serial = [1; 20];
        serial[1..].copy_from_slice(&key.fingerprint()[..19]);
        let tbs = Leaf {
            serial,
            issuer_der: &self.subject,
            authority_key_id: [9; 20],
            subject_common_name: name,
            public_key: &public_key,
            subject_key_id: [8; 20],
            not_before: real_now().plus(-3_600),
            not_after: real_now().plus(80_000),
            hardware: None,
            uris: &[],
            dns_names: &[],
            crl_url: None,
            issuer_url: None,
            signature_algorithm: SignatureAlgorithm::EcdsaSha256,
        }
        .to_be_signed();
        let certificate = self.key.certify(&tbs);
        (key, certificate)
    }

    async fn register(&self, world: &World) {
        let ca = RegisteredCa {
            name: "factory".into(),
            certificate: pem::encode(pem::CERTIFICATE, &self.der),
            product: PRODUCT.into(),
            template: None,
            mode: CaMode::SniOnly,
            active: true,
            auto: AutoRegistration::Jitp,
            strength: "asserted".into(),
        };
        let authority = world.road().ca_register(ca, None).await.unwrap();
        world
            .define(Definitions {
                authorities: vec![authority],
                ..Definitions::default()
            })
            .await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_device_of_a_registered_ca_comes_in_just_in_time_through_every_power_cut() {
    let world = World::new().await;
    let factory = Factory::new();
    factory.register(&world).await;
    let mut devices = 0;
    for broker in [Some(world.mqtts()), None] {
        for at in 0.. {
            assert!(at < 100, "the way in has an end");
            let name = format!("born-{devices}");
            let door = Door::JustInTime(factory.born(&name, broker));
            let state = tempfile::tempdir().unwrap();
            let mut device = setup(&world, &format!("custom:{name}"), door);
            device.by_name = true;
            let fate = Fate::new(at, Strike::PowerCut);
            let end = match join(&device, state.path(), &fate).await {
                End::PowerCut => join(&device, state.path(), &Fate::none()).await,
                end => end,
            };
            assert!(
                matches!(end, End::Member(_)),
                "{broker:?} {at}: {end:?} {:?}",
                fate.codes()
            );
            devices += 1;
            assert_member(&world, &format!("{PRODUCT}-{name}"), devices).await;
            if fate.struck().is_none() {
                break;
            }
        }
    }
}

/// Each device has ten tasks that try to connect with its certificate at the same instant.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_first_connections_at_once_make_one_device_a_hundred_times() {
    const AT_ONCE: usize = 10;
    const TOGETHER: usize = 8;
    let devices = many(100, 2_000);
    let world = Arc::new(World::new().await);
    let factory = Factory::new();
    factory.register(&world).await;
    let client = Client::new(&world.place().root_der());
    let room = Arc::new(Semaphore::new(TOGETHER));
    let (mut crowd, started) = (JoinSet::new(), std::time::Instant::now());
    for number in 0..devices {
        let (key, certificate) = factory.bear(&format!("born-{number}"));
        let born = Arc::new((key, certificate));
        let (world, client, room) = (world.clone(), client.clone(), room.clone());
        crowd.spawn(async move {
            let _room = room.acquire().await.unwrap();
            let gate = Arc::new(Barrier::new(AT_ONCE));
            let mut racers = JoinSet::new();
            for _ in 0..AT_ONCE {
                let (world, client) = (world.clone(), client.clone());
                let (born, gate) = (born.clone(), gate.clone());
                racers.spawn(async move {
                    gate.wait().await;
                    let (key, certificate) = &*born;
                    let link = client.connect_newborn(world.https(), key, certificate);
                    let mut link = link.await.unwrap();
                    let answer = link.send(Method::GET, "/v1/verify", None, None);
                    answer.await.unwrap()
                });
            }
            let mut names = BTreeSet::new();
            while let Some(answer) = racers.join_next().await {
                let answer = answer.unwrap();
                assert_eq!(answer.status, 200, "born-{number}: {answer:?}");
                // The device with its certificate; what follows is the time.
                let said = String::from_utf8(answer.body).unwrap();
                names.insert(said.split_once("\"server_time\"").unwrap().0.to_owned());
            }
            assert_eq!(names.len(), 1, "born-{number} is {names:?}");
        });
    }
    while let Some(device) = crowd.join_next().await {
        device.unwrap();
    }
    let (records, findings) = judge(world.place(), &Outside::default());
    assert_clean("after the first connections", &findings);
    println!(
        "{} connections of {devices} devices, {AT_ONCE} at once: {} devices, {} certificates; {}",
        devices * AT_ONCE,
        records.devices.len(),
        records.certificates.len(),
        seconds(started)
    );
    assert_eq!(records.devices.len(), devices);
    assert_eq!(records.certificates.len(), devices);
    assert!(records.devices.iter().all(|one| one.step == "PROVISIONED"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_ca_that_is_not_registered_is_told_in_words() {
    let world = World::new().await;
    let factory = Factory::new();
    for broker in [Some(world.mqtts()), None] {
        let door = Door::JustInTime(factory.born("stranger", broker));
        let state = tempfile::tempdir().unwrap();
        let fate = Fate::none();
        let mut device = setup(&world, "custom:stranger", door);
        device.by_name = true;
        let end = join(&device, state.path(), &fate).await;
        let End::Quarantined(Quarantine::Refused, agent) = end else {
            panic!("{end:?} {:?}", fate.codes());
        };
        let code = agent.record().refusal.clone().unwrap().code;
        assert_eq!(code.as_str(), "CA_NOT_REGISTERED");
    }
}
