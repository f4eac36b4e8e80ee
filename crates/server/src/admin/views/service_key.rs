//! Service keys.

use std::fmt;

use imprint_registrar::ledger::ServiceKeyRecord;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::moment;

/// A service key. The key itself is in no view but the one that is answered when it is made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ServiceKeyView {
    /// Its name, by which tokens name it.
    #[schema(example = "scripts")]
    pub name: String,
    /// The product whose entries it is for.
    pub product: String,
    /// The name by which scripts reach the server: their tokens are signed for it.
    pub host: String,
    /// What its holder may do: `read`, `write`, or `keys`, which is to ask for entries' keys as well.
    pub access: String,
    /// When it was made.
    pub created_at: String,
}

impl From<&ServiceKeyRecord> for ServiceKeyView {
    fn from(record: &ServiceKeyRecord) -> Self {
        Self {
            name: record.name.clone(),
            product: record.product.clone(),
            host: record.host.clone(),
            access: record.access.to_string(),
            created_at: moment(record.created_at),
        }
    }
}

/// Makes a service key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ServiceKeyOrder {
    /// Its name: 1 to 64 letters, digits, `-`, `_` and `.`.
    pub name: String,
    /// The product whose entries it is for.
    pub product: String,
    /// `read`, `write` (without) or `keys`.
    #[serde(default)]
    pub access: Option<String>,
    /// The name by which scripts reach the server, without a port; without: the hub's.
    #[serde(default)]
    pub host: Option<String>,
}

/// A service key that was made just now.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ServiceKeyMadeView {
    /// What it is.
    #[serde(flatten)]
    pub key: ServiceKeyView,
    /// What the vendor's clients are made from. It is not said again.
    pub connection_string: String,
}

/// The key is not printed.
impl fmt::Debug for ServiceKeyMadeView {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServiceKeyMadeView")
            .field("key", &self.key)
            .finish_non_exhaustive()
    }
}
