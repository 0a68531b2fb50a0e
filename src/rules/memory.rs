//! Owns the memory of what cleaning a text came to lately: pages, referrers and titles come again from hit to
//! hit, and each would be cleaned as often.
//!
//! Holds no text and nothing of one: an entry is found by 128 bits of SipHash-1-3 under a secret of this
//! process, and says which ranges of the text stay, and how many parameters and fragments went. Promises the
//! answer of `rules::scrub`, counts included, for every text and every echo: what cannot be said in ranges
//! (a finding replaced, a letter made small) is cleaned anew each time, and so is a text in which something of
//! the request itself stands. Memory is fixed, made at the start.
//!
//! The odds that a text is taken for another: a look compares with the eight entries of its set, so that of n
//! looks one errs with n / 2¹²⁵. A worker that looks a million times a second for a year: 3 × 10¹³ looks, less
//! than 1 in 10²⁴. Who does not know the secret cannot choose texts that do better.

use super::echo::Echo;
use super::patterns::Traits;
use super::percent;
use super::recent::{Rate, Recent};
use super::scrub::{self, CleanUrl};
use crate::hit::scrubbed::{Kind, Scrubbed};
use bumpalo::Bump;
use siphasher::sip128::SipHasher13;
use std::hash::{BuildHasher, RandomState};
use std::num::NonZeroU64;

/// What one worker remembers. A URL is 8 + 24 bytes, another text 8 + 8: with 8,192 of each 384 KiB.
pub struct Memory {
    urls: Recent<Known<Ranges>>,
    texts: Recent<Known<()>>,
    worth_of_urls: Worth,
    worth_of_texts: Worth,
    /// A secret for each kind of treatment, so that none is taken for the other.
    of_urls: SipHasher13,
    of_texts: SipHasher13,
}

/// So many URLs, and as many other texts.
pub const ENTRIES: usize = 8_192;

/// Longer ones seldom come again, and would take long to hash.
const LENGTH_MAX: usize = 1_024;

/// A shorter text is cleaned as soon as it is hashed.
const TEXT_LENGTH_MIN: usize = 24;

/// What is known of a text, and the half of its hash by which it is not found.
#[derive(Clone, Copy, Default)]
struct Known<T> {
    check: u64,
    outcome: T,
}

impl Memory {
    /// Room for so many URLs and as many other texts.
    pub fn new(entries: usize) -> Self {
        let random = RandomState::new();
        let secret = |number: u64| random.hash_one(number);
        Self {
            urls: Recent::new(entries, secret(0)),
            texts: Recent::new(entries, secret(1)),
            worth_of_urls: Worth::default(),
            worth_of_texts: Worth::default(),
            of_urls: SipHasher13::new_with_keys(secret(2), secret(3)),
            of_texts: SipHasher13::new_with_keys(secret(4), secret(5)),
        }
    }

    /// As `scrub::url`.
    pub fn url<'a>(&mut self, input: &'a str, echo: Echo<'_>, removed: &mut Scrubbed, arena: &'a Bump) -> CleanUrl<'a> {
        let input = trimmed(input);
        // A URL is cut only where no letter of an escape stands, so that what is in no form of the whole is in
        // no form of a part either, and the rest is the same for every request.
        if input.len() > LENGTH_MAX || !self.worth_of_urls.is_looked_for() {
            return scrub::url(input, echo, removed, arena);
        }
        let (number, check) = hashed(&self.of_urls, input);
        self.urls.fetch(number);
        if scrub::echoes(input, echo, arena) {
            return scrub::url(input, echo, removed, arena);
        }
        let known = self.urls.find(number, |known| known.check == check);
        self.worth_of_urls.learn(known.is_some());
        if let Some(known) = known
            && let Some(clean) = known.outcome.of(input)
        {
            removed.add(known.outcome.removed());
            return clean;
        }
        let mut there = Scrubbed::default();
        let clean = scrub::url(input, Echo::default(), &mut there, arena);
        if let Some(outcome) = Ranges::between(input, clean, there) {
            self.urls.put(number, Known { check, outcome });
        }
        removed.add(there);
        clean
    }

    /// As `scrub::text`.
    pub fn text<'a>(&mut self, input: &'a str, length_max: usize, echo: Echo<'_>, removed: &mut Scrubbed, arena: &'a Bump) -> &'a str {
        let may_be_known = (TEXT_LENGTH_MIN..=LENGTH_MAX.min(length_max)).contains(&input.len());
        // URLs within texts are cut anywhere, within escapes as well: what is encoded is not remembered.
        if !may_be_known
            || Traits::of(input).is_plain()
            || percent::is_encoded(input)
            || !self.worth_of_texts.is_looked_for()
        {
            return scrub::text(input, length_max, echo, removed, arena);
        }
        let (number, check) = hashed(&self.of_texts, input);
        self.texts.fetch(number);
        if scrub::echoes(input, echo, arena) {
            return scrub::text(input, length_max, echo, removed, arena);
        }
        let is_known = self.texts.find(number, |known| known.check == check).is_some();
        self.worth_of_texts.learn(is_known);
        if is_known {
            return input;
        }
        let mut there = Scrubbed::default();
        let clean = scrub::text(input, length_max, Echo::default(), &mut there, arena);
        if clean == input && there == Scrubbed::default() {
            self.texts.put(number, Known { check, outcome: () });
        }
        removed.add(there);
        clean
    }

    /// How often a URL and another text were known, of those that were looked for.
    pub const fn rates(&self) -> [Rate; 2] {
        [self.urls.rate, self.texts.rate]
    }
}

/// Whether it is worth to look: where nothing comes again, a text is hashed, looked for and noted in vain.
#[derive(Default)]
struct Worth {
    /// Looks in vain since one found something.
    in_vain: u32,
    /// Texts that might have been looked for meanwhile.
    passed: u32,
}

impl Worth {
    /// After so many looks in vain only one text in `SELDOM` is looked for, until one is known. Where one text
    /// in ten comes again the odds of as many in vain are 0.9^64, 1 in 850.
    const IN_VAIN_MAX: u32 = 64;
    const SELDOM: u32 = 16;

    const fn is_looked_for(&mut self) -> bool {
        if self.in_vain < Self::IN_VAIN_MAX {
            return true;
        }
        self.passed = self.passed.wrapping_add(1);
        self.passed.is_multiple_of(Self::SELDOM)
    }

    const fn learn(&mut self, is_known: bool) {
        self.in_vain = if is_known { 0 } else { self.in_vain.saturating_add(1) };
    }
}

/// As `str::trim`, which decodes characters at both ends to tell spaces from others.
pub fn trimmed(text: &str) -> &str {
    match text.as_bytes() {
        [first, .., last] if first.is_ascii_graphic() && last.is_ascii_graphic() => text,
        _ => text.trim(),
    }
}

/// Both halves of a text's hash.
fn hashed(secret: &SipHasher13, text: &str) -> (NonZeroU64, u64) {
    let hash = secret.hash(text.as_bytes());
    (NonZeroU64::new(hash.h1).unwrap_or(NonZeroU64::MIN), hash.h2)
}

/// What stays of a URL: its first bytes, and which of them are host and path; and what went.
#[derive(Clone, Copy, Default)]
struct Ranges {
    url_end: u16,
    host_at: u16,
    host_end: u16,
    path_at: u16,
    path_end: u16,
    queries: u8,
    fragments: u8,
}

impl Ranges {
    /// What leads from `input` to `clean`; `None` where it is more than ranges and counts can say.
    fn between(input: &str, clean: CleanUrl<'_>, removed: Scrubbed) -> Option<Self> {
        if clean.path.is_empty() {
            return None;
        }
        let host_at = if clean.host.is_empty() { 0 } else { input.find("://")? + 3 };
        let path_at = host_at + memchr::memchr(b'/', input.as_bytes().get(host_at..)?)?;
        let ranges = Self {
            url_end: u16::try_from(clean.url.len()).ok()?,
            host_at: u16::try_from(host_at).ok()?,
            host_end: u16::try_from(host_at + clean.host.len()).ok()?,
            path_at: u16::try_from(path_at).ok()?,
            path_end: u16::try_from(path_at + clean.path.len()).ok()?,
            queries: u8::try_from(removed.of(Kind::Query)).ok()?,
            fragments: u8::try_from(removed.of(Kind::Fragment)).ok()?,
        };
        (ranges.of(input) == Some(clean) && ranges.removed() == removed).then_some(ranges)
    }

    fn of(self, input: &str) -> Option<CleanUrl<'_>> {
        let range = |at: u16, end: u16| input.get(usize::from(at)..usize::from(end));
        Some(CleanUrl { url: range(0, self.url_end)?, host: range(self.host_at, self.host_end)?, path: range(self.path_at, self.path_end)? })
    }

    fn removed(self) -> Scrubbed {
        let mut removed = Scrubbed::default();
        removed.0[Kind::Query as usize] = u64::from(self.queries);
        removed.0[Kind::Fragment as usize] = u64::from(self.fragments);
        removed
    }
}

#[cfg(test)]
mod tests {
    use super::{Memory, trimmed};
    use crate::hit::scrubbed::Scrubbed;
    use crate::rules::echo::Echo;
    use crate::rules::scrub::{self, CleanUrl};
    use bumpalo::Bump;
    use proptest::prelude::*;

    const AGENT: &[u8] = b"Mozilla/5.0 (X11) Fox/140";

    /// What requests carry: of some the values stand in texts made of `PIECES`, as they are or decoded.
    const COOKIES: [&[&[u8]]; 6] = [
        &[],
        &[b"a=1; sess=0123abcd4567efab"],
        &[b"s=/winter/ink; t=winter-ink"],
        &[b"shop.exa"],
        &[b"x=41http://shop", b"y=A/winter; z=%2541wint"],
        &[b"k=e/f%C3%A9/w; u=dotted no"],
    ];

    const PIECES: [&str; 60] = [
        "https://", "http://", "HTTPS://", "file://", "//", "://", "/", "/", "/", "?", "?", "#", "&", "=", ";", ":", "@", " ", ".", "+", "%", "%25",
        "%2", "%4", "1", "41", "%41", "%2F", "%2540", "%C3%A9", "\u{e9}", "shop.example", "Shop.Example", "www.google.com", "127.0.0.1", "203.0.113.7",
        ":8443", "winter-ink", "products", "user", "reset", "12345", "utm_source=news", "utm_term=dotted+notebook", "utm_campaign=a%40b.example",
        "id=7", "token=abc", "jane@mail.example", "jane%40mail.example", "4242424242424242", "4242 4242 4242 4242", "9f86d081884c7d659a2feaa0c55ad015",
        "0123abcd4567efab", "%30123abcd4567efab", "Mozilla/5.0 (X11) Fox/140", "Mozilla/5.0%20(X11)%20Fox/140", "Papeterie & ink", "Winter ink 7 - Acme",
        "jsessionid=1A", "call +44 20 7946 0958",
    ];

    /// A text of any kind, or one that begins as pages do.
    fn texts() -> impl Strategy<Value = String> {
        let pieces = |most| prop::collection::vec(prop::sample::select(&PIECES[..]), 0..most).prop_map(|pieces| pieces.concat());
        prop_oneof![
            pieces(14),
            pieces(8).prop_map(|rest| format!("https://shop.example/products/{rest}")),
            ("[a-z]{20,40}", pieces(4)).prop_map(|(page, rest)| format!("/{page}{rest}")),
            ("[a-z ]{16,40}", pieces(4)).prop_map(|(title, rest)| format!("{title}{rest}")),
            (0..40_usize, pieces(3)).prop_map(|(times, rest)| format!("https://shop.example/{}{rest}", "winter/ink-".repeat(times * 3))),
        ]
    }

    fn url<'a>(memory: Option<&mut Memory>, input: &'a str, echo: Echo<'_>, arena: &'a Bump) -> (CleanUrl<'a>, Scrubbed) {
        let mut removed = Scrubbed::default();
        let clean = match memory {
            Some(memory) => memory.url(input, echo, &mut removed, arena),
            None => scrub::url(input, echo, &mut removed, arena),
        };
        (clean, removed)
    }

    fn text<'a>(memory: Option<&mut Memory>, input: &'a str, length_max: usize, echo: Echo<'_>, arena: &'a Bump) -> (&'a str, Scrubbed) {
        let mut removed = Scrubbed::default();
        let clean = match memory {
            Some(memory) => memory.text(input, length_max, echo, &mut removed, arena),
            None => scrub::text(input, length_max, echo, &mut removed, arena),
        };
        (clean, removed)
    }

    proptest! {
        #[test]
        fn trimmed_is_trim(text in "[ \t\u{a0}\u{2003}a%é]{0,6}|.{0,8}") {
            prop_assert_eq!(trimmed(&text), text.trim());
        }

        /// The same texts again and again, of requests that carry this and that, in a memory that is full.
        #[test]
        fn the_answer_is_always_that_of_the_long_way(
            texts in prop::collection::vec(texts(), 1..24),
            asked in prop::collection::vec((any::<prop::sample::Index>(), 0..COOKIES.len(), any::<bool>(), any::<bool>(), prop::sample::select(&[16_usize, 64, 512][..])), 1..120),
        ) {
            let arena = Bump::new();
            let mut memory = Memory::new(8);
            for (at, cookies, has_agent, is_url, length_max) in asked {
                let input = at.get(&texts).as_str();
                let echo = Echo::of(if has_agent { AGENT } else { b"" }, COOKIES[cookies], &arena);
                if is_url {
                    prop_assert_eq!(url(Some(&mut memory), input, echo, &arena), url(None, input, echo, &arena), "{}", input);
                } else {
                    let long_way = text(None, input, length_max, echo, &arena);
                    prop_assert_eq!(text(Some(&mut memory), input, length_max, echo, &arena), long_way, "{}", input);
                }
            }
        }
    }

    /// One text after another that never came before, then one that comes again and again.
    #[test]
    fn where_nothing_comes_again_few_are_looked_for_until_one_does() {
        let arena = Bump::new();
        let mut memory = Memory::new(64);
        let mut take = |number: usize| {
            let page = arena.alloc_str(&format!("https://shop.example/winter/ink-{number}"));
            let title = arena.alloc_str(&format!("Winter ink & paper no. {number}"));
            assert_eq!(url(Some(&mut memory), page, Echo::default(), &arena), url(None, page, Echo::default(), &arena));
            assert_eq!(text(Some(&mut memory), title, 512, Echo::default(), &arena), text(None, title, 512, Echo::default(), &arena));
            memory.rates()
        };
        for number in 0..64 + 320 {
            take(number);
        }
        assert_eq!(take(999).map(|rate| (rate.looked, rate.found)), [(64 + 320 / 16, 0); 2]);
        let before = (0..32).map(|_| take(7)).last().unwrap();
        assert!(before.iter().all(|rate| rate.found > 0));
        let after = (0..100).map(|_| take(7)).last().unwrap();
        assert_eq!([0, 1].map(|kind| after[kind].found - before[kind].found), [100; 2], "looked for each time again");
    }

    #[test]
    fn what_comes_again_is_known_and_an_echo_is_seen_all_the_same() {
        let arena = Bump::new();
        let mut memory = Memory::new(64);
        let page = "https://shop.example/winter/caf%C3%A9?utm_source=news&utm_term=dotted+notebook&id=7&x#top";
        let echo = Echo::of(AGENT, &[b"k=/winter/caf\xC3\xA9"], &arena);
        for (echo, found) in [(Echo::default(), 0), (Echo::default(), 1), (echo, 1), (Echo::of(AGENT, &[], &arena), 2)] {
            assert_eq!(url(Some(&mut memory), page, echo, &arena), url(None, page, echo, &arena));
            assert_eq!(memory.rates()[0].found, found);
        }
        assert_eq!(url(Some(&mut memory), page, echo, &arena).0.url, "[redacted:echo]");
        let title = "Winter ink no. 7 & paper - Acme";
        for found in 0..3 {
            assert_eq!(text(Some(&mut memory), title, 512, Echo::default(), &arena), (title, Scrubbed::default()));
            assert_eq!(memory.rates()[1].found, found);
        }
        let echo = Echo::of(b"", &[b"t=no. 7 & paper"], &arena);
        assert_eq!(text(Some(&mut memory), title, 512, echo, &arena).0, "[redacted:echo]");
    }
}
