//! A rude network loses, repeats, delays and turns away; every client comes through it with one
//! certificate.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use imprint_agent::{End, Silent};
use imprint_pkix::certificate::Certificate;
use imprint_sim::agent::Setup;
use imprint_sim::chance;
use imprint_sim::checker::{Outside, Told};
use imprint_sim::key::{DeviceKey, sha256};
use imprint_sim::many;
use imprint_sim::tap::{Call, Quiet, Tap};
use imprint_sim::tools::{self, Tool};
use imprint_sim::world::World;

use crate::support::{assert_clean, client_folder, judge, seconds};

/// Counts how often the road was begun, or a token looked up for `/v1/profile`.
#[derive(Default)]
struct Walks(AtomicUsize);

impl Tap for Walks {
    async fn before(&self, call: &Call) {
        let facts = usize::from(call.name == "enrollment_facts");
        self.0.fetch_add(facts, Ordering::Relaxed);
    }

    async fn after(&self, _: &Call) {}
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn agents_come_through_a_rude_network_with_one_certificate_each() {
    let started = Instant::now();
    let seed = chance::seed();
    println!("IMPRINT_SEED={seed}");
    let devices = many(100, 2_000);
    let asked = Arc::new(Walks::default());
    let world = World::with(Arc::clone(&asked), Some(chance::seeded(seed))).await;
    let states = tempfile::tempdir().unwrap();
    let tokens = world.tokens(devices).await;
    let root = world.place().root_pem();
    let mut joining = tokio::task::JoinSet::new();
    let mut outside = Outside::default();
    for (number, token) in tokens.into_iter().enumerate() {
        if joining.len() >= AT_ONCE {
            outside
                .told
                .push(joining.join_next().await.unwrap().unwrap());
        }
        let hardware = format!("custom:SN-{number}");
        let setup = Setup::new(&root, world.https(), &hardware, &token);
        let state = states.path().join(&hardware);
        joining.spawn(async move { join(&setup, &state).await });
    }
    while let Some(told) = joining.join_next().await {
        outside.told.push(told.unwrap());
    }
    let (records, findings) = judge(world.place(), &outside);
    let facts = asked.0.load(Ordering::Relaxed);
    println!(
        "S30 hostile, imprint agent: {} of {devices} PROVISIONED, {} certificates, {facts} walks \
         and look-ups for them; {}; {}",
        outside.told.len(),
        records.certificates.len(),
        findings.to_string().lines().next().unwrap(),
        seconds(started)
    );
    assert_clean("a rude network", &findings);
    assert_eq!(records.certificates.len(), devices);
    assert!(
        records
            .devices
            .iter()
            .all(|device| device.step == "PROVISIONED")
    );
    assert!(
        facts > devices * 2,
        "nothing was repeated, so nothing was tested"
    );
}

pub(crate) async fn join(setup: &Setup, state: &Path) -> Told {
    let end = setup.join(state, Box::new(Silent)).await.unwrap();
    let End::Member(agent) = end else {
        panic!("{}: {end:?}", setup.hardware)
    };
    let credential = agent.record().credential().unwrap();
    let stored = agent.store().credential(credential.slot).unwrap().unwrap();
    let certificate = stored.chain[0].to_vec();
    Told {
        hardware: setup.hardware.clone(),
        key: sha256(Certificate::parse(&certificate).unwrap().spki_der()),
        question: setup.token.clone(),
        certificate,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn curl_comes_through_a_rude_network_in_five_tries() {
    converge(Tool::Curl, "curl").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn strong_swan_comes_through_a_rude_network_in_five_tries() {
    converge(Tool::StrongSwan, "pki").await;
}

async fn converge(tool: Tool, program: &str) {
    if !tools::have(&[program]) {
        return;
    }
    let started = Instant::now();
    let seed = chance::seed();
    println!("IMPRINT_SEED={seed}");
    let devices = many(40, 1_000);
    let world = World::with(Quiet, Some(chance::seeded(seed))).await;
    let folder = client_folder(world.place());
    let mut outside = Outside::default();
    let mut worst = 0;
    let mut repeated = 0;
    for number in 0..devices {
        let hardware = format!("custom:SN-{number}");
        let (key, token) = (DeviceKey::new(), world.token().await);
        let mut certificates = Vec::new();
        let mut tries = 0;
        while certificates.is_empty() {
            tries += 1;
            assert!(
                tries <= 5,
                "{program} has not come through in five tries; seed {seed}"
            );
            match tool
                .enroll(folder.path(), world.https(), &key, &hardware, &token)
                .await
            {
                Ok(certificate) => certificates.push(certificate),
                Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
            }
        }
        worst = worst.max(tries);
        repeated += usize::from(tries > 1);
        for certificate in certificates {
            outside.told.push(Told {
                hardware: hardware.clone(),
                key: key.fingerprint(),
                question: token.clone(),
                certificate,
            });
        }
    }
    let (records, findings) = judge(world.place(), &outside);
    println!(
        "S30 hostile, {program}: {devices} of {devices} have their certificate, {repeated} only \
         after a repeat, {worst} tries at most; {}; {}",
        findings.to_string().lines().next().unwrap(),
        seconds(started)
    );
    assert_clean("a rude network", &findings);
    assert_eq!(records.certificates.len(), devices);
}

const AT_ONCE: usize = 16;
