//! Public areas of keys (TCG TPM 2.0 Library, part 2, section 12.2).
//!
//! ```text
//! TPM2B_PUBLIC  u16 size, TPMT_PUBLIC
//! TPMT_PUBLIC   u16 type, u16 nameAlg, u32 objectAttributes, TPM2B authPolicy, parameters, unique
//! RSA           symmetric, scheme, u16 keyBits, u32 exponent (0 means 65537);  TPM2B modulus
//! ECC           symmetric, scheme, u16 curve, kdf;                             TPM2B x, TPM2B y
//! ```

use std::fmt;

use aws_lc_rs::{digest, hmac};
use imprint_pkix::SignatureAlgorithm;
use imprint_pkix::key::{KeyAlgorithm, PublicKey, rsa_key_bits, spki_der};

use super::read::{Reader, TpmError};

/// A key's public area, read and not yet judged: a TPM may have it, or whoever wrote it.
#[derive(Clone, PartialEq, Eq)]
pub struct Public {
    area: Vec<u8>,
    hash: Hash,
    attributes: Attributes,
    policy: Vec<u8>,
    symmetric_bits: Option<u16>,
    kind: TpmKind,
    key: PublicKey,
}

/// A key's type and numbers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TpmKind {
    /// RSA with the exponent 65537.
    Rsa {
        /// Its modulus, 256 to 512 octets.
        modulus: Vec<u8>,
    },
    /// A point on a curve, each coordinate as long as the field.
    Ecc {
        /// Which curve.
        curve: Curve,
        /// Its x.
        x: Vec<u8>,
        /// Its y.
        y: Vec<u8>,
    },
}

/// The curves that are supported.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Curve {
    /// P-256.
    P256,
    /// P-384.
    P384,
}

impl Curve {
    /// Octets of a coordinate.
    #[must_use]
    pub const fn octets(self) -> usize {
        match self {
            Self::P256 => 32,
            Self::P384 => 48,
        }
    }

    const fn algorithm(self) -> KeyAlgorithm {
        match self {
            Self::P256 => KeyAlgorithm::P256,
            Self::P384 => KeyAlgorithm::P384,
        }
    }
}

/// The hash functions that are supported.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Hash {
    /// SHA-256.
    Sha256,
    /// SHA-384.
    Sha384,
    /// SHA-512.
    Sha512,
}

impl Hash {
    /// Octets of a digest.
    #[must_use]
    pub const fn octets(self) -> usize {
        match self {
            Self::Sha256 => 32,
            Self::Sha384 => 48,
            Self::Sha512 => 64,
        }
    }

    /// `TPM_ALG_ID`.
    pub(super) const fn id(self) -> u16 {
        match self {
            Self::Sha256 => 0x000b,
            Self::Sha384 => 0x000c,
            Self::Sha512 => 0x000d,
        }
    }

    pub(super) fn from_id(id: u16, what: &'static str) -> Result<Self, TpmError> {
        let all = [Self::Sha256, Self::Sha384, Self::Sha512];
        let found = all.into_iter().find(|hash| hash.id() == id);
        found.ok_or(TpmError::Unsupported { what })
    }

    pub(super) fn algorithm(self) -> &'static digest::Algorithm {
        match self {
            Self::Sha256 => &digest::SHA256,
            Self::Sha384 => &digest::SHA384,
            Self::Sha512 => &digest::SHA512,
        }
    }

    pub(super) fn hmac(self) -> hmac::Algorithm {
        match self {
            Self::Sha256 => hmac::HMAC_SHA256,
            Self::Sha384 => hmac::HMAC_SHA384,
            Self::Sha512 => hmac::HMAC_SHA512,
        }
    }

    pub(super) fn of(self, bytes: &[u8]) -> Vec<u8> {
        digest::digest(self.algorithm(), bytes).as_ref().to_vec()
    }
}

/// `objectAttributes` (part 2, section 8.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Attributes(pub u32);

impl Attributes {
    /// It can't leave its TPM.
    pub const FIXED_TPM: u32 = 1 << 1;
    /// It can't leave its parent.
    pub const FIXED_PARENT: u32 = 1 << 4;
    /// The TPM has made it.
    pub const SENSITIVE_DATA_ORIGIN: u32 = 1 << 5;
    /// It signs or decrypts only what the TPM itself has written.
    pub const RESTRICTED: u32 = 1 << 16;
    /// It decrypts.
    pub const DECRYPT: u32 = 1 << 17;
    /// It signs.
    pub const SIGN: u32 = 1 << 18;

    const fn are(self, set: u32, clear: u32) -> bool {
        self.0 & set == set && self.0 & clear == 0
    }
}

/// A key's name: which hash, and the hash of its public area. Only [`Public::name`] makes one: a name
/// that a device gives is worth nothing.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Name(Vec<u8>);

impl Name {
    /// Its octets.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    #[cfg(test)]
    pub(super) fn for_test(bytes: &[u8]) -> Self {
        Self(bytes.to_vec())
    }

    pub(super) fn of(hash: Hash, area: &[u8]) -> Self {
        Self([hash.id().to_be_bytes().as_slice(), &hash.of(area)].concat())
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Name({})", hex::encode(&self.0))
    }
}

impl Public {
    /// Reads a `TPM2B_PUBLIC`, and nothing behind it.
    pub fn parse(tpm2b: &[u8]) -> Result<Self, TpmError> {
        let mut outer = Reader::new(tpm2b);
        let area = outer.sized(MAX_AREA, WHAT)?;
        outer.finish(WHAT)?;
        let mut fields = Reader::new(area);
        let kind = fields.u16(WHAT)?;
        let hash = Hash::from_id(fields.u16(WHAT)?, "name algorithm")?;
        let attributes = Attributes(fields.u32(WHAT)?);
        let policy = fields.sized(64, "policy")?.to_vec();
        let (symmetric_bits, kind) = match kind {
            RSA => rsa(&mut fields)?,
            ECC => ecc(&mut fields)?,
            _ => return Err(TpmError::Unsupported { what: "key type" }),
        };
        fields.finish(WHAT)?;
        let key = kind.public_key()?;
        Ok(Self {
            area: area.to_vec(),
            hash,
            attributes,
            policy,
            symmetric_bits,
            kind,
            key,
        })
    }

    /// The `TPM2B_PUBLIC`, as it was read.
    #[must_use]
    pub fn tpm2b(&self) -> Vec<u8> {
        super::read::sized(&self.area)
    }

    /// The key's name (part 1, section 16): by it a TPM knows the key.
    #[must_use]
    pub fn name(&self) -> Name {
        Name::of(self.hash, &self.area)
    }

    /// Its attributes.
    #[must_use]
    pub const fn attributes(&self) -> Attributes {
        self.attributes
    }

    /// The hash of its name and of what is derived for it.
    #[must_use]
    pub const fn hash(&self) -> Hash {
        self.hash
    }

    /// Its type and numbers.
    #[must_use]
    pub const fn kind(&self) -> &TpmKind {
        &self.kind
    }

    /// The same key as certificates carry it.
    #[must_use]
    pub const fn public_key(&self) -> &PublicKey {
        &self.key
    }

    /// Whether it is a key that a device may sign with and that its TPM keeps: not restricted to what
    /// the TPM writes, made there, fixed there.
    #[must_use]
    pub const fn is_device_key(&self) -> bool {
        const SET: u32 = Attributes::FIXED_TPM
            | Attributes::FIXED_PARENT
            | Attributes::SENSITIVE_DATA_ORIGIN
            | Attributes::SIGN;
        self.attributes.are(SET, Attributes::RESTRICTED)
    }

    /// Bits of AES with which the key protects what it is a parent of.
    pub(super) const fn symmetric_bits(&self) -> Option<u16> {
        self.symmetric_bits
    }
}

impl fmt::Debug for Public {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let attributes = self.attributes.0;
        write!(
            f,
            "Public({:?}, {attributes:#010x}, {:?})",
            self.key,
            self.name()
        )
    }
}

type Parameters = (Option<u16>, TpmKind);

fn rsa(fields: &mut Reader<'_>) -> Result<Parameters, TpmError> {
    let symmetric = symmetric(fields)?;
    scheme(fields)?;
    let bits = usize::from(fields.u16(WHAT)?);
    let exponent = fields.u32(WHAT)?;
    let modulus = fields.sized(512, "modulus")?;
    if !matches!(exponent, 0 | 65_537) {
        return Err(TpmError::Unsupported { what: "exponent" });
    }
    if !matches!(bits, 2_048 | 3_072 | 4_096) || modulus.len() * 8 != bits {
        return Err(TpmError::Unsupported { what: "key size" });
    }
    let modulus = modulus.to_vec();
    Ok((symmetric, TpmKind::Rsa { modulus }))
}

fn ecc(fields: &mut Reader<'_>) -> Result<Parameters, TpmError> {
    let symmetric = symmetric(fields)?;
    scheme(fields)?;
    let curve = match fields.u16(WHAT)? {
        0x0003 => Curve::P256,
        0x0004 => Curve::P384,
        _ => return Err(TpmError::Unsupported { what: "curve" }),
    };
    if fields.u16(WHAT)? != NULL {
        return Err(TpmError::Unsupported {
            what: "key derivation",
        });
    }
    let mut coordinate = || {
        let bytes = fields.sized(curve.octets(), "coordinate")?;
        let mut padded = vec![0; curve.octets() - bytes.len()];
        padded.extend_from_slice(bytes);
        Ok::<_, TpmError>(padded)
    };
    let (x, y) = (coordinate()?, coordinate()?);
    Ok((symmetric, TpmKind::Ecc { curve, x, y }))
}

/// `TPMT_SYM_DEF_OBJECT`: none, or AES in CFB mode.
fn symmetric(fields: &mut Reader<'_>) -> Result<Option<u16>, TpmError> {
    match fields.u16(WHAT)? {
        NULL => return Ok(None),
        AES => {}
        _ => return Err(TpmError::Unsupported { what: "cipher" }),
    }
    let (bits, mode) = (fields.u16(WHAT)?, fields.u16(WHAT)?);
    match (bits, mode) {
        (128 | 256, CFB) => Ok(Some(bits)),
        _ => Err(TpmError::Unsupported { what: "cipher" }),
    }
}

/// `TPMT_RSA_SCHEME` and `TPMT_ECC_SCHEME`: what a signature is checked with is what it says itself,
/// so that only the length matters here.
fn scheme(fields: &mut Reader<'_>) -> Result<(), TpmError> {
    match fields.u16(WHAT)? {
        NULL | RSAES => Ok(()),
        RSASSA | RSAPSS | OAEP | ECDSA | ECDH => {
            Hash::from_id(fields.u16(WHAT)?, "scheme").map(|_| ())
        }
        _ => Err(TpmError::Unsupported { what: "scheme" }),
    }
}

impl TpmKind {
    fn public_key(&self) -> Result<PublicKey, TpmError> {
        let spki = match self {
            Self::Rsa { modulus } => {
                let bits = u16::try_from(modulus.len() * 8).unwrap_or(0);
                spki_der(KeyAlgorithm::Rsa { bits }, &rsa_key_bits(modulus, 65_537))
            }
            Self::Ecc { curve, x, y } => {
                spki_der(curve.algorithm(), &[&[0x04], x.as_slice(), y].concat())
            }
        };
        PublicKey::parse(&spki).map_err(|_| TpmError::Unsound)
    }
}

/// An endorsement key: which TPM it is. Its attributes and policy are those of a template of the TCG,
/// so that a TPM opens credentials with it and does nothing else.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EndorsementKey(Public);

/// A storage key: what is imported under it stays in its TPM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StorageKey(Public);

/// An attestation key: it signs nothing but what its TPM states.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AttestationKey(Public);

impl EndorsementKey {
    /// Judges a public area (TCG EK Credential Profile, annex B).
    pub fn new(public: Public) -> Result<Self, TpmError> {
        let template = TEMPLATES.iter().find(|template| {
            template.hash == public.hash
                && template.attributes == public.attributes.0
                && hex::encode(&public.policy) == template.policy
        });
        let template = template.ok_or(TpmError::Template)?;
        if public.symmetric_bits != Some(template.symmetric_bits) {
            return Err(TpmError::Template);
        }
        Ok(Self(public))
    }

    /// The public area.
    #[must_use]
    pub const fn public(&self) -> &Public {
        &self.0
    }

    /// The registration id that DPS's clients give themselves: base32 of SHA-256 over the
    /// `TPM2B_PUBLIC`, in lower case, without padding.
    #[must_use]
    pub fn registration_id(&self) -> String {
        base32(&Hash::Sha256.of(&self.0.tpm2b()))
    }
}

impl StorageKey {
    /// Judges a public area: fixed in its TPM, a parent, and nothing that signs.
    pub fn new(public: Public) -> Result<Self, TpmError> {
        const SET: u32 = Attributes::FIXED_TPM
            | Attributes::FIXED_PARENT
            | Attributes::RESTRICTED
            | Attributes::DECRYPT;
        if public.attributes.are(SET, Attributes::SIGN) && public.symmetric_bits.is_some() {
            return Ok(Self(public));
        }
        let role = "a storage key";
        let attributes = public.attributes.0;
        Err(TpmError::Attributes { role, attributes })
    }

    /// The public area.
    #[must_use]
    pub const fn public(&self) -> &Public {
        &self.0
    }
}

impl AttestationKey {
    /// Judges a public area: made in its TPM and fixed there, restricted, and nothing that decrypts.
    pub fn new(public: Public) -> Result<Self, TpmError> {
        const SET: u32 = Attributes::FIXED_TPM
            | Attributes::FIXED_PARENT
            | Attributes::SENSITIVE_DATA_ORIGIN
            | Attributes::RESTRICTED
            | Attributes::SIGN;
        if public.attributes.are(SET, Attributes::DECRYPT) {
            return Ok(Self(public));
        }
        let role = "an attestation key";
        let attributes = public.attributes.0;
        Err(TpmError::Attributes { role, attributes })
    }

    /// The public area.
    #[must_use]
    pub const fn public(&self) -> &Public {
        &self.0
    }
}

struct Template {
    hash: Hash,
    attributes: u32,
    symmetric_bits: u16,
    policy: &'static str,
}

/// The low range (`PolicySecret` of the endorsement hierarchy) and the high range (that, or a policy
/// in NV), for each hash.
#[rustfmt::skip]
const TEMPLATES: &[Template] = &[
    Template { hash: Hash::Sha256, attributes: LOW, symmetric_bits: 128,
        policy: "837197674484b3f81a90cc8d46a5d724fd52d76e06520b64f2a1da1b331469aa" },
    Template { hash: Hash::Sha256, attributes: HIGH, symmetric_bits: 128,
        policy: "ca3d0a99a2b93906f7a3342414efcfb3a385d44cd1fd459089d19b5071c0b7a0" },
    Template { hash: Hash::Sha384, attributes: LOW, symmetric_bits: 256,
        policy: "8bbf2266537c171cb56e403c4dc1d4b64f432611dc386e6f532050c3278c930e143e8bb1133824ccb431053871c6db53" },
    Template { hash: Hash::Sha384, attributes: HIGH, symmetric_bits: 256,
        policy: "b26e7d28d11a50bc53d882bcf5fd3a1a074148bb35d3b4e4cb1c0ad9bde419cacb47ba09699646150f9fc000f3f80e12" },
];

const LOW: u32 = 0x0003_00b2;
const HIGH: u32 = 0x0003_00f2;

/// RFC 4648 section 6, in lower case and without padding.
fn base32(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len() * 8 / 5 + 1);
    let (mut held, mut bits) = (0_u32, 0_u32);
    for byte in bytes {
        held = (held << 8) | u32::from(*byte);
        bits += 8;
        while bits >= 5 {
            bits -= 5;
            text.push(symbol(held >> bits));
        }
    }
    if bits > 0 {
        text.push(symbol(held << (5 - bits)));
    }
    text
}

fn symbol(value: u32) -> char {
    let value = u8::try_from(value & 0x1f).unwrap_or(0);
    char::from(if value < 26 {
        b'a' + value
    } else {
        b'2' + value - 26
    })
}

/// The algorithm of a signature that names this scheme and hash, for this kind of key.
pub(super) fn signature_algorithm(scheme: u16, hash: Hash) -> Result<SignatureAlgorithm, TpmError> {
    use SignatureAlgorithm as S;
    Ok(match (scheme, hash) {
        (ECDSA, Hash::Sha256) => S::EcdsaSha256,
        (ECDSA, Hash::Sha384) => S::EcdsaSha384,
        (ECDSA, Hash::Sha512) => S::EcdsaSha512,
        (RSASSA, Hash::Sha256) => S::RsaPkcs1Sha256,
        (RSASSA, Hash::Sha384) => S::RsaPkcs1Sha384,
        (RSASSA, Hash::Sha512) => S::RsaPkcs1Sha512,
        (RSAPSS, Hash::Sha256) => S::RsaPssSha256,
        (RSAPSS, Hash::Sha384) => S::RsaPssSha384,
        (RSAPSS, Hash::Sha512) => S::RsaPssSha512,
        _ => return Err(TpmError::Unsupported { what: "signature" }),
    })
}

const WHAT: &str = "public area";
/// An RSA-4096 key's is under 700 octets.
const MAX_AREA: usize = 1_022;

// `TPM_ALG_ID` (part 2, section 6.3).
const RSA: u16 = 0x0001;
const ECC: u16 = 0x0023;
const NULL: u16 = 0x0010;
const AES: u16 = 0x0006;
const CFB: u16 = 0x0043;
const RSASSA: u16 = 0x0014;
const RSAES: u16 = 0x0015;
const RSAPSS: u16 = 0x0016;
const OAEP: u16 = 0x0017;
pub(super) const ECDSA: u16 = 0x0018;
const ECDH: u16 = 0x0019;
