//! Entries on the road: devices whose maker has registered them, or their group, before they came.
//! Azure DPS calls them individual enrollments and enrollment groups.
//!
//! ```text
//!            entry_open       recall, appraise: which entry is this device's, and does its proof hold?
//!            entry_register   the same again, permit, and one transaction: device, registration
//! TPM:       entry_challenge  a nonce that this TPM alone opens; entry_register follows, signed by it
//! shared key: shared_key_member   at the hub: its signature is its credential; VERIFY
//! a request:  entry_certify    an entry's device asks for a certificate: on the road, as by a token
//! X.509:      arrive              at the hub: its certificate is on record; VERIFY
//! ```
//!
//! Whoever makes entries does it at the desk, or by a service key.
//!
//! A shared key is known to both sides, so whoever reads the server's keys can be any device. What is
//! done about it: keys are sealed and never shown again, a group's key is never heard itself (only keys
//! that are derived from it are), and nothing that a shared key proves counts for more than `asserted`
//! unless the operator says so.

mod certify;
pub mod definition;
mod desk;
mod hub;
mod keys;
mod permit;
mod proof;
mod register;
mod service_key;
mod tpm;

pub use certify::CertifiedByEntry;
pub use desk::{EntryDeskError, EntryKeys, EntryOrder, MadeEntry};
pub use hub::HubMember;
pub use proof::SharedKeySignature;
pub use register::{EntryShown, Newcomer, RegisteredByEntry};
pub use service_key::{ServiceDoubt, ServiceSignature};
pub use tpm::TpmKeys;
