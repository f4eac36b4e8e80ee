//! Bags of certificates: what is opened can be packed and opened again.
#![no_main]

use imprint_pkix::certs_only::{self, CERTIFICATES_MAX};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Ok(certificates) = certs_only::decode(bytes) else {
        return;
    };
    assert!(certificates.len() <= CERTIFICATES_MAX);
    let borrowed: Vec<_> = certificates.iter().map(Vec::as_slice).collect();
    assert_eq!(
        certs_only::decode(&certs_only::encode(&borrowed)),
        Ok(certificates)
    );
});
