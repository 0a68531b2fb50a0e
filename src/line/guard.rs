//! Owns what keeps hits from counting twice or too often: the memory of event ids, the visits in
//! progress, the quotas of sites.
//!
//! Promises bounded memory: both memories are tables of 64-bit words that never grow, shared by all
//! workers without locks, and taken from the system as they fill. An event id is remembered for 24 hours, as 46 bits
//! of a keyed hash in a bucket of eight: a fresh id is taken for a repeat with a chance of 8 / 2^46, one in 9 × 10^12. 64 MiB hold
//! 8 million ids, 97 a second for 24 h; beyond that the oldest is forgotten first, and what repeats
//! then is removed later, exactly, from the lake. Never stores an id itself.

use crate::hit::clock::Moment;
use crate::hit::field::Id;
use crate::hit::site::SiteNumber;
use crate::rules::{ahead, identity};
use hashbrown::DefaultHashBuilder;
use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};

/// The memory of event ids.
pub struct Repeats {
    table: Table,
    hasher: RandomState,
}

/// An event id that is looked for, as its keyed hash.
#[derive(Debug, Clone, Copy)]
pub struct Sought(u64);

/// What is known of an event id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Seen {
    /// Never seen: it is noted now, as on its way. `settle` says how that ended.
    Fresh(Noted),
    /// On its way at this moment, not durable yet: `fate` says what becomes of it.
    Pending(Noted),
    /// Durable within the last 24 hours.
    Durable,
}

/// An event id that is on its way into the journal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Noted {
    slot: usize,
    word: u64,
}

// A word: 46 bits of hash, 16 bits of hour, 1 bit "durable", 1 bit "used".
const USED: u64 = 1;
const DURABLE: u64 = 2;
const HOUR_SHIFT: u32 = 2;
const HOUR_MASK: u64 = 0xffff;
const HASH_MASK: u64 = !((1 << 18) - 1);

impl Repeats {
    /// A memory of `bytes`, rounded down to whole buckets of 64 bytes.
    pub fn new(bytes: usize) -> Self {
        Self { table: Table::new(bytes), hasher: RandomState::new() }
    }

    /// Begins to look for an event id.
    pub fn seek(&self, site: &str, event_id: &str) -> Sought {
        Sought(self.hasher.hash_one((site, event_id)))
    }

    /// Has what is known of it brought near, while other work is done: the table is larger than any cache, so that
    /// the look itself would wait for it.
    pub fn fetch(&self, Sought(hash): Sought) {
        self.table.fetch(self.bucket(hash));
    }

    /// Looks an event id up, and notes it where it is fresh.
    pub fn look(&self, Sought(hash): Sought, now: Moment) -> Seen {
        let hour = hour_of(now);
        let word = (hash & HASH_MASK) | (hour << HOUR_SHIFT) | USED;
        let bucket = self.bucket(hash);
        loop {
            let mut oldest = (0, 0, u64::MAX);
            for (slot, there) in self.table.slots(bucket) {
                let age = age_of(there, hour);
                if there & USED != 0 && there & HASH_MASK == hash & HASH_MASK && age <= 24 {
                    return if there & DURABLE == 0 { Seen::Pending(Noted { slot, word: there }) } else { Seen::Durable };
                }
                // Empty first, then the oldest; what is on its way is never pushed out.
                let rank = if there & USED == 0 { 0 } else if there & DURABLE == 0 && age <= 1 { u64::MAX } else { u64::MAX - 1 - age };
                if rank < oldest.2 {
                    oldest = (slot, there, rank);
                }
            }
            let (slot, there, rank) = oldest;
            if rank == u64::MAX {
                // Eight ids on their way in one bucket: this one goes without a memory.
                return Seen::Fresh(Noted { slot: usize::MAX, word });
            }
            if self.table.swap(slot, there, word) {
                return Seen::Fresh(Noted { slot, word });
            }
        }
    }

    /// Says how it ended: durable, or not, in which case the id is forgotten.
    pub fn settle(&self, noted: Noted, is_durable: bool) {
        // Where another took the slot meanwhile, there is nothing to say.
        self.table.swap(noted.slot, noted.word, if is_durable { noted.word | DURABLE } else { 0 });
    }

    /// What became of an id that was on its way: durable or not, or `None` while it still is.
    pub fn fate(&self, noted: Noted) -> Option<bool> {
        let there = self.table.load(noted.slot);
        if there == noted.word { None } else { Some(there == noted.word | DURABLE) }
    }

    /// Remembers an id that the lake or the journal has already.
    fn recall(&self, sought: Sought, received_at: Moment) {
        if let Seen::Fresh(noted) = self.look(sought, received_at) {
            self.settle(noted, true);
        }
    }

    fn bucket(&self, hash: u64) -> usize {
        // The low bits are not part of the word: the bucket takes them, as the high ones of a product, and more.
        self.table.bucket_of(hash.rotate_right(18))
    }
}

/// Words in buckets of 64 bytes, shared without locks.
struct Table {
    words: Box<[AtomicU64]>,
    /// The first word that begins where 64 bytes do: a bucket is asked of memory at once.
    first: usize,
    buckets: usize,
}

const BUCKET: usize = 8;
const BUCKET_BYTES: usize = BUCKET * size_of::<AtomicU64>();
/// The smallest pages there are, 4 KiB.
const PAGE_WORDS: usize = 512;

impl Table {
    /// Of `bytes`, rounded down to whole buckets. They come from the system as zeros, each page when it is used first.
    fn new(bytes: usize) -> Self {
        let buckets = (bytes / BUCKET_BYTES).max(1);
        let words = bytemuck::zeroed_slice_box::<AtomicU64>((buckets + 1) * BUCKET);
        Self { first: words.as_ptr().align_offset(BUCKET_BYTES) % BUCKET, words, buckets }
    }

    /// A bucket by the high bits of a hash: a division would take longer.
    const fn bucket_of(&self, hash: u64) -> usize {
        ((hash as u128 * self.buckets as u128) >> 64) as usize
    }

    /// Has a bucket brought near.
    fn fetch(&self, bucket: usize) {
        if let Some(first) = self.words.get(self.first + bucket * BUCKET) {
            ahead::fetch(first);
        }
    }

    /// Takes all pages from the system now, by a write each: a look reads before it writes, and so asks for each
    /// page twice.
    fn take_pages(&self) {
        for page in self.words.chunks(PAGE_WORDS) {
            if let Some(first) = page.first() {
                first.fetch_or(0, Ordering::Relaxed);
            }
        }
    }

    /// A bucket's slots and what is in them.
    fn slots(&self, bucket: usize) -> impl Iterator<Item = (usize, u64)> {
        let start = self.first + bucket * BUCKET;
        let slots = start..start + BUCKET;
        let words = self.words.get(slots.clone()).unwrap_or_default();
        slots.zip(words).map(|(slot, word)| (slot, word.load(Ordering::Acquire)))
    }

    fn load(&self, slot: usize) -> u64 {
        self.words.get(slot).map_or(0, |word| word.load(Ordering::Acquire))
    }

    fn swap(&self, slot: usize, from: u64, to: u64) -> bool {
        self.words.get(slot).is_some_and(|word| word.compare_exchange(from, to, Ordering::AcqRel, Ordering::Acquire).is_ok())
    }
}

fn hour_of(now: Moment) -> u64 {
    now.hour().0.unsigned_abs() & HOUR_MASK
}

fn age_of(word: u64, hour: u64) -> u64 {
    let age = hour.wrapping_sub((word >> HOUR_SHIFT) & HOUR_MASK) & HOUR_MASK;
    // Of a later hour: what is recalled after a start comes a little out of order.
    if age > HOUR_MASK / 2 { 0 } else { age }
}

/// The visits in progress: one word a visitor, `[hash 22][start minute 21][last minute 21]`. 16 MiB
/// hold 2 million visitors within half an hour. Two visitors share a word with a chance of 8 / 2^22 in a
/// full table; then one's visit may seem to have begun with the other's, but ids never mix, since a
/// visit's id is made of its visitor's.
pub struct Visits {
    table: Table,
    hasher: DefaultHashBuilder,
}

/// A visitor whose visit is looked for.
#[derive(Debug, Clone, Copy)]
pub struct Approach {
    visitor: Id,
    hash: u64,
}

/// A visit ends after so much silence.
pub const VISIT_SILENCE_MINUTES: i64 = 30;
const MINUTE_MASK: u64 = (1 << 21) - 1;

impl Visits {
    pub fn new(bytes: usize) -> Self {
        Self { table: Table::new(bytes), hasher: DefaultHashBuilder::default() }
    }

    /// Begins to look for a visitor's visit.
    pub fn approach(&self, visitor: Id) -> Approach {
        Approach { visitor, hash: self.hasher.hash_one(u128::from_ne_bytes(visitor.0)) }
    }

    /// Has what is known of it brought near.
    pub fn fetch(&self, approach: &Approach) {
        self.table.fetch(self.bucket(approach.hash));
    }

    /// The visit of an interaction of the visitor at `now`, and whether it begins with it.
    pub fn attend(&self, approach: Approach, now: Moment) -> (Id, bool) {
        let (began, is_first) = self.note(approach.hash, now);
        (identity::visit(approach.visitor, began), is_first)
    }

    fn bucket(&self, hash: u64) -> usize {
        // The mark in a word is of the high bits: the bucket takes the low ones.
        self.table.bucket_of(hash.rotate_right(32))
    }

    /// Notes an interaction of the visitor of this hash at `now`: the minute in which its visit began, and whether it
    /// begins it.
    fn note(&self, hash: u64, now: Moment) -> (i64, bool) {
        let (mark, bucket) = (hash >> 42, self.bucket(hash));
        let minute = now.minute().unsigned_abs() & MINUTE_MASK;
        loop {
            let mut oldest = (0, 0, 0);
            for (slot, there) in self.table.slots(bucket) {
                let silence = minute.wrapping_sub(there) & MINUTE_MASK;
                let is_open = silence <= VISIT_SILENCE_MINUTES.unsigned_abs() || silence > MINUTE_MASK / 2;
                if there != 0 && there >> 42 == mark && is_open {
                    let began = (there >> 21) & MINUTE_MASK;
                    let last = if silence > MINUTE_MASK / 2 { there & MINUTE_MASK } else { minute };
                    if there & MINUTE_MASK != last && !self.table.swap(slot, there, (mark << 42) | (began << 21) | last) {
                        continue;
                    }
                    return (full_minute(began, now), false);
                }
                let rank = if there == 0 { u64::MAX } else { silence };
                if rank >= oldest.2 {
                    oldest = (slot, there, rank);
                }
            }
            if self.table.swap(oldest.0, oldest.1, (mark << 42) | (minute << 21) | minute) {
                return (now.minute(), true);
            }
        }
    }
}

/// The minute since the epoch whose low 21 bits are `low`, next to `now`: before it, or a little after it
/// where rows come out of order.
const fn full_minute(low: u64, now: Moment) -> i64 {
    let minute = now.minute();
    let back = (minute.unsigned_abs().wrapping_sub(low)) & MINUTE_MASK;
    if back > MINUTE_MASK / 2 { minute + (MINUTE_MASK + 1 - back) as i64 } else { minute - back as i64 }
}

/// Both memories, to be filled at a start with what the lake or the journal has already.
#[derive(Clone, Copy)]
pub struct Memories<'g> {
    pub repeats: &'g Repeats,
    pub visits: &'g Visits,
}

/// What is remembered of a row, as keyed hashes: 32 bytes.
pub struct Recollection {
    event: Sought,
    visitor: Option<u64>,
    received_at: Moment,
}

impl Memories<'_> {
    /// What is to be remembered of a row; any thread may work it out.
    pub fn recollect(self, site: &str, event_id: &str, received_at: Moment, visitor: Option<Id>) -> Recollection {
        Recollection { event: self.repeats.seek(site, event_id), visitor: visitor.map(|visitor| self.visits.approach(visitor).hash), received_at }
    }
}

/// The memories being filled. Ids are looked for a group at a time, so that the processor waits for all of their
/// buckets at once: alone they were a fifth of what a row took.
pub struct Recalling<'g> {
    memories: Memories<'g>,
    group: Vec<Recollection>,
    groups: usize,
}

const GROUP_ROWS: usize = 32;
/// From so many rows on (8,192) most pages of the memories will be needed: there are 20,480.
const MANY_GROUPS: usize = 256;

impl<'g> Recalling<'g> {
    pub fn new(memories: Memories<'g>) -> Self {
        Self { memories, group: Vec::with_capacity(GROUP_ROWS), groups: 0 }
    }

    /// Remembers a row; rows come by and large in their order.
    pub fn remember(&mut self, row: Recollection) {
        self.group.push(row);
        if self.group.len() == GROUP_ROWS {
            self.finish();
        }
    }

    /// Remembers what only waits so far.
    pub fn finish(&mut self) {
        let Memories { repeats, visits } = self.memories;
        self.groups += 1;
        if self.groups == MANY_GROUPS {
            repeats.table.take_pages();
            visits.table.take_pages();
        }
        for row in &self.group {
            repeats.fetch(row.event);
            if let Some(visitor) = row.visitor {
                visits.table.fetch(visits.bucket(visitor));
            }
        }
        for row in self.group.drain(..) {
            repeats.recall(row.event, row.received_at);
            if let Some(visitor) = row.visitor {
                visits.note(visitor, row.received_at);
            }
        }
    }
}

/// How many hits of each site came in this second: `[second 32][count 32]`.
pub struct Quotas(Box<[AtomicU64]>);

impl Quotas {
    pub fn new(sites: usize) -> Self {
        // The first is nobody's.
        Self((0..=sites).map(|_| AtomicU64::new(0)).collect())
    }

    /// Counts a hit of the site; whether it is one more than `most` (0 = any number) in this second.
    pub fn exceeds(&self, site: SiteNumber, most: u32, now: Moment) -> bool {
        if most == 0 {
            return false;
        }
        let Some(word) = self.0.get(site.index()) else { return false };
        let second = now.seconds().unsigned_abs() & 0xffff_ffff;
        let counted = word.fetch_update(Ordering::AcqRel, Ordering::Acquire, |there| {
            let count = if there >> 32 == second { (there & 0xffff_ffff).saturating_add(1).min(0xffff_ffff) } else { 1 };
            Some((second << 32) | count)
        });
        let before = counted.unwrap_or(0);
        before >> 32 == second && before & 0xffff_ffff >= u64::from(most)
    }
}

#[cfg(test)]
mod tests {
    use super::{GROUP_ROWS, MANY_GROUPS, Memories, Quotas, Recalling, Repeats, Seen, Visits};
    use crate::hit::clock::Moment;
    use crate::hit::field::Id;
    use crate::hit::site::{Site, Sites};
    use std::sync::atomic::Ordering;

    const NOW: Moment = Moment(1_700_000_000_000_000);

    #[test]
    fn an_id_is_fresh_once_for_a_day() {
        let repeats = Repeats::new(1 << 20);
        let Seen::Fresh(noted) = repeats.look(repeats.seek("acme", "1"), NOW) else { panic!() };
        assert_eq!(repeats.look(repeats.seek("acme", "1"), NOW), Seen::Pending(noted));
        assert_eq!(repeats.fate(noted), None);
        repeats.settle(noted, true);
        assert_eq!(repeats.fate(noted), Some(true));
        assert_eq!(repeats.look(repeats.seek("acme", "1"), NOW), Seen::Durable);
        assert_eq!(repeats.look(repeats.seek("acme", "1"), NOW.plus_seconds(23 * 3_600)), Seen::Durable);
        assert!(matches!(repeats.look(repeats.seek("other", "1"), NOW), Seen::Fresh(_)));
        assert!(matches!(repeats.look(repeats.seek("acme", "1"), NOW.plus_seconds(26 * 3_600)), Seen::Fresh(_)));
    }

    #[test]
    fn an_id_that_did_not_become_durable_may_come_again() {
        let repeats = Repeats::new(1 << 20);
        let Seen::Fresh(noted) = repeats.look(repeats.seek("acme", "1"), NOW) else { panic!() };
        repeats.settle(noted, false);
        assert!(matches!(repeats.look(repeats.seek("acme", "1"), NOW), Seen::Fresh(_)));
    }

    #[test]
    fn a_full_memory_forgets_the_oldest_and_takes_no_fresh_id_for_a_repeat() {
        let repeats = Repeats::new(64 * 16);
        for number in 0..10_000 {
            let now = NOW.plus_seconds(number * 10);
            let Seen::Fresh(noted) = repeats.look(repeats.seek("acme", &number.to_string()), now) else { panic!("{number}") };
            repeats.settle(noted, true);
        }
        let last = NOW.plus_seconds(99_990);
        assert_eq!(repeats.look(repeats.seek("acme", "9999"), last), Seen::Durable);
        assert!(matches!(repeats.look(repeats.seek("acme", "0"), last), Seen::Fresh(_)));
    }

    #[test]
    fn what_is_recalled_late_pushes_out_nothing_younger() {
        let repeats = Repeats::new(64);
        for hour in [3, 3, 3, 3, 0, 1, 2, 3] {
            let at = NOW.plus_seconds(hour * 3_600);
            let known = repeats.table.words.iter().filter(|slot| slot.load(Ordering::Relaxed) != 0).count();
            repeats.recall(repeats.seek("acme", &format!("{hour} of {known}")), at);
        }
        repeats.recall(repeats.seek("acme", "late"), NOW.plus_seconds(3_600));
        let later = NOW.plus_seconds(4 * 3_600);
        let is_known = |id: &str| repeats.look(repeats.seek("acme", id), later) == Seen::Durable;
        assert!(["late", "3 of 0", "3 of 1", "3 of 2", "3 of 3", "1 of 5", "2 of 6", "3 of 7"].into_iter().all(is_known));
    }

    #[test]
    fn a_visit_that_is_recalled_goes_on() {
        let (before, after) = (Visits::new(1 << 16), Visits::new(1 << 16));
        let repeats = Repeats::new(1 << 16);
        let memories = Memories { repeats: &repeats, visits: &after };
        let mut recalling = Recalling::new(memories);
        let visitor = Id([3; 16]);
        for minutes in [0, 20, 40] {
            let at = NOW.plus_seconds(minutes * 60);
            before.attend(before.approach(visitor), at);
            recalling.remember(memories.recollect("acme", "x", at, Some(visitor)));
        }
        recalling.finish();
        let now = NOW.plus_seconds(65 * 60);
        assert_eq!(after.attend(after.approach(visitor), now), before.attend(before.approach(visitor), now));
        assert!(!after.attend(after.approach(visitor), now).1);
        assert_eq!(repeats.look(repeats.seek("acme", "x"), now), Seen::Durable);
    }

    #[test]
    fn many_rows_are_recalled_whole_where_all_pages_are_taken_halfway() {
        let (repeats, visits) = (Repeats::new(4 << 20), Visits::new(4 << 20));
        let memories = Memories { repeats: &repeats, visits: &visits };
        let mut recalling = Recalling::new(memories);
        let ids: Vec<String> = (0..GROUP_ROWS * MANY_GROUPS + 100).map(|number| number.to_string()).collect();
        for id in &ids {
            recalling.remember(memories.recollect("acme", id, NOW, Some(Id([7; 16]))));
        }
        recalling.finish();
        assert!(recalling.groups > MANY_GROUPS);
        assert!(ids.iter().all(|id| repeats.look(repeats.seek("acme", id), NOW) == Seen::Durable));
        assert!(!visits.attend(visits.approach(Id([7; 16])), NOW).1);
    }

    #[test]
    fn a_visit_ends_after_half_an_hour_of_silence() {
        let visits = Visits::new(1 << 16);
        let visitor = Id([3; 16]);
        let (first, begins) = visits.attend(visits.approach(visitor), NOW);
        assert!(begins);
        for minutes in [1, 29, 59, 89] {
            assert_eq!(visits.attend(visits.approach(visitor), NOW.plus_seconds(minutes * 60)), (first, false), "{minutes}");
        }
        assert_eq!(visits.attend(visits.approach(visitor), NOW.plus_seconds(-60)), (first, false));
        let (second, begins) = visits.attend(visits.approach(visitor), NOW.plus_seconds(121 * 60));
        assert!(begins && second != first);
        assert!(visits.attend(visits.approach(Id([4; 16])), NOW).1);
    }

    #[test]
    fn a_quota_is_per_second() {
        let (quotas, sites) = (Quotas::new(1), Sites::new(vec![Site::sample()]));
        let (site, _) = sites.find("acme").unwrap();
        let over: Vec<bool> = (0..5).map(|_| quotas.exceeds(site, 3, NOW)).collect();
        assert_eq!(over, [false, false, false, true, true]);
        assert!(!quotas.exceeds(site, 3, NOW.plus_seconds(1)));
        assert!(!quotas.exceeds(site, 0, NOW));
        assert!((0..5).all(|_| !Quotas::new(0).exceeds(site, 3, NOW)), "it counts nobody");
    }
}
