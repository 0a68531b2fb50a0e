//! Owns what must hold for every input of every reader of what strangers send: one function a target.
//!
//! Knows only what both its homes have at their root, `door`, `rules` and `hit`: the fuzzers
//! (`fuzz/src/lib.rs`) and the stable replay of what they found (`tests/parsers`). A function panics
//! where a promise is broken, and returns where the input is none for it.

use crate::door::request;
use crate::hit::claims::Decoded;
use crate::hit::clock::Moment;
use crate::hit::draft::{ConsentStrings, Draft, Once, Relayed};
use crate::hit::field::Id;
use crate::hit::scrubbed::{Kind, Scrubbed};
use crate::hit::site::SiteKey;
use crate::rules::cookies::{self, Remembered};
use crate::rules::decode::segment::{self, Call};
use crate::rules::decode::tree::Tree;
use crate::rules::decode::{log_line, matomo, native, server, snowplow};
use crate::rules::echo::Echo;
use crate::rules::identity::SigningKey;
use crate::rules::ruling::StringVerdict;
use crate::rules::scrub::{self, CleanUrl};
use crate::rules::{additional_consent, gpp as platform, percent, strings, tcf as framework, us_privacy};
use bumpalo::Bump;
use hyper::header::{HeaderMap, HeaderName, HeaderValue};
use std::ops::RangeInclusive;

/// A promise, tried on one input.
pub type Target = fn(&[u8]);

/// Every target by name.
pub const ALL: [(&str, Target); 10] = [
    ("tcf", tcf),
    ("gpp", gpp),
    ("us_privacy_and_google", us_privacy_and_google),
    ("cookies", cookies),
    ("forwarded", forwarded),
    ("url", url),
    ("text", text),
    ("native", native),
    ("foreign", foreign),
    ("log_line", log_line),
];

/// 23 November 2026: the vectors' year, after the day from which vendors must be disclosed.
const NOW: Moment = Moment(1_795_435_200_000_000);

/// Consents to all purposes and to vendor 123, made on 15 March 2026 with the reference encoder.
const ACCEPT: &str = "CQhG6EAQhG6EAAfACBENB4FgAIPAAAAAAAYgA9wAgABAB7AAAAAA.IF5wAwABAB7AXmAA.YAAAAAAAAAAA";

/// A TC string grants nothing without a vendor and nothing that its bits, read naively, do not say.
pub fn tcf(bytes: &[u8]) {
    let Some(text) = &consent_text(bytes, &['.']) else { return };
    let naive = Naive::read(text);
    let created = naive.as_ref().map_or(NOW, |naive| naive.created);
    for now in [NOW, created.plus_seconds(86_400), created.plus_seconds(500 * 86_400)] {
        for vendor in [0, 2, 123, 65_535] {
            match framework::verdict(text, vendor, now) {
                StringVerdict::Grants => {
                    assert!(vendor != 0 && now < created.plus_seconds(500 * 86_400));
                    assert!(naive.as_ref().is_some_and(|naive| naive.grants(vendor)), "vendor {vendor} is not in the string");
                }
                StringVerdict::Silent => assert!(vendor == 0 && naive.is_some()),
                StringVerdict::Denies => assert!(naive.is_some()),
                StringVerdict::Unreadable => {}
                StringVerdict::Absent => panic!("it was there"),
            }
        }
    }
}

/// The input as the text of a consent string; behind a byte 0, the bits of one: base64url between the
/// separators, so that a bit turned by the fuzzer is a bit turned in a field.
fn consent_text(bytes: &[u8], separators: &[char]) -> Option<String> {
    let Some((0, bits)) = bytes.split_first().map(|(first, rest)| (*first, rest)) else {
        return String::from_utf8(bytes.to_vec()).ok();
    };
    let is_separator = |byte: &u8| separators.contains(&char::from(*byte));
    let mut text = String::new();
    for part in bits.split_inclusive(is_separator) {
        let (inner, separator) = match part.split_last() {
            Some((last, inner)) if is_separator(last) => (inner, Some(char::from(*last))),
            _ => (part, None),
        };
        for three in inner.chunks(3) {
            let word = three.iter().fold(0_u32, |word, byte| word << 8 | u32::from(*byte)) << (8 * (3 - three.len()));
            text.extend((0..=three.len()).map(|at| char::from(BASE64URL[(word >> (18 - 6 * at) & 63) as usize])));
        }
        text.extend(separator);
    }
    Some(text)
}

const BASE64URL: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// Ids, as ranges of them.
type Ids = Vec<RangeInclusive<usize>>;

/// A TC string with every bit spread out, read from the first to the last: the slow way, on purpose.
struct Naive {
    created: Moment,
    is_for_this_service: bool,
    purposes: Vec<bool>,
    vendors: Ids,
    /// Of each segment that says which vendors were disclosed.
    disclosed: Vec<Ids>,
    /// Purpose, kind, vendors.
    restrictions: Vec<(usize, usize, Ids)>,
}

impl Naive {
    fn read(text: &str) -> Option<Self> {
        let mut segments = Vec::new();
        for segment in text.split('.') {
            let mut bits = Vec::new();
            for digit in segment.bytes() {
                let value = BASE64URL.iter().position(|known| *known == digit)?;
                bits.extend((0..6).rev().map(|bit| value >> bit & 1 == 1));
            }
            segments.push(bits);
        }
        let mut core = Reader(segments.first()?);
        let version = core.number(6)?;
        let created = Moment(i64::try_from(core.number(36)?).ok()? * 100_000);
        core.number(90)?;
        core.number(6)?;
        let is_for_this_service = core.number(1)? == 1;
        core.number(13)?;
        let purposes = core.flags(24)?;
        core.number(24)?;
        core.number(13)?;
        let vendors = core.ids()?;
        core.ids()?;
        let mut restrictions = Vec::new();
        for _ in 0..core.number(12)? {
            restrictions.push((core.number(6)?, core.number(2)?, core.ranges()?));
        }
        let mut disclosed = Vec::new();
        for segment in &segments[1..] {
            let mut segment = Reader(segment);
            if segment.number(3)? == 1 {
                disclosed.push(segment.ids()?);
            }
        }
        (version == 2).then_some(Self { created, is_for_this_service, purposes, vendors, disclosed, restrictions })
    }

    /// Purposes 1 and 8, and the vendor, which no restriction of either keeps out.
    fn grants(&self, vendor: u16) -> bool {
        let lists = |ids: &Ids| ids.iter().any(|range| range.contains(&usize::from(vendor)));
        let is_restricted = |(purpose, kind, vendors): &(usize, usize, Ids)| {
            matches!(purpose, 1 | 8) && *kind != 1 && lists(vendors)
        };
        self.is_for_this_service
            && self.purposes[0]
            && self.purposes[7]
            && lists(&self.vendors)
            && self.disclosed.iter().all(lists)
            && !self.restrictions.iter().any(is_restricted)
    }
}

/// What is left of the bits.
struct Reader<'a>(&'a [bool]);

impl Reader<'_> {
    fn flags(&mut self, length: usize) -> Option<Vec<bool>> {
        let (flags, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(flags.to_vec())
    }

    fn number(&mut self, length: usize) -> Option<usize> {
        Some(self.flags(length)?.iter().fold(0, |sum, bit| sum << 1 | usize::from(*bit)))
    }

    fn ids(&mut self) -> Option<Ids> {
        let most = self.number(16)?;
        if self.number(1)? == 1 {
            return self.ranges();
        }
        let flags = self.flags(most)?;
        Some((1..=most).filter(|id| flags[id - 1]).map(|id| id..=id).collect())
    }

    fn ranges(&mut self) -> Option<Ids> {
        let mut ids = Vec::new();
        for _ in 0..self.number(12)? {
            let is_range = self.number(1)? == 1;
            let first = self.number(16)?;
            let last = if is_range { self.number(16)? } else { first };
            ids.push(first..=last);
        }
        Some(ids)
    }
}

/// A GPP string grants only what the TC string in it grants; what cannot be read bars sharing.
pub fn gpp(bytes: &[u8]) {
    let Some(text) = &consent_text(bytes, &['.', '~']) else { return };
    for vendor in [0, 2, 123] {
        let said = platform::read(text, vendor, NOW);
        assert_ne!(said.verdict, StringVerdict::Absent);
        if said.verdict == StringVerdict::Grants {
            let grants = |section| framework::verdict(section, vendor, NOW) == StringVerdict::Grants;
            assert!(vendor != 0 && text.split('~').skip(1).any(grants));
        }
        assert!(said.opts_out || text.starts_with('D'));
        // A section more than the header names makes the whole unreadable.
        if said != platform::Said::UNREADABLE {
            assert_eq!(platform::read(&format!("{text}~1YNN"), vendor, NOW), platform::Said::UNREADABLE);
        }
    }
}

/// Four lines, `us_privacy`, `gcs`, `gcd` and `addtl_consent`: a US Privacy string lets sharing be only in
/// one of its two full forms; Google's consent mode never grants, and its denial stands whatever else the
/// page says; Google's additional consent, as any string that cannot be read, takes a grant away.
pub fn us_privacy_and_google(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let mut lines = text.split('\n');
    let mut line = || lines.next().unwrap_or("");
    let (string, gcs, gcd, additional) = (line(), line(), line(), line());
    if !us_privacy::opts_out(string) {
        let letters: Vec<char> = string.to_ascii_uppercase().chars().collect();
        assert!(string == "1---" || matches!(letters[..], ['1', 'Y' | 'N' | '-', 'N', 'Y' | 'N' | '-']), "{string:?}");
    }
    let said = |query: &str| native::from_query(query, &Bump::new()).consent;
    let google = format!("gcs={}&gcd={}", encoded(gcs), encoded(gcd));
    let alone = said(&google);
    assert!(matches!(alone, Once::Absent | Once::Given(Relayed::Denied)), "{alone:?}");
    fn given(string: &str) -> Once<&str> {
        if string.is_empty() { Once::Absent } else { Once::Given(string) }
    }
    let tc = Once::Given(ACCEPT);
    let strings = ConsentStrings { gdpr_consent: tc, us_privacy: given(string), addtl_consent: given(additional), ..ConsentStrings::default() };
    let all = strings::read(&strings, 123, NOW);
    let is_readable = additional.is_empty() || additional_consent::parse(additional).is_some();
    assert_eq!(all.tcf, if is_readable { StringVerdict::Grants } else { StringVerdict::Unreadable }, "{additional:?}");
    assert_eq!(all.us_opts_out, !string.is_empty() && us_privacy::opts_out(string));
    assert!(!is_readable || additional.bytes().all(|byte| byte.is_ascii_digit() || b"~.dv+".contains(&byte)));
    for query in [format!("consent=granted&{google}"), format!("{google}&consent=granted")] {
        let both = said(&query);
        assert!(if alone == Once::Absent { both == Once::Given(Relayed::Granted) } else { both == alone }, "{query}: {both:?}");
    }
}

/// A `Cookie` header: an opt-out is found wherever it stands, consent is read only in its whole form, an
/// id is proven only where this collector signed it for this site.
pub fn cookies(header: &[u8]) {
    let site = SiteKey::parse("acme").expect("a key");
    let key = SigningKey::new([7; 32]);
    let found = cookies::read(&[header], &site, NOW);
    for beside in [&b"__Host-cp_optout=1"[..], b"__Host-cp_optout.acme=1", b"__host-CP_OPTOUT=x"] {
        for headers in [&[header, beside][..], &[beside, header], &[&[beside, b";", header].concat()], &[&[header, b";", beside].concat()]] {
            assert!(cookies::read(headers, &site, NOW).opted_out());
        }
    }
    let mut denial: Vec<u8> = header.to_vec();
    denial.extend_from_slice(b"; __Host-cp_consent.acme=1.-.0");
    assert_eq!(cookies::read(&[&denial], &site, NOW).consent, Remembered::Denied);
    if found.consent == Remembered::Granted {
        let is_whole = |pair: &[u8]| {
            let pair = String::from_utf8_lossy(pair).into_owned();
            let (name, value) = pair.split_once('=').unwrap_or_default();
            let seconds: Option<i64> = value.trim_matches([' ', '\t']).strip_prefix("1.m.").and_then(|seconds| seconds.parse().ok());
            name.trim().get(10..) == Some("consent.acme") && seconds.is_some_and(|seconds| NOW.seconds() - seconds < 400 * 86_400)
        };
        assert!(header.split(|byte| *byte == b';').any(is_whole));
    }
    assert_eq!(found.unreadable, !header.is_ascii());
    for id in found.ids.into_iter().flatten() {
        assert_eq!(key.prove(&site, id), None, "nobody can sign without the key");
    }
    // An id of this collector is proven for its own site and for no other.
    let own = format!("__Host-cp_id.acme={}", key.sign(&site, Id([9; 16])));
    let found = cookies::read(&[own.as_bytes(), header], &site, NOW);
    let proven = |site: &SiteKey| found.ids.into_iter().flatten().find_map(|value| key.prove(site, value));
    assert_eq!(proven(&site), Some(Id([9; 16])));
    assert_eq!(proven(&SiteKey::parse("other").expect("a key")), None);
}

/// Lines `name: value` of headers: what an untrusted peer forwards is not believed, and whatever a
/// visitor forwards, the address that a trusted proxy wrote last is the one that counts.
pub fn forwarded(bytes: &[u8]) {
    let mut headers = HeaderMap::new();
    for line in bytes.split(|byte| *byte == b'\n').take(64) {
        let Some(colon) = line.iter().position(|byte| *byte == b':') else { continue };
        let (Ok(name), Ok(value)) = (HeaderName::from_bytes(&line[..colon]), HeaderValue::from_bytes(line[colon + 1..].trim_ascii())) else { continue };
        headers.append(name, value);
    }
    let trusted = ["10.0.0.0/8".parse().expect("a network"), "2001:db8::/32".parse().expect("a network")];
    let address = |headers: &HeaderMap, peer: &str| {
        let arena = Bump::new();
        let parts = request::read(request::pairs(headers), peer.parse().expect("an address"), &trusted, &[], &arena);
        parts.address.reveal().map(|address| address.to_string())
    };
    for peer in ["192.0.2.1", "11.0.0.1", "2001:db9::1", "::ffff:192.0.2.1"] {
        assert_eq!(address(&headers, peer).as_deref(), Some(peer));
    }
    for peer in ["10.0.0.1", "2001:db8::1", "::ffff:10.0.0.1"] {
        let is_forwarded = headers.contains_key("x-forwarded-for") || headers.contains_key("forwarded");
        let found = address(&headers, peer);
        assert!(is_forwarded || found.as_deref() == Some(peer));
        assert!(found.is_none_or(|found| found == peer || !found.starts_with("10.") && !found.starts_with("2001:db8:")));
        // The proxy adds a line of its own, or writes behind the last one.
        let proxied = |name: &'static str, value: &'static str| {
            let mut line = headers.clone();
            line.append(name, HeaderValue::from_static(value));
            let found = address(&line, peer);
            // Two headers that differ are nobody's word.
            let is_doubtful = line.contains_key("x-forwarded-for") && line.contains_key("forwarded");
            assert!(found.as_deref() == Some("8.8.8.8") || is_doubtful && found.is_none());
            let mut all: Vec<Vec<u8>> = headers.get_all(name).iter().map(|value| value.as_bytes().to_vec()).collect();
            let Some(last) = all.last_mut() else { return };
            last.extend_from_slice(format!(", {value}").as_bytes());
            let mut line = headers.clone();
            line.remove(name);
            for value in all {
                line.append(name, HeaderValue::from_bytes(&value).expect("a value that was one"));
            }
            // What is not ASCII makes its line one unreadable hop.
            let found = address(&line, peer);
            assert!(found.is_none() || found.as_deref() == Some("8.8.8.8"));
        };
        proxied("x-forwarded-for", "8.8.8.8");
        if !headers.contains_key("x-forwarded-for") {
            proxied("forwarded", "for=8.8.8.8;proto=https");
        }
    }
    let arena = Bump::new();
    let parts = request::read(request::pairs(&headers), "192.0.2.1".parse().expect("an address"), &trusted, &[], &arena);
    assert_eq!(parts.signals.gpc, headers.get_all("sec-gpc").iter().any(|value| value == "1"));
    assert!(headers.contains_key("origin") || parts.origin.is_none_or(|origin| !origin.contains(['@', '?', '#'])));
}

/// A URL: a cleaned one is short, has no fragment, no user and no query but what marketing wrote, and
/// cleaned again it is the same: nothing that could be found is left.
pub fn url(bytes: &[u8]) {
    let Ok(input) = std::str::from_utf8(bytes) else { return };
    let arena = Bump::new();
    let clean = clean_url(input, &arena);
    let again = clean_url(clean.url, &arena);
    assert_eq!(unmarked(again.url.trim()), unmarked(clean.url.trim()), "of {input:?}");
    assert!(clean.url.len() <= scrub::URL_LENGTH_MAX && clean.path.len() <= scrub::URL_LENGTH_MAX && clean.host.len() <= 253);
    assert!(!clean.url.contains('#') && (clean.host.starts_with('[') || !clean.host.contains(['@', '/', ':'])), "{:?}", clean.url);
    const KEPT: [&str; 5] = ["utm_source", "utm_medium", "utm_campaign", "utm_term", "utm_content"];
    let (_, query) = clean.url.split_once('?').unwrap_or_default();
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let key = pair.split('=').next().unwrap_or_default();
        // The last one may have been cut off.
        assert!(KEPT.contains(&key) || clean.url.ends_with(pair) && KEPT.iter().any(|kept| kept.starts_with(key)), "{pair}");
    }
}

fn clean_url<'a>(input: &'a str, arena: &'a Bump) -> CleanUrl<'a> {
    scrub::url(input, Echo::default(), &mut Scrubbed::default(), arena)
}

fn clean_text<'a>(input: &'a str, length_max: usize, echo: Echo<'_>, arena: &'a Bump) -> &'a str {
    scrub::text(input, length_max, echo, &mut Scrubbed::default(), arena)
}

fn clean_property<'a>(key: &'a str, value: &'a str, arena: &'a Bump) -> (&'a str, &'a str) {
    scrub::property(key, value, Echo::default(), &mut Scrubbed::default(), arena)
}

/// The text with all marks alike: a host that is a mark is marked as an address when it is cleaned again.
fn unmarked(text: &str) -> String {
    Kind::ALL.into_iter().map(Kind::mark).filter(|mark| !mark.is_empty()).fold(text.to_owned(), |text, mark| text.replace(mark, "[redacted]"))
}

/// A line of a cookie's value, then a text: cleaned, nothing that could be found is left, nor the cookie;
/// cleaned again it is the same; cut, it is as short as was asked for.
pub fn text(bytes: &[u8]) {
    let Ok(input) = std::str::from_utf8(bytes) else { return };
    let (cookie, input) = input.split_once('\n').unwrap_or(("", input));
    let arena = Bump::new();
    let header = format!("session={cookie}");
    let headers = [header.as_bytes()];
    let echo = Echo::of(b"Mozilla/5.0 (X11) Firefox/140", &headers, &arena);
    let clean = clean_text(input, usize::MAX, Echo::default(), &arena);
    assert_eq!(clean_text(clean, usize::MAX, Echo::default(), &arena), clean, "of {input:?}");
    let own = clean_text(input, usize::MAX, echo, &arena);
    let is_mark = cookie.contains(['[', ']']) || "[redacted:encoded]".contains(cookie);
    let is_value = cookie.len() >= 8 && !cookie.contains(';') && !is_mark && !own.starts_with("[redacted:");
    assert!(!is_value || !own.contains(cookie), "{cookie:?} in {own:?}");
    for length_max in [0, 1, 16, 64, 1_024] {
        let cut = clean_text(input, length_max, Echo::default(), &arena);
        assert!(cut.len() <= length_max);
        assert_eq!(clean_text(cut, length_max, Echo::default(), &arena), cut, "cut from {clean:?}");
    }
    let (key, value) = clean_property(cookie, input, &arena);
    assert!(key.len() <= scrub::PROPERTY_KEY_LENGTH_MAX && value.len() <= scrub::PROPERTY_VALUE_LENGTH_MAX);
    // A key that was cut, or marked, may ask for what it did not ask for before: then the value goes as well.
    let again = clean_property(key, value, &arena);
    assert!(again.0 == key && (again.1 == value || again.1 == Kind::Key.mark()), "{key:?} {value:?} of {cookie:?} {input:?}");
}

/// A query, or the JSON body of an event or of many: both forms say the same, a denial stands, a child
/// stays a child, a consent string given twice is worth nothing.
pub fn native(bytes: &[u8]) {
    let arena = Bump::new();
    if let Ok(body) = serde_json::from_slice::<native::Events>(bytes) {
        for event in body.0.iter().flatten() {
            check(&native::from_event(event, &arena));
            event.text("site");
        }
    }
    let Ok(query) = std::str::from_utf8(bytes) else { return };
    let draft = native::from_query(query, &arena);
    check(&draft);
    let more = |pair: &str| format!("{query}&{pair}");
    let (child, denied, first) = (more("child=1"), more("consent=denied"), format!("consent=denied&{query}"));
    assert!(native::from_query(&child, &arena).child);
    for query in [&denied, &first] {
        assert_eq!(native::from_query(query, &arena).consent, Once::Given(Relayed::Denied), "{query}");
    }
    if draft.strings.gdpr_consent != Once::Absent {
        assert!(native::from_query(&more("gdpr_consent=C"), &arena).strings.gdpr_consent.is_malformed());
    }
    let mut fields = Vec::new();
    for pair in query.split('&').filter(|pair| !pair.is_empty() && !pair.starts_with("properties")) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let value = percent::decode_component(value, &arena);
        let name = name.strip_prefix("p.").map_or_else(|| name.to_owned(), |key| format!("p.{}", percent::decode_component(key, &arena)));
        fields.push(format!("{}:{}", serde_json::Value::from(name), serde_json::Value::from(value)));
    }
    let body = format!("{{{}}}", fields.join(","));
    let event: native::Event = serde_json::from_str(&body).expect("a JSON object");
    assert_eq!(format!("{:?}", native::from_event(&event, &arena)), format!("{draft:?}"), "{query:?} as {body}");
}

type Flat = for<'a> fn(&'a str, &'a Bump) -> Decoded<'a>;

/// Other makers' trackers and servers, as queries and as JSON: a denial and a child that stand anywhere beside
/// what they say stand, and an address is believed of none that did not prove itself.
pub fn foreign(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let arena = Bump::new();
    let queries: [Flat; 2] = [|query, arena| snowplow::decode(query, None, arena), |query, arena| matomo::decode(query, false, arena)];
    for decode in queries {
        check_foreign(&decode(text, &arena));
        for (denied, child) in [(format!("{text}&consent=denied"), format!("{text}&coppa=1")), (format!("consent=denied&{text}"), format!("child=true&{text}"))] {
            assert_eq!(decode(&denied, &arena).draft.consent, Once::Given(Relayed::Denied), "{denied}");
            assert!(decode(&child, &arena).draft.child, "{child}");
        }
    }
    check(&matomo::decode(text, true, &arena).draft);
    if let Ok(tree) = serde_json::from_str::<Tree>(text) {
        let page = Tree(serde_json::json!({"type": "page"}));
        for kind in [None, Some(segment::Kind::Track), Some(segment::Kind::Page), Some(segment::Kind::Identify)] {
            for (own, shared) in [(&tree, None), (&page, Some(&tree.0)), (&tree, Some(&tree.0))] {
                let call = |query| Call { site: None, kind, query, shared };
                check_foreign(&segment::decode(call(""), own, &arena));
                assert_eq!(segment::decode(call("consent=denied"), own, &arena).draft.consent, Once::Given(Relayed::Denied));
                assert!(segment::decode(call("child=1"), own, &arena).draft.child);
            }
        }
    }
    if let Ok(snowplow::Payload { data: native::Events(events) }) = serde_json::from_str(text) {
        for event in events.iter().flatten() {
            check_foreign(&snowplow::decode("", Some(event), &arena));
            assert_eq!(snowplow::decode("consent=denied", Some(event), &arena).draft.consent, Once::Given(Relayed::Denied));
        }
    }
    if let Ok(native::Events(events)) = serde_json::from_str(text) {
        for event in events.iter().flatten() {
            let decoded = server::decode("acme", event, &arena);
            check(&decoded.draft);
            assert_eq!(decoded.draft.site, Some("acme"));
            assert!(decoded.claims.caller.reveal().is_none_or(|number| number.bytes().all(|byte| byte.is_ascii_digit())));
        }
    }
}

fn check_foreign(decoded: &Decoded<'_>) {
    check(&decoded.draft);
    assert!(decoded.claims.address.reveal().is_none() && decoded.claims.country.is_none() && decoded.claims.caller.reveal().is_none());
}

fn check(draft: &Draft<'_>) {
    assert!(draft.properties.len() <= native::PROPERTIES_MAX);
    assert!([draft.screen_width, draft.screen_height, draft.engaged_ms, draft.scroll_percent].into_iter().flatten().all(|number| number >= 0));
    for (at, (key, _)) in draft.properties.iter().enumerate() {
        assert!(!key.is_empty() && draft.properties[..at].iter().all(|(known, _)| known != key));
    }
}

/// A line of a log: what is read as a page is one, and its parts stand in the line.
pub fn log_line(bytes: &[u8]) {
    let Ok(line) = std::str::from_utf8(bytes) else { return };
    let log_line::Line::Page(page) = log_line::parse(line) else { return };
    assert!(line.starts_with(page.address) && line.contains("\"GET ") && line.contains(page.target));
    assert!(page.target.starts_with('/') || page.target.starts_with("http://") || page.target.starts_with("https://"));
    assert!(page.referrer.is_none_or(|referrer| line.contains(referrer)));
    // From the year 0 to the year 10,000.
    assert!((-62_200_000_000_000..253_500_000_000_000).contains(&page.occurred_at));
    let arena = Bump::new();
    let draft = log_line::draft(&page, "acme", Some("https://shop.example"), &arena);
    let url = draft.page_url.expect("a page has a URL");
    assert!(url.ends_with(page.target) && url.starts_with("http"));
    assert!(draft.consent == Once::Absent && draft.properties.is_empty());
}

fn encoded(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02X}")).collect()
}
