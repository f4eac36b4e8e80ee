//! May they join, or have they joined already? A pure answer to facts.

use imprint_attest::{Appraised, ProvenKey, Speaker};
use imprint_identity::{DeviceId, HardwareId, UnixTime};
use imprint_pkix::csr::Csr;
use imprint_pkix::key::KeyAlgorithm;

use crate::authority::Authorities;
use crate::door::Door;
use crate::enroll::{Binding, Kind, Vouched};
use crate::issue::name_of;
use crate::ledger::{
    CertificateRecord, CertificateState, Credential, DeviceRecord, DeviceState, Facts, Generation,
    TokenRecord, TokenState,
};
use crate::product::{KeyKind, Product};
use crate::refusal::{Code, Refusal};
use crate::serial::Serial;

/// What is asked, with the key's possession proven.
pub(crate) struct Ask<'a> {
    pub(crate) kind: Kind,
    pub(crate) csr: &'a Csr,
    pub(crate) key: &'a ProvenKey,
    pub(crate) product: Option<&'a str>,
    pub(crate) generation: Generation,
    pub(crate) bound: Binding,
    /// The door that it came by, where that is one of those that products name.
    pub(crate) door: Option<Door>,
    /// What was proven before the road.
    pub(crate) vouched: Option<&'a Vouched>,
}

/// Where an honest asker stands.
#[derive(Debug)]
pub(crate) enum Standing {
    /// It has its certificate; here it is again.
    Settled(CertificateRecord),
    /// Its certificate was written down and not signed, as far as we know.
    Intended(CertificateRecord),
    /// An operator has to approve.
    Waiting,
    /// It may have a new one.
    New {
        /// An unused successor with another key goes, or an intent that is past its end.
        replaces: Option<Serial>,
    },
}

/// Decides. The order is: is the credential good, is the device good, has this been answered, and
/// only then what the product wants of newcomers: what was promised once is not taken back by a
/// later rule for newcomers.
pub(crate) fn permit(
    appraised: &Appraised,
    ask: &Ask<'_>,
    facts: &Facts,
    authorities: &Authorities,
    now: UnixTime,
) -> Result<(DeviceId, Product, Standing), Refusal> {
    let product = product(ask, facts)?;
    let device = match (appraised.speaker(), &facts.device) {
        (Speaker::Member(name), _) => name.clone(),
        (_, Some(device)) => device.id.clone(),
        (_, None) => match ask.vouched.and_then(|vouched| vouched.name.clone()) {
            Some(name) => name,
            None => name_of(product, appraised.hardware())?,
        },
    };
    let standing =
        stand(appraised, &device, ask, facts, product, authorities, now).map_err(|refusal| {
            match &refusal.subject {
                Some(_) => refusal,
                None if facts.device.is_some() => refusal.about(device.as_str()),
                None => refusal.about(appraised.hardware().text().as_str()),
            }
        })?;
    Ok((device, product.clone(), standing))
}

fn stand(
    appraised: &Appraised,
    device: &DeviceId,
    ask: &Ask<'_>,
    facts: &Facts,
    product: &Product,
    authorities: &Authorities,
    now: UnixTime,
) -> Result<Standing, Refusal> {
    ask.bound.judge(product.channel_binding)?;
    match appraised.speaker() {
        Speaker::TokenHolder => {
            let token = facts.token.as_ref().ok_or(Code::TokenUnknown)?;
            token_is_good(token, device, ask, product, now)?;
            device_is_good(facts.device.as_ref())?;
            if let Some(answered) = answered(facts, now)? {
                return Ok(answered);
            }
            let bound_here = token.bound.as_ref() == Some(appraised.hardware());
            may_name_device(facts, product, bound_here)?;
            newcomer_is_welcome(appraised, ask, facts, product, authorities)?;
            if product.approval && facts.approved_until.is_none_or(|until| until < now) {
                return Ok(Standing::Waiting);
            }
            Ok(Standing::New { replaces: None })
        }
        Speaker::Member(_) => {
            let shown = facts.shown.as_ref().ok_or(Code::CertNotInRegistry)?;
            device_is_good(Some(&shown.device))?;
            // Who is held has a certificate and is not in: a renewal is no way around an operator.
            if shown.device.state == DeviceState::Held {
                return Err(Code::ApprovalPending.into());
            }
            certificate_is_good(&shown.certificate)?;
            registration_is_there(shown)?;
            if ask.kind == Kind::Reenroll {
                same_subject(ask.csr, shown)?;
            }
            if let Some(answered) = answered(facts, now)? {
                return Ok(answered);
            }
            key_is_welcome(ask, facts, product, authorities)?;
            Ok(Standing::New {
                replaces: unused_successor(facts, shown),
            })
        }
        Speaker::Vouched => {
            let vouched = ask.vouched.ok_or(Code::CredentialMissing)?;
            device_is_good(facts.device.as_ref())?;
            if let Some(answered) = answered(facts, now)? {
                return Ok(answered);
            }
            if vouched.one_key {
                serves_one_key(vouched, facts)?;
            }
            may_name_device(facts, product, vouched.bound)?;
            newcomer_is_welcome(appraised, ask, facts, product, authorities)?;
            if product.approval && facts.approved_until.is_none_or(|until| until < now) {
                return Ok(Standing::Waiting);
            }
            Ok(Standing::New {
                replaces: unused(facts, vouched.generation),
            })
        }
        Speaker::Operator => {
            device_is_good(facts.device.as_ref())?;
            if let Some(answered) = answered(facts, now)? {
                return Ok(answered);
            }
            may_name_device(facts, product, false)?;
            // An operator opens the door by asking; a mistyped id stays one.
            hardware_fits(appraised.hardware(), product)?;
            key_is_welcome(ask, facts, product, authorities)?;
            Ok(Standing::New { replaces: None })
        }
    }
}

/// The product that the credential is for; a product that the path names must be the same.
fn product<'a>(ask: &Ask<'_>, facts: &'a Facts) -> Result<&'a Product, Refusal> {
    if ask.product.is_some() && !facts.named_product_exists {
        return Err(Code::ProductUnknown.into());
    }
    let product = facts.product.as_ref().ok_or(Code::ProductUnknown)?;
    match ask.product {
        Some(named) if named != product.name => {
            Err(Refusal::new(Code::ProductMismatch).detail(format!(
                "the path names {named}, the credential is for {}",
                product.name
            )))
        }
        _ => Ok(product),
    }
}

/// A token serves one key of one device. Its expiry is judged when the lease begins, never in the middle of a
/// conversation that the server itself may have drawn out.
fn token_is_good(
    token: &TokenRecord,
    device: &DeviceId,
    ask: &Ask<'_>,
    product: &Product,
    now: UnixTime,
) -> Result<(), Refusal> {
    let own = token
        .lease
        .as_ref()
        .filter(|lease| lease.key == ask.key.fingerprint() && lease.device == *device);
    match (token.state, &token.lease) {
        (TokenState::Revoked, _) => Err(Code::TokenRevoked.into()),
        (TokenState::Dormant, _) => Err(Code::TokenDormant.into()),
        (TokenState::Minted, _) if now > token.expires_at.plus(product.grace_seconds()) => {
            let detail = format!("{} expired at {}", token.id, token.expires_at);
            Err(Refusal::new(Code::TokenExpired).detail(detail))
        }
        (TokenState::Minted, _) => Ok(()),
        (TokenState::Leased | TokenState::Spent, _) if own.is_some() => Ok(()),
        (state, lease) => {
            let code = if state == TokenState::Spent {
                Code::TokenSpent
            } else {
                Code::TokenLeased
            };
            let refusal = Refusal::new(code);
            Err(match lease {
                Some(lease) => refusal.detail(format!(
                    "{} serves {} with key {} since {} (from {}); key {} asked for it too, as {device}",
                    token.id,
                    lease.device,
                    lease.key,
                    lease.since,
                    lease.address,
                    ask.key.fingerprint()
                )),
                None => refusal,
            })
        }
    }
}

pub(crate) fn device_is_good(device: Option<&DeviceRecord>) -> Result<(), Refusal> {
    let Some(device) = device else { return Ok(()) };
    let code = match device.state {
        DeviceState::Pending | DeviceState::Active | DeviceState::Held => return Ok(()),
        DeviceState::Quarantined => Code::DeviceQuarantined,
        DeviceState::Revoked => Code::DeviceRevoked,
        DeviceState::Decommissioned => Code::DeviceDecommissioned,
    };
    let refusal = Refusal::new(code).about(device.id.as_str());
    Err(match &device.reason {
        Some(reason) => refusal.detail(format!("{}: {reason}", device.id)),
        None => refusal,
    })
}

/// Whether the registration by which an entry brought a certificate in still holds.
pub(crate) fn registration_is_there(shown: &Credential) -> Result<(), Refusal> {
    if shown.registration_over {
        return Err(Code::RegistrationEnded.into());
    }
    Ok(())
}

/// Whether a certificate on record may still be used.
pub(crate) fn certificate_is_good(certificate: &CertificateRecord) -> Result<(), Refusal> {
    match certificate.state {
        CertificateState::Issued | CertificateState::Active => Ok(()),
        CertificateState::Superseded => Err(Code::CertificateSuperseded.into()),
        CertificateState::Revoked => {
            let refusal = Refusal::new(Code::CertificateRevoked);
            Err(match certificate.revoked {
                Some((at, reason)) => {
                    refusal.detail(format!("{} at {at}: {reason}", certificate.serial))
                }
                None => refusal,
            })
        }
        // Bytes that never left: whoever shows them did not get them from us.
        CertificateState::Intended | CertificateState::Void => Err(Code::CertNotInRegistry.into()),
    }
}

/// The same question gets the same answer while the certificate is good, else the reason why not.
fn answered(facts: &Facts, now: UnixTime) -> Result<Option<Standing>, Refusal> {
    let Some(same) = &facts.same else {
        return Ok(None);
    };
    match same.state {
        CertificateState::Void => Ok(None),
        // Nobody signed it in its time. What was promised is written down anew.
        CertificateState::Intended if now > same.not_after => Ok(Some(Standing::New {
            replaces: Some(same.serial),
        })),
        CertificateState::Intended => Ok(Some(Standing::Intended(same.clone()))),
        _ => {
            certificate_is_good(same)?;
            if now > same.not_after {
                return Err(Refusal::new(Code::CertificateExpired)
                    .detail(format!("{} expired at {}", same.serial, same.not_after)));
            }
            Ok(Some(Standing::Settled(same.clone())))
        }
    }
}

/// A token that is not bound to this hardware never names a device that is registered already.
fn may_name_device(facts: &Facts, product: &Product, bound_here: bool) -> Result<(), Refusal> {
    let Some(device) = &facts.device else {
        return Ok(());
    };
    if device.product != product.name {
        return Err(Refusal::new(Code::DeviceExists).detail(format!(
            "{} is a device of product {}, not of {}",
            device.hardware, device.product, product.name
        )));
    }
    // A pending device with a certificate on its way counts: one live identity a device.
    let registered = device.state.is_registered() || !facts.live.is_empty();
    if registered && !bound_here && !device.released {
        return Err(Refusal::new(Code::DeviceExists).detail(format!(
            "{} is registered as {} since {}",
            device.hardware, device.id, device.created_at
        )));
    }
    Ok(())
}

/// What an entry's device shares with the server serves one key of the device's own, as a token does: who
/// has read it can't take the device over afterwards.
fn serves_one_key(vouched: &Vouched, facts: &Facts) -> Result<(), Refusal> {
    let released = facts.device.as_ref().is_some_and(|device| device.released);
    let of_it = |one: &&CertificateRecord| one.generation == vouched.generation;
    let serving = facts.live.iter().find(of_it);
    if released || !(vouched.served || serving.is_some()) {
        return Ok(());
    }
    let detail = match serving {
        Some(one) => format!(
            "its entry has served key {} since {}",
            one.request_key, one.intended_at
        ),
        None => "its entry has served another key before".to_owned(),
    };
    Err(Refusal::new(Code::DeviceExists).detail(detail))
}

fn newcomer_is_welcome(
    appraised: &Appraised,
    ask: &Ask<'_>,
    facts: &Facts,
    product: &Product,
    authorities: &Authorities,
) -> Result<(), Refusal> {
    let open = ask.door.is_some_and(|door| product.is_open(door));
    if !open {
        let door = ask.door.map_or("another door", Door::as_str);
        return Err(door_closed(door, product));
    }
    hardware_fits(appraised.hardware(), product)?;
    if product.allowlist && !facts.allowed {
        return Err(Refusal::new(Code::HardwareNotAllowed).detail(format!(
            "{} is not on the allowlist of {}",
            appraised.hardware(),
            product.name
        )));
    }
    if appraised.strength() < product.least_strength() {
        return Err(Refusal::new(Code::IdentityTooWeak).detail(format!(
            "{} is {}, product {} wants {}",
            appraised.hardware(),
            appraised.strength(),
            product.name,
            product.minimum_strength
        )));
    }
    key_is_welcome(ask, facts, product, authorities)
}

/// The answer to a newcomer at a door that its product does not have open.
pub(crate) fn door_closed(door: &str, product: &Product) -> Refusal {
    let doors = product.doors.iter().flatten();
    let open: Vec<_> = doors.map(|door| door.as_str()).collect();
    let open = match open.as_slice() {
        [] => "none".to_owned(),
        open => open.join(", "),
    };
    Refusal::new(Code::DoorClosed).detail(format!(
        "it came by {door}; open doors of {}: {open}",
        product.name
    ))
}

/// Whether a hardware id looks like one of the product's.
pub(crate) fn hardware_fits(hardware: &HardwareId, product: &Product) -> Result<(), Refusal> {
    if product.fits(hardware) {
        return Ok(());
    }
    let pattern = product.serial_pattern.as_deref().unwrap_or_default();
    Err(Refusal::new(Code::HardwareUnfit).detail(format!(
        "{hardware} does not fit the pattern {pattern:?} of {}",
        product.name
    )))
}

fn key_is_welcome(
    ask: &Ask<'_>,
    facts: &Facts,
    product: &Product,
    authorities: &Authorities,
) -> Result<(), Refusal> {
    if ask.kind == Kind::ServerKey {
        if !product.server_keygen {
            return Err(Code::ServerKeygenOff.into());
        }
    } else if !product
        .keys
        .contains(&kind_of(ask.key.public_key().algorithm()))
    {
        return Err(Code::KeyNotAccepted.into());
    }
    let owner = facts.key_owner.as_ref();
    let own = facts
        .device
        .as_ref()
        .or(facts.shown.as_ref().map(|shown| &shown.device));
    if owner.is_some() && owner != own.map(|device| &device.id) {
        let detail = owner.map(|owner| format!("key {} is {owner}'s", ask.key.fingerprint()));
        return Err(Refusal {
            detail,
            ..Refusal::new(Code::KeyInUse)
        });
    }
    if authorities.owns(ask.key.fingerprint()) {
        return Err(Refusal::new(Code::KeyInUse).detail("this is an authority's key"));
    }
    Ok(())
}

pub(crate) const fn kind_of(algorithm: KeyAlgorithm) -> KeyKind {
    match algorithm {
        KeyAlgorithm::P256 => KeyKind::P256,
        KeyAlgorithm::P384 => KeyKind::P384,
        KeyAlgorithm::Ed25519 => KeyKind::Ed25519,
        KeyAlgorithm::Rsa { .. } => KeyKind::Rsa,
    }
}

/// RFC 7030 section 4.2.2: the request names the same subject and names as the certificate. The
/// subject of the device's first request is taken as well, because clients keep repeating it.
fn same_subject(csr: &Csr, shown: &Credential) -> Result<(), Refusal> {
    let record = &shown.certificate;
    let certificate = record
        .der
        .as_deref()
        .and_then(|der| imprint_pkix::certificate::Certificate::parse(der).ok())
        .ok_or(Code::CertificateUnreadable)?;
    let subject = csr.subject_der();
    let is = |name: &[u8]| imprint_pkix::dn::same(subject, name);
    if !is(certificate.subject_der()) && !is(&record.asked_subject) {
        return Err(Code::SubjectDiffers.into());
    }
    match csr.requested_names() {
        Some(names) if names != certificate.names() => Err(Code::NamesDiffer.into()),
        _ => Ok(()),
    }
}

/// One unused successor a predecessor: another key takes its place.
fn unused_successor(facts: &Facts, shown: &Credential) -> Option<Serial> {
    unused(facts, Generation::Renewal(shown.certificate.serial))
}

fn unused(facts: &Facts, generation: Generation) -> Option<Serial> {
    let unused = |state| matches!(state, CertificateState::Intended | CertificateState::Issued);
    facts
        .live
        .iter()
        .find(|other| other.generation == generation && unused(other.state))
        .map(|other| other.serial)
}
