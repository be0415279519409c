//! One connection to one node, with one pipeline on it. What waits to be sent leaves as one message;
//! answers come in any order.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{OnceCell, mpsc, oneshot};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;
use tonic::transport::Channel;
use tracing::debug;
use understudy_plan::limits;
use understudy_proto::v1::actors_client::ActorsClient;
use understudy_proto::v1::cluster_client::ClusterClient;
use understudy_proto::v1::pipeline_answer::Answer;
use understudy_proto::v1::pipeline_call::Call;
use understudy_proto::v1::{
    Certainty, PipelineCall, PipelineRequest, PipelineResponse, Problem, StatusRequest,
    StatusResponse,
};

use super::credentials::Credentials;

/// How often an idle or silent connection is checked.
const KEEP_ALIVE: Duration = Duration::from_secs(2);

/// Why an attempt brought no answer.
#[derive(Clone, Debug)]
pub(super) enum Fault {
    /// The node says so.
    Problem(Box<Problem>),
    /// It never left this process.
    NotSent(String),
    /// It may have arrived.
    Lost(String),
}

/// The way to a node; cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Link {
    asks: mpsc::Sender<Ask>,
    wire: Arc<Wire>,
}

/// What a connection needs, and itself once it is made.
#[derive(Debug)]
struct Wire {
    address: String,
    credentials: Arc<Credentials>,
    channel: OnceCell<Channel>,
}

#[derive(Debug)]
struct Ask {
    call: Call,
    patience: Duration,
    reply: oneshot::Sender<Result<Answer, Fault>>,
}

/// Whoever waits for an answer, by the number of the call; `None` when no more can come.
type Waiting = Arc<Mutex<Option<HashMap<u64, oneshot::Sender<Result<Answer, Fault>>>>>>;

impl Link {
    /// Begins to connect to `address`.
    pub(super) fn start(address: String, credentials: Arc<Credentials>) -> Link {
        let (asks, asked) = mpsc::channel(limits::IN_FLIGHT_MAX);
        let wire = Arc::new(Wire { address, credentials, channel: OnceCell::new() });
        drop(tokio::spawn(run(wire.clone(), asked)));
        Link { asks, wire }
    }

    /// It has not ended.
    pub(super) fn is_open(&self) -> bool {
        !self.asks.is_closed()
    }

    /// Both are the same connection.
    pub(super) fn is(&self, other: &Link) -> bool {
        Arc::ptr_eq(&self.wire, &other.wire)
    }

    /// Asks, and waits for the answer. When this is dropped the answer is thrown away; nothing else
    /// on the connection is touched.
    pub(super) async fn ask(&self, call: Call, patience: Duration) -> Result<Answer, Fault> {
        let (reply, answer) = oneshot::channel();
        let gone = || Fault::NotSent(format!("{}: the connection has ended", self.wire.address));
        self.asks.send(Ask { call, patience, reply }).await.map_err(|_| gone())?;
        answer.await.unwrap_or_else(|_| Err(Fault::Lost("the client's runtime stops".to_owned())))
    }

    /// The connection itself, with what is shown on it.
    pub(super) async fn channel(&self) -> Result<(Channel, Arc<Credentials>), Fault> {
        let channel = self.wire.channel().await.map_err(Fault::NotSent)?;
        Ok((channel, self.wire.credentials.clone()))
    }

    /// Who leads what.
    pub(super) async fn status(&self) -> Result<StatusResponse, Fault> {
        let channel = self.wire.channel().await.map_err(Fault::NotSent)?;
        let request = self.wire.credentials.stamp(StatusRequest::default());
        let answer = ClusterClient::new(channel).status(request).await;
        answer.map(tonic::Response::into_inner).map_err(|status| match fault(&status) {
            Fault::Lost(why) => Fault::Lost(self.wire.credentials.explain(why)),
            fault => fault,
        })
    }
}

impl Wire {
    async fn channel(&self) -> Result<Channel, String> {
        let connect = || async {
            let endpoint = self.credentials.endpoint(&self.address)?;
            let endpoint = endpoint
                .connect_timeout(limits::CONNECT_TIMEOUT)
                .tcp_nodelay(true)
                .http2_keep_alive_interval(KEEP_ALIVE)
                .keep_alive_timeout(KEEP_ALIVE)
                .keep_alive_while_idle(true)
                .initial_stream_window_size(1024 * 1024)
                .initial_connection_window_size(4 * 1024 * 1024);
            self.credentials.connect(endpoint).await
        };
        let made = self.channel.get_or_try_init(connect).await;
        made.cloned()
            .map_err(|error: tonic::transport::Error| format!("{}: {}", self.address, root(&error)))
    }
}

/// The connection's life. It ends when it breaks, or when nobody can ask any more.
async fn run(wire: Arc<Wire>, mut asked: mpsc::Receiver<Ask>) {
    let waiting: Waiting = Arc::new(Mutex::new(Some(HashMap::new())));
    let why = match open(&wire).await {
        Ok((requests, answers)) => {
            tokio::select! {
                fault = receive(answers, &waiting) => fault,
                () = send(&mut asked, &requests, &waiting) => {
                    Fault::Lost(format!("{}: the connection has ended", wire.address))
                }
            }
        }
        Err(fault) => fault,
    };
    debug!(address = wire.address, ?why, "a connection has ended");
    asked.close();
    let lost = lock(&waiting).take().unwrap_or_default();
    for reply in lost.into_values() {
        let _ = reply.send(Err(match &why {
            Fault::NotSent(why) | Fault::Lost(why) => Fault::Lost(why.clone()),
            // Of the stream, not of this call: it may have been done.
            Fault::Problem(problem) => Fault::Lost(problem.message.clone()),
        }));
    }
    while let Some(ask) = asked.recv().await {
        let _ = ask.reply.send(Err(match &why {
            Fault::Lost(why) => Fault::NotSent(why.clone()),
            refused => refused.clone(),
        }));
    }
}

async fn open(
    wire: &Wire,
) -> Result<(mpsc::Sender<PipelineRequest>, Streaming<PipelineResponse>), Fault> {
    let channel = wire.channel().await.map_err(Fault::NotSent)?;
    // One: what waits behind it is put together while it leaves.
    let (requests, stream) = mpsc::channel(1);
    let request = wire.credentials.stamp(ReceiverStream::new(stream));
    let mut client = ActorsClient::new(channel).max_decoding_message_size(limits::ANSWER_BYTES_MAX);
    let opened = tokio::time::timeout(limits::ATTEMPT_TIMEOUT, client.pipeline(request)).await;
    match opened {
        Ok(Ok(answers)) => Ok((requests, answers.into_inner())),
        // No call was on it.
        Ok(Err(status)) => Err(match fault(&status) {
            Fault::Lost(why) => Fault::NotSent(why),
            other => other,
        }),
        Err(_) => Err(Fault::NotSent(format!("{}: no answer", wire.address))),
    }
}

/// Sends until the stream takes nothing more.
async fn send(
    asked: &mut mpsc::Receiver<Ask>,
    requests: &mpsc::Sender<PipelineRequest>,
    waiting: &Waiting,
) {
    let mut numbers = 0_u64;
    while let Some(first) = asked.recv().await {
        let Ok(place) = requests.reserve().await else {
            let gone = Fault::NotSent("the connection has ended".to_owned());
            let _ = first.reply.send(Err(gone));
            return;
        };
        let mut message = PipelineRequest::default();
        let mut bytes = 0;
        let mut next = Some(first);
        while let Some(Ask { call, patience, reply }) = next.take() {
            bytes += size(&call);
            // Whoever gave up before it was sent wants nothing any more.
            if !reply.is_closed() {
                numbers += 1;
                let timeout_ms = u32::try_from(patience.as_millis()).unwrap_or(u32::MAX).max(1);
                message.calls.push(PipelineCall { number: numbers, timeout_ms, call: Some(call) });
                if let Some(waiting) = lock(waiting).as_mut() {
                    waiting.insert(numbers, reply);
                }
            }
            if message.calls.len() < limits::MESSAGE_CALLS_MAX && bytes < limits::MESSAGE_BYTES_MAX
            {
                next = asked.try_recv().ok();
            }
        }
        if !message.calls.is_empty() {
            place.send(message);
        }
    }
}

/// Hands answers out until there are no more, and says why.
async fn receive(mut answers: Streaming<PipelineResponse>, waiting: &Waiting) -> Fault {
    loop {
        let message = match answers.message().await {
            Ok(Some(message)) => message,
            Ok(None) => return Fault::Lost("the node has ended the connection".to_owned()),
            Err(status) => return fault(&status),
        };
        let mut waiting = lock(waiting);
        let Some(waiting) = waiting.as_mut() else {
            return Fault::Lost("the connection has ended".to_owned());
        };
        for answer in message.answers {
            // Whoever asked may have gone.
            if let Some(reply) = waiting.remove(&answer.number) {
                let _ = reply.send(match answer.answer {
                    Some(Answer::Problem(problem)) => Err(Fault::Problem(Box::new(problem))),
                    Some(answer) => Ok(answer),
                    None => Err(Fault::Lost("the answer is empty".to_owned())),
                });
            }
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What a call's failure as a gRPC status means. A status that no node of ours made, such as one of a
/// broken connection, leaves open what happened.
pub(super) fn fault(status: &tonic::Status) -> Fault {
    if let Some(problem) = understudy_proto::problem(status) {
        return Fault::Problem(Box::new(problem));
    }
    let refused = |code: &str, message: &str| {
        Fault::Problem(Box::new(Problem {
            code: code.to_owned(),
            certainty: Certainty::Refused.into(),
            message: message.to_owned(),
            ..Problem::default()
        }))
    };
    match status.code() {
        tonic::Code::Unimplemented => refused(
            "unimplemented",
            "the other side does not know this call; is it a node of this version?",
        ),
        // Of something that stands before the node: it has let nothing through, and will not.
        tonic::Code::Unauthenticated => refused("unauthenticated", status.message()),
        tonic::Code::PermissionDenied => refused("forbidden", status.message()),
        _ => Fault::Lost(root(status)),
    }
}

/// The innermost reason: "connection refused" and not four layers around it.
fn root(error: &(dyn std::error::Error + 'static)) -> String {
    let mut cause = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    match cause.downcast_ref::<tonic::Status>() {
        Some(status) => status.message().to_owned(),
        None => cause.to_string(),
    }
}

/// Bytes of a call's documents.
fn size(call: &Call) -> usize {
    let value = |content: &Option<understudy_proto::v1::Content>| {
        content.as_ref().map_or(0, |content| content.value.len())
    };
    64 + match call {
        Call::Create(request) => value(&request.content),
        Call::Put(request) => value(&request.content),
        Call::Update(request) => value(&request.content),
        Call::CompareAndSwap(request) => value(&request.content),
        Call::BatchWrite(request) => prost_len(request),
        Call::BatchRead(request) => 64 * request.items.len(),
        Call::Delete(_) | Call::Read(_) | Call::Scan(_) | Call::OpenSession(_) => 0,
    }
}

fn prost_len(batch: &understudy_proto::v1::BatchWriteRequest) -> usize {
    use understudy_proto::v1::batch_operation::Kind;
    let size = |kind: &Kind| match kind {
        Kind::Create(content) | Kind::Put(content) => content.value.len(),
        Kind::Update(write) | Kind::CompareAndSwap(write) => {
            write.content.as_ref().map_or(0, |content| content.value.len())
        }
        Kind::Delete(_) => 0,
    };
    let operations = batch.operations.iter();
    operations.map(|operation| 64 + operation.kind.as_ref().map_or(0, size)).sum()
}
