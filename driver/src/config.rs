//! The configuration file: what this process is (`NodeConfig`) and what every node of the cluster
//! must agree on (`ClusterConfig`). Read once, checked, then immutable.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use serde::{Deserialize, Serialize};
use understudy_core::{
    ClusterConfig, ClusterId, LogSizes, Namespace, NodeId, Retention, Storage, Timing,
};

use crate::limits;

mod security;

pub use security::{AuthSection, PeerTlsSection, Security, TlsSection};

/// One process of the cluster and where it finds the others.
#[derive(Clone, Debug)]
pub struct NodeConfig {
    /// The file it was read from, for messages.
    pub path: PathBuf,
    /// The data folder.
    pub data_dir: PathBuf,
    /// Which member this is.
    pub node: NodeId,
    /// Where peers connect.
    pub listen_peer: String,
    /// Where clients connect.
    pub listen_api: String,
    /// Every member's addresses.
    pub members: BTreeMap<NodeId, Member>,
    /// Certificates and keys.
    pub security: Security,
    /// What is equal on every node.
    pub cluster: ClusterConfig,
}

/// Where a member is found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// By its peers.
    pub peer: String,
    /// By clients.
    pub api: String,
}

/// The file as written.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ConfigFile {
    /// A relative path starts at the file's own folder.
    pub data_dir: PathBuf,
    /// Which member this is.
    pub node: u64,
    /// `address:port`; by default the member's `peer`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub listen_peer: Option<String>,
    /// `address:port`; by default the member's `api`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub listen_api: Option<String>,
    /// TLS for clients.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<TlsSection>,
    /// TLS among members.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peer_tls: Option<PeerTlsSection>,
    /// Tokens.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub auth: Option<AuthSection>,
    /// Equal on every node.
    pub cluster: ClusterSection,
}

/// The `[cluster]` section: equal on every node.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClusterSection {
    /// Two clusters that meet by accident refuse each other by it.
    pub name: String,
    /// Each is one Raft group; their order matters.
    pub namespaces: Vec<String>,
    /// Where a namespace keeps its rows: `memory`, which is the default, or `rocksdb`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub storage: BTreeMap<String, StorageWord>,
    /// The clocks of consensus.
    #[serde(default)]
    pub timing: TimingSection,
    /// How much of the log there is.
    #[serde(default)]
    pub log: LogSection,
    /// How much of the change stream stays.
    #[serde(default)]
    pub changes: ChangesSection,
    /// The members.
    pub nodes: Vec<NodeSection>,
}

/// The `[cluster.log]` section; what is left out is as in production.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LogSection {
    /// Bytes of a segment file of a log that is made from now on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub segment_bytes: Option<u64>,
    /// Bytes of log after which a namespace is checkpointed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checkpoint_bytes: Option<u64>,
    /// Entries of log after which a namespace is checkpointed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checkpoint_entries: Option<u64>,
    /// Entries that stay behind a checkpoint.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keep_entries: Option<u64>,
    /// Bytes of those, at most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keep_bytes: Option<u64>,
}

/// The `[cluster.changes]` section: which changes stay for subscribers that are late. What is left out
/// is as in production.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChangesSection {
    /// Bytes of them, for a namespace in memory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_bytes: Option<u64>,
    /// Bytes of them, for a namespace in RocksDB.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rocksdb_bytes: Option<u64>,
    /// How long a change stays at most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub age: Option<Span>,
}

/// Where a namespace keeps its rows, as written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StorageWord {
    /// In memory, with checkpoints on disk.
    Memory,
    /// In RocksDB.
    RocksDb,
}

/// The `[cluster.timing]` section; what is left out is as in production.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TimingSection {
    /// How often a leader shows that it lives.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub heartbeat: Option<Span>,
    /// Shortest election timeout.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub election_min: Option<Span>,
    /// Longest election timeout.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub election_max: Option<Span>,
    /// How long a lost data folder is waited for before a new one of the same member replaces it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub join_silence: Option<Span>,
}

/// One `[[cluster.nodes]]`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NodeSection {
    /// The member's number, 1 or more.
    pub id: u64,
    /// `host:port` for peers.
    pub peer: String,
    /// `host:port` for clients.
    pub api: String,
}

impl ConfigFile {
    /// Of a member that is found where the cluster's list says, with its data beside the file.
    pub fn alone(node: u64, cluster: ClusterSection) -> ConfigFile {
        ConfigFile {
            data_dir: "data".into(),
            node,
            listen_peer: None,
            listen_api: None,
            tls: None,
            peer_tls: None,
            auth: None,
            cluster,
        }
    }
}

impl ClusterSection {
    /// With everything else as in production.
    pub fn new(name: &str, namespaces: &[String], nodes: Vec<NodeSection>) -> ClusterSection {
        ClusterSection {
            name: name.to_owned(),
            namespaces: namespaces.to_vec(),
            storage: BTreeMap::new(),
            timing: TimingSection::default(),
            log: LogSection::default(),
            changes: ChangesSection::default(),
            nodes,
        }
    }
}

/// A duration as people write it: `250us`, `50ms`, `2s`, `1m`, `12h`, `7d`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Span(pub Duration);

impl NodeConfig {
    /// Reads and checks the file at `path`.
    ///
    /// # Errors
    /// One line that names the file, the field and what to do.
    pub fn read(path: &Path) -> anyhow::Result<NodeConfig> {
        let text = std::fs::read_to_string(path)
            .with_context(|| format!("cannot read the configuration `{}`", path.display()))?;
        NodeConfig::parse(path, &text)
            .with_context(|| format!("correct the configuration `{}`", path.display()))
    }

    /// Checks `text`, which stands in the file at `path`.
    ///
    /// # Errors
    /// One line that names the field and what to do.
    pub fn parse(path: &Path, text: &str) -> anyhow::Result<NodeConfig> {
        let file: ConfigFile = toml::from_str(text).map_err(|error| in_one_line(&error, text))?;
        let members = members(&file.cluster.nodes)?;
        let node = NodeId(file.node);
        let Some(own) = members.get(&node).cloned() else {
            bail!("`node` is {node}, which is not among `[[cluster.nodes]]`; add it there");
        };
        let cluster = cluster(&file.cluster, members.keys().copied().collect())?;
        let folder = path.parent().unwrap_or(Path::new("."));
        let security = Security { tls: file.tls, peer_tls: file.peer_tls, auth: file.auth };
        Ok(NodeConfig {
            path: path.to_owned(),
            data_dir: folder.join(file.data_dir),
            node,
            listen_peer: file.listen_peer.unwrap_or(own.peer),
            listen_api: file.listen_api.unwrap_or(own.api),
            members,
            security: security.found_from(folder),
            cluster,
        })
    }

    /// Every effective value, as a file that would give the same configuration.
    pub fn to_toml(&self) -> String {
        let Timing { heartbeat, election_min, election_max, join_silence } = self.cluster.timing;
        let file = ConfigFile {
            data_dir: std::path::absolute(&self.data_dir).unwrap_or(self.data_dir.clone()),
            node: self.node.0,
            listen_peer: Some(self.listen_peer.clone()),
            listen_api: Some(self.listen_api.clone()),
            tls: self.security.tls.clone(),
            peer_tls: self.security.peer_tls.clone(),
            auth: self.security.auth.clone(),
            cluster: ClusterSection {
                name: self.cluster.cluster.0.clone(),
                namespaces: self.cluster.namespaces.iter().map(ToString::to_string).collect(),
                storage: storage_words(&self.cluster.storage),
                timing: TimingSection {
                    heartbeat: Some(Span(heartbeat)),
                    election_min: Some(Span(election_min)),
                    election_max: Some(Span(election_max)),
                    join_silence: Some(Span(join_silence)),
                },
                log: LogSection {
                    segment_bytes: Some(self.cluster.log.segment_bytes),
                    checkpoint_bytes: Some(self.cluster.log.checkpoint_bytes),
                    checkpoint_entries: Some(self.cluster.log.checkpoint_entries),
                    keep_entries: Some(self.cluster.log.keep_entries),
                    keep_bytes: Some(self.cluster.log.keep_bytes),
                },
                changes: ChangesSection {
                    memory_bytes: Some(self.cluster.retention.memory_bytes),
                    rocksdb_bytes: Some(self.cluster.retention.backend_bytes),
                    age: Some(Span(self.cluster.retention.age)),
                },
                nodes: self
                    .members
                    .iter()
                    .map(|(id, member)| NodeSection {
                        id: id.0,
                        peer: member.peer.clone(),
                        api: member.api.clone(),
                    })
                    .collect(),
            },
        };
        toml::to_string(&file).expect("config_total: a configuration always prints")
    }
}

impl From<Storage> for StorageWord {
    fn from(storage: Storage) -> StorageWord {
        match storage {
            Storage::Memory => StorageWord::Memory,
            Storage::Backend => StorageWord::RocksDb,
        }
    }
}

impl StorageWord {
    fn storage(self) -> Storage {
        match self {
            StorageWord::Memory => Storage::Memory,
            StorageWord::RocksDb => Storage::Backend,
        }
    }
}

fn storage_words(storage: &BTreeMap<Namespace, Storage>) -> BTreeMap<String, StorageWord> {
    storage.iter().map(|(name, storage)| (name.to_string(), (*storage).into())).collect()
}

fn log_sizes(section: &LogSection) -> anyhow::Result<LogSizes> {
    let usual = LogSizes::production();
    let log = LogSizes {
        segment_bytes: section.segment_bytes.unwrap_or(usual.segment_bytes),
        checkpoint_bytes: section.checkpoint_bytes.unwrap_or(usual.checkpoint_bytes),
        checkpoint_entries: section.checkpoint_entries.unwrap_or(usual.checkpoint_entries),
        keep_entries: section.keep_entries.unwrap_or(usual.keep_entries),
        keep_bytes: section.keep_bytes.unwrap_or(usual.keep_bytes),
    };
    ensure!(
        log.segment_bytes >= limits::SEGMENT_BYTES_MIN,
        "`segment_bytes` is {}; the longest record must fit, so it must be at least {}",
        log.segment_bytes,
        limits::SEGMENT_BYTES_MIN
    );
    Ok(log)
}

fn retention(section: &ChangesSection) -> Retention {
    let usual = Retention::production();
    let ChangesSection { memory_bytes, rocksdb_bytes, age } = section;
    Retention {
        memory_bytes: memory_bytes.unwrap_or(usual.memory_bytes),
        backend_bytes: rocksdb_bytes.unwrap_or(usual.backend_bytes),
        age: age.map_or(usual.age, |Span(age)| age),
    }
}

fn members(nodes: &[NodeSection]) -> anyhow::Result<BTreeMap<NodeId, Member>> {
    let mut members = BTreeMap::new();
    for NodeSection { id, peer, api } in nodes {
        ensure!(*id >= 1, "a node's `id` is 1 or more");
        for address in [peer, api] {
            let port = address.rsplit_once(':').and_then(|(_, port)| port.parse::<u16>().ok());
            ensure!(port.is_some(), "`{address}` of node {id} is not `host:port`");
        }
        let member = Member { peer: peer.clone(), api: api.clone() };
        ensure!(members.insert(NodeId(*id), member).is_none(), "node {id} is listed twice");
    }
    Ok(members)
}

fn cluster(section: &ClusterSection, nodes: Vec<NodeId>) -> anyhow::Result<ClusterConfig> {
    let mut timing = Timing::production();
    let TimingSection { heartbeat, election_min, election_max, join_silence } = &section.timing;
    for (span, field) in [
        (heartbeat, &mut timing.heartbeat),
        (election_min, &mut timing.election_min),
        (election_max, &mut timing.election_max),
        (join_silence, &mut timing.join_silence),
    ] {
        if let Some(Span(duration)) = span {
            *field = *duration;
        }
    }
    let namespaces: Result<Vec<_>, _> = section.namespaces.iter().map(Namespace::new).collect();
    let storage: Result<_, String> = section
        .storage
        .iter()
        .map(|(name, word)| Ok((Namespace::new(name)?, word.storage())))
        .collect();
    let config = ClusterConfig {
        storage: storage.map_err(anyhow::Error::msg)?,
        cluster: ClusterId(section.name.clone()),
        nodes,
        namespaces: namespaces.map_err(anyhow::Error::msg)?,
        timing,
        log: log_sizes(&section.log)?,
        retention: retention(&section.changes),
    };
    config.validate().map_err(anyhow::Error::msg)?;
    Ok(config)
}

/// The parser draws the line with an arrow under it; an error here is one line.
fn in_one_line(error: &toml::de::Error, text: &str) -> anyhow::Error {
    let line = error.span().map(|span| 1 + text[..span.start].matches('\n').count());
    let message = error.message().replace('\n', " ");
    match line {
        Some(line) => anyhow::anyhow!("line {line}: {message}"),
        None => anyhow::anyhow!("{message}"),
    }
}

impl std::str::FromStr for Span {
    type Err = String;
    fn from_str(text: &str) -> Result<Span, String> {
        let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
        let (number, unit) = text.split_at(digits);
        let micros = match unit {
            "us" => 1,
            "ms" => 1_000,
            "s" => 1_000_000,
            "m" => 60_000_000,
            "h" => 3_600_000_000,
            "d" => 86_400_000_000,
            _ => 0,
        };
        let span = number.parse::<u64>().ok().and_then(|number| number.checked_mul(micros));
        match span {
            Some(span) if micros > 0 => Ok(Span(Duration::from_micros(span))),
            _ => Err(format!("`{text}` is not a duration such as `50ms`, `2s`, `1m` or `7d`")),
        }
    }
}

impl TryFrom<String> for Span {
    type Error = String;
    fn try_from(text: String) -> Result<Span, String> {
        text.parse()
    }
}

impl From<Span> for String {
    fn from(span: Span) -> String {
        span.to_string()
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let micros = self.0.as_micros();
        match micros {
            micros if !micros.is_multiple_of(1_000) => write!(f, "{micros}us"),
            micros if !micros.is_multiple_of(1_000_000) => write!(f, "{}ms", micros / 1_000),
            micros => write!(f, "{}s", micros / 1_000_000),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_prints_as_it_is_read() {
        for text in ["250us", "50ms", "1500ms", "2s", "120s"] {
            assert_eq!(text.parse::<Span>().unwrap().to_string(), text);
        }
        assert_eq!("2m".parse::<Span>().unwrap(), Span(Duration::from_secs(120)));
        assert_eq!("7d".parse::<Span>().unwrap(), "168h".parse().unwrap());
        for text in ["", "50", "ms", "-1s", "1.5s", "1w", "99999999999999999999s"] {
            assert!(text.parse::<Span>().is_err(), "{text:?}");
        }
    }
}
