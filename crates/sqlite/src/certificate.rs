//! Certificates on record.

use std::collections::BTreeSet;

use imprint_identity::UnixTime;
use imprint_registrar::Serial;
use imprint_registrar::ledger::{
    CertificateOrigin, CertificateRecord, CertificateState, Credential, Generation, KeyFingerprint,
    RevocationReason, TokenHash,
};
use rusqlite::{Connection, OptionalExtension, Row};
use serde_json::json;

use crate::change::Change;
use crate::decode::Columns;
use crate::device::{self, Device, device_columns};
use crate::fault::Fault;
use crate::{product, registration};

/// How the issuer of a certificate is written down that an entry brought in.
const BY_ENTRY: &str = "registered:entry/";

/// A certificate with its number.
pub(crate) struct Certificate {
    pub(crate) number: i64,
    pub(crate) record: CertificateRecord,
}

impl Certificate {
    /// Signed or to be signed, and not seen in use.
    pub(crate) const fn is_unused(&self) -> bool {
        matches!(
            self.record.state,
            CertificateState::Intended | CertificateState::Issued
        )
    }
}

/// The columns that [`read`] reads, of a certificate named `c` of a device named `d`.
macro_rules! certificate_columns {
    () => {
        "c.number, c.serial, d.name, c.issuer, c.request_key, c.subject_key, c.generation, \
         c.origin, c.state, c.to_be_signed, c.to_be_signed_at, c.to_be_signed_length, c.der, \
         c.asked_subject, c.sealed_key, c.not_before, c.not_after, c.intended_at, c.settled_at, \
         c.verified_at, c.revoked_at, c.revocation_reason"
    };
}
const COLUMNS: usize = 22;

/// Reads a certificate whose columns begin with the row.
fn read(row: &Row<'_>) -> rusqlite::Result<Certificate> {
    let request_key = row.key(4)?;
    let der: Option<Vec<u8>> = row.get(12)?;
    let to_be_signed = match row.get::<_, Option<Vec<u8>>>(9)? {
        Some(octets) => octets,
        None => contained(der.as_deref(), row.get(10)?, row.get(11)?),
    };
    let revoked = match (row.maybe_time(20)?, row.get_ref(21)?.data_type()) {
        (Some(at), rusqlite::types::Type::Text) => Some((at, row.word(21)?)),
        (Some(at), _) => Some((at, RevocationReason::Unspecified)),
        (None, _) => None,
    };
    Ok(Certificate {
        number: row.get(0)?,
        record: CertificateRecord {
            serial: row.serial(1)?,
            device: row.device(2)?,
            issuer: row.get(3)?,
            request_key,
            subject_key: row
                .get::<_, Option<[u8; 32]>>(5)?
                .map_or(request_key, KeyFingerprint),
            generation: row.generation(6)?,
            origin: row.word(7)?,
            state: row.word(8)?,
            to_be_signed,
            der,
            asked_subject: row.get(13)?,
            sealed_key: row.get(14)?,
            not_before: row.time(15)?,
            not_after: row.time(16)?,
            intended_at: row.time(17)?,
            settled_at: row.maybe_time(18)?,
            verified_at: row.maybe_time(19)?,
            revoked,
        },
    })
}

/// The to-be-signed part where the certificate contains it.
pub(crate) fn contained(der: Option<&[u8]>, at: Option<u32>, length: u32) -> Vec<u8> {
    let part = der
        .zip(at)
        .and_then(|(der, at)| der.get(at as usize..)?.get(..length as usize));
    part.unwrap_or_default().to_vec()
}

/// Where a certificate contains its to-be-signed part: behind the outer SEQUENCE's header. Kept
/// once, it makes a row a third smaller.
fn place_in(der: &[u8], to_be_signed: &[u8]) -> Option<u32> {
    (2..=6).find(|&at| {
        der.get(at as usize..)
            .is_some_and(|rest| rest.starts_with(to_be_signed))
    })
}

pub(crate) fn by_serial(db: &Connection, serial: &Serial) -> Result<Option<Certificate>, Fault> {
    let sql = concat!(
        "SELECT ",
        certificate_columns!(),
        " FROM certificate c JOIN device d ON d.number = c.device WHERE c.serial = ?1"
    );
    Ok(db
        .prepare_cached(sql)?
        .query_row([serial.0], read)
        .optional()?)
}

/// A certificate with its device.
pub(crate) fn with_device(
    db: &Connection,
    serial: &Serial,
) -> Result<Option<(Certificate, Device)>, Fault> {
    let sql = concat!(
        "SELECT ",
        certificate_columns!(),
        ", ",
        device_columns!(),
        " FROM certificate c JOIN device d ON d.number = c.device WHERE c.serial = ?1"
    );
    let found = db.prepare_cached(sql)?.query_row([serial.0], |row| {
        Ok((read(row)?, device::read(row, COLUMNS)?))
    });
    Ok(found.optional()?)
}

/// A certificate with its device and product: one statement, the hot read.
pub(crate) fn credential(
    db: &Connection,
    serial: &Serial,
) -> Result<Option<(i64, Credential)>, Fault> {
    let sql = concat!(
        "SELECT ",
        certificate_columns!(),
        ", ",
        device_columns!(),
        ", p.definition
         FROM certificate c
         JOIN device d ON d.number = c.device
         JOIN product p ON p.name = d.product
         WHERE c.serial = ?1"
    );
    let found = db
        .prepare_cached(sql)?
        .query_row([serial.0], |row| {
            let definition = row.get_ref(COLUMNS + device::COLUMNS)?.as_str()?;
            let product = product::parse(definition);
            Ok((read(row)?.record, device::read(row, COLUMNS)?, product))
        })
        .optional()?;
    let Some((certificate, device, product)) = found else {
        return Ok(None);
    };
    let product = product?;
    // Only certificates that entries brought in can end with one.
    let registration_over = certificate.issuer.starts_with(BY_ENTRY)
        && registration::certificate_is_over(db, device.number)?;
    Ok(Some((
        device.number,
        Credential {
            certificate,
            device: device.record,
            product,
            registration_over,
        },
    )))
}

/// The newest certificate of (device, request key, generation), whatever its state but void.
pub(crate) fn same(
    db: &Connection,
    device: i64,
    key: KeyFingerprint,
    generation: &Generation,
) -> Result<Option<Certificate>, Fault> {
    let sql = concat!(
        "SELECT ",
        certificate_columns!(),
        " FROM certificate c JOIN device d ON d.number = c.device
         WHERE c.device = ?1 AND c.request_key = ?2 AND c.generation = ?3 AND c.state <> 'void'
         ORDER BY c.number DESC LIMIT 1"
    );
    let found = db
        .prepare_cached(sql)?
        .query_row((device, key.0, generation.octets()), read);
    Ok(found.optional()?)
}

/// A device's live certificates, newest first.
pub(crate) fn live(db: &Connection, device: i64) -> Result<Vec<Certificate>, Fault> {
    let sql = concat!(
        "SELECT ",
        certificate_columns!(),
        " FROM certificate c JOIN device d ON d.number = c.device
         WHERE c.device = ?1 AND c.state IN ('intended', 'issued', 'active')
         ORDER BY c.number DESC"
    );
    let mut statement = db.prepare_cached(sql)?;
    let rows = statement.query_map([device], read)?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Whether a certificate of this device on this key was revoked. A foreign certificate is known by its bytes, and
/// a signature can be written in more than one way; the key is the key.
pub(crate) fn has_revoked_key(
    db: &Connection,
    device: i64,
    key: KeyFingerprint,
) -> Result<bool, Fault> {
    let sql = "SELECT EXISTS (SELECT 1 FROM certificate
                              WHERE device = ?1 AND state = 'revoked'
                                AND coalesce(subject_key, request_key) = ?2)";
    Ok(db
        .prepare_cached(sql)?
        .query_row((device, key.0), |row| row.get(0))?)
}

pub(crate) fn newest(
    db: &Connection,
    device: i64,
    limit: u32,
) -> Result<Vec<CertificateRecord>, Fault> {
    let sql = concat!(
        "SELECT ",
        certificate_columns!(),
        " FROM certificate c JOIN device d ON d.number = c.device
         WHERE c.device = ?1 ORDER BY c.number DESC LIMIT ?2"
    );
    let mut statement = db.prepare_cached(sql)?;
    let rows = statement.query_map((device, limit), |row| read(row).map(|one| one.record))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// The serial numbers of everything that a device got by a token: the certificates that the token
/// was shown for, and their renewals, and the renewals of these.
pub(crate) fn descent(
    db: &Connection,
    device: i64,
    token: &TokenHash,
) -> Result<BTreeSet<Serial>, Fault> {
    let mut statement = db.prepare_cached(
        "SELECT serial, generation FROM certificate WHERE device = ?1 ORDER BY number",
    )?;
    let rows = statement.query_map([device], |row| Ok((row.serial(0)?, row.generation(1)?)))?;
    let mut descent = BTreeSet::new();
    // Oldest first: whatever is renewed comes before its renewal.
    for row in rows {
        let (serial, generation) = row?;
        let descends = match generation {
            Generation::Token(by) => by == *token,
            Generation::Renewal(of) => descent.contains(&of),
            Generation::Operator
            | Generation::Claim
            | Generation::Foreign
            | Generation::Entry
            | Generation::Attested => false,
        };
        if descends {
            descent.insert(serial);
        }
    }
    Ok(descent)
}

/// Whether a key has ever been seen in use by this device.
pub(crate) fn key_has_verified(
    db: &Connection,
    device: i64,
    key: KeyFingerprint,
) -> Result<bool, Fault> {
    let sql = "SELECT EXISTS (SELECT 1 FROM certificate
                              WHERE device = ?1 AND coalesce(subject_key, request_key) = ?2
                                AND verified_at IS NOT NULL)";
    Ok(db
        .prepare_cached(sql)?
        .query_row((device, key.0), |row| row.get(0))?)
}

/// What is written down before a signature.
pub(crate) struct Intent<'a> {
    pub(crate) serial: Serial,
    /// `None`: a claim's certificate, or one that waits for its device.
    pub(crate) device: Option<i64>,
    pub(crate) origin: CertificateOrigin,
    pub(crate) issuer: &'a str,
    pub(crate) generation: Generation,
    pub(crate) request_key: KeyFingerprint,
    pub(crate) subject_key: KeyFingerprint,
    pub(crate) asked_subject: &'a [u8],
    pub(crate) to_be_signed: &'a [u8],
    pub(crate) sealed_key: Option<&'a [u8]>,
    pub(crate) not_before: UnixTime,
    pub(crate) not_after: UnixTime,
}

/// Writes a certificate down as intended.
pub(crate) fn insert(change: &Change<'_>, intent: &Intent<'_>) -> Result<(), Fault> {
    let own_key = (intent.subject_key != intent.request_key).then_some(intent.subject_key.0);
    change
        .db
        .prepare_cached(
            "INSERT INTO certificate (serial, device, state, origin, issuer, not_before, not_after,
                                      intended_at, generation, request_key, subject_key,
                                      asked_subject, to_be_signed, to_be_signed_length, sealed_key)
             VALUES (?1, ?2, 'intended', ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14)",
        )?
        .execute((
            intent.serial.0,
            intent.device,
            intent.origin.as_str(),
            intent.issuer,
            intent.not_before.0,
            intent.not_after.0,
            change.now.0,
            intent.generation.octets(),
            intent.request_key.0,
            own_key,
            intent.asked_subject,
            intent.to_be_signed,
            u32::try_from(intent.to_be_signed.len()).unwrap_or(u32::MAX),
            intent.sealed_key,
        ))?;
    Ok(())
}

/// Keeps the certificate behind an intent.
pub(crate) fn keep(
    change: &Change<'_>,
    certificate: &mut Certificate,
    der: Vec<u8>,
) -> Result<(), Fault> {
    let record = &mut certificate.record;
    record.state = CertificateState::Issued;
    record.settled_at = Some(change.now);
    let place = place_in(&der, &record.to_be_signed);
    let apart = place.is_none().then_some(&record.to_be_signed);
    change
        .db
        .prepare_cached(
            "UPDATE certificate SET state = 'issued', settled_at = ?2, der = ?3, to_be_signed = ?4,
                                    to_be_signed_at = ?5
             WHERE number = ?1",
        )?
        .execute((certificate.number, change.now.0, &der, apart, place))?;
    record.der = Some(der);
    Ok(())
}

/// [`keep`] for a certificate that has no device.
pub(crate) fn keep_bare(change: &Change<'_>, number: i64, der: &[u8]) -> Result<(), Fault> {
    let to_be_signed: Option<Vec<u8>> = change
        .db
        .prepare_cached("SELECT to_be_signed FROM certificate WHERE number = ?1")?
        .query_row([number], |row| row.get(0))?;
    let to_be_signed = to_be_signed.unwrap_or_default();
    let place = place_in(der, &to_be_signed);
    let apart = place.is_none().then_some(to_be_signed);
    change
        .db
        .prepare_cached(
            "UPDATE certificate SET state = 'issued', settled_at = ?2, der = ?3, to_be_signed = ?4,
                                    to_be_signed_at = ?5
             WHERE number = ?1",
        )?
        .execute((number, change.now.0, der, apart, place))?;
    Ok(())
}

/// Makes a certificate that had no device a device's, as its newest: what the device has beside it ends
/// when this one is first used.
pub(crate) fn give_to(change: &Change<'_>, number: i64, device: i64) -> Result<(), Fault> {
    change
        .db
        .prepare_cached("UPDATE certificate SET device = ?2 WHERE number = ?1")?
        .execute((number, device))?;
    change
        .db
        .prepare_cached(
            "UPDATE certificate SET number = (SELECT max(number) + 1 FROM certificate)
             WHERE number = ?1
               AND EXISTS (SELECT 1 FROM certificate WHERE device = ?2 AND number > ?1)",
        )?
        .execute((number, device))?;
    Ok(())
}

/// Whether this serial number is that of a certificate without a device.
pub(crate) fn is_bare(db: &Connection, serial: &Serial) -> Result<bool, Fault> {
    let sql = "SELECT EXISTS (SELECT 1 FROM certificate WHERE serial = ?1 AND device IS NULL)";
    Ok(db
        .prepare_cached(sql)?
        .query_row([serial.0], |row| row.get(0))?)
}

/// The certificate has been seen in use; its server-made key, if it had one, is wiped.
pub(crate) fn activate(change: &Change<'_>, number: i64) -> Result<(), Fault> {
    change
        .db
        .prepare_cached(
            "UPDATE certificate SET state = 'active', verified_at = ?2, sealed_key = NULL
             WHERE number = ?1",
        )?
        .execute((number, change.now.0))?;
    Ok(())
}

/// Ends a live certificate: one that was signed is revoked, an intent is void.
pub(crate) fn end(
    change: &Change<'_>,
    certificate: &Certificate,
    reason: RevocationReason,
) -> Result<(), Fault> {
    let record = &certificate.record;
    let detail = |reason: &str| json!({ "serial": record.serial.to_string(), "reason": reason });
    if record.state == CertificateState::Intended {
        void(change, certificate.number)?;
        return change.journal(
            "intent-voided",
            record.device.as_str(),
            &detail(reason.as_str()),
        );
    }
    let state = match reason {
        RevocationReason::Superseded => CertificateState::Superseded,
        _ => CertificateState::Revoked,
    };
    revoke(change, certificate.number, &record.issuer, state, reason)?;
    change.journal(
        "certificate-revoked",
        record.device.as_str(),
        &detail(reason.as_str()),
    )
}

/// Nobody signs this any more. The caller tells.
pub(crate) fn void(change: &Change<'_>, number: i64) -> Result<(), Fault> {
    let sql = "UPDATE certificate SET state = 'void', sealed_key = NULL WHERE number = ?1";
    change.db.prepare_cached(sql)?.execute([number])?;
    Ok(())
}

/// Puts a certificate on its issuer's list. The caller tells.
pub(crate) fn revoke(
    change: &Change<'_>,
    number: i64,
    issuer: &str,
    state: CertificateState,
    reason: RevocationReason,
) -> Result<(), Fault> {
    change
        .db
        .prepare_cached(
            "UPDATE certificate SET state = ?2, revoked_at = ?3, revocation_reason = ?4,
                                    sealed_key = NULL,
                                    revocation = 1 + (SELECT coalesce(max(revocation), 0)
                                                      FROM certificate
                                                      WHERE issuer = ?5 AND revocation IS NOT NULL)
             WHERE number = ?1",
        )?
        .execute((
            number,
            state.as_str(),
            change.now.0,
            reason.as_str(),
            issuer,
        ))?;
    Ok(())
}

/// Ends every live certificate of a device; answers whether there was one.
pub(crate) fn end_all(
    change: &Change<'_>,
    device: &Device,
    reason: RevocationReason,
) -> Result<bool, Fault> {
    let live = live(change.db, device.number)?;
    live.iter()
        .try_for_each(|certificate| end(change, certificate, reason))?;
    Ok(!live.is_empty())
}

/// Wipes server-made keys that are older than `before`.
pub(crate) fn wipe(change: &Change<'_>, before: UnixTime) -> Result<u64, Fault> {
    let sql = "UPDATE certificate SET sealed_key = NULL
               WHERE sealed_key IS NOT NULL AND intended_at < ?1";
    let wiped = change.db.prepare_cached(sql)?.execute([before.0])? as u64;
    if wiped > 0 {
        change.journal("sealed-keys-wiped", "", &json!({ "count": wiped }))?;
    }
    Ok(wiped)
}

/// Whether [`wipe`] would find anything.
pub(crate) fn wipe_due(db: &Connection, before: UnixTime) -> Result<bool, Fault> {
    let sql = "SELECT EXISTS (SELECT 1 FROM certificate
                              WHERE sealed_key IS NOT NULL AND intended_at < ?1)";
    Ok(db
        .prepare_cached(sql)?
        .query_row([before.0], |row| row.get(0))?)
}

/// A serial number that the road says it has written down.
pub(crate) fn unknown(serial: &Serial) -> Fault {
    Fault::Broken(format!("certificate {serial} is not on record"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_to_be_signed_part_is_found_behind_every_length_of_header() {
        let part = [0x30, 3, 1, 2, 3];
        for header in [&[0x30, 9][..], &[0x30, 0x81, 200], &[0x30, 0x82, 1, 1]] {
            let der = [header, &part, &[9, 9]].concat();
            let place = place_in(&der, &part);
            assert_eq!(place, u32::try_from(header.len()).ok());
            assert_eq!(contained(Some(&der), place, 5), part);
        }
        assert_eq!(place_in(&[1, 2, 3], &part), None);
        assert!(contained(None, Some(2), 3).is_empty());
    }
}
