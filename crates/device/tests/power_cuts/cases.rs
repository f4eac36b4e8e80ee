//! Which cases there are, how each is run, and how they are counted.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};

use super::disk::Disk;
use super::firmware::{Order, Run};
use super::memory::{Cells, Memory};
use super::oracle::View;
use super::power::{Power, Tear};
use super::server::Fate;
use super::world::{End, Medium, World};

/// How much time there is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Depth {
    Short,
    Usual,
    Deep,
}

impl Depth {
    pub fn asked() -> Self {
        #[expect(clippy::disallowed_methods, reason = "a test's own switch")]
        let set = |name| std::env::var_os(name).is_some();
        if set("IMPRINT_DEEP") {
            Self::Deep
        } else if set("IMPRINT_SHORT") {
            Self::Short
        } else {
            Self::Usual
        }
    }

    fn seeds(self) -> u8 {
        if self == Self::Deep { 4 } else { 1 }
    }

    /// How many second cuts are tried after each first one.
    fn pairs(self, first: Boundary) -> u32 {
        match self {
            Self::Short => u32::from(first.at.is_multiple_of(7)) * 4,
            Self::Usual => 2,
            Self::Deep => 40,
        }
    }
}

/// One memory, one story.
#[derive(Debug, Clone)]
pub struct Plan {
    pub name: &'static str,
    pub medium: Medium,
    story: Story,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Story {
    Join,
    JoinRudely,
    Register,
    RenewWithNewKey,
    RenewWithSameKey,
    Reset,
    RestAndRelease,
}

const STORIES: [Story; 7] = [
    Story::Join,
    Story::JoinRudely,
    Story::Register,
    Story::RenewWithNewKey,
    Story::RenewWithSameKey,
    Story::Reset,
    Story::RestAndRelease,
];

pub fn plans(depth: Depth) -> Vec<Plan> {
    let cells = |cells, size, unit, erased| Medium::Cells(Memory::new(cells, size, unit, erased));
    let media = vec![
        (
            "NOR 128K by 4 (STM32F4)",
            cells(Cells::Nor, 128 << 10, 4, 0xFF),
        ),
        (
            "NOR 2K by 8, ECC (STM32L4)",
            cells(Cells::NorEcc, 2 << 10, 8, 0xFF),
        ),
        (
            "NOR 8K by 16, ECC (STM32U5)",
            cells(Cells::NorEcc, 8 << 10, 16, 0xFF),
        ),
        (
            "NOR 128K by 32, ECC (STM32H7)",
            cells(Cells::NorEcc, 128 << 10, 32, 0xFF),
        ),
        ("NOR 4K by 4 (nRF52)", cells(Cells::Nor, 4 << 10, 4, 0xFF)),
        (
            "NOR 4K by 1 (SPI flash)",
            cells(Cells::Nor, 4 << 10, 1, 0xFF),
        ),
        ("NOR 512 by 2", cells(Cells::Nor, 512, 2, 0xFF)),
        (
            "NOR 256 by 4, erased 00 (STM32L0)",
            cells(Cells::Nor, 256, 4, 0x00),
        ),
        (
            "NOR 2K by 32, erased 00",
            cells(Cells::Nor, 2 << 10, 32, 0x00),
        ),
        ("EEPROM 512 by 1", cells(Cells::Eeprom, 512, 1, 0xFF)),
        (
            "FRAM 256 by 1, erased 00",
            cells(Cells::Eeprom, 256, 1, 0x00),
        ),
        ("two files", Medium::Disk(Disk::default())),
    ];
    let each = |(name, medium): (&'static str, Medium)| {
        STORIES.map(|story| Plan {
            name,
            medium: medium.clone(),
            story,
        })
    };
    let short = [
        "NOR 2K by 8, ECC (STM32L4)",
        "NOR 4K by 4 (nRF52)",
        "EEPROM 512 by 1",
        "two files",
    ];
    let chosen = |name| depth != Depth::Short || short.contains(&name);
    media
        .into_iter()
        .filter(|(name, _)| chosen(*name))
        .flat_map(each)
        .collect()
}

impl Plan {
    /// The device as it is when the story begins.
    pub fn beginning(&self) -> Run {
        let (order, registers) = match self.story {
            Story::Join | Story::JoinRudely => (Order::Nothing, false),
            Story::Register => (Order::Nothing, true),
            Story::RenewWithNewKey => (Order::Renew { rekey: true }, false),
            Story::RenewWithSameKey => (Order::Renew { rekey: false }, false),
            Story::Reset => (Order::Reset, false),
            Story::RestAndRelease => (Order::Rest, false),
        };
        let fates = if self.story == Story::JoinRudely {
            RUDE.to_vec()
        } else {
            Vec::new()
        };
        let world = World::new(self.medium.clone(), registers, fates);
        if matches!(order, Order::Nothing) {
            return Run::new(world, order);
        }
        let mut joined = Run::new(world, Order::Nothing);
        joined.boot().expect("joining in peace");
        Run {
            order,
            done: false,
            ..joined
        }
    }
}

/// Popped from the end: a lost reply to the certificate request among them.
const RUDE: [Fate; 7] = [
    Fate::ReplyLost,
    Fate::Fine,
    Fate::RequestLost,
    Fate::ReplyLost,
    Fate::Pending,
    Fate::Turn,
    Fate::Fine,
];

/// Where and how a power cut happens: the operation's number since power-on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Boundary {
    pub at: u32,
    pub tear: Tear,
}

/// Runs all cases of a plan.
pub fn explore(plan: &Plan, depth: Depth, stop: &AtomicBool) -> Tally {
    let mut tally = Tally::default();
    let beginning = plan.beginning();
    let length = length_of(&beginning);
    for at in 0..length {
        // A planted bug is caught by its first failure.
        if depth == Depth::Short && (tally.failed > 0 || stop.load(Ordering::Relaxed)) {
            stop.store(true, Ordering::Relaxed);
            break;
        }
        let mut tears = Tear::all(depth.seeds());
        tears.push(Tear::Ignored);
        let mut seen = Vec::new();
        for tear in tears {
            let first = Boundary { at, tear };
            let (torn, end) = cut(&beginning, first);
            let state = Torn::of(&torn, first);
            if seen.contains(&state) {
                continue;
            }
            seen.push(state);
            let step = torn.legal.0;
            tally.judge(
                step,
                plan,
                (first, None),
                end.and_then(|()| finish(torn.clone())),
            );
            if tear == Tear::Ignored {
                continue;
            }
            let rest = length_of(&torn);
            for second in seconds(first, rest, depth) {
                let (again, end) = cut(&torn, second);
                let end = end.and_then(|()| finish(again));
                tally.judge(step, plan, (first, Some(second)), end);
            }
        }
        for later in at + 1..(at + 4).min(length) {
            let mut run = beginning.clone();
            run.world.get_mut().power = Power::ignoring_then_failing(at, later);
            let end = dead_or_done(run.boot()).and_then(|()| finish(run.clone()));
            let first = Boundary {
                at,
                tear: Tear::Ignored,
            };
            let second = Boundary {
                at: later,
                tear: Tear::Clean,
            };
            tally.judge(run.legal.0, plan, (first, Some(second)), end);
        }
    }
    tally.count_distinct();
    tally
}

/// What tells one torn world from another at the same boundary.
#[derive(PartialEq)]
struct Torn {
    ignored: bool,
    medium: Medium,
    cells: [super::world::Cell; 4],
    bootstrap: bool,
}

impl Torn {
    fn of(run: &Run, first: Boundary) -> Self {
        let world = run.world.borrow();
        let [a, b] = world.keys;
        let [c, d] = world.credentials;
        Self {
            ignored: first.tear == Tear::Ignored,
            medium: world.medium.clone(),
            cells: [a, b, c, d],
            bootstrap: world.bootstrap,
        }
    }
}

/// How many operations the device takes from here to its rest, undisturbed.
pub fn length_of(run: &Run) -> u32 {
    let mut run = run.clone();
    run.world.get_mut().power = Power::endless();
    // A run that breaks is judged where it is a case.
    let _ = run.boot();
    run.world.get_mut().power.spent
}

/// The second cuts after a first one: dense where recovery works, then spread over the rest.
fn seconds(first: Boundary, rest: u32, depth: Depth) -> Vec<Boundary> {
    let many = depth.pairs(first);
    let tears = Tear::all(depth.seeds());
    if many >= rest {
        let all =
            (0..rest).flat_map(|at| tears.iter().map(move |tear| Boundary { at, tear: *tear }));
        return all.collect();
    }
    let kind = u32::try_from(first.tear.code()).expect("a few dozen tears");
    let mut seconds: Vec<Boundary> = Vec::new();
    for index in 0..many {
        let spread = first.at.wrapping_mul(31).wrapping_add(index * 97) ^ kind;
        let at = if index % 2 == 0 {
            spread % rest.min(24)
        } else {
            spread % rest
        };
        let tear = tears[(first.at + index) as usize % tears.len()];
        let second = Boundary { at, tear };
        if !seconds.contains(&second) {
            seconds.push(second);
        }
    }
    seconds
}

pub fn cut(from: &Run, boundary: Boundary) -> (Run, Result<(), End>) {
    let mut run = from.clone();
    run.world.get_mut().power = Power::failing(boundary.at, boundary.tear);
    let end = dead_or_done(run.boot());
    (run, end)
}

fn dead_or_done(end: Result<(), End>) -> Result<(), End> {
    match end {
        Err(End::Cut) | Ok(()) => Ok(()),
        broken => broken,
    }
}

/// Lets the device finish in peace, then boots it on cold and warm days: it must stand still and
/// write nothing, once cells that a cut has left faint were seen from both sides.
pub fn finish(mut run: Run) -> Result<(), End> {
    let mut writes = [0; 3];
    for writes in &mut writes {
        run.world.get_mut().power = Power::endless();
        run.boot()?;
        run.check_end()?;
        *writes = run.world.get_mut().journal_writes();
    }
    if writes[1] != writes[2] {
        return super::world::broken("a boot without progress wrote to the journal");
    }
    Ok(())
}

/// The count of cases, by the step at which the first cut fell.
#[derive(Default)]
pub struct Tally {
    singles: [u64; 8],
    pairs: [u64; 8],
    pub failed: u64,
    pub failures: Vec<String>,
    /// Cases with coordinates of their own.
    pub distinct: usize,
    coordinates: Vec<u64>,
}

impl Tally {
    fn judge(
        &mut self,
        step: View,
        plan: &Plan,
        cuts: (Boundary, Option<Boundary>),
        end: Result<(), End>,
    ) {
        let row = if cuts.1.is_some() {
            &mut self.pairs
        } else {
            &mut self.singles
        };
        row[step.step()] += 1;
        let place = |boundary: Boundary| u64::from(boundary.at) << 6 | boundary.tear.code();
        let second = cuts.1.map_or(0, |second| place(second) + 1);
        self.coordinates.push(place(cuts.0) << 24 | second);
        if let Err(end) = end {
            self.failed += 1;
            if self.failures.len() < 20 {
                let Plan { name, story, .. } = plan;
                self.failures
                    .push(format!("{name}, {story:?}, {cuts:?}: {end:?}"));
            }
        }
    }

    pub fn add(&mut self, other: Self) {
        for (sum, more) in self.singles.iter_mut().zip(other.singles) {
            *sum += more;
        }
        for (sum, more) in self.pairs.iter_mut().zip(other.pairs) {
            *sum += more;
        }
        self.failed += other.failed;
        self.failures.extend(other.failures);
        self.distinct += other.distinct;
    }

    /// Counts the coordinates of a plan once each. Plans differ, so their counts add up.
    fn count_distinct(&mut self) {
        self.coordinates.sort_unstable();
        self.coordinates.dedup();
        self.distinct = self.coordinates.len();
        self.coordinates = Vec::new();
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{:<17}{:>10}{:>10}", "first cut at", "single", "pairs")?;
        for (at, step) in imprint_device::Step::ALL.into_iter().enumerate() {
            writeln!(
                f,
                "{:<17}{:>10}{:>10}",
                step, self.singles[at], self.pairs[at]
            )?;
        }
        let (singles, pairs) = (
            self.singles.iter().sum::<u64>(),
            self.pairs.iter().sum::<u64>(),
        );
        writeln!(f, "{:<17}{singles:>10}{pairs:>10}", "all")?;
        let Self {
            distinct, failed, ..
        } = self;
        writeln!(f, "{distinct} distinct cases, {failed} of them failed")?;
        self.failures
            .iter()
            .take(20)
            .try_for_each(|failure| writeln!(f, "  {failure}"))
    }
}
