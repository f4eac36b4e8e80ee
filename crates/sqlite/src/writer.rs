//! Writes: one thread, one connection, many operations a flush.
//!
//! An operation that fails takes nothing else along: the group is undone and run again, each
//! operation in a savepoint of its own. A savepoint copies every page that is written under it, and
//! hardly any operation fails, so a group is tried without them first. Then it is committed with one
//! flush, and only then is anybody answered.
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

    /// Runs a writing operation and answers when it is durable, or not done. `work` may be run, undone
    /// and run again.
    pub(crate) async fn write<T: Send + 'static>(
        &self,
        work: impl Fn(&Connection) -> Result<T, Fault> + Send + 'static,
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
            work,
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
                closing = self.linger(&mut group);
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

    /// Waits as long as every moment brings more, and takes it; answers as [`Self::drain`] does.
    fn linger(&self, group: &mut Vec<Box<dyn Operation>>) -> bool {
        for _ in 0..MOST_LINGERS {
            let before = group.len();
            thread::sleep(LINGER);
            if self.drain(group) {
                return true;
            }
            if group.len() == before || group.len() >= ENOUGH {
                break;
            }
        }
        false
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
        let mut kept = self.all_together(group);
        if let Ok(false) = kept {
            self.undo()?;
            self.execute("BEGIN IMMEDIATE")?;
            kept = self.each_by_itself(group).map(|()| true);
        }
        // A full disk, or worse, may have rolled the whole transaction back.
        kept.and_then(|_| self.execute("COMMIT"))
            .map_err(|fault| self.roll_back(fault))
    }

    /// Answers whether all of them may be kept.
    fn all_together(&self, group: &mut [Box<dyn Operation>]) -> Result<bool, Fault> {
        for operation in group {
            if !operation.run(&self.db)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn each_by_itself(&self, group: &mut [Box<dyn Operation>]) -> Result<(), Fault> {
        for operation in group {
            self.execute("SAVEPOINT one")?;
            if !operation.run(&self.db)? {
                self.execute("ROLLBACK TO one")?;
            }
            self.execute("RELEASE one")?;
        }
        Ok(())
    }

    fn roll_back(&self, fault: Fault) -> Fault {
        self.undo().err().unwrap_or(fault)
    }

    fn undo(&self) -> Result<(), Fault> {
        if self.db.is_autocommit() {
            return Ok(());
        }
        self.db
            .execute_batch("ROLLBACK")
            .map_err(|error| Fault::Fatal(format!("a rollback failed: {error}")))
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
    work: F,
    outcome: Option<Result<T, Fault>>,
    reply: oneshot::Sender<Result<T, Fault>>,
}

impl<T, F> Operation for Task<T, F>
where
    T: Send + 'static,
    F: Fn(&Connection) -> Result<T, Fault> + Send,
{
    fn run(&mut self, db: &Connection) -> Result<bool, Fault> {
        match (self.work)(db) {
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
        (2..ENOUGH).contains(&natural)
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
/// Nor does it share better among more than this.
const ENOUGH: usize = 32;
const LINGER: Duration = Duration::from_millis(2);
/// Of the two commits that an enrollment waits for, each is this much later at the worst.
const MOST_LINGERS: u32 = 2;
const TRIED_IN_VAIN: u32 = 64;

#[cfg(test)]
mod tests {
    use super::*;

    /// Holds the writer until all of them are queued, so that they are one group.
    #[tokio::test]
    async fn an_operation_that_fails_takes_nothing_else_of_its_group_along() {
        let dir = tempfile::tempdir().unwrap();
        let db = Connection::open(dir.path().join("a.db")).unwrap();
        db.execute_batch("CREATE TABLE row (n INTEGER PRIMARY KEY)")
            .unwrap();
        let writer = Writer::start(db, 100).unwrap();
        let (go, held) = std::sync::mpsc::channel::<()>();
        let held = Mutex::new(held);
        let first = writer.write(move |_| Ok(held.lock().unwrap().recv().is_err()));
        let put = |n: i64| {
            writer.write(move |db| {
                db.execute("INSERT INTO row VALUES (?1)", [n])?;
                if n % 3 == 0 {
                    return Err(Fault::Broken(format!("{n} can't be")));
                }
                Ok(db.query_row("SELECT count(*) FROM row", [], |row| row.get::<_, i64>(0))?)
            })
        };
        let (first, one, two, three, four, again, ()) =
            tokio::join!(first, put(1), put(2), put(3), put(4), put(2), async {
                drop(go);
            });
        assert!(first.unwrap());
        assert_eq!((one.unwrap(), two.unwrap(), four.unwrap()), (1, 2, 3));
        assert!(matches!(three, Err(Fault::Broken(_))));
        assert!(matches!(again, Err(Fault::Conflict(_))));
        let kept = writer
            .write(|db| {
                let all = "SELECT group_concat(n) FROM (SELECT n FROM row ORDER BY n)";
                Ok(db.query_row(all, [], |row| row.get::<_, String>(0))?)
            })
            .await;
        assert_eq!(kept.unwrap(), "1,2,4");
        assert!(
            writer.group_sizes().largest >= 5,
            "{:?}",
            writer.group_sizes()
        );
    }

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
