//! What the audience sees: one line a step, with the time since the curtain rose.

use std::io::Write as _;
use std::sync::Mutex;
use std::time::Duration;

use tokio::time::Instant;

/// Prints lines whole, and notes when devices got in.
pub(crate) struct Stage {
    began: Instant,
    provisioned: Mutex<Vec<Duration>>,
}

impl Stage {
    pub(crate) fn new(began: Instant) -> Self {
        Self {
            began,
            provisioned: Mutex::new(Vec::new()),
        }
    }

    pub(crate) fn say(&self, who: &str, what: &str) {
        let at = self.began.elapsed().as_secs_f64();
        let line = format!("{at:7.3} s  {who:16} {what}\n");
        // An audience that leaves does not end the play.
        let _ = std::io::stdout().lock().write_all(line.as_bytes());
    }

    /// A device is in.
    pub(crate) fn provisioned(&self) {
        if let Ok(mut times) = self.provisioned.lock() {
            times.push(self.began.elapsed());
        }
    }

    /// When the devices got in, in that order.
    pub(crate) fn times(&self) -> Vec<Duration> {
        let mut times = self
            .provisioned
            .lock()
            .map(|times| times.clone())
            .unwrap_or_default();
        times.sort();
        times
    }
}
