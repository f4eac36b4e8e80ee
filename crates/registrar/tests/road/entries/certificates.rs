//! Devices that ask for a certificate when they register.

use std::time::Duration;

use imprint_pkix::certificate::Certificate;
use imprint_registrar::Registrar;
use imprint_registrar::enroll::Channel;
use imprint_registrar::entries::CertifiedByEntry;
use imprint_registrar::product::ProductLimits;
use imprint_signer::KeySigner;

use super::*;
use crate::attacks::between::Between;

impl World {
    async fn certify(&self, newcomer: &Newcomer, csr: &[u8]) -> Result<CertifiedByEntry, Refusal> {
        let (road, now) = (&self.road, self.now());
        road.entry_certify(newcomer, csr, Channel::Tls12, HUB, &origin(), &chance, now)
            .await
    }

    /// By a shared key, for this key of the device's own.
    async fn certified(
        &self,
        id: &str,
        shared: &[u8],
        own: &Key,
    ) -> Result<CertifiedByEntry, Refusal> {
        self.certify(&self.by_key(id, shared), &own.csr(id, None))
            .await
    }
}

fn leaf(told: &CertifiedByEntry) -> Certificate {
    Certificate::parse(&told.chain[0]).unwrap()
}

#[tokio::test]
async fn a_shared_key_is_a_bootstrap_credential_and_ends_with_the_certificate() {
    let world = World::new().await;
    let shared = world.group("line-1").await;
    let shared = hmac(&shared, b"sn-1");
    let (own, other) = (Key::new(), Key::new());
    let told = world.certified("sn-1", &shared, &own).await.unwrap();
    assert_eq!(told.device.as_str(), "thermo-sn-1");
    assert!(!told.again && !told.registration.shared_key);
    // Leaf, issuer, root; each signed by the next.
    assert_eq!(told.chain.len(), 3);
    assert_eq!(leaf(&told).common_name().as_deref(), Some("thermo-sn-1"));
    assert_eq!(leaf(&told).spki_der(), own.public().spki_der());
    let names: Vec<_> = told
        .chain
        .iter()
        .map(|der| Certificate::parse(der).unwrap())
        .collect();
    for pair in names.windows(2) {
        assert_eq!(pair[0].issuer_der(), pair[1].subject_der());
    }
    let file = world.device("thermo-sn-1").await;
    assert_eq!(file.device.step, Step::Verify);

    // The reply was lost: the same key, in a request that is signed anew, gets the same.
    for _ in 0..2 {
        let again = world.certified("sn-1", &shared, &own).await.unwrap();
        assert!(again.again);
        assert_eq!(
            (again.chain, again.registration),
            (told.chain.clone(), told.registration.clone())
        );
    }
    // Another key does not: who has read the shared key can't take the device over.
    let refused = world.certified("sn-1", &shared, &other).await;
    assert_eq!(code(refused), Code::DeviceExists);
    // The shared key is none for the hub.
    assert_eq!(
        code(world.at_hub("thermo-sn-1", &shared).await),
        Code::EntryUnknown
    );

    world.verify(&told.chain[0]).await.unwrap();
    let file = world.device("thermo-sn-1").await;
    assert_eq!(file.device.step, Step::Provisioned);
    world.pass(86_400);
    let again = world.certified("sn-1", &shared, &own).await.unwrap();
    assert_eq!(again.chain, told.chain);
    let refused = world.certified("sn-1", &shared, &other).await;
    assert_eq!(code(refused), Code::DeviceExists);
    // Without a request it reads what is on record, and has no key by that.
    let plain = world.register("sn-1", &shared).await.unwrap();
    assert!(plain.again && !plain.registration.shared_key);
    assert_eq!(
        code(world.at_hub("thermo-sn-1", &shared).await),
        Code::EntryUnknown
    );
    // Also when it has renewed since.
    let renewed = world.renew(&Key::new(), &told.chain[0]).await.unwrap();
    world.verify(&renewed.certificate).await.unwrap();
    for key in [&own, &other] {
        let refused = code(world.certified("sn-1", &shared, key).await);
        assert!(matches!(
            refused,
            Code::DeviceExists | Code::CertificateSuperseded
        ));
    }
    // It has lost its key, and somebody says so.
    world
        .does("thermo-sn-1", DeviceAct::Release { new_key: true })
        .await;
    let anew = world.certified("sn-1", &shared, &other).await.unwrap();
    assert_eq!(anew.device, told.device);
    world.verify(&anew.chain[0]).await.unwrap();
    let refused = world.certified("sn-1", &shared, &Key::new()).await;
    assert_eq!(code(refused), Code::DeviceExists);
}

#[tokio::test]
async fn a_key_that_was_in_use_is_heard_until_the_certificate_is() {
    let world = World::new().await;
    let shared = world.individual("sn-1").await;
    world.register("sn-1", &shared).await.unwrap();
    world.at_hub("thermo-sn-1", &shared).await.unwrap();
    let own = Key::new();
    let told = world.certified("sn-1", &shared, &own).await.unwrap();
    assert!(
        told.registration.shared_key,
        "it has nothing else that works yet"
    );
    world.at_hub("thermo-sn-1", &shared).await.unwrap();
    // That it came with its key has not ended the certificate that it may not have received yet.
    let again = world.certified("sn-1", &shared, &own).await.unwrap();
    assert_eq!(again.chain, told.chain);
    world.verify(&told.chain[0]).await.unwrap();
    assert_eq!(
        code(world.at_hub("thermo-sn-1", &shared).await),
        Code::EntryUnknown
    );
    let journal = world.journal("shared-key-outgrown", "thermo-sn-1").await;
    assert_eq!(journal.len(), 1);
    let again = world.certified("sn-1", &shared, &own).await.unwrap();
    assert_eq!(again.chain, told.chain);
    assert!(!again.registration.shared_key && again.registration.live);
}

#[tokio::test]
async fn a_device_that_came_with_a_certificate_renews_it() {
    let world = World::new().await;
    let maker = Maker::new("Acme", None, false);
    let own = Key::new();
    let born = maker.device("sn-1", &own);
    let acme = entry(EntryKind::Group, "acme", x509(maker.root(), None));
    world.made(acme).await;
    let newcomer = by_certificate("sn-1", &born, Vec::new());
    let ours = Key::new();
    let told = world
        .certify(&newcomer, &ours.csr("SN-1", None))
        .await
        .unwrap();
    let again = world.certify(&newcomer, &ours.csr("", None)).await.unwrap();
    assert_eq!(again.chain, told.chain);
    // Another key takes the place of the one that was not used, as in every renewal.
    let third = Key::new();
    let replaced = world
        .certify(&newcomer, &third.csr("sn-1", None))
        .await
        .unwrap();
    assert_ne!(replaced.chain[0], told.chain[0]);
    assert_eq!(
        code(world.verify(&told.chain[0]).await),
        Code::CertificateSuperseded
    );
    world.verify(&replaced.chain[0]).await.unwrap();
    // And then what it was born with is no use.
    let refused = world.certify(&newcomer, &third.csr("sn-1", None)).await;
    assert_eq!(code(refused), Code::CertificateSuperseded);
}

#[tokio::test]
async fn a_request_that_is_none_is_refused_before_anything_is_written() {
    let world = World::new().await;
    let shared = world.individual("sn-1").await;
    let newcomer = world.by_key("sn-1", &shared);
    let weak = world.by_key("a", &world.individual("a").await);
    let own = Key::new();
    let mut unproven = own.csr("sn-1", None);
    let last = unproven.len() - 1;
    unproven[last] ^= 1;
    for (what, csr, want) in [
        (
            "somebody else's",
            own.csr("sn-2", None),
            Code::RegistrationOther,
        ),
        ("no request", vec![0x30, 0], Code::CsrUnreadable),
        ("another's key", unproven, Code::PossessionUnproven),
        ("a weak key", neighbours_csr(), Code::KeyUnsound),
    ] {
        // Their names are in the requests.
        let newcomer = if want == Code::KeyUnsound {
            &weak
        } else {
            &newcomer
        };
        assert_eq!(code(world.certify(newcomer, &csr).await), want, "{what}");
    }
    let wrong = world.by_key("sn-1", &[7; 32]);
    let refused = world.certify(&wrong, &own.csr("sn-1", None)).await;
    assert_eq!(code(refused), Code::EntryProofWrong);
    world.switch(EntryKind::Individual, "sn-1", false).await;
    let refused = world.certify(&newcomer, &own.csr("sn-1", None)).await;
    assert_eq!(code(refused), Code::EntryDisabled);
    let ledger = world.road.ledger();
    assert!(ledger.device_get("custom:sn-1").await.unwrap().is_none());
}

#[tokio::test]
async fn two_devices_never_share_a_key() {
    let world = World::new().await;
    let (one, two) = (
        world.individual("sn-1").await,
        world.individual("sn-2").await,
    );
    let own = Key::new();
    world.certified("sn-1", &one, &own).await.unwrap();
    assert_eq!(
        code(world.certified("sn-2", &two, &own).await),
        Code::KeyInUse
    );
}

#[tokio::test]
async fn a_hundred_requests_at_one_time_make_one_certificate() {
    let world = Arc::new(World::new().await);
    let shared = world.individual("sn-1").await;
    let own = Arc::new(Key::new());
    let mut asking = Vec::new();
    for _ in 0..100 {
        let (world, own) = (Arc::clone(&world), Arc::clone(&own));
        let shared = shared.clone();
        asking.push(tokio::spawn(async move {
            world.certified("sn-1", &shared, &own).await
        }));
    }
    let mut told = BTreeSet::new();
    for one in asking {
        match one.await.unwrap() {
            Ok(one) => drop(told.insert(one.chain)),
            Err(refusal) => assert_eq!(refusal.code, Code::Busy),
        }
    }
    assert_eq!(told.len(), 1);
    let file = world.device("thermo-sn-1").await;
    assert_eq!(file.certificates.len(), 1);
}

#[tokio::test]
async fn who_waits_for_approval_gets_its_certificate_afterwards() {
    let world = World::with(|product| product.approval = true).await;
    let shared = world.individual("sn-1").await;
    let own = Key::new();
    for _ in 0..2 {
        let refused = world.certified("sn-1", &shared, &own).await;
        assert_eq!(code(refused), Code::ApprovalPending);
    }
    let key = Some(own.fingerprint());
    let until = world.now().plus(3_600);
    world
        .does("thermo-sn-1", DeviceAct::Approve { key, until })
        .await;
    // Not for another key.
    let refused = world.certified("sn-1", &shared, &Key::new()).await;
    assert_eq!(code(refused), Code::ApprovalPending);
    let told = world.certified("sn-1", &shared, &own).await.unwrap();
    world.verify(&told.chain[0]).await.unwrap();
}

#[tokio::test]
async fn newcomers_with_a_request_come_at_the_fleets_pace() {
    let world = World::with(|product| {
        product.limits = ProductLimits {
            enrollments_per_second: 1,
            burst: 1,
        };
    })
    .await;
    let group = world.group("line-1").await;
    let mut codes = BTreeSet::new();
    for n in 0..6 {
        let id = format!("sn-{n}");
        let shared = hmac(&group, id.as_bytes());
        if let Err(refusal) = world.certified(&id, &shared, &Key::new()).await {
            codes.insert(refusal.code.as_str());
        }
    }
    assert_eq!(codes.into_iter().collect::<Vec<_>>(), ["rate-limited"]);
}

/// Polls a step until it hangs at this method, then drops it: a crash.
async fn dies_at<T>(
    road: &Registrar<Between, KeySigner>,
    method: &'static str,
    step: impl Future<Output = T>,
) {
    road.ledger().hang_before(method);
    let waited = tokio::time::timeout(Duration::from_millis(300), step).await;
    assert!(waited.is_err(), "it was to die at {method}");
    road.ledger().go_on();
}

#[tokio::test]
async fn a_crash_at_any_step_leaves_one_device_and_one_certificate() {
    for used_before in [false, true] {
        let world = World::new().await;
        let shared = world.individual("sn-1").await;
        if used_before {
            world.register("sn-1", &shared).await.unwrap();
        }
        let newcomer = world.by_key("sn-1", &shared);
        let now = world.now();
        let (road, _directory) = world.behind(Between::new);
        let own = Key::new();
        let ask = |csr: Vec<u8>| {
            let (road, newcomer) = (&road, &newcomer);
            async move {
                let origin = origin();
                road.entry_certify(newcomer, &csr, Channel::Tls12, HUB, &origin, &chance, now)
                    .await
            }
        };
        let mut methods = vec!["intend", "settle"];
        // A registration that is there is left as it is.
        if !used_before {
            methods.extend(["entry_register", "after entry_register"]);
        }
        for method in methods {
            Box::pin(dies_at(&road, method, ask(own.csr("sn-1", None)))).await;
        }
        let told = ask(own.csr("sn-1", None)).await.unwrap();
        assert_eq!(
            told.again, !used_before,
            "what was settled before is what it gets"
        );
        let file = road.ledger().device_get("thermo-sn-1").await.unwrap();
        let file = file.unwrap();
        assert_eq!(file.certificates.len(), 1);
        assert_eq!(file.registration, Some(told.registration));
        let refused = ask(Key::new().csr("sn-1", None)).await;
        assert_eq!(code(refused), Code::DeviceExists);
        road.member(&peer(&told.chain[0]), &origin(), now)
            .await
            .unwrap();
    }
}
