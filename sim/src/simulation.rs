//! One seed, from the drawing of its world to the verdict.
//!
//! Two phases with two judges. First the clients work under faults, and nothing wrong may happen.
//! Then the faults stop, and within a bound the cluster must elect, answer every client, take a
//! write in every namespace, and bring all replicas to the same index.

use std::panic::{self, AssertUnwindSafe};
use std::rc::Rc;
use std::sync::Mutex;

use madsim::runtime::Runtime;
use madsim::task::{JoinHandle, spawn_local};
use understudy_core::Seed;

use crate::checks::{Class, Violation};
use crate::client::Client;
use crate::faults::Counts;
use crate::nemesis::Nemesis;
use crate::plan::Plan;
use crate::stage::Stage;
use crate::trace::Reader;
use crate::world::{Totals, World};

/// Virtual time within which a healed cluster must serve and converge.
const CONVERGE_NS: u64 = 15_000_000_000;

/// What to run.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Who reads the trace.
    pub reader: Reader,
    /// Something that must fail, to see that failures surface.
    pub canary: Option<Canary>,
    /// A bug to plant.
    #[cfg(sim_mutant)]
    pub mutant: Option<understudy_core::mutant::Mutant>,
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
    /// The seed.
    pub seed: Seed,
    /// The world's knobs.
    pub plan: Plan,
    /// What fired.
    pub counts: Counts,
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
    /// The broken promise, if any.
    pub violation: Option<Violation>,
}

/// What is known of a run that is under way, for the card of one that panics.
static UNDER_WAY: Mutex<Option<Report>> = Mutex::new(None);
static PANIC: Mutex<Option<String>> = Mutex::new(None);

/// Runs one seed on a thread of its own.
pub fn run(seed: Seed, options: Options) -> Report {
    keep_panics();
    let body = move || panic::catch_unwind(AssertUnwindSafe(|| run_here(seed, options)));
    let thread = std::thread::Builder::new().name(format!("seed {:#x}", seed.0)).spawn(body);
    let result = thread.map_err(|error| error.to_string()).and_then(|thread| {
        let caught = thread.join().unwrap_or_else(Err);
        caught.map_err(|_| take(&PANIC).unwrap_or_else(|| "a panic without words".to_owned()))
    });
    result.unwrap_or_else(|words| {
        let mut report = take(&UNDER_WAY).unwrap_or_else(|| Report::empty(seed));
        let name = words.split([':', ' ']).next().unwrap_or("panic").to_owned();
        let property = if name.contains('_') { name } else { "panic".to_owned() };
        report.violation = Some(Violation { class: Class::Crash, property, explanation: words });
        report
    })
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

fn run_here(seed: Seed, options: Options) -> Report {
    #[cfg(sim_mutant)]
    understudy_core::mutant::Mutant::plant(options.mutant);
    let runtime = Runtime::with_seed_and_config(seed.child("madsim").0, madsim::Config::default());
    runtime.block_on(play(seed, options))
}

async fn play(seed: Seed, options: Options) -> Report {
    let world = World::new(seed, options.reader);
    let plan = world.plan.clone();
    let stage = Stage::new(world);
    // A panic unwinds through the tasks; replicas may only be dropped in order, so they are not.
    std::mem::forget(Rc::clone(&stage));
    keep(Report::of(&stage));
    stage.world().start_all();
    let mut tasks = vec![spawn_pump(&stage)];
    tasks.push(spawn_local(Nemesis::new(&stage, &plan, seed).work()));
    let clients: Vec<_> = (1..=plan.clients)
        .map(|id| spawn_local(Client::new(id, &stage, &plan, seed).work()))
        .collect();
    safety_phase(&stage, &plan, &clients).await;
    play_canary(&stage, options.canary);
    stage.world().calm();
    let prover = Client::new(plan.clients + 1, &stage, &plan, seed);
    let prover = spawn_local(prover.prove_service());
    liveness_phase(&stage, &clients, &prover).await;
    if options.canary == Some(Canary::Safety) && stage.oracle().acked() > 0 {
        let why = "a change was acknowledged, and this canary says that none ever is";
        stage.world().fail(Violation::safety("canary", why));
    }
    if !stage.world().is_over() {
        judge(&stage);
    }
    let report = Report::of(&stage);
    // Nothing may be left pending: the runtime leaks what is.
    stage.world().end();
    for task in tasks.into_iter().chain(clients).chain([prover]) {
        let _ = task.await;
    }
    report
}

fn spawn_pump(stage: &Rc<Stage>) -> JoinHandle<()> {
    let stage = Rc::clone(stage);
    spawn_local(async move { stage.pump().await })
}

async fn safety_phase(stage: &Stage, plan: &Plan, clients: &[JoinHandle<()>]) {
    const LOOK: u64 = 5_000_000;
    while !stage.world().is_over()
        && stage.world().now() < plan.safety_ns
        && clients.iter().any(|client| !client.is_finished())
    {
        stage.sleep(LOOK).await;
    }
}

async fn liveness_phase(stage: &Stage, clients: &[JoinHandle<()>], prover: &JoinHandle<()>) {
    const LOOK: u64 = 10_000_000;
    let until = stage.world().now() + CONVERGE_NS;
    loop {
        let busy: Vec<_> = (clients.iter().enumerate())
            .filter(|(_, client)| !client.is_finished())
            .map(|(index, _)| format!("client {} has no answer", index + 1))
            .collect();
        let pending = if !busy.is_empty() {
            Some(busy.join(", "))
        } else if !prover.is_finished() {
            Some("a namespace takes no write or gives no read".to_owned())
        } else {
            stage.world().pending()
        };
        let Some(pending) = pending else { return };
        if stage.world().is_over() {
            return;
        }
        if stage.world().now() > until {
            let state = stage.world().pending().unwrap_or_else(|| "replicas are level".to_owned());
            let explanation = format!(
                "{} s after the faults stopped: {pending}; {state}",
                CONVERGE_NS / 1_000_000_000
            );
            let property = "converges".to_owned();
            return stage.world().fail(Violation { class: Class::Liveness, property, explanation });
        }
        stage.sleep(LOOK).await;
    }
}

fn judge(stage: &Stage) {
    let state = stage.world().final_state();
    let verdict = state.and_then(|state| stage.oracle().judge(&state));
    match verdict {
        Ok(entangled) => stage.world().totals.entangled = entangled,
        Err(violation) => stage.world().fail(violation),
    }
}

fn play_canary(stage: &Stage, canary: Option<Canary>) {
    match canary {
        None | Some(Canary::Safety) => {}
        Some(Canary::Liveness) => {
            let (property, explanation) = ("canary".to_owned(), "nobody waited".to_owned());
            let class = Class::Liveness;
            stage.world().fail(Violation { class, property, explanation });
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
            seed: world.seed(),
            plan: world.plan.clone(),
            counts: world.counts,
            totals: Totals { answered, unknown, ..world.totals },
            elected: world.elected(),
            virtual_ns: world.now(),
            trace_hash: world.trace.hash(),
            trace_lines: world.trace.lines(),
            violation: world.violation.clone(),
        }
    }

    /// A report of a run that never began.
    pub fn empty(seed: Seed) -> Report {
        Report {
            seed,
            plan: Plan::draw(seed),
            counts: Counts::default(),
            totals: Totals::default(),
            elected: 0,
            virtual_ns: 0,
            trace_hash: 0,
            trace_lines: 0,
            violation: None,
        }
    }
}
