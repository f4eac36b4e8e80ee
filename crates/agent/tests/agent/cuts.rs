//! Power cuts and lost replies, at every moment in turn.

use imprint_agent::device::Event;
use imprint_agent::{Agent, End, Strike};

use crate::registrar::Registrar;
use crate::{Watch, join, member, no_clock, settings};

/// Every moment of the way in is struck once; then the power stays. Always the same key, one
/// certificate, a member, and the token gone.
async fn strike_everywhere(strike: Strike) -> Vec<String> {
    let mut struck = Vec::new();
    for at in 0.. {
        assert!(at < 100, "the way in has an end");
        let registrar = Registrar::start().await;
        let dir = tempfile::tempdir().unwrap();
        let watch = Watch::striking(at, strike);
        let first = join(settings(&registrar, dir.path()), &watch)
            .await
            .unwrap();
        let agent = match first {
            End::PowerCut => {
                let mut again = settings(&registrar, dir.path());
                // Whoever starts the device again doesn't know the token any more.
                again.token = None;
                member(join(again, &Watch::default()).await)
            }
            end => member(Ok(end)),
        };
        registrar.books(|books| {
            assert_eq!((books.issued.len(), books.verified.len()), (1, 1), "{at}");
            // What went wrong on the way is told once there is a way.
            let told = books
                .reports
                .iter()
                .any(|(from, report)| from == "certificate" && report.contains("reply-lost"));
            let lost = watch.codes() == ["reply-lost"];
            assert_eq!(told, lost, "{at}: {:?}", books.reports);
        });
        assert_eq!(agent.store().token().unwrap(), None, "{at}");
        match watch.seen(|seen| seen.struck.clone()) {
            Some(place) => struck.push(place),
            None if strike == Strike::PowerCut || at > 24 => break,
            None => {}
        }
    }
    struck
}

#[tokio::test]
async fn a_power_cut_at_any_moment_costs_nothing_but_time() {
    let struck = strike_everywhere(Strike::PowerCut).await;
    for place in [
        "ENROLL Journaled(MakeKey",
        "ENROLL Journaled(Enroll",
        "ENROLL Answered(Enroll",
        "ENROLL Performed(Enroll",
        "CREDENTIAL_STORE Performed(StoreCredential",
        "VERIFY Answered(Verify",
        "PROVISIONED Journaled(ForgetBootstrap",
    ] {
        let times = struck
            .iter()
            .filter(|struck| struck.starts_with(place))
            .count();
        assert_eq!(times, 1, "{place} in {struck:#?}");
    }
}

#[tokio::test]
async fn a_lost_reply_costs_one_more_round_trip() {
    let struck = strike_everywhere(Strike::ReplyLost).await;
    let actions: Vec<_> = struck
        .iter()
        .map(|place| place.split(['(', ' ']).nth(2))
        .collect();
    let want = ["Bootstrap)", "Enroll", "FetchProfile)", "Verify"].map(Some);
    assert_eq!(actions, want, "{struck:#?}");
}

/// The power goes again and again, each time one moment later; nothing repeats for ever.
#[tokio::test]
async fn a_device_that_loses_power_over_and_over_still_arrives() {
    let registrar = Registrar::start().await;
    let dir = tempfile::tempdir().unwrap();
    for at in 0..40 {
        let watch = Watch::striking(at, Strike::PowerCut);
        if let End::Member(_) = join(settings(&registrar, dir.path()), &watch)
            .await
            .unwrap()
        {
            registrar.books(|books| assert_eq!((books.issued.len(), books.verified.len()), (1, 1)));
            return;
        }
    }
    panic!("forty power cuts, and no member");
}

/// A kill in the middle of a request: the future is dropped, wherever it stands.
#[tokio::test]
async fn an_agent_that_is_dropped_at_any_await_is_resumed_from_disk() {
    for after_micros in [0, 300, 1_000, 2_000, 4_000, 8_000, 16_000] {
        let registrar = Registrar::start().await;
        let dir = tempfile::tempdir().unwrap();
        let agent = Agent::open(
            settings(&registrar, dir.path()),
            no_clock(),
            Box::new(imprint_agent::Silent),
        );
        let limit = std::time::Duration::from_micros(after_micros);
        let _ = tokio::time::timeout(limit, agent.unwrap().join(Event::PowerOn)).await;
        drop(member(
            join(settings(&registrar, dir.path()), &Watch::default()).await,
        ));
        registrar.books(|books| assert_eq!((books.issued.len(), books.verified.len()), (1, 1)));
    }
}
