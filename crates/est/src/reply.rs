//! What an EST server answers.

use core::fmt;

use crate::body::{self, LineStyle};
use crate::multipart;
use crate::refusal::{RefusalNote, Retry};
use crate::request::ParseError;
use crate::secret::Secret;

/// One answer. Certificates are a certs-only CMS in DER (RFC 7030 section 4.1.3).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    /// The authorities' certificates: the root and every intermediate (section 4.1.3).
    CaCerts(Vec<u8>),
    /// The one certificate that was issued, and no other (section 4.2.3).
    Certificate(Vec<u8>),
    /// `CsrAttrs` in DER (section 4.5.2).
    CsrAttrs(Vec<u8>),
    /// No attributes are asked for: 204, because 404 also says "no such product" (section 4.5.2).
    NoCsrAttrs,
    /// A key that the server made, as PKCS#8 DER, with its certificate (section 4.4.2).
    ServerKey {
        /// `PrivateKeyInfo`, DER.
        pkcs8: Secret,
        /// Its certificate, certs-only DER.
        certs_only: Vec<u8>,
    },
    /// Not yet: a person has to approve. The device repeats the same request (section 4.2.3).
    Pending {
        /// Seconds to wait.
        retry_after: u32,
    },
    /// No credential was shown (section 3.2.3).
    Unauthorized {
        /// What `curl` and people see in the challenge.
        realm: String,
    },
    /// The road refuses.
    Refused {
        /// 400 to 599. 401 is answered like [`Self::Unauthorized`], with this code.
        status: u16,
        /// Seconds to wait when the cause passes; `None` when it doesn't.
        retry_after: Option<u32>,
        /// The refusal's word for machines, in `[a-z0-9-]`, or `CERT_NOT_IN_REGISTRY`.
        code: &'static str,
        /// The step's name.
        step: &'static str,
        /// One or two sentences for a person; what strangers may read.
        text: String,
    },
    /// The request was no EST request.
    Bad(ParseError),
}

impl Reply {
    /// The HTTP reply: exactly the headers that libest, strongSwan, `BouncyCastle` and curl agree on.
    ///
    /// strongSwan takes the headers in one read of 1024 bytes and needs `Content-Length`;
    /// `BouncyCastle` needs `Content-Transfer-Encoding` (which RFC 8951 tells everybody to ignore)
    /// and fails on a 401 or 202 that has a body. The caller adds no more than `Date` and
    /// `Connection`, and never chunks.
    #[must_use]
    pub fn encode(&self, style: LineStyle) -> HttpReply {
        match self {
            Self::CaCerts(der) => base64(PKCS7, der, style),
            Self::Certificate(der) => base64(CERTS_ONLY, der, style),
            Self::CsrAttrs(der) => base64("application/csrattrs", der, style),
            Self::NoCsrAttrs => empty(204, Vec::new()),
            Self::ServerKey { pkcs8, certs_only } => {
                let content_type = format!("multipart/mixed; boundary={}", multipart::BOUNDARY);
                let body = multipart::encode(pkcs8.expose(), certs_only, style);
                full(200, vec![("Content-Type", content_type)], body)
            }
            Self::Pending { retry_after } => {
                let retry = Retry::After(*retry_after);
                empty(202, refusal_headers("approval-pending", ENROLL, retry))
            }
            Self::Unauthorized { realm } => unauthorized("credential-missing", ENROLL, realm),
            Self::Refused {
                status: 401,
                code,
                step,
                ..
            } => unauthorized(code, step, REALM),
            Self::Refused {
                status,
                retry_after,
                code,
                step,
                text,
            } => {
                // A success in a refusal's clothes would make a device believe it has joined.
                let status = if (400..600).contains(status) {
                    *status
                } else {
                    500
                };
                let retry = retry_after.map_or(Retry::Never, Retry::After);
                said(status, refusal_headers(code, step, retry), text)
            }
            Self::Bad(error) => {
                let step = if matches!(error, ParseError::NotFound) {
                    BOOTSTRAP
                } else {
                    ENROLL
                };
                let mut headers = refusal_headers(error.code(), step, Retry::Never);
                headers.extend(error.allow().map(|method| ("Allow", method.to_owned())));
                said(error.status(), headers, &error.to_string())
            }
        }
    }
}

/// An HTTP reply, to be sent as it is.
#[derive(Clone, PartialEq, Eq)]
pub struct HttpReply {
    /// The status code.
    pub status: u16,
    /// Names and values, in order; `Content-Length` among them.
    pub headers: Vec<(&'static str, String)>,
    /// As many bytes as `Content-Length` says.
    pub body: Vec<u8>,
}

impl HttpReply {
    /// The value of a header, whatever the case of its name.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        let found = self
            .headers
            .iter()
            .find(|(header, _)| header.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str())
    }
}

/// The body may hold a private key and is not printed.
impl fmt::Debug for HttpReply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpReply")
            .field("status", &self.status)
            .field("headers", &self.headers)
            .field("body_bytes", &self.body.len())
            .finish()
    }
}

fn base64(content_type: &str, der: &[u8], style: LineStyle) -> HttpReply {
    let headers = vec![
        ("Content-Type", content_type.to_owned()),
        ("Content-Transfer-Encoding", "base64".to_owned()),
    ];
    full(200, headers, body::encode(der, style))
}

fn unauthorized(code: &str, step: &str, realm: &str) -> HttpReply {
    let mut headers = refusal_headers(code, step, Retry::Never);
    // A quoted-string (RFC 9110 section 5.6.4) that needs no escapes and stays short.
    let plain = |c: &char| (c.is_ascii_graphic() || *c == ' ') && !matches!(c, '"' | '\\');
    let realm: String = realm.chars().filter(plain).take(64).collect();
    headers.push(("WWW-Authenticate", format!("Basic realm=\"{realm}\"")));
    empty(401, headers)
}

fn refusal_headers(code: &str, step: &str, retry: Retry) -> Vec<(&'static str, String)> {
    let note = RefusalNote {
        code: code.to_owned(),
        step: step.to_owned(),
        retry,
    };
    let mut headers = vec![(RefusalNote::HEADER, note.to_string())];
    if let Retry::After(seconds) = retry {
        headers.push(("Retry-After", seconds.to_string()));
    }
    headers
}

/// A sentence as text/plain (RFC 8951 section 5), at most 1000 characters and one line feed.
fn said(status: u16, mut headers: Vec<(&'static str, String)>, text: &str) -> HttpReply {
    let mut body: String = text.trim_end().chars().take(1000).collect();
    body.push('\n');
    headers.push(("Content-Type", "text/plain; charset=utf-8".to_owned()));
    full(status, headers, body.into_bytes())
}

fn empty(status: u16, headers: Vec<(&'static str, String)>) -> HttpReply {
    full(status, headers, Vec::new())
}

fn full(status: u16, mut headers: Vec<(&'static str, String)>, body: Vec<u8>) -> HttpReply {
    headers.push(("Content-Length", body.len().to_string()));
    HttpReply {
        status,
        headers,
        body,
    }
}

const PKCS7: &str = "application/pkcs7-mime";
/// libest needs the parameter.
pub(crate) const CERTS_ONLY: &str = "application/pkcs7-mime; smime-type=certs-only";
const REALM: &str = "imprint";
const ENROLL: &str = "ENROLL";
const BOOTSTRAP: &str = "BOOTSTRAP";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::BodyError;

    fn refused(status: u16, retry_after: Option<u32>, code: &'static str) -> Reply {
        let text = "The token is leased to another key.\n".to_owned();
        Reply::Refused {
            status,
            retry_after,
            code,
            step: "ENROLL",
            text,
        }
    }

    fn every_reply() -> Vec<Reply> {
        let der = vec![0x30, 0x01, 0x05];
        let long = "w".repeat(3000);
        let mut all = vec![
            Reply::CaCerts(der.clone()),
            Reply::Certificate(der.clone()),
            Reply::CsrAttrs(vec![0x30, 0]),
            Reply::NoCsrAttrs,
            Reply::ServerKey {
                pkcs8: Secret::new(der.clone()),
                certs_only: der,
            },
            Reply::Pending {
                retry_after: u32::MAX,
            },
            Reply::Unauthorized {
                realm: long.clone(),
            },
            refused(401, None, "token-unknown"),
            refused(403, None, "token-leased"),
            refused(503, Some(u32::MAX), "ledger-unavailable"),
            refused(200, None, "never-a-success"),
            Reply::Refused {
                status: 400,
                retry_after: None,
                code: "csr-signature-bad",
                step: "CREDENTIAL_STORE",
                text: long.clone(),
            },
        ];
        all.extend(
            [
                ParseError::NotFound,
                ParseError::Method { allow: "POST" },
                ParseError::NotOffered,
                ParseError::TooLarge,
                ParseError::ContentType { found: long },
                ParseError::Body(BodyError::Empty),
            ]
            .map(Reply::Bad),
        );
        all
    }

    /// strongSwan reads status line and headers with one read of 1024 bytes.
    #[test]
    fn every_header_block_fits_strongswan() {
        for reply in every_reply() {
            let http = reply.encode(LineStyle::Wrapped);
            let lines: usize = http
                .headers
                .iter()
                .map(|(n, v)| n.len() + v.len() + 4)
                .sum();
            // The longest status line, and what the server adds: Date and Connection.
            let frame = "HTTP/1.1 415 Unsupported Media Type\r\n\r\n".len()
                + "Date: Tue, 24 Nov 2026 17:08:11 GMT\r\nConnection: keep-alive\r\n".len();
            assert!(lines + frame <= 1024, "{} bytes: {http:?}", lines + frame);
            assert!(lines + frame <= 512, "we never need half of it: {http:?}");
            for (name, value) in &http.headers {
                let sound = value.bytes().all(|b| (0x20..0x7f).contains(&b));
                assert!(sound, "{name} of {reply:?}");
            }
        }
    }

    #[test]
    fn content_length_is_the_length_of_the_content() {
        for reply in every_reply() {
            for style in [LineStyle::Wrapped, LineStyle::Single] {
                let http = reply.encode(style);
                let length = http.header("content-length").unwrap();
                assert_eq!(length, http.body.len().to_string(), "{reply:?}");
                let names: Vec<_> = http.headers.iter().map(|(name, _)| *name).collect();
                let mut once = names.clone();
                once.sort_unstable();
                once.dedup();
                assert_eq!(names.len(), once.len(), "a header stands twice: {names:?}");
            }
        }
    }

    #[test]
    fn success_has_exactly_the_measured_headers() {
        let der = vec![0x30, 0x01, 0x05];
        for (reply, content_type) in [
            (Reply::CaCerts(der.clone()), "application/pkcs7-mime"),
            (
                Reply::Certificate(der.clone()),
                "application/pkcs7-mime; smime-type=certs-only",
            ),
            (Reply::CsrAttrs(der), "application/csrattrs"),
        ] {
            let want = vec![
                ("Content-Type", content_type.to_owned()),
                ("Content-Transfer-Encoding", "base64".to_owned()),
                ("Content-Length", "5".to_owned()),
            ];
            let http = reply.encode(LineStyle::Wrapped);
            assert_eq!((http.status, http.headers), (200, want), "{reply:?}");
            assert_eq!(http.body, b"MAEF\n");
        }
    }

    #[test]
    fn a_refusal_says_why_and_whether_to_ask_again() {
        for (reply, status, note, retry_after) in [
            (
                Reply::Pending { retry_after: 30 },
                202,
                "approval-pending; step=ENROLL; retry=30",
                Some("30"),
            ),
            (
                Reply::Unauthorized {
                    realm: "imprint".into(),
                },
                401,
                "credential-missing; step=ENROLL; retry=never",
                None,
            ),
            (
                refused(401, None, "token-unknown"),
                401,
                "token-unknown; step=ENROLL; retry=never",
                None,
            ),
            (
                refused(403, Some(3600), "token-leased"),
                403,
                "token-leased; step=ENROLL; retry=3600",
                Some("3600"),
            ),
            (
                Reply::Bad(ParseError::TooLarge),
                413,
                "request-too-large; step=ENROLL; retry=never",
                None,
            ),
            (
                refused(200, None, "x"),
                500,
                "x; step=ENROLL; retry=never",
                None,
            ),
        ] {
            let http = reply.encode(LineStyle::Wrapped);
            assert_eq!(http.status, status, "{reply:?}");
            assert_eq!(http.header("Imprint-Refusal"), Some(note), "{reply:?}");
            assert_eq!(http.header("Retry-After"), retry_after, "{reply:?}");
            assert_eq!(
                http.body.is_empty(),
                matches!(status, 202 | 401),
                "{reply:?}"
            );
            assert_eq!(
                http.header("WWW-Authenticate").is_some(),
                status == 401,
                "{reply:?}"
            );
        }
        let http = refused(403, None, "token-leased").encode(LineStyle::Wrapped);
        assert_eq!(http.body, b"The token is leased to another key.\n");
        let http = Reply::Bad(ParseError::Method { allow: "GET" }).encode(LineStyle::Wrapped);
        assert_eq!(http.header("Allow"), Some("GET"));
    }

    #[test]
    fn a_realm_can_not_add_a_header() {
        let realm = "a\"b\r\nSet-Cookie: x\\ \u{e4}".to_owned();
        let http = Reply::Unauthorized { realm }.encode(LineStyle::Wrapped);
        let want = "Basic realm=\"abSet-Cookie: x \"";
        assert_eq!(http.header("WWW-Authenticate"), Some(want));
    }

    #[test]
    fn a_private_key_is_never_printed() {
        let pkcs8 = Secret::new(b"\x30\x06SECRET".to_vec());
        let reply = Reply::ServerKey {
            pkcs8,
            certs_only: vec![0x30, 0],
        };
        let printed = format!("{reply:?} {:?}", reply.encode(LineStyle::Single));
        // "SECRET" as text, as Debug prints a byte vector, and in base64.
        for leak in ["SECRET", "83, 69, 67", "U0VDUkVU"] {
            assert!(!printed.contains(leak), "{printed}");
        }
    }
}
