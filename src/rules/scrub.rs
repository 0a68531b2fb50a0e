//! Owns the cleaning of every text before the gate mints a row: what singles a person out, opens an
//! account or pays a bill is replaced by `[redacted:kind]`.
//!
//! Knows URLs, the names of fields that ask for a secret, and what the request itself carried (its own
//! user agent or a cookie's value coming back in a field); what tells of a person is found by
//! `rules::patterns`. Promises: scrubs before it cuts to length (half a card number would survive the
//! cut), also what is percent-encoded, four times over; never panics; leaves what merely looks like a
//! number alone.
//! Never keeps what it removed.

use super::patterns::{marked, next_finding};
use bumpalo::Bump;
use bumpalo::collections::String as ArenaString;

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
