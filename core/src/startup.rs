//! Whether a log, an identity and a configuration belong together: the last look before a start.

use std::collections::BTreeSet;

use crate::config::ClusterConfig;
use crate::types::{GroupId, Identity, NodeId};
use crate::wal::recover::Recovered;

/// Checks everything that has gone wrong by hand before: a wrong folder, an edited configuration.
///
/// # Errors
/// One line that says what is wrong and what to do.
pub fn check(
    config: &ClusterConfig,
    identity: &Identity,
    recovered: &Recovered,
) -> Result<(), String> {
    if identity.cluster != config.cluster || !config.nodes.contains(&identity.node) {
        return Err(format!(
            "node {} of cluster `{}` is not in this configuration of cluster `{}`; correct the \
             configuration or the data folder",
            identity.node, identity.cluster, config.cluster
        ));
    }
    check_groups(config, recovered)
}

fn check_groups(config: &ClusterConfig, recovered: &Recovered) -> Result<(), String> {
    let known: Vec<GroupId> = config.groups().map(|(group, _)| group).collect();
    if let Some(group) = recovered.groups.keys().find(|group| !known.contains(group)) {
        return Err(format!(
            "the log holds namespace number {group}, the configuration lists only {}; put the \
             missing namespaces back, in their old order",
            known.len()
        ));
    }
    for (group, namespace) in config.groups() {
        let Some(image) = recovered.groups.get(&group) else { continue };
        if let Some(found) = image.namespace.as_ref().filter(|found| *found != namespace) {
            return Err(format!(
                "the log holds namespace `{found}` where the configuration lists `{namespace}`; \
                 put the namespaces back into their old order"
            ));
        }
        // Members join and leave by the group's own decision. Whoever is listed and has no vote yet is
        // taken in by the leader (a restored cluster begins with one voter). Whoever has one must
        // be listed: nobody would listen to it, and the others might be no majority.
        let members = image.members().into_iter().flat_map(|members| &members.configs);
        let voters: BTreeSet<NodeId> = members.flatten().map(|voter| voter.node).collect();
        if !voters.iter().all(|voter| config.nodes.contains(voter)) {
            return Err(format!(
                "the voters of namespace `{namespace}` are nodes {voters:?}, the configuration \
                 lists only {:?}; members cannot be removed by editing it: put the old list back",
                config.nodes
            ));
        }
    }
    Ok(())
}
