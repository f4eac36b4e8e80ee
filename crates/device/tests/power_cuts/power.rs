//! Power that fails at a chosen instant, and what the interrupted operation leaves behind.

/// The power is gone: everything in memory is lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cut;

/// What a cut does to the operation that it interrupts. The number seeds the randomness.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Tear {
    /// Nothing of the operation happened; all before it did.
    Clean,
    /// A prefix happened, then one octet with a random part of its bits.
    Byte(u8),
    /// All octets of the unit (of the sector, for an erase) with a random part of their bits.
    Word(u8),
    /// As `Word`, but only a few bits differ from the intended state.
    Few(u8),
    /// Bits that read differently from one read to the next.
    Weak(u8),
    /// Cells so near the edge that all of them read as before on one day and as intended on the
    /// next. An even number begins with the intended state.
    Faint(u8),
    /// No cut at all: the operation is silently ignored, and power stays.
    Ignored,
}

impl Tear {
    /// All kinds with `seeds` seeds each.
    pub fn all(seeds: u8) -> Vec<Self> {
        let mut tears = vec![Self::Clean, Self::Faint(0), Self::Faint(1)];
        for seed in 0..seeds {
            tears.extend([
                Self::Byte(seed),
                Self::Word(seed),
                Self::Few(seed),
                Self::Weak(seed),
            ]);
        }
        tears
    }

    /// A small number, different for each tear.
    pub fn code(self) -> u64 {
        let (kind, seed) = match self {
            Self::Clean => (0, 0),
            Self::Byte(seed) => (1, seed),
            Self::Word(seed) => (2, seed),
            Self::Few(seed) => (3, seed),
            Self::Weak(seed) => (4, seed),
            Self::Faint(seed) => (5, seed),
            Self::Ignored => (6, 0),
        };
        kind + 7 * u64::from(seed)
    }
}

/// How far an operation gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Spark {
    Whole,
    /// The power fails now: leave what the tear leaves, then answer [`Cut`].
    Torn(Tear),
    /// Do nothing and report success.
    Skipped,
}

/// A battery with a fuse.
#[derive(Debug, Clone)]
pub struct Power {
    pub spent: u32,
    pub dead: bool,
    cut: Option<(u32, Tear)>,
    ignore: Option<u32>,
    pub chance: Chance,
}

impl Power {
    pub fn endless() -> Self {
        Self {
            spent: 0,
            dead: false,
            cut: None,
            ignore: None,
            chance: Chance::new(0),
        }
    }

    /// Fresh power that fails at the operation numbered `at` (the first is 0).
    pub fn failing(at: u32, tear: Tear) -> Self {
        let chance = Chance::new(u64::from(at) << 8 | tear.code());
        match tear {
            Tear::Ignored => Self {
                ignore: Some(at),
                chance,
                ..Self::endless()
            },
            _ => Self {
                cut: Some((at, tear)),
                chance,
                ..Self::endless()
            },
        }
    }

    /// Power that ignores one operation and fails at a later one.
    pub fn ignoring_then_failing(ignored: u32, at: u32) -> Self {
        Self {
            ignore: Some(ignored),
            ..Self::failing(at, Tear::Clean)
        }
    }

    /// Begins one indivisible operation.
    pub fn spend(&mut self) -> Result<Spark, Cut> {
        if self.dead {
            return Err(Cut);
        }
        let now = self.spent;
        self.spent += 1;
        match self.cut {
            Some((at, tear)) if at == now => {
                self.dead = true;
                Ok(Spark::Torn(tear))
            }
            _ if self.ignore == Some(now) => Ok(Spark::Skipped),
            _ => Ok(Spark::Whole),
        }
    }

    /// Spends `many` operations at once if nothing befalls any of them.
    pub fn spend_quietly(&mut self, many: u32) -> bool {
        let befalls =
            |at: Option<u32>| at.is_some_and(|at| at >= self.spent && at - self.spent < many);
        let quiet = !self.dead && !befalls(self.cut.map(|(at, _)| at)) && !befalls(self.ignore);
        if quiet {
            self.spent += many;
        }
        quiet
    }

    /// An operation that has no inside: it happens, or the power has failed before it.
    pub fn pass(&mut self) -> Result<(), Cut> {
        match self.spend()? {
            Spark::Torn(_) => Err(Cut),
            Spark::Whole | Spark::Skipped => Ok(()),
        }
    }
}

/// Repeatable randomness (the generator `SplitMix64`).
#[derive(Debug, Clone)]
pub struct Chance(u64);

impl Chance {
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ 0x1234_5678_9ABC_DEF0)
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    pub fn byte(&mut self) -> u8 {
        self.next().to_le_bytes()[0]
    }

    pub fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() >> 33).expect("31 bits") % end
    }

    pub fn one_in(&mut self, many: u64) -> bool {
        self.next().is_multiple_of(many)
    }

    /// An octet each of whose bits is set once in 64.
    pub fn sparse(&mut self) -> u8 {
        let mut byte = 0;
        for bit in 0..8 {
            byte |= u8::from(self.one_in(64)) << bit;
        }
        byte
    }
}
