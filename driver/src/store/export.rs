//! The thread that writes groups' states to files while the store goes on.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};

use crossbeam_channel::{Receiver, Sender, bounded};
use understudy_core::backend::{BackendError, View};
use understudy_core::disk::FileName;
use understudy_core::input::StoreDone;
use understudy_core::{GroupId, IoId};

use super::{Completion, Format, Stopped};
use crate::abort::AbortOnPanic;
use crate::limits;

/// A state to write, and where.
pub struct Export {
    pub io: IoId,
    pub group: GroupId,
    pub file: FileName,
    pub view: Arc<dyn View>,
}

/// The way to the thread.
pub struct Exporter {
    exports: Sender<Export>,
    stopping: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

impl Exporter {
    pub fn start(
        folder: PathBuf,
        format: Format,
        done: Sender<Completion>,
    ) -> io::Result<Exporter> {
        let (exports, waiting) = bounded(limits::EXPORT_QUEUE_MAX);
        let stopping = Arc::new(AtomicBool::new(false));
        let stop = stopping.clone();
        let thread = thread::Builder::new()
            .name("export".to_owned())
            .spawn(move || AbortOnPanic::run(|| serve(&folder, format, &waiting, &done, &stop)))?;
        Ok(Exporter { exports, stopping, thread })
    }

    /// The thread ends only with the node, when nobody listens.
    pub fn begin(&self, export: Export) -> Result<(), Stopped> {
        self.exports.send(export).map_err(|_| Stopped)
    }

    /// Gives up what is under way.
    pub fn stop(self) {
        self.stopping.store(true, Ordering::Relaxed);
        drop(self.exports);
        let ended = self.thread.join();
        assert!(ended.is_ok(), "export_thread_ends: its panic ends the process before this");
    }
}

fn serve(
    folder: &Path,
    format: Format,
    waiting: &Receiver<Export>,
    done: &Sender<Completion>,
    stopping: &AtomicBool,
) {
    while let Ok(export) = waiting.recv() {
        let path = folder.join(export.file.to_string());
        let result = write(&path, format, &export, stopping);
        if result.is_err() {
            // The space may be what was missing. Worth nothing as it is, so no error if it stays.
            let _ = fs::remove_file(&path);
        }
        if stopping.load(Ordering::Relaxed) {
            return;
        }
        let Export { io, view, .. } = export;
        // What is deleted meanwhile takes its space until the snapshot is gone.
        drop(view);
        if done.send((io, result.map(StoreDone::Exported))).is_err() {
            return;
        }
    }
}

fn write(
    path: &Path,
    format: Format,
    export: &Export,
    stopping: &AtomicBool,
) -> Result<u64, BackendError> {
    let failed = |error: io::Error| BackendError {
        reason: format!("cannot write `{}`: {error}", path.display()),
        damaged: false,
    };
    let file = File::create(path).map_err(failed)?;
    let mut sink = BufWriter::with_capacity(limits::EXPORT_BUFFER_BYTES, file);
    let mut length = 0;
    (format.export)(export.view.as_ref(), export.group, &mut |bytes| {
        length += bytes.len() as u64;
        if stopping.load(Ordering::Relaxed) {
            return Err(failed(io::Error::other("the node stops")));
        }
        sink.write_all(bytes).map_err(failed)
    })?;
    let sync = |sink: BufWriter<File>| -> io::Result<()> {
        sink.into_inner()?.sync_all()?;
        let folder = path.parent().ok_or(io::ErrorKind::NotADirectory)?;
        File::open(folder)?.sync_all()
    };
    sync(sink).map_err(failed)?;
    Ok(length)
}
