//! The certificates of claims: ours, and those that somebody else issued.

use imprint_registrar::Serial;
use imprint_registrar::ledger::{
    Acted, CertificateFingerprint, CertificateOrigin, CertificateState, ClaimCertificate,
    ClaimCertificateGrant, ClaimCertificateState, ClaimRecord, ClaimState, ForeignClaimCertificate,
    Generation, RevocationReason,
};
use rusqlite::{Connection, OptionalExtension, Row};
use serde_json::json;

use crate::certificate::{self, Intent};
use crate::change::Change;
use crate::claim;
use crate::decode::Columns;
use crate::fault::Fault;

/// A claim's certificate with its number and that of the certificate, if it is one of ours.
pub(crate) struct OfClaim {
    number: i64,
    certificate: Option<i64>,
    pub(crate) record: ClaimCertificate,
}

macro_rules! select_certificate {
    ($where:literal) => {
        concat!(
            "SELECT x.number, x.certificate, x.fingerprint, c.serial, x.der, x.state, x.not_before,
                    x.not_after, x.at, x.claim
             FROM claim_certificate x LEFT JOIN certificate c ON c.number = x.certificate ",
            $where
        )
    };
}

fn read(row: &Row<'_>) -> rusqlite::Result<OfClaim> {
    Ok(OfClaim {
        number: row.get(0)?,
        certificate: row.get(1)?,
        record: ClaimCertificate {
            fingerprint: row
                .get::<_, Option<[u8; 32]>>(2)?
                .map(CertificateFingerprint),
            serial: row.get::<_, Option<[u8; 20]>>(3)?.map(Serial),
            der: row.get(4)?,
            state: row.word(5)?,
            not_before: row.time(6)?,
            not_after: row.time(7)?,
            at: row.time(8)?,
        },
    })
}

/// With the number of its claim.
pub(crate) fn by_fingerprint(
    db: &Connection,
    fingerprint: CertificateFingerprint,
) -> Result<Option<(i64, OfClaim)>, Fault> {
    let sql = select_certificate!("WHERE x.fingerprint = ?1");
    Ok(db
        .prepare_cached(sql)?
        .query_row([fingerprint.0], |row| Ok((row.get(9)?, read(row)?)))
        .optional()?)
}

/// Newest first.
pub(crate) fn of_claim(db: &Connection, claim: i64) -> Result<Vec<OfClaim>, Fault> {
    let sql = select_certificate!("WHERE x.claim = ?1 ORDER BY x.number DESC");
    let mut statement = db.prepare_cached(sql)?;
    let rows = statement.query_map([claim], read)?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Writes a certificate of ours down before it is signed.
pub(crate) fn intend(
    change: &Change<'_>,
    grant: &ClaimCertificateGrant,
) -> Result<Acted<()>, Fault> {
    let Some(claim) = claim::by_name(change.db, &grant.claim)? else {
        return Ok(Acted::Absent);
    };
    if claim.record.state == ClaimState::Revoked {
        return Ok(Acted::NotNow {
            state: claim.record.state.as_str(),
        });
    }
    let intent = Intent {
        serial: grant.serial,
        device: None,
        origin: CertificateOrigin::Claim,
        issuer: &grant.issuer,
        generation: Generation::Operator,
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
            "INSERT INTO claim_certificate (claim, certificate, state, not_before, not_after, at)
             VALUES (?1, ?2, 'intended', ?3, ?4, ?5)",
        )?
        .execute((
            claim.number,
            certificate,
            grant.not_before.0,
            grant.not_after.0,
            change.now.0,
        ))?;
    let detail = json!({
        "serial": grant.serial.to_string(),
        "key": grant.key.to_string(),
        "issuer": grant.issuer,
        "not_after": grant.not_after.0,
    });
    change.journal("claim-certificate-intended", &grant.claim, &detail)?;
    Ok(Acted::Done(()))
}

/// Keeps a certificate of ours; the first one stays.
pub(crate) fn settle(
    change: &Change<'_>,
    serial: &Serial,
    fingerprint: CertificateFingerprint,
    der: &[u8],
) -> Result<Option<Vec<u8>>, Fault> {
    let sql = select_certificate!("WHERE c.serial = ?1");
    let found = change
        .db
        .prepare_cached(sql)?
        .query_row([serial.0], |row| Ok((row.get::<_, i64>(9)?, read(row)?)))
        .optional()?;
    let (claim, one) = found.ok_or_else(|| certificate::unknown(serial))?;
    match one.record.state {
        ClaimCertificateState::Active => return Ok(one.record.der),
        ClaimCertificateState::Revoked => return Ok(None),
        ClaimCertificateState::Intended => {}
    }
    let number = one
        .certificate
        .ok_or_else(|| certificate::unknown(serial))?;
    certificate::keep_bare(change, number, der)?;
    change
        .db
        .prepare_cached(
            "UPDATE claim_certificate SET state = 'active', fingerprint = ?2, der = ?3
             WHERE number = ?1",
        )?
        .execute((one.number, fingerprint.0, der))?;
    let claim = claim::by_number(change.db, claim)?;
    let detail = json!({
        "serial": serial.to_string(),
        "fingerprint": fingerprint.to_string(),
    });
    change.journal(
        "claim-certificate-issued",
        &claim.record.claim.name,
        &detail,
    )?;
    Ok(Some(der.to_vec()))
}

/// Takes a certificate in that somebody else issued.
pub(crate) fn adopt(
    change: &Change<'_>,
    name: &str,
    foreign: &ForeignClaimCertificate,
) -> Result<Acted<ClaimRecord>, Fault> {
    let Some(claim) = claim::by_name(change.db, name)? else {
        return Ok(Acted::Absent);
    };
    let not_now = |state: &'static str| Ok(Acted::NotNow { state });
    if claim.record.state == ClaimState::Revoked {
        return not_now("revoked");
    }
    match by_fingerprint(change.db, foreign.fingerprint)? {
        Some((of, _)) if of != claim.number => return not_now("another claim's"),
        Some((_, one)) if one.record.state != ClaimCertificateState::Active => {
            return not_now("revoked");
        }
        Some(_) => {}
        None => {
            change
                .db
                .prepare_cached(
                    "INSERT INTO claim_certificate (claim, fingerprint, state, not_before,
                                                    not_after, at, der)
                     VALUES (?1, ?2, 'active', ?3, ?4, ?5, ?6)",
                )?
                .execute((
                    claim.number,
                    foreign.fingerprint.0,
                    foreign.not_before.0,
                    foreign.not_after.0,
                    change.now.0,
                    &foreign.der,
                ))?;
            let detail = json!({ "fingerprint": foreign.fingerprint.to_string() });
            change.journal("claim-certificate-adopted", name, &detail)?;
        }
    }
    Ok(claim::whole(change.db, name)?.map_or(Acted::Absent, Acted::Done))
}

/// Ends one; one of ours goes on the list. Answers whether anything changed.
pub(crate) fn revoke(
    change: &Change<'_>,
    one: &OfClaim,
    reason: RevocationReason,
) -> Result<bool, Fault> {
    if one.record.state == ClaimCertificateState::Revoked {
        return Ok(false);
    }
    if let Some(number) = one.certificate {
        end_bare(change, number, reason)?;
    }
    change
        .db
        .prepare_cached("UPDATE claim_certificate SET state = 'revoked' WHERE number = ?1")?
        .execute([one.number])?;
    Ok(true)
}

/// Ends a certificate that has no device: one that was signed is revoked, an intent is void.
pub(crate) fn end_bare(
    change: &Change<'_>,
    number: i64,
    reason: RevocationReason,
) -> Result<(), Fault> {
    let (state, issuer): (String, String) = change
        .db
        .prepare_cached("SELECT state, issuer FROM certificate WHERE number = ?1")?
        .query_row([number], |row| Ok((row.get(0)?, row.get(1)?)))?;
    match state.parse() {
        Ok(CertificateState::Intended) => certificate::void(change, number),
        Ok(CertificateState::Issued | CertificateState::Active) => {
            certificate::revoke(change, number, &issuer, CertificateState::Revoked, reason)
        }
        _ => Ok(()),
    }
}
