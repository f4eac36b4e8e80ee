//! The writes of the road before a signature: wait for an operator, or intend.

use imprint_identity::{DeviceId, HardwareId, IdentityStrength, Step};
use imprint_registrar::ledger::{
    CertificateRecord, CertificateState, ClaimState, DeviceState, Generation, Grant, Intention,
    KeyFingerprint, RevocationReason, TokenHash, TokenState, Wait, Waited,
};
use serde::Serialize;
use serde_json::json;

use crate::approval::{self, Place};
use crate::certificate::{self, Certificate, Intent};
use crate::change::{Change, tell_grace};
use crate::claim::{self, Claim, Hindrance};
use crate::device::{self, Device, Newcomer};
use crate::fault::Fault;
use crate::register;
use crate::token::{self, Token};

/// Writes down what will be signed.
pub(crate) fn intend(change: &Change<'_>, grant: &Grant) -> Result<Intention, Fault> {
    let db = change.db;
    let asker = Asker::of_grant(grant);
    let device = device::by_name(db, grant.device.as_str())?;

    // 1. The same question has its answer already.
    if let Some(device) = &device {
        let same = certificate::same(db, device.number, grant.request_key, &grant.generation)?;
        let stays = |same: &Certificate| {
            same.record.state.is_live() && grant.replaces != Some(same.record.serial)
        };
        if let Some(same) = same.filter(stays) {
            return Ok(match same.record.state {
                CertificateState::Intended => Intention::Intended(same.record),
                _ => Intention::Settled(same.record),
            });
        }
    }
    // 2. A token is open, or serves this very key and device.
    let token = match asker.token {
        Some(hash) => match usable_token(change, &hash, &asker, device.as_ref())? {
            Some(token) => Some(token),
            None => return Ok(Intention::Changed),
        },
        None => None,
    };
    // 3. The device is as it was when this was decided.
    if !is_as_decided(change, &asker, device.as_ref())? {
        return Ok(Intention::Changed);
    }
    // 4. What is renewed is live; what is replaced is unused.
    if let Generation::Renewal(serial) = grant.generation {
        let number = device.as_ref().map(|device| device.number);
        let shown = certificate::by_serial(db, &serial)?;
        let live = shown.is_some_and(|one| {
            one.record.state.is_live() && one.record.device == grant.device && number.is_some()
        });
        if !live {
            return Ok(Intention::Changed);
        }
    }
    if let Some(serial) = grant.replaces {
        match certificate::by_serial(db, &serial)? {
            Some(one) if one.record.device == grant.device && one.is_unused() => {
                certificate::end(change, &one, RevocationReason::Superseded)?;
            }
            _ => return Ok(Intention::Changed),
        }
    }
    // 5. Device, key owner, certificate, lease, journal.
    let number = name_or_touch(change, &asker, device, DeviceState::Pending)?;
    device::own_key(change, number, &grant.subject_key.0)?;
    write_down(change, grant, number)?;
    if let Some(token) = &token {
        begin_lease(change, token, &asker, number)?;
    }
    let hardware = grant.hardware.text();
    let detail = Intended {
        address: &grant.origin_of_request.address,
        door: grant.origin_of_request.door,
        enrollment: grant.enrollment.to_string(),
        grace: grant.past_end.map(|end| end.to_string()),
        hardware: &hardware,
        issuer: &grant.issuer,
        key: grant.subject_key.to_string(),
        origin: grant.origin.as_str(),
        product: &grant.product,
        serial: grant.serial.to_string(),
        token: token.as_ref().map(|token| token.record.id.as_str()),
    };
    change.journal("enrollment-intended", grant.device.as_str(), &detail)?;
    Ok(Intention::Intended(as_written(change, grant)))
}

/// In the journal.
#[derive(Serialize)]
struct Intended<'a> {
    address: &'a str,
    door: &'a str,
    enrollment: String,
    /// The end that its credential was past.
    #[serde(skip_serializing_if = "Option::is_none")]
    grace: Option<String>,
    hardware: &'a str,
    issuer: &'a str,
    key: String,
    origin: &'a str,
    product: &'a str,
    serial: String,
    token: Option<&'a str>,
}

/// What [`write_down`] has written, without a look.
fn as_written(change: &Change<'_>, grant: &Grant) -> CertificateRecord {
    CertificateRecord {
        serial: grant.serial,
        device: grant.device.clone(),
        issuer: grant.issuer.clone(),
        request_key: grant.request_key,
        subject_key: grant.subject_key,
        generation: grant.generation,
        origin: grant.origin,
        state: CertificateState::Intended,
        to_be_signed: grant.to_be_signed.clone(),
        der: None,
        asked_subject: grant.asked_subject.clone(),
        sealed_key: grant.sealed_key.clone(),
        not_before: grant.not_before,
        not_after: grant.not_after,
        intended_at: change.now,
        settled_at: None,
        verified_at: None,
        revoked: None,
    }
}

fn write_down(change: &Change<'_>, grant: &Grant, device: i64) -> Result<(), Fault> {
    let intent = Intent {
        serial: grant.serial,
        device: Some(device),
        origin: grant.origin,
        issuer: &grant.issuer,
        generation: grant.generation,
        request_key: grant.request_key,
        subject_key: grant.subject_key,
        asked_subject: &grant.asked_subject,
        to_be_signed: &grant.to_be_signed,
        sealed_key: grant.sealed_key.as_deref(),
        not_before: grant.not_before,
        not_after: grant.not_after,
    };
    certificate::insert(change, &intent)
}

/// Puts a request on the list that an operator approves from.
pub(crate) fn wait(change: &Change<'_>, wait: &Wait) -> Result<Waited, Fault> {
    let asker = Asker::of_wait(wait);
    let device = device::by_name(change.db, wait.device.as_str())?;

    // 1. It is on the list already.
    if let Some(device) = &device
        && is_listed(change, wait, device)?
    {
        return Ok(Waited::Listed);
    }
    // 2. As for an intent: the token, the device, the key.
    let token = match asker.token {
        Some(hash) => match usable_token(change, &hash, &asker, device.as_ref())? {
            Some(token) => Some(token),
            None => return Ok(Waited::Changed),
        },
        None => None,
    };
    if !is_as_decided(change, &asker, device.as_ref())? {
        return Ok(Waited::Changed);
    }
    // Where no token is leased, the key is: it waits for one device.
    if token.is_none()
        && approval::listed_for(change.db, wait.key)?.is_some_and(|other| other != wait.device)
    {
        return Ok(Waited::Changed);
    }
    // 3. Who comes by a claim counts against it.
    let claim = match &wait.claim {
        Some(name) => match by_claim(change, wait, name)? {
            Ok(claim) => Some(claim),
            Err(no) => return Ok(no),
        },
        None => None,
    };
    // 4. Device, lease, list, counts, journal.
    let number = name_or_touch(change, &asker, device, DeviceState::Held)?;
    if let Some(token) = &token {
        begin_lease(change, token, &asker, number)?;
    }
    approval::ask(
        change,
        number,
        wait.key,
        token.as_ref().map(|token| token.number),
    )?;
    if let Some(claim) = &claim {
        claim::count_newcomer(change, claim, !wait.listed)?;
    }
    let mut detail = json!({
        "enrollment": wait.enrollment.to_string(),
        "key": wait.key.to_string(),
        "hardware": wait.hardware.text().as_str(),
        "product": wait.product,
        "claim": wait.claim,
        "token": token.as_ref().map(|token| token.record.id.as_str()),
        "door": wait.origin_of_request.door,
        "address": wait.origin_of_request.address,
    });
    tell_grace(&mut detail, wait.past_end);
    change.journal("enrollment-waiting", wait.device.as_str(), &detail)?;
    Ok(Waited::Listed)
}

/// The claim by which a device comes to wait, if it may.
fn by_claim(change: &Change<'_>, wait: &Wait, name: &str) -> Result<Result<Claim, Waited>, Fault> {
    let found = claim::by_name(change.db, name)?;
    let Some(claim) = found.filter(|claim| claim.record.state == ClaimState::Active) else {
        return Ok(Err(Waited::Changed));
    };
    let address = &wait.origin_of_request.address;
    let hindrance = claim::one_more(change, &claim, &wait.hardware, wait.listed, address)?;
    Ok(match hindrance {
        None => Ok(claim),
        Some(Hindrance::UsedUp) => Err(Waited::UsedUp),
        Some(Hindrance::Limited { seconds, why }) => Err(Waited::Limited { seconds, why }),
        Some(Hindrance::Frozen) => Err(Waited::Changed),
    })
}

fn is_listed(change: &Change<'_>, wait: &Wait, device: &Device) -> Result<bool, Fault> {
    let listed = match approval::place(change.db, device.number, wait.key)? {
        Some(Place::Waiting) => true,
        Some(Place::Approved { until }) => until > change.now,
        None => false,
    };
    let leased = match &wait.token {
        Some(hash) => token::by_hash(change.db, hash)?
            .is_some_and(|token| token.is_leased_to(wait.key, device.number)),
        None => true,
    };
    Ok(listed && leased && device.record.hardware == wait.hardware)
}

/// Who asks, whether to wait or to be signed for.
struct Asker<'a> {
    device: &'a DeviceId,
    hardware: &'a HardwareId,
    strength: IdentityStrength,
    product: &'a str,
    version: Option<u64>,
    token: Option<TokenHash>,
    /// Whom the token serves.
    key: KeyFingerprint,
    /// Which key will be the device's.
    subject_key: KeyFingerprint,
    address: &'a str,
}

impl<'a> Asker<'a> {
    fn of_grant(grant: &'a Grant) -> Self {
        Self {
            device: &grant.device,
            hardware: &grant.hardware,
            strength: grant.strength,
            product: &grant.product,
            version: grant.device_version,
            token: match grant.generation {
                Generation::Token(hash) => Some(hash),
                _ => None,
            },
            key: grant.request_key,
            subject_key: grant.subject_key,
            address: &grant.origin_of_request.address,
        }
    }

    fn of_wait(wait: &'a Wait) -> Self {
        Self {
            device: &wait.device,
            hardware: &wait.hardware,
            strength: wait.strength,
            product: &wait.product,
            version: wait.device_version,
            token: wait.token,
            key: wait.key,
            subject_key: wait.key,
            address: &wait.origin_of_request.address,
        }
    }
}

/// The token, if it is open or serves this key of this device. One that was bound to other hardware
/// or moved meanwhile is not usable either.
fn usable_token(
    change: &Change<'_>,
    hash: &TokenHash,
    asker: &Asker<'_>,
    device: Option<&Device>,
) -> Result<Option<Token>, Fault> {
    let Some(token) = token::by_hash(change.db, hash)? else {
        return Ok(None);
    };
    let record = &token.record;
    let open = record.state == TokenState::Minted;
    let own = device.is_some_and(|device| token.is_leased_to(asker.key, device.number));
    let fits = record.product == asker.product
        && record
            .bound
            .as_ref()
            .is_none_or(|bound| bound == asker.hardware);
    Ok(((open || own) && fits).then_some(token))
}

fn is_as_decided(
    change: &Change<'_>,
    asker: &Asker<'_>,
    device: Option<&Device>,
) -> Result<bool, Fault> {
    let owner = device::key_owner(change.db, &asker.subject_key.0)?;
    if owner.is_some_and(|owner| owner != *asker.device) {
        return Ok(false);
    }
    Ok(match (asker.version, device) {
        (None, None) => device::by_hardware(change.db, &asker.hardware.text())?.is_none(),
        (Some(version), Some(device)) => {
            let record = &device.record;
            let may_ask = matches!(
                record.state,
                DeviceState::Pending | DeviceState::Active | DeviceState::Held
            );
            record.version == version && record.hardware == *asker.hardware && may_ask
        }
        _ => false,
    })
}

/// Names a new device, or moves a known one on; answers its number. `state` is where a device
/// without a certificate now stands.
fn name_or_touch(
    change: &Change<'_>,
    asker: &Asker<'_>,
    device: Option<Device>,
    state: DeviceState,
) -> Result<i64, Fault> {
    let Some(mut device) = device else {
        let newcomer = Newcomer {
            id: asker.device,
            hardware: asker.hardware,
            strength: asker.strength,
            product: asker.product,
            state,
            step: Step::Enroll,
        };
        return device::insert(change, &newcomer);
    };
    if device.record.state == DeviceState::Held && state == DeviceState::Pending {
        register::release_held(change, device.number, asker.key)?;
    }
    let record = &mut device.record;
    if matches!(record.state, DeviceState::Pending | DeviceState::Held) {
        record.state = state;
        record.step = Step::Enroll;
    }
    asker.product.clone_into(&mut record.product);
    record.strength = asker.strength;
    if state == DeviceState::Pending {
        record.released = false;
        approval::settled(change, device.number, asker.key)?;
    }
    device::update(change, &mut device)?;
    Ok(device.number)
}

fn begin_lease(
    change: &Change<'_>,
    token: &Token,
    asker: &Asker<'_>,
    device: i64,
) -> Result<(), Fault> {
    if token.record.state != TokenState::Minted {
        return Ok(());
    }
    token::lease(change, token, asker.key, device, asker.address)
}
