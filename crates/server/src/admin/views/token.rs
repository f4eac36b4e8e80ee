//! Tokens and allowlists.

use imprint_identity::UnixTime;
use imprint_registrar::ledger::{Lease, TokenRecord, TokenState};
use imprint_registrar::tokens::Minted;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::moment;

/// A token, without its secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TokenView {
    /// Its public name.
    #[schema(example = "t-0123456789ab")]
    pub id: String,
    /// The product that it lets devices into.
    pub product: String,
    /// The hardware that it is for, if it is for one.
    pub hardware: Option<String>,
    /// Where it stands: `dormant`, `minted`, `leased`, `spent`, `revoked`.
    pub state: String,
    /// Whether it is too late for a lease to begin. A lease that has begun goes on.
    pub expired: bool,
    /// Whom it serves, or served.
    pub lease: Option<LeaseView>,
    /// When it was made.
    pub minted_at: String,
    /// Who made it.
    pub minted_by: String,
    /// Until when a lease may begin.
    pub expires_at: String,
    /// When the device proved receipt.
    pub spent_at: Option<String>,
    /// How often another key has knocked.
    pub alarms: u32,
}

impl TokenView {
    pub(in super::super) fn new(record: &TokenRecord, now: UnixTime) -> Self {
        let open = matches!(record.state, TokenState::Dormant | TokenState::Minted);
        Self {
            id: record.id.clone(),
            product: record.product.clone(),
            hardware: record.bound.as_ref().map(ToString::to_string),
            state: record.state.to_string(),
            expired: open && record.expires_at < now,
            lease: record.lease.as_ref().map(LeaseView::from),
            minted_at: moment(record.minted_at),
            minted_by: record.minted_by.clone(),
            expires_at: moment(record.expires_at),
            spent_at: record.spent_at.map(moment),
            alarms: record.alarms,
        }
    }
}

/// Whom a token serves.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct LeaseView {
    /// The device.
    pub device: String,
    /// SHA-256 over the key's SubjectPublicKeyInfo, hex.
    pub key: String,
    /// Since when.
    pub since: String,
    /// From which address the first request came.
    pub address: String,
}

impl From<&Lease> for LeaseView {
    fn from(lease: &Lease) -> Self {
        Self {
            device: lease.device.to_string(),
            key: lease.key.to_string(),
            since: moment(lease.since),
            address: lease.address.clone(),
        }
    }
}

/// An order for tokens.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TokenOrderView {
    /// For which product.
    pub product: String,
    /// One token for each of these; empty: `count` tokens for any hardware.
    #[serde(default)]
    pub hardware: Vec<String>,
    /// How many, 1 to 100,000, when no hardware is named.
    #[serde(default)]
    pub count: Option<u32>,
    /// Seconds until a lease may no longer begin; left out: the product's rule.
    #[serde(default)]
    pub expires_in_seconds: Option<i64>,
    /// Whether they sleep until armed; left out: the product's rule.
    #[serde(default)]
    pub dormant: Option<bool>,
}

/// A token as it leaves the server, once. Whoever reads it can use it.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct MintedView {
    /// Its public name.
    pub id: String,
    /// Its text, the secret.
    pub token: String,
    /// Its product.
    pub product: String,
    /// The hardware that it is for, if it is for one.
    pub hardware: Option<String>,
    /// Until when a lease may begin.
    pub expires_at: String,
}

impl MintedView {
    pub(in super::super) fn new(minted: &Minted, product: &str) -> Self {
        Self {
            id: minted.id.clone(),
            token: minted.text.to_string(),
            product: product.to_owned(),
            hardware: minted.hardware.as_ref().map(ToString::to_string),
            expires_at: moment(minted.expires_at),
        }
    }
}

/// Opens a token again for another key.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Rebind {
    /// Bind it to this hardware; left out: its binding stays as it is.
    #[serde(default)]
    pub hardware: Option<String>,
}

/// Hardware to put on an allowlist, or to take off it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AllowlistChange {
    /// Hardware ids, at most 10,000.
    pub hardware: Vec<String>,
}

/// What came of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AllowlistChanged {
    /// How many ids were named.
    pub named: u64,
    /// How many of them made a difference.
    pub changed: u64,
}
