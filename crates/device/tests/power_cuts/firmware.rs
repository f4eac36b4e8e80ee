//! The device's firmware around the machine: boot, tell, perform, and a person who gives orders.
//! After each step the oracle says where the device must stand.

use std::cell::RefCell;
use std::fmt::Debug;

use imprint_device::file::FileJournal;
use imprint_device::{Action, Device, Event, Journal, QuarantineRule, Settings, TwoCopies};

use super::oracle::{Happened, Stage, Todo, View, view};
use super::world::{BUILT, End, Hand, Medium, NOW, Port, World, broken};

/// What a person or a schedule wants of a device that is a member, once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    Nothing,
    Renew { rekey: bool },
    Reset,
    Rest,
}

/// A run: the world, what is to come of it, and what the oracle knows.
#[derive(Debug, Clone)]
pub struct Run {
    pub world: RefCell<World>,
    pub order: Order,
    pub done: bool,
    /// Where the device must stand: both, if a save was interrupted.
    pub legal: (View, View),
    /// Where it stood before it last moved on.
    pub before_last: View,
    /// Somebody pulls the plug after so many steps, if the device isn't at rest by then.
    pub steps: u32,
}

/// More than any undisturbed device needs.
const PLENTY: u32 = 100;

const SETTINGS: Settings = Settings {
    built: BUILT,
    quarantine: QuarantineRule::FinalOnly,
    attempts: 3,
    first_wait_ms: 1,
    slow_poll_ms: 10,
};

impl Run {
    pub fn new(world: World, order: Order) -> Self {
        let fresh = View {
            stage: Stage::Fresh,
            resting: false,
        };
        Self {
            world: RefCell::new(world),
            order,
            done: order == Order::Nothing,
            legal: (fresh, fresh),
            before_last: fresh,
            steps: PLENTY,
        }
    }

    /// Powers the device and lets it go on until it rests with all orders done, or power fails.
    pub fn boot(&mut self) -> Result<(), End> {
        let mut world = self.world.clone();
        let cells = match &mut world.get_mut().medium {
            Medium::Cells(memory) => {
                memory.warm = !memory.warm;
                true
            }
            Medium::Disk(_) => false,
        };
        let end = if cells {
            self.go_on(TwoCopies::new(Port(&world)), &world)
        } else {
            self.go_on(FileJournal::on(Port(&world)), &world)
        };
        self.world = world;
        if let Err(End::Broken(_)) = end {
            return end;
        }
        // A reset on its way deletes what works; nothing else may.
        if self.order != Order::Reset {
            self.world.borrow().check_membership()?;
        }
        end
    }

    fn go_on<J>(&mut self, journal: J, world: &RefCell<World>) -> Result<(), End>
    where
        J: Journal,
        J::Error: Debug,
    {
        let dead = |error: J::Error| {
            if world.borrow().power.dead {
                End::Cut
            } else {
                End::Broken(format!("the journal failed: {error:?}"))
            }
        };
        let mut device = Device::wake(journal, SETTINGS).map_err(dead)?;
        self.stands_at(view(device.record()))?;
        self.person_looks(world);
        let (mut hand, mut event, mut happened) =
            (Hand::default(), Event::PowerOn, Happened::PowerOn);
        for _ in 0..self.steps {
            let from = self.legal.0;
            self.legal = (from, from.after(happened));
            let action = device.tell(&event, 7).map_err(dead)?;
            if self.legal.1 != from {
                self.before_last = from;
            }
            self.legal.0 = self.legal.1;
            self.stands_at(view(device.record()))?;
            self.check_claim(world)?;
            if action == Action::Rest {
                self.person_looks(world);
                match self.next_order() {
                    Some(next) => (event, happened) = next,
                    None => return Ok(()),
                }
            } else {
                (event, happened) = world.borrow_mut().perform(action, &mut hand)?;
            }
        }
        if self.steps < PLENTY {
            return Err(End::Cut);
        }
        broken("a hundred steps and no rest")
    }

    fn stands_at(&mut self, now: View) -> Result<(), End> {
        if now != self.legal.0 && now != self.legal.1 {
            return broken(format!("stands at {now:?}, legal are {:?}", self.legal));
        }
        self.legal = (now, now);
        Ok(())
    }

    /// PROVISIONED is a claim that the server must confirm.
    fn check_claim(&self, world: &RefCell<World>) -> Result<(), End> {
        let Some(serial) = self.legal.0.membership() else {
            return Ok(());
        };
        match world.borrow().server.certificate(serial) {
            Some(it) if it.used => Ok(()),
            other => broken(format!("a member by {other:?}, which was never used")),
        }
    }

    /// The owner of a device that was reset gives it a new token, once.
    fn person_looks(&mut self, world: &RefCell<World>) {
        let mut world = world.borrow_mut();
        let blank = self.legal.0.stage == Stage::Fresh && world.server.tokens == 1;
        if self.order == Order::Reset && blank && !world.server.live().is_empty() {
            world.bootstrap = true;
            world.server.tokens += 1;
            world.server.token = super::server::Token::Open;
            self.done = true;
        }
    }

    /// What the person does with a device that rests.
    fn next_order(&mut self) -> Option<(Event, Happened)> {
        let View { stage, resting } = self.legal.0;
        if resting {
            self.done = true;
            return Some((Event::Release, Happened::Release));
        }
        match (stage, self.order) {
            (Stage::Fresh, _) => Some((Event::PowerOn, Happened::PowerOn)),
            (
                Stage::Member {
                    todo: Todo::Nothing,
                    s: 1,
                    ..
                },
                Order::Renew { rekey },
            ) => {
                let at = NOW.plus(200 * 86_400);
                Some((
                    Event::RenewalDue { at, rekey },
                    Happened::RenewalDue { rekey },
                ))
            }
            (_, Order::Reset) if !self.done => Some((Event::FactoryReset, Happened::Reset)),
            (_, Order::Rest) if !self.done => Some((Event::OperatorQuarantine, Happened::Operator)),
            _ => None,
        }
    }

    /// With somebody who pulls the plug after `steps` steps.
    pub fn for_steps(self, steps: u32) -> Self {
        Self { steps, ..self }
    }

    /// With all the time that it needs.
    pub fn in_peace(self) -> Self {
        self.for_steps(PLENTY)
    }

    /// Everything that must be true when it is over.
    pub fn check_end(&self) -> Result<(), End> {
        let world = self.world.borrow();
        let live = world.server.live();
        let [it] = live.as_slice() else {
            return broken(format!("identities: {live:?}"));
        };
        let want = View {
            stage: Stage::Member {
                k: it.key,
                s: it.serial,
                todo: Todo::Nothing,
            },
            resting: false,
        };
        if self.legal.0 != want {
            return broken(format!("{:?} at the end, not {want:?}", self.legal.0));
        }
        let (certificates, tokens) = match self.order {
            Order::Nothing | Order::Rest => (1, 1),
            Order::Renew { .. } => (2, 1),
            Order::Reset => (2, 2),
        };
        if (world.server.certificates.len(), world.server.tokens) != (certificates, tokens) {
            return broken(format!(
                "too many certificates: {:?}",
                world.server.certificates
            ));
        }
        if world.bootstrap {
            return broken("the bootstrap credential is still there");
        }
        if world.registers && !world.server.registered {
            return broken("the fleet has no record of the device");
        }
        world.check_membership()
    }
}
