//! Making a request: the device's side.

use alloc::vec::Vec;

use crate::asn1::{integer, oid, primitive, sequence, set, tag};
use crate::signature_algorithm::SignatureAlgorithm;
use crate::{dn, oid as id, signed};

/// The CertificationRequestInfo that the device signs: a common name, its SubjectPublicKeyInfo in
/// DER, and a challengePassword if channel binding is wanted (RFC 7030 section 3.5).
///
/// No extensions are asked for: the registrar decides them all.
#[must_use]
pub fn request_info_der(
    common_name: &str,
    spki_der: &[u8],
    challenge_password: Option<&str>,
) -> Vec<u8> {
    let attributes = challenge_password.map_or_else(Vec::new, |text| {
        let value = primitive(tag::UTF8_STRING, text.as_bytes());
        sequence(&[&oid(id::CHALLENGE_PASSWORD), &set(&[&value])])
    });
    sequence(&[
        &integer(0),
        &dn::common_name_der(common_name, None),
        spki_der,
        &primitive(tag::constructed(0), &attributes),
    ])
}

/// Joins a [`request_info_der`] with its signature.
#[must_use]
pub fn assemble(info_der: &[u8], algorithm: SignatureAlgorithm, signature: &[u8]) -> Vec<u8> {
    signed::assemble(info_der, algorithm, signature)
}
