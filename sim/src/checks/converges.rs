//! When the faults have stopped, a cluster with a quorum of intact nodes elects, answers every client,
//! takes a write in every namespace and brings all replicas to the same index, in bounded virtual
//! time (docs/SIM.md). The one liveness property; the liveness phase of `simulation.rs` asks it.

use super::Violation;

/// `waited_ns` after the faults stopped, `pending` is what has not happened yet.
///
/// # Errors
/// Something is pending, and the bound has passed.
pub fn check(pending: Option<&str>, waited_ns: u64, bound_ns: u64) -> Result<(), Violation> {
    match pending {
        Some(pending) if waited_ns > bound_ns => {
            let seconds = waited_ns / 1_000_000_000;
            let why = format!("{seconds} s after the faults stopped: {pending}");
            Err(Violation::liveness("converges", why))
        }
        Some(_) | None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checks::Class;

    #[test]
    fn a_cluster_that_does_not_heal_is_found() {
        let violation = check(Some("client 3 has no answer"), 16, 15).unwrap_err();
        assert_eq!((violation.class, &violation.property[..]), (Class::Liveness, "converges"));
        check(Some("client 3 has no answer"), 15, 15).expect("there is time left");
        check(None, 16, 15).expect("nothing is pending");
    }
}
