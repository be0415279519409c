//! The checks that a token may hold, and how they are decided.
//!
//! ```text
//! check if QUERY or QUERY …            holds when one of its queries does
//! QUERY  = PART, PART, …               holds when all of its parts do
//! PART   = FACT("word")                 the fact is exactly this
//!        | FACT($x)                     the fact is there, and $x stands for it
//!        | $x == "word"  | {"a", "b"}.contains($x)  | $x.starts_with("word")
//!        | $t < DATE | $t <= DATE | $t > DATE | $t >= DATE      with time($t)
//! FACT   = operation | namespace | within | id | time
//! ```

use std::collections::BTreeSet;

use crate::right::{Access, Right};

/// Which fact.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Subject {
    /// `operation`
    Operation,
    /// `namespace`
    Namespace,
    /// `within`
    Within,
    /// `id`
    Id,
}

/// One part of a query.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part {
    /// The fact is there.
    Present(Subject),
    /// It is one of these.
    OneOf(Subject, BTreeSet<String>),
    /// It begins so.
    Begins(Subject, String),
    /// The time is at most this; seconds since 1970.
    Until(u64),
    /// The time is at least this.
    From(u64),
    /// Never true: a time before the first one.
    Never,
}

/// Holds when one of its queries does; a query when all of its parts do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check(pub Vec<Vec<Part>>);

/// How a check ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It holds.
    Holds,
    /// It would have held earlier.
    Over,
    /// It does not hold.
    Fails,
}

/// What is asked.
#[derive(Clone, Copy, Debug)]
pub struct Question<'a> {
    /// The right that is needed.
    pub right: Right,
    /// What is touched.
    pub access: Access<'a>,
    /// Seconds since 1970.
    pub now: u64,
}

impl Check {
    /// Decides it.
    pub fn decide(&self, question: &Question<'_>) -> Verdict {
        let mut verdict = Verdict::Fails;
        for query in &self.0 {
            if query.iter().all(|part| part.holds(question)) {
                return Verdict::Holds;
            }
            let but_for_the_end =
                |part: &Part| matches!(part, Part::Until(_)) || part.holds(question);
            if query.iter().all(but_for_the_end) {
                verdict = Verdict::Over;
            }
        }
        verdict
    }

    /// After this second it never holds again, whatever is asked; `None` is for ever.
    pub fn end(&self) -> Option<u64> {
        let ends: Option<Vec<u64>> = self.0.iter().map(|query| end_of(query)).collect();
        ends?.into_iter().max()
    }
}

fn end_of(query: &[Part]) -> Option<u64> {
    let ends = query.iter().filter_map(|part| match part {
        Part::Until(end) => Some(*end),
        _ => None,
    });
    ends.min()
}

impl Part {
    fn holds(&self, question: &Question<'_>) -> bool {
        match self {
            Part::Present(subject) => subject.of(question).is_some(),
            Part::OneOf(subject, words) => {
                subject.of(question).is_some_and(|word| words.contains(word))
            }
            Part::Begins(subject, prefix) => {
                subject.of(question).is_some_and(|word| word.starts_with(prefix.as_str()))
            }
            Part::Until(end) => question.now <= *end,
            Part::From(begin) => question.now >= *begin,
            Part::Never => false,
        }
    }
}

impl Subject {
    fn of<'a>(self, question: &Question<'a>) -> Option<&'a str> {
        match self {
            Subject::Operation => Some(question.right.as_str()),
            Subject::Namespace => question.access.namespace(),
            Subject::Within => question.access.within(),
            Subject::Id => question.access.id(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_is_that_of_the_query_that_lasts_longest() {
        let ends =
            |checks: &[&[Part]]| Check(checks.iter().map(|all| all.to_vec()).collect()).end();
        assert_eq!(ends(&[&[Part::Until(5), Part::Until(3)]]), Some(3));
        assert_eq!(ends(&[&[Part::Until(5)], &[Part::Until(9)]]), Some(9));
        assert_eq!(ends(&[&[Part::Until(5)], &[Part::Present(Subject::Id)]]), None);
        assert_eq!(ends(&[]), None);
    }
}
