//! The port, filled: each method is one read or one write.

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
    RegistrationGrant, RegistrationQuery, Report, RequestOrigin, ServiceKeyRecord, Settlement,
    SharedKeyFacts, ThingFilter, ThingRecord, TokenAct, TokenAlarm, TokenFilter, TokenRecord, Wait,
    Waited,
};
use imprint_registrar::registry::Registry;
use imprint_registrar::{Ledger, LedgerError, Product, Serial};

use crate::change::Change;
use crate::fault::Fault;
use crate::{
    Sqlite, allow, certificate, chain, claim, claim_certificate, crl, cursor, definition, device,
    device_act, entry, notes, pending, product, register, registration, registration_facts,
    registry, road, road_facts, service_key, settle, thing, token, token_act, verify,
};

impl Ledger for Sqlite {
    async fn enrollment_facts(
        &self,
        query: &FactsQuery,
        _now: UnixTime,
    ) -> Result<Facts, LedgerError> {
        self.trusted()?.snapshot(|db| road_facts::facts(db, query))
    }

    async fn enrollment_wait(&self, wait: Wait, now: UnixTime) -> Result<Waited, LedgerError> {
        let actor = actor(&wait.origin_of_request);
        let waited = self
            .change(actor, now, move |change| road::wait(change, &wait))
            .await;
        or_else_changed(waited, Waited::Changed)
    }

    async fn enrollment_intend(
        &self,
        grant: Grant,
        now: UnixTime,
    ) -> Result<Intention, LedgerError> {
        let actor = actor(&grant.origin_of_request);
        let intention = self
            .change(actor, now, move |change| road::intend(change, &grant))
            .await;
        or_else_changed(intention, Intention::Changed)
    }

    async fn enrollment_settle(
        &self,
        serial: Serial,
        certificate_der: Vec<u8>,
        now: UnixTime,
    ) -> Result<Settlement, LedgerError> {
        let settle = move |change: &Change<'_>| settle::settle(change, &serial, &certificate_der);
        Ok(self.change(SERVER.to_owned(), now, settle).await?)
    }

    async fn credential_facts(&self, serial: Serial) -> Result<Option<Credential>, LedgerError> {
        let found = self
            .trusted()?
            .one(|db| certificate::credential(db, &serial))?;
        Ok(found.map(|(_, credential)| credential))
    }

    async fn credential_verify(
        &self,
        serial: Serial,
        evidence: &str,
        now: UnixTime,
    ) -> Result<Option<Credential>, LedgerError> {
        let evidence = evidence.to_owned();
        let verify = move |change: &Change<'_>| verify::verify(change, &serial, &evidence);
        Ok(self.change(SERVER.to_owned(), now, verify).await?)
    }

    async fn sealed_key_wipe(&self, before: UnixTime, now: UnixTime) -> Result<u64, LedgerError> {
        // Asked every second, and there is nothing to do: no flush.
        if !self
            .trusted()?
            .one(|db| certificate::wipe_due(db, before))?
        {
            return Ok(0);
        }
        let wipe = move |change: &Change<'_>| certificate::wipe(change, before);
        Ok(self.change(SERVER.to_owned(), now, wipe).await?)
    }

    async fn token_mint(
        &self,
        tokens: Vec<NewToken>,
        actor: &str,
        now: UnixTime,
    ) -> Result<(), LedgerError> {
        let mint = move |change: &Change<'_>| token::mint(change, &tokens);
        Ok(self.change(actor.to_owned(), now, mint).await?)
    }

    async fn token_list(&self, filter: &TokenFilter) -> Result<Vec<TokenRecord>, LedgerError> {
        let filter = filter.clone();
        self.trusted()?
            .list(move |db| token::list(db, &filter))
            .await
    }

    async fn token_get(&self, id: &str) -> Result<Option<TokenRecord>, LedgerError> {
        let found = self.trusted()?.one(|db| token::by_id(db, id))?;
        Ok(found.map(|token| token.record))
    }

    async fn token_act(
        &self,
        id: &str,
        act: TokenAct,
        actor: &str,
        now: UnixTime,
    ) -> Result<Acted<TokenRecord>, LedgerError> {
        let id = id.to_owned();
        let act = move |change: &Change<'_>| token_act::act(change, &id, &act);
        Ok(self.change(actor.to_owned(), now, act).await?)
    }

    async fn token_alarm(&self, alarm: TokenAlarm, now: UnixTime) -> Result<(), LedgerError> {
        let alarm = move |change: &Change<'_>| token::alarm(change, &alarm);
        Ok(self.change(SERVER.to_owned(), now, alarm).await?)
    }

    async fn allow_add(
        &self,
        product: &str,
        hardware: Vec<HardwareId>,
        actor: &str,
        now: UnixTime,
    ) -> Result<u64, LedgerError> {
        let product = product.to_owned();
        let add = move |change: &Change<'_>| allow::add(change, &product, &hardware);
        Ok(self.change(actor.to_owned(), now, add).await?)
    }

    async fn allow_remove(
        &self,
        product: &str,
        hardware: Vec<HardwareId>,
        actor: &str,
        now: UnixTime,
    ) -> Result<u64, LedgerError> {
        let product = product.to_owned();
        let remove = move |change: &Change<'_>| allow::remove(change, &product, &hardware);
        Ok(self.change(actor.to_owned(), now, remove).await?)
    }

    async fn allow_list(
        &self,
        product: &str,
        after: Option<&str>,
        limit: u32,
    ) -> Result<Vec<String>, LedgerError> {
        let (product, after) = (product.to_owned(), after.map(str::to_owned));
        self.trusted()?
            .list(move |db| allow::list(db, &product, after.as_deref(), limit))
            .await
    }

    async fn product_list(&self) -> Result<Vec<Product>, LedgerError> {
        self.trusted()?.one(product::list)
    }

    async fn product_apply(
        &self,
        products: Vec<Product>,
        actor: &str,
        now: UnixTime,
    ) -> Result<(), LedgerError> {
        let apply = move |change: &Change<'_>| product::apply(change, &products);
        Ok(self.change(actor.to_owned(), now, apply).await?)
    }

    async fn device_list(&self, filter: &DeviceFilter) -> Result<Vec<DeviceRecord>, LedgerError> {
        let filter = filter.clone();
        self.trusted()?
            .list(move |db| device::list(db, &filter))
            .await
    }

    async fn device_get(&self, name_or_hardware: &str) -> Result<Option<DeviceFile>, LedgerError> {
        self.trusted()?
            .snapshot(|db| device::file(db, name_or_hardware))
    }

    async fn device_act(
        &self,
        device: &DeviceId,
        act: DeviceAct,
        actor: &str,
        now: UnixTime,
    ) -> Result<Acted<DeviceRecord>, LedgerError> {
        let device = device.clone();
        let act = move |change: &Change<'_>| device_act::act(change, device.as_str(), &act);
        Ok(self.change(actor.to_owned(), now, act).await?)
    }

    async fn device_adopt(
        &self,
        adoption: Adoption,
        actor: &str,
        now: UnixTime,
    ) -> Result<Adopted, LedgerError> {
        let adopt = move |change: &Change<'_>| device_act::adopt(change, &adoption);
        Ok(self.change(actor.to_owned(), now, adopt).await?)
    }

    async fn report_add(&self, report: Report, now: UnixTime) -> Result<(), LedgerError> {
        let add = move |change: &Change<'_>| notes::add_report(change, &report);
        Ok(self.change(SERVER.to_owned(), now, add).await?)
    }

    async fn refusal_add(
        &self,
        samples: Vec<RefusalSample>,
        now: UnixTime,
    ) -> Result<(), LedgerError> {
        if samples.is_empty() {
            return Ok(());
        }
        let add = move |change: &Change<'_>| {
            samples
                .iter()
                .try_for_each(|sample| notes::add_refusal(change, sample))
        };
        Ok(self.change(SERVER.to_owned(), now, add).await?)
    }

    async fn refusal_list(&self, subject: &str) -> Result<Vec<RefusalSample>, LedgerError> {
        self.trusted()?.one(|db| notes::refusals(db, subject))
    }

    async fn crl_facts(&self, issuer: &str, now: UnixTime) -> Result<CrlFacts, LedgerError> {
        let issuer = issuer.to_owned();
        self.trusted()?
            .list(move |db| crl::facts(db, &issuer, now))
            .await
    }

    async fn crl_publish(&self, crl: CrlRecord, now: UnixTime) -> Result<bool, LedgerError> {
        let publish = move |change: &Change<'_>| crl::publish(change, &crl);
        Ok(self.change(SERVER.to_owned(), now, publish).await?)
    }

    async fn fleet_apply(
        &self,
        definitions: Definitions,
        actor: &str,
        now: UnixTime,
    ) -> Result<(), LedgerError> {
        let apply = move |change: &Change<'_>| definition::apply(change, &definitions);
        Ok(self.change(actor.to_owned(), now, apply).await?)
    }

    async fn claim_list(&self) -> Result<Vec<ClaimRecord>, LedgerError> {
        self.trusted()?.list(claim::list).await
    }

    async fn claim_get(&self, name: &str) -> Result<Option<ClaimRecord>, LedgerError> {
        self.trusted()?.snapshot(|db| claim::whole(db, name))
    }

    async fn claim_act(
        &self,
        name: &str,
        act: ClaimAct,
        actor: &str,
        now: UnixTime,
    ) -> Result<Acted<ClaimRecord>, LedgerError> {
        let name = name.to_owned();
        let act = move |change: &Change<'_>| claim::act(change, &name, &act);
        Ok(self.change(actor.to_owned(), now, act).await?)
    }

    async fn claim_certificate_intend(
        &self,
        grant: ClaimCertificateGrant,
        actor: &str,
        now: UnixTime,
    ) -> Result<Acted<()>, LedgerError> {
        let intend = move |change: &Change<'_>| claim_certificate::intend(change, &grant);
        Ok(self.change(actor.to_owned(), now, intend).await?)
    }

    async fn claim_certificate_settle(
        &self,
        serial: Serial,
        fingerprint: CertificateFingerprint,
        certificate_der: Vec<u8>,
        now: UnixTime,
    ) -> Result<Option<Vec<u8>>, LedgerError> {
        let settle = move |change: &Change<'_>| {
            claim_certificate::settle(change, &serial, fingerprint, &certificate_der)
        };
        Ok(self.change(SERVER.to_owned(), now, settle).await?)
    }

    async fn claim_certificate_adopt(
        &self,
        claim: &str,
        certificate: ForeignClaimCertificate,
        actor: &str,
        now: UnixTime,
    ) -> Result<Acted<ClaimRecord>, LedgerError> {
        let claim = claim.to_owned();
        let adopt =
            move |change: &Change<'_>| claim_certificate::adopt(change, &claim, &certificate);
        Ok(self.change(actor.to_owned(), now, adopt).await?)
    }

    async fn claim_alarm(
        &self,
        alarm: ClaimAlarm,
        now: UnixTime,
    ) -> Result<Option<ClaimState>, LedgerError> {
        let alarm = move |change: &Change<'_>| claim::alarm(change, &alarm);
        Ok(self.change(SERVER.to_owned(), now, alarm).await?)
    }

    async fn template_list(&self) -> Result<Vec<Template>, LedgerError> {
        self.trusted()?.one(definition::templates)
    }

    async fn authority_list(&self) -> Result<Vec<AuthorityRecord>, LedgerError> {
        self.trusted()?.one(definition::authorities)
    }

    async fn registry_list(&self) -> Result<Registry, LedgerError> {
        self.trusted()?.list(registry::list).await
    }

    async fn thing_list(&self, filter: &ThingFilter) -> Result<Vec<ThingRecord>, LedgerError> {
        let filter = filter.clone();
        self.trusted()?
            .list(move |db| thing::list(db, &filter))
            .await
    }

    async fn policy_list(&self) -> Result<Vec<(String, Option<String>)>, LedgerError> {
        self.trusted()?.list(thing::policies).await
    }

    async fn arrival_facts(
        &self,
        query: &ArrivalQuery,
        _now: UnixTime,
    ) -> Result<ArrivalFacts, LedgerError> {
        self.trusted()?
            .snapshot(|db| registration_facts::arrival(db, query))
    }

    async fn registration_facts(
        &self,
        query: &RegistrationQuery,
        _now: UnixTime,
    ) -> Result<RegistrationFacts, LedgerError> {
        self.trusted()?
            .snapshot(|db| registration_facts::registration(db, query))
    }

    async fn pending_intend(
        &self,
        grant: PendingGrant,
        now: UnixTime,
    ) -> Result<Claimed<PendingRecord>, LedgerError> {
        let actor = actor(&grant.origin_of_request);
        let intended = self
            .change(actor, now, move |change| pending::intend(change, &grant))
            .await;
        or_else_changed(intended, Claimed::Changed)
    }

    async fn pending_settle(
        &self,
        serial: Serial,
        certificate_der: Vec<u8>,
        now: UnixTime,
    ) -> Result<Option<PendingRecord>, LedgerError> {
        let settle = move |change: &Change<'_>| pending::settle(change, &serial, &certificate_der);
        Ok(self.change(SERVER.to_owned(), now, settle).await?)
    }

    async fn device_register(
        &self,
        grant: RegistrationGrant,
        now: UnixTime,
    ) -> Result<Claimed<Registered>, LedgerError> {
        let actor = actor(&grant.origin_of_request);
        let registered = self
            .change(actor, now, move |change| register::register(change, &grant))
            .await;
        or_else_changed(registered, Claimed::Changed)
    }

    async fn device_activate(
        &self,
        device: &DeviceId,
        key: KeyFingerprint,
        knock: Option<String>,
        now: UnixTime,
    ) -> Result<bool, LedgerError> {
        let device = device.clone();
        let activate = move |change: &Change<'_>| {
            register::activate(change, device.as_str(), key, knock.as_deref())
        };
        Ok(self.change(SERVER.to_owned(), now, activate).await?)
    }

    async fn pending_expire(&self, before: UnixTime, now: UnixTime) -> Result<u64, LedgerError> {
        // Asked often, and there is mostly nothing to do: no flush.
        if !self
            .trusted()?
            .one(|db| pending::expire_due(db, before, now))?
        {
            return Ok(0);
        }
        let expire = move |change: &Change<'_>| pending::expire(change, before);
        Ok(self.change(SERVER.to_owned(), now, expire).await?)
    }

    async fn entry_add(
        &self,
        entry: NewEntry,
        actor: &str,
        now: UnixTime,
    ) -> Result<Acted<EntryRecord>, LedgerError> {
        let add = move |change: &Change<'_>| entry::add(change, &entry);
        Ok(self.change(actor.to_owned(), now, add).await?)
    }

    async fn entry_list(&self) -> Result<Vec<EntryRecord>, LedgerError> {
        self.trusted()?.list(entry::list).await
    }

    async fn entry_page(
        &self,
        kind: EntryKind,
        product: &str,
        after: &str,
        limit: u32,
    ) -> Result<Vec<EntryRecord>, LedgerError> {
        let (product, after) = (product.to_owned(), after.to_owned());
        self.trusted()?
            .list(move |db| entry::page(db, kind, &product, &after, limit))
            .await
    }

    async fn entry_get(
        &self,
        kind: EntryKind,
        name: &str,
    ) -> Result<Option<EntryRecord>, LedgerError> {
        let found = self.trusted()?.one(|db| entry::by_name(db, kind, name))?;
        Ok(found.map(|entry| entry.record))
    }

    async fn entry_act(
        &self,
        kind: EntryKind,
        name: &str,
        act: EntryAct,
        actor: &str,
        now: UnixTime,
    ) -> Result<Acted<EntryRecord>, LedgerError> {
        let name = name.to_owned();
        let act = move |change: &Change<'_>| entry::act(change, kind, &name, &act);
        Ok(self.change(actor.to_owned(), now, act).await?)
    }

    async fn entry_registrations(
        &self,
        kind: EntryKind,
        entry: &str,
        after: &str,
        limit: u32,
    ) -> Result<Vec<EntryRegistration>, LedgerError> {
        let (entry, after) = (entry.to_owned(), after.to_owned());
        self.trusted()?
            .list(move |db| registration::list(db, kind, &entry, &after, limit))
            .await
    }

    async fn registration_end(
        &self,
        id: &str,
        version: Option<u64>,
        actor: &str,
        now: UnixTime,
    ) -> Result<Acted<EntryRegistration>, LedgerError> {
        let id = id.to_owned();
        let end = move |change: &Change<'_>| registration::end_by_id(change, &id, version);
        Ok(self.change(actor.to_owned(), now, end).await?)
    }

    async fn service_key_add(
        &self,
        key: ServiceKeyRecord,
        actor: &str,
        now: UnixTime,
    ) -> Result<Acted<ServiceKeyRecord>, LedgerError> {
        let add = move |change: &Change<'_>| service_key::add(change, &key);
        Ok(self.change(actor.to_owned(), now, add).await?)
    }

    async fn service_key_list(&self) -> Result<Vec<ServiceKeyRecord>, LedgerError> {
        self.trusted()?.one(service_key::list)
    }

    async fn service_key_get(&self, name: &str) -> Result<Option<ServiceKeyRecord>, LedgerError> {
        self.trusted()?.one(|db| service_key::by_name(db, name))
    }

    async fn service_key_delete(
        &self,
        name: &str,
        actor: &str,
        now: UnixTime,
    ) -> Result<Acted<ServiceKeyRecord>, LedgerError> {
        let name = name.to_owned();
        let delete = move |change: &Change<'_>| service_key::delete(change, &name);
        Ok(self.change(actor.to_owned(), now, delete).await?)
    }

    async fn entry_facts(
        &self,
        query: &EntryQuery,
        _now: UnixTime,
    ) -> Result<EntryFacts, LedgerError> {
        self.trusted()?.snapshot(|db| entry::facts(db, query))
    }

    async fn entry_register(
        &self,
        grant: EntryGrant,
        now: UnixTime,
    ) -> Result<Claimed<EntryRegistration>, LedgerError> {
        let actor = actor(&grant.grant.origin_of_request);
        let register = move |change: &Change<'_>| registration::register(change, &grant);
        let registered = self.change(actor, now, register).await;
        or_else_changed(registered, Claimed::Changed)
    }

    async fn shared_key_facts(&self, device: &str) -> Result<Option<SharedKeyFacts>, LedgerError> {
        self.trusted()?
            .snapshot(|db| registration::shared_key_facts(db, device))
    }

    async fn shared_key_verify(
        &self,
        device: &DeviceId,
        judged: KeyJudged,
        evidence: &str,
        now: UnixTime,
    ) -> Result<Option<SharedKeyFacts>, LedgerError> {
        let (device, evidence) = (device.clone(), evidence.to_owned());
        let verify =
            move |change: &Change<'_>| registration::verify(change, &device, judged, &evidence);
        Ok(self.change(SERVER.to_owned(), now, verify).await?)
    }

    async fn journal_chain(&self, limit: u32) -> Result<u64, LedgerError> {
        if !self.trusted()?.one(chain::is_due)? {
            return Ok(0);
        }
        Ok(self
            .writer
            .write(move |db| chain::extend(db, limit))
            .await?)
    }

    async fn journal_read(&self, after: u64, limit: u32) -> Result<Vec<JournalRow>, LedgerError> {
        self.trusted()?
            .list(move |db| chain::read(db, after, limit))
            .await
    }

    async fn journal_head(&self) -> Result<u64, LedgerError> {
        self.trusted()?.one(chain::head)
    }

    async fn cursor_open(&self, name: &str, now: UnixTime) -> Result<u64, LedgerError> {
        let name = name.to_owned();
        let open = move |change: &Change<'_>| cursor::open(change, &name);
        Ok(self.change(SERVER.to_owned(), now, open).await?)
    }

    async fn cursor_advance(
        &self,
        name: &str,
        number: u64,
        now: UnixTime,
    ) -> Result<(), LedgerError> {
        let name = name.to_owned();
        let advance = move |change: &Change<'_>| cursor::advance(change, &name, number);
        Ok(self.change(SERVER.to_owned(), now, advance).await?)
    }

    fn epoch(&self) -> u8 {
        self.epoch
    }
}

impl Sqlite {
    async fn change<T: Send + 'static>(
        &self,
        actor: String,
        now: UnixTime,
        work: impl Fn(&Change<'_>) -> Result<T, Fault> + Send + 'static,
    ) -> Result<T, Fault> {
        self.writer
            .write(move |db| {
                work(&Change {
                    db,
                    now,
                    actor: &actor,
                })
            })
            .await
    }

    /// The readers, as long as what they read may be relied upon.
    fn trusted(&self) -> Result<&std::sync::Arc<crate::reader::Readers>, LedgerError> {
        match self.writer.failed() {
            Some(reason) => Err(LedgerError::Unavailable { reason }),
            None => Ok(&self.readers),
        }
    }
}

/// A rule of the schema that says no is a fact that has changed since it was read.
fn or_else_changed<T>(outcome: Result<T, Fault>, changed: T) -> Result<T, LedgerError> {
    match outcome {
        Err(Fault::Conflict(rule)) => {
            tracing::debug!("decided on facts that have changed: {rule}");
            Ok(changed)
        }
        outcome => Ok(outcome?),
    }
}

/// Behind the admin door stands a person, and their name is the address.
fn actor(origin: &RequestOrigin) -> String {
    if origin.door == "admin" {
        origin.address.clone()
    } else {
        origin.door.to_owned()
    }
}

const SERVER: &str = "server";
