//! Whatever happens, what was promised is there; and the same seed does the same again.

use std::collections::BTreeMap;

use super::*;

/// A process that does whatever comes to its mind on a disk that crashes.
struct Chaos {
    bench: Bench,
    rng: Rng,
    /// The log as it should be.
    log: BTreeMap<u64, u8>,
    /// What was promised of each snapshot.
    snapshots: BTreeMap<FileName, Vec<u8>>,
    /// How many segments there are, and whether the next one is being made.
    segments: u64,
    making: bool,
}

impl Chaos {
    fn new(seed: u64) -> Chaos {
        Chaos {
            bench: Bench::new(),
            rng: Seed(seed).rng(),
            log: (0..HEADER as u64).map(|at| (at, 9)).collect(),
            snapshots: BTreeMap::new(),
            segments: 1,
            making: false,
        }
    }

    fn act(&mut self) {
        let (now, io) = (self.bench.now, self.bench.io());
        match self.rng.below(12) {
            0..4 => self.write_log(io),
            4 if !std::mem::replace(&mut self.making, true) => {
                self.bench.disk.files(now, io, segment(self.segments));
            }
            5 => {
                let (file, bytes) = (snap(self.rng.below(4)), self.rng.u64().to_le_bytes());
                self.bench.disk.files(now, io, snapshot(file, &bytes.repeat(900)));
            }
            6 => {
                let ops = [self.any_op(), self.any_op()];
                self.bench.disk.files(now, io, ops.to_vec());
            }
            7 => self.crash(),
            8 if self.rng.below(8) == 0 => {
                let fail = [Fail::Write, Fail::Sync][self.rng.below(2) as usize];
                let lane = [Lane::Wal, Lane::Files][self.rng.below(2) as usize];
                self.bench.disk.fail_next(lane, fail);
            }
            _ => {
                self.bench.tick();
            }
        }
        self.learn();
    }

    fn any_op(&mut self) -> DiskOp {
        let file = [snap(self.rng.below(4)), PART][self.rng.below(2) as usize];
        match self.rng.below(6) {
            0 => create(file, self.rng.below(5_000)),
            1 => write(file, self.rng.below(9_000), &self.rng.u64().to_le_bytes().repeat(100)),
            2 => DiskOp::Resize { file, size: self.rng.below(9_000) },
            3 => sync(file),
            4 => delete(file),
            _ => sync_folder(Folder::Snap),
        }
    }

    fn write_log(&mut self, io: IoId) {
        let length = self.rng.between(1, 3_000);
        let end = self.bench.disk.wal_end();
        let left = SEGMENT_BYTES - end % SEGMENT_BYTES;
        let next = end.div_ceil(SEGMENT_BYTES);
        let offset = match length <= left && left < SEGMENT_BYTES {
            true => end,
            false if next < self.segments => next * SEGMENT_BYTES + HEADER as u64,
            false => return,
        };
        let byte = self.rng.between(1, 250) as u8;
        self.log.extend((offset..offset + length).map(|at| (at, byte)));
        let bytes = vec![byte; length as usize];
        self.bench.disk.wal_write(self.bench.now, io, offset, bytes, &mut self.bench.counts);
    }

    /// Notes what has been promised by now.
    fn learn(&mut self) {
        let files = &self.bench.disk.promised().files;
        while files.contains_key(&FileName::Segment(self.segments)) {
            let start = self.segments * SEGMENT_BYTES;
            self.log.extend((start..start + HEADER as u64).map(|at| (at, 9)));
            self.segments += 1;
            self.making = false;
        }
        self.snapshots.retain(|file, _| files.contains_key(file));
        for (&file, &length) in files {
            if let FileName::Snapshot(..) = file {
                let bytes = self.bench.disk.peek(file, 0, usize::MAX).expect("it is promised");
                assert_eq!(bytes.len() as u64, length);
                let before = self.snapshots.insert(file, bytes.clone());
                assert!(before.is_none_or(|before| before == bytes), "nobody wrote to it");
            }
        }
    }

    fn crash(&mut self) {
        let torn = Some(self.rng.u64()).filter(|_| self.rng.below(4) > 0);
        let promised = self.bench.crash(torn);
        assert!(!self.bench.disk.has_unsynced());
        let image = self.bench.disk.image();
        assert_eq!(image.damaged, []);
        for (file, &length) in &promised.files {
            assert!(image.disk.files[file].len() as u64 >= length, "{file} is there");
        }
        for (file, bytes) in &self.snapshots {
            assert_eq!(&image.disk.files[file], bytes, "{file} is whole");
        }
        for (&at, &byte) in self.log.range(..promised.wal_end) {
            let segment = &image.disk.files[&FileName::Segment(at / SEGMENT_BYTES)];
            assert_eq!(segment[(at % SEGMENT_BYTES) as usize], byte, "byte {at} of the log");
        }
        // The next process cuts the log where nothing is promised, as recovery does.
        let end = promised.wal_end;
        self.log.split_off(&end);
        let number = (end - 1) / SEGMENT_BYTES;
        let at = end - number * SEGMENT_BYTES;
        let file = FileName::Segment(number);
        let cut = [DiskOp::Resize { file, size: at }, DiskOp::Resize { file, size: SEGMENT_BYTES }];
        let young = image.disk.files.keys().filter(|file| **file > FileName::Segment(number));
        let young = young.filter(|file| matches!(file, FileName::Segment(_)));
        let ops: Vec<DiskOp> = young.map(|&file| delete(file)).chain(cut).collect();
        self.bench.disk.apply_recovery(&ops).expect("there is space");
        self.bench.disk.started(end);
        self.segments = number + 1;
        self.making = false;
    }
}

#[test]
fn what_was_promised_is_there_after_any_crash() {
    let (mut segments, mut snapshots, mut bytes) = (0, 0, 0);
    for seed in 0..40 {
        let mut chaos = Chaos::new(seed);
        for _ in 0..300 {
            chaos.act();
        }
        chaos.crash();
        segments += chaos.segments;
        snapshots += chaos.snapshots.len();
        bytes += chaos.bench.disk.promised().wal_end;
    }
    assert!(segments > 60 && snapshots > 25 && bytes > 500_000, "{segments} {snapshots} {bytes}");
}

#[test]
fn the_same_seed_does_the_same_again() {
    let play = |seed| {
        let mut chaos = Chaos::new(seed);
        for _ in 0..300 {
            chaos.act();
        }
        (chaos.bench.now, chaos.bench.disk.image().disk, chaos.bench.disk.promised().clone())
    };
    assert!((0..5).all(|seed| play(seed) == play(seed)));
    assert_ne!(play(1), play(2));
}

#[test]
fn a_promise_ends_when_somebody_asks_for_something_else() {
    let promised = |ops: &[DiskOp]| {
        let mut bench = Bench::with(&snapshot(snap(1), &[5; 10]));
        bench.run(ops);
        let files: Vec<(FileName, u64)> =
            bench.disk.promised().files.iter().map(|(&file, &size)| (file, size)).collect();
        files
    };
    let kept = (FileName::Segment(0), SEGMENT_BYTES);
    assert_eq!(promised(&[sync(snap(1))]), [kept, (snap(1), 10)]);
    assert_eq!(promised(&[delete(snap(1))]), [kept]);
    assert_eq!(promised(&[write(snap(1), 5, &[6; 10])]), [kept]);
    assert_eq!(promised(&[write(snap(1), 5, &[6; 10]), sync(snap(1))]), [kept, (snap(1), 15)]);
    let renamed = [rename(snap(1), snap(2)), sync_folder(Folder::Snap)];
    assert_eq!(promised(&renamed[..1]), [kept]);
    assert_eq!(promised(&renamed), [kept, (snap(2), 10)]);
}

#[test]
fn a_promise_is_made_when_an_effect_ends() {
    let mut bench = Bench::new();
    bench.files(&[&snapshot(snap(1), &[5; 10])[..], &[create(PART, 0)]].concat());
    for _ in 0..5 {
        bench.tick();
        assert!(!bench.disk.promised().files.contains_key(&snap(1)));
    }
    bench.tick();
    assert_eq!(bench.disk.promised().files.get(&snap(1)), Some(&10));
}
