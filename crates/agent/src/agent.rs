//! The device at work: write down, then act, then tell what happened, over and over.

use std::sync::Arc;
use std::sync::atomic::AtomicU32;
use std::time::Duration;

use imprint_device::file::FileJournal;
use imprint_device::{Action, Device, Event, Place, Quarantine, QuarantineRule, Record};
use imprint_identity::UnixTime;
use tokio::time::{Instant, sleep};

use crate::calls::{Profile, Server};
use crate::error::AgentError;
use crate::exit::Exit;
use crate::keystore::{FileKeys, KeyStore};
use crate::observe::{Moment, Observer, Strike};
use crate::perform::Hand;
use crate::settings::{Door, Settings, Surroundings};
use crate::store::{Lock, Setup, StateDir};
use crate::trust::Time;

/// A device, from its state directory to its connection. Whatever is in memory can be lost at any
/// instant: a new agent on the same directory goes on where this one stood.
pub struct Agent {
    pub(crate) settings: Settings,
    surroundings: Surroundings,
    pub(crate) server: Server,
    pub(crate) store: StateDir,
    pub(crate) keys: Arc<dyn KeyStore>,
    device: Device<FileJournal>,
    pub(crate) hand: Hand,
    /// By which door it comes in, or came.
    pub(crate) door: Door,
    told: Option<(UnixTime, Instant)>,
    pub(crate) observer: Box<dyn Observer>,
    other_hardware: bool,
    _lock: Lock,
}

/// How a way ended.
#[derive(Debug)]
pub enum End {
    /// PROVISIONED, and nothing left to do.
    Member(Box<Agent>),
    /// QUARANTINE.
    Quarantined(Quarantine, Box<Agent>),
    /// A factory reset is done; the device is blank.
    Blank,
    /// The observer cut the power. What was in memory is gone.
    PowerCut,
}

impl End {
    /// What a script branches on. A cut is for whoever asked for it.
    pub fn exit(&self) -> Exit {
        match self {
            Self::Member(_) => Exit::Good,
            Self::Quarantined(..) => Exit::Quarantined,
            Self::Blank | Self::PowerCut => Exit::NotYet,
        }
    }
}

impl Agent {
    /// Opens the state directory, with private keys in files.
    pub fn open(
        settings: Settings,
        surroundings: Surroundings,
        observer: Box<dyn Observer>,
    ) -> Result<Self, AgentError> {
        let store = StateDir::open(&settings.state)?;
        let keys = FileKeys::open(&store.keys_path(), settings.key)?;
        Self::with_keys(settings, surroundings, observer, Arc::new(keys))
    }

    /// The same with another key store.
    pub fn with_keys(
        settings: Settings,
        surroundings: Surroundings,
        observer: Box<dyn Observer>,
        keys: Arc<dyn KeyStore>,
    ) -> Result<Self, AgentError> {
        let store = StateDir::open(&settings.state)?;
        let lock = store.lock()?;
        let journal = FileJournal::new(store.path());
        let device = Device::wake(journal, settings.patience).map_err(AgentError::Journal)?;
        let server = Server {
            endpoint: settings.server.clone(),
            roots: Arc::clone(&settings.roots),
            product: settings.product.clone(),
            timeouts: settings.timeouts,
            suites: settings.suites,
            trips: Arc::new(AtomicU32::new(0)),
        };
        let mut agent = Self {
            settings,
            surroundings,
            server,
            store,
            keys,
            device,
            hand: Hand::default(),
            door: Door::Token,
            told: None,
            observer,
            other_hardware: false,
            _lock: lock,
        };
        agent.follow_stored_profile()?;
        if agent.record().place != Place::Wiping {
            agent.keep_what_was_given()?;
        }
        Ok(agent)
    }

    /// Goes on from where the journal stands until there is nothing to do, beginning with `first`:
    /// [`Event::PowerOn`], or what an operator wants.
    ///
    /// A factory reset that the power has interrupted is finished first, whosever hardware this is; then
    /// the device begins anew.
    pub async fn join(mut self, first: Event) -> Result<End, AgentError> {
        if self.record().place == Place::Wiping {
            if self.run(Event::PowerOn).await? == Ran::PowerCut {
                return Ok(End::PowerCut);
            }
            self.keep_what_was_given()?;
        }
        let first = if self.other_hardware {
            Event::HardwareMismatch
        } else {
            first
        };
        if self.run(first).await? == Ran::PowerCut {
            return Ok(End::PowerCut);
        }
        Ok(
            match (self.record().quarantine, self.record().credential()) {
                (Some(reason), _) => End::Quarantined(reason, Box::new(self)),
                (None, Some(_)) => End::Member(Box::new(self)),
                (None, None) => End::Blank,
            },
        )
    }

    /// Where the device stands.
    pub fn record(&self) -> &Record {
        self.device.record()
    }

    /// HTTPS round trips since [`Self::open`].
    pub fn trips(&self) -> u32 {
        self.server.trips()
    }

    /// The state directory.
    pub fn store(&self) -> &StateDir {
        &self.store
    }

    /// Drives the machine until it rests.
    pub(crate) async fn run(&mut self, first: Event) -> Result<Ran, AgentError> {
        let mut event = first;
        loop {
            let chance = (self.surroundings.chance)();
            let before = self.record().quarantine;
            let action = self
                .device
                .tell(&event, chance)
                .map_err(AgentError::Journal)?;
            self.observer.step(self.device.record(), &event, &action);
            self.note_doubt(&event, &action);
            if self.strike(Moment::Journaled(&action)) == Strike::PowerCut {
                return Ok(Ran::PowerCut);
            }
            self.report_trouble(&event, before).await;
            let done = match action {
                Action::Rest => return Ok(Ran::ToRest),
                Action::Wait { ms } => {
                    self.wait(ms).await;
                    Ok(Event::Waited)
                }
                action => self.perform(&action).await,
            };
            let Ok(happened) = done else {
                return Ok(Ran::PowerCut);
            };
            if self.strike(Moment::Performed(&action)) == Strike::PowerCut {
                return Ok(Ran::PowerCut);
            }
            event = happened;
        }
    }

    /// The product's word on exhausted attempts, as far as it is known. What the device was told at its
    /// start is the least.
    pub(crate) fn follow(&mut self, profile: &[u8]) {
        let rule = if Profile::of(profile).is_strict() {
            QuarantineRule::Strict
        } else {
            self.settings.patience.quarantine
        };
        self.device.follow(rule);
    }

    fn follow_stored_profile(&mut self) -> Result<(), AgentError> {
        let Some(credential) = self.record().place.credential() else {
            return Ok(());
        };
        if let Some(stored) = self.store.credential(credential.slot)? {
            self.follow(&stored.profile);
        }
        Ok(())
    }

    pub(crate) fn strike(&mut self, moment: Moment<'_>) -> Strike {
        self.observer.strike(self.device.record(), moment)
    }

    /// A connection does not outlive a wait: nobody would see it die.
    async fn wait(&mut self, ms: u32) {
        self.hand.hang_up();
        let wait = Duration::from_millis(ms.into());
        sleep(wait / self.settings.wait_divisor.max(1)).await;
    }

    /// `longest`, or up to a quarter less: a thousand devices that started together don't come
    /// back together.
    pub(crate) async fn idle(&mut self, longest: Duration) {
        let share = f64::from((self.surroundings.chance)()) / f64::from(u32::MAX);
        self.hand.hang_up();
        sleep(longest.mul_f64(1.0 - share / 4.0) / self.settings.wait_divisor.max(1)).await;
    }

    /// The clock, if it is believed.
    pub(crate) fn believed_clock(&self) -> Option<UnixTime> {
        let floor = self.floor();
        (self.surroundings.clock)().filter(|now| *now >= floor)
    }

    /// What is known of the time.
    pub(crate) fn time(&self) -> Time {
        let told = self
            .told
            .map(|(at, when)| at.plus(i64::try_from(when.elapsed().as_secs()).unwrap_or(i64::MAX)));
        let known = self.believed_clock().or(told);
        known.map_or(Time::AtLeast(self.floor()), Time::Known)
    }

    /// The server has told the time, under the pinned root.
    pub(crate) fn was_told(&mut self, at: UnixTime) {
        if at >= self.floor() {
            self.told = Some((at, Instant::now()));
        }
    }

    fn floor(&self) -> UnixTime {
        self.record().time_floor(self.settings.patience.built)
    }

    /// The first start writes down which hardware this is, and the token, before anything leaves.
    fn keep_what_was_given(&mut self) -> Result<(), AgentError> {
        let setup = Setup {
            hardware: self.settings.hardware.to_string(),
            product: self.settings.product.clone(),
            server: self.settings.server.to_string(),
        };
        match self.store.setup()? {
            Some(known) if known.hardware != setup.hardware => self.other_hardware = true,
            _ => self.store.keep_setup(&setup)?,
        }
        // A member has no use for a token, and would never delete it.
        if let Some(token) = self.settings.token.take()
            && self.record().credential().is_none()
        {
            self.store.keep_token(&token)?;
        }
        self.door = std::mem::take(&mut self.settings.door);
        match &self.door {
            Door::Claim(claim) if self.record().credential().is_none() => {
                self.store.keep_claim(claim)?;
            }
            Door::SharedKey(entry) if self.record().credential().is_none() => {
                self.store.keep_shared_key(entry)?;
            }
            // Whoever starts the device again need not know what it was given the first time.
            Door::Token if self.store.token()?.is_none() => {
                if let Some(claim) = self.store.claim()? {
                    self.door = Door::Claim(claim);
                } else if let Some(entry) = self.store.shared_key()? {
                    self.door = Door::SharedKey(entry);
                }
            }
            _ => {}
        }
        Ok(())
    }
}

/// How far [`Agent::run`] came.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Ran {
    ToRest,
    PowerCut,
}

impl std::fmt::Debug for Agent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Agent")
            .field("record", self.record())
            .finish_non_exhaustive()
    }
}
