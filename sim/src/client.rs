//! A client: does its jobs, names its changes, and repeats them until it knows what came of them.
//!
//! Everything a job draws comes from a stream of its own: taking one job away changes no other.

mod lesson;
mod names;
mod together;

use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use understudy_core::query::{Page, Scan};
use understudy_core::{
    Answer, Content, Expected, Failure, NodeId, OpId, Operation, Outcome, ReadLevel, Refusal, Rng,
    Seed, Sequence, Timestamp, Token, Ttl, Version,
};
use understudy_plan::{Certainty, Step};

use crate::checks::{Violation, answers_fit_questions, one_outcome_per_op};
use crate::clock::EPOCH_MS;
use crate::history::{self, Ask, Entry, Fate};
use crate::plan::Plan;
use crate::recording::Kind;
use crate::schedule::{Expect, Job, Level, What};
use crate::stage::Stage;
use crate::words;
use crate::world::{Asker, Heard};
use lesson::Lesson;
use names::Names;

/// One client.
pub struct Client {
    id: u64,
    stage: Rc<Stage>,
    plan: Plan,
    seed: Seed,
    /// Of the job under way.
    rng: Rng,
    wall_ahead_ms: i64,
    names: Names,
    /// The last change that was answered in each namespace before the client left it behind its
    /// session's window.
    left: BTreeMap<usize, (u64, Ask)>,
    /// The last change that was answered in each namespace.
    last: BTreeMap<usize, (u64, Ask)>,
    /// The last token it saw of each actor.
    known: BTreeMap<(usize, u64), Token>,
    /// The highest sequence that an answer has told, of each namespace: its session.
    held: BTreeMap<usize, Sequence>,
    preferred: NodeId,
    /// The operation under way.
    number: u64,
}

impl Client {
    /// A client that has seen nothing yet.
    pub fn new(id: u64, stage: &Rc<Stage>, plan: &Plan, seed: Seed) -> Client {
        let seed = seed.child(&format!("client/{id}"));
        let mut rng = seed.rng();
        let wall_ahead_ms = i64::try_from(rng.below(120_000)).unwrap_or(0) - 60_000;
        let preferred = NodeId(rng.between(1, plan.nodes));
        let (stage, plan) = (Rc::clone(stage), plan.clone());
        let wall = wall(&stage, wall_ahead_ms);
        let names = Names::of(id, wall, &mut rng);
        let (left, last, known, held, number) = Default::default();
        Client {
            id,
            stage,
            plan,
            seed,
            rng,
            wall_ahead_ms,
            names,
            left,
            last,
            known,
            held,
            preferred,
            number,
        }
    }

    /// Does `jobs` until all are done or the faults have stopped.
    pub async fn work(mut self, jobs: Vec<Job>) {
        for job in jobs {
            self.rng = self.seed.child(&format!("job/{}", job.job)).rng();
            self.stage.sleep(job.think_ns).await;
            let is_calm = self.stage.world().is_calm();
            if (is_calm && !self.plan.all_jobs) || self.stage.world().is_over() {
                return;
            }
            if self.names.leap(&mut self.rng) {
                self.left = std::mem::take(&mut self.last);
            }
            match job.what {
                What::Scan(level) => self.walk(job.namespace, level).await,
                What::Batch => self.batch(&job).await,
                what => {
                    let ask = self.ask(&job, what);
                    self.perform(job.namespace, job.actor, ask).await;
                }
            }
        }
    }

    /// Writes an actor of each namespace, then looks at every actor.
    pub async fn prove_service(mut self) {
        let namespaces = usize::try_from(self.plan.namespaces).unwrap_or(0);
        for namespace in 0..namespaces {
            let number = self.stage.oracle().next_number();
            let put = self.named(Operation::Put { content: history::content(number) });
            self.perform(namespace, 0, put).await;
        }
        for namespace in 0..namespaces {
            for actor in 0..self.plan.actors {
                let look = Ask::Read { level: ReadLevel::Linearizable };
                self.perform(namespace, actor, look).await;
            }
            for level in [Level::Linearizable, Level::Session] {
                self.walk(namespace, level).await;
            }
        }
    }

    /// Looks at all actors, a page at a time.
    async fn walk(&mut self, namespace: usize, level: Level) {
        let walk = self.stage.oracle().next_number();
        let limit = usize::try_from(self.rng.between(1, 3)).unwrap_or(1);
        let prefix = if self.rng.ppm(800_000) { "" } else { "a" }.to_owned();
        let mut after = None;
        loop {
            let scan = Scan { prefix: prefix.clone(), after, limit };
            let ask = Ask::Scan { walk, scan, level: self.level(namespace, level) };
            let Some(Fate::Listed { page, .. }) = self.perform(namespace, 0, ask).await else {
                return;
            };
            after = page.records.last().map(|(id, _)| id.clone());
            if !page.more || after.is_none() {
                return;
            }
        }
    }

    fn level(&self, namespace: usize, level: Level) -> ReadLevel {
        match level {
            Level::Linearizable => ReadLevel::Linearizable,
            Level::Lease => ReadLevel::Lease,
            Level::Session => {
                ReadLevel::Session { min: self.held.get(&namespace).copied().unwrap_or_default() }
            }
            Level::Eventual => ReadLevel::Eventual,
        }
    }

    fn ask(&mut self, job: &Job, what: What) -> Ask {
        let content = self.content(0);
        let known = self.known.get(&(job.namespace, job.actor)).copied();
        let expected = |expect: Expect| match expect {
            Expect::Any => None,
            Expect::Absent => Some(Expected::Version(Version(0))),
            Expect::Token => known.map(Expected::Token),
            Expect::Version => known.map(|token| Expected::Version(token.version)),
        };
        let operation = match what {
            What::Put => Operation::Put { content },
            What::Create => Operation::Create { content },
            What::Update(expect) => Operation::Update { content, expected: expected(expect) },
            What::CompareAndSwap(expect) => {
                let absent = Expected::Version(Version(0));
                let expected = expected(expect).unwrap_or(absent);
                Operation::CompareAndSwap { content, expected }
            }
            What::Delete(expect) => Operation::Delete { expected: expected(expect) },
            What::Read(level) | What::Scan(level) => {
                return Ask::Read { level: self.level(job.namespace, level) };
            }
            // Asked by `batch`.
            What::Batch => return Ask::Read { level: ReadLevel::Linearizable },
        };
        self.named(operation)
    }

    fn named(&mut self, operation: Operation) -> Ask {
        Ask::Write { op: self.next_name(), operation }
    }

    fn next_name(&mut self) -> OpId {
        let wall = wall(&self.stage, self.wall_ahead_ms);
        self.names.next(wall, &mut self.rng)
    }

    /// What the operation writes that is `ahead` of the next one; some of it for a while only.
    fn content(&mut self, ahead: u64) -> Content {
        let content = history::content(self.stage.oracle().next_number() + ahead);
        let ttl = self.rng.ppm(120_000).then(|| self.rng.between(50, 1_500));
        Content { ttl: ttl.map(|ms| Ttl::new(ms).expect("ends_are_legal")), ..content }
    }

    /// Changes several actors together; often one of the changes cannot be.
    async fn batch(&mut self, job: &Job) {
        let count = self.rng.between(1, self.plan.actors);
        let mut writes = Vec::new();
        for ahead in 0..count {
            let actor = (job.actor + ahead) % self.plan.actors;
            let content = self.content(ahead);
            let known = self.known.get(&(job.namespace, actor)).copied();
            let operation = match (self.rng.below(6), known) {
                (0, _) => Operation::Create { content },
                (1, _) => Operation::Delete { expected: None },
                (2, Some(token)) => {
                    Operation::Update { content, expected: Some(Expected::Token(token)) }
                }
                _ => Operation::Put { content },
            };
            writes.push((actor, operation));
        }
        let op = self.next_name();
        self.perform_together(job.namespace, op, writes).await;
    }

    /// One operation, from its first attempt to its fate; `None` if the client gave up.
    async fn perform(&mut self, namespace: usize, actor: u64, ask: Ask) -> Option<Fate> {
        let call = self.stage.world().tick();
        let number = self.stage.oracle().next_number();
        self.number = number;
        let (client, ret, fate) = (self.id, None, Fate::Unknown);
        let mut first = ask.clone();
        let mut attempts = lesson::attempts(lesson::kind(&ask));
        let entry = Entry { number, client, namespace, actor, ask, call, ret, fate };
        self.stage.oracle().begin(entry);
        self.tell(namespace, actor, number, || words::ask(&first));
        loop {
            let lesson = self.attempt(namespace, actor, &first).await;
            if self.stage.world().is_over() {
                return None;
            }
            let now = understudy_plan::Instant(self.stage.world().now());
            match attempts.heard(lesson.heard(), now, 0) {
                Step::Again { rename: true, .. } => first = self.renamed(first),
                Step::Again { rename: false, .. } | Step::Settled => {}
                Step::GiveUp(certainty) => return self.give_up(namespace, actor, certainty),
            }
            // Hastier than a client that waits as the plan says: more happens in less time.
            let pause = match lesson {
                Lesson::Known(fate) => {
                    self.remember(namespace, actor, &fate);
                    self.tell(namespace, actor, number, || words::fate(&fate));
                    let ret = self.stage.world().tick();
                    self.stage.oracle().end(number, ret, fate.clone());
                    if matches!(first, Ask::Write { .. }) {
                        self.repeat_left(namespace).await;
                        self.last.insert(namespace, (actor, first.clone()));
                    }
                    self.repeat_late(namespace, actor, &first).await;
                    return Some(fate);
                }
                Lesson::NotNow(pause) => pause,
                Lesson::Perhaps => Duration::from_millis(self.rng.below(30)),
            };
            let calm = self.stage.world().is_calm();
            if !calm && self.rng.ppm(self.plan.abandon_ppm) {
                return self.give_up(namespace, actor, attempts.certainty());
            }
            self.preferred = NodeId(self.rng.between(1, self.plan.nodes));
            self.stage.sleep(u64::try_from(pause.as_nanos()).unwrap_or(0)).await;
        }
    }

    /// Tells what the pure half believes of an operation without a result; the judges hold it to that.
    fn give_up(&self, namespace: usize, actor: u64, certainty: Certainty) -> Option<Fate> {
        let fate = match certainty {
            Certainty::Unknown => "unknown",
            Certainty::Refused => "did not happen",
        };
        self.tell(namespace, actor, self.number, || format!("gives up: {fate}"));
        if certainty == Certainty::Refused {
            let ret = self.stage.world().tick();
            self.stage.oracle().end(self.number, ret, Fate::DidNotHappen);
        }
        None
    }

    /// The same under another name. The client names its operations itself and stores keep these
    /// names for longer than any run, so only a planted bug asks for it.
    fn renamed(&mut self, ask: Ask) -> Ask {
        match ask {
            Ask::Write { operation, .. } => self.named(operation),
            read => read,
        }
    }

    /// One request; now and then the same one to another node at the same time.
    async fn attempt(&mut self, namespace: usize, actor: u64, ask: &Ask) -> Lesson<Fate> {
        let is_write = matches!(ask, Ask::Write { .. });
        let to = self.preferred;
        let first = self.request(to, namespace, actor, ask);
        if is_write && self.rng.ppm(60_000) {
            let other = NodeId(self.rng.between(1, self.plan.nodes));
            let second = self.request(other, namespace, actor, ask);
            let (first, second) = join(first, second).await;
            return match (self.learn(ask, first), self.learn(ask, second)) {
                (Lesson::Known(fate), _) | (_, Lesson::Known(fate)) => Lesson::Known(fate),
                (Lesson::NotNow(pause), Lesson::NotNow(_)) => Lesson::NotNow(pause),
                (Lesson::Perhaps, _) | (_, Lesson::Perhaps) => Lesson::Perhaps,
            };
        }
        let heard = first.await;
        self.learn(ask, heard)
    }

    fn request(
        &mut self,
        to: NodeId,
        namespace: usize,
        actor: u64,
        ask: &Ask,
    ) -> impl Future<Output = Heard> + use<> {
        let patience = if self.rng.ppm(700_000) { 200 } else { 1_000 };
        let timeout = Duration::from_millis(self.rng.between(20, patience));
        let stage = Rc::clone(&self.stage);
        let name = stage.world().cluster.namespaces[namespace].clone();
        let body = ask.request(&name, &history::actor(actor));
        let asker = Asker { client: self.id, op: self.number };
        async move { stage.ask(asker, to, timeout, body).await }
    }

    fn learn(&mut self, ask: &Ask, heard: Heard) -> Lesson<Fate> {
        let soon = Duration::from_millis(self.rng.below(40));
        let response = match heard {
            Heard::NotConnected => return Lesson::NotNow(soon),
            Heard::Reset | Heard::Silence => return Lesson::Perhaps,
            Heard::Response(response) => response,
        };
        if let Err(violation) = answers_fit_questions::check(ask, &response) {
            self.fail(ask, violation);
            return Lesson::Perhaps;
        }
        let (op, outcome) = match (ask, response) {
            (Ask::Write { op, .. }, Ok(Answer::Done { outcome, .. })) => (op, outcome),
            (Ask::Write { op, .. }, Err(Failure::Refused(refusal))) => {
                (op, Outcome::Refused(refusal))
            }
            (_, Ok(Answer::Read { record, applied, sequence, .. })) => {
                return Lesson::Known(Fate::Saw { record, applied, sequence });
            }
            (_, Ok(Answer::Scan { records, more, applied, sequence, .. })) => {
                let page = Page { records, more };
                return Lesson::Known(Fate::Listed { page, applied, sequence });
            }
            (_, Err(Failure::Busy { retry_after, .. })) => return Lesson::NotNow(retry_after),
            (_, Err(Failure::Unknown)) => return Lesson::Perhaps,
            (_, Ok(Answer::Done { .. } | Answer::Changes { .. } | Answer::Session(_)) | Err(_)) => {
                return Lesson::NotNow(soon);
            }
        };
        let heard = self.stage.oracle().heard(op, &outcome);
        match heard {
            Ok(()) => Lesson::Known(Fate::Outcome(outcome)),
            Err(violation) => {
                self.stage.world().fail(violation);
                Lesson::Perhaps
            }
        }
    }

    /// A broken promise about one operation.
    fn fail(&self, ask: &Ask, violation: Violation) {
        let about = match ask {
            Ask::Write { op, .. } => self.stage.oracle().about(op),
            Ask::Read { .. } | Ask::Scan { .. } => None,
        };
        self.stage.world().fail(violation.about(about));
    }

    /// A repeat of what the session's window has left behind, when something behind it has run: it is
    /// refused, or told as it was, and never runs again.
    async fn repeat_left(&mut self, namespace: usize) {
        let Some((actor, left)) = self.left.remove(&namespace) else { return };
        let Ask::Write { op, .. } = &left else { return };
        let to = NodeId(self.rng.between(1, self.plan.nodes));
        let heard = self.request(to, namespace, actor, &left).await;
        if let Heard::Response(response) = &heard
            && let Err(violation) = one_outcome_per_op::check_repeat(op, response)
        {
            self.fail(&left, violation);
        }
    }

    /// A repeat long after the answer, as a proxy or a hasty user makes it. It must tell the same;
    /// under the same name, another payload must be refused.
    async fn repeat_late(&mut self, namespace: usize, actor: u64, first: &Ask) {
        let Ask::Write { op, .. } = first else { return };
        if !self.rng.ppm(120_000) {
            return;
        }
        let pause = self.rng.below(300_000_000);
        self.stage.sleep(pause).await;
        let to = NodeId(self.rng.between(1, self.plan.nodes));
        if self.rng.ppm(750_000) {
            let heard = self.request(to, namespace, actor, first).await;
            if let Heard::Response(response) = &heard
                && let Err(violation) = one_outcome_per_op::check_repeat(op, response)
            {
                self.fail(first, violation);
            }
            self.learn(first, heard);
        } else {
            let value = history::value(0);
            let other =
                Ask::Write { op: op.clone(), operation: Operation::Put { content: value.into() } };
            let heard = self.request(to, namespace, actor, &other).await;
            if let Heard::Response(response) = &heard
                && let Err(violation) = one_outcome_per_op::check_other_request(op, response)
            {
                self.fail(first, violation);
            }
        }
    }

    /// A line in the trace about one of its operations.
    fn tell(&self, namespace: usize, actor: u64, number: u64, text: impl FnOnce() -> String) {
        let mut world = self.stage.world();
        let name = &world.cluster.namespaces[namespace];
        let actor = format!("{name}/{}", history::actor(actor));
        world.note(0, Kind::Client, &number.to_le_bytes(), |line| {
            line.group = namespace as u64 + 1;
            line.text = text();
            (line.client, line.op, line.actor) = (Some(self.id), Some(number), Some(actor));
        });
    }

    fn remember(&mut self, namespace: usize, actor: u64, fate: &Fate) {
        let sequence = match fate {
            Fate::Outcome(outcome) => outcome.sequence(),
            Fate::Saw { sequence, .. } | Fate::Listed { sequence, .. } => Some(*sequence),
            Fate::Unknown | Fate::DidNotHappen => None,
        };
        let held = self.held.entry(namespace).or_default();
        *held = sequence.unwrap_or_default().max(*held);
        let token = match fate {
            Fate::Outcome(Outcome::Written { token, .. }) => Some(*token),
            Fate::Outcome(Outcome::Refused(Refusal::AlreadyExists { found })) => Some(*found),
            Fate::Outcome(Outcome::Refused(Refusal::Conflict { found, .. })) => *found,
            Fate::Saw { record: Some(record), .. } => Some(record.token),
            // An old token is kept: a stale writer must be refused.
            Fate::Outcome(_)
            | Fate::Saw { record: None, .. }
            | Fate::Listed { .. }
            | Fate::Unknown
            | Fate::DidNotHappen => return,
        };
        if let Some(token) = token {
            self.known.insert((namespace, actor), token);
        }
    }
}

/// What the client's clock shows.
fn wall(stage: &Stage, ahead_ms: i64) -> Timestamp {
    let true_ms = EPOCH_MS + stage.world().now() / 1_000_000;
    Timestamp(true_ms.saturating_add_signed(ahead_ms))
}

/// Waits for both, polling the first one first.
async fn join<A: Future, B: Future>(a: A, b: B) -> (A::Output, B::Output) {
    let (mut a, mut b) = (std::pin::pin!(a), std::pin::pin!(b));
    let (mut from_a, mut from_b) = (None, None);
    std::future::poll_fn(move |context| {
        use std::task::Poll;
        if from_a.is_none()
            && let Poll::Ready(value) = a.as_mut().poll(context)
        {
            from_a = Some(value);
        }
        if from_b.is_none()
            && let Poll::Ready(value) = b.as_mut().poll(context)
        {
            from_b = Some(value);
        }
        match (from_a.take(), from_b.take()) {
            (Some(a), Some(b)) => Poll::Ready((a, b)),
            (a, b) => {
                (from_a, from_b) = (a, b);
                Poll::Pending
            }
        }
    })
    .await
}
