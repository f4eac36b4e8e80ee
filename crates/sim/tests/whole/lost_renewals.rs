//! A renewal whose reply is lost at any byte: one successor, the same bytes to whoever asks again,
//! and the certificate before it works until the successor has been used.

use std::time::Instant;

use imprint_pkix::certificate::Certificate;
use imprint_sim::checker::{Outside, Records, Told};
use imprint_sim::client::{Answer, Broken, Client};
use imprint_sim::key::DeviceKey;
use imprint_sim::many;
use imprint_sim::proxy::{Counts, Cut, Plan, Proxy, Way};
use imprint_sim::world::World;

use crate::support::{assert_clean, judge, seconds};

/// A device that is all the way in.
struct Device {
    client: Client,
    hardware: String,
    key: DeviceKey,
    certificate: Vec<u8>,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_renewal_lost_at_any_byte_leaves_one_successor_and_a_working_predecessor() {
    let started = Instant::now();
    let mut world = World::new().await;
    let proxy = Proxy::start(world.https()).await;
    let sizes = sizes(&world, &proxy).await;
    let mut outside = Outside::default();
    let (mut cuts, mut after_settle, mut restarts, mut rekeyed) = (0, 0, 0, 0);
    for (number, plan) in plans(sizes).into_iter().enumerate() {
        let device = Device::provisioned(&world, number).await;
        // The same key, or a new one, by turns.
        let next = number.is_multiple_of(2).then(DeviceKey::new);
        let key = next.as_ref().unwrap_or(&device.key);
        rekeyed += usize::from(next.is_some());
        proxy.arm(Some(plan));
        let first = device.renew(proxy.address(), key).await;
        cuts += usize::from(proxy.has_struck());
        let settled = Records::read(&world.place().database());
        let settled = settled.certificates_of(&device.hardware);
        after_settle += usize::from(settled.iter().filter(|row| row.is_settled()).count() == 2);
        if number / 4 % 2 == 1 {
            world.restart().await;
            restarts += 1;
        }
        proxy.reopen(world.https());

        // The one before works, and asking again has the same answer.
        let old = device
            .verify(&world, &device.key, &device.certificate)
            .await;
        assert_eq!(old.status, 200, "{plan:?}: {old:?}");
        let again = device.renew(world.https(), key).await.unwrap();
        let successor = again
            .certificate()
            .unwrap_or_else(|| panic!("{plan:?}: {again:?}"));
        let seen = first.ok().and_then(|answer| answer.certificate());
        for certificate in seen.into_iter().chain([successor.clone()]) {
            outside.told.push(device.told(key, certificate));
        }
        // Its first use ends the one before.
        let new = device.verify(&world, key, &successor).await;
        assert_eq!(new.status, 200, "{plan:?}: {new:?}");
        let old = device
            .verify(&world, &device.key, &device.certificate)
            .await;
        let code = old.refusal.as_deref();
        assert_eq!(
            (old.status, code),
            (403, Some("certificate-superseded")),
            "{plan:?}"
        );
    }
    let (records, findings) = judge(world.place(), &outside);
    println!(
        "S7 renewal: {cuts} cuts in {} bytes of request and {} of reply; {after_settle} fell after \
         settle; {restarts} server restarts; {rekeyed} with a new key; every retry had the same \
         certificate; {}; {}",
        sizes.request,
        sizes.reply,
        findings.to_string().lines().next().unwrap(),
        seconds(started)
    );
    assert_clean("after the renewals", &findings);
    assert!(
        after_settle > 0,
        "no cut fell after settle, so nothing was tested"
    );
    assert!(after_settle < cuts, "no cut fell before settle");
    for told in &outside.told {
        assert_eq!(
            records.certificates_of(&told.hardware).len(),
            2,
            "{}",
            told.hardware
        );
    }
}

async fn sizes(world: &World, proxy: &Proxy) -> Counts {
    let device = Device::provisioned(world, 1_000_000).await;
    proxy.arm(None);
    let answer = device.renew(proxy.address(), &device.key).await.unwrap();
    assert_eq!(answer.status, 200, "{answer:?}");
    proxy.counts()
}

/// A cut at every 16th byte of either way; in the deep run, at every byte.
fn plans(sizes: Counts) -> Vec<Plan> {
    let ways = [(Way::Request, sizes.request), (Way::Reply, sizes.reply)];
    let cut = |at: u64| {
        if (at / 16).is_multiple_of(2) {
            Cut::Fin
        } else {
            Cut::Rst
        }
    };
    let of_way = |(way, size)| {
        (0..size).step_by(many(16, 1)).map(move |after| Plan {
            way,
            after,
            how: cut(after),
        })
    };
    ways.into_iter().flat_map(of_way).collect()
}

impl Device {
    async fn provisioned(world: &World, number: usize) -> Self {
        let client = Client::new(&world.place().root_der());
        let (key, hardware) = (DeviceKey::new(), format!("custom:RENEW-{number}"));
        let token = world.token().await;
        let answer = client
            .enroll(world.https(), &key, &hardware, &token)
            .await
            .unwrap();
        let certificate = answer.certificate().unwrap();
        let device = Self {
            client,
            hardware,
            key,
            certificate,
        };
        let answer = device.verify(world, &device.key, &device.certificate).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        device
    }

    async fn renew(&self, to: std::net::SocketAddr, key: &DeviceKey) -> Result<Answer, Broken> {
        let name = Certificate::parse(&self.certificate)
            .unwrap()
            .common_name()
            .unwrap();
        let mut link = self
            .client
            .connect_as(to, &self.key, &self.certificate)
            .await?;
        link.renew(key, &name).await
    }

    async fn verify(&self, world: &World, key: &DeviceKey, certificate: &[u8]) -> Answer {
        self.client
            .verify(world.https(), key, certificate)
            .await
            .unwrap()
    }

    fn told(&self, key: &DeviceKey, certificate: Vec<u8>) -> Told {
        Told {
            hardware: self.hardware.clone(),
            key: key.fingerprint(),
            question: hex::encode(Certificate::parse(&self.certificate).unwrap().serial()),
            certificate,
        }
    }
}
