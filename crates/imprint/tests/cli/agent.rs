//! `imprint agent` as a script sees it.

use crate::support::{Place, THERMO};

#[test]
fn a_blank_device_says_that_it_is_one() {
    let place = Place::empty();
    let said = place.run(&["agent", "status", "--state", "nowhere"]);
    assert_eq!(said.code, 11, "{said:?}");
    assert_eq!(said.out, "step  UNPROVISIONED");
    assert!(!place.path("nowhere").exists(), "looking makes nothing");
}

#[test]
fn a_device_joins_once_and_stays_joined() {
    let place = Place::with_fleet(THERMO);
    let server = place.serve();
    let token = place.ok(&["token", "new", "--product", "thermo"]);
    let (url, root) = (server.https(), place.server().join("ca/root.pem"));
    let base = [
        "agent",
        "run",
        "--once",
        "--server",
        &url,
        "--root",
        root.to_str().unwrap(),
    ];
    let who = [
        "--product",
        "thermo",
        "--hardware",
        "custom:SN-1",
        "--state",
        "state",
    ];
    let run = [&base[..], &who].concat();
    let out = place.ok(&[&run[..], &["--token", &token]].concat());
    for step in [
        "BOOTSTRAP",
        "ENROLL",
        "CREDENTIAL_STORE",
        "VERIFY",
        "PROVISIONED",
    ] {
        assert!(
            out.lines().any(|line| line.starts_with(step)),
            "{step}: {out}"
        );
    }
    assert!(!out.contains(&token));
    let status: serde_json::Value =
        serde_json::from_str(&place.ok(&["agent", "status", "--state", "state", "--json"]))
            .unwrap();
    assert_eq!(status["step"], "PROVISIONED");
    assert_eq!(status["token_kept"], false);
    assert_eq!(status["certificate"]["common_name"], "thermo-sn-1");
    // Without a token, and without a new certificate.
    place.ok(&run);
    let device = place.json(&["device", "show", "thermo-sn-1"]);
    assert_eq!(device["certificates"].as_array().unwrap().len(), 1);
    assert_eq!(server.end("TERM"), Some(0));
}

#[test]
fn a_device_joins_with_a_key_that_its_entry_has_too() {
    let place = Place::with_fleet(THERMO);
    let server = place.serve();
    place.ok(&["entry", "new", "line-1", "--group", "--product", "thermo"]);
    let key = place.ok(&["entry", "key", "line-1", "SN-1"]);
    let scope = place.json(&["status"])["id_scope"]
        .as_str()
        .unwrap()
        .to_owned();
    let (url, root) = (server.https(), place.server().join("ca/root.pem"));
    let root = root.display().to_string();
    let run = [
        "agent", "run", "--once", "--server", &url, "--root", &root, "--state", "state",
    ];
    let file = place.write("device.key", &format!("{key}\n"));
    let entry = [
        "--shared-key",
        &file,
        "--id-scope",
        &scope,
        "--registration-id",
        "SN-1",
    ];
    let who = ["--product", "thermo", "--hardware", "custom:SN-1"];
    let out = place.ok(&[&run[..], &who, &entry].concat());
    assert!(
        out.lines().any(|line| line.starts_with("PROVISIONED")),
        "{out}"
    );
    assert!(!out.contains(&key));
    let status = ["agent", "status", "--state", "state", "--json"];
    let status: serde_json::Value = serde_json::from_str(&place.ok(&status)).unwrap();
    assert_eq!(
        (&status["step"], &status["token_kept"]),
        (&"PROVISIONED".into(), &false.into())
    );
    assert_eq!(status["certificate"]["common_name"], "thermo-sn-1");
    // Without the key, and without a new certificate.
    place.ok(&[&run[..], &who].concat());
    let device = place.json(&["device", "show", "thermo-sn-1"]);
    assert_eq!(device["certificates"].as_array().unwrap().len(), 1);
    let short = place.write("short.key", "AAAA");
    let wrong = [
        "--state",
        "other",
        "--shared-key",
        &short,
        "--id-scope",
        &scope,
    ];
    let run = ["agent", "run", "--once", "--server", &url, "--root", &root];
    let said = place.run(&[&run[..], &who, &wrong].concat());
    assert!(
        said.err.contains("key-length") && !said.err.contains("AAAA"),
        "{said:?}"
    );
    assert_eq!(server.end("TERM"), Some(0));
}

#[test]
fn a_check_names_the_layer_that_is_broken() {
    let place = Place::with_fleet(THERMO);
    let other = Place::new();
    let server = place.serve();
    let check = |url: &str, root: &Place| {
        let root = root.server().join("ca/root.pem");
        let root = root.to_str().unwrap();
        let product = ["--product", "thermo"];
        let base = ["agent", "check", "--server", url, "--root", root];
        place.run(&[&base[..], &product].concat())
    };
    let url = server.https();
    assert_eq!(check(&url, &place).code, 0);
    let said = check(&url, &other);
    assert_eq!(said.code, 26, "{said:?}");
    assert!(said.out.contains("WRONG  pin"), "{said:?}");
    let http = format!("https://{}", server.address("http").unwrap());
    assert_eq!(check(&http, &place).code, 25, "no TLS there");
    assert_eq!(server.end("TERM"), Some(0));
    assert_eq!(check(&url, &place).code, 23, "nobody accepts");
    let said = place.run(&["agent", "run", "--server", &url, "--root", "nowhere.pem"]);
    assert_eq!(said.code, 20, "{said:?}");
}

#[test]
fn a_wiped_device_comes_back_by_its_rebound_token_under_its_old_name() {
    let place = Place::with_fleet(THERMO);
    let server = place.serve();
    let order = [
        "token",
        "new",
        "--product",
        "thermo",
        "--hardware",
        "custom:SN-1",
    ];
    let minted = place.json(&order);
    let (id, token) = (
        minted[0]["id"].as_str().unwrap(),
        minted[0]["token"].as_str().unwrap(),
    );
    assert_eq!(server.agent(&place, "custom:SN-1", token), 0);
    let first = place.json(&["device", "show", "custom:SN-1"]);

    let wipe = || std::fs::remove_dir_all(place.path("custom-SN-1")).unwrap();
    wipe();
    assert_eq!(
        server.agent(&place, "custom:SN-1", token),
        10,
        "another key"
    );
    let rebound = place.json(&["token", "rebind", id]);
    assert_eq!(rebound["state"], "minted");
    let between = place.json(&["device", "show", "custom:SN-1"]);
    assert_eq!(between["state"], "pending");
    assert_eq!(between["certificates"][0]["state"], "revoked");
    assert_eq!(
        between["certificates"][0]["serial"],
        first["certificates"][0]["serial"]
    );

    wipe();
    assert_eq!(server.agent(&place, "custom:SN-1", token), 0);
    let second = place.json(&["device", "show", "custom:SN-1"]);
    assert_eq!(second["id"], first["id"]);
    assert_eq!(second["step"], "PROVISIONED");
    assert_ne!(
        second["certificates"][0]["key"],
        first["certificates"][0]["key"]
    );
    assert_eq!(server.end("TERM"), Some(0));
}

#[test]
fn a_released_device_comes_back_by_a_token_for_its_hardware_and_its_old_key_goes() {
    let place = Place::with_fleet(THERMO);
    let server = place.serve();
    let order = [
        "token",
        "new",
        "--product",
        "thermo",
        "--hardware",
        "custom:SN-1",
    ];
    assert_eq!(server.agent(&place, "custom:SN-1", &place.ok(&order)), 0);
    let reset = ["agent", "reset", "--state", "custom-SN-1"];
    let asked = place.run(&reset);
    assert_ne!(asked.code, 0);
    assert!(asked.err.contains("--yes"), "{asked:?}");
    assert!(place.path("custom-SN-1/keys/a.p8").exists());
    let said = place.ok(&[&reset[..], &["--yes"]].concat());
    assert_eq!(said, "step  UNPROVISIONED");
    assert!(!place.path("custom-SN-1/keys/a.p8").exists());
    place.ok(&["device", "release", "custom:SN-1"]);
    // Until the new key has worked, the old one does.
    let old = place.json(&["device", "show", "custom:SN-1"])["certificates"][0].clone();
    assert_eq!(old["state"], "active");
    assert_eq!(server.agent(&place, "custom:SN-1", &place.ok(&order)), 0);
    let certificates = place.json(&["device", "show", "custom:SN-1"])["certificates"].clone();
    assert_eq!(certificates[0]["state"], "active");
    assert_eq!(certificates[1]["serial"], old["serial"]);
    assert_eq!(certificates[1]["revocation_reason"], "superseded");
    assert_eq!(server.end("TERM"), Some(0));
}
