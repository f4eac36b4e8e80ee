//! What an operator does to a device, and the certificates that come from outside.

use imprint_identity::{IdentityStrength, Step};
use imprint_registrar::ledger::{
    Acted, Adopted, Adoption, CertificateOrigin, CertificateState, DeviceAct, DeviceRecord,
    DeviceState, Generation, KeyFingerprint, RevocationReason,
};
use serde_json::json;

use crate::approval::{self, Place};
use crate::certificate::{self, Intent};
use crate::change::Change;
use crate::device::{self, Device, Newcomer};
use crate::fault::Fault;
use crate::registration;

pub(crate) fn act(
    change: &Change<'_>,
    name: &str,
    act: &DeviceAct,
) -> Result<Acted<DeviceRecord>, Fault> {
    let Some(mut device) = device::by_name(change.db, name)? else {
        return Ok(Acted::Absent);
    };
    let done = match act {
        DeviceAct::Approve { key, until } => approve(change, &mut device, *key, *until)?,
        DeviceAct::Quarantine { reason } => quarantine(change, &mut device, reason)?,
        DeviceAct::Release { new_key: true } => release(change, &mut device)?,
        DeviceAct::Release { new_key: false } => end_quarantine(change, &mut device)?,
        DeviceAct::Decommission { reason } => decommission(change, &mut device, reason)?,
        DeviceAct::Revoke { reason, note } => revoke(change, &mut device, *reason, note)?,
    };
    Ok(if done {
        Acted::Done(device.record)
    } else {
        Acted::NotNow {
            state: device.record.state.as_str(),
        }
    })
}

fn approve(
    change: &Change<'_>,
    device: &mut Device,
    key: Option<KeyFingerprint>,
    until: imprint_identity::UnixTime,
) -> Result<bool, Fault> {
    let key = match key {
        Some(key) => match approval::place(change.db, device.number, key)? {
            // The same order again, after its answer was lost.
            Some(Place::Approved { until: already }) if already == until => return Ok(true),
            Some(_) => key,
            None => return Ok(false),
        },
        None => match approval::waiting(change.db, device.number)?.as_slice() {
            [(key, _)] => *key,
            _ => return Ok(false),
        },
    };
    approval::approve(change, device.number, key, until)?;
    device::update(change, device)?;
    let detail = json!({ "key": key.to_string(), "until": until.0 });
    change.journal("device-approved", device.record.id.as_str(), &detail)?;
    Ok(true)
}

fn quarantine(change: &Change<'_>, device: &mut Device, reason: &str) -> Result<bool, Fault> {
    match device.record.state {
        DeviceState::Revoked | DeviceState::Decommissioned => return Ok(false),
        DeviceState::Quarantined if device.record.reason.as_deref() == Some(reason) => {
            return Ok(true);
        }
        _ => {}
    }
    // Nothing that is on its way reaches it, and what was approved before has to be approved again.
    for one in certificate::live(change.db, device.number)? {
        if one.record.state == CertificateState::Intended {
            certificate::end(change, &one, RevocationReason::PrivilegeWithdrawn)?;
        }
    }
    approval::withdraw_all(change, device.number)?;
    put_aside(change, device, DeviceState::Quarantined, reason)?;
    told(
        change,
        "device-quarantined",
        device,
        &json!({ "reason": reason }),
    )
}

fn release(change: &Change<'_>, device: &mut Device) -> Result<bool, Fault> {
    let mut ended = false;
    // A shared key that is heard is an identity as a certificate is.
    let mut live = registration::has_live_key(change.db, device.number)?;
    for one in certificate::live(change.db, device.number)? {
        let unproven = one.is_unused()
            && !certificate::key_has_verified(change.db, device.number, one.record.subject_key)?;
        if unproven {
            certificate::end(change, &one, RevocationReason::PrivilegeWithdrawn)?;
        }
        ended |= unproven;
        // An intent is no identity: nobody holds a certificate by it yet.
        live |= !unproven && one.record.state != CertificateState::Intended;
    }
    let was = device.record.state;
    let state = match was {
        DeviceState::Held => DeviceState::Held,
        _ if live => DeviceState::Active,
        _ => DeviceState::Pending,
    };
    if device.record.released && was == state && !ended {
        return Ok(true);
    }
    let record = &mut device.record;
    record.released = true;
    record.state = state;
    record.reason = None;
    if state == DeviceState::Pending {
        record.step = Step::Enroll;
    }
    device::update(change, device)?;
    told(
        change,
        "device-released",
        device,
        &json!({ "was": was.as_str() }),
    )
}

/// The device comes back as it was put aside; its key stays its key.
fn end_quarantine(change: &Change<'_>, device: &mut Device) -> Result<bool, Fault> {
    match device.record.state {
        DeviceState::Quarantined => {}
        DeviceState::Revoked | DeviceState::Decommissioned => return Ok(false),
        _ => return Ok(true),
    }
    let live = certificate::live(change.db, device.number)?;
    let is_registered = registration::has_live_key(change.db, device.number)?
        || live
            .iter()
            .any(|one| one.record.state != CertificateState::Intended);
    device.record.state = if is_registered {
        DeviceState::Active
    } else {
        DeviceState::Pending
    };
    device.record.reason = None;
    device::update(change, device)?;
    told(
        change,
        "device-released",
        device,
        &json!({ "was": DeviceState::Quarantined.as_str(), "key": "kept" }),
    )
}

fn decommission(change: &Change<'_>, device: &mut Device, reason: &str) -> Result<bool, Fault> {
    if device.record.state == DeviceState::Decommissioned {
        return Ok(true);
    }
    certificate::end_all(change, device, RevocationReason::CessationOfOperation)?;
    registration::end(change, device.number, "decommissioned")?;
    approval::withdraw_all(change, device.number)?;
    put_aside(change, device, DeviceState::Decommissioned, reason)?;
    told(
        change,
        "device-decommissioned",
        device,
        &json!({ "reason": reason }),
    )
}

fn revoke(
    change: &Change<'_>,
    device: &mut Device,
    reason: RevocationReason,
    note: &str,
) -> Result<bool, Fault> {
    if device.record.state == DeviceState::Decommissioned {
        return Ok(false);
    }
    let ended = certificate::end_all(change, device, reason)?
        | registration::end(change, device.number, "revoked")?;
    if device.record.state == DeviceState::Revoked && !ended {
        return Ok(true);
    }
    approval::withdraw_all(change, device.number)?;
    put_aside(change, device, DeviceState::Revoked, note)?;
    let detail = json!({ "reason": reason.as_str(), "note": note });
    told(change, "device-revoked", device, &detail)
}

/// Whatever an operator allowed before is over.
fn put_aside(
    change: &Change<'_>,
    device: &mut Device,
    state: DeviceState,
    reason: &str,
) -> Result<(), Fault> {
    device.record.state = state;
    device.record.reason = Some(reason.to_owned());
    device.record.released = false;
    device::update(change, device)
}

fn told(
    change: &Change<'_>,
    kind: &str,
    device: &Device,
    detail: &serde_json::Value,
) -> Result<bool, Fault> {
    change.journal(kind, device.record.id.as_str(), detail)?;
    Ok(true)
}

/// Takes in a certificate of ours that is not on record.
pub(crate) fn adopt(change: &Change<'_>, adoption: &Adoption) -> Result<Adopted, Fault> {
    let db = change.db;
    let conflict = |what| Ok(Adopted::Conflict { what });
    let named = device::by_name(db, adoption.device.as_str())?;
    if let Some(on_record) = certificate::by_serial(db, &adoption.serial)? {
        let record = on_record.record;
        let same = record.der.as_deref() == Some(&adoption.der) && record.device == adoption.device;
        return match named.filter(|_| same) {
            Some(device) => Ok(Adopted::Done(device.record)),
            None => conflict("serial number"),
        };
    }
    // A claim's, or one that waits for its device: nobody becomes a device by these.
    if certificate::is_bare(db, &adoption.serial)? {
        return conflict("serial number");
    }
    if device::key_owner(db, &adoption.key.0)?.is_some_and(|owner| owner != adoption.device) {
        return conflict("key");
    }
    if let Some(device) = &named {
        if device.record.hardware != adoption.hardware || device.record.product != adoption.product
        {
            return conflict("name");
        }
        // One live identity a device: which of two certificates is the right one is for a person to
        // say, by `release` or `revoke`.
        if !certificate::live(db, device.number)?.is_empty() {
            return conflict("device");
        }
        if !matches!(
            device.record.state,
            DeviceState::Pending | DeviceState::Held
        ) {
            return conflict("device's state");
        }
    } else if device::by_hardware(db, &adoption.hardware.text())?.is_some() {
        return conflict("hardware");
    }
    let number = match named {
        Some(mut device) => {
            device.record.state = DeviceState::Active;
            device.record.step = Step::Provisioned;
            device.record.released = false;
            device::update(change, &mut device)?;
            device.number
        }
        None => device::insert(
            change,
            &Newcomer {
                id: &adoption.device,
                hardware: &adoption.hardware,
                strength: IdentityStrength::Asserted,
                product: &adoption.product,
                state: DeviceState::Active,
                step: Step::Provisioned,
            },
        )?,
    };
    device::own_key(change, number, &adoption.key.0)?;
    take_in(change, adoption, number)?;
    let detail = json!({
        "serial": adoption.serial.to_string(),
        "key": adoption.key.to_string(),
        "hardware": adoption.hardware.text().as_str(),
        "issuer": adoption.issuer,
    });
    change.journal("device-adopted", adoption.device.as_str(), &detail)?;
    Ok(Adopted::Done(device::by_number(db, number)?.record))
}

/// As if it had been intended, settled and verified here, in one.
fn take_in(change: &Change<'_>, adoption: &Adoption, device: i64) -> Result<(), Fault> {
    let intent = Intent {
        serial: adoption.serial,
        device: Some(device),
        origin: CertificateOrigin::Adopted,
        issuer: &adoption.issuer,
        generation: Generation::Operator,
        request_key: adoption.key,
        subject_key: adoption.key,
        asked_subject: &[],
        to_be_signed: &adoption.to_be_signed,
        sealed_key: None,
        not_before: adoption.not_before,
        not_after: adoption.not_after,
    };
    certificate::insert(change, &intent)?;
    let mut certificate = certificate::by_serial(change.db, &adoption.serial)?
        .ok_or_else(|| certificate::unknown(&adoption.serial))?;
    certificate::keep(change, &mut certificate, adoption.der.clone())?;
    certificate::activate(change, certificate.number)
}
