//! Devices on record.

use imprint_identity::{DeviceId, HardwareId, IdentityStrength, Step};
use imprint_registrar::ledger::{DeviceFile, DeviceFilter, DeviceRecord, DeviceState, Given};
use rusqlite::{Connection, OptionalExtension, Row};

use crate::change::Change;
use crate::decode::Columns;
use crate::fault::Fault;
use crate::{approval, certificate, notes, product, registration, thing, token};

/// A device with its number.
pub(crate) struct Device {
    pub(crate) number: i64,
    pub(crate) record: DeviceRecord,
}

/// The columns that [`read`] reads, of a device named `d`.
macro_rules! device_columns {
    () => {
        "d.number, d.name, d.product, d.hardware, d.strength, d.state, d.step, d.released, \
         d.reason, d.created_at, d.updated_at, d.version"
    };
}
pub(crate) use device_columns;

/// So many columns.
pub(crate) const COLUMNS: usize = 12;

/// Reads a device whose columns begin at `at`.
pub(crate) fn read(row: &Row<'_>, at: usize) -> rusqlite::Result<Device> {
    Ok(Device {
        number: row.get(at)?,
        record: DeviceRecord {
            id: row.device(at + 1)?,
            product: row.get(at + 2)?,
            hardware: row.hardware(at + 3)?,
            strength: row.strength(at + 4)?,
            state: row.word(at + 5)?,
            step: row.word(at + 6)?,
            released: row.get(at + 7)?,
            reason: row.get(at + 8)?,
            created_at: row.time(at + 9)?,
            updated_at: row.time(at + 10)?,
            version: row.get::<_, i64>(at + 11)?.cast_unsigned(),
        },
    })
}

pub(crate) fn by_name(db: &Connection, name: &str) -> Result<Option<Device>, Fault> {
    let sql = concat!(
        "SELECT ",
        device_columns!(),
        " FROM device d WHERE d.name = ?1"
    );
    Ok(db
        .prepare_cached(sql)?
        .query_row([name], |row| read(row, 0))
        .optional()?)
}

pub(crate) fn by_hardware(db: &Connection, text: &str) -> Result<Option<Device>, Fault> {
    let sql = concat!(
        "SELECT ",
        device_columns!(),
        " FROM device d WHERE d.hardware = ?1"
    );
    Ok(db
        .prepare_cached(sql)?
        .query_row([text], |row| read(row, 0))
        .optional()?)
}

pub(crate) fn by_number(db: &Connection, number: i64) -> Result<Device, Fault> {
    let sql = concat!(
        "SELECT ",
        device_columns!(),
        " FROM device d WHERE d.number = ?1"
    );
    Ok(db
        .prepare_cached(sql)?
        .query_row([number], |row| read(row, 0))?)
}

/// The name of the device that owns a public key.
pub(crate) fn key_owner(db: &Connection, key: &[u8; 32]) -> Result<Option<DeviceId>, Fault> {
    let sql = "SELECT d.name FROM device_key k JOIN device d ON d.number = k.device
               WHERE k.fingerprint = ?1";
    Ok(db
        .prepare_cached(sql)?
        .query_row([key], |row| row.device(0))
        .optional()?)
}

/// A device that the registry hears of for the first time.
pub(crate) struct Newcomer<'a> {
    pub(crate) id: &'a DeviceId,
    pub(crate) hardware: &'a HardwareId,
    pub(crate) strength: IdentityStrength,
    pub(crate) product: &'a str,
    pub(crate) state: DeviceState,
    pub(crate) step: Step,
}

/// Names a device; answers its number.
pub(crate) fn insert(change: &Change<'_>, new: &Newcomer<'_>) -> Result<i64, Fault> {
    change
        .db
        .prepare_cached(
            "INSERT INTO device (name, hardware, product, strength, state, step, released,
                                 created_at, updated_at, version)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, 0, ?7, ?7, 1)",
        )?
        .execute((
            new.id.as_str(),
            new.hardware.text().as_str(),
            new.product,
            new.strength.name(),
            new.state.as_str(),
            new.step.name(),
            change.now.0,
        ))?;
    Ok(change.db.last_insert_rowid())
}

/// Keeps a device's state, step, mark, reason, product and strength; its version grows.
pub(crate) fn update(change: &Change<'_>, device: &mut Device) -> Result<(), Fault> {
    let record = &mut device.record;
    record.version += 1;
    record.updated_at = change.now;
    change
        .db
        .prepare_cached(
            "UPDATE device SET state = ?2, step = ?3, released = ?4, reason = ?5, product = ?6,
                               strength = ?7, updated_at = ?8, version = ?9
             WHERE number = ?1",
        )?
        .execute((
            device.number,
            record.state.as_str(),
            record.step.name(),
            record.released,
            record.reason.as_deref(),
            &record.product,
            record.strength.name(),
            record.updated_at.0,
            record.version.cast_signed(),
        ))?;
    Ok(())
}

/// Keeps a device's state and step and nothing else; its version grows.
pub(crate) fn step_on(change: &Change<'_>, device: &Device) -> Result<(), Fault> {
    change
        .db
        .prepare_cached(
            "UPDATE device SET state = ?2, step = ?3, updated_at = ?4, version = version + 1
             WHERE number = ?1",
        )?
        .execute((
            device.number,
            device.record.state.as_str(),
            device.record.step.name(),
            change.now.0,
        ))?;
    Ok(())
}

/// Gives a public key to a device. The caller has seen, in this transaction, that no other device
/// owns it.
pub(crate) fn own_key(change: &Change<'_>, device: i64, key: &[u8; 32]) -> Result<(), Fault> {
    let sql = "INSERT INTO device_key (fingerprint, device) VALUES (?1, ?2) ON CONFLICT DO NOTHING";
    change.db.prepare_cached(sql)?.execute((key, device))?;
    Ok(())
}

pub(crate) fn list(db: &Connection, filter: &DeviceFilter) -> Result<Vec<DeviceRecord>, Fault> {
    let sql = concat!(
        "SELECT ",
        device_columns!(),
        " FROM device d
         WHERE d.name > ?1 AND (?2 IS NULL OR d.product = ?2) AND (?3 IS NULL OR d.state = ?3)
         ORDER BY d.name LIMIT ?4"
    );
    let mut statement = db.prepare_cached(sql)?;
    let rows = statement.query_map(
        (
            filter.after.as_deref().unwrap_or(""),
            filter.product.as_deref(),
            filter.state.map(DeviceState::as_str),
            at_most(filter.limit),
        ),
        |row| read(row, 0).map(|device| device.record),
    )?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// 0 means the default page.
pub(crate) const fn at_most(limit: u32) -> u32 {
    if limit == 0 { 1_000 } else { limit }
}

/// Everything about one device, by its name, its hardware id in any spelling, or its thing's name.
pub(crate) fn file(db: &Connection, text: &str) -> Result<Option<DeviceFile>, Fault> {
    let by_hardware = || match HardwareId::parse(text) {
        Ok(id) => by_hardware(db, &id.text()),
        Err(_) => Ok(None),
    };
    let mut found = by_name(db, text)?;
    if found.is_none() {
        found = by_hardware()?;
    }
    if found.is_none()
        && let Some(thing) = thing::by_name(db, text)?
    {
        found = by_name(db, thing.record.device.as_str())?;
    }
    let Some(device) = found else {
        return Ok(None);
    };
    let number = device.number;
    let hardware = device.record.hardware.text();
    let subjects = [device.record.id.as_str(), hardware.as_str()];
    Ok(Some(DeviceFile {
        certificates: certificate::newest(db, number, MOST_CERTIFICATES)?,
        waiting: approval::waiting(db, number)?,
        reports: notes::reports(db, subjects)?,
        refusals: notes::refusals_of(db, subjects)?,
        token: token::serving(db, number)?,
        thing: thing::of_device(db, number)?.map(|thing| thing.record),
        registration: registration::of_device(db, number)?.map(|one| one.record),
        given: product::by_name(db, &device.record.product)?
            .map(|product| Given::by(&product))
            .unwrap_or_default(),
        device: device.record,
    }))
}

/// Of one device, in its file.
const MOST_CERTIFICATES: u32 = 32;
