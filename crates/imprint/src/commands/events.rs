//! `imprint events ...`.

use std::io::Write as _;

use http::Method;
use imprint_server::admin::views::{EventView, WebhookKeyView};

use super::shown;
use crate::cli::{Events, EventsCommand};
use crate::desk::{Desk, no_server, with_query};
use crate::outcome::{Outcome, table};
use crate::problem::Problem;

pub(super) async fn run(desk: &mut Desk, order: Events, json: bool) -> anyhow::Result<Outcome> {
    if let Some(EventsCommand::Key { url }) = order.command {
        let path = with_query("/api/v1/events/key", &[("url", Some(url))]);
        let text = desk.ask(Method::GET, &path, None::<&()>).await?;
        return shown(text, json, |view: &WebhookKeyView| view.key.clone());
    }
    if order.follow {
        return follow(desk, order.after, json).await;
    }
    let mut all: Vec<EventView> = Vec::new();
    let mut after = order.after;
    loop {
        let page: Vec<EventView> = desk.get(&page(after, None)).await?;
        let whole = page.len() == PAGE;
        after = last(&page, after);
        all.extend(page);
        if !whole {
            break;
        }
    }
    Ok(Outcome::done(if json {
        serde_json::to_string(&all)?
    } else {
        list(&all)
    }))
}

/// Every event as it comes, one a line, until the reader has enough or the server ends. A server that
/// only restarts is waited for: what happened meanwhile is told then.
async fn follow(desk: &mut Desk, mut after: u64, json: bool) -> anyhow::Result<Outcome> {
    if desk.is_local() {
        anyhow::bail!(no_server());
    }
    loop {
        match desk.get::<Vec<EventView>>(&page(after, Some(WAIT))).await {
            Ok(events) => {
                after = last(&events, after);
                if !print(&events, json)? {
                    return Ok(Outcome::done(""));
                }
            }
            Err(error) if error.is::<Problem>() => return Err(error),
            Err(_) => desk.reconnect().await?,
        }
    }
}

/// `false` when nobody reads any more.
fn print(events: &[EventView], json: bool) -> anyhow::Result<bool> {
    let mut stdout = std::io::stdout().lock();
    for event in events {
        let line = if json {
            serde_json::to_string(event)?
        } else {
            cells(event).join("  ")
        };
        match writeln!(stdout, "{}", line.trim_end()) {
            Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => return Ok(false),
            other => other?,
        }
    }
    match stdout.flush() {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(false),
        other => Ok(other.map(|()| true)?),
    }
}

fn page(after: u64, wait: Option<u32>) -> String {
    let query = [
        ("after", Some(after.to_string())),
        ("limit", Some(PAGE.to_string())),
        ("wait", wait.map(|seconds| seconds.to_string())),
    ];
    with_query("/api/v1/events", &query)
}

fn last(events: &[EventView], after: u64) -> u64 {
    events.last().and_then(EventView::number).unwrap_or(after)
}

fn list(events: &[EventView]) -> String {
    let rows: Vec<_> = events.iter().map(cells).collect();
    table(["EVENT", "AT", "WHAT", "WHOM", "BY", "DETAIL"], &rows)
}

fn cells(event: &EventView) -> [String; 6] {
    [
        event.id.clone(),
        event.time.clone(),
        event.bare_kind().to_owned(),
        event.subject.clone().unwrap_or_default(),
        event.data.actor.clone(),
        event.data.detail.to_string(),
    ]
}

const PAGE: usize = 1_000;
/// Seconds in which the server may hold an empty answer back.
const WAIT: u32 = 25;
