//! The disk fails under a running ledger: strace answers for the kernel.
//!
//! After a flush that failed, the kernel may have dropped the pages that it could not write, and a
//! second flush that succeeds proves nothing. So the ledger ends: nothing is retried, every later
//! call says so, and what had been acknowledged before is there when it is opened again. A full
//! disk is another matter: it passes.
#![expect(clippy::unwrap_used, reason = "a test's helpers fail like the test")]

use std::path::Path;
use std::process::{Command, Stdio};
use std::{env, fs};

use imprint_identity::UnixTime;
use imprint_registrar::ledger::{NewToken, TokenHash};
use imprint_registrar::{Ledger, LedgerError, Product};
use imprint_sqlite::{Options, Sqlite};

#[test]
fn a_flush_that_fails_ends_the_ledger_and_loses_nothing_that_was_told() {
    for when in 1..=12 {
        let inject = format!("inject=fsync,fdatasync:error=EIO:when={when}");
        let Some((told, ended)) = run(&inject, "imprint.db-wal") else {
            return;
        };
        assert!(ended, "flush {when} failed and the ledger went on");
        assert!(
            told < TOKENS,
            "flush {when} failed and everybody was told that it is durable"
        );
    }
}

#[test]
fn a_checkpoint_that_can_not_flush_ends_the_ledger() {
    for when in [1, 2] {
        let inject = format!("inject=fsync,fdatasync:error=EIO:when={when}");
        let Some((told, ended)) = run(&inject, "imprint.db") else {
            return;
        };
        assert!(
            ended && 0 < told && told < TOKENS,
            "{told} told before checkpoint {when}"
        );
    }
}

#[test]
fn a_write_that_fails_ends_the_ledger() {
    let Some((told, ended)) = run("inject=pwrite64:error=EIO:when=60", "imprint.db-wal") else {
        return;
    };
    assert!(ended && told < TOKENS, "{told} told");
}

#[test]
fn a_full_disk_passes() {
    for when in [40, 41, 70, 100] {
        let inject = format!("inject=pwrite64:error=ENOSPC:when={when}");
        let Some((told, ended)) = run(&inject, "imprint.db-wal") else {
            return;
        };
        assert!(!ended, "a full disk ended the ledger");
        assert_eq!(told, TOKENS - 1, "one is refused, and all others are told");
    }
}

/// Runs the workload with a fault; answers how many were told that their token is kept, and whether
/// the ledger has ended. `None` where strace can't be used.
fn run(inject: &str, file: &str) -> Option<(u32, bool)> {
    let dir = tempfile::tempdir().unwrap();
    // Made beforehand: the fault is to meet a ledger at work.
    let options = Options {
        checkpoint_pages: 40,
        ..Options::default()
    };
    drop(Sqlite::open_with(&dir.path().join("imprint.db"), &options).unwrap());
    let mut strace = Command::new("strace");
    strace
        .args([
            "-f",
            "-qq",
            "-o",
            "/dev/null",
            "-e",
            "trace=fsync,fdatasync,pwrite64",
        ])
        .args(["-e", inject, "-P"])
        .arg(dir.path().join(file))
        .arg(env::current_exe().unwrap())
        .args(["--ignored", "--exact", "the_workload"])
        .env("DISK_FAILS_DIR", dir.path())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let output = match strace.output() {
        Ok(output) => output,
        Err(error) => {
            let required = setting("IMPRINT_REQUIRE_TOOLS").is_some();
            assert!(!required, "strace is required and can't be run: {error}");
            println!("SKIPPED: strace can't be run: {error}");
            return None;
        }
    };
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        output.status.success(),
        "{said}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let told = fs::read_to_string(dir.path().join("told")).unwrap();
    let ended = told.lines().any(|line| line == "ended");
    let told: Vec<u32> = told.lines().filter_map(|line| line.parse().ok()).collect();
    // What was told is there, after a start on a disk that works again.
    let ledger = Sqlite::open(&dir.path().join("imprint.db")).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    for n in &told {
        let found = runtime.block_on(ledger.token_get(&id(*n))).unwrap();
        assert!(found.is_some(), "token {n} was told and is lost ({inject})");
    }
    Some((u32::try_from(told.len()).unwrap(), ended))
}

/// Started by the tests above, under strace.
#[test]
#[ignore = "it is run by the other tests, under strace"]
fn the_workload() {
    let Some(dir) = setting("DISK_FAILS_DIR") else {
        return;
    };
    let dir = Path::new(&dir);
    let options = Options {
        checkpoint_pages: 40,
        ..Options::default()
    };
    let ledger = Sqlite::open_with(&dir.join("imprint.db"), &options).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .unwrap();
    let mut told = String::new();
    let mut ended = false;
    runtime.block_on(async {
        let applied = ledger
            .product_apply(vec![Product::named("thermo")], "ada", NOW)
            .await;
        // The first flush may be the one that fails: then nothing is told.
        for n in 0..TOKENS {
            match ledger.token_mint(token(n), "ada", NOW).await {
                Ok(()) => {
                    assert!(!ended, "it had ended, and said yes to token {n}");
                    told.push_str(&n.to_string());
                    told.push('\n');
                }
                Err(LedgerError::Unavailable { .. }) => {
                    ended |= has_failed(&ledger).await;
                    if ended {
                        let read = ledger.token_get(&id(0)).await;
                        assert!(read.is_err(), "it reads what it can't trust: {read:?}");
                    }
                }
                Err(other) => panic!("{other}"),
            }
        }
        assert!(applied.is_ok() || ended);
    });
    if ended {
        told += "ended\n";
        assert!(
            ledger.close().is_err(),
            "its end is told to whoever closes it"
        );
    }
    fs::write(dir.join("told"), told).unwrap();
}

async fn has_failed(ledger: &Sqlite) -> bool {
    let moment = std::time::Duration::from_millis(200);
    tokio::time::timeout(moment, ledger.failure()).await.is_ok()
}

fn token(n: u32) -> Vec<NewToken> {
    let mut hash = [0; 32];
    hash[..4].copy_from_slice(&n.to_be_bytes());
    vec![NewToken {
        id: id(n),
        hash: TokenHash(hash),
        product: "thermo".into(),
        bound: None,
        dormant: false,
        expires_at: NOW.plus(9),
    }]
}

fn id(n: u32) -> String {
    format!("t-{n:012x}")
}

#[expect(clippy::disallowed_methods, reason = "a test's own settings")]
fn setting(name: &str) -> Option<String> {
    env::var(name).ok()
}

const TOKENS: u32 = 40;
const NOW: UnixTime = UnixTime(1_795_534_500);
