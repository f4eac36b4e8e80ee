//! A key that device and server both have: SAS tokens, keys derived from a group's key, and the
//! answer to a challenge.
//!
//! Every comparison is `hmac::verify`, whose time doesn't depend on what differs. The two slots of
//! an enrollment, primary and secondary, are tried in turn, so that a key can be changed while the
//! fleet is at work.

use std::fmt;

use aws_lc_rs::hmac;
use imprint_identity::UnixTime;
use zeroize::Zeroizing;

/// The key of one device: 32 to 64 bytes, wiped when dropped. Debug prints its length alone.
#[derive(Clone, PartialEq, Eq)]
pub struct SharedKey(Zeroizing<Vec<u8>>);

/// The key of a group, from which those of its devices are derived. It never leaves the server: a
/// token that is signed with it is refused ([`SharedKeyDoubt::GroupKey`]).
#[derive(Clone, PartialEq, Eq)]
pub struct GroupKey(Zeroizing<Vec<u8>>);

impl SharedKey {
    /// Keeps a device's key.
    pub fn new(key: &[u8]) -> Result<Self, SharedKeyLength> {
        sound(key).map(Self)
    }

    /// The bytes, for the one place that needs them.
    #[must_use]
    pub fn expose(&self) -> &[u8] {
        &self.0
    }

    /// HMAC-SHA256 under this key: how a device signs its SAS token.
    #[must_use]
    pub fn sign(&self, message: &[u8]) -> [u8; 32] {
        mac(&self.0, message)
    }

    fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        verifies(&self.0, message, signature)
    }
}

impl GroupKey {
    /// Keeps a group's key.
    pub fn new(key: &[u8]) -> Result<Self, SharedKeyLength> {
        sound(key).map(Self)
    }

    /// The bytes, for the one place that needs them.
    #[must_use]
    pub fn expose(&self) -> &[u8] {
        &self.0
    }

    /// The key of one device: HMAC-SHA256 over its registration id, byte for byte as given. Ids don't
    /// know upper from lower case, this does: whoever makes keys should give ids in lower case.
    #[must_use]
    pub fn derive(&self, registration_id: &str) -> SharedKey {
        SharedKey(Zeroizing::new(
            mac(&self.0, registration_id.as_bytes()).to_vec(),
        ))
    }
}

fn sound(key: &[u8]) -> Result<Zeroizing<Vec<u8>>, SharedKeyLength> {
    if KEY_BYTES.contains(&key.len()) {
        Ok(Zeroizing::new(key.to_vec()))
    } else {
        Err(SharedKeyLength { bytes: key.len() })
    }
}

/// Bytes of a shared key. Shorter than the hash is weaker than the hash; longer than its block is
/// hashed down first, and only looks stronger.
const KEY_BYTES: std::ops::RangeInclusive<usize> = 32..=64;

fn mac(key: &[u8], message: &[u8]) -> [u8; 32] {
    let mut out = [0; 32];
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), message);
    out.copy_from_slice(tag.as_ref());
    out
}

fn verifies(key: &[u8], message: &[u8], signature: &[u8]) -> bool {
    hmac::verify(&hmac::Key::new(hmac::HMAC_SHA256, key), message, signature).is_ok()
}

impl fmt::Debug for SharedKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SharedKey({} bytes)", self.0.len())
    }
}

impl fmt::Debug for GroupKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "GroupKey({} bytes)", self.0.len())
    }
}

/// A key is too short, or too long.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a shared key has 32 to 64 bytes, this one has {bytes}")]
pub struct SharedKeyLength {
    /// How many it has.
    pub bytes: usize,
}

/// The keys on record for a device.
#[derive(Debug, Clone, Copy)]
pub enum KnownKeys<'k> {
    /// Its own.
    Own {
        /// The one in use.
        primary: &'k SharedKey,
        /// The one before or after it.
        secondary: Option<&'k SharedKey>,
    },
    /// Its group's.
    Group {
        /// The one in use.
        primary: &'k GroupKey,
        /// The one before or after it.
        secondary: Option<&'k GroupKey>,
    },
}

/// Which of the two keys on record it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum KeySlot {
    /// The primary one.
    Primary,
    /// The secondary one.
    Secondary,
}

impl KnownKeys<'_> {
    /// The slot under whose key a message's signature verifies.
    ///
    /// A group's keys are derived for the id as the device writes it, and then for the id in lower
    /// case: factories differ in what they have derived.
    fn find(&self, id: &str, message: &[u8], signature: &[u8]) -> Result<KeySlot, SharedKeyDoubt> {
        let slots = [KeySlot::Primary, KeySlot::Secondary];
        match *self {
            Self::Own { primary, secondary } => {
                let keys = [Some(primary), secondary];
                let found = slots
                    .into_iter()
                    .zip(keys)
                    .find(|(_, key)| key.is_some_and(|key| key.verifies(message, signature)));
                found.map(|(slot, _)| slot).ok_or(SharedKeyDoubt::Signature)
            }
            Self::Group { primary, secondary } => {
                let keys = [Some(primary), secondary];
                let lower = id.to_ascii_lowercase();
                let derived = |key: &GroupKey| {
                    [id, &lower]
                        .iter()
                        .any(|id| key.derive(id).verifies(message, signature))
                };
                let found = slots
                    .into_iter()
                    .zip(keys)
                    .find(|(_, key)| key.is_some_and(derived));
                if let Some((slot, _)) = found {
                    return Ok(slot);
                }
                let is_group = |key: &&GroupKey| verifies(&key.0, message, signature);
                Err(if keys.iter().flatten().any(is_group) {
                    SharedKeyDoubt::GroupKey
                } else {
                    SharedKeyDoubt::Signature
                })
            }
        }
    }
}

/// A SAS token, taken apart by whoever speaks its protocol.
#[derive(Clone, Copy)]
pub struct SasEvidence<'e> {
    /// `sr`, exactly as it stands in the token: the signature is over this text.
    pub resource: &'e str,
    /// `se`, exactly as it stands in the token: decimal digits.
    pub expiry: &'e str,
    /// What `se` counts.
    pub unit: ExpiryUnit,
    /// `sig`, decoded.
    pub signature: &'e [u8],
}

/// What the expiry of a SAS token counts since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ExpiryUnit {
    /// Seconds: devices.
    Seconds,
    /// Seconds, or milliseconds where seconds would be after the year 5138: the service API, where
    /// one SDK passes on what its clock gives.
    SecondsOrMilliseconds,
}

/// Proof that a holder of a shared key is speaking. Only [`prove_sas`] and [`prove_answer`] make one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyHolder {
    id: String,
    slot: KeySlot,
    until: Option<UnixTime>,
}

impl KeyHolder {
    /// Whose key it is, in lower case: the registration id, or the name of an access policy.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Which of the keys on record it was.
    #[must_use]
    pub const fn slot(&self) -> KeySlot {
        self.slot
    }

    /// Until when the token holds; `None` for the answer to a challenge, which holds once.
    #[must_use]
    pub const fn until(&self) -> Option<UnixTime> {
        self.until
    }
}

impl SasEvidence<'_> {
    /// Whether it can be read and is for `resource`: all that can be said of it without a key.
    pub fn is_for(&self, resource: &str) -> Result<(), SharedKeyDoubt> {
        self.until()?;
        let named = unescaped(self.resource).ok_or(SharedKeyDoubt::Escape)?;
        if named.eq_ignore_ascii_case(resource.as_bytes()) {
            Ok(())
        } else {
            Err(SharedKeyDoubt::Resource)
        }
    }
}

/// Checks a SAS token of `id` against the keys on record.
///
/// `resource` is what it has to be for, nothing escaped, such as
/// `<idScope>/registrations/<registrationId>`; it is compared without its case. `tolerance_s` is how
/// many seconds the device's clock may be behind ours. When a token is wrong in several ways, the
/// first of resource, key and expiry is named: that a token has expired is only said to who has the
/// key.
pub fn prove_sas(
    evidence: &SasEvidence<'_>,
    resource: &str,
    id: &str,
    keys: &KnownKeys<'_>,
    tolerance_s: u32,
    now: UnixTime,
) -> Result<KeyHolder, SharedKeyDoubt> {
    let until = evidence.until()?;
    evidence.is_for(resource)?;
    let signed = format!("{}\n{}", evidence.resource, evidence.expiry);
    let slot = keys.find(id, signed.as_bytes(), evidence.signature)?;
    if now > until.plus(i64::from(tolerance_s)) {
        return Err(SharedKeyDoubt::Expired { at: until });
    }
    Ok(KeyHolder {
        id: id.to_ascii_lowercase(),
        slot,
        until: Some(until),
    })
}

impl SasEvidence<'_> {
    fn until(&self) -> Result<UnixTime, SharedKeyDoubt> {
        let digits = self.expiry.bytes().all(|byte| byte.is_ascii_digit());
        let number = self.expiry.parse::<i64>().ok().filter(|_| digits);
        let number = number.ok_or(SharedKeyDoubt::ExpiryUnreadable)?;
        let is_milliseconds =
            self.unit == ExpiryUnit::SecondsOrMilliseconds && number >= LATEST_SECONDS;
        Ok(UnixTime(if is_milliseconds {
            number / 1_000
        } else {
            number
        }))
    }
}

/// In milliseconds this was in March 1973.
const LATEST_SECONDS: i64 = 100_000_000_000;

/// Undoes percent escapes (RFC 3986 section 2.1).
fn unescaped(text: &str) -> Option<Vec<u8>> {
    let hex = |digit: u8| char::from(digit).to_digit(16);
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'%' => {
                let value = hex(rest.next()?)? << 4 | hex(rest.next()?)?;
                u8::try_from(value).ok()?
            }
            byte => byte,
        });
    }
    Some(bytes)
}

/// The answer to a challenge: HMAC-SHA256 under the device's key over id and nonce.
#[must_use]
pub fn answer(key: &SharedKey, id: &str, nonce: &[u8; 32]) -> [u8; 32] {
    key.sign(&challenge(id, nonce))
}

/// Checks the answer to a challenge. `nonce` is the one that the server gave to `id`, and that it
/// takes back from nobody a second time: this function can't know.
pub fn prove_answer(
    id: &str,
    nonce: &[u8; 32],
    answer: &[u8],
    keys: &KnownKeys<'_>,
) -> Result<KeyHolder, SharedKeyDoubt> {
    let slot = keys.find(id, &challenge(id, nonce), answer)?;
    Ok(KeyHolder {
        id: id.to_ascii_lowercase(),
        slot,
        until: None,
    })
}

/// What is signed: a word that no SAS token begins with, the id's length in two bytes, the id in
/// lower case, the nonce.
fn challenge(id: &str, nonce: &[u8; 32]) -> Vec<u8> {
    let id = id.to_ascii_lowercase();
    let length = u16::try_from(id.len()).unwrap_or(u16::MAX).to_be_bytes();
    [CHALLENGE, &length, id.as_bytes(), nonce].concat()
}

const CHALLENGE: &[u8] = b"imprint shared-key challenge 1\0";

/// What is doubtful about who says to have a shared key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SharedKeyDoubt {
    /// `se` is no number.
    #[error("the SAS token's expiry is not a number")]
    ExpiryUnreadable,
    /// `sr` has half an escape.
    #[error("the SAS token's resource has a broken percent escape")]
    Escape,
    /// It is for something else: another scope, another device.
    #[error("the SAS token is for another resource")]
    Resource,
    /// No key on record has signed it.
    #[error("the signature is by none of the keys on record")]
    Signature,
    /// The group's own key has signed it: somebody has put that into a device.
    #[error("the signature is by the group's own key, which no device may have")]
    GroupKey,
    /// It was good once.
    #[error("the SAS token expired at {at}")]
    Expired {
        /// When.
        at: UnixTime,
    },
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The vendor's published example: a group's key, an id, and the key derived for it.
    const GROUP: &str = "f22b2b148d6c1ac225bef15248546231f08dcefdb57e36c4ffe6a1fe54a1de51\
                         7c7b6606d537bbc352a966124515726ba982a2f727a0c64a880a16ea392f4483";
    const ID: &str = "sn-007-888-abc-mac-a1-b2-c3-d4-e5-f6";
    const DEVICE: &str = "26c9b49721a98da55854fda0dc59e69e61bd748ffda94db8c0da3291499eae67";
    const RESOURCE: &str = "0ne00IMPRINT/registrations/sn-007-888-abc-mac-a1-b2-c3-d4-e5-f6";
    const EXPIRY: &str = "1893456000";
    const NOW: UnixTime = UnixTime(1_800_000_000);

    fn group() -> GroupKey {
        GroupKey::new(&hex::decode(GROUP).unwrap()).unwrap()
    }

    fn device() -> SharedKey {
        SharedKey::new(&hex::decode(DEVICE).unwrap()).unwrap()
    }

    fn own(key: &SharedKey) -> KnownKeys<'_> {
        KnownKeys::Own {
            primary: key,
            secondary: None,
        }
    }

    fn check(
        resource: &str,
        expiry: &str,
        signature: &[u8],
        keys: &KnownKeys<'_>,
    ) -> Result<KeySlot, SharedKeyDoubt> {
        let evidence = SasEvidence {
            resource,
            expiry,
            unit: ExpiryUnit::Seconds,
            signature,
        };
        prove_sas(&evidence, RESOURCE, ID, keys, 300, NOW).map(|holder| holder.slot())
    }

    fn signed(key: &SharedKey, resource: &str, expiry: &str) -> [u8; 32] {
        key.sign(format!("{resource}\n{expiry}").as_bytes())
    }

    #[test]
    fn the_published_key_is_derived() {
        assert_eq!(hex::encode(group().derive(ID).expose()), DEVICE);
    }

    #[test]
    fn each_sdks_spelling_of_the_resource_verifies() {
        for (resource, signature) in [
            (
                "0ne00IMPRINT%2Fregistrations%2Fsn-007-888-abc-mac-a1-b2-c3-d4-e5-f6",
                "21d160d639417c9ace07dab05ae53d6f34876a737f605702f0a28ddc7636a42d",
            ),
            (
                "0ne00IMPRINT%2fregistrations%2fsn-007-888-abc-mac-a1-b2-c3-d4-e5-f6",
                "c21e1cf4db2faa2834e590d9ad1ea22783878f8433edd37888a99cb52366a923",
            ),
            (
                RESOURCE,
                "16174538f367051f5884c2edb35a1487f860599c9e3836d3d775c0b888f875e6",
            ),
        ] {
            let signature = hex::decode(signature).unwrap();
            let (key, group) = (device(), group());
            let by_group = KnownKeys::Group {
                primary: &group,
                secondary: None,
            };
            for keys in [own(&key), by_group] {
                let got = check(resource, EXPIRY, &signature, &keys);
                assert_eq!(got, Ok(KeySlot::Primary), "{resource}");
            }
            // Signed over one spelling, shown with another.
            let other = resource.replace("%2", "%2f%2").replace("/r", "%2Fr");
            assert!(
                check(&other, EXPIRY, &signature, &own(&key)).is_err(),
                "{other}"
            );
        }
    }

    #[test]
    fn either_slot_is_good_and_is_named() {
        let (new, old) = (SharedKey::new(&[1; 32]).unwrap(), device());
        let keys = KnownKeys::Own {
            primary: &new,
            secondary: Some(&old),
        };
        let by = |key: &SharedKey| check(RESOURCE, EXPIRY, &signed(key, RESOURCE, EXPIRY), &keys);
        assert_eq!(by(&new), Ok(KeySlot::Primary));
        assert_eq!(by(&old), Ok(KeySlot::Secondary));
        assert_eq!(
            by(&SharedKey::new(&[2; 32]).unwrap()),
            Err(SharedKeyDoubt::Signature)
        );
        let (new, old) = (GroupKey::new(&[1; 64]).unwrap(), group());
        let keys = KnownKeys::Group {
            primary: &new,
            secondary: Some(&old),
        };
        let by = |key: &SharedKey| check(RESOURCE, EXPIRY, &signed(key, RESOURCE, EXPIRY), &keys);
        assert_eq!(by(&old.derive(ID)), Ok(KeySlot::Secondary));
        assert_eq!(by(&new.derive(ID)), Ok(KeySlot::Primary));
        assert_eq!(by(&new.derive("another")), Err(SharedKeyDoubt::Signature));
    }

    #[test]
    fn a_groups_own_key_is_refused_and_named() {
        let group = group();
        for slots in [
            KnownKeys::Group {
                primary: &group,
                secondary: None,
            },
            KnownKeys::Group {
                primary: &GroupKey::new(&[1; 32]).unwrap(),
                secondary: Some(&group),
            },
        ] {
            let signature = mac(group.expose(), format!("{RESOURCE}\n{EXPIRY}").as_bytes());
            let got = check(RESOURCE, EXPIRY, &signature, &slots);
            assert_eq!(got, Err(SharedKeyDoubt::GroupKey));
        }
    }

    #[test]
    fn a_key_derived_for_the_id_in_lower_case_is_good_for_the_id_as_written() {
        let group = group();
        let keys = KnownKeys::Group {
            primary: &group,
            secondary: None,
        };
        let resource = "s/registrations/Dev-1";
        for (derived_for, want) in [
            ("Dev-1", true),
            ("dev-1", true),
            ("DEV-1", false),
            ("dev-2", false),
        ] {
            let signature = signed(&group.derive(derived_for), resource, EXPIRY);
            let evidence = SasEvidence {
                resource,
                expiry: EXPIRY,
                unit: ExpiryUnit::Seconds,
                signature: &signature,
            };
            let got = prove_sas(&evidence, "S/registrations/DEV-1", "Dev-1", &keys, 0, NOW);
            assert_eq!(got.is_ok(), want, "{derived_for}");
            if let Ok(holder) = got {
                assert_eq!(holder.id(), "dev-1");
            }
        }
    }

    #[test]
    fn the_first_thing_wrong_is_named_and_expiry_only_to_who_has_the_key() {
        let (key, other) = (device(), SharedKey::new(&[2; 32]).unwrap());
        let at = |text: &str| UnixTime(text.parse().unwrap());
        let expired = |text: &str| SharedKeyDoubt::Expired { at: at(text) };
        for (signer, resource, expiry, want) in [
            (&key, RESOURCE, "1800000000", Ok(KeySlot::Primary)),
            (&key, RESOURCE, "1799999700", Ok(KeySlot::Primary)),
            (&key, RESOURCE, "1799999699", Err(expired("1799999699"))),
            (&key, RESOURCE, "0", Err(expired("0"))),
            (&other, RESOURCE, "0", Err(SharedKeyDoubt::Signature)),
            (
                &key,
                "s/registrations/x",
                "0",
                Err(SharedKeyDoubt::Resource),
            ),
            (
                &other,
                "s/registrations/x",
                "0",
                Err(SharedKeyDoubt::Resource),
            ),
            (
                &key,
                "0ne00IMPRINT/registrations/",
                EXPIRY,
                Err(SharedKeyDoubt::Resource),
            ),
            (&key, "%", EXPIRY, Err(SharedKeyDoubt::Escape)),
            (&key, "%f", EXPIRY, Err(SharedKeyDoubt::Escape)),
            (&key, "%+f", EXPIRY, Err(SharedKeyDoubt::Escape)),
            (&key, RESOURCE, "", Err(SharedKeyDoubt::ExpiryUnreadable)),
            (&key, RESOURCE, "-1", Err(SharedKeyDoubt::ExpiryUnreadable)),
            (
                &key,
                RESOURCE,
                "+1893456000",
                Err(SharedKeyDoubt::ExpiryUnreadable),
            ),
            (
                &key,
                RESOURCE,
                "99999999999999999999",
                Err(SharedKeyDoubt::ExpiryUnreadable),
            ),
        ] {
            let signature = signed(signer, resource, expiry);
            let got = check(resource, expiry, &signature, &own(&key));
            assert_eq!(got, want, "{resource} {expiry}");
        }
        let good = signed(&key, RESOURCE, EXPIRY);
        for signature in [
            &good[..31],
            &[],
            &[0; 32],
            &[good.as_slice(), &[0]].concat(),
        ] {
            let got = check(RESOURCE, EXPIRY, signature, &own(&key));
            assert_eq!(got, Err(SharedKeyDoubt::Signature));
        }
    }

    #[test]
    fn milliseconds_are_read_where_a_client_sends_them() {
        let key = device();
        for (expiry, unit, want) in [
            (
                "1893456000",
                ExpiryUnit::SecondsOrMilliseconds,
                UnixTime(1_893_456_000),
            ),
            (
                "1893456000123",
                ExpiryUnit::SecondsOrMilliseconds,
                UnixTime(1_893_456_000),
            ),
            (
                "1893456000123",
                ExpiryUnit::Seconds,
                UnixTime(1_893_456_000_123),
            ),
        ] {
            let signature = signed(&key, RESOURCE, expiry);
            let evidence = SasEvidence {
                resource: RESOURCE,
                expiry,
                unit,
                signature: &signature,
            };
            let holder = prove_sas(&evidence, RESOURCE, ID, &own(&key), 0, NOW).unwrap();
            assert_eq!(holder.until(), Some(want));
        }
        let signature = signed(&key, RESOURCE, "1799999999000");
        let evidence = SasEvidence {
            resource: RESOURCE,
            expiry: "1799999999000",
            unit: ExpiryUnit::SecondsOrMilliseconds,
            signature: &signature,
        };
        let late = prove_sas(&evidence, RESOURCE, ID, &own(&key), 0, NOW);
        assert_eq!(
            late,
            Err(SharedKeyDoubt::Expired {
                at: UnixTime(1_799_999_999)
            })
        );
    }

    #[test]
    fn keys_have_32_to_64_bytes() {
        for (bytes, sound) in [
            (0, false),
            (16, false),
            (31, false),
            (32, true),
            (64, true),
            (65, false),
        ] {
            let key = vec![7; bytes];
            assert_eq!(SharedKey::new(&key).is_ok(), sound, "{bytes}");
            assert_eq!(GroupKey::new(&key).is_ok(), sound, "{bytes}");
        }
        assert_eq!(
            format!("{:?} {:?}", device(), group()),
            "SharedKey(32 bytes) GroupKey(64 bytes)"
        );
    }

    #[test]
    fn an_answer_is_bound_to_device_and_nonce() {
        let (key, other) = (device(), SharedKey::new(&[2; 32]).unwrap());
        let nonce = [5; 32];
        let good = answer(&key, "Dev-1", &nonce);
        let prove = |id, nonce, answer: &[u8], key| {
            prove_answer(id, nonce, answer, &own(key)).map(|holder| (holder.slot(), holder.until()))
        };
        assert_eq!(
            prove("dev-1", &nonce, &good, &key),
            Ok((KeySlot::Primary, None))
        );
        for (id, nonce, answer, key) in [
            ("dev-2", &nonce, &good[..], &key),
            ("dev-", &nonce, &good[..], &key),
            ("dev-1", &[6; 32], &good[..], &key),
            ("dev-1", &nonce, &good[..31], &key),
            ("dev-1", &nonce, &[0; 32], &key),
            ("dev-1", &nonce, &good[..], &other),
        ] {
            assert_eq!(
                prove(id, nonce, answer, key),
                Err(SharedKeyDoubt::Signature),
                "{id}"
            );
        }
        let group = group();
        let keys = KnownKeys::Group {
            primary: &group,
            secondary: None,
        };
        let good = answer(&group.derive("dev-1"), "Dev-1", &nonce);
        assert!(prove_answer("Dev-1", &nonce, &good, &keys).is_ok());
        let by_group = mac(group.expose(), &challenge("dev-1", &nonce));
        let got = prove_answer("dev-1", &nonce, &by_group, &keys);
        assert_eq!(got, Err(SharedKeyDoubt::GroupKey));
    }

    #[test]
    fn the_answer_to_a_challenge_is_no_token() {
        // Whatever nonce a false server gives, what is signed begins with a word that no token has.
        let text = challenge("dev-1", &[b'\n'; 32]);
        assert!(text.starts_with(b"imprint shared-key challenge 1\0"));
    }

    proptest! {
        #[test]
        fn a_changed_bit_anywhere_is_refused(byte in 0_usize..32, bit in 0_u8..8, expires in 1_800_000_000_u32..) {
            let key = device();
            let expiry = expires.to_string();
            let mut signature = signed(&key, RESOURCE, &expiry);
            prop_assert!(check(RESOURCE, &expiry, &signature, &own(&key)).is_ok());
            signature[byte] ^= 1 << bit;
            prop_assert_eq!(check(RESOURCE, &expiry, &signature, &own(&key)), Err(SharedKeyDoubt::Signature));
        }
    }
}
