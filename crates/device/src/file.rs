//! The journal in two files, for devices that run Linux.
//!
//! `journal.a` and `journal.b` take turns. Each is replaced as a whole: a temporary file is written
//! and synced, renamed over the older of the two, and the directory is synced. The newer file is
//! never touched, so it survives even a file system that tears a rename.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::path::PathBuf;
use std::vec::Vec;

use crate::image;
use crate::journal::{Half, Journal, Kept};
use crate::record::Record;

/// The file operations that the journal is made of; [`Directory`] is the real one, and the
/// power-cut tests have one that forgets what was not synced.
pub trait Files {
    /// The content of a file, `None` if there is none.
    fn read(&mut self, name: &str) -> io::Result<Option<Vec<u8>>>;
    /// Creates or truncates a file and writes `bytes` to it. Not durable yet.
    fn write(&mut self, name: &str, bytes: &[u8]) -> io::Result<()>;
    /// Makes a file's content durable.
    fn sync(&mut self, name: &str) -> io::Result<()>;
    /// Renames a file over another. Not durable yet.
    fn rename(&mut self, from: &str, to: &str) -> io::Result<()>;
    /// Makes the names in the directory durable.
    fn sync_names(&mut self) -> io::Result<()>;
}

/// A directory of a real file system.
#[derive(Debug, Clone)]
pub struct Directory(PathBuf);

impl Directory {
    /// The directory at `path`, which must exist.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self(path.into())
    }
}

impl Files for Directory {
    fn read(&mut self, name: &str) -> io::Result<Option<Vec<u8>>> {
        let mut file = match File::open(self.0.join(name)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            file => file?,
        };
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        Ok(Some(bytes))
    }

    fn write(&mut self, name: &str, bytes: &[u8]) -> io::Result<()> {
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        options.open(self.0.join(name))?.write_all(bytes)
    }

    fn sync(&mut self, name: &str) -> io::Result<()> {
        OpenOptions::new()
            .write(true)
            .open(self.0.join(name))?
            .sync_all()
    }

    fn rename(&mut self, from: &str, to: &str) -> io::Result<()> {
        std::fs::rename(self.0.join(from), self.0.join(to))
    }

    fn sync_names(&mut self) -> io::Result<()> {
        File::open(&self.0)?.sync_all()
    }
}

/// The journal in two files of a directory.
#[derive(Debug)]
pub struct FileJournal<F = Directory> {
    files: F,
    kept: Option<Kept>,
    loaded: bool,
}

impl FileJournal<Directory> {
    /// The journal in the directory at `path`, which must exist; nothing is read yet.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self::on(Directory::new(path))
    }
}

impl<F: Files> FileJournal<F> {
    /// The journal in `files`; nothing is read yet.
    pub fn on(files: F) -> Self {
        Self {
            files,
            kept: None,
            loaded: false,
        }
    }

    fn copy(&mut self, half: Half) -> io::Result<Option<Kept>> {
        let bytes = self.files.read(name(half))?;
        let copy = bytes.as_deref().and_then(image::parse);
        Ok(copy.map(|(sequence, record)| Kept {
            half,
            sequence,
            record,
        }))
    }
}

impl<F: Files> Journal for FileJournal<F> {
    type Error = io::Error;

    fn load(&mut self) -> io::Result<Option<Record>> {
        self.kept = Kept::newest(self.copy(Half::A)?, self.copy(Half::B)?);
        self.loaded = true;
        Ok(self.kept.as_ref().map(|kept| kept.record.clone()))
    }

    fn save(&mut self, record: &Record) -> io::Result<()> {
        if !self.loaded {
            self.load()?;
        }
        let Some(next) = Kept::after(self.kept.as_ref(), record) else {
            return Ok(());
        };
        self.files
            .write(TEMPORARY, &image::encode(next.sequence, record))?;
        self.files.sync(TEMPORARY)?;
        self.files.rename(TEMPORARY, name(next.half))?;
        self.files.sync_names()?;
        self.kept = Some(next);
        Ok(())
    }
}

const fn name(half: Half) -> &'static str {
    match half {
        Half::A => "journal.a",
        Half::B => "journal.b",
    }
}

const TEMPORARY: &str = "journal.new";
