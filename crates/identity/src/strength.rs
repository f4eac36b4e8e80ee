//! How strongly a hardware id is proven.

use core::fmt;

/// How strongly a hardware id is proven. Products set a minimum; the order is the order of trust.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum IdentityStrength {
    /// Somebody or some software said so.
    Asserted = 0,
    /// Read from a part that can be moved to another board (flash id, eMMC, network card).
    ReplaceablePart = 1,
    /// Read from silicon that can't be rewritten. It identifies and never authenticates.
    SiliconId = 2,
    /// A key in the microcontroller's flash behind read-out protection.
    FlashKey = 3,
    /// A key bound to a fuse or crypto peripheral (ESP DS, CAAM, OTFDEC).
    BoundKey = 4,
    /// A key that can't leave a secure element or TPM.
    ElementKey = 5,
    /// The same, with the vendor's certificate chain checked and the serial bound in it.
    VendorProven = 6,
}

impl IdentityStrength {
    /// Every strength, weakest first.
    pub const ALL: [Self; 7] = [
        Self::Asserted,
        Self::ReplaceablePart,
        Self::SiliconId,
        Self::FlashKey,
        Self::BoundKey,
        Self::ElementKey,
        Self::VendorProven,
    ];

    /// The word that settings and reports use.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Asserted => "asserted",
            Self::ReplaceablePart => "replaceable-part",
            Self::SiliconId => "silicon-id",
            Self::FlashKey => "flash-key",
            Self::BoundKey => "bound-key",
            Self::ElementKey => "element-key",
            Self::VendorProven => "vendor-proven",
        }
    }

    /// The strength whose discriminant is `byte`.
    #[must_use]
    pub fn from_byte(byte: u8) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|strength| *strength as u8 == byte)
    }

    /// The strength with this name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|strength| strength.name() == name)
    }
}

impl fmt::Display for IdentityStrength {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strengths_keep_their_bytes_names_and_order() {
        for (byte, name) in [
            (0, "asserted"),
            (1, "replaceable-part"),
            (2, "silicon-id"),
            (3, "flash-key"),
            (4, "bound-key"),
            (5, "element-key"),
            (6, "vendor-proven"),
        ] {
            let strength = IdentityStrength::from_byte(byte).unwrap();
            assert_eq!((strength as u8, strength.name()), (byte, name));
            assert_eq!(IdentityStrength::from_name(name), Some(strength));
        }
        assert_eq!(IdentityStrength::from_byte(7), None);
        assert_eq!(IdentityStrength::from_name("Asserted"), None);
        assert!(IdentityStrength::ALL.is_sorted());
    }
}
