//! The device on Linux: files, TLS, HTTP, and the device's state machine.
//!
//! [`Agent`] drives `imprint-device` over a real network: it opens the state directory, performs
//! each action that the machine asks for ([`Agent::join`]), and lives on as a member
//! ([`Agent::stay`]). It is at most four HTTPS round trips from BOOTSTRAP to PROVISIONED:
//!
//! ```text
//! BOOTSTRAP         GET  /v1/time                            pinned root, no credential
//! ENROLL            POST /.well-known/est/P/simpleenroll     hardware id and token
//! CREDENTIAL_STORE  GET  /v1/profile                         hardware id and token
//! VERIFY            GET  /v1/verify                          fresh handshake, the new certificate
//! ```
//!
//! Time, chance, settings and whatever is printed come from the caller.

mod agent;
mod calls;
mod check;
mod claim;
mod error;
mod exit;
mod files;
pub mod hardware;
mod http;
mod keystore;
mod mqtt;
mod observe;
mod perform;
mod renew;
mod report;
mod reset;
mod settings;
mod shared_key;
mod status;
mod store;
mod tls;
mod trust;

pub use agent::{Agent, End};
pub use calls::{CallError, Enrolled, Profile, Report, Server};
pub use check::{CheckSettings, Diagnosis, Finding, Verdict, check};
pub use error::AgentError;
pub use exit::Exit;
pub use files::FileError;
pub use http::{Connection, Endpoint, EndpointError, HttpReply, LinkError, Timeouts};
pub use imprint_device as device;
pub use keystore::{FileKeys, KeyAlgorithm, KeyError, KeyStore, PublicKey};
pub use observe::{Moment, Observer, Silent, Strike};
pub use renew::{Renewed, due};
pub use reset::{Reset, reset};
pub use settings::{Claim, Door, OwnCertificate, Settings, SharedKeyEntry, Surroundings};
pub use status::{CertificateStatus, LastRefusal, Status};
pub use store::{Lock, RefusalText, Registration, Setup, StateDir, StoreError, StoredCredential};
pub use tls::{BorrowedError, ClientIdentity, Suites, client_config};
pub use trust::{Roots, RootsError, Time, TrustError, device_chain, judge_server};
