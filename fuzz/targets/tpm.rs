//! What a device says about its TPM: one octet that says which, and the structure.
#![no_main]

use std::sync::LazyLock;

use imprint_attest::tpm::{
    AttestationKey, EndorsementKey, Public, StorageKey, make_credential, prove_certified,
    prove_endorsement, prove_quote,
};
use imprint_identity::UnixTime;
use libfuzzer_sys::fuzz_target;

/// An attestation key on P-256, with a public area that is as good as any.
static KEY: LazyLock<Public> =
    LazyLock::new(|| Public::parse(include_bytes!("ak.tpm2b")).expect("a good one"));

fuzz_target!(|bytes: &[u8]| {
    let Some((which, rest)) = bytes.split_first() else {
        return;
    };
    if which & 3 == 0 {
        let Ok(public) = Public::parse(rest) else {
            return;
        };
        assert_eq!(public.tpm2b(), rest);
        let _ = StorageKey::new(public.clone());
        let _ = AttestationKey::new(public.clone());
        if let Ok(key) = EndorsementKey::new(public) {
            assert_eq!(key.registration_id().len(), 52);
            let _ = make_credential(&key, &KEY.name(), &[7; 32], &[0x22; 48]);
            let _ = prove_endorsement(&key, rest, &[], &[], UnixTime(0));
        }
        return;
    }
    // The statement, and behind it the signature.
    let Some((length, rest)) = rest.split_first() else {
        return;
    };
    let Some((statement, signature)) = rest.split_at_checked(usize::from(*length)) else {
        return;
    };
    let key = AttestationKey::new(KEY.clone()).expect("a good one");
    assert!(prove_certified(&key, statement, signature, &[1], &KEY).is_err());
    assert!(prove_quote(&key, statement, signature, &[1], &[]).is_err());
});
