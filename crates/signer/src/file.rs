//! Files that are whole or not there, and for nobody else's eyes.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use crate::error::KeyError;

/// Makes a directory that only its owner can enter. One that exists and is empty will do.
pub(crate) fn make_directory(dir: &Path) -> Result<(), KeyError> {
    match DirBuilder::new().mode(0o700).create(dir) {
        Ok(()) => match dir.parent().filter(|parent| !parent.as_os_str().is_empty()) {
            Some(parent) => sync_directory(parent),
            None => sync_directory(Path::new(".")),
        },
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            let mut entries = fs::read_dir(dir).map_err(failed(dir, "read"))?;
            match entries.next() {
                None => check_mode(dir, 0o700),
                Some(_) => Err(KeyError::Exists {
                    path: dir.to_owned(),
                }),
            }
        }
        Err(error) => Err(failed(dir, "make")(error)),
    }
}

/// Writes a new file, mode 0600: temporary file, flush, rename, flush of the directory. After a
/// power cut it is there whole, or not at all.
pub(crate) fn write_new(path: &Path, contents: &[u8]) -> Result<(), KeyError> {
    if path.exists() {
        return Err(KeyError::Exists {
            path: path.to_owned(),
        });
    }
    let temporary = temporary_name(path);
    // What a run that was cut short has left behind; nobody reads it.
    match fs::remove_file(&temporary) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(failed(&temporary, "remove")(error));
        }
        _ => {}
    }
    let written = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&temporary)
        .and_then(|mut file| file.write_all(contents).and_then(|()| file.sync_all()));
    written.map_err(failed(&temporary, "write"))?;
    fs::rename(&temporary, path).map_err(failed(path, "rename to"))?;
    sync_directory(path.parent().unwrap_or(Path::new(".")))
}

/// Reads a file of at most [`MOST_OCTETS`] that nobody else may read.
pub(crate) fn read_secret(path: &Path) -> Result<Zeroizing<Vec<u8>>, KeyError> {
    let file = File::open(path).map_err(failed(path, "open"))?;
    // The open file's own mode: nothing can be swapped between the look and the read.
    let metadata = file.metadata().map_err(failed(path, "look at"))?;
    refuse_open_mode(path, metadata.permissions().mode(), 0o600)?;
    let mut contents = Zeroizing::new(Vec::with_capacity(4096));
    file.take(MOST_OCTETS)
        .read_to_end(&mut contents)
        .map_err(failed(path, "read"))?;
    Ok(contents)
}

/// Refuses a directory that others may enter or change.
pub(crate) fn check_mode(path: &Path, wanted: u32) -> Result<(), KeyError> {
    let metadata = fs::metadata(path).map_err(failed(path, "look at"))?;
    refuse_open_mode(path, metadata.permissions().mode(), wanted)
}

fn refuse_open_mode(path: &Path, mode: u32, wanted: u32) -> Result<(), KeyError> {
    let mode = mode & 0o777;
    if mode & GROUP_AND_OTHERS == 0 {
        return Ok(());
    }
    Err(KeyError::Open {
        path: path.to_owned(),
        mode,
        wanted,
    })
}

fn sync_directory(dir: &Path) -> Result<(), KeyError> {
    File::open(dir)
        .and_then(|dir| dir.sync_all())
        .map_err(failed(dir, "flush"))
}

fn temporary_name(path: &Path) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".new");
    path.with_file_name(name)
}

pub(crate) fn failed(path: &Path, act: &'static str) -> impl Fn(io::Error) -> KeyError {
    let path = path.to_owned();
    move |source| KeyError::Io {
        path: path.clone(),
        act,
        source,
    }
}

const GROUP_AND_OTHERS: u32 = 0o077;

/// Key files have about 300 octets.
const MOST_OCTETS: u64 = 65_536;
