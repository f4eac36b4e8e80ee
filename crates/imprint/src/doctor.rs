//! `imprint doctor`: looks at a server's directory and says what is wrong with it, or will be.
//!
//! It mends nothing. What it can't look at is said as such, and is no "ok".

use std::fs::{self, File};
use std::io::Read as _;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::{Duration, UNIX_EPOCH};

use imprint_identity::UnixTime;
use imprint_server::admin::views::StatusView;
use imprint_signer::{KeySigner, Seal};
use serde::Serialize;

use crate::desk::Desk;
use crate::directory::{Directory, remove_if_there, write_new};
use crate::open::{read_certificate, read_seal};
use crate::outcome::{Outcome, table};
use crate::settings::Settings;
use crate::world;

/// How a check came out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Verdict {
    Ok,
    /// It works, and somebody should know.
    Warn,
    /// It does not work, or must not stay so.
    Fail,
}

/// One thing that was looked at.
#[derive(Debug, Serialize)]
struct Finding {
    check: &'static str,
    verdict: Verdict,
    says: String,
}

/// Carries all checks out; with a failure among them, the exit code is 1.
pub(crate) async fn run(dir: &Path, json: bool) -> anyhow::Result<Outcome> {
    let directory = Directory::existing(dir)?;
    let now = world::now();
    let mut findings = Vec::new();
    let settings = match Settings::read(&directory.settings()) {
        Ok(settings) => {
            note(&mut findings, "settings", Verdict::Ok, "imprint.toml reads");
            Some(settings)
        }
        Err(error) => {
            note(
                &mut findings,
                "settings",
                Verdict::Fail,
                format!("{error:#}"),
            );
            None
        }
    };
    writable(&directory, &mut findings);
    secrets(&directory, &mut findings);
    ledger(&directory, &mut findings);
    if let Some(settings) = &settings {
        keys(&directory, settings, &mut findings);
    }
    certificates(&directory, now, &mut findings);
    clock(&directory, now, &mut findings);
    let runs = directory.read_run_admin().is_some();
    if let Some(settings) = &settings {
        listeners(settings, runs, &mut findings);
    }
    fleet(&directory, &mut findings).await;
    let worst = findings.iter().any(|one| one.verdict == Verdict::Fail);
    let text = if json {
        serde_json::to_string(&findings)?
    } else {
        lay_out(&findings)
    };
    Ok(if worst {
        Outcome::found(text)
    } else {
        Outcome::done(text)
    })
}

fn note(
    findings: &mut Vec<Finding>,
    check: &'static str,
    verdict: Verdict,
    says: impl Into<String>,
) {
    let says = says.into();
    findings.push(Finding {
        check,
        verdict,
        says,
    });
}

fn lay_out(findings: &[Finding]) -> String {
    let rows: Vec<_> = findings
        .iter()
        .map(|one| {
            let verdict = match one.verdict {
                Verdict::Ok => "ok",
                Verdict::Warn => "warn",
                Verdict::Fail => "FAIL",
            };
            [verdict.to_owned(), one.check.to_owned(), one.says.clone()]
        })
        .collect();
    table(["", "CHECK", "FINDING"], &rows)
}

fn writable(directory: &Directory, findings: &mut Vec<Finding>) {
    let probe = directory.root().join(".doctor");
    let outcome = remove_if_there(&probe)
        .and_then(|()| write_new(&probe, b"", 0o600))
        .and_then(|()| remove_if_there(&probe));
    match outcome {
        Ok(()) => note(findings, "directory", Verdict::Ok, "can be written"),
        Err(error) => note(findings, "directory", Verdict::Fail, format!("{error:#}")),
    }
}

/// Nobody but the owner reads what unseals, what opens the admin API, and the ledger.
fn secrets(directory: &Directory, findings: &mut Vec<Finding>) {
    let seal = directory.keys().join("seal.key");
    let from_outside = matches!(read_seal(), Ok(seal) if !matches!(seal, Seal::File));
    if !seal.exists() && !from_outside {
        let says = "keys/seal.key is not there, and IMPRINT_SEAL_KEY is not set: no key opens";
        note(findings, "seal", Verdict::Fail, says);
    } else if seal.exists() && from_outside {
        let says = "IMPRINT_SEAL_KEY is used, and keys/seal.key lies there as well: take it away";
        note(findings, "seal", Verdict::Warn, says);
    } else {
        let says = "the key that unseals is there; keep it out of backups";
        note(findings, "seal", Verdict::Ok, says);
    }
    let mut open = Vec::new();
    for path in [
        seal,
        directory.keys(),
        directory.admin_token(),
        directory.ledger(),
    ] {
        let Ok(about) = fs::metadata(&path) else {
            continue;
        };
        let mode = about.permissions().mode() & 0o777;
        if mode & 0o077 != 0 {
            let name = path.strip_prefix(directory.root()).unwrap_or(&path);
            open.push(format!("{} is {mode:o}", name.display()));
        }
    }
    if open.is_empty() {
        let says = "only their owner can read them";
        note(findings, "secrets", Verdict::Ok, says);
    } else {
        let says = format!("others can read them: {}", open.join(", "));
        note(findings, "secrets", Verdict::Fail, says);
    }
}

/// From the file's first page, so that a running server is not disturbed (SQLite's file format,
/// section 1.3: 18 and 19 are 2 for WAL; 68 is the application's mark).
fn ledger(directory: &Directory, findings: &mut Vec<Finding>) {
    let mut head = [0; 100];
    let read = File::open(directory.ledger()).and_then(|mut file| file.read_exact(&mut head));
    let (verdict, says) = match read {
        Err(error) => (Verdict::Fail, format!("ledger.db can't be read: {error}")),
        Ok(()) if head.get(68..72) != Some(b"IMPR") => (
            Verdict::Fail,
            "ledger.db is not a registry of Imprint".into(),
        ),
        Ok(()) if head.get(18..20) != Some(&[2, 2]) => (
            Verdict::Fail,
            "ledger.db is not in WAL mode: something else than Imprint has written to it".into(),
        ),
        Ok(()) => (Verdict::Ok, "is in WAL mode".into()),
    };
    note(findings, "ledger", verdict, says);
}

fn keys(directory: &Directory, settings: &Settings, findings: &mut Vec<Finding>) {
    let opened = read_seal().and_then(|seal| {
        let signer = KeySigner::open(&directory.keys(), &seal, settings.for_tests)?;
        Ok(signer)
    });
    match opened {
        Err(error) => note(findings, "keys", Verdict::Fail, format!("{error:#}")),
        Ok(_) if settings.for_tests => {
            let says = "open, and are marked as made for tests";
            note(findings, "keys", Verdict::Warn, says);
        }
        Ok(_) => note(findings, "keys", Verdict::Ok, "open"),
    }
}

fn certificates(directory: &Directory, now: UnixTime, findings: &mut Vec<Finding>) {
    let mut all = vec![
        ("root", directory.root_certificate(), YEAR_DAYS),
        ("issuing", directory.issuing_certificate(), 90),
        // Made anew by itself in the last third of its life.
        ("server", directory.server_chain(), 7),
    ];
    let more = directory.more_authorities().unwrap_or_default();
    all.extend(
        more.iter()
            .map(|name| (name.as_str(), directory.authority(name), 90)),
    );
    for (name, path, early_days) in all {
        let (verdict, says) = match read_certificate(&path) {
            Err(error) => (Verdict::Fail, format!("{error:#}")),
            Ok(one) if one.not_after() < now => (
                Verdict::Fail,
                format!("{name} expired at {}", one.not_after()),
            ),
            Ok(one) if one.not_before() > now => (
                Verdict::Fail,
                format!(
                    "{name} is not valid before {}: is the clock right?",
                    one.not_before()
                ),
            ),
            Ok(one) => {
                let days = one.not_after().since(now) / 86_400;
                let says = format!("{name} is good until {}", one.not_after());
                let near = days < early_days;
                (if near { Verdict::Warn } else { Verdict::Ok }, says)
            }
        };
        note(findings, "certificate", verdict, says);
    }
}

/// A clock that was set back: the ledger was written in what is the future now.
fn clock(directory: &Directory, now: UnixTime, findings: &mut Vec<Finding>) {
    let files = [directory.ledger(), directory.root().join("ledger.db-wal")];
    let written = files.iter().filter_map(|path| {
        let at = fs::metadata(path).ok()?.modified().ok()?;
        i64::try_from(at.duration_since(UNIX_EPOCH).ok()?.as_secs()).ok()
    });
    let ahead = written.max().unwrap_or_default() - now.0;
    if ahead > CLOCK_SECONDS {
        let says =
            format!("the clock says {now}, and the ledger was written {ahead} s later than that");
        note(findings, "clock", Verdict::Fail, says);
    } else {
        let says = format!("says {now}; nothing here contradicts it");
        note(findings, "clock", Verdict::Ok, says);
    }
}

fn listeners(settings: &Settings, runs: bool, findings: &mut Vec<Finding>) {
    for (name, address) in [
        ("https", settings.https.0),
        ("http", settings.http.0),
        ("mqtts", settings.mqtts.0),
        ("admin", settings.admin.0),
    ] {
        let (verdict, says) = match address {
            None => (Verdict::Ok, format!("{name} is off")),
            Some(address) if address.port() == 0 => (
                Verdict::Ok,
                format!("{name} takes a free port at each start"),
            ),
            Some(address) if runs => match TcpStream::connect_timeout(&here(address), PATIENCE) {
                Ok(_) => (Verdict::Ok, format!("{name} answers at {address}")),
                Err(error) => (
                    Verdict::Fail,
                    format!("{name} does not answer at {address}: {error}"),
                ),
            },
            Some(address) => match TcpListener::bind(address) {
                Ok(_) => (Verdict::Ok, format!("{name} can listen at {address}")),
                Err(error) => (
                    Verdict::Fail,
                    format!("{name} can't listen at {address}: {error}"),
                ),
            },
        };
        note(findings, "listener", verdict, says);
    }
}

/// Where a listener on every address is reached from here.
fn here(address: SocketAddr) -> SocketAddr {
    let mut here = address;
    if address.ip().is_unspecified() {
        here.set_ip(match address {
            SocketAddr::V4(_) => std::net::Ipv4Addr::LOCALHOST.into(),
            SocketAddr::V6(_) => std::net::Ipv6Addr::LOCALHOST.into(),
        });
    }
    here
}

/// What only the ledger knows: a running server is asked, else the ledger is opened.
async fn fleet(directory: &Directory, findings: &mut Vec<Finding>) {
    let asked = async {
        let mut desk = Desk::open(directory).await?;
        let status = desk.get::<StatusView>("/api/v1/status").await;
        desk.close().await?;
        status
    };
    match asked.await {
        Err(error) => note(findings, "server", Verdict::Fail, format!("{error:#}")),
        Ok(status) => {
            let says = format!(
                "version {}, {} products",
                status.version,
                status.products.len()
            );
            note(findings, "server", Verdict::Ok, says);
            if status.warnings.is_empty() {
                let says = "no product has more than a few thousand devices by symmetric keys";
                note(findings, "fleet", Verdict::Ok, says);
            }
            for warning in status.warnings {
                note(findings, "fleet", Verdict::Warn, warning);
            }
        }
    }
}

const YEAR_DAYS: i64 = 365;
/// Files and the clock may differ by as much: the time of a slow write.
const CLOCK_SECONDS: i64 = 60;
const PATIENCE: Duration = Duration::from_secs(3);
