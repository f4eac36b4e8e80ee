//! Brakes on guessing, and samples of what strangers get refused. Bounded memory, no clock.

use std::borrow::Cow;
use std::collections::HashMap;
use std::net::Ipv6Addr;

use imprint_identity::UnixTime;

use crate::ledger::RefusalSample;

/// Who is guessing: an address, and the hardware id that it used.
#[derive(Debug, Clone)]
pub(crate) struct Guess {
    pub(crate) address: String,
    pub(crate) id: Option<String>,
}

/// Counts wrong credentials by address, by id, and by both together.
///
/// Many devices may share one address (a factory, a carrier's NAT), so an address earns a larger
/// allowance by every credential that is good. An id alone has a wide limit: otherwise a stranger
/// could keep a device's own mistakes from being explained by guessing in its name. None of them
/// stops a credential that is good.
#[derive(Debug, Default)]
pub(crate) struct Guesses {
    windows: HashMap<String, Window>,
}

#[derive(Debug, Clone, Copy)]
struct Window {
    started: UnixTime,
    missed: u32,
    good: u32,
}

impl Guesses {
    /// Whether this asker may try; else the seconds to wait.
    pub(crate) fn check(&self, guess: &Guess, now: UnixTime) -> Result<(), u32> {
        for (key, limit) in keys(guess) {
            let Some(window) = self.windows.get(&key).filter(|window| window.is_open(now)) else {
                continue;
            };
            let allowance = limit + window.good.min(GOOD_COUNTED) * FOR_EACH_GOOD;
            if window.missed >= allowance {
                let waited = u32::try_from(now.since(window.started)).unwrap_or(0);
                return Err(WINDOW_SECONDS.saturating_sub(waited).max(1));
            }
        }
        Ok(())
    }

    /// A credential was wrong.
    pub(crate) fn missed(&mut self, guess: &Guess, now: UnixTime) {
        for (key, _) in keys(guess) {
            self.window(key, now).missed += 1;
        }
    }

    /// A credential from this address was good.
    pub(crate) fn good(&mut self, address: &str, now: UnixTime) {
        // Only an address that has missed needs an allowance: the common case touches no memory.
        let key = address_key(address);
        if let Some(window) = self
            .windows
            .get_mut(&key)
            .filter(|window| window.is_open(now))
        {
            window.good = window.good.saturating_add(1);
        }
    }

    fn window(&mut self, key: String, now: UnixTime) -> &mut Window {
        if self.windows.len() >= MOST_WINDOWS && !self.windows.contains_key(&key) {
            self.windows.retain(|_, window| window.is_open(now));
            if self.windows.len() >= MOST_WINDOWS {
                // Under a flood from everywhere, forgetting is better than growing.
                self.windows.clear();
            }
        }
        let fresh = Window {
            started: now,
            missed: 0,
            good: 0,
        };
        let window = self.windows.entry(key).or_insert(fresh);
        if !window.is_open(now) {
            *window = fresh;
        }
        window
    }
}

impl Window {
    /// A clock that went back closes the window as well: better a lost count than a lock for ever.
    fn is_open(&self, now: UnixTime) -> bool {
        (0..i64::from(WINDOW_SECONDS)).contains(&now.since(self.started))
    }
}

/// How often a device may have a new certificate by the one before.
///
/// Each one that it does not use is a row for ever and an entry on the revocation list, and a device
/// that has been taken over, or that turns in a circle, would ask a hundred times a second.
#[derive(Debug, Default)]
pub(crate) struct Renewals {
    windows: HashMap<String, (UnixTime, u32)>,
}

impl Renewals {
    /// Counts a new certificate for `device` and answers how many that makes; else the seconds to wait.
    pub(crate) fn check(&mut self, device: &str, now: UnixTime) -> Result<u32, u32> {
        let is_open = |since: UnixTime| (0..i64::from(RENEWAL_SECONDS)).contains(&now.since(since));
        if self.windows.len() >= MOST_WINDOWS && !self.windows.contains_key(device) {
            self.windows.retain(|_, (since, _)| is_open(*since));
            if self.windows.len() >= MOST_WINDOWS {
                // So many devices renew in an hour: forgetting is better than growing.
                self.windows.clear();
            }
        }
        let window = self.windows.entry(device.to_owned()).or_insert((now, 0));
        if !is_open(window.0) {
            *window = (now, 0);
        }
        if window.1 >= RENEWALS {
            let waited = u32::try_from(now.since(window.0)).unwrap_or(0);
            return Err(RENEWAL_SECONDS.saturating_sub(waited).max(1));
        }
        window.1 += 1;
        Ok(window.1)
    }
}

fn keys(guess: &Guess) -> impl Iterator<Item = (String, u32)> {
    let address = (address_key(&guess.address), BY_ADDRESS);
    let by_id = guess.id.as_ref().map(|id| (format!("i:{id}"), BY_ID));
    let by_both = guess
        .id
        .as_ref()
        .map(|id| (format!("b:{}:{id}", network(&guess.address)), BY_BOTH));
    [Some(address), by_id, by_both].into_iter().flatten()
}

fn address_key(address: &str) -> String {
    format!("a:{}", network(address))
}

/// Whoever has one IPv6 address has at least the 2^64 of its subnet, and counts as one.
pub(crate) fn network(address: &str) -> Cow<'_, str> {
    match address.parse::<Ipv6Addr>() {
        Ok(address) => {
            let subnet = address.to_bits() >> 64 << 64;
            Cow::Owned(format!("{}/64", Ipv6Addr::from_bits(subnet)))
        }
        Err(_) => Cow::Borrowed(address),
    }
}

const WINDOW_SECONDS: u32 = 60;
/// A person mistypes a few times; a station with a stack of old tokens fails some dozen times.
const BY_ADDRESS: u32 = 100;
const FOR_EACH_GOOD: u32 = 4;
const GOOD_COUNTED: u32 = 10_000;
const BY_ID: u32 = 1_000;
const BY_BOTH: u32 = 10;
/// The shortest life is a day, so an honest device needs one or two in a day; the rest is for a person
/// who tries things out.
const RENEWALS: u32 = 24;
const RENEWAL_SECONDS: u32 = 3_600;
/// About 10 MB at worst.
const MOST_WINDOWS: usize = 65_536;

/// Samples of refusals between two rounds of housekeeping: counted, never a row each.
///
/// Each is a row of the journal, which is kept for ever. So the first few of a kind in a minute are
/// told at once, for whoever is looking, and the rest at its end in one.
#[derive(Debug, Default)]
pub(crate) struct Samples {
    since: UnixTime,
    kept: HashMap<(String, String), Kept>,
    by_address: HashMap<String, u32>,
}

#[derive(Debug)]
struct Kept {
    /// The last one; its `count` is of those that have not been told.
    sample: RefusalSample,
    /// Rows told in this minute.
    told: u32,
}

impl Samples {
    pub(crate) fn add(&mut self, sample: RefusalSample) {
        let key = (sample.subject.clone(), sample.code.clone());
        if !self.kept.contains_key(&key) {
            // Beyond its share, the address stands for all its subjects, and a flood for all
            // addresses.
            let instead = if self.kept.len() >= MOST_SAMPLES {
                Some(EVERYBODY.to_owned())
            } else {
                let address = network(&sample.address).into_owned();
                let from_here = self.by_address.entry(address.clone()).or_default();
                *from_here = from_here.saturating_add(1);
                (*from_here > SUBJECTS_BY_ADDRESS).then_some(address)
            };
            if let Some(subject) = instead {
                let key = (subject.clone(), key.1);
                return self.count(key, RefusalSample { subject, ..sample });
            }
        }
        self.count(key, sample);
    }

    fn count(&mut self, key: (String, String), sample: RefusalSample) {
        let before = self.kept.remove(&key);
        let (count, told) = before.map_or((0, 0), |kept| (kept.sample.count, kept.told));
        let sample = RefusalSample {
            count: count.saturating_add(1),
            ..sample
        };
        self.kept.insert(key, Kept { sample, told });
    }

    /// What is to be written down now.
    pub(crate) fn drain(&mut self, now: UnixTime) -> Vec<RefusalSample> {
        let is_over = !(0..i64::from(WINDOW_SECONDS)).contains(&now.since(self.since));
        let mut samples = Vec::new();
        for kept in self.kept.values_mut() {
            if kept.sample.count > 0 && (is_over || kept.told < TOLD_AT_ONCE) {
                samples.push(kept.sample.clone());
                kept.sample.count = 0;
                kept.told += 1;
            }
        }
        if is_over {
            *self = Self {
                since: now,
                ..Self::default()
            };
        }
        samples.sort_by(|a, b| (&a.subject, &a.code).cmp(&(&b.subject, &b.code)));
        samples
    }
}

/// Of one kind in a minute, told one by one.
const TOLD_AT_ONCE: u32 = 4;
/// What each address may fill of one minute.
const SUBJECTS_BY_ADDRESS: u32 = 64;
/// One minute's subjects, at most (and one more for each code, for everybody else).
const MOST_SAMPLES: usize = 1_024;
const EVERYBODY: &str = "(many)";

#[cfg(test)]
mod tests {
    use imprint_identity::Step;

    use super::*;

    const NOW: UnixTime = UnixTime(1_800_000_000);

    fn guess(address: &str, id: &str) -> Guess {
        Guess {
            address: address.into(),
            id: Some(id.into()),
        }
    }

    #[test]
    fn one_id_at_one_address_may_miss_ten_times_a_minute() {
        let mut guesses = Guesses::default();
        for at in 0..10 {
            assert_eq!(
                guesses.check(&guess("a", "x"), NOW.plus(at)),
                Ok(()),
                "{at}"
            );
            guesses.missed(&guess("a", "x"), NOW.plus(at));
        }
        assert_eq!(guesses.check(&guess("a", "x"), NOW.plus(20)), Err(40));
        assert_eq!(
            guesses.check(&guess("a", "y"), NOW.plus(20)),
            Ok(()),
            "another id"
        );
        assert_eq!(
            guesses.check(&guess("b", "x"), NOW.plus(20)),
            Ok(()),
            "the real device"
        );
        assert_eq!(
            guesses.check(&guess("a", "x"), NOW.plus(60)),
            Ok(()),
            "a minute later"
        );
        assert_eq!(
            guesses.check(&guess("a", "x"), NOW.plus(-5)),
            Ok(()),
            "a clock gone back"
        );
    }

    #[test]
    fn a_factory_behind_one_address_earns_its_allowance() {
        let mut guesses = Guesses::default();
        for at in 0..120 {
            guesses.missed(&guess("f", &format!("board-{at}")), NOW);
        }
        assert!(guesses.check(&guess("f", "next"), NOW).is_err());
        for _ in 0..10 {
            guesses.good("f", NOW);
        }
        assert_eq!(guesses.check(&guess("f", "next"), NOW), Ok(()));
    }

    #[test]
    fn a_flood_from_everywhere_stays_bounded() {
        let mut guesses = Guesses::default();
        for at in 0..100_000 {
            guesses.missed(&guess(&format!("{at}"), "x"), NOW);
        }
        assert!(guesses.windows.len() <= MOST_WINDOWS + 3);
    }

    #[test]
    fn a_device_renews_some_times_an_hour_and_others_do_not_wait_for_it() {
        let mut renewals = Renewals::default();
        for at in 0..RENEWALS {
            assert_eq!(renewals.check("a", NOW.plus(i64::from(at))), Ok(at + 1));
        }
        assert_eq!(renewals.check("a", NOW.plus(600)), Err(3_000));
        assert_eq!(renewals.check("b", NOW.plus(600)), Ok(1));
        assert_eq!(renewals.check("a", NOW.plus(3_600)), Ok(1));
        assert_eq!(
            renewals.check("b", NOW.plus(-9)),
            Ok(1),
            "a clock gone back"
        );
        for device in 0..=2 * MOST_WINDOWS {
            assert_eq!(renewals.check(&device.to_string(), NOW), Ok(1));
        }
        assert!(renewals.windows.len() <= MOST_WINDOWS);
    }

    #[test]
    fn refusals_are_counted_and_bounded() {
        let mut samples = Samples::default();
        for at in 0..50_000_u32 {
            samples.add(RefusalSample {
                subject: format!("sn-{}", at % 5_000),
                at: NOW,
                code: "token-unknown".into(),
                step: Step::Enroll,
                detail: String::new(),
                address: format!("10.0.0.{}", at % 50),
                credential: String::new(),
                count: 1,
            });
        }
        let drained = samples.drain(NOW);
        assert!(drained.len() <= MOST_SAMPLES + 1, "{}", drained.len());
        assert_eq!(
            drained.iter().map(|sample| sample.count).sum::<u32>(),
            50_000
        );
        assert!(samples.drain(NOW).is_empty());
    }

    #[test]
    fn who_asks_all_day_has_a_few_rows_a_minute_and_none_is_lost() {
        let mut samples = Samples::default();
        let (mut rows, mut counted) = (0, 0);
        for second in 0..600 {
            samples.add(RefusalSample {
                subject: "10.0.0.1".into(),
                at: NOW.plus(second),
                code: "credential-missing".into(),
                step: Step::Enroll,
                detail: String::new(),
                address: "10.0.0.1".into(),
                credential: String::new(),
                count: 1,
            });
            let drained = samples.drain(NOW.plus(second));
            assert!(second > 2 || drained.len() == 1, "the first ones at once");
            rows += drained.len();
            counted += drained.iter().map(|sample| sample.count).sum::<u32>();
        }
        counted += samples
            .drain(NOW.plus(-9))
            .iter()
            .map(|one| one.count)
            .sum::<u32>();
        assert_eq!(counted, 600, "also when the clock goes back");
        assert!(rows <= 55, "{rows}");
    }
}
