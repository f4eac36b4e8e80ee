//! Registrations by entries: what was told to which device, and whether its shared key is heard.

use imprint_identity::{DeviceId, Step};
use imprint_registrar::ledger::{
    Acted, Claimed, DeviceRecord, DeviceState, EntryGrant, EntryKind, EntryRecord,
    EntryRegistration, Generation, KeyJudged, RegistrationCertificate, RevocationReason,
    SharedKeyFacts,
};
use rusqlite::{Connection, OptionalExtension, Row};
use serde_json::json;

use crate::change::Change;
use crate::decode::Columns;
use crate::fault::Fault;
use crate::register::{self, Decided};
use crate::{certificate, device, entry, product};

/// A registration with the numbers of what it joins.
pub(crate) struct Registration {
    pub(crate) number: i64,
    pub(crate) entry: i64,
    device: i64,
    pub(crate) record: EntryRegistration,
}

macro_rules! select_registration {
    ($where:literal) => {
        concat!(
            "SELECT r.number, r.entry, r.device, r.id, r.presented, e.kind, e.definition ->> '$.name',
                    d.name, r.hub, r.shared_key, r.live AND e.deleted_at IS NULL, r.created_at,
                    r.updated_at, r.verified_at, r.version
             FROM registration r JOIN entry e ON e.number = r.entry
                                 JOIN device d ON d.number = r.device ",
            $where
        )
    };
}

fn read(row: &Row<'_>) -> rusqlite::Result<Registration> {
    Ok(Registration {
        number: row.get(0)?,
        entry: row.get(1)?,
        device: row.get(2)?,
        record: EntryRegistration {
            id: row.get(3)?,
            presented: row.get(4)?,
            kind: row.word(5)?,
            entry: row.get(6)?,
            device: row.device(7)?,
            hub: row.get(8)?,
            shared_key: row.get(9)?,
            live: row.get(10)?,
            created_at: row.time(11)?,
            updated_at: row.time(12)?,
            verified_at: row.maybe_time(13)?,
            version: row.get::<_, i64>(14)?.cast_unsigned(),
        },
    })
}

impl Registration {
    pub(crate) fn with_device(
        self,
        db: &Connection,
    ) -> Result<(EntryRegistration, DeviceRecord), Fault> {
        Ok((self.record, device::by_number(db, self.device)?.record))
    }
}

pub(crate) fn by_id(db: &Connection, id: &str) -> Result<Option<Registration>, Fault> {
    let sql = select_registration!("WHERE r.id = ?1");
    Ok(db.prepare_cached(sql)?.query_row([id], read).optional()?)
}

pub(crate) fn of_device(db: &Connection, device: i64) -> Result<Option<Registration>, Fault> {
    let sql = select_registration!("WHERE r.device = ?1");
    Ok(db
        .prepare_cached(sql)?
        .query_row([device], read)
        .optional()?)
}

/// Those by an entry that is there, after this id.
pub(crate) fn list(
    db: &Connection,
    kind: EntryKind,
    entry: &str,
    after: &str,
    limit: u32,
) -> Result<Vec<EntryRegistration>, Fault> {
    let sql = select_registration!(
        "WHERE e.kind = ?1 AND e.name = ?2 AND r.id > ?3 ORDER BY r.id LIMIT ?4"
    );
    let mut statement = db.prepare_cached(sql)?;
    let rows = statement.query_map((kind.as_str(), entry, after, limit), read)?;
    rows.map(|row| Ok(row?.record)).collect()
}

/// Ends a registration, of this version where one is named. The device may register again.
pub(crate) fn end_by_id(
    change: &Change<'_>,
    id: &str,
    version: Option<u64>,
) -> Result<Acted<EntryRegistration>, Fault> {
    let Some(found) = by_id(change.db, id)? else {
        return Ok(Acted::Absent);
    };
    if version.is_some_and(|version| version != found.record.version) {
        return Ok(Acted::NotNow { state: "changed" });
    }
    end(change, found.device, "an operator ended it")?;
    let ended = by_id(change.db, id)?;
    Ok(ended.map_or(Acted::Absent, |ended| Acted::Done(ended.record)))
}

/// Whether what a device was registered with by a certificate is over, so that the certificate is no
/// credential either.
pub(crate) fn certificate_is_over(db: &Connection, device: i64) -> Result<bool, Fault> {
    let found = of_device(db, device)?;
    Ok(found.is_some_and(|one| !one.record.shared_key && !one.record.live))
}

/// Whether a device has a shared key that is heard.
pub(crate) fn has_live_key(db: &Connection, device: i64) -> Result<bool, Fault> {
    let found = of_device(db, device)?;
    Ok(found.is_some_and(|one| one.record.live && one.record.shared_key))
}

pub(crate) fn register(
    change: &Change<'_>,
    order: &EntryGrant,
) -> Result<Claimed<EntryRegistration>, Fault> {
    let (db, grant) = (change.db, &order.grant);
    // 1. The entry is as it was when this was decided.
    let entry = entry::by_name(db, order.kind, &order.entry)?;
    let Some(entry) =
        entry.filter(|entry| entry.record.enabled && entry.record.version == order.entry_version)
    else {
        return Ok(Claimed::Changed);
    };
    // 2. The same registration has its answer already: a hundred requests make one device.
    let shared_key = matches!(grant.certificate, RegistrationCertificate::SharedKey);
    let known = by_id(db, &order.id)?;
    if let Some(known) = &known {
        let device = device::by_number(db, known.device)?;
        if device.record.hardware != grant.hardware {
            return Ok(Claimed::Changed);
        }
        let same = known.record.live
            && known.entry == entry.number
            && known.record.hub == order.hub
            && known.record.shared_key == shared_key
            && (known.record.presented == order.presented
                || !shared_key
                || order.kind == EntryKind::Individual)
            && device.record.state == DeviceState::Active;
        if same && has_certificate(db, known.device, &grant.certificate)? {
            return Ok(Claimed::Done(known.record.clone()));
        }
    }
    // 3. Device and key are as they were when this was decided.
    let Decided::As(mut device) = register::as_decided(change, grant)? else {
        return Ok(Claimed::Changed);
    };
    match (&grant.certificate, &device) {
        (RegistrationCertificate::Foreign { serial, .. }, _)
            if certificate::is_bare(db, serial)? =>
        {
            return Ok(Claimed::Changed);
        }
        // It was issued, and may have been revoked since.
        (RegistrationCertificate::Own { .. }, Some(device))
            if has_certificate(db, device.number, &grant.certificate)? => {}
        (RegistrationCertificate::Own { .. }, _) => return Ok(Claimed::Changed),
        _ => {}
    }
    // 4. Device, key owner, certificate, registration, count, journal.
    let number = register::name_or_touch(change, grant, &mut device)?;
    device::own_key(change, number, &grant.key.0)?;
    if !has_certificate(db, number, &grant.certificate)? {
        register::take_in(change, grant, number)?;
    }
    let is_new = known.is_none();
    keep(change, order, entry.number, number, shared_key)?;
    if is_new {
        entry::count_registered(change, entry.number)?;
    }
    journal(change, order, is_new)?;
    let kept = by_id(db, &order.id)?;
    kept.map(|kept| Claimed::Done(kept.record))
        .ok_or_else(|| Fault::Broken(format!("registration {} is not on record", order.id)))
}

/// Whether a device has this certificate; one that comes with a shared key needs none.
fn has_certificate(
    db: &Connection,
    device: i64,
    certificate: &RegistrationCertificate,
) -> Result<bool, Fault> {
    match certificate {
        RegistrationCertificate::Foreign { serial, .. } => {
            Ok(certificate::with_device(db, serial)?.is_some_and(|(_, of)| of.number == device))
        }
        RegistrationCertificate::Own { serial } => Ok(certificate::with_device(db, serial)?
            .is_some_and(|(one, of)| of.number == device && one.record.state.is_live())),
        RegistrationCertificate::SharedKey => Ok(true),
        RegistrationCertificate::Pending { .. } => Ok(false),
    }
}

fn keep(
    change: &Change<'_>,
    order: &EntryGrant,
    entry: i64,
    device: i64,
    shared_key: bool,
) -> Result<(), Fault> {
    change
        .db
        .prepare_cached(
            "INSERT INTO registration (id, presented, entry, device, hub, shared_key, live,
                                       created_at, updated_at, version)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, 1, ?7, ?7, 1)
             ON CONFLICT (id) DO UPDATE
             SET presented = excluded.presented, entry = excluded.entry, device = excluded.device,
                 hub = excluded.hub, shared_key = excluded.shared_key,
                 verified_at = CASE WHEN live AND entry = excluded.entry THEN verified_at END,
                 live = 1, updated_at = excluded.updated_at, version = version + 1",
        )?
        .execute((
            &order.id,
            &order.presented,
            entry,
            device,
            &order.hub,
            shared_key,
            change.now.0,
        ))?;
    Ok(())
}

fn journal(change: &Change<'_>, order: &EntryGrant, is_new: bool) -> Result<(), Fault> {
    let grant = &order.grant;
    let serial = match &grant.certificate {
        RegistrationCertificate::Foreign { serial, .. }
        | RegistrationCertificate::Own { serial } => Some(serial.to_string()),
        _ => None,
    };
    let detail = json!({
        "enrollment": grant.enrollment.to_string(),
        "registration": order.id,
        "kind": order.kind.as_str(),
        "entry": order.entry,
        "serial": serial,
        "key": serial.is_some().then(|| grant.key.to_string()),
        "hardware": grant.hardware.text().as_str(),
        "product": grant.product,
        "hub": order.hub,
        "again": !is_new,
        "door": grant.origin_of_request.door,
        "address": grant.origin_of_request.address,
    });
    change.journal("device-registered", grant.device.as_str(), &detail)
}

pub(crate) fn shared_key_facts(
    db: &Connection,
    name: &str,
) -> Result<Option<SharedKeyFacts>, Fault> {
    let Some(device) = device::by_name(db, name)? else {
        return Ok(None);
    };
    let found = of_device(db, device.number)?.filter(|found| found.record.shared_key);
    let Some(found) = found else {
        return Ok(None);
    };
    let product = product::by_name(db, &device.record.product)?
        .ok_or_else(|| Fault::Broken(format!("device {name} is of no product")))?;
    Ok(Some(SharedKeyFacts {
        own: other_entry(db, &found)?,
        entry: entry::by_number(db, found.entry)?.record,
        registration: found.record,
        product,
        device: device.record,
    }))
}

/// The entry of the device itself, where it was registered by another: the first hit counts, and it comes
/// before every group.
fn other_entry(db: &Connection, found: &Registration) -> Result<Option<EntryRecord>, Fault> {
    let own = entry::by_name(db, EntryKind::Individual, &found.record.id)?;
    Ok(own
        .filter(|own| own.number != found.entry)
        .map(|own| own.record))
}

/// First use of a shared key: the device has come to the hub. Answers what is on record after.
pub(crate) fn verify(
    change: &Change<'_>,
    name: &DeviceId,
    judged: KeyJudged,
    evidence: &str,
) -> Result<Option<SharedKeyFacts>, Fault> {
    let Some(mut device) = device::by_name(change.db, name.as_str())? else {
        return Ok(None);
    };
    let Some(found) = of_device(change.db, device.number)? else {
        return Ok(None);
    };
    let entry = entry::by_number(change.db, found.entry)?;
    let as_judged = KeyJudged {
        entry: entry.record.version,
        registration: found.record.version,
    };
    let heard = as_judged == judged
        && found.record.live
        && found.record.shared_key
        && entry.record.enabled
        && other_entry(change.db, &found)?.is_none()
        && device.record.state == DeviceState::Active;
    if heard {
        // What it replaces ends: one live identity a device. What was asked for after it was registered
        // and has not been used yet will replace it.
        for other in certificate::live(change.db, device.number)? {
            // Nor does what the device has asked for by this very key.
            let is_successor = other.record.generation == Generation::Entry
                || other.record.intended_at > found.record.updated_at;
            if !(other.is_unused() && is_successor) {
                certificate::end(change, &other, RevocationReason::Superseded)?;
            }
        }
        let sql =
            "UPDATE registration SET verified_at = coalesce(verified_at, ?2) WHERE number = ?1";
        change
            .db
            .prepare_cached(sql)?
            .execute((found.number, change.now.0))?;
        device.record.step = Step::Provisioned;
        device::update(change, &mut device)?;
        let detail = json!({ "registration": found.record.id, "evidence": evidence });
        change.journal("shared-key-verified", name.as_str(), &detail)?;
    }
    shared_key_facts(change.db, name.as_str())
}

/// From now on the device's certificate is what counts, and the key that it shares with its entry is
/// heard no more. It stays registered.
pub(crate) fn outgrow(change: &Change<'_>, device: i64) -> Result<(), Fault> {
    let Some(found) = of_device(change.db, device)? else {
        return Ok(());
    };
    change
        .db
        .prepare_cached(
            "UPDATE registration SET shared_key = 0, updated_at = ?2, version = version + 1
             WHERE number = ?1",
        )?
        .execute((found.number, change.now.0))?;
    let detail = json!({ "registration": found.record.id });
    change.journal("shared-key-outgrown", found.record.device.as_str(), &detail)
}

/// Ends what a device may use by its registration. Answers whether there was anything to end.
pub(crate) fn end(change: &Change<'_>, device: i64, why: &str) -> Result<bool, Fault> {
    let Some(found) = of_device(change.db, device)?.filter(|found| found.record.live) else {
        return Ok(false);
    };
    change
        .db
        .prepare_cached(
            "UPDATE registration SET live = 0, updated_at = ?2, version = version + 1
             WHERE number = ?1",
        )?
        .execute((found.number, change.now.0))?;
    let detail = json!({ "registration": found.record.id, "why": why });
    change.journal("registration-ended", found.record.device.as_str(), &detail)?;
    Ok(true)
}
