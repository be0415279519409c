//! A node that hears of a failed write or sync ends; it never goes on as if it had worked
//! (docs/ARCHITECTURE.md, the driver's contract). Judged at every step.

use understudy_core::NodeId;

use super::Violation;

/// `node` took a step to its end. `heard_failure`: a failed sync of the log or of a folder was among
/// its inputs; `gave_up`: `Fatal` was among its effects.
///
/// # Errors
/// It goes on.
pub fn check(node: NodeId, heard_failure: bool, gave_up: bool) -> Result<(), Violation> {
    if !heard_failure || gave_up {
        return Ok(());
    }
    let why =
        format!("N{node} heard that a write to its log or a folder's sync had failed, and goes on");
    Err(Violation::safety("failed_sync_is_fatal", why))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn going_on_after_a_failed_sync_is_found() {
        let violation = check(NodeId(1), true, false).unwrap_err();
        assert_eq!(violation.property, "failed_sync_is_fatal");
        check(NodeId(1), true, true).expect("it ended");
        check(NodeId(1), false, false).expect("nothing failed");
    }
}
