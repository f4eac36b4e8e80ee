//! Claims on record.

use imprint_identity::HardwareId;
use imprint_registrar::claims::definition::Claim as Definition;
use imprint_registrar::ledger::{
    Acted, CertificateFingerprint, ClaimAct, ClaimAlarm, ClaimAlarmKind, ClaimCertificate,
    ClaimRecord, ClaimState, RevocationReason,
};
use rusqlite::{Connection, OptionalExtension, Row};
use serde_json::json;

use crate::allow;
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
    /// Keys that were certified and never registered.
    lost: Days,
    /// Devices that were registered.
    joined: Days,
    /// The hour, since 1970, in which it was last told that the claim is held back.
    told_hour: i64,
}

/// How often something was done in the day that began last, and in the one before it.
#[derive(Debug, Clone, Copy)]
struct Days {
    /// Since 1970.
    began: i64,
    in_it: u32,
    before: u32,
}

impl Days {
    /// As it is seen from `today`.
    const fn on(self, today: i64) -> Self {
        match today - self.began {
            0 => self,
            1 => Self {
                began: today,
                in_it: 0,
                before: self.in_it,
            },
            _ => Self {
                began: today,
                in_it: 0,
                before: 0,
            },
        }
    }

    /// Since yesterday.
    const fn count(self) -> u32 {
        self.in_it.saturating_add(self.before)
    }

    const fn more(self, many: u32) -> Self {
        Self {
            in_it: self.in_it.saturating_add(many),
            ..self
        }
    }
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
                    k.lost_day, k.lost_in_it, k.lost_before,
                    k.joined_day, k.joined_in_it, k.joined_before, k.told_hour,
                    (SELECT count(*) FROM claim_alarm a
                     WHERE a.claim = k.number AND a.kind = 'unknown-hardware'),
                    (SELECT count(*) FROM claim_alarm a
                     WHERE a.claim = k.number AND a.kind = 'two-keys'),
                    (SELECT count(*) FROM claim_alarm a
                     WHERE a.claim = k.number AND a.kind = 'unregistered')
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
    let days = |at: usize| -> rusqlite::Result<Days> {
        Ok(Days {
            began: row.get(at)?,
            in_it: row.get(at + 1)?,
            before: row.get(at + 2)?,
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
            unknown_hardware: row.get(21)?,
            two_keys: row.get(22)?,
            unregistered: row.get(23)?,
            certificates: Vec::new(),
            pending: row.get(5)?,
            created_at: row.time(6)?,
            updated_at: row.time(7)?,
        },
        asked: window(8)?,
        granted: window(10)?,
        unlisted: window(12)?,
        lost: days(14)?,
        joined: days(17)?,
        told_hour: row.get(20)?,
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
    let anew = "UPDATE claim SET unlisted_in_it = 0, lost_in_it = 0, lost_before = 0
                WHERE number = ?1";
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
            "A second key asked for {count} hardware ids that are in use, the last one {hardware} from \
             {address}."
        ),
    }
}

/// What holds a claim back that asks for one more certificate: until when, and why. `ended`: so many of
/// those that wait end with it.
pub(crate) fn held_back(
    change: &Change<'_>,
    claim: &Claim,
    ended: u32,
) -> Result<Option<(u32, String)>, Fault> {
    let limits = &claim.record.claim.limits;
    let asked = claim.asked.in_it(minute_of(change));
    if limits.per_minute > 0 && asked >= limits.per_minute {
        let why = format!("{asked} certificates were asked for within the minute");
        return Ok(Some((seconds_left(change), why)));
    }
    let waiting = claim.record.pending.saturating_sub(ended);
    if limits.pending == 0 || is_within(change, claim, waiting.saturating_add(1), limits.pending)? {
        return Ok(None);
    }
    let why = format!("{waiting} certificates wait for their registration");
    Ok(Some((seconds_left(change), why)))
}

/// Tells operators, once an hour, that a claim is held back.
pub(crate) fn tell_held_back(
    change: &Change<'_>,
    claim: &Claim,
    why: &str,
    address: &str,
) -> Result<(), Fault> {
    let hour = hour_of(change);
    if claim.told_hour == hour {
        return Ok(());
    }
    let sql = "UPDATE claim SET told_hour = ?2 WHERE number = ?1";
    change
        .db
        .prepare_cached(sql)?
        .execute((claim.number, hour))?;
    let detail = json!({ "reason": why, "address": address });
    change.journal("claim-limited", &claim.record.claim.name, &detail)
}

/// Whether so many are no more than `limit` beyond what is expected: one for each hardware id on the
/// allowlist, and one for each device that was registered since yesterday.
fn is_within(change: &Change<'_>, claim: &Claim, many: u32, limit: u32) -> Result<bool, Fault> {
    let known = claim.joined.on(day_of(change)).count();
    let rest = many.saturating_sub(limit).saturating_sub(known);
    if rest == 0 {
        return Ok(true);
    }
    let rest = u64::from(rest);
    Ok(allow::count(change.db, &claim.record.claim.product, rest)? >= rest)
}

/// Counts keys that were certified and never registered; beyond its limit the claim is frozen. Each name
/// counts once: a device that waits for approval, else a key.
pub(crate) fn count_lost(change: &Change<'_>, claim: i64, names: &[String]) -> Result<(), Fault> {
    let claim = by_number(change.db, claim)?;
    let limit = claim.record.claim.limits.unregistered;
    if claim.record.state != ClaimState::Active || limit == 0 {
        return Ok(());
    }
    let mut new = 0;
    for name in names {
        let sql = "INSERT INTO claim_alarm (claim, kind, hardware) VALUES (?1, ?2, ?3)
                   ON CONFLICT DO NOTHING";
        let mut insert = change.db.prepare_cached(sql)?;
        new += u32::try_from(insert.execute((claim.number, UNREGISTERED, name))?).unwrap_or(1);
    }
    let before = claim.lost.on(day_of(change));
    let after = before.more(new);
    change
        .db
        .prepare_cached(
            "UPDATE claim SET lost_day = ?2, lost_in_it = ?3, lost_before = ?4 WHERE number = ?1",
        )?
        .execute((claim.number, after.began, after.in_it, after.before))?;
    let (was, count) = (before.count(), after.count());
    let joined = claim.joined.on(day_of(change)).count();
    if !is_within(change, &claim, count, limit)? {
        let reason = format!(
            "Since yesterday {count} keys were certified with this claim and never registered, and \
             {joined} devices were."
        );
        return freeze(change, &claim, &reason);
    }
    let half = limit.div_ceil(2);
    if is_within(change, &claim, was, half)? && !is_within(change, &claim, count, half)? {
        let detail = json!({
            "kind": UNREGISTERED,
            "count": count,
            "registered": joined,
            "limit": limit,
        });
        change.journal("claim-alarm", &claim.record.claim.name, &detail)?;
    }
    Ok(())
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
    count_newcomer(change, claim, unlisted)?;
    let joined = claim.joined.on(day_of(change)).more(1);
    change
        .db
        .prepare_cached(
            "UPDATE claim SET granted = granted + 1, pending = max(pending - 1, 0),
                              joined_day = ?2, joined_in_it = ?3, joined_before = ?4
             WHERE number = ?1",
        )?
        .execute((claim.number, joined.began, joined.in_it, joined.before))?;
    Ok(())
}

/// Counts a device that is registered, or put on the list that an operator approves from, in its minute
/// and hour.
pub(crate) fn count_newcomer(
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
            "UPDATE claim SET granted_minute = ?2, granted_in_it = ?3, unlisted_hour = ?4,
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

/// What stands in the way of one more device, if anything does. `expected`: somebody has named it
/// beforehand.
pub(crate) fn one_more(
    change: &Change<'_>,
    claim: &Claim,
    hardware: &HardwareId,
    expected: bool,
    address: &str,
) -> Result<Option<Hindrance>, Fault> {
    let limits = &claim.record.claim.limits;
    if limits.total > 0 && claim.record.granted >= limits.total {
        return Ok(Some(Hindrance::UsedUp));
    }
    let in_minute = claim.granted.in_it(minute_of(change));
    if limits.per_minute > 0 && in_minute >= limits.per_minute {
        let why = format!("{in_minute} devices came within the minute");
        tell_held_back(change, claim, &why, address)?;
        return Ok(Some(Hindrance::Limited {
            seconds: seconds_left(change),
            why,
        }));
    }
    let hour = hour_of(change);
    let (before, most) = (claim.unlisted.in_it(hour), limits.expected_in(hour));
    if let Some(most) = most.filter(|&most| !expected && before >= most) {
        let reason = format!(
            "{} devices wanted to register with this claim within the hour and {most} were expected, \
             the last one {hardware} from {address}.",
            before.saturating_add(1),
        );
        freeze(change, claim, &reason)?;
        return Ok(Some(Hindrance::Frozen));
    }
    Ok(None)
}

/// What stands in the way of one more device.
pub(crate) enum Hindrance {
    UsedUp,
    Limited {
        seconds: u32,
        why: String,
    },
    /// By this very device.
    Frozen,
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

const fn day_of(change: &Change<'_>) -> i64 {
    change.now.0.div_euclid(86_400)
}

/// Until the next minute begins.
pub(crate) fn seconds_left(change: &Change<'_>) -> u32 {
    u32::try_from(60 - change.now.0.rem_euclid(60)).unwrap_or(60)
}

/// What the names of keys and devices are counted under that never registered.
const UNREGISTERED: &str = "unregistered";
/// Of each kind, between two thaws.
const MOST_ALARMS_TOLD: u32 = 16;
/// Of each kind, between two thaws, where the claim has no limit: each is a row that is counted anew with
/// every request.
const MOST_ALARMS_COUNTED: u32 = 1_000;
