//! EST (RFC 7030, clarified by RFC 8951): request bytes to requests, replies to reply bytes.
//!
//! Server and agent share this reading of the text: [`Request::parse`] and [`Reply::encode`] are
//! the server's half, [`client`] is the device's. No sockets, no clock, no chance; certificates and
//! certification requests pass through as DER.
//!
//! What is sent is the one form that libest, strongSwan, `BouncyCastle` and curl all take. What is
//! accepted is wider: base64 in lines or not, PEM, raw DER, with or without
//! `Content-Transfer-Encoding`.

mod basic;
mod body;
pub mod client;
mod date;
mod multipart;
mod refusal;
mod reply;
mod request;
mod route;
mod secret;

pub use basic::{Basic, BasicError, authorization};
pub use body::{BodyError, LineStyle};
pub use refusal::{RefusalNote, Retry};
pub use reply::{HttpReply, Reply};
pub use request::{MAX_BODY, ParseError, Request, RequestKind};
pub use route::{Operation, Route, is_label};
pub use secret::Secret;
