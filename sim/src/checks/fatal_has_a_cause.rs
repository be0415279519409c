//! A node gives up only when its disk has failed (docs/ARCHITECTURE.md, the driver's contract). No
//! message, no order of events and no clock makes a node end itself. Judged at every step.

use understudy_core::NodeId;

use super::Violation;

/// `node` took a step. `gave_up`: `Fatal` was among its effects; `disk_failed`: a write or sync has
/// failed in this life of the node.
///
/// # Errors
/// It gave up for nothing.
pub fn check(node: NodeId, gave_up: bool, disk_failed: bool) -> Result<(), Violation> {
    if !gave_up || disk_failed {
        return Ok(());
    }
    let why = format!("N{node} gave up, and its disk never failed");
    Err(Violation::safety("fatal_has_a_cause", why))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn giving_up_for_nothing_is_found() {
        let violation = check(NodeId(1), true, false).unwrap_err();
        assert_eq!(violation.property, "fatal_has_a_cause");
        check(NodeId(1), true, true).expect("the disk had failed");
        check(NodeId(1), false, false).expect("it did not give up");
    }
}
