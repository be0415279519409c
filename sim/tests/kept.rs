//! Kept schedules: each led to a bug once, and must stay green. `cargo sim keep` adds one.

use std::path::Path;

use understudy_sim::schedule::Schedule;
use understudy_sim::simulation::{self, Options};

#[test]
fn every_kept_schedule_is_green() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/kept");
    let mut played = 0;
    for entry in std::fs::read_dir(folder).expect("the folder is there") {
        let path = entry.expect("it can be listed").path();
        if path.extension().is_none_or(|extension| extension != "jsonl") {
            continue;
        }
        let text = std::fs::read_to_string(&path).expect("it can be read");
        let mut schedule =
            Schedule::parse(&text).unwrap_or_else(|error| panic!("{path:?}: {error}"));
        // Of a planted bug, the schedule stays and the bug does not.
        schedule.header.mutant = None;
        let report = simulation::run(&schedule, Options::default());
        assert_eq!(report.violation, None, "{} fails again", path.display());
        assert!(report.totals.steps > 10, "{} does nothing any more", path.display());
        played += 1;
    }
    assert!(played > 0, "nothing is kept, so nothing was played");
}
