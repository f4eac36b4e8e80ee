//! Devices: looking, and what an operator may do to one.

use std::sync::Arc;

use axum::Json;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::StatusCode;
use imprint_attest::KeyFingerprint;
use imprint_identity::{DeviceId, HardwareId};
use imprint_pkix::pem;
use imprint_registrar::ledger::{
    Acted, DeviceAct, DeviceFile, DeviceFilter, DeviceState, RevocationReason,
};
use imprint_registrar::{Ledger, Signer};
use serde::Deserialize;
use utoipa_axum::router::OpenApiRouter;

use super::allowlist::hardware;
use super::extract::{Asked, At, Body};
use super::products::find as find_product;
use super::views::{
    Adoption, Approval, DeviceFileView, DeviceView, Issue, IssuedView, Reason, Release, Revocation,
    WhyView,
};
use super::{ACTOR, Admin, ApiError, ErrorView, Office, on};

pub(super) fn routes<L: Ledger, S: Signer>() -> OpenApiRouter<Arc<Admin<L, S>>> {
    OpenApiRouter::new()
        .routes(on::<__path_list, _, _, _>(list::<L, S>))
        .routes(on::<__path_get, _, _, _>(get::<L, S>))
        .routes(on::<__path_approve, _, _, _>(approve::<L, S>))
        .routes(on::<__path_quarantine, _, _, _>(quarantine::<L, S>))
        .routes(on::<__path_release, _, _, _>(release::<L, S>))
        .routes(on::<__path_decommission, _, _, _>(decommission::<L, S>))
        .routes(on::<__path_revoke, _, _, _>(revoke::<L, S>))
        .routes(on::<__path_issue, _, _, _>(issue::<L, S>))
        .routes(on::<__path_adopt, _, _, _>(adopt::<L, S>))
        .routes(on::<__path_why, _, _, _>(why::<L, S>))
}

/// Devices, by name.
#[utoipa::path(
    get,
    path = "/api/v1/devices",
    operation_id = "device_list",
    tag = "devices",
    params(
        ("product" = Option<String>, Query, description = "Of this product alone."),
        ("state" = Option<String>, Query, description = "In this state alone."),
        ("after" = Option<String>, Query, description = "The last name of the page before."),
        ("limit" = Option<u32>, Query, description = "1 to 10,000; 1,000 unless told."),
    ),
    responses((status = 200, body = Vec<DeviceView>), (status = "default", body = ErrorView)),
)]
async fn list<L: Ledger, S: Signer>(
    admin: Office<L, S>,
    Asked(asked): Asked<Filter>,
) -> Result<Json<Vec<DeviceView>>, ApiError> {
    let filter = DeviceFilter {
        product: asked.product,
        state: asked.state.as_deref().map(state_of).transpose()?,
        after: asked.after,
        limit: asked.limit.unwrap_or(1_000).clamp(1, 10_000),
    };
    let devices = admin.registrar.ledger().device_list(&filter).await?;
    Ok(Json(devices.iter().map(DeviceView::from).collect()))
}

/// One device and everything about it.
#[utoipa::path(
    get,
    path = "/api/v1/devices/{device}",
    operation_id = "device_get",
    tag = "devices",
    params(("device" = String, Path, description = "Its name or its hardware id.")),
    responses((status = 200, body = DeviceFileView), (status = "default", body = ErrorView)),
)]
async fn get<L: Ledger, S: Signer>(
    admin: Office<L, S>,
    At(name): At,
) -> Result<Json<DeviceFileView>, ApiError> {
    admin.settle().await?;
    let file = find(&admin, &name).await?;
    Ok(Json(DeviceFileView::new(&file, admin.now())))
}

/// Approves the key that waits, for seven days: the device gets its certificate when it asks again.
#[utoipa::path(
    post,
    path = "/api/v1/devices/{device}/approve",
    operation_id = "device_approve",
    tag = "devices",
    params(("device" = String, Path, description = "Its name or its hardware id.")),
    request_body = Approval,
    responses((status = 200, body = DeviceView), (status = "default", body = ErrorView)),
)]
async fn approve<L: Ledger, S: Signer>(
    admin: Office<L, S>,
    At(name): At,
    Body(approval): Body<Approval>,
) -> Result<Json<DeviceView>, ApiError> {
    let key = approval.key.as_deref().map(fingerprint).transpose()?;
    let file = find(&admin, &name).await?;
    let id = &file.device.id;
    match (key, file.waiting.as_slice()) {
        (None, []) => {
            return Err(ApiError::new(
                StatusCode::CONFLICT,
                "nobody-waits",
                format!("No key of device {id} waits for approval."),
                "A device waits once it has asked; see `imprint why`.",
            ));
        }
        (None, [_, _, ..]) => {
            return Err(ApiError::new(
                StatusCode::CONFLICT,
                "several-wait",
                format!(
                    "Several keys of device {id} wait for approval; one of them is a stranger's."
                ),
                "See `imprint device show` and name the right one with --key.",
            ));
        }
        _ => {}
    }
    let until = admin.now().plus(APPROVAL_SECONDS);
    let hint = "See `imprint why`; the key that is named must be one that waits.";
    act(
        &admin,
        id,
        DeviceAct::Approve { key, until },
        "approved",
        hint,
    )
    .await
}

/// Puts a device aside: its certificate is refused until it is released.
#[utoipa::path(
    post,
    path = "/api/v1/devices/{device}/quarantine",
    operation_id = "device_quarantine",
    tag = "devices",
    params(("device" = String, Path, description = "Its name or its hardware id.")),
    request_body = Reason,
    responses((status = 200, body = DeviceView), (status = "default", body = ErrorView)),
)]
async fn quarantine<L: Ledger, S: Signer>(
    admin: Office<L, S>,
    At(name): At,
    Body(words): Body<Reason>,
) -> Result<Json<DeviceView>, ApiError> {
    let reason = said(words.reason)?;
    let file = find(&admin, &name).await?;
    let hint = "A device that is revoked or decommissioned is out already.";
    act(
        &admin,
        &file.device.id,
        DeviceAct::Quarantine { reason },
        "quarantined",
        hint,
    )
    .await
}

/// Takes a device out of quarantine, revocation or decommissioning, and lets its next enrollment
/// replace its key; with `keep_key`, ends its quarantine and allows nothing else.
#[utoipa::path(
    post,
    path = "/api/v1/devices/{device}/release",
    operation_id = "device_release",
    tag = "devices",
    params(("device" = String, Path, description = "Its name or its hardware id.")),
    request_body = Release,
    responses((status = 200, body = DeviceView), (status = "default", body = ErrorView)),
)]
async fn release<L: Ledger, S: Signer>(
    admin: Office<L, S>,
    At(name): At,
    Body(order): Body<Release>,
) -> Result<Json<DeviceView>, ApiError> {
    let file = find(&admin, &name).await?;
    let new_key = !order.keep_key;
    let hint =
        "Its certificates are revoked, so there is no key to keep: release it without keep_key.";
    let view = act(
        &admin,
        &file.device.id,
        DeviceAct::Release { new_key },
        "released with the key that it has",
        hint,
    )
    .await?;
    admin.publish_revocations().await;
    Ok(view)
}

/// Takes a device out of service: every live certificate is revoked.
#[utoipa::path(
    post,
    path = "/api/v1/devices/{device}/decommission",
    operation_id = "device_decommission",
    tag = "devices",
    params(("device" = String, Path, description = "Its name or its hardware id.")),
    request_body = Reason,
    responses((status = 200, body = DeviceView), (status = "default", body = ErrorView)),
)]
async fn decommission<L: Ledger, S: Signer>(
    admin: Office<L, S>,
    At(name): At,
    Body(words): Body<Reason>,
) -> Result<Json<DeviceView>, ApiError> {
    let reason = said(words.reason)?;
    let file = find(&admin, &name).await?;
    let order = DeviceAct::Decommission { reason };
    let view = act(
        &admin,
        &file.device.id,
        order,
        "decommissioned",
        "See `imprint why`.",
    )
    .await?;
    admin.publish_revocations().await;
    Ok(view)
}

/// Revokes every live certificate of a device; the revocation list says so at once.
#[utoipa::path(
    post,
    path = "/api/v1/devices/{device}/revoke",
    operation_id = "device_revoke",
    tag = "devices",
    params(("device" = String, Path, description = "Its name or its hardware id.")),
    request_body = Revocation,
    responses((status = 200, body = DeviceView), (status = "default", body = ErrorView)),
)]
async fn revoke<L: Ledger, S: Signer>(
    admin: Office<L, S>,
    At(name): At,
    Body(revocation): Body<Revocation>,
) -> Result<Json<DeviceView>, ApiError> {
    let reason = reason_of(&revocation.reason)?;
    let note = said(revocation.note)?;
    let file = find(&admin, &name).await?;
    let order = DeviceAct::Revoke { reason, note };
    let view = act(
        &admin,
        &file.device.id,
        order,
        "revoked",
        "See `imprint why`.",
    )
    .await?;
    admin.publish_revocations().await;
    Ok(view)
}

/// Issues a certificate from a request that came by hand: the same road, with the operator's word
/// as evidence and `by-hand` on the record.
#[utoipa::path(
    post,
    path = "/api/v1/certificates/issue",
    operation_id = "certificate_issue",
    tag = "certificates",
    request_body = Issue,
    responses((status = 200, body = IssuedView), (status = "default", body = ErrorView)),
)]
async fn issue<L: Ledger, S: Signer>(
    admin: Office<L, S>,
    Body(order): Body<Issue>,
) -> Result<Json<IssuedView>, ApiError> {
    find_product(&admin, &order.product).await?;
    let hardware = hardware(&order.hardware, 1)?;
    let csr = der_of(
        &order.csr,
        &[pem::CERTIFICATE_REQUEST, "NEW CERTIFICATE REQUEST"],
    )?;
    let (registrar, chance, now) = (&admin.registrar, &*admin.world.chance, admin.now());
    let enrolled = registrar
        .device_issue(csr, &order.product, hardware, ACTOR, chance, now)
        .await?;
    let chain = registrar.authorities().ca_certs();
    Ok(Json(IssuedView {
        device: enrolled.device.to_string(),
        product: enrolled.product.name,
        again: enrolled.again,
        certificate: pem::encode(pem::CERTIFICATE, &enrolled.certificate),
        chain: chain
            .iter()
            .map(|der| pem::encode(pem::CERTIFICATE, der))
            .collect(),
    }))
}

/// Takes a certificate of ours that the registry does not know into it.
#[utoipa::path(
    post,
    path = "/api/v1/certificates/adopt",
    operation_id = "certificate_adopt",
    tag = "certificates",
    request_body = Adoption,
    responses((status = 200, body = DeviceView), (status = "default", body = ErrorView)),
)]
async fn adopt<L: Ledger, S: Signer>(
    admin: Office<L, S>,
    Body(order): Body<Adoption>,
) -> Result<Json<DeviceView>, ApiError> {
    let hardware = order.hardware.map(|text| hardware(&text, 1)).transpose()?;
    let der = der_of(&order.certificate, &[pem::CERTIFICATE])?;
    let now = admin.now();
    let record = admin
        .registrar
        .device_adopt(der, &order.product, hardware, ACTOR, now)
        .await?;
    Ok(Json(DeviceView::from(&record)))
}

/// Which step a device is at, the cause in one sentence, the evidence, and what to do. Also for
/// hardware that was only ever refused.
#[utoipa::path(
    get,
    path = "/api/v1/why/{device}",
    operation_id = "device_why",
    tag = "devices",
    params(("device" = String, Path, description = "Its name or its hardware id.")),
    responses((status = 200, body = WhyView), (status = "default", body = ErrorView)),
)]
async fn why<L: Ledger, S: Signer>(
    admin: Office<L, S>,
    At(name): At,
) -> Result<Json<WhyView>, ApiError> {
    let why = admin.registrar.why(&name, admin.now()).await?;
    why.map(|why| Json(WhyView::from(why))).ok_or_else(|| {
        ApiError::new(
            StatusCode::NOT_FOUND,
            "device-unknown",
            format!("Nothing is known of {name:?}: it has never been let in, nor been refused by this id."),
            "Check the id; if the device says it has asked, `imprint agent check` on it finds what is in between.",
        )
    })
}

async fn act<L: Ledger, S: Signer>(
    admin: &Admin<L, S>,
    id: &DeviceId,
    act: DeviceAct,
    verb: &str,
    hint: &str,
) -> Result<Json<DeviceView>, ApiError> {
    match admin
        .registrar
        .ledger()
        .device_act(id, act, ACTOR, admin.now())
        .await?
    {
        Acted::Done(device) => Ok(Json(DeviceView::from(&device))),
        Acted::Absent => Err(ApiError::device_unknown(id.as_str())),
        Acted::NotNow { state } => Err(ApiError::not_now(
            &format!("Device {id}"),
            state,
            verb,
            hint,
        )),
    }
}

/// A device by its name, or by its hardware id in whatever spelling.
async fn find<L: Ledger, S: Signer>(
    admin: &Admin<L, S>,
    name: &str,
) -> Result<DeviceFile, ApiError> {
    let ledger = admin.registrar.ledger();
    if let Some(file) = ledger.device_get(name).await? {
        return Ok(file);
    }
    if let Ok(hardware) = HardwareId::parse(name)
        && let Some(file) = ledger.device_get(&hardware.text()).await?
    {
        return Ok(file);
    }
    Err(ApiError::device_unknown(name))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Filter {
    product: Option<String>,
    state: Option<String>,
    after: Option<String>,
    limit: Option<u32>,
}

fn state_of(word: &str) -> Result<DeviceState, ApiError> {
    word.parse().map_err(|()| {
        let known: Vec<_> = DeviceState::ALL
            .iter()
            .map(|state| state.as_str())
            .collect();
        let hint = format!("Use one of {}.", known.join(", "));
        ApiError::request(format!("{word:?} is no state of a device."), hint)
    })
}

fn reason_of(word: &str) -> Result<RevocationReason, ApiError> {
    word.parse().map_err(|()| {
        let known: Vec<_> = RevocationReason::ALL
            .iter()
            .map(|reason| reason.as_str())
            .collect();
        let hint = format!("Use one of {}.", known.join(", "));
        ApiError::request(format!("{word:?} is no reason for a revocation."), hint)
    })
}

/// What an operator says goes on record and on screens: short, and without control characters.
pub(super) fn said(text: String) -> Result<String, ApiError> {
    if text.chars().count() > 256 || text.chars().any(char::is_control) {
        let hint = "Use at most 256 printable characters.";
        return Err(ApiError::request(
            "The reason is too long or holds control characters.",
            hint,
        ));
    }
    Ok(text)
}

fn fingerprint(text: &str) -> Result<KeyFingerprint, ApiError> {
    let mut octets = [0; 32];
    hex::decode_to_slice(text, &mut octets).map_err(|_| {
        let hint = "Copy the 64 hex digits from `imprint device show`.";
        ApiError::request(format!("{text:?} is no key fingerprint."), hint)
    })?;
    Ok(KeyFingerprint(octets))
}

/// PEM with one of these labels, or DER in base64.
pub(super) fn der_of(text: &str, labels: &[&str]) -> Result<Vec<u8>, ApiError> {
    if let Some(der) = labels
        .iter()
        .filter_map(|label| pem::decode(label, text).ok())
        .find_map(|blocks| blocks.into_iter().next())
    {
        return Ok(der);
    }
    let squeezed: String = text.split_ascii_whitespace().collect();
    STANDARD.decode(squeezed).map_err(|_| {
        let wanted = labels.first().copied().unwrap_or_default().to_lowercase();
        ApiError::request(
            format!("This is neither a PEM {wanted} nor DER in base64."),
            "Send the text of the PEM file as it is.",
        )
    })
}

/// How long an approval holds: a device that waits polls at least once a day.
const APPROVAL_SECONDS: i64 = 7 * 86_400;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_read_from_pem_and_from_base64() {
        let der = vec![0x30, 0x03, 0x02, 0x01, 0x07];
        let label = pem::CERTIFICATE_REQUEST;
        let read = |text: &str| der_of(text, &[label, "NEW CERTIFICATE REQUEST"]).ok();
        assert_eq!(read(&pem::encode(label, &der)), Some(der.clone()));
        assert_eq!(
            read(&pem::encode("NEW CERTIFICATE REQUEST", &der)),
            Some(der.clone())
        );
        assert_eq!(read("MAMC\nAQc=\n"), Some(der));
        assert_eq!(read("-----BEGIN CERTIFICATE-----"), None);
    }

    #[test]
    fn what_an_operator_says_fits_on_a_screen() {
        assert!(said("out of the field".into()).is_ok());
        assert!(said("\u{1b}[2J".into()).is_err());
        assert!(said("x".repeat(257)).is_err());
    }
}
