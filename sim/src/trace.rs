//! The trace: one line per input and effect, and a hash over all of them.
//!
//! The hash takes in the content of every message, write, request and reply, so two runs with equal
//! hashes did the same. Lines are made only when somebody will read them.

use std::collections::VecDeque;
use std::io::Write;
use std::sync::Mutex;

use xxhash_rust::xxh3::{Xxh3, xxh3_64};

/// The last lines, where a failure card finds them even after a panic.
static TAIL: Mutex<VecDeque<String>> = Mutex::new(VecDeque::new());
const TAIL_LINES: usize = 40;

/// Who reads the lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reader {
    /// Nobody: only the hash counts.
    Nobody,
    /// A failure card.
    Card,
    /// A person or another process, on standard output.
    Stdout,
}

/// The trace of one run.
pub struct Trace {
    reader: Reader,
    hash: Xxh3,
    lines: u64,
}

impl Trace {
    /// An empty trace.
    pub fn new(reader: Reader) -> Trace {
        if let Ok(mut tail) = TAIL.lock() {
            tail.clear();
        }
        Trace { reader, hash: Xxh3::new(), lines: 0 }
    }

    /// `mark` and `text` say what happened to `who` (a node, or 0 for the world); `content` is all
    /// of it.
    pub fn line(
        &mut self,
        now: u64,
        who: u64,
        mark: char,
        content: &[u8],
        text: impl FnOnce() -> String,
    ) {
        self.lines += 1;
        self.hash.update(&now.to_le_bytes());
        self.hash.update(&[u8::try_from(who).unwrap_or(u8::MAX)]);
        self.hash.update(&u32::from(mark).to_le_bytes());
        self.hash.update(&content.len().to_le_bytes());
        self.hash.update(content);
        if self.reader == Reader::Nobody {
            return;
        }
        let who = if who == 0 { "  ".to_owned() } else { format!("N{who}") };
        let (seconds, micros) = (now / 1_000_000_000, now % 1_000_000_000 / 1_000);
        let line = format!("{:>7} {seconds:>3}.{micros:06} {who} {mark} {}", self.lines, text());
        match self.reader {
            Reader::Nobody => {}
            Reader::Card => {
                if let Ok(mut tail) = TAIL.lock() {
                    tail.push_back(line);
                    if tail.len() > TAIL_LINES {
                        tail.pop_front();
                    }
                }
            }
            Reader::Stdout => {
                // A closed pipe is the reader's way to say that it has seen enough.
                let _ =
                    writeln!(std::io::stdout().lock(), "{line}  [{now} {:016x}]", xxh3_64(content));
            }
        }
    }

    /// The hash over all lines.
    pub fn hash(&self) -> u64 {
        self.hash.digest()
    }

    /// Whether anybody reads the lines.
    pub fn has_reader(&self) -> bool {
        self.reader != Reader::Nobody
    }

    /// How many lines there are.
    pub fn lines(&self) -> u64 {
        self.lines
    }
}

/// The last lines of the latest trace.
pub fn tail() -> Vec<String> {
    TAIL.lock().map(|tail| tail.iter().cloned().collect()).unwrap_or_default()
}
