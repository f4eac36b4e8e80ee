//! Products, and what a fleet file would change.
//!
//! The same keys as in the fleet file; `a_view_says_what_the_product_says` below keeps them so.

use imprint_registrar::fleet::Change;
use imprint_registrar::product::Product;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

/// A fleet file, as JSON.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct FleetView {
    /// Its products. Only `name` is needed; every other key has a default.
    pub product: Vec<ProductView>,
}

/// A product line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ProductView {
    /// Its name, which is also its EST label.
    #[schema(example = "thermo")]
    pub name: String,
    /// The rule for the names of its devices.
    #[schema(example = "{product}-{hardware}")]
    pub naming: String,
    /// Whether only hardware on the allowlist may enroll.
    pub allowlist: bool,
    /// Whether an operator must approve each new device and key.
    pub approval: bool,
    /// The least proof of hardware identity that is accepted.
    pub minimum_strength: String,
    /// Key types that are accepted: `p256`, `p384`, `ed25519`, `rsa`.
    pub keys: Vec<String>,
    /// What its devices do when a passing cause has outlasted every attempt: `default`, `strict`.
    pub quarantine: String,
    /// What to do with a channel binding in an EST request: `verify`, `ignore`.
    pub channel_binding: String,
    /// Whether the server makes keys for devices that can't.
    pub server_keygen: bool,
    /// The certificate's shape.
    pub certificate: CertificateProfileView,
    /// The rules for its tokens.
    pub token: TokenPolicyView,
    /// What a device is told about the fleet it has joined.
    pub connection: ConnectionView,
    /// How fast its newcomers are let in.
    pub limits: ProductLimitsView,
}

/// How fast a product's newcomers are let in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ProductLimitsView {
    /// Newcomers a second; 0 for no limit.
    pub enrollments_per_second: u32,
    /// Newcomers that may come at once before the pace binds.
    pub burst: u32,
}

/// The shape of a product's certificates.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct CertificateProfileView {
    /// Days from issuance to notAfter; 0 means no expiry.
    pub lifetime_days: u32,
    /// Seconds by which notBefore lies in the past.
    pub backdate_seconds: u32,
    /// A URI for the subject alternative name; empty for none.
    pub uri: String,
    /// A DNS name for the subject alternative name; empty for none.
    pub dns: String,
}

/// The rules for a product's tokens.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TokenPolicyView {
    /// Days until a new token expires.
    pub lifetime_days: u32,
    /// Whether tokens must be bound to a hardware id.
    pub bound: bool,
    /// Whether new tokens sleep until they are armed.
    pub dormant: bool,
}

/// What a device is told about the fleet it has joined.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ConnectionView {
    /// Where it connects, as a URL.
    pub endpoint: String,
    /// The beginning of its MQTT topics.
    pub topic_prefix: String,
    /// Groups that it belongs to from the start.
    pub groups: Vec<String>,
}

/// What applying a fleet file changed, or would change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AppliedView {
    /// Whether it was done; `false` for a dry run.
    pub applied: bool,
    /// The differences, in the order of the file.
    pub changes: Vec<ChangeView>,
}

/// One product that differs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ChangeView {
    /// The product.
    pub product: String,
    /// `new` or `changed`.
    pub kind: String,
    /// The keys that differ; for a new product, those that are not the default.
    pub keys: Vec<KeyChange>,
}

/// One key that differs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct KeyChange {
    /// The key, dotted: `certificate.lifetime_days`.
    pub key: String,
    /// As it is; for a new product, the default.
    #[schema(value_type = Object)]
    pub before: Value,
    /// As it will be.
    #[schema(value_type = Object)]
    pub after: Value,
}

impl TryFrom<&Product> for ProductView {
    type Error = serde_json::Error;

    fn try_from(product: &Product) -> Result<Self, serde_json::Error> {
        serde_json::to_value(product).and_then(serde_json::from_value)
    }
}

impl TryFrom<&Change> for ChangeView {
    type Error = serde_json::Error;

    fn try_from(change: &Change) -> Result<Self, serde_json::Error> {
        let (kind, before) = match change {
            Change::New(product) => ("new", Product::named(&product.name)),
            Change::Changed { before, .. } => ("changed", before.clone()),
        };
        let mut keys = Vec::new();
        let (before, after) = (
            serde_json::to_value(before)?,
            serde_json::to_value(change.after())?,
        );
        differ("", &before, &after, &mut keys);
        Ok(Self {
            product: change.after().name.clone(),
            kind: kind.to_owned(),
            keys,
        })
    }
}

/// Walks two documents of the same shape and notes where they differ.
fn differ(path: &str, before: &Value, after: &Value, keys: &mut Vec<KeyChange>) {
    if let (Value::Object(old), Value::Object(new)) = (before, after) {
        for (key, value) in new {
            let path = if path.is_empty() {
                key.clone()
            } else {
                format!("{path}.{key}")
            };
            differ(&path, old.get(key).unwrap_or(&Value::Null), value, keys);
        }
    } else if before != after {
        let change = KeyChange {
            key: path.to_owned(),
            before: before.clone(),
            after: after.clone(),
        };
        keys.push(change);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_view_says_what_the_product_says() {
        let mut product = Product::named("thermo");
        product.connection.groups = vec!["a".into(), "b".into()];
        product.certificate.dns = "{device}.devices.example".into();
        let view = ProductView::try_from(&product).unwrap();
        assert_eq!(
            serde_json::to_value(&view).unwrap(),
            serde_json::to_value(&product).unwrap()
        );
    }

    #[test]
    fn a_difference_names_the_keys_with_dots() {
        let before = Product::named("thermo");
        let mut after = before.clone();
        after.certificate.lifetime_days = 30;
        after.allowlist = true;
        let change = Change::Changed { before, after };
        let view = ChangeView::try_from(&change).unwrap();
        let keys: Vec<_> = view
            .keys
            .iter()
            .map(|change| format!("{} {} {}", change.key, change.before, change.after))
            .collect();
        assert_eq!(
            keys,
            ["allowlist false true", "certificate.lifetime_days 365 30"]
        );
    }
}
