//! Many calls on one stream. Calls run side by side; answers leave as they are ready, all that are
//! ready in one message.
//!
//! A stream whose client does not read is not read either: what is in flight stays within the room of
//! its connection, and answers wait where they were made.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::Stream;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use prost::Message;
use tokio::sync::watch;
use tokio_util::sync::PollSemaphore;
use tonic::{Status, Streaming};
use understudy_core::limits as core;
use understudy_proto::v1::pipeline_answer::Answer;
use understudy_proto::v1::pipeline_call::Call;
use understudy_proto::v1::{PipelineAnswer, PipelineCall, PipelineRequest, PipelineResponse};

use super::{Room, calls};
use crate::api::problem::{Problem, codes};
use crate::api::{Api, server};
use crate::limits;

/// The answers to a stream of calls.
pub struct Pipeline {
    api: Arc<Api>,
    calls: Streaming<PipelineRequest>,
    /// Received and not begun.
    waiting: VecDeque<PipelineCall>,
    running: FuturesUnordered<BoxFuture<'static, PipelineAnswer>>,
    room: PollSemaphore,
    /// Nothing more is read: the client has closed its half, or the node stops.
    closed: bool,
    stop: BoxFuture<'static, ()>,
}

impl Pipeline {
    /// Over one stream of a connection.
    pub fn new(api: Arc<Api>, calls: Streaming<PipelineRequest>, room: Room) -> Pipeline {
        let mut stop: watch::Receiver<bool> = api.stop.clone();
        Pipeline {
            api,
            calls,
            waiting: VecDeque::new(),
            running: FuturesUnordered::new(),
            room: PollSemaphore::new(room.0),
            closed: false,
            stop: Box::pin(async move { server::stopped(&mut stop).await }),
        }
    }

    /// Begins what has room; reads more when everything read has begun.
    fn fill(&mut self, context: &mut Context<'_>) -> Result<(), Status> {
        if !self.closed && self.stop.as_mut().poll(context).is_ready() {
            self.closed = true;
        }
        loop {
            while !self.waiting.is_empty() {
                let Poll::Ready(Some(place)) = self.room.poll_acquire(context) else {
                    return Ok(());
                };
                let Some(call) = self.waiting.pop_front() else { break };
                let api = self.api.clone();
                self.running.push(Box::pin(async move {
                    let answer = run(&api, call).await;
                    drop(place);
                    answer
                }));
            }
            if self.closed {
                return Ok(());
            }
            match Pin::new(&mut self.calls).poll_next(context) {
                Poll::Pending => return Ok(()),
                Poll::Ready(None) => self.closed = true,
                Poll::Ready(Some(message)) => self.waiting.extend(message?.calls),
            }
        }
    }
}

impl Stream for Pipeline {
    type Item = Result<PipelineResponse, Status>;

    fn poll_next(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<PipelineResponse, Status>>> {
        let this = &mut *self;
        if let Err(status) = this.fill(context) {
            return Poll::Ready(Some(Err(status)));
        }
        let (mut answers, mut bytes) = (Vec::new(), 0);
        while answers.len() < limits::PIPELINE_ANSWERS_MAX && bytes < limits::PIPELINE_BYTES_SOFT {
            match Pin::new(&mut this.running).poll_next(context) {
                Poll::Ready(Some(answer)) => {
                    bytes += answer.encoded_len();
                    answers.push(answer);
                }
                Poll::Ready(None)
                    if answers.is_empty() && this.closed && this.waiting.is_empty() =>
                {
                    return Poll::Ready(None);
                }
                Poll::Ready(None) | Poll::Pending => break,
            }
        }
        match answers.is_empty() {
            true => Poll::Pending,
            false => Poll::Ready(Some(Ok(PipelineResponse { answers }))),
        }
    }
}

async fn run(api: &Api, call: PipelineCall) -> PipelineAnswer {
    let answer = match wait(call.timeout_ms) {
        Ok(wait) => one(api, call.call, wait).await,
        Err(problem) => Err(problem),
    };
    let answer = answer.unwrap_or_else(|problem| Answer::Problem(problem.into()));
    PipelineAnswer { number: call.number, answer: Some(answer) }
}

fn wait(milliseconds: u32) -> Result<Duration, Problem> {
    let wait = Duration::from_millis(milliseconds.into());
    match wait {
        Duration::ZERO => Ok(limits::API_TIMEOUT),
        wait if wait <= core::REQUEST_TIMEOUT_MAX => Ok(wait),
        _ => {
            let most = core::REQUEST_TIMEOUT_MAX.as_millis();
            Err(Problem::new(&codes::BAD_TIMEOUT, format!("`timeout_ms` is 0 to {most}")))
        }
    }
}

async fn one(api: &Api, call: Option<Call>, wait: Duration) -> Result<Answer, Problem> {
    Ok(match call {
        Some(Call::Create(call)) => Answer::Written(calls::create(api, call, wait).await?),
        Some(Call::Put(call)) => Answer::Written(calls::put(api, call, wait).await?),
        Some(Call::Update(call)) => Answer::Written(calls::update(api, call, wait).await?),
        Some(Call::CompareAndSwap(call)) => {
            Answer::Written(calls::compare_and_swap(api, call, wait).await?)
        }
        Some(Call::Delete(call)) => Answer::Deleted(calls::delete(api, call, wait).await?),
        Some(Call::Read(call)) => Answer::Read(calls::read(api, call, wait).await?),
        Some(Call::BatchRead(call)) => Answer::BatchRead(calls::batch_read(api, call, wait).await?),
        Some(Call::BatchWrite(call)) => {
            Answer::BatchWrite(calls::batch_write(api, call, wait).await?)
        }
        Some(Call::Scan(call)) => Answer::Scan(calls::scan(api, call, wait).await?),
        Some(Call::OpenSession(call)) => {
            Answer::OpenSession(calls::open_session(api, call, wait).await?)
        }
        None => {
            let detail = "the call is empty, or of a kind that this node does not know yet";
            return Err(Problem::new(&codes::BAD_REQUEST, detail));
        }
    })
}
