//! Claim provisioning over MQTT, and just in time: the sunny day, lost replies, power cuts, refusals.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use imprint_agent::device::{Event, Quarantine, Step};
use imprint_agent::{Agent, Claim, Door, End, OwnCertificate, Settings, Status, Strike};
use imprint_claim::{Class, Retry};
use imprint_est::Secret;

use crate::broker::{Broker, id};
use crate::pki::Pki;
use crate::registrar::Registrar;
use crate::{Watch, join, join_by, member, settings};

/// A registrar whose HTTPS tells the time, its MQTT, and the claim's certificate and key.
struct Fleet {
    registrar: Registrar,
    broker: Broker,
    claim: (String, String),
}

impl Fleet {
    async fn start() -> Self {
        let registrar = Registrar::start().await;
        let (chain, key, der) = registrar.pki.stranger("claim-batch-7");
        let broker = Broker::start(&registrar.pki, &der).await;
        Self {
            registrar,
            broker,
            claim: (chain, key),
        }
    }

    fn claim(&self) -> Claim {
        Claim {
            broker: self.broker.endpoint(),
            template: None,
            parameters: BTreeMap::new(),
            chain_pem: self.claim.0.clone(),
            key_pem: Secret::new(self.claim.1.clone().into_bytes()),
        }
    }

    fn settings(&self, state: &Path) -> Settings {
        Settings {
            token: None,
            door: Door::Claim(self.claim()),
            ..settings(&self.registrar, state)
        }
    }

    /// What the next start of the same device is told: nothing about the claim.
    fn again(&self, state: &Path) -> Settings {
        Settings {
            door: Door::Token,
            ..self.settings(state)
        }
    }

    /// One key, one certificate, one thing, and the device has come back with it.
    fn assert_one_of_all(&self, what: &str) {
        self.broker.shelf(|shelf| {
            let counts = (shelf.issued.len(), shelf.things.len(), shelf.verified.len());
            assert_eq!(counts, (1, 1, 1), "{what}: {:#?}", shelf.log);
        });
    }
}

#[tokio::test]
async fn a_claim_makes_a_member_of_a_device() {
    let fleet = Fleet::start().await;
    let dir = tempfile::tempdir().unwrap();
    let watch = Watch::default();
    let agent = member(join(fleet.settings(dir.path()), &watch).await);
    fleet.assert_one_of_all("sunny day");
    let steps = [
        Step::Unprovisioned,
        Step::Bootstrap,
        Step::Enroll,
        Step::CredentialStore,
        Step::Register,
        Step::Verify,
        Step::Provisioned,
    ];
    let seen = watch.seen(|seen| seen.steps.clone());
    assert_eq!(seen, steps[1..], "{seen:?}");
    let log = fleet.broker.shelf(|shelf| shelf.log.clone());
    let want = [
        "CONNECT sn-1",
        "$aws/certificates/create-from-csr/json",
        "$aws/provisioning-templates/thermo/provision/json",
        "CONNECT sn-1",
    ];
    assert_eq!(log, want);
    // The server's HTTPS told the time and nothing else.
    assert_eq!(fleet.registrar.paths(), ["/v1/time"]);
    let registration = agent.store().registration().unwrap().unwrap();
    assert_eq!(registration.thing.as_deref(), Some("custom-sn-1"));
    assert_eq!(registration.configuration["colour"], "red");
    // Nothing of the claim is left on the device.
    assert!(!agent.store().has_bootstrap().unwrap());
    for name in ["claim.json", "ownership.json"] {
        assert!(!dir.path().join(name).exists(), "{name}");
    }
}

#[tokio::test]
async fn template_and_parameters_are_what_the_device_was_told() {
    let fleet = Fleet::start().await;
    let dir = tempfile::tempdir().unwrap();
    let mut claim = fleet.claim();
    claim.template = Some("lamps-2".into());
    claim.parameters = [("SerialNumber", "77"), ("Place", "Ulm")]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into();
    let told = Settings {
        door: Door::Claim(claim),
        ..fleet.settings(dir.path())
    };
    drop(member(join(told, &Watch::default()).await));
    let said = fleet
        .broker
        .shelf(|shelf| shelf.things.values().next().cloned().unwrap());
    let want = r#"{"Place": "Ulm", "SerialNumber": "77"}"#;
    assert_eq!(
        said,
        (
            "$aws/provisioning-templates/lamps-2/provision/json".to_owned(),
            want.to_owned()
        )
    );
}

/// Every moment of the way in is struck once; then the power stays, and nobody tells the device its
/// claim again.
async fn strike_everywhere(strike: Strike) -> Vec<String> {
    let mut struck = Vec::new();
    for at in 0.. {
        assert!(at < 100, "the way in has an end");
        let fleet = Fleet::start().await;
        let dir = tempfile::tempdir().unwrap();
        let watch = Watch::striking(at, strike);
        let agent = match join(fleet.settings(dir.path()), &watch).await.unwrap() {
            End::PowerCut => member(join(fleet.again(dir.path()), &Watch::default()).await),
            end => member(Ok(end)),
        };
        let place = watch.seen(|seen| seen.struck.clone());
        fleet.assert_one_of_all(&format!("{at} {place:?}"));
        assert!(!agent.store().has_bootstrap().unwrap(), "{at}");
        assert_eq!(agent.record().losses, 0, "{at} {place:?}");
        match place {
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
        "CREDENTIAL_STORE Journaled(StoreCredential",
        "CREDENTIAL_STORE Performed(StoreCredential",
        "REGISTER Journaled(Register",
        "REGISTER Answered(Register",
        "REGISTER Performed(Register",
        "VERIFY Journaled(Verify",
        "VERIFY Answered(Verify",
        "VERIFY Performed(Verify",
        "PROVISIONED Journaled(ForgetBootstrap",
        "PROVISIONED Performed(ForgetBootstrap",
    ] {
        let times = struck
            .iter()
            .filter(|struck| struck.starts_with(place))
            .count();
        assert_eq!(times, 1, "{place} in {struck:#?}");
    }
}

#[tokio::test]
async fn a_lost_reply_is_asked_for_again() {
    let struck = strike_everywhere(Strike::ReplyLost).await;
    let actions: Vec<_> = struck
        .iter()
        .map(|place| place.split(['(', ' ']).nth(2))
        .collect();
    let want = ["Bootstrap)", "Enroll", "Register", "Verify"].map(Some);
    assert_eq!(actions, want, "{struck:#?}");
}

#[tokio::test]
async fn a_device_that_loses_power_over_and_over_still_arrives() {
    let fleet = Fleet::start().await;
    let dir = tempfile::tempdir().unwrap();
    for at in 0..60 {
        let watch = Watch::striking(at, Strike::PowerCut);
        if let End::Member(_) = join(fleet.settings(dir.path()), &watch).await.unwrap() {
            fleet.assert_one_of_all("over and over");
            return;
        }
    }
    panic!("sixty power cuts, and no member");
}

#[tokio::test]
async fn a_cut_between_ownership_and_certificate_loses_neither() {
    // The certificate is there and its ownership token is not: what an older version, or a hand,
    // could have left. The device asks for both again, with the same key.
    let fleet = Fleet::start().await;
    let dir = tempfile::tempdir().unwrap();
    let mut at = 0;
    loop {
        let watch = Watch::striking(at, Strike::PowerCut);
        let end = join(fleet.settings(dir.path()), &watch).await.unwrap();
        assert!(matches!(end, End::PowerCut));
        if Status::read(dir.path()).unwrap().step == "REGISTER" {
            break;
        }
        at += 1;
    }
    std::fs::remove_file(dir.path().join("ownership.json")).unwrap();
    let agent = member(join(fleet.again(dir.path()), &Watch::default()).await);
    fleet.assert_one_of_all("ownership lost");
    assert_eq!(agent.record().losses, 1);
}

#[tokio::test]
async fn a_final_refusal_puts_the_device_in_quarantine_with_its_reason() {
    for (what, code) in [
        ("CONNECT", "claim-revoked"),
        ("create-from-csr", "claim-revoked"),
        ("create-from-csr", "key-not-accepted"),
        ("provision", "template-unknown"),
        ("provision", "hardware-not-allowed"),
        ("provision", "ownership-used"),
    ] {
        let fleet = Fleet::start().await;
        let dir = tempfile::tempdir().unwrap();
        fleet.broker.refuse(what, code, Class::Denied, Retry::Never);
        let watch = Watch::default();
        let end = join(fleet.settings(dir.path()), &watch).await.unwrap();
        let End::Quarantined(Quarantine::Refused, agent) = end else {
            panic!("{what} {code}: {end:?}");
        };
        let refusal = agent.record().refusal.clone().unwrap();
        assert_eq!(refusal.code.as_str(), code, "{what}");
        let words = agent.store().refusal().unwrap().unwrap();
        assert_eq!(words.code, code);
        assert!(words.text.contains("this is why"), "{}", words.text);
        assert!(fleet.broker.shelf(|shelf| shelf.things.is_empty()));
        // A person has removed the cause: the device goes on with the key that it had.
        drop(agent);
        drop(member(
            join_by(fleet.again(dir.path()), &Watch::default(), Event::Release).await,
        ));
        fleet.assert_one_of_all(code);
    }
}

#[tokio::test]
async fn a_passing_refusal_is_waited_out() {
    for (what, code, class, after) in [
        ("CONNECT", "busy", Class::Passing, 5),
        ("create-from-csr", "claim-limited", Class::Passing, 30),
        ("provision", "ledger-unavailable", Class::Passing, 30),
        ("provision", "approval-pending", Class::Waiting, 60),
        ("provision", "hook-failed", Class::Passing, 60),
    ] {
        let fleet = Fleet::start().await;
        let dir = tempfile::tempdir().unwrap();
        for _ in 0..5 {
            fleet.broker.refuse(what, code, class, Retry::After(after));
        }
        let watch = Watch::default();
        drop(member(join(fleet.settings(dir.path()), &watch).await));
        fleet.assert_one_of_all(code);
        assert_eq!(watch.codes(), vec![code; 5], "{what}");
    }
}

#[tokio::test]
async fn a_refusal_without_a_reason_is_never_final() {
    // As the vendor's own service, or something in between, refuses.
    let fleet = Fleet::start().await;
    let dir = tempfile::tempdir().unwrap();
    fleet.broker.shelf(|shelf| shelf.is_taciturn = true);
    for _ in 0..4 {
        fleet
            .broker
            .refuse("CONNECT", "", Class::Denied, Retry::Never);
    }
    let watch = Watch::default();
    drop(member(join(fleet.settings(dir.path()), &watch).await));
    assert_eq!(watch.codes(), ["http-403"; 4]);
}

#[tokio::test]
async fn a_pending_certificate_that_has_ended_is_asked_for_anew() {
    for code in ["ownership-invalid", "certificate-revoked"] {
        let fleet = Fleet::start().await;
        let dir = tempfile::tempdir().unwrap();
        fleet
            .broker
            .refuse("provision", code, Class::Denied, Retry::Never);
        let agent = member(join(fleet.settings(dir.path()), &Watch::default()).await);
        fleet.assert_one_of_all(code);
        let asked = fleet.broker.shelf(|shelf| {
            let csr = |topic: &&String| topic.contains("create-from-csr");
            shelf.log.iter().filter(csr).count()
        });
        assert_eq!((asked, agent.record().losses), (2, 1), "{code}");
    }
}

#[tokio::test]
async fn a_pending_certificate_that_never_lasts_is_not_asked_for_without_end() {
    let fleet = Fleet::start().await;
    let dir = tempfile::tempdir().unwrap();
    for _ in 0..40 {
        fleet.broker.refuse(
            "provision",
            "ownership-invalid",
            Class::Denied,
            Retry::Never,
        );
    }
    let end = join(fleet.settings(dir.path()), &Watch::default())
        .await
        .unwrap();
    let reason = Quarantine::AttemptsExhausted;
    assert!(
        matches!(&end, End::Quarantined(found, _) if *found == reason),
        "{end:?}"
    );
    let asked = fleet.broker.shelf(|shelf| shelf.log.len());
    assert!(asked < 40, "{asked}");
}

#[tokio::test]
async fn an_answer_that_makes_no_sense_is_asked_for_again() {
    for raw in [
        &b""[..],
        b"{}",
        b"no",
        b"{\"certificateOwnershipToken\":\"o\",\"certificateId\":\"00\",\"certificatePem\":\"x\"}",
        b"[]",
    ] {
        let fleet = Fleet::start().await;
        let dir = tempfile::tempdir().unwrap();
        fleet
            .broker
            .shelf(|shelf| shelf.raw.push_back(raw.to_vec()));
        let watch = Watch::default();
        drop(member(join(fleet.settings(dir.path()), &watch).await));
        fleet.assert_one_of_all("rubbish");
        assert_eq!(watch.codes(), ["reply-unreadable"], "{raw:?}");
    }
}

#[tokio::test]
async fn a_broker_that_hangs_up_is_called_again() {
    let fleet = Fleet::start().await;
    let dir = tempfile::tempdir().unwrap();
    fleet.broker.shelf(|shelf| shelf.hang_ups = 5);
    let watch = Watch::default();
    drop(member(join(fleet.settings(dir.path()), &watch).await));
    fleet.assert_one_of_all("hung up");
    assert_eq!(watch.codes(), ["reply-lost"; 5]);
}

#[tokio::test]
async fn a_certificate_from_another_fleet_is_not_kept() {
    // The broker's own certificate is from the pinned root; what it hands out is not.
    let registrar = Registrar::start().await;
    let foreign = Arc::new(Pki::new());
    let (chain, key, der) = registrar.pki.stranger("claim");
    let broker = Broker::start(&registrar.pki, &der).await;
    let (_, other_key, other) = foreign.stranger("x");
    drop(other_key);
    let dir = tempfile::tempdir().unwrap();
    let claim = Claim {
        broker: broker.endpoint(),
        template: None,
        parameters: BTreeMap::new(),
        chain_pem: chain,
        key_pem: Secret::new(key.into_bytes()),
    };
    let raw = serde_json::json!({
        "certificateOwnershipToken": "o",
        "certificateId": id(&other),
        "certificatePem": imprint_pkix::pem::encode("CERTIFICATE", &other),
    });
    broker.shelf(|shelf| shelf.raw.push_back(raw.to_string().into_bytes()));
    let told = Settings {
        token: None,
        door: Door::Claim(claim),
        ..settings(&registrar, dir.path())
    };
    let end = join(told, &Watch::default()).await.unwrap();
    let reason = Quarantine::WrongCertificate;
    assert!(
        matches!(&end, End::Quarantined(found, _) if *found == reason),
        "{end:?}"
    );
}

#[tokio::test]
async fn a_claim_whose_key_is_another_is_told_before_anything_leaves() {
    let fleet = Fleet::start().await;
    let dir = tempfile::tempdir().unwrap();
    let (_, other_key, _) = fleet.registrar.pki.stranger("x");
    for (chain, key) in [
        (fleet.claim.0.clone(), other_key),
        (fleet.claim.0.clone(), "no key".to_owned()),
        (String::new(), fleet.claim.1.clone()),
    ] {
        let claim = Claim {
            chain_pem: chain,
            key_pem: Secret::new(key.into_bytes()),
            ..fleet.claim()
        };
        let told = Settings {
            door: Door::Claim(claim),
            ..fleet.settings(&dir.path().join("a"))
        };
        let watch = Watch::default();
        let end = join(told, &watch).await.unwrap();
        assert!(
            matches!(end, End::Quarantined(Quarantine::Refused, _)),
            "{end:?}"
        );
        assert_eq!(watch.codes(), ["claim-unusable"]);
        assert!(fleet.broker.shelf(|shelf| shelf.log.is_empty()));
        std::fs::remove_dir_all(dir.path().join("a")).unwrap();
    }
}

/// A device that was born with a certificate.
fn born(fleet: &Fleet, broker: bool) -> (OwnCertificate, Vec<u8>) {
    let (chain_pem, key_pem, der) = Pki::new().stranger("factory-0042");
    let own = OwnCertificate {
        chain_pem,
        key_pem: Secret::new(key_pem.into_bytes()),
        broker: broker.then(|| fleet.broker.endpoint()),
    };
    (own, der)
}

#[tokio::test]
async fn a_device_with_its_own_certificate_comes_in_just_in_time() {
    for by_mqtt in [true, false] {
        let fleet = Fleet::start().await;
        let dir = tempfile::tempdir().unwrap();
        let (own, der) = born(&fleet, by_mqtt);
        fleet.broker.shelf(|shelf| shelf.known.push(der.clone()));
        fleet
            .registrar
            .books(|books| books.issued.insert(Vec::new(), der.clone()));
        let told = Settings {
            door: Door::JustInTime(own),
            ..fleet.settings(dir.path())
        };
        let agent: Agent = member(join(told, &Watch::default()).await);
        let shown = if by_mqtt {
            fleet.broker.shelf(|shelf| shelf.verified.clone())
        } else {
            fleet.registrar.books(|books| books.verified.clone())
        };
        assert_eq!(shown, std::slice::from_ref(&der));
        let credential = agent.record().credential().unwrap();
        let kept = agent.store().credential(credential.slot).unwrap().unwrap();
        assert_eq!(kept.chain, [der.into()]);
    }
}

#[tokio::test]
async fn just_in_time_survives_a_power_cut_at_any_moment() {
    for at in 0.. {
        assert!(at < 100, "the way in has an end");
        let fleet = Fleet::start().await;
        let dir = tempfile::tempdir().unwrap();
        let (own, der) = born(&fleet, true);
        fleet.broker.shelf(|shelf| shelf.known.push(der));
        let told = || Settings {
            door: Door::JustInTime(own.clone()),
            ..fleet.settings(dir.path())
        };
        let watch = Watch::striking(at, Strike::PowerCut);
        match join(told(), &watch).await.unwrap() {
            End::PowerCut => drop(member(join(told(), &Watch::default()).await)),
            end => {
                drop(member(Ok(end)));
                break;
            }
        }
        assert_eq!(fleet.broker.shelf(|shelf| shelf.verified.len()), 1, "{at}");
    }
}

#[tokio::test]
async fn an_own_certificate_for_another_key_is_not_used() {
    let fleet = Fleet::start().await;
    let dir = tempfile::tempdir().unwrap();
    let (own, _) = born(&fleet, true);
    let (_, other_key, _) = fleet.registrar.pki.stranger("x");
    let own = OwnCertificate {
        key_pem: Secret::new(other_key.into_bytes()),
        ..own
    };
    let told = Settings {
        door: Door::JustInTime(own),
        ..fleet.settings(dir.path())
    };
    let end = join(told, &Watch::default()).await.unwrap();
    assert!(
        matches!(end, End::Quarantined(Quarantine::WrongCertificate, _)),
        "{end:?}"
    );
    assert!(fleet.broker.shelf(|shelf| shelf.log.is_empty()));
}
