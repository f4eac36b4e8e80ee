//! What a device does when somebody says no, or nothing, or something wrong.

use std::fs;
use std::sync::Arc;

use imprint_agent::device::{Event, Quarantine, Slot, Step};
use imprint_agent::{
    Agent, AgentError, End, Exit, FileKeys, KeyAlgorithm, KeyStore, Settings, Silent, Status,
    StoreError, Strike, Surroundings, Time, TrustError, judge_server,
};
use imprint_identity::{HardwareId, UnixTime};
use rustls_pki_types::ServerName;

use crate::pki::{DAY, Pki};
use crate::registrar::{Books, Instead, Registrar};
use crate::{BUILT, NOW, Watch, join, join_by, member, no_clock, settings};

fn quarantined(end: Result<End, AgentError>) -> Quarantine {
    match end.unwrap() {
        End::Quarantined(reason, _) => reason,
        other => panic!("not in quarantine: {other:?}"),
    }
}

/// Polls for as long as it takes to see `codes`, then stops: these causes never quarantine.
async fn polls(settings: Settings, codes: &[&str]) -> Watch {
    polls_in(settings, no_clock(), codes).await
}

async fn polls_in(settings: Settings, surroundings: Surroundings, codes: &[&str]) -> Watch {
    let watch = Watch::default();
    let agent = Agent::open(settings, surroundings, Box::new(watch.clone())).unwrap();
    let task = tokio::spawn(agent.join(Event::PowerOn));
    for _ in 0..2_000 {
        if watch.codes().len() >= codes.len() || task.is_finished() {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    assert!(!task.is_finished(), "it came to rest");
    task.abort();
    let _ = task.await;
    assert_eq!(watch.codes()[..codes.len()], *codes);
    watch
}

#[tokio::test]
async fn a_final_refusal_quarantines_and_status_says_why() {
    let registrar = Registrar::start().await;
    let dir = tempfile::tempdir().unwrap();
    registrar.instead(
        "simpleenroll",
        Instead::refusal(403, "token-expired; step=ENROLL; retry=never"),
    );
    let end = join(settings(&registrar, dir.path()), &Watch::default()).await;
    assert_eq!(quarantined(end), Quarantine::Refused);

    let status = Status::read(dir.path()).unwrap();
    assert_eq!(
        (status.step.as_str(), status.exit()),
        ("QUARANTINE", Exit::Quarantined)
    );
    let refusal = status.refusal.unwrap();
    assert_eq!(
        (refusal.code.as_str(), refusal.step.as_str()),
        ("token-expired", "ENROLL")
    );
    assert_eq!(refusal.retry, "never");
    assert!(refusal.text.unwrap().contains("No, and this is why."));
    assert_eq!(refusal.at, Some(NOW.to_string()));
    assert!(
        status.token_kept,
        "the bootstrap credential stays until the new one has worked"
    );

    // It rests over restarts, and goes on with the same key once a person has acted.
    registrar.forget_log();
    let end = join(settings(&registrar, dir.path()), &Watch::default()).await;
    assert_eq!(
        (quarantined(end), registrar.paths().len()),
        (Quarantine::Refused, 0)
    );
    let end = join_by(
        settings(&registrar, dir.path()),
        &Watch::default(),
        Event::Release,
    )
    .await;
    drop(member(end));
}

#[tokio::test]
async fn an_unknown_token_is_final_and_is_not_guessed_again_by_a_report() {
    let registrar = Registrar::start().await;
    let dir = tempfile::tempdir().unwrap();
    let mut settings = settings(&registrar, dir.path());
    settings.token = Some(imprint_est::Secret::new(b"imp_wrong".to_vec()));
    assert_eq!(
        quarantined(join(settings, &Watch::default()).await),
        Quarantine::Refused
    );
    assert_eq!(
        registrar.paths().len(),
        2,
        "time and one try: {:?}",
        registrar.paths()
    );
}

#[tokio::test]
async fn a_passing_refusal_is_waited_out_and_an_approval_waited_for() {
    let registrar = Registrar::start().await;
    let dir = tempfile::tempdir().unwrap();
    let pending = Instead {
        status: 202,
        note: Some("approval-pending; step=ENROLL; retry=30"),
        retry_after: Some("30"),
        text: "",
    };
    for instead in [
        Instead::refusal(503, "ledger-unavailable; step=ENROLL; retry=5"),
        Instead::refusal(403, "token-leased; step=ENROLL; retry=3600"),
        pending.clone(),
        pending,
        // Nobody's words: a proxy on the way.
        Instead {
            status: 403,
            note: None,
            retry_after: None,
            text: "Forbidden",
        },
        Instead {
            status: 302,
            note: None,
            retry_after: None,
            text: "",
        },
    ] {
        registrar.instead("simpleenroll", instead);
    }
    let watch = Watch::default();
    drop(member(join(settings(&registrar, dir.path()), &watch).await));
    let want = [
        "ledger-unavailable",
        "token-leased",
        "approval-pending",
        "approval-pending",
        "http-403",
        "reply-unreadable",
    ];
    assert_eq!(watch.codes(), want);
}

#[tokio::test]
async fn a_turn_is_waited_for_as_told_and_counts_nothing() {
    let registrar = Registrar::start().await;
    let dir = tempfile::tempdir().unwrap();
    // More often than a strict product has patience for failures.
    let told = [7, 1, 1, 1, 1];
    for note in [
        "rate-limited; step=ENROLL; retry=7",
        "rate-limited; step=ENROLL; retry=1",
        "rate-limited; step=ENROLL; retry=1",
        "rate-limited; step=ENROLL; retry=1",
        "rate-limited; step=ENROLL; retry=1",
    ] {
        registrar.instead("simpleenroll", Instead::refusal(503, note));
    }
    // The same status and the same seconds without the word are a failure like others.
    let others = Instead {
        status: 503,
        note: None,
        retry_after: Some("1"),
        text: "Busy",
    };
    registrar.instead("simpleenroll", others);
    let mut strict = settings(&registrar, dir.path());
    strict.patience.quarantine = imprint_agent::device::QuarantineRule::Strict;
    let watch = Watch::default();
    drop(member(join(strict, &watch).await));
    let waits: Vec<_> = watch.seen(|seen| {
        let waits = seen.actions.iter().filter_map(|action| match action {
            imprint_agent::device::Action::Wait { ms } => Some(ms / 1_000),
            _ => None,
        });
        waits.collect()
    });
    assert_eq!(waits[..5], told);
    assert_eq!(waits[5..], [2]);
}

#[tokio::test]
async fn a_captive_portal_is_waited_out() {
    let registrar = Registrar::start().await;
    registrar.books(|books| books.portal = true);
    let dir = tempfile::tempdir().unwrap();
    polls(settings(&registrar, dir.path()), &["reply-unreadable"; 5]).await;
    registrar.books(|books| books.portal = false);
    drop(member(
        join(settings(&registrar, dir.path()), &Watch::default()).await,
    ));
}

#[tokio::test]
async fn a_strict_product_quarantines_when_all_attempts_failed() {
    let registrar = Registrar::start().await;
    registrar.books(|books| books.portal = true);
    let dir = tempfile::tempdir().unwrap();
    let mut strict = settings(&registrar, dir.path());
    strict.patience.quarantine = imprint_agent::device::QuarantineRule::Strict;
    let watch = Watch::default();
    assert_eq!(
        quarantined(join(strict, &watch).await),
        Quarantine::AttemptsExhausted
    );
    assert_eq!(watch.codes().len(), 3);
}

/// VERIFY is refused for a passing cause until the device has had enough.
fn unable_to_verify(registrar: &Registrar) {
    for _ in 0..4 {
        registrar.instead(
            "verify",
            Instead::refusal(503, "ledger-unavailable; step=VERIFY; retry=1"),
        );
    }
}

/// The state directory of a device whose power went once VERIFY was written down.
async fn cut_before_verify(registrar: &Registrar) -> tempfile::TempDir {
    for at in 0..100 {
        registrar.books(|books| {
            let strict = books.strict;
            *books = Books::default();
            books.strict = strict;
        });
        let dir = tempfile::tempdir().unwrap();
        let watch = Watch::striking(at, Strike::PowerCut);
        let end = join(settings(registrar, dir.path()), &watch).await;
        let struck = watch.seen(|seen| seen.struck.clone()).unwrap();
        if struck.starts_with("VERIFY Journaled(Verify") {
            assert!(matches!(end.unwrap(), End::PowerCut));
            return dir;
        }
    }
    panic!("there is no VERIFY")
}

#[tokio::test]
async fn a_product_that_says_strict_in_its_profile_is_followed_also_after_a_restart() {
    for cut in [false, true] {
        let registrar = Registrar::start().await;
        registrar.books(|books| books.strict = true);
        let dir = if cut {
            // What the product said is in the stores alone.
            cut_before_verify(&registrar).await
        } else {
            tempfile::tempdir().unwrap()
        };
        unable_to_verify(&registrar);
        let watch = Watch::default();
        assert_eq!(
            quarantined(join(settings(&registrar, dir.path()), &watch).await),
            Quarantine::AttemptsExhausted
        );
        assert_eq!(watch.codes(), ["ledger-unavailable"; 3], "cut: {cut}");
        assert_eq!(Status::read(dir.path()).unwrap().step, "QUARANTINE");
    }
}

#[tokio::test]
async fn a_product_that_is_not_strict_leaves_its_devices_trying() {
    let registrar = Registrar::start().await;
    let dir = tempfile::tempdir().unwrap();
    unable_to_verify(&registrar);
    let watch = Watch::default();
    drop(member(join(settings(&registrar, dir.path()), &watch).await));
    assert_eq!(watch.codes(), ["ledger-unavailable"; 4]);
}

#[tokio::test]
async fn a_stranger_at_the_servers_address_never_sees_the_token() {
    let real = Registrar::start().await;
    let stranger = Registrar::start().await;
    let dir = tempfile::tempdir().unwrap();
    let mut settings = settings(&real, dir.path());
    settings.server = stranger.endpoint();
    polls(settings, &["server-untrusted"; 4]).await;
    assert_eq!(stranger.paths(), [] as [&str; 0]);
    assert_eq!(Status::read(dir.path()).unwrap().step, "BOOTSTRAP");
}

#[tokio::test]
async fn without_a_clock_the_servers_time_judges_the_servers_certificate() {
    for (from, until, want) in [
        // Begins after the firmware was built: the device can't know, the server can.
        (NOW.plus(-DAY), NOW.plus(DAY), None),
        (
            NOW.plus(-9 * DAY),
            NOW.plus(-DAY),
            Some("server-certificate-expired"),
        ),
        (
            NOW.plus(DAY),
            NOW.plus(9 * DAY),
            Some("server-certificate-not-yet-valid"),
        ),
        // Expired before the firmware was built: refused in the handshake.
        (
            BUILT.plus(-9 * DAY),
            BUILT.plus(-DAY),
            Some("server-certificate-expired"),
        ),
    ] {
        let pki = Arc::new(Pki::new());
        let identity = pki.server(from, until);
        let registrar = Registrar::showing(pki, identity).await;
        let dir = tempfile::tempdir().unwrap();
        let settings = settings(&registrar, dir.path());
        match want {
            None => drop(member(join(settings, &Watch::default()).await)),
            Some(code) => {
                polls(settings, &[code; 2]).await;
                let enrolled = registrar.paths().iter().any(|path| path.contains("enroll"));
                assert!(!enrolled, "the token did not leave");
            }
        }
    }
}

#[tokio::test]
async fn a_clock_that_is_believed_is_believed_and_one_before_the_build_is_not() {
    for (clock, joins) in [
        (NOW, true),
        (NOW.plus(400 * DAY), false),
        (UnixTime(0), true),
    ] {
        let registrar = Registrar::start().await;
        let dir = tempfile::tempdir().unwrap();
        let settings = settings(&registrar, dir.path());
        let surroundings = Surroundings {
            clock: Box::new(move || Some(clock)),
            ..no_clock()
        };
        if joins {
            let agent = Agent::open(settings, surroundings, Box::new(Silent)).unwrap();
            drop(member(agent.join(Event::PowerOn).await));
        } else {
            polls_in(settings, surroundings, &["server-certificate-expired"; 2]).await;
        }
    }
}

#[tokio::test]
async fn a_server_whose_clock_is_before_the_build_is_not_believed() {
    let pki = Arc::new(Pki::new());
    let identity = pki.server(BUILT.plus(-DAY), NOW.plus(DAY));
    let registrar = Registrar::showing(pki, identity).await;
    registrar.books(|books| books.clock = Some(BUILT.plus(-1)));
    let dir = tempfile::tempdir().unwrap();
    let watch = polls(
        settings(&registrar, dir.path()),
        &["server-clock-behind"; 4],
    )
    .await;
    watch.seen(|seen| assert_eq!(seen.steps, [Step::Bootstrap]));
}

/// The certificate of the device itself must be valid by the server's time before PROVISIONED.
#[tokio::test]
async fn a_certificate_that_is_not_valid_yet_does_not_make_a_member() {
    let registrar = Registrar::start().await;
    registrar.books(|books| books.validity = Some((NOW.plus(DAY), NOW.plus(9 * DAY))));
    let dir = tempfile::tempdir().unwrap();
    polls(
        settings(&registrar, dir.path()),
        &["certificate-not-yet-valid"; 4],
    )
    .await;
    let status = Status::read(dir.path()).unwrap();
    assert_eq!(status.step, "VERIFY");
    let refusal = status.refusal.unwrap();
    assert_eq!(refusal.code, "certificate-not-yet-valid");
    assert!(refusal.text.unwrap().contains(&NOW.to_string()));
    assert!(status.token_kept);
    registrar.books(|books| {
        let want = r#"{"step":"VERIFY","code":"certificate-not-yet-valid","attempts":1}"#;
        assert_eq!(books.reports, [("certificate".to_owned(), want.to_owned())]);
    });
    // A day later the same certificate makes a member.
    registrar.books(|books| books.clock = Some(NOW.plus(DAY)));
    drop(member(
        join(settings(&registrar, dir.path()), &Watch::default()).await,
    ));
    registrar.books(|books| assert_eq!(books.issued.len(), 1));
}

#[tokio::test]
async fn a_certificate_for_another_key_or_from_another_root_quarantines_and_is_reported() {
    let other = tempfile::tempdir().unwrap();
    let keys = FileKeys::open(other.path(), KeyAlgorithm::P256).unwrap();
    let spki = keys.make_or_get(Slot::A).unwrap().spki;

    for from_another_root in [false, true] {
        let registrar = Registrar::start().await;
        registrar.books(|books| {
            if from_another_root {
                books.other_pki = Some(Arc::new(Pki::new()));
            } else {
                books.wrong_key = Some(spki.clone());
            }
        });
        let dir = tempfile::tempdir().unwrap();
        let end = join(settings(&registrar, dir.path()), &Watch::default()).await;
        assert_eq!(quarantined(end), Quarantine::WrongCertificate);
        registrar.books(|books| {
            let want = r#"{"step":"QUARANTINE","code":"wrong-certificate","attempts":0}"#;
            assert_eq!(books.reports, [("custom:sn-1".to_owned(), want.to_owned())]);
        });
        assert!(!dir.path().join("credential-a/chain.pem").exists());
    }
}

/// A file system that lies, or a person who edits: what is used is what was stored, or it is asked
/// for again.
#[tokio::test]
async fn a_credential_that_changed_on_disk_is_asked_for_again() {
    let registrar = Registrar::start().await;
    let dir = tempfile::tempdir().unwrap();
    for at in 0.. {
        assert!(at < 40, "the way in has an end");
        let watch = Watch::striking(at, Strike::PowerCut);
        assert!(matches!(
            join(settings(&registrar, dir.path()), &watch).await,
            Ok(End::PowerCut)
        ));
        if Status::read(dir.path()).unwrap().step == "VERIFY" {
            break;
        }
    }
    fs::write(
        dir.path().join("credential-a/profile.json"),
        "{\"device\":\"other\"}",
    )
    .unwrap();
    let watch = Watch::default();
    drop(member(join(settings(&registrar, dir.path()), &watch).await));
    watch.seen(|seen| {
        let steps = [
            Step::Verify,
            Step::CredentialStore,
            Step::Verify,
            Step::Provisioned,
        ];
        assert_eq!(seen.steps, steps);
    });
    let profile = fs::read_to_string(dir.path().join("credential-a/profile.json")).unwrap();
    assert!(profile.contains("thermo-sn-1"));
    registrar.books(|books| assert_eq!((books.issued.len(), books.verified.len()), (1, 1)));
}

#[tokio::test]
async fn a_disk_that_takes_nothing_is_waited_out_and_reported() {
    let registrar = Registrar::start().await;
    let dir = tempfile::tempdir().unwrap();
    // A folder cannot be made where a file is.
    fs::write(dir.path().join("credential-a"), "").unwrap();
    polls(settings(&registrar, dir.path()), &["storage-failed"; 4]).await;
    registrar.books(|books| {
        let want = r#"{"step":"CREDENTIAL_STORE","code":"storage-failed","attempts":1}"#;
        assert_eq!(books.reports, [("custom:sn-1".to_owned(), want.to_owned())]);
    });
    fs::remove_file(dir.path().join("credential-a")).unwrap();
    drop(member(
        join(settings(&registrar, dir.path()), &Watch::default()).await,
    ));
    registrar.books(|books| assert_eq!((books.issued.len(), books.verified.len()), (1, 1)));
}

#[tokio::test]
async fn other_hardware_with_this_state_directory_is_a_clone() {
    let registrar = Registrar::start().await;
    let dir = tempfile::tempdir().unwrap();
    let watch = Watch::striking(9, Strike::PowerCut);
    assert!(matches!(
        join(settings(&registrar, dir.path()), &watch).await,
        Ok(End::PowerCut)
    ));
    let mut clone = settings(&registrar, dir.path());
    clone.hardware = HardwareId::parse("custom:sn-2").unwrap();
    registrar.forget_log();
    let end = join(clone, &Watch::default()).await;
    assert_eq!(quarantined(end), Quarantine::HardwareMismatch);
    let enrolled = registrar.paths().iter().any(|path| path.contains("enroll"));
    assert!(!enrolled, "{:?}", registrar.paths());
}

#[tokio::test]
async fn a_key_that_is_gone_or_another_after_its_request_quarantines() {
    for replaced in [false, true] {
        let registrar = Registrar::start().await;
        let dir = tempfile::tempdir().unwrap();
        for at in 0.. {
            assert!(at < 40, "the way in has an end");
            let watch = Watch::striking(at, Strike::PowerCut);
            assert!(matches!(
                join(settings(&registrar, dir.path()), &watch).await,
                Ok(End::PowerCut)
            ));
            if registrar.books(|books| !books.issued.is_empty()) {
                break;
            }
        }
        let (key, other) = (dir.path().join("keys/a.p8"), dir.path().join("keys/b.p8"));
        if replaced {
            let keys = FileKeys::open(&dir.path().join("keys"), KeyAlgorithm::P256).unwrap();
            keys.make_or_get(Slot::B).unwrap();
            fs::rename(other, &key).unwrap();
        } else {
            fs::remove_file(&key).unwrap();
        }
        let end = join(settings(&registrar, dir.path()), &Watch::default()).await;
        assert_eq!(quarantined(end), Quarantine::KeyLost, "{replaced}");
        registrar.books(|books| assert_eq!(books.issued.len(), 1, "no second key was asked for"));
    }
}

#[tokio::test]
async fn without_a_token_nothing_is_asked_and_a_person_is_told() {
    let registrar = Registrar::start().await;
    let dir = tempfile::tempdir().unwrap();
    let mut settings = settings(&registrar, dir.path());
    settings.token = None;
    assert_eq!(
        quarantined(join(settings, &Watch::default()).await),
        Quarantine::Refused
    );
    let refusal = Status::read(dir.path()).unwrap().refusal.unwrap();
    assert_eq!(refusal.code, "bootstrap-credential-missing");
    assert_eq!(registrar.paths(), ["/v1/time"]);
}

#[tokio::test]
async fn two_agents_in_one_directory_are_one_too_many() {
    let registrar = Registrar::start().await;
    let dir = tempfile::tempdir().unwrap();
    let settings = settings(&registrar, dir.path());
    let first = Agent::open(settings.clone(), no_clock(), Box::new(Silent)).unwrap();
    let error = Agent::open(settings, no_clock(), Box::new(Silent)).unwrap_err();
    assert!(
        matches!(error, AgentError::Store(StoreError::Busy { .. })),
        "{error}"
    );
    assert!(error.hint().contains("--state"));
    drop(first);
}

#[test]
fn a_name_that_is_not_in_the_certificate_is_refused_with_both_names() {
    let pki = Pki::new();
    let chain = pki.server(NOW.plus(-DAY), NOW.plus(DAY)).chain;
    let roots = pki.roots();
    let judge = |name: &str| {
        let name = ServerName::try_from(name.to_owned()).unwrap();
        judge_server(&chain, &roots, &name, Time::Known(NOW))
    };
    assert_eq!((judge("localhost"), judge("127.0.0.1")), (Ok(()), Ok(())));
    let error = judge("example.com").unwrap_err();
    assert!(matches!(&error, TrustError::Name { .. }));
    let text = error.to_string();
    assert!(
        text.contains("example.com") && text.contains("localhost"),
        "{text}"
    );
}

/// A device certificate is no server's, and the other way round.
#[test]
fn a_certificate_for_another_purpose_is_refused() {
    let pki = Pki::new();
    let dir = tempfile::tempdir().unwrap();
    let keys = FileKeys::open(dir.path(), KeyAlgorithm::P256).unwrap();
    let spki = keys.make_or_get(Slot::A).unwrap().spki;
    let device = pki.device("localhost", &spki, NOW.plus(-DAY), NOW.plus(DAY));
    let mut server = pki.server(NOW.plus(-DAY), NOW.plus(DAY)).chain;
    let localhost = ServerName::try_from("localhost").unwrap();
    let chain = [device.into(), server[1].clone()];
    let judged = judge_server(&chain, &pki.roots(), &localhost, Time::Known(NOW));
    assert_eq!(judged, Err(TrustError::Usage));
    let leaf = server.remove(0);
    let judged = imprint_agent::device_chain(&leaf, &server, &pki.roots(), Time::Known(NOW));
    assert_eq!(judged, Err(TrustError::Usage));
}
