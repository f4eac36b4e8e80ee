//! Claims, templates, registered CAs and things.
//!
//! What an operator writes down has the same keys as in the fleet file; the tests below keep it so.

use std::collections::BTreeMap;

use imprint_identity::UnixTime;
use imprint_registrar::claims::definition::Template;
use imprint_registrar::ledger::{
    AuthorityRecord, ClaimCertificate, ClaimCertificateState, ClaimRecord, ThingRecord,
};
use imprint_registrar::registry::Named;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::moment;

/// What a claim may.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ClaimDefinitionView {
    /// Its name.
    #[schema(example = "line-1")]
    pub name: String,
    /// The product whose devices it provisions.
    pub product: String,
    /// The templates that it may use; none means all of its product.
    #[serde(default)]
    pub templates: Vec<String>,
    /// Whether only hardware on the product's allowlist may register.
    #[serde(default)]
    pub allowlist: bool,
    /// So many days past its end a claim certificate is still heard.
    #[serde(default)]
    pub bootstrap_grace_days: u32,
    /// How much it may be used, and what freezes it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limits: Option<ClaimLimitsView>,
}

/// How much a claim may be used, and what freezes it. 0 means no limit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ClaimLimitsView {
    /// Devices that may be registered with it, over all its life.
    pub total: u64,
    /// New certificates a minute, and registrations a minute.
    pub per_minute: u32,
    /// Certificates that wait for their registration at one time, beyond one for each hardware id on the
    /// allowlist and each device that was registered since yesterday.
    pub pending: u32,
    /// Keys that were certified and never registered since yesterday that freeze it, beyond the same.
    pub unregistered: u32,
    /// Different hardware ids off the allowlist that freeze it.
    pub unknown_hardware: u32,
    /// Different hardware ids with two keys, the first of them in use, that freeze it.
    pub two_keys: u32,
    /// The registrations that are expected within an hour: none, one number, or 24.
    pub expected_per_hour: Vec<u32>,
}

/// A claim: the right to provision devices by a shared certificate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ClaimView {
    /// What it may.
    #[serde(flatten)]
    pub definition: ClaimDefinitionView,
    /// Where it stands: `active`, `frozen`, `revoked`.
    pub state: String,
    /// Why it is frozen or revoked, in one sentence.
    pub reason: Option<String>,
    /// Devices registered with it, ever.
    pub granted: u64,
    /// Certificates of it that wait for their registration.
    pub waiting: u32,
    /// Different hardware ids off the allowlist that have asked, since it was last thawed.
    pub unknown_hardware: u32,
    /// Different hardware ids for which a second key asked, since it was last thawed.
    pub two_keys: u32,
    /// Different keys, or devices that waited for an operator, that were certified and never registered,
    /// since it was last thawed. Not counted where `limits.unregistered` is 0.
    pub unregistered: u32,
    /// Its certificates, newest first, at most 32.
    pub certificates: Vec<ClaimCertificateView>,
    /// When it was first written down.
    pub created_at: String,
    /// When its definition or state last changed.
    pub updated_at: String,
}

impl ClaimView {
    pub(in super::super) fn new(
        record: &ClaimRecord,
        now: UnixTime,
    ) -> Result<Self, serde_json::Error> {
        let certificates = record.certificates.iter();
        Ok(Self {
            definition: serde_json::from_value(serde_json::to_value(&record.claim)?)?,
            state: record.state.to_string(),
            reason: record.reason.clone(),
            granted: record.granted,
            waiting: record.pending,
            unknown_hardware: record.unknown_hardware,
            two_keys: record.two_keys,
            unregistered: record.unregistered,
            certificates: certificates
                .map(|certificate| ClaimCertificateView::new(certificate, now))
                .collect(),
            created_at: moment(record.created_at),
            updated_at: moment(record.updated_at),
        })
    }
}

/// One certificate of a claim.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ClaimCertificateView {
    /// SHA-256 of it, hex; nothing until it is signed.
    pub fingerprint: Option<String>,
    /// Its serial number, hex, if it was issued here.
    pub serial: Option<String>,
    /// Where it stands: `intended`, `active`, `expired`, `revoked`.
    pub state: String,
    /// From when it is good.
    pub not_before: String,
    /// Until when, without the claim's grace.
    pub not_after: String,
    /// When it came on record.
    pub at: String,
}

impl ClaimCertificateView {
    fn new(certificate: &ClaimCertificate, now: UnixTime) -> Self {
        let ended =
            certificate.state == ClaimCertificateState::Active && certificate.not_after < now;
        Self {
            fingerprint: certificate.fingerprint.map(|one| one.to_string()),
            serial: certificate.serial.map(|serial| serial.to_string()),
            state: if ended {
                "expired".to_owned()
            } else {
                certificate.state.to_string()
            },
            not_before: moment(certificate.not_before),
            not_after: moment(certificate.not_after),
            at: moment(certificate.at),
        }
    }
}

/// A certificate for a claim is asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ClaimCertificateOrder {
    /// The PKCS#10 request, PEM, or DER in base64. What it asks for besides its key is not looked at.
    pub csr: String,
    /// For how long; a year unless told, and never beyond the issuing authority's end.
    #[serde(default)]
    pub expires_in_seconds: Option<i64>,
}

/// A claim's new certificate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ClaimIssuedView {
    /// The claim.
    pub claim: String,
    /// SHA-256 of it, hex.
    pub fingerprint: String,
    /// Until when it is good.
    pub not_after: String,
    /// The certificate, PEM.
    pub certificate: String,
    /// What is above it, PEM, the issuer first, the root last: devices trust the last one.
    pub chain: Vec<String>,
}

/// A claim certificate that somebody else issued is taken in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ClaimCertificateAdoption {
    /// The certificate, PEM, or DER in base64.
    pub certificate: String,
}

/// A claim is ended, or one of its certificates.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ClaimRevocation {
    /// Why, in words: at most 256 characters.
    #[serde(default)]
    pub reason: String,
    /// Only the certificate of this fingerprint; left out: the claim with all of them.
    #[serde(default)]
    pub certificate: Option<String>,
}

/// A provisioning template.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TemplateView {
    /// Its name.
    pub name: String,
    /// The product of the devices that it makes.
    pub product: String,
    /// For people.
    #[serde(default)]
    pub description: String,
    /// Whether it may be used now.
    #[serde(default = "yes")]
    pub enabled: bool,
    /// The document, JSON as text.
    pub body: String,
    /// The parameter whose value is the device's hardware id.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub hardware: String,
    /// Whether groups, types and policies that it names are added when a device comes.
    #[serde(default)]
    pub create_missing: bool,
    /// Who is asked before a device is registered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hook: Option<HookView>,
}

/// A pre-provisioning hook.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct HookView {
    /// Where it is asked.
    pub url: String,
    /// What is done when it does not answer as it should: `refuse`, `allow`.
    pub on_failure: String,
}

impl TryFrom<&Template> for TemplateView {
    type Error = serde_json::Error;

    fn try_from(template: &Template) -> Result<Self, serde_json::Error> {
        serde_json::to_value(template).and_then(serde_json::from_value)
    }
}

/// A document is to be checked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TemplateCheck {
    /// The document, JSON as text.
    pub body: String,
}

/// What can be said of a document in the template language.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
pub struct TemplateReportView {
    /// Whether it can be used at all.
    pub sound: bool,
    /// Why it can't be read.
    pub fault: Option<TemplateFaultView>,
    /// Why it can't be used by devices that come by a claim.
    pub not_by_claim: Option<TemplateFaultView>,
    /// Why it can't be used for devices that come just in time.
    pub not_just_in_time: Option<TemplateFaultView>,
    /// What it declares, in alphabetical order.
    pub parameters: Vec<TemplateParameterView>,
}

/// What is wrong with a document, and where.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TemplateFaultView {
    /// From 1.
    pub line: u32,
    /// In characters, from 1.
    pub column: u32,
    /// How one gets there from the top; empty at the top.
    pub path: String,
    /// What is wrong.
    pub message: String,
}

/// A parameter of a template.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TemplateParameterView {
    /// Its name.
    pub name: String,
    /// What it is when nobody gives it.
    pub default: Option<String>,
}

/// A customer's CA, as it is written down.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RegisteredCaDefinitionView {
    /// Its name.
    pub name: String,
    /// Its certificate, PEM.
    pub certificate: String,
    /// The product of its devices.
    pub product: String,
    /// The template by which they are made; none: by the product alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub template: Option<String>,
    /// `default`: possession of its key was proven; `sni-only`: not, and devices must name the server.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<String>,
    /// Whether its devices are taken in now.
    #[serde(default = "yes")]
    pub active: bool,
    /// What the first connection does: `jitp`, `jitr`, `off`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub auto: Option<String>,
    /// How strongly its word proves a hardware id: `asserted`, ...
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub strength: Option<String>,
}

/// A customer's CA whose devices are provisioned just in time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RegisteredCaView {
    /// As it is written down.
    #[serde(flatten)]
    pub definition: RegisteredCaDefinitionView,
    /// Its subject's common name.
    pub subject: String,
    /// From when its certificate is good.
    pub not_before: String,
    /// Until when.
    pub not_after: String,
    /// SHA-256 of its certificate, hex.
    pub sha256: String,
}

impl TryFrom<&AuthorityRecord> for RegisteredCaView {
    type Error = serde_json::Error;

    fn try_from(record: &AuthorityRecord) -> Result<Self, serde_json::Error> {
        let certificate = imprint_pkix::certificate::Certificate::parse(&record.der).ok();
        let (subject, from, until) = certificate.map_or_else(Default::default, |certificate| {
            (
                certificate.common_name().unwrap_or_default(),
                moment(certificate.not_before()),
                moment(certificate.not_after()),
            )
        });
        Ok(Self {
            definition: serde_json::from_value(serde_json::to_value(&record.ca)?)?,
            subject,
            not_before: from,
            not_after: until,
            sha256: imprint_registrar::claims::fingerprint_of(&record.der).to_string(),
        })
    }
}

/// A CA is registered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CaRegistration {
    /// As it is to be written down.
    pub ca: RegisteredCaDefinitionView,
    /// A certificate on the registration code that it has signed, PEM.
    #[serde(default)]
    pub proof: Option<String>,
}

/// The registration code.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RegistrationCodeView {
    /// 64 hex digits.
    pub code: String,
}

/// On or off.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Switch {
    /// On.
    pub active: bool,
}

/// What a template made of a device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ThingView {
    /// Its name.
    pub name: String,
    /// The device that it is.
    pub device: String,
    /// Its type.
    pub thing_type: Option<String>,
    /// Its billing group.
    pub billing_group: Option<String>,
    /// The groups that it is in, by a template or by its product.
    pub groups: Vec<String>,
    /// Its attributes, by a template or by its product.
    pub attributes: BTreeMap<String, String>,
    /// The policies on its certificate.
    pub policies: Vec<String>,
    /// When it was made.
    pub created_at: String,
    /// When it last changed.
    pub updated_at: String,
    /// Grows with every change.
    pub version: u64,
}

impl From<&ThingRecord> for ThingView {
    fn from(record: &ThingRecord) -> Self {
        let values = &record.values;
        Self {
            name: record.name.clone(),
            device: record.device.to_string(),
            thing_type: values.thing_type.clone(),
            billing_group: values.billing_group.clone(),
            groups: record.given.groups_with(&values.groups),
            attributes: record.given.attributes_with(&values.attributes),
            policies: values.policies.clone(),
            created_at: moment(record.created_at),
            updated_at: moment(record.updated_at),
            version: record.version,
        }
    }
}

/// A group of things, or a type of thing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct NamedView {
    /// Its name.
    pub name: String,
    /// For people.
    #[serde(default)]
    pub description: String,
}

impl From<Named> for NamedView {
    fn from(named: Named) -> Self {
        let Named { name, description } = named;
        Self { name, description }
    }
}

/// A policy, as the fleet file says it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PolicyDefinitionView {
    /// Its name.
    pub name: String,
    /// For people.
    #[serde(default)]
    pub description: String,
    /// Its document, a JSON object as text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub document: Option<String>,
}

/// A policy that templates name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PolicyView {
    /// Its name.
    pub name: String,
    /// Its document, JSON as text, if a template has brought one.
    pub document: Option<String>,
}

const fn yes() -> bool {
    true
}

#[cfg(test)]
mod tests {
    use imprint_registrar::claims::definition::{Claim, RegisteredCa};
    use serde::de::DeserializeOwned;
    use serde_json::{Value, json};

    use super::*;

    /// What the definition says in full, the view says as well.
    fn check<D: Serialize + DeserializeOwned, V: Serialize + DeserializeOwned>(keys: Value) {
        let definition: D = serde_json::from_value(keys).unwrap();
        let whole = serde_json::to_value(&definition).unwrap();
        let view: V = serde_json::from_value(whole.clone()).unwrap();
        assert_eq!(serde_json::to_value(&view).unwrap(), whole);
    }

    #[test]
    fn a_view_says_what_the_definition_says() {
        check::<Claim, ClaimDefinitionView>(json!({
            "name": "line-1", "product": "thermo", "templates": ["a"], "limits": { "total": 9 },
        }));
        check::<Template, TemplateView>(json!({
            "name": "a", "product": "thermo", "body": "{}", "hook": { "url": "https://a.example" },
        }));
        check::<RegisteredCa, RegisteredCaDefinitionView>(json!({
            "name": "a", "product": "thermo", "certificate": "", "template": "b",
        }));
    }
}
