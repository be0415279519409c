//! Everything that one run does, decided: the world's knobs, the acts of the nemesis, the clients'
//! jobs, and which chances fire. Drawn from a seed, or read from a file that a person may edit.
//!
//! A file is JSON Lines, one fact a line; lines that begin with `#` tell its story.

use std::fmt::Write as _;

use serde::{Deserialize, Serialize};
use understudy_core::Seed;

use crate::acts::{self, TimedAct};
use crate::dice::Chance;
use crate::plan::{Plan, Profile};

/// A whole run.
#[derive(Clone, Debug, PartialEq)]
pub struct Schedule {
    /// What it was drawn from; still decides every value that is not listed.
    pub header: Header,
    /// The world's knobs.
    pub plan: Plan,
    /// What the nemesis does.
    pub acts: Vec<TimedAct>,
    /// What the clients do.
    pub jobs: Vec<Job>,
    /// The chances that fire; `None` lets the plan's rates decide.
    pub chances: Option<Vec<Chance>>,
}

/// Where a schedule is from, and what came of it when it was written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    /// The version of this format.
    pub version: u32,
    /// The seed.
    pub seed: u64,
    /// The profile it was drawn with.
    pub profile: Profile,
    /// The planted bug, if any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mutant: Option<String>,
    /// The property that failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub property: Option<String>,
}

/// One operation of a client.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Job {
    /// The client, from 1.
    pub client: u64,
    /// Its number at this client, from 1: what its chances are drawn from.
    pub job: u64,
    /// The pause before it.
    pub think_ns: u64,
    /// The place of the namespace, from 0.
    pub namespace: usize,
    /// The actor.
    pub actor: u64,
    /// What is asked.
    pub what: What,
}

/// What a job asks. What is expected is what the client knows by then.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs)] // Named as the operations are.
pub enum What {
    Put,
    Create,
    Update(Expect),
    CompareAndSwap(Expect),
    Delete(Expect),
    Batch,
    Read(Level),
    Scan(Level),
}

/// How fresh a look is; a session's goes on from what the client knows by then.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs)] // Named as the levels are.
pub enum Level {
    Linearizable,
    Lease,
    Session,
    Eventual,
}

/// What a job expects of the actor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Expect {
    /// Nothing.
    Any,
    /// The last token the client has seen.
    Token,
    /// Its bare version.
    Version,
    /// That there is no such actor.
    Absent,
}

/// The version of the file format.
const VERSION: u32 = 3;

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[allow(clippy::large_enum_variant, reason = "one of each, written or read one by one")]
enum Row {
    Schedule(Header),
    World(Box<Plan>),
    Act(TimedAct),
    Job(Job),
    /// Only the chances in this file fire.
    OnlyListedChances(bool),
    Chance(Chance),
}

impl Schedule {
    /// The run of `seed`.
    pub fn draw(seed: u64, profile: Profile, mutant: Option<String>) -> Schedule {
        let root = Seed(seed);
        let (plan, work) = Plan::draw(root, profile);
        let acts = acts::draw(root, &plan, &work);
        let jobs = (1..=work.clients)
            .flat_map(|client| draw_jobs(root, client, &plan, work.operations, work.think_max));
        let jobs = jobs.collect();
        let header = Header { version: VERSION, seed, profile, mutant, property: None };
        Schedule { header, plan, acts, jobs, chances: None }
    }

    /// The seed as the root of all else.
    pub fn seed(&self) -> Seed {
        Seed(self.header.seed)
    }

    /// The planted bug.
    #[cfg(sim_mutant)]
    pub fn mutant(&self) -> Option<understudy_core::mutant::Mutant> {
        let name = self.header.mutant.as_ref()?;
        understudy_core::mutant::Mutant::ALL.iter().copied().find(|bug| bug.name() == name)
    }

    /// The clients that have jobs.
    pub fn clients(&self) -> Vec<u64> {
        let mut clients: Vec<u64> = self.jobs.iter().map(|job| job.client).collect();
        clients.sort_unstable();
        clients.dedup();
        clients
    }

    /// The file. `story` goes on top of it.
    pub fn to_text(&self, story: &str) -> String {
        let mut rows =
            vec![Row::Schedule(self.header.clone()), Row::World(Box::new(self.plan.clone()))];
        rows.extend(self.acts.iter().cloned().map(Row::Act));
        rows.extend(self.jobs.iter().cloned().map(Row::Job));
        if let Some(chances) = &self.chances {
            rows.push(Row::OnlyListedChances(true));
            rows.extend(chances.iter().copied().map(Row::Chance));
        }
        let mut text = String::new();
        for line in story.lines() {
            let _ = writeln!(text, "# {line}");
        }
        for row in rows {
            let _ = writeln!(text, "{}", serde_json::to_string(&row).expect("rows_are_plain"));
        }
        text
    }

    /// Reads a file.
    ///
    /// # Errors
    /// One line that says which line is wrong, and how.
    pub fn parse(text: &str) -> Result<Schedule, String> {
        let (mut header, mut plan) = (None, None);
        let (mut acts, mut jobs, mut listed, mut chances) = (vec![], vec![], false, vec![]);
        for (number, line) in (1..).zip(text.lines()) {
            if line.starts_with('#') || line.trim().is_empty() {
                continue;
            }
            let row = serde_json::from_str(line).map_err(|error| {
                format!("line {number} is no line of a schedule ({error}): {line}")
            })?;
            match row {
                Row::Schedule(row) => header = Some(row),
                Row::World(row) => plan = Some(*row),
                Row::Act(row) => acts.push(row),
                Row::Job(row) => jobs.push(row),
                Row::OnlyListedChances(only) => listed = only,
                Row::Chance(row) => chances.push(row),
            }
        }
        let header: Header = header.ok_or("there is no line that begins with {\"schedule\":")?;
        if header.version != VERSION {
            return Err(format!("the schedule is of version {}, not {VERSION}", header.version));
        }
        let plan = plan.ok_or("there is no line that begins with {\"world\":")?;
        let schedule = Schedule { header, plan, acts, jobs, chances: listed.then_some(chances) };
        schedule.check()?;
        Ok(schedule)
    }

    /// Hand-edited numbers must name what exists.
    fn check(&self) -> Result<(), String> {
        let plan = &self.plan;
        if !(1..=9).contains(&plan.nodes)
            || plan.starts.len() as u64 != plan.nodes
            || plan.disks.len() as u64 != plan.nodes
            || plan.clocks.len() as u64 != plan.nodes
        {
            return Err(
                "a world has 1 to 9 nodes, each with a start, a disk and a clock".to_owned()
            );
        }
        if !(1..=crate::plan::NAMESPACES.len() as u64).contains(&plan.namespaces) {
            return Err("a world has 1 or 2 namespaces".to_owned());
        }
        plan.cluster().validate()?;
        let jumps = |act: &TimedAct| matches!(act.act, acts::Act::JumpClock { .. });
        if plan.lease_reads && self.acts.iter().any(jumps) {
            return Err("lease reads are for worlds whose clocks do not jump (ADR 14)".to_owned());
        }
        let stray = self.jobs.iter().find(|job| job.namespace as u64 >= plan.namespaces);
        if let Some(job) = stray {
            return Err(format!("job {} of client {} has no namespace", job.job, job.client));
        }
        match self.acts.iter().find(|act| act.act.nodes().iter().any(|&n| n == 0 || n > plan.nodes))
        {
            Some(act) => Err(format!("`{}` names a node that does not exist", act.act)),
            None => Ok(()),
        }
    }
}

fn draw_jobs(
    seed: Seed,
    client: u64,
    plan: &Plan,
    operations: u64,
    think_max: u64,
) -> impl Iterator<Item = Job> {
    let mut rng = seed.child(&format!("jobs/{client}")).rng();
    let (namespaces, actors) = (plan.namespaces, plan.actors);
    (1..=operations).map(move |job| {
        let think_ns = rng.below(think_max);
        let namespace = rng.below(namespaces) as usize;
        let actor = rng.below(actors);
        let expect = if rng.ppm(700_000) { Expect::Token } else { Expect::Version };
        let level = match rng.below(10) {
            0..4 => Level::Linearizable,
            4..6 if plan.lease_reads => Level::Lease,
            4..6 => Level::Linearizable,
            6..8 => Level::Session,
            _ => Level::Eventual,
        };
        let what = match rng.below(108) {
            0..22 => What::Put,
            22..34 => What::Create,
            34..42 => What::Update(Expect::Any),
            42..50 => What::Update(expect),
            50..60 => What::CompareAndSwap(expect),
            60..65 => What::CompareAndSwap(Expect::Absent),
            65..70 => What::Delete(Expect::Any),
            70..75 => What::Delete(expect),
            75..92 => What::Read(level),
            92..100 => What::Scan(level),
            _ => What::Batch,
        };
        Job { client, job, think_ns, namespace, actor, what }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_schedule_survives_its_file() {
        for seed in 0..50 {
            for profile in [Profile::Swarm, Profile::Standard, Profile::Beyond, Profile::Lying] {
                let mut schedule = Schedule::draw(seed, profile, None);
                let text = schedule.to_text("two\nlines");
                assert!(text.starts_with("# two\n# lines\n{\"schedule\":"));
                assert_eq!(Schedule::parse(&text), Ok(schedule.clone()));
                let fault = crate::faults::Fault::Loss;
                schedule.chances = Some(vec![Chance { fault, place: 12, number: 3 }]);
                schedule.header.mutant = Some("m".to_owned());
                assert_eq!(Schedule::parse(&schedule.to_text("")), Ok(schedule));
            }
        }
    }

    #[test]
    fn a_wrong_line_is_named() {
        let text = Schedule::draw(1, Profile::Swarm, None).to_text("");
        let wrong = format!("{text}{{\"act\":{{\"at_ns\":1,\"dance\":{{}}}}}}\n");
        let error = Schedule::parse(&wrong).expect_err("there is no such act");
        assert!(error.starts_with("line ") && error.contains("dance"), "{error}");
        let stranger =
            format!("{text}{{\"act\":{{\"at_ns\":1,\"crash\":{{\"node\":9,\"down_ns\":1}}}}}}\n");
        let error = Schedule::parse(&stranger).expect_err("there is no such node");
        assert_eq!(error, "`kill N9, down 0 ms` names a node that does not exist");
        assert!(Schedule::parse("").is_err());
    }

    #[test]
    fn every_kind_of_act_is_drawn() {
        let mut seen = std::collections::BTreeSet::new();
        for seed in 0..60 {
            for act in Schedule::draw(seed, Profile::Standard, None).acts {
                let json = serde_json::to_value(&act).expect("acts are plain");
                seen.extend(json.as_object().into_iter().flatten().map(|(key, _)| key.clone()));
            }
        }
        assert_eq!(seen.len(), 1 + 20, "at_ns and every act: {seen:?}");
    }
}
