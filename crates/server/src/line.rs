//! A line in which whoever comes last is served first.
//!
//! When a crowd is longer than can be served in time, those at the front of an ordinary line have given up
//! by the time that they are served, and everybody waits as long as can be waited. Here some wait in vain,
//! and come again; the others hardly wait. Who returns at its turn, or renews while a crowd is at the
//! door, is among the last to come.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

/// The line, and what it is for: so many at once.
#[derive(Debug)]
pub(crate) struct Line(Mutex<State>);

#[derive(Debug)]
struct State {
    free: usize,
    waiting: Vec<oneshot::Sender<Served>>,
    /// Those who gave up are looked for when so many are written down.
    sweep_at: usize,
}

/// Whose turn it is, as long as it is.
#[derive(Debug)]
pub(crate) struct Served {
    /// `None`: handed on.
    line: Option<Arc<Line>>,
}

impl Line {
    pub(crate) fn new(at_once: usize) -> Arc<Self> {
        Arc::new(Self(Mutex::new(State {
            free: at_once,
            waiting: Vec::new(),
            sweep_at: SWEEP_AT_LEAST,
        })))
    }

    /// Waits for a turn. To stop waiting is to leave the line.
    pub(crate) async fn turn(self: &Arc<Self>) -> Served {
        loop {
            let told = {
                let mut state = self.state();
                if state.free > 0 {
                    state.free -= 1;
                    return Served {
                        line: Some(Arc::clone(self)),
                    };
                }
                state.join()
            };
            // A turn that nobody took any more is handed on by its end.
            if let Ok(served) = told.await {
                return served;
            }
        }
    }

    /// The turn goes to the last who came and is still there.
    fn hand_on(self: Arc<Self>) {
        loop {
            let next = {
                let mut state = self.state();
                let Some(next) = state.waiting.pop() else {
                    state.free += 1;
                    return;
                };
                next
            };
            let served = Served {
                line: Some(Arc::clone(&self)),
            };
            match next.send(served) {
                Ok(()) => return,
                // Gone: here it must not be handed on by its end, but by this loop.
                Err(mut served) => drop(served.line.take()),
            }
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn join(&mut self) -> oneshot::Receiver<Served> {
        if self.waiting.len() >= self.sweep_at {
            self.waiting.retain(|waiting| !waiting.is_closed());
            self.sweep_at = (self.waiting.len() * 2).max(SWEEP_AT_LEAST);
        }
        let (tell, told) = oneshot::channel();
        self.waiting.push(tell);
        told
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        if let Some(line) = self.line.take() {
            line.hand_on();
        }
    }
}

const SWEEP_AT_LEAST: usize = 64;

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};
    use std::time::Duration;

    use tokio::time::timeout;

    use super::*;

    /// What is there without waiting.
    fn at_once<T>(waits: impl Future<Output = T>) -> Option<T> {
        match pin!(waits).poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(there) => Some(there),
            Poll::Pending => None,
        }
    }

    #[test]
    fn the_last_to_come_is_the_next_and_who_gave_up_is_passed_over() {
        let line = Line::new(2);
        let first = at_once(line.turn()).unwrap();
        let second = at_once(line.turn()).unwrap();
        let mut third = Box::pin(line.turn());
        let mut fourth = Box::pin(line.turn());
        let mut fifth = Box::pin(line.turn());
        for waiting in [&mut third, &mut fourth, &mut fifth] {
            assert!(at_once(waiting).is_none());
        }
        drop(fifth);
        drop(first);
        assert!(at_once(&mut third).is_none());
        let fourth = at_once(fourth).unwrap();
        drop((second, fourth));
        let third = at_once(third).unwrap();
        assert_eq!(line.state().free, 1);
        drop(third);
        assert_eq!(line.state().free, 2);
    }

    #[test]
    fn a_turn_that_nobody_took_any_more_is_not_lost() {
        let line = Line::new(1);
        let first = at_once(line.turn()).unwrap();
        let mut second = Box::pin(line.turn());
        assert!(at_once(&mut second).is_none());
        // Told, and gone before it looked.
        drop(first);
        assert_eq!(line.state().free, 0);
        drop(second);
        assert_eq!(line.state().free, 1);
    }

    #[test]
    fn thousands_who_gave_up_are_neither_kept_nor_a_deep_well() {
        let line = Line::new(1);
        let first = at_once(line.turn()).unwrap();
        let mut stays = Box::pin(line.turn());
        assert!(at_once(&mut stays).is_none());
        for _ in 0..10_000 {
            assert!(at_once(line.turn()).is_none());
        }
        assert!(line.state().waiting.len() <= SWEEP_AT_LEAST);
        // So many at once, none of whom has been swept away.
        let mut waiting: Vec<_> = (0..100_000).map(|_| Box::pin(line.turn())).collect();
        for one in &mut waiting {
            assert!(at_once(one).is_none());
        }
        drop(waiting);
        drop(first);
        assert!(at_once(stays).is_some());
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn under_many_threads_no_turn_is_lost_or_made() {
        let line = Line::new(3);
        let mut running = tokio::task::JoinSet::new();
        for number in 0..2_000_u64 {
            let line = Arc::clone(&line);
            running.spawn(async move {
                let patience = Duration::from_micros(number % 7 * 100);
                if let Ok(served) = timeout(patience, line.turn()).await {
                    tokio::task::yield_now().await;
                    drop(served);
                }
            });
        }
        running.join_all().await;
        assert_eq!(line.state().free, 3);
    }
}
