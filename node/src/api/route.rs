//! Every path of the HTTP API with the methods it knows: one table, from which the router is made, a
//! wrong method answered, and the OpenAPI document checked.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::http::{Method, Request, Uri};
use axum::response::{IntoResponse, Response};
use axum::routing::any;
use tower_http::CompressionLevel;
use tower_http::compression::CompressionLayer;
use tower_http::compression::predicate::{NotForContentType, Predicate, SizeAbove};
use understudy_core::Namespace;

use super::problem::{Problem, pages};
use super::request::{self, Target};
use super::{Api, Desk, actor, backup, batch, changes, openapi, ops, status};
use crate::limits;

/// What a path leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Route {
    /// The actors of a namespace.
    Actors,
    /// Several actors are read.
    BatchRead,
    /// Several actors are written.
    BatchWrite,
    /// What changes in a namespace.
    Changes,
    /// A session is opened.
    Sessions,
    /// An actor without an id.
    NoId,
    /// One actor.
    Actor,
    /// What this node knows.
    Status,
    /// The state of every namespace, as a file.
    Backup,
    /// The process works.
    Healthz,
    /// This node should get requests.
    Readyz,
    /// The OpenAPI document.
    OpenApi,
    /// The documentation of every code.
    Problems,
    /// The documentation of one code.
    ProblemPage,
}

const GET: &[Method] = &[Method::GET, Method::HEAD];
const POST: &[Method] = &[Method::POST];
const ACTORS: &[Method] = &[Method::GET, Method::HEAD, Method::POST];
const ACTOR: &[Method] = &[Method::GET, Method::HEAD, Method::PUT, Method::DELETE];

/// All of them.
pub const ROUTES: &[(Route, &str, &[Method])] = &[
    (Route::Actors, "/v1/namespaces/{ns}/actors", ACTORS),
    (Route::BatchRead, "/v1/namespaces/{ns}/actors:batchRead", POST),
    (Route::BatchWrite, "/v1/namespaces/{ns}/actors:batchWrite", POST),
    (Route::Changes, "/v1/namespaces/{ns}/changes", &[Method::GET]),
    (Route::Sessions, "/v1/namespaces/{ns}/sessions", POST),
    (Route::NoId, "/v1/namespaces/{ns}/actors/", ACTOR),
    (Route::Actor, "/v1/namespaces/{ns}/actors/{id}", ACTOR),
    (Route::Status, "/v1/status", GET),
    (Route::Backup, "/v1/backup", &[Method::GET]),
    (Route::Healthz, "/healthz", GET),
    (Route::Readyz, "/readyz", GET),
    (Route::OpenApi, "/openapi.json", GET),
    (Route::Problems, "/docs/problems", GET),
    (Route::ProblemPage, "/docs/problems/{code}", GET),
];

/// The router of all of them.
pub fn router(desk: &Arc<Desk>) -> Router {
    let mut router = Router::new();
    for &(route, path, methods) in ROUTES {
        let desk = desk.clone();
        let handler =
            async move |request: Request<Body>| serve(&desk, route, methods, request).await;
        router = router.route(path, any(handler));
    }
    // A backup is long, and compresses itself badly: its client is on the same network.
    let worth = SizeAbove::new(limits::COMPRESS_BYTES_MIN)
        .and(NotForContentType::const_new("application/octet-stream"))
        // What is told at once must not wait in a compressor for more.
        .and(NotForContentType::const_new("text/event-stream"));
    let compression =
        CompressionLayer::new().quality(CompressionLevel::Fastest).compress_when(worth);
    router.fallback(unknown).layer(compression)
}

async fn unknown(request: Request<Body>) -> Response {
    Problem::route().at(request.uri().path().to_owned()).into_response()
}

/// Answers; a problem learns where it happened.
async fn serve(
    desk: &Arc<Desk>,
    route: Route,
    methods: &[Method],
    request: Request<Body>,
) -> Response {
    let instance = request.uri().path().to_owned();
    let answer = match methods.contains(request.method()) {
        true => dispatch(desk, route, request).await,
        false => Err(wrong_method(request.method(), methods)),
    };
    answer.unwrap_or_else(|problem| problem.at(instance).into_response())
}

fn wrong_method(method: &Method, allowed: &[Method]) -> Problem {
    let allowed: Vec<&str> = allowed.iter().map(Method::as_str).collect();
    Problem::method(method, allowed.join(", "))
}

async fn dispatch(
    desk: &Arc<Desk>,
    route: Route,
    request: Request<Body>,
) -> Result<Response, Problem> {
    match route {
        Route::Healthz => return status::healthz(desk).await,
        Route::Readyz => return status::readyz(desk).await,
        _ => {}
    }
    let api = &Api::new(desk, request.extensions())?;
    match route {
        Route::Actors if request.method() == Method::POST => {
            actor::create(api, namespace(request.uri())?, request).await
        }
        Route::Actors => {
            let (parts, _) = request.into_parts();
            batch::scan(api, namespace(&parts.uri)?, &parts.uri, &parts.headers).await
        }
        Route::BatchRead => batch::read(api, namespace(request.uri())?, request).await,
        Route::BatchWrite => batch::write(api, namespace(request.uri())?, request).await,
        Route::Changes => {
            let (parts, _) = request.into_parts();
            changes::changes(api, namespace(&parts.uri)?, &parts.uri, &parts.headers).await
        }
        Route::Sessions => actor::open_session(api, namespace(request.uri())?, request).await,
        Route::NoId => Err(request::actor_id("").err().unwrap_or_else(Problem::route)),
        Route::Actor => one_actor(api, request).await,
        Route::Status => status::status(api).await,
        Route::Backup => backup::backup(api).await,
        Route::Healthz => status::healthz(desk).await,
        Route::Readyz => status::readyz(desk).await,
        Route::OpenApi => Ok(openapi::document()),
        Route::Problems => Ok(pages::all()),
        Route::ProblemPage => pages::one(&segment(request.uri(), 3)?),
    }
}

async fn one_actor(api: &Api, request: Request<Body>) -> Result<Response, Problem> {
    let namespace = namespace(request.uri())?;
    let id = request::actor_id(&segment(request.uri(), 5)?)?;
    let target = Target { namespace, id };
    match *request.method() {
        Method::PUT => actor::put(api, target, request).await,
        Method::DELETE => actor::delete(api, target, request).await,
        _ => {
            let (parts, _) = request.into_parts();
            actor::read(api, target, &parts.uri, &parts.headers).await
        }
    }
}

fn namespace(uri: &Uri) -> Result<Namespace, Problem> {
    ops::namespace(segment(uri, 3)?)
}

/// Part `place` of the path, decoded here: an id may hold any character, `/` included, and bytes
/// that are not UTF-8 are refused and not replaced.
fn segment(uri: &Uri, place: usize) -> Result<String, Problem> {
    let raw = uri.path().split('/').nth(place).unwrap_or_default();
    request::percent_decode(raw, "the path")
}
