//! Entries: made, given keys, switched; and that no key is said twice.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;

use crate::support::{Place, THERMO, with_stdin};

/// As many bytes, in base64.
fn key(length: usize) -> String {
    STANDARD.encode(vec![7; length])
}

#[test]
fn a_key_is_said_once_and_an_own_one_never() {
    let place = Place::with_fleet(THERMO);
    let made = place.json(&["entry", "new", "sn-1", "--product", "thermo"]);
    for slot in ["primary_key", "secondary_key"] {
        let text = made[slot].as_str().unwrap();
        assert_eq!(STANDARD.decode(text).unwrap().len(), 64, "{slot}");
    }
    let said = made["primary_key"].as_str().unwrap();

    let own = key(32);
    let file = place.write("own.key", &format!("{own}\n"));
    let group = ["entry", "new", "line-1", "--group", "--product", "thermo"];
    let arguments = [&group[..], &["--json", "--key", &file]].concat();
    let made: serde_json::Value = serde_json::from_str(&place.ok(&arguments)).unwrap();
    assert_eq!(made["primary_key"], json!(null));
    let listed = place.ok(&["entry", "list"]);
    assert!(listed.contains("line-1  group"), "{listed}");
    let shown = place.ok(&["entry", "show", "line-1", "--group"]);
    assert!(shown.contains("primary, secondary (sealed)"), "{shown}");
    let exported = place.ok(&["export"]);
    let journal = place.ok(&["journal", "list", "--json"]);
    for text in [listed, shown, exported, journal] {
        assert!(!text.contains(&own) && !text.contains(said), "{text}");
    }

    // The group's key as it was derived before, by the vendor's own recipe.
    let derived = place.ok(&["entry", "key", "line-1", "sn-2"]);
    let mac = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, &[7; 32]);
    let want = aws_lc_rs::hmac::sign(&mac, b"sn-2");
    assert_eq!(derived, STANDARD.encode(want));
}

#[test]
fn a_key_that_is_no_key_is_refused_and_not_repeated() {
    let place = Place::with_fleet(THERMO);
    for (text, code) in [
        (key(31), "key-length"),
        (key(65), "key-length"),
        (String::new(), "key-length"),
        ("not base64!".to_owned(), "request-unreadable"),
    ] {
        let new = ["entry", "new", "sn-1", "--product", "thermo", "--json"];
        let command = place.command(&[&new[..], &["--key", "-"]].concat());
        let said = with_stdin(command, &text);
        assert_eq!(said.code, 1, "{text}");
        assert!(said.err.contains(code), "{}", said.err);
        assert!(text.is_empty() || !said.err.contains(&text), "{}", said.err);
    }
    assert_eq!(place.json(&["entry", "list"]), json!([]));
}

#[test]
fn an_entry_is_switched_and_its_keys_are_replaced() {
    let place = Place::with_fleet(THERMO);
    let new = ["entry", "new", "sn-1", "--product", "thermo"];
    place.ok(&new);
    assert!(place.refused(&new).contains("can't be made: exists"));
    let disabled = place.json(&["entry", "disable", "sn-1"]);
    assert_eq!(disabled["enabled"], json!(false));
    let enabled = place.json(&["entry", "enable", "sn-1"]);
    assert_eq!(enabled["enabled"], json!(true));
    let rotated = place.json(&["entry", "rotate", "sn-1", "--secondary"]);
    assert!(rotated["secondary_key"].is_string() && rotated["primary_key"].is_null());
    assert!(
        place
            .refused(&["entry", "show", "sn-2"])
            .contains("entry-unknown")
    );
    assert!(
        place
            .refused(&["entry", "key", "line-1", "sn-1"])
            .contains("entry-unknown")
    );
    for wrong in [
        ["entry", "new", "SN-1", "--product", "thermo"],
        ["entry", "new", "sn-2", "--product", "valve"],
    ] {
        place.refused(&wrong);
    }
}

#[test]
fn a_deleted_entry_is_gone_and_may_be_made_again() {
    let place = Place::with_fleet(THERMO);
    let new = ["entry", "new", "line-1", "--group", "--product", "thermo"];
    let first = place.json(&new);
    let deleted = place.json(&["entry", "delete", "line-1", "--group"]);
    assert_eq!(deleted["name"], "line-1");
    assert_eq!(place.json(&["entry", "list"]), json!([]));
    let twice = place.refused(&["entry", "delete", "line-1", "--group"]);
    assert!(twice.contains("entry-unknown"), "{twice}");
    let second = place.json(&new);
    assert_ne!(first["primary_key"], second["primary_key"]);
}

#[test]
fn a_connection_string_is_said_once() {
    let place = Place::with_fleet(THERMO);
    let new = ["service-key", "new", "scripts", "--product", "thermo"];
    let said = place.ok(&[&new[..], &["--host", "Fleet.example"]].concat());
    let key = said
        .strip_prefix("HostName=fleet.example;SharedAccessKeyName=scripts;SharedAccessKey=")
        .unwrap();
    assert_eq!(STANDARD.decode(key).unwrap().len(), 32);
    assert!(place.refused(&new).contains("service-key-exists"));
    let listed = place.ok(&["service-key", "list"]);
    assert!(listed.contains("scripts  thermo   write"), "{listed}");
    let journal = place.ok(&["journal", "list", "--json"]);
    assert!(!listed.contains(key) && !journal.contains(key));
    for wrong in [
        &["service-key", "new", "a b", "--product", "thermo"][..],
        &["service-key", "new", "a", "--product", "valve"],
        &[
            "service-key",
            "new",
            "a",
            "--product",
            "thermo",
            "--access",
            "all",
        ],
        &[
            "service-key",
            "new",
            "a",
            "--product",
            "thermo",
            "--host",
            "h:443",
        ],
    ] {
        place.refused(wrong);
    }
    place.ok(&["service-key", "revoke", "scripts"]);
    let twice = place.refused(&["service-key", "revoke", "scripts"]);
    assert!(twice.contains("service-key-unknown"), "{twice}");
    assert_eq!(place.json(&["service-key", "list"]), json!([]));
}

#[test]
fn an_entry_may_name_a_certificate() {
    let place = Place::with_fleet(THERMO);
    let root = place.server().join("ca/root.pem").display().to_string();
    let new = ["entry", "new", "makers", "--product", "thermo"];
    let as_group = [&new[..], &["--group", "--certificate", &root]].concat();
    let made = place.ok(&as_group);
    assert!(made.contains("x509") && !made.contains("key  "), "{made}");
    let alone = [&new[..], &["--certificate", &root]].concat();
    assert!(place.refused(&alone).contains("this is an authority's"));
    let rotated = place.refused(&["entry", "rotate", "makers", "--group"]);
    assert!(rotated.contains("has no keys"), "{rotated}");
}

#[test]
fn an_entry_may_name_a_tpm() {
    let place = Place::with_fleet(THERMO);
    let bytes = hex::decode(ENDORSEMENT_KEY).unwrap();
    let text = place.write("ek.txt", &STANDARD.encode(&bytes));
    let binary = place.server().join("ek.pub");
    std::fs::write(&binary, &bytes).unwrap();
    let binary = binary.display().to_string();
    for (name, file) in [("sn-1", &text), ("sn-2", &binary)] {
        let made = place.json(&["entry", "new", name, "--product", "thermo", "--tpm", file]);
        assert_eq!(made["attestation"], "tpm");
        assert_eq!(made["strength"], "element-key");
        assert_eq!(made["endorsement_key"], STANDARD.encode(&bytes));
        assert_eq!(
            (&made["primary_key"], &made["keys"]),
            (&json!(null), &json!(["primary"]))
        );
    }
    let new = ["entry", "new", "sn-3", "--product", "thermo", "--tpm"];
    let half = place.write("half.txt", &STANDARD.encode(&bytes[..40]));
    for file in [&half, &place.write("no.txt", "no")] {
        let refused = place.refused(&[&new[..], &[file]].concat());
        assert!(refused.contains("`tpm`"), "{refused}");
    }
    let given = place.write("own.key", &key(32));
    let rotate = ["entry", "rotate", "sn-1", "--key", &given];
    assert!(place.refused(&rotate).contains("has no keys"));
    let rotated = place.json(&["entry", "rotate", "sn-1"]);
    assert_eq!(rotated["primary_key"], json!(null));
}

/// Of P-256 by the TCG's template L-2, as a tool writes it.
const ENDORSEMENT_KEY: &str = "007a0023000b000300b20020837197674484b3f81a90cc8d46a5d724fd52d76e06520b64f2a1da1b\
    331469aa00060080004300100003001000202d47a5162718ac267368545c10d1db3d676102968602\
    0c21b231c9f0c146bec900200318e37a2f2010dc1cf58d1b1a7841531348a93eba11a53549a4a2af\
    50c8df90";

#[test]
fn the_id_scope_stays_the_same_and_may_be_another() {
    let place = Place::with_fleet(THERMO);
    let status = place.json(&["status"]);
    let scope = status["id_scope"].as_str().unwrap().to_owned();
    assert!(scope.starts_with("0ne") && scope.len() == 11, "{scope}");
    assert_eq!(place.json(&["status"])["id_scope"], scope.as_str());
    let settings = place.read("imprint/imprint.toml");
    let more = format!("{settings}id_scope = \"0ne00112233\"\nhub = \"hub.example\"\n");
    place.write("imprint/imprint.toml", &more);
    let status = place.json(&["status"]);
    assert_eq!(
        (&status["id_scope"], &status["hub"]),
        (&json!("0ne00112233"), &json!("hub.example"))
    );
}
