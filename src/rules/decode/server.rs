//! Owns an event of `POST /v1/interactions`: the native form and, beside it, what only a client's own server
//! may say of a visitor.
//!
//! Promises: a caller's number is a claim like a device's name (reduced to its digits, so that one number
//! written in two ways is one caller), never a property; an event that claims nothing is nobody's. Never judges.

use super::native::{self, Event};
use crate::hit::claims::{Claims, Decoded};
use crate::hit::field::{Channel, Country};
use crate::hit::private::Private;
use bumpalo::Bump;

/// Reads an event of the site whose secret the call carried.
pub fn decode<'a>(site: &'a str, event: &'a Event, arena: &'a Bump) -> Decoded<'a> {
    let mut draft = native::from_event(event, arena);
    draft.site = Some(site);
    let claimed = |name: &str| event.text(name).filter(|text| !text.is_empty());
    let named = |name: &str| Private::new(claimed(name));
    let channel = claimed("channel").map_or(Some(Channel::Server), Channel::from_name).filter(|channel| *channel != Channel::Log);
    let country = claimed("country").map(Country::parse);
    let words_fit = NAMES.iter().all(|name| event.fields().all(|(field, value)| field != *name || value.is_string() || value.is_null()));
    draft.unreadable |= channel.is_none() || country == Some(None) || !words_fit;
    let claims = Claims {
        device: named("visitor"),
        user: named("user_id"),
        caller: Private::new(claimed("caller").map(|number| dialled(number, arena)).filter(|number| !number.is_empty())),
        user_agent: named("user_agent"),
        address: named("address"),
        country: country.flatten(),
    };
    Decoded { channel: channel.unwrap_or(Channel::Server), draft, claims }
}

/// The names beside those of the native form; all are texts.
const NAMES: [&str; 7] = ["channel", "visitor", "user_id", "caller", "user_agent", "address", "country"];

/// The digits of a telephone number; `00` in front of a country's code is `+`.
fn dialled<'a>(number: &str, arena: &'a Bump) -> &'a str {
    let digits: String = number.chars().filter(char::is_ascii_digit).collect();
    arena.alloc_str(digits.strip_prefix("00").unwrap_or(&digits))
}

#[cfg(test)]
mod tests {
    use super::{decode, dialled};
    use crate::hit::field::Channel;
    use crate::rules::decode::native::Event;
    use bumpalo::Bump;
    use serde_json::json;

    #[test]
    fn a_call_and_its_caller() {
        let arena = Bump::new();
        let event: Event = serde_json::from_value(json!({
            "event": "call", "event_id": "c1", "channel": "telephony", "caller": "+49 (30) 1234", "country": "DE", "occurred_at": "2023-11-14T22:13:20Z",
            "properties": {"direction": "inbound", "duration_s": 63}, "consent": "granted"
        }))
        .unwrap();
        let decoded = decode("acme", &event, &arena);
        assert_eq!((decoded.channel, decoded.draft.site, decoded.draft.occurred_at), (Channel::Telephony, Some("acme"), Some(1_700_000_000_000)));
        assert_eq!((*decoded.claims.caller.reveal(), decoded.claims.country.is_some(), decoded.draft.unreadable), (Some("49301234"), true, false));
        assert_eq!(decoded.draft.properties, [("direction", "inbound"), ("duration_s", "63")]);
    }

    #[test]
    fn numbers_written_in_two_ways_are_one() {
        let arena = Bump::new();
        assert_eq!(["+49 30 1234", "0049-30-1234", "(49) 30/1234"].map(|number| dialled(number, &arena)), ["49301234"; 3]);
    }

    #[test]
    fn words_that_do_not_fit_are_told() {
        let arena = Bump::new();
        for event in [json!({"channel": "fax"}), json!({"channel": "log"}), json!({"country": "Germany"}), json!({"caller": 4930}), json!({"channel": 1})] {
            let event: Event = serde_json::from_value(event).unwrap();
            assert!(decode("acme", &event, &arena).draft.unreadable, "{event:?}");
        }
    }
}
