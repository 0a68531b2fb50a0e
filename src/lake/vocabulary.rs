//! Owns the numbers by which a row group's texts are known while it is gathered.
//!
//! A text is hashed once, where its row is taken; the pages of its column and the cells of trends work with
//! its number. All texts of a row are sought before the first is looked at, so that memory answers for all at once:
//! between two flushes the tables leave the processor's caches. Promises: a number means one text for one row group
//! and nothing beyond it (`Ids::epoch`), so no file's dictionary holds what no row of it has. Limits: 1 MiB and
//! 65,534 texts a column, 24 columns: 24 MiB of texts and 24 MiB of tables at the very most for a day being loaded;
//! 65,534 ids, 2 MiB with their table, in 2 columns; what comes after is `BEYOND`.

use super::slots::{Slots, Sought};
use crate::hit::field::Id;
use crate::hit::record::{Record, Text};
use crate::rules::ahead;
use hashbrown::DefaultHashBuilder;
use std::hash::{BuildHasher, Hasher};
use std::sync::atomic::{AtomicU64, Ordering};

/// No text.
pub const NONE: u16 = u16::MAX;
/// A text that is not in the vocabulary, for that is full.
pub const BEYOND: u16 = u16::MAX - 1;

/// Parquet's writers give a dictionary up at 1 MiB; so do we.
pub const DICTIONARY_BYTES_MAX: usize = 1 << 20;

/// Texts of a column, numbered in the order in which they came.
#[derive(Default)]
pub struct Vocabulary {
    slots: Slots,
    /// Seeded anew for each; a sender who could make texts collide would slow one flush.
    hasher: DefaultHashBuilder,
    /// The texts as Parquet's plain encoding has them: length (u32, little-endian), bytes.
    plain: Vec<u8>,
    count: u16,
}

impl Vocabulary {
    /// The number of `text`, or `BEYOND`.
    pub fn id(&mut self, text: &str) -> u16 {
        self.number(self.seek(text), text)
    }

    /// Begins to look for `text`.
    fn seek(&self, text: &str) -> Sought {
        let sought = hashed(&self.hasher, text.as_bytes());
        self.slots.fetch(sought);
        sought
    }

    /// Goes on to look, once the slot is near: for the text itself, if it is the one that is known there.
    fn approach(&self, sought: Sought) {
        if let Some(text) = self.slots.peek(sought).and_then(|text| self.plain.get(Span::of(text).start)) {
            ahead::fetch(text);
        }
    }

    /// The number of the text that was sought.
    fn number(&mut self, sought: Sought, text: &str) -> u16 {
        let text = text.as_bytes();
        match self.slots.find(sought, |known| is_same(Span::of(known).within(&self.plain), text)) {
            Some(known) => Span::of(known).id,
            None => self.add(sought, text),
        }
    }

    #[cold]
    fn add(&mut self, sought: Sought, text: &[u8]) -> u16 {
        let Ok(length) = u32::try_from(text.len()) else { return BEYOND };
        if self.count == BEYOND || self.plain.len() + 4 + text.len() > DICTIONARY_BYTES_MAX {
            return BEYOND;
        }
        self.plain.extend_from_slice(&length.to_le_bytes());
        let span = Span { start: self.plain.len(), length: text.len(), id: self.count };
        self.plain.extend_from_slice(text);
        let Self { slots, hasher, plain, .. } = self;
        slots.put(sought, span.packed(), |known| hashed(hasher, Span::of(known).within(plain)));
        self.count += 1;
        span.id
    }

    /// The texts in Parquet's plain encoding.
    pub fn plain(&self) -> &[u8] {
        &self.plain
    }

    pub const fn known(&self) -> usize {
        self.count as usize
    }

    /// The least and the greatest text.
    pub fn extremes(&self) -> Option<(&[u8], &[u8])> {
        let texts = || self.slots.all().map(|known| Span::of(known).within(&self.plain));
        Some((texts().min()?, texts().max()?))
    }
}

/// Where a text stands in `plain`, and its number: 21, 20 and 16 bits, since `plain` is 2²⁰ bytes at most.
#[derive(Clone, Copy)]
struct Span {
    start: usize,
    length: usize,
    id: u16,
}

impl Span {
    const fn packed(self) -> u64 {
        (self.start as u64) << 36 | (self.length as u64) << 16 | self.id as u64
    }

    const fn of(packed: u64) -> Self {
        Self { start: (packed >> 36) as usize, length: (packed >> 16) as usize & (DICTIONARY_BYTES_MAX - 1), id: packed as u16 }
    }

    fn within(self, plain: &[u8]) -> &[u8] {
        plain.get(self.start..self.start + self.length).unwrap_or_default()
    }
}

/// Without a call into libc, which takes longer than comparing most texts.
fn is_same(left: &[u8], right: &[u8]) -> bool {
    if left.len() != right.len() {
        return false;
    }
    match (left.last_chunk::<8>(), right.last_chunk::<8>()) {
        (Some(left_end), Some(right_end)) => {
            let ((left, _), (right, _)) = (left.as_chunks::<8>(), right.as_chunks::<8>());
            left_end == right_end && left.iter().zip(right).all(|(left, right)| left == right)
        }
        _ => left.iter().zip(right).all(|(left, right)| left == right),
    }
}

fn hashed(hasher: &DefaultHashBuilder, bytes: &[u8]) -> Sought {
    let mut hash = hasher.build_hasher();
    hash.write(bytes);
    Sought::from_hash(hash.finish())
}

/// Ids of a column, numbered like texts: as many as there are numbers, for an id that comes again is 32 digits less.
#[derive(Default)]
pub struct IdVocabulary {
    slots: Slots,
    hasher: DefaultHashBuilder,
    /// So many times a number was asked for.
    asked: usize,
    ids: Vec<Id>,
}

impl IdVocabulary {
    /// Begins to look for `id`.
    pub fn seek(&self, id: Id) -> Sought {
        let sought = hashed(&self.hasher, &id.0);
        self.slots.fetch(sought);
        sought
    }

    /// The number of the id that was sought, or `BEYOND`.
    pub fn number(&mut self, sought: Sought, id: Id) -> u16 {
        self.asked += 1;
        if let Some(known) = self.slots.find(sought, |known| self.ids.get(known as usize) == Some(&id)) {
            return known as u16;
        }
        let is_worth_it = self.ids.len() != IDS_TRIED || self.asked >= IDS_TRIED + IDS_TRIED / 3;
        if !is_worth_it || self.ids.len() >= usize::from(BEYOND) {
            return BEYOND;
        }
        let number = self.ids.len() as u16;
        self.ids.push(id);
        let Self { slots, hasher, ids, .. } = self;
        slots.put(sought, u64::from(number), |known| ids.get(known as usize).map_or(Sought::default(), |id| hashed(hasher, &id.0)));
        number
    }

    /// The ids' digits in Parquet's plain encoding.
    pub fn plain(&self) -> Vec<u8> {
        let mut plain = Vec::with_capacity(self.ids.len() * (size_of::<u32>() + 32));
        for id in &self.ids {
            plain.extend_from_slice(&32_u32.to_le_bytes());
            plain.extend_from_slice(&id.digits());
        }
        plain
    }

    pub const fn known(&self) -> usize {
        self.ids.len()
    }

    pub fn all(&self) -> impl ExactSizeIterator<Item = &Id> {
        self.ids.iter()
    }
}

/// After so many ids: where three rows in four brought a new one, a dictionary would be longer than its column.
const IDS_TRIED: usize = 16 << 10;

/// The columns of closed words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Word {
    Channel,
    Medium,
    Device,
    Regime,
    Basis,
    ConsentSource,
    Protocol,
}

impl Word {
    pub const ALL: [Self; 7] = [Self::Channel, Self::Medium, Self::Device, Self::Regime, Self::Basis, Self::ConsentSource, Self::Protocol];

    /// The word of `record` by its place in its list.
    const fn index(self, record: &Record<'_>) -> u8 {
        match self {
            Self::Channel => record.channel.index(),
            Self::Medium => record.medium.index(),
            Self::Device => record.device.index(),
            Self::Regime => record.regime.index(),
            Self::Basis => record.basis.index(),
            Self::ConsentSource => record.consent_source.index(),
            Self::Protocol => record.protocol.index(),
        }
    }

    /// The word of `record`.
    pub const fn name(self, record: &Record<'_>) -> &'static str {
        match self {
            Self::Channel => record.channel.name(),
            Self::Medium => record.medium.name(),
            Self::Device => record.device.name(),
            Self::Regime => record.regime.name(),
            Self::Basis => record.basis.name(),
            Self::ConsentSource => record.consent_source.name(),
            Self::Protocol => record.protocol.name(),
        }
    }
}

/// The longest list of words has 7.
const WORDS_MAX: usize = 8;

/// The vocabularies of a row group.
pub struct Vocabularies {
    pub texts: [Vocabulary; Text::COUNT],
    pub words: [Vocabulary; Word::ALL.len()],
    pub country: Vocabulary,
    /// The number of each word by its place in its list.
    known: [[u16; WORDS_MAX]; Word::ALL.len()],
    epoch: u64,
}

/// A row's texts by their numbers.
#[derive(Clone, Copy)]
pub struct Ids {
    pub texts: [u16; Text::COUNT],
    pub words: [u16; Word::ALL.len()],
    pub country: u16,
    /// Tells vocabularies apart: numbers of two of them have nothing to do with one another.
    pub epoch: u64,
}

impl Ids {
    pub const fn text(&self, text: Text) -> u16 {
        self.texts[text as usize]
    }

    pub const fn word(&self, word: Word) -> u16 {
        self.words[word as usize]
    }
}

impl Vocabularies {
    /// The numbers of a row's texts. An empty text is `NONE`, where its column may be null; each
    /// event's id is another, and so `BEYOND`.
    pub fn ids(&mut self, record: &Record<'_>) -> Ids {
        let mut ids = Ids { texts: [NONE; Text::COUNT], words: [NONE; Word::ALL.len()], country: NONE, epoch: self.epoch };
        ids.texts[Text::EventId as usize] = BEYOND;
        let is_numbered = |at, text: &str| at != Text::EventId as usize && (!text.is_empty() || at == Text::Site as usize || at == Text::Event as usize);
        let sought: [_; Text::COUNT] = std::array::from_fn(|at| {
            let text = record.texts[at];
            is_numbered(at, text).then(|| (text, self.texts[at].seek(text)))
        });
        for (sought, vocabulary) in sought.iter().zip(&self.texts) {
            if let Some((_, sought)) = sought {
                vocabulary.approach(*sought);
            }
        }
        for ((sought, vocabulary), id) in sought.iter().zip(&mut self.texts).zip(&mut ids.texts) {
            if let Some((text, sought)) = sought {
                *id = vocabulary.number(*sought, text);
            }
        }
        for ((id, word), (known, vocabulary)) in ids.words.iter_mut().zip(Word::ALL).zip(self.known.iter_mut().zip(&mut self.words)) {
            *id = match known.get_mut(usize::from(word.index(record))) {
                Some(known) => {
                    if *known == NONE {
                        *known = vocabulary.id(word.name(record));
                    }
                    *known
                }
                None => vocabulary.id(word.name(record)),
            };
        }
        if let Some(country) = &record.country {
            ids.country = self.country.id(country.code());
        }
        ids
    }
}

impl Default for Vocabularies {
    fn default() -> Self {
        static EPOCHS: AtomicU64 = AtomicU64::new(0);
        Self {
            texts: Default::default(),
            words: Default::default(),
            country: Vocabulary::default(),
            known: [[NONE; WORDS_MAX]; Word::ALL.len()],
            epoch: EPOCHS.fetch_add(1, Ordering::Relaxed),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{BEYOND, DICTIONARY_BYTES_MAX, IdVocabulary, Span, Vocabulary};
    use crate::hit::field::Id;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_span_is_what_was_packed(start in 4..=DICTIONARY_BYTES_MAX, length in 0..DICTIONARY_BYTES_MAX, id: u16) {
            let Span { start: found, length: as_long, id: number } = Span::of(Span { start, length, id }.packed());
            prop_assert_eq!((found, as_long, number), (start, length, id));
        }
    }

    #[test]
    fn a_text_keeps_its_number() {
        let mut vocabulary = Vocabulary::default();
        let texts: Vec<String> = (0..1_000).map(|number| format!("text {number}")).collect();
        for _ in 0..2 {
            for (at, text) in texts.iter().enumerate() {
                assert_eq!(usize::from(vocabulary.id(text)), at);
            }
        }
        assert_eq!(vocabulary.id(""), 1_000);
        assert_eq!(vocabulary.extremes(), Some((&b""[..], &b"text 999"[..])));
        assert_eq!(&vocabulary.plain()[..10], b"\x06\0\0\0text 0");
    }

    #[test]
    fn what_does_not_fit_is_beyond_and_what_is_known_stays_known() {
        let mut vocabulary = Vocabulary::default();
        assert_eq!(vocabulary.id("known"), 0);
        assert_eq!(vocabulary.id(&"x".repeat(DICTIONARY_BYTES_MAX)), BEYOND);
        for number in 1..usize::from(BEYOND) {
            assert_eq!(usize::from(vocabulary.id(&format!("{number}"))), number);
        }
        assert_eq!(vocabulary.id("one more"), BEYOND);
        assert_eq!(vocabulary.id("known"), 0);
        assert!(vocabulary.plain().len() <= DICTIONARY_BYTES_MAX);
    }

    #[test]
    fn so_many_ids_as_a_dictionary_has_room_for() {
        let mut ids = IdVocabulary::default();
        let id = |number: u32| Id(std::array::from_fn(|at| number.to_le_bytes()[at % 4]));
        for number in 0..70_000 {
            let expected = if number < u32::from(BEYOND) { number as u16 } else { BEYOND };
            assert_eq!([(); 2].map(|()| ids.number(ids.seek(id(number)), id(number))), [expected; 2]);
        }
        assert_eq!((ids.known(), ids.all().len(), ids.plain().len()), (65_534, 65_534, 65_534 * 36));
    }

    #[test]
    fn ids_that_seldom_come_again_are_given_no_more_numbers() {
        // Of this many rows one brings an id that is known.
        for (one_in, expected) in [(5, 16_384), (3, 60_000)] {
            let mut ids = IdVocabulary::default();
            let id = |number: u32| Id(std::array::from_fn(|at| number.to_le_bytes()[at % 4]));
            let mut new = 0;
            for row in 0..60_000 * one_in / (one_in - 1) {
                let number = if row % one_in == 0 { 0 } else { new += 1; new };
                if ids.number(ids.seek(id(number)), id(number)) == BEYOND {
                    break;
                }
            }
            assert!(ids.known().abs_diff(expected) <= 1, "{} of one in {one_in}", ids.known());
        }
    }
}
