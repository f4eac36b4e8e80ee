//! Ground that holds, and ground that does not.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use super::*;
use imprint_identity::UnixTime;
use imprint_registrar::Ledger as _;
use imprint_registrar::journal::{JournalRow, Verifier, chain};

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

/// A ledger as version 1 made it: a device with two certificates, a token, an approval.
fn of_version_1(path: &Path) {
    let db = Connection::open(path).unwrap();
    db.execute_batch(MIGRATIONS[0]).unwrap();
    db.pragma_update(None, "application_id", APPLICATION_ID)
        .unwrap();
    db.pragma_update(None, "user_version", 1).unwrap();
    let definition = serde_json::to_string(&imprint_registrar::Product::named("thermo")).unwrap();
    db.execute(
        "INSERT INTO product (name, definition) VALUES ('thermo', ?1)",
        [definition],
    )
    .unwrap();
    db.execute_batch(
        "INSERT INTO device (number, name, hardware, product, strength, state, step, released,
                             created_at, updated_at, version)
         VALUES (7, 'thermo-1', 'sn-1', 'thermo', 'asserted', 'active', 'PROVISIONED', 0, 1, 1, 3);
         INSERT INTO device_key (fingerprint, device) VALUES (zeroblob(32), 7);
         INSERT INTO token (number, id, hash, product, state, lease_key, lease_device, lease_since,
                            lease_from, minted_at, expires_at, spent_at, alarms, minted_by)
         VALUES (3, 't-1', zeroblob(32), 'thermo', 'spent', zeroblob(32), 7, 1, 'a', 1, 2, 2, 0, 'b');
         INSERT INTO approval (device, key, asked_at, until, token)
         VALUES (7, zeroblob(32), 1, 2, 3);
         INSERT INTO certificate (number, serial, device, state, origin, issuer, not_before,
                                  not_after, intended_at, settled_at, verified_at, generation,
                                  request_key, asked_subject, to_be_signed_at,
                                  to_be_signed_length, der, revoked_at, revocation_reason,
                                  revocation)
         VALUES (11, CAST(x'01' || zeroblob(19) AS BLOB), 7, 'superseded', 'enrolled', 'issuing', 1, 9, 1, 2, 3,
                 CAST(x'01' || zeroblob(32) AS BLOB), zeroblob(32), x'3000', 2, 3, x'300a0b0c0d0e', 4,
                 'superseded', 1),
                (12, CAST(x'02' || zeroblob(19) AS BLOB), 7, 'active', 'renewed', 'issuing', 1, 9, 1, 2, 3,
                 CAST(x'02' || zeroblob(20) AS BLOB), zeroblob(32), x'3000', 2, 3, x'300a0b0c0d0e', NULL, NULL,
                 NULL);",
    )
    .unwrap();
}

/// Every row of a table, as text.
fn rows(path: &Path, table: &str) -> Vec<String> {
    let db = Connection::open(path).unwrap();
    let mut statement = db
        .prepare(&format!("SELECT * FROM {table} ORDER BY 1"))
        .unwrap();
    let columns = statement.column_count();
    let read = statement.query_map([], |row| {
        let cells: Vec<_> = (0..columns)
            .map(|at| format!("{:?}", row.get_ref(at).unwrap()))
            .collect();
        Ok(cells.join("|"))
    });
    read.unwrap().collect::<Result<_, _>>().unwrap()
}

#[test]
fn a_ledger_of_version_1_is_brought_forward_and_keeps_every_row() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("imprint.db");
    of_version_1(&path);
    let tables = [
        "product",
        "device",
        "device_key",
        "token",
        "approval",
        "certificate",
    ];
    let before = tables.map(|table| rows(&path, table));
    Sqlite::open(&path).unwrap().close().unwrap();
    assert_eq!(schema_version(&path) as usize, MIGRATIONS.len());
    assert_eq!(tables.map(|table| rows(&path, table)), before);
    let db = Connection::open(&path).unwrap();
    let whole: String = db
        .query_row("PRAGMA integrity_check", [], |row| row.get(0))
        .unwrap();
    assert_eq!(whole, "ok");
    let dangling: i64 = db
        .query_row("SELECT count(*) FROM pragma_foreign_key_check", [], |row| {
            row.get(0)
        })
        .unwrap();
    assert_eq!(dangling, 0);
}

#[test]
fn what_the_old_schema_forbade_the_new_one_forbids() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("imprint.db");
    of_version_1(&path);
    Sqlite::open(&path).unwrap().close().unwrap();
    let db = Connection::open(&path).unwrap();
    db.execute_batch("PRAGMA foreign_keys = ON").unwrap();
    let insert = |device: &str, state: &str, origin: &str, number: i64| {
        format!(
            "INSERT INTO certificate (serial, device, state, origin, issuer, not_before, not_after,
                                      intended_at, generation, request_key, asked_subject,
                                      to_be_signed_length, der)
             VALUES (CAST(x'0{number}' || zeroblob(19) AS BLOB), {device}, '{state}', '{origin}', 'issuing', 1, 9,
                     1, x'03', zeroblob(32), x'3000', 3, x'3000')"
        )
    };
    let forbidden = [
        "UPDATE certificate SET revoked_at = NULL, revocation = NULL, state = 'active'
         WHERE number = 11"
            .to_owned(),
        "UPDATE certificate SET device = NULL WHERE number = 12".to_owned(),
        insert("7", "active", "enrolled", 3),
        insert("99", "issued", "enrolled", 3),
        insert("NULL", "issued", "enrolled", 3),
        insert("7", "issued", "claim", 3),
        insert("7", "issued", "enrolled", 1),
        insert("7", "odd", "enrolled", 3),
    ];
    for statement in forbidden {
        assert!(db.execute_batch(&statement).is_err(), "{statement}");
    }
    for allowed in [
        insert("7", "issued", "enrolled", 3),
        insert("NULL", "issued", "claimed", 4),
        insert("NULL", "active", "claim", 5),
        insert("NULL", "active", "claim", 6),
    ] {
        db.execute_batch(&allowed).unwrap();
    }
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

#[test]
fn groups_of_a_product_move_out_of_its_connection() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("imprint.db");
    of_version_1(&path);
    let old = r#"{"name":"valve","connection":{"endpoint":"mqtts://a","groups":["b","a"]}}"#;
    let db = Connection::open(&path).unwrap();
    db.execute(
        "INSERT INTO product (name, definition) VALUES ('valve', ?1)",
        [old],
    )
    .unwrap();
    drop(db);
    Sqlite::open(&path).unwrap().close().unwrap();
    let db = Connection::open(&path).unwrap();
    let valve = crate::product::by_name(&db, "valve").unwrap().unwrap();
    assert_eq!(valve.groups, ["b", "a"]);
    assert_eq!(valve.connection.endpoint, "mqtts://a");
}

#[tokio::test]
async fn the_chain_of_an_old_journal_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("imprint.db");
    of_version_1(&path);
    let row = |number| JournalRow {
        number,
        at: UnixTime(number.cast_signed()),
        kind: "token-minted".into(),
        subject: format!("t-{number}"),
        actor: "server".into(),
        detail: "{}".into(),
        hash: None,
    };
    let db = Connection::open(&path).unwrap();
    let mut before = [0; 32];
    for number in 1..=5 {
        let row = row(number);
        let hash = (number <= 3).then(|| {
            before = chain(&before, &row);
            before
        });
        db.execute(
            "INSERT INTO journal (number, at, kind, subject, actor, detail, hash)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
            (
                number.cast_signed(),
                row.at.0,
                row.kind,
                row.subject,
                row.actor,
                row.detail,
                hash,
            ),
        )
        .unwrap();
    }
    db.execute("UPDATE chain SET number = 3, hash = ?1", [before])
        .unwrap();
    drop(db);

    let ledger = Sqlite::open(&path).unwrap();
    let verify = |rows: Vec<JournalRow>| {
        let mut verifier = Verifier::default();
        rows.iter().try_for_each(|row| verifier.row(row)).unwrap();
        verifier.seen()
    };
    let rows = ledger.journal_read(0, 100).await.unwrap();
    assert_eq!(verify(rows), (5, 2, before));
    assert_eq!(ledger.journal_chain(100).await.unwrap(), 2);
    let rows = ledger.journal_read(0, 100).await.unwrap();
    let (seen, unchained, head) = verify(rows.clone());
    assert_eq!((seen, unchained), (5, 0));
    // A page that begins or ends within a link has the same hashes.
    for (after, limit) in [(0, 2), (1, 1), (2, 2), (3, 1), (4, 9), (5, 9)] {
        let page = ledger.journal_read(after, limit).await.unwrap();
        let from = usize::try_from(after).unwrap();
        let until = rows.len().min(from + limit as usize);
        assert_eq!(page, rows[from..until], "{after} {limit}");
    }
    ledger.close().unwrap();

    let db = Connection::open(&path).unwrap();
    for statement in [
        "UPDATE journal SET detail = '[]' WHERE number = 5",
        "UPDATE journal SET detail = detail WHERE number = 5",
        "DELETE FROM journal WHERE number = 5",
        "UPDATE link SET hashes = zeroblob(32)",
        "DELETE FROM link",
    ] {
        let error = db.execute(statement, []).unwrap_err().to_string();
        assert!(error.contains("append-only"), "{statement}: {error}");
    }
    assert_ne!(head, before);
}
