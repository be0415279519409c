//! What the node says of itself.

use axum::body::Body;
use axum::http::HeaderValue;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::response::Response;
use serde::{Deserialize, Serialize};
use understudy_auth::{Access, Right};
use understudy_core::{GroupStatus, ReplicaId, Status, event::Role};
use understudy_tls::Report;

use crate::api::problem::{Problem, codes};
use crate::api::{Api, Desk};
use crate::security::Secured;

/// The status page.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct StatusPage {
    /// The cluster's name.
    pub cluster: String,
    /// The member.
    pub node: u64,
    /// Of its data folder, in hexadecimal.
    pub incarnation: String,
    /// Of this life, in hexadecimal.
    pub boot: String,
    /// The program's version.
    pub version: String,
    /// Turns stepped since the start.
    pub steps: u64,
    /// Where the log begins: what was before is purged. Offsets of the log, in bytes.
    pub wal_begin: u64,
    /// Where it ends: what is before is written or being written.
    pub wal_end: u64,
    /// What is before is known to be durable.
    pub wal_durable: u64,
    /// Every namespace has its first members, as far as this node knows.
    pub formed: bool,
    /// The nodes that a namespace without members waits for.
    pub unmet: Vec<u64>,
    /// Bytes free on the file system of the data folder.
    #[serde(default)]
    pub disk_free: Option<u64>,
    /// That is too little: writes but for deletes are refused until there is room.
    #[serde(default)]
    pub disk_low: bool,
    /// Client requests not yet answered.
    pub requests_live: usize,
    /// Every member and the address of its API.
    pub members: Vec<MemberPage>,
    /// Its groups.
    pub groups: Vec<GroupPage>,
    /// Certificates and tokens.
    #[serde(default)]
    pub security: SecurityPage,
}

/// Certificates and tokens in use; what is absent is off.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct SecurityPage {
    /// What clients see, and why the file as it is now is not in use.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<Report>,
    /// What members see.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peer_tls: Option<Report>,
    /// A token is needed.
    #[serde(default)]
    pub tokens: bool,
    /// Revoked tokens that are known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revoked: Option<usize>,
    /// Why the list as it is now is not in use.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revoked_problem: Option<String>,
}

impl SecurityPage {
    fn of(secured: &Secured) -> SecurityPage {
        let (revoked, revoked_problem) = secured.guard.revoked().unzip();
        SecurityPage {
            tls: secured.tls.as_ref().map(|tls| tls.report()),
            peer_tls: secured.peers.as_ref().map(|peers| peers.report()),
            tokens: secured.guard.is_closed(),
            revoked,
            revoked_problem: revoked_problem.flatten(),
        }
    }
}

/// One member.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct MemberPage {
    /// Its number.
    pub node: u64,
    /// `host:port`.
    pub api: String,
}

/// One group; the names are those of the metrics.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[allow(missing_docs, reason = "the same fields as `understudy_core::GroupStatus`")]
pub struct GroupPage {
    pub group: u32,
    pub namespace: String,
    pub role: String,
    pub term: u64,
    pub leader: Option<u64>,
    /// As `node#folder`, the end of the incarnation in hexadecimal.
    pub voters: Vec<String>,
    pub learners: Vec<String>,
    pub joining: bool,
    pub head: u64,
    pub commit: u64,
    pub applied: u64,
    pub sequence: u64,
    pub committed_time: u64,
    pub actors: usize,
    pub oplog_live: usize,
    pub oplog_replays: u64,
    #[serde(default)]
    pub checkpoint: u64,
    #[serde(default)]
    pub first: u64,
    #[serde(default)]
    pub diverged: Option<u64>,
    /// In hexadecimal: JSON numbers lose bits.
    pub state_hash: String,
}

/// `GET /v1/status`.
///
/// # Errors
/// A problem when the core thread does not answer.
pub async fn status(api: &Api) -> Result<Response, Problem> {
    api.allow(Right::Monitor, Access::Node)?;
    let status = ask(api).await?;
    Ok(json(&page(api, &status)))
}

/// `GET /healthz`: the process works.
///
/// # Errors
/// A problem when the core thread does not answer.
pub async fn healthz(api: &Desk) -> Result<Response, Problem> {
    ask(api).await?;
    Ok(json(&serde_json::json!({ "status": "ok" })))
}

/// `GET /readyz`: this node knows a leader in every namespace, and does not stop.
///
/// # Errors
/// A problem that says what it waits for.
pub async fn readyz(api: &Desk) -> Result<Response, Problem> {
    ready(api).await?;
    Ok(json(&serde_json::json!({ "status": "ready" })))
}

/// Whether this node should get requests.
///
/// # Errors
/// A problem that names the namespaces without a leader, or the nodes that a new one has not met.
pub async fn ready(api: &Desk) -> Result<(), Problem> {
    if *api.stop.borrow() {
        let detail = "the node stops: it ends what it has begun; ask another node";
        return Err(Problem::new(&codes::NOT_READY, detail));
    }
    let status = ask(api).await?;
    if !status.formed {
        let unmet: Vec<String> = status.unmet.iter().map(|node| format!("node {node}")).collect();
        let detail = format!(
            "a new cluster begins when all its nodes have met, and this one waits for {}; start them, \
             and see docs/OPERATE.md if one of them was initialised anew",
            unmet.join(", ")
        );
        return Err(Problem::new(&codes::NOT_READY, detail));
    }
    let named = |wanted: fn(&&GroupStatus) -> bool| {
        let groups = status.groups.iter().filter(wanted);
        groups.map(|group| group.namespace.as_str()).collect::<Vec<_>>().join(", ")
    };
    let joining = named(|group| group.joining);
    if !joining.is_empty() {
        let detail = format!(
            "joining: this node has a new data folder, and waits for the leaders of {joining} to take \
             it in; they do when a majority of the other nodes answers"
        );
        return Err(Problem::new(&codes::NOT_READY, detail));
    }
    let orphans = named(|group| group.leader.is_none());
    if orphans.is_empty() {
        return Ok(());
    }
    let detail = format!(
        "no leader is known for {orphans}; wait for the election, or look at the other nodes"
    );
    Err(Problem::new(&codes::NOT_READY, detail))
}

/// What the replica says of itself.
///
/// # Errors
/// A problem when the core thread does not answer.
pub async fn ask(api: &Desk) -> Result<Status, Problem> {
    api.status().await.ok_or_else(|| {
        let detail = "the core thread does not answer; if this lasts, look at the disk";
        Problem::new(&codes::STUCK, detail)
    })
}

fn page(api: &Desk, status: &Status) -> StatusPage {
    let groups = status.groups.iter().map(|group| GroupPage {
        group: group.group.0,
        namespace: group.namespace.to_string(),
        role: role(group.role).to_owned(),
        term: group.term,
        leader: group.leader.map(|node| node.0),
        voters: group.voters.iter().map(ReplicaId::to_string).collect(),
        learners: group.learners.iter().map(ReplicaId::to_string).collect(),
        joining: group.joining,
        head: group.head,
        commit: group.commit,
        applied: group.applied,
        sequence: group.sequence.0,
        committed_time: group.committed_time.0,
        actors: group.actors,
        oplog_live: group.oplog_live,
        oplog_replays: group.oplog_replays,
        checkpoint: group.checkpoint,
        first: group.first,
        diverged: group.diverged,
        state_hash: format!("{:016x}", group.state_hash),
    });
    let members =
        api.members.iter().map(|(node, api)| MemberPage { node: node.0, api: api.clone() });
    StatusPage {
        cluster: status.identity.cluster.to_string(),
        node: api.node.0,
        incarnation: format!("{:016x}", status.identity.incarnation.0),
        boot: format!("{:016x}", status.boot.0),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        steps: api.steps(),
        wal_begin: status.wal_begin,
        wal_end: status.wal_end,
        wal_durable: status.wal_durable,
        formed: status.formed,
        unmet: status.unmet.iter().map(|node| node.0).collect(),
        disk_free: status.disk_free,
        disk_low: status.disk_low,
        requests_live: status.requests_live,
        members: members.collect(),
        groups: groups.collect(),
        security: SecurityPage::of(&api.secured),
    }
}

fn role(role: Role) -> &'static str {
    match role {
        Role::Learner => "learner",
        Role::Follower => "follower",
        Role::Candidate => "candidate",
        Role::Leader => "leader",
    }
}

/// An answer that is JSON and of this moment.
pub fn json(page: &impl Serialize) -> Response {
    let mut bytes = serde_json::to_vec(page).expect("status_total: a status always prints");
    bytes.push(b'\n');
    let mut response = Response::new(Body::from(bytes));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
