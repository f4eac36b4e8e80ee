//! What the device tells the server of its own trouble (`POST /v1/report`), so that `imprint why`
//! knows both sides. Closed codes and nothing else; it changes no state on either side.

use imprint_device::{Event, Failure, Quarantine};

use crate::agent::Agent;
use crate::calls::Report;
use crate::perform::Who;

impl Agent {
    /// Tells the server what it can't know: what failed on the device itself, and that the device
    /// now rests. Trouble on the way is kept and told in VERIFY; what the server refused, it knows.
    pub(crate) async fn report_trouble(&mut self, event: &Event, before: Option<Quarantine>) {
        let record = self.record();
        let report = |code: &str| Report {
            step: record.step().to_string(),
            code: code.to_owned(),
            attempts: record.attempts.into(),
        };
        let came_to_rest = record.quarantine.filter(|_| before.is_none());
        match (event, came_to_rest) {
            (Event::Failed(failure), _) if is_of_the_way(failure) => {
                self.hand.untold = Some(report(failure.code.as_str()));
            }
            (_, Some(reason)) if reason != Quarantine::Refused => {
                let report = report(reason.name());
                self.send_report(&report).await;
            }
            (Event::Failed(failure), None) if is_of_the_device(failure) && record.attempts <= 1 => {
                let report = report(failure.code.as_str());
                self.send_report(&report).await;
            }
            _ => {}
        }
    }

    pub(crate) async fn tell_the_untold(&mut self) {
        if let Some(report) = self.hand.untold.take() {
            self.send_report(&report).await;
        }
    }

    /// One try. The way into the fleet never waits for it longer than for any other reply, and
    /// never fails by it.
    async fn send_report(&mut self, report: &Report) {
        let member = self
            .record()
            .credential()
            .filter(|known| self.stored(*known).is_ok());
        let (who, secret) = match (self.hand.line.as_ref().map(|(who, _)| *who), member) {
            (Some(Who::Member(credential)), _) | (None, Some(credential)) => {
                (Who::Member(credential), None)
            }
            _ => (Who::Stranger, self.bootstrap_credential().ok().flatten()),
        };
        if who == Who::Stranger && secret.is_none() {
            return;
        }
        if let Ok(mut connection) = self.line(who).await
            && self
                .server
                .report(&mut connection, report, secret.as_ref())
                .await
                .is_ok()
        {
            self.hand.line = Some((who, connection));
        }
    }
}

/// Failures between device and server: the report of one would not arrive either.
fn is_of_the_way(failure: &Failure) -> bool {
    const WAY: [&str; 6] = [
        "server-name-unresolved",
        "server-unreachable",
        "server-silent",
        "server-untrusted",
        "tls-failed",
        "reply-lost",
    ];
    WAY.contains(&failure.code.as_str())
}

/// Failures that happen on the device, where no server sees them.
fn is_of_the_device(failure: &Failure) -> bool {
    const DEVICE: [&str; 4] = [
        "storage-failed",
        "key-store-failed",
        "reply-unreadable",
        "handshake-resumed",
    ];
    DEVICE.contains(&failure.code.as_str())
}
