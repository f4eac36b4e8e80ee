//! How many newcomers a second: a crowd is let in at an even pace, and each of it is told when its
//! turn comes. No clock, bounded memory.
//!
//! ```text
//! asked at once   1 2 3 ... 10 │ 11 12 13 ...            burst goes through, the rest gets a turn each
//! turns (50/s)                 │ 20 ms apart             kept under the credential that asked
//! comes back                   │ early: waits for its turn; in time or late: goes through
//! ```
//!
//! A crowd that is only told "later" comes back as a crowd. So whoever is refused holds a turn, and
//! whoever has none yet stands behind those who do. Turns say when to come; a second bucket, which
//! every grant goes through, keeps those who come late from making a wave of their own.

use std::collections::HashMap;

/// Milliseconds since some moment; only differences mean anything. It never goes back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Ticks(pub u64);

/// A pace: so many a second, and so many at once before it binds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// Grants a second, at least 1.
    pub per_second: u32,
    /// Grants that may come at once. Any window of one second sees at most `per_second + burst`.
    pub burst: u32,
}

/// Whose turn is this close is kept waiting at the door and not sent away: that makes the pace exact
/// to the millisecond, and a door holds no more than one second's newcomers.
pub const DOORSTEP_MS: u64 = 1_000;

/// Who asks: the credential, so that thousands of devices behind one address are thousands.
pub(crate) type Who = [u8; 32];

/// The lanes of the road into the fleet: one for each product, one for all of them together.
#[derive(Debug, Default)]
pub(crate) struct Pace {
    lanes: HashMap<String, Lane>,
}

impl Pace {
    /// Whether `who` may go on now, in every lane; else the milliseconds until its turn, and nothing
    /// is spent.
    pub(crate) fn ask(&mut self, lanes: &[(&str, Rate)], who: &Who, at: Ticks) -> Result<(), u64> {
        let mut wait = 0;
        for (name, rate) in lanes {
            let lane = self.lanes.entry((*name).to_owned()).or_default();
            wait = wait.max(lane.wait(*rate, who, micros(at)));
        }
        if wait > 0 {
            return Err(wait.div_ceil(1_000));
        }
        for (name, rate) in lanes {
            let lane = self.lanes.entry((*name).to_owned()).or_default();
            lane.grant(*rate, who, micros(at));
        }
        Ok(())
    }
}

/// Microseconds throughout.
#[derive(Debug, Default)]
struct Lane {
    /// When the next turn begins that nobody has.
    next_turn: u64,
    /// The same among those who came later than their turn.
    next_late: u64,
    /// The bucket of grants, as a theoretical arrival time (ITU-T I.371's GCRA).
    granted_until: u64,
    turns: HashMap<Who, u64>,
    /// When lost turns were last looked for.
    swept: u64,
}

impl Lane {
    /// How long `who` has to wait; it has a turn afterwards if it has to.
    fn wait(&mut self, rate: Rate, who: &Who, at: u64) -> u64 {
        let step = step(rate);
        let full = self
            .granted_until
            .saturating_sub(at.saturating_add(u64::from(rate.burst.saturating_sub(1)) * step));
        if let Some(turn) = self.turns.get_mut(who) {
            if *turn <= at && full > 0 {
                // Its turn has come, and so have others that are late: they line up once more, ahead
                // of all who have not had a turn yet.
                *turn = self.next_late.max(at + full);
                self.next_late = *turn + step;
            }
            return turn.saturating_sub(at);
        }
        // Nobody has a turn ahead, and the burst has room.
        if self.next_turn <= at && full == 0 {
            return 0;
        }
        let turn = self.next_turn.max(at + full);
        self.sweep(at);
        if self.turns.len() < MOST_TURNS {
            self.next_turn = turn + step;
            self.turns.insert(*who, turn);
        }
        turn.saturating_sub(at).max(1)
    }

    fn grant(&mut self, rate: Rate, who: &Who, at: u64) {
        self.granted_until = self.granted_until.max(at) + step(rate);
        self.turns.remove(who);
    }

    /// Turns of those who did not come back are forgotten.
    fn sweep(&mut self, at: u64) {
        let since = at.saturating_sub(self.swept);
        if since > LOST_AFTER || (self.turns.len() >= MOST_TURNS && since > SWEEP_EVERY) {
            self.swept = at;
            self.turns.retain(|_, turn| *turn + LOST_AFTER > at);
        }
    }
}

const fn micros(at: Ticks) -> u64 {
    at.0.saturating_mul(1_000)
}

fn step(rate: Rate) -> u64 {
    1_000_000 / u64::from(rate.per_second.clamp(1, 1_000_000))
}

/// A device that was told its turn comes within this time after it, or is taken for gone: the longest
/// backoff of an agent that lost the answer.
const LOST_AFTER: u64 = 600_000_000;
const SWEEP_EVERY: u64 = 1_000_000;
/// Some 64 bytes each, made when it is needed. Whoever comes when all are taken is told the end of the queue and holds no
/// turn in it.
const MOST_TURNS: usize = 65_536;

#[cfg(test)]
mod tests {
    use super::*;

    const FIFTY: Rate = Rate {
        per_second: 50,
        burst: 10,
    };

    fn who(number: u32) -> Who {
        let mut who = [0; 32];
        who[..4].copy_from_slice(&number.to_be_bytes());
        who
    }

    /// A crowd whose members ask at `start`, then come back when they were told to, rounded by
    /// `rounding` and late by `late(device, attempt)`. Answers when each was let in.
    fn drain(devices: u32, start: impl Fn(u32) -> u64, back: impl Fn(u32, u64) -> u64) -> Vec<u64> {
        let mut pace = Pace::default();
        let mut asks: std::collections::BTreeSet<(u64, u32)> =
            (0..devices).map(|device| (start(device), device)).collect();
        let mut granted = Vec::new();
        while let Some((at, device)) = asks.pop_first() {
            match pace.ask(&[("p", FIFTY)], &who(device), Ticks(at)) {
                Ok(()) => granted.push(at),
                Err(wait) => {
                    assert!(wait > 0);
                    asks.insert((at + back(device, wait).max(1), device));
                }
            }
        }
        assert!(
            pace.lanes["p"].turns.is_empty(),
            "nobody holds a turn for ever"
        );
        granted
    }

    fn busiest_second(granted: &[u64]) -> usize {
        let mut sorted = granted.to_vec();
        sorted.sort_unstable();
        let within = |from: u64| {
            sorted.partition_point(|&at| at < from + 1_000)
                - sorted.partition_point(|&at| at < from)
        };
        sorted.iter().map(|&from| within(from)).max().unwrap_or(0)
    }

    #[test]
    fn a_crowd_that_waits_for_its_turn_drains_evenly_and_at_full_pace() {
        let granted = drain(200, |device| u64::from(device) * 5, |_, wait| wait);
        assert_eq!(granted.len(), 200);
        assert!(
            busiest_second(&granted) <= 60,
            "{}",
            busiest_second(&granted)
        );
        assert!(granted[199] <= 4_100, "{}", granted[199]);
    }

    #[test]
    fn a_crowd_at_one_instant_with_whole_seconds_and_lateness_makes_no_second_wave() {
        for late in [0_u64, 300, 1_500, 5_000] {
            let back = |device: u32, wait: u64| {
                // Within its last second a device is kept waiting at the door, exactly; before that it
                // is told whole seconds and is late by its own jitter.
                if wait <= 1_000 {
                    return wait;
                }
                wait / 1_000 * 1_000 + u64::from(device).wrapping_mul(7_919) % (late + 1)
            };
            let granted = drain(1_000, |_| 0, back);
            assert!(
                busiest_second(&granted) <= 60,
                "late {late}: {}",
                busiest_second(&granted)
            );
            let last = granted.iter().max().unwrap();
            assert!(*last <= 20_000 + 1_000 + late, "late {late}: {last}");
        }
    }

    /// What our own agent does: it takes the second that it is told and is late by a quarter of a second at
    /// most, and by its way to the door.
    #[test]
    fn a_crowd_of_ten_thousand_that_takes_its_turns_is_in_within_its_time() {
        let way = |device: u32| u64::from(device).wrapping_mul(7_919) % 250 + 30;
        let back = |device: u32, wait: u64| match wait {
            0..=DOORSTEP_MS => wait,
            _ => wait / 1_000 * 1_000 + way(device),
        };
        for (devices, within, seconds) in
            [(200, 1_000, 5), (10_000, 1_000, 204), (10_000, 60_000, 204)]
        {
            let start = |device: u32| u64::from(device) * within / u64::from(devices);
            let granted = drain(devices, start, back);
            assert_eq!(granted.len(), devices as usize);
            let most = busiest_second(&granted);
            assert!(most <= 60, "{devices}: {most} in a second");
            let last = *granted.iter().max().unwrap();
            assert!(last <= seconds * 1_000, "{devices}: {last} ms");
        }
    }

    #[test]
    fn also_one_that_is_told_whole_seconds_only_gets_in() {
        let granted = drain(1_000, |_| 0, |_, wait| wait.div_ceil(1_000) * 1_000);
        assert!(
            busiest_second(&granted) <= 60,
            "{}",
            busiest_second(&granted)
        );
        assert!(
            *granted.iter().max().unwrap() <= 102_000,
            "ten at each whole second"
        );
    }

    #[test]
    fn below_the_pace_nobody_waits() {
        let granted = drain(500, |device| u64::from(device) * 20, |_, wait| wait);
        assert_eq!(granted, (0..500).map(|at| at * 20).collect::<Vec<_>>());
    }

    #[test]
    fn who_asks_again_and_again_keeps_its_one_turn() {
        let mut pace = Pace::default();
        for device in 0..20 {
            let _ = pace.ask(&[("p", FIFTY)], &who(device), Ticks(0));
        }
        let first = pace.ask(&[("p", FIFTY)], &who(19), Ticks(1)).unwrap_err();
        for at in 2..50 {
            assert_eq!(
                pace.ask(&[("p", FIFTY)], &who(19), Ticks(at)),
                Err(first + 1 - at)
            );
        }
        assert_eq!(pace.lanes["p"].turns.len(), 10);
    }

    #[test]
    fn who_never_comes_back_delays_nobody_for_ever() {
        let mut pace = Pace::default();
        for device in 0..1_000 {
            let _ = pace.ask(&[("p", FIFTY)], &who(device), Ticks(0));
        }
        assert_eq!(
            pace.ask(&[("p", FIFTY)], &who(5_000), Ticks(20_100)),
            Ok(())
        );
        let _ = pace.ask(&[("p", FIFTY)], &who(5_001), Ticks(20_101));
        for device in 0..12 {
            let _ = pace.ask(&[("p", FIFTY)], &who(6_000 + device), Ticks(900_000));
        }
        assert!(pace.lanes["p"].turns.len() < 20, "lost turns are forgotten");
    }

    #[test]
    fn one_product_s_crowd_delays_no_other_and_all_of_them_share_the_whole() {
        let whole = Rate {
            per_second: 20,
            burst: 1,
        };
        let mut pace = Pace::default();
        for device in 0..500 {
            let _ = pace.ask(&[("a", FIFTY)], &who(device), Ticks(0));
        }
        assert_eq!(pace.ask(&[("b", FIFTY)], &who(1_000), Ticks(0)), Ok(()));
        assert_eq!(
            pace.ask(&[("c", FIFTY), ("", whole)], &who(1), Ticks(0)),
            Ok(())
        );
        assert_eq!(
            pace.ask(&[("d", FIFTY), ("", whole)], &who(2), Ticks(0)),
            Err(50)
        );
        assert_eq!(
            pace.ask(&[("d", FIFTY), ("", whole)], &who(2), Ticks(50)),
            Ok(())
        );
    }

    #[test]
    fn the_memory_of_turns_is_bounded() {
        let mut pace = Pace::default();
        for device in 0..(u32::try_from(MOST_TURNS).unwrap() + 1_000) {
            let _ = pace.ask(&[("p", FIFTY)], &who(device), Ticks(0));
        }
        assert_eq!(pace.lanes["p"].turns.len(), MOST_TURNS);
        assert!(pace.ask(&[("p", FIFTY)], &who(u32::MAX), Ticks(0)).is_err());
    }
}
