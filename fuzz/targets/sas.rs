//! SAS tokens, from text to verdict.
#![no_main]

use imprint_attest::{ExpiryUnit, KnownKeys, SasEvidence, SharedKey, prove_sas};
use imprint_dps::sas::Sas;
use imprint_identity::UnixTime;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let Ok(sas) = Sas::parse(text) else {
        return;
    };
    assert!(!format!("{sas:?}").contains("signature"));
    let key = SharedKey::new(&[7; 32]).expect("long enough");
    let keys = KnownKeys::Own {
        primary: &key,
        secondary: None,
    };
    let evidence = |signature| SasEvidence {
        resource: sas.resource,
        expiry: sas.expiry,
        unit: ExpiryUnit::Seconds,
        signature,
    };
    let resource = "0ne0/registrations/dev-1";
    let verdict = |signature| {
        prove_sas(
            &evidence(signature),
            resource,
            "dev-1",
            &keys,
            0,
            UnixTime(0),
        )
    };
    let signed = key.sign(format!("{}\n{}", sas.resource, sas.expiry).as_bytes());
    // Whatever is believed was signed by the key.
    if verdict(&sas.signature).is_ok() {
        assert_eq!(sas.signature, signed);
    }
    let _ = verdict(&signed);
});
