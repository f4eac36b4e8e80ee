//! Files that are whole or absent after a power cut, and private from the first byte on.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

/// Writes `content` to `path`: temporary file beside it, mode, content, fsync, rename, fsync of the
/// directory. After a power cut at any instant there is the old content or the new one.
pub(crate) fn write(path: &Path, content: &[u8], mode: Mode) -> Result<(), FileError> {
    let failed = |doing| move |source| FileError::new(doing, path, source);
    let (folder, fresh) = (parent(path), beside(path));
    // A leftover of a cut may have another mode or be somebody's link: never written through.
    remove(&fresh)?;
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode as u32)
        .open(&fresh)
        .map_err(failed("make"))?;
    file.write_all(content).map_err(failed("write"))?;
    file.sync_all().map_err(failed("sync"))?;
    fs::rename(&fresh, path).map_err(failed("replace"))?;
    sync_folder(folder)
}

/// Who may read a file.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Mode {
    /// Its owner: keys and tokens.
    Private = 0o600,
    /// Everybody: certificates.
    Public = 0o644,
}

/// The content of `path`; `None` when there is no such file.
pub(crate) fn read(path: &Path) -> Result<Option<Vec<u8>>, FileError> {
    let Some(file) = open(path)? else {
        return Ok(None);
    };
    let mut content = Vec::new();
    limited(file, path, &mut content)?;
    Ok(Some(content))
}

/// The same for a secret. Refused when anybody but the owner can read or write the file: who could
/// have copied a key may be the device.
pub(crate) fn read_private(path: &Path) -> Result<Option<Zeroizing<Vec<u8>>>, FileError> {
    let Some(file) = open(path)? else {
        return Ok(None);
    };
    let mode = file
        .metadata()
        .map_err(|e| FileError::new("look at", path, e))?
        .mode()
        & 0o777;
    if mode & 0o077 != 0 {
        return Err(FileError::ReadableByOthers {
            path: path.to_owned(),
            mode,
        });
    }
    let mut content = Zeroizing::new(Vec::new());
    limited(file, path, &mut content)?;
    Ok(Some(content))
}

/// Removes a file that may be absent, durably.
pub(crate) fn remove(path: &Path) -> Result<(), FileError> {
    match fs::remove_file(path) {
        Ok(()) => sync_folder(parent(path)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(FileError::new("remove", path, error)),
    }
}

/// Removes what [`write`] has begun in a folder and never ended, durably. The folder may be absent.
pub(crate) fn remove_leftovers(folder: &Path) -> Result<(), FileError> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(FileError::new("read", folder, error)),
    };
    for entry in entries {
        let path = entry
            .map_err(|error| FileError::new("read", folder, error))?
            .path();
        if path.extension().is_some_and(|ending| ending == BEGUN) {
            remove(&path)?;
        }
    }
    Ok(())
}

/// Makes a folder that only its owner may enter, and those above it.
pub(crate) fn make_folder(path: &Path) -> Result<(), FileError> {
    if path.is_dir() {
        return Ok(());
    }
    let made = DirBuilder::new().recursive(true).mode(0o700).create(path);
    made.map_err(|error| FileError::new("make", path, error))?;
    sync_folder(parent(path))
}

/// Makes the names in a folder durable.
pub(crate) fn sync_folder(path: &Path) -> Result<(), FileError> {
    let synced = File::open(path).and_then(|folder| folder.sync_all());
    synced.map_err(|error| FileError::new("sync", path, error))
}

fn open(path: &Path) -> Result<Option<File>, FileError> {
    match File::open(path) {
        Ok(file) => Ok(Some(file)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(FileError::new("open", path, error)),
    }
}

fn limited(file: File, path: &Path, content: &mut Vec<u8>) -> Result<(), FileError> {
    let read = file.take(LONGEST + 1).read_to_end(content);
    let length = read.map_err(|error| FileError::new("read", path, error))?;
    if length as u64 > LONGEST {
        return Err(FileError::new(
            "read",
            path,
            io::ErrorKind::FileTooLarge.into(),
        ));
    }
    Ok(())
}

fn parent(path: &Path) -> &Path {
    path.parent()
        .filter(|parent| !parent.as_os_str().is_empty())
        .unwrap_or(Path::new("."))
}

fn beside(path: &Path) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".");
    name.push(BEGUN);
    path.with_file_name(name)
}

/// How the name of a file ends that is being written.
const BEGUN: &str = "new";

/// What a file of ours can have at most: a chain of certificates has some KiB.
const LONGEST: u64 = 1 << 20;

/// A file that can't be used, and why.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FileError {
    /// The operating system said no.
    #[error("can't {doing} {}", path.display())]
    Io {
        /// What was tried.
        doing: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A secret that others could have read.
    #[error("{} can be read by others (mode {mode:03o}); a secret must have mode 600", path.display())]
    ReadableByOthers {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
}

impl FileError {
    pub(crate) fn new(doing: &'static str, path: &Path, source: io::Error) -> Self {
        Self::Io {
            doing,
            path: path.to_owned(),
            source,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{PermissionsExt, symlink};

    #[test]
    fn a_file_is_replaced_whole_with_its_mode() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("token");
        for (content, mode, want) in [
            (&b"one"[..], Mode::Public, 0o644),
            (b"two", Mode::Private, 0o600),
        ] {
            write(&path, content, mode).unwrap();
            assert_eq!(read(&path).unwrap().as_deref(), Some(content));
            assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, want);
        }
        assert_eq!(
            fs::read_dir(dir.path()).unwrap().count(),
            1,
            "no temporary file stays"
        );
    }

    #[test]
    fn the_leftover_of_a_cut_is_no_obstacle_and_is_not_followed() {
        let dir = tempfile::tempdir().unwrap();
        let (path, elsewhere) = (dir.path().join("key"), dir.path().join("elsewhere"));
        fs::write(&elsewhere, "keep").unwrap();
        symlink(&elsewhere, beside(&path)).unwrap();
        write(&path, b"secret", Mode::Private).unwrap();
        assert_eq!(fs::read(&elsewhere).unwrap(), b"keep");
        assert_eq!(fs::read(&path).unwrap(), b"secret");
    }

    #[test]
    fn a_secret_that_others_can_read_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key");
        write(&path, b"secret", Mode::Private).unwrap();
        assert_eq!(read_private(&path).unwrap().unwrap().as_slice(), b"secret");
        for mode in [0o640, 0o604, 0o620, 0o601] {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            let error = read_private(&path).unwrap_err();
            assert!(matches!(error, FileError::ReadableByOthers { mode: m, .. } if m == mode));
        }
    }

    #[test]
    fn what_is_absent_is_none_and_removing_it_twice_is_sound() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x");
        assert!(read(&path).unwrap().is_none() && read_private(&path).unwrap().is_none());
        write(&path, b"x", Mode::Public).unwrap();
        remove(&path).unwrap();
        remove(&path).unwrap();
        assert!(read(&path).unwrap().is_none());
    }

    #[test]
    fn a_file_without_end_is_not_read() {
        let error = read(Path::new("/dev/zero")).unwrap_err();
        assert!(error.to_string().contains("/dev/zero"), "{error}");
    }
}
