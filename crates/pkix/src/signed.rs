//! The envelope that requests, certificates and CRLs share: what was signed, how, and the
//! signature (RFC 5280 section 4.1, RFC 2986 section 4.2).

use alloc::vec::Vec;

use crate::asn1::{Element, Malformed, sequence, tag, whole_bits};
use crate::signature_algorithm::SignatureAlgorithm;

/// `SEQUENCE { toBeSigned, signatureAlgorithm, signature BIT STRING }`, as received.
pub(crate) struct Signed<'a> {
    pub(crate) to_be_signed: Element<'a>,
    /// The whole AlgorithmIdentifier.
    pub(crate) algorithm_der: &'a [u8],
    /// `None`: well formed, and not an algorithm of ours.
    pub(crate) algorithm: Option<SignatureAlgorithm>,
    pub(crate) signature: &'a [u8],
}

impl<'a> Signed<'a> {
    pub(crate) fn read(der: &'a [u8], what: &'static str) -> Result<Self, Malformed> {
        let mut fields = Element::only(der, tag::SEQUENCE, what)?.children(what)?;
        let to_be_signed = fields.expect(tag::SEQUENCE, what)?;
        let algorithm = fields.expect(tag::SEQUENCE, "signatureAlgorithm")?;
        let signature = fields
            .expect(tag::BIT_STRING, "signature")?
            .whole_bits("signature")?;
        fields.finish(what)?;
        Ok(Self {
            to_be_signed,
            algorithm_der: algorithm.der,
            algorithm: SignatureAlgorithm::read(&algorithm)?,
            signature,
        })
    }
}

/// Joins what was signed with its signature.
pub(crate) fn assemble(
    to_be_signed: &[u8],
    algorithm: SignatureAlgorithm,
    signature: &[u8],
) -> Vec<u8> {
    sequence(&[to_be_signed, &algorithm.to_der(), &whole_bits(signature)])
}
