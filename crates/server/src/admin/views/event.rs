//! Rows of the journal, as other programs read them.

use imprint_registrar::Authorities;
use imprint_registrar::journal::JournalRow;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::moment;

/// A row of the journal as a CloudEvent (version 1.0, JSON format).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct EventView {
    /// Always `1.0`.
    #[schema(example = "1.0")]
    pub specversion: String,
    /// The row's number: from 1, without holes. With `source` it names this event and no other.
    #[schema(example = "42")]
    pub id: String,
    /// This server: its root authority and its restore epoch.
    #[schema(example = "https://imprint.internal/0f1e2d3c4b5a6978/1")]
    pub source: String,
    /// What happened: `internal.imprint.` and the row's kind.
    #[schema(example = "internal.imprint.enrollment-settled")]
    #[serde(rename = "type")]
    pub kind: String,
    /// Whom it concerns: a device, a token, a product. Left out where it concerns nobody.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// When.
    pub time: String,
    /// Always `application/json`.
    pub datacontenttype: String,
    /// The particulars.
    pub data: EventDataView,
}

/// The particulars of an event.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct EventDataView {
    /// Who did it: a door, an operator, `server`.
    pub actor: String,
    /// The row's own particulars; their keys depend on what happened. Never a secret.
    #[schema(value_type = Object)]
    pub detail: serde_json::Value,
}

impl EventView {
    /// A row, told by `source`.
    #[must_use]
    pub fn new(source: &str, row: &JournalRow) -> Self {
        let detail = serde_json::from_str(&row.detail)
            .unwrap_or_else(|_| serde_json::Value::String(row.detail.clone()));
        Self {
            specversion: "1.0".to_owned(),
            id: row.number.to_string(),
            source: source.to_owned(),
            kind: format!("{PREFIX}{}", row.kind),
            subject: (!row.subject.is_empty()).then(|| row.subject.clone()),
            time: moment(row.at),
            datacontenttype: "application/json".to_owned(),
            data: EventDataView {
                actor: row.actor.clone(),
                detail,
            },
        }
    }

    /// The row's number.
    #[must_use]
    pub fn number(&self) -> Option<u64> {
        self.id.parse().ok()
    }

    /// The row's kind, without the prefix.
    #[must_use]
    pub fn bare_kind(&self) -> &str {
        self.kind.strip_prefix(PREFIX).unwrap_or(&self.kind)
    }
}

/// This server as the source of events. A restored server tells rows under numbers that were given
/// before; its epoch makes another source of it, so that an id never means two events.
#[must_use]
pub(crate) fn source(authorities: &Authorities, epoch: u8) -> String {
    let top = authorities
        .above()
        .last()
        .unwrap_or(&authorities.issuing().certificate);
    let hash = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, top.der());
    let short = hash.as_ref().get(..8).unwrap_or_default();
    format!("https://imprint.internal/{}/{epoch}", hex::encode(short))
}

/// What a receiver's key is, for the operator who sets the receiver up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct WebhookKeyView {
    /// The receiver.
    pub url: String,
    /// The HMAC-SHA256 key of what is sent there, 64 hex digits.
    pub key: String,
}

const PREFIX: &str = "internal.imprint.";
