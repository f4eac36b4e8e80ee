//! The write of the road after the signature.

use imprint_identity::Step;
use imprint_registrar::Serial;
use imprint_registrar::ledger::{CertificateState, DeviceState, Settlement};
use serde_json::json;

use crate::change::Change;
use crate::fault::Fault;
use crate::{certificate, device};

/// Keeps the first certificate of an intent and registers the device.
pub(crate) fn settle(
    change: &Change<'_>,
    serial: &Serial,
    der: Vec<u8>,
) -> Result<Settlement, Fault> {
    let mut certificate =
        certificate::by_serial(change.db, serial)?.ok_or_else(|| certificate::unknown(serial))?;
    match certificate.record.state {
        CertificateState::Issued | CertificateState::Active => {
            return Ok(Settlement::Settled(certificate.record));
        }
        CertificateState::Void | CertificateState::Revoked | CertificateState::Superseded => {
            return Ok(Settlement::Void);
        }
        CertificateState::Intended => {}
    }
    certificate::keep(change, &mut certificate, der)?;
    let record = certificate.record;
    let mut device = device::by_name(change.db, record.device.as_str())?
        .ok_or_else(|| Fault::Broken(format!("device {} is not on record", record.device)))?;
    if matches!(
        device.record.state,
        DeviceState::Pending | DeviceState::Held
    ) {
        device.record.state = DeviceState::Active;
    }
    if device.record.step != Step::Provisioned {
        device.record.step = Step::Verify;
    }
    device::update(change, &mut device)?;
    let detail = json!({ "serial": serial.to_string(), "key": record.subject_key.to_string() });
    change.journal("enrollment-settled", record.device.as_str(), &detail)?;
    Ok(Settlement::Settled(record))
}
