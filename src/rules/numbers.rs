//! Owns what begins with a digit: payment cards, telephone numbers, IP addresses, social security
//! numbers, and their likeness, which is to stay.
//!
//! Knows ISO/IEC 7812-1 (issuer and check digit), E.164 and the usual national forms, the digits and
//! separators people paste. Promises: work in proportion to a bounded window (20 digits, 4 characters
//! between two of them); a number that could as well be an order's is a telephone number only where a
//! word before it says so.

use super::marks::{self, Marks};
use crate::hit::scrubbed::Kind;

/// Where a text stands, as far as it changes what a number means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    Prose,
    /// In a URL's path numbers with dashes are slugs and products.
    Path,
}

/// What begins at byte `at`, where a run of digits begins, and where it ends. `is_glued`: a letter
/// stands right before it.
pub fn number(input: &str, at: usize, is_glued: bool, place: Place) -> Option<(usize, Kind)> {
    let rest = input.get(at..)?;
    if is_short(rest.as_bytes()) {
        return None;
    }
    let run = Run::of(rest);
    let found = if run.count >= CARD_DIGITS_MIN && let Some(end) = run.card() {
        Some((end, Kind::Card))
    } else if let Some(end) = ipv4(rest).filter(|_| !follows_a_version(input, at)) {
        Some((end, Kind::Ip))
    } else if is_glued || run.count < PHONE_DIGITS_MIN {
        None
    } else if let Some(end) = run.ssn() {
        Some((end, Kind::Ssn))
    } else if let Some(end) = run.international().or_else(|| if place == Place::Prose { run.national() } else { None }) {
        Some((end, Kind::Phone))
    } else {
        match said_before(input, at) {
            Some(Kind::Ssn) if run.count == 9 => run.whole(9..=9).map(|end| (end, Kind::Ssn)),
            Some(Kind::Phone) => run.whole(PHONE_DIGITS_MIN..=PHONE_DIGITS_MAX).map(|end| (end, Kind::Phone)),
            _ => None,
        }
    };
    found.map(|(length, kind)| (at + length, kind))
}

/// Whether a number may stand in a window of a text of ASCII that stands for no other; `begins`: nothing stands before
/// it. It takes seven bytes side by side of which none is a letter, if only the four digits and three dots of an
/// address. Right behind a letter digits are a card (twelve) or an address (`v10.0.0.1`) at most: a sign, and five more.
/// `marks::along` is to hold twelve together.
pub fn may_stand_in(marks: Marks, begins: bool) -> bool {
    let others = marks.all & !marks.letters;
    let behind_a_sign = marks::rows(others, PHONE_DIGITS_MIN - 2) >> 1;
    let is_long = marks::rows(others, CARD_DIGITS_MIN) | (others & !marks.digits & behind_a_sign);
    is_long != 0 || (begins && marks::rows(others, PHONE_DIGITS_MIN) & 1 == 1)
}

/// Fewer digits than any pattern has, and a letter, a plain sign or nothing behind them: most numbers.
fn is_short(rest: &[u8]) -> bool {
    let size = rest.iter().take(PHONE_DIGITS_MIN).take_while(|byte| byte.is_ascii_digit()).count();
    let ends = |at: usize| match rest.get(at) {
        None => true,
        Some(byte) => byte.is_ascii_alphabetic() || matches!(byte, b':' | b';' | b'?' | b'!' | b'=' | b'<' | b'>' | b'}' | b'#' | b'^' | b'$'),
    };
    // One sign that could stand between digits, and then no digit.
    let parts = |at: usize| matches!(rest.get(at), Some(b' ' | b'-' | b'.' | b'/' | b'_' | b',' | b')')) && rest.get(at + 1).is_none_or(u8::is_ascii_alphabetic);
    (1..PHONE_DIGITS_MIN).contains(&size) && (ends(size) || parts(size))
}

/// What begins with `+`: E.164, 8 to 15 digits, the first of them no 0.
pub fn plus(rest: &str) -> Option<usize> {
    let sign = rest.chars().next()?.len_utf8();
    let mut digits_at = sign;
    if rest.get(sign..)?.starts_with(['(', ' ']) {
        digits_at += 1;
    }
    let run = Run::of(rest.get(digits_at..)?);
    let end = run.whole(8..=PHONE_DIGITS_MAX)?;
    (run.digits[0] != 0).then_some(digits_at + end)
}

/// What begins with `(`: an area code in brackets, as in `(020) 7946 0958` and `(415) 555-0132`.
pub fn bracket(rest: &str) -> Option<usize> {
    let run = Run::of(rest.get(1..)?);
    let closes = rest.as_bytes().get(1 + run.end_of(0)) == Some(&b')');
    let area = usize::from(run.sizes[0]);
    let is_area = (run.digits[0] == 0 && (2..=6).contains(&area)) || (area == 3 && run.digits[0] >= 2);
    if !(closes && is_area) {
        return None;
    }
    run.whole(9..=12).map(|end| 1 + end)
}

const CARD_DIGITS_MIN: usize = 12;
/// One more than a card has, to see that it ends.
const RUN_DIGITS_MAX: usize = 20;
const PHONE_DIGITS_MIN: usize = 7;
const PHONE_DIGITS_MAX: usize = 15;

/// Digits in groups, with what parts them.
struct Run {
    digits: [u8; RUN_DIGITS_MAX],
    count: usize,
    /// Digits of each group, byte where it ends, and what stands before the next one.
    sizes: [u8; RUN_DIGITS_MAX],
    ends: [u16; RUN_DIGITS_MAX],
    gaps: [Gap; RUN_DIGITS_MAX],
    groups: usize,
}

/// What stands between two groups.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Gap {
    /// One of ` `, `-`, `.`, `/` or their like: `char` in its plain form.
    One(u8),
    /// Two to four characters: only between groups that are a card's.
    Wide,
}

impl Run {
    fn of(rest: &str) -> Self {
        let mut run = Self {
            digits: [0; RUN_DIGITS_MAX],
            count: 0,
            sizes: [0; RUN_DIGITS_MAX],
            ends: [0; RUN_DIGITS_MAX],
            gaps: [Gap::Wide; RUN_DIGITS_MAX],
            groups: 0,
        };
        let mut at = 0;
        loop {
            let mut size = 0;
            while let Some((value, length)) = digit_at(rest, at) {
                let Some(slot) = run.digits.get_mut(run.count) else { return run };
                *slot = value;
                run.count += 1;
                size += 1;
                at += length;
            }
            if size == 0 {
                return run;
            }
            run.sizes[run.groups] = size;
            run.ends[run.groups] = at as u16;
            run.groups += 1;
            let Some((gap, length)) = gap_at(rest, at) else { return run };
            if run.groups == RUN_DIGITS_MAX {
                return run;
            }
            run.gaps[run.groups - 1] = gap;
            at += length;
        }
    }

    fn end_of(&self, group: usize) -> usize {
        usize::from(self.ends[group])
    }

    /// The longest beginning of whole groups that is a card: a known issuer, a right check digit.
    fn card(&self) -> Option<usize> {
        let lengths = lengths_of(&self.digits);
        if lengths == 0 {
            return None;
        }
        // Which digits count twice depends on whether their number is even: both sums are kept.
        let (mut sums, mut count, mut is_narrow, mut found) = ([0_u32; 2], 0, true, None);
        for group in 0..self.groups {
            for digit in self.digits.iter().skip(count).take(usize::from(self.sizes[group])) {
                let (once, twice) = (u32::from(*digit), DOUBLED[usize::from(*digit)]);
                sums[count % 2] += twice;
                sums[1 - count % 2] += once;
                count += 1;
            }
            if count >= RUN_DIGITS_MAX {
                break;
            }
            if lengths & (1 << count) != 0 && sums[count % 2].is_multiple_of(10) && (is_narrow || self.is_card_shaped(group)) {
                found = Some(self.end_of(group));
            }
            is_narrow &= self.gaps[group] != Gap::Wide;
        }
        found
    }

    /// Groups as printed on cards: fours, or 4-6-4 and 4-6-5.
    fn is_card_shaped(&self, last: usize) -> bool {
        let sizes = self.sizes.get(..last).unwrap_or(&[]);
        sizes.iter().all(|size| *size == 4) || sizes == [4, 6]
    }

    /// All of it where its digits are as many as asked, and the longest such beginning of whole groups where they are more.
    fn whole(&self, digits: std::ops::RangeInclusive<usize>) -> Option<usize> {
        let (mut count, mut found) = (0, None);
        for group in 0..self.groups {
            count += usize::from(self.sizes[group]);
            if digits.contains(&count) && count < RUN_DIGITS_MAX {
                found = Some(self.end_of(group));
            }
            if !matches!(self.gaps[group], Gap::One(b' ' | b'-' | b'.' | b'/')) && !self.is_bracket(group) {
                break;
            }
        }
        found
    }

    /// A gap such as `) ` or ` (`: up to two characters where a telephone number has brackets.
    fn is_bracket(&self, group: usize) -> bool {
        self.gaps[group] == Gap::One(b')')
    }

    /// `123-45-6789`, by the rules of the Social Security Administration: no group of zeros, no 666.
    fn ssn(&self) -> Option<usize> {
        let is_shaped = self.groups >= 3 && self.sizes[..3] == [3, 2, 4] && self.gaps[..2] == [Gap::One(b'-'); 2];
        let d = &self.digits;
        let is_issued = d[..3] != [0; 3] && d[..3] != [6; 3] && d[3..5] != [0; 2] && d[5..9] != [0; 4];
        (is_shaped && is_issued).then(|| self.end_of(2))
    }

    /// `0044 20 7946 0958`: two zeros, then a country's code, 12 to 15 digits. In one piece it may be a
    /// product's number with zeros before it, where the check digit is right.
    fn international(&self) -> Option<usize> {
        let begins = self.digits[..2] == [0, 0] && self.digits[2] != 0;
        if begins && !(self.groups == 1 && self.is_gtin()) { self.whole(12..=15) } else { None }
    }

    /// GS1 General Specifications §7.9: digits count three times and once, from the right.
    fn is_gtin(&self) -> bool {
        let digits = self.digits.iter().take(self.count).rev().enumerate();
        let sum: u32 = digits.map(|(at, digit)| u32::from(*digit) * if at % 2 == 0 { 1 } else { 3 }).sum();
        matches!(self.count, 12..=14) && sum.is_multiple_of(10)
    }

    /// A national number in a form that is not an order's: parted, with a leading 0, or as in North America.
    fn national(&self) -> Option<usize> {
        let sizes = self.sizes.get(..self.groups).unwrap_or(&[]);
        let same_gaps = |gaps: &[Gap]| gaps.windows(2).all(|pair| pair[0] == pair[1]);
        let parted = |groups: usize, by: &[u8]| {
            let gaps = self.gaps.get(..groups - 1).unwrap_or(&[]);
            same_gaps(gaps) && gaps.iter().all(|gap| matches!(gap, Gap::One(byte) if by.contains(byte)))
        };
        if sizes.starts_with(&[3, 3, 4]) && self.digits[0] >= 2 && self.digits[3] >= 2 && parted(3, b"-.") {
            return Some(self.end_of(2));
        }
        if sizes.starts_with(&[1, 3, 3, 4]) && self.digits[0] == 1 && self.digits[1] >= 2 && parted(4, b"-. ") {
            return Some(self.end_of(3));
        }
        if self.digits[0] != 0 || self.digits[1] == 0 || self.groups < 2 {
            return None;
        }
        // `01 23 45 67 89` in pairs.
        if sizes == [2; 5] && parted(5, b" .-") {
            return Some(self.end_of(4));
        }
        // The longest beginning of two to four groups that has the form of an area and a subscriber.
        let groups = (2..=sizes.len().min(4)).rev().find(|groups| {
            let sizes = sizes.get(..*groups).unwrap_or(&[]);
            let digits: usize = sizes.iter().map(|size| usize::from(*size)).sum();
            let is_date = matches!(sizes, [2, 2, 4 | 2, ..]);
            let is_decimal = *groups == 2 && self.gaps[0] == Gap::One(b'.');
            let last_is_long = sizes.last().is_some_and(|last| *last >= 3) || matches!(sizes, [3, 3, 2, 2] | [3 | 5, 6, 2]);
            sizes.iter().all(|size| *size >= 2) && sizes[0] <= 6 && (9..=12).contains(&digits) && last_is_long && !is_date && !is_decimal
        })?;
        let gaps = self.gaps.get(..groups - 1).unwrap_or(&[]);
        let parted = gaps.iter().all(|gap| matches!(gap, Gap::One(b' ' | b'-' | b'/' | b'.')));
        parted.then(|| self.end_of(groups - 1))
    }
}

const DOUBLED: [u32; 10] = [0, 2, 4, 6, 8, 1, 3, 5, 7, 9];

/// A digit at byte `at`, and how long it is.
fn digit_at(rest: &str, at: usize) -> Option<(u8, usize)> {
    match rest.as_bytes().get(at)? {
        byte @ b'0'..=b'9' => Some((byte - b'0', 1)),
        0..=0x7f => None,
        _ => {
            let character = rest.get(at..)?.chars().next()?;
            digit(character).map(|value| (value, character.len_utf8()))
        }
    }
}

/// What parts two digits: one character, or up to four that stand between the parts of a card's number.
fn gap_at(rest: &str, at: usize) -> Option<(Gap, usize)> {
    // Nearly always it is one sign of ASCII and then a digit, or nothing of the kind.
    if let [byte, next, ..] = rest.as_bytes().get(at..)?
        && next.is_ascii_digit()
        && *byte != b'%'
    {
        return match byte {
            b' ' | b'-' | b'.' | b'/' => Some((Gap::One(*byte), 1)),
            0..=0x7f => parting(char::from(*byte)).map(|plain| (Gap::One(if plain == b'(' { b')' } else { plain }), 1)),
            _ => None,
        };
    }
    let tail = rest.get(at..)?;
    let (mut length, mut characters, mut first) = (0, 0, 0);
    loop {
        let left = tail.get(length..)?;
        let character = left.chars().next()?;
        if characters > 0 && (character.is_ascii_digit() || digit(character).is_some()) {
            let gap = if characters == 1 { Gap::One(first) } else if first == b')' && characters == 2 { Gap::One(b')') } else { Gap::Wide };
            return Some((gap, length));
        }
        let (plain, step) = if left.starts_with("%20") {
            (b' ', 3)
        } else if left.starts_with("%2D") || left.starts_with("%2d") {
            (b'-', 3)
        } else {
            (parting(character)?, character.len_utf8())
        };
        // ` (0)` within an international number reads as a bracket.
        if characters == 0 || plain == b'(' {
            first = if plain == b'(' { b')' } else { plain };
        }
        length += step;
        characters += 1;
        if characters > 4 {
            return None;
        }
    }
}

/// What people and programs put between digits, in its plain form.
const fn parting(character: char) -> Option<u8> {
    Some(match character {
        ' ' | '\t' | '\n' | '\r' | '\u{a0}' | '\u{2000}'..='\u{200a}' | '\u{202f}' | '\u{3000}' => b' ',
        // Invisible: zero-width blanks and joiners, the soft hyphen.
        '\u{ad}' | '\u{200b}'..='\u{200d}' | '\u{2060}' | '\u{feff}' => b' ',
        '-' | '\u{2010}'..='\u{2015}' | '\u{2212}' | '\u{ff0d}' => b'-',
        '.' | '\u{ff0e}' | '·' | '•' => b'.',
        '/' => b'/',
        '(' => b'(',
        ')' => b')',
        '_' | '+' | ',' | '"' | '\'' | '[' | ']' | '*' | '|' | '~' | '&' => b'_',
        _ => return None,
    })
}

/// The value of a decimal digit in any script (Unicode Nd); mathematical ones stand in fives of ten.
pub fn digit(character: char) -> Option<u8> {
    let code = u32::from(character);
    if code < 0x80 {
        return if character.is_ascii_digit() { u8::try_from(code - 0x30).ok() } else { None };
    }
    if (0x1d7ce..=0x1d7ff).contains(&code) {
        return u8::try_from((code - 0x1d7ce) % 10).ok();
    }
    let at = ZEROS.partition_point(|zero| *zero <= code).checked_sub(1)?;
    u8::try_from(code - ZEROS.get(at)?).ok().filter(|value| *value <= 9)
}

/// The zeros of scripts beyond ASCII, from Arabic-Indic to full-width.
const ZEROS: [u32; 32] = [
    0x660, 0x6f0, 0x7c0, 0x966, 0x9e6, 0xa66, 0xae6, 0xb66, 0xbe6, 0xc66, 0xce6, 0xd66, 0xde6, 0xe50, 0xed0, 0xf20, 0x1040, 0x1090, 0x17e0,
    0x1810, 0x1946, 0x19d0, 0x1a80, 0x1a90, 0x1b50, 0x1bb0, 0x1c40, 0x1c50, 0xa620, 0xa8d0, 0xabf0, 0xff10,
];

/// The lengths that a number of this beginning may have, as bits; 0 where nobody issues it.
fn lengths_of(digits: &[u8; RUN_DIGITS_MAX]) -> u32 {
    let prefix = digits.iter().take(6).fold(0_u32, |number, digit| number * 10 + u32::from(*digit));
    let mut lengths = 0;
    for (first, last, bits) in ISSUERS {
        if (*first..=*last).contains(&prefix) {
            lengths |= bits;
        }
    }
    lengths
}

const fn bits(lengths: &[u32]) -> u32 {
    let (mut bits, mut at) = (0, 0);
    while at < lengths.len() {
        bits |= 1 << lengths[at];
        at += 1;
    }
    bits
}

/// Issuers by the first six digits, and the lengths of their numbers: ranges as published by the card
/// schemes, gathered in braintree/credit-card-type (MIT), and those of some national schemes.
const ISSUERS: &[(u32, u32, u32)] = &[
    (400_000, 499_999, bits(&[13, 16, 18, 19])),                 // Visa
    (510_000, 559_999, bits(&[16])),                             // Mastercard
    (222_100, 272_099, bits(&[16])),                             // Mastercard, 2-series
    (340_000, 349_999, bits(&[15])),                             // American Express
    (370_000, 379_999, bits(&[15])),                             //
    (300_000, 305_999, bits(&[14, 16, 19])),                     // Diners Club
    (360_000, 369_999, bits(&[14, 16, 19])),                     //
    (380_000, 399_999, bits(&[14, 16, 19])),                     //
    (601_100, 601_199, bits(&[16, 19])),                         // Discover
    (644_000, 659_999, bits(&[16, 18, 19])),                     //
    (213_100, 213_199, bits(&[15, 16, 17, 18, 19])),             // JCB
    (180_000, 180_099, bits(&[15, 16, 17, 18, 19])),             //
    (352_800, 358_999, bits(&[16, 17, 18, 19])),                 //
    (620_000, 629_999, bits(&[14, 15, 16, 17, 18, 19])),         // UnionPay
    (810_000, 817_999, bits(&[14, 15, 16, 17, 18, 19])),         //
    (500_000, 509_999, bits(&[12, 13, 14, 15, 16, 17, 18, 19])), // Maestro, Elo, Verve, RuPay
    (560_000, 599_999, bits(&[12, 13, 14, 15, 16, 17, 18, 19])), //
    (630_000, 639_999, bits(&[12, 13, 14, 15, 16, 17, 18, 19])), //
    (670_000, 679_999, bits(&[12, 13, 14, 15, 16, 17, 18, 19])), //
    (220_000, 220_499, bits(&[16, 17, 18, 19])),                 // Mir
    (600_000, 609_999, bits(&[16])),                             // RuPay, Hipercard
    (820_000, 829_999, bits(&[16])),                             // RuPay
    (979_200, 979_299, bits(&[16])),                             // Troy
];

/// Four numbers up to 255 with dots, and no fifth.
fn ipv4(rest: &str) -> Option<usize> {
    let mut at = 0;
    for part in 0..4 {
        if part > 0 {
            let character = rest.get(at..)?.chars().next().filter(|c| matches!(c, '.' | '\u{ff0e}'))?;
            at += character.len_utf8();
        }
        let (mut value, mut count) = (0_u32, 0);
        while let Some((digit, length)) = digit_at(rest, at) {
            value = value * 10 + u32::from(digit);
            count += 1;
            at += length;
            if count > 3 {
                return None;
            }
        }
        if count == 0 || value > 255 {
            return None;
        }
    }
    let goes_on = rest.as_bytes().get(at) == Some(&b'.') && digit_at(rest, at + 1).is_some();
    (!goes_on).then_some(at)
}

/// Whether what stands before byte `at` makes four numbers a version, or a part of a longer row.
fn follows_a_version(input: &str, at: usize) -> bool {
    let head = input.get(..at).unwrap_or("");
    // A row goes on behind a number; behind a word (`thing.203.0.113.7`) it begins.
    if head.strip_suffix('.').is_some_and(|row| row.ends_with(|c: char| c.is_numeric())) {
        return true;
    }
    let head = head.trim_end_matches([' ', ':', '=', '-', '_', '.']);
    let word = head.bytes().rev().take(10).take_while(u8::is_ascii_alphabetic).count();
    let word = head.get(head.len() - word..).unwrap_or("");
    ["v", "ver", "version", "rev", "r", "release", "build", "firmware"].iter().any(|known| word.eq_ignore_ascii_case(known))
}

/// What the words before byte `at` say that follows: `call us at`, `Tel.:`, `SSN`.
fn said_before(input: &str, at: usize) -> Option<Kind> {
    let mut head = input.get(..at)?;
    for _ in 0..4 {
        // A mark is no word, and what is far off says nothing.
        let bare = head.trim_end_matches(|c: char| !c.is_alphanumeric() && c != ']');
        if head.len() - bare.len() > 8 {
            return None;
        }
        let word = bare.chars().rev().take(16).take_while(|c| c.is_alphabetic()).map(char::len_utf8).sum::<usize>();
        let start = bare.len() - word;
        let said = bare.get(start..)?;
        if said.is_empty() {
            return None;
        }
        let mut buffer = [0_u8; 32];
        let mut small = 0;
        for (slot, byte) in buffer.iter_mut().zip(said.bytes()) {
            *slot = byte.to_ascii_lowercase();
            small += 1;
        }
        let said = buffer.get(..small).and_then(|bytes| std::str::from_utf8(bytes).ok()).unwrap_or("");
        if PHONE_WORDS.contains(&said) {
            return Some(Kind::Phone);
        }
        if matches!(said, "ssn" | "social") {
            return Some(Kind::Ssn);
        }
        if !FILLERS.contains(&said) {
            return None;
        }
        head = bare.get(..start)?;
    }
    None
}

const PHONE_WORDS: [&str; 31] = [
    "call", "cell", "cellphone", "dial", "fax", "handy", "hotline", "mob", "mobil", "mobile", "mobiltelefon", "movil", "móvil", "msisdn", "phone",
    "phonenumber", "portable", "ring", "rufnummer", "sms", "tel", "telefax", "telefon", "telefone", "telefono", "telefonnummer", "telephone", "teléfono",
    "téléphone", "tél", "whatsapp",
];
const FILLERS: [&str; 12] = ["at", "back", "is", "me", "no", "now", "nr", "number", "on", "security", "under", "us"];

#[cfg(test)]
mod tests {
    use super::{Place, ZEROS, digit, may_stand_in, number, plus};
    use crate::hit::scrubbed::Kind;
    use crate::rules::marks;
    use proptest::prelude::*;

    /// By counting: right behind a letter from -5 on, and a sign makes it two at least.
    fn counted(bytes: &[u8]) -> bool {
        let mut size = 0;
        bytes.iter().any(|byte| {
            size = if byte.is_ascii_alphabetic() { -5 } else if byte.is_ascii_digit() { size + 1 } else { (size + 1).max(2) };
            size >= 7
        })
    }

    proptest! {
        #[test]
        fn a_number_may_stand_where_counting_says_so(text in "[0-9a]{0,20}|[0-9.a-]{0,90}|[a-z ]{0,70}[0-9-]{4,14}[a-z]{0,90}") {
            let may_stand = marks::along(text.as_bytes(), 20).fold(false, |may_stand, (from, marks)| may_stand | may_stand_in(marks, from == 0));
            prop_assert_eq!(may_stand, counted(text.as_bytes()), "{}", text);
        }
    }

    #[test]
    fn digits_of_all_scripts() {
        assert!(ZEROS.is_sorted());
        for (zero, nine) in [('0', '9'), ('٠', '٩'), ('۰', '۹'), ('०', '९'), ('০', '৯'), ('๐', '๙'), ('０', '９'), ('𝟎', '𝟗'), ('𝟶', '𝟿')] {
            assert_eq!((digit(zero), digit(nine)), (Some(0), Some(9)), "{zero}");
        }
        for other in ['a', 'é', '½', '〇', '²', '\u{66a}', '\u{ff1a}', '\u{1d800}'] {
            assert_eq!(digit(other), None, "{other}");
        }
    }

    #[test]
    fn what_a_number_is() {
        fn kind(text: &str) -> Option<(&str, Kind)> {
            let at = text.find(|c: char| c.is_ascii_digit()).unwrap();
            number(text, at, false, Place::Prose).map(|(end, kind)| (&text[at..end], kind))
        }
        for (text, found, is) in [
            ("4242424242424242 12/27", "4242424242424242", Kind::Card),
            ("4242 4242 4242 4242", "4242 4242 4242 4242", Kind::Card),
            ("Tel. 7946 0958", "7946 0958", Kind::Phone),
            ("0171/2345678", "0171/2345678", Kind::Phone),
            ("415-555-0132", "415-555-0132", Kind::Phone),
            ("123-45-6789", "123-45-6789", Kind::Ssn),
            ("203.0.113.77.", "203.0.113.77", Kind::Ip),
        ] {
            assert_eq!(kind(text), Some((found, is)), "{text}");
        }
        for text in ["42424242424242424242", "7946 0958", "01.02.2026 12", "version 1.2.3.4", "1.2.3.4.5", "0000123456", "000-12-3456"] {
            assert_eq!(kind(text), None, "{text}");
        }
        assert_eq!((plus("+44 20 7946 0958"), plus("+0100 2026 10"), plus("+1234567")), (Some(16), None, None));
    }
}
