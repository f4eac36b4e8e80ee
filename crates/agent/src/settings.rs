//! What an agent is told at its start. The binary reads flags, files and environment; this crate
//! reads none.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use imprint_dps::{IdScope, RegistrationId};
use imprint_est::Secret;
use imprint_identity::{HardwareId, UnixTime};

use crate::http::{Endpoint, Timeouts};
use crate::keystore::KeyAlgorithm;
use crate::tls::Suites;
use crate::trust::Roots;

/// One device.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Where its files are.
    pub state: PathBuf,
    /// The server.
    pub server: Endpoint,
    /// The pinned roots.
    pub roots: Arc<Roots>,
    /// The product, as the label in EST paths.
    pub product: Option<String>,
    /// Who it says it is.
    pub hardware: HardwareId,
    /// The bootstrap credential. Not needed once it is kept in the state directory, nor after that.
    pub token: Option<Secret>,
    /// By which door it comes in.
    pub door: Door,
    /// The kind of new keys.
    pub key: KeyAlgorithm,
    /// Whether a renewal takes a new key.
    pub rekey: bool,
    /// When this build was made, and what its product says of failures.
    pub patience: imprint_device::Settings,
    /// Waits are divided by this: 1 for a device, more for a demonstration.
    pub wait_divisor: u32,
    /// How long to wait for the network.
    pub timeouts: Timeouts,
    /// With which cryptography.
    pub suites: Suites,
}

/// By which door a device comes in for the first time.
#[derive(Debug, Clone, Default)]
pub enum Door {
    /// EST, with the token. So it is also when a claim or a shared key is kept in the state directory:
    /// then that is the door.
    #[default]
    Token,
    /// Claim provisioning over MQTT.
    Claim(Claim),
    /// An entry that was written down before the device came, by a key that both sides have (Azure DPS).
    SharedKey(SharedKeyEntry),
    /// Just in time: the device has a certificate of an authority that the fleet has registered.
    JustInTime(OwnCertificate),
}

/// A claim: the certificate and key that a whole batch of devices shares, and what to say with them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    /// Where MQTT is spoken.
    pub broker: Endpoint,
    /// The template; without, the one that is named like the product.
    pub template: Option<String>,
    /// Its parameters. `SerialNumber` is the hardware id, unless it is among them.
    pub parameters: BTreeMap<String, String>,
    /// The claim's certificate, PEM.
    pub chain_pem: String,
    /// Its key, PEM.
    pub key_pem: Secret,
}

/// What a device of an entry knows: under which name it is expected, and the key that the server has too.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SharedKeyEntry {
    /// Which fleet.
    pub scope: IdScope,
    /// As what it registers; a group's keys are derived for this, letter by letter.
    pub registration_id: RegistrationId,
    /// The key, 32 to 64 bytes: the entry's own, or the one that is derived from its group's.
    pub key: Secret,
}

/// A certificate that the device was born with, and its key.
#[derive(Debug, Clone)]
pub struct OwnCertificate {
    /// The certificate, then those above it, PEM.
    pub chain_pem: String,
    /// The key, PEM; copied into the key store.
    pub key_pem: Secret,
    /// Where MQTT is spoken, if the first connect is to be there and not over HTTPS.
    pub broker: Option<Endpoint>,
}

/// What a device can't make itself: time and chance. The binary supplies both.
pub struct Surroundings {
    /// The clock, when there is one to be believed; `None` without. A device whose clock starts in
    /// 1970 or was set by hand has none, and takes the server's time.
    pub clock: Box<dyn Fn() -> Option<UnixTime> + Send + Sync>,
    /// 32 random bits, for the jitter of waits.
    pub chance: Box<dyn Fn() -> u32 + Send + Sync>,
}

impl fmt::Debug for Surroundings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Surroundings")
    }
}
