//! `imprint doctor`: what is sound is said to be, and each fault has its line.

use std::fs::{self, Permissions};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;

use serde_json::Value;

use crate::support::{Place, THERMO};

/// The findings of one check that are not `ok`.
fn bad(place: &Place, code: i32) -> Vec<String> {
    let said = place.run(&["doctor", "--json"]);
    assert_eq!(said.code, code, "{said:?}");
    let findings: Vec<Value> = serde_json::from_str(&said.out).unwrap();
    let bad = findings.iter().filter(|one| one["verdict"] != "ok");
    let line = |one: &Value| {
        let word = |key: &str| one[key].as_str().unwrap().to_owned();
        format!("{} {}: {}", word("verdict"), word("check"), word("says"))
    };
    bad.map(line).collect()
}

const FOR_TESTS: &str = "warn keys: open, and are marked as made for tests";

#[test]
fn a_sound_directory_is_said_to_be_sound_stopped_and_running() {
    let place = Place::with_fleet(THERMO);
    assert_eq!(bad(&place, 0), [FOR_TESTS]);
    let running = place.serve();
    assert_eq!(bad(&place, 0), [FOR_TESTS]);
    drop(running);
    let text = place.ok(&["doctor"]);
    assert!(
        text.contains("ok    ledger") && text.contains("is in WAL mode"),
        "{text}"
    );
}

#[test]
fn each_fault_has_its_line() {
    type Break = fn(&Place);
    let rows: [(&str, Break); 6] = [
        (
            "fail secrets: others can read them: admin.token is 644",
            |place| {
                let path = place.server().join("admin.token");
                fs::set_permissions(path, Permissions::from_mode(0o644)).unwrap();
            },
        ),
        ("fail seal: keys/seal.key is not there", |place| {
            fs::remove_file(place.server().join("keys/seal.key")).unwrap();
        }),
        ("fail ledger: ledger.db is not in WAL mode", |place| {
            let path = place.server().join("ledger.db");
            let mut bytes = fs::read(&path).unwrap();
            bytes[18..20].copy_from_slice(&[1, 1]);
            fs::write(&path, bytes).unwrap();
        }),
        ("fail certificate: ", |place| {
            fs::write(place.server().join("ca/issuing.pem"), "no").unwrap();
        }),
        ("fail settings: ", |place| {
            place.edit("imprint/imprint.toml", "http = ", "htttp = ");
        }),
        ("fail clock: the clock says ", |place| {
            let file = fs::File::options()
                .append(true)
                .open(place.server().join("ledger.db"))
                .unwrap();
            let later = std::time::Duration::from_hours(1);
            file.set_modified(
                fs::metadata(place.server().join("ledger.db"))
                    .unwrap()
                    .modified()
                    .unwrap()
                    + later,
            )
            .unwrap();
        }),
    ];
    for (want, break_it) in rows {
        let place = Place::with_fleet(THERMO);
        break_it(&place);
        let found = bad(&place, 1);
        assert!(
            found.iter().any(|one| one.starts_with(want)),
            "{want}: {found:?}"
        );
    }
}

#[test]
fn a_port_that_somebody_else_has_is_named() {
    let place = Place::with_fleet(THERMO);
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    place.edit(
        "imprint/imprint.toml",
        "\nhttp = \"127.0.0.1:0\"",
        &format!("\nhttp = \"{address}\""),
    );
    let found = bad(&place, 1);
    let want = format!("fail listener: http can't listen at {address}");
    assert!(found.iter().any(|one| one.starts_with(&want)), "{found:?}");
}
