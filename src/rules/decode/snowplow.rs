//! Owns the Snowplow tracker protocol v2: the parameters of `GET /i` and of the events of `POST …/tp2`.
//!
//! Knows the protocol as Snowplow documents it (docs.snowplow.io, "Tracker protocol" and "Canonical event").
//! Promises: parameters of the query come before those of the body; JSON in base64 and plain is read alike;
//! an event without a known type, or whose JSON cannot be read, is unreadable; entities that single a person
//! or a device out are dropped; `ip`, session ids and fingerprints are never looked at. Never judges.

use super::fields::{Fields, Into, sizes};
use super::native::{self, Event, Events};
use super::tree::{self, Tree};
use crate::hit::claims::Decoded;
use crate::hit::draft::{Draft, Relayed};
use crate::hit::field::Channel;
use base64::Engine;
use base64::engine::general_purpose::GeneralPurpose;
use base64::engine::{DecodePaddingMode, GeneralPurposeConfig};
use bumpalo::Bump;
use serde_json::Value;

/// The body of a POST: `payload_data` with its events, `None` for each that is no object.
#[derive(Debug, serde::Deserialize)]
pub struct Payload {
    pub data: Events,
}

/// Reads an event: the call's query and, of a POST, its body's element.
pub fn decode<'a>(query: &'a str, event: Option<&'a Event>, arena: &'a Bump) -> Decoded<'a> {
    let fields = Fields::of_query(query, arena);
    let fields = match event {
        Some(event) => fields.and(event, arena),
        None => fields,
    };
    let mut decoded = Decoded::on(channel(fields.get("p").unwrap_or("")));
    fields.lay_out(FIELDS, &mut decoded);
    let draft = &mut decoded.draft;
    // A true time is not the device's clock: nothing corrects it.
    match fields.millis("ttm", &mut draft.unreadable) {
        Some(true_time) => draft.occurred_at = Some(true_time),
        None => {
            draft.occurred_at = fields.millis("dtm", &mut draft.unreadable);
            draft.sent_at = fields.millis("stm", &mut draft.unreadable);
        }
    }
    match fields.get("e") {
        Some("pv") => draft.event = Some("page_view"),
        Some("pp") => ping(&fields, draft),
        Some("se") => structured(&fields, draft),
        Some("tr") => named(&fields, "transaction", TRANSACTION, draft),
        Some("ti") => named(&fields, "transaction_item", TRANSACTION_ITEM, draft),
        Some("ue") => match json_of(&fields, "ue_pr", "ue_px") {
            Some(Value::Object(outer)) => self_describing(outer.get("data"), draft, arena),
            Some(_) | None => draft.unreadable = true,
        },
        Some(_) | None => draft.unreadable = true,
    }
    let has_entities = fields.get("co").or_else(|| fields.get("cx")).is_some();
    match json_of(&fields, "co", "cx").as_ref().and_then(|outer| tree::at(outer, "data")) {
        Some(Value::Array(entities)) => entities.iter().for_each(|it| entity(it, draft, arena)),
        Some(_) | None => draft.unreadable |= has_entities,
    }
    decoded
}

/// Parameter → where it goes. The rest of the protocol's parameters are not read.
const FIELDS: &[(&str, Into)] = &[
    ("aid", Into::Text(|draft| &mut draft.site)),
    ("eid", Into::Text(|draft| &mut draft.event_id)),
    ("url", Into::Text(|draft| &mut draft.page_url)),
    ("page", Into::Text(|draft| &mut draft.page_title)),
    ("refr", Into::Text(|draft| &mut draft.referrer_url)),
    ("lang", Into::Text(|draft| &mut draft.language)),
    ("res", Into::Screen),
    ("ua", Into::Claim(|claims| &mut claims.user_agent)),
    ("uid", Into::Claim(|claims| &mut claims.user)),
    ("duid", Into::Claim(|claims| &mut claims.device)),
    ("tnuid", Into::Claim(|claims| &mut claims.device)),
    ("nuid", Into::Claim(|claims| &mut claims.device)),
];

const STRUCTURED: &[(&str, &str)] = &[("se_ca", "category"), ("se_la", "label"), ("se_pr", "property"), ("se_va", "value")];

const TRANSACTION: &[(&str, &str)] = &[
    ("tr_id", "order"), ("tr_af", "affiliation"), ("tr_tt", "total"), ("tr_tx", "tax"), ("tr_sh", "shipping"), ("tr_cu", "currency"),
];

const TRANSACTION_ITEM: &[(&str, &str)] = &[
    ("ti_id", "order"), ("ti_sk", "sku"), ("ti_nm", "name"), ("ti_ca", "category"), ("ti_pr", "price"), ("ti_qu", "quantity"), ("ti_cu", "currency"),
];

/// Entities of Snowplow's own that tell devices or persons apart, or repeat what is found otherwise.
const ENTITIES_DROPPED: &[&str] = &[
    "client_session", "mobile_context", "desktop_context", "geolocation_context", "browser_context", "http_cookie", "http_header", "screen_summary",
    "user", "user_context", "identify", "client_hints", "http_client_hints", "PerformanceTiming", "PerformanceNavigationTiming", "ga_cookies", "cookies",
];

fn channel(platform: &str) -> Channel {
    match platform {
        "mob" | "app" => Channel::Mobile,
        "srv" => Channel::Server,
        _ => Channel::Web,
    }
}

/// A page ping says that the visitor was active since the last one: 10 s, as the trackers' documentation
/// sets `heartbeatDelay`; the ping itself does not say it.
const PING_MS: i32 = 10_000;

fn ping(fields: &Fields<'_>, draft: &mut Draft<'_>) {
    draft.event = Some("engagement");
    draft.engaged_ms = Some(PING_MS);
    let (_, page) = fields.get("ds").and_then(sizes).unwrap_or_default();
    let (_, window) = fields.get("vp").and_then(sizes).unwrap_or_default();
    let deepest = fields.get("pp_may").and_then(|text| text.parse::<i64>().ok());
    if let Some(deepest) = deepest
        && page > 0
    {
        let seen = deepest.saturating_add(i64::from(window)).clamp(0, i64::from(page));
        draft.scroll_percent = i32::try_from(seen * 100 / i64::from(page)).ok();
    }
}

fn structured<'a>(fields: &Fields<'a>, draft: &mut Draft<'a>) {
    match fields.get("se_ac") {
        Some(action) => named(fields, action, STRUCTURED, draft),
        None => draft.unreadable = true,
    }
}

fn named<'a>(fields: &Fields<'a>, event: &'a str, properties: &[(&str, &'static str)], draft: &mut Draft<'a>) {
    draft.event = Some(event);
    for (name, property) in properties {
        if let Some(value) = fields.get(name) {
            native::add_property(draft, property, value);
        }
    }
}

/// JSON as it stands, or in base64 (URL-safe or not, padded or not).
fn json_of(fields: &Fields<'_>, plain: &str, packed: &str) -> Option<Value> {
    let read = |bytes: &[u8]| serde_json::from_slice(bytes).ok().map(|Tree(value)| value);
    match (fields.get(plain), fields.get(packed)) {
        (Some(text), _) => read(text.as_bytes()),
        (None, Some(text)) => read(&BASE64.decode(text.replace('+', "-").replace(['/', ' '], "_")).ok()?),
        (None, None) => None,
    }
}

const BASE64: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::URL_SAFE,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent).with_decode_allow_trailing_bits(true),
);

/// `name` of `iglu:vendor/name/format/version`, and the data.
fn described(it: &Value) -> Option<(&str, &Value)> {
    let name = tree::at(it, "schema")?.as_str()?.strip_prefix("iglu:")?.split('/').nth(1)?;
    Some((name, tree::at(it, "data")?))
}

fn self_describing<'a>(it: Option<&Value>, draft: &mut Draft<'a>, arena: &'a Bump) {
    let Some((name, data)) = it.and_then(described) else {
        draft.unreadable = true;
        return;
    };
    let take = |path| tree::at(data, path).and_then(Value::as_str).map(|text| &*arena.alloc_str(text));
    match name {
        "link_click" => {
            draft.target_url = take("targetUrl");
            draft.element = take("elementId");
            let leaves = draft.target_url.and_then(host) != draft.page_url.and_then(host);
            draft.event = Some(if leaves { "outbound_click" } else { "click" });
        }
        "button_click" => {
            draft.element = take("label").or_else(|| take("id"));
            draft.event = Some("click");
        }
        _ => draft.event = Some(arena.alloc_str(name)),
    }
    consent(name, data, draft);
    // What stands in a column is cleaned there as a URL, which a property is not.
    for (key, value) in data.as_object().into_iter().flatten().filter(|(key, _)| name != "link_click" || !matches!(key.as_str(), "targetUrl" | "elementId")) {
        tree::flatten(draft, key, value, arena);
    }
}

fn host(url: &str) -> Option<&str> {
    url.split_once("://")?.1.split(['/', '?', '#']).next()
}

fn entity<'a>(it: &Value, draft: &mut Draft<'a>, arena: &'a Bump) {
    let Some((name, data)) = described(it) else {
        draft.unreadable = true;
        return;
    };
    if name == "consent" {
        if !data.is_object() {
            draft.consent.say(None);
        }
        tree::say(draft, data, arena);
    } else if !ENTITIES_DROPPED.contains(&name) {
        tree::flatten(draft, name, data, arena);
    }
}

/// The events of the enhanced consent plugin, which say it of themselves alone.
fn consent(name: &str, data: &Value, draft: &mut Draft<'_>) {
    let word = match (name, tree::at(data, "eventType").and_then(Value::as_str)) {
        ("consent_preferences", Some("allow_all")) | ("consent_granted", _) => Relayed::Granted,
        ("consent_preferences", Some("deny_all" | "withdrawn" | "expired")) | ("consent_withdrawn", _) => Relayed::Denied,
        _ => return,
    };
    draft.consent.say(Some(word));
}

#[cfg(test)]
mod tests {
    use super::{BASE64, Payload, decode};
    use crate::hit::claims::Decoded;
    use crate::hit::draft::{Once, Relayed};
    use crate::hit::field::Channel;
    use crate::rules::decode::native::Events;
    use base64::Engine;
    use bumpalo::Bump;
    use proptest::prelude::*;
    use serde_json::{Value, json};

    fn self_describing(name: &str, data: &Value) -> String {
        json!({"schema": "iglu:com.snowplowanalytics.snowplow/unstruct_event/jsonschema/1-0-0", "data": {"schema": format!("iglu:com.acme/{name}/jsonschema/1-0-0"), "data": data}}).to_string()
    }

    fn entities(name: &str, data: &Value) -> String {
        json!({"schema": "iglu:com.snowplowanalytics.snowplow/contexts/jsonschema/1-0-1", "data": [{"schema": format!("iglu:com.acme/{name}/jsonschema/1-0-0"), "data": data}]}).to_string()
    }

    fn with<T>(event: &Value, then: impl FnOnce(&Decoded<'_>) -> T) -> T {
        let body = json!({"schema": "iglu:com.snowplowanalytics.snowplow/payload_data/jsonschema/1-0-4", "data": [event]}).to_string();
        let Payload { data: Events(events) } = serde_json::from_str(&body).unwrap();
        then(&decode("", events[0].as_ref(), &Bump::new()))
    }

    #[test]
    fn a_page_view() {
        let arena = Bump::new();
        let query = "e=pv&aid=acme&p=web&eid=7&url=https%3A%2F%2Fa.example%2Fx&page=X&refr=https%3A%2F%2Fb.example%2F&res=1920x1080&lang=de-DE&duid=d1&uid=u1&ua=Agent&dtm=1700000000000&stm=1700000001000&ip=203.0.113.9";
        let Decoded { channel, draft, claims } = decode(query, None, &arena);
        assert_eq!(channel, Channel::Web);
        assert_eq!((draft.site, draft.event, draft.event_id), (Some("acme"), Some("page_view"), Some("7")));
        assert_eq!((draft.page_url, draft.referrer_url, draft.page_title), (Some("https://a.example/x"), Some("https://b.example/"), Some("X")));
        assert_eq!((draft.screen_width, draft.screen_height, draft.language), (Some(1920), Some(1080), Some("de-DE")));
        assert_eq!((draft.occurred_at, draft.sent_at, draft.unreadable), (Some(1_700_000_000_000), Some(1_700_000_001_000), false));
        assert_eq!((*claims.device.reveal(), *claims.user.reveal(), *claims.user_agent.reveal()), (Some("d1"), Some("u1"), Some("Agent")));
        assert_eq!(*claims.address.reveal(), None);
    }

    #[test]
    fn events_by_kind() {
        let link = |target: &str| self_describing("link_click", &json!({"targetUrl": target, "elementId": "more"}));
        for (event, name, element, properties) in [
            (json!({"e": "se", "se_ca": "shop", "se_ac": "add", "se_la": "shoes", "se_va": "2.5"}), "add", None, vec![("category", "shop"), ("label", "shoes"), ("value", "2.5")]),
            (json!({"e": "tr", "tr_id": "o1", "tr_tt": "9.5"}), "transaction", None, vec![("order", "o1"), ("total", "9.5")]),
            (json!({"e": "ue", "ue_pr": self_describing("purchase", &json!({"plan": "gold", "n": 2}))}), "purchase", None, vec![("n", "2"), ("plan", "gold")]),
            (json!({"e": "ue", "ue_px": BASE64.encode(self_describing("purchase", &json!({"plan": "ü~?"})))}), "purchase", None, vec![("plan", "ü~?")]),
            (json!({"e": "ue", "url": "https://a.example/", "ue_pr": link("https://a.example/x")}), "click", Some("more"), vec![]),
            (json!({"e": "ue", "url": "https://a.example/", "ue_pr": link("https://b.example/")}), "outbound_click", Some("more"), vec![]),
            (json!({"e": "pv", "co": entities("product", &json!({"sku": "s1"}))}), "page_view", None, vec![("product.sku", "s1")]),
            (json!({"e": "pv", "cx": BASE64.encode(entities("client_session", &json!({"userId": "s1"})))}), "page_view", None, vec![]),
        ] {
            with(&event, |Decoded { draft, .. }| {
                let mut found = draft.properties.clone();
                found.sort_unstable();
                assert_eq!((draft.event, draft.element, found, draft.unreadable), (Some(name), element, properties, false), "{event}");
            });
        }
    }

    #[test]
    fn a_ping_is_ten_seconds_and_a_depth() {
        with(&json!({"e": "pp", "pp_may": "400", "ds": "1000x2000", "vp": "1000x600"}), |Decoded { draft, .. }| {
            assert_eq!((draft.event, draft.engaged_ms, draft.scroll_percent), (Some("engagement"), Some(10_000), Some(50)));
        });
    }

    #[test]
    fn what_cannot_be_read_is_told() {
        for event in [
            json!({}), json!({"e": "xx"}), json!({"e": "se"}), json!({"e": "ue"}), json!({"e": "ue", "ue_pr": "{"}), json!({"e": "ue", "ue_pr": "{}"}), json!({"e": "ue", "ue_px": "!"}),
            json!({"e": "pv", "co": "[]"}), json!({"e": "pv", "dtm": "now"}),
        ] {
            with(&event, |decoded| assert!(decoded.draft.unreadable, "{event}"));
        }
    }

    #[test]
    fn consent_in_each_place_where_it_may_stand() {
        let preferences = |kind: &str| json!({"e": "ue", "ue_pr": self_describing("consent_preferences", &json!({"eventType": kind}))});
        for (event, expected) in [
            (json!({"e": "pv"}), Once::Absent),
            (json!({"e": "pv", "consent": "granted"}), Once::Given(Relayed::Granted)),
            (json!({"e": "pv", "co": entities("consent", &json!({"consent": "granted"}))}), Once::Given(Relayed::Granted)),
            (json!({"e": "pv", "consent": "granted", "co": entities("consent", &json!({"consent": "denied"}))}), Once::Given(Relayed::Denied)),
            (json!({"e": "pv", "co": entities("consent", &json!({"consent": true}))}), Once::Malformed),
            (json!({"e": "pv", "co": entities("consent", &json!(["denied"]))}), Once::Malformed),
            (json!({"e": "pv", "co": entities("consent", &json!({"consent": "denied"})).replace("\"data\":{", "\"data\":{},\"data\":{")}), Once::Malformed),
            (preferences("allow_all"), Once::Given(Relayed::Granted)),
            (preferences("pending"), Once::Absent),
            (preferences("deny_all"), Once::Given(Relayed::Denied)),
            (preferences("withdrawn"), Once::Given(Relayed::Denied)),
        ] {
            with(&event, |decoded| assert_eq!(decoded.draft.consent, expected, "{event}"));
        }
        with(&json!({"e": "pv", "co": entities("consent", &json!({"child": false, "gdpr_consent": "C"}))}), |decoded| {
            assert_eq!((decoded.draft.child, decoded.draft.strings.gdpr_consent), (false, Once::Given("C")));
        });
    }

    proptest! {
        #[test]
        fn any_query_and_any_json_are_read_without_a_panic(query in "\\PC{0,200}", name in "[a-z_]{0,12}", text in "\\PC{0,100}", packed in proptest::collection::vec(any::<u8>(), 0..100)) {
            decode(&query, None, &Bump::new());
            let query = format!("e=ue&ue_px={}&cx={}", BASE64.encode(self_describing(&name, &json!({text.clone(): {text.clone(): [text]}}))), BASE64.encode(packed));
            decode(&query, None, &Bump::new());
        }

        #[test]
        fn plain_and_packed_json_say_the_same(name in "[a-z_]{1,12}", key in "[a-z]{1,8}", text in "\\PC{0,60}") {
            let described = self_describing(&name, &json!({key: text}));
            let shown = |event: &Value| with(event, |Decoded { draft, .. }| format!("{draft:?}"));
            prop_assert_eq!(shown(&json!({"e": "ue", "ue_pr": &described})), shown(&json!({"e": "ue", "ue_px": BASE64.encode(&described)})));
        }
    }
}
