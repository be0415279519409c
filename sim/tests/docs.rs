//! docs/SIM.md lists what there is: every fault and every rare situation, in their own words. (Its
//! table of properties is held by a test beside them, its table of planted bugs by the hunt.)

use std::path::Path;

use understudy_sim::faults::Fault;
use understudy_sim::marks::Mark;

#[test]
fn every_fault_and_every_rare_situation_is_explained() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/SIM.md");
    let page = std::fs::read_to_string(page).expect("docs/SIM.md can be read");
    let faults = Fault::ALL.iter().map(|fault| (fault.name(), fault.meaning()));
    let marks = Mark::ALL.iter().map(|mark| (mark.name(), mark.meaning()));
    for (name, meaning) in faults.chain(marks) {
        let row = format!("| `{name}` | {meaning} |");
        assert!(page.lines().any(|line| line == row), "docs/SIM.md has no line\n{row}");
    }
}
