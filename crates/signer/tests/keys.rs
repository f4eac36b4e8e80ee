//! Key directories as an operator meets them: made, opened, mistreated.
#![expect(clippy::unwrap_used, reason = "a test's helpers fail like the test")]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use aws_lc_rs::encoding::AsBigEndian;
use aws_lc_rs::signature::{
    self, ECDSA_P256_SHA256_ASN1, ECDSA_P384_SHA384_ASN1, EcdsaKeyPair, KeyPair, ParsedPublicKey,
};
use imprint_pkix::SignatureAlgorithm;
use imprint_registrar::{Signer, SignerError};
use imprint_signer::{KeyAlgorithm, KeyDirectory, KeyError, KeySigner, Seal};
use tempfile::TempDir;

fn made(test: bool) -> TempDir {
    let home = tempfile::tempdir().unwrap();
    let keys = KeyDirectory::init(&home.path().join("keys"), &Seal::File, test).unwrap();
    keys.create("issuing", KeyAlgorithm::P256).unwrap();
    keys.create("root", KeyAlgorithm::P384).unwrap();
    home
}

fn open(home: &TempDir) -> Result<KeySigner, KeyError> {
    KeySigner::open(&home.path().join("keys"), &Seal::File, false)
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

#[tokio::test]
async fn signatures_verify_under_the_published_key_and_no_other() {
    let home = made(false);
    let signer = open(&home).unwrap();
    assert_eq!(signer.names().collect::<Vec<_>>(), ["issuing", "root"]);
    for (name, verify, algorithm) in [
        (
            "issuing",
            &ECDSA_P256_SHA256_ASN1,
            SignatureAlgorithm::EcdsaSha256,
        ),
        (
            "root",
            &ECDSA_P384_SHA384_ASN1,
            SignatureAlgorithm::EcdsaSha384,
        ),
    ] {
        assert_eq!(signer.signature_algorithm(name), Some(algorithm));
        let signed = signer.sign(name, b"to be signed").await.unwrap();
        let key = ParsedPublicKey::new(verify, signer.public_key(name).unwrap()).unwrap();
        key.verify_sig(b"to be signed", &signed).unwrap();
        key.verify_sig(b"to be signeD", &signed).unwrap_err();
    }
}

#[tokio::test]
async fn keys_survive_a_restart_and_tokens_keep_their_hash() {
    let home = made(false);
    let (one, two) = (open(&home).unwrap(), open(&home).unwrap());
    assert_eq!(one.public_key("issuing"), two.public_key("issuing"));
    let mac = one.token_mac(b"token").await.unwrap();
    assert_eq!(mac, two.token_mac(b"token").await.unwrap());
    assert_ne!(mac, one.token_mac(b"tokem").await.unwrap());
    let other = open(&made(false)).unwrap();
    assert_ne!(
        mac,
        other.token_mac(b"token").await.unwrap(),
        "each directory has its own key"
    );
}

#[tokio::test]
async fn a_sealed_secret_opens_after_a_restart_in_its_own_context_alone() {
    let home = made(false);
    let sealed = open(&home)
        .unwrap()
        .seal(b"device a", b"private")
        .await
        .unwrap();
    assert!(!sealed.windows(7).any(|part| part == b"private"));
    let signer = open(&home).unwrap();
    assert_eq!(
        signer
            .unseal(b"device a", &sealed)
            .await
            .unwrap()
            .as_slice(),
        b"private"
    );
    let refused = signer.unseal(b"device b", &sealed).await;
    assert!(matches!(refused, Err(SignerError::Sealed)));
    assert!(matches!(
        signer.unseal(b"device a", b"short").await,
        Err(SignerError::Sealed)
    ));
}

#[tokio::test]
async fn a_device_key_is_a_pair_that_works() {
    let signer = open(&made(false)).unwrap();
    let (private, public) = signer.device_key().await.unwrap();
    let algorithm = &signature::ECDSA_P256_SHA256_ASN1_SIGNING;
    let pair = EcdsaKeyPair::from_pkcs8(algorithm, &private).unwrap();
    let signed = pair
        .sign(&aws_lc_rs::rand::SystemRandom::new(), b"m")
        .unwrap();
    let parsed = ParsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, &public).unwrap();
    parsed.verify_sig(b"m", signed.as_ref()).unwrap();
    assert_ne!(signer.device_key().await.unwrap().1, public);
    let _: aws_lc_rs::encoding::EcPrivateKeyBin<'_> = pair.private_key().as_be_bytes().unwrap();
    assert!(!pair.public_key().as_ref().is_empty());
}

#[tokio::test]
async fn a_key_that_is_not_there_is_named() {
    let signer = open(&made(false)).unwrap();
    for name in ["nobody", "token", "seal", "", "../issuing"] {
        let refused = signer.sign(name, b"m").await;
        assert!(matches!(refused, Err(SignerError::NoKey { name: n }) if n == name));
    }
}

#[test]
fn everything_in_a_new_directory_is_for_its_owner_alone() {
    let home = made(false);
    let dir = home.path().join("keys");
    assert_eq!(mode(&dir), 0o700);
    let mut files = 0;
    for entry in fs::read_dir(&dir).unwrap() {
        let path = entry.unwrap().path();
        assert_eq!(mode(&path), 0o600, "{}", path.display());
        assert!(
            !path.to_string_lossy().ends_with(".new"),
            "{}",
            path.display()
        );
        files += 1;
    }
    assert_eq!(files, 4);
}

#[test]
fn a_file_or_directory_that_others_may_read_is_refused_by_name() {
    for (name, bad) in [
        ("seal.key", 0o640),
        ("token.key", 0o604),
        ("issuing.key", 0o644),
        ("root.key", 0o620),
        ("", 0o750),
    ] {
        let home = made(false);
        let path = home.path().join("keys").join(name);
        set_mode(&path, bad);
        match open(&home) {
            Err(KeyError::Open {
                path: named, mode, ..
            }) => {
                assert_eq!(
                    (named.components().eq(path.components()), mode),
                    (true, bad)
                );
            }
            Err(other) => panic!("{name}: {other}"),
            Ok(_) => panic!("{name} with mode {bad:o} was opened"),
        }
    }
}

#[test]
fn a_key_made_for_tests_is_refused_unless_it_is_asked_for() {
    let home = made(true);
    let refused = open(&home).err().unwrap();
    assert!(matches!(&refused, KeyError::TestKey { .. }), "{refused}");
    assert!(refused.to_string().contains("made for tests"));
    KeySigner::open(&home.path().join("keys"), &Seal::File, true).unwrap();
}

#[test]
fn a_key_added_to_a_test_directory_is_a_test_key_and_can_not_move_out() {
    let (bench, fleet) = (made(true), made(false));
    let (bench_dir, fleet_dir) = (bench.path().join("keys"), fleet.path().join("keys"));
    let keys = KeyDirectory::at(&bench_dir, &Seal::File).unwrap();
    keys.create("second", KeyAlgorithm::P256).unwrap();
    // Even under the same seal: only the token key is real, the second key is not.
    fs::copy(bench_dir.join("seal.key"), fleet_dir.join("seal.key")).unwrap();
    for name in ["issuing.key", "root.key", "token.key"] {
        fs::remove_file(fleet_dir.join(name)).unwrap();
    }
    fs::copy(bench_dir.join("second.key"), fleet_dir.join("second.key")).unwrap();
    let real = KeyDirectory::init(&fleet.path().join("real"), &seal_of(&bench_dir), false).unwrap();
    drop(real);
    fs::copy(
        fleet.path().join("real/token.key"),
        fleet_dir.join("token.key"),
    )
    .unwrap();
    let refused = open(&fleet).err().unwrap();
    assert!(matches!(&refused, KeyError::TestKey { path } if path.ends_with("second.key")));
}

fn seal_of(dir: &Path) -> Seal {
    let bytes: [u8; 32] = fs::read(dir.join("seal.key")).unwrap().try_into().unwrap();
    Seal::Given(zeroize::Zeroizing::new(bytes))
}

#[test]
fn a_seal_that_is_handed_in_is_never_written_down() {
    let home = tempfile::tempdir().unwrap();
    let dir = home.path().join("keys");
    let seal = Seal::from_hex(&"5a".repeat(32)).unwrap();
    KeyDirectory::init(&dir, &seal, false)
        .unwrap()
        .create("ca", KeyAlgorithm::P256)
        .unwrap();
    assert!(!dir.join("seal.key").exists());
    KeySigner::open(&dir, &seal, false).unwrap();
    let wrong = Seal::from_hex(&"5b".repeat(32)).unwrap();
    let refused = KeySigner::open(&dir, &wrong, false).err().unwrap();
    assert!(matches!(refused, KeyError::Sealed { .. }), "{refused}");
    let missing = KeySigner::open(&dir, &Seal::File, false).err().unwrap();
    assert!(matches!(&missing, KeyError::Io { path, .. } if path.ends_with("seal.key")));
}

#[test]
fn a_renamed_swapped_cut_or_altered_key_does_not_open() {
    type Harm = fn(&Path);
    let harms: [(&str, Harm); 6] = [
        ("renamed", |dir| {
            fs::rename(dir.join("root.key"), dir.join("other.key")).unwrap();
        }),
        ("swapped", |dir| {
            fs::copy(dir.join("root.key"), dir.join("issuing.key")).unwrap();
        }),
        ("emptied", |dir| {
            fs::write(dir.join("issuing.key"), "").unwrap();
        }),
        ("not text", |dir| {
            fs::write(dir.join("issuing.key"), [0xff; 300]).unwrap();
        }),
        ("cut", |dir| {
            let text = fs::read(dir.join("issuing.key")).unwrap();
            fs::write(dir.join("issuing.key"), &text[..text.len() / 2]).unwrap();
        }),
        ("altered", |dir| {
            let text = fs::read_to_string(dir.join("issuing.key")).unwrap();
            let at = text.find('\n').unwrap() + 9;
            let other = if &text[at..=at] == "A" { "B" } else { "A" };
            let text = format!("{}{other}{}", &text[..at], &text[at + 1..]);
            fs::write(dir.join("issuing.key"), text).unwrap();
        }),
    ];
    for (what, harm) in harms {
        let home = made(false);
        harm(&home.path().join("keys"));
        let refused = open(&home)
            .err()
            .unwrap_or_else(|| panic!("{what}: it was opened"));
        assert!(
            matches!(refused, KeyError::Sealed { .. } | KeyError::NotAKey { .. }),
            "{what}: {refused}"
        );
    }
}

#[test]
fn nothing_is_ever_overwritten() {
    let home = made(false);
    let dir = home.path().join("keys");
    let before = fs::read(dir.join("issuing.key")).unwrap();
    let again = KeyDirectory::init(&dir, &Seal::File, false).err().unwrap();
    assert!(matches!(again, KeyError::Exists { .. }), "{again}");
    let keys = KeyDirectory::at(&dir, &Seal::File).unwrap();
    let again = keys.create("issuing", KeyAlgorithm::P256).unwrap_err();
    assert!(matches!(again, KeyError::Exists { .. }), "{again}");
    assert_eq!(fs::read(dir.join("issuing.key")).unwrap(), before);
}

#[test]
fn what_a_cut_run_left_behind_is_no_obstacle_and_no_key() {
    let home = made(false);
    let dir = home.path().join("keys");
    fs::write(dir.join("second.key.new"), "half a ke").unwrap();
    let keys = KeyDirectory::at(&dir, &Seal::File).unwrap();
    keys.create("second", KeyAlgorithm::P256).unwrap();
    assert_eq!(open(&home).unwrap().names().count(), 3);
}

#[test]
fn a_name_that_leaves_the_directory_or_is_taken_is_refused() {
    let home = made(false);
    let keys = KeyDirectory::at(&home.path().join("keys"), &Seal::File).unwrap();
    let long = "a".repeat(65);
    for name in ["", "../x", "a/b", "A", "a.b", "seal", "token", "a\0", &long] {
        let refused = keys.create(name, KeyAlgorithm::P256).unwrap_err();
        assert!(
            matches!(refused, KeyError::Name { .. }),
            "{name:?}: {refused}"
        );
    }
}
