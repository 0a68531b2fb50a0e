//! Owns the ledger's part in memory: how hits ended that the lake does not have yet.
//!
//! The ledger is `trends` where `dimension` is `outcome` or `scrubbed`, and what stands here on top of it. Counts come
//! from frames that are durable in the journal, kept by segment, so that a reader who sees the lake at
//! segment N adds the segments above N and is exact. Promises: what is counted here is what a replay
//! after a crash would count. Never counts one hit twice, never holds anything of a visitor.

use crate::hit::clock::Hour;
use crate::hit::outcome::{Account, Outcome};
use crate::hit::record::{Record, Text};
use crate::journal::frame::Frame;
use hashbrown::{Equivalent, HashMap, HashSet};
use std::collections::BTreeMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// How many hits of a site ended how in an hour, and what was removed from them.
pub type Counts = HashMap<(Arc<str>, Hour), Account>;

/// Counts by segment, for what the lake may not have yet.
#[derive(Default)]
pub struct Ledger {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Segments of this run.
    segments: BTreeMap<u64, Counts>,
    /// Segments that the last run left.
    recalled: BTreeMap<u64, Counts>,
    /// What could not be journaled yet, by worker: it will be, and shows meanwhile.
    unwritten: BTreeMap<usize, Counts>,
    committed: u64,
    /// Since the start, for metrics, but for `segments`: a hit is added in one place.
    totals: HashMap<Arc<str>, Account>,
}

impl Ledger {
    /// Adds durable counts of a segment.
    pub fn add<'c>(&self, segment: u64, counts: impl IntoIterator<Item = &'c Counts>) {
        let mut state = self.lock();
        let there = state.segments.entry(segment).or_default();
        for (key, account) in counts.into_iter().flatten() {
            add(there, key, account);
        }
    }

    /// Adds counts of a segment that the last run left: the ledger has them, the totals since this start do not.
    pub fn recall(&self, segment: u64, mut counts: Counts) {
        merge(self.lock().recalled.entry(segment).or_default(), &mut counts);
    }

    /// Shows the counts that a worker could not journal yet, in place of those it showed before.
    pub fn show_unwritten(&self, worker: usize, counts: Counts) {
        let mut state = self.lock();
        if counts.is_empty() {
            state.unwritten.remove(&worker);
        } else {
            state.unwritten.insert(worker, counts);
        }
    }

    /// The lake has all segments up to `segment`. What it had before the last such word is dropped: a
    /// reader whose look at the lake is one commit old still finds the difference here.
    pub fn committed(&self, segment: u64) {
        let mut state = self.lock();
        let State { segments, recalled, totals, committed, .. } = &mut *state;
        let before = std::mem::replace(committed, segment);
        recalled.retain(|number, _| *number > before);
        segments.retain(|number, counts| {
            if *number <= before {
                add_by_site(totals, counts);
            }
            *number > before
        });
    }

    /// What to add to the lake's own counts, as seen where its trends have this node up to `segment`.
    pub fn above(&self, segment: u64) -> Counts {
        let state = self.lock();
        let mut sums = Counts::new();
        let parts = state.recalled.range(segment + 1..).chain(state.segments.range(segment + 1..)).map(|(_, counts)| counts).chain(state.unwritten.values());
        for (key, account) in parts.flatten() {
            add(&mut sums, key, account);
        }
        sums
    }

    /// How hits of each site ended since the start, and what was removed from them.
    pub fn totals(&self) -> BTreeMap<Arc<str>, Account> {
        let state = self.lock();
        let mut totals = state.totals.clone();
        for counts in state.segments.values() {
            add_by_site(&mut totals, counts);
        }
        drop(state);
        totals.into_iter().collect()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Sums are changed one by one; none is ever half added.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Adds to what belongs to `key`, which is copied only where it is new.
fn add<K: Clone + Eq + Hash>(sums: &mut HashMap<K, Account>, key: &K, account: &Account) {
    match sums.get_mut(key) {
        Some(sum) => sum.add(*account),
        None => {
            sums.insert(key.clone(), *account);
        }
    }
}

fn add_by_site(totals: &mut HashMap<Arc<str>, Account>, counts: &Counts) {
    for ((site, _), account) in counts {
        add(totals, site, account);
    }
}

/// The names of sites, each made once: counts that come and go with every group share them.
#[derive(Default)]
pub struct Names(HashSet<Arc<str>>);

impl Names {
    pub fn of(&mut self, site: &str) -> Arc<str> {
        self.0.get_or_insert_with(site, |site| site.into()).clone()
    }
}

/// Counts a durable frame.
pub fn count(frame: &Frame<'_>, counts: &mut Counts, names: &mut Names) {
    match frame {
        Frame::Interaction(record) => add_stored(counts, record, || names.of(record.text(Text::Site))),
        Frame::Tally { site, hour, outcome, count } => add_to(counts, (site, *hour), (*outcome, *count), || names.of(site)),
    }
}

/// Counts an interaction that is kept; `name` gives its site's, where this is the first of it.
pub fn add_stored(counts: &mut Counts, record: &Record<'_>, name: impl FnOnce() -> Arc<str>) {
    let account = account(counts, (record.text(Text::Site), record.received_at.hour()), name);
    account.ends.0[Outcome::Stored.index()] += 1;
    account.scrubbed.add(record.scrubbed);
}

/// Adds to the account of a site and hour.
pub fn add_to(counts: &mut Counts, key: (&str, Hour), (outcome, count): (Outcome, u64), name: impl FnOnce() -> Arc<str>) {
    account(counts, key, name).ends.0[outcome.index()] += count;
}

/// The account of a site and hour.
fn account<'c>(counts: &'c mut Counts, (site, hour): (&str, Hour), name: impl FnOnce() -> Arc<str>) -> &'c mut Account {
    counts.raw_entry_mut().from_key(&Key(site, hour)).or_insert_with(|| ((name(), hour), Account::default())).1
}

/// A key of `Counts` that owns nothing: hits are counted without a copy of their site's name.
#[derive(Hash)]
struct Key<'a>(&'a str, Hour);

impl Equivalent<(Arc<str>, Hour)> for Key<'_> {
    fn equivalent(&self, key: &(Arc<str>, Hour)) -> bool {
        // A known site's name lies in one place: where it is the same place, it is not read.
        self.1 == key.1 && (std::ptr::eq(self.0, &raw const *key.0) || self.0 == &*key.0)
    }
}

/// Adds all counts of `from`, which is empty afterwards, with room for as many.
pub fn merge(into: &mut Counts, from: &mut Counts) {
    if into.is_empty() {
        std::mem::swap(into, from);
    }
    for (key, account) in from.drain() {
        into.entry(key).or_default().add(account);
    }
}

#[cfg(test)]
mod tests {
    use super::{Counts, Ledger, add_to};
    use crate::hit::clock::Hour;
    use crate::hit::outcome::Outcome;

    fn stored(count: u64) -> Counts {
        let mut counts = Counts::new();
        add_to(&mut counts, ("acme", Hour(1)), (Outcome::Stored, count), || "acme".into());
        counts
    }

    fn above(ledger: &Ledger, segment: u64) -> u64 {
        ledger.above(segment).values().map(|account| account.ends.of(Outcome::Stored)).sum()
    }

    #[test]
    fn a_reader_behind_by_one_commit_still_adds_up() {
        let ledger = Ledger::default();
        for segment in 1..=3 {
            ledger.add(segment, [&stored(1)]);
        }
        assert_eq!(above(&ledger, 0), 3);
        ledger.committed(1);
        assert_eq!((above(&ledger, 0), above(&ledger, 1)), (3, 2));
        ledger.committed(3);
        assert_eq!((above(&ledger, 1), above(&ledger, 3)), (2, 0));
    }

    #[test]
    fn totals_are_of_this_run_whatever_the_lake_has() {
        let ledger = Ledger::default();
        ledger.recall(1, stored(7));
        assert_eq!((above(&ledger, 0), ledger.totals().len()), (7, 0));
        for segment in 2..=6 {
            ledger.add(segment, [&stored(1), &stored(2)]);
            ledger.committed(segment - 1);
            assert_eq!(ledger.totals()["acme"].ends.of(Outcome::Stored), 3 * (segment - 1));
        }
        assert_eq!((above(&ledger, 4), above(&ledger, 6)), (6, 0));
    }

    #[test]
    fn what_is_unwritten_shows_once() {
        let ledger = Ledger::default();
        ledger.show_unwritten(0, stored(2));
        ledger.show_unwritten(0, stored(5));
        assert_eq!(above(&ledger, 9), 5);
        ledger.show_unwritten(0, Counts::new());
        assert_eq!(above(&ledger, 0), 0);
    }
}
