//! Keys whose private half anybody can work out.
//!
//! What shows in the bytes alone (sizes, exponents, small factors, the fingerprint of ROCA) is refused
//! where a key is read, in `imprint_pkix::key`. What takes arithmetic on big numbers is here, and is
//! done once for each request that would be certified, never for each key that is read.

use imprint_pkix::key::PublicKey;
use num_bigint::BigUint;

/// Why a key is nobody's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WeakKey {
    /// The factors lie so close together that Fermat's method finds them at once (CVE-2022-26320).
    #[error("the RSA key's factors lie close together (Fermat)")]
    RsaCloseFactors,
}

/// Whether a key that was read is sound as well.
pub fn check_key(key: &PublicKey) -> Result<(), WeakKey> {
    match key.rsa_modulus() {
        Some(modulus) if factors_lie_close(modulus) => Err(WeakKey::RsaCloseFactors),
        _ => Ok(()),
    }
}

/// Fermat's method: for p and q close together, some a just above the root of n = pq makes a² - n a
/// square, and then p and q are a plus and minus its root. CA/B Baseline Requirements 6.1.1.3 (5) ask
/// for 100 rounds. Factors that were chosen apart by an honest generator need about 2^500 of them.
fn factors_lie_close(modulus: &[u8]) -> bool {
    let n = BigUint::from_bytes_be(modulus);
    let mut a = n.sqrt();
    if &a * &a < n {
        a += 1_u32;
    }
    let mut rest = &a * &a - &n;
    for _ in 0..ROUNDS {
        if is_square(&rest) {
            return true;
        }
        // (a + 1)² - n
        rest += &a + &a + 1_u32;
        a += 1_u32;
    }
    false
}

/// A root is only drawn of what looks like a square by the remainders: one number in hundred does.
fn is_square(n: &BigUint) -> bool {
    let looks_so = FILTERS.iter().all(|&filter| {
        let rest = n % filter;
        (0..filter).any(|root| rest == BigUint::from(root * root % filter))
    });
    looks_so && {
        let root = n.sqrt();
        &root * &root == *n
    }
}

const ROUNDS: u32 = 100;
/// Squares leave 12, 16, 21 and 6 remainders of these.
const FILTERS: [u32; 4] = [64, 63, 65, 11];

#[cfg(test)]
mod tests {
    use super::*;

    /// An odd number of 1024 bits without a small factor is all that Fermat's method asks of one.
    fn odd(low: u32) -> BigUint {
        (BigUint::from(3_u32) << 1_022_u32) + BigUint::from(0x5eed_u32) * 977_u32 + 2 * low + 1_u32
    }

    fn weak(p: &BigUint, q: &BigUint) -> bool {
        factors_lie_close(&(p * q).to_bytes_be())
    }

    #[test]
    fn factors_that_lie_close_are_found_and_others_are_not() {
        let p = odd(0);
        assert!(weak(&p, &p), "twice the same");
        assert!(weak(&p, &odd(1)), "neighbours");
        assert!(weak(&p, &odd(40_000)));
        // A tenth of the way to the root: the first round finds it.
        let near = &p + (BigUint::from(1_u32) << 500_u32);
        assert!(weak(&p, &near));
        // d rounds take a difference of about 2 * sqrt(2 d sqrt(n)).
        let edge = |rounds: u32| {
            let difference = (BigUint::from(8_u32 * rounds) * &p).sqrt();
            weak(&p, &(&p + (difference >> 1_u32 << 1_u32)))
        };
        assert!(edge(50));
        assert!(edge(90));
        assert!(!edge(120));
        // Honest factors differ in their first hundred bits.
        let apart = &p + (BigUint::from(1_u32) << 1_000_u32);
        assert!(!weak(&p, &apart));
    }

    #[test]
    fn squares_are_told_from_their_neighbours() {
        let root = odd(7);
        let square = &root * &root;
        assert!(is_square(&square));
        assert!(is_square(&BigUint::from(0_u32)));
        assert!(is_square(&BigUint::from(1_u32)));
        for far in 1..200_u32 {
            assert!(!is_square(&(&square + far)), "{far} above");
            assert!(!is_square(&(&square - far)), "{far} below");
        }
        let squares: Vec<_> = (0..400_u32)
            .filter(|n| is_square(&BigUint::from(*n)))
            .collect();
        assert_eq!(squares, (0..20).map(|n| n * n).collect::<Vec<_>>());
    }
}
