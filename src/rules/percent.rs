//! Owns percent-decoding (RFC 3986 §2.1), where `+` is a space as in forms (WHATWG URL §5.1): of a text, and of
//! the values of a query.
//!
//! Promises: what is no escape stays as it is; a value that is no UTF-8 once it is decoded is U+FFFD as a
//! whole; never panics. Never judges what it finds.

use bumpalo::Bump;

/// The text that `input` stands for; a copy only where something is encoded.
pub fn decode_component<'a>(input: &'a str, arena: &'a Bump) -> &'a str {
    if !is_encoded(input) {
        return input;
    }
    std::str::from_utf8(decoded(input, arena).0).unwrap_or(UNREADABLE)
}

/// The parameters of a query: each one's name as it stands, and its value decoded. Empty ones are left out.
///
/// Takes as many bytes of the arena as the query has.
pub fn parameters<'a>(query: &'a str, arena: &'a Bump) -> impl Iterator<Item = (&'a str, &'a str)> {
    let mut room = arena.alloc_slice_fill_copy(query.len(), 0);
    let (bytes, mut at) = (query.as_bytes(), 0);
    std::iter::from_fn(move || {
        while bytes.get(at) == Some(&b'&') {
            at += 1;
        }
        let start = at;
        while bytes.get(at).is_some_and(|byte| !matches!(byte, b'=' | b'&')) {
            at += 1;
        }
        let name = query.get(start..at).filter(|_| start < bytes.len())?;
        let mut value = "";
        if bytes.get(at) == Some(&b'=') {
            let from = at + 1;
            let end = decode(bytes, from, b'&', room);
            at = end.at;
            if end.is_plain {
                value = query.get(from..at).unwrap_or("");
            } else {
                let decoded;
                (decoded, room) = std::mem::take(&mut room).split_at_mut_checked(end.length)?;
                value = std::str::from_utf8(decoded).unwrap_or(UNREADABLE);
            }
        }
        at += 1;
        Some((name, value))
    })
}

/// In place of what is no UTF-8.
const UNREADABLE: &str = "\u{fffd}";

/// Whether it may stand for another text.
pub fn is_encoded(input: &str) -> bool {
    let bytes = input.as_bytes();
    // A search that begins with 32 bytes at once takes longer than most values are long.
    if bytes.len() < 16 { bytes.iter().any(|byte| matches!(byte, b'%' | b'+')) } else { memchr::memchr2(b'%', b'+', bytes).is_some() }
}

/// The bytes that `input` stands for, and whether any was percent-encoded.
pub fn decoded<'a>(input: &str, arena: &'a Bump) -> (&'a [u8], bool) {
    let room = arena.alloc_slice_fill_copy(input.len(), 0);
    let length = decode(input.as_bytes(), 0, NO_BYTE, room).length;
    (room.get(..length).unwrap_or_default(), length < input.len())
}

/// Stands in no text of UTF-8 (RFC 3629 §1).
const NO_BYTE: u8 = 0xff;

/// Where decoding came to, in what it read and in what it wrote.
struct End {
    at: usize,
    length: usize,
    /// Nothing meant another.
    is_plain: bool,
}

/// Decodes from `at` on, up to the byte `stop` or to the end, into `room`.
#[inline(always)]
fn decode(bytes: &[u8], mut at: usize, stop: u8, room: &mut [u8]) -> End {
    let (mut length, mut is_plain) = (0, true);
    'text: loop {
        // Sixteen at once, of which those count that stand before one that means another.
        while let Some(sixteen) = bytes.get(at..).and_then(<[u8]>::first_chunk)
            && let Some(slots) = room.get_mut(length..).and_then(<[u8]>::first_chunk_mut)
        {
            *slots = *sixteen;
            let plain = plain_of(*sixteen, stop);
            at += plain;
            length += plain;
            if plain < sixteen.len() {
                break;
            }
        }
        // Escapes stand side by side.
        loop {
            let (Some(byte), Some(slot)) = (bytes.get(at).filter(|byte| **byte != stop), room.get_mut(length)) else { break 'text };
            is_plain &= !matches!(byte, b'%' | b'+');
            (*slot, at) = match byte {
                b'%' => bytes.get(at + 1..).and_then(escaped).map_or((b'%', at + 1), |escaped| (escaped, at + 3)),
                b'+' => (b' ', at + 1),
                _ => (*byte, at + 1),
            };
            length += 1;
            if bytes.get(at) != Some(&b'%') {
                break;
            }
        }
    }
    End { at, length, is_plain }
}

/// The byte that two hex digits stand for.
#[inline(always)]
fn escaped(digits: &[u8]) -> Option<u8> {
    let [high, low] = digits.first_chunk()?.map(|digit| u32::from(HEX[usize::from(digit)]));
    ((high | low) < 16).then_some((high << 4 | low) as u8)
}

/// How many of sixteen bytes stand before the first `%`, `+` or `stop`.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
fn plain_of(sixteen: [u8; 16], stop: u8) -> usize {
    use safe_arch::{bitor_m128i, cmp_eq_mask_i8_m128i, m128i, move_mask_i8_m128i};
    let is = |byte: u8| cmp_eq_mask_i8_m128i(m128i::from(sixteen), m128i::from([byte; 16]));
    let marks = move_mask_i8_m128i(bitor_m128i(bitor_m128i(is(b'%'), is(b'+')), is(stop)));
    marks.trailing_zeros().min(16) as usize
}

/// The same on other processors.
#[cfg(not(target_arch = "x86_64"))]
fn plain_of(sixteen: [u8; 16], stop: u8) -> usize {
    sixteen.iter().position(|byte| matches!(*byte, b'%' | b'+') || *byte == stop).unwrap_or(16)
}

/// The value of a hex digit in either case; 255 for what is none.
const HEX: [u8; 256] = {
    let mut table = [255; 256];
    let mut value = 0;
    while value < 16 {
        table[b"0123456789abcdef"[value] as usize] = value as u8;
        table[b"0123456789ABCDEF"[value] as usize] = value as u8;
        value += 1;
    }
    table
};

#[cfg(test)]
mod tests {
    use super::{decode_component, parameters};
    use bumpalo::Bump;
    use proptest::prelude::*;

    /// By another library, and by splitting first.
    fn expected(query: &str) -> Vec<(String, String)> {
        let pairs = query.split('&').filter(|pair| !pair.is_empty()).map(|pair| pair.split_once('=').unwrap_or((pair, "")));
        pairs.map(|(name, value)| (name.to_owned(), decoded_alone(value))).collect()
    }

    fn decoded_alone(value: &str) -> String {
        let spaced = value.replace('+', " ");
        percent_encoding::percent_decode_str(&spaced).decode_utf8().map_or_else(|_| "\u{fffd}".to_owned(), Into::into)
    }

    fn found(query: &str) -> Vec<(String, String)> {
        let arena = Bump::new();
        parameters(query, &arena).map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
    }

    #[test]
    fn a_value_that_is_no_utf_8_is_unreadable_and_its_neighbours_are_not_touched() {
        for query in ["a=%C3&b=%A9", "a=x&b=%C3&c=%A9y&d=%C3%A9", "a=%C3&b=x", "a=%FF&b=caf%C3%A9", "a=%E2%82&b=%AC&c=%E2%82%AC"] {
            assert_eq!(found(query), expected(query), "{query}");
        }
        assert_eq!(found("a=%C3&b=%A9&c=1").last(), Some(&("c".to_owned(), "1".to_owned())));
    }

    #[test]
    fn what_is_empty_or_cut_short() {
        for query in ["", "&", "&&a", "a", "a=", "=", "=a", "a==b", "a=b=c&", "a=%", "a=%2", "a=%2&b", "a=%%41", "a=%zz+%4a", "n%61me=1", "é=ü&+=+"] {
            assert_eq!(found(query), expected(query), "{query}");
        }
    }

    proptest! {
        #[test]
        fn parameters_are_those_of_splitting_first(pieces in prop::collection::vec(
            prop::sample::select(&["&", "=", "%", "+", "%41", "%2F", "%C3%A9", "%C3", "%a9", "é", "a", "page", "https", "12345678", "%2525", "%00"][..]), 0..40,
        )) {
            let query = pieces.concat();
            prop_assert_eq!(found(&query), expected(&query));
        }

        #[test]
        fn any_text_is_decoded_as_others_do(text in "\\PC{0,40}|[%+0-9a-f]{0,40}") {
            let arena = Bump::new();
            prop_assert_eq!(decode_component(&text, &arena), decoded_alone(&text));
        }
    }
}
