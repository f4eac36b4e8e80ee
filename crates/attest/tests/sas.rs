//! SAS tokens from text to verdict, as a server reads them: each wrong one is refused, and told why.

#![expect(clippy::unwrap_used, reason = "tests")]

use std::collections::BTreeMap;

use imprint_attest::{ExpiryUnit, GroupKey, KnownKeys, SasEvidence, SharedKey, prove_sas};
use imprint_dps::sas::{Sas, Unsigned, registration_resource};
use imprint_dps::{IdScope, RegistrationId};
use imprint_identity::UnixTime;

const NOW: UnixTime = UnixTime(1_800_000_000);

/// The verdict on a token's text for `dev-1` of `0ne0`, whose group has the key `[7; 64]`.
fn verdict(token: &str) -> Result<(), String> {
    let sas = Sas::parse(token).map_err(|error| error.to_string())?;
    let evidence = SasEvidence {
        resource: sas.resource,
        expiry: sas.expiry,
        unit: ExpiryUnit::Seconds,
        signature: &sas.signature,
    };
    let group = group();
    let keys = KnownKeys::Group {
        primary: &group,
        secondary: None,
    };
    let (scope, id) = names("0ne0", "dev-1");
    let resource = registration_resource(&scope, &id);
    prove_sas(&evidence, &resource, id.as_str(), &keys, 300, NOW)
        .map(|_| ())
        .map_err(|doubt| doubt.to_string())
}

fn group() -> GroupKey {
    GroupKey::new(&[7; 64]).unwrap()
}

fn names(scope: &str, id: &str) -> (IdScope, RegistrationId) {
    (
        IdScope::new(scope).unwrap(),
        RegistrationId::new(id).unwrap(),
    )
}

fn token(key: &SharedKey, scope: &str, id: &str, expires: i64) -> String {
    let (scope, id) = names(scope, id);
    let unsigned = Unsigned::registration(&scope, &id, UnixTime(expires));
    unsigned.sign(&key.sign(&unsigned.to_sign())).to_string()
}

#[test]
fn a_good_token_is_taken_and_two_hundred_others_are_not() {
    let key = group().derive("dev-1");
    let good = token(&key, "0ne0", "dev-1", NOW.0 + 3_600);
    assert_eq!(verdict(&good), Ok(()));
    assert_eq!(
        verdict(&good.replace("0ne0%2F", "0ne0%2f")),
        Err(WRONG_KEY.into())
    );

    let mut wrong: Vec<(String, &str)> = Vec::new();
    // Expired: by a second more than the tolerance, and by up to 57 years.
    wrong.extend((0..42_i64).map(|n| {
        let late = 301 + n * n * n * 28_000;
        (
            token(&key, "0ne0", "dev-1", NOW.0 - late),
            "the SAS token expired at",
        )
    }));
    // By another key: another device's, another group's, one of zeros.
    wrong.extend((0..40_u8).map(|n| {
        let other = match n % 3 {
            0 => group().derive(&format!("dev-{}", n + 2)),
            1 => GroupKey::new(&[n; 32]).unwrap().derive("dev-1"),
            _ => SharedKey::new(&[n - 2; 32]).unwrap(),
        };
        (token(&other, "0ne0", "dev-1", NOW.0 + 3_600), WRONG_KEY)
    }));
    // For another scope or another device.
    wrong.extend((0..40_u8).map(|n| {
        let (scope, id) = match n % 2 {
            0 => (format!("0ne{}", n + 1), "dev-1".to_owned()),
            _ => ("0ne0".to_owned(), format!("dev-1{n}")),
        };
        (
            token(&key, &scope, &id, NOW.0 + 3_600),
            "the SAS token is for another resource",
        )
    }));
    // One bit of the signature is another.
    wrong.extend((0..40_usize).map(|n| {
        let (scope, id) = names("0ne0", "dev-1");
        let unsigned = Unsigned::registration(&scope, &id, NOW.plus(3_600));
        let mut signature = key.sign(&unsigned.to_sign());
        signature[n % 32] ^= 1 << (n % 8);
        (unsigned.sign(&signature).to_string(), WRONG_KEY)
    }));
    // The group's own key, which no device may have.
    let itself = SharedKey::new(group().expose()).unwrap();
    wrong.push((
        token(&itself, "0ne0", "dev-1", NOW.0 + 3_600),
        "the signature is by the group's own key",
    ));
    // Malformed: each is the good one, with one thing changed.
    for (from, to, why) in [
        (
            "SharedAccessSignature ",
            "Bearer ",
            "the credential is not a SharedAccessSignature",
        ),
        (
            "SharedAccessSignature ",
            "",
            "the credential is not a SharedAccessSignature",
        ),
        (
            "SharedAccessSignature ",
            "SharedAccessSignature",
            "the credential is not a SharedAccessSignature",
        ),
        ("sr=", "sR=", "the SAS token has no sr"),
        ("&sig=", "&Sig=", "the SAS token has no sig"),
        ("&se=", "&SE=", "the SAS token has no se"),
        ("&se=1800003600", "&se=", "the SAS token has no se"),
        ("&se=1800003600", "", "the SAS token has no se"),
        (
            "sr=0ne0%2Fregistrations%2Fdev-1",
            "sr=",
            "the SAS token has no sr",
        ),
        ("sr=", "sr=x&sr=", "the SAS token has sr twice"),
        ("&sig=", "&sig=x&sig=", "the SAS token has sig twice"),
        ("&se=", "&se=1&se=", "the SAS token has se twice"),
        ("&skn=", "&skn=x&skn=", "the SAS token has skn twice"),
        (
            "%2F",
            "%2",
            "the SAS token's sr has a broken percent escape",
        ),
        ("%2F", "%", "the SAS token's sr has a broken percent escape"),
        (
            "%2F",
            "%ff",
            "the SAS token's sr has a broken percent escape",
        ),
        (
            "sig=",
            "sig=%",
            "the SAS token's sig has a broken percent escape",
        ),
        (
            "skn=",
            "skn=%",
            "the SAS token's skn has a broken percent escape",
        ),
        ("se=1", "se=-1", "the SAS token's se is not a number"),
        ("se=1", "se=+1", "the SAS token's se is not a number"),
        ("se=1", "se=0x1", "the SAS token's se is not a number"),
        ("se=1", "se=1.1", "the SAS token's se is not a number"),
        ("se=1", "se=%31", "the SAS token's se is not a number"),
        ("se=1", "se=10000000", "the SAS token's se is not a number"),
        (
            "sig=",
            "sig=A",
            "the SAS token's sig is not the base64 of 32 bytes",
        ),
        (
            "sig=",
            "sig=AAAA",
            "the SAS token's sig is not the base64 of 32 bytes",
        ),
        (
            "sig=",
            "sig=*",
            "the SAS token's sig is not the base64 of 32 bytes",
        ),
        (
            "sig=",
            "sig=_",
            "the SAS token's sig is not the base64 of 32 bytes",
        ),
        // What is signed is the text: whoever changes it has no signature.
        ("sr=0ne0", "sr=0NE0", WRONG_KEY),
        ("dev-1", "DEV-1", WRONG_KEY),
        ("dev-1", "dev%2D1", WRONG_KEY),
        ("%2F", "/", WRONG_KEY),
        ("se=1", "se=01", WRONG_KEY),
        ("se=18", "se=19", WRONG_KEY),
        ("dev-1", "dev-1%20", "the SAS token is for another resource"),
        ("dev-1", "dev-1%2F", "the SAS token is for another resource"),
        ("dev-1", "dev-1%00", "the SAS token is for another resource"),
        (
            "0ne0%2F",
            "0ne0%2F%2F",
            "the SAS token is for another resource",
        ),
        ("0ne0%252F", "0ne0%2F", ""),
    ] {
        let changed = good.replacen(from, to, 1);
        if why.is_empty() {
            assert_eq!(changed, good, "{from} is not there to be changed");
        } else {
            assert_ne!(changed, good, "{from} is there to be changed");
            wrong.push((changed, why));
        }
    }

    assert!(wrong.len() >= 200, "{}", wrong.len());
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for (token, why) in &wrong {
        let got = verdict(token).expect_err(token);
        assert!(got.starts_with(why), "{got} and not {why}: {token}");
        *counts.entry(why).or_default() += 1;
    }
    assert_eq!(counts.len(), 17, "{counts:#?}");
}

const WRONG_KEY: &str = "the signature is by none of the keys on record";
