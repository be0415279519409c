//! Whom to ask: who leads which namespace as far as was heard, and who has not answered lately.

use std::collections::BTreeMap;

use crate::{Instant, limits};

/// The endpoints of one cluster.
#[derive(Clone, Debug)]
pub struct Routes {
    endpoints: Vec<Endpoint>,
    leaders: BTreeMap<String, Leader>,
    /// Where whoever has no leader to go to begins.
    preferred: usize,
    /// When somebody was last asked for the leaders.
    asked: Option<Instant>,
    /// Something went wrong since: what is known may be wrong.
    stale: bool,
}

#[derive(Clone, Debug)]
struct Endpoint {
    address: String,
    /// Asked last until then.
    shunned: Option<Instant>,
}

#[derive(Clone, Copy, Debug)]
struct Leader {
    term: u64,
    endpoint: usize,
}

impl Routes {
    /// Of the nodes at `addresses`, each `host:port`. `chance` spreads clients over them.
    pub fn new(addresses: impl IntoIterator<Item = String>, chance: u64) -> Routes {
        let mut endpoints: Vec<Endpoint> = Vec::new();
        for address in addresses.into_iter().take(limits::ENDPOINTS_MAX) {
            if endpoints.iter().all(|endpoint| endpoint.address != address) {
                endpoints.push(Endpoint { address, shunned: None });
            }
        }
        let count = u64::try_from(endpoints.len()).unwrap_or(1).max(1);
        let preferred = usize::try_from(chance % count).unwrap_or(0);
        Routes { endpoints, leaders: BTreeMap::new(), preferred, asked: None, stale: false }
    }

    /// The address of endpoint `place`.
    pub fn address(&self, place: usize) -> &str {
        self.endpoints.get(place).map_or("", |endpoint| &endpoint.address)
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.endpoints.len()
    }

    /// There is nobody to ask.
    pub fn is_empty(&self) -> bool {
        self.endpoints.is_empty()
    }

    /// Whom to ask about `namespace` when `failed` attempts brought nothing: its leader first, then
    /// one after the other, and who has not answered lately last of all.
    pub fn pick(&self, namespace: &str, failed: u32, now: Instant) -> usize {
        let shunned = |place: usize| {
            self.endpoints.get(place).and_then(|endpoint| endpoint.shunned).filter(|&at| at > now)
        };
        let leader = self.leaders.get(namespace).map(|leader| leader.endpoint);
        let first = leader.unwrap_or(self.preferred);
        let count = self.endpoints.len().max(1);
        let turn = usize::try_from(failed).unwrap_or(0);
        let in_turn = (0..count).map(|step| (first + turn + step) % count);
        // A leader that is known is worth another try before anybody else is asked to forward.
        let order = leader.filter(|_| failed.is_multiple_of(2)).into_iter().chain(in_turn);
        let mut best = first;
        let mut until = None;
        for place in order {
            match shunned(place) {
                None => return place,
                Some(at) if until.is_none_or(|earliest| at < earliest) => {
                    (best, until) = (place, Some(at));
                }
                Some(_) => {}
            }
        }
        best
    }

    /// Endpoint `place` has answered.
    pub fn answered(&mut self, place: usize) {
        if let Some(endpoint) = self.endpoints.get_mut(place) {
            endpoint.shunned = None;
        }
    }

    /// Endpoint `place` could not be reached or did not answer.
    pub fn silent(&mut self, place: usize, now: Instant) {
        if let Some(endpoint) = self.endpoints.get_mut(place) {
            endpoint.shunned = Some(now.after(limits::SHUNNED_FOR));
        }
        if self.preferred == place {
            self.preferred = (place + 1) % self.endpoints.len().max(1);
        }
        self.stale = true;
    }

    /// Whoever was asked does not lead, or knows nobody who does.
    pub fn doubt(&mut self) {
        self.stale = true;
    }

    /// Whether somebody is to be asked now who leads what; whoever hears yes asks.
    pub fn is_question_due(&mut self, now: Instant) -> bool {
        let due = match self.asked {
            None => true,
            Some(asked) if self.stale => now.since(asked) >= limits::ROUTES_EVERY_MIN,
            Some(asked) => now.since(asked) >= limits::ROUTES_AGE_MAX,
        };
        if due {
            self.asked = Some(now);
            self.stale = false;
        }
        due
    }

    /// A node said that `address` leads `namespace` in `term`. An older term's word is not believed
    /// against a newer one's.
    pub fn learn(&mut self, namespace: &str, term: u64, address: &str) {
        let known = self.leaders.get(namespace).copied();
        if known.is_some_and(|known| known.term > term) {
            return;
        }
        let Some(endpoint) = self.place(address) else { return };
        if known.is_some() || self.leaders.len() < limits::NAMESPACES_MAX {
            self.leaders.insert(namespace.to_owned(), Leader { term, endpoint });
        }
    }

    /// Where a member is found that may be new to this client.
    fn place(&mut self, address: &str) -> Option<usize> {
        let known = self.endpoints.iter().position(|endpoint| endpoint.address == address);
        known.or_else(|| {
            let room = !address.is_empty() && self.endpoints.len() < limits::ENDPOINTS_MAX;
            room.then(|| {
                self.endpoints.push(Endpoint { address: address.to_owned(), shunned: None });
                self.endpoints.len() - 1
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn three() -> Routes {
        Routes::new(["a:1", "b:1", "c:1"].map(str::to_owned), 1)
    }

    #[test]
    fn without_a_leader_the_endpoints_are_asked_in_turn() {
        let routes = three();
        let asked: Vec<usize> = (0..4).map(|failed| routes.pick("n", failed, Instant(0))).collect();
        assert_eq!(asked, [1, 2, 0, 1]);
    }

    #[test]
    fn a_leader_is_asked_first_and_shunned_when_it_is_silent() {
        let mut routes = three();
        routes.learn("n", 4, "c:1");
        assert_eq!(routes.pick("n", 0, Instant(0)), 2);
        assert_eq!(routes.pick("other", 0, Instant(0)), 1);
        routes.silent(2, Instant(0));
        assert_ne!(routes.pick("n", 0, Instant(1)), 2);
        let later = Instant(0).after(limits::SHUNNED_FOR);
        assert_eq!(routes.pick("n", 0, later), 2);
        routes.silent(2, later);
        routes.answered(2);
        assert_eq!(routes.pick("n", 0, later), 2);
    }

    #[test]
    fn when_nobody_answers_whoever_was_silent_first_is_asked() {
        let mut routes = three();
        for (place, at) in [(1, 10), (2, 5), (0, 20)] {
            routes.silent(place, Instant(at));
        }
        assert_eq!(routes.pick("n", 0, Instant(30)), 2);
    }

    #[test]
    fn an_older_terms_leader_is_not_believed_and_a_new_member_is_found() {
        let mut routes = three();
        routes.learn("n", 4, "c:1");
        routes.learn("n", 3, "a:1");
        assert_eq!(routes.pick("n", 0, Instant(0)), 2);
        routes.learn("n", 5, "d:1");
        assert_eq!(routes.address(routes.pick("n", 0, Instant(0))), "d:1");
    }

    #[test]
    fn the_leaders_are_asked_for_when_in_doubt_but_not_all_the_time() {
        let mut routes = three();
        assert!(routes.is_question_due(Instant(0)));
        assert!(!routes.is_question_due(Instant(0)));
        routes.doubt();
        assert!(!routes.is_question_due(Instant(1)));
        let soon = Instant(0).after(limits::ROUTES_EVERY_MIN);
        assert!(routes.is_question_due(soon));
        assert!(!routes.is_question_due(soon.after(limits::ROUTES_EVERY_MIN)));
        assert!(routes.is_question_due(soon.after(limits::ROUTES_AGE_MAX)));
    }
}
