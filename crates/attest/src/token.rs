//! The one-time token as a person types it.
//!
//! ```text
//! 7ZK3Q-0M8WD-…   30 symbols in 6 groups of 5, Crockford base 32 (no I, L, O, U)
//!  └ 2 bits version (00) ‖ 128 bits secret ‖ 20 bits checksum
//! ```
//!
//! The checksum is the head of SHA-256 over the secret: it finds 1,048,575 of 1,048,576 typing
//! mistakes before a network is touched, and is no secret. Case, spaces and hyphens do not matter,
//! `O` reads as `0`, `I` and `L` as `1`.

use aws_lc_rs::digest;
use zeroize::{Zeroize, ZeroizeOnDrop};

/// A token's 128-bit secret. It has no `Debug`, so it cannot reach a log by accident.
#[derive(Clone, PartialEq, Eq, Zeroize, ZeroizeOnDrop)]
pub struct Token([u8; 16]);

impl Token {
    /// A token from 16 bytes of a cryptographic random source.
    #[must_use]
    pub const fn from_entropy(secret: [u8; 16]) -> Self {
        Self(secret)
    }

    /// Reads a token as a person typed or scanned it.
    pub fn parse(text: &str) -> Result<Self, TokenTextError> {
        let mut bits = Bits::default();
        let mut symbols = 0_usize;
        for (position, c) in text.chars().enumerate() {
            if c == '-' || c.is_ascii_whitespace() {
                continue;
            }
            let value = symbol_value(c).ok_or(TokenTextError::Symbol {
                symbol: c,
                position,
            })?;
            symbols += 1;
            if symbols > SYMBOLS {
                return Err(TokenTextError::Length { symbols });
            }
            bits.push(value);
        }
        if symbols != SYMBOLS {
            return Err(TokenTextError::Length { symbols });
        }
        let (version, secret, checksum) = bits.split();
        if version != 0 {
            return Err(TokenTextError::Version);
        }
        if checksum != checksum_of(&secret) {
            return Err(TokenTextError::Checksum);
        }
        Ok(Self(secret))
    }

    /// The text to print on a label or to hand to a device: six groups of five symbols.
    #[must_use]
    pub fn text(&self) -> String {
        let bits = Bits::join(&self.0, checksum_of(&self.0));
        let mut text = String::with_capacity(SYMBOLS + SYMBOLS / 5);
        for index in 0..SYMBOLS {
            if index > 0 && index % 5 == 0 {
                text.push('-');
            }
            text.push(bits.symbol(index));
        }
        text
    }

    /// The secret bytes, for the keyed hash under which the ledger knows the token.
    #[must_use]
    pub const fn secret(&self) -> &[u8; 16] {
        &self.0
    }
}

/// Why a text is not a token. None of these has met the network or counts as a guess.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TokenTextError {
    /// Wrong number of symbols.
    #[error("a token has 30 symbols in groups of five, this text has {symbols}")]
    Length {
        /// Symbols found, hyphens and spaces not counted.
        symbols: usize,
    },
    /// A symbol that no token contains.
    #[error("{symbol:?} at position {position} is in no token (0-9 and A-Z without I, L, O, U)")]
    Symbol {
        /// What was found.
        symbol: char,
        /// Where, counted from 0 in the text as given.
        position: usize,
    },
    /// A token of a later format.
    #[error("the token is of a format that this version does not know")]
    Version,
    /// The checksum does not fit: one or more symbols are wrong.
    #[error("the token is mistyped: its checksum does not fit")]
    Checksum,
}

/// The 150 bits of a token's text, most significant first, in the low bits of 160.
#[derive(Default)]
struct Bits {
    high: u32,
    low: u128,
}

impl Bits {
    fn push(&mut self, value: u8) {
        self.high = (self.high << 5) | ((self.low >> 123) as u32 & 0x1f);
        self.low = (self.low << 5) | u128::from(value);
    }

    fn join(secret: &[u8; 16], checksum: u32) -> Self {
        let secret = u128::from_be_bytes(*secret);
        Self {
            high: (secret >> 108) as u32,
            low: (secret << 20) | u128::from(checksum),
        }
    }

    fn split(&self) -> (u32, [u8; 16], u32) {
        let secret = (u128::from(self.high & 0x000f_ffff) << 108) | (self.low >> 20);
        (
            self.high >> 20,
            secret.to_be_bytes(),
            (self.low & 0x000f_ffff) as u32,
        )
    }

    #[expect(
        clippy::cast_possible_truncation,
        reason = "five bits are looked at, and they are the lowest ones"
    )]
    fn symbol(&self, index: usize) -> char {
        let shift = 5 * (SYMBOLS - 1 - index);
        let value = if shift >= 128 {
            self.high >> (shift - 128)
        } else if shift > 123 {
            (self.high << (128 - shift)) | (self.low >> shift) as u32
        } else {
            (self.low >> shift) as u32
        };
        char::from(
            ALPHABET
                .get((value & 0x1f) as usize)
                .copied()
                .unwrap_or(b'0'),
        )
    }
}

fn checksum_of(secret: &[u8; 16]) -> u32 {
    match *digest::digest(&digest::SHA256, secret).as_ref() {
        [a, b, c, ..] => (u32::from(a) << 12) | (u32::from(b) << 4) | u32::from(c >> 4),
        _ => 0,
    }
}

fn symbol_value(c: char) -> Option<u8> {
    let upper = match c.to_ascii_uppercase() {
        'O' => '0',
        'I' | 'L' => '1',
        other => other,
    };
    ALPHABET
        .iter()
        .zip(0_u8..)
        .find(|(symbol, _)| char::from(**symbol) == upper)
        .map(|(_, v)| v)
}

const SYMBOLS: usize = 30;
const ALPHABET: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn text_then_parse_is_identity(secret: [u8; 16]) {
            let token = Token::from_entropy(secret);
            let text = token.text();
            prop_assert_eq!(text.len(), 35);
            prop_assert!(Token::parse(&text).ok() == Some(token.clone()));
            let sloppy = text.to_lowercase().replace('-', " ").replace('0', "o").replace('1', "l");
            prop_assert!(Token::parse(&sloppy).ok() == Some(token));
        }

        #[test]
        fn one_wrong_symbol_is_found(secret: [u8; 16], at in 0_usize..30, to in 0_usize..32) {
            let text = Token::from_entropy(secret).text();
            let place = at + at / 5;
            let mut bytes = text.clone().into_bytes();
            prop_assume!(bytes[place] != ALPHABET[to]);
            bytes[place] = ALPHABET[to];
            let wrong = String::from_utf8(bytes).unwrap();
            prop_assert!(Token::parse(&wrong).is_err(), "{} accepted for {}", wrong, text);
        }

        #[test]
        fn any_text_is_read_without_panic(text in ".{0,80}") {
            let _ = Token::parse(&text);
        }
    }

    #[test]
    fn mistakes_are_named() {
        let text = Token::from_entropy([7; 16]).text();
        let error = |text: &str| Token::parse(text).err();
        assert_eq!(error(""), Some(TokenTextError::Length { symbols: 0 }));
        assert_eq!(
            error(&text[..30]),
            Some(TokenTextError::Length { symbols: 25 })
        );
        assert_eq!(
            error(&format!("{text}0")),
            Some(TokenTextError::Length { symbols: 31 })
        );
        assert_eq!(
            error("U"),
            Some(TokenTextError::Symbol {
                symbol: 'U',
                position: 0
            })
        );
        assert_eq!(
            error(&text.replacen('0', "Z", 1)),
            Some(TokenTextError::Version)
        );
    }
}
