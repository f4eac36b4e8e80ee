//! `imprint init`.

use std::fs;

use imprint_identity::UnixTime;
use imprint_pkix::certificate::Certificate;
use imprint_pkix::{oid, pem};

use crate::support::{INIT, Place, mode};

fn certificates(text: &str) -> Vec<Certificate> {
    let blocks = pem::decode(pem::CERTIFICATE, text).unwrap();
    blocks
        .iter()
        .map(|der| Certificate::parse(der).unwrap())
        .collect()
}

#[test]
fn an_existing_directory_is_never_overwritten() {
    let place = Place::new();
    let before: Vec<_> = ["admin.token", "ca/root.pem", "imprint.toml"]
        .map(|name| fs::read(place.server().join(name)).unwrap())
        .into();
    let refusal = place.refused(&INIT);
    assert!(
        refusal.contains("exists already; nothing there has been touched."),
        "{refusal}"
    );
    let after: Vec<_> = ["admin.token", "ca/root.pem", "imprint.toml"]
        .map(|name| fs::read(place.server().join(name)).unwrap())
        .into();
    assert_eq!(before, after);
    // Not even an empty one, or one that is only a link.
    fs::create_dir(place.path("empty")).unwrap();
    std::os::unix::fs::symlink("nowhere", place.path("link")).unwrap();
    for name in ["empty", "link"] {
        place.refused(&[&INIT[..], &["--dir", name]].concat());
    }
    let left: Vec<_> = fs::read_dir(place.path(""))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.starts_with('.'))
        .collect();
    assert_eq!(
        left,
        Vec::<String>::new(),
        "a refused init leaves nothing behind"
    );
}

#[test]
fn a_wrong_order_makes_no_directory() {
    let place = Place::empty();
    for (arguments, want) in [
        (
            ["--host", "https://a.example"],
            "--host: \"https://a.example\" is neither",
        ),
        (["--name", " "], "--name: use 1 to 48"),
    ] {
        let refusal = place.refused(&[&["init"], &arguments[..]].concat());
        assert!(refusal.contains(want), "{refusal}");
    }
    let said = place.run(&["init", "--https", "8443"]);
    assert_eq!(said.code, 2, "{said:?}");
    assert!(!place.server().exists());
}

#[test]
fn secrets_are_for_their_owner_alone() {
    let place = Place::new();
    let server = place.server();
    for (name, want) in [
        ("", 0o700),
        ("keys", 0o700),
        ("admin.token", 0o600),
        ("tls/server.key", 0o600),
        ("keys/root.key", 0o600),
        ("keys/issuing.key", 0o600),
        ("keys/token.key", 0o600),
        ("keys/seal.key", 0o600),
    ] {
        assert_eq!(mode(&server.join(name)), want, "{name}");
    }
    // Sealed: no private key in the clear, in whatever encoding.
    for name in ["tls/server.key", "keys/root.key", "keys/issuing.key"] {
        let bytes = fs::read(server.join(name)).unwrap();
        let text = String::from_utf8_lossy(&bytes);
        assert!(!text.contains("PRIVATE KEY") && bytes[0] != 0x30, "{name}");
    }
}

#[test]
fn the_chain_is_what_devices_and_relying_parties_expect() {
    let place = Place::empty();
    let hosts = [
        "--host",
        "fleet.example",
        "--host",
        "127.0.0.1",
        "--name",
        "Thermo AG",
    ];
    let made = place.json(&[&["init", "--http", "127.0.0.1:8081"], &hosts[..]].concat());
    let [root] = &certificates(&place.read("imprint/ca/root.pem"))[..] else {
        panic!("one root")
    };
    let [server, issuing] = &certificates(&place.read("imprint/tls/server.pem"))[..] else {
        panic!("the server's, and the issuing one")
    };
    assert_eq!(root.common_name().as_deref(), Some("Thermo AG Root CA"));
    assert_eq!(root.issuer_der(), root.subject_der());
    assert!(root.is_ca() && issuing.is_ca() && !server.is_ca());
    assert_eq!(issuing.issuer_der(), root.subject_der());
    assert_eq!(issuing.authority_key_id(), root.subject_key_id());
    assert_eq!(issuing.path_len(), Some(0));
    assert_eq!(server.authority_key_id(), issuing.subject_key_id());
    for usage in [oid::SERVER_AUTH, oid::CMC_RA] {
        assert!(server.has_extended_key_usage(usage), "{usage}");
    }
    let mut names: Vec<_> = server.names().for_people().collect();
    names.sort();
    assert_eq!(names, ["DNS:fleet.example", "IP:127.0.0.1"]);
    let url = "http://fleet.example:8081/crl/issuing.crl";
    assert_eq!(server.crl_url(), Some(url));
    assert!(root.not_after() > issuing.not_after() && issuing.not_after() > server.not_after());

    assert_eq!(made["server_certificate_bytes"], server.der().len());
    assert_eq!(
        made["server_chain_bytes"],
        server.der().len() + issuing.der().len()
    );
    let leaf = made["device_certificate_bytes"].as_u64().unwrap();
    assert!((500..=1_500).contains(&leaf), "{leaf}");
    assert!(made["device_chain_bytes"].as_u64().unwrap() > leaf);
    assert_eq!(made["public_http"], "http://fleet.example:8081");
}

#[test]
fn a_fleet_without_an_end_has_no_end_anywhere() {
    let place = Place::empty();
    place.ok(&[&INIT[..], &["--no-expiry"]].concat());
    for name in ["ca/root.pem", "ca/issuing.pem", "tls/server.pem"] {
        let text = place.read(&format!("imprint/{name}"));
        assert_eq!(
            certificates(&text)[0].not_after(),
            UnixTime::NO_EXPIRY,
            "{name}"
        );
    }
}

#[test]
fn a_seal_from_the_environment_stays_there() {
    let place = Place::empty();
    let seal = "5a".repeat(32);
    let run = |arguments: &[&str], seal: &str| {
        crate::support::said(
            place
                .command(arguments)
                .env("IMPRINT_SEAL_KEY", seal)
                .output()
                .unwrap(),
        )
    };
    assert_eq!(run(&INIT, &seal).code, 0);
    assert!(!place.server().join("keys/seal.key").exists());
    assert_eq!(run(&["status"], &seal).code, 0);
    for wrong in ["", "5a", &"5b".repeat(32)] {
        let said = run(&["status"], wrong);
        assert_eq!(said.code, 1, "{wrong:?}: {said:?}");
    }
    place.refused(&["status"]);
}

#[test]
fn test_keys_stay_out_of_a_fleet() {
    let place = Place::new();
    place.edit(
        "imprint/imprint.toml",
        "for_tests = true",
        "for_tests = false",
    );
    for command in [&["status"][..], &["serve"]] {
        let refusal = place.refused(command);
        assert!(refusal.contains("test"), "{refusal}");
    }
}

#[test]
fn the_admin_token_is_not_printed() {
    let place = Place::empty();
    let out = place.ok(&INIT);
    let token = place.read("imprint/admin.token");
    assert!(token.trim().len() >= 64 && !out.contains(token.trim()));
}

#[test]
fn a_server_works_while_its_root_key_is_locked_away() {
    let place = Place::with_fleet(crate::support::THERMO);
    fs::rename(place.server().join("keys/root.key"), place.path("safe")).unwrap();
    let server = place.serve();
    place.issue("thermo", "custom:SN-1");
    assert_eq!(server.end("TERM"), Some(0));
    fs::remove_file(place.server().join("keys/issuing.key")).unwrap();
    let refusal = place.refused(&["serve"]);
    assert!(
        refusal.contains("keys/issuing.key is not there"),
        "{refusal}"
    );
}
