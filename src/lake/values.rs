//! Owns the values that trends count by, as texts, and where the cell of each is.
//!
//! Knows hashbrown's tables. Promises: a value is found by its text alone; the texts of all lie end to end, so that those
//! that came together lie together, and go together: what is removed leaves its text behind until then. Never counts.

use hashbrown::{DefaultHashBuilder, HashTable};
use std::hash::BuildHasher;

/// The values of a dimension in one hour of a site.
#[derive(Default)]
pub struct Values(HashTable<Value>);

/// A value: where its text lies, and its cell.
#[derive(Clone, Copy)]
pub struct Value {
    start: u32,
    length: u32,
    pub cell: u32,
}

/// The texts of values.
#[derive(Default)]
pub struct Texts {
    whole: String,
    /// Seeded anew for each; a sender who could make values collide would slow one flush of one site.
    hasher: DefaultHashBuilder,
}

impl Values {
    /// The cell of a value.
    pub fn find(&self, text: &str, texts: &Texts) -> Option<u32> {
        self.0.find(texts.hash(text), |value| texts.of(*value) == text).map(|value| value.cell)
    }

    /// Adds a value that was not found.
    pub fn add(&mut self, text: &str, cell: u32, texts: &mut Texts) {
        // Whoever adds counts the bytes, and takes all long before there are 2³².
        let (start, length) = (texts.whole.len() as u32, text.len() as u32);
        texts.whole.push_str(text);
        self.put_back(Value { start, length, cell }, texts);
    }

    /// Adds a value that was drained.
    pub fn put_back(&mut self, value: Value, texts: &Texts) {
        self.0.insert_unique(texts.hash(texts.of(value)), value, |value| texts.hash(texts.of(*value)));
    }

    /// Removes a value; its cell.
    pub fn remove(&mut self, text: &str, texts: &Texts) -> Option<u32> {
        let found = self.0.find_entry(texts.hash(text), |value| texts.of(*value) == text).ok()?;
        Some(found.remove().0.cell)
    }

    pub fn drain(&mut self) -> impl Iterator<Item = Value> {
        self.0.drain()
    }

    pub fn count(&self) -> usize {
        self.0.len()
    }
}

impl Texts {
    pub fn of(&self, value: Value) -> &str {
        let start = value.start as usize;
        self.whole.get(start..start + value.length as usize).unwrap_or_default()
    }

    fn hash(&self, text: &str) -> u64 {
        self.hasher.hash_one(text)
    }
}

#[cfg(test)]
mod tests {
    use super::{Texts, Values};

    #[test]
    fn a_value_is_found_by_its_text_until_it_is_removed() {
        let (mut values, mut texts) = (Values::default(), Texts::default());
        let text = |number: u32| format!("/{number}");
        for number in 0..5_000 {
            assert_eq!(values.find(&text(number), &texts), None);
            values.add(&text(number), number, &mut texts);
        }
        assert!((0..5_000).all(|number| values.find(&text(number), &texts) == Some(number)));
        assert_eq!([values.remove("/7", &texts), values.remove("/7", &texts), values.find("/7", &texts)], [Some(7), None, None]);
        assert_eq!((values.count(), values.find("", &texts)), (4_999, None));

        let drained: Vec<_> = values.drain().collect();
        assert_eq!((drained.len(), values.count()), (4_999, 0));
        for value in drained.iter().filter(|value| value.cell < 10) {
            assert_eq!(texts.of(*value), text(value.cell));
            values.put_back(*value, &texts);
        }
        assert_eq!((values.count(), values.find("/9", &texts), values.find("/10", &texts)), (9, Some(9), None));
        values.add("", 1, &mut texts);
        assert_eq!(values.find("", &texts), Some(1));
    }
}
