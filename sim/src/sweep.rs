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

use understudy_core::Seed;

use crate::checks::Class;
use crate::faults::Fault;
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
pub fn work(start: u64, seeds: u64, options: impl Fn(u64) -> Options) -> i32 {
    if let Err(error) =
        rlimit::setrlimit(rlimit::Resource::AS, ADDRESS_SPACE_MAX, ADDRESS_SPACE_MAX)
    {
        println!("fail {start:#x} {} cannot limit memory: {error}", Class::Harness.exit_code());
        return Class::Harness.exit_code();
    }
    for seed in (start..).take(usize::try_from(seeds).unwrap_or(usize::MAX)) {
        println!("start {seed:#x}");
        let report = simulation::run(Seed(seed), options(seed));
        match &report.violation {
            None => println!("ok {seed:#x} {}", words(&report)),
            Some(violation) => {
                let code = violation.class.exit_code();
                println!("fail {seed:#x} {code} {}", violation.to_string().replace('\n', " "));
                return code;
            }
        }
    }
    0
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
    ];
    words.extend(Fault::ALL.map(|fault| format!("{}={}", fault.name(), report.counts.of(fault))));
    words.join(" ")
}

impl Sweep {
    /// Runs it. `on_failure` is called once for each failing seed.
    pub fn run(&self, on_failure: impl Fn(&Failure) + Sync) -> Summary {
        let began = Instant::now();
        let next = Mutex::new(self.start);
        let end = self.start + self.seeds;
        let summary = Mutex::new(Summary::default());
        std::thread::scope(|scope| {
            for _ in 0..self.jobs {
                scope.spawn(|| {
                    while let Some((start, seeds)) = self.claim(&next, end, &summary) {
                        self.chunk(start, seeds, &summary, &on_failure);
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
        if self.stop_at_failure && failed {
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
    ) {
        while seeds > 0 {
            let (done, failure) = self.worker(start, seeds, summary);
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
    fn worker(&self, start: u64, seeds: u64, summary: &Mutex<Summary>) -> (u64, Option<Failure>) {
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
        let silent = |fault: &Fault| self.sum(fault.name()) == 0;
        Fault::ALL.into_iter().filter(silent).map(Fault::name).collect()
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
        write!(
            f,
            "seeds {} ({} failed), steps {}, virtual time {} s, starts {}, leaders elected {}, \
             operations answered {}, op-log replays {}, answers lost {}, outcomes left unknown {}, \
             histories too entangled {}",
            self.seeds,
            self.failures.len(),
            self.sum("steps"),
            self.sum("virtual_ms") / 1000,
            self.sum("starts"),
            self.sum("leaders"),
            self.sum("answered"),
            self.sum("replays"),
            self.sum("unknown_answers"),
            self.sum("unknown"),
            self.sum("entangled"),
        )?;
        let faults = Fault::ALL.map(|fault| format!("{} {}", fault.name(), self.sum(fault.name())));
        write!(f, "; faults: {}; {}.{} seeds/s", faults.join(", "), rate_x10 / 10, rate_x10 % 10)
    }
}
