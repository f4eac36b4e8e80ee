//! VERIFY: the device has come back with its certificate.

use std::collections::BTreeSet;

use imprint_identity::Step;
use imprint_registrar::Serial;
use imprint_registrar::ledger::{
    CertificateState, Credential, DeviceState, Generation, RevocationReason, TokenState,
};
use serde_json::json;

use crate::change::Change;
use crate::fault::Fault;
use crate::{certificate, device, registration, token};

/// The first use of a certificate: proof of receipt. Answers what is on record after.
pub(crate) fn verify(
    change: &Change<'_>,
    serial: &Serial,
    evidence: &str,
) -> Result<Option<Credential>, Fault> {
    let Some(certificate) = certificate::by_serial(change.db, serial)? else {
        return Ok(None);
    };
    let record = &certificate.record;
    let mut device = device::by_name(change.db, record.device.as_str())?
        .ok_or_else(|| Fault::Broken(format!("device {} is not on record", record.device)))?;
    // A device that was put aside between the read and this write proves nothing.
    let first_use =
        record.state == CertificateState::Issued && device.record.state == DeviceState::Active;
    if first_use {
        // 1. What it replaces ends first, with its renewals: one certificate in use, and no way
        //    back for whoever holds the key before.
        let mut ended = BTreeSet::new();
        for other in certificate::live(change.db, device.number)?.iter().rev() {
            let older = other.number < certificate.number;
            let renews_ended = other.number > certificate.number
                && matches!(other.record.generation, Generation::Renewal(of) if ended.contains(&of));
            if older || renews_ended {
                certificate::end(change, other, RevocationReason::Superseded)?;
                ended.insert(other.record.serial);
            }
        }
        if registration::has_live_key(change.db, device.number)? {
            if record.generation == Generation::Entry {
                registration::outgrow(change, device.number)?;
            } else {
                registration::end(change, device.number, "a certificate took its place")?;
            }
        }
        certificate::activate(change, certificate.number)?;
        // 2. The token has done its work.
        let token = match record.generation {
            Generation::Token(hash) => token::by_hash(change.db, &hash)?.filter(|token| {
                token.record.state == TokenState::Leased
                    && token.serves(record.request_key, device.number)
            }),
            _ => None,
        };
        if let Some(token) = &token {
            token::spend(change, token)?;
        }
        // 3. The device has arrived.
        device.record.step = Step::Provisioned;
        device::update(change, &mut device)?;
        let detail = json!({
            "serial": serial.to_string(),
            "key": record.subject_key.to_string(),
            "token": token.as_ref().map(|token| token.record.id.as_str()),
            "evidence": evidence,
        });
        change.journal("certificate-verified", record.device.as_str(), &detail)?;
    }
    Ok(certificate::credential(change.db, serial)?.map(|(_, credential)| credential))
}
