//! When the faults stop: everybody comes to an end, and every token keeps its promise.

use imprint_sim::checker::Records;

use super::{Findings, HARDWARE, Run, named};

impl Run<'_> {
    /// The faults stop. Everybody comes to an end, and every token still serves whom it promised.
    pub(super) async fn settle_down(&mut self) -> Result<(), Findings> {
        while !self.callers.is_empty() {
            self.advance(0).await?;
            self.judge()?;
        }
        self.restart();
        for token in 0..self.tokens.len() {
            self.token_serves(token).await?;
        }
        self.judge()
    }

    async fn token_serves(&mut self, token: usize) -> Result<(), Findings> {
        let records = Records::read_from(&self.judge);
        let row = records
            .tokens
            .iter()
            .find(|row| row.id == self.tokens[token].id)
            .unwrap();
        let (Some(key), Some(device), "leased" | "spent") =
            (row.lease_key, row.lease_device, row.state.as_str())
        else {
            return Ok(());
        };
        let device = records.device(device).clone();
        let of_holder = records.certificates.iter().rfind(|one| {
            one.state != "void"
                && one.request_key == key
                && one.generation[1..] == row.hash
                && one.generation[0] == 1
        });
        let key = self
            .ground
            .keys
            .iter()
            .position(|one| one.fingerprint() == key)
            .unwrap();
        let hardware = (0..HARDWARE)
            .find(|&one| named(one) == device.hardware)
            .unwrap();
        let told_before = self.outside.told.len();
        let refusals_before = self.report.refusals.clone();
        self.enroll(key, hardware, token);
        while !self.callers.is_empty() {
            self.advance(0).await?;
        }
        let answer = self
            .outside
            .told
            .get(told_before)
            .map(|told| told.certificate.clone());
        let holds = match (of_holder, &answer) {
            // A good certificate on record is the answer.
            (Some(one), Some(told)) if one.is_settled() && one.is_live() => {
                one.der.as_ref() == Some(told)
            }
            (Some(one), None) if one.is_settled() && one.is_live() => device.state != "active",
            // One that ended is named as such, or the device is.
            (Some(one), answer) if one.is_settled() => answer.is_none(),
            // Nothing is settled: it gets a certificate now, unless its device is out.
            (_, Some(_)) => true,
            (_, None) => {
                let out = matches!(
                    device.state.as_str(),
                    "quarantined" | "revoked" | "decommissioned"
                );
                let newly: Vec<_> = self
                    .report
                    .refusals
                    .iter()
                    .filter(|(code, count)| refusals_before.get(*code) != Some(*count))
                    .map(|(code, _)| code.as_str())
                    .collect();
                out || newly == ["device-exists"]
            }
        };
        if !holds {
            return Err(vec![format!(
                "burnt: token {token} ({}) does not serve its holder, device {} ({}), on record \
                 {:?}, told {}",
                row.state,
                device.name,
                device.state,
                of_holder.map(|one| one.state.clone()),
                answer.is_some()
            )]);
        }
        if let Some(certificate) = answer {
            self.verify(&certificate);
            while !self.callers.is_empty() {
                self.advance(0).await?;
            }
        }
        self.judge()
    }
}
