//! Writes: one thread, one connection, many operations a flush.
//!
//! Each operation runs in its own savepoint, so that one that fails takes nothing else along. Then
//! the group is committed with one flush, and only then is anybody answered.
//!
//! Waking a task from a foreign thread costs a system call. So the answers of a group go to the
//! runtime as one task, which hands them out from inside, where a wake is cheap ([`Answers`]).

use std::sync::atomic::{AtomicI32, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use imprint_registrar::LedgerError;
use rusqlite::Connection;
use tokio::runtime::Handle;
use tokio::sync::{oneshot, watch};

use crate::fault::Fault;

pub(crate) struct Writer {
    queue: SyncSender<Job>,
    thread: Mutex<Option<JoinHandle<Result<(), Fault>>>>,
    failed: watch::Receiver<Option<String>>,
    counts: Arc<Counts>,
    runtime: Arc<OnceLock<Handle>>,
}

/// How many operations shared how many flushes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct GroupSizes {
    /// Transactions that were committed.
    pub groups: u64,
    /// Operations in them.
    pub operations: u64,
    /// The most operations that one transaction had.
    pub largest: u64,
}

impl GroupSizes {
    /// Operations a transaction; 0 before the first.
    #[must_use]
    pub fn mean(&self) -> f64 {
        #[expect(clippy::cast_precision_loss, reason = "a mean for people")]
        let of = |count: u64| count as f64;
        if self.groups == 0 {
            0.0
        } else {
            of(self.operations) / of(self.groups)
        }
    }
}

#[derive(Default)]
struct Counts {
    groups: AtomicU64,
    operations: AtomicU64,
    largest: AtomicU64,
}

enum Job {
    Operation(Box<dyn Operation>),
    Close,
}

impl Writer {
    /// Starts the thread. `checkpoint_pages`: so many pages in the write-ahead log are moved into
    /// the file.
    pub(crate) fn start(mut db: Connection, checkpoint_pages: i32) -> Result<Self, Fault> {
        let log_pages = Arc::new(AtomicI32::new(0));
        let seen = Arc::clone(&log_pages);
        db.wal_hook(Some(move |_: &mut rusqlite::hooks::Wal, pages| {
            seen.store(pages, Ordering::Relaxed);
            Ok(())
        }))?;
        let (queue, jobs) = sync_channel(MOST_QUEUED);
        let (failing, failed) = watch::channel(None);
        let counts = Arc::new(Counts::default());
        let runtime = Arc::new(OnceLock::new());
        let group = Groups {
            db,
            runtime: Arc::clone(&runtime),
            jobs,
            failing,
            counts: Arc::clone(&counts),
            log_pages,
            checkpoint_pages,
        };
        let thread = thread::Builder::new()
            .name("ledger".to_owned())
            .spawn(move || group.run())
            .map_err(|error| Fault::Passing(format!("no thread for the writer: {error}")))?;
        Ok(Self {
            queue,
            thread: Mutex::new(Some(thread)),
            failed,
            counts,
            runtime,
        })
    }

    /// Runs a writing operation and answers when it is durable, or not done.
    pub(crate) async fn write<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection) -> Result<T, Fault> + Send + 'static,
    ) -> Result<T, Fault> {
        if let Some(reason) = self.failed() {
            return Err(Fault::Passing(reason));
        }
        if self.runtime.get().is_none()
            && let Ok(handle) = Handle::try_current()
        {
            // Whoever comes second has the same one, or will do as well.
            let _ = self.runtime.set(handle);
        }
        let (reply, answer) = oneshot::channel();
        let operation = Box::new(Task {
            work: Some(work),
            outcome: None,
            reply,
        });
        self.queue
            .try_send(Job::Operation(operation))
            .map_err(|error| {
                Fault::Passing(match error {
                    TrySendError::Full(_) => format!("{MOST_QUEUED} operations wait already"),
                    TrySendError::Disconnected(_) => "it is closed".to_owned(),
                })
            })?;
        let ended = || Fault::Passing("the writer ended before it came to this".to_owned());
        answer.await.map_err(|_| ended())?
    }

    /// Why nothing here is trusted any more, if that is so.
    pub(crate) fn failed(&self) -> Option<String> {
        self.failed.borrow().clone()
    }

    pub(crate) fn failure(&self) -> impl Future<Output = String> + Send + 'static {
        let mut failed = self.failed.clone();
        async move {
            match failed
                .wait_for(Option::is_some)
                .await
                .map(|reason| reason.clone())
            {
                Ok(Some(reason)) => reason,
                // The ledger was closed, and nothing is wrong.
                _ => std::future::pending().await,
            }
        }
    }

    pub(crate) fn group_sizes(&self) -> GroupSizes {
        GroupSizes {
            groups: self.counts.groups.load(Ordering::Relaxed),
            operations: self.counts.operations.load(Ordering::Relaxed),
            largest: self.counts.largest.load(Ordering::Relaxed),
        }
    }

    pub(crate) fn close(&self) -> Result<(), LedgerError> {
        let thread = self
            .thread
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        let Some(thread) = thread else { return Ok(()) };
        // It has ended already when this can't be sent; what it said is read below.
        let _ = self.queue.send(Job::Close);
        match thread.join() {
            Ok(ended) => Ok(ended?),
            Err(_) => Err(LedgerError::Unavailable {
                reason: "the writer panicked".to_owned(),
            }),
        }
    }
}

/// The thread's side.
struct Groups {
    db: Connection,
    jobs: Receiver<Job>,
    failing: watch::Sender<Option<String>>,
    counts: Arc<Counts>,
    log_pages: Arc<AtomicI32>,
    checkpoint_pages: i32,
    runtime: Arc<OnceLock<Handle>>,
}

impl Groups {
    fn run(self) -> Result<(), Fault> {
        let mut pace = Pace::default();
        let mut group = Vec::new();
        while let Ok(job) = self.jobs.recv() {
            let mut closing = take(job, &mut group);
            closing |= self.drain(&mut group);
            if !closing && pace.lingers(group.len()) {
                thread::sleep(LINGER);
                closing |= self.drain(&mut group);
                pace.lingered(group.len());
            }
            self.commit(&mut group)?;
            if closing {
                break;
            }
            // After the answers: nobody waits for the log to be moved.
            if self.log_pages.load(Ordering::Relaxed) >= self.checkpoint_pages
                && let Err(fault) = self.checkpoint("PASSIVE")
            {
                return Err(self.fail(fault));
            }
        }
        self.checkpoint("TRUNCATE")
    }

    /// Takes what waits, as far as a group goes; answers whether the end was asked for.
    fn drain(&self, group: &mut Vec<Box<dyn Operation>>) -> bool {
        while group.len() < MOST_IN_GROUP {
            match self.jobs.try_recv().map(|job| take(job, group)) {
                Ok(true) => return true,
                Ok(false) => {}
                Err(_) => return false,
            }
        }
        false
    }

    /// Runs, commits and answers a group. An error means that durability can't be promised any more.
    fn commit(&self, group: &mut Vec<Box<dyn Operation>>) -> Result<(), Fault> {
        if group.is_empty() {
            return Ok(());
        }
        let outcome = self.transaction(group);
        if outcome.is_ok() {
            let size = group.len() as u64;
            self.counts.groups.fetch_add(1, Ordering::Relaxed);
            self.counts.operations.fetch_add(size, Ordering::Relaxed);
            self.counts.largest.fetch_max(size, Ordering::Relaxed);
        }
        // A ledger that has failed says so before its callers hear of it: none of them may ask again
        // and find it alive.
        let (failed, outcome) = match outcome {
            Ok(()) => (None, Ok(())),
            Err(fault @ Fault::Fatal(_)) => {
                (Some(fault.reason().to_owned()), Err(self.fail(fault)))
            }
            Err(passing) => (Some(passing.reason().to_owned()), Ok(())),
        };
        self.answer(Answers {
            operations: std::mem::take(group),
            failed,
        });
        outcome
    }

    fn answer(&self, answers: Answers) {
        match self.runtime.get() {
            Some(runtime) if answers.operations.len() > 1 => {
                drop(runtime.spawn(async move { drop(answers) }));
            }
            _ => drop(answers),
        }
    }

    fn transaction(&self, group: &mut [Box<dyn Operation>]) -> Result<(), Fault> {
        self.execute("BEGIN IMMEDIATE")?;
        for operation in group {
            let ran = self
                .execute("SAVEPOINT one")
                .and_then(|()| operation.run(&self.db));
            let ended = match ran {
                Ok(true) => self.execute("RELEASE one"),
                Ok(false) => self
                    .execute("ROLLBACK TO one")
                    .and_then(|()| self.execute("RELEASE one")),
                Err(fault) => Err(fault),
            };
            // A full disk, or worse, may have rolled the whole transaction back.
            if let Err(fault) = ended {
                return Err(self.roll_back(fault));
            }
        }
        self.execute("COMMIT")
            .map_err(|fault| self.roll_back(fault))
    }

    fn roll_back(&self, fault: Fault) -> Fault {
        if !self.db.is_autocommit()
            && let Err(error) = self.db.execute_batch("ROLLBACK")
        {
            return Fault::Fatal(format!("{fault:?}, and then the rollback failed: {error}"));
        }
        fault
    }

    fn execute(&self, sql: &str) -> Result<(), Fault> {
        self.db.prepare_cached(sql)?.execute([])?;
        Ok(())
    }

    /// Moves the write-ahead log into the file. What it can't move because of a reader stays.
    fn checkpoint(&self, mode: &str) -> Result<(), Fault> {
        self.db
            .query_row(&format!("PRAGMA wal_checkpoint({mode})"), [], |_| Ok(()))?;
        Ok(())
    }

    fn fail(&self, fault: Fault) -> Fault {
        let reason = fault.reason();
        tracing::error!("the registry's database failed and is not trusted any more: {reason}");
        self.failing.send_replace(Some(reason.to_owned()));
        fault
    }
}

impl Drop for Groups {
    fn drop(&mut self) {
        if thread::panicking() {
            let reason = "the writer panicked; see the log".to_owned();
            self.failing.send_replace(Some(reason));
        }
    }
}

fn take(job: Job, group: &mut Vec<Box<dyn Operation>>) -> bool {
    match job {
        Job::Operation(operation) => {
            group.push(operation);
            false
        }
        Job::Close => true,
    }
}

/// One operation, whatever it answers.
trait Operation: Send {
    /// Runs it. `false`: what it wrote must be undone. An error undoes the whole group.
    fn run(&mut self, db: &Connection) -> Result<bool, Fault>;

    /// Answers it, unless the asker has gone.
    fn answer(self: Box<Self>, failed: Option<&str>);
}

struct Task<T, F> {
    work: Option<F>,
    outcome: Option<Result<T, Fault>>,
    reply: oneshot::Sender<Result<T, Fault>>,
}

impl<T, F> Operation for Task<T, F>
where
    T: Send + 'static,
    F: FnOnce(&Connection) -> Result<T, Fault> + Send,
{
    fn run(&mut self, db: &Connection) -> Result<bool, Fault> {
        let Some(work) = self.work.take() else {
            return Ok(true);
        };
        match work(db) {
            Err(Fault::Fatal(reason)) => Err(Fault::Fatal(reason)),
            // SQLite has undone everything, not just this.
            Err(fault) if db.is_autocommit() => Err(fault),
            outcome => {
                let keep = outcome.is_ok();
                self.outcome = Some(outcome);
                Ok(keep)
            }
        }
    }

    fn answer(self: Box<Self>, failed: Option<&str>) {
        let not_done = |reason: &str| Err(Fault::Passing(reason.to_owned()));
        let outcome = match (failed, self.outcome) {
            (Some(reason), _) => not_done(reason),
            (None, Some(outcome)) => outcome,
            (None, None) => not_done("it was not run"),
        };
        // The asker may have given up; what was done stays done, and asking again finds it.
        let _ = self.reply.send(outcome);
    }
}

/// A group's answers. Dropping them hands them out, so that they arrive also when the runtime that
/// was to do it is shutting down.
struct Answers {
    operations: Vec<Box<dyn Operation>>,
    failed: Option<String>,
}

impl Drop for Answers {
    fn drop(&mut self) {
        for operation in self.operations.drain(..) {
            operation.answer(self.failed.as_deref());
        }
    }
}

/// When to wait a little for more operations to share a flush with.
///
/// With a fast disk, what arrives during a flush is one or two operations even under heavy load, and
/// each group costs a transaction. So when groups form by themselves, waiting is tried; it goes on
/// as long as it fills groups, and stops for a while when it does not. A lone caller never waits.
#[derive(Default)]
struct Pace {
    /// Groups to commit at once, after a wait that was for nothing.
    at_once: u32,
}

impl Pace {
    fn lingers(&mut self, natural: usize) -> bool {
        if self.at_once > 0 {
            self.at_once -= 1;
            return false;
        }
        (2..WORTH_A_WAIT * 4).contains(&natural)
    }

    fn lingered(&mut self, filled: usize) {
        if filled < WORTH_A_WAIT {
            self.at_once = TRIED_IN_VAIN;
        }
    }
}

/// Bounds the memory of what waits, at about 2 KB each, and the time that it waits: about a second.
const MOST_QUEUED: usize = 4096;
/// Bounds how long the first of a group waits for the others to run: about 25 ms.
const MOST_IN_GROUP: usize = 512;
/// A commit costs as much as a few rows; eight share it well.
const WORTH_A_WAIT: usize = 8;
const LINGER: Duration = Duration::from_millis(1);
const TRIED_IN_VAIN: u32 = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_writer_that_panics_is_a_ledger_that_has_failed() {
        let dir = tempfile::tempdir().unwrap();
        let db = Connection::open(dir.path().join("a.db")).unwrap();
        let writer = Writer::start(db, 100).unwrap();
        writer.write(|_| Ok(())).await.unwrap();
        let panicked = writer.write::<()>(|_| panic!("on purpose")).await;
        assert!(matches!(panicked, Err(Fault::Passing(_))), "{panicked:?}");
        assert!(writer.failure().await.contains("panicked"));
        assert!(writer.write(|_| Ok(())).await.is_err());
        assert!(writer.close().is_err());
    }
}
