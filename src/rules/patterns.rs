//! Owns the patterns of what must not be kept: where in a text they stand, and what they are.
//!
//! Knows e-mail addresses (RFC 5321), payment cards (ISO/IEC 7812-1: issuer and check digit), IP
//! addresses, IBANs (ISO 13616), phone numbers (E.164), US social security numbers, tokens and keys by
//! their well-known first letters. Promises: linear in the text; what merely looks like a number is let
//! be. Never changes a text: `rules::scrub` does.

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Card,
    Email,
    Iban,
    Ip,
    Phone,
    Ssn,
    Token,
}

pub const fn marked(kind: Kind) -> &'static str {
    match kind {
        Kind::Card => "[redacted:card]",
        Kind::Email => "[redacted:email]",
        Kind::Iban => "[redacted:iban]",
        Kind::Ip => "[redacted:ip]",
        Kind::Phone => "[redacted:phone]",
        Kind::Ssn => "[redacted:ssn]",
        Kind::Token => "[redacted:token]",
    }
}

/// Where a finding begins and ends, and what it is.
pub type Finding = (usize, usize, Kind);

/// The first finding at or after byte `from`. Each position is looked at by what its character can
/// begin; runs of digits and of letters are entered at their first character only, so the work is
/// linear but for the fixed windows of the patterns (at most 320 bytes).
pub fn next_finding(input: &str, from: usize) -> Option<Finding> {
    let mut before = input.get(..from).and_then(|head| head.chars().next_back());
    for (at, character) in input.get(from..)?.char_indices().map(|(at, character)| (at + from, character)) {
        let rest = input.get(at..)?;
        let begins = !before.is_some_and(|previous| previous.is_alphanumeric());
        let found = match character {
            '@' | '＠' => email_around(input, from, at, character.len_utf8()),
            '+' => phone(rest).map(|length| (at, at + length, Kind::Phone)),
            '-' if rest.starts_with("-----BEGIN ") => Some((at, input.len(), Kind::Token)),
            ':' if begins => ipv6(rest).map(|length| (at, at + length, Kind::Ip)),
            _ if digit(character).is_some() && before.and_then(digit).is_none() => card(rest)
                .map(|length| (at, at + length, Kind::Card))
                .or_else(|| if begins { digits_pattern(rest, before).map(|(length, kind)| (at, at + length, kind)) } else { None }),
            _ if begins && character.is_ascii_alphabetic() => {
                letters_pattern(rest).map(|(length, kind)| (at, at + length, kind))
            }
            _ => None,
        };
        if found.is_some() {
            return found;
        }
        before = Some(character);
    }
    None
}

/// RFC 5321's local part at most 64 bytes, domain at most 255, a top-level domain of two letters or more.
fn email_around(input: &str, from: usize, at: usize, at_length: usize) -> Option<Finding> {
    let left = input.get(from..at)?;
    let local: usize = left
        .chars()
        .rev()
        .take(64)
        .take_while(|c| c.is_alphanumeric() || ".!#$%&'*+=?^_`{|}~-".contains(*c))
        .map(char::len_utf8)
        .sum();
    let right = input.get(at + at_length..)?;
    let domain: usize = right
        .chars()
        .take(255)
        .take_while(|c| c.is_alphanumeric() || matches!(c, '.' | '-'))
        .map(char::len_utf8)
        .sum();
    let name = right.get(..domain)?.trim_end_matches(['.', '-']);
    let (_, top) = name.rsplit_once('.')?;
    let is_email = local > 0 && top.chars().count() >= 2 && top.chars().any(char::is_alphabetic);
    is_email.then_some((at - local, at + at_length + name.len(), Kind::Email))
}

/// E.164: `+`, then 8 to 15 digits, with single spaces, dots, dashes or parentheses among them.
fn phone(rest: &str) -> Option<usize> {
    let (mut digits, mut end, mut gap) = (0, 1, 0);
    for (at, character) in rest.char_indices().skip(1) {
        if digit(character).is_some() {
            digits += 1;
            end = at + character.len_utf8();
            gap = 0;
        } else if matches!(character, ' ' | '-' | '.' | '(' | ')' | '/') && gap < 2 && digits > 0 {
            gap += 1;
        } else {
            break;
        }
        if digits > 15 {
            return None;
        }
    }
    (digits >= 8).then_some(end)
}

/// A payment card: 12 to 19 digits, single separators among them, a known issuer, a right check
/// digit (ISO/IEC 7812-1), not part of a longer run of digits. The issuer's list keeps timestamps
/// in milliseconds (17…) and most order numbers out.
fn card(rest: &str) -> Option<usize> {
    let mut digits = [0_u8; 19];
    let (mut count, mut end, mut separated) = (0, 0, false);
    let mut tail = rest;
    while let Some(character) = tail.chars().next() {
        let mut step = character.len_utf8();
        if let Some(value) = digit(character) {
            *digits.get_mut(count)? = value;
            count += 1;
            end = rest.len() - tail.len() + step;
            separated = false;
        } else {
            if tail.starts_with("%20") || tail.starts_with("%2D") || tail.starts_with("%2d") {
                step = 3;
            } else if !matches!(character, ' ' | '-' | '.' | '+' | '_' | '\u{a0}' | '\u{2009}' | '\u{202f}' | '‑' | '–') {
                break;
            }
            if separated || count == 0 {
                break;
            }
            separated = true;
        }
        tail = tail.get(step..)?;
    }
    let number = digits.get(..count)?;
    (count >= 12 && is_issued(number) && luhn(number)).then_some(end)
}

/// The value of a decimal digit in any script whose digits people paste: ASCII, full-width,
/// Arabic-Indic and its eastern form, Devanagari.
fn digit(character: char) -> Option<u8> {
    let code = u32::from(character);
    let zero = match code {
        0x30..=0x39 => 0x30,
        0xff10..=0xff19 => 0xff10,
        0x660..=0x669 => 0x660,
        0x6f0..=0x6f9 => 0x6f0,
        0x966..=0x96f => 0x966,
        _ => return None,
    };
    u8::try_from(code - zero).ok()
}

fn luhn(digits: &[u8]) -> bool {
    let sum: u32 = digits
        .iter()
        .rev()
        .enumerate()
        .map(|(at, digit)| {
            let doubled = u32::from(*digit) * 2;
            if at % 2 == 0 { u32::from(*digit) } else if doubled > 9 { doubled - 9 } else { doubled }
        })
        .sum();
    sum.is_multiple_of(10) && digits.iter().any(|digit| *digit != 0)
}

/// Issuer ranges as `(first prefix, last prefix, digits of the prefix, lengths as bits)`; ranges as
/// published by the card schemes, gathered in braintree/credit-card-type (MIT).
const ISSUERS: &[(u32, u32, usize, &[usize])] = &[
    (4, 4, 1, &[13, 16, 18, 19]),                                // Visa
    (51, 55, 2, &[16]),                                          // Mastercard
    (2221, 2720, 4, &[16]),                                      // Mastercard, 2-series
    (34, 34, 2, &[15]),                                          // American Express
    (37, 37, 2, &[15]),                                          //
    (300, 305, 3, &[14, 16, 19]),                                // Diners Club
    (36, 36, 2, &[14, 16, 19]),                                  //
    (38, 39, 2, &[14, 16, 19]),                                  //
    (6011, 6011, 4, &[16, 19]),                                  // Discover
    (644, 659, 3, &[16, 19]),                                    //
    (2131, 2131, 4, &[16, 17, 18, 19]),                          // JCB
    (1800, 1800, 4, &[16, 17, 18, 19]),                          //
    (3528, 3589, 4, &[16, 17, 18, 19]),                          //
    (620, 629, 3, &[14, 15, 16, 17, 18, 19]),                    // UnionPay
    (810, 817, 3, &[14, 15, 16, 17, 18, 19]),                    //
    (500, 509, 3, &[12, 13, 14, 15, 16, 17, 18, 19]),            // Maestro, Elo, Verve
    (56, 59, 2, &[12, 13, 14, 15, 16, 17, 18, 19]),              //
    (63, 63, 2, &[12, 13, 14, 15, 16, 17, 18, 19]),              //
    (67, 67, 2, &[12, 13, 14, 15, 16, 17, 18, 19]),              //
    (2200, 2204, 4, &[16, 17, 18, 19]),                          // Mir
    (606_282, 606_282, 6, &[16]),                                // Hipercard
    (9792, 9792, 4, &[16]),                                      // Troy
];

fn is_issued(digits: &[u8]) -> bool {
    ISSUERS.iter().any(|(first, last, length, lengths)| {
        let prefix = digits.iter().take(*length).fold(0_u32, |number, digit| number * 10 + u32::from(*digit));
        lengths.contains(&digits.len()) && (*first..=*last).contains(&prefix)
    })
}

/// What else begins with a digit: an IPv4 or IPv6 address, a US social security number.
fn digits_pattern(rest: &str, before: Option<char>) -> Option<(usize, Kind)> {
    if before == Some('.') {
        return None;
    }
    if let Some(length) = ipv4(rest) {
        return Some((length, Kind::Ip));
    }
    if let Some(length) = ipv6(rest) {
        return Some((length, Kind::Ip));
    }
    let bytes = rest.as_bytes();
    let shape = |at: usize| bytes.get(at).is_some_and(u8::is_ascii_digit);
    let is_ssn = (0..11).all(|at| if at == 3 || at == 6 { bytes.get(at) == Some(&b'-') } else { shape(at) })
        && !shape(11)
        && !matches!(rest.get(..3), Some("000" | "666"))
        && rest.get(4..6) != Some("00")
        && rest.get(7..11) != Some("0000");
    is_ssn.then_some((11, Kind::Ssn))
}

fn ipv4(rest: &str) -> Option<usize> {
    let length = rest.bytes().take(16).take_while(|byte| byte.is_ascii_digit() || *byte == b'.').count();
    let run = rest.get(..length)?.trim_end_matches('.');
    let mut parts = 0;
    for part in run.split('.') {
        part.parse::<u8>().ok()?;
        parts += 1;
    }
    (parts == 4).then_some(run.len())
}

#[expect(clippy::disallowed_types, reason = "parses a text only to see whether it is an address to remove")]
fn ipv6(rest: &str) -> Option<usize> {
    let length = rest
        .bytes()
        .take(45)
        .take_while(|byte| byte.is_ascii_hexdigit() || matches!(byte, b':' | b'.'))
        .count();
    let run = rest.get(..length)?.trim_end_matches(['.', ':']);
    let run = if rest.get(..length)?.ends_with("::") { rest.get(..run.len() + 2)? } else { run };
    let is_word = rest.get(run.len()..).and_then(|tail| tail.chars().next()).is_some_and(char::is_alphanumeric);
    // Times and ratios have two colons at most and no `::`; `::` alone names nobody.
    let colons = run.bytes().filter(|byte| *byte == b':').count();
    (!is_word && colons >= 2 && run.len() > 3 && run.parse::<std::net::Ipv6Addr>().is_ok()).then_some(run.len())
}

/// What begins with a letter: tokens by their well-known first letters, IBANs, IPv6.
fn letters_pattern(rest: &str) -> Option<(usize, Kind)> {
    let run = |from: usize, fits: fn(u8) -> bool| {
        rest.as_bytes().get(from..).map_or(0, |tail| tail.iter().take_while(|byte| fits(**byte)).count())
    };
    if rest.starts_with("eyJ") {
        let first = run(0, is_token_byte);
        if first >= 11 && rest.as_bytes().get(first) == Some(&b'.') && run(first + 1, is_token_byte) >= 8 {
            let second = first + 1 + run(first + 1, is_token_byte);
            let third = if rest.as_bytes().get(second) == Some(&b'.') { 1 + run(second + 1, is_token_byte) } else { 0 };
            return Some((second + third, Kind::Token));
        }
    }
    if rest.get(..7).is_some_and(|head| head.eq_ignore_ascii_case("bearer ")) {
        let token = run(7, |byte| byte.is_ascii_graphic());
        if token >= 8 {
            return Some((7 + token, Kind::Token));
        }
    }
    if ["AKIA", "ASIA"].iter().any(|head| rest.starts_with(head)) && run(4, |b| b.is_ascii_uppercase() || b.is_ascii_digit()) >= 16 {
        return Some((20, Kind::Token));
    }
    for (head, least) in [("sk_live_", 16), ("rk_live_", 16), ("ghp_", 30), ("xoxb-", 20), ("xoxp-", 20)] {
        if rest.starts_with(head) && run(head.len(), is_token_byte) >= least {
            return Some((head.len() + run(head.len(), is_token_byte), Kind::Token));
        }
    }
    if let Some(length) = iban(rest) {
        return Some((length, Kind::Iban));
    }
    ipv6(rest).map(|length| (length, Kind::Ip))
}

const fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-')
}

/// ISO 13616: country, two check digits, 11 to 30 characters, in groups or not; the remainder of
/// the rearranged number by 97 is 1.
fn iban(rest: &str) -> Option<usize> {
    let bytes = rest.as_bytes();
    let head = bytes.get(..4)?;
    if !(head[0].is_ascii_uppercase() && head[1].is_ascii_uppercase() && head[2].is_ascii_digit() && head[3].is_ascii_digit()) {
        return None;
    }
    let mut compact = [0_u8; 34];
    let (mut count, mut best) = (0, None);
    for (at, byte) in bytes.iter().enumerate().take(42) {
        if byte.is_ascii_uppercase() || byte.is_ascii_digit() {
            let Some(slot) = compact.get_mut(count) else { break };
            *slot = *byte;
            count += 1;
            let ends = !bytes.get(at + 1).is_some_and(u8::is_ascii_alphanumeric);
            if count >= 15 && ends && compact.get(..count).is_some_and(|text| mod_97(text) == 1) {
                best = Some(at + 1);
            }
        } else if *byte != b' ' {
            break;
        }
    }
    best
}

fn mod_97(compact: &[u8]) -> u32 {
    let (head, tail) = compact.split_at(4.min(compact.len()));
    tail.iter().chain(head).fold(0, |remainder, byte| {
        if byte.is_ascii_digit() {
            (remainder * 10 + u32::from(byte - b'0')) % 97
        } else {
            (remainder * 100 + u32::from(byte - b'A') + 10) % 97
        }
    })
}
