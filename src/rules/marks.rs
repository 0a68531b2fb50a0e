//! Owns marks: which of 64 bytes side by side are letters, digits and signs that join them, each kind as the bits of
//! one word, the first byte's the least.
//!
//! Knows eight bytes as one number (no byte's sum reaches the next). Promises for every byte what
//! `u8::is_ascii_alphabetic` and its like say of it, and that what is asked of neighbours is asked of all of them.
//! Without a branch for each byte: which byte of an identifier is a letter nobody could foretell.

/// What up to 64 bytes are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Marks {
    pub letters: u64,
    pub digits: u64,
    /// `-`, `.` and `_`
    pub joints: u64,
    /// Those that are there.
    pub all: u64,
}

/// Windows along a text, each with where it begins: any `together` bytes side by side lie in one of them.
#[inline(always)]
pub fn along(bytes: &[u8], together: usize) -> impl Iterator<Item = (usize, Marks)> {
    let mut from = 0;
    std::iter::from_fn(move || {
        let window = bytes.get(from..).filter(|window| from == 0 || window.len() >= together)?;
        let at = from;
        from += WIDTH + 1 - together;
        Some((at, Marks::of(window)))
    })
}

const WIDTH: usize = u64::BITS as usize;

impl Marks {
    /// Of the first 64 bytes, or of as many as there are.
    #[inline(always)]
    fn of(bytes: &[u8]) -> Self {
        let mut marks = Self::default();
        let (eights, rest) = bytes.get(..WIDTH).unwrap_or(bytes).as_chunks::<8>();
        for (at, eight) in eights.iter().enumerate() {
            marks.add(8 * at, u64::from_le_bytes(*eight));
        }
        if !rest.is_empty() {
            // A byte of zero is of no kind.
            let mut last = [0; 8];
            last.iter_mut().zip(rest).for_each(|(slot, byte)| *slot = *byte);
            marks.add(8 * eights.len(), u64::from_le_bytes(last));
        }
        marks.all = u64::MAX.checked_shr(WIDTH.saturating_sub(bytes.len()) as u32).unwrap_or(0);
        marks
    }

    #[inline(always)]
    fn add(&mut self, at: usize, eight: u64) {
        self.letters |= gathered(between(eight | BLANKS, b'a', b'z')) << at;
        self.digits |= gathered(between(eight, b'0', b'9')) << at;
        self.joints |= gathered(between(eight, b'-', b'.') | between(eight, b'_', b'_')) << at;
    }
}

/// Where so many marks in a row begin.
#[inline(always)]
pub fn rows(marks: u64, length: usize) -> u64 {
    let (mut rows, mut known) = (marks, 1);
    while known < length {
        let more = known.min(length - known);
        rows &= rows >> more;
        known += more;
    }
    rows
}

const ONES: u64 = u64::from_ne_bytes([1; 8]);
const HIGHS: u64 = ONES << 7;
const BLANKS: u64 = ONES << 5;

/// The highest bit of each of eight bytes that lies between two of ASCII.
#[inline(always)]
const fn between(eight: u64, first: u8, last: u8) -> u64 {
    let low = eight & !HIGHS;
    let from_first = low + ONES * (0x80 - first) as u64;
    let behind_last = low + ONES * (0x7f - last) as u64;
    from_first & !behind_last & !eight & HIGHS
}

/// Eight highest bits as one byte.
#[inline(always)]
const fn gathered(highs: u64) -> u64 {
    (highs >> 7).wrapping_mul(0x0102_0408_1020_4080) >> 56
}

#[cfg(test)]
mod tests {
    use super::{Marks, WIDTH, along, rows};
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn each_byte_is_what_it_is_said_to_be(bytes in prop::collection::vec(prop_oneof![any::<u8>(), 0x20..0x7f_u8], 0..100)) {
            let marks = Marks::of(&bytes);
            let there = &bytes[..bytes.len().min(WIDTH)];
            let marked = |is_it: fn(&u8) -> bool| there.iter().enumerate().fold(0, |marks, (at, byte)| marks | u64::from(is_it(byte)) << at);
            prop_assert_eq!(marks, Marks {
                letters: marked(u8::is_ascii_alphabetic),
                digits: marked(u8::is_ascii_digit),
                joints: marked(|byte| matches!(byte, b'-' | b'.' | b'_')),
                all: marked(|_| true),
            });
        }

        #[test]
        fn windows_hold_all_neighbours(length in 0_usize..300, together in 1_usize..=64) {
            let bytes = vec![b'a'; length];
            let windows: Vec<(usize, Marks)> = along(&bytes, together).collect();
            prop_assert!(windows.iter().all(|(at, marks)| marks.letters == marks.all && marks.all.count_ones() as usize == (length - at).min(WIDTH)));
            for at in 0..(length + 1).saturating_sub(together) {
                prop_assert!(windows.iter().any(|(from, _)| *from <= at && at + together <= from + WIDTH), "{}", at);
            }
        }

        #[test]
        fn rows_begin_where_so_many_follow(marks: u64, dense: u64, length in 1_usize..=64) {
            for marks in [marks, marks | dense, !(marks & dense), u64::MAX] {
                let is_marked = |at: usize| at < WIDTH && marks >> at & 1 == 1;
                let expected = (0..WIDTH).filter(|at| (0..length).all(|more| is_marked(at + more))).fold(0, |rows, at| rows | 1 << at);
                prop_assert_eq!(rows(marks, length), expected);
            }
        }
    }
}
