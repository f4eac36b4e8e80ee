//! Flash and EEPROM at the level of single bits: what programming and erasing do, and what is left
//! when power fails in the middle.

use std::collections::HashMap;

use imprint_device::{Geometry, Half, Read};

use super::power::{Cut, Power, Spark, Tear};

/// The part of a half that a journal can touch.
pub const ROOM: usize = 320;
/// An erase is interrupted at one of so many instants.
const STRIPES: usize = 8;

/// What kind of cells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cells {
    /// Programming moves bits away from the erased value only.
    Nor,
    /// The same, with an error-correcting code over each unit: a unit is programmed once, and a torn
    /// one is damaged.
    NorEcc,
    /// Any octet can be written at any time; erasing is writing.
    Eeprom,
}

/// What went wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    Cut,
    /// The flash refused to program a unit that isn't erased.
    NotErased,
}

impl From<Cut> for Fault {
    fn from(_: Cut) -> Self {
        Self::Cut
    }
}

/// Two halves of cells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Memory {
    pub cells: Cells,
    pub geometry: Geometry,
    data: [[u8; ROOM]; 2],
    /// Bits that read as chance has it.
    weak: [[u8; ROOM]; 2],
    /// Bits that read the other way on warm days.
    faint: [[u8; ROOM]; 2],
    pub warm: bool,
    /// Units whose code says that they are damaged, one bit a unit.
    damaged: [u64; 2],
    pub erases: u32,
    pub programs: u32,
}

impl Memory {
    pub fn new(cells: Cells, half_size: usize, unit: usize, erased: u8) -> Self {
        Self {
            cells,
            geometry: Geometry {
                half_size,
                unit,
                erased,
            },
            data: [[erased; ROOM]; 2],
            weak: [[0; ROOM]; 2],
            faint: [[0; ROOM]; 2],
            warm: false,
            damaged: [0; 2],
            erases: 0,
            programs: 0,
        }
    }

    pub fn read(
        &self,
        power: &mut Power,
        half: Half,
        offset: usize,
        out: &mut [u8],
    ) -> Result<Read, Fault> {
        if power.dead {
            return Err(Fault::Cut);
        }
        let (half, end) = (half as usize, offset + out.len());
        assert!(end <= self.geometry.half_size, "read beyond the half");
        out.copy_from_slice(&self.data[half][offset..end]);
        let weak = &self.weak[half][offset..end];
        if self.warm {
            let faint = &self.faint[half][offset..end];
            out.iter_mut()
                .zip(faint)
                .for_each(|(byte, bits)| *byte ^= bits);
        }
        let mut damaged = false;
        if weak.iter().any(|bits| *bits != 0) {
            for (byte, bits) in out.iter_mut().zip(weak) {
                *byte ^= bits & power.chance.byte();
            }
            damaged = self.cells == Cells::NorEcc && power.chance.one_in(2);
        }
        if self.cells == Cells::NorEcc {
            let units = offset / self.geometry.unit..end.div_ceil(self.geometry.unit);
            damaged |= units
                .into_iter()
                .any(|unit| self.damaged[half] >> unit & 1 == 1);
        }
        Ok(if damaged { Read::Damaged } else { Read::Done })
    }

    pub fn program(
        &mut self,
        power: &mut Power,
        half: Half,
        offset: usize,
        bytes: &[u8],
    ) -> Result<(), Fault> {
        let unit = self.geometry.unit;
        assert_eq!(
            (offset % unit, bytes.len() % unit),
            (0, 0),
            "programming across units"
        );
        assert!(
            offset + bytes.len() <= self.geometry.half_size,
            "programming beyond the half"
        );
        self.programs += 1;
        let unsure = self.is_unsure(half as usize, offset..offset + bytes.len());
        let units = u32::try_from(bytes.len() / unit).expect("a few hundred at most");
        if !unsure && power.spend_quietly(units) {
            return self.program_unit(half as usize, offset, bytes);
        }
        for (at, new) in (offset..).step_by(unit).zip(bytes.chunks(unit)) {
            match power.spend()? {
                Spark::Whole => self.program_unit(half as usize, at, new)?,
                Spark::Skipped => {}
                Spark::Torn(tear) => {
                    self.tear_unit(power, half as usize, at, new, tear);
                    return Err(Fault::Cut);
                }
            }
        }
        Ok(())
    }

    fn program_unit(&mut self, half: usize, at: usize, new: &[u8]) -> Result<(), Fault> {
        let erased = self.geometry.erased;
        let range = at..at + new.len();
        let weak = self.is_unsure(half, range.clone());
        let blank = self.data[half][range.clone()]
            .iter()
            .all(|byte| *byte == erased);
        if self.cells == Cells::NorEcc && (weak || !blank) {
            self.damaged[half] |= 1 << (at / self.geometry.unit);
            return Err(Fault::NotErased);
        }
        assert!(
            self.cells == Cells::Eeprom || weak || blank,
            "a unit is programmed twice"
        );
        for (cell, byte) in self.data[half][range.clone()].iter_mut().zip(new) {
            *cell = match (self.cells, erased) {
                (Cells::Eeprom, _) => *byte,
                (_, 0xFF) => *cell & byte,
                _ => *cell | byte,
            };
        }
        if weak {
            self.weak[half][range.clone()].fill(0);
            self.faint[half][range].fill(0);
        }
        Ok(())
    }

    fn is_unsure(&self, half: usize, range: std::ops::Range<usize>) -> bool {
        let weak = self.weak[half][range.clone()].iter();
        weak.chain(&self.faint[half][range]).any(|bits| *bits != 0)
    }

    fn tear_unit(&mut self, power: &mut Power, half: usize, at: usize, new: &[u8], tear: Tear) {
        let chance = &mut power.chance;
        let torn = usize::from(chance.byte()) % new.len();
        if let Tear::Faint(seed) = tear {
            self.warm = seed % 2 == 1;
        }
        for (index, byte) in new.iter().enumerate() {
            let cell = &mut self.data[half][at + index];
            let moving = *cell ^ byte;
            let moved = match tear {
                Tear::Clean | Tear::Ignored => 0,
                Tear::Byte(_) if index < torn => moving,
                Tear::Byte(_) if index > torn => 0,
                Tear::Byte(_) | Tear::Word(_) => moving & chance.byte(),
                Tear::Few(_) => moving & !chance.sparse(),
                Tear::Weak(_) => {
                    self.weak[half][at + index] |= moving & chance.byte();
                    moving & chance.byte()
                }
                Tear::Faint(_) => {
                    self.faint[half][at + index] |= moving;
                    0
                }
            };
            *cell ^= moved;
        }
        // A torn unit seldom satisfies its own code.
        let readable = matches!(tear, Tear::Clean | Tear::Faint(_));
        let touched = !readable && !chance.one_in(4);
        if self.cells == Cells::NorEcc && touched {
            self.damaged[half] |= 1 << (at / self.geometry.unit);
        }
    }

    pub fn erase(&mut self, power: &mut Power, half: Half) -> Result<(), Fault> {
        self.erases += 1;
        let half = half as usize;
        for stripe in 0..STRIPES {
            let range = stripe * ROOM / STRIPES..(stripe + 1) * ROOM / STRIPES;
            match power.spend()? {
                Spark::Whole => self.erase_cells(half, range),
                Spark::Skipped => {}
                Spark::Torn(tear) => {
                    self.tear_erase(power, half, range, tear);
                    return Err(Fault::Cut);
                }
            }
        }
        self.damaged[half] = 0;
        Ok(())
    }

    fn erase_cells(&mut self, half: usize, range: std::ops::Range<usize>) {
        self.data[half][range.clone()].fill(self.geometry.erased);
        self.weak[half][range.clone()].fill(0);
        self.faint[half][range].fill(0);
    }

    /// Flash erases all cells of a sector together, so a torn erase reaches beyond the stripe.
    fn tear_erase(
        &mut self,
        power: &mut Power,
        half: usize,
        stripe: std::ops::Range<usize>,
        tear: Tear,
    ) {
        let whole = 0..ROOM;
        let range = match (tear, self.cells) {
            (Tear::Byte(_), _) | (_, Cells::Eeprom) => stripe,
            _ => whole,
        };
        if let Tear::Faint(seed) = tear {
            self.warm = seed % 2 == 1;
        }
        let chance = &mut power.chance;
        // One to three bits, anywhere: a sequence number may grow by that.
        let few: HashMap<usize, u8> = (0..=chance.below(3))
            .map(|_| {
                (
                    range.start + chance.below(range.len()),
                    1 << chance.below(8),
                )
            })
            .collect();
        for at in range {
            let moving = self.data[half][at] ^ self.geometry.erased;
            let moved = match tear {
                Tear::Clean | Tear::Ignored => 0,
                Tear::Byte(_) | Tear::Word(_) => moving & chance.byte(),
                Tear::Few(_) => moving & few.get(&at).copied().unwrap_or(0),
                Tear::Weak(_) => {
                    self.weak[half][at] |= moving & chance.byte();
                    moving & chance.byte() & chance.byte()
                }
                Tear::Faint(_) => {
                    self.faint[half][at] |= moving;
                    0
                }
            };
            self.data[half][at] ^= moved;
            if moved != 0 && self.cells == Cells::NorEcc && !chance.one_in(4) {
                self.damaged[half] |= 1 << (at / self.geometry.unit);
            }
        }
    }

    /// Flips one bit of a half, as years of heat might.
    pub fn rot(&mut self, half: Half, bit: usize) {
        self.data[half as usize][bit / 8] ^= 1 << (bit % 8);
    }
}
