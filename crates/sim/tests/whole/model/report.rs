//! What a run has seen, or what did not hold.

use std::collections::BTreeMap;
use std::fmt;

/// What a run has seen.
#[derive(Debug, Default)]
pub(super) struct Report {
    pub(super) steps: usize,
    pub(super) crashes: usize,
    pub(super) gone: usize,
    pub(super) settled_twice: usize,
    pub(super) refusals: BTreeMap<String, usize>,
    pub(super) acts: BTreeMap<&'static str, usize>,
    pub(super) trace: Vec<String>,
}

/// A promise that did not hold.
pub(super) struct Violation {
    pub(super) seed: u64,
    pub(super) findings: Vec<String>,
    pub(super) trace: Vec<String>,
}

impl Report {
    pub(super) fn add(&mut self, other: Self) {
        self.steps += other.steps;
        self.crashes += other.crashes;
        self.gone += other.gone;
        self.settled_twice += other.settled_twice;
        for (code, count) in other.refusals {
            *self.refusals.entry(code).or_default() += count;
        }
        for (act, count) in other.acts {
            *self.acts.entry(act).or_default() += count;
        }
    }
}

impl Violation {
    pub(super) fn first(&self) -> &str {
        self.findings.first().map_or("", String::as_str)
    }
}

/// What is wrong, and how it came to that.
impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "IMPRINT_SEED={}", self.seed)?;
        self.trace
            .iter()
            .try_for_each(|line| writeln!(f, "    {line}"))?;
        self.findings
            .iter()
            .try_for_each(|finding| writeln!(f, "{finding}"))
    }
}

impl fmt::Debug for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
