//! Owns the back wall of HTTP: a request's headers become the parts of a `RawHit`.
//!
//! Knows RFC 9110, RFC 7239 (`Forwarded`), W3C GPC. Promises: forwarding headers are believed only from
//! trusted peers and read from the right; what cannot be read there is an unknown address, never the
//! sender's word. Never keeps a header.
#![expect(clippy::disallowed_types, reason = "finds the visitor's address and wraps it as private at once")]

use crate::hit::private::Private;
use crate::hit::raw::{Address, HeaderSignals};
use hyper::header::{ACCEPT_LANGUAGE, COOKIE, FORWARDED, HeaderMap, HeaderName, ORIGIN, REFERER, USER_AGENT};
use ipnet::IpNet;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

/// Any call's body is to arrive within this.
pub const BODY_DEADLINE: Duration = Duration::from_secs(30);

/// The parts of a request that a hit is made of, borrowed from its headers.
pub struct Parts<'a> {
    pub address: Private<Address>,
    pub user_agent: &'a [u8],
    pub cookies: Vec<&'a [u8]>,
    pub referer: &'a [u8],
    /// As the browser said it: `Origin`, or that of `Referer`.
    pub origin: Option<String>,
    pub accept_language: Option<&'a str>,
    pub signals: HeaderSignals,
}

/// Reads the headers of a request from `peer`.
pub fn read<'a>(headers: &'a HeaderMap, peer: IpAddr, trusted: &[IpNet]) -> Parts<'a> {
    let bytes = |name: &HeaderName| headers.get(name).map_or(&b""[..], |value| value.as_bytes());
    let referer = bytes(&REFERER);
    Parts {
        address: Private::new(client_address(headers, peer, trusted)),
        user_agent: bytes(&USER_AGENT),
        cookies: headers.get_all(COOKIE).iter().map(|value| value.as_bytes()).collect(),
        referer,
        origin: origin_of(headers, referer),
        accept_language: headers.get(ACCEPT_LANGUAGE).and_then(|value| value.to_str().ok()),
        signals: signals(headers),
    }
}

/// What the headers say of the visitor's wishes.
pub fn signals(headers: &HeaderMap) -> HeaderSignals {
    let is_one = |name: &str| headers.get_all(name).iter().any(|value| value.as_bytes() == b"1");
    let says = |name: &str, word: &str| {
        headers.get_all(name).iter().filter_map(|value| value.to_str().ok()).any(|value| value.to_ascii_lowercase().contains(word))
    };
    HeaderSignals {
        gpc: is_one("sec-gpc"),
        dnt: is_one("dnt"),
        prefetch: says("sec-purpose", "prefetch")
            || says("purpose", "prefetch")
            || says("x-purpose", "preview")
            || says("x-moz", "prefetch"),
    }
}

/// `Origin`; where it is absent (an image) that of `Referer`.
fn origin_of(headers: &HeaderMap, referer: &[u8]) -> Option<String> {
    if let Some(origin) = headers.get(ORIGIN) {
        return Some(String::from_utf8_lossy(origin.as_bytes()).into_owned());
    }
    let referer = std::str::from_utf8(referer).ok()?;
    let (scheme, rest) = referer.split_once("://")?;
    let authority = rest.split(['/', '?', '#']).next()?;
    Some(format!("{scheme}://{}", authority.rsplit('@').next()?))
}

/// No more hops than this are walked: nobody has ten proxies of their own.
const HOPS_MAX: usize = 10;

fn client_address(headers: &HeaderMap, peer: IpAddr, trusted: &[IpNet]) -> Address {
    let is_trusted = |address: &IpAddr| {
        let address = address.to_canonical();
        trusted.iter().any(|network| network.contains(&address))
    };
    if !is_trusted(&peer) {
        return Some(peer);
    }
    let hops: Vec<&str> = if headers.contains_key("x-forwarded-for") {
        listed(headers, "x-forwarded-for").collect()
    } else {
        listed(headers, FORWARDED.as_str()).map(forwarded_for).collect()
    };
    if hops.is_empty() {
        return Some(peer);
    }
    for hop in hops.iter().rev().take(HOPS_MAX) {
        match parse_hop(hop) {
            Some(address) if is_trusted(&address) => {}
            // The first that is not ours is the visitor; one that cannot be read is nobody known.
            other => return other,
        }
    }
    None
}

/// The elements of a list header, over all its lines.
fn listed<'a>(headers: &'a HeaderMap, name: &'a str) -> impl Iterator<Item = &'a str> {
    headers.get_all(name).iter().flat_map(|value| value.to_str().unwrap_or("?").split(','))
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
    let hop = hop.trim().trim_matches('"');
    hop.parse::<IpAddr>()
        .ok()
        .or_else(|| hop.parse::<SocketAddr>().ok().map(|address| address.ip()))
        .or_else(|| hop.strip_prefix('[')?.strip_suffix(']')?.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::{client_address, origin_of, signals};
    use hyper::header::{HeaderMap, HeaderName, HeaderValue};
    use proptest::prelude::*;

    fn headers(lines: &[(&'static str, &str)]) -> HeaderMap {
        lines.iter().map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_str(value).unwrap())).collect()
    }

    #[test]
    fn forwarding_is_believed_from_trusted_peers_and_read_from_the_right() {
        let trusted = ["10.0.0.0/8".parse().unwrap(), "2001:db8::/32".parse().unwrap()];
        let found = |peer: &str, lines: &[(&'static str, &str)]| {
            client_address(&headers(lines), peer.parse().unwrap(), &trusted).map(|address| address.to_string())
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
        ] {
            assert_eq!(found(peer, lines).as_deref(), expected, "{peer} {lines:?}");
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
        ] {
            let mut map = HeaderMap::new();
            for (name, value) in lines {
                map.append(*name, HeaderValue::from_static(value));
            }
            assert_eq!(signals(&map).gpc, gpc, "{lines:?}");
        }
        assert!(signals(&headers(&[("sec-purpose", "prefetch;prerender")])).prefetch);
        assert!(!signals(&headers(&[("sec-purpose", "")])).prefetch);
    }

    #[test]
    fn an_image_s_origin_is_that_of_its_page() {
        assert_eq!(origin_of(&headers(&[]), b"https://u@shop.example:8443/a?b").as_deref(), Some("https://shop.example:8443"));
        assert_eq!(origin_of(&headers(&[("origin", "null")]), b"https://a.example/").as_deref(), Some("null"));
        assert_eq!(origin_of(&headers(&[]), b""), None);
    }

    proptest! {
        #[test]
        fn any_forwarding_header_is_read_without_a_panic(text in "[ -~]{0,80}") {
            let trusted = ["10.0.0.0/8".parse().unwrap()];
            for name in ["x-forwarded-for", "forwarded"] {
                client_address(&headers(&[(name, &text)]), "10.0.0.1".parse().unwrap(), &trusted);
            }
        }
    }
}
