//! One exported function: read the journal, tell the machine what happened, say what to do.
#![no_std]
#![no_main]

use imprint_device::{
    Action, Code, Device, Digest, Event, Failure, Fingerprint, Geometry, Half, Read, Retry,
    Settings, Slot, Storage, TwoCopies, UnixTime,
};

/// Two halves of a memory that is mapped into the address space.
struct Mapped<'a>(&'a mut [[u8; 512]; 2]);

impl Storage for Mapped<'_> {
    type Error = ();

    fn geometry(&self) -> Geometry {
        Geometry {
            half_size: 512,
            unit: 8,
            erased: 0xFF,
        }
    }

    fn read(&mut self, half: Half, offset: usize, out: &mut [u8]) -> Result<Read, ()> {
        let from = self.0[half as usize]
            .get(offset..offset + out.len())
            .ok_or(())?;
        out.copy_from_slice(from);
        Ok(Read::Done)
    }

    fn erase(&mut self, half: Half) -> Result<(), ()> {
        self.0[half as usize].fill(0xFF);
        Ok(())
    }

    fn program(&mut self, half: Half, offset: usize, bytes: &[u8]) -> Result<(), ()> {
        let to = self.0[half as usize]
            .get_mut(offset..offset + bytes.len())
            .ok_or(())?;
        to.iter_mut()
            .zip(bytes)
            .for_each(|(cell, byte)| *cell &= byte);
        Ok(())
    }
}

#[unsafe(no_mangle)]
pub extern "C" fn imprint_step(
    memory: &mut [[u8; 512]; 2],
    what: u32,
    bytes: &[u8; 32],
    at: i64,
    chance: u32,
) -> u32 {
    let settings = Settings::new(UnixTime(1_790_000_000));
    let Ok(mut device) = Device::wake(TwoCopies::new(Mapped(memory)), settings) else {
        return u32::MAX;
    };
    let at = UnixTime(at);
    let event = match what {
        0 => Event::PowerOn,
        1 => Event::Reached { at },
        2 => Event::KeyMade(Fingerprint(*bytes)),
        3 => Event::Enrolled,
        4 => Event::ProfileFetched,
        5 => Event::Stored {
            digest: Digest(*bytes),
            registered: bytes[0] == 0,
        },
        6 => Event::Registered,
        7 => Event::Verified {
            at,
            valid_from: at.plus(-60),
            valid_until: at.plus(60),
        },
        8 => Event::Forgotten,
        9 => Event::Wiped,
        10 => Event::RenewalDue {
            at,
            rekey: bytes[0] == 0,
        },
        11 => Event::Failed(Failure {
            code: Code::new("server-busy"),
            retry: Retry::After(chance),
        }),
        12 => Event::KeyMissing(Slot::B),
        13 => Event::CredentialMissing(Slot::A),
        14 => Event::WrongCertificate,
        15 => Event::HardwareMismatch,
        16 => Event::Release,
        17 => Event::FactoryReset,
        _ => Event::Waited,
    };
    match device.tell(&event, chance) {
        Ok(Action::Rest) => 0,
        Ok(Action::Bootstrap) => 1,
        Ok(Action::MakeKey { slot }) => 2 + slot as u32,
        Ok(Action::Enroll { key }) => 4 + u32::from(key.fingerprint.0[0]),
        Ok(Action::Wait { ms }) => ms,
        Ok(_) => 5,
        Err(_) => u32::MAX,
    }
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}
