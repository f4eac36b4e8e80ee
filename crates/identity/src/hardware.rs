//! Which piece of hardware this is: where its id was read, the id itself, and how far such an id
//! can be trusted at best.
//!
//! An id identifies and never authenticates: an STM32 UID is printed by any debugger, a MAC is
//! broadcast. What a device *types* is [`IdentityStrength::Asserted`] whatever its source; the
//! source gives the ceiling, evidence gives the value.

use core::fmt;
use core::str::FromStr;

use heapless::{String, Vec};

use crate::source::{Shape, Source};
use crate::strength::IdentityStrength;

/// The identity of one piece of hardware, written `source:value`.
///
/// The value is the raw bytes in lowercase hex, or the text itself for the three sources that are
/// text (`dt-serial`, `soc`, `custom`). Display and [`HardwareId::parse`] are inverse, so the text
/// is fit for a database key.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HardwareId {
    source: Source,
    raw: Vec<u8, 64>,
}

/// A hardware id as text, or its part of a device's name: at most 11 octets of source and 128 of
/// value.
pub type HardwareText = String<144>;

impl HardwareId {
    /// The id that was read from `source`: `raw` in the byte order that the source's variant names.
    ///
    /// Lengths are checked against the source, and values that faulty reads, emulators and board
    /// vendors are known to give are refused: two devices would have the same one.
    pub fn new(source: Source, raw: &[u8]) -> Result<Self, HardwareIdError> {
        match source.shape() {
            Shape::Text => check_text(source, raw)?,
            Shape::Bytes(shortest, longest) => {
                if !(shortest..=longest).contains(&raw.len()) {
                    return Err(HardwareIdError::Length {
                        of: source,
                        shortest,
                        longest,
                        found: raw.len(),
                    });
                }
                check_bytes(source, raw)?;
            }
        }
        let raw =
            Vec::from_slice(raw).map_err(|_| HardwareIdError::TooLong { found: raw.len() })?;
        Ok(Self { source, raw })
    }

    /// Reads `source:value`. Text without a known source is a `custom` id.
    ///
    /// Tolerated, because people type these: upper case in the source and in hex, and `:` or `-`
    /// between whole bytes (MACs, UUIDs, fingerprints). What comes out is the one canonical form.
    pub fn parse(text: &str) -> Result<Self, HardwareIdError> {
        let known = text
            .split_once(':')
            .and_then(|(prefix, value)| Some((Source::from_prefix_in_any_case(prefix)?, value)));
        let (source, value) = known.unwrap_or((Source::Custom, text));
        match source.shape() {
            Shape::Text => Self::new(source, value.as_bytes()),
            Shape::Bytes(..) => Self::new(source, &bytes_of_hex(source, value)?),
        }
    }

    /// Where the id was read.
    #[must_use]
    pub const fn source(&self) -> Source {
        self.source
    }

    /// The bytes as read; for text sources the ASCII text. 1 to 64 of them.
    #[must_use]
    pub fn raw(&self) -> &[u8] {
        &self.raw
    }

    /// The most that an id from this source can ever be worth; see [`Source::strength_ceiling`].
    #[must_use]
    pub const fn strength_ceiling(&self) -> IdentityStrength {
        self.source.strength_ceiling()
    }

    /// `source:value`, the canonical text.
    #[must_use]
    pub fn text(&self) -> HardwareText {
        let mut text = HardwareText::new();
        push(&mut text, self.source.prefix().bytes());
        push(&mut text, [b':']);
        self.push_value(&mut text);
        text
    }

    /// This hardware's part of a device's name, in `[a-z0-9.-]`: `source-value`, or the value alone
    /// for source `custom`.
    ///
    /// Custom text is lowercased and `_` and `:` become `-`, so two custom ids can have one name
    /// part: the registrar refuses the second. A custom id can never have the name part of silicon,
    /// because [`HardwareId::new`] refuses it.
    #[must_use]
    pub fn name_part(&self) -> HardwareText {
        let mut part = HardwareText::new();
        if self.source != Source::Custom {
            push(&mut part, self.source.prefix().bytes());
            push(&mut part, [b'-']);
        }
        let mut value = HardwareText::new();
        self.push_value(&mut value);
        push(&mut part, value.bytes().map(name_byte));
        part
    }

    fn push_value(&self, text: &mut HardwareText) {
        match self.source.shape() {
            Shape::Text => push(text, self.raw.iter().copied()),
            Shape::Bytes(..) => {
                push(
                    text,
                    self.raw
                        .iter()
                        .flat_map(|byte| [hex(byte >> 4), hex(byte & 15)]),
                );
            }
        }
    }
}

impl fmt::Display for HardwareId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.text())
    }
}

impl FromStr for HardwareId {
    type Err = HardwareIdError;

    fn from_str(text: &str) -> Result<Self, HardwareIdError> {
        Self::parse(text)
    }
}

/// Why this is not a hardware id, and what to do about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HardwareIdError {
    /// Nothing after the source, or nothing at all.
    #[error("the {of} id is empty; write it as `source:value`, as in `stm32:…` or `custom:SN-1`")]
    Empty {
        /// The source that was named.
        of: Source,
    },
    /// More than 64 bytes or characters.
    #[error("a hardware id has at most 64 bytes or characters, this one has {found}; use a hash")]
    TooLong {
        /// How many there are.
        found: usize,
    },
    /// Too few or too many bytes for the source.
    #[error(
        "{of} ids have {shortest} to {longest} bytes, two hex digits each, this one has {found}; \
         read all of it, from the first byte"
    )]
    Length {
        /// The source that was named.
        of: Source,
        /// The fewest bytes that the source has.
        shortest: usize,
        /// The most bytes that the source has.
        longest: usize,
        /// How many there are.
        found: usize,
    },
    /// Something that is not whole bytes in hex.
    #[error(
        "{of} ids are whole bytes in hex, with nothing or single ':' or '-' between them; this one \
         goes wrong at character {position} of the value; for free text write `custom:…`"
    )]
    NotHex {
        /// The source that was named.
        of: Source,
        /// Counted from 1, after the source's colon.
        position: usize,
    },
    /// A character outside `[A-Za-z0-9._:-]`.
    #[error(
        "hardware ids are made of A-Z, a-z, 0-9, '.', '_', ':' and '-'; byte {position} of the \
         value is 0x{found:02x}; write the id without it"
    )]
    Character {
        /// The byte.
        found: u8,
        /// Counted from 1, after the source's colon.
        position: usize,
    },
    /// Text that begins or ends with a mark.
    #[error("a hardware id begins and ends with a letter or a digit; take the marks off its ends")]
    Edge,
    /// A custom id that reads like another source's id.
    #[error(
        "this custom id reads like one of source {of}; write it as `{of}:value`, or choose another"
    )]
    LooksLike {
        /// The source that it reads like.
        of: Source,
    },
    /// A value that many devices give.
    #[error(
        "this {of} id is {what}, so it names no single device; read it again or use another source"
    )]
    KnownBad {
        /// The source that was named.
        of: Source,
        /// What the value is known for.
        what: &'static str,
    },
}

fn check_text(source: Source, text: &[u8]) -> Result<(), HardwareIdError> {
    let (Some(first), Some(last)) = (text.first(), text.last()) else {
        return Err(HardwareIdError::Empty { of: source });
    };
    // No '+', '#', '/', '$' or NUL (MQTT topics, paths), no blanks, nothing that looks like another.
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._:-".contains(&byte);
    if let Some((at, &found)) = text.iter().enumerate().find(|&(_, &byte)| !allowed(byte)) {
        return Err(HardwareIdError::Character {
            found,
            position: at + 1,
        });
    }
    if !first.is_ascii_alphanumeric() || !last.is_ascii_alphanumeric() {
        return Err(HardwareIdError::Edge);
    }
    if text.len() > 64 {
        return Err(HardwareIdError::TooLong { found: text.len() });
    }
    if source == Source::Custom
        && let Some(of) = looks_like(text)
    {
        return Err(HardwareIdError::LooksLike { of });
    }
    let bad = |what| Err(HardwareIdError::KnownBad { of: source, what });
    if text.len() >= 8 && text.iter().all(|byte| byte == first) {
        return bad("one character repeated");
    }
    if source != Source::Custom && text.iter().all(|&byte| byte == b'0') {
        return bad("all zero");
    }
    if (8..=16).contains(&text.len()) && starts_with(b"0123456789abcdef", text) {
        return bad("the digits in order");
    }
    if UNSET.iter().any(|word| word.eq_ignore_ascii_case(text)) {
        return bad("a word for \"not set\"");
    }
    Ok(())
}

/// The source whose id a custom text could be taken for: as text (`stm32:…`), or as the name of a
/// device (`stm32-` and as many hex digits as an STM32 has), which would let a stranger with a
/// typed id take the name that belongs to silicon.
fn looks_like(text: &[u8]) -> Option<Source> {
    Source::ALL.into_iter().find(|source| {
        let prefix = source.prefix().as_bytes();
        let Some((head, tail)) = text.split_at_checked(prefix.len()) else {
            return false;
        };
        let Some((&mark, value)) = tail.split_first() else {
            return false;
        };
        if !head.eq_ignore_ascii_case(prefix)
            && !head
                .iter()
                .copied()
                .map(name_byte)
                .eq(prefix.iter().copied())
        {
            return false;
        }
        match source.shape() {
            _ if mark == b':' => true,
            Shape::Text => false,
            Shape::Bytes(shortest, longest) => {
                name_byte(mark) == b'-'
                    && value.iter().all(u8::is_ascii_hexdigit)
                    && (2 * shortest..=2 * longest).contains(&value.len())
            }
        }
    })
}

fn check_bytes(source: Source, raw: &[u8]) -> Result<(), HardwareIdError> {
    let bad = |what| Err(HardwareIdError::KnownBad { of: source, what });
    if raw.iter().all(|byte| Some(byte) == raw.first()) {
        // Unprogrammed fuses (00), erased flash (FF), embassy's unreadable RP2040 flash (EE), and
        // what any bus without a chip gives.
        return bad("one byte repeated");
    }
    if raw.len() >= 8 && distinct(raw) < 3 {
        return bad("nearly constant, as from a wrong address");
    }
    if starts_with(&[0x01, 0x23, 0x45, 0x67, 0x89, 0xab, 0xcd, 0xef], raw) {
        return bad("the digits in order");
    }
    if KNOWN_BAD.contains(&(source, raw)) {
        return bad("what an emulator or a board vendor's placeholder gives");
    }
    Ok(())
}

/// Whether the shorter of `sequence` and `text` is the beginning of the longer, in any case.
fn starts_with(sequence: &[u8], text: &[u8]) -> bool {
    sequence
        .iter()
        .zip(text)
        .all(|(want, found)| want.eq_ignore_ascii_case(found))
}

fn distinct(raw: &[u8]) -> usize {
    raw.iter()
        .enumerate()
        .filter(|&(at, byte)| !raw.iter().take(at).any(|b| b == byte))
        .count()
}

/// Whole bytes in hex, with nothing or one ':' or '-' between them.
fn bytes_of_hex(source: Source, text: &str) -> Result<Vec<u8, 64>, HardwareIdError> {
    let mut raw = Vec::new();
    let mut high = None;
    let mut may_separate = false;
    for (at, byte) in text.bytes().enumerate() {
        let wrong = HardwareIdError::NotHex {
            of: source,
            position: at + 1,
        };
        match (digit(byte), high) {
            (Some(value), None) => high = Some(value),
            (Some(value), Some(first)) => {
                let found = text.len().div_ceil(2);
                raw.push(first << 4 | value)
                    .map_err(|_| HardwareIdError::TooLong { found })?;
                high = None;
            }
            (None, None) if may_separate && matches!(byte, b':' | b'-') => {}
            (None, _) => return Err(wrong),
        }
        may_separate = digit(byte).is_some();
    }
    match (text.len(), high) {
        (0, _) => Err(HardwareIdError::Empty { of: source }),
        (_, None) if may_separate => Ok(raw),
        (length, _) => Err(HardwareIdError::NotHex {
            of: source,
            position: length,
        }),
    }
}

fn digit(byte: u8) -> Option<u8> {
    match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        b'A'..=b'F' => Some(byte - b'A' + 10),
        _ => None,
    }
}

/// The hex digit of 0 to 15.
const fn hex(nibble: u8) -> u8 {
    if nibble < 10 {
        b'0' + nibble
    } else {
        b'a' + nibble - 10
    }
}

/// What stands in a device's name for a byte of a hardware id.
const fn name_byte(byte: u8) -> u8 {
    match byte {
        b'_' | b':' => b'-',
        other => other.to_ascii_lowercase(),
    }
}

/// Appends ASCII bytes; there is room by construction (see [`HardwareText`]).
fn push(text: &mut HardwareText, bytes: impl IntoIterator<Item = u8>) {
    for byte in bytes {
        let _ = text.push(char::from(byte));
    }
}

/// What scripts, shells and boards write where an id should be.
const UNSET: [&[u8]; 6] = [
    b"none",
    b"null",
    b"undefined",
    b"unknown",
    b"unset",
    b"default-string",
];

/// Values that are the same on many boards: the nRF51 of QEMU in each order in which its two words
/// can be read, and what board vendors leave in the SMBIOS UUID, in both of its byte orders.
const KNOWN_BAD: [(Source, &[u8]); 8] = [
    (Source::Nrf, b"\x78\x56\x34\x12\x03\x00\x00\x00"),
    (Source::Nrf, b"\x03\x00\x00\x00\x78\x56\x34\x12"),
    (Source::Nrf, b"\x12\x34\x56\x78\x00\x00\x00\x03"),
    (Source::Nrf, b"\x00\x00\x00\x03\x12\x34\x56\x78"),
    (
        Source::Dmi,
        b"\x03\x00\x02\x00\x04\x00\x05\x00\x00\x06\x00\x07\x00\x08\x00\x09",
    ),
    (
        Source::Dmi,
        b"\x00\x02\x00\x03\x00\x04\x00\x05\x00\x06\x00\x07\x00\x08\x00\x09",
    ),
    (
        Source::Dmi,
        b"\x03\x02\x01\x00\x05\x04\x07\x06\x08\x09\x0a\x0b\x0c\x0d\x0e\x0f",
    ),
    (
        Source::Dmi,
        b"\x00\x01\x02\x03\x04\x05\x06\x07\x08\x09\x0a\x0b\x0c\x0d\x0e\x0f",
    ),
];

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use proptest::prelude::*;
    use std::format;
    use std::string::{String as StdString, ToString};
    use std::vec::Vec as StdVec;

    const UID: &str = "2f0045000e51363234343730";

    #[test]
    fn an_id_has_one_canonical_text_and_one_name() {
        for (typed, text, name) in [
            (
                format!("stm32:{UID}"),
                format!("stm32:{UID}"),
                format!("stm32-{UID}"),
            ),
            (
                format!("STM32:{}", UID.to_uppercase()),
                format!("stm32:{UID}"),
                format!("stm32-{UID}"),
            ),
            (
                "esp-mac:24:6F:28:AB:cd:01".into(),
                "esp-mac:246f28abcd01".into(),
                "esp-mac-246f28abcd01".into(),
            ),
            (
                "mac:24-6f-28-ab-cd-01".into(),
                "mac:246f28abcd01".into(),
                "mac-246f28abcd01".into(),
            ),
            (
                "dmi:4C4C4544-0031-4A10-8052-B4C04F4E3332".into(),
                "dmi:4c4c454400314a108052b4c04f4e3332".into(),
                "dmi-4c4c454400314a108052b4c04f4e3332".into(),
            ),
            (
                "dt-serial:10000000AbCd".into(),
                "dt-serial:10000000AbCd".into(),
                "dt-serial-10000000abcd".into(),
            ),
            ("SN_0001".into(), "custom:SN_0001".into(), "sn-0001".into()),
            (
                "custom:line7:42".into(),
                "custom:line7:42".into(),
                "line7-42".into(),
            ),
            ("soc-1".into(), "custom:soc-1".into(), "soc-1".into()),
            ("7".into(), "custom:7".into(), "7".into()),
        ] {
            let id = HardwareId::parse(&typed).unwrap_or_else(|e| panic!("{typed}: {e}"));
            assert_eq!(id.to_string(), text, "{typed}");
            assert_eq!(id.name_part().as_str(), name, "{typed}");
            assert_eq!(HardwareId::parse(&text), Ok(id), "{text}");
        }
    }

    #[test]
    fn hex_that_is_not_whole_bytes_of_the_source_is_refused() {
        for (of, value, position) in [
            (Source::Mac, "246f28abcd0", 11),
            (Source::Mac, "24:6f:28:ab:cd:", 15),
            (Source::Mac, ":24:6f:28:ab:cd:01", 1),
            (Source::Mac, "24::6f:28:ab:cd:01", 4),
            (Source::Mac, "2:46f28abcd01", 2),
            (Source::Mac, "0x46f28abcd01", 2),
            (Source::Stm32, "2f 00 45 00 0e 51 36 32 34 34 37 30", 3),
        ] {
            let got = HardwareId::parse(&format!("{of}:{value}"));
            assert_eq!(
                got,
                Err(HardwareIdError::NotHex { of, position }),
                "{of}:{value}"
            );
        }
        let (of, shortest, longest) = (Source::Stm32, 12, 12);
        for found in [11, 13] {
            let got = HardwareId::parse(&format!("stm32:{}", "4a".repeat(found)));
            assert_eq!(
                got,
                Err(HardwareIdError::Length {
                    of,
                    shortest,
                    longest,
                    found
                })
            );
        }
        let got = HardwareId::parse(&format!("tpm-ek:{}", "0123".repeat(40)));
        assert_eq!(got, Err(HardwareIdError::TooLong { found: 80 }));
        for (text, of) in [
            ("", Source::Custom),
            ("stm32:", Source::Stm32),
            ("soc:", Source::Soc),
        ] {
            assert_eq!(
                HardwareId::parse(text),
                Err(HardwareIdError::Empty { of }),
                "{text}"
            );
        }
    }

    #[test]
    fn text_that_breaks_a_topic_a_path_or_the_eye_is_refused() {
        for (text, found, position) in [
            ("a b", b' ', 2),
            ("fleet/+", b'/', 6),
            ("a+b", b'+', 2),
            ("a#b", b'#', 2),
            ("$SYS", b'$', 1),
            ("a\0", 0, 2),
            ("a\n", b'\n', 2),
            // A Cyrillic 'а' (U+0430) and a full-width digit read like ASCII and are not.
            ("p\u{430}y", 0xd0, 2),
            ("\u{ff11}23", 0xef, 1),
        ] {
            let want = Err(HardwareIdError::Character { found, position });
            assert_eq!(HardwareId::parse(text), want, "{text:?}");
        }
        for text in ["..", "-rf", "a:", "_a"] {
            assert_eq!(
                HardwareId::parse(text),
                Err(HardwareIdError::Edge),
                "{text:?}"
            );
        }
        let long = "ab".repeat(32) + "c";
        assert_eq!(
            HardwareId::parse(&long),
            Err(HardwareIdError::TooLong { found: 65 })
        );
        assert!(HardwareId::parse(&long[..64]).is_ok());
    }

    #[test]
    fn a_custom_id_never_reads_like_silicon() {
        for (text, of) in [
            (format!("custom:stm32:{UID}"), Source::Stm32),
            (format!("custom:STM32:{UID}"), Source::Stm32),
            ("custom:stm32:anything".into(), Source::Stm32),
            ("custom:custom:a".into(), Source::Custom),
            (format!("stm32-{UID}"), Source::Stm32),
            (format!("stm32_{}", UID.to_uppercase()), Source::Stm32),
            ("ESP_MAC-246f28abcd01".into(), Source::EspMac),
            ("esp:mac:246f28abcd01".into(), Source::EspMac),
        ] {
            assert_eq!(
                HardwareId::parse(&text),
                Err(HardwareIdError::LooksLike { of }),
                "{text}"
            );
        }
        assert_eq!(
            HardwareId::new(Source::Custom, b"nrf:0102030405060708"),
            Err(HardwareIdError::LooksLike { of: Source::Nrf })
        );
        // One digit short of a UID: no device of that source can have this name.
        assert!(HardwareId::parse(&format!("stm32-{}", &UID[1..])).is_ok());
    }

    #[test]
    fn values_that_many_devices_give_are_refused() {
        for text in [
            "stm32:000000000000000000000000",
            "stm32:ffffffffffffffffffffffff",
            "rp2040:eeeeeeeeeeeeeeee",
            "nrf:a5a5a5a5a5a5a5a5",
            "samd:00000000000000010000000000000000",
            "mac:01:23:45:67:89:ab",
            "nrf:0123456789abcdef",
            "atecc:0123456789abcdefee",
            "nrf:0000000312345678",
            "nrf:7856341203000000",
            "dmi:03000200-0400-0500-0006-000700080009",
            "dt-serial:0",
            "dt-serial:0000000000000000",
            "soc:0123456789",
            "0123456789ABCDEF",
            "custom:00000000",
            "None",
            "unknown",
        ] {
            let got = HardwareId::parse(text);
            assert!(
                matches!(got, Err(HardwareIdError::KnownBad { .. })),
                "{text}: {got:?}"
            );
        }
        // Like the above, but single devices have these.
        for text in [
            "mac:52:54:00:12:34:56",
            "0",
            "0000001",
            "nrf:0000000412345678",
            "unknown-1",
        ] {
            assert!(HardwareId::parse(text).is_ok(), "{text}");
        }
    }

    #[test]
    fn only_hardware_with_a_key_inside_can_be_proven_by_its_vendor() {
        for (text, want) in [
            ("custom:a", IdentityStrength::Asserted),
            (
                "machine-id:4c4c454400314a108052b4c04f4e3332",
                IdentityStrength::Asserted,
            ),
            ("rp2040:e6614103e7452d2f", IdentityStrength::ReplaceablePart),
            ("rp2350:e6614103e7452d2f", IdentityStrength::SiliconId),
            ("atecc:0123aa55c3f0190bee", IdentityStrength::VendorProven),
        ] {
            assert_eq!(
                HardwareId::parse(text).unwrap().strength_ceiling(),
                want,
                "{text}"
            );
        }
    }

    fn any_id() -> impl Strategy<Value = HardwareId> {
        let source = proptest::sample::select(Source::ALL.to_vec());
        let text = "[A-Za-z0-9]([A-Za-z0-9._:-]{0,62}[A-Za-z0-9])?";
        (source, text, proptest::collection::vec(any::<u8>(), 32)).prop_filter_map(
            "known bad or look-alike",
            |(source, text, bytes)| match source.shape() {
                Shape::Text => HardwareId::new(source, text.as_bytes()).ok(),
                Shape::Bytes(shortest, _) => HardwareId::new(source, &bytes[..shortest]).ok(),
            },
        )
    }

    proptest! {
        #[test]
        fn printing_and_parsing_is_identity(id in any_id()) {
            let text = id.to_string();
            prop_assert_eq!(HardwareId::parse(&text), Ok(id.clone()));
            prop_assert!(id.name_part().bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b".-".contains(&b)));
            if id.source() != Source::Custom {
                prop_assert!(id.name_part().len() > id.source().prefix().len() + 1);
            }
        }

        #[test]
        fn any_text_parses_or_says_why(text in ".{0,80}") {
            match HardwareId::parse(&text) {
                Ok(id) => prop_assert_eq!(HardwareId::parse(&id.to_string()), Ok(id)),
                Err(why) => prop_assert!(!why.to_string().is_empty()),
            }
        }

        #[test]
        fn hex_with_any_case_and_separators_is_the_same_id(raw in any::<[u8; 12]>(), mark in "[:-]?") {
            prop_assume!(HardwareId::new(Source::Stm32, &raw).is_ok());
            let pairs: StdVec<StdString> = raw.iter().enumerate()
                .map(|(at, b)| if at % 2 == 0 { format!("{b:02X}") } else { format!("{b:02x}") })
                .collect();
            let typed = format!("Stm32:{}", pairs.join(&mark));
            prop_assert_eq!(HardwareId::parse(&typed), HardwareId::new(Source::Stm32, &raw));
        }
    }
}
