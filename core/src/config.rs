//! What must be equal on every node of a cluster.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64;

use crate::limits;
use crate::types::{ClusterId, GroupId, Namespace, NodeId};

/// The cluster as every node must see it. Compared at each peer handshake by its fingerprint.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClusterConfig {
    /// The cluster's name.
    pub cluster: ClusterId,
    /// The members, ascending. A group that has fewer voters takes the others in.
    pub nodes: Vec<NodeId>,
    /// Each is one Raft group for now; the group's number is its place here, from 1.
    pub namespaces: Vec<Namespace>,
    /// Where each namespace keeps its rows; one that is not listed, in memory.
    pub storage: BTreeMap<Namespace, Storage>,
    /// The clocks of consensus.
    pub timing: Timing,
    /// How much of the log there is.
    pub log: LogSizes,
    /// How much of the change stream stays.
    pub retention: Retention,
}

/// When the log is cut, and how much of it stays.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogSizes {
    /// Bytes of one segment file. A log keeps the size it was made with.
    pub segment_bytes: u64,
    /// A group makes a checkpoint when its log has grown by so many bytes since the last one, or by
    /// as much as the last one has bytes if that is more.
    pub checkpoint_bytes: u64,
    /// Or when it has grown by so many entries.
    pub checkpoint_entries: u64,
    /// Entries that stay behind a checkpoint, for followers that are a little late.
    pub keep_entries: u64,
    /// Bytes of those, at most.
    pub keep_bytes: u64,
}

impl LogSizes {
    /// 64 MiB segments and checkpoints.
    pub fn production() -> LogSizes {
        LogSizes {
            segment_bytes: 64 * 1024 * 1024,
            checkpoint_bytes: 64 * 1024 * 1024,
            checkpoint_entries: 1_000_000,
            keep_entries: 10_000,
            keep_bytes: 16 * 1024 * 1024,
        }
    }

    /// Bytes of a snapshot that are written or sent at once: fewer where the whole log is small.
    pub fn chunk_bytes(&self) -> usize {
        let quarter = usize::try_from(self.segment_bytes / 4).unwrap_or(usize::MAX);
        quarter.min(limits::SNAPSHOT_CHUNK_BYTES)
    }

    /// So small that a short run meets every edge: for tests and the simulator.
    pub fn tiny() -> LogSizes {
        LogSizes {
            segment_bytes: 64 * 1024,
            checkpoint_bytes: 16 * 1024,
            checkpoint_entries: 40,
            keep_entries: 8,
            keep_bytes: 4 * 1024,
        }
    }
}

/// Which changes stay for subscribers that are late, in each namespace (S0-093). The leader's setting
/// counts; what is forgotten stands in the log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Retention {
    /// Bytes of changes, where rows are in memory: they are too.
    pub memory_bytes: u64,
    /// Bytes of changes, where rows are in a backend, about.
    pub backend_bytes: u64,
    /// How long a change stays, in committed time.
    pub age: Duration,
}

impl Retention {
    /// 32 MiB in memory, 1 GiB in a backend, seven days.
    pub fn production() -> Retention {
        Retention {
            memory_bytes: 32 * 1024 * 1024,
            backend_bytes: 1024 * 1024 * 1024,
            age: Duration::from_secs(7 * 24 * 60 * 60),
        }
    }

    /// So few that a short run meets every edge: for tests and the simulator.
    pub fn tiny() -> Retention {
        let (memory_bytes, backend_bytes) = (16 * 1024, 16 * 1024);
        Retention { memory_bytes, backend_bytes, age: Duration::from_secs(5) }
    }

    /// Bytes of changes for a namespace that is kept there.
    pub fn bytes(&self, storage: Storage) -> u64 {
        match storage {
            Storage::Memory => self.memory_bytes,
            Storage::Backend => self.backend_bytes,
        }
    }
}

/// Where a namespace keeps its rows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Storage {
    /// In the core's own table, whole; on disk as checkpoints and the log behind them.
    #[default]
    Memory,
    /// In the node's [`crate::backend::Backend`]: many times larger than memory.
    Backend,
}

/// The clocks of consensus.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Timing {
    /// How often a leader shows that it lives.
    pub heartbeat: Duration,
    /// Shortest election timeout; redrawn for every campaign.
    pub election_min: Duration,
    /// Longest election timeout, and the time a voter keeps to a leader it has heard of.
    pub election_max: Duration,
    /// How long a leader has not heard from a member's data folder before it lets another one
    /// replace it (ADR 9).
    pub join_silence: Duration,
}

impl Timing {
    /// S0-095: 150 to 300 ms elections, 50 ms heartbeats.
    pub fn production() -> Timing {
        Timing {
            heartbeat: Duration::from_millis(50),
            election_min: Duration::from_millis(150),
            election_max: Duration::from_millis(300),
            join_silence: Duration::from_secs(2),
        }
    }

    /// How long, on its own clock, a replica keeps to a leader that it has answered.
    pub fn promise(&self) -> Duration {
        self.election_max
    }

    /// How long, on its own clock, a leader may rely on that: shorter, because its clock may be as
    /// slow as [`limits::CLOCK_DRIFT_PERCENT`] allows, and the other as fast.
    pub fn lease(&self) -> Duration {
        if planted!(LeaseIgnoresDrift) {
            return self.promise();
        }
        let drift = limits::CLOCK_DRIFT_PERCENT;
        self.promise() * (100 - drift) / (100 + drift)
    }
}

impl ClusterConfig {
    /// Checks what the fields say of each other.
    ///
    /// # Errors
    /// A sentence that names the field and what to do.
    pub fn validate(&self) -> Result<(), String> {
        let Timing { heartbeat, election_min, election_max, join_silence } = self.timing;
        if self.cluster.0.is_empty() {
            return Err("`cluster` is empty; give the cluster a name".to_owned());
        }
        if self.nodes.is_empty() || self.nodes.len() > limits::NODES_MAX {
            return Err(format!("list 1 to {} nodes", limits::NODES_MAX));
        }
        if !self.nodes.is_sorted_by(|a, b| a < b) {
            return Err("the same node id is listed twice, or ids are not ascending".to_owned());
        }
        if self.namespaces.is_empty() || self.namespaces.len() > limits::NAMESPACES_MAX {
            return Err(format!("list 1 to {} namespaces", limits::NAMESPACES_MAX));
        }
        let mut names: Vec<_> = self.namespaces.iter().collect();
        names.sort();
        if let Some(twice) = names.windows(2).find(|pair| pair[0] == pair[1]) {
            return Err(format!("namespace `{}` is listed twice", twice[0]));
        }
        if let Some(stray) = self.storage.keys().find(|name| !self.namespaces.contains(name)) {
            return Err(format!("`storage` names `{stray}`, which is no namespace; list it first"));
        }
        if self.log.segment_bytes < limits::SEGMENT_BYTES_MIN {
            let least = limits::SEGMENT_BYTES_MIN;
            return Err(format!("`segment_bytes` must be at least {least}"));
        }
        // One lost heartbeat, and one that is late, must not start an election.
        if heartbeat.is_zero() || heartbeat * 3 > election_min {
            return Err("`election_min` must be at least three heartbeats".to_owned());
        }
        if election_min >= election_max {
            return Err("`election_max` must be above `election_min`".to_owned());
        }
        // A member whose leader has just changed is not lost.
        if join_silence < election_max * 2 {
            return Err("`join_silence` must be at least twice `election_max`".to_owned());
        }
        Ok(())
    }

    /// The group that holds `namespace`.
    pub fn group(&self, namespace: &Namespace) -> Option<GroupId> {
        let place = self.namespaces.iter().position(|listed| listed == namespace)?;
        u32::try_from(place + 1).ok().map(GroupId)
    }

    /// Where `namespace` keeps its rows.
    pub fn storage(&self, namespace: &Namespace) -> Storage {
        self.storage.get(namespace).copied().unwrap_or_default()
    }

    /// Every group with its namespace.
    pub fn groups(&self) -> impl Iterator<Item = (GroupId, &Namespace)> {
        (1..).map(GroupId).zip(&self.namespaces)
    }

    /// Equal exactly when the configurations are: nodes that differ must not talk.
    pub fn fingerprint(&self) -> u64 {
        xxh3_64(&crate::codec::encode(self))
    }
}
