//! `imprint drill`: what would happen to a device on a warehouse shelf, on a given day, with a given
//! bootstrap credential?
//!
//! The real device code asks a real server, on a copy of the ledger and with both clocks moved. Nothing
//! of it is kept, and a server that runs on the directory goes on undisturbed. The keys are opened where
//! they are and copied nowhere.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, bail};
use imprint_agent::device::{Action, Event, Record, Settings as Patience};
use imprint_agent::{
    Agent, Claim, Door, End, Endpoint, KeyAlgorithm, Moment, Observer, OwnCertificate, RefusalText,
    Roots, Settings, SharedKeyEntry, Strike, Suites, Surroundings, Timeouts,
};
use imprint_est::Secret;
use imprint_identity::{HardwareId, UnixTime};
use imprint_pkix::certificate::Certificate;
use imprint_pkix::pem;
use imprint_registrar::claims::fingerprint_of;
use imprint_registrar::entries::definition::Attestation;
use imprint_registrar::ledger::{ClaimAct, Definitions, EntryAct, EntryKind, KeySlot, TokenAct};
use imprint_registrar::{Ledger as _, Product};
use imprint_server::{Config, Identity, Limits, Server, World};
use rusqlite::{Connection, OpenFlags};
use serde::Serialize;
use tokio::time::timeout;

use crate::ceremony::{self, End as Until};
use crate::cli::Drill;
use crate::directory::Directory;
use crate::init::new_server_key;
use crate::open::{Opened, open_copy};
use crate::outcome::{Outcome, facts};
use crate::problem::Problem;
use crate::world;

/// What came of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct Drilled {
    /// The day, RFC 3339.
    at: String,
    /// Days from today.
    days: i64,
    /// The credential: `token t-...`, `claim line-1`, `a certificate of CA acme`.
    credential: String,
    /// `provisioned`, `quarantine`, or `asks-again`.
    outcome: &'static str,
    /// The device's name, if it got one.
    device: Option<String>,
    /// The step that it reached.
    step: String,
    /// The last refusal's code, and what was said.
    refusal: Option<String>,
    text: Option<String>,
}

pub(crate) async fn run(dir: &Path, order: Drill, json: bool) -> anyhow::Result<Outcome> {
    let directory = Directory::existing(dir)?;
    // 1. A copy of the ledger beside the directory, for this user's eyes, gone at the end.
    let parent = match directory.root().parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let scratch = tempfile::Builder::new()
        .prefix(".imprint-drill-")
        .tempdir_in(parent)
        .with_context(|| format!("nothing can be made in {}", parent.display()))?;
    let copy = scratch.path().join("ledger.db");
    copy_ledger(&directory.ledger(), &copy)?;
    let opened = open_copy(&directory, &copy)?;

    // 2. The credential, and the day.
    let credential = credential(&opened, &order).await?;
    let at = match &order.at {
        Some(at) => at.after(world::now()),
        None if order.expired => day_after(&credential)?,
        None => world::now(),
    };
    if order.revoked {
        revoke(&opened, &credential, at).await?;
    }

    // 3. The play.
    let drilled = play(&directory, &opened, scratch.path(), &order, credential, at).await?;
    opened.registrar.ledger().close()?;
    let text = if json {
        serde_json::to_string(&drilled)?
    } else {
        lay_out(&drilled)
    };
    Ok(if drilled.outcome == PROVISIONED {
        Outcome::done(text)
    } else {
        Outcome::found(text)
    })
}

fn day_after(credential: &Credential) -> Result<UnixTime, Problem> {
    let ends = credential.ends.map(|ends| ends.plus(86_400));
    ends.ok_or_else(|| {
        Problem::new(
            "no-end",
            format!("{} has no end of its own.", credential.name),
            "Try --revoked, or a day with --at.",
        )
    })
}

/// A copy as of one moment, also while a server writes.
fn copy_ledger(from: &Path, to: &Path) -> anyhow::Result<()> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let db = Connection::open_with_flags(from, flags)?;
    db.busy_timeout(BUSY)?;
    let to = to.to_str().context("the directory's path is not text")?;
    db.execute("VACUUM INTO ?1", [to])
        .with_context(|| format!("{} can't be copied", from.display()))?;
    Ok(())
}

/// What the device has on its shelf.
struct Credential {
    name: String,
    product: String,
    hardware: HardwareId,
    /// When it is over by itself; a shared key never is.
    ends: Option<UnixTime>,
    kind: Kind,
}

enum Kind {
    Token {
        id: String,
        text: String,
    },
    Claim {
        name: String,
        chain_pem: String,
        key_pem: String,
    },
    Own {
        ca: String,
        chain_pem: String,
        key_pem: String,
    },
    SharedKey {
        kind: EntryKind,
        entry: String,
        registration_id: imprint_dps::RegistrationId,
        key: Secret,
    },
}

async fn credential(opened: &Opened, order: &Drill) -> anyhow::Result<Credential> {
    let said = order
        .hardware
        .as_deref()
        .map(HardwareId::parse)
        .transpose()?;
    let nobody = || HardwareId::parse("custom:drill");
    let ledger = opened.registrar.ledger();
    let products = ledger.product_list().await?;
    let product_of = |name: &str| products.iter().find(|product| product.name == name);
    let grace_seconds = |name: &str| product_of(name).map_or(0, Product::grace_seconds);
    if let Some(text) = &order.token {
        let found = opened.registrar.token_by_text(text).await?;
        let token = found.ok_or_else(|| {
            Problem::new(
                "token-unknown",
                "This token is not on record here.",
                "Give the token's text as it was minted; `imprint token list` has the ids.",
            )
        })?;
        return Ok(Credential {
            name: format!("token {}", token.id),
            ends: Some(token.expires_at.plus(grace_seconds(&token.product))),
            product: token.product,
            hardware: said.or(token.bound).map_or_else(nobody, Ok)?,
            kind: Kind::Token {
                id: token.id,
                text: text.clone(),
            },
        });
    }
    let read = |path: &PathBuf| {
        let text = std::fs::read_to_string(path);
        text.with_context(|| format!("{} can't be read", path.display()))
    };
    if let (Some(path), Some(hardware)) = (&order.shared_key, &said) {
        return by_shared_key(opened, path, hardware).await;
    }
    if let (Some(certificate), Some(key)) = (&order.own_cert, &order.own_key) {
        let (chain_pem, key_pem) = (read(certificate)?, read(key)?);
        let chain = pem::decode(pem::CERTIFICATE, &chain_pem)
            .with_context(|| format!("{} is no certificate", certificate.display()))?;
        let chain: Vec<_> = chain
            .iter()
            .map(|der| Certificate::parse(der))
            .collect::<Result<_, _>>()
            .with_context(|| format!("{} can't be read", certificate.display()))?;
        let authorities = ledger.authority_list().await?;
        let leads_to = |one: &Certificate| {
            let mut authorities = authorities.iter();
            authorities.find(|authority| authority.subject_der == one.issuer_der())
        };
        let found = chain.first().zip(chain.iter().find_map(leads_to));
        let (leaf, authority) = found.ok_or_else(|| {
            Problem::new(
                "ca-unknown",
                format!(
                    "{} names no CA that is registered here.",
                    certificate.display()
                ),
                "See `imprint ca list`; give the certificates above it in the same file.",
            )
        })?;
        let product = authority.ca.product.clone();
        return Ok(Credential {
            name: format!("a certificate of CA {}", authority.ca.name),
            hardware: said.map_or_else(nobody, Ok)?,
            ends: Some(leaf.not_after().plus(grace_seconds(&product))),
            product,
            kind: Kind::Own {
                ca: authority.ca.name.clone(),
                chain_pem,
                key_pem,
            },
        });
    }
    let (Some(certificate), Some(key)) = (&order.claim_cert, &order.claim_key) else {
        bail!(
            "give --token, --claim-cert and --claim-key, --own-cert and --own-key, or --shared-key and \
             --hardware"
        );
    };
    let (chain_pem, key_pem) = (read(certificate)?, read(key)?);
    let blocks = pem::decode(pem::CERTIFICATE, &chain_pem)
        .with_context(|| format!("{} is no certificate", certificate.display()))?;
    let shown = blocks.first().map(|der| fingerprint_of(der));
    let claims = ledger.claim_list().await?;
    let found = claims.into_iter().find_map(|record| {
        let mut certificates = record.certificates.iter();
        let one = certificates.find(|one| one.fingerprint.is_some() && one.fingerprint == shown)?;
        let grace = record.claim.grace_days(product_of(&record.claim.product));
        let grace = i64::from(grace) * 86_400;
        Some((one.not_after.plus(grace), record.claim))
    });
    let (ends, claim) = found.ok_or_else(|| {
        Problem::new(
            "claim-unknown",
            format!("{} is no claim's certificate here.", certificate.display()),
            "See `imprint claim show` for the fingerprints that are on record.",
        )
    })?;
    Ok(Credential {
        name: format!("claim {}", claim.name),
        product: claim.product,
        hardware: said.map_or_else(nobody, Ok)?,
        ends: Some(ends),
        kind: Kind::Claim {
            name: claim.name,
            chain_pem,
            key_pem,
        },
    })
}

/// The entry by which this key would register this hardware: its own, else the group from whose keys it
/// is derived.
async fn by_shared_key(
    opened: &Opened,
    path: &Path,
    hardware: &HardwareId,
) -> anyhow::Result<Credential> {
    let registration_id = crate::agent::registration_id(hardware)?;
    let key = crate::agent::shared_key(path)?;
    let (registrar, id) = (&opened.registrar, registration_id.canonical());
    let own = registrar
        .ledger()
        .entry_get(EntryKind::Individual, &id)
        .await?;
    let mut found = own.filter(|own| own.entry.attestation == Attestation::SymmetricKey);
    if found.is_none() {
        let all = registrar.ledger().entry_list().await?;
        let groups = all.into_iter().filter(|record| {
            record.entry.kind == EntryKind::Group
                && record.entry.attestation == Attestation::SymmetricKey
        });
        'groups: for group in groups {
            for slot in [KeySlot::Primary, KeySlot::Secondary] {
                let derived = registrar.entry_derive(&group.entry.name, slot, &id).await;
                // A slot may be empty.
                if derived.is_ok_and(|derived| derived.expose() == key.expose()) {
                    found = Some(group);
                    break 'groups;
                }
            }
        }
    }
    let record = found.ok_or_else(|| {
        Problem::new(
            "entry-unknown",
            format!("{id} has no entry of its own, and no group has made this key for it."),
            "See `imprint entry list`; derive the key with `imprint entry key GROUP ID`.",
        )
    })?;
    let entry = record.entry;
    Ok(Credential {
        name: match entry.kind {
            EntryKind::Individual => format!("the shared key of entry {}", entry.name),
            EntryKind::Group => format!("a shared key of entry group {}", entry.name),
        },
        product: entry.product,
        hardware: hardware.clone(),
        ends: None,
        kind: Kind::SharedKey {
            kind: entry.kind,
            entry: entry.name,
            registration_id,
            key,
        },
    })
}

async fn revoke(opened: &Opened, credential: &Credential, now: UnixTime) -> anyhow::Result<()> {
    let ledger = opened.registrar.ledger();
    match &credential.kind {
        Kind::Token { id, .. } => {
            ledger.token_act(id, TokenAct::Revoke, ACTOR, now).await?;
        }
        Kind::Claim { name, .. } => {
            let reason = "a drill".to_owned();
            let act = ClaimAct::Revoke { reason };
            ledger.claim_act(name, act, ACTOR, now).await?;
        }
        Kind::SharedKey { kind, entry, .. } => {
            ledger
                .entry_act(*kind, entry, EntryAct::Disable, ACTOR, now)
                .await?;
        }
        Kind::Own { ca, .. } => {
            let mut authorities = ledger.authority_list().await?;
            authorities.retain(|authority| authority.ca.name == *ca);
            for authority in &mut authorities {
                authority.ca.active = false;
            }
            let definitions = Definitions {
                authorities,
                ..Definitions::default()
            };
            ledger.fleet_apply(definitions, ACTOR, now).await?;
        }
    }
    Ok(())
}

async fn play(
    directory: &Directory,
    opened: &Opened,
    scratch: &Path,
    order: &Drill,
    credential: Credential,
    at: UnixTime,
) -> anyhow::Result<Drilled> {
    let mut drilled = Drilled {
        at: at.to_string(),
        days: at.since(world::now()).div_euclid(86_400),
        credential: credential.name.clone(),
        outcome: ASKS_AGAIN,
        device: None,
        step: String::new(),
        refusal: None,
        text: None,
    };
    let issuing = &opened.registrar.authorities().issuing().certificate;
    if at >= issuing.not_after() {
        drilled.refusal = Some("authority-ended".to_owned());
        drilled.text = Some(format!(
            "The issuing authority ends on {}: it can show and sign nothing any more.",
            issuing.not_after()
        ));
        return Ok(drilled);
    }
    // Both clocks begin at that day and go on.
    let ahead = at.since(world::now());
    let clock = move || world::now().plus(ahead);
    let moved = World {
        now: Arc::new(clock),
        ..world::world()
    };
    let any = Some(([127, 0, 0, 1], 0).into());
    let config = Config {
        https: any,
        http: None,
        mqtts: any,
        mqtt_on_https: false,
        just_in_time_hang_up: false,
        id_scope: opened.id_scope.clone(),
        hub: opened.hub(),
        admin: None,
        identity: identity(opened, at).await?,
        admin_tokens: Vec::new(),
        trusted_proxies: Vec::new(),
        webhooks: Vec::new(),
        outbound_roots: imprint_server::outbound::Roots::default(),
        proxy_protocol: false,
        limits: Limits::default(),
        hostile: None,
    };
    let running = Server::start(config, Arc::clone(&opened.registrar), moved).await?;
    let addresses = running.addresses();
    let endpoint = |address: Option<std::net::SocketAddr>| -> anyhow::Result<Endpoint> {
        let address = address.context("the server listens")?;
        // By name, as devices in the field call it: there are CAs whose devices have to.
        Ok(format!("https://localhost:{}", address.port()).parse()?)
    };
    let (token, door) = match credential.kind {
        Kind::Token { text, .. } => (Some(Secret::new(text.into_bytes())), Door::Token),
        Kind::Claim {
            chain_pem, key_pem, ..
        } => {
            let claim = Claim {
                broker: endpoint(addresses.mqtts)?,
                template: order.template.clone(),
                parameters: order.parameters.iter().cloned().collect(),
                chain_pem,
                key_pem: Secret::new(key_pem.into_bytes()),
            };
            (None, Door::Claim(claim))
        }
        Kind::Own {
            chain_pem, key_pem, ..
        } => {
            let own = OwnCertificate {
                chain_pem,
                key_pem: Secret::new(key_pem.into_bytes()),
                broker: None,
            };
            (None, Door::JustInTime(own))
        }
        Kind::SharedKey {
            registration_id,
            key,
            ..
        } => {
            let shared = SharedKeyEntry {
                scope: imprint_dps::IdScope::new(&opened.id_scope)?,
                registration_id,
                key,
            };
            (None, Door::SharedKey(shared))
        }
    };
    let settings = Settings {
        state: scratch.join("device"),
        server: endpoint(addresses.https)?,
        roots: Arc::new(Roots::read(&directory.root_certificate())?),
        product: Some(credential.product),
        hardware: credential.hardware,
        token,
        door,
        key: KeyAlgorithm::P256,
        rekey: false,
        patience: Patience::new(at.plus(-86_400)),
        wait_divisor: FASTER,
        timeouts: Timeouts::default(),
        suites: Suites::All,
    };
    let surroundings = Surroundings {
        // It comes from a shelf: its clock has stopped long ago.
        clock: Box::new(|| None),
        chance: Box::new(random),
    };
    let seen = Arc::new(Mutex::new(Seen::default()));
    let watcher = Box::new(Watcher(Arc::clone(&seen)));
    let agent = Agent::open(settings, surroundings, watcher)?;
    let end = timeout(PATIENCE, agent.join(Event::PowerOn)).await;
    running.shutdown().await;

    let seen = seen.lock().unwrap_or_else(PoisonError::into_inner).clone();
    drilled.step = seen.step;
    if let Some(refusal) = seen.refusal {
        drilled.refusal = Some(refusal.code);
        drilled.text = Some(refusal.text);
    }
    match end {
        Ok(end) => match end? {
            End::Member(agent) => {
                drilled.outcome = PROVISIONED;
                "PROVISIONED".clone_into(&mut drilled.step);
                (drilled.refusal, drilled.text) = (None, None);
                drop(agent);
                let status = imprint_agent::Status::read(&scratch.join("device"))?;
                drilled.device = status.certificate.and_then(|own| own.common_name);
            }
            End::Quarantined(..) => drilled.outcome = QUARANTINE,
            End::Blank | End::PowerCut => {}
        },
        Err(_) if drilled.refusal.is_none() => {
            drilled.text = Some("The device was still under way when the drill ended.".to_owned());
        }
        Err(_) => {}
    }
    Ok(drilled)
}

/// The server would have made itself a new certificate by then.
async fn identity(opened: &Opened, at: UnixTime) -> anyhow::Result<Identity> {
    let (private_key, key) = new_server_key()?;
    let issuing = &opened.registrar.authorities().issuing().certificate;
    let signer = opened.registrar.signer();
    let hosts = ["localhost".to_owned()];
    let server = ceremony::server(signer, issuing, &key, &hosts, None, Until::Days(30), at).await?;
    Ok(Identity {
        chain: vec![server.der().to_vec(), issuing.der().to_vec()],
        private_key,
    })
}

/// What the device went through.
#[derive(Debug, Clone, Default)]
struct Seen {
    step: String,
    refusal: Option<RefusalText>,
    troubles: u32,
}

/// Watches, and takes the power away when the device has heard the same answer often enough.
struct Watcher(Arc<Mutex<Seen>>);

impl Watcher {
    fn seen(&self) -> std::sync::MutexGuard<'_, Seen> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Observer for Watcher {
    fn step(&mut self, record: &Record, _: &Event, _: &Action) {
        record.step().name().clone_into(&mut self.seen().step);
    }

    fn trouble(&mut self, _: &Record, refusal: &RefusalText) {
        let mut seen = self.seen();
        seen.refusal = Some(refusal.clone());
        seen.troubles += 1;
    }

    fn strike(&mut self, record: &Record, moment: Moment<'_>) -> Strike {
        let enough = self.seen().troubles >= ENOUGH && record.quarantine.is_none();
        match moment {
            Moment::Journaled(Action::Wait { .. }) if enough => Strike::PowerCut,
            _ => Strike::None,
        }
    }
}

fn random() -> u32 {
    let mut bytes = [0; 4];
    world::chance(&mut bytes);
    u32::from_le_bytes(bytes)
}

fn lay_out(drilled: &Drilled) -> String {
    let days = match drilled.days {
        0 => "today".to_owned(),
        1 => "in 1 day".to_owned(),
        days if days < 0 => format!("{} days ago", -days),
        days => format!("in {days} days"),
    };
    let outcome = match drilled.outcome {
        PROVISIONED => "the device becomes a member",
        QUARANTINE => "the device is refused for good and rests in QUARANTINE",
        _ => "the device does not get in, and goes on asking",
    };
    facts(&[
        ("on", &format!("{} ({days})", drilled.at)),
        ("with", &drilled.credential),
        ("outcome", outcome),
        ("device", drilled.device.as_deref().unwrap_or_default()),
        ("step", &drilled.step),
        ("because", drilled.refusal.as_deref().unwrap_or_default()),
        ("", drilled.text.as_deref().unwrap_or_default()),
    ])
}

/// A day, as it is given: `2027-03-01`, `2027-03-01T12:00:00Z`, or `+90d`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Day {
    At(UnixTime),
    In(i64),
}

impl Day {
    fn after(self, now: UnixTime) -> UnixTime {
        match self {
            Self::At(time) => time,
            Self::In(seconds) => now.plus(seconds),
        }
    }

    /// Reads one.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        if let Some(ahead) = text.strip_prefix('+') {
            return match ahead {
                "0d" => Ok(Self::In(0)),
                ahead => crate::duration::seconds(ahead).map(Self::In),
            };
        }
        let wrong = || format!("{text:?} is no day; write it as 2027-03-01 or +90d");
        let whole = if text.len() == 10 {
            format!("{text}T00:00:00Z")
        } else {
            text.to_owned()
        };
        // The printed form of a moment is the one that reads back; days are looked for by halving.
        let mut range = (0_i64, LAST_DAY);
        while range.0 < range.1 {
            let middle = i64::midpoint(range.0, range.1 + 1);
            if UnixTime(middle).to_string() <= whole {
                range.0 = middle;
            } else {
                range.1 = middle - 1;
            }
        }
        let found = UnixTime(range.0);
        if found.to_string() == whole {
            Ok(Self::At(found))
        } else {
            Err(wrong())
        }
    }
}

const PROVISIONED: &str = "provisioned";
const QUARANTINE: &str = "quarantine";
const ASKS_AGAIN: &str = "asks-again";
const ACTOR: &str = "drill";
/// A device's waits take a fraction of their time.
const FASTER: u32 = 1_000;
/// The third time it hears the same.
const ENOUGH: u32 = 3;
/// For one device on the loopback.
const PATIENCE: Duration = Duration::from_secs(30);
/// Another process may be writing.
const BUSY: Duration = Duration::from_secs(5);
/// 9999-12-31T23:59:59Z.
const LAST_DAY: i64 = UnixTime::NO_EXPIRY.0;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_is_a_date_a_moment_or_a_distance() {
        for (text, want) in [
            ("2026-11-25", Some(Day::At(UnixTime(1_795_564_800)))),
            (
                "2026-11-25T00:00:01Z",
                Some(Day::At(UnixTime(1_795_564_801))),
            ),
            ("1970-01-01", Some(Day::At(UnixTime(0)))),
            ("2028-02-29", Some(Day::At(UnixTime(1_835_395_200)))),
            ("+90d", Some(Day::In(7_776_000))),
            ("+0d", Some(Day::In(0))),
            ("2027-02-29", None),
            ("1969-12-31", None),
            ("tomorrow", None),
            ("+90", None),
            ("", None),
        ] {
            assert_eq!(Day::parse(text).ok(), want, "{text}");
        }
    }
}
