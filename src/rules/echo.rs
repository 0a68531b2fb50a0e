//! Owns what of a request itself must not come back in a field of it: its user agent, and the values of its cookies.
//!
//! Promises: finds each wherever it stands in a text, byte for byte; looks at one place in seven, and closer only
//! where something may begin; is bounded for a whole request, however many cookies it was made to carry. Never keeps
//! what it looks for beyond the request.

use bumpalo::Bump;
use std::cell::Cell;

/// What of the request itself must not come back inside a field.
#[derive(Clone, Copy)]
pub struct Echo<'a> {
    /// The user agent, and the values of the cookies by their first eight bytes: each has as many or more.
    agent: Option<&'a [u8]>,
    values: &'a [&'a [u8]],
    /// The length of the shortest of them: most texts are shorter.
    shortest: usize,
    /// One bit for each two bytes side by side among the first eight of each: most places of a text are passed by
    /// this alone.
    pairs: &'a Pairs,
    /// So much may yet be compared.
    left: Option<&'a Cell<usize>>,
}

/// What of a request may be compared with what it carries, in places of a text and eights of bytes. A page of 2 KiB
/// beside a hundred cookies takes a fiftieth of it. What takes more was made to, and counts as an echo: 3 ms after
/// it came, with 2,600 cookies of which each comparison halves the list eleven times (docs/decisions/0047).
const COMPARISONS_MAX: usize = 1 << 17;

/// 1,024 bits: of five needles with 7 pairs each 35 are set, so that one place in 29 is looked at in vain.
type Pairs = [u64; 16];
static NO_PAIRS: Pairs = [0; 16];

/// Where eight bytes stand in a text, one of their seven pairs begins at a multiple of seven.
const STRIDE: usize = NEEDLE_LENGTH_MIN - 1;
const NEEDLE_LENGTH_MIN: usize = 8;

/// Nothing.
impl Default for Echo<'_> {
    fn default() -> Self {
        Self { agent: None, values: &[], shortest: usize::MAX, pairs: &NO_PAIRS, left: None }
    }
}

impl<'a> Echo<'a> {
    /// Of the `User-Agent` header and the `Cookie` headers. Short ones (flags, counters, language codes)
    /// stand in honest texts by chance.
    pub fn of(user_agent: &'a [u8], cookies: &'a [&'a [u8]], arena: &'a Bump) -> Self {
        let mut gathered = bumpalo::collections::Vec::new_in(arena);
        for header in cookies {
            let mut at = 0;
            while at <= header.len() {
                let rest = header.get(at..).unwrap_or_default();
                let pair = rest.get(..memchr::memchr(b';', rest).unwrap_or(rest.len())).unwrap_or_default();
                at += pair.len() + 1;
                let value = memchr::memchr(b'=', pair).and_then(|end| pair.get(end + 1..)).unwrap_or(pair);
                if value.len() >= NEEDLE_LENGTH_MIN {
                    gathered.push(value);
                }
            }
        }
        gathered.sort_unstable_by_key(|value| head_of(value));
        let mut echo = Self { agent: Some(user_agent).filter(|agent| agent.len() >= 12), values: gathered.into_bump_slice(), ..Self::default() };
        let pairs = arena.alloc(NO_PAIRS);
        for needle in echo.agent.iter().chain(echo.values) {
            echo.shortest = echo.shortest.min(needle.len());
            for pair in needle.windows(2).take(STRIDE) {
                let bit = bit_of(pair[0], pair[1]);
                pairs[bit / 64] |= 1 << (bit % 64);
            }
        }
        Self { pairs, left: Some(arena.alloc(Cell::new(COMPARISONS_MAX))), ..echo }
    }

    /// Whether a text of so many bytes, however it is decoded, has no room for any of them: decoded it has
    /// fewer bytes or as many.
    pub const fn is_longer_than(&self, text: &str) -> bool {
        text.len() < self.shortest
    }

    /// Whether a needle is the user agent.
    pub fn is_agent(&self, needle: &[u8]) -> bool {
        self.agent == Some(needle)
    }

    /// Whether one of the needles for which `is_asked` stands in `hay`.
    pub fn stands_in(&self, hay: &[u8], is_asked: impl Fn(&[u8]) -> bool) -> bool {
        hay.len() >= self.shortest
            && hay.windows(2).enumerate().step_by(STRIDE).any(|(at, pair)| {
                let bit = bit_of(pair[0], pair[1]);
                self.pairs[bit / 64] >> (bit % 64) & 1 == 1 && self.begins_around(at, hay, &is_asked)
            })
    }

    /// Whether one of the needles begins where its first eight bytes have a pair at `at`.
    #[inline(never)]
    fn begins_around(&self, at: usize, hay: &[u8], is_asked: impl Fn(&[u8]) -> bool) -> bool {
        if !self.may_compare(STRIDE) {
            return true;
        }
        (at.saturating_sub(STRIDE - 1)..=at).filter_map(|start| hay.get(start..)).any(|rest| {
            let head = head_of(rest);
            let first = self.values.partition_point(|value| head_of(value) < head);
            let alike = self.values.iter().skip(first).take_while(|value| head_of(value) == head);
            alike.chain(&self.agent).any(|needle| {
                head_of(needle) == head && (!self.may_compare(1 + needle.len() / 8) || (rest.starts_with(needle) && is_asked(needle)))
            })
        })
    }

    /// Takes `count` comparisons off what is left; whether there were as many.
    fn may_compare(&self, count: usize) -> bool {
        let Some(left) = self.left else { return true };
        let is_enough = left.get() >= count;
        left.set(left.get().saturating_sub(count));
        is_enough
    }
}

/// The first eight bytes as a number; 0 for what is shorter, as no needle is.
fn head_of(bytes: &[u8]) -> u64 {
    bytes.first_chunk().map_or(0, |head| u64::from_be_bytes(*head))
}

/// The low five bits of each, by which letters differ; the upper three of the second as well.
const fn bit_of(first: u8, second: u8) -> usize {
    ((first as usize) << 5 ^ second as usize) & 1_023
}

#[cfg(test)]
mod tests {
    use super::{COMPARISONS_MAX, Echo};
    use bumpalo::Bump;
    use proptest::prelude::*;

    #[test]
    fn a_request_that_was_made_to_be_compared_for_ever_is_taken_for_an_echo() {
        let arena = Bump::new();
        let left = |echo: Echo<'_>| echo.left.map_or(0, std::cell::Cell::get);
        let cookies = (0..100).map(|number| format!("name_{number}=value {number} of a cookie; ")).collect::<String>();
        let cookies = [cookies.as_bytes()];
        let echo = Echo::of(b"Mozilla/5.0 (X11) Firefox/140", &cookies, &arena);
        let page = format!("https://shop.example/{}", "winter/ink-and-paper/".repeat(96));
        assert!(!echo.stands_in(page.as_bytes(), |_| true));
        assert!(left(echo) > COMPARISONS_MAX / 50 * 49, "{}", left(echo));
        let made = (0..2_000).map(|number| format!("a=11111111{number}-; ")).collect::<String>();
        let made = [made.as_bytes()];
        let echo = Echo::of(b"", &made, &arena);
        assert!(echo.stands_in(&[b'1'; 16_000], |_| true));
        assert_eq!(left(echo), 0);
        assert!(!echo.stands_in(b"winter ink and paper", |_| true), "nothing of it may begin here");
        assert!(!Echo::of(b"", &made, &arena).stands_in(b"111111112000", |_| true));
    }

    proptest! {
        #[test]
        fn an_echo_is_found_wherever_it_stands(
            pieces in prop::collection::vec(prop::sample::select(&["0123abcd", "0123abcd45", "abcdabcdabcd", "Fox/140.0 (X11)", "0123", "abcd", "a", "/", "Fox/140.0", "é"][..]), 0..12),
            cookies in prop::collection::vec(prop::sample::select(&["0123abcd", "0123abcd45", "abcdabcdabcd", "short", "d0123abc"][..]), 0..4),
            agent in prop::sample::select(&["", "Fox/140.0 (X11)", "Fox"][..]),
        ) {
            let arena = Bump::new();
            let lines: Vec<String> = cookies.iter().map(|value| format!("k={value}")).collect();
            let lines: Vec<&[u8]> = lines.iter().map(String::as_bytes).collect();
            let (echo, hay) = (Echo::of(agent.as_bytes(), &lines, &arena), pieces.concat());
            let is_needle = |text: &&str, least| text.len() >= least;
            let expected = cookies.iter().filter(|value| is_needle(value, 8)).chain([&agent].into_iter().filter(|agent| is_needle(agent, 12))).any(|needle| hay.contains(needle));
            prop_assert_eq!(echo.stands_in(hay.as_bytes(), |_| true), expected, "{}", hay);
        }
    }
}
