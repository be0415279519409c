//! Planted bugs of the client, to test the tester. Only in a build with `--cfg sim_mutant`.

use std::cell::RefCell;

thread_local! {
    static CURRENT: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Plants the bug of this name, and no other, for clients on this thread. The names and their
/// stories are in the core's catalogue.
pub fn plant(name: Option<&str>) {
    CURRENT.set(name.map(str::to_owned));
}

/// Whether the bug of this name is planted.
pub fn is_planted(name: &str) -> bool {
    CURRENT.with_borrow(|current| current.as_deref() == Some(name))
}
