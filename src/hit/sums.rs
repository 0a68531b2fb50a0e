//! Owns what the ledger counts, of many accounts by their numbers, item by item.
//!
//! Promises: an account's count of an item is 8 bytes beside its neighbours', so that those of 10,000 accounts are 80 KB,
//! which stay in the processor's caches, where the accounts themselves would be 2.4 MB; an item that none has takes
//! nothing, one that some have at most 16 bytes for each up to the last of them. Knows no names.

use super::outcome::Item;

/// Counts of each item, by the numbers of accounts.
#[derive(Default)]
pub struct Sums([Vec<u64>; Item::COUNT]);

impl Sums {
    /// Adds to an account's count of an item.
    pub fn add(&mut self, account: usize, item: Item, count: u64) {
        let counts = &mut self.0[item.index()];
        if counts.len() <= account {
            counts.resize((account + 1).next_power_of_two(), 0);
        }
        counts[account] += count;
    }

    /// Adds all of another's counts, of the same accounts.
    pub fn add_all(&mut self, other: &Self) {
        for (sums, counts) in self.0.iter_mut().zip(&other.0) {
            sums.resize(sums.len().max(counts.len()), 0);
            sums.iter_mut().zip(counts).for_each(|(sum, count)| *sum += count);
        }
    }

    /// Each count there is one of, and the number of its account.
    pub fn each(&self) -> impl Iterator<Item = (usize, Item, u64)> {
        self.items().flat_map(|(item, counts)| counts.iter().enumerate().filter(|(_, count)| **count > 0).map(move |(account, count)| (account, item, *count)))
    }

    /// Each count there is one of in an account.
    pub fn of(&self, account: usize) -> impl Iterator<Item = (Item, u64)> {
        self.items().filter_map(move |(item, counts)| Some((item, counts.get(account).copied().filter(|count| *count > 0)?)))
    }

    fn items(&self) -> impl Iterator<Item = (Item, &Vec<u64>)> {
        self.0.iter().enumerate().filter_map(|(index, counts)| Some((Item::from_index(index)?, counts)))
    }
}

#[cfg(test)]
mod tests {
    use super::Sums;
    use crate::hit::outcome::{Item, Outcome};
    use crate::hit::scrubbed::Kind;

    const STORED: Item = Item::Ended(Outcome::Stored);
    const EMAIL: Item = Item::Removed(Kind::Email);

    #[test]
    fn accounts_of_any_number_are_summed_each_for_itself() {
        let (mut sums, mut others) = (Sums::default(), Sums::default());
        for (account, item, count) in [(0, STORED, 1), (9_999, STORED, 2), (3, EMAIL, 4), (0, STORED, 8)] {
            sums.add(account, item, count);
        }
        for (account, item, count) in [(20_000, EMAIL, 16), (3, EMAIL, 32), (3, STORED, 64)] {
            others.add(account, item, count);
        }
        sums.add_all(&others);
        assert_eq!(sums.each().collect::<Vec<_>>(), [(0, STORED, 9), (3, STORED, 64), (9_999, STORED, 2), (3, EMAIL, 36), (20_000, EMAIL, 16)]);
        assert_eq!(sums.of(3).collect::<Vec<_>>(), [(STORED, 64), (EMAIL, 36)]);
        assert_eq!((sums.of(1).count(), sums.of(1 << 40).count()), (0, 0));
    }
}
