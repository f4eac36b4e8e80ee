//! Recall for claims and newcomers: who is this certificate, and what bears on its request.

use imprint_registrar::ledger::{
    ArrivalFacts, ArrivalQuery, CertificateState, RegistrationFacts, RegistrationQuery,
};
use rusqlite::Connection;

use crate::approval::Place;
use crate::fault::Fault;
use crate::{
    allow, approval, certificate, claim, claim_certificate, definition, device, pending, product,
    registration, registry, thing,
};

/// The first that it is: a claim's, a device's, a pending one, one of a registered CA.
pub(crate) fn arrival(db: &Connection, query: &ArrivalQuery) -> Result<ArrivalFacts, Fault> {
    let mut facts = ArrivalFacts::default();
    if let Some((of, one)) = claim_certificate::by_fingerprint(db, query.fingerprint)? {
        let record = claim::by_number(db, of)?.record;
        facts.product = product::by_name(db, &record.claim.product)?;
        facts.claim = Some((record, one.record));
        return Ok(facts);
    }
    facts.credential = certificate::credential(db, &query.serial)?.map(|(_, shown)| shown);
    if facts.credential.is_some() {
        return Ok(facts);
    }
    facts.pending = pending::by_serial(db, &query.serial)?.map(|pending| pending.record);
    if facts.pending.is_some() {
        return Ok(facts);
    }
    for subject in &query.issuers {
        for authority in definition::authorities_named(db, subject)? {
            let product = product::by_name(db, &authority.ca.product)?;
            let template = match &authority.ca.template {
                Some(name) => definition::template(db, name)?,
                None => None,
            };
            facts.authorities.push((authority, product, template));
        }
    }
    Ok(facts)
}

pub(crate) fn registration(
    db: &Connection,
    query: &RegistrationQuery,
) -> Result<RegistrationFacts, Fault> {
    let mut facts = RegistrationFacts::default();
    let mut claim_number = None;
    if let Some((name, fingerprint)) = &query.claim
        && let Some(claim) = claim::by_name(db, name)?
    {
        claim_number = Some(claim.number);
        facts.shown = claim_certificate::by_fingerprint(db, *fingerprint)?
            .filter(|(of, _)| *of == claim.number)
            .map(|(_, one)| one.record);
        facts.claim = Some(claim.record);
    }
    let named = facts
        .claim
        .as_ref()
        .map(|claim| &claim.claim.product)
        .or(query.product.as_ref());
    if let Some(name) = named {
        facts.product = product::by_name(db, name)?;
    }
    if let Some(name) = &query.template {
        facts.template = definition::template(db, name)?;
    }
    facts.pending = match (&query.serial, claim_number, query.key) {
        (Some(serial), _, _) => pending::by_serial(db, serial)?,
        (None, Some(claim), Some(key)) => pending::of_key(db, claim, key)?,
        _ => None,
    }
    .map(|pending| pending.record);
    if let Some(serial) = &query.serial {
        facts.certificate =
            certificate::by_serial(db, serial)?.map(|certificate| certificate.record);
    }
    let key = query
        .key
        .or(facts.pending.as_ref().map(|pending| pending.key));
    if let Some(key) = key
        && let Some(owner) = device::key_owner(db, &key.0)?
    {
        facts.key_owner = device::by_name(db, owner.as_str())?.map(|device| device.record);
    }
    if let Some(key) = key {
        facts.listed_for = approval::listed_for(db, key)?;
    }
    if let Some(hardware) = &query.hardware {
        let text = hardware.text();
        if let Some(device) = device::by_hardware(db, &text)? {
            let live = certificate::live(db, device.number)?;
            facts.device_has_live = !live.is_empty();
            let is_active = |state| state == CertificateState::Active;
            facts.device_in_use = live.iter().any(|one| is_active(one.record.state));
            facts.registration = registration::of_device(db, device.number)?.map(|one| one.record);
            if let Some(key) = key {
                facts.key_was_revoked = certificate::has_revoked_key(db, device.number, key)?;
            }
            if let Some(key) = key
                && let Some(Place::Approved { until }) = approval::place(db, device.number, key)?
            {
                facts.approved_until = Some(until);
            }
            facts.device = Some(device.record);
        }
        if let Some(product) = &facts.product {
            facts.allowed = allow::contains(db, &product.name, &text)?;
        }
    }
    if let Some(name) = &query.thing {
        facts.thing = thing::by_name(db, name)?.map(|thing| thing.record);
        facts.named = device::by_name(db, name)?.map(|device| device.record.id);
    }
    if let Some(name) = &query.authority {
        facts.authority = definition::authority(db, name)?;
    }
    facts.missing = registry::missing(db, &query.references)?;
    Ok(facts)
}
