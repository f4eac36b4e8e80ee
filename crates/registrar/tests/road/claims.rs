//! Claims: a shared right names no device twice, and the same question has the same answer.

mod attacks;
mod brake;
mod crashes;
pub mod just_in_time;
mod races;
mod support;

use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair as _};
use imprint_identity::Step;
use imprint_registrar::claims::definition::{Claim, Template};
use imprint_registrar::claims::thing::{Override, PolicySpec, ThingSpec};
use imprint_registrar::claims::{Arrival, Registration, TRUSTED_USER_SECONDS};
use imprint_registrar::enroll::Kind;
use imprint_registrar::ledger::{
    CertificateOrigin, CertificateState, ClaimAct, ClaimCertificateState, Definitions, DeviceAct,
    DeviceState, RevocationReason, ThingFilter,
};
use imprint_registrar::product::KeyKind;
use imprint_registrar::refusal::Class;
use imprint_registrar::registry::{Named, Policy, Registry};
use imprint_registrar::{Code, Door, EnrollmentRequest, Ledger as _, Product, Retry, Shown};

use crate::support::*;
use support::*;

#[tokio::test]
async fn a_claim_makes_a_device_of_a_board_and_the_device_is_provisioned() {
    let fleet = Fleet::new().await;
    let key = Key::new();
    let pending = fleet.certify(&key).await.unwrap();
    assert!(!pending.again);
    let name = name_in(&pending.der);
    let hash = key.fingerprint().to_string();
    assert_eq!(name, format!("pending-{}", &hash[..32]));
    let registered = fleet.register(&pending, "sn-1").await.unwrap();
    assert!(!registered.again);
    assert_eq!(registered.device.id.as_str(), "thermo-sn-1");
    assert_eq!(
        (registered.device.state, registered.device.step),
        (DeviceState::Active, Step::Verify)
    );
    let member = fleet.world.verify(&pending.der).await.unwrap();
    assert!(member.first_use);
    let file = fleet.world.device("thermo-sn-1").await;
    assert_eq!(file.device.step, Step::Provisioned);
    assert_eq!(file.certificates[0].origin, CertificateOrigin::Claimed);
    assert_eq!(file.thing.unwrap().name, "thermo-sn-1");
    assert_eq!(fleet.claim().await.granted, 1);
    // Whoever is in is a member at this door too, and renews at the other.
    let arrived = arrive(&fleet.world, &peer(&pending.der)).await.unwrap();
    assert!(matches!(arrived, Arrival::Member(_)));
    let renewed = fleet.world.renew(&Key::new(), &pending.der).await.unwrap();
    assert_eq!(name_in(&renewed.certificate), "thermo-sn-1");
}

#[tokio::test]
async fn the_same_key_asks_again_and_gets_the_same_certificate_and_token() {
    let mut fleet = Fleet::new().await;
    let key = Key::new();
    let first = fleet.certify(&key).await.unwrap();
    let other = fleet.certify(&Key::new()).await.unwrap();
    assert_ne!(
        (&other.der, &other.ownership),
        (&first.der, &first.ownership)
    );
    for restart in [false, true, false] {
        if restart {
            fleet = fleet.restarted();
        }
        fleet.world.pass(600);
        let again = fleet.certify(&key).await.unwrap();
        assert!(again.again);
        assert_eq!(
            (&again.der, &again.ownership),
            (&first.der, &first.ownership)
        );
    }
    fleet.register(&first, "sn-1").await.unwrap();
    fleet.world.verify(&first.der).await.unwrap();
    fleet.world.pass(86_400);
    fleet.world.road.housekeep(fleet.world.now()).await.unwrap();
    let again = fleet.certify(&key).await.unwrap();
    assert_eq!(
        (&again.der, &again.ownership),
        (&first.der, &first.ownership),
        "also when its device has long been registered"
    );
}

#[tokio::test]
async fn the_same_registration_gets_the_answer_that_was_given_first() {
    let mut fleet = Fleet::new().await;
    let pending = fleet.certify(&Key::new()).await.unwrap();
    let first = fleet.register(&pending, "sn-1").await.unwrap();
    for restart in [false, true] {
        if restart {
            fleet = fleet.restarted();
        }
        let again = Registration {
            answer: b"what the template would say today".to_vec(),
            ..registration("sn-1")
        };
        let again = fleet.register_as(&pending, again).await.unwrap();
        assert!(again.again);
        assert_eq!(again.answer, first.answer);
        assert_eq!(again.device.id, first.device.id);
    }
    let opening = fleet.open(&pending.ownership).await.unwrap();
    assert_eq!(opening.registered.unwrap().answer, first.answer);
    assert_eq!(told(&fleet.world, "device-registered").await, 1);
    assert_eq!(fleet.claim().await.granted, 1);
}

#[tokio::test]
async fn one_token_registers_one_thing_of_one_device() {
    let fleet = Fleet::new().await;
    let pending = fleet.certify(&Key::new()).await.unwrap();
    fleet.register(&pending, "sn-1").await.unwrap();
    let rows = [
        registration("sn-2"),
        Registration {
            thing: Some(ThingSpec::named("another")),
            ..registration("sn-1")
        },
        Registration {
            thing: None,
            ..registration("sn-1")
        },
        Registration {
            hardware: registration("sn-2").hardware,
            ..registration("sn-1")
        },
    ];
    for row in rows {
        let word = code(fleet.register_as(&pending, row.clone()).await);
        assert_eq!(word, Code::OwnershipUsed, "{row:?}");
    }
    let things = ThingFilter::default();
    let things = fleet.world.road.ledger().thing_list(&things).await.unwrap();
    assert_eq!(things.len(), 1);
    let devices = fleet.world.road.ledger();
    assert!(devices.device_get("sn-2").await.unwrap().is_none());
}

#[tokio::test]
async fn a_token_is_one_claims_and_any_other_text_is_none() {
    let fleet = Fleet::new().await;
    define(&fleet.world, vec![Claim::named("line-2", "thermo")]).await;
    let other = issue(&fleet.world, "line-2", &Key::new(), YEARS).await;
    let pending = fleet.certify(&Key::new()).await.unwrap();
    let speaker = arrive_as_claim(&fleet.world, &other).await.unwrap();
    let road = &fleet.world.road;
    let refused = road
        .claim_open(&speaker, &pending.ownership, "thermo", mqtt(), START)
        .await;
    assert_eq!(code(refused), Code::OwnershipInvalid);

    let token = &pending.ownership;
    assert!(token.len() <= 200, "embedded buffers are small");
    let mut wrong: Vec<String> = (0..token.len())
        .step_by(7)
        .map(|at| {
            let mut letters: Vec<char> = token.chars().collect();
            letters[at] = if letters[at] == 'A' { 'B' } else { 'A' };
            letters.into_iter().collect()
        })
        .collect();
    wrong.extend(["", "a", "=", "\u{1f4a9}"].map(str::to_owned));
    wrong.push(token.repeat(2));
    wrong.push(format!("{}=", &token[..token.len() - 1]));
    for text in wrong {
        let refused = fleet.open(&text).await.map(|_| ()).unwrap_err();
        assert_eq!(refused.code, Code::OwnershipInvalid, "{text:?}");
        let told = format!("{refused:?}");
        assert!(text.len() < 9 || !told.contains(&text), "{told}");
    }
    fleet.open(token).await.unwrap();
}

#[tokio::test]
async fn a_pending_certificate_is_good_for_nothing_else() {
    let fleet = Fleet::new().await;
    let key = Key::new();
    let pending = fleet.certify(&key).await.unwrap();
    let shown = peer(&pending.der);
    assert_eq!(
        code(fleet.world.verify(&pending.der).await),
        Code::CertificatePending
    );
    assert_eq!(
        code(arrive(&fleet.world, &shown).await),
        Code::CertificatePending
    );
    for kind in [Kind::Enroll, Kind::Reenroll, Kind::ServerKey] {
        let request = EnrollmentRequest {
            kind,
            shown: Shown::Certificate(shown.clone()),
            csr: key.csr(&name_in(&pending.der), None),
            ..by_token(&key, "", "")
        };
        assert_eq!(
            code(fleet.world.ask(request).await),
            Code::CertificatePending
        );
    }
    // Nor is it to be adopted.
    let hardware = Some(registration("sn-1").hardware);
    let (road, now) = (&fleet.world.road, fleet.world.now());
    let adopted = road.device_adopt(pending.der.clone(), "thermo", hardware, "test", now);
    assert!(adopted.await.is_err());
    let devices = imprint_registrar::ledger::DeviceFilter::default();
    assert!(
        road.ledger()
            .device_list(&devices)
            .await
            .unwrap()
            .is_empty()
    );
}

#[tokio::test]
async fn a_claim_certificate_reaches_provisioning_calls_and_nothing_else() {
    let fleet = Fleet::new().await;
    // One of ours, and one that a cloud had issued.
    let (foreign_key, foreign) = just_in_time::claim_of_a_cloud();
    let taken = fleet
        .world
        .road
        .claim_take_in("line-1", foreign.clone(), "test", START)
        .await
        .unwrap();
    assert_eq!(taken.certificates.len(), 2);
    let rows = [
        (&fleet.claim_key, &fleet.claim_certificate),
        (&foreign_key, &foreign),
    ];
    for (key, certificate) in rows {
        let speaker = arrive_as_claim(&fleet.world, certificate).await.unwrap();
        assert_eq!(speaker.name(), "line-1");
        assert_eq!(
            code(fleet.world.verify(certificate).await),
            Code::ClaimOnlyProvisions
        );
        for kind in [Kind::Enroll, Kind::Reenroll, Kind::ServerKey] {
            let request = EnrollmentRequest {
                kind,
                shown: Shown::Certificate(peer(certificate)),
                csr: key.csr(&name_in(certificate), None),
                ..by_token(key, "", "")
            };
            assert_eq!(
                code(fleet.world.ask(request).await),
                Code::ClaimOnlyProvisions
            );
        }
        let pending = certify(&fleet.world.road, &speaker, &Key::new(), START).await;
        pending.unwrap();
    }
    // It is refused by its own word when it has expired, too.
    fleet.world.pass(6 * YEARS);
    for (_, certificate) in rows {
        assert_eq!(
            code(fleet.world.verify(certificate).await),
            Code::ClaimOnlyProvisions
        );
    }
}

#[tokio::test]
async fn a_devices_or_an_authoritys_certificate_is_no_claims() {
    let fleet = Fleet::new().await;
    let (_, certificate) = fleet.provisioned("sn-1").await;
    let pending = fleet.certify(&Key::new()).await.unwrap();
    let root = fleet.world.road.authorities().above()[0].der().to_vec();
    for der in [certificate, pending.der, root, vec![1, 2, 3]] {
        let (road, now) = (&fleet.world.road, fleet.world.now());
        let taken = road.claim_take_in("line-1", der, "test", now).await;
        assert!(taken.is_err());
    }
    assert_eq!(fleet.claim().await.certificates.len(), 1);
}

#[tokio::test]
async fn keys_that_are_weak_unproven_or_somebody_elses_get_no_certificate() {
    let world = World::with(|product| product.keys = vec![KeyKind::P256]).await;
    let fleet = Fleet::on(world, |_| {}).await;
    let (owner, _) = fleet.world.provisioned("sn-1").await;
    let speaker = fleet.speaker().await.unwrap();
    let road = &fleet.world.road;
    let ask = async |csr: Vec<u8>| {
        let asked = road.claim_certify(&speaker, &csr, mqtt(), &chance, START);
        code(asked.await)
    };
    let (honest, liar) = (Key::new(), Key::new());
    let unproven = {
        let csr = imprint_pkix::csr::Csr::parse(&honest.csr("x", None)).unwrap();
        let signature = liar.sign(csr.to_be_signed());
        let algorithm = imprint_pkix::SignatureAlgorithm::EcdsaSha256;
        imprint_pkix::csr::assemble(csr.to_be_signed(), algorithm, &signature)
    };
    assert_eq!(ask(unproven).await, Code::PossessionUnproven);
    assert_eq!(ask(owner.csr("x", None)).await, Code::KeyInUse);
    assert_eq!(ask(fleet.claim_key.csr("x", None)).await, Code::KeyInUse);
    assert_eq!(ask(vec![]).await, Code::CsrUnreadable);
    assert_eq!(ask(vec![0x30; 9_000]).await, Code::CsrUnreadable);
    assert_eq!(fleet.claim().await.pending, 0);

    let world = World::with(|product| product.keys = vec![KeyKind::Rsa]).await;
    let fleet = Fleet::on(world, |_| {}).await;
    assert_eq!(code(fleet.certify(&Key::new()).await), Code::KeyNotAccepted);
}

#[tokio::test]
async fn keys_that_the_server_makes_are_new_each_time_and_nowhere_kept() {
    let fleet = Fleet::new().await;
    let speaker = fleet.speaker().await.unwrap();
    let road = &fleet.world.road;
    let make = async || {
        road.claim_certify_with_key(&speaker, "sn-1", mqtt(), &chance, START)
            .await
            .unwrap()
    };
    let ((first, key), (second, other)) = (make().await, make().await);
    assert_ne!(first.der, second.der);
    assert_ne!(first.ownership, second.ownership);
    assert_ne!(*key, *other);
    let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &key).unwrap();
    let certified = imprint_pkix::certificate::Certificate::parse(&first.der).unwrap();
    let point = pair.public_key().as_ref();
    assert!(
        certified.spki_der().ends_with(point),
        "key and certificate fit"
    );
    fleet.register(&first, "sn-1").await.unwrap();
    fleet.register(&second, "sn-2").await.unwrap();
    // The private scalar stands in the PKCS#8 right behind this head (RFC 5915).
    let at = key
        .windows(4)
        .position(|four| four == [0x02, 0x01, 0x01, 0x04])
        .unwrap();
    let scalar = &key[at + 5..at + 37];
    let stored = fleet.world.stored();
    assert!(!stored.windows(32).any(|some| some == scalar));
    let token = first.ownership.as_bytes();
    assert!(!stored.windows(token.len()).any(|some| some == token));
}

#[tokio::test]
async fn what_is_not_registered_within_an_hour_is_revoked_listed_and_told() {
    let fleet = Fleet::new().await;
    let key = Key::new();
    let pending = fleet.certify(&key).await.unwrap();
    let road = &fleet.world.road;
    fleet.world.pass(3_600);
    road.housekeep(fleet.world.now()).await.unwrap();
    fleet.open(&pending.ownership).await.unwrap();
    fleet.world.pass(1);
    road.housekeep(fleet.world.now()).await.unwrap();
    assert_eq!(
        code(fleet.open(&pending.ownership).await),
        Code::OwnershipInvalid
    );
    assert_eq!(
        code(fleet.world.verify(&pending.der).await),
        Code::CertificateRevoked
    );
    assert_eq!(told(&fleet.world, "pending-expired").await, 1);
    let facts = road.ledger().crl_facts("issuing", fleet.world.now());
    let facts = facts.await.unwrap();
    assert!(facts.stale);
    let listed: Vec<_> = facts
        .revoked
        .iter()
        .map(|(serial, _, why)| (*serial, *why))
        .collect();
    assert_eq!(
        listed,
        [(pending.serial, RevocationReason::CessationOfOperation)]
    );
    // The device comes back from a day without power, with the key that it has.
    fleet.world.pass(86_400);
    let anew = fleet.certify(&key).await.unwrap();
    assert_ne!(anew.der, pending.der);
    fleet.register(&anew, "sn-1").await.unwrap();
}

#[tokio::test]
async fn templates_are_checked_before_the_token_and_one_by_one() {
    let fleet = Fleet::with(|claim| {
        claim.templates = vec!["good".into(), "asleep".into(), "others".into()];
    })
    .await;
    let other = Product::named("meter");
    let template = |name: &str, product: &str| Template {
        name: name.into(),
        product: product.into(),
        description: String::new(),
        enabled: name != "asleep",
        body: "{}".into(),
        hardware: "SerialNumber".into(),
        create_missing: false,
        hook: None,
    };
    let definitions = Definitions {
        products: vec![other],
        templates: vec![
            template("good", "thermo"),
            template("asleep", "thermo"),
            template("others", "meter"),
            template("unnamed", "thermo"),
        ],
        ..Definitions::default()
    };
    let ledger = fleet.world.road.ledger();
    ledger
        .fleet_apply(definitions, "test", START)
        .await
        .unwrap();
    let pending = fleet.certify(&Key::new()).await.unwrap();
    let rows = [
        ("nope", "", Code::TemplateUnknown),
        ("asleep", "", Code::TemplateDisabled),
        ("others", "", Code::TemplateNotAllowed),
        ("unnamed", "", Code::TemplateNotAllowed),
        ("thermo", "", Code::TemplateNotAllowed),
        ("good", "", Code::OwnershipInvalid),
    ];
    for (name, token, want) in rows {
        assert_eq!(code(fleet.open_with(token, name).await), want, "{name}");
        let good = fleet.open_with(&pending.ownership, name).await;
        assert_eq!(good.is_ok(), name == "good", "{name}");
    }
    let opening = fleet.open_with(&pending.ownership, "good").await.unwrap();
    assert_eq!(opening.template.unwrap().name, "good");
    assert_eq!(opening.certificate, pending.der);
    assert_eq!(opening.certificate_id, pending.certificate_id);
}

type End = fn(String, imprint_registrar::ledger::CertificateFingerprint) -> ClaimAct;

#[tokio::test]
async fn a_claim_that_ends_is_refused_at_its_next_request_and_its_devices_go_on() {
    let reason = || "the factory lost a laptop".to_owned();
    let fingerprint = |fleet: &Fleet| {
        let der = &fleet.claim_certificate;
        imprint_registrar::claims::fingerprint_of(der)
    };
    let ends: [(End, Code); 3] = [
        (|reason, _| ClaimAct::Revoke { reason }, Code::ClaimRevoked),
        (|reason, _| ClaimAct::Freeze { reason }, Code::ClaimFrozen),
        (
            |_, fingerprint| ClaimAct::RevokeCertificate {
                fingerprint,
                reason: RevocationReason::KeyCompromise,
            },
            Code::ClaimRevoked,
        ),
    ];
    for (end, want) in ends {
        let fleet = Fleet::new().await;
        let (device_key, device) = fleet.provisioned("sn-1").await;
        let key = Key::new();
        let pending = fleet.certify(&key).await.unwrap();
        let opening = fleet.open(&pending.ownership).await.unwrap();
        let speaker = fleet.speaker().await.unwrap();
        fleet.act(end(reason(), fingerprint(&fleet))).await;
        let (road, now) = (&fleet.world.road, fleet.world.now());
        // On the connection that it has, and on a new one.
        let asked = certify(road, &speaker, &key, now).await;
        assert_eq!(code(asked), want, "not even the same again");
        let made = road.claim_certify_with_key(&speaker, "sn-1", mqtt(), &chance, now);
        assert_eq!(code(made.await), want);
        let opened = road.claim_open(&speaker, &pending.ownership, "thermo", mqtt(), now);
        assert_eq!(code(opened.await), want);
        let registration = registration("sn-2");
        let registered = road.claim_register(&opening, &registration, mqtt(), &chance, now);
        assert_eq!(code(registered.await), want);
        let refusal = fleet.speaker().await.map(|_| ()).unwrap_err();
        assert_eq!(refusal.code, want);
        assert_eq!(refusal.subject.as_deref(), Some("line-1"));

        fleet.world.verify(&device).await.unwrap();
        fleet.world.renew(&device_key, &device).await.unwrap();
        let here = fleet.world.road.ledger().device_get("sn-2").await;
        assert!(here.unwrap().is_none());
    }
}

#[tokio::test]
async fn a_thawed_claim_goes_on_where_it_was() {
    let fleet = Fleet::new().await;
    let pending = fleet.certify(&Key::new()).await.unwrap();
    let reason = "a look at it".to_owned();
    fleet.act(ClaimAct::Freeze { reason }).await;
    let refusal = fleet.certify(&Key::new()).await.map(|_| ()).unwrap_err();
    assert!(matches!(refusal.retry, Retry::After(_)), "it may pass");
    assert!(refusal.detail.unwrap().contains("a look at it"));
    fleet.act(ClaimAct::Thaw).await;
    fleet.register(&pending, "sn-1").await.unwrap();
}

#[tokio::test]
async fn a_claim_has_several_certificates_and_each_has_its_own_end() {
    let fleet = Fleet::with(|claim| claim.bootstrap_grace_days = 30).await;
    let short = issue(&fleet.world, "line-1", &Key::new(), 86_400).await;
    let speaks = async |der: &[u8]| match arrive_as_claim(&fleet.world, der).await {
        Ok(_) => None,
        Err(refusal) => Some(refusal.code),
    };
    fleet.world.pass(86_400 + 30 * 86_400);
    assert_eq!(speaks(&short).await, None, "the last second of its grace");
    fleet.world.pass(1);
    assert_eq!(speaks(&short).await, Some(Code::ClaimExpired));
    assert_eq!(speaks(&fleet.claim_certificate).await, None);
    // A server whose clock went back says that it passes.
    fleet.world.pass(-40 * 86_400);
    let refusal = arrive_as_claim(&fleet.world, &short).await;
    let refusal = refusal.map(|_| ()).unwrap_err();
    assert_eq!(refusal.code, Code::CertificateNotYetValid);
    assert_eq!(refusal.code.class(), Class::Passing);
}

#[tokio::test]
async fn a_products_grace_holds_for_its_claims_and_the_journal_says_so() {
    let world = World::with(|product| product.bootstrap_grace_days = 60).await;
    let mut fleet = Fleet::on(world, |claim| claim.bootstrap_grace_days = 30).await;
    fleet.claim_certificate = issue(&fleet.world, "line-1", &Key::new(), 86_400).await;
    fleet.world.pass(61 * 86_400);
    let pending = fleet.certify(&Key::new()).await.unwrap();
    fleet.register(&pending, "sn-1").await.unwrap();
    let told = fleet
        .world
        .journal("device-registered", "thermo-sn-1")
        .await;
    assert_eq!(told[0]["grace"], START.plus(86_400).to_string());
    fleet.world.pass(1);
    assert_eq!(code(fleet.certify(&Key::new()).await), Code::ClaimExpired);
}

#[tokio::test]
async fn a_closed_door_gives_no_certificate_and_registers_none_that_was_given() {
    let fleet = Fleet::new().await;
    let (key, given) = (Key::new(), Key::new());
    let (_, certificate) = fleet.provisioned("sn-1").await;
    let pending = fleet.certify(&given).await.unwrap();
    fleet
        .world
        .apply(Product {
            doors: Some(vec![Door::Est, Door::JustInTime]),
            ..Product::named("thermo")
        })
        .await;
    assert_eq!(code(fleet.certify(&key).await), Code::DoorClosed);
    assert_eq!(
        code(fleet.register(&pending, "sn-2").await),
        Code::DoorClosed
    );
    // The same question has the same answer, and who is in stays.
    assert_eq!(fleet.certify(&given).await.unwrap().der, pending.der);
    fleet.world.verify(&certificate).await.unwrap();
    fleet.world.apply(Product::named("thermo")).await;
    fleet.register(&pending, "sn-2").await.unwrap();
}

#[tokio::test]
async fn a_claim_brings_no_hardware_that_does_not_look_like_the_products() {
    let world = World::with(|product| product.serial_pattern = Some("sn-[0-9]".into())).await;
    let fleet = Fleet::on(world, |_| {}).await;
    let pending = fleet.certify(&Key::new()).await.unwrap();
    let outcome = fleet.register(&pending, "sn-10").await;
    assert_eq!(code(outcome), Code::HardwareUnfit);
    // The certificate waits on.
    fleet.register(&pending, "sn-1").await.unwrap();
}

#[tokio::test]
async fn a_weak_key_gets_no_certificate_by_claim() {
    let fleet = Fleet::new().await;
    let speaker = fleet.speaker().await.unwrap();
    let (road, now) = (&fleet.world.road, fleet.world.now());
    let csr = neighbours_csr();
    let asked = road
        .claim_certify(&speaker, &csr, mqtt(), &chance, now)
        .await;
    assert_eq!(code(asked), Code::KeyUnsound);
}

#[tokio::test]
async fn a_connection_does_not_outlive_its_certificate() {
    let fleet = Fleet::new().await;
    let road = &fleet.world.road;
    let issued = road.claim_issue_with_key(
        "line-1",
        TRUSTED_USER_SECONDS,
        "ada",
        &chance,
        fleet.world.now(),
    );
    let (issued, key) = issued.await.unwrap();
    assert!(!key.is_empty());
    assert_eq!(issued.not_after, START.plus(300));
    let speaker = arrive_as_claim(&fleet.world, &issued.der).await.unwrap();
    fleet.world.pass(300);
    let pending = certify(road, &speaker, &Key::new(), fleet.world.now()).await;
    let pending = pending.unwrap();
    fleet.world.pass(1);
    let now = fleet.world.now();
    assert_eq!(
        code(certify(road, &speaker, &Key::new(), now).await),
        Code::ClaimExpired
    );
    // The claim's other certificate finishes what this one began.
    fleet.register(&pending, "sn-1").await.unwrap();
}

#[tokio::test]
async fn a_claims_certificates_are_on_record_and_on_the_list() {
    let fleet = Fleet::new().await;
    let record = fleet.claim().await;
    assert_eq!(record.certificates.len(), 1);
    assert_eq!(record.certificates[0].state, ClaimCertificateState::Active);
    assert_eq!(name_in(&fleet.claim_certificate), "claim-line-1");
    let reason = "over".to_owned();
    fleet.act(ClaimAct::Revoke { reason }).await;
    let lists = fleet.world.road.crl_renew(fleet.world.now(), false).await;
    let lists = lists.unwrap();
    let serial = record.certificates[0].serial.unwrap();
    assert!(lists[0].der.windows(20).any(|some| some == serial.0));
    let (road, now) = (&fleet.world.road, fleet.world.now());
    let csr = Key::new().csr("x", None);
    let another = road.claim_issue("line-1", &csr, 900, "test", &chance, now);
    assert!(another.await.is_err(), "a revoked claim gets no more");
    for seconds in [0, -1, i64::MIN] {
        let issued = road.claim_issue("line-1", &csr, seconds, "test", &chance, now);
        assert!(issued.await.is_err());
    }
}

#[tokio::test]
async fn approval_is_asked_for_at_registration_and_the_same_token_registers_after_it() {
    let world = World::with(|product| product.approval = true).await;
    let fleet = Fleet::on(world, |_| {}).await;
    let pending = fleet.certify(&Key::new()).await.unwrap();
    for _ in 0..2 {
        let waits = fleet.register(&pending, "sn-1").await;
        assert_eq!(code(waits), Code::ApprovalPending);
    }
    let file = fleet.world.device("thermo-sn-1").await;
    assert_eq!(file.device.state, DeviceState::Held);
    assert_eq!((file.waiting.len(), file.certificates.len()), (1, 0));
    let until = fleet.world.now().plus(86_400);
    act(
        &fleet.world,
        "thermo-sn-1",
        DeviceAct::Approve { key: None, until },
    )
    .await;
    fleet.register(&pending, "sn-1").await.unwrap();
    fleet.world.verify(&pending.der).await.unwrap();
    // The approval was for that key.
    let thief = fleet.certify(&Key::new()).await.unwrap();
    assert_eq!(
        code(fleet.register(&thief, "sn-1").await),
        Code::DeviceExists
    );
}

#[tokio::test]
async fn what_a_template_leaves_inactive_is_held_until_it_is_approved() {
    let fleet = Fleet::new().await;
    let pending = fleet.certify(&Key::new()).await.unwrap();
    let held = Registration {
        thing: Some(ThingSpec {
            inactive: true,
            ..ThingSpec::named("thermo-sn-1")
        }),
        ..registration("sn-1")
    };
    let registered = fleet.register_as(&pending, held).await.unwrap();
    assert_eq!(registered.device.state, DeviceState::Held);
    let shown = peer(&pending.der);
    for _ in 0..3 {
        assert_eq!(
            code(arrive(&fleet.world, &shown).await),
            Code::ApprovalPending
        );
    }
    assert_eq!(
        told(&fleet.world, "certificate-waiting").await,
        1,
        "once a minute"
    );
    fleet.world.pass(60);
    let _ = arrive(&fleet.world, &shown).await;
    assert_eq!(told(&fleet.world, "certificate-waiting").await, 2);
    let until = fleet.world.now().plus(86_400);
    act(
        &fleet.world,
        "thermo-sn-1",
        DeviceAct::Approve { key: None, until },
    )
    .await;
    let arrived = arrive(&fleet.world, &shown).await.unwrap();
    assert!(matches!(arrived, Arrival::Member(member) if member.first_use));
}

async fn groups(world: &World, names: &[&str]) {
    let definitions = Definitions {
        registry: Registry {
            groups: names.iter().map(|name| Named::new(name)).collect(),
            ..Registry::default()
        },
        ..Definitions::default()
    };
    let ledger = world.road.ledger();
    ledger
        .fleet_apply(definitions, "test", START)
        .await
        .unwrap();
}

#[tokio::test]
async fn what_a_thing_names_has_to_be_in_the_registry_or_nothing_is_registered() {
    let fleet = Fleet::new().await;
    let key = Key::new();
    let pending = fleet.certify(&key).await.unwrap();
    let spec = ThingSpec {
        thing_type: Some("sensor".into()),
        groups: vec!["hall-1".into()],
        policies: vec![PolicySpec {
            name: "devices".into(),
            document: None,
        }],
        ..ThingSpec::named("thermo-sn-1")
    };
    let asked = || Registration {
        thing: Some(spec.clone()),
        ..registration("sn-1")
    };
    let mut registry = Registry::default();
    for step in 0..3 {
        let refusal = fleet.register_as(&pending, asked()).await.map(|_| ());
        let refusal = refusal.unwrap_err();
        assert_eq!(refusal.code, Code::RegistryMissing);
        assert_eq!(refusal.code.class(), Class::Passing, "it can be added");
        let want = [
            "group \"hall-1\"",
            "thing type \"sensor\"",
            "policy \"devices\"",
        ];
        assert_eq!(refusal.detail.as_deref(), Some(want[step]));
        match step {
            0 => registry.groups = vec![Named::new("hall-1")],
            1 => registry.thing_types = vec![Named::new("sensor")],
            _ => {
                registry.policies = vec![Policy {
                    name: "devices".into(),
                    description: String::new(),
                    document: None,
                }];
            }
        }
        let known = fleet.world.road.ledger().device_get("sn-1").await.unwrap();
        assert!(known.is_none(), "nothing is registered");
        let definitions = Definitions {
            registry: registry.clone(),
            ..Definitions::default()
        };
        let ledger = fleet.world.road.ledger();
        ledger
            .fleet_apply(definitions, "test", START)
            .await
            .unwrap();
    }
    // The certificate and its token have waited.
    fleet.register_as(&pending, asked()).await.unwrap();
    let there = fleet.world.road.ledger().registry_list().await.unwrap();
    assert_eq!(there, registry);
    assert_eq!(told(&fleet.world, "registry-applied").await, 3);
}

#[tokio::test]
async fn a_template_that_says_so_adds_what_it_names_and_tells_it_once() {
    let fleet = Fleet::new().await;
    let template = Template {
        name: "field".into(),
        product: "thermo".into(),
        description: String::new(),
        enabled: true,
        body: "{}".into(),
        hardware: "SerialNumber".into(),
        create_missing: true,
        hook: None,
    };
    let definitions = Definitions {
        templates: vec![template],
        ..Definitions::default()
    };
    let ledger = fleet.world.road.ledger();
    ledger
        .fleet_apply(definitions, "test", START)
        .await
        .unwrap();
    for serial in ["sn-1", "sn-2"] {
        let pending = fleet.certify(&Key::new()).await.unwrap();
        let opening = fleet.open_with(&pending.ownership, "field").await.unwrap();
        let asked = Registration {
            thing: Some(ThingSpec {
                groups: vec!["hall-1".into()],
                ..ThingSpec::named(serial)
            }),
            ..registration(serial)
        };
        let (road, now) = (&fleet.world.road, fleet.world.now());
        let registered = road.claim_register(&opening, &asked, mqtt(), &chance, now);
        registered.await.unwrap();
    }
    let there = ledger.registry_list().await.unwrap();
    assert_eq!(there.groups, [Named::new("hall-1")]);
    let told = fleet.world.journal("registry-applied", "hall-1").await;
    assert_eq!(told.len(), 1);
    assert_eq!(told[0]["by"], "template");
    let registered = fleet
        .world
        .journal("device-registered", "thermo-sn-1")
        .await;
    assert_eq!(
        registered[0].get("grace"),
        None,
        "what was not needed is not told"
    );
}

#[tokio::test]
async fn a_devices_thing_changes_only_as_the_template_says() {
    let fleet = Fleet::new().await;
    groups(&fleet.world, &["hall-north", "hall-south", "hall-east"]).await;
    let spec = |site: &str, how| ThingSpec {
        attributes: [("site".to_owned(), site.to_owned())].into(),
        groups: vec![format!("hall-{site}")],
        attributes_override: how,
        groups_override: how,
        ..ThingSpec::named("thermo-sn-1")
    };
    let register = async |site: &str, how| {
        let release = DeviceAct::Release { new_key: true };
        let known = fleet.world.road.ledger().device_get("sn-1").await.unwrap();
        if known.is_some() {
            act(&fleet.world, "thermo-sn-1", release).await;
        }
        let pending = fleet.certify(&Key::new()).await.unwrap();
        let registration = Registration {
            thing: Some(spec(site, how)),
            ..registration("sn-1")
        };
        let outcome = fleet.register_as(&pending, registration).await;
        outcome.map(|_| ()).map_err(|refusal| refusal.code)
    };
    let values = async || {
        let thing = fleet.world.device("sn-1").await.thing.unwrap();
        (thing.values.attributes["site"].clone(), thing.values.groups)
    };
    let one = |site: &str, groups: &[&str]| {
        let groups = groups.iter().map(|&group| group.to_owned()).collect();
        (site.to_owned(), groups)
    };
    let (north, south) = ("north", "south");
    assert_eq!(register(north, Override::Fail).await, Ok(()));
    assert_eq!(
        register(south, Override::Fail).await,
        Err(Code::ThingDiffers)
    );
    assert_eq!(
        values().await,
        one(north, &["hall-north"]),
        "nothing is changed"
    );
    assert_eq!(
        register(north, Override::Fail).await,
        Ok(()),
        "it is the same"
    );
    assert_eq!(register(south, Override::DoNothing).await, Ok(()));
    assert_eq!(values().await, one(north, &["hall-north"]));
    assert_eq!(register(south, Override::Merge).await, Ok(()));
    assert_eq!(values().await, one(south, &["hall-north", "hall-south"]));
    assert_eq!(register("east", Override::Replace).await, Ok(()));
    assert_eq!(values().await, one("east", &["hall-east"]));
    let bad = ThingSpec::named("no name");
    let pending = fleet.certify(&Key::new()).await.unwrap();
    let bad = Registration {
        thing: Some(bad),
        ..registration("sn-2")
    };
    assert_eq!(
        code(fleet.register_as(&pending, bad).await),
        Code::ThingInvalid
    );
    let taken = Registration {
        thing: Some(ThingSpec::named("thermo-sn-1")),
        ..registration("sn-2")
    };
    assert_eq!(
        code(fleet.register_as(&pending, taken).await),
        Code::ThingTaken
    );
    let found = fleet.world.road.ledger().device_get("sn-2").await.unwrap();
    assert!(found.is_none(), "nothing is left of what was refused");
    fleet.register(&pending, "sn-2").await.unwrap();
}

#[tokio::test]
async fn a_device_that_keeps_its_key_comes_back_after_a_release() {
    let fleet = Fleet::new().await;
    let (key, first) = fleet.provisioned("sn-1").await;
    let revoke = DeviceAct::Revoke {
        reason: RevocationReason::Unspecified,
        note: "by mistake".into(),
    };
    act(&fleet.world, "thermo-sn-1", revoke).await;
    assert_eq!(code(fleet.certify(&key).await), Code::DeviceRevoked);
    let release = DeviceAct::Release { new_key: true };
    act(&fleet.world, "thermo-sn-1", release).await;
    let pending = fleet.certify(&key).await.unwrap();
    assert_ne!(pending.der, first);
    // With another's name it is refused all the same: the key is the first one's.
    assert_eq!(code(fleet.register(&pending, "sn-2").await), Code::KeyInUse);
    let registered = fleet.register(&pending, "sn-1").await.unwrap();
    assert_eq!(registered.device.id.as_str(), "thermo-sn-1");
    fleet.world.verify(&pending.der).await.unwrap();
    let states: Vec<_> = fleet.world.device("sn-1").await.certificates;
    let states: Vec<_> = states.iter().map(|one| one.state).collect();
    assert_eq!(
        states,
        [CertificateState::Active, CertificateState::Revoked]
    );
}

#[tokio::test]
async fn a_device_that_was_put_aside_is_not_let_in_by_a_claim() {
    let fleet = Fleet::new().await;
    let (key, _) = fleet.provisioned("sn-1").await;
    let rows = [
        (
            DeviceAct::Quarantine { reason: "a".into() },
            Code::DeviceQuarantined,
        ),
        (
            DeviceAct::Decommission { reason: "b".into() },
            Code::DeviceDecommissioned,
        ),
    ];
    for (aside, want) in rows {
        act(&fleet.world, "thermo-sn-1", aside).await;
        let pending = fleet.certify(&Key::new()).await.unwrap();
        assert_eq!(code(fleet.register(&pending, "sn-1").await), want);
        assert_eq!(code(fleet.certify(&key).await), want, "by its own key");
    }
}

#[tokio::test]
async fn a_product_that_wants_stronger_proof_takes_no_claims_word() {
    let world = World::with(|product| product.minimum_strength = "flash-key".into()).await;
    let fleet = Fleet::on(world, |_| {}).await;
    let pending = fleet.certify(&Key::new()).await.unwrap();
    assert_eq!(
        code(fleet.register(&pending, "sn-1").await),
        Code::IdentityTooWeak
    );
}
