//! Compares what clients were told with what is on record.
//!
//! It reads the database file with SQL of its own and judges by rules of its own: it shares no code
//! with what the registrar decides or the ledger enforces, so a mistake there is not repeated here.

mod change;
mod records;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;

use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1, UnparsedPublicKey};
use imprint_pkix::certificate::Certificate;

pub use change::check_change;
pub use records::{CertificateRow, DeviceRow, Records, TokenRow};

use crate::key::sha256;

/// What is known outside of the server.
#[derive(Debug, Clone, Default)]
pub struct Outside {
    /// Every certificate that a client was told.
    pub told: Vec<Told>,
    /// SHA-256 of everything that the authority's key has signed, where that was seen.
    pub signed: Vec<[u8; 32]>,
}

/// One certificate in one client's hands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Told {
    /// The hardware id that it asked with, as canonical text.
    pub hardware: String,
    /// Its key.
    pub key: [u8; 32],
    /// What it asked: the token's text, or the serial number that it renewed.
    pub question: String,
    /// The certificate, DER.
    pub certificate: Vec<u8>,
}

/// What does not hold, in words; nothing is what it should be.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Findings {
    /// A client holds a certificate that is not on record as it holds it.
    pub lost: Vec<String>,
    /// Two where there must be one.
    pub duplicated: Vec<String>,
    /// A signature was made that the ledger does not know.
    pub orphaned: Vec<String>,
    /// A token neither serves its holder nor can it be used, or is spent without proof of receipt.
    pub burnt: Vec<String>,
    /// A device is registered without a certificate that verifies.
    pub ghosts: Vec<String>,
}

impl Findings {
    /// Whether everything holds.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self == &Self::default()
    }

    /// All of them, each with its kind.
    #[must_use]
    pub fn all(&self) -> Vec<String> {
        let kinds = [
            ("lost", &self.lost),
            ("duplicated", &self.duplicated),
            ("orphaned", &self.orphaned),
            ("burnt", &self.burnt),
            ("ghost", &self.ghosts),
        ];
        let each = |(kind, list): (&str, &Vec<String>)| {
            list.iter()
                .map(|one| format!("{kind}: {one}"))
                .collect::<Vec<_>>()
        };
        kinds.into_iter().flat_map(each).collect()
    }
}

/// The counts, and below them every finding.
impl fmt::Display for Findings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            lost,
            duplicated,
            orphaned,
            burnt,
            ghosts,
        } = self;
        write!(
            f,
            "lost {}, duplicated {}, orphaned {}, burnt {}, ghosts {}",
            lost.len(),
            duplicated.len(),
            orphaned.len(),
            burnt.len(),
            ghosts.len()
        )?;
        self.all()
            .iter()
            .try_for_each(|finding| write!(f, "\n  {finding}"))
    }
}

/// Judges what is on record, by itself and against what is known outside. `issuing` is the
/// certificate of the authority that signs.
#[must_use]
pub fn check(records: &Records, outside: &Outside, issuing: &Certificate) -> Findings {
    let mut findings = Findings::default();
    check_told(records, &outside.told, &mut findings);
    check_signed(records, &outside.signed, &mut findings);
    check_identities(records, &mut findings);
    check_tokens(records, &mut findings);
    check_registered(records, issuing, &mut findings);
    findings
}

/// What a client holds is on record, byte for byte, for that client; one question has one answer.
fn check_told(records: &Records, told: &[Told], findings: &mut Findings) {
    let on_record: HashMap<&[u8], &CertificateRow> = records
        .certificates
        .iter()
        .filter_map(|row| Some((row.der.as_deref()?, row)))
        .collect();
    let mut answers: BTreeMap<(&str, &[u8; 32], &str), &[u8]> = BTreeMap::new();
    for one in told {
        let who = format!("{} with key {}", one.hardware, short(&one.key));
        match on_record.get(one.certificate.as_slice()) {
            None => {
                let serial = Certificate::parse(&one.certificate)
                    .map_or_else(|_| "?".to_owned(), |parsed| short(parsed.serial()));
                findings.lost.push(format!(
                    "{who} was told {serial}, which is not on record so"
                ));
            }
            Some(row) => {
                let owner = row.device.map(|number| &records.device(number).hardware);
                if owner != Some(&one.hardware) || row.subject_key != one.key {
                    findings.lost.push(format!(
                        "{who} was told {}, which is {}'s with key {}",
                        short(&row.serial),
                        owner.map_or("nobody", String::as_str),
                        short(&row.subject_key)
                    ));
                }
            }
        }
        let question = (one.hardware.as_str(), &one.key, one.question.as_str());
        let first = answers.entry(question).or_insert(&one.certificate);
        if *first != one.certificate {
            findings
                .duplicated
                .push(format!("{who} asked the same and was told another"));
        }
    }
}

/// Whatever was signed had been written down.
fn check_signed(records: &Records, signed: &[[u8; 32]], findings: &mut Findings) {
    let known: BTreeSet<_> = records
        .certificates
        .iter()
        .map(|row| row.to_be_signed)
        .collect();
    for digest in signed.iter().filter(|digest| !known.contains(*digest)) {
        findings
            .orphaned
            .push(format!("{} was signed and is not on record", short(digest)));
    }
}

/// One identity a device, one device a key, one certificate a question.
fn check_identities(records: &Records, findings: &mut Findings) {
    let mut hardware = BTreeMap::new();
    for device in &records.devices {
        if let Some(other) = hardware.insert(&device.hardware, &device.name) {
            let names = format!("{other} and {}", device.name);
            findings
                .duplicated
                .push(format!("{} is {names}", device.hardware));
        }
    }
    let (mut owners, mut questions) = (BTreeMap::new(), BTreeSet::new());
    let (mut in_use, mut successors) = (BTreeSet::new(), BTreeSet::new());
    let mut serials = BTreeSet::new();
    for row in &records.certificates {
        if !serials.insert(&row.serial) {
            findings
                .duplicated
                .push(format!("serial {} is used twice", short(&row.serial)));
        }
        // A claim's certificate, or one that waits for its device, is nobody's identity.
        let Some(device) = row.device else { continue };
        let name = &records.device(device).name;
        if *owners.entry(&row.subject_key).or_insert(device) != device {
            findings
                .duplicated
                .push(format!("key {} has two devices", short(&row.subject_key)));
        }
        let question = (device, &row.request_key, &row.generation);
        // A claim may be asked again by the same key, once what it gave before has ended.
        let counts = row.state != "void" && (row.is_live() || !row.is_by_claim());
        if counts && !questions.insert(question) {
            let key = short(&row.request_key);
            findings.duplicated.push(format!(
                "{name}: two certificates for one question of {key}"
            ));
        }
        if row.state == "active" && !in_use.insert(device) {
            findings
                .duplicated
                .push(format!("{name} has two certificates in use"));
        }
        let unused = matches!(row.state.as_str(), "intended" | "issued");
        if unused && row.renews().is_some() && !successors.insert((device, &row.generation)) {
            findings
                .duplicated
                .push(format!("{name} has two unused successors of one"));
        }
    }
}

/// A token serves one key of one device; spent means that the device came back.
fn check_tokens(records: &Records, findings: &mut Findings) {
    let by_token = records.by_token();
    for token in &records.tokens {
        let empty = Vec::new();
        let own = by_token.get(&token.hash).unwrap_or(&empty);
        let live_keys: BTreeSet<_> = own
            .iter()
            .filter(|row| row.is_live())
            .map(|row| row.request_key)
            .collect();
        if live_keys.len() > 1 {
            findings.duplicated.push(format!(
                "token {} serves {} keys",
                token.id,
                live_keys.len()
            ));
        }
        let holder = token.lease_device.zip(token.lease_key);
        let (of_holder, of_others): (Vec<&CertificateRow>, Vec<_>) = own.iter().partition(|row| {
            holder.is_some_and(|(device, key)| row.device == Some(device) && row.request_key == key)
        });
        // Whoever had the token before its holder has nothing left that lives, not even a renewal.
        for row in records.live_descendants(&of_others) {
            let serial = short(&row.serial);
            findings
                .duplicated
                .push(format!("token {} moved on, and {serial} lives", token.id));
        }
        if holder.is_none() {
            continue;
        }
        let proven = of_holder.iter().any(|row| row.verified_at.is_some());
        match token.state.as_str() {
            "leased" if of_holder.is_empty() && !token.waits => {
                findings
                    .burnt
                    .push(format!("token {} is leased and serves nobody", token.id));
            }
            "leased" if proven && of_holder.iter().any(|row| row.is_live()) => {
                findings
                    .burnt
                    .push(format!("token {} has served and is not spent", token.id));
            }
            "spent" if !proven => {
                findings
                    .burnt
                    .push(format!("token {} is spent and nobody came back", token.id));
            }
            _ => {}
        }
    }
}

/// Whoever is registered has a certificate that verifies.
fn check_registered(records: &Records, issuing: &Certificate, findings: &mut Findings) {
    let issuing_key = issuing
        .public_key()
        .expect("the authority's key")
        .key_bits();
    let verifies = |der: &[u8]| {
        let Ok(parsed) = Certificate::parse(der) else {
            return false;
        };
        let key = UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, issuing_key);
        parsed.issuer_der() == issuing.subject_der()
            && key
                .verify(parsed.to_be_signed(), parsed.signature())
                .is_ok()
    };
    let mut registered = BTreeSet::new();
    for row in &records.certificates {
        let Some(der) = row.der.as_deref().filter(|_| row.is_live()) else {
            continue;
        };
        // One of a registered CA is kept under a number of ours, and is not signed by us.
        let foreign = row.is_foreign();
        let own = Certificate::parse(der).is_ok_and(|parsed| {
            (foreign || parsed.serial() == row.serial)
                && sha256(parsed.spki_der()) == row.subject_key
        });
        if own && (foreign || verifies(der)) {
            registered.extend(row.device);
        } else {
            let device = row.device.map(|number| &records.device(number).name);
            let name = device.map_or("nobody's", String::as_str);
            findings
                .ghosts
                .push(format!("{name}: {} does not verify", short(&row.serial)));
        }
    }
    for device in records
        .devices
        .iter()
        .filter(|device| device.state == "active")
    {
        if !registered.contains(&device.number) {
            findings
                .ghosts
                .push(format!("{} is active without a certificate", device.name));
        }
    }
}

fn short(bytes: &[u8]) -> String {
    let end = bytes.len();
    hex::encode(&bytes[end.saturating_sub(4)..])
}
