//! Owns what is known of those who exercised a right: who was erased, is restricted, or objected.
//!
//! Knows HMAC-SHA-256 (RFC 2104) under a key of its own, made of the collector's secret. Promises:
//! never an id, only its keyed hash over site and visitor, each behind its length, so that without the
//! secret nobody can ask whether somebody is in the list; entries in whatever order, from however many
//! files, give the same standing; a line that was changed is no entry; an erasure is never taken back.
//! Limits: an entry takes some 100 bytes of memory and 150 on disk: 10,000 subjects are 1 MB and 1.5 MB.

use super::identity::keyed_hash;
use crate::hit::clock::Moment;
use crate::hit::field::{Id, Suppression};
use hmac::{Hmac, Mac};
use sha2::Sha256;
use std::collections::HashMap;

/// All suppressions in force.
#[derive(Default)]
pub struct Suppressions {
    /// Absent where the data folder has no secret: then no line can be read.
    key: Option<SuppressionKey>,
    subjects: HashMap<Id, Standing>,
    newest: Moment,
    unreadable: usize,
}

/// How a subject stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Standing {
    pub erased: bool,
    pub restricted: bool,
    pub objected: bool,
    pub contested: bool,
}

impl Suppressions {
    /// How `visitor` of `site` stands. Where nobody is suppressed this costs one branch.
    pub fn standing(&self, site: &str, visitor: Id) -> Standing {
        if self.subjects.is_empty() {
            return Standing::default();
        }
        let subject = self.key.as_ref().map(|key| key.subject(site, visitor));
        subject.and_then(|subject| self.subjects.get(&subject)).copied().unwrap_or_default()
    }

    /// How the subject of a keyed hash stands.
    pub fn standing_of(&self, subject: Id) -> Standing {
        self.subjects.get(&subject).copied().unwrap_or_default()
    }

    pub fn is_empty(&self) -> bool {
        self.subjects.is_empty()
    }

    /// So many subjects are erased.
    pub fn erased(&self) -> usize {
        self.erased_subjects().count()
    }

    /// The keyed hashes of those who are erased.
    pub fn erased_subjects(&self) -> impl Iterator<Item = Id> {
        self.subjects.iter().filter(|(_, standing)| standing.erased).map(|(subject, _)| *subject)
    }

    /// Lines that are no entries of this collector: changed, or written under another secret. Whom they
    /// hide is unknown here, so nobody may be shown.
    pub const fn unreadable(&self) -> usize {
        self.unreadable
    }

    /// The moment of the newest entry.
    pub const fn newest(&self) -> Moment {
        self.newest
    }

    /// Of all lines that were ever written, in any order; one given twice counts once.
    pub fn of_lines<'l>(key: Option<SuppressionKey>, lines: impl Iterator<Item = &'l [u8]>) -> Self {
        let mut unreadable = 0;
        let mut entries: Vec<Entry> = Vec::new();
        for line in lines {
            match key.as_ref().and_then(|key| Entry::parse(key, line)) {
                Some(entry) => entries.push(entry),
                None => unreadable += 1,
            }
        }
        // Of one moment, what ends a suppression comes first: in doubt it stands.
        entries.sort_by_key(|entry| (entry.at, matches!(entry.kind, Suppression::Erased | Suppression::Restricted | Suppression::Objected | Suppression::Contested)));
        let mut subjects: HashMap<Id, Standing> = HashMap::new();
        for entry in &entries {
            let standing = subjects.entry(entry.subject).or_default();
            match entry.kind {
                Suppression::Erased => standing.erased = true,
                Suppression::Restricted => standing.restricted = true,
                Suppression::Objected => standing.objected = true,
                Suppression::Contested => standing.contested = true,
                Suppression::Released => (standing.restricted, standing.objected) = (false, false),
                Suppression::Settled => standing.contested = false,
            }
        }
        subjects.retain(|_, standing| *standing != Standing::default());
        Self { key, subjects, newest: entries.last().map_or(Moment(0), |entry| entry.at), unreadable }
    }
}

impl Standing {
    /// The subject's rows are out of every answer.
    pub const fn is_hidden(self) -> bool {
        self.erased || self.restricted || self.contested
    }

    /// Both at once: for a hit that carries two ids.
    pub const fn and(self, other: Self) -> Self {
        Self {
            erased: self.erased || other.erased,
            restricted: self.restricted || other.restricted,
            objected: self.objected || other.objected,
            contested: self.contested || other.contested,
        }
    }
}

/// Hashes subjects and seals entries.
#[derive(Clone)]
pub struct SuppressionKey {
    key: [u8; 16],
    /// HMAC with the key taken in already: half of what a short hash costs.
    primed: Hmac<Sha256>,
}

impl SuppressionKey {
    /// Of the collector's own secret. `None` never happens: HMAC takes keys of every length.
    pub fn new(secret: &[u8; 32]) -> Option<Self> {
        let key = keyed_hash(secret, &[b"suppression"]).0;
        Some(Self { key, primed: Hmac::new_from_slice(&key).ok()? })
    }

    /// The keyed hash by which a subject is known in suppressions, requests and receipts.
    pub fn subject(&self, site: &str, visitor: Id) -> Id {
        let mut mac = self.primed.clone();
        mac.update(&(site.len() as u64).to_le_bytes());
        mac.update(site.as_bytes());
        mac.update(&visitor.0);
        let digest = mac.finalize().into_bytes();
        let mut first = [0; 16];
        first.copy_from_slice(&digest[..16]);
        Id(first)
    }
}

/// One decision about one subject.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry {
    pub kind: Suppression,
    pub subject: Id,
    pub at: Moment,
    /// The request that asked for it.
    pub request: Id,
}

impl Entry {
    /// `KIND SUBJECT MICROSECONDS REQUEST SEAL`, without the line's end.
    pub fn line(&self, key: &SuppressionKey) -> String {
        let text = self.text();
        let seal = keyed_hash(&key.key, &[b"line", text.as_bytes()]);
        format!("{text} {seal}")
    }

    /// The entry of a line, if it was written under this key and never changed.
    pub fn parse(key: &SuppressionKey, line: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(line).ok()?;
        let mut words = text.split(' ');
        let entry = Self {
            kind: Suppression::from_name(words.next()?)?,
            subject: Id::parse(words.next()?.as_bytes())?,
            at: Moment(words.next()?.parse().ok()?),
            request: Id::parse(words.next()?.as_bytes())?,
        };
        (entry.line(key) == text).then_some(entry)
    }

    fn text(&self) -> String {
        format!("{} {} {} {}", self.kind, self.subject, self.at.micros(), self.request)
    }
}

#[cfg(test)]
mod tests {
    use super::{Entry, Standing, SuppressionKey, Suppressions};
    use crate::hit::clock::Moment;
    use crate::hit::field::{Id, Suppression};
    use proptest::prelude::*;

    fn key() -> SuppressionKey {
        SuppressionKey::new(&[7; 32]).unwrap()
    }

    fn line(kind: Suppression, visitor: u8, at: i64) -> String {
        let key = key();
        Entry { kind, subject: key.subject("acme", Id([visitor; 16])), at: Moment(at), request: Id([9; 16]) }.line(&key)
    }

    fn of(lines: &[String]) -> Suppressions {
        Suppressions::of_lines(Some(key()), lines.iter().map(String::as_bytes))
    }

    #[test]
    fn what_was_decided_last_stands_but_an_erasure_always() {
        use Suppression::{Contested, Erased, Objected, Released, Restricted, Settled};
        let standing = |erased, restricted, objected, contested| Standing { erased, restricted, objected, contested };
        let cases: [(&[(Suppression, i64)], Standing); 9] = [
            (&[], Standing::default()),
            (&[(Erased, 1), (Released, 2)], standing(true, false, false, false)),
            (&[(Restricted, 1)], standing(false, true, false, false)),
            (&[(Restricted, 1), (Released, 2)], Standing::default()),
            (&[(Released, 1), (Restricted, 2)], standing(false, true, false, false)),
            (&[(Released, 1), (Restricted, 1)], standing(false, true, false, false)),
            (&[(Objected, 1), (Contested, 2), (Settled, 3)], standing(false, false, true, false)),
            (&[(Objected, 1), (Contested, 2), (Released, 3)], standing(false, false, false, true)),
            (&[(Contested, 3), (Settled, 3)], standing(false, false, false, true)),
        ];
        for (decisions, expected) in cases {
            let mut lines: Vec<String> = decisions.iter().map(|(kind, at)| line(*kind, 1, *at)).collect();
            for _ in 0..2 {
                assert_eq!(of(&lines).standing("acme", Id([1; 16])), expected, "{decisions:?}");
                assert_eq!(of(&lines).standing("other", Id([1; 16])), Standing::default());
                assert_eq!(of(&lines).standing("acme", Id([2; 16])), Standing::default());
                lines.reverse();
            }
        }
    }

    #[test]
    fn a_line_of_another_collector_is_told_and_hides_nobody() {
        let lines = [line(Suppression::Erased, 1, 1)];
        let other = Suppressions::of_lines(SuppressionKey::new(&[8; 32]), lines.iter().map(String::as_bytes));
        assert_eq!((other.unreadable(), other.is_empty()), (1, true));
        let without = Suppressions::of_lines(None, lines.iter().map(String::as_bytes));
        assert_eq!((without.unreadable(), without.is_empty()), (1, true));
    }

    #[test]
    fn one_flipped_bit_makes_a_line_no_entry() {
        let whole = line(Suppression::Restricted, 1, 1_795_132_800_000_000).into_bytes();
        assert!(Entry::parse(&key(), &whole).is_some());
        for at in 0..whole.len() {
            for bit in 0..8 {
                let mut flipped = whole.clone();
                flipped[at] ^= 1 << bit;
                assert_eq!(Entry::parse(&key(), &flipped), None, "byte {at}, bit {bit}");
            }
            assert_eq!(Entry::parse(&key(), &whole[..at]), None);
        }
    }

    proptest! {
        #[test]
        fn entries_come_back(kind in 0..6u8, subject: [u8; 16], at: i64, request: [u8; 16]) {
            let entry = Entry { kind: Suppression::from_index(kind).unwrap(), subject: Id(subject), at: Moment(at), request: Id(request) };
            prop_assert_eq!(Entry::parse(&key(), entry.line(&key()).as_bytes()), Some(entry));
        }

        #[test]
        fn no_bytes_are_an_entry_by_chance(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            prop_assert_eq!(Entry::parse(&key(), &bytes), None);
        }

        #[test]
        fn the_order_of_lines_does_not_matter(decisions in proptest::collection::vec((0..6u8, 0..3u8, 0..20i64), 0..20), seed: u64) {
            let lines: Vec<String> = decisions.iter().map(|(kind, visitor, at)| line(Suppression::from_index(*kind).unwrap(), *visitor, *at)).collect();
            let mut shuffled = lines.clone();
            shuffled.extend(lines.iter().take(3).cloned());
            let length = shuffled.len();
            for at in 0..length {
                shuffled.swap(at, (seed.rotate_left(at as u32) as usize) % length);
            }
            for visitor in 0..3 {
                prop_assert_eq!(of(&lines).standing("acme", Id([visitor; 16])), of(&shuffled).standing("acme", Id([visitor; 16])));
            }
        }
    }
}
