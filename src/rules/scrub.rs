//! Owns the cleaning of every text before the gate mints a row: what singles a person out, opens an
//! account or pays a bill is replaced by `[redacted:kind]`.
//!
//! Knows URLs, also those within texts; what the request itself carried and comes back in a field is found by
//! `rules::echo`, what tells of a person by `rules::patterns`, `rules::names` and `rules::words`. Promises:
//! scrubs before it cuts to length (half a card number would survive the cut), also what is percent-encoded,
//! four times over; counts by kind what it removed; takes no memory where it finds nothing; never panics; leaves
//! what merely looks like a number alone.
//! Never keeps what it removed.

use super::echo::Echo;
use super::names::asks_for_a_person;
use super::numbers::Place;
use super::patterns::{Traits, next_finding};
use super::percent::{decode_component, decoded, is_encoded};
use super::words::{self, Word};
use crate::hit::scrubbed::{Kind, Scrubbed};
use bumpalo::Bump;
use bumpalo::collections::String as ArenaString;

/// The text, cleaned and at most `length_max` bytes long (cut at a character's edge). What was removed is
/// counted in `removed`.
pub fn text<'a>(input: &'a str, length_max: usize, echo: Echo<'_>, removed: &mut Scrubbed, arena: &'a Bump) -> &'a str {
    if echoes(input, echo, arena) {
        removed.count(Kind::Echo);
        return cut(Kind::Echo.mark(), length_max);
    }
    let traits = Traits::of(input);
    if traits.is_plain() {
        return cut(input, length_max);
    }
    let left = cut(clean(input, traits, echo, removed, arena), length_max);
    if left == input {
        return left;
    }
    let settled = until_settled(left, length_max, |left| clean(left, Traits::of(left), echo, removed, arena));
    settled.unwrap_or_else(|| {
        removed.count(Kind::Encoded);
        cut(Kind::Encoded.mark(), length_max)
    })
}

/// Looks at what is left until nothing is found: beside a finding may be another (`1::2::3` is no address, `1::` is
/// one), and a cut may make one (twenty digits are no card, the first sixteen of them are). `None` where it goes on.
fn until_settled<'a>(mut left: &'a str, length_max: usize, mut look: impl FnMut(&'a str) -> &'a str) -> Option<&'a str> {
    for _ in 1..PASSES_MAX {
        let again = look(left);
        if again == left {
            return Some(left);
        }
        left = cut(again, length_max);
    }
    None
}

/// A text that is not clean after as many passes was made to be so.
const PASSES_MAX: usize = 8;

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
pub fn url<'a>(input: &'a str, echo: Echo<'_>, removed: &mut Scrubbed, arena: &'a Bump) -> CleanUrl<'a> {
    let input = input.trim();
    let (scheme, rest) = match split_scheme(input) {
        Some((scheme, rest)) => (Some(scheme), rest),
        None if input.starts_with('/') && !input.starts_with("//") => (None, input),
        None => {
            let end = input.find(['?', '#']).unwrap_or(input.len());
            let (bare, dropped) = input.split_at(end);
            count_dropped(dropped, removed);
            return CleanUrl { url: text(bare, URL_LENGTH_MAX, echo, removed, arena), ..CleanUrl::default() };
        }
    };
    let traits = Traits::of(rest);
    let parted = |text: &'a str, by: u8, has: u16| if traits.has(has) { split_at(text, by) } else { None }.unwrap_or((text, ""));
    let (rest, fragment) = parted(rest, b'#', Traits::FRAGMENT);
    if !fragment.is_empty() {
        removed.count(Kind::Fragment);
    }
    let (before_query, query) = parted(rest, b'?', Traits::QUERY);
    if echoes_over_segments(before_query, echo, arena) {
        removed.count(Kind::Echo);
        return CleanUrl { url: Kind::Echo.mark(), ..CleanUrl::default() };
    }
    let path_at = memchr::memchr(b'/', before_query.as_bytes()).unwrap_or(before_query.len());
    let (authority, raw_path) = before_query.split_at(path_at);
    let (user, authority) = if traits.has(Traits::AT) { authority.rsplit_once('@') } else { None }.unwrap_or(("", authority));
    if !user.is_empty() {
        removed.count(Kind::User);
    }
    let host = clean_host(authority, traits, echo, removed, arena);
    // A file's path is a folder's on somebody's machine.
    let place = if scheme.is_some_and(|scheme| scheme.eq_ignore_ascii_case("file")) { Place::Prose } else { Place::Path };
    let path = settled_path(raw_path, traits, words::word_of_host(host), place, echo, removed, arena);
    // Its first segments went, and what is left is no path any more.
    if scheme.is_none() && path.starts_with("//") {
        return CleanUrl { url: text(path, URL_LENGTH_MAX, echo, removed, arena), ..CleanUrl::default() };
    }

    let mut whole = ArenaString::with_capacity_in(input.len() + 1, arena);
    if let Some(scheme) = scheme {
        whole.push_str(scheme);
        whole.push_str("://");
    }
    whole.push_str(host);
    if traits.has(Traits::COLON)
        && let Some(port) = port_of(authority)
    {
        whole.push(':');
        whole.push_str(port);
    }
    whole.push_str(path);
    let mut joiner = '?';
    let pairs = if query.is_empty() { None } else { Some(query.split('&').filter(|pair| !pair.is_empty())) };
    for pair in pairs.into_iter().flatten() {
        match pair.split_once('=') {
            Some((key, value)) if QUERY_KEYS_KEPT.contains(&key) && !tells(value, arena) && !echoes(value, echo, arena) => {
                whole.push(joiner);
                whole.push_str(key);
                whole.push('=');
                whole.push_str(value);
                joiner = '&';
            }
            Some(_) | None => removed.count(Kind::Query),
        }
    }
    let host = host.strip_suffix('.').unwrap_or(host);
    CleanUrl { url: cut(whole.into_bump_str(), URL_LENGTH_MAX), host, path }
}

/// The query of a URL; empty where it has none.
pub fn query_of(url: &str) -> &str {
    let end = memchr::memchr(b'#', url.as_bytes()).unwrap_or(url.len());
    url.get(..end).and_then(|url| split_at(url, b'?')).map_or("", |(_, query)| query)
}

/// The values of the parameters of a query that are kept, in the order of `QUERY_KEYS_KEPT`, decoded and cleaned;
/// of each the first one counts.
pub fn parameters<'a>(query: &'a str, length_max: usize, echo: Echo<'_>, removed: &mut Scrubbed, arena: &'a Bump) -> [&'a str; QUERY_KEYS_KEPT.len()] {
    let mut values = [None; QUERY_KEYS_KEPT.len()];
    let mut rest = query;
    while !rest.is_empty() {
        let (pair, behind) = split_at(rest, b'&').unwrap_or((rest, ""));
        rest = behind;
        let Some((name, value)) = split_at(pair, b'=') else { continue };
        for (key, first) in QUERY_KEYS_KEPT.iter().zip(&mut values) {
            if *key == name {
                first.get_or_insert(value);
            }
        }
    }
    values.map(|value| value.map_or("", |value| parameter(value, length_max, echo, removed, arena)))
}

fn parameter<'a>(value: &'a str, length_max: usize, echo: Echo<'_>, removed: &mut Scrubbed, arena: &'a Bump) -> &'a str {
    let value = decode_component(value, arena);
    if words::is_random(value) {
        removed.count(Kind::Token);
        return cut(Kind::Token.mark(), length_max);
    }
    text(value, length_max, echo, removed, arena)
}

/// A property's name and value, cleaned; a name that asks for what must not be kept loses its value.
pub fn property<'a>(key: &'a str, value: &'a str, echo: Echo<'_>, removed: &mut Scrubbed, arena: &'a Bump) -> (&'a str, &'a str) {
    let clean_key = text(key, PROPERTY_KEY_LENGTH_MAX, echo, removed, arena);
    if !value.is_empty() && asks_for_a_person(key) {
        removed.count(Kind::Key);
        return (clean_key, Kind::Key.mark());
    }
    (clean_key, text(value, PROPERTY_VALUE_LENGTH_MAX, echo, removed, arena))
}

pub const PROPERTY_KEY_LENGTH_MAX: usize = 64;
pub const PROPERTY_VALUE_LENGTH_MAX: usize = 1_024;

/// Queries are dropped but for these: what marketing writes about itself, not about a person. None of
/// them asks for a secret by its name; one whose value tells of a person is dropped too.
pub const QUERY_KEYS_KEPT: [&str; 5] = ["utm_source", "utm_medium", "utm_campaign", "utm_term", "utm_content"];

/// Counts a query and a fragment that go whole.
fn count_dropped(dropped: &str, removed: &mut Scrubbed) {
    let (query, fragment) = dropped.split_once('#').unwrap_or((dropped, ""));
    for _ in query.trim_start_matches('?').split('&').filter(|pair| !pair.is_empty()) {
        removed.count(Kind::Query);
    }
    if !fragment.is_empty() {
        removed.count(Kind::Fragment);
    }
}

/// What stands before and behind the first such byte, which is of ASCII.
fn split_at(text: &str, by: u8) -> Option<(&str, &str)> {
    let at = memchr::memchr(by, text.as_bytes())?;
    Some((text.get(..at)?, text.get(at + 1..)?))
}

fn split_scheme(input: &str) -> Option<(&str, &str)> {
    let length = input.bytes().take(SCHEME_LENGTH_MAX).take_while(|byte| is_scheme_byte(*byte)).count();
    let (scheme, rest) = input.split_at_checked(length)?;
    let rest = rest.strip_prefix("://")?;
    (length > 0 && !rest.is_empty()).then_some((scheme, rest))
}

const SCHEME_LENGTH_MAX: usize = 16;

const fn is_scheme_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.')
}

fn port_of(authority: &str) -> Option<&str> {
    let (_, port) = authority.rsplit_once(':')?;
    ((1..=5).contains(&port.len()) && port.bytes().all(|byte| byte.is_ascii_digit())).then_some(port)
}

/// The host of `host[:port]`, lower case; a bare address as host says where someone is, so it goes.
fn clean_host<'a>(authority: &'a str, traits: Traits, echo: Echo<'_>, removed: &mut Scrubbed, arena: &'a Bump) -> &'a str {
    let host = if !traits.has(Traits::COLON) {
        authority
    } else if let Some(port) = port_of(authority) {
        authority.get(..authority.len() - port.len() - 1).unwrap_or(authority)
    } else {
        authority.strip_suffix(':').unwrap_or(authority)
    };
    // An empty host is nobody's.
    if host.is_empty() || (host.starts_with('[') && Kind::ALL.iter().any(|kind| kind.mark() == host)) {
        return host;
    }
    let given = host;
    // Judged as it will be kept, too: in lower case it may have a secret's form that it had not as it was written.
    let host = if traits.has(Traits::CAPITAL) && given.bytes().any(|byte| byte.is_ascii_uppercase()) {
        let mut lower = ArenaString::from_str_in(given, arena);
        lower.make_ascii_lowercase();
        lower.into_bump_str()
    } else {
        given
    };
    // A session as a label; names of shops and tenants stand in cookies too, and are shorter.
    let is_session = |value: &[u8]| value.len() >= 16 && !value.contains(&b'.');
    // Pages served from this very machine (a demonstration, a test) are nobody's address.
    let kind = if !matches!(host, "127.0.0.1" | "[::1]") && (host.starts_with('[') || (traits.has(Traits::COLON) && host.contains(':')) || tells(given, arena) || (host != given && tells(host, arena))) {
        Some(Kind::Ip)
    } else if traits.has(Traits::ENCODED) && host.contains('%') {
        // Browsers decode a host before they send it: an encoded one is something else in its place.
        Some(Kind::Encoded)
    } else if echo.stands_in(given.as_bytes(), |needle| !echo.is_agent(needle) && is_session(needle)) {
        Some(Kind::Echo)
    } else {
        None
    };
    if let Some(kind) = kind {
        removed.count(kind);
        return kind.mark();
    }
    cut(host, HOST_LENGTH_MAX)
}

/// RFC 1035 §2.3.4.
const HOST_LENGTH_MAX: usize = 253;

/// The path, cleaned until nothing more is found in it.
fn settled_path<'a>(raw: &'a str, traits: Traits, before: Word, place: Place, echo: Echo<'_>, removed: &mut Scrubbed, arena: &'a Bump) -> &'a str {
    let path = cut(clean_path(raw, traits, before, place, echo, removed, arena), URL_LENGTH_MAX);
    if path == raw || path == "/" {
        return path;
    }
    let settled = until_settled(path, URL_LENGTH_MAX, |path| clean_path(path, Traits::of(path), before, place, echo, removed, arena));
    settled.unwrap_or_else(|| {
        removed.count(Kind::Encoded);
        let mut whole = ArenaString::from_str_in("/", arena);
        whole.push_str(Kind::Encoded.mark());
        whole.into_bump_str()
    })
}

/// The path with each segment that tells of a person replaced, and without parameters of segments.
fn clean_path<'a>(path: &'a str, traits: Traits, mut before: Word, place: Place, echo: Echo<'_>, removed: &mut Scrubbed, arena: &'a Bump) -> &'a str {
    if path.is_empty() {
        return "/";
    }
    // One look at the whole of it: most paths have nothing, and what is spread over segments is seen.
    let may_part = traits.has(Traits::ENCODED | Traits::PARAMETER);
    let is_suspect = (may_part && path.bytes().any(|byte| matches!(byte, b'%' | b'+' | b';'))) || next_finding(path, 0, place, traits).is_some() || echoes(path, echo, arena);
    let mut cleaned: Option<ArenaString<'a>> = None;
    let mut at = 0;
    while let Some(rest) = path.get(at..) {
        let segment = split_at(rest, b'/').map_or(rest, |(segment, _)| segment);
        let bare = if is_suspect { without_parameters(segment, removed) } else { segment };
        let (kind, next) = words::judge(bare, before);
        let kind = if is_suspect { finding_of_segment(bare, before, place, echo, arena).or(kind) } else { kind };
        before = next;
        if (kind.is_some() || bare.len() < segment.len()) && cleaned.is_none() {
            let mut head = ArenaString::with_capacity_in(path.len() + 16, arena);
            head.push_str(path.get(..at).unwrap_or(""));
            cleaned = Some(head);
        } else if let Some(cleaned) = &mut cleaned {
            cleaned.push('/');
        }
        if let Some(kind) = kind {
            removed.count(kind);
        }
        if let Some(cleaned) = &mut cleaned {
            cleaned.push_str(match kind {
                Some(kind) => kind.mark(),
                None => bare,
            });
        }
        at += segment.len() + 1;
    }
    let cleaned = cleaned.map_or(path, |cleaned| cleaned.into_bump_str());
    if is_suspect { replace_findings(cleaned, Traits::of(cleaned), place, removed, arena) } else { cleaned }
}

/// A segment without its parameters (RFC 3986 §3.3: `;jsessionid=…`), which go as those of a query do.
fn without_parameters<'s>(segment: &'s str, removed: &mut Scrubbed) -> &'s str {
    match segment.split_once(';') {
        Some((bare, parameters)) if parameters.contains('=') => {
            for _ in parameters.split(';') {
                removed.count(Kind::Query);
            }
            bare
        }
        Some(_) | None => segment,
    }
}

/// What is in a path segment, in whichever form.
fn finding_of_segment(segment: &str, before: Word, place: Place, echo: Echo<'_>, arena: &Bump) -> Option<Kind> {
    if echoes(segment, echo, arena) {
        return Some(Kind::Echo);
    }
    in_any_form(segment, arena, |look| next_finding(look, 0, place, Traits::of(look)).map(|(_, _, kind)| kind))
        .or_else(|| in_any_form(segment, arena, |look| words::judge(look, before).0))
}

/// Whether the user agent, or a cookie's value that has a `/`, stands in host and path: cut into segments
/// none of them would be known again.
fn echoes_over_segments(before_query: &str, echo: Echo<'_>, arena: &Bump) -> bool {
    let finds = |look: &str| echo.stands_in(look.as_bytes(), |needle| echo.is_agent(needle) || needle.contains(&b'/')).then_some(());
    !echo.is_longer_than(before_query) && in_any_form(before_query, arena, finds).is_some()
}

/// Whether any form of `value` has something to remove.
fn tells(value: &str, arena: &Bump) -> bool {
    let finds = |look: &str| {
        let traits = Traits::of(look);
        let is_found = !traits.is_plain() && (next_finding(look, 0, Place::Prose, traits).is_some() || (traits.has(Traits::COLON) && tells_by_url(look)));
        (is_found || words::is_random(look)).then_some(())
    };
    in_any_form(value, arena, finds).is_some()
}

/// Whether a URL within `look` has what would be removed from one: a user, a query, a fragment, a person.
fn tells_by_url(look: &str) -> bool {
    if !look.contains("://") {
        return false;
    }
    let rest = look.split_once("://").map_or("", |(_, rest)| rest);
    let mut before = Word::Unknown;
    rest.contains(['?', '#', '@'])
        || rest.split('/').any(|segment| {
            let (found, next) = words::judge(segment, before);
            before = next;
            found.is_some()
        })
}

/// Whether the request's own user agent or one of its cookie values stands in `input`.
pub fn echoes(input: &str, echo: Echo<'_>, arena: &Bump) -> bool {
    !echo.is_longer_than(input) && in_any_form(input, arena, |look| echo.stands_in(look.as_bytes(), |_| true).then_some(())).is_some()
}

/// Browsers and proxies encode twice; links within links within links are seen as well.
const DECODED_MAX: u32 = 4;

/// What `find` finds in a text as it stands, or percent-decoded up to four times.
fn in_any_form<T>(input: &str, arena: &Bump, mut find: impl FnMut(&str) -> Option<T>) -> Option<T> {
    if let found @ Some(_) = find(input) {
        return found;
    }
    if !is_encoded(input) {
        return None;
    }
    let mut look = input;
    for _ in 0..DECODED_MAX {
        let (bytes, is_changed) = decoded(look, arena);
        look = match std::str::from_utf8(bytes) {
            Ok(decoded) => decoded,
            Err(_) => arena.alloc_str(&String::from_utf8_lossy(bytes)),
        };
        if let found @ Some(_) = find(look) {
            return found;
        }
        if !is_changed || !look.contains('%') {
            break;
        }
    }
    None
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
fn clean<'a>(given: &'a str, traits: Traits, echo: Echo<'_>, removed: &mut Scrubbed, arena: &'a Bump) -> &'a str {
    let input = if !traits.has(Traits::SLASH) {
        given
    } else if given.starts_with('/') && !given.starts_with("//") && !given.contains(char::is_whitespace) {
        clean_bare_path(given, echo, removed, arena)
    } else if traits.has(Traits::COLON) && given.contains("://") {
        clean_urls(given, echo, removed, arena).unwrap_or(given)
    } else {
        given
    };
    let traits_now = if std::ptr::eq(input, given) { traits } else { Traits::of(input) };
    let cleaned = replace_findings(input, traits_now, Place::Prose, removed, arena);
    // What is percent-encoded (a URL in a property) is judged decoded, beside what was found as it stood.
    if traits.has(Traits::ENCODED) && cleaned.contains('%') && tells(cleaned, arena) {
        removed.count(Kind::Encoded);
        return Kind::Encoded.mark();
    }
    cleaned
}

/// A text that is a URL's path: cleaned as one where that removes anything.
fn clean_bare_path<'a>(input: &'a str, echo: Echo<'_>, removed: &mut Scrubbed, arena: &'a Bump) -> &'a str {
    let mut there = Scrubbed::default();
    let clean = url(input, echo, &mut there, arena).url;
    if there == Scrubbed::default() {
        return input;
    }
    removed.add(there);
    clean
}

/// The text with every URL in it cleaned; `None` where that changes nothing.
fn clean_urls<'a>(input: &'a str, echo: Echo<'_>, removed: &mut Scrubbed, arena: &'a Bump) -> Option<&'a str> {
    let mut output: Option<ArenaString<'a>> = None;
    let (mut copied, mut from) = (0, 0);
    while let Some(found) = input.get(from..).and_then(|rest| rest.find("://")) {
        let at = from + found;
        let scheme = input.as_bytes().get(from..at)?.iter().rev().take(SCHEME_LENGTH_MAX).take_while(|byte| is_scheme_byte(**byte)).count();
        let start = at - scheme;
        let rest = input.get(start..)?;
        let length = rest.find(|c: char| c.is_whitespace() || matches!(c, '"' | '\'' | '<' | '>' | '`' | '|' | '\\')).unwrap_or(rest.len());
        // What ends a sentence or closes a bracket is not the URL's.
        let span = rest.get(..length)?.trim_end_matches(['.', ',', ')', ';', ':', '!']);
        from = start + span.len().max(scheme + 3);
        if split_scheme(span).is_none() {
            continue;
        }
        let mut there = Scrubbed::default();
        let clean = url(span, echo, &mut there, arena).url;
        if there != Scrubbed::default() {
            removed.add(there);
            let output = output.get_or_insert_with(|| ArenaString::with_capacity_in(input.len(), arena));
            output.push_str(input.get(copied..start)?);
            output.push_str(clean);
            copied = start + span.len();
        }
    }
    let mut output = output?;
    output.push_str(input.get(copied..)?);
    Some(output.into_bump_str())
}

fn replace_findings<'a>(input: &'a str, traits: Traits, place: Place, removed: &mut Scrubbed, arena: &'a Bump) -> &'a str {
    let Some(first) = next_finding(input, 0, place, traits) else {
        return input;
    };
    let mut output = ArenaString::with_capacity_in(input.len(), arena);
    let (mut at, mut finding) = (0, Some(first));
    while let Some((start, end, kind)) = finding {
        output.push_str(input.get(at..start).unwrap_or(""));
        output.push_str(kind.mark());
        removed.count(kind);
        at = end;
        finding = next_finding(input, end, place, traits);
    }
    output.push_str(input.get(at..).unwrap_or(""));
    output.into_bump_str()
}

#[cfg(test)]
mod tests {
    use super::{CleanUrl, Echo, PROPERTY_VALUE_LENGTH_MAX, Scrubbed};
    use bumpalo::Bump;
    use proptest::prelude::*;

    fn text<'a>(input: &'a str, length_max: usize, echo: Echo<'_>, arena: &'a Bump) -> &'a str {
        super::text(input, length_max, echo, &mut Scrubbed::default(), arena)
    }

    fn url<'a>(input: &'a str, echo: Echo<'_>, arena: &'a Bump) -> CleanUrl<'a> {
        super::url(input, echo, &mut Scrubbed::default(), arena)
    }

    fn property<'a>(key: &'a str, value: &'a str, arena: &'a Bump) -> (&'a str, &'a str) {
        super::property(key, value, Echo::default(), &mut Scrubbed::default(), arena)
    }

    fn cleaned(input: &str) -> String {
        let arena = Bump::new();
        text(input, PROPERTY_VALUE_LENGTH_MAX, Echo::default(), &arena).to_owned()
    }

    #[test]
    fn what_must_go_goes() {
        for (input, expected) in [
            ("write to jane.doe+x@mail.example.org now", "write to [redacted:email] now"),
            ("4242424242424242", "[redacted:card]"),
            ("2d::1d::", "[redacted:ip][redacted:ip]"),
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
    fn a_cut_uncovers_nothing() {
        let arena = Bump::new();
        let cut = |input| text(input, 16, Echo::default(), &arena);
        // Twenty digits are no card; the first sixteen of them are.
        assert_eq!(cleaned("41111111111111112222"), "41111111111111112222");
        assert_eq!(cut("41111111111111112222"), "[redacted:card]");
    }

    #[test]
    fn urls_keep_what_marketing_wrote_and_nothing_of_a_person() {
        let arena = Bump::new();
        for (input, expected, host, path) in [
            ("https://shop.example:/a", "https://shop.example/a", "shop.example", "/a"),
            ("https://a2001:db8::1/x", "https://[redacted:ip]:1/x", "[redacted:ip]", "/x"),
            ("https://[redacted:4111111111111111/x", "https://[redacted:ip]/x", "[redacted:ip]", "/x"),
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
        let query = "utm_term=a+b&x=1&utm_source=n&utm_source=m&utm_medium&utm_campaign=jane%40x.org&&utm_content=long-one";
        let kept = super::parameters(query, 4, Echo::default(), &mut Scrubbed::default(), &arena);
        assert_eq!(kept, ["n", "", "[red", "a b", "long"]);
    }

    #[test]
    fn a_request_s_own_headers_do_not_come_back_in_a_field() {
        let arena = Bump::new();
        let echo = Echo::of(b"Mozilla/5.0 (X11) Firefox/140", &[b"a=1; sess=0123abcd4567"], &arena);
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
            assert_eq!(property(key, value, &arena), (key, "[redacted:key]"));
        }
        for (key, value) in [("order_id", "123456789012"), ("plan", "gold"), ("pinned", "yes")] {
            assert_eq!(property(key, value, &arena), (key, value));
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
