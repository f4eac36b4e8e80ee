//! What a request's attributes say (RFC 2985 section 5.4).

use alloc::string::String;
use alloc::vec::Vec;

use super::CsrError;
use crate::asn1::{Element, Malformed, tag};
use crate::certificate::Extension;
use crate::dn;
use crate::names::NameSet;
use crate::oid;

/// The two attributes that matter.
#[derive(Debug, Clone, Default)]
pub(super) struct Attributes {
    pub(super) challenge_password: Option<String>,
    pub(super) requested_names: Option<NameSet>,
}

impl Attributes {
    /// Reads `[0] IMPLICIT SET OF Attribute`, in whatever order.
    pub(super) fn read(set: &Element<'_>) -> Result<Self, CsrError> {
        let mut found = Self::default();
        let mut extensions_seen = false;
        let mut attributes = set.children(WHAT)?;
        while let Some(attribute) = attributes.next(WHAT)? {
            let Attribute { kind, values } = Attribute::read(&attribute)?;
            if kind == oid::CHALLENGE_PASSWORD.as_bytes() {
                let challenge = challenge_password(&values)?;
                if found.challenge_password.replace(challenge).is_some() {
                    return Err(CsrError::ChallengePassword);
                }
            } else if kind == oid::EXTENSION_REQUEST.as_bytes()
                || kind == oid::MICROSOFT_EXTENSION_REQUEST.as_bytes()
            {
                let Requested::Extensions { names } = Requested::read(&values)? else {
                    continue;
                };
                if core::mem::replace(&mut extensions_seen, true) {
                    return Err(CsrError::ExtensionRequestRepeated);
                }
                found.requested_names = names;
            }
        }
        Ok(found)
    }
}

/// `SEQUENCE { type, values SET OF ANY }`.
struct Attribute<'a> {
    kind: &'a [u8],
    values: Element<'a>,
}

impl<'a> Attribute<'a> {
    fn read(element: &Element<'a>) -> Result<Self, Malformed> {
        if element.tag != tag::SEQUENCE {
            return Err(Malformed(WHAT));
        }
        let mut fields = element.children(WHAT)?;
        let kind = fields.expect(tag::OID, WHAT)?.oid(WHAT)?;
        let values = fields.expect(tag::SET, WHAT)?;
        fields.finish(WHAT)?;
        let mut each = values.children(WHAT)?;
        while let Some(value) = each.next(WHAT)? {
            if !value.is_well_formed() {
                return Err(Malformed(WHAT));
            }
        }
        Ok(Self { kind, values })
    }
}

/// `DirectoryString` (SIZE (1..255)), though an empty one is read as such: libest sends it.
fn challenge_password(values: &Element<'_>) -> Result<String, CsrError> {
    let mut values = values.children(WHAT)?;
    let text = values.next(WHAT)?.and_then(|value| dn::text(&value));
    let alone = values.next(WHAT)?.is_none();
    text.filter(|text| alone && text.chars().count() <= 255)
        .ok_or(CsrError::ChallengePassword)
}

/// What an `extensionRequest` holds.
enum Requested {
    /// Nothing that is a list of extensions. As if the attribute were absent: libest puts an empty
    /// string where the extensions should be.
    Nothing,
    /// Extensions, perhaps with names among them.
    Extensions { names: Option<NameSet> },
}

impl Requested {
    fn read(values: &Element<'_>) -> Result<Self, CsrError> {
        let mut values = values.children(WHAT)?;
        let Some(extensions) = values.next(WHAT)? else {
            return Ok(Self::Nothing);
        };
        if values.next(WHAT)?.is_some() {
            return Err(CsrError::ExtensionRequestRepeated);
        }
        let Ok(lists) = subject_alt_names(&extensions) else {
            return Ok(Self::Nothing);
        };
        match lists.as_slice() {
            [] => Ok(Self::Extensions { names: None }),
            [list] => match NameSet::read(list) {
                Ok(names) => Ok(Self::Extensions { names: Some(names) }),
                Err(_) => Err(CsrError::RequestedNames),
            },
            _ => Err(CsrError::ExtensionRequestRepeated),
        }
    }
}

/// The value of each subjectAltName extension in `Extensions`.
fn subject_alt_names<'a>(extensions: &Element<'a>) -> Result<Vec<&'a [u8]>, Malformed> {
    if extensions.tag != tag::SEQUENCE {
        return Err(Malformed(WHAT));
    }
    let mut found = Vec::new();
    let mut extensions = extensions.children(WHAT)?;
    while let Some(extension) = extensions.next(WHAT)? {
        let extension = Extension::read(&extension)?;
        if extension.kind == oid::SUBJECT_ALT_NAME.as_bytes() {
            found.push(extension.value);
        }
    }
    Ok(found)
}

const WHAT: &str = "attributes";
