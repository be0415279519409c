//! No replica finds that it differs from its leader: they compare the hashes of their states every so
//! many entries, and the alarm that an operator would hear is never raised (S0-036, PEERS etcd 13766).
//! Judged when it happens.

use understudy_core::{GroupId, NodeId};

use super::Violation;

/// `node` says that at `index` its state is not `leader`'s.
///
/// # Errors
/// Always: whoever of the two is right, the other is wrong.
pub fn check(node: NodeId, leader: NodeId, group: GroupId, index: u64) -> Result<(), Violation> {
    let why = format!("N{node} finds that at {index} of group {group} it differs from N{leader}");
    Err(Violation::safety("replicas_never_diverge", why))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_alarm_is_found() {
        let verdict = check(NodeId(2), NodeId(1), GroupId(1), 64);
        assert_eq!(verdict.unwrap_err().property, "replicas_never_diverge");
    }
}
