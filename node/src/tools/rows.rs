//! The core's rows in a store outside it, read through the same door as by a node.

use understudy_core::backend::{BackendError, View};
use understudy_core::codec::{self, Corrupt};
use understudy_core::store::keys::{self, Kind, PREFIX, Place, Root};
use understudy_core::store::{Meta, row_hash};
use understudy_core::{ActorId, GroupId, Record};

/// Is handed what follows the kind in a row's key, and the row's value.
type Take<'a> = dyn FnMut(&[u8], &[u8]) -> Result<(), BackendError> + 'a;

/// Rows read at once.
const PAGE: usize = 1000;

/// One group's rows.
#[derive(Debug)]
pub struct Rows {
    /// Whose they are, and which generation counts.
    pub root: Root,
    /// What they say of themselves.
    pub meta: Meta,
    /// Rows of other generations: what a crash left; the next start removes them.
    pub stale: u64,
}

/// Every group in `view`, its rows counted and compared with what they say of themselves. `each`
/// gets the actors, in the order of their ids.
///
/// # Errors
/// What the store said, or what is wrong with the rows.
pub fn groups(
    view: &dyn View,
    each: &mut dyn FnMut(GroupId, &ActorId, &Record),
) -> Result<Vec<Rows>, BackendError> {
    let (mut groups, mut from) = (Vec::new(), Vec::new());
    let end = vec![0xff; PREFIX + 1];
    while let Some((key, _)) = view.scan(&from, &end, 1)?.first() {
        let group = key.get(..4).and_then(|group| group.try_into().ok()).map(u32::from_be_bytes);
        let group = GroupId(group.ok_or_else(|| damaged("a key names no group"))?);
        if let Some(rows) = rows(view, group, each)? {
            groups.push(rows);
        }
        let Some(next) = group.0.checked_add(1) else { break };
        from = keys::root(GroupId(next));
    }
    Ok(groups)
}

fn rows(
    view: &dyn View,
    group: GroupId,
    each: &mut dyn FnMut(GroupId, &ActorId, &Record),
) -> Result<Option<Rows>, BackendError> {
    let wrong = |what: String| damaged(&format!("group {group}: {what}"));
    let decoded = |Corrupt(what)| wrong(what);
    let Some(root) = view.get(&keys::root(group))? else { return Ok(None) };
    let root: Root = codec::decode(&root).map_err(decoded)?;
    let place = Place { group, generation: root.generation };
    let meta =
        view.get(&place.meta())?.ok_or_else(|| wrong("its meta row is missing".to_owned()))?;
    let meta: Meta = codec::decode(&meta).map_err(decoded)?;
    let (mut actors, mut hash) = (0, 0_u64);
    walk(view, place.range(Kind::Actor), &mut |rest, value| {
        let id = keys::actor_from(rest).map_err(decoded)?;
        let record = codec::decode(value).map_err(decoded)?;
        actors += 1;
        hash = hash.wrapping_add(row_hash(&id, &record));
        each(group, &id, &record);
        Ok(())
    })?;
    let mut outcomes = 0;
    walk(view, place.range(Kind::Outcome), &mut |rest, _| {
        outcomes += 1;
        keys::outcome_from(rest).map(drop).map_err(decoded)
    })?;
    if (actors, outcomes, hash) != (meta.actors, meta.outcomes, meta.rows_hash) {
        return Err(wrong(format!(
            "{actors} actors and {outcomes} outcomes are not the {} and {} it was left with",
            meta.actors, meta.outcomes
        )));
    }
    let mut stale = 0;
    for range in place.others() {
        walk(view, range, &mut |_, _| {
            stale += 1;
            Ok(())
        })?;
    }
    Ok(Some(Rows { root, meta, stale }))
}

/// Hands every row of a range to `take`.
fn walk(
    view: &dyn View,
    (mut from, until): (Vec<u8>, Vec<u8>),
    take: &mut Take<'_>,
) -> Result<(), BackendError> {
    loop {
        let page = view.scan(&from, &until, PAGE)?;
        for (key, value) in &page {
            take(key.get(PREFIX..).unwrap_or(&[]), value)?;
        }
        match page.last() {
            Some((last, _)) if page.len() == PAGE => from = [&last[..], &[0]].concat(),
            _ => return Ok(()),
        }
    }
}

fn damaged(what: &str) -> BackendError {
    BackendError { reason: what.to_owned(), damaged: true }
}

#[cfg(test)]
mod tests {
    use super::*;
    use understudy_core::backend::{Backend, Change, MemoryBackend, WriteBatch};
    use understudy_core::store::keys::Origin;
    use understudy_core::{ClusterId, Json, Namespace, Sequence, Token, Version};

    fn filled(actors: u64) -> (MemoryBackend, Place) {
        let backend = MemoryBackend::default();
        let place = Place { group: GroupId(2), generation: 3 };
        let origin = Origin {
            cluster: ClusterId("c".to_owned()),
            group: place.group,
            namespace: Namespace::new("n").unwrap(),
        };
        let mut meta = Meta { actors, ..Meta::default() };
        let mut changes = Vec::new();
        for number in 0..actors {
            let id = ActorId::new(format!("a{number:05}")).unwrap();
            let token = Token { created: Sequence(number + 1), version: Version(1) };
            let record = Record::plain(token, Json::new(*b"{}"));
            meta.rows_hash = meta.rows_hash.wrapping_add(row_hash(&id, &record));
            changes.push(Change::Put(place.actor(&id), codec::encode(&record)));
        }
        let old = Place { generation: 2, ..place };
        changes.push(Change::Put(old.meta(), vec![1]));
        changes.push(Change::Put(place.meta(), codec::encode(&meta)));
        let root = Root { generation: place.generation, origin };
        changes.push(Change::Put(keys::root(place.group), codec::encode(&root)));
        backend.write(&WriteBatch { changes }).unwrap();
        (backend, place)
    }

    #[test]
    fn every_row_is_seen_once_and_in_order() {
        for actors in [0, 1, 999, 1000, 1001, 2000] {
            let (backend, place) = filled(actors);
            let mut seen = Vec::new();
            let groups = groups(&backend, &mut |group, id, _| {
                assert_eq!(group, place.group);
                seen.push(id.clone());
            });
            let groups = groups.unwrap();
            assert!(seen.is_sorted() && seen.len() as u64 == actors);
            assert_eq!(groups.len(), 1);
            assert_eq!((groups[0].meta.actors, groups[0].stale), (actors, 1));
        }
    }

    #[test]
    fn a_row_that_is_gone_altered_or_too_much_is_damage() {
        let id = ActorId::new("a00001").unwrap();
        let more = ActorId::new("b").unwrap();
        let token = Token { created: Sequence(2), version: Version(2) };
        let other = codec::encode(&Record::plain(token, Json::new(*b"{}")));
        let (_, place) = filled(3);
        for change in [
            Change::Delete(place.actor(&id)),
            Change::Put(place.actor(&id), other.clone()),
            Change::Put(place.actor(&id), vec![7]),
            Change::Put(place.actor(&more), other),
            Change::Put(place.key(Kind::Outcome, &[1, b'x']), vec![]),
            Change::Delete(place.meta()),
            Change::Put(place.meta(), vec![]),
            Change::Put(keys::root(place.group), vec![1, 0xff]),
        ] {
            let (backend, _) = filled(3);
            backend.write(&WriteBatch { changes: vec![change.clone()] }).unwrap();
            let refused = groups(&backend, &mut |_, _, _| {});
            assert!(refused.is_err_and(|error| error.damaged), "{change:?}");
        }
    }
}
