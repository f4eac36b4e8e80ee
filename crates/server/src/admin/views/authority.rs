//! The server and its authorities.

use imprint_registrar::ledger::CrlRecord;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::moment;

/// The server, as a whole.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct StatusView {
    /// The program's version.
    pub version: String,
    /// The server's clock.
    pub time: String,
    /// The name of the authority that signs.
    pub issuing: String,
    /// The URL that certificates point to for revocation lists, if they point anywhere.
    pub public_http: Option<String>,
    /// The names of the products.
    pub products: Vec<String>,
    /// The id scope under which devices register with Azure's SDKs.
    #[schema(example = "0ne0A1B2C3D")]
    pub id_scope: String,
    /// The host to which those are sent.
    pub hub: String,
    /// What an operator should know, in sentences.
    pub warnings: Vec<String>,
}

/// An authority.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AuthorityView {
    /// Its name in `/ca/<name>.crt` and `/crl/<name>.crl`.
    pub name: String,
    /// `issuing`, `recognised` or `above`.
    pub role: String,
    /// Its common name.
    pub subject: String,
    /// Its serial number, hex.
    pub serial: String,
    /// The kind of its key.
    pub key: String,
    /// First second of validity.
    pub not_before: String,
    /// Last second of validity.
    pub not_after: String,
    /// The length of its certificate in DER.
    pub bytes: u64,
    /// SHA-256 over its certificate, hex.
    pub sha256: String,
    /// Its revocation list, if one is on record.
    pub crl: Option<CrlView>,
    /// Its certificate, PEM.
    pub pem: String,
}

/// A revocation list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct CrlView {
    /// The authority that issued it.
    pub issuer: String,
    /// Its number.
    pub number: u64,
    /// When it was made.
    pub this_update: String,
    /// When the next one is out at the latest.
    pub next_update: String,
    /// Its length in DER.
    pub bytes: u64,
}

impl From<&CrlRecord> for CrlView {
    fn from(record: &CrlRecord) -> Self {
        Self {
            issuer: record.issuer.clone(),
            number: record.number,
            this_update: moment(record.this_update),
            next_update: moment(record.next_update),
            bytes: record.der.len() as u64,
        }
    }
}

/// Makes revocation lists anew.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CrlRenewal {
    /// Also those that are not due.
    #[serde(default)]
    pub force: bool,
}
