//! What never reverses, from one moment to a later one.

use std::collections::HashMap;

use super::Records;
use super::short;

/// Compares two moments of one ledger: whatever was acknowledged is still there, revocation stays,
/// a certificate keeps its bytes, list numbers grow. A crash lies between them as well as anything.
#[must_use]
pub fn check_change(before: &Records, after: &Records) -> Vec<String> {
    let mut findings = Vec::new();
    let later: HashMap<_, _> = after
        .certificates
        .iter()
        .map(|row| (row.serial, row))
        .collect();
    for old in &before.certificates {
        let serial = short(&old.serial);
        let Some(new) = later.get(&old.serial) else {
            findings.push(format!("{serial} has vanished"));
            continue;
        };
        // One that waited for its device may be given to one; nothing is ever taken back.
        let device = old.device.or(new.device);
        if (
            device,
            &old.generation,
            old.request_key,
            old.subject_key,
            old.to_be_signed,
        ) != (
            new.device,
            &new.generation,
            new.request_key,
            new.subject_key,
            new.to_be_signed,
        ) {
            findings.push(format!("{serial} is for somebody else"));
        }
        if old.der.is_some() && old.der != new.der {
            findings.push(format!("{serial} has other bytes"));
        }
        if old.revoked_at.is_some() && new.is_live() {
            findings.push(format!("{serial} was revoked and lives again"));
        }
        let backwards = match old.state.as_str() {
            "issued" => new.state == "intended",
            "active" => matches!(new.state.as_str(), "intended" | "issued"),
            "void" => new.state != "void",
            _ => false,
        };
        if backwards {
            findings.push(format!("{serial} went from {} to {}", old.state, new.state));
        }
    }
    for old in &before.devices {
        if after
            .devices
            .get(before_index(old.number))
            .is_none_or(|new| {
                (new.number, &new.name, &new.hardware) != (old.number, &old.name, &old.hardware)
            })
        {
            findings.push(format!("{} has vanished or is somebody else", old.name));
        }
    }
    let tokens: HashMap<_, _> = after
        .tokens
        .iter()
        .map(|token| (&token.id, token))
        .collect();
    for old in &before.tokens {
        let Some(new) = tokens.get(&old.id) else {
            findings.push(format!("token {} has vanished", old.id));
            continue;
        };
        let moved =
            old.lease_key.is_some() && new.lease_key.is_some() && old.lease_key != new.lease_key;
        if moved {
            findings.push(format!("token {} moved from one key to another", old.id));
        }
        if old.state == "revoked" && new.state != "revoked" {
            findings.push(format!("token {} was revoked and is {}", old.id, new.state));
        }
    }
    for (issuer, old) in &before.lists {
        if after.lists.get(issuer).is_none_or(|new| new < old) {
            findings.push(format!("the list of {issuer} went back from {old}"));
        }
    }
    findings
}

fn before_index(number: i64) -> usize {
    usize::try_from(number - 1).expect("numbers begin at 1")
}
