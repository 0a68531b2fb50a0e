//! Owns the patterns of what must not be kept: where in a text they stand, and what they are.
//!
//! Knows e-mail addresses (RFC 5321), IPv6 addresses, IBANs (ISO 13616), tokens and keys by their
//! well-known first letters, values that a name before them gives away (`password=…`), home folders; what
//! begins with a digit is found by `rules::numbers`. Promises: linear in the text (each byte is looked at
//! once, by a table; patterns look at most 320 bytes around what begins them), no memory taken; what
//! merely looks like a number is let be. Never changes a text: `rules::scrub` does.

use super::marks;
use super::names::{asks_for_a_credential, asks_for_a_person};
use super::numbers::{self, Place};
use super::words::{Word, word_of};
use crate::hit::scrubbed::Kind;

/// Where a finding begins and ends, and what it is.
pub type Finding = (usize, usize, Kind);

/// The first finding at or after byte `from` of a text that has these traits.
pub fn next_finding(input: &str, from: usize, place: Place, traits: Traits) -> Option<Finding> {
    if !traits.has(Traits::NUMBER | Traits::SIGN) {
        return next_word(input, from, traits);
    }
    let bytes = input.as_bytes();
    let before = input.get(..from).and_then(|head| head.chars().next_back());
    let mut is_in_word = before.is_some_and(char::is_alphanumeric);
    let mut is_in_number = before.and_then(numbers::digit).is_some();
    let mut at = from;
    while let Some(byte) = bytes.get(at) {
        let found = match CLASS[usize::from(*byte)] {
            Class::Plain => {
                (is_in_word, is_in_number) = (false, false);
                at += 1;
                continue;
            }
            Class::Letter => {
                let found = if is_in_word || !traits.has(Traits::DIGIT | Traits::RUN) { None } else { word(input, at, traits) };
                (is_in_word, is_in_number) = (true, false);
                if found.is_none() {
                    at += 1;
                    while bytes.get(at).is_some_and(u8::is_ascii_alphabetic) {
                        at += 1;
                    }
                    continue;
                }
                found
            }
            Class::Digit if !traits.has(Traits::NUMBER) => {
                (is_in_word, is_in_number) = (true, true);
                None
            }
            Class::Digit => {
                let found = if is_in_number { None } else { digits(input, at, is_in_word, place, traits) };
                (is_in_word, is_in_number) = (true, true);
                found
            }
            Class::Sign => {
                let found = sign(input, from, at, is_in_word, place);
                (is_in_word, is_in_number) = (false, false);
                found
            }
            Class::Wide => {
                let character = input.get(at..)?.chars().next()?;
                let is_digit = numbers::digit(character).is_some();
                let found = match character {
                    '＠' | '﹫' => email_around(input, from, at, character.len_utf8()),
                    '＋' => phone_of_world(input, at),
                    _ if is_digit && !is_in_number => digits(input, at, is_in_word, place, traits),
                    _ => None,
                };
                is_in_word = character.is_alphanumeric();
                is_in_number = is_digit;
                if found.is_none() {
                    at += character.len_utf8();
                    continue;
                }
                found
            }
        };
        if found.is_some() {
            return found;
        }
        at += 1;
    }
    None
}

/// The same of a text in which nothing but letters can begin a finding, as in most identifiers.
fn next_word(input: &str, from: usize, traits: Traits) -> Option<Finding> {
    let (head, tail) = input.as_bytes().split_at_checked(from)?;
    let mut is_in_word = head.last().is_some_and(u8::is_ascii_alphanumeric);
    tail.iter().zip(from..).find_map(|(byte, at)| {
        let begins = byte.is_ascii_alphabetic() & !is_in_word;
        is_in_word = byte.is_ascii_alphanumeric();
        if begins { word(input, at, traits) } else { None }
    })
}

/// What stands in a text, gathered by one look at each of its bytes: most patterns need what most texts do
/// not have, and most texts have nothing that any pattern needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Traits(u16);

impl Traits {
    const DIGIT: u16 = 1;
    /// `:`
    pub const COLON: u16 = 1 << 1;
    /// `/` or `\`
    pub const SLASH: u16 = 1 << 2;
    /// `%` or `+`: a text that may stand for another.
    pub const ENCODED: u16 = 1 << 3;
    /// `@`
    pub const AT: u16 = 1 << 4;
    const OTHER_SIGN: u16 = 1 << 5;
    const WIDE: u16 = 1 << 6;
    /// `--`, as before the name of a key.
    const DASHES: u16 = 1 << 7;
    /// `RUN_LENGTH` or more letters, digits, `_`, `-` and `.` in one breath: the shortest token there is.
    const RUN: u16 = 1 << 8;
    /// What parts a URL, and begins no finding: `?`, `#` and `;`, and a capital letter in its host.
    pub const QUERY: u16 = 1 << 9;
    pub const FRAGMENT: u16 = 1 << 10;
    pub const PARAMETER: u16 = 1 << 11;
    pub const CAPITAL: u16 = 1 << 12;
    /// Digits enough in one breath that they may be a number, or what is no plain ASCII beside a digit.
    const NUMBER: u16 = 1 << 13;
    /// What begins a finding and is neither letter nor digit.
    const SIGN: u16 = Self::COLON | Self::SLASH | Self::ENCODED | Self::AT | Self::OTHER_SIGN | Self::WIDE | Self::DASHES;

    pub fn of(text: &str) -> Self {
        let bytes = text.as_bytes();
        let mut traits = bytes.iter().fold(0, |traits, byte| traits | TRAITS[usize::from(*byte)]);
        // One dash alone is nothing.
        if traits & Self::DASHES != 0 && !bytes.windows(2).any(|pair| pair == b"--") {
            traits &= !Self::DASHES;
        }
        // Where there are digits a letter may come at any place, as in no word: a branch for each byte would be guessed in vain.
        if traits & Self::DIGIT != 0 {
            let (mut has_run, mut may_be_number) = (false, traits & (Self::WIDE | Self::ENCODED | Self::COLON) != 0);
            for (from, marks) in marks::along(bytes, RUN_LENGTH) {
                has_run |= marks::rows(marks.letters | marks.digits | marks.joints, RUN_LENGTH) != 0;
                may_be_number |= numbers::may_stand_in(marks, from == 0);
            }
            traits |= if has_run { Self::RUN } else { 0 } | if may_be_number { Self::NUMBER } else { 0 };
        } else if has_run(bytes) {
            traits |= Self::RUN;
        }
        Self(traits)
    }

    /// Whether the text has one of these.
    pub const fn has(self, traits: u16) -> bool {
        self.0 & traits != 0
    }

    /// Whether nothing in the text, and in no part of it, can be a finding.
    pub const fn is_plain(self) -> bool {
        self.0 & (Self::QUERY - 1) == 0
    }
}

const TRAITS: [u16; 256] = {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        table[byte] = match byte as u8 {
            b'0'..=b'9' => Traits::DIGIT,
            b'A'..=b'Z' => Traits::CAPITAL,
            b':' => Traits::COLON,
            b'/' | b'\\' => Traits::SLASH,
            b'%' | b'+' => Traits::ENCODED,
            b'@' => Traits::AT,
            b'=' | b'(' | b'&' => Traits::OTHER_SIGN,
            b'-' => Traits::DASHES,
            b'?' => Traits::QUERY,
            b'#' => Traits::FRAGMENT,
            b';' => Traits::PARAMETER,
            0x80..=0xff => Traits::WIDE,
            _ => 0,
        };
        byte += 1;
    }
    table
};

const RUN_LENGTH: usize = 20;

/// Every run of so many bytes covers one of every so many places. In words it ends at once.
fn has_run(bytes: &[u8]) -> bool {
    let fits = |byte: &&u8| is_token_byte(**byte) || **byte == b'.';
    let length_at = |at: usize| {
        let (head, tail) = bytes.split_at_checked(at).unwrap_or_default();
        head.iter().rev().take(RUN_LENGTH).take_while(fits).count() + tail.iter().take(RUN_LENGTH).take_while(fits).count()
    };
    (RUN_LENGTH - 1..bytes.len()).step_by(RUN_LENGTH).any(|at| fits(&&bytes[at]) && length_at(at) >= RUN_LENGTH)
}

/// What a byte may begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Class {
    Plain,
    Letter,
    Digit,
    Sign,
    Wide,
}

const CLASS: [Class; 256] = {
    let mut table = [Class::Plain; 256];
    let mut byte = 0;
    while byte < 256 {
        table[byte] = match byte as u8 {
            b'0'..=b'9' => Class::Digit,
            b'a'..=b'z' | b'A'..=b'Z' => Class::Letter,
            b'@' | b'+' | b'-' | b':' | b'=' | b'/' | b'\\' | b'(' | b'&' => Class::Sign,
            0x80..=0xff => Class::Wide,
            _ => Class::Plain,
        };
        byte += 1;
    }
    table
};

fn digits(input: &str, at: usize, is_glued: bool, place: Place, traits: Traits) -> Option<Finding> {
    if let Some((end, kind)) = numbers::number(input, at, is_glued, place) {
        return Some((at, end, kind));
    }
    if is_glued || !traits.has(Traits::COLON) { None } else { ipv6(input.get(at..)?).map(|length| (at, at + length, Kind::Ip)) }
}

fn sign(input: &str, from: usize, at: usize, is_in_word: bool, place: Place) -> Option<Finding> {
    let rest = input.get(at..)?;
    match rest.as_bytes().first()? {
        b'@' => email_around(input, from, at, 1),
        b'&' | b'\\' if AT_SIGNS.iter().any(|sign| rest.starts_with(sign)) => {
            let sign = AT_SIGNS.iter().find(|sign| rest.starts_with(**sign))?;
            email_around(input, from, at, sign.len())
        }
        // `2+12345678` is a sum, and `a+12345678` a query's blank.
        b'+' if !is_in_word => phone_of_world(input, at),
        b'(' => numbers::bracket(rest).map(|length| (at, at + length, Kind::Phone)),
        b'-' if rest.starts_with("-----BEGIN ") => Some((at, input.len(), Kind::Token)),
        b':' if !is_in_word && rest.as_bytes().get(1) == Some(&b':') => {
            ipv6(rest).map(|length| (at, at + length, Kind::Ip)).or_else(|| given_away(input, at))
        }
        b':' | b'=' => given_away(input, at),
        b'/' | b'\\' if place == Place::Prose => home_folder(input, at, is_in_word),
        _ => None,
    }
}

/// `@` as HTML and JSON write it.
const AT_SIGNS: [&str; 5] = ["&#64;", "&#x40;", "&commat;", "\\u0040", "\\x40"];

/// RFC 5321's local part at most 64 characters, domain at most 255, a top-level domain of letters.
fn email_around(input: &str, from: usize, at: usize, at_length: usize) -> Option<Finding> {
    let left = input.get(from..at)?;
    let is_quoted = left.ends_with('"');
    let local: usize = left
        .chars()
        .rev()
        .take(64)
        .take_while(|c| c.is_alphanumeric() || ".!#$%&'*+=?^_`{|}~-\u{200b}\u{200c}\u{200d}".contains(*c) || (is_quoted && *c == '"'))
        .map(char::len_utf8)
        .sum();
    let right = input.get(at + at_length..)?;
    let domain: usize = right
        .chars()
        .take(255)
        .take_while(|c| c.is_alphanumeric() || matches!(c, '.' | '-' | '．' | '。' | '\u{200b}'))
        .map(char::len_utf8)
        .sum();
    let name = right.get(..domain)?.trim_end_matches(['.', '-', '．', '。', '\u{200b}']);
    let mut labels = name.rsplit(['.', '．', '。']);
    let (top, second) = (labels.next()?, labels.next()?);
    let is_top = top.chars().nth(1).is_some() && (top.chars().all(char::is_alphabetic) || top.starts_with("xn--"));
    // `hero@2x.png` is a picture for a denser screen.
    let is_picture = second.strip_suffix('x').is_some_and(|times| !times.is_empty() && times.bytes().all(|byte| byte.is_ascii_digit()))
        && PICTURES.contains(&top);
    let is_email = local > 0 && is_top && !is_picture && !second.is_empty();
    is_email.then_some((at - local, at + at_length + name.len(), Kind::Email))
}

const PICTURES: [&str; 7] = ["png", "jpg", "jpeg", "gif", "webp", "svg", "avif"];

fn phone_of_world(input: &str, at: usize) -> Option<Finding> {
    numbers::plus(input.get(at..)?).map(|length| (at, at + length, Kind::Phone))
}

#[expect(clippy::disallowed_types, reason = "parses a text only to see whether it is an address to remove")]
fn ipv6(rest: &str) -> Option<usize> {
    let bytes = rest.as_bytes();
    // A colon within the first group, or none.
    if !bytes.iter().take(5).any(|byte| *byte == b':') {
        return None;
    }
    let length = bytes.iter().take(45).take_while(|byte| byte.is_ascii_hexdigit() || matches!(byte, b':' | b'.')).count();
    let run = rest.get(..length)?.trim_end_matches(['.', ':']);
    let run = if rest.get(..length)?.ends_with("::") { rest.get(..run.len() + 2)? } else { run };
    let is_word = rest.get(run.len()..).and_then(|tail| tail.chars().next()).is_some_and(char::is_alphanumeric);
    // Times and ratios have two colons at most and no `::`; `a::b` is a name in a program.
    let colons = run.bytes().filter(|byte| *byte == b':').count();
    let has_digit = run.bytes().any(|byte| byte.is_ascii_digit());
    (!is_word && colons >= 2 && run.len() > 3 && has_digit && run.parse::<std::net::Ipv6Addr>().is_ok()).then_some(run.len())
}

/// What begins with a letter: tokens by their well-known first letters, IBANs, IPv6.
fn word(input: &str, at: usize, traits: Traits) -> Option<Finding> {
    let rest = input.get(at..)?;
    let bytes = rest.as_bytes();
    if let [first, second, third, fourth, ..] = bytes
        && second.is_ascii_alphabetic()
        && third.is_ascii_digit()
        && fourth.is_ascii_digit()
        && let Some(length) = iban([*first, *second], rest)
    {
        return Some((at, at + length, Kind::Iban));
    }
    let found = if rest.starts_with("eyJ") && begins_anew(input, at) { web_token(bytes) } else { None };
    if let Some((start, end)) = found.or_else(|| token(rest)) {
        return Some((at + start, at + end, Kind::Token));
    }
    if traits.has(Traits::COLON) { ipv6(rest).map(|length| (at, at + length, Kind::Ip)) } else { None }
}

/// Whether no web token was looked for from earlier in the same run: it ended where this one would, so the
/// run is walked to its end once, not once for each `eyJ-` in it.
fn begins_anew(input: &str, at: usize) -> bool {
    let head = input.as_bytes().get(..at).unwrap_or_default();
    let is_start = |start: usize| head.get(..start).and_then(<[u8]>::last).is_none_or(|before| !before.is_ascii_alphanumeric());
    let run = head.iter().enumerate().rev().take_while(|(_, byte)| is_token_byte(**byte));
    !run.map(|(start, _)| start).any(|start| head.get(start..).is_some_and(|tail| tail.starts_with(b"eyJ")) && is_start(start))
}

/// A JSON web token (RFC 7519): header, payload and, but for unsecured ones, a signature, with dots between.
fn web_token(bytes: &[u8]) -> Option<(usize, usize)> {
    let run = |from: usize| bytes.iter().skip(from).take_while(|byte| is_token_byte(**byte)).count();
    let header = run(0);
    if header < 11 || bytes.get(header) != Some(&b'.') || run(header + 1) < 8 {
        return None;
    }
    let payload_end = header + 1 + run(header + 1);
    let signature = if bytes.get(payload_end) == Some(&b'.') { 1 + run(payload_end + 1) } else { 0 };
    Some((0, payload_end + signature))
}

/// Where a token begins and ends in a text that begins with its first letters.
fn token(rest: &str) -> Option<(usize, usize)> {
    let run = |from: usize, fits: fn(u8) -> bool| {
        rest.as_bytes().get(from..).map_or(0, |tail| tail.iter().take(TOKEN_LENGTH_MAX).take_while(|byte| fits(**byte)).count())
    };
    let first = *rest.as_bytes().first()?;
    if matches!(first, b'b' | b'B') && rest.get(..7).is_some_and(|head| head.eq_ignore_ascii_case("bearer ")) {
        let token = run(7, |byte| byte.is_ascii_graphic());
        // Bearer bonds are words.
        if token >= 8 && rest.as_bytes().iter().skip(7).take(token).any(u8::is_ascii_digit) {
            return Some((0, 7 + token));
        }
    }
    // The shortest has 20 letters and digits: most words end sooner.
    if [4, 7, 11, 15, 19].iter().any(|at| !rest.as_bytes().get(*at).is_some_and(|byte| is_token_byte(*byte) || *byte == b'.')) {
        return None;
    }
    let (head, least) = TOKENS.iter().find(|(head, _)| head.as_bytes().first() == Some(&first) && rest.starts_with(head))?;
    let length = run(head.len(), |byte| is_token_byte(byte) || byte == b'.');
    (length >= *least).then_some((0, head.len() + length))
}

/// Longer ones are cut by no pattern: what follows is looked at by itself.
const TOKEN_LENGTH_MAX: usize = 4_096;

/// First letters of keys and the least that follows: Amazon, Google, Stripe, GitHub, GitLab, Slack,
/// SendGrid, npm, Shopify, OpenAI, Anthropic.
const TOKENS: [(&str, usize); 29] = [
    ("AKIA", 16), ("ASIA", 16), ("AIza", 30), ("ya29.", 20), ("sk_live_", 16), ("sk_test_", 16), ("rk_live_", 16), ("rk_test_", 16),
    ("pk_live_", 16), ("whsec_", 16), ("ghp_", 30), ("gho_", 30), ("ghu_", 30), ("ghs_", 30), ("ghr_", 30), ("github_pat_", 20),
    ("glpat-", 20), ("xoxb-", 20), ("xoxp-", 20), ("xoxa-", 20), ("xoxr-", 20), ("xoxs-", 20), ("xapp-", 20), ("SG.", 30), ("npm_", 30),
    ("shpat_", 20), ("sk-proj-", 20), ("sk-ant-", 20), ("dop_v1_", 30),
];

const fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-')
}

/// ISO 13616: country, two check digits, as many characters as the country has, in groups or not, in
/// letters of either case; the remainder of the rearranged number by 97 is 1.
fn iban(country: [u8; 2], rest: &str) -> Option<usize> {
    let country = country.map(|byte| byte.to_ascii_uppercase());
    let at = IBANS.binary_search_by(|(code, _)| code.as_bytes().cmp(&country)).ok()?;
    let length = usize::from(IBANS.get(at)?.1);
    let mut compact = [0_u8; 34];
    let (mut count, mut end, mut is_parted) = (0, 0, true);
    for (at, character) in rest.char_indices() {
        if character.is_ascii_alphanumeric() {
            if count == length {
                return None;
            }
            *compact.get_mut(count)? = (character as u8).to_ascii_uppercase();
            count += 1;
            end = at + 1;
            is_parted = false;
        } else if !is_parted && count < length && matches!(character, ' ' | '-' | '.' | '\u{a0}' | '\u{202f}' | '\u{2009}') {
            is_parted = true;
        } else {
            break;
        }
        if count == length && !rest.as_bytes().get(end).is_some_and(u8::is_ascii_alphanumeric) {
            break;
        }
    }
    (count == length && mod_97(compact.get(..count)?) == 1).then_some(end)
}

/// Countries and the lengths of their IBANs (SWIFT's IBAN registry), sorted.
const IBANS: [(&str, u8); 88] = [
    ("AD", 24), ("AE", 23), ("AL", 28), ("AT", 20), ("AZ", 28), ("BA", 20), ("BE", 16), ("BG", 22), ("BH", 22), ("BI", 27), ("BR", 29),
    ("BY", 28), ("CH", 21), ("CR", 22), ("CY", 28), ("CZ", 24), ("DE", 22), ("DJ", 27), ("DK", 18), ("DO", 28), ("EE", 20), ("EG", 29),
    ("ES", 24), ("FI", 18), ("FK", 18), ("FO", 18), ("FR", 27), ("GB", 22), ("GE", 22), ("GI", 23), ("GL", 18), ("GR", 27), ("GT", 28),
    ("HN", 28), ("HR", 21), ("HU", 28), ("IE", 22), ("IL", 23), ("IQ", 23), ("IS", 26), ("IT", 27), ("JO", 30), ("KW", 30), ("KZ", 20),
    ("LB", 28), ("LC", 32), ("LI", 21), ("LT", 20), ("LU", 20), ("LV", 21), ("LY", 25), ("MC", 27), ("MD", 24), ("ME", 22), ("MK", 19),
    ("MN", 20), ("MR", 27), ("MT", 31), ("MU", 30), ("NI", 28), ("NL", 18), ("NO", 15), ("OM", 23), ("PK", 24), ("PL", 28), ("PS", 29),
    ("PT", 25), ("QA", 29), ("RO", 24), ("RS", 22), ("RU", 33), ("SA", 24), ("SC", 31), ("SD", 18), ("SE", 24), ("SI", 19), ("SK", 24),
    ("SM", 27), ("SO", 23), ("ST", 25), ("SV", 28), ("TL", 23), ("TN", 24), ("TR", 26), ("UA", 29), ("VA", 22), ("VG", 24), ("XK", 20),
];

fn mod_97(compact: &[u8]) -> u32 {
    let (head, tail) = compact.split_at(4.min(compact.len()));
    tail.iter().chain(head).fold(0, |remainder, byte| {
        if byte.is_ascii_digit() {
            (remainder * 10 + u32::from(byte - b'0')) % 97
        } else {
            (remainder * 100 + u32::from(byte.wrapping_sub(b'A')) + 10) % 97
        }
    })
}

/// What stands behind `=` or `:` (at byte `at`) where the name before it asks for a person or a secret:
/// `token=…`, `"phone":"…"`. In prose (`Password: …`) only behind a credential's name, and only what has
/// a digit: titles have colons too.
fn given_away(input: &str, at: usize) -> Option<Finding> {
    let head = input.get(..at)?;
    let bare = head.trim_end_matches(['"', '\'', ' ', '\\']);
    let is_quoted = bare.len() < head.len() && !head.ends_with(' ');
    let length = bare.bytes().rev().take(NAME_LENGTH_MAX).take_while(|byte| is_token_byte(*byte) || matches!(byte, b'.' | b'[' | b']')).count();
    let name = bare.get(bare.len() - length..).filter(|name| !name.is_empty() && !name.contains("]") | name.contains('['))?;
    let is_assigned = input.as_bytes().get(at) == Some(&b'=') || is_quoted;
    let blank: usize = input.as_bytes().get(at + 1..)?.iter().take(8).take_while(|byte| matches!(byte, b' ' | b'"' | b'\'' | b'\\' | b'=' | b':')).count();
    let start = at + 1 + blank;
    let rest = input.get(start..)?;
    let scheme = SCHEMES.iter().find(|scheme| rest.get(..scheme.len()).is_some_and(|head| head.eq_ignore_ascii_case(scheme)) && rest.as_bytes().get(scheme.len()) == Some(&b' '));
    // The name last, for that takes longest: most of what has a colon is a title without a digit behind it.
    if !is_assigned && scheme.is_none() && !has_digit_soon(rest) {
        return None;
    }
    let asks = if is_assigned { asks_for_a_person(name) } else { asks_for_a_credential(name) || name.eq_ignore_ascii_case("authorization") };
    if !asks || name.starts_with("[redacted") {
        return None;
    }
    let (length, kind) = match scheme {
        Some(scheme) => (scheme.len() + 1 + value_length(rest.get(scheme.len() + 1..)?), Kind::Token),
        None => (value_length(rest), Kind::Key),
    };
    if !is_assigned && length < 3 {
        return None;
    }
    let is_marked = input.get(start..)?.starts_with("[redacted:");
    (length > 0 && !is_marked).then_some((start, start + length, kind))
}

const NAME_LENGTH_MAX: usize = 40;
/// What `Authorization` says before the secret (RFC 9110 §11.1).
const SCHEMES: [&str; 5] = ["basic", "bearer", "digest", "token", "apikey"];

const fn ends_value(byte: u8) -> bool {
    byte.is_ascii_whitespace() || matches!(byte, b'&' | b';' | b',' | b'"' | b'\'' | b'<' | b'>' | b'}' | b']' | b')')
}

fn value_length(rest: &str) -> usize {
    rest.bytes().position(ends_value).unwrap_or(rest.len())
}

/// Whether a value has a digit within its first 64 bytes.
fn has_digit_soon(rest: &str) -> bool {
    rest.bytes().take(64).take_while(|byte| !ends_value(*byte)).any(|byte| byte.is_ascii_digit())
}

/// `/home/NAME`, `/Users/NAME`, `C:\Users\NAME`: the name. A page below `/home` is no folder.
fn home_folder(input: &str, at: usize, is_in_word: bool) -> Option<Finding> {
    let rest = input.get(at..)?;
    let separator = if rest.starts_with('/') { '/' } else { '\\' };
    let inner = rest.trim_start_matches(separator);
    let is_drive = input.get(..at).is_some_and(|head| head.ends_with(':'));
    let folder = ["Users", "home", "users"].into_iter().find(|folder| inner.starts_with(folder))?;
    let after = inner.get(folder.len()..)?;
    let name_and_rest = after.trim_start_matches(separator);
    // Below a host or another folder it is a page; behind a drive's letter and a server's name it is not.
    let is_page = separator == '/' && (folder == "users" || (is_in_word && !is_drive));
    if after.len() == name_and_rest.len() || is_page {
        return None;
    }
    let start = input.len() - name_and_rest.len();
    let ends = |c: char| c == separator || matches!(c, '"' | '\'' | '<' | '>' | '|' | ':' | '\n') || (separator == '/' && c.is_whitespace());
    let length = name_and_rest.find(ends).unwrap_or(name_and_rest.len());
    let name = name_and_rest.get(..length)?;
    let is_known = folder == "home" && word_of(name) != Word::Unknown;
    (!name.is_empty() && !is_known && !name_and_rest.starts_with("[redacted:")).then_some((start, start + length, Kind::User))
}

#[cfg(test)]
mod tests {
    use super::{IBANS, Traits, next_finding};
    use crate::hit::scrubbed::Kind;
    use crate::rules::numbers::Place;
    use proptest::prelude::*;

    #[test]
    fn countries_are_sorted() {
        assert!(IBANS.is_sorted());
    }

    #[test]
    fn where_and_what() {
        for (text, found, kind) in [
            ("an jane@example.org.", "jane@example.org", Kind::Email),
            ("jane&#64;example.org", "jane&#64;example.org", Kind::Email),
            ("de89 3704 0044 0532 0130 00", "de89 3704 0044 0532 0130 00", Kind::Iban),
            ("a=1&token=x7&b", "x7", Kind::Key),
            ("{\"cvv\": \"123\"}", "123", Kind::Key),
            ("Password: hunter2", "hunter2", Kind::Key),
            ("Authorization: Basic dXNlcg==", "Basic dXNlcg==", Kind::Token),
            ("C:\\Users\\Jane Doe\\a", "Jane Doe", Kind::User),
            ("in /home/jane/x", "jane", Kind::User),
            ("call (020) 7946 0958", "(020) 7946 0958", Kind::Phone),
            ("x 2001:db8:1:2::3 y", "2001:db8:1:2::3", Kind::Ip),
        ] {
            let found_there = next_finding(text, 0, Place::Prose, Traits::of(text)).map(|(start, end, kind)| (&text[start..end], kind));
            assert_eq!(found_there, Some((found, kind)), "{text}");
        }
        for text in ["input[name=email]", "hero@2x.png", "Password: how to", "/home/products", "https://a.example/home/garden", "a::b", "pkg@1.2.3"] {
            assert_eq!(next_finding(text, 0, Place::Prose, Traits::of(text)), None, "{text}");
        }
    }
    #[test]
    fn what_makes_a_text_plain() {
        for (text, is_plain) in [
            ("page_view", true), ("Winter ink - Acme shop", true), ("www.shop.example", true), ("", true), ("a-b-c, d; e?", true),
            ("a--b", false), ("4", false), ("a:b", false), ("Größe", false), ("a_word_of_twenty.byt", false), ("a_word_of_twenty.by", true),
            ("x/y", false), ("50%", false), ("a & b", false),
        ] {
            assert_eq!(Traits::of(text).is_plain(), is_plain, "{text}");
        }
        for before in 0..100 {
            for (length, letter) in [19, 20, 21, 64].into_iter().flat_map(|length| ["x", "7", "x7", "7."].map(|letter| (length, letter))) {
                let text = format!("{} {} ", " ".repeat(before), &letter.repeat(length)[..length]);
                assert_eq!(Traits::of(&text).has(Traits::RUN), length >= 20, "{before} {length} {letter}");
            }
        }
    }

    #[test]
    fn what_may_be_a_number() {
        for (text, may_be) in [
            ("5f2b8c1d9e3a4b6c7d8e9f0a1b2c3d4e", false), ("1.2.3.4", true), ("v123.1.2.3", true), ("x12345678901", false), ("x123456789012", true),
            ("1234567", true), ("123456", false), ("a-12345", true), ("a-1234-b", true), ("a-123-b", false), ("notebook-311", false), ("1:2", true),
            ("1%", true), ("é1", true), ("", false),
        ] {
            assert_eq!(Traits::of(text).has(Traits::NUMBER), may_be, "{text}");
        }
    }

    proptest! {
        /// What is left out for a trait that a text does not have would have found nothing.
        #[test]
        fn traits_hide_no_finding(
            parts in proptest::collection::vec(prop_oneof![
                "\\PC{0,9}", "[a-zA-Z0-9._-]{0,40}", "[0-9 .:/+()-]{0,20}", "[0-9a-f:]{0,20}", "[A-Z]{2}[0-9]{2}[A-Z0-9]{10,20}",
                Just("-----BEGIN RSA".to_owned()), Just("bearer a1b2c3d4e5".to_owned()), Just("a@b.cd".to_owned()), Just("token=".to_owned()),
                Just("DE89370400440532013000".to_owned()), Just("4242424242424242".to_owned()), Just("AKIAIOSFODNN7EXAMPLE".to_owned()),
                Just("eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0".to_owned()), Just("/home/jane".to_owned()), Just("2001:db8:1:2::3".to_owned()),
            ], 0..5),
            from in 0_usize..4,
        ) {
            let text = parts.concat();
            let from = if text.is_char_boundary(from) { from } else { 0 };
            for place in [Place::Prose, Place::Path] {
                let found = next_finding(&text, from, place, Traits(u16::MAX));
                prop_assert_eq!(next_finding(&text, from, place, Traits::of(&text)), found);
                prop_assert!(found.is_none() || !Traits::of(&text).is_plain(), "{}", text);
            }
        }
    }
}
