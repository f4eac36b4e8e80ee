//! The certificate profile: what will be signed is built here from our own records; nothing is
//! copied from a request but its public key.

use aws_lc_rs::digest;
use imprint_attest::{Appraised, KeyFingerprint, ProvenKey, subject_key_id};
use imprint_identity::{DeviceId, HardwareId, UnixTime};
use imprint_pkix::certificate::{Leaf, lint};
use imprint_pkix::key::PublicKey;
use zeroize::Zeroizing;

use crate::authority::{Authorities, Issuer};
use crate::enroll::EnrollmentRequest;
use crate::ledger::{CertificateOrigin, Facts, Generation, Grant, TokenState, Wait};
use crate::permit::Ask;
use crate::product::{Product, fill};
use crate::refusal::{Code, Refusal};
use crate::serial::{EnrollmentId, Serial};
use crate::signer::Signer;

/// The key that is certified: the asker's own, or one that the server made for it.
pub(crate) struct Subject {
    public_key: PublicKey,
    sealed_key: Option<Vec<u8>>,
}

impl Subject {
    pub(crate) fn own(proven: &ProvenKey) -> Self {
        Self {
            public_key: proven.public_key().clone(),
            sealed_key: None,
        }
    }

    /// Makes a key, once a walk: a second attempt of the same walk seals the same key anew, because
    /// the seal is bound to the serial.
    pub(crate) async fn made<S: Signer>(
        signer: &S,
        device_key: &mut Option<(Zeroizing<Vec<u8>>, Vec<u8>)>,
        serial: &Serial,
    ) -> Result<Self, Refusal> {
        let (private, spki) = match device_key.take() {
            Some(made) => made,
            None => signer.device_key().await?,
        };
        let sealed_key = Some(signer.seal(&serial.0, &private).await?);
        let public_key = PublicKey::parse(&spki)
            .map_err(|error| Refusal::new(Code::SignerUnavailable).detail(error.to_string()))?;
        *device_key = Some((private, spki));
        Ok(Self {
            public_key,
            sealed_key,
        })
    }
}

/// A device's name under its product's rule.
pub(crate) fn name_of(product: &Product, hardware: &HardwareId) -> Result<DeviceId, Refusal> {
    let unsound = |reason: String| Refusal::new(Code::ProfileUnsound).detail(reason);
    let rule = product
        .naming_rule()
        .map_err(|error| unsound(error.to_string()))?;
    rule.apply(&product.name, hardware, |name| {
        let mut head = [0; 8];
        let hash = digest::digest(&digest::SHA256, name);
        head.iter_mut()
            .zip(hash.as_ref())
            .for_each(|(to, from)| *to = *from);
        head
    })
    .map_err(|error| unsound(format!("{hardware}: {error}")))
}

/// What will be written down and signed for a newcomer or a renewal.
pub(crate) fn grant(
    enrollment: EnrollmentId,
    serial: Serial,
    device: &DeviceId,
    appraised: &Appraised,
    facts: &Facts,
    ask: &Ask<'_>,
    product: &Product,
    subject: Subject,
    replaces: Option<Serial>,
    authorities: &Authorities,
    request: &EnrollmentRequest,
    now: UnixTime,
) -> Result<Grant, Refusal> {
    let issuer = issuer_of(authorities, product)?;
    let (not_before, not_after) = validity(product, issuer, now)?;
    let to_be_signed = to_be_signed(
        issuer,
        authorities.public_http(),
        product,
        device,
        appraised.hardware(),
        &subject.public_key,
        serial,
        not_before,
        not_after,
    )?;
    Ok(Grant {
        enrollment,
        device: device.clone(),
        hardware: appraised.hardware().clone(),
        strength: appraised.strength(),
        product: product.name.clone(),
        device_version: facts.device.as_ref().map(|known| known.version),
        request_key: ask.key.fingerprint(),
        subject_key: KeyFingerprint::of(subject.public_key.spki_der()),
        generation: ask.generation,
        origin: match ask.generation {
            Generation::Token(_) | Generation::Entry => CertificateOrigin::Enrolled,
            Generation::Renewal(_) => CertificateOrigin::Renewed,
            Generation::Operator => CertificateOrigin::ByHand,
            Generation::Claim => CertificateOrigin::Claimed,
            Generation::Foreign => CertificateOrigin::Foreign,
            Generation::Attested => CertificateOrigin::Attested,
        },
        replaces,
        serial,
        issuer: issuer.name.clone(),
        to_be_signed,
        asked_subject: ask.csr.subject_der().to_vec(),
        sealed_key: subject.sealed_key,
        not_before,
        not_after,
        past_end: past_end(facts, now),
        origin_of_request: request.origin.clone(),
    })
}

/// Who signs for a product. Its authority may have gone with a restart.
pub(crate) fn issuer_of<'a>(
    authorities: &'a Authorities,
    product: &Product,
) -> Result<&'a Issuer, Refusal> {
    authorities.issuer_of(product).ok_or_else(|| {
        let ca = product.ca.as_deref().unwrap_or_default();
        Refusal::new(Code::SignerUnavailable).detail(format!(
            "product {} is signed for by {ca:?}, and no such authority is loaded",
            product.name
        ))
    })
}

/// The end of the token that was shown, where it begins to serve after that, by its product's grace.
fn past_end(facts: &Facts, now: UnixTime) -> Option<UnixTime> {
    let token = facts.token.as_ref()?;
    (token.state == TokenState::Minted && now > token.expires_at).then_some(token.expires_at)
}

/// What is written down for a request that waits for approval.
pub(crate) fn wait(
    enrollment: EnrollmentId,
    device: &DeviceId,
    appraised: &Appraised,
    facts: &Facts,
    ask: &Ask<'_>,
    request: &EnrollmentRequest,
    now: UnixTime,
) -> Wait {
    Wait {
        enrollment,
        device: device.clone(),
        hardware: appraised.hardware().clone(),
        strength: appraised.strength(),
        product: facts
            .product
            .as_ref()
            .map(|product| product.name.clone())
            .unwrap_or_default(),
        device_version: facts.device.as_ref().map(|known| known.version),
        key: ask.key.fingerprint(),
        token: facts.token.as_ref().map(|token| token.hash),
        claim: None,
        listed: facts.allowed,
        past_end: past_end(facts, now),
        origin_of_request: request.origin.clone(),
    }
}

/// notBefore lies in the past by the product's backdate; notAfter by its lifetime. Neither leaves
/// the issuer's own validity: a leaf never outlives its issuer.
pub(crate) fn validity(
    product: &Product,
    issuer: &Issuer,
    now: UnixTime,
) -> Result<(UnixTime, UnixTime), Refusal> {
    let (from, until) = (
        issuer.certificate.not_before(),
        issuer.certificate.not_after(),
    );
    if now < from || now >= until {
        return Err(Refusal::new(Code::IssuerEnding).detail(format!(
            "authority {:?} is valid from {from} to {until}, and it is {now}",
            issuer.name
        )));
    }
    let not_before = now
        .plus(-i64::from(product.certificate.backdate_seconds))
        .max(from);
    let not_after = match product.certificate.lifetime_days {
        0 => UnixTime::NO_EXPIRY,
        days => now.plus(i64::from(days) * 86_400),
    };
    Ok((not_before, not_after.min(until)))
}

fn to_be_signed(
    issuer: &Issuer,
    public_http: Option<&str>,
    product: &Product,
    device: &DeviceId,
    hardware: &HardwareId,
    public_key: &PublicKey,
    serial: Serial,
    not_before: UnixTime,
    not_after: UnixTime,
) -> Result<Vec<u8>, Refusal> {
    let named = |template: &str| {
        let filled = fill(template, device.as_str(), &product.name);
        if template.is_empty() {
            Vec::new()
        } else {
            vec![filled]
        }
    };
    let uris = named(&product.certificate.uri);
    let dns_names = named(&product.certificate.dns);
    let hw_type = hardware.source().hw_type_octets();
    leaf(
        issuer,
        public_http,
        device.as_str(),
        Some((&hw_type, hardware.raw())),
        &uris,
        &dns_names,
        public_key,
        serial,
        not_before,
        not_after,
    )
}

/// A certificate that names no hardware: a claim's, or one that waits for its device.
pub(crate) fn nameless(
    issuer: &Issuer,
    public_http: Option<&str>,
    common_name: &str,
    public_key: &PublicKey,
    serial: Serial,
    not_before: UnixTime,
    not_after: UnixTime,
) -> Result<Vec<u8>, Refusal> {
    leaf(
        issuer,
        public_http,
        common_name,
        None,
        &[],
        &[],
        public_key,
        serial,
        not_before,
        not_after,
    )
}

fn leaf(
    issuer: &Issuer,
    public_http: Option<&str>,
    common_name: &str,
    hardware: Option<(&[u8], &[u8])>,
    uris: &[String],
    dns_names: &[String],
    public_key: &PublicKey,
    serial: Serial,
    not_before: UnixTime,
    not_after: UnixTime,
) -> Result<Vec<u8>, Refusal> {
    let crl_url = public_http.map(|base| format!("{base}/crl/{}.crl", issuer.name));
    let issuer_url = public_http.map(|base| format!("{base}/ca/{}.crt", issuer.name));
    let leaf = Leaf {
        serial: serial.0,
        issuer_der: issuer.certificate.subject_der(),
        authority_key_id: issuer.key_id,
        subject_common_name: common_name,
        public_key,
        subject_key_id: subject_key_id(public_key),
        not_before,
        not_after,
        hardware,
        uris,
        dns_names,
        crl_url: crl_url.as_deref(),
        issuer_url: issuer_url.as_deref(),
        signature_algorithm: issuer.algorithm,
    };
    let unsound = |reason: String| {
        Refusal::new(Code::ProfileUnsound).detail(format!("{common_name}: {reason}"))
    };
    let to_be_signed = leaf.to_be_signed();
    // Read back by other code than that which wrote it, before anything is signed.
    lint(&to_be_signed).map_err(|error| unsound(error.to_string()))?;
    Ok(to_be_signed)
}
