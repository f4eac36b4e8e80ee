//! `imprint journal ...`.

use http::Method;
use imprint_server::admin::views::{JournalRowView, JournalVerdict};

use super::shown;
use crate::cli::Journal;
use crate::desk::{Desk, with_query};
use crate::outcome::{Outcome, table};

pub(super) async fn run(desk: &mut Desk, order: Journal, json: bool) -> anyhow::Result<Outcome> {
    match order {
        Journal::Verify { noted } => {
            let path = with_query("/api/v1/journal/verify", &[("noted", noted)]);
            let text = desk.ask(Method::GET, &path, None::<&()>).await?;
            let verdict: JournalVerdict = serde_json::from_str(&text)?;
            let text = if json { text } else { judge(&verdict) };
            Ok(if verdict.intact {
                Outcome::done(text)
            } else {
                Outcome::found(text)
            })
        }
        Journal::List { after, limit } => {
            let path = format!("/api/v1/journal?after={after}&limit={limit}");
            shown(desk.ask(Method::GET, &path, None::<&()>).await?, json, list)
        }
    }
}

fn judge(verdict: &JournalVerdict) -> String {
    match &verdict.altered {
        None => format!(
            "The journal is as it was written: {} rows, head {}.",
            verdict.rows, verdict.head
        ),
        Some(altered) => format!(
            "The journal has been altered: row {} is the first, {}.\n\
             Keep a copy of ledger.db before anything else is done.",
            altered.number, altered.what
        ),
    }
}

#[expect(clippy::ptr_arg, reason = "what the document is read into")]
fn list(rows: &Vec<JournalRowView>) -> String {
    let rows: Vec<_> = rows
        .iter()
        .map(|row| {
            [
                row.number.to_string(),
                row.at.clone(),
                row.kind.clone(),
                row.subject.clone(),
                row.actor.clone(),
                row.detail.to_string(),
            ]
        })
        .collect();
    table(["ROW", "AT", "WHAT", "WHOM", "BY", "DETAIL"], &rows)
}
