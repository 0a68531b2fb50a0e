//! Owns the table in which the lake's builders find what they met before: words of 57 bits by a hash.
//!
//! Promises: what was put is found, and nothing else that is not taken for it by who asks; a look can be asked ahead
//! of time, which a table of hashbrown's cannot. Holds a word for each in twice to four times their room; nothing is
//! ever taken out. Never knows what a word means.

use crate::rules::ahead;

/// What is known, by its hash: 57 bits each, with 6 bits of the hash before them and one that is always set. Never
/// more than half full, so that a look ends soon.
#[derive(Default)]
pub struct Slots {
    /// As many as a power of two, or none; 0 where nothing is.
    words: Box<[u64]>,
    used: usize,
}

const GIVEN: u64 = (1 << 57) - 1;
const SLOTS_MIN: usize = 16;

impl Slots {
    /// Has the place of a hash brought near.
    pub fn fetch(&self, sought: Sought) {
        if let Some(word) = self.words.get(self.home(sought)) {
            ahead::fetch(word);
        }
    }

    /// What stands in the place of a hash, if anything: mostly, but not always, what `find` finds.
    pub fn peek(&self, sought: Sought) -> Option<u64> {
        self.words.get(self.home(sought)).filter(|word| **word != 0).map(|word| word & GIVEN)
    }

    /// The word of this hash that it is.
    pub fn find(&self, sought: Sought, is_it: impl Fn(u64) -> bool) -> Option<u64> {
        let mut at = self.home(sought);
        loop {
            let word = *self.words.get(at)?;
            if word == 0 {
                return None;
            }
            if word & !GIVEN == Self::mark(sought) && is_it(word & GIVEN) {
                return Some(word & GIVEN);
            }
            at = (at + 1) & (self.words.len() - 1);
        }
    }

    /// Notes what was not found; `hash_of` says the hash of what was noted before.
    pub fn put(&mut self, sought: Sought, given: u64, hash_of: impl Fn(u64) -> Sought) {
        if (self.used + 1) * 2 > self.words.len() {
            let grown = vec![0; (self.words.len() * 2).max(SLOTS_MIN)].into_boxed_slice();
            let before = std::mem::replace(&mut self.words, grown);
            for word in before.into_iter().filter(|word| *word != 0) {
                self.lay(hash_of(word & GIVEN), word & GIVEN);
            }
        }
        self.lay(sought, given);
        self.used += 1;
    }

    fn lay(&mut self, sought: Sought, given: u64) {
        let mut at = self.home(sought);
        let last = self.words.len() - 1;
        while self.words.get(at).is_some_and(|word| *word != 0) {
            at = (at + 1) & last;
        }
        if let Some(word) = self.words.get_mut(at) {
            *word = Self::mark(sought) | given;
        }
    }

    /// All words, in no order.
    pub fn all(&self) -> impl Iterator<Item = u64> {
        self.words.iter().filter(|word| **word != 0).map(|word| word & GIVEN)
    }

    fn home(&self, Sought(hash): Sought) -> usize {
        hash as usize & self.words.len().wrapping_sub(1)
    }

    const fn mark(Sought(hash): Sought) -> u64 {
        (hash | 1 << 57) & !GIVEN
    }
}

/// What is looked for, as its hash.
#[derive(Clone, Copy, Default)]
pub struct Sought(u64);

impl Sought {
    pub const fn from_hash(hash: u64) -> Self {
        Self(hash)
    }
}

#[cfg(test)]
mod tests {
    use super::{Slots, Sought};
    use proptest::prelude::*;
    use std::collections::HashMap;

    proptest! {
        /// Hashes that share their places and their marks, as no hasher would give them.
        #[test]
        fn what_was_put_is_found_and_nothing_else(hashes in prop::collection::vec((0..4_u64, 0..3_u64, 0..1_000_u64), 0..200)) {
            let hash_of = |given: u64| Sought(((given % 4) << 57) | (given / 4 % 3));
            let (mut slots, mut known) = (Slots::default(), HashMap::new());
            for (high, low, rest) in hashes {
                let given = rest * 12 + low * 4 + high;
                let sought = hash_of(given);
                slots.fetch(sought);
                prop_assert_eq!(slots.find(sought, |there| there == given), known.get(&given).copied());
                if known.insert(given, given).is_none() {
                    slots.put(sought, given, hash_of);
                }
                prop_assert!(slots.words.len() >= 2 * known.len());
            }
            prop_assert_eq!(slots.all().count(), known.len());
        }
    }
}
