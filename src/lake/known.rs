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
    /// The number of a site's hour, by its vocabulary's epoch and the site's number there. None is given twice, or a
    /// row counted meanwhile would go astray.
    site_hours: HashMap<(u64, u16, Hour), u32>,
    last: Option<((u64, u16, Hour), u32)>,
    /// The first that is known still.
    first: u32,
    /// Of each site's hour the places of its cells. A table each: of 10,000 sites' cells those of one lie in a few lines of
    /// memory, where in common tables each of a row's fourteen would lie in a line of its own.
    places: Vec<Slots>,
    hasher: DefaultHashBuilder,
    /// Places of all.
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
    /// The number of a site's hour.
    pub fn site_hour(&mut self, key: (u64, u16, Hour)) -> u32 {
        if let Some((last, site_hour)) = self.last
            && last == key
        {
            return site_hour;
        }
        if self.count + self.site_hours.len() > PLACES_MAX {
            self.clear();
        }
        let Self { site_hours, first, places, .. } = self;
        let site_hour = *site_hours.entry(key).or_insert_with(|| {
            places.push(Slots::default());
            // Fewer than `PLACES_MAX`.
            *first + (places.len() - 1) as u32
        });
        self.last = Some((key, site_hour));
        site_hour
    }

    /// Begins to look for the cell of a value, by its dimension and numbers.
    pub fn seek(&self, site_hour: u32, dimension: u8, numbers: [u16; 2]) -> Wanted {
        let key = u64::from(dimension) << 32 | u64::from(numbers[0]) << 16 | u64::from(numbers[1]);
        let sought = sought(&self.hasher, key);
        if let Some(places) = self.places_of(site_hour) {
            places.fetch(sought);
        }
        Wanted { key, sought }
    }

    /// The place of the cell that was sought.
    pub fn find(&self, site_hour: u32, Wanted { key, sought }: Wanted) -> Option<u32> {
        let place = self.places_of(site_hour)?.find(sought, |place| place >> PLACE_BITS == key)?;
        // Of 21 bits.
        Some((place & ((1 << PLACE_BITS) - 1)) as u32)
    }

    /// Notes where the cell that was sought is, which was not found; but for a site's hour that is not known any more.
    pub fn note(&mut self, site_hour: u32, Wanted { key, sought: wanted }: Wanted, at: u32) {
        let Self { first, places, hasher, count, .. } = self;
        if let Some(places) = site_hour.checked_sub(*first).and_then(|site_hour| places.get_mut(site_hour as usize))
            && at >> PLACE_BITS == 0
        {
            places.put(wanted, key << PLACE_BITS | u64::from(at), |place| sought(hasher, place >> PLACE_BITS));
            *count += 1;
        }
    }

    /// Forgets all places; numbers that were given stand for nothing then.
    pub fn clear(&mut self) {
        self.first += self.places.len() as u32;
        self.site_hours.clear();
        self.last = None;
        self.places.clear();
        self.count = 0;
    }

    fn places_of(&self, site_hour: u32) -> Option<&Slots> {
        self.places.get(site_hour.checked_sub(self.first)? as usize)
    }
}

fn sought(hasher: &DefaultHashBuilder, key: u64) -> Sought {
    Sought::from_hash(hasher.hash_one(key))
}
