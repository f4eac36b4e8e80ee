//! How a product names its devices.

use heapless::String;

use crate::{DeviceId, DeviceIdError, HardwareId};

/// A product's rule for the names of its devices: text with `{product}` and `{hardware}` in it.
///
/// `{hardware}` must be there, or two devices would have one name.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct NamingRule(String<64>);

impl NamingRule {
    /// The rule that a product has unless it says otherwise.
    pub const DEFAULT: &str = "{product}-{hardware}";

    /// Reads a rule: 1 to 64 characters, `[a-z0-9.-]` and at most one of each placeholder.
    pub fn parse(text: &str) -> Result<Self, NamingError> {
        for placeholder in [PRODUCT, HARDWARE] {
            if text.matches(placeholder).count() > 1 {
                return Err(NamingError::Twice(placeholder));
            }
        }
        let (before, after) = text.split_once(HARDWARE).ok_or(NamingError::NoHardware)?;
        for literal in [before, after] {
            for part in literal.split(PRODUCT) {
                if let Some(bad) = part.chars().find(|&c| !is_name_character(c)) {
                    return Err(NamingError::Character(bad));
                }
            }
        }
        String::try_from(text)
            .map(Self)
            .map_err(|_| NamingError::Long(text.len()))
    }

    /// The rule as it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The name of one device.
    ///
    /// A name that comes out longer than 64 characters keeps its beginning and ends in `-` and 16
    /// hex digits of `hash` over the whole long name, so that it stays unique. Use the first 8
    /// bytes of SHA-256; the hash is an argument because this crate has no cryptography.
    pub fn apply(
        &self,
        product: &str,
        hardware: &HardwareId,
        hash: impl FnOnce(&[u8]) -> [u8; 8],
    ) -> Result<DeviceId, NamingError> {
        let hardware = hardware.name_part();
        let mut name: String<320> = String::new();
        let mut rest = self.0.as_str();
        while let Some(character) = rest.chars().next() {
            let (piece, length) = if rest.starts_with(PRODUCT) {
                (product, PRODUCT.len())
            } else if rest.starts_with(HARDWARE) {
                (hardware.as_str(), HARDWARE.len())
            } else {
                (
                    rest.get(..character.len_utf8()).unwrap_or_default(),
                    character.len_utf8(),
                )
            };
            name.push_str(piece)
                .map_err(|_| NamingError::Product(product.len()))?;
            rest = rest.get(length..).unwrap_or_default();
        }
        if name.len() > LONGEST {
            // Judge the whole before most of it is cut away.
            if let Some(bad) = name.chars().find(|&c| !is_name_character(c)) {
                return Err(NamingError::Name(DeviceIdError::Character(bad)));
            }
            let digest = hash(name.as_bytes());
            name.truncate(LONGEST - 17);
            name.truncate(name.trim_end_matches(['-', '.']).len());
            let _ = name.push('-');
            for nibble in digest.into_iter().flat_map(|byte| [byte >> 4, byte & 15]) {
                let _ = name.push(char::from_digit(u32::from(nibble), 16).unwrap_or('0'));
            }
        }
        name.parse().map_err(NamingError::Name)
    }
}

/// Why a naming rule is refused, or gives no name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NamingError {
    /// `{hardware}` is missing.
    #[error("a naming rule needs {{hardware}}, or two devices would have the same name")]
    NoHardware,
    /// A placeholder stands twice.
    #[error("a naming rule has {0} once at most")]
    Twice(&'static str),
    /// A character outside `[a-z0-9.-]`, or an unknown placeholder.
    #[error(
        "a naming rule is made of a-z, 0-9, '.', '-', {{product}} and {{hardware}}; this one has {0:?}"
    )]
    Character(char),
    /// More than 64 characters.
    #[error("a naming rule has at most 64 characters, this one has {0}")]
    Long(usize),
    /// The product's name leaves no room.
    #[error("the product's name has {0} characters; use 64 or fewer")]
    Product(usize),
    /// The rule's outcome is not a device's name.
    #[error("the naming rule and the product's name don't make a device's name")]
    Name(#[source] DeviceIdError),
}

fn is_name_character(character: char) -> bool {
    character.is_ascii_lowercase() || character.is_ascii_digit() || matches!(character, '.' | '-')
}

const PRODUCT: &str = "{product}";
const HARDWARE: &str = "{hardware}";
const LONGEST: usize = 64;

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use proptest::prelude::*;
    use std::format;
    use std::string::ToString;

    fn name(rule: &str, product: &str, hardware: &str) -> Result<DeviceId, NamingError> {
        let hardware = HardwareId::parse(hardware).unwrap();
        NamingRule::parse(rule)?.apply(product, &hardware, |_| [0xab; 8])
    }

    #[test]
    fn a_rule_names_a_device() {
        for (rule, product, hardware, want) in [
            (NamingRule::DEFAULT, "thermo", "SN_7", "thermo-sn-7"),
            (
                NamingRule::DEFAULT,
                "thermo",
                "nrf:e6614103e7452d2f",
                "thermo-nrf-e6614103e7452d2f",
            ),
            ("{hardware}", "thermo", "a", "a"),
            (
                "{hardware}.{product}.example",
                "thermo",
                "a",
                "a.thermo.example",
            ),
            (
                NamingRule::DEFAULT,
                "thermo",
                "tpm-ek:00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff",
                "thermo-tpm-ek-00112233445566778899aabbccddeeff0-abababababababab",
            ),
            // The cut falls behind a mark, which goes.
            (
                "{product}-{hardware}",
                "p",
                "a2345678901234567890123456789012345678901234.-789012345678901234",
                "p-a2345678901234567890123456789012345678901234-abababababababab",
            ),
        ] {
            let got = name(rule, product, hardware).unwrap_or_else(|e| panic!("{rule}: {e}"));
            assert_eq!(got.as_str(), want, "{rule} {product} {hardware}");
        }
    }

    #[test]
    fn the_name_of_64_characters_is_kept_and_the_65th_brings_the_hash() {
        let fits = "a".to_string() + &"b".repeat(61);
        assert_eq!(
            name(NamingRule::DEFAULT, "p", &fits).unwrap().as_str(),
            format!("p-{fits}")
        );
        let long = fits + "c";
        let got = name(NamingRule::DEFAULT, "p", &long).unwrap();
        assert_eq!(got.as_str().len(), 64);
        assert!(got.as_str().ends_with("b-abababababababab"), "{got}");
    }

    #[test]
    fn a_rule_that_could_name_two_devices_alike_is_refused() {
        for (rule, want) in [
            ("", NamingError::NoHardware),
            ("{product}", NamingError::NoHardware),
            ("{hardware}{hardware}", NamingError::Twice("{hardware}")),
            (
                "{product}{product}{hardware}",
                NamingError::Twice("{product}"),
            ),
            ("{hardware}-{serial}", NamingError::Character('{')),
            ("Dev-{hardware}", NamingError::Character('D')),
            ("{hardware}/x", NamingError::Character('/')),
            ("{hardware}\u{e4}", NamingError::Character('\u{e4}')),
        ] {
            assert_eq!(NamingRule::parse(rule), Err(want), "{rule}");
        }
        let long = format!("{{hardware}}{}", "a".repeat(55));
        assert_eq!(NamingRule::parse(&long), Err(NamingError::Long(65)));
    }

    #[test]
    fn a_product_that_makes_no_name_is_refused() {
        let long = "p".repeat(400);
        for (rule, product, want) in [
            (
                NamingRule::DEFAULT,
                "",
                NamingError::Name(DeviceIdError::Edge),
            ),
            (
                NamingRule::DEFAULT,
                "Thermo",
                NamingError::Name(DeviceIdError::Character('T')),
            ),
            ("-{hardware}", "x", NamingError::Name(DeviceIdError::Edge)),
            (NamingRule::DEFAULT, &long, NamingError::Product(400)),
        ] {
            assert_eq!(name(rule, product, "sn-1"), Err(want), "{rule} {product:?}");
        }
        let cut_away = "{product}{hardware}";
        let late = "p".repeat(63) + "/";
        assert_eq!(
            name(cut_away, &late, "sn-1"),
            Err(NamingError::Name(DeviceIdError::Character('/')))
        );
    }

    proptest! {
        #[test]
        fn every_name_is_a_device_id(
            product in "[a-z0-9]([a-z0-9-]{0,62}[a-z0-9])?",
            hardware in "[A-Za-z0-9]([A-Za-z0-9._:-]{0,62}[A-Za-z0-9])?",
        ) {
            let Ok(hardware) = HardwareId::parse(&hardware) else { return Ok(()) };
            let rule = NamingRule::parse(NamingRule::DEFAULT).unwrap();
            let name = rule.apply(&product, &hardware, |_| [1; 8]).unwrap();
            prop_assert_eq!(name.as_str().parse::<DeviceId>(), Ok(name.clone()));
        }
    }
}
