//! What a server has granted a crowd, and when, as its own log tells it.
//!
//! A device's clock says when an answer arrived. On a machine that stalls for half a second, a second of
//! grants arrives in half a one: what the pace is about is what the server lets in.

use std::time::Duration;

/// One grant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Granted {
    pub(crate) what: Grant,
    /// When it was let in, since the server began.
    pub(crate) let_in: Duration,
    /// When the answer was ready: the time of day of the line.
    pub(crate) handed_over: Duration,
}

/// What a server grants a newcomer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Grant {
    Certificate,
    Registration,
}

impl Granted {
    /// Reads a line of the log. Renewals, and answers that were given before, are no grants; neither is
    /// what others than `product`, or the claim of that name, were given.
    pub(crate) fn read(line: &str, product: &str) -> Option<Self> {
        let (what, whose) = if line.contains("registered by claim") {
            (Grant::Registration, "claim")
        } else if line.contains("pending certificate handed over") {
            (Grant::Certificate, "claim")
        } else if line.contains("certificate handed over") && line.contains(" kind=Enroll ") {
            (Grant::Certificate, "product")
        } else {
            return None;
        };
        let is_theirs = line.contains(&format!(" {whose}=\"{product}\" "));
        if !is_theirs || !line.contains(" again=false ") {
            return None;
        }
        let (_, let_in) = line.split_once(" let_in_ms=")?;
        let let_in = let_in.split(' ').next()?.parse().ok()?;
        Some(Self {
            what,
            let_in: Duration::from_millis(let_in),
            handed_over: time_of_day(line)?,
        })
    }

    /// Whether a line may be one.
    pub(crate) fn is_worth_keeping(line: &str) -> bool {
        line.contains(" let_in_ms=")
    }
}

/// `2026-11-27T15:24:26.123456Z` and what follows.
fn time_of_day(line: &str) -> Option<Duration> {
    let (_, time) = line.split_once('T')?;
    let (time, _) = time.split_once('Z')?;
    let mut parts = time.split(':');
    let hours: u64 = parts.next()?.parse().ok()?;
    let minutes: u64 = parts.next()?.parse().ok()?;
    let seconds: f64 = parts.next()?.parse().ok()?;
    let whole = Duration::from_secs(hours * 3_600 + minutes * 60);
    Some(whole + Duration::try_from_secs_f64(seconds).ok()?)
}

/// The most of these moments that lie within one second.
pub(crate) fn busiest_second(mut moments: Vec<Duration>) -> usize {
    moments.sort_unstable();
    let mut most = 0;
    let mut from = moments.iter().peekable();
    let mut open = 0;
    for moment in &moments {
        open += 1;
        while from
            .next_if(|&&first| first + Duration::from_secs(1) <= *moment)
            .is_some()
        {
            open -= 1;
        }
        most = most.max(open);
    }
    most
}

#[cfg(test)]
mod tests {
    use super::*;

    const ENROLLED: &str = "2026-11-27T01:00:02.500000Z  INFO imprint_server::est: certificate handed \
        over enrollment=ab device=crowd-7 product=\"crowd\" address=\"127.0.0.1\" kind=Enroll \
        again=false let_in_ms=1234";

    #[test]
    fn a_grant_is_read_from_its_line_and_nothing_else_is_one() {
        let granted = Granted::read(ENROLLED, "crowd").unwrap();
        assert_eq!(granted.what, Grant::Certificate);
        assert_eq!(granted.let_in, Duration::from_millis(1_234));
        assert_eq!(granted.handed_over, Duration::from_millis(3_602_500));
        for (from, to) in [
            ("again=false", "again=true"),
            ("kind=Enroll ", "kind=Reenroll "),
            ("\"crowd\"", "\"thermo\""),
            ("handed over", "kept"),
            ("let_in_ms=1234", "let_in_ms=x"),
        ] {
            let line = ENROLLED.replace(from, to);
            assert_eq!(Granted::read(&line, "crowd"), None, "{line}");
        }
    }

    #[test]
    fn by_claim_there_are_two() {
        let line = "2026-11-27T01:00:02.5Z  INFO imprint_server::claim: pending certificate handed over \
            certificate=\"ab\" claim=\"crowd\" address=\"127.0.0.1\" again=false let_in_ms=5";
        let granted = Granted::read(line, "crowd").unwrap();
        assert_eq!(granted.what, Grant::Certificate);
        let line = line.replace("pending certificate handed over", "registered by claim");
        let granted = Granted::read(&line, "crowd").unwrap();
        assert_eq!(granted.what, Grant::Registration);
    }

    #[test]
    fn the_busiest_second_is_found_wherever_it_begins() {
        let at = |moments: &[u64]| -> Vec<Duration> {
            moments.iter().copied().map(Duration::from_millis).collect()
        };
        assert_eq!(busiest_second(at(&[])), 0);
        assert_eq!(busiest_second(at(&[1_000, 0, 999])), 2);
        assert_eq!(busiest_second(at(&[0, 700, 1_200, 1_600, 2_500])), 3);
    }
}
