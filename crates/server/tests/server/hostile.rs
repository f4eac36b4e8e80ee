//! `--hostile`: rude by a seed, and never dishonest.

use std::collections::BTreeMap;

use imprint_registrar::Ledger as _;

use crate::support::{Device, Fleet, basic, post, request, seeded};

/// What became of `count` requests, each on a connection of its own, one after the other.
async fn outcomes(seed: u64, count: usize) -> Vec<String> {
    let fleet = Fleet::start_with(|config| config.hostile = Some(seeded(seed))).await;
    let mut outcomes = Vec::new();
    for _ in 0..count {
        let mut connection = fleet.client().connect().await.unwrap();
        connection.send(&request("GET", "/v1/time", &[], b"")).await;
        outcomes.push(match connection.reply().await {
            None => "lost".to_owned(),
            Some(reply) => reply.status.to_string(),
        });
    }
    outcomes
}

#[tokio::test]
async fn a_seed_replays_its_rudeness() {
    let first = outcomes(11, 120).await;
    assert_eq!(first, outcomes(11, 120).await);
    let mut count = BTreeMap::new();
    for outcome in &first {
        *count.entry(outcome.as_str()).or_insert(0) += 1;
    }
    // 5 % are lost and 2 % turned away; with this seed it is what it is.
    assert!((2..=12).contains(&count["lost"]), "{count:?}");
    assert!((1..=8).contains(&count["503"]), "{count:?}");
    assert_eq!(count.len(), 3, "{count:?}");
    assert_ne!(first, outcomes(12, 120).await);
}

#[tokio::test]
async fn devices_that_ask_again_all_arrive_with_one_certificate_each() {
    let fleet = Fleet::start_with(|config| config.hostile = Some(seeded(5))).await;
    let (mut lost, mut devices) = (0, 0);
    while lost < 4 && devices < 200 {
        devices += 1;
        let hardware = format!("sn-{devices}");
        let (token, _) = fleet.token("thermo", None).await;
        let device = Device::new();
        let authorization = basic(&hardware, &token);
        let headers = [("Authorization", authorization.as_str())];
        let path = "/.well-known/est/thermo/simpleenroll";
        let mut told = Vec::new();
        // Twice, so that an answer after a loss can be compared with the next one.
        for _ in 0..20 {
            let mut connection = fleet.client().connect().await.unwrap();
            connection
                .send(&post(path, &headers, &device.csr("x", None)))
                .await;
            match connection.reply().await {
                None => lost += 1,
                Some(reply) if reply.status == 503 => {
                    assert!(reply.header("Retry-After").is_some());
                }
                Some(reply) => told.push(reply.certificate()),
            }
            if told.len() == 2 {
                break;
            }
        }
        assert_eq!(told.len(), 2, "{hardware}");
        assert_eq!(told[0], told[1], "{hardware}");
        let name = format!("thermo-{hardware}");
        let file = fleet
            .registrar
            .ledger()
            .device_get(&name)
            .await
            .unwrap()
            .unwrap();
        let live: Vec<_> = file
            .certificates
            .iter()
            .filter(|c| c.state.is_live())
            .collect();
        assert_eq!(live.len(), 1, "{hardware}");
        assert_eq!(live[0].der.as_deref(), Some(&told[0][..]), "{hardware}");
    }
    assert!(lost >= 4, "{lost} replies were lost to {devices} devices");
}
