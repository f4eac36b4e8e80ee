//! A ledger behind which an operator acts at the worst moment: between two steps of the road.

use std::sync::Mutex;

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
use imprint_registrar::{Ledger, LedgerError, Product, Serial};
use imprint_sqlite::Sqlite;

/// What the operator does.
pub enum Act {
    Device(&'static str, DeviceAct),
    Token(String, TokenAct),
    Claim(&'static str, ClaimAct),
}

/// The ledger, and one act that is done just before a call of the method of this name.
pub struct Between {
    ledger: Sqlite,
    act: Mutex<Option<(&'static str, Act)>>,
    hangs: Mutex<Option<&'static str>>,
}

impl Between {
    pub fn new(ledger: Sqlite) -> Self {
        Self {
            ledger,
            act: Mutex::new(None),
            hangs: Mutex::new(None),
        }
    }

    pub fn before(&self, method: &'static str, act: Act) {
        *self.act.lock().unwrap() = Some((method, act));
    }

    pub fn is_done(&self) -> bool {
        self.act.lock().unwrap().is_none()
    }

    /// From now on nothing comes back from this method, nor does it do anything.
    pub fn hang_before(&self, method: &'static str) {
        *self.hangs.lock().unwrap() = Some(method);
    }

    pub fn go_on(&self) {
        *self.hangs.lock().unwrap() = None;
    }

    async fn step(&self, method: &'static str, now: UnixTime) {
        if *self.hangs.lock().unwrap() == Some(method) {
            std::future::pending::<()>().await;
        }
        let due = self
            .act
            .lock()
            .unwrap()
            .take_if(|(when, _)| *when == method);
        match due {
            Some((_, Act::Device(name, act))) => {
                let name = name.parse().unwrap();
                let acted = self.ledger.device_act(&name, act, "test", now).await;
                assert!(matches!(acted.unwrap(), Acted::Done(_)));
            }
            Some((_, Act::Token(id, act))) => {
                let acted = self.ledger.token_act(&id, act, "test", now).await;
                assert!(matches!(acted.unwrap(), Acted::Done(_)));
            }
            Some((_, Act::Claim(name, act))) => {
                let acted = self.ledger.claim_act(name, act, "test", now).await;
                assert!(matches!(acted.unwrap(), Acted::Done(_)));
            }
            None => {}
        }
    }
}

macro_rules! passed_on {
    ($($name:ident($($argument:ident: $kind:ty),*) -> $answer:ty;)*) => {
        $(async fn $name(&self, $($argument: $kind),*) -> Result<$answer, LedgerError> {
            self.ledger.$name($($argument),*).await
        })*
    };
}

impl Ledger for Between {
    async fn enrollment_wait(&self, wait: Wait, now: UnixTime) -> Result<Waited, LedgerError> {
        self.step("wait", now).await;
        self.ledger.enrollment_wait(wait, now).await
    }

    async fn enrollment_intend(
        &self,
        grant: Grant,
        now: UnixTime,
    ) -> Result<Intention, LedgerError> {
        self.step("intend", now).await;
        self.ledger.enrollment_intend(grant, now).await
    }

    async fn enrollment_settle(
        &self,
        serial: Serial,
        der: Vec<u8>,
        now: UnixTime,
    ) -> Result<Settlement, LedgerError> {
        self.step("settle", now).await;
        self.ledger.enrollment_settle(serial, der, now).await
    }

    async fn credential_verify(
        &self,
        serial: Serial,
        evidence: &str,
        now: UnixTime,
    ) -> Result<Option<Credential>, LedgerError> {
        self.step("verify", now).await;
        self.ledger.credential_verify(serial, evidence, now).await
    }

    async fn pending_intend(
        &self,
        grant: PendingGrant,
        now: UnixTime,
    ) -> Result<Claimed<PendingRecord>, LedgerError> {
        self.step("pending_intend", now).await;
        self.ledger.pending_intend(grant, now).await
    }

    async fn pending_settle(
        &self,
        serial: Serial,
        der: Vec<u8>,
        now: UnixTime,
    ) -> Result<Option<PendingRecord>, LedgerError> {
        self.step("pending_settle", now).await;
        self.ledger.pending_settle(serial, der, now).await
    }

    async fn device_register(
        &self,
        grant: RegistrationGrant,
        now: UnixTime,
    ) -> Result<Claimed<Registered>, LedgerError> {
        self.step("device_register", now).await;
        let registered = self.ledger.device_register(grant, now).await;
        self.step("after device_register", now).await;
        registered
    }

    async fn entry_register(
        &self,
        grant: EntryGrant,
        now: UnixTime,
    ) -> Result<Claimed<EntryRegistration>, LedgerError> {
        self.step("entry_register", now).await;
        let outcome = self.ledger.entry_register(grant, now).await;
        self.step("after entry_register", now).await;
        outcome
    }

    passed_on! {
        enrollment_facts(query: &FactsQuery, now: UnixTime) -> Facts;
        credential_facts(serial: Serial) -> Option<Credential>;
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
        crl_facts(issuer: &str, now: UnixTime) -> CrlFacts;
        crl_publish(crl: CrlRecord, now: UnixTime) -> bool;
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
        shared_key_facts(device: &str) -> Option<SharedKeyFacts>;
        shared_key_verify(device: &DeviceId, judged: KeyJudged, evidence: &str, now: UnixTime)
            -> Option<SharedKeyFacts>;
        journal_chain(limit: u32) -> u64;
        journal_read(after: u64, limit: u32) -> Vec<JournalRow>;
        journal_head() -> u64;
        cursor_open(name: &str, now: UnixTime) -> u64;
        cursor_advance(name: &str, number: u64, now: UnixTime) -> ();
    }

    fn epoch(&self) -> u8 {
        self.ledger.epoch()
    }
}
