//! Where we are, how a command is run, and what had to be skipped.

use std::cell::RefCell;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

/// The checkout, and what this run has skipped so far.
pub(crate) struct Workshop {
    /// The root of the repository.
    pub(crate) root: PathBuf,
    /// Nothing may be skipped: what cannot run, fails. Set in CI.
    pub(crate) strict: bool,
    skipped: RefCell<Vec<String>>,
}

impl Workshop {
    /// The checkout that this program was built from.
    #[expect(
        clippy::disallowed_methods,
        reason = "the workshop reads its own environment"
    )]
    pub(crate) fn here() -> Result<Self> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"))
            .parent()
            .context("xtask lies in the root of the repository")?
            .to_path_buf();
        let set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
        Ok(Self {
            root,
            strict: set("CI") || set("IMPRINT_REQUIRE_TOOLS"),
            skipped: RefCell::default(),
        })
    }

    /// A command that runs at the root, and finds the tools that `setup` made before all others.
    pub(crate) fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.current_dir(&self.root).env("PATH", self.path());
        command.env("NODE_PATH", self.tools().join("node/node_modules"));
        if self.strict {
            command.env("IMPRINT_REQUIRE_TOOLS", "1");
        }
        command
    }

    /// `cargo`, of the toolchain that runs us.
    pub(crate) fn cargo(&self) -> Command {
        self.command("cargo")
    }

    /// The folder of all that this workshop makes for itself.
    pub(crate) fn tools(&self) -> PathBuf {
        self.target().join("tools")
    }

    /// Cargo's target directory.
    #[expect(
        clippy::disallowed_methods,
        reason = "the workshop reads its own environment"
    )]
    pub(crate) fn target(&self) -> PathBuf {
        std::env::var_os("CARGO_TARGET_DIR")
            .map_or_else(|| self.root.join("target"), |set| self.root.join(set))
    }

    /// Where a program is found, if it is.
    pub(crate) fn which(&self, program: &str) -> Option<PathBuf> {
        std::env::split_paths(&self.path())
            .map(|folder| folder.join(program))
            .find(|candidate| candidate.is_file())
    }

    /// Records what did not run, and why. In a strict run that is an error instead.
    pub(crate) fn skip(&self, what: &str, why: &str) -> Result<()> {
        if self.strict {
            bail!("{what} cannot run: {why} (CI and IMPRINT_REQUIRE_TOOLS allow no skipping)");
        }
        println!("SKIPPED {what}: {why}");
        self.skipped.borrow_mut().push(format!("{what}: {why}"));
        Ok(())
    }

    /// Prints what did not run, the last thing that a person sees.
    pub(crate) fn report_skipped(&self) {
        let skipped = self.skipped.borrow();
        if skipped.is_empty() {
            return;
        }
        println!("Skipped, so not known to work:");
        for line in skipped.iter() {
            println!("  - {line}");
        }
    }

    /// Whether anything did not run.
    pub(crate) fn has_skipped(&self) -> bool {
        !self.skipped.borrow().is_empty()
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "the workshop reads its own environment"
    )]
    fn path(&self) -> OsString {
        let ours = [self.tools().join("bin"), self.tools().join("python/bin")];
        let theirs = std::env::var_os("PATH").unwrap_or_default();
        let all = ours.into_iter().chain(std::env::split_paths(&theirs));
        std::env::join_paths(all).unwrap_or(theirs)
    }
}

/// Prints the command as one would type it, runs it, and fails if it does.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let line = typed(command);
    println!("$ {line}");
    let status = command
        .status()
        .with_context(|| format!("cannot start `{line}`"))?;
    if !status.success() {
        bail!("`{line}` ended with {status}");
    }
    Ok(())
}

/// Runs a command quietly and returns what it printed on stdout.
pub(crate) fn output(command: &mut Command) -> Result<String> {
    let line = typed(command);
    let output = command
        .stderr(Stdio::inherit())
        .output()
        .with_context(|| format!("cannot start `{line}`"))?;
    if !output.status.success() {
        bail!("`{line}` ended with {}", output.status);
    }
    String::from_utf8(output.stdout).with_context(|| format!("`{line}` printed no UTF-8"))
}

/// Whether a command can be run and succeeds; it prints nothing.
pub(crate) fn succeeds(command: &mut Command) -> bool {
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

fn typed(command: &Command) -> String {
    let program = Path::new(command.get_program());
    let name = match program.file_name() {
        Some(name) if program.is_absolute() => name,
        _ => program.as_os_str(),
    };
    std::iter::once(name)
        .chain(command.get_args())
        .map(|word| word.to_string_lossy())
        .collect::<Vec<_>>()
        .join(" ")
}
