//! EST replies: `operation status content-type`, a line of `Retry-After`, a line of
//! `Imprint-Refusal`, and the body. The device's side.
#![no_main]

use imprint_est::Operation;
use imprint_est::client::Answer;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let mut parts = bytes.splitn(4, |byte| *byte == b'\n');
    let mut line = || std::str::from_utf8(parts.next().unwrap_or_default()).unwrap_or_default();
    let (head, retry_after, refusal) = (line(), line(), line());
    let body = parts.next().unwrap_or_default();
    let mut words = head.splitn(3, ' ');
    let operation = match words.next() {
        Some("cacerts") => Operation::CaCerts,
        Some("csrattrs") => Operation::CsrAttrs,
        Some("simplereenroll") => Operation::SimpleReenroll,
        Some("serverkeygen") => Operation::ServerKeyGen,
        _ => Operation::SimpleEnroll,
    };
    let status = words
        .next()
        .and_then(|status| status.parse().ok())
        .unwrap_or(200);
    let content_type = words.next();
    let header = |name: &str| match name.to_ascii_lowercase().as_str() {
        "content-type" => content_type,
        "retry-after" => Some(retry_after).filter(|value| !value.is_empty()),
        "imprint-refusal" => Some(refusal).filter(|value| !value.is_empty()),
        _ => None,
    };
    match Answer::parse(operation, status, header, body) {
        Ok(Answer::Refused(refusal)) => {
            assert!(!refusal.text.chars().any(char::is_control));
            let _ = refusal.retry();
        }
        Ok(Answer::CaCerts(der) | Answer::Certificate(der)) => {
            let _ = imprint_pkix::certs_only::decode(&der);
        }
        Ok(Answer::CsrAttrs(der)) => {
            let _ = imprint_pkix::csr_attrs::decode(&der);
        }
        _ => {}
    }
});
