//! One connection of a bench, and the two ways to use it.

use anyhow::{Context, anyhow, bail};
use bytes::Bytes;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::transport::{Channel, Endpoint};
use understudy_client::{Client, Content, Level};
use understudy_proto::v1;
use understudy_proto::v1::actors_client::ActorsClient;
use understudy_proto::v1::cluster_client::ClusterClient;

use super::{BenchArgs, Protocol};
use crate::client::{Connector, base, new_key};
use crate::credentials::Credentials;
use crate::limits;

/// Bytes of the smallest document of a bench: a number in JSON.
pub const VALUE_BYTES_MIN: usize = 40;

/// One connection; cheap to clone.
#[derive(Clone, Debug)]
pub struct Target {
    wire: Wire,
    namespace: String,
    level: Level,
    value_size: usize,
    timeout: std::time::Duration,
}

#[derive(Clone, Debug)]
enum Wire {
    Pipeline(Client),
    Unary(Unary),
}

/// A channel, and the token for each call on it.
#[derive(Clone, Debug)]
struct Unary {
    actors: ActorsClient<Channel>,
    bearer: Option<MetadataValue<Ascii>>,
}

impl Target {
    /// Connection `place` of the bench. A unary one goes to the namespace's leader, if that is known,
    /// as a client that knows leaders would.
    ///
    /// # Errors
    /// One line, when nobody answers.
    pub async fn connect(args: &BenchArgs, place: usize) -> anyhow::Result<Target> {
        let wire = match args.protocol {
            Protocol::Pipeline => {
                let options = args.cluster.options()?;
                let options = options.deadline(args.timeout.0).in_flight(args.in_flight);
                let client = Client::connect_with(args.cluster.endpoints.clone(), options).await;
                Wire::Pipeline(client.map_err(|error| anyhow!("{error} ({})", error.code()))?)
            }
            Protocol::Unary => {
                let first = &args.cluster.endpoints[place % args.cluster.endpoints.len()];
                let credentials = args.cluster.credentials.read(&[b"h2"])?;
                let leader = leader(first, &args.namespace, &credentials).await?;
                let address = leader.unwrap_or_else(|| first.clone());
                let actors = ActorsClient::new(channel(&address, &credentials).await?);
                Wire::Unary(Unary { actors, bearer: bearer(&credentials)? })
            }
        };
        Ok(Target {
            wire,
            namespace: args.namespace.clone(),
            level: args.level.into(),
            value_size: args.value_size,
            timeout: args.timeout.0,
        })
    }

    /// Puts an actor.
    ///
    /// # Errors
    /// The code of what went wrong.
    pub async fn write(&self, key: u64, number: u64) -> Result<(), String> {
        let (id, value) = (id(key), document(number, self.value_size));
        match &self.wire {
            Wire::Pipeline(client) => {
                let put = client.put(&self.namespace, id, Content::raw(value)).await;
                put.map(drop).map_err(|error| error.code().to_owned())
            }
            Wire::Unary(unary) => {
                let content = v1::Content { value, ..v1::Content::default() };
                let key = new_key().map_err(|error| error.to_string())?.to_string();
                let kind = Some(v1::operation_name::Kind::IdempotencyKey(key));
                let request = v1::PutRequest {
                    namespace: self.namespace.clone(),
                    id,
                    content: Some(content),
                    name: Some(v1::OperationName { kind }),
                };
                let mut actors = unary.actors.clone();
                actors.put(self.stamped(unary, request)).await.map(drop).map_err(code)
            }
        }
    }

    /// Reads an actor.
    ///
    /// # Errors
    /// The code of what went wrong.
    pub async fn read(&self, key: u64) -> Result<(), String> {
        let id = id(key);
        match &self.wire {
            Wire::Pipeline(client) => {
                let read = client.get_raw(&self.namespace, id, self.level).await;
                match read.map_err(|error| error.code().to_owned())? {
                    Some(_) => Ok(()),
                    None => Err("not_found".to_owned()),
                }
            }
            Wire::Unary(unary) => {
                let level = match self.level {
                    Level::Linearizable => v1::ReadLevel::Linearizable,
                    Level::Lease => v1::ReadLevel::Lease,
                    Level::Session => v1::ReadLevel::Session,
                    Level::Eventual => v1::ReadLevel::Eventual,
                };
                let freshness = Some(v1::Freshness { level: level.into(), min_sequence: 0 });
                let namespace = self.namespace.clone();
                let request = v1::ReadRequest { namespace, id, freshness };
                let mut actors = unary.actors.clone();
                actors.read(self.stamped(unary, request)).await.map(drop).map_err(code)
            }
        }
    }

    fn stamped<T>(&self, unary: &Unary, message: T) -> tonic::Request<T> {
        let mut request = stamp(unary.bearer.as_ref(), message);
        request.set_timeout(self.timeout);
        request
    }
}

/// Writes every actor that may be read.
///
/// # Errors
/// One line, for the first that cannot be written.
pub async fn fill(targets: &[Target], args: &BenchArgs) -> anyhow::Result<()> {
    use futures_util::stream::{self, StreamExt, TryStreamExt};
    let under_way = args.connections.saturating_mul(args.in_flight).min(limits::CONCURRENCY_MAX);
    let writes = (0..args.keys).map(|key| {
        let target = &targets[usize::try_from(key).unwrap_or(0) % targets.len()];
        target.write(key, key)
    });
    let filled: Result<(), String> =
        stream::iter(writes).buffer_unordered(under_way.max(64)).try_collect().await;
    filled.map_err(anyhow::Error::msg).context("the actors to be read cannot be written")
}

/// The message with the token.
fn stamp<T>(bearer: Option<&MetadataValue<Ascii>>, message: T) -> tonic::Request<T> {
    let mut request = tonic::Request::new(message);
    if let Some(bearer) = bearer {
        request.metadata_mut().insert("authorization", bearer.clone());
    }
    request
}

fn bearer(credentials: &Credentials) -> anyhow::Result<Option<MetadataValue<Ascii>>> {
    let Some(bearer) = &credentials.bearer else { return Ok(None) };
    let mut bearer = MetadataValue::try_from(bearer.as_bytes()).context("the token")?;
    bearer.set_sensitive(true);
    Ok(Some(bearer))
}

async fn channel(address: &str, credentials: &Credentials) -> anyhow::Result<Channel> {
    let scheme = if credentials.tls.is_some() { "https" } else { "http" };
    let endpoint = Endpoint::from_shared(base(scheme, address))?
        .connect_timeout(limits::PEER_CONNECT_TIMEOUT)
        .tcp_nodelay(true);
    let connected = endpoint.connect_with_connector(Connector::new(credentials.tls.clone())).await;
    connected
        .map_err(|error| anyhow!("{}", anyhow::Error::new(error).root_cause()))
        .with_context(|| format!("cannot connect to `{address}`"))
}

async fn leader(
    address: &str,
    namespace: &str,
    credentials: &Credentials,
) -> anyhow::Result<Option<String>> {
    let mut client = ClusterClient::new(channel(address, credentials).await?);
    let request = stamp(bearer(credentials)?.as_ref(), v1::StatusRequest::default());
    let status = match client.status(request).await {
        Ok(status) => status.into_inner(),
        Err(status) => match understudy_proto::problem(&status) {
            Some(problem) => bail!("{} ({})", problem.message, problem.code),
            None => bail!("the status of `{address}` is not understood; is it a node?"),
        },
    };
    let group = status.namespaces.iter().find(|group| group.namespace == namespace);
    let leader = group.and_then(|group| group.leader);
    let member = status.members.into_iter().find(|member| Some(member.node) == leader);
    Ok(member.map(|member| member.api))
}

fn id(key: u64) -> String {
    format!("bench-{key}")
}

/// JSON of `size` bytes.
fn document(number: u64, size: usize) -> Bytes {
    let mut text = format!("{{\"n\":{number},\"p\":\"");
    let end = "\"}";
    while text.len() + end.len() < size {
        text.push('x');
    }
    text.push_str(end);
    text.into()
}

fn code(status: tonic::Status) -> String {
    match understudy_proto::problem(&status) {
        Some(problem) => problem.code,
        None => format!("{:?}", status.code()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_document_is_json_of_its_size() {
        for (number, size) in [(0, VALUE_BYTES_MIN), (u64::MAX, VALUE_BYTES_MIN), (7, 256)] {
            let bytes = document(number, size);
            assert!(serde_json::from_slice::<serde_json::Value>(&bytes).is_ok());
            assert_eq!(bytes.len(), size);
        }
    }
}
