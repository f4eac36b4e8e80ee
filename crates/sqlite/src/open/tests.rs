//! Ground that holds, and ground that does not.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use super::*;

fn schema_version(path: &Path) -> u32 {
    let db = Connection::open(path).unwrap();
    db.query_row("PRAGMA user_version", [], |row| row.get(0))
        .unwrap()
}

#[test]
fn a_new_ledger_is_for_its_owner_alone_and_has_todays_schema() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("imprint.db");
    let ledger = Sqlite::open(&path).unwrap();
    for entry in fs::read_dir(dir.path()).unwrap() {
        let entry = entry.unwrap();
        let mode = entry.metadata().unwrap().permissions().mode() & 0o777;
        assert_eq!(mode, 0o600, "{}", entry.path().display());
    }
    ledger.close().unwrap();
    assert_eq!(schema_version(&path) as usize, MIGRATIONS.len());
    Sqlite::open(&path).unwrap();
}

#[test]
fn what_durability_rests_on_is_read_back() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("imprint.db");
    let options = Options::default();
    let db = Connection::open(&path).unwrap();
    let refused = |wanted: &str| match assert_durable(&db, &path, &options) {
        Err(OpenError::NotDurable { setting, .. }) => assert_eq!(setting, wanted),
        Err(other) => panic!("{other}"),
        Ok(()) => assert_eq!("", wanted),
    };
    refused("journal_mode");
    prepare_writer(&db, &options).unwrap();
    refused("");
    for level in ["OFF", "NORMAL"] {
        db.execute_batch(&format!("PRAGMA synchronous = {level}"))
            .unwrap();
        refused("synchronous");
    }
    db.execute_batch("PRAGMA synchronous = FULL; PRAGMA foreign_keys = OFF")
        .unwrap();
    refused("foreign_keys");
}

#[test]
fn a_newer_ledger_is_refused_in_words_and_left_as_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("imprint.db");
    drop(Sqlite::open(&path).unwrap());
    let db = Connection::open(&path).unwrap();
    db.pragma_update(None, "user_version", 99).unwrap();
    drop(db);
    let refused = Sqlite::open(&path).err().unwrap();
    assert!(
        matches!(
            refused,
            OpenError::Newer {
                found: 99,
                known,
                ..
            } if known as usize == MIGRATIONS.len()
        ),
        "{refused}"
    );
    assert!(
        refused.to_string().contains("run the newer Imprint"),
        "{refused}"
    );
    assert_eq!(schema_version(&path), 99);
}

#[test]
fn another_programs_file_is_refused_and_left_as_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("other.db");
    Connection::open(&path)
        .unwrap()
        .execute_batch("CREATE TABLE theirs (a)")
        .unwrap();
    let text = dir.path().join("letter.txt");
    fs::write(
        &text,
        "Dear Ada, this is no database, and it is longer than its header. ".repeat(9),
    )
    .unwrap();
    for path in [path, text] {
        let before = fs::read(&path).unwrap();
        let refused = Sqlite::open(&path).err().unwrap();
        assert!(matches!(refused, OpenError::NotOurs { .. }), "{refused}");
        assert_eq!(fs::read(&path).unwrap(), before);
    }
}

#[test]
fn a_place_that_is_not_there_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("nowhere/imprint.db");
    let refused = Sqlite::open(&path).err().unwrap();
    assert!(
        matches!(&refused, OpenError::Io { path: named, .. } if *named == path),
        "{refused}"
    );
}

#[test]
fn a_path_is_a_path_whatever_is_in_it() {
    let dir = tempfile::tempdir().unwrap();
    for name in [
        "a?mode=memory",
        "b#c",
        "d%41e",
        "f g",
        "h\u{fc}\u{2019}'\"",
        "..i",
        "&j=k",
    ] {
        let path = dir.path().join(name);
        Sqlite::open(&path).unwrap().close().unwrap();
        assert_eq!(schema_version(&path) as usize, MIGRATIONS.len(), "{name}");
    }
    let mut found: Vec<_> = fs::read_dir(dir.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    found.retain(|name| !name.to_string_lossy().contains("-wal"));
    found.retain(|name| !name.to_string_lossy().contains("-shm"));
    assert_eq!(found.len(), 7, "{found:?}");
}

#[test]
fn an_epoch_that_fits_no_serial_number_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("imprint.db");
    drop(Sqlite::open(&path).unwrap());
    for (value, good) in [
        (0, false),
        (1, true),
        (127, true),
        (128, false),
        (-1, false),
    ] {
        let db = Connection::open(&path).unwrap();
        db.execute("UPDATE meta SET value = ?1 WHERE name = 'epoch'", [value])
            .unwrap();
        drop(db);
        let opened = Sqlite::open(&path);
        assert_eq!(opened.is_ok(), good, "{value}");
        assert!(opened.is_err() || opened.is_ok_and(|ledger| i64::from(ledger.epoch) == value));
    }
}

#[test]
fn network_file_systems_are_known_by_their_number_and_local_ones_pass() {
    let dir = tempfile::tempdir().unwrap();
    refuse_network(dir.path()).unwrap().unwrap();
    assert_eq!(network(0x6969), Some("NFS"));
    assert_eq!(network(0xff53_4d42), Some("CIFS"));
    for local in [0xef53, 0x5846_5342, 0x9123_683e, 0x0102_1994] {
        assert_eq!(network(local), None, "{local:x}");
    }
}

/// The rules for states were exchanged as text: they must hold, and they must be the cheap ones.
#[test]
fn a_state_is_one_of_its_words_and_looking_makes_no_table() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("imprint.db");
    Sqlite::open(&path).unwrap().close().unwrap();
    let db = Connection::open(&path).unwrap();
    let rows = [
        (
            "device",
            "INSERT INTO device (name, hardware, product, strength, state, step, released,
                                 created_at, updated_at, version)
             VALUES ('a', 'a', 'thermo', 'asserted', ?1, 'ENROLL', 0, 1, 1, 1)",
            &["active", "pending", "held", "quarantined", "revoked", "decommissioned"][..],
        ),
        (
            "token",
            "INSERT INTO token (id, hash, product, state, minted_at, expires_at, alarms, minted_by,
                                lease_key, lease_device)
             VALUES ('t', zeroblob(32), 'thermo', ?1, 1, 1, 0, 'ada', iif(?1 IN ('leased', 'spent'), x'01', NULL),
                     iif(?1 IN ('leased', 'spent'), 1, NULL))",
            &["leased", "minted", "spent", "dormant", "revoked"],
        ),
        (
            "certificate",
            "INSERT INTO certificate (serial, device, state, origin, issuer, not_before, not_after,
                                      intended_at, generation, request_key, asked_subject,
                                      to_be_signed_length, der, revoked_at, revocation)
             VALUES (zeroblob(20), 1, ?1, 'enrolled', 'issuing', 1, 1, 1, x'', zeroblob(32), x'', 0, x'00',
                     iif(?1 IN ('superseded', 'revoked'), 1, NULL), iif(?1 IN ('superseded', 'revoked'), 1, NULL))",
            &["intended", "issued", "active", "superseded", "revoked", "void"],
        ),
    ];
    db.execute_batch("PRAGMA foreign_keys = OFF").unwrap();
    for (table, insert, words) in rows {
        for word in words {
            let change = db.unchecked_transaction().unwrap();
            change.execute(insert, [word]).unwrap();
        }
        for wrong in ["", "Active", "nonsense"] {
            let refused = db.execute(insert, [wrong]).unwrap_err().to_string();
            assert!(
                refused.contains("CHECK constraint failed"),
                "{table}: {refused}"
            );
        }
        let sql: String = db
            .query_row(
                "SELECT sql FROM sqlite_schema WHERE type = 'table' AND name = ?1",
                [table],
                |row| row.get(0),
            )
            .unwrap();
        let lists = sql.split("IN (").skip(1);
        let longest = lists.map(|list| list.split(')').next().unwrap_or("").split(',').count());
        assert!(longest.max().unwrap_or(0) <= 2, "{sql}");
    }
    let sound: String = db
        .query_row("PRAGMA integrity_check", [], |row| row.get(0))
        .unwrap();
    assert_eq!(sound, "ok");
}
