//! Certificates, and the lint over what is inside them: what lints clean must read.
#![no_main]

use imprint_pkix::certificate::{self, CERTIFICATE_MAX, Certificate};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    // The input is tried as a whole certificate and as something to be signed.
    let announced = certificate::announced_algorithm(bytes);
    if certificate::lint(bytes) == Ok(()) && bytes.len() < CERTIFICATE_MAX - 1_024 {
        let signed = certificate::assemble(bytes, announced.unwrap(), &[0; 64]);
        let read = Certificate::parse(&signed).unwrap();
        assert_eq!(read.to_be_signed(), bytes);
        assert!(read.public_key().is_ok() && read.common_name().is_some());
        assert!(read.not_before() < read.not_after());
    }
    let Ok(read) = Certificate::parse(bytes) else {
        return;
    };
    assert_eq!(read.der(), bytes);
    let _ = certificate::lint(read.to_be_signed());
    assert_eq!(read.names().for_people().count(), read.names().len());
    let _ = (
        read.common_name(),
        read.hardware_module(),
        read.crl_url(),
        read.issuer_url(),
    );
    let _ = (read.path_len(), read.extended_key_usages().count());
});
