//! Is there one order of the recorded operations that a single-threaded object could have answered?
//!
//! The search is Wing and Gong's, with Lowe's memory of what was already tried: a *configuration* is
//! the set of known operations ordered so far, the state they leave, and which operations of unknown
//! outcome were spent on the way. A configuration reached twice is looked at once. What is added:
//!
//! - An unknown operation never has to be ordered, so a configuration *dominates* another with the
//!   same known operations and the same state that spent more of them: whatever the second can still
//!   do, the first can. Only undominated configurations are kept, and those with the most known
//!   operations and the fewest unknown ones are expanded first. A hundred writes that nobody heard of
//!   again therefore cost a hundred configurations at a time, not two to the hundred.
//! - Most illegal histories are illegal even if an unknown operation could take effect repeatedly.
//!   That is tried first, because it spares weighing one choice of unknown operations against another.
//! - Unknown operations with the same input are interchangeable: the earliest called is spent first.
//! - An operation that only reads is ordered as soon as its answer fits: no later place is better.
//!
//! The verdict depends on the operations alone: no clock, no randomness, no hash order. Memory is
//! bounded by the budget, since a configuration is kept only after a step of the model.
//!
//! Sources: Wing and Gong, *Testing and verifying concurrent objects* (1993); Lowe, *Testing for
//! linearizability* (2017); the shape of the API follows porcupine.

use std::fmt::{self, Debug};

mod history;
mod search;
mod witness;

#[cfg(test)]
mod tests;

/// One operation of a client, as the client saw it.
///
/// Intervals are closed: an operation returning at the instant another is called is *concurrent* with
/// it, and either may come first. Time stamps that are equal carry no order, so reading one into them
/// would condemn correct histories; the price is that an anomaly whose only evidence is such a tie
/// goes unseen. A recorder that wants every order to count gives each event its own instant, the two
/// events of one client at a shared instant above all: the client is not asked for its order here.
pub struct Operation<M: Model> {
    /// Who asked. Only shown to the reader of a witness.
    pub client: u64,
    /// When it was asked.
    pub call: u64,
    /// When it was answered. `None`: unknown; it may take effect at any time from `call` on, or never.
    pub ret: Option<u64>,
    /// What was asked.
    pub input: M::Input,
    /// What was answered. `None`: nobody knows, and any answer is accepted.
    pub output: Option<M::Output>,
}

/// The object the history is held against: its states, and what an operation does to one.
///
/// The search looks at each state once, so a model should have few. Appends are the case to know:
/// every order of them leaves another text, and ten concurrent ones leave millions. A model that knows
/// the recorded answers can hold every text that begins none of them as one and the same state, "a
/// text nobody saw": no answer tells such texts apart, whatever is appended next.
pub trait Model {
    /// What the object remembers between operations.
    type State: Clone + Eq + Ord + Debug;
    /// A question.
    type Input: Clone + Debug;
    /// An answer.
    type Output: Clone + Debug;

    /// The state before the first operation.
    fn init(&self) -> Self::State;

    /// The state after `input` was answered with `output`, or `None` if this state cannot give that
    /// answer. Without an output: the state if the operation takes effect.
    fn step(
        &self,
        state: &Self::State,
        input: &Self::Input,
        output: Option<&Self::Output>,
    ) -> Option<Self::State>;

    /// Promise that this operation, answered so, changes no state. Without it a read is searched like
    /// a write: correct, but thirty concurrent reads cost two to the thirty. Breaking it panics.
    fn reads_only(&self, _input: &Self::Input, _output: Option<&Self::Output>) -> bool {
        false
    }

    /// Whether two inputs of unknown outcome do the same to every state. Answered from their `Debug`
    /// text: override it if that text abbreviates.
    fn interchangeable(&self, one: &Self::Input, other: &Self::Input) -> bool {
        format!("{one:?}") == format!("{other:?}")
    }
}

/// What the search found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// An order exists.
    Linearizable,
    /// No order exists.
    Illegal {
        /// How far the history can be explained, and which operations cannot be ordered after that.
        witness: Witness,
    },
    /// The budget was spent before the answer was known.
    Exhausted,
}

/// Why no order exists. Operations are given as their places in the history that was searched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Witness {
    /// The longest order that works.
    pub order: Vec<usize>,
    /// What had returned by then and cannot be ordered after it.
    pub stuck: Vec<usize>,
    /// All of it for a person, by the model's own words.
    pub text: String,
}

/// Searches for an order of `operations`, taking at most `budget_steps` steps of the model.
///
/// Every operation with a return takes effect once, between its call and its return; every other one
/// takes effect at most once, after its call.
///
/// # Panics
/// If an operation returns before it is called, or the model breaks a promise it made.
pub fn check<M: Model>(model: &M, operations: &[Operation<M>], budget_steps: u64) -> Verdict {
    search::run(model, operations, budget_steps)
}

impl<M: Model> Clone for Operation<M> {
    fn clone(&self) -> Self {
        Self {
            client: self.client,
            call: self.call,
            ret: self.ret,
            input: self.input.clone(),
            output: self.output.clone(),
        }
    }
}

impl<M: Model> Debug for Operation<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "client {} [{}, ", self.client, self.call)?;
        match self.ret {
            Some(ret) => write!(f, "{ret}] ")?,
            None => write!(f, "unknown) ")?,
        }
        write!(f, "{:?}", self.input)?;
        match &self.output {
            Some(output) => write!(f, " -> {output:?}"),
            None => write!(f, " -> ?"),
        }
    }
}
