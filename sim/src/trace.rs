//! The trace: one line per input and effect, and a hash over all of them.
//!
//! The hash takes in the content of every message, write, request and reply, so two runs with equal
//! hashes did the same. Lines are made only when somebody will read them.

use std::sync::Mutex;

use xxhash_rust::xxh3::Xxh3;

use crate::recording::{Kind, Line};

/// The lines of the latest run, where they are found even after a panic.
static LINES: Mutex<Vec<Line>> = Mutex::new(Vec::new());
/// More lines than any sane run makes; a run that spins must not take all memory.
const LINES_MAX: usize = 2_000_000;

/// The trace of one run.
pub struct Trace {
    keeps: bool,
    hash: Xxh3,
    lines: u64,
}

impl Trace {
    /// An empty trace.
    pub fn new(keeps: bool) -> Trace {
        take_lines();
        Trace { keeps, hash: Xxh3::new(), lines: 0 }
    }

    /// Counts a line about `node` (0 for the world) and returns its number; `content` is all that
    /// was said, sent or written.
    pub fn count(&mut self, now: u64, node: u64, kind: Kind, content: &[u8]) -> u64 {
        self.lines += 1;
        let mut head = [0; 18];
        head[..8].copy_from_slice(&now.to_le_bytes());
        head[8..16].copy_from_slice(&(content.len() as u64).to_le_bytes());
        head[16] = node as u8;
        head[17] = kind as u8;
        self.hash.update(&head);
        self.hash.update(content);
        self.lines
    }

    /// Whether lines are kept.
    pub fn keeps(&self) -> bool {
        self.keeps
    }

    /// Keeps a line.
    pub fn keep(&mut self, line: Line) {
        if let Ok(mut lines) = LINES.lock()
            && lines.len() < LINES_MAX
        {
            lines.push(line);
        }
    }

    /// Adds to the line kept last, if it is that one.
    pub fn amend(&mut self, number: u64, change: impl FnOnce(&mut Line)) {
        if !self.keeps {
            return;
        }
        if let Ok(mut lines) = LINES.lock()
            && let Some(line) = lines.last_mut().filter(|line| line.number == number)
        {
            change(line);
        }
    }

    /// The hash over all lines.
    pub fn hash(&self) -> u64 {
        self.hash.digest()
    }

    /// How many lines there are.
    pub fn lines(&self) -> u64 {
        self.lines
    }
}

/// The lines kept of the latest run.
pub fn take_lines() -> Vec<Line> {
    LINES.lock().map(|mut lines| std::mem::take(&mut *lines)).unwrap_or_default()
}
