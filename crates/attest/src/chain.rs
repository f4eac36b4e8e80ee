//! A certificate from somebody else's CA: does it lead to one that is registered here?

use imprint_identity::UnixTime;
use imprint_pkix::certificate::Certificate;
use imprint_pkix::key::PublicKey;

use crate::appraise::PeerCertificate;
use crate::key::KeyFingerprint;
use crate::signature::verify_signature;
use crate::weak::check_key;

/// Proof that a certificate leads to a CA, and that TLS has seen its key at work. Only
/// [`prove_chain`] makes one.
#[derive(Debug, Clone)]
pub struct Chained {
    certificate: Certificate,
    key: KeyFingerprint,
    depth: u8,
}

impl Chained {
    /// The device's certificate.
    #[must_use]
    pub const fn certificate(&self) -> &Certificate {
        &self.certificate
    }

    /// Its key.
    #[must_use]
    pub const fn key(&self) -> KeyFingerprint {
        self.key
    }

    /// How many CAs stand between the device and this one on the shortest way that was proven; 0 where it
    /// has signed the device's certificate itself.
    #[must_use]
    pub const fn depth(&self) -> u8 {
        self.depth
    }
}

/// Follows a device's certificate to `anchor`, a CA that an operator has registered.
///
/// `sent` is what the device sent behind its certificate, in any order and with anything else in it
/// (RFC 8446 section 4.4.2). Every signature on the way is checked over the bytes as received. The
/// anchor's own validity is the operator's business, as a trust anchor's is (RFC 5280 section 6.1);
/// that of everything below it is checked. `grace_days`: so long after its end each of them is still
/// good, for devices that have lain on a shelf.
pub fn prove_chain(
    peer: &PeerCertificate,
    sent: &[Certificate],
    anchor: &Certificate,
    grace_days: u32,
    now: UnixTime,
) -> Result<Chained, ChainDoubt> {
    let leaf = peer.parsed.as_ref().ok_or(ChainDoubt::Unreadable)?;
    if leaf.is_ca() {
        return Err(ChainDoubt::Authority);
    }
    is_valid(leaf, grace_days, now)?;
    if leaf.has_unknown_critical_extension() {
        return Err(ChainDoubt::UnknownCritical);
    }
    may_authenticate(leaf)?;
    let sent: Vec<_> = sent.iter().take(MOST_SENT).collect();
    let depth = leads_to(anchor, leaf, 0, &sent, grace_days, now)?;
    let key = leaf.public_key().map_err(|_| ChainDoubt::Key)?;
    check_key(key).map_err(|_| ChainDoubt::Key)?;
    Ok(Chained {
        key: KeyFingerprint::of(key.spki_der()),
        certificate: leaf.clone(),
        depth,
    })
}

/// Whether `last` leads to the anchor over some of what was sent. Several may have issued it: a CA that
/// was renewed, or that others vouch for as well, has several certificates of one name and key. All
/// are tried, each once on a way, so that a handshake costs at most some sixty signatures.
///
/// `below`: how many CAs stand between `last` and the device. Answers how many stand below the anchor on the
/// shortest way: what a device sends must not make an authority look farther away than it is.
fn leads_to(
    anchor: &Certificate,
    last: &Certificate,
    below: u8,
    sent: &[&Certificate],
    grace_days: u32,
    now: UnixTime,
) -> Result<u8, ChainDoubt> {
    if below >= LONGEST {
        return Err(ChainDoubt::Long);
    }
    let mut doubt = ChainDoubt::Broken;
    let mut shortest = None;
    if signs(anchor, last) {
        match may_certify(anchor, below) {
            Ok(()) => return Ok(below),
            Err(no) => doubt = no,
        }
    }
    for (at, above) in sent.iter().enumerate() {
        if !signs(above, last) {
            continue;
        }
        let mut rest = sent.to_vec();
        rest.swap_remove(at);
        let way = may_certify(above, below)
            .and_then(|()| is_valid(above, grace_days, now))
            .and_then(|()| leads_to(anchor, above, below + 1, &rest, grace_days, now));
        match way {
            Ok(depth) => shortest = Some(shortest.map_or(depth, |known: u8| known.min(depth))),
            // That a way ends nowhere is the least that can be said of it.
            Err(no) if doubt == ChainDoubt::Broken => doubt = no,
            Err(_) => {}
        }
    }
    shortest.ok_or(doubt)
}

/// The names that a chain's certificates give as their issuers, at most 5: under these its anchor is
/// found.
#[must_use]
pub fn issuers_of(peer: &PeerCertificate, sent: &[Certificate]) -> Vec<Vec<u8>> {
    let mut names: Vec<Vec<u8>> = Vec::new();
    let all = peer.parsed.iter().chain(sent.iter().take(MOST_SENT));
    for certificate in all {
        let name = certificate.issuer_der();
        if !names.iter().any(|known| known == name) {
            names.push(name.to_vec());
        }
    }
    names
}

/// Whether `above` has issued `below`, by name and by signature.
pub(crate) fn signs(above: &Certificate, below: &Certificate) -> bool {
    above.subject_der() == below.issuer_der()
        && above.public_key().is_ok_and(|key| verifies(key, below))
}

fn verifies(key: &PublicKey, certificate: &Certificate) -> bool {
    verify_signature(
        key,
        &certificate.signature_algorithm(),
        certificate.to_be_signed(),
        certificate.signature(),
    )
    .is_ok()
}

/// Whether a certificate's holder may issue, with `below` CAs between it and the device.
pub(crate) fn may_certify(authority: &Certificate, below: u8) -> Result<(), ChainDoubt> {
    let may = authority.is_ca()
        && authority.path_len().is_none_or(|longest| below <= longest)
        && authority
            .key_usage()
            .is_none_or(|usage| usage & KEY_CERT_SIGN != 0)
        && !authority.has_unknown_critical_extension();
    if may {
        Ok(())
    } else {
        Err(ChainDoubt::MayNotCertify)
    }
}

/// A key that may only encipher, or a certificate that is for servers alone, makes no client.
fn may_authenticate(leaf: &Certificate) -> Result<(), ChainDoubt> {
    let signs = leaf
        .key_usage()
        .is_none_or(|usage| usage & DIGITAL_SIGNATURE != 0);
    let mut usages = leaf.extended_key_usages().peekable();
    let client = usages.peek().is_none()
        || usages.any(|usage| usage == CLIENT_AUTH || usage == ANY_EXTENDED_KEY_USAGE);
    if signs && client {
        Ok(())
    } else {
        Err(ChainDoubt::NotForClients)
    }
}

pub(crate) fn is_valid(
    certificate: &Certificate,
    grace_days: u32,
    now: UnixTime,
) -> Result<(), ChainDoubt> {
    if now > certificate.not_after().plus(i64::from(grace_days) * 86_400) {
        return Err(ChainDoubt::Expired {
            at: certificate.not_after(),
        });
    }
    if now < certificate.not_before() {
        return Err(ChainDoubt::NotYetValid {
            from: certificate.not_before(),
        });
    }
    Ok(())
}

/// What is doubtful about a chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ChainDoubt {
    /// The client certificate can't be read.
    #[error("the client certificate can't be read")]
    Unreadable,
    /// A CA's certificate is no device's.
    #[error("the client certificate is a CA's")]
    Authority,
    /// Nothing that was sent leads to the CA by a signature that verifies.
    #[error("the client certificate does not lead to the CA")]
    Broken,
    /// It leads there over too many.
    #[error("more than {LONGEST} certificates lead to the CA")]
    Long,
    /// One on the way is not a CA's, or may not have others below it.
    #[error("a certificate on the way to the CA may not certify")]
    MayNotCertify,
    /// A critical extension that we don't know (RFC 5280 section 4.2).
    #[error("the client certificate has a critical extension that is not known here")]
    UnknownCritical,
    /// Its key usages are for something else.
    #[error("the client certificate is not for client authentication")]
    NotForClients,
    /// A key that we would refuse in a request.
    #[error("the client certificate's key is weak or of a type that can't be used")]
    Key,
    /// Past its end, and past its grace.
    #[error("a certificate expired at {at}")]
    Expired {
        /// Its notAfter.
        at: UnixTime,
    },
    /// Not yet valid: one of the clocks is wrong.
    #[error("a certificate is not valid before {from}")]
    NotYetValid {
        /// Its notBefore.
        from: UnixTime,
    },
}

/// Certificates from the device's to the one that the CA has signed.
const LONGEST: u8 = 3;
/// What is looked at of what was sent.
const MOST_SENT: usize = 4;
/// Bits of keyUsage (RFC 5280 section 4.2.1.3), bit 0 being 0x8000.
const DIGITAL_SIGNATURE: u16 = 0x8000;
const KEY_CERT_SIGN: u16 = 0x0400;
/// Content octets of the OBJECT IDENTIFIERs (RFC 5280 section 4.2.1.12).
const CLIENT_AUTH: &[u8] = &[0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x03, 0x02];
const ANY_EXTENDED_KEY_USAGE: &[u8] = &[0x55, 0x1d, 0x25, 0x00];
