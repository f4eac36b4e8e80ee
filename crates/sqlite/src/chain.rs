//! The journal: read, and chained behind the writers' backs.

use imprint_registrar::journal::{JournalRow, chain};
use rusqlite::{Connection, Row};

use crate::decode::Columns;
use crate::fault::Fault;

/// Whether there are rows that are not chained.
pub(crate) fn is_due(db: &Connection) -> Result<bool, Fault> {
    let sql = "SELECT coalesce((SELECT max(number) FROM journal), 0) > (SELECT number FROM chain)";
    Ok(db.prepare_cached(sql)?.query_row([], |row| row.get(0))?)
}

/// Chains at most `limit` rows; answers how many.
pub(crate) fn extend(db: &Connection, limit: u32) -> Result<u64, Fault> {
    let (mut number, mut hash): (i64, [u8; 32]) = db
        .prepare_cached("SELECT number, hash FROM chain")?
        .query_row([], |row| Ok((row.get(0)?, row.get(1)?)))?;
    let rows = read(db, number.cast_unsigned(), limit)?;
    let mut update = db.prepare_cached("UPDATE journal SET hash = ?2 WHERE number = ?1")?;
    for row in &rows {
        number = row.number.cast_signed();
        hash = chain(&hash, row);
        update.execute((number, hash))?;
    }
    if !rows.is_empty() {
        let sql = "UPDATE chain SET number = ?1, hash = ?2";
        db.prepare_cached(sql)?.execute((number, hash))?;
    }
    Ok(rows.len() as u64)
}

/// The number of the last row.
pub(crate) fn head(db: &Connection) -> Result<u64, Fault> {
    let sql = "SELECT coalesce(max(number), 0) FROM journal";
    let head: i64 = db.prepare_cached(sql)?.query_row([], |row| row.get(0))?;
    Ok(head.cast_unsigned())
}

/// Rows after `after`, in order.
pub(crate) fn read(db: &Connection, after: u64, limit: u32) -> Result<Vec<JournalRow>, Fault> {
    let mut statement = db.prepare_cached(
        "SELECT number, at, kind, subject, actor, detail, hash FROM journal
         WHERE number > ?1 ORDER BY number LIMIT ?2",
    )?;
    let after = i64::try_from(after).unwrap_or(i64::MAX);
    let rows = statement.query_map((after, limit), row)?;
    Ok(rows.collect::<Result<_, _>>()?)
}

fn row(row: &Row<'_>) -> rusqlite::Result<JournalRow> {
    Ok(JournalRow {
        number: row.get::<_, i64>(0)?.cast_unsigned(),
        at: row.time(1)?,
        kind: row.get(2)?,
        subject: row.get(3)?,
        actor: row.get(4)?,
        detail: row.get(5)?,
        hash: row.get(6)?,
    })
}
