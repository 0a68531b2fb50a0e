//! Owns reading bits out of the IAB's texts: base64url without padding, six bits a character, most
//! significant first.
//!
//! Promises: nothing is copied and nothing is expanded: a field is read where it stands; reading past the
//! end is `None`. Ranges are walked, never listed: a set of 65,535 vendors costs no memory.

/// A text of six-bit characters, read from its bit `start` on.
#[derive(Debug, Clone, Copy)]
pub struct Bits<'a> {
    text: &'a [u8],
    start: usize,
}

impl<'a> Bits<'a> {
    /// Takes the text if every character is of the alphabet (RFC 4648 §5).
    pub fn new(text: &'a str) -> Option<Self> {
        text.bytes().all(|byte| six_bits(byte).is_some()).then_some(Self { text: text.as_bytes(), start: 0 })
    }

    /// The same text behind its first `bits`.
    pub fn skip(self, bits: usize) -> Option<Self> {
        (bits <= self.length()).then_some(Self { text: self.text, start: self.start + bits })
    }

    /// The `length` bits (64 at most) at `offset`.
    pub fn int(&self, offset: usize, length: usize) -> Option<u64> {
        let mut value = 0_u64;
        let mut at = self.start.checked_add(offset)?;
        let end = at.checked_add(length)?;
        while at < end {
            let six = six_bits(*self.text.get(at / 6)?)?;
            let take = (6 - at % 6).min(end - at);
            let shifted = (six >> (6 - at % 6 - take)) & ((1 << take) - 1);
            value = (value << take) | u64::from(shifted);
            at += take;
        }
        Some(value)
    }

    pub fn flag(&self, offset: usize) -> Option<bool> {
        self.int(offset, 1).map(|bit| bit == 1)
    }

    pub const fn length(&self) -> usize {
        self.text.len() * 6 - self.start
    }

    /// A Fibonacci-coded number (at least 1) at `offset`, and where it ends (GPP, "Fibonacci Coding").
    fn fibonacci(&self, offset: usize) -> Option<(u32, usize)> {
        let (mut sum, mut low, mut high, mut before) = (0_u32, 1_u32, 2_u32, false);
        // 24 terms reach 121,392, beyond any id: a longer code is malformed.
        for at in offset..offset + 25 {
            let bit = self.flag(at)?;
            if bit && before {
                return Some((sum, at + 1));
            }
            if bit {
                sum = sum.checked_add(low)?;
            }
            (low, high) = (high, low + high);
            before = bit;
        }
        None
    }
}

const fn six_bits(byte: u8) -> Option<u8> {
    match byte {
        b'A'..=b'Z' => Some(byte - b'A'),
        b'a'..=b'z' => Some(byte - b'a' + 26),
        b'0'..=b'9' => Some(byte - b'0' + 52),
        b'-' => Some(62),
        b'_' => Some(63),
        _ => None,
    }
}

/// A field of a segment: `count` numbers of `length` bits each, one behind the other from bit `offset`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Field {
    /// As its specification writes it.
    pub name: &'static str,
    pub offset: usize,
    pub length: usize,
    pub count: usize,
}

impl Field {
    /// Its number at `index`.
    pub fn at(&self, bits: &Bits<'_>, index: usize) -> Option<u64> {
        if index < self.count { bits.int(self.offset + index * self.length, self.length) } else { None }
    }

    /// Its number, or the first of several.
    pub fn int(&self, bits: &Bits<'_>) -> Option<u64> {
        self.at(bits, 0)
    }

    /// Whether its bit for `id`, counted from 1, is set.
    pub fn has(&self, bits: &Bits<'_>, id: u8) -> bool {
        usize::from(id).checked_sub(1).and_then(|index| self.at(bits, index)) == Some(1)
    }

    pub const fn end(&self) -> usize {
        self.offset + self.length * self.count
    }
}

/// A segment's layout, one field a line: its constant, its name, offset and length in bits, how many numbers.
/// Makes a constant of each field, and a list of them all.
macro_rules! layout {
    ($(#[$doc:meta])* $list:ident: $($field:ident $name:literal $offset:literal $length:literal $count:literal;)+) => {
        $(const $field: Field = Field { name: $name, offset: $offset, length: $length, count: $count };)+
        $(#[$doc])*
        pub const $list: &[Field] = &[$($field),+];
    };
}
pub(crate) use layout;

/// How a set of ids is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Coding {
    /// A bit for each id, from 1.
    Field,
    /// Entries `[is a range 1][first 16]([last 16])`: the TCF's range.
    Fixed,
    /// Entries `[is a range 1][first][last]`, Fibonacci-coded, `first` less the last id before it, `last` less
    /// `first`: the GPP's range.
    Fibonacci,
}

/// A set of ids at most 65,535, where it stands in the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IdSet {
    coding: Coding,
    /// Where its bits or entries begin, and how many they are.
    offset: usize,
    count: u16,
}

impl IdSet {
    /// Reads `[most 16][is ranges 1]` and what follows; also where it ends. A range that runs backwards, or
    /// past `most`, is malformed.
    pub fn read(bits: &Bits<'_>, offset: usize, ranges: Coding) -> Option<(Self, usize)> {
        let most = u16::try_from(bits.int(offset, 16)?).ok()?;
        if bits.flag(offset + 16)? {
            return Self::read_ranges(bits, offset + 17, most, ranges);
        }
        let end = offset + 17 + usize::from(most);
        (end <= bits.length()).then_some((Self { coding: Coding::Field, offset: offset + 17, count: most }, end))
    }

    /// Reads `[count 12]` entries, ids up to `most`; also where they end.
    pub fn read_ranges(bits: &Bits<'_>, offset: usize, most: u16, coding: Coding) -> Option<(Self, usize)> {
        let set = Self { coding, offset: offset + 12, count: u16::try_from(bits.int(offset, 12)?).ok()? };
        let mut ranges = set.ranges(*bits);
        for range in ranges.by_ref() {
            if range?.1 > most {
                return None;
            }
        }
        Some((set, ranges.at))
    }

    pub fn contains(&self, bits: &Bits<'_>, id: u16) -> bool {
        match self.coding {
            Coding::Field => (1..=self.count).contains(&id) && bits.flag(self.offset + usize::from(id) - 1) == Some(true),
            Coding::Fixed | Coding::Fibonacci => self.ranges(*bits).any(|range| range.is_some_and(|(first, last)| (first..=last).contains(&id))),
        }
    }

    /// Its ranges of ids, first and last, as they were written; `None` where one is malformed, and no more then.
    pub const fn ranges<'a>(&self, bits: Bits<'a>) -> Ranges<'a> {
        Ranges { bits, coding: self.coding, at: self.offset, left: self.count, last: 0 }
    }
}

/// Walks an `IdSet`.
pub struct Ranges<'a> {
    bits: Bits<'a>,
    coding: Coding,
    at: usize,
    left: u16,
    last: u16,
}

impl Iterator for Ranges<'_> {
    type Item = Option<(u16, u16)>;

    fn next(&mut self) -> Option<Self::Item> {
        while self.left > 0 {
            self.left -= 1;
            let range = self.entry();
            match range {
                // An id whose bit is not set.
                Some((0, _)) => {}
                Some((first, last)) if first <= last => return Some(range),
                Some(_) | None => {
                    self.left = 0;
                    return Some(None);
                }
            }
        }
        None
    }
}

impl Ranges<'_> {
    fn entry(&mut self) -> Option<(u16, u16)> {
        let is_set = self.bits.flag(self.at)?;
        self.at += 1;
        match self.coding {
            Coding::Field => {
                self.last += 1;
                Some(if is_set { (self.last, self.last) } else { (0, 0) })
            }
            Coding::Fixed => {
                let first = self.fixed()?;
                let last = if is_set { self.fixed()? } else { first };
                // There is no id 0: told as a range that runs backwards.
                Some(if first == 0 { (1, 0) } else { (first, last) })
            }
            Coding::Fibonacci => {
                let first = self.behind_last()?;
                Some((first, if is_set { self.behind_last()? } else { first }))
            }
        }
    }

    fn fixed(&mut self) -> Option<u16> {
        let id = self.bits.int(self.at, 16)?;
        self.at += 16;
        u16::try_from(id).ok()
    }

    fn behind_last(&mut self) -> Option<u16> {
        let (step, next) = self.bits.fibonacci(self.at)?;
        self.at = next;
        self.last = u16::try_from(u32::from(self.last) + step).ok()?;
        Some(self.last)
    }
}

/// A text of the bits given, filled up with zeros; spaces are left out.
#[cfg(test)]
pub fn text_of(bits: &str) -> String {
    const ALPHABET: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let bits: Vec<usize> = bits.bytes().filter(|bit| *bit != b' ').map(|bit| usize::from(bit == b'1')).collect();
    let six = |chunk: &[usize]| (0..6).fold(0, |sum, at| sum * 2 + chunk.get(at).unwrap_or(&0));
    bits.chunks(6).map(|chunk| char::from(ALPHABET[six(chunk)])).collect()
}

#[cfg(test)]
mod tests {
    use super::{Bits, Coding, IdSet, text_of};
    use proptest::prelude::*;

    #[test]
    fn bits_and_fibonacci_numbers() {
        let bits = Bits::new("DBABMA").unwrap();
        assert_eq!((bits.int(0, 6), bits.int(6, 6), bits.int(12, 12)), (Some(3), Some(1), Some(1)));
        assert_eq!(bits.fibonacci(25), Some((2, 28)));
        assert_eq!(bits.int(30, 7), None);
        assert_eq!(bits.skip(6).unwrap().int(0, 6), Some(1));
        assert!(bits.skip(37).is_none());
        assert!(Bits::new("DB+A").is_none());
    }

    #[test]
    fn the_three_ways_to_write_a_set() {
        let sixteen = |id: u16| format!("{id:016b}");
        let fixed = format!("{} 1 000000000010 0 {} 1 {} {}", sixteen(9), sixteen(2), sixteen(5), sixteen(9));
        let field = format!("{} 0 010011111", sixteen(9));
        // 2, then 3 further, and 4 further: 011, 0011, 1011.
        let fibonacci = format!("{} 1 000000000010 0 011 1 0011 1011", sixteen(9));
        for (written, coding) in [(&fixed, Coding::Fixed), (&field, Coding::Fixed), (&field, Coding::Fibonacci), (&fibonacci, Coding::Fibonacci)] {
            let text = text_of(written);
            let bits = Bits::new(&text).unwrap();
            let (set, end) = IdSet::read(&bits, 0, coding).unwrap();
            assert_eq!(end, written.replace(' ', "").len());
            let ids: Vec<u16> = set.ranges(bits).flat_map(|range| { let (first, last) = range.unwrap(); first..=last }).collect();
            assert_eq!(ids, [2, 5, 6, 7, 8, 9], "{written}");
            assert!((0..20).all(|id| set.contains(&bits, id) == ids.contains(&id)));
        }
    }

    #[test]
    fn ranges_that_are_malformed() {
        let sixteen = |id: u16| format!("{id:016b}");
        for entry in [
            format!("0 {}", sixteen(0)),
            format!("0 {}", sixteen(10)),
            format!("1 {} {}", sixteen(5), sixteen(4)),
            format!("1 {} {}", sixteen(0), sixteen(4)),
            format!("1 {}", sixteen(5)),
        ] {
            let text = text_of(&format!("{} 1 000000000001 {entry}", sixteen(9)));
            assert!(IdSet::read(&Bits::new(&text).unwrap(), 0, Coding::Fixed).is_none(), "{entry}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read_within_its_bounds(text in "[A-Za-z0-9_-]{0,60}", offset in 0_usize..500, length in 0_usize..65, id: u16, fibonacci: bool) {
            let bits = Bits::new(&text).unwrap();
            prop_assert_eq!(bits.int(offset, length).is_some(), offset + length <= text.len() * 6 || length == 0);
            bits.fibonacci(offset);
            if let Some((set, end)) = IdSet::read(&bits, offset, if fibonacci { Coding::Fibonacci } else { Coding::Fixed }) {
                prop_assert!(end <= bits.length());
                prop_assert_eq!(set.contains(&bits, id), set.ranges(bits).any(|range| { let (first, last) = range.unwrap(); (first..=last).contains(&id) }));
            }
        }
    }
}
