//! Who waits for an operator's approval, and who has it.

use imprint_identity::{DeviceId, UnixTime};
use imprint_registrar::ledger::KeyFingerprint;
use rusqlite::{Connection, OptionalExtension};

use crate::change::Change;
use crate::decode::Columns;
use crate::fault::Fault;

/// A key's place on a device's list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    Waiting,
    Approved { until: UnixTime },
}

pub(crate) fn place(
    db: &Connection,
    device: i64,
    key: KeyFingerprint,
) -> Result<Option<Place>, Fault> {
    let until = db
        .prepare_cached("SELECT until FROM approval WHERE device = ?1 AND key = ?2")?
        .query_row((device, key.0), |row| row.maybe_time(0))
        .optional()?;
    Ok(until.map(|until| until.map_or(Place::Waiting, |until| Place::Approved { until })))
}

/// The device on whose list a key stands; the first, if it is on several.
pub(crate) fn listed_for(db: &Connection, key: KeyFingerprint) -> Result<Option<DeviceId>, Fault> {
    let sql = "SELECT d.name FROM approval a JOIN device d ON d.number = a.device
               WHERE a.key = ?1 ORDER BY a.device LIMIT 1";
    Ok(db
        .prepare_cached(sql)?
        .query_row([key.0], |row| row.device(0))
        .optional()?)
}

/// The keys that wait, with the time of their first request, oldest first.
pub(crate) fn waiting(
    db: &Connection,
    device: i64,
) -> Result<Vec<(KeyFingerprint, UnixTime)>, Fault> {
    let mut statement = db.prepare_cached(
        "SELECT key, asked_at FROM approval WHERE device = ?1 AND until IS NULL
         ORDER BY asked_at, key",
    )?;
    let rows = statement.query_map([device], |row| Ok((row.key(0)?, row.time(1)?)))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Puts a key on the list; one whose approval is over waits again.
pub(crate) fn ask(
    change: &Change<'_>,
    device: i64,
    key: KeyFingerprint,
    token: Option<i64>,
) -> Result<(), Fault> {
    change
        .db
        .prepare_cached(
            "INSERT INTO approval (device, key, asked_at, until, token)
             VALUES (?1, ?2, ?3, NULL, ?4)
             ON CONFLICT (device, key) DO UPDATE
             SET asked_at = excluded.asked_at, until = NULL, token = excluded.token",
        )?
        .execute((device, key.0, change.now.0, token))?;
    Ok(())
}

pub(crate) fn approve(
    change: &Change<'_>,
    device: i64,
    key: KeyFingerprint,
    until: UnixTime,
) -> Result<(), Fault> {
    change
        .db
        .prepare_cached("UPDATE approval SET until = ?3 WHERE device = ?1 AND key = ?2")?
        .execute((device, key.0, until.0))?;
    Ok(())
}

/// Takes a key that waits off the list: it got in otherwise.
pub(crate) fn settled(change: &Change<'_>, device: i64, key: KeyFingerprint) -> Result<(), Fault> {
    let sql = "DELETE FROM approval WHERE device = ?1 AND key = ?2 AND until IS NULL";
    change.db.prepare_cached(sql)?.execute((device, key.0))?;
    Ok(())
}

/// Takes a key off the list, approved or not.
pub(crate) fn withdraw(change: &Change<'_>, device: i64, key: KeyFingerprint) -> Result<(), Fault> {
    let sql = "DELETE FROM approval WHERE device = ?1 AND key = ?2";
    change.db.prepare_cached(sql)?.execute((device, key.0))?;
    Ok(())
}

/// Takes every key of a device off the list.
pub(crate) fn withdraw_all(change: &Change<'_>, device: i64) -> Result<(), Fault> {
    change
        .db
        .prepare_cached("DELETE FROM approval WHERE device = ?1")?
        .execute([device])?;
    Ok(())
}
