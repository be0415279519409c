//! A log or a checkpoint whose synced bytes differ from what was written is refused at the start: of
//! the log, what a later frame attests. It is never replayed, and never cut there as if it were a torn
//! tail (docs/SEMANTICS.md, faults survived). Judged at every start.

use understudy_core::NodeId;

use super::Violation;
use crate::files::Damaged;

/// `node` was started; `started` says whether it did. `damaged` is the first file that it must read
/// and that is not what was synced there.
///
/// # Errors
/// It started all the same.
pub fn check(node: NodeId, started: bool, damaged: Option<&Damaged>) -> Result<(), Violation> {
    let Some(Damaged { file, at, .. }) = damaged.filter(|_| started) else { return Ok(()) };
    let why = format!("byte {at} of {file} of N{node} is not what was synced there, and it starts");
    Err(Violation::safety("damage_is_noticed", why))
}

#[cfg(test)]
mod tests {
    use super::*;
    use understudy_core::FileName;

    #[test]
    fn damage_replayed_or_cut_is_found() {
        let file = FileName::Segment(3);
        let damaged = Damaged { file, at: 60, wal_at: Some(60), forsaken: false };
        let violation = check(NodeId(1), true, Some(&damaged)).unwrap_err();
        assert_eq!(violation.property, "damage_is_noticed");
        check(NodeId(1), false, Some(&damaged)).expect("it refused");
        check(NodeId(1), true, None).expect("nothing is damaged");
    }
}
