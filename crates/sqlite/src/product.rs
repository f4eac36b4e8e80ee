//! Products on record: the definition as JSON.

use imprint_registrar::Product;
use rusqlite::{Connection, OptionalExtension};
use serde_json::{Value, json};

use crate::change::Change;
use crate::fault::Fault;

pub(crate) fn parse(definition: &str) -> Result<Product, Fault> {
    serde_json::from_str(definition)
        .map_err(|error| Fault::Broken(format!("a product's definition: {error}: {definition}")))
}

pub(crate) fn by_name(db: &Connection, name: &str) -> Result<Option<Product>, Fault> {
    let definition: Option<String> = db
        .prepare_cached("SELECT definition FROM product WHERE name = ?1")?
        .query_row([name], |row| row.get(0))
        .optional()?;
    definition.as_deref().map(parse).transpose()
}

pub(crate) fn list(db: &Connection) -> Result<Vec<Product>, Fault> {
    let mut statement = db.prepare_cached("SELECT definition FROM product ORDER BY name")?;
    let definitions = statement.query_map([], |row| row.get::<_, String>(0))?;
    definitions.map(|definition| parse(&definition?)).collect()
}

pub(crate) fn apply(change: &Change<'_>, products: &[Product]) -> Result<(), Fault> {
    for product in products {
        let definition: Value = serde_json::to_value(product)
            .map_err(|error| Fault::Broken(format!("product {}: {error}", product.name)))?;
        let changed = change
            .db
            .prepare_cached(
                "INSERT INTO product (name, definition) VALUES (?1, ?2)
                 ON CONFLICT (name) DO UPDATE SET definition = excluded.definition
                 WHERE definition <> excluded.definition",
            )?
            .execute((&product.name, definition.to_string()))?;
        if changed > 0 {
            change.journal(
                "product-applied",
                &product.name,
                &json!({ "product": definition }),
            )?;
        }
    }
    Ok(())
}
