//! Provisioning templates: the value that a device gives to every parameter, a line feed, the template.
#![no_main]

use imprint_claim::{CertificateParameters, Policy, Template};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    let (value, template) = text.split_once('\n').unwrap_or(("", text));
    let _ = Template::parse_bulk(template);
    let template = match Template::parse(template) {
        Ok(template) => template,
        Err(error) => {
            let lines = template.split('\n').count();
            assert!((1..=lines).contains(&(error.line as usize)), "{error}");
            let line = template.split('\n').nth(error.line as usize - 1).unwrap();
            assert!(
                (1..=line.chars().count() + 1).contains(&(error.column as usize)),
                "{error}"
            );
            return;
        }
    };
    let parameters = template
        .parameters()
        .map(|(name, _)| (name.to_owned(), value.to_owned()))
        .collect();
    let some = || Some(value.to_owned());
    let certificate = CertificateParameters {
        id: "00".repeat(32),
        country: some(),
        organization: some(),
        organizational_unit: some(),
        distinguished_name_qualifier: some(),
        state_name: some(),
        common_name: some(),
        serial_number: some(),
    };
    let Ok(evaluated) = template.evaluate(&parameters, &certificate) else {
        return;
    };
    // The same question has the same answer, and every policy is JSON.
    assert_eq!(
        template.evaluate(&parameters, &certificate).as_ref(),
        Ok(&evaluated)
    );
    for policy in &evaluated.policies {
        if let Policy::Document(document) = policy {
            serde_json::from_str::<serde_json::Value>(document).unwrap();
        }
    }
});
