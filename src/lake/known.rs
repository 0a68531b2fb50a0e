//! Owns where the cells of trends are by the numbers of their texts, so that a text is not hashed for every row.
//!
//! Knows `lake::slots`. Promises: no two values share what is known of them; what is forgotten is looked up by its text
//! and noted anew. Holds a million places (`PLACES_MAX`), then forgets them all. Never holds a text.

use super::slots::{Slots, Sought};
use crate::hit::clock::Hour;
use hashbrown::{DefaultHashBuilder, HashMap};
use std::hash::BuildHasher;

/// Where the cells of a site's hour are, for each that was met lately.
#[derive(Default)]
pub struct Known {
    /// A site's hour, by its vocabulary's epoch and its number. No slot is given twice, or a row counted meanwhile
    /// would go astray.
    slots: HashMap<(u64, u16, Hour), u32>,
    last: Option<((u64, u16, Hour), u32)>,
    /// The first slot that is known still.
    first: u32,
    /// Of each slot the places of its cells. A table each: of 10,000 sites' cells those of one lie in a few lines of
    /// memory, where in common tables each of a row's fourteen would lie in a line of its own.
    places: Vec<Slots>,
    hasher: DefaultHashBuilder,
    /// Places of all slots.
    count: usize,
}

/// The cell of a value that is looked for by its numbers.
#[derive(Clone, Copy)]
pub struct Wanted {
    /// Its dimension and two numbers, 36 bits.
    key: u64,
    sought: Sought,
}

/// A place stands behind its key: two million cells, twice what trends ever hold. One beyond is looked up by its text.
const PLACE_BITS: u32 = 21;

/// 1 Mi words of 8 bytes in tables a quarter to half full, 32 MiB.
const PLACES_MAX: usize = 1 << 20;

impl Known {
    /// The slot of a site's hour.
    pub fn slot(&mut self, key: (u64, u16, Hour)) -> u32 {
        if let Some((last, slot)) = self.last
            && last == key
        {
            return slot;
        }
        if self.count + self.slots.len() > PLACES_MAX {
            self.clear();
        }
        let Self { slots, first, places, .. } = self;
        let slot = *slots.entry(key).or_insert_with(|| {
            places.push(Slots::default());
            // Fewer than `PLACES_MAX`.
            *first + (places.len() - 1) as u32
        });
        self.last = Some((key, slot));
        slot
    }

    /// Begins to look for the cell of a value, by its dimension and numbers.
    pub fn seek(&self, slot: u32, dimension: u8, numbers: [u16; 2]) -> Wanted {
        let key = u64::from(dimension) << 32 | u64::from(numbers[0]) << 16 | u64::from(numbers[1]);
        let sought = sought(&self.hasher, key);
        if let Some(places) = self.places_of(slot) {
            places.fetch(sought);
        }
        Wanted { key, sought }
    }

    /// The place of the cell that was sought.
    pub fn find(&self, slot: u32, Wanted { key, sought }: Wanted) -> Option<u32> {
        let place = self.places_of(slot)?.find(sought, |place| place >> PLACE_BITS == key)?;
        // Of 21 bits.
        Some((place & ((1 << PLACE_BITS) - 1)) as u32)
    }

    /// Notes where the cell that was sought is, which was not found; but for a slot that is not known any more.
    pub fn note(&mut self, slot: u32, Wanted { key, sought: wanted }: Wanted, at: u32) {
        let Self { first, places, hasher, count, .. } = self;
        if let Some(places) = slot.checked_sub(*first).and_then(|slot| places.get_mut(slot as usize))
            && at >> PLACE_BITS == 0
        {
            places.put(wanted, key << PLACE_BITS | u64::from(at), |place| sought(hasher, place >> PLACE_BITS));
            *count += 1;
        }
    }

    /// Forgets all places; slots that were given stand for nothing then.
    pub fn clear(&mut self) {
        self.first += self.places.len() as u32;
        self.slots.clear();
        self.last = None;
        self.places.clear();
        self.count = 0;
    }

    fn places_of(&self, slot: u32) -> Option<&Slots> {
        self.places.get(slot.checked_sub(self.first)? as usize)
    }
}

fn sought(hasher: &DefaultHashBuilder, key: u64) -> Sought {
    Sought::from_hash(hasher.hash_one(key))
}
