//! The journal: read, and chained behind the writers' backs.

use imprint_registrar::journal::{JournalRow, chain};
use rusqlite::Connection;

use crate::decode::Columns;
use crate::fault::Fault;

/// Whether there are rows that are not chained.
pub(crate) fn is_due(db: &Connection) -> Result<bool, Fault> {
    let sql = "SELECT coalesce((SELECT max(number) FROM journal), 0) > (SELECT number FROM chain)";
    Ok(db.prepare_cached(sql)?.query_row([], |row| row.get(0))?)
}

/// Chains at most `limit` rows; answers how many.
///
/// The hashes of one call are one row of `link`: a journal's page is not written a second time, and
/// an index entry isn't paid for each hash.
pub(crate) fn extend(db: &Connection, limit: u32) -> Result<u64, Fault> {
    let (mut number, mut hash): (i64, [u8; 32]) = db
        .prepare_cached("SELECT number, hash FROM chain")?
        .query_row([], |row| Ok((row.get(0)?, row.get(1)?)))?;
    let rows = rows(db, number.cast_unsigned(), limit)?;
    let Some(first) = rows.first().map(|row| row.number) else {
        return Ok(0);
    };
    let mut hashes = Vec::with_capacity(rows.len() * HASH);
    for row in &rows {
        number = row.number.cast_signed();
        hash = chain(&hash, row);
        hashes.extend_from_slice(&hash);
    }
    db.prepare_cached("INSERT INTO link (first, hashes) VALUES (?1, ?2)")?
        .execute((first.cast_signed(), hashes))?;
    db.prepare_cached("UPDATE chain SET number = ?1, hash = ?2")?
        .execute((number, hash))?;
    Ok(rows.len() as u64)
}

/// The number of the last row.
pub(crate) fn head(db: &Connection) -> Result<u64, Fault> {
    let sql = "SELECT coalesce(max(number), 0) FROM journal";
    let head: i64 = db.prepare_cached(sql)?.query_row([], |row| row.get(0))?;
    Ok(head.cast_unsigned())
}

/// Rows after `after`, in order, each with its hash where it has one.
pub(crate) fn read(db: &Connection, after: u64, limit: u32) -> Result<Vec<JournalRow>, Fault> {
    let mut rows = rows(db, after, limit)?;
    let (Some(first), Some(last)) = (rows.first(), rows.last()) else {
        return Ok(rows);
    };
    // The link that the first row is in may begin before it.
    let mut links = db.prepare_cached(
        "SELECT first, hashes FROM link
         WHERE first <= ?2
             AND first >= coalesce((SELECT max(first) FROM link WHERE first <= ?1), 0)
         ORDER BY first",
    )?;
    let span = (first.number.cast_signed(), last.number.cast_signed());
    let links = links.query_map(span, |row| {
        Ok((row.get::<_, i64>(0)?.cast_unsigned(), row.get(1)?))
    })?;
    let mut waiting = rows.iter_mut().peekable();
    for link in links {
        let (first, hashes): (u64, Vec<u8>) = link?;
        let (hashes, _) = hashes.as_chunks::<HASH>();
        for (number, hash) in (first..).zip(hashes) {
            while waiting.next_if(|row| row.number < number).is_some() {}
            if let Some(row) = waiting.next_if(|row| row.number == number) {
                row.hash = Some(*hash);
            }
        }
    }
    Ok(rows)
}

fn rows(db: &Connection, after: u64, limit: u32) -> Result<Vec<JournalRow>, Fault> {
    let mut statement = db.prepare_cached(
        "SELECT number, at, kind, subject, actor, detail FROM journal
         WHERE number > ?1 ORDER BY number LIMIT ?2",
    )?;
    let after = i64::try_from(after).unwrap_or(i64::MAX);
    let rows = statement.query_map((after, limit), |row| {
        Ok(JournalRow {
            number: row.get::<_, i64>(0)?.cast_unsigned(),
            at: row.time(1)?,
            kind: row.get(2)?,
            subject: row.get(3)?,
            actor: row.get(4)?,
            detail: row.get(5)?,
            hash: None,
        })
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Octets of a hash.
const HASH: usize = 32;
