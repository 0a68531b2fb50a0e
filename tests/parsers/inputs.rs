//! Owns an ordinary input and the worst inputs of 16 KiB of every reader of what strangers send: measured
//! by `benches/decoders.rs`, bounded by `bounds`.
//!
//! Knows the layouts only as far as it takes to fill them. Each input is made for the loop that it
//! names; `bounds` says of which it is known that they reach it.

use crate::door::request;
use crate::hit::clock::Moment;
use crate::hit::draft::Draft;
use crate::hit::scrubbed::Scrubbed;
use crate::hit::site::SiteKey;
use crate::rules::cookies::Findings;
use crate::rules::decode::{log_line, native};
use crate::rules::echo::Echo;
use crate::rules::ruling::StringVerdict;
use crate::rules::scrub;
use crate::rules::{cookies, gpp, tcf, us_privacy};
use bumpalo::Bump;
use hyper::header::{HeaderMap, HeaderName, HeaderValue};

/// One input of one reader.
pub struct Case {
    /// `reader/what`.
    pub name: &'static str,
    /// In bytes.
    pub length: usize,
    /// What is read of it.
    pub said: String,
    /// Reads it; the sum of what was read, so that no compiler leaves it out.
    pub run: Box<dyn Fn() -> usize>,
}

/// 23 November 2026, as for the fuzzers.
pub const NOW: Moment = Moment(1_795_435_200_000_000);

/// The worst input's length: what a URL or a header may hold.
pub const LENGTH: usize = 16_384;

/// Every case, by reader.
pub fn all() -> Vec<Case> {
    let mut cases = Vec::new();
    let mut add = |inputs: Vec<(&'static str, String)>, run: fn(&str) -> usize, said: fn(&str) -> String| {
        cases.extend(inputs.into_iter().map(|(name, text)| {
            Case { name, length: text.len(), said: said(&text), run: Box::new(move || run(&text)) }
        }));
    };
    add(tc_strings(), |text| verdict(text) as usize, |text| format!("{:?}", verdict(text)));
    add(gpp_strings(), |text| platform(text).verdict as usize, |text| format!("{:?}", platform(text)));
    add(us_privacy_strings(), |text| usize::from(us_privacy::opts_out(text)), |text| us_privacy::opts_out(text).to_string());
    add(cookie_headers(), |text| usize::from(found(text).opted_out()), |text| format!("{:?}", found(text).consent));
    add(queries(), |text| of_draft(&native::from_query(text, &Bump::new())), |text| of_draft(&native::from_query(text, &Bump::new())).to_string());
    add(bodies(), body, |text| body(text).to_string());
    add(log_lines(), |text| usize::from(is_page(text)), |text| is_page(text).to_string());
    add(urls(), |text| url(text).len(), url);
    add(texts(), |text| clean(text).len(), clean);
    for (name, header, value) in forwarding_headers() {
        let headers = HeaderMap::from_iter([(HeaderName::from_static(header), HeaderValue::from_str(&value).expect("a value"))]);
        cases.push(Case { name, length: value.len(), said: address(&headers).to_string(), run: Box::new(move || usize::from(address(&headers))) });
    }
    cases
}

fn verdict(text: &str) -> StringVerdict {
    tcf::verdict(text, 123, NOW)
}

fn platform(text: &str) -> gpp::Said {
    gpp::read(text, 123, NOW)
}

fn found(header: &str) -> Findings<'_> {
    cookies::read(&[header.as_bytes()], &SiteKey::parse("acme").expect("a key"), NOW)
}

/// How many properties a draft has, and whether it could be read.
fn of_draft(draft: &Draft<'_>) -> usize {
    draft.properties.len() + usize::from(draft.unreadable)
}

fn body(text: &str) -> usize {
    let arena = Bump::new();
    let events = serde_json::from_str::<native::Events>(text);
    events.map_or(0, |events| events.0.iter().flatten().map(|event| 1 + of_draft(&native::from_event(event, &arena))).sum())
}

fn is_page(line: &str) -> bool {
    matches!(log_line::parse(line), log_line::Line::Page(_))
}

fn url(text: &str) -> String {
    scrub::url(text, Echo::default(), &mut Scrubbed::default(), &Bump::new()).url.to_owned()
}

fn clean(text: &str) -> String {
    scrub::text(text, 1_024, Echo::default(), &mut Scrubbed::default(), &Bump::new()).to_owned()
}

/// Whether an address was found behind a trusted proxy.
fn address(headers: &HeaderMap) -> bool {
    let trusted = ["10.0.0.0/8".parse().expect("a network")];
    let arena = Bump::new();
    let parts = request::read(request::pairs(headers), "10.0.0.1".parse().expect("an address"), &trusted, &[], &arena);
    parts.address.reveal().is_some()
}

/// Bits, most significant first.
#[derive(Clone, Default)]
struct Bits(Vec<bool>);

impl Bits {
    fn put(mut self, value: u64, length: usize) -> Self {
        self.0.extend((0..length).rev().map(|bit| value >> bit & 1 == 1));
        self
    }

    fn then(mut self, other: &Self) -> Self {
        self.0.extend(&other.0);
        self
    }

    /// `part(at)` over and over, until the text would be longer than `LENGTH`, 4,095 times at most.
    fn fill(self, part: impl Fn(u64) -> Self, header: usize) -> (Self, u64) {
        let (mut rest, mut count) = (self.clone(), 0);
        while count < 4_095 && (rest.0.len() + part(count).0.len()) / 6 + header < LENGTH {
            rest = rest.then(&part(count));
            count += 1;
        }
        (Self(rest.0.split_off(self.0.len())), count)
    }

    fn text(&self) -> String {
        let digit = |six: &[bool]| {
            let value = (0..6).fold(0, |sum, at| sum * 2 + usize::from(six.get(at) == Some(&true)));
            char::from(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"[value])
        };
        self.0.chunks(6).map(digit).collect()
    }
}

/// A core up to its vendors: of yesterday, policy 5, service-specific, all purposes consented.
fn core() -> Bits {
    let made = u64::try_from(NOW.plus_seconds(-86_400).micros() / 100_000).expect("after 1970");
    Bits::default().put(2, 6).put(made, 36).put(made, 36).put(0, 48).put(0, 6).put(5, 6).put(1, 1).put(0, 13).put(0xff_ffff, 24).put(0, 24).put(0, 13)
}

fn tc_strings() -> Vec<(&'static str, String)> {
    let all_vendors = Bits::default().put(1_100, 16).put(0, 1).then(&Bits(vec![true; 1_100]));
    let disclosed = Bits::default().put(1, 3).then(&all_vendors);
    let whole = |core: &Bits| format!("{}.{}", core.text(), disclosed.text());
    let ordinary = core().then(&all_vendors).then(&all_vendors).put(0, 12);
    // No entry is the vendor asked for, so that all are walked.
    let single = |at: u64| Bits::default().put(0, 1).put(1_000 + at, 16);
    let (entries, count) = core().put(0, 29 + 29).fill(single, disclosed.0.len() / 6 + 2);
    let ranges = core().put(65_535, 16).put(1, 1).put(count, 12).then(&entries).put(0, 17).put(0, 12);
    let (empty, empty_count) = core().put(0, 46).fill(|at| Bits::default().put(1 + at % 24, 6).put(1, 2).put(0, 12), disclosed.0.len() / 6 + 2);
    let restrictions = core().then(&all_vendors).put(0, 17).put(empty_count, 12).then(&empty);
    let one = |_| Bits::default().put(1, 6).put(1, 2).put(1, 12).put(1, 1).put(1_000, 16).put(65_535, 16);
    let (nested, nested_count) = core().then(&all_vendors).put(0, 29).fill(one, disclosed.0.len() / 6 + 2);
    let nested = core().then(&all_vendors).put(0, 17).put(nested_count, 12).then(&nested);
    let (long, long_count) = core().then(&all_vendors).put(0, 49).fill(single, disclosed.0.len() / 6 + 2);
    let long = core().then(&all_vendors).put(0, 17).put(1, 12).put(1, 6).put(1, 2).put(long_count, 12).then(&long);
    let field = core().put(65_535, 16).put(0, 1).then(&Bits(vec![false; 65_535])).put(0, 17).put(0, 12);
    vec![
        ("tcf/ordinary: 1,100 vendors", whole(&ordinary)),
        ("tcf/worst: 4,095 ranges", whole(&ranges)),
        ("tcf/worst: 4,095 empty restrictions", whole(&restrictions)),
        ("tcf/worst: restrictions of a range each", whole(&nested)),
        ("tcf/worst: a restriction of 4,095 vendors", whole(&long)),
        ("tcf/worst: a field of 65,535 vendors", whole(&field)),
        ("tcf/worst: segments", format!("{}{}", whole(&core().then(&all_vendors).put(0, 17).put(0, 12)), ".A".repeat(7_900))),
    ]
}

/// A number's Fibonacci code.
fn fibonacci(mut number: u32) -> Bits {
    let mut terms = vec![1, 2];
    while terms[terms.len() - 1] <= number {
        terms.push(terms[terms.len() - 1] + terms[terms.len() - 2]);
    }
    let mut code = Vec::new();
    for term in terms.into_iter().rev() {
        let fits = term <= number;
        if fits {
            number -= term;
        }
        if fits || !code.is_empty() {
            code.push(fits);
        }
    }
    code.reverse();
    code.push(true);
    Bits(code)
}

fn gpp_header(ids: &[u32]) -> String {
    let mut bits = Bits::default().put(3, 6).put(1, 6).put(ids.len() as u64, 12);
    let mut last = 0;
    for id in ids {
        bits = bits.put(0, 1).then(&fibonacci(id - last));
        last = *id;
    }
    bits.text()
}

fn gpp_strings() -> Vec<(&'static str, String)> {
    let tc = tc_strings().swap_remove(1).1;
    let national = "BAAAAAAAAAAA".to_owned();
    let states: Vec<u32> = (7..=27).collect();
    let subsections = format!("{}{}", national, ".QA".repeat(240));
    // Maryland's id, then a header of its own: 1s and the longest codes.
    let (codes, count) = Bits::default().put(0, 24).fill(|_| Bits::default().put(1, 1).then(&fibonacci(121_392)).then(&fibonacci(121_392)), 40);
    let maryland = Bits::default().put(24, 6).put(1, 6).put(count, 12).then(&codes).put(0, 60).text();
    let (groups, count) = Bits::default().put(0, 24).fill(|_| Bits::default().put(0, 1).then(&fibonacci(1)), 0);
    vec![
        ("gpp/ordinary: US national", format!("{}~{national}", gpp_header(&[7]))),
        ("gpp/worst: every state, sub-sections", format!("{}~{}", gpp_header(&states), vec![subsections; states.len()].join("~"))),
        ("gpp/worst: a TC string", format!("{}~{}", gpp_header(&[2]), tc.get(..LENGTH - 20).unwrap_or(&tc))),
        ("gpp/worst: Fibonacci codes", format!("{}~{maryland}", gpp_header(&[24]))),
        ("gpp/worst: a header of 4,095 ids", Bits::default().put(3, 6).put(1, 6).put(count, 12).then(&groups).text()),
        ("gpp/worst: empty sections", format!("{}{}", gpp_header(&[6]), "~".repeat(LENGTH - 8))),
    ]
}

const QUERY: &str = "s=acme&e=page_view&id=5f2b8c1d9e3a4b6c7d8e9f0a1b2c3d4e&u=https%3A%2F%2Fshop.example%2Fproducts%2Fwinter-ink%3Futm_source%3Dnews&r=https%3A%2F%2Fwww.google.com%2F&t=Winter%20ink&l=en-US&sw=1920&sh=1080";

fn queries() -> Vec<(&'static str, String)> {
    vec![
        ("native/ordinary: a query", QUERY.to_owned()),
        ("native/worst: encoded", format!("t={}", "%41".repeat(LENGTH / 3))),
        ("native/worst: properties", (0..LENGTH / 8).map(|at| format!("p.{at:04}=&")).collect()),
        ("native/worst: pairs", "&=".repeat(LENGTH / 2)),
        ("native/worst: denials of Google's", "gcd=1111p&".repeat(LENGTH / 10)),
        ("native/worst: one gcd", format!("gcd={}", "1".repeat(LENGTH))),
    ]
}

fn bodies() -> Vec<(&'static str, String)> {
    vec![
        ("native/ordinary: JSON", r#"{"site":"acme","event":"click","page_url":"https://shop.example/","properties":{"plan":"gold","seats":3}}"#.to_owned()),
        ("native/worst: JSON of events", format!("[{}{{}}]", "{},".repeat(LENGTH / 3 - 2))),
        ("native/worst: JSON of numbers", format!(r#"{{"properties":{{"a":[{}1]}}}}"#, "1,".repeat(LENGTH / 2 - 20))),
        ("native/worst: JSON of fields", format!(r#"{{{}"a":1}}"#, r#""a":1,"#.repeat(LENGTH / 6 - 2))),
        ("native/worst: JSON of depth", "[".repeat(LENGTH)),
    ]
}

fn us_privacy_strings() -> Vec<(&'static str, String)> {
    vec![("us_privacy/ordinary", "1YNN".to_owned()), ("us_privacy/worst", "1".repeat(LENGTH))]
}

fn log_lines() -> Vec<(&'static str, String)> {
    let line = |agent: &str| format!(r#"203.0.113.7 - - [23/Nov/2026:10:00:00 +0100] "GET /a?b=c HTTP/1.1" 200 512 "https://www.google.com/" "{agent}""#);
    vec![("log_line/ordinary", line("Mozilla/5.0 (X11) Firefox/140")), ("log_line/worst: escapes", line(&"\\\"".repeat(LENGTH / 2)))]
}

fn cookie_headers() -> Vec<(&'static str, String)> {
    vec![
        ("cookies/ordinary", "theme=dark; _session=0123456789abcdef; lang=en; __Host-cp_consent.acme=1.m.1795000000".to_owned()),
        ("cookies/worst: pairs", "a=b;".repeat(LENGTH / 4)),
        ("cookies/worst: semicolons", ";".repeat(LENGTH)),
        ("cookies/worst: consents", "__Host-cp_consent.acme=1.m.1795000000;".repeat(LENGTH / 38)),
        ("cookies/worst: spaces", format!("{};{}", " ".repeat(LENGTH / 2), " ".repeat(LENGTH / 2))),
    ]
}

fn forwarding_headers() -> Vec<(&'static str, &'static str, String)> {
    vec![
        ("forwarded/ordinary", "x-forwarded-for", "203.0.113.7, 10.2.3.4".to_owned()),
        ("forwarded/worst: hops", "x-forwarded-for", format!("{}8.8.8.8", ",".repeat(LENGTH - 7))),
        ("forwarded/worst: trusted hops", "x-forwarded-for", "10.0.0.1,".repeat(LENGTH / 9)),
        ("forwarded/worst: elements", "forwarded", format!("{}for=8.8.8.8", "for=x;a=b,".repeat(LENGTH / 10 - 2))),
        ("forwarded/worst: pairs of an element", "forwarded", "a=b;".repeat(LENGTH / 4)),
    ]
}

fn urls() -> Vec<(&'static str, String)> {
    vec![
        ("url/ordinary", "https://shop.example/products/winter-ink?utm_source=news&utm_campaign=winter&id=7".to_owned()),
        ("url/ordinary: full of persons", "https://u:p@shop.example/u/jane%2540example.org/4242-4242-4242-4242/9f86d081884c7d659a2feaa0c55ad015?utm_term=a%40b.cd&email=x#y".to_owned()),
        ("url/worst: segments", format!("https://a.example{}", "/1".repeat(LENGTH / 2 - 10))),
        ("url/worst: encoded four times over", format!("https://a.example/{}", "%25252540".repeat(LENGTH / 9 - 2))),
        ("url/worst: queries", format!("https://a.example/?{}", "utm_term=%40&".repeat(LENGTH / 13 - 2))),
    ]
}

fn texts() -> Vec<(&'static str, String)> {
    vec![
        ("text/ordinary", "Winter ink, 50 ml: order 1234567890".to_owned()),
        ("text/worst: letters of tokens", "eyJ-".repeat(LENGTH / 4)),
        ("text/worst: at signs", "a@".repeat(LENGTH / 2)),
        ("text/worst: e-mails", "a@b.cd ".repeat(LENGTH / 7)),
        ("text/worst: digits", "1 ".repeat(LENGTH / 2)),
        ("text/worst: cards", "4111111111111111 ".repeat(LENGTH / 17)),
        ("text/worst: account numbers", "GB00 A1 ".repeat(LENGTH / 8)),
        ("text/worst: colons", "::".repeat(LENGTH / 2)),
        ("text/worst: dashes", "-----BEGIN".repeat(LENGTH / 10)),
        ("text/worst: encoded", "%2520".repeat(LENGTH / 5)),
    ]
}
