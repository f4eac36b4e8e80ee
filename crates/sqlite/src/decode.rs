//! From columns to types. A column that does not say what it must names itself.

use std::fmt::Display;
use std::str::FromStr;

use imprint_identity::{DeviceId, HardwareId, IdentityStrength, UnixTime};
use imprint_registrar::Serial;
use imprint_registrar::ledger::{Generation, KeyFingerprint, TokenHash};
use rusqlite::types::Type;
use rusqlite::{Error, Result, Row};

/// A column as it is, with what may be wrong with it.
pub(crate) trait Columns {
    /// A word of an enum.
    fn word<T: FromStr>(&self, at: usize) -> Result<T>;
    fn time(&self, at: usize) -> Result<UnixTime>;
    fn maybe_time(&self, at: usize) -> Result<Option<UnixTime>>;
    fn device(&self, at: usize) -> Result<DeviceId>;
    fn hardware(&self, at: usize) -> Result<HardwareId>;
    fn maybe_hardware(&self, at: usize) -> Result<Option<HardwareId>>;
    fn strength(&self, at: usize) -> Result<IdentityStrength>;
    fn serial(&self, at: usize) -> Result<Serial>;
    fn key(&self, at: usize) -> Result<KeyFingerprint>;
    fn token_hash(&self, at: usize) -> Result<TokenHash>;
    fn generation(&self, at: usize) -> Result<Generation>;
}

impl Columns for Row<'_> {
    fn word<T: FromStr>(&self, at: usize) -> Result<T> {
        text(self, at, |word| word.parse().ok())
    }

    fn time(&self, at: usize) -> Result<UnixTime> {
        self.get(at).map(UnixTime)
    }

    fn maybe_time(&self, at: usize) -> Result<Option<UnixTime>> {
        self.get::<_, Option<i64>>(at)
            .map(|time| time.map(UnixTime))
    }

    fn device(&self, at: usize) -> Result<DeviceId> {
        text(self, at, |name| name.parse().ok())
    }

    fn hardware(&self, at: usize) -> Result<HardwareId> {
        text(self, at, |id| HardwareId::parse(id).ok())
    }

    fn maybe_hardware(&self, at: usize) -> Result<Option<HardwareId>> {
        match self.get_ref(at)?.data_type() {
            Type::Null => Ok(None),
            _ => self.hardware(at).map(Some),
        }
    }

    fn strength(&self, at: usize) -> Result<IdentityStrength> {
        text(self, at, IdentityStrength::from_name)
    }

    fn serial(&self, at: usize) -> Result<Serial> {
        self.get(at).map(Serial)
    }

    fn key(&self, at: usize) -> Result<KeyFingerprint> {
        self.get(at).map(KeyFingerprint)
    }

    fn token_hash(&self, at: usize) -> Result<TokenHash> {
        self.get(at).map(TokenHash)
    }

    fn generation(&self, at: usize) -> Result<Generation> {
        let octets = self
            .get_ref(at)?
            .as_bytes()
            .map_err(|error| Error::FromSqlConversionFailure(at, Type::Blob, Box::new(error)))?;
        Generation::from_octets(octets).ok_or_else(|| unreadable(self, at, "(octets)"))
    }
}

fn text<T>(row: &Row<'_>, at: usize, read: impl FnOnce(&str) -> Option<T>) -> Result<T> {
    let text = row
        .get_ref(at)?
        .as_str()
        .map_err(|error| Error::FromSqlConversionFailure(at, Type::Text, Box::new(error)))?;
    read(text).ok_or_else(|| unreadable(row, at, text))
}

fn unreadable(row: &Row<'_>, at: usize, value: impl Display) -> Error {
    let statement: &rusqlite::Statement<'_> = row.as_ref();
    let column = statement.column_name(at).unwrap_or("?").to_owned();
    let what = format!("column {column} holds {value}");
    Error::FromSqlConversionFailure(at, Type::Text, what.into())
}
