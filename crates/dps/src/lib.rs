//! The device API of Azure's Device Provisioning Service (DPS), over HTTPS and MQTT.
//!
//! Server and agent share this reading of the vendor's documents: what a device asks ([`Call`],
//! [`Login`], [`Question`], [`Request`]), what it is answered ([`Reply`], [`RegistrationState`]), how
//! a refusal is said there ([`Refusal`], [`ServiceError`]), SAS tokens ([`sas`]), the connection to a
//! hub that follows ([`hub`]), and the records of the service API ([`service`]). [`client`] is the
//! device's half. No sockets, no clock, no chance; nothing is proven here, evidence passes through.
//!
//! What is sent is the form that the vendor's own SDKs read. What is accepted is wider, where one of
//! these SDKs needs it: a body behind GET, anything as the body of a poll, api-versions that nobody
//! has heard of, fields in any order.

pub mod client;
mod http;
pub mod hub;
mod json;
mod mqtt;
mod name;
mod refusal;
mod reply;
mod request;
pub mod sas;
pub mod service;
mod state;
mod time;
mod uri;

pub use http::Call;
pub use json::Payload;
pub use mqtt::{Login, LoginError, Question, SUBSCRIPTION};
pub use name::{ApiVersion, IdScope, NameError, OperationId, RegistrationId, Rid};
pub use refusal::{Class, ErrorCode, Refusal, Retry, ServiceError, Transport};
pub use reply::{HttpReply, Reply, Trace};
pub use request::{MAX_BODY, MAX_CSR, MAX_TPM_KEY, ParseError, Registration, Request, TpmEvidence};
pub use state::{
    CertificateInfo, Etag, RegistrationState, Status, Substatus, SymmetricKeyResult, TpmResult,
    X509Result,
};
