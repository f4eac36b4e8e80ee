//! Certificates (X.509, RFC 5280): reading any, and the profiles of the ones that Imprint issues.

mod extension;
mod lint;
mod profile;

use alloc::string::String;
use alloc::vec::Vec;

use const_oid::ObjectIdentifier;
use imprint_identity::UnixTime;

use crate::asn1::{Element, Malformed, tag};
use crate::key::{KeyError, PublicKey};
use crate::names::NameSet;
use crate::signature_algorithm::SignatureAlgorithm;
use crate::signed::{self, Signed};
use crate::{dn, time};

pub(crate) use extension::Extension;
use extension::Extensions;
pub(crate) use extension::{
    authority_key_id, authority_key_id_der, extension_der, read_all as read_extensions,
};
pub use lint::{LintError, announced_algorithm, is_dns_name, is_http_url, is_url, lint};
pub use profile::{Authority, Leaf, Server};

/// The most octets that a certificate may have to be read.
pub const CERTIFICATE_MAX: usize = 16 * 1024;

/// A certificate, read and not yet believed.
#[derive(Debug, Clone)]
pub struct Certificate {
    der: Vec<u8>,
    to_be_signed: Vec<u8>,
    serial: Vec<u8>,
    issuer_der: Vec<u8>,
    subject_der: Vec<u8>,
    not_before: UnixTime,
    not_after: UnixTime,
    spki_der: Vec<u8>,
    public_key: Result<PublicKey, KeyError>,
    extensions: Extensions,
    signature_algorithm: SignatureAlgorithm,
    signature: Vec<u8>,
}

impl Certificate {
    /// Reads a version 3 Certificate in DER, at most [`CERTIFICATE_MAX`] octets, nothing behind it.
    pub fn parse(der: &[u8]) -> Result<Self, CertificateError> {
        Self::read(der, false)
    }

    /// The same for a certificate of any version. Only for one that proves a key and is never trusted
    /// for anything else: `openssl x509 -req`, as a vendor tells people to use it, makes version 1.
    pub fn parse_any_version(der: &[u8]) -> Result<Self, CertificateError> {
        Self::read(der, true)
    }

    fn read(der: &[u8], any_version: bool) -> Result<Self, CertificateError> {
        if der.len() > CERTIFICATE_MAX {
            return Err(CertificateError::TooLong { octets: der.len() });
        }
        let signed = Signed::read(der, "certificate")?;
        let mut fields = signed.to_be_signed.children("tbsCertificate")?;
        let version = fields.optional(tag::constructed(0), "version")?;
        let version = version
            .map(|version| Element::only(version.content, tag::INTEGER, "version"))
            .transpose()?;
        let version = version
            .map(|version| version.small("version"))
            .transpose()?;
        if version != Some(2) && !any_version {
            return Err(CertificateError::Version);
        }
        let serial = fields
            .expect(tag::INTEGER, "serialNumber")?
            .integer("serialNumber")?;
        if fields.expect(tag::SEQUENCE, "signature")?.der != signed.algorithm_der {
            return Err(CertificateError::AlgorithmsDiffer);
        }
        let issuer = fields.expect(tag::SEQUENCE, "issuer")?;
        let mut validity = fields
            .expect(tag::SEQUENCE, "validity")?
            .children("validity")?;
        let mut moment = || {
            time::read(
                &validity.next("validity")?.ok_or(Malformed("validity"))?,
                "validity",
            )
        };
        let (not_before, not_after) = (moment()?, moment()?);
        validity.finish("validity")?;
        let subject = fields.expect(tag::SEQUENCE, "subject")?;
        let spki = fields.expect(tag::SEQUENCE, "subjectPublicKeyInfo")?;
        fields.optional(tag::implicit(1), "issuerUniqueID")?;
        fields.optional(tag::implicit(2), "subjectUniqueID")?;
        let extensions = fields.optional(tag::constructed(3), "extensions")?;
        fields.finish("tbsCertificate")?;
        Ok(Self {
            der: der.to_vec(),
            to_be_signed: signed.to_be_signed.der.to_vec(),
            serial: serial.to_vec(),
            issuer_der: issuer.der.to_vec(),
            subject_der: subject.der.to_vec(),
            not_before,
            not_after,
            spki_der: spki.der.to_vec(),
            public_key: PublicKey::parse(spki.der),
            extensions: extensions
                .as_ref()
                .map_or(Ok(Extensions::default()), Extensions::read)?,
            signature_algorithm: signed
                .algorithm
                .ok_or(CertificateError::SignatureAlgorithm)?,
            signature: signed.signature.to_vec(),
        })
    }

    /// The whole certificate, as received.
    #[must_use]
    pub fn der(&self) -> &[u8] {
        &self.der
    }

    /// The TBSCertificate as received, over which the signature was made.
    #[must_use]
    pub fn to_be_signed(&self) -> &[u8] {
        &self.to_be_signed
    }

    /// How the certificate says that it was signed; inside and outside agree.
    #[must_use]
    pub const fn signature_algorithm(&self) -> SignatureAlgorithm {
        self.signature_algorithm
    }

    /// The signature: DER of `r` and `s` for ECDSA, octets for the others.
    #[must_use]
    pub fn signature(&self) -> &[u8] {
        &self.signature
    }

    /// The serial number's content octets as they are encoded: big-endian two's complement, so a
    /// foreign one may begin with 00. Ours have 20 octets and never do.
    #[must_use]
    pub fn serial(&self) -> &[u8] {
        &self.serial
    }

    /// The issuer, a Name in DER.
    #[must_use]
    pub fn issuer_der(&self) -> &[u8] {
        &self.issuer_der
    }

    /// The subject, a Name in DER.
    #[must_use]
    pub fn subject_der(&self) -> &[u8] {
        &self.subject_der
    }

    /// The subject's common name.
    #[must_use]
    pub fn common_name(&self) -> Option<String> {
        dn::common_name(&self.subject_der)
    }

    /// The first second at which it is valid.
    #[must_use]
    pub const fn not_before(&self) -> UnixTime {
        self.not_before
    }

    /// The last second at which it is valid; [`UnixTime::NO_EXPIRY`] for no well-defined end.
    #[must_use]
    pub const fn not_after(&self) -> UnixTime {
        self.not_after
    }

    /// The subject's key, or why it is not one of ours; the certificate reads on without it.
    pub fn public_key(&self) -> Result<&PublicKey, KeyError> {
        self.public_key.as_ref().map_err(|error| *error)
    }

    /// The SubjectPublicKeyInfo as received, whatever kind of key it holds.
    #[must_use]
    pub fn spki_der(&self) -> &[u8] {
        &self.spki_der
    }

    /// subjectKeyIdentifier.
    #[must_use]
    pub fn subject_key_id(&self) -> Option<&[u8]> {
        self.extensions.subject_key_id.as_deref()
    }

    /// The keyIdentifier of authorityKeyIdentifier.
    #[must_use]
    pub fn authority_key_id(&self) -> Option<&[u8]> {
        self.extensions.authority_key_id.as_deref()
    }

    /// May it sign certificates, by its basicConstraints?
    #[must_use]
    pub const fn is_ca(&self) -> bool {
        self.extensions.is_ca
    }

    /// How many CA certificates may follow below it, if that is limited.
    #[must_use]
    pub const fn path_len(&self) -> Option<u8> {
        self.extensions.path_len
    }

    /// The subject alternative names; empty when it has none.
    #[must_use]
    pub const fn names(&self) -> &NameSet {
        &self.extensions.names
    }

    /// The hardwareModuleName among its names (RFC 4108 section 5): `hwType` as OBJECT IDENTIFIER
    /// content octets, and `hwSerialNum`.
    #[must_use]
    pub fn hardware_module(&self) -> Option<(&[u8], &[u8])> {
        self.extensions.names.hardware_module()
    }

    /// The extended key usages as OBJECT IDENTIFIER content octets; none means any use.
    pub fn extended_key_usages(&self) -> impl Iterator<Item = &[u8]> {
        self.extensions
            .extended_key_usages
            .iter()
            .map(Vec::as_slice)
    }

    /// Does it list this extended key usage by name?
    #[must_use]
    pub fn has_extended_key_usage(&self, usage: ObjectIdentifier) -> bool {
        self.extended_key_usages()
            .any(|listed| listed == usage.as_bytes())
    }

    /// The key usage bits, `digitalSignature` being the highest (RFC 5280 section 4.2.1.3: bit 0 is
    /// 0x8000).
    #[must_use]
    pub const fn key_usage(&self) -> Option<u16> {
        self.extensions.key_usage
    }

    /// The first URI in the first cRLDistributionPoint.
    #[must_use]
    pub fn crl_url(&self) -> Option<&str> {
        self.extensions.crl_url.as_deref()
    }

    /// Where its issuer's certificate can be fetched (caIssuers).
    #[must_use]
    pub fn issuer_url(&self) -> Option<&str> {
        self.extensions.issuer_url.as_deref()
    }

    /// Does it carry a critical extension that this crate doesn't know? Then RFC 5280 section 4.2
    /// says to reject it where it would have to be trusted.
    #[must_use]
    pub const fn has_unknown_critical_extension(&self) -> bool {
        self.extensions.unknown_critical
    }
}

/// Joins a TBSCertificate with its signature.
#[must_use]
pub fn assemble(tbs_der: &[u8], algorithm: SignatureAlgorithm, signature: &[u8]) -> Vec<u8> {
    signed::assemble(tbs_der, algorithm, signature)
}

/// Why a certificate can't be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CertificateError {
    /// Longer than [`CERTIFICATE_MAX`].
    #[error("the certificate has {octets} octets, at most {CERTIFICATE_MAX} are read")]
    TooLong {
        /// Its length.
        octets: usize,
    },
    /// Not DER, or not a certificate.
    #[error("the certificate can't be read: {0}")]
    Malformed(#[from] Malformed),
    /// Not version 3.
    #[error("the certificate is not of version 3")]
    Version,
    /// The signature algorithm inside and the one outside differ (RFC 5280 section 4.1.1.2).
    #[error("the certificate names two different signature algorithms")]
    AlgorithmsDiffer,
    /// Signed with SHA-1 or by another algorithm that is not supported.
    #[error("the certificate is signed by an algorithm that is not supported")]
    SignatureAlgorithm,
    /// The same extension twice (RFC 5280 section 4.2).
    #[error("the certificate has an extension twice")]
    ExtensionRepeated,
}

#[cfg(test)]
mod tests;
