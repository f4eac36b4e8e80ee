//! `imprint agent ...`: a device on Linux.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use imprint_agent::device::{self, Action, Event, Record};
use imprint_agent::{
    Agent, AgentError, CheckSettings, Claim, Diagnosis, Door, End, KeyAlgorithm, Observer,
    OwnCertificate, RefusalText, Reset, Roots, Settings, SharedKeyEntry, Status, Suites,
    Surroundings, Timeouts, Verdict, check, hardware, reset,
};
use imprint_est::Secret;
use imprint_identity::{HardwareId, UnixTime};

use crate::cli::{AgentCheck, AgentCommand, AgentRun, KeyKind};
use crate::outcome::facts;
use crate::problem::Problem;
use crate::world;

pub(crate) async fn run(command: AgentCommand, json: bool) -> anyhow::Result<ExitCode> {
    match command {
        AgentCommand::Run(order) => join(order, json).await,
        AgentCommand::Status { state } => status(&state, json),
        AgentCommand::Check(order) => diagnose(order, json).await,
        AgentCommand::Reset { state, yes } => forget(&state, yes, json),
    }
}

/// Joins, and stays a member: ends only when a person has to act, or with `--once`.
async fn join(order: AgentRun, json: bool) -> anyhow::Result<ExitCode> {
    let roots = match Roots::read(&order.root) {
        Ok(roots) => Arc::new(roots),
        Err(error) => {
            eprintln!("imprint: the root file {}: {error}", order.root.display());
            return Ok(ExitCode::from(imprint_agent::Exit::Root.code()));
        }
    };
    let hardware = who(order.hardware.as_deref())?;
    let door = door(&order, &hardware)?;
    let settings = Settings {
        state: order.state,
        server: order.server,
        roots,
        product: order.product,
        hardware,
        token: order.token.map(|token| Secret::new(token.into_bytes())),
        key: match order.key {
            KeyKind::P256 => KeyAlgorithm::P256,
            KeyKind::P384 => KeyAlgorithm::P384,
            KeyKind::Ed25519 => KeyAlgorithm::Ed25519,
        },
        rekey: !order.keep_key,
        patience: patience(order.strict),
        door,
        wait_divisor: 1,
        timeouts: Timeouts::default(),
        suites: Suites::All,
    };
    let trusted = order.trust_clock;
    let surroundings = Surroundings {
        clock: Box::new(move || trusted.then(world::now)),
        chance: Box::new(random),
    };
    let agent = Agent::open(settings, surroundings, Box::new(Teller { json })).map_err(problem)?;
    let first = if order.release {
        Event::Release
    } else {
        Event::PowerOn
    };
    let end = match agent.join(first).await.map_err(problem)? {
        End::Member(agent) if !order.once => agent.stay().await.map_err(problem)?,
        end => end,
    };
    Ok(ExitCode::from(end.exit().code()))
}

/// By which door the device comes in, by what it was given.
fn door(order: &AgentRun, hardware: &HardwareId) -> anyhow::Result<Door> {
    let claim = order.claim_cert.as_ref().zip(order.claim_key.as_ref());
    if let (Some((certificate, key)), Some(broker)) = (claim, &order.mqtts) {
        return Ok(Door::Claim(Claim {
            broker: broker.clone(),
            template: order.template.clone(),
            parameters: order.parameters.iter().cloned().collect(),
            chain_pem: read(certificate)?,
            key_pem: Secret::new(read(key)?.into_bytes()),
        }));
    }
    if let Some((certificate, key)) = order.own_cert.as_ref().zip(order.own_key.as_ref()) {
        return Ok(Door::JustInTime(OwnCertificate {
            chain_pem: read(certificate)?,
            key_pem: Secret::new(read(key)?.into_bytes()),
            broker: order.mqtts.clone(),
        }));
    }
    if let Some((key, scope)) = order.shared_key.as_ref().zip(order.id_scope.as_ref()) {
        let registration_id = match &order.registration_id {
            Some(id) => id.clone(),
            None => registration_id(hardware)?,
        };
        return Ok(Door::SharedKey(SharedKeyEntry {
            scope: scope.clone(),
            registration_id,
            key: shared_key(key)?,
        }));
    }
    Ok(Door::Token)
}

/// As what a device registers that was told nothing else.
pub(crate) fn registration_id(
    hardware: &HardwareId,
) -> anyhow::Result<imprint_dps::RegistrationId> {
    let text = hardware.text();
    let id = text.as_str();
    let id = id.strip_prefix("custom:").unwrap_or(id);
    imprint_dps::RegistrationId::new(id).map_err(|error| {
        let said = format!("The hardware id {id} is no registration id: {error}.");
        Problem::new("registration-id", said, "Name one with --registration-id.").into()
    })
}

/// A key in base64. What can't be read is not repeated: it may be a key all the same.
pub(crate) fn shared_key(path: &Path) -> anyhow::Result<Secret> {
    let text = zeroize::Zeroizing::new(read(path)?);
    let key = STANDARD.decode(text.trim()).map(Secret::new);
    let good = key
        .ok()
        .filter(|key| (32..=64).contains(&key.expose().len()));
    good.ok_or_else(|| {
        let said = format!("{} holds no shared key.", path.display());
        let hint = "Give 32 to 64 bytes in base64: `imprint entry key` and `entry new` print it.";
        Problem::new("key-length", said, hint).into()
    })
}

/// A file that was named on the command line, text.
fn read(path: &Path) -> anyhow::Result<String> {
    std::fs::read_to_string(path).map_err(|error| {
        Problem::new(
            "file-unreadable",
            format!("{}: {error}.", path.display()),
            "Name a PEM file that this user can read.",
        )
        .into()
    })
}

fn status(state: &Path, json: bool) -> anyhow::Result<ExitCode> {
    let status = Status::read(state).map_err(problem)?;
    let text = if json {
        serde_json::to_string(&status)?
    } else {
        lay_out(&status)
    };
    println_quietly(&text)?;
    Ok(ExitCode::from(status.exit().code()))
}

/// A factory reset, if somebody means it.
fn forget(state: &Path, yes: bool, json: bool) -> anyhow::Result<ExitCode> {
    if !yes {
        let status = Status::read(state).map_err(problem);
        // Damaged files are a reason for a reset.
        let step = status.map_or_else(|_| "damaged".to_owned(), |status| status.step);
        let said = format!(
            "A reset deletes the keys, the certificates and the setup in {} ({step}).",
            state.display()
        );
        let hint = "Repeat it with --yes. The fleet is not told: to let the device in again, \
                    `imprint device release` there, or give it a token bound to its hardware.";
        return Err(Problem::new("not-confirmed", said, hint).into());
    }
    let done = reset(state).map_err(problem)?;
    let kept = matches!(
        done,
        Reset::Done {
            bootstrap_kept: true
        }
    );
    let text = if json {
        serde_json::json!({ "step": "UNPROVISIONED", "bootstrap_kept": kept }).to_string()
    } else {
        facts(&[
            ("step", "UNPROVISIONED"),
            (
                "bootstrap",
                if kept { "kept for the next start" } else { "" },
            ),
        ])
    };
    println_quietly(&text)?;
    Ok(ExitCode::SUCCESS)
}

fn lay_out(status: &Status) -> String {
    let refusal = status.refusal.as_ref().map_or_else(String::new, |refusal| {
        let text = refusal
            .text
            .as_ref()
            .map_or_else(String::new, |text| format!(": {text}"));
        let at = refusal
            .at
            .as_ref()
            .map_or_else(String::new, |at| format!(" ({at})"));
        format!(
            "{} at {}, retry {}{text}{at}",
            refusal.code, refusal.step, refusal.retry
        )
    });
    let attempts = if status.attempts == 0 {
        String::new()
    } else {
        status.attempts.to_string()
    };
    let certificate = status.certificate.as_ref();
    let text = |value: &Option<String>| value.clone().unwrap_or_default();
    facts(&[
        ("step", &status.step),
        ("quarantine", &text(&status.quarantine)),
        ("attempts", &attempts),
        ("last refusal", &refusal),
        ("hardware", &text(&status.hardware)),
        ("product", &text(&status.product)),
        ("server", &text(&status.server)),
        (
            "bootstrap",
            if status.token_kept {
                "kept until VERIFY"
            } else {
                ""
            },
        ),
        ("server time", &text(&status.server_time)),
        (
            "device",
            &certificate
                .map(|own| text(&own.common_name))
                .unwrap_or_default(),
        ),
        ("certificate", certificate.map_or("", |own| &own.chain_file)),
        ("not after", certificate.map_or("", |own| &own.not_after)),
        (
            "renews",
            &certificate
                .map(|own| text(&own.renew_at))
                .unwrap_or_default(),
        ),
    ])
}

async fn diagnose(order: AgentCheck, json: bool) -> anyhow::Result<ExitCode> {
    let diagnosis = check(&CheckSettings {
        server: order.server,
        root: order.root,
        product: order.product,
        clock: world::now(),
        built: built(),
        proxies: proxies(),
        timeouts: Timeouts::default(),
    })
    .await;
    let text = if json {
        serde_json::to_string(&diagnosis)?
    } else {
        describe(&diagnosis)
    };
    println_quietly(&text)?;
    Ok(ExitCode::from(diagnosis.exit().code()))
}

fn describe(diagnosis: &Diagnosis) -> String {
    let mut lines = Vec::new();
    for finding in &diagnosis.findings {
        let mark = match finding.verdict {
            Verdict::Good => "good ",
            Verdict::Odd => "odd  ",
            Verdict::Wrong(_) => "WRONG",
        };
        lines.push(format!("{mark}  {:8}  {}", finding.layer, finding.seen));
        if let Some(advice) = &finding.advice {
            lines.push(format!("{:17}{advice}", ""));
        }
    }
    lines.join("\n")
}

/// Tells each step as it is journaled.
struct Teller {
    json: bool,
}

impl Observer for Teller {
    fn step(&mut self, record: &Record, _: &Event, action: &Action) {
        let doing = doing(action);
        let line = if self.json {
            serde_json::json!({ "step": record.step().name(), "doing": doing }).to_string()
        } else {
            format!("{:16} {doing}", record.step().name())
        };
        // Whoever reads along may have gone; the device goes on.
        let _ = println_quietly(&line);
    }

    fn trouble(&mut self, record: &Record, refusal: &RefusalText) {
        if self.json {
            let line = serde_json::json!({
                "step": record.step().name(), "refusal": refusal.code, "text": refusal.text,
            });
            let _ = println_quietly(&line.to_string());
        } else {
            eprintln!(
                "{:16} {}: {}",
                record.step().name(),
                refusal.code,
                refusal.text
            );
        }
    }
}

/// What the device does next, in a few words.
fn doing(action: &Action) -> String {
    match action {
        Action::Wait { ms } => format!("waits {} s", ms / 1_000),
        Action::Rest => "rests".to_owned(),
        other => {
            // The machine's own word, without what is in it.
            let word = format!("{other:?}");
            let end = word
                .find(|c: char| !c.is_ascii_alphanumeric())
                .unwrap_or(word.len());
            word.get(..end).unwrap_or_default().to_owned()
        }
    }
}

/// Who this device is: what it was told, or the strongest id that it can read.
fn who(typed: Option<&str>) -> anyhow::Result<HardwareId> {
    let root = Path::new("/");
    match typed {
        Some(text) => hardware::typed(text, root).map_err(|error| {
            Problem::new(
                "hardware-unreadable",
                format!("--hardware {text}: {error}."),
                "Write the id as source:value, as in custom:SN-1, or name a source to read.",
            )
            .into()
        }),
        None => hardware::strongest(root).map_err(|errors| {
            let seen: Vec<_> = errors.iter().map(ToString::to_string).collect();
            Problem::new(
                "hardware-unreadable",
                format!("No hardware id can be read here: {}.", seen.join("; ")),
                "Name one with --hardware source:value.",
            )
            .into()
        }),
    }
}

fn patience(strict: bool) -> device::Settings {
    let mut patience = device::Settings::new(built());
    if strict {
        patience.quarantine = device::QuarantineRule::Strict;
    }
    patience
}

#[expect(clippy::needless_pass_by_value, reason = "as `map_err` hands it over")]
fn problem(error: AgentError) -> anyhow::Error {
    Problem::new("agent-failed", error.to_string(), error.hint()).into()
}

/// The proxy variables, for `check` to name: the agent itself uses none.
#[expect(
    clippy::disallowed_methods,
    reason = "the binary reads the environment"
)]
fn proxies() -> Vec<(String, String)> {
    ["https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"]
        .into_iter()
        .filter_map(|name| Some((name.to_owned(), std::env::var(name).ok()?)))
        .collect()
}

fn random() -> u32 {
    let mut bytes = [0; 4];
    world::chance(&mut bytes);
    u32::from_le_bytes(bytes)
}

/// It can't be earlier than this now: when the program was built, where the builder says so
/// (reproducible builds set `SOURCE_DATE_EPOCH`), else when this line was written.
fn built() -> UnixTime {
    let told = option_env!("SOURCE_DATE_EPOCH").and_then(|text| text.parse().ok());
    UnixTime(told.unwrap_or(WRITTEN))
}

fn println_quietly(text: &str) -> std::io::Result<()> {
    let mut stdout = std::io::stdout().lock();
    match writeln!(stdout, "{text}").and_then(|()| stdout.flush()) {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        other => other,
    }
}

/// 2026-11-24.
const WRITTEN: i64 = 1_795_478_400;

/// The default state directory.
pub(crate) fn default_state() -> PathBuf {
    PathBuf::from("imprint-agent")
}
