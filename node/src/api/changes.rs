//! The change stream over HTTP: server-sent events that last, or one answer of lines that waits for the
//! first change.

use std::convert::Infallible;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::header::{ACCEPT, CACHE_CONTROL, CONTENT_TYPE, HeaderName};
use axum::http::{HeaderMap, HeaderValue, Uri};
use axum::response::Response;
use futures_util::{FutureExt, StreamExt, stream};
use tokio::sync::mpsc;
use tokio::sync::watch::Receiver;
use tokio::time::{Instant, sleep_until, timeout_at};
use understudy_core::{Delivery, Item, Namespace, Policy, Start, limits as core};

use crate::api::problem::{Problem, codes};
use crate::api::watch::{self, Terms, Wanted, Watcher};
use crate::api::{Api, request, server};
use crate::limits;

mod format;

use format::Format;

/// Where a client of server-sent events was when it lost its connection.
const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");
/// The media type of server-sent events.
const EVENT_STREAM: &str = "text/event-stream";
/// And of lines of JSON.
const NDJSON: &str = "application/x-ndjson";

/// `GET …/changes`.
///
/// # Errors
/// A problem.
pub async fn changes(
    api: &Api,
    namespace: Namespace,
    uri: &Uri,
    headers: &HeaderMap,
) -> Result<Response, Problem> {
    let known = ["start", "prefix", "kind", "policy", "format", "wait_ms", "limit"];
    let pairs = request::query_lists(uri, &known, &["prefix", "kind"])?;
    let one = |name| request::parameter(&pairs, name);
    let all = |name: &'static str| {
        pairs.iter().filter(move |(given, _)| given == name).map(|(_, value)| value.clone())
    };
    let kinds = all("kind").map(|word| word.parse().map_err(watch::bad));
    let wanted =
        Wanted { kinds: kinds.collect::<Result<_, _>>()?, prefixes: all("prefix").collect() };
    let start = match request::header(headers, &LAST_EVENT_ID)? {
        // It is newer than what the address says.
        Some(token) if !token.is_empty() => watch::token(token)?,
        _ => one("start").map_or(Ok(Start::Now), watch::start)?,
    };
    let policy = one("policy").map_or(Ok(Policy::Pause), watch::policy)?;
    let format = Format::new(one("format"), &api.cluster.0, &namespace)?;
    let wait = watch::wait(one("wait_ms"))?;
    let limit = limit(one("limit"))?;
    let mut watcher = Watcher::new(api, Terms { namespace, start, wanted, policy })?;
    let lasts =
        request::header(headers, &ACCEPT)?.is_some_and(|kinds| kinds.contains(EVENT_STREAM));
    if lasts {
        watcher.open().await?;
        Ok(events(api, watcher, format))
    } else {
        watcher.grant(u64::try_from(limit).unwrap_or(u64::MAX));
        lines(watcher, &format, limit, wait).await
    }
}

fn limit(given: Option<&str>) -> Result<usize, Problem> {
    let limit = given.map_or(limits::WATCH_LIMIT, |limit| limit.parse().unwrap_or(0));
    if (1..=limits::WATCH_LIMIT_MAX).contains(&limit) {
        return Ok(limit);
    }
    let detail = format!("an answer has 1 to {} changes", limits::WATCH_LIMIT_MAX);
    Err(Problem::new(&codes::BAD_LIMIT, detail))
}

fn response(kind: &'static str, body: Body) -> Response {
    let mut response = Response::new(body);
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

// ---- one answer

/// Waits for something to tell, and tells all that is ready. The last line says where to go on.
async fn lines(
    mut watcher: Watcher,
    format: &Format,
    limit: usize,
    wait: Duration,
) -> Result<Response, Problem> {
    let until = Instant::now() + wait;
    watcher.open().await?;
    let (mut body, mut count, mut place) = (Vec::new(), 0, watcher.token());
    while count < limit && body.len() < limits::WATCH_ANSWER_BYTES_SOFT {
        let next = match count {
            0 => timeout_at(until, watcher.next()).await.ok(),
            _ => watcher.next().now_or_never(),
        };
        let deliveries = match next {
            None => {
                place = watcher.token();
                break;
            }
            Some(Ok(deliveries)) => deliveries,
            Some(Err(problem)) if count == 0 => return Err(problem),
            // The next request hears of it.
            Some(Err(_)) => break,
        };
        for delivery in deliveries.iter().filter(|one| !matches!(one.item, Item::Progress)) {
            count += 1;
            format.line(delivery, &mut body);
        }
        place = watcher.token();
    }
    if let Some(token) = place {
        format.line(&Delivery { token, item: Item::Progress }, &mut body);
    }
    Ok(response(NDJSON, Body::from(body)))
}

// ---- events

/// Changes that are made ready at once for a client that has taken what there was.
const CREDIT: u64 = core::DELIVERIES_MAX as u64;

/// A stream of events. What one step of the subscription brings waits in one place; only when that is
/// free is there credit for more, so a client that reads slowly is one without credit.
fn events(api: &Api, watcher: Watcher, format: Format) -> Response {
    let (place, mut taken) = mpsc::channel(1);
    let stop = api.stop.clone();
    drop(tokio::spawn(pump(watcher, format, place, stop)));
    let bytes = stream::poll_fn(move |context| taken.poll_recv(context));
    response(EVENT_STREAM, Body::from_stream(bytes.map(Ok::<Bytes, Infallible>)))
}

/// Feeds one stream until its client goes or it ends.
async fn pump(
    mut watcher: Watcher,
    format: Format,
    place: mpsc::Sender<Bytes>,
    mut stop: Receiver<bool>,
) {
    // Says at once that the stream is open, and how soon to come again when it is lost.
    let mut ready = Some(Bytes::from_static(b"retry: 1000\n\n"));
    let mut is_free = true;
    let mut beat = Instant::now() + limits::WATCH_BEAT_EVERY;
    loop {
        if is_free && let Some(bytes) = ready.take() {
            // It is free, and nobody else puts anything there.
            if place.try_send(bytes).is_err() {
                return;
            }
            is_free = false;
            beat = Instant::now() + limits::WATCH_BEAT_EVERY;
            watcher.withdraw();
        }
        tokio::select! {
            biased;
            () = place.closed() => return,
            () = server::stopped(&mut stop) => {
                let problem = watch::stops();
                let _ = place.send(format::failed(&problem)).await;
                return;
            }
            free = place.reserve(), if !is_free => {
                drop(free);
                is_free = true;
                watcher.grant(CREDIT);
            }
            deliveries = watcher.next() => match deliveries {
                // Without a free place there is no credit, and what comes are marks: the last one will do.
                Ok(deliveries) => ready = Some(format.events(&deliveries)),
                Err(problem) => {
                    let _ = place.send(format::failed(&problem)).await;
                    return;
                }
            },
            () = sleep_until(beat), if is_free => ready = Some(Bytes::from_static(b":\n\n")),
        }
    }
}
