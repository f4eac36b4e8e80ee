//! A factory switches on its power: every device at once, every one PROVISIONED, none twice.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use imprint_registrar::Ledger as _;
use imprint_registrar::product::{Product, ProductLimits};
use imprint_sim::agent::Setup;
use imprint_sim::checker::Outside;
use imprint_sim::many;
use imprint_sim::tap::{Call, Tap};
use imprint_sim::world::{PRODUCT, World};

use crate::hostile::join;
use crate::support::{assert_clean, judge, seconds};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_devices_of_a_factory_at_once_are_provisioned_and_none_twice() {
    let devices = many(200, 2_000);
    let world = World::new().await;
    let states = tempfile::tempdir().unwrap();
    let tokens = world.tokens(devices).await;
    let root = world.place().root_pem();
    let mut joining = tokio::task::JoinSet::new();
    let started = Instant::now();
    for (number, token) in tokens.into_iter().enumerate() {
        let hardware = format!("custom:SN-{number}");
        let setup = Setup::new(&root, world.https(), &hardware, &token);
        let state = states.path().join(&hardware);
        joining.spawn(async move { (join(&setup, &state).await, started.elapsed()) });
    }
    let (mut outside, mut last) = (Outside::default(), started.elapsed());
    while let Some(joined) = joining.join_next().await {
        let (told, after) = joined.unwrap();
        outside.told.push(told);
        last = last.max(after);
    }
    let (records, findings) = judge(world.place(), &outside);
    let provisioned = records
        .devices
        .iter()
        .filter(|device| device.step == "PROVISIONED")
        .count();
    let spent = records
        .tokens
        .iter()
        .filter(|token| token.state == "spent")
        .count();
    println!(
        "S9 storm: {provisioned} of {devices} PROVISIONED, {} certificates, {spent} tokens spent, \
         the last device after {:.1} s; {}; {}",
        records.certificates.len(),
        last.as_secs_f64(),
        findings.to_string().lines().next().unwrap(),
        seconds(started)
    );
    assert_clean("after the storm", &findings);
    assert_eq!((provisioned, spent), (devices, devices));
    assert_eq!(
        records.certificates.len(),
        devices,
        "no certificate but one a device"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crowd_behind_one_address_is_let_in_at_the_product_s_pace_and_nobody_is_lost() {
    const DEVICES: usize = 200;
    const LEAST_SECONDS: f64 = 2.8;
    let intents = Arc::new(Intents::default());
    let world = World::with(Arc::clone(&intents), None).await;
    let mut product = Product::named(PRODUCT);
    product.limits = ProductLimits {
        enrollments_per_second: 50,
        burst: 5,
    };
    let ledger = world.road().ledger();
    ledger
        .product_apply(vec![product], "test", world.now())
        .await
        .unwrap();
    let states = tempfile::tempdir().unwrap();
    let tokens = world.tokens(DEVICES).await;
    let root = world.place().root_pem();
    let mut joining = tokio::task::JoinSet::new();
    let started = Instant::now();
    for (number, token) in tokens.into_iter().enumerate() {
        let hardware = format!("custom:SN-{number}");
        // In no hurry: a second that it is told is a second.
        let setup = Setup {
            hurry: 1,
            patience: Duration::from_mins(1),
            ..Setup::new(&root, world.https(), &hardware, &token)
        };
        let state = states.path().join(&hardware);
        joining.spawn(async move { join(&setup, &state).await });
    }
    let mut outside = Outside::default();
    while let Some(joined) = joining.join_next().await {
        outside.told.push(joined.unwrap());
    }
    let (records, findings) = judge(world.place(), &outside);
    assert_clean("after the crowd", &findings);
    let provisioned = records
        .devices
        .iter()
        .filter(|device| device.step == "PROVISIONED")
        .count();
    let mut granted = intents.0.lock().unwrap().clone();
    granted.sort();
    let second = Duration::from_secs(1);
    let within = |from: Instant| {
        granted
            .iter()
            .filter(|&&at| at >= from && at < from + second)
            .count()
    };
    let busiest = granted.iter().map(|&from| within(from)).max().unwrap();
    println!(
        "a crowd of {DEVICES} at 50 a second: {provisioned} PROVISIONED after {:.1} s, {busiest} in the \
         busiest second",
        started.elapsed().as_secs_f64()
    );
    assert_eq!((provisioned, granted.len()), (DEVICES, DEVICES));
    assert!(busiest <= 60, "{busiest} in one second");
    assert!(
        started.elapsed().as_secs_f64() > LEAST_SECONDS,
        "nobody was held up"
    );
}

/// When each device was let in.
#[derive(Default)]
struct Intents(Mutex<Vec<Instant>>);

impl Tap for Intents {
    async fn before(&self, call: &Call) {
        if call.name == "enrollment_intend" {
            self.0.lock().unwrap().push(Instant::now());
        }
    }

    async fn after(&self, _: &Call) {}
}
