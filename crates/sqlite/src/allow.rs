//! Allowlists.

use imprint_identity::HardwareId;
use rusqlite::Connection;
use serde_json::json;

use crate::change::Change;
use crate::fault::Fault;

pub(crate) fn contains(db: &Connection, product: &str, hardware: &str) -> Result<bool, Fault> {
    let sql = "SELECT EXISTS (SELECT 1 FROM allowed WHERE product = ?1 AND hardware = ?2)";
    Ok(db
        .prepare_cached(sql)?
        .query_row((product, hardware), |row| row.get(0))?)
}

/// How many are on it, counted no further than `most`.
pub(crate) fn count(db: &Connection, product: &str, most: u64) -> Result<u64, Fault> {
    let sql = "SELECT count(*) FROM (SELECT 1 FROM allowed WHERE product = ?1 LIMIT ?2)";
    let most = i64::try_from(most).unwrap_or(i64::MAX);
    let count: i64 = db
        .prepare_cached(sql)?
        .query_row((product, most), |row| row.get(0))?;
    Ok(count.cast_unsigned())
}

pub(crate) fn list(
    db: &Connection,
    product: &str,
    after: Option<&str>,
    limit: u32,
) -> Result<Vec<String>, Fault> {
    let mut statement = db.prepare_cached(
        "SELECT hardware FROM allowed WHERE product = ?1 AND hardware > ?2
         ORDER BY hardware LIMIT ?3",
    )?;
    let rows = statement.query_map((product, after.unwrap_or(""), limit), |row| row.get(0))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

pub(crate) fn add(
    change: &Change<'_>,
    product: &str,
    hardware: &[HardwareId],
) -> Result<u64, Fault> {
    let sql = "INSERT INTO allowed (product, hardware) VALUES (?1, ?2) ON CONFLICT DO NOTHING";
    each(change, "allow-added", sql, product, hardware)
}

pub(crate) fn remove(
    change: &Change<'_>,
    product: &str,
    hardware: &[HardwareId],
) -> Result<u64, Fault> {
    let sql = "DELETE FROM allowed WHERE product = ?1 AND hardware = ?2";
    each(change, "allow-removed", sql, product, hardware)
}

fn each(
    change: &Change<'_>,
    kind: &str,
    sql: &str,
    product: &str,
    hardware: &[HardwareId],
) -> Result<u64, Fault> {
    let mut statement = change.db.prepare_cached(sql)?;
    let mut changed = Vec::new();
    for id in hardware {
        let text = id.text();
        if statement.execute((product, text.as_str()))? > 0 {
            changed.push(text);
        }
    }
    for some in changed.chunks(IDS_IN_A_ROW) {
        let ids: Vec<&str> = some.iter().map(AsRef::as_ref).collect();
        change.journal(kind, product, &json!({ "hardware": ids }))?;
    }
    Ok(changed.len() as u64)
}

/// In one journal row, so that a row stays readable.
const IDS_IN_A_ROW: usize = 100;
