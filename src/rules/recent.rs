//! Owns the table of what one worker worked out lately, so that it is not worked out at every hit.
//!
//! Sets of eight entries found by a number of 64 bits; what is new takes the place of the oldest of its set.
//! Promises fixed memory, made at the start; no list is mended when something is found, as a least-recently-used
//! one would be at every hit. Of 3,300 networks in 16,384 entries one in 1,000 finds its set full; in half of them
//! it would be one in 50.
//! Never keeps what the numbers were made of.

use super::ahead;
use std::num::NonZeroU64;

/// What was worked out lately, by number.
pub struct Recent<V> {
    sets: Box<[Set<V>]>,
    /// Where a number lies is this process's own affair: nobody can aim at a set.
    secret: u64,
    pub rate: Rate,
}

/// How often something was looked up, and how often it was there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Rate {
    pub looked: u64,
    pub found: u64,
}

const WAYS: usize = 8;

// Each begins where 64 bytes do: its numbers are asked of memory at once.
#[repr(C, align(64))]
struct Set<V> {
    /// 0 where an entry is unused.
    numbers: [u64; WAYS],
    values: [V; WAYS],
}

impl<V: Default> Recent<V> {
    /// Room for so many entries, rounded up to eight times a power of two; `secret` is random.
    pub fn new(entries: usize, secret: u64) -> Self {
        let sets = entries.div_ceil(WAYS).next_power_of_two();
        Self {
            sets: (0..sets).map(|_| Set { numbers: [0; WAYS], values: Default::default() }).collect(),
            secret,
            rate: Rate::default(),
        }
    }

    /// What belongs to `number`, worked out where it is not there.
    pub fn get_or(&mut self, number: NonZeroU64, work_out: impl FnOnce() -> V) -> &V {
        let (Set { numbers, values }, rate) = self.set(number);
        rate.looked += 1;
        let way = if let Some(way) = numbers.iter().position(|known| *known == number.get()) {
            rate.found += 1;
            way
        } else {
            numbers.rotate_right(1);
            values.rotate_right(1);
            (numbers[0], values[0]) = (number.get(), work_out());
            0
        };
        &values[way]
    }

    /// What belongs to `number`, where it is there and fits.
    pub fn find(&mut self, number: NonZeroU64, fits: impl FnOnce(&V) -> bool) -> Option<&V> {
        let (Set { numbers, values }, rate) = self.set(number);
        rate.looked += 1;
        let value = numbers.iter().position(|known| *known == number.get()).map(|way| &values[way]).filter(|value| fits(value))?;
        rate.found += 1;
        Some(value)
    }

    /// Notes what belongs to `number`, which was not found.
    pub fn put(&mut self, number: NonZeroU64, value: V) {
        let (Set { numbers, values }, _) = self.set(number);
        numbers.rotate_right(1);
        values.rotate_right(1);
        (numbers[0], values[0]) = (number.get(), value);
    }

    /// Has the place of `number` brought near, for a look that comes a little later.
    pub fn fetch(&self, number: NonZeroU64) {
        let Set { numbers, values } = &self.sets[self.place_of(number)];
        ahead::fetch(numbers);
        ahead::fetch(values);
    }

    fn set(&mut self, number: NonZeroU64) -> (&mut Set<V>, &mut Rate) {
        let at = self.place_of(number);
        (&mut self.sets[at], &mut self.rate)
    }

    fn place_of(&self, number: NonZeroU64) -> usize {
        mixed(number.get() ^ self.secret) as usize & (self.sets.len() - 1)
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        for set in &mut self.sets {
            *set = Set { numbers: [0; WAYS], values: Default::default() };
        }
    }
}

/// MurmurHash3's finalizer. One multiplication alone would not do: networks stand in rows, and some secrets
/// would lay a row into few sets.
const fn mixed(number: u64) -> u64 {
    let number = (number ^ (number >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    let number = (number ^ (number >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    number ^ (number >> 33)
}

#[cfg(test)]
mod tests {
    use super::{Rate, Recent};
    use proptest::prelude::*;
    use std::num::NonZeroU64;

    #[test]
    fn what_is_new_takes_the_place_of_the_oldest_of_its_set() {
        let mut recent = Recent::new(8, 7);
        for number in [1_u64, 2, 3, 4, 5, 6, 7, 8, 1, 9, 1, 9] {
            assert_eq!(*recent.get_or(NonZeroU64::new(number).unwrap(), || number * 10), number * 10);
        }
        // 1 was the oldest when 9 came, and 2 when 1 came again.
        assert_eq!(recent.rate, Rate { looked: 12, found: 2 });
        recent.clear();
        recent.get_or(NonZeroU64::MIN, || 10);
        assert_eq!(recent.rate, Rate { looked: 13, found: 2 });
    }

    proptest! {
        /// Rows of neighbours, as networks are, whatever the secret.
        #[test]
        fn what_fits_is_found_again(secret: u64) {
            let mut recent = Recent::new(16_384, secret);
            for _ in 0..2 {
                for number in (0..22).flat_map(|row| (0..150).map(move |at| (row * 97) << 24 | at << 8)) {
                    recent.get_or(NonZeroU64::MIN.saturating_add(number), || number);
                }
            }
            prop_assert!(recent.rate.found * 100 >= recent.rate.looked / 2 * 99, "{:?}", recent.rate);
        }

        #[test]
        fn the_answer_is_always_that_of_the_number(numbers in proptest::collection::vec(1..200_u64, 0..1_000), secret: u64) {
            let mut recent = Recent::new(64, secret);
            for number in numbers {
                prop_assert_eq!(*recent.get_or(NonZeroU64::new(number).unwrap(), || number ^ 0xff), number ^ 0xff);
            }
        }
    }
}
