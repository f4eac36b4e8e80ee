//! What somebody hostile, or an operator at the worst moment, tries on the road.

pub mod between;

use imprint_registrar::enroll::Kind;
use imprint_registrar::ledger::{
    CertificateState, DeviceAct, DeviceState, RevocationReason, TokenAct, TokenState,
};
use imprint_registrar::tokens::TokenOrder;
use imprint_registrar::{
    Code, EnrollmentRequest, Ledger as _, Origin, Registrar, Retry, Shown, Ticks,
};
use imprint_signer::KeySigner;

use crate::support::*;
use between::{Act, Between};

fn quarantine() -> DeviceAct {
    DeviceAct::Quarantine {
        reason: "odd traffic".into(),
    }
}

fn revoke() -> DeviceAct {
    DeviceAct::Revoke {
        reason: RevocationReason::KeyCompromise,
        note: "stolen".into(),
    }
}

async fn act(world: &World, name: &str, act: DeviceAct) {
    let name = name.parse().unwrap();
    let ledger = world.road.ledger();
    ledger
        .device_act(&name, act, "test", world.now())
        .await
        .unwrap();
}

async fn one_token(world: &World) -> (String, String) {
    let order = TokenOrder {
        count: 1,
        ..order()
    };
    world.tokens(order).await.remove(0)
}

/// A road behind which an operator acts, and a token for it.
async fn between() -> (
    Registrar<Between, KeySigner>,
    tempfile::TempDir,
    (String, String),
) {
    let world = World::new().await;
    let token = one_token(&world).await;
    let (road, directory) = world.behind(Between::new);
    (road, directory, token)
}

#[tokio::test]
async fn a_device_that_is_quarantined_while_it_is_heard_is_not_heard() {
    let (road, _directory, (_, token)) = between().await;
    let key = Key::new();
    let request = by_token(&key, "sn-1", &token);
    let enrolled = road.enroll(request, &chance, START).await.unwrap();
    road.ledger()
        .before("verify", Act::Device("thermo-sn-1", quarantine()));
    let shown = peer(&enrolled.certificate);
    let heard = road.member(&shown, &origin(), START).await;
    assert!(road.ledger().is_done());
    assert_eq!(code(heard), Code::DeviceQuarantined);
    let file = road.ledger().device_get("thermo-sn-1").await.unwrap();
    let file = file.unwrap();
    assert_eq!(file.certificates[0].state, CertificateState::Issued);
    assert_eq!(file.token.unwrap().state, TokenState::Leased);
}

#[tokio::test]
async fn a_device_that_is_revoked_while_it_is_heard_is_not_heard() {
    let (road, _directory, (_, token)) = between().await;
    let request = by_token(&Key::new(), "sn-1", &token);
    let enrolled = road.enroll(request, &chance, START).await.unwrap();
    road.ledger()
        .before("verify", Act::Device("thermo-sn-1", revoke()));
    let shown = peer(&enrolled.certificate);
    let word = code(road.member(&shown, &origin(), START).await);
    assert!(matches!(
        word,
        Code::DeviceRevoked | Code::CertificateRevoked
    ));
}

#[tokio::test]
async fn no_act_of_an_operator_between_intend_and_settle_lets_a_certificate_out() {
    let acts: [fn(String) -> Act; 6] = [
        |_| Act::Device("thermo-sn-1", quarantine()),
        |_| Act::Device("thermo-sn-1", revoke()),
        |_| Act::Device("thermo-sn-1", DeviceAct::Release { new_key: true }),
        |_| {
            let reason = "scrapped".into();
            Act::Device("thermo-sn-1", DeviceAct::Decommission { reason })
        },
        |token| Act::Token(token, TokenAct::Revoke),
        |token| Act::Token(token, TokenAct::Rebind { hardware: None }),
    ];
    for (number, act) in acts.into_iter().enumerate() {
        let (road, _directory, (id, token)) = between().await;
        road.ledger().before("settle", act(id));
        let request = by_token(&Key::new(), "sn-1", &token);
        let outcome = road.enroll(request, &chance, START).await;
        assert!(road.ledger().is_done());
        assert_eq!(code(outcome), Code::EnrollmentVoid, "act {number}");
        let file = road.ledger().device_get("thermo-sn-1").await.unwrap();
        for certificate in file.unwrap().certificates {
            assert_eq!(certificate.state, CertificateState::Void, "act {number}");
        }
    }
}

#[tokio::test]
async fn no_act_of_an_operator_between_facts_and_intend_is_overrun() {
    for (number, act) in [quarantine(), revoke()].into_iter().enumerate() {
        let (road, _directory, (_, token)) = between().await;
        let key = Key::new();
        let enrolled = road
            .enroll(by_token(&key, "sn-1", &token), &chance, START)
            .await
            .unwrap();
        road.member(&peer(&enrolled.certificate), &origin(), START)
            .await
            .unwrap();
        let renewal = EnrollmentRequest {
            kind: Kind::Reenroll,
            shown: Shown::Certificate(peer(&enrolled.certificate)),
            csr: key.csr(&name_in(&enrolled.certificate), None),
            ..by_token(&key, "", "")
        };
        road.ledger()
            .before("intend", Act::Device("thermo-sn-1", act));
        let word = code(road.enroll(renewal, &chance, START).await);
        assert!(
            matches!(word, Code::DeviceQuarantined | Code::DeviceRevoked),
            "act {number}: {word}"
        );
        let file = road.ledger().device_get("thermo-sn-1").await.unwrap();
        assert_eq!(file.unwrap().certificates.len(), 1, "act {number}");
    }
}

#[tokio::test]
async fn a_token_that_waits_for_one_device_says_so_to_its_own_key_in_another_name() {
    let world = World::with(|product| product.approval = true).await;
    let (key, token) = (Key::new(), world.token().await);
    assert_eq!(
        code(world.enroll(&key, "sn-1", &token).await),
        Code::ApprovalPending
    );
    assert_eq!(
        code(world.enroll(&key, "sn-2", &token).await),
        Code::TokenLeased,
        "not a passing cause: asking again never helps"
    );
    assert_eq!(
        code(world.enroll(&key, "sn-1", &token).await),
        Code::ApprovalPending
    );
}

#[tokio::test]
async fn a_token_that_made_a_key_for_one_device_makes_none_for_another() {
    let world = World::with(|product| product.server_keygen = true).await;
    let (key, token) = (Key::new(), world.token().await);
    let ask = |hardware: &str| EnrollmentRequest {
        kind: Kind::ServerKey,
        ..by_token(&key, hardware, &token)
    };
    let first = world.ask(ask("sn-1")).await.unwrap();
    assert_eq!(code(world.ask(ask("sn-2")).await), Code::TokenLeased);
    world.verify(&first.certificate).await.unwrap();
    assert_eq!(code(world.ask(ask("sn-2")).await), Code::TokenSpent);
}

#[tokio::test]
async fn the_old_keys_unused_renewal_ends_with_the_old_key() {
    let world = World::new().await;
    let (_, old) = world.provisioned("sn-1").await;
    let token = world.token_for("sn-1").await;
    let new = world.enroll(&Key::new(), "sn-1", &token).await.unwrap();
    let renewed = world.renew(&Key::new(), &old).await.unwrap();
    world.verify(&new.certificate).await.unwrap();
    assert_eq!(code(world.verify(&old).await), Code::CertificateSuperseded);
    assert_eq!(
        code(world.verify(&renewed.certificate).await),
        Code::CertificateSuperseded,
        "whoever lost the device may not take it back"
    );
    world.verify(&new.certificate).await.unwrap();
}

#[tokio::test]
async fn an_intent_that_was_never_signed_in_its_time_is_written_down_anew() {
    let world = World::with(|product| product.certificate.lifetime_days = 1).await;
    let (key, token) = (Key::new(), world.token().await);
    let (id, now) = ("thermo-sn-1", world.now());
    let (road, directory) = world.behind(Between::new);
    // The road dies between intend and settle: a revoked token voids, so cut the future instead.
    let request = by_token(&key, "sn-1", &token);
    drop_before_settle(&road, request.clone()).await;
    let file = road.ledger().device_get(id).await.unwrap().unwrap();
    assert_eq!(file.certificates[0].state, CertificateState::Intended);
    let later = now.plus(3 * 86_400);
    let enrolled = road.enroll(request, &chance, later).await.unwrap();
    let shown = peer(&enrolled.certificate);
    assert!(shown.parsed.as_ref().unwrap().not_after() > later);
    road.member(&shown, &origin(), later).await.unwrap();
    drop(directory);
}

/// Polls an enrollment until its intent is on record, then drops it: a crash.
async fn drop_before_settle(road: &Registrar<Between, KeySigner>, request: EnrollmentRequest) {
    road.ledger().hang_before("settle");
    let walk = road.enroll(request, &chance, START);
    let waited = tokio::time::timeout(std::time::Duration::from_millis(500), walk).await;
    assert!(waited.is_err(), "it was to die before it settles");
    road.ledger().go_on();
}

#[tokio::test]
async fn a_token_typed_where_the_hardware_id_belongs_is_written_down_nowhere() {
    let world = World::new().await;
    let token = world.token().await;
    let key = Key::new();
    let swapped = world.enroll(&key, &token, "sn-1").await;
    let refusal = swapped.map(|_| ()).unwrap_err();
    let told = format!("{refusal:?} {refusal}").to_lowercase();
    let secret = token.to_lowercase();
    assert!(!told.contains(&secret), "{told}");
    // The same for a right token behind it.
    let second = world.token().await;
    let _ = world.enroll(&key, &token, &second).await;
    world.road.housekeep(world.now()).await.unwrap();
    let rows = world.road.ledger().journal_read(0, 10_000).await.unwrap();
    for row in rows {
        let told = format!("{} {}", row.subject, row.detail).to_lowercase();
        assert!(!told.contains(&secret), "{told}");
    }
    let name = format!("thermo-{secret}");
    let device = world.road.ledger().device_get(&name).await.unwrap();
    assert!(device.is_none());
}

fn from(address: &str, key: &Key, hardware: &str, token: &str) -> EnrollmentRequest {
    EnrollmentRequest {
        origin: Origin {
            at: Ticks::default(),
            door: "est",
            address: address.to_owned(),
        },
        ..by_token(key, hardware, token)
    }
}

fn wrong(number: u32) -> String {
    let mut entropy = [0xa5; 16];
    entropy[..4].copy_from_slice(&number.to_be_bytes());
    imprint_attest::Token::from_entropy(entropy).text()
}

#[tokio::test]
async fn a_stranger_behind_the_factorys_address_does_not_stop_the_line() {
    let world = World::new().await;
    let key = Key::new();
    for number in 0..200 {
        let id = format!("guess-{number}");
        let _ = world.ask(from("10.0.0.1", &key, &id, &wrong(number))).await;
    }
    let token = world.token().await;
    world
        .ask(from("10.0.0.1", &Key::new(), "sn-1", &token))
        .await
        .expect("a good token is no guess");
}

#[tokio::test]
async fn strangers_everywhere_do_not_lock_a_device_out_by_its_name() {
    let world = World::new().await;
    let key = Key::new();
    for number in 0..1_100_u32 {
        let address = format!("10.0.{}.{}", number / 200, number % 200);
        let _ = world
            .ask(from(&address, &key, "sn-1", &wrong(number)))
            .await;
    }
    let token = world.token_for("sn-1").await;
    world
        .enroll(&Key::new(), "sn-1", &token)
        .await
        .expect("the real device has the real token");
}

#[tokio::test]
async fn a_stranger_with_a_whole_ipv6_network_is_one_stranger() {
    let world = World::new().await;
    let key = Key::new();
    let mut words = Vec::new();
    for number in 0..120_u32 {
        let address = format!("2001:db8:1:2::{number:x}");
        let id = format!("guess-{number}");
        words.push(code(
            world.ask(from(&address, &key, &id, &wrong(number))).await,
        ));
    }
    assert_eq!(words[99], Code::TokenUnknown);
    assert_eq!(words[100], Code::GuessingLimited);
    let elsewhere = from("2001:db8:1:3::1", &key, "guess", &wrong(999));
    assert_eq!(code(world.ask(elsewhere).await), Code::TokenUnknown);
}

#[tokio::test]
async fn one_stranger_who_asks_all_day_writes_few_rows() {
    let world = World::new().await;
    let key = Key::new();
    for number in 0..120 {
        let guess = from("10.0.0.1", &key, &format!("guess-{number}"), &wrong(number));
        let _ = world.ask(guess).await;
        let nothing = EnrollmentRequest {
            shown: Shown::Nothing,
            ..by_token(&key, "", "")
        };
        let _ = world.ask(nothing).await;
        world.road.housekeep(world.now()).await.unwrap();
        world.pass(1);
    }
    let rows = world.road.ledger().journal_read(0, 100_000).await.unwrap();
    let rows = rows.iter().filter(|row| row.kind == "refusal").count();
    assert!(rows < 150, "{rows} rows in two minutes");
}

#[tokio::test]
async fn an_approval_is_for_one_key_and_ends_with_what_it_was_given_for() {
    let world = World::with(|product| product.approval = true).await;
    let (right, stranger) = (Key::new(), Key::new());
    let (token, other) = (world.token().await, world.token().await);
    assert_eq!(
        code(world.enroll(&right, "sn-1", &token).await),
        Code::ApprovalPending
    );
    let approve = DeviceAct::Approve {
        key: Some(right.fingerprint()),
        until: world.now().plus(7 * 86_400),
    };
    act(&world, "thermo-sn-1", approve).await;
    assert_eq!(
        code(world.enroll(&stranger, "sn-1", &other).await),
        Code::ApprovalPending
    );
    world.enroll(&right, "sn-1", &token).await.unwrap();
}

#[tokio::test]
async fn what_was_approved_before_a_quarantine_has_to_be_approved_again() {
    let world = World::with(|product| product.approval = true).await;
    let (key, token) = (Key::new(), world.token().await);
    let _ = world.enroll(&key, "sn-1", &token).await;
    let approve = DeviceAct::Approve {
        key: None,
        until: world.now().plus(7 * 86_400),
    };
    act(&world, "thermo-sn-1", approve).await;
    act(&world, "thermo-sn-1", quarantine()).await;
    act(&world, "thermo-sn-1", DeviceAct::Release { new_key: true }).await;
    assert_eq!(
        code(world.enroll(&key, "sn-1", &token).await),
        Code::ApprovalPending
    );
}

#[tokio::test]
async fn a_slow_publisher_never_takes_a_revocation_off_the_list() {
    let world = World::new().await;
    world.provisioned("sn-1").await;
    let ledger = world.road.ledger();
    let first = world.road.crl_renew(START, false).await.unwrap().remove(0);
    // One publisher has read the facts; then somebody revokes, and another one is faster.
    let slow = ledger.crl_facts("issuing", START).await.unwrap();
    act(&world, "thermo-sn-1", revoke()).await;
    let fast = world.road.crl_renew(START, false).await.unwrap().remove(0);
    assert!(fast.through > slow.through && fast.number > first.number);
    let late = imprint_registrar::ledger::CrlRecord {
        number: fast.number + 1,
        through: slow.through,
        ..first
    };
    assert!(!ledger.crl_publish(late, START).await.unwrap());
    let facts = ledger.crl_facts("issuing", START).await.unwrap();
    assert_eq!(facts.current.unwrap(), fast);
}

#[tokio::test]
async fn a_pending_device_that_shows_its_revoked_certificate_is_told_about_the_certificate() {
    let world = World::new().await;
    let token = world.token().await;
    let enrolled = world.enroll(&Key::new(), "sn-1", &token).await.unwrap();
    act(&world, "thermo-sn-1", DeviceAct::Release { new_key: true }).await;
    assert_eq!(
        world.device("thermo-sn-1").await.device.state,
        DeviceState::Pending
    );
    let refusal = world.verify(&enrolled.certificate).await;
    let refusal = refusal.map(|_| ()).unwrap_err();
    assert_eq!(refusal.code, Code::CertificateRevoked);
    assert_eq!(refusal.retry, Retry::Never);
}

#[tokio::test]
async fn one_device_that_renews_all_day_does_not_fill_the_revocation_list() {
    let world = World::new().await;
    let (_, certificate) = world.provisioned("sn-1").await;
    let (other, others) = world.provisioned("sn-2").await;
    let key = Key::new();
    let kept = world.renew(&key, &certificate).await.unwrap();
    let mut refused = None;
    for _ in 0..40 {
        if let Err(refusal) = world.renew(&Key::new(), &certificate).await {
            refused = Some(refusal);
        }
    }
    let refused = refused.expect("forty keys in a second are no device's");
    assert_eq!(refused.code, Code::Busy);
    assert!(matches!(refused.retry, Retry::After(1..=3_600)));
    let facts = world.road.ledger().crl_facts("issuing", world.now()).await;
    assert!(facts.unwrap().revoked.len() < 30);
    world.renew(&other, &others).await.unwrap();
    // What has been answered is answered still.
    assert_eq!(
        code(world.renew(&key, &certificate).await),
        Code::CertificateSuperseded
    );
    assert!(kept.certificate != certificate);
    world.pass(3_600);
    world.renew(&Key::new(), &certificate).await.unwrap();
}
