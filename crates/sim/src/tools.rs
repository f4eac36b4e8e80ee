//! Other people's clients: curl and strongSwan's pki, unmodified.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::client::granted;
use crate::key::DeviceKey;

/// Whether these programs are here. If one is not, that is said loudly, and it is a failure where
/// `IMPRINT_REQUIRE_TOOLS` is set.
#[must_use]
pub fn have(programs: &[&str]) -> bool {
    let missing: Vec<_> = programs
        .iter()
        .filter(|program| !is_installed(program))
        .collect();
    if missing.is_empty() {
        return true;
    }
    let required = std::env::var_os("IMPRINT_REQUIRE_TOOLS").is_some();
    assert!(
        !required,
        "not installed, and IMPRINT_REQUIRE_TOOLS is set: {missing:?}"
    );
    println!("SKIPPED: not installed: {missing:?}");
    false
}

fn is_installed(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| folder.join(program).is_file())
}

/// The binary that users run: `IMPRINT` if it is set, else the one that cargo builds now, with the
/// profile of this test.
#[must_use]
pub fn imprint() -> PathBuf {
    if let Some(given) = std::env::var_os("IMPRINT") {
        return PathBuf::from(given);
    }
    let mut cargo = Command::new(env!("CARGO"));
    cargo
        .args(["build", "--quiet", "--package", "imprint"])
        .stdin(Stdio::null());
    let release = !cfg!(debug_assertions);
    if release {
        cargo.arg("--release");
    }
    let status = cargo.current_dir(env!("CARGO_MANIFEST_DIR")).status();
    assert!(
        status.expect("cargo runs").success(),
        "the binary does not build"
    );
    // This test is target/<profile>/deps/<name>, the binary target/<profile>/imprint.
    let own = std::env::current_exe().expect("this test has a path");
    let profile = own
        .ancestors()
        .nth(2)
        .expect("a test lies in target/<profile>/deps");
    profile.join("imprint")
}

/// How a program of somebody else asks for a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tool {
    /// `curl`, as the README shows it.
    Curl,
    /// `pki --est`.
    StrongSwan,
}

impl Tool {
    /// Asks once. `folder` is for its files and has `root.pem` and `issuing.pem` in it. The
    /// certificate, DER, or what the program said.
    pub async fn enroll(
        self,
        folder: &Path,
        to: SocketAddr,
        key: &DeviceKey,
        hardware: &str,
        token: &str,
    ) -> Result<Vec<u8>, String> {
        let folder = folder.to_owned();
        let (csr, user) = (key.csr_pem(hardware), format!("{hardware}:{token}"));
        let ask = move || match self {
            Self::Curl => curl(&folder, to, &csr, &user),
            Self::StrongSwan => strong_swan(&folder, to, &csr, &user),
        };
        tokio::task::spawn_blocking(ask)
            .await
            .expect("the program ends")
    }
}

fn curl(folder: &Path, to: SocketAddr, csr: &str, user: &str) -> Result<Vec<u8>, String> {
    fs::write(folder.join("curl.csr"), base64_of(csr)).expect("a file");
    let mut curl = Command::new("curl");
    curl.args([
        "--silent",
        "--show-error",
        "--max-time",
        "20",
        "--fail-with-body",
    ])
    .args(["--cacert", "root.pem", "--user", user])
    .args(["--header", "Content-Type: application/pkcs10"])
    .args(["--header", "Content-Transfer-Encoding: base64"])
    .args(["--data-binary", "@curl.csr"])
    .arg(format!(
        "https://localhost:{}/.well-known/est/simpleenroll",
        to.port()
    ));
    run(curl, folder).map(|body| granted(&body))
}

fn strong_swan(folder: &Path, to: SocketAddr, csr: &str, user: &str) -> Result<Vec<u8>, String> {
    fs::write(folder.join("swan.csr"), csr).expect("a file");
    let mut pki = Command::new("pki");
    pki.args([
        "--est",
        "--in",
        "swan.csr",
        "--userpass",
        user,
        "--outform",
        "der",
    ])
    .args([
        "--cacert",
        "root.pem",
        "--cacert",
        "issuing.pem",
        "--maxpolltime",
        "1",
    ])
    .args(["--url", &format!("https://localhost:{}", to.port())]);
    run(pki, folder)
}

/// The base64 lines of a PEM text, without the lines around them.
fn base64_of(pem: &str) -> String {
    let lines: Vec<_> = pem
        .lines()
        .filter(|line| !line.starts_with("-----"))
        .collect();
    lines.join("\n")
}

fn run(mut command: Command, folder: &Path) -> Result<Vec<u8>, String> {
    let output = command.current_dir(folder).stdin(Stdio::null()).output();
    let output = output.map_err(|error| error.to_string())?;
    if output.status.success() && !output.stdout.is_empty() {
        return Ok(output.stdout);
    }
    let said = [output.stderr, output.stdout].concat();
    Err(format!(
        "{}: {}",
        output.status,
        String::from_utf8_lossy(&said).trim()
    ))
}
