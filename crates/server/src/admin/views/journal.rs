//! The journal.

use imprint_registrar::journal::JournalRow;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::moment;

/// One line of the journal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct JournalRowView {
    /// Its number, from 1, without holes.
    pub number: u64,
    /// When.
    pub at: String,
    /// What happened.
    pub kind: String,
    /// Whom it concerns.
    pub subject: String,
    /// Who did it.
    pub actor: String,
    /// The particulars.
    #[schema(value_type = Object)]
    pub detail: serde_json::Value,
    /// Its place in the chain, hex.
    pub hash: Option<String>,
}

impl From<&JournalRow> for JournalRowView {
    fn from(row: &JournalRow) -> Self {
        // A row that somebody altered may hold anything; it is shown as it is.
        let detail = serde_json::from_str(&row.detail)
            .unwrap_or_else(|_| serde_json::Value::String(row.detail.clone()));
        Self {
            number: row.number,
            at: moment(row.at),
            kind: row.kind.clone(),
            subject: row.subject.clone(),
            actor: row.actor.clone(),
            detail,
            hash: row.hash.map(hex::encode),
        }
    }
}

/// Whether the journal is as it was written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct JournalVerdict {
    /// Whether every row fits behind the one before it.
    pub intact: bool,
    /// How many rows were looked at.
    pub rows: u64,
    /// How many rows at the end have not been chained yet.
    pub unchained: u64,
    /// The hash of the last chained row. Kept elsewhere, it also proves that no row was cut off.
    pub head: String,
    /// The first row that is not as it was written.
    pub altered: Option<AlteredView>,
}

/// A row that is not as it was written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AlteredView {
    /// Its number.
    pub number: u64,
    /// How that shows.
    pub what: String,
}
