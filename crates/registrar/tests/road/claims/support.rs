//! A fleet with a claim, and devices that hold the claim's key.

use std::sync::LazyLock;

use imprint_attest::PeerCertificate;
use imprint_identity::{HardwareId, UnixTime};
use imprint_registrar::claims::definition::Claim;
use imprint_registrar::claims::thing::ThingSpec;
use imprint_registrar::claims::{Arrival, ClaimSpeaker, Opening, PendingCertificate, Registration};
use imprint_registrar::journal::JournalRow;
use imprint_registrar::ledger::{
    Acted, ClaimAct, ClaimRecord, Definitions, DeviceAct, DeviceRecord, Registered,
};
use imprint_registrar::{Ledger, Origin, Refusal, Registrar};
use imprint_signer::KeySigner;

use crate::support::*;

/// A world with claim `line-1` of product `thermo`, and its certificate.
pub struct Fleet {
    pub world: World,
    pub claim_key: Key,
    pub claim_certificate: Vec<u8>,
}

impl Fleet {
    pub async fn new() -> Self {
        Self::with(|_| {}).await
    }

    pub async fn with(change: impl FnOnce(&mut Claim)) -> Self {
        Self::on(World::new().await, change).await
    }

    pub async fn on(world: World, change: impl FnOnce(&mut Claim)) -> Self {
        let mut claim = Claim::named("line-1", "thermo");
        change(&mut claim);
        define(&world, vec![claim]).await;
        let claim_key = Key::new();
        let claim_certificate = issue(&world, "line-1", &claim_key, 5 * YEARS).await;
        Self {
            world,
            claim_key,
            claim_certificate,
        }
    }

    pub fn restarted(self) -> Self {
        Self {
            world: self.world.restarted(),
            ..self
        }
    }

    pub async fn speaker(&self) -> Result<ClaimSpeaker, Refusal> {
        arrive_as_claim(&self.world, &self.claim_certificate).await
    }

    pub async fn certify(&self, key: &Key) -> Result<PendingCertificate, Refusal> {
        let speaker = self.speaker().await?;
        certify(&self.world.road, &speaker, key, self.world.now()).await
    }

    pub async fn open(&self, ownership: &str) -> Result<Opening, Refusal> {
        self.open_with(ownership, "thermo").await
    }

    pub async fn open_with(&self, ownership: &str, template: &str) -> Result<Opening, Refusal> {
        let speaker = self.speaker().await?;
        let (road, now) = (&self.world.road, self.world.now());
        road.claim_open(&speaker, ownership, template, mqtt(), now)
            .await
    }

    /// By the product's own template: the thing has the device's name.
    pub async fn register(
        &self,
        pending: &PendingCertificate,
        hardware: &str,
    ) -> Result<Registered, Refusal> {
        self.register_as(pending, registration(hardware)).await
    }

    pub async fn register_as(
        &self,
        pending: &PendingCertificate,
        registration: Registration,
    ) -> Result<Registered, Refusal> {
        let opening = self.open(&pending.ownership).await?;
        let (road, now) = (&self.world.road, self.world.now());
        road.claim_register(&opening, &registration, mqtt(), &chance, now)
            .await
    }

    /// A device that is all the way in.
    pub async fn provisioned(&self, hardware: &str) -> (Key, Vec<u8>) {
        let key = Key::new();
        let pending = self.certify(&key).await.unwrap();
        self.register(&pending, hardware).await.unwrap();
        self.world.verify(&pending.der).await.unwrap();
        (key, pending.der)
    }

    pub async fn act(&self, act: ClaimAct) -> ClaimRecord {
        let (ledger, now) = (self.world.road.ledger(), self.world.now());
        match ledger.claim_act("line-1", act, "test", now).await.unwrap() {
            Acted::Done(record) => record,
            other => panic!("not done: {other:?}"),
        }
    }

    pub async fn claim(&self) -> ClaimRecord {
        let ledger = self.world.road.ledger();
        ledger.claim_get("line-1").await.unwrap().unwrap()
    }

    pub async fn allow(&self, hardware: &[&str]) {
        let ids = hardware
            .iter()
            .map(|id| HardwareId::parse(id).unwrap())
            .collect();
        let ledger = self.world.road.ledger();
        ledger
            .allow_add("thermo", ids, "test", START)
            .await
            .unwrap();
    }
}

pub async fn define(world: &World, claims: Vec<Claim>) {
    for claim in &claims {
        claim.check().unwrap();
    }
    let definitions = Definitions {
        claims,
        ..Definitions::default()
    };
    let ledger = world.road.ledger();
    ledger
        .fleet_apply(definitions, "test", START)
        .await
        .unwrap();
}

/// A certificate of a claim.
pub async fn issue(world: &World, claim: &str, key: &Key, seconds: i64) -> Vec<u8> {
    let csr = key.csr("whatever", None);
    let now = world.now();
    let issued = world
        .road
        .claim_issue(claim, &csr, seconds, "test", &chance, now);
    issued.await.unwrap().der
}

pub async fn arrive_as_claim(world: &World, certificate: &[u8]) -> Result<ClaimSpeaker, Refusal> {
    speak(&world.road, certificate, world.now()).await
}

pub async fn speak<L: Ledger>(
    road: &Registrar<L, KeySigner>,
    certificate: &[u8],
    now: UnixTime,
) -> Result<ClaimSpeaker, Refusal> {
    let peer = peer(certificate);
    match road.arrive(&peer, &[], None, mqtt(), now).await? {
        Arrival::Claim(speaker) => Ok(*speaker),
        other => panic!("this is no claim: {other:?}"),
    }
}

pub async fn arrive(world: &World, peer: &PeerCertificate) -> Result<Arrival, Refusal> {
    let now = world.now();
    world.road.arrive(peer, &[], None, mqtt(), now).await
}

pub async fn certify<L: Ledger>(
    road: &Registrar<L, KeySigner>,
    speaker: &ClaimSpeaker,
    key: &Key,
    now: UnixTime,
) -> Result<PendingCertificate, Refusal> {
    let csr = key.csr("whatever the device likes", None);
    road.claim_certify(speaker, &csr, mqtt(), &chance, now)
        .await
}

pub async fn act(world: &World, device: &str, act: DeviceAct) -> Acted<DeviceRecord> {
    let ledger = world.road.ledger();
    let device = device.parse().unwrap();
    let acted = ledger.device_act(&device, act, "test", world.now()).await;
    acted.unwrap()
}

pub async fn journal(world: &World) -> Vec<JournalRow> {
    let ledger = world.road.ledger();
    ledger.journal_read(0, 100_000).await.unwrap()
}

pub async fn told(world: &World, kind: &str) -> usize {
    let rows = journal(world).await;
    rows.iter().filter(|row| row.kind == kind).count()
}

pub fn registration(hardware: &str) -> Registration {
    let name = format!("thermo-{hardware}");
    Registration {
        hardware: HardwareId::parse(hardware).unwrap(),
        answer: format!("{{\"thingName\":\"{name}\"}}").into_bytes(),
        thing: Some(ThingSpec::named(&name)),
    }
}

pub fn mqtt() -> &'static Origin {
    static MQTT: LazyLock<Origin> = LazyLock::new(|| Origin {
        door: "mqtt",
        address: "10.0.0.9".to_owned(),
        at: imprint_registrar::Ticks::default(),
    });
    &MQTT
}
