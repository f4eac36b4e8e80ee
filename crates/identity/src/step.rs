//! The provisioning state register: where a device stands between silicon and fleet.

use core::fmt;
use core::str::FromStr;

/// One step of a device's way into the fleet. Device, server, command line and metrics use these
/// names; QUARANTINE's reason is a [`Quarantine`] or a refusal code beside the step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Step {
    /// Nothing has happened yet, or a factory reset has undone it.
    Unprovisioned = 0,
    /// Reaching the server, trusting it, learning the time.
    Bootstrap = 1,
    /// Key made and kept; asking for the certificate.
    Enroll = 2,
    /// Certificate and connection profile being written down.
    CredentialStore = 3,
    /// The fleet's record of this device.
    Register = 4,
    /// First use of the new certificate over mutual TLS.
    Verify = 5,
    /// A member of the fleet.
    Provisioned = 6,
    /// Resting, with a reason, until a person acts.
    Quarantine = 7,
}

impl Step {
    /// Every step, in order.
    pub const ALL: [Self; 8] = [
        Self::Unprovisioned,
        Self::Bootstrap,
        Self::Enroll,
        Self::CredentialStore,
        Self::Register,
        Self::Verify,
        Self::Provisioned,
        Self::Quarantine,
    ];

    /// The name, as every surface prints it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Unprovisioned => "UNPROVISIONED",
            Self::Bootstrap => "BOOTSTRAP",
            Self::Enroll => "ENROLL",
            Self::CredentialStore => "CREDENTIAL_STORE",
            Self::Register => "REGISTER",
            Self::Verify => "VERIFY",
            Self::Provisioned => "PROVISIONED",
            Self::Quarantine => "QUARANTINE",
        }
    }

    /// The step whose discriminant is `byte`.
    #[must_use]
    pub fn from_byte(byte: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|step| *step as u8 == byte)
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Step {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        Self::ALL
            .into_iter()
            .find(|step| step.name() == text)
            .ok_or(())
    }
}

/// Why a device rests in QUARANTINE. The numbers are stored in flash and never reused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Quarantine {
    /// The server refused for good; its refusal code is kept beside the record.
    Refused = 1,
    /// A step failed every attempt and the product asked for `quarantine = "strict"`.
    AttemptsExhausted = 2,
    /// The certificate that came back is not for our key, or not from our root.
    WrongCertificate = 3,
    /// The hardware is not the one that began (secure element or board swapped).
    HardwareMismatch = 4,
    /// The key store lost or changed the key after the request had left.
    KeyLost = 5,
    /// The device was put here by its operator.
    Operator = 6,
}

impl Quarantine {
    /// Every reason.
    pub const ALL: [Self; 6] = [
        Self::Refused,
        Self::AttemptsExhausted,
        Self::WrongCertificate,
        Self::HardwareMismatch,
        Self::KeyLost,
        Self::Operator,
    ];

    /// The reason as a word, for reports and scripts.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Refused => "refused",
            Self::AttemptsExhausted => "attempts-exhausted",
            Self::WrongCertificate => "wrong-certificate",
            Self::HardwareMismatch => "hardware-mismatch",
            Self::KeyLost => "key-lost",
            Self::Operator => "operator",
        }
    }

    /// The reason whose discriminant is `byte`.
    #[must_use]
    pub fn from_byte(byte: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|reason| *reason as u8 == byte)
    }
}

impl fmt::Display for Quarantine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_comes_back_from_its_byte_and_its_name() {
        for (at, step) in (0..).zip(Step::ALL) {
            assert_eq!(step as u8, at);
            assert_eq!(Step::from_byte(at), Some(step));
            assert_eq!(step.name().parse(), Ok(step));
        }
        assert_eq!(Step::from_byte(8), None);
        assert_eq!("provisioned".parse::<Step>(), Err(()));
    }

    #[test]
    fn a_reason_comes_back_from_its_byte_and_zero_is_none() {
        for (at, reason) in (1..).zip(Quarantine::ALL) {
            assert_eq!(reason as u8, at);
            assert_eq!(Quarantine::from_byte(at), Some(reason));
        }
        assert_eq!(Quarantine::from_byte(0), None);
        assert_eq!(Quarantine::from_byte(7), None);
    }
}
