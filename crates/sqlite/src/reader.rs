//! Reads: inline, on read-only connections.
//!
//! A point look-up takes about 5 us; handing it to another thread would cost four times that. So
//! short reads run where they are called, on whichever connection is free. Lists run on the blocking
//! pool, on a connection of their own.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};

use imprint_registrar::LedgerError;
use rusqlite::Connection;

use crate::fault::Fault;

pub(crate) struct Readers {
    inline: Vec<Slot>,
    lists: Slot,
}

/// A connection; `None` once the ledger is closed.
type Slot = Mutex<Option<Connection>>;

impl Readers {
    pub(crate) fn new(inline: Vec<Connection>, lists: Connection) -> Self {
        let inline = inline
            .into_iter()
            .map(|one| Mutex::new(Some(one)))
            .collect();
        Self {
            inline,
            lists: Mutex::new(Some(lists)),
        }
    }

    /// Runs a read that consists of one statement.
    pub(crate) fn one<T>(&self, read: impl Read<T>) -> Result<T, LedgerError> {
        on(self.free().as_ref(), read)
    }

    /// Runs a read at one moment: every statement in it sees the same state, which contains every
    /// write that was acknowledged before the call.
    pub(crate) fn snapshot<T>(&self, read: impl Read<T>) -> Result<T, LedgerError> {
        on(self.free().as_ref(), |db| at_one_moment(db, read))
    }

    /// Runs a read that may be long where it delays nobody, at one moment.
    pub(crate) async fn list<T: Send + 'static>(
        self: &Arc<Self>,
        read: impl Read<T> + Send + 'static,
    ) -> Result<T, LedgerError> {
        let readers = Arc::clone(self);
        let read = move || on(wait(&readers.lists).as_ref(), |db| at_one_moment(db, read));
        tokio::task::spawn_blocking(read)
            .await
            .map_err(|error| LedgerError::Unavailable {
                reason: error.to_string(),
            })?
    }

    pub(crate) fn close(&self) {
        for slot in self.inline.iter().chain([&self.lists]) {
            wait(slot).take();
        }
    }

    /// The first connection that is free; when none is, the first: the wait is short.
    fn free(&self) -> MutexGuard<'_, Option<Connection>> {
        for slot in &self.inline {
            match slot.try_lock() {
                Ok(free) => return free,
                Err(TryLockError::Poisoned(free)) => return free.into_inner(),
                Err(TryLockError::WouldBlock) => {}
            }
        }
        wait(self.inline.first().unwrap_or(&self.lists))
    }
}

/// A read.
pub(crate) trait Read<T>: FnOnce(&Connection) -> Result<T, Fault> {}
impl<T, F: FnOnce(&Connection) -> Result<T, Fault>> Read<T> for F {}

fn on<T>(slot: Option<&Connection>, read: impl Read<T>) -> Result<T, LedgerError> {
    match slot {
        Some(db) => Ok(read(db)?),
        None => Err(LedgerError::Unavailable {
            reason: "it is closed".to_owned(),
        }),
    }
}

fn at_one_moment<T>(db: &Connection, read: impl Read<T>) -> Result<T, Fault> {
    db.prepare_cached("BEGIN DEFERRED")?.execute([])?;
    let outcome = read(db);
    // Nothing was written: this only lets go of the snapshot.
    if db
        .prepare_cached("COMMIT")
        .and_then(|mut end| end.execute([]))
        .is_err()
    {
        db.execute_batch("ROLLBACK")?;
    }
    outcome
}

fn wait(slot: &Slot) -> MutexGuard<'_, Option<Connection>> {
    slot.lock().unwrap_or_else(PoisonError::into_inner)
}
