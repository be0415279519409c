//! One connection's requests: `application/grpc` goes to the gRPC services, all else to the HTTP
//! routes.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes, HttpBody};
use axum::http::header::{AUTHORIZATION, CONTENT_TYPE};
use axum::http::{Request, Response};
use axum::response::IntoResponse;
use hyper::body::{Frame, Incoming, SizeHint};
use hyper::service::Service;
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout_at};
use tonic::{Code, Status};
use tower_service::Service as _;

use crate::api::grpc::{self, Deadline, Room};
use crate::api::problem::{Problem, codes};
use crate::api::server::activity::{Activity, InFlight};
use crate::api::{Desk, route};
use crate::guard::Remote;
use crate::limits;
use crate::security::Secured;

/// What every connection begins with; cheap to clone.
#[derive(Clone, Debug)]
pub struct Front {
    desk: Arc<Desk>,
    http: Router,
    grpc: Router,
}

impl Front {
    /// All routes and services.
    pub fn new(desk: &Arc<Desk>) -> Front {
        Front { desk: desk.clone(), http: route::router(desk), grpc: grpc::router(desk) }
    }

    /// Certificates and tokens.
    pub fn secured(&self) -> &Secured {
        &self.desk.secured
    }

    /// Lets a request in: what it may do is asked later, by what it touches.
    fn admit(&self, request: &mut Request<Body>, remote: &Arc<Remote>) -> Result<(), Problem> {
        let path = request.uri().path();
        if OPEN.contains(&path) || path.starts_with(HEALTH) {
            return Ok(());
        }
        let caller = self.secured().guard.admit(request.headers(), remote, path);
        let caller = caller.map_err(|denied| Problem::from(denied).at(path.to_owned()))?;
        // Nobody behind this needs it.
        request.headers_mut().remove(AUTHORIZATION);
        request.extensions_mut().insert(caller);
        Ok(())
    }

    /// The service of one connection.
    pub fn connection(self, activity: Arc<Activity>, remote: Arc<Remote>) -> Connection {
        Connection {
            front: self,
            activity,
            remote,
            room: Room(Arc::new(Semaphore::new(limits::IN_FLIGHT_MAX))),
        }
    }
}

/// Answers the requests of one connection.
#[derive(Debug)]
pub struct Connection {
    front: Front,
    activity: Arc<Activity>,
    remote: Arc<Remote>,
    /// For the calls of its pipelines, all together.
    room: Room,
}

impl Service<Request<Incoming>> for Connection {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        let in_flight = self.activity.request();
        let mut request = request.map(Body::new);
        let is_grpc = request.headers().get(CONTENT_TYPE).is_some_and(|kind| {
            kind.as_bytes()
                .get(..16)
                .is_some_and(|kind| kind.eq_ignore_ascii_case(b"application/grpc"))
        });
        let admitted = self.front.admit(&mut request, &self.remote);
        let (front, room) = (self.front.clone(), self.room.clone());
        Box::pin(async move {
            let response = match (admitted, is_grpc) {
                (Err(problem), true) => Status::from(problem).into_http(),
                (Err(problem), false) => problem.into_response(),
                (Ok(()), true) => grpc(front.grpc, request, room).await,
                (Ok(()), false) => call(front.http, request).await,
            };
            Ok(response.map(|inner| Body::new(Counted { inner, _in_flight: in_flight })))
        })
    }
}

/// Open to everybody: what probes look at.
const OPEN: [&str; 2] = ["/healthz", "/readyz"];
/// The same in gRPC.
const HEALTH: &str = "/grpc.health.v1.Health/";

async fn call(mut router: Router, request: Request<Body>) -> Response<Body> {
    match router.call(request).await {
        Ok(response) => response,
        Err(never) => match never {},
    }
}

/// Runs a gRPC call within its deadline, the time for its body included.
async fn grpc(router: Router, mut request: Request<Body>, room: Room) -> Response<Body> {
    let wait = match grpc::timeout(request.headers()) {
        Ok(wait) => wait,
        Err(problem) => return Status::from(problem).into_http(),
    };
    let deadline = Instant::now() + wait;
    request.extensions_mut().insert(Deadline(deadline));
    request.extensions_mut().insert(room);
    let path = request.uri().path();
    let ours = path.starts_with(grpc::PACKAGE_PATH);
    if !ours || grpc::LASTING_PATHS.contains(&path) {
        return explained(call(router, request).await, ours);
    }
    // The core answers by the deadline; what is later than this has never come to it whole.
    match timeout_at(deadline + 2 * limits::API_GRACE, call(router, request)).await {
        Ok(response) => explained(response, ours),
        Err(_) => {
            let detail = "the message did not arrive in time; send it at once";
            Status::from(Problem::new(&codes::REQUEST_TIMEOUT, detail)).into_http()
        }
    }
}

/// What the library itself refuses (a message that is too large or no message, an unknown method)
/// becomes a problem like all others.
fn explained(response: Response<Body>, ours: bool) -> Response<Body> {
    let Some(status) = Status::from_header_map(response.headers()) else { return response };
    let code = match status.code() {
        Code::Ok => return response,
        Code::Unimplemented if status.message().is_empty() => &codes::UNKNOWN_ROUTE,
        _ if !ours || !status.details().is_empty() => return response,
        Code::OutOfRange | Code::ResourceExhausted => &codes::TOO_LARGE,
        Code::DeadlineExceeded => &codes::REQUEST_TIMEOUT,
        _ => &codes::BAD_REQUEST,
    };
    let detail = match status.message() {
        "" => "there is no such gRPC method; ask the reflection service which there are",
        message => message,
    };
    Status::from(Problem::new(code, detail)).into_http()
}

/// The body of an answer: until it is sent, its request is in flight.
struct Counted {
    inner: Body,
    _in_flight: InFlight,
}

impl HttpBody for Counted {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.inner).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

/// Part of a wait that is kept for the way back, so that an answer arrives before its client gives up.
pub fn way_back(wait: Duration) -> Duration {
    (wait / 10).min(limits::WAY_BACK_MAX)
}
