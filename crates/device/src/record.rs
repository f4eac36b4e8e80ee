//! What the device knows about its own way into the fleet: the one thing that the journal holds.

use core::fmt;

use heapless::String;
use imprint_identity::{Quarantine, Step, UnixTime};

/// Where a device stands and what it has in hand. [`Record::default`] is a blank device.
///
/// [`Place`] says how far it has come; QUARANTINE lies over it, so that a device which a person
/// releases goes on from where it stood, with the key that the server knows.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Record {
    /// How far the device has come.
    pub place: Place,
    /// Why it rests, if it does.
    pub quarantine: Option<Quarantine>,
    /// Failures at this place so far; stops at [`Settings::attempts`](crate::Settings::attempts).
    pub attempts: u8,
    /// How often this place's record was rewritten only to name another cause; bounded, so that a
    /// server with changing excuses can't wear out the flash.
    pub notes: u8,
    /// How often the credential store has lost what it had given back before. A few times the
    /// device asks again; then a person must look at the memory.
    pub losses: u8,
    /// The last failure or refusal, kept for the person who asks why.
    pub refusal: Option<Refusal>,
    /// The last server time that was taken under the pinned root.
    pub server_time: Option<UnixTime>,
}

impl Record {
    /// The state register, as every surface prints it.
    #[must_use]
    pub fn step(&self) -> Step {
        match self.quarantine {
            Some(_) => Step::Quarantine,
            None => self.place.step(),
        }
    }

    /// The credential by which the fleet knows this device: `Some` exactly when it is a member,
    /// also while its renewal is under way.
    #[must_use]
    pub fn credential(&self) -> Option<Credential> {
        match self.place {
            Place::Provisioned(member) => Some(member.credential),
            _ => None,
        }
    }

    /// The earliest that it can be now: the build time, or a later time that the server told.
    #[must_use]
    pub fn time_floor(&self, built: UnixTime) -> UnixTime {
        self.server_time.map_or(built, |told| told.max(built))
    }
}

/// How far the device has come, with what it must have in hand there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Place {
    /// UNPROVISIONED: nothing has happened yet.
    #[default]
    Blank,
    /// UNPROVISIONED: a factory reset has begun and its erasing isn't finished.
    Wiping,
    /// BOOTSTRAP: reaching the server.
    Bootstrap,
    /// ENROLL, no key on record: no request has ever left.
    MakeKey,
    /// ENROLL: a request for this key may have left, so this key must never be lost.
    Enroll {
        /// The key, durable in the key store.
        key: Key,
    },
    /// `CREDENTIAL_STORE`: the server has answered; certificate and profile are being written down.
    CredentialStore {
        /// The key that the certificate is for.
        key: Key,
    },
    /// REGISTER, where settle has not registered the device already.
    Register {
        /// What was stored and read back.
        credential: Credential,
    },
    /// VERIFY: first use of the new certificate. The bootstrap credential is still held.
    Verify {
        /// What is to be proven.
        credential: Credential,
    },
    /// PROVISIONED.
    Provisioned(Member),
}

impl Place {
    /// The step that this place belongs to.
    #[must_use]
    pub const fn step(self) -> Step {
        match self {
            Self::Blank | Self::Wiping => Step::Unprovisioned,
            Self::Bootstrap => Step::Bootstrap,
            Self::MakeKey | Self::Enroll { .. } => Step::Enroll,
            Self::CredentialStore { .. } => Step::CredentialStore,
            Self::Register { .. } => Step::Register,
            Self::Verify { .. } => Step::Verify,
            Self::Provisioned(_) => Step::Provisioned,
        }
    }

    /// The key that the server may know.
    #[must_use]
    pub const fn key(&self) -> Option<Key> {
        match *self {
            Self::Blank | Self::Wiping | Self::Bootstrap | Self::MakeKey => None,
            Self::Enroll { key } | Self::CredentialStore { key } => Some(key),
            Self::Register { credential } | Self::Verify { credential } => Some(credential.key),
            Self::Provisioned(member) => Some(member.credential.key),
        }
    }

    /// The credential that is stored: verified only in [`Place::Provisioned`].
    #[must_use]
    pub const fn credential(&self) -> Option<Credential> {
        match *self {
            Self::Register { credential } | Self::Verify { credential } => Some(credential),
            Self::Provisioned(member) => Some(member.credential),
            _ => None,
        }
    }
}

/// A member of the fleet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Member {
    /// The verified credential.
    pub credential: Credential,
    /// What is still to be done beside the device's real work.
    pub errand: Errand,
    /// When the last renewal began, 0 if none has.
    pub renewal_began: UnixTime,
}

/// What a member still has to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Errand {
    /// Nothing.
    None,
    /// Delete the bootstrap credential: the new one has worked.
    ForgetBootstrap,
    /// A successor credential is on its way; the present one stays in use.
    Renewal(Renewal),
    /// Delete what a renewal left over: the predecessor, or a successor that was refused.
    Forget {
        /// The key to delete; `None` where the credential that stays uses it too.
        key: Option<Slot>,
        /// The credential to delete.
        credential: Slot,
    },
}

/// How far a renewal has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Renewal {
    /// The successor's key is not on record yet.
    MakeKey,
    /// A request for this key may have left.
    Enroll {
        /// The successor's key.
        key: Key,
    },
    /// The successor is stored and was not used yet, or the answer to its first use was lost.
    Verify {
        /// The successor.
        successor: Credential,
    },
}

/// A key pair in the key store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Key {
    /// Where the key store has it.
    pub slot: Slot,
    /// Which key it is.
    pub fingerprint: Fingerprint,
}

/// A certificate and its connection profile in the credential store, and the key they belong to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Credential {
    /// The key that the certificate certifies.
    pub key: Key,
    /// Where the credential store has certificate and profile.
    pub slot: Slot,
    /// What was read back after they were written.
    pub digest: Digest,
}

/// One of the two places that the key store and the credential store each have. The credential in
/// use has one, its successor the other, and they change roles at each renewal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Slot {
    /// The first; every first enrollment uses it.
    A,
    /// The second.
    B,
}

impl Slot {
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

/// SHA-256 of a public key's `SubjectPublicKeyInfo` (DER).
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Fingerprint(pub [u8; 32]);

/// SHA-256 of what the credential store gave back: the certificate (DER), then the profile's bytes.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Digest(pub [u8; 32]);

/// What failed, in words that the server's catalogue or the device's own code gave it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Refusal {
    /// The stable code, such as `token-leased` or `server-unreachable`.
    pub code: Code,
    /// The step at which it happened; the renewal of a member counts as PROVISIONED.
    pub step: Step,
    /// What the device does next.
    pub retry: Retry,
}

/// A failure as the caller reports it; the machine adds the step.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Failure {
    /// The stable code.
    pub code: Code,
    /// Whether it may pass by itself.
    pub retry: Retry,
}

impl Failure {
    /// A cause that may pass by itself, with no word about when.
    #[must_use]
    pub fn passing(code: &str) -> Self {
        Self {
            code: Code::new(code),
            retry: Retry::Later,
        }
    }

    /// A cause that only a person can remove.
    #[must_use]
    pub fn lasting(code: &str) -> Self {
        Self {
            code: Code::new(code),
            retry: Retry::Never,
        }
    }
}

/// Whether to come back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Retry {
    /// The cause may pass; the device's own backoff decides when.
    Later,
    /// The cause may pass, and not before so many seconds (`Retry-After`).
    After(u32),
    /// Final: a person must act.
    Never,
}

/// A refusal code: 0 to 32 octets of printable ASCII.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Code(String<32>);

impl Code {
    /// The code in `text`: what is not printable ASCII becomes `?`, and what goes beyond 32 octets
    /// is cut off, because a strange server must not stop the device from noting what it said.
    #[must_use]
    pub fn new(text: &str) -> Self {
        let mut code = String::new();
        for character in text.chars() {
            let plain = if character.is_ascii_graphic() {
                character
            } else {
                '?'
            };
            if code.push(plain).is_err() {
                break;
            }
        }
        Self(code)
    }

    /// The code as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl fmt::Debug for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

fn hex(bytes: &[u8], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    bytes.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        hex(&self.0, f)
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        hex(&self.0, f)
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        hex(&self.0, f)
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        hex(&self.0, f)
    }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use std::format;

    #[test]
    fn a_record_is_small_enough_for_the_stack_of_a_microcontroller() {
        assert!(size_of::<Record>() <= 256, "{}", size_of::<Record>());
    }

    #[test]
    fn the_time_floor_is_the_build_or_what_the_server_told_later() {
        let built = UnixTime(1_000);
        for (told, floor) in [(None, 1_000), (Some(999), 1_000), (Some(1_001), 1_001)] {
            let record = Record {
                server_time: told.map(UnixTime),
                ..Record::default()
            };
            assert_eq!(record.time_floor(built), UnixTime(floor));
        }
    }

    #[test]
    fn fingerprints_and_digests_print_as_64_hex_digits() {
        let mut bytes = [0xAB; 32];
        bytes[0] = 0x01;
        let want = format!("01{}", "ab".repeat(31));
        assert_eq!(format!("{}", Fingerprint(bytes)), want);
        assert_eq!(format!("{:?}", Fingerprint(bytes)), want);
        assert_eq!(format!("{}", Digest(bytes)), want);
        assert_eq!(format!("{:?}", Digest(bytes)), want);
    }

    #[test]
    fn a_code_is_kept_printable_and_short_whatever_the_server_says() {
        for (said, kept) in [
            ("token-leased", "token-leased"),
            ("", ""),
            ("a b\r\nc\u{e9}", "a?b??c?"),
            (&"x".repeat(40), &"x".repeat(32)),
        ] {
            assert_eq!(Code::new(said).as_str(), kept);
        }
    }
}
