//! Every answer to one operation name tells the same outcome (docs/SEMANTICS.md).
//!
//! Clients repeat operations: on doubt, at another node at the same time, and long after the answer.

use std::collections::BTreeMap;

use understudy_core::{OpId, Outcome};

use super::Violation;

/// The first answer to each name.
#[derive(Default)]
pub struct OneOutcomePerOp {
    heard: BTreeMap<OpId, Outcome>,
}

impl OneOutcomePerOp {
    /// A client heard `outcome` for `op`.
    ///
    /// # Errors
    /// Another outcome was heard before.
    pub fn heard(&mut self, op: &OpId, outcome: &Outcome) -> Result<(), Violation> {
        match self.heard.get(op) {
            None => {
                self.heard.insert(op.clone(), outcome.clone());
                Ok(())
            }
            Some(first) if first == outcome => Ok(()),
            Some(first) => {
                let explanation = format!("{op} was answered {first:?}, then {outcome:?}");
                Err(Violation::safety("one_outcome_per_op", explanation))
            }
        }
    }
}
