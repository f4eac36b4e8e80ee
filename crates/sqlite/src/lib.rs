//! The [`Ledger`] on SQLite: the embedded default, good for a factory or a fleet of a million.
//!
//! One thread owns the connection that writes. What arrives while it flushes goes into its next
//! transaction, so that under load one flush to disk serves many (`writer`). Reads run inline on a
//! few read-only connections and see every acknowledged write (`reader`).
//!
//! An answer means durable: WAL with `synchronous=FULL`, read back when the ledger is opened. A flush
//! that fails ends the ledger: the kernel may have dropped the pages that it could not write, so a
//! second flush that succeeds proves nothing ([`Sqlite::failure`]).
//!
//! [`Ledger`]: imprint_registrar::Ledger

mod allow;
mod approval;
mod certificate;
mod chain;
mod change;
mod claim;
mod claim_certificate;
mod crl;
mod cursor;
mod decode;
mod definition;
mod device;
mod device_act;
mod entry;
mod fault;
mod ledger;
mod notes;
mod open;
mod pending;
mod product;
mod reader;
mod register;
mod registration;
mod registration_facts;
mod registry;
mod road;
mod road_facts;
mod service_key;
mod settle;
mod thing;
mod token;
mod token_act;
mod verify;
mod writer;

use std::future::Future;
use std::path::Path;
use std::sync::Arc;

use imprint_registrar::LedgerError;

pub use open::{OpenError, Options};
pub use writer::GroupSizes;

use reader::Readers;
use writer::Writer;

/// A ledger in one SQLite file.
///
/// Opening a file twice, in one process or two, is not prevented here: whoever serves locks the
/// directory.
pub struct Sqlite {
    writer: Writer,
    readers: Arc<Readers>,
    epoch: u8,
}

impl Sqlite {
    /// Opens the ledger in `path`, made if it is not there and migrated if an older Imprint made it.
    /// Blocks; meant for the start of a process.
    pub fn open(path: &Path) -> Result<Self, OpenError> {
        Self::open_with(path, &Options::default())
    }

    /// Opens with other than the default bounds.
    pub fn open_with(path: &Path, options: &Options) -> Result<Self, OpenError> {
        open::open(path, options)
    }

    /// Resolves when the ledger can no longer promise that an answer is durable, with the reason.
    /// The process should say it and exit; every later call is answered
    /// [`LedgerError::Unavailable`].
    pub fn failure(&self) -> impl Future<Output = String> + Send + 'static {
        self.writer.failure()
    }

    /// How well the writer groups, since the ledger was opened.
    pub fn group_sizes(&self) -> GroupSizes {
        self.writer.group_sizes()
    }

    /// Ends the ledger: what is queued is written, the write-ahead log moves into the file. Blocks.
    /// Later calls are answered [`LedgerError::Unavailable`]. Dropping the ledger does the same.
    pub fn close(&self) -> Result<(), LedgerError> {
        // Readers first: the last connection to go is one that may tidy up.
        self.readers.close();
        self.writer.close()
    }
}

impl Drop for Sqlite {
    fn drop(&mut self) {
        if let Err(error) = self.close() {
            tracing::error!("closing the registry's database: {error}");
        }
    }
}
