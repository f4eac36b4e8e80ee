//! Power cuts at every instant of a device's life, torn writes and erases, and pairs of them.
//!
//! Each case runs the real machine on the real journal over simulated cells, key store, credential
//! store and network; cuts the power at one program unit, erase stripe, store write or network
//! message, leaves what a cut leaves there, boots again, cuts again, and then lets the device finish
//! with a healthy server. It must end as a member with one identity and its one token; an oracle
//! that shares no code with the crate says on the way where the device may stand.
//!
//! `IMPRINT_DEEP=1` tears with more seeds and pairs each boundary with many more later ones;
//! `IMPRINT_SHORT=1` is for the planted bugs. A failing case prints its coordinates.
#![expect(
    clippy::indexing_slicing,
    clippy::expect_used,
    clippy::panic_in_result_fn,
    unreachable_pub,
    reason = "a panic is how a test fails"
)]

#[path = "power_cuts/cases.rs"]
mod cases;
#[path = "power_cuts/disk.rs"]
mod disk;
#[path = "power_cuts/firmware.rs"]
mod firmware;
#[path = "power_cuts/memory.rs"]
mod memory;
#[path = "power_cuts/oracle.rs"]
mod oracle;
#[path = "power_cuts/power.rs"]
mod power;
#[path = "power_cuts/server.rs"]
mod server;
#[path = "power_cuts/world.rs"]
mod world;

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use cases::{Depth, Tally, cut, explore, finish, length_of, plans};
use imprint_device::Half;
use power::{Chance, Power, Tear};
use world::{End, Medium};

#[test]
fn a_million_power_cuts_all_end_in_one_member_with_one_identity() {
    let depth = Depth::asked();
    let plans = plans(depth);
    let (next, stop) = (AtomicUsize::new(0), AtomicBool::new(false));
    let mut total = Tally::default();
    std::thread::scope(|scope| {
        let work = || {
            let mut tally = Tally::default();
            loop {
                let at = next.fetch_add(1, Ordering::Relaxed);
                let Some(plan) = plans.get(at) else {
                    return tally;
                };
                tally.add(explore(plan, depth, &stop));
            }
        };
        let workers = std::thread::available_parallelism().map_or(1, usize::from);
        let handles: Vec<_> = (0..workers).map(|_| scope.spawn(work)).collect();
        for handle in handles {
            total.add(handle.join().expect("a worker panicked"));
        }
    });
    println!("{total}");
    assert!(total.failures.is_empty(), "{} cases failed", total.failed);
    if depth != Depth::Short {
        assert!(
            total.distinct >= 1_000_000,
            "{} cases are fewer than promised",
            total.distinct
        );
    }
}

/// A hundred cuts in a row, at random instants, before the device gets to finish.
#[test]
fn a_loop_of_brown_outs_ends_in_one_member_too() {
    let mut chance = Chance::new(13);
    for plan in plans(Depth::asked()) {
        let beginning = plan.beginning();
        let length = u64::from(length_of(&beginning));
        for round in 0..10 {
            let mut run = beginning.clone();
            for loss in 0..100_u8 {
                // Cells may stay weak after two cuts; a third in the same commit is not promised.
                let tears = Tear::all(1);
                let kinds = if loss < 2 {
                    tears.len()
                } else {
                    tears.len() - 1
                };
                let tear = tears[usize::from(chance.byte()) % kinds];
                let at = u32::try_from(chance.next() % length).expect("a few thousand");
                let boundary = cases::Boundary { at, tear };
                let (torn, end) = cut(&run, boundary);
                assert_eq!(
                    end,
                    Ok(()),
                    "{} round {round} loss {loss} {boundary:?}",
                    plan.name
                );
                run = torn;
            }
            assert_eq!(finish(run), Ok(()), "{} round {round}", plan.name);
        }
    }
}

/// One flipped bit costs at most the newest copy, and the one before leads to the same end.
#[test]
fn any_rotten_bit_in_a_member_s_journal_leaves_it_a_member() {
    for plan in plans(Depth::Short) {
        let mut member = plan.beginning();
        member.boot().expect("joining in peace");
        if !matches!(plan.medium, Medium::Cells(_)) {
            continue;
        }
        for (half, bit) in Half::ALL
            .into_iter()
            .flat_map(|half| (0..1792).map(move |bit| (half, bit)))
        {
            let mut run = member.clone();
            if let Medium::Cells(memory) = &mut run.world.get_mut().medium {
                memory.rot(half, bit);
            }
            run.legal.1 = run.before_last;
            assert_eq!(finish(run), Ok(()), "{} {half:?} bit {bit}", plan.name);
        }
    }
}

/// 100,000 boots with the server out of reach, at every stage of the road: at most 100 erases.
#[test]
fn a_boot_loop_without_progress_spares_the_flash() {
    let boots = if Depth::asked() == Depth::Short {
        1_000
    } else {
        100_000
    };
    let mut stages = Vec::new();
    for plan in plans(Depth::Short)
        .into_iter()
        .filter(|plan| plan.name.contains("nRF52"))
    {
        let beginning = plan.beginning();
        for at in 0..length_of(&beginning) {
            let boundary = cases::Boundary {
                at,
                tear: Tear::Clean,
            };
            let (mut run, end) = cut(&beginning, boundary);
            assert_eq!(end, Ok(()));
            if stages.contains(&run.legal.0) {
                continue;
            }
            stages.push(run.legal.0);
            run.world.get_mut().server.down = true;
            let before = erases(&run);
            run = run.for_steps(4);
            for _ in 0..boots {
                run.world.get_mut().power = Power::endless();
                let end = run.boot();
                assert!(matches!(end, Ok(()) | Err(End::Cut)), "{end:?}");
            }
            let spent = erases(&run) - before;
            assert!(spent <= 100, "{spent} erases at {:?}", run.legal);
            run.world.get_mut().server.down = false;
            assert_eq!(finish(run.in_peace()), Ok(()), "{:?}", stages.last());
        }
    }
    println!("{} stages", stages.len());
}

fn erases(run: &firmware::Run) -> u32 {
    match &run.world.borrow().medium {
        Medium::Cells(memory) => memory.erases,
        Medium::Disk(_) => 0,
    }
}
