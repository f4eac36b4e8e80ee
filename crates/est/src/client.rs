//! The device's half of EST: requests to request bytes, reply bytes to [`Answer`]s.
//!
//! Replies of other people's servers are read too: with or without our `Imprint-Refusal` header,
//! base64 in any layout (RFC 8951 section 3.1), PEM, raw DER.

use core::fmt;

use crate::body::{self, BodyError, LineStyle};
use crate::date;
use crate::multipart;
use crate::refusal::{RefusalNote, Retry};
use crate::request::{Request, RequestKind};
use crate::route::{Operation, Route};
use crate::secret::Secret;

/// What to send for `request`: path, headers and body, without credentials. `Host` is the
/// caller's, and so is `Authorization` (see [`crate::authorization`]), because it must not be sent
/// before the server was verified.
#[must_use]
pub fn encode(request: &Request<'_>) -> HttpRequest {
    let operation = request.kind.operation();
    let path = Route {
        label: request.label,
        operation,
    }
    .path();
    let accept = ("Accept", "*/*".to_owned());
    let Some(csr) = request.kind.csr() else {
        return HttpRequest {
            method: "GET",
            path,
            headers: vec![accept],
            body: Vec::new(),
        };
    };
    let body = body::encode(csr, LineStyle::Wrapped);
    let headers = vec![
        accept,
        ("Content-Type", "application/pkcs10".to_owned()),
        // To be ignored by RFC 8951 section 3.1, and needed by servers that are older than that.
        ("Content-Transfer-Encoding", "base64".to_owned()),
        ("Content-Length", body.len().to_string()),
    ];
    HttpRequest {
        method: "POST",
        path,
        headers,
        body,
    }
}

/// An HTTP request, to be sent as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpRequest {
    /// `GET` or `POST`.
    pub method: &'static str,
    /// The path, with no query.
    pub path: String,
    /// Names and values, in order.
    pub headers: Vec<(&'static str, String)>,
    /// As many bytes as `Content-Length` says.
    pub body: Vec<u8>,
}

/// What an EST server said. Certificates are a certs-only CMS in DER, not looked into here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// The authorities' certificates (RFC 7030 section 4.1.3).
    CaCerts(Vec<u8>),
    /// The certificate that was issued (section 4.2.3).
    Certificate(Vec<u8>),
    /// `CsrAttrs` (section 4.5.2), DER.
    CsrAttrs(Vec<u8>),
    /// Nothing in particular should stand in the request (section 4.5.2).
    NoCsrAttrs,
    /// A key that the server made (section 4.4.2).
    ServerKey {
        /// `PrivateKeyInfo`, DER.
        pkcs8: Secret,
        /// Its certificate, certs-only DER.
        certs_only: Vec<u8>,
    },
    /// Not yet: repeat the same request, with the same key (section 4.2.3).
    Pending {
        /// Seconds to wait. `None` when the server, against the RFC, didn't say.
        retry_after: Option<u32>,
    },
    /// No.
    Refused(Refusal),
}

impl Answer {
    /// Reads the reply to `operation`. `header` finds a header's value by its name, whatever its
    /// case; `body` is all of it.
    ///
    /// An error is not a refusal: the bytes don't say what the server wants, so a device tries
    /// again and gives up nothing.
    pub fn parse<'a>(
        operation: Operation,
        status: u16,
        header: impl Fn(&str) -> Option<&'a str>,
        body: &[u8],
    ) -> Result<Self, ReplyError> {
        match (status, operation) {
            (200, _) => granted(operation, header("Content-Type"), body),
            (
                202,
                Operation::SimpleEnroll | Operation::SimpleReenroll | Operation::ServerKeyGen,
            ) => Ok(Self::Pending {
                retry_after: seconds(&header),
            }),
            (204, Operation::CsrAttrs) => Ok(Self::NoCsrAttrs),
            // 404 says the same (RFC 7030 section 4.5.2), unless it is our "no such product".
            (404, Operation::CsrAttrs) if header(RefusalNote::HEADER).is_none() => {
                Ok(Self::NoCsrAttrs)
            }
            (400..600, _) => Ok(Self::Refused(Refusal::read(status, header, body))),
            _ => Err(ReplyError::Status { status }),
        }
    }
}

/// Why not, as far as the server said it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The HTTP status, 400 to 599.
    pub status: u16,
    /// Our header. Other servers don't send it, and proxies answer without it.
    pub note: Option<RefusalNote>,
    /// `Retry-After` in seconds. A date counts from the reply's own `Date`; without one it is not read.
    pub retry_after: Option<u32>,
    /// The sentence for a person: printable, on one line, perhaps empty.
    pub text: String,
}

impl Refusal {
    /// Reads a reply that is known to be a refusal, also to a question outside EST.
    #[must_use]
    pub fn read<'a>(status: u16, header: impl Fn(&str) -> Option<&'a str>, body: &[u8]) -> Self {
        Self {
            status,
            note: header(RefusalNote::HEADER).and_then(RefusalNote::parse),
            retry_after: seconds(&header),
            text: printable(body),
        }
    }

    /// When to ask again, by the note or else by `Retry-After`. `None` when nobody said: the
    /// status alone may come from a proxy on the way, so it never means "give up".
    #[must_use]
    pub fn retry(&self) -> Option<Retry> {
        let noted = self.note.as_ref().map(|note| note.retry);
        noted.or(self.retry_after.map(Retry::After))
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "HTTP status {}", self.status)?;
        if let Some(note) = &self.note {
            write!(f, ", {}", note.code)?;
        }
        if !self.text.is_empty() {
            write!(f, ": {}", self.text)?;
        }
        Ok(())
    }
}

fn granted(
    operation: Operation,
    content_type: Option<&str>,
    bytes: &[u8],
) -> Result<Answer, ReplyError> {
    let wanted = match operation {
        Operation::CsrAttrs => "application/csrattrs",
        Operation::ServerKeyGen => "multipart/mixed",
        _ => "application/pkcs7-mime",
    };
    // Whoever sends no type is believed; who says that it is a web page is not.
    let found = content_type.unwrap_or(wanted);
    if !found
        .split(';')
        .next()
        .unwrap_or_default()
        .trim()
        .eq_ignore_ascii_case(wanted)
    {
        return Err(ReplyError::ContentType {
            wanted,
            found: printable(found.as_bytes()),
        });
    }
    match operation {
        Operation::CaCerts => Ok(Answer::CaCerts(body::decode(bytes, PKCS7_LABELS)?)),
        Operation::SimpleEnroll | Operation::SimpleReenroll => {
            Ok(Answer::Certificate(body::decode(bytes, PKCS7_LABELS)?))
        }
        Operation::CsrAttrs => Ok(Answer::CsrAttrs(body::decode(bytes, &[])?)),
        Operation::ServerKeyGen => {
            let (pkcs8, certs_only) = multipart::parse(found, bytes)?;
            Ok(Answer::ServerKey { pkcs8, certs_only })
        }
        Operation::FullCmc => Err(ReplyError::Status { status: 200 }),
    }
}

/// What PEM calls a certs-only CMS.
pub(crate) const PKCS7_LABELS: &[&str] = &["PKCS7", "CMS"];

/// `Retry-After` in seconds. A date is read against the server's own `Date`, which needs no clock here.
fn seconds<'a>(header: impl Fn(&str) -> Option<&'a str>) -> Option<u32> {
    let retry_after = header("Retry-After")?.trim();
    let number = retry_after.parse().ok();
    number.or_else(|| date::seconds_until(retry_after, header("Date")?.trim()))
}

/// The first line of what a stranger wrote, safe for a terminal and a log.
fn printable(text: &[u8]) -> String {
    let text = String::from_utf8_lossy(text.get(..LONGEST_TEXT).unwrap_or(text));
    let line = text.trim().lines().next().unwrap_or_default();
    line.chars().filter(|c| !c.is_control()).collect()
}

/// Bytes of a refusal's text that are kept; ours has 1000 characters at most.
const LONGEST_TEXT: usize = 1024;

impl RequestKind {
    /// The operation that asks this.
    #[must_use]
    pub const fn operation(&self) -> Operation {
        match self {
            Self::CaCerts => Operation::CaCerts,
            Self::SimpleEnroll(_) => Operation::SimpleEnroll,
            Self::SimpleReenroll(_) => Operation::SimpleReenroll,
            Self::CsrAttrs => Operation::CsrAttrs,
            Self::ServerKeyGen(_) => Operation::ServerKeyGen,
        }
    }

    /// The certification request, where there is one.
    #[must_use]
    pub fn csr(&self) -> Option<&[u8]> {
        match self {
            Self::SimpleEnroll(csr) | Self::SimpleReenroll(csr) | Self::ServerKeyGen(csr) => {
                Some(csr)
            }
            Self::CaCerts | Self::CsrAttrs => None,
        }
    }
}

/// Why a reply says nothing that a device can act upon.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ReplyError {
    /// A status that EST does not use for this operation, such as a redirect.
    #[error(
        "the server answered with HTTP status {status}, which is no EST answer; is this the EST server?"
    )]
    Status {
        /// The status.
        status: u16,
    },
    /// A success of another type.
    #[error("the server answered with {found:?} and not with {wanted}; is this the EST server?")]
    ContentType {
        /// What the operation is answered with.
        wanted: &'static str,
        /// What came.
        found: String,
    },
    /// The two parts of a `serverkeygen` reply can't be told apart.
    #[error("the reply is not a multipart/mixed of one key and one certificate")]
    Multipart,
    /// The key was encrypted for a key that we never named.
    #[error("the server encrypted the key that it made, and this device did not ask for that")]
    KeyIsEncrypted,
    /// The body can't be read.
    #[error("the server's reply can't be read: {0}")]
    Body(#[from] BodyError),
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{HttpReply, ParseError, Reply};
    use proptest::prelude::*;

    const DER: &[u8] = &[0x30, 0x01, 0x05];

    fn read(operation: Operation, http: &HttpReply) -> Result<Answer, ReplyError> {
        Answer::parse(operation, http.status, |name| http.header(name), &http.body)
    }

    fn refused(note: &str, status: u16, retry_after: Option<u32>, text: &str) -> Answer {
        let note = RefusalNote::parse(note);
        assert!(note.is_some(), "the test's own note");
        Answer::Refused(Refusal {
            status,
            note,
            retry_after,
            text: text.into(),
        })
    }

    #[test]
    fn what_our_server_says_is_what_the_device_reads() {
        use Operation::{CaCerts, CsrAttrs, ServerKeyGen, SimpleEnroll, SimpleReenroll};
        let key = || Secret::new(DER.to_vec());
        let (leased, text) = (
            "token-leased",
            "The token is leased to another key.".to_owned(),
        );
        let refusal = |status, retry_after| Reply::Refused {
            status,
            retry_after,
            code: leased,
            step: "ENROLL",
            text: text.clone(),
        };
        for (operation, reply, want) in [
            (
                CaCerts,
                Reply::CaCerts(DER.into()),
                Answer::CaCerts(DER.into()),
            ),
            (
                SimpleEnroll,
                Reply::Certificate(DER.into()),
                Answer::Certificate(DER.into()),
            ),
            (
                SimpleReenroll,
                Reply::Certificate(DER.into()),
                Answer::Certificate(DER.into()),
            ),
            (
                CsrAttrs,
                Reply::CsrAttrs(DER.into()),
                Answer::CsrAttrs(DER.into()),
            ),
            (CsrAttrs, Reply::NoCsrAttrs, Answer::NoCsrAttrs),
            (
                ServerKeyGen,
                Reply::ServerKey {
                    pkcs8: key(),
                    certs_only: DER.into(),
                },
                Answer::ServerKey {
                    pkcs8: key(),
                    certs_only: DER.into(),
                },
            ),
            (
                SimpleEnroll,
                Reply::Pending { retry_after: 30 },
                Answer::Pending {
                    retry_after: Some(30),
                },
            ),
            (
                SimpleEnroll,
                Reply::Unauthorized {
                    realm: "imprint".into(),
                },
                refused(
                    "credential-missing; step=ENROLL; retry=never",
                    401,
                    None,
                    "",
                ),
            ),
            (
                SimpleEnroll,
                refusal(403, Some(3600)),
                refused(
                    "token-leased; step=ENROLL; retry=3600",
                    403,
                    Some(3600),
                    &text,
                ),
            ),
            (
                SimpleReenroll,
                refusal(403, None),
                refused("token-leased; step=ENROLL; retry=never", 403, None, &text),
            ),
            (
                CsrAttrs,
                Reply::Bad(ParseError::NotFound),
                refused(
                    "not-found; step=BOOTSTRAP; retry=never",
                    404,
                    None,
                    &ParseError::NotFound.to_string(),
                ),
            ),
        ] {
            for style in [LineStyle::Wrapped, LineStyle::Single] {
                let got = read(operation, &reply.encode(style));
                assert_eq!(got.as_ref(), Ok(&want), "{reply:?}");
            }
        }
    }

    #[test]
    #[expect(clippy::too_many_lines, reason = "one table")]
    fn other_servers_are_read_too() {
        use Operation::{CsrAttrs, SimpleEnroll};
        let type_error = |found: &str| {
            Err(ReplyError::ContentType {
                wanted: "application/pkcs7-mime",
                found: found.into(),
            })
        };
        let other = |status, retry_after, text: &str| {
            Ok(Answer::Refused(Refusal {
                status,
                note: None,
                retry_after,
                text: text.into(),
            }))
        };
        let pem = "-----BEGIN PKCS7-----\r\nMAEF\r\n-----END PKCS7-----\r\n";
        for (operation, status, headers, body, want) in [
            (
                SimpleEnroll,
                200,
                &[][..],
                "MAEF",
                Ok(Answer::Certificate(DER.into())),
            ),
            (
                SimpleEnroll,
                200,
                &[],
                "M A\r\n\tEF",
                Ok(Answer::Certificate(DER.into())),
            ),
            (
                SimpleEnroll,
                200,
                &[],
                "0\u{1}\u{5}",
                Ok(Answer::Certificate(DER.into())),
            ),
            (
                SimpleEnroll,
                200,
                &[],
                pem,
                Ok(Answer::Certificate(DER.into())),
            ),
            (
                SimpleEnroll,
                200,
                &[("Content-Type", "Application/PKCS7-mime ; smime-type=x")],
                "MAEF",
                Ok(Answer::Certificate(DER.into())),
            ),
            (
                SimpleEnroll,
                200,
                &[("Content-Type", "text/html")],
                "<html>",
                type_error("text/html"),
            ),
            (SimpleEnroll, 200, &[], "", Err(BodyError::Empty.into())),
            (
                SimpleEnroll,
                200,
                &[],
                "MAEFBQ==",
                Err(BodyError::DerLength.into()),
            ),
            (
                SimpleEnroll,
                202,
                &[],
                "",
                Ok(Answer::Pending { retry_after: None }),
            ),
            (
                SimpleEnroll,
                202,
                &[("Retry-After", "Tue, 24 Nov 2026 17:08:11 GMT")],
                "",
                Ok(Answer::Pending { retry_after: None }),
            ),
            (
                SimpleEnroll,
                202,
                &[
                    ("Retry-After", "Tue, 24 Nov 2026 17:08:11 GMT"),
                    ("Date", "Tue, 24 Nov 2026 17:07:41 GMT"),
                ],
                "",
                Ok(Answer::Pending {
                    retry_after: Some(30),
                }),
            ),
            (
                SimpleEnroll,
                503,
                &[
                    ("Retry-After", "Tue, 24 Nov 2026 17:08:11 GMT"),
                    ("Date", "Tue, 24 Nov 2026 18:08:11 GMT"),
                ],
                "late",
                other(503, Some(0), "late"),
            ),
            (
                SimpleEnroll,
                302,
                &[("Location", "/")],
                "",
                Err(ReplyError::Status { status: 302 }),
            ),
            (
                SimpleEnroll,
                204,
                &[],
                "",
                Err(ReplyError::Status { status: 204 }),
            ),
            (
                CsrAttrs,
                202,
                &[],
                "",
                Err(ReplyError::Status { status: 202 }),
            ),
            (CsrAttrs, 404, &[], "no", Ok(Answer::NoCsrAttrs)),
            (
                SimpleEnroll,
                503,
                &[("Retry-After", "7")],
                "\x1b[2Jbusy\nx",
                other(503, Some(7), "[2Jbusy"),
            ),
            (
                SimpleEnroll,
                403,
                &[("Imprint-Refusal", "half a note")],
                "",
                other(403, None, ""),
            ),
        ] {
            let header = |name: &str| {
                let found = headers
                    .iter()
                    .find(|(header, _)| header.eq_ignore_ascii_case(name));
                found.map(|(_, value)| *value)
            };
            let got = Answer::parse(operation, status, header, body.as_bytes());
            assert_eq!(got, want, "{status} {headers:?} {body:?}");
        }
    }

    #[test]
    fn only_a_note_makes_a_device_give_up() {
        let refusal = |note: &str, retry_after| Refusal {
            status: 403,
            note: RefusalNote::parse(note),
            retry_after,
            text: String::new(),
        };
        for (note, retry_after, want) in [
            ("x; retry=never", Some(5), Some(Retry::Never)),
            ("x; retry=9", Some(5), Some(Retry::After(9))),
            ("", Some(5), Some(Retry::After(5))),
            ("", None, None),
        ] {
            assert_eq!(
                refusal(note, retry_after).retry(),
                want,
                "{note} {retry_after:?}"
            );
        }
    }

    fn any_request() -> impl Strategy<Value = (String, RequestKind)> {
        let content = proptest::collection::vec(any::<u8>(), 0..200);
        ("[a-z0-9-]{0,20}", 0..5_usize, content).prop_map(|(label, which, content)| {
            let [.., high, low] = content.len().to_be_bytes();
            let csr = [&[0x30, 0x82, high, low], content.as_slice()].concat();
            let kind = match which {
                0 => RequestKind::CaCerts,
                1 => RequestKind::SimpleEnroll(csr),
                2 => RequestKind::SimpleReenroll(csr),
                3 => RequestKind::CsrAttrs,
                _ => RequestKind::ServerKeyGen(csr),
            };
            (label, kind)
        })
    }

    proptest! {
        #[test]
        fn encode_then_parse_is_identity((label, kind) in any_request()) {
            let label = Some(label.as_str()).filter(|label| crate::is_label(label));
            let request = Request { label, kind };
            let http = encode(&request);
            let found = |name| http.headers.iter().find(|(header, _)| *header == name);
            let content_type = found("Content-Type").map(|(_, value)| value.as_str());
            let length = found("Content-Length").map(|(_, value)| value.clone());
            prop_assert_eq!(length.unwrap_or("0".into()), http.body.len().to_string());
            let back = Request::parse(http.method, &http.path, content_type, &http.body);
            prop_assert_eq!(back, Ok(request));
        }

        #[test]
        fn no_reply_panics(
            which in 0..6_usize,
            status in 0..700_u16,
            value in ".{0,30}",
            body in proptest::collection::vec(any::<u8>(), 0..100),
        ) {
            let operation = Operation::ALL[which];
            let _ = Answer::parse(operation, status, |_| Some(value.as_str()), &body);
            let _ = Answer::parse(operation, 200, |_| None, &body);
        }
    }
}
