//! Subject alternative names (RFC 5280 section 4.2.1.6) as a set that can be compared.

use alloc::collections::BTreeSet;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::net::IpAddr;

use crate::asn1::{Element, Malformed, explicit, octet_string, oid, primitive, sequence_of, tag};
use crate::oid as id;

/// A set of `GeneralNames`, each in DER. Order and repetition don't count: a renewal's names are
/// compared as a set.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct NameSet(BTreeSet<Vec<u8>>);

impl NameSet {
    /// Reads `GeneralNames ::= SEQUENCE OF GeneralName`, at least one.
    pub(crate) fn read(der: &[u8]) -> Result<Self, Malformed> {
        let mut names = Element::only(der, tag::SEQUENCE, WHAT)?.children(WHAT)?;
        let mut set = BTreeSet::new();
        while let Some(name) = names.next(WHAT)? {
            // [0] otherName to [8] registeredID; the text forms are IA5.
            let ascii = !matches!(name.tag, 0x81 | 0x82 | 0x86) || name.content.is_ascii();
            if !(0x80..=0x88).contains(&(name.tag & !0x20)) || !ascii {
                return Err(Malformed(WHAT));
            }
            set.insert(name.der.to_vec());
        }
        if set.is_empty() {
            Err(Malformed(WHAT))
        } else {
            Ok(Self(set))
        }
    }

    /// Each GeneralName in DER, in ascending order of bytes.
    pub fn iter(&self) -> impl Iterator<Item = &[u8]> {
        self.0.iter().map(Vec::as_slice)
    }

    /// Is there no name at all?
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many different names there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// The DNS names.
    pub fn dns_names(&self) -> impl Iterator<Item = &str> {
        self.texts(2)
    }

    /// The URIs.
    pub fn uris(&self) -> impl Iterator<Item = &str> {
        self.texts(6)
    }

    /// For people: `DNS:a.example`, `URI:urn:x`, `IP:127.0.0.1`, else the tag and hexadecimal. What
    /// a terminal would obey is shown in hexadecimal too.
    pub fn for_people(&self) -> impl Iterator<Item = String> {
        self.elements().map(|name| for_people(&name))
    }

    /// The first hardwareModuleName (RFC 4108 section 5): `hwType` as OBJECT IDENTIFIER content
    /// octets, and `hwSerialNum`.
    #[must_use]
    pub fn hardware_module(&self) -> Option<(&[u8], &[u8])> {
        self.elements().find_map(|name| hardware_module(&name))
    }

    fn texts(&self, number: u8) -> impl Iterator<Item = &str> {
        self.elements()
            .filter(move |name| name.tag == tag::implicit(number))
            .filter_map(|name| core::str::from_utf8(name.content).ok())
    }

    fn elements(&self) -> impl Iterator<Item = Element<'_>> {
        self.0
            .iter()
            .filter_map(|der| Element::only(der, *der.first()?, WHAT).ok())
    }
}

fn for_people(name: &Element<'_>) -> String {
    let text = core::str::from_utf8(name.content).unwrap_or_default();
    let printable = !text.is_empty() && !text.chars().any(char::is_control);
    match name.tag {
        0x81 if printable => format!("email:{text}"),
        0x82 if printable => format!("DNS:{text}"),
        0x86 if printable => format!("URI:{text}"),
        0x87 if let Some(address) = ip(name.content) => format!("IP:{address}"),
        _ => match hardware_module(name) {
            Some((_, serial)) => hexadecimal("hardware", serial),
            None => hexadecimal(&format!("[{}]", name.tag & 0x1f), name.content),
        },
    }
}

/// `OtherName { id-on-hardwareModuleName, [0] SEQUENCE { hwType, hwSerialNum } }`.
fn hardware_module<'a>(name: &Element<'a>) -> Option<(&'a [u8], &'a [u8])> {
    if name.tag != tag::constructed(0) {
        return None;
    }
    let mut other = name.children(WHAT).ok()?;
    let kind = other.expect(tag::OID, WHAT).ok()?;
    let value = other.expect(tag::constructed(0), WHAT).ok()?;
    other.finish(WHAT).ok()?;
    if kind.content != id::HARDWARE_MODULE_NAME.as_bytes() {
        return None;
    }
    let mut module = Element::only(value.content, tag::SEQUENCE, WHAT)
        .ok()?
        .children(WHAT)
        .ok()?;
    let hw_type = module.expect(tag::OID, WHAT).ok()?.oid(WHAT).ok()?;
    let serial = module.expect(tag::OCTET_STRING, WHAT).ok()?;
    module.finish(WHAT).ok()?;
    Some((hw_type, serial.content))
}

fn ip(octets: &[u8]) -> Option<IpAddr> {
    <[u8; 4]>::try_from(octets)
        .map(IpAddr::from)
        .or_else(|_| <[u8; 16]>::try_from(octets).map(IpAddr::from))
        .ok()
}

fn hexadecimal(kind: &str, octets: &[u8]) -> String {
    let digits = octets.iter().flat_map(|octet| [octet >> 4, octet & 0x0f]);
    let digits = digits.filter_map(|digit| char::from_digit(digit.into(), 16));
    kind.chars().chain([':']).chain(digits).collect()
}

/// `GeneralNames` out of names that are DER already.
pub(crate) fn write(names: &[Vec<u8>]) -> Vec<u8> {
    sequence_of(names)
}

pub(crate) fn write_dns(name: &str) -> Vec<u8> {
    primitive(tag::implicit(2), name.as_bytes())
}

pub(crate) fn write_uri(uri: &str) -> Vec<u8> {
    primitive(tag::implicit(6), uri.as_bytes())
}

pub(crate) fn write_ip(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => primitive(tag::implicit(7), &address.octets()),
        IpAddr::V6(address) => primitive(tag::implicit(7), &address.octets()),
    }
}

/// The otherName of RFC 4108 section 5.
pub(crate) fn write_hardware_module(hw_type: &[u8], serial: &[u8]) -> Vec<u8> {
    let module = sequence_of(&[primitive(tag::OID, hw_type), octet_string(serial)]);
    let other = [oid(id::HARDWARE_MODULE_NAME), explicit(0, &module)].concat();
    primitive(tag::constructed(0), &other)
}

const WHAT: &str = "subjectAltName";

#[cfg(test)]
mod tests {
    use super::*;

    /// The reference encoding that OpenSSL makes of this name.
    #[test]
    fn a_hardware_module_name_is_encoded_as_openssl_does() {
        let want = b"\xa0\x23\x06\x08\x2b\x06\x01\x05\x05\x07\x08\x04\xa0\x17\x30\x15\
            \x06\x09\x2b\x06\x01\x04\x01\x86\x8d\x1f\x01\x04\x08\x01\x23\x45\x67\x89\xab\xcd\xef";
        let hw_type = b"\x2b\x06\x01\x04\x01\x86\x8d\x1f\x01";
        let serial = b"\x01\x23\x45\x67\x89\xab\xcd\xef";
        let name = write_hardware_module(hw_type, serial);
        assert_eq!(name, want);
        let names = NameSet::read(&write(&[name])).unwrap();
        assert_eq!(names.hardware_module(), Some((&hw_type[..], &serial[..])));
    }

    #[test]
    fn names_compare_as_a_set() {
        let (a, b) = (write_dns("a.example"), write_uri("urn:b"));
        let one = NameSet::read(&write(&[a.clone(), b.clone()])).unwrap();
        let two = NameSet::read(&write(&[b.clone(), a.clone(), b])).unwrap();
        assert_eq!(one, two);
        assert_ne!(one, NameSet::read(&write(&[a])).unwrap());
        assert_eq!(one.dns_names().collect::<Vec<_>>(), ["a.example"]);
        assert_eq!(one.uris().collect::<Vec<_>>(), ["urn:b"]);
    }

    #[test]
    fn names_read_as_text() {
        let names = [
            write_dns("a.example"),
            write_uri("urn:b"),
            write_ip(IpAddr::from([127, 0, 0, 1])),
            write_hardware_module(&[0x2a, 0x03], &[0xab, 0xcd]),
            primitive(tag::implicit(8), &[0x2a]),
            write_uri("\x1b[2J"),
            write_dns(""),
            primitive(tag::implicit(7), &[1, 2]),
        ];
        let mut texts: Vec<_> = NameSet::read(&write(&names))
            .unwrap()
            .for_people()
            .collect();
        texts.sort();
        assert_eq!(
            texts,
            [
                "DNS:a.example",
                "IP:127.0.0.1",
                "URI:urn:b",
                "[2]:",
                "[6]:1b5b324a",
                "[7]:0102",
                "[8]:2a",
                "hardware:abcd"
            ]
        );
    }

    #[test]
    fn odd_name_lists_are_refused() {
        for (what, der) in [
            ("no name", write(&[])),
            ("a text that is not IA5", write(&[write_dns("ä.example")])),
            ("not a general name", write(&[octet_string(b"x")])),
            (
                "a tag beyond the choice",
                write(&[primitive(tag::implicit(9), b"x")]),
            ),
            ("not a list", octet_string(b"x")),
        ] {
            assert!(NameSet::read(&der).is_err(), "{what}");
        }
    }
}
