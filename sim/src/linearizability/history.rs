//! A history laid out for the search, and the set of known operations already ordered.

use super::{Model, Operation};

/// The operations, split by what is known of them.
pub(super) struct History<'a, M: Model> {
    /// Operations that returned, by call time.
    pub(super) known: Vec<&'a Operation<M>>,
    /// For each known operation, whether it only reads.
    pub(super) reads: Vec<bool>,
    /// Operations of unknown outcome: classes of interchangeable ones, each by call time.
    pub(super) unknown: Vec<Vec<&'a Operation<M>>>,
    pub(super) unknown_count: usize,
}

/// What may be ordered next.
pub(super) struct Pending {
    /// The earliest return among the known operations not yet ordered. One called later must wait.
    pub(super) deadline: u64,
    /// The known operations called by then and not yet ordered.
    pub(super) known: Vec<usize>,
}

/// Known operations already ordered, as positions in `History::known`: a bit set without its leading
/// full words and its trailing empty ones, so that equal sets are equal values and a long history
/// costs no more than the stretch in which operations overlap.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Ordered {
    full_words: usize,
    words: Vec<u64>,
}

impl<'a, M: Model> History<'a, M> {
    pub(super) fn new(model: &M, operations: &'a [Operation<M>]) -> Self {
        let mut sorted: Vec<&Operation<M>> = operations.iter().collect();
        sorted.sort_by_key(|operation| (operation.call, operation.ret.unwrap_or(u64::MAX)));
        let mut known = Vec::new();
        let mut unknown: Vec<Vec<&Operation<M>>> = Vec::new();
        for operation in sorted {
            let reads = model.reads_only(&operation.input, operation.output.as_ref());
            match operation.ret {
                Some(ret) => {
                    assert!(operation.call <= ret, "returned before its call: {operation:?}");
                    known.push(operation);
                }
                // It need not be ordered and would change nothing.
                None if reads => {}
                None => {
                    match unknown.iter_mut().find(|class| same_effect(model, class[0], operation)) {
                        Some(class) => class.push(operation),
                        None => unknown.push(vec![operation]),
                    }
                }
            }
        }
        let reads = known.iter().map(|o| model.reads_only(&o.input, o.output.as_ref())).collect();
        let unknown_count = unknown.iter().map(Vec::len).sum();
        Self { known, reads, unknown, unknown_count }
    }

    /// What may follow `ordered`. An operation must wait for every other that returned strictly before
    /// its call; one that returned at that very instant is concurrent (see [`Operation`]).
    pub(super) fn pending(&self, ordered: &Ordered) -> Pending {
        let mut deadline = u64::MAX;
        let mut known = Vec::new();
        for index in self.rest(ordered) {
            let operation = self.known[index];
            if operation.call > deadline {
                break;
            }
            deadline = deadline.min(operation.ret.expect("known operations returned"));
            known.push(index);
        }
        known.retain(|index| self.known[*index].call <= deadline);
        Pending { deadline, known }
    }

    /// The known operations not yet ordered, by call time.
    pub(super) fn rest(&self, ordered: &Ordered) -> impl Iterator<Item = usize> {
        (ordered.first_missing()..self.known.len()).filter(|index| !ordered.contains(*index))
    }
}

impl Ordered {
    pub(super) fn insert(&mut self, index: usize) {
        assert!(!self.contains(index), "an operation is ordered once");
        let word = index / 64 - self.full_words;
        if word >= self.words.len() {
            self.words.resize(word + 1, 0);
        }
        self.words[word] |= 1 << (index % 64);
        let full = self.words.iter().take_while(|word| **word == u64::MAX).count();
        self.words.drain(..full);
        self.full_words += full;
    }

    pub(super) fn contains(&self, index: usize) -> bool {
        match (index / 64).checked_sub(self.full_words) {
            None => true,
            Some(word) => self.words.get(word).is_some_and(|bits| bits >> (index % 64) & 1 == 1),
        }
    }

    pub(super) fn count(&self) -> usize {
        let ones: u32 = self.words.iter().map(|word| word.count_ones()).sum();
        self.full_words * 64 + usize::try_from(ones).expect("fewer bits than memory")
    }

    fn first_missing(&self) -> usize {
        let skipped = self.words.first().map_or(0, |word| word.trailing_ones());
        self.full_words * 64 + usize::try_from(skipped).expect("at most 64")
    }
}

fn same_effect<M: Model>(model: &M, one: &Operation<M>, other: &Operation<M>) -> bool {
    one.output.is_none()
        && other.output.is_none()
        && model.interchangeable(&one.input, &other.input)
}
