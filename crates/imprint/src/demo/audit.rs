//! Compares what the devices hold with what is on record. It asks the ledger and reads files; it
//! shares no decision with the road.

use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;

use imprint_agent::Status;
use imprint_identity::Step;
use imprint_registrar::Ledger as _;
use imprint_registrar::ledger::{DeviceFilter, DeviceState, TokenState};

use crate::demo::cast::{Ended, Luck};
use crate::demo::stage::Stage;
use crate::open::Road;

/// What came of it.
pub(crate) struct Report {
    provisioned: usize,
    resumed: usize,
    refused: Vec<(String, String)>,
    first: Duration,
    last: Duration,
    trips: u32,
    broken: Vec<String>,
}

impl Report {
    /// Whether every promise held.
    pub(crate) fn held(&self) -> bool {
        self.broken.is_empty()
    }
}

pub(crate) async fn audit(road: &Road, ended: &[Ended], stage: &Stage) -> anyhow::Result<Report> {
    let mut broken = Vec::new();
    let mut must = |holds: bool, what: String| {
        if !holds {
            broken.push(what);
        }
    };
    let ledger = road.ledger();
    let mut serials = BTreeSet::new();
    let (mut provisioned, mut resumed, mut trips) = (0, 0, 0);
    let mut refused = Vec::new();
    for one in ended {
        let hardware = one.device.hardware.to_string();
        let on_record = ledger.device_get(&hardware).await?;
        let expected_in = !matches!(one.device.luck, Luck::Stranger | Luck::ReusedToken);
        must(
            one.quarantine.is_none() == expected_in,
            format!(
                "{hardware}: in the fleet: {}, expected the opposite",
                !expected_in
            ),
        );
        if !expected_in {
            must(
                on_record.is_none(),
                format!("{hardware}: was refused and is on record"),
            );
            refused.push((hardware, one.refusal.clone()));
            continue;
        }
        let Some(file) = on_record else {
            must(false, format!("{hardware}: is in and not on record"));
            continue;
        };
        let device = &file.device;
        must(
            device.state == DeviceState::Active && device.step == Step::Provisioned,
            format!(
                "{}: on record as {} at {}",
                device.id, device.state, device.step
            ),
        );
        // One identity: one certificate was ever written down, also for those that asked twice.
        must(
            file.certificates.len() == 1,
            format!("{}: {} certificates", device.id, file.certificates.len()),
        );
        let held = Status::read(&one.state)?
            .certificate
            .map(|own| own.serial.to_lowercase());
        for certificate in &file.certificates {
            let serial = certificate.serial.to_string();
            must(
                held.as_deref() == Some(serial.as_str()),
                format!("{}: holds {held:?}, on record is {serial}", device.id),
            );
            must(
                serials.insert(serial),
                format!("{}: a serial number twice", device.id),
            );
        }
        let token = ledger.token_get(&one.device.token_id).await?;
        must(
            token.is_some_and(|token| token.state == TokenState::Spent),
            format!("{}: its token is not spent", device.id),
        );
        provisioned += 1;
        if matches!(one.device.luck, Luck::ReplyLost | Luck::PowerCut) {
            must(one.struck, format!("{}: fate forgot it", device.id));
            resumed += 1;
        } else {
            trips = trips.max(one.trips);
        }
    }
    let all = ledger.device_list(&DeviceFilter::default()).await?;
    must(
        all.len() == provisioned,
        format!("{} devices on record, {provisioned} are in", all.len()),
    );
    let times = stage.times();
    Ok(Report {
        provisioned,
        resumed,
        refused,
        first: times.first().copied().unwrap_or_default(),
        last: times.last().copied().unwrap_or_default(),
        trips,
        broken,
    })
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            provisioned,
            resumed,
            refused,
            first,
            last,
            trips,
            broken,
        } = self;
        writeln!(
            f,
            "PROVISIONED  {provisioned} devices, one identity each, every token spent"
        )?;
        writeln!(
            f,
            "             {resumed} of them lost a reply or their power, and asked again"
        )?;
        writeln!(
            f,
            "             first after {:.2} s, last after {:.2} s, {trips} round trips at most",
            first.as_secs_f64(),
            last.as_secs_f64()
        )?;
        for (hardware, code) in refused {
            writeln!(f, "QUARANTINE   {hardware}: {code}")?;
        }
        for what in broken {
            writeln!(f, "BROKEN       {what}")?;
        }
        if broken.is_empty() {
            write!(f, "Every promise held.")
        } else {
            write!(f, "{} promises broken.", broken.len())
        }
    }
}
