//! Atomic batches: one change of each of several actors, under one name.
//!
//! In the history each change is an entry of its own, with the fate that the batch's answer gives it:
//! so every judge of single changes judges batches too. Of a batch that was refused, the operation
//! that is named was refused by apply, and none of the others happened.

use std::time::Duration;

use understudy_core::{
    Answer, Failure, NodeId, OpId, Operation, Outcome, Refusal, Request, Work, Write,
};

use understudy_plan::{Certainty, Instant, Kind, Step};

use super::Client;
use super::lesson::{self, Lesson};
use crate::checks::{answers_fit_questions, one_outcome_per_op};
use crate::history::{self, Ask, Entry, Fate};
use crate::words;
use crate::world::{Asker, Heard};

impl Client {
    /// One batch, from its first attempt to its fate.
    pub(super) async fn perform_together(
        &mut self,
        namespace: usize,
        mut op: OpId,
        writes: Vec<(u64, Operation)>,
    ) {
        let numbers = self.begin_together(namespace, &op, &writes);
        let mut attempts = lesson::attempts(Kind::Write);
        let mut was_answered = false;
        let fates = loop {
            let lesson = self.attempt_together(namespace, &op, &writes).await;
            let now = Instant(self.stage.world().now());
            let mut given_up = match attempts.heard(lesson.heard(), now, 0) {
                Step::GiveUp(certainty) => Some(certainty),
                Step::Again { rename: true, .. } => {
                    op = self.next_name();
                    None
                }
                Step::Again { rename: false, .. } | Step::Settled => None,
            };
            if let Lesson::Known(outcome) = lesson {
                was_answered = true;
                break fates(outcome, writes.len());
            }
            if self.stage.world().is_over() {
                return;
            }
            let calm = self.stage.world().is_calm();
            if given_up.is_none() && !calm && self.rng.ppm(self.plan.abandon_ppm) {
                given_up = Some(attempts.certainty());
            }
            match given_up {
                None => {}
                Some(Certainty::Unknown) => return,
                Some(Certainty::Refused) => break vec![Fate::DidNotHappen; writes.len()],
            }
            self.preferred = NodeId(self.rng.between(1, self.plan.nodes));
            let pause = self.rng.below(40_000_000);
            self.stage.sleep(pause).await;
        };
        for ((number, (actor, _)), fate) in numbers.into_iter().zip(&writes).zip(fates) {
            self.remember(namespace, *actor, &fate);
            self.tell(namespace, *actor, number, || words::fate(&fate));
            let ret = self.stage.world().tick();
            self.stage.oracle().end(number, ret, fate);
        }
        if was_answered {
            self.repeat_together(namespace, &op, &writes).await;
        }
    }

    fn begin_together(
        &mut self,
        namespace: usize,
        op: &OpId,
        writes: &[(u64, Operation)],
    ) -> Vec<u64> {
        let mut numbers = Vec::new();
        for (actor, operation) in writes {
            let call = self.stage.world().tick();
            let number = self.stage.oracle().next_number();
            let ask = Ask::Write { op: op.clone(), operation: operation.clone() };
            self.tell(namespace, *actor, number, || format!("together: {}", words::ask(&ask)));
            let (client, actor, ret, fate) = (self.id, *actor, None, Fate::Unknown);
            let entry = Entry { number, client, namespace, actor, ask, call, ret, fate };
            self.stage.oracle().begin(entry);
            numbers.push(number);
        }
        self.number = numbers.first().copied().unwrap_or_default();
        numbers
    }

    async fn ask_together(
        &mut self,
        namespace: usize,
        op: &OpId,
        writes: &[(u64, Operation)],
    ) -> Heard {
        let timeout = Duration::from_millis(self.rng.between(20, 500));
        let name = self.stage.world().cluster.namespaces[namespace].clone();
        let writes = writes.iter().map(|(actor, operation)| Write {
            id: history::actor(*actor),
            operation: operation.clone(),
        });
        let work = Work::batch(writes.collect()).expect("batches_are_small");
        let body = Request::Write { namespace: name, op: Some(op.clone()), work };
        let asker = Asker { client: self.id, op: self.number };
        let to = self.preferred;
        self.stage.ask(asker, to, timeout, body).await
    }

    async fn attempt_together(
        &mut self,
        namespace: usize,
        op: &OpId,
        writes: &[(u64, Operation)],
    ) -> Lesson<Result<Vec<Outcome>, Refusal>> {
        let response = match self.ask_together(namespace, op, writes).await {
            Heard::NotConnected => return Lesson::NotNow(Duration::ZERO),
            Heard::Reset | Heard::Silence => return Lesson::Perhaps,
            Heard::Response(response) => response,
        };
        if let Err(violation) = answers_fit_questions::check_batch(op, writes, &response) {
            let about = self.stage.oracle().about(op);
            self.stage.world().fail(violation.about(about));
            return Lesson::Perhaps;
        }
        let outcome = match response {
            Ok(Answer::Done { outcome, .. }) => outcome,
            Err(Failure::Refused(refusal)) => Outcome::Refused(refusal),
            Err(Failure::Unknown) => return Lesson::Perhaps,
            Ok(_) | Err(_) => return Lesson::NotNow(Duration::ZERO),
        };
        let heard = self.stage.oracle().heard(op, &outcome);
        if let Err(violation) = heard {
            self.stage.world().fail(violation);
            return Lesson::Perhaps;
        }
        match outcome {
            Outcome::Batch(outcomes) => Lesson::Known(Ok(outcomes)),
            Outcome::Refused(refusal) => Lesson::Known(Err(refusal)),
            _ => Lesson::Perhaps,
        }
    }

    /// A repeat long after the answer must tell the same.
    async fn repeat_together(&mut self, namespace: usize, op: &OpId, writes: &[(u64, Operation)]) {
        if !self.rng.ppm(200_000) {
            return;
        }
        let pause = self.rng.below(300_000_000);
        self.stage.sleep(pause).await;
        self.preferred = NodeId(self.rng.between(1, self.plan.nodes));
        if let Heard::Response(response) = self.ask_together(namespace, op, writes).await
            && let Err(violation) = one_outcome_per_op::check_repeat(op, &response)
        {
            let about = self.stage.oracle().about(op);
            self.stage.world().fail(violation.about(about));
        }
    }
}

/// What a batch's answer tells of each of its changes.
fn fates(outcome: Result<Vec<Outcome>, Refusal>, count: usize) -> Vec<Fate> {
    match outcome {
        Ok(outcomes) => outcomes.into_iter().map(Fate::Outcome).collect(),
        Err(Refusal::InBatch { place, refusal }) => (0..count)
            .map(|at| match u32::try_from(at) == Ok(place) {
                true => Fate::Outcome(Outcome::Refused((*refusal).clone())),
                false => Fate::DidNotHappen,
            })
            .collect(),
        Err(_) => vec![Fate::DidNotHappen; count],
    }
}
