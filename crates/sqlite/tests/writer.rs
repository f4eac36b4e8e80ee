//! The writer's own promises: groups, cancelled callers, a full queue, a closed ledger.
#![expect(clippy::unwrap_used, reason = "a test's helpers fail like the test")]

use std::future::Future;
use std::sync::Arc;
use std::task::{Context, Waker};

use imprint_identity::{Step, UnixTime};
use imprint_registrar::ledger::{NewToken, RefusalSample, TokenFilter, TokenHash};
use imprint_registrar::{Ledger, LedgerError, Product};
use imprint_sqlite::Sqlite;
use tempfile::TempDir;

async fn ledger() -> (TempDir, Arc<Sqlite>) {
    let dir = tempfile::tempdir().unwrap();
    let ledger = Sqlite::open(&dir.path().join("imprint.db")).unwrap();
    ledger
        .product_apply(vec![Product::named("thermo")], "ada", NOW)
        .await
        .unwrap();
    (dir, Arc::new(ledger))
}

fn token(n: u32) -> Vec<NewToken> {
    let mut hash = [0; 32];
    hash[..4].copy_from_slice(&n.to_be_bytes());
    vec![NewToken {
        id: format!("t-{n:012x}"),
        hash: TokenHash(hash),
        product: "thermo".into(),
        bound: None,
        dormant: false,
        expires_at: NOW.plus(9),
    }]
}

async fn is_there(ledger: &Sqlite, n: u32) -> bool {
    ledger
        .token_get(&format!("t-{n:012x}"))
        .await
        .unwrap()
        .is_some()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_arrives_together_shares_a_flush() {
    let (_dir, ledger) = ledger().await;
    for _ in 0..3 {
        let before = ledger.group_sizes();
        let tasks: Vec<_> = (0..256)
            .map(|n| {
                let ledger = Arc::clone(&ledger);
                let n = u32::try_from(before.operations).unwrap() + n;
                tokio::spawn(async move { ledger.token_mint(token(n), "ada", NOW).await })
            })
            .collect();
        for task in tasks {
            task.await.unwrap().unwrap();
        }
        let after = ledger.group_sizes();
        assert_eq!(after.operations - before.operations, 256);
        let groups = after.groups - before.groups;
        assert!(groups <= 64, "{groups} flushes for 256 operations");
    }
    assert!(ledger.group_sizes().mean() > 2.0);
    assert!(ledger.group_sizes().largest <= 512);
}

#[tokio::test]
async fn a_lone_caller_has_each_flush_for_itself() {
    let (_dir, ledger) = ledger().await;
    for n in 0..20 {
        ledger.token_mint(token(n), "ada", NOW).await.unwrap();
    }
    let sizes = ledger.group_sizes();
    assert_eq!((sizes.groups, sizes.operations, sizes.largest), (21, 21, 1));
}

/// Polls once, so that the operation is in the queue.
fn submit(future: std::pin::Pin<&mut impl Future>) {
    let mut context = Context::from_waker(Waker::noop());
    assert!(future.poll(&mut context).is_pending());
}

#[tokio::test]
async fn a_caller_that_gives_up_delays_and_undoes_nothing() {
    let (_dir, ledger) = ledger().await;
    for n in 0..50 {
        let mut given_up = Box::pin(ledger.token_mint(token(2 * n), "ada", NOW));
        submit(given_up.as_mut());
        if n % 2 == 0 {
            drop(given_up);
            ledger
                .token_mint(token(2 * n + 1), "ada", NOW)
                .await
                .unwrap();
        } else {
            // Held and not polled, while its owner waits for another answer of the same group.
            ledger
                .token_mint(token(2 * n + 1), "ada", NOW)
                .await
                .unwrap();
            given_up.await.unwrap();
        }
        assert!(is_there(&ledger, 2 * n).await && is_there(&ledger, 2 * n + 1).await);
    }
}

#[tokio::test]
async fn a_full_queue_says_so_and_everybody_is_answered() {
    let (dir, ledger) = ledger().await;
    // Somebody else has the file for a moment: the writer waits with its first group.
    let other = rusqlite::Connection::open(dir.path().join("imprint.db")).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let mut waiting: Vec<_> = (0..6_000)
        .map(|n| Some(Box::pin(ledger.token_mint(token(n), "ada", NOW))))
        .collect();
    let mut refused = 0;
    for one in &mut waiting {
        let mut context = Context::from_waker(Waker::noop());
        let polled = one.as_mut().unwrap().as_mut().poll(&mut context);
        if let std::task::Poll::Ready(answer) = polled {
            assert!(
                matches!(answer, Err(LedgerError::Unavailable { .. })),
                "{answer:?}"
            );
            refused += 1;
            *one = None;
        }
    }
    other.execute_batch("ROLLBACK").unwrap();
    assert!(
        refused >= 6_000 - 4_096 - 512,
        "{refused} refused: nothing bounds the queue"
    );
    let mut done = 0;
    for one in waiting.into_iter().flatten() {
        one.await.unwrap();
        done += 1;
    }
    assert_eq!(refused + done, 6_000);
    let listed = ledger
        .token_list(&TokenFilter {
            limit: 10_000,
            ..Default::default()
        })
        .await;
    assert_eq!(listed.unwrap().len(), done);
    ledger.token_mint(token(9_999), "ada", NOW).await.unwrap();
}

#[tokio::test]
async fn closing_writes_what_was_queued_and_then_says_that_it_is_closed() {
    let (dir, ledger) = ledger().await;
    let mut queued: Vec<_> = (0..100)
        .map(|n| Box::pin(ledger.token_mint(token(n), "ada", NOW)))
        .collect();
    for one in &mut queued {
        submit(one.as_mut());
    }
    ledger.close().unwrap();
    for one in queued {
        one.await.unwrap();
    }
    let closed = |answer: Result<(), LedgerError>| {
        assert!(
            matches!(answer, Err(LedgerError::Unavailable { .. })),
            "{answer:?}"
        );
    };
    closed(ledger.token_mint(token(200), "ada", NOW).await);
    closed(ledger.product_list().await.map(drop));
    closed(ledger.token_list(&TokenFilter::default()).await.map(drop));
    ledger.close().unwrap();
    drop(ledger);
    let again = Sqlite::open(&dir.path().join("imprint.db")).unwrap();
    assert!(is_there(&again, 0).await && is_there(&again, 99).await);
    assert!(!is_there(&again, 200).await);
}

#[test]
fn the_ledger_outlives_the_runtime_that_it_met_first() {
    let dir = tempfile::tempdir().unwrap();
    let ledger = Arc::new(Sqlite::open(&dir.path().join("imprint.db")).unwrap());
    let products = || vec![Product::named("thermo")];
    for first in [0, 100, 200] {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .unwrap();
        runtime.block_on(async {
            ledger.product_apply(products(), "ada", NOW).await.unwrap();
            let tasks: Vec<_> = (first..first + 50)
                .map(|n| {
                    let ledger = Arc::clone(&ledger);
                    tokio::spawn(async move { ledger.token_mint(token(n), "ada", NOW).await })
                })
                .collect();
            for task in tasks {
                task.await.unwrap().unwrap();
            }
        });
    }
}

#[tokio::test]
async fn refusals_of_all_subjects_together_are_bounded() {
    let (dir, ledger) = ledger().await;
    let sample = |n: u32| RefusalSample {
        subject: format!("10.{}.{}.{}", n >> 16, n >> 8 & 255, n & 255),
        at: NOW,
        code: "token-unknown".into(),
        step: Step::Enroll,
        detail: String::new(),
        address: String::new(),
        credential: String::new(),
        count: 1,
    };
    for chunk in 0..11 {
        let samples = (chunk * 10_000..(chunk + 1) * 10_000).map(sample).collect();
        ledger.refusal_add(samples, NOW).await.unwrap();
    }
    assert!(
        ledger.refusal_list("10.0.0.0").await.unwrap().is_empty(),
        "the oldest make room"
    );
    assert_eq!(
        ledger
            .refusal_list(&sample(109_999).subject)
            .await
            .unwrap()
            .len(),
        1
    );
    ledger.close().unwrap();
    let db = rusqlite::Connection::open(dir.path().join("imprint.db")).unwrap();
    let kept: i64 = db
        .query_row("SELECT count(*) FROM refusal", [], |row| row.get(0))
        .unwrap();
    assert_eq!(kept, 100_000);
}

const NOW: UnixTime = UnixTime(1_795_534_500);
