//! Clocks that lie: a device's, which may say anything, and the server's, which may jump.

use std::sync::atomic::Ordering;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use http::Method;
use imprint_agent::{End, Silent, Status};
use imprint_identity::{DeviceId, UnixTime};
use imprint_registrar::Ledger as _;
use imprint_registrar::ledger::{DeviceAct, RevocationReason};
use imprint_sim::agent::{Clock, Setup};
use imprint_sim::checker::{Outside, Records, Told, check_change};
use imprint_sim::client::{Answer, Client};
use imprint_sim::key::DeviceKey;
use imprint_sim::tap::{Call, Tap};
use imprint_sim::world::{World, real_now};

use crate::hostile::join;
use crate::support::{assert_clean, judge, seconds};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_device_joins_whatever_its_own_clock_says() {
    let started = Instant::now();
    let world = World::new().await;
    let states = tempfile::tempdir().unwrap();
    let clocks = [
        ("none", Clock::None),
        ("1970", Clock::At(UnixTime(0))),
        ("1999-12-31", Clock::At(UnixTime(946_598_400))),
        ("before 1970", Clock::At(UnixTime(-1))),
        ("the right time", Clock::Right),
        ("five years ahead", Clock::At(real_now().plus(5 * YEAR))),
    ];
    let mut outside = Outside::default();
    for (at, (name, clock)) in clocks.into_iter().enumerate() {
        let hardware = format!("custom:CLOCK-{at}");
        let token = world.token().await;
        let setup = Setup::new(&world.place().root_pem(), world.https(), &hardware, &token);
        let setup = Setup {
            clock,
            hurry: 4_000,
            ..setup
        };
        let state = states.path().join(&hardware);
        let joined = tokio::time::timeout(Duration::from_secs(20), join(&setup, &state)).await;
        outside
            .told
            .push(joined.unwrap_or_else(|_| panic!("a clock that says {name}")));
    }
    let (records, findings) = judge(world.place(), &outside);
    println!(
        "S21 device clocks: {} of {} PROVISIONED; {}",
        records
            .devices
            .iter()
            .filter(|device| device.step == "PROVISIONED")
            .count(),
        clocks.len(),
        seconds(started)
    );
    assert_clean("whatever the clock says", &findings);
}

/// By such a clock the server's certificate has expired, and an expired certificate may be a stolen
/// one: the device does not connect. But that is no final answer, and it says what it doubts.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_device_whose_clock_is_past_the_servers_end_waits_and_joins_when_it_is_set() {
    let world = World::new().await;
    let states = tempfile::tempdir().unwrap();
    let moments = [2_147_483_647, 4_294_967_295, UnixTime::NO_EXPIRY.0];
    let mut outside = Outside::default();
    for (at, moment) in moments.into_iter().enumerate() {
        let hardware = format!("custom:FUTURE-{at}");
        let token = world.token().await;
        let setup = Setup::new(&world.place().root_pem(), world.https(), &hardware, &token);
        let future = Setup {
            clock: Clock::At(UnixTime(moment)),
            ..setup.clone()
        };
        let state = states.path().join(&hardware);
        let waiting = tokio::time::timeout(Duration::from_secs(1), join(&future, &state)).await;
        assert!(
            waiting.is_err(),
            "{moment}: it trusts what by its clock has expired"
        );
        let status = Status::read(&state).unwrap();
        assert_eq!(status.quarantine, None, "{moment}");
        let refusal = status.refusal.unwrap();
        println!(
            "a clock at {}: {} {:?}",
            UnixTime(moment),
            refusal.code,
            refusal.text
        );
        assert_ne!(refusal.retry, "never", "{moment}");
        assert!(refusal.text.unwrap().contains("expired"), "{moment}");
        outside.told.push(join(&setup, &state).await);
    }
    let (_, findings) = judge(world.place(), &outside);
    assert_clean("when the clocks are set", &findings);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_whose_clock_jumps_gives_the_same_answers_and_no_final_ones() {
    let started = Instant::now();
    let mut world = World::new().await;
    let client = Client::new(&world.place().root_der());
    let mut outside = Outside::default();
    let mut before = Records::read(&world.place().database());
    let mut jumps = 0;
    let (key, token) = (DeviceKey::new(), world.token().await);
    let first = enroll(&world, &client, &key, "custom:JUMP-0", &token).await;
    let certificate = first.certificate().unwrap();

    for (name, offset, newcomer, verify) in [
        ("an hour back", -3_000, Ok(()), Ok(())),
        (
            "half a day back",
            -43_200,
            Ok(()),
            Err("certificate-not-yet-valid"),
        ),
        (
            "ten years back",
            -10 * YEAR,
            Err("issuer-ending"),
            Err("certificate-not-yet-valid"),
        ),
        ("a day ahead", 86_400, Ok(()), Ok(())),
        ("91 days ahead", 91 * 86_400, Ok(()), Ok(())),
    ] {
        for restart in [false, true] {
            let context = format!("{name}, restarted: {restart}");
            let other_token = {
                world.set_clock(0);
                world.token().await
            };
            world.set_clock(offset);
            if restart {
                world.restart().await;
            }
            jumps += 1;
            // 1. The same question has the same answer, whatever the time.
            let again = enroll(&world, &client, &key, "custom:JUMP-0", &token).await;
            assert_eq!(
                again.certificate().as_ref(),
                Some(&certificate),
                "{context}: {again:?}"
            );
            // 2. A newcomer is let in, or is told to come again.
            let (other, hardware) = (DeviceKey::new(), format!("custom:JUMP-{jumps}"));
            let expired = offset > 90 * 86_400;
            let answer = enroll(&world, &client, &other, &hardware, &other_token).await;
            match newcomer {
                Ok(()) if expired => {
                    assert_eq!(
                        answer.refusal.as_deref(),
                        Some("token-expired"),
                        "{context}"
                    );
                }
                Ok(()) => {
                    let certificate = answer.certificate().unwrap_or_else(|| panic!("{answer:?}"));
                    outside.told.push(Told {
                        hardware,
                        key: other.fingerprint(),
                        question: other_token,
                        certificate,
                    });
                }
                Err(code) => passing(&answer, code, &context),
            }
            // 3. So is a device that comes back; its token is not spent by being turned away.
            let mut link = client
                .connect_as(world.https(), &key, &certificate)
                .await
                .unwrap();
            let answer = link
                .send(Method::GET, "/v1/verify", None, None)
                .await
                .unwrap();
            match verify {
                Ok(()) => assert_eq!(answer.status, 200, "{context}: {answer:?}"),
                Err(code) => passing(&answer, code, &context),
            }
            let after = Records::read(&world.place().database());
            assert_eq!(check_change(&before, &after), [""; 0], "{context}");
            before = after;
        }
    }
    let (records, findings) = judge(world.place(), &outside);
    println!(
        "S21 server clock: {jumps} jumps, half of them with a restart; {} devices, {}; {}",
        records.devices.len(),
        findings.to_string().lines().next().unwrap(),
        seconds(started)
    );
    assert_clean("after the jumps", &findings);
}

async fn enroll<T: Tap + Clone>(
    world: &World<T>,
    client: &Client,
    key: &DeviceKey,
    hardware: &str,
    token: &str,
) -> Answer {
    client
        .enroll(world.https(), key, hardware, token)
        .await
        .unwrap()
}

fn passing(answer: &Answer, code: &str, context: &str) {
    assert_eq!(
        (answer.status, answer.refusal.as_deref()),
        (503, Some(code)),
        "{context}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn revocation_lists_grow_by_number_when_the_clock_goes_back() {
    let mut world = World::new().await;
    let client = Client::new(&world.place().root_der());
    let issuer = "issuing";
    let mut numbers = vec![Records::read(&world.place().database()).lists[issuer]];
    for (at, offset) in [0, -3_600, -43_200, -44_000].into_iter().enumerate() {
        world.set_clock(0);
        let (key, token) = (DeviceKey::new(), world.token().await);
        let answer = enroll(&world, &client, &key, &format!("custom:CRL-{at}"), &token).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        world.set_clock(offset);
        if at == 3 {
            world.restart().await;
        }
        let act = DeviceAct::Revoke {
            reason: RevocationReason::KeyCompromise,
            note: "stolen".to_owned(),
        };
        let device = format!("thermo-crl-{at}").parse::<DeviceId>().unwrap();
        world
            .road()
            .ledger()
            .device_act(&device, act, "sim", world.now())
            .await
            .unwrap();
        let last = numbers[numbers.len() - 1];
        let mut number = last;
        for _ in 0..100 {
            number = Records::read(&world.place().database()).lists[issuer];
            if number != last {
                break;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        numbers.push(number);
    }
    println!("S21 list numbers while the clock goes back: {numbers:?}");
    assert!(
        numbers.is_sorted_by(|earlier, later| earlier < later),
        "{numbers:?}"
    );
}

/// When the first certificate is settled, the server's clock falls back by eight hours.
#[derive(Default)]
struct FallsBack(OnceLock<Arc<std::sync::atomic::AtomicI64>>);

impl Tap for FallsBack {
    async fn before(&self, _: &Call) {}

    async fn after(&self, call: &Call) {
        if let ("enrollment_settle", Some(hand)) = (call.name, self.0.get()) {
            hand.store(-8 * 3_600, Ordering::Relaxed);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_device_waits_for_a_server_whose_clock_fell_back_and_then_is_a_member() {
    let tap = Arc::new(FallsBack::default());
    let world = World::with(Arc::clone(&tap), None).await;
    tap.0.set(world.clock_hand()).unwrap();
    let states = tempfile::tempdir().unwrap();
    let token = world.token().await;
    let setup = Setup::new(
        &world.place().root_pem(),
        world.https(),
        "custom:FALLS",
        &token,
    );
    let setup = Setup {
        hurry: 4_000,
        ..setup
    };
    let state = states.path().join("device");
    let device = tokio::spawn(async move { setup.join(&state, Box::new(Silent)).await });
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert!(!device.is_finished(), "it can't be a member yet");
    let records = Records::read(&world.place().database());
    assert_eq!(
        records.tokens_of("custom:FALLS")[0].state,
        "leased",
        "nothing has been proven"
    );
    world.set_clock(0);
    let end = tokio::time::timeout(Duration::from_secs(20), device)
        .await
        .unwrap();
    let end = end.unwrap().unwrap();
    let End::Member(_) = end else {
        panic!("{end:?}")
    };
    let (records, findings) = judge(world.place(), &Outside::default());
    assert_clean("after the fall", &findings);
    assert_eq!(records.tokens_of("custom:FALLS")[0].state, "spent");
    println!("S21 a server whose clock fell back for 2 s between settle and VERIFY: PROVISIONED");
}

const YEAR: i64 = 365 * 86_400;
