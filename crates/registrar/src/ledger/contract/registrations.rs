//! The registration of devices that bring their certificate, and the things that are made of them.

use crate::registry::{Kind, Named, Reference};
use std::collections::BTreeMap;

use imprint_identity::Step;

use super::claims::{certificate_of, done, fingerprint, mqtt};
use super::*;
use crate::claims::definition::{
    AutoRegistration, CaMode, Claim, ClaimLimits, RegisteredCa, Template,
};
use crate::claims::thing::{PolicySpec, ThingValues};
use crate::ledger::{
    Acted, ArrivalQuery, AuthorityRecord, ClaimAct, ClaimState, Claimed, Definitions, DeviceAct,
    DeviceState, PendingRecord, PendingState, Registered, RegistrationCertificate,
    RegistrationGrant, RegistrationQuery, RevocationReason, ThingChange, ThingFilter, Waited,
};

const CLAIM: &str = "line-1";

impl<P: Place> Bench<P> {
    /// Device `n` would be registered with this pending certificate, decided on what is on record.
    async fn registration(&mut self, n: u8, pending: &PendingRecord) -> RegistrationGrant {
        let certificate = RegistrationCertificate::Pending {
            claim: CLAIM.into(),
            shown: fingerprint(1),
            serial: pending.serial,
            answer: vec![n, n],
        };
        let grant = registration(n, pending.key, certificate);
        self.decided(grant).await
    }

    /// Device `n` with a certificate of CA `acme`, which takes its devices in.
    async fn newcomer(&mut self, n: u8) -> RegistrationGrant {
        self.acme(|_| {}).await;
        let grant = registration(n, key(n), foreign(n));
        self.decided(grant).await
    }

    /// Registers CA `acme`, or changes how it is used.
    async fn acme(&mut self, change: impl FnOnce(&mut RegisteredCa)) {
        let mut acme = authority("acme", 77);
        acme.ca.template = None;
        change(&mut acme.ca);
        let definitions = Definitions {
            authorities: vec![acme],
            ..Definitions::default()
        };
        let ledger = self.open().await;
        ledger.fleet_apply(definitions, ADMIN, NOW).await.unwrap();
    }

    async fn decided(&mut self, grant: RegistrationGrant) -> RegistrationGrant {
        let query = RegistrationQuery {
            product: Some("thermo".into()),
            hardware: Some(grant.hardware.clone()),
            thing: grant.thing.as_ref().map(|thing| thing.name.clone()),
            ..RegistrationQuery::default()
        };
        let ledger = self.open().await;
        let facts = ledger.registration_facts(&query, NOW).await.unwrap();
        RegistrationGrant {
            device_version: facts.device.map(|device| device.version),
            thing: grant.thing.map(|thing| ThingChange {
                version: facts.thing.as_ref().map(|there| there.version),
                ..thing
            }),
            ..grant
        }
    }

    async fn register(&mut self, grant: RegistrationGrant) -> Claimed<Registered> {
        self.register_at(grant, NOW.plus(2)).await
    }

    async fn register_at(
        &mut self,
        grant: RegistrationGrant,
        now: UnixTime,
    ) -> Claimed<Registered> {
        self.open().await.device_register(grant, now).await.unwrap()
    }

    async fn is_not_as_decided(&mut self, grant: RegistrationGrant) -> bool {
        matches!(self.register(grant).await, Claimed::Changed)
    }

    /// Device `n` with key `n`, registered by the claim.
    async fn registered(&mut self, n: u8) -> Serial {
        let pending = self.pending(n).await;
        let grant = self.registration(n, &pending).await;
        done(self.register(grant).await);
        pending.serial
    }
}

fn registration(
    n: u8,
    key: KeyFingerprint,
    certificate: RegistrationCertificate,
) -> RegistrationGrant {
    RegistrationGrant {
        enrollment: EnrollmentId([n; 8]),
        device: device_id(n),
        hardware: hardware(n),
        strength: IdentityStrength::Asserted,
        product: "thermo".into(),
        device_version: None,
        key,
        certificate,
        template: "thermo".into(),
        thing: Some(thing(&name(n))),
        held: false,
        listed: false,
        past_end: None,
        origin_of_request: mqtt(),
    }
}

fn foreign(n: u8) -> RegistrationCertificate {
    RegistrationCertificate::Foreign {
        authority: "acme".into(),
        serial: foreign_serial(n),
        der: vec![0x30, 6, 0x30, 2, n, n, 5, 0],
        to_be_signed: vec![0x30, 2, n, n],
        not_before: NOW,
        not_after: NOW.plus(86_400),
    }
}

fn authority(name: &str, n: u8) -> AuthorityRecord {
    AuthorityRecord {
        ca: RegisteredCa {
            name: name.into(),
            certificate: "PEM".into(),
            product: "thermo".into(),
            template: Some("t1".into()),
            mode: CaMode::Default,
            active: true,
            auto: AutoRegistration::Jitp,
            strength: "asserted".into(),
        },
        der: vec![n],
        subject_der: vec![0x30, 1, n / 10],
    }
}

fn foreign_serial(n: u8) -> Serial {
    let mut octets = [n; 20];
    octets[0] = 0;
    Serial(octets)
}

fn thing(name: &str) -> ThingChange {
    let attributes = BTreeMap::from([("site".to_owned(), "north".to_owned())]);
    ThingChange {
        name: name.to_owned(),
        values: ThingValues {
            thing_type: Some("sensor".into()),
            billing_group: None,
            groups: vec!["hall-1".into()],
            attributes,
            policies: vec!["connect".into()],
        },
        policies: vec![PolicySpec {
            name: "connect".into(),
            document: Some("{}".into()),
        }],
        references: [Kind::Group, Kind::ThingType]
            .map(|kind| Reference {
                kind,
                name: if kind == Kind::Group {
                    "hall-1"
                } else {
                    "sensor"
                }
                .into(),
            })
            .into(),
        version: None,
    }
}

fn two(n: u8) -> Vec<Claim> {
    let second = format!("line-{n}");
    vec![
        Claim::named(CLAIM, "thermo"),
        Claim::named(&second, "thermo"),
    ]
}

/// [`Ledger::device_register`], 4: everything of it, in one.
pub async fn a_registration_makes_device_key_certificate_thing_and_answer<P: Place>(
    bench: &mut Bench<P>,
) {
    bench.claim(ClaimLimits::default()).await;
    let pending = bench.pending(5).await;
    let grant = bench.registration(1, &pending).await;
    let registered = done(bench.register(grant).await);
    assert!(!registered.again);
    assert_eq!(registered.answer, [1, 1]);
    let device = bench.device(&name(1)).await;
    assert_eq!(device, registered.device);
    assert_eq!(
        (device.state, device.step),
        (DeviceState::Active, Step::Verify)
    );
    let credential = bench.credential(pending.serial).await;
    assert_eq!(credential.device.id, device_id(1));
    assert_eq!(credential.certificate.state, CertificateState::Issued);
    assert_eq!(credential.certificate.origin, CertificateOrigin::Claimed);
    assert_eq!(credential.certificate.generation, Generation::Claim);
    assert_eq!(credential.certificate.der, Some(certificate_of(&pending)));
    let facts = bench.facts(query(2, 5)).await;
    assert_eq!(facts.key_owner, Some(device_id(1)));
    let file = bench.file(&name(1)).await;
    let thing_of = file.thing.unwrap();
    assert_eq!(thing_of.values, thing(&name(1)).values);
    assert_eq!((thing_of.device, thing_of.version), (device_id(1), 1));
    let policies = bench.open().await.policy_list().await.unwrap();
    assert_eq!(policies, [("connect".into(), Some("{}".into()))]);
    // What it names and nobody had written down is in the registry from now on.
    let registry = bench.open().await.registry_list().await.unwrap();
    assert_eq!(registry.groups, [Named::new("hall-1")]);
    assert_eq!(registry.thing_types, [Named::new("sensor")]);
    assert_eq!(registry.policies, []);
    let named = |kind, name: &str| Reference {
        kind,
        name: name.into(),
    };
    let query = RegistrationQuery {
        references: [
            named(Kind::Group, "hall-1"),
            named(Kind::Group, "hall-2"),
            named(Kind::ThingType, "hall-1"),
            named(Kind::Policy, "connect"),
            named(Kind::Policy, "publish"),
        ]
        .into(),
        ..RegistrationQuery::default()
    };
    let missing = bench.open().await.registration_facts(&query, NOW).await;
    let missing = missing.unwrap().missing;
    let want = [
        named(Kind::Group, "hall-2"),
        named(Kind::ThingType, "hall-1"),
        named(Kind::Policy, "publish"),
    ];
    assert_eq!(missing, want);
    let record = bench.record().await;
    assert_eq!((record.granted, record.pending), (1, 0));
    assert_eq!(bench.told("device-registered").await, 1);
    let after = bench.pending_by(pending.serial).await;
    assert_eq!(after.state, PendingState::Registered);
    assert_eq!(after.registered.unwrap().answer, [1, 1]);
    // First use is VERIFY, as for every certificate.
    let verified = bench.verify(pending.serial).await;
    assert_eq!(verified.certificate.state, CertificateState::Active);
    assert_eq!(verified.device.step, Step::Provisioned);
}

/// [`Ledger::device_register`], 1.
pub async fn the_same_registration_has_the_same_answer_and_no_other_has_one<P: Place>(
    bench: &mut Bench<P>,
) {
    bench.claim(ClaimLimits::default()).await;
    bench.define(two(2)).await;
    let pending = bench.pending(5).await;
    let first = bench.registration(1, &pending).await;
    done(bench.register(first.clone()).await);
    let RegistrationCertificate::Pending { claim, serial, .. } = first.certificate.clone() else {
        return;
    };
    let again = RegistrationGrant {
        certificate: RegistrationCertificate::Pending {
            claim: claim.clone(),
            shown: fingerprint(1),
            serial,
            answer: b"another answer".to_vec(),
        },
        ..first.clone()
    };
    for _ in 0..2 {
        let registered = done(bench.register(again.clone()).await);
        assert!(registered.again);
        assert_eq!(registered.answer, [1, 1], "as it was given first");
    }
    let others = [
        RegistrationGrant {
            thing: Some(thing("another")),
            ..first.clone()
        },
        RegistrationGrant {
            thing: None,
            ..first.clone()
        },
        RegistrationGrant {
            template: "another".into(),
            ..first.clone()
        },
        RegistrationGrant {
            hardware: hardware(2),
            device: device_id(2),
            ..first.clone()
        },
        RegistrationGrant {
            certificate: RegistrationCertificate::Pending {
                claim: "line-2".into(),
                shown: fingerprint(1),
                serial,
                answer: vec![],
            },
            ..first
        },
    ];
    for other in others {
        assert!(bench.is_not_as_decided(other).await);
    }
    assert_eq!(bench.told("device-registered").await, 1);
    assert_eq!(bench.record().await.granted, 1);
    assert!(!bench.is_named(&name(2)).await);
    assert!(!bench.is_named("another").await);
}

/// [`Ledger::device_register`], 2: claim and certificate.
pub async fn what_is_not_good_registers_nothing<P: Place>(bench: &mut Bench<P>) {
    bench.claim(ClaimLimits::default()).await;
    let unsigned = done(bench.ask(6).await);
    let grant = bench.registration(1, &unsigned).await;
    assert!(bench.is_not_as_decided(grant).await, "never signed");
    let pending = bench.pending(5).await;
    let grant = bench.registration(1, &pending).await;
    let end = pending.not_after.plus(1);
    let late = bench.register_at(grant.clone(), end).await;
    assert!(matches!(late, Claimed::Changed), "past its end");
    let freeze = ClaimAct::Freeze { reason: "a".into() };
    bench.act(freeze).await;
    assert!(bench.is_not_as_decided(grant.clone()).await, "frozen");
    bench.act(ClaimAct::Thaw).await;
    let ledger = bench.open().await;
    ledger
        .pending_expire(NOW.plus(9_999), NOW.plus(9_999))
        .await
        .unwrap();
    assert!(bench.is_not_as_decided(grant.clone()).await, "expired");
    let unknown = RegistrationGrant {
        certificate: RegistrationCertificate::Pending {
            claim: CLAIM.into(),
            shown: fingerprint(1),
            serial: bench.serial(),
            answer: vec![],
        },
        ..grant
    };
    assert!(bench.is_not_as_decided(unknown).await, "of no certificate");
    let another = bench.pending(7).await;
    let grant = bench.registration(1, &another).await;
    bench
        .act(ClaimAct::RevokeCertificate {
            fingerprint: fingerprint(1),
            reason: RevocationReason::KeyCompromise,
        })
        .await;
    assert!(bench.is_not_as_decided(grant).await, "what was shown ended");
    assert!(!bench.is_named(&name(1)).await, "and nothing was written");
    assert_eq!(bench.record().await.granted, 0);
}

/// [`Ledger::device_register`], 2: the claim's limits.
pub async fn a_claim_registers_no_more_and_no_faster_than_it_may<P: Place>(bench: &mut Bench<P>) {
    let limits = ClaimLimits {
        total: 3,
        per_minute: 2,
        ..ClaimLimits::default()
    };
    bench.claim(limits).await;
    let begin = UnixTime(NOW.0 - NOW.0 % 60);
    let rows = [
        (1, 0, "done"),
        (2, 1, "done"),
        (3, 59, "limited"),
        (3, 60, "done"),
        (4, 120, "used up"),
    ];
    for (n, at, want) in rows {
        // Asking has its own count of the minute.
        let grant = claims::pending(n, bench.serial());
        let asked = begin.plus(i64::from(n) * 600);
        let ledger = bench.open().await;
        let record = done(ledger.pending_intend(grant, asked).await.unwrap());
        let ledger = bench.open().await;
        let der = certificate_of(&record);
        ledger
            .pending_settle(record.serial, der, NOW)
            .await
            .unwrap();
        let grant = bench.registration(n, &record).await;
        let got = match bench.register_at(grant, begin.plus(at)).await {
            Claimed::Done(_) => "done",
            Claimed::Limited { seconds, why } => {
                assert_eq!(seconds, 1);
                assert!(why.contains("2 devices came within the minute"), "{why}");
                "limited"
            }
            Claimed::UsedUp => "used up",
            Claimed::Changed => "changed",
        };
        assert_eq!(got, want, "device {n} at {at}");
    }
    assert_eq!(bench.record().await.granted, 3);
    assert_eq!(bench.record().await.state, ClaimState::Active);
}

/// [`Ledger::device_register`], 2: above its curve the claim is frozen; who is listed does not count.
pub async fn above_its_curve_a_claim_is_frozen_and_listed_devices_do_not_count<P: Place>(
    bench: &mut Bench<P>,
) {
    let limits = ClaimLimits {
        expected_per_hour: vec![2],
        ..ClaimLimits::default()
    };
    bench.claim(limits).await;
    for n in 1..=6 {
        let pending = bench.pending(n).await;
        let grant = RegistrationGrant {
            listed: n <= 4,
            ..bench.registration(n, &pending).await
        };
        done(bench.register(grant).await);
    }
    let pending = bench.pending(7).await;
    let grant = bench.registration(7, &pending).await;
    assert!(bench.is_not_as_decided(grant.clone()).await);
    assert!(!bench.is_named(&name(7)).await, "and is not let in");
    let record = bench.record().await;
    assert_eq!((record.state, record.granted), (ClaimState::Frozen, 6));
    let reason = record.reason.unwrap();
    for part in ["3 devices", "2 were", "sn-007"] {
        assert!(reason.contains(part), "{reason}");
    }
    assert_eq!(bench.told("claim-frozen").await, 1);
    // The next hour is another one, and so is the time after an operator has looked.
    bench.act(ClaimAct::Thaw).await;
    done(bench.register(grant).await);
}

/// [`Ledger::device_register`], 3: device, key and thing.
pub async fn a_registration_on_changed_facts_is_not_carried_out<P: Place>(bench: &mut Bench<P>) {
    bench.claim(ClaimLimits::default()).await;
    bench.member(9).await;
    let pending = bench.pending(5).await;
    let good = bench.registration(1, &pending).await;
    let of_another = RegistrationGrant {
        hardware: hardware(9),
        ..good.clone()
    };
    assert!(
        bench.is_not_as_decided(of_another).await,
        "hardware has a name"
    );
    let named = RegistrationGrant {
        device: device_id(9),
        ..good.clone()
    };
    assert!(
        bench.is_not_as_decided(named.clone()).await,
        "the name is taken"
    );
    let version = bench.device(&name(9)).await.version;
    let other_hardware = RegistrationGrant {
        device_version: Some(version),
        ..named
    };
    assert!(bench.is_not_as_decided(other_hardware).await);
    let stale = RegistrationGrant {
        hardware: hardware(9),
        device: device_id(9),
        device_version: Some(version - 1),
        ..good.clone()
    };
    assert!(bench.is_not_as_decided(stale).await, "an older record");
    let gone = RegistrationGrant {
        thing: Some(ThingChange {
            version: Some(1),
            ..thing(&name(1))
        }),
        ..good.clone()
    };
    assert!(
        bench.is_not_as_decided(gone).await,
        "a thing that is not there"
    );
    bench.registered(2).await;
    let others_thing = RegistrationGrant {
        thing: Some(ThingChange {
            version: Some(1),
            ..thing(&name(2))
        }),
        ..good.clone()
    };
    assert!(
        bench.is_not_as_decided(others_thing).await,
        "another's thing"
    );
    assert!(!bench.is_named(&name(1)).await);
    done(bench.register(good).await);
    // Its key has become another device's since it was asked for.
    let pending = bench.pending(7).await;
    bench.mint(8).await;
    bench.enroll(8, 7).await;
    let taken = bench.registration(3, &pending).await;
    assert!(bench.is_not_as_decided(taken).await, "another's key");
    assert!(!bench.is_named(&name(3)).await);
    let quarantine = DeviceAct::Quarantine { reason: "a".into() };
    let ledger = bench.open().await;
    let nine = device_id(9);
    let put_aside = ledger.device_act(&nine, quarantine, ADMIN, NOW);
    put_aside.await.unwrap();
    let pending = bench.pending(6).await;
    let aside = bench.registration(9, &pending).await;
    assert!(bench.is_not_as_decided(aside).await, "put aside");
}

/// A device that was released comes back with another key: its old certificate ends when the new one
/// is used, also one that is younger than the pending certificate.
pub async fn a_released_device_is_registered_again_and_its_old_certificate_ends<P: Place>(
    bench: &mut Bench<P>,
) {
    bench.claim(ClaimLimits::default()).await;
    let pending = bench.pending(5).await;
    // Younger than the pending one.
    let old = bench.member(1).await;
    let renewal = bench.renewal(1, 2, old).await;
    let newer = bench.intended(renewal).await.serial;
    bench.settle(newer).await;
    bench.verify(newer).await;
    let release = DeviceAct::Release { new_key: true };
    let ledger = bench.open().await;
    let released = ledger.device_act(&device_id(1), release, ADMIN, NOW).await;
    assert!(matches!(released.unwrap(), Acted::Done(_)));
    let grant = bench.registration(1, &pending).await;
    done(bench.register(grant).await);
    assert!(!bench.device(&name(1)).await.released, "used up");
    assert_eq!(bench.state(newer).await, CertificateState::Active);
    bench.verify(pending.serial).await;
    assert_eq!(bench.state(newer).await, CertificateState::Superseded);
    assert_eq!(bench.state(pending.serial).await, CertificateState::Active);
    let certificates = bench.file(&name(1)).await.certificates;
    assert_eq!(certificates[0].serial, pending.serial, "it is the newest");
}

/// A device is one thing: under a new name it is not the old one any more, and what is there changes.
pub async fn a_device_is_one_thing<P: Place>(bench: &mut Bench<P>) {
    bench.claim(ClaimLimits::default()).await;
    bench.registered(1).await;
    bench.registered(2).await;
    let again = async |bench: &mut Bench<P>, k, change: ThingChange| {
        let release = DeviceAct::Release { new_key: true };
        let ledger = bench.open().await;
        let released = ledger.device_act(&device_id(1), release, ADMIN, NOW).await;
        released.unwrap();
        let pending = bench.pending(k).await;
        let grant = bench.registration(1, &pending).await;
        let grant = RegistrationGrant {
            thing: Some(change),
            ..grant
        };
        done(bench.register(grant).await);
    };
    let moved = ThingChange {
        version: Some(1),
        values: ThingValues {
            groups: vec!["hall-2".into()],
            ..thing(&name(1)).values
        },
        ..thing(&name(1))
    };
    again(bench, 11, moved.clone()).await;
    let there = bench.file(&name(1)).await.thing.unwrap();
    assert_eq!((there.version, &there.values), (2, &moved.values));
    again(bench, 12, thing("other-name")).await;
    assert_eq!(bench.file("other-name").await.device.id, device_id(1));
    let all = ThingFilter::default();
    let things = bench.open().await.thing_list(&all);
    let names: Vec<_> = things
        .await
        .unwrap()
        .into_iter()
        .map(|one| one.name)
        .collect();
    assert_eq!(names, ["other-name".to_owned(), name(2)]);
    let in_hall = ThingFilter {
        group: Some("hall-1".into()),
        after: Some("other-name".into()),
        limit: 5,
    };
    let listed = bench.open().await.thing_list(&in_hall).await.unwrap();
    assert_eq!(listed.len(), 1);
    let nowhere = ThingFilter {
        group: Some("hall-%".into()),
        ..ThingFilter::default()
    };
    assert!(
        bench
            .open()
            .await
            .thing_list(&nowhere)
            .await
            .unwrap()
            .is_empty()
    );
}

/// [`Ledger::enrollment_wait`] by a claim: the list that is approved from has the claim's limits.
pub async fn who_waits_for_approval_counts_against_its_claim_once<P: Place>(bench: &mut Bench<P>) {
    let limits = ClaimLimits {
        per_minute: 3,
        expected_per_hour: vec![4],
        ..ClaimLimits::default()
    };
    bench.claim(limits).await;
    let ask = async |bench: &mut Bench<P>, n: u8, at: i64| {
        let wait = Wait {
            token: None,
            claim: Some(CLAIM.into()),
            ..wait(n, n)
        };
        let ledger = bench.open().await;
        ledger.enrollment_wait(wait, NOW.plus(at)).await.unwrap()
    };
    let begin = -(NOW.0 % 3_600);
    for n in [1, 2, 3, 1, 2] {
        assert_eq!(ask(bench, n, begin).await, Waited::Listed, "{n}");
    }
    let refused = ask(bench, 4, begin + 59).await;
    assert!(
        matches!(refused, Waited::Limited { seconds: 1, .. }),
        "{refused:?}"
    );
    assert_eq!(ask(bench, 4, begin + 60).await, Waited::Listed);
    // Whom an operator has approved was expected, and has been counted.
    let pending = bench.pending(1).await;
    let approve = DeviceAct::Approve {
        key: None,
        until: NOW.plus(86_400),
    };
    let ledger = bench.open().await;
    let approved = ledger.device_act(&device_id(1), approve, ADMIN, NOW).await;
    approved.unwrap();
    let grant = bench.registration(1, &pending).await;
    done(bench.register_at(grant, NOW.plus(begin + 120)).await);
    assert_eq!(bench.record().await.state, ClaimState::Active);
    // The fifth that nobody expected freezes the claim, and is not listed.
    assert_eq!(ask(bench, 5, begin + 180).await, Waited::Changed);
    assert_eq!(bench.record().await.state, ClaimState::Frozen);
    assert!(!bench.is_named(&name(5)).await);
    assert_eq!(ask(bench, 6, begin + 240).await, Waited::Changed, "frozen");
}

/// A thing is not called like a device that it is not.
pub async fn a_thing_has_no_other_devices_name<P: Place>(bench: &mut Bench<P>) {
    bench.claim(ClaimLimits::default()).await;
    bench.member(9).await;
    let pending = bench.pending(5).await;
    let grant = RegistrationGrant {
        thing: Some(thing(&name(9))),
        ..bench.registration(1, &pending).await
    };
    assert!(bench.is_not_as_decided(grant).await);
    let query = RegistrationQuery {
        thing: Some(name(9)),
        ..RegistrationQuery::default()
    };
    let ledger = bench.open().await;
    let facts = ledger.registration_facts(&query, NOW).await.unwrap();
    assert_eq!(facts.named, Some(device_id(9)));
    assert!(!bench.is_named(&name(1)).await);
}

/// [`Ledger::device_register`] with a foreign certificate: a hundred first connections, one device.
pub async fn sixty_four_first_connections_make_one_device<P: Place>(bench: &mut Bench<P>) {
    let grant = bench.newcomer(1).await;
    let ledger = bench.open().await;
    let asked = (0..64).map(|_| ledger.device_register(grant.clone(), NOW));
    let registered: Vec<_> = together(asked)
        .await
        .into_iter()
        .map(|claimed| done(claimed.unwrap()))
        .collect();
    assert_eq!(registered.iter().filter(|one| !one.again).count(), 1);
    assert!(registered.iter().all(|one| one.device.id == device_id(1)));
    assert_eq!(bench.told("device-registered").await, 1);
    let credential = bench.credential(foreign_serial(1)).await;
    assert_eq!(credential.certificate.state, CertificateState::Issued);
    assert_eq!(credential.certificate.origin, CertificateOrigin::Foreign);
    assert_eq!(credential.certificate.generation, Generation::Foreign);
    bench.verify(foreign_serial(1)).await;
    let device = bench.device(&name(1)).await;
    assert_eq!(device.step, Step::Provisioned);
    // The same certificate for other hardware, and another certificate for the same hardware.
    let other = RegistrationGrant {
        hardware: hardware(2),
        device: device_id(2),
        ..grant.clone()
    };
    assert!(bench.is_not_as_decided(other).await);
    let second = RegistrationGrant {
        certificate: foreign(2),
        key: key(2),
        ..grant
    };
    assert!(bench.is_not_as_decided(second).await);
}

/// [`Ledger::device_register`], 2, for a foreign certificate: what its CA may do is judged in the
/// transaction, for it may have been switched off since the device arrived.
pub async fn a_ca_admits_nobody_by_what_it_was_allowed_before<P: Place>(bench: &mut Bench<P>) {
    type Change = fn(&mut RegisteredCa);
    let grant = bench.newcomer(1).await;
    let rows: [(&str, Change); 5] = [
        ("switched off", |ca| ca.active = false),
        ("it does not register", |ca| {
            ca.auto = AutoRegistration::Off;
        }),
        ("its devices are held now", |ca| {
            ca.auto = AutoRegistration::Jitr;
        }),
        ("of another product", |ca| ca.product = "meter".into()),
        ("by another template", |ca| ca.template = Some("t9".into())),
    ];
    let ledger = bench.open().await;
    let meter = vec![Product::named("meter")];
    ledger.product_apply(meter, ADMIN, NOW).await.unwrap();
    for (what, change) in rows {
        bench.acme(change).await;
        assert!(bench.is_not_as_decided(grant.clone()).await, "{what}");
    }
    bench.acme(|_| {}).await;
    let of_nobody = RegistrationGrant {
        certificate: match grant.certificate.clone() {
            RegistrationCertificate::Foreign {
                serial,
                der,
                to_be_signed,
                not_before,
                not_after,
                ..
            } => RegistrationCertificate::Foreign {
                authority: "removed".into(),
                serial,
                der,
                to_be_signed,
                not_before,
                not_after,
            },
            other @ (RegistrationCertificate::Pending { .. }
            | RegistrationCertificate::SharedKey
            | RegistrationCertificate::Own { .. }) => other,
        },
        ..grant.clone()
    };
    assert!(
        bench.is_not_as_decided(of_nobody).await,
        "of a CA that is gone"
    );
    assert!(!bench.is_named(&name(1)).await, "and nothing was written");
    assert_eq!(bench.told("device-registered").await, 0);
    done(bench.register(grant.clone()).await);
    // Who is in is in: what is on record is answered, whatever has become of its CA.
    bench.acme(|ca| ca.active = false).await;
    assert!(done(bench.register(grant).await).again);
}

/// A foreign certificate is renewed like any other, and ends when its successor is used.
pub async fn a_foreign_certificate_is_renewed_by_ours<P: Place>(bench: &mut Bench<P>) {
    let grant = bench.newcomer(1).await;
    done(bench.register(grant).await);
    bench.verify(foreign_serial(1)).await;
    let renewal = bench.renewal(1, 1, foreign_serial(1)).await;
    let ours = bench.intended(renewal).await.serial;
    bench.settle(ours).await;
    bench.verify(ours).await;
    assert_eq!(
        bench.state(foreign_serial(1)).await,
        CertificateState::Superseded
    );
    let ledger = bench.open().await;
    let list = ledger.crl_facts("issuing", NOW).await.unwrap();
    assert!(list.revoked.is_empty(), "it is on no list of ours");
}

/// [`Ledger::device_activate`].
pub async fn a_device_that_is_held_with_its_certificate_goes_on_when_it_is_approved<P: Place>(
    bench: &mut Bench<P>,
) {
    let grant = RegistrationGrant {
        held: true,
        ..bench.newcomer(1).await
    };
    done(bench.register(grant).await);
    assert_eq!(bench.device(&name(1)).await.state, DeviceState::Held);
    assert_eq!(bench.file(&name(1)).await.waiting.len(), 1);
    let activate = async |bench: &mut Bench<P>, k, at| {
        let knock = Some("10.0.0.9".to_owned());
        let ledger = bench.open().await;
        ledger
            .device_activate(&device_id(1), key(k), knock, NOW.plus(at))
            .await
            .unwrap()
    };
    assert!(!activate(bench, 1, 0).await);
    assert_eq!(bench.told("certificate-waiting").await, 1);
    let verified = bench.verify(foreign_serial(1)).await;
    assert_eq!(verified.certificate.state, CertificateState::Issued);
    let approve = DeviceAct::Approve {
        key: Some(key(1)),
        until: NOW.plus(100),
    };
    let ledger = bench.open().await;
    let approved = ledger.device_act(&device_id(1), approve, ADMIN, NOW).await;
    assert!(matches!(approved.unwrap(), Acted::Done(_)));
    assert!(!activate(bench, 2, 1).await, "another key");
    assert!(!activate(bench, 1, 100).await, "too late");
    assert!(activate(bench, 1, 99).await);
    assert!(activate(bench, 1, 200).await, "it is active, and stays so");
    assert_eq!(bench.told("device-activated").await, 1);
    let device = bench.device(&name(1)).await;
    assert_eq!(
        (device.state, device.step),
        (DeviceState::Active, Step::Verify)
    );
    let nobody = bench.open().await;
    let absent = nobody
        .device_activate(&device_id(9), key(1), None, NOW)
        .await;
    assert!(!absent.unwrap());
}

/// A device that waits without a certificate is not activated by an approval: it asks again.
pub async fn a_device_that_is_held_without_a_certificate_is_not_activated<P: Place>(
    bench: &mut Bench<P>,
) {
    let wait = Wait {
        token: None,
        ..wait(1, 1)
    };
    let ledger = bench.open().await;
    ledger.enrollment_wait(wait, NOW).await.unwrap();
    let approve = DeviceAct::Approve {
        key: None,
        until: NOW.plus(100),
    };
    let ledger = bench.open().await;
    let approved = ledger.device_act(&device_id(1), approve, ADMIN, NOW).await;
    assert!(matches!(approved.unwrap(), Acted::Done(_)));
    let ledger = bench.open().await;
    let activated = ledger
        .device_activate(&device_id(1), key(1), None, NOW)
        .await;
    assert!(!activated.unwrap());
}

/// A pending certificate and a claim's are nobody's to adopt.
pub async fn a_certificate_without_a_device_is_not_adopted<P: Place>(bench: &mut Bench<P>) {
    bench.claim(ClaimLimits::default()).await;
    let pending = bench.pending(5).await;
    let adoption = crate::ledger::Adoption {
        device: device_id(1),
        hardware: hardware(1),
        product: "thermo".into(),
        serial: pending.serial,
        issuer: "issuing".into(),
        key: key(5),
        der: certificate_of(&pending),
        to_be_signed: pending.to_be_signed.clone(),
        not_before: NOW,
        not_after: NOW.plus(9),
    };
    let ledger = bench.open().await;
    let adopted = ledger.device_adopt(adoption, ADMIN, NOW).await.unwrap();
    assert!(
        matches!(adopted, crate::ledger::Adopted::Conflict { .. }),
        "{adopted:?}"
    );
    assert!(!bench.is_named(&name(1)).await);
}

/// Templates and registered CAs come back as they went in, and a CA is found by its name in DER.
pub async fn templates_and_cas_are_kept_as_they_are<P: Place>(bench: &mut Bench<P>) {
    let template = |name: &str| Template {
        name: name.into(),
        product: "thermo".into(),
        description: String::new(),
        enabled: true,
        body: "{\"Resources\":{}}".into(),
        hardware: "SerialNumber".into(),
        create_missing: false,
        hook: None,
    };
    let definitions = Definitions {
        templates: vec![template("t2"), template("t1")],
        authorities: vec![authority("b", 11), authority("a", 12), authority("c", 20)],
        ..Definitions::default()
    };
    for _ in 0..2 {
        let ledger = bench.open().await;
        let apply = ledger.fleet_apply(definitions.clone(), ADMIN, NOW);
        apply.await.unwrap();
    }
    assert_eq!(bench.told("template-applied").await, 2);
    assert_eq!(bench.told("ca-applied").await, 3);
    let ledger = bench.open().await;
    assert_eq!(
        ledger.template_list().await.unwrap(),
        [template("t1"), template("t2")]
    );
    assert_eq!(
        ledger.authority_list().await.unwrap(),
        [authority("a", 12), authority("b", 11), authority("c", 20)]
    );
    let query = ArrivalQuery {
        fingerprint: fingerprint(9),
        serial: bench.serial(),
        issuers: vec![vec![0x30, 1, 1], vec![0x30, 1, 3]],
    };
    let ledger = bench.open().await;
    let facts = ledger.arrival_facts(&query, NOW).await.unwrap();
    let found: Vec<_> = facts
        .authorities
        .iter()
        .map(|(one, product, template)| {
            assert!(product.is_some() && template.is_some());
            one.ca.name.as_str()
        })
        .collect();
    assert_eq!(found, ["a", "b"]);
}
