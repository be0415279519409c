//! `understudy.v1.Cluster`.

use std::sync::Arc;

use tonic::{Request, Response, Status};
use understudy_proto::v1::{
    Member, NamespaceStatus, StatusRequest, StatusResponse, cluster_server,
};

use crate::api::{Api, status};

/// The service.
#[derive(Debug)]
pub struct Cluster {
    api: Arc<Api>,
}

impl Cluster {
    /// Over this API.
    pub fn new(api: Arc<Api>) -> Cluster {
        Cluster { api }
    }
}

#[tonic::async_trait]
impl cluster_server::Cluster for Cluster {
    async fn status(&self, _: Request<StatusRequest>) -> Result<Response<StatusResponse>, Status> {
        let api = &self.api;
        let status = status::ask(api).await?;
        let namespaces = status.groups.iter().map(|group| NamespaceStatus {
            namespace: group.namespace.to_string(),
            leader: group.leader.map(|node| node.0),
            term: group.term,
            applied_index: group.applied,
            sequence: group.sequence.0,
        });
        let members =
            api.members.iter().map(|(node, api)| Member { node: node.0, api: api.clone() });
        Ok(Response::new(StatusResponse {
            cluster: status.identity.cluster.to_string(),
            node: api.node.0,
            members: members.collect(),
            namespaces: namespaces.collect(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
        }))
    }
}
