//! Webhooks: what happened is told to those whom an operator has named.
//!
//! The journal is the outbox: a row stands there because its change does, and each receiver has a
//! durable cursor into it. So an event is told at least once and in order, whatever breaks; a receiver
//! that saw the id before has seen the event. Each receiver has a task of its own: one that is slow
//! or gone delays no other, and no device ever waits for any of them.

use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use http::header::{CONTENT_TYPE, HeaderValue};
use imprint_registrar::journal::JournalRow;
use imprint_registrar::{Ledger, LedgerError, Registrar, Signer, SignerError};
use tokio::time::{Instant, sleep};

use crate::admin::views::{EventView, source};
use crate::listener::Lifetime;
use crate::outbound::{Line, Outbound, OutboundError, SIGNATURE, SigningKey, Target, key_for};
use crate::world::World;

/// A receiver of events.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Webhook {
    /// Where they are posted. A receiver is known by its URL: another URL begins at the present.
    pub url: Target,
    /// Which; none means all.
    pub kinds: Vec<Kinds>,
}

impl Webhook {
    fn wants(&self, row: &JournalRow) -> bool {
        self.kinds.is_empty() || self.kinds.iter().any(|kinds| kinds.contain(&row.kind))
    }
}

/// One kind of event, `device-revoked`, or all that begin alike, `device-*`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kinds {
    beginning: String,
    more: bool,
}

impl Kinds {
    fn contain(&self, kind: &str) -> bool {
        match kind.strip_prefix(&self.beginning) {
            Some(rest) => self.more || rest.is_empty(),
            None => false,
        }
    }
}

impl FromStr for Kinds {
    type Err = KindsError;

    fn from_str(text: &str) -> Result<Self, KindsError> {
        let (beginning, more) = match text.strip_suffix('*') {
            Some(beginning) => (beginning, true),
            None => (text, false),
        };
        let letters = |byte: u8| byte.is_ascii_lowercase() || byte == b'-';
        if text.is_empty() || text.len() > 64 || !beginning.bytes().all(letters) {
            return Err(KindsError {
                text: text.chars().take(64).collect(),
            });
        }
        Ok(Self {
            beginning: beginning.to_owned(),
            more,
        })
    }
}

/// Text that names no kind of event.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{text:?} is no kind of event; write it like device-revoked, or device-* for all that begin so"
)]
pub struct KindsError {
    /// What was found.
    pub text: String,
}

/// Brings one receiver its events, one after the other.
pub(crate) struct Courier<L, S> {
    registrar: Arc<Registrar<L, S>>,
    world: World,
    hook: Webhook,
    line: Line,
    /// Once the ledger and the signer have answered.
    round: Option<Round>,
}

struct Round {
    key: SigningKey,
    source: String,
    /// The last row that the receiver is done with.
    done: u64,
    /// The cursor on disk.
    kept: u64,
    kept_at: Instant,
}

impl<L: Ledger, S: Signer> Courier<L, S> {
    pub(crate) fn new(
        registrar: &Arc<Registrar<L, S>>,
        world: &World,
        outbound: &Outbound,
        hook: Webhook,
    ) -> Self {
        Self {
            registrar: Arc::clone(registrar),
            world: world.clone(),
            line: outbound.line(hook.url.clone()),
            hook,
            round: None,
        }
    }

    /// Until the server stops. A request that is under way then is made again after the next start.
    pub(crate) async fn run(mut self, lifetime: Lifetime) {
        let Lifetime { mut stop, alive } = lifetime;
        tokio::select! {
            _ = stop.wait_for(|stop| *stop) => {}
            () = self.deliver() => {}
        }
        // What was told and not kept yet would be told again.
        if let Some(round) = &mut self.round {
            let _ = keep(&self.registrar, &self.hook, round, &self.world).await;
        }
        drop(alive);
    }

    async fn deliver(&mut self) {
        let mut failures = 0;
        loop {
            match self.page().await {
                Ok(told) => {
                    if failures > 0 && told.something {
                        tracing::info!(url = %self.hook.url, "the webhook takes events again");
                        failures = 0;
                    }
                    if !told.more {
                        sleep(LOOK).await;
                    }
                }
                Err(error) => {
                    if failures == 0 {
                        let why: &dyn std::error::Error = &error;
                        tracing::warn!(
                            url = %self.hook.url, why,
                            "the webhook does not take an event; it will be tried again and again"
                        );
                    }
                    sleep(pause(failures, &self.world)).await;
                    failures = failures.saturating_add(1);
                }
            }
        }
    }

    /// Tells the rows of one page, up to the first that is not taken.
    async fn page(&mut self) -> Result<Told, Undelivered> {
        let round = match &mut self.round {
            Some(round) => round,
            none => none.insert(begin(&self.registrar, &self.hook, &self.world).await?),
        };
        let rows = self
            .registrar
            .ledger()
            .journal_read(round.done, PAGE)
            .await?;
        let mut something = false;
        for row in &rows {
            if self.hook.wants(row) {
                let now = self.world.now();
                let told = tell(&mut self.line, round, row, now).await;
                if told.is_err() {
                    keep(&self.registrar, &self.hook, round, &self.world).await?;
                }
                told?;
                something = true;
            }
            round.done = row.number;
            if something && round.kept_at.elapsed() >= KEEP {
                keep(&self.registrar, &self.hook, round, &self.world).await?;
            }
        }
        // Rows that nobody wants are cheap to pass over again; writing down each would not be.
        if something || round.done - round.kept >= u64::from(PAGE) {
            keep(&self.registrar, &self.hook, round, &self.world).await?;
        }
        Ok(Told {
            something,
            more: rows.len() == PAGE as usize,
        })
    }
}

struct Told {
    something: bool,
    more: bool,
}

async fn begin<L: Ledger, S: Signer>(
    registrar: &Registrar<L, S>,
    hook: &Webhook,
    world: &World,
) -> Result<Round, Undelivered> {
    let url = hook.url.as_str();
    let key = key_for(registrar.signer(), url).await?;
    let ledger = registrar.ledger();
    let done = ledger.cursor_open(&cursor(url), world.now()).await?;
    Ok(Round {
        key,
        source: source(registrar.authorities(), ledger.epoch()),
        done,
        kept: done,
        kept_at: Instant::now(),
    })
}

async fn keep<L: Ledger, S: Signer>(
    registrar: &Registrar<L, S>,
    hook: &Webhook,
    round: &mut Round,
    world: &World,
) -> Result<(), Undelivered> {
    if round.done > round.kept {
        let name = cursor(hook.url.as_str());
        let ledger = registrar.ledger();
        ledger
            .cursor_advance(&name, round.done, world.now())
            .await?;
        round.kept = round.done;
    }
    round.kept_at = Instant::now();
    Ok(())
}

async fn tell(
    line: &mut Line,
    round: &Round,
    row: &JournalRow,
    now: imprint_identity::UnixTime,
) -> Result<(), Undelivered> {
    let body = serde_json::to_vec(&EventView::new(&round.source, row)).unwrap_or_default();
    let signature = HeaderValue::try_from(round.key.sign(now, &body));
    let headers = [
        (CONTENT_TYPE, HeaderValue::from_static(EVENT)),
        (SIGNATURE, signature.unwrap_or(HeaderValue::from_static(""))),
    ];
    let answer = line.post(&headers, body, LIMIT).await?;
    match answer.status {
        200..=299 => Ok(()),
        status => Err(Undelivered::Refused { status }),
    }
}

/// A second, then twice as long each time, to five minutes; half of it is chance, so that receivers
/// behind one door do not all come back at once.
fn pause(failures: u32, world: &World) -> Duration {
    let longest = FIRST_PAUSE
        .saturating_mul(2_u32.saturating_pow(failures))
        .min(LONGEST_PAUSE);
    let half = u32::try_from(longest.as_millis() / 2).unwrap_or(u32::MAX);
    Duration::from_millis((half + world.below(half)).into())
}

fn cursor(url: &str) -> String {
    format!("webhook {url}")
}

/// Why an event was not taken. All of it may pass.
#[derive(Debug, thiserror::Error)]
enum Undelivered {
    #[error("it answers with status {status}")]
    Refused { status: u16 },
    #[error("it can't be asked")]
    Outbound(#[from] OutboundError),
    #[error("the ledger does not answer")]
    Ledger(#[from] LedgerError),
    #[error("the signer does not answer")]
    Signer(#[from] SignerError),
}

/// How often the journal is looked at when there was nothing new.
const LOOK: Duration = Duration::from_millis(250);
/// For one request, from the look-up of the name to the end of the answer.
const LIMIT: Duration = Duration::from_secs(10);
/// Rows at a time.
const PAGE: u32 = 100;
/// A cursor is written down at most so often: a crash repeats what was told since.
const KEEP: Duration = Duration::from_secs(1);
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_mins(5);
const EVENT: &str = "application/cloudevents+json";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_are_one_or_all_that_begin_alike() {
        for (kinds, kind, want) in [
            ("device-revoked", "device-revoked", true),
            ("device-revoked", "device-released", false),
            ("device", "device-revoked", false),
            ("device-*", "device-revoked", true),
            ("device-*", "devices", false),
            ("*", "anything", true),
        ] {
            let kinds: Kinds = kinds.parse().unwrap();
            assert_eq!(kinds.contain(kind), want, "{kinds:?} {kind}");
        }
        for text in [
            "",
            "Device-*",
            "device *",
            "*-revoked",
            "a_b",
            &"x".repeat(65),
        ] {
            assert!(text.parse::<Kinds>().is_err(), "{text}");
        }
    }

    #[test]
    fn pauses_grow_to_five_minutes_and_are_never_nothing() {
        let world = |byte| World {
            now: Arc::new(|| imprint_identity::UnixTime(0)),
            chance: Arc::new(move |bytes: &mut [u8]| bytes.fill(byte)),
        };
        for failures in [0, 1, 5, 8, 9, 31, 32, u32::MAX] {
            for byte in [0, 0x55, 0xff] {
                let paused = pause(failures, &world(byte));
                assert!(
                    paused >= FIRST_PAUSE / 2 && paused <= LONGEST_PAUSE,
                    "{paused:?}"
                );
                assert!(failures < 9 || paused >= LONGEST_PAUSE / 2, "{paused:?}");
            }
        }
    }
}
