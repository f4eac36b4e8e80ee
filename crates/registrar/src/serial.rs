//! Certificate serial numbers and enrollment ids.

use std::fmt;
use std::str::FromStr;

use aws_lc_rs::digest;
use imprint_identity::UnixTime;

/// A certificate's serial number: 20 octets, positive, never used twice.
///
/// ```text
/// 01..7f   restore epoch: a restored ledger can't repeat what the lost one issued
/// 3 bytes  seconds / 256 since 1970, wrapping: neighbours in time are neighbours in the index
/// 16 bytes chance
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Serial(pub [u8; 20]);

impl Serial {
    /// Makes one. `epoch` is 0x01..=0x7f; `chance` comes from a cryptographic source.
    #[must_use]
    pub fn new(epoch: u8, now: UnixTime, chance: [u8; 16]) -> Self {
        let mut octets = [0; 20];
        let coarse = (now.0 >> 8).to_be_bytes();
        let head = [epoch.clamp(0x01, 0x7f), coarse[5], coarse[6], coarse[7]];
        octets[..4].copy_from_slice(&head);
        octets[4..].copy_from_slice(&chance);
        Self(octets)
    }

    /// The number under which a certificate of somebody else's is kept: 0x00, with which none of ours
    /// begins, and 19 octets of SHA-256 over its DER.
    #[must_use]
    pub fn of_foreign(certificate_der: &[u8]) -> Self {
        let hash = digest::digest(&digest::SHA256, certificate_der);
        let mut octets = [0; 20];
        octets
            .iter_mut()
            .skip(1)
            .zip(hash.as_ref())
            .for_each(|(to, from)| *to = *from);
        Self(octets)
    }

    /// Reads the INTEGER contents of a certificate's serial number. `None` when it is not 20 octets,
    /// and so not ours.
    #[must_use]
    pub fn from_octets(octets: &[u8]) -> Option<Self> {
        octets.try_into().ok().map(Self)
    }
}

impl fmt::Display for Serial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for Serial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Serial({self})")
    }
}

impl FromStr for Serial {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        hex_array(text).map(Self).ok_or(())
    }
}

/// One way through the road, for logs and the journal: 8 random bytes as hex.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct EnrollmentId(pub [u8; 8]);

impl fmt::Display for EnrollmentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

/// Exactly `N` bytes of hex, in any case.
pub(crate) fn hex_array<const N: usize>(text: &str) -> Option<[u8; N]> {
    let text = text.as_bytes();
    if text.len() != 2 * N {
        return None;
    }
    let mut out = [0; N];
    for (byte, pair) in out.iter_mut().zip(text.chunks(2)) {
        let pair = std::str::from_utf8(pair).ok()?;
        if !pair.bytes().all(|c| c.is_ascii_hexdigit()) {
            return None;
        }
        *byte = u8::from_str_radix(pair, 16).ok()?;
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_serial_is_positive_and_twenty_octets_in_every_epoch() {
        for epoch in [0, 1, 0x7f, 0x80, 0xff] {
            let serial = Serial::new(epoch, UnixTime(1_795_534_500), [0xff; 16]);
            assert!((0x01..=0x7f).contains(&serial.0[0]), "{serial}");
            assert_eq!(serial.to_string().parse(), Ok(serial));
        }
    }

    #[test]
    fn serials_of_one_epoch_sort_by_time() {
        let early = Serial::new(1, UnixTime(1_795_534_500), [0xff; 16]);
        let late = Serial::new(1, UnixTime(1_795_534_500 + 256), [0; 16]);
        assert!(early < late);
    }

    #[test]
    fn a_signed_hex_digit_is_no_serial() {
        assert_eq!("+1".repeat(20).parse::<Serial>(), Err(()));
    }
}
