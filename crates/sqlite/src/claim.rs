//! Claims on record.

use imprint_registrar::claims::definition::Claim as Definition;
use imprint_registrar::ledger::{
    Acted, CertificateFingerprint, ClaimAct, ClaimAlarm, ClaimAlarmKind, ClaimCertificate,
    ClaimRecord, ClaimState, RevocationReason,
};
use rusqlite::{Connection, OptionalExtension, Row};
use serde_json::json;

use crate::change::Change;
use crate::claim_certificate;
use crate::decode::Columns;
use crate::fault::Fault;

/// A claim with its number and what was done in the minute and hour that began last.
pub(crate) struct Claim {
    pub(crate) number: i64,
    pub(crate) record: ClaimRecord,
    pub(crate) asked: Window,
    pub(crate) granted: Window,
    pub(crate) unlisted: Window,
}

/// How often something was done in a stretch of time: its number since 1970, and how often.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Window {
    began: i64,
    count: u32,
}

impl Window {
    /// How often in the stretch `current`.
    pub(crate) const fn in_it(self, current: i64) -> u32 {
        if self.began == current { self.count } else { 0 }
    }
}

macro_rules! select_claim {
    ($where:literal) => {
        concat!(
            "SELECT k.number, k.definition, k.state, k.reason, k.granted, k.pending, k.created_at,
                    k.updated_at, k.asked_minute, k.asked, k.granted_minute, k.granted_in_it,
                    k.unlisted_hour, k.unlisted_in_it,
                    (SELECT count(*) FROM claim_alarm a
                     WHERE a.claim = k.number AND a.kind = 'unknown-hardware'),
                    (SELECT count(*) FROM claim_alarm a
                     WHERE a.claim = k.number AND a.kind = 'two-keys')
             FROM claim k ",
            $where
        )
    };
}

fn read(row: &Row<'_>) -> rusqlite::Result<(String, Claim)> {
    let window = |at: usize| -> rusqlite::Result<Window> {
        Ok(Window {
            began: row.get(at)?,
            count: row.get(at + 1)?,
        })
    };
    let definition: String = row.get(1)?;
    let claim = Claim {
        number: row.get(0)?,
        record: ClaimRecord {
            claim: Definition::named("", ""),
            state: row.word(2)?,
            reason: row.get(3)?,
            granted: row.get::<_, i64>(4)?.cast_unsigned(),
            unknown_hardware: row.get(14)?,
            two_keys: row.get(15)?,
            certificates: Vec::new(),
            pending: row.get(5)?,
            created_at: row.time(6)?,
            updated_at: row.time(7)?,
        },
        asked: window(8)?,
        granted: window(10)?,
        unlisted: window(12)?,
    };
    Ok((definition, claim))
}

fn finish(read: Option<(String, Claim)>) -> Result<Option<Claim>, Fault> {
    let Some((definition, mut claim)) = read else {
        return Ok(None);
    };
    claim.record.claim = serde_json::from_str(&definition)
        .map_err(|error| Fault::Broken(format!("a claim's definition: {error}: {definition}")))?;
    Ok(Some(claim))
}

/// Without its certificates.
pub(crate) fn by_name(db: &Connection, name: &str) -> Result<Option<Claim>, Fault> {
    let sql = select_claim!("WHERE k.name = ?1");
    finish(db.prepare_cached(sql)?.query_row([name], read).optional()?)
}

/// Without its certificates.
pub(crate) fn by_number(db: &Connection, number: i64) -> Result<Claim, Fault> {
    let sql = select_claim!("WHERE k.number = ?1");
    finish(
        db.prepare_cached(sql)?
            .query_row([number], read)
            .optional()?,
    )?
    .ok_or_else(|| Fault::Broken(format!("claim {number} is not on record")))
}

/// With its certificates.
pub(crate) fn whole(db: &Connection, name: &str) -> Result<Option<ClaimRecord>, Fault> {
    let Some(mut claim) = by_name(db, name)? else {
        return Ok(None);
    };
    claim.record.certificates = certificates(db, claim.number)?;
    Ok(Some(claim.record))
}

pub(crate) fn list(db: &Connection) -> Result<Vec<ClaimRecord>, Fault> {
    let names: Vec<String> = {
        let mut statement = db.prepare_cached("SELECT name FROM claim ORDER BY name")?;
        let names = statement.query_map([], |row| row.get(0))?;
        names.collect::<Result<_, _>>()?
    };
    let each = names.iter().map(|name| whole(db, name));
    each.filter_map(Result::transpose).collect()
}

fn certificates(db: &Connection, claim: i64) -> Result<Vec<ClaimCertificate>, Fault> {
    Ok(claim_certificate::of_claim(db, claim)?
        .into_iter()
        .map(|one| one.record)
        .collect())
}

pub(crate) fn apply(change: &Change<'_>, claims: &[Definition]) -> Result<(), Fault> {
    for claim in claims {
        let definition = serde_json::to_value(claim)
            .map_err(|error| Fault::Broken(format!("claim {}: {error}", claim.name)))?;
        let changed = change
            .db
            .prepare_cached(
                "INSERT INTO claim (name, product, definition, state, created_at, updated_at)
                 VALUES (?1, ?2, ?3, 'active', ?4, ?4)
                 ON CONFLICT (name) DO UPDATE
                 SET product = excluded.product, definition = excluded.definition,
                     updated_at = excluded.updated_at
                 WHERE definition <> excluded.definition",
            )?
            .execute((
                &claim.name,
                &claim.product,
                definition.to_string(),
                change.now.0,
            ))?;
        if changed > 0 {
            let detail = json!({ "claim": definition });
            change.journal("claim-applied", &claim.name, &detail)?;
        }
    }
    Ok(())
}

pub(crate) fn act(
    change: &Change<'_>,
    name: &str,
    act: &ClaimAct,
) -> Result<Acted<ClaimRecord>, Fault> {
    let Some(claim) = by_name(change.db, name)? else {
        return Ok(Acted::Absent);
    };
    let state = claim.record.state;
    let not_now = Acted::NotNow {
        state: state.as_str(),
    };
    match (act, state) {
        (ClaimAct::Revoke { .. }, ClaimState::Revoked) | (ClaimAct::Thaw, ClaimState::Active) => {}
        (ClaimAct::Revoke { reason }, _) => revoke(change, &claim, reason)?,
        (ClaimAct::Freeze { .. } | ClaimAct::Thaw, ClaimState::Revoked) => return Ok(not_now),
        (ClaimAct::Freeze { reason }, ClaimState::Frozen)
            if claim.record.reason.as_deref() == Some(reason) => {}
        (ClaimAct::Freeze { reason }, _) => freeze(change, &claim, reason)?,
        (ClaimAct::Thaw, ClaimState::Frozen) => thaw(change, &claim)?,
        (
            ClaimAct::RevokeCertificate {
                fingerprint,
                reason,
            },
            _,
        ) => {
            if !revoke_certificate(change, &claim, *fingerprint, *reason)? {
                return Ok(Acted::Absent);
            }
        }
    }
    Ok(whole(change.db, name)?.map_or(Acted::Absent, Acted::Done))
}

fn set(
    change: &Change<'_>,
    claim: i64,
    state: ClaimState,
    reason: Option<&str>,
) -> Result<(), Fault> {
    change
        .db
        .prepare_cached(
            "UPDATE claim SET state = ?2, reason = ?3, updated_at = ?4 WHERE number = ?1",
        )?
        .execute((claim, state.as_str(), reason, change.now.0))?;
    Ok(())
}

fn revoke(change: &Change<'_>, claim: &Claim, reason: &str) -> Result<(), Fault> {
    for one in claim_certificate::of_claim(change.db, claim.number)? {
        claim_certificate::revoke(change, &one, RevocationReason::PrivilegeWithdrawn)?;
    }
    set(change, claim.number, ClaimState::Revoked, Some(reason))?;
    let detail = json!({ "was": claim.record.state.as_str(), "reason": reason });
    change.journal("claim-revoked", &claim.record.claim.name, &detail)
}

/// Stops a claim; what stands in the journal is the sentence that an operator reads.
pub(crate) fn freeze(change: &Change<'_>, claim: &Claim, reason: &str) -> Result<(), Fault> {
    set(change, claim.number, ClaimState::Frozen, Some(reason))?;
    let detail = json!({ "reason": reason });
    change.journal("claim-frozen", &claim.record.claim.name, &detail)
}

fn thaw(change: &Change<'_>, claim: &Claim) -> Result<(), Fault> {
    let forget = "DELETE FROM claim_alarm WHERE claim = ?1";
    change.db.prepare_cached(forget)?.execute([claim.number])?;
    let anew = "UPDATE claim SET unlisted_in_it = 0 WHERE number = ?1";
    change.db.prepare_cached(anew)?.execute([claim.number])?;
    set(change, claim.number, ClaimState::Active, None)?;
    let detail = json!({ "was": claim.record.reason });
    change.journal("claim-thawed", &claim.record.claim.name, &detail)
}

/// Answers whether the claim has such a certificate.
fn revoke_certificate(
    change: &Change<'_>,
    claim: &Claim,
    fingerprint: CertificateFingerprint,
    reason: RevocationReason,
) -> Result<bool, Fault> {
    let found = claim_certificate::by_fingerprint(change.db, fingerprint)?;
    let Some((_, one)) = found.filter(|(of, _)| *of == claim.number) else {
        return Ok(false);
    };
    if claim_certificate::revoke(change, &one, reason)? {
        let detail = json!({ "fingerprint": fingerprint.to_string(), "reason": reason.as_str() });
        change.journal(
            "claim-certificate-revoked",
            &claim.record.claim.name,
            &detail,
        )?;
    }
    Ok(true)
}

/// Counts an alarm; freezes the claim at its limit.
pub(crate) fn alarm(change: &Change<'_>, alarm: &ClaimAlarm) -> Result<Option<ClaimState>, Fault> {
    let Some(claim) = by_name(change.db, &alarm.claim)? else {
        return Ok(None);
    };
    // A claim that is stopped already counts no further: strangers choose what they call themselves.
    if claim.record.state != ClaimState::Active {
        return Ok(Some(claim.record.state));
    }
    let limits = &claim.record.claim.limits;
    let (before, limit) = match alarm.kind {
        ClaimAlarmKind::UnknownHardware => (claim.record.unknown_hardware, limits.unknown_hardware),
        ClaimAlarmKind::TwoKeys => (claim.record.two_keys, limits.two_keys),
    };
    // Nor is there an end to names where nothing freezes it.
    if limit == 0 && before >= MOST_ALARMS_COUNTED {
        return Ok(Some(ClaimState::Active));
    }
    let hardware = alarm.hardware.text();
    let new = change
        .db
        .prepare_cached(
            "INSERT INTO claim_alarm (claim, kind, hardware) VALUES (?1, ?2, ?3)
             ON CONFLICT DO NOTHING",
        )?
        .execute((claim.number, alarm.kind.as_str(), hardware.as_str()))?;
    if new == 0 {
        return Ok(Some(claim.record.state));
    }
    let count = before.saturating_add(1);
    if count <= MOST_ALARMS_TOLD {
        let detail = json!({
            "kind": alarm.kind.as_str(),
            "hardware": hardware.as_str(),
            "key": alarm.key.to_string(),
            "address": alarm.address,
            "count": count,
        });
        change.journal("claim-alarm", &alarm.claim, &detail)?;
    }
    if limit == 0 || count < limit {
        return Ok(Some(ClaimState::Active));
    }
    freeze(change, &claim, &why(alarm, count))?;
    Ok(Some(ClaimState::Frozen))
}

fn why(alarm: &ClaimAlarm, count: u32) -> String {
    let ClaimAlarm {
        hardware, address, ..
    } = alarm;
    match alarm.kind {
        ClaimAlarmKind::UnknownHardware => format!(
            "{count} hardware ids that are not on the allowlist asked with this claim, the last one \
             {hardware} from {address}."
        ),
        ClaimAlarmKind::TwoKeys => format!(
            "A second key asked for {count} hardware ids that are registered, the last one {hardware} \
             from {address}."
        ),
    }
}

/// Counts a new certificate in its minute.
pub(crate) fn count_asked(change: &Change<'_>, claim: &Claim) -> Result<(), Fault> {
    let minute = minute_of(change);
    change
        .db
        .prepare_cached(
            "UPDATE claim SET pending = pending + 1, asked_minute = ?2, asked = ?3
             WHERE number = ?1",
        )?
        .execute((
            claim.number,
            minute,
            claim.asked.in_it(minute).saturating_add(1),
        ))?;
    Ok(())
}

/// Counts a registration in its minute and hour.
pub(crate) fn count_granted(
    change: &Change<'_>,
    claim: &Claim,
    unlisted: bool,
) -> Result<(), Fault> {
    let (minute, hour) = (minute_of(change), hour_of(change));
    let unlisted = claim
        .unlisted
        .in_it(hour)
        .saturating_add(u32::from(unlisted));
    change
        .db
        .prepare_cached(
            "UPDATE claim SET granted = granted + 1, pending = max(pending - 1, 0),
                              granted_minute = ?2, granted_in_it = ?3, unlisted_hour = ?4,
                              unlisted_in_it = ?5
             WHERE number = ?1",
        )?
        .execute((
            claim.number,
            minute,
            claim.granted.in_it(minute).saturating_add(1),
            hour,
            unlisted,
        ))?;
    Ok(())
}

/// One certificate fewer waits.
pub(crate) fn count_ended(change: &Change<'_>, claim: i64) -> Result<(), Fault> {
    let sql = "UPDATE claim SET pending = max(pending - 1, 0) WHERE number = ?1";
    change.db.prepare_cached(sql)?.execute([claim])?;
    Ok(())
}

pub(crate) const fn minute_of(change: &Change<'_>) -> i64 {
    change.now.0.div_euclid(60)
}

pub(crate) const fn hour_of(change: &Change<'_>) -> i64 {
    change.now.0.div_euclid(3_600)
}

/// Until the next minute begins.
pub(crate) fn seconds_left(change: &Change<'_>) -> u32 {
    u32::try_from(60 - change.now.0.rem_euclid(60)).unwrap_or(60)
}

/// Of each kind, between two thaws.
const MOST_ALARMS_TOLD: u32 = 16;
/// Of each kind, between two thaws, where the claim has no limit: each is a row that is counted anew with
/// every request.
const MOST_ALARMS_COUNTED: u32 = 1_000;
