//! A change stream from one node, as long as that lasts.

use std::time::Duration;

use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;
use understudy_plan::{Attempts, Kind, limits};
use understudy_proto::v1;
use understudy_proto::v1::actors_client::ActorsClient;

use super::link::{Fault, Link, fault};
use super::{Remote, heard};
use crate::error::Error;
use crate::watch::{ChangeStats, WatchOptions};

/// A stream from one node.
#[derive(Debug)]
pub(crate) struct RemoteWatch {
    requests: mpsc::Sender<v1::WatchRequest>,
    answers: Streaming<v1::WatchResponse>,
}

impl RemoteWatch {
    /// What comes next; `None` when the node is lost or stops, and another can go on.
    pub(crate) async fn next(&mut self) -> Result<Vec<v1::WatchItem>, Option<Error>> {
        let problem = match self.answers.message().await {
            Ok(Some(message)) => return Ok(message.items),
            Ok(None) => return Err(None),
            Err(status) => match fault(&status) {
                Fault::Problem(problem) => *problem,
                Fault::NotSent(_) | Fault::Lost(_) => return Err(None),
            },
        };
        match problem.code.as_str() {
            "unavailable" | "busy" | "unknown" | "stuck" | "not_ready" => Err(None),
            _ => Err(Some(Error::of(problem))),
        }
    }

    pub(crate) async fn grant(&self, amount: u64) {
        let credit = v1::WatchCredit { namespace: String::new(), amount };
        let kind = Some(v1::watch_request::Kind::Credit(credit));
        // A stream that has ended says so itself.
        let _ = self.requests.send(v1::WatchRequest { kind }).await;
    }
}

impl Remote {
    /// Opens a stream at whichever node answers.
    pub(crate) async fn watch(
        &self,
        namespace: &str,
        options: &WatchOptions,
        deadline: Duration,
    ) -> Result<RemoteWatch, Error> {
        let mut attempts = Attempts::new(Kind::Read, self.shared.now().after(deadline));
        loop {
            let opened = self.at_some_node(&attempts, async |link, patience| {
                let opened = tokio::time::timeout(patience, open(&link, namespace, options)).await;
                opened.unwrap_or_else(|_| Err(Fault::Lost("no answer".to_owned())))
            });
            match opened.await {
                Ok(watch) => return Ok(watch),
                Err(fault) => self.pause(&mut attempts, heard(&fault), &fault).await?,
            }
        }
    }

    /// What some node says of its change stream.
    pub(crate) async fn change_stats(
        &self,
        namespace: &str,
        deadline: Duration,
    ) -> Result<ChangeStats, Error> {
        let mut attempts = Attempts::new(Kind::Read, self.shared.now().after(deadline));
        loop {
            let status = self.at_some_node(&attempts, async |link, patience| {
                let status = tokio::time::timeout(patience, link.status()).await;
                status.unwrap_or_else(|_| Err(Fault::Lost("no answer".to_owned())))
            });
            match status.await {
                Ok(status) => {
                    let mut all = status.namespaces.into_iter();
                    let found = all.find(|one| one.namespace == namespace);
                    return found.map(ChangeStats::from).ok_or_else(|| Error::Refused {
                        code: "unknown_namespace".to_owned(),
                        message: format!("there is no namespace `{namespace}`"),
                    });
                }
                Err(fault) => self.pause(&mut attempts, heard(&fault), &fault).await?,
            }
        }
    }

    /// One try of something that any node can do.
    async fn at_some_node<T>(
        &self,
        attempts: &Attempts,
        deed: impl AsyncFnOnce(Link, Duration) -> Result<T, Fault>,
    ) -> Result<T, Fault> {
        let (shared, now) = (&self.shared, self.shared.now());
        let (place, address) = {
            let routes = shared.routes();
            let place = routes.pick("", attempts.failed(), now);
            (place, routes.address(place).to_owned())
        };
        let link = shared.link(&address);
        let result = deed(link.clone(), attempts.patience(now)).await;
        match &result {
            Ok(_) | Err(Fault::Problem(_)) => shared.routes().answered(place),
            Err(Fault::NotSent(_) | Fault::Lost(_)) => {
                shared.routes().silent(place, now);
                shared.drop_link(&address, &link);
            }
        }
        result
    }
}

async fn open(link: &Link, namespace: &str, options: &WatchOptions) -> Result<RemoteWatch, Fault> {
    let (channel, credentials) = link.channel().await?;
    let (requests, stream) = mpsc::channel(4);
    // There is room for it.
    let _ = requests.send(options.message(namespace)).await;
    let request = credentials.stamp(ReceiverStream::new(stream));
    let mut client = ActorsClient::new(channel).max_decoding_message_size(limits::ANSWER_BYTES_MAX);
    let answers = client.watch(request).await.map_err(|status| fault(&status))?.into_inner();
    Ok(RemoteWatch { requests, answers })
}
