//! Provisioning templates: looking, and checking one before it is applied.

use std::sync::Arc;

use axum::Json;
use http::StatusCode;
use imprint_claim::{Template as Document, TemplateError, Use};
use imprint_registrar::claims::definition::Template;
use imprint_registrar::fleet::{FleetError, Nearest};
use imprint_registrar::registry::{Kind, Reference};
use imprint_registrar::{Fleet, Ledger, Signer};
use utoipa_axum::router::OpenApiRouter;

use super::extract::{At, Body};
use super::views::{
    TemplateCheck, TemplateFaultView, TemplateParameterView, TemplateReportView, TemplateView,
};
use super::{Admin, ApiError, ErrorView, Office, on};

pub(super) fn routes<L: Ledger, S: Signer>() -> OpenApiRouter<Arc<Admin<L, S>>> {
    OpenApiRouter::new()
        .routes(on::<__path_list, _, _, _>(list::<L, S>))
        .routes(on::<__path_get, _, _, _>(get::<L, S>))
        .routes(on::<__path_examine, _, _, _>(examine))
}

/// Every template, by name. A product's own, which is named like it, is not among them.
#[utoipa::path(
    get,
    path = "/api/v1/templates",
    operation_id = "template_list",
    tag = "templates",
    responses((status = 200, body = Vec<TemplateView>), (status = "default", body = ErrorView)),
)]
async fn list<L: Ledger, S: Signer>(
    admin: Office<L, S>,
) -> Result<Json<Vec<TemplateView>>, ApiError> {
    let templates = admin.registrar.ledger().template_list().await?;
    let views = templates.iter().map(TemplateView::try_from);
    Ok(Json(views.collect::<Result<_, _>>()?))
}

/// One template with its document.
#[utoipa::path(
    get,
    path = "/api/v1/templates/{template}",
    operation_id = "template_get",
    tag = "templates",
    params(("template" = String, Path, description = "Its name.")),
    responses((status = 200, body = TemplateView), (status = "default", body = ErrorView)),
)]
async fn get<L: Ledger, S: Signer>(
    admin: Office<L, S>,
    At(name): At,
) -> Result<Json<TemplateView>, ApiError> {
    let templates = admin.registrar.ledger().template_list().await?;
    let found = templates.iter().find(|template| template.name == name);
    let template = found.ok_or_else(|| {
        ApiError::new(
            StatusCode::NOT_FOUND,
            "template-unknown",
            format!("There is no template {name:?} here."),
            "See `imprint template list`; a product's own template is not among them.",
        )
    })?;
    Ok(Json(TemplateView::try_from(template)?))
}

/// Reads a document in the template language, and says what is wrong with it or for which uses it is
/// good. Nothing is kept.
#[utoipa::path(
    post,
    path = "/api/v1/templates/check",
    operation_id = "template_check",
    tag = "templates",
    request_body = TemplateCheck,
    responses((status = 200, body = TemplateReportView), (status = "default", body = ErrorView)),
)]
async fn examine(Body(check): Body<TemplateCheck>) -> Json<TemplateReportView> {
    Json(report(&check.body))
}

/// What can be said of a document without a fleet.
#[must_use]
pub fn report(body: &str) -> TemplateReportView {
    let document = match Document::parse(body) {
        Ok(document) => document,
        Err(error) => {
            return TemplateReportView {
                sound: false,
                fault: Some(error.into()),
                ..TemplateReportView::default()
            };
        }
    };
    let good_for = |used| document.check_for(used).err().map(TemplateFaultView::from);
    let (by_claim, just_in_time) = (good_for(Use::Claim), good_for(Use::JustInTime));
    TemplateReportView {
        sound: by_claim.is_none() || just_in_time.is_none(),
        fault: None,
        not_by_claim: by_claim,
        not_just_in_time: just_in_time,
        parameters: document
            .parameters()
            .map(|(name, default)| TemplateParameterView {
                name: name.to_owned(),
                default: default.map(ToOwned::to_owned),
            })
            .collect(),
    }
}

/// Whether a template can be used as it is going to be. `fleets`: the file, and the fleet as it is.
pub(super) fn check(
    template: &Template,
    just_in_time: bool,
    fleets: &[&Fleet],
) -> Result<(), ApiError> {
    let name = &template.name;
    let unsound = |error: TemplateError| {
        ApiError::new(
            StatusCode::BAD_REQUEST,
            "template-unsound",
            format!(
                "Template {name:?}, line {}, column {}: {}.",
                error.line,
                error.column,
                said(&error)
            ),
            "Mend the document; nothing has been changed. `imprint template check FILE` checks one alone.",
        )
    };
    let document = Document::parse(&template.body).map_err(unsound)?;
    let used = if just_in_time {
        Use::JustInTime
    } else {
        Use::Claim
    };
    document.check_for(used).map_err(unsound)?;
    if !template.create_missing {
        has_what_it_names(name, &document, fleets)?;
    }
    let declared = document
        .parameters()
        .any(|(parameter, _)| parameter == template.hardware);
    // What a certificate says has a name of its own and needs no declaration.
    if declared || (just_in_time && template.hardware.starts_with(PSEUDO)) {
        return Ok(());
    }
    let known: Vec<_> = document
        .parameters()
        .map(|(parameter, _)| parameter)
        .collect();
    let known = if known.is_empty() {
        "none".to_owned()
    } else {
        known.join(", ")
    };
    Err(ApiError::new(
        StatusCode::BAD_REQUEST,
        "template-unsound",
        format!(
            "Template {name:?}: its document does not declare the parameter {:?}, which is to hold \
             the hardware id; it declares {known}.",
            template.hardware
        ),
        "Name the parameter in `hardware`; nothing has been changed.",
    ))
}

/// Whether the registry has every group, type and policy that a document names as it stands.
fn has_what_it_names(
    template: &str,
    document: &Document,
    fleets: &[&Fleet],
) -> Result<(), ApiError> {
    let names = document.names();
    let of = |kind| move |name: &&str| (kind, (*name).to_owned());
    let groups = names.groups.iter().map(of(Kind::Group));
    let types = names.thing_type.iter().map(of(Kind::ThingType));
    let policies = names.policies.iter().map(of(Kind::Policy));
    let mut all = groups.chain(types).chain(policies);
    let missing = all.find(|(kind, name)| !fleets.iter().any(|fleet| fleet.has(*kind, name)));
    let Some((kind, name)) = missing else {
        return Ok(());
    };
    let known = fleets.iter().flat_map(|fleet| fleet.names_of(kind));
    let error = FleetError::Missing {
        template: template.to_owned(),
        nearest: Nearest::of(&name, known),
        missing: Reference { kind, name },
    };
    Err(ApiError::new(
        StatusCode::BAD_REQUEST,
        "registry-missing",
        super::tokens::sentence(&error.to_string()),
        "Add it to the fleet file, or set `create_missing = true` in the template; nothing has been \
         changed.",
    ))
}

fn said(error: &TemplateError) -> String {
    if error.path.is_empty() {
        error.message.clone()
    } else {
        format!("{}: {}", error.path, error.message)
    }
}

impl From<TemplateError> for TemplateFaultView {
    fn from(error: TemplateError) -> Self {
        Self {
            line: error.line,
            column: error.column,
            path: error.path,
            message: error.message,
        }
    }
}

/// The names of what a certificate gives begin so.
const PSEUDO: &str = "AWS::IoT::Certificate::";
