//! What happens by chance: each roll has a name, so that a shrunk run can say which ones fire.
//!
//! A roll is named by its fault, its place (a node, a link, a client) and how many rolls of that
//! fault came before it there. Whether it fires is a hash of the seed and the name, not a draw from
//! a stream: taking one roll away changes no other. A schedule may list the rolls that fire.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use understudy_core::{NodeId, Seed};
use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::faults::{Counts, Fault};

/// One roll's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Chance {
    /// What would happen.
    pub fault: Fault,
    /// Where: a node's or client's number, or for a link from × 10 + to.
    pub place: u64,
    /// How many rolls of this fault were made there before.
    pub number: u64,
}

/// All chance of one run.
pub struct Dice {
    seed: Seed,
    numbers: BTreeMap<(Fault, u64), u64>,
    /// The rolls that fire; `None` lets the rates decide.
    listed: Option<BTreeSet<Chance>>,
    fired: Vec<Chance>,
    off: bool,
}

/// The place of the link between two nodes.
pub fn link(from: NodeId, to: NodeId) -> u64 {
    from.0 * 10 + to.0
}

impl Dice {
    /// Dice that fire by rates, or as listed.
    pub fn new(seed: Seed, listed: Option<&[Chance]>) -> Dice {
        let listed = listed.map(|chances| chances.iter().copied().collect());
        let seed = seed.child("dice");
        Dice { seed, numbers: BTreeMap::new(), listed, fired: Vec::new(), off: false }
    }

    /// Rolls; fires in `ppm` of a million. The value decides how it goes on: uniform, and the same
    /// whether rates or a list let it fire.
    pub fn roll(&mut self, fault: Fault, place: u64, ppm: u64, counts: &mut Counts) -> Option<u64> {
        let chance = self.next(fault, place);
        let value = self.value(chance);
        let fires = match &self.listed {
            Some(listed) => listed.contains(&chance),
            None => value % 1_000_000 < ppm,
        };
        if !fires || self.off {
            return None;
        }
        self.fired.push(chance);
        counts.fired(fault);
        Some(value / 1_000_000)
    }

    /// From now on nothing fires.
    pub fn calm(&mut self) {
        self.off = true;
    }

    /// What fired, in order.
    pub fn fired(&self) -> &[Chance] {
        &self.fired
    }

    fn next(&mut self, fault: Fault, place: u64) -> Chance {
        let number = self.numbers.entry((fault, place)).or_default();
        let chance = Chance { fault, place, number: *number };
        *number += 1;
        chance
    }

    fn value(&self, chance: Chance) -> u64 {
        let mut name = [0; 17];
        name[0] = chance.fault as u8;
        name[1..9].copy_from_slice(&chance.place.to_le_bytes());
        name[9..].copy_from_slice(&chance.number.to_le_bytes());
        xxh3_64_with_seed(&name, self.seed.0)
    }
}

/// `value` folded into `low..=high`.
pub fn fold(value: u64, low: u64, high: u64) -> u64 {
    low + value % (high.saturating_sub(low) + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rolls(dice: &mut Dice, places: &[u64]) -> Vec<Option<u64>> {
        let mut counts = Counts::default();
        places.iter().map(|&place| dice.roll(Fault::Loss, place, 300_000, &mut counts)).collect()
    }

    #[test]
    fn rolls_of_one_place_do_not_shift_those_of_another() {
        let alone = rolls(&mut Dice::new(Seed(7), None), &[1; 100]);
        let both: Vec<u64> = (0..200).map(|n| 1 + n % 2).collect();
        let mixed = rolls(&mut Dice::new(Seed(7), None), &both);
        let mixed: Vec<_> = mixed.into_iter().step_by(2).collect();
        assert_eq!(alone, mixed);
        let fired = alone.iter().flatten().count();
        assert!(
            (15..45).contains(&fired),
            "300,000 in a million fire about 30 in 100, not {fired}"
        );
    }

    #[test]
    fn a_list_lets_exactly_its_rolls_fire_with_the_same_values() {
        let mut drawn = Dice::new(Seed(7), None);
        let by_rate = rolls(&mut drawn, &[1; 100]);
        let list = drawn.fired().to_vec();
        assert_eq!(rolls(&mut Dice::new(Seed(7), Some(&list)), &[1; 100]), by_rate);
        let one = rolls(&mut Dice::new(Seed(7), Some(&list[..1])), &[1; 100]);
        assert_eq!(one.iter().flatten().count(), 1);
        let mut calm = Dice::new(Seed(7), None);
        calm.calm();
        assert_eq!(rolls(&mut calm, &[1; 100]), vec![None; 100]);
    }
}
