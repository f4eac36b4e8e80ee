//! Pending certificates: issued to (claim, key) before their device is known.

use std::collections::BTreeMap;

use imprint_identity::UnixTime;
use imprint_registrar::Serial;
use imprint_registrar::ledger::{
    CertificateFingerprint, CertificateOrigin, CertificateState, ClaimCertificateState, ClaimState,
    Claimed, Generation, KeyFingerprint, PendingGrant, PendingRecord, PendingState,
    RegisteredRecord, RevocationReason,
};
use rusqlite::{Connection, OptionalExtension, Row};
use serde_json::json;

use crate::approval;
use crate::certificate::{self, Intent};
use crate::change::Change;
use crate::claim::{self, Claim};
use crate::claim_certificate;
use crate::decode::Columns;
use crate::device;
use crate::fault::Fault;

/// A pending certificate with its numbers.
pub(crate) struct Pending {
    pub(crate) number: i64,
    pub(crate) claim: i64,
    pub(crate) certificate: i64,
    pub(crate) record: PendingRecord,
}

macro_rules! select_pending {
    ($where:literal) => {
        concat!(
            "SELECT p.number, p.claim, p.certificate, k.name, p.state, c.serial, c.issuer,
                    p.key, c.state, c.to_be_signed, c.to_be_signed_at, c.to_be_signed_length, c.der,
                    c.not_before, c.not_after, p.at, d.name, d.hardware, p.template, p.thing,
                    p.answer
             FROM pending p
             JOIN claim k ON k.number = p.claim
             JOIN certificate c ON c.number = p.certificate
             LEFT JOIN device d ON d.number = p.device ",
            $where
        )
    };
}

fn read(row: &Row<'_>) -> rusqlite::Result<Pending> {
    let der: Option<Vec<u8>> = row.get(12)?;
    let to_be_signed = match row.get::<_, Option<Vec<u8>>>(9)? {
        Some(octets) => octets,
        None => certificate::contained(der.as_deref(), row.get(10)?, row.get(11)?),
    };
    let registered = match row.get::<_, Option<Vec<u8>>>(20)? {
        None => None,
        Some(answer) => Some(RegisteredRecord {
            device: row.device(16)?,
            hardware: row.hardware(17)?,
            template: row.get::<_, Option<String>>(18)?.unwrap_or_default(),
            thing: row.get(19)?,
            answer,
        }),
    };
    Ok(Pending {
        number: row.get(0)?,
        claim: row.get(1)?,
        certificate: row.get(2)?,
        record: PendingRecord {
            claim: row.get(3)?,
            state: row.word(4)?,
            serial: row.serial(5)?,
            issuer: row.get(6)?,
            key: row.key(7)?,
            certificate_state: row.word(8)?,
            to_be_signed,
            der,
            not_before: row.time(13)?,
            not_after: row.time(14)?,
            at: row.time(15)?,
            registered,
        },
    })
}

pub(crate) fn by_serial(db: &Connection, serial: &Serial) -> Result<Option<Pending>, Fault> {
    let sql = select_pending!("WHERE c.serial = ?1");
    Ok(db
        .prepare_cached(sql)?
        .query_row([serial.0], read)
        .optional()?)
}

/// The one of this claim and key that has not ended.
pub(crate) fn of_key(
    db: &Connection,
    claim: i64,
    key: KeyFingerprint,
) -> Result<Option<Pending>, Fault> {
    let sql = select_pending!("WHERE p.claim = ?1 AND p.key = ?2 AND p.state <> 'ended'");
    Ok(db
        .prepare_cached(sql)?
        .query_row((claim, key.0), read)
        .optional()?)
}

/// Writes a pending certificate down before it is signed.
pub(crate) fn intend(
    change: &Change<'_>,
    grant: &PendingGrant,
) -> Result<Claimed<PendingRecord>, Fault> {
    let Some(claim) = claim::by_name(change.db, &grant.claim)? else {
        return Ok(Claimed::Changed);
    };
    // 1. The claim and the certificate that was shown are good now.
    if claim.record.state != ClaimState::Active || !is_heard(change, &claim, grant.shown)? {
        return Ok(Claimed::Changed);
    }
    // 2. The same question has its answer already.
    let same = of_key(change.db, claim.number, grant.key)?;
    if let Some(same) = same.as_ref().filter(|same| is_good(change, &same.record)) {
        return Ok(Claimed::Done(same.record.clone()));
    }
    if let Some(owner) = device::key_owner(change.db, &grant.key.0)? {
        let released =
            device::by_name(change.db, owner.as_str())?.is_some_and(|owner| owner.record.released);
        if !released {
            return Ok(Claimed::Changed);
        }
    }
    // 3. Not too fast, and not too many.
    let waits = |same: &Pending| same.record.state == PendingState::Pending;
    let ended = u32::from(same.as_ref().is_some_and(waits));
    if let Some((seconds, why)) = claim::held_back(change, &claim, ended)? {
        claim::tell_held_back(change, &claim, &why, &grant.origin_of_request.address)?;
        return Ok(Claimed::Limited { seconds, why });
    }
    // 4. What is not good any more ends; certificate, record, count, journal.
    if let Some(same) = same {
        end(change, &same, RevocationReason::Superseded)?;
    }
    write_down(change, &claim, grant)?;
    claim::count_asked(change, &claim)?;
    let detail = json!({
        "enrollment": grant.enrollment.to_string(),
        "serial": grant.serial.to_string(),
        "key": grant.key.to_string(),
        "issuer": grant.issuer,
        "door": grant.origin_of_request.door,
        "address": grant.origin_of_request.address,
    });
    change.journal("pending-intended", &grant.claim, &detail)?;
    Ok(Claimed::Done(as_written(change, grant)))
}

/// Whether a certificate of a claim is good now.
pub(crate) fn is_heard(
    change: &Change<'_>,
    claim: &Claim,
    shown: CertificateFingerprint,
) -> Result<bool, Fault> {
    let found = claim_certificate::by_fingerprint(change.db, shown)?;
    Ok(found.is_some_and(|(of, one)| {
        of == claim.number && one.record.state == ClaimCertificateState::Active
    }))
}

fn is_good(change: &Change<'_>, record: &PendingRecord) -> bool {
    record.certificate_state.is_live() && change.now <= record.not_after
}

fn write_down(change: &Change<'_>, claim: &Claim, grant: &PendingGrant) -> Result<(), Fault> {
    let intent = Intent {
        serial: grant.serial,
        device: None,
        origin: CertificateOrigin::Claimed,
        issuer: &grant.issuer,
        generation: Generation::Claim,
        request_key: grant.key,
        subject_key: grant.key,
        asked_subject: &[],
        to_be_signed: &grant.to_be_signed,
        sealed_key: None,
        not_before: grant.not_before,
        not_after: grant.not_after,
    };
    certificate::insert(change, &intent)?;
    let certificate = change.db.last_insert_rowid();
    change
        .db
        .prepare_cached(
            "INSERT INTO pending (claim, key, certificate, state, at)
             VALUES (?1, ?2, ?3, 'pending', ?4)",
        )?
        .execute((claim.number, grant.key.0, certificate, change.now.0))?;
    Ok(())
}

fn as_written(change: &Change<'_>, grant: &PendingGrant) -> PendingRecord {
    PendingRecord {
        claim: grant.claim.clone(),
        state: PendingState::Pending,
        serial: grant.serial,
        issuer: grant.issuer.clone(),
        key: grant.key,
        certificate_state: CertificateState::Intended,
        to_be_signed: grant.to_be_signed.clone(),
        der: None,
        not_before: grant.not_before,
        not_after: grant.not_after,
        at: change.now,
        registered: None,
    }
}

/// Keeps a pending certificate; the first one stays.
pub(crate) fn settle(
    change: &Change<'_>,
    serial: &Serial,
    der: &[u8],
) -> Result<Option<PendingRecord>, Fault> {
    let mut pending = by_serial(change.db, serial)?.ok_or_else(|| certificate::unknown(serial))?;
    match pending.record.certificate_state {
        CertificateState::Issued | CertificateState::Active => return Ok(Some(pending.record)),
        CertificateState::Void | CertificateState::Revoked | CertificateState::Superseded => {
            return Ok(None);
        }
        CertificateState::Intended => {}
    }
    certificate::keep_bare(change, pending.certificate, der)?;
    let detail = json!({ "serial": serial.to_string(), "key": pending.record.key.to_string() });
    change.journal("pending-settled", &pending.record.claim, &detail)?;
    pending.record.certificate_state = CertificateState::Issued;
    pending.record.der = Some(der.to_vec());
    Ok(Some(pending.record))
}

/// Ends a pending record; its certificate is revoked if it is no device's, and that is told.
fn end(change: &Change<'_>, pending: &Pending, reason: RevocationReason) -> Result<(), Fault> {
    let record = &pending.record;
    if record.state == PendingState::Pending {
        claim_certificate::end_bare(change, pending.certificate, reason)?;
        claim::count_ended(change, pending.claim)?;
        let detail = json!({
            "serial": record.serial.to_string(),
            "key": record.key.to_string(),
            "since": record.at.0,
            "was": record.certificate_state.as_str(),
            "reason": reason.as_str(),
        });
        change.journal("pending-expired", &record.claim, &detail)?;
    }
    change
        .db
        .prepare_cached("UPDATE pending SET state = 'ended' WHERE number = ?1")?
        .execute([pending.number])?;
    Ok(())
}

/// Which have had their time. One whose device waits for an operator, or has an operator's word, is kept
/// as long as that holds; an operator who says nothing for so long has said no.
macro_rules! overdue {
    () => {
        "p.state = 'pending' AND p.at < ?1 AND NOT EXISTS (
            SELECT 1 FROM approval a
            WHERE a.key = p.key AND coalesce(a.until, a.asked_at + ?2) >= ?3)"
    };
}

/// Whether [`expire`] would find anything.
pub(crate) fn expire_due(db: &Connection, before: UnixTime, now: UnixTime) -> Result<bool, Fault> {
    let sql = concat!(
        "SELECT EXISTS (SELECT 1 FROM pending p WHERE ",
        overdue!(),
        ")"
    );
    Ok(db
        .prepare_cached(sql)?
        .query_row((before.0, APPROVAL_SECONDS, now.0), |row| row.get(0))?)
}

/// Ends what nobody has registered in its time.
pub(crate) fn expire(change: &Change<'_>, before: UnixTime) -> Result<u64, Fault> {
    let due: Vec<Pending> = {
        let sql = concat!(
            select_pending!("WHERE "),
            overdue!(),
            " ORDER BY p.at LIMIT ?4"
        );
        let mut statement = change.db.prepare_cached(sql)?;
        let now = change.now.0;
        let rows = statement.query_map((before.0, APPROVAL_SECONDS, now, MOST_EXPIRED), read)?;
        rows.collect::<Result<_, _>>()?
    };
    let mut lost: BTreeMap<i64, Vec<String>> = BTreeMap::new();
    for pending in &due {
        end(change, pending, RevocationReason::CessationOfOperation)?;
        // One device that waits for its approval asks again and again, with new keys maybe.
        let key = pending.record.key;
        let name = match approval::listed_for(change.db, key)? {
            Some(device) => device.to_string(),
            None => format!("key {key}"),
        };
        lost.entry(pending.claim).or_default().push(name);
    }
    for (claim, names) in &lost {
        claim::count_lost(change, *claim, names)?;
    }
    Ok(due.len() as u64)
}

/// In one transaction, which others wait for.
const MOST_EXPIRED: u32 = 256;
/// How long a device may wait for an operator with the certificate that it has: as long as an operator's
/// word holds.
const APPROVAL_SECONDS: i64 = 7 * 86_400;
