//! Certificate revocation lists (RFC 5280 section 5): full ones, one per issuing authority.

use alloc::vec::Vec;

use imprint_identity::UnixTime;

use crate::asn1::{
    Element, Malformed, explicit, integer, positive_integer, primitive, sequence, sequence_of, tag,
};
use crate::certificate::{authority_key_id, authority_key_id_der, extension_der, read_extensions};
use crate::signature_algorithm::SignatureAlgorithm;
use crate::signed::{self, Signed};
use crate::{oid as id, time};

/// A CRL before it is signed.
///
/// The authority key identifier is the *issuer's own* subject key identifier. (A well-known builder
/// copies the identifier of the issuer's parent, and OpenSSL then can't find the CRL.)
#[derive(Debug, Clone)]
pub struct TbsCrl<'a> {
    /// The issuing authority's subject, byte for byte.
    pub issuer_der: &'a [u8],
    /// The issuing authority's subjectKeyIdentifier.
    pub authority_key_id: [u8; 20],
    /// Strictly greater than that of any earlier CRL, restores included.
    pub number: u64,
    /// When it was made.
    pub this_update: UnixTime,
    /// When the next one will be there at the latest.
    pub next_update: UnixTime,
    /// What is revoked, in any order.
    pub revoked: &'a [Revoked],
    /// How it will be signed.
    pub signature_algorithm: SignatureAlgorithm,
}

impl TbsCrl<'_> {
    /// The TBSCertList in DER.
    #[must_use]
    pub fn to_be_signed(&self) -> Vec<u8> {
        let entries: Vec<_> = self.revoked.iter().map(Revoked::to_der).collect();
        // The list is OPTIONAL and must not be there when empty (RFC 5280 section 5.1.2.6).
        let entries = if entries.is_empty() {
            Vec::new()
        } else {
            sequence_of(&entries)
        };
        let extensions = sequence(&[
            &authority_key_id_der(&self.authority_key_id),
            &extension_der(id::CRL_NUMBER, false, &integer(self.number)),
        ]);
        sequence(&[
            &integer(1),
            &self.signature_algorithm.to_der(),
            self.issuer_der,
            &time::write(self.this_update),
            &time::write(self.next_update),
            &entries,
            &explicit(0, &extensions),
        ])
    }
}

/// Joins a TBSCertList with its signature.
#[must_use]
pub fn assemble(tbs_der: &[u8], algorithm: SignatureAlgorithm, signature: &[u8]) -> Vec<u8> {
    signed::assemble(tbs_der, algorithm, signature)
}

/// One revoked certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Revoked {
    /// The serial number's content octets, as [`Certificate::serial`] gives them.
    ///
    /// [`Certificate::serial`]: crate::certificate::Certificate::serial
    pub serial: Vec<u8>,
    /// When it was revoked.
    pub revoked_at: UnixTime,
    /// Why; `None` writes no reason, which is how "unspecified" is said (RFC 5280 section 5.3.1).
    pub reason: Option<Reason>,
}

impl Revoked {
    fn to_der(&self) -> Vec<u8> {
        let extensions = self.reason.map_or_else(Vec::new, |reason| {
            let code = primitive(tag::ENUMERATED, &[reason.code()]);
            sequence(&[&extension_der(id::CRL_REASON, false, &code)])
        });
        sequence(&[
            &positive_integer(&self.serial),
            &time::write(self.revoked_at),
            &extensions,
        ])
    }

    fn read(entry: &Element<'_>) -> Result<Self, Malformed> {
        let mut fields = entry.children(ENTRY)?;
        let serial = fields.expect(tag::INTEGER, ENTRY)?.integer(ENTRY)?.to_vec();
        let revoked_at = time::read(&fields.next(ENTRY)?.ok_or(Malformed(ENTRY))?, ENTRY)?;
        let extensions = fields.optional(tag::SEQUENCE, ENTRY)?;
        fields.finish(ENTRY)?;
        let mut reason = None;
        for extension in extensions.map_or(Ok(Vec::new()), |list| read_extensions(list.der))? {
            if extension.kind == id::CRL_REASON.as_bytes() {
                let code = Element::only(extension.value, tag::ENUMERATED, ENTRY)?;
                let &[code] = code.content else {
                    return Err(Malformed(ENTRY));
                };
                reason = Reason::from_code(code);
            }
        }
        Ok(Self {
            serial,
            revoked_at,
            reason,
        })
    }
}

/// Why a certificate was revoked (RFC 5280 section 5.3.1), as far as a full CRL can say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Reason {
    /// The private key is in other hands.
    KeyCompromise,
    /// The authority's key is.
    CaCompromise,
    /// The subject has moved on.
    AffiliationChanged,
    /// A newer certificate took its place.
    Superseded,
    /// The device is out of service.
    CessationOfOperation,
    /// Suspended. Imprint never writes this: revocation doesn't reverse.
    CertificateHold,
    /// A privilege was withdrawn.
    PrivilegeWithdrawn,
    /// The attribute authority's key is in other hands.
    AaCompromise,
}

impl Reason {
    /// Every reason.
    pub const ALL: [Self; 8] = [
        Self::KeyCompromise,
        Self::CaCompromise,
        Self::AffiliationChanged,
        Self::Superseded,
        Self::CessationOfOperation,
        Self::CertificateHold,
        Self::PrivilegeWithdrawn,
        Self::AaCompromise,
    ];

    /// The code of CRLReason.
    #[must_use]
    pub const fn code(self) -> u8 {
        match self {
            Self::KeyCompromise => 1,
            Self::CaCompromise => 2,
            Self::AffiliationChanged => 3,
            Self::Superseded => 4,
            Self::CessationOfOperation => 5,
            Self::CertificateHold => 6,
            Self::PrivilegeWithdrawn => 9,
            Self::AaCompromise => 10,
        }
    }

    /// The name in CRLReason.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::KeyCompromise => "keyCompromise",
            Self::CaCompromise => "cACompromise",
            Self::AffiliationChanged => "affiliationChanged",
            Self::Superseded => "superseded",
            Self::CessationOfOperation => "cessationOfOperation",
            Self::CertificateHold => "certificateHold",
            Self::PrivilegeWithdrawn => "privilegeWithdrawn",
            Self::AaCompromise => "aACompromise",
        }
    }

    /// The reason with this code; `None` for `unspecified`, `removeFromCRL` and unknown ones.
    #[must_use]
    pub fn from_code(code: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|reason| reason.code() == code)
    }
}

/// A CRL, read and not yet believed.
#[derive(Debug, Clone)]
pub struct Crl {
    to_be_signed: Vec<u8>,
    issuer_der: Vec<u8>,
    this_update: UnixTime,
    next_update: Option<UnixTime>,
    revoked: Vec<Revoked>,
    number: Option<u64>,
    authority_key_id: Option<Vec<u8>>,
    signature_algorithm: SignatureAlgorithm,
    signature: Vec<u8>,
}

impl Crl {
    /// Reads a version 2 `CertificateList` in DER, nothing behind it. Its length is for the caller to
    /// bound: a CRL with a million entries has 40 MB.
    pub fn parse(der: &[u8]) -> Result<Self, CrlError> {
        let signed = Signed::read(der, "certificateList")?;
        let mut fields = signed.to_be_signed.children("tbsCertList")?;
        if fields.expect(tag::INTEGER, "version")?.small("version")? != 1 {
            return Err(Malformed("version").into());
        }
        if fields.expect(tag::SEQUENCE, "signature")?.der != signed.algorithm_der {
            return Err(CrlError::AlgorithmsDiffer);
        }
        let issuer = fields.expect(tag::SEQUENCE, "issuer")?;
        let this_update = fields.next("thisUpdate")?.ok_or(Malformed("thisUpdate"))?;
        let mut next_update = fields.optional(tag::UTC_TIME, "nextUpdate")?;
        if next_update.is_none() {
            next_update = fields.optional(tag::GENERALIZED_TIME, "nextUpdate")?;
        }
        let entries = fields.optional(tag::SEQUENCE, ENTRY)?;
        let extensions = fields.optional(tag::constructed(0), "crlExtensions")?;
        fields.finish("tbsCertList")?;
        let mut crl = Self {
            to_be_signed: signed.to_be_signed.der.to_vec(),
            issuer_der: issuer.der.to_vec(),
            this_update: time::read(&this_update, "thisUpdate")?,
            next_update: next_update
                .map(|next| time::read(&next, "nextUpdate"))
                .transpose()?,
            revoked: entries.map_or(Ok(Vec::new()), |entries| read_entries(&entries))?,
            number: None,
            authority_key_id: None,
            signature_algorithm: signed.algorithm.ok_or(CrlError::SignatureAlgorithm)?,
            signature: signed.signature.to_vec(),
        };
        for extension in extensions.map_or(Ok(Vec::new()), |list| read_extensions(list.content))? {
            if extension.kind == id::CRL_NUMBER.as_bytes() {
                let number = Element::only(extension.value, tag::INTEGER, "cRLNumber")?;
                crl.number = Some(number.small("cRLNumber")?);
            } else if extension.kind == id::AUTHORITY_KEY_IDENTIFIER.as_bytes() {
                crl.authority_key_id = authority_key_id(extension.value)?.map(<[u8]>::to_vec);
            } else if extension.critical {
                // Most likely an issuingDistributionPoint: then this is not the whole list.
                return Err(CrlError::UnknownCriticalExtension);
            }
        }
        Ok(crl)
    }

    /// The TBSCertList as received, over which the signature was made.
    #[must_use]
    pub fn to_be_signed(&self) -> &[u8] {
        &self.to_be_signed
    }

    /// How the CRL says that it was signed.
    #[must_use]
    pub const fn signature_algorithm(&self) -> SignatureAlgorithm {
        self.signature_algorithm
    }

    /// The signature.
    #[must_use]
    pub fn signature(&self) -> &[u8] {
        &self.signature
    }

    /// The issuer, a Name in DER.
    #[must_use]
    pub fn issuer_der(&self) -> &[u8] {
        &self.issuer_der
    }

    /// The keyIdentifier of authorityKeyIdentifier.
    #[must_use]
    pub fn authority_key_id(&self) -> Option<&[u8]> {
        self.authority_key_id.as_deref()
    }

    /// cRLNumber.
    #[must_use]
    pub const fn number(&self) -> Option<u64> {
        self.number
    }

    /// When it was made.
    #[must_use]
    pub const fn this_update(&self) -> UnixTime {
        self.this_update
    }

    /// When the next one will be there at the latest.
    #[must_use]
    pub const fn next_update(&self) -> Option<UnixTime> {
        self.next_update
    }

    /// What is revoked, in the order of the list.
    #[must_use]
    pub fn revoked(&self) -> &[Revoked] {
        &self.revoked
    }
}

fn read_entries(list: &Element<'_>) -> Result<Vec<Revoked>, Malformed> {
    let mut entries = list.children(ENTRY)?;
    let mut revoked = Vec::new();
    while let Some(entry) = entries.next(ENTRY)? {
        revoked.push(Revoked::read(&entry)?);
    }
    Ok(revoked)
}

/// Why a CRL can't be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CrlError {
    /// Not DER, or not a version 2 CRL.
    #[error("the CRL can't be read: {0}")]
    Malformed(#[from] Malformed),
    /// The signature algorithm inside and the one outside differ.
    #[error("the CRL names two different signature algorithms")]
    AlgorithmsDiffer,
    /// Signed by an algorithm that is not supported.
    #[error("the CRL is signed by an algorithm that is not supported")]
    SignatureAlgorithm,
    /// It has a critical extension that we don't know, so it may be only a part of the list.
    #[error("the CRL has a critical extension that is not supported")]
    UnknownCriticalExtension,
}

const ENTRY: &str = "revokedCertificates";

#[cfg(test)]
mod tests;
