//! From signed bytes to grants and checks: only what [`crate::form`] knows comes through.

use std::collections::BTreeSet;

use biscuit_auth::builder::CheckKind;
use biscuit_auth::datalog::{
    Binary, Check as Logged, Expression, Op, Predicate, Rule, SymbolTable, Term,
};
use biscuit_auth::format::convert::proto_block_to_token_block;
use biscuit_auth::format::schema;
use prost::Message;

use crate::form::{Check, Part, Subject};
use crate::right::{Grant, Right};
use crate::{BLOCKS_MAX, Denied, GRANTS_MAX};

/// What a token says.
#[derive(Clone, Debug, Default)]
pub(crate) struct Said {
    /// Whom it was made for.
    pub(crate) subject: Option<String>,
    /// What it allows.
    pub(crate) grants: Vec<Grant>,
    /// What must hold besides.
    pub(crate) checks: Vec<Check>,
}

fn unknown(what: &str) -> Denied {
    Denied::invalid(format!(
        "the token holds {what}, which this store does not take from holders; narrow it with \
         `understudy token attenuate`"
    ))
}

fn damaged() -> Denied {
    Denied::invalid("the token is damaged; get a new one")
}

/// Reads a token whose signatures are good.
pub(crate) fn read(bytes: &[u8]) -> Result<Said, Denied> {
    let token = schema::Biscuit::decode(bytes).map_err(|_| damaged())?;
    if token.blocks.len() >= BLOCKS_MAX {
        return Err(unknown("too many blocks"));
    }
    let mut said = Said::default();
    let mut symbols = SymbolTable::new();
    for (place, signed) in std::iter::once(&token.authority).chain(&token.blocks).enumerate() {
        if signed.external_signature.is_some() {
            return Err(unknown("a block signed by a third party"));
        }
        let block = schema::Block::decode(&signed.block[..]).map_err(|_| damaged())?;
        let block = proto_block_to_token_block(&block, None).map_err(|_| damaged())?;
        symbols.extend(&block.symbols).map_err(|_| damaged())?;
        if !block.rules.is_empty() {
            return Err(unknown("a rule"));
        }
        if !block.scopes.is_empty() {
            return Err(unknown("a scope"));
        }
        for fact in &block.facts {
            if place > 0 {
                return Err(unknown("a fact outside of its first block"));
            }
            said.fact(&fact.predicate, &symbols)?;
        }
        for logged in &block.checks {
            said.checks.push(check(logged, &symbols)?);
        }
    }
    Ok(said)
}

impl Said {
    fn fact(&mut self, fact: &Predicate, symbols: &SymbolTable) -> Result<(), Denied> {
        let words: Option<Vec<&str>> = fact.terms.iter().map(|term| word(term, symbols)).collect();
        match (symbols.get_symbol(fact.name), words.as_deref()) {
            (Some("grant"), Some(&[right, namespace, prefix])) => {
                let right: Right = right.parse().map_err(|_| unknown("a right of another kind"))?;
                if self.grants.len() >= GRANTS_MAX {
                    return Err(unknown("too many grants"));
                }
                let (namespace, prefix) = (namespace.to_owned(), prefix.to_owned());
                self.grants.push(Grant { right, namespace, prefix });
            }
            (Some("subject"), Some(&[name])) if self.subject.is_none() => {
                self.subject = Some(name.to_owned());
            }
            _ => return Err(unknown("a fact of another kind")),
        }
        Ok(())
    }
}

fn word<'a>(term: &Term, symbols: &'a SymbolTable) -> Option<&'a str> {
    match term {
        Term::Str(symbol) => symbols.get_symbol(*symbol),
        _ => None,
    }
}

fn check(logged: &Logged, symbols: &SymbolTable) -> Result<Check, Denied> {
    if logged.kind != CheckKind::One {
        return Err(unknown("a check of another kind"));
    }
    logged
        .queries
        .iter()
        .map(|query| self::query(query, symbols))
        .collect::<Result<_, _>>()
        .map(Check)
}

/// What a variable stands for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Bound {
    Text(Subject),
    Time,
}

fn query(rule: &Rule, symbols: &SymbolTable) -> Result<Vec<Part>, Denied> {
    if !rule.scopes.is_empty() {
        return Err(unknown("a scope"));
    }
    let mut parts = Vec::new();
    let mut bound: Vec<(u32, Bound)> = Vec::new();
    for predicate in &rule.body {
        let [term] = &predicate.terms[..] else { return Err(unknown("a fact of another kind")) };
        let fact = match symbols.get_symbol(predicate.name) {
            Some("operation") => Bound::Text(Subject::Operation),
            Some("namespace") => Bound::Text(Subject::Namespace),
            Some("within") => Bound::Text(Subject::Within),
            Some("id") => Bound::Text(Subject::Id),
            Some("time") => Bound::Time,
            _ => return Err(unknown("a fact of another kind")),
        };
        match (fact, term) {
            (_, Term::Variable(name)) => {
                if bound.iter().any(|(known, _)| known == name) {
                    return Err(unknown("a variable with two meanings"));
                }
                bound.push((*name, fact));
                if let Bound::Text(subject) = fact {
                    parts.push(Part::Present(subject));
                }
            }
            (Bound::Text(subject), term) => {
                let word = word(term, symbols).ok_or_else(|| unknown("a value of another kind"))?;
                parts.push(Part::OneOf(subject, BTreeSet::from([word.to_owned()])));
            }
            (Bound::Time, _) => return Err(unknown("a single moment")),
        }
    }
    for expression in &rule.expressions {
        parts.push(part(expression, &bound, symbols)?);
    }
    Ok(parts)
}

fn part(
    expression: &Expression,
    bound: &[(u32, Bound)],
    symbols: &SymbolTable,
) -> Result<Part, Denied> {
    let other = || unknown("an expression of another kind");
    let [Op::Value(left), Op::Value(right), Op::Binary(operator)] = &expression.ops[..] else {
        return Err(other());
    };
    let meaning = |term: &Term| match term {
        Term::Variable(name) => {
            bound.iter().find(|(known, _)| known == name).map(|(_, bound)| *bound)
        }
        _ => None,
    };
    match (meaning(left), meaning(right)) {
        (Some(Bound::Text(subject)), None) => {
            let word = word(right, symbols).ok_or_else(other)?.to_owned();
            match operator {
                Binary::Prefix => Ok(Part::Begins(subject, word)),
                Binary::Equal | Binary::HeterogeneousEqual => {
                    Ok(Part::OneOf(subject, BTreeSet::from([word])))
                }
                _ => Err(other()),
            }
        }
        (None, Some(Bound::Text(subject))) => match (operator, left) {
            (Binary::Contains, Term::Set(terms)) => words(subject, terms.iter(), symbols),
            (Binary::Contains, Term::Array(terms)) => words(subject, terms.iter(), symbols),
            (Binary::Equal | Binary::HeterogeneousEqual, term) => {
                words(subject, std::iter::once(term), symbols)
            }
            _ => Err(other()),
        },
        (Some(Bound::Time), None) => time(operator, right, false).ok_or_else(other),
        (None, Some(Bound::Time)) => time(operator, left, true).ok_or_else(other),
        _ => Err(other()),
    }
}

fn words<'a>(
    subject: Subject,
    terms: impl Iterator<Item = &'a Term>,
    symbols: &SymbolTable,
) -> Result<Part, Denied> {
    let words: Option<BTreeSet<String>> =
        terms.map(|term| word(term, symbols).map(str::to_owned)).collect();
    words
        .map(|words| Part::OneOf(subject, words))
        .ok_or_else(|| unknown("an expression of another kind"))
}

/// `$t < date`, or with `turned` `date < $t`.
fn time(operator: &Binary, date: &Term, turned: bool) -> Option<Part> {
    let Term::Date(date) = date else { return None };
    let before = |strict: bool| match (strict, date.checked_sub(1)) {
        (false, _) => Part::Until(*date),
        (true, Some(end)) => Part::Until(end),
        (true, None) => Part::Never,
    };
    let after = |strict: bool| match (strict, date.checked_add(1)) {
        (false, _) => Part::From(*date),
        (true, Some(begin)) => Part::From(begin),
        (true, None) => Part::Never,
    };
    Some(match (operator, turned) {
        (Binary::LessThan, false) | (Binary::GreaterThan, true) => before(true),
        (Binary::LessOrEqual, false) | (Binary::GreaterOrEqual, true) => before(false),
        (Binary::GreaterThan, false) | (Binary::LessThan, true) => after(true),
        (Binary::GreaterOrEqual, false) | (Binary::LessOrEqual, true) => after(false),
        _ => return None,
    })
}
