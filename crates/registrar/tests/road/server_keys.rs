//! Keys that the server makes: repeatable for the same request key, wiped when used or after an hour.

use imprint_registrar::enroll::Kind;
use imprint_registrar::{Code, EnrollmentRequest};

use crate::support::*;

fn ask(key: &Key, hardware: &str, token: &str) -> EnrollmentRequest {
    EnrollmentRequest {
        kind: Kind::ServerKey,
        ..by_token(key, hardware, token)
    }
}

#[tokio::test]
async fn the_same_request_key_gets_the_same_key_and_certificate_until_it_is_used() {
    let world = World::with(|product| product.server_keygen = true).await;
    let (key, token) = (Key::new(), world.token().await);
    let first = world.ask(ask(&key, "sn-1", &token)).await.unwrap();
    let again = world.ask(ask(&key, "sn-1", &token)).await.unwrap();
    assert_eq!(first.certificate, again.certificate);
    assert_eq!(first.private_key, again.private_key);
    let pair = aws_lc_rs::signature::EcdsaKeyPair::from_pkcs8(
        &aws_lc_rs::signature::ECDSA_P256_SHA256_ASN1_SIGNING,
        first.private_key.as_deref().unwrap(),
    )
    .unwrap();
    let certificate = imprint_pkix::certificate::Certificate::parse(&first.certificate).unwrap();
    let public = aws_lc_rs::signature::KeyPair::public_key(&pair);
    assert_eq!(
        certificate.public_key().unwrap().key_bits(),
        public.as_ref()
    );

    world.verify(&first.certificate).await.unwrap();
    assert_eq!(
        code(world.ask(ask(&key, "sn-1", &token)).await),
        Code::ServerKeyGone
    );
}

#[tokio::test]
async fn a_server_made_key_is_wiped_after_an_hour() {
    let world = World::with(|product| product.server_keygen = true).await;
    let (key, token) = (Key::new(), world.token().await);
    world.ask(ask(&key, "sn-1", &token)).await.unwrap();
    world.pass(3_600 + 60 - START.0 % 60);
    world.road.housekeep(world.now()).await.unwrap();
    assert_eq!(
        code(world.ask(ask(&key, "sn-1", &token)).await),
        Code::ServerKeyGone
    );
}

#[tokio::test]
async fn a_product_makes_no_keys_unless_it_says_so() {
    let world = World::new().await;
    let token = world.token().await;
    assert_eq!(
        code(world.ask(ask(&Key::new(), "sn-1", &token)).await),
        Code::ServerKeygenOff
    );
}
