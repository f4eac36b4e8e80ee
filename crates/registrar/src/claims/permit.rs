//! May a claim do this, may this device join? Pure answers to facts.

use imprint_identity::{DeviceId, HardwareId, IdentityStrength, UnixTime};
use imprint_pkix::key::PublicKey;

use super::definition::Template;
use super::thing::ThingSpec;
use crate::authority::Authorities;
use crate::door::Door;
use crate::issue::name_of;
use crate::ledger::{
    CertificateState, ClaimCertificateState, ClaimRecord, ClaimState, KeyFingerprint,
    PendingRecord, PendingState, RegistrationFacts, ThingChange,
};
use crate::permit::{device_is_good, door_closed, hardware_fits, kind_of};
use crate::product::Product;
use crate::refusal::{Code, Refusal};
use crate::registry::Reference;

/// Whether a claim and the certificate of it that was shown are heard now.
pub(super) fn claim_is_good(facts: &RegistrationFacts) -> Result<&ClaimRecord, Refusal> {
    let claim = facts.claim.as_ref().ok_or(Code::ClaimUnknown)?;
    let name = &claim.claim.name;
    let reason = || match &claim.reason {
        Some(reason) => format!("{name}: {reason}"),
        None => name.clone(),
    };
    match claim.state {
        ClaimState::Active => {}
        ClaimState::Frozen => return Err(Refusal::new(Code::ClaimFrozen).detail(reason())),
        ClaimState::Revoked => return Err(Refusal::new(Code::ClaimRevoked).detail(reason())),
    }
    match facts.shown.as_ref().map(|shown| shown.state) {
        Some(ClaimCertificateState::Active) => Ok(claim),
        Some(ClaimCertificateState::Revoked) => Err(Refusal::new(Code::ClaimRevoked)
            .detail(format!("{name}: this certificate of it has been revoked"))),
        // Bytes that never left: whoever shows them did not get them from us.
        Some(ClaimCertificateState::Intended) | None => Err(Code::ClaimUnknown.into()),
    }
}

/// Where a claim's asker for a certificate stands.
#[derive(Debug)]
pub(super) enum Asking {
    /// It has its certificate; here it is again.
    Settled(PendingRecord),
    /// Its certificate was written down and not signed, as far as we know.
    Intended(PendingRecord),
    /// It may have a new one.
    New,
}

/// May this key have a pending certificate, or has it one?
pub(super) fn may_ask(
    key: KeyFingerprint,
    public_key: &PublicKey,
    claims_own_key: KeyFingerprint,
    facts: &RegistrationFacts,
    authorities: &Authorities,
    now: UnixTime,
) -> Result<Asking, Refusal> {
    let product = facts.product.as_ref().ok_or(Code::ProductUnknown)?;
    if let Some(pending) = &facts.pending {
        if pending.state == PendingState::Registered {
            device_is_good(facts.key_owner.as_ref())?;
        }
        if let Some(answered) = answered(pending, facts, now)? {
            return Ok(answered);
        }
    }
    if !product.is_open(Door::Claim) {
        return Err(door_closed(Door::Claim.as_str(), product));
    }
    key_is_welcome(key, public_key, product, authorities)?;
    if key == claims_own_key {
        let detail = "this is the claim's own key, which many devices share";
        return Err(Refusal::new(Code::KeyInUse).detail(detail));
    }
    // Whose it is shows when the device says what hardware it is; a device that was released may
    // come again with the key that it has.
    match &facts.key_owner {
        Some(owner) if !owner.released => Err(Refusal::new(Code::KeyInUse)
            .detail(format!("key {key} is {}'s", owner.id))
            .about(owner.id.as_str())),
        _ => Ok(Asking::New),
    }
}

/// The same question gets the same answer while everything about it is good, else the reason why not.
/// What was never registered makes room for a new one.
fn answered(
    pending: &PendingRecord,
    facts: &RegistrationFacts,
    now: UnixTime,
) -> Result<Option<Asking>, Refusal> {
    let released = facts.key_owner.as_ref().is_some_and(|owner| owner.released);
    if now <= pending.not_after {
        match pending.certificate_state {
            CertificateState::Intended => return Ok(Some(Asking::Intended(pending.clone()))),
            CertificateState::Issued | CertificateState::Active => {
                return Ok(Some(Asking::Settled(pending.clone())));
            }
            _ => {}
        }
    }
    if pending.state != PendingState::Registered || released {
        return Ok(None);
    }
    let code = match pending.certificate_state {
        CertificateState::Superseded => Code::CertificateSuperseded,
        CertificateState::Revoked => Code::CertificateRevoked,
        _ => Code::CertificateExpired,
    };
    let refusal = Refusal::new(code).detail(format!("certificate {}", pending.serial));
    Err(match &pending.registered {
        Some(registered) => refusal.about(registered.device.as_str()),
        None => refusal,
    })
}

fn key_is_welcome(
    key: KeyFingerprint,
    public_key: &PublicKey,
    product: &Product,
    authorities: &Authorities,
) -> Result<(), Refusal> {
    if !product.keys.contains(&kind_of(public_key.algorithm())) {
        return Err(Code::KeyNotAccepted.into());
    }
    if authorities.owns(key) {
        return Err(Refusal::new(Code::KeyInUse).detail("this is an authority's key"));
    }
    Ok(())
}

/// Whether a claim may use a template of this name: `None` is its product's own.
pub(super) fn template_is_good<'a>(
    name: &str,
    facts: &'a RegistrationFacts,
    claim: &ClaimRecord,
) -> Result<Option<&'a Template>, Refusal> {
    let Some(template) = &facts.template else {
        // A product is a template of its own: a claim works without any document.
        if name != claim.claim.product {
            return Err(Refusal::new(Code::TemplateUnknown).detail(format!("template {name:?}")));
        }
        if !claim.claim.may_use(name) {
            return Err(not_allowed(name, claim));
        }
        return Ok(None);
    };
    if !template.enabled {
        return Err(Refusal::new(Code::TemplateDisabled).detail(format!("template {name}")));
    }
    if template.product != claim.claim.product || !claim.claim.may_use(name) {
        return Err(not_allowed(name, claim));
    }
    Ok(Some(template))
}

fn not_allowed(name: &str, claim: &ClaimRecord) -> Refusal {
    Refusal::new(Code::TemplateNotAllowed).detail(format!(
        "claim {} of product {}, template {name}",
        claim.claim.name, claim.claim.product
    ))
}

/// What is asked of a device that would join with a certificate which is there already.
pub(crate) struct Joining<'a> {
    pub(crate) hardware: &'a HardwareId,
    pub(crate) strength: IdentityStrength,
    pub(crate) key: KeyFingerprint,
    /// The door that it came by.
    pub(crate) door: Door,
    /// The allowlist is asked, whatever the product says.
    pub(crate) listed_only: bool,
    /// What was shown speaks of this very device, and of no other: so it may name one that is
    /// registered.
    pub(crate) bound: bool,
    /// The name that it would get, unless by its product's rule.
    pub(crate) name: Option<DeviceId>,
    /// The end of what was shown, where it is past that and heard by a grace.
    pub(crate) past_end: Option<UnixTime>,
}

/// What becomes of it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Join {
    /// Its name.
    Register(DeviceId),
    /// An operator has to approve first.
    Wait(DeviceId),
}

/// May this device join? The order is that of the road by token: is the device good, may it be
/// named, is it welcome, is it approved.
pub(crate) fn may_join(
    joining: &Joining<'_>,
    facts: &RegistrationFacts,
    now: UnixTime,
) -> Result<Join, Refusal> {
    let product = facts.product.as_ref().ok_or(Code::ProductUnknown)?;
    let hardware = joining.hardware;
    let name = match (&facts.device, &joining.name) {
        (Some(device), _) => device.id.clone(),
        (None, Some(name)) => name.clone(),
        (None, None) => name_of(product, hardware)?,
    };
    let decide = || {
        device_is_good(facts.device.as_ref())?;
        may_name_device(joining, facts, product)?;
        is_welcome(joining, facts, product)?;
        if let Some(owner) = facts.key_owner.as_ref().filter(|owner| owner.id != name) {
            let detail = format!("key {} is {}'s", joining.key, owner.id);
            return Err(Refusal::new(Code::KeyInUse).detail(detail));
        }
        Ok(())
    };
    decide().map_err(|refusal: Refusal| match (&refusal.subject, &facts.device) {
        (Some(_), _) => refusal,
        (None, Some(device)) => refusal.about(device.id.as_str()),
        (None, None) => refusal.about(hardware.text().as_str()),
    })?;
    if product.approval && facts.approved_until.is_none_or(|until| until < now) {
        // As a token is leased to whom it lets wait: one key makes one device, also on the list.
        return match facts.listed_for.as_ref().filter(|other| **other != name) {
            Some(other) => Err(Refusal::new(Code::KeyInUse)
                .detail(format!("key {} waits for approval as {other}", joining.key))
                .about(other.as_str())),
            None => Ok(Join::Wait(name)),
        };
    }
    Ok(Join::Register(name))
}

/// A shared right never names a device that is registered already.
fn may_name_device(
    joining: &Joining<'_>,
    facts: &RegistrationFacts,
    product: &Product,
) -> Result<(), Refusal> {
    let Some(device) = &facts.device else {
        return Ok(());
    };
    if device.product != product.name {
        return Err(Refusal::new(Code::DeviceExists).detail(format!(
            "{} is a device of product {}, not of {}",
            device.hardware, device.product, product.name
        )));
    }
    let registered = device.state.is_registered() || facts.device_has_live;
    if registered && !device.released && !joining.bound {
        return Err(Refusal::new(Code::DeviceExists).detail(format!(
            "{} is registered as {} since {}, and a second key, {}, asked for it",
            device.hardware, device.id, device.created_at, joining.key
        )));
    }
    Ok(())
}

fn is_welcome(
    joining: &Joining<'_>,
    facts: &RegistrationFacts,
    product: &Product,
) -> Result<(), Refusal> {
    if !product.is_open(joining.door) {
        return Err(door_closed(joining.door.as_str(), product));
    }
    hardware_fits(joining.hardware, product)?;
    if (product.allowlist || joining.listed_only) && !facts.allowed {
        return Err(Refusal::new(Code::HardwareNotAllowed).detail(format!(
            "{} is not on the allowlist of {}",
            joining.hardware, product.name
        )));
    }
    if joining.strength < product.least_strength() {
        return Err(Refusal::new(Code::IdentityTooWeak).detail(format!(
            "{} is {}, product {} wants {}",
            joining.hardware, joining.strength, product.name, product.minimum_strength
        )));
    }
    Ok(())
}

/// A newcomer's own key, which nobody has looked at before.
pub(crate) fn newcomers_key_is_welcome(
    key: KeyFingerprint,
    public_key: &PublicKey,
    facts: &RegistrationFacts,
    authorities: &Authorities,
) -> Result<(), Refusal> {
    // The certificate may have come with another writing of its signature: the key says whose it is.
    if facts.key_was_revoked {
        return Err(Code::CertificateRevoked.into());
    }
    let product = facts.product.as_ref().ok_or(Code::ProductUnknown)?;
    key_is_welcome(key, public_key, product, authorities)
}

/// The thing as it will be, with the version of the one that is there. `template`: `None` is its
/// product's own, which names nothing.
pub(super) fn thing_change(
    spec: &ThingSpec,
    device: &DeviceId,
    facts: &RegistrationFacts,
    template: Option<&Template>,
) -> Result<ThingChange, Refusal> {
    spec.check()?;
    let creates = template.is_some_and(|template| template.create_missing);
    if let Some(missing) = facts.missing.first().filter(|_| !creates) {
        return Err(Refusal::new(Code::RegistryMissing)
            .detail(missing.to_string())
            .about(device.as_str()));
    }
    // Under its own name a device is not kept out by one that was faster to call itself so.
    let is_own = spec.name == device.as_str();
    let others = facts.thing.as_ref().filter(|other| other.device != *device);
    if let Some(other) = others.filter(|_| !is_own) {
        return Err(Refusal::new(Code::ThingTaken)
            .detail(format!("thing {} is {}", other.name, other.device))
            .about(device.as_str()));
    }
    // A template may let the device choose; it does not choose to be called like another one.
    if let Some(other) = facts.named.as_ref().filter(|other| *other != device) {
        return Err(Refusal::new(Code::ThingTaken)
            .detail(format!("{other} is the name of another device"))
            .about(device.as_str()));
    }
    Ok(ThingChange {
        name: spec.name.clone(),
        values: spec.over(facts.thing.as_ref().filter(|_| others.is_none()))?,
        policies: spec.policies.clone(),
        references: Reference::all_of(spec),
        version: facts.thing.as_ref().map(|thing| thing.version),
    })
}
