//! What a product wants of newcomers.

use imprint_identity::HardwareId;
use imprint_registrar::devices::OperatorError;
use imprint_registrar::product::KeyKind;
use imprint_registrar::tokens::TokenOrder;
use imprint_registrar::{Code, Door, EnrollmentRequest, Ledger as _, Product, Shown};

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
    let other = Product::named("valve");
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

fn by_operator(key: &Key, hardware: &str) -> EnrollmentRequest {
    EnrollmentRequest {
        product: Some("thermo".to_owned()),
        shown: Shown::Operator {
            hardware: HardwareId::parse(hardware).unwrap(),
        },
        channel: imprint_registrar::enroll::Channel::Operator,
        ..by_token(key, "", "")
    }
}

#[tokio::test]
async fn a_closed_door_is_closed_to_newcomers_and_to_nobody_who_is_in() {
    let world = World::new().await;
    let (key, certificate) = world.provisioned("sn-1").await;
    let (second, second_token) = (Key::new(), world.token().await);
    let lost = world.enroll(&second, "sn-2", &second_token).await.unwrap();
    world
        .apply(Product {
            doors: Some(vec![Door::Claim]),
            ..Product::named("thermo")
        })
        .await;
    // A newcomer is told, may come again, and keeps its token.
    let (third, token) = (Key::new(), world.token().await);
    let refusal = world.enroll(&third, "sn-3", &token).await.map(|_| ());
    let refusal = refusal.unwrap_err();
    assert_eq!(refusal.code, Code::DoorClosed);
    assert!(matches!(refusal.retry, imprint_registrar::Retry::After(_)));
    let detail = refusal.detail.unwrap();
    assert!(
        detail.contains("came by est") && detail.contains("thermo: claim"),
        "{detail}"
    );
    // The reply that was lost is given again; who is in verifies and renews.
    let again = world.enroll(&second, "sn-2", &second_token).await.unwrap();
    assert_eq!(again.certificate, lost.certificate);
    world.verify(&lost.certificate).await.unwrap();
    world.verify(&certificate).await.unwrap();
    let renewed = world.renew(&key, &certificate).await.unwrap();
    world.verify(&renewed.certificate).await.unwrap();
    // An operator who asks is no device at a door.
    world.ask(by_operator(&Key::new(), "sn-4")).await.unwrap();
    // A door that nobody knows is no open one.
    let mut request = by_token(&third, "sn-3", &token);
    request.origin.door = "a-new-door";
    assert_eq!(code(world.ask(request).await), Code::DoorClosed);

    world.apply(Product::named("thermo")).await;
    world.enroll(&third, "sn-3", &token).await.unwrap();
}

#[tokio::test]
async fn hardware_that_does_not_look_like_the_products_is_refused_for_whoever_asks() {
    let pattern = |product: &mut Product| product.serial_pattern = Some("SN-[0-9]{3}".into());
    let world = World::with(pattern).await;
    let (key, token) = (Key::new(), world.token().await);
    for hardware in ["SN-12", "SN-1234", "sn-123", "mac:2462abcdef01"] {
        let outcome = world.enroll(&key, hardware, &token).await;
        assert_eq!(code(outcome), Code::HardwareUnfit, "{hardware}");
    }
    world.enroll(&key, "SN-123", &token).await.unwrap();
    let other = Key::new();
    let outcome = world.ask(by_operator(&other, "SN-12")).await;
    assert_eq!(code(outcome), Code::HardwareUnfit);
    world.ask(by_operator(&other, "SN-124")).await.unwrap();
    // No token is minted for what could not use it.
    let order = TokenOrder {
        hardware: vec![HardwareId::parse("SN-12").unwrap()],
        ..order()
    };
    let minted = world.road.token_new(order, "test", &chance, START).await;
    assert!(matches!(minted, Err(OperatorError::HardwareUnfit { .. })));
    // A pattern that came later takes nothing back.
    world
        .apply(Product {
            serial_pattern: Some("X".into()),
            ..Product::named("thermo")
        })
        .await;
    world.enroll(&key, "SN-123", &token).await.unwrap();
}

#[tokio::test]
async fn a_token_from_a_shelf_is_heard_as_long_as_its_products_grace_and_the_journal_says_so() {
    const DAY: i64 = 86_400;
    let world = World::with(|product| product.bootstrap_grace_days = 2).await;
    let order = |count| TokenOrder {
        count,
        expires_in_seconds: Some(DAY),
        ..order()
    };
    let tokens = world.tokens(order(4)).await;
    let grace = async |device: &str| {
        let rows = world.journal("enrollment-intended", device).await;
        assert_eq!(rows.len(), 1, "{rows:?}");
        rows[0]["grace"].clone()
    };
    world.pass(DAY);
    world
        .enroll(&Key::new(), "sn-1", &tokens[0].1)
        .await
        .unwrap();
    assert_eq!(grace("thermo-sn-1").await, serde_json::Value::Null);
    world.pass(2 * DAY);
    let key = Key::new();
    world.enroll(&key, "sn-2", &tokens[1].1).await.unwrap();
    assert_eq!(grace("thermo-sn-2").await, START.plus(DAY).to_string());
    world.pass(1);
    let outcome = world.enroll(&Key::new(), "sn-3", &tokens[2].1).await;
    assert_eq!(code(outcome), Code::TokenExpired);
    // What began in time ends when it ends.
    world.enroll(&key, "sn-2", &tokens[1].1).await.unwrap();
    world.apply(Product::named("thermo")).await;
    world.pass(-DAY);
    let outcome = world.enroll(&Key::new(), "sn-4", &tokens[3].1).await;
    assert_eq!(
        code(outcome),
        Code::TokenExpired,
        "without a grace there is none"
    );
}

#[tokio::test]
async fn a_product_is_signed_for_by_its_own_authority_and_a_renewal_too() {
    let second = |product: &mut Product| product.ca = Some("second".into());
    let world = World::signed_by(&["issuing", "second"], second).await;
    let (key, certificate) = world.provisioned("sn-1").await;
    let issuer = |der: &[u8]| {
        let certificate = imprint_pkix::certificate::Certificate::parse(der).unwrap();
        imprint_pkix::dn::common_name(certificate.issuer_der()).unwrap()
    };
    assert_eq!(issuer(&certificate), "Test second");
    let renewed = world.renew(&key, &certificate).await.unwrap();
    assert_eq!(issuer(&renewed.certificate), "Test second");
    world.verify(&renewed.certificate).await.unwrap();
    // Moved back: devices of both authorities are members.
    world.apply(Product::named("thermo")).await;
    let (_, other) = world.provisioned("sn-2").await;
    assert_eq!(issuer(&other), "Test Issuing");
    world.verify(&renewed.certificate).await.unwrap();
    let again = world.renew(&key, &renewed.certificate).await.unwrap();
    assert_eq!(issuer(&again.certificate), "Test Issuing");
    // An authority that is not loaded signs nothing, and nobody else signs in its place.
    world
        .apply(Product {
            ca: Some("gone".into()),
            ..Product::named("thermo")
        })
        .await;
    let token = world.token().await;
    let outcome = world.enroll(&Key::new(), "sn-3", &token).await;
    assert_eq!(code(outcome), Code::SignerUnavailable);
}

#[tokio::test]
async fn a_key_whose_factors_are_neighbours_is_nobodys() {
    let world = World::new().await;
    let request = EnrollmentRequest {
        csr: neighbours_csr(),
        ..by_token(&Key::new(), "sn-1", &world.token().await)
    };
    assert_eq!(code(world.ask(request).await), Code::KeyUnsound);
}
