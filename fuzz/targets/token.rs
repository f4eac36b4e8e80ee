//! Tokens as people type them: one text a token, however it was typed.
#![no_main]

use imprint_attest::Token;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Some(secret) = bytes.first_chunk() {
        // A checksum is nothing that a fuzzer finds: so the accept path is given.
        let token = Token::from_entropy(*secret);
        assert!(Token::parse(&token.text().to_lowercase()).is_ok_and(|read| read == token));
    }
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    let Ok(token) = Token::parse(text) else {
        return;
    };
    assert!(Token::parse(&token.text()).is_ok_and(|read| read == token));
});
