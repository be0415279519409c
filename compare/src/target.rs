//! What is measured: etcd, Understudy by unary gRPC, Understudy by its Rust client, and a unary call
//! that does nothing.

use anyhow::Context;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::transport::{Channel, Endpoint};
use understudy_client::{Client, Content, Level};
use understudy_proto::v1;
use understudy_proto::v1::actors_client::ActorsClient;

#[allow(missing_docs, clippy::all, clippy::pedantic, reason = "generated")]
mod etcdserverpb {
    tonic::include_proto!("etcdserverpb");
}

use etcdserverpb::kv_client::KvClient;
use etcdserverpb::{PutRequest, RangeRequest};

const NAMESPACE: &str = "default";

/// Which of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// etcd, by unary gRPC to its leader.
    Etcd,
    /// Understudy, by unary gRPC to its leader.
    Unary,
    /// Understudy, by its Rust client.
    Client,
    /// A unary call that Understudy answers without looking at anything (the health service): what
    /// gRPC itself costs here.
    Empty,
}

impl Kind {
    /// etcd first: the others are compared with it.
    pub const ALL: [Kind; 4] = [Kind::Etcd, Kind::Unary, Kind::Client, Kind::Empty];

    /// For people.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Etcd => "etcd",
            Kind::Unary => "understudy unary",
            Kind::Client => "understudy client",
            Kind::Empty => "empty unary call",
        }
    }
}

/// One client with a connection of its own.
pub enum Target {
    /// See [`Kind::Etcd`].
    Etcd(KvClient<Channel>),
    /// See [`Kind::Unary`].
    Unary(ActorsClient<Channel>),
    /// See [`Kind::Client`].
    Client(Box<Client>),
    /// See [`Kind::Empty`].
    Empty(tonic::client::Grpc<Channel>),
}

impl Target {
    /// Connects; the first of `endpoints` leads.
    ///
    /// # Errors
    /// When nobody answers there.
    pub async fn connect(kind: Kind, endpoints: &[String]) -> anyhow::Result<Target> {
        if kind == Kind::Client {
            let client = Client::connect(endpoints.iter().cloned()).await?;
            return Ok(Target::Client(Box::new(client)));
        }
        let leader = endpoints.first().context("an endpoint")?;
        let endpoint = Endpoint::from_shared(format!("http://{leader}"))?.tcp_nodelay(true);
        let channel = endpoint.connect().await.with_context(|| format!("nobody at {leader}"))?;
        Ok(match kind {
            Kind::Etcd => Target::Etcd(KvClient::new(channel)),
            Kind::Empty => Target::Empty(tonic::client::Grpc::new(channel)),
            Kind::Unary | Kind::Client => Target::Unary(ActorsClient::new(channel)),
        })
    }

    /// Puts one key, durably.
    ///
    /// # Errors
    /// When it was refused or not answered.
    pub async fn write(&self, key: &str, value: &[u8]) -> anyhow::Result<()> {
        match self {
            Target::Etcd(client) => {
                let request = PutRequest { key: key.into(), value: value.to_vec() };
                client.clone().put(request).await?;
            }
            Target::Unary(client) => {
                let content = v1::Content { value: value.to_vec().into(), ..Default::default() };
                let (namespace, id) = (NAMESPACE.to_owned(), key.to_owned());
                let request = v1::PutRequest { namespace, id, content: Some(content), name: None };
                client.clone().put(request).await?;
            }
            Target::Client(client) => {
                let value = Content::raw(value.to_vec());
                client.put(NAMESPACE, key, value).await?;
            }
            Target::Empty(client) => empty_call(client).await?,
        }
        Ok(())
    }

    /// Reads one key, linearizably; a key that is not there yet is an answer too.
    ///
    /// # Errors
    /// When it was refused or not answered.
    pub async fn read(&self, key: &str) -> anyhow::Result<()> {
        match self {
            Target::Etcd(client) => {
                client.clone().range(RangeRequest { key: key.into() }).await?;
            }
            Target::Unary(client) => {
                let (namespace, id) = (NAMESPACE.to_owned(), key.to_owned());
                let request = v1::ReadRequest { namespace, id, freshness: None };
                match client.clone().read(request).await {
                    Err(status) if status.code() != tonic::Code::NotFound => {
                        return Err(status.into());
                    }
                    _ => {}
                }
            }
            Target::Client(client) => {
                client.get_raw(NAMESPACE, key, Level::Linearizable).await?;
            }
            Target::Empty(client) => empty_call(client).await?,
        }
        Ok(())
    }
}

/// The health service's `Check`; its question may be empty, and so may be what is read of the answer.
async fn empty_call(client: &tonic::client::Grpc<Channel>) -> anyhow::Result<()> {
    let mut client = client.clone();
    client.ready().await?;
    let path = PathAndQuery::from_static("/grpc.health.v1.Health/Check");
    let codec = tonic_prost::ProstCodec::<(), ()>::default();
    client.unary(tonic::Request::new(()), path, codec).await?;
    Ok(())
}
