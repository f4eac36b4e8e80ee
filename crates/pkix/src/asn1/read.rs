//! Reading DER, one level at a time: nothing recurses, so depth costs a stranger's input nothing.

use der::{Decode, Header, Reader, SliceReader};

use super::tag;

/// The input is not the DER that it should be, at the field that is named.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not valid DER at {0}")]
pub struct Malformed(pub &'static str);

/// One element: its first tag octet, its content, and all of its bytes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Element<'a> {
    pub(crate) tag: u8,
    pub(crate) content: &'a [u8],
    pub(crate) der: &'a [u8],
}

impl<'a> Element<'a> {
    /// Reads input that is exactly one element with this tag.
    pub(crate) fn only(
        input: &'a [u8],
        tag: u8,
        what: &'static str,
    ) -> Result<Element<'a>, Malformed> {
        let mut elements = Elements::new(input, what)?;
        let element = elements.expect(tag, what)?;
        elements.finish(what)?;
        Ok(element)
    }

    /// The elements inside this one.
    pub(crate) fn children(&self, what: &'static str) -> Result<Elements<'a>, Malformed> {
        Elements::new(self.content, what)
    }

    /// The octets of a BIT STRING that has no unused bits.
    pub(crate) fn whole_bits(&self, what: &'static str) -> Result<&'a [u8], Malformed> {
        match self.content.split_first() {
            Some((0, bits)) => Ok(bits),
            _ => Err(Malformed(what)),
        }
    }

    /// The content octets of a DER INTEGER: minimal two's complement.
    pub(crate) fn integer(&self, what: &'static str) -> Result<&'a [u8], Malformed> {
        match self.content {
            [] => Err(Malformed(what)),
            [0x00, next, ..] if *next < 0x80 => Err(Malformed(what)),
            [0xff, next, ..] if *next >= 0x80 => Err(Malformed(what)),
            content => Ok(content),
        }
    }

    /// The magnitude of a DER INTEGER that is not negative, without a sign octet.
    pub(crate) fn unsigned(&self, what: &'static str) -> Result<&'a [u8], Malformed> {
        match self.integer(what)? {
            [0x00, magnitude @ ..] if !magnitude.is_empty() => Ok(magnitude),
            [top, ..] if *top >= 0x80 => Err(Malformed(what)),
            magnitude => Ok(magnitude),
        }
    }

    /// A small INTEGER that is not negative.
    pub(crate) fn small(&self, what: &'static str) -> Result<u64, Malformed> {
        let magnitude = self.unsigned(what)?;
        if magnitude.len() > 8 {
            return Err(Malformed(what));
        }
        Ok(magnitude
            .iter()
            .fold(0, |value, octet| value << 8 | u64::from(*octet)))
    }

    /// A DER BOOLEAN.
    pub(crate) fn boolean(&self, what: &'static str) -> Result<bool, Malformed> {
        match self.content {
            [0x00] => Ok(false),
            [0xff] => Ok(true),
            _ => Err(Malformed(what)),
        }
    }

    /// For a value that nobody will look at: is its content at least possible for its type? Other
    /// readers of the same bytes may look.
    pub(crate) fn is_well_formed(&self) -> bool {
        match self.tag {
            tag::BOOLEAN => self.content.len() == 1,
            tag::INTEGER | tag::ENUMERATED => self.integer("").is_ok(),
            tag::NULL => self.content.is_empty(),
            tag::OID => is_object_identifier(self.content),
            tag::BIT_STRING => match self.content {
                [unused @ 1..=7, .., last] => last.trailing_zeros() >= u32::from(*unused),
                [0, ..] => true,
                _ => false,
            },
            tag::BMP_STRING => self.content.len().is_multiple_of(2),
            _ => true,
        }
    }

    /// The content octets of an OBJECT IDENTIFIER, of any length: device vendors use arcs of 128
    /// bits (2.25.<UUID>), which no fixed-size type holds.
    pub(crate) fn oid(&self, what: &'static str) -> Result<&'a [u8], Malformed> {
        if self.tag == tag::OID && is_object_identifier(self.content) {
            Ok(self.content)
        } else {
            Err(Malformed(what))
        }
    }
}

/// Is this the content of an OBJECT IDENTIFIER: whole arcs, none padded (X.690 section 8.19)?
pub(crate) fn is_object_identifier(content: &[u8]) -> bool {
    let mut arc_begins = true;
    for octet in content {
        if arc_begins && *octet == 0x80 {
            return false;
        }
        arc_begins = *octet < 0x80;
    }
    arc_begins && !content.is_empty()
}

/// The elements inside a constructed one, in order.
#[derive(Debug, Clone)]
pub(crate) struct Elements<'a>(SliceReader<'a>);

impl<'a> Elements<'a> {
    pub(crate) fn new(content: &'a [u8], what: &'static str) -> Result<Self, Malformed> {
        SliceReader::new(content)
            .map(Self)
            .map_err(|_| Malformed(what))
    }

    /// The next element, or `None` at the end.
    pub(crate) fn next(&mut self, what: &'static str) -> Result<Option<Element<'a>>, Malformed> {
        if self.0.is_finished() {
            return Ok(None);
        }
        self.read().map(Some).map_err(|_| Malformed(what))
    }

    /// The next element, which must be there and have this tag.
    pub(crate) fn expect(&mut self, tag: u8, what: &'static str) -> Result<Element<'a>, Malformed> {
        self.next(what)?
            .filter(|element| element.tag == tag)
            .ok_or(Malformed(what))
    }

    /// The next element if it has this tag.
    pub(crate) fn optional(
        &mut self,
        tag: u8,
        what: &'static str,
    ) -> Result<Option<Element<'a>>, Malformed> {
        if self.0.peek_byte() == Some(tag) {
            self.next(what)
        } else {
            Ok(None)
        }
    }

    /// Nothing may be left.
    pub(crate) fn finish(self, what: &'static str) -> Result<(), Malformed> {
        self.0.finish().map_err(|_| Malformed(what))
    }

    fn read(&mut self) -> der::Result<Element<'a>> {
        let whole = self.0.clone().tlv_bytes()?;
        let tag = self.0.peek_byte().unwrap_or_default();
        let header = Header::decode(&mut self.0)?;
        let content = self.0.read_slice(header.length())?;
        Ok(Element {
            tag,
            content,
            der: whole,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn object_identifiers_have_whole_unpadded_arcs() {
        for (content, want) in [
            (&[0x55, 0x04, 0x03][..], true),
            (&[0x69, 0x83, 0x80, 0x01], true),
            (&[], false),
            (&[0x55, 0x84], false),
            (&[0x55, 0x80, 0x01], false),
            (&[0x80], false),
        ] {
            assert_eq!(is_object_identifier(content), want, "{content:?}");
        }
    }

    #[test]
    fn only_minimal_der_is_read() {
        for (input, want) in [
            (&[0x04, 0x01, 0xaa][..], true),
            (&[0x04, 0x81, 0x01, 0xaa], false),
            (&[0x24, 0x80, 0x00, 0x00], false),
            (&[0x04, 0x02, 0xaa], false),
            (&[0x04, 0x01, 0xaa, 0x00], false),
            (&[0x04, 0x84, 0xff, 0xff, 0xff, 0xff], false),
        ] {
            let got = Element::only(input, tag::OCTET_STRING, "test").is_ok();
            assert_eq!(got, want, "{input:02x?}");
        }
    }

    #[test]
    fn values_that_nobody_looks_at_are_at_least_possible() {
        for (tag, content, want) in [
            (tag::BOOLEAN, &[0xff][..], true),
            (tag::BOOLEAN, &[], false),
            (tag::INTEGER, &[0x7f], true),
            (tag::INTEGER, &[], false),
            (tag::ENUMERATED, &[0x00, 0x01], false),
            (tag::NULL, &[], true),
            (tag::NULL, &[0], false),
            (tag::OID, &[0x2a], true),
            (tag::OID, &[0x80], false),
            (tag::BIT_STRING, &[0], true),
            (tag::BIT_STRING, &[0, 1], true),
            (tag::BIT_STRING, &[1, 2], true),
            (tag::BIT_STRING, &[1, 1], false),
            (tag::BIT_STRING, &[1], false),
            (tag::BIT_STRING, &[8, 0], false),
            (tag::BIT_STRING, &[], false),
            (tag::BMP_STRING, &[0, 1], true),
            (tag::BMP_STRING, &[0], false),
            (tag::PRINTABLE_STRING, &[], true),
            (tag::SEQUENCE, &[0xff], true),
        ] {
            let element = Element {
                tag,
                content,
                der: &[],
            };
            assert_eq!(element.is_well_formed(), want, "{tag:02x} {content:02x?}");
        }
    }

    #[test]
    fn integers_are_minimal_and_signed() {
        for (input, unsigned) in [
            (&[0x02, 0x01, 0x00][..], Some(&[0x00][..])),
            (&[0x02, 0x02, 0x00, 0x80], Some(&[0x80])),
            (&[0x02, 0x01, 0x80], None),
            (&[0x02, 0x02, 0x00, 0x7f], None),
            (&[0x02, 0x02, 0xff, 0xff], None),
            (&[0x02, 0x00], None),
        ] {
            let element = Element::only(input, tag::INTEGER, "test").unwrap();
            assert_eq!(element.unsigned("test").ok(), unsigned, "{input:02x?}");
        }
    }
}
