//! A product line: how its devices are named, certified and let in.

use std::collections::BTreeMap;

use imprint_identity::{HardwareId, IdentityStrength, NamingRule};
use imprint_pkix::certificate::{Certificate, is_dns_name, is_url};
use imprint_pkix::pem;
use regex_lite::{Regex, RegexBuilder};
use serde::{Deserialize, Serialize};

use crate::claims::thing;
use crate::door::Door;
use crate::pace::Rate;

/// A product line. The smallest one has a name; everything else has a safe default.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Product {
    /// Its name: an EST label, `[a-z0-9.-]`, 1 to 64 characters, never an EST operation.
    pub name: String,
    /// The rule for the names of its devices.
    #[serde(default = "default_naming")]
    pub naming: String,
    /// The issuing authority that signs for its devices; none: the server's first.
    #[serde(default)]
    pub ca: Option<String>,
    /// The doors by which newcomers are taken in; none: every door that there is.
    #[serde(default)]
    pub doors: Option<Vec<Door>>,
    /// Whether only hardware on the allowlist may enroll.
    #[serde(default)]
    pub allowlist: bool,
    /// What the value of a hardware id looks like, as a regular expression that has to fit all of it;
    /// none: anything.
    #[serde(default)]
    pub serial_pattern: Option<String>,
    /// Whether an operator must approve each new device and key.
    #[serde(default)]
    pub approval: bool,
    /// The least proof of hardware identity that is accepted: `asserted`, `silicon-id`, ...
    #[serde(default = "default_strength")]
    pub minimum_strength: String,
    /// The authorities of makers of TPMs whose word is taken for an endorsement key, PEM each.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tpm_makers: Vec<String>,
    /// So many days past its end a bootstrap credential is still heard: a token, a claim's certificate,
    /// the certificate that a device was born with. For devices that have lain on a shelf.
    #[serde(default)]
    pub bootstrap_grace_days: u32,
    /// Key types that are accepted: `p256`, `p384`, `ed25519`, `rsa` (2048 to 4096 bits).
    #[serde(default = "default_keys")]
    pub keys: Vec<KeyKind>,
    /// What its devices do when a step has failed every attempt for a passing cause.
    #[serde(default)]
    pub quarantine: QuarantineRule,
    /// What to do with a challengePassword in an EST request (RFC 7030 section 3.5).
    #[serde(default)]
    pub channel_binding: ChannelBinding,
    /// Whether the server makes keys for devices that can't (RFC 7030 section 4.4).
    #[serde(default)]
    pub server_keygen: bool,
    /// The certificate's shape.
    #[serde(default)]
    pub certificate: CertificateProfile,
    /// The rules for its tokens.
    #[serde(default)]
    pub token: TokenPolicy,
    /// The groups that each of its devices is in.
    #[serde(default)]
    pub groups: Vec<String>,
    /// The attributes that each of its devices has.
    #[serde(default)]
    pub attributes: BTreeMap<String, String>,
    /// What a device is told about the fleet it has joined.
    #[serde(default)]
    pub connection: ConnectionProfile,
    /// How fast its newcomers are let in.
    #[serde(default)]
    pub limits: ProductLimits,
}

/// How fast a product's newcomers are let in. Renewals, and devices that ask for what they have been
/// given already, are not counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ProductLimits {
    /// Newcomers a second; 0 for no limit.
    pub enrollments_per_second: u32,
    /// Newcomers that may come at once before the pace binds; 0 counts as 1.
    pub burst: u32,
}

impl Default for ProductLimits {
    fn default() -> Self {
        Self {
            enrollments_per_second: 0,
            burst: 10,
        }
    }
}

impl ProductLimits {
    /// The pace, if there is one.
    #[must_use]
    pub fn rate(&self) -> Option<Rate> {
        (self.enrollments_per_second > 0).then_some(Rate {
            per_second: self.enrollments_per_second,
            burst: self.burst,
        })
    }
}

/// The shape of a product's certificates.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CertificateProfile {
    /// Days from issuance to notAfter; 0 means no well-defined end (99991231235959Z).
    pub lifetime_days: u32,
    /// Seconds by which notBefore lies in the past, for devices whose clock is behind.
    pub backdate_seconds: u32,
    /// A URI for the subject alternative name, with `{device}` and `{product}`; empty for none.
    pub uri: String,
    /// A DNS name for the subject alternative name, with `{device}` and `{product}`; empty for none.
    pub dns: String,
}

impl Default for CertificateProfile {
    fn default() -> Self {
        Self {
            lifetime_days: 365,
            backdate_seconds: 3_600,
            // A name that stands by itself, in the top level domain that is reserved for names like
            // this; every other kind of URI is one that pkilint faults.
            uri: "https://imprint.internal/{product}/{device}".to_owned(),
            dns: String::new(),
        }
    }
}

/// The rules for a product's tokens.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TokenPolicy {
    /// Days until a new token expires, unless the minting says otherwise.
    pub lifetime_days: u32,
    /// Whether tokens must be bound to a hardware id.
    pub bound: bool,
    /// Whether new tokens sleep until they are armed.
    pub dormant: bool,
}

impl Default for TokenPolicy {
    fn default() -> Self {
        Self {
            lifetime_days: 90,
            bound: false,
            dormant: false,
        }
    }
}

/// What a device is told about the fleet it has joined. `{device}` and `{product}` are filled in.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ConnectionProfile {
    /// Where it connects, as a URL; empty when the fleet does not say.
    pub endpoint: String,
    /// The beginning of its MQTT topics.
    pub topic_prefix: String,
}

/// A kind of public key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum KeyKind {
    /// ECDSA on P-256.
    P256,
    /// ECDSA on P-384.
    P384,
    /// Ed25519 (RFC 8410).
    Ed25519,
    /// RSA with 2048 to 4096 bits.
    Rsa,
}

/// What a device does when a step has failed every attempt for a passing cause.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum QuarantineRule {
    /// It goes on asking, slowly.
    #[default]
    Default,
    /// It rests in QUARANTINE until a person comes.
    Strict,
}

/// What to do with a challengePassword in an EST request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ChannelBinding {
    /// It must be the tls-exporter value of this connection (RFC 9266).
    #[default]
    Verify,
    /// It is not looked at.
    Ignore,
}

impl Product {
    /// A product with every default.
    #[must_use]
    pub fn named(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            naming: default_naming(),
            ca: None,
            doors: None,
            allowlist: false,
            serial_pattern: None,
            approval: false,
            minimum_strength: default_strength(),
            tpm_makers: Vec::new(),
            bootstrap_grace_days: 0,
            keys: default_keys(),
            quarantine: QuarantineRule::default(),
            channel_binding: ChannelBinding::default(),
            server_keygen: false,
            certificate: CertificateProfile::default(),
            token: TokenPolicy::default(),
            groups: Vec::new(),
            attributes: BTreeMap::new(),
            connection: ConnectionProfile::default(),
            limits: ProductLimits::default(),
        }
    }

    /// Checks what the types can't: names, rules, placeholders.
    pub fn check(&self) -> Result<(), ProductError> {
        let fault = |key: &'static str, reason: String| {
            Err(ProductError {
                product: self.name.clone(),
                key,
                reason,
            })
        };
        let name_character =
            |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b".-".contains(&byte);
        let edges = [self.name.bytes().next(), self.name.bytes().last()];
        if !(1..=64).contains(&self.name.len())
            || !self.name.bytes().all(name_character)
            || !edges.iter().flatten().all(u8::is_ascii_alphanumeric)
        {
            return fault(
                "name",
                "use 1 to 64 of a-z, 0-9, '.' and '-', no mark at the ends".into(),
            );
        }
        if EST_OPERATIONS.contains(&self.name.as_str()) {
            return fault(
                "name",
                "this is the name of an EST operation; choose another".into(),
            );
        }
        if let Err(error) = NamingRule::parse(&self.naming) {
            return fault("naming", error.to_string());
        }
        if IdentityStrength::from_name(&self.minimum_strength).is_none() {
            let known: Vec<_> = IdentityStrength::ALL.iter().map(|s| s.name()).collect();
            return fault(
                "minimum_strength",
                format!("use one of {}", known.join(", ")),
            );
        }
        if self.keys.is_empty() {
            return fault(
                "keys",
                "name at least one of p256, p384, ed25519, rsa".into(),
            );
        }
        if self.certificate.backdate_seconds > 86_400 {
            return fault(
                "certificate.backdate_seconds",
                "use at most 86400 (one day)".into(),
            );
        }
        if self.certificate.lifetime_days > 36_500 {
            let reason = "use at most 36500, or 0 for no expiry".into();
            return fault("certificate.lifetime_days", reason);
        }
        if let Err(reason) = check_uri(&self.certificate.uri) {
            return fault("certificate.uri", reason);
        }
        if let Err(reason) = check_dns(&self.certificate.dns) {
            return fault("certificate.dns", reason);
        }
        for (key, text) in [
            ("connection.endpoint", &self.connection.endpoint),
            ("connection.topic_prefix", &self.connection.topic_prefix),
        ] {
            if text.len() > 256 || text.chars().any(char::is_control) {
                return fault(key, "use at most 256 printable characters".into());
            }
        }
        if let Some(Err(reason)) = self.serial_pattern.as_deref().map(read_pattern) {
            return fault("serial_pattern", reason);
        }
        if self.bootstrap_grace_days > LONGEST_GRACE_DAYS {
            let reason = format!("use at most {LONGEST_GRACE_DAYS}");
            return fault("bootstrap_grace_days", reason);
        }
        let sound = |text: &String| maker(text).is_some_and(|one| one.is_ca());
        if self.tpm_makers.len() > MOST_MAKERS || !self.tpm_makers.iter().all(sound) {
            let reason =
                format!("give at most {MOST_MAKERS} authorities' certificates, one PEM each");
            return fault("tpm_makers", reason);
        }
        if let Err(reason) = thing::check_groups(&self.groups) {
            return fault("groups", reason);
        }
        if let Err(reason) = thing::check_attributes(&self.attributes) {
            return fault("attributes", reason);
        }
        Ok(())
    }

    /// The authorities whose word is taken for an endorsement key.
    #[must_use]
    pub fn tpm_makers(&self) -> Vec<Certificate> {
        self.tpm_makers
            .iter()
            .filter_map(|text| maker(text))
            .collect()
    }

    /// Whether a newcomer may come by this door.
    #[must_use]
    pub fn is_open(&self, door: Door) -> bool {
        self.doors
            .as_ref()
            .is_none_or(|doors| doors.contains(&door))
    }

    /// Whether the value of a hardware id looks as it should. A pattern that can't be read fits
    /// nothing.
    #[must_use]
    pub fn fits(&self, hardware: &HardwareId) -> bool {
        let Some(pattern) = &self.serial_pattern else {
            return true;
        };
        let text = hardware.text();
        let value = text
            .split_once(':')
            .map_or(text.as_str(), |(_, value)| value);
        read_pattern(pattern).is_ok_and(|pattern| pattern.is_match(value))
    }

    /// The bootstrap grace in seconds.
    #[must_use]
    pub fn grace_seconds(&self) -> i64 {
        i64::from(self.bootstrap_grace_days) * 86_400
    }

    /// The naming rule, read. [`Self::check`] has seen that it can be.
    pub fn naming_rule(&self) -> Result<NamingRule, ProductError> {
        NamingRule::parse(&self.naming).map_err(|error| ProductError {
            product: self.name.clone(),
            key: "naming",
            reason: error.to_string(),
        })
    }

    /// The least strength; an unreadable word is the strongest demand, never the weakest.
    #[must_use]
    pub fn least_strength(&self) -> IdentityStrength {
        IdentityStrength::from_name(&self.minimum_strength)
            .unwrap_or(IdentityStrength::VendorProven)
    }
}

/// What is wrong with a product's definition.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("product {product:?}, `{key}`: {reason}")]
pub struct ProductError {
    /// The product.
    pub product: String,
    /// The key in the fleet file.
    pub key: &'static str,
    /// What to write instead.
    pub reason: String,
}

/// Fills `{device}` and `{product}` in.
#[must_use]
pub fn fill(template: &str, device: &str, product: &str) -> String {
    template
        .replace("{device}", device)
        .replace("{product}", product)
}

/// Reads a pattern, with bounds on what it costs: the engine takes time in the length of the text
/// and of the compiled pattern, whatever either says.
fn read_pattern(pattern: &str) -> Result<Regex, String> {
    if pattern.is_empty() || pattern.len() > LONGEST_PATTERN {
        return Err(format!("use 1 to {LONGEST_PATTERN} octets"));
    }
    // By itself first: what closes a bracket too many would be put right by the brackets around it.
    let read = |text: &str| {
        RegexBuilder::new(text)
            .size_limit(PATTERN_MEMORY)
            .nest_limit(PATTERN_NESTING)
            .build()
            .map_err(|error| format!("this is no regular expression: {error}"))
    };
    read(pattern)?;
    read(&format!("^(?:{pattern})$"))
}

fn check_uri(template: &str) -> Result<(), String> {
    if template.is_empty() {
        return Ok(());
    }
    // Any other URI, urn: too, is one that pkilint faults.
    if !is_url(&fill(template, "d", "p")) {
        return Err("use a web address, such as https://devices.example/{device}".into());
    }
    Ok(())
}

fn check_dns(template: &str) -> Result<(), String> {
    if template.is_empty() {
        return Ok(());
    }
    let filled = fill(template, "d", "p");
    if filled.len() > 180 || !is_dns_name(&filled) {
        return Err("use a full host name, such as {device}.devices.example".into());
    }
    Ok(())
}

fn default_naming() -> String {
    NamingRule::DEFAULT.to_owned()
}

fn default_strength() -> String {
    IdentityStrength::Asserted.name().to_owned()
}

fn default_keys() -> Vec<KeyKind> {
    vec![KeyKind::P256, KeyKind::P384, KeyKind::Ed25519, KeyKind::Rsa]
}

/// Ten years.
pub(crate) const LONGEST_GRACE_DAYS: u32 = 3_650;
const LONGEST_PATTERN: usize = 256;
/// Octets of a compiled pattern; `[A-Z]{2}[0-9]{8}` takes less than one KiB.
const PATTERN_MEMORY: usize = 65_536;
const PATTERN_NESTING: u32 = 16;

/// Segments of an EST path that no product may be named for (RFC 7030 section 3.2.2).
const EST_OPERATIONS: [&str; 6] = [
    "cacerts",
    "simpleenroll",
    "simplereenroll",
    "fullcmc",
    "serverkeygen",
    "csrattrs",
];

/// Exactly one certificate.
fn maker(text: &str) -> Option<Certificate> {
    let mut blocks = pem::decode(pem::CERTIFICATE, text).ok()?;
    let der = blocks.pop().filter(|_| blocks.is_empty())?;
    Certificate::parse(&der).ok()
}

/// All makers of TPMs together have fewer roots.
const MOST_MAKERS: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_smallest_product_is_sound() {
        assert_eq!(Product::named("thermo").check(), Ok(()));
    }

    #[test]
    fn what_would_break_a_path_a_name_or_a_certificate_is_refused_by_its_key() {
        type Change = fn(&mut Product);
        let rows: [(&str, Change); 22] = [
            ("name", |p| p.name = String::new()),
            ("name", |p| p.name = "Thermo".into()),
            ("name", |p| p.name = "-a".into()),
            ("name", |p| p.name = "cacerts".into()),
            ("naming", |p| p.naming = "{product}".into()),
            ("minimum_strength", |p| p.minimum_strength = "strong".into()),
            ("keys", |p| p.keys.clear()),
            ("certificate.backdate_seconds", |p| {
                p.certificate.backdate_seconds = 90_000;
            }),
            ("certificate.lifetime_days", |p| {
                p.certificate.lifetime_days = 40_000;
            }),
            ("certificate.uri", |p| p.certificate.uri = "{device}".into()),
            ("certificate.dns", |p| {
                p.certificate.dns = "*.{device}".into();
            }),
            ("connection.endpoint", |p| {
                p.connection.endpoint = "a\nb".into();
            }),
            ("serial_pattern", |p| p.serial_pattern = Some(String::new())),
            ("serial_pattern", |p| {
                p.serial_pattern = Some("a)|(b".into());
            }),
            ("serial_pattern", |p| {
                p.serial_pattern = Some("a".repeat(257));
            }),
            ("serial_pattern", |p| {
                p.serial_pattern = Some("(a{999}){999}".into());
            }),
            ("serial_pattern", |p| {
                p.serial_pattern = Some(format!("{}a{}", "(".repeat(40), ")".repeat(40)));
            }),
            ("bootstrap_grace_days", |p| p.bootstrap_grace_days = 3_651),
            ("groups", |p| p.groups = vec!["a b".into()]),
            ("groups", |p| p.groups = vec!["a".into(); 2]),
            ("groups", |p| {
                p.groups = (0..11).map(|n| format!("g{n}")).collect();
            }),
            ("attributes", |p| {
                p.attributes = [("a b".into(), String::new())].into();
            }),
        ];
        for (key, change) in rows {
            let mut product = Product::named("thermo");
            change(&mut product);
            assert_eq!(product.check().map_err(|error| error.key), Err(key));
        }
    }

    #[test]
    fn a_pattern_has_to_fit_the_whole_value_and_nothing_beside_it() {
        let rows = [
            (None, "custom:anything", true),
            (Some("[A-Z]{2}[0-9]{4}"), "custom:AB1234", true),
            (Some("[A-Z]{2}[0-9]{4}"), "custom:AB12345", false),
            (Some("[A-Z]{2}[0-9]{4}"), "custom:xAB1234", false),
            (Some("[A-Z]{2}[0-9]{4}"), "AB1234", true),
            (Some("a|b"), "custom:ab", false),
            (Some("a|b"), "custom:b", true),
            // The value, not the source in front of it.
            (Some("2462ab.*"), "esp-mac:2462abcdef01", true),
            (Some("esp-mac:.*"), "esp-mac:2462abcdef01", false),
            (Some("^2462ab"), "esp-mac:2462abcdef01", false),
            // What is broken lets nobody in.
            (Some("("), "custom:anything", false),
        ];
        for (pattern, hardware, want) in rows {
            let product = Product {
                serial_pattern: pattern.map(str::to_owned),
                ..Product::named("thermo")
            };
            let hardware = HardwareId::parse(hardware).unwrap();
            assert_eq!(product.fits(&hardware), want, "{pattern:?} {hardware}");
        }
    }

    #[test]
    fn a_pattern_that_other_engines_choke_on_takes_its_time_and_no_more() {
        let product = Product {
            serial_pattern: Some("(x+x+)+y".to_owned()),
            ..Product::named("thermo")
        };
        let hardware = HardwareId::parse(&format!("custom:{}z", "x".repeat(60))).unwrap();
        assert!(!product.fits(&hardware));
    }

    #[test]
    fn without_a_word_every_door_is_open_and_with_an_empty_list_none() {
        let mut product = Product::named("thermo");
        assert!(Door::ALL.iter().all(|&door| product.is_open(door)));
        product.doors = Some(vec![Door::Claim]);
        let open = Door::ALL.iter().filter(|&&door| product.is_open(door));
        assert_eq!(open.collect::<Vec<_>>(), [&Door::Claim]);
        product.doors = Some(Vec::new());
        assert!(!Door::ALL.iter().any(|&door| product.is_open(door)));
    }
}
