//! Owns the numbers by which a row group's texts are known while it is gathered.
//!
//! A text is hashed once, where its row is taken; the pages of its column and the cells of trends work with
//! its number. Promises: a number means one text for one row group and nothing beyond it (`Ids::epoch`), so no
//! file's dictionary holds what no row of it has. Limits: 1 MiB and 65,534 texts a column, 24 columns: 24 MiB of
//! texts and 43 MiB of tables at the very most for a day being loaded; what comes after is `BEYOND`.

use crate::hit::field::Id;
use crate::hit::record::{Record, Text};
use hashbrown::{DefaultHashBuilder, HashMap, HashTable};
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
    /// Seeded anew for each; a sender who could make texts collide would slow one flush.
    table: HashTable<Entry>,
    hasher: DefaultHashBuilder,
    /// The texts as Parquet's plain encoding has them: length (u32, little-endian), bytes.
    plain: Vec<u8>,
    count: u16,
}

#[derive(Clone, Copy)]
struct Entry {
    start: u32,
    length: u32,
    id: u16,
}

impl Vocabulary {
    /// The number of `text`, or `BEYOND`.
    pub fn id(&mut self, text: &str) -> u16 {
        let text = text.as_bytes();
        let hash = hashed(&self.hasher, text);
        if let Some(entry) = self.table.find(hash, |entry| is_same(bytes_of(&self.plain, *entry), text)) {
            return entry.id;
        }
        self.add(hash, text)
    }

    #[cold]
    fn add(&mut self, hash: u64, text: &[u8]) -> u16 {
        let (Ok(length), Ok(start)) = (u32::try_from(text.len()), u32::try_from(self.plain.len() + 4)) else { return BEYOND };
        if self.count == BEYOND || self.plain.len() + 4 + text.len() > DICTIONARY_BYTES_MAX {
            return BEYOND;
        }
        self.plain.extend_from_slice(&length.to_le_bytes());
        self.plain.extend_from_slice(text);
        let (entry, hasher, plain) = (Entry { start, length, id: self.count }, &self.hasher, &self.plain);
        self.table.insert_unique(hash, entry, |entry| hashed(hasher, bytes_of(plain, *entry)));
        self.count += 1;
        entry.id
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
        let texts = || self.table.iter().map(|entry| bytes_of(&self.plain, *entry));
        Some((texts().min()?, texts().max()?))
    }
}

fn bytes_of(plain: &[u8], entry: Entry) -> &[u8] {
    plain.get(entry.start as usize..entry.start as usize + entry.length as usize).unwrap_or_default()
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

fn hashed(hasher: &DefaultHashBuilder, bytes: &[u8]) -> u64 {
    let mut hash = hasher.build_hasher();
    hash.write(bytes);
    hash.finish()
}

/// Ids of a column, numbered like texts: 29,127 fit.
#[derive(Default)]
pub struct IdVocabulary {
    numbers: HashMap<Id, u16>,
    plain: Vec<u8>,
}

impl IdVocabulary {
    pub fn id(&mut self, id: Id) -> u16 {
        if self.plain.len() + 36 > DICTIONARY_BYTES_MAX {
            return self.numbers.get(&id).copied().unwrap_or(BEYOND);
        }
        let next = self.numbers.len() as u16;
        let plain = &mut self.plain;
        *self.numbers.entry(id).or_insert_with(|| {
            plain.extend_from_slice(&32_u32.to_le_bytes());
            plain.extend_from_slice(&id.digits());
            next
        })
    }

    pub fn plain(&self) -> &[u8] {
        &self.plain
    }

    pub fn known(&self) -> usize {
        self.numbers.len()
    }

    pub fn all(&self) -> impl ExactSizeIterator<Item = &Id> {
        self.numbers.keys()
    }
}

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

    /// The word of `record`, and its place in its list.
    pub const fn of(self, record: &Record<'_>) -> (u8, &'static str) {
        match self {
            Self::Channel => (record.channel.index(), record.channel.name()),
            Self::Medium => (record.medium.index(), record.medium.name()),
            Self::Device => (record.device.index(), record.device.name()),
            Self::Regime => (record.regime.index(), record.regime.name()),
            Self::Basis => (record.basis.index(), record.basis.name()),
            Self::ConsentSource => (record.consent_source.index(), record.consent_source.name()),
            Self::Protocol => (record.protocol.index(), record.protocol.name()),
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
        for (at, ((id, text), vocabulary)) in ids.texts.iter_mut().zip(record.texts).zip(&mut self.texts).enumerate() {
            if at == Text::EventId as usize {
                *id = BEYOND;
            } else if !text.is_empty() || at == Text::Site as usize || at == Text::Event as usize {
                *id = vocabulary.id(text);
            }
        }
        for ((id, word), (known, vocabulary)) in ids.words.iter_mut().zip(Word::ALL).zip(self.known.iter_mut().zip(&mut self.words)) {
            let (index, name) = word.of(record);
            *id = match known.get_mut(usize::from(index)) {
                Some(known) => {
                    if *known == NONE {
                        *known = vocabulary.id(name);
                    }
                    *known
                }
                None => vocabulary.id(name),
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
    use super::{BEYOND, DICTIONARY_BYTES_MAX, IdVocabulary, Vocabulary};
    use crate::hit::field::Id;

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
        for number in 0..30_000 {
            let expected = if number < 29_127 { number as u16 } else { BEYOND };
            assert_eq!((ids.id(id(number)), ids.id(id(number))), (expected, expected));
        }
        assert_eq!((ids.known(), ids.all().len(), ids.plain().len()), (29_127, 29_127, 29_127 * 36));
    }
}
