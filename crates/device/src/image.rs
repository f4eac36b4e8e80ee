//! A record as bytes: 224 octets, one form for flash, EEPROM and files.
//!
//! ```text
//!   0  "IMPJ"                                   magic
//!   4  1                                        version
//!   5  0 0, then losses u8
//!   8  sequence number, u32
//!  12  place u8, quarantine u8 (0: none), attempts u8, notes u8
//!  16  server time: present u8, i64
//!  25  refusal: present u8, step u8, retry u8, seconds u32, code length u8, code [32]
//!  65  what the place has in hand, then zeros
//! 220  CRC-32 (ISO-HDLC) over 0..220
//! ```
//!
//! Integers are little-endian. A record has exactly one image, and nothing else is an image.

use crc::{CRC_32_ISO_HDLC, Crc};
use imprint_identity::{Quarantine, Step, UnixTime};

use crate::record::{
    Code, Credential, Digest, Errand, Fingerprint, Key, Member, Place, Record, Refusal, Renewal,
    Retry, Slot,
};

/// The size of an image, in octets; a multiple of every program unit up to 32.
pub const IMAGE_SIZE: usize = 224;

/// A record as bytes.
pub type Image = [u8; IMAGE_SIZE];

/// The image of `record` with this sequence number.
#[must_use]
pub fn encode(sequence: u32, record: &Record) -> Image {
    let mut out = body(sequence, record);
    let crc = CRC.checksum(out.image.get(..CRC_AT).unwrap_or_default());
    out.at = CRC_AT;
    out.bytes(&crc.to_le_bytes());
    out.image
}

fn body(sequence: u32, record: &Record) -> Writer {
    let mut out = Writer {
        image: [0; IMAGE_SIZE],
        at: 0,
    };
    out.bytes(&MAGIC);
    out.bytes(&[VERSION, 0, 0, record.losses]);
    out.bytes(&sequence.to_le_bytes());
    out.byte(place_tag(&record.place));
    out.byte(record.quarantine.map_or(0, |reason| reason as u8));
    out.byte(record.attempts);
    out.byte(record.notes);
    match record.server_time {
        None => out.bytes(&[0; 9]),
        Some(time) => {
            out.byte(1);
            out.time(time);
        }
    }
    match &record.refusal {
        None => out.bytes(&[0; REFUSAL_SIZE]),
        Some(refusal) => {
            out.byte(1);
            out.refusal(refusal);
        }
    }
    out.place(&record.place);
    out
}

/// The sequence number and the record in `bytes`, if they are an image: right size, magic, version
/// and CRC, every field a known value, and the one form in which [`encode`] writes that record.
#[must_use]
pub fn parse(bytes: &[u8]) -> Option<(u32, Record)> {
    let image: &Image = bytes.try_into().ok()?;
    let (checked, crc) = image.split_at_checked(CRC_AT)?;
    if CRC.checksum(checked).to_le_bytes() != *crc {
        return None;
    }
    let mut from = Reader { rest: checked };
    if from.array()? != MAGIC || from.array()? != [VERSION, 0, 0] {
        return None;
    }
    let losses = from.byte()?;
    let sequence = u32::from_le_bytes(from.array()?);
    let tag = from.byte()?;
    let quarantine = match from.byte()? {
        0 => None,
        byte => Some(Quarantine::from_byte(byte)?),
    };
    let attempts = from.byte()?;
    let notes = from.byte()?;
    let server_time = (from.byte()? == 1, from.time()?);
    let refusal = (from.byte()? == 1, from.array::<REFUSAL_REST>()?);
    let record = Record {
        place: from.place(tag)?,
        quarantine,
        attempts,
        notes,
        losses,
        server_time: server_time.0.then_some(server_time.1),
        refusal: if refusal.0 {
            Some(refusal_of(&refusal.1)?)
        } else {
            None
        },
    };
    let again = body(sequence, &record);
    let is_the_one = again.image.get(..CRC_AT) == Some(checked);
    (is_the_one && is_sound(&record.place)).then_some((sequence, record))
}

/// The two slots of a renewal must differ, or deleting one side would delete the other.
fn is_sound(place: &Place) -> bool {
    let Place::Provisioned(Member {
        credential, errand, ..
    }) = place
    else {
        return true;
    };
    match errand {
        Errand::None | Errand::ForgetBootstrap | Errand::Renewal(Renewal::MakeKey) => true,
        Errand::Renewal(Renewal::Enroll { key }) => is_apart(key, &credential.key),
        Errand::Renewal(Renewal::Verify { successor }) => {
            successor.slot != credential.slot && is_apart(&successor.key, &credential.key)
        }
        Errand::Forget {
            key,
            credential: old,
        } => *old != credential.slot && *key != Some(credential.key.slot),
    }
}

fn is_apart(one: &Key, other: &Key) -> bool {
    one.slot != other.slot || one == other
}

const MAGIC: [u8; 4] = *b"IMPJ";
const VERSION: u8 = 1;
const CRC_AT: usize = IMAGE_SIZE - 4;
const REFUSAL_REST: usize = 1 + 1 + 4 + 1 + 32;
const REFUSAL_SIZE: usize = 1 + REFUSAL_REST;
const CRC: Crc<u32> = Crc::<u32>::new(&CRC_32_ISO_HDLC);

const fn place_tag(place: &Place) -> u8 {
    match place {
        Place::Blank => 0,
        Place::Wiping => 1,
        Place::Bootstrap => 2,
        Place::MakeKey => 3,
        Place::Enroll { .. } => 4,
        Place::CredentialStore { .. } => 5,
        Place::Register { .. } => 6,
        Place::Verify { .. } => 7,
        Place::Provisioned(_) => 8,
    }
}

const fn slot_byte(slot: Slot) -> u8 {
    match slot {
        Slot::A => 1,
        Slot::B => 2,
    }
}

/// Writes from the front; what doesn't fit is dropped, and the tests hold the largest record.
struct Writer {
    image: Image,
    at: usize,
}

impl Writer {
    fn bytes(&mut self, bytes: &[u8]) {
        if let Some(room) = self.image.get_mut(self.at..self.at + bytes.len()) {
            room.copy_from_slice(bytes);
        }
        self.at += bytes.len();
    }

    fn byte(&mut self, byte: u8) {
        self.bytes(&[byte]);
    }

    fn time(&mut self, time: UnixTime) {
        self.bytes(&time.0.to_le_bytes());
    }

    fn refusal(&mut self, refusal: &Refusal) {
        self.byte(refusal.step as u8);
        let (tag, seconds) = match refusal.retry {
            Retry::Later => (0, 0),
            Retry::After(seconds) => (1, seconds),
            Retry::Never => (2, 0),
        };
        self.byte(tag);
        self.bytes(&seconds.to_le_bytes());
        let code = refusal.code.as_str().as_bytes();
        self.byte(u8::try_from(code.len()).unwrap_or_default());
        self.bytes(code);
        self.at += 32 - code.len();
    }

    fn place(&mut self, place: &Place) {
        match place {
            Place::Blank | Place::Wiping | Place::Bootstrap | Place::MakeKey => {}
            Place::Enroll { key } | Place::CredentialStore { key } => self.key(key),
            Place::Register { credential } | Place::Verify { credential } => {
                self.credential(credential);
            }
            Place::Provisioned(member) => {
                self.credential(&member.credential);
                self.time(member.renewal_began);
                self.errand(&member.errand);
            }
        }
    }

    fn errand(&mut self, errand: &Errand) {
        match errand {
            Errand::None => self.byte(0),
            Errand::ForgetBootstrap => self.byte(1),
            Errand::Forget { key, credential } => {
                self.byte(2);
                self.byte(key.map_or(0, slot_byte));
                self.byte(slot_byte(*credential));
            }
            Errand::Renewal(Renewal::MakeKey) => self.byte(3),
            Errand::Renewal(Renewal::Enroll { key }) => {
                self.byte(4);
                self.key(key);
            }
            Errand::Renewal(Renewal::Verify { successor }) => {
                self.byte(5);
                self.credential(successor);
            }
        }
    }

    fn key(&mut self, key: &Key) {
        self.byte(slot_byte(key.slot));
        self.bytes(&key.fingerprint.0);
    }

    fn credential(&mut self, credential: &Credential) {
        self.key(&credential.key);
        self.byte(slot_byte(credential.slot));
        self.bytes(&credential.digest.0);
    }
}

struct Reader<'a> {
    rest: &'a [u8],
}

impl Reader<'_> {
    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (first, rest) = self.rest.split_first_chunk()?;
        self.rest = rest;
        Some(*first)
    }

    fn byte(&mut self) -> Option<u8> {
        self.array::<1>().map(|[byte]| byte)
    }

    fn time(&mut self) -> Option<UnixTime> {
        self.array().map(i64::from_le_bytes).map(UnixTime)
    }

    fn slot(&mut self) -> Option<Slot> {
        let byte = self.byte()?;
        Slot::ALL.into_iter().find(|slot| slot_byte(*slot) == byte)
    }

    fn key(&mut self) -> Option<Key> {
        Some(Key {
            slot: self.slot()?,
            fingerprint: Fingerprint(self.array()?),
        })
    }

    fn credential(&mut self) -> Option<Credential> {
        Some(Credential {
            key: self.key()?,
            slot: self.slot()?,
            digest: Digest(self.array()?),
        })
    }

    fn place(&mut self, tag: u8) -> Option<Place> {
        Some(match tag {
            0 => Place::Blank,
            1 => Place::Wiping,
            2 => Place::Bootstrap,
            3 => Place::MakeKey,
            4 => Place::Enroll { key: self.key()? },
            5 => Place::CredentialStore { key: self.key()? },
            6 => Place::Register {
                credential: self.credential()?,
            },
            7 => Place::Verify {
                credential: self.credential()?,
            },
            8 => Place::Provisioned(Member {
                credential: self.credential()?,
                renewal_began: self.time()?,
                errand: self.errand()?,
            }),
            _ => return None,
        })
    }

    fn errand(&mut self) -> Option<Errand> {
        Some(match self.byte()? {
            0 => Errand::None,
            1 => Errand::ForgetBootstrap,
            2 => {
                let (byte, credential) = (self.byte()?, self.slot()?);
                let key = Slot::ALL.into_iter().find(|slot| slot_byte(*slot) == byte);
                Errand::Forget { key, credential }
            }
            3 => Errand::Renewal(Renewal::MakeKey),
            4 => Errand::Renewal(Renewal::Enroll { key: self.key()? }),
            5 => Errand::Renewal(Renewal::Verify {
                successor: self.credential()?,
            }),
            _ => return None,
        })
    }
}

fn refusal_of(bytes: &[u8; REFUSAL_REST]) -> Option<Refusal> {
    let mut from = Reader { rest: bytes };
    let step = Step::from_byte(from.byte()?)?;
    let (tag, seconds) = (from.byte()?, u32::from_le_bytes(from.array()?));
    let retry = match tag {
        0 => Retry::Later,
        1 => Retry::After(seconds),
        2 => Retry::Never,
        _ => return None,
    };
    let length = usize::from(from.byte()?);
    let code = core::str::from_utf8(from.rest.get(..length)?).ok()?;
    Some(Refusal {
        code: Code::new(code),
        step,
        retry,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(slot: Slot, which: u8) -> Key {
        Key {
            slot,
            fingerprint: Fingerprint([which; 32]),
        }
    }

    fn credential(slot: Slot, which: u8) -> Credential {
        Credential {
            key: key(slot, which),
            slot,
            digest: Digest([which; 32]),
        }
    }

    fn largest() -> Record {
        Record {
            place: Place::Provisioned(Member {
                credential: credential(Slot::A, 0xFF),
                errand: Errand::Renewal(Renewal::Verify {
                    successor: credential(Slot::B, 0xFE),
                }),
                renewal_began: UnixTime(i64::MAX),
            }),
            quarantine: Some(Quarantine::Operator),
            attempts: 255,
            notes: 255,
            losses: 255,
            refusal: Some(Refusal {
                code: Code::new("a-code-of-thirty-two-characters!"),
                step: Step::Provisioned,
                retry: Retry::After(u32::MAX),
            }),
            server_time: Some(UnixTime(i64::MIN)),
        }
    }

    fn with_crc(mut image: Image) -> Image {
        let crc = CRC.checksum(&image[..CRC_AT]);
        image[CRC_AT..].copy_from_slice(&crc.to_le_bytes());
        image
    }

    #[test]
    fn the_largest_record_fits_and_comes_back() {
        assert_eq!(
            parse(&encode(u32::MAX, &largest())),
            Some((u32::MAX, largest()))
        );
    }

    /// Devices in the field hold images of this form: a firmware update must read them.
    #[test]
    fn the_form_never_changes() {
        assert_eq!(CRC.checksum(&encode(1, &largest())[..CRC_AT]), 0x15F9_54FE);
        assert_eq!(
            CRC.checksum(&encode(1, &Record::default())[..CRC_AT]),
            0xCA45_4551
        );
    }

    #[test]
    fn one_or_two_flipped_bits_are_no_image() {
        let whole = encode(3, &largest());
        for first in 0..IMAGE_SIZE * 8 {
            for second in first..IMAGE_SIZE * 8 {
                let mut torn = whole;
                torn[first / 8] ^= 1 << (first % 8);
                if second != first {
                    torn[second / 8] ^= 1 << (second % 8);
                }
                assert_eq!(parse(&torn), None, "{first} {second}");
                if first % 37 != 0 {
                    break;
                }
            }
        }
    }

    #[test]
    fn erased_memory_and_wrong_sizes_are_no_image() {
        let whole = encode(3, &largest());
        for bytes in [
            &[0xFF; IMAGE_SIZE][..],
            &[0; IMAGE_SIZE],
            &[],
            &whole[..IMAGE_SIZE - 1],
        ] {
            assert_eq!(parse(bytes), None);
        }
    }

    /// The CRC is right in all of these: they are what a foreign or later firmware might leave.
    #[test]
    fn a_field_that_means_nothing_is_no_image() {
        let whole = encode(3, &largest());
        assert!(parse(&with_crc(whole)).is_some());
        for (at, byte, what) in [
            (0, b'X', "magic"),
            (4, 2, "version"),
            (5, 1, "reserved"),
            (12, 9, "place"),
            (13, 7, "quarantine"),
            (16, 2, "presence of a time"),
            (25, 2, "presence of a refusal"),
            (26, 8, "step"),
            (27, 3, "retry"),
            (32, 33, "length of a code"),
            (33, 0x07, "a code that isn't printable"),
            (65, 0, "slot"),
            (98, 2, "successor in the slot that is in use"),
            (139, 6, "errand"),
            (210, 1, "something after the end"),
        ] {
            let mut odd = whole;
            odd[at] = byte;
            assert_eq!(parse(&with_crc(odd)), None, "{what}");
        }
    }
}
