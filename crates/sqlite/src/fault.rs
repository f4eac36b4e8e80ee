//! What SQLite can answer, sorted by what follows from it.

use imprint_registrar::LedgerError;
use rusqlite::ErrorCode;

/// Why an operation failed.
#[derive(Debug)]
pub(crate) enum Fault {
    /// A rule of the schema said no: what was decided on is not so any more.
    Conflict(String),
    /// It passes.
    Passing(String),
    /// A row that does not say what it must.
    Broken(String),
    /// The disk or the file failed. Nothing may be trusted to become durable any more.
    Fatal(String),
}

impl Fault {
    pub(crate) fn reason(&self) -> &str {
        match self {
            Self::Conflict(reason)
            | Self::Passing(reason)
            | Self::Broken(reason)
            | Self::Fatal(reason) => reason,
        }
    }
}

impl From<rusqlite::Error> for Fault {
    fn from(error: rusqlite::Error) -> Self {
        let reason = error.to_string();
        match &error {
            rusqlite::Error::SqliteFailure(failure, _) => match failure.code {
                ErrorCode::ConstraintViolation => Self::Conflict(reason),
                // An I/O error may be a flush that failed; the pages that it was for may be gone.
                ErrorCode::SystemIoFailure
                | ErrorCode::DatabaseCorrupt
                | ErrorCode::NotADatabase => Self::Fatal(reason),
                _ => Self::Passing(reason),
            },
            rusqlite::Error::FromSqlConversionFailure(..)
            | rusqlite::Error::InvalidColumnType(..)
            | rusqlite::Error::IntegralValueOutOfRange(..)
            | rusqlite::Error::Utf8Error(..) => Self::Broken(reason),
            _ => Self::Passing(reason),
        }
    }
}

impl From<Fault> for LedgerError {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Broken(what) => Self::Broken { what },
            Fault::Conflict(reason) | Fault::Passing(reason) | Fault::Fatal(reason) => {
                Self::Unavailable { reason }
            }
        }
    }
}
