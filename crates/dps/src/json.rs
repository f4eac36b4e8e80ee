//! JSON that passes through, and bytes in JSON.

use core::fmt;

use base64::Engine as _;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::value::RawValue;

/// Any JSON value, as the text that it is: `payload`, which belongs to the fleet's owner and is not
/// looked into here. Its Debug prints the length alone, because owners put secrets there.
#[derive(Clone)]
pub struct Payload(Box<RawValue>);

impl Payload {
    /// Reads one JSON value. `None` if the text is none, or nests deeper than 32.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        if !is_shallow(text.as_bytes()) {
            return None;
        }
        serde_json::from_str(text).ok().map(Self)
    }

    /// The JSON text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.0.get()
    }
}

impl fmt::Debug for Payload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Payload({} bytes)", self.as_str().len())
    }
}

impl PartialEq for Payload {
    fn eq(&self, other: &Self) -> bool {
        self.as_str() == other.as_str()
    }
}

impl Eq for Payload {}

impl Serialize for Payload {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Payload {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Box::<RawValue>::deserialize(deserializer).map(Self)
    }
}

/// Whether a text begins as an object does: `serde` would read a list as a struct's fields in turn.
pub(crate) fn is_object(text: &[u8]) -> bool {
    text.trim_ascii_start().first() == Some(&b'{')
}

/// Whether objects and lists nest no deeper than [`MAX_DEPTH`]. Text that is no JSON is not told
/// apart from text that is: whoever parses it does that.
pub(crate) fn is_shallow(text: &[u8]) -> bool {
    let (mut depth, mut in_string, mut escaped) = (0_usize, false, false);
    for byte in text {
        match (in_string, byte) {
            (true, _) if escaped => escaped = false,
            (true, b'\\') => escaped = true,
            (_, b'"') => in_string = !in_string,
            (false, b'{' | b'[') => depth += 1,
            (false, b'}' | b']') => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth > MAX_DEPTH {
            return false;
        }
    }
    true
}

/// How deep what a stranger sends may nest.
const MAX_DEPTH: usize = 32;

/// Base64 with or without its padding, in lines or not: SDKs differ.
pub(crate) fn from_base64(text: &str) -> Option<Vec<u8>> {
    let text: String = text.split_ascii_whitespace().collect();
    TOLERANT.decode(text).ok()
}

pub(crate) fn to_base64(bytes: &[u8]) -> String {
    TOLERANT.encode(bytes)
}

const TOLERANT: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// For `#[serde(with = "crate::json::base64_text")]`.
pub(crate) mod base64_text {
    use super::{Deserialize, Deserializer, Serializer, from_base64, to_base64};

    pub(crate) fn serialize<S: Serializer>(bytes: &[u8], to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&to_base64(bytes))
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<u8>, D::Error> {
        let text = String::deserialize(from)?;
        from_base64(&text).ok_or_else(|| serde::de::Error::custom("not base64"))
    }
}

/// The same for a list: `issuedCertificateChain`.
pub(crate) mod base64_list {
    use super::{Deserialize, Deserializer, Serializer, from_base64, to_base64};

    #[expect(clippy::ref_option, reason = "serde calls it so")]
    pub(crate) fn serialize<S: Serializer>(
        list: &Option<Vec<Vec<u8>>>,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        to.collect_seq(list.iter().flatten().map(|bytes| to_base64(bytes)))
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<Option<Vec<Vec<u8>>>, D::Error> {
        let Some(list) = Option::<Vec<String>>::deserialize(from)? else {
            return Ok(None);
        };
        let list = list.iter().map(|text| from_base64(text)).collect();
        let list: Option<Vec<_>> = list;
        list.map(Some)
            .ok_or_else(|| serde::de::Error::custom("not base64"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn depth_is_counted_outside_of_texts() {
        let nested = |depth| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        assert!(Payload::parse(&nested(32)).is_some());
        assert!(Payload::parse(&nested(33)).is_none());
        let braces = format!("\"\\\"{}\"", "{".repeat(100));
        assert!(Payload::parse(&braces).is_some());
        let wide = format!("[{}{{}}]", "{},".repeat(1_000));
        assert!(Payload::parse(&wide).is_some());
    }

    #[test]
    fn a_payload_is_any_json_and_nothing_else() {
        for text in ["{}", "null", "1", "\"a\"", "[1,{\"a\":[]}]"] {
            assert_eq!(Payload::parse(text).unwrap().as_str(), text);
        }
        for text in ["", "{", "{}{}", "nul", "'a'"] {
            assert!(Payload::parse(text).is_none(), "{text}");
        }
        let payload = Payload::parse("{\"secret\":1}").unwrap();
        assert_eq!(format!("{payload:?}"), "Payload(12 bytes)");
    }

    #[test]
    fn base64_is_read_with_and_without_padding() {
        for text in ["AAE=", "AAE", "AA\r\nE=\n"] {
            assert_eq!(from_base64(text), Some(vec![0, 1]), "{text}");
        }
        for text in ["A", "A*==", "AAF=", "AA_-"] {
            assert_eq!(from_base64(text), None, "{text}");
        }
    }
}
