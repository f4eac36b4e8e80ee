//! The machine and its journal, tied together in the order that makes power cuts harmless.

use crate::backoff::{QuarantineRule, Settings};
use crate::journal::Journal;
use crate::machine::{Action, Event};
use crate::record::Record;

/// A device: where it stands, and the journal in which that is written down.
#[derive(Debug)]
pub struct Device<J> {
    record: Record,
    journal: J,
    settings: Settings,
    /// Turns in a row that the device was given at this place. Not written down: the bound is against
    /// a server that names turns without end, and who was switched off asks anew anyway.
    turns: u8,
}

impl<J: Journal> Device<J> {
    /// Reads where the device stands. Unreadable copies count as absent; with none, it is blank.
    pub fn wake(mut journal: J, settings: Settings) -> Result<Self, J::Error> {
        let record = journal.load()?.unwrap_or_default();
        Ok(Self {
            record,
            journal,
            settings,
            turns: 0,
        })
    }

    /// Takes note of `event` durably, then says what to do. `chance` is 32 random bits for jitter.
    ///
    /// On an error nothing has changed: the device stands where it stood and the action isn't due.
    /// The caller may tell the same event again.
    pub fn tell(&mut self, event: &Event, chance: u32) -> Result<Action, J::Error> {
        let failed = self.turned_away_too_often(event);
        let event = failed.as_ref().unwrap_or(event);
        let (next, action) = self.record.advance(event, &self.settings, chance);
        self.journal.save(&next)?;
        if next.place != self.record.place {
            self.turns = 0;
        } else if matches!(event, Event::Turn(_)) {
            self.turns += 1;
        }
        self.record = next;
        Ok(action)
    }

    /// A turn that is no turn any more: the server has named so many in a row and honoured none.
    fn turned_away_too_often(&self, event: &Event) -> Option<Event> {
        match event {
            Event::Turn(failure) if self.turns >= TURNS_OBEYED => {
                Some(Event::Failed(failure.clone()))
            }
            _ => None,
        }
    }

    /// What exhausted attempts lead to from now on: the product's word, once the device has it in its
    /// connection profile.
    pub fn follow(&mut self, rule: QuarantineRule) {
        self.settings.quarantine = rule;
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

/// Turns in a row after which the next one counts as a failure. An honest server needs one or two, and as
/// many again when it forgets them in a restart; with a second each at the least, a dishonest one gets eight
/// requests, then as many as any failure would cost.
const TURNS_OBEYED: u8 = 8;
