//! Allowlists: which hardware a product lets in, where it asks.

use std::sync::Arc;

use axum::Json;
use imprint_identity::HardwareId;
use imprint_registrar::{Ledger, Signer};
use serde::Deserialize;
use utoipa_axum::router::OpenApiRouter;

use super::extract::{Asked, At, Body};
use super::products::find;
use super::views::{AllowlistChange, AllowlistChanged};
use super::{ACTOR, Admin, ApiError, ErrorView, Office, on};

pub(super) fn routes<L: Ledger, S: Signer>() -> OpenApiRouter<Arc<Admin<L, S>>> {
    OpenApiRouter::new()
        .routes(on::<__path_list, _, _, _>(list::<L, S>))
        .routes(on::<__path_add, _, _, _>(add::<L, S>))
        .routes(on::<__path_remove, _, _, _>(remove::<L, S>))
}

/// The hardware on a product's allowlist, in order.
#[utoipa::path(
    get,
    path = "/api/v1/products/{product}/allowlist",
    operation_id = "allowlist_list",
    tag = "allowlist",
    params(
        ("product" = String, Path, description = "The product's name."),
        ("after" = Option<String>, Query, description = "The last id of the page before."),
        ("limit" = Option<u32>, Query, description = "1 to 10,000; 1,000 unless told."),
    ),
    responses((status = 200, body = Vec<String>), (status = "default", body = ErrorView)),
)]
async fn list<L: Ledger, S: Signer>(
    admin: Office<L, S>,
    At(product): At,
    Asked(page): Asked<Page>,
) -> Result<Json<Vec<String>>, ApiError> {
    find(&admin, &product).await?;
    let limit = page.limit.unwrap_or(1_000).clamp(1, LARGEST_PAGE);
    let ledger = admin.registrar.ledger();
    Ok(Json(
        ledger
            .allow_list(&product, page.after.as_deref(), limit)
            .await?,
    ))
}

/// Puts hardware on a product's allowlist, all or none.
#[utoipa::path(
    post,
    path = "/api/v1/products/{product}/allowlist",
    operation_id = "allowlist_add",
    tag = "allowlist",
    params(("product" = String, Path, description = "The product's name.")),
    request_body = AllowlistChange,
    responses((status = 200, body = AllowlistChanged), (status = "default", body = ErrorView)),
)]
async fn add<L: Ledger, S: Signer>(
    admin: Office<L, S>,
    At(product): At,
    Body(change): Body<AllowlistChange>,
) -> Result<Json<AllowlistChanged>, ApiError> {
    find(&admin, &product).await?;
    let hardware = read(&change.hardware)?;
    let named = hardware.len() as u64;
    let ledger = admin.registrar.ledger();
    let changed = ledger
        .allow_add(&product, hardware, ACTOR, admin.now())
        .await?;
    Ok(Json(AllowlistChanged { named, changed }))
}

/// Takes hardware off a product's allowlist, all or none. Devices that have joined stay.
#[utoipa::path(
    delete,
    path = "/api/v1/products/{product}/allowlist",
    operation_id = "allowlist_remove",
    tag = "allowlist",
    params(("product" = String, Path, description = "The product's name.")),
    request_body = AllowlistChange,
    responses((status = 200, body = AllowlistChanged), (status = "default", body = ErrorView)),
)]
async fn remove<L: Ledger, S: Signer>(
    admin: Office<L, S>,
    At(product): At,
    Body(change): Body<AllowlistChange>,
) -> Result<Json<AllowlistChanged>, ApiError> {
    find(&admin, &product).await?;
    let hardware = read(&change.hardware)?;
    let named = hardware.len() as u64;
    let ledger = admin.registrar.ledger();
    let changed = ledger
        .allow_remove(&product, hardware, ACTOR, admin.now())
        .await?;
    Ok(Json(AllowlistChanged { named, changed }))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Page {
    after: Option<String>,
    limit: Option<u32>,
}

/// Reads hardware ids; the first one that is none is named with its place.
pub(super) fn read(texts: &[String]) -> Result<Vec<HardwareId>, ApiError> {
    if texts.len() > LARGEST_PAGE as usize {
        return Err(ApiError::request(
            format!(
                "{} hardware ids are more than one request may carry.",
                texts.len()
            ),
            "Send at most 10,000 at a time.",
        ));
    }
    texts
        .iter()
        .enumerate()
        .map(|(at, text)| hardware(text, at + 1))
        .collect()
}

/// Reads one hardware id, the `place`th of a list.
pub(super) fn hardware(text: &str, place: usize) -> Result<HardwareId, ApiError> {
    HardwareId::parse(text).map_err(|error| {
        ApiError::new(
            http::StatusCode::BAD_REQUEST,
            "hardware-invalid",
            format!("Hardware id {place}, {text:?}: {error}."),
            "Nothing has been changed; write ids as source:value, as in stm32:... or custom:SN-1.",
        )
    })
}

const LARGEST_PAGE: u32 = 10_000;
