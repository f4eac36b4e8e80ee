//! The journal on flash or EEPROM: two copies, of which one is whole at every instant.
//!
//! Each half of the storage has room for one copy:
//!
//! ```text
//! | image, 224 octets | commit | commit | commit |      each commit fills one program unit
//! ```
//!
//! **Saving** erases the half that does *not* hold the newest copy, writes the image, reads it back,
//! then writes the three commit words in turn. **Loading** takes the copy with the higher sequence
//! number among those whose image is whole and whose first commit word at least was begun.
//!
//! Why three words, and why a begun one counts? A power cut while a word is programmed leaves weak
//! cells, which read one way now and another way tomorrow. Had one word to decide, the device could
//! act on the new record today, erase the older one, and find the new one gone. So: the image is
//! known whole before the first word is begun, hence any trace of a word means that the image may be
//! used; and before the machine acts on it, the words that are still blank are completed. To lose a
//! copy that was acted upon, all three words must be weak: three cuts, each within a single word of
//! the same copy. A whole image without a trace of a word is erased before the machine acts.
//!
//! A copy that can't be read, or whose memory reports an ECC fault, is absent.

use crate::image::{self, IMAGE_SIZE, Image};
use crate::record::Record;

/// Where a [`Record`] survives a power cut.
pub trait Journal {
    /// What can go wrong with it.
    type Error;

    /// The record that was saved last; `None` if there is none.
    ///
    /// After a cut within [`save`](Journal::save) this is the record before or the record after,
    /// and it stays that one.
    fn load(&mut self) -> Result<Option<Record>, Self::Error>;

    /// Makes `record` durable. Writes nothing if it is the one that was loaded or saved last.
    fn save(&mut self, record: &Record) -> Result<(), Self::Error>;
}

/// The memory that a journal of two copies needs. A driver for NOR flash passes these through; for
/// EEPROM and FRAM `erase` fills the half with the erased value and `program` writes bytes.
pub trait Storage {
    /// What can go wrong with it.
    type Error;

    /// Its shape.
    fn geometry(&self) -> Geometry;

    /// Reads `out.len()` octets from `offset` of a half.
    fn read(&mut self, half: Half, offset: usize, out: &mut [u8]) -> Result<Read, Self::Error>;

    /// Sets a half to the erased value.
    fn erase(&mut self, half: Half) -> Result<(), Self::Error>;

    /// Programs erased octets: `offset` and `bytes.len()` are multiples of the program unit, and
    /// each unit is programmed once between two erases.
    fn program(&mut self, half: Half, offset: usize, bytes: &[u8]) -> Result<(), Self::Error>;
}

/// How a read ended, if the memory answered at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Read {
    /// The octets are there.
    Done,
    /// The memory says that these octets are damaged (ECC). The copy counts as absent; an error
    /// would mean that the memory didn't answer, of which nothing follows about the copy.
    Damaged,
}

/// One of the two halves. On flash each is one erase sector or more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Half {
    /// The first.
    A,
    /// The second.
    B,
}

impl Half {
    /// Both.
    pub const ALL: [Self; 2] = [Self::A, Self::B];

    /// The one that this is not.
    #[must_use]
    pub const fn other(self) -> Self {
        match self {
            Self::A => Self::B,
            Self::B => Self::A,
        }
    }
}

/// The shape of a memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Geometry {
    /// Octets in one half; at least [`Geometry::needed`].
    pub half_size: usize,
    /// Octets that are programmed together: 1, 2, 4, 8, 16 or 32.
    pub unit: usize,
    /// What an erased octet reads as: 0xFF, or 0x00 on some parts.
    pub erased: u8,
}

impl Geometry {
    /// Octets that a copy takes.
    #[must_use]
    pub const fn needed(&self) -> usize {
        IMAGE_SIZE + COMMITS * self.commit_size()
    }

    const fn commit_size(&self) -> usize {
        if self.unit < COMMIT_LEAST {
            COMMIT_LEAST
        } else {
            self.unit
        }
    }

    fn check<E>(&self) -> Result<(), JournalError<E>> {
        if !matches!(self.unit, 1 | 2 | 4 | 8 | 16 | 32) {
            return Err(JournalError::Unit { found: self.unit });
        }
        if self.half_size < self.needed() {
            return Err(JournalError::TooSmall {
                needed: self.needed(),
                found: self.half_size,
            });
        }
        Ok(())
    }
}

/// Why the journal can't be read or written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum JournalError<E> {
    /// The driver failed.
    #[error("the journal's memory doesn't answer")]
    Storage(#[from] E),
    /// What was written doesn't read back, three times over.
    #[error("the journal's memory doesn't keep what is written to it")]
    Unwritable,
    /// A half has no room for a copy.
    #[error("a half of the journal needs {needed} octets and has {found}")]
    TooSmall {
        /// Octets that a copy takes.
        needed: usize,
        /// Octets that there are.
        found: usize,
    },
    /// A program unit that no supported memory has.
    #[error("a program unit has 1, 2, 4, 8, 16 or 32 octets, not {found}")]
    Unit {
        /// Octets in it.
        found: usize,
    },
}

/// The journal of two copies on a [`Storage`].
#[derive(Debug)]
pub struct TwoCopies<S> {
    storage: S,
    kept: Option<Kept>,
    loaded: bool,
}

impl<S: Storage> TwoCopies<S> {
    /// A journal on `storage`, which isn't touched yet.
    pub fn new(storage: S) -> Self {
        Self {
            storage,
            kept: None,
            loaded: false,
        }
    }

    /// The memory, back.
    pub fn into_storage(self) -> S {
        self.storage
    }

    /// What is in `half`.
    fn copy(&mut self, half: Half) -> Result<Copy, JournalError<S::Error>> {
        let mut image: Image = [0; IMAGE_SIZE];
        if self.storage.read(half, 0, &mut image)? == Read::Damaged {
            return Ok(Copy::Absent);
        }
        let Some((sequence, record)) = image::parse(&image) else {
            return Ok(Copy::Absent);
        };
        for word in 0..COMMITS {
            if self.word(half, word)? != Word::Blank {
                return Ok(Copy::Committed(Kept {
                    half,
                    sequence,
                    record,
                }));
            }
        }
        Ok(Copy::Uncommitted)
    }

    /// The copy in `half` if it counts. One that looks whole and was not committed is erased: a
    /// weak commit word might show itself tomorrow, when the device has gone on without it.
    fn committed(&mut self, half: Half) -> Result<Option<Kept>, JournalError<S::Error>> {
        match self.copy(half)? {
            Copy::Committed(kept) => Ok(Some(kept)),
            Copy::Absent => Ok(None),
            Copy::Uncommitted => {
                self.storage.erase(half)?;
                Ok(None)
            }
        }
    }

    fn word(&mut self, half: Half, word: usize) -> Result<Word, JournalError<S::Error>> {
        let geometry = self.storage.geometry();
        let (size, offset) = (geometry.commit_size(), commit_offset(&geometry, word));
        let mut room = [0; UNIT_MAX];
        let read = room.get_mut(..size).unwrap_or_default();
        if self.storage.read(half, offset, read)? == Read::Damaged {
            return Ok(Word::Begun);
        }
        Ok(match read {
            word if word.iter().all(|byte| *byte == geometry.erased) => Word::Blank,
            word if word == commit(size) => Word::Whole,
            _ => Word::Begun,
        })
    }

    fn commit(&mut self, half: Half, word: usize) -> Result<bool, JournalError<S::Error>> {
        let geometry = self.storage.geometry();
        let (size, offset) = (geometry.commit_size(), commit_offset(&geometry, word));
        self.storage.program(half, offset, commit(size))?;
        Ok(self.word(half, word)? == Word::Whole)
    }

    /// Completes the commit words of a copy that a cut has interrupted, so that it can't fade.
    fn settle(&mut self, half: Half) -> Result<(), JournalError<S::Error>> {
        if self.word(half, COMMITS - 1)? != Word::Blank {
            return Ok(());
        }
        for word in 0..COMMITS {
            let mut tries = TRIES;
            while self.word(half, word)? == Word::Blank {
                // A weak word may look blank and then refuse to be programmed.
                let programmed = self.commit(half, word);
                tries -= 1;
                if tries == 0 {
                    return programmed.and(Err(JournalError::Unwritable));
                }
            }
        }
        Ok(())
    }

    /// Writes one copy and says whether all of it reads back.
    fn write(&mut self, half: Half, image: &Image) -> Result<bool, JournalError<S::Error>> {
        self.storage.erase(half)?;
        if !self.is_blank(half)? {
            return Ok(false);
        }
        self.storage.program(half, 0, image)?;
        let mut back: Image = [0; IMAGE_SIZE];
        if self.storage.read(half, 0, &mut back)? == Read::Damaged || back != *image {
            return Ok(false);
        }
        for word in 0..COMMITS {
            if !self.commit(half, word)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn is_blank(&mut self, half: Half) -> Result<bool, JournalError<S::Error>> {
        let geometry = self.storage.geometry();
        let mut image: Image = [0; IMAGE_SIZE];
        if self.storage.read(half, 0, &mut image)? == Read::Damaged
            || image.iter().any(|byte| *byte != geometry.erased)
        {
            return Ok(false);
        }
        for word in 0..COMMITS {
            if self.word(half, word)? != Word::Blank {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

impl<S: Storage> Journal for TwoCopies<S> {
    type Error = JournalError<S::Error>;

    fn load(&mut self) -> Result<Option<Record>, Self::Error> {
        self.storage.geometry().check()?;
        let newest = Kept::newest(self.committed(Half::A)?, self.committed(Half::B)?);
        if let Some(kept) = &newest {
            self.settle(kept.half)?;
        }
        self.loaded = true;
        self.kept = newest;
        Ok(self.kept.as_ref().map(|kept| kept.record.clone()))
    }

    fn save(&mut self, record: &Record) -> Result<(), Self::Error> {
        if !self.loaded {
            self.load()?;
        }
        let Some(next) = Kept::after(self.kept.as_ref(), record) else {
            return Ok(());
        };
        let image = image::encode(next.sequence, record);
        for _ in 0..TRIES {
            if self.write(next.half, &image)? {
                self.kept = Some(next);
                return Ok(());
            }
        }
        Err(JournalError::Unwritable)
    }
}

/// What a half holds.
enum Copy {
    Absent,
    Uncommitted,
    Committed(Kept),
}

/// The newest copy: where it is, and what it says.
#[derive(Debug, Clone)]
pub(crate) struct Kept {
    pub(crate) half: Half,
    pub(crate) sequence: u32,
    pub(crate) record: Record,
}

impl Kept {
    /// The newer of two copies. Sequence numbers are compared as serial numbers (RFC 1982), so that
    /// they may wrap.
    pub(crate) fn newest(a: Option<Self>, b: Option<Self>) -> Option<Self> {
        match (a, b) {
            (Some(a), Some(b)) => {
                let ahead = a.sequence.wrapping_sub(b.sequence);
                Some(if ahead != 0 && ahead < 1 << 31 { a } else { b })
            }
            (a, b) => a.or(b),
        }
    }

    /// The copy to write so that `record` is the newest: over the stale one. `None` if `record` is
    /// what is kept already, or if nothing is kept and nothing has happened.
    pub(crate) fn after(kept: Option<&Self>, record: &Record) -> Option<Self> {
        let (half, sequence) = match kept {
            Some(kept) if kept.record == *record => return None,
            Some(kept) => (kept.half.other(), kept.sequence.wrapping_add(1)),
            None if *record == Record::default() => return None,
            None => (Half::A, 1),
        };
        Some(Self {
            half,
            sequence,
            record: record.clone(),
        })
    }
}

/// How a commit word reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Word {
    Blank,
    Begun,
    Whole,
}

fn commit_offset(geometry: &Geometry, word: usize) -> usize {
    IMAGE_SIZE + word * geometry.commit_size()
}

/// A commit word of `size` octets.
fn commit(size: usize) -> &'static [u8] {
    COMMIT_UNIT.get(..size).unwrap_or_default()
}

/// As many commit words as a pair of cuts can't both make weak, and one that completes them.
const COMMITS: usize = 3;
/// Half of the bits of every octet differ from either erased value.
/// No commit word is shorter, also where single octets can be programmed.
const COMMIT_LEAST: usize = 4;
const UNIT_MAX: usize = 32;
const COMMIT_UNIT: [u8; UNIT_MAX] =
    *b"\x96\x3C\xA5\x69\x96\x3C\xA5\x69\x96\x3C\xA5\x69\x96\x3C\xA5\x69\
\x96\x3C\xA5\x69\x96\x3C\xA5\x69\x96\x3C\xA5\x69\x96\x3C\xA5\x69";
/// Worn or disturbed cells get this many chances before the journal says that it can't be written.
const TRIES: u32 = 3;
