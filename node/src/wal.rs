//! The WAL thread: group commit. It takes every write that waits, writes them at their offsets,
//! syncs once, and reports all of them done.
//!
//! A write or sync that failed is never retried as if it had worked: what the disk holds is unknown
//! (a failed fsync may drop the dirty pages and succeed the next time).

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::thread::{self, JoinHandle};

use crossbeam_channel::{Receiver, Sender, bounded, unbounded};
use rustix::fs::FallocateFlags;
use understudy_core::{IoFailed, IoId};

use crate::abort::AbortOnPanic;
use crate::limits;

/// Bytes that must be durable before `io` is reported.
#[derive(Debug)]
pub struct WalWrite {
    /// Names the completion.
    pub io: IoId,
    /// Where the bytes go.
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

/// Starts the thread on the log `file`, which is `len` bytes long.
///
/// # Errors
/// When the system gives no thread.
pub fn start(file: File, len: u64) -> std::io::Result<Wal> {
    let (writes, waiting) = bounded(limits::WAL_QUEUE_MAX);
    let (done, completions) = unbounded();
    let log = Log { file, allocated: len };
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
        let result = result.map_err(|error| IoFailed { reason: error.to_string() });
        let ids = batch.drain(..).map(|write| write.io).collect();
        if done.send((ids, result)).is_err() || failed {
            return;
        }
    }
}

struct Log {
    file: File,
    /// Everything below is allocated; zeros beyond the last frame are the end of the log.
    allocated: u64,
}

impl Log {
    fn write_all(&mut self, batch: &[WalWrite]) -> std::io::Result<()> {
        for WalWrite { offset, bytes, .. } in batch {
            self.allocate(*offset + bytes.len() as u64);
            self.file.write_all_at(bytes, *offset)?;
        }
        self.file.sync_data()
    }

    /// Only makes syncs cheaper, so a file system that cannot do it does no harm; one that is full
    /// says so at the write.
    fn allocate(&mut self, end: u64) {
        if end <= self.allocated {
            return;
        }
        let grown = end.next_multiple_of(limits::WAL_CHUNK_BYTES);
        let flags = FallocateFlags::empty();
        let _ = rustix::fs::fallocate(&self.file, flags, self.allocated, grown - self.allocated);
        self.allocated = grown;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::OpenOptions;
    use std::path::PathBuf;
    use understudy_core::Boot;

    fn temporary(name: &str) -> PathBuf {
        std::env::temp_dir().join(format!("understudy-wal-{}-{name}", std::process::id()))
    }

    fn write(number: u64) -> WalWrite {
        let io = IoId { boot: Boot(1), number };
        WalWrite { io, offset: 4 * (number - 1), bytes: vec![number as u8; 4] }
    }

    #[test]
    fn every_write_is_completed_once_and_in_order() {
        let path = temporary("order");
        let wal = start(File::create(&path).unwrap(), 0).unwrap();
        for number in 1..=200 {
            wal.writes.send(write(number)).unwrap();
        }
        let mut completed = Vec::new();
        while completed.len() < 200 {
            let (ids, result) = wal.completions.recv().unwrap();
            assert_eq!(result, Ok(()));
            completed.extend(ids.iter().map(|io| io.number));
        }
        assert!(completed.iter().copied().eq(1..=200));
        let bytes = std::fs::read(&path).unwrap();
        assert!(bytes[..800].chunks(4).zip(1..).all(|(chunk, number)| chunk == [number; 4]));
        assert!(bytes[800..].iter().all(|byte| *byte == 0), "zeros are the end of the log");
        drop(wal.writes);
        wal.thread.join().unwrap();
        std::fs::remove_file(path).unwrap();
    }

    #[test]
    fn a_failed_write_is_reported_and_nothing_is_written_after_it() {
        let path = temporary("fails");
        File::create(&path).unwrap();
        let read_only = OpenOptions::new().read(true).open(&path).unwrap();
        let wal = start(read_only, 0).unwrap();
        wal.writes.send(write(1)).unwrap();
        let (_, result) = wal.completions.recv().unwrap();
        assert!(result.is_err());
        wal.thread.join().unwrap();
        assert!(wal.writes.send(write(2)).is_err());
        std::fs::remove_file(path).unwrap();
    }
}
