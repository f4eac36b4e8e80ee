//! What a device asks of an EST server.

use crate::body::{self, BodyError};
use crate::route::{Operation, Route};

/// One request, ready for the road.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request<'a> {
    /// The product, when the path names one. Whether it exists is the server's to say.
    pub label: Option<&'a str>,
    /// What is asked.
    pub kind: RequestKind,
}

/// What is asked. Certification requests are one whole DER SEQUENCE, not looked into here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RequestKind {
    /// The certificates of the fleet's authorities (RFC 7030 section 4.1).
    CaCerts,
    /// A first certificate for this PKCS#10 DER (section 4.2.1).
    SimpleEnroll(Vec<u8>),
    /// Another certificate for this PKCS#10 DER (section 4.2.2).
    SimpleReenroll(Vec<u8>),
    /// What a certification request should hold (section 4.5).
    CsrAttrs,
    /// A key pair and its certificate, for this PKCS#10 DER (section 4.4).
    ServerKeyGen(Vec<u8>),
}

impl<'a> Request<'a> {
    /// Reads one HTTP request. `path` is as it stands in the request line, without a query, never
    /// percent-decoded; `body` is all of it (see [`MAX_BODY`]).
    ///
    /// The checks run from the outside in, so that the first thing wrong is the one that is named:
    /// path, method, whether we offer it, size, type, body.
    pub fn parse(
        method: &str,
        path: &'a str,
        content_type: Option<&str>,
        body: &[u8],
    ) -> Result<Self, ParseError> {
        let Route { label, operation } = Route::parse(path).ok_or(ParseError::NotFound)?;
        if method != operation.method() {
            return Err(ParseError::Method {
                allow: operation.method(),
            });
        }
        let kind = match operation {
            Operation::CaCerts => RequestKind::CaCerts,
            Operation::CsrAttrs => RequestKind::CsrAttrs,
            Operation::SimpleEnroll => RequestKind::SimpleEnroll(csr(content_type, body)?),
            Operation::SimpleReenroll => RequestKind::SimpleReenroll(csr(content_type, body)?),
            Operation::ServerKeyGen => RequestKind::ServerKeyGen(csr(content_type, body)?),
            Operation::FullCmc => return Err(ParseError::NotOffered),
        };
        Ok(Self { label, kind })
    }
}

/// The longest body that is read, in bytes. The largest sound request is an RSA-4096 CSR of about
/// 2 KiB with extensions; a TPM's evidence makes it some KiB more.
pub const MAX_BODY: usize = 64 * 1024;

/// The certification request in a body (RFC 7030 section 4.2.1).
fn csr(content_type: Option<&str>, bytes: &[u8]) -> Result<Vec<u8>, ParseError> {
    if bytes.len() > MAX_BODY {
        return Err(ParseError::TooLarge);
    }
    let found = content_type.unwrap_or_default();
    let media_type = found.split(';').next().unwrap_or_default().trim();
    if !media_type.eq_ignore_ascii_case("application/pkcs10") {
        let found = found.chars().filter(|c| !c.is_control()).take(80).collect();
        return Err(ParseError::ContentType { found });
    }
    Ok(body::decode(
        bytes,
        &["CERTIFICATE REQUEST", "NEW CERTIFICATE REQUEST"],
    )?)
}

/// Why bytes are not an EST request that we answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ParseError {
    /// No such path, or no such product: the server says this for a label that it doesn't know.
    #[error(
        "there is no EST operation at this path; it is /.well-known/est/<product>/simpleenroll or the like"
    )]
    NotFound,
    /// The operation takes another method.
    #[error("this EST operation takes {allow} only")]
    Method {
        /// The method that it takes.
        allow: &'static str,
    },
    /// An operation that this server does not offer.
    #[error("this server does not offer this EST operation; use simpleenroll")]
    NotOffered,
    /// More than [`MAX_BODY`] bytes.
    #[error("the body is longer than {MAX_BODY} bytes; send the certification request alone")]
    TooLarge,
    /// Not `application/pkcs10`.
    #[error("the Content-Type is {found:?}; send a certification request as application/pkcs10")]
    ContentType {
        /// What the request said, or nothing.
        found: String,
    },
    /// The body is not a certification request in any form that we read.
    #[error("the certification request can't be read: {0}")]
    Body(#[from] BodyError),
}

impl ParseError {
    /// The HTTP status that answers it.
    #[must_use]
    pub const fn status(&self) -> u16 {
        match self {
            Self::NotFound => 404,
            Self::Method { .. } => 405,
            Self::NotOffered => 501,
            Self::TooLarge => 413,
            Self::ContentType { .. } => 415,
            Self::Body(_) => 400,
        }
    }

    /// The refusal's word for machines.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::NotFound => "not-found",
            Self::Method { .. } => "method-not-allowed",
            Self::NotOffered => "operation-not-offered",
            Self::TooLarge => "request-too-large",
            Self::ContentType { .. } => "content-type-wrong",
            Self::Body(_) => "csr-unreadable",
        }
    }

    /// The value of the `Allow` header, where there is one (RFC 9110 section 15.5.6).
    #[must_use]
    pub const fn allow(&self) -> Option<&'static str> {
        match self {
            Self::Method { allow } => Some(*allow),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const ENROLL: &str = "/.well-known/est/thermo/simpleenroll";
    const PKCS10: Option<&str> = Some("application/pkcs10");

    fn enroll(csr: &[u8]) -> Request<'static> {
        Request {
            label: Some("thermo"),
            kind: RequestKind::SimpleEnroll(csr.to_vec()),
        }
    }

    #[test]
    fn a_certification_request_is_read_in_every_form() {
        let pem = |label| format!("text\n-----BEGIN {label}-----\nMAEF\n-----END {label}-----\n");
        for (content_type, body) in [
            ("application/pkcs10", "MAEF".to_owned()),
            ("Application/PKCS10; charset=x", "MAEF\r\n".to_owned()),
            ("application/pkcs10", "M\nA\nE\nF".to_owned()),
            ("application/pkcs10", "0\u{1}\u{5}".to_owned()),
            ("application/pkcs10", pem("CERTIFICATE REQUEST")),
            ("application/pkcs10", pem("NEW CERTIFICATE REQUEST")),
        ] {
            let got = Request::parse("POST", ENROLL, Some(content_type), body.as_bytes());
            assert_eq!(got, Ok(enroll(&[0x30, 0x01, 0x05])), "{body:?}");
        }
    }

    #[test]
    #[expect(clippy::too_many_lines, reason = "one table")]
    fn the_first_thing_wrong_is_the_one_that_is_named() {
        let long = vec![b'A'; MAX_BODY + 1];
        let label = |found: &str| BodyError::PemLabel {
            found: found.into(),
        };
        let certificate = "-----BEGIN CERTIFICATE-----\nMAEF\n-----END CERTIFICATE-----\n";
        let block =
            "-----BEGIN CERTIFICATE REQUEST-----\nMAEF\n-----END CERTIFICATE REQUEST-----\n";
        let text = |found: &str| ParseError::ContentType {
            found: found.into(),
        };
        for (method, path, content_type, body, want, status) in [
            (
                "GET",
                "/.well-known/est/x",
                None,
                &b""[..],
                ParseError::NotFound,
                404,
            ),
            (
                "GET",
                ENROLL,
                None,
                b"",
                ParseError::Method { allow: "POST" },
                405,
            ),
            (
                "HEAD",
                ENROLL,
                PKCS10,
                b"MAEF",
                ParseError::Method { allow: "POST" },
                405,
            ),
            (
                "post",
                ENROLL,
                PKCS10,
                b"MAEF",
                ParseError::Method { allow: "POST" },
                405,
            ),
            (
                "PUT",
                "/.well-known/est/cacerts",
                None,
                b"",
                ParseError::Method { allow: "GET" },
                405,
            ),
            (
                "POST",
                "/.well-known/est/fullcmc",
                None,
                b"",
                ParseError::NotOffered,
                501,
            ),
            ("POST", ENROLL, None, &long, ParseError::TooLarge, 413),
            ("POST", ENROLL, None, b"MAEF", text(""), 415),
            (
                "POST",
                ENROLL,
                Some("text/plain\r\nX: y"),
                b"MAEF",
                text("text/plainX: y"),
                415,
            ),
            (
                "POST",
                ENROLL,
                Some("application/pkcs10x"),
                b"MAEF",
                text("application/pkcs10x"),
                415,
            ),
            (
                "POST",
                ENROLL,
                PKCS10,
                b" \r\n",
                BodyError::Empty.into(),
                400,
            ),
            (
                "POST",
                ENROLL,
                PKCS10,
                b"MA\0EF",
                BodyError::NotBase64 { position: 3 }.into(),
                400,
            ),
            (
                "POST",
                ENROLL,
                PKCS10,
                b"MAEFB",
                BodyError::Base64Cut.into(),
                400,
            ),
            (
                "POST",
                ENROLL,
                PKCS10,
                b"MAE=BQ",
                BodyError::Base64Cut.into(),
                400,
            ),
            (
                "POST",
                ENROLL,
                PKCS10,
                b"AAEF",
                BodyError::NotSequence { tag: 0 }.into(),
                400,
            ),
            (
                "POST",
                ENROLL,
                PKCS10,
                certificate.as_bytes(),
                label("CERTIFICATE").into(),
                400,
            ),
            (
                "POST",
                ENROLL,
                PKCS10,
                &block.as_bytes()[..45],
                BodyError::PemUnclosed.into(),
                400,
            ),
            (
                "POST",
                ENROLL,
                PKCS10,
                block.repeat(2).as_bytes(),
                BodyError::PemTwice.into(),
                400,
            ),
        ] {
            let got = Request::parse(method, path, content_type, body);
            assert_eq!(got, Err(want.clone()), "{method} {path} {content_type:?}");
            assert_eq!(want.status(), status, "{want:?}");
        }
    }

    proptest! {
        #[test]
        fn no_request_panics(
            content_type in ".{0,30}",
            body in proptest::collection::vec(any::<u8>(), 0..200),
        ) {
            let _ = Request::parse("POST", ENROLL, Some(&content_type), &body);
            let _ = Request::parse("POST", ENROLL, PKCS10, &body);
        }
    }
}
