//! `understudy.v1.Cluster`.

use std::sync::Arc;

use tonic::{Request, Response, Status};
use understudy_driver::hub;
use understudy_proto::v1::{
    ChangesStatus, Member, NamespaceStatus, StatusRequest, StatusResponse, cluster_server,
};

use crate::api::{Api, Desk, status};

fn changes(status: hub::ChangesStatus) -> ChangesStatus {
    let hub::ChangesStatus { changes, recent, subscriptions, delivered, .. } = status;
    let hub::ChangesStatus { history_reads, lagged, compacted, .. } = status;
    ChangesStatus { changes, recent, subscriptions, delivered, history_reads, lagged, compacted }
}

/// The service.
#[derive(Debug)]
pub struct Cluster {
    desk: Arc<Desk>,
}

impl Cluster {
    /// Over this API.
    pub fn new(desk: Arc<Desk>) -> Cluster {
        Cluster { desk }
    }
}

#[tonic::async_trait]
impl cluster_server::Cluster for Cluster {
    async fn status(
        &self,
        request: Request<StatusRequest>,
    ) -> Result<Response<StatusResponse>, Status> {
        // Whoever may do anything needs to find the leaders, and may not know of other namespaces.
        let api = &Api::new(&self.desk, request.extensions())?;
        let status = status::ask(api).await?;
        let seen = status.groups.iter().filter(|group| api.sees(group.namespace.as_str()));
        let namespaces = seen.map(|group| NamespaceStatus {
            namespace: group.namespace.to_string(),
            leader: group.leader.map(|node| node.0),
            term: group.term,
            applied_index: group.applied,
            sequence: group.sequence.0,
            changes: Some(changes(api.changes(&group.namespace))),
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
