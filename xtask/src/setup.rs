//! Installs what the tests need, and says so first.
//!
//! Debian packages need root, or `sudo` without a password; the Python tools go to
//! `target/tools/python`, those for Node.js to `target/tools/node`, and need neither. A tool that stays missing is skipped, or fails in CI.

use std::fs;
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::shell::{Workshop, run as run_command, succeeds};
use crate::tools::{AWS_NODE, AWS_PYTHON, AZURE_NODE, AZURE_PYTHON, DEBIAN, DEEP, PKILINT, Tool};

/// `cargo xtask setup`, and the first step of `cargo xtask test`.
pub(crate) fn run(workshop: &Workshop, deep: bool) -> Result<()> {
    let packaged: Vec<&Tool> = DEBIAN.iter().chain(DEEP.iter().filter(|_| deep)).collect();
    debian(workshop, &packaged);
    python(workshop)?;
    node(workshop)?;
    let ours = [&PKILINT, &AWS_PYTHON, &AWS_NODE, &AZURE_PYTHON, &AZURE_NODE];
    let tools = packaged.into_iter().chain(ours);
    let missing: Vec<&Tool> = tools.filter(|tool| !tool.is_present(workshop)).collect();
    if missing.is_empty() {
        println!("setup: every tool is there");
    }
    if workshop.strict && !missing.is_empty() {
        let names: Vec<&str> = missing.iter().map(|tool| tool.name).collect();
        let names = names.join(", ");
        bail!("not installed: {names}; CI and IMPRINT_REQUIRE_TOOLS allow no skipping");
    }
    for tool in missing {
        workshop.skip(tool.checks, &format!("{} is not installed", tool.name))?;
    }
    Ok(())
}

fn debian(workshop: &Workshop, tools: &[&Tool]) {
    let missing = tools.iter().filter(|tool| !tool.is_present(workshop));
    let missing: Vec<&&Tool> = missing.collect();
    if missing.is_empty() {
        return;
    }
    let packages: Vec<&str> = missing
        .iter()
        .flat_map(|tool| tool.packages)
        .copied()
        .collect();
    let by_hand = format!("apt-get install {}", packages.join(" "));
    let Some(privilege) = Privilege::of(workshop) else {
        println!("setup: not root, and no sudo without a password; by hand it is `{by_hand}`");
        return;
    };
    println!("setup: installing Debian packages: {}", packages.join(" "));
    // Package lists older than the archive name files that it has no more.
    let updated = run_command(privilege.apt(workshop).args(["-q", "update"]));
    let installed = updated.and_then(|()| {
        let mut install = privilege.apt(workshop);
        run_command(
            install
                .args(["-qy", "--no-install-recommends", "install"])
                .args(packages),
        )
    });
    // Offline is no reason not to run the tests that need nothing; `run` names what is missing.
    if let Err(error) = installed {
        println!("setup: {error:#}; by hand it is `{by_hand}`");
    }
}

/// How we may install packages.
#[derive(Clone, Copy)]
enum Privilege {
    Root,
    Sudo,
}

impl Privilege {
    fn of(workshop: &Workshop) -> Option<Self> {
        workshop.which("apt-get")?;
        if succeeds(workshop.command("sh").args(["-c", "test \"$(id -u)\" = 0"])) {
            return Some(Self::Root);
        }
        succeeds(workshop.command("sudo").args(["-n", "true"])).then_some(Self::Sudo)
    }

    fn apt(self, workshop: &Workshop) -> Command {
        let mut command = match self {
            Self::Root => workshop.command("env"),
            Self::Sudo => {
                let mut sudo = workshop.command("sudo");
                sudo.args(["-n", "env"]);
                sudo
            }
        };
        command.args(["DEBIAN_FRONTEND=noninteractive", "apt-get"]);
        command.args(["-o", "Acquire::Retries=3", "-o", "DPkg::Lock::Timeout=120"]);
        command
    }
}

/// Makes the Python environment again whenever its list of packages has changed.
fn python(workshop: &Workshop) -> Result<()> {
    let list = workshop.root.join("conformance/requirements.txt");
    let wanted = fs::read(&list).with_context(|| format!("cannot read {}", list.display()))?;
    let environment = workshop.tools().join("python");
    let stamp = environment.join("installed.txt");
    if fs::read(&stamp).is_ok_and(|installed| installed == wanted) {
        return Ok(());
    }
    println!(
        "setup: installing conformance/requirements.txt into {}",
        environment.display()
    );
    let made = run_command(
        workshop
            .command("python3")
            .args(["-m", "venv", "--clear"])
            .arg(&environment),
    );
    let installed = made.and_then(|()| {
        let mut pip = workshop.command("python3");
        let quiet = [
            "-m",
            "pip",
            "--disable-pip-version-check",
            "-q",
            "install",
            "-r",
        ];
        run_command(pip.args(quiet).arg(&list))
    });
    match installed {
        Ok(()) => fs::write(&stamp, wanted).context("cannot note what is installed"),
        Err(error) => {
            println!("setup: {error:#}");
            Ok(())
        }
    }
}

/// Installs the packages for Node.js again whenever their list has changed. None of their scripts is
/// run: the SDK brings what it needs, compiled.
fn node(workshop: &Workshop) -> Result<()> {
    let list = workshop.root.join("conformance/package.json");
    let wanted = fs::read(&list).with_context(|| format!("cannot read {}", list.display()))?;
    let folder = workshop.tools().join("node");
    let (copy, stamp) = (folder.join("package.json"), folder.join("installed.json"));
    if fs::read(&stamp).is_ok_and(|installed| installed == wanted) {
        return Ok(());
    }
    println!(
        "setup: installing conformance/package.json into {}",
        folder.display()
    );
    fs::create_dir_all(&folder)?;
    fs::write(&copy, &wanted)?;
    let mut npm = workshop.command("npm");
    npm.current_dir(&folder);
    let quiet = ["--ignore-scripts", "--no-audit", "--no-fund", "--silent"];
    match run_command(npm.arg("install").args(quiet)) {
        Ok(()) => fs::write(&stamp, wanted).context("cannot note what is installed"),
        Err(error) => {
            println!("setup: {error:#}");
            Ok(())
        }
    }
}
