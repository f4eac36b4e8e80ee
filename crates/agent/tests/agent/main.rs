//! The agent against a registrar in this process, over real sockets and real TLS.
//!
//! The registrar here keeps its word where ours does: one certificate a key, one key a token. The
//! whole is judged elsewhere, with the real server; here the server can be told to misbehave.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "these are tests, outside of what clippy takes for tests"
)]

mod broker;
mod check;
mod claims;
mod cuts;
mod pki;
mod registrar;
mod renewal;
mod reset;
mod road;
mod trouble;

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use imprint_agent::device::{Action, Event, Record, Step};
use imprint_agent::{
    Agent, AgentError, End, Endpoint, KeyAlgorithm, Moment, Observer, RefusalText, Settings,
    Strike, Suites, Surroundings, Timeouts,
};
use imprint_est::Secret;
use imprint_identity::{HardwareId, UnixTime};

use registrar::Registrar;

/// When the tests' firmware was built, and what the registrar's clock says.
pub(crate) const BUILT: UnixTime = UnixTime(1_795_000_000);
pub(crate) const NOW: UnixTime = UnixTime(1_795_550_000);

pub(crate) fn settings(registrar: &Registrar, state: &Path) -> Settings {
    let mut patience = imprint_agent::device::Settings::new(BUILT);
    patience.attempts = 3;
    Settings {
        state: state.to_owned(),
        server: registrar.endpoint(),
        roots: Arc::new(registrar.pki.roots()),
        product: Some("thermo".into()),
        hardware: HardwareId::parse("custom:sn-1").unwrap(),
        token: Some(Secret::new(registrar::TOKEN.as_bytes().to_vec())),
        key: KeyAlgorithm::P256,
        rekey: true,
        patience,
        // An hour of slow poll is over in 36 ms.
        door: imprint_agent::Door::Token,
        wait_divisor: 100_000,
        timeouts: Timeouts {
            connect: Duration::from_secs(5),
            handshake: Duration::from_secs(5),
            exchange: Duration::from_secs(5),
        },
        suites: Suites::Pinned,
    }
}

pub(crate) fn no_clock() -> Surroundings {
    Surroundings {
        clock: Box::new(|| None),
        chance: Box::new(|| 7),
    }
}

/// Joins once, from power-on, watched by `watch`.
pub(crate) async fn join(settings: Settings, watch: &Watch) -> Result<End, AgentError> {
    join_by(settings, watch, Event::PowerOn).await
}

pub(crate) async fn join_by(
    settings: Settings,
    watch: &Watch,
    first: Event,
) -> Result<End, AgentError> {
    let agent = Agent::open(settings, no_clock(), Box::new(watch.clone()))?;
    // The demonstration runs many of these side by side, on several threads.
    tokio::spawn(agent.join(first)).await.unwrap()
}

pub(crate) fn member(end: Result<End, AgentError>) -> Agent {
    match end.unwrap() {
        End::Member(agent) => *agent,
        other => panic!("not a member: {other:?}"),
    }
}

pub(crate) fn endpoint(url: &str) -> Endpoint {
    url.parse().unwrap()
}

/// Notes what it sees, and strikes where it is told to.
#[derive(Clone, Default)]
pub(crate) struct Watch(Arc<Mutex<Seen>>);

#[derive(Default)]
pub(crate) struct Seen {
    /// Each step, once as long as it lasts.
    pub(crate) steps: Vec<Step>,
    pub(crate) troubles: Vec<RefusalText>,
    pub(crate) actions: Vec<Action>,
    /// Moments so far.
    moments: usize,
    /// At which moment to strike, and how.
    strike: Option<(usize, Strike)>,
    /// Where it struck.
    pub(crate) struck: Option<String>,
}

impl Watch {
    pub(crate) fn striking(at: usize, strike: Strike) -> Self {
        Self(Arc::new(Mutex::new(Seen {
            strike: Some((at, strike)),
            ..Seen::default()
        })))
    }

    pub(crate) fn seen<T>(&self, look: impl FnOnce(&Seen) -> T) -> T {
        look(&self.0.lock().unwrap())
    }

    pub(crate) fn codes(&self) -> Vec<String> {
        self.seen(|seen| {
            seen.troubles
                .iter()
                .map(|trouble| trouble.code.clone())
                .collect()
        })
    }
}

impl Observer for Watch {
    fn step(&mut self, record: &Record, _event: &Event, action: &Action) {
        let mut seen = self.0.lock().unwrap();
        if seen.steps.last() != Some(&record.step()) {
            seen.steps.push(record.step());
        }
        seen.actions.push(*action);
        assert!(
            seen.actions.len() < 1_000,
            "the machine runs in circles: {:?}",
            seen.troubles
        );
    }

    fn trouble(&mut self, _record: &Record, refusal: &RefusalText) {
        self.0.lock().unwrap().troubles.push(refusal.clone());
    }

    fn strike(&mut self, record: &Record, moment: Moment<'_>) -> Strike {
        let mut seen = self.0.lock().unwrap();
        let now = seen.moments;
        seen.moments += 1;
        match seen.strike {
            Some((at, strike)) if at == now => {
                // A reply can only be lost where there is one.
                let answered = matches!(moment, Moment::Answered(_));
                if strike == Strike::PowerCut || answered {
                    seen.struck = Some(format!("{} {moment:?}", record.step()));
                }
                strike
            }
            _ => Strike::None,
        }
    }
}
