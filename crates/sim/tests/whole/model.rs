//! The road under every order of events that a seed can think of: devices, thieves and operators
//! at once on the real ledger and the real signer, crashes between any two calls, replies that
//! nobody hears. After every single step the checker judges what is on record.
//!
//! One call of the ledger or signer happens at a time, and the seed says whose: so a seed replays
//! its run. `IMPRINT_SEED=n` runs that one alone.

mod gates;
mod planted;
mod report;
mod run;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use imprint_sim::{chance, many};

use crate::support::seconds;
use planted::Bug;
use report::Report;
use run::Ground;

#[test]
fn no_order_of_events_breaks_a_promise() {
    let started = Instant::now();
    let ground = Ground::new();
    let first = chance::seed() % 1_000_000_000;
    let alone = std::env::var_os("IMPRINT_SEED").is_some();
    let seeds = if alone { 1 } else { many(200, 20_000) };
    println!("seeds {first} and on; IMPRINT_SEED=n replays the run n");
    let reports = on_two_cores(seeds, |at| {
        let seed = first + at as u64;
        ground
            .run(seed, None)
            .unwrap_or_else(|violation| panic!("{violation}"))
    });
    let mut total = Report::default();
    for report in reports {
        total.add(report);
    }
    println!(
        "S8 model: {seeds} seeds, {} steps, each of them judged; {} crashes, {} callers gone; \
         {} certificates settled twice; refusals {:?}, acts {:?}; 0 violations; {}",
        total.steps,
        total.crashes,
        total.gone,
        total.settled_twice,
        total.refusals,
        total.acts,
        seconds(started)
    );
    if !alone {
        assert!(
            total.crashes > 0 && total.gone > 0 && total.settled_twice > 0,
            "{total:?}"
        );
        for act in [
            "enrolled",
            "verified",
            "renewed",
            "token-rebound",
            "device-released",
        ] {
            assert!(
                total.acts.contains_key(act),
                "{act} never happened: {total:?}"
            );
        }
        for code in [
            "token-leased",
            "token-spent",
            "device-exists",
            "certificate-superseded",
        ] {
            assert!(
                total.refusals.contains_key(code),
                "{code} was never seen: {total:?}"
            );
        }
    }
}

#[test]
fn a_seed_replays_its_run() {
    let ground = Ground::new();
    for seed in 1..=5 {
        let (first, second) = (
            ground.run(seed, None).unwrap(),
            ground.run(seed, None).unwrap(),
        );
        assert!(!first.trace.is_empty());
        assert_eq!(first.trace, second.trace, "seed {seed}");
    }
}

#[test]
fn every_planted_bug_is_caught() {
    let started = Instant::now();
    let ground = Ground::new();
    let mut caught = BTreeMap::new();
    for &bug in Bug::ALL {
        let violation = (0..many(400, 2_000) as u64)
            .find_map(|seed| ground.run(seed, Some(bug)).err())
            .unwrap_or_else(|| panic!("nobody noticed {bug:?}"));
        println!(
            "planted {bug:?}: caught at seed {}: {}",
            violation.seed,
            violation.first()
        );
        caught.insert(format!("{bug:?}"), violation.seed + 1);
    }
    println!(
        "S3 planted bugs: {} of {} caught, after so many seeds: {caught:?}; {}",
        caught.len(),
        Bug::ALL.len(),
        seconds(started)
    );
}

/// Runs `work` for every number below `count`, on two threads.
fn on_two_cores<O: Send>(count: usize, work: impl Fn(usize) -> O + Sync) -> Vec<O> {
    let next = AtomicUsize::new(0);
    let own = || {
        let mut done = Vec::new();
        loop {
            let at = next.fetch_add(1, Ordering::Relaxed);
            if at >= count {
                return done;
            }
            done.push(work(at));
        }
    };
    std::thread::scope(|scope| {
        let threads = [scope.spawn(own), scope.spawn(own)];
        threads
            .into_iter()
            .flat_map(|thread| thread.join().unwrap())
            .collect()
    })
}

/// A directory for ledgers. In memory where there is such a thing: no power is lost here.
fn directory() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm")
        .or_else(|_| tempfile::tempdir())
        .unwrap()
}
