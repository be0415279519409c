//! An actor is removed for its end when that has come in committed time, never before, and every
//! replica that applies it removes the same (docs/SEMANTICS.md, expiry).

use std::collections::BTreeMap;

use understudy_core::store::Expired;
use understudy_core::{GroupId, NodeId, Sequence};

use super::Violation;

/// What replicas have removed, each with the place in the order of all that happened at which it was
/// first seen.
#[derive(Default)]
pub struct ExpiredWhenDue {
    seen: BTreeMap<(GroupId, Sequence), (u64, Expired)>,
}

impl ExpiredWhenDue {
    /// `node` applied the removal of an actor whose end had come, at `tick`.
    ///
    /// # Errors
    /// It had not, or another replica removed something else there.
    pub fn expired(
        &mut self,
        node: NodeId,
        group: GroupId,
        tick: u64,
        expired: &Expired,
    ) -> Result<(), Violation> {
        let violation = |why| Err(Violation::safety("expired_when_due", why));
        let what = format!("group {group}: {} {}", expired.id, expired.record.token);
        let end = expired.record.expires();
        if end.is_none_or(|end| end > expired.time) {
            let (end, time) = (end.map(|end| end.0), expired.time.0);
            return violation(format!(
                "{what} ends at {end:?} and was removed at {time} by {node}"
            ));
        }
        let place = (group, expired.sequence);
        let (_, first) = self.seen.entry(place).or_insert_with(|| (tick, expired.clone()));
        if first == expired {
            return Ok(());
        }
        violation(format!(
            "{what} was removed by {node} as change {}, which is the removal of {} {} elsewhere",
            expired.sequence, first.id, first.record.token
        ))
    }

    /// Everything that was removed, and when it was first seen.
    pub fn all(&self) -> impl Iterator<Item = (GroupId, u64, &Expired)> {
        self.seen.iter().map(|(&(group, _), (tick, expired))| (group, *tick, expired))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checks::tests::token;
    use crate::history::{actor, value};
    use understudy_core::{Metadata, Record, Timestamp};

    fn expired(end: u64, time: u64, writer: u64) -> Expired {
        let end = Some(Timestamp(end));
        let record = Record::new(token(1, 1), value(writer), Metadata::default(), end);
        Expired { id: actor(1), record, sequence: Sequence(2), time: Timestamp(time) }
    }

    #[test]
    fn an_early_and_a_disputed_removal_are_found() {
        let mut seen = ExpiredWhenDue::default();
        let mut by = |node, expired| seen.expired(NodeId(node), GroupId(1), node, &expired);
        by(1, expired(10, 10, 1)).unwrap();
        by(2, expired(10, 10, 1)).unwrap();
        assert_eq!(by(3, expired(10, 9, 1)).unwrap_err().property, "expired_when_due");
        assert_eq!(by(3, expired(10, 10, 2)).unwrap_err().property, "expired_when_due");
        assert_eq!(seen.all().map(|(_, tick, _)| tick).collect::<Vec<_>>(), [1]);
    }
}
