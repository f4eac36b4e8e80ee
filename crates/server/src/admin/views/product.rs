//! Products.
//!
//! The same keys as in the fleet file; `a_view_says_what_the_product_says` below keeps them so.

use std::collections::BTreeMap;

use imprint_registrar::product::Product;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A product line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ProductView {
    /// Its name, which is also its EST label.
    #[schema(example = "thermo")]
    pub name: String,
    /// The rule for the names of its devices.
    #[schema(example = "{product}-{hardware}")]
    pub naming: String,
    /// The issuing authority that signs for its devices; null for the server's first.
    pub ca: Option<String>,
    /// The doors by which newcomers are taken in: `est`, `claim`, `just-in-time`, ...; null for every
    /// door that there is.
    pub doors: Option<Vec<String>>,
    /// Whether only hardware on the allowlist may enroll.
    pub allowlist: bool,
    /// What the value of a hardware id looks like, as a regular expression that has to fit all of it;
    /// null for anything.
    pub serial_pattern: Option<String>,
    /// Whether an operator must approve each new device and key.
    pub approval: bool,
    /// The least proof of hardware identity that is accepted.
    pub minimum_strength: String,
    /// The authorities of makers of TPMs whose word is taken for an endorsement key, PEM each.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tpm_makers: Vec<String>,
    /// So many days past its end a bootstrap credential is still heard.
    pub bootstrap_grace_days: u32,
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
    /// The groups that each of its devices is in.
    pub groups: Vec<String>,
    /// The attributes that each of its devices has.
    pub attributes: BTreeMap<String, String>,
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
}

impl TryFrom<&Product> for ProductView {
    type Error = serde_json::Error;

    fn try_from(product: &Product) -> Result<Self, serde_json::Error> {
        serde_json::to_value(product).and_then(serde_json::from_value)
    }
}

#[cfg(test)]
mod tests {
    use imprint_registrar::Door;

    use super::*;

    #[test]
    fn a_view_says_what_the_product_says() {
        let mut product = Product::named("thermo");
        product.groups = vec!["a".into(), "b".into()];
        product.attributes = [("site".into(), "north".into())].into();
        product.doors = Some(Door::ALL.to_vec());
        product.serial_pattern = Some("[0-9]+".into());
        product.ca = Some("issuing".into());
        product.bootstrap_grace_days = 30;
        product.tpm_makers = vec!["pem".into()];
        product.certificate.dns = "{device}.devices.example".into();
        let view = ProductView::try_from(&product).unwrap();
        assert_eq!(
            serde_json::to_value(&view).unwrap(),
            serde_json::to_value(&product).unwrap()
        );
    }
}
