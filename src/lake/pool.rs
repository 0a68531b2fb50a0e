//! Owns how the parts of a question share the memory it has for sorting and grouping: whoever needs it has what the
//! others leave, down to a floor that is kept for each.
//!
//! Knows DataFusion's `MemoryPool`. Its own `FairSpillPool` gives each part that can go to disk an even share, needed or
//! not; of ten such parts two or four hold anything, so that a question went to disk with half of its memory unused
//! (docs/decisions/0049). Promises: no more is given than there is, but for what DataFusion takes without asking
//! (`grow`); a part below its floor is denied only where all is given. Never waits: who is denied goes to disk, or fails.

use datafusion::common::{DataFusionError, Result};
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryLimit, MemoryPool, MemoryReservation, human_readable_size};
use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// The memory of one question.
#[derive(Debug)]
pub struct Pool {
    bytes: usize,
    held: Mutex<Held>,
}

/// What is given.
#[derive(Debug, Default)]
struct Held {
    /// By each part that can go to disk.
    by_part: BTreeMap<usize, usize>,
    by_others: usize,
}

impl MemoryPool for Pool {
    fn try_grow(&self, reservation: &MemoryReservation, additional: usize) -> Result<()> {
        let mut held = self.held();
        let part = reservation.consumer();
        let free = if part.can_spill() { held.free_for(part.id(), self.bytes) } else { held.free(self.bytes) };
        if additional > free {
            return Err(DataFusionError::ResourcesExhausted(format!(
                "{} needs {} more than the {} it has, and {} of {} are free for it",
                part.name(),
                human_readable_size(additional),
                human_readable_size(reservation.size()),
                human_readable_size(free),
                human_readable_size(self.bytes),
            )));
        }
        held.give(part, additional);
        Ok(())
    }

    fn grow(&self, reservation: &MemoryReservation, additional: usize) {
        self.held().give(reservation.consumer(), additional);
    }

    fn shrink(&self, reservation: &MemoryReservation, shrink: usize) {
        self.held().take_back(reservation.consumer(), shrink);
    }

    fn register(&self, consumer: &MemoryConsumer) {
        if consumer.can_spill() {
            self.held().by_part.entry(consumer.id()).or_default();
        }
    }

    fn unregister(&self, consumer: &MemoryConsumer) {
        self.held().by_part.remove(&consumer.id());
    }

    fn reserved(&self) -> usize {
        self.held().all()
    }

    fn memory_limit(&self) -> MemoryLimit {
        MemoryLimit::Finite(self.bytes)
    }

    fn name(&self) -> &str {
        "floors"
    }
}

impl Pool {
    pub const fn new(bytes: usize) -> Self {
        Self { bytes, held: Mutex::new(Held { by_part: BTreeMap::new(), by_others: 0 }) }
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Display for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}({})", self.name(), human_readable_size(self.bytes))
    }
}

impl Held {
    fn all(&self) -> usize {
        self.by_part.values().sum::<usize>() + self.by_others
    }

    fn free(&self, bytes: usize) -> usize {
        bytes.saturating_sub(self.all())
    }

    /// Half of all is kept for the parts that can go to disk, the same for each.
    fn floor(&self, bytes: usize) -> usize {
        bytes / 2 / self.by_part.len().max(1)
    }

    /// What such a part may have besides what it holds: what is free but for the others' floors, and all that is free
    /// up to its own.
    fn free_for(&self, part: usize, bytes: usize) -> usize {
        let floor = self.floor(bytes);
        let holds = self.by_part.get(&part).copied().unwrap_or_default();
        let kept: usize = self.by_part.iter().filter(|(other, _)| **other != part).map(|(_, holds)| floor.saturating_sub(*holds)).sum();
        let free = self.free(bytes);
        free.saturating_sub(kept).max(free.min(floor.saturating_sub(holds)))
    }

    fn give(&mut self, part: &MemoryConsumer, additional: usize) {
        *self.of(part) += additional;
    }

    fn take_back(&mut self, part: &MemoryConsumer, shrink: usize) {
        let holds = self.of(part);
        *holds = holds.saturating_sub(shrink);
    }

    fn of(&mut self, part: &MemoryConsumer) -> &mut usize {
        if part.can_spill() { self.by_part.entry(part.id()).or_default() } else { &mut self.by_others }
    }
}

#[cfg(test)]
mod tests {
    use super::Pool;
    use datafusion::execution::memory_pool::{MemoryConsumer, MemoryPool, MemoryReservation};
    use proptest::prelude::*;
    use std::sync::Arc;

    const BYTES: usize = 1_000;

    fn pool(parts: usize) -> (Arc<dyn MemoryPool>, Vec<MemoryReservation>) {
        let pool: Arc<dyn MemoryPool> = Arc::new(Pool::new(BYTES));
        let parts = (0..parts).map(|part| MemoryConsumer::new(format!("part {part}")).with_can_spill(true).register(&pool)).collect();
        (pool, parts)
    }

    #[test]
    fn one_has_what_the_others_leave() {
        let (pool, parts) = pool(5);
        assert!(parts[0].try_grow(601).is_err(), "a floor of 100 is kept for each of the others");
        parts[0].try_grow(600).unwrap();
        for part in &parts[1..] {
            let error = part.try_grow(101).unwrap_err().to_string();
            assert!(error.contains("needs 101.0 B more than the 0.0 B it has, and 100.0 B of 1000.0 B are free for it"), "{error}");
            part.try_grow(100).unwrap();
        }
        assert_eq!(pool.reserved(), BYTES);
        // Who went to disk leaves all to the rest.
        parts[0].free();
        parts[1].try_grow(500).unwrap();
        assert!(parts[2].try_grow(1).is_err() && parts[0].try_grow(100).is_ok());
        drop(parts);
        assert_eq!(pool.reserved(), 0);
    }

    #[test]
    fn what_cannot_go_to_disk_has_all_that_is_free() {
        let (pool, parts) = pool(2);
        let other = MemoryConsumer::new("other").register(&pool);
        other.try_grow(1_000).unwrap();
        assert!(parts[0].try_grow(1).is_err());
        other.shrink(300);
        parts[0].try_grow(250).unwrap();
        assert!(parts[0].try_grow(1).is_err(), "the rest is the other part's");
        parts[1].try_grow(50).unwrap();
    }

    proptest! {
        #[test]
        fn no_more_is_given_than_there_is_and_floors_hold(steps in prop::collection::vec((0..5_usize, 0..700_usize, any::<bool>()), 0..60), parts in 1..5_usize) {
            let (pool, parts) = pool(parts);
            let other = MemoryConsumer::new("other").register(&pool);
            let floor = BYTES / 2 / parts.len();
            for (at, bytes, grows) in steps {
                let part = parts.get(at).unwrap_or(&other);
                if !grows {
                    part.shrink(bytes.min(part.size()));
                } else if part.try_grow(bytes).is_err() && part.consumer().can_spill() && part.size() + bytes <= floor {
                    prop_assert!(pool.reserved() + bytes > BYTES);
                }
                let held: usize = parts.iter().chain([&other]).map(MemoryReservation::size).sum();
                prop_assert!(held <= BYTES && pool.reserved() == held);
            }
        }
    }
}
