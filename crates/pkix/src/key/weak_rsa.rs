//! RSA keys that are refused from their numbers alone (CA/B Baseline Requirements 6.1.1.3).

use super::KeyError;

/// Length in bits of a magnitude without leading zero octets.
pub(super) fn bit_length(magnitude: &[u8]) -> usize {
    let zeros = magnitude
        .first()
        .map_or(0, |top| top.leading_zeros() as usize);
    (8 * magnitude.len()).saturating_sub(zeros)
}

/// Odd, above 65536, at most 256 bits: a longer one only makes verification slow.
pub(super) fn check_exponent(exponent: &[u8]) -> Result<(), KeyError> {
    let odd = exponent.last().is_some_and(|low| low & 1 == 1);
    let bits = bit_length(exponent);
    if odd && (17..=256).contains(&bits) {
        Ok(())
    } else {
        Err(KeyError::RsaExponent)
    }
}

/// No factor below 752, and not the fingerprint of ROCA.
pub(super) fn check_modulus(modulus: &[u8]) -> Result<(), KeyError> {
    if primes_below(752).any(|prime| residue(modulus, prime) == 0) {
        return Err(KeyError::RsaSmallFactor);
    }
    // The flawed generator made primes k*M + (65537^a mod M), M being the product of the first
    // primes, so that each residue of the modulus is a power of 65537. For the primes up to 167 an
    // honest modulus looks so about once in 2^27 (Nemec and others, 2017).
    let roca = primes_below(168)
        .skip(1)
        .all(|prime| is_power_of_65537(residue(modulus, prime), prime));
    if roca { Err(KeyError::RsaRoca) } else { Ok(()) }
}

fn primes_below(end: u32) -> impl Iterator<Item = u32> {
    (2..end).filter(|candidate| {
        (2..*candidate)
            .take_while(|divisor| divisor * divisor <= *candidate)
            .all(|divisor| candidate % divisor != 0)
    })
}

fn residue(magnitude: &[u8], modulus: u32) -> u32 {
    magnitude
        .iter()
        .fold(0, |rest, octet| (rest << 8 | u32::from(*octet)) % modulus)
}

fn is_power_of_65537(residue: u32, prime: u32) -> bool {
    let generator = 65_537 % prime;
    let mut power = 1;
    for _ in 0..prime {
        if power == residue {
            return true;
        }
        power = power * generator % prime;
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn residues_and_primes_are_right() {
        assert_eq!(
            primes_below(30).collect::<alloc::vec::Vec<_>>(),
            [2, 3, 5, 7, 11, 13, 17, 19, 23, 29]
        );
        assert_eq!(primes_below(752).last(), Some(751));
        assert_eq!(residue(&[0x01, 0x00, 0x01], 751), 65_537 % 751);
        assert_eq!(bit_length(&[0x01, 0x00, 0x01]), 17);
        assert_eq!(bit_length(&[]), 0);
    }

    #[test]
    fn exponents_are_odd_and_neither_small_nor_long() {
        for (exponent, want) in [
            (&[0x01, 0x00, 0x01][..], true),
            (&[0x01, 0x00, 0x03], true),
            (&[0x01, 0x00, 0x02], false),
            (&[0x01, 0x00, 0x00], false),
            (&[0xff, 0xff], false),
            (&[0x03], false),
            (&[0x01], false),
            (&[0x00], false),
            (&[], false),
            (&[0xff; 32], true),
            (&[0xff; 33], false),
        ] {
            assert_eq!(check_exponent(exponent).is_ok(), want, "{exponent:02x?}");
        }
    }
}
