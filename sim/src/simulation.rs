//! One run, from its schedule to the verdict.
//!
//! Two phases with two judges. First the clients work under faults, and nothing wrong may happen.
//! Then the faults stop, and within a bound the cluster must elect, answer every client, take a
//! write in every namespace, and bring all replicas to the same index.

use std::panic::{self, AssertUnwindSafe};
use std::rc::Rc;
use std::sync::Mutex;

use madsim::runtime::Runtime;
use madsim::task::{JoinHandle, spawn_local};
use understudy_core::{GroupId, Outcome};

use crate::checks::{Class, Violation, canary, converges};
use crate::client::Client;
use crate::dice::Chance;
use crate::faults::Counts;
use crate::history::{self, Fate};
use crate::marks::Marks;
use crate::nemesis::Nemesis;
use crate::plan::Plan;
use crate::schedule::Schedule;
use crate::stage::Stage;
use crate::subscriber::Subscriber;
use crate::world::{Totals, World};

/// Virtual time within which a healed cluster must serve and converge.
const CONVERGE_NS: u64 = 15_000_000_000;
/// How long a cluster without a quorum of intact nodes is watched for lies.
const NO_QUORUM_NS: u64 = 2_000_000_000;

/// How to run.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    /// Keep every line, for a card, a trace or a timeline.
    pub keep_lines: bool,
    /// Who judges.
    pub judges: Judges,
    /// Something that must fail, to see that failures surface.
    pub canary: Option<Canary>,
}

/// Who judges.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Judges {
    /// Those who look inside; the clients' oracle always judges.
    pub server: bool,
}

impl Default for Judges {
    fn default() -> Judges {
        Judges { server: true }
    }
}

impl Judges {
    /// Whether somebody who sits has found `violation`.
    pub fn hear(self, violation: &Violation) -> bool {
        self.server || violation.is_for_clients()
    }
}

/// A run that must fail: it proves that failures surface.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Canary {
    /// A property that no store has: nothing is ever acknowledged.
    Safety,
    /// The faults stop, but nobody waits for the cluster.
    Liveness,
    /// A check of the program itself fails.
    Panic,
    /// The run does not end.
    Hang,
    /// The run takes all memory.
    Memory,
}

/// What a run came to.
#[derive(Clone, Debug)]
pub struct Report {
    /// What was run.
    pub schedule: Schedule,
    /// What fired.
    pub counts: Counts,
    /// Which rare situations were met.
    pub marks: Marks,
    /// Steps and the like.
    pub totals: Totals,
    /// Leaders elected.
    pub elected: u64,
    /// Virtual time.
    pub virtual_ns: u64,
    /// The hash of the whole trace.
    pub trace_hash: u64,
    /// Its lines.
    pub trace_lines: u64,
    /// The chances that fired.
    pub chances: Vec<Chance>,
    /// The broken promise, if any.
    pub violation: Option<Violation>,
}

/// What is known of a run that is under way, for the card of one that panics.
static UNDER_WAY: Mutex<Option<Report>> = Mutex::new(None);
static PANIC: Mutex<Option<String>> = Mutex::new(None);

/// Runs one schedule on a thread of its own. The lines, if kept, are in [`crate::trace`] then.
pub fn run(schedule: &Schedule, options: Options) -> Report {
    keep_panics();
    let (name, mine) = (format!("seed {:#x}", schedule.header.seed), schedule.clone());
    let body = move || panic::catch_unwind(AssertUnwindSafe(|| run_here(&mine, options)));
    let thread = std::thread::Builder::new().name(name).spawn(body);
    let result = thread.map_err(|error| error.to_string()).and_then(|thread| {
        let caught = thread.join().unwrap_or_else(Err);
        caught.map_err(|_| take(&PANIC).unwrap_or_else(|| "a panic without words".to_owned()))
    });
    result.unwrap_or_else(|words| {
        let mut report = take(&UNDER_WAY).unwrap_or_else(|| Report::empty(schedule));
        let violation = of_panic(words);
        report.violation = options.judges.hear(&violation).then_some(violation);
        report
    })
}

/// A panic's words begin with the invariant's name, if it is one of ours.
fn of_panic(words: String) -> Violation {
    let name = words.split([':', ' ']).next().unwrap_or("panic").to_owned();
    // Else the place tells one panic from another.
    let place = words.rsplit_once('[').map_or("nowhere", |(_, place)| place.trim_end_matches(']'));
    let property = if name.contains('_') { name } else { format!("panic@{place}") };
    Violation { class: Class::Crash, ..Violation::safety(&property, words.clone()) }
}

/// Keeps what is known of the run that is under way.
pub fn keep(report: Report) {
    if let Ok(mut under_way) = UNDER_WAY.lock() {
        *under_way = Some(report);
    }
}

fn take<T>(place: &Mutex<Option<T>>) -> Option<T> {
    place.lock().ok().and_then(|mut held| held.take())
}

/// The last panic's words and place are kept for the card instead of being printed.
fn keep_panics() {
    panic::set_hook(Box::new(|info| {
        let words = info.payload_as_str().unwrap_or("a panic without words");
        let at = info.location().map(|at| format!("{}:{}", at.file(), at.line()));
        if let Ok(mut panic) = PANIC.lock() {
            panic.get_or_insert_with(|| format!("{words} [{}]", at.unwrap_or_default()));
        }
    }));
}

fn run_here(schedule: &Schedule, options: Options) -> Report {
    #[cfg(sim_mutant)]
    {
        understudy_core::mutant::Mutant::plant(schedule.mutant());
        understudy_plan::mutant::plant(schedule.mutant().map(|mutant| mutant.name()));
    }
    let seed = schedule.seed().child("madsim").0;
    let runtime = Runtime::with_seed_and_config(seed, madsim::Config::default());
    runtime.block_on(play(schedule.clone(), options))
}

async fn play(schedule: Schedule, options: Options) -> Report {
    let (plan, seed) = (schedule.plan.clone(), schedule.seed());
    let world = World::new(&schedule, options.judges, options.keep_lines);
    let stage = Stage::new(world, schedule.clone());
    // A panic unwinds through the tasks; replicas may only be dropped in order, so they are not.
    std::mem::forget(Rc::clone(&stage));
    keep(Report::of(&stage));
    stage.world().start_all();
    let mut tasks = vec![spawn_pump(&stage)];
    tasks.push(spawn_local(Nemesis::new(&stage, &schedule.acts).work()));
    let clients: Vec<_> = (schedule.clients().into_iter())
        .map(|id| {
            let jobs = schedule.jobs.iter().filter(|job| job.client == id).cloned().collect();
            (id, spawn_local(Client::new(id, &stage, &plan, seed).work(jobs)))
        })
        .collect();
    let subscribers = (0..plan.subscribers * plan.namespaces)
        .map(|id| spawn_local(Subscriber::new(FIRST_SUBSCRIBER + id, &stage, &plan, seed).work()));
    tasks.extend(subscribers);
    safety_phase(&stage, &plan, &clients).await;
    play_canary(&stage, options.canary);
    stage.world().calm();
    let prover = Client::new(PROVER, &stage, &plan, seed);
    let prover = spawn_local(prover.prove_service());
    liveness_phase(&stage, &clients, &prover, options.judges).await;
    if options.canary == Some(Canary::Safety) {
        let verdict = canary::check(stage.oracle().acked());
        verdict.unwrap_or_else(|violation| stage.world().fail(violation));
    }
    if !stage.world().is_over() {
        judge(&stage, options.judges);
    }
    let report = Report::of(&stage);
    // Nothing may be left pending: the runtime leaks what is.
    stage.world().end();
    for task in tasks.into_iter().chain(clients.into_iter().map(|(_, task)| task)).chain([prover]) {
        let _ = task.await;
    }
    report
}

/// Subscribers are numbered from here; it is a multiple of any number of namespaces.
const FIRST_SUBSCRIBER: u64 = 100;
/// The client that proves service when the faults have stopped.
const PROVER: u64 = 99;

fn spawn_pump(stage: &Rc<Stage>) -> JoinHandle<()> {
    let stage = Rc::clone(stage);
    spawn_local(async move { stage.pump().await })
}

async fn safety_phase(stage: &Stage, plan: &Plan, clients: &[(u64, JoinHandle<()>)]) {
    const LOOK: u64 = 5_000_000;
    while !stage.world().is_over()
        && stage.world().now() < plan.safety_ns
        && clients.iter().any(|(_, client)| !client.is_finished())
    {
        stage.sleep(LOOK).await;
    }
}

/// Waits until the healed cluster has served everybody and converged, and says what is pending
/// when it has not in time. Without a quorum of intact nodes it owes nothing but silence or truth.
async fn liveness_phase(
    stage: &Stage,
    clients: &[(u64, JoinHandle<()>)],
    prover: &JoinHandle<()>,
    judges: Judges,
) {
    const LOOK: u64 = 10_000_000;
    let began = stage.world().now();
    loop {
        let Some(pending) = pending(stage, clients, prover, judges) else { return };
        let (now, is_over, has_quorum) = {
            let world = stage.world();
            (world.now(), world.is_over(), world.has_quorum())
        };
        if is_over || (!has_quorum && now > began + NO_QUORUM_NS) {
            return;
        }
        if let Err(violation) = converges::check(Some(&pending), now - began, CONVERGE_NS) {
            return stage.world().fail(violation);
        }
        stage.sleep(LOOK).await;
    }
}

/// Why the run cannot end yet.
fn pending(
    stage: &Stage,
    clients: &[(u64, JoinHandle<()>)],
    prover: &JoinHandle<()>,
    judges: Judges,
) -> Option<String> {
    let busy: Vec<_> = (clients.iter())
        .filter(|(_, client)| !client.is_finished())
        .map(|(id, _)| format!("client {id} has no answer"))
        .collect();
    let unserved = if !busy.is_empty() {
        Some(busy.join(", "))
    } else if !prover.is_finished() {
        Some("a namespace takes no write or gives no read".to_owned())
    } else {
        None
    };
    // Clients do not see whether the replicas are level.
    let level = || {
        let world = stage.world();
        let behind = world.behind();
        world.pending().or_else(|| (!behind.is_empty()).then(|| behind.join(", ")))
    };
    let unlevel = judges.server.then(level).flatten();
    match (unserved, unlevel) {
        (Some(unserved), Some(unlevel)) => Some(format!("{unserved}; {unlevel}")),
        (unserved, unlevel) => unserved.or(unlevel),
    }
}

/// Tells the history what the store removed by itself.
fn note_expired(stage: &Stage) {
    let world = stage.world();
    let mut oracle = stage.oracle();
    for (group, tick, expired) in world.expired.all() {
        if let Some(namespace) = group.0.checked_sub(1) {
            oracle.expired(namespace as usize, tick, expired);
        }
    }
}

fn judge(stage: &Stage, judges: Judges) {
    note_expired(stage);
    let verdict = judge_server(stage, judges).and_then(|()| stage.oracle().judge_client());
    match verdict {
        Ok(verdicts) => stage.world().totals.entangled = verdicts.entangled,
        Err(violation) => stage.world().fail(violation),
    }
}

/// Those who look inside need a cluster that has converged.
fn judge_server(stage: &Stage, judges: Judges) -> Result<(), Violation> {
    let settled = stage.world().has_quorum() && stage.world().pending().is_none();
    if !judges.server || !settled {
        return Ok(());
    }
    let state = stage.world().final_state()?;
    let groups = stage.world().groups();
    for (group, (dump, end)) in groups.into_iter().zip(&state) {
        stage.world().changes.check_rows(group, dump, *end)?;
    }
    for entry in stage.oracle().entries() {
        let (Some(sequence), Fate::Outcome(outcome)) = (entry.sequence(), &entry.fate) else {
            continue;
        };
        let token = match outcome {
            Outcome::Written { token, .. } => Some(*token),
            _ => None,
        };
        let group = GroupId(u32::try_from(entry.namespace + 1).unwrap_or(0));
        let actor = history::actor(entry.actor);
        stage.world().changes.check_acked(group, &actor, sequence, token)?;
    }
    stage.oracle().judge_server(&state)
}

fn play_canary(stage: &Stage, canary: Option<Canary>) {
    match canary {
        None | Some(Canary::Safety) => {}
        Some(Canary::Liveness) => {
            stage.world().fail(Violation::liveness("canary", "nobody waited"));
        }
        Some(Canary::Panic) => panic!("canary_panics: this canary panics"),
        Some(Canary::Hang) => loop {
            std::hint::spin_loop();
        },
        Some(Canary::Memory) => {
            let mut hoard: Vec<Vec<u8>> = Vec::new();
            loop {
                hoard.push(vec![1; 64 << 20]);
                std::hint::black_box(&hoard);
            }
        }
    }
}

impl Report {
    /// What is known now.
    pub fn of(stage: &Stage) -> Report {
        let (answered, unknown) = stage.oracle().tally();
        let world = stage.world();
        Report {
            schedule: stage.schedule.clone(),
            counts: world.counts,
            marks: world.marks,
            totals: Totals { answered, unknown, changes: world.changes.checked(), ..world.totals },
            elected: world.elected(),
            virtual_ns: world.now(),
            trace_hash: world.trace.hash(),
            trace_lines: world.trace.lines(),
            chances: world.dice.fired().to_vec(),
            violation: world.violation.clone(),
        }
    }

    /// A report of a run that never began.
    pub fn empty(schedule: &Schedule) -> Report {
        Report {
            schedule: schedule.clone(),
            counts: Counts::default(),
            marks: Marks::default(),
            totals: Totals::default(),
            elected: 0,
            virtual_ns: 0,
            trace_hash: 0,
            trace_lines: 0,
            chances: Vec::new(),
            violation: None,
        }
    }
}
