//! `multipart/mixed` with a private key and its certificate (RFC 7030 section 4.4.2).

use zeroize::Zeroizing;

use crate::body::{self, LineStyle, split_at};
use crate::client::{PKCS7_LABELS, ReplyError};
use crate::reply::CERTS_ONLY;
use crate::secret::Secret;

/// Has characters that base64 doesn't, so it can't stand in a part.
pub(crate) const BOUNDARY: &str = "imprint-serverkeygen";

/// The key first, then the certificate, as the example of RFC 7030 appendix A.4 has them.
pub(crate) fn encode(pkcs8: &[u8], certs_only: &[u8], style: LineStyle) -> Vec<u8> {
    let mut text = Vec::new();
    let key = Zeroizing::new(body::encode(pkcs8, style));
    let certificate = body::encode(certs_only, style);
    for (content_type, content) in [
        ("application/pkcs8", key.as_slice()),
        (CERTS_ONLY, &certificate),
    ] {
        text.extend_from_slice(format!("--{BOUNDARY}\r\n").as_bytes());
        text.extend_from_slice(format!("Content-Type: {content_type}\r\n").as_bytes());
        text.extend_from_slice(b"Content-Transfer-Encoding: base64\r\n\r\n");
        text.extend_from_slice(content);
        text.extend_from_slice(b"\r\n");
    }
    text.extend_from_slice(format!("--{BOUNDARY}--\r\n").as_bytes());
    text
}

/// Reads the two parts, in either order, with CRLF or LF: the key, and certs-only DER.
pub(crate) fn parse(content_type: &str, text: &[u8]) -> Result<(Secret, Vec<u8>), ReplyError> {
    let boundary = boundary(content_type).ok_or(ReplyError::Multipart)?;
    let mark = format!("--{boundary}");
    let (mut key, mut certificate) = (None, None);
    let (_preamble, mut rest) = split_at(text, mark.as_bytes()).ok_or(ReplyError::Multipart)?;
    while !rest.starts_with(b"--") {
        let (part, next) = split_at(rest, mark.as_bytes()).ok_or(ReplyError::Multipart)?;
        let (head, content) = split_at(part, b"\r\n\r\n")
            .or_else(|| split_at(part, b"\n\n"))
            .ok_or(ReplyError::Multipart)?;
        let head = String::from_utf8_lossy(head).to_ascii_lowercase();
        let slot_is_taken = if head.contains("server-generated-key") {
            return Err(ReplyError::KeyIsEncrypted);
        } else if head.contains("application/pkcs8") {
            key.replace(Secret::new(body::decode(content, &["PRIVATE KEY"])?))
                .is_some()
        } else if head.contains("application/pkcs7-mime") {
            certificate
                .replace(body::decode(content, PKCS7_LABELS)?)
                .is_some()
        } else {
            false
        };
        if slot_is_taken {
            return Err(ReplyError::Multipart);
        }
        rest = next;
    }
    key.zip(certificate).ok_or(ReplyError::Multipart)
}

/// The `boundary` parameter, quoted or not (RFC 2046 section 5.1.1).
fn boundary(content_type: &str) -> Option<&str> {
    let mut parts = content_type.split(';').map(str::trim);
    if !parts.next()?.eq_ignore_ascii_case("multipart/mixed") {
        return None;
    }
    let value = parts.find_map(|part| {
        let (name, value) = part.split_once('=')?;
        name.trim()
            .eq_ignore_ascii_case("boundary")
            .then_some(value.trim())
    })?;
    let value = value
        .strip_prefix('"')
        .and_then(|v| v.strip_suffix('"'))
        .unwrap_or(value);
    (1..=70).contains(&value.len()).then_some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &[u8] = &[0x30, 0x01, 0x05];
    const CERTIFICATE: &[u8] = &[0x30, 0x02, 0x05, 0x00];

    fn check(content_type: &str, text: &str, want: Result<(), ReplyError>) {
        let want = want.map(|()| (Secret::new(KEY.to_vec()), CERTIFICATE.to_vec()));
        assert_eq!(
            parse(content_type, text.as_bytes()),
            want,
            "{content_type}\n{text}"
        );
    }

    #[test]
    fn both_parts_come_back() {
        for style in [LineStyle::Wrapped, LineStyle::Single] {
            let text = String::from_utf8(encode(KEY, CERTIFICATE, style)).unwrap();
            check(
                "multipart/mixed; boundary=imprint-serverkeygen",
                &text,
                Ok(()),
            );
            check(
                "Multipart/Mixed ; Boundary=\"imprint-serverkeygen\"",
                &text,
                Ok(()),
            );
            check("multipart/mixed", &text, Err(ReplyError::Multipart));
            check(
                "multipart/mixed; boundary=\"\"",
                &text,
                Err(ReplyError::Multipart),
            );
            check(
                "text/plain; boundary=imprint-serverkeygen",
                &text,
                Err(ReplyError::Multipart),
            );
            check(
                "multipart/mixed; boundary=other",
                &text,
                Err(ReplyError::Multipart),
            );
        }
    }

    #[test]
    fn parts_may_stand_in_either_order_with_a_preamble() {
        let key = "--b\nContent-Type: application/pkcs8\n\nMAEF\n";
        let certificate =
            "--b\nContent-Type: application/pkcs7-mime; smime-type=certs-only\n\nMAIFAA==\n";
        let other = "--b\nContent-Type: text/plain\n\nhello\n";
        let encrypted =
            "--b\nContent-Type: application/pkcs7-mime; smime-type=server-generated-key\n\nMAEF\n";
        let bad = Err(ReplyError::Multipart);
        for (text, want) in [
            (format!("preamble\n{certificate}{key}--b--\n"), Ok(())),
            (format!("{key}{other}{certificate}--b--"), Ok(())),
            (format!("{key}{certificate}"), bad.clone()),
            (format!("{key}--b--"), bad.clone()),
            (format!("{certificate}--b--"), bad.clone()),
            (format!("{key}{key}{certificate}--b--"), bad.clone()),
            (
                format!("{encrypted}{certificate}--b--"),
                Err(ReplyError::KeyIsEncrypted),
            ),
            ("--b--".to_owned(), bad.clone()),
            ("--b".to_owned(), bad.clone()),
            (String::new(), bad),
        ] {
            check("multipart/mixed; boundary=b", &text, want);
        }
    }
}
