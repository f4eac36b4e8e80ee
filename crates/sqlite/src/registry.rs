//! What things may name: groups, types and policies.

use std::collections::BTreeSet;

use imprint_registrar::registry::{Kind, Named, Policy, Reference, Registry};
use rusqlite::Connection;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::change::Change;
use crate::fault::Fault;

pub(crate) fn apply(change: &Change<'_>, registry: &Registry) -> Result<(), Fault> {
    for group in &registry.groups {
        put(change, FLEET, Kind::Group, &group.name, group)?;
    }
    for thing_type in &registry.thing_types {
        put(change, FLEET, Kind::ThingType, &thing_type.name, thing_type)?;
    }
    for policy in &registry.policies {
        put(change, FLEET, Kind::Policy, &policy.name, policy)?;
        // The fleet file's document is the policy's from now on.
        let sql = "INSERT INTO policy (name, document) VALUES (?1, ?2)
                   ON CONFLICT (name) DO UPDATE SET document = excluded.document";
        change
            .db
            .prepare_cached(sql)?
            .execute((&policy.name, policy.document.as_deref()))?;
    }
    Ok(())
}

fn put<T: Serialize>(
    change: &Change<'_>,
    by: &str,
    kind: Kind,
    name: &str,
    definition: &T,
) -> Result<(), Fault> {
    let definition: Value = serde_json::to_value(definition)
        .map_err(|error| Fault::Broken(format!("{kind} {name}: {error}")))?;
    let changed = change
        .db
        .prepare_cached(
            "INSERT INTO registry (kind, name, definition) VALUES (?1, ?2, ?3)
             ON CONFLICT (kind, name) DO UPDATE SET definition = excluded.definition
             WHERE definition <> excluded.definition",
        )?
        .execute((kind.as_str(), name, definition.to_string()))?;
    if changed > 0 {
        let detail = json!({ "by": by, (kind.as_str()): definition });
        change.journal("registry-applied", name, &detail)?;
    }
    Ok(())
}

/// Adds what a template names and the registry does not have. Whether it may has been decided: nothing
/// ever leaves the registry, so what was there then is there now.
pub(crate) fn add_missing(
    change: &Change<'_>,
    references: &BTreeSet<Reference>,
) -> Result<(), Fault> {
    for Reference { kind, name } in missing(change.db, references)? {
        match kind {
            Kind::Group | Kind::ThingType => {
                put(change, TEMPLATE, kind, &name, &Named::new(&name))?;
            }
            Kind::Policy => {
                let policy = Policy {
                    name,
                    description: String::new(),
                    document: None,
                };
                put(change, TEMPLATE, kind, &policy.name, &policy)?;
            }
        }
    }
    Ok(())
}

/// Those that are not there. A policy that a template brought with its document is.
pub(crate) fn missing(
    db: &Connection,
    references: &BTreeSet<Reference>,
) -> Result<Vec<Reference>, Fault> {
    let mut missing = Vec::new();
    for reference in references {
        let there: bool = db
            .prepare_cached(
                "SELECT EXISTS (SELECT 1 FROM registry WHERE kind = ?1 AND name = ?2)
                     OR (?1 = 'policy' AND EXISTS (
                         SELECT 1 FROM policy WHERE name = ?2 AND document IS NOT NULL))",
            )?
            .query_row((reference.kind.as_str(), &reference.name), |row| row.get(0))?;
        if !there {
            missing.push(reference.clone());
        }
    }
    Ok(missing)
}

pub(crate) fn list(db: &Connection) -> Result<Registry, Fault> {
    Ok(Registry {
        groups: all(db, Kind::Group)?,
        thing_types: all(db, Kind::ThingType)?,
        policies: all(db, Kind::Policy)?,
    })
}

fn all<T: DeserializeOwned>(db: &Connection, kind: Kind) -> Result<Vec<T>, Fault> {
    let sql = "SELECT definition FROM registry WHERE kind = ?1 ORDER BY name";
    let mut statement = db.prepare_cached(sql)?;
    let rows = statement.query_map([kind.as_str()], |row| row.get::<_, String>(0))?;
    rows.map(|definition| {
        let definition = definition?;
        serde_json::from_str(&definition)
            .map_err(|error| Fault::Broken(format!("a {kind}'s definition: {error}: {definition}")))
    })
    .collect()
}

/// Whose word it was, for the journal: the fleet file's, or a template's that names what was not there.
const FLEET: &str = "fleet";
const TEMPLATE: &str = "template";
