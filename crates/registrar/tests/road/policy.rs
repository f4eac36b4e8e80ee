//! What a product wants of newcomers.

use imprint_identity::HardwareId;
use imprint_registrar::product::KeyKind;
use imprint_registrar::{Code, EnrollmentRequest, Ledger as _, Shown};

use crate::support::*;

#[tokio::test]
async fn hardware_that_is_not_on_the_allowlist_is_refused_and_the_token_kept() {
    let world = World::with(|product| product.allowlist = true).await;
    let (key, token) = (Key::new(), world.token().await);
    assert_eq!(
        code(world.enroll(&key, "sn-1", &token).await),
        Code::HardwareNotAllowed
    );
    let allowed = vec![HardwareId::parse("sn-1").unwrap()];
    world
        .road
        .ledger()
        .allow_add("thermo", allowed.clone(), "test", START)
        .await
        .unwrap();
    let enrolled = world.enroll(&key, "sn-1", &token).await.unwrap();
    // Taken off the list later: what was promised is not taken back; revoking is another act.
    world
        .road
        .ledger()
        .allow_remove("thermo", allowed, "test", START)
        .await
        .unwrap();
    let again = world.enroll(&key, "sn-1", &token).await.unwrap();
    assert_eq!(again.certificate, enrolled.certificate);
}

#[tokio::test]
async fn a_typed_id_is_too_weak_where_silicon_is_wanted() {
    let world = World::with(|product| product.minimum_strength = "silicon-id".into()).await;
    let token = world.token().await;
    let hardware = "stm32:0123456789ab0123456789ac";
    assert_eq!(
        code(world.enroll(&Key::new(), hardware, &token).await),
        Code::IdentityTooWeak
    );
}

#[tokio::test]
async fn a_key_type_that_the_product_does_not_take_is_refused() {
    let world = World::with(|product| product.keys = vec![KeyKind::Ed25519]).await;
    let token = world.token().await;
    assert_eq!(
        code(world.enroll(&Key::new(), "sn-1", &token).await),
        Code::KeyNotAccepted
    );
}

#[tokio::test]
async fn an_authoritys_key_is_no_devices() {
    let world = World::new().await;
    let issuing = world
        .road
        .authorities()
        .issuing()
        .certificate
        .spki_der()
        .to_vec();
    let info = imprint_pkix::csr::request_info_der("x", &issuing, None);
    let signature = {
        use imprint_registrar::Signer as _;
        world.road.signer().sign("issuing", &info).await.unwrap()
    };
    let algorithm = imprint_pkix::SignatureAlgorithm::EcdsaSha256;
    let csr = imprint_pkix::csr::assemble(&info, algorithm, &signature);
    let token = world.token().await;
    let request = EnrollmentRequest {
        csr,
        ..by_token(&Key::new(), "sn-1", &token)
    };
    assert_eq!(code(world.ask(request).await), Code::KeyInUse);
}

#[tokio::test]
async fn the_path_and_the_credential_name_the_same_product() {
    let world = World::new().await;
    let other = imprint_registrar::Product::named("valve");
    world
        .road
        .ledger()
        .product_apply(vec![other], "test", START)
        .await
        .unwrap();
    let token = world.token().await;
    let key = Key::new();
    for (product, want) in [
        (Some("nothing"), Some(Code::ProductUnknown)),
        (Some("valve"), Some(Code::ProductMismatch)),
        (Some("thermo"), None),
        (None, None),
    ] {
        let product = product.map(str::to_owned);
        let request = EnrollmentRequest {
            product,
            ..by_token(&key, "sn-1", &token)
        };
        assert_eq!(
            world.ask(request).await.err().map(|refusal| refusal.code),
            want
        );
    }
}

#[tokio::test]
async fn bad_input_is_refused_by_what_is_bad_about_it() {
    let world = World::new().await;
    let token = world.token().await;
    let key = Key::new();
    let good = by_token(&key, "sn-1", &token);
    let typed = |text: &str, hardware: &str| Shown::Token {
        text: text.to_owned().into(),
        hardware: Some(hardware.to_owned()),
    };
    let mut mistyped = token.clone();
    let last = mistyped.pop().unwrap();
    mistyped.push(if last == '0' { '1' } else { '0' });
    let unknown = imprint_attest::Token::from_entropy([1; 16]).text();
    for (request, want) in [
        (
            EnrollmentRequest {
                csr: b"x".to_vec(),
                ..good.clone()
            },
            Code::CsrUnreadable,
        ),
        (
            EnrollmentRequest {
                shown: Shown::Nothing,
                ..good.clone()
            },
            Code::CredentialMissing,
        ),
        (
            EnrollmentRequest {
                shown: typed(&mistyped, "sn-1"),
                ..good.clone()
            },
            Code::TokenMistyped,
        ),
        (
            EnrollmentRequest {
                shown: typed("' OR 1=1 --", "sn-1"),
                ..good.clone()
            },
            Code::TokenMistyped,
        ),
        (
            EnrollmentRequest {
                shown: typed(&unknown, "sn-1"),
                ..good.clone()
            },
            Code::TokenUnknown,
        ),
        (
            EnrollmentRequest {
                shown: typed(&token, "sn/1"),
                ..good.clone()
            },
            Code::HardwareInvalid,
        ),
        (
            EnrollmentRequest {
                shown: typed(&token, "esp-mac:ffffffffffff"),
                ..good.clone()
            },
            Code::HardwareInvalid,
        ),
        (
            EnrollmentRequest {
                shown: Shown::Certificate(peer(b"junk")),
                ..good.clone()
            },
            Code::CertificateUnreadable,
        ),
    ] {
        assert_eq!(code(world.ask(request).await), want);
    }
    world
        .ask(good)
        .await
        .expect("nothing of that has changed anything");
}
