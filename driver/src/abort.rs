//! A thread that must not die alone.

/// Ends the whole process when a panic unwinds through it: a node without its core or its log
/// would hold connections and answer nothing.
#[derive(Debug)]
pub struct AbortOnPanic(());

impl AbortOnPanic {
    /// Runs `body`; the process does not outlive its panic.
    pub fn run<T>(body: impl FnOnce() -> T) -> T {
        let guard = AbortOnPanic(());
        let value = body();
        drop(guard);
        value
    }
}

impl Drop for AbortOnPanic {
    fn drop(&mut self) {
        if std::thread::panicking() {
            std::process::abort();
        }
    }
}
