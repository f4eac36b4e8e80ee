//! What an operator writes down about claims, templates and registered CAs: parts of the fleet file.

use imprint_identity::IdentityStrength;
use imprint_pkix::certificate::Certificate;
use serde::{Deserialize, Serialize};

use crate::product::{LONGEST_GRACE_DAYS, Product};

/// A claim: the right to provision devices of one product by a shared certificate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Claim {
    /// Its name, `[a-z0-9.-]`, 1 to 58 characters: certificates carry it behind `claim-`.
    pub name: String,
    /// The product whose devices it provisions.
    pub product: String,
    /// The templates that it may use; none means all of its product.
    #[serde(default)]
    pub templates: Vec<String>,
    /// Whether only hardware on the product's allowlist may register, also where the product itself
    /// would take others.
    #[serde(default)]
    pub allowlist: bool,
    /// So many days past its end a claim certificate is still heard: for devices that have lain on a
    /// shelf. Where the product's grace is longer, that one holds.
    #[serde(default)]
    pub bootstrap_grace_days: u32,
    /// How much it may be used, and what freezes it.
    #[serde(default)]
    pub limits: ClaimLimits,
}

/// How much a claim may be used, and what freezes it. In all of them 0 means no limit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ClaimLimits {
    /// Devices that may be registered with it, over all its life.
    pub total: u64,
    /// New certificates a minute, and registrations a minute. Above it devices are told to wait.
    pub per_minute: u32,
    /// Certificates that wait for their registration at one time, beyond one for each hardware id on
    /// the product's allowlist and each device that the claim has registered since yesterday. Above it
    /// devices are told to wait.
    pub pending: u32,
    /// The claim is frozen when so many keys have been certified and never registered since yesterday,
    /// beyond one for each hardware id on the product's allowlist and each device that was registered.
    /// One key, and one device that waits for approval, counts once.
    pub unregistered: u32,
    /// The claim is frozen when so many different hardware ids that are not on the allowlist have
    /// asked. Only counted where the allowlist is asked.
    pub unknown_hardware: u32,
    /// The claim is frozen when a second key has asked for so many different hardware ids. One device
    /// that has lost its key counts once, however often it asks.
    pub two_keys: u32,
    /// The registrations that are expected within an hour: one number for every hour, or 24 for the
    /// hours of the day (UTC); empty for no expectation. Above it the claim is frozen. Hardware on the
    /// product's allowlist does not count: who was expected by name is no surprise.
    pub expected_per_hour: Vec<u32>,
}

impl Default for ClaimLimits {
    fn default() -> Self {
        Self {
            total: 0,
            per_minute: 0,
            pending: 2_000,
            unregistered: 1_000,
            unknown_hardware: 20,
            two_keys: 3,
            expected_per_hour: Vec::new(),
        }
    }
}

impl ClaimLimits {
    /// The registrations that are expected in the hour that begins `hour` hours after 1970.
    #[must_use]
    pub fn expected_in(&self, hour: i64) -> Option<u32> {
        let of_day = usize::try_from(hour.rem_euclid(24)).unwrap_or(0);
        let at = if self.expected_per_hour.len() == 24 {
            of_day
        } else {
            0
        };
        self.expected_per_hour
            .get(at)
            .copied()
            .filter(|&expected| expected > 0)
    }
}

/// A provisioning template: a document in the AWS template language, and how it is used here.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Template {
    /// Its name, `[0-9A-Za-z_-]`, 1 to 36 characters. Devices publish to a topic with it.
    pub name: String,
    /// The product of the devices that it makes.
    pub product: String,
    /// For people, at most 500 characters.
    #[serde(default)]
    pub description: String,
    /// Whether it may be used now.
    #[serde(default = "yes")]
    pub enabled: bool,
    /// The document, JSON, at most 10,240 octets.
    pub body: String,
    /// The parameter whose value is the device's hardware id.
    #[serde(default = "default_hardware")]
    pub hardware: String,
    /// Whether groups, types and policies that it names are added to the registry when a device comes;
    /// else a device of one that is not there is refused.
    #[serde(default)]
    pub create_missing: bool,
    /// Who is asked before a device is registered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hook: Option<Hook>,
}

/// A pre-provisioning hook.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Hook {
    /// Where it is asked, `https://...`.
    pub url: String,
    /// What is done when it does not answer as it should.
    #[serde(default)]
    pub on_failure: HookFailure,
}

/// What is done when a hook does not answer as it should.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum HookFailure {
    /// The device is refused and asks again later.
    #[default]
    Refuse,
    /// The device is registered as if nobody had been asked.
    Allow,
}

/// A customer's CA whose devices are provisioned at their first connection.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RegisteredCa {
    /// Its name, `[a-z0-9.-]`, 1 to 64 characters.
    pub name: String,
    /// Its certificate, PEM.
    pub certificate: String,
    /// The product of its devices.
    pub product: String,
    /// The template by which they are made; none: by the product alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub template: Option<String>,
    /// Whether possession of its key was proven.
    #[serde(default)]
    pub mode: CaMode,
    /// Whether its devices are taken in now. Those that have been stay.
    #[serde(default = "yes")]
    pub active: bool,
    /// What the first connection of a device does.
    #[serde(default)]
    pub auto: AutoRegistration,
    /// How strongly its word proves a hardware id: `asserted`, `flash-key`, ... The operator knows where
    /// the devices keep the keys that it certifies.
    #[serde(default = "default_strength")]
    pub strength: String,
}

/// How a CA was registered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CaMode {
    /// Possession of its key was proven by a certificate on the registration code.
    #[default]
    Default,
    /// Nothing was proven; its devices must name the server in TLS (SNI).
    SniOnly,
}

/// What the first connection of a device with a registered CA's certificate does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AutoRegistration {
    /// The device is provisioned.
    #[default]
    Jitp,
    /// The device is written down and held until an operator or a hook activates it.
    Jitr,
    /// Nothing: only what is on record is heard.
    Off,
}

impl Claim {
    /// A claim of a product with every default.
    #[must_use]
    pub fn named(name: &str, product: &str) -> Self {
        Self {
            name: name.to_owned(),
            product: product.to_owned(),
            templates: Vec::new(),
            allowlist: false,
            bootstrap_grace_days: 0,
            limits: ClaimLimits::default(),
        }
    }

    /// Checks what the types can't.
    pub fn check(&self) -> Result<(), DefinitionError> {
        let fault = |key, reason| Err(wrong("claim", &self.name, key, reason));
        if !is_name(&self.name, 58) {
            return fault("name", NAME.replace("64", "58"));
        }
        if self.templates.len() > 64 {
            return fault("templates", "use at most 64 templates".into());
        }
        if self.bootstrap_grace_days > LONGEST_GRACE_DAYS {
            let reason = format!("use at most {LONGEST_GRACE_DAYS}");
            return fault("bootstrap_grace_days", reason);
        }
        if !matches!(self.limits.expected_per_hour.len(), 0 | 1 | 24) {
            let reason = "use one number, or 24 for the hours of the day, or none";
            return fault("limits.expected_per_hour", reason.into());
        }
        if self.limits.unknown_hardware > MOST_COUNTED || self.limits.two_keys > MOST_COUNTED {
            let reason = format!("count at most {MOST_COUNTED} before the claim is frozen");
            return fault("limits.unknown_hardware", reason);
        }
        Ok(())
    }

    /// So many days past its end a certificate of it is heard: by its own word or its product's, whichever
    /// is more.
    #[must_use]
    pub fn grace_days(&self, product: Option<&Product>) -> u32 {
        let of_product = product.map_or(0, |product| product.bootstrap_grace_days);
        self.bootstrap_grace_days.max(of_product)
    }

    /// Whether it may use this template of its product.
    #[must_use]
    pub fn may_use(&self, template: &str) -> bool {
        self.templates.is_empty() || self.templates.iter().any(|name| name == template)
    }
}

impl Template {
    /// Checks what the types can't. The document itself is the business of the crate that reads it.
    pub fn check(&self) -> Result<(), DefinitionError> {
        let fault = |key, reason| Err(wrong("template", &self.name, key, reason));
        let character = |byte: u8| byte.is_ascii_alphanumeric() || b"_-".contains(&byte);
        if !(1..=36).contains(&self.name.len()) || !self.name.bytes().all(character) {
            return fault("name", "use 1 to 36 of 0-9, A-Z, a-z, '_' and '-'".into());
        }
        if self.description.chars().count() > 500 {
            return fault("description", "use at most 500 characters".into());
        }
        if self.body.len() > BODY_MAX {
            let reason = format!(
                "it has {} octets, at most {BODY_MAX} are read",
                self.body.len()
            );
            return fault("body", reason);
        }
        if self.hardware.is_empty() || self.hardware.len() > 128 {
            let reason = "name the parameter that holds the hardware id";
            return fault("hardware", reason.into());
        }
        Ok(())
    }
}

impl RegisteredCa {
    /// Checks what the types can't, and reads its certificate: one CA certificate with a key that we
    /// can verify with.
    pub fn check(&self) -> Result<Certificate, DefinitionError> {
        let wrong = |key, reason| wrong("CA", &self.name, key, reason);
        if !is_name(&self.name, 64) {
            return Err(wrong("name", NAME.into()));
        }
        if IdentityStrength::from_name(&self.strength).is_none() {
            let known: Vec<_> = IdentityStrength::ALL.iter().map(|s| s.name()).collect();
            return Err(wrong(
                "strength",
                format!("use one of {}", known.join(", ")),
            ));
        }
        let blocks = imprint_pkix::pem::decode(imprint_pkix::pem::CERTIFICATE, &self.certificate)
            .map_err(|error| wrong("certificate", error.to_string()))?;
        let [der] = blocks.as_slice() else {
            return Err(wrong("certificate", "give one certificate".into()));
        };
        let certificate =
            Certificate::parse(der).map_err(|error| wrong("certificate", error.to_string()))?;
        if !certificate.is_ca() {
            return Err(wrong("certificate", "it is not a CA's".into()));
        }
        if let Err(error) = certificate.public_key() {
            return Err(wrong("certificate", error.to_string()));
        }
        Ok(certificate)
    }

    /// How strongly its word proves a hardware id; an unreadable word proves nothing.
    #[must_use]
    pub fn proves(&self) -> IdentityStrength {
        IdentityStrength::from_name(&self.strength).unwrap_or(IdentityStrength::Asserted)
    }
}

/// What is wrong with a definition.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{kind} {name:?}, `{key}`: {reason}")]
pub struct DefinitionError {
    /// `claim`, `template`, `CA`, `group`, `thing type` or `policy`.
    pub kind: &'static str,
    /// Which one.
    pub name: String,
    /// The key in the fleet file.
    pub key: &'static str,
    /// What to write instead.
    pub reason: String,
}

pub(crate) fn wrong(
    kind: &'static str,
    name: &str,
    key: &'static str,
    reason: String,
) -> DefinitionError {
    DefinitionError {
        kind,
        name: name.to_owned(),
        key,
        reason,
    }
}

fn is_name(name: &str, longest: usize) -> bool {
    let inner =
        |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b".-".contains(&byte);
    let edges = [name.bytes().next(), name.bytes().last()];
    (1..=longest).contains(&name.len())
        && name.bytes().all(inner)
        && edges.iter().flatten().all(u8::is_ascii_alphanumeric)
}

const fn yes() -> bool {
    true
}

fn default_hardware() -> String {
    "SerialNumber".to_owned()
}

fn default_strength() -> String {
    IdentityStrength::Asserted.name().to_owned()
}

const NAME: &str = "use 1 to 64 of a-z, 0-9, '.' and '-', no mark at the ends";
/// The longest template document.
pub const BODY_MAX: usize = 10_240;
/// Each one that is counted is a row.
const MOST_COUNTED: u32 = 10_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_smallest_claim_is_sound_and_reads_back() {
        let claim: Claim = serde_json::from_str(r#"{"name":"line-1","product":"thermo"}"#).unwrap();
        assert_eq!(claim, Claim::named("line-1", "thermo"));
        assert_eq!(claim.check(), Ok(()));
        assert_eq!(
            (claim.limits.unknown_hardware, claim.limits.two_keys),
            (20, 3)
        );
    }

    #[test]
    fn what_would_break_a_name_or_a_count_is_refused_by_its_key() {
        type Change = fn(&mut Claim);
        let rows: [(&str, Change); 6] = [
            ("name", |c| c.name = "Line".into()),
            ("name", |c| c.name = "a".repeat(59)),
            ("templates", |c| c.templates = vec!["t".into(); 65]),
            ("bootstrap_grace_days", |c| c.bootstrap_grace_days = 4_000),
            ("limits.expected_per_hour", |c| {
                c.limits.expected_per_hour = vec![1, 2];
            }),
            ("limits.unknown_hardware", |c| {
                c.limits.two_keys = 1_000_000;
            }),
        ];
        for (key, change) in rows {
            let mut claim = Claim::named("line-1", "thermo");
            change(&mut claim);
            assert_eq!(claim.check().map_err(|error| error.key), Err(key));
        }
    }

    #[test]
    fn a_curve_has_one_height_or_one_for_each_hour_of_the_day() {
        let mut limits = ClaimLimits::default();
        assert_eq!(limits.expected_in(5), None);
        limits.expected_per_hour = vec![7];
        assert_eq!(limits.expected_in(5), Some(7));
        limits.expected_per_hour = (1..=24).collect();
        assert_eq!(limits.expected_in(24 * 500_000 + 5), Some(6));
        assert_eq!(limits.expected_in(-1), Some(24), "before 1970");
        limits.expected_per_hour = vec![0];
        assert_eq!(limits.expected_in(5), None, "0 is no limit");
    }

    #[test]
    fn what_is_no_certificate_of_a_ca_is_refused() {
        let ca = |certificate: &str| RegisteredCa {
            name: "acme".into(),
            certificate: certificate.into(),
            product: "thermo".into(),
            template: None,
            mode: CaMode::Default,
            active: true,
            auto: AutoRegistration::Jitp,
            strength: "asserted".into(),
        };
        let twice = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n".repeat(2);
        for text in ["", "hello", &twice, &twice[..twice.len() / 2]] {
            let refused = ca(text).check().map(|_| ()).map_err(|error| error.key);
            assert_eq!(refused, Err("certificate"), "{text:?}");
        }
    }
}
