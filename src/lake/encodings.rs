//! Owns how numbers lie in a page: definition levels, numbers of a dictionary and lengths of texts (Parquet's
//! Encodings.md).
//!
//! Knows nothing of columns. Promises: what is put here is what any reader of Parquet takes out.

/// Definition levels of 0 and 1, their length before them.
pub fn put_levels(levels: &[u16], out: &mut Vec<u8>) {
    let start = out.len();
    out.extend_from_slice(&[0; 4]);
    put_hybrid(levels, 1, out);
    let length = u32::try_from(out.len() - start - 4).unwrap_or(u32::MAX);
    if let Some(head) = out.get_mut(start..start + 4) {
        head.copy_from_slice(&length.to_le_bytes());
    }
}

/// Groups of 8 in one run of packed numbers: its header then takes one byte.
const GROUPS_MAX: usize = 63;

/// Parquet's hybrid of runs and packed numbers (Encodings.md, "Run Length Encoding / Bit-Packing Hybrid"): 8 and
/// more equal numbers are a run, what lies between is packed by 8.
pub fn put_hybrid(mut numbers: &[u16], width: u32, out: &mut Vec<u8>) {
    // Where the header of the packed run being written lies, and its groups.
    let mut open: Option<(usize, usize)> = None;
    while let Some(first) = numbers.first().copied() {
        let (group, rest) = numbers.split_at(numbers.len().min(8));
        if group.len() == 8 && group.iter().all(|number| *number == first) {
            end_packed(&mut open, out);
            let more = rest.iter().position(|number| *number != first).unwrap_or(rest.len());
            put_varint(out, (8 + more) << 1);
            out.extend_from_slice(first.to_le_bytes().get(..width.div_ceil(8) as usize).unwrap_or_default());
            numbers = rest.get(more..).unwrap_or_default();
            continue;
        }
        if open.is_some_and(|(_, groups)| groups == GROUPS_MAX) {
            end_packed(&mut open, out);
        }
        let (_, groups) = open.get_or_insert_with(|| {
            out.push(0);
            (out.len() - 1, 0)
        });
        *groups += 1;
        let packed = group.iter().rev().fold(0_u128, |packed, number| packed << width | u128::from(*number)).to_le_bytes();
        out.extend_from_slice(packed.get(..width as usize).unwrap_or_default());
        numbers = rest;
    }
    end_packed(&mut open, out);
}

fn end_packed(open: &mut Option<(usize, usize)>, out: &mut [u8]) {
    if let Some((at, groups)) = open.take()
        && let Some(header) = out.get_mut(at)
    {
        *header = (groups << 1 | 1) as u8;
    }
}

/// Differences in a block and packs in it, 32 of them in each: as Parquet's writers have it.
const BLOCK: usize = 128;
const PACKS: usize = 4;

/// Lengths of texts as their differences (Encodings.md, "Delta Encoding (DELTA_BINARY_PACKED = 5)"): where all are
/// alike a block of them takes 5 bytes.
pub fn put_lengths(lengths: &[i32], out: &mut Vec<u8>) {
    put_varint(out, BLOCK);
    put_varint(out, PACKS);
    put_varint(out, lengths.len());
    put_signed(out, lengths.first().copied().unwrap_or_default());
    let mut before = lengths.first().copied().unwrap_or_default();
    for block in lengths.get(1..).unwrap_or_default().chunks(BLOCK) {
        let mut differences = [0_i32; BLOCK];
        for (difference, length) in differences.iter_mut().zip(block) {
            *difference = length.wrapping_sub(std::mem::replace(&mut before, *length));
        }
        let there = differences.get(..block.len()).unwrap_or_default();
        let least = there.iter().min().copied().unwrap_or_default();
        put_signed(out, least);
        let mut above = [0_u32; BLOCK];
        for (above, difference) in above.iter_mut().zip(there) {
            *above = difference.wrapping_sub(least).cast_unsigned();
        }
        let (packs, _) = above.as_chunks::<{ BLOCK / PACKS }>();
        let widths: [u32; PACKS] = std::array::from_fn(|pack| packs[pack].iter().map(|number| u32::BITS - number.leading_zeros()).max().unwrap_or_default());
        out.extend(widths.map(|width| width as u8));
        for (pack, width) in packs.iter().zip(widths).take(block.len().div_ceil(BLOCK / PACKS)) {
            put_packed(pack, width, out);
        }
    }
}

/// Numbers of `width` bits, the first in the least bits; as many as fill whole bytes.
fn put_packed(numbers: &[u32], width: u32, out: &mut Vec<u8>) {
    let (mut packed, mut bits) = (0_u64, 0);
    for number in numbers {
        packed |= u64::from(*number) << bits;
        bits += width;
        while bits >= 8 {
            out.push(packed as u8);
            packed >>= 8;
            bits -= 8;
        }
    }
}

/// Zigzag: what is near 0 is short, of either sign.
fn put_signed(out: &mut Vec<u8>, number: i32) {
    put_varint(out, (number << 1 ^ number >> 31).cast_unsigned() as usize);
}

fn put_varint(out: &mut Vec<u8>, mut value: usize) {
    while value >= 0x80 {
        out.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

#[cfg(test)]
mod tests {
    use super::{put_hybrid, put_lengths};
    use proptest::prelude::*;

    /// LEB128.
    fn take_varint(bytes: &mut &[u8]) -> u64 {
        let (mut number, mut shift) = (0, 0);
        loop {
            let (byte, rest) = bytes.split_first().unwrap();
            *bytes = rest;
            number |= u64::from(byte & 0x7f) << shift;
            shift += 7;
            if byte & 0x80 == 0 {
                return number;
            }
        }
    }

    /// Number `at` of those packed in `width` bits each.
    fn unpacked(bytes: &[u8], width: usize, at: usize) -> u64 {
        (0..width).fold(0, |number, bit| number | u64::from(bytes[(at * width + bit) / 8] >> ((at * width + bit) % 8) & 1) << bit)
    }

    /// As Encodings.md has it: runs and packed groups of 8, until there are `count`.
    fn read_hybrid(mut bytes: &[u8], width: u32, count: usize) -> Vec<u16> {
        let mut numbers = Vec::new();
        while numbers.len() < count {
            let header = take_varint(&mut bytes) as usize;
            if header & 1 == 0 {
                let length = width.div_ceil(8) as usize;
                let number = bytes[..length].iter().rev().fold(0, |number, byte| number << 8 | u16::from(*byte));
                bytes = &bytes[length..];
                numbers.extend(std::iter::repeat_n(number, header >> 1));
            } else {
                for _ in 0..header >> 1 {
                    numbers.extend((0..8).map(|at| unpacked(bytes, width as usize, at) as u16));
                    bytes = &bytes[width as usize..];
                }
            }
        }
        assert!(bytes.is_empty());
        numbers.truncate(count);
        numbers
    }

    /// As Encodings.md has it: blocks of packs of differences above the block's least.
    fn read_lengths(mut bytes: &[u8]) -> Vec<i32> {
        let signed = |bytes: &mut &[u8]| {
            let zigzag = take_varint(bytes);
            (zigzag >> 1) as i64 ^ -((zigzag & 1) as i64)
        };
        let (block, packs, count) = (take_varint(&mut bytes) as usize, take_varint(&mut bytes) as usize, take_varint(&mut bytes) as usize);
        let mut last = signed(&mut bytes);
        let mut lengths = if count == 0 { Vec::new() } else { vec![last as i32] };
        while lengths.len() < count {
            let least = signed(&mut bytes);
            let (widths, rest) = bytes.split_at(packs);
            bytes = rest;
            for width in widths {
                if lengths.len() == count {
                    break;
                }
                let (width, in_pack) = (usize::from(*width), block / packs);
                for at in 0..in_pack.min(count - lengths.len()) {
                    last += least + unpacked(bytes, width, at) as i64;
                    lengths.push(last as i32);
                }
                bytes = &bytes[width * in_pack / 8..];
            }
        }
        assert!(bytes.is_empty());
        lengths
    }

    #[test]
    fn lengths_that_are_alike_take_next_to_nothing() {
        let mut bytes = Vec::new();
        put_lengths(&[32; 20_000], &mut bytes);
        assert_eq!(read_lengths(&bytes), [32; 20_000]);
        assert!(bytes.len() <= 5 * 20_000 / 128 + 12, "{}", bytes.len());
    }

    proptest! {
        #[test]
        fn lengths_are_read_back(lengths in proptest::collection::vec(prop_oneof![0..50_i32, 0..5_000_i32, 0..=i32::MAX], 0..700)) {
            let mut bytes = Vec::new();
            put_lengths(&lengths, &mut bytes);
            prop_assert_eq!(read_lengths(&bytes), lengths);
        }

        #[test]
        fn numbers_are_read_back(runs in proptest::collection::vec((any::<u16>(), 1_usize..30), 0..200), width in 0_u32..=16) {
            let mask = ((1_u32 << width) - 1) as u16;
            let numbers: Vec<u16> = runs.iter().flat_map(|(number, length)| std::iter::repeat_n(number & mask, if length % 3 == 0 { *length } else { 1 })).collect();
            let mut bytes = Vec::new();
            put_hybrid(&numbers, width, &mut bytes);
            prop_assert_eq!(read_hybrid(&bytes, width, numbers.len()), numbers);
        }
    }
}
