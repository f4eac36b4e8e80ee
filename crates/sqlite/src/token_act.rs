//! What an operator does to a token.

use imprint_identity::{HardwareId, Step};
use imprint_registrar::ledger::{
    Acted, CertificateState, DeviceState, Generation, RevocationReason, TokenAct, TokenRecord,
    TokenState,
};
use serde_json::json;

use crate::change::Change;
use crate::fault::Fault;
use crate::token::{self, Token};
use crate::{approval, certificate, device};

pub(crate) fn act(
    change: &Change<'_>,
    id: &str,
    act: &TokenAct,
) -> Result<Acted<TokenRecord>, Fault> {
    let Some(token) = token::by_id(change.db, id)? else {
        return Ok(Acted::Absent);
    };
    let state = token.record.state;
    match (act, state) {
        (TokenAct::Revoke, TokenState::Revoked) | (TokenAct::Arm, TokenState::Minted) => {
            return Ok(Acted::Done(token.record));
        }
        (TokenAct::Revoke, TokenState::Minted | TokenState::Dormant | TokenState::Leased) => {
            revoke(change, &token)?;
        }
        (TokenAct::Arm, TokenState::Dormant) => arm(change, &token)?,
        (TokenAct::Rebind { hardware }, TokenState::Leased | TokenState::Spent) => {
            rebind(change, &token, hardware.as_ref())?;
        }
        // The same order again, after its answer was lost.
        (TokenAct::Rebind { hardware }, TokenState::Minted)
            if hardware.is_none() || *hardware == token.record.bound =>
        {
            return Ok(Acted::Done(token.record));
        }
        _ => {
            return Ok(Acted::NotNow {
                state: state.as_str(),
            });
        }
    }
    let after = token::by_id(change.db, id)?;
    Ok(after.map_or(Acted::Absent, |token| Acted::Done(token.record)))
}

fn revoke(change: &Change<'_>, token: &Token) -> Result<(), Fault> {
    void_intents(change, token)?;
    change
        .db
        .prepare_cached("UPDATE token SET state = 'revoked' WHERE number = ?1")?
        .execute([token.number])?;
    let detail = json!({ "was": token.record.state.as_str() });
    change.journal("token-revoked", &token.record.id, &detail)
}

fn arm(change: &Change<'_>, token: &Token) -> Result<(), Fault> {
    change
        .db
        .prepare_cached("UPDATE token SET state = 'minted' WHERE number = ?1")?
        .execute([token.number])?;
    change.journal("token-armed", &token.record.id, &json!({}))
}

/// What was about to be signed on a token's word is not signed.
fn void_intents(change: &Change<'_>, token: &Token) -> Result<(), Fault> {
    let Some(device) = token.lease_device else {
        return Ok(());
    };
    let by_token = Generation::Token(token.record.hash);
    for one in certificate::live(change.db, device)? {
        if one.record.generation == by_token && one.record.state == CertificateState::Intended {
            certificate::end(change, &one, RevocationReason::PrivilegeWithdrawn)?;
        }
    }
    Ok(())
}

/// Takes the token from its holder: everything that the holder got by it ends, and it is open again.
fn rebind(change: &Change<'_>, token: &Token, hardware: Option<&HardwareId>) -> Result<(), Fault> {
    let holder = token
        .lease_device
        .map(|number| take_back(change, token, number))
        .transpose()?;
    let bound = hardware.map(HardwareId::text);
    change
        .db
        .prepare_cached(
            "UPDATE token SET state = 'minted', bound = coalesce(?2, bound), lease_key = NULL,
                              lease_device = NULL, lease_since = NULL, lease_from = NULL,
                              spent_at = NULL, alarms = 0
             WHERE number = ?1",
        )?
        .execute((token.number, bound.as_deref()))?;
    let detail = json!({
        "was": token.record.state.as_str(),
        "holder": holder,
        "holder_key": token.record.lease.as_ref().map(|lease| lease.key.to_string()),
        "hardware": bound.as_deref(),
    });
    change.journal("token-rebound", &token.record.id, &detail)
}

/// Ends the certificates that came from the token: the first ones, and their renewals. The device
/// goes back to `pending`, unless it stands on a certificate from elsewhere. Answers its name.
fn take_back(change: &Change<'_>, token: &Token, number: i64) -> Result<String, Fault> {
    let mut device = device::by_number(change.db, number)?;
    let descent = certificate::descent(change.db, number, &token.record.hash)?;
    let (ours, others): (Vec<_>, Vec<_>) = certificate::live(change.db, number)?
        .into_iter()
        .partition(|one| descent.contains(&one.record.serial));
    for one in &ours {
        certificate::end(change, one, RevocationReason::PrivilegeWithdrawn)?;
    }
    if let Some(lease) = &token.record.lease {
        approval::withdraw(change, number, lease.key)?;
    }
    let name = device.record.id.to_string();
    let free = matches!(
        device.record.state,
        DeviceState::Active | DeviceState::Held | DeviceState::Pending
    );
    // An intent is no identity: nobody holds a certificate by it yet.
    let stands = others
        .iter()
        .any(|one| one.record.state != CertificateState::Intended);
    if free && !stands {
        device.record.state = DeviceState::Pending;
        device.record.step = Step::Enroll;
    }
    device::update(change, &mut device)?;
    Ok(name)
}
