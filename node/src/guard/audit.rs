//! One line for each refused request, and no flood of them: what is beyond the limit is counted, and
//! the count is written.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use tracing::warn;
use understudy_auth::{Access, Denied, Right, Token};

use super::Remote;
use crate::limits;

/// Writes the lines.
#[derive(Debug, Default)]
pub(super) struct Audit(Mutex<Window>);

/// A span of time and what was refused in it.
#[derive(Debug, Default)]
struct Window {
    since: Option<Instant>,
    written: u32,
    /// Not written, by code.
    left_out: BTreeMap<&'static str, u64>,
}

/// One refusal.
#[derive(Debug)]
pub(super) struct Line<'a> {
    pub(super) denied: &'a Denied,
    pub(super) remote: &'a Remote,
    pub(super) token: Option<&'a Token>,
    pub(super) wanted: Option<(Right, Access<'a>)>,
    pub(super) path: &'a str,
}

impl Audit {
    pub(super) fn write(&self, line: &Line<'_>) {
        let (room, counted) = {
            let mut window = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            let counted = window.turn(Instant::now());
            (window.room(line.denied.code()), counted)
        };
        tell(&counted);
        if room {
            line.write();
        }
    }

    /// Writes the counts of a window that is over.
    pub(super) fn flush(&self) {
        let counted = self.0.lock().unwrap_or_else(PoisonError::into_inner).turn(Instant::now());
        tell(&counted);
    }
}

impl Window {
    /// Begins a new window if this one is over, and gives its counts.
    fn turn(&mut self, now: Instant) -> BTreeMap<&'static str, u64> {
        match self.since {
            Some(since) if now.saturating_duration_since(since) < limits::AUDIT_WINDOW => {
                BTreeMap::new()
            }
            _ => std::mem::replace(self, Window { since: Some(now), ..Window::default() }).left_out,
        }
    }

    fn room(&mut self, code: &'static str) -> bool {
        if self.written < limits::AUDIT_LINES_MAX {
            self.written += 1;
            return true;
        }
        *self.left_out.entry(code).or_default() += 1;
        false
    }
}

fn tell(counted: &BTreeMap<&'static str, u64>) {
    for (code, count) in counted {
        warn!(target: "audit", code, count, "refused, without a line each");
    }
}

impl Line<'_> {
    fn write(&self) {
        let Line { denied, remote, token, wanted, path } = self;
        let (right, access) =
            wanted.map_or((None, Access::Node), |(right, access)| (Some(right.as_str()), access));
        // A text field is written with its control characters escaped, so that it stays one line.
        warn!(
            target: "audit",
            code = denied.code(),
            peer = %remote.address,
            certificate = remote.certificate.as_deref().map(short),
            subject = token.and_then(|token| token.subject.as_deref()).map(short),
            token = token.map(Token::name),
            right,
            namespace = access.namespace(),
            id = access.id().map(short),
            within = if access.id().is_none() { access.within().map(short) } else { None },
            path = (!path.is_empty()).then(|| short(path)),
            detail = short(&denied.detail),
            "refused"
        );
    }
}

/// Its beginning only.
fn short(text: &str) -> String {
    const SHOWN_MAX: usize = 128;
    let more = if text.chars().nth(SHOWN_MAX).is_some() { "…" } else { "" };
    text.chars().take(SHOWN_MAX).chain(more.chars()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_counted_and_not_written() {
        let mut window = Window::default();
        let start = Instant::now();
        assert!(window.turn(start).is_empty());
        let written = (0..10_000).filter(|_| window.room("forbidden")).count();
        assert_eq!(written, limits::AUDIT_LINES_MAX as usize);
        assert!(!window.room("unauthenticated"));
        assert!(window.turn(start + limits::AUDIT_WINDOW / 2).is_empty());
        let counted = window.turn(start + limits::AUDIT_WINDOW);
        assert_eq!(counted["forbidden"], 10_000 - u64::from(limits::AUDIT_LINES_MAX));
        assert_eq!(counted["unauthenticated"], 1);
        assert!(window.room("forbidden"));
    }

    #[test]
    fn what_others_wrote_is_cut() {
        assert_eq!(short("a\nb"), "a\nb");
        assert_eq!(short(&"é".repeat(200)).chars().count(), 129);
    }
}
