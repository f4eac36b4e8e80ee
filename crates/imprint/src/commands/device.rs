//! `imprint device ...`.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::Context as _;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::Method;
use imprint_server::admin::views::{
    Adoption, Approval, CertificateView, DeviceFileView, DeviceView, Issue, IssuedView, Reason,
    Release, Revocation,
};

use super::shown;
use crate::cli::Device;
use crate::desk::{Desk, encoded, with_query};
use crate::outcome::{Outcome, facts, table};

pub(super) async fn run(
    desk: &mut Desk,
    order: Device,
    file: String,
    json: bool,
) -> anyhow::Result<Outcome> {
    match order {
        Device::List {
            product,
            state,
            limit,
        } => list(desk, product, state, limit, json).await,
        Device::Show { device } => shown(
            desk.ask(Method::GET, &path(&device), None::<&()>).await?,
            json,
            show,
        ),
        Device::Approve { device, key } => {
            act(desk, &device, "approve", Some(&Approval { key }), json).await
        }
        Device::Quarantine { device, reason } => {
            act(desk, &device, "quarantine", Some(&Reason { reason }), json).await
        }
        Device::Release { device, keep_key } => {
            act(desk, &device, "release", Some(&Release { keep_key }), json).await
        }
        Device::Decommission { device, reason } => {
            act(
                desk,
                &device,
                "decommission",
                Some(&Reason { reason }),
                json,
            )
            .await
        }
        Device::Revoke {
            device,
            reason,
            note,
        } => {
            act(
                desk,
                &device,
                "revoke",
                Some(&Revocation { reason, note }),
                json,
            )
            .await
        }
        Device::Issue {
            product,
            hardware,
            chain,
            ..
        } => {
            let body = Issue {
                product,
                hardware,
                csr: file,
            };
            let text = desk
                .ask(Method::POST, "/api/v1/certificates/issue", Some(&body))
                .await?;
            shown(text, json, |issued: &IssuedView| {
                let chain = if chain { issued.chain.as_str() } else { "" };
                format!("{}{chain}", issued.certificate)
                    .trim_end()
                    .to_owned()
            })
        }
        Device::Adopt {
            product, hardware, ..
        } => {
            let body = Adoption {
                product,
                hardware,
                certificate: file,
            };
            let text = desk
                .ask(Method::POST, "/api/v1/certificates/adopt", Some(&body))
                .await?;
            shown(text, json, line)
        }
    }
}

/// A file as the API takes it: PEM as it is, DER as base64.
pub(super) fn read(path: &Path) -> anyhow::Result<String> {
    let bytes = std::fs::read(path).with_context(|| format!("{} can't be read", path.display()))?;
    if bytes.first() == Some(&0x30)
        && let None = bytes.windows(11).find(|window| window == b"-----BEGIN ")
    {
        return Ok(STANDARD.encode(bytes));
    }
    String::from_utf8(bytes).with_context(|| format!("{} is neither PEM nor DER", path.display()))
}

async fn act(
    desk: &mut Desk,
    device: &str,
    act: &str,
    body: Option<&(impl serde::Serialize + Sync)>,
    json: bool,
) -> anyhow::Result<Outcome> {
    let path = format!("{}/{act}", path(device));
    shown(desk.ask(Method::POST, &path, body).await?, json, line)
}

/// All devices, page by page, or the first `limit`.
async fn list(
    desk: &mut Desk,
    product: Option<String>,
    state: Option<String>,
    limit: Option<u32>,
    json: bool,
) -> anyhow::Result<Outcome> {
    let most = limit.map_or(usize::MAX, |limit| limit as usize);
    let mut all: Vec<DeviceView> = Vec::new();
    loop {
        let wanted = PAGE.min(most - all.len());
        let query = [
            ("product", product.clone()),
            ("state", state.clone()),
            ("after", all.last().map(|device| device.id.clone())),
            ("limit", Some(wanted.max(1).to_string())),
        ];
        let page: Vec<DeviceView> = desk.get(&with_query("/api/v1/devices", &query)).await?;
        let last = page.len() < wanted;
        all.extend(page);
        if last || all.len() >= most {
            break;
        }
    }
    all.truncate(most);
    if json {
        return Ok(Outcome::done(serde_json::to_string(&all)?));
    }
    let rows: Vec<_> = all
        .iter()
        .map(|device| {
            [
                &device.id,
                &device.product,
                &device.hardware,
                &device.state,
                &device.step,
                &device.updated_at,
            ]
            .map(Clone::clone)
        })
        .collect();
    Ok(Outcome::done(table(
        ["DEVICE", "PRODUCT", "HARDWARE", "STATE", "STEP", "CHANGED"],
        &rows,
    )))
}

fn line(device: &DeviceView) -> String {
    let released = if device.released {
        ", may enroll with a new key"
    } else {
        ""
    };
    format!(
        "{}: {} at {}{released}",
        device.id, device.state, device.step
    )
}

fn show(file: &DeviceFileView) -> String {
    let device = &file.device;
    let mut parts = vec![facts(&[
        ("device", &device.id),
        ("product", &device.product),
        (
            "hardware",
            &format!("{} ({})", device.hardware, device.strength),
        ),
        ("state", &device.state),
        ("step", &device.step),
        (
            "released",
            if device.released {
                "its next enrollment may replace its key"
            } else {
                ""
            },
        ),
        ("reason", device.reason.as_deref().unwrap_or_default()),
        ("since", &device.created_at),
        ("changed", &device.updated_at),
        ("token", file.token.as_ref().map_or("", |token| &token.id)),
        ("groups", &file.groups.join(", ")),
        ("attributes", &pairs(&file.attributes)),
    ])];
    if let Some(registration) = &file.registration {
        parts.push(facts(&[
            ("registration", &registration.id),
            (
                "entry",
                &format!("{} ({})", registration.entry, registration.kind),
            ),
            ("credential", &registration.credential),
            (
                "good",
                if registration.live {
                    "yes"
                } else {
                    "no, ended"
                },
            ),
            ("hub", &registration.hub),
            ("registered", &registration.created_at),
            (
                "first used",
                registration.verified_at.as_deref().unwrap_or_default(),
            ),
        ]));
    }
    if !file.certificates.is_empty() {
        let rows: Vec<_> = file.certificates.iter().map(certificate).collect();
        let header = ["CERTIFICATE", "STATE", "FROM", "NOT AFTER", "FIRST USED"];
        parts.push(table(header, &rows));
    }
    if !file.waiting.is_empty() {
        let rows: Vec<_> = file
            .waiting
            .iter()
            .map(|wait| [wait.key.clone(), wait.since.clone()])
            .collect();
        parts.push(table(["KEY THAT WAITS FOR APPROVAL", "SINCE"], &rows));
    }
    if !file.refusals.is_empty() {
        let rows: Vec<_> = file
            .refusals
            .iter()
            .map(|refusal| {
                let count = refusal.count.to_string();
                [
                    &refusal.at,
                    &refusal.code,
                    &refusal.step,
                    &refusal.address,
                    &count,
                ]
                .map(Clone::clone)
            })
            .collect();
        parts.push(table(["REFUSED", "CODE", "STEP", "FROM", "TIMES"], &rows));
    }
    if !file.reports.is_empty() {
        let rows: Vec<_> = file
            .reports
            .iter()
            .map(|report| {
                let attempts = report.attempts.to_string();
                [
                    &report.at,
                    &report.code,
                    &report.step,
                    &report.address,
                    &attempts,
                ]
                .map(Clone::clone)
            })
            .collect();
        parts.push(table(
            ["THE DEVICE SAYS", "CODE", "STEP", "FROM", "ATTEMPTS"],
            &rows,
        ));
    }
    parts.join("\n\n")
}

/// Attributes in one line.
pub(super) fn pairs(attributes: &BTreeMap<String, String>) -> String {
    let pairs = attributes.iter();
    let pairs: Vec<_> = pairs
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    pairs.join(", ")
}

fn certificate(certificate: &CertificateView) -> [String; 5] {
    let state = match &certificate.revocation_reason {
        Some(reason) if *reason != certificate.state => format!("{} ({reason})", certificate.state),
        _ => certificate.state.clone(),
    };
    [
        certificate.serial.clone(),
        state,
        certificate.origin.clone(),
        certificate.not_after.clone(),
        certificate
            .verified_at
            .clone()
            .unwrap_or_else(|| "-".to_owned()),
    ]
}

fn path(device: &str) -> String {
    format!("/api/v1/devices/{}", encoded(device))
}

const PAGE: usize = 10_000;
