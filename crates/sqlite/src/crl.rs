//! Revocation lists.

use imprint_identity::UnixTime;
use imprint_registrar::ledger::{CrlFacts, CrlRecord};
use rusqlite::{Connection, OptionalExtension};
use serde_json::json;

use crate::change::Change;
use crate::decode::Columns;
use crate::fault::Fault;

pub(crate) fn facts(db: &Connection, issuer: &str, now: UnixTime) -> Result<CrlFacts, Fault> {
    let current = current(db, issuer)?;
    let through: u64 = db
        .prepare_cached(
            "SELECT coalesce(max(revocation), 0) FROM certificate
             WHERE issuer = ?1 AND revocation IS NOT NULL",
        )?
        .query_row([issuer], |row| row.get::<_, i64>(0))?
        .cast_unsigned();
    let mut statement = db.prepare_cached(
        "SELECT serial, revoked_at, revocation_reason FROM certificate
         WHERE issuer = ?1 AND revoked_at IS NOT NULL AND not_after >= ?2 ORDER BY serial",
    )?;
    let oldest = now.plus(-KEPT_SECONDS);
    let rows = statement.query_map((issuer, oldest.0), |row| {
        Ok((row.serial(0)?, row.time(1)?, row.word(2)?))
    })?;
    let revoked = rows.collect::<Result<Vec<_>, _>>()?;
    let stale = through > current.as_ref().map_or(0, |crl| crl.through);
    Ok(CrlFacts {
        revoked,
        current,
        stale,
        through,
    })
}

pub(crate) fn publish(change: &Change<'_>, crl: &CrlRecord) -> Result<bool, Fault> {
    let on_record = current(change.db, &crl.issuer)?;
    // A slow publisher may have a greater number and older facts: what is on the list stays on it.
    let is_older =
        |current: CrlRecord| crl.number <= current.number || crl.through < current.through;
    if on_record.is_some_and(is_older) {
        return Ok(false);
    }
    change
        .db
        .prepare_cached(
            "INSERT INTO crl (issuer, number, this_update, next_update, through, der)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6)
             ON CONFLICT (issuer) DO UPDATE
             SET number = excluded.number, this_update = excluded.this_update,
                 next_update = excluded.next_update, through = excluded.through,
                 der = excluded.der",
        )?
        .execute((
            &crl.issuer,
            crl.number.cast_signed(),
            crl.this_update.0,
            crl.next_update.0,
            crl.through.cast_signed(),
            &crl.der,
        ))?;
    let detail = json!({ "number": crl.number, "through": crl.through, "octets": crl.der.len() });
    change.journal("crl-published", &crl.issuer, &detail)?;
    Ok(true)
}

fn current(db: &Connection, issuer: &str) -> Result<Option<CrlRecord>, Fault> {
    let found = db
        .prepare_cached(
            "SELECT issuer, number, der, this_update, next_update, through FROM crl
             WHERE issuer = ?1",
        )?
        .query_row([issuer], |row| {
            Ok(CrlRecord {
                issuer: row.get(0)?,
                number: row.get::<_, i64>(1)?.cast_unsigned(),
                der: row.get(2)?,
                this_update: row.time(3)?,
                next_update: row.time(4)?,
                through: row.get::<_, i64>(5)?.cast_unsigned(),
            })
        });
    Ok(found.optional()?)
}

/// A certificate stays on the list for a week after its end: relying parties' clocks differ.
const KEPT_SECONDS: i64 = 7 * 86_400;
