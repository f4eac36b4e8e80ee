//! A disk that has flushed some of what was written to it.
//!
//! Until a file is flushed, each of its 512-byte sectors may hold what it held at the last flush or
//! anything written to it since, its length may be any that it has had since, and names that were
//! made or removed since any flush may or may not be there, in the order in which that was done. A
//! sector that was being written may hold garbage. A sector that nobody wrote to keeps what it has.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use crate::trace::Event;

#[derive(Default)]
pub(crate) struct Disk {
    files: Vec<File>,
    names: BTreeMap<PathBuf, usize>,
    flushed_names: BTreeMap<PathBuf, usize>,
    renamings: Vec<Naming>,
}

#[derive(Default)]
struct File {
    flushed: Vec<u8>,
    content: Vec<u8>,
    /// What each sector has held since the flush, oldest first.
    versions: BTreeMap<usize, Vec<Vec<u8>>>,
    /// The lengths since the flush, that of the flush first.
    lengths: Vec<usize>,
}

enum Naming {
    Create(PathBuf, usize),
    Remove(PathBuf),
}

impl Disk {
    pub(crate) fn apply(&mut self, event: &Event) {
        match event {
            Event::Create(path) if self.names.contains_key(path) => {}
            Event::Create(path) => {
                let number = self.files.len();
                self.files.push(File {
                    lengths: vec![0],
                    ..File::default()
                });
                self.names.insert(path.clone(), number);
                self.renamings.push(Naming::Create(path.clone(), number));
            }
            Event::Write { path, at, octets } => self.file(path).write(*at, octets),
            Event::Truncate { path, length } => self.file(path).truncate(*length),
            Event::Remove(path) => {
                self.names.remove(path);
                self.renamings.push(Naming::Remove(path.clone()));
            }
            Event::Flush(path) => {
                if let Some(&number) = self.names.get(path) {
                    self.files[number].flush();
                }
                self.flushed_names = self.names.clone();
                self.renamings.clear();
            }
            Event::Told(_) => {}
        }
    }

    fn file(&mut self, path: &Path) -> &mut File {
        &mut self.files[self.names[path]]
    }

    /// Whether the power could fail in more than one way.
    pub(crate) fn has_unflushed(&self) -> bool {
        let open = |number: &usize| !self.files[*number].versions.is_empty();
        !self.renamings.is_empty() || self.names.values().any(open)
    }

    /// Writes down what is left after a power failure.
    pub(crate) fn image(&self, fate: &Fate, dir: &Path) {
        let mut fate = fate.clone();
        fs::create_dir(dir).unwrap();
        let mut names = self.flushed_names.clone();
        for naming in &self.renamings[..fate.prefix(self.renamings.len())] {
            match naming {
                Naming::Create(path, number) => drop(names.insert(path.clone(), *number)),
                Naming::Remove(path) => drop(names.remove(path)),
            }
        }
        for (path, number) in names {
            fs::write(dir.join(path), self.files[number].image(&mut fate)).unwrap();
        }
    }
}

impl File {
    fn write(&mut self, at: usize, octets: &[u8]) {
        let end = at + octets.len();
        if end > self.content.len() {
            self.content.resize(end, 0);
            self.lengths.push(end);
        }
        self.content[at..end].copy_from_slice(octets);
        self.note(at, end);
    }

    fn truncate(&mut self, length: usize) {
        let before = self.content.len();
        self.content.resize(length, 0);
        self.lengths.push(length);
        self.note(length.min(before), length.max(before));
    }

    /// Keeps what the sectors from `at` to `end` hold now.
    fn note(&mut self, at: usize, end: usize) {
        for sector in at / SECTOR..end.div_ceil(SECTOR) {
            let from = (sector * SECTOR).min(self.content.len());
            let to = (from + SECTOR).min(self.content.len());
            let mut held = self.content[from..to].to_vec();
            held.resize(SECTOR, 0);
            self.versions.entry(sector).or_default().push(held);
        }
    }

    fn flush(&mut self) {
        self.flushed.clone_from(&self.content);
        self.versions.clear();
        self.lengths = vec![self.content.len()];
    }

    fn image(&self, fate: &mut Fate) -> Vec<u8> {
        let mut image = self.flushed.clone();
        let length = self.lengths[fate.choose(self.lengths.len())];
        let longest = self.lengths.iter().max().copied().unwrap_or(0);
        image.resize(longest.div_ceil(SECTOR) * SECTOR, 0);
        for (sector, versions) in &self.versions {
            let place = &mut image[sector * SECTOR..(sector + 1) * SECTOR];
            match fate.choose(versions.len() + 1) {
                0 => {}
                n => place.copy_from_slice(&versions[n - 1]),
            }
            if fate.garbles() {
                place.fill_with(|| fate.octet());
            }
        }
        image.truncate(length);
        image
    }
}

/// How the dice fall. The same point and variant fall the same way again.
#[derive(Clone)]
pub(crate) struct Fate {
    mode: Mode,
    state: u64,
}

#[derive(Clone, Copy)]
enum Mode {
    /// Nothing survives that was not flushed.
    Oldest,
    /// Everything survives.
    Newest,
    /// Each for itself.
    Any,
    /// Each for itself, and some are garbage.
    Garbage,
}

impl Fate {
    pub(crate) fn new(point: usize, variant: usize) -> Self {
        let mode = match variant {
            0 => Mode::Oldest,
            1 => Mode::Newest,
            n if n % 2 == 0 => Mode::Any,
            _ => Mode::Garbage,
        };
        let seed = (point as u64) << 32 | variant as u64;
        let mut fate = Self {
            mode,
            state: seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1,
        };
        fate.next();
        fate
    }

    /// One of `many`, oldest first.
    fn choose(&mut self, many: usize) -> usize {
        match self.mode {
            Mode::Oldest => 0,
            Mode::Newest => many - 1,
            Mode::Any | Mode::Garbage => usize::try_from(self.next() >> 33).unwrap() % many,
        }
    }

    fn prefix(&mut self, many: usize) -> usize {
        self.choose(many + 1)
    }

    fn garbles(&mut self) -> bool {
        matches!(self.mode, Mode::Garbage) && self.next() >> 61 == 0
    }

    fn octet(&mut self) -> u8 {
        (self.next() >> 56) as u8
    }

    /// xorshift64*.
    fn next(&mut self) -> u64 {
        self.state ^= self.state >> 12;
        self.state ^= self.state << 25;
        self.state ^= self.state >> 27;
        self.state.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }
}

const SECTOR: usize = 512;
