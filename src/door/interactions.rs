//! Owns `POST /v1/interactions`: events of the client's own servers, telephony and back office, and a result
//! for each.
//!
//! Promises: without a site's secret nothing is read; the sender's own address, cookies and headers are
//! nobody's, so none is looked at; an event that names another site than the secret's is refused. The only call
//! that tells what became of an event: its sender has proved to be the client.

use super::body::{self, EVENTS_MAX, Unread};
use super::public::{Public, Sender};
use super::respond::{self, Reply};
use crate::hit::claims::Decoded;
use crate::hit::field::Protocol;
use crate::hit::outcome::{Outcome, Reason};
use crate::hit::site::SiteKey;
use crate::rules::decode::native::{Event, Events};
use crate::rules::decode::server;
use crate::rules::identity;
use bumpalo::Bump;
use hyper::body::Incoming;
use hyper::header::{AUTHORIZATION, HeaderMap, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE};
use hyper::{Request, StatusCode};
use serde_json::json;

/// Answers a server.
pub async fn answer(public: &Public, call: Request<Incoming>) -> Reply {
    let (head, incoming) = call.into_parts();
    let Some(secret) = bearer(&head.headers) else { return unauthorized() };
    let own: Vec<SiteKey> = public.collector.book().sites.iter().filter(|site| identity::proves_client(site, secret)).map(|site| site.key).collect();
    if own.is_empty() {
        return unauthorized();
    }
    let events = match body::read(incoming, &head.headers).await.and_then(|bytes| parse(&bytes)) {
        Ok(events) => events,
        Err(unread) => {
            public.collector.refuse_unread(public.clock.now());
            let (status, message) = unread.answer();
            return respond::text(status, message);
        }
    };
    let taken = public.take_each(Sender::Server, Protocol::Server, &own.as_slice(), &events, decode).await;
    let results: Vec<_> = events.iter().zip(&taken.outcomes).map(|(event, outcome)| result(event.as_ref(), *outcome)).collect();
    let mut reply = respond::json(StatusCode::OK, json!({"results": results}).to_string());
    if taken.outcomes.contains(&Outcome::Failed) {
        reply.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("1"));
    }
    reply
}

/// An event of the first of the secret's sites, or of the one it names; a name that is not the secret's leads
/// to no site, and is counted so.
fn decode<'a>(own: &'a &[SiteKey], event: &'a Event, arena: &'a Bump) -> Decoded<'a> {
    let site = match event.text("site").or_else(|| event.text("s")) {
        None => own.first(),
        Some(name) => own.iter().find(|key| key.as_str() == name),
    };
    server::decode(site.map_or("", SiteKey::as_str), event, arena)
}

/// An object, an array of objects, or an object a line; what is no object is an event that cannot be read.
fn parse(bytes: &[u8]) -> Result<Vec<Option<Event>>, Unread> {
    let events = match serde_json::from_slice::<Events>(bytes) {
        Ok(Events(events)) => events,
        Err(_) if bytes.trim_ascii_start().starts_with(b"[") => return Err(Unread::NoJson),
        Err(_) => {
            let lines = bytes.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii).filter(|line| !line.is_empty());
            let events: Vec<Option<Event>> = lines.map(|line| serde_json::from_slice(line).ok()).collect();
            if events.iter().all(Option::is_none) {
                return Err(Unread::NoJson);
            }
            events
        }
    };
    if events.len() > EVENTS_MAX { Err(Unread::TooMany) } else { Ok(events) }
}

fn result(event: Option<&Event>, outcome: Outcome) -> serde_json::Value {
    let event_id = event.and_then(|event| event.text("event_id").or_else(|| event.text("id")));
    match outcome {
        Outcome::Stored | Outcome::Duplicate => json!({"event_id": event_id, "result": outcome.name()}),
        Outcome::Failed => json!({"event_id": event_id, "result": "retry"}),
        Outcome::Refused(reason) => json!({"event_id": event_id, "result": "refused", "reason": Reason::name(reason)}),
    }
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, secret) = headers.get(AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| secret.trim())
}

fn unauthorized() -> Reply {
    let mut reply = respond::text(StatusCode::UNAUTHORIZED, "Send `Authorization: Bearer SECRET` with the site's secret.\n");
    reply.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    reply
}

#[cfg(test)]
mod tests {
    use super::parse;
    use crate::door::body::Unread;

    #[test]
    fn an_object_an_array_or_lines() {
        for (body, expected) in [
            (r#"{"a":1}"#, vec![true]),
            ("{\n\"a\": 1\n}", vec![true]),
            (r#"[{"a":1},7]"#, vec![true, false]),
            ("{\"a\":1}\n\n{\"b\"\n{\"c\":1}\r\n", vec![true, false, true]),
        ] {
            assert_eq!(parse(body.as_bytes()).unwrap().iter().map(Option::is_some).collect::<Vec<_>>(), expected, "{body}");
        }
        for body in ["", "x", "7", "[{]", "null\nnull"] {
            assert!(matches!(parse(body.as_bytes()), Err(Unread::NoJson)), "{body}");
        }
    }
}
