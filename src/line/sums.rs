//! Owns counts of all sites by their numbers, item by item.
//!
//! Promises: a site's count of an item is 8 bytes beside its neighbours', so that those of 10,000 sites are 80 KB, which
//! stay in the processor's caches, where an account for each site would be 2.4 MB; an item that no site has one of takes
//! nothing. Knows no names.

use crate::hit::outcome::Item;
use crate::hit::site::SiteNumber;

/// Counts of an item, by the numbers of sites; empty where there are none.
#[derive(Default)]
pub struct Sums([Vec<u64>; Item::COUNT]);

impl Sums {
    /// Adds to a site's count of an item, of `sites` in all.
    pub fn add(&mut self, site: SiteNumber, item: Item, count: u64, sites: usize) {
        let counts = &mut self.0[item.index()];
        if counts.is_empty() {
            *counts = vec![0; sites];
        }
        counts[site.index()] += count;
    }

    /// Adds all of another's counts, of the same sites.
    pub fn add_all(&mut self, other: &Self) {
        for (sums, counts) in self.0.iter_mut().zip(&other.0) {
            if sums.is_empty() {
                sums.clone_from(counts);
            } else {
                sums.iter_mut().zip(counts).for_each(|(sum, count)| *sum += count);
            }
        }
    }

    /// Each count there is one of: the index of its site's number, its item.
    pub fn each(&self) -> impl Iterator<Item = (usize, Item, u64)> {
        let items = self.0.iter().enumerate().filter_map(|(index, counts)| Some((Item::from_index(index)?, counts)));
        items.flat_map(|(item, counts)| counts.iter().enumerate().filter(|(_, count)| **count > 0).map(move |(site, count)| (site, item, *count)))
    }
}
