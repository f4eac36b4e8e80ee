//! The server's directory: what lies where, who may read it, and who holds it.
//!
//! ```text
//! imprint.toml        settings
//! imprint.lock        held by whoever has the ledger open: one writer, never two
//! admin.token         the token that opens the admin API           (0600)
//! ledger.db           the database
//! keys/               sealed keys, and seal.key that unseals them  (0700)
//! ca/root.pem         what devices trust
//! ca/issuing.pem      what signs their certificates
//! ca/NAME.pem         another one, for products that name it
//! tls/server.pem      the server's own certificate, and what is above it
//! tls/server.key      its key, sealed
//! run/admin           while a server runs: the address of its admin listener
//! ```

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{ErrorKind, Read as _, Seek as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};

/// A directory that `imprint init` made.
#[derive(Debug, Clone)]
pub(crate) struct Directory {
    root: PathBuf,
}

impl Directory {
    /// The directory, as it will be or is.
    pub(crate) fn new(root: &Path) -> Self {
        Self {
            root: root.to_owned(),
        }
    }

    /// A directory that is there.
    pub(crate) fn existing(root: &Path) -> anyhow::Result<Self> {
        let directory = Self::new(root);
        if !directory.settings().is_file() {
            bail!(crate::problem::Problem::new(
                "directory-missing",
                format!("There is no Imprint directory at {}.", root.display()),
                "Make one with `imprint init`, or name another with --dir or IMPRINT_DIR.",
            ));
        }
        Ok(directory)
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    pub(crate) fn settings(&self) -> PathBuf {
        self.root.join("imprint.toml")
    }

    pub(crate) fn admin_token(&self) -> PathBuf {
        self.root.join("admin.token")
    }

    pub(crate) fn ledger(&self) -> PathBuf {
        self.root.join("ledger.db")
    }

    pub(crate) fn keys(&self) -> PathBuf {
        self.root.join("keys")
    }

    pub(crate) fn root_certificate(&self) -> PathBuf {
        self.root.join("ca/root.pem")
    }

    pub(crate) fn issuing_certificate(&self) -> PathBuf {
        self.root.join("ca/issuing.pem")
    }

    /// The certificate of an issuing authority that was made later.
    pub(crate) fn authority(&self, name: &str) -> PathBuf {
        self.root.join(format!("ca/{name}.pem"))
    }

    /// The names of those, in order.
    pub(crate) fn more_authorities(&self) -> anyhow::Result<Vec<String>> {
        let folder = self.root.join("ca");
        let entries = fs::read_dir(&folder)
            .with_context(|| format!("{} can't be listed", folder.display()))?;
        let mut names = Vec::new();
        for entry in entries {
            let name = entry?.file_name();
            let name = name.to_str().and_then(|name| name.strip_suffix(".pem"));
            names.extend(
                name.filter(|name| !["root", "issuing"].contains(name))
                    .map(str::to_owned),
            );
        }
        names.sort();
        // Others lie there as well, such as roots for calls to the outside: only ours have a key.
        names.retain(|name| self.keys().join(format!("{name}.key")).exists());
        Ok(names)
    }

    pub(crate) fn server_chain(&self) -> PathBuf {
        self.root.join("tls/server.pem")
    }

    pub(crate) fn server_key(&self) -> PathBuf {
        self.root.join("tls/server.key")
    }

    pub(crate) fn run_admin(&self) -> PathBuf {
        self.root.join("run/admin")
    }

    /// The text of the admin token.
    pub(crate) fn read_admin_token(&self) -> anyhow::Result<String> {
        let path = self.admin_token();
        let text = fs::read_to_string(&path)
            .with_context(|| format!("the admin token {} can't be read", path.display()))?;
        Ok(text.trim().to_owned())
    }

    /// Where a running server's admin listener is. `None` while no server says so.
    pub(crate) fn read_run_admin(&self) -> Option<String> {
        let text = fs::read_to_string(self.run_admin()).ok()?;
        Some(text.trim().to_owned())
    }

    /// Takes the directory for this process, or answers that somebody else has it. What an earlier
    /// holder that was killed left behind is taken away: with the lock in hand it can't be true.
    pub(crate) fn try_lock(&self, what: &str) -> anyhow::Result<Option<Lock>> {
        let path = self.root.join("imprint.lock");
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&path)
            .with_context(|| format!("{} can't be opened", path.display()))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Ok(None),
            Err(TryLockError::Error(error)) => {
                return Err(error).with_context(|| format!("{} can't be locked", path.display()));
            }
        }
        remove_if_there(&self.run_admin())?;
        file.set_len(0)?;
        file.rewind()?;
        writeln!(file, "{what}, process {}", std::process::id())?;
        Ok(Some(Lock { _file: file }))
    }

    /// Who holds the directory, in words.
    pub(crate) fn holder(&self) -> String {
        let mut text = String::new();
        let read = File::open(self.root.join("imprint.lock"))
            .and_then(|file| file.take(200).read_to_string(&mut text));
        match (read, text.trim()) {
            (Ok(_), holder) if !holder.is_empty() => holder.to_owned(),
            _ => "another process".to_owned(),
        }
    }
}

/// Held as long as this lives; the operating system lets go of it even after `kill -9`.
#[derive(Debug)]
pub(crate) struct Lock {
    _file: File,
}

/// Writes a file that did not exist, for its owner's eyes, and waits until the disk has it.
pub(crate) fn write_new(path: &Path, contents: &[u8], mode: u32) -> anyhow::Result<()> {
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(path)
        .with_context(|| format!("{} can't be made", path.display()))?;
    file.write_all(contents)?;
    file.sync_all()?;
    Ok(())
}

/// Replaces a file as a whole: a reader, and a power cut, see the old one or the new one.
pub(crate) fn replace(path: &Path, contents: &[u8], mode: u32) -> anyhow::Result<()> {
    let next = path.with_extension("next");
    remove_if_there(&next)?;
    write_new(&next, contents, mode)?;
    fs::rename(&next, path).with_context(|| format!("{} can't be replaced", path.display()))?;
    sync_directory(path.parent().unwrap_or(Path::new(".")))
}

/// Waits until the disk has a directory's entries.
pub(crate) fn sync_directory(path: &Path) -> anyhow::Result<()> {
    File::open(path)
        .and_then(|directory| directory.sync_all())
        .with_context(|| format!("{} can't be written to disk", path.display()))
}

pub(crate) fn remove_if_there(path: &Path) -> anyhow::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(error).with_context(|| format!("{} can't be removed", path.display()))
        }
        _ => Ok(()),
    }
}
