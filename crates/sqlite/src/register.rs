//! The registration of a device that brings its certificate: one transaction.

use imprint_identity::Step;
use imprint_registrar::Serial;
use imprint_registrar::claims::definition::AutoRegistration;
use imprint_registrar::ledger::{
    CertificateFingerprint, CertificateOrigin, CertificateState, ClaimState, Claimed, DeviceState,
    Generation, KeyFingerprint, PendingState, Registered, RegistrationCertificate,
    RegistrationGrant, RevocationReason,
};
use serde_json::json;

use crate::approval::{self, Place};
use crate::certificate::{self, Intent};
use crate::change::{Change, tell_grace};
use crate::claim::{self, Claim, Hindrance};
use crate::definition;
use crate::device::{self, Device, Newcomer};
use crate::fault::Fault;
use crate::pending::{self, Pending};
use crate::thing;

pub(crate) fn register(
    change: &Change<'_>,
    grant: &RegistrationGrant,
) -> Result<Claimed<Registered>, Fault> {
    match &grant.certificate {
        RegistrationCertificate::Pending {
            claim,
            shown,
            serial,
            answer,
        } => of_claim(change, grant, claim, *shown, serial, answer),
        RegistrationCertificate::Foreign {
            authority, serial, ..
        } => foreign(change, grant, authority, serial),
        // Nobody but an entry gives a device a key that the server has as well.
        RegistrationCertificate::SharedKey | RegistrationCertificate::Own { .. } => {
            Ok(Claimed::Changed)
        }
    }
}

fn of_claim(
    change: &Change<'_>,
    grant: &RegistrationGrant,
    claim: &str,
    shown: CertificateFingerprint,
    serial: &Serial,
    answer: &[u8],
) -> Result<Claimed<Registered>, Fault> {
    let Some(pending) = pending::by_serial(change.db, serial)? else {
        return Ok(Claimed::Changed);
    };
    if pending.record.claim != claim {
        return Ok(Claimed::Changed);
    }
    // 1. The same registration has its answer already.
    if pending.record.state == PendingState::Registered {
        return again(change, grant, &pending);
    }
    // 2. Claim and certificate are good, and the claim has something left.
    let is_good = pending.record.state == PendingState::Pending
        && pending.record.certificate_state == CertificateState::Issued
        && change.now <= pending.record.not_after;
    let claim = claim::by_number(change.db, pending.claim)?;
    let is_heard =
        claim.record.state == ClaimState::Active && pending::is_heard(change, &claim, shown)?;
    if !is_good || !is_heard {
        return Ok(Claimed::Changed);
    }
    let expected = is_expected(change, grant)?;
    if let Some(no) = limited(change, grant, &claim, expected)? {
        return Ok(no);
    }
    // 3. Device, key and thing are as they were when this was decided.
    let Decided::As(mut device) = as_decided(change, grant)? else {
        return Ok(Claimed::Changed);
    };
    // 4. Device, key owner, certificate, thing, counts, answer, journal.
    let number = name_or_touch(change, grant, &mut device)?;
    if let Some(thing) = &grant.thing {
        thing::write(change, number, thing)?;
    }
    device::own_key(change, number, &grant.key.0)?;
    certificate::give_to(change, pending.certificate, number)?;
    change
        .db
        .prepare_cached(
            "UPDATE pending SET state = 'registered', device = ?2, template = ?3, thing = ?4,
                                answer = ?5
             WHERE number = ?1",
        )?
        .execute((
            pending.number,
            number,
            &grant.template,
            grant.thing.as_ref().map(|thing| thing.name.as_str()),
            answer,
        ))?;
    claim::count_granted(change, &claim, !expected)?;
    journal(change, grant, serial, Some(&claim.record.claim.name))?;
    Ok(Claimed::Done(Registered {
        device: device::by_number(change.db, number)?.record,
        answer: answer.to_vec(),
        again: false,
    }))
}

fn again(
    change: &Change<'_>,
    grant: &RegistrationGrant,
    pending: &Pending,
) -> Result<Claimed<Registered>, Fault> {
    let thing = grant.thing.as_ref().map(|thing| &thing.name);
    let same = pending.record.registered.as_ref().filter(|registered| {
        registered.hardware == grant.hardware
            && registered.template == grant.template
            && registered.thing.as_ref() == thing
    });
    let Some(registered) = same else {
        return Ok(Claimed::Changed);
    };
    let device = device::by_name(change.db, registered.device.as_str())?;
    Ok(device.map_or(Claimed::Changed, |device| {
        Claimed::Done(Registered {
            device: device.record,
            answer: registered.answer.clone(),
            again: true,
        })
    }))
}

/// What stands in the way of one more, if anything does.
fn limited(
    change: &Change<'_>,
    grant: &RegistrationGrant,
    claim: &Claim,
    expected: bool,
) -> Result<Option<Claimed<Registered>>, Fault> {
    let address = &grant.origin_of_request.address;
    let hindrance = claim::one_more(change, claim, &grant.hardware, expected, address)?;
    Ok(hindrance.map(|hindrance| match hindrance {
        Hindrance::UsedUp => Claimed::UsedUp,
        Hindrance::Limited { seconds, why } => Claimed::Limited { seconds, why },
        Hindrance::Frozen => Claimed::Changed,
    }))
}

/// Whether somebody has named this device beforehand: on the allowlist, or by approving its key.
fn is_expected(change: &Change<'_>, grant: &RegistrationGrant) -> Result<bool, Fault> {
    if grant.listed {
        return Ok(true);
    }
    let Some(device) = device::by_name(change.db, grant.device.as_str())? else {
        return Ok(false);
    };
    let place = approval::place(change.db, device.number, grant.key)?;
    Ok(matches!(place, Some(Place::Approved { until }) if until > change.now))
}

fn foreign(
    change: &Change<'_>,
    grant: &RegistrationGrant,
    authority: &str,
    serial: &Serial,
) -> Result<Claimed<Registered>, Fault> {
    // 1. It is on record already: a hundred first connections make one device.
    if let Some(there) = certificate::by_serial(change.db, serial)? {
        let device = device::by_name(change.db, there.record.device.as_str())?;
        return Ok(match device {
            Some(device) if device.record.hardware == grant.hardware => Claimed::Done(Registered {
                device: device.record,
                answer: Vec::new(),
                again: true,
            }),
            _ => Claimed::Changed,
        });
    }
    // 2. Its CA takes it in now, and in this way: it may have been switched off since the device came.
    if !takes_in(change, grant, authority)? {
        return Ok(Claimed::Changed);
    }
    // 3. Device, key and thing are as they were when this was decided.
    let Decided::As(mut device) = as_decided(change, grant)? else {
        return Ok(Claimed::Changed);
    };
    // 4. Device, key owner, certificate, thing, journal.
    let number = name_or_touch(change, grant, &mut device)?;
    if let Some(thing) = &grant.thing {
        thing::write(change, number, thing)?;
    }
    device::own_key(change, number, &grant.key.0)?;
    take_in(change, grant, number)?;
    journal(change, grant, serial, None)?;
    Ok(Claimed::Done(Registered {
        device: device::by_number(change.db, number)?.record,
        answer: Vec::new(),
        again: false,
    }))
}

/// Whether a registered CA admits this device, as it was decided.
fn takes_in(change: &Change<'_>, grant: &RegistrationGrant, name: &str) -> Result<bool, Fault> {
    let Some(authority) = definition::authority(change.db, name)? else {
        return Ok(false);
    };
    let ca = authority.ca;
    let as_told = match ca.auto {
        AutoRegistration::Jitp => true,
        AutoRegistration::Jitr => grant.held,
        AutoRegistration::Off => false,
    };
    Ok(ca.active
        && as_told
        && ca.product == grant.product
        && *ca.template.as_ref().unwrap_or(&ca.product) == grant.template)
}

/// As if it had been intended and settled here, in one. Its first use is VERIFY.
pub(crate) fn take_in(
    change: &Change<'_>,
    grant: &RegistrationGrant,
    device: i64,
) -> Result<(), Fault> {
    let RegistrationCertificate::Foreign {
        authority,
        serial,
        der,
        to_be_signed,
        not_before,
        not_after,
    } = &grant.certificate
    else {
        return Ok(());
    };
    let intent = Intent {
        serial: *serial,
        device: Some(device),
        origin: CertificateOrigin::Foreign,
        // No issuer of ours has a colon in its name: these are on no list of ours.
        issuer: &format!("registered:{authority}"),
        generation: Generation::Foreign,
        request_key: grant.key,
        subject_key: grant.key,
        asked_subject: &[],
        to_be_signed,
        sealed_key: None,
        not_before: *not_before,
        not_after: *not_after,
    };
    certificate::insert(change, &intent)?;
    let mut certificate =
        certificate::by_serial(change.db, serial)?.ok_or_else(|| certificate::unknown(serial))?;
    certificate::keep(change, &mut certificate, der.clone())
}

/// Whether everything is as it was when a registration was decided.
pub(crate) enum Decided {
    /// It is; with the device, if there is one.
    As(Option<Device>),
    Otherwise,
}

pub(crate) fn as_decided(change: &Change<'_>, grant: &RegistrationGrant) -> Result<Decided, Fault> {
    let db = change.db;
    let owner = device::key_owner(db, &grant.key.0)?;
    if owner.is_some_and(|owner| owner != grant.device) {
        return Ok(Decided::Otherwise);
    }
    let device = device::by_name(db, grant.device.as_str())?;
    let fits = match (&device, grant.device_version) {
        (None, None) => device::by_hardware(db, &grant.hardware.text())?.is_none(),
        (Some(device), Some(version)) => {
            device.record.version == version
                && device.record.hardware == grant.hardware
                && matches!(
                    device.record.state,
                    DeviceState::Pending | DeviceState::Active | DeviceState::Held
                )
        }
        _ => false,
    };
    let thing = match &grant.thing {
        Some(thing) => thing::is_as_decided(db, &grant.device, thing)?,
        None => true,
    };
    Ok(if fits && thing {
        Decided::As(device)
    } else {
        Decided::Otherwise
    })
}

pub(crate) fn name_or_touch(
    change: &Change<'_>,
    grant: &RegistrationGrant,
    device: &mut Option<Device>,
) -> Result<i64, Fault> {
    let state = if grant.held {
        DeviceState::Held
    } else {
        DeviceState::Active
    };
    let number = match device {
        None => device::insert(
            change,
            &Newcomer {
                id: &grant.device,
                hardware: &grant.hardware,
                strength: grant.strength,
                product: &grant.product,
                state,
                step: Step::Verify,
            },
        )?,
        Some(device) => {
            if device.record.state == DeviceState::Held && !grant.held {
                release_held(change, device.number, grant.key)?;
            }
            let record = &mut device.record;
            record.state = state;
            if record.step != Step::Provisioned {
                record.step = Step::Verify;
            }
            grant.product.clone_into(&mut record.product);
            record.strength = grant.strength;
            record.released = false;
            device::update(change, device)?;
            device.number
        }
    };
    if grant.held {
        // Whoever has approved this key already is not asked twice.
        let place = approval::place(change.db, number, grant.key)?;
        if !matches!(place, Some(Place::Approved { until }) if until > change.now) {
            approval::ask(change, number, grant.key, None)?;
        }
    } else {
        approval::settled(change, number, grant.key)?;
    }
    Ok(number)
}

/// A held device comes in with `key`: certificates on other keys that wait for an operator's word, and
/// have not had it, would come in with it. They end.
pub(crate) fn release_held(
    change: &Change<'_>,
    device: i64,
    key: KeyFingerprint,
) -> Result<(), Fault> {
    for other in certificate::live(change.db, device)? {
        let of = other.record.subject_key;
        if of == key || !other.is_unused() {
            continue;
        }
        let place = approval::place(change.db, device, of)?;
        if !matches!(place, Some(Place::Approved { until }) if until > change.now) {
            certificate::end(change, &other, RevocationReason::PrivilegeWithdrawn)?;
            approval::withdraw(change, device, of)?;
        }
    }
    Ok(())
}

fn journal(
    change: &Change<'_>,
    grant: &RegistrationGrant,
    serial: &Serial,
    claim: Option<&str>,
) -> Result<(), Fault> {
    let authority = match &grant.certificate {
        RegistrationCertificate::Foreign { authority, .. } => Some(authority),
        RegistrationCertificate::Pending { .. }
        | RegistrationCertificate::SharedKey
        | RegistrationCertificate::Own { .. } => None,
    };
    let mut detail = json!({
        "enrollment": grant.enrollment.to_string(),
        "serial": serial.to_string(),
        "key": grant.key.to_string(),
        "hardware": grant.hardware.text().as_str(),
        "product": grant.product,
        "template": grant.template,
        "thing": grant.thing.as_ref().map(|thing| thing.name.as_str()),
        "claim": claim,
        "ca": authority,
        "held": grant.held,
        "door": grant.origin_of_request.door,
        "address": grant.origin_of_request.address,
    });
    tell_grace(&mut detail, grant.past_end);
    change.journal("device-registered", grant.device.as_str(), &detail)
}

/// A device that is held with its certificate goes on, once its key is approved.
pub(crate) fn activate(
    change: &Change<'_>,
    name: &str,
    key: KeyFingerprint,
    knock: Option<&str>,
) -> Result<bool, Fault> {
    let Some(mut device) = device::by_name(change.db, name)? else {
        return Ok(false);
    };
    if device.record.state == DeviceState::Active {
        return Ok(true);
    }
    let approved = matches!(
        approval::place(change.db, device.number, key)?,
        Some(Place::Approved { until }) if until > change.now
    );
    let has_certificate = certificate::live(change.db, device.number)?
        .iter()
        .any(|one| one.record.der.is_some() && one.record.subject_key == key);
    if device.record.state != DeviceState::Held || !approved || !has_certificate {
        if let Some(address) = knock.filter(|_| device.record.state == DeviceState::Held) {
            let detail = json!({ "key": key.to_string(), "address": address });
            change.journal("certificate-waiting", name, &detail)?;
        }
        return Ok(false);
    }
    device.record.state = DeviceState::Active;
    if device.record.step != Step::Provisioned {
        device.record.step = Step::Verify;
    }
    device::update(change, &mut device)?;
    change.journal("device-activated", name, &json!({ "key": key.to_string() }))?;
    Ok(true)
}
