//! How far each reader of the journal has come.

use crate::change::Change;
use crate::fault::Fault;

/// Where `name` stands; a new one begins behind the last row that there is.
pub(crate) fn open(change: &Change<'_>, name: &str) -> Result<u64, Fault> {
    change
        .db
        .prepare_cached(
            "INSERT INTO cursor (name, number, updated_at)
             VALUES (?1, coalesce((SELECT max(number) FROM journal), 0), ?2)
             ON CONFLICT (name) DO NOTHING",
        )?
        .execute((name, change.now.0))?;
    let number: i64 = change
        .db
        .prepare_cached("SELECT number FROM cursor WHERE name = ?1")?
        .query_row([name], |row| row.get(0))?;
    Ok(number.cast_unsigned())
}

/// Moves `name` on to `number`, never back.
pub(crate) fn advance(change: &Change<'_>, name: &str, number: u64) -> Result<(), Fault> {
    let number = i64::try_from(number).unwrap_or(i64::MAX);
    change
        .db
        .prepare_cached(
            "UPDATE cursor SET number = ?2, updated_at = ?3 WHERE name = ?1 AND number < ?2",
        )?
        .execute((name, number, change.now.0))?;
    Ok(())
}
