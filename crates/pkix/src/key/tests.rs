use alloc::string::ToString;
use alloc::vec;
use alloc::vec::Vec;

use super::*;
use crate::asn1::{integer, octet_string, positive_integer};
use const_oid::ObjectIdentifier;

/// A modulus of the given length without small factors: a power of ten plus an odd rest that was
/// searched for, so no test depends on chance.
fn modulus(bits: usize) -> Vec<u8> {
    let mut magnitude = vec![0; bits.div_ceil(8)];
    *magnitude.first_mut().unwrap() = 1 << ((bits - 1) % 8);
    loop {
        if weak_rsa::check_modulus(&magnitude).is_ok() {
            return magnitude;
        }
        let end = magnitude.len() - 4;
        let low = u32::from_be_bytes(*magnitude.last_chunk().unwrap()) + 1;
        magnitude[end..].copy_from_slice(&low.to_be_bytes());
    }
}

fn rsa_bits(modulus: &[u8], exponent: u64) -> Vec<u8> {
    sequence(&[&positive_integer(modulus), &integer(exponent)])
}

fn rsa_spki(modulus: &[u8], exponent: u64) -> Vec<u8> {
    spki_der(KeyAlgorithm::Rsa { bits: 0 }, &rsa_bits(modulus, exponent))
}

fn point(first: u8, octets: usize) -> Vec<u8> {
    let mut point = vec![0x11; octets + 1];
    point[0] = first;
    point
}

fn spki(algorithm: &[&[u8]], bits: &[u8]) -> Vec<u8> {
    sequence(&[&sequence(algorithm), &whole_bits(bits)])
}

#[test]
fn keys_of_every_kind_are_read() {
    for (algorithm, bits) in [
        (KeyAlgorithm::P256, point(0x04, 64)),
        (KeyAlgorithm::P384, point(0x04, 96)),
        (KeyAlgorithm::Ed25519, vec![0x11; 32]),
        (
            KeyAlgorithm::Rsa { bits: 2048 },
            rsa_bits(&modulus(2048), 65_537),
        ),
        (
            KeyAlgorithm::Rsa { bits: 3072 },
            rsa_bits(&modulus(3072), 65_537),
        ),
        (
            KeyAlgorithm::Rsa { bits: 4096 },
            rsa_bits(&modulus(4096), 0xffff_ffff),
        ),
    ] {
        let der = spki_der(algorithm, &bits);
        let key = PublicKey::parse(&der).unwrap();
        assert_eq!(key.algorithm(), algorithm);
        assert_eq!(key.spki_der(), der);
        assert_eq!(key.key_bits(), bits);
        let octets = key.rsa_modulus().map(<[u8]>::len);
        let want = match algorithm {
            KeyAlgorithm::Rsa { bits } => Some(usize::from(bits) / 8),
            _ => None,
        };
        assert_eq!(octets, want);
    }
}

#[test]
fn names_are_those_of_the_field() {
    for (algorithm, name, text) in [
        (KeyAlgorithm::P256, "P-256", "P-256"),
        (KeyAlgorithm::P384, "P-384", "P-384"),
        (KeyAlgorithm::Ed25519, "Ed25519", "Ed25519"),
        (KeyAlgorithm::Rsa { bits: 3072 }, "RSA", "RSA-3072"),
    ] {
        assert_eq!(
            (algorithm.name(), algorithm.to_string().as_str()),
            (name, text)
        );
    }
}

#[test]
fn each_bad_elliptic_key_is_named() {
    let kind = write_oid(oid::EC_PUBLIC_KEY);
    let p256 = write_oid(oid::SECP256R1);
    let good = point(0x04, 64);
    let null = primitive(tag::NULL, &[]);
    let explicit = sequence(&[&integer(1)]);
    let secp256k1 = write_oid(ObjectIdentifier::new_unwrap("1.3.132.0.10"));
    let secp224r1 = write_oid(ObjectIdentifier::new_unwrap("1.3.132.0.33"));
    let mut zero = vec![0; 65];
    zero[0] = 0x04;
    for (what, der, want) in [
        (
            "explicit curve",
            spki(&[&kind, &explicit], &good),
            KeyError::ExplicitCurve,
        ),
        (
            "inherited curve",
            spki(&[&kind, &null], &good),
            KeyError::CurveNotNamed,
        ),
        ("no curve", spki(&[&kind], &good), KeyError::CurveNotNamed),
        (
            "secp256k1",
            spki(&[&kind, &secp256k1], &good),
            KeyError::UnsupportedCurve,
        ),
        (
            "P-224",
            spki(&[&kind, &secp224r1], &point(0x04, 56)),
            KeyError::UnsupportedCurve,
        ),
        (
            "even y",
            spki(&[&kind, &p256], &point(0x02, 32)),
            KeyError::CompressedPoint,
        ),
        (
            "odd y",
            spki(&[&kind, &p256], &point(0x03, 32)),
            KeyError::CompressedPoint,
        ),
        (
            "hybrid",
            spki(&[&kind, &p256], &point(0x06, 64)),
            KeyError::WrongLength,
        ),
        (
            "infinity",
            spki(&[&kind, &p256], &[0]),
            KeyError::WrongLength,
        ),
        (
            "short",
            spki(&[&kind, &p256], &point(0x04, 63)),
            KeyError::WrongLength,
        ),
        (
            "long",
            spki(&[&kind, &p256], &point(0x04, 96)),
            KeyError::WrongLength,
        ),
        ("empty", spki(&[&kind, &p256], &[]), KeyError::WrongLength),
        (
            "zero",
            spki(&[&kind, &p256], &zero),
            KeyError::DegenerateKey,
        ),
        (
            "two curves",
            spki(&[&kind, &p256, &p256], &good),
            Malformed(WHAT).into(),
        ),
    ] {
        assert_eq!(PublicKey::parse(&der).unwrap_err(), want, "{what}");
    }
}

#[test]
fn each_bad_edwards_key_is_named() {
    let kind = write_oid(oid::ED25519);
    let null = primitive(tag::NULL, &[]);
    for (what, der, want) in [
        (
            "parameters",
            spki(&[&kind, &null], &[0x11; 32]),
            Malformed(WHAT).into(),
        ),
        ("short", spki(&[&kind], &[0x11; 31]), KeyError::WrongLength),
        ("long", spki(&[&kind], &[0x11; 33]), KeyError::WrongLength),
        ("zero", spki(&[&kind], &[0; 32]), KeyError::DegenerateKey),
    ] {
        assert_eq!(PublicKey::parse(&der).unwrap_err(), want, "{what}");
    }
}

/// The library must know each of our seven encodings for a point that anyone can sign for: with
/// R = identity and s = 0, s*B = R + h*A holds for one message in eight at the latest.
#[test]
fn points_of_small_order_let_anyone_sign() {
    use aws_lc_rs::signature::{ED25519, UnparsedPublicKey};
    let mut identity_and_zero = [0; 64];
    identity_and_zero[0] = 1;
    for mut encoding in ed25519::SMALL_ORDER_Y {
        for sign in [0x00, 0x80] {
            encoding[31] = encoding[31] & 0x7f | sign;
            assert!(ed25519::has_small_order(&encoding), "{encoding:02x?}");
            let key = UnparsedPublicKey::new(&ED25519, encoding);
            let forged =
                (0_u32..256).any(|m| key.verify(&m.to_be_bytes(), &identity_and_zero).is_ok());
            // Encodings that are not canonical the library may refuse itself.
            let canonical = encoding[31] & 0x7f != 0x7f || encoding[0] == 0xec;
            let decodes = canonical && !(sign == 0x80 && matches!(encoding[0], 0x01 | 0xec));
            assert!(forged || !decodes, "{encoding:02x?} is of small order");
        }
    }
}

#[test]
fn each_bad_rsa_key_is_named() {
    let good = modulus(2048);
    let kind = write_oid(oid::RSA_ENCRYPTION);
    let null = primitive(tag::NULL, &[]);
    let mut even = good.clone();
    *even.last_mut().unwrap() &= 0xfe;
    let negative = sequence(&[&primitive(tag::INTEGER, &[0x80; 256]), &integer(65_537)]);
    for (what, der, want) in [
        (
            "1024 bits",
            rsa_spki(&modulus(1024), 65_537),
            KeyError::RsaSize { bits: 1024 },
        ),
        (
            "2047 bits",
            rsa_spki(&modulus(2047), 65_537),
            KeyError::RsaSize { bits: 2047 },
        ),
        (
            "4097 bits",
            rsa_spki(&modulus(4097), 65_537),
            KeyError::RsaSize { bits: 4097 },
        ),
        (
            "16384 bits",
            rsa_spki(&vec![0xff; 2048], 65_537),
            KeyError::RsaSize { bits: 16_384 },
        ),
        ("exponent 1", rsa_spki(&good, 1), KeyError::RsaExponent),
        ("exponent 3", rsa_spki(&good, 3), KeyError::RsaExponent),
        (
            "even exponent",
            rsa_spki(&good, 65_538),
            KeyError::RsaExponent,
        ),
        (
            "even modulus",
            rsa_spki(&even, 65_537),
            KeyError::RsaSmallFactor,
        ),
        (
            "factor 751",
            rsa_spki(&times(&modulus(2040), 751), 65_537),
            KeyError::RsaSmallFactor,
        ),
        ("ROCA", rsa_spki(&roca(), 65_537), KeyError::RsaRoca),
        (
            "no NULL",
            spki(&[&kind], &rsa_bits(&good, 65_537)),
            Malformed(WHAT).into(),
        ),
        (
            "negative",
            spki(&[&kind, &null], &negative),
            Malformed(WHAT).into(),
        ),
        (
            "not a pair",
            spki(&[&kind, &null], &integer(1)),
            Malformed(WHAT).into(),
        ),
    ] {
        assert_eq!(PublicKey::parse(&der).unwrap_err(), want, "{what}");
    }
}

#[test]
fn strange_kinds_and_strange_bytes_are_refused() {
    let x25519 = write_oid(ObjectIdentifier::new_unwrap("1.3.101.110"));
    let dsa = write_oid(ObjectIdentifier::new_unwrap("1.2.840.10040.4.1"));
    let good = spki_der(KeyAlgorithm::P256, &point(0x04, 64));
    let trailing = [&good[..], &[0]].concat();
    let mut unused_bits = good.clone();
    unused_bits[25] = 1;
    for (what, der, want) in [
        (
            "X25519",
            spki(&[&x25519], &[0x11; 32]),
            KeyError::UnsupportedAlgorithm,
        ),
        (
            "DSA",
            spki(&[&dsa], &[0x11; 32]),
            KeyError::UnsupportedAlgorithm,
        ),
        ("nothing", vec![], Malformed(WHAT).into()),
        ("trailing", trailing, Malformed(WHAT).into()),
        ("unused bits", unused_bits, Malformed(WHAT).into()),
        ("a string", octet_string(&good), Malformed(WHAT).into()),
    ] {
        assert_eq!(PublicKey::parse(&der).unwrap_err(), want, "{what}");
    }
}

/// 65537^128 has 2049 bits, no factor but 65537, and every residue a power of 65537.
fn roca() -> Vec<u8> {
    (0..128).fold(vec![1], |power, _| times(&power, 65_537))
}

fn times(magnitude: &[u8], factor: u32) -> Vec<u8> {
    let mut carry = 0_u64;
    let mut product: Vec<u8> = Vec::new();
    for octet in magnitude.iter().rev() {
        carry += u64::from(*octet) * u64::from(factor);
        product.push(u8::try_from(carry & 0xff).unwrap());
        carry >>= 8;
    }
    while carry > 0 {
        product.push(u8::try_from(carry & 0xff).unwrap());
        carry >>= 8;
    }
    product.reverse();
    product
}
