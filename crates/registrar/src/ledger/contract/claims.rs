//! Claims, their certificates, their brake, and the certificates that wait for a device.

use super::*;
use crate::claims::definition::{Claim, ClaimLimits};
use crate::ledger::{
    Acted, ArrivalQuery, CertificateFingerprint, ClaimAct, ClaimAlarm, ClaimAlarmKind,
    ClaimCertificateGrant, ClaimCertificateState, ClaimRecord, ClaimState, Claimed, Definitions,
    DeviceAct, ForeignClaimCertificate, LedgerError, PendingGrant, PendingRecord, PendingState,
    RegistrationQuery, RevocationReason, Waited,
};

const CLAIM: &str = "line-1";

impl<P: Place> Bench<P> {
    /// Claim `line-1` of product `thermo`, with certificate 1 in use.
    pub(super) async fn claim(&mut self, limits: ClaimLimits) {
        let claim = Claim {
            limits,
            ..Claim::named(CLAIM, "thermo")
        };
        self.define(vec![claim]).await;
        self.take_in(CLAIM, 1).await;
    }

    pub(super) async fn define(&mut self, claims: Vec<Claim>) {
        let definitions = Definitions {
            claims,
            ..Definitions::default()
        };
        let ledger = self.open().await;
        ledger.fleet_apply(definitions, ADMIN, NOW).await.unwrap();
    }

    async fn take_in(&mut self, claim: &str, n: u8) -> Acted<ClaimRecord> {
        let ledger = self.open().await;
        let adopted = ledger.claim_certificate_adopt(claim, foreign(n), ADMIN, NOW);
        adopted.await.unwrap()
    }

    pub(super) async fn record(&mut self) -> ClaimRecord {
        let ledger = self.open().await;
        ledger.claim_get(CLAIM).await.unwrap().unwrap()
    }

    pub(super) async fn act(&mut self, act: ClaimAct) -> Acted<ClaimRecord> {
        let ledger = self.open().await;
        ledger
            .claim_act(CLAIM, act, ADMIN, NOW.plus(9))
            .await
            .unwrap()
    }

    /// Claim certificate 1 asks for a certificate on key `k`.
    pub(super) async fn ask(&mut self, k: u8) -> Claimed<PendingRecord> {
        let grant = pending(k, self.serial());
        self.ask_at(grant, NOW).await
    }

    async fn ask_at(&mut self, grant: PendingGrant, now: UnixTime) -> Claimed<PendingRecord> {
        self.open().await.pending_intend(grant, now).await.unwrap()
    }

    /// Key `k` has its pending certificate.
    pub(super) async fn pending(&mut self, k: u8) -> PendingRecord {
        let record = done(self.ask(k).await);
        let der = certificate_of(&record);
        let ledger = self.open().await;
        let settled = ledger.pending_settle(record.serial, der, NOW.plus(1)).await;
        settled.unwrap().unwrap()
    }

    pub(super) async fn pending_by(&mut self, serial: Serial) -> PendingRecord {
        let query = RegistrationQuery {
            serial: Some(serial),
            ..RegistrationQuery::default()
        };
        let ledger = self.open().await;
        let facts = ledger.registration_facts(&query, NOW).await.unwrap();
        facts.pending.unwrap()
    }

    async fn alarm(&mut self, kind: ClaimAlarmKind, n: u8) -> Option<ClaimState> {
        let alarm = ClaimAlarm {
            claim: CLAIM.into(),
            kind,
            hardware: hardware(n),
            key: key(n),
            address: "10.0.0.9".into(),
        };
        self.open().await.claim_alarm(alarm, NOW).await.unwrap()
    }

    async fn revoked(&mut self) -> Vec<(Serial, RevocationReason)> {
        let ledger = self.open().await;
        let facts = ledger.crl_facts("issuing", NOW).await.unwrap();
        facts
            .revoked
            .into_iter()
            .map(|(serial, _, reason)| (serial, reason))
            .collect()
    }
}

pub(super) fn done<T: std::fmt::Debug>(claimed: Claimed<T>) -> T {
    match claimed {
        Claimed::Done(done) => done,
        other => panic!("not done: {other:?}"),
    }
}

fn acted(acted: Acted<ClaimRecord>) -> ClaimRecord {
    match acted {
        Acted::Done(record) => record,
        other => panic!("not done: {other:?}"),
    }
}

pub(super) fn fingerprint(n: u8) -> CertificateFingerprint {
    CertificateFingerprint([n; 32])
}

fn foreign(n: u8) -> ForeignClaimCertificate {
    ForeignClaimCertificate {
        fingerprint: fingerprint(n),
        der: vec![0x30, 1, n],
        not_before: NOW,
        not_after: NOW.plus(86_400),
    }
}

fn own(n: u8, serial: Serial) -> ClaimCertificateGrant {
    ClaimCertificateGrant {
        claim: CLAIM.into(),
        serial,
        issuer: "issuing".into(),
        to_be_signed: vec![0x30, 2, n, n],
        key: key(n),
        not_before: NOW,
        not_after: NOW.plus(86_400),
    }
}

pub(super) fn pending(k: u8, serial: Serial) -> PendingGrant {
    PendingGrant {
        enrollment: EnrollmentId([k; 8]),
        claim: CLAIM.into(),
        shown: fingerprint(1),
        key: key(k),
        serial,
        issuer: "issuing".into(),
        to_be_signed: [&[0x30, 40][..], &serial.0, &serial.0].concat(),
        not_before: NOW.plus(-3_600),
        not_after: NOW.plus(365 * 86_400),
        origin_of_request: mqtt(),
    }
}

pub(super) fn mqtt() -> RequestOrigin {
    RequestOrigin {
        door: "mqtt",
        ..est()
    }
}

pub(super) fn certificate_of(record: &PendingRecord) -> Vec<u8> {
    let inner = [record.to_be_signed.as_slice(), &[0x05, 0x00]].concat();
    let length = u8::try_from(inner.len()).unwrap();
    [&[0x30, length][..], &inner].concat()
}

/// [`Ledger::fleet_apply`].
pub async fn claims_are_defined_all_or_none_and_keep_their_state<P: Place>(bench: &mut Bench<P>) {
    let good = Claim::named(CLAIM, "thermo");
    let bad = Claim::named("line-2", "nope");
    let definitions = Definitions {
        claims: vec![good.clone(), bad],
        ..Definitions::default()
    };
    let ledger = bench.open().await;
    let applied = ledger.fleet_apply(definitions, ADMIN, NOW).await;
    assert!(
        matches!(applied, Err(LedgerError::Unavailable { .. })),
        "{applied:?}"
    );
    assert!(bench.open().await.claim_list().await.unwrap().is_empty());
    bench.define(vec![good.clone()]).await;
    bench.define(vec![good.clone()]).await;
    assert_eq!(bench.told("claim-applied").await, 1, "once, for one change");
    bench
        .act(ClaimAct::Freeze {
            reason: "audit".into(),
        })
        .await;
    let changed = Claim {
        allowlist: true,
        ..good
    };
    bench.define(vec![changed.clone()]).await;
    let record = bench.record().await;
    assert_eq!(record.claim, changed);
    assert_eq!(record.state, ClaimState::Frozen);
    assert_eq!(record.reason.as_deref(), Some("audit"));
    let listed = bench.open().await.claim_list().await.unwrap();
    assert_eq!(listed, [record]);
    assert_eq!(bench.open().await.claim_get("line").await.unwrap(), None);
}

/// [`Ledger::claim_act`].
pub async fn every_act_on_every_state_has_its_outcome<P: Place>(bench: &mut Bench<P>) {
    let freeze = || ClaimAct::Freeze { reason: "a".into() };
    let revoke = || ClaimAct::Revoke { reason: "b".into() };
    let ledger = bench.open().await;
    let absent = ledger.claim_act("line-9", freeze(), ADMIN, NOW).await;
    assert_eq!(absent.unwrap(), Acted::Absent);
    bench.claim(ClaimLimits::default()).await;
    let rows = [
        (ClaimAct::Thaw, ClaimState::Active, 0),
        (freeze(), ClaimState::Frozen, 1),
        (freeze(), ClaimState::Frozen, 1),
        (ClaimAct::Thaw, ClaimState::Active, 2),
        (freeze(), ClaimState::Frozen, 3),
        (revoke(), ClaimState::Revoked, 4),
        (revoke(), ClaimState::Revoked, 4),
    ];
    for (act, want, told) in rows {
        let record = acted(bench.act(act.clone()).await);
        assert_eq!(record.state, want, "{act:?}");
        let kinds = bench.kinds().await;
        let acts = ["claim-frozen", "claim-thawed", "claim-revoked"];
        let count = kinds.iter().filter(|kind| acts.contains(&kind.as_str()));
        assert_eq!(count.count(), told, "{act:?}");
    }
    for act in [freeze(), ClaimAct::Thaw] {
        let refused = bench.act(act).await;
        assert_eq!(refused, Acted::NotNow { state: "revoked" });
    }
    let record = bench.record().await;
    assert_eq!(record.reason.as_deref(), Some("b"));
    assert_eq!(record.certificates[0].state, ClaimCertificateState::Revoked);
}

/// [`Ledger::claim_certificate_intend`], [`Ledger::claim_certificate_settle`].
pub async fn a_claims_own_certificate_is_on_record_before_it_is_signed<P: Place>(
    bench: &mut Bench<P>,
) {
    bench.define(vec![Claim::named(CLAIM, "thermo")]).await;
    let serial = bench.serial();
    let ledger = bench.open().await;
    let intended = ledger.claim_certificate_intend(own(7, serial), ADMIN, NOW);
    assert_eq!(intended.await.unwrap(), Acted::Done(()));
    let record = bench.record().await;
    assert_eq!(
        record.certificates[0].state,
        ClaimCertificateState::Intended
    );
    assert_eq!(record.certificates[0].serial, Some(serial));
    assert!(
        bench
            .open()
            .await
            .credential_facts(serial)
            .await
            .unwrap()
            .is_none(),
        "it is no device's"
    );
    let der = |n: u8| vec![0x30, 6, 0x30, 2, 7, 7, 5, n];
    for (n, print) in [(0, 7), (1, 8)] {
        let ledger = bench.open().await;
        let settled = ledger.claim_certificate_settle(serial, fingerprint(print), der(n), NOW);
        assert_eq!(settled.await.unwrap(), Some(der(0)), "the first stays");
    }
    let record = bench.record().await;
    assert_eq!(record.certificates[0].fingerprint, Some(fingerprint(7)));
    assert_eq!(record.certificates[0].der, Some(der(0)));
    assert_eq!(bench.told("claim-certificate-issued").await, 1);
    let nobody = ClaimCertificateGrant {
        claim: "line-9".into(),
        ..own(8, bench.serial())
    };
    let ledger = bench.open().await;
    let absent = ledger.claim_certificate_intend(nobody, ADMIN, NOW).await;
    assert_eq!(absent.unwrap(), Acted::Absent);
    let unknown = bench.serial();
    let ledger = bench.open().await;
    let broken = ledger.claim_certificate_settle(unknown, fingerprint(9), der(0), NOW);
    assert!(matches!(broken.await, Err(LedgerError::Broken { .. })));
}

/// Revoking a claim, or one certificate of it, puts ours on the list; none of it comes back.
pub async fn what_a_claim_has_ends_with_it_and_is_on_the_list<P: Place>(bench: &mut Bench<P>) {
    bench.claim(ClaimLimits::default()).await;
    let serials = [bench.serial(), bench.serial(), bench.serial()];
    for (n, serial) in (7..).zip(serials) {
        let ledger = bench.open().await;
        let intended = ledger.claim_certificate_intend(own(n, serial), ADMIN, NOW);
        intended.await.unwrap();
    }
    for (n, serial) in (7..).zip(serials).take(2) {
        let ledger = bench.open().await;
        let der = vec![0x30, 6, 0x30, 2, n, n, 5, 0];
        let settled = ledger.claim_certificate_settle(serial, fingerprint(n), der, NOW);
        settled.await.unwrap();
    }
    let one = |n| ClaimAct::RevokeCertificate {
        fingerprint: fingerprint(n),
        reason: RevocationReason::KeyCompromise,
    };
    assert_eq!(bench.act(one(99)).await, Acted::Absent);
    for _ in 0..2 {
        acted(bench.act(one(7)).await);
        assert_eq!(bench.told("claim-certificate-revoked").await, 1);
    }
    let leaked = (serials[0], RevocationReason::KeyCompromise);
    assert_eq!(bench.revoked().await, [leaked]);
    assert_eq!(bench.record().await.state, ClaimState::Active);
    let revoke = ClaimAct::Revoke { reason: "b".into() };
    acted(bench.act(revoke).await);
    let withdrawn = (serials[1], RevocationReason::PrivilegeWithdrawn);
    assert_eq!(bench.revoked().await, [leaked, withdrawn]);
    let ledger = bench.open().await;
    let der = vec![0x30, 6, 0x30, 2, 9, 9, 5, 0];
    let late = ledger.claim_certificate_settle(serials[2], fingerprint(9), der, NOW);
    assert_eq!(late.await.unwrap(), None, "what was not signed is void");
    for one in bench.record().await.certificates {
        assert_eq!(one.state, ClaimCertificateState::Revoked);
    }
    let serial = bench.serial();
    let ledger = bench.open().await;
    let another = ledger.claim_certificate_intend(own(10, serial), ADMIN, NOW);
    assert_eq!(another.await.unwrap(), Acted::NotNow { state: "revoked" });
    let taken = bench.take_in(CLAIM, 11).await;
    assert_eq!(taken, Acted::NotNow { state: "revoked" });
}

/// [`Ledger::claim_certificate_adopt`].
pub async fn a_foreign_certificate_is_one_claims<P: Place>(bench: &mut Bench<P>) {
    let claims = [CLAIM, "line-2"].map(|name| Claim::named(name, "thermo"));
    bench.define(claims.to_vec()).await;
    for _ in 0..2 {
        let record = acted(bench.take_in(CLAIM, 1).await);
        assert_eq!(record.certificates.len(), 1);
        assert_eq!(record.certificates[0].serial, None);
    }
    assert_eq!(bench.told("claim-certificate-adopted").await, 1);
    let other = bench.take_in("line-2", 1).await;
    assert!(matches!(other, Acted::NotNow { .. }), "{other:?}");
    assert_eq!(bench.take_in("line-9", 2).await, Acted::Absent);
    let revoke = ClaimAct::RevokeCertificate {
        fingerprint: fingerprint(1),
        reason: RevocationReason::Unspecified,
    };
    acted(bench.act(revoke).await);
    let again = bench.take_in(CLAIM, 1).await;
    assert!(matches!(again, Acted::NotNow { .. }), "{again:?}");
    assert!(bench.revoked().await.is_empty(), "it is on no list of ours");
}

/// [`Ledger::claim_alarm`]: each hardware id once a kind; frozen at the limit, told why.
pub async fn a_claim_is_frozen_at_its_limit_and_says_why<P: Place>(bench: &mut Bench<P>) {
    let limits = ClaimLimits {
        unknown_hardware: 3,
        two_keys: 2,
        ..ClaimLimits::default()
    };
    bench.claim(limits).await;
    let unknown = ClaimAlarmKind::UnknownHardware;
    for n in [1, 1, 2, 1, 2] {
        assert_eq!(bench.alarm(unknown, n).await, Some(ClaimState::Active));
    }
    assert_eq!(bench.record().await.unknown_hardware, 2);
    assert_eq!(
        bench.alarm(ClaimAlarmKind::TwoKeys, 1).await,
        Some(ClaimState::Active),
        "each kind is counted by itself"
    );
    assert_eq!(bench.alarm(unknown, 3).await, Some(ClaimState::Frozen));
    assert_eq!(bench.alarm(unknown, 4).await, Some(ClaimState::Frozen));
    assert_eq!(bench.told("claim-alarm").await, 4);
    assert_eq!(bench.told("claim-frozen").await, 1);
    let record = bench.record().await;
    assert_eq!((record.unknown_hardware, record.two_keys), (3, 1));
    let reason = record.reason.unwrap();
    for part in ["3 hardware ids", "sn-003", "10.0.0.9"] {
        assert!(reason.contains(part), "{reason}");
    }
    // Thawed, it counts anew; at the other limit it is frozen for the other reason.
    acted(bench.act(ClaimAct::Thaw).await);
    let record = bench.record().await;
    assert_eq!((record.unknown_hardware, record.two_keys), (0, 0));
    for (n, want) in [(1, ClaimState::Active), (2, ClaimState::Frozen)] {
        assert_eq!(bench.alarm(ClaimAlarmKind::TwoKeys, n).await, Some(want));
    }
    let reason = bench.record().await.reason.unwrap();
    assert!(reason.contains("second key"), "{reason}");
    let nobody = ClaimAlarm {
        claim: "line-9".into(),
        kind: unknown,
        hardware: hardware(1),
        key: key(1),
        address: String::new(),
    };
    let ledger = bench.open().await;
    assert_eq!(ledger.claim_alarm(nobody, NOW).await.unwrap(), None);
}

/// Who knocks all day fills no journal, and no limit means no brake.
pub async fn without_a_limit_alarms_are_counted_and_the_first_told<P: Place>(bench: &mut Bench<P>) {
    let limits = ClaimLimits {
        unknown_hardware: 0,
        ..ClaimLimits::default()
    };
    bench.claim(limits).await;
    for n in 0..20 {
        let state = bench.alarm(ClaimAlarmKind::UnknownHardware, n).await;
        assert_eq!(state, Some(ClaimState::Active));
    }
    assert_eq!(bench.record().await.unknown_hardware, 20);
    assert_eq!(bench.told("claim-alarm").await, 16);
}

/// [`Ledger::pending_intend`], 1 and 4; [`Ledger::pending_settle`].
pub async fn a_claim_and_a_key_have_one_pending_certificate<P: Place>(bench: &mut Bench<P>) {
    bench.claim(ClaimLimits::default()).await;
    let first = done(bench.ask(5).await);
    assert_eq!(first.state, PendingState::Pending);
    assert_eq!(first.certificate_state, CertificateState::Intended);
    let again = done(bench.ask(5).await);
    assert_eq!(again, first, "the same intent, as it was written");
    let other = done(bench.ask(6).await);
    assert_ne!(other.serial, first.serial);
    assert_eq!(bench.record().await.pending, 2);
    let der = certificate_of(&first);
    for (der, at) in [(der.clone(), 1), (vec![1, 2, 3], 2)] {
        let ledger = bench.open().await;
        let settled = ledger.pending_settle(first.serial, der, NOW.plus(at)).await;
        let record = settled.unwrap().unwrap();
        assert_eq!(record.der, Some(certificate_of(&first)), "the first stays");
        assert_eq!(record.certificate_state, CertificateState::Issued);
        assert_eq!(record.to_be_signed, first.to_be_signed);
    }
    assert_eq!(done(bench.ask(5).await).der, Some(der));
    assert_eq!(bench.told("pending-intended").await, 2);
    assert_eq!(bench.told("pending-settled").await, 1);
    let ledger = bench.open().await;
    let found = ledger.credential_facts(first.serial).await.unwrap();
    assert!(found.is_none(), "it is no device's");
    let unknown = bench.serial();
    let ledger = bench.open().await;
    let broken = ledger.pending_settle(unknown, vec![1], NOW).await;
    assert!(matches!(broken, Err(LedgerError::Broken { .. })));
}

/// [`Ledger::pending_intend`], 2.
pub async fn a_claim_that_is_not_good_gets_nothing_more<P: Place>(bench: &mut Bench<P>) {
    bench.claim(ClaimLimits::default()).await;
    let nobody = PendingGrant {
        claim: "line-9".into(),
        ..pending(5, bench.serial())
    };
    let unshown = PendingGrant {
        shown: fingerprint(9),
        ..pending(5, bench.serial())
    };
    for grant in [nobody, unshown] {
        assert!(matches!(bench.ask_at(grant, NOW).await, Claimed::Changed));
    }
    bench.pending(5).await;
    let freeze = ClaimAct::Freeze { reason: "a".into() };
    acted(bench.act(freeze).await);
    assert!(
        matches!(bench.ask(5).await, Claimed::Changed),
        "not even again"
    );
    acted(bench.act(ClaimAct::Thaw).await);
    done(bench.ask(5).await);
    let revoke = ClaimAct::RevokeCertificate {
        fingerprint: fingerprint(1),
        reason: RevocationReason::KeyCompromise,
    };
    acted(bench.act(revoke).await);
    assert!(matches!(bench.ask(5).await, Claimed::Changed));
    assert_eq!(bench.told("pending-intended").await, 1);
}

/// [`Ledger::pending_intend`], 2: a key that a device owns.
pub async fn a_devices_key_gets_no_pending_certificate_unless_it_is_released<P: Place>(
    bench: &mut Bench<P>,
) {
    bench.claim(ClaimLimits::default()).await;
    bench.member(5).await;
    assert!(matches!(bench.ask(5).await, Claimed::Changed));
    let release = DeviceAct::Release { new_key: true };
    let ledger = bench.open().await;
    let released = ledger.device_act(&device_id(5), release, ADMIN, NOW).await;
    released.unwrap();
    done(bench.ask(5).await);
}

/// [`Ledger::pending_intend`], 3.
pub async fn a_claim_is_asked_no_faster_and_no_more_than_its_limits<P: Place>(
    bench: &mut Bench<P>,
) {
    let limits = ClaimLimits {
        per_minute: 2,
        pending: 3,
        ..ClaimLimits::default()
    };
    bench.claim(limits).await;
    let begin = UnixTime(NOW.0 - NOW.0 % 60);
    let rows = [
        (1, 0, true),
        (2, 50, true),
        (3, 55, false),
        (3, 60, true),
        (4, 61, false),
    ];
    for (k, at, granted) in rows {
        let grant = pending(k, bench.serial());
        let asked = bench.ask_at(grant, begin.plus(at)).await;
        match asked {
            Claimed::Done(_) => assert!(granted, "{k} at {at}"),
            Claimed::Limited { seconds, why } => {
                assert!(
                    !granted && why.contains("certificates"),
                    "{k} at {at}: {why}"
                );
                let left = 60 - u32::try_from(at % 60).unwrap();
                assert_eq!(seconds, left, "{k} at {at}");
            }
            other => panic!("{other:?}"),
        }
    }
    // Who has asked before is answered, whatever the limits.
    let again = pending(1, bench.serial());
    done(bench.ask_at(again, begin.plus(62)).await);
}

/// Who is held back loses nothing, and operators are told of it once in an hour.
pub async fn a_claim_that_is_held_back_is_told_and_what_it_had_stays<P: Place>(
    bench: &mut Bench<P>,
) {
    let limits = ClaimLimits {
        per_minute: 1,
        ..ClaimLimits::default()
    };
    bench.claim(limits).await;
    let old = bench.pending(5).await;
    // Its certificate is past its end when its key asks again, and another one was faster.
    let late = old.not_after.plus(60);
    let other = pending(6, bench.serial());
    done(bench.ask_at(other, late).await);
    for at in [0, 1, 2] {
        let again = pending(5, bench.serial());
        let asked = bench.ask_at(again, late.plus(at)).await;
        assert!(matches!(asked, Claimed::Limited { .. }), "{asked:?}");
    }
    let record = bench.pending_by(old.serial).await;
    assert_eq!(record.state, PendingState::Pending);
    assert_eq!(bench.told("claim-limited").await, 1);
    assert_eq!(bench.told("pending-expired").await, 0);
    // In the next minute it gets another one, and what it had ends and is told.
    let again = PendingGrant {
        not_after: late.plus(86_400),
        ..pending(5, bench.serial())
    };
    done(bench.ask_at(again, late.plus(60)).await);
    let record = bench.pending_by(old.serial).await;
    assert_eq!(record.state, PendingState::Ended);
    assert_eq!(record.certificate_state, CertificateState::Revoked);
    assert_eq!(bench.told("pending-expired").await, 1);
}

/// [`ClaimLimits::pending`]: one more waits for each id on the list and each device that was registered.
pub async fn more_may_wait_where_more_are_listed<P: Place>(bench: &mut Bench<P>) {
    let limits = ClaimLimits {
        pending: 2,
        ..ClaimLimits::default()
    };
    bench.claim(limits).await;
    let ledger = bench.open().await;
    let listed = vec![hardware(1), hardware(2)];
    ledger
        .allow_add("thermo", listed, ADMIN, NOW)
        .await
        .unwrap();
    for k in 1..=4 {
        done(bench.ask(k).await);
    }
    let Claimed::Limited { why, .. } = bench.ask(5).await else {
        panic!("a fifth one");
    };
    assert!(why.starts_with("4 certificates wait"), "{why}");
}

/// [`ClaimLimits::unregistered`].
pub async fn a_claim_whose_certificates_are_never_registered_is_frozen<P: Place>(
    bench: &mut Bench<P>,
) {
    let limits = ClaimLimits {
        unregistered: 4,
        ..ClaimLimits::default()
    };
    bench.claim(limits).await;
    let ledger = bench.open().await;
    let listed = vec![hardware(1)];
    ledger
        .allow_add("thermo", listed, ADMIN, NOW)
        .await
        .unwrap();
    // The same key again and again is one board with a bad line.
    for day in 0..9 {
        let at = NOW.plus(day * 7_200);
        let grant = pending(1, bench.serial());
        done(bench.ask_at(grant, at).await);
        let ledger = bench.open().await;
        let expired = ledger.pending_expire(at.plus(1), at.plus(3_700)).await;
        assert_eq!(expired.unwrap(), 1);
    }
    assert_eq!(bench.told("claim-alarm").await, 0);
    let states = [
        (3, ClaimState::Active, 0),
        // Beyond half of four, and one for the list.
        (4, ClaimState::Active, 1),
        (5, ClaimState::Active, 1),
        (6, ClaimState::Frozen, 1),
    ];
    done(bench.ask(2).await);
    let expire = async |bench: &mut Bench<P>| {
        let ledger = bench.open().await;
        let expired = ledger.pending_expire(NOW.plus(90_000), NOW.plus(86_400));
        expired.await.unwrap();
    };
    expire(bench).await;
    for (k, state, alarms) in states {
        let grant = pending(k, bench.serial());
        done(bench.ask_at(grant, NOW.plus(80_000)).await);
        expire(bench).await;
        assert_eq!(bench.record().await.state, state, "{k}");
        assert_eq!(bench.told("claim-alarm").await, alarms, "{k}");
    }
    assert_eq!(bench.told("claim-frozen").await, 1);
    assert_eq!(bench.record().await.unregistered, 6);
    let reason = bench.record().await.reason.unwrap();
    for part in ["6 keys", "never registered", "0 devices"] {
        assert!(reason.contains(part), "{reason}");
    }
    // Thawed, it counts anew; what was counted before yesterday is forgotten.
    acted(bench.act(ClaimAct::Thaw).await);
    assert_eq!(bench.record().await.unregistered, 0);
    let grant = pending(9, bench.serial());
    done(bench.ask_at(grant, NOW.plus(80_000)).await);
    expire(bench).await;
    assert_eq!(bench.record().await.state, ClaimState::Active);
}

/// [`Ledger::pending_expire`].
pub async fn what_is_not_registered_in_its_time_is_revoked_and_told<P: Place>(
    bench: &mut Bench<P>,
) {
    bench.claim(ClaimLimits::default()).await;
    let signed = bench.pending(5).await;
    let unsigned = done(bench.ask(6).await);
    let young = pending(7, bench.serial());
    let young = done(bench.ask_at(young, NOW.plus(100)).await);
    let expire = async |bench: &mut Bench<P>| {
        let ledger = bench.open().await;
        ledger
            .pending_expire(NOW.plus(50), NOW.plus(3_650))
            .await
            .unwrap()
    };
    assert_eq!(expire(bench).await, 2);
    assert_eq!(expire(bench).await, 0);
    assert_eq!(bench.told("pending-expired").await, 2);
    assert_eq!(bench.record().await.pending, 1);
    let states = [
        (
            signed.serial,
            PendingState::Ended,
            CertificateState::Revoked,
        ),
        (unsigned.serial, PendingState::Ended, CertificateState::Void),
        (
            young.serial,
            PendingState::Pending,
            CertificateState::Intended,
        ),
    ];
    for (serial, state, certificate) in states {
        let record = bench.pending_by(serial).await;
        assert_eq!(record.state, state);
        assert_eq!(record.certificate_state, certificate);
    }
    let listed = (signed.serial, RevocationReason::CessationOfOperation);
    assert_eq!(bench.revoked().await, [listed]);
    let ledger = bench.open().await;
    let late = ledger.pending_settle(unsigned.serial, vec![1], NOW).await;
    assert_eq!(late.unwrap(), None, "what was not signed is void");
    // The same key asks again, and gets another certificate.
    let anew = bench.pending(5).await;
    assert_ne!(anew.serial, signed.serial);
}

/// [`Ledger::pending_expire`]: an operator has seven days, and one's word holds for its own time.
pub async fn what_waits_for_an_operator_is_kept_as_long_as_it_may<P: Place>(bench: &mut Bench<P>) {
    const DAY: i64 = 86_400;
    bench.claim(ClaimLimits::default()).await;
    bench.mint(1).await;
    bench.mint(2).await;
    let (waits, approved) = (bench.pending(5).await, bench.pending(6).await);
    let lost = bench.pending(7).await;
    let ledger = bench.open().await;
    for (device, k) in [(1, 5), (2, 6)] {
        let listed = ledger.enrollment_wait(wait(device, k), NOW).await;
        assert_eq!(listed.unwrap(), Waited::Listed);
    }
    let act = DeviceAct::Approve {
        key: None,
        until: NOW.plus(9 * DAY),
    };
    let acted = ledger.device_act(&device_id(2), act, ADMIN, NOW).await;
    assert!(matches!(acted, Ok(Acted::Done(_))), "{acted:?}");
    for (at, serial) in [
        (3_700, lost.serial),
        (7 * DAY + 1, waits.serial),
        (9 * DAY + 1, approved.serial),
    ] {
        for want in [1, 0] {
            let (before, now) = (NOW.plus(at - 3_600), NOW.plus(at));
            let expired = bench.open().await.pending_expire(before, now).await;
            assert_eq!(expired.unwrap(), want, "{at}");
        }
        let record = bench.pending_by(serial).await;
        assert_eq!(record.state, PendingState::Ended, "{at}");
    }
}

/// [`Ledger::arrival_facts`]: a claim's, a device's, a pending one; and of strangers nothing.
pub async fn a_certificate_is_one_thing<P: Place>(bench: &mut Bench<P>) {
    bench.claim(ClaimLimits::default()).await;
    let member = bench.member(9).await;
    let waiting = bench.pending(5).await;
    let query = |n, serial| ArrivalQuery {
        fingerprint: fingerprint(n),
        serial,
        issuers: vec![vec![0x30, 0]],
    };
    let stranger = bench.serial();
    let rows = [
        (1, stranger, "claim"),
        (2, member, "member"),
        (2, waiting.serial, "pending"),
        (2, stranger, "stranger"),
    ];
    for (n, serial, want) in rows {
        let ledger = bench.open().await;
        let facts = ledger.arrival_facts(&query(n, serial), NOW).await.unwrap();
        let got = match (&facts.claim, &facts.credential, &facts.pending) {
            (Some((claim, one)), None, None) => {
                assert_eq!(claim.claim.name, CLAIM);
                assert_eq!(one.fingerprint, Some(fingerprint(1)));
                "claim"
            }
            (None, Some(credential), None) => {
                assert_eq!(credential.device.id, device_id(9));
                "member"
            }
            (None, None, Some(pending)) => {
                assert_eq!(*pending, waiting);
                "pending"
            }
            (None, None, None) => "stranger",
            _ => "many things",
        };
        assert_eq!(got, want);
        assert!(facts.authorities.is_empty());
    }
}

/// Sixty-four askers with one key get one certificate, and the first signature.
pub async fn sixty_four_askers_with_one_key_get_one_certificate<P: Place>(bench: &mut Bench<P>) {
    bench.claim(ClaimLimits::default()).await;
    let grants: Vec<_> = (0..64).map(|_| pending(5, bench.serial())).collect();
    let ledger = bench.open().await;
    let asked = grants
        .into_iter()
        .map(|grant| ledger.pending_intend(grant, NOW));
    let serials: std::collections::BTreeSet<_> = together(asked)
        .await
        .into_iter()
        .map(|claimed| done(claimed.unwrap()).serial)
        .collect();
    assert_eq!(serials.len(), 1);
    assert_eq!(bench.record().await.pending, 1);
    assert_eq!(bench.told("pending-intended").await, 1);
}

/// No text from an operator or a device is anything but a parameter.
pub async fn no_text_widens_a_claims_look_up<P: Place>(bench: &mut Bench<P>) {
    bench.claim(ClaimLimits::default()).await;
    for text in ["'", "%", "line_1", "line-1\0", "' OR 1=1 --", ""] {
        let ledger = bench.open().await;
        assert_eq!(ledger.claim_get(text).await.unwrap(), None, "{text:?}");
        let acted = ledger.claim_act(text, ClaimAct::Thaw, ADMIN, NOW).await;
        assert_eq!(acted.unwrap(), Acted::Absent, "{text:?}");
        let query = RegistrationQuery {
            claim: Some((text.to_owned(), fingerprint(1))),
            product: Some(text.to_owned()),
            template: Some(text.to_owned()),
            thing: Some(text.to_owned()),
            ..RegistrationQuery::default()
        };
        let facts = ledger.registration_facts(&query, NOW).await.unwrap();
        assert!(facts.claim.is_none() && facts.shown.is_none(), "{text:?}");
        assert!(facts.product.is_none() && facts.template.is_none());
        assert!(facts.thing.is_none(), "{text:?}");
    }
}
