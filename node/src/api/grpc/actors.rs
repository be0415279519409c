//! `understudy.v1.Actors`: each method is its call with the status around it.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use prost::Message;
use tokio::time::Instant;
use tonic::{Request, Response, Status, Streaming};
use understudy_proto::v1::actors_server;
use understudy_proto::v1::{self as proto};

use super::pipeline::Pipeline;
use super::{Deadline, Room, calls, watch};
use crate::api::problem::Problem;
use crate::api::{Api, Desk};
use crate::limits;

/// The service.
#[derive(Debug)]
pub struct Actors {
    desk: Arc<Desk>,
}

impl Actors {
    /// Over this API.
    pub fn new(desk: Arc<Desk>) -> Actors {
        Actors { desk }
    }
}

/// The message and the time that is left for it.
fn open<T>(request: Request<T>) -> (T, Duration) {
    let deadline = request.extensions().get::<Deadline>().copied();
    let left = deadline
        .map_or(limits::API_TIMEOUT, |Deadline(at)| at.saturating_duration_since(Instant::now()));
    (request.into_inner(), left)
}

fn close<T: Message>(result: Result<T, Problem>) -> Result<Response<T>, Status> {
    let message = result?;
    let small = (message.encoded_len() as u64) < limits::COMPRESS_BYTES_MIN;
    let mut response = Response::new(message);
    if small {
        response.disable_compression();
    }
    Ok(response)
}

macro_rules! unary {
    ($($name:ident: $request:ident => $response:ident;)*) => {
        #[tonic::async_trait]
        impl actors_server::Actors for Actors {
            $(
                async fn $name(
                    &self,
                    request: Request<proto::$request>,
                ) -> Result<Response<proto::$response>, Status> {
                    let api = Api::new(&self.desk, request.extensions())?;
                    let (request, wait) = open(request);
                    close(calls::$name(&api, request, wait).await)
                }
            )*

            type PipelineStream = Pin<
                Box<dyn futures_util::Stream<Item = Result<proto::PipelineResponse, Status>> + Send>,
            >;

            async fn pipeline(
                &self,
                request: Request<Streaming<proto::PipelineRequest>>,
            ) -> Result<Response<Self::PipelineStream>, Status> {
                let room = request.extensions().get::<Room>().cloned();
                let room = room.ok_or_else(|| Status::internal("a call outside a connection"))?;
                let api = Arc::new(Api::new(&self.desk, request.extensions())?);
                let pipeline = Pipeline::new(api, request.into_inner(), room);
                Ok(Response::new(Box::pin(pipeline)))
            }

            type WatchStream = watch::WatchStream;

            async fn watch(
                &self,
                request: Request<Streaming<proto::WatchRequest>>,
            ) -> Result<Response<Self::WatchStream>, Status> {
                let api = Api::new(&self.desk, request.extensions())?;
                Ok(Response::new(watch::open(&api, request.into_inner()).await?))
            }
        }
    };
}

unary! {
    create: CreateRequest => WriteResponse;
    put: PutRequest => WriteResponse;
    update: UpdateRequest => WriteResponse;
    compare_and_swap: CompareAndSwapRequest => WriteResponse;
    delete: DeleteRequest => DeleteResponse;
    read: ReadRequest => ReadResponse;
    batch_read: BatchReadRequest => BatchReadResponse;
    batch_write: BatchWriteRequest => BatchWriteResponse;
    scan: ScanRequest => ScanResponse;
    open_session: OpenSessionRequest => OpenSessionResponse;
}
