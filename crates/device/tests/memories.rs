//! What the journal refuses, and what it does with a memory that doesn't keep or doesn't answer.
#![expect(
    clippy::indexing_slicing,
    clippy::panic_in_result_fn,
    reason = "a panic is how a test fails"
)]

use imprint_device::{
    Device, Event, Geometry, Half, Journal, JournalError, Read, Record, Settings, Storage,
    TwoCopies, UnixTime,
};

/// A memory in which everything can be broken.
struct Memory {
    geometry: Geometry,
    halves: [Vec<u8>; 2],
    /// So many programs are ignored.
    ignores: u32,
    silent: bool,
    erases: [u32; 2],
}

impl Memory {
    fn new(half_size: usize, unit: usize, erased: u8) -> Self {
        Self {
            geometry: Geometry {
                half_size,
                unit,
                erased,
            },
            halves: [vec![0x5A; half_size], vec![0x5A; half_size]],
            ignores: 0,
            silent: false,
            erases: [0; 2],
        }
    }
}

impl Storage for &mut Memory {
    type Error = &'static str;

    fn geometry(&self) -> Geometry {
        self.geometry
    }

    fn read(&mut self, half: Half, offset: usize, out: &mut [u8]) -> Result<Read, &'static str> {
        if self.silent {
            return Err("no answer");
        }
        out.copy_from_slice(&self.halves[half as usize][offset..offset + out.len()]);
        Ok(Read::Done)
    }

    fn erase(&mut self, half: Half) -> Result<(), &'static str> {
        self.erases[half as usize] += 1;
        self.halves[half as usize].fill(self.geometry.erased);
        Ok(())
    }

    fn program(&mut self, half: Half, offset: usize, bytes: &[u8]) -> Result<(), &'static str> {
        assert_eq!(
            (
                offset % self.geometry.unit,
                bytes.len() % self.geometry.unit
            ),
            (0, 0)
        );
        if self.ignores > 0 {
            self.ignores -= 1;
            return Ok(());
        }
        self.halves[half as usize][offset..offset + bytes.len()].copy_from_slice(bytes);
        Ok(())
    }
}

fn begun() -> Record {
    Record::default()
        .advance(&Event::PowerOn, &Settings::new(UnixTime(0)), 0)
        .0
}

#[test]
fn every_supported_memory_keeps_a_record_in_the_room_that_it_says_it_needs() {
    for unit in [1, 2, 4, 8, 16, 32] {
        for erased in [0x00, 0xFF] {
            let needed = Geometry {
                half_size: 0,
                unit,
                erased,
            }
            .needed();
            assert_eq!(needed, 224 + 3 * unit.max(4));
            let mut memory = Memory::new(needed, unit, erased);
            TwoCopies::new(&mut memory).save(&begun()).unwrap();
            assert_eq!(TwoCopies::new(&mut memory).load(), Ok(Some(begun())));
        }
    }
}

#[test]
fn too_small_a_half_and_odd_units_are_refused_before_anything_is_written() {
    let mut small = Memory::new(235, 4, 0xFF);
    let refused = TwoCopies::new(&mut small).save(&begun());
    assert_eq!(
        refused,
        Err(JournalError::TooSmall {
            needed: 236,
            found: 235
        })
    );
    for unit in [0, 3, 64] {
        let mut odd = Memory::new(4096, unit, 0xFF);
        assert_eq!(
            TwoCopies::new(&mut odd).load(),
            Err(JournalError::Unit { found: unit })
        );
        assert_eq!(odd.erases, [0, 0]);
    }
}

#[test]
fn foreign_octets_are_a_blank_device_and_reading_them_writes_nothing() {
    let mut memory = Memory::new(512, 4, 0xFF);
    assert_eq!(TwoCopies::new(&mut memory).load(), Ok(None));
    assert_eq!(memory.erases, [0, 0]);
}

#[test]
fn a_write_that_is_ignored_twice_is_done_at_the_third_try_and_then_given_up() {
    let mut memory = Memory::new(512, 4, 0xFF);
    memory.ignores = 2;
    TwoCopies::new(&mut memory).save(&begun()).unwrap();
    assert_eq!(memory.erases, [3, 0]);

    memory = Memory::new(512, 4, 0xFF);
    memory.ignores = u32::MAX;
    let given_up = TwoCopies::new(&mut memory).save(&begun());
    assert_eq!(given_up, Err(JournalError::Unwritable));
    assert_eq!(memory.erases, [3, 0]);
}

/// A bus that is down says nothing about the copies: taking them for absent would start a member
/// from the beginning.
#[test]
fn a_memory_that_does_not_answer_is_an_error_and_not_a_blank_device() {
    let mut memory = Memory::new(512, 4, 0xFF);
    TwoCopies::new(&mut memory).save(&begun()).unwrap();
    memory.silent = true;
    assert_eq!(
        TwoCopies::new(&mut memory).load(),
        Err(JournalError::Storage("no answer"))
    );
}

#[test]
fn firmware_gets_its_memory_back() {
    let mut memory = Memory::new(512, 4, 0xFF);
    let settings = Settings::new(UnixTime(0));
    let mut device = Device::wake(TwoCopies::new(&mut memory), settings).unwrap();
    device.tell(&Event::PowerOn, 0).unwrap();
    let back: &mut Memory = device.into_journal().into_storage();
    assert_eq!(back.erases, [1, 0]);
}

#[test]
fn copies_take_turns_and_the_same_record_again_writes_nothing() {
    let mut memory = Memory::new(512, 4, 0xFF);
    let mut journal = TwoCopies::new(&mut memory);
    let mut record = begun();
    for attempts in 0..10 {
        record.attempts = attempts;
        for _ in 0..3 {
            journal.save(&record).unwrap();
        }
    }
    assert_eq!(memory.erases, [5, 5]);
    assert_eq!(TwoCopies::new(&mut memory).load(), Ok(Some(record)));
}
