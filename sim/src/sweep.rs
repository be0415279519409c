//! Many seeds, each isolated: a panic, a hang, an abort or a runaway allocation is one failing seed.
//!
//! The parent starts worker processes (this program again, with `worker`), gives each a short range
//! of seeds and reads one line when a seed starts and one when it is done. A worker ends at its first
//! failure; a fresh one goes on behind it. The worker caps its own address space.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use crate::checks::Class;
use crate::faults::Fault;
use crate::marks::Mark;
use crate::schedule::Schedule;
use crate::simulation::{self, Options, Report};

/// Bytes of address space a worker may use. A run needs a tenth of it.
const ADDRESS_SPACE_MAX: u64 = 2 << 30;
/// Seeds of one worker: its leaks, and a failure, end with it.
const SEEDS_PER_WORKER: u64 = 20;

/// What to sweep.
#[derive(Clone, Debug)]
pub struct Sweep {
    /// The first seed.
    pub start: u64,
    /// How many.
    pub seeds: u64,
    /// No new seeds after this.
    pub until: Option<Instant>,
    /// Workers at a time.
    pub jobs: u64,
    /// Wall time of one seed, after which it counts as hung.
    pub timeout: Duration,
    /// Stop at the first failure.
    pub stop_at_failure: bool,
    /// Words every worker gets besides its range.
    pub worker_words: Vec<String>,
}

/// One failing seed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The seed.
    pub seed: u64,
    /// The class, as an exit code.
    pub exit_code: i32,
    /// What happened, in one line.
    pub words: String,
}

/// What a sweep came to.
#[derive(Clone, Debug, Default)]
pub struct Summary {
    /// Seeds that ended, well or not.
    pub seeds: u64,
    /// Failures in order of seed.
    pub failures: Vec<Failure>,
    /// Sums over the green seeds, by name.
    pub sums: BTreeMap<String, u64>,
    /// Wall time.
    pub wall: Duration,
}

/// The worker's half: runs `seeds` one after the other until one fails.
pub fn work(start: u64, seeds: u64, make: impl Fn(u64) -> (Schedule, Options)) -> i32 {
    if let Err(code) = limit_memory() {
        return code;
    }
    for seed in (start..).take(usize::try_from(seeds).unwrap_or(usize::MAX)) {
        println!("start {seed:#x}");
        let (schedule, options) = make(seed);
        let code = tell(&simulation::run(&schedule, options));
        if code != 0 {
            return code;
        }
    }
    0
}

/// The same for one schedule, from a file that is being shrunk.
pub fn work_on(schedule: &Schedule, options: Options) -> i32 {
    if let Err(code) = limit_memory() {
        return code;
    }
    tell(&simulation::run(schedule, options))
}

fn limit_memory() -> Result<(), i32> {
    rlimit::setrlimit(rlimit::Resource::AS, ADDRESS_SPACE_MAX, ADDRESS_SPACE_MAX).map_err(|error| {
        println!("fail 0x0 {} cannot limit memory: {error}", Class::Harness.exit_code());
        Class::Harness.exit_code()
    })
}

/// Says what a run came to, in one line. Returns the exit code.
fn tell(report: &Report) -> i32 {
    let seed = report.schedule.header.seed;
    match &report.violation {
        None => {
            println!("ok {seed:#x} {}", words(report));
            0
        }
        Some(violation) => {
            let code = violation.class.exit_code();
            println!("fail {seed:#x} {code} {}", violation.to_string().replace('\n', " "));
            code
        }
    }
}

/// The numbers of a green run, as `name=value` words.
fn words(report: &Report) -> String {
    let totals = &report.totals;
    let mut words = vec![
        format!("steps={}", totals.steps),
        format!("virtual_ms={}", report.virtual_ns / 1_000_000),
        format!("starts={}", totals.starts),
        format!("leaders={}", report.elected),
        format!("applied={}", totals.applied),
        format!("replays={}", totals.replays),
        format!("answered={}", totals.answered),
        format!("unknown_answers={}", totals.unknown_answers),
        format!("unknown={}", totals.unknown),
        format!("entangled={}", totals.entangled),
        format!("changes={}", totals.changes),
        format!("heard={}", totals.heard),
    ];
    let faults = Fault::ALL.iter().filter(|&&fault| report.counts.of(fault) > 0);
    words
        .extend(faults.map(|&fault| format!("fault.{}={}", fault.name(), report.counts.of(fault))));
    let marks = Mark::ALL.iter().filter(|&&mark| report.marks.of(mark) > 0);
    words.extend(marks.map(|&mark| format!("mark.{}={}", mark.name(), report.marks.of(mark))));
    words.join(" ")
}

impl Sweep {
    /// Runs it. `on_failure` is called once for each failing seed, `on_seed` for each green one.
    pub fn run(&self, on_failure: impl Fn(&Failure) + Sync, on_seed: impl Fn() + Sync) -> Summary {
        let began = Instant::now();
        let next = Mutex::new(self.start);
        let end = self.start.saturating_add(self.seeds);
        let summary = Mutex::new(Summary::default());
        std::thread::scope(|scope| {
            for _ in 0..self.jobs {
                scope.spawn(|| {
                    while let Some((start, seeds)) = self.claim(&next, end, &summary) {
                        self.chunk(start, seeds, &summary, &on_failure, &on_seed);
                    }
                });
            }
        });
        let mut summary = summary.into_inner().expect("no_thread_panics");
        summary.failures.sort_by_key(|failure| failure.seed);
        summary.wall = began.elapsed();
        summary
    }

    fn claim(&self, next: &Mutex<u64>, end: u64, summary: &Mutex<Summary>) -> Option<(u64, u64)> {
        let failed = !summary.lock().expect("no_thread_panics").failures.is_empty();
        let late = self.until.is_some_and(|until| Instant::now() >= until);
        if late || (self.stop_at_failure && failed) {
            return None;
        }
        let mut next = next.lock().expect("no_thread_panics");
        let start = *next;
        let seeds = SEEDS_PER_WORKER.min(end - start);
        *next += seeds;
        (seeds > 0).then_some((start, seeds))
    }

    /// One range: a fresh worker after each failure.
    fn chunk(
        &self,
        mut start: u64,
        mut seeds: u64,
        summary: &Mutex<Summary>,
        on_failure: &impl Fn(&Failure),
        on_seed: &impl Fn(),
    ) {
        while seeds > 0 {
            let (done, failure) = self.worker(start, seeds, summary, on_seed);
            let Some(failure) = failure else { return };
            on_failure(&failure);
            {
                let mut summary = summary.lock().expect("no_thread_panics");
                summary.seeds += 1;
                summary.failures.push(failure);
            }
            if self.stop_at_failure {
                return;
            }
            start += done + 1;
            seeds -= done + 1;
        }
    }

    /// One worker process: how many seeds were green, and the one that was not.
    fn worker(
        &self,
        start: u64,
        seeds: u64,
        summary: &Mutex<Summary>,
        on_seed: &impl Fn(),
    ) -> (u64, Option<Failure>) {
        let range = ["worker", "--start", &start.to_string(), "--seeds", &seeds.to_string()];
        let program = std::env::current_exe().expect("own_program_is_readable");
        let child = Command::new(program)
            .args(range)
            .args(&self.worker_words)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn();
        let mut child = match child {
            Ok(child) => child,
            Err(error) => {
                return (0, Some(harness(start, format!("cannot start a worker: {error}"))));
            }
        };
        let lines = read_lines(&mut child);
        let mut done = 0;
        while done < seeds {
            let seed = start + done;
            match lines.recv_timeout(self.timeout) {
                Ok(line) => match parse(&line) {
                    Some(Line::Start) => {}
                    Some(Line::Ok(numbers)) => {
                        let mut summary = summary.lock().expect("no_thread_panics");
                        summary.seeds += 1;
                        for (name, value) in numbers {
                            *summary.sums.entry(name).or_default() += value;
                        }
                        done += 1;
                        on_seed();
                    }
                    Some(Line::Fail(exit_code, words)) => {
                        let _ = child.wait();
                        return (done, Some(Failure { seed, exit_code, words }));
                    }
                    None => {
                        stop(&mut child);
                        return (done, Some(harness(seed, format!("a worker said `{line}`"))));
                    }
                },
                Err(RecvTimeoutError::Timeout) => {
                    stop(&mut child);
                    let words = format!("hang: no end after {} s", self.timeout.as_secs());
                    let exit_code = Class::Liveness.exit_code();
                    return (done, Some(Failure { seed, exit_code, words }));
                }
                Err(RecvTimeoutError::Disconnected) => {
                    let ended = child.wait().map(|status| status.to_string());
                    let words = format!("abort: the process ended ({})", ended.unwrap_or_default());
                    let exit_code = Class::Crash.exit_code();
                    return (done, Some(Failure { seed, exit_code, words }));
                }
            }
        }
        let _ = child.wait();
        (done, None)
    }
}

fn harness(seed: u64, words: String) -> Failure {
    Failure { seed, exit_code: Class::Harness.exit_code(), words }
}

fn stop(child: &mut Child) {
    // It may have ended by itself meanwhile.
    let _ = child.kill();
    let _ = child.wait();
}

fn read_lines(child: &mut Child) -> Receiver<String> {
    let (send, receive) = mpsc::channel();
    let stdout = child.stdout.take();
    std::thread::spawn(move || {
        for line in stdout.into_iter().flat_map(|out| BufReader::new(out).lines()) {
            let Ok(line) = line else { return };
            if send.send(line).is_err() {
                return;
            }
        }
    });
    receive
}

enum Line {
    Start,
    Ok(Vec<(String, u64)>),
    Fail(i32, String),
}

fn parse(line: &str) -> Option<Line> {
    let mut words = line.splitn(3, ' ');
    let (kind, _seed) = (words.next()?, words.next()?);
    let rest = words.next().unwrap_or_default();
    match kind {
        "start" => Some(Line::Start),
        "ok" => {
            let numbers = rest.split(' ').map(|word| {
                let (name, value) = word.split_once('=')?;
                Some((name.to_owned(), value.parse().ok()?))
            });
            numbers.collect::<Option<_>>().map(Line::Ok)
        }
        "fail" => {
            let (code, words) = rest.split_once(' ')?;
            Some(Line::Fail(code.parse().ok()?, words.to_owned()))
        }
        _ => None,
    }
}

impl Summary {
    /// The fault kinds that never fired.
    pub fn silent_faults(&self) -> Vec<&'static str> {
        let silent = |fault: &&Fault| self.fault(**fault) == 0;
        Fault::ALL.iter().filter(silent).map(|fault| fault.name()).collect()
    }

    /// The situations that were never met.
    pub fn unmet_marks(&self) -> Vec<&'static str> {
        let unmet = |mark: &&Mark| self.mark(**mark) == 0;
        Mark::ALL.iter().filter(unmet).map(|mark| mark.name()).collect()
    }

    /// How often a fault fired.
    pub fn fault(&self, fault: Fault) -> u64 {
        self.sum(&format!("fault.{}", fault.name()))
    }

    /// How often a situation was met.
    pub fn mark(&self, mark: Mark) -> u64 {
        self.sum(&format!("mark.{}", mark.name()))
    }

    /// A sum by its name.
    pub fn sum(&self, name: &str) -> u64 {
        self.sums.get(name).copied().unwrap_or(0)
    }
}

impl std::fmt::Display for Summary {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let wall_ms = u64::try_from(self.wall.as_millis()).unwrap_or(u64::MAX).max(1);
        let rate_x10 = self.seeds * 10_000 / wall_ms;
        let (virtual_s, wall_s) = (self.sum("virtual_ms") / 1000, wall_ms / 1000);
        write!(
            f,
            "seeds {} ({} failed), steps {}, virtual time {virtual_s} s in {wall_s} s, starts {}, \
             leaders elected {}, operations answered {}, op-log replays {}, answers lost {}, \
             outcomes left unknown {}, histories too entangled {}, changes checked {}, heard by \
             subscribers and checked {}",
            self.seeds,
            self.failures.len(),
            self.sum("steps"),
            self.sum("starts"),
            self.sum("leaders"),
            self.sum("answered"),
            self.sum("replays"),
            self.sum("unknown_answers"),
            self.sum("unknown"),
            self.sum("entangled"),
            self.sum("changes"),
            self.sum("heard"),
        )?;
        let faults =
            Fault::ALL.iter().map(|&fault| format!("{} {}", fault.name(), self.fault(fault)));
        let faults: Vec<_> = faults.collect();
        let met = Mark::ALL.len() - self.unmet_marks().len();
        write!(
            f,
            "; faults: {}; marks {met} of {}; {}.{} seeds/s",
            faults.join(", "),
            Mark::ALL.len(),
            rate_x10 / 10,
            rate_x10 % 10
        )
    }
}
