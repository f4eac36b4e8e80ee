//! Entries on record.

use imprint_registrar::entries::definition::{Attestation, Entry as Definition};
use imprint_registrar::ledger::{
    Acted, EntryAct, EntryEvidence, EntryFacts, EntryKind, EntryQuery, EntryRecord, KeySlot,
    MOST_KEY_GROUPS, NewEntry, SealedKeys,
};
use rusqlite::{Connection, OptionalExtension, Row};
use serde_json::json;

use crate::change::Change;
use crate::decode::Columns;
use crate::fault::Fault;
use crate::registration;

/// An entry with its number.
pub(crate) struct Entry {
    pub(crate) number: i64,
    pub(crate) record: EntryRecord,
}

macro_rules! select_entry {
    ($where:literal) => {
        concat!(
            "SELECT e.number, e.definition, e.enabled, e.primary_key, e.secondary_key, e.registered,
                    e.created_at, e.updated_at, e.version, e.storage_key
             FROM entry e ",
            $where
        )
    };
}

/// The definition is read afterwards, where a fault in it has a name.
type Read = (
    i64,
    String,
    bool,
    SealedKeys,
    u64,
    [imprint_identity::UnixTime; 2],
    u64,
    Option<Vec<u8>>,
);

fn read(row: &Row<'_>) -> rusqlite::Result<Read> {
    let keys = SealedKeys {
        primary: row.get(3)?,
        secondary: row.get(4)?,
    };
    Ok((
        row.get(0)?,
        row.get(1)?,
        row.get(2)?,
        keys,
        row.get::<_, i64>(5)?.cast_unsigned(),
        [row.time(6)?, row.time(7)?],
        row.get::<_, i64>(8)?.cast_unsigned(),
        row.get(9)?,
    ))
}

fn finish(read: Read) -> Result<Entry, Fault> {
    let (number, definition, enabled, keys, registered, [created_at, updated_at], version, key) =
        read;
    let entry = serde_json::from_str(&definition)
        .map_err(|error| Fault::Broken(format!("an entry's definition: {error}: {definition}")))?;
    Ok(Entry {
        number,
        record: EntryRecord {
            entry,
            enabled,
            keys,
            storage_key: key,
            registered,
            created_at,
            updated_at,
            version,
        },
    })
}

pub(crate) fn by_name(
    db: &Connection,
    kind: EntryKind,
    name: &str,
) -> Result<Option<Entry>, Fault> {
    let sql = select_entry!("WHERE e.kind = ?1 AND e.name = ?2");
    let found = db
        .prepare_cached(sql)?
        .query_row((kind.as_str(), name), read)
        .optional()?;
    found.map(finish).transpose()
}

pub(crate) fn by_number(db: &Connection, number: i64) -> Result<Entry, Fault> {
    let sql = select_entry!("WHERE e.number = ?1");
    let found = db
        .prepare_cached(sql)?
        .query_row([number], read)
        .optional()?;
    found.map_or_else(
        || Err(Fault::Broken(format!("entry {number} is not on record"))),
        finish,
    )
}

pub(crate) fn list(db: &Connection) -> Result<Vec<EntryRecord>, Fault> {
    let sql = select_entry!("WHERE e.deleted_at IS NULL ORDER BY e.kind, e.name");
    let mut statement = db.prepare_cached(sql)?;
    let rows = statement.query_map([], read)?;
    rows.map(|row| Ok(finish(row?)?.record)).collect()
}

pub(crate) fn page(
    db: &Connection,
    kind: EntryKind,
    product: &str,
    after: &str,
    limit: u32,
) -> Result<Vec<EntryRecord>, Fault> {
    let sql = select_entry!(
        "WHERE e.kind = ?1 AND e.product = ?2 AND e.name > ?3 AND e.deleted_at IS NULL
         ORDER BY e.name LIMIT ?4"
    );
    let mut statement = db.prepare_cached(sql)?;
    let rows = statement.query_map((kind.as_str(), product, after, limit), read)?;
    rows.map(|row| Ok(finish(row?)?.record)).collect()
}

/// The groups that have keys, in the order in which they were made.
fn key_groups(db: &Connection) -> Result<Vec<Entry>, Fault> {
    let sql = select_entry!(
        "WHERE e.kind = 'group' AND (e.primary_key IS NOT NULL OR e.secondary_key IS NOT NULL)
         ORDER BY e.number LIMIT ?1"
    );
    let mut statement = db.prepare_cached(sql)?;
    let rows = statement.query_map([i64::try_from(MOST_KEY_GROUPS).unwrap_or(i64::MAX)], read)?;
    rows.map(|row| finish(row?)).collect()
}

/// The groups that name an authority of this name.
fn groups_under(db: &Connection, subject: &[u8]) -> Result<Vec<Entry>, Fault> {
    let sql =
        select_entry!("WHERE e.primary_subject = ?1 OR e.secondary_subject = ?1 ORDER BY e.number");
    let mut statement = db.prepare_cached(sql)?;
    let rows = statement.query_map([subject], read)?;
    rows.map(|row| finish(row?)).collect()
}

pub(crate) fn facts(db: &Connection, query: &EntryQuery) -> Result<EntryFacts, Fault> {
    let individual = by_name(db, EntryKind::Individual, &query.id)?;
    let registered = registration::by_id(db, &query.id)?;
    let mut groups: Vec<Entry> = Vec::new();
    // Who has an entry of its own is of no group.
    if individual.is_none() {
        match &query.shown {
            EntryEvidence::SharedKey => {
                groups = key_groups(db)?;
                let last = registered.as_ref().map(|one| one.entry);
                // A device that comes again is most likely of the group that it was of.
                groups.sort_by_key(|group| Some(group.number) != last);
            }
            EntryEvidence::Certificate { issuers } => {
                for issuer in issuers {
                    let found = groups_under(db, issuer)?;
                    let new = |one: &Entry| groups.iter().all(|known| known.number != one.number);
                    let mut new: Vec<_> = found.into_iter().filter(new).collect();
                    groups.append(&mut new);
                }
            }
        }
    }
    Ok(EntryFacts {
        individual: individual.map(|entry| entry.record),
        groups: groups.into_iter().map(|entry| entry.record).collect(),
        registered: match registered {
            Some(found) => Some(found.with_device(db)?),
            None => None,
        },
    })
}

pub(crate) fn add(change: &Change<'_>, new: &NewEntry) -> Result<Acted<EntryRecord>, Fault> {
    let Definition {
        kind,
        name,
        product,
        attestation,
        ..
    } = &new.entry;
    if by_name(change.db, *kind, name)?.is_some() {
        return Ok(Acted::NotNow { state: "exists" });
    }
    let with_keys = *attestation == Attestation::SymmetricKey;
    if *kind == EntryKind::Group && with_keys && key_groups(change.db)?.len() >= MOST_KEY_GROUPS {
        return Ok(Acted::NotNow { state: "too many" });
    }
    let definition = serde_json::to_value(&new.entry)
        .map_err(|error| Fault::Broken(format!("entry {name}: {error}")))?;
    change
        .db
        .prepare_cached(
            "INSERT INTO entry (kind, name, product, definition, enabled, primary_key,
                                secondary_key, primary_subject, secondary_subject, created_at,
                                updated_at, version)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?10, 1)",
        )?
        .execute((
            kind.as_str(),
            name,
            product,
            definition.to_string(),
            new.enabled,
            new.keys.primary.as_deref(),
            new.keys.secondary.as_deref(),
            new.subjects.first(),
            new.subjects.get(1),
            change.now.0,
        ))?;
    let detail = json!({ "entry": definition, "enabled": new.enabled });
    change.journal("entry-made", &subject(*kind, name), &detail)?;
    Ok(match by_name(change.db, *kind, name)? {
        Some(entry) => Acted::Done(entry.record),
        None => Acted::Absent,
    })
}

pub(crate) fn act(
    change: &Change<'_>,
    kind: EntryKind,
    name: &str,
    act: &EntryAct,
) -> Result<Acted<EntryRecord>, Fault> {
    let Some(entry) = by_name(change.db, kind, name)? else {
        return Ok(Acted::Absent);
    };
    if let EntryAct::Replace { version, .. } | EntryAct::Delete { version } = act
        && version.is_some_and(|version| version != entry.record.version)
    {
        return Ok(Acted::NotNow { state: "changed" });
    }
    match act {
        EntryAct::Enable if entry.record.enabled => {}
        EntryAct::Disable if !entry.record.enabled => {}
        EntryAct::Enable => switch(change, &entry, true)?,
        EntryAct::Disable => switch(change, &entry, false)?,
        EntryAct::Key { slot, sealed } => put_key(change, &entry, *slot, sealed)?,
        EntryAct::StorageKey { public } if entry.record.storage_key.as_ref() == Some(public) => {}
        EntryAct::StorageKey { public } => put_storage_key(change, &entry, public)?,
        EntryAct::Replace { new, .. } => replace(change, &entry, new)?,
        EntryAct::Reveal => {
            change.journal("entry-keys-revealed", &subject_of(&entry), &json!({}))?;
        }
        EntryAct::Delete { .. } => {
            delete(change, &entry)?;
            return Ok(Acted::Done(entry.record));
        }
    }
    Ok(Acted::Done(by_number(change.db, entry.number)?.record))
}

fn switch(change: &Change<'_>, entry: &Entry, enabled: bool) -> Result<(), Fault> {
    change
        .db
        .prepare_cached(
            "UPDATE entry SET enabled = ?2, updated_at = ?3, version = version + 1
             WHERE number = ?1",
        )?
        .execute((entry.number, enabled, change.now.0))?;
    let kind = if enabled {
        "entry-enabled"
    } else {
        "entry-disabled"
    };
    change.journal(kind, &subject_of(entry), &json!({}))
}

/// Nothing is written where nothing differs. Keys that are not given stay.
fn replace(change: &Change<'_>, entry: &Entry, new: &NewEntry) -> Result<(), Fault> {
    let SealedKeys { primary, secondary } = &new.keys;
    let record = &entry.record;
    let same = record.entry == new.entry && record.enabled == new.enabled;
    if same && primary.is_none() && secondary.is_none() {
        return Ok(());
    }
    let definition = serde_json::to_value(&new.entry)
        .map_err(|error| Fault::Broken(format!("entry {}: {error}", new.entry.name)))?;
    change
        .db
        .prepare_cached(
            "UPDATE entry
             SET definition = ?2, enabled = ?3, primary_key = coalesce(?4, primary_key),
                 secondary_key = coalesce(?5, secondary_key), primary_subject = ?6,
                 secondary_subject = ?7, updated_at = ?8, version = version + 1
             WHERE number = ?1",
        )?
        .execute((
            entry.number,
            definition.to_string(),
            new.enabled,
            primary.as_deref(),
            secondary.as_deref(),
            new.subjects.first(),
            new.subjects.get(1),
            change.now.0,
        ))?;
    let slots = [("primary", primary), ("secondary", secondary)];
    let keys = slots.into_iter().filter(|(_, key)| key.is_some());
    let keys: Vec<_> = keys.map(|(slot, _)| slot).collect();
    let detail = json!({ "entry": definition, "enabled": new.enabled, "keys": keys });
    change.journal("entry-changed", &subject_of(entry), &detail)
}

/// Registrations name the row, so it stays: without keys, findable by nobody. They are over with it,
/// however many they are, because each of them is read together with its entry.
fn delete(change: &Change<'_>, entry: &Entry) -> Result<(), Fault> {
    change
        .db
        .prepare_cached(
            "UPDATE entry
             SET name = name || '#' || number, enabled = 0, primary_key = NULL,
                 secondary_key = NULL, primary_subject = NULL, secondary_subject = NULL,
                 updated_at = ?2, version = version + 1, deleted_at = ?2
             WHERE number = ?1",
        )?
        .execute((entry.number, change.now.0))?;
    let detail = json!({ "registered": entry.record.registered });
    change.journal("entry-deleted", &subject_of(entry), &detail)
}

/// That it was changed is told; the key is not.
fn put_key(change: &Change<'_>, entry: &Entry, slot: KeySlot, sealed: &[u8]) -> Result<(), Fault> {
    let sql = match slot {
        KeySlot::Primary => {
            "UPDATE entry SET primary_key = ?2, updated_at = ?3, version = version + 1
             WHERE number = ?1"
        }
        KeySlot::Secondary => {
            "UPDATE entry SET secondary_key = ?2, updated_at = ?3, version = version + 1
             WHERE number = ?1"
        }
    };
    change
        .db
        .prepare_cached(sql)?
        .execute((entry.number, sealed, change.now.0))?;
    let detail = json!({ "slot": slot.as_str() });
    change.journal("entry-key-replaced", &subject_of(entry), &detail)
}

/// Another one than the first says that the TPM was cleared: the journal has that.
fn put_storage_key(change: &Change<'_>, entry: &Entry, public: &[u8]) -> Result<(), Fault> {
    change
        .db
        .prepare_cached(
            "UPDATE entry SET storage_key = ?2, updated_at = ?3, version = version + 1
             WHERE number = ?1",
        )?
        .execute((entry.number, public, change.now.0))?;
    let detail = json!({ "first": entry.record.storage_key.is_none() });
    change.journal("entry-storage-key-seen", &subject_of(entry), &detail)
}

/// One more device.
pub(crate) fn count_registered(change: &Change<'_>, entry: i64) -> Result<(), Fault> {
    let sql = "UPDATE entry SET registered = registered + 1 WHERE number = ?1";
    change.db.prepare_cached(sql)?.execute([entry])?;
    Ok(())
}

fn subject_of(entry: &Entry) -> String {
    subject(entry.record.entry.kind, &entry.record.entry.name)
}

fn subject(kind: EntryKind, name: &str) -> String {
    format!("{kind}/{name}")
}
