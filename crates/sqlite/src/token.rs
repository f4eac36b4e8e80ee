//! Tokens on record.

use imprint_identity::HardwareId;
use imprint_registrar::ledger::{
    KeyFingerprint, Lease, NewToken, TokenAlarm, TokenFilter, TokenHash, TokenRecord, TokenState,
};
use rusqlite::{Connection, OptionalExtension, Row};
use serde_json::json;

use crate::change::Change;
use crate::decode::Columns;
use crate::device::at_most;
use crate::fault::Fault;

/// A token with its number and the number of the device that it serves.
pub(crate) struct Token {
    pub(crate) number: i64,
    pub(crate) lease_device: Option<i64>,
    pub(crate) record: TokenRecord,
}

impl Token {
    /// Whether it serves this key of this device, and may go on doing so.
    pub(crate) fn is_leased_to(&self, key: KeyFingerprint, device: i64) -> bool {
        self.record.state == TokenState::Leased && self.serves(key, device)
    }

    /// Whether it serves, or has served, this key of this device.
    pub(crate) fn serves(&self, key: KeyFingerprint, device: i64) -> bool {
        self.lease_device == Some(device)
            && self
                .record
                .lease
                .as_ref()
                .is_some_and(|lease| lease.key == key)
    }
}

/// Everything that [`read`] reads, with the device's name.
macro_rules! select_token {
    ($where:literal) => {
        concat!(
            "SELECT t.number, t.id, t.hash, t.product, t.bound, t.state, t.lease_key, d.name,
                    t.lease_since, t.lease_from, t.minted_at, t.expires_at, t.spent_at, t.alarms,
                    t.minted_by, t.lease_device
             FROM token t LEFT JOIN device d ON d.number = t.lease_device ",
            $where
        )
    };
}

fn read(row: &Row<'_>) -> rusqlite::Result<Token> {
    let lease_device: Option<i64> = row.get(15)?;
    let lease = lease_device.map(|_| -> rusqlite::Result<Lease> {
        Ok(Lease {
            key: row.key(6)?,
            device: row.device(7)?,
            since: row.time(8)?,
            address: row.get(9)?,
        })
    });
    Ok(Token {
        number: row.get(0)?,
        lease_device,
        record: TokenRecord {
            id: row.get(1)?,
            hash: row.token_hash(2)?,
            product: row.get(3)?,
            bound: row.maybe_hardware(4)?,
            state: row.word(5)?,
            lease: lease.transpose()?,
            minted_at: row.time(10)?,
            expires_at: row.time(11)?,
            spent_at: row.maybe_time(12)?,
            alarms: row.get(13)?,
            minted_by: row.get(14)?,
        },
    })
}

pub(crate) fn by_hash(db: &Connection, hash: &TokenHash) -> Result<Option<Token>, Fault> {
    let sql = select_token!("WHERE t.hash = ?1");
    Ok(db
        .prepare_cached(sql)?
        .query_row([hash.0], read)
        .optional()?)
}

pub(crate) fn by_id(db: &Connection, id: &str) -> Result<Option<Token>, Fault> {
    let sql = select_token!("WHERE t.id = ?1");
    Ok(db.prepare_cached(sql)?.query_row([id], read).optional()?)
}

pub(crate) fn list(db: &Connection, filter: &TokenFilter) -> Result<Vec<TokenRecord>, Fault> {
    let mut statement = db.prepare_cached(select_token!(
        "WHERE (?1 IS NULL OR t.product = ?1) AND (?2 IS NULL OR t.state = ?2)
         ORDER BY t.number DESC LIMIT ?3"
    ))?;
    let rows = statement.query_map(
        (
            filter.product.as_deref(),
            filter.state.map(TokenState::as_str),
            at_most(filter.limit),
        ),
        |row| read(row).map(|token| token.record),
    )?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// The token that serves a device: of its newest certificates by token and of its requests that wait,
/// the newest token that is still leased to it or was spent by it.
pub(crate) fn serving(db: &Connection, device: i64) -> Result<Option<TokenRecord>, Fault> {
    let sql = select_token!(
        "WHERE t.lease_device = ?1
           AND (t.hash IN (SELECT substr(generation, 2) FROM certificate
                           WHERE device = ?1 AND substr(generation, 1, 1) = x'01'
                           ORDER BY number DESC LIMIT 32)
                OR t.number IN (SELECT token FROM approval WHERE device = ?1))
         ORDER BY t.lease_since DESC, t.number DESC LIMIT 1"
    );
    let found = db
        .prepare_cached(sql)?
        .query_row([device], |row| read(row).map(|one| one.record));
    Ok(found.optional()?)
}

pub(crate) fn mint(change: &Change<'_>, tokens: &[NewToken]) -> Result<(), Fault> {
    let mut insert = change.db.prepare_cached(
        "INSERT INTO token (id, hash, product, bound, state, minted_at, expires_at, alarms,
                            minted_by)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, 0, ?8)",
    )?;
    for token in tokens {
        let bound = token.bound.as_ref().map(HardwareId::text);
        let state = if token.dormant {
            TokenState::Dormant
        } else {
            TokenState::Minted
        };
        insert.execute((
            &token.id,
            token.hash.0,
            &token.product,
            bound.as_deref(),
            state.as_str(),
            change.now.0,
            token.expires_at.0,
            change.actor,
        ))?;
        let detail = json!({
            "product": token.product,
            "hardware": bound.as_deref(),
            "state": state.as_str(),
            "expires_at": token.expires_at.0,
        });
        change.journal("token-minted", &token.id, &detail)?;
    }
    Ok(())
}

/// Begins a lease.
pub(crate) fn lease(
    change: &Change<'_>,
    token: &Token,
    key: KeyFingerprint,
    device: i64,
    address: &str,
) -> Result<(), Fault> {
    change
        .db
        .prepare_cached(
            "UPDATE token SET state = 'leased', lease_key = ?2, lease_device = ?3, lease_since = ?4,
                              lease_from = ?5
             WHERE number = ?1",
        )?
        .execute((token.number, key.0, device, change.now.0, address))?;
    Ok(())
}

/// The device has proven receipt.
pub(crate) fn spend(change: &Change<'_>, token: &Token) -> Result<(), Fault> {
    change
        .db
        .prepare_cached("UPDATE token SET state = 'spent', spent_at = ?2 WHERE number = ?1")?
        .execute((token.number, change.now.0))?;
    Ok(())
}

/// Counts a second key at a token that serves; the first few are told one by one.
pub(crate) fn alarm(change: &Change<'_>, alarm: &TokenAlarm) -> Result<(), Fault> {
    let Some(token) = by_hash(change.db, &alarm.hash)? else {
        return Ok(());
    };
    let Some(lease) = &token.record.lease else {
        return Ok(());
    };
    if lease.key == alarm.key {
        return Ok(());
    }
    let alarms = token.record.alarms.saturating_add(1);
    change
        .db
        .prepare_cached("UPDATE token SET alarms = ?2 WHERE number = ?1")?
        .execute((token.number, alarms))?;
    if alarms > MOST_ALARMS_TOLD {
        return Ok(());
    }
    let detail = json!({
        "key": alarm.key.to_string(),
        "hardware": alarm.hardware.as_ref().map(ToString::to_string),
        "address": alarm.address,
        "holder": lease.device.as_str(),
        "holder_key": lease.key.to_string(),
        "since": lease.since.0,
    });
    change.journal("token-alarm", &token.record.id, &detail)
}

/// A stranger who knocks all day fills no journal.
const MOST_ALARMS_TOLD: u32 = 16;
