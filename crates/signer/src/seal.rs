//! The seal: one secret from which everything else in the directory opens.

use aws_lc_rs::aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
use aws_lc_rs::hkdf;
use zeroize::Zeroizing;

use crate::error::KeyError;

/// Where the seal comes from.
#[derive(Clone)]
pub enum Seal {
    /// `seal.key` in the directory.
    File,
    /// The caller has it: from the environment, a credential store, a PKCS#11 token.
    Given(Zeroizing<[u8; 32]>),
}

impl Seal {
    /// Reads a seal from 64 hexadecimal digits.
    pub fn from_hex(text: &str) -> Result<Self, KeyError> {
        let text = text.trim().as_bytes();
        let mut seal = Zeroizing::new([0; 32]);
        if text.len() != 64 {
            return Err(KeyError::SealText);
        }
        for (byte, pair) in seal.iter_mut().zip(text.chunks(2)) {
            let digit = |c: &u8| {
                char::from(*c)
                    .to_digit(16)
                    .and_then(|d| u8::try_from(d).ok())
            };
            let [Some(high), Some(low)] = [pair.first(), pair.last()].map(|c| c.and_then(digit))
            else {
                return Err(KeyError::SealText);
            };
            *byte = high << 4 | low;
        }
        Ok(Self::Given(seal))
    }
}

impl std::fmt::Debug for Seal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::File => "Seal::File",
            Self::Given(_) => "Seal::Given(..)",
        })
    }
}

/// What the seal is used for: each purpose has its own key, so that a sealed database value is
/// never taken for a key file.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Purpose {
    KeyFile,
    Data,
}

/// AES-256-GCM under a key derived from the seal. Sealed bytes are `nonce (12) || ciphertext || tag
/// (16)`; nonces are random, which is sound for 2^32 seals a purpose.
pub(crate) struct Sealer(RandomizedNonceKey);

impl Sealer {
    pub(crate) fn new(seal: &[u8; 32], purpose: Purpose) -> Result<Self, KeyError> {
        let info: &[u8] = match purpose {
            Purpose::KeyFile => b"imprint key file 1",
            Purpose::Data => b"imprint sealed data 1",
        };
        let mut key = Zeroizing::new([0; 32]);
        let act = "derive a sealing key";
        hkdf::Salt::new(hkdf::HKDF_SHA256, b"imprint seal")
            .extract(seal)
            .expand(&[info], hkdf::HKDF_SHA256)
            .and_then(|okm| okm.fill(&mut *key))
            .and_then(|()| RandomizedNonceKey::new(&AES_256_GCM, &*key))
            .map(Self)
            .map_err(|_| KeyError::Crypto { act })
    }

    pub(crate) fn seal(&self, context: &[u8], plain: &[u8]) -> Result<Vec<u8>, KeyError> {
        // Sealed in place in a buffer of the final size: no copy of the secret stays behind.
        let mut sealed = Vec::with_capacity(NONCE_LEN + plain.len() + AES_256_GCM.tag_len());
        let mut body = Vec::with_capacity(plain.len() + AES_256_GCM.tag_len());
        body.extend_from_slice(plain);
        let nonce = self
            .0
            .seal_in_place_append_tag(Aad::from(context), &mut body)
            .map_err(|_| KeyError::Crypto { act: "seal" })?;
        sealed.extend_from_slice(nonce.as_ref());
        sealed.extend_from_slice(&body);
        Ok(sealed)
    }

    /// `None` when it is not ours, not for this context, or altered.
    pub(crate) fn unseal(&self, context: &[u8], sealed: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
        let (nonce, body) = sealed.split_at_checked(NONCE_LEN)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
        let mut plain = Zeroizing::new(body.to_vec());
        let length = self
            .0
            .open_in_place(nonce, Aad::from(context), &mut plain)
            .ok()?
            .len();
        plain.truncate(length);
        Some(plain)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sealer(purpose: Purpose) -> Sealer {
        Sealer::new(&[7; 32], purpose).unwrap()
    }

    #[test]
    fn what_was_sealed_opens_with_the_same_context_alone() {
        let sealer = sealer(Purpose::Data);
        let sealed = sealer.seal(b"device a", b"secret").unwrap();
        assert_eq!(
            sealer.unseal(b"device a", &sealed).unwrap().as_slice(),
            b"secret"
        );
        assert!(sealer.unseal(b"device b", &sealed).is_none());
        assert!(sealer.unseal(b"", &sealed).is_none());
    }

    #[test]
    fn every_altered_bit_and_every_cut_is_noticed() {
        let sealer = sealer(Purpose::Data);
        let sealed = sealer.seal(b"c", b"secret").unwrap();
        for bit in 0..sealed.len() * 8 {
            let mut altered = sealed.clone();
            altered[bit / 8] ^= 1 << (bit % 8);
            assert!(sealer.unseal(b"c", &altered).is_none(), "bit {bit}");
        }
        for length in 0..sealed.len() {
            assert!(
                sealer.unseal(b"c", &sealed[..length]).is_none(),
                "length {length}"
            );
        }
    }

    #[test]
    fn purposes_do_not_open_each_other() {
        let sealed = sealer(Purpose::Data).seal(b"c", b"secret").unwrap();
        assert!(sealer(Purpose::KeyFile).unseal(b"c", &sealed).is_none());
    }

    #[test]
    fn two_seals_of_the_same_secret_differ() {
        let sealer = sealer(Purpose::Data);
        assert_ne!(
            sealer.seal(b"c", b"x").unwrap(),
            sealer.seal(b"c", b"x").unwrap()
        );
    }

    #[test]
    fn a_seal_is_64_hex_digits_and_nothing_else() {
        let good = "00ff".repeat(16);
        assert!(matches!(Seal::from_hex(&good), Ok(Seal::Given(seal)) if seal[1] == 0xff));
        assert!(matches!(
            Seal::from_hex(&format!("{good}\n")),
            Ok(Seal::Given(_))
        ));
        for bad in [
            "",
            &good[1..],
            &format!("{good}0"),
            &good.replace("ff", "+f"),
        ] {
            assert!(
                matches!(Seal::from_hex(bad), Err(KeyError::SealText)),
                "{bad:?}"
            );
        }
        assert_eq!(
            format!("{:?}", Seal::from_hex(&good).unwrap()),
            "Seal::Given(..)"
        );
    }
}
