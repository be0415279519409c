//! The pages of a walk show nobody twice, and everybody who was there from its first page to its last
//! (X-25; docs/SEMANTICS.md, scans).
//!
//! There from the first page means: written up to the sequence that it names. It holds where no page
//! is older than the one before: eventual walks may miss somebody, and still show nobody twice.
//! Whether a page is true to its state is for `reads_name_their_state`.

use std::collections::{BTreeMap, BTreeSet};

use understudy_core::query::{Page, Scan};
use understudy_core::{ActorId, Operation, Outcome, ReadLevel};

use super::{About, Violation};
use crate::history::{Ask, Entry, Fate, actor};
use crate::oracle::by_namespace;

/// Judges every walk that came to its end, and what there is of the others.
///
/// # Errors
/// The first that shows somebody twice, or misses somebody.
pub fn check(entries: &[Entry]) -> Result<(), Violation> {
    for entries in by_namespace(entries).values() {
        let mut walks: BTreeMap<u64, Vec<(&Entry, &Scan, &Page)>> = BTreeMap::new();
        for &entry in entries {
            if let (Ask::Scan { walk, scan, .. }, Fate::Listed { page, .. }) =
                (&entry.ask, &entry.fate)
            {
                walks.entry(*walk).or_default().push((entry, scan, page));
            }
        }
        walks.values().try_for_each(|pages| judge(pages, entries))?;
    }
    Ok(())
}

fn judge(pages: &[(&Entry, &Scan, &Page)], entries: &[&Entry]) -> Result<(), Violation> {
    let mut seen: BTreeSet<&ActorId> = BTreeSet::new();
    for (entry, _, page) in pages {
        if let Some((id, _)) = page.records.iter().find(|(id, _)| !seen.insert(id)) {
            return Err(violation(format!("{entry}; but {id} was on an earlier page"), &[entry]));
        }
    }
    let (Some((first, scan, _)), Some((last, _, end))) = (pages.first(), pages.last()) else {
        return Ok(());
    };
    let Fate::Listed { sequence: begins, .. } = first.fate else { return Ok(()) };
    if end.more || first.ask.level() == Some(ReadLevel::Eventual) {
        return Ok(());
    }
    let wanted = |entry: &&&Entry| {
        let is_held = entry.sequence().is_some_and(|at| at <= begins);
        actor(entry.actor).as_str().starts_with(&scan.prefix) && is_held
    };
    for written in entries.iter().filter(|entry| entry.token().is_some()).filter(wanted) {
        let ends = |entry: &&Entry| may_end(entry, written, last);
        if !seen.contains(&actor(written.actor)) && !entries.iter().any(ends) {
            let why =
                format!("{written}; but no page of the walk that began with {first} shows it");
            return Err(violation(why, &[written, first, last]));
        }
    }
    Ok(())
}

/// Whether `entry` may have deleted, by the time the walk ended, what `written` wrote.
fn may_end(entry: &Entry, written: &Entry, last: &Entry) -> bool {
    let is_deletion = matches!(&entry.ask, Ask::Write { operation: Operation::Delete { .. }, .. });
    let did_not = match &entry.fate {
        Fate::DidNotHappen | Fate::Outcome(Outcome::Refused(_)) => true,
        Fate::Outcome(_) => entry.sequence() < written.sequence(),
        Fate::Unknown | Fate::Saw { .. } | Fate::Listed { .. } => false,
    };
    is_deletion && entry.actor == written.actor && !did_not && !last.is_before(entry)
}

fn violation(why: String, about: &[&Entry]) -> Violation {
    let about = About::of(about.iter().copied());
    Violation::safety("walks_miss_nobody", why).about(about)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checks::tests::{deleted, expired, listed, put, rejected, written};

    fn world() -> Vec<Entry> {
        vec![put(1, 0, (1, 2), written(1, 1, 1)), put(2, 1, (1, 2), written(2, 1, 2))]
    }

    /// Pages of one walk, which began with entry 5.
    fn page(
        number: u64,
        after: Option<u64>,
        shown: &[(u64, (u64, u64, u64))],
        more: bool,
    ) -> Entry {
        let times = (2 * number, 2 * number + 1);
        let entry = listed(number, times, shown, more, 2);
        let scan = Scan { prefix: String::new(), after: after.map(actor), limit: 1 };
        Entry { ask: Ask::Scan { walk: 5, scan, level: ReadLevel::Linearizable }, ..entry }
    }

    fn and(more: &[Entry]) -> Vec<Entry> {
        [&world()[..], more].concat()
    }

    const A: (u64, (u64, u64, u64)) = (0, (1, 1, 1));
    const B: (u64, (u64, u64, u64)) = (1, (2, 1, 2));

    #[test]
    fn a_walk_shows_everybody_once() {
        check(&and(&[page(5, None, &[A], true), page(6, Some(0), &[B], false)])).unwrap();
        // The end was not waited for.
        check(&and(&[page(5, None, &[A], true)])).unwrap();
        let missed = and(&[page(5, None, &[A], true), page(6, Some(0), &[], false)]);
        rejected(check(&missed), "walks_miss_nobody", "no page of the walk");
        let twice = and(&[page(5, None, &[A], true), page(6, None, &[A, B], false)]);
        rejected(check(&twice), "walks_miss_nobody", "a0 was on an earlier page");
    }

    /// A session that has seen nothing may begin before anybody was there.
    #[test]
    fn somebody_who_came_after_the_state_of_the_first_page_may_be_missed() {
        let level = ReadLevel::Session { min: understudy_core::Sequence(0) };
        let scan = Scan { prefix: String::new(), after: None, limit: 9 };
        let first = |sequence| Entry {
            ask: Ask::Scan { walk: 5, scan: scan.clone(), level },
            ..listed(5, (10, 11), &[], false, sequence)
        };
        check(&and(&[first(0)])).unwrap();
        rejected(check(&and(&[first(1)])), "walks_miss_nobody", "no page of the walk");
    }

    #[test]
    fn somebody_who_went_meanwhile_may_be_missed() {
        let gone = deleted(3, 1, (11, 12), (2, 1, 2), 3);
        check(&and(&[gone, page(5, None, &[A], true), page(6, Some(0), &[], false)])).unwrap();
        let later = deleted(3, 1, (20, 21), (2, 1, 2), 3);
        let pages = [later, page(5, None, &[A], true), page(6, Some(0), &[], false)];
        rejected(check(&and(&pages)), "walks_miss_nobody", "no page of the walk");
    }

    #[test]
    fn somebody_whose_end_came_meanwhile_may_be_missed() {
        let pages = [page(5, None, &[A], true), page(6, Some(0), &[], false)];
        let with = |gone: Entry| and(&[&[gone][..], &pages].concat());
        check(&with(expired(3, 1, 11, (2, 1, 2), 3))).unwrap();
        let later = check(&with(expired(3, 1, 20, (2, 1, 2), 3)));
        rejected(later, "walks_miss_nobody", "no page of the walk");
        let of_another = check(&with(expired(3, 2, 11, (2, 1, 2), 3)));
        rejected(of_another, "walks_miss_nobody", "no page of the walk");
    }
}
