//! Who watches a device, and who may break it: the command line prints steps, the demonstration
//! also cuts the power.

use imprint_device::{Action, Event, Record};

use crate::store::RefusalText;

/// Watches. Every method has a default that does nothing.
pub trait Observer: Send {
    /// `event` has happened and is journaled, the device stands at `record`, `action` comes next.
    fn step(&mut self, record: &Record, event: &Event, action: &Action) {
        let _ = (record, event, action);
    }

    /// Something failed or was refused, in words.
    fn trouble(&mut self, record: &Record, refusal: &RefusalText) {
        let _ = (record, refusal);
    }

    /// Whether fate strikes now. For demonstrations and tests.
    fn strike(&mut self, record: &Record, moment: Moment<'_>) -> Strike {
        let _ = (record, moment);
        Strike::None
    }
}

/// Watches nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct Silent;

impl Observer for Silent {}

/// The instants at which fate may strike, in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moment<'a> {
    /// The journal holds the step, this action has not begun.
    Journaled(&'a Action),
    /// The server has answered this action's request, the device has seen nothing of it yet.
    Answered(&'a Action),
    /// This action is done, its event is not journaled.
    Performed(&'a Action),
}

/// What happens at a [`Moment`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Strike {
    /// Nothing.
    None,
    /// The power goes: the agent ends at once, and nothing in memory survives.
    PowerCut,
    /// The reply is lost and the connection is dead. At other moments than
    /// [`Moment::Answered`] this is nothing.
    ReplyLost,
}
