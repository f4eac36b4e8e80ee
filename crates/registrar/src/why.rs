//! Which step failed, and why? One answer from the record, the refusals and the device's own word.

use imprint_attest::KeyFingerprint;
use imprint_identity::{Step, UnixTime};

use crate::enroll::Registrar;
use crate::ledger::{
    CertificateOrigin, CertificateRecord, CertificateState, ClaimCertificateState, ClaimRecord,
    ClaimState, DeviceFile, DeviceState, EntryRegistration, Ledger, LedgerError, RefusalSample,
};
use crate::refusal::Code;
use crate::signer::Signer;

/// The answer to `imprint why`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Why {
    /// The device's name, or what was asked for when it has none.
    pub subject: String,
    /// Where it stands with the fleet; `None` when the registry does not know it.
    pub state: Option<DeviceState>,
    /// Where it stands on its way.
    pub step: Step,
    /// The refusal's or state's word.
    pub code: String,
    /// The cause, in one sentence.
    pub cause: String,
    /// What that rests on, newest first: time, address, credential.
    pub evidence: Vec<String>,
    /// What a person does next.
    pub advice: Vec<String>,
}

impl<L: Ledger, S: Signer> Registrar<L, S> {
    /// Explains where a device or a claim stands. `None` when nothing at all is known of it.
    pub async fn why(&self, subject: &str, now: UnixTime) -> Result<Option<Why>, LedgerError> {
        // What was refused a moment ago belongs to the answer.
        self.housekeep(now).await?;
        if let Some(file) = self.ledger().device_get(subject).await? {
            return Ok(Some(explain(&file, now)));
        }
        if let Some(claim) = self.ledger().claim_get(subject).await? {
            let refusals = self.ledger().refusal_list(subject).await?;
            return Ok(Some(explain_claim(&claim, &refusals, now)));
        }
        let hardware = imprint_identity::HardwareId::parse(subject).ok();
        let canonical = hardware.map(|hardware| hardware.text().as_str().to_owned());
        let subject = canonical.as_deref().unwrap_or(subject);
        let refusals = self.ledger().refusal_list(subject).await?;
        Ok(refusals
            .first()
            .map(|last| stranger(subject, last, &refusals)))
    }
}

/// A claim: whether it provisions devices, and what its brake has counted.
fn explain_claim(claim: &ClaimRecord, refusals: &[RefusalSample], now: UnixTime) -> Why {
    let reason = || claim.reason.clone().unwrap_or_default();
    let heard = claim.certificates.iter().any(|one| {
        let grace = i64::from(claim.claim.bootstrap_grace_days) * 86_400;
        one.state == ClaimCertificateState::Active && now <= one.not_after.plus(grace)
    });
    let said = |code: Code, cause: String| {
        let advice = vec![code.hint().to_owned()];
        (code.as_str().to_owned(), cause, advice)
    };
    let (code, cause, advice) = match claim.state {
        ClaimState::Frozen => said(Code::ClaimFrozen, reason()),
        ClaimState::Revoked => said(Code::ClaimRevoked, reason()),
        ClaimState::Active if !heard => {
            let cause = "It has no certificate that is heard now.".to_owned();
            said(Code::ClaimExpired, cause)
        }
        ClaimState::Active => {
            let cause = "It provisions devices.".to_owned();
            ("active".to_owned(), cause, vec!["Nothing.".to_owned()])
        }
    };
    let mut evidence = vec![format!(
        "{}: {} devices registered, {} certificates wait for theirs, {} keys never had one; unlisted \
         hardware asked for {} devices, a second key for {}",
        claim.updated_at,
        claim.granted,
        claim.pending,
        claim.unregistered,
        claim.unknown_hardware,
        claim.two_keys
    )];
    evidence.extend(claim.certificates.iter().take(4).map(|one| {
        let name = one.fingerprint.map(|print| print.to_string());
        format!(
            "{}: certificate {} {}, until {}",
            one.at,
            name.unwrap_or_else(|| "(unsigned)".to_owned()),
            one.state,
            one.not_after
        )
    }));
    evidence.extend(refusals.iter().take(6).map(evidence_of));
    Why {
        subject: claim.claim.name.clone(),
        state: None,
        step: Step::Bootstrap,
        code,
        cause,
        evidence,
        advice,
    }
}

/// Nobody that the registry knows: all there is are refusals.
fn stranger(subject: &str, last: &RefusalSample, all: &[RefusalSample]) -> Why {
    Why {
        subject: subject.to_owned(),
        state: None,
        step: last.step,
        code: last.code.clone(),
        cause: cause_of(last),
        evidence: all.iter().map(evidence_of).collect(),
        advice: advice_of(&last.code),
    }
}

/// A device on record.
pub(crate) fn explain(file: &DeviceFile, now: UnixTime) -> Why {
    let device = &file.device;
    let (code, cause, mut advice) = cause(file, now);
    let mut evidence = Vec::new();
    evidence.extend(file.certificates.iter().take(4).map(certificate_line));
    evidence.extend(file.registration.as_ref().map(registration_line));
    evidence.extend(file.refusals.iter().take(6).map(evidence_of));
    evidence.extend(file.reports.iter().take(4).map(|report| {
        format!(
            "{}: the device says {} at {} after {} attempts, from {}",
            report.at, report.code, report.step, report.attempts, report.address
        )
    }));
    if let Some(token) = &file.token {
        let since = token.lease.as_ref().map(|lease| {
            format!(
                "; serves key {} since {} from {}",
                lease.key, lease.since, lease.address
            )
        });
        let alarms = match token.alarms {
            0 => String::new(),
            count => format!("; another key knocked {count} times"),
        };
        let since = since.unwrap_or_default();
        evidence.push(format!(
            "token {} is {}{since}{alarms}",
            token.id, token.state
        ));
    }
    if let Some(thing) = &file.thing {
        let groups = match thing.values.groups.as_slice() {
            [] => String::new(),
            groups => format!(", in {}", groups.join(", ")),
        };
        evidence.push(format!(
            "{}: thing {}{groups}",
            thing.updated_at, thing.name
        ));
    }
    evidence.push(format!(
        "{}: first heard of, as {}",
        device.created_at, device.hardware
    ));
    evidence.push(format!("hardware identity: {}", device.strength));
    if advice.is_empty() {
        advice.push("Nothing.".to_owned());
    }
    Why {
        subject: device.id.as_str().to_owned(),
        state: Some(device.state),
        step: device.step,
        code,
        cause,
        evidence,
        advice,
    }
}

fn cause(file: &DeviceFile, now: UnixTime) -> (String, String, Vec<String>) {
    let device = &file.device;
    let said = |code: Code| {
        let reason = device
            .reason
            .as_deref()
            .filter(|reason| !reason.is_empty())
            .map(|reason| format!(" ({reason})"));
        let text = code.message().trim_end_matches('.');
        let cause = format!("{text}{}.", reason.unwrap_or_default());
        (
            code.as_str().to_owned(),
            cause,
            vec![code.hint().to_owned()],
        )
    };
    match device.state {
        DeviceState::Quarantined => return said(Code::DeviceQuarantined),
        DeviceState::Revoked => return said(Code::DeviceRevoked),
        DeviceState::Decommissioned => return said(Code::DeviceDecommissioned),
        DeviceState::Held => {
            let keys: Vec<_> = file.waiting.iter().map(|(key, _)| short(*key)).collect();
            let (code, cause, _) = said(Code::ApprovalPending);
            let advice = format!(
                "`imprint device approve {}` (key {})",
                device.id,
                keys.join(", ")
            );
            return (code, cause, vec![advice]);
        }
        DeviceState::Pending | DeviceState::Active => {}
    }
    let newest = file.certificates.first();
    // A refusal after the last thing that went well is what keeps the device where it is.
    let by_key = file.registration.as_ref().filter(|one| one.shared_key);
    let last_good = newest
        .map(|c| c.verified_at.or(c.settled_at).unwrap_or(c.intended_at))
        .max(by_key.map(|one| one.verified_at.unwrap_or(one.updated_at)));
    // What was said of a state that an operator has ended says nothing any more.
    let put_aside = [
        Code::DeviceQuarantined,
        Code::DeviceRevoked,
        Code::DeviceDecommissioned,
    ];
    let ended =
        |refusal: &&RefusalSample| put_aside.iter().any(|code| code.as_str() == refusal.code);
    let trouble = file
        .refusals
        .iter()
        .find(|refusal| !ended(refusal))
        .filter(|refusal| last_good.is_none_or(|good| refusal.at >= good));
    if let Some(refusal) = trouble {
        return (
            refusal.code.clone(),
            cause_of(refusal),
            advice_of(&refusal.code),
        );
    }
    if let Some(registration) = by_key.filter(|one| one.live) {
        return with_shared_key(registration);
    }
    let Some(newest) = newest else {
        let cause = "It has a name and no certificate: its last one was taken away, or none was \
                     signed."
            .to_owned();
        return (
            "no-certificate".into(),
            cause,
            vec![Code::TokenUnknown.hint().to_owned()],
        );
    };
    match newest.state {
        CertificateState::Active if now > newest.not_after => {
            said_certificate(Code::CertificateExpired)
        }
        CertificateState::Active => {
            let until = format!(
                "Its certificate is in use and valid until {}.",
                newest.not_after
            );
            ("provisioned".into(), until, Vec::new())
        }
        CertificateState::Issued => (
            "not-verified".into(),
            "Its certificate was issued, and it has not come back with it yet.".into(),
            vec![
                "Wait: the device asks again by itself and gets the same certificate.".into(),
                format!(
                    "If it lost its key: `imprint device release {}`.",
                    device.id
                ),
            ],
        ),
        CertificateState::Intended => (
            "not-signed".into(),
            "Its certificate was written down and not signed; its next request completes it."
                .into(),
            vec!["Wait; if the device never comes, look at the signer.".into()],
        ),
        CertificateState::Revoked | CertificateState::Void => {
            said_certificate(Code::CertificateRevoked)
        }
        CertificateState::Superseded => said_certificate(Code::CertificateSuperseded),
    }
}

/// A device whose credential is a key that the server has as well.
fn with_shared_key(registration: &EntryRegistration) -> (String, String, Vec<String>) {
    let of = format!("{} entry {}", registration.kind, registration.entry);
    match registration.verified_at {
        Some(at) => {
            let cause = format!("The shared key of {of} is in use since {at}.");
            ("provisioned".into(), cause, Vec::new())
        }
        None => (
            "not-verified".into(),
            format!("It was registered by {of}, and has not come to its hub yet."),
            vec![format!(
                "Wait: the device connects to {} by itself, and may register again before.",
                registration.hub
            )],
        ),
    }
}

fn registration_line(registration: &EntryRegistration) -> String {
    let EntryRegistration {
        id,
        kind,
        entry,
        hub,
        created_at,
        ..
    } = registration;
    let with = if registration.shared_key {
        "a shared key"
    } else {
        "its certificate"
    };
    let ended = if registration.live { "" } else { ", ended" };
    let verified = registration.verified_at;
    let verified = verified.map(|at| format!(", first used {at}"));
    let verified = verified.unwrap_or_default();
    format!(
        "{created_at}: registered as {id} by {kind} entry {entry} with {with}, for hub \
         {hub}{verified}{ended}"
    )
}

fn said_certificate(code: Code) -> (String, String, Vec<String>) {
    (
        code.as_str().to_owned(),
        code.message().to_owned(),
        vec![code.hint().to_owned()],
    )
}

fn cause_of(refusal: &RefusalSample) -> String {
    match Code::from_word(&refusal.code) {
        Some(code) => code.message().to_owned(),
        None => refusal.code.clone(),
    }
}

fn advice_of(code: &str) -> Vec<String> {
    Code::from_word(code)
        .map(|code| code.hint().to_owned())
        .into_iter()
        .collect()
}

fn evidence_of(refusal: &RefusalSample) -> String {
    let times = match refusal.count {
        0 | 1 => String::new(),
        count => format!(" ({count} times)"),
    };
    let detail = match refusal.detail.as_str() {
        "" => String::new(),
        detail => format!(": {detail}"),
    };
    let shown = match refusal.credential.as_str() {
        "" => String::new(),
        credential => format!(", showing {credential}"),
    };
    let RefusalSample {
        at,
        code,
        step,
        address,
        ..
    } = refusal;
    format!("{at}: refused {code} at {step}{times}, from {address}{shown}{detail}")
}

fn certificate_line(certificate: &CertificateRecord) -> String {
    let CertificateRecord {
        serial,
        state,
        origin,
        intended_at,
        ..
    } = certificate;
    let lives = match origin {
        CertificateOrigin::Attested => ", its key lives in the TPM",
        _ => "",
    };
    let mut line = format!("{intended_at}: certificate {serial} {origin}{lives}, now {state}");
    if let Some(at) = certificate.verified_at {
        line = format!("{line}, first used {at}");
    }
    if let Some((at, reason)) = certificate.revoked {
        line = format!("{line}, revoked {at} ({reason})");
    }
    line
}

fn short(key: KeyFingerprint) -> String {
    key.to_string().chars().take(16).collect()
}
