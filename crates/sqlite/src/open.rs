//! Opening: where the ledger refuses to run on ground that would not hold.

use std::fs::{File, OpenOptions};
use std::io;
use std::num::NonZeroUsize;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags, TransactionBehavior};

use crate::Sqlite;
use crate::fault::Fault;
use crate::reader::Readers;
use crate::writer::Writer;

/// Bounds of a ledger.
#[derive(Debug, Clone)]
pub struct Options {
    /// Connections for point look-ups: as many as threads that serve.
    pub readers: NonZeroUsize,
    /// So many pages (of 4 KiB) in the write-ahead log are moved into the file. More make rows
    /// cheaper and a restart after a crash slower.
    pub checkpoint_pages: i32,
    /// Opens with `synchronous=NORMAL`, which loses acknowledged writes when the power fails.
    #[cfg(feature = "planted-faults")]
    pub unflushed: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            readers: const { NonZeroUsize::new(4).unwrap() },
            checkpoint_pages: 16_000,
            #[cfg(feature = "planted-faults")]
            unflushed: false,
        }
    }
}

/// Why a ledger can't be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The file can't be made or opened.
    #[error("{}: the registry's database can't be opened", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// Locks and shared memory don't hold on a network file system.
    #[error("{}: this is on a network file system ({kind}), where SQLite loses data; move the directory to a local disk", path.display())]
    Network {
        /// The file.
        path: PathBuf,
        /// The file system.
        kind: &'static str,
    },
    /// Another program's database, or none.
    #[error("{}: this is not a registry of Imprint", path.display())]
    NotOurs {
        /// The file.
        path: PathBuf,
    },
    /// Made by a newer Imprint.
    #[error("{}: its schema has version {found}, this Imprint knows {known}; run the newer Imprint, or restore a backup from before the update", path.display())]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its version.
        found: u32,
        /// The last version known here.
        known: u32,
    },
    /// A setting on which durability rests does not hold.
    #[error("{}: {setting} is {found}, not {wanted}: acknowledged writes could be lost", path.display())]
    NotDurable {
        /// The file.
        path: PathBuf,
        /// The pragma.
        setting: &'static str,
        /// What it reads back as.
        found: String,
        /// What it has to be.
        wanted: &'static str,
    },
    /// SQLite says no.
    #[error("{}: {reason}", path.display())]
    Sqlite {
        /// The file.
        path: PathBuf,
        /// In its own words.
        reason: String,
    },
}

pub(crate) fn open(path: &Path, options: &Options) -> Result<Sqlite, OpenError> {
    let failed = |fault: Fault| OpenError::Sqlite {
        path: path.to_owned(),
        reason: fault.reason().to_owned(),
    };
    // 1. A file that is ours to write and nobody else's to read, on a disk of this machine.
    let io_failed = |source| OpenError::Io {
        path: path.to_owned(),
        source,
    };
    drop(
        OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(path)
            .map_err(io_failed)?,
    );
    refuse_network(path).map_err(io_failed)??;

    // 2. A connection whose answers are durable.
    let mut db = Connection::open_with_flags(
        writers_uri(path).map_err(io_failed)?,
        OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_URI | FLAGS,
    )
    .map_err(|error| failed(error.into()))?;
    is_ours(&db, path)?;
    prepare_writer(&db, options).map_err(failed)?;
    assert_durable(&db, path, options)?;

    // 3. The schema of today; then the directory, so that the file itself survives a power cut.
    migrate(&mut db, path)?;
    File::open(directory(path))
        .and_then(|dir| dir.sync_all())
        .map_err(io_failed)?;
    let epoch = epoch(&db, path)?;

    // 4. Readers, then the writer's thread.
    let reader = || reader(path).map_err(failed);
    let inline = (0..options.readers.get())
        .map(|_| reader())
        .collect::<Result<_, _>>()?;
    let readers = Arc::new(Readers::new(inline, reader()?));
    let writer = Writer::start(db, options.checkpoint_pages).map_err(failed)?;
    Ok(Sqlite {
        writer,
        readers,
        epoch,
    })
}

/// `psow=0`: don't rely on a disk that leaves the rest of a sector alone when the power fails while it
/// writes a part of it. Each commit then fills its last sector of the write-ahead log, so that the
/// next one can't harm it: one page more for each group.
fn writers_uri(path: &Path) -> io::Result<String> {
    let path = std::path::absolute(path)?;
    let octets = path.as_os_str().as_bytes().iter();
    let escaped: Vec<String> = octets
        .map(|&octet| match octet {
            b'/' | b'-' | b'.' | b'_' => char::from(octet).to_string(),
            _ if octet.is_ascii_alphanumeric() => char::from(octet).to_string(),
            _ => format!("%{octet:02x}"),
        })
        .collect();
    Ok(format!("file://{}?psow=0", escaped.concat()))
}

fn prepare_writer(db: &Connection, options: &Options) -> Result<(), Fault> {
    keep_plans(db)?;
    db.busy_timeout(BUSY)?;
    db.execute_batch(
        "PRAGMA journal_mode = WAL;
         PRAGMA synchronous = FULL;
         PRAGMA fullfsync = ON;
         PRAGMA checkpoint_fullfsync = ON;
         PRAGMA foreign_keys = ON;
         PRAGMA trusted_schema = OFF;
         PRAGMA temp_store = MEMORY;
         PRAGMA cache_size = -262144;",
    )?;
    #[cfg(feature = "planted-faults")]
    if options.unflushed {
        db.execute_batch("PRAGMA synchronous = NORMAL;")?;
    }
    let _ = options;
    Ok(())
}

/// A statement is planned once. Without the stability guarantee this build of SQLite plans it anew
/// whenever a bound value changes (STAT4), which took a sixth of the server's CPU.
fn keep_plans(db: &Connection) -> rusqlite::Result<()> {
    db.set_prepared_statement_cache_capacity(STATEMENTS);
    db.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    Ok(())
}

/// Reads back what durability rests on: a pragma that SQLite does not take is not an error to it.
fn assert_durable(db: &Connection, path: &Path, options: &Options) -> Result<(), OpenError> {
    #[cfg(feature = "planted-faults")]
    if options.unflushed {
        return Ok(());
    }
    let _ = options;
    for (setting, wanted) in [
        ("journal_mode", "wal"),
        ("synchronous", "2"),
        ("foreign_keys", "1"),
    ] {
        let found: String = db
            .query_row(
                &format!("SELECT CAST({setting} AS TEXT) FROM pragma_{setting}"),
                [],
                |row| row.get(0),
            )
            .map_err(|error| OpenError::Sqlite {
                path: path.to_owned(),
                reason: error.to_string(),
            })?;
        if found != wanted {
            return Err(OpenError::NotDurable {
                path: path.to_owned(),
                setting,
                found,
                wanted,
            });
        }
    }
    Ok(())
}

/// A small cache: every write that is committed empties it, and emptying costs by its size. The
/// system's page cache stands behind it.
fn reader(path: &Path) -> Result<Connection, Fault> {
    let db = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY | FLAGS)?;
    keep_plans(&db)?;
    db.busy_timeout(BUSY)?;
    db.execute_batch("PRAGMA trusted_schema = OFF; PRAGMA cache_size = -2048;")?;
    Ok(db)
}

/// An empty file becomes ours; anything else has to carry our mark.
fn is_ours(db: &Connection, path: &Path) -> Result<(), OpenError> {
    let not_ours = |_| OpenError::NotOurs {
        path: path.to_owned(),
    };
    let mark: i64 = db
        .query_row("PRAGMA application_id", [], |row| row.get(0))
        .map_err(not_ours)?;
    let objects: i64 = db
        .query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))
        .map_err(not_ours)?;
    match (mark, objects) {
        (APPLICATION_ID, _) | (0, 0) => Ok(()),
        _ => Err(OpenError::NotOurs {
            path: path.to_owned(),
        }),
    }
}

/// Forward only, one transaction a step.
fn migrate(db: &mut Connection, path: &Path) -> Result<(), OpenError> {
    let failed = |error: rusqlite::Error| OpenError::Sqlite {
        path: path.to_owned(),
        reason: error.to_string(),
    };
    let known = u32::try_from(MIGRATIONS.len()).unwrap_or(u32::MAX);
    let found: u32 = db
        .query_row("PRAGMA user_version", [], |row| row.get(0))
        .map_err(failed)?;
    if found > known {
        return Err(OpenError::Newer {
            path: path.to_owned(),
            found,
            known,
        });
    }
    for (version, step) in (1..=known).zip(MIGRATIONS).skip(found as usize) {
        let change = db
            .transaction_with_behavior(TransactionBehavior::Immediate)
            .map_err(failed)?;
        change.execute_batch(step).map_err(failed)?;
        change
            .pragma_update(None, "application_id", APPLICATION_ID)
            .map_err(failed)?;
        change
            .pragma_update(None, "user_version", version)
            .map_err(failed)?;
        change.commit().map_err(failed)?;
    }
    Ok(())
}

fn epoch(db: &Connection, path: &Path) -> Result<u8, OpenError> {
    let reason = "the restore epoch is not in 1..=127".to_owned();
    db.query_row("SELECT value FROM meta WHERE name = 'epoch'", [], |row| {
        row.get(0)
    })
    .ok()
    .filter(|epoch| (1..=127).contains(epoch))
    .ok_or(OpenError::Sqlite {
        path: path.to_owned(),
        reason,
    })
}

/// Names the network file system that `path` is on, if it is on one.
#[cfg(target_os = "linux")]
fn refuse_network(path: &Path) -> io::Result<Result<(), OpenError>> {
    Ok(match network(rustix::fs::statfs(path)?.f_type) {
        Some(kind) => Err(OpenError::Network {
            path: path.to_owned(),
            kind,
        }),
        None => Ok(()),
    })
}

#[cfg(target_os = "linux")]
fn network(magic: i64) -> Option<&'static str> {
    let known = NETWORK
        .iter()
        .find(|(number, _)| i64::from(*number) == magic);
    known.map(|(_, kind)| *kind)
}

#[cfg(not(target_os = "linux"))]
fn refuse_network(_: &Path) -> io::Result<Result<(), OpenError>> {
    Ok(Ok(()))
}

fn directory(path: &Path) -> &Path {
    path.parent()
        .filter(|dir| !dir.as_os_str().is_empty())
        .unwrap_or(Path::new("."))
}

/// statfs(2).
#[cfg(target_os = "linux")]
const NETWORK: [(u32, &str); 6] = [
    (0x6969, "NFS"),
    (0x517b, "SMB"),
    (0xff53_4d42, "CIFS"),
    (0xfe53_4d42, "SMB2"),
    (0x5346_414f, "AFS"),
    (0x00c3_6400, "Ceph"),
];

/// Statements are prepared once a connection.
const STATEMENTS: usize = 256;
/// Only ever waited for when two processes hold one file, or a checkpoint meets a reader.
const BUSY: std::time::Duration = std::time::Duration::from_secs(5);
const FLAGS: OpenFlags = OpenFlags::SQLITE_OPEN_NO_MUTEX;
/// "IMPR".
const APPLICATION_ID: i64 = 0x494d_5052;
/// Forward only; a step that has been released never changes.
const MIGRATIONS: [&str; 11] = [
    include_str!("../migrations/0001.sql"),
    include_str!("../migrations/0002.sql"),
    include_str!("../migrations/0003.sql"),
    include_str!("../migrations/0004.sql"),
    include_str!("../migrations/0005.sql"),
    include_str!("../migrations/0006.sql"),
    include_str!("../migrations/0007.sql"),
    include_str!("../migrations/0008.sql"),
    include_str!("../migrations/0009.sql"),
    include_str!("../migrations/0010.sql"),
    include_str!("../migrations/0011.sql"),
];

#[cfg(test)]
mod tests;
