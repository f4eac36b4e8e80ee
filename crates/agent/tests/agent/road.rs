//! From blank to member.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::sync::Arc;

use imprint_agent::device::{Event, Step};
use imprint_agent::{Exit, KeyAlgorithm, Status, Suites, Time, device_chain};

use crate::pki::{DAY, Pki};
use crate::registrar::Registrar;
use crate::{NOW, Watch, join, join_by, member, settings};

#[tokio::test]
async fn a_device_becomes_a_member_in_four_round_trips_and_two_handshakes() {
    let registrar = Registrar::start().await;
    let dir = tempfile::tempdir().unwrap();
    let watch = Watch::default();
    let agent = member(join(settings(&registrar, dir.path()), &watch).await);

    assert_eq!(agent.trips(), 4);
    let est = "/.well-known/est/thermo/simpleenroll".to_owned();
    let want = [
        "/v1/time".into(),
        est,
        "/v1/profile".into(),
        "/v1/verify".into(),
    ];
    assert_eq!(registrar.paths(), want);
    registrar.books(|books| {
        let by_connection: Vec<_> = books.log.iter().map(|(number, _)| *number).collect();
        assert_eq!(
            by_connection,
            [1, 1, 1, 2],
            "VERIFY is a handshake of its own"
        );
        assert_eq!(
            (books.resumed, books.verified.len(), books.issued.len()),
            (0, 1, 1)
        );
        assert_eq!(books.reports, []);
    });
    let steps = [
        Step::Bootstrap,
        Step::Enroll,
        Step::CredentialStore,
        Step::Verify,
        Step::Provisioned,
    ];
    watch.seen(|seen| assert_eq!(seen.steps, steps));
    assert_eq!(watch.codes(), [] as [&str; 0]);
}

#[tokio::test]
async fn a_member_has_its_credential_on_disk_and_its_token_no_more() {
    let registrar = Registrar::start().await;
    let dir = tempfile::tempdir().unwrap();
    let agent = member(join(settings(&registrar, dir.path()), &Watch::default()).await);

    assert_eq!(agent.store().token().unwrap(), None);
    let mode = |name: &str| fs::metadata(dir.path().join(name)).unwrap().mode() & 0o777;
    assert_eq!(
        (mode("keys/a.p8"), mode("keys"), mode("credential-a")),
        (0o600, 0o700, 0o700)
    );
    let credential = agent.record().credential().unwrap();
    let stored = agent.store().credential(credential.slot).unwrap().unwrap();
    assert_eq!(
        stored.chain.len(),
        2,
        "its own certificate and the issuing CA, without the root"
    );
    let roots = registrar.pki.roots();
    let chain = device_chain(
        &stored.chain[0],
        &stored.chain[1..],
        &roots,
        Time::Known(NOW),
    );
    assert_eq!(chain.unwrap(), stored.chain);
    drop(agent);

    let status = Status::read(dir.path()).unwrap();
    assert_eq!(
        (status.step.as_str(), status.exit()),
        ("PROVISIONED", Exit::Good)
    );
    assert_eq!(status.hardware.as_deref(), Some("custom:sn-1"));
    assert!(!status.token_kept && status.refusal.is_none());
    let certificate = status.certificate.unwrap();
    assert_eq!(certificate.common_name.as_deref(), Some("thermo-sn-1"));
    assert_eq!(certificate.not_before, NOW.plus(-3600).to_string());
    assert!(certificate.chain_file.ends_with("credential-a/chain.pem"));
}

/// Starting it again asks nobody anything, even with its token given once more.
#[tokio::test]
async fn a_member_that_restarts_is_a_member_without_a_round_trip() {
    let registrar = Registrar::start().await;
    let dir = tempfile::tempdir().unwrap();
    drop(member(
        join(settings(&registrar, dir.path()), &Watch::default()).await,
    ));
    registrar.forget_log();
    let agent = member(join(settings(&registrar, dir.path()), &Watch::default()).await);
    assert_eq!((agent.trips(), registrar.paths()), (0, vec![]));
    assert_eq!(agent.store().token().unwrap(), None);
}

#[tokio::test]
async fn every_kind_of_key_joins_by_name_and_by_address() {
    for (key, suites) in [
        (KeyAlgorithm::P256, Suites::All),
        (KeyAlgorithm::P384, Suites::Pinned),
        (KeyAlgorithm::Ed25519, Suites::All),
    ] {
        let registrar = Registrar::start().await;
        let dir = tempfile::tempdir().unwrap();
        let mut settings = settings(&registrar, dir.path());
        settings.server = registrar.by_address();
        (settings.key, settings.suites) = (key, suites);
        assert_eq!(
            member(join(settings, &Watch::default()).await).trips(),
            4,
            "{key:?}"
        );
    }
}

#[tokio::test]
async fn a_factory_reset_leaves_a_blank_device_that_can_join_again() {
    let registrar = Registrar::start().await;
    let dir = tempfile::tempdir().unwrap();
    drop(member(
        join(settings(&registrar, dir.path()), &Watch::default()).await,
    ));
    let (settings_now, watch) = (settings(&registrar, dir.path()), Watch::default());
    let end = join_by(settings_now, &watch, Event::FactoryReset)
        .await
        .unwrap();
    assert!(matches!(end, imprint_agent::End::Blank));
    assert_eq!(Status::read(dir.path()).unwrap().step, "UNPROVISIONED");
    let left: Vec<_> = fs::read_dir(dir.path().join("keys")).unwrap().collect();
    assert!(left.is_empty(), "{left:?}");

    // The operator lets the new key in: another token, here a registrar that forgot the lease.
    registrar.books(|books| *books = crate::registrar::Books::default());
    drop(member(
        join(settings(&registrar, dir.path()), &Watch::default()).await,
    ));
    registrar.books(|books| assert_eq!(books.verified.len(), 1));
}

/// The certificates above the device's are mostly those that the server shows; not here.
#[tokio::test]
async fn where_the_servers_chain_does_not_help_the_authorities_are_asked_for() {
    let pki = Arc::new(Pki::new());
    let identity = pki.server_by_root(NOW.plus(-DAY), NOW.plus(DAY));
    let registrar = Registrar::showing(pki, identity).await;
    let dir = tempfile::tempdir().unwrap();
    let agent = member(join(settings(&registrar, dir.path()), &Watch::default()).await);
    assert_eq!(agent.trips(), 5);
    let credential = agent.record().credential().unwrap();
    let stored = agent.store().credential(credential.slot).unwrap().unwrap();
    assert_eq!(stored.chain[1].to_vec(), registrar.pki.ca_certs()[0]);
}
