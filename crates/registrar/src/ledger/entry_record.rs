//! What the ledger keeps of entries and of the registrations that were made by them.

use std::fmt;
use std::str::FromStr;

use imprint_identity::{DeviceId, UnixTime};
use serde::{Deserialize, Serialize};

use super::record::words;
use super::{DeviceRecord, RegistrationGrant};
use crate::entries::definition::Entry;
use crate::product::Product;

words! {
    /// For how many devices an entry is.
    #[derive(Serialize, Deserialize)]
    #[serde(rename_all = "lowercase")]
    EntryKind {
        /// For the one that its name is the registration id of.
        Individual = "individual",
        /// For many.
        Group = "group",
    }
}

words! {
    /// One of an entry's two keys: while one is being replaced, devices use the other.
    #[derive(Serialize, Deserialize)]
    #[serde(rename_all = "lowercase")]
    KeySlot {
        /// The first.
        Primary = "primary",
        /// The second.
        Secondary = "secondary",
    }
}

/// An entry on record.
#[derive(Clone, PartialEq, Eq)]
pub struct EntryRecord {
    /// The definition.
    pub entry: Entry,
    /// Whether devices are registered by it, and heard by its keys.
    pub enabled: bool,
    /// Its keys, sealed; none for X.509.
    pub keys: SealedKeys,
    /// For a TPM: the key under which it took last what was sealed for it, a `TPM2B_PUBLIC`.
    pub storage_key: Option<Vec<u8>>,
    /// Devices registered by it, ever.
    pub registered: u64,
    /// When it was first written down.
    pub created_at: UnixTime,
    /// When it last changed.
    pub updated_at: UnixTime,
    /// Grows with every change.
    pub version: u64,
}

/// Sealed or not, keys are not printed.
impl fmt::Debug for EntryRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EntryRecord")
            .field("entry", &self.entry)
            .field("enabled", &self.enabled)
            .field("registered", &self.registered)
            .field("version", &self.version)
            .finish_non_exhaustive()
    }
}

/// The keys of an entry as the [`Signer`](crate::Signer) sealed them.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct SealedKeys {
    /// The first.
    pub primary: Option<Vec<u8>>,
    /// The second.
    pub secondary: Option<Vec<u8>>,
}

/// Sealed or not, keys are not printed.
impl fmt::Debug for SealedKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SealedKeys").finish_non_exhaustive()
    }
}

impl SealedKeys {
    /// The key in this slot.
    #[must_use]
    pub fn get(&self, slot: KeySlot) -> Option<&[u8]> {
        match slot {
            KeySlot::Primary => self.primary.as_deref(),
            KeySlot::Secondary => self.secondary.as_deref(),
        }
    }
}

/// An entry to be kept.
#[derive(Debug, Clone)]
pub struct NewEntry {
    /// The definition.
    pub entry: Entry,
    /// Whether it is good from the start.
    pub enabled: bool,
    /// Its keys, sealed.
    pub keys: SealedKeys,
    /// The subjects of the authorities that a group names, primary first, Names in DER.
    pub subjects: Vec<Vec<u8>>,
}

/// What an operator does to an entry.
#[derive(Debug, Clone)]
pub enum EntryAct {
    /// Let devices register by it.
    Enable,
    /// Let nobody register by it, and hear nobody by its keys.
    Disable,
    /// Put another key into a slot.
    Key {
        /// Which one.
        slot: KeySlot,
        /// The key, sealed.
        sealed: Vec<u8>,
    },
    /// Keep the storage key that the entry's TPM has shown, a `TPM2B_PUBLIC`. It is the device's doing,
    /// once it has proven that it is there.
    StorageKey {
        /// The key.
        public: Vec<u8>,
    },
    /// Put another definition in the place of this one. Keys that are not given stay.
    Replace {
        /// What it is from now on, of the same kind and name.
        new: Box<NewEntry>,
        /// The version that it must have.
        version: Option<u64>,
    },
    /// Note that its keys are being said.
    Reveal,
    /// Forget it and its keys. Registrations by it are over, and answer the record as it was.
    Delete {
        /// The version that it must have.
        version: Option<u64>,
    },
}

words! {
    /// What the holder of a service key may do with the entries of its product.
    ServiceAccess {
        /// Read entries and registrations.
        Read = "read",
        /// Make, change and delete them as well.
        Write = "write",
        /// Ask for their keys as well.
        Keys = "keys",
    }
}

impl ServiceAccess {
    /// Whether who may do this may do that as well.
    #[must_use]
    pub const fn includes(self, other: Self) -> bool {
        self as u8 >= other as u8
    }
}

/// A key by which scripts come to the service API.
#[derive(Clone, PartialEq, Eq)]
pub struct ServiceKeyRecord {
    /// Its name, by which tokens name it.
    pub name: String,
    /// The product whose entries it is for.
    pub product: String,
    /// The name by which the server is reached: tokens are signed for it.
    pub host: String,
    /// What its holder may do.
    pub access: ServiceAccess,
    /// The key, sealed.
    pub sealed: Vec<u8>,
    /// When it was made.
    pub created_at: UnixTime,
}

/// Sealed or not, keys are not printed.
impl fmt::Debug for ServiceKeyRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServiceKeyRecord")
            .field("name", &self.name)
            .field("product", &self.product)
            .field("host", &self.host)
            .field("access", &self.access)
            .finish_non_exhaustive()
    }
}

/// Which entries may register this device? What the ledger is asked before that is decided.
#[derive(Debug, Clone)]
pub struct EntryQuery {
    /// The registration id, in lower case.
    pub id: String,
    /// What is shown.
    pub shown: EntryEvidence,
}

/// By what an entry would be found.
#[derive(Debug, Clone)]
pub enum EntryEvidence {
    /// A signature by a shared key.
    SharedKey,
    /// A certificate: the issuers that its chain names, Names in DER, at most 5.
    Certificate {
        /// From the device's own certificate on.
        issuers: Vec<Vec<u8>>,
    },
}

/// Everything that bears on which entry a device is of, read at one moment.
#[derive(Debug, Clone, Default)]
pub struct EntryFacts {
    /// The individual entry with this registration id.
    pub individual: Option<EntryRecord>,
    /// Groups that may be the device's. For a certificate: those that name one of the issuers. For a
    /// shared key: the one by which it is registered, if there is one, else all that have keys, at most
    /// [`MOST_KEY_GROUPS`].
    pub groups: Vec<EntryRecord>,
    /// The registration on record, with its device.
    pub registered: Option<(EntryRegistration, DeviceRecord)>,
}

/// So many groups with shared keys there may be: a stranger's signature is compared with each (Azure
/// DPS: 100).
pub const MOST_KEY_GROUPS: usize = 100;

/// A registration on record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EntryRegistration {
    /// The registration id, in lower case.
    pub id: String,
    /// The same as the device wrote it: its key was derived from that.
    pub presented: String,
    /// The entry's kind.
    pub kind: EntryKind,
    /// The entry.
    pub entry: String,
    /// The device.
    pub device: DeviceId,
    /// The hub that it was told.
    pub hub: String,
    /// Whether the entry's key is what the device has, and not a certificate.
    pub shared_key: bool,
    /// Whether it still is what the device may use: an operator, or a certificate that took its place,
    /// ends it.
    pub live: bool,
    /// When it was made.
    pub created_at: UnixTime,
    /// When it last changed.
    pub updated_at: UnixTime,
    /// When the device first came with its key to the hub.
    pub verified_at: Option<UnixTime>,
    /// Grows with every change that the device is told of.
    pub version: u64,
}

/// The permission to register one device by an entry.
#[derive(Debug, Clone)]
pub struct EntryGrant {
    /// The device, with its certificate or a shared key.
    pub grant: RegistrationGrant,
    /// The entry's kind.
    pub kind: EntryKind,
    /// The entry.
    pub entry: String,
    /// The version of the entry that was decided on.
    pub entry_version: u64,
    /// The registration id, in lower case.
    pub id: String,
    /// The same as the device wrote it.
    pub presented: String,
    /// The hub that it is told.
    pub hub: String,
}

/// What bears on a device that comes with a shared key, read at one moment.
#[derive(Debug, Clone)]
pub struct SharedKeyFacts {
    /// The device.
    pub device: DeviceRecord,
    /// Its product.
    pub product: Product,
    /// Its registration.
    pub registration: EntryRegistration,
    /// The entry by which it was registered.
    pub entry: EntryRecord,
    /// The device's own entry, where it was registered by another one.
    pub own: Option<EntryRecord>,
}

/// What a shared key was judged by. When either has changed, the key may not be one any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeyJudged {
    /// The entry's version.
    pub entry: u64,
    /// The registration's version.
    pub registration: u64,
}

impl SharedKeyFacts {
    /// The versions of what these facts were read from.
    #[must_use]
    pub const fn judged(&self) -> KeyJudged {
        KeyJudged {
            entry: self.entry.version,
            registration: self.registration.version,
        }
    }
}
