//! The write of the road after the signature.

use imprint_identity::Step;
use imprint_registrar::Serial;
use imprint_registrar::ledger::{CertificateState, DeviceState, Settlement};
use serde::Serialize;

use crate::change::Change;
use crate::fault::Fault;
use crate::{certificate, device};

/// Keeps the first certificate of an intent and registers the device.
pub(crate) fn settle(
    change: &Change<'_>,
    serial: &Serial,
    der: &[u8],
) -> Result<Settlement, Fault> {
    let (mut certificate, mut device) =
        certificate::with_device(change.db, serial)?.ok_or_else(|| certificate::unknown(serial))?;
    match certificate.record.state {
        CertificateState::Issued | CertificateState::Active => {
            return Ok(Settlement::Settled(certificate.record));
        }
        CertificateState::Void | CertificateState::Revoked | CertificateState::Superseded => {
            return Ok(Settlement::Void);
        }
        CertificateState::Intended => {}
    }
    certificate::keep(change, &mut certificate, der.to_vec())?;
    let record = certificate.record;
    if matches!(
        device.record.state,
        DeviceState::Pending | DeviceState::Held
    ) {
        device.record.state = DeviceState::Active;
    }
    if device.record.step != Step::Provisioned {
        device.record.step = Step::Verify;
    }
    device::step_on(change, &device)?;
    let detail = Settled {
        key: record.subject_key.to_string(),
        serial: serial.to_string(),
    };
    change.journal("enrollment-settled", record.device.as_str(), &detail)?;
    Ok(Settlement::Settled(record))
}

/// In the journal.
#[derive(Serialize)]
struct Settled {
    key: String,
    serial: String,
}
