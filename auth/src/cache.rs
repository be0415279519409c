//! Tokens that were verified before: a signature costs more than the request that it is for.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use crate::Token;

/// At most so many tokens; those used least recently make room.
pub struct Cache {
    max: usize,
    halves: Mutex<Halves>,
}

/// A token that is used moves to the young half; when that is full it becomes the old one, and what
/// the old one still held is forgotten.
#[derive(Default)]
struct Halves {
    young: HashMap<Box<str>, Arc<Token>>,
    old: HashMap<Box<str>, Arc<Token>>,
}

impl Cache {
    /// An empty one.
    pub fn new(max: usize) -> Cache {
        Cache { max: max.max(2), halves: Mutex::default() }
    }

    /// The token with this text, verified by `verify` if it is not known.
    ///
    /// # Errors
    /// What `verify` says; that is not kept.
    pub fn get<E>(
        &self,
        text: &str,
        verify: impl FnOnce(&str) -> Result<Token, E>,
    ) -> Result<Arc<Token>, E> {
        {
            let mut halves = self.halves.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(token) = halves.young.get(text) {
                return Ok(token.clone());
            }
            if let Some((text, token)) = halves.old.remove_entry(text) {
                self.insert(&mut halves, text, token.clone());
                return Ok(token);
            }
        }
        // Without the lock: it takes its time.
        let token = Arc::new(verify(text)?);
        let mut halves = self.halves.lock().unwrap_or_else(PoisonError::into_inner);
        self.insert(&mut halves, text.into(), token.clone());
        Ok(token)
    }

    fn insert(&self, halves: &mut Halves, text: Box<str>, token: Arc<Token>) {
        if halves.young.len() >= self.max / 2 {
            halves.old = std::mem::take(&mut halves.young);
        }
        halves.young.insert(text, token);
    }

    /// How many it holds.
    pub fn len(&self) -> usize {
        let halves = self.halves.lock().unwrap_or_else(PoisonError::into_inner);
        halves.young.len() + halves.old.len()
    }

    /// Whether it holds none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Its keys are secret.
impl fmt::Debug for Cache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Cache({} of {})", self.len(), self.max)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_stays_within_its_bound_and_keeps_what_is_used() {
        let cache = Cache::new(10);
        let mut verified = 0;
        let mut get = |text: &str| {
            let verify = |_: &str| {
                verified += 1;
                Ok::<Token, ()>(Token::default())
            };
            cache.get(text, verify).unwrap();
            assert!(cache.len() <= 10);
        };
        for number in 0..1000 {
            get("often");
            get(&format!("once {number}"));
        }
        assert_eq!(verified, 1001);
        assert_eq!(cache.get("bad", |_| Err(7)).err(), Some(7));
        assert!(!format!("{cache:?}").contains("often"));
    }
}
