//! What any replica tells of a change, every replica tells, for ever and in the same order; and the
//! changes, played one after the other, are the rows (S0-074…S0-077, S0-087, X-16, X-19).

use std::collections::BTreeMap;

use understudy_core::{
    ActorId, Change, ChangeKind, EventId, GroupId, NodeId, Record, Sequence, Token, Version,
};

use super::Violation;
use super::replicas_equal::Dump;

/// Everything that replicas have told, by its first witness.
#[derive(Default)]
pub struct ChangesAreFinal {
    groups: BTreeMap<GroupId, Told>,
    /// Where each node is in this life.
    last: BTreeMap<(NodeId, GroupId), Sequence>,
    /// Changes told, over all nodes and lives.
    checked: u64,
}

/// What was told of one group.
#[derive(Default)]
pub struct Told {
    changes: BTreeMap<Sequence, Change>,
    /// The event ids, each with its change.
    events: BTreeMap<EventId, Sequence>,
    /// What the actors are after all changes up to `folded`.
    rows: BTreeMap<ActorId, Record>,
    folded: Sequence,
}

fn violation<T>(why: String) -> Result<T, Violation> {
    Err(Violation::safety("changes_are_final", why))
}

impl ChangesAreFinal {
    /// `node` has died: it tells again from where it starts.
    pub fn restarts(&mut self, node: NodeId) {
        self.last.retain(|&(who, _), _| who != node);
    }

    /// `node` has told `changes`, which come behind `after`.
    ///
    /// # Errors
    /// It had not come so far, or somebody has told something else.
    pub fn told(
        &mut self,
        node: NodeId,
        group: GroupId,
        after: Sequence,
        changes: &[Change],
    ) -> Result<(), Violation> {
        let before = self.last.insert((node, group), Sequence(after.0 + changes.len() as u64));
        let jumps = changes.is_empty() && before.is_none_or(|before| before <= after);
        if !jumps && before != Some(after) {
            let before = before.map(|before| before.0);
            return violation(format!(
                "N{node} tells of {after} in group {group} after {before:?}"
            ));
        }
        let told = self.groups.entry(group).or_default();
        for (change, place) in changes.iter().zip(after.0 + 1..) {
            self.checked += 1;
            if change.sequence != Sequence(place) {
                let found = change.sequence;
                return violation(format!("N{node} tells of change {found} in place of {place}"));
            }
            told.take(node, change)?;
        }
        Ok(())
    }

    /// `node` has shown `changes`, which its store retains: a power failure may have come between what
    /// it applied and the word of it, so that nobody else has told of them.
    ///
    /// # Errors
    /// Somebody has told something else.
    pub fn shown(
        &mut self,
        node: NodeId,
        group: GroupId,
        changes: &[Change],
    ) -> Result<(), Violation> {
        let told = self.groups.entry(group).or_default();
        self.checked += changes.len() as u64;
        changes.iter().try_for_each(|change| told.take(node, change))
    }

    /// What was told of a group.
    pub fn of(&self, group: GroupId) -> Option<&Told> {
        self.groups.get(&group)
    }

    /// Changes told so far, over all nodes and lives.
    pub fn checked(&self) -> u64 {
        self.checked
    }

    /// A client was answered that `actor` has changed at `sequence`, and has `token` since.
    ///
    /// # Errors
    /// The change there is another one.
    pub fn check_acked(
        &self,
        group: GroupId,
        actor: &ActorId,
        sequence: Sequence,
        token: Option<Token>,
    ) -> Result<(), Violation> {
        let told = self.groups.get(&group).and_then(|told| told.get(sequence));
        let Some(change) = told else { return Ok(()) };
        let after = change.after.as_ref().map(|record| record.token);
        if change.id == *actor && after == token {
            return Ok(());
        }
        violation(format!("{actor} was answered to be {token:?} since {sequence}: {change:?}"))
    }

    /// Of a cluster that has converged: `rows` are what the changes up to `end` come to.
    ///
    /// # Errors
    /// They are not.
    pub fn check_rows(&self, group: GroupId, dump: &Dump, end: Sequence) -> Result<(), Violation> {
        let Some(told) = self.groups.get(&group) else { return Ok(()) };
        // All of them lost the power between an entry and the word of it; nobody was told.
        if told.folded < end && !told.changes.contains_key(&Sequence(told.folded.0 + 1)) {
            return Ok(());
        }
        let is_same = told.folded == end && told.rows.iter().eq(dump.iter().map(|(i, r)| (i, r)));
        if is_same {
            return Ok(());
        }
        let folded = told.folded;
        violation(format!("group {group}: the changes up to {folded} are not the rows at {end}"))
    }
}

impl Told {
    fn take(&mut self, node: NodeId, change: &Change) -> Result<(), Violation> {
        let first = self.changes.entry(change.sequence).or_insert_with(|| change.clone());
        let place = *self.events.entry(change.event).or_insert(change.sequence);
        if place != change.sequence {
            return violation(format!("{change:?} has the event id of change {place}"));
        }
        if first != change {
            return violation(format!("N{node} tells {change:?}, another node {first:?}"));
        }
        while let Some(next) = self.changes.get(&Sequence(self.folded.0 + 1)) {
            fold(&mut self.rows, next)?;
            let earlier = self.changes.get(&self.folded).map(|earlier| earlier.time);
            if earlier > Some(next.time) {
                return violation(format!("{next:?} is of a time before the change before it"));
            }
            self.folded = next.sequence;
        }
        Ok(())
    }

    /// The change at that place, if it was told.
    pub fn get(&self, sequence: Sequence) -> Option<&Change> {
        self.changes.get(&sequence)
    }

    /// The changes behind one place and before another, as far as they were told.
    pub fn between(&self, after: Sequence, before: Sequence) -> impl Iterator<Item = &Change> {
        let from = Sequence(after.0 + 1).min(before);
        self.changes.range(from..before).map(|(_, change)| change)
    }

    /// The changes behind a place, as far as they were told.
    pub fn behind(&self, after: Sequence) -> impl Iterator<Item = &Change> {
        self.changes.range(Sequence(after.0 + 1)..).map(|(_, change)| change)
    }

    /// The last change that was told.
    pub fn last(&self) -> Sequence {
        self.changes.last_key_value().map_or(Sequence(0), |(&last, _)| last)
    }

    /// What the actors were after the change at `sequence`; `None` if not all was told up to there.
    pub fn rows_at(&self, sequence: Sequence) -> Option<BTreeMap<ActorId, Record>> {
        if self.folded < sequence {
            return None;
        }
        let mut rows = BTreeMap::new();
        for (_, change) in self.changes.range(..=sequence) {
            fold(&mut rows, change).ok()?;
        }
        Some(rows)
    }
}

/// Plays a change on the rows before it.
///
/// # Errors
/// It does not say what they were, or makes of them what no operation makes.
pub fn fold(rows: &mut BTreeMap<ActorId, Record>, change: &Change) -> Result<(), Violation> {
    let is_kind = match (&change.before, &change.after) {
        (None, Some(after)) => {
            let new = (after.token.created, after.token.version) == (change.sequence, Version(1));
            new && change.kind == ChangeKind::Create
        }
        (Some(before), Some(after)) => {
            let (from, to) = (before.token, after.token);
            let next = from.created == to.created && from.version.0 + 1 == to.version.0;
            next && change.kind == ChangeKind::Update
        }
        (Some(_), None) => matches!(change.kind, ChangeKind::Delete | ChangeKind::Expire),
        (None, None) => false,
    };
    if !is_kind {
        return violation(format!("{change:?} is not what its kind does"));
    }
    let before = match &change.after {
        Some(after) => rows.insert(change.id.clone(), after.clone()),
        None => rows.remove(&change.id),
    };
    if before != change.before {
        return violation(format!("{change:?} came upon {before:?}"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checks::tests::token;
    use crate::history::{actor, value};
    use understudy_core::change::Fields;
    use understudy_core::message::LogPosition;
    use understudy_core::{Lineage, Timestamp};

    const GROUP: GroupId = GroupId(1);

    fn change(sequence: u64, before: Option<(u64, u64)>, after: Option<(u64, u64)>) -> Change {
        let record = |(created, version)| Record::plain(token(created, version), value(version));
        let kind = match (before, after) {
            (None, _) => ChangeKind::Create,
            (_, Some(_)) => ChangeKind::Update,
            (_, None) => ChangeKind::Delete,
        };
        let sequence = Sequence(sequence);
        let fields = Fields {
            sequence,
            id: actor(1),
            kind,
            event: EventId::new(Lineage(1), None, sequence),
            time: Timestamp(sequence.0),
            position: LogPosition { term: 1, index: sequence.0 },
            before: before.map(record),
            after: after.map(record),
        };
        fields.into()
    }

    fn three() -> Vec<Change> {
        vec![
            change(1, None, Some((1, 1))),
            change(2, Some((1, 1)), Some((1, 2))),
            change(3, Some((1, 2)), None),
        ]
    }

    fn told() -> ChangesAreFinal {
        let mut told = ChangesAreFinal::default();
        told.told(NodeId(1), GROUP, Sequence(0), &[]).unwrap();
        told.told(NodeId(1), GROUP, Sequence(0), &three()).unwrap();
        told
    }

    #[test]
    fn what_is_told_twice_and_after_a_jump_is_right() {
        let mut told = told();
        told.told(NodeId(2), GROUP, Sequence(1), &[]).unwrap();
        told.told(NodeId(2), GROUP, Sequence(1), &three()[1..]).unwrap();
        told.told(NodeId(2), GROUP, Sequence(7), &[]).unwrap();
        told.restarts(NodeId(1));
        told.told(NodeId(1), GROUP, Sequence(2), &[]).unwrap();
        told.told(NodeId(1), GROUP, Sequence(2), &three()[2..]).unwrap();
        assert_eq!(told.checked(), 6);
        let rows = told.of(GROUP).unwrap().rows_at(Sequence(2)).unwrap();
        assert_eq!(rows.values().next().unwrap().token, token(1, 2));
        assert!(told.check_rows(GROUP, &Dump::default(), Sequence(3)).is_ok());
    }

    #[test]
    fn gaps_other_contents_and_wrong_pairs_are_found() {
        let found = |after, changes: &[Change]| {
            let mut told = told();
            told.told(NodeId(2), GROUP, Sequence(0), &[]).unwrap();
            let verdict = told.told(NodeId(2), GROUP, Sequence(after), changes);
            assert_eq!(verdict.unwrap_err().property, "changes_are_final");
        };
        found(1, &three()[1..]);
        found(0, &three()[1..]);
        found(0, &[change(1, None, Some((1, 1))), change(2, Some((1, 1)), None)]);
        let wrong = [
            change(1, Some((1, 1)), None),
            change(1, None, Some((1, 2))),
            change(1, None, Some((2, 1))),
            change(1, None, None),
        ];
        for change in wrong {
            let mut told = ChangesAreFinal::default();
            told.told(NodeId(1), GROUP, Sequence(0), &[]).unwrap();
            assert!(told.told(NodeId(1), GROUP, Sequence(0), &[change]).is_err());
        }
        let row = (actor(1), Record::plain(token(1, 2), value(2)));
        assert!(told().check_rows(GROUP, &[row].into_iter().collect(), Sequence(3)).is_err());
    }
}
