//! Lines for people on standard output.

/// Prints one line. A reader that has gone away (`| head`) ends nobody: a cluster does not stop
/// because its greeting was cut short.
macro_rules! say {
    ($($words:tt)*) => {{
        use std::io::Write as _;
        let _ = writeln!(std::io::stdout(), $($words)*);
    }};
}

pub(crate) use say;
