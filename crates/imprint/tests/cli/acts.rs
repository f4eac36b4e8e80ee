//! An operator's acts mean the same on a stopped directory and on a running server.

use std::fs::{self, File};
use std::process::Stdio;

use crate::support::{Place, THERMO, said, settled};

/// A day at the office. Every answer, with what differs from run to run replaced.
fn day(place: &Place) -> String {
    let issued = place.issue("thermo", "custom:SN-1");
    let unknown = place.request("unknown");
    let commands: &[&[&str]] = &[
        &["device", "list"],
        &["device", "list", "--json"],
        &["device", "show", "thermo-sn-1"],
        &["device", "show", "custom:SN-1"],
        &["device", "show", "nobody"],
        &[
            "device",
            "issue",
            "--csr",
            &unknown,
            "--product",
            "valve",
            "--hardware",
            "custom:SN-2",
        ],
        &[
            "device",
            "issue",
            "--csr",
            &issued,
            "--product",
            "thermo",
            "--hardware",
            "custom:SN-2",
        ],
        &[
            "device",
            "issue",
            "--csr",
            &unknown,
            "--product",
            "thermo",
            "--hardware",
            "custom:SN-1",
        ],
        &["device", "adopt", &issued, "--product", "thermo"],
        &["device", "approve", "thermo-sn-1"],
        &[
            "device",
            "quarantine",
            "thermo-sn-1",
            "--reason",
            "smells of smoke",
        ],
        &["why", "thermo-sn-1"],
        &["device", "release", "thermo-sn-1", "--keep-key"],
        &["device", "release", "thermo-sn-1"],
        &["device", "revoke", "thermo-sn-1", "--reason", "stolen"],
        &[
            "device",
            "revoke",
            "thermo-sn-1",
            "--reason",
            "key-compromise",
            "--note",
            "stolen",
        ],
        &["device", "show", "thermo-sn-1"],
        &["why", "thermo-sn-1"],
        &["why", "thermo-sn-1", "--json"],
        &["device", "quarantine", "thermo-sn-1"],
        &["device", "release", "thermo-sn-1", "--keep-key"],
        &[
            "device",
            "decommission",
            "thermo-sn-1",
            "--reason",
            "scrapped",
        ],
        &["why", "custom:SN-1"],
        &["device", "list", "--state", "decommissioned"],
        &["device", "list", "--state", "gone"],
    ];
    let mut text = String::new();
    for command in commands {
        let said = place.run(command);
        let words: Vec<_> = command
            .iter()
            .map(|word| word.replace(&root(place), ""))
            .collect();
        text.push_str(&format!("$ imprint {}\n", words.join(" ")));
        for line in [&said.out, &said.err] {
            if !line.is_empty() {
                text.push_str(&settled(line));
                text.push('\n');
            }
        }
        text.push_str(&format!("[{}]\n\n", said.code));
    }
    text + &journal(place)
}

/// What the journal says of it: who did what to whom. Revocation lists are left out, because only a
/// server makes one at its start.
fn journal(place: &Place) -> String {
    let rows = place.json(&["journal", "list"]);
    let rows = rows
        .as_array()
        .unwrap()
        .iter()
        .filter(|row| row["kind"] != "crl-published");
    let mut lines: Vec<_> = rows
        .map(|row| {
            let word = |key: &str| row[key].as_str().unwrap().to_owned();
            format!("{} {} by {}", word("kind"), word("subject"), word("actor"))
        })
        .collect();
    // A refusal gets its row a moment later, on a server from time to time.
    lines.sort();
    lines.join("\n")
}

fn root(place: &Place) -> String {
    place.path("").to_str().unwrap().to_owned()
}

#[test]
fn an_act_means_the_same_on_a_stopped_directory_and_on_a_running_server() {
    let stopped = day(&Place::with_fleet(THERMO));
    let place = Place::with_fleet(THERMO);
    let server = place.serve();
    let running = day(&place);
    assert_eq!(server.end("TERM"), Some(0));
    for (one, other) in stopped.lines().zip(running.lines()) {
        assert_eq!(one, other);
    }
    assert_eq!(stopped, running);
    insta::assert_snapshot!("a_day_at_the_office", stopped);
}

#[test]
fn what_was_done_on_a_running_server_is_there_when_it_has_stopped() {
    let place = Place::with_fleet(THERMO);
    let server = place.serve();
    place.issue("thermo", "custom:SN-1");
    let running = place.json(&["device", "list"]);
    assert_eq!(server.end("KILL"), None);
    assert_eq!(place.json(&["device", "list"]), running);
    assert_eq!(running[0]["id"], "thermo-sn-1");
}

#[test]
fn the_same_request_by_hand_gets_the_same_certificate() {
    let place = Place::with_fleet(THERMO);
    let request = place.request("a");
    let issue = [
        "device",
        "issue",
        "--csr",
        &request,
        "--product",
        "thermo",
        "--hardware",
        "custom:A",
    ];
    let first = place.ok(&issue);
    assert!(first.starts_with("-----BEGIN CERTIFICATE-----"));
    let server = place.serve();
    assert_eq!(place.ok(&issue), first);
    let again = place.json(&issue);
    assert_eq!(again["again"], true);
    let chain = place.ok(&[&issue[..], &["--chain"]].concat());
    assert_eq!(chain.matches("BEGIN CERTIFICATE").count(), 3);
    assert_eq!(server.end("TERM"), Some(0));
}

#[test]
fn commands_side_by_side_wait_for_each_other() {
    let place = Place::with_fleet(THERMO);
    let children: Vec<_> = (0..6)
        .map(|_| {
            let mut command = place.command(&["token", "new", "--product", "thermo"]);
            command
                .stdout(Stdio::piped())
                .stderr(Stdio::piped())
                .spawn()
                .unwrap()
        })
        .collect();
    for child in children {
        let said = said(child.wait_with_output().unwrap());
        assert_eq!(said.code, 0, "{said:?}");
    }
    assert_eq!(place.json(&["token", "list"]).as_array().unwrap().len(), 6);
}

#[test]
fn a_directory_that_stays_held_is_refused_with_its_holder() {
    let place = Place::new();
    let path = place.server().join("imprint.lock");
    let lock = File::create(&path).unwrap();
    lock.try_lock().unwrap();
    fs::write(&path, "a backup, process 7\n").unwrap();
    let refusal = place.refused(&["status"]);
    assert!(
        refusal.contains("is held by a backup, process 7, and it does not answer."),
        "{refusal}"
    );
    let refusal = place.refused(&["serve"]);
    assert!(
        refusal.contains("is held by a backup, process 7."),
        "{refusal}"
    );
    drop(lock);
    place.ok(&["status"]);
}

#[test]
fn a_certificate_that_the_registry_has_lost_can_be_adopted() {
    let place = Place::with_fleet(THERMO);
    let empty = place.path("before.db");
    fs::copy(place.server().join("ledger.db"), &empty).unwrap();
    let certificate = place.issue("thermo", "custom:SN-1");
    // As after the restore of an old backup.
    for name in ["ledger.db-wal", "ledger.db-shm"] {
        let _ = fs::remove_file(place.server().join(name));
    }
    fs::copy(&empty, place.server().join("ledger.db")).unwrap();
    place.refused(&["device", "show", "thermo-sn-1"]);
    let adopt = ["device", "adopt", &certificate, "--product", "thermo"];
    assert_eq!(place.ok(&adopt), "thermo-sn-1: active at PROVISIONED");
    let device = place.json(&["device", "show", "thermo-sn-1"]);
    assert_eq!(device["certificates"][0]["origin"], "adopted");
    assert_eq!(device["hardware"], "custom:SN-1");
    assert_eq!(
        place.ok(&adopt),
        "thermo-sn-1: active at PROVISIONED",
        "twice is once"
    );
    let root = place.server().join("ca/root.pem");
    let refusal = place.refused(&[
        "device",
        "adopt",
        root.to_str().unwrap(),
        "--product",
        "thermo",
    ]);
    assert!(refusal.contains("[certificate-not-adoptable]"), "{refusal}");
}
