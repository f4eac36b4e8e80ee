//! Certificate requests. What is accepted must hang together: the same bytes come out, and the key
//! reads as itself.
#![no_main]

use imprint_pkix::csr::{self, CSR_MAX, Csr};
use imprint_pkix::key::PublicKey;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Ok(read) = Csr::parse(bytes) else { return };
    assert!(bytes.len() <= CSR_MAX);
    assert_eq!(read.der(), bytes);
    assert_eq!(
        PublicKey::parse(read.public_key().spki_der()).as_ref(),
        Ok(read.public_key())
    );
    let _ = (read.common_name(), read.challenge_password());
    if let Some(names) = read.requested_names() {
        assert!(!names.is_empty());
        assert_eq!(names.for_people().count(), names.len());
    }
    // Put together again, its parts are a request that reads the same. (Not always the same bytes:
    // a few algorithms may be written in two ways.)
    let again = csr::assemble(
        read.to_be_signed(),
        read.signature_algorithm(),
        read.signature(),
    );
    let again = Csr::parse(&again).unwrap();
    assert_eq!(again.to_be_signed(), read.to_be_signed());
    assert_eq!(again.signature(), read.signature());
    assert_eq!(again.requested_names(), read.requested_names());
});
