//! The machine and its journal, tied together in the order that makes power cuts harmless.

use crate::backoff::Settings;
use crate::journal::Journal;
use crate::machine::{Action, Event};
use crate::record::Record;

/// A device: where it stands, and the journal in which that is written down.
#[derive(Debug)]
pub struct Device<J> {
    record: Record,
    journal: J,
    settings: Settings,
}

impl<J: Journal> Device<J> {
    /// Reads where the device stands. Unreadable copies count as absent; with none, it is blank.
    pub fn wake(mut journal: J, settings: Settings) -> Result<Self, J::Error> {
        let record = journal.load()?.unwrap_or_default();
        Ok(Self {
            record,
            journal,
            settings,
        })
    }

    /// Takes note of `event` durably, then says what to do. `chance` is 32 random bits for jitter.
    ///
    /// On an error nothing has changed: the device stands where it stood and the action isn't due.
    /// The caller may tell the same event again.
    pub fn tell(&mut self, event: &Event, chance: u32) -> Result<Action, J::Error> {
        let (next, action) = self.record.advance(event, &self.settings, chance);
        self.journal.save(&next)?;
        self.record = next;
        Ok(action)
    }

    /// Where the device stands.
    pub fn record(&self) -> &Record {
        &self.record
    }

    /// The journal, for firmware that needs its memory back.
    pub fn into_journal(self) -> J {
        self.journal
    }
}
