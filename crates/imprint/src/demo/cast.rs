//! The devices, and what fate does to them.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use imprint_agent::device::{Action, Event, Record, Settings as Patience};
use imprint_agent::{
    Agent, End, Endpoint, KeyAlgorithm, Moment, Observer, RefusalText, Roots, Settings, Strike,
    Suites, Surroundings, Timeouts,
};
use imprint_est::Secret;
use imprint_identity::{HardwareId, Quarantine};

use crate::demo::PRODUCT;
use crate::demo::stage::Stage;
use crate::world;

/// One device.
pub(crate) struct Device {
    pub(crate) hardware: HardwareId,
    pub(crate) token_id: String,
    pub(crate) token: String,
    pub(crate) luck: Luck,
}

/// What happens to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Luck {
    /// Nothing.
    Good,
    /// The server answers, the answer does not arrive.
    ReplyLost,
    /// The server answers, and the device loses its power before it has looked.
    PowerCut,
    /// It is on nobody's list.
    Stranger,
    /// It comes with another device's token.
    ReusedToken,
}

impl Luck {
    /// In a few words.
    pub(crate) const fn words(self) -> &'static str {
        match self {
            Self::Good => "nothing happens to it",
            Self::ReplyLost => "its reply is lost",
            Self::PowerCut => "its power is cut in ENROLL",
            Self::Stranger => "it is on no allowlist",
            Self::ReusedToken => "it comes with another device's token",
        }
    }
}

/// A device at the end of the play.
pub(crate) struct Ended {
    pub(crate) device: Device,
    pub(crate) state: PathBuf,
    pub(crate) quarantine: Option<Quarantine>,
    pub(crate) refusal: String,
    pub(crate) trips: u32,
    pub(crate) struck: bool,
}

/// A device's life: it goes on after every power cut from what its state directory holds.
pub(crate) async fn live(
    device: Device,
    state: PathBuf,
    server: Endpoint,
    roots: Arc<Roots>,
    stage: Arc<Stage>,
) -> anyhow::Result<Ended> {
    let name = device.hardware.name_part().as_str().to_owned();
    let struck = Arc::new(AtomicBool::new(false));
    if device.luck != Luck::Good {
        stage.say(&name, &format!("(unlucky: {})", device.luck.words()));
    }
    loop {
        let settings = Settings {
            state: state.clone(),
            server: server.clone(),
            roots: Arc::clone(&roots),
            product: Some(PRODUCT.to_owned()),
            hardware: device.hardware.clone(),
            token: Some(Secret::new(device.token.clone().into_bytes())),
            key: KeyAlgorithm::P256,
            rekey: false,
            patience: Patience::new(world::now().plus(-86_400)),
            door: imprint_agent::Door::Token,
            wait_divisor: FASTER,
            timeouts: Timeouts::default(),
            suites: Suites::All,
        };
        let surroundings = Surroundings {
            // No clock: these devices take the server's time.
            clock: Box::new(|| None),
            chance: Box::new(random),
        };
        let actor = Actor {
            name: name.clone(),
            luck: device.luck,
            struck: Arc::clone(&struck),
            stage: Arc::clone(&stage),
        };
        let (agent, quarantine) = match Agent::open(settings, surroundings, Box::new(actor))?
            .join(Event::PowerOn)
            .await?
        {
            End::Member(agent) => {
                stage.provisioned();
                (agent, None)
            }
            End::Quarantined(reason, agent) => (agent, Some(reason)),
            End::PowerCut | End::Blank => {
                stage.say(
                    &name,
                    "--- power is gone; and back: it reads its journal ---",
                );
                continue;
            }
        };
        let refusal = agent
            .record()
            .refusal
            .as_ref()
            .map(|last| last.code.as_str().to_owned());
        let trips = agent.trips();
        if let Some(reason) = quarantine {
            let why = refusal.clone().unwrap_or_default();
            stage.say(&name, &format!("QUARANTINE        {reason}: {why}"));
        }
        return Ok(Ended {
            device,
            state,
            quarantine,
            refusal: refusal.unwrap_or_default(),
            trips,
            struck: struck.load(Ordering::Relaxed),
        });
    }
}

/// Tells the steps, and is fate's hand, once.
struct Actor {
    name: String,
    luck: Luck,
    struck: Arc<AtomicBool>,
    stage: Arc<Stage>,
}

impl Observer for Actor {
    fn step(&mut self, record: &Record, _: &Event, action: &Action) {
        let doing = match action {
            Action::Bootstrap => "reaches the server, checks it, learns the time",
            Action::MakeKey { .. } => "makes its key and keeps it",
            Action::Enroll { .. } => "asks for its certificate",
            Action::FetchProfile => "asks what the fleet wants it to know",
            Action::StoreCredential { .. } => "keeps certificate and profile",
            Action::Register { .. } => "registers",
            Action::Verify { .. } => "comes back with the new certificate, fresh handshake",
            Action::ForgetBootstrap => "is in; forgets its token",
            Action::Rest if record.quarantine.is_none() => "rests",
            Action::Wait { .. } => "waits, to ask again",
            _ => return,
        };
        let step = record.step();
        self.stage
            .say(&self.name, &format!("{:17} {doing}", step.name()));
    }

    fn trouble(&mut self, record: &Record, refusal: &RefusalText) {
        let line = format!(
            "{:17} {}: {}",
            record.step().name(),
            refusal.code,
            refusal.text
        );
        self.stage.say(&self.name, &line);
    }

    fn strike(&mut self, _: &Record, moment: Moment<'_>) -> Strike {
        if !matches!(moment, Moment::Answered(Action::Enroll { .. })) {
            return Strike::None;
        }
        let strike = match self.luck {
            Luck::ReplyLost => Strike::ReplyLost,
            Luck::PowerCut => Strike::PowerCut,
            _ => return Strike::None,
        };
        if self.struck.swap(true, Ordering::Relaxed) {
            Strike::None
        } else {
            strike
        }
    }
}

fn random() -> u32 {
    let mut bytes = [0; 4];
    world::chance(&mut bytes);
    u32::from_le_bytes(bytes)
}

/// Nobody watches a device wait two seconds: the demonstration's devices wait a fraction of that.
const FASTER: u32 = 20;
