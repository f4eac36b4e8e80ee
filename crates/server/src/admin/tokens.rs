//! Tokens: minting, looking, and what an operator may do to one.

use std::sync::Arc;

use axum::Json;
use http::StatusCode;
use imprint_registrar::devices::OperatorError;
use imprint_registrar::ledger::{Acted, TokenAct, TokenFilter, TokenRecord, TokenState};
use imprint_registrar::tokens::TokenOrder;
use imprint_registrar::{Ledger, Signer};
use serde::Deserialize;
use utoipa_axum::router::OpenApiRouter;

use super::allowlist::{hardware, read};
use super::claims::unknown;
use super::extract::{Asked, At, Body};
use super::views::{MintedView, Rebind, TokenOrderView, TokenView};
use super::{ACTOR, Admin, ApiError, ErrorView, Office, on};

pub(super) fn routes<L: Ledger, S: Signer>() -> OpenApiRouter<Arc<Admin<L, S>>> {
    OpenApiRouter::new()
        .routes(on::<__path_mint, _, _, _>(mint::<L, S>))
        .routes(on::<__path_list, _, _, _>(list::<L, S>))
        .routes(on::<__path_get, _, _, _>(get::<L, S>))
        .routes(on::<__path_revoke, _, _, _>(revoke::<L, S>))
        .routes(on::<__path_arm, _, _, _>(arm::<L, S>))
        .routes(on::<__path_rebind, _, _, _>(rebind::<L, S>))
}

/// Mints tokens, all or none. The answer is the only place where their text is ever said.
#[utoipa::path(
    post,
    path = "/api/v1/tokens",
    operation_id = "token_mint",
    tag = "tokens",
    request_body = TokenOrderView,
    responses((status = 201, body = Vec<MintedView>), (status = "default", body = ErrorView)),
)]
async fn mint<L: Ledger, S: Signer>(
    admin: Office<L, S>,
    Body(order): Body<TokenOrderView>,
) -> Result<(StatusCode, Json<Vec<MintedView>>), ApiError> {
    let order = check(order)?;
    let product = order.product.clone();
    let (chance, now) = (&*admin.world.chance, admin.now());
    let minted = admin.registrar.token_new(order, ACTOR, chance, now).await?;
    let views = minted
        .iter()
        .map(|minted| MintedView::new(minted, &product))
        .collect();
    Ok((StatusCode::CREATED, Json(views)))
}

/// Tokens, newest first.
#[utoipa::path(
    get,
    path = "/api/v1/tokens",
    operation_id = "token_list",
    tag = "tokens",
    params(
        ("product" = Option<String>, Query, description = "Of this product alone."),
        ("state" = Option<String>, Query, description = "In this state alone."),
        ("limit" = Option<u32>, Query, description = "1 to 10,000; 1,000 unless told."),
    ),
    responses((status = 200, body = Vec<TokenView>), (status = "default", body = ErrorView)),
)]
async fn list<L: Ledger, S: Signer>(
    admin: Office<L, S>,
    Asked(asked): Asked<Filter>,
) -> Result<Json<Vec<TokenView>>, ApiError> {
    let state = asked.state.as_deref().map(state_of).transpose()?;
    let limit = asked.limit.unwrap_or(1_000).clamp(1, 10_000);
    let filter = TokenFilter {
        product: asked.product,
        state,
        limit,
    };
    let tokens = admin.registrar.ledger().token_list(&filter).await?;
    let now = admin.now();
    Ok(Json(
        tokens
            .iter()
            .map(|token| TokenView::new(token, now))
            .collect(),
    ))
}

/// One token: where it stands, who holds it and since when.
#[utoipa::path(
    get,
    path = "/api/v1/tokens/{token}",
    operation_id = "token_get",
    tag = "tokens",
    params(("token" = String, Path, description = "Its id, `t-...`; never its text.")),
    responses((status = 200, body = TokenView), (status = "default", body = ErrorView)),
)]
async fn get<L: Ledger, S: Signer>(
    admin: Office<L, S>,
    At(id): At,
) -> Result<Json<TokenView>, ApiError> {
    let token = admin.registrar.ledger().token_get(&id).await?;
    let token = token.ok_or_else(|| ApiError::token_unknown(&id))?;
    Ok(Json(TokenView::new(&token, admin.now())))
}

/// Takes a token back. What was issued with it stays; see rebind and the device's acts.
#[utoipa::path(
    post,
    path = "/api/v1/tokens/{token}/revoke",
    operation_id = "token_revoke",
    tag = "tokens",
    params(("token" = String, Path, description = "Its id.")),
    responses((status = 200, body = TokenView), (status = "default", body = ErrorView)),
)]
async fn revoke<L: Ledger, S: Signer>(
    admin: Office<L, S>,
    At(id): At,
) -> Result<Json<TokenView>, ApiError> {
    let hint = "A spent token has done its work; for its device see `imprint device revoke`.";
    act(&admin, &id, TokenAct::Revoke, "revoked", hint).await
}

/// Wakes a dormant token.
#[utoipa::path(
    post,
    path = "/api/v1/tokens/{token}/arm",
    operation_id = "token_arm",
    tag = "tokens",
    params(("token" = String, Path, description = "Its id.")),
    responses((status = 200, body = TokenView), (status = "default", body = ErrorView)),
)]
async fn arm<L: Ledger, S: Signer>(
    admin: Office<L, S>,
    At(id): At,
) -> Result<Json<TokenView>, ApiError> {
    act(
        &admin,
        &id,
        TokenAct::Arm,
        "armed",
        "Only a dormant token can be armed.",
    )
    .await
}

/// Takes a token from its holder and opens it again: the holder's certificates are revoked in the
/// same transaction. The answer to "somebody else enrolled first" and to "the device lost its key".
#[utoipa::path(
    post,
    path = "/api/v1/tokens/{token}/rebind",
    operation_id = "token_rebind",
    tag = "tokens",
    params(("token" = String, Path, description = "Its id.")),
    request_body = Rebind,
    responses((status = 200, body = TokenView), (status = "default", body = ErrorView)),
)]
async fn rebind<L: Ledger, S: Signer>(
    admin: Office<L, S>,
    At(id): At,
    Body(rebind): Body<Rebind>,
) -> Result<Json<TokenView>, ApiError> {
    let hardware = rebind.hardware.map(|text| hardware(&text, 1)).transpose()?;
    let hint = "Only a token that somebody holds or has spent can be rebound; else mint a new one.";
    let view = act(&admin, &id, TokenAct::Rebind { hardware }, "rebound", hint).await?;
    admin.publish_revocations().await;
    Ok(view)
}

async fn act<L: Ledger, S: Signer>(
    admin: &Admin<L, S>,
    id: &str,
    act: TokenAct,
    verb: &str,
    hint: &str,
) -> Result<Json<TokenView>, ApiError> {
    let now = admin.now();
    let acted: Acted<TokenRecord> = admin
        .registrar
        .ledger()
        .token_act(id, act, ACTOR, now)
        .await?;
    match acted {
        Acted::Done(token) => Ok(Json(TokenView::new(&token, now))),
        Acted::Absent => Err(ApiError::token_unknown(id)),
        Acted::NotNow { state } => {
            Err(ApiError::not_now(&format!("Token {id}"), state, verb, hint))
        }
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Filter {
    product: Option<String>,
    state: Option<String>,
    limit: Option<u32>,
}

fn check(order: TokenOrderView) -> Result<TokenOrder, ApiError> {
    let count = order.count.unwrap_or(1);
    if !(1..=MOST_TOKENS).contains(&count) {
        let message = format!("{count} tokens can't be ordered at a time.");
        return Err(ApiError::request(message, "Order 1 to 100,000."));
    }
    if !order.hardware.is_empty() && order.count.is_some_and(|count| count != 1) {
        return Err(ApiError::request(
            "Both a count and hardware were given.",
            "Each token for named hardware is one token: leave the count out.",
        ));
    }
    if order.expires_in_seconds.is_some_and(|seconds| seconds < 1) {
        let hint = "Give a time in the future, or none for the product's rule.";
        return Err(ApiError::request(
            "A token can't expire before it is made.",
            hint,
        ));
    }
    Ok(TokenOrder {
        product: order.product,
        hardware: read(&order.hardware)?,
        count,
        expires_in_seconds: order.expires_in_seconds,
        dormant: order.dormant,
    })
}

fn state_of(word: &str) -> Result<TokenState, ApiError> {
    word.parse().map_err(|()| {
        let known: Vec<_> = TokenState::ALL.iter().map(|state| state.as_str()).collect();
        let hint = format!("Use one of {}.", known.join(", "));
        ApiError::request(format!("{word:?} is no state of a token."), hint)
    })
}

impl From<OperatorError> for ApiError {
    fn from(error: OperatorError) -> Self {
        let text = error.to_string();
        let (status, code, hint) = match error {
            OperatorError::Ledger(error) => return error.into(),
            OperatorError::NoProduct { name } => return Self::product_unknown(&name),
            OperatorError::NoClaim { name } => return unknown(&name),
            OperatorError::Definition(error) => return error.into(),
            OperatorError::ClaimNotNow { .. } => (
                StatusCode::CONFLICT,
                "not-now",
                "See `imprint claim show`; a claim that is revoked stays so.",
            ),
            OperatorError::NotARequest { .. } => (
                StatusCode::BAD_REQUEST,
                "request-unsound",
                "Make a new key and a new request.",
            ),
            OperatorError::Lifetime => (
                StatusCode::BAD_REQUEST,
                "lifetime-unsound",
                "See `imprint ca info` for the end of the issuing authority.",
            ),
            OperatorError::TokensAreBound => (
                StatusCode::BAD_REQUEST,
                "hardware-missing",
                "`imprint token new --hardware ID`, or `token.bound = false` in the fleet file.",
            ),
            OperatorError::HardwareUnfit { .. } => (
                StatusCode::BAD_REQUEST,
                "hardware-unfit",
                "Compare it with the label; if it is right, mend `serial_pattern` in the fleet file.",
            ),
            OperatorError::TokenCount { .. } => (
                StatusCode::BAD_REQUEST,
                "request-unreadable",
                "Order in several lots.",
            ),
            OperatorError::NotACertificate => (
                StatusCode::BAD_REQUEST,
                "certificate-unreadable",
                "Give one X.509 certificate, in PEM or DER.",
            ),
            OperatorError::NotAdoptable { .. } => (
                StatusCode::CONFLICT,
                "certificate-not-adoptable",
                "Only certificates that our own authorities issued to devices can be adopted.",
            ),
            OperatorError::Conflict { .. } => (
                StatusCode::CONFLICT,
                "certificate-conflict",
                "See `imprint why` for the device of that name and hardware.",
            ),
            OperatorError::Signer(_) => {
                let hint = "Look at the key's device and the server's log; asking again is safe.";
                let status = StatusCode::SERVICE_UNAVAILABLE;
                return Self::new(status, "signer-unavailable", text, hint).after(30);
            }
            _ => (StatusCode::CONFLICT, "refused", "Read the server's log."),
        };
        Self::new(status, code, sentence(&text), hint)
    }
}

/// An error's text as a sentence.
pub(super) fn sentence(text: &str) -> String {
    let mut letters = text.chars();
    let first = letters.next().map(char::to_uppercase).into_iter().flatten();
    let mut sentence: String = first.chain(letters).collect();
    if !sentence.ends_with('.') {
        sentence.push('.');
    }
    sentence
}

/// Tokens in one order: what one transaction may hold.
const MOST_TOKENS: u32 = 100_000;
