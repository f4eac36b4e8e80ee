//! The port to what is remembered. One method is one transaction.
//!
//! Every rule that keeps a fleet honest is enforced *inside* the writing transactions, by
//! constraints and conditional writes, because two askers may hold the same facts at the same time.
//! A write whose facts have changed answers [`Intention::Changed`] and the road reads again.
//!
//! Every change appends its line to the journal in the same transaction. An answer means durable.

mod claim_record;
#[cfg(feature = "contract")]
pub mod contract;
mod entry_record;
mod record;

use std::future::Future;

use imprint_identity::{DeviceId, HardwareId, UnixTime};

pub use claim_record::*;
pub use entry_record::*;
pub use imprint_attest::KeyFingerprint;
pub use record::*;

use crate::claims::definition::Template;
use crate::journal::JournalRow;
use crate::product::Product;
use crate::registry::Registry;
use crate::serial::Serial;

/// The database port.
///
/// Text that comes from devices is only ever a parameter of a statement. Implementations retry
/// their own serialization conflicts; they never retry a failed flush to disk.
pub trait Ledger: Send + Sync + 'static {
    // ---- the road -------------------------------------------------------------------------------

    /// Recall: everything that bears on one request, read at one moment.
    fn enrollment_facts(
        &self,
        query: &FactsQuery,
        now: UnixTime,
    ) -> impl Future<Output = Result<Facts, LedgerError>> + Send;

    /// Names the device if it has no name yet (state `held`), leases the token to the key and puts
    /// the pair (device, key) on the list that an operator approves from. Repeatable; a key whose
    /// approval is over waits again. `Changed` for the reasons of [`Self::enrollment_intend`], 2 and 3.
    /// Who comes by a claim counts against its limits like a registration ([`Self::device_register`],
    /// 2), when it is put on the list and not again when it is approved.
    fn enrollment_wait(
        &self,
        wait: Wait,
        now: UnixTime,
    ) -> impl Future<Output = Result<Waited, LedgerError>> + Send;

    /// Writes down what will be signed, and leases the token to the key, in one transaction:
    ///
    /// 1. A live certificate of (device, request key, generation) exists and is not the one that
    ///    [`Grant::replaces`] names: that one is the answer, [`Intention::Intended`] or
    ///    [`Intention::Settled`]; nothing is written.
    /// 2. The token is not `minted`, and not leased to this very key and device: `Changed`. So is one
    ///    that is bound to other hardware by now, or of another product.
    /// 3. The subject key belongs to another device: `Changed`. So does a device whose `version` is
    ///    not [`Grant::device_version`] (`None`: must not exist, neither by name nor by hardware),
    ///    or that is put aside (`quarantined`, `revoked`, `decommissioned`).
    /// 4. For a renewal: the certificate shown is not live, or not this device's: `Changed`. An unused
    ///    successor with another key ([`Grant::replaces`]) is revoked as superseded; one that is used
    ///    by now: `Changed`.
    /// 5. Insert device (`pending`) if new, key owner, certificate (`intended`); lease the token;
    ///    clear the device's `released` mark; journal.
    fn enrollment_intend(
        &self,
        grant: Grant,
        now: UnixTime,
    ) -> impl Future<Output = Result<Intention, LedgerError>> + Send;

    /// Keeps the certificate and registers the device (`active`, step VERIFY unless it has been
    /// PROVISIONED already). The first certificate to be settled stays on record; later ones are
    /// answered with it. `Void` when an operator has voided the intent meanwhile, or revoked what was
    /// settled. A serial number that nobody intended is [`LedgerError::Broken`].
    fn enrollment_settle(
        &self,
        serial: Serial,
        certificate_der: Vec<u8>,
        now: UnixTime,
    ) -> impl Future<Output = Result<Settlement, LedgerError>> + Send;

    /// The certificate with this serial, its device and its product. The hot read of every mutual
    /// TLS request.
    fn credential_facts(
        &self,
        serial: Serial,
    ) -> impl Future<Output = Result<Option<Credential>, LedgerError>> + Send;

    /// First use of a certificate: it becomes `active`, its token `spent`, its device PROVISIONED,
    /// every *older* live certificate of the device revoked as superseded and with it the renewals
    /// of such a one, its sealed key (if any) wiped. Does nothing when the certificate is not `issued`
    /// or the device not `active`. Returns what is on record after.
    fn credential_verify(
        &self,
        serial: Serial,
        evidence: &str,
        now: UnixTime,
    ) -> impl Future<Output = Result<Option<Credential>, LedgerError>> + Send;

    /// Wipes sealed server-made keys older than `before`; answers how many.
    fn sealed_key_wipe(
        &self,
        before: UnixTime,
        now: UnixTime,
    ) -> impl Future<Output = Result<u64, LedgerError>> + Send;

    // ---- tokens ---------------------------------------------------------------------------------

    /// Keeps new tokens, all or none.
    fn token_mint(
        &self,
        tokens: Vec<NewToken>,
        actor: &str,
        now: UnixTime,
    ) -> impl Future<Output = Result<(), LedgerError>> + Send;

    /// Tokens, newest first.
    fn token_list(
        &self,
        filter: &TokenFilter,
    ) -> impl Future<Output = Result<Vec<TokenRecord>, LedgerError>> + Send;

    /// One token by its public id.
    fn token_get(
        &self,
        id: &str,
    ) -> impl Future<Output = Result<Option<TokenRecord>, LedgerError>> + Send;

    /// The next state of a token by an operator's act, in one transaction with what follows from it:
    /// `Revoke` (from minted, dormant, leased: unsigned intents made with it are voided), `Arm` (from
    /// dormant), `Rebind` (from leased or spent: unsigned intents made with it are voided,
    /// certificates issued with it and their renewals revoked, the device goes back to `pending`
    /// unless it holds a certificate from elsewhere, the token is minted again, bound to `hardware` if
    /// given). An act whose outcome is there already is done.
    fn token_act(
        &self,
        id: &str,
        act: TokenAct,
        actor: &str,
        now: UnixTime,
    ) -> impl Future<Output = Result<Acted<TokenRecord>, LedgerError>> + Send;

    /// A second key knocked at a token that serves: counts it and journals the first 16. The key that
    /// it serves raises no alarm.
    fn token_alarm(
        &self,
        alarm: TokenAlarm,
        now: UnixTime,
    ) -> impl Future<Output = Result<(), LedgerError>> + Send;

    // ---- allowlist and products -----------------------------------------------------------------

    /// Adds hardware to a product's allowlist; answers how many were new.
    fn allow_add(
        &self,
        product: &str,
        hardware: Vec<HardwareId>,
        actor: &str,
        now: UnixTime,
    ) -> impl Future<Output = Result<u64, LedgerError>> + Send;

    /// Takes hardware off a product's allowlist; answers how many were on it.
    fn allow_remove(
        &self,
        product: &str,
        hardware: Vec<HardwareId>,
        actor: &str,
        now: UnixTime,
    ) -> impl Future<Output = Result<u64, LedgerError>> + Send;

    /// A product's allowlist, in order, at most `limit` after `after`.
    fn allow_list(
        &self,
        product: &str,
        after: Option<&str>,
        limit: u32,
    ) -> impl Future<Output = Result<Vec<String>, LedgerError>> + Send;

    /// Every product, by name.
    fn product_list(&self) -> impl Future<Output = Result<Vec<Product>, LedgerError>> + Send;

    /// Adds and changes products, all or none.
    fn product_apply(
        &self,
        products: Vec<Product>,
        actor: &str,
        now: UnixTime,
    ) -> impl Future<Output = Result<(), LedgerError>> + Send;

    // ---- devices --------------------------------------------------------------------------------

    /// Devices, by name, at most `filter.limit` after `filter.after`.
    fn device_list(
        &self,
        filter: &DeviceFilter,
    ) -> impl Future<Output = Result<Vec<DeviceRecord>, LedgerError>> + Send;

    /// One device by its name or its hardware id in any spelling, with its certificates (newest first,
    /// at most 32), who waits for approval, what it said and what it was refused.
    fn device_get(
        &self,
        name_or_hardware: &str,
    ) -> impl Future<Output = Result<Option<DeviceFile>, LedgerError>> + Send;

    /// An operator's act on a device, in one transaction with what follows from it: see [`DeviceAct`].
    fn device_act(
        &self,
        device: &DeviceId,
        act: DeviceAct,
        actor: &str,
        now: UnixTime,
    ) -> impl Future<Output = Result<Acted<DeviceRecord>, LedgerError>> + Send;

    /// Puts a certificate of ours that the registry does not know on record, `active`, with origin
    /// `adopted`. `Conflict` when its serial number, key, name or hardware is on record otherwise, or
    /// its device holds a live certificate or is put aside: which of two identities is the right one
    /// is for a person to say, by `device revoke` and `device release`.
    fn device_adopt(
        &self,
        adoption: Adoption,
        actor: &str,
        now: UnixTime,
    ) -> impl Future<Output = Result<Adopted, LedgerError>> + Send;

    /// Keeps what a device says about itself: a ring of 16. It changes no state.
    fn report_add(
        &self,
        report: Report,
        now: UnixTime,
    ) -> impl Future<Output = Result<(), LedgerError>> + Send;

    /// Keeps samples of refusals: a ring of 16 for each subject, and one journal row for each sample.
    fn refusal_add(
        &self,
        samples: Vec<RefusalSample>,
        now: UnixTime,
    ) -> impl Future<Output = Result<(), LedgerError>> + Send;

    /// The refusals of one subject (a device's name, a hardware id, an address), newest first.
    fn refusal_list(
        &self,
        subject: &str,
    ) -> impl Future<Output = Result<Vec<RefusalSample>, LedgerError>> + Send;

    // ---- revocation lists -----------------------------------------------------------------------

    /// What the next list of this issuer must say: every revoked certificate that has not expired
    /// for a week, and the list on record.
    fn crl_facts(
        &self,
        issuer: &str,
        now: UnixTime,
    ) -> impl Future<Output = Result<CrlFacts, LedgerError>> + Send;

    /// Keeps a list. `false` when its number is not greater than the one on record, or when it
    /// knows of fewer revocations: nothing changed.
    fn crl_publish(
        &self,
        crl: CrlRecord,
        now: UnixTime,
    ) -> impl Future<Output = Result<bool, LedgerError>> + Send;

    // ---- claims ---------------------------------------------------------------------------------

    /// Adds and changes products, groups, types, policies, templates, claims and registered CAs, all
    /// or none. What is as it was is not told. A claim that is revoked stays so.
    fn fleet_apply(
        &self,
        definitions: Definitions,
        actor: &str,
        now: UnixTime,
    ) -> impl Future<Output = Result<(), LedgerError>> + Send;

    /// Every claim, by name.
    fn claim_list(&self) -> impl Future<Output = Result<Vec<ClaimRecord>, LedgerError>> + Send;

    /// One claim by its name.
    fn claim_get(
        &self,
        name: &str,
    ) -> impl Future<Output = Result<Option<ClaimRecord>, LedgerError>> + Send;

    /// The next state of a claim by an operator's act: see [`ClaimAct`]. An act whose outcome is there
    /// already is done. Certificates of ours are revoked in the same transaction. `Absent` also for a
    /// certificate that the claim does not have.
    fn claim_act(
        &self,
        name: &str,
        act: ClaimAct,
        actor: &str,
        now: UnixTime,
    ) -> impl Future<Output = Result<Acted<ClaimRecord>, LedgerError>> + Send;

    /// Writes down a certificate of a claim before it is signed. `NotNow` for a claim that is revoked.
    fn claim_certificate_intend(
        &self,
        grant: ClaimCertificateGrant,
        actor: &str,
        now: UnixTime,
    ) -> impl Future<Output = Result<Acted<()>, LedgerError>> + Send;

    /// Keeps a claim's certificate; it is heard from now on. The first one to be settled stays. `None`
    /// when its claim has been revoked meanwhile: it must not leave.
    fn claim_certificate_settle(
        &self,
        serial: Serial,
        fingerprint: CertificateFingerprint,
        certificate_der: Vec<u8>,
        now: UnixTime,
    ) -> impl Future<Output = Result<Option<Vec<u8>>, LedgerError>> + Send;

    /// Takes a claim certificate in that somebody else issued. `NotNow` when the claim is revoked, or
    /// the certificate is another claim's or was revoked.
    fn claim_certificate_adopt(
        &self,
        claim: &str,
        certificate: ForeignClaimCertificate,
        actor: &str,
        now: UnixTime,
    ) -> impl Future<Output = Result<Acted<ClaimRecord>, LedgerError>> + Send;

    /// Counts what a claim's brake counts: each hardware id once a kind. The first 16 are told; at the
    /// claim's limit it is frozen in the same transaction, and told why. Answers its state after;
    /// `None` when there is no such claim.
    fn claim_alarm(
        &self,
        alarm: ClaimAlarm,
        now: UnixTime,
    ) -> impl Future<Output = Result<Option<ClaimState>, LedgerError>> + Send;

    /// Every template, by name.
    fn template_list(&self) -> impl Future<Output = Result<Vec<Template>, LedgerError>> + Send;

    /// Every registered CA, by name.
    fn authority_list(
        &self,
    ) -> impl Future<Output = Result<Vec<AuthorityRecord>, LedgerError>> + Send;

    /// Every group, type and policy that the fleet has: from the fleet file, or by a template that adds
    /// what is missing.
    fn registry_list(&self) -> impl Future<Output = Result<Registry, LedgerError>> + Send;

    /// Things, by name, at most `filter.limit` after `filter.after`.
    fn thing_list(
        &self,
        filter: &ThingFilter,
    ) -> impl Future<Output = Result<Vec<ThingRecord>, LedgerError>> + Send;

    /// Every policy with its document, if one is on record, by name.
    fn policy_list(
        &self,
    ) -> impl Future<Output = Result<Vec<(String, Option<String>)>, LedgerError>> + Send;

    /// Who is this certificate? Read when it is not a device's that is on record by its serial number.
    fn arrival_facts(
        &self,
        query: &ArrivalQuery,
        now: UnixTime,
    ) -> impl Future<Output = Result<ArrivalFacts, LedgerError>> + Send;

    /// Recall for a claim's request or a newcomer: everything that bears on it, read at one moment.
    fn registration_facts(
        &self,
        query: &RegistrationQuery,
        now: UnixTime,
    ) -> impl Future<Output = Result<RegistrationFacts, LedgerError>> + Send;

    /// Writes down a pending certificate before it is signed, in one transaction:
    ///
    /// 1. One of this claim and key has not ended and is good: that one is the answer. One whose
    ///    certificate is not good any more ends in step 4, and is told (`pending-expired`).
    /// 2. The claim or its certificate is not active: `Changed`. So is a key that a device owns, unless
    ///    the device is released.
    /// 3. Too many are pending, or too many were made within the minute: `Limited`, and nothing ends.
    ///    The first time in an hour operators are told (journal row `claim-limited`).
    /// 4. Insert certificate (`intended`, without a device) and pending record; count; journal.
    fn pending_intend(
        &self,
        grant: PendingGrant,
        now: UnixTime,
    ) -> impl Future<Output = Result<Claimed<PendingRecord>, LedgerError>> + Send;

    /// Keeps a pending certificate. The first one to be settled stays. `None` when it was ended
    /// meanwhile: it must not leave.
    fn pending_settle(
        &self,
        serial: Serial,
        certificate_der: Vec<u8>,
        now: UnixTime,
    ) -> impl Future<Output = Result<Option<PendingRecord>, LedgerError>> + Send;

    /// Registers a device with a certificate that is there already, in one transaction:
    ///
    /// 1. That certificate is registered already, for the same hardware, template and thing: that is
    ///    the answer. For another one: `Changed`.
    /// 2. The claim or the pending certificate is not good: `Changed`. The claim is used up, or too
    ///    fast: `UsedUp`, `Limited`. Above its expected curve it is frozen here: `Changed`. Whom an
    ///    operator has approved was expected.
    ///    For a foreign certificate: its registered CA is not on record, not active, does not register
    ///    by itself, only writes its devices down (`jitr`) while the grant does not hold them, or is
    ///    for another product or template: `Changed`.
    /// 3. The device, the key's owner or the thing is not as it was decided on: `Changed`. So is a thing
    ///    that would have another device's name. Another device's thing stays that, unless it has this
    ///    device's name: then it goes.
    /// 4. Insert or move on the device (`active` at step VERIFY, or `held`), key owner, certificate
    ///    (`issued`, the device's newest), thing, policies, what the thing names and the registry does
    ///    not have, counts, answer; journal.
    fn device_register(
        &self,
        grant: RegistrationGrant,
        now: UnixTime,
    ) -> impl Future<Output = Result<Claimed<Registered>, LedgerError>> + Send;

    /// Makes a `held` device `active`, that was registered with a certificate and whose key has been
    /// approved until later than `now`. Answers whether it is active now. Where it is not, a knock from
    /// this address is told to operators (journal row `certificate-waiting`).
    fn device_activate(
        &self,
        device: &DeviceId,
        key: KeyFingerprint,
        knock: Option<String>,
        now: UnixTime,
    ) -> impl Future<Output = Result<bool, LedgerError>> + Send;

    /// Revokes pending certificates that were written down before `before` and never registered, at
    /// most 256; answers how many. One whose key waits for an operator is kept for seven days from its
    /// request, and one whose key is approved as long as the approval holds. Each key, and each device that waits for approval, is counted once
    /// against its claim. Beyond [`ClaimLimits::unregistered`] the claim is frozen in the same
    /// transaction, and told why; half way there operators are told (`claim-alarm`).
    ///
    /// [`ClaimLimits::unregistered`]: crate::claims::definition::ClaimLimits::unregistered
    fn pending_expire(
        &self,
        before: UnixTime,
        now: UnixTime,
    ) -> impl Future<Output = Result<u64, LedgerError>> + Send;

    // ---- entries --------------------------------------------------------------------------------

    /// Keeps a new entry. `NotNow`: there is one of this kind and name (`exists`), or there are
    /// [`MOST_KEY_GROUPS`] groups with keys (`too many`).
    fn entry_add(
        &self,
        entry: NewEntry,
        actor: &str,
        now: UnixTime,
    ) -> impl Future<Output = Result<Acted<EntryRecord>, LedgerError>> + Send;

    /// Every entry, groups first, by name.
    fn entry_list(&self) -> impl Future<Output = Result<Vec<EntryRecord>, LedgerError>> + Send;

    /// Entries of this kind and product, by name, after this name, at most `limit`.
    fn entry_page(
        &self,
        kind: EntryKind,
        product: &str,
        after: &str,
        limit: u32,
    ) -> impl Future<Output = Result<Vec<EntryRecord>, LedgerError>> + Send;

    /// One entry.
    fn entry_get(
        &self,
        kind: EntryKind,
        name: &str,
    ) -> impl Future<Output = Result<Option<EntryRecord>, LedgerError>> + Send;

    /// An operator's act on an entry: see [`EntryAct`]. An act whose outcome is there already is done.
    /// `NotNow`: the entry is not of the version that was decided on (`changed`).
    fn entry_act(
        &self,
        kind: EntryKind,
        name: &str,
        act: EntryAct,
        actor: &str,
        now: UnixTime,
    ) -> impl Future<Output = Result<Acted<EntryRecord>, LedgerError>> + Send;

    /// What was registered by an entry that is there, by id, after this id, at most `limit`.
    fn entry_registrations(
        &self,
        kind: EntryKind,
        entry: &str,
        after: &str,
        limit: u32,
    ) -> impl Future<Output = Result<Vec<EntryRegistration>, LedgerError>> + Send;

    /// Ends a registration: its device is not heard until it has registered again. `NotNow`: it is not
    /// of this version (`changed`).
    fn registration_end(
        &self,
        id: &str,
        version: Option<u64>,
        actor: &str,
        now: UnixTime,
    ) -> impl Future<Output = Result<Acted<EntryRegistration>, LedgerError>> + Send;

    /// Keeps a new service key. `NotNow`: there is one of this name (`exists`).
    fn service_key_add(
        &self,
        key: ServiceKeyRecord,
        actor: &str,
        now: UnixTime,
    ) -> impl Future<Output = Result<Acted<ServiceKeyRecord>, LedgerError>> + Send;

    /// Every service key, by name.
    fn service_key_list(
        &self,
    ) -> impl Future<Output = Result<Vec<ServiceKeyRecord>, LedgerError>> + Send;

    /// One service key.
    fn service_key_get(
        &self,
        name: &str,
    ) -> impl Future<Output = Result<Option<ServiceKeyRecord>, LedgerError>> + Send;

    /// Takes a service key back. Answers what it was.
    fn service_key_delete(
        &self,
        name: &str,
        actor: &str,
        now: UnixTime,
    ) -> impl Future<Output = Result<Acted<ServiceKeyRecord>, LedgerError>> + Send;

    /// Recall for a device that wants to be registered by its entry.
    fn entry_facts(
        &self,
        query: &EntryQuery,
        now: UnixTime,
    ) -> impl Future<Output = Result<EntryFacts, LedgerError>> + Send;

    /// Registers a device by its entry, in one transaction:
    ///
    /// 1. The entry is not enabled, or not of the version that was decided on: `Changed`.
    /// 2. The same registration is on record, live, with the same hub and the same key or certificate,
    ///    of an active device: that is the answer. One registration id makes one device: one that is on
    ///    record for other hardware is `Changed`.
    /// 3. The device or the key's owner is not as it was decided on: `Changed`.
    /// 4. Insert or move on the device (`active`, at step VERIFY unless it is PROVISIONED), key owner,
    ///    certificate if it has one (`issued`), registration; count; journal.
    fn entry_register(
        &self,
        grant: EntryGrant,
        now: UnixTime,
    ) -> impl Future<Output = Result<Claimed<EntryRegistration>, LedgerError>> + Send;

    /// The device of this name, if it was registered with a shared key: with its entry and product.
    fn shared_key_facts(
        &self,
        device: &str,
    ) -> impl Future<Output = Result<Option<SharedKeyFacts>, LedgerError>> + Send;

    /// First use of a shared key: the device is PROVISIONED, and every live certificate that it had when
    /// it was registered, or that has been used, is revoked as superseded. Does nothing when entry or
    /// registration are not as they were `judged`, the registration is not live, its entry not enabled, the
    /// device has another entry of its own by now, or is not `active`. Returns what is on record after.
    fn shared_key_verify(
        &self,
        device: &DeviceId,
        judged: KeyJudged,
        evidence: &str,
        now: UnixTime,
    ) -> impl Future<Output = Result<Option<SharedKeyFacts>, LedgerError>> + Send;

    // ---- journal --------------------------------------------------------------------------------

    /// Chains at most `limit` rows that are not chained yet, in the order of their numbers, with
    /// [`crate::journal::chain`]; answers how many. Outside the hot transactions.
    fn journal_chain(&self, limit: u32) -> impl Future<Output = Result<u64, LedgerError>> + Send;

    /// Rows after `after`, in order.
    fn journal_read(
        &self,
        after: u64,
        limit: u32,
    ) -> impl Future<Output = Result<Vec<JournalRow>, LedgerError>> + Send;

    /// The number of the last row; 0 when there is none.
    fn journal_head(&self) -> impl Future<Output = Result<u64, LedgerError>> + Send;

    /// How far the reader called `name` has come: the number of the last row that it is done with. A
    /// new reader begins behind the last row that there is. Cursors are no change to the fleet and
    /// are not told in the journal, for that would be the next row to read.
    fn cursor_open(
        &self,
        name: &str,
        now: UnixTime,
    ) -> impl Future<Output = Result<u64, LedgerError>> + Send;

    /// The reader called `name` is done with every row up to `number`. Never moves back, and does
    /// nothing for a name that was not opened.
    fn cursor_advance(
        &self,
        name: &str,
        number: u64,
        now: UnixTime,
    ) -> impl Future<Output = Result<(), LedgerError>> + Send;

    /// The restore epoch for serial numbers, 0x01..=0x7f.
    fn epoch(&self) -> u8;
}

/// The ledger could not do it. Nothing is known to have changed; asking again is safe.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LedgerError {
    /// Full disk, lost connection, too busy: it passes.
    #[error("the registry's database is not available: {reason}")]
    Unavailable {
        /// In the database's words.
        reason: String,
    },
    /// A row that does not say what it must. Somebody should look.
    #[error("the registry's database holds a row that can't be read: {what}")]
    Broken {
        /// Which row, and why.
        what: String,
    },
}

/// A key's owner, for the rule "one device per public key".
pub type KeyOwner = (KeyFingerprint, DeviceId);
