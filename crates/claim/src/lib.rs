//! Claim provisioning over MQTT (AWS IoT "fleet provisioning"), and provisioning templates.
//!
//! Server and agent share this reading of the vendor's developer guide: topics ([`Call`],
//! [`filter`]), messages in JSON and CBOR ([`Request`], [`Reply`]), how a refusal is said there
//! ([`Refusal`], [`Rejected`]), and the template language ([`Template`]). No sockets, no clock, no
//! chance; certificates and certification requests pass through as the PEM text that they are.
//!
//! What is sent is the form that the vendor's own SDKs send. What is accepted is wider: an empty
//! payload or `{}` where nothing is asked, fields in any order, fields that we don't know.

mod fields;
pub mod filter;
pub mod hook;
mod json;
mod message;
mod refusal;
mod template;
mod topic;

pub use message::{
    Created, MAX_CSR, MAX_OWNERSHIP, MAX_PARAMETER_NAME, MAX_PARAMETER_VALUE, MAX_PARAMETERS,
    MAX_PAYLOAD, MessageError, Outcome, Registered, Reply, Request,
};
pub use refusal::{Class, Refusal, Rejected, Retry};
pub use template::{
    CertificateChoice, CertificateParameters, CertificateStatus, Evaluated, EvaluationError,
    EvaluationFault, MAX_TEMPLATE, Names, Override, Overrides, Policy, Position, Template,
    TemplateError, ThingSpec, Use,
};
pub use topic::{Call, Direction, Format, ReservedTopic, Topic, TopicError, reserved};
