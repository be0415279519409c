//! What a crash leaves of the bytes and the size of a file.

use super::*;

const PAGE: u64 = PAGE_BYTES as u64;

/// Each page by its first and its last byte.
fn ends_of_pages(bytes: &[u8]) -> Vec<(u8, u8)> {
    bytes.chunks(PAGE_BYTES).map(|page| (page[0], page[page.len() - 1])).collect()
}

fn content(bench: &Bench) -> Vec<u8> {
    bench.found(snap(1)).expect("its name is durable")
}

/// A durable snapshot of three pages of ones, and operations that nobody has synced.
fn changed(ops: &[DiskOp]) -> Bench {
    let mut bench = Bench::with(&snapshot(snap(1), &[1; 3 * PAGE_BYTES]));
    bench.run(ops);
    bench
}

#[test]
fn unsynced_pages_survive_in_any_subset_and_lost_ones_are_as_before() {
    let make = || changed(&[write(snap(1), 0, &[2; 3 * PAGE_BYTES])]);
    let found = outcomes(make, |bench| {
        let bytes = content(bench);
        assert_eq!(bytes.len(), 3 * PAGE_BYTES);
        let torn: Vec<bool> = ends_of_pages(&bytes).iter().map(|(a, b)| a != b).collect();
        for page in bytes.chunks(PAGE_BYTES) {
            assert!(page.is_sorted_by(|a, b| a >= b), "new in front, old behind, nothing else");
        }
        let last_new = bytes.chunks(PAGE_BYTES).rposition(|page| page[0] == 2);
        let only_last = torn.iter().enumerate().all(|(n, torn)| !torn || Some(n) == last_new);
        assert!(only_last, "only the last page is torn");
        ends_of_pages(&bytes).iter().map(|page| page.0 == 2).collect::<Vec<_>>()
    });
    assert_eq!(found.len(), 8, "every subset");
}

#[test]
fn a_page_written_twice_is_as_before_between_or_after() {
    let make = || changed(&[write(snap(1), 10, &[2; 20]), write(snap(1), 20, &[3; 20])]);
    let versions: [Vec<u8>; 3] = {
        let before = vec![1; PAGE_BYTES];
        let mut between = before.clone();
        between[10..30].fill(2);
        let mut after = between.clone();
        after[20..40].fill(3);
        [before, between, after]
    };
    let whole = outcomes(make, |bench| {
        let page = &content(bench)[..PAGE_BYTES];
        let whole = versions.iter().position(|version| version == page);
        let torn = || {
            let pairs = [(0, 1), (1, 2), (0, 2)];
            pairs.iter().any(|&(old, new)| {
                let is = |cut: usize| {
                    page[..cut] == versions[new][..cut] && page[cut..] == versions[old][cut..]
                };
                (0..PAGE_BYTES).any(is)
            })
        };
        assert!(whole.is_some() || torn(), "{:?}", &page[..50]);
        whole
    });
    assert_eq!(whole, BTreeSet::from([None, Some(0), Some(1), Some(2)]));
}

#[test]
fn what_is_synced_stays() {
    let ops = [write(snap(1), 0, &[2; 4 * PAGE_BYTES]), sync(snap(1))];
    let found = outcomes(|| changed(&ops), content);
    assert_eq!(found, BTreeSet::from([vec![2; 4 * PAGE_BYTES]]));
}

#[test]
fn a_size_is_any_that_the_file_had_until_it_is_synced() {
    let sizes =
        |ops: &[DiskOp]| outcomes(|| changed(ops), |bench| content(bench).len() as u64 / PAGE);
    let (file, end) = (snap(1), 3 * PAGE);
    let grow = write(file, end, &[2; 2 * PAGE_BYTES]);
    assert_eq!(sizes(std::slice::from_ref(&grow)), BTreeSet::from([3, 5]));
    let cut = DiskOp::Resize { file, size: PAGE };
    assert_eq!(sizes(std::slice::from_ref(&cut)), BTreeSet::from([1, 3]));
    let grow_again = DiskOp::Resize { file, size: 7 * PAGE };
    assert_eq!(sizes(&[cut.clone(), grow_again.clone()]), BTreeSet::from([1, 3, 7]));
    assert_eq!(sizes(&[grow, sync(file), cut, grow_again, sync(file)]), BTreeSet::from([7]));
}

#[test]
fn what_was_cut_and_grown_again_is_zero_or_still_there() {
    let (file, size) = (snap(1), 3 * PAGE);
    let cut = [DiskOp::Resize { file, size: PAGE + 100 }, DiskOp::Resize { file, size }];
    let found = outcomes(
        || changed(&cut),
        |bench| {
            let bytes = content(bench);
            assert_eq!(bytes[..PAGE_BYTES + 100], [1; PAGE_BYTES + 100], "not cut");
            assert!(bytes[PAGE_BYTES + 100..].iter().all(|byte| [0, 1].contains(byte)));
            ends_of_pages(&bytes).get(1..).map(<[_]>::to_vec)
        },
    );
    for survivors in [[(1, 1), (1, 1)], [(1, 1), (0, 0)], [(1, 0), (1, 1)], [(1, 0), (0, 0)]] {
        assert!(found.contains(&Some(survivors.to_vec())), "{survivors:?} in {found:?}");
    }
    let synced = [&cut[..], &[sync(file)]].concat();
    let found = outcomes(|| changed(&synced), content);
    assert_eq!(found.len(), 1);
    assert!(found.iter().all(|bytes| bytes[PAGE_BYTES + 100..].iter().all(|&byte| byte == 0)));
}

#[test]
fn lost_pages_of_a_new_file_are_zeros() {
    let make = || {
        let ops = [create(snap(1), 2 * PAGE), sync(snap(1)), sync_folder(Folder::Snap)];
        let mut bench = Bench::with(&ops);
        bench.run(&[write(snap(1), 0, &[5; 2 * PAGE_BYTES])]);
        bench
    };
    let found = outcomes(make, |bench| {
        let bytes = content(bench);
        assert!(bytes.iter().all(|byte| [0, 5].contains(byte)));
        bytes.chunks(PAGE_BYTES).map(|page| page[0]).collect::<Vec<_>>()
    });
    assert_eq!(found.len(), 4);
}

#[test]
fn a_new_file_that_was_not_synced_is_anything_up_to_its_size() {
    let ops = [create(snap(1), 0), write(snap(1), 0, &[5; 5_000]), sync_folder(Folder::Snap)];
    let make = || {
        let mut bench = Bench::new();
        bench.run(&ops);
        bench
    };
    let found = outcomes(make, |bench| {
        let bytes = content(bench);
        (bytes.len(), bytes.first() == Some(&5), bytes.last() == Some(&5))
    });
    for outcome in
        [(0, false, false), (5_000, true, true), (5_000, false, true), (5_000, false, false)]
    {
        assert!(found.contains(&outcome), "{outcome:?} in {found:?}");
    }
    assert!(found.iter().all(|outcome| [0, 5_000].contains(&outcome.0)), "{found:?}");
}

#[test]
fn a_failed_sync_of_a_file_loses_its_pages_for_good() {
    let mut bench = changed(&[write(snap(1), 0, &[2; PAGE_BYTES])]);
    bench.disk.fail_next(Lane::Files, Fail::Sync);
    bench.files(&[sync(snap(1))]);
    assert_eq!(bench.pass(), [false]);
    bench.run(&[sync(snap(1)), sync_folder(Folder::Snap)]);
    assert_eq!(content(&bench)[0], 2, "the process still reads it");
    assert!(!bench.disk.promised().files.contains_key(&snap(1)));
    bench.crash(Some(1));
    assert_eq!(content(&bench), [1; 3 * PAGE_BYTES]);
    assert_eq!(bench.counts.of(Fault::SyncFailed), 1);
}
