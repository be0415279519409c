//! Which changes a subscriber wants to hear of.

use std::collections::BTreeSet;

use crate::change::{Change, ChangeKind};
use crate::limits;
use crate::types::ActorId;

/// Which changes a subscriber wants: of which actors, and what happened to them. Applied where the
/// changes are, before anything is sent (S0-081, X-15). The default wants all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// In order, none the beginning of another; none for all.
    prefixes: Vec<String>,
    /// None for all.
    kinds: BTreeSet<ChangeKind>,
}

impl Filter {
    /// Wants changes of the actors whose ids begin with one of `prefixes`, and of one of `kinds`;
    /// none stands for all.
    ///
    /// # Errors
    /// A sentence that names the rule which was broken.
    pub fn new(
        prefixes: impl IntoIterator<Item = String>,
        kinds: impl IntoIterator<Item = ChangeKind>,
    ) -> Result<Filter, String> {
        let mut prefixes: Vec<String> =
            prefixes.into_iter().take(limits::FILTER_PREFIXES_MAX + 1).collect();
        if prefixes.len() > limits::FILTER_PREFIXES_MAX {
            return Err(format!(
                "a filter has at most {} id prefixes; open another subscription for more",
                limits::FILTER_PREFIXES_MAX
            ));
        }
        if prefixes.iter().any(String::is_empty) {
            return Err("an id prefix may not be empty; give none to hear of all ids".to_owned());
        }
        if let Some(long) = prefixes.iter().find(|prefix| prefix.len() > limits::ID_BYTES_MAX) {
            return Err(format!(
                "an id prefix has at most {} bytes, as an id has; one here has {}",
                limits::ID_BYTES_MAX,
                long.len()
            ));
        }
        prefixes.sort();
        // Behind a prefix stand at once those that begin with it.
        prefixes.dedup_by(|next, kept| next.starts_with(kept.as_str()));
        Ok(Filter { prefixes, kinds: kinds.into_iter().collect() })
    }

    /// Whether the change is wanted.
    pub fn wants(&self, change: &Change) -> bool {
        (self.kinds.is_empty() || self.kinds.contains(&change.kind)) && self.wants_id(&change.id)
    }

    /// Whether the actor is among those of interest.
    pub fn wants_id(&self, id: &ActorId) -> bool {
        // Between a prefix and an id that begins with it stands nothing but what begins with it too:
        // none of the others does, so the last one at or before the id decides.
        let behind = self.prefixes.partition_point(|prefix| prefix.as_str() <= id.as_str());
        let decides = behind.checked_sub(1).map(|place| &self.prefixes[place]);
        self.prefixes.is_empty() || decides.is_some_and(|prefix| id.as_str().starts_with(prefix))
    }

    /// What happens to an actor that is wanted; none for all.
    pub fn kinds(&self) -> &BTreeSet<ChangeKind> {
        &self.kinds
    }

    /// What the ids of interest all begin with.
    pub fn prefix(&self) -> &str {
        let (Some(first), Some(last)) = (self.prefixes.first(), self.prefixes.last()) else {
            return "";
        };
        let differs = first.char_indices().zip(last.chars()).find(|((_, one), other)| one != other);
        differs.map_or(first.as_str(), |((at, _), _)| &first[..at])
    }

    /// Whether all that begins with [`Filter::prefix`] is of interest.
    pub fn is_one_prefix(&self) -> bool {
        self.prefixes.len() <= 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seed::Seed;
    use crate::subscription::tests::change;

    fn filter(prefixes: &[&str]) -> Filter {
        Filter::new(prefixes.iter().map(|prefix| (*prefix).to_owned()), []).unwrap()
    }

    /// S0-081, X-15.
    #[test]
    fn ids_and_kinds_decide() {
        let all = Filter::default();
        assert!(all.wants(&change(1, "a")) && all.prefix().is_empty() && all.is_one_prefix());
        let some = Filter::new(["user/".to_owned()], [ChangeKind::Delete]).unwrap();
        assert!(!some.wants(&change(1, "user/1")), "an update");
        let some = Filter::new(["user/".to_owned()], [ChangeKind::Update]).unwrap();
        assert!(some.wants(&change(1, "user/1")));
        assert!(!some.wants(&change(1, "user")) && !some.wants(&change(1, "vser/1")));
    }

    #[test]
    fn the_common_prefix_ends_between_characters() {
        assert_eq!(filter(&["user/a", "user/b", "user/ab"]).prefix(), "user/");
        assert_eq!(filter(&["user/a", "user/ab", "user/"]), filter(&["user/"]));
        assert_eq!(filter(&["a", "b"]).prefix(), "");
        // These two share the first of their bytes.
        assert_eq!(filter(&["x\u{e9}", "x\u{ea}"]).prefix(), "x");
    }

    #[test]
    fn any_of_the_prefixes_is_found() {
        let mut rng = Seed(7).rng();
        let mut word = |most| {
            let length = rng.between(1, most);
            (0..length).map(|_| ["a", "b", "\u{e9}"][rng.below(3) as usize]).collect::<String>()
        };
        for _ in 0..500 {
            let prefixes: Vec<String> = (0..4).map(|_| word(3)).collect();
            let filter = Filter::new(prefixes.clone(), []).unwrap();
            assert!(prefixes.iter().all(|prefix| prefix.starts_with(filter.prefix())));
            for _ in 0..20 {
                let id = word(5);
                let wanted = prefixes.iter().any(|prefix| id.starts_with(prefix));
                assert_eq!(
                    filter.wants_id(&ActorId::new(&*id).unwrap()),
                    wanted,
                    "{id}: {filter:?}"
                );
            }
        }
    }

    #[test]
    fn it_is_bounded() {
        let many = |count: usize| Filter::new((0..count).map(|n| format!("{n:03}")), []);
        assert!(many(limits::FILTER_PREFIXES_MAX).is_ok());
        assert!(many(limits::FILTER_PREFIXES_MAX + 1).unwrap_err().contains("at most"));
        assert!(Filter::new([String::new()], []).unwrap_err().contains("empty"));
        assert!(Filter::new(["x".repeat(limits::ID_BYTES_MAX)], []).is_ok());
        assert!(Filter::new(["x".repeat(limits::ID_BYTES_MAX + 1)], []).is_err());
    }
}
