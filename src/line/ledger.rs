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
use hashbrown::{Equivalent, HashMap};
use std::collections::BTreeMap;
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
    segments: BTreeMap<u64, Counts>,
    /// What could not be journaled yet, by worker: it will be, and shows meanwhile.
    unwritten: BTreeMap<usize, Counts>,
    committed: u64,
    /// Since the start, for metrics.
    totals: BTreeMap<Arc<str>, Account>,
}

impl Ledger {
    /// Adds durable counts of a segment.
    pub fn add<'c>(&self, segment: u64, counts: impl IntoIterator<Item = &'c Counts>) {
        let mut state = self.lock();
        let State { segments, totals, .. } = &mut *state;
        let there = segments.entry(segment).or_default();
        for (key, account) in counts.into_iter().flatten() {
            totals.entry(key.0.clone()).or_default().add(*account);
            there.entry(key.clone()).or_default().add(*account);
        }
    }

    /// Adds counts of a segment that the last run left: the ledger has them, the totals since this start do not.
    pub fn recall(&self, segment: u64, counts: Counts) {
        merge(self.lock().segments.entry(segment).or_default(), counts);
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
        let before = state.committed;
        state.segments.retain(|number, _| *number > before);
        state.committed = segment;
    }

    /// What to add to the lake's own counts, as seen where its trends have this node up to `segment`.
    pub fn above(&self, segment: u64) -> Counts {
        let state = self.lock();
        let mut sums = Counts::new();
        let parts = state.segments.range(segment + 1..).map(|(_, counts)| counts).chain(state.unwritten.values());
        for (key, account) in parts.flatten() {
            sums.entry(key.clone()).or_default().add(*account);
        }
        sums
    }

    /// How hits of each site ended since the start, and what was removed from them.
    pub fn totals(&self) -> BTreeMap<Arc<str>, Account> {
        self.lock().totals.clone()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Sums are changed one by one; none is ever half added.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Counts a durable frame.
pub fn count(frame: &Frame<'_>, counts: &mut Counts) {
    match frame {
        Frame::Interaction(record) => add_stored(counts, record),
        Frame::Tally { site, hour, outcome, count } => add_to(counts, site, *hour, *outcome, *count),
    }
}

/// Counts an interaction that is kept.
pub fn add_stored(counts: &mut Counts, record: &Record<'_>) {
    let account = account(counts, record.text(Text::Site), record.received_at.hour());
    account.ends.0[Outcome::Stored.index()] += 1;
    account.scrubbed.add(record.scrubbed);
}

pub fn add_to(counts: &mut Counts, site: &str, hour: Hour, outcome: Outcome, count: u64) {
    account(counts, site, hour).ends.0[outcome.index()] += count;
}

/// The account of a site and hour; its key is copied only where it is new.
fn account<'c>(counts: &'c mut Counts, site: &str, hour: Hour) -> &'c mut Account {
    counts.raw_entry_mut().from_key(&Key(site, hour)).or_insert_with(|| ((site.into(), hour), Account::default())).1
}

/// A key of `Counts` that owns nothing: hits are counted without a copy of their site's name.
#[derive(Hash)]
struct Key<'a>(&'a str, Hour);

impl Equivalent<(Arc<str>, Hour)> for Key<'_> {
    fn equivalent(&self, key: &(Arc<str>, Hour)) -> bool {
        (self.0, self.1) == (&*key.0, key.1)
    }
}

/// Adds all counts of `from`.
pub fn merge(into: &mut Counts, from: Counts) {
    for (key, account) in from {
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
        add_to(&mut counts, "acme", Hour(1), Outcome::Stored, count);
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
    fn what_is_unwritten_shows_once() {
        let ledger = Ledger::default();
        ledger.show_unwritten(0, stored(2));
        ledger.show_unwritten(0, stored(5));
        assert_eq!(above(&ledger, 9), 5);
        ledger.show_unwritten(0, Counts::new());
        assert_eq!(above(&ledger, 0), 0);
    }
}
