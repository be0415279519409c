//! A log whose synced bytes differ from what was written is refused at the start if a later frame
//! attests them; it is never replayed, and never cut there as if it were a torn tail
//! (docs/SEMANTICS.md, faults survived). Judged at every start.

use understudy_core::NodeId;

use super::Violation;

/// `node` was started; `started` says whether it did. `damaged_at` is the first byte of its log that
/// is not what was synced there although a later frame attests it. It kept `kept` bytes.
///
/// # Errors
/// It started with damaged bytes, or cut them off.
pub fn check(
    node: NodeId,
    started: bool,
    damaged_at: Option<u64>,
    kept: u64,
) -> Result<(), Violation> {
    let Some(at) = damaged_at.filter(|_| started) else { return Ok(()) };
    let what = if kept > at { "with that byte in it" } else { "and has cut it off" };
    let why = format!(
        "byte {at} of N{node}'s log is not what was synced there, and a later frame says so, but the \
         node starts with {kept} bytes, {what}"
    );
    Err(Violation::safety("damage_is_noticed", why))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn damage_replayed_or_cut_is_found() {
        for kept in [100, 50] {
            let violation = check(NodeId(1), true, Some(60), kept).unwrap_err();
            assert_eq!(violation.property, "damage_is_noticed");
        }
        check(NodeId(1), false, Some(60), 0).expect("it refused");
        check(NodeId(1), true, None, 100).expect("nothing is damaged");
    }
}
