//! Owns the ledger's part in memory: how hits ended that the lake does not have yet.
//!
//! The ledger is `trends` where `dimension` is `outcome` or `scrubbed`, and what stands here on top of it. Counts come
//! with frames that are durable in the journal, kept by segment, so that a reader who sees the lake at
//! segment N adds the segments above N and is exact. Promises: what is counted here is what a replay
//! after a crash would count. What this run counts it counts by the numbers of sites: of thousands of sites a hit finds
//! its counts near. Holds 8 to 16 bytes for each site and item there is one of in a segment: of 10,000 sites and ten items
//! 1.3 MB; of segments that the lake did not take 264 bytes for each site and hour that have any. Never counts one hit
//! twice, never holds anything of a visitor.

use crate::hit::clock::Hour;
use crate::hit::outcome::{Account, Item, Outcome};
use crate::hit::record::{Record, Text};
use crate::hit::site::{Site, SiteNumber, UNKNOWN_SITE};
use crate::hit::sums::Sums;
use crate::journal::frame::Frame;
use hashbrown::{Equivalent, HashMap, HashSet};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Counts by segment, for what the lake may not have yet.
pub struct Ledger {
    /// By the numbers of sites.
    names: Box<[Arc<str>]>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Segments of this run.
    segments: BTreeMap<u64, Vec<(Hour, Sums)>>,
    /// Segments that the last run left, and those of this run that were put by, which are among the totals.
    older: BTreeMap<u64, Counts>,
    /// What could not be journaled yet, by worker: it will be, and shows meanwhile.
    unwritten: BTreeMap<usize, Vec<Entry>>,
    committed: u64,
    /// Since the start, for metrics, but for `segments`: a hit is added in one place.
    totals: Sums,
}

/// What is to be added to the account of a site and hour.
#[derive(Debug, Clone, Copy)]
pub struct Entry {
    pub site: SiteNumber,
    pub hour: Hour,
    pub item: Item,
    pub count: u64,
}

impl Entry {
    pub const fn one(site: SiteNumber, hour: Hour, item: Item) -> Self {
        Self { site, hour, item, count: 1 }
    }

    /// Of a row: that it is stored, and what was removed from it.
    pub fn of_stored(site: SiteNumber, record: &Record<'_>) -> impl Iterator<Item = Self> + use<> {
        let hour = record.received_at.hour();
        let removed = record.scrubbed.kinds().map(move |(kind, count)| Self { site, hour, item: Item::Removed(kind), count });
        std::iter::once(Self::one(site, hour, Item::Ended(Outcome::Stored))).chain(removed)
    }

    const fn key(&self) -> (SiteNumber, Hour, usize) {
        (self.site, self.hour, self.item.index())
    }
}

/// Makes one entry of those of the same item of an account.
pub fn add_up(entries: &mut Vec<Entry>) {
    entries.sort_unstable_by_key(Entry::key);
    entries.dedup_by(|next, sum| {
        let is_same = next.key() == sum.key();
        sum.count += if is_same { next.count } else { 0 };
        is_same
    });
}

impl Ledger {
    /// A ledger of the sites that `SiteNumber`s are of.
    pub fn of(sites: &[Site]) -> Self {
        let names = std::iter::once(UNKNOWN_SITE).chain(sites.iter().map(|site| site.key.as_str()));
        Self { names: names.map(Arc::from).collect(), state: Mutex::default() }
    }

    /// A site's name in the ledger: its key, or that of no known site.
    pub fn name(&self, site: SiteNumber) -> &str {
        self.names.get(site.index()).map_or(UNKNOWN_SITE, |name| name)
    }

    /// Adds durable counts of a segment.
    pub fn add<'e>(&self, segment: u64, entries: impl IntoIterator<Item = &'e Entry>) {
        let mut state = self.lock();
        let there = state.segments.entry(segment).or_default();
        for entry in entries {
            let of_hour = match there.iter().rposition(|(hour, _)| *hour == entry.hour) {
                Some(at) => &mut there[at].1,
                None => &mut there.push_mut((entry.hour, Sums::default())).1,
            };
            of_hour.add(entry.site.index(), entry.item, entry.count);
        }
    }

    /// The lake did not take the segments up to `segment`, which are written to no more: from now on their counts are kept
    /// by name, those of sites that have any. While it takes none for a day there are thousands of them.
    pub fn put_by(&self, segment: u64) {
        // Workers wait for one at the most: a millisecond, of 10,000 sites.
        while self.put_first_by(segment) {}
    }

    fn put_first_by(&self, segment: u64) -> bool {
        let mut state = self.lock();
        let State { segments, older, totals, .. } = &mut *state;
        let Some(first) = segments.first_entry().filter(|first| *first.key() <= segment) else { return false };
        let older = older.entry(*first.key()).or_default();
        for (hour, sums) in &first.remove() {
            for (site, item, count) in sums.each() {
                let name = &self.names[site];
                account(older, (name, *hour), || name.clone()).count(item, count);
            }
            totals.add_all(sums);
        }
        true
    }

    /// Adds counts of a segment that the last run left: the ledger has them, the totals since this start do not.
    pub fn recall(&self, segment: u64, mut counts: Counts) {
        merge(self.lock().older.entry(segment).or_default(), &mut counts);
    }

    /// Shows the counts that a worker could not journal yet, in place of those it showed before.
    pub fn show_unwritten(&self, worker: usize, entries: Vec<Entry>) {
        let mut state = self.lock();
        if entries.is_empty() {
            state.unwritten.remove(&worker);
        } else {
            state.unwritten.insert(worker, entries);
        }
    }

    /// The lake has all segments up to `segment`. What it had before the last such word is dropped: a
    /// reader whose look at the lake is one commit old still finds the difference here.
    pub fn committed(&self, segment: u64) {
        let mut state = self.lock();
        let State { segments, older, totals, committed, .. } = &mut *state;
        let before = std::mem::replace(committed, segment);
        older.retain(|number, _| *number > before);
        segments.retain(|number, hours| {
            if *number <= before {
                hours.iter().for_each(|(_, sums)| totals.add_all(sums));
            }
            *number > before
        });
    }

    /// What to add to the lake's own counts of a site, as seen where its trends have this node up to `segment`.
    pub fn above(&self, site: SiteNumber, segment: u64) -> BTreeMap<Hour, Account> {
        let (state, name) = (self.lock(), self.name(site));
        let mut hours: BTreeMap<Hour, Account> = BTreeMap::new();
        for ((of, hour), account) in state.older.range(segment + 1..).flat_map(|(_, counts)| counts) {
            if **of == *name {
                hours.entry(*hour).or_default().add(*account);
            }
        }
        for (hour, sums) in state.segments.range(segment + 1..).flat_map(|(_, hours)| hours) {
            for (item, count) in sums.of(site.index()) {
                hours.entry(*hour).or_default().count(item, count);
            }
        }
        for entry in state.unwritten.values().flatten().filter(|entry| entry.site == site) {
            hours.entry(entry.hour).or_default().count(entry.item, entry.count);
        }
        hours
    }

    /// How hits of each site ended since the start, and what was removed from them.
    pub fn totals(&self) -> BTreeMap<Arc<str>, Account> {
        let state = self.lock();
        let mut accounts = vec![Account::default(); self.names.len()];
        for sums in state.segments.values().flatten().map(|(_, sums)| sums).chain([&state.totals]) {
            for (site, item, count) in sums.each() {
                accounts[site].count(item, count);
            }
        }
        drop(state);
        self.names.iter().cloned().zip(accounts).filter(|(_, account)| *account != Account::default()).collect()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Sums are changed one by one; none is ever half added.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How many hits of a site ended how in an hour, and what was removed from them.
pub type Counts = HashMap<(Arc<str>, Hour), Account>;

/// The names of sites, each made once: the counts of all segments share them.
#[derive(Default)]
pub struct Names(HashSet<Arc<str>>);

impl Names {
    fn of(&mut self, site: &str) -> Arc<str> {
        self.0.get_or_insert_with(site, |site| site.into()).clone()
    }
}

/// Counts a durable frame.
pub fn count(frame: &Frame<'_>, counts: &mut Counts, names: &mut Names) {
    match frame {
        Frame::Interaction(record) => {
            let site = record.text(Text::Site);
            let account = account(counts, (site, record.received_at.hour()), || names.of(site));
            account.count(Item::Ended(Outcome::Stored), 1);
            account.scrubbed.add(record.scrubbed);
        }
        Frame::Tally { site, hour, outcome, count } => account(counts, (site, *hour), || names.of(site)).count(Item::Ended(*outcome), *count),
    }
}

/// The account of a site and hour; `name` gives its site's, where this is the first of it.
fn account<'c>(counts: &'c mut Counts, (site, hour): (&str, Hour), name: impl FnOnce() -> Arc<str>) -> &'c mut Account {
    counts.raw_entry_mut().from_key(&Key(site, hour)).or_insert_with(|| ((name(), hour), Account::default())).1
}

/// A key of `Counts` that owns nothing: hits are counted without a copy of their site's name.
#[derive(Hash)]
struct Key<'a>(&'a str, Hour);

impl Equivalent<(Arc<str>, Hour)> for Key<'_> {
    fn equivalent(&self, key: &(Arc<str>, Hour)) -> bool {
        self.1 == key.1 && self.0 == &*key.0
    }
}

/// Adds all counts of `from`, which is empty afterwards.
fn merge(into: &mut Counts, from: &mut Counts) {
    if into.is_empty() {
        std::mem::swap(into, from);
    }
    for (key, account) in from.drain() {
        into.entry(key).or_default().add(account);
    }
}

#[cfg(test)]
mod tests {
    use super::{Entry, Ledger, add_up, count};
    use crate::hit::clock::Hour;
    use crate::hit::outcome::{Item, Outcome, Reason};
    use crate::hit::scrubbed::Kind;
    use crate::hit::site::{Site, SiteNumber, Sites};
    use crate::journal::frame::Frame;

    const HOUR: Hour = Hour(1);

    fn ledger_and_acme() -> (Ledger, SiteNumber) {
        let sites = [Site::sample()];
        let (number, _) = Sites::new(sites.to_vec()).find("acme").unwrap();
        (Ledger::of(&sites), number)
    }

    fn stored(site: SiteNumber, count: u64) -> Entry {
        Entry { count, ..Entry::one(site, HOUR, Item::Ended(Outcome::Stored)) }
    }

    fn above(ledger: &Ledger, segment: u64) -> u64 {
        ledger.above(ledger_and_acme().1, segment).values().map(|account| account.ends.of(Outcome::Stored)).sum()
    }

    fn total(ledger: &Ledger) -> u64 {
        ledger.totals().get("acme").map_or(0, |account| account.ends.of(Outcome::Stored))
    }

    #[test]
    fn a_reader_behind_by_one_commit_still_adds_up() {
        let (ledger, acme) = ledger_and_acme();
        for segment in 1..=3 {
            ledger.add(segment, [&stored(acme, 1)]);
        }
        assert_eq!(above(&ledger, 0), 3);
        ledger.committed(1);
        assert_eq!((above(&ledger, 0), above(&ledger, 1)), (3, 2));
        ledger.committed(3);
        assert_eq!((above(&ledger, 1), above(&ledger, 3)), (2, 0));
    }

    #[test]
    fn totals_are_of_this_run_whatever_the_lake_has() {
        let (ledger, acme) = ledger_and_acme();
        let mut counts = super::Counts::new();
        count(&Frame::Tally { site: "acme", hour: HOUR, outcome: Outcome::Stored, count: 7 }, &mut counts, &mut super::Names::default());
        ledger.recall(1, counts);
        assert_eq!((above(&ledger, 0), ledger.totals().len()), (7, 0));
        for segment in 2..=6 {
            ledger.add(segment, [&stored(acme, 1), &stored(acme, 2)]);
            ledger.committed(segment - 1);
            assert_eq!(total(&ledger), 3 * (segment - 1));
        }
        assert_eq!((above(&ledger, 4), above(&ledger, 6)), (6, 0));
    }

    #[test]
    fn while_the_lake_takes_none_nothing_is_lost_and_nothing_counted_twice() {
        let (ledger, acme) = ledger_and_acme();
        let mut counts = super::Counts::new();
        count(&Frame::Tally { site: "acme", hour: HOUR, outcome: Outcome::Stored, count: 7 }, &mut counts, &mut super::Names::default());
        ledger.recall(1, counts);
        for segment in 2..=9 {
            ledger.add(segment, [&stored(acme, 1), &Entry { hour: Hour(2), ..stored(acme, 1) }]);
            ledger.put_by(segment - 1);
            assert_eq!((above(&ledger, 0), above(&ledger, segment - 1), total(&ledger)), (7 + 2 * (segment - 1), 2, 2 * (segment - 1)));
        }
        ledger.put_by(9);
        assert_eq!(ledger.above(acme, 8).into_keys().collect::<Vec<_>>(), [HOUR, Hour(2)]);
        for segment in 1..=9 {
            ledger.committed(segment);
            assert_eq!((above(&ledger, segment), total(&ledger)), (2 * (9 - segment), 16));
        }
    }

    #[test]
    fn each_item_of_each_site_and_hour_is_counted_for_itself() {
        let (ledger, acme) = ledger_and_acme();
        let of = |site, hour, item, count| Entry { count, ..Entry::one(site, Hour(hour), item) };
        let refused = Outcome::Refused(Reason::NoConsent);
        let mut entries = vec![
            of(acme, 2, Item::Ended(refused), 1),
            of(acme, 1, Item::Removed(Kind::Email), 2),
            of(SiteNumber::UNKNOWN, 1, Item::Ended(Outcome::Refused(Reason::UnknownSite)), 4),
            of(acme, 1, Item::Ended(refused), 8),
            of(acme, 2, Item::Ended(refused), 16),
        ];
        ledger.add(1, &entries);
        add_up(&mut entries);
        assert_eq!(entries.len(), 4);
        ledger.add(1, &entries);
        let (of_acme, of_none) = (ledger.above(acme, 0), ledger.above(SiteNumber::UNKNOWN, 0));
        assert_eq!((of_acme[&Hour(1)].ends.of(refused), of_acme[&Hour(2)].ends.of(refused), of_acme.len()), (16, 34, 2));
        assert_eq!((of_acme[&Hour(1)].scrubbed.of(Kind::Email), of_none[&Hour(1)].ends.of(Outcome::Refused(Reason::UnknownSite)), of_none.len()), (4, 8, 1));
        assert_eq!((ledger.totals()["acme"].ends.of(refused), ledger.name(acme), ledger.name(SiteNumber::UNKNOWN)), (50, "acme", "-"));
    }

    #[test]
    fn what_is_unwritten_shows_once() {
        let (ledger, acme) = ledger_and_acme();
        ledger.show_unwritten(0, vec![stored(acme, 2)]);
        ledger.show_unwritten(0, vec![stored(acme, 5)]);
        assert_eq!(above(&ledger, 9), 5);
        ledger.show_unwritten(0, Vec::new());
        assert_eq!(above(&ledger, 0), 0);
    }
}
