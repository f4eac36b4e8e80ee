//! A ledger whose database is gone: a full disk, a lost connection.

use imprint_identity::{DeviceId, HardwareId, UnixTime};
use imprint_registrar::claims::definition::Template;
use imprint_registrar::journal::JournalRow;
use imprint_registrar::ledger::{
    Acted, Adopted, Adoption, ArrivalFacts, ArrivalQuery, AuthorityRecord, CertificateFingerprint,
    ClaimAct, ClaimAlarm, ClaimCertificateGrant, ClaimRecord, ClaimState, Claimed, Credential,
    CrlFacts, CrlRecord, Definitions, DeviceAct, DeviceFile, DeviceFilter, DeviceRecord, EntryAct,
    EntryFacts, EntryGrant, EntryKind, EntryQuery, EntryRecord, EntryRegistration, Facts,
    FactsQuery, ForeignClaimCertificate, Grant, Intention, KeyFingerprint, KeyJudged, NewEntry,
    NewToken, PendingGrant, PendingRecord, RefusalSample, Registered, RegistrationFacts,
    RegistrationGrant, RegistrationQuery, Report, ServiceKeyRecord, Settlement, SharedKeyFacts,
    ThingFilter, ThingRecord, TokenAct, TokenAlarm, TokenFilter, TokenRecord, Wait, Waited,
};
use imprint_registrar::product::Product;
use imprint_registrar::serial::Serial;
use imprint_registrar::{Ledger, LedgerError};

/// Answers what a server must know to start, and nothing afterwards.
pub(crate) struct Outage;

fn gone<T>() -> Result<T, LedgerError> {
    Err(LedgerError::Unavailable {
        reason: "the disk is full".to_owned(),
    })
}

macro_rules! all_gone {
    ($($name:ident($($argument:ident: $kind:ty),*) -> $answer:ty;)*) => {
        $(async fn $name(&self, $($argument: $kind),*) -> Result<$answer, LedgerError> {
            $(let _ = $argument;)*
            gone()
        })*
    };
}

impl Ledger for Outage {
    all_gone! {
        enrollment_facts(query: &FactsQuery, now: UnixTime) -> Facts;
        enrollment_wait(wait: Wait, now: UnixTime) -> Waited;
        enrollment_intend(grant: Grant, now: UnixTime) -> Intention;
        enrollment_settle(serial: Serial, der: Vec<u8>, now: UnixTime) -> Settlement;
        credential_facts(serial: Serial) -> Option<Credential>;
        credential_verify(serial: Serial, evidence: &str, now: UnixTime) -> Option<Credential>;
        sealed_key_wipe(before: UnixTime, now: UnixTime) -> u64;
        token_mint(tokens: Vec<NewToken>, actor: &str, now: UnixTime) -> ();
        token_list(filter: &TokenFilter) -> Vec<TokenRecord>;
        token_get(id: &str) -> Option<TokenRecord>;
        token_act(id: &str, act: TokenAct, actor: &str, now: UnixTime) -> Acted<TokenRecord>;
        token_alarm(alarm: TokenAlarm, now: UnixTime) -> ();
        allow_add(product: &str, ids: Vec<HardwareId>, actor: &str, now: UnixTime) -> u64;
        allow_remove(product: &str, ids: Vec<HardwareId>, actor: &str, now: UnixTime) -> u64;
        allow_list(product: &str, after: Option<&str>, limit: u32) -> Vec<String>;
        product_list() -> Vec<Product>;
        product_apply(products: Vec<Product>, actor: &str, now: UnixTime) -> ();
        device_list(filter: &DeviceFilter) -> Vec<DeviceRecord>;
        device_get(name: &str) -> Option<DeviceFile>;
        device_act(id: &DeviceId, act: DeviceAct, actor: &str, now: UnixTime) -> Acted<DeviceRecord>;
        device_adopt(adoption: Adoption, actor: &str, now: UnixTime) -> Adopted;
        report_add(report: Report, now: UnixTime) -> ();
        refusal_add(samples: Vec<RefusalSample>, now: UnixTime) -> ();
        refusal_list(subject: &str) -> Vec<RefusalSample>;
        fleet_apply(definitions: Definitions, actor: &str, now: UnixTime) -> ();
        claim_list() -> Vec<ClaimRecord>;
        claim_get(name: &str) -> Option<ClaimRecord>;
        claim_act(name: &str, act: ClaimAct, actor: &str, now: UnixTime) -> Acted<ClaimRecord>;
        claim_certificate_intend(grant: ClaimCertificateGrant, actor: &str, now: UnixTime)
            -> Acted<()>;
        claim_certificate_settle(
            serial: Serial, print: CertificateFingerprint, der: Vec<u8>, now: UnixTime
        ) -> Option<Vec<u8>>;
        claim_certificate_adopt(
            claim: &str, foreign: ForeignClaimCertificate, actor: &str, now: UnixTime
        ) -> Acted<ClaimRecord>;
        claim_alarm(alarm: ClaimAlarm, now: UnixTime) -> Option<ClaimState>;
        template_list() -> Vec<Template>;
        authority_list() -> Vec<AuthorityRecord>;
        registry_list() -> imprint_registrar::registry::Registry;
        thing_list(filter: &ThingFilter) -> Vec<ThingRecord>;
        policy_list() -> Vec<(String, Option<String>)>;
        arrival_facts(query: &ArrivalQuery, now: UnixTime) -> ArrivalFacts;
        registration_facts(query: &RegistrationQuery, now: UnixTime) -> RegistrationFacts;
        pending_intend(grant: PendingGrant, now: UnixTime) -> Claimed<PendingRecord>;
        pending_settle(serial: Serial, der: Vec<u8>, now: UnixTime) -> Option<PendingRecord>;
        device_register(grant: RegistrationGrant, now: UnixTime) -> Claimed<Registered>;
        device_activate(
            device: &DeviceId, key: KeyFingerprint, knock: Option<String>, now: UnixTime
        ) -> bool;
        pending_expire(before: UnixTime, now: UnixTime) -> u64;
        entry_add(entry: NewEntry, actor: &str, now: UnixTime) -> Acted<EntryRecord>;
        entry_list() -> Vec<EntryRecord>;
        entry_page(kind: EntryKind, product: &str, after: &str, limit: u32) -> Vec<EntryRecord>;
        entry_get(kind: EntryKind, name: &str) -> Option<EntryRecord>;
        entry_act(kind: EntryKind, name: &str, act: EntryAct, actor: &str, now: UnixTime)
            -> Acted<EntryRecord>;
        entry_registrations(kind: EntryKind, entry: &str, after: &str, limit: u32)
            -> Vec<EntryRegistration>;
        registration_end(id: &str, version: Option<u64>, actor: &str, now: UnixTime)
            -> Acted<EntryRegistration>;
        service_key_add(key: ServiceKeyRecord, actor: &str, now: UnixTime)
            -> Acted<ServiceKeyRecord>;
        service_key_list() -> Vec<ServiceKeyRecord>;
        service_key_get(name: &str) -> Option<ServiceKeyRecord>;
        service_key_delete(name: &str, actor: &str, now: UnixTime) -> Acted<ServiceKeyRecord>;
        entry_facts(query: &EntryQuery, now: UnixTime) -> EntryFacts;
        entry_register(grant: EntryGrant, now: UnixTime) -> Claimed<EntryRegistration>;
        shared_key_facts(device: &str) -> Option<SharedKeyFacts>;
        shared_key_verify(device: &DeviceId, judged: KeyJudged, evidence: &str, now: UnixTime)
            -> Option<SharedKeyFacts>;
        journal_chain(limit: u32) -> u64;
        journal_read(after: u64, limit: u32) -> Vec<JournalRow>;
        journal_head() -> u64;
        cursor_open(name: &str, now: UnixTime) -> u64;
        cursor_advance(name: &str, number: u64, now: UnixTime) -> ();
    }

    async fn crl_facts(&self, issuer: &str, _: UnixTime) -> Result<CrlFacts, LedgerError> {
        let _ = issuer;
        Ok(CrlFacts::default())
    }

    async fn crl_publish(&self, _: CrlRecord, _: UnixTime) -> Result<bool, LedgerError> {
        Ok(true)
    }

    fn epoch(&self) -> u8 {
        1
    }
}
