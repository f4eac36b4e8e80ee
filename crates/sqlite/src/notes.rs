//! What devices say about themselves and what was refused: rings, so that nobody fills the disk.

use imprint_registrar::ledger::{RefusalSample, Report};
use rusqlite::{Connection, Row};
use serde_json::json;

use crate::change::Change;
use crate::decode::Columns;
use crate::fault::Fault;

pub(crate) fn add_report(change: &Change<'_>, report: &Report) -> Result<(), Fault> {
    change
        .db
        .prepare_cached(
            "INSERT INTO report (subject, at, step, code, attempts, address)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        )?
        .execute((
            &report.subject,
            report.at.0,
            report.step.name(),
            &report.code,
            report.attempts,
            &report.address,
        ))?;
    change
        .db
        .prepare_cached(
            "DELETE FROM report WHERE subject = ?1 AND number NOT IN
                 (SELECT number FROM report WHERE subject = ?1 ORDER BY number DESC LIMIT ?2)",
        )?
        .execute((&report.subject, RING))?;
    Ok(())
}

/// Newest first.
pub(crate) fn reports(db: &Connection, subjects: [&str; 2]) -> Result<Vec<Report>, Fault> {
    let mut statement = db.prepare_cached(
        "SELECT subject, at, step, code, attempts, address FROM report
         WHERE subject IN (?1, ?2) ORDER BY number DESC LIMIT ?3",
    )?;
    let rows = statement.query_map((subjects[0], subjects[1], RING), |row| {
        Ok(Report {
            subject: row.get(0)?,
            at: row.time(1)?,
            step: row.word(2)?,
            code: row.get(3)?,
            attempts: row.get(4)?,
            address: row.get(5)?,
        })
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

pub(crate) fn add_refusal(change: &Change<'_>, sample: &RefusalSample) -> Result<(), Fault> {
    change
        .db
        .prepare_cached(
            "INSERT INTO refusal (subject, at, code, step, detail, address, credential, count)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
        )?
        .execute((
            &sample.subject,
            sample.at.0,
            &sample.code,
            sample.step.name(),
            &sample.detail,
            &sample.address,
            &sample.credential,
            sample.count,
        ))?;
    let newest = change.db.last_insert_rowid();
    change
        .db
        .prepare_cached(
            "DELETE FROM refusal WHERE subject = ?1 AND number NOT IN
                 (SELECT number FROM refusal WHERE subject = ?1 ORDER BY number DESC LIMIT ?2)",
        )?
        .execute((&sample.subject, RING))?;
    // Strangers choose their subjects: all rings together are bounded as well.
    change
        .db
        .prepare_cached("DELETE FROM refusal WHERE number <= ?1")?
        .execute([newest - MOST_REFUSALS])?;
    let detail = json!({
        "code": sample.code,
        "step": sample.step.name(),
        "detail": sample.detail,
        "address": sample.address,
        "credential": sample.credential,
        "count": sample.count,
    });
    change.journal("refusal", &sample.subject, &detail)
}

/// Newest first.
pub(crate) fn refusals(db: &Connection, subject: &str) -> Result<Vec<RefusalSample>, Fault> {
    let mut statement = db.prepare_cached(
        "SELECT subject, at, code, step, detail, address, credential, count FROM refusal
         WHERE subject = ?1 ORDER BY number DESC",
    )?;
    let rows = statement.query_map([subject], read_refusal)?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Newest first, by a device's name and by its hardware id.
pub(crate) fn refusals_of(
    db: &Connection,
    subjects: [&str; 2],
) -> Result<Vec<RefusalSample>, Fault> {
    let mut statement = db.prepare_cached(
        "SELECT subject, at, code, step, detail, address, credential, count FROM refusal
         WHERE subject IN (?1, ?2) ORDER BY number DESC",
    )?;
    let rows = statement.query_map((subjects[0], subjects[1]), read_refusal)?;
    Ok(rows.collect::<Result<_, _>>()?)
}

fn read_refusal(row: &Row<'_>) -> rusqlite::Result<RefusalSample> {
    Ok(RefusalSample {
        subject: row.get(0)?,
        at: row.time(1)?,
        code: row.get(2)?,
        step: row.word(3)?,
        detail: row.get(4)?,
        address: row.get(5)?,
        credential: row.get(6)?,
        count: row.get(7)?,
    })
}

/// Of each subject.
const RING: i64 = 16;
/// Of all subjects together: about 30 MB.
const MOST_REFUSALS: i64 = 100_000;
