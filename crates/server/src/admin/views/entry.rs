//! Entries, by which devices are registered that their maker has written down before they came.

use std::fmt;

use imprint_registrar::entries::definition::Attestation;
use imprint_registrar::ledger::{EntryRecord, EntryRegistration, KeySlot};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::moment;

/// An entry. Its keys are in no view but the one that is answered when they are made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct EntryView {
    /// `individual` or `group`.
    pub kind: String,
    /// The device's registration id in lower case, or the group's name.
    #[schema(example = "line-1")]
    pub name: String,
    /// The product that devices join by it.
    pub product: String,
    /// How they prove who they are: `symmetric-key`, `x509`, `tpm`.
    pub attestation: String,
    /// The slots that have a key: `primary`, `secondary`. None for X.509.
    pub keys: Vec<String>,
    /// The certificates that it names, primary first, PEM. None for a symmetric key.
    pub certificates: Vec<String>,
    /// The endorsement key of the TPM that it names, a `TPM2B_PUBLIC` in base64.
    pub endorsement_key: Option<String>,
    /// The storage key of that TPM, if only one is taken.
    pub storage_root_key: Option<String>,
    /// The name that its device gets, where the entry says so.
    pub device_id: Option<String>,
    /// How strongly its word proves a hardware id.
    pub strength: String,
    /// Whether devices are registered by it, and heard by its keys.
    pub enabled: bool,
    /// Devices registered by it, ever.
    pub registered: u64,
    /// When it was first written down.
    pub created_at: String,
    /// When it last changed.
    pub updated_at: String,
    /// Grows with every change.
    pub version: u64,
}

impl From<&EntryRecord> for EntryView {
    fn from(record: &EntryRecord) -> Self {
        let entry = &record.entry;
        let certificates = match &entry.attestation {
            Attestation::SymmetricKey | Attestation::Tpm { .. } => Vec::new(),
            Attestation::X509 { primary, secondary } => {
                let both = [Some(primary), secondary.as_ref()];
                both.into_iter().flatten().cloned().collect()
            }
        };
        let (endorsement_key, storage_root_key) = match &entry.attestation {
            Attestation::Tpm {
                endorsement_key,
                storage_root_key,
            } => (Some(endorsement_key.clone()), storage_root_key.clone()),
            _ => (None, None),
        };
        let slots = KeySlot::ALL.iter().copied();
        let with_key = slots.filter(|slot| record.keys.get(*slot).is_some());
        Self {
            kind: entry.kind.to_string(),
            name: entry.name.clone(),
            product: entry.product.clone(),
            attestation: entry.attestation.name().to_owned(),
            keys: with_key.map(|slot| slot.to_string()).collect(),
            certificates,
            endorsement_key,
            storage_root_key,
            device_id: entry.device_id.clone(),
            strength: entry.strength.clone(),
            enabled: record.enabled,
            registered: record.registered,
            created_at: moment(record.created_at),
            updated_at: moment(record.updated_at),
            version: record.version,
        }
    }
}

/// Makes an entry. Without certificates and without a TPM it is for a symmetric key; a key that is not
/// given is made.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct EntryOrderView {
    /// `individual` or `group`.
    pub kind: String,
    /// The device's registration id in lower case, or the group's name.
    pub name: String,
    /// The product that devices join by it.
    pub product: String,
    /// The certificates that it names, primary first, PEM, at most two: for an individual entry the
    /// device's own, for a group the authority's.
    #[serde(default)]
    pub certificates: Vec<String>,
    /// The endorsement key of the device's TPM: a `TPM2B_PUBLIC` in base64.
    #[serde(default)]
    pub endorsement_key: Option<String>,
    /// The one storage key of that TPM that is taken; without: whichever it has.
    #[serde(default)]
    pub storage_root_key: Option<String>,
    /// A key that was made elsewhere, 32 to 64 bytes in base64.
    #[serde(default)]
    pub primary_key: Option<String>,
    /// The second one.
    #[serde(default)]
    pub secondary_key: Option<String>,
    /// The name that an individual entry's device gets; without: by its product's rule.
    #[serde(default)]
    pub device_id: Option<String>,
    /// How strongly its word proves a hardware id; without: `asserted`, for a TPM `element-key`.
    #[serde(default)]
    pub strength: Option<String>,
    /// Whether it is disabled from the start.
    #[serde(default)]
    pub disabled: bool,
}

/// Keys are not printed.
impl fmt::Debug for EntryOrderView {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EntryOrderView")
            .field("kind", &self.kind)
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

/// An entry with the keys that were made for it just now. They are not said again.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct EntryMadeView {
    /// The entry.
    #[serde(flatten)]
    pub entry: EntryView,
    /// The first key, base64, if it was made here.
    pub primary_key: Option<String>,
    /// The second key, base64, if it was made here.
    pub secondary_key: Option<String>,
}

/// Keys are not printed.
impl fmt::Debug for EntryMadeView {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EntryMadeView")
            .field("entry", &self.entry)
            .finish_non_exhaustive()
    }
}

/// Puts another key into a slot.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct EntryRotation {
    /// `primary` or `secondary`.
    pub slot: String,
    /// A key that was made elsewhere, 32 to 64 bytes in base64; without: one is made.
    #[serde(default)]
    pub key: Option<String>,
}

/// Keys are not printed.
impl fmt::Debug for EntryRotation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EntryRotation")
            .field("slot", &self.slot)
            .finish_non_exhaustive()
    }
}

/// Whose key of a group is asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct EntryDerivation {
    /// The device's registration id, as the device will write it.
    pub registration_id: String,
    /// Derived from which of the group's keys: `primary` (without) or `secondary`.
    #[serde(default)]
    pub slot: Option<String>,
}

/// One device's key, derived from its group's.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct EntryDerivedView {
    /// The device's registration id.
    pub registration_id: String,
    /// Its key, base64.
    pub key: String,
}

/// Keys are not printed.
impl fmt::Debug for EntryDerivedView {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EntryDerivedView")
            .field("registration_id", &self.registration_id)
            .finish_non_exhaustive()
    }
}

/// What a device was registered by.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RegistrationView {
    /// Its registration id.
    pub id: String,
    /// The entry's kind: `individual` or `group`.
    pub kind: String,
    /// The entry.
    pub entry: String,
    /// What it has to show for itself: `shared-key` or `certificate`.
    pub credential: String,
    /// Whether that is still good, as far as its registration goes.
    pub live: bool,
    /// The hub that it was told.
    pub hub: String,
    /// When it was registered.
    pub created_at: String,
    /// When what it is told last changed.
    pub updated_at: String,
    /// When it first came to its hub with its key; certificates say this themselves.
    pub verified_at: Option<String>,
}

impl From<&EntryRegistration> for RegistrationView {
    fn from(registration: &EntryRegistration) -> Self {
        let credential = if registration.shared_key {
            "shared-key"
        } else {
            "certificate"
        };
        Self {
            id: registration.id.clone(),
            kind: registration.kind.to_string(),
            entry: registration.entry.clone(),
            credential: credential.to_owned(),
            live: registration.live,
            hub: registration.hub.clone(),
            created_at: moment(registration.created_at),
            updated_at: moment(registration.updated_at),
            verified_at: registration.verified_at.map(moment),
        }
    }
}
