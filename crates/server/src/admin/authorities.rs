//! The authorities and their revocation lists.

use std::sync::Arc;

use aws_lc_rs::digest;
use axum::Json;
use imprint_pkix::certificate::Certificate;
use imprint_pkix::pem;
use imprint_registrar::crl::CrlError;
use imprint_registrar::{Ledger, Signer};
use utoipa_axum::router::OpenApiRouter;

use super::extract::Body;
use super::views::{AuthorityView, CrlRenewal, CrlView};
use super::{Admin, ApiError, ErrorView, Office, on};

pub(super) fn routes<L: Ledger, S: Signer>() -> OpenApiRouter<Arc<Admin<L, S>>> {
    OpenApiRouter::new()
        .routes(on::<__path_authorities, _, _, _>(authorities::<L, S>))
        .routes(on::<__path_crl_renew, _, _, _>(crl_renew::<L, S>))
}

/// The authorities: the one that signs first, the root last.
#[utoipa::path(
    get,
    path = "/api/v1/authorities",
    tag = "authorities",
    responses((status = 200, body = Vec<AuthorityView>), (status = "default", body = ErrorView)),
)]
async fn authorities<L: Ledger, S: Signer>(
    admin: Office<L, S>,
) -> Result<Json<Vec<AuthorityView>>, ApiError> {
    let known = admin.registrar.authorities();
    let mut views = Vec::new();
    for (at, issuer) in known.issuers().iter().enumerate() {
        let role = if at == 0 { "issuing" } else { "recognised" };
        let facts = admin
            .registrar
            .ledger()
            .crl_facts(&issuer.name, admin.now())
            .await?;
        let crl = facts.current.as_ref().map(CrlView::from);
        views.push(view(&issuer.name, role, &issuer.certificate, crl));
    }
    for certificate in known.above() {
        views.push(view("root", "above", certificate, None));
    }
    Ok(Json(views))
}

/// Makes the revocation lists that are due, or all of them.
#[utoipa::path(
    post,
    path = "/api/v1/authorities/crl/renew",
    tag = "authorities",
    request_body = CrlRenewal,
    responses((status = 200, body = Vec<CrlView>), (status = "default", body = ErrorView)),
)]
async fn crl_renew<L: Ledger, S: Signer>(
    admin: Office<L, S>,
    Body(renewal): Body<CrlRenewal>,
) -> Result<Json<Vec<CrlView>>, ApiError> {
    let lists = admin
        .registrar
        .crl_renew(admin.now(), renewal.force)
        .await?;
    Ok(Json(lists.iter().map(CrlView::from).collect()))
}

fn view(name: &str, role: &str, certificate: &Certificate, crl: Option<CrlView>) -> AuthorityView {
    let der = certificate.der();
    let key = certificate
        .public_key()
        .map_or_else(|error| error.to_string(), |key| key.algorithm().to_string());
    AuthorityView {
        name: name.to_owned(),
        role: role.to_owned(),
        subject: certificate.common_name().unwrap_or_default(),
        serial: hex::encode(certificate.serial()),
        key,
        not_before: certificate.not_before().to_string(),
        not_after: certificate.not_after().to_string(),
        bytes: der.len() as u64,
        sha256: hex::encode(digest::digest(&digest::SHA256, der)),
        crl,
        pem: pem::encode(pem::CERTIFICATE, der),
    }
}

impl From<CrlError> for ApiError {
    fn from(error: CrlError) -> Self {
        let hint = "Read the server's log; the lists that are out stay as they are.";
        Self::new(
            http::StatusCode::SERVICE_UNAVAILABLE,
            "crl-not-made",
            error.to_string(),
            hint,
        )
        .after(30)
    }
}
