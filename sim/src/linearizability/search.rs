//! The search over configurations, best first.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use super::history::{History, Ordered};
use super::{Model, Operation, Verdict, witness};

pub(super) struct Search<'a, M: Model> {
    model: &'a M,
    pub(super) history: History<'a, M>,
    pub(super) rule: Unknown,
    pub(super) states: States<M::State>,
    /// For a state, what each class of unknown operations does to it, once tried.
    unknown_steps: Vec<Vec<Option<Option<usize>>>>,
    /// For known operations ordered and a state: the fewest unknown operations spent to get there,
    /// counted per class; no entry dominates another.
    spent: BTreeMap<(Ordered, usize), Vec<Spent>>,
    /// Most known operations first, then fewest unknown ones, then the newest.
    queue: BTreeMap<(usize, Reverse<usize>, usize), Config>,
    /// How each configuration came about, for the witness.
    pub(super) steps: Vec<Step<'a, M>>,
    pub(super) furthest: Furthest,
    budget_steps: u64,
}

#[derive(Clone)]
struct Config {
    ordered: Ordered,
    spent: Spent,
    state: usize,
    /// The state before, if an unknown operation led here and no known one was ordered since.
    state_without_last: Option<usize>,
}

/// One configuration's place in the tree of those tried.
pub(super) struct Step<'a, M: Model> {
    pub(super) parent: Option<usize>,
    /// What was ordered since the parent.
    pub(super) operations: Vec<&'a Operation<M>>,
}

/// The configuration that explains most of the history, by time.
pub(super) struct Furthest {
    /// By when the next known operation had to be ordered.
    pub(super) deadline: u64,
    pub(super) ordered: Ordered,
    pub(super) state: usize,
    pub(super) step: usize,
    /// Every state in which a configuration stood before that deadline.
    pub(super) states: BTreeSet<usize>,
}

/// States by number: a configuration holds a number, and each state is stored once.
pub(super) struct States<S> {
    numbers: BTreeMap<Rc<S>, usize>,
    list: Vec<Rc<S>>,
}

/// How many comparisons cost as much as a step of the model.
const RIVALS_PER_STEP: usize = 16;

/// How many operations of each unknown class were spent, without trailing zeros; where they are
/// repeatable, one count for all of them.
type Spent = Vec<usize>;

/// How often an unknown operation may take effect.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Unknown {
    /// Again and again, but all together no more often than there are unknown operations.
    Repeatable,
    Once,
}

struct OutOfBudget;

/// Searches twice where outcomes are unknown: first with [`Unknown::Repeatable`], on half the budget.
/// What has no order under that rule has none under the real one either, and it is soon known, since
/// only *how many* unknown operations were spent has to be remembered, not which.
pub(super) fn run<M: Model>(model: &M, operations: &[Operation<M>], budget_steps: u64) -> Verdict {
    let mut budget_steps = budget_steps;
    for (rule, share_steps) in [(Unknown::Repeatable, budget_steps / 2), (Unknown::Once, u64::MAX)]
    {
        let share_steps = share_steps.min(budget_steps);
        let mut search = Search::new(model, operations, rule, share_steps);
        if rule == Unknown::Repeatable && search.history.unknown.is_empty() {
            continue;
        }
        match search.explore() {
            Ok(false) => {
                let witness = witness::describe(model, operations, &search);
                return Verdict::Illegal { witness };
            }
            Ok(true) if rule == Unknown::Once => return Verdict::Linearizable,
            Ok(true) | Err(OutOfBudget) => {}
        }
        budget_steps -= share_steps - search.budget_steps;
    }
    Verdict::Exhausted
}

impl<'a, M: Model> Search<'a, M> {
    fn new(model: &'a M, operations: &'a [Operation<M>], rule: Unknown, budget_steps: u64) -> Self {
        let mut states = States { numbers: BTreeMap::new(), list: Vec::new() };
        let state = states.number(model.init());
        Self {
            model,
            history: History::new(model, operations),
            rule,
            states,
            unknown_steps: Vec::new(),
            spent: BTreeMap::new(),
            queue: BTreeMap::new(),
            steps: Vec::new(),
            furthest: Furthest {
                deadline: 0,
                ordered: Ordered::default(),
                state,
                step: 0,
                states: BTreeSet::new(),
            },
            budget_steps,
        }
    }

    /// Whether an order exists.
    fn explore(&mut self) -> Result<bool, OutOfBudget> {
        let start = Config {
            ordered: Ordered::default(),
            spent: Spent::new(),
            state: self.furthest.state,
            state_without_last: None,
        };
        self.reach(start, None, Vec::new())?;
        while let Some(((known, _, step), config)) = self.queue.pop_last() {
            if known == self.history.known.len() {
                return Ok(true);
            }
            // A configuration that spent less may have arrived while this one waited.
            if self.spent[&(config.ordered.clone(), config.state)].contains(&config.spent) {
                self.expand(&config, step)?;
            }
        }
        Ok(false)
    }

    /// Tries everything that may be ordered next. The last one queued is the first one expanded, so
    /// the earliest called goes last.
    fn expand(&mut self, config: &Config, step: usize) -> Result<(), OutOfBudget> {
        let pending = self.history.pending(&config.ordered);
        self.furthest.note(pending.deadline, config, step);
        for class in (0..self.history.unknown.len()).rev() {
            self.spend(config, step, class, pending.deadline)?;
        }
        for index in pending.known.into_iter().rev() {
            let operation = self.history.known[index];
            let Some(state) = self.step(config.state, operation)? else { continue };
            let mut ordered = config.ordered.clone();
            ordered.insert(index);
            let next = Config { ordered, state, state_without_last: None, ..config.clone() };
            self.reach(next, Some(step), vec![operation])?;
        }
        Ok(())
    }

    /// Lets one unknown operation of a class take effect, if that can be of any use.
    fn spend(
        &mut self,
        config: &Config,
        step: usize,
        class: usize,
        deadline: u64,
    ) -> Result<(), OutOfBudget> {
        let (purse, limit) = match self.rule {
            Unknown::Repeatable => (0, self.history.unknown_count),
            Unknown::Once => (class, self.history.unknown[class].len()),
        };
        let before = config.spent.get(purse).copied().unwrap_or(0);
        let next = if self.rule == Unknown::Once { before } else { 0 };
        let operation = self.history.unknown[class].get(next).copied();
        let Some(operation) = operation.filter(|o| before < limit && o.call <= deadline) else {
            return Ok(());
        };
        let Some(state) = self.unknown_step(config.state, class)? else { return Ok(()) };
        // It changes nothing, or it hides what the unknown operation just before it did: then the
        // same state for less was reached when this configuration's parent was expanded.
        if state == config.state {
            return Ok(());
        }
        if let Some(without_last) = config.state_without_last
            && self.unknown_step(without_last, class)? == Some(state)
        {
            return Ok(());
        }
        let mut next = config.clone();
        next.state = state;
        next.state_without_last = Some(config.state);
        next.spent.resize(next.spent.len().max(purse + 1), 0);
        next.spent[purse] += 1;
        self.reach(next, Some(step), vec![operation])
    }

    /// Queues a configuration unless one at least as good is known, after ordering the reads that fit.
    fn reach(
        &mut self,
        mut config: Config,
        parent: Option<usize>,
        mut operations: Vec<&'a Operation<M>>,
    ) -> Result<(), OutOfBudget> {
        if self.order_reads(&mut config, &mut operations)? {
            config.state_without_last = None;
        }
        let rivals = self.spent.entry((config.ordered.clone(), config.state)).or_default();
        // Looking through many rivals is work like any other.
        let comparing_steps = u64::try_from(rivals.len() / RIVALS_PER_STEP).unwrap_or(u64::MAX);
        self.budget_steps = self.budget_steps.checked_sub(comparing_steps).ok_or(OutOfBudget)?;
        if rivals.iter().any(|rival| is_within(rival, &config.spent)) {
            return Ok(());
        }
        rivals.retain(|rival| !is_within(&config.spent, rival));
        rivals.push(config.spent.clone());
        let place = (config.ordered.count(), Reverse(config.spent.iter().sum()), self.steps.len());
        self.queue.insert(place, config);
        self.steps.push(Step { parent, operations });
        Ok(())
    }

    /// Orders every pending read whose answer fits the state, and says whether there was one. A later
    /// place could not be better: the read changes nothing and holds others up.
    fn order_reads(
        &mut self,
        config: &mut Config,
        operations: &mut Vec<&'a Operation<M>>,
    ) -> Result<bool, OutOfBudget> {
        let before = operations.len();
        loop {
            let ordered_before = operations.len();
            for index in self.history.pending(&config.ordered).known {
                let operation = self.history.known[index];
                if !self.history.reads[index] {
                    continue;
                }
                let Some(state) = self.step(config.state, operation)? else { continue };
                assert!(state == config.state, "promised only to read: {operation:?}");
                config.ordered.insert(index);
                operations.push(operation);
            }
            if operations.len() == ordered_before {
                return Ok(operations.len() > before);
            }
        }
    }

    fn step(
        &mut self,
        state: usize,
        operation: &Operation<M>,
    ) -> Result<Option<usize>, OutOfBudget> {
        self.budget_steps = self.budget_steps.checked_sub(1).ok_or(OutOfBudget)?;
        let before = &self.states.list[state];
        Ok(match self.model.step(before, &operation.input, operation.output.as_ref()) {
            Some(after) if after == **before => Some(state),
            Some(after) => Some(self.states.number(after)),
            None => None,
        })
    }

    /// What an unknown operation of a class does to a state; tried once, then remembered.
    fn unknown_step(&mut self, state: usize, class: usize) -> Result<Option<usize>, OutOfBudget> {
        if let Some(Some(known)) = self.unknown_steps.get(state).and_then(|row| row.get(class)) {
            return Ok(*known);
        }
        let first = self.history.unknown[class][0];
        let after = self.step(state, first)?;
        if let Some(second) = self.history.unknown[class].get(1).copied() {
            let same = self.step(state, second)? == after;
            assert!(same, "promised to be interchangeable: {first:?} and {second:?}");
        }
        if self.unknown_steps.len() <= state {
            self.unknown_steps.resize(state + 1, Vec::new());
        }
        let row = &mut self.unknown_steps[state];
        if row.len() <= class {
            row.resize(class + 1, None);
        }
        row[class] = Some(after);
        Ok(after)
    }
}

impl Furthest {
    fn note(&mut self, deadline: u64, config: &Config, step: usize) {
        if deadline < self.deadline {
            return;
        }
        if deadline > self.deadline {
            self.states.clear();
        }
        let further = config.ordered.count() > self.ordered.count();
        if deadline > self.deadline || further || self.states.is_empty() {
            self.deadline = deadline;
            self.ordered = config.ordered.clone();
            self.state = config.state;
            self.step = step;
        }
        self.states.insert(config.state);
    }
}

impl<S: Ord> States<S> {
    fn number(&mut self, state: S) -> usize {
        if let Some(number) = self.numbers.get(&state) {
            return *number;
        }
        let state = Rc::new(state);
        self.list.push(Rc::clone(&state));
        self.numbers.insert(state, self.list.len() - 1);
        self.list.len() - 1
    }

    pub(super) fn get(&self, number: usize) -> &S {
        &self.list[number]
    }
}

/// Whether `small` spent no more of any class than `large`.
fn is_within(small: &[usize], large: &[usize]) -> bool {
    small.len() <= large.len() && small.iter().zip(large).all(|(small, large)| small <= large)
}
