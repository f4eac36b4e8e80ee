//! Where callers stop, so that the seed decides whose call is next.

use std::future::poll_fn;
use std::sync::Mutex;
use std::task::Poll;

use imprint_sim::tap::{Call, Tap};

use super::planted::Spoiler;

/// The gates of one run. One caller is polled at a time, and whoever polls says which.
pub(super) struct Gates {
    state: Mutex<State>,
    spoiler: Option<Spoiler>,
}

#[derive(Default)]
struct State {
    /// Who is being polled.
    current: usize,
    /// Who stands at a gate, and at which.
    parked: Vec<(usize, At)>,
}

/// A gate: before a call or after it.
#[derive(Debug, Clone)]
pub(super) struct At {
    pub(super) call: Call,
    pub(super) happened: bool,
}

impl Gates {
    pub(super) fn new(spoiler: Option<Spoiler>) -> Self {
        Self {
            state: Mutex::default(),
            spoiler,
        }
    }

    /// This caller is polled from now on, and leaves the gate at which it stands.
    pub(super) fn let_pass(&self, caller: usize) {
        self.forget(caller);
        self.state.lock().unwrap().current = caller;
    }

    /// The gate at which this caller stands.
    pub(super) fn at(&self, caller: usize) -> Option<At> {
        let state = self.state.lock().unwrap();
        state
            .parked
            .iter()
            .find(|(parked, _)| *parked == caller)
            .map(|(_, at)| at.clone())
    }

    /// This caller is gone.
    pub(super) fn forget(&self, caller: usize) {
        self.state
            .lock()
            .unwrap()
            .parked
            .retain(|(parked, _)| *parked != caller);
    }

    /// Parks the current caller until it is let pass. Only [`Self::let_pass`] unparks, and it is
    /// followed by a poll, so nobody needs to be woken.
    async fn stop(&self, call: &Call, happened: bool) {
        let mut caller = None;
        poll_fn(|_| {
            let mut state = self.state.lock().unwrap();
            match caller {
                None => {
                    let here = state.current;
                    caller = Some(here);
                    state.parked.push((
                        here,
                        At {
                            call: call.clone(),
                            happened,
                        },
                    ));
                    Poll::Pending
                }
                Some(here) if state.parked.iter().any(|(parked, _)| *parked == here) => {
                    Poll::Pending
                }
                Some(_) => Poll::Ready(()),
            }
        })
        .await;
    }
}

impl Tap for Gates {
    async fn before(&self, call: &Call) {
        if BEFORE.contains(&call.name) {
            self.stop(call, false).await;
        }
        if let Some(spoiler) = &self.spoiler {
            spoiler.before(call);
        }
    }

    async fn after(&self, call: &Call) {
        if let Some(spoiler) = &self.spoiler {
            spoiler.after(call);
        }
        if AFTER.contains(&call.name) {
            self.stop(call, true).await;
        }
    }
}

/// Before these, the world may change under a caller that has decided already.
const BEFORE: [&str; 6] = [
    "enrollment_intend",
    "enrollment_settle",
    "credential_verify",
    "sign",
    "token_act",
    "device_act",
];
/// After these, a caller may be gone before it knows.
const AFTER: [&str; 7] = [
    "enrollment_facts",
    "enrollment_intend",
    "enrollment_settle",
    "credential_facts",
    "credential_verify",
    "sign",
    "token_act",
];
