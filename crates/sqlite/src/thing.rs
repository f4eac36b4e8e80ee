//! Things on record, and the policies that they name.

use std::collections::BTreeMap;

use imprint_identity::DeviceId;
use imprint_registrar::claims::thing::ThingValues;
use imprint_registrar::ledger::{Given, ThingChange, ThingFilter, ThingRecord};
use rusqlite::types::Type;
use rusqlite::{Connection, Error, OptionalExtension, Row};
use serde::de::DeserializeOwned;
use serde_json::json;

use crate::change::Change;
use crate::decode::Columns;
use crate::device::{self, at_most};
use crate::fault::Fault;
use crate::{product, registry};

macro_rules! select_thing {
    ($where:literal) => {
        concat!(
            "SELECT t.number, t.name, d.name, t.type, t.billing_group, t.groups, t.attributes,
                    t.policies, t.created_at, t.updated_at, t.version, t.device, p.definition
             FROM thing t JOIN device d ON d.number = t.device
             LEFT JOIN product p ON p.name = d.product ",
            $where
        )
    };
}

/// A thing with its number.
pub(crate) struct Thing {
    number: i64,
    /// The number of its device.
    device: i64,
    pub(crate) record: ThingRecord,
}

fn read(row: &Row<'_>) -> rusqlite::Result<Thing> {
    Ok(Thing {
        number: row.get(0)?,
        device: row.get(11)?,
        record: ThingRecord {
            name: row.get(1)?,
            device: row.device(2)?,
            values: ThingValues {
                thing_type: row.get(3)?,
                billing_group: row.get(4)?,
                groups: parsed::<Vec<String>>(row, 5)?,
                attributes: parsed::<BTreeMap<String, String>>(row, 6)?,
                policies: parsed::<Vec<String>>(row, 7)?,
            },
            given: given(row, 12)?,
            created_at: row.time(8)?,
            updated_at: row.time(9)?,
            version: row.get::<_, i64>(10)?.cast_unsigned(),
        },
    })
}

/// What its product gives it.
fn given(row: &Row<'_>, at: usize) -> rusqlite::Result<Given> {
    let Some(definition) = row.get_ref(at)?.as_str_or_null()? else {
        return Ok(Given::default());
    };
    let product = product::parse(definition).map_err(|fault| {
        Error::FromSqlConversionFailure(at, Type::Text, fault.reason().to_owned().into())
    })?;
    Ok(Given::by(&product))
}

fn parsed<T: DeserializeOwned>(row: &Row<'_>, at: usize) -> rusqlite::Result<T> {
    let text: String = row.get(at)?;
    serde_json::from_str(&text)
        .map_err(|error| Error::FromSqlConversionFailure(at, Type::Text, Box::new(error)))
}

pub(crate) fn by_name(db: &Connection, name: &str) -> Result<Option<Thing>, Fault> {
    let sql = select_thing!("WHERE t.name = ?1");
    Ok(db.prepare_cached(sql)?.query_row([name], read).optional()?)
}

pub(crate) fn of_device(db: &Connection, device: i64) -> Result<Option<Thing>, Fault> {
    let sql = select_thing!("WHERE t.device = ?1");
    Ok(db
        .prepare_cached(sql)?
        .query_row([device], read)
        .optional()?)
}

pub(crate) fn list(db: &Connection, filter: &ThingFilter) -> Result<Vec<ThingRecord>, Fault> {
    let mut statement = db.prepare_cached(select_thing!(
        "WHERE t.name > ?1
           AND (?2 IS NULL OR EXISTS (SELECT 1 FROM json_each(t.groups) g WHERE g.value = ?2)
                OR EXISTS (SELECT 1 FROM json_each(p.definition, '$.groups') g WHERE g.value = ?2))
         ORDER BY t.name LIMIT ?3"
    ))?;
    let rows = statement.query_map(
        (
            filter.after.as_deref().unwrap_or(""),
            filter.group.as_deref(),
            at_most(filter.limit),
        ),
        |row| read(row).map(|thing| thing.record),
    )?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Whether a thing is as it was when a change to it was decided.
pub(crate) fn is_as_decided(
    db: &Connection,
    device: &DeviceId,
    thing: &ThingChange,
) -> Result<bool, Fault> {
    let named = device::by_name(db, &thing.name)?;
    if named.is_some_and(|other| other.record.id != *device) {
        return Ok(false);
    }
    Ok(match (by_name(db, &thing.name)?, thing.version) {
        (None, None) => true,
        (Some(there), Some(version)) => {
            let may_have = there.record.device == *device || thing.name == device.as_str();
            there.record.version == version && may_have
        }
        _ => false,
    })
}

/// Writes a thing. The caller has seen, in this transaction, that it is as it was decided on.
pub(crate) fn write(change: &Change<'_>, device: i64, thing: &ThingChange) -> Result<(), Fault> {
    for policy in &thing.policies {
        change
            .db
            .prepare_cached(
                "INSERT INTO policy (name, document) VALUES (?1, ?2)
                 ON CONFLICT (name) DO UPDATE SET document = excluded.document
                 WHERE policy.document IS NULL AND excluded.document IS NOT NULL",
            )?
            .execute((&policy.name, policy.document.as_deref()))?;
    }
    registry::add_missing(change, &thing.references)?;
    let mut there = by_name(change.db, &thing.name)?;
    if let Some(others) = there.take_if(|there| there.device != device) {
        let sql = "DELETE FROM thing WHERE number = ?1";
        change.db.prepare_cached(sql)?.execute([others.number])?;
        let detail = json!({ "thing": thing.name, "was": others.record.device.as_str() });
        change.journal("thing-taken-back", &thing.name, &detail)?;
    }
    match there {
        Some(there) if there.record.values == thing.values => {}
        Some(there) => update(change, &there, &thing.values)?,
        None => {
            // A device is one thing: under a new name it is not the old one any more.
            let sql = "DELETE FROM thing WHERE device = ?1";
            change.db.prepare_cached(sql)?.execute([device])?;
            insert(change, device, thing)?;
        }
    }
    Ok(())
}

fn insert(change: &Change<'_>, device: i64, thing: &ThingChange) -> Result<(), Fault> {
    let values = &thing.values;
    change
        .db
        .prepare_cached(
            "INSERT INTO thing (name, device, type, billing_group, groups, attributes, policies,
                                created_at, updated_at, version)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?8, 1)",
        )?
        .execute((
            &thing.name,
            device,
            values.thing_type.as_deref(),
            values.billing_group.as_deref(),
            json!(values.groups).to_string(),
            json!(values.attributes).to_string(),
            json!(values.policies).to_string(),
            change.now.0,
        ))?;
    Ok(())
}

fn update(change: &Change<'_>, there: &Thing, values: &ThingValues) -> Result<(), Fault> {
    change
        .db
        .prepare_cached(
            "UPDATE thing SET type = ?2, billing_group = ?3, groups = ?4, attributes = ?5,
                              policies = ?6, updated_at = ?7, version = version + 1
             WHERE number = ?1",
        )?
        .execute((
            there.number,
            values.thing_type.as_deref(),
            values.billing_group.as_deref(),
            json!(values.groups).to_string(),
            json!(values.attributes).to_string(),
            json!(values.policies).to_string(),
            change.now.0,
        ))?;
    Ok(())
}

/// Policies with their documents, by name.
pub(crate) fn policies(db: &Connection) -> Result<Vec<(String, Option<String>)>, Fault> {
    let mut statement = db.prepare_cached("SELECT name, document FROM policy ORDER BY name")?;
    let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
    Ok(rows.collect::<Result<_, _>>()?)
}
