//! Message bodies: DER, nearly always in base64 (RFC 8951 section 3.1).

use base64::Engine;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use zeroize::Zeroizing;

/// How base64 is laid out in a reply. Both are legal (RFC 8951 section 3.1), and no single form
/// pleases every client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LineStyle {
    /// Lines of 64 characters, each ended by LF. libest can't read a longer line.
    Wrapped,
    /// One line, ended by LF. strongSwan before 5.9.11 can't read a line break inside.
    Single,
}

impl LineStyle {
    /// The style for the one who asks, by its `User-Agent` and `Accept` headers.
    ///
    /// strongSwan 5.9.8 sends neither; libest sends both. `BouncyCastle` sends neither and reads
    /// either style.
    #[must_use]
    pub const fn for_request(user_agent: Option<&str>, accept: Option<&str>) -> Self {
        match (user_agent, accept) {
            (None, None) => Self::Single,
            _ => Self::Wrapped,
        }
    }
}

/// Base64 of `der`, with a line break at the end.
pub(crate) fn encode(der: &[u8], style: LineStyle) -> Vec<u8> {
    let text = Zeroizing::new(BASE64.encode(der).into_bytes());
    let columns = match style {
        LineStyle::Wrapped => 64,
        LineStyle::Single => text.len().max(1),
    };
    let mut lines = Vec::with_capacity(text.len() + text.len() / 64 + 1);
    for line in text.chunks(columns) {
        lines.extend_from_slice(line);
        lines.push(b'\n');
    }
    lines
}

/// Reads one DER SEQUENCE from base64, PEM under one of `labels`, or raw DER.
///
/// Whether there was a `Content-Transfer-Encoding` header must not matter (RFC 8951 section 3.1),
/// so the bytes decide: base64 of a SEQUENCE begins with `M`, DER of one with 0x30.
pub(crate) fn decode(body: &[u8], labels: &[&str]) -> Result<Vec<u8>, BodyError> {
    let der = if body.first() == Some(&SEQUENCE) {
        body.to_vec()
    } else {
        decode_base64(pem_block(body, labels)?.unwrap_or(body))?
    };
    whole_sequence(&der)?;
    Ok(der)
}

/// The base64 between the marks, when there are marks. Text around them is tolerated, as
/// `openssl req -text` writes it; a second block is not, since one of the two would be ignored.
fn pem_block<'a>(body: &'a [u8], labels: &[&str]) -> Result<Option<&'a [u8]>, BodyError> {
    let Some((_, after)) = split_at(body, b"-----BEGIN ") else {
        return Ok(None);
    };
    let (label, block) = split_at(after, b"-----").ok_or(BodyError::PemUnclosed)?;
    if !labels.iter().any(|want| want.as_bytes() == label) {
        let found = String::from_utf8_lossy(label).chars().take(40).collect();
        return Err(BodyError::PemLabel { found });
    }
    let (block, rest) = split_at(block, b"-----END ").ok_or(BodyError::PemUnclosed)?;
    if split_at(rest, b"-----BEGIN ").is_some() {
        return Err(BodyError::PemTwice);
    }
    Ok(Some(block))
}

/// Base64 with CR, LF, blanks and tabs anywhere, padded or not.
fn decode_base64(text: &[u8]) -> Result<Vec<u8>, BodyError> {
    // Wiped, because it may be a private key.
    let mut dense = Zeroizing::new(Vec::with_capacity(text.len()));
    for (at, &byte) in text.iter().enumerate() {
        match byte {
            b'\r' | b'\n' | b' ' | b'\t' => {}
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'+' | b'/' | b'=' => dense.push(byte),
            _ => return Err(BodyError::NotBase64 { position: at + 1 }),
        }
    }
    if dense.is_empty() {
        return Err(BodyError::Empty);
    }
    BASE64
        .decode(dense.as_slice())
        .map_err(|_| BodyError::Base64Cut)
}

/// Checks that `der` is one SEQUENCE and nothing behind it: what came is all of what was sent.
fn whole_sequence(der: &[u8]) -> Result<(), BodyError> {
    let (&tag, rest) = der.split_first().ok_or(BodyError::Empty)?;
    if tag != SEQUENCE {
        return Err(BodyError::NotSequence { tag });
    }
    let (&first, rest) = rest.split_first().ok_or(BodyError::DerLength)?;
    let (declared, content) = if first < 0x80 {
        (usize::from(first), rest)
    } else {
        let (length, content) = rest
            .split_at_checked(usize::from(first & 0x7f))
            .filter(|(length, _)| (1..=4).contains(&length.len()))
            .ok_or(BodyError::DerLength)?;
        (
            length
                .iter()
                .fold(0, |sum, &octet| sum << 8 | usize::from(octet)),
            content,
        )
    };
    if declared == content.len() {
        Ok(())
    } else {
        Err(BodyError::DerLength)
    }
}

/// What stands before and after the first `mark`.
pub(crate) fn split_at<'a>(bytes: &'a [u8], mark: &[u8]) -> Option<(&'a [u8], &'a [u8])> {
    let at = bytes
        .windows(mark.len())
        .position(|window| window == mark)?;
    Some((bytes.get(..at)?, bytes.get(at + mark.len()..)?))
}

/// Why a body is not the DER that it should be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BodyError {
    /// No body, or nothing but white space.
    #[error("the body is empty")]
    Empty,
    /// A character that base64 does not have.
    #[error("byte {position} of the body is not base64; send base64, PEM or DER")]
    NotBase64 {
        /// Counted from 1.
        position: usize,
    },
    /// The characters don't make whole bytes.
    #[error("the base64 ends in the middle of a byte or is padded wrongly; it was cut off")]
    Base64Cut,
    /// PEM of something else.
    #[error("the PEM block is a {found}")]
    PemLabel {
        /// What stands behind BEGIN.
        found: String,
    },
    /// BEGIN without END.
    #[error("the PEM block has no end")]
    PemUnclosed,
    /// More than one PEM block.
    #[error("there is more than one PEM block; send one")]
    PemTwice,
    /// The first byte is no SEQUENCE.
    #[error("this is not DER: it begins with 0x{tag:02x} and not with a SEQUENCE")]
    NotSequence {
        /// The first byte.
        tag: u8,
    },
    /// The SEQUENCE is longer or shorter than its length says.
    #[error("the DER is cut off, or something follows it")]
    DerLength,
}

/// Standard alphabet; padding is written, and not missed when a small client left it out.
pub(crate) const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);
const SEQUENCE: u8 = 0x30;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn sequence(content: &[u8]) -> Vec<u8> {
        let [.., high, low] = content.len().to_be_bytes();
        let mut der = vec![0x30, 0x82, high, low];
        der.extend_from_slice(content);
        der
    }

    #[test]
    fn only_one_whole_sequence_is_taken() {
        for (der, want) in [
            (&[0x30, 0x00][..], Ok(())),
            (&[0x30, 0x01, 5], Ok(())),
            (&[0x30, 0x81, 0x01, 5], Ok(())),
            (&[0x30, 0x84, 0, 0, 0, 1, 5], Ok(())),
            (&[], Err(BodyError::Empty)),
            (&[0x31, 0x00], Err(BodyError::NotSequence { tag: 0x31 })),
            (&[0x30], Err(BodyError::DerLength)),
            (&[0x30, 0x02, 5], Err(BodyError::DerLength)),
            (&[0x30, 0x01, 5, 5], Err(BodyError::DerLength)),
            // Indefinite length is BER; a length of five octets is nothing that fits a body.
            (&[0x30, 0x80, 0, 0], Err(BodyError::DerLength)),
            (&[0x30, 0x85, 0, 0, 0, 0, 1, 5], Err(BodyError::DerLength)),
            (&[0x30, 0x82, 1], Err(BodyError::DerLength)),
        ] {
            assert_eq!(whole_sequence(der), want, "{der:02x?}");
        }
    }

    #[test]
    fn the_style_follows_the_headers() {
        for (user_agent, accept, want) in [
            (None, None, LineStyle::Single),
            (Some("libest 3.2.0p"), Some("*/*"), LineStyle::Wrapped),
            (Some("x"), None, LineStyle::Wrapped),
            (None, Some("*/*"), LineStyle::Wrapped),
        ] {
            assert_eq!(LineStyle::for_request(user_agent, accept), want);
        }
    }

    proptest! {
        #[test]
        fn encode_then_decode_is_identity(content in proptest::collection::vec(any::<u8>(), 0..300)) {
            let der = sequence(&content);
            for style in [LineStyle::Wrapped, LineStyle::Single] {
                let text = encode(&der, style);
                prop_assert_eq!(decode(&text, &[]), Ok(der.clone()));
                let longest = text.split(|&byte| byte == b'\n').map(<[u8]>::len).max();
                let breaks = text.split(|&byte| byte == b'\n').count() - 1;
                prop_assert!(style == LineStyle::Single || longest <= Some(64));
                prop_assert!(style == LineStyle::Wrapped || breaks == 1);
            }
            prop_assert_eq!(decode(&der, &[]), Ok(der.clone()));
        }

        #[test]
        fn white_space_and_missing_padding_change_nothing(
            content in proptest::collection::vec(any::<u8>(), 0..60),
            marks in proptest::collection::vec(proptest::sample::select(&b"\r\n\t "[..]), 100),
        ) {
            let der = sequence(&content);
            let text: Vec<u8> = BASE64.encode(&der).bytes().filter(|&b| b != b'=').zip(marks.iter().cycle())
                .flat_map(|(byte, &mark)| [byte, mark])
                .collect();
            prop_assert_eq!(decode(&text, &[]), Ok(der));
        }

        #[test]
        fn no_bytes_panic(body in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = decode(&body, &["CERTIFICATE REQUEST"]);
        }
    }
}
