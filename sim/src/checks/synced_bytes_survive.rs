//! A crash keeps every byte whose sync completed, and the node starts with all of them
//! (docs/ARCHITECTURE.md, the driver's contract: `WalWrite`). Judged at every start.

use std::fmt::Display;

use understudy_core::{FileName, NodeId};

use super::Violation;

const NAME: &str = "synced_bytes_survive";

/// `node` started with `kept` of the `found` bytes of its log, of which `synced` had been synced.
///
/// # Errors
/// It threw synced bytes away, or has more than there were.
pub fn check(node: NodeId, kept: u64, found: u64, synced: u64) -> Result<(), Violation> {
    if (synced..=found).contains(&kept) {
        return Ok(());
    }
    let why = format!(
        "N{node} starts with {kept} bytes of log; the disk has {found}, and {synced} were synced"
    );
    Err(Violation::safety(NAME, why))
}

/// `node` starts. `missing` was promised and is not there; `given_up` is the newest checkpoint of a
/// group that has nothing else, and the node removes it.
///
/// # Errors
/// There is one or the other.
pub fn check_files(
    node: NodeId,
    missing: Option<FileName>,
    given_up: Option<FileName>,
) -> Result<(), Violation> {
    let why = match (missing, given_up) {
        (None, None) => return Ok(()),
        (Some(file), _) => format!("{file} of N{node} was durable, and it is gone"),
        (None, Some(file)) => format!("N{node} removes {file}, its newest checkpoint"),
    };
    Err(Violation::safety(NAME, why))
}

/// `node` did not start, with `error`, after a crash that damaged nothing, or with something that is
/// not what was written there.
///
/// # Errors
/// There was no damage to refuse.
pub fn check_refusal(node: NodeId, error: &dyn Display, is_damaged: bool) -> Result<(), Violation> {
    if is_damaged {
        return Ok(());
    }
    let why = format!("N{node} does not start after a crash, and nothing is damaged: {error}");
    Err(Violation::safety(NAME, why))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_synced_byte_thrown_away_is_found() {
        let node = NodeId(1);
        assert_eq!(check(node, 399, 500, 400).unwrap_err().property, NAME);
        assert_eq!(check(node, 501, 500, 400).unwrap_err().property, NAME);
        check(node, 400, 500, 400).expect("a torn tail may go");
        check(node, 500, 500, 400).expect("unsynced bytes may stay");
    }

    #[test]
    fn a_lost_file_is_found() {
        let (node, file) = (NodeId(1), FileName::Segment(1));
        for (missing, given_up) in [(Some(file), None), (None, Some(file))] {
            assert_eq!(check_files(node, missing, given_up).unwrap_err().property, NAME);
        }
        check_files(node, None, None).expect("all is there");
    }

    #[test]
    fn a_node_that_refuses_a_sound_log_is_found() {
        let refuses = |is_damaged| check_refusal(NodeId(1), &"a bad frame", is_damaged);
        assert_eq!(refuses(false).unwrap_err().property, NAME);
        refuses(true).expect("damage is to be refused");
    }
}
