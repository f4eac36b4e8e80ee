//! Revocation lists.
#![no_main]

use imprint_pkix::crl::{self, Crl};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Ok(read) = Crl::parse(bytes) else { return };
    let again = crl::assemble(
        read.to_be_signed(),
        read.signature_algorithm(),
        read.signature(),
    );
    let again = Crl::parse(&again).unwrap();
    assert_eq!(again.revoked(), read.revoked());
    assert_eq!(
        (again.number(), again.next_update()),
        (read.number(), read.next_update())
    );
});
