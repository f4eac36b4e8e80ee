//! A factory switches on its power: every device at once, every one PROVISIONED, none twice.

use std::time::Instant;

use imprint_sim::agent::Setup;
use imprint_sim::checker::Outside;
use imprint_sim::many;
use imprint_sim::world::World;

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
