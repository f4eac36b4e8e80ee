//! The run that is recorded: products, tokens, enrollments side by side, revocation, lists, the
//! journal's chain; log checkpoints in the middle, and a second session on the same file.

use std::fs::File;
use std::io::Write;
use std::path::Path;

use imprint_identity::{DeviceId, HardwareId, IdentityStrength, UnixTime};
use imprint_registrar::ledger::{
    CertificateOrigin, CrlRecord, DeviceAct, Generation, Grant, Intention, KeyFingerprint,
    NewToken, RequestOrigin, RevocationReason, TokenHash,
};
use imprint_registrar::{EnrollmentId, Ledger, Product, Serial, Ticks};
use imprint_sqlite::{Options, Sqlite};

pub(crate) fn run(dir: &Path, unflushed: bool) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    let told = File::create(dir.join("told")).unwrap();
    for session in [0, DEVICES] {
        let options = Options {
            checkpoint_pages: 60,
            unflushed,
            ..Options::default()
        };
        let ledger = Sqlite::open_with(&dir.join(FILE), &options).unwrap();
        runtime.block_on(session_of(&ledger, &told, session));
        if session > 0 {
            ledger.close().unwrap();
            tell(&told, "closed", 0);
        }
    }
}

async fn session_of(ledger: &Sqlite, told: &File, first: u8) {
    ledger
        .product_apply(vec![Product::named("thermo")], "ada", NOW)
        .await
        .unwrap();
    tell(told, "product", 0);
    for n in (first + 1..=first + DEVICES).step_by(2) {
        tokio::join!(enroll(ledger, told, n), enroll(ledger, told, n + 1));
        if n % 4 == 1 {
            let note = String::new();
            let act = DeviceAct::Revoke {
                reason: RevocationReason::KeyCompromise,
                note,
            };
            ledger
                .device_act(&device(n), act, "ada", NOW)
                .await
                .unwrap();
            tell(told, "revoked", n);
            let facts = ledger.crl_publish(list(n), NOW).await.unwrap();
            assert!(facts);
            tell(told, "published", n);
        }
        let chained = ledger.journal_chain(100).await.unwrap();
        assert!(chained > 0);
        tell(told, "chained", n);
    }
}

async fn enroll(ledger: &Sqlite, told: &File, n: u8) {
    let token = NewToken {
        id: token(n),
        hash: TokenHash([n; 32]),
        product: "thermo".into(),
        bound: None,
        dormant: false,
        expires_at: NOW.plus(9),
    };
    ledger.token_mint(vec![token], "ada", NOW).await.unwrap();
    tell(told, "minted", n);
    let Ok(Intention::Intended(record)) = ledger.enrollment_intend(grant(n), NOW).await else {
        panic!("device {n} is not intended");
    };
    tell(told, "intended", n);
    ledger
        .enrollment_settle(record.serial, der(n), NOW)
        .await
        .unwrap();
    tell(told, "settled", n);
    ledger
        .credential_verify(record.serial, "est", NOW)
        .await
        .unwrap();
    tell(told, "verified", n);
}

/// One system call: it stands in the record after everything that it tells of.
fn tell(mut told: &File, what: &str, n: u8) {
    told.write_all(format!("{what} {n}\n").as_bytes()).unwrap();
}

fn grant(n: u8) -> Grant {
    let key = KeyFingerprint([n; 32]);
    Grant {
        enrollment: EnrollmentId([n; 8]),
        device: device(n),
        hardware: HardwareId::parse(&format!("sn-{n:03}")).unwrap(),
        strength: IdentityStrength::Asserted,
        product: "thermo".into(),
        device_version: None,
        request_key: key,
        subject_key: key,
        generation: Generation::Token(TokenHash([n; 32])),
        origin: CertificateOrigin::Enrolled,
        replaces: None,
        serial: serial(n),
        issuer: "issuing".into(),
        to_be_signed: vec![n; 400],
        asked_subject: vec![0x30, 0],
        sealed_key: None,
        not_before: NOW,
        not_after: NOW.plus(9_999),
        past_end: None,
        origin_of_request: RequestOrigin {
            at: Ticks::default(),
            door: "est",
            address: "10.0.0.1".into(),
        },
    }
}

fn list(n: u8) -> CrlRecord {
    CrlRecord {
        issuer: "issuing".into(),
        number: n.into(),
        der: vec![n; 300],
        this_update: NOW,
        next_update: NOW.plus(9),
        through: n.into(),
    }
}

pub(crate) fn device(n: u8) -> DeviceId {
    format!("thermo-{n:03}").parse().unwrap()
}

pub(crate) fn token(n: u8) -> String {
    format!("t-{n:012}")
}

pub(crate) fn serial(n: u8) -> Serial {
    Serial::new(1, NOW, [n; 16])
}

pub(crate) fn der(n: u8) -> Vec<u8> {
    [&[0x30, 0x82, 2, 2][..], &[n; 514]].concat()
}

/// Devices in one session.
const DEVICES: u8 = 8;
const NOW: UnixTime = UnixTime(1_795_534_500);
pub(crate) const FILE: &str = "imprint.db";
