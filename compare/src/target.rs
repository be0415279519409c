//! What is measured: etcd, Understudy by unary gRPC, and Understudy by its Rust client.

use anyhow::Context;
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
}

impl Kind {
    /// etcd first: the others are compared with it.
    pub const ALL: [Kind; 3] = [Kind::Etcd, Kind::Unary, Kind::Client];

    /// For people.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Etcd => "etcd",
            Kind::Unary => "understudy unary",
            Kind::Client => "understudy client",
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
        }
        Ok(())
    }
}
