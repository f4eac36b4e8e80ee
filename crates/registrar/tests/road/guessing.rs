//! Guessing is slowed down where it happens, and nobody else.

use imprint_registrar::{Code, EnrollmentRequest, Retry, Shown};

use crate::support::*;

#[tokio::test]
async fn ten_wrong_tokens_for_one_id_are_enough_for_a_minute() {
    let world = World::new().await;
    let key = Key::new();
    let right = world.token().await;
    for at in 0..10 {
        let wrong = imprint_attest::Token::from_entropy([at; 16]).text();
        assert_eq!(
            code(world.enroll(&key, "sn-1", &wrong).await),
            Code::TokenUnknown
        );
    }
    let eleventh = imprint_attest::Token::from_entropy([99; 16]).text();
    let refusal = world
        .enroll(&key, "sn-1", &eleventh)
        .await
        .map(|_| ())
        .unwrap_err();
    assert_eq!(refusal.code, Code::GuessingLimited);
    assert!(matches!(refusal.retry, Retry::After(1..=60)), "it passes");

    world
        .enroll(&key, "sn-1", &right)
        .await
        .expect("the real device is not locked out by a stranger, wherever that one is");
    world.pass(61);
    assert_eq!(
        code(world.enroll(&key, "sn-1", &eleventh).await),
        Code::TokenUnknown,
        "a minute later wrong tokens are looked at again"
    );
}

#[tokio::test]
async fn what_was_refused_is_sampled_for_the_operator() {
    let world = World::new().await;
    let wrong = imprint_attest::Token::from_entropy([3; 16]).text();
    for _ in 0..5 {
        let _ = world.enroll(&Key::new(), "sn-7", &wrong).await;
    }
    let nothing = EnrollmentRequest {
        shown: Shown::Nothing,
        ..by_token(&Key::new(), "", &wrong)
    };
    let _ = world.ask(nothing).await;
    let why = world
        .road
        .why("sn-7", world.now())
        .await
        .unwrap()
        .expect("it was refused");
    assert_eq!(why.code, "token-unknown");
    assert!(why.evidence[0].contains("5 times"), "{:?}", why.evidence);
    assert!(why.evidence[0].contains("127.0.0.1"), "{:?}", why.evidence);
    assert!(world.road.why("sn-8", world.now()).await.unwrap().is_none());
}
