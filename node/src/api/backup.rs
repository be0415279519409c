//! `GET /v1/backup`: streams the state of every namespace, as this node has applied it (S0-143).
//!
//! Everything acknowledged before the request came is in it: a linearizable read of each namespace says
//! how far the node must have come, and then the views are taken, at once for all. A view costs
//! nothing and never changes, so writes go on. Encoding and sending are the work of a thread of their
//! own; it is never more than a few blocks ahead of the client.

use std::fmt;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Weak};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use axum::body::{Body, Bytes};
use axum::http::HeaderValue;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::response::Response;
use hyper::body::Frame;
use tokio::sync::{Semaphore, mpsc};
use tracing::{info, warn};
use understudy_auth::{Access, Right};
use understudy_core::backend::{Backend, BackendError, View};
use understudy_core::snapshot::{self, Encoder};
use understudy_core::store::keys::Origin;
use understudy_core::store::{Meta, StoreView};
use understudy_core::{
    self as core, ActorId, Answer, ClusterConfig, Failure, GroupId, Namespace, ReadLevel, Storage,
};

use crate::api::Api;
use crate::api::problem::{Problem, codes};
use crate::backup::container::{RECORD_BYTES_MAX, Writer};
use crate::backup::{self, Header, Section};
use crate::config::StorageWord;
use crate::{clock, limits};

/// What backups are made from.
pub struct Source {
    config: ClusterConfig,
    /// Where the rows of some namespaces are. Weak: a node that stops closes its store.
    backend: Option<Weak<dyn Backend>>,
    /// One at a time: each keeps old rows alive until it is sent.
    room: Arc<Semaphore>,
}

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Source({} under way)", 1 - self.room.available_permits().min(1))
    }
}

impl Source {
    /// Of a node with this configuration and this store.
    pub fn new(config: ClusterConfig, backend: Option<&Arc<dyn Backend>>) -> Source {
        Source { config, backend: backend.map(Arc::downgrade), room: Arc::new(Semaphore::new(1)) }
    }
}

/// One namespace's state.
struct State {
    origin: Origin,
    storage: Storage,
    meta: Meta,
    rows: Rows,
}

enum Rows {
    Here(Box<StoreView>),
    Outside(Arc<dyn View>),
}

/// Streams a backup.
///
/// # Errors
/// A problem: another backup is under way, or this node is not level with a leader of every
/// namespace.
pub async fn backup(api: &Api) -> Result<Response, Problem> {
    api.allow(Right::Admin, Access::Node)?;
    let source = &api.backups;
    let Ok(place) = source.room.clone().try_acquire_owned() else {
        let detail = "this node is sending another backup; wait for it, or ask another node";
        return Err(Problem::busy(detail, limits::BACKUP_RETRY_AFTER));
    };
    let states = states(api).await?;
    let config = &source.config;
    let header = header(config, api.node.0, &states);
    let (feed, frames) = mpsc::channel(limits::BACKUP_QUEUE_MAX);
    let work = move || {
        let outlet = Outlet { feed, started: Instant::now(), bytes: 0 };
        outlet.send_all(&header, states);
        drop(place);
    };
    drop(tokio::task::spawn_blocking(work));
    let mut response = Response::new(Body::new(Feed(frames)));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}

/// Every namespace's state, not before everything acknowledged until now is in it.
async fn states(api: &Api) -> Result<Vec<State>, Problem> {
    let status = api.status().await;
    let joining = |status: core::Status| status.groups.iter().any(|group| group.joining);
    if status.is_none_or(joining) {
        return Err(unavailable("this node is being taken into the cluster; ask another"));
    }
    let config = &api.backups.config;
    let mut due = Vec::new();
    for (group, namespace) in config.groups() {
        due.push((group, namespace, level(api, namespace).await?));
    }
    let deadline = Instant::now() + limits::API_TIMEOUT;
    let mut states = Vec::new();
    for (group, namespace, applied) in due {
        let (cluster, namespace) = (config.cluster.clone(), namespace.clone());
        let storage = config.storage(&namespace);
        let origin = Origin { cluster, group, namespace };
        let (meta, rows) = loop {
            match look(api, group, storage).await? {
                Some((meta, rows)) if count(&meta) >= applied => break (meta, rows),
                _ if Instant::now() >= deadline => {
                    return Err(unavailable("this node is behind its leader; ask another"));
                }
                _ => tokio::time::sleep(limits::BACKUP_LOOK_EVERY).await,
            }
        };
        states.push(State { origin, storage, meta, rows });
    }
    Ok(states)
}

/// Entries of `namespace` that hold everything acknowledged until now.
async fn level(api: &Api, namespace: &Namespace) -> Result<u64, Problem> {
    // Any actor will do: what counts is how far the group had come.
    let id = ActorId::new("backup").map_err(|_| Problem::from(Failure::Unknown))?;
    let level = ReadLevel::Linearizable;
    let body = core::Request::Read { namespace: namespace.clone(), id, level };
    match api.ask_for_all(body, limits::API_TIMEOUT).await {
        Ok(Answer::Read { applied, .. }) => Ok(applied),
        // A read changes nothing, so nothing about it is unknown.
        Ok(_) | Err(Failure::Unknown) => Err(Failure::Unavailable.into()),
        Err(failure) => Err(failure.into()),
    }
}

/// What this node has of a group now, if it has anything.
async fn look(
    api: &Api,
    group: GroupId,
    storage: Storage,
) -> Result<Option<(Meta, Rows)>, Problem> {
    if storage == Storage::Memory {
        let view = api.view(group).await;
        return Ok(view.map(|view| (view.meta().clone(), Rows::Here(Box::new(view)))));
    }
    let backend = api.backups.backend.as_ref().and_then(Weak::upgrade);
    let backend = backend.ok_or_else(|| unavailable("the node is stopping"))?;
    let look = move || -> Result<_, BackendError> {
        let view = backend.snapshot()?;
        Ok(snapshot::meta_of(view.as_ref(), group)?.map(|meta| (meta, Rows::Outside(view))))
    };
    match tokio::task::spawn_blocking(look).await {
        Ok(Ok(found)) => Ok(found),
        Ok(Err(error)) => Err(unavailable(&format!("the rows cannot be read: {error}"))),
        Err(_) => Err(unavailable("the node is stopping")),
    }
}

fn count(meta: &Meta) -> u64 {
    meta.applied.map_or(0, |applied| applied.index + 1)
}

fn unavailable(detail: &str) -> Problem {
    Problem::new(&codes::UNAVAILABLE, detail)
}

fn header(config: &ClusterConfig, node: u64, states: &[State]) -> Header {
    let sections = states.iter().map(|state| Section {
        group: state.origin.group.0,
        namespace: state.origin.namespace.to_string(),
        storage: StorageWord::from(state.storage),
        applied: count(&state.meta),
        actors: state.meta.actors,
        outcomes: state.meta.outcomes,
    });
    Header {
        cluster: config.cluster.to_string(),
        node,
        taken_at: backup::utc(clock::wall()),
        program: env!("CARGO_PKG_VERSION").to_owned(),
        sections: sections.collect(),
    }
}

/// The body of the answer.
struct Feed(mpsc::Receiver<io::Result<Bytes>>);

impl hyper::body::Body for Feed {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        self.0.poll_recv(context).map(|next| next.map(|bytes| bytes.map(Frame::data)))
    }
}

/// The sending end of a feed, on a thread that may wait.
struct Outlet {
    feed: mpsc::Sender<io::Result<Bytes>>,
    started: Instant,
    bytes: u64,
}

impl Outlet {
    fn send_all(mut self, header: &Header, states: Vec<State>) {
        let count = states.len();
        match self.write(header, states) {
            Ok(()) => info!(
                "a backup of {count} namespaces was given out: {} bytes in {:.1} s",
                self.bytes,
                self.started.elapsed().as_secs_f64()
            ),
            Err(error) => {
                warn!("a backup was not given out to its end: {error}");
                // Breaks the connection, so that nobody takes what was sent for all of it.
                let _ = self.feed.try_send(Err(io::Error::other(error.reason)));
            }
        }
    }

    fn write(&mut self, header: &Header, states: Vec<State>) -> Result<(), BackendError> {
        let (mut writer, first) = Writer::begin(header);
        self.send(first)?;
        for State { origin, rows, .. } in states {
            let group = origin.group;
            let mut section = |block: &[u8]| {
                block
                    .chunks(RECORD_BYTES_MAX)
                    .try_for_each(|bytes| self.send(writer.section(group, bytes)))
            };
            match rows {
                Rows::Here(view) => {
                    Encoder::new(origin, *view).try_for_each(|block| section(&block))?;
                }
                Rows::Outside(view) => snapshot::export(view.as_ref(), group, &mut section)?,
            }
        }
        self.send(writer.finish())
    }

    /// Waits while the client is behind, but not for ever: until it goes, its rows take space.
    fn send(&mut self, bytes: Vec<u8>) -> Result<(), BackendError> {
        let failed = |reason: &str| BackendError { reason: reason.to_owned(), damaged: false };
        self.bytes += bytes.len() as u64;
        let mut frame = Ok(Bytes::from(bytes));
        let since = Instant::now();
        loop {
            frame = match self.feed.try_send(frame) {
                Ok(()) => return Ok(()),
                Err(mpsc::error::TrySendError::Closed(_)) => {
                    return Err(failed("the client has gone away"));
                }
                Err(mpsc::error::TrySendError::Full(frame)) => frame,
            };
            if since.elapsed() > limits::BACKUP_STALL {
                return Err(failed("the client has stopped reading"));
            }
            std::thread::sleep(PAUSE);
        }
    }
}

/// Between two looks at a feed that is full. What is in it lasts longer.
const PAUSE: Duration = Duration::from_millis(2);

#[cfg(test)]
mod tests;
