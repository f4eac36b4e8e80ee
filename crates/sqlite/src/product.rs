//! Products on record: the definition as JSON.

use std::cell::RefCell;

use imprint_registrar::Product;
use rusqlite::{Connection, OptionalExtension};
use serde_json::{Value, json};

use crate::change::Change;
use crate::fault::Fault;

/// Reads a definition. Every request needs one and they hardly ever change, so each thread keeps
/// those that it read last, by their text: a text that differs is another definition.
pub(crate) fn parse(definition: &str) -> Result<Product, Fault> {
    thread_local! {
        static READ: RefCell<Vec<(String, Product)>> = const { RefCell::new(Vec::new()) };
    }
    READ.with_borrow_mut(|read| {
        if let Some((_, product)) = read.iter().find(|(text, _)| text == definition) {
            return Ok(product.clone());
        }
        let product: Product = serde_json::from_str(definition).map_err(|error| {
            Fault::Broken(format!("a product's definition: {error}: {definition}"))
        })?;
        if read.len() == MOST_READ {
            read.remove(0);
        }
        read.push((definition.to_owned(), product.clone()));
        Ok(product)
    })
}

pub(crate) fn by_name(db: &Connection, name: &str) -> Result<Option<Product>, Fault> {
    let found = db
        .prepare_cached("SELECT definition FROM product WHERE name = ?1")?
        .query_row([name], |row| Ok(parse(row.get_ref(0)?.as_str()?)))
        .optional()?;
    found.transpose()
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

/// A thread's definitions: more products than this that enroll at once cost their reading.
const MOST_READ: usize = 16;
