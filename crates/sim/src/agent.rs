//! Our own agent as a device of a test: the real thing, with waits that are short.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use imprint_agent::device::{self, Event};
use imprint_agent::{
    Agent, AgentError, Door, End, KeyAlgorithm, Observer, Roots, Settings, Suites, Surroundings,
    Timeouts,
};
use imprint_est::Secret;
use imprint_identity::{HardwareId, UnixTime};

use crate::chance::Dice;
use crate::world::{PRODUCT, real_now};

/// How an agent is set up.
#[derive(Clone)]
pub struct Setup {
    /// The pinned root.
    pub roots: Arc<Roots>,
    /// Where the server is.
    pub server: SocketAddr,
    /// Whether it calls the server `localhost`, and so names it in TLS, which nobody does with an
    /// address.
    pub by_name: bool,
    /// The hardware id.
    pub hardware: String,
    /// The token; empty for none.
    pub token: String,
    /// By which door it comes in.
    pub door: Door,
    /// What its clock says.
    pub clock: Clock,
    /// Its waits are divided by this. 400 makes two seconds five milliseconds.
    pub hurry: u32,
    /// After so long it calls a silent connection dead.
    pub patience: Duration,
}

/// A device's clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Clock {
    /// It has none that is to be believed.
    None,
    /// It is right.
    Right,
    /// It stands here.
    At(UnixTime),
}

impl Setup {
    /// A device with a good clock.
    #[must_use]
    pub fn new(root_pem: &Path, server: SocketAddr, hardware: &str, token: &str) -> Self {
        let roots = Arc::new(Roots::read(root_pem).expect("a root"));
        let (hardware, token) = (hardware.to_owned(), token.to_owned());
        Self {
            roots,
            server,
            by_name: false,
            hardware,
            token,
            door: Door::Token,
            clock: Clock::Right,
            hurry: 400,
            patience: Duration::from_secs(10),
        }
    }

    /// Wakes it on `state`, and lets it go on from wherever it stands.
    pub async fn join(&self, state: &Path, observer: Box<dyn Observer>) -> Result<End, AgentError> {
        self.join_by(state, observer, Event::PowerOn).await
    }

    /// The same, beginning with what a person wants.
    pub async fn join_by(
        &self,
        state: &Path,
        observer: Box<dyn Observer>,
        first: Event,
    ) -> Result<End, AgentError> {
        let server = if self.by_name {
            format!("https://localhost:{}", self.server.port())
        } else {
            format!("https://{}", self.server)
        };
        let settings = Settings {
            state: state.to_owned(),
            server: server.parse().expect("an endpoint"),
            roots: Arc::clone(&self.roots),
            product: Some(PRODUCT.to_owned()),
            hardware: HardwareId::parse(&self.hardware).expect("a hardware id"),
            token: Some(Secret::new(self.token.clone().into_bytes()))
                .filter(|t| !t.expose().is_empty()),
            key: KeyAlgorithm::P256,
            rekey: true,
            patience: device::Settings::new(BUILT),
            door: self.door.clone(),
            wait_divisor: self.hurry,
            timeouts: Timeouts {
                connect: Duration::from_secs(5),
                handshake: self.patience,
                exchange: self.patience,
            },
            suites: Suites::All,
        };
        let clock = self.clock;
        let dice = std::sync::Mutex::new(Dice::new(crate::chance::seed()));
        let surroundings = Surroundings {
            clock: Box::new(move || match clock {
                Clock::None => None,
                Clock::Right => Some(real_now()),
                Clock::At(moment) => Some(moment),
            }),
            chance: Box::new(move || dice.lock().unwrap().next() as u32),
        };
        Agent::open(settings, surroundings, observer)?
            .join(first)
            .await
    }
}

/// The agent of these tests was built in autumn 2025.
const BUILT: UnixTime = UnixTime(1_760_000_000);
