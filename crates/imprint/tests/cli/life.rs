//! The lives of tokens and allowlists.

use std::fs;

use serde_json::Value;

use crate::support::{Place, THERMO, mode, with_stdin};

fn states(place: &Place) -> Vec<String> {
    let tokens = place.json(&["token", "list"]);
    let tokens = tokens.as_array().unwrap();
    tokens
        .iter()
        .map(|token| token["state"].as_str().unwrap().to_owned())
        .collect()
}

#[test]
fn a_token_is_printed_once_and_kept_as_a_hash() {
    let place = Place::with_fleet(THERMO);
    let out = place.ok(&["token", "new", "--product", "thermo", "--count", "3"]);
    let tokens: Vec<_> = out.lines().collect();
    assert_eq!(tokens.len(), 3);
    for token in &tokens {
        assert_eq!(token.len(), 35, "six groups of five: {token}");
    }
    assert_eq!(states(&place), ["minted"; 3]);
    let list = place.ok(&["token", "list", "--json"]);
    let first: Value = serde_json::from_str(&list).unwrap();
    let shown = place.ok(&["token", "show", first[0]["id"].as_str().unwrap(), "--json"]);
    let journal = place.ok(&["journal", "list", "--json"]);
    let mut files = vec![list, shown, journal];
    for entry in fs::read_dir(place.server()).unwrap() {
        let path = entry.unwrap().path();
        if path.is_file() {
            files.push(String::from_utf8_lossy(&fs::read(path).unwrap()).into_owned());
        }
    }
    for token in tokens {
        let squeezed = token.replace('-', "");
        for text in &files {
            assert!(!text.contains(token) && !text.contains(&squeezed));
        }
    }
}

#[test]
fn a_token_can_be_had_as_a_qr_code_for_its_owners_eyes() {
    let place = Place::with_fleet(THERMO);
    let dir = place.path("labels/batch-7");
    let new = [
        "token",
        "new",
        "--product",
        "thermo",
        "--count",
        "3",
        "--qr",
    ];
    let out = place.ok(&[&new[..], &[dir.to_str().unwrap()]].concat());
    assert_eq!(out.lines().count(), 3, "printed all the same");
    assert_eq!(mode(&dir), 0o700);
    let list = place.json(&["token", "list"]);
    for token in list.as_array().unwrap() {
        let path = dir.join(format!("{}.svg", token["id"].as_str().unwrap()));
        assert_eq!(mode(&path), 0o600);
        let svg = fs::read_to_string(&path).unwrap();
        assert!(svg.starts_with("<svg ") && svg.ends_with("</svg>"), "{svg}");
        for token in out.lines() {
            assert!(!svg.contains(token), "a scanner for secrets sees a picture");
        }
    }
    // A place that can't be written to is told before any token is made.
    let file = place.write("file", "");
    let refused = place.refused(&[&new[..], &[&file]].concat());
    assert!(refused.contains("file can't be made"), "{refused}");
    assert_eq!(states(&place), ["minted"; 3]);
}

#[test]
fn a_token_lives_by_its_operators_acts() {
    let place = Place::with_fleet(THERMO);
    let minted = place.json(&[
        "token",
        "new",
        "--product",
        "thermo",
        "--hardware",
        "custom:SN-1",
        "--dormant",
        "--expires",
        "2h",
    ]);
    let id = minted[0]["id"].as_str().unwrap();
    let show = |what: &str| place.json(&["token", "show", id])[what].clone();
    assert_eq!(show("state"), "dormant");
    assert_eq!(show("hardware"), "custom:SN-1");
    assert_eq!(show("expires_at"), minted[0]["expires_at"]);

    let refusal = place.refused(&["token", "rebind", id]);
    assert!(
        refusal.contains("is dormant, so it can't be rebound. [not-now]"),
        "{refusal}"
    );
    place.ok(&["token", "arm", id]);
    assert_eq!(show("state"), "minted");
    place.ok(&["token", "revoke", id]);
    assert_eq!(show("state"), "revoked");
    let refusal = place.refused(&["token", "arm", id]);
    assert!(
        refusal.contains("is revoked, so it can't be armed. [not-now]"),
        "{refusal}"
    );
    for act in ["show", "revoke", "arm", "rebind"] {
        let refusal = place.refused(&["token", act, "t-000000000000"]);
        assert!(refusal.contains("[token-unknown]"), "{act}: {refusal}");
    }
}

#[test]
fn an_order_that_can_not_be_filled_mints_nothing() {
    let bound = "[[product]]\nname = \"thermo\"\n[product.token]\nbound = true\n";
    let place = Place::with_fleet(bound);
    for (arguments, want) in [
        (&["--product", "termo"][..], "[product-unknown]"),
        (&["--product", "thermo"], "[hardware-missing]"),
        (
            &["--product", "thermo", "--hardware", "stm32:zz"],
            "[hardware-invalid]",
        ),
        (
            &[
                "--product",
                "thermo",
                "--hardware",
                "custom:A",
                "--hardware",
                "custom:",
            ],
            "Hardware id 2",
        ),
    ] {
        let refusal = place.refused(&[&["token", "new"], arguments].concat());
        assert!(refusal.contains(want), "{refusal}");
    }
    assert_eq!(states(&place), Vec::<String>::new());
}

#[test]
fn an_allowlist_takes_ids_files_and_stdin() {
    let place = Place::with_fleet(THERMO);
    let file = place.write(
        "batch-7",
        "# batch 7\ncustom:SN-1\nesp-mac:a0:b7:65:01:02:03  # rework\n",
    );
    let add = ["allow", "add", "--product", "thermo"];
    let changed = place.json(&[&add[..], &[&file, "custom:SN-2"]].concat());
    assert_eq!(changed, serde_json::json!({ "named": 3, "changed": 3 }));
    let said = with_stdin(
        place.command(&[&add[..], &["-"]].concat()),
        "custom:SN-2\ncustom:SN-3\n",
    );
    assert_eq!(
        said.out, "1 added to the allowlist of thermo; 1 stood there.",
        "{said:?}"
    );
    let list = place.json(&["allow", "list", "--product", "thermo"]);
    let want = [
        "custom:SN-1",
        "custom:SN-2",
        "custom:SN-3",
        "esp-mac:a0b765010203",
    ];
    assert_eq!(list, serde_json::json!(want));

    let remove = [
        "allow",
        "remove",
        "--product",
        "thermo",
        "custom:SN-1",
        "custom:SN-9",
    ];
    let said = place.ok(&remove);
    assert_eq!(
        said,
        "1 taken off the allowlist of thermo; 1 did not stand there."
    );
    let refusal = place.refused(&[&add[..], &["custom:SN-4", "stm32:zz"]].concat());
    assert!(refusal.contains("hardware id 2, \"stm32:zz\""), "{refusal}");
    let list = place.json(&["allow", "list", "--product", "thermo"]);
    assert_eq!(list.as_array().unwrap().len(), 3, "all or none");
    place.refused(&["allow", "list", "--product", "valve"]);
}

#[test]
fn a_long_allowlist_goes_in_lots() {
    let place = Place::with_fleet(THERMO);
    let ids: Vec<_> = (0..25_000).map(|n| format!("custom:SN-{n:05}")).collect();
    let ids = ids.join("\n");
    let file = place.write("ids", &ids);
    let changed = place.json(&["allow", "add", "--product", "thermo", &file]);
    assert_eq!(
        changed,
        serde_json::json!({ "named": 25_000, "changed": 25_000 })
    );
    assert_eq!(place.ok(&["allow", "list", "--product", "thermo"]), ids);
}
