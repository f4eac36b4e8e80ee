//! The name that a device has in the fleet: the certificate's common name, the registry's key.

use core::fmt;
use core::str::FromStr;

use heapless::String;

/// A device's name in the fleet, made by its product's naming rule.
///
/// 1 to 64 characters of `[a-z0-9.-]`, beginning and ending with a letter or digit: it fits the
/// certificate's common name (X.520 ub-common-name is 64), a DNS label sequence, an MQTT topic
/// level and a file name, and it has no look-alikes and no wildcards.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DeviceId(String<64>);

impl DeviceId {
    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for DeviceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl FromStr for DeviceId {
    type Err = DeviceIdError;

    fn from_str(text: &str) -> Result<Self, DeviceIdError> {
        let inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
        let bytes = text.as_bytes();
        let (Some(&first), Some(&last)) = (bytes.first(), bytes.last()) else {
            return Err(DeviceIdError::Length(0));
        };
        if let Some(bad) = text
            .chars()
            .find(|c| !(c.is_ascii_lowercase() || c.is_ascii_digit() || *c == '.' || *c == '-'))
        {
            return Err(DeviceIdError::Character(bad));
        }
        if !inner(first) || !inner(last) {
            return Err(DeviceIdError::Edge);
        }
        String::try_from(text)
            .map(Self)
            .map_err(|_| DeviceIdError::Length(bytes.len()))
    }
}

/// Why a text is not a device's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DeviceIdError {
    /// Empty, or longer than 64 characters.
    #[error("a device's name has 1 to 64 characters, this one has {0}")]
    Length(usize),
    /// A character outside `[a-z0-9.-]`.
    #[error("a device's name is made of a-z, 0-9, '.' and '-'; this one has {0:?}")]
    Character(char),
    /// It begins or ends with '.' or '-'.
    #[error("a device's name begins and ends with a letter or a digit")]
    Edge,
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use std::string::ToString;

    #[test]
    fn a_name_is_kept_as_it_is() {
        let longest = "a".repeat(64);
        for text in ["a", "0", "thermo-7", "a.b--c..d", &longest] {
            assert_eq!(text.parse::<DeviceId>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn what_would_break_a_topic_a_path_or_a_certificate_is_no_name() {
        let long = "a".repeat(65);
        for (text, want) in [
            ("", DeviceIdError::Length(0)),
            (long.as_str(), DeviceIdError::Length(65)),
            ("A", DeviceIdError::Character('A')),
            ("a/b", DeviceIdError::Character('/')),
            ("a+", DeviceIdError::Character('+')),
            ("*.a", DeviceIdError::Character('*')),
            ("a\0", DeviceIdError::Character('\0')),
            ("a\u{430}", DeviceIdError::Character('\u{430}')),
            ("..", DeviceIdError::Edge),
            ("-a", DeviceIdError::Edge),
            ("a.", DeviceIdError::Edge),
        ] {
            assert_eq!(text.parse::<DeviceId>(), Err(want), "{text:?}");
        }
    }
}
