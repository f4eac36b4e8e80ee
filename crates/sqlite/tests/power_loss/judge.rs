//! After the power failure: is everything there that somebody was told, and nothing half done?

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::path::Path;

use imprint_registrar::Ledger;
use imprint_registrar::journal::{JournalRow, Verifier};
use imprint_registrar::ledger::{CertificateState, DeviceState, TokenState};
use imprint_sqlite::{Options, Sqlite};
use rusqlite::{Connection, OpenFlags};

use crate::workload::{FILE, der, device, serial, token};

/// Opens what is left as a server would. `told`: what callers were told before the failure.
pub(crate) fn judge(dir: &Path, told: &[String]) -> Result<(), String> {
    let path = dir.join(FILE);
    let options = Options {
        readers: NonZeroUsize::MIN,
        ..Options::default()
    };
    let ledger =
        Sqlite::open_with(&path, &options).map_err(|error| format!("it does not open: {error}"))?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    runtime.block_on(everything_told(&ledger, told))?;
    let db = Connection::open_with_flags(&path, OpenFlags::SQLITE_OPEN_READ_ONLY)
        .map_err(|error| error.to_string())?;
    published(&db, told)?;
    nothing_half_done(&db)?;
    sound(&db)?;
    drop(db);
    ledger.close().map_err(|error| error.to_string())
}

async fn everything_told(ledger: &Sqlite, told: &[String]) -> Result<(), String> {
    let mut furthest = BTreeMap::new();
    for line in told {
        let (what, n) = line.split_once(' ').unwrap();
        if let Some(rank) = RANKS.iter().position(|rank| *rank == what) {
            furthest.insert(n.parse::<u8>().unwrap(), rank);
        }
    }
    for (n, rank) in furthest {
        let lost = |what: &str| {
            Err(format!(
                "{} of device {n} was told and is lost: {what}",
                RANKS[rank]
            ))
        };
        let failed = |error: imprint_registrar::LedgerError| error.to_string();
        let Some(token) = ledger.token_get(&token(n)).await.map_err(failed)? else {
            return lost("no token");
        };
        let found = ledger.credential_facts(serial(n)).await.map_err(failed)?;
        let (certificate, device_state) = match &found {
            Some(shown) => (Some(&shown.certificate), Some(shown.device.state)),
            None => (None, None),
        };
        let holds = match RANKS[rank] {
            "minted" => true,
            "intended" => certificate.is_some() && token.lease.is_some(),
            "settled" => certificate.is_some_and(|one| one.der == Some(der(n))),
            "verified" => token.state == TokenState::Spent,
            _ => {
                certificate.is_some_and(|one| one.state == CertificateState::Revoked)
                    && device_state == Some(DeviceState::Revoked)
            }
        };
        if !holds {
            return lost(&format!(
                "{:?}, {:?}",
                token.state,
                certificate.map(|one| one.state)
            ));
        }
        if rank > 0 && found.is_some_and(|shown| shown.device.id != device(n)) {
            return lost("another device has it");
        }
    }
    Ok(())
}

/// The steps of one device, each of which contains the ones before.
const RANKS: [&str; 5] = ["minted", "intended", "settled", "verified", "revoked"];

fn published(db: &Connection, told: &[String]) -> Result<(), String> {
    let last = |what: &str| told.iter().rev().find_map(|line| line.strip_prefix(what));
    if let Some(number) = last("published ") {
        let wanted: i64 = number.parse().unwrap();
        let found: i64 = ask(db, "SELECT coalesce(max(number), 0) FROM crl")?;
        if found < wanted {
            return Err(format!(
                "list {wanted} was published and is lost: {found} is there"
            ));
        }
    }
    if last("product ").is_some() && ask::<i64>(db, "SELECT count(*) FROM product")? != 1 {
        return Err("the product was told and is lost".to_owned());
    }
    Ok(())
}

/// Whatever is there, told or not, is a whole transaction.
fn nothing_half_done(db: &Connection) -> Result<(), String> {
    let halves: i64 = ask(
        db,
        "SELECT count(*) FROM device d JOIN certificate c ON c.device = d.number
         LEFT JOIN token t ON t.lease_device = d.number
         LEFT JOIN device_key k ON k.device = d.number
         WHERE t.number IS NULL OR k.fingerprint <> c.request_key
            OR (c.der IS NOT NULL) <> (d.step <> 'ENROLL')
            OR (c.verified_at IS NOT NULL) <> (t.state = 'spent')
            OR (c.revoked_at IS NOT NULL) <> (d.state = 'revoked')
            OR 1 <> (SELECT count(*) FROM journal j
                     WHERE j.subject = d.name AND j.kind = 'enrollment-intended')
            OR (c.der IS NOT NULL) <> (SELECT count(*) FROM journal j
                     WHERE j.subject = d.name AND j.kind = 'enrollment-settled')
            OR (c.verified_at IS NOT NULL) <> (SELECT count(*) FROM journal j
                     WHERE j.subject = d.name AND j.kind = 'certificate-verified')",
    )?;
    let alone: i64 = ask(
        db,
        "SELECT (SELECT count(*) FROM device) - (SELECT count(*) FROM certificate)
              + (SELECT count(*) FROM token)
              - (SELECT count(*) FROM journal WHERE kind = 'token-minted')",
    )?;
    if (halves, alone) != (0, 0) {
        return Err(format!(
            "{halves} devices are half done, {alone} rows stand alone"
        ));
    }
    Ok(())
}

fn sound(db: &Connection) -> Result<(), String> {
    let integrity: String = ask(db, "PRAGMA integrity_check")?;
    if integrity != "ok" {
        return Err(format!("integrity_check: {integrity}"));
    }
    let keys: i64 = ask(db, "SELECT count(*) FROM pragma_foreign_key_check")?;
    if keys != 0 {
        return Err(format!("foreign_key_check: {keys}"));
    }
    let mut verifier = Verifier::default();
    let mut rows = db
        .prepare(
            "SELECT number, at, kind, subject, actor, detail,
                    (SELECT substr(hashes, 32 * (number - first) + 1, 32) FROM link
                     WHERE number BETWEEN first AND first + length(hashes) / 32 - 1)
             FROM journal ORDER BY number",
        )
        .map_err(|error| error.to_string())?;
    let rows = rows
        .query_map([], |row| {
            Ok(JournalRow {
                number: row.get::<_, i64>(0)?.cast_unsigned(),
                at: imprint_identity::UnixTime(row.get(1)?),
                kind: row.get(2)?,
                subject: row.get(3)?,
                actor: row.get(4)?,
                detail: row.get(5)?,
                hash: row.get(6)?,
            })
        })
        .map_err(|error| error.to_string())?;
    for row in rows {
        let row = row.map_err(|error| error.to_string())?;
        verifier.row(&row).map_err(|altered| altered.to_string())?;
    }
    Ok(())
}

fn ask<T: rusqlite::types::FromSql>(db: &Connection, sql: &str) -> Result<T, String> {
    db.query_row(sql, [], |row| row.get(0))
        .map_err(|error| format!("{error}: {sql}"))
}
