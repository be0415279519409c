//! The disk model, each way it goes wrong.

use understudy_core::Boot;

use super::*;

const LATENCY: Latency = Latency { min: 1_000, max: 1_000 };

/// A disk with a 100-byte file, on which each write takes a microsecond.
struct Bench {
    disk: Disk,
    counts: Counts,
    now: u64,
    writes: u64,
}

impl Bench {
    fn new() -> Bench {
        let disk = Disk::new(vec![9; 100], LATENCY, Seed(1).rng());
        Bench { disk, counts: Counts::default(), now: 0, writes: 0 }
    }

    fn write(&mut self, length: usize) {
        self.writes += 1;
        let io = IoId { boot: Boot(1), number: self.writes };
        let offset = (self.disk.bytes.len() + self.disk.pending_bytes()) as u64;
        self.disk.write(self.now, io, offset, vec![7; length], &mut self.counts);
    }

    /// Lets a millisecond pass; the process hears of what has completed.
    fn pass(&mut self) -> Vec<bool> {
        self.now += 1_000_000;
        let mut done = Vec::new();
        loop {
            let completions = self.disk.complete(self.now, &mut self.counts);
            if completions.is_empty() {
                return done;
            }
            for completion in completions {
                done.push(completion.result.is_ok());
                if completion.result.is_ok() {
                    self.disk.told(completion.end);
                }
            }
        }
    }

    fn found(&self) -> Vec<u8> {
        self.disk.image().disk.wal
    }
}

#[test]
fn a_crash_keeps_what_was_synced_and_loses_what_was_not() {
    let mut bench = Bench::new();
    bench.write(50);
    assert_eq!(bench.pass(), [true]);
    bench.write(5_000);
    assert_eq!(bench.disk.crash(None, &mut bench.counts), 150);
    assert_eq!(bench.found().len(), 150);
    assert_eq!(bench.counts.of(Fault::UnsyncedLoss), 1);
}

#[test]
fn a_torn_write_leaves_some_pages_and_never_touches_synced_bytes() {
    let mut lengths = std::collections::BTreeSet::new();
    let mut holes = 0;
    for value in 0..200 {
        let mut bench = Bench::new();
        bench.write(50);
        bench.pass();
        bench.write(20_000);
        assert_eq!(bench.disk.crash(Some(value), &mut bench.counts), 150);
        let found = bench.found();
        assert_eq!(found[100..150], [7; 50], "synced");
        assert!(found[150..].iter().all(|byte| [0, 7].contains(byte)));
        holes += u64::from(found[150..].contains(&0));
        lengths.insert(found.len());
    }
    assert!(lengths.len() > 50, "torn at any byte");
    assert!(lengths.contains(&20_150), "now and then all of it survives");
    assert!(holes > 20, "pages are lost inside");
}

#[test]
fn a_failed_sync_leaves_a_hole_and_later_syncs_succeed() {
    let mut bench = Bench::new();
    bench.disk.fail_next(Fail::Sync);
    bench.write(50);
    assert_eq!(bench.pass(), [false]);
    bench.write(30);
    assert_eq!(bench.pass(), [true], "as Linux does");
    assert_eq!(bench.disk.crash(None, &mut bench.counts), 100, "nothing behind it is promised");
    let found = bench.found();
    assert_eq!((found.len(), &found[100..150]), (180, &[0; 50][..]));
    assert_eq!(bench.counts.of(Fault::SyncFailed), 1);
}

#[test]
fn a_write_fails_alone_and_a_full_disk_fails_every_write() {
    let mut bench = Bench::new();
    bench.disk.fail_next(Fail::Write);
    bench.write(50);
    bench.write(50);
    assert_eq!((bench.pass(), bench.pass()), (vec![false], vec![true]));
    bench.disk.fill_up(bench.now + 10);
    bench.write(50);
    bench.write(50);
    assert_eq!((bench.pass(), bench.pass()), (vec![false], vec![false]));
    bench.write(50);
    assert_eq!(bench.pass(), [true], "there is space again");
    assert_eq!(bench.counts.of(Fault::WriteFailed), 1);
    assert_eq!(bench.counts.of(Fault::DiskFull), 2);
}

#[test]
fn a_stalled_disk_completes_nothing_until_it_goes_on() {
    let mut bench = Bench::new();
    bench.write(50);
    bench.disk.stall(5_000_000);
    for _ in 0..4 {
        assert!(bench.pass().is_empty());
    }
    assert_eq!(bench.pass(), [true]);
}

#[test]
fn a_slow_disk_takes_as_long_as_it_is_told() {
    let mut bench = Bench::new();
    bench.disk.slow_down(Latency { min: 3_000_000, max: 3_000_000 }, 1);
    bench.write(50);
    assert_eq!(bench.disk.deadline(), Some(3_000_000));
    assert_eq!((bench.pass(), bench.pass(), bench.pass()), (vec![], vec![], vec![true]));
    bench.write(50);
    assert_eq!(bench.disk.deadline(), Some(3_001_000), "it is quick again");
}

/// Three writes of a page each, so that two and the header are attested.
fn attested() -> Bench {
    let mut bench = Bench::new();
    for _ in 0..3 {
        bench.write(PAGE_BYTES);
        bench.pass();
    }
    assert_eq!(bench.disk.attested, 100 + 2 * PAGE_BYTES);
    bench
}

#[test]
fn rot_flips_one_bit_of_what_is_attested() {
    for value in 0..200 {
        let mut bench = attested();
        bench.disk.lie(
            Lie::Rot,
            u64::wrapping_mul(value, 0x9e37_79b9_7f4a_7c15),
            &mut bench.counts,
        );
        let image = bench.disk.image();
        let flipped = image.damaged.expect("a bit has flipped");
        assert!(flipped < 100 + 2 * PAGE_BYTES as u64);
        let bits: u32 = (image.disk.wal.iter().zip(&bench.disk.bytes))
            .map(|(found, right)| (found ^ right).count_ones())
            .sum();
        assert_eq!(bits, 1);
    }
}

#[test]
fn a_lost_write_is_seen_once_a_later_write_attests_it() {
    let mut bench = attested();
    bench.disk.lie(Lie::LoseWrite, 0, &mut bench.counts);
    bench.write(50);
    assert_eq!(bench.pass(), [true], "it is reported as synced");
    assert_eq!(bench.disk.image().damaged, None, "the disk is lucky so far");
    bench.write(50);
    bench.pass();
    assert_eq!(bench.disk.image().damaged, Some(100 + 3 * PAGE_BYTES as u64));
    assert_eq!(bench.counts.of(Fault::LostWrite), 1);
}

#[test]
fn a_lost_write_that_nothing_attests_is_forgiven_at_a_crash_unless_the_disk_lies() {
    for lies in [false, true] {
        let mut bench = attested();
        if lies {
            bench.disk.lie_about_young_writes();
        }
        bench.disk.lie(Lie::LoseWrite, 0, &mut bench.counts);
        bench.write(50);
        bench.pass();
        bench.disk.crash(None, &mut bench.counts);
        assert_eq!(bench.disk.image().damaged.is_some(), lies);
    }
}

#[test]
fn a_misdirected_write_damages_its_place_and_another_page() {
    let mut bench = attested();
    bench.disk.lie(Lie::MisdirectWrite, 0, &mut bench.counts);
    bench.write(50);
    bench.pass();
    bench.write(50);
    bench.pass();
    let found = bench.found();
    let place = 100 + 3 * PAGE_BYTES;
    assert_eq!(found[place..place + 50], [0; 50], "not here");
    assert_eq!(bench.disk.bytes[place..place + 50], [7; 50]);
    let target = place % PAGE_BYTES;
    assert_eq!(found[target..target + 50], [7; 50], "but over the first page");
    assert_eq!(bench.counts.of(Fault::MisdirectedWrite), 1);
}

#[test]
fn a_process_that_starts_lives_with_what_it_read() {
    let mut bench = attested();
    bench.disk.lie(Lie::Rot, 5, &mut bench.counts);
    bench.disk.crash(None, &mut bench.counts);
    let found = bench.found();
    bench.disk.truncate(200);
    assert_eq!(bench.found(), found[..200]);
    assert_eq!(bench.disk.image().damaged, None);
}
