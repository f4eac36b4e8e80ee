//! A thief has the server's whole directory, its log and a copy of its database, and not the one file
//! that unseals. No key is in what he has, and nothing that opens with it.

use std::fs;
use std::path::Path;
use std::process::Command;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE_NO_PAD};

use crate::support::{Place, THERMO};

/// Every file below, with its octets.
fn files(folder: &Path, all: &mut Vec<(String, Vec<u8>)>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files(&path, all);
        } else {
            all.push((path.display().to_string(), fs::read(&path).unwrap()));
        }
    }
}

/// The files in which a secret stands, in one of the forms in which people write secrets down.
fn holders(loot: &[(String, Vec<u8>)], secret: &[u8]) -> Vec<String> {
    let forms = [
        secret.to_vec(),
        STANDARD.encode(secret).into_bytes(),
        STANDARD_NO_PAD.encode(secret).into_bytes(),
        URL_SAFE_NO_PAD.encode(secret).into_bytes(),
        hex::encode(secret).into_bytes(),
        hex::encode_upper(secret).into_bytes(),
    ];
    let holds = |octets: &[u8], form: &Vec<u8>| {
        octets
            .windows(form.len())
            .any(|window| window == form.as_slice())
    };
    let found = loot
        .iter()
        .filter(|(_, octets)| forms.iter().any(|form| holds(octets, form)));
    found.map(|(name, _)| name.clone()).collect()
}

/// With all permissions as they are: keys that others can read are refused for that alone.
fn copy(from: &Path, to: &Path) {
    let copied = Command::new("cp").arg("-a").args([from, to]).status();
    assert!(copied.unwrap().success());
}

#[test]
fn who_has_all_but_the_seal_has_no_key_and_opens_nothing() {
    let place = Place::with_fleet(THERMO);
    let running = place.serve();
    // 1. Every kind of secret that the server knows.
    let mut secrets: Vec<(&str, Vec<u8>)> = Vec::new();
    let own = place.json(&["entry", "new", "sn-1", "--product", "thermo"]);
    let group = place.json(&["entry", "new", "line-1", "--group", "--product", "thermo"]);
    for (name, made) in [("an entry's key", &own), ("a group's key", &group)] {
        for slot in ["primary_key", "secondary_key"] {
            let key = STANDARD.decode(made[slot].as_str().unwrap()).unwrap();
            secrets.push((name, key));
        }
    }
    let derived = place.ok(&["entry", "key", "line-1", "sn-2"]);
    secrets.push(("a derived key", STANDARD.decode(derived).unwrap()));
    let brought: Vec<u8> = (100..164).collect();
    let file = place.write("brought.key", &STANDARD.encode(&brought));
    place.ok(&[
        "entry",
        "new",
        "sn-3",
        "--product",
        "thermo",
        "--key",
        &file,
    ]);
    fs::remove_file(place.path("brought.key")).unwrap();
    secrets.push(("a key from elsewhere", brought));
    let connection = place.ok(&["service-key", "new", "scripts", "--product", "thermo"]);
    let key = connection.split("SharedAccessKey=").nth(1).unwrap();
    secrets.push(("a service key", STANDARD.decode(key).unwrap()));
    let token = place.ok(&["token", "new", "--product", "thermo"]);
    secrets.push(("a token", token.trim().as_bytes().to_vec()));
    let seal = fs::read(place.server().join("keys/seal.key")).unwrap();
    secrets.push(("the seal", seal));
    drop(running);

    // 2. The loot: the directory, the log and a copy of the database, without the seal.
    let loot = place.path("loot");
    copy(&place.server(), &loot);
    fs::copy(place.server().join("ledger.db"), loot.join("backup.db")).unwrap();
    fs::copy(place.path("log"), loot.join("log")).unwrap();
    fs::remove_file(loot.join("keys/seal.key")).unwrap();
    let mut all = Vec::new();
    files(&loot, &mut all);
    // The search finds what is there.
    assert!(!holders(&all, b"line-1").is_empty());
    for (name, secret) in &secrets {
        assert!(secret.len() >= 16, "{name}");
        assert_eq!(holders(&all, secret), [""; 0], "{name}");
    }
    // A private key on P-256 (RFC 5915), or one in PEM.
    let bare = [0x02, 0x01, 0x01, 0x04, 0x20];
    for (name, octets) in &all {
        assert!(!octets.windows(5).any(|window| window == bare), "{name}");
        let text = String::from_utf8_lossy(octets);
        assert!(!text.contains("PRIVATE KEY"), "{name}");
    }

    // 3. With the program beside it, it enrolls nobody and says nothing.
    let loot = loot.to_str().unwrap();
    let asks = |seal: Option<&str>, arguments: &[&str]| {
        let mut command = place.command(&[&["--dir", loot], arguments].concat());
        if let Some(seal) = seal {
            command.env("IMPRINT_SEAL_KEY", seal);
        }
        command.output().unwrap()
    };
    for seal in [None, Some("00".repeat(32))] {
        for arguments in [
            &["serve"][..],
            &["token", "new", "--product", "thermo"],
            &["entry", "key", "line-1", "sn-2"],
            &["entry", "new", "sn-9", "--product", "thermo"],
        ] {
            let said = asks(seal.as_deref(), arguments);
            assert!(!said.status.success(), "{arguments:?}");
            assert!(said.stdout.is_empty(), "{arguments:?}");
        }
    }
    // It is the seal that was missing.
    let from = place.server().join("keys/seal.key");
    copy(&from, &Path::new(loot).join("keys/seal.key"));
    let said = asks(None, &["entry", "key", "line-1", "sn-2"]);
    assert!(said.status.success(), "{said:?}");
}
