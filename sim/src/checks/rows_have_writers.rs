//! Every row in the end was written there by an operation that was not refused (docs/SEMANTICS.md,
//! failures): what `refused_never_happens` asks of what clients saw, of what is stored.

use super::refused_never_happens::{Guilty, Writers};
use super::replicas_equal::Dump;
use super::{About, Violation};
use crate::history::Entry;

/// Judges the final rows of each namespace.
///
/// # Errors
/// A row whose writer was refused, or wrote to another actor, or does not exist.
pub fn check(entries: &[Entry], dumps: &[&Dump]) -> Result<(), Violation> {
    let writers = Writers::of(entries);
    for (namespace, dump) in dumps.iter().enumerate() {
        for (actor, record) in *dump {
            writers.judge(namespace, actor, record).map_err(|Guilty { why, writer }| {
                let why = format!("a row of {actor} in the end: {why}");
                Violation::safety("rows_have_writers", why).about(About::of(writer))
            })?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checks::tests::{create, exists, row, written};
    use crate::history::Fate;

    #[test]
    fn a_refused_write_that_is_stored_is_found() {
        let judge = |fate, writer| {
            let dump = vec![row(0, (1, 1, writer))];
            check(&[create(1, 0, (1, 2), fate)], &[&dump])
        };
        for (fate, writer) in [(exists(1, 1), 1), (Fate::DidNotHappen, 1), (written(1, 1, 1), 2)] {
            let violation = judge(fate, writer).expect_err("it must be rejected");
            assert_eq!(violation.property, "rows_have_writers");
        }
        judge(written(1, 1, 1), 1).unwrap();
        judge(Fate::Unknown, 1).unwrap();
    }
}
