//! Places on the road, and whose turn it is: the same for every door.

use std::time::Duration;

use imprint_registrar::Ticks;
use imprint_registrar::pace::DOORSTEP_MS;
use imprint_registrar::refusal::Refusal;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::Instant;

use crate::limits::Limits;

/// How many requests are on the road at once. Whoever does not get a place is told to come again.
pub(crate) struct Gate {
    in_flight: Semaphore,
    /// Of those, what newcomers may take: a crowd at the gate leaves room for those who are in.
    newcomers: Semaphore,
    /// When the server began, for the pace of newcomers.
    began: Instant,
}

/// A place on the road, as long as it is held.
pub(crate) struct Place<'g> {
    _place: SemaphorePermit<'g>,
    _among_newcomers: Option<SemaphorePermit<'g>>,
}

impl Gate {
    pub(crate) fn new(limits: &Limits) -> Self {
        Self {
            in_flight: Semaphore::new(limits.requests_in_flight),
            newcomers: Semaphore::new(limits.newcomers_in_flight()),
            began: Instant::now(),
        }
    }

    /// A place for somebody who is in already.
    pub(crate) fn enter(&self) -> Option<Place<'_>> {
        Some(Place {
            _place: self.in_flight.try_acquire().ok()?,
            _among_newcomers: None,
        })
    }

    /// A place for a newcomer.
    pub(crate) fn enter_new(&self) -> Option<Place<'_>> {
        let among = self.newcomers.try_acquire().ok()?;
        Some(Place {
            _among_newcomers: Some(among),
            ..self.enter()?
        })
    }

    /// What time it is at the gate.
    pub(crate) fn ticks(&self) -> Ticks {
        let elapsed = self.began.elapsed().as_millis();
        Ticks(u64::try_from(elapsed).unwrap_or(u64::MAX))
    }
}

/// It is not this request's turn yet, and it is worth waiting for.
pub(crate) struct Turn(pub(crate) Duration);

impl Turn {
    /// Whether a refusal is worth waiting for.
    pub(crate) fn of(refusal: &Refusal) -> Option<Self> {
        let wait = refusal.turn.filter(|turn| *turn <= DOORSTEP_MS)?;
        Some(Self(Duration::from_millis(wait)))
    }
}
