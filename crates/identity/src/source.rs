//! Where hardware ids are read, and what we know of each such place.

use core::fmt;

use heapless::Vec;

use crate::strength::IdentityStrength;

/// Where a hardware id was read.
///
/// Each variant says what the raw bytes are. The byte order matters: the same STM32 is another
/// device when somebody prints its words instead of its memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Source {
    /// STM32 96-bit UID: 12 bytes as they lie in memory, word 0 first, each word little-endian.
    /// Zephyr's `hwinfo` prints the words in reverse, and the USB DFU serial number is a lossy
    /// derivation: convert before you build an id. On L0 and L1 the words are at +0x00, +0x04 and
    /// +0x14.
    Stm32,
    /// ESP32 family factory MAC from eFuse: 6 bytes in transmission order.
    EspMac,
    /// ESP32-S2 and later `OPTIONAL_UNIQUE_ID` from eFuse BLOCK2: 16 bytes, lowest address first.
    EspEfuse,
    /// nRF `FICR.DEVICEID`: 8 bytes as they lie in memory, `DEVICEID[0]` first, little-endian.
    Nrf,
    /// SAM D, L and E serial number: four words, 16 bytes as they lie in memory, word 0 first.
    Samd,
    /// RP2040: the 8-byte unique id of its QSPI flash (command 0x4B). It moves with the flash.
    Rp2040,
    /// RP2350 OTP `CHIPID0..3`: 8 bytes, in the order of the boot ROM's USB serial number.
    Rp2350,
    /// ATECC608 serial number: 9 bytes, `SN[0]` first (config zone bytes 0 to 3 and 8 to 12).
    Atecc,
    /// STSAFE-A serial number: 8 to 16 bytes by personalisation profile, as product data gives it.
    Stsafe,
    /// OPTIGA Trust M coprocessor UID, data object E0C2: 27 bytes.
    Optiga,
    /// TPM 2.0: SHA-256 of the endorsement key's `SubjectPublicKeyInfo`, 32 bytes.
    TpmEk,
    /// Linux device tree `serial-number`, text without its closing NUL. The boot loader wrote it.
    DeviceTree,
    /// Linux `/sys/devices/soc0/serial_number`, text.
    Soc,
    /// eMMC CID register: 16 bytes, most significant first, as `/sys/block/mmcblk*/device/cid`.
    Emmc,
    /// SMBIOS system UUID: 16 bytes in the order in which the kernel's `product_uuid` prints them
    /// (SMBIOS stores the first three fields little-endian).
    Dmi,
    /// A network card's *permanent* address (`ETHTOOL_GPERMADDR`), 6 bytes in transmission order.
    Mac,
    /// `/etc/machine-id`: 16 bytes. It belongs to the installation and is cloned with images.
    MachineId,
    /// NXP i.MX OCOTP unique id: 8 bytes (16 on parts with 128 bits), lowest fuse word first, each
    /// word little-endian.
    ImxOcotp,
    /// Whatever the maker writes on the label: text.
    Custom,
}

impl Source {
    /// Every source.
    pub const ALL: [Self; 19] = [
        Self::Stm32,
        Self::EspMac,
        Self::EspEfuse,
        Self::Nrf,
        Self::Samd,
        Self::Rp2040,
        Self::Rp2350,
        Self::Atecc,
        Self::Stsafe,
        Self::Optiga,
        Self::TpmEk,
        Self::DeviceTree,
        Self::Soc,
        Self::Emmc,
        Self::Dmi,
        Self::Mac,
        Self::MachineId,
        Self::ImxOcotp,
        Self::Custom,
    ];

    /// The source as it stands before the colon.
    #[must_use]
    pub const fn prefix(self) -> &'static str {
        self.facts().prefix
    }

    /// The source whose prefix is `text`, exactly.
    #[must_use]
    pub fn from_prefix(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|source| source.prefix() == text)
    }

    pub(crate) fn from_prefix_in_any_case(text: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|source| source.prefix().eq_ignore_ascii_case(text))
    }

    /// Whether the value is text and not bytes in hex.
    #[must_use]
    pub const fn is_text(self) -> bool {
        matches!(self.shape(), Shape::Text)
    }

    /// The most that an id from this source can be worth, when the evidence is the best that such
    /// hardware can give.
    #[must_use]
    pub const fn strength_ceiling(self) -> IdentityStrength {
        self.facts().ceiling
    }

    /// `hwType` of a `HardwareModuleName` (RFC 4108 section 5), in dotted decimal: an arc under
    /// 2.25 made of a random UUID (ITU-T X.667), fixed for ever.
    #[must_use]
    pub const fn hw_type(self) -> &'static str {
        match self {
            Self::Stm32 => "2.25.249948483574092571660483567437210275398",
            Self::EspMac => "2.25.308610419087062875193634584730164558590",
            Self::EspEfuse => "2.25.5220899420204211503374069867107657055",
            Self::Nrf => "2.25.79785894791267734499597349847390682551",
            Self::Samd => "2.25.137100927439546496938789357757028665800",
            Self::Rp2040 => "2.25.274476114970936248357346863151111401188",
            Self::Rp2350 => "2.25.217917484400962826395571807743593662526",
            Self::Atecc => "2.25.116378200459602779605157406003521096490",
            Self::Stsafe => "2.25.263401159124059791455566924085919441389",
            Self::Optiga => "2.25.207524933478142555006623945556932876245",
            Self::TpmEk => "2.25.232699752656851313119684442246113842538",
            Self::DeviceTree => "2.25.131799944551608143109432800206026706330",
            Self::Soc => "2.25.172466506385754729705487607341040992481",
            Self::Emmc => "2.25.82424990676235717544911596104355000102",
            Self::Dmi => "2.25.136058360315139096082459887046378577541",
            Self::Mac => "2.25.200704668632282963461424322685405036105",
            Self::MachineId => "2.25.206856775057167034724719607134080374218",
            Self::ImxOcotp => "2.25.141263002127015457332717303860101553769",
            Self::Custom => "2.25.323407830233784336158726786663396378420",
        }
    }

    /// The same OID as the content octets of its DER encoding: 0x69 for `2.25`, then the arc in
    /// base 128. Many OID types stop at 32-bit arcs and can't hold this one.
    #[must_use]
    pub fn hw_type_octets(self) -> Vec<u8, 20> {
        let arc = self.hw_type_arc();
        let mut octets = Vec::new();
        // 128 bits are at most 19 groups of 7: 20 octets always hold them.
        let _ = octets.push(0x69);
        let groups = (128 - arc.leading_zeros()).div_ceil(7);
        for group in (0..groups).rev() {
            let [low, ..] = (arc >> (7 * group)).to_le_bytes();
            let _ = octets.push((low & 0x7f) | if group == 0 { 0 } else { 0x80 });
        }
        octets
    }

    /// The source whose `hwType` has these DER content octets.
    #[must_use]
    pub fn from_hw_type_octets(octets: &[u8]) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|source| source.hw_type_octets().as_slice() == octets)
    }

    /// The decimal number behind `2.25.`.
    fn hw_type_arc(self) -> u128 {
        let digits = self.hw_type().bytes().skip("2.25.".len());
        digits.fold(0, |arc, digit| arc * 10 + u128::from(digit - b'0'))
    }

    pub(crate) const fn shape(self) -> Shape {
        self.facts().shape
    }

    const fn facts(self) -> Facts {
        use IdentityStrength::{Asserted, ReplaceablePart, SiliconId, VendorProven};
        use Shape::{Bytes, Text};

        let (prefix, shape, ceiling) = match self {
            Self::Stm32 => ("stm32", Bytes(12, 12), SiliconId),
            Self::EspMac => ("esp-mac", Bytes(6, 6), SiliconId),
            Self::EspEfuse => ("esp-efuse", Bytes(16, 16), SiliconId),
            Self::Nrf => ("nrf", Bytes(8, 8), SiliconId),
            Self::Samd => ("samd", Bytes(16, 16), SiliconId),
            Self::Rp2040 => ("rp2040", Bytes(8, 8), ReplaceablePart),
            Self::Rp2350 => ("rp2350", Bytes(8, 8), SiliconId),
            Self::Atecc => ("atecc", Bytes(9, 9), VendorProven),
            Self::Stsafe => ("stsafe", Bytes(8, 16), VendorProven),
            Self::Optiga => ("optiga", Bytes(27, 27), VendorProven),
            Self::TpmEk => ("tpm-ek", Bytes(32, 32), VendorProven),
            Self::DeviceTree => ("dt-serial", Text, ReplaceablePart),
            Self::Soc => ("soc", Text, SiliconId),
            Self::Emmc => ("emmc", Bytes(16, 16), ReplaceablePart),
            Self::Dmi => ("dmi", Bytes(16, 16), ReplaceablePart),
            Self::Mac => ("mac", Bytes(6, 6), ReplaceablePart),
            Self::MachineId => ("machine-id", Bytes(16, 16), Asserted),
            Self::ImxOcotp => ("imx-ocotp", Bytes(8, 16), SiliconId),
            Self::Custom => ("custom", Text, Asserted),
        };
        Facts {
            prefix,
            shape,
            ceiling,
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.prefix())
    }
}

/// What we know of a source.
struct Facts {
    prefix: &'static str,
    shape: Shape,
    ceiling: IdentityStrength,
}

#[derive(Debug, Clone, Copy)]
pub(crate) enum Shape {
    /// From so many bytes to so many.
    Bytes(usize, usize),
    /// 1 to 64 characters of `[A-Za-z0-9._:-]`.
    Text,
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use std::collections::BTreeSet;
    use std::vec::Vec as StdVec;

    #[test]
    fn every_source_has_its_own_words_and_numbers() {
        let mut seen = BTreeSet::new();
        for source in Source::ALL {
            assert_eq!(Source::from_prefix(source.prefix()), Some(source));
            let arc = source
                .hw_type()
                .strip_prefix("2.25.")
                .unwrap()
                .parse::<u128>()
                .unwrap();
            assert_eq!(arc >> 76 & 15, 4, "{source}: a random UUID says version 4");
            assert_eq!(arc >> 62 & 3, 2, "{source}: a random UUID says variant 10");
            let octets = source.hw_type_octets();
            let decoded = octets[1..]
                .iter()
                .fold(0, |n: u128, o| n << 7 | u128::from(o & 0x7f));
            assert_eq!((octets[0], decoded), (0x69, arc), "{source}");
            assert!(
                octets[1..octets.len() - 1].iter().all(|o| o & 0x80 != 0),
                "{source}"
            );
            assert!(
                octets[1] != 0x80 && octets[octets.len() - 1] & 0x80 == 0,
                "{source}"
            );
            assert_eq!(Source::from_hw_type_octets(&octets), Some(source));
            for word in [source.prefix(), source.hw_type()] {
                assert!(seen.insert(word), "{word} twice");
            }
        }
        assert_eq!(Source::from_prefix("STM32"), None);
        assert_eq!(Source::from_hw_type_octets(&[0x69]), None);
    }

    /// Issued certificates carry these: a changed constant would make strangers of our own devices.
    #[test]
    fn the_numbers_of_the_sources_never_change() {
        let all: StdVec<_> = Source::ALL.iter().map(|source| source.hw_type()).collect();
        let digits: u64 = all
            .join(",")
            .bytes()
            .fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
                (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
            });
        assert_eq!(digits, HW_TYPES_FNV);
    }
    const HW_TYPES_FNV: u64 = 0xdc17_2bea_20c1_a167;
}
