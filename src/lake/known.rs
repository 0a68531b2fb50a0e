//! Owns where the cells of trends are by the numbers of their texts, so that a text is not hashed for every row.
//!
//! Knows `lake::slots`. Promises: no two values share what is known of them; what is forgotten is looked up by its text
//! and noted anew. Holds 32 MiB (`WORDS_MAX`), then forgets all. Never holds a text.

use super::slots::{Slots, Sought};
use crate::hit::clock::Hour;
use hashbrown::{DefaultHashBuilder, HashMap};
use std::hash::BuildHasher;

/// Where the cells of a site's hour are, for each that was met lately.
#[derive(Default)]
pub struct Known {
    /// Of each vocabulary, by its epoch, and hour: the numbers of its sites' hours.
    tables: HashMap<(u64, Hour), usize>,
    /// One more than the number of a site's hour by the site's number; 0 where none is.
    numbers: Vec<Vec<u32>>,
    last: Option<((u64, Hour), usize)>,
    /// The first number that is known still. None is given twice, or a row counted meanwhile would go astray.
    first: u32,
    site_hours: Vec<SiteHour>,
    hasher: DefaultHashBuilder,
    /// What is known of all, in words of 8 bytes.
    words: usize,
}

/// A site's hour.
struct SiteHour {
    /// Where its values are, by text.
    at: u32,
    /// The places of its cells. A table each: of 10,000 sites' cells those of one lie in a few lines of memory, where in
    /// common tables each of a row's fourteen would lie in a line of its own.
    places: Slots,
}

/// The cell of a value that is looked for by its numbers.
#[derive(Clone, Copy)]
pub struct Wanted {
    /// Its dimension and two numbers, 36 bits.
    key: u64,
    sought: Sought,
}

/// A place stands behind its key: two million cells, three times what trends ever hold. One beyond is looked up by its text.
const PLACE_BITS: u32 = 21;

/// 1 Mi words of 8 bytes, in tables a quarter to half full 32 MiB.
const WORDS_MAX: usize = 1 << 20;

impl Known {
    /// The number of the hour of a site, by the epoch of its vocabulary and its number there, and where its values are:
    /// what `find` says, where it is not known yet.
    pub fn site_hour(&mut self, epoch: u64, site: u16, hour: Hour, find: impl FnOnce() -> u32) -> (u32, u32) {
        let key = (epoch, hour);
        let table = match self.last {
            Some((last, table)) if last == key && self.words <= WORDS_MAX => table,
            Some(_) | None => self.table(key),
        };
        self.last = Some((key, table));
        let Self { numbers, first, site_hours, words, .. } = self;
        let numbers = &mut numbers[table];
        if numbers.len() <= usize::from(site) {
            // Two to a word.
            *words += (usize::from(site) + 1 - numbers.len()).div_ceil(2);
            numbers.resize(usize::from(site) + 1, 0);
        }
        let number = &mut numbers[usize::from(site)];
        if *number == 0 {
            site_hours.push(SiteHour { at: find(), places: Slots::default() });
            *words += size_of::<SiteHour>() / size_of::<u64>();
            // Fewer than `WORDS_MAX` of them, forgotten so often.
            *number = *first + site_hours.len() as u32;
        }
        let number = *number - 1;
        (number, site_hours[(number - *first) as usize].at)
    }

    #[cold]
    fn table(&mut self, key: (u64, Hour)) -> usize {
        if self.words > WORDS_MAX {
            self.clear();
        }
        let Self { tables, numbers, .. } = self;
        *tables.entry(key).or_insert_with(|| {
            numbers.push(Vec::new());
            numbers.len() - 1
        })
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
        let Self { first, site_hours, hasher, words, .. } = self;
        if let Some(SiteHour { places, .. }) = site_hour.checked_sub(*first).and_then(|number| site_hours.get_mut(number as usize))
            && at >> PLACE_BITS == 0
        {
            places.put(wanted, key << PLACE_BITS | u64::from(at), |place| sought(hasher, place >> PLACE_BITS));
            *words += 1;
        }
    }

    /// Forgets all places; numbers that were given stand for nothing then.
    pub fn clear(&mut self) {
        self.first += self.site_hours.len() as u32;
        self.tables.clear();
        self.numbers.clear();
        self.last = None;
        self.site_hours.clear();
        self.words = 0;
    }

    fn places_of(&self, site_hour: u32) -> Option<&Slots> {
        Some(&self.site_hours.get(site_hour.checked_sub(self.first)? as usize)?.places)
    }
}

fn sought(hasher: &DefaultHashBuilder, key: u64) -> Sought {
    Sought::from_hash(hasher.hash_one(key))
}

#[cfg(test)]
mod tests {
    use super::{Known, WORDS_MAX};
    use crate::hit::clock::Hour;
    use std::collections::HashSet;

    #[test]
    fn no_number_is_given_twice_and_what_is_known_stays_within_its_bound() {
        let (mut known, mut given, mut clearings) = (Known::default(), HashSet::new(), 0);
        for hour in 0..200 {
            for site in 0..5_000 {
                let at = (hour as u32) * 5_000 + u32::from(site);
                let before = known.words;
                let (number, found) = known.site_hour(7, site, Hour(hour), || at);
                assert!(given.insert(number) && found == at);
                let wanted = known.seek(number, 3, [site, 1]);
                assert_eq!(known.find(number, wanted), None);
                known.note(number, wanted, at);
                assert_eq!(known.find(number, wanted), Some(at));
                if known.words <= WORDS_MAX {
                    assert_eq!(known.site_hour(7, site, Hour(hour), || unreachable!()), (number, at));
                }
                // A row of sites is the most that is added at once.
                assert!(known.words <= WORDS_MAX + 5_000 / 2 + 8);
                clearings += u32::from(known.words < before);
            }
        }
        assert!(clearings > 2);
    }

    #[test]
    fn vocabularies_and_hours_are_told_apart_and_what_was_forgotten_is_not_found() {
        let mut known = Known::default();
        let numbers = [(1, 0, 5), (1, 0, 6), (2, 0, 5), (1, 1, 5)].map(|(epoch, site, hour)| known.site_hour(epoch, site, Hour(hour), || 9).0);
        assert_eq!(HashSet::from(numbers).len(), 4);
        let wanted = known.seek(numbers[0], 0, [0, 0]);
        known.note(numbers[0], wanted, 77);
        assert_eq!(numbers.map(|number| known.find(number, wanted)), [Some(77), None, None, None]);
        known.clear();
        assert_eq!(known.find(numbers[0], wanted), None);
        known.note(numbers[0], wanted, 78);
        assert!(!numbers.contains(&known.site_hour(1, 0, Hour(5), || 9).0));
        assert_eq!(known.find(numbers[0], wanted), None);
    }
}
