//! A fleet with a claim, and devices that hold the claim's key.

use imprint_attest::PeerCertificate;
use imprint_identity::HardwareId;
use imprint_registrar::claims::definition::Claim;
use imprint_registrar::claims::thing::ThingSpec;
use imprint_registrar::claims::{Arrival, ClaimSpeaker, Opening, PendingCertificate, Registration};
use imprint_registrar::ledger::{Definitions, Registered};
use imprint_registrar::{Ledger as _, Refusal};

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
        claim.check().unwrap();
        let claims = Definitions {
            claims: vec![claim],
            ..Definitions::default()
        };
        let ledger = world.road.ledger();
        ledger.fleet_apply(claims, "test", START).await.unwrap();
        let claim_key = Key::new();
        let issued = world
            .road
            .claim_issue(
                "line-1",
                &claim_key.csr("whatever", None),
                5 * YEARS,
                "test",
                &chance,
                START,
            )
            .await
            .unwrap();
        Self {
            world,
            claim_key,
            claim_certificate: issued.der,
        }
    }

    pub async fn speaker(&self) -> Result<ClaimSpeaker, Refusal> {
        arrive_as_claim(&self.world, &self.claim_certificate).await
    }

    pub async fn certify(&self, key: &Key) -> Result<PendingCertificate, Refusal> {
        let speaker = self.speaker().await?;
        certify(&self.world, &speaker, key).await
    }

    pub async fn open(&self, ownership: &str) -> Result<Opening, Refusal> {
        let speaker = self.speaker().await?;
        let now = self.world.now();
        let road = &self.world.road;
        road.claim_open(&speaker, ownership, "thermo", &mqtt(), now)
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
        let now = self.world.now();
        let road = &self.world.road;
        road.claim_register(&opening, &registration, &mqtt(), &chance, now)
            .await
    }
}

pub async fn arrive_as_claim(world: &World, certificate: &[u8]) -> Result<ClaimSpeaker, Refusal> {
    match arrive(world, &peer(certificate)).await? {
        Arrival::Claim(speaker) => Ok(*speaker),
        other => panic!("this is no claim: {other:?}"),
    }
}

pub async fn arrive(world: &World, peer: &PeerCertificate) -> Result<Arrival, Refusal> {
    let now = world.now();
    world.road.arrive(peer, &[], None, &mqtt(), now).await
}

pub async fn certify(
    world: &World,
    speaker: &ClaimSpeaker,
    key: &Key,
) -> Result<PendingCertificate, Refusal> {
    let csr = key.csr("whatever the device likes", None);
    let now = world.now();
    let road = &world.road;
    road.claim_certify(speaker, &csr, &mqtt(), &chance, now)
        .await
}

pub fn registration(hardware: &str) -> Registration {
    let name = format!("thermo-{hardware}");
    Registration {
        hardware: HardwareId::parse(hardware).unwrap(),
        answer: format!("{{\"thingName\":\"{name}\"}}").into_bytes(),
        thing: Some(ThingSpec::named(&name)),
    }
}

pub fn mqtt() -> imprint_registrar::Origin {
    imprint_registrar::Origin {
        door: "mqtt",
        address: "10.0.0.9".to_owned(),
        at: imprint_registrar::Ticks::default(),
    }
}
