//! The way to the replica, with the caller in front of it: nothing else in the API reaches the core, so
//! nothing can forget to ask whether a request is allowed.

use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use axum::http::Extensions;
use tokio::sync::watch::Receiver;
use understudy_auth::{Access, Denied, Right, Why};
use understudy_core::store::StoreView;
use understudy_core::{
    Answer, ClusterId, Failure, GroupId, Namespace, NodeId, Options, Request, Status,
};
use understudy_driver::hub::{ChangesStatus, Subscriber};

use crate::api::problem::Problem;
use crate::api::{backup, ops, watch};
use crate::driver::Core;
use crate::guard::Caller;
use crate::security::Secured;

/// What every request may use, whoever asks.
#[derive(Debug)]
pub struct Shared {
    /// Which member this is.
    pub node: NodeId,
    /// The cluster's name.
    pub cluster: ClusterId,
    /// Where the members' APIs are.
    pub members: Vec<(NodeId, String)>,
    /// What backups are made from.
    pub backups: backup::Source,
    /// Makes ids.
    pub ids: ops::Ids,
    /// True when the node stops.
    pub stop: Receiver<bool>,
    /// Certificates and tokens.
    pub secured: Secured,
}

/// The API of this node, before anybody asks.
#[derive(Debug)]
pub struct Desk {
    core: Core,
    shared: Shared,
}

/// The API as one caller has it.
#[derive(Clone, Debug)]
pub struct Api {
    desk: Arc<Desk>,
    caller: Caller,
}

impl Desk {
    /// Over the core.
    pub fn new(core: Core, shared: Shared) -> Desk {
        Desk { core, shared }
    }

    /// What the replica says of itself; who may hear it is for others to ask.
    pub async fn status(&self) -> Option<Status> {
        self.core.status().await
    }

    /// What there is to say of a namespace's change stream.
    pub fn changes(&self, namespace: &Namespace) -> ChangesStatus {
        self.core.changes(namespace).unwrap_or_default()
    }

    /// Turns stepped since the start.
    pub fn steps(&self) -> u64 {
        self.core.steps()
    }
}

impl Api {
    /// For the caller that the front has let in.
    ///
    /// # Errors
    /// It has let nobody in: nothing is allowed then.
    pub fn new(desk: &Arc<Desk>, extensions: &Extensions) -> Result<Api, Problem> {
        let caller = extensions.get::<Caller>().cloned().ok_or_else(|| {
            Denied::new(
                Why::Unauthenticated,
                "a token is needed; send `Authorization: Bearer TOKEN`",
            )
        })?;
        Ok(Api { desk: desk.clone(), caller })
    }

    /// Whether the caller may do what needs `right` to `access`.
    ///
    /// # Errors
    /// A problem that says what is missing.
    pub fn allow(&self, right: Right, access: Access<'_>) -> Result<(), Problem> {
        Ok(self.caller.allow(right, access)?)
    }

    /// Whether the caller has to do with a namespace.
    pub fn sees(&self, namespace: &str) -> bool {
        self.caller.sees(namespace)
    }

    /// Asks the core, if the caller may: every actor and every prefix that is touched is looked at.
    ///
    /// # Errors
    /// A problem.
    pub async fn ask(&self, request: Request, wait: Duration) -> Result<Answer, Problem> {
        self.caller.enter(request.namespace().as_str())?;
        touched(&request).into_iter().try_for_each(|(right, access)| self.allow(right, access))?;
        Ok(self.desk.core.ask(request, wait).await?)
    }

    /// Asks the core for one who may have everything.
    ///
    /// # Errors
    /// As the core, or with [`Failure::Unavailable`] when the caller may not.
    pub async fn ask_for_all(&self, request: Request, wait: Duration) -> Result<Answer, Failure> {
        self.allow(Right::Admin, Access::Node).map_err(|_| Failure::Unavailable)?;
        self.desk.core.ask(request, wait).await
    }

    /// Whether the caller has anything to do with a namespace.
    ///
    /// # Errors
    /// A problem that says that it has not.
    pub fn enter(&self, namespace: &str) -> Result<(), Problem> {
        Ok(self.caller.enter(namespace)?)
    }

    /// A subscription to changes, of one who may have it: see [`watch::Watcher::new`].
    ///
    /// # Errors
    /// A problem.
    pub fn subscribe(
        &self,
        namespace: &Namespace,
        options: Options,
    ) -> Result<Subscriber, Problem> {
        self.desk.core.subscribe(namespace, options).map_err(watch::refused)
    }

    /// All rows of a group, for one who may have everything.
    pub async fn view(&self, group: GroupId) -> Option<StoreView> {
        self.allow(Right::Admin, Access::Node).ok()?;
        self.desk.core.view(group).await
    }
}

/// What a request touches. A new kind of request does not compile before it is listed here.
fn touched(request: &Request) -> Vec<(Right, Access<'_>)> {
    let id = |namespace, id| Access::Id { namespace, id };
    let namespace = request.namespace().as_str();
    match request {
        Request::Write { work, .. } => {
            let writes = work.writes().iter();
            writes.map(|write| (Right::Write, id(namespace, write.id.as_str()))).collect()
        }
        Request::Read { id: actor, .. } => vec![(Right::Read, id(namespace, actor.as_str()))],
        Request::Scan { prefix, .. } => vec![(Right::Read, Access::Under { namespace, prefix })],
        Request::Changes { .. } => {
            vec![(Right::Subscribe, Access::Under { namespace, prefix: "" })]
        }
        // It is a name for writes to come, and each of those is looked at.
        Request::Session { .. } => Vec::new(),
    }
}

impl Deref for Desk {
    type Target = Shared;
    fn deref(&self) -> &Shared {
        &self.shared
    }
}

impl Deref for Api {
    type Target = Desk;
    fn deref(&self) -> &Desk {
        &self.desk
    }
}
