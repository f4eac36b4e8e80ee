//! Entries whose device has a TPM: challenged, answered, and given its key.

use aws_lc_rs::cipher::{AES_128, DecryptingKey, DecryptionContext, UnboundCipherKey};
use aws_lc_rs::encoding::{AsDer as _, PublicKeyX509Der};
use aws_lc_rs::hmac;
use aws_lc_rs::iv::FixedLength;
use aws_lc_rs::rsa::{
    KeySize, OAEP_SHA256_MGF1SHA256, OaepPrivateDecryptingKey, PrivateDecryptingKey,
};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use imprint_attest::tpm::Public;
use imprint_identity::{IdentityStrength, Step};
use imprint_registrar::entries::definition::{Attestation, Entry};
use imprint_registrar::entries::{
    EntryKeys, EntryOrder, EntryShown, Newcomer, RegisteredByEntry, SharedKeySignature, TpmKeys,
};
use imprint_registrar::ledger::{DeviceAct, EntryKind, KeySlot};
use imprint_registrar::{Code, Ledger as _, Refusal};

use crate::support::*;

const HUB: &str = "hub.example";
const ID: &str = "sn-1";

/// What a TPM does with its two keys. A real one is asked in `attest`, and by the vendor's SDK in
/// `conformance`.
struct Chip {
    endorsement: PrivateDecryptingKey,
    storage: PrivateDecryptingKey,
}

impl Chip {
    fn new() -> Self {
        let key = || PrivateDecryptingKey::generate(KeySize::Rsa2048).unwrap();
        Self {
            endorsement: key(),
            storage: key(),
        }
    }

    fn keys(&self) -> TpmKeys {
        TpmKeys {
            endorsement: area(&self.endorsement, 0x0003_00b2, POLICY),
            storage: Some(area(&self.storage, 0x0003_0472, "")),
        }
    }

    /// The key for HMAC in a blob.
    fn imports(&self, blob: &[u8]) -> Vec<u8> {
        let mut rest = blob;
        let storage = name(&self.keys().storage.unwrap()[2..]);
        let (id_object, secret) = (field(&mut rest), field(&mut rest));
        let inner = opened(
            &self.endorsement,
            b"IDENTITY\0",
            secret,
            &storage,
            id_object,
        );
        let (duplicate, seed, public) = (field(&mut rest), field(&mut rest), field(&mut rest));
        assert_eq!(field(&mut rest), b"");
        let wrapped = opened(
            &self.storage,
            b"DUPLICATE\0",
            seed,
            &name(public),
            duplicate,
        );
        let plain = deciphered(field(&mut &inner[..]), &wrapped);
        let mut plain = &plain[..];
        field(&mut plain);
        let mut sensitive = field(&mut plain);
        assert_eq!(sensitive[..4], [0, 8, 0, 0]);
        sensitive = &sensitive[4..];
        field(&mut sensitive);
        field(&mut sensitive).to_vec()
    }
}

/// A `TPM2B_PUBLIC` of RSA-2048.
fn area(key: &PrivateDecryptingKey, attributes: u32, policy: &str) -> Vec<u8> {
    let der: PublicKeyX509Der<'_> = key.public_key().as_der().unwrap();
    let der = der.as_ref();
    // The modulus stands before the exponent, which is 65537 in five octets.
    let modulus = &der[der.len() - 5 - 256..der.len() - 5];
    let policy = hex::decode(policy).unwrap();
    let parts: [&[u8]; 8] = [
        &[0, 1, 0, 0x0b],
        &attributes.to_be_bytes(),
        &sized(&policy),
        &[0, 6, 0, 128, 0, 0x43],
        &[0, 0x10],
        &[8, 0],
        &[0; 4],
        &sized(modulus),
    ];
    sized(&parts.concat())
}

fn sized(bytes: &[u8]) -> Vec<u8> {
    let length = u16::try_from(bytes.len()).unwrap().to_be_bytes();
    [&length, bytes].concat()
}

fn field<'b>(bytes: &mut &'b [u8]) -> &'b [u8] {
    let length = usize::from(u16::from_be_bytes([bytes[0], bytes[1]]));
    let (field, rest) = bytes[2..].split_at(length);
    *bytes = rest;
    field
}

fn name(area: &[u8]) -> Vec<u8> {
    let hash = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, area);
    [&[0, 0x0b], hash.as_ref()].concat()
}

fn opened(
    key: &PrivateDecryptingKey,
    label: &[u8],
    secret: &[u8],
    name: &[u8],
    wrapped: &[u8],
) -> Vec<u8> {
    let key = OaepPrivateDecryptingKey::new(key.clone()).unwrap();
    let mut seed = vec![0; key.key_size_bytes()];
    let seed = key
        .decrypt(&OAEP_SHA256_MGF1SHA256, secret, &mut seed, Some(label))
        .unwrap();
    let parts: [&[u8]; 4] = [&[0, 0, 0, 1], b"STORAGE\0", name, &[0, 0, 0, 128]];
    let stored = parts.concat();
    let mut text = wrapped;
    field(&mut text);
    deciphered(&hmac_of(seed, &stored)[..16], text)
}

fn deciphered(key: &[u8], text: &[u8]) -> Vec<u8> {
    let key = DecryptingKey::cfb128(UnboundCipherKey::new(&AES_128, key).unwrap()).unwrap();
    let mut text = text.to_vec();
    let context = DecryptionContext::Iv128(FixedLength::from(&[0; 16]));
    key.decrypt(&mut text, context).unwrap().to_vec()
}

fn hmac_of(key: &[u8], message: &[u8]) -> Vec<u8> {
    let key = hmac::Key::new(hmac::HMAC_SHA256, key);
    hmac::sign(&key, message).as_ref().to_vec()
}

impl World {
    async fn entry_for_tpm(&self, name: &str, keys: &TpmKeys, pinned: bool) {
        let attestation = Attestation::Tpm {
            endorsement_key: STANDARD.encode(&keys.endorsement),
            storage_root_key: pinned.then(|| STANDARD.encode(keys.storage.as_ref().unwrap())),
        };
        let order = EntryOrder {
            entry: Entry {
                kind: EntryKind::Individual,
                name: name.to_owned(),
                product: "thermo".to_owned(),
                strength: attestation.strength().name().to_owned(),
                attestation,
                device_id: None,
            },
            enabled: true,
            keys: EntryKeys::default(),
        };
        let (road, now) = (&self.road, self.now());
        let made = road.entry_new(order, "test", &chance, now).await.unwrap();
        // Its key is the TPM's and nobody else's.
        assert!(made.made.primary.is_none() && made.made.secondary.is_none());
    }

    async fn challenge(&self, id: &str, keys: &TpmKeys) -> Result<Vec<u8>, Refusal> {
        let newcomer = Newcomer::new(id, EntryShown::Nothing).unwrap();
        let newcomer = newcomer.with_tpm(keys.clone());
        let (road, now) = (&self.road, self.now());
        road.entry_challenge(&newcomer, &origin(), &chance, now)
            .await
    }

    fn answered(&self, id: &str, nonce: &[u8], keys: Option<&TpmKeys>) -> Newcomer {
        let expected = format!("0neTEST/registrations/{id}");
        let shown = EntryShown::SharedKey(self.sas(&expected, nonce));
        let newcomer = Newcomer::new(id, shown).unwrap();
        match keys {
            Some(keys) => newcomer.with_tpm(keys.clone()),
            None => newcomer,
        }
    }

    fn sas(&self, expected: &str, key: &[u8]) -> SharedKeySignature {
        let resource = expected.replace('/', "%2F");
        let expiry = self.now().plus(7_200).0.to_string();
        let signature = hmac_of(key, format!("{resource}\n{expiry}").as_bytes());
        SharedKeySignature {
            signature: signature.try_into().unwrap(),
            resource,
            expiry,
            expected: expected.to_owned(),
        }
    }

    async fn goes_in(&self, newcomer: &Newcomer) -> Result<RegisteredByEntry, Refusal> {
        let (road, now) = (&self.road, self.now());
        road.entry_register(newcomer, HUB, &origin(), &chance, now)
            .await
    }

    async fn comes_to_hub(&self, device: &str, key: &[u8]) -> Result<(), Refusal> {
        let signature = self.sas(&format!("{HUB}/devices/{device}"), key);
        let (road, now) = (&self.road, self.now());
        road.shared_key_member(device, HUB, &signature, &origin(), now)
            .await
            .map(drop)
    }
}

#[tokio::test]
async fn a_tpm_answers_its_challenge_and_gets_a_key_that_its_hub_knows() {
    let world = World::new().await;
    let chip = Chip::new();
    let keys = chip.keys();
    world.entry_for_tpm(ID, &keys, false).await;
    let nonce = chip.imports(&world.challenge(ID, &keys).await.unwrap());
    let told = world
        .goes_in(&world.answered(ID, &nonce, Some(&keys)))
        .await;
    let told = told.unwrap();
    assert!(!told.again);
    let key = chip.imports(&told.key_for_tpm.unwrap());
    assert_ne!(key, nonce);
    let file = world.device("thermo-sn-1").await;
    assert_eq!(file.device.step, Step::Verify);
    assert_eq!(file.device.strength, IdentityStrength::ElementKey);

    // The reply was lost: the same answer again gets the same key, and so does its operation, which
    // doesn't say what the TPM is.
    for shown in [Some(&keys), None] {
        let again = world.goes_in(&world.answered(ID, &nonce, shown)).await;
        let again = again.unwrap();
        assert!(again.again);
        assert_eq!(again.registration, told.registration);
        assert_eq!(chip.imports(&again.key_for_tpm.unwrap()), key);
    }
    // All over again, after a restart, days later.
    world.pass(3 * 86_400);
    let world = world.restarted();
    let another = chip.imports(&world.challenge(ID, &keys).await.unwrap());
    assert_ne!(another, nonce);
    let answered = world.answered(ID, &another, Some(&keys));
    let again = world.goes_in(&answered).await.unwrap();
    assert_eq!(again.registration, told.registration);
    assert_eq!(chip.imports(&again.key_for_tpm.unwrap()), key);

    world.comes_to_hub("thermo-sn-1", &key).await.unwrap();
    let file = world.device("thermo-sn-1").await;
    assert_eq!(file.device.step, Step::Provisioned);
    // The nonce is no key for the hub, and the key answers no challenge.
    let refused = world.comes_to_hub("thermo-sn-1", &another).await;
    assert_eq!(code(refused), Code::EntryProofWrong);
    let refused = world.goes_in(&world.answered(ID, &key, Some(&keys))).await;
    assert_eq!(code(refused), Code::EntryProofWrong);
    // Neither is on disk in the open.
    let stored = world.stored();
    for secret in [&key, &nonce] {
        assert!(!stored.windows(32).any(|window| window == &secret[..]));
    }
}

#[tokio::test]
async fn each_way_to_be_another_tpm_has_its_own_answer() {
    let world = World::new().await;
    let (chip, thief) = (Chip::new(), Chip::new());
    let keys = chip.keys();
    world.entry_for_tpm(ID, &keys, true).await;
    world.entry_for_tpm("sn-2", &thief.keys(), false).await;
    let nonce = chip.imports(&world.challenge(ID, &keys).await.unwrap());

    let with = |change: &dyn Fn(&mut TpmKeys)| {
        let mut keys = keys.clone();
        change(&mut keys);
        keys
    };
    let signing = area(&thief.storage, 0x0005_0072, "");
    let software = area(&thief.storage, 0x0003_0060, "");
    for (what, id, keys, want) in [
        ("another endorsement key", ID, thief.keys(), Code::TpmOther),
        (
            "the right one with other attributes",
            ID,
            with(&|keys| keys.endorsement[9] ^= 0x40),
            Code::TpmOther,
        ),
        (
            "half of one",
            ID,
            with(&|keys| keys.endorsement.truncate(100)),
            Code::TpmUnreadable,
        ),
        (
            "another storage key than the entry's",
            ID,
            with(&|keys| keys.storage = thief.keys().storage),
            Code::TpmOther,
        ),
        (
            "a key that signs, for storage",
            ID,
            with(&|keys| keys.storage = Some(signing.clone())),
            Code::TpmKeyUnsound,
        ),
        (
            "a key that software has",
            ID,
            with(&|keys| keys.storage = Some(software.clone())),
            Code::TpmKeyUnsound,
        ),
        ("nobody's id", "sn-3", keys.clone(), Code::EntryUnknown),
    ] {
        assert_eq!(code(world.challenge(id, &keys).await), want, "{what}");
        if want == Code::TpmOther {
            let answered = world.answered(id, &nonce, Some(&keys));
            assert_eq!(code(world.goes_in(&answered).await), want, "{what}");
        }
    }
    // A nonce for one is none for the other, and no key at all is an answer.
    let crossed = world.answered("sn-2", &nonce, Some(&thief.keys()));
    assert_eq!(code(world.goes_in(&crossed).await), Code::EntryProofWrong);
    let guessed = world.answered(ID, &[7; 32], Some(&keys));
    assert_eq!(code(world.goes_in(&guessed).await), Code::EntryProofWrong);
    let silent = Newcomer::new(ID, EntryShown::Nothing).unwrap();
    let refused = world.goes_in(&silent.with_tpm(keys.clone())).await;
    assert_eq!(code(refused), Code::CredentialMissing);
    // None of this has made a device, and none of it keeps the right one out.
    let ledger = world.road.ledger();
    assert!(ledger.device_get("custom:sn-1").await.unwrap().is_none());
    world
        .goes_in(&world.answered(ID, &nonce, Some(&keys)))
        .await
        .unwrap();
}

#[tokio::test]
async fn a_nonce_is_good_for_minutes_and_a_late_answer_is_told_so() {
    for (seconds, want) in [
        (-60, None),
        (299, None),
        (300, None),
        (600, Some(Code::TpmAnswerLate)),
        (3_500, Some(Code::TpmAnswerLate)),
        (7_100, Some(Code::EntryProofWrong)),
    ] {
        let world = World::new().await;
        let chip = Chip::new();
        let keys = chip.keys();
        world.entry_for_tpm(ID, &keys, false).await;
        let nonce = chip.imports(&world.challenge(ID, &keys).await.unwrap());
        // Nobody's asking takes the nonce from who has it.
        for _ in 0..3 {
            world.challenge(ID, &keys).await.unwrap();
        }
        let answered = world.answered(ID, &nonce, Some(&keys));
        world.pass(seconds);
        let told = world.goes_in(&answered).await;
        match want {
            None => drop(told.unwrap()),
            Some(want) => assert_eq!(code(told), want, "after {seconds} s"),
        }
    }
}

#[tokio::test]
async fn a_tpm_that_was_cleared_gets_the_same_key_under_its_new_storage_key() {
    let world = World::new().await;
    let chip = Chip::new();
    let keys = chip.keys();
    world.entry_for_tpm(ID, &keys, false).await;
    let nonce = chip.imports(&world.challenge(ID, &keys).await.unwrap());
    let told = world
        .goes_in(&world.answered(ID, &nonce, Some(&keys)))
        .await;
    let key = chip.imports(&told.unwrap().key_for_tpm.unwrap());
    let cleared = Chip {
        storage: PrivateDecryptingKey::generate(KeySize::Rsa2048).unwrap(),
        ..chip
    };
    let keys = cleared.keys();
    let nonce = cleared.imports(&world.challenge(ID, &keys).await.unwrap());
    for shown in [Some(&keys), None] {
        let told = world.goes_in(&world.answered(ID, &nonce, shown)).await;
        assert_eq!(cleared.imports(&told.unwrap().key_for_tpm.unwrap()), key);
    }
    let seen = world.journal("entry-storage-key-seen", "individual/sn-1");
    let first: Vec<_> = seen.await.iter().map(|row| row["first"].clone()).collect();
    assert_eq!(first, [true, false]);
}

#[tokio::test]
async fn who_is_put_aside_or_disabled_gets_no_key() {
    let world = World::new().await;
    let chip = Chip::new();
    let keys = chip.keys();
    world.entry_for_tpm(ID, &keys, false).await;
    let nonce = chip.imports(&world.challenge(ID, &keys).await.unwrap());
    let answered = world.answered(ID, &nonce, Some(&keys));
    let told = world.goes_in(&answered).await.unwrap();
    let key = chip.imports(&told.key_for_tpm.unwrap());
    let (road, now) = (&world.road, world.now());
    let kind = EntryKind::Individual;
    let switch = |enabled| road.entry_switch(kind, ID, enabled, "test", now);
    switch(false).await.unwrap();
    assert_eq!(code(world.challenge(ID, &keys).await), Code::EntryDisabled);
    assert_eq!(code(world.goes_in(&answered).await), Code::EntryDisabled);
    let refused = world.comes_to_hub("thermo-sn-1", &key).await;
    assert_eq!(code(refused), Code::EntryDisabled);
    switch(true).await.unwrap();
    let act = DeviceAct::Revoke {
        reason: imprint_registrar::ledger::RevocationReason::KeyCompromise,
        note: String::new(),
    };
    let id = "thermo-sn-1".parse().unwrap();
    let acted = road.ledger().device_act(&id, act, "test", now);
    acted.await.unwrap();
    assert_eq!(code(world.goes_in(&answered).await), Code::DeviceRevoked);
    // Another key for the entry is another key in the TPM, and is said to nobody.
    let other = world.road.entry_rotate(
        EntryKind::Individual,
        ID,
        KeySlot::Primary,
        None,
        "test",
        &chance,
        now,
    );
    let made = other.await.unwrap().made;
    assert!(made.primary.is_none() && made.secondary.is_none());
}

#[tokio::test]
async fn an_entry_names_a_tpm_or_is_not_made() {
    let keys = Chip::new().keys();
    let storage = keys.storage.clone().unwrap();
    let tpm = |endorsement: &[u8], storage: Option<&[u8]>| Attestation::Tpm {
        endorsement_key: STANDARD.encode(endorsement),
        storage_root_key: storage.map(|key| STANDARD.encode(key)),
    };
    let kind = EntryKind::Individual;
    let base64 = Attestation::Tpm {
        endorsement_key: "?".to_owned(),
        storage_root_key: None,
    };
    for (what, kind, attestation, good) in [
        (
            "both keys",
            kind,
            tpm(&keys.endorsement, Some(&storage)),
            true,
        ),
        ("one", kind, tpm(&keys.endorsement, None), true),
        (
            "of a group",
            EntryKind::Group,
            tpm(&keys.endorsement, None),
            false,
        ),
        (
            "a storage key in its place",
            kind,
            tpm(&storage, None),
            false,
        ),
        (
            "an endorsement key for storage, which it may be",
            kind,
            tpm(&keys.endorsement, Some(&keys.endorsement)),
            true,
        ),
        (
            "half a key",
            kind,
            tpm(&keys.endorsement[..50], None),
            false,
        ),
        ("no base64", kind, base64, false),
    ] {
        let entry = Entry {
            kind,
            name: ID.to_owned(),
            product: "thermo".to_owned(),
            attestation,
            device_id: None,
            strength: "asserted".to_owned(),
        };
        let got = entry.check();
        assert_eq!(got.is_ok(), good, "{what}: {got:?}");
        assert!(got.is_ok() || got.unwrap_err().key == "tpm");
    }
    assert!(Public::parse(&keys.endorsement).is_ok());
}

const POLICY: &str = "837197674484b3f81a90cc8d46a5d724fd52d76e06520b64f2a1da1b331469aa";
