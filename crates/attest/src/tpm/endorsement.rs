//! The certificate of an endorsement key: who has made the TPM (TCG EK Credential Profile, section
//! 3).

use imprint_identity::UnixTime;
use imprint_pkix::certificate::Certificate;

use super::public::{EndorsementKey, TpmKind};
use crate::chain::{ChainDoubt, is_valid, may_certify, signs};

/// Proof that a TPM's maker has certified its endorsement key. Only [`prove_endorsement`] makes one.
#[derive(Debug, Clone)]
pub struct Endorsed {
    endorsement: EndorsementKey,
    certificate: Certificate,
}

impl Endorsed {
    /// The key.
    #[must_use]
    pub const fn endorsement(&self) -> &EndorsementKey {
        &self.endorsement
    }

    /// Its certificate.
    #[must_use]
    pub const fn certificate(&self) -> &Certificate {
        &self.certificate
    }
}

/// Follows an endorsement key's certificate to one of `anchors`, the makers that this fleet trusts.
///
/// `certificate` is as it was read from the TPM: zeros or ones that fill its place in NV are cut off.
/// `intermediates` are what the device sent and what comes with the anchors, because TPMs rarely have
/// them.
pub fn prove_endorsement(
    endorsement: &EndorsementKey,
    certificate: &[u8],
    intermediates: &[Certificate],
    anchors: &[Certificate],
    now: UnixTime,
) -> Result<Endorsed, EndorsementDoubt> {
    let leaf = Certificate::parse(unpadded(certificate)?);
    let leaf = leaf.map_err(|_| EndorsementDoubt::Unreadable)?;
    if leaf.spki_der() != endorsement.public().public_key().spki_der() {
        return Err(EndorsementDoubt::OtherKey);
    }
    let is_for_something_else = {
        let mut usages = leaf.extended_key_usages().peekable();
        usages.peek().is_some() && !usages.any(|usage| usage == EK_CERTIFICATE)
    };
    if leaf.is_ca() || is_for_something_else {
        return Err(EndorsementDoubt::NotEndorsement);
    }
    let wanted = match endorsement.public().kind() {
        TpmKind::Rsa { .. } => KEY_ENCIPHERMENT,
        TpmKind::Ecc { .. } => KEY_AGREEMENT,
    };
    if leaf.key_usage().is_some_and(|usage| usage & wanted == 0) {
        return Err(EndorsementDoubt::NotEndorsement);
    }
    if leaf.has_unknown_critical_extension() {
        return Err(ChainDoubt::UnknownCritical.into());
    }
    is_valid(&leaf, 0, now)?;
    lead(&leaf, intermediates, anchors, now)?;
    Ok(Endorsed {
        endorsement: endorsement.clone(),
        certificate: leaf,
    })
}

fn lead(
    leaf: &Certificate,
    intermediates: &[Certificate],
    anchors: &[Certificate],
    now: UnixTime,
) -> Result<(), ChainDoubt> {
    let mut last = leaf;
    // `below`: how many CAs stand between `last` and the leaf's issuer.
    for below in 0..LONGEST {
        if let Some(anchor) = anchors.iter().find(|anchor| signs(anchor, last)) {
            return may_certify(anchor, below);
        }
        let above = intermediates.iter().take(MOST_INTERMEDIATES);
        let above = above.into_iter().find(|one| signs(one, last));
        let above = above.ok_or(ChainDoubt::Broken)?;
        may_certify(above, below)?;
        is_valid(above, 0, now)?;
        last = above;
    }
    Err(ChainDoubt::Long)
}

/// One DER SEQUENCE, without what fills the rest of its place in NV.
fn unpadded(bytes: &[u8]) -> Result<&[u8], EndorsementDoubt> {
    let unreadable = EndorsementDoubt::Unreadable;
    let length = match *bytes {
        [0x30, 0x82, high, low, ..] => usize::from(u16::from_be_bytes([high, low])) + 4,
        [0x30, 0x81, length, ..] => usize::from(length) + 3,
        _ => return Err(unreadable),
    };
    let (certificate, rest) = bytes.split_at_checked(length).ok_or(unreadable)?;
    let is_filling = |filler: u8| rest.iter().all(|byte| *byte == filler);
    if length > MAX_CERTIFICATE || !(is_filling(0x00) || is_filling(0xff)) {
        return Err(unreadable);
    }
    Ok(certificate)
}

/// What is doubtful about an endorsement key's certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EndorsementDoubt {
    /// It can't be read.
    #[error("the endorsement key's certificate can't be read")]
    Unreadable,
    /// It is for another key.
    #[error("the certificate is for another endorsement key")]
    OtherKey,
    /// It is no endorsement key's certificate.
    #[error("the certificate is not an endorsement key's")]
    NotEndorsement,
    /// It leads to no maker that is trusted here, or not now.
    #[error("the endorsement key's certificate leads to no maker that is trusted: {0}")]
    Chain(#[from] ChainDoubt),
}

/// Certificates from the TPM's to the one that an anchor has signed.
const LONGEST: u8 = 4;
/// What is looked at of intermediates: the TPM's own, and a bundle of makers'.
const MOST_INTERMEDIATES: usize = 256;
/// NV holds less.
const MAX_CERTIFICATE: usize = 4_096;
/// Bits of keyUsage (RFC 5280 section 4.2.1.3), bit 0 being 0x8000.
const KEY_ENCIPHERMENT: u16 = 0x2000;
const KEY_AGREEMENT: u16 = 0x0800;
/// 2.23.133.8.1, `tcg-kp-EKCertificate`, as content octets.
const EK_CERTIFICATE: &[u8] = &[0x67, 0x81, 0x05, 0x08, 0x01];
