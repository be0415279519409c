//! Nothing is ever acknowledged: a property that no store has. A run that is told to judge it must
//! fail, which proves that a violation surfaces (docs/SIM.md, who tests the tester).

use super::Violation;

/// A run in which `acked` changes were acknowledged has ended.
///
/// # Errors
/// The run was an ordinary one.
pub fn check(acked: u64) -> Result<(), Violation> {
    if acked == 0 {
        return Ok(());
    }
    let why = format!("{acked} changes were acknowledged, and this canary says that none ever is");
    Err(Violation::safety("canary", why))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_acknowledged_change_is_found() {
        assert_eq!(check(1).unwrap_err().property, "canary");
        check(0).expect("nothing was acknowledged");
    }
}
