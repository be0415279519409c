//! The WAL thread: group commit. It takes every write that waits, writes them at their offsets,
//! syncs once, and reports all of them done.
//!
//! A write or sync that failed is never retried as if it had worked: what the disk holds is unknown
//! (a failed fsync may drop the dirty pages and succeed the next time).

use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::thread::{self, JoinHandle};

use crossbeam_channel::{Receiver, Sender, bounded, unbounded};
use understudy_core::{FileName, IoFailed, IoId};

use crate::abort::AbortOnPanic;
use crate::files::Files;
use crate::limits;

/// Bytes that must be durable before `io` is reported.
#[derive(Debug)]
pub struct WalWrite {
    /// Names the completion.
    pub io: IoId,
    /// Where the bytes go, as an offset of the log.
    pub offset: u64,
    /// Whole frames.
    pub bytes: Vec<u8>,
}

/// What became of everything one sync covered.
pub type Completion = (Vec<IoId>, Result<(), IoFailed>);

/// The way to the thread, and back.
#[derive(Debug)]
pub struct Wal {
    /// Bounded: the core waits for a disk that is far behind.
    pub writes: Sender<WalWrite>,
    /// Unbounded in type only: at most one completion for each write in the queue above and of the
    /// core's present turn. Were it bounded, the two threads could wait for each other.
    pub completions: Receiver<Completion>,
    /// Ends when `writes` is dropped.
    pub thread: JoinHandle<()>,
}

/// Starts the thread on the log in `files`, whose segments have `segment_bytes` each.
///
/// # Errors
/// When the system gives no thread.
pub fn start(files: Files, segment_bytes: u64) -> std::io::Result<Wal> {
    let (writes, waiting) = bounded(limits::WAL_QUEUE_MAX);
    let (done, completions) = unbounded();
    let log = Log { files, segment_bytes, open: BTreeMap::new() };
    let thread = thread::Builder::new()
        .name("wal".to_owned())
        .spawn(move || AbortOnPanic::run(|| serve(log, &waiting, &done)))?;
    Ok(Wal { writes, completions, thread })
}

fn serve(mut log: Log, waiting: &Receiver<WalWrite>, done: &Sender<Completion>) {
    let mut batch: Vec<WalWrite> = Vec::new();
    while let Ok(first) = waiting.recv() {
        batch.push(first);
        batch.extend(waiting.try_iter().take(limits::WAL_QUEUE_MAX));
        let result = log.write_all(&batch);
        let failed = result.is_err();
        let result = result.map_err(|error| IoFailed::new(error.to_string()));
        let ids = batch.drain(..).map(|write| write.io).collect();
        if done.send((ids, result)).is_err() || failed {
            return;
        }
    }
}

struct Log {
    files: Files,
    segment_bytes: u64,
    /// The segments written last: one, or two while the log goes on in the next.
    open: BTreeMap<u64, File>,
}

impl Log {
    fn write_all(&mut self, batch: &[WalWrite]) -> std::io::Result<()> {
        let mut touched: Vec<u64> = Vec::new();
        for WalWrite { offset, bytes, .. } in batch {
            let (number, at) = (offset / self.segment_bytes, offset % self.segment_bytes);
            if touched.last() != Some(&number) {
                touched.push(number);
            }
            self.segment(number)?.write_all_at(bytes, at)?;
        }
        for number in &touched {
            self.segment(*number)?.sync_data()?;
        }
        let last = touched.last().copied().unwrap_or(0);
        self.open.retain(|&number, _| number >= last);
        Ok(())
    }

    /// Made, allocated and synced by the core's order before it writes there.
    fn segment(&mut self, number: u64) -> std::io::Result<&File> {
        if !self.open.contains_key(&number) {
            self.open.insert(number, self.files.open(FileName::Segment(number))?);
        }
        Ok(&self.open[&number])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::PathBuf;
    use understudy_core::{Boot, DiskImage, DiskOp};

    const SEGMENT: u64 = 400;

    fn folder(name: &str) -> (PathBuf, Files) {
        let id = std::process::id();
        let path = std::env::temp_dir().join(format!("understudy-wal-{id}-{name}"));
        let _ = std::fs::remove_dir_all(&path);
        let files = Files::new(&path);
        (path, files)
    }

    fn write(number: u64) -> WalWrite {
        let io = IoId { boot: Boot(1), number };
        WalWrite { io, offset: 4 * (number - 1), bytes: vec![number as u8; 4] }
    }

    #[test]
    fn every_write_is_completed_once_and_in_order_over_segments() {
        let (path, files) = folder("order");
        for number in 0..3 {
            let file = FileName::Segment(number);
            files.apply(&[DiskOp::Create { file, size: SEGMENT }]).unwrap();
        }
        let wal = start(files.clone(), SEGMENT).unwrap();
        for number in 1..=250 {
            wal.writes.send(write(number)).unwrap();
        }
        let mut completed = Vec::new();
        while completed.len() < 250 {
            let (ids, result) = wal.completions.recv().unwrap();
            assert_eq!(result, Ok(()));
            completed.extend(ids.iter().map(|io| io.number));
        }
        assert!(completed.iter().copied().eq(1..=250));
        let read = |number| files.read(FileName::Segment(number), 0, 1_000).unwrap();
        let bytes: Vec<u8> = (0..3).flat_map(read).collect();
        assert!(bytes[..1000].chunks(4).zip(1..).all(|(chunk, n): (_, u64)| chunk == [n as u8; 4]));
        assert!(bytes[1000..].iter().all(|byte| *byte == 0), "zeros are the end of the log");
        drop(wal.writes);
        wal.thread.join().unwrap();
        std::fs::remove_dir_all(path).unwrap();
    }

    #[test]
    fn a_failed_write_is_reported_and_nothing_is_written_after_it() {
        let (_, files) = folder("fails");
        let wal = start(files, SEGMENT).unwrap();
        wal.writes.send(write(1)).unwrap();
        let (_, result) = wal.completions.recv().unwrap();
        assert!(result.is_err(), "there is no such segment");
        wal.thread.join().unwrap();
        assert!(wal.writes.send(write(2)).is_err());
    }
}
