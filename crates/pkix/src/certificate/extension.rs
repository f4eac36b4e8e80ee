//! Certificate extensions (RFC 5280 section 4.2).

use alloc::string::{String, ToString};
use alloc::vec::Vec;

use const_oid::ObjectIdentifier;

use super::CertificateError;
use crate::asn1::{Element, Malformed, boolean, octet_string, oid, primitive, sequence, tag};
use crate::names::NameSet;
use crate::oid as id;

/// One extension: its OBJECT IDENTIFIER content octets, and the DER inside the OCTET STRING.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Extension<'a> {
    pub(crate) kind: &'a [u8],
    pub(crate) critical: bool,
    pub(crate) value: &'a [u8],
}

impl<'a> Extension<'a> {
    pub(crate) fn read(element: &Element<'a>) -> Result<Self, Malformed> {
        const WHAT: &str = "extension";
        if element.tag != tag::SEQUENCE {
            return Err(Malformed(WHAT));
        }
        let mut fields = element.children(WHAT)?;
        let kind = fields.expect(tag::OID, WHAT)?.oid(WHAT)?;
        // `FALSE` written out is not DER, but encoders in the field do it and it means the same.
        let critical = fields.optional(tag::BOOLEAN, WHAT)?;
        let critical = critical.map_or(Ok(false), |critical| critical.boolean(WHAT))?;
        let value = fields.expect(tag::OCTET_STRING, WHAT)?.content;
        fields.finish(WHAT)?;
        Ok(Self {
            kind,
            critical,
            value,
        })
    }
}

/// What the extensions that we know say.
#[derive(Debug, Clone, Default)]
pub(super) struct Extensions {
    pub(super) subject_key_id: Option<Vec<u8>>,
    pub(super) authority_key_id: Option<Vec<u8>>,
    pub(super) key_usage: Option<u16>,
    pub(super) is_ca: bool,
    pub(super) path_len: Option<u8>,
    pub(super) extended_key_usages: Vec<Vec<u8>>,
    pub(super) names: NameSet,
    pub(super) crl_url: Option<String>,
    pub(super) issuer_url: Option<String>,
    pub(super) unknown_critical: bool,
}

impl Extensions {
    /// Reads `[3] EXPLICIT Extensions`. Each extension that is known must be well formed.
    pub(super) fn read(explicit: &Element<'_>) -> Result<Self, CertificateError> {
        let mut found = Self::default();
        let list = read_all(explicit.content)?;
        for (position, extension) in list.iter().enumerate() {
            if list
                .iter()
                .take(position)
                .any(|earlier| earlier.kind == extension.kind)
            {
                return Err(CertificateError::ExtensionRepeated);
            }
            found.take(extension)?;
        }
        Ok(found)
    }

    fn take(&mut self, extension: &Extension<'_>) -> Result<(), Malformed> {
        let is = |kind: ObjectIdentifier| extension.kind == kind.as_bytes();
        let value = extension.value;
        if is(id::SUBJECT_KEY_IDENTIFIER) {
            let what = "subjectKeyIdentifier";
            self.subject_key_id = Some(
                Element::only(value, tag::OCTET_STRING, what)?
                    .content
                    .to_vec(),
            );
        } else if is(id::AUTHORITY_KEY_IDENTIFIER) {
            self.authority_key_id = authority_key_id(value)?.map(<[u8]>::to_vec);
        } else if is(id::KEY_USAGE) {
            self.key_usage = Some(key_usage(value)?);
        } else if is(id::BASIC_CONSTRAINTS) {
            (self.is_ca, self.path_len) = basic_constraints(value)?;
        } else if is(id::EXTENDED_KEY_USAGE) {
            self.extended_key_usages = extended_key_usages(value)?;
        } else if is(id::SUBJECT_ALT_NAME) {
            self.names = NameSet::read(value)?;
        } else if is(id::CRL_DISTRIBUTION_POINTS) {
            self.crl_url = crl_url(value)?;
        } else if is(id::AUTHORITY_INFO_ACCESS) {
            self.issuer_url = issuer_url(value)?;
        } else {
            self.unknown_critical |= extension.critical;
        }
        Ok(())
    }
}

/// Reads `Extensions ::= SEQUENCE OF Extension`, at least one.
pub(crate) fn read_all(der: &[u8]) -> Result<Vec<Extension<'_>>, Malformed> {
    let what = "extensions";
    let mut elements = Element::only(der, tag::SEQUENCE, what)?.children(what)?;
    let mut list = Vec::new();
    while let Some(element) = elements.next(what)? {
        list.push(Extension::read(&element)?);
    }
    if list.is_empty() {
        Err(Malformed(what))
    } else {
        Ok(list)
    }
}

/// The keyIdentifier `[0]`; the certificate's issuer and serial may follow and are passed over.
pub(crate) fn authority_key_id(value: &[u8]) -> Result<Option<&[u8]>, Malformed> {
    let what = "authorityKeyIdentifier";
    let mut fields = Element::only(value, tag::SEQUENCE, what)?.children(what)?;
    let key_id = fields.optional(tag::implicit(0), what)?;
    fields.optional(tag::constructed(1), what)?;
    fields.optional(tag::implicit(2), what)?;
    fields.finish(what)?;
    Ok(key_id.map(|key_id| key_id.content))
}

/// A named BIT STRING of at most nine bits, bit 0 being 0x8000 of the result.
fn key_usage(value: &[u8]) -> Result<u16, Malformed> {
    let what = "keyUsage";
    match Element::only(value, tag::BIT_STRING, what)?.content {
        [0] => Ok(0),
        [unused @ 0..=7, high] => {
            let bits = u16::from(*high) << 8;
            if bits.trailing_zeros() >= 8 + u32::from(*unused) {
                Ok(bits)
            } else {
                Err(Malformed(what))
            }
        }
        [unused @ 0..=7, high, low] => {
            let bits = u16::from_be_bytes([*high, *low]);
            if bits.trailing_zeros() >= u32::from(*unused) {
                Ok(bits)
            } else {
                Err(Malformed(what))
            }
        }
        _ => Err(Malformed(what)),
    }
}

fn basic_constraints(value: &[u8]) -> Result<(bool, Option<u8>), Malformed> {
    let what = "basicConstraints";
    let mut fields = Element::only(value, tag::SEQUENCE, what)?.children(what)?;
    let is_ca = fields.optional(tag::BOOLEAN, what)?;
    let is_ca = is_ca.map_or(Ok(false), |is_ca| is_ca.boolean(what))?;
    let path_len = fields.optional(tag::INTEGER, what)?;
    let path_len = path_len.map(|path_len| path_len.small(what)).transpose()?;
    fields.finish(what)?;
    // Nobody has chains of 255: the limit is as good as any above it.
    Ok((
        is_ca,
        path_len.map(|path_len| u8::try_from(path_len).unwrap_or(u8::MAX)),
    ))
}

fn extended_key_usages(value: &[u8]) -> Result<Vec<Vec<u8>>, Malformed> {
    let what = "extKeyUsage";
    let mut usages = Element::only(value, tag::SEQUENCE, what)?.children(what)?;
    let mut found = Vec::new();
    while let Some(usage) = usages.next(what)? {
        found.push(usage.oid(what)?.to_vec());
    }
    if found.is_empty() {
        Err(Malformed(what))
    } else {
        Ok(found)
    }
}

/// `SEQUENCE OF DistributionPoint { [0] { [0] fullName GeneralNames } ... }`: the first URI.
fn crl_url(value: &[u8]) -> Result<Option<String>, Malformed> {
    let what = "cRLDistributionPoints";
    let mut points = Element::only(value, tag::SEQUENCE, what)?.children(what)?;
    let mut point = points.expect(tag::SEQUENCE, what)?.children(what)?;
    let Some(name) = point.optional(tag::constructed(0), what)? else {
        return Ok(None);
    };
    let Some(full) = name.children(what)?.optional(tag::constructed(0), what)? else {
        return Ok(None);
    };
    let mut names = full.children(what)?;
    while let Some(name) = names.next(what)? {
        if name.tag == tag::implicit(6) {
            return uri(&name, what).map(Some);
        }
    }
    Ok(None)
}

/// `SEQUENCE OF AccessDescription { accessMethod, accessLocation }`: the first caIssuers URI.
fn issuer_url(value: &[u8]) -> Result<Option<String>, Malformed> {
    let what = "authorityInfoAccess";
    let mut descriptions = Element::only(value, tag::SEQUENCE, what)?.children(what)?;
    while let Some(description) = descriptions.next(what)? {
        let mut fields = description.children(what)?;
        let method = fields.expect(tag::OID, what)?;
        let location = fields.next(what)?.ok_or(Malformed(what))?;
        if method.content == id::CA_ISSUERS.as_bytes() && location.tag == tag::implicit(6) {
            return uri(&location, what).map(Some);
        }
    }
    Ok(None)
}

fn uri(name: &Element<'_>, what: &'static str) -> Result<String, Malformed> {
    core::str::from_utf8(name.content)
        .ok()
        .filter(|text| text.is_ascii())
        .map(ToString::to_string)
        .ok_or(Malformed(what))
}

/// One extension to be written.
pub(crate) fn extension_der(kind: ObjectIdentifier, critical: bool, value: &[u8]) -> Vec<u8> {
    let critical = if critical { boolean(true) } else { Vec::new() };
    sequence(&[&oid(kind), &critical, &octet_string(value)])
}

/// `AuthorityKeyIdentifier { [0] keyIdentifier }`, as an extension.
pub(crate) fn authority_key_id_der(key_id: &[u8]) -> Vec<u8> {
    let value = sequence(&[&primitive(tag::implicit(0), key_id)]);
    extension_der(id::AUTHORITY_KEY_IDENTIFIER, false, &value)
}
