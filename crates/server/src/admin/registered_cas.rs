//! Customers' CAs whose devices are provisioned at their first connection.

use std::sync::Arc;

use axum::Json;
use http::StatusCode;
use imprint_registrar::claims::definition::RegisteredCa;
use imprint_registrar::{Fleet, Ledger, Signer};
use utoipa_axum::router::OpenApiRouter;

use super::extract::{At, Body};
use super::fleet::change;
use super::views::{CaRegistration, RegisteredCaView, RegistrationCodeView, Switch};
use super::{Admin, ApiError, ErrorView, Office, on};

pub(super) fn routes<L: Ledger, S: Signer>() -> OpenApiRouter<Arc<Admin<L, S>>> {
    OpenApiRouter::new()
        .routes(on::<__path_list, _, _, _>(list::<L, S>))
        .routes(on::<__path_register, _, _, _>(register::<L, S>))
        .routes(on::<__path_code, _, _, _>(code::<L, S>))
        .routes(on::<__path_get, _, _, _>(get::<L, S>))
        .routes(on::<__path_switch, _, _, _>(switch::<L, S>))
}

/// Every registered CA, by name.
#[utoipa::path(
    get,
    path = "/api/v1/registered-cas",
    operation_id = "registered_ca_list",
    tag = "registered CAs",
    responses((status = 200, body = Vec<RegisteredCaView>), (status = "default", body = ErrorView)),
)]
async fn list<L: Ledger, S: Signer>(
    admin: Office<L, S>,
) -> Result<Json<Vec<RegisteredCaView>>, ApiError> {
    let records = admin.registrar.ledger().authority_list().await?;
    let views = records.iter().map(RegisteredCaView::try_from);
    Ok(Json(views.collect::<Result<_, _>>()?))
}

/// Registers a CA, or changes how a registered one is used. `proof` is a certificate on the
/// registration code that the CA has signed; mode `sni-only` needs none.
#[utoipa::path(
    post,
    path = "/api/v1/registered-cas",
    operation_id = "registered_ca_register",
    tag = "registered CAs",
    request_body = CaRegistration,
    responses((status = 200, body = RegisteredCaView), (status = "default", body = ErrorView)),
)]
async fn register<L: Ledger, S: Signer>(
    admin: Office<L, S>,
    Body(order): Body<CaRegistration>,
) -> Result<Json<RegisteredCaView>, ApiError> {
    let ca: RegisteredCa = serde_json::from_value(serde_json::to_value(order.ca)?)
        .map_err(|error| ApiError::request(format!("The CA can't be read: {error}."), KEYS))?;
    let name = ca.name.clone();
    let proof = order.proof.map(|proof| (name.clone(), proof));
    let fleet = Fleet {
        registered_cas: vec![ca],
        proofs: proof.into_iter().collect(),
        ..Fleet::default()
    };
    change(&admin, &fleet, false).await?;
    find(&admin, &name).await
}

/// The registration code: the common name of the certificate by which a CA proves that its key is at
/// hand. Always the same on this server, and no secret.
#[utoipa::path(
    get,
    path = "/api/v1/registered-cas/code",
    operation_id = "registered_ca_code",
    tag = "registered CAs",
    responses((status = 200, body = RegistrationCodeView), (status = "default", body = ErrorView)),
)]
async fn code<L: Ledger, S: Signer>(
    admin: Office<L, S>,
) -> Result<Json<RegistrationCodeView>, ApiError> {
    let code = admin.registrar.registration_code().await?;
    Ok(Json(RegistrationCodeView { code }))
}

/// One registered CA.
#[utoipa::path(
    get,
    path = "/api/v1/registered-cas/{ca}",
    operation_id = "registered_ca_get",
    tag = "registered CAs",
    params(("ca" = String, Path, description = "Its name.")),
    responses((status = 200, body = RegisteredCaView), (status = "default", body = ErrorView)),
)]
async fn get<L: Ledger, S: Signer>(
    admin: Office<L, S>,
    At(name): At,
) -> Result<Json<RegisteredCaView>, ApiError> {
    find(&admin, &name).await
}

/// Takes new devices of a CA in, or no longer. Those that have been stay.
#[utoipa::path(
    post,
    path = "/api/v1/registered-cas/{ca}/switch",
    operation_id = "registered_ca_switch",
    tag = "registered CAs",
    params(("ca" = String, Path, description = "Its name.")),
    request_body = Switch,
    responses((status = 200, body = RegisteredCaView), (status = "default", body = ErrorView)),
)]
async fn switch<L: Ledger, S: Signer>(
    admin: Office<L, S>,
    At(name): At,
    Body(order): Body<Switch>,
) -> Result<Json<RegisteredCaView>, ApiError> {
    let records = admin.registrar.ledger().authority_list().await?;
    let found = records.into_iter().find(|record| record.ca.name == name);
    let mut record = found.ok_or_else(|| unknown(&name))?;
    record.ca.active = order.active;
    let definitions = imprint_registrar::ledger::Definitions {
        authorities: vec![record],
        ..imprint_registrar::ledger::Definitions::default()
    };
    let ledger = admin.registrar.ledger();
    ledger
        .fleet_apply(definitions, super::ACTOR, admin.now())
        .await?;
    find(&admin, &name).await
}

async fn find<L: Ledger, S: Signer>(
    admin: &Admin<L, S>,
    name: &str,
) -> Result<Json<RegisteredCaView>, ApiError> {
    let records = admin.registrar.ledger().authority_list().await?;
    let found = records.iter().find(|record| record.ca.name == name);
    let record = found.ok_or_else(|| unknown(name))?;
    Ok(Json(RegisteredCaView::try_from(record)?))
}

fn unknown(name: &str) -> ApiError {
    ApiError::new(
        StatusCode::NOT_FOUND,
        "ca-unknown",
        format!("There is no registered CA {name:?} here."),
        "See `imprint ca list`; new ones come from `imprint ca register` or a fleet file.",
    )
}

const KEYS: &str = "The keys are those of `[[registered_ca]]` in a fleet file.";
