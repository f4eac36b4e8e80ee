//! What the device tells the server of its own trouble (`POST /v1/report`), so that `imprint why`
//! knows both sides. Closed codes and nothing else; it changes no state on either side.

use imprint_device::{Action, Event, Failure, Quarantine};

use crate::agent::Agent;
use crate::calls::Report;
use crate::perform::Who;

impl Agent {
    /// The machine itself doubts a time: it says so by waiting where it would have gone on. Kept in
    /// words as other failures are.
    pub(crate) fn note_doubt(&mut self, event: &Event, action: &Action) {
        let (Event::Reached { at } | Event::Verified { at, .. }) = *event else {
            return;
        };
        let Some(refusal) = self.record().refusal.clone() else {
            return;
        };
        if matches!(action, Action::Wait { .. } | Action::Rest) {
            let failure = Failure {
                code: refusal.code,
                retry: refusal.retry,
            };
            let built = self.settings.patience.built;
            let text = format!("the server says that it is {at}; this program was built {built}");
            self.note(&failure, &text);
        }
    }

    /// Tells the server what it can't know: what failed on the device itself, and that the device
    /// now rests. Trouble on the way is kept and told in VERIFY; what the server refused, it knows.
    pub(crate) async fn report_trouble(&mut self, event: &Event, before: Option<Quarantine>) {
        let record = self.record();
        let report = |code: &str| Report {
            step: record.step().to_string(),
            code: code.to_owned(),
            attempts: record.attempts.into(),
        };
        let code = match event {
            Event::Failed(failure) => failure.code.to_string(),
            Event::Verified { .. } if record.attempts > 0 => record
                .refusal
                .as_ref()
                .map(|doubt| doubt.code.to_string())
                .unwrap_or_default(),
            _ => String::new(),
        };
        let came_to_rest = record.quarantine.filter(|_| before.is_none());
        match came_to_rest {
            _ if WAY.contains(&code.as_str()) => self.hand.untold = Some(report(&code)),
            Some(reason) if reason != Quarantine::Refused => {
                let report = report(reason.name());
                self.send_report(&report).await;
            }
            None if DEVICE.contains(&code.as_str()) && record.attempts <= 1 => {
                let report = report(&code);
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
const WAY: [&str; 6] = [
    "server-name-unresolved",
    "server-unreachable",
    "server-silent",
    "server-untrusted",
    "tls-failed",
    "reply-lost",
];

/// Failures that happen on the device, where no server sees them.
const DEVICE: [&str; 6] = [
    "storage-failed",
    "key-store-failed",
    "reply-unreadable",
    "handshake-resumed",
    "certificate-expired",
    "certificate-not-yet-valid",
];
