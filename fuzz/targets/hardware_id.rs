//! Hardware ids as devices and people write them: the canonical text reads as the same id.
#![no_main]

use imprint_identity::HardwareId;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    let Ok(id) = HardwareId::parse(text) else {
        return;
    };
    assert_eq!(HardwareId::parse(&id.to_string()).as_ref(), Ok(&id));
});
