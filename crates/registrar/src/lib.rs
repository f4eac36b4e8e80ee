//! Who joins, once.
//!
//! Every protocol is a door onto the one road in [`enroll`]: recall, appraise, permit, intend, sign,
//! settle; the device's first use of the certificate is [`verify`]. Policy, idempotency and limits
//! are written here and hold at every door.
//!
//! Core: no sockets, no files, no clock, no chance. What is remembered goes through the [`Ledger`],
//! what needs a secret key through the [`Signer`]; time and randomness are arguments.

pub mod attested;
pub mod authority;
pub mod claims;
pub mod crl;
pub mod devices;
pub mod door;
pub mod enroll;
pub mod entries;
pub mod fleet;
pub mod issue;
pub mod journal;
pub mod ledger;
pub mod limits;
pub mod pace;
pub mod permit;
pub mod product;
pub mod refusal;
pub mod registry;
pub mod serial;
pub mod signer;
pub mod tokens;
pub mod verify;
pub mod why;

pub use authority::{Authorities, Issuer};
pub use door::Door;
pub use enroll::{Enrolled, EnrollmentRequest, Origin, Registrar, Shown};
pub use fleet::Fleet;
pub use ledger::{Ledger, LedgerError};
pub use pace::{Rate, Ticks};
pub use product::Product;
pub use refusal::{Code, Refusal, Retry};
pub use serial::{EnrollmentId, Serial};
pub use signer::{Signer, SignerError};
