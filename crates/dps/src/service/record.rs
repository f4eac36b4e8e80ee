//! Records of the service API (the vendor's data-plane specification).

use core::fmt;

use imprint_identity::UnixTime;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Map, Value};
use zeroize::Zeroizing;

use crate::json::{from_base64, to_base64};
use crate::name::RegistrationId;
use crate::refusal::ErrorCode;
use crate::request::{MAX_TPM_KEY, ParseError, json};
use crate::state::{Etag, RegistrationState};

/// One device that may register.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct IndividualEnrollment {
    /// `registrationId`.
    pub registration_id: RegistrationId,
    /// `deviceId`: its name at the hub; the registration id when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device_id: Option<String>,
    /// `registrationState`, which is read and not written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub registration_state: Option<Box<RegistrationState>>,
    /// How it shows who it is.
    pub attestation: Attestation,
    /// What it has in common with groups.
    #[serde(flatten)]
    pub terms: Terms,
}

/// Many devices that may register.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EnrollmentGroup {
    /// `enrollmentGroupId`, named like a device.
    pub enrollment_group_id: RegistrationId,
    /// How they show who they are: by certificates of one CA, or by keys from one key.
    pub attestation: Attestation,
    /// What it has in common with individual enrollments.
    #[serde(flatten)]
    pub terms: Terms,
}

/// What holds for an enrollment of either kind.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Terms {
    /// `capabilities`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub capabilities: Option<Capabilities>,
    /// `iotHubHostName`: the one hub, in the old way of saying it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub iot_hub_host_name: Option<String>,
    /// `initialTwin`: what the hub notes about a device that comes for the first time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub initial_twin: Option<Twin>,
    /// `etag`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub etag: Option<Etag>,
    /// `provisioningStatus`.
    pub provisioning_status: ProvisioningStatus,
    /// `reprovisionPolicy`. Without one, and asked with a version until 2018-04-01, a device stays
    /// with the hub that it has.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reprovision_policy: Option<ReprovisionPolicy>,
    /// `allocationPolicy`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub allocation_policy: Option<AllocationPolicy>,
    /// `iotHubs`: the hubs to choose from; all when empty.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub iot_hubs: Option<Vec<String>>,
    /// `customAllocationDefinition`, of the policy `custom`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub custom_allocation_definition: Option<CustomAllocation>,
    /// `credentialPolicyName`: which certificates are issued, if any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub credential_policy_name: Option<String>,
    /// `createdDateTimeUtc`, which is read and not written.
    #[serde(
        rename = "createdDateTimeUtc",
        with = "crate::time::option",
        skip_serializing_if = "Option::is_none"
    )]
    pub created: Option<UnixTime>,
    /// `lastUpdatedDateTimeUtc`, which is read and not written.
    #[serde(
        rename = "lastUpdatedDateTimeUtc",
        with = "crate::time::option",
        skip_serializing_if = "Option::is_none"
    )]
    pub last_updated: Option<UnixTime>,
}

impl IndividualEnrollment {
    /// Reads the body of a PUT to the path of `id`.
    pub fn parse(id: &RegistrationId, body: &[u8]) -> Result<Self, ParseError> {
        let enrollment: Self = json(body)?;
        if enrollment.registration_id != *id {
            return Err(ParseError::OtherDevice);
        }
        enrollment.attestation.check()?;
        Ok(enrollment)
    }
}

impl EnrollmentGroup {
    /// Reads the body of a PUT to the path of `id`.
    pub fn parse(id: &RegistrationId, body: &[u8]) -> Result<Self, ParseError> {
        let group: Self = json(body)?;
        if group.enrollment_group_id != *id {
            return Err(ParseError::OtherDevice);
        }
        group.attestation.check()?;
        Ok(group)
    }
}

/// `attestation`: how a device shows who it is. `type` says which of the others counts.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Attestation {
    /// `type`.
    #[serde(rename = "type")]
    pub kind: AttestationType,
    /// `tpm`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tpm: Option<TpmKeys>,
    /// `x509`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub x509: Option<X509Attestation>,
    /// `symmetricKey`: empty in what is read, but for the answer to `attestationmechanism`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub symmetric_key: Option<Keys>,
}

impl Attestation {
    /// The same without its keys: what every answer shows but that to `attestationmechanism`.
    #[must_use]
    pub fn without_keys(&self) -> Self {
        Self {
            symmetric_key: self.symmetric_key.as_ref().map(|_| Keys::default()),
            ..self.clone()
        }
    }

    /// Whether what `type` needs is there. Keys may be missing: the server makes them then.
    fn check(&self) -> Result<(), ParseError> {
        let missing = |what| Err(ParseError::Json(format!("attestation.{what} is missing")));
        match self.kind {
            AttestationType::Tpm if self.tpm.is_none() => missing("tpm"),
            AttestationType::X509 if self.x509.is_none() => missing("x509"),
            AttestationType::None => missing("type"),
            _ => Ok(()),
        }
    }
}

/// `attestation.type`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum AttestationType {
    /// None yet.
    #[default]
    None,
    /// By its TPM.
    Tpm,
    /// By a certificate.
    X509,
    /// By a key that both sides have.
    SymmetricKey,
}

/// `attestation.tpm`: `TPM2B_PUBLIC` structures in base64.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TpmKeys {
    /// `endorsementKey`.
    pub endorsement_key: TpmKey,
    /// `storageRootKey`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub storage_root_key: Option<TpmKey>,
}

/// A `TPM2B_PUBLIC`, 1 to [`MAX_TPM_KEY`] bytes, not looked into.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TpmKey(pub Vec<u8>);

/// `attestation.symmetricKey`: the second key is for the time in which the first is changed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Keys {
    /// `primaryKey`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub primary_key: Option<KeyText>,
    /// `secondaryKey`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secondary_key: Option<KeyText>,
}

/// A symmetric key, base64 on the wire, at most 64 bytes; how few are too few is `attest`'s to say.
/// Wiped when dropped; Debug prints its length alone.
#[derive(Clone, PartialEq, Eq)]
pub struct KeyText(Zeroizing<Vec<u8>>);

impl KeyText {
    /// The most bytes of a key.
    pub const MOST: usize = 64;

    /// Keeps a key. `None` if it is empty or longer than 64 bytes.
    #[must_use]
    pub fn new(key: &[u8]) -> Option<Self> {
        (1..=Self::MOST)
            .contains(&key.len())
            .then(|| Self(Zeroizing::new(key.to_vec())))
    }

    /// The bytes, for the one place that needs them.
    #[must_use]
    pub fn expose(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for KeyText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyText({} bytes)", self.0.len())
    }
}

impl Serialize for KeyText {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&Zeroizing::new(to_base64(&self.0)))
    }
}

impl<'de> Deserialize<'de> for KeyText {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = Zeroizing::new(String::deserialize(from)?);
        let key = Zeroizing::new(from_base64(&text).unwrap_or_default());
        Self::new(&key).ok_or_else(|| serde::de::Error::custom("not a key in base64"))
    }
}

impl Serialize for TpmKey {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&to_base64(&self.0))
    }
}

impl<'de> Deserialize<'de> for TpmKey {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let key = from_base64(&String::deserialize(from)?).unwrap_or_default();
        let fits = (1..=MAX_TPM_KEY).contains(&key.len());
        fits.then_some(Self(key))
            .ok_or_else(|| serde::de::Error::custom("not a TPM's key in base64"))
    }
}

/// `attestation.x509`: one of the three counts. Individual enrollments name the device's own
/// certificate, groups the one that signs, or a CA that is registered.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct X509Attestation {
    /// `clientCertificates`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_certificates: Option<X509Certificates>,
    /// `signingCertificates`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub signing_certificates: Option<X509Certificates>,
    /// `caReferences`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca_references: Option<X509CaReferences>,
}

/// A certificate, and the one that will follow it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct X509Certificates {
    /// `primary`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub primary: Option<X509Certificate>,
    /// `secondary`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secondary: Option<X509Certificate>,
}

/// One certificate.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct X509Certificate {
    /// `certificate`: PEM, or base64 of its DER. Written, not read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub certificate: Option<String>,
    /// `info`: what it is in words. Read, not written.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub info: Option<crate::CertificateInfo>,
}

/// Names of CAs that are registered.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct X509CaReferences {
    /// `primary`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub primary: Option<String>,
    /// `secondary`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secondary: Option<String>,
}

/// `capabilities`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Capabilities {
    /// `iotEdge`: the device may speak for others.
    pub iot_edge: bool,
}

/// `provisioningStatus`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum ProvisioningStatus {
    /// It may register.
    #[default]
    Enabled,
    /// It may not, and no group below may let it in either.
    Disabled,
}

/// `reprovisionPolicy`: what becomes of a device that registers again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ReprovisionPolicy {
    /// `updateHubAssignment`: its hub is chosen anew.
    pub update_hub_assignment: bool,
    /// `migrateDeviceData`: what the old hub knows goes along.
    pub migrate_device_data: bool,
}

impl Default for ReprovisionPolicy {
    /// "Re-provision and migrate data", as the vendor has it.
    fn default() -> Self {
        Self {
            update_hub_assignment: true,
            migrate_device_data: true,
        }
    }
}

/// `allocationPolicy`: how a hub is chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum AllocationPolicy {
    /// By a hash, evenly by weight.
    Hashed,
    /// The nearest.
    GeoLatency,
    /// The one that the enrollment names.
    Static,
    /// By asking the fleet's owner.
    Custom,
}

/// `customAllocationDefinition`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CustomAllocation {
    /// `webhookUrl`. It may hold a key of its own, so keep it out of logs.
    pub webhook_url: String,
    /// `apiVersion`, 2018-09-01-preview or later.
    pub api_version: String,
}

/// `initialTwin`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Twin {
    /// `tags`.
    #[serde(skip_serializing_if = "Map::is_empty")]
    pub tags: Map<String, Value>,
    /// `properties`.
    pub properties: TwinProperties,
}

/// `initialTwin.properties`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct TwinProperties {
    /// `desired`.
    pub desired: Map<String, Value>,
}

/// The most records of one bulk operation.
pub const MAX_BULK: usize = 10;

/// Up to [`MAX_BULK`] records at once: `T` is one of the two kinds of enrollment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BulkOperation<T> {
    /// What to do with all of them.
    pub mode: BulkMode,
    /// `enrollments`, or `enrollmentGroups`.
    #[serde(rename = "enrollments", alias = "enrollmentGroups")]
    pub records: Vec<T>,
}

impl<T: DeserializeOwned> BulkOperation<T> {
    /// Reads the body of a bulk operation.
    pub fn parse(body: &[u8]) -> Result<Self, ParseError> {
        let operation: Self = json(body)?;
        match operation.records.len() {
            1..=MAX_BULK => Ok(operation),
            _ => Err(ParseError::Json(format!(
                "one operation takes 1 to {MAX_BULK} enrollments"
            ))),
        }
    }
}

/// `mode` of a bulk operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum BulkMode {
    /// Make new ones.
    Create,
    /// Replace whatever is there.
    Update,
    /// Replace what has the record's `etag`.
    #[serde(rename = "updateIfMatchETag")]
    UpdateIfMatchEtag,
    /// Delete.
    Delete,
}

/// What came of a bulk operation.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BulkResult {
    /// Whether all went well.
    pub is_successful: bool,
    /// What did not.
    pub errors: Vec<BulkStanding>,
}

/// What went wrong with one record of a bulk operation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BulkStanding {
    /// `registrationId`, or the group's id.
    #[serde(alias = "enrollmentGroupId")]
    pub registration_id: RegistrationId,
    /// `errorCode`.
    pub error_code: u32,
    /// `errorStatus`: a sentence.
    pub error_status: String,
}

impl BulkResult {
    /// The result, from whatever went wrong.
    #[must_use]
    pub fn of(errors: Vec<(RegistrationId, ErrorCode, String)>) -> Self {
        let errors = errors
            .into_iter()
            .map(|(registration_id, code, words)| BulkStanding {
                registration_id,
                error_code: code.number(),
                error_status: words,
            });
        let errors: Vec<_> = errors.collect();
        Self {
            is_successful: errors.is_empty(),
            errors,
        }
    }
}

/// What a query asks for: `SELECT * FROM <table>`, and nothing else is understood.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum QueryTable {
    /// `enrollments`.
    Enrollments,
    /// `enrollmentGroups`.
    EnrollmentGroups,
    /// `registrations`.
    Registrations,
}

/// The body of a query.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Query {
    /// `query`: the text.
    pub query: String,
}

impl Query {
    /// Reads the body of a query.
    pub fn parse(body: &[u8]) -> Result<QueryTable, ParseError> {
        let Self { query } = json(body)?;
        let words: Vec<String> = query
            .split_ascii_whitespace()
            .map(str::to_lowercase)
            .collect();
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        match *words.as_slice() {
            ["select", "*", "from", "enrollments"] => Ok(QueryTable::Enrollments),
            ["select", "*", "from", "enrollmentgroups"] => Ok(QueryTable::EnrollmentGroups),
            [
                "select",
                "*",
                "from",
                "registrations" | "deviceregistrations",
            ] => Ok(QueryTable::Registrations),
            _ => Err(ParseError::Json(
                "only SELECT * FROM enrollments and the like is understood".to_owned(),
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn id() -> RegistrationId {
        RegistrationId::new("dev-1").unwrap()
    }

    fn put(record: &Value) -> Result<IndividualEnrollment, ParseError> {
        IndividualEnrollment::parse(&id(), record.to_string().as_bytes())
    }

    #[test]
    fn an_enrollment_has_the_vendors_names() {
        let record = json!({
            "registrationId": "dev-1",
            "deviceId": "thermo-1",
            "attestation": {
                "type": "symmetricKey",
                "symmetricKey": {"primaryKey": "AAEC", "secondaryKey": "AwQF"},
            },
            "capabilities": {"iotEdge": true},
            "iotHubHostName": "hub.example",
            "initialTwin": {"tags": {"room": {"floor": 1}}, "properties": {"desired": {"period": 10}}},
            "etag": "IjEi",
            "provisioningStatus": "disabled",
            "reprovisionPolicy": {"updateHubAssignment": true, "migrateDeviceData": false},
            "allocationPolicy": "geoLatency",
            "iotHubs": ["hub.example"],
            "customAllocationDefinition": {"webhookUrl": "https://hook.example", "apiVersion": "2021-10-01"},
            "createdDateTimeUtc": "2022-08-31T22:02:50.0000000Z",
            "lastUpdatedDateTimeUtc": "2022-08-31T22:02:51.0000000Z",
        });
        let enrollment = put(&record).unwrap();
        assert_eq!(serde_json::to_value(&enrollment).unwrap(), record);
        let keys = enrollment.attestation.symmetric_key.as_ref().unwrap();
        assert_eq!(keys.primary_key.as_ref().unwrap().expose(), [0, 1, 2]);
        assert!(!format!("{enrollment:?}").contains("AAEC"));
        let shown = enrollment.attestation.without_keys();
        assert_eq!(
            serde_json::to_value(shown).unwrap(),
            json!({"type": "symmetricKey", "symmetricKey": {}})
        );
    }

    #[test]
    fn an_enrollment_of_each_kind_is_read() {
        for attestation in [
            json!({"type": "tpm", "tpm": {"endorsementKey": "AAE=", "storageRootKey": "Ag=="}}),
            json!({"type": "tpm", "tpm": {"endorsementKey": "AAE="}}),
            json!({"type": "x509", "x509": {"clientCertificates": {"primary": {"certificate": "-----BEGIN"}}}}),
            json!({"type": "x509", "x509": {"caReferences": {"primary": "root", "secondary": "next"}}}),
            json!({"type": "symmetricKey"}),
        ] {
            let record = json!({"registrationId": "DEV-1", "attestation": attestation, "new": [1]});
            let enrollment = put(&record).unwrap();
            let written = serde_json::to_value(&enrollment.attestation).unwrap();
            assert_eq!(written, record["attestation"]);
            assert_eq!(
                enrollment.terms.provisioning_status,
                ProvisioningStatus::Enabled
            );
        }
        let group = json!({
            "enrollmentGroupId": "dev-1",
            "attestation": {"type": "x509", "x509": {"signingCertificates": {"primary": {"certificate": "x"}}}},
            "reprovisionPolicy": {},
        });
        let group = EnrollmentGroup::parse(&id(), group.to_string().as_bytes()).unwrap();
        assert_eq!(
            group.terms.reprovision_policy,
            Some(ReprovisionPolicy::default())
        );
    }

    #[test]
    fn what_is_no_enrollment_is_refused() {
        let key = json!({"type": "symmetricKey"});
        let long = to_base64(&[0; 65]);
        for record in [
            json!({}),
            json!({"registrationId": "dev-1"}),
            json!({"attestation": key}),
            json!({"registrationId": "dev-1", "attestation": {}}),
            json!({"registrationId": "dev-1", "attestation": {"type": "none"}}),
            json!({"registrationId": "dev-1", "attestation": {"type": "new"}}),
            json!({"registrationId": "dev-1", "attestation": {"type": "tpm"}}),
            json!({"registrationId": "dev-1", "attestation": {"type": "tpm", "tpm": {"endorsementKey": ""}}}),
            json!({"registrationId": "dev-1", "attestation": {"type": "x509"}}),
            json!({"registrationId": "dev-1", "attestation": {"type": "symmetricKey", "symmetricKey": {"primaryKey": ""}}}),
            json!({"registrationId": "dev-1", "attestation": {"type": "symmetricKey", "symmetricKey": {"primaryKey": "*"}}}),
            json!({"registrationId": "dev-1", "attestation": {"type": "symmetricKey", "symmetricKey": {"primaryKey": long}}}),
            json!({"registrationId": "dev-1", "attestation": key, "provisioningStatus": "perhaps"}),
            json!({"registrationId": "dev-1", "attestation": key, "allocationPolicy": "perhaps"}),
        ] {
            assert!(matches!(put(&record), Err(ParseError::Json(_))), "{record}");
        }
        let other = json!({"registrationId": "dev-2", "attestation": key});
        assert_eq!(put(&other), Err(ParseError::OtherDevice));
    }

    #[test]
    fn a_bulk_operation_takes_ten_at_most() {
        let one = json!({"registrationId": "dev-1", "attestation": {"type": "symmetricKey"}});
        for (mode, want) in [
            ("create", BulkMode::Create),
            ("update", BulkMode::Update),
            ("updateIfMatchETag", BulkMode::UpdateIfMatchEtag),
            ("delete", BulkMode::Delete),
        ] {
            let body = json!({"mode": mode, "enrollments": [one]}).to_string();
            let operation: BulkOperation<IndividualEnrollment> =
                BulkOperation::parse(body.as_bytes()).unwrap();
            assert_eq!((operation.mode, operation.records.len()), (want, 1));
        }
        for count in [0, 11] {
            let body = json!({"mode": "create", "enrollments": vec![one.clone(); count]});
            let got = BulkOperation::<IndividualEnrollment>::parse(body.to_string().as_bytes());
            assert!(matches!(got, Err(ParseError::Json(_))), "{count}");
        }
        let result = BulkResult::of(vec![(id(), ErrorCode::Conflict, "there".into())]);
        assert_eq!(
            serde_json::to_value(result).unwrap(),
            json!({"isSuccessful": false, "errors": [
                {"registrationId": "dev-1", "errorCode": 409_004, "errorStatus": "there"},
            ]})
        );
        assert!(BulkResult::of(Vec::new()).is_successful);
    }

    #[test]
    fn a_query_asks_for_everything() {
        for (query, want) in [
            ("SELECT * FROM enrollments", Some(QueryTable::Enrollments)),
            (
                "select  *  from enrollmentGroups",
                Some(QueryTable::EnrollmentGroups),
            ),
            (
                "SELECT * FROM Registrations",
                Some(QueryTable::Registrations),
            ),
            ("", None),
            ("SELECT * FROM enrollments WHERE 1=1", None),
            ("SELECT * FROM tokens", None),
            ("DROP TABLE enrollments", None),
        ] {
            let body = json!({"query": query}).to_string();
            assert_eq!(Query::parse(body.as_bytes()).ok(), want, "{query}");
        }
    }
}
