//! Writing DER. Nothing here can fail: lengths are what they are, and whether a *value* makes sense
//! is asked by [`crate::certificate::lint`] over the finished bytes, with another reader.

use alloc::vec::Vec;

use const_oid::ObjectIdentifier;

use super::tag;

/// One element with this tag and content.
pub(crate) fn primitive(tag: u8, content: &[u8]) -> Vec<u8> {
    let length = content.len();
    let mut out = Vec::with_capacity(length + 6);
    out.push(tag);
    match u8::try_from(length) {
        Ok(short) if short < 0x80 => out.push(short),
        _ => {
            let octets = length.to_be_bytes();
            let octets = without_leading_zeros(&octets);
            // At most eight octets, so the low bits hold the count.
            out.push(0x80 | u8::try_from(octets.len()).unwrap_or(0x7f));
            out.extend_from_slice(octets);
        }
    }
    out.extend_from_slice(content);
    out
}

/// A SEQUENCE of elements that are DER already.
pub(crate) fn sequence(parts: &[&[u8]]) -> Vec<u8> {
    primitive(tag::SEQUENCE, &parts.concat())
}

/// A SEQUENCE OF.
pub(crate) fn sequence_of<P: AsRef<[u8]>>(parts: &[P]) -> Vec<u8> {
    let parts: Vec<&[u8]> = parts.iter().map(AsRef::as_ref).collect();
    sequence(&parts)
}

/// A SET of one element, or of elements that the caller has put in order.
pub(crate) fn set(parts: &[&[u8]]) -> Vec<u8> {
    primitive(tag::SET, &parts.concat())
}

/// `[number] EXPLICIT`.
pub(crate) fn explicit(number: u8, element: &[u8]) -> Vec<u8> {
    primitive(tag::constructed(number), element)
}

/// An OBJECT IDENTIFIER.
pub(crate) fn oid(oid: ObjectIdentifier) -> Vec<u8> {
    primitive(tag::OID, oid.as_bytes())
}

/// A small INTEGER.
pub(crate) fn integer(value: u64) -> Vec<u8> {
    positive_integer(&value.to_be_bytes())
}

/// An INTEGER from an unsigned big-endian magnitude: leading zeros go, and one comes back when the
/// top bit would make the number negative.
pub(crate) fn positive_integer(magnitude: &[u8]) -> Vec<u8> {
    let magnitude = without_leading_zeros(magnitude);
    let mut content = Vec::with_capacity(magnitude.len() + 1);
    if magnitude.first().is_none_or(|top| *top >= 0x80) {
        content.push(0);
    }
    content.extend_from_slice(magnitude);
    primitive(tag::INTEGER, &content)
}

/// A BOOLEAN.
pub(crate) fn boolean(value: bool) -> Vec<u8> {
    primitive(tag::BOOLEAN, &[if value { 0xff } else { 0 }])
}

/// An OCTET STRING.
pub(crate) fn octet_string(content: &[u8]) -> Vec<u8> {
    primitive(tag::OCTET_STRING, content)
}

/// A BIT STRING of whole octets.
pub(crate) fn whole_bits(content: &[u8]) -> Vec<u8> {
    primitive(tag::BIT_STRING, &[&[0], content].concat())
}

fn without_leading_zeros(octets: &[u8]) -> &[u8] {
    let zeros = octets.iter().take_while(|octet| **octet == 0).count();
    octets.get(zeros..).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_take_the_shortest_form() {
        for (length, want) in [
            (0, &[0x04, 0x00][..]),
            (0x7f, &[0x04, 0x7f]),
            (0x80, &[0x04, 0x81, 0x80]),
            (0xff, &[0x04, 0x81, 0xff]),
            (0x100, &[0x04, 0x82, 0x01, 0x00]),
            (0x1_0000, &[0x04, 0x83, 0x01, 0x00, 0x00]),
        ] {
            let der = octet_string(&alloc::vec![0; length]);
            assert_eq!(&der[..want.len()], want, "{length}");
            assert_eq!(der.len(), want.len() + length);
        }
    }

    #[test]
    fn integers_are_positive_and_minimal() {
        for (magnitude, want) in [
            (&[][..], &[0x02, 0x01, 0x00][..]),
            (&[0, 0], &[0x02, 0x01, 0x00]),
            (&[0x7f], &[0x02, 0x01, 0x7f]),
            (&[0x80], &[0x02, 0x02, 0x00, 0x80]),
            (&[0, 0x80], &[0x02, 0x02, 0x00, 0x80]),
            (&[0, 0, 1, 2], &[0x02, 0x02, 0x01, 0x02]),
        ] {
            assert_eq!(positive_integer(magnitude), want, "{magnitude:?}");
        }
        assert_eq!(integer(65_537), [0x02, 0x03, 0x01, 0x00, 0x01]);
    }
}
