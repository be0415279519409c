//! The HTTP API: routes, and the shape of every answer that is not a document.
//!
//! | method and path | does |
//! |---|---|
//! | `POST /v1/namespaces/{ns}/actors[?id=]` | create, with a generated id if none is given |
//! | `PUT /v1/namespaces/{ns}/actors/{id}` | put, create, update or compare-and-swap, by precondition |
//! | `GET`, `HEAD` same | read, `?level=linearizable` (default) or `eventual` |
//! | `DELETE` same | delete, returns the old document |
//! | `GET /v1/status` | what this node knows |
//! | `GET /v1/backup` | the state of every namespace, as a file |
//! | `GET /healthz`, `/readyz` | the process works; it knows a leader in every namespace |

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::http::{Method, Request, Uri};
use axum::response::{IntoResponse, Response};
use axum::routing::any;
use understudy_core::{Namespace, NodeId};

use crate::driver::Core;

pub mod actor;
pub mod backup;
pub mod document;
pub mod problem;
pub mod request;
pub mod server;
pub mod status;

use problem::Problem;
use request::Target;

/// What every request may use.
#[derive(Debug)]
pub struct Api {
    /// The way to the replica.
    pub core: Core,
    /// Which member this is.
    pub node: NodeId,
    /// For the status page: where the members' APIs are.
    pub members: Vec<(NodeId, String)>,
    /// What backups are made from.
    pub backups: backup::Source,
}

/// Every route.
pub fn router(api: Arc<Api>) -> Router {
    Router::new()
        .route("/v1/namespaces/{ns}/actors", any(actors))
        .route("/v1/namespaces/{ns}/actors/{id}", any(one_actor))
        .route("/v1/namespaces/{ns}/actors/", any(no_id))
        .route("/v1/status", any(status))
        .route("/v1/backup", any(backup_all))
        .route("/healthz", any(healthz))
        .route("/readyz", any(readyz))
        .fallback(unknown_route)
        .with_state(api)
}

async fn actors(State(api): State<Arc<Api>>, request: Request<Body>) -> Response {
    answer(request, async |request| {
        let namespace = namespace(request.uri())?;
        match *request.method() {
            Method::POST => actor::create(&api, namespace, request).await,
            _ => Err(Problem::method(request.method(), "POST")),
        }
    })
    .await
}

async fn one_actor(State(api): State<Arc<Api>>, request: Request<Body>) -> Response {
    answer(request, async |request| {
        let namespace = namespace(request.uri())?;
        let id = request::actor_id(&segment(request.uri(), 5)?)?;
        let target = Target { namespace, id };
        match *request.method() {
            Method::GET | Method::HEAD => {
                let (parts, _) = request.into_parts();
                actor::read(&api, target, &parts.uri, &parts.headers).await
            }
            Method::PUT => actor::put(&api, target, request).await,
            Method::DELETE => actor::delete(&api, target, request).await,
            _ => Err(Problem::method(request.method(), "GET, HEAD, PUT, DELETE")),
        }
    })
    .await
}

async fn no_id(request: Request<Body>) -> Response {
    answer(request, async |_| Err(request::actor_id("").err().unwrap_or_else(Problem::route))).await
}

async fn status(State(api): State<Arc<Api>>, request: Request<Body>) -> Response {
    answer(request, async |request| {
        only_get(&request)?;
        status::status(&api).await
    })
    .await
}

async fn backup_all(State(api): State<Arc<Api>>, request: Request<Body>) -> Response {
    answer(request, async |request| match *request.method() {
        Method::GET => backup::backup(&api).await,
        _ => Err(Problem::method(request.method(), "GET")),
    })
    .await
}

async fn healthz(State(api): State<Arc<Api>>, request: Request<Body>) -> Response {
    answer(request, async |request| {
        only_get(&request)?;
        status::healthz(&api).await
    })
    .await
}

async fn readyz(State(api): State<Arc<Api>>, request: Request<Body>) -> Response {
    answer(request, async |request| {
        only_get(&request)?;
        status::readyz(&api).await
    })
    .await
}

async fn unknown_route(request: Request<Body>) -> Response {
    answer(request, async |_| Err(Problem::route())).await
}

/// Runs `body`; a problem learns where it happened.
async fn answer(
    request: Request<Body>,
    body: impl AsyncFnOnce(Request<Body>) -> Result<Response, Problem>,
) -> Response {
    let instance = request.uri().path().to_owned();
    match body(request).await {
        Ok(response) => response,
        Err(problem) => problem.at(instance).into_response(),
    }
}

fn only_get(request: &Request<Body>) -> Result<(), Problem> {
    match *request.method() {
        Method::GET | Method::HEAD => Ok(()),
        _ => Err(Problem::method(request.method(), "GET, HEAD")),
    }
}

fn namespace(uri: &Uri) -> Result<Namespace, Problem> {
    Namespace::new(segment(uri, 3)?).map_err(|rule| Problem::bad("bad_namespace", rule))
}

/// Part `place` of the path, decoded here: an id may hold any character, `/` included, and bytes
/// that are not UTF-8 are refused and not replaced.
fn segment(uri: &Uri, place: usize) -> Result<String, Problem> {
    let raw = uri.path().split('/').nth(place).unwrap_or_default();
    request::percent_decode(raw, "the path")
}
