//! The names of the device API. Those of scopes and registrations don't know upper from lower case.

use core::fmt;
use core::hash::{Hash, Hasher};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// `idScope`: which fleet is meant; 1 to 64 of `[0-9A-Za-z_-]`. Equal whatever the case.
#[derive(Debug, Clone)]
pub struct IdScope(String);

/// `registrationId`: which device is meant; 1 to 128 of `[0-9A-Za-z._:-]`, the last a letter, a digit
/// or `-`. Equal whatever the case; kept as the device wrote it, because that is what it has signed.
#[derive(Debug, Clone)]
pub struct RegistrationId(String);

/// `operationId`: 1 to 200 of `[0-9A-Za-z._~-]`, because one SDK escapes it and another does not.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct OperationId(String);

/// `$rid`: by which a device knows an answer again; 1 to 128 of `[0-9A-Za-z._~%-]`. It comes back in
/// a topic, so nothing is in it that means something there.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Rid(String);

/// `api-version`: a date, perhaps with `-preview` behind it; 1 to 32 of `[0-9A-Za-z.-]`. Versions
/// that nobody has heard of are as good as any.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ApiVersion(String);

impl IdScope {
    /// Reads a scope's name, nothing escaped.
    pub fn new(text: &str) -> Result<Self, NameError> {
        checked("idScope", text, 64, |b| b"-_".contains(&b)).map(Self)
    }

    /// As it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// In lower case: one spelling a scope.
    #[must_use]
    pub fn canonical(&self) -> String {
        self.0.to_ascii_lowercase()
    }
}

impl RegistrationId {
    /// Reads a device's name, nothing escaped.
    pub fn new(text: &str) -> Result<Self, NameError> {
        let id = checked("registrationId", text, 128, |b| b"-._:".contains(&b))?;
        if id.ends_with(['.', '_', ':']) {
            return Err(NameError::Last);
        }
        Ok(Self(id))
    }

    /// As the device wrote it.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// In lower case: one spelling a device.
    #[must_use]
    pub fn canonical(&self) -> String {
        self.0.to_ascii_lowercase()
    }
}

impl OperationId {
    /// Reads an operation's name, nothing escaped.
    pub fn new(text: &str) -> Result<Self, NameError> {
        checked("operationId", text, 200, |b| b"-._~".contains(&b)).map(Self)
    }

    /// As it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Rid {
    /// Reads the value of `$rid` as it stands in a topic.
    pub fn new(text: &str) -> Result<Self, NameError> {
        checked("$rid", text, 128, |b| b"-._~%".contains(&b)).map(Self)
    }

    /// As it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl ApiVersion {
    /// The one with which most of the vendor's SDKs ask.
    pub const COMMON: &str = "2019-03-31";
    /// The first that knows certification requests.
    pub const WITH_CSR: &str = "2025-07-01-preview";

    /// Reads a version, nothing escaped.
    pub fn new(text: &str) -> Result<Self, NameError> {
        checked("api-version", text, 32, |b| b"-.".contains(&b)).map(Self)
    }

    /// As it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether this is a version of that day or of an earlier one. `day` is `2018-04-01`. What is no
    /// date counts as new.
    #[must_use]
    pub fn is_until(&self, day: &str) -> bool {
        let date = self.0.get(..10).unwrap_or_default();
        let is_date = date.bytes().enumerate().all(|(at, byte)| match at {
            4 | 7 => byte == b'-',
            _ => byte.is_ascii_digit(),
        });
        date.len() == 10 && is_date && date <= day
    }
}

fn checked(
    what: &'static str,
    text: &str,
    most: usize,
    also: impl Fn(u8) -> bool,
) -> Result<String, NameError> {
    if text.is_empty() {
        return Err(NameError::Empty { what });
    }
    if text.len() > most {
        return Err(NameError::Long { what, most });
    }
    if !text.bytes().all(|b| b.is_ascii_alphanumeric() || also(b)) {
        return Err(NameError::Character { what });
    }
    Ok(text.to_owned())
}

/// Why a text is not such a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NameError {
    /// There is nothing.
    #[error("{what} is missing or empty")]
    Empty {
        /// Which name.
        what: &'static str,
    },
    /// It is longer than it may be.
    #[error("{what} is longer than {most} characters")]
    Long {
        /// Which name.
        what: &'static str,
        /// How long it may be.
        most: usize,
    },
    /// A character that is in no such name.
    #[error("{what} has a character that is not allowed there")]
    Character {
        /// Which name.
        what: &'static str,
    },
    /// A registration id ends with something else.
    #[error("registrationId ends with a character other than a letter, a digit or -")]
    Last,
}

macro_rules! texts {
    ($($name:ident),*) => {$(
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.0)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = String::deserialize(deserializer)?;
                Self::new(&text).map_err(serde::de::Error::custom)
            }
        }
    )*};
}

texts!(IdScope, RegistrationId, OperationId, Rid, ApiVersion);

macro_rules! whatever_the_case {
    ($($name:ident),*) => {$(
        impl PartialEq for $name {
            fn eq(&self, other: &Self) -> bool {
                self.0.eq_ignore_ascii_case(&other.0)
            }
        }

        impl Eq for $name {}

        impl Hash for $name {
            fn hash<H: Hasher>(&self, state: &mut H) {
                self.canonical().hash(state);
            }
        }
    )*};
}

whatever_the_case!(IdScope, RegistrationId);

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn registration_ids_are_read_as_the_vendor_draws_them() {
        let long = "a".repeat(128);
        for id in [
            "a",
            "A-1._:b",
            "sn-007-888-abc-mac-a1-b2-c3-d4-e5-f6",
            "a-",
            &long,
        ] {
            assert_eq!(RegistrationId::new(id).unwrap().as_str(), id);
        }
        let what = "registrationId";
        for (id, want) in [
            ("", NameError::Empty { what }),
            (&*"a".repeat(129), NameError::Long { what, most: 128 }),
            ("a b", NameError::Character { what }),
            ("a/b", NameError::Character { what }),
            ("ä", NameError::Character { what }),
            ("a%20", NameError::Character { what }),
            ("a\n", NameError::Character { what }),
            ("a.", NameError::Last),
            ("a_", NameError::Last),
            ("a:", NameError::Last),
        ] {
            assert_eq!(RegistrationId::new(id), Err(want), "{id:?}");
        }
    }

    #[test]
    fn upper_and_lower_case_name_the_same_device() {
        let ids = ["Dev-1", "dev-1", "DEV-1"].map(|id| RegistrationId::new(id).unwrap());
        let one: HashSet<_> = ids.iter().cloned().collect();
        assert_eq!(one.len(), 1);
        assert_eq!(ids[0].as_str(), "Dev-1");
        assert_eq!(ids[0].canonical(), "dev-1");
        assert_eq!(IdScope::new("0NE0"), IdScope::new("0ne0"));
        assert_ne!(OperationId::new("5.A"), OperationId::new("5.a"));
    }

    #[test]
    fn versions_are_compared_by_their_day() {
        for (version, day, want) in [
            ("2018-04-01", "2018-04-01", true),
            ("2017-11-15", "2018-04-01", true),
            ("2018-04-01-preview", "2018-04-01", true),
            ("2019-03-31", "2018-04-01", false),
            ("2026-11-01", "2018-04-01", false),
            ("x", "2018-04-01", false),
            ("1-1-1-1-1-1-1", "2018-04-01", false),
        ] {
            let version = ApiVersion::new(version).unwrap();
            assert_eq!(version.is_until(day), want, "{version}");
        }
    }

    #[test]
    fn what_would_mean_something_in_a_topic_is_no_rid() {
        for rid in ["", "a b", "a/b", "a&b", "a$b", "a#", "+", "a=b", "a\0"] {
            assert!(Rid::new(rid).is_err(), "{rid:?}");
        }
        for rid in ["1", "6a9e5c42-0b6c-4a39-9d29-a4d3d1d0e5f1", "a%2D"] {
            assert!(Rid::new(rid).is_ok(), "{rid:?}");
        }
    }
}
