//! The journal: reading it, and whether it is as it was written.

use std::sync::Arc;

use axum::Json;
use imprint_registrar::journal::Verifier;
use imprint_registrar::{Ledger, Signer};
use serde::Deserialize;
use utoipa_axum::router::OpenApiRouter;

use super::extract::Asked;
use super::views::{AlteredView, JournalRowView, JournalVerdict};
use super::{Admin, ApiError, ErrorView, Office, on};

pub(super) fn routes<L: Ledger, S: Signer>() -> OpenApiRouter<Arc<Admin<L, S>>> {
    OpenApiRouter::new()
        .routes(on::<__path_read, _, _, _>(read::<L, S>))
        .routes(on::<__path_verify, _, _, _>(verify::<L, S>))
}

/// Rows of the journal, in order.
#[utoipa::path(
    get,
    path = "/api/v1/journal",
    operation_id = "journal_read",
    tag = "journal",
    params(
        ("after" = Option<u64>, Query, description = "The last number of the page before."),
        ("limit" = Option<u32>, Query, description = "1 to 1,000; 100 unless told."),
    ),
    responses((status = 200, body = Vec<JournalRowView>), (status = "default", body = ErrorView)),
)]
async fn read<L: Ledger, S: Signer>(
    admin: Office<L, S>,
    Asked(page): Asked<Page>,
) -> Result<Json<Vec<JournalRowView>>, ApiError> {
    admin.settle().await?;
    let limit = page.limit.unwrap_or(100).clamp(1, PAGE);
    let rows = admin
        .registrar
        .ledger()
        .journal_read(page.after.unwrap_or(0), limit)
        .await?;
    Ok(Json(rows.iter().map(JournalRowView::from).collect()))
}

/// Follows the chain from the first row to the last and names the first row that is not as it was
/// written.
#[utoipa::path(
    get,
    path = "/api/v1/journal/verify",
    operation_id = "journal_verify",
    tag = "journal",
    responses((status = 200, body = JournalVerdict), (status = "default", body = ErrorView)),
)]
async fn verify<L: Ledger, S: Signer>(
    admin: Office<L, S>,
) -> Result<Json<JournalVerdict>, ApiError> {
    admin.settle().await?;
    let mut verifier = Verifier::default();
    let mut altered = None;
    while altered.is_none() {
        let rows = admin
            .registrar
            .ledger()
            .journal_read(verifier.seen().0, PAGE)
            .await?;
        if rows.is_empty() {
            break;
        }
        altered = rows.iter().find_map(|row| verifier.row(row).err());
    }
    let (rows, unchained, head) = verifier.seen();
    Ok(Json(JournalVerdict {
        intact: altered.is_none(),
        rows,
        unchained,
        head: hex::encode(head),
        altered: altered.map(|altered| AlteredView {
            number: altered.number,
            what: altered.what.to_owned(),
        }),
    }))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Page {
    after: Option<u64>,
    limit: Option<u32>,
}

/// Rows at a time: a megabyte at most.
const PAGE: u32 = 1_000;
