//! From what a door answers to what hyper sends.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use hyper::body::{Body, Bytes, Frame, SizeHint};
use hyper::header::{HeaderName, HeaderValue};
use hyper::{Response, StatusCode};
use imprint_est::{HttpReply, Reply};
use imprint_registrar::refusal::{Class, Refusal, Retry};
use tokio::time::Sleep;

/// How a refusal looks over HTTP, at EST's paths and at ours: the one table.
///
/// A 401 and a 202 have no body (`BouncyCastle` fails on one); the others say what happened and what
/// a person does next. What only the operator may read stays here.
pub(crate) fn refused(refusal: &Refusal) -> Reply {
    let code = refusal.code;
    let retry_after = match refusal.retry {
        Retry::After(seconds) => Some(seconds),
        Retry::Never => None,
    };
    let status = match code.class() {
        Class::Waiting => {
            return Reply::Pending {
                retry_after: retry_after.unwrap_or(WAIT_SECONDS),
            };
        }
        Class::Credential => 401,
        Class::Denied => 403,
        Class::Request => 400,
        Class::Absent => 404,
        Class::Passing => 503,
    };
    Reply::Refused {
        status,
        retry_after,
        code: code.as_str(),
        step: code.step().name(),
        text: format!("{} {}", code.message(), code.hint()),
    }
}

/// A reply as hyper takes it. The headers are those of the reply, in its order, and no others.
pub(crate) fn response(reply: HttpReply) -> Response<ReplyBody> {
    let HttpReply {
        status,
        headers,
        body,
    } = reply;
    let mut response = Response::new(ReplyBody::Whole(Some(Bytes::from(body))));
    *response.status_mut() =
        StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    for (name, value) in headers {
        // Names are ours and values printable ASCII (tested in `est`); what is neither is left out.
        if let (Ok(name), Ok(value)) = (
            HeaderName::from_bytes(name.as_bytes()),
            HeaderValue::try_from(value),
        ) {
            response.headers_mut().append(name, value);
        }
    }
    response
}

/// The bytes of a reply: all of them, or as many as a hostile server lets through.
pub(crate) enum ReplyBody {
    /// At once, so that a reply is one write.
    Whole(Option<Bytes>),
    /// The beginning; then, when it is on its way, the connection breaks.
    Torn {
        /// What goes out.
        beginning: Option<Bytes>,
        /// How many bytes were promised.
        promised: u64,
        /// Until the beginning has left.
        pause: Pin<Box<Sleep>>,
    },
}

impl Body for ReplyBody {
    type Data = Bytes;
    type Error = Torn;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Torn>>> {
        match self.get_mut() {
            Self::Whole(bytes) => Poll::Ready(frame(bytes.take())),
            Self::Torn {
                beginning, pause, ..
            } => match beginning.take() {
                Some(bytes) => Poll::Ready(frame(Some(bytes))),
                None => pause.as_mut().poll(context).map(|()| Some(Err(Torn))),
            },
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(self, Self::Whole(bytes) if bytes.as_ref().is_none_or(Bytes::is_empty))
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(match self {
            Self::Whole(bytes) => bytes.as_ref().map_or(0, |bytes| bytes.len() as u64),
            Self::Torn { promised, .. } => *promised,
        })
    }
}

fn frame(bytes: Option<Bytes>) -> Option<Result<Frame<Bytes>, Torn>> {
    bytes
        .filter(|bytes| !bytes.is_empty())
        .map(|bytes| Ok(Frame::data(bytes)))
}

/// The connection ends here, on purpose.
#[derive(Debug, thiserror::Error)]
#[error("hostile: the reply is lost on purpose")]
pub(crate) struct Torn;

impl From<Infallible> for Torn {
    fn from(never: Infallible) -> Self {
        match never {}
    }
}

const WAIT_SECONDS: u32 = 60;

#[cfg(test)]
mod tests {
    use imprint_est::LineStyle;
    use imprint_registrar::refusal::Code;

    use super::*;

    #[test]
    fn every_refusal_has_its_status_and_keeps_the_operators_part_to_itself() {
        for &code in Code::ALL {
            let refusal = Refusal::new(code).detail("held by thermo-7 since noon");
            let http = refused(&refusal).encode(LineStyle::Wrapped);
            let want = match code.class() {
                Class::Credential => 401,
                Class::Denied => 403,
                Class::Request => 400,
                Class::Absent => 404,
                Class::Passing => 503,
                Class::Waiting => 202,
            };
            assert_eq!(http.status, want, "{code}");
            let note = http.header("Imprint-Refusal").unwrap();
            assert!(note.starts_with(code.as_str()), "{code}: {note}");
            assert_eq!(
                http.header("Retry-After").is_some(),
                !note.ends_with("retry=never")
            );
            assert!(
                want != 503 || http.header("Retry-After").is_some(),
                "{code}"
            );
            let text = String::from_utf8(http.body).unwrap();
            assert_eq!(text.is_empty(), matches!(want, 401 | 202), "{code}");
            assert!(!text.contains("thermo-7"), "{code}: {text}");
        }
    }
}
