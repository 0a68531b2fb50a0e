//! Owns the cleaning of every text before the gate mints a row: what singles a person out, opens an
//! account or pays a bill is replaced by `[redacted:kind]`.
//!
//! Knows e-mail addresses, payment cards (IIN and Luhn), IP addresses, IBANs, phone numbers (E.164),
//! US social security numbers, tokens and keys, and what the request itself carried (its own user
//! agent or a cookie's value coming back in a field). Promises: scrubs before it cuts to length (half
//! a card number would survive the cut), never panics, leaves what merely looks like a number alone.
//! Never keeps what it removed.

use bumpalo::Bump;
use bumpalo::collections::String as ArenaString;
use std::borrow::Cow;

/// What of the request itself must not come back inside a field.
#[derive(Clone, Copy, Default)]
pub struct Echo<'a> {
    pub user_agent: &'a [u8],
    pub cookies: &'a [&'a [u8]],
}

/// The text, cleaned and at most `length_max` bytes long (cut at a character's edge).
pub fn text<'a>(input: &'a str, length_max: usize, echo: Echo<'_>, arena: &'a Bump) -> &'a str {
    let cleaned = if echoes(input, echo) { "[redacted:echo]" } else { clean(input, arena) };
    cut(cleaned, length_max)
}

/// A URL taken apart and cleaned.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CleanUrl<'a> {
    /// Scheme, host, path and what is allowed of the query.
    pub url: &'a str,
    /// Lower case, without port or user.
    pub host: &'a str,
    pub path: &'a str,
}

pub const URL_LENGTH_MAX: usize = 2_048;

/// The URL without user, fragment and every query parameter that is not allowed, its path segments
/// cleaned. A path alone (`/a?b`, as logs have it) is treated alike; what is neither loses all behind `?`
/// or `#`, is cleaned as text, and has neither host nor path.
pub fn url<'a>(input: &'a str, echo: Echo<'_>, arena: &'a Bump) -> CleanUrl<'a> {
    let input = input.trim();
    let (scheme, rest) = match split_scheme(input) {
        Some((scheme, rest)) => (Some(scheme), rest),
        None if input.starts_with('/') && !input.starts_with("//") => (None, input),
        None => {
            let bare = input.split(['?', '#']).next().unwrap_or("");
            return CleanUrl { url: text(bare, URL_LENGTH_MAX, echo, arena), ..CleanUrl::default() };
        }
    };
    let rest = rest.split('#').next().unwrap_or("");
    let (before_query, query) = rest.split_once('?').unwrap_or((rest, ""));
    if echoes_over_segments(before_query, echo) {
        return CleanUrl { url: "[redacted:echo]", ..CleanUrl::default() };
    }
    let path_at = before_query.find('/').unwrap_or(before_query.len());
    let (authority, raw_path) = before_query.split_at(path_at);
    let authority = authority.rsplit('@').next().unwrap_or("");
    let host = clean_host(authority, echo, arena);

    let mut path = ArenaString::with_capacity_in(raw_path.len(), arena);
    for (at, segment) in raw_path.split('/').enumerate() {
        if at > 0 {
            path.push('/');
        }
        path.push_str(clean_segment(segment, echo));
    }
    if path.is_empty() {
        path.push('/');
    }
    let path = cut(path.into_bump_str(), URL_LENGTH_MAX);

    let mut whole = ArenaString::with_capacity_in(input.len(), arena);
    if let Some(scheme) = scheme {
        whole.push_str(scheme);
        whole.push_str("://");
    }
    whole.push_str(host);
    if let Some(port) = port_of(authority) {
        whole.push(':');
        whole.push_str(port);
    }
    whole.push_str(path);
    let mut joiner = '?';
    for (key, value) in query.split('&').filter_map(|pair| pair.split_once('=')) {
        let value = value.split('#').next().unwrap_or("");
        if QUERY_KEYS_KEPT.contains(&key) && !is_telling(value) && !echoes(value, echo) {
            whole.push(joiner);
            whole.push_str(key);
            whole.push('=');
            whole.push_str(value);
            joiner = '&';
        }
    }
    let host = host.strip_suffix('.').unwrap_or(host);
    CleanUrl { url: cut(whole.into_bump_str(), URL_LENGTH_MAX), host, path }
}

/// The value of one of the allowed query parameters, decoded; the first one counts.
pub fn query_value<'a>(url: &'a str, key: &str, arena: &'a Bump) -> Option<&'a str> {
    let query = url.split('#').next()?.split_once('?')?.1;
    let (_, value) = query.split('&').filter_map(|pair| pair.split_once('=')).find(|(name, _)| *name == key)?;
    Some(decode_component(value, arena)).filter(|value| !value.is_empty())
}

/// A property's name and value, cleaned; a name that asks for what must not be kept loses its value.
pub fn property<'a>(key: &'a str, value: &'a str, echo: Echo<'_>, arena: &'a Bump) -> (&'a str, &'a str) {
    let clean_key = text(key, PROPERTY_KEY_LENGTH_MAX, echo, arena);
    if names_a_secret(key) {
        return (clean_key, "[redacted:key]");
    }
    (clean_key, text(value, PROPERTY_VALUE_LENGTH_MAX, echo, arena))
}

pub const PROPERTY_KEY_LENGTH_MAX: usize = 64;
pub const PROPERTY_VALUE_LENGTH_MAX: usize = 1_024;

/// Percent-decodes a query component (`+` is a space), copying only where something is encoded.
pub fn decode_component<'a>(input: &'a str, arena: &'a Bump) -> &'a str {
    if !input.bytes().any(|byte| byte == b'%' || byte == b'+') {
        return input;
    }
    let mut bytes = bumpalo::collections::Vec::with_capacity_in(input.len(), arena);
    let mut rest = input.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        match (first, after) {
            (b'%', [high, low, tail @ ..]) if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => {
                bytes.push((hex(*high) << 4) | hex(*low));
                rest = tail;
            }
            (b'+', tail) => {
                bytes.push(b' ');
                rest = tail;
            }
            (byte, tail) => {
                bytes.push(byte);
                rest = tail;
            }
        }
    }
    match std::str::from_utf8(bytes.into_bump_slice()) {
        Ok(decoded) => decoded,
        Err(_) => "\u{fffd}",
    }
}

const fn hex(digit: u8) -> u8 {
    match digit {
        b'0'..=b'9' => digit - b'0',
        b'a'..=b'f' => digit - b'a' + 10,
        _ => digit.wrapping_sub(b'A').wrapping_add(10),
    }
}

/// Queries are dropped but for these: what marketing writes about itself, not about a person.
const QUERY_KEYS_KEPT: [&str; 5] = ["utm_source", "utm_medium", "utm_campaign", "utm_term", "utm_content"];

/// A property so named is not for an event collector, whatever its value (PCI DSS 3.3; credentials;
/// direct identifiers, which live in `people` and only by contract). Compared in lower case, `-`, `.`
/// and space as `_`.
const SECRET_NAMES: &[&str] = &[
    "pass", "pwd", "pin", "otp", "totp", "cvc", "cvv", "cvv2", "csc", "pan", "card", "iban", "ssn", "auth",
    "authorization", "bearer", "jwt", "cookie", "session", "sessionid", "sid", "email", "e_mail", "mail",
    "phone", "tel", "telephone", "msisdn", "firstname", "first_name", "lastname", "last_name", "surname",
    "fullname", "full_name", "birthday", "birthdate", "dob", "passport", "ip", "ip_address", "user_agent",
    "useragent",
];
const SECRET_PARTS: &[&str] = &[
    "passw", "passphrase", "secret", "token", "apikey", "api_key", "credential", "private_key", "sessid",
    "session_id", "cardnum", "card_num", "creditcard", "credit_card", "ccnum", "cc_num", "email",
];

fn names_a_secret(key: &str) -> bool {
    let mut buffer = [0_u8; PROPERTY_KEY_LENGTH_MAX];
    let length = key.len().min(buffer.len());
    for (slot, byte) in buffer.iter_mut().zip(key.bytes()) {
        *slot = match byte {
            b'-' | b'.' | b' ' | b'[' | b']' => b'_',
            other => other.to_ascii_lowercase(),
        };
    }
    let Some(Ok(name)) = buffer.get(..length).map(std::str::from_utf8) else {
        return false;
    };
    SECRET_NAMES.contains(&name) || SECRET_PARTS.iter().any(|part| name.contains(part))
}

fn split_scheme(input: &str) -> Option<(&str, &str)> {
    let (scheme, rest) = input.split_once("://")?;
    let fits = (1..=16).contains(&scheme.len())
        && scheme.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.'));
    (fits && !rest.is_empty()).then_some((scheme, rest))
}

fn port_of(authority: &str) -> Option<&str> {
    let (_, port) = authority.rsplit_once(':')?;
    ((1..=5).contains(&port.len()) && port.bytes().all(|byte| byte.is_ascii_digit())).then_some(port)
}

/// The host of `host[:port]`, lower case; a bare address as host says where someone is, so it goes.
fn clean_host<'a>(authority: &'a str, echo: Echo<'_>, arena: &'a Bump) -> &'a str {
    let host = match port_of(authority) {
        Some(port) => authority.get(..authority.len() - port.len() - 1).unwrap_or(authority),
        None => authority,
    };
    // Pages served from this very machine (a demonstration, a test) are nobody's address.
    if !matches!(host, "127.0.0.1" | "[::1]") && (host.starts_with('[') || is_telling(host)) {
        return "[redacted:ip]";
    }
    // Browsers decode a host before they send it: an encoded one is something else in its place.
    if host.contains('%') {
        return "[redacted:encoded]";
    }
    // A session as a label; names of shops and tenants stand in cookies too, and are shorter.
    let is_session = |value: &[u8]| value.len() >= 16 && !value.contains(&b'.');
    if cookie_values(echo).any(|value| is_session(value) && contains(host.as_bytes(), value)) {
        return "[redacted:echo]";
    }
    if host.bytes().any(|byte| byte.is_ascii_uppercase()) {
        let mut lower = ArenaString::from_str_in(host, arena);
        lower.make_ascii_lowercase();
        return cut(lower.into_bump_str(), 253);
    }
    cut(host, 253)
}

/// A path segment, looked at in every form.
fn clean_segment<'a>(segment: &'a str, echo: Echo<'_>) -> &'a str {
    if echoes(segment, echo) {
        return "[redacted:echo]";
    }
    let mut mark = "";
    in_any_form(segment, |look| {
        if let Some((_, _, kind)) = next_finding(look, 0) {
            mark = marked(kind);
        } else if is_long_secret(look) {
            mark = "[redacted:token]";
        }
        !mark.is_empty()
    });
    if mark.is_empty() { segment } else { mark }
}

/// Whether the user agent, or a cookie's value that has a `/`, stands in host and path: cut into segments
/// none of them would be known again.
fn echoes_over_segments(before_query: &str, echo: Echo<'_>) -> bool {
    in_any_form(before_query, |look| {
        says_agent(look.as_bytes(), echo) || cookie_values(echo).any(|value| value.contains(&b'/') && contains(look.as_bytes(), value))
    })
}

/// 32 or more letters and digits in one breath, mixed: a reset link's token, a session, a key.
fn is_long_secret(segment: &str) -> bool {
    let longest = segment
        .split(|c: char| !c.is_ascii_alphanumeric() && c != '_')
        .max_by_key(|run| run.len())
        .unwrap_or("");
    longest.len() >= 32
        && longest.bytes().filter(u8::is_ascii_digit).count() >= 4
        && longest.bytes().any(|byte| byte.is_ascii_alphabetic())
}

/// Whether any form of `value` has something to remove.
fn is_telling(value: &str) -> bool {
    is_long_secret(value) || in_any_form(value, |look| next_finding(look, 0).is_some())
}

/// Whether the request's own user agent or one of its cookie values stands in `input`.
fn echoes(input: &str, echo: Echo<'_>) -> bool {
    in_any_form(input, |look| says_agent(look.as_bytes(), echo) || cookie_values(echo).any(|value| contains(look.as_bytes(), value)))
}

/// Browsers and proxies encode twice; links within links within links are seen as well.
const DECODED_MAX: u32 = 4;

/// Whether `is_found` in a text as it stands, or percent-decoded up to four times.
fn in_any_form(input: &str, mut is_found: impl FnMut(&str) -> bool) -> bool {
    if is_found(input) {
        return true;
    }
    if !input.contains('%') && !input.contains('+') {
        return false;
    }
    let mut look = input.replace('+', " ");
    for _ in 0..DECODED_MAX {
        look = percent_encoding::percent_decode_str(&look).decode_utf8_lossy().into_owned();
        if is_found(&look) {
            return true;
        }
        if !look.contains('%') {
            break;
        }
    }
    false
}

fn says_agent(bytes: &[u8], echo: Echo<'_>) -> bool {
    echo.user_agent.len() >= 12 && contains(bytes, echo.user_agent)
}

/// The values of the request's cookies but for short ones (flags, counters, language codes), which stand
/// in honest texts by chance.
fn cookie_values<'a>(echo: Echo<'a>) -> impl Iterator<Item = &'a [u8]> {
    let pairs = echo.cookies.iter().flat_map(|header| header.split(|byte| *byte == b';'));
    pairs.map(|pair| pair.splitn(2, |byte| *byte == b'=').nth(1).unwrap_or(pair)).filter(|value| value.len() >= 8)
}

fn contains(hay: &[u8], needle: &[u8]) -> bool {
    hay.len() >= needle.len() && hay.windows(needle.len()).any(|window| window == needle)
}

fn cut(input: &str, length_max: usize) -> &str {
    if input.len() <= length_max {
        return input;
    }
    let mut end = length_max;
    while !input.is_char_boundary(end) {
        end -= 1;
    }
    input.get(..end).unwrap_or("")
}

/// The input with every finding replaced; the input itself where there is none.
fn clean<'a>(input: &'a str, arena: &'a Bump) -> &'a str {
    let cleaned = clean_as_it_stands(input, arena);
    // What is percent-encoded (a URL in a property) is judged decoded, beside what was found as it stood.
    if cleaned.contains('%') && is_telling(cleaned) { "[redacted:encoded]" } else { cleaned }
}

fn clean_as_it_stands<'a>(input: &'a str, arena: &'a Bump) -> &'a str {
    let Some(first) = next_finding(input, 0) else {
        return input;
    };
    let mut output = ArenaString::with_capacity_in(input.len(), arena);
    let (mut at, mut finding) = (0, Some(first));
    while let Some((start, end, kind)) = finding {
        output.push_str(input.get(at..start).unwrap_or(""));
        output.push_str(marked(kind));
        at = end;
        finding = next_finding(input, end);
    }
    output.push_str(input.get(at..).unwrap_or(""));
    output.into_bump_str()
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Card,
    Email,
    Iban,
    Ip,
    Phone,
    Ssn,
    Token,
}

const fn marked(kind: Kind) -> &'static str {
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
type Finding = (usize, usize, Kind);

/// The first finding at or after byte `from`. Each position is looked at by what its character can
/// begin; runs of digits and of letters are entered at their first character only, so the work is
/// linear but for the fixed windows of the patterns (at most 320 bytes).
fn next_finding(input: &str, from: usize) -> Option<Finding> {
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

/// A text in lower case, copied only where it has capitals.
pub fn lower(input: &str) -> Cow<'_, str> {
    if input.bytes().any(|byte| byte.is_ascii_uppercase()) { Cow::Owned(input.to_ascii_lowercase()) } else { Cow::Borrowed(input) }
}

#[cfg(test)]
mod tests {
    use super::{Echo, PROPERTY_VALUE_LENGTH_MAX, property, text, url};
    use bumpalo::Bump;
    use proptest::prelude::*;

    fn cleaned(input: &str) -> String {
        let arena = Bump::new();
        text(input, PROPERTY_VALUE_LENGTH_MAX, Echo::default(), &arena).to_owned()
    }

    #[test]
    fn what_must_go_goes() {
        for (input, expected) in [
            ("write to jane.doe+x@mail.example.org now", "write to [redacted:email] now"),
            ("4242424242424242", "[redacted:card]"),
            ("card 4242 4242 4242 4242!", "card [redacted:card]!"),
            ("5555-5555-5555-4444", "[redacted:card]"),
            ("２２２３００３１２２００３２２２", "[redacted:card]"),
            ("378282246310005", "[redacted:card]"),
            ("4242%204242%204242%204242", "[redacted:card]"),
            ("%34%32%34%32%34%32%34%32%34%32%34%32%34%32%34%32", "[redacted:encoded]"),
            ("jane%2540example.org", "[redacted:encoded]"),
            ("from 203.0.113.77:", "from [redacted:ip]:"),
            ("at 2001:db8:1:2::3 ok", "at [redacted:ip] ok"),
            ("::ffff:203.0.113.77", "[redacted:ip]"),
            ("call +44 20 7946 0958", "call [redacted:phone]"),
            ("GB82 WEST 1234 5698 7654 32", "[redacted:iban]"),
            ("DE89370400440532013000", "[redacted:iban]"),
            ("ssn 123-45-6789.", "ssn [redacted:ssn]."),
            ("Authorization: Bearer abcdef0123456789", "Authorization: [redacted:token]"),
            ("eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.abc", "[redacted:token]"),
            ("AKIAIOSFODNN7EXAMPLE", "[redacted:token]"),
        ] {
            assert_eq!(cleaned(input), expected, "{input}");
        }
    }

    #[test]
    fn what_only_looks_like_it_stays() {
        for input in [
            "4242424242424241", "1732380000000", "order 1234567890123456", "12:34:56", "2026-11-23T10:00:00Z",
            "v1.2.3", "std::vec", "3.14159", "a@b", "@handle", "50% off", "+1", "GB29", "Größe 42", "1,234,567.89",
        ] {
            assert_eq!(cleaned(input), input);
        }
    }

    #[test]
    fn urls_keep_what_marketing_wrote_and_nothing_of_a_person() {
        let arena = Bump::new();
        for (input, expected, host, path) in [
            ("https://Shop.Example/a?utm_source=a&email=x%40y.z&code=abc#token", "https://shop.example/a?utm_source=a", "shop.example", "/a"),
            ("https://u:p@shop.example:8443", "https://shop.example:8443/", "shop.example", "/"),
            ("https://shop.example/u/jane%40example.org/x", "https://shop.example/u/[redacted:email]/x", "shop.example", "/u/[redacted:email]/x"),
            ("https://shop.example/reset/9f86d081884c7d659a2feaa0c55ad015", "https://shop.example/reset/[redacted:token]", "shop.example", "/reset/[redacted:token]"),
            ("https://shop.example/p/4242-4242-4242-4242", "https://shop.example/p/[redacted:card]", "shop.example", "/p/[redacted:card]"),
            ("https://a.example/?utm_term=jane%40x.org&utm_campaign=b", "https://a.example/?utm_campaign=b", "a.example", "/"),
            ("http://203.0.113.77/x", "http://[redacted:ip]/x", "[redacted:ip]", "/x"),
            ("/reset?token=abc&utm_source=x#y", "/reset?utm_source=x", "", "/reset"),
            ("//evil.example/?a=b", "//evil.example/", "", ""),
            ("about:blank?token=abc", "about:blank", "", ""),
            ("android-app://com.shop/x", "android-app://com.shop/x", "com.shop", "/x"),
        ] {
            let clean = url(input, Echo::default(), &arena);
            assert_eq!((clean.url, clean.host, clean.path), (expected, host, path), "{input}");
        }
    }

    #[test]
    fn a_request_s_own_headers_do_not_come_back_in_a_field() {
        let arena = Bump::new();
        let echo = Echo { user_agent: b"Mozilla/5.0 (X11) Firefox/140", cookies: &[b"a=1; sess=0123abcd4567"] };
        for input in ["ua=Mozilla/5.0 (X11) Firefox/140", "x 0123abcd4567 y"] {
            assert_eq!(text(input, 100, echo, &arena), "[redacted:echo]");
        }
        assert_eq!(text("Mozilla", 100, echo, &arena), "Mozilla");
        for input in ["https://a.example/Mozilla/5.0%20(X11)%20Firefox/140", "https://Mozilla/5.0 (X11) Firefox/140"] {
            assert_eq!(url(input, echo, &arena).url, "[redacted:echo]", "{input}");
        }
        assert_eq!(text("%30123abcd4567", 100, echo, &arena), "[redacted:echo]");
    }

    #[test]
    fn what_is_encoded_beside_what_is_not_goes_too() {
        let arena = Bump::new();
        let input = "card 4111111111111111, again %234111111111111111";
        assert_eq!(text(input, 100, Echo::default(), &arena), "[redacted:encoded]");
        let path = url("/reset/a%40b.example?name=Jane&utm_source=x#4111", Echo::default(), &arena);
        assert_eq!((path.url, path.host, path.path), ("/reset/[redacted:email]?utm_source=x", "", "/reset/[redacted:email]"));
    }

    #[test]
    fn a_property_named_for_a_secret_loses_its_value() {
        let arena = Bump::new();
        for (key, value) in [("Password", "x"), ("user.email", "x"), ("access-token", "x"), ("cvv", "123")] {
            assert_eq!(property(key, value, Echo::default(), &arena), (key, "[redacted:key]"));
        }
        for (key, value) in [("order_id", "123456789012"), ("plan", "gold"), ("pinned", "yes")] {
            assert_eq!(property(key, value, Echo::default(), &arena), (key, value));
        }
    }

    proptest! {
        #[test]
        fn any_text_comes_back_clean_and_stays_clean(input in "\\PC{0,200}") {
            let once = cleaned(&input);
            prop_assert_eq!(cleaned(&once), once);
        }

        #[test]
        fn any_url_is_cut_and_never_panics(input in "(https?://)?\\PC{0,200}", length in 0_usize..40) {
            let arena = Bump::new();
            url(&input, Echo::default(), &arena);
            prop_assert!(text(&input, length, Echo::default(), &arena).len() <= length);
        }

        #[test]
        fn a_card_never_survives(prefix in "[a-z ]{0,10}", separator in "[ -]?", suffix in "[a-z ]{0,10}") {
            let number = ["4111", "1111", "1111", "1111"].join(&separator);
            let once = cleaned(&format!("{prefix}{number}{suffix}"));
            prop_assert!(!once.contains(&number), "{}", once);
        }
    }
}
