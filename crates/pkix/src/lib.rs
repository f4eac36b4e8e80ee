//! PKCS#10, X.509, CRL and certs-only PKCS#7: DER in, types out; types in, DER out.
//!
//! This crate never verifies a signature, reads no clock and draws no random number. What is to be
//! signed comes out as bytes (`to_be_signed`), somebody else signs them, and `assemble` joins the
//! two. What was received keeps its bytes, and signatures are checked over those: a request with
//! an unsorted attribute set is legal in the field and would re-encode differently.
//!
//! Reading is strict DER with the tolerance that measured clients need (each one is named where it
//! is granted). Every input has a bound; nothing here recurses on what a stranger sent.

#![no_std]

extern crate alloc;

mod asn1;
pub mod certificate;
pub mod certs_only;
pub mod crl;
pub mod csr;
pub mod csr_attrs;
pub mod dn;
pub mod key;
pub mod names;
pub mod oid;
pub mod pem;
mod signature_algorithm;
mod signed;
mod time;

pub use asn1::Malformed;
pub use signature_algorithm::{SignatureAlgorithm, ecdsa_signature_der};
