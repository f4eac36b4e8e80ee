//! The power fails: at every write of a run, in every way in which a disk may lose what was not
//! flushed, and nothing that was acknowledged is gone.
//!
//! A real run of the ledger is recorded with strace: every write, flush, creation and removal, and
//! in between the acknowledgements that its callers got ([`workload`], [`trace`]). From that record
//! the disk is rebuilt as it may look after a power failure at each point: every 512-byte sector that
//! was not flushed holds what it held before, any of the contents written since, or garbage
//! ([`disk`]). Each of these disks is opened as a server would open it after the failure, and asked
//! for everything that was acknowledged before ([`judge`]).
//!
//! The same is done to a ledger that was opened with `synchronous=NORMAL`, which SQLite's own
//! documentation calls a reasonable choice; the test must catch it.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test's helpers fail like the test"
)]

mod disk;
mod judge;
mod trace;
mod workload;

use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::{env, thread};

use disk::{Disk, Fate};
use judge::judge;
use trace::Event;

#[test]
fn nothing_acknowledged_is_lost_when_the_power_fails() {
    let Some(events) = record(false) else { return };
    let outcome = fail_at_every_point(&events, runs(ORDINARY, 60_000));
    println!("{}", outcome.summary("synchronous=FULL"));
    assert!(outcome.failed.is_empty(), "{}", outcome.failures());
    assert!(
        outcome.lossy > outcome.runs / 2,
        "most failures must catch something unflushed"
    );
    assert!(
        outcome.acknowledged > 30,
        "the run acknowledges enough to lose"
    );
}

#[test]
fn a_ledger_that_does_not_flush_is_caught() {
    let Some(events) = record(true) else { return };
    let outcome = fail_at_every_point(&events, runs(1_500, 6_000));
    println!("{}", outcome.summary("synchronous=NORMAL"));
    let lost = outcome
        .failed
        .iter()
        .filter(|(_, why)| why.contains("lost"))
        .count();
    assert!(
        lost * 10 > outcome.runs,
        "{lost} losses in {} runs",
        outcome.runs
    );
}

/// The recorded run itself; started by the tests above.
#[test]
#[ignore = "it is run by the other tests, under strace"]
fn the_workload() {
    let Some(dir) = setting("POWER_LOSS_DIR") else {
        return;
    };
    workload::run(Path::new(&dir), setting("POWER_LOSS_UNFLUSHED").is_some());
}

/// Runs the workload under strace; `None` where strace can't be used, which is said.
fn record(unflushed: bool) -> Option<Vec<Event>> {
    let dir = tempfile::tempdir().unwrap();
    let work = dir.path().join("work");
    std::fs::create_dir(&work).unwrap();
    let record = dir.path().join("trace");
    let mut strace = Command::new("strace");
    strace
        .args(["-f", "-qq", "-y", "-xx", "-s", "1000000", "-o"])
        .arg(&record)
        .args([
            "-e",
            "trace=openat,pwrite64,write,fdatasync,fsync,ftruncate,unlink",
        ])
        .arg(env::current_exe().unwrap())
        .args(["--ignored", "--exact", "the_workload"])
        .env("POWER_LOSS_DIR", &work)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    if unflushed {
        strace.env("POWER_LOSS_UNFLUSHED", "1");
    }
    let output = match strace.output() {
        Ok(output) => output,
        Err(error) => {
            let required = setting("IMPRINT_REQUIRE_TOOLS").is_some();
            assert!(!required, "strace is required and can't be run: {error}");
            println!("SKIPPED: strace can't be run: {error}");
            return None;
        }
    };
    let text = |octets: &[u8]| String::from_utf8_lossy(octets).into_owned();
    let said = text(&output.stdout) + &text(&output.stderr);
    assert!(output.status.success(), "the workload failed: {said}");
    let recorded = std::fs::read_to_string(&record).unwrap();
    Some(trace::read(&recorded, &work))
}

struct Outcome {
    points: usize,
    runs: usize,
    /// Runs in which something unflushed was on its way.
    lossy: usize,
    acknowledged: usize,
    failed: Vec<(String, String)>,
}

impl Outcome {
    fn summary(&self, what: &str) -> String {
        format!(
            "{what}: {} power failures at {} points of a run with {} acknowledgements, \
             {} with unflushed sectors: {} lost or broken",
            self.runs,
            self.points,
            self.acknowledged,
            self.lossy,
            self.failed.len()
        )
    }

    fn failures(&self) -> String {
        let some = self.failed.iter().take(5);
        some.map(|(at, why)| format!("{at}: {why}\n"))
            .collect::<Vec<_>>()
            .concat()
    }
}

/// Lets the power fail after each event, about `wanted` times in all, and judges what is left.
fn fail_at_every_point(events: &[Event], wanted: usize) -> Outcome {
    let pending = pending_points(events);
    let variants = wanted.div_ceil(pending.max(1)).max(2);
    let next = AtomicUsize::new(0);
    let workers = thread::available_parallelism()
        .map_or(1, usize::from)
        .min(8);
    let results: Vec<_> = thread::scope(|scope| {
        let handles: Vec<_> = (0..workers)
            .map(|_| scope.spawn(|| worker(events, variants, &next)))
            .collect();
        handles
            .into_iter()
            .map(|handle| handle.join().unwrap())
            .collect()
    });
    let mut outcome = Outcome {
        points: events.len(),
        runs: 0,
        lossy: 0,
        acknowledged: events
            .iter()
            .filter(|event| matches!(event, Event::Told(_)))
            .count(),
        failed: Vec::new(),
    };
    for (runs, lossy, failed) in results {
        outcome.runs += runs;
        outcome.lossy += lossy;
        outcome.failed.extend(failed);
    }
    outcome.failed.sort();
    outcome
}

fn pending_points(events: &[Event]) -> usize {
    let mut disk = Disk::default();
    events
        .iter()
        .filter(|event| {
            disk.apply(event);
            disk.has_unflushed()
        })
        .count()
}

/// About 30 s of one core; the deep run (`IMPRINT_DEEP`) does more than 50,000.
const ORDINARY: usize = 5_000;

/// Points in portions, so that all workers get some of the early, small ones.
const PORTION: usize = 16;

fn worker(
    events: &[Event],
    variants: usize,
    next: &AtomicUsize,
) -> (usize, usize, Vec<(String, String)>) {
    let place = place();
    let mut disk = Disk::default();
    let mut told = Vec::new();
    let mut applied = 0;
    let (mut runs, mut lossy, mut failed) = (0, 0, Vec::new());
    loop {
        let portion = next.fetch_add(PORTION, Ordering::Relaxed);
        if portion >= events.len() {
            return (runs, lossy, failed);
        }
        for point in portion..(portion + PORTION).min(events.len()) {
            while applied <= point {
                disk.apply(&events[applied]);
                if let Event::Told(what) = &events[applied] {
                    told.push(what.clone());
                }
                applied += 1;
            }
            // What is flushed can fail in one way only.
            let unflushed = disk.has_unflushed();
            for variant in 0..if unflushed { variants } else { 1 } {
                let dir = place.path().join(format!("{point}-{variant}"));
                disk.image(&Fate::new(point, variant), &dir);
                runs += 1;
                lossy += usize::from(unflushed);
                if let Err(why) = judge(&dir, &told) {
                    failed.push((format!("point {point}, variant {variant}"), why));
                }
                std::fs::remove_dir_all(&dir).unwrap();
            }
        }
    }
}

/// Where the rebuilt disks lie: in memory if there is such a place. What is judged is recovery; the
/// run that was recorded wrote to a real disk.
fn place() -> tempfile::TempDir {
    let memory = Path::new("/dev/shm");
    tempfile::tempdir_in(memory)
        .or_else(|_| tempfile::tempdir())
        .unwrap()
}

fn runs(ordinary: usize, deep: usize) -> usize {
    if setting("IMPRINT_DEEP").is_some() {
        deep
    } else {
        ordinary
    }
}

#[expect(clippy::disallowed_methods, reason = "a test's own settings")]
fn setting(name: &str) -> Option<String> {
    env::var(name).ok()
}
