//! Owns the back wall of HTTP: a request's headers become the parts of a `RawHit`.
//!
//! Knows RFC 9110, RFC 7239 (`Forwarded`), W3C GPC. Promises: forwarding headers are believed only from
//! trusted peers and read from the right; what cannot be read there is an unknown address, never the
//! sender's word. Never keeps a header.
#![expect(clippy::disallowed_types, reason = "finds the visitor's address and wraps it as private at once")]

use crate::hit::private::Private;
use crate::hit::raw::{Address, HeaderSignals};
use bumpalo::Bump;
use hyper::header::HeaderMap;
use ipnet::IpNet;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

/// Any call's head is to arrive within this.
pub const HEADER_DEADLINE: Duration = Duration::from_secs(10);
/// Any call's body is to arrive within this.
pub const BODY_DEADLINE: Duration = Duration::from_secs(30);

/// The parts of a request that a hit is made of, borrowed from its headers.
#[derive(Default)]
pub struct Parts<'a> {
    pub address: Private<Address>,
    pub user_agent: &'a [u8],
    pub cookies: &'a [&'a [u8]],
    pub referer: &'a [u8],
    /// As the browser said it: `Origin`, or that of `Referer`.
    pub origin: Option<&'a str>,
    pub accept_language: Option<&'a str>,
    pub signals: HeaderSignals,
}

/// Reads the headers of a request from `peer`, names in any case, and takes `made` for cookies too.
pub fn read<'h: 'a, 'a>(headers: impl Iterator<Item = (&'h str, &'h [u8])>, peer: IpAddr, trusted: &[IpNet], made: &'a [String], arena: &'a Bump) -> Parts<'a> {
    let mut said = Said::new(arena);
    for (name, value) in headers {
        said.note(name, value);
    }
    said.cookies.extend(made.iter().map(String::as_bytes));
    let referer = said.referer.unwrap_or_default();
    Parts {
        address: Private::new(client_address(&said, peer, trusted)),
        user_agent: said.user_agent.unwrap_or_default(),
        cookies: said.cookies.into_bump_slice(),
        referer,
        origin: origin_of(said.origin, referer, arena),
        accept_language: said.accept_language.and_then(visible),
        signals: said.signals,
    }
}

/// The names and values of a map of headers, as `read` takes them.
pub fn pairs(headers: &HeaderMap) -> impl Iterator<Item = (&str, &[u8])> {
    headers.iter().map(|(name, value)| (name.as_str(), value.as_bytes()))
}

/// The address that a client's own server tells of its visitor; none where it cannot be read.
pub fn address_of(claimed: &str) -> Private<Address> {
    Private::new(parse_hop(claimed.trim()))
}

/// What the headers say of the visitor's wishes.
pub fn signals(headers: &HeaderMap) -> HeaderSignals {
    let arena = Bump::new();
    let mut said = Said::new(&arena);
    for (name, value) in pairs(headers) {
        said.note(name, value);
    }
    said.signals
}

/// What is looked for among the headers, gathered in one pass; of a line given twice the first counts,
/// of a signal any.
struct Said<'a> {
    user_agent: Option<&'a [u8]>,
    referer: Option<&'a [u8]>,
    origin: Option<&'a [u8]>,
    accept_language: Option<&'a [u8]>,
    cookies: Lines<'a>,
    forwarded_for: Lines<'a>,
    forwarded: Lines<'a>,
    signals: HeaderSignals,
}

/// A header's lines; browsers send one of each.
type Lines<'a> = bumpalo::collections::Vec<'a, &'a [u8]>;

impl<'a> Said<'a> {
    fn new(arena: &'a Bump) -> Self {
        Self {
            user_agent: None,
            referer: None,
            origin: None,
            accept_language: None,
            cookies: Lines::new_in(arena),
            forwarded_for: Lines::new_in(arena),
            forwarded: Lines::new_in(arena),
            signals: HeaderSignals::default(),
        }
    }

    fn note(&mut self, name: &str, value: &'a [u8]) {
        let is = |known: &str| name.eq_ignore_ascii_case(known);
        // By length first: most headers are none of these, and are told apart from them by that alone.
        match name.len() {
            3 if is("dnt") => self.signals.dnt |= value == b"1",
            5 if is("x-moz") => self.signals.prefetch |= says_ahead(value),
            6 if is("cookie") => self.cookies.push(value),
            6 if is("origin") => self.origin = self.origin.or(Some(value)),
            7 if is("referer") => self.referer = self.referer.or(Some(value)),
            7 if is("sec-gpc") => self.signals.gpc |= value == b"1",
            7 if is("purpose") => self.signals.prefetch |= says_ahead(value),
            9 if is("forwarded") => self.forwarded.push(value),
            9 if is("x-purpose") => self.signals.prefetch |= says_ahead(value),
            10 if is("user-agent") => self.user_agent = self.user_agent.or(Some(value)),
            11 if is("sec-purpose") => self.signals.prefetch |= says_ahead(value),
            // Matomo's forerunner of DNT.
            14 if is("x-do-not-track") => self.signals.dnt |= value == b"1",
            15 if is("accept-language") => self.accept_language = self.accept_language.or(Some(value)),
            15 if is("x-forwarded-for") => self.forwarded_for.push(value),
            _ => {}
        }
    }
}

/// `Sec-Purpose: prefetch;prerender` in today's browsers; its forerunners each had words of their own.
const AHEAD_OF_A_VISIT: [&str; 4] = ["prefetch", "prerender", "preview", "instant"];

fn says_ahead(value: &[u8]) -> bool {
    AHEAD_OF_A_VISIT.into_iter().any(|word| value.windows(word.len()).any(|window| window.eq_ignore_ascii_case(word.as_bytes())))
}

/// A value of visible ASCII, spaces and tabs (RFC 9110 §5.5).
fn visible(value: &[u8]) -> Option<&str> {
    // Without a way out in between, so that many bytes are looked at at once.
    let is_visible = value.iter().fold(true, |all, byte| all & matches!(byte, b' '..=b'~' | b'\t'));
    std::str::from_utf8(value).ok().filter(|_| is_visible)
}

/// `Origin`; where it is absent (an image) that of `Referer`.
fn origin_of<'a>(origin: Option<&'a [u8]>, referer: &'a [u8], arena: &'a Bump) -> Option<&'a str> {
    if let Some(origin) = origin {
        return Some(std::str::from_utf8(origin).unwrap_or("\u{fffd}"));
    }
    let referer = std::str::from_utf8(referer).ok()?;
    let (scheme, rest) = referer.split_at_checked(memchr::memchr(b':', referer.as_bytes())?)?;
    let rest = rest.strip_prefix("://")?;
    if !scheme.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.')) {
        return None;
    }
    // Hosts are short: a search would take longer to begin than this does to end.
    let authority = rest.get(..rest.bytes().position(|byte| matches!(byte, b'/' | b'?' | b'#')).unwrap_or(rest.len()))?;
    if !authority.bytes().any(|byte| byte == b'@') {
        return referer.get(..scheme.len() + "://".len() + authority.len());
    }
    let host = authority.rsplit('@').next()?;
    Some(bumpalo::format!(in arena, "{}://{}", scheme, host).into_bump_str())
}

/// No more hops than this are walked: nobody has ten proxies of their own.
const HOPS_MAX: usize = 10;

fn client_address(said: &Said<'_>, peer: IpAddr, trusted: &[IpNet]) -> Address {
    let is_trusted = |address: &IpAddr| {
        let address = address.to_canonical();
        trusted.iter().any(|network| network.contains(&address))
    };
    if !is_trusted(&peer) {
        return Some(peer);
    }
    // The first from the right that is not ours is the visitor; one that cannot be read is nobody known.
    let visitor = |lines: &Lines<'_>, form: fn(&str) -> &str| {
        let mut left = HOPS_MAX;
        for line in lines.iter().rev() {
            for hop in from_the_right(visible(line).unwrap_or("?")) {
                left = left.checked_sub(1)?;
                let hop = parse_hop(form(hop));
                if !hop.as_ref().is_some_and(is_trusted) {
                    return hop;
                }
            }
        }
        None
    };
    match (said.forwarded_for.is_empty(), said.forwarded.is_empty()) {
        (true, true) => Some(peer),
        (false, true) => visitor(&said.forwarded_for, |hop| hop),
        (true, false) => visitor(&said.forwarded, forwarded_for),
        // A proxy that writes one of them and lets the other through would believe the visitor's own word.
        (false, false) => visitor(&said.forwarded_for, |hop| hop).filter(|one| visitor(&said.forwarded, forwarded_for).as_ref() == Some(one)),
    }
}

/// The hops of a line, the last first. Lines are short: the standard library's search for a comma would take longer
/// to begin.
fn from_the_right(line: &str) -> impl Iterator<Item = &str> {
    let mut left = Some(line);
    std::iter::from_fn(move || {
        let line = left?;
        let comma = line.bytes().rposition(|byte| byte == b',');
        left = comma.and_then(|at| line.get(..at));
        line.get(comma.map_or(0, |at| at + 1)..)
    })
}

/// The `for` of one `Forwarded` element.
fn forwarded_for(element: &str) -> &str {
    element
        .split(';')
        .filter_map(|pair| pair.trim().split_once('='))
        .find(|(name, _)| name.trim().eq_ignore_ascii_case("for"))
        .map_or("unknown", |(_, value)| value.trim().trim_matches('"'))
}

/// `203.0.113.7`, `203.0.113.7:80`, `2001:db8::1`, `[2001:db8::1]:80`; not `unknown`, not `_name`.
fn parse_hop(hop: &str) -> Option<IpAddr> {
    let hop = hop.trim_ascii();
    // Nearly every one is an address and nothing else.
    hop.parse::<IpAddr>().ok().or_else(|| {
        let hop = hop.trim_matches('"');
        hop.parse::<IpAddr>()
            .ok()
            .or_else(|| hop.parse::<SocketAddr>().ok().map(|address| address.ip()))
            .or_else(|| hop.strip_prefix('[')?.strip_suffix(']')?.parse().ok())
    })
}

#[cfg(test)]
mod tests {
    use super::{from_the_right, origin_of, pairs, read, signals};
    use bumpalo::Bump;
    use hyper::header::{HeaderMap, HeaderName, HeaderValue};
    use proptest::prelude::*;

    fn headers(lines: &[(&'static str, &str)]) -> HeaderMap {
        lines.iter().map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_str(value).unwrap())).collect()
    }

    #[test]
    fn forwarding_is_believed_from_trusted_peers_and_read_from_the_right() {
        let trusted = ["10.0.0.0/8".parse().unwrap(), "2001:db8::/32".parse().unwrap()];
        let found = |peer: &str, lines: &[(&'static str, &str)]| {
            let (headers, arena) = (headers(lines), Bump::new());
            let parts = read(pairs(&headers), peer.parse().unwrap(), &trusted, &[], &arena);
            parts.address.reveal().map(|address| address.to_string())
        };
        for (peer, lines, expected) in [
            ("192.0.2.1", &[("x-forwarded-for", "8.8.8.8")][..], Some("192.0.2.1")),
            ("10.0.0.1", &[], Some("10.0.0.1")),
            ("10.0.0.1", &[("x-forwarded-for", "8.8.8.8, 193.0.6.139")], Some("193.0.6.139")),
            ("10.0.0.1", &[("x-forwarded-for", "193.0.6.139, 10.2.3.4")], Some("193.0.6.139")),
            ("::ffff:10.0.0.1", &[("x-forwarded-for", "193.0.6.139")], Some("193.0.6.139")),
            ("10.0.0.1", &[("x-forwarded-for", "8.8.8.8, nonsense")], None),
            ("10.0.0.1", &[("x-forwarded-for", "10.1.1.1")], None),
            ("10.0.0.1", &[("forwarded", "for=8.8.8.8;proto=https, for=\"[2001:200::1]:443\"")], Some("2001:200::1")),
            ("10.0.0.1", &[("forwarded", "for=unknown")], None),
            ("10.0.0.1", &[("forwarded", "for=_hidden, for=10.9.9.9")], None),
            ("2001:db8::9", &[("x-forwarded-for", "193.0.6.139:5060")], Some("193.0.6.139")),
            ("10.0.0.1", &[("x-forwarded-for", "8.8.8.8"), ("forwarded", "for=8.8.8.8")], Some("8.8.8.8")),
            ("10.0.0.1", &[("x-forwarded-for", "8.8.8.8"), ("forwarded", "for=193.0.6.139")], None),
            ("10.0.0.1", &[("x-forwarded-for", "8.8.8.8"), ("forwarded", "for=unknown")], None),
        ] {
            assert_eq!(found(peer, lines).as_deref(), expected, "{peer} {lines:?}");
        }
    }

    proptest! {
        #[test]
        fn hops_from_the_right_are_the_parts_between_commas(line in "[ -~]{0,20}|[,a]{0,8}") {
            prop_assert_eq!(from_the_right(&line).collect::<Vec<_>>(), line.rsplit(',').collect::<Vec<_>>());
        }
    }

    #[test]
    fn gpc_is_exactly_one() {
        for (lines, gpc) in [
            (&[("sec-gpc", "1")][..], true),
            (&[("sec-gpc", "0"), ("sec-gpc", "1")], true),
            (&[("sec-gpc", "0")], false),
            (&[("sec-gpc", "true")], false),
            (&[("sec-gpc", "1x")], false),
            (&[("sec-gpc", "11")], false),
            (&[("sec-gpc", "0, 1")], false),
            (&[("x-sec-gpc", "1")], false),
        ] {
            let mut map = HeaderMap::new();
            for (name, value) in lines {
                map.append(*name, HeaderValue::from_static(value));
            }
            assert_eq!(signals(&map).gpc, gpc, "{lines:?}");
        }
        for (name, value, objects) in [("dnt", "1", true), ("x-do-not-track", "1", true), ("dnt", "0", false), ("dnt", "unspecified", false), ("x-do-not-track", "0", false)] {
            assert_eq!(signals(&headers(&[(name, value)])).dnt, objects, "{name}: {value}");
        }
        for (name, value, ahead) in [
            ("sec-purpose", "prefetch;prerender", true), ("sec-purpose", "prefetch;anonymous-client-ip", true),
            ("purpose", "Prefetch", true), ("purpose", "prerender", true), ("x-purpose", "preview", true),
            ("x-purpose", "instant", true), ("x-moz", "prefetch", true), ("sec-purpose", "", false), ("purpose", "visit", false),
        ] {
            assert_eq!(signals(&headers(&[(name, value)])).prefetch, ahead, "{name}: {value}");
        }
    }

    #[test]
    fn an_image_s_origin_is_that_of_its_page() {
        let arena = Bump::new();
        assert_eq!(origin_of(None, b"https://u@shop.example:8443/a?b", &arena), Some("https://shop.example:8443"));
        assert_eq!(origin_of(None, b"https://shop.example:8443?b", &arena), Some("https://shop.example:8443"));
        assert_eq!(origin_of(Some(b"null"), b"https://a.example/", &arena), Some("null"));
        assert_eq!(origin_of(None, b"", &arena), None);
        assert_eq!(origin_of(None, b"?to=jane@example.org&u=https://a.example/", &arena), None);
    }

    proptest! {
        #[test]
        fn any_forwarding_header_is_read_without_a_panic(text in "[ -~]{0,80}") {
            let trusted = ["10.0.0.0/8".parse().unwrap()];
            for name in ["x-forwarded-for", "forwarded"] {
                let (headers, arena) = (headers(&[(name, &text)]), Bump::new());
                read(pairs(&headers), "10.0.0.1".parse().unwrap(), &trusted, &[], &arena);
            }
        }
    }
}
