//! Owns fresh ids: sixteen random bytes of the operating system each, fetched for many at once.
//!
//! Promises: no id is given twice, and none is kept once it was given. Never makes randomness itself: a
//! call to the system for every id costs more than the id, so 256 are fetched by one.

use crate::hit::field::Id;

/// One worker's store of fresh ids.
pub struct Ids {
    bytes: [u8; 16 * AT_ONCE],
    used: usize,
}

const AT_ONCE: usize = 256;

/// Empty: the first id fetches the first of them.
impl Default for Ids {
    fn default() -> Self {
        Self { bytes: [0; 16 * AT_ONCE], used: AT_ONCE }
    }
}

impl Ids {
    pub fn fresh(&mut self) -> Id {
        if self.used >= AT_ONCE {
            self.used = 0;
            if let Err(error) = getrandom::fill(&mut self.bytes) {
                // Without randomness ids could be guessed: none is better. It has not been seen on any
                // system that starts; rows are kept with an id that belongs to nobody.
                self.bytes.fill(0);
                self.used = AT_ONCE;
                tracing::error!(%error, "the system gives no random bytes");
                return Id([0; 16]);
            }
        }
        let mut id = [0; 16];
        if let Some(bytes) = self.bytes.get_mut(self.used * 16..self.used * 16 + 16) {
            id.copy_from_slice(bytes);
            bytes.fill(0);
        }
        self.used += 1;
        Id(id)
    }
}

#[cfg(test)]
mod tests {
    use super::{AT_ONCE, Ids};
    use std::collections::HashSet;

    #[test]
    fn ids_are_given_once_and_not_kept() {
        let mut ids = Ids::default();
        let mut given = HashSet::new();
        for _ in 0..3 * AT_ONCE {
            let id = ids.fresh();
            assert!(given.insert(id.0));
            assert!(!ids.bytes.windows(16).any(|bytes| bytes == id.0));
        }
    }
}
