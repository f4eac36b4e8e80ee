//! Wrappers around a ledger and a signer through which every call can be seen, held or spoiled.
//!
//! The real ledger and the real signer stand behind them: a tap changes when a call happens, never
//! what it does.

use std::future::Future;
use std::sync::Arc;

use imprint_attest::KeyFingerprint;
use imprint_identity::{DeviceId, HardwareId, UnixTime};
use imprint_registrar::claims::definition::Template;
use imprint_registrar::journal::JournalRow;
use imprint_registrar::ledger::{
    Acted, Adopted, Adoption, ArrivalFacts, ArrivalQuery, AuthorityRecord, CertificateFingerprint,
    ClaimAct, ClaimAlarm, ClaimCertificateGrant, ClaimRecord, ClaimState, Claimed, Credential,
    CrlFacts, CrlRecord, Definitions, DeviceAct, DeviceFile, DeviceFilter, DeviceRecord, EntryAct,
    EntryFacts, EntryGrant, EntryKind, EntryQuery, EntryRecord, EntryRegistration, Facts,
    FactsQuery, ForeignClaimCertificate, Generation, Grant, Intention, KeyJudged, NewEntry,
    NewToken, PendingGrant, PendingRecord, RefusalSample, Registered, RegistrationFacts,
    RegistrationGrant, RegistrationQuery, Report, ServiceKeyRecord, Settlement, SharedKeyFacts,
    ThingFilter, ThingRecord, TokenAct, TokenAlarm, TokenFilter, TokenHash, TokenRecord, Wait,
    Waited,
};
use imprint_registrar::{Ledger, LedgerError, Product, Serial, Signer, SignerError};
use zeroize::Zeroizing;

/// One call of the ledger or the signer, with what a tap may want to know of it.
#[derive(Debug, Clone, Default)]
pub struct Call {
    /// The method.
    pub name: &'static str,
    /// The token that it is about.
    pub token: Option<TokenHash>,
    /// The key that asks.
    pub key: Option<KeyFingerprint>,
    /// The certificate that it is about.
    pub serial: Option<Serial>,
    /// What is to be signed.
    pub message: Vec<u8>,
}

impl Call {
    fn named(name: &'static str) -> Self {
        Self {
            name,
            ..Self::default()
        }
    }
}

/// Sees every call before it happens and after it has.
pub trait Tap: Send + Sync + 'static {
    /// The caller has decided; nothing has happened.
    fn before(&self, call: &Call) -> impl Future<Output = ()> + Send;

    /// It has happened, and the caller does not know yet.
    fn after(&self, call: &Call) -> impl Future<Output = ()> + Send;
}

/// Sees everything and does nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct Quiet;

impl Tap for Quiet {
    async fn before(&self, _: &Call) {}
    async fn after(&self, _: &Call) {}
}

impl<T: Tap> Tap for Arc<T> {
    async fn before(&self, call: &Call) {
        (**self).before(call).await;
    }

    async fn after(&self, call: &Call) {
        (**self).after(call).await;
    }
}

/// A ledger or a signer with a tap.
pub struct Tapped<I, T> {
    inner: I,
    tap: T,
}

impl<I, T> Tapped<I, T> {
    /// Puts `tap` in front of `inner`.
    pub const fn new(inner: I, tap: T) -> Self {
        Self { inner, tap }
    }

    /// What stands behind the tap.
    pub const fn inner(&self) -> &I {
        &self.inner
    }
}

impl<I, T: Tap> Tapped<I, T> {
    async fn through<O>(&self, call: Call, outcome: impl Future<Output = O>) -> O {
        self.tap.before(&call).await;
        let outcome = outcome.await;
        self.tap.after(&call).await;
        outcome
    }
}

/// Methods of which a tap only needs the name.
macro_rules! by_name {
    ($($method:ident($($argument:ident: $type:ty),*) -> $out:ty;)*) => {$(
        async fn $method(&self, $($argument: $type),*) -> Result<$out, LedgerError> {
            let call = Call::named(stringify!($method));
            self.through(call, self.inner.$method($($argument),*)).await
        }
    )*};
}

impl<L: Ledger, T: Tap> Ledger for Tapped<L, T> {
    async fn enrollment_facts(
        &self,
        query: &FactsQuery,
        now: UnixTime,
    ) -> Result<Facts, LedgerError> {
        let call = Call {
            token: query.token,
            key: Some(query.key),
            serial: query.shown,
            ..Call::named("enrollment_facts")
        };
        self.through(call, self.inner.enrollment_facts(query, now))
            .await
    }

    async fn enrollment_wait(&self, wait: Wait, now: UnixTime) -> Result<Waited, LedgerError> {
        let call = Call {
            token: wait.token,
            key: Some(wait.key),
            ..Call::named("enrollment_wait")
        };
        self.through(call, self.inner.enrollment_wait(wait, now))
            .await
    }

    async fn enrollment_intend(
        &self,
        grant: Grant,
        now: UnixTime,
    ) -> Result<Intention, LedgerError> {
        let token = match grant.generation {
            Generation::Token(hash) => Some(hash),
            _ => None,
        };
        let call = Call {
            token,
            key: Some(grant.request_key),
            serial: Some(grant.serial),
            ..Call::named("enrollment_intend")
        };
        self.through(call, self.inner.enrollment_intend(grant, now))
            .await
    }

    async fn enrollment_settle(
        &self,
        serial: Serial,
        certificate_der: Vec<u8>,
        now: UnixTime,
    ) -> Result<Settlement, LedgerError> {
        let call = Call {
            serial: Some(serial),
            ..Call::named("enrollment_settle")
        };
        self.through(
            call,
            self.inner.enrollment_settle(serial, certificate_der, now),
        )
        .await
    }

    async fn credential_verify(
        &self,
        serial: Serial,
        evidence: &str,
        now: UnixTime,
    ) -> Result<Option<Credential>, LedgerError> {
        let call = Call {
            serial: Some(serial),
            ..Call::named("credential_verify")
        };
        self.through(call, self.inner.credential_verify(serial, evidence, now))
            .await
    }

    by_name! {
        credential_facts(serial: Serial) -> Option<Credential>;
        sealed_key_wipe(before: UnixTime, now: UnixTime) -> u64;
        token_mint(tokens: Vec<NewToken>, actor: &str, now: UnixTime) -> ();
        token_list(filter: &TokenFilter) -> Vec<TokenRecord>;
        token_get(id: &str) -> Option<TokenRecord>;
        token_act(id: &str, act: TokenAct, actor: &str, now: UnixTime) -> Acted<TokenRecord>;
        token_alarm(alarm: TokenAlarm, now: UnixTime) -> ();
        allow_add(product: &str, hardware: Vec<HardwareId>, actor: &str, now: UnixTime) -> u64;
        allow_remove(product: &str, hardware: Vec<HardwareId>, actor: &str, now: UnixTime) -> u64;
        allow_list(product: &str, after: Option<&str>, limit: u32) -> Vec<String>;
        product_list() -> Vec<Product>;
        product_apply(products: Vec<Product>, actor: &str, now: UnixTime) -> ();
        device_list(filter: &DeviceFilter) -> Vec<DeviceRecord>;
        device_get(name_or_hardware: &str) -> Option<DeviceFile>;
        device_act(device: &DeviceId, act: DeviceAct, actor: &str, now: UnixTime)
            -> Acted<DeviceRecord>;
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

    fn epoch(&self) -> u8 {
        self.inner.epoch()
    }
}

impl<S: Signer, T: Tap> Signer for Tapped<S, T> {
    async fn sign(&self, key: &str, message: &[u8]) -> Result<Vec<u8>, SignerError> {
        let call = Call {
            message: message.to_vec(),
            ..Call::named("sign")
        };
        self.through(call, self.inner.sign(key, message)).await
    }

    async fn token_mac(&self, token: &[u8]) -> Result<[u8; 32], SignerError> {
        self.inner.token_mac(token).await
    }

    async fn seal(&self, context: &[u8], plain: &[u8]) -> Result<Vec<u8>, SignerError> {
        self.inner.seal(context, plain).await
    }

    async fn unseal(
        &self,
        context: &[u8],
        sealed: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, SignerError> {
        self.inner.unseal(context, sealed).await
    }

    async fn device_key(&self) -> Result<(Zeroizing<Vec<u8>>, Vec<u8>), SignerError> {
        self.inner.device_key().await
    }
}
