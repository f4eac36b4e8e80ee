//! Many at once: one certificate a key, one device a hardware id, one thing a token.

use std::collections::BTreeSet;
use std::sync::Arc;

use imprint_registrar::Code;
use imprint_registrar::claims::definition::Claim;
use imprint_registrar::ledger::DeviceFilter;
use imprint_registrar::{Ledger as _, Refusal};

use super::support::*;
use crate::support::*;

async fn all<T: Send + 'static>(
    tasks: impl IntoIterator<Item = impl Future<Output = T> + Send + 'static>,
) -> Vec<T> {
    let tasks: Vec<_> = tasks.into_iter().map(tokio::spawn).collect();
    let mut outcomes = Vec::new();
    for task in tasks {
        outcomes.push(task.await.unwrap());
    }
    outcomes
}

/// Those that went well; the others must have been refused with one of these.
fn winners<T>(outcomes: Vec<Result<T, Refusal>>, allowed: &[Code]) -> Vec<T> {
    let mut won = Vec::new();
    for outcome in outcomes {
        match outcome {
            Ok(one) => won.push(one),
            Err(refusal) => assert!(allowed.contains(&refusal.code), "{refusal}"),
        }
    }
    won
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn one_key_asking_many_times_at_once_gets_one_certificate() {
    let fleet = Arc::new(Fleet::new().await);
    for _ in 0..10 {
        let key = Arc::new(Key::new());
        let asked = (0..8).map(|_| {
            let (fleet, key) = (fleet.clone(), key.clone());
            async move { fleet.certify(&key).await.unwrap().der }
        });
        let answers: BTreeSet<_> = all(asked).await.into_iter().collect();
        assert_eq!(answers.len(), 1);
    }
    assert_eq!(fleet.claim().await.pending, 10);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn one_token_for_many_things_at_once_registers_one() {
    let fleet = Arc::new(Fleet::new().await);
    for round in 0..10 {
        let pending = Arc::new(fleet.certify(&Key::new()).await.unwrap());
        let asked = (0..8).map(|n| {
            let (fleet, pending) = (fleet.clone(), pending.clone());
            let hardware = format!("sn-{round}-{}", n % 4);
            async move { fleet.register(&pending, &hardware).await }
        });
        let won = winners(all(asked).await, &[Code::OwnershipUsed, Code::KeyInUse]);
        assert_eq!(won.len(), 2, "the same twice, and no other");
        assert_eq!(won[0].device.id, won[1].device.id);
        assert_eq!(won[0].answer, won[1].answer);
    }
    let devices = DeviceFilter::default();
    let devices = fleet.world.road.ledger().device_list(&devices).await;
    assert_eq!(devices.unwrap().len(), 10);
    assert_eq!(fleet.claim().await.granted, 10);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_many_keys_for_one_hardware_id_one_gets_the_device() {
    let fleet = Fleet::with(|claim| claim.limits.two_keys = 0).await;
    define(&fleet.world, vec![Claim::named("line-2", "thermo")]).await;
    let fleet = Arc::new(fleet);
    for round in 0..10 {
        let asked = (0..6).map(|_| {
            let fleet = fleet.clone();
            async move {
                let pending = fleet.certify(&Key::new()).await.unwrap();
                fleet.register(&pending, &format!("sn-{round}")).await
            }
        });
        let won = winners(all(asked).await, &[Code::DeviceExists]);
        assert_eq!(won.len(), 1, "round {round}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_claims_cap_holds_under_a_crowd() {
    let fleet = Arc::new(Fleet::with(|claim| claim.limits.total = 7).await);
    let asked = (0..30).map(|n| {
        let fleet = fleet.clone();
        async move {
            let pending = fleet.certify(&Key::new()).await.unwrap();
            fleet.register(&pending, &format!("sn-{n}")).await
        }
    });
    let won = winners(all(asked).await, &[Code::ClaimUsedUp]);
    assert_eq!(won.len(), 7);
    assert_eq!(fleet.claim().await.granted, 7);
}
