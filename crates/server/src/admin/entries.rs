//! Entries: looking, and what an operator may do to one.

use std::sync::Arc;

use axum::Json;
use axum::extract::Path;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::StatusCode;
use imprint_pkix::pem;
use imprint_registrar::entries::definition::{Attestation, Entry};
use imprint_registrar::entries::{EntryDeskError, EntryKeys, EntryOrder, MadeEntry};
use imprint_registrar::ledger::{EntryKind, KeySlot};
use imprint_registrar::{Ledger, Signer};
use utoipa_axum::router::OpenApiRouter;
use zeroize::Zeroizing;

use super::devices::der_of;
use super::extract::Body;
use super::views::{
    EntryDerivation, EntryDerivedView, EntryMadeView, EntryOrderView, EntryRotation, EntryView,
};
use super::{ACTOR, Admin, ApiError, ErrorView, Office, on};

pub(super) fn routes<L: Ledger, S: Signer>() -> OpenApiRouter<Arc<Admin<L, S>>> {
    OpenApiRouter::new()
        .routes(on::<__path_list, _, _, _>(list::<L, S>))
        .routes(on::<__path_new, _, _, _>(new::<L, S>))
        .routes(on::<__path_get, _, _, _>(get::<L, S>))
        .routes(on::<__path_delete, _, _, _>(delete::<L, S>))
        .routes(on::<__path_enable, _, _, _>(enable::<L, S>))
        .routes(on::<__path_disable, _, _, _>(disable::<L, S>))
        .routes(on::<__path_rotate, _, _, _>(rotate::<L, S>))
        .routes(on::<__path_derive, _, _, _>(derive::<L, S>))
}

/// Every entry, groups first, by name.
#[utoipa::path(
    get,
    path = "/api/v1/entries",
    operation_id = "entry_list",
    tag = "entries",
    responses((status = 200, body = Vec<EntryView>), (status = "default", body = ErrorView)),
)]
async fn list<L: Ledger, S: Signer>(admin: Office<L, S>) -> Result<Json<Vec<EntryView>>, ApiError> {
    let records = admin.registrar.ledger().entry_list().await?;
    Ok(Json(records.iter().map(EntryView::from).collect()))
}

/// Makes an entry. Keys that are made here are in this answer and in no other.
#[utoipa::path(
    post,
    path = "/api/v1/entries",
    operation_id = "entry_new",
    tag = "entries",
    request_body = EntryOrderView,
    responses((status = 200, body = EntryMadeView), (status = "default", body = ErrorView)),
)]
async fn new<L: Ledger, S: Signer>(
    admin: Office<L, S>,
    Body(order): Body<EntryOrderView>,
) -> Result<Json<EntryMadeView>, ApiError> {
    let certificates = order.certificates.iter();
    let certificates: Vec<_> = certificates
        .map(|text| pem_of(text))
        .collect::<Result<_, _>>()?;
    let mut certificates = certificates.into_iter();
    let tpm = (order.endorsement_key, order.storage_root_key);
    let attestation = match (certificates.next(), certificates.next(), tpm) {
        (None, _, (None, None)) => Attestation::SymmetricKey,
        (Some(primary), secondary, (None, None)) => Attestation::X509 { primary, secondary },
        (None, _, (Some(endorsement_key), storage_root_key)) => Attestation::Tpm {
            endorsement_key,
            storage_root_key,
        },
        _ => {
            let hint = "Name certificates, or an endorsement key and perhaps its storage key.";
            return Err(ApiError::request(
                "An entry names certificates or a TPM, not both.",
                hint,
            ));
        }
    };
    if certificates.next().is_some() {
        let hint = "Name the one that is in use and the one that follows it.";
        return Err(ApiError::request(
            "An entry names at most two certificates.",
            hint,
        ));
    }
    let order = EntryOrder {
        entry: Entry {
            kind: kind(&order.kind)?,
            name: order.name,
            product: order.product,
            strength: order
                .strength
                .unwrap_or_else(|| attestation.strength().name().to_owned()),
            attestation,
            device_id: order.device_id,
        },
        enabled: !order.disabled,
        keys: EntryKeys {
            primary: order.primary_key.map(key).transpose()?,
            secondary: order.secondary_key.map(key).transpose()?,
        },
    };
    let (chance, now) = (&*admin.world.chance, admin.now());
    let made = admin.registrar.entry_new(order, ACTOR, chance, now).await;
    Ok(Json(said_once(&made?)))
}

/// One entry.
#[utoipa::path(
    get,
    path = "/api/v1/entries/{kind}/{name}",
    operation_id = "entry_get",
    tag = "entries",
    params(
        ("kind" = String, Path, description = "`individual` or `group`."),
        ("name" = String, Path, description = "Its name."),
    ),
    responses((status = 200, body = EntryView), (status = "default", body = ErrorView)),
)]
async fn get<L: Ledger, S: Signer>(
    admin: Office<L, S>,
    Path((of, name)): Path<(String, String)>,
) -> Result<Json<EntryView>, ApiError> {
    let of = kind(&of)?;
    let record = admin.registrar.ledger().entry_get(of, &name).await?;
    let record = record.ok_or(EntryDeskError::NoEntry { kind: of, name })?;
    Ok(Json(EntryView::from(&record)))
}

/// Forgets an entry and its keys. Devices that are registered by it are not heard any more, unless they
/// have got a certificate of ours since. Answers what it was.
#[utoipa::path(
    delete,
    path = "/api/v1/entries/{kind}/{name}",
    operation_id = "entry_delete",
    tag = "entries",
    params(
        ("kind" = String, Path, description = "`individual` or `group`."),
        ("name" = String, Path, description = "Its name."),
    ),
    responses((status = 200, body = EntryView), (status = "default", body = ErrorView)),
)]
async fn delete<L: Ledger, S: Signer>(
    admin: Office<L, S>,
    Path((of, name)): Path<(String, String)>,
) -> Result<Json<EntryView>, ApiError> {
    let of = kind(&of)?;
    let now = admin.now();
    let deleted = admin.registrar.entry_delete(of, &name, None, ACTOR, now);
    Ok(Json(EntryView::from(&deleted.await?)))
}

/// Lets devices register by an entry, and hears them by its keys.
#[utoipa::path(
    post,
    path = "/api/v1/entries/{kind}/{name}/enable",
    operation_id = "entry_enable",
    tag = "entries",
    params(
        ("kind" = String, Path, description = "`individual` or `group`."),
        ("name" = String, Path, description = "Its name."),
    ),
    responses((status = 200, body = EntryView), (status = "default", body = ErrorView)),
)]
async fn enable<L: Ledger, S: Signer>(
    admin: Office<L, S>,
    Path((of, name)): Path<(String, String)>,
) -> Result<Json<EntryView>, ApiError> {
    switch(&admin, &of, &name, true).await
}

/// Lets nobody register by an entry, and hears nobody by its keys. Devices with certificates stay.
#[utoipa::path(
    post,
    path = "/api/v1/entries/{kind}/{name}/disable",
    operation_id = "entry_disable",
    tag = "entries",
    params(
        ("kind" = String, Path, description = "`individual` or `group`."),
        ("name" = String, Path, description = "Its name."),
    ),
    responses((status = 200, body = EntryView), (status = "default", body = ErrorView)),
)]
async fn disable<L: Ledger, S: Signer>(
    admin: Office<L, S>,
    Path((of, name)): Path<(String, String)>,
) -> Result<Json<EntryView>, ApiError> {
    switch(&admin, &of, &name, false).await
}

/// Puts another key into one of an entry's slots. Devices that use the other slot notice nothing.
#[utoipa::path(
    post,
    path = "/api/v1/entries/{kind}/{name}/rotate",
    operation_id = "entry_rotate",
    tag = "entries",
    params(
        ("kind" = String, Path, description = "`individual` or `group`."),
        ("name" = String, Path, description = "Its name."),
    ),
    request_body = EntryRotation,
    responses((status = 200, body = EntryMadeView), (status = "default", body = ErrorView)),
)]
async fn rotate<L: Ledger, S: Signer>(
    admin: Office<L, S>,
    Path((of, name)): Path<(String, String)>,
    Body(order): Body<EntryRotation>,
) -> Result<Json<EntryMadeView>, ApiError> {
    let (of, slot) = (kind(&of)?, slot(&order.slot)?);
    let new = order.key.map(key).transpose()?;
    let (chance, now) = (&*admin.world.chance, admin.now());
    let made = admin
        .registrar
        .entry_rotate(of, &name, slot, new, ACTOR, chance, now)
        .await;
    Ok(Json(said_once(&made?)))
}

/// The key of one device of a group, to be written into it: the group's own key stays here.
#[utoipa::path(
    post,
    path = "/api/v1/entries/group/{name}/derive",
    operation_id = "entry_derive",
    tag = "entries",
    params(("name" = String, Path, description = "The group's name.")),
    request_body = EntryDerivation,
    responses((status = 200, body = EntryDerivedView), (status = "default", body = ErrorView)),
)]
async fn derive<L: Ledger, S: Signer>(
    admin: Office<L, S>,
    Path(name): Path<String>,
    Body(order): Body<EntryDerivation>,
) -> Result<Json<EntryDerivedView>, ApiError> {
    let slot = order.slot.as_deref().map_or(Ok(KeySlot::Primary), slot)?;
    let registrar = &admin.registrar;
    let derived = registrar
        .entry_derive(&name, slot, &order.registration_id)
        .await?;
    Ok(Json(EntryDerivedView {
        registration_id: order.registration_id,
        key: STANDARD.encode(derived.expose()),
    }))
}

async fn switch<L: Ledger, S: Signer>(
    admin: &Admin<L, S>,
    of: &str,
    name: &str,
    enabled: bool,
) -> Result<Json<EntryView>, ApiError> {
    let (registrar, now) = (&admin.registrar, admin.now());
    let record = registrar
        .entry_switch(kind(of)?, name, enabled, ACTOR, now)
        .await?;
    Ok(Json(EntryView::from(&record)))
}

fn said_once(made: &MadeEntry) -> EntryMadeView {
    let said = |key: &Option<Zeroizing<Vec<u8>>>| key.as_ref().map(|key| STANDARD.encode(&**key));
    EntryMadeView {
        entry: EntryView::from(&made.record),
        primary_key: said(&made.made.primary),
        secondary_key: said(&made.made.secondary),
    }
}

/// One certificate, PEM, from PEM or from DER in base64.
fn pem_of(text: &str) -> Result<String, ApiError> {
    let der = der_of(text, &[pem::CERTIFICATE])?;
    Ok(pem::encode(pem::CERTIFICATE, &der))
}

fn kind(text: &str) -> Result<EntryKind, ApiError> {
    let hint = "Write `individual` or `group`.";
    text.parse()
        .map_err(|()| ApiError::request(format!("{text:?} is no kind of entry."), hint))
}

fn slot(text: &str) -> Result<KeySlot, ApiError> {
    let hint = "Write `primary` or `secondary`.";
    text.parse()
        .map_err(|()| ApiError::request(format!("{text:?} is no slot of a key."), hint))
}

/// A key in base64. What can't be read is not repeated: it may be a key all the same.
fn key(text: String) -> Result<Zeroizing<Vec<u8>>, ApiError> {
    let text = Zeroizing::new(text);
    STANDARD
        .decode(text.trim())
        .map(Zeroizing::new)
        .map_err(|_| ApiError::request("The key is not base64.", KEY))
}

impl From<EntryDeskError> for ApiError {
    fn from(error: EntryDeskError) -> Self {
        let message = error.to_string();
        let said = |status, code, hint: &str| Self::new(status, code, format!("{message}."), hint);
        match error {
            EntryDeskError::NoProduct { name } => Self::product_unknown(&name),
            EntryDeskError::NoEntry { .. } => said(
                StatusCode::NOT_FOUND,
                "entry-unknown",
                "See `imprint entry list`; a group is named with --group.",
            ),
            EntryDeskError::NotNow {
                state: "changed", ..
            } => said(
                StatusCode::CONFLICT,
                "entry-changed",
                "Look at it again; nothing has been changed by this.",
            ),
            EntryDeskError::NotNow { .. } => said(
                StatusCode::CONFLICT,
                "entry-exists",
                "See `imprint entry list`; `imprint entry rotate` replaces its keys.",
            ),
            EntryDeskError::NoKeys { .. } => said(
                StatusCode::CONFLICT,
                "entry-without-keys",
                "Make an entry of its own for devices with a key.",
            ),
            EntryDeskError::ServiceKeyName { .. } | EntryDeskError::ServiceKeyHost { .. } => said(
                StatusCode::BAD_REQUEST,
                "service-key-unsound",
                "Nothing has been made.",
            ),
            EntryDeskError::ServiceKeyExists { .. } => said(
                StatusCode::CONFLICT,
                "service-key-exists",
                "Take it back first (`imprint service-key revoke`), or use another name.",
            ),
            EntryDeskError::Key(_) => said(StatusCode::BAD_REQUEST, "key-length", KEY),
            EntryDeskError::NotAnId { .. } => said(
                StatusCode::BAD_REQUEST,
                "registration-id",
                "Use the id that the device's firmware sends.",
            ),
            EntryDeskError::Ledger(error) => error.into(),
            EntryDeskError::Signer(_) => said(
                StatusCode::SERVICE_UNAVAILABLE,
                "signer-unavailable",
                "Look at the server's log; asking again is safe.",
            ),
            EntryDeskError::Definition(_) => said(
                StatusCode::BAD_REQUEST,
                "entry-unsound",
                "Mend this; nothing has been changed.",
            ),
            _ => said(
                StatusCode::BAD_REQUEST,
                "entry-unsound",
                "Nothing has been changed.",
            ),
        }
    }
}

const KEY: &str = "Give 32 to 64 bytes in base64, such as `openssl rand -base64 64`.";
