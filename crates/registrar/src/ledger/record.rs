//! What the ledger keeps, and what is asked of it.

use std::fmt;
use std::str::FromStr;

use imprint_attest::KeyFingerprint;
use imprint_identity::{DeviceId, HardwareId, IdentityStrength, Step, UnixTime};

use super::{EntryRegistration, Given, ThingRecord};
use crate::pace::Ticks;
use crate::product::Product;
use crate::serial::{EnrollmentId, Serial};

/// An enum that is stored and shown by one word a variant.
macro_rules! words {
    ($(#[$meta:meta])* $name:ident { $($(#[$vmeta:meta])* $variant:ident = $word:literal,)* }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $name { $($(#[$vmeta])* $variant,)* }

        impl $name {
            /// Every one.
            pub const ALL: &[Self] = &[$(Self::$variant,)*];

            /// The word under which it is stored and shown.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word,)* }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(self.as_str())
            }
        }

        impl FromStr for $name {
            type Err = ();

            fn from_str(word: &str) -> Result<Self, ()> {
                Self::ALL.iter().copied().find(|one| one.as_str() == word).ok_or(())
            }
        }
    };
}
pub(super) use words;

words! {
    /// Where a token stands.
    TokenState {
        /// Made, and asleep until an operator arms it.
        Dormant = "dormant",
        /// Made, and open to the first key that asks.
        Minted = "minted",
        /// Serving one key, until the device proves receipt.
        Leased = "leased",
        /// The device came back with its certificate.
        Spent = "spent",
        /// Taken back by an operator.
        Revoked = "revoked",
    }
}

words! {
    /// Where a device stands.
    DeviceState {
        /// Named, without a certificate.
        Pending = "pending",
        /// Registered.
        Active = "active",
        /// Waiting for an operator's approval.
        Held = "held",
        /// Put aside by an operator; its certificate is refused until it is released.
        Quarantined = "quarantined",
        /// Its certificates are revoked.
        Revoked = "revoked",
        /// Gone for good.
        Decommissioned = "decommissioned",
    }
}

impl DeviceState {
    /// Whether a token that is not bound to this hardware must leave it alone (takeover).
    #[must_use]
    pub const fn is_registered(self) -> bool {
        !matches!(self, Self::Pending | Self::Held)
    }
}

words! {
    /// Where a certificate stands.
    CertificateState {
        /// Written down, not signed as far as we know.
        Intended = "intended",
        /// Signed and on record; not seen in use.
        Issued = "issued",
        /// The device has shown it.
        Active = "active",
        /// Replaced by a newer one that is in use; revoked for that reason.
        Superseded = "superseded",
        /// Revoked.
        Revoked = "revoked",
        /// The intent was voided before a signature was kept.
        Void = "void",
    }
}

impl CertificateState {
    /// Whether it may still be used or come to be used.
    #[must_use]
    pub const fn is_live(self) -> bool {
        matches!(self, Self::Intended | Self::Issued | Self::Active)
    }
}

words! {
    /// How a certificate came to be.
    CertificateOrigin {
        /// By a bootstrap credential.
        Enrolled = "enrolled",
        /// By the certificate before it.
        Renewed = "renewed",
        /// By an operator's hand, from a request.
        ByHand = "by-hand",
        /// Found outside the registry and taken in.
        Adopted = "adopted",
        /// By a claim: pending until its device is registered.
        Claimed = "claimed",
        /// A claim's own certificate. It is no device's.
        Claim = "claim",
        /// Another CA's, taken in at the device's first connection.
        Foreign = "foreign",
        /// For a key of which a TPM has stated that it lives there.
        Attested = "attested",
    }
}

words! {
    /// Why a certificate was revoked (RFC 5280 section 5.3.1).
    RevocationReason {
        /// No reason is given.
        Unspecified = "unspecified",
        /// The private key is known to others.
        KeyCompromise = "key-compromise",
        /// A newer certificate is in use.
        Superseded = "superseded",
        /// The device is out of service.
        CessationOfOperation = "cessation-of-operation",
        /// The right to it was withdrawn.
        PrivilegeWithdrawn = "privilege-withdrawn",
    }
}

impl RevocationReason {
    /// The CRLReason number (RFC 5280 section 5.3.1).
    #[must_use]
    pub const fn number(self) -> u8 {
        match self {
            Self::Unspecified => 0,
            Self::KeyCompromise => 1,
            Self::Superseded => 4,
            Self::CessationOfOperation => 5,
            Self::PrivilegeWithdrawn => 9,
        }
    }
}

/// The keyed hash under which a token is known: HMAC-SHA256 of its secret.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct TokenHash(pub [u8; 32]);

impl fmt::Debug for TokenHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TokenHash({:02x}{:02x}..)", self.0[0], self.0[1])
    }
}

/// What a certificate is the first answer to: the same key asking with the same generation gets the
/// same certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Generation {
    /// A bootstrap credential: this token.
    Token(TokenHash),
    /// A renewal of the certificate with this serial.
    Renewal(Serial),
    /// An operator's hand; one certificate a key.
    Operator,
    /// A claim; one certificate a claim and key, as the ledger's pending records say.
    Claim,
    /// A certificate that the device had when it came.
    Foreign,
    /// An entry's shared key or TPM; one certificate a device and key.
    Entry,
    /// A TPM's statement about the key; one certificate a key.
    Attested,
}

impl Generation {
    /// The octets under which it is stored: one for the kind, then the hash or serial.
    #[must_use]
    pub fn octets(&self) -> Vec<u8> {
        match self {
            Self::Token(hash) => [&[1][..], &hash.0].concat(),
            Self::Renewal(serial) => [&[2][..], &serial.0].concat(),
            Self::Operator => vec![3],
            Self::Claim => vec![4],
            Self::Foreign => vec![5],
            Self::Entry => vec![6],
            Self::Attested => vec![7],
        }
    }

    /// Reads what [`Self::octets`] wrote.
    #[must_use]
    pub fn from_octets(octets: &[u8]) -> Option<Self> {
        match octets.split_first()? {
            (1, hash) => Some(Self::Token(TokenHash(hash.try_into().ok()?))),
            (2, serial) => Some(Self::Renewal(Serial::from_octets(serial)?)),
            (3, []) => Some(Self::Operator),
            (4, []) => Some(Self::Claim),
            (5, []) => Some(Self::Foreign),
            (6, []) => Some(Self::Entry),
            (7, []) => Some(Self::Attested),
            _ => None,
        }
    }
}

/// What the road asks the ledger before it decides.
#[derive(Debug, Clone)]
pub struct FactsQuery {
    /// The product that the path or the operator names, if one is named.
    pub product: Option<String>,
    /// The token's keyed hash, if a token was shown.
    pub token: Option<TokenHash>,
    /// The hardware id that the device or operator typed, if any.
    pub asserted: Option<HardwareId>,
    /// The serial of the client certificate, if one was shown.
    pub shown: Option<Serial>,
    /// The public key that is to be certified (or, for server-made keys, that asks).
    pub key: KeyFingerprint,
    /// What the answer would be the first answer to.
    pub generation: Generation,
}

/// Everything that bears on one request, read at one moment.
#[derive(Debug, Clone, Default)]
pub struct Facts {
    /// The token.
    pub token: Option<TokenRecord>,
    /// The certificate that was shown, with its device and product.
    pub shown: Option<Credential>,
    /// The product: the shown certificate's, else the token's, else the one that was named.
    pub product: Option<Product>,
    /// Whether a product was named and exists.
    pub named_product_exists: bool,
    /// The device with this hardware: the shown certificate's, else by the asserted id, else by the
    /// id to which the token is bound.
    pub device: Option<DeviceRecord>,
    /// The newest certificate, whatever its state but void, with this device, request key and
    /// generation.
    pub same: Option<CertificateRecord>,
    /// The device's live certificates, newest first.
    pub live: Vec<CertificateRecord>,
    /// The device that owns the public key.
    pub key_owner: Option<DeviceId>,
    /// Whether the hardware is on the product's allowlist.
    pub allowed: bool,
    /// Until when (device, key) is approved.
    pub approved_until: Option<UnixTime>,
}

/// A token on record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenRecord {
    /// A short public name, `t-` and 12 hex digits; no part of the secret.
    pub id: String,
    /// The keyed hash of the secret.
    pub hash: TokenHash,
    /// The product that it lets devices into.
    pub product: String,
    /// The hardware that it is for, if it is for one.
    pub bound: Option<HardwareId>,
    /// Where it stands.
    pub state: TokenState,
    /// Whom it serves, from the first request on; stays when it is spent.
    pub lease: Option<Lease>,
    /// When it was made.
    pub minted_at: UnixTime,
    /// Until when a lease may begin.
    pub expires_at: UnixTime,
    /// When the device proved receipt.
    pub spent_at: Option<UnixTime>,
    /// How often another key has knocked.
    pub alarms: u32,
    /// Who made it.
    pub minted_by: String,
}

/// Whom a token serves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease {
    /// The key.
    pub key: KeyFingerprint,
    /// The device.
    pub device: DeviceId,
    /// Since when.
    pub since: UnixTime,
    /// From which address the first request came.
    pub address: String,
}

/// A token to be kept.
#[derive(Debug, Clone)]
pub struct NewToken {
    /// Its public name.
    pub id: String,
    /// The keyed hash of its secret.
    pub hash: TokenHash,
    /// The product.
    pub product: String,
    /// The hardware that it is for, if it is for one.
    pub bound: Option<HardwareId>,
    /// Whether it sleeps until it is armed.
    pub dormant: bool,
    /// Until when a lease may begin.
    pub expires_at: UnixTime,
}

/// Which tokens to list.
#[derive(Debug, Clone, Default)]
pub struct TokenFilter {
    /// Of this product alone.
    pub product: Option<String>,
    /// In this state alone.
    pub state: Option<TokenState>,
    /// At most so many; 0 means 1,000.
    pub limit: u32,
}

/// What an operator does to a token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TokenAct {
    /// Take it back.
    Revoke,
    /// Wake it.
    Arm,
    /// Take it from its holder and open it again.
    Rebind {
        /// Bind it to this hardware; `None` leaves its binding as it is.
        hardware: Option<HardwareId>,
    },
}

/// A second key at a token.
#[derive(Debug, Clone)]
pub struct TokenAlarm {
    /// The token.
    pub hash: TokenHash,
    /// The second key.
    pub key: KeyFingerprint,
    /// What the second asker called itself.
    pub hardware: Option<HardwareId>,
    /// Where it came from.
    pub address: String,
}

/// The outcome of an operator's act.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Acted<T> {
    /// Done, or done already; the record after.
    Done(T),
    /// There is no such thing.
    Absent,
    /// Its state does not allow it.
    NotNow {
        /// The state as a word.
        state: &'static str,
    },
}

/// A device on record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceRecord {
    /// Its name.
    pub id: DeviceId,
    /// Its product.
    pub product: String,
    /// Its hardware; no two devices have the same.
    pub hardware: HardwareId,
    /// How strongly that hardware was proven.
    pub strength: IdentityStrength,
    /// Where it stands with the fleet.
    pub state: DeviceState,
    /// Where it stands on its way.
    pub step: Step,
    /// Whether an operator has allowed the next enrollment to replace its key.
    pub released: bool,
    /// Why it is quarantined, revoked or decommissioned, in the operator's words.
    pub reason: Option<String>,
    /// When it was first heard of.
    pub created_at: UnixTime,
    /// When anything here last changed.
    pub updated_at: UnixTime,
    /// Grows with every change.
    pub version: u64,
}

/// Which devices to list.
#[derive(Debug, Clone, Default)]
pub struct DeviceFilter {
    /// Of this product alone.
    pub product: Option<String>,
    /// In this state alone.
    pub state: Option<DeviceState>,
    /// Names after this one.
    pub after: Option<String>,
    /// At most so many; 0 means 1,000.
    pub limit: u32,
}

/// A device and everything about it.
#[derive(Debug, Clone)]
pub struct DeviceFile {
    /// The device.
    pub device: DeviceRecord,
    /// Its certificates, newest first.
    pub certificates: Vec<CertificateRecord>,
    /// The keys that wait for approval, with the time of their first request.
    pub waiting: Vec<(KeyFingerprint, UnixTime)>,
    /// What it said about itself, newest first.
    pub reports: Vec<Report>,
    /// What it was refused, newest first; by name and by hardware id.
    pub refusals: Vec<RefusalSample>,
    /// The token that serves it, if one does.
    pub token: Option<TokenRecord>,
    /// The thing that a template made of it, if one did.
    pub thing: Option<ThingRecord>,
    /// The registration by an entry, if there is one.
    pub registration: Option<EntryRegistration>,
    /// What its product gives it.
    pub given: Given,
}

/// What an operator does to a device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DeviceAct {
    /// Approve the key that waits (the only one, or this one) for `until`. A `held` device stays
    /// `held` until it asks again. `NotNow` when nobody or, without a key, more than one waits.
    Approve {
        /// Which key, when several wait.
        key: Option<KeyFingerprint>,
        /// Until when the approval holds.
        until: UnixTime,
    },
    /// Put it aside. From `active`, `pending`, `held`, `quarantined`. Intents are voided and
    /// approvals end; certificates stay as they are.
    Quarantine {
        /// Why.
        reason: String,
    },
    /// Take it back into the fleet: `active` if it has a live certificate, else `pending`.
    Release {
        /// With: let the next enrollment replace its key (`released`), from quarantine, revocation or
        /// decommissioning as well. An enrollment with a key that never verified is revoked.
        ///
        /// Without: end its quarantine and allow nothing else. Certificates stay as they are; `NotNow`
        /// when it is revoked or decommissioned, for there is no key that it could keep.
        new_key: bool,
    },
    /// Take it out of service: every live certificate revoked, cessation-of-operation.
    Decommission {
        /// Why.
        reason: String,
    },
    /// Revoke every live certificate; intents are voided.
    Revoke {
        /// For the list.
        reason: RevocationReason,
        /// Why, in words.
        note: String,
    },
}

/// A certificate on record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateRecord {
    /// Its serial number.
    pub serial: Serial,
    /// Whose it is.
    pub device: DeviceId,
    /// The authority that issues it.
    pub issuer: String,
    /// The key that asked.
    pub request_key: KeyFingerprint,
    /// The key that is certified; the same unless the server made it.
    pub subject_key: KeyFingerprint,
    /// What it is the first answer to.
    pub generation: Generation,
    /// How it came to be.
    pub origin: CertificateOrigin,
    /// Where it stands.
    pub state: CertificateState,
    /// What is to be signed, exactly.
    pub to_be_signed: Vec<u8>,
    /// The certificate, once it is settled.
    pub der: Option<Vec<u8>>,
    /// The subject that the request asked for, as DER; a renewal may repeat it.
    pub asked_subject: Vec<u8>,
    /// The server-made private key, sealed, until it is wiped.
    pub sealed_key: Option<Vec<u8>>,
    /// Its notBefore.
    pub not_before: UnixTime,
    /// Its notAfter.
    pub not_after: UnixTime,
    /// When it was written down.
    pub intended_at: UnixTime,
    /// When its signature was kept.
    pub settled_at: Option<UnixTime>,
    /// When the device first showed it.
    pub verified_at: Option<UnixTime>,
    /// When it was revoked, and why.
    pub revoked: Option<(UnixTime, RevocationReason)>,
}

/// A certificate with its device and product.
#[derive(Debug, Clone)]
pub struct Credential {
    /// The certificate.
    pub certificate: CertificateRecord,
    /// Its device.
    pub device: DeviceRecord,
    /// Its device's product.
    pub product: Product,
    /// Whether an entry brought it in, and the registration by that entry is over: then it is a
    /// credential no longer.
    pub registration_over: bool,
}

/// The permission to sign one certificate: what [`Ledger::enrollment_intend`] writes down.
///
/// [`Ledger::enrollment_intend`]: super::Ledger::enrollment_intend
#[derive(Debug, Clone)]
pub struct Grant {
    /// The way through the road, for the journal.
    pub enrollment: EnrollmentId,
    /// Whose certificate.
    pub device: DeviceId,
    /// Its hardware.
    pub hardware: HardwareId,
    /// How strongly that is proven.
    pub strength: IdentityStrength,
    /// Its product.
    pub product: String,
    /// The version of the device's record that was decided on; `None` when it had none.
    pub device_version: Option<u64>,
    /// The key that asks.
    pub request_key: KeyFingerprint,
    /// The key that is certified.
    pub subject_key: KeyFingerprint,
    /// What it is the first answer to.
    pub generation: Generation,
    /// How it comes to be.
    pub origin: CertificateOrigin,
    /// An unused successor with another key, to be revoked as superseded; or an intent of the same
    /// key that is past its end.
    pub replaces: Option<Serial>,
    /// The serial number.
    pub serial: Serial,
    /// The authority that will sign.
    pub issuer: String,
    /// What it will sign.
    pub to_be_signed: Vec<u8>,
    /// The subject that the request asked for, as DER; a renewal may repeat it.
    pub asked_subject: Vec<u8>,
    /// The server-made private key, sealed.
    pub sealed_key: Option<Vec<u8>>,
    /// Its notBefore.
    pub not_before: UnixTime,
    /// Its notAfter.
    pub not_after: UnixTime,
    /// The end of the credential that was shown, where it was past that and heard by its product's
    /// grace. For the journal.
    pub past_end: Option<UnixTime>,
    /// The door and the address, for the journal and the lease.
    pub origin_of_request: RequestOrigin,
}

/// Where a request came in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestOrigin {
    /// The door: `est`, `mqtt`, `admin`. Where a product has a word for it, that one
    /// ([`crate::door::Door`]).
    pub door: &'static str,
    /// The address, or the operator's name.
    pub address: String,
    /// When it came in, for the pace.
    pub at: Ticks,
}

/// What is on record after [`Ledger::enrollment_intend`].
///
/// [`Ledger::enrollment_intend`]: super::Ledger::enrollment_intend
#[derive(Debug, Clone)]
pub enum Intention {
    /// Written down, by this call or an earlier one; to be signed.
    Intended(CertificateRecord),
    /// Signed and settled already.
    Settled(CertificateRecord),
    /// The facts that were decided on have changed: read again.
    Changed,
}

/// What is on record after [`Ledger::enrollment_settle`].
///
/// [`Ledger::enrollment_settle`]: super::Ledger::enrollment_settle
#[derive(Debug, Clone)]
pub enum Settlement {
    /// The certificate that stays, this one or an earlier one.
    Settled(CertificateRecord),
    /// The intent was voided meanwhile: the certificate must not leave.
    Void,
}

/// A request that waits for approval.
#[derive(Debug, Clone)]
pub struct Wait {
    /// The way through the road, for the journal.
    pub enrollment: EnrollmentId,
    /// The name that the device will have.
    pub device: DeviceId,
    /// Its hardware.
    pub hardware: HardwareId,
    /// How strongly that is proven.
    pub strength: IdentityStrength,
    /// Its product.
    pub product: String,
    /// The version of the device's record that was decided on; `None` when it had none.
    pub device_version: Option<u64>,
    /// The key that asks.
    pub key: KeyFingerprint,
    /// The token, to be leased to the key.
    pub token: Option<TokenHash>,
    /// The claim by which it comes: it counts against its limits.
    pub claim: Option<String>,
    /// The hardware is on the product's allowlist.
    pub listed: bool,
    /// The end of the credential that was shown, where it was past that and heard by its product's
    /// grace. For the journal.
    pub past_end: Option<UnixTime>,
    /// Where it came in.
    pub origin_of_request: RequestOrigin,
}

/// The outcome of a wait.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Waited {
    /// On the list, by this call or an earlier one.
    Listed,
    /// The facts that were decided on have changed: read again.
    Changed,
    /// The claim has been used as often as it may.
    UsedUp,
    /// The claim is used too fast.
    Limited {
        /// When to come back, in seconds.
        seconds: u32,
        /// What there is too much of, in words.
        why: String,
    },
}

/// A certificate to be taken in.
#[derive(Debug, Clone)]
pub struct Adoption {
    /// The name that it carries.
    pub device: DeviceId,
    /// The hardware that it is for.
    pub hardware: HardwareId,
    /// The product.
    pub product: String,
    /// Its serial number.
    pub serial: Serial,
    /// The authority that issued it.
    pub issuer: String,
    /// Its key.
    pub key: KeyFingerprint,
    /// The certificate.
    pub der: Vec<u8>,
    /// Its to-be-signed part.
    pub to_be_signed: Vec<u8>,
    /// Its notBefore.
    pub not_before: UnixTime,
    /// Its notAfter.
    pub not_after: UnixTime,
}

/// The outcome of an adoption.
#[derive(Debug, Clone)]
pub enum Adopted {
    /// On record, by this call or an earlier one.
    Done(DeviceRecord),
    /// Something of it is on record otherwise.
    Conflict {
        /// What.
        what: &'static str,
    },
}

/// What a device says about itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// The device's name, or the hardware id while it has none.
    pub subject: String,
    /// When it arrived.
    pub at: UnixTime,
    /// The step at which the device stands.
    pub step: Step,
    /// The code: a refusal's word, or one of the agent's own.
    pub code: String,
    /// How often it has failed there.
    pub attempts: u32,
    /// From where.
    pub address: String,
}

/// One refusal, as a sample of many.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RefusalSample {
    /// A device's name, a hardware id or an address.
    pub subject: String,
    /// When the last one was.
    pub at: UnixTime,
    /// The catalogue's word.
    pub code: String,
    /// The step.
    pub step: Step,
    /// What the operator may read.
    pub detail: String,
    /// From where.
    pub address: String,
    /// The credential: a token's id or a serial number.
    pub credential: String,
    /// How many this sample stands for.
    pub count: u32,
}

/// A revocation list on record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CrlRecord {
    /// The authority that issued it.
    pub issuer: String,
    /// Its number.
    pub number: u64,
    /// The list.
    pub der: Vec<u8>,
    /// When it was made.
    pub this_update: UnixTime,
    /// When the next one is out at the latest.
    pub next_update: UnixTime,
    /// [`CrlFacts::through`] of the facts that it was made from.
    pub through: u64,
}

/// What the next revocation list must say.
#[derive(Debug, Clone, Default)]
pub struct CrlFacts {
    /// Serial, time and reason, in the order of serials.
    pub revoked: Vec<(Serial, UnixTime, RevocationReason)>,
    /// The list on record.
    pub current: Option<CrlRecord>,
    /// Whether anything was revoked that the list on record can't know of. Counted, not timed: a
    /// revocation that commits between these facts and the list must not hide in the same second.
    pub stale: bool,
    /// How many revocations of this issuer's certificates these facts have seen; only grows.
    pub through: u64,
}
