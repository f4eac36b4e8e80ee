//! The journal for other programs: rows as CloudEvents, in order, by asking again, by waiting, or as
//! a stream.
//!
//! A reader keeps the number of the last row that it is done with and asks for what is behind it. Rows
//! have numbers without holes and are never changed, so nothing is missed and nothing comes twice,
//! however often either side breaks off.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Body;
use axum::response::{IntoResponse as _, Response};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use hyper::body::{Bytes, Frame};
use imprint_registrar::journal::JournalRow;
use imprint_registrar::{Ledger, Signer};
use serde::Deserialize;
use tokio::sync::{Semaphore, SemaphorePermit, mpsc, watch};
use tokio::time::{Instant, sleep, sleep_until};
use utoipa_axum::router::OpenApiRouter;

use super::extract::Asked;
use super::views::{EventView, WebhookKeyView, source};
use super::{Admin, ApiError, ErrorView, Office, on};
use crate::outbound::{Target, key_for};

pub(super) fn routes<L: Ledger, S: Signer>() -> OpenApiRouter<Arc<Admin<L, S>>> {
    OpenApiRouter::new()
        .routes(on::<__path_read, _, _, _>(read::<L, S>))
        .routes(on::<__path_key, _, _, _>(key::<L, S>))
}

/// Rows of the journal as CloudEvents, in order. Without `wait` it answers at once. With `wait` an
/// empty answer is held back until there is a row, or the time is over. Asked with `Accept:
/// text/event-stream`, it streams rows as they are written, and `Last-Event-ID` resumes; the stream
/// ends after five minutes, and whoever follows it comes again.
#[utoipa::path(
    get,
    path = "/api/v1/events",
    operation_id = "events_read",
    tag = "events",
    params(
        ("after" = Option<u64>, Query, description = "The id of the last event that you are done with; 0, the default, begins at the first."),
        ("limit" = Option<u32>, Query, description = "1 to 1,000; 100 unless told. Not for streams."),
        ("wait" = Option<u32>, Query, description = "Seconds to wait for the first row, at most 30."),
        ("Last-Event-ID" = Option<u64>, Header, description = "Streams alone: in place of `after`."),
    ),
    responses(
        (status = 200, content(
            (Vec<EventView> = "application/cloudevents-batch+json"),
            (EventView = "text/event-stream"),
        )),
        (status = 409, body = ErrorView, description = "There is no such row: the journal is another one than it was."),
        (status = 503, body = ErrorView, description = "Too many readers wait already."),
        (status = "default", body = ErrorView),
    ),
)]
async fn read<L: Ledger, S: Signer>(
    admin: Office<L, S>,
    headers: HeaderMap,
    Asked(asked): Asked<Page>,
) -> Result<Response, ApiError> {
    let streams = wants_a_stream(&headers);
    let after = match resumes_at(&headers)? {
        Some(number) if streams => number,
        _ => asked.after.unwrap_or(0),
    };
    admin.settle().await?;
    let feed = Feed::new(&admin.0);
    feed.is_there(after).await?;
    if streams {
        return stream(feed, after);
    }
    let limit = asked.limit.unwrap_or(100).clamp(1, PAGE);
    let mut rows = feed.rows(after, limit).await?;
    let wait = Duration::from_secs(asked.wait.unwrap_or(0).min(LONGEST_WAIT).into());
    if rows.is_empty() && !wait.is_zero() {
        let _place = place(&admin.waiting)?;
        rows = feed.first(after, limit, Instant::now() + wait).await?;
    }
    let events: Vec<_> = rows.iter().map(|row| feed.event(row)).collect();
    let text = serde_json::to_vec(&events)?;
    Ok(([(header::CONTENT_TYPE, BATCH)], text).into_response())
}

/// The key under which what is sent to this URL is signed. It is a secret: whoever has it can speak
/// to the receiver as this server does.
#[utoipa::path(
    get,
    path = "/api/v1/events/key",
    operation_id = "events_key",
    tag = "events",
    params(("url" = String, Query, description = "The receiver, as it stands in imprint.toml.")),
    responses((status = 200, body = WebhookKeyView), (status = "default", body = ErrorView)),
)]
async fn key<L: Ledger, S: Signer>(
    admin: Office<L, S>,
    Asked(asked): Asked<Receiver>,
) -> Result<axum::Json<WebhookKeyView>, ApiError> {
    let target: Target = asked.url.parse().map_err(|error| {
        let hint = "Give the URL as it stands in imprint.toml, https://... or http:// to loopback.";
        ApiError::request(format!("{error}."), hint)
    })?;
    let key = key_for(admin.registrar.signer(), target.as_str()).await;
    let key = key.map_err(|error| {
        let hint = "Read the server's log; asking again is safe.";
        let status = StatusCode::SERVICE_UNAVAILABLE;
        ApiError::new(status, "signer-unavailable", format!("{error}."), hint).after(30)
    })?;
    Ok(axum::Json(WebhookKeyView {
        url: asked.url,
        key: key.to_hex(),
    }))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Receiver {
    url: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Page {
    after: Option<u64>,
    limit: Option<u32>,
    wait: Option<u32>,
}

fn wants_a_stream(headers: &HeaderMap) -> bool {
    headers
        .get_all(header::ACCEPT)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|kind| kind.split(';').next())
        .any(|kind| kind.trim().eq_ignore_ascii_case(STREAM))
}

fn resumes_at(headers: &HeaderMap) -> Result<Option<u64>, ApiError> {
    let Some(value) = headers.get("last-event-id") else {
        return Ok(None);
    };
    let number = value.to_str().ok().and_then(|text| text.parse().ok());
    number.map(Some).ok_or_else(|| {
        let hint = "Send the id of the last event that you are done with, a number.";
        ApiError::request("Last-Event-ID is no id of an event.", hint)
    })
}

/// One reader's view of the journal.
struct Feed<L, S> {
    admin: Arc<Admin<L, S>>,
    source: String,
}

impl<L: Ledger, S: Signer> Feed<L, S> {
    fn new(admin: &Arc<Admin<L, S>>) -> Self {
        let registrar = &admin.registrar;
        Self {
            admin: Arc::clone(admin),
            source: source(registrar.authorities(), registrar.ledger().epoch()),
        }
    }

    fn event(&self, row: &JournalRow) -> EventView {
        EventView::new(&self.source, row)
    }

    /// Whoever is further than the journal has read another one: waiting would skip what comes next.
    async fn is_there(&self, after: u64) -> Result<(), ApiError> {
        let head = self.admin.registrar.ledger().journal_head().await?;
        if after <= head {
            return Ok(());
        }
        Err(ApiError::new(
            StatusCode::CONFLICT,
            "events-ahead",
            format!("The journal ends at row {head}; there is no row {after} yet."),
            "Was the server restored from a backup? Compare the events' source, and begin at 0.",
        ))
    }

    async fn rows(&self, after: u64, limit: u32) -> Result<Vec<JournalRow>, ApiError> {
        let ledger = self.admin.registrar.ledger();
        Ok(ledger.journal_read(after, limit).await?)
    }

    /// The first rows after `after`; none when the time is over or the server stops.
    async fn first(
        &self,
        after: u64,
        limit: u32,
        until: Instant,
    ) -> Result<Vec<JournalRow>, ApiError> {
        let mut stop = self.admin.stop.clone();
        loop {
            let rows = self.rows(after, limit).await?;
            if !rows.is_empty() || Instant::now() >= until {
                return Ok(rows);
            }
            tokio::select! {
                () = sleep_until(until) => {}
                () = sleep(LOOK) => {}
                () = stopped(stop.as_mut()) => return Ok(rows),
            }
        }
    }
}

async fn stopped(stop: Option<&mut watch::Receiver<bool>>) {
    match stop {
        Some(stop) => drop(stop.wait_for(|stop| *stop).await),
        None => std::future::pending().await,
    }
}

/// A place among those who wait. Whoever does not wait needs none.
fn place(waiting: &Semaphore) -> Result<SemaphorePermit<'_>, ApiError> {
    waiting.try_acquire().map_err(|_| {
        ApiError::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "events-full",
            format!("{MOST_WAITING} readers wait for events already."),
            "Ask without waiting, or let one program read and tell the others.",
        )
        .after(LONGEST_WAIT)
    })
}

fn stream<L: Ledger, S: Signer>(feed: Feed<L, S>, after: u64) -> Result<Response, ApiError> {
    place(&feed.admin.waiting)?.forget();
    let place = Place(Arc::clone(&feed.admin));
    // One page at most is in memory for a reader who does not take it.
    let (tell, told) = mpsc::channel(1);
    tokio::spawn(async move {
        let _place = place;
        tokio::select! {
            () = tell_all(&feed, after, &tell) => {}
            () = tell.closed() => {}
        }
    });
    let mut response = Response::new(Body::new(Told(told)));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(STREAM));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}

/// Ends when the reader is gone, the server stops, the ledger fails or the stream is old. The reader
/// knows where it was, and comes again.
async fn tell_all<L: Ledger, S: Signer>(
    feed: &Feed<L, S>,
    mut after: u64,
    tell: &mpsc::Sender<Bytes>,
) {
    let end = Instant::now() + LONGEST_STREAM;
    let mut text = "retry: 2000\n\n".to_owned();
    while Instant::now() < end {
        if tell.send(Bytes::from(text)).await.is_err() {
            return;
        }
        let until = end.min(Instant::now() + SIGN_OF_LIFE);
        let Ok(rows) = feed.first(after, STREAM_PAGE, until).await else {
            return;
        };
        if feed.admin.stop.as_ref().is_some_and(|stop| *stop.borrow()) {
            return;
        }
        after = rows.last().map_or(after, |row| row.number);
        text = if rows.is_empty() {
            ": nothing new\n\n".to_owned()
        } else {
            rows.iter().map(|row| told(&feed.event(row))).collect()
        };
    }
}

/// JSON has no line breaks unless it is asked for them, so an event is one `data` line.
fn told(event: &EventView) -> String {
    let json = serde_json::to_string(event).unwrap_or_default();
    format!("id: {}\ndata: {json}\n\n", event.id)
}

/// A place that goes with its stream.
struct Place<L, S>(Arc<Admin<L, S>>);

impl<L, S> Drop for Place<L, S> {
    fn drop(&mut self) {
        self.0.waiting.add_permits(1);
    }
}

/// What is told, as a body.
struct Told(mpsc::Receiver<Bytes>);

impl hyper::body::Body for Told {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let next = self.0.poll_recv(context);
        next.map(|bytes| bytes.map(|bytes| Ok(Frame::data(bytes))))
    }
}

/// Readers who wait at once, streams among them: each looks four times a second, which all together
/// is a fiftieth of what the database answers.
pub(super) const MOST_WAITING: usize = 64;
/// How often one who waits looks.
const LOOK: Duration = Duration::from_millis(250);
/// Seconds; proxies give up on a request after a minute.
const LONGEST_WAIT: u32 = 30;
/// A connection lives for ten minutes; a stream ends before it is cut off in the middle of a row.
const LONGEST_STREAM: Duration = Duration::from_mins(5);
/// So often a stream says something, and finds out that nobody listens any more.
const SIGN_OF_LIFE: Duration = Duration::from_secs(15);
/// Rows at a time: a megabyte at most.
const PAGE: u32 = 1_000;
/// Rows at a time in a stream.
const STREAM_PAGE: u32 = 100;
const BATCH: &str = "application/cloudevents-batch+json";
const STREAM: &str = "text/event-stream";
