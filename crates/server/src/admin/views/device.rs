//! Devices and their certificates.

use std::collections::BTreeMap;

use imprint_identity::UnixTime;
use imprint_pkix::pem;
use imprint_registrar::ledger::{
    CertificateRecord, DeviceFile, DeviceRecord, RefusalSample, Report,
};
use imprint_registrar::why::Why;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{RegistrationView, TokenView, moment};

/// A device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DeviceView {
    /// Its name in the fleet.
    #[schema(example = "thermo-stm32-0123456789abcdef01234567")]
    pub id: String,
    /// Its product.
    pub product: String,
    /// Its hardware, `source:value`.
    pub hardware: String,
    /// How strongly the hardware was proven: `asserted`, `silicon-id`, ...
    pub strength: String,
    /// Where it stands with the fleet: `pending`, `active`, `held`, `quarantined`, `revoked`,
    /// `decommissioned`.
    pub state: String,
    /// Where it stands on its way: `UNPROVISIONED` to `PROVISIONED`, or `QUARANTINE`.
    pub step: String,
    /// Whether the next enrollment may replace its key.
    pub released: bool,
    /// Why it is quarantined, revoked or decommissioned.
    pub reason: Option<String>,
    /// When it was first heard of.
    pub created_at: String,
    /// When anything here last changed.
    pub updated_at: String,
}

impl From<&DeviceRecord> for DeviceView {
    fn from(record: &DeviceRecord) -> Self {
        Self {
            id: record.id.to_string(),
            product: record.product.clone(),
            hardware: record.hardware.to_string(),
            strength: record.strength.name().to_owned(),
            state: record.state.to_string(),
            step: record.step.name().to_owned(),
            released: record.released,
            reason: record.reason.clone(),
            created_at: moment(record.created_at),
            updated_at: moment(record.updated_at),
        }
    }
}

/// A device and everything about it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DeviceFileView {
    /// The device.
    #[serde(flatten)]
    pub device: DeviceView,
    /// The groups that it is in, by its product and by the thing that a template made of it.
    pub groups: Vec<String>,
    /// Its attributes, by its product and by the thing that a template made of it.
    pub attributes: BTreeMap<String, String>,
    /// Its certificates, newest first.
    pub certificates: Vec<CertificateView>,
    /// The keys that wait for approval.
    pub waiting: Vec<WaitingView>,
    /// What it said about itself, newest first. It changes no state.
    pub reports: Vec<ReportView>,
    /// What it was refused, newest first.
    pub refusals: Vec<RefusalView>,
    /// The token that serves it, if one does.
    pub token: Option<TokenView>,
    /// What it was registered by, where an entry did it.
    pub registration: Option<RegistrationView>,
}

impl DeviceFileView {
    pub(in super::super) fn new(file: &DeviceFile, now: UnixTime) -> Self {
        let waiting = file.waiting.iter().map(|(key, since)| WaitingView {
            key: key.to_string(),
            since: moment(*since),
        });
        let values = file.thing.as_ref().map(|thing| &thing.values);
        let own = values.cloned().unwrap_or_default();
        Self {
            device: DeviceView::from(&file.device),
            groups: file.given.groups_with(&own.groups),
            attributes: file.given.attributes_with(&own.attributes),
            certificates: file
                .certificates
                .iter()
                .map(CertificateView::from)
                .collect(),
            waiting: waiting.collect(),
            reports: file.reports.iter().map(ReportView::from).collect(),
            refusals: file.refusals.iter().map(RefusalView::from).collect(),
            token: file.token.as_ref().map(|token| TokenView::new(token, now)),
            registration: file.registration.as_ref().map(RegistrationView::from),
        }
    }
}

/// A certificate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct CertificateView {
    /// Its serial number, 40 hex digits.
    pub serial: String,
    /// The authority that issues it.
    pub issuer: String,
    /// How it came to be: `enrolled`, `renewed`, `by-hand`, `adopted`.
    pub origin: String,
    /// Where it stands: `intended`, `issued`, `active`, `superseded`, `revoked`, `void`.
    pub state: String,
    /// SHA-256 over its SubjectPublicKeyInfo, hex.
    pub key: String,
    /// First second of validity.
    pub not_before: String,
    /// Last second of validity; `9999-12-31T23:59:59Z` for no expiry.
    pub not_after: String,
    /// When it was written down, before it was signed.
    pub intended_at: String,
    /// When its signature was kept.
    pub settled_at: Option<String>,
    /// When the device first showed it.
    pub verified_at: Option<String>,
    /// When it was revoked.
    pub revoked_at: Option<String>,
    /// Why it was revoked.
    pub revocation_reason: Option<String>,
    /// The certificate, once it is signed.
    pub pem: Option<String>,
}

impl From<&CertificateRecord> for CertificateView {
    fn from(record: &CertificateRecord) -> Self {
        Self {
            serial: record.serial.to_string(),
            issuer: record.issuer.clone(),
            origin: record.origin.to_string(),
            state: record.state.to_string(),
            key: record.subject_key.to_string(),
            not_before: moment(record.not_before),
            not_after: moment(record.not_after),
            intended_at: moment(record.intended_at),
            settled_at: record.settled_at.map(moment),
            verified_at: record.verified_at.map(moment),
            revoked_at: record.revoked.map(|(at, _)| moment(at)),
            revocation_reason: record.revoked.map(|(_, reason)| reason.to_string()),
            pem: record
                .der
                .as_deref()
                .map(|der| pem::encode(pem::CERTIFICATE, der)),
        }
    }
}

/// A key that waits for an operator.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct WaitingView {
    /// SHA-256 over its SubjectPublicKeyInfo, hex.
    pub key: String,
    /// Since when.
    pub since: String,
}

/// What a device said about itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ReportView {
    /// When it arrived.
    pub at: String,
    /// The step at which the device stands.
    pub step: String,
    /// What stopped it.
    pub code: String,
    /// How often.
    pub attempts: u32,
    /// From where it came.
    pub address: String,
}

impl From<&Report> for ReportView {
    fn from(report: &Report) -> Self {
        Self {
            at: moment(report.at),
            step: report.step.name().to_owned(),
            code: report.code.clone(),
            attempts: report.attempts,
            address: report.address.clone(),
        }
    }
}

/// A refusal, as a sample of many.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RefusalView {
    /// When the last one was.
    pub at: String,
    /// The catalogue's word.
    pub code: String,
    /// The step.
    pub step: String,
    /// The particulars.
    pub detail: String,
    /// From where.
    pub address: String,
    /// What was shown: a token's id or a serial number.
    pub credential: String,
    /// How many this stands for.
    pub count: u32,
}

impl From<&RefusalSample> for RefusalView {
    fn from(sample: &RefusalSample) -> Self {
        Self {
            at: moment(sample.at),
            code: sample.code.clone(),
            step: sample.step.name().to_owned(),
            detail: sample.detail.clone(),
            address: sample.address.clone(),
            credential: sample.credential.clone(),
            count: sample.count,
        }
    }
}

/// Approves the key that waits.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Approval {
    /// Which key, when several wait: SHA-256 over its SubjectPublicKeyInfo, hex.
    #[serde(default)]
    pub key: Option<String>,
}

/// Why something is done, in the operator's words.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Reason {
    /// At most 256 characters; may be empty.
    #[serde(default)]
    pub reason: String,
}

/// Takes a device back into the fleet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Release {
    /// End its quarantine and allow no new key.
    #[serde(default)]
    pub keep_key: bool,
}

/// Revokes every live certificate of a device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Revocation {
    /// For the revocation list (RFC 5280 section 5.3.1): `unspecified`, `key-compromise`,
    /// `superseded`, `cessation-of-operation`, `privilege-withdrawn`.
    pub reason: String,
    /// Why, in words; at most 256 characters.
    pub note: String,
}

impl Default for Revocation {
    fn default() -> Self {
        Self {
            reason: "unspecified".to_owned(),
            note: String::new(),
        }
    }
}

/// Issues a certificate from a request that came by hand.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Issue {
    /// In which product.
    pub product: String,
    /// For which hardware.
    pub hardware: String,
    /// The PKCS#10 request: PEM, or DER in base64.
    pub csr: String,
}

/// A certificate that was issued by hand.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct IssuedView {
    /// Whose.
    pub device: String,
    /// In which product.
    pub product: String,
    /// Whether this had been answered before: the same key gets the same certificate.
    pub again: bool,
    /// The certificate, PEM.
    pub certificate: String,
    /// What is above it, root last, PEM.
    pub chain: String,
}

/// Takes a certificate of ours into the registry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Adoption {
    /// Into which product.
    pub product: String,
    /// For which hardware; may be left out where the certificate names it.
    #[serde(default)]
    pub hardware: Option<String>,
    /// The certificate: PEM, or DER in base64.
    pub certificate: String,
}

/// Why a device is where it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct WhyView {
    /// The device's name, or what was asked about.
    pub device: String,
    /// Where it stands with the fleet; nothing while it is not on record.
    pub state: Option<String>,
    /// Where it stands on its way.
    pub step: String,
    /// The refusal's or state's word.
    pub code: String,
    /// The cause, in one sentence.
    pub cause: String,
    /// What that rests on, newest first: times, addresses, credential ids.
    pub evidence: Vec<String>,
    /// What to do.
    pub advice: Vec<String>,
}

impl From<Why> for WhyView {
    fn from(why: Why) -> Self {
        Self {
            device: why.subject,
            state: why.state.map(|state| state.to_string()),
            step: why.step.name().to_owned(),
            code: why.code,
            cause: why.cause,
            evidence: why.evidence,
            advice: why.advice,
        }
    }
}
