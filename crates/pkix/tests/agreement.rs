//! Damaged requests: whatever we accept, OpenSSL reads as well, and sees the same key in it. The
//! other direction is no promise: we are stricter on purpose.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "tests"
)]

mod common;

use std::collections::BTreeMap;

use common::{Signer, openssl};
use imprint_pkix::csr::{self, Csr};
use imprint_pkix::pem;

/// At most this many damaged requests are shown to OpenSSL: it takes a process each.
const SHOWN: usize = 400;

#[test]
fn openssl_reads_every_damaged_request_that_we_accept() {
    let mut accepted = 0;
    let mut refused_keys = 0;
    let damaged: Vec<_> = requests().iter().flat_map(|der| damage(der)).collect();
    let candidates: Vec<_> = damaged
        .iter()
        .filter_map(|der| Some((der, Csr::parse(der).ok()?)))
        .collect();
    // Spread over all of them, so that each kind of request and of damage has its share.
    let step = candidates.len().div_ceil(SHOWN);
    for (der, read) in candidates.iter().step_by(step) {
        let answer = openssl(
            &["req", "-inform", "DER", "-noout", "-pubkey", "-subject"],
            der,
        );
        if !answer.success && key_is_unusable(read) {
            // A point off its curve: `attest` refuses it when it checks the signature.
            refused_keys += 1;
            continue;
        }
        let text = answer.text();
        assert!(answer.success, "{}\nfor {}", answer.err, hex(der));
        let keys = pem::decode("PUBLIC KEY", &text).expect("OpenSSL printed no key");
        assert_eq!(keys, [read.public_key().spki_der()], "{}", hex(der));
        accepted += 1;
    }
    println!(
        "{} damaged, {} accepted, {accepted} shown to OpenSSL, {refused_keys} with a key off its curve",
        damaged.len(),
        candidates.len()
    );
    assert!(accepted >= 200, "only {accepted} were shown to OpenSSL");
}

#[test]
fn openssl_reads_every_damaged_attribute_that_we_accept() {
    // The attributes alone, every octet to every value: the part where we are tolerant.
    let [_, with_attributes, ..] = &requests()[..] else {
        unreachable!()
    };
    let whole = Csr::parse(with_attributes).unwrap();
    let start =
        find(with_attributes, whole.public_key().spki_der()) + whole.public_key().spki_der().len();
    let end = find(with_attributes, whole.to_be_signed()) + whole.to_be_signed().len();
    let mut by_place = BTreeMap::<usize, Vec<Vec<u8>>>::new();
    for at in start..end {
        for value in 0..=255 {
            let mut der = with_attributes.clone();
            der[at] = value;
            if Csr::parse(&der).is_ok() {
                by_place.entry(at).or_default().push(der);
            }
        }
    }
    // Three at each place: the first, the middle and the last value that we accept.
    for accepted in by_place.values() {
        for der in [
            &accepted[0],
            &accepted[accepted.len() / 2],
            &accepted[accepted.len() - 1],
        ] {
            let answer = openssl(&["req", "-inform", "DER", "-noout", "-pubkey"], der);
            assert!(answer.success, "{}\nfor {}", answer.err, hex(der));
        }
    }
    assert!(by_place.len() > 20, "{} places", by_place.len());
}

/// A P-256 request without attributes, one with every attribute that we know, and one each of the
/// other kinds of key.
fn requests() -> Vec<Vec<u8>> {
    let signers = Signer::every_kind();
    let mut requests: Vec<_> = signers
        .iter()
        .map(|signer| {
            let info = csr::request_info_der("thermo-1", signer.public_key.spki_der(), None);
            csr::assemble(&info, signer.algorithm, &signer.sign(&info))
        })
        .collect();
    requests.insert(1, with_attributes());
    requests
}

/// Made by OpenSSL: challengePassword, unstructuredName, and extensions with names.
fn with_attributes() -> Vec<u8> {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name).to_str().unwrap().to_owned();
    std::fs::write(
        path("cnf"),
        "[req]\ndistinguished_name = dn\nattributes = attributes\nprompt = no\n\
         req_extensions = extensions\n[dn]\nO = Example\nCN = thermo-1\n\
         [attributes]\nchallengePassword = secret1\nunstructuredName = x\n\
         [extensions]\nsubjectAltName = DNS:a.example, otherName:1.3.6.1.5.5.7.8.4;SEQUENCE:hmn\n\
         [hmn]\nt = OID:1.3.6.1.4.1.99999.1\ns = FORMAT:HEX,OCTETSTRING:0123\n",
    )
    .unwrap();
    let (config, key) = (path("cnf"), path("key"));
    let mut arguments = vec![
        "req", "-new", "-config", &config, "-outform", "DER", "-nodes",
    ];
    arguments.extend([
        "-keyout",
        &key,
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:P-256",
    ]);
    openssl(&arguments, &[]).expect_success().out
}

/// Every octet in turn: changed in eight ways, taken away, doubled.
fn damage(der: &[u8]) -> Vec<Vec<u8>> {
    let mut all = Vec::new();
    for at in 0..der.len() {
        for change in [0x01, 0x02, 0x04, 0x08, 0x10, 0x20, 0x40, 0x80] {
            let mut damaged = der.to_vec();
            damaged[at] ^= change;
            all.push(damaged);
        }
        let mut shorter = der.to_vec();
        shorter.remove(at);
        all.push(shorter);
        let mut longer = der.to_vec();
        longer.insert(at, der[at]);
        all.push(longer);
    }
    all
}

/// Does the cryptography library refuse this key too, whatever the signature?
fn key_is_unusable(csr: &Csr) -> bool {
    use aws_lc_rs::signature as aws;
    use imprint_pkix::key::KeyAlgorithm;
    let key = csr.public_key();
    let algorithm: &dyn aws::VerificationAlgorithm = match key.algorithm() {
        KeyAlgorithm::P256 => &aws::ECDSA_P256_SHA256_ASN1,
        KeyAlgorithm::P384 => &aws::ECDSA_P384_SHA384_ASN1,
        KeyAlgorithm::Ed25519 | KeyAlgorithm::Rsa { .. } => return false,
    };
    aws::ParsedPublicKey::new(algorithm, key.key_bits()).is_err()
}

fn find(whole: &[u8], part: &[u8]) -> usize {
    whole
        .windows(part.len())
        .position(|window| window == part)
        .unwrap()
}

fn hex(der: &[u8]) -> String {
    der.iter()
        .fold(String::new(), |text, octet| text + &format!("{octet:02x}"))
}
