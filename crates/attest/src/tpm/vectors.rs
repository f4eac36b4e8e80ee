//! Numbers by which other implementations agree with a TPM, and structures that no sound TPM writes.

use proptest::prelude::*;

use super::credential::{make_credential, share, wrap};
use super::import::{inner_wrap, public_area, sensitive};
use super::kdf::{cfb, kdfa, mac};
use super::public::{AttestationKey, EndorsementKey, Hash, Name, Public, StorageKey};
use super::read::{TpmError, sized};

fn bytes(hex: &str) -> Vec<u8> {
    hex::decode(hex).unwrap()
}

fn counting<const N: usize>(first: u8) -> [u8; N] {
    std::array::from_fn(|at| first + u8::try_from(at).unwrap())
}

/// What follows from a seed: keys, cipher text and MAC.
struct Symmetric {
    hash: Hash,
    bits: u16,
    seed: Vec<u8>,
    name: Vec<u8>,
    secret: Vec<u8>,
    key: &'static str,
    mac_key: &'static str,
    text: &'static str,
    integrity: &'static str,
}

#[test]
fn what_is_sealed_agrees_with_what_a_tpm_has_opened() {
    let name = |head: &str, byte: &str, count| bytes(&format!("{head}{}", byte.repeat(count)));
    for vector in [
        Symmetric {
            hash: Hash::Sha256,
            bits: 128,
            seed: counting::<32>(0).to_vec(),
            name: name("000b", "aa", 32),
            secret: counting::<32>(0x40).to_vec(),
            key: "0415b32b6f43896a87e7b29be8f2ac14",
            mac_key: "bacf689f634ece301e1f1b15b072d9c87db6a69585db42b1a0cb8f73ebe2692e",
            text: "1e4a6ab27c3f051806cb78745f91de7b9695d00fba26cf488007ca6fda1248aef210",
            integrity: "59b371fd1e0859796f4f1e3d166859c28f7221f187e528a0742fd13b180c3426",
        },
        Symmetric {
            hash: Hash::Sha256,
            bits: 128,
            seed: bytes("f47e071fc50d347f2a933112b73fe892e8b8c51215f3c42d671e1238aa0b5c9c"),
            name: name("000b", "aa", 32),
            secret: counting::<32>(0x40).to_vec(),
            key: "4231e7145dee058edae6da76758e51b9",
            mac_key: "521ce2e13c63b2d6e38132ea1f6bca69dbf4f177a71a71dfc10ecb9bb513b3c5",
            text: "745cb34c5e52625d13d68c365ea2b5049e85dd4cf66307f6fbab248e6541f53874b3",
            integrity: "41678b64f3c538c5d8ae819bc5774335b147cdf1aa2a19a0213e7251efb195a7",
        },
        Symmetric {
            hash: Hash::Sha384,
            bits: 256,
            seed: counting::<48>(0).to_vec(),
            name: name("000c", "bb", 48),
            secret: counting::<32>(0x40).to_vec(),
            key: "7c754b61e39052f967b3877ae3ae843c2b4f49be01c2525531a1e695daf57a8e",
            mac_key: "f33d1615c2266b2fa774ff368d6ce3af9d8c0b4227e57eb3e28b810755366e9a668857315ae51d8d7cfac92bb0485639",
            text: "f43466190ec6b6a97d8bfe039c0176a56c27a6ced5df930f9370414be24522c19581",
            integrity: "8d768116326ee28a4eec6b2d42a174f03e33e75bbce3f45ee72680b123f3a15c9af3fcd5606489a66161f305df95af32",
        },
        // The credential in a blob of Azure DPS.
        Symmetric {
            hash: Hash::Sha256,
            bits: 128,
            seed: counting::<32>(0).to_vec(),
            name: bytes("000b2958d416d08aa5a472d7b509036cb7eafd542add84527e66a145ea64cb4cdc75"),
            secret: counting::<16>(0).to_vec(),
            key: "9db8a214ce0ca8b74cc4d5e460f7dcd5",
            mac_key: "bacf689f634ece301e1f1b15b072d9c87db6a69585db42b1a0cb8f73ebe2692e",
            text: "b4c4778f43ec221df9a362fc870db4d45f64",
            integrity: "9ced5afbb566a1c10cf48cfcbbde20f83cb6c4cd1eae6ae7a4fb4820346e9206",
        },
    ] {
        let Symmetric { hash, bits, .. } = vector;
        let key = kdfa(hash, &vector.seed, "STORAGE", &vector.name, u32::from(bits));
        assert_eq!(hex::encode(&key), vector.key);
        let mac_bits = u32::try_from(hash.octets() * 8).unwrap();
        let mac_key = kdfa(hash, &vector.seed, "INTEGRITY", &[], mac_bits);
        assert_eq!(hex::encode(&mac_key), vector.mac_key);
        let text = cfb(&key, &sized(&vector.secret)).unwrap();
        assert_eq!(hex::encode(&text), vector.text);
        let integrity = mac(hash, &mac_key, &[&text, &vector.name]);
        assert_eq!(hex::encode(&integrity), vector.integrity);
        let name = Name::for_test(&vector.name);
        let wrapped = wrap(hash, &vector.seed, bits, &name, &sized(&vector.secret)).unwrap();
        assert_eq!(wrapped, [sized(&integrity), text].concat());
    }
}

/// The x and y of the private keys 11..11 and 22..22 on P-256.
const EK_X: &str = "0217e617f0b6443928278f96999e69a23a4f2c152bdf6d6cdf66e5b80282d4ed";
const EK_Y: &str = "194a7debcb97712d2dda3ca85aa8765a56f45fc758599652f2897c65306e5794";
const OUR_X: &str = "d65a93977caa3d1b081852ff57a79e465f1660577304baead505dd3a48589cf3";
const OUR_Y: &str = "50185e895372df6221ea3a137557e473fddb6755f05bd507c3c533fce9c91285";

/// An endorsement key of the high range on P-256.
fn elliptic(x: &str, y: &str) -> Vec<u8> {
    sized(&bytes(&format!(
        "0023000b000300f20020ca3d0a99a2b93906f7a3342414efcfb3a385d44cd1fd459089d19b5071c0b7a0\
         00060080004300100003001000{:02x}{x}00{:02x}{y}",
        x.len() / 2,
        y.len() / 2
    )))
}

#[test]
fn a_seed_for_a_curve_agrees_with_what_a_tpm_has_opened() {
    let public = Public::parse(&elliptic(EK_X, EK_Y)).unwrap();
    let mut entropy = [0xff; 48];
    entropy[..32].fill(0x22);
    let (seed, secret) = share(&public, "IDENTITY", &entropy).unwrap();
    assert_eq!(
        hex::encode(&seed),
        "f47e071fc50d347f2a933112b73fe892e8b8c51215f3c42d671e1238aa0b5c9c"
    );
    assert_eq!(hex::encode(secret), format!("0020{OUR_X}0020{OUR_Y}"));
    EndorsementKey::new(public).unwrap();
    // Not a number below the order of the curve.
    let public = Public::parse(&elliptic(EK_X, EK_Y)).unwrap();
    let error = share(&public, "IDENTITY", &[0xff; 48]).unwrap_err();
    assert_eq!(error, TpmError::Entropy);
    assert_eq!(
        share(&public, "IDENTITY", &[0; 48]).unwrap_err(),
        TpmError::Entropy
    );
}

#[test]
fn a_point_that_is_on_no_curve_gets_nothing() {
    let public = Public::parse(&elliptic(EK_X, &EK_Y.replace("194a", "194b"))).unwrap();
    let key = EndorsementKey::new(public).unwrap();
    let got = make_credential(&key, &key.public().name(), &[1; 32], &[0x22; 48]);
    assert_eq!(got, Err(TpmError::Unsound));
}

#[test]
fn a_secret_has_1_to_32_bytes() {
    let key = EndorsementKey::new(Public::parse(&elliptic(EK_X, EK_Y)).unwrap()).unwrap();
    for (length, good) in [(0, false), (1, true), (32, true), (33, false)] {
        let got = make_credential(&key, &key.public().name(), &vec![1; length], &[0x22; 48]);
        assert_eq!(got.is_ok(), good, "{length}");
    }
}

#[test]
fn the_inner_part_of_an_import_agrees_with_what_a_tpm_has_imported() {
    let (seed_value, key) = ([0; 32], counting::<32>(0));
    let area = public_area(&seed_value, &key);
    assert!(
        hex::encode(&area)
            .ends_with("0020bb2275c49f28ad52cae6d55e34a974a58c7a3ba26f976e8ecbbe7a536918dc73")
    );
    let name = Name::of(Hash::Sha256, &area);
    assert_eq!(
        hex::encode(name.as_bytes()),
        "000b5c3bbb515d3927885688316d0b8644c69802a78e8ec4fda88fce0d3c3d3119c6"
    );
    let sensitive = sensitive(&seed_value, &key);
    let integrity = Hash::Sha256.of(&[&sensitive, name.as_bytes()].concat());
    assert_eq!(
        hex::encode(integrity),
        "0214ccbd142a90e9a1cecddb9691264e924e29207ac26b65b34f01a8bda22d63"
    );
    let wrapped = hex::encode(inner_wrap(&[0; 16], &name, &sensitive).unwrap());
    assert_eq!(wrapped.len(), 2 * 108);
    assert!(
        wrapped.starts_with("66c949c02337381118a55b9707efbdbf"),
        "{wrapped}"
    );
    assert!(wrapped.ends_with("b2e07c"), "{wrapped}");
}

/// An attestation key on P-256, restricted, ECDSA over SHA-256.
fn attestation(attributes: &str) -> Vec<u8> {
    sized(&bytes(&format!(
        "0023000b{attributes}000000100018000b000300100020{EK_X}0020{EK_Y}"
    )))
}

#[test]
fn keys_are_what_their_attributes_let_them_be() {
    let signing = |attributes| Public::parse(&attestation(attributes)).unwrap();
    for (attributes, attests, is_device_key) in [
        ("00050072", true, false),
        ("00040072", false, true),
        ("00050070", false, false),
        ("00050062", false, false),
        ("00050052", false, false),
        ("00070072", false, false),
        ("00010072", false, false),
        ("00040070", false, false),
        ("00040052", false, false),
        ("00000072", false, false),
    ] {
        let public = signing(attributes);
        assert_eq!(public.is_device_key(), is_device_key, "{attributes}");
        assert_eq!(AttestationKey::new(public).is_ok(), attests, "{attributes}");
    }
    let storage = |attributes: &str| {
        let area = format!("0023000b{attributes}00000006008000430010000300100020{EK_X}0020{EK_Y}");
        Public::parse(&sized(&bytes(&area))).unwrap()
    };
    for (attributes, good) in [
        ("00030472", true),
        ("00030470", false),
        ("00030462", false),
        ("00020472", false),
        ("00010472", false),
        ("00070472", false),
    ] {
        assert_eq!(
            StorageKey::new(storage(attributes)).is_ok(),
            good,
            "{attributes}"
        );
    }
    // A parent protects its children by a cipher.
    let bare = signing("00030472");
    assert!(matches!(
        StorageKey::new(bare),
        Err(TpmError::Attributes { .. })
    ));
}

#[test]
fn an_endorsement_key_follows_a_template() {
    let good = hex::encode(elliptic(EK_X, EK_Y));
    let judge = |hex: &str| EndorsementKey::new(Public::parse(&bytes(hex)).unwrap()).map(|_| ());
    assert_eq!(judge(&good), Ok(()));
    for (from, to) in [
        // Attributes, policy, cipher.
        ("000300f2", "000300f0"),
        ("000300f2", "000700f2"),
        ("000300f2", "000300b2"),
        ("ca3d0a99", "ca3d0a98"),
        ("000600800043", "000601000043"),
    ] {
        let changed = good.replacen(from, to, 1);
        assert_ne!(changed, good);
        assert_eq!(judge(&changed), Err(TpmError::Template), "{from} {to}");
    }
}

#[test]
fn areas_that_no_sound_tpm_writes_are_refused() {
    let good = hex::encode(elliptic(EK_X, EK_Y));
    let unsupported = |what| TpmError::Unsupported { what };
    let long = |what| TpmError::Long { what };
    for (from, to, want) in [
        ("0023000b", "0008000b", unsupported("key type")),
        ("0023000b", "00230004", unsupported("name algorithm")),
        ("0020ca3d", "0041ca3d", long("policy")),
        ("000600800043", "002600800043", unsupported("cipher")),
        ("000600800043", "000600c00043", unsupported("cipher")),
        ("000600800043", "000600800042", unsupported("cipher")),
        ("00430010", "0043001a", unsupported("scheme")),
        ("0010000300100020", "0010000500100020", unsupported("curve")),
        (
            "0010000300100020",
            "0010000300200020",
            unsupported("key derivation"),
        ),
        ("0010000300100020", "0010000300100021", long("coordinate")),
    ] {
        let changed = good.replacen(from, to, 1);
        assert_ne!(changed, good, "{from}");
        assert_eq!(Public::parse(&bytes(&changed)), Err(want), "{from} {to}");
    }
    let area = elliptic(EK_X, EK_Y);
    for length in 0..area.len() {
        assert!(Public::parse(&area[..length]).is_err(), "{length}");
    }
    let behind = [area.as_slice(), &[0]].concat();
    assert!(matches!(
        Public::parse(&behind),
        Err(TpmError::Trailing { .. })
    ));
    let inside = sized(&[&area[2..], &[0]].concat());
    assert!(matches!(
        Public::parse(&inside),
        Err(TpmError::Trailing { .. })
    ));
    assert!(matches!(
        Public::parse(&sized(&[0; 1_023])),
        Err(TpmError::Long { .. })
    ));
    // All zero is no key.
    let zero = "00".repeat(32);
    assert_eq!(
        Public::parse(&elliptic(&zero, &zero)),
        Err(TpmError::Unsound)
    );
}

#[test]
fn a_short_coordinate_is_padded() {
    let short = Public::parse(&elliptic(&EK_X[2..], EK_Y));
    let padded = Public::parse(&elliptic(&format!("00{}", &EK_X[2..]), EK_Y));
    let (short, padded) = (short.unwrap(), padded.unwrap());
    assert_eq!(short.kind(), padded.kind());
    assert_ne!(short.name(), padded.name());
}

proptest! {
    #[test]
    fn no_area_panics(tpm2b in proptest::collection::vec(any::<u8>(), 0..200), at in 0_usize..100, to: u8) {
        let _ = Public::parse(&tpm2b);
        let mut changed = elliptic(EK_X, EK_Y);
        let length = changed.len();
        changed[at % length] = to;
        if let Ok(public) = Public::parse(&changed) {
            prop_assert_eq!(public.tpm2b(), changed);
            let _ = EndorsementKey::new(public);
        }
    }
}
