//! Owns Matomo's tracking API: the parameters of `matomo.php`, alone or in bulk.
//!
//! Knows developer.matomo.org, "Tracking HTTP API". Promises: `cip`, `cdt`, `country` count only where the
//! call proved itself (`token_auth`); without it they are passed over, as is a time that a browser names;
//! what a hit is (page, event, link, download, goal, content, search, ping) is told by one table. Never judges.

use super::fields::{Fields, Into};
use super::native;
use crate::hit::claims::Decoded;
use crate::hit::draft::Draft;
use crate::hit::field::{Channel, Country};
use crate::hit::private::Private;
use bumpalo::Bump;
use serde_json::Value;

/// Reads one request: a query, or an element of a bulk body. `is_trusted`: the call carried the site's secret.
pub fn decode<'a>(query: &'a str, is_trusted: bool, arena: &'a Bump) -> Decoded<'a> {
    // Matomo's script says `consent=1` where the page asked for consent and was given it.
    let fields = Fields::of_query(query, arena).reworded("consent", "1", "granted");
    let mut decoded = Decoded::on(Channel::Web);
    fields.lay_out(FIELDS, &mut decoded);
    let draft = &mut decoded.draft;
    let kind = KINDS.iter().find(|kind| fields.get(kind.sign).is_some());
    if let Some(kind) = kind {
        draft.event = Some(kind.event);
        if let Some(target) = kind.target {
            draft.target_url = fields.get(target);
        }
        for (name, property) in kind.properties {
            if let Some(value) = fields.get(name) {
                native::add_property(draft, property, value);
            }
        }
        match kind.sign {
            "e_a" => draft.event = fields.get("e_a"),
            // Goal 0 is an order (of a shop), or a basket where it has no number.
            "idgoal" if fields.get("idgoal") == Some("0") => draft.event = Some(if fields.get("ec_id").is_some() { "order" } else { "basket" }),
            "c_n" => {
                draft.element = fields.get("c_n");
                draft.event = Some(if fields.get("c_i").is_some() { "content_interaction" } else { "content_impression" });
            }
            "ping" => draft.engaged_ms = Some(PING_MS),
            _ => {}
        }
    } else {
        draft.event = Some("page_view");
    }
    for (name, value) in fields.all() {
        let number = name.strip_prefix("dimension").unwrap_or("");
        if !number.is_empty() && !value.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit()) {
            native::add_property(draft, name, value);
        }
    }
    for name in ["_cvar", "cvar"] {
        custom_variables(fields.get(name), draft, arena);
    }
    if is_trusted {
        decoded.claims.address = Private::new(fields.get("cip"));
        decoded.claims.country = fields.get("country").and_then(|code| Country::parse(&code.to_ascii_uppercase()));
        if let Some(text) = fields.get("cdt") {
            decoded.draft.occurred_at = millis_of(text);
            decoded.draft.unreadable |= decoded.draft.occurred_at.is_none();
        }
    }
    decoded
}

/// Parameter → where it goes, in every kind of request. The rest of the API's parameters are not read.
const FIELDS: &[(&str, Into)] = &[
    ("idsite", Into::Text(|draft| &mut draft.site)),
    ("action_name", Into::Text(|draft| &mut draft.page_title)),
    ("url", Into::Text(|draft| &mut draft.page_url)),
    ("urlref", Into::Text(|draft| &mut draft.referrer_url)),
    ("lang", Into::Text(|draft| &mut draft.language)),
    ("res", Into::Screen),
    ("ua", Into::Claim(|claims| &mut claims.user_agent)),
    ("uid", Into::Claim(|claims| &mut claims.user)),
    ("cid", Into::Claim(|claims| &mut claims.device)),
    ("_id", Into::Claim(|claims| &mut claims.device)),
];

/// A kind of request.
struct Kind {
    /// The parameter by which it is told; the first of the list that is there counts.
    sign: &'static str,
    event: &'static str,
    target: Option<&'static str>,
    properties: &'static [(&'static str, &'static str)],
}

const KINDS: &[Kind] = &[
    Kind { sign: "ping", event: "engagement", target: None, properties: &[] },
    Kind { sign: "e_a", event: "event", target: None, properties: &[("e_c", "category"), ("e_n", "name"), ("e_v", "value")] },
    Kind { sign: "link", event: "outbound_click", target: Some("link"), properties: &[] },
    Kind { sign: "download", event: "download", target: Some("download"), properties: &[] },
    Kind {
        sign: "idgoal",
        event: "goal",
        target: None,
        properties: &[("idgoal", "goal"), ("revenue", "revenue"), ("ec_id", "order"), ("ec_st", "subtotal"), ("ec_tx", "tax"), ("ec_sh", "shipping"), ("ec_dt", "discount"), ("ec_items", "items")],
    },
    Kind { sign: "c_n", event: "content_impression", target: Some("c_t"), properties: &[("c_p", "piece"), ("c_i", "interaction")] },
    Kind { sign: "search", event: "site_search", target: None, properties: &[("search", "search"), ("search_cat", "category"), ("search_count", "count")] },
];

/// A ping says that the page was looked at since the last one: 15 s, the heartbeat timer's default.
const PING_MS: i32 = 15_000;

/// `{"1":["name","value"]}`
fn custom_variables<'a>(text: Option<&str>, draft: &mut Draft<'a>, arena: &'a Bump) {
    let Some(Value::Object(variables)) = text.and_then(|text| serde_json::from_str(text).ok()) else { return };
    for (_, variable) in &variables {
        if let Some([Value::String(name), Value::String(value)]) = variable.as_array().map(Vec::as_slice) {
            native::add_property(draft, arena.alloc_str(name), arena.alloc_str(value));
        }
    }
}

/// Seconds since the epoch, or `2026-11-23 10:00:00` in UTC.
fn millis_of(text: &str) -> Option<i64> {
    match text.parse::<i64>() {
        Ok(seconds) => seconds.checked_mul(1_000),
        Err(_) => native::millis_of(&format!("{}Z", text.replace(' ', "T"))),
    }
}

#[cfg(test)]
mod tests {
    use super::decode;
    use crate::hit::claims::Decoded;
    use crate::hit::draft::{Once, Relayed};
    use bumpalo::Bump;
    use proptest::prelude::*;

    #[test]
    fn a_page_view_and_who_it_is() {
        let arena = Bump::new();
        let query = "?idsite=1&rec=1&action_name=Home&url=https%3A%2F%2Fa.example%2F&urlref=https%3A%2F%2Fb.example%2F&_id=0123456789abcdef&uid=u1&res=800x600&lang=fr&ua=Agent&dimension1=gold&dimensionx=no&_cvar=%7B%221%22%3A%5B%22plan%22%2C%22big%22%5D%7D&cip=203.0.113.9&cdt=1700000000&consent=granted";
        let Decoded { draft, claims, .. } = decode(query, false, &arena);
        assert_eq!((draft.site, draft.event, draft.page_title), (Some("1"), Some("page_view"), Some("Home")));
        assert_eq!((draft.page_url, draft.referrer_url, draft.screen_width), (Some("https://a.example/"), Some("https://b.example/"), Some(800)));
        assert_eq!((*claims.device.reveal(), *claims.user.reveal(), *claims.user_agent.reveal()), (Some("0123456789abcdef"), Some("u1"), Some("Agent")));
        assert_eq!(draft.properties, [("dimension1", "gold"), ("plan", "big")]);
        assert_eq!(draft.consent, Once::Given(Relayed::Granted));
        assert_eq!((draft.occurred_at, *claims.address.reveal()), (None, None));
        let Decoded { draft, claims, .. } = decode(query, true, &arena);
        assert_eq!((draft.occurred_at, *claims.address.reveal()), (Some(1_700_000_000_000), Some("203.0.113.9")));
    }

    #[test]
    fn kinds() {
        for (query, event, target, properties) in [
            ("e_c=shop&e_a=add&e_n=shoes&e_v=2", "add", None, vec![("category", "shop"), ("name", "shoes"), ("value", "2")]),
            ("link=https%3A%2F%2Fb.example%2F", "outbound_click", Some("https://b.example/"), vec![]),
            ("download=https%3A%2F%2Fa.example%2Fx.pdf", "download", Some("https://a.example/x.pdf"), vec![]),
            ("idgoal=3&revenue=9.5", "goal", None, vec![("goal", "3"), ("revenue", "9.5")]),
            ("idgoal=0&ec_id=o1&revenue=9.5", "order", None, vec![("goal", "0"), ("revenue", "9.5"), ("order", "o1")]),
            ("idgoal=0&revenue=9.5", "basket", None, vec![("goal", "0"), ("revenue", "9.5")]),
            ("c_n=Banner&c_p=a.png&c_t=https%3A%2F%2Fb.example%2F", "content_impression", Some("https://b.example/"), vec![("piece", "a.png")]),
            ("c_n=Banner&c_i=click", "content_interaction", None, vec![("interaction", "click")]),
            ("search=shoes&search_count=3", "site_search", None, vec![("search", "shoes"), ("count", "3")]),
            ("ping=1", "engagement", None, vec![]),
        ] {
            let arena = Bump::new();
            let Decoded { draft, .. } = decode(query, false, &arena);
            assert_eq!((draft.event, draft.target_url, draft.properties), (Some(event), target, properties), "{query}");
            assert_eq!(draft.engaged_ms, (event == "engagement").then_some(15_000));
        }
    }

    #[test]
    fn consent_in_its_own_word_and_in_ours() {
        let (granted, denied) = (Once::Given(Relayed::Granted), Once::Given(Relayed::Denied));
        for (query, expected) in [
            ("consent=1", granted), ("consent=granted", granted), ("consent=denied", denied), ("consent=1&consent=denied", denied),
            ("consent=1&consent=1", Once::Malformed), ("consent=0", Once::Malformed), ("", Once::Absent),
        ] {
            let arena = Bump::new();
            assert_eq!(decode(query, false, &arena).draft.consent, expected, "{query}");
        }
    }

    #[test]
    fn times_of_who_may_say_them() {
        for (text, expected) in [("1700000000", Some(1_700_000_000_000)), ("2023-11-14+22:13:20", Some(1_700_000_000_000)), ("yesterday", None)] {
            let arena = Bump::new();
            let query = format!("cdt={text}");
            let draft = decode(&query, true, &arena).draft;
            assert_eq!((draft.occurred_at, draft.unreadable), (expected, expected.is_none()), "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_query_is_read_without_a_panic(query in "\\PC{0,300}", trusted: bool) {
            decode(&query, trusted, &Bump::new());
        }
    }
}
