//! A fleet file, and what it would change.

use std::collections::BTreeMap;

use imprint_registrar::fleet::Change;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use super::{
    ClaimDefinitionView, NamedView, PolicyDefinitionView, ProductView, RegisteredCaDefinitionView,
    TemplateView,
};

/// A fleet file, as JSON: the same keys as in TOML.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct FleetView {
    /// Its products. Only `name` is needed; every other key has a default.
    #[serde(default)]
    pub product: Vec<ProductView>,
    /// Groups of things.
    #[serde(default)]
    pub group: Vec<NamedView>,
    /// Types of things.
    #[serde(default)]
    pub thing_type: Vec<NamedView>,
    /// Policies on devices' certificates.
    #[serde(default)]
    pub policy: Vec<PolicyDefinitionView>,
    /// Its provisioning templates.
    #[serde(default)]
    pub template: Vec<TemplateView>,
    /// Its claims: what they may, not their certificates.
    #[serde(default)]
    pub claim: Vec<ClaimDefinitionView>,
    /// Customers' CAs whose devices are provisioned just in time.
    #[serde(default)]
    pub registered_ca: Vec<RegisteredCaDefinitionView>,
    /// For CAs that are new here, by name: the certificate on the registration code, PEM.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub proof: BTreeMap<String, String>,
}

/// What applying a fleet file changed, or would change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AppliedView {
    /// Whether it was done; `false` for a dry run.
    pub applied: bool,
    /// The differences: products, groups, types, policies, templates, claims, CAs, each in the order of
    /// the file.
    pub changes: Vec<ChangeView>,
}

/// One part of a fleet file that differs from what is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ChangeView {
    /// What it is: `product`, `group`, `thing_type`, `policy`, `template`, `claim`, `registered_ca`.
    pub object: String,
    /// Its name.
    pub name: String,
    /// `new` or `changed`.
    pub kind: String,
    /// The keys that differ; for a new one, those that are not the default.
    pub keys: Vec<KeyChange>,
}

/// One key that differs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct KeyChange {
    /// The key, dotted: `certificate.lifetime_days`.
    pub key: String,
    /// As it is; for a new one, the default.
    #[schema(value_type = Object)]
    pub before: Value,
    /// As it will be.
    #[schema(value_type = Object)]
    pub after: Value,
}

impl From<&Change> for ChangeView {
    fn from(change: &Change) -> Self {
        let mut keys = Vec::new();
        differ("", &change.before, &change.after, &mut keys);
        Self {
            object: change.object.key().to_owned(),
            name: change.name.clone(),
            kind: if change.is_new { "new" } else { "changed" }.to_owned(),
            keys,
        }
    }
}

/// Walks two documents and notes where they differ; a key that one of them lacks is null there.
fn differ(path: &str, before: &Value, after: &Value, keys: &mut Vec<KeyChange>) {
    if let (Value::Object(old), Value::Object(new)) = (before, after) {
        let gone = old.keys().filter(|key| !new.contains_key(*key));
        for key in new.keys().chain(gone) {
            let path = if path.is_empty() {
                key.clone()
            } else {
                format!("{path}.{key}")
            };
            let of = |document: &serde_json::Map<String, Value>| {
                document.get(key).cloned().unwrap_or(Value::Null)
            };
            differ(&path, &of(old), &of(new), keys);
        }
    } else if before != after {
        keys.push(KeyChange {
            key: path.to_owned(),
            before: before.clone(),
            after: after.clone(),
        });
    }
}

#[cfg(test)]
mod tests {
    use imprint_registrar::Fleet;
    use imprint_registrar::claims::definition::Claim;
    use imprint_registrar::product::Product;

    use super::*;

    #[test]
    fn a_difference_names_the_keys_with_dots_also_those_that_go() {
        let template = |hook: Option<&str>| {
            let hook = hook.map(|url| serde_json::json!({ "url": url }));
            let keys = serde_json::json!({
                "name": "a", "product": "thermo", "body": "{}", "hook": hook,
            });
            serde_json::from_value(keys).unwrap()
        };
        let before = Fleet {
            products: vec![Product::named("thermo")],
            templates: vec![template(Some("https://a.example"))],
            ..Fleet::default()
        };
        let mut after = Fleet {
            products: vec![Product::named("thermo")],
            templates: vec![template(None)],
            claims: vec![Claim::named("line-1", "thermo")],
            ..Fleet::default()
        };
        after.products[0].certificate.lifetime_days = 30;
        after.products[0].allowlist = true;
        let changes = after.difference(&before).unwrap();
        let mut lines = Vec::new();
        for view in changes.iter().map(ChangeView::from) {
            lines.push(format!("{} {} {}", view.object, view.name, view.kind));
            let keys = view.keys.iter();
            lines.extend(keys.map(|key| format!("{} {} {}", key.key, key.before, key.after)));
        }
        assert_eq!(
            lines,
            [
                "product thermo changed",
                "allowlist false true",
                "certificate.lifetime_days 365 30",
                "template a changed",
                "hook {\"on_failure\":\"refuse\",\"url\":\"https://a.example\"} null",
                "claim line-1 new",
                "product \"\" \"thermo\"",
            ]
        );
    }
}
