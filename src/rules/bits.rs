//! Owns reading bits out of the IAB's texts: base64url without padding, six bits a character, most
//! significant first.
//!
//! Promises: nothing is copied and nothing is expanded: a field is read where it stands; reading past the
//! end is `None`. Ranges are walked, never listed: a set of 65,535 vendors costs no memory.

/// A text of six-bit characters.
#[derive(Debug, Clone, Copy)]
pub struct Bits<'a>(&'a [u8]);

impl<'a> Bits<'a> {
    /// Takes the text if every character is of the alphabet (RFC 4648 §5).
    pub fn new(text: &'a str) -> Option<Self> {
        text.bytes().all(|byte| six_bits(byte).is_some()).then_some(Self(text.as_bytes()))
    }

    /// The `length` bits (64 at most) at `offset`.
    pub fn int(&self, offset: usize, length: usize) -> Option<u64> {
        let mut value = 0_u64;
        let (mut at, end) = (offset, offset.checked_add(length)?);
        while at < end {
            let six = six_bits(*self.0.get(at / 6)?)?;
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
        self.0.len() * 6
    }

    /// A Fibonacci-coded number (at least 1) at `offset`, and where it ends (GPP, "Fibonacci Coding").
    pub fn fibonacci(&self, offset: usize) -> Option<(u32, usize)> {
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

/// A set of ids at most 65,535, where it stands in the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IdSet {
    /// Bit `id - 1` behind `offset`, for ids up to `most`.
    Field { offset: usize, most: u16 },
    /// `count` entries `[is a range 1][first 16]([last 16])` from `offset`.
    Ranges { offset: usize, count: u16 },
}

impl IdSet {
    /// Reads `[most 16][is ranges 1]` and what follows; also where it ends. A range that runs backwards, or
    /// past `most`, is malformed.
    pub fn read(bits: &Bits<'_>, offset: usize) -> Option<(Self, usize)> {
        let most = u16::try_from(bits.int(offset, 16)?).ok()?;
        if bits.flag(offset + 16)? {
            return Self::read_ranges(bits, offset + 17, most);
        }
        let set = Self::Field { offset: offset + 17, most };
        let end = offset + 17 + usize::from(most);
        (end <= bits.length()).then_some((set, end))
    }

    /// Reads `[count 12]` entries, ids up to `most`.
    pub fn read_ranges(bits: &Bits<'_>, offset: usize, most: u16) -> Option<(Self, usize)> {
        let count = u16::try_from(bits.int(offset, 12)?).ok()?;
        let set = Self::Ranges { offset: offset + 12, count };
        let mut at = offset + 12;
        for _ in 0..count {
            let (first, last, next) = entry(bits, at)?;
            if first == 0 || first > last || last > most {
                return None;
            }
            at = next;
        }
        Some((set, at))
    }

    pub fn contains(&self, bits: &Bits<'_>, id: u16) -> bool {
        match *self {
            Self::Field { offset, most } => (1..=most).contains(&id) && bits.flag(offset + usize::from(id) - 1) == Some(true),
            Self::Ranges { offset, count } => {
                let mut at = offset;
                for _ in 0..count {
                    let Some((first, last, next)) = entry(bits, at) else { return false };
                    if (first..=last).contains(&id) {
                        return true;
                    }
                    at = next;
                }
                false
            }
        }
    }
}

fn entry(bits: &Bits<'_>, at: usize) -> Option<(u16, u16, usize)> {
    let id = |at| bits.int(at, 16).and_then(|id| u16::try_from(id).ok());
    let first = id(at + 1)?;
    if bits.flag(at)? { Some((first, id(at + 17)?, at + 33)) } else { Some((first, first, at + 17)) }
}

#[cfg(test)]
mod tests {
    use super::{Bits, IdSet};
    use proptest::prelude::*;

    #[test]
    fn bits_and_fibonacci_numbers() {
        let bits = Bits::new("DBABMA").unwrap();
        assert_eq!((bits.int(0, 6), bits.int(6, 6), bits.int(12, 12)), (Some(3), Some(1), Some(1)));
        assert_eq!(bits.fibonacci(25), Some((2, 28)));
        assert_eq!(bits.int(30, 7), None);
        assert!(Bits::new("DB+A").is_none());
    }

    proptest! {
        #[test]
        fn any_text_is_read_within_its_bounds(text in "[A-Za-z0-9_-]{0,60}", offset in 0_usize..500, length in 0_usize..65, id: u16) {
            let bits = Bits::new(&text).unwrap();
            prop_assert_eq!(bits.int(offset, length).is_some(), offset + length <= text.len() * 6 || length == 0);
            bits.fibonacci(offset);
            if let Some((set, _)) = IdSet::read(&bits, offset) {
                set.contains(&bits, id);
            }
        }
    }
}
