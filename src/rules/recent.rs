//! Owns the table of what one worker worked out lately, so that it is not worked out at every hit.
//!
//! Sets of four entries found by a number of 64 bits; what is new takes the place of the oldest of its set.
//! Promises fixed memory, made at the start; no list is mended when something is found, as a least-recently-used
//! one would be at every hit. Where 8,192 entries are half used, one set in 20 is asked for more than its four.
//! Never keeps what the numbers were made of.

use std::num::NonZeroU64;

/// What was worked out lately, by number.
pub struct Recent<V> {
    sets: Box<[Set<V>]>,
    /// Where a number lies is this process's own affair: nobody can aim at a set.
    spread: u64,
    pub rate: Rate,
}

/// How often something was looked up, and how often it was there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Rate {
    pub looked: u64,
    pub found: u64,
}

const WAYS: usize = 4;

struct Set<V> {
    /// 0 where an entry is unused.
    numbers: [u64; WAYS],
    values: [V; WAYS],
}

impl<V: Default> Recent<V> {
    /// Room for so many entries, rounded up to a power of two and to four at least; `secret` is random.
    pub fn new(entries: usize, secret: u64) -> Self {
        let sets = entries.div_ceil(WAYS).next_power_of_two();
        Self {
            sets: (0..sets).map(|_| Set { numbers: [0; WAYS], values: Default::default() }).collect(),
            spread: secret | 1,
            rate: Rate::default(),
        }
    }

    /// What belongs to `number`, worked out where it is not there.
    pub fn get_or(&mut self, number: NonZeroU64, work_out: impl FnOnce() -> V) -> &V {
        let Self { sets, spread, rate } = self;
        let number = number.get();
        let mixed = number.wrapping_mul(*spread);
        let at = (mixed ^ (mixed >> 32)) as usize & (sets.len() - 1);
        let Set { numbers, values } = &mut sets[at];
        rate.looked += 1;
        let way = if let Some(way) = numbers.iter().position(|known| *known == number) {
            rate.found += 1;
            way
        } else {
            numbers.rotate_right(1);
            values.rotate_right(1);
            (numbers[0], values[0]) = (number, work_out());
            0
        };
        &values[way]
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        for set in &mut self.sets {
            *set = Set { numbers: [0; WAYS], values: Default::default() };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Rate, Recent};
    use proptest::prelude::*;
    use std::num::NonZeroU64;

    #[test]
    fn what_is_new_takes_the_place_of_the_oldest_of_its_set() {
        let mut recent = Recent::new(4, 7);
        for number in [1_u64, 2, 3, 4, 1, 5, 1, 5] {
            assert_eq!(*recent.get_or(NonZeroU64::new(number).unwrap(), || number * 10), number * 10);
        }
        // 1 was the oldest when 5 came, and 2 when 1 came again.
        assert_eq!(recent.rate, Rate { looked: 8, found: 2 });
        recent.clear();
        recent.get_or(NonZeroU64::MIN, || 10);
        assert_eq!(recent.rate, Rate { looked: 9, found: 2 });
    }

    proptest! {
        #[test]
        fn the_answer_is_always_that_of_the_number(numbers in proptest::collection::vec(1..200_u64, 0..1_000), secret: u64) {
            let mut recent = Recent::new(64, secret);
            for number in numbers {
                prop_assert_eq!(*recent.get_or(NonZeroU64::new(number).unwrap(), || number ^ 0xff), number ^ 0xff);
            }
        }
    }
}
