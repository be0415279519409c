//! `mutants`: how many seeds each planted bug survives.

use super::{Mutants, Outcome};

#[cfg(not(sim_mutant))]
pub fn hunt(_hunt: &Mutants) -> Outcome {
    Err("this build has no planted bugs: use `cargo xtask mutants`".to_owned())
}

#[cfg(sim_mutant)]
pub use with_bugs::hunt;

#[cfg(sim_mutant)]
mod with_bugs {
    use std::time::Duration;

    use understudy_core::mutant::Mutant;

    use super::{Mutants, Outcome};
    use crate::checks::Class;
    use crate::cli::{Bench, How, processors};
    use crate::plan::Profile;
    use crate::sweep::{Failure, Sweep};

    /// Bugs that need more damage than the cluster must bear: hunted beyond the budget.
    const BEYOND: &[&str] = &["forms_with_majority", "pin_not_persisted"];
    /// Bugs so rare that the short hunt of the tests passes them over; why is in docs/SIM.md.
    const RARE: &[&str] = &[
        "forward_refusal_believed",
        "proposes_before_applied",
        "pin_not_persisted",
        "snapshot_name_shared",
        "lease_ignores_drift",
        "lease_outlives_leader",
        "promise_forgotten",
    ];

    /// Hunts for every bug, or lists them.
    pub fn hunt(hunt: &Mutants) -> Outcome {
        let mutants: Vec<Mutant> = match &hunt.only {
            None => Mutant::ALL.to_vec(),
            Some(name) => {
                super::super::check_mutant(Some(name))?;
                Mutant::ALL.iter().copied().filter(|mutant| mutant.name() == name).collect()
            }
        };
        if hunt.list {
            mutants.iter().for_each(|mutant| println!("{}", mutant.name()));
            return Ok(0);
        }
        println!("| planted bug | from | all judges | client oracle alone | caught by |");
        println!("|---|---|---|---|---|");
        let wanted = |mutant: &&Mutant| !hunt.skip_rare || !RARE.contains(&mutant.name());
        if let Some(failure) = control(hunt) {
            return Err(format!("without a planted bug this build fails: {}", failure.words));
        }
        let survivors = mutants.iter().filter(wanted).filter(|&&mutant| !one(hunt, mutant)).count();
        Ok(if survivors == 0 { 0 } else { Class::Harness.exit_code() })
    }

    /// A few seeds without a bug, which must be green.
    fn control(hunt: &Mutants) -> Option<Failure> {
        let sweep = Sweep {
            start: hunt.start,
            seeds: 40,
            until: None,
            jobs: processors(),
            timeout: Duration::from_secs(60),
            stop_at_failure: true,
            worker_words: How::default().words(),
        };
        sweep.run(|_| {}, || {}).failures.into_iter().next()
    }

    /// Hunts for one bug and prints its row; whether it was caught.
    fn one(hunt: &Mutants, mutant: Mutant) -> bool {
        let all = median(hunt, mutant, Bench::All);
        let client = if hunt.both_judges { median(hunt, mutant, Bench::Client) } else { None };
        let seeds = |caught: &Option<(u64, Failure)>, none: &str| match caught {
            Some((seeds, _)) => seeds.to_string(),
            None => none.to_owned(),
        };
        let by = [&all, &client]
            .into_iter()
            .flatten()
            .map(|(_, failure)| failure.words.split(':').next().unwrap_or_default().to_owned());
        let mut by: Vec<String> = by.collect();
        by.dedup();
        let survived = format!("SURVIVED {}", hunt.seeds);
        println!(
            "| `{}` | {} | {} | {} | {} |",
            mutant.name(),
            mutant.source(),
            seeds(&all, &survived),
            seeds(&client, if hunt.both_judges { "-" } else { "not asked" }),
            by.join("; "),
        );
        all.is_some()
    }

    /// The median of the seeds it took, over the hunts; `None` if it survived one of them.
    fn median(hunt: &Mutants, mutant: Mutant, judge: Bench) -> Option<(u64, Failure)> {
        let beyond = BEYOND.contains(&mutant.name());
        let profile = if beyond { Profile::Beyond } else { Profile::Swarm };
        let how = How { mutant: Some(mutant.name().to_owned()), judge, profile, ..How::default() };
        let mut caught = Vec::new();
        for number in 0..hunt.hunts {
            let start = hunt.start.wrapping_add(number * 1_000_003);
            let sweep = Sweep {
                start,
                seeds: hunt.seeds,
                until: None,
                jobs: processors(),
                timeout: Duration::from_secs(60),
                stop_at_failure: true,
                worker_words: how.words(),
            };
            let summary = sweep.run(|_| {}, || {});
            // A hang, an abort or a failing harness says nothing about the bug.
            let judged = |failure: &Failure| {
                ["safety ", "liveness ", "crash "]
                    .iter()
                    .any(|word| failure.words.starts_with(word))
            };
            let failure = summary.failures.into_iter().find(judged)?;
            caught.push((failure.seed - start + 1, failure));
        }
        caught.sort_by_key(|(seeds, _)| *seeds);
        let middle = caught.len() / 2;
        caught.into_iter().nth(middle)
    }
}
