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
/// written. A chain can't tell that rows at its end were cut off; a head that was noted elsewhere,
/// at any time before, can.
#[utoipa::path(
    get,
    path = "/api/v1/journal/verify",
    operation_id = "journal_verify",
    tag = "journal",
    params((
        "noted" = Option<String>, Query,
        description = "A head from an earlier verdict, 64 hex digits: it must still be in the chain.",
    )),
    responses((status = 200, body = JournalVerdict), (status = "default", body = ErrorView)),
)]
async fn verify<L: Ledger, S: Signer>(
    admin: Office<L, S>,
    Asked(asked): Asked<Verify>,
) -> Result<Json<JournalVerdict>, ApiError> {
    let noted = asked.noted.as_deref().map(head).transpose()?;
    admin.settle().await?;
    let mut verifier = Verifier::default();
    let mut altered = None;
    // The head of a journal without rows.
    let mut noted_there = noted == Some([0; 32]);
    while altered.is_none() {
        let rows = admin
            .registrar
            .ledger()
            .journal_read(verifier.seen().0, PAGE)
            .await?;
        if rows.is_empty() {
            break;
        }
        noted_there |= noted.is_some() && rows.iter().any(|row| row.hash == noted);
        altered = rows.iter().find_map(|row| verifier.row(row).err());
    }
    let (rows, unchained, last) = verifier.seen();
    let mut altered = altered.map(|altered| AlteredView {
        number: altered.number,
        what: altered.what.to_owned(),
    });
    if altered.is_none() && noted.is_some() && !noted_there {
        altered = Some(AlteredView {
            number: rows + 1,
            what: "the head that was noted is not in the chain: rows were cut off, or all of \
                   them written anew"
                .to_owned(),
        });
    }
    Ok(Json(JournalVerdict {
        intact: altered.is_none(),
        rows,
        unchained,
        head: hex::encode(last),
        altered,
    }))
}

fn head(text: &str) -> Result<[u8; 32], ApiError> {
    let mut hash = [0; 32];
    hex::decode_to_slice(text, &mut hash).map_err(|_| {
        let hint = "Give the 64 hex digits that `imprint journal verify` printed as the head.";
        ApiError::request(format!("{text:?} is no head of a journal."), hint)
    })?;
    Ok(hash)
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Verify {
    noted: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Page {
    after: Option<u64>,
    limit: Option<u32>,
}

/// Rows at a time: a megabyte at most.
const PAGE: u32 = 1_000;
