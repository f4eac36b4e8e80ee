//! What an operator writes down about an entry. Keys are no part of it.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use imprint_attest::tpm::{EndorsementKey, Public, StorageKey};
use imprint_identity::{DeviceId, HardwareId, IdentityStrength, Source};
use imprint_pkix::certificate::Certificate;
use imprint_pkix::pem;
use serde::{Deserialize, Serialize};

use crate::ledger::EntryKind;

/// The right to register one device, or the devices of a group: what Azure DPS calls an individual
/// enrollment or an enrollment group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// For one device, or for many.
    pub kind: EntryKind,
    /// The device's registration id in lower case, or the group's name: 1 to 128 of `[a-z0-9._:-]`,
    /// with a letter, a digit or `-` at the end.
    pub name: String,
    /// The product that devices join by it.
    pub product: String,
    /// How they prove who they are.
    pub attestation: Attestation,
    /// The name that an individual entry's device gets in the fleet; none: by its product's rule.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device_id: Option<String>,
    /// How strongly its word proves a hardware id: `asserted`, `flash-key`, ... The operator knows where
    /// the devices keep their keys.
    #[serde(default = "default_strength")]
    pub strength: String,
}

/// How the devices of an entry prove who they are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Attestation {
    /// By a key that the server has as well. The keys are with the ledger, sealed.
    SymmetricKey,
    /// By a certificate. An individual entry names the device's own, which anybody may have signed; a
    /// group names the authority that signs its devices'.
    X509 {
        /// PEM.
        primary: String,
        /// PEM: what comes after the first, or came before it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        secondary: Option<String>,
    },
    /// By a TPM, of an individual entry alone. Its keys are `TPM2B_PUBLIC` structures in base64.
    Tpm {
        /// Which TPM it is.
        endorsement_key: String,
        /// The one key under which it may take what is sealed for it; none: whichever the TPM has.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        storage_root_key: Option<String>,
    },
}

/// The keys of a TPM that an entry names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamedTpm {
    /// Which TPM it is.
    pub endorsement: EndorsementKey,
    /// Under which key it takes what is sealed for it, where the entry says so.
    pub storage: Option<StorageKey>,
}

impl Attestation {
    /// The word for it: `symmetric-key`, `x509`, `tpm`.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::SymmetricKey => "symmetric-key",
            Self::X509 { .. } => "x509",
            Self::Tpm { .. } => "tpm",
        }
    }

    /// How strongly it proves a hardware id, unless the operator says otherwise.
    #[must_use]
    pub const fn strength(&self) -> IdentityStrength {
        match self {
            Self::SymmetricKey | Self::X509 { .. } => IdentityStrength::Asserted,
            Self::Tpm { .. } => IdentityStrength::ElementKey,
        }
    }

    /// The TPM that it names, if it names one.
    pub fn tpm(&self) -> Result<Option<NamedTpm>, String> {
        let Self::Tpm {
            endorsement_key,
            storage_root_key,
        } = self
        else {
            return Ok(None);
        };
        let endorsement = EndorsementKey::new(public_area(endorsement_key)?);
        let storage = storage_root_key.as_deref().map(public_area).transpose()?;
        let storage = storage.map(StorageKey::new).transpose();
        Ok(Some(NamedTpm {
            endorsement: endorsement.map_err(|error| error.to_string())?,
            storage: storage.map_err(|error| error.to_string())?,
        }))
    }

    /// The certificates that it names, primary first.
    pub fn certificates(&self) -> Result<Vec<Certificate>, String> {
        let Self::X509 { primary, secondary } = self else {
            return Ok(Vec::new());
        };
        [Some(primary), secondary.as_ref()]
            .into_iter()
            .flatten()
            .map(|text| one_certificate(text))
            .collect()
    }
}

impl Entry {
    /// Checks what the types can't.
    pub fn check(&self) -> Result<(), EntryError> {
        let fault = |key, reason: String| {
            Err(EntryError {
                entry: self.name.clone(),
                key,
                reason,
            })
        };
        if !is_registration_id(&self.name) || self.name.bytes().any(|b| b.is_ascii_uppercase()) {
            let reason = "use 1 to 128 of a-z, 0-9, '-', '.', '_' and ':', with no mark but '-' at the \
                          end";
            return fault("name", reason.into());
        }
        if self.kind == EntryKind::Individual {
            let hardware = HardwareId::parse(&self.name);
            let hardware = hardware.map_err(|error| error.to_string());
            if let Err(reason) = hardware.and_then(|id| is_own_spelling(&self.name, &id)) {
                return fault("name", reason);
            }
        }
        if let Some(id) = &self.device_id {
            if self.kind == EntryKind::Group {
                let reason = "the devices of a group have a name each; leave it out";
                return fault("device_id", reason.into());
            }
            if let Err(error) = id.parse::<DeviceId>() {
                return fault("device_id", error.to_string());
            }
        }
        if IdentityStrength::from_name(&self.strength).is_none() {
            let known: Vec<_> = IdentityStrength::ALL.iter().map(|s| s.name()).collect();
            return fault("strength", format!("use one of {}", known.join(", ")));
        }
        match self.attestation.tpm() {
            Err(reason) => return fault("tpm", reason),
            Ok(Some(_)) if self.kind == EntryKind::Group => {
                let reason = "each device has a TPM of its own; make an individual entry";
                return fault("tpm", reason.into());
            }
            Ok(_) => {}
        }
        match self.attestation.certificates() {
            Err(reason) => fault("certificate", reason),
            Ok(certificates) => {
                let wrong = certificates.iter().any(|one| match self.kind {
                    EntryKind::Individual => one.is_ca(),
                    EntryKind::Group => !one.is_ca() || one.public_key().is_err(),
                });
                match self.kind {
                    EntryKind::Individual if wrong => {
                        let reason =
                            "this is an authority's; an individual entry names the device's";
                        fault("certificate", reason.into())
                    }
                    EntryKind::Group if wrong => {
                        let reason = "this is no authority's; a group names the one that signs";
                        fault("certificate", reason.into())
                    }
                    _ => Ok(()),
                }
            }
        }
    }

    /// How strongly its word proves a hardware id.
    pub(crate) fn proves(&self) -> IdentityStrength {
        // Checked when it was written down.
        IdentityStrength::from_name(&self.strength).unwrap_or(IdentityStrength::Asserted)
    }
}

/// Whether this is a registration id: case does not matter (Azure DPS: at most 128 characters,
/// alphanumeric and `-._:`, the last one alphanumeric or `-`).
#[must_use]
pub fn is_registration_id(id: &str) -> bool {
    let inner = |byte: u8| byte.is_ascii_alphanumeric() || b"-._:".contains(&byte);
    let last = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
    (1..=128).contains(&id.len())
        && id.bytes().all(inner)
        && id.bytes().next_back().is_some_and(last)
}

fn one_certificate(text: &str) -> Result<Certificate, String> {
    let mut blocks =
        pem::decode(pem::CERTIFICATE, text).map_err(|error| format!("PEM: {error}"))?;
    match (blocks.pop(), blocks.is_empty()) {
        (Some(der), true) => Certificate::parse(&der).map_err(|error| error.to_string()),
        _ => Err("give exactly one certificate in PEM".to_owned()),
    }
}

/// One hardware id is one registration id: a device that could be asked for under two would be two to
/// whoever disables one of them. `id` is in lower case.
pub(super) fn is_own_spelling(id: &str, hardware: &HardwareId) -> Result<(), String> {
    let text = hardware.text();
    let own = match hardware.source() {
        Source::Custom => text.as_str().split_once(':').map_or("", |(_, value)| value),
        _ => text.as_str(),
    };
    if id.eq_ignore_ascii_case(own) {
        Ok(())
    } else {
        Err(format!("write {id} as {own}"))
    }
}

fn public_area(text: &str) -> Result<Public, String> {
    let bytes = STANDARD.decode(text);
    let bytes = bytes.map_err(|_| "a TPM's key is a TPM2B_PUBLIC in base64".to_owned())?;
    Public::parse(&bytes).map_err(|error| error.to_string())
}

/// What is wrong with an entry.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("entry {entry:?}, `{key}`: {reason}")]
pub struct EntryError {
    /// Which entry.
    pub entry: String,
    /// Which of its keys.
    pub key: &'static str,
    /// What to write there.
    pub reason: String,
}

fn default_strength() -> String {
    IdentityStrength::Asserted.name().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(kind: EntryKind, name: &str, device_id: Option<&str>) -> Entry {
        Entry {
            kind,
            name: name.to_owned(),
            product: "thermo".to_owned(),
            attestation: Attestation::SymmetricKey,
            device_id: device_id.map(str::to_owned),
            strength: default_strength(),
        }
    }

    #[test]
    fn an_entry_is_named_like_a_registration_id() {
        let long = "a".repeat(128);
        for (name, good) in [
            ("sn-007-888-abc-mac-a1-b2-c3-d4-e5-f6", true),
            ("mac:a1:b2", true),
            ("a.b_c-", true),
            (long.as_str(), true),
            ("", false),
            ("SN-1", false),
            ("sn.", false),
            ("sn/1", false),
            (&format!("{long}a"), false),
        ] {
            let got = entry(EntryKind::Group, name, None).check();
            assert_eq!(got.is_ok(), good, "{name}: {got:?}");
        }
        // An individual entry's is a hardware id besides.
        for (name, good) in [("sn-1", true), ("mac:a1:b2", false), ("a.b_c-", false)] {
            let got = entry(EntryKind::Individual, name, None).check();
            assert_eq!(got.is_ok(), good, "{name}: {got:?}");
        }
        assert!(is_registration_id("SN-1"));
    }

    #[test]
    fn only_one_device_can_have_the_name_that_an_entry_gives() {
        let named = |kind| entry(kind, "line-1", Some("thermo-1")).check();
        assert_eq!(named(EntryKind::Individual), Ok(()));
        assert_eq!(named(EntryKind::Group).unwrap_err().key, "device_id");
        let shouted = entry(EntryKind::Individual, "x", Some("Thermo 1")).check();
        assert_eq!(shouted.unwrap_err().key, "device_id");
    }

    #[test]
    fn a_certificate_has_to_be_one() {
        let mut entry = entry(EntryKind::Group, "line-1", None);
        entry.attestation = Attestation::X509 {
            primary: "no".to_owned(),
            secondary: None,
        };
        assert_eq!(entry.check().unwrap_err().key, "certificate");
    }
}
