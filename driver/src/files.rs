//! The files of a data folder: carries out the core's [`DiskOp`]s, and the thread that does so.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::thread::{self, JoinHandle};

use crossbeam_channel::{Receiver, Sender, bounded, unbounded};
use rustix::fs::FallocateFlags;
use understudy_core::disk::Folder;
use understudy_core::{DiskImage, DiskOp, FileName, Input, IoFailed, IoId};

use crate::abort::AbortOnPanic;
use crate::limits;

/// The files of the data folder at a path.
#[derive(Clone, Debug)]
pub struct Files {
    root: PathBuf,
}

impl Files {
    /// Those of the data folder `root`.
    pub fn new(root: &Path) -> Files {
        Files { root: root.to_owned() }
    }

    /// Where `file` lies.
    pub fn path(&self, file: FileName) -> PathBuf {
        self.root.join(file.to_string())
    }

    /// Does `ops` in order, up to the first that fails.
    ///
    /// # Errors
    /// What the system said, with the operation.
    pub fn apply(&self, ops: &[DiskOp]) -> Result<(), IoFailed> {
        let mut open = Open { files: self, writable: BTreeMap::new() };
        ops.iter().try_for_each(|op| {
            let lost_names = matches!(op, DiskOp::SyncFolder { .. });
            let reason = |error| format!("{}: {error}", words(op));
            open.apply(op).map_err(|error| IoFailed { reason: reason(error), lost_names })
        })
    }

    /// Opens `file` for writing.
    ///
    /// # Errors
    /// What the system said.
    pub fn open(&self, file: FileName) -> io::Result<File> {
        OpenOptions::new().write(true).open(self.path(file))
    }

    /// Bytes that this process may still write where the data folder lies.
    ///
    /// # Errors
    /// What the system said.
    pub fn free(&self) -> io::Result<u64> {
        let space = rustix::fs::statvfs(&self.root)?;
        Ok(space.f_bavail.saturating_mul(space.f_frsize))
    }

    fn read_at(&self, file: FileName, offset: u64, length: usize) -> io::Result<Vec<u8>> {
        let source = File::open(self.path(file))?;
        let left = source.metadata()?.len().saturating_sub(offset);
        let mut bytes = vec![0; length.min(usize::try_from(left).unwrap_or(usize::MAX))];
        source.read_exact_at(&mut bytes, offset)?;
        Ok(bytes)
    }

    fn list(&self) -> io::Result<Vec<(FileName, u64)>> {
        let mut files = Vec::new();
        for folder in Folder::ALL {
            let entries = match fs::read_dir(self.root.join(folder.as_str())) {
                Ok(entries) => entries,
                Err(error) if error.kind() == ErrorKind::NotFound => continue,
                Err(error) => return Err(error),
            };
            for entry in entries {
                let entry = entry?;
                let name = entry.file_name();
                let path = format!("{}/{}", folder.as_str(), name.to_string_lossy());
                if let Ok(file) = path.parse() {
                    files.push((file, entry.metadata()?.len()));
                }
            }
        }
        files.sort_unstable();
        Ok(files)
    }
}

impl DiskImage for Files {
    fn files(&self) -> Result<Vec<(FileName, u64)>, IoFailed> {
        let reason = |error| format!("cannot list `{}`: {error}", self.root.display());
        self.list().map_err(|error| IoFailed::new(reason(error)))
    }

    fn read(&self, file: FileName, offset: u64, length: usize) -> Result<Vec<u8>, IoFailed> {
        let reason = |error| format!("cannot read `{}`: {error}", self.path(file).display());
        self.read_at(file, offset, length).map_err(|error| IoFailed::new(reason(error)))
    }
}

/// The files that a run of operations has open.
struct Open<'a> {
    files: &'a Files,
    writable: BTreeMap<FileName, File>,
}

impl Open<'_> {
    fn apply(&mut self, op: &DiskOp) -> io::Result<()> {
        let files = self.files;
        match op {
            DiskOp::Create { file, size } => {
                let path = files.path(*file);
                if let Some(folder) = path.parent() {
                    fs::create_dir_all(folder)?;
                }
                let new = File::create(path)?;
                allocate(&new, *size)?;
                self.writable.insert(*file, new);
            }
            DiskOp::Write { file, offset, bytes } => {
                self.writable(*file)?.write_all_at(bytes, *offset)?;
            }
            DiskOp::Resize { file, size } => self.writable(*file)?.set_len(*size)?,
            DiskOp::Sync { file } => self.writable(*file)?.sync_all()?,
            DiskOp::Rename { from, to } => {
                fs::rename(files.path(*from), files.path(*to))?;
                self.writable.remove(from);
                self.writable.remove(to);
            }
            DiskOp::Delete { file } => {
                self.writable.remove(file);
                match fs::remove_file(files.path(*file)) {
                    Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
                    _ => {}
                }
            }
            DiskOp::SyncFolder { folder } => {
                let path = files.root.join(folder.as_str());
                fs::create_dir_all(&path)?;
                File::open(path)?.sync_all()?;
            }
        }
        Ok(())
    }

    fn writable(&mut self, file: FileName) -> io::Result<&File> {
        if !self.writable.contains_key(&file) {
            self.writable.insert(file, self.files.open(file)?);
        }
        Ok(&self.writable[&file])
    }
}

/// Space that writes will find. A file system that cannot do it only makes syncs dearer; one that is
/// full says so here, before anything depends on the file.
fn allocate(file: &File, size: u64) -> io::Result<()> {
    if size == 0 {
        return Ok(());
    }
    match rustix::fs::fallocate(file, FallocateFlags::empty(), 0, size) {
        Ok(()) => Ok(()),
        Err(rustix::io::Errno::NOSPC) => Err(rustix::io::Errno::NOSPC.into()),
        Err(_) => file.set_len(size),
    }
}

fn words(op: &DiskOp) -> String {
    match op {
        DiskOp::Create { file, .. } => format!("cannot make `{file}`"),
        DiskOp::Write { file, .. } => format!("cannot write `{file}`"),
        DiskOp::Resize { file, .. } => format!("cannot resize `{file}`"),
        DiskOp::Sync { file } => format!("cannot sync `{file}`"),
        DiskOp::Rename { from, to } => format!("cannot rename `{from}` to `{to}`"),
        DiskOp::Delete { file } => format!("cannot remove `{file}`"),
        DiskOp::SyncFolder { folder } => format!("cannot sync the folder `{}`", folder.as_str()),
    }
}

/// What the thread is asked for.
#[derive(Debug)]
pub enum Job {
    /// See [`understudy_core::Effect::Files`].
    Work(IoId, Vec<DiskOp>),
    /// See [`understudy_core::Effect::FileRead`].
    Read(IoId, FileName, u64, usize),
    /// See [`understudy_core::Input::Space`].
    Space,
}

/// The way to the thread, and back.
#[derive(Debug)]
pub struct FileThread {
    /// Bounded: the core has only so much work under way.
    pub jobs: Sender<Job>,
    /// Unbounded in type only: one for each job.
    pub done: Receiver<Input>,
    /// Ends when `jobs` is dropped.
    pub thread: JoinHandle<()>,
}

/// Starts the thread that works on `files`, beside the log's.
///
/// # Errors
/// When the system gives no thread.
pub fn start(files: Files) -> io::Result<FileThread> {
    let (jobs, waiting) = bounded::<Job>(limits::FILE_QUEUE_MAX);
    let (tell, done) = unbounded();
    let serve = move || {
        for job in waiting {
            let input = match job {
                Job::Work(io, ops) => Input::Files { io, result: files.apply(&ops) },
                Job::Read(io, file, offset, length) => {
                    Input::FileRead { io, result: files.read(file, offset, length) }
                }
                // A file system that does not say counts as one with room: a write will tell.
                Job::Space => Input::Space { free: files.free().unwrap_or(u64::MAX) },
            };
            if tell.send(input).is_err() {
                return;
            }
        }
    };
    let thread =
        thread::Builder::new().name("files".to_owned()).spawn(|| AbortOnPanic::run(serve))?;
    Ok(FileThread { jobs, done, thread })
}

#[cfg(test)]
mod tests {
    use super::*;
    use understudy_core::{GroupId, MemoryDisk, message::LogPosition};

    fn folder(name: &str) -> PathBuf {
        let id = std::process::id();
        let path = std::env::temp_dir().join(format!("understudy-files-{id}-{name}"));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).unwrap();
        path
    }

    /// The real folder does what the model does.
    #[test]
    fn operations_mean_what_they_mean_in_memory() {
        let root = folder("model");
        let (files, mut model) = (Files::new(&root), MemoryDisk::default());
        let segment = FileName::Segment(1);
        let part = FileName::Part(GroupId(1), 1);
        let whole = FileName::Snapshot(GroupId(1), LogPosition { term: 1, index: 2 });
        let ops = [
            DiskOp::Create { file: segment, size: 10_000 },
            DiskOp::Write { file: segment, offset: 9_990, bytes: vec![7; 20] },
            DiskOp::Create { file: part, size: 0 },
            DiskOp::Write { file: part, offset: 3, bytes: vec![1, 2, 3] },
            DiskOp::Sync { file: part },
            DiskOp::Rename { from: part, to: whole },
            DiskOp::SyncFolder { folder: Folder::Snap },
            DiskOp::Resize { file: segment, size: 9_995 },
            DiskOp::Resize { file: segment, size: 20_000 },
            DiskOp::Sync { file: segment },
            DiskOp::Delete { file: FileName::Segment(8) },
        ];
        files.apply(&ops).unwrap();
        model.apply(&ops).unwrap();
        assert_eq!(files.files(), model.files());
        for (file, size) in model.files().unwrap() {
            let all = usize::try_from(size).unwrap() + 10;
            assert_eq!(files.read(file, 0, all), model.read(file, 0, all), "{file}");
            assert_eq!(files.read(file, 5, 3), model.read(file, 5, 3), "{file}");
        }
        fs::write(root.join("snap/notes.txt"), "x").unwrap();
        assert_eq!(files.files(), model.files(), "other people's files are left alone");
        assert!(files.apply(&[DiskOp::Sync { file: part }]).is_err());
        fs::remove_dir_all(root).unwrap();
    }
}
