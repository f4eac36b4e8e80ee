//! What devices, thieves and operators want.

use std::sync::Mutex;

use imprint_identity::HardwareId;
use imprint_pkix::certificate::Certificate;
use imprint_registrar::enroll::{Channel, Kind};
use imprint_registrar::ledger::{DeviceAct, RevocationReason, TokenAct};
use imprint_registrar::{EnrollmentRequest, Ledger as _, Shown};
use imprint_sim::chance::Dice;
use imprint_sim::checker::Records;
use imprint_sim::world::PRODUCT;

use super::{Done, HARDWARE, KEYS, Run, Token, named, origin, peer, short_name};

impl Run<'_> {
    /// Somebody wants something.
    pub(super) fn begin(&mut self) {
        match self.dice.below(100) {
            0..=44 => self.begin_enroll(),
            45..=61 => self.begin_verify(),
            62..=79 => self.begin_renew(),
            80..=87 => self.begin_token_act(),
            _ => self.begin_device_act(),
        }
    }

    fn begin_enroll(&mut self) {
        let token = self.dice.below(self.tokens.len());
        let hardware = match self.tokens[token].bound {
            Some(bound) if !self.dice.once_in(8) => bound,
            _ => self.dice.below(HARDWARE),
        };
        // Mostly its own key; sometimes another's, which is a thief or a cloned flash.
        let key = if self.dice.once_in(3) {
            self.dice.below(KEYS)
        } else {
            hardware
        };
        self.enroll(key, hardware, token);
    }

    pub(super) fn enroll(&mut self, key: usize, hardware: usize, token: usize) {
        let Token { id, text, .. } = self.tokens[token].clone();
        let request = EnrollmentRequest {
            kind: Kind::Enroll,
            product: None,
            shown: Shown::Token {
                text: text.into(),
                hardware: Some(named(hardware)),
            },
            csr: self.ground.keys[key].csr("sim"),
            channel: Channel::Tls12,
            origin: origin(),
        };
        let what = format!("enroll hardware {hardware} key {key} token {token}");
        self.ask(what, request, key, hardware, id);
    }

    fn begin_renew(&mut self) {
        if self.held.is_empty() {
            return;
        }
        let (key, certificate) = self.dice.pick(&self.held).clone();
        let parsed = Certificate::parse(&certificate).unwrap();
        let records = Records::read_from(&self.judge);
        let Some(row) = records
            .certificates
            .iter()
            .find(|row| row.serial == parsed.serial())
        else {
            return;
        };
        let Some(device) = row.device else { return };
        let name = &records.device(device).hardware;
        let hardware = (0..HARDWARE).find(|&one| named(one) == *name).unwrap();
        let next = if self.dice.once_in(2) {
            key
        } else {
            self.dice.below(KEYS)
        };
        self.used.insert(parsed.serial().to_vec());
        let serial = hex::encode(parsed.serial());
        let request = EnrollmentRequest {
            kind: Kind::Reenroll,
            product: None,
            shown: Shown::Certificate(peer(&certificate)),
            csr: self.ground.keys[next].csr(&parsed.common_name().unwrap()),
            channel: Channel::Tls12,
            origin: origin(),
        };
        self.ask(
            format!("renew {serial} with key {next}"),
            request,
            next,
            hardware,
            serial,
        );
    }

    fn ask(
        &mut self,
        what: String,
        request: EnrollmentRequest,
        key: usize,
        hardware: usize,
        question: String,
    ) {
        let (road, now, seed) = (self.road(), self.now, self.dice.next());
        self.call(what, async move {
            let dice = Mutex::new(Dice::new(seed));
            let chance = |bytes: &mut [u8]| dice.lock().unwrap().fill(bytes);
            let outcome = road.enroll(request, &chance, now).await;
            Done::Enrolled {
                key,
                hardware,
                question,
                outcome,
            }
        });
    }

    fn begin_verify(&mut self) {
        if self.held.is_empty() {
            return;
        }
        let (_, certificate) = self.dice.pick(&self.held).clone();
        self.verify(&certificate);
    }

    pub(super) fn verify(&mut self, certificate: &[u8]) {
        let peer = peer(certificate);
        let serial = peer.parsed.as_ref().unwrap().serial().to_vec();
        let what = format!("verify {}", hex::encode(&serial));
        self.used.insert(serial);
        let (road, now) = (self.road(), self.now);
        self.call(what, async move {
            Done::Verified(road.member(&peer, &origin(), now).await.map(|_| ()))
        });
    }

    fn begin_token_act(&mut self) {
        let token = self.dice.pick(&self.tokens).clone();
        let hardware = HardwareId::parse(&named(self.dice.below(HARDWARE))).unwrap();
        let (name, act) = match self.dice.below(8) {
            0 => ("token-revoked", TokenAct::Revoke),
            1 => (
                "token-rebound",
                TokenAct::Rebind {
                    hardware: Some(hardware),
                },
            ),
            _ => ("token-rebound", TokenAct::Rebind { hardware: None }),
        };
        let (road, now) = (self.road(), self.now);
        self.call(format!("{act:?} {}", token.id), async move {
            road.ledger()
                .token_act(&token.id, act, "sim", now)
                .await
                .unwrap();
            Done::Acted(name)
        });
    }

    fn begin_device_act(&mut self) {
        let device = format!("{PRODUCT}-{}", short_name(self.dice.below(HARDWARE)));
        let (name, act) = match self.dice.below(10) {
            0..=5 => ("device-released", DeviceAct::Release { new_key: true }),
            6..=7 => (
                "device-quarantined",
                DeviceAct::Quarantine {
                    reason: "sim".to_owned(),
                },
            ),
            8 => {
                let reason = RevocationReason::KeyCompromise;
                (
                    "device-revoked",
                    DeviceAct::Revoke {
                        reason,
                        note: "sim".to_owned(),
                    },
                )
            }
            _ => (
                "device-decommissioned",
                DeviceAct::Decommission {
                    reason: "sim".to_owned(),
                },
            ),
        };
        let (road, now) = (self.road(), self.now);
        self.call(format!("{act:?} {device}"), async move {
            let device = device.parse().unwrap();
            road.ledger()
                .device_act(&device, act, "sim", now)
                .await
                .unwrap();
            Done::Acted(name)
        });
    }
}
