//! Replicas that have applied the same index hold the same rows (Raft §5.4.3, State Machine Safety).
//!
//! Hashes are compared at every index as it is applied (see `committed_is_final`); this is the
//! comparison at the end, row by row, so that a hash which forgets a field cannot hide a difference.

use understudy_core::{ActorId, GroupId, NodeId, Record};

use super::Violation;

/// The rows of one group on one node.
pub type Dump = Vec<(ActorId, Record)>;

/// Compares the rows of `group` on all nodes, which have all applied the same.
///
/// # Errors
/// The first row that differs.
pub fn compare(group: GroupId, dumps: &[(NodeId, Dump)]) -> Result<(), Violation> {
    let Some(((first, expected), others)) = dumps.split_first() else { return Ok(()) };
    for (node, rows) in others {
        if rows == expected {
            continue;
        }
        let differ = expected.iter().zip(rows).find(|(a, b)| a != b);
        let explanation = match differ {
            Some((a, b)) => format!("group {group}: N{first} has {a:?}, N{node} has {b:?}"),
            None => format!(
                "group {group}: N{first} has {} actors, N{node} has {}",
                expected.len(),
                rows.len()
            ),
        };
        return Err(Violation::safety("replicas_equal", explanation));
    }
    Ok(())
}
