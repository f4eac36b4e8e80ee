//! What the ledger keeps of claims, pending certificates, things and registered CAs.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;

use imprint_attest::KeyFingerprint;
use imprint_identity::{DeviceId, HardwareId, IdentityStrength, UnixTime};

use super::record::words;
use super::{
    CertificateRecord, CertificateState, Credential, DeviceRecord, EntryRegistration,
    RequestOrigin, RevocationReason,
};
use crate::claims::definition::{Claim, RegisteredCa, Template};
use crate::claims::thing::{PolicySpec, ThingValues};
use crate::product::Product;
use crate::registry::{Reference, Registry};
use crate::serial::{EnrollmentId, Serial};

words! {
    /// Where a claim stands.
    ClaimState {
        /// It provisions devices.
        Active = "active",
        /// Stopped, by its brake or by an operator, until an operator thaws it.
        Frozen = "frozen",
        /// Ended for good.
        Revoked = "revoked",
    }
}

words! {
    /// Where one certificate of a claim stands.
    ClaimCertificateState {
        /// Written down, not signed as far as we know.
        Intended = "intended",
        /// It is heard.
        Active = "active",
        /// It is not heard any more.
        Revoked = "revoked",
    }
}

words! {
    /// Where a pending certificate stands.
    PendingState {
        /// Good for nothing but the registration of its device.
        Pending = "pending",
        /// It is its device's certificate.
        Registered = "registered",
        /// It was never registered, and is revoked or was never signed.
        Ended = "ended",
    }
}

words! {
    /// What a claim's brake counts.
    ClaimAlarmKind {
        /// Hardware that is not on the allowlist has asked.
        UnknownHardware = "unknown-hardware",
        /// A second key has asked for a device whose first certificate is in use.
        TwoKeys = "two-keys",
    }
}

/// SHA-256 of a certificate in DER: the name under which a claim's certificate is known, and in hex
/// what AWS calls a certificate id.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CertificateFingerprint(pub [u8; 32]);

impl fmt::Display for CertificateFingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for CertificateFingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CertificateFingerprint({self})")
    }
}

impl FromStr for CertificateFingerprint {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        crate::serial::hex_array(text).map(Self).ok_or(())
    }
}

/// Definitions to be added or changed, all or none. What is not named stays.
#[derive(Debug, Clone, Default)]
pub struct Definitions {
    /// Products.
    pub products: Vec<Product>,
    /// Groups, types and policies.
    pub registry: Registry,
    /// Templates.
    pub templates: Vec<Template>,
    /// Claims. Their state, certificates and counts stay.
    pub claims: Vec<Claim>,
    /// Registered CAs.
    pub authorities: Vec<AuthorityRecord>,
}

/// A registered CA with its certificate read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuthorityRecord {
    /// The definition.
    pub ca: RegisteredCa,
    /// Its certificate.
    pub der: Vec<u8>,
    /// Its subject, a Name in DER: what its certificates name as their issuer.
    pub subject_der: Vec<u8>,
}

/// A claim on record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClaimRecord {
    /// The definition.
    pub claim: Claim,
    /// Where it stands.
    pub state: ClaimState,
    /// Why it is frozen or revoked, in one sentence.
    pub reason: Option<String>,
    /// Devices registered with it, ever.
    pub granted: u64,
    /// Different hardware ids that were not on the allowlist, since it was last thawed.
    pub unknown_hardware: u32,
    /// Different hardware ids for which a second key asked, since it was last thawed.
    pub two_keys: u32,
    /// Different keys, or devices that waited for an operator, that were certified and never registered,
    /// since it was last thawed. Not counted where `limits.unregistered` is 0.
    pub unregistered: u32,
    /// Its certificates, newest first, at most 32.
    pub certificates: Vec<ClaimCertificate>,
    /// Certificates of it that wait for their registration.
    pub pending: u32,
    /// When it was first written down.
    pub created_at: UnixTime,
    /// When its definition or state last changed.
    pub updated_at: UnixTime,
}

/// One certificate of a claim.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClaimCertificate {
    /// SHA-256 of its DER; `None` until it is signed.
    pub fingerprint: Option<CertificateFingerprint>,
    /// Its serial number, if we issued it.
    pub serial: Option<Serial>,
    /// The certificate; `None` until it is signed.
    pub der: Option<Vec<u8>>,
    /// Where it stands.
    pub state: ClaimCertificateState,
    /// Its notBefore.
    pub not_before: UnixTime,
    /// Its notAfter.
    pub not_after: UnixTime,
    /// When it was written down.
    pub at: UnixTime,
}

/// The permission to sign one certificate of a claim.
#[derive(Debug, Clone)]
pub struct ClaimCertificateGrant {
    /// The claim.
    pub claim: String,
    /// Its serial number.
    pub serial: Serial,
    /// The authority that will sign.
    pub issuer: String,
    /// What it will sign.
    pub to_be_signed: Vec<u8>,
    /// Its key.
    pub key: KeyFingerprint,
    /// Its notBefore.
    pub not_before: UnixTime,
    /// Its notAfter.
    pub not_after: UnixTime,
}

/// A claim certificate that somebody else issued.
#[derive(Debug, Clone)]
pub struct ForeignClaimCertificate {
    /// SHA-256 of its DER.
    pub fingerprint: CertificateFingerprint,
    /// The certificate.
    pub der: Vec<u8>,
    /// Its notBefore.
    pub not_before: UnixTime,
    /// Its notAfter.
    pub not_after: UnixTime,
}

/// What an operator does to a claim.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ClaimAct {
    /// End it for good; its certificates are revoked. Devices that it has provisioned stay.
    Revoke {
        /// Why, in words.
        reason: String,
    },
    /// Stop it.
    Freeze {
        /// Why, in words.
        reason: String,
    },
    /// Let it go on; its brake begins to count anew.
    Thaw,
    /// End one of its certificates.
    RevokeCertificate {
        /// Which one.
        fingerprint: CertificateFingerprint,
        /// For the list, if it is one of ours.
        reason: RevocationReason,
    },
}

/// Something that a claim's brake counts.
#[derive(Debug, Clone)]
pub struct ClaimAlarm {
    /// The claim.
    pub claim: String,
    /// What it is.
    pub kind: ClaimAlarmKind,
    /// The hardware id that was asked for.
    pub hardware: HardwareId,
    /// The key that asked.
    pub key: KeyFingerprint,
    /// From where.
    pub address: String,
}

/// A certificate issued to (claim, key) before its device is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PendingRecord {
    /// The claim by which it was asked for.
    pub claim: String,
    /// Where it stands.
    pub state: PendingState,
    /// Its serial number.
    pub serial: Serial,
    /// The authority that issues it.
    pub issuer: String,
    /// Its key.
    pub key: KeyFingerprint,
    /// Where the certificate stands.
    pub certificate_state: CertificateState,
    /// What is to be signed, exactly.
    pub to_be_signed: Vec<u8>,
    /// The certificate, once it is settled.
    pub der: Option<Vec<u8>>,
    /// Its notBefore.
    pub not_before: UnixTime,
    /// Its notAfter.
    pub not_after: UnixTime,
    /// When it was written down.
    pub at: UnixTime,
    /// What was made of it.
    pub registered: Option<RegisteredRecord>,
}

/// What a registration made of a pending certificate, and its answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RegisteredRecord {
    /// The device.
    pub device: DeviceId,
    /// Its hardware.
    pub hardware: HardwareId,
    /// The template; a product's name for a product's own.
    pub template: String,
    /// The thing, if the template made one.
    pub thing: Option<String>,
    /// The answer, as it was given.
    pub answer: Vec<u8>,
}

/// The permission to sign one pending certificate.
#[derive(Debug, Clone)]
pub struct PendingGrant {
    /// The way through the road, for the journal.
    pub enrollment: EnrollmentId,
    /// The claim.
    pub claim: String,
    /// The claim's certificate that was shown.
    pub shown: CertificateFingerprint,
    /// The key.
    pub key: KeyFingerprint,
    /// The serial number.
    pub serial: Serial,
    /// The authority that will sign.
    pub issuer: String,
    /// What it will sign.
    pub to_be_signed: Vec<u8>,
    /// Its notBefore.
    pub not_before: UnixTime,
    /// Its notAfter.
    pub not_after: UnixTime,
    /// Where the request came in.
    pub origin_of_request: RequestOrigin,
}

/// A thing on record: what a template made of a device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ThingRecord {
    /// Its name.
    pub name: String,
    /// The device that it is.
    pub device: DeviceId,
    /// What a template gave it.
    pub values: ThingValues,
    /// What its product gives it.
    pub given: Given,
    /// When it was made.
    pub created_at: UnixTime,
    /// When it last changed.
    pub updated_at: UnixTime,
    /// Grows with every change.
    pub version: u64,
}

/// What a product gives each of its devices, as it is now.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Given {
    /// Groups.
    pub groups: Vec<String>,
    /// Attributes.
    pub attributes: BTreeMap<String, String>,
}

impl Given {
    /// What this product gives.
    #[must_use]
    pub fn by(product: &Product) -> Self {
        Self {
            groups: product.groups.clone(),
            attributes: product.attributes.clone(),
        }
    }

    /// The groups of a device whose thing, if it is one, has these: in order, each once.
    #[must_use]
    pub fn groups_with(&self, own: &[String]) -> Vec<String> {
        let all: BTreeSet<_> = self.groups.iter().chain(own).cloned().collect();
        all.into_iter().collect()
    }

    /// The attributes of a device whose thing, if it is one, has these: where both say something, its
    /// own word counts.
    #[must_use]
    pub fn attributes_with(&self, own: &BTreeMap<String, String>) -> BTreeMap<String, String> {
        let mut all = self.attributes.clone();
        all.extend(own.clone());
        all
    }
}

/// Which things to list.
#[derive(Debug, Clone, Default)]
pub struct ThingFilter {
    /// In this group alone, by a template or by their product.
    pub group: Option<String>,
    /// Names after this one.
    pub after: Option<String>,
    /// At most so many; 0 means 1,000.
    pub limit: u32,
}

/// A thing as it is to be.
#[derive(Debug, Clone)]
pub struct ThingChange {
    /// Its name.
    pub name: String,
    /// What it is to have.
    pub values: ThingValues,
    /// Policies to be kept if they are not there.
    pub policies: Vec<PolicySpec>,
    /// What it names, to be added to the registry where it is not there.
    pub references: BTreeSet<Reference>,
    /// The version that was decided on; `None` when there was no thing of this name.
    pub version: Option<u64>,
}

/// Who is this certificate? What the ledger is asked before that is decided.
#[derive(Debug, Clone)]
pub struct ArrivalQuery {
    /// SHA-256 of the certificate.
    pub fingerprint: CertificateFingerprint,
    /// The serial number under which the certificate would be on record.
    pub serial: Serial,
    /// The issuers that its chain names, Names in DER, at most 5.
    pub issuers: Vec<Vec<u8>>,
}

/// Everything that bears on who a certificate is, read at one moment.
#[derive(Debug, Clone, Default)]
pub struct ArrivalFacts {
    /// The claim whose certificate this is, with the certificate.
    pub claim: Option<(ClaimRecord, ClaimCertificate)>,
    /// The claim's product.
    pub product: Option<Product>,
    /// The device's certificate with this serial number, its device and product.
    pub credential: Option<Credential>,
    /// The pending certificate with this serial number, whatever its state.
    pub pending: Option<PendingRecord>,
    /// Registered CAs with one of the issuers' names.
    pub authorities: Vec<(AuthorityRecord, Option<Product>, Option<Template>)>,
}

/// What the road asks the ledger before it decides about a claim's request or a newcomer.
#[derive(Debug, Clone, Default)]
pub struct RegistrationQuery {
    /// The claim, and the certificate of it that was shown.
    pub claim: Option<(String, CertificateFingerprint)>,
    /// The product, where there is no claim.
    pub product: Option<String>,
    /// The key.
    pub key: Option<KeyFingerprint>,
    /// The pending certificate, or the record of the certificate that was shown.
    pub serial: Option<Serial>,
    /// The template.
    pub template: Option<String>,
    /// The hardware.
    pub hardware: Option<HardwareId>,
    /// The name of the thing.
    pub thing: Option<String>,
    /// The registered CA.
    pub authority: Option<String>,
    /// What the thing names.
    pub references: BTreeSet<Reference>,
}

/// Everything that bears on one request of a claim or a newcomer, read at one moment.
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a fact of its own, read at one moment"
)]
#[derive(Debug, Clone, Default)]
pub struct RegistrationFacts {
    /// The claim.
    pub claim: Option<ClaimRecord>,
    /// The certificate of it that was shown.
    pub shown: Option<ClaimCertificate>,
    /// The claim's product, else the one that was named.
    pub product: Option<Product>,
    /// The template of that name, whatever its product.
    pub template: Option<Template>,
    /// The pending certificate: by serial number if one was asked for, else the one of this claim and
    /// key that has not ended.
    pub pending: Option<PendingRecord>,
    /// The device's certificate with this serial number.
    pub certificate: Option<CertificateRecord>,
    /// The device that owns the key.
    pub key_owner: Option<DeviceRecord>,
    /// The device with this hardware.
    pub device: Option<DeviceRecord>,
    /// Whether that device has a certificate that lives.
    pub device_has_live: bool,
    /// Whether one of them has been used.
    pub device_in_use: bool,
    /// Whether a certificate of that device on this key was revoked.
    pub key_was_revoked: bool,
    /// That device's registration by an entry.
    pub registration: Option<EntryRegistration>,
    /// Whether the hardware is on the product's allowlist.
    pub allowed: bool,
    /// Until when (device, key) is approved.
    pub approved_until: Option<UnixTime>,
    /// The device on whose list the key stands, waiting or approved.
    pub listed_for: Option<DeviceId>,
    /// The thing of this name.
    pub thing: Option<ThingRecord>,
    /// The device whose name the thing would have.
    pub named: Option<DeviceId>,
    /// The registered CA of this name.
    pub authority: Option<AuthorityRecord>,
    /// What the thing names and the registry does not have.
    pub missing: Vec<Reference>,
}

/// The permission to register one device with a certificate that is there already: a pending one, or
/// a foreign one.
#[derive(Debug, Clone)]
pub struct RegistrationGrant {
    /// The way through the road, for the journal.
    pub enrollment: EnrollmentId,
    /// The device's name.
    pub device: DeviceId,
    /// Its hardware.
    pub hardware: HardwareId,
    /// How strongly that is proven.
    pub strength: IdentityStrength,
    /// Its product.
    pub product: String,
    /// The version of the device's record that was decided on; `None` when it had none.
    pub device_version: Option<u64>,
    /// The key.
    pub key: KeyFingerprint,
    /// The certificate.
    pub certificate: RegistrationCertificate,
    /// The template; a product's name for a product's own.
    pub template: String,
    /// The thing, if the template makes one.
    pub thing: Option<ThingChange>,
    /// The device is held, with its certificate, until an operator activates it.
    pub held: bool,
    /// The hardware is on the product's allowlist.
    pub listed: bool,
    /// The end of the certificate that was shown, where it was past that and heard by a grace. For the
    /// journal.
    pub past_end: Option<UnixTime>,
    /// Where the request came in.
    pub origin_of_request: RequestOrigin,
}

/// The certificate that a registration is for.
#[derive(Debug, Clone)]
pub enum RegistrationCertificate {
    /// One that waits for it.
    Pending {
        /// The claim.
        claim: String,
        /// The certificate of the claim that was shown: it is good still when this is carried out.
        shown: CertificateFingerprint,
        /// The certificate's serial number.
        serial: Serial,
        /// The answer, to be given again.
        answer: Vec<u8>,
    },
    /// One of a registered CA.
    Foreign {
        /// The CA's name.
        authority: String,
        /// The serial number under which it is kept.
        serial: Serial,
        /// The certificate.
        der: Vec<u8>,
        /// Its to-be-signed part.
        to_be_signed: Vec<u8>,
        /// Its notBefore.
        not_before: UnixTime,
        /// Its notAfter.
        not_after: UnixTime,
    },
    /// None: the device has a key that its entry has as well.
    SharedKey,
    /// One that the road has issued to the device just now.
    Own {
        /// Its serial number.
        serial: Serial,
    },
}

/// The outcome of a write by a claim.
#[derive(Debug, Clone)]
pub enum Claimed<T> {
    /// On record, by this call or an earlier one.
    Done(T),
    /// The facts that were decided on have changed: read again.
    Changed,
    /// The claim has been used as often as it may.
    UsedUp,
    /// The claim is used too fast, or has too many certificates pending.
    Limited {
        /// When to come back, in seconds.
        seconds: u32,
        /// What there is too much of, in words.
        why: String,
    },
}

/// A registration on record.
#[derive(Debug, Clone)]
pub struct Registered {
    /// The device.
    pub device: DeviceRecord,
    /// The answer on record; empty for a foreign certificate.
    pub answer: Vec<u8>,
    /// Whether it had been registered before.
    pub again: bool,
}
