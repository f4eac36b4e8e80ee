//! Certificate requests (PKCS#10, RFC 2986): reading what devices send, and building what ours do.
//!
//! Nothing in a request is ever copied into a certificate; what it asks for is only compared. So
//! reading is tolerant where measured clients are odd, and says so at each place:
//!
//! | oddity | seen with | here |
//! | --- | --- | --- |
//! | attributes left out instead of empty | old embedded encoders | accepted |
//! | attribute set not in DER order | strongSwan | accepted |
//! | unknown attributes with any value | libest | ignored |
//! | `extensionRequest` that holds a string | libest `-a` | as if absent |
//! | challenge as BMPString, T61String, ... | routers, JDK | decoded by its tag |
//! | empty subject | curl and openssl by hand | accepted |

mod attributes;
mod build;

use alloc::string::String;
use alloc::vec::Vec;

use crate::asn1::{Malformed, tag};
use crate::dn;
use crate::key::{KeyError, PublicKey};
use crate::names::NameSet;
use crate::signature_algorithm::SignatureAlgorithm;
use crate::signed::Signed;
use attributes::Attributes;

pub use build::{assemble, request_info_der};

/// The most octets that a request may have. An RSA-4096 request with a long SAN has under 3 KiB.
pub const CSR_MAX: usize = 16 * 1024;

/// A certificate request, read and not yet believed: its signature is for `attest` to check.
#[derive(Debug, Clone)]
pub struct Csr {
    der: Vec<u8>,
    to_be_signed: Vec<u8>,
    subject_der: Vec<u8>,
    public_key: PublicKey,
    attributes: Attributes,
    signature_algorithm: SignatureAlgorithm,
    signature: Vec<u8>,
}

impl Csr {
    /// Reads a `CertificationRequest` in DER, at most [`CSR_MAX`] octets, nothing behind it.
    pub fn parse(der: &[u8]) -> Result<Self, CsrError> {
        if der.len() > CSR_MAX {
            return Err(CsrError::TooLong { octets: der.len() });
        }
        let signed = Signed::read(der, "certificationRequest")?;
        let mut info = signed.to_be_signed.children("certificationRequestInfo")?;
        if info.expect(tag::INTEGER, "version")?.small("version")? != 0 {
            return Err(CsrError::Version);
        }
        let subject = info.expect(tag::SEQUENCE, "subject")?;
        dn::check(&subject, "subject")?;
        let spki = info.expect(tag::SEQUENCE, "subjectPublicKeyInfo")?;
        let attributes = info.optional(tag::constructed(0), "attributes")?;
        info.finish("certificationRequestInfo")?;
        Ok(Self {
            der: der.to_vec(),
            to_be_signed: signed.to_be_signed.der.to_vec(),
            subject_der: subject.der.to_vec(),
            public_key: PublicKey::parse(spki.der)?,
            attributes: attributes
                .as_ref()
                .map_or(Ok(Attributes::default()), Attributes::read)?,
            signature_algorithm: signed.algorithm.ok_or(CsrError::SignatureAlgorithm)?,
            signature: signed.signature.to_vec(),
        })
    }

    /// The whole request, as received.
    #[must_use]
    pub fn der(&self) -> &[u8] {
        &self.der
    }

    /// The CertificationRequestInfo as received, over which the signature was made.
    #[must_use]
    pub fn to_be_signed(&self) -> &[u8] {
        &self.to_be_signed
    }

    /// How the request says that it was signed.
    #[must_use]
    pub const fn signature_algorithm(&self) -> SignatureAlgorithm {
        self.signature_algorithm
    }

    /// The signature: DER of `r` and `s` for ECDSA, octets for the others.
    #[must_use]
    pub fn signature(&self) -> &[u8] {
        &self.signature
    }

    /// The key that a certificate is wanted for.
    #[must_use]
    pub const fn public_key(&self) -> &PublicKey {
        &self.public_key
    }

    /// The subject that was asked for, a Name in DER; possibly empty (`30 00`).
    #[must_use]
    pub fn subject_der(&self) -> &[u8] {
        &self.subject_der
    }

    /// The common name that was asked for.
    #[must_use]
    pub fn common_name(&self) -> Option<String> {
        dn::common_name(&self.subject_der)
    }

    /// The challengePassword, if there is one; possibly empty. In EST its presence means channel
    /// binding (RFC 7030 section 3.5).
    #[must_use]
    pub fn challenge_password(&self) -> Option<&str> {
        self.attributes.challenge_password.as_deref()
    }

    /// The subject alternative names in the `extensionRequest`, if it has that extension.
    #[must_use]
    pub const fn requested_names(&self) -> Option<&NameSet> {
        self.attributes.requested_names.as_ref()
    }
}

/// Why a request can't be used. The peer may be told the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CsrError {
    /// Longer than [`CSR_MAX`].
    #[error("the certificate request has {octets} octets, at most {CSR_MAX} are read")]
    TooLong {
        /// Its length.
        octets: usize,
    },
    /// Not DER, or not a request.
    #[error("the certificate request can't be read: {0}")]
    Malformed(#[from] Malformed),
    /// Not version 1 (which is written 0).
    #[error("the certificate request has an unknown version")]
    Version,
    /// The key is of no use.
    #[error("the certificate request's key is refused: {0}")]
    Key(#[from] KeyError),
    /// Signed with SHA-1, with RSA-PSS of unusual parameters, or by a stranger's method.
    #[error("the certificate request is signed by an algorithm that is not supported")]
    SignatureAlgorithm,
    /// The challengePassword has no single text of at most 255 characters. It can't be ignored: to
    /// do so would skip a channel binding that was asked for.
    #[error("the certificate request's challengePassword is not one readable text")]
    ChallengePassword,
    /// More than one `extensionRequest`, or more than one list of names in it: which one would
    /// count?
    #[error("the certificate request asks for extensions twice")]
    ExtensionRequestRepeated,
    /// The subject alternative names that were asked for are no list of names.
    #[error("the certificate request's alternative names can't be read")]
    RequestedNames,
}

#[cfg(test)]
mod tests;
