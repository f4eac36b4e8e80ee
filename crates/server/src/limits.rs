//! Bounds on what one connection and all of them together may cost, with their reasons.

use std::collections::HashMap;
use std::time::Duration;

use imprint_identity::UnixTime;

/// The bounds of a running server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Connections that are served at once on each listener, from the handshake on.
    pub connections: usize,
    /// Of those, how many may come from one address (IPv6: one /64), unless it is a trusted proxy's:
    /// whoever has one address can't take every place. A factory of some thousand devices fits.
    pub connections_per_address: usize,
    /// Connections that wait for their handshake on each listener: a socket and 1 KiB each. More wait
    /// in the kernel's queue.
    pub waiting: usize,
    /// Of those, how many may come from one address. One more is closed.
    pub waiting_per_address: usize,
    /// Handshakes at once on each listener: what is between a client's first byte and its last takes some
    /// 40 KiB, and all of them share the processors.
    pub handshakes: usize,
    /// Of those, how many may be with one address. Whoever begins handshakes and does not finish them keeps
    /// so many from its own address and none from others. At a round trip of half a second these are 200
    /// devices a second.
    pub handshakes_per_address: usize,
    /// Requests on the road at once; more are told `busy`. A request waits for one or two durable
    /// commits, so this many make large commit groups and a wait of seconds at the worst.
    pub requests_in_flight: usize,
    /// Time for a TLS handshake: three round trips on a bad mobile link. Waiting for one's turn is not
    /// counted, saying nothing at the beginning is: it may last as long.
    pub handshake: Duration,
    /// How long a connection may stand in line: as long as patient clients wait for their handshake. Who has
    /// given up before costs nothing any more when its turn comes.
    pub wait: Duration,
    /// Time for a request's headers to arrive, and how long a connection may idle.
    pub headers: Duration,
    /// Time for the whole of a body to arrive, however it trickles.
    pub body: Duration,
    /// How old a connection may grow. A device that stays is asked to come again; what it proved at
    /// its handshake should not serve for days.
    pub connection_age: Duration,
    /// At the end, time for requests that are under way.
    pub drain: Duration,
    /// What MQTT adds.
    pub mqtt: MqttLimits,
}

/// The bounds of one MQTT connection, and of all of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MqttLimits {
    /// Time for CONNECT to arrive after the handshake.
    pub connect: Duration,
    /// The longest packet, all of it. A certification request of 4,096 characters (what AWS takes)
    /// in JSON, or a `RegisterThing` with all its parameters, fits well.
    pub packet_bytes: u32,
    /// Filters in one SUBSCRIBE, and subscriptions of one connection; AWS has the same numbers.
    pub filters: usize,
    /// See `filters`.
    pub subscriptions: usize,
    /// Requests of one connection that are not answered yet, and answers that it has not
    /// acknowledged yet. A device asks one thing at a time.
    pub in_flight: u16,
    /// The longest keep-alive; longer ones are cut, and MQTT 5 clients are told. AWS's maximum, and
    /// what its SDKs ask for when they are not told otherwise.
    pub keep_alive: Duration,
    /// How long a client that wants no keep-alive may say nothing.
    pub idle: Duration,
    /// How old a connection may grow. A device has nothing to do here once it has its certificate.
    pub connection_age: Duration,
}

impl Default for MqttLimits {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(5),
            packet_bytes: 16 * 1024,
            filters: 8,
            subscriptions: 50,
            in_flight: 8,
            keep_alive: Duration::from_mins(20),
            idle: Duration::from_mins(2),
            connection_age: Duration::from_hours(1),
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 8_192,
            connections_per_address: 6_144,
            waiting: 16_384,
            waiting_per_address: 12_288,
            handshakes: 1_024,
            handshakes_per_address: 256,
            requests_in_flight: 1_024,
            handshake: Duration::from_secs(5),
            wait: Duration::from_secs(30),
            headers: Duration::from_secs(10),
            body: Duration::from_secs(15),
            connection_age: Duration::from_mins(10),
            drain: Duration::from_secs(10),
            mqtt: MqttLimits::default(),
        }
    }
}

impl Limits {
    /// What those who are not in yet may take of [`Self::requests_in_flight`]: three quarters. The
    /// rest is for renewal, VERIFY and reports.
    pub(crate) fn newcomers_in_flight(&self) -> usize {
        (self.requests_in_flight - self.requests_in_flight / 4).max(1)
    }
}

/// The longest body that is taken in. It is RFC 7030's largest, see [`imprint_est::MAX_BODY`].
pub(crate) const BODY: usize = imprint_est::MAX_BODY;

/// How much of a body that is too long is read and thrown away, so that a client that is still
/// writing gets to read its 413 and not a reset.
pub(crate) const BODY_DISCARDED: usize = 1024 * 1024;

/// The longest header block of a request: names, a token and a proxy's additions fit many times.
/// hyper wants 8 KiB at least.
pub(crate) const HEADER_BYTES: usize = 16 * 1024;

/// The longest CONNECT. The client is a stranger still; the longest that an SDK sends is 400 bytes.
pub(crate) const CONNECT_BYTES: u32 = 4 * 1024;

/// The longest device report.
pub(crate) const REPORT: usize = 1024;

/// How often each device may report: [`REPORTS_A_MINUTE`].
#[derive(Debug, Default)]
pub(crate) struct ReportRate {
    windows: HashMap<String, (UnixTime, u32)>,
}

impl ReportRate {
    /// Counts a report of `subject`, or tells in how many seconds the next one is welcome.
    pub(crate) fn check(&mut self, subject: &str, now: UnixTime) -> Result<(), u32> {
        if self.windows.len() >= REPORTERS && !self.windows.contains_key(subject) {
            self.windows.retain(|_, (since, _)| is_open(*since, now));
            if self.windows.len() >= REPORTERS {
                // All of them have proven who they are; forgetting is better than growing.
                self.windows.clear();
            }
        }
        let window = self.windows.entry(subject.to_owned()).or_insert((now, 0));
        if !is_open(window.0, now) {
            *window = (now, 0);
        }
        if window.1 >= REPORTS_A_MINUTE {
            return Err(u32::try_from(60 - now.since(window.0))
                .unwrap_or(60)
                .clamp(1, 60));
        }
        window.1 += 1;
        Ok(())
    }
}

fn is_open(since: UnixTime, now: UnixTime) -> bool {
    (0..60).contains(&now.since(since))
}

/// A device that fails at every attempt reports less often than this.
const REPORTS_A_MINUTE: u32 = 12;
/// Some 100 bytes each.
const REPORTERS: usize = 65_536;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_that_reports_too_often_waits_and_others_do_not() {
        let mut rate = ReportRate::default();
        let start = UnixTime(1_795_534_500);
        for _ in 0..REPORTS_A_MINUTE {
            assert_eq!(rate.check("a", start), Ok(()));
        }
        assert_eq!(rate.check("a", start.plus(20)), Err(40));
        assert_eq!(rate.check("b", start.plus(20)), Ok(()));
        assert_eq!(rate.check("a", start.plus(60)), Ok(()));
        // A clock that was set back does not lock anybody out.
        assert_eq!(rate.check("b", start.plus(-1_000)), Ok(()));
    }

    #[test]
    fn the_memory_of_reporters_is_bounded() {
        let mut rate = ReportRate::default();
        for number in 0..=REPORTERS * 2 {
            assert_eq!(rate.check(&number.to_string(), UnixTime(0)), Ok(()));
        }
        assert!(rate.windows.len() <= REPORTERS);
    }
}
