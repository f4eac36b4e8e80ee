//! One device's silicon and stores, the server behind the network, and the checks that hold at
//! every instant.

use std::cell::RefCell;
use std::io;

use imprint_device::file::Files;
use imprint_device::{
    Action, Credential, Digest, Event, Failure, Fingerprint, Geometry, Half, Key, Read, Retry,
    Slot, Storage, UnixTime,
};

use super::disk::Disk;
use super::memory::{Fault, Memory};
use super::oracle::Happened;
use super::power::{Cut, Power, Spark, Tear};
use super::server::{Fate, Server};

pub const BUILT: UnixTime = UnixTime(1_790_000_000);
pub const NOW: UnixTime = UnixTime(1_795_000_000);

/// Where the journal lives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Medium {
    Cells(Memory),
    Disk(Disk),
}

/// A place in a key or credential store. What was torn reads as absent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cell {
    Empty,
    Whole(u8),
    Torn,
}

#[derive(Debug, Clone)]
pub struct World {
    pub power: Power,
    pub medium: Medium,
    pub keys: [Cell; 2],
    pub credentials: [Cell; 2],
    pub bootstrap: bool,
    pub server: Server,
    /// Keys are numbered as they are made.
    pub keys_made: u8,
    pub registers: bool,
}

/// Why a run ended before its goal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End {
    Cut,
    Broken(String),
}

impl From<Cut> for End {
    fn from(_: Cut) -> Self {
        Self::Cut
    }
}

pub fn broken<T>(what: impl Into<String>) -> Result<T, End> {
    Err(End::Broken(what.into()))
}

/// What the firmware holds in memory alone.
#[derive(Debug, Default)]
pub struct Hand {
    certificate: Option<u8>,
    profile: bool,
}

impl World {
    pub fn new(medium: Medium, registers: bool, fates: Vec<Fate>) -> Self {
        Self {
            power: Power::endless(),
            medium,
            keys: [Cell::Empty; 2],
            credentials: [Cell::Empty; 2],
            bootstrap: true,
            server: Server::new(fates),
            keys_made: 0,
            registers,
        }
    }

    /// Erases and programs of the journal so far.
    pub fn journal_writes(&self) -> u32 {
        match &self.medium {
            Medium::Cells(memory) => memory.erases + memory.programs,
            Medium::Disk(disk) => disk.writes,
        }
    }

    /// A device that was a member can still be one: some slot pair that the server takes is whole.
    pub fn check_membership(&self) -> Result<(), End> {
        let live = self.server.live();
        let usable = |it: &super::server::Certificate| {
            self.keys.contains(&Cell::Whole(it.key))
                && self.credentials.contains(&Cell::Whole(it.serial))
        };
        if live.is_empty() || live.iter().any(usable) {
            return Ok(());
        }
        broken(format!(
            "no credential that works is left: {live:?}, {:?}",
            self.credentials
        ))
    }

    /// Performs `action` and says what happened, to the machine and to the oracle.
    pub fn perform(&mut self, action: Action, hand: &mut Hand) -> Result<(Event, Happened), End> {
        match action {
            Action::Bootstrap => self.ask(
                |_| Ok(()),
                |()| (Event::Reached { at: NOW }, Happened::Reached),
            ),
            Action::MakeKey { slot } => self.make_key(slot),
            Action::Enroll { key } => {
                let k = self.held(key)?;
                if !self.bootstrap {
                    return broken("asked to enroll without a bootstrap credential");
                }
                self.request(hand, |server| server.simpleenroll(k))
            }
            Action::Renew { key, credential } => {
                let k = self.held(key)?;
                self.held(credential.key)?;
                let old = self.stored(credential)?;
                self.request(hand, |server| server.simplereenroll(old, k))
            }
            Action::FetchProfile => {
                let answer =
                    self.ask(|_| Ok(()), |()| (Event::ProfileFetched, Happened::Profile))?;
                hand.profile = answer.1 == Happened::Profile;
                Ok(answer)
            }
            Action::StoreCredential { key, slot } => self.store(key, slot, hand),
            Action::Register { credential } => {
                self.stored(credential)?;
                let register = |server: &mut Server| {
                    server.registered = true;
                    Ok(())
                };
                self.ask(register, |()| (Event::Registered, Happened::Registered))
            }
            Action::Verify { credential } => {
                let (k, s) = (self.held(credential.key)?, self.stored(credential)?);
                let verified = Event::Verified {
                    at: NOW,
                    valid_from: NOW.plus(-3_600),
                    valid_until: NOW.plus(365 * 86_400),
                };
                self.ask(
                    |server| server.verify(s, k),
                    |()| (verified, Happened::Verified),
                )
            }
            Action::ForgetBootstrap => {
                if self.server.live().is_empty() {
                    return broken("the bootstrap credential goes before its successor worked");
                }
                if let Spark::Torn(tear) = self.power.spend()? {
                    self.bootstrap &= tear == Tear::Clean;
                    return Err(End::Cut);
                }
                self.bootstrap = false;
                self.power.pass()?;
                Ok((Event::Forgotten, Happened::Forgotten))
            }
            Action::Forget { key, credential } => {
                if let Some(slot) = key {
                    self.wipe_cell(|world| &mut world.keys[slot as usize])?;
                }
                self.wipe_cell(|world| &mut world.credentials[credential as usize])?;
                self.check_membership()?;
                Ok((Event::Forgotten, Happened::Forgotten))
            }
            Action::Wipe => {
                for slot in Slot::ALL {
                    self.wipe_cell(|world| &mut world.keys[slot as usize])?;
                    self.wipe_cell(|world| &mut world.credentials[slot as usize])?;
                }
                Ok((Event::Wiped, Happened::Wiped))
            }
            Action::Wait { .. } => Ok((Event::Waited, Happened::Waited)),
            Action::Rest => broken("resting is nothing to perform"),
        }
    }

    /// The key store keeps a key that is there, and makes one where there is none.
    fn make_key(&mut self, slot: Slot) -> Result<(Event, Happened), End> {
        let k = match self.keys[slot as usize] {
            Cell::Whole(k) => k,
            Cell::Empty | Cell::Torn => {
                self.keys_made += 1;
                let k = self.keys_made;
                self.write_cell(k, |world| &mut world.keys[slot as usize])?;
                k
            }
        };
        Ok((Event::KeyMade(Fingerprint([k; 32])), Happened::KeyMade(k)))
    }

    fn store(&mut self, key: Key, slot: Slot, hand: &Hand) -> Result<(Event, Happened), End> {
        let k = self.held(key)?;
        let (Some(s), true) = (hand.certificate, hand.profile) else {
            return broken("stores a credential without having certificate and profile in hand");
        };
        if self.server.certificate(s).map(|it| it.key) != Some(k) {
            return broken(format!("certificate {s} is not for key {k}"));
        }
        if self.credentials[slot as usize] != Cell::Whole(s) {
            self.write_cell(s, |world| &mut world.credentials[slot as usize])?;
        }
        let (digest, registered) = (Digest([s; 32]), !self.registers);
        Ok((
            Event::Stored { digest, registered },
            Happened::Stored { s, registered },
        ))
    }

    fn request(
        &mut self,
        hand: &mut Hand,
        ask: impl FnOnce(&mut Server) -> Result<u8, String>,
    ) -> Result<(Event, Happened), End> {
        let mut certificate = None;
        let answer = self.ask(ask, |serial| {
            certificate = Some(serial);
            (Event::Enrolled, Happened::Enrolled)
        })?;
        *hand = Hand {
            certificate,
            profile: false,
        };
        Ok(answer)
    }

    /// One exchange with the server: power may fail before it, and after the server has acted.
    fn ask<T>(
        &mut self,
        ask: impl FnOnce(&mut Server) -> Result<T, String>,
        answered: impl FnOnce(T) -> (Event, Happened),
    ) -> Result<(Event, Happened), End> {
        let trouble = |failure| Ok((Event::Failed(failure), Happened::Trouble));
        self.power.pass()?;
        let fate = self.server.fate();
        match fate {
            Fate::RequestLost => return trouble(Failure::passing("server-unreachable")),
            Fate::Pending => {
                let pending = Failure::passing("approval-pending");
                return Ok((Event::Pending(pending), Happened::Trouble));
            }
            Fate::Turn => {
                let turn = Failure {
                    retry: Retry::After(1),
                    ..Failure::passing("rate-limited")
                };
                return Ok((Event::Turn(turn), Happened::Trouble));
            }
            Fate::Fine | Fate::ReplyLost => {}
        }
        let reply = ask(&mut self.server).map_err(End::Broken)?;
        self.power.pass()?;
        if fate == Fate::ReplyLost {
            return trouble(Failure::passing("server-unreachable"));
        }
        Ok(answered(reply))
    }

    /// The key by its number, which must be in the key store: a request for it may have left.
    fn held(&self, key: Key) -> Result<u8, End> {
        let k = key.fingerprint.0[0];
        if self.keys[key.slot as usize] == Cell::Whole(k) {
            return Ok(k);
        }
        broken(format!(
            "key {k} is lost: {:?} in {:?}",
            self.keys, key.slot
        ))
    }

    fn stored(&self, credential: Credential) -> Result<u8, End> {
        let s = credential.digest.0[0];
        if self.credentials[credential.slot as usize] == Cell::Whole(s) {
            return Ok(s);
        }
        broken(format!(
            "credential {s} is lost: {:?} in {:?}",
            self.credentials, credential.slot
        ))
    }

    fn write_cell(&mut self, new: u8, cell: impl Fn(&mut Self) -> &mut Cell) -> Result<(), End> {
        match self.power.spend()? {
            Spark::Torn(Tear::Clean | Tear::Faint(0)) => return Err(End::Cut),
            Spark::Torn(Tear::Byte(_) | Tear::Word(_)) => {
                *cell(self) = Cell::Torn;
                return Err(End::Cut);
            }
            Spark::Torn(_) => {
                *cell(self) = Cell::Whole(new);
                return Err(End::Cut);
            }
            // Stores read back what they write, so an ignored write is tried again.
            Spark::Whole | Spark::Skipped => *cell(self) = Cell::Whole(new),
        }
        Ok(self.power.pass()?)
    }

    fn wipe_cell(&mut self, cell: impl Fn(&mut Self) -> &mut Cell) -> Result<(), End> {
        if *cell(self) == Cell::Empty {
            return Ok(());
        }
        match self.power.spend()? {
            Spark::Torn(Tear::Clean | Tear::Faint(0)) => return Err(End::Cut),
            Spark::Torn(Tear::Byte(_) | Tear::Word(_)) => {
                *cell(self) = Cell::Torn;
                return Err(End::Cut);
            }
            Spark::Torn(_) => {
                *cell(self) = Cell::Empty;
                return Err(End::Cut);
            }
            Spark::Whole | Spark::Skipped => *cell(self) = Cell::Empty,
        }
        Ok(self.power.pass()?)
    }
}

/// The journal's way to the medium.
pub struct Port<'a>(pub &'a RefCell<World>);

impl Port<'_> {
    fn cells<T>(
        &self,
        act: impl FnOnce(&mut Memory, &mut Power) -> Result<T, Fault>,
    ) -> Result<T, Fault> {
        let World { medium, power, .. } = &mut *self.0.borrow_mut();
        match medium {
            Medium::Cells(memory) => act(memory, power),
            Medium::Disk(_) => unreachable!("a journal on a disk has no cells"),
        }
    }

    fn disk<T>(&self, act: impl FnOnce(&mut Disk, &mut Power) -> io::Result<T>) -> io::Result<T> {
        let World { medium, power, .. } = &mut *self.0.borrow_mut();
        match medium {
            Medium::Disk(disk) => act(disk, power),
            Medium::Cells(_) => unreachable!("a journal on cells has no disk"),
        }
    }
}

impl Storage for Port<'_> {
    type Error = Fault;

    fn geometry(&self) -> Geometry {
        match &self.0.borrow().medium {
            Medium::Cells(memory) => memory.geometry,
            Medium::Disk(_) => unreachable!("a journal on a disk has no cells"),
        }
    }

    fn read(&mut self, half: Half, offset: usize, out: &mut [u8]) -> Result<Read, Fault> {
        self.cells(|memory, power| memory.read(power, half, offset, out))
    }

    fn erase(&mut self, half: Half) -> Result<(), Fault> {
        self.cells(|memory, power| memory.erase(power, half))
    }

    fn program(&mut self, half: Half, offset: usize, bytes: &[u8]) -> Result<(), Fault> {
        self.cells(|memory, power| memory.program(power, half, offset, bytes))
    }
}

impl Files for Port<'_> {
    fn read(&mut self, name: &str) -> io::Result<Option<Vec<u8>>> {
        self.disk(|disk, power| disk.read(power, name))
    }

    fn write(&mut self, name: &str, bytes: &[u8]) -> io::Result<()> {
        self.disk(|disk, power| disk.write(power, name, bytes))
    }

    fn sync(&mut self, name: &str) -> io::Result<()> {
        self.disk(|disk, power| disk.sync(power, name))
    }

    fn rename(&mut self, from: &str, to: &str) -> io::Result<()> {
        self.disk(|disk, power| disk.rename(power, from, to))
    }

    fn sync_names(&mut self) -> io::Result<()> {
        self.disk(Disk::sync_names)
    }
}
