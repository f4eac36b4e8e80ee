//! The ledger's contract, kept by the SQLite adapter.
#![expect(clippy::unwrap_used, reason = "a test's helpers fail like the test")]

use std::path::PathBuf;

use imprint_registrar::ledger::contract::Place;
use imprint_sqlite::Sqlite;
use tempfile::TempDir;

/// A file in a directory of its own.
struct File(TempDir);

impl File {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self) -> PathBuf {
        self.0.path().join("imprint.db")
    }
}

impl Place for File {
    type Ledger = Sqlite;

    async fn open(&self) -> Sqlite {
        Sqlite::open(&self.path()).unwrap()
    }

    async fn alter_journal(&self, number: u64) {
        let db = rusqlite::Connection::open(self.path()).unwrap();
        let alter = format!(
            "DROP TRIGGER IF EXISTS journal_row_stays;
             UPDATE journal SET detail = '{{}}' WHERE number = {number};"
        );
        db.execute_batch(&alter).unwrap();
    }
}

imprint_registrar::ledger_contract!(File::new());
