//! Distinguished names (RFC 5280 section 4.1.2.4): the few that Imprint makes, and the common name
//! of those it reads. Names are kept as bytes and chains compare them as bytes; nothing is normalised.

use alloc::string::{String, ToString};
use alloc::vec::Vec;

use const_oid::ObjectIdentifier;

use crate::asn1::{Element, Elements, Malformed, oid, primitive, sequence, sequence_of, set, tag};
use crate::oid as id;

/// The most characters that a common name may have (RFC 5280 appendix A, `ub-common-name`).
pub const COMMON_NAME_MAX: usize = 64;

/// A Name in DER: an optional organization, then the common name, each a `UTF8String`.
#[must_use]
pub fn common_name_der(common_name: &str, organization: Option<&str>) -> Vec<u8> {
    let organization = organization.map(|text| relative(id::ORGANIZATION_NAME, text));
    let parts: Vec<_> = organization
        .into_iter()
        .chain([relative(id::COMMON_NAME, common_name)])
        .collect();
    sequence_of(&parts)
}

fn relative(kind: ObjectIdentifier, text: &str) -> Vec<u8> {
    let value = primitive(tag::UTF8_STRING, text.as_bytes());
    set(&[&sequence(&[&oid(kind), &value])])
}

/// The last common name in a Name: the most specific one, should there be several. `None` when
/// there is none or it can't be read as text.
#[must_use]
pub fn common_name(name_der: &[u8]) -> Option<String> {
    let name = Element::only(name_der, tag::SEQUENCE, WHAT).ok()?;
    let mut last = None;
    let mut relatives = name.children(WHAT).ok()?;
    while let Some(relative) = relatives.next(WHAT).ok()? {
        let mut attributes = relative.children(WHAT).ok()?;
        while let Some(attribute) = attributes.next(WHAT).ok()? {
            let mut fields = attribute.children(WHAT).ok()?;
            let kind = fields.expect(tag::OID, WHAT).ok()?;
            if kind.content == id::COMMON_NAME.as_bytes() {
                last = fields.next(WHAT).ok()?.and_then(|value| text(&value));
            }
        }
    }
    last
}

/// The first attribute of this type in a Name, as text. `None` when there is none or it can't be read.
#[must_use]
pub fn attribute(name_der: &[u8], kind: ObjectIdentifier) -> Option<String> {
    let found = attributes(name_der)?.into_iter();
    let mut found = found.filter(|(_, oid, _)| oid == kind.as_bytes());
    found.next().map(|(.., text)| text)
}

/// Whether two Names in DER say the same: the same attributes in the same order with the same text,
/// whatever string type carries it (RFC 5280 section 7.1). strongSwan writes a `PrintableString`
/// where our certificates have a `UTF8String`. Letter case and spaces count.
#[must_use]
pub fn same(left: &[u8], right: &[u8]) -> bool {
    left == right || attributes(left).is_some_and(|name| attributes(right) == Some(name))
}

/// Each attribute as the number of its relative name, its type and its text. `None` when the Name
/// is not one.
fn attributes(name_der: &[u8]) -> Option<Vec<(usize, Vec<u8>, String)>> {
    let name = Element::only(name_der, tag::SEQUENCE, WHAT).ok()?;
    check(&name, WHAT).ok()?;
    let mut found = Vec::new();
    let mut relatives = name.children(WHAT).ok()?;
    let mut at = 0;
    while let Some(relative) = relatives.next(WHAT).ok()? {
        let mut attributes = relative.children(WHAT).ok()?;
        while let Some(attribute) = attributes.next(WHAT).ok()? {
            let mut fields = attribute.children(WHAT).ok()?;
            let kind = fields.expect(tag::OID, WHAT).ok()?.content.to_vec();
            let value = fields.next(WHAT).ok()??;
            found.push((at, kind, text(&value)?));
        }
        at += 1;
    }
    Some(found)
}

/// Checks that this is a Name: a sequence of sets of a type and a string. It may be empty.
pub(crate) fn check(name: &Element<'_>, what: &'static str) -> Result<(), Malformed> {
    let mut relatives = name.children(what)?;
    while let Some(relative) = relatives.next(what)? {
        let mut attributes = relative.children(what)?;
        let first = attributes.clone().next(what)?;
        if relative.tag != tag::SET || first.is_none() {
            return Err(Malformed(what));
        }
        while let Some(attribute) = attributes.next(what)? {
            if attribute.tag != tag::SEQUENCE {
                return Err(Malformed(what));
            }
            check_attribute(attribute.children(what)?, what)?;
        }
    }
    Ok(())
}

fn check_attribute(mut fields: Elements<'_>, what: &'static str) -> Result<(), Malformed> {
    fields.expect(tag::OID, what)?.oid(what)?;
    let value = fields.next(what)?.ok_or(Malformed(what))?;
    fields.finish(what)?;
    if text(&value).is_some() {
        Ok(())
    } else {
        Err(Malformed(what))
    }
}

/// The text of a `DirectoryString` or `IA5String`, by its tag. `T61String` is read as Latin-1, as
/// everybody does; `BMPString` as UTF-16, which it was before it was called so.
pub(crate) fn text(value: &Element<'_>) -> Option<String> {
    match value.tag {
        tag::UTF8_STRING => core::str::from_utf8(value.content)
            .ok()
            .map(ToString::to_string),
        tag::PRINTABLE_STRING | tag::IA5_STRING | tag::NUMERIC_STRING => {
            core::str::from_utf8(value.content)
                .ok()
                .filter(|text| text.is_ascii())
                .map(ToString::to_string)
        }
        tag::T61_STRING => Some(
            value
                .content
                .iter()
                .map(|octet| char::from(*octet))
                .collect(),
        ),
        tag::BMP_STRING => {
            let (units, rest) = value.content.as_chunks::<2>();
            let units = units.iter().map(|unit| u16::from_be_bytes(*unit));
            let text = char::decode_utf16(units).collect::<Result<_, _>>().ok();
            text.filter(|_| rest.is_empty())
        }
        _ => None,
    }
}

const WHAT: &str = "name";

#[cfg(test)]
mod tests {
    use super::*;

    fn name(values: &[Vec<u8>]) -> Vec<u8> {
        let relatives: Vec<_> = values
            .iter()
            .map(|value| set(&[&sequence(&[&oid(id::COMMON_NAME), value])]))
            .collect();
        sequence_of(&relatives)
    }

    #[test]
    fn a_common_name_reads_back_from_every_string_type() {
        for (tag, content, want) in [
            (tag::UTF8_STRING, "thermo-ä".as_bytes(), Some("thermo-ä")),
            (tag::UTF8_STRING, b"\xff", None),
            (tag::PRINTABLE_STRING, b"thermo-1", Some("thermo-1")),
            (tag::IA5_STRING, b"thermo-1", Some("thermo-1")),
            (tag::IA5_STRING, b"\xe4", None),
            (tag::T61_STRING, b"thermo-\xe4", Some("thermo-ä")),
            (tag::BMP_STRING, b"\0t\0\xe4", Some("tä")),
            (tag::BMP_STRING, b"\0t\0", None),
            (tag::BMP_STRING, b"\xd8\x00", None),
            (tag::OCTET_STRING, b"thermo-1", None),
        ] {
            let der = name(&[primitive(tag, content)]);
            assert_eq!(
                common_name(&der).as_deref(),
                want,
                "{tag:02x} {content:02x?}"
            );
        }
    }

    #[test]
    fn the_last_common_name_counts() {
        let der = name(&[
            primitive(tag::UTF8_STRING, b"first"),
            primitive(tag::UTF8_STRING, b"last"),
        ]);
        assert_eq!(common_name(&der).as_deref(), Some("last"));
        assert_eq!(common_name(&sequence(&[])), None);
        assert_eq!(common_name(b"\x30\x80"), None);
    }

    #[test]
    fn names_are_the_same_by_their_text_and_not_by_its_encoding() {
        let utf8 = primitive(tag::UTF8_STRING, b"thermo-1");
        let printable = primitive(tag::PRINTABLE_STRING, b"thermo-1");
        let one = name(core::slice::from_ref(&utf8));
        let two = name(&[utf8.clone(), utf8.clone()]);
        let both_in_one = sequence(&[&set(&[
            &sequence(&[&oid(id::COMMON_NAME), &utf8]),
            &sequence(&[&oid(id::COMMON_NAME), &utf8]),
        ])]);
        let organization = sequence(&[&set(&[&sequence(&[&oid(id::ORGANIZATION_NAME), &utf8])])]);
        let other = name(&[primitive(tag::UTF8_STRING, b"Thermo-1")]);
        for (left, right, want) in [
            (&one, &one, true),
            (&one, &name(&[printable]), true),
            (&two, &both_in_one, false),
            (&one, &two, false),
            (&one, &organization, false),
            (&one, &other, false),
            (&one, &sequence(&[]), false),
            (&one, &b"\x30\x80".to_vec(), false),
        ] {
            assert_eq!(same(left, right), want, "{left:02x?} {right:02x?}");
            assert_eq!(same(right, left), want, "{right:02x?} {left:02x?}");
        }
    }

    #[test]
    fn an_authority_has_a_name() {
        let der = common_name_der("Thermo Root", Some("Example"));
        assert_eq!(common_name(&der).as_deref(), Some("Thermo Root"));
        let element = Element::only(&der, tag::SEQUENCE, WHAT).unwrap();
        assert_eq!(check(&element, WHAT), Ok(()));
    }
}
