//! `imprint journal verify`.

use rusqlite::Connection;

use crate::support::{Place, THERMO};

/// Somebody with the file in hand and a tool for it: the triggers that keep the journal are no
/// obstacle to them.
fn tamper(place: &Place, statement: &str) {
    let connection = Connection::open(place.server().join("ledger.db")).unwrap();
    let drop = "DROP TRIGGER journal_row_stays; DROP TRIGGER journal_row_is_kept;
                DROP TRIGGER link_stays; DROP TRIGGER link_is_kept;";
    connection.execute_batch(drop).unwrap();
    assert_eq!(connection.execute(statement, []).unwrap(), 1, "{statement}");
}

fn written() -> Place {
    let place = Place::with_fleet(THERMO);
    place.ok(&["token", "new", "--product", "thermo", "--count", "5"]);
    place.ok(&["allow", "add", "--product", "thermo", "custom:SN-1"]);
    place
}

#[test]
fn an_untouched_journal_holds() {
    let place = written();
    let verdict = place.json(&["journal", "verify"]);
    assert_eq!(verdict["intact"], true);
    assert_eq!(verdict["rows"], 7);
    assert_eq!(verdict["unchained"], 0);
    assert_eq!(verdict["head"].as_str().unwrap().len(), 64);
    assert!(
        place
            .ok(&["journal", "verify"])
            .starts_with("The journal is as it was written: 7 rows")
    );
}

#[test]
fn the_first_altered_row_is_named() {
    for (statement, want) in [
        ("UPDATE journal SET actor = 'nobody' WHERE number = 3", 3),
        ("UPDATE journal SET detail = '{}' WHERE number = 7", 7),
        ("UPDATE journal SET at = at + 1 WHERE number = 1", 1),
        ("DELETE FROM journal WHERE number = 4", 4),
        ("DELETE FROM journal WHERE number = 1", 1),
    ] {
        let place = written();
        tamper(&place, statement);
        let said = place.run(&["journal", "verify"]);
        assert_eq!(said.code, 1, "{statement}: {said:?}");
        let words = format!("The journal has been altered: row {want} is the first");
        assert!(said.out.starts_with(&words), "{statement}: {said:?}");
        let said = place.run(&["journal", "verify", "--json"]);
        assert_eq!(said.code, 1);
        let verdict: serde_json::Value = serde_json::from_str(&said.out).unwrap();
        assert_eq!(verdict["intact"], false);
        assert_eq!(verdict["altered"]["number"], want, "{statement}");
    }
}

#[test]
fn a_running_server_finds_it_too() {
    let place = written();
    tamper(
        &place,
        "UPDATE journal SET subject = 't-0' WHERE number = 2",
    );
    let server = place.serve();
    let said = place.run(&["journal", "verify"]);
    assert_eq!(said.code, 1, "{said:?}");
    assert!(said.out.contains("row 2 is the first"), "{said:?}");
    assert_eq!(server.end("TERM"), Some(0));
}

#[test]
fn rows_that_were_cut_off_are_found_by_a_head_that_was_noted() {
    let place = written();
    let head = place.json(&["journal", "verify"])["head"]
        .as_str()
        .unwrap()
        .to_owned();
    let noted = ["journal", "verify", "--noted", &head];
    place.ok(&["allow", "add", "--product", "thermo", "custom:SN-2"]);
    place.ok(&noted);
    tamper(&place, "DELETE FROM journal WHERE number = 8");
    place.ok(&noted);
    let connection = Connection::open(place.server().join("ledger.db")).unwrap();
    connection
        .execute("DELETE FROM journal WHERE number = 7", [])
        .unwrap();
    drop(connection);
    place.ok(&["journal", "verify"]);
    let said = place.run(&noted);
    assert_eq!(said.code, 1, "{said:?}");
    assert!(
        said.out
            .contains("row 7 is the first, the head that was noted is not in the chain"),
        "{said:?}"
    );
    let refusal = place.refused(&["journal", "verify", "--noted", "7a"]);
    assert!(refusal.contains("is no head of a journal"), "{refusal}");
}
