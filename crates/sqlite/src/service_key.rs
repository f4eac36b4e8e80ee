//! The keys by which scripts come to the service API. They are sealed.

use imprint_registrar::ledger::{Acted, ServiceKeyRecord};
use rusqlite::{Connection, OptionalExtension, Row};
use serde_json::json;

use crate::change::Change;
use crate::decode::Columns;
use crate::fault::Fault;

macro_rules! select_key {
    ($where:literal) => {
        concat!(
            "SELECT name, product, host, access, key, created_at FROM service_key ",
            $where
        )
    };
}

fn read(row: &Row<'_>) -> rusqlite::Result<ServiceKeyRecord> {
    Ok(ServiceKeyRecord {
        name: row.get(0)?,
        product: row.get(1)?,
        host: row.get(2)?,
        access: row.word(3)?,
        sealed: row.get(4)?,
        created_at: row.time(5)?,
    })
}

pub(crate) fn by_name(db: &Connection, name: &str) -> Result<Option<ServiceKeyRecord>, Fault> {
    let sql = select_key!("WHERE name = ?1");
    Ok(db.prepare_cached(sql)?.query_row([name], read).optional()?)
}

pub(crate) fn list(db: &Connection) -> Result<Vec<ServiceKeyRecord>, Fault> {
    let mut statement = db.prepare_cached(select_key!("ORDER BY name"))?;
    let rows = statement.query_map([], read)?;
    rows.map(|row| Ok(row?)).collect()
}

pub(crate) fn add(
    change: &Change<'_>,
    key: &ServiceKeyRecord,
) -> Result<Acted<ServiceKeyRecord>, Fault> {
    if by_name(change.db, &key.name)?.is_some() {
        return Ok(Acted::NotNow { state: "exists" });
    }
    change
        .db
        .prepare_cached(
            "INSERT INTO service_key (name, product, host, access, key, created_at)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        )?
        .execute((
            &key.name,
            &key.product,
            &key.host,
            key.access.as_str(),
            &key.sealed,
            change.now.0,
        ))?;
    let detail = json!({
        "product": key.product,
        "host": key.host,
        "access": key.access.as_str(),
    });
    change.journal("service-key-made", &key.name, &detail)?;
    Ok(by_name(change.db, &key.name)?.map_or(Acted::Absent, Acted::Done))
}

pub(crate) fn delete(change: &Change<'_>, name: &str) -> Result<Acted<ServiceKeyRecord>, Fault> {
    let Some(key) = by_name(change.db, name)? else {
        return Ok(Acted::Absent);
    };
    let sql = "DELETE FROM service_key WHERE name = ?1";
    change.db.prepare_cached(sql)?.execute([name])?;
    change.journal(
        "service-key-revoked",
        name,
        &json!({ "product": key.product }),
    )?;
    Ok(Acted::Done(key))
}
