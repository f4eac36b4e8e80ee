//! Whose entry is it, and is it good? Pure answers to facts.

use imprint_attest::{KeyFingerprint, PeerCertificate, prove_chain};
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
            key: KeyFingerprint::of(format!("shared key of {id}").as_bytes()),
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
    let mut anchors: Vec<(usize, &EntryRecord, Certificate)> = Vec::new();
    let above = names_above(leaf, sent);
    for group in groups {
        for anchor in group.entry.attestation.certificates().unwrap_or_default() {
            let place = above.iter().position(|name| *name == anchor.subject_der());
            anchors.extend(place.map(|place| (place, group, anchor)));
        }
    }
    anchors.sort_by_key(|(place, ..)| *place);
    let mut doubt = None;
    for (_, group, anchor) in &anchors {
        match prove_chain(peer, sent, anchor, 0, now) {
            Ok(chained) => return Ok(Proven::by_certificate(group, chained.certificate())),
            Err(found) => doubt = Some((*group, found)),
        }
    }
    Err(match doubt {
        Some((group, doubt)) => wrong(group, &doubt.to_string()),
        None => Refusal::new(Code::EntryUnknown).detail("no group names an authority of its chain"),
    })
}

/// The names of the authorities above a certificate, nearest first, as far as what was sent goes.
fn names_above<'c>(leaf: &'c Certificate, sent: &'c [Certificate]) -> Vec<&'c [u8]> {
    let mut names = vec![leaf.issuer_der()];
    while let Some(&last) = names.last() {
        let above = sent.iter().find(|one| one.subject_der() == last);
        match above.map(Certificate::issuer_der) {
            Some(issuer) if names.len() <= MOST_ABOVE && !names.contains(&issuer) => {
                names.push(issuer);
            }
            _ => break,
        }
    }
    names
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
pub(super) fn is_bound(
    proven: &Proven,
    known: Option<&EntryRegistration>,
    certificate_is_its_own: bool,
) -> bool {
    let by_it = known.is_some_and(|registration| is_of(registration, &proven.entry.entry));
    proven.entry.entry.kind == EntryKind::Individual
        || by_it && (proven.certificate.is_none() || certificate_is_its_own)
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

/// Whether what is on record is what would be written down.
pub(super) fn is_on_record(
    proven: &Proven,
    registration: &EntryRegistration,
    device: &DeviceRecord,
    hub: &str,
) -> bool {
    registration.live
        && device.state == DeviceState::Active
        && registration.hub == hub
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

/// The word of an entry for devices that show something else.
pub(super) fn is_for_keys(entry: &EntryRecord) -> Result<(), Refusal> {
    match entry.entry.attestation {
        Attestation::SymmetricKey => Ok(()),
        Attestation::X509 { .. } => Err(wrong(entry, "its device comes with a certificate")),
        Attestation::Tpm { .. } => Err(wrong(entry, "its device comes with a TPM")),
    }
}

/// As far as `prove_chain` follows.
const MOST_ABOVE: usize = 4;
