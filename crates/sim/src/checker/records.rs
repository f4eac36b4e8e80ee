//! The rows of the database file, read by SQL of our own.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use rusqlite::{Connection, OpenFlags, Row};

use crate::key::sha256;

/// Everything that the checker looks at, read at one moment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Records {
    /// Devices by number.
    pub devices: Vec<DeviceRow>,
    /// Tokens.
    pub tokens: Vec<TokenRow>,
    /// Certificates in the order in which they were written down.
    pub certificates: Vec<CertificateRow>,
    /// The number of each issuer's revocation list.
    pub lists: BTreeMap<String, i64>,
}

/// A device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceRow {
    /// Its row.
    pub number: i64,
    /// Its name.
    pub name: String,
    /// Its hardware id as text.
    pub hardware: String,
    /// Its state as a word.
    pub state: String,
    /// Its step as a word.
    pub step: String,
}

/// A token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenRow {
    /// Its public name.
    pub id: String,
    /// Its keyed hash.
    pub hash: [u8; 32],
    /// Its state as a word.
    pub state: String,
    /// The key that it serves.
    pub lease_key: Option<[u8; 32]>,
    /// The device that it serves.
    pub lease_device: Option<i64>,
    /// Whether its holder waits for an operator.
    pub waits: bool,
}

/// A certificate, or the intent to have one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateRow {
    /// Its serial number.
    pub serial: [u8; 20],
    /// Its device's row; a claim's certificate and one that waits for its device have none.
    pub device: Option<i64>,
    /// Its state as a word.
    pub state: String,
    /// What it is the answer to, as stored.
    pub generation: Vec<u8>,
    /// The key that asked.
    pub request_key: [u8; 32],
    /// The key that is certified.
    pub subject_key: [u8; 32],
    /// SHA-256 of what is signed.
    pub to_be_signed: [u8; 32],
    /// The certificate.
    pub der: Option<Vec<u8>>,
    /// When it was first used.
    pub verified_at: Option<i64>,
    /// When it was revoked.
    pub revoked_at: Option<i64>,
}

impl Records {
    /// Reads a database, which a server may be writing at the same time.
    #[must_use]
    pub fn read(database: &Path) -> Self {
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let db = Connection::open_with_flags(database, flags).expect("the database opens");
        Self::read_from(&db)
    }

    /// The same on a connection that is open.
    #[must_use]
    pub fn read_from(db: &Connection) -> Self {
        let db = db.unchecked_transaction().expect("a read transaction");
        Self {
            devices: rows(
                &db,
                "SELECT number, name, hardware, state, step FROM device",
                device,
            ),
            tokens: rows(&db, TOKENS, token),
            certificates: rows(&db, CERTIFICATES, certificate),
            lists: rows(&db, "SELECT issuer, number FROM crl", |row| {
                Ok((row.get(0)?, row.get(1)?))
            })
            .into_iter()
            .collect(),
        }
    }

    /// The device in this row.
    #[must_use]
    pub fn device(&self, number: i64) -> &DeviceRow {
        // Rows are numbered from 1 without gaps: devices are never deleted.
        let at = usize::try_from(number - 1).expect("numbers begin at 1");
        let device = &self.devices[at];
        assert_eq!(device.number, number, "devices are never deleted");
        device
    }

    /// The device with this hardware.
    #[must_use]
    pub fn with_hardware(&self, hardware: &str) -> Option<&DeviceRow> {
        self.devices
            .iter()
            .find(|device| device.hardware == hardware)
    }

    /// The certificates of the device with this hardware, and intents.
    #[must_use]
    pub fn certificates_of(&self, hardware: &str) -> Vec<&CertificateRow> {
        let Some(device) = self.with_hardware(hardware) else {
            return Vec::new();
        };
        self.certificates
            .iter()
            .filter(|row| row.device == Some(device.number))
            .collect()
    }

    /// The tokens that serve the device with this hardware.
    #[must_use]
    pub fn tokens_of(&self, hardware: &str) -> Vec<&TokenRow> {
        let Some(device) = self.with_hardware(hardware) else {
            return Vec::new();
        };
        self.tokens
            .iter()
            .filter(|token| token.lease_device == Some(device.number))
            .collect()
    }

    /// Certificates by the token with which they were asked for.
    pub(crate) fn by_token(&self) -> HashMap<[u8; 32], Vec<&CertificateRow>> {
        let mut by_token: HashMap<[u8; 32], Vec<_>> = HashMap::new();
        for row in &self.certificates {
            if let Some((1, hash)) = row.generation.split_first() {
                let hash = hash.try_into().expect("a hash of 32 bytes");
                by_token.entry(hash).or_default().push(row);
            }
        }
        by_token
    }

    /// Those of `ancestors` that live, and whatever was renewed from them and lives.
    pub(crate) fn live_descendants<'a>(
        &'a self,
        ancestors: &[&'a CertificateRow],
    ) -> Vec<&'a CertificateRow> {
        let mut family: Vec<&CertificateRow> = ancestors.to_vec();
        // A successor stands after its predecessor, so one pass finds all generations.
        if !family.is_empty() {
            for row in &self.certificates {
                if row
                    .renews()
                    .is_some_and(|serial| family.iter().any(|a| a.serial == serial))
                {
                    family.push(row);
                }
            }
        }
        family.retain(|row| row.is_live());
        family
    }
}

impl CertificateRow {
    /// Whether it is in use or may come to be.
    #[must_use]
    pub fn is_live(&self) -> bool {
        matches!(self.state.as_str(), "intended" | "issued" | "active")
    }

    /// Whether a claim was shown for it.
    #[must_use]
    pub fn is_by_claim(&self) -> bool {
        self.generation == [4]
    }

    /// Whether it is one of a registered CA.
    #[must_use]
    pub fn is_foreign(&self) -> bool {
        self.generation == [5]
    }

    /// Whether a signature is kept.
    #[must_use]
    pub const fn is_settled(&self) -> bool {
        self.der.is_some()
    }

    /// The serial of the certificate that this one renews.
    #[must_use]
    pub fn renews(&self) -> Option<[u8; 20]> {
        match self.generation.split_first() {
            Some((2, serial)) => serial.try_into().ok(),
            _ => None,
        }
    }
}

fn rows<O>(
    db: &Connection,
    statement: &str,
    read: impl FnMut(&Row<'_>) -> rusqlite::Result<O>,
) -> Vec<O> {
    let mut statement = db.prepare_cached(statement).expect("a statement");
    let rows = statement.query_map((), read).expect("rows");
    rows.collect::<Result<_, _>>().expect("a row")
}

fn device(row: &Row<'_>) -> rusqlite::Result<DeviceRow> {
    Ok(DeviceRow {
        number: row.get(0)?,
        name: row.get(1)?,
        hardware: row.get(2)?,
        state: row.get(3)?,
        step: row.get(4)?,
    })
}

fn token(row: &Row<'_>) -> rusqlite::Result<TokenRow> {
    Ok(TokenRow {
        id: row.get(0)?,
        hash: row.get(1)?,
        state: row.get(2)?,
        lease_key: row.get(3)?,
        lease_device: row.get(4)?,
        waits: row.get(5)?,
    })
}

fn certificate(row: &Row<'_>) -> rusqlite::Result<CertificateRow> {
    let request_key = row.get(4)?;
    let der: Option<Vec<u8>> = row.get(7)?;
    let to_be_signed: Option<Vec<u8>> = row.get(6)?;
    // The certificate begins with what was signed, after its own header.
    let to_be_signed = match (&to_be_signed, &der) {
        (Some(bytes), _) => sha256(bytes),
        (None, Some(der)) => {
            let (at, length): (u32, u32) = (row.get(10)?, row.get(11)?);
            sha256(&der[at as usize..(at + length) as usize])
        }
        (None, None) => [0; 32],
    };
    Ok(CertificateRow {
        serial: row.get(0)?,
        device: row.get(1)?,
        state: row.get(2)?,
        generation: row.get(3)?,
        request_key,
        subject_key: row.get::<_, Option<[u8; 32]>>(5)?.unwrap_or(request_key),
        to_be_signed,
        der,
        verified_at: row.get(8)?,
        revoked_at: row.get(9)?,
    })
}

const TOKENS: &str = "
    SELECT id, hash, state, lease_key, lease_device,
        EXISTS (SELECT 1 FROM approval WHERE approval.token = token.number)
    FROM token ORDER BY number";

const CERTIFICATES: &str = "
    SELECT serial, device, state, generation, request_key, subject_key, to_be_signed, der,
        verified_at, revoked_at, to_be_signed_at, to_be_signed_length
    FROM certificate ORDER BY number";
