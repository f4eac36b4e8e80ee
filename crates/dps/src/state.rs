//! What is on record about a device's registration, as devices are told.

use core::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use imprint_identity::UnixTime;
use serde::{Deserialize, Serialize};

use crate::json::Payload;
use crate::name::RegistrationId;

/// `registrationState`, also called `DeviceRegistrationResult`: the answer to a register that has
/// come to an end, and to a lookup. Readers take it with anything but `status` missing.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct RegistrationState {
    /// `registrationId`: as the device wrote it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub registration_id: Option<RegistrationId>,
    /// `createdDateTimeUtc`.
    #[serde(
        rename = "createdDateTimeUtc",
        with = "crate::time::option",
        skip_serializing_if = "Option::is_none"
    )]
    pub created: Option<UnixTime>,
    /// `assignedHub`: the host that the device belongs to from now on, without a port.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub assigned_hub: Option<String>,
    /// `deviceId`: its name there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub device_id: Option<String>,
    /// `status`.
    pub status: Status,
    /// `substatus`, of what is assigned.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub substatus: Option<Substatus>,
    /// `lastUpdatedDateTimeUtc`.
    #[serde(
        rename = "lastUpdatedDateTimeUtc",
        with = "crate::time::option",
        skip_serializing_if = "Option::is_none"
    )]
    pub last_updated: Option<UnixTime>,
    /// `etag`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub etag: Option<Etag>,
    /// `payload`: what the fleet's owner tells the device.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub payload: Option<Payload>,
    /// `tpm`, for a device that has shown one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tpm: Option<TpmResult>,
    /// `x509`, for a device that has shown a certificate.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub x509: Option<X509Result>,
    /// `symmetricKey`, for a device that has shown a key of a group.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub symmetric_key: Option<SymmetricKeyResult>,
    /// `errorCode`: six digits, of what has failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error_code: Option<u32>,
    /// `errorMessage`, of what has failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error_message: Option<String>,
    /// `issuedCertificateChain`: DER, the device's certificate first, the root last. Never in the
    /// answer to a lookup.
    #[serde(
        with = "crate::json::base64_list",
        skip_serializing_if = "Option::is_none"
    )]
    pub issued_certificate_chain: Option<Vec<Vec<u8>>>,
}

/// How far a registration is. What the device is told at the end is `assigned` or `failed`: two of
/// the SDKs stumble over `disabled`, which stands in what operators read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Status {
    /// Known, and has not come yet.
    #[default]
    Unassigned,
    /// On its way.
    Assigning,
    /// It has a hub.
    Assigned,
    /// It has none, and the reason is `errorCode`.
    Failed,
    /// Somebody has shut it out. The oldest SDK knows this as `blacklisted`.
    #[serde(alias = "blacklisted")]
    Disabled,
}

/// How a device came to its hub.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Substatus {
    /// For the first time.
    InitialAssignment,
    /// From another hub, with its data.
    DeviceDataMigrated,
    /// From another hub, without.
    DeviceDataReset,
    /// To the same hub, as if for the first time.
    ReprovisionedToInitialAssignment,
}

/// `tpm` of a registration.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TpmResult {
    /// `authenticationKey`: a key for the hub that this TPM alone can open.
    #[serde(default, with = "crate::json::base64_text")]
    pub authentication_key: Vec<u8>,
}

/// `x509` of a registration.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct X509Result {
    /// `enrollmentGroupId`, unless the device is enrolled by its own name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enrollment_group_id: Option<String>,
    /// `certificateInfo`: the certificate that it has shown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate_info: Option<CertificateInfo>,
    /// `signingCertificateInfo`: the certificate of the group, which has signed that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signing_certificate_info: Option<CertificateInfo>,
}

/// A certificate in words.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct CertificateInfo {
    /// `subjectName`: `CN=...`.
    pub subject_name: String,
    /// `sha1Thumbprint`: 40 hexadecimal digits in upper case.
    pub sha1_thumbprint: String,
    /// `sha256Thumbprint`: 64 hexadecimal digits in upper case.
    pub sha256_thumbprint: String,
    /// `issuerName`: `CN=...`.
    pub issuer_name: String,
    /// `notBeforeUtc`.
    #[serde(
        rename = "notBeforeUtc",
        with = "crate::time::option",
        skip_serializing_if = "Option::is_none"
    )]
    pub not_before: Option<UnixTime>,
    /// `notAfterUtc`.
    #[serde(
        rename = "notAfterUtc",
        with = "crate::time::option",
        skip_serializing_if = "Option::is_none"
    )]
    pub not_after: Option<UnixTime>,
    /// `serialNumber`: hexadecimal digits in upper case.
    pub serial_number: String,
    /// `version`: 3.
    pub version: u8,
}

/// `symmetricKey` of a registration.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SymmetricKeyResult {
    /// `enrollmentGroupId`, unless the device is enrolled by its own name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enrollment_group_id: Option<String>,
}

/// `etag`: which version of a record this is. On the wire it is the base64 of a text in quotation
/// marks.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Etag(String);

impl Etag {
    /// The tag of what `revision` names: a counter, a hash.
    #[must_use]
    pub fn of(revision: impl fmt::Display) -> Self {
        Self(STANDARD.encode(format!("\"{revision}\"")))
    }

    /// As it stands on the wire.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether an `If-Match` header means this version: `*`, or a list with the tag in it. SDKs send
    /// the tag in quotation marks, without them, or what its base64 stands for.
    #[must_use]
    pub fn is_meant_by(&self, if_match: &str) -> bool {
        let inner = STANDARD.decode(&self.0).unwrap_or_default();
        let is_this = |one: &str| {
            let one = one.trim();
            let bare = one.strip_prefix('"').and_then(|one| one.strip_suffix('"'));
            one == "*" || bare.unwrap_or(one) == self.0 || one.as_bytes() == inner
        };
        if_match.split(',').any(is_this)
    }
}

impl fmt::Display for Etag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(crate) fn full() -> RegistrationState {
        RegistrationState {
            registration_id: RegistrationId::new("dev-1").ok(),
            created: Some(UnixTime(1_661_983_370)),
            assigned_hub: Some("hub.example".into()),
            device_id: Some("dev-1".into()),
            status: Status::Assigned,
            substatus: Some(Substatus::InitialAssignment),
            last_updated: Some(UnixTime(1_661_983_371)),
            etag: Some(Etag::of("7")),
            payload: Payload::parse("{\"a\":[1]}"),
            tpm: Some(TpmResult {
                authentication_key: vec![1, 2],
            }),
            x509: Some(X509Result {
                enrollment_group_id: Some("g".into()),
                certificate_info: Some(CertificateInfo {
                    subject_name: "CN=dev-1".into(),
                    version: 3,
                    not_after: Some(UnixTime(0)),
                    ..CertificateInfo::default()
                }),
                signing_certificate_info: None,
            }),
            symmetric_key: Some(SymmetricKeyResult {
                enrollment_group_id: Some("g".into()),
            }),
            error_code: Some(400_208),
            error_message: Some("none".into()),
            issued_certificate_chain: Some(vec![vec![0x30, 0]]),
        }
    }

    #[test]
    fn a_state_has_the_vendors_names() {
        let json = serde_json::to_string(&full()).unwrap();
        assert_eq!(
            json,
            "{\"registrationId\":\"dev-1\",\"createdDateTimeUtc\":\"2022-08-31T22:02:50.0000000Z\",\
             \"assignedHub\":\"hub.example\",\"deviceId\":\"dev-1\",\"status\":\"assigned\",\
             \"substatus\":\"initialAssignment\",\
             \"lastUpdatedDateTimeUtc\":\"2022-08-31T22:02:51.0000000Z\",\"etag\":\"Ijci\",\
             \"payload\":{\"a\":[1]},\"tpm\":{\"authenticationKey\":\"AQI=\"},\
             \"x509\":{\"enrollmentGroupId\":\"g\",\"certificateInfo\":{\"subjectName\":\"CN=dev-1\",\
             \"sha1Thumbprint\":\"\",\"sha256Thumbprint\":\"\",\"issuerName\":\"\",\
             \"notAfterUtc\":\"1970-01-01T00:00:00.0000000Z\",\"serialNumber\":\"\",\"version\":3}},\
             \"symmetricKey\":{\"enrollmentGroupId\":\"g\"},\"errorCode\":400208,\
             \"errorMessage\":\"none\",\"issuedCertificateChain\":[\"MAA=\"]}"
        );
        assert_eq!(
            serde_json::from_str::<RegistrationState>(&json).unwrap(),
            full()
        );
        let least = serde_json::to_string(&RegistrationState::default()).unwrap();
        assert_eq!(least, "{\"status\":\"unassigned\"}");
    }

    #[test]
    fn states_of_the_vendors_own_service_are_read() {
        for (json, want) in [
            ("{}", Status::Unassigned),
            (r#"{"status":"assigning","new":1}"#, Status::Assigning),
            (r#"{"status":"blacklisted"}"#, Status::Disabled),
            (
                r#"{"status":"disabled","payload":null,"tpm":null,"errorCode":null}"#,
                Status::Disabled,
            ),
            (
                r#"{"status":"failed","errorCode":400209,"errorMessage":"x"}"#,
                Status::Failed,
            ),
            (
                r#"{"status":"assigned","createdDateTimeUtc":"2022-08-31T22:02:50.5163352Z"}"#,
                Status::Assigned,
            ),
        ] {
            let state: RegistrationState = serde_json::from_str(json).unwrap();
            assert_eq!(state.status, want, "{json}");
        }
        for json in [
            r#"{"status":"new"}"#,
            r#"{"status":"assigned","createdDateTimeUtc":"today"}"#,
            r#"{"status":"assigned","registrationId":"a/b"}"#,
            r#"{"status":"assigned","issuedCertificateChain":["*"]}"#,
        ] {
            assert!(
                serde_json::from_str::<RegistrationState>(json).is_err(),
                "{json}"
            );
        }
    }

    #[test]
    fn an_etag_is_the_base64_of_a_text_in_quotation_marks() {
        let etag = Etag::of("4f00fdde-0000");
        assert_eq!(etag.as_str(), "IjRmMDBmZGRlLTAwMDAi");
        for if_match in [
            "*",
            "IjRmMDBmZGRlLTAwMDAi",
            "\"IjRmMDBmZGRlLTAwMDAi\"",
            "\"4f00fdde-0000\"",
            "\"x\", \"IjRmMDBmZGRlLTAwMDAi\"",
        ] {
            assert!(etag.is_meant_by(if_match), "{if_match}");
        }
        for if_match in [
            "",
            "x",
            "\"",
            "\"\"",
            "4f00fdde-0000",
            "W/\"IjRmMDBmZGRlLTAwMDAi\"",
        ] {
            assert!(!etag.is_meant_by(if_match), "{if_match}");
        }
    }
}
