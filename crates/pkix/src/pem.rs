//! PEM (RFC 7468): the text form of DER.

use alloc::string::String;
use alloc::vec::Vec;

use der::pem::{self as rfc7468, LineEnding};

/// Label of a certificate.
pub const CERTIFICATE: &str = "CERTIFICATE";
/// Label of a certificate request.
pub const CERTIFICATE_REQUEST: &str = "CERTIFICATE REQUEST";
/// Label of a CRL.
pub const X509_CRL: &str = "X509 CRL";

/// One block, lines of 64 characters ended by LF.
///
/// # Panics
///
/// Never for a label made of printable ASCII, as all labels in this crate are.
#[must_use]
#[expect(
    clippy::expect_used,
    reason = "labels are constants; the text has no other way to fail"
)]
pub fn encode(label: &str, der: &[u8]) -> String {
    rfc7468::encode_string(label, LineEnding::LF, der).expect("a PEM label is printable ASCII")
}

/// The contents of every block with this label, in order. Text around the blocks and blocks with
/// other labels are passed over (`openssl x509 -text` writes both kinds); lines may be of any one
/// length and end as they like. No block at all is an error.
pub fn decode(label: &str, text: &str) -> Result<Vec<Vec<u8>>, PemError> {
    let begin = alloc::format!("-----BEGIN {label}-----");
    let end = alloc::format!("-----END {label}-----");
    let mut found = Vec::new();
    let mut rest = text;
    while let Some((_, block)) = rest.split_once(&begin) {
        let (body, behind) = block.split_once(&end).ok_or(PemError::NotClosed)?;
        found.push(decode_body(body)?);
        rest = behind;
    }
    if found.is_empty() {
        Err(PemError::NoBlock)
    } else {
        Ok(found)
    }
}

/// The base64 between the two lines, whatever its line breaks.
fn decode_body(body: &str) -> Result<Vec<u8>, PemError> {
    let text: String = body.split_ascii_whitespace().collect();
    let block = alloc::format!("-----BEGIN X-----\n{text}\n-----END X-----\n");
    let mut decoder =
        rfc7468::Decoder::new_detect_wrap(block.as_bytes()).map_err(|_| PemError::NotBase64)?;
    let mut der = Vec::new();
    decoder
        .decode_to_end(&mut der)
        .map_err(|_| PemError::NotBase64)?;
    Ok(der)
}

/// Why a PEM text can't be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PemError {
    /// No block with the label.
    #[error("there is no PEM block of the kind that is wanted")]
    NoBlock,
    /// A block begins and doesn't end.
    #[error("a PEM block is not closed")]
    NotClosed,
    /// What is between the lines is not base64.
    #[error("a PEM block is not base64")]
    NotBase64,
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;

    #[test]
    fn blocks_read_back_whatever_is_around_them() {
        let (one, two) = (vec![7; 100], vec![9; 3]);
        let text = alloc::format!(
            "subject=CN = x\n{}-----BEGIN OTHER-----\nAAAA\n-----END OTHER-----\n{}",
            encode(CERTIFICATE, &one),
            encode(CERTIFICATE, &two).replace('\n', "\r\n"),
        );
        assert_eq!(decode(CERTIFICATE, &text), Ok(vec![one, two]));
    }

    #[test]
    fn lines_may_have_any_length() {
        for length in [1, 5, 63, 64, 76, 1_000] {
            let der = vec![0x5a; 200];
            let pem = encode(CERTIFICATE, &der);
            let body: String = pem.lines().filter(|line| !line.starts_with('-')).collect();
            let lines: Vec<_> = body
                .as_bytes()
                .chunks(length)
                .map(|line| core::str::from_utf8(line).unwrap())
                .collect();
            let text = alloc::format!(
                "-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----",
                lines.join("\n")
            );
            assert_eq!(decode(CERTIFICATE, &text), Ok(vec![der]), "{length}");
        }
    }

    #[test]
    fn what_is_not_pem_is_named() {
        for (text, want) in [
            ("", PemError::NoBlock),
            (
                "-----BEGIN OTHER-----\nAAAA\n-----END OTHER-----\n",
                PemError::NoBlock,
            ),
            ("-----BEGIN CERTIFICATE-----\nAAAA\n", PemError::NotClosed),
            (
                "-----BEGIN CERTIFICATE-----\nA*AA\n-----END CERTIFICATE-----",
                PemError::NotBase64,
            ),
            (
                "-----BEGIN CERTIFICATE-----\nAAA\n-----END CERTIFICATE-----",
                PemError::NotBase64,
            ),
        ] {
            assert_eq!(decode(CERTIFICATE, text), Err(want), "{text}");
        }
    }
}
