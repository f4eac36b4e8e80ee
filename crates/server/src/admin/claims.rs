//! Claims: looking, their certificates, and what an operator may do to one.

use std::sync::Arc;

use axum::Json;
use http::StatusCode;
use imprint_pkix::pem;
use imprint_registrar::ledger::{
    Acted, CertificateFingerprint, ClaimAct, ClaimRecord, RevocationReason,
};
use imprint_registrar::{Ledger, Signer};
use utoipa_axum::router::OpenApiRouter;

use super::devices::{der_of, said};
use super::extract::{At, Body};
use super::views::{
    ClaimCertificateAdoption, ClaimCertificateOrder, ClaimIssuedView, ClaimRevocation, ClaimView,
    Reason,
};
use super::{ACTOR, Admin, ApiError, ErrorView, Office, on};

pub(super) fn routes<L: Ledger, S: Signer>() -> OpenApiRouter<Arc<Admin<L, S>>> {
    OpenApiRouter::new()
        .routes(on::<__path_list, _, _, _>(list::<L, S>))
        .routes(on::<__path_get, _, _, _>(get::<L, S>))
        .routes(on::<__path_issue, _, _, _>(issue::<L, S>))
        .routes(on::<__path_adopt, _, _, _>(adopt::<L, S>))
        .routes(on::<__path_revoke, _, _, _>(revoke::<L, S>))
        .routes(on::<__path_freeze, _, _, _>(freeze::<L, S>))
        .routes(on::<__path_thaw, _, _, _>(thaw::<L, S>))
}

/// Every claim, by name. New ones come from a fleet file.
#[utoipa::path(
    get,
    path = "/api/v1/claims",
    operation_id = "claim_list",
    tag = "claims",
    responses((status = 200, body = Vec<ClaimView>), (status = "default", body = ErrorView)),
)]
async fn list<L: Ledger, S: Signer>(admin: Office<L, S>) -> Result<Json<Vec<ClaimView>>, ApiError> {
    let records = admin.registrar.ledger().claim_list().await?;
    let views = records
        .iter()
        .map(|record| ClaimView::new(record, admin.now()));
    Ok(Json(views.collect::<Result<_, _>>()?))
}

/// One claim with its certificates.
#[utoipa::path(
    get,
    path = "/api/v1/claims/{claim}",
    operation_id = "claim_get",
    tag = "claims",
    params(("claim" = String, Path, description = "Its name.")),
    responses((status = 200, body = ClaimView), (status = "default", body = ErrorView)),
)]
async fn get<L: Ledger, S: Signer>(
    admin: Office<L, S>,
    At(name): At,
) -> Result<Json<ClaimView>, ApiError> {
    admin.settle().await?;
    let record = admin.registrar.ledger().claim_get(&name).await?;
    view(&admin, &record.ok_or_else(|| unknown(&name))?)
}

/// Issues a certificate of the claim from a request. Its key was made elsewhere and stays there. The
/// certificates before it go on until they are revoked or end.
#[utoipa::path(
    post,
    path = "/api/v1/claims/{claim}/certificates",
    operation_id = "claim_issue",
    tag = "claims",
    params(("claim" = String, Path, description = "Its name.")),
    request_body = ClaimCertificateOrder,
    responses((status = 200, body = ClaimIssuedView), (status = "default", body = ErrorView)),
)]
async fn issue<L: Ledger, S: Signer>(
    admin: Office<L, S>,
    At(name): At,
    Body(order): Body<ClaimCertificateOrder>,
) -> Result<Json<ClaimIssuedView>, ApiError> {
    let csr = der_of(
        &order.csr,
        &[pem::CERTIFICATE_REQUEST, "NEW CERTIFICATE REQUEST"],
    )?;
    let seconds = order.expires_in_seconds.unwrap_or(LIFETIME_SECONDS);
    let (registrar, chance, now) = (&admin.registrar, &*admin.world.chance, admin.now());
    let issued = registrar
        .claim_issue(&name, &csr, seconds, ACTOR, chance, now)
        .await?;
    let certificate = |der: &[u8]| pem::encode(pem::CERTIFICATE, der);
    let authorities = registrar.authorities();
    let chain = authorities
        .ca_certs()
        .into_iter()
        .map(certificate)
        .collect();
    Ok(Json(ClaimIssuedView {
        claim: name,
        fingerprint: issued.fingerprint.to_string(),
        not_after: issued.not_after.to_string(),
        certificate: certificate(&issued.der),
        chain,
    }))
}

/// Takes in a claim certificate that somebody else issued, such as one that devices in the field have
/// from a cloud.
#[utoipa::path(
    post,
    path = "/api/v1/claims/{claim}/certificates/adopt",
    operation_id = "claim_adopt",
    tag = "claims",
    params(("claim" = String, Path, description = "Its name.")),
    request_body = ClaimCertificateAdoption,
    responses((status = 200, body = ClaimView), (status = "default", body = ErrorView)),
)]
async fn adopt<L: Ledger, S: Signer>(
    admin: Office<L, S>,
    At(name): At,
    Body(order): Body<ClaimCertificateAdoption>,
) -> Result<Json<ClaimView>, ApiError> {
    let der = der_of(&order.certificate, &[pem::CERTIFICATE])?;
    let record = admin
        .registrar
        .claim_take_in(&name, der, ACTOR, admin.now())
        .await?;
    view(&admin, &record)
}

/// Ends a claim for good, or one of its certificates. Devices that it has provisioned stay.
#[utoipa::path(
    post,
    path = "/api/v1/claims/{claim}/revoke",
    operation_id = "claim_revoke",
    tag = "claims",
    params(("claim" = String, Path, description = "Its name.")),
    request_body = ClaimRevocation,
    responses((status = 200, body = ClaimView), (status = "default", body = ErrorView)),
)]
async fn revoke<L: Ledger, S: Signer>(
    admin: Office<L, S>,
    At(name): At,
    Body(order): Body<ClaimRevocation>,
) -> Result<Json<ClaimView>, ApiError> {
    let order = match &order.certificate {
        None => ClaimAct::Revoke {
            reason: said(order.reason)?,
        },
        Some(text) => ClaimAct::RevokeCertificate {
            fingerprint: fingerprint(text)?,
            reason: RevocationReason::Unspecified,
        },
    };
    let view = act(&admin, &name, order, "revoked", "See `imprint claim show`.").await?;
    admin.publish_revocations().await;
    Ok(view)
}

/// Stops a claim until it is thawed. Devices that it has provisioned stay.
#[utoipa::path(
    post,
    path = "/api/v1/claims/{claim}/freeze",
    operation_id = "claim_freeze",
    tag = "claims",
    params(("claim" = String, Path, description = "Its name.")),
    request_body = Reason,
    responses((status = 200, body = ClaimView), (status = "default", body = ErrorView)),
)]
async fn freeze<L: Ledger, S: Signer>(
    admin: Office<L, S>,
    At(name): At,
    Body(words): Body<Reason>,
) -> Result<Json<ClaimView>, ApiError> {
    let order = ClaimAct::Freeze {
        reason: said(words.reason)?,
    };
    act(&admin, &name, order, "frozen", REVOKED).await
}

/// Lets a frozen claim go on; its brake begins to count anew.
#[utoipa::path(
    post,
    path = "/api/v1/claims/{claim}/thaw",
    operation_id = "claim_thaw",
    tag = "claims",
    params(("claim" = String, Path, description = "Its name.")),
    responses((status = 200, body = ClaimView), (status = "default", body = ErrorView)),
)]
async fn thaw<L: Ledger, S: Signer>(
    admin: Office<L, S>,
    At(name): At,
) -> Result<Json<ClaimView>, ApiError> {
    act(&admin, &name, ClaimAct::Thaw, "thawed", REVOKED).await
}

async fn act<L: Ledger, S: Signer>(
    admin: &Admin<L, S>,
    name: &str,
    act: ClaimAct,
    verb: &str,
    hint: &str,
) -> Result<Json<ClaimView>, ApiError> {
    let of_certificate = matches!(act, ClaimAct::RevokeCertificate { .. });
    let ledger = admin.registrar.ledger();
    match ledger.claim_act(name, act, ACTOR, admin.now()).await? {
        Acted::Done(record) => view(admin, &record),
        Acted::Absent if of_certificate && ledger.claim_get(name).await?.is_some() => {
            Err(ApiError::new(
                StatusCode::NOT_FOUND,
                "certificate-unknown",
                format!("Claim {name} has no certificate of this fingerprint."),
                "Copy the 64 hex digits from `imprint claim show`.",
            ))
        }
        Acted::Absent => Err(unknown(name)),
        Acted::NotNow { state } => {
            let what = format!("Claim {name}");
            Err(ApiError::not_now(&what, state, verb, hint))
        }
    }
}

fn view<L: Ledger, S: Signer>(
    admin: &Admin<L, S>,
    record: &ClaimRecord,
) -> Result<Json<ClaimView>, ApiError> {
    Ok(Json(ClaimView::new(record, admin.now())?))
}

fn fingerprint(text: &str) -> Result<CertificateFingerprint, ApiError> {
    text.parse().map_err(|()| {
        let hint = "Copy the 64 hex digits from `imprint claim show`.";
        ApiError::request(
            format!("{text:?} is no fingerprint of a certificate."),
            hint,
        )
    })
}

pub(super) fn unknown(name: &str) -> ApiError {
    ApiError::new(
        StatusCode::NOT_FOUND,
        "claim-unknown",
        format!("There is no claim {name:?} here."),
        "See `imprint claim list`; new ones come from `imprint claim new` or a fleet file.",
    )
}

const REVOKED: &str = "What is revoked stays so; make another claim.";
/// A year, as for a device.
const LIFETIME_SECONDS: i64 = 365 * 86_400;
