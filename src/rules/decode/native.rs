//! Owns the collector's own wire form: the parameters of `/p.gif` and the fields of a `/e` event.
//!
//! Promises: one table of names for both, short and long; a parameter given twice is `Malformed`
//! where it is a consent signal, and its first value elsewhere; a value of the wrong type makes
//! the hit unreadable rather than half right. Never judges.

use crate::hit::draft::{Draft, Once, Relayed};
use crate::rules::percent;
use bumpalo::Bump;
use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::Value;
use serde_json::value::RawValue;
use std::fmt;

/// Reads a query string.
// A draft of 370 bytes would be copied on its way out.
#[inline(always)]
pub fn from_query<'a>(query: &'a str, arena: &'a Bump) -> Draft<'a> {
    let mut draft = Draft::default();
    for (name, value) in percent::parameters(query, arena) {
        if let Some(property) = name.strip_prefix("p.") {
            add_property(&mut draft, percent::decode_component(property, arena), value);
        } else if let Some(field) = Field::named(name) {
            set(&mut draft, field, Given::Text(value));
        }
    }
    draft
}

/// One event of a `/e` body: a JSON object's fields as they came, one given twice twice.
#[derive(Debug)]
pub struct Event(Vec<(String, Value)>);

impl Event {
    /// The text of a field, its first where it was given twice.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(known, _)| known == name)?.1.as_str()
    }

    /// All fields as they came.
    pub fn fields(&self) -> impl Iterator<Item = (&str, &Value)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value))
    }
}

/// A `/e` body: the events of an object or of an array, `None` for each element that is no object.
#[derive(Debug)]
pub struct Events(pub Vec<Option<Event>>);

/// Reads one event.
pub fn from_event<'a>(event: &'a Event, arena: &'a Bump) -> Draft<'a> {
    let mut draft = Draft::default();
    for (name, value) in &event.0 {
        let Some(field) = Field::named(name) else {
            if name == "properties" {
                read_properties(&mut draft, value, arena);
            } else if let Some(property) = name.strip_prefix("p.") {
                add_json_property(&mut draft, property, value, arena);
            }
            continue;
        };
        match value {
            Value::Null => {}
            Value::Bool(truth) => set(&mut draft, field, Given::Truth(*truth)),
            Value::Number(number) => set(&mut draft, field, Given::Number(number)),
            Value::String(text) => set(&mut draft, field, Given::Text(text)),
            Value::Array(_) | Value::Object(_) => draft.unreadable = true,
        }
    }
    draft
}

impl<'de> Deserialize<'de> for Event {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Fields;
        impl<'de> Visitor<'de> for Fields {
            type Value = Event;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a JSON object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Event, A::Error> {
                let mut fields = Vec::new();
                while let Some(field) = map.next_entry()? {
                    fields.push(field);
                }
                Ok(Event(fields))
            }
        }
        deserializer.deserialize_map(Fields)
    }
}

impl<'de> Deserialize<'de> for Events {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Body;
        impl<'de> Visitor<'de> for Body {
            type Value = Events;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a JSON object or an array of them")
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Events, A::Error> {
                Event::deserialize(MapAccessDeserializer::new(map)).map(|event| Events(vec![Some(event)]))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut sequence: A) -> Result<Events, A::Error> {
                let mut events = Vec::new();
                while let Some(element) = sequence.next_element::<Element>()? {
                    events.push(element.0);
                }
                Ok(Events(events))
            }
        }
        deserializer.deserialize_any(Body)
    }
}

/// An element of a body's array: an event, or something else that is passed over.
struct Element(Option<Event>);

impl<'de> Deserialize<'de> for Element {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = <&RawValue>::deserialize(deserializer)?;
        if !raw.get().trim_start().starts_with('{') {
            return Ok(Self(None));
        }
        serde_json::from_str(raw.get()).map(|event| Self(Some(event))).map_err(serde::de::Error::custom)
    }
}

/// Takes a parameter of any wire format that says something of consent, by the IAB's name or ours; others
/// are passed over.
pub fn say<'a>(draft: &mut Draft<'a>, name: &str, value: &'a str) {
    let Some(field) = Field::named(name) else { return };
    match field {
        Field::Anonymous | Field::Consent | Field::Child | Field::Gpc | Field::Gdpr | Field::GdprConsent | Field::Gpp | Field::GppSid | Field::UsPrivacy | Field::AddtlConsent | Field::Gcs | Field::Gcd => {
            set(draft, field, Given::Text(value));
        }
        Field::Site
        | Field::Event
        | Field::EventId
        | Field::PageUrl
        | Field::ReferrerUrl
        | Field::PageTitle
        | Field::Language
        | Field::ScreenWidth
        | Field::ScreenHeight
        | Field::EngagedMs
        | Field::ScrollPercent
        | Field::Element
        | Field::TargetUrl
        | Field::OccurredAt
        | Field::SentAt => {}
    }
}

/// Property keys beyond these are left out: 64 of 64 + 1,024 bytes are 68 KiB a hit at most.
pub const PROPERTIES_MAX: usize = 64;

#[derive(Clone, Copy)]
enum Field {
    Site,
    Event,
    EventId,
    PageUrl,
    ReferrerUrl,
    PageTitle,
    Language,
    ScreenWidth,
    ScreenHeight,
    EngagedMs,
    ScrollPercent,
    Element,
    TargetUrl,
    OccurredAt,
    SentAt,
    Anonymous,
    Consent,
    Child,
    Gpc,
    Gdpr,
    GdprConsent,
    Gpp,
    GppSid,
    UsPrivacy,
    AddtlConsent,
    Gcs,
    Gcd,
}

impl Field {
    /// The one table of names: short, long, and the IAB's. As bytes, for they are told apart letter by letter;
    /// texts would be compared one after the other.
    fn named(name: &str) -> Option<Self> {
        Some(match name.as_bytes() {
            b"s" | b"site" => Self::Site,
            b"e" | b"event" => Self::Event,
            b"id" | b"event_id" => Self::EventId,
            b"u" | b"page_url" => Self::PageUrl,
            b"r" | b"referrer_url" => Self::ReferrerUrl,
            b"t" | b"page_title" => Self::PageTitle,
            b"l" | b"language" => Self::Language,
            b"sw" | b"screen_width" => Self::ScreenWidth,
            b"sh" | b"screen_height" => Self::ScreenHeight,
            b"ms" | b"engaged_ms" => Self::EngagedMs,
            b"sc" | b"scroll_percent" => Self::ScrollPercent,
            b"el" | b"element" => Self::Element,
            b"to" | b"target_url" => Self::TargetUrl,
            b"at" | b"occurred_at" => Self::OccurredAt,
            b"st" | b"sent_at" => Self::SentAt,
            b"anon" | b"anonymous" => Self::Anonymous,
            b"consent" => Self::Consent,
            b"child" | b"coppa" | b"tfcd" => Self::Child,
            b"gpc" => Self::Gpc,
            b"gdpr" => Self::Gdpr,
            b"gdpr_consent" => Self::GdprConsent,
            b"gpp" => Self::Gpp,
            b"gpp_sid" => Self::GppSid,
            b"us_privacy" => Self::UsPrivacy,
            b"addtl_consent" => Self::AddtlConsent,
            b"gcs" => Self::Gcs,
            b"gcd" => Self::Gcd,
            _ => return None,
        })
    }
}

#[derive(Clone, Copy)]
enum Given<'a> {
    Text(&'a str),
    Number(&'a serde_json::Number),
    Truth(bool),
}

fn set<'a>(draft: &mut Draft<'a>, field: Field, given: Given<'a>) {
    match field {
        Field::Site => text(given, &mut draft.site, &mut draft.unreadable),
        Field::Event => text(given, &mut draft.event, &mut draft.unreadable),
        Field::EventId => text(given, &mut draft.event_id, &mut draft.unreadable),
        Field::PageUrl => text(given, &mut draft.page_url, &mut draft.unreadable),
        Field::ReferrerUrl => text(given, &mut draft.referrer_url, &mut draft.unreadable),
        Field::PageTitle => text(given, &mut draft.page_title, &mut draft.unreadable),
        Field::Language => text(given, &mut draft.language, &mut draft.unreadable),
        Field::Element => text(given, &mut draft.element, &mut draft.unreadable),
        Field::TargetUrl => text(given, &mut draft.target_url, &mut draft.unreadable),
        Field::ScreenWidth => small(given, &mut draft.screen_width, &mut draft.unreadable),
        Field::ScreenHeight => small(given, &mut draft.screen_height, &mut draft.unreadable),
        Field::EngagedMs => small(given, &mut draft.engaged_ms, &mut draft.unreadable),
        Field::ScrollPercent => small(given, &mut draft.scroll_percent, &mut draft.unreadable),
        Field::OccurredAt => moment(given, &mut draft.occurred_at, &mut draft.unreadable),
        Field::SentAt => moment(given, &mut draft.sent_at, &mut draft.unreadable),
        // For these, whatever is not a clear "no" is a "yes".
        Field::Anonymous => draft.anonymous |= !is_no(given),
        Field::Child => draft.child |= !is_no(given),
        Field::Gpc => draft.gpc |= !is_no(given),
        Field::Consent => match as_text(given) {
            Some("") => {}
            Some("granted") => draft.consent.say(Some(Relayed::Granted)),
            Some("denied") => draft.consent.say(Some(Relayed::Denied)),
            Some(_) | None => draft.consent.say(None),
        },
        Field::Gdpr => match given {
            Given::Text("") => {}
            Given::Text("0") | Given::Truth(false) => draft.strings.gdpr.give(false),
            Given::Text("1") | Given::Truth(true) => draft.strings.gdpr.give(true),
            Given::Number(number) if number.as_u64() == Some(0) => draft.strings.gdpr.give(false),
            Given::Number(number) if number.as_u64() == Some(1) => draft.strings.gdpr.give(true),
            Given::Text(_) | Given::Number(_) => draft.strings.gdpr = Once::Malformed,
        },
        Field::GdprConsent => signal(given, &mut draft.strings.gdpr_consent),
        Field::Gpp => signal(given, &mut draft.strings.gpp),
        Field::GppSid => signal(given, &mut draft.strings.gpp_sid),
        Field::UsPrivacy => signal(given, &mut draft.strings.us_privacy),
        Field::AddtlConsent => signal(given, &mut draft.strings.addtl_consent),
        Field::Gcs => deny_if(draft, as_text(given).is_none_or(gcs_denies)),
        Field::Gcd => deny_if(draft, as_text(given).is_none_or(gcd_denies)),
    }
}

fn deny_if(draft: &mut Draft<'_>, denies: bool) {
    if denies {
        draft.consent.say(Some(Relayed::Denied));
    }
}

/// Google's consent mode, whose form is not published: it may deny analytics storage, and never grants.
/// `gcs` is `G1xy`, of which `y` is analytics storage: 1 granted, 0 denied, - not set. Any other form denies.
fn gcs_denies(text: &str) -> bool {
    match text.as_bytes() {
        [] => false,
        [b'G', b'1', b'0' | b'1' | b'-', analytics] => !matches!(analytics, b'1' | b'-'),
        _ => true,
    }
}

/// `gcd` is `1` and a digit, then a letter and a digit for each of ad storage, analytics storage, ad user data
/// and ad personalisation, and perhaps more of them. Granted are `t`, `r`, `n` and `v`; `l` is not set; any
/// other letter or form denies.
fn gcd_denies(text: &str) -> bool {
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    let is_pair = |pair: &[u8; 2]| pair[0].is_ascii_lowercase() && pair[1].is_ascii_digit();
    match pairs {
        [[b'1', b'0'..=b'9'], signals @ ..] if rest.is_empty() && signals.iter().all(is_pair) => match signals {
            [_, [analytics, _], _, _, ..] => !b"trnvl".contains(analytics),
            _ => true,
        },
        _ => !text.is_empty(),
    }
}

const fn as_text(given: Given<'_>) -> Option<&str> {
    match given {
        Given::Text(text) => Some(text),
        Given::Number(_) | Given::Truth(_) => None,
    }
}

fn text<'a>(given: Given<'a>, slot: &mut Option<&'a str>, unreadable: &mut bool) {
    match as_text(given) {
        Some("") => {}
        Some(text) => {
            slot.get_or_insert(text);
        }
        None => *unreadable = true,
    }
}

/// A consent string: empty is absent, twice or no text is malformed.
fn signal<'a>(given: Given<'a>, slot: &mut Once<&'a str>) {
    match as_text(given) {
        Some("") => {}
        Some(text) => slot.give(text),
        None => *slot = Once::Malformed,
    }
}

/// A whole number that fits the column; browsers do send fractions (`innerWidth` under zoom).
fn small(given: Given<'_>, slot: &mut Option<i32>, unreadable: &mut bool) {
    let value = match given {
        Given::Text("") => return,
        // Nearly always whole.
        Given::Text(text) if text.len() < 10 && text.bytes().all(|byte| byte.is_ascii_digit()) => text.parse().ok(),
        Given::Text(text) => text.parse().ok().and_then(rounded),
        Given::Number(number) => number.as_f64().and_then(rounded),
        Given::Truth(_) => None,
    };
    match value {
        Some(value) => {
            slot.get_or_insert(value);
        }
        None => *unreadable = true,
    }
}

#[expect(clippy::cast_possible_truncation, reason = "the range was checked")]
fn rounded(value: f64) -> Option<i32> {
    (0.0..=f64::from(i32::MAX)).contains(&value).then(|| value.round() as i32)
}

/// RFC 3339 (`2026-11-23T10:00:00.123Z`) in milliseconds since the epoch.
pub fn millis_of(text: &str) -> Option<i64> {
    chrono::DateTime::parse_from_rfc3339(text).ok().map(|time| time.timestamp_millis())
}

/// Milliseconds since the epoch, or RFC 3339.
fn moment(given: Given<'_>, slot: &mut Option<i64>, unreadable: &mut bool) {
    let value = match given {
        Given::Text("") => return,
        Given::Text(text) => text.parse::<i64>().ok().or_else(|| millis_of(text)),
        #[expect(clippy::cast_possible_truncation, reason = "a moment with a fraction, within 2^53 ms")]
        Given::Number(number) => number.as_i64().or_else(|| number.as_f64().filter(|value| value.abs() < 9e15).map(|value| value as i64)),
        Given::Truth(_) => None,
    };
    match value {
        Some(value) => {
            slot.get_or_insert(value);
        }
        None => *unreadable = true,
    }
}

fn is_no(given: Given<'_>) -> bool {
    match given {
        Given::Text(text) => matches!(text, "" | "0" | "false"),
        Given::Number(number) => number.as_f64() == Some(0.0),
        Given::Truth(truth) => !truth,
    }
}

fn read_properties<'a>(draft: &mut Draft<'a>, value: &'a Value, arena: &'a Bump) {
    match value {
        Value::Null => {}
        Value::Object(properties) => {
            for (key, value) in properties {
                add_json_property(draft, key, value, arena);
            }
        }
        Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => draft.unreadable = true,
    }
}

fn add_json_property<'a>(draft: &mut Draft<'a>, key: &'a str, value: &'a Value, arena: &'a Bump) {
    match value {
        Value::Null => {}
        Value::String(text) => add_property(draft, key, text),
        Value::Bool(truth) => add_property(draft, key, if *truth { "true" } else { "false" }),
        Value::Number(number) => add_property(draft, key, arena.alloc_str(&number.to_string())),
        Value::Array(_) | Value::Object(_) => draft.unreadable = true,
    }
}

pub(super) fn add_property<'a>(draft: &mut Draft<'a>, key: &'a str, value: &'a str) {
    let is_new = !key.is_empty() && draft.properties.iter().all(|(known, _)| *known != key);
    if is_new && draft.properties.len() < PROPERTIES_MAX {
        draft.properties.push((key, value));
    }
}

#[cfg(test)]
mod tests {
    use super::{Draft, Event, Events, from_event, from_query};
    use crate::hit::draft::{Once, Relayed};
    use bumpalo::Bump;
    use proptest::prelude::*;
    use serde_json::json;

    #[test]
    fn a_query_and_an_event_say_the_same() {
        let arena = Bump::new();
        let query = from_query(
            "s=acme&e=click&id=1&u=https%3A%2F%2Fa.example%2F&t=A+b&sw=1920&ms=1500&sc=40&at=1700000000000&p.plan=gold&consent=granted&gdpr=1&child=0",
            &arena,
        );
        let value = json!({
            "site": "acme", "event": "click", "event_id": "1", "page_url": "https://a.example/", "page_title": "A b",
            "screen_width": 1920, "engaged_ms": 1500, "scroll_percent": 40.2, "occurred_at": 1_700_000_000_000_i64,
            "properties": {"plan": "gold"}, "consent": "granted", "gdpr": 1, "child": false
        });
        let body = event_of(&value);
        let event = from_event(&body, &arena);
        assert_eq!(format!("{query:?}"), format!("{event:?}"));
        assert_eq!(query.consent, Once::Given(Relayed::Granted));
        assert_eq!((query.screen_width, query.page_url), (Some(1920), Some("https://a.example/")));
        assert!(!query.unreadable);
    }

    #[test]
    fn a_consent_signal_given_twice_or_wrongly_is_malformed() {
        let arena = Bump::new();
        for query in ["consent=granted&consent=granted", "consent=yes", "consent=granted&consent=no"] {
            assert!(from_query(query, &arena).consent.is_malformed(), "{query}");
        }
        assert!(from_query("gdpr_consent=a&gdpr_consent=a", &arena).strings.gdpr_consent.is_malformed());
        assert!(from_query("gdpr=2", &arena).strings.gdpr.is_malformed());
        assert!(from_query("child=yes", &arena).child);
        assert!(!from_query("coppa=0", &arena).child);
    }

    #[test]
    fn google_s_signals_deny_and_never_grant() {
        let arena = Bump::new();
        for (query, denies) in [
            ("gcs=G111", false), ("gcs=G101", false), ("gcs=G1-1", false), ("gcs=G1--", false), ("gcs=", false), ("gcs=G110", true), ("gcs=G100", true),
            ("gcs=G1", true), ("gcs=G11", true), ("gcs=G1111", true), ("gcs=G211", true), ("gcs=g111", true), ("gcs=G11x", true), ("gcs=${GCS}", true),
            ("gcd=13t3t3t3t5", false), ("gcd=11r1r1r1r5", false), ("gcd=13n3n3n3n5", false), ("gcd=11v1v1v1v5", false), ("gcd=13p3t3p3p5", false),
            ("gcd=13l3l3l2l1l1", false), ("gcd=13t3l3t3t5", false), ("gcd=", false),
            ("gcd=11p1p1p1p5", true), ("gcd=13t3q3t3t5", true), ("gcd=13t3m3t3t5", true), ("gcd=13t3u3t3t5", true), ("gcd=13t3z3t3t5", true),
            ("gcd=13t3T3t3t5", true), ("gcd=13t3t3t5", true), ("gcd=tttt", true), ("gcd=23t3t3t3t5", true), ("gcd=13t3t3t3t", true), ("gcd=13t33t3t3t", true),
        ] {
            assert_eq!(from_query(query, &arena).consent == Once::Given(Relayed::Denied), denies, "{query}");
            assert_ne!(from_query(query, &arena).consent, Once::Given(Relayed::Granted), "{query}");
        }
        for query in ["gcs=G110&consent=granted", "consent=granted&gcs=G110", "gcd=11p1p1p1p5&consent=granted&consent=granted", "gcs=G110&gcs=G111"] {
            assert_eq!(from_query(query, &arena).consent, Once::Given(Relayed::Denied), "{query}");
        }
        for value in [json!({"gcs": 111}), json!({"gcd": true}), json!({"gcs": "G110", "consent": "granted"})] {
            assert_eq!(from_event(&event_of(&value), &arena).consent, Once::Given(Relayed::Denied), "{value}");
        }
    }

    #[test]
    fn consent_strings_of_a_query_and_of_an_event() {
        let arena = Bump::new();
        let names = ["gdpr_consent", "gpp", "gpp_sid", "us_privacy", "addtl_consent"];
        fn all<'a>(draft: &Draft<'a>) -> [Once<&'a str>; 5] {
            let strings = draft.strings;
            [strings.gdpr_consent, strings.gpp, strings.gpp_sid, strings.us_privacy, strings.addtl_consent]
        }
        for (at, name) in names.into_iter().enumerate() {
            for (query, body, expected) in [
                (format!("{name}=2~1.35~dv.9"), json!({name: "2~1.35~dv.9"}).to_string(), Once::Given("2~1.35~dv.9")),
                (format!("{name}="), json!({name: ""}).to_string(), Once::Absent),
                (format!("{name}=1~1&{name}=1~1"), format!(r#"{{"{name}":"1~1","{name}":"1~1"}}"#), Once::Malformed),
            ] {
                let event: Event = serde_json::from_str(&body).unwrap();
                for draft in [from_query(&query, &arena), from_event(&event, &arena)] {
                    let mut others = [Once::Absent; 5];
                    others[at] = expected;
                    assert_eq!(all(&draft), others, "{query} {body}");
                }
            }
            assert!(all(&from_event(&event_of(&json!({name: 5})), &arena))[at].is_malformed());
        }
        for query in ["coppa=1", "tfcd=1", "child=1"] {
            assert!(from_query(query, &arena).child, "{query}");
        }
    }

    #[test]
    fn wrong_types_are_unreadable() {
        let arena = Bump::new();
        for query in ["sw=abc", "at=yesterday", "ms=-5", "sw=1e99"] {
            assert!(from_query(query, &arena).unreadable, "{query}");
        }
        for value in [json!({"event": 5}), json!({"properties": [1]}), json!({"properties": {"a": {}}}), json!({"site": {}})] {
            assert!(from_event(&event_of(&value), &arena).unreadable, "{value}");
        }
    }

    #[test]
    fn a_body_is_an_object_or_an_array_and_tells_a_field_given_twice() {
        let arena = Bump::new();
        let Events(events) = serde_json::from_str(r#"[{"site":"a","consent":"granted","consent":"granted"}, 5, [{}], {}]"#).unwrap();
        assert_eq!(events.iter().map(Option::is_some).collect::<Vec<_>>(), [true, false, false, true]);
        let draft: Draft<'_> = from_event(events[0].as_ref().unwrap(), &arena);
        assert!(draft.consent.is_malformed());
        for body in ["", "5", "\"x\"", "null", "{", "[{]", "[{}", "{} {}"] {
            assert!(serde_json::from_str::<Events>(body).is_err(), "{body}");
        }
    }

    fn event_of(value: &serde_json::Value) -> Event {
        serde_json::from_str(&value.to_string()).unwrap()
    }

    proptest! {
        #[test]
        fn any_query_is_read_without_a_panic(query in "\\PC{0,300}") {
            from_query(&query, &Bump::new());
        }
    }
}
