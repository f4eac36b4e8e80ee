//! The fleet as a file: what it would change, changing it, and the file that is the fleet as it is.

use std::sync::Arc;

use axum::Json;
use http::StatusCode;
use imprint_pkix::pem;
use imprint_registrar::claims::definition::{CaMode, DefinitionError, RegisteredCa};
use imprint_registrar::fleet::{Change, FleetError, Object};
use imprint_registrar::ledger::{AuthorityRecord, Definitions};
use imprint_registrar::registry::Registry;
use imprint_registrar::{Fleet, Ledger, Signer};
use serde::Deserialize;
use utoipa_axum::router::OpenApiRouter;

use super::extract::{Asked, Body};
use super::templates;
use super::tokens::sentence;
use super::views::{AppliedView, ChangeView, FleetView};
use super::{ACTOR, Admin, ApiError, ErrorView, Office, on};

pub(super) fn routes<L: Ledger, S: Signer>() -> OpenApiRouter<Arc<Admin<L, S>>> {
    OpenApiRouter::new()
        .routes(on::<__path_export, _, _, _>(export::<L, S>))
        .routes(on::<__path_apply, _, _, _>(apply::<L, S>))
}

/// The fleet as it is, as a fleet file: applying it changes nothing. Certificates of claims, devices
/// and tokens are no part of it.
#[utoipa::path(
    get,
    path = "/api/v1/fleet",
    operation_id = "fleet_export",
    tag = "fleet",
    responses((status = 200, body = FleetView), (status = "default", body = ErrorView)),
)]
async fn export<L: Ledger, S: Signer>(admin: Office<L, S>) -> Result<Json<Fleet>, ApiError> {
    Ok(Json(present(&admin).await?))
}

/// Adds and changes what the fleet file names, all or none. What it does not name stays as it is: a
/// product with devices can't be wished away.
#[utoipa::path(
    post,
    path = "/api/v1/fleet/apply",
    operation_id = "fleet_apply",
    tag = "fleet",
    params(("dry_run" = Option<bool>, Query, description = "Only say what would change.")),
    request_body = FleetView,
    responses((status = 200, body = AppliedView), (status = "default", body = ErrorView)),
)]
async fn apply<L: Ledger, S: Signer>(
    admin: Office<L, S>,
    Asked(asked): Asked<Apply>,
    Body(fleet): Body<Fleet>,
) -> Result<Json<AppliedView>, ApiError> {
    let changes = change(&admin, &fleet, asked.dry_run).await?;
    let views = changes.iter().map(ChangeView::from).collect();
    Ok(Json(AppliedView {
        applied: !asked.dry_run,
        changes: views,
    }))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Apply {
    #[serde(default)]
    dry_run: bool,
}

/// The fleet as it is.
pub(super) async fn present<L: Ledger, S: Signer>(admin: &Admin<L, S>) -> Result<Fleet, ApiError> {
    let ledger = admin.registrar.ledger();
    let claims = ledger.claim_list().await?;
    let authorities = ledger.authority_list().await?;
    let registry = ledger.registry_list().await?;
    Ok(Fleet {
        products: ledger.product_list().await?,
        groups: registry.groups,
        thing_types: registry.thing_types,
        policies: registry.policies,
        templates: ledger.template_list().await?,
        claims: claims.into_iter().map(|record| record.claim).collect(),
        registered_cas: authorities.into_iter().map(|record| record.ca).collect(),
        ..Fleet::default()
    })
}

/// Brings the fleet to what the file says, in one transaction; answers what differed.
pub(super) async fn change<L: Ledger, S: Signer>(
    admin: &Admin<L, S>,
    fleet: &Fleet,
    dry_run: bool,
) -> Result<Vec<Change>, ApiError> {
    // 1. Sound in itself, and with what is there already.
    fleet.check()?;
    let present = present(admin).await?;
    fleet.fits(&present)?;
    let authorities = admin.registrar.authorities().issuers().iter();
    fleet.can_be_signed_for(&authorities.map(|one| one.name.as_str()).collect::<Vec<_>>())?;
    for template in &fleet.templates {
        let just_in_time = [fleet, &present]
            .iter()
            .any(|fleet| fleet.is_just_in_time(&template.name));
        templates::check(template, just_in_time, &[fleet, &present])?;
    }
    // 2. What differs, and only that.
    let changes = fleet.difference(&present)?;
    let differs = |object: Object, name: &str| {
        let mut changes = changes.iter();
        changes.any(|change| change.object == object && change.name == name)
    };
    let mut authorities = Vec::new();
    for ca in &fleet.registered_cas {
        if differs(Object::RegisteredCa, &ca.name) {
            let proof = fleet.proofs.get(&ca.name).map(String::as_str);
            authorities.push(registered(admin, &present, ca, proof).await?);
        }
    }
    // 3. All or none.
    if !dry_run && !changes.is_empty() {
        let definitions = Definitions {
            products: kept(&fleet.products, |one| differs(Object::Product, &one.name)),
            registry: Registry {
                groups: kept(&fleet.groups, |one| differs(Object::Group, &one.name)),
                thing_types: kept(&fleet.thing_types, |one| {
                    differs(Object::ThingType, &one.name)
                }),
                policies: kept(&fleet.policies, |one| differs(Object::Policy, &one.name)),
            },
            templates: kept(&fleet.templates, |one| differs(Object::Template, &one.name)),
            claims: kept(&fleet.claims, |one| differs(Object::Claim, &one.name)),
            authorities,
        };
        let ledger = admin.registrar.ledger();
        ledger.fleet_apply(definitions, ACTOR, admin.now()).await?;
    }
    Ok(changes)
}

fn kept<T: Clone>(all: &[T], keeps: impl Fn(&T) -> bool) -> Vec<T> {
    all.iter().filter(|one| keeps(one)).cloned().collect()
}

/// A CA that may be registered. One whose key has been proven here needs no other proof.
pub(super) async fn registered<L: Ledger, S: Signer>(
    admin: &Admin<L, S>,
    present: &Fleet,
    ca: &RegisteredCa,
    proof: Option<&str>,
) -> Result<AuthorityRecord, ApiError> {
    let proof = proof
        .map(|text| {
            let mut blocks = pem::decode(pem::CERTIFICATE, text)
                .unwrap_or_default()
                .into_iter();
            blocks.next().ok_or_else(|| {
                let hint = "Give the verification certificate as PEM.";
                ApiError::request(
                    format!("The proof of CA {:?} is no certificate.", ca.name),
                    hint,
                )
            })
        })
        .transpose()?;
    let certificate = ca.check().map_err(FleetError::from)?;
    let proven = present.registered_cas.iter().any(|other| {
        other.mode == CaMode::Default
            && other
                .check()
                .is_ok_and(|known| known.der() == certificate.der())
    });
    if proof.is_none() && proven {
        return Ok(AuthorityRecord {
            subject_der: certificate.subject_der().to_vec(),
            der: certificate.der().to_vec(),
            ca: ca.clone(),
        });
    }
    let record = admin
        .registrar
        .ca_register(ca.clone(), proof.as_deref())
        .await;
    record.map_err(|error| {
        let hint = "`imprint ca code` prints the registration code: sign a certificate with it as CN, \
                    and give that as `proof`; or use mode \"sni-only\".";
        let error = ApiError::from(error);
        match error.view.code.as_str() {
            "certificate-not-adoptable" => ApiError::new(
                StatusCode::CONFLICT,
                "ca-not-proven",
                format!("CA {:?} can't be registered: {}", ca.name, error.view.message),
                hint,
            ),
            _ => error,
        }
    })
}

impl From<FleetError> for ApiError {
    fn from(error: FleetError) -> Self {
        let (code, status) = match &error {
            FleetError::Product(_) => ("product-unsound", StatusCode::BAD_REQUEST),
            FleetError::Fixed { .. } => ("definition-fixed", StatusCode::CONFLICT),
            _ => ("definition-unsound", StatusCode::BAD_REQUEST),
        };
        let hint = "Mend this key in the fleet file; nothing has been changed.";
        Self::new(status, code, sentence(&error.to_string()), hint)
    }
}

impl From<DefinitionError> for ApiError {
    fn from(error: DefinitionError) -> Self {
        FleetError::from(error).into()
    }
}
