//! Definitions from the fleet file: templates and registered CAs. Products and claims have files of
//! their own.

use imprint_registrar::claims::definition::Template;
use imprint_registrar::ledger::{AuthorityRecord, Definitions};
use rusqlite::{Connection, OptionalExtension, Row};
use serde_json::json;

use crate::change::Change;
use crate::fault::Fault;
use crate::{claim, product, registry};

/// All or none.
pub(crate) fn apply(change: &Change<'_>, definitions: &Definitions) -> Result<(), Fault> {
    product::apply(change, &definitions.products)?;
    registry::apply(change, &definitions.registry)?;
    apply_templates(change, &definitions.templates)?;
    claim::apply(change, &definitions.claims)?;
    apply_authorities(change, &definitions.authorities)
}

fn apply_templates(change: &Change<'_>, templates: &[Template]) -> Result<(), Fault> {
    for template in templates {
        let definition = serde_json::to_value(template)
            .map_err(|error| Fault::Broken(format!("template {}: {error}", template.name)))?;
        let changed = change
            .db
            .prepare_cached(
                "INSERT INTO template (name, product, definition) VALUES (?1, ?2, ?3)
                 ON CONFLICT (name) DO UPDATE
                 SET product = excluded.product, definition = excluded.definition
                 WHERE definition <> excluded.definition",
            )?
            .execute((&template.name, &template.product, definition.to_string()))?;
        if changed > 0 {
            let detail = json!({ "template": definition });
            change.journal("template-applied", &template.name, &detail)?;
        }
    }
    Ok(())
}

fn apply_authorities(change: &Change<'_>, authorities: &[AuthorityRecord]) -> Result<(), Fault> {
    for authority in authorities {
        let ca = &authority.ca;
        let definition = serde_json::to_value(ca)
            .map_err(|error| Fault::Broken(format!("CA {}: {error}", ca.name)))?;
        let changed = change
            .db
            .prepare_cached(
                "INSERT INTO registered_ca (name, subject, der, product, definition)
                 VALUES (?1, ?2, ?3, ?4, ?5)
                 ON CONFLICT (name) DO UPDATE
                 SET subject = excluded.subject, der = excluded.der, product = excluded.product,
                     definition = excluded.definition
                 WHERE definition <> excluded.definition",
            )?
            .execute((
                &ca.name,
                &authority.subject_der,
                &authority.der,
                &ca.product,
                definition.to_string(),
            ))?;
        if changed > 0 {
            change.journal("ca-applied", &ca.name, &json!({ "ca": definition }))?;
        }
    }
    Ok(())
}

fn parse_template(definition: &str) -> Result<Template, Fault> {
    serde_json::from_str(definition)
        .map_err(|error| Fault::Broken(format!("a template's definition: {error}: {definition}")))
}

pub(crate) fn template(db: &Connection, name: &str) -> Result<Option<Template>, Fault> {
    let definition: Option<String> = db
        .prepare_cached("SELECT definition FROM template WHERE name = ?1")?
        .query_row([name], |row| row.get(0))
        .optional()?;
    definition.as_deref().map(parse_template).transpose()
}

pub(crate) fn templates(db: &Connection) -> Result<Vec<Template>, Fault> {
    let mut statement = db.prepare_cached("SELECT definition FROM template ORDER BY name")?;
    let definitions = statement.query_map([], |row| row.get::<_, String>(0))?;
    definitions
        .map(|definition| parse_template(&definition?))
        .collect()
}

fn read_authority(row: &Row<'_>) -> rusqlite::Result<(String, Vec<u8>, Vec<u8>)> {
    Ok((row.get(0)?, row.get(1)?, row.get(2)?))
}

fn parse_authority(
    (definition, der, subject_der): (String, Vec<u8>, Vec<u8>),
) -> Result<AuthorityRecord, Fault> {
    let ca = serde_json::from_str(&definition)
        .map_err(|error| Fault::Broken(format!("a CA's definition: {error}: {definition}")))?;
    Ok(AuthorityRecord {
        ca,
        der,
        subject_der,
    })
}

pub(crate) fn authority(db: &Connection, name: &str) -> Result<Option<AuthorityRecord>, Fault> {
    let sql = "SELECT definition, der, subject FROM registered_ca WHERE name = ?1";
    let found = db
        .prepare_cached(sql)?
        .query_row([name], read_authority)
        .optional()?;
    found.map(parse_authority).transpose()
}

pub(crate) fn authorities(db: &Connection) -> Result<Vec<AuthorityRecord>, Fault> {
    let sql = "SELECT definition, der, subject FROM registered_ca ORDER BY name";
    let mut statement = db.prepare_cached(sql)?;
    let rows = statement.query_map([], read_authority)?;
    rows.map(|row| parse_authority(row?)).collect()
}

/// Those of this name, a Name in DER.
pub(crate) fn authorities_named(
    db: &Connection,
    subject_der: &[u8],
) -> Result<Vec<AuthorityRecord>, Fault> {
    let sql = "SELECT definition, der, subject FROM registered_ca WHERE subject = ?1 ORDER BY name";
    let mut statement = db.prepare_cached(sql)?;
    let rows = statement.query_map([subject_der], read_authority)?;
    rows.map(|row| parse_authority(row?)).collect()
}
