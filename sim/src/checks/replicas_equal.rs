//! Replicas that have applied the same index hold the same rows (Raft §5.4.3, State Machine Safety).
//!
//! Hashes are compared at every index as it is applied (see `committed_is_final`); this is the
//! comparison at the end, row by row, so that a hash which forgets a field cannot hide a difference.

use understudy_core::{ActorId, GroupId, NodeId, Record};

use super::Violation;
use crate::words;

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
            Some((a, b)) => {
                let (a, b) = (row_words(a), row_words(b));
                format!("group {group}: N{first} has {a}, N{node} has {b}")
            }
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

fn row_words((actor, record): &(ActorId, Record)) -> String {
    format!("{actor}: {}", words::record(record))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checks::tests::row;

    #[test]
    fn a_row_that_differs_or_is_missing_is_found() {
        let rows = vec![row(0, (1, 1, 1)), row(1, (2, 1, 2))];
        let judge =
            |other: Dump| compare(GroupId(1), &[(NodeId(1), rows.clone()), (NodeId(2), other)]);
        judge(rows.clone()).unwrap();
        let mut others = vec![rows[..1].to_vec(), Vec::new()];
        for changed in [(2, 2, 2), (3, 1, 2), (2, 1, 1)] {
            others.push(vec![rows[0].clone(), row(1, changed)]);
        }
        for other in others {
            assert_eq!(judge(other).unwrap_err().property, "replicas_equal");
        }
    }
}
