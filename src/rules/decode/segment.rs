//! Owns the Segment HTTP API's calls (track, page, identify, group, alias, screen), which RudderStack's
//! clients speak too.
//!
//! Knows the Segment spec ("Common fields", "Consent") and RudderStack's `context.consentManagement`.
//! Promises: what a batch shares stands behind what an event says itself; traits of an identify call (of
//! RudderStack's clients in `context.traits`) are laid out as its properties, which are never of the row, and
//! no other traits are read; a user's id only becomes a claim; `context.ip` is never looked at; consent is read from what the page's
//! consent platform said of measuring, and a category that measures and was denied beats all others.
//! Never judges.

use super::native::{add_property, millis_of, say};
use super::tree::{self, Tree};
use crate::hit::claims::Decoded;
use crate::hit::draft::{Draft, Relayed};
use crate::hit::field::Channel;
use crate::hit::private::Private;
use bumpalo::Bump;
use serde_json::Value;

/// What all events of a call share.
#[derive(Clone, Copy)]
pub struct Call<'a> {
    /// The write key, wherever it stood.
    pub site: Option<&'a str>,
    /// The kind that the path says; `None`: each event says its own.
    pub kind: Option<Kind>,
    /// The call's query: consent by the IAB's names.
    pub query: &'a str,
    /// The body of a batch.
    pub shared: Option<&'a Value>,
}

/// The kinds of calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Track,
    Page,
    Screen,
    Identify,
    Group,
    Alias,
}

impl Kind {
    /// By the long name, or the letter of the short paths.
    pub fn named(name: &str) -> Option<Self> {
        Some(match name {
            "t" | "track" => Self::Track,
            "p" | "page" => Self::Page,
            "s" | "screen" => Self::Screen,
            "i" | "identify" => Self::Identify,
            "g" | "group" => Self::Group,
            "a" | "alias" => Self::Alias,
            _ => return None,
        })
    }

    /// The row's event; a track call has its own.
    const fn event(self) -> Option<&'static str> {
        match self {
            Self::Track => None,
            Self::Page => Some("page_view"),
            Self::Screen => Some("screen_view"),
            Self::Identify => Some("identify"),
            Self::Group => Some("group"),
            Self::Alias => Some("alias"),
        }
    }
}

/// Reads one event of a call.
pub fn decode<'a>(call: Call<'a>, event: &'a Tree, arena: &'a Bump) -> Decoded<'a> {
    let source = Source { own: &event.0, shared: call.shared, arena };
    let mut decoded = Decoded::on(channel(&source));
    let Decoded { draft, claims, .. } = &mut decoded;
    draft.site = call.site.or_else(|| source.text("writeKey"));
    for (paths, slot) in TEXTS {
        *slot(draft) = paths.iter().find_map(|path| source.text(path));
    }
    for (path, slot) in WHOLES {
        *slot(draft) = source.find(path).and_then(Value::as_f64).and_then(whole);
    }
    claims.device = Private::new(source.text("anonymousId"));
    claims.user = Private::new(source.text("userId"));
    claims.user_agent = Private::new(source.text("context.userAgent"));
    draft.occurred_at = ["timestamp", "originalTimestamp"].into_iter().find_map(|path| source.moment(path, &mut draft.unreadable));
    draft.sent_at = source.moment("sentAt", &mut draft.unreadable);
    match call.kind.or_else(|| source.text("type").and_then(Kind::named)) {
        Some(kind) => {
            draft.event = kind.event().or_else(|| source.text("event"));
            draft.unreadable |= draft.event.is_none();
            if matches!(kind, Kind::Track | Kind::Page | Kind::Screen) {
                properties(&source, kind, draft);
            }
            if kind == Kind::Identify {
                for traits in ["traits", "context.traits"].into_iter().filter_map(|path| tree::at(source.own, path)).filter(|traits| traits.is_object()) {
                    tree::flatten(draft, "", traits, arena);
                }
            }
        }
        None => draft.unreadable = true,
    }
    for pair in call.query.split('&') {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        say(draft, name, crate::rules::percent::decode_component(value, arena));
    }
    consent(&source, draft);
    decoded
}

type TextSlot = for<'d, 'a> fn(&'d mut Draft<'a>) -> &'d mut Option<&'a str>;
type WholeSlot = for<'d, 'a> fn(&'d mut Draft<'a>) -> &'d mut Option<i32>;

/// Where a text stands, the best place first → where it goes.
const TEXTS: &[(&[&str], TextSlot)] = &[
    (&["messageId"], |draft| &mut draft.event_id),
    (&["properties.url", "context.page.url"], |draft| &mut draft.page_url),
    (&["properties.title", "context.page.title"], |draft| &mut draft.page_title),
    (&["properties.referrer", "context.page.referrer"], |draft| &mut draft.referrer_url),
    (&["context.locale"], |draft| &mut draft.language),
];

const WHOLES: &[(&str, WholeSlot)] =
    &[("context.screen.width", |draft| &mut draft.screen_width), ("context.screen.height", |draft| &mut draft.screen_height)];

/// Properties of every kind that stand in columns, where they are cleaned as URLs; a query alone is dropped.
const URLS: &[&str] = &["url", "referrer", "search"];
/// What else of a page's properties stands in columns already.
const PAGE_COLUMNS: &[&str] = &["title", "path"];

/// Names under which consent platforms keep the category of measuring; OneTrust numbers it C0002.
const MEASURING: &[&str] = &["analytics", "statistics", "statistical", "measurement", "performance", "c0002"];

/// Where a value may stand: in the event, or in what the batch shares.
struct Source<'a> {
    own: &'a Value,
    shared: Option<&'a Value>,
    arena: &'a Bump,
}

impl<'a> Source<'a> {
    fn find(&self, path: &str) -> Option<&'a Value> {
        tree::at(self.own, path).or_else(|| tree::at(self.shared?, path))
    }

    fn text(&self, path: &str) -> Option<&'a str> {
        tree::text(self.find(path)?, self.arena)
    }

    fn moment(&self, path: &str, unreadable: &mut bool) -> Option<i64> {
        let text = self.text(path)?;
        let millis = millis_of(text);
        *unreadable |= millis.is_none();
        millis
    }
}

#[expect(clippy::cast_possible_truncation, reason = "the range was checked")]
fn whole(number: f64) -> Option<i32> {
    (0.0..=f64::from(i32::MAX)).contains(&number).then(|| number.round() as i32)
}

/// RudderStack's clients say it; of Segment's the library's name does.
fn channel(source: &Source<'_>) -> Channel {
    let library = source.text("context.library.name").unwrap_or("");
    let is_any = |names: &[&str]| names.iter().any(|name| library.contains(name));
    match source.text("channel") {
        Some("server") => Channel::Server,
        Some("mobile") => Channel::Mobile,
        Some("web" | "browser") => Channel::Web,
        Some(_) | None if is_any(&["ios", "android", "swift", "kotlin", "react-native", "flutter", "xamarin", "unity"]) => Channel::Mobile,
        Some(_) | None if is_any(&["analytics.js", "analytics-js", "analytics-next", "browser", "web"]) || library.is_empty() => Channel::Web,
        Some(_) | None => Channel::Server,
    }
}

fn properties<'a>(source: &Source<'a>, kind: Kind, draft: &mut Draft<'a>) {
    for name in ["name", "category"] {
        if let (Kind::Page | Kind::Screen, Some(value)) = (kind, source.text(name)) {
            add_property(draft, name, value);
        }
    }
    for (key, value) in tree::at(source.own, "properties").and_then(Value::as_object).into_iter().flatten() {
        let key_is = |keys: &[&str]| keys.contains(&key.as_str());
        if !key_is(URLS) && (kind == Kind::Track || !key_is(PAGE_COLUMNS)) {
            tree::flatten(draft, key, value, source.arena);
        }
    }
    if let Some(campaign) = source.find("context.campaign") {
        tree::flatten(draft, "campaign", campaign, source.arena);
    }
}

/// What the page's consent platform says: Segment's `context.consent.categoryPreferences`, RudderStack's
/// `context.consentManagement`, and beside them the IAB's names in `context.consent`.
fn consent<'a>(source: &Source<'a>, draft: &mut Draft<'a>) {
    // Given twice, or no object: whatever stood in it, it is a word that nothing understands.
    let is_torn = |path| [Some(source.own), source.shared].into_iter().flatten().filter_map(|tree| tree::at(tree, path)).any(|value| !value.is_object());
    if ["context", "context.consent", "context.consentManagement"].into_iter().any(is_torn) {
        draft.consent.say(None);
    }
    if let Some(said) = source.find("context.consent") {
        tree::say(draft, said, source.arena);
    }
    let preferences = source.find("context.consent.categoryPreferences");
    if let Some(preferences) = preferences {
        let words: Vec<(&str, Option<bool>)> = preferences.as_object().into_iter().flatten().map(|(name, word)| (name.as_str(), word.as_bool())).collect();
        weigh(&words, preferences.is_object(), draft);
    }
    if let Some(management) = source.find("context.consentManagement") {
        let listed = |key: &str, word: bool| match tree::at(management, key) {
            None => Some(Vec::new()),
            Some(Value::Array(ids)) => Some(ids.iter().map(|id| (id.as_str().unwrap_or(""), Some(word))).collect::<Vec<_>>()),
            Some(_) => None,
        };
        let words = listed("allowedConsentIds", true).and_then(|allowed| Some([listed("deniedConsentIds", false)?, allowed].concat()));
        weigh(words.as_deref().unwrap_or(&[]), words.is_some(), draft);
    }
}

/// A category that measures decides; where none is known by name, only a denial of all is a word.
fn weigh(words: &[(&str, Option<bool>)], is_readable: bool, draft: &mut Draft<'_>) {
    let measures = |name: &str| MEASURING.iter().any(|known| name.eq_ignore_ascii_case(known));
    let said: Vec<Option<bool>> = words.iter().filter(|(name, _)| measures(name)).map(|(_, word)| *word).collect();
    if said.contains(&Some(false)) || (said.is_empty() && !words.is_empty() && words.iter().all(|(_, word)| *word == Some(false))) {
        draft.consent.say(Some(Relayed::Denied));
    } else if !is_readable || said.contains(&None) {
        draft.consent.say(None);
    } else if !said.is_empty() {
        draft.consent.say(Some(Relayed::Granted));
    }
}

#[cfg(test)]
mod tests {
    use super::{Call, Kind, decode};
    use crate::hit::claims::Decoded;
    use crate::hit::draft::{Once, Relayed};
    use crate::hit::field::Channel;
    use crate::rules::decode::tree::Tree;
    use bumpalo::Bump;
    use proptest::prelude::*;
    use serde_json::{Value, json};

    fn with<T>(kind: Option<Kind>, shared: &Value, event: &str, then: impl FnOnce(&Decoded<'_>) -> T) -> T {
        let tree: Tree = serde_json::from_str(event).unwrap();
        then(&decode(Call { site: Some("acme"), kind, query: "", shared: Some(shared) }, &tree, &Bump::new()))
    }

    #[test]
    fn a_page_and_what_a_batch_shares() {
        let shared = json!({"sentAt": "2023-11-14T22:13:21.000Z", "context": {"locale": "de-DE", "library": {"name": "analytics.js"}}});
        let event = json!({
            "type": "page", "messageId": "m1", "anonymousId": "a1", "userId": 7, "name": "Home", "timestamp": "2023-11-14T22:13:20.000Z",
            "properties": {"url": "https://a.example/x", "title": "X", "referrer": "https://b.example/", "path": "/x", "plan": "gold"},
            "context": {"ip": "203.0.113.9", "userAgent": "Agent", "screen": {"width": 800.4, "height": 600}, "campaign": {"source": "mail"}},
        });
        with(None, &shared, &event.to_string(), |Decoded { channel, draft, claims }| {
            assert_eq!((*channel, draft.event, draft.event_id, draft.site), (Channel::Web, Some("page_view"), Some("m1"), Some("acme")));
            assert_eq!((draft.page_url, draft.referrer_url, draft.page_title, draft.language), (Some("https://a.example/x"), Some("https://b.example/"), Some("X"), Some("de-DE")));
            assert_eq!((draft.occurred_at, draft.sent_at), (Some(1_700_000_000_000), Some(1_700_000_001_000)));
            assert_eq!((draft.screen_width, draft.screen_height), (Some(800), Some(600)));
            assert_eq!((*claims.device.reveal(), *claims.user.reveal(), *claims.user_agent.reveal()), (Some("a1"), Some("7"), Some("Agent")));
            assert_eq!(*claims.address.reveal(), None);
            assert_eq!(draft.properties, [("name", "Home"), ("plan", "gold"), ("campaign.source", "mail")]);
            assert!(!draft.unreadable);
        });
    }

    #[test]
    fn kinds_their_events_and_traits_of_identify_alone() {
        for (kind, event, name, properties) in [
            ("track", json!({"event": "Order Completed", "properties": {"url": "u", "total": 5}}), Some("Order Completed"), vec![("total", "5")]),
            ("screen", json!({"name": "Basket"}), Some("screen_view"), vec![("name", "Basket")]),
            ("identify", json!({"userId": "7", "traits": {"plan": "gold"}, "properties": {"a": 1}}), Some("identify"), vec![("plan", "gold")]),
            ("identify", json!({"traits": {"plan": "gold"}, "context": {"traits": {"plan": "silver", "address": {"city": "Bonn"}}}}), Some("identify"), vec![("address.city", "Bonn"), ("plan", "gold")]),
            ("identify", json!({"traits": "gold"}), Some("identify"), vec![]),
            ("track", json!({"event": "e", "traits": {"plan": "gold"}, "context": {"traits": {"plan": "gold"}}}), Some("e"), vec![]),
            ("group", json!({"groupId": "g", "traits": {"plan": "gold"}}), Some("group"), vec![]),
            ("alias", json!({"previousId": "p"}), Some("alias"), vec![]),
            ("track", json!({}), None, vec![]),
            ("other", json!({}), None, vec![]),
        ] {
            with(Kind::named(kind), &Value::Null, &event.to_string(), |Decoded { draft, .. }| {
                let mut found = draft.properties.clone();
                found.sort_unstable();
                assert_eq!((draft.event, found, draft.unreadable), (name, properties, name.is_none()), "{kind} {event}");
            });
        }
    }

    #[test]
    fn channels_by_word_and_by_library() {
        for (event, expected) in [
            (json!({}), Channel::Web),
            (json!({"context": {"library": {"name": "analytics.js"}}}), Channel::Web),
            (json!({"context": {"library": {"name": "@segment/analytics-node"}}}), Channel::Server),
            (json!({"context": {"library": {"name": "analytics-ios"}}}), Channel::Mobile),
            (json!({"channel": "web", "context": {"library": {"name": "RudderLabs JavaScript SDK"}}}), Channel::Web),
            (json!({"channel": "server"}), Channel::Server),
        ] {
            with(None, &Value::Null, &event.to_string(), |decoded| assert_eq!(decoded.channel, expected, "{event}"));
        }
    }

    #[test]
    fn consent_as_platforms_say_it() {
        let (granted, denied) = (Once::Given(Relayed::Granted), Once::Given(Relayed::Denied));
        for (context, expected) in [
            (r"{}", Once::Absent),
            (r#"{"consent":{"categoryPreferences":{"Advertising":true,"Analytics":false}}}"#, denied),
            (r#"{"consent":{"categoryPreferences":{"Advertising":false,"Analytics":true}}}"#, granted),
            (r#"{"consent":{"categoryPreferences":{"C0002":true,"C0004":false}}}"#, granted),
            (r#"{"consent":{"categoryPreferences":{"one":false,"two":false}}}"#, denied),
            (r#"{"consent":{"categoryPreferences":{"one":true,"two":false}}}"#, Once::Absent),
            (r#"{"consent":{"categoryPreferences":{"Analytics":"yes"}}}"#, Once::Malformed),
            (r#"{"consent":{"categoryPreferences":{"Analytics":true,"Analytics":true}}}"#, Once::Malformed),
            (r#"{"consent":{"categoryPreferences":{"Analytics":true}},"consent":{"categoryPreferences":{"Analytics":true}}}"#, Once::Malformed),
            (r#"{"consent":{"categoryPreferences":{"Analytics":false}},"consent":{},"consentManagement":{"allowedConsentIds":["Analytics"]}}"#, Once::Malformed),
            (r#"{"consent":"granted"}"#, Once::Malformed),
            (r#"{"consentManagement":{"deniedConsentIds":["Analytics"]},"consentManagement":{}}"#, Once::Malformed),
            ("[]", Once::Malformed),
            (r#"{"consent":{"categoryPreferences":"all"}}"#, Once::Malformed),
            (r#"{"consent":{"consent":"granted"}}"#, granted),
            (r#"{"consent":{"consent":"granted","categoryPreferences":{"Analytics":false}}}"#, denied),
            (r#"{"consentManagement":{"allowedConsentIds":["Analytics"],"deniedConsentIds":["Ads"]}}"#, granted),
            (r#"{"consentManagement":{"allowedConsentIds":[],"deniedConsentIds":["Ads"]}}"#, denied),
            (r#"{"consentManagement":{"allowedConsentIds":["analytics"],"deniedConsentIds":["analytics"]}}"#, denied),
            (r#"{"consentManagement":{"allowedConsentIds":"analytics"}}"#, Once::Malformed),
        ] {
            with(Kind::named("page"), &Value::Null, &format!("{{\"context\":{context}}}"), |decoded| assert_eq!(decoded.draft.consent, expected, "{context}"));
        }
    }

    fn any_json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![Just(Value::Null), any::<bool>().prop_map(Value::from), any::<i64>().prop_map(Value::from), "\\PC{0,12}".prop_map(Value::from)];
        let key = prop_oneof!["context", "consent", "properties", "categoryPreferences", "consentManagement", "page", "url", "timestamp", "event", "[a-z]{1,4}"];
        leaf.prop_recursive(5, 60, 6, move |inner| {
            prop_oneof![proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from), proptest::collection::btree_map(key.clone(), inner, 0..6).prop_map(|fields| Value::Object(fields.into_iter().collect()))]
        })
    }

    proptest! {
        #[test]
        fn any_event_is_read_without_a_panic_and_denials_stand(event in any_json(), kind in "[tpigas]") {
            let before = with(Kind::named(&kind), &Value::Null, &event.to_string(), |decoded| decoded.draft.consent);
            let mut more = event;
            let said = more.pointer_mut("/context/consent").and_then(Value::as_object_mut).filter(|said| !said.contains_key("consent"));
            if let (Some(said), true) = (said, before == Once::Given(Relayed::Denied)) {
                said.insert("consent".to_owned(), "granted".into());
                let after = with(Kind::named(&kind), &Value::Null, &more.to_string(), |decoded| decoded.draft.consent);
                prop_assert_eq!(after, before);
            }
        }
    }
}
