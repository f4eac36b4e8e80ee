//! Whose entry is it, and is it good? Pure answers to facts.

use imprint_attest::{ChainDoubt, KeyFingerprint, PeerCertificate, prove_chain};
use imprint_identity::{DeviceId, UnixTime};
use imprint_pkix::certificate::Certificate;

use super::definition::{Attestation, Entry};
use crate::ledger::{
    DeviceRecord, DeviceState, EntryKind, EntryRecord, EntryRegistration, RegistrationCertificate,
    RegistrationFacts,
};
use crate::refusal::{Code, Refusal};
use crate::serial::Serial;

/// An entry whose proof a device has shown.
#[derive(Debug, Clone)]
pub(super) struct Proven {
    pub(super) entry: EntryRecord,
    /// The certificate's key; for a shared key, a name for it that says nothing about it.
    pub(super) key: KeyFingerprint,
    /// Where it has one.
    pub(super) certificate: Option<Certificate>,
}

impl Proven {
    pub(super) fn by_key(entry: &EntryRecord, id: &str) -> Self {
        Self {
            entry: entry.clone(),
            key: KeyFingerprint::of(shared_key_of(&entry.entry, id).as_bytes()),
            certificate: None,
        }
    }

    pub(super) fn by_certificate(entry: &EntryRecord, certificate: &Certificate) -> Self {
        Self {
            entry: entry.clone(),
            key: KeyFingerprint::of(certificate.spki_der()),
            certificate: Some(certificate.clone()),
        }
    }

    /// The serial number under which its certificate is kept.
    pub(super) fn serial(&self) -> Option<Serial> {
        let certificate = self.certificate.as_ref()?;
        Some(Serial::of_foreign(certificate.der()))
    }

    /// What is put on record as the device's credential.
    pub(super) fn to_be_kept(&self) -> RegistrationCertificate {
        match &self.certificate {
            None => RegistrationCertificate::SharedKey,
            Some(certificate) => RegistrationCertificate::Foreign {
                authority: format!("entry/{}", self.entry.entry.name),
                serial: Serial::of_foreign(certificate.der()),
                der: certificate.der().to_vec(),
                to_be_signed: certificate.to_be_signed().to_vec(),
                not_before: certificate.not_before(),
                not_after: certificate.not_after(),
            },
        }
    }
}

/// A name for a shared key: an approval is for the key of one entry, and holds for no other's.
fn shared_key_of(entry: &Entry, id: &str) -> String {
    let kind = entry.kind.as_str();
    format!("shared key of {id} by {kind} {}", entry.name)
}

/// The entry of a device that shows a certificate: its own first; then the groups, from the authority
/// that is nearest to the device up to the root. The first hit counts, also where it is disabled.
pub(super) fn by_certificate(
    id: &str,
    peer: &PeerCertificate,
    sent: &[Certificate],
    individual: Option<&EntryRecord>,
    groups: &[EntryRecord],
    now: UnixTime,
) -> Result<Proven, Refusal> {
    let leaf = peer.parsed.as_ref().ok_or(Code::CertificateUnreadable)?;
    let name = leaf.common_name().unwrap_or_default();
    if !name.eq_ignore_ascii_case(id) {
        let detail = format!("the certificate is {name:?}'s");
        return Err(Refusal::new(Code::RegistrationOther).detail(detail));
    }
    if let Some(entry) = individual {
        let named = entry.entry.attestation.certificates().unwrap_or_default();
        if !named.iter().any(|one| one.der() == peer.der) {
            return Err(wrong(entry, "it does not name this certificate"));
        }
        is_valid(leaf, now)?;
        leaf.public_key().map_err(|_| Code::KeyUnsound)?;
        return Ok(Proven::by_certificate(entry, leaf));
    }
    // By what was proven: the names in what a device sends are its own choice. Of two groups that are as
    // near, the one that refuses counts.
    let mut nearest: Option<((u8, bool), &EntryRecord, Certificate)> = None;
    let mut doubt = None;
    for group in groups {
        for anchor in group.entry.attestation.certificates().unwrap_or_default() {
            match prove_chain(peer, sent, &anchor, 0, now) {
                Ok(chained) => {
                    let place = (chained.depth(), group.enabled);
                    if nearest.as_ref().is_none_or(|(known, ..)| place < *known) {
                        nearest = Some((place, group, chained.certificate().clone()));
                    }
                }
                // What stands in the way nearest to a proof says most.
                Err(found) if doubt.is_none() || found != ChainDoubt::Broken => {
                    doubt = Some((group, found));
                }
                Err(_) => {}
            }
        }
    }
    match (nearest, doubt) {
        (Some((_, group, leaf)), _) => Ok(Proven::by_certificate(group, &leaf)),
        (None, Some((group, doubt))) => Err(doubted_chain(group, doubt)),
        (None, None) => {
            Err(Refusal::new(Code::EntryUnknown).detail("no group names an authority of its chain"))
        }
    }
}

/// A clock that is wrong, or an end that has come, is no guess.
fn doubted_chain(group: &EntryRecord, doubt: ChainDoubt) -> Refusal {
    let code = match doubt {
        ChainDoubt::Expired { .. } => Code::CertificateExpired,
        ChainDoubt::NotYetValid { .. } => Code::CertificateNotYetValid,
        ChainDoubt::Unreadable => Code::CertificateUnreadable,
        ChainDoubt::Key => Code::KeyUnsound,
        _ => return wrong(group, &doubt.to_string()),
    };
    Refusal::new(code).detail(format!("{}: {doubt}", said(&group.entry)))
}

fn is_valid(leaf: &Certificate, now: UnixTime) -> Result<(), Refusal> {
    let (from, until) = (leaf.not_before(), leaf.not_after());
    if now > until {
        let detail = format!("it expired at {until}");
        return Err(Refusal::new(Code::CertificateExpired).detail(detail));
    }
    if now < from {
        let detail = format!("it is not valid before {from}");
        return Err(Refusal::new(Code::CertificateNotYetValid).detail(detail));
    }
    Ok(())
}

/// A proof that does not hold.
pub(super) fn wrong(entry: &EntryRecord, why: &str) -> Refusal {
    Refusal::new(Code::EntryProofWrong).detail(format!("{}: {why}", said(&entry.entry)))
}

/// Whether an entry lets anybody in now.
pub(super) fn is_enabled(entry: &EntryRecord) -> Result<(), Refusal> {
    if entry.enabled {
        return Ok(());
    }
    Err(Refusal::new(Code::EntryDisabled).detail(said(&entry.entry)))
}

fn said(entry: &Entry) -> String {
    match entry.kind {
        EntryKind::Individual => format!("entry {}", entry.name),
        EntryKind::Group => format!("entry group {}", entry.name),
    }
}

/// Whether an entry speaks of this very device, so that it may replace what the device had before: it
/// names its registration id, or the device is registered by it already.
///
/// A shared key whose place a certificate has taken replaces nothing: what was superseded does not come
/// back by itself, but after an operator's `device release`. A registration that an operator has ended is
/// made again.
pub(super) fn is_bound(
    proven: &Proven,
    facts: &RegistrationFacts,
    certificate_is_its_own: bool,
) -> bool {
    let known = facts.registration.as_ref();
    let own = known.filter(|registration| is_of(registration, &proven.entry.entry));
    let is_open = |own: &EntryRegistration| own.live || !facts.device_has_live;
    match (proven.entry.entry.kind, &proven.certificate) {
        (EntryKind::Individual, None) => own.is_none_or(is_open),
        (EntryKind::Individual, Some(_)) => true,
        (EntryKind::Group, None) => own.is_some_and(is_open),
        (EntryKind::Group, Some(_)) => own.is_some_and(is_open) && certificate_is_its_own,
    }
}

/// The name that an entry gives to its device, if it gives one.
pub(super) fn name_in(entry: &Entry) -> Result<Option<DeviceId>, Refusal> {
    let name = entry.device_id.as_deref().map(str::parse).transpose();
    name.map_err(|error| {
        Refusal::new(Code::ProfileUnsound).detail(format!("{}: {error}", said(entry)))
    })
}

/// Whether a registration was made by this entry.
pub(super) fn is_of(registration: &EntryRegistration, entry: &Entry) -> bool {
    registration.kind == entry.kind && registration.entry == entry.name
}

/// Whether a device is in by this entry and this kind of proof: no later rule for newcomers takes back
/// what it was promised.
pub(super) fn is_in(
    proven: &Proven,
    registration: &EntryRegistration,
    device: &DeviceRecord,
) -> bool {
    registration.live
        && device.state == DeviceState::Active
        && is_of(registration, &proven.entry.entry)
        && registration.shared_key == proven.certificate.is_none()
}

/// Whether a certificate has taken the place of what the device shares with its entry. That was for the
/// beginning, and who has it gets nothing by it but what is on record.
pub(super) fn has_outgrown(proven: &Proven, facts: &RegistrationFacts) -> bool {
    let (Some(registration), Some(device)) = (&facts.registration, &facts.device) else {
        return false;
    };
    proven.certificate.is_none()
        && registration.live
        && !registration.shared_key
        && is_of(registration, &proven.entry.entry)
        && device.state == DeviceState::Active
        && !device.released
        && facts.device_has_live
}

/// Whether what is on record is what would be written down for a device that [`is_in`]. The key of a group's
/// device is derived for the id as the device writes it, so at the hub it is looked for under that.
pub(super) fn is_on_record(
    proven: &Proven,
    registration: &EntryRegistration,
    presented: &str,
    hub: &str,
) -> bool {
    let is_derived = proven.certificate.is_none() && proven.entry.entry.kind == EntryKind::Group;
    registration.hub == hub && (!is_derived || registration.presented == presented)
}

/// The word of an entry for devices that show something else.
pub(super) fn is_for_keys(entry: &EntryRecord) -> Result<(), Refusal> {
    match entry.entry.attestation {
        Attestation::SymmetricKey => Ok(()),
        Attestation::X509 { .. } => Err(wrong(entry, "its device comes with a certificate")),
        Attestation::Tpm { .. } => Err(wrong(entry, "its device comes with a TPM")),
    }
}
