//! Owns the calls of other makers' trackers: Snowplow, Segment (and RudderStack), Matomo.
//!
//! Promises: each is answered in its own language, the same bytes whatever became of a hit; what can come
//! again is told 503, and what cannot is told by a status that the official clients drop. They differ:
//! Snowplow's retry everything but 400, 401, 403, 410 and 422; Segment's and RudderStack's drop every 4xx but
//! 408, 410, 429 and 460; Matomo's drop all that is not 2xx. So nothing here is ever 410, and what is too large
//! is 422 to Snowplow's and 413 to the others.

use super::body::{self, EVENTS_MAX, Unread};
use super::public::{Peer, Public, Sender, Taken};
use super::respond::{self, Reply};
use crate::hit::claims::Decoded;
use crate::hit::field::Protocol;
use crate::hit::private::Private;
use crate::rules::decode::native::Events;
use crate::rules::decode::segment::{self, Call, Kind};
use crate::rules::decode::snowplow::{self, Payload};
use crate::rules::decode::tree::{self, Tree};
use crate::rules::decode::matomo;
use crate::rules::identity;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bumpalo::Bump;
use bytes::Bytes;
use hyper::body::Incoming;
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, ORIGIN};
use hyper::http::request;
use hyper::{Method, Request, StatusCode};
use serde_json::Value;

/// The calls of foreign trackers, and whose they are.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Tracker {
    SnowplowPixel,
    SnowplowEvents,
    /// One call, of the kind that its path names.
    Segment(Kind),
    SegmentBatch,
    Matomo,
}

impl Tracker {
    /// The one table of paths.
    fn at(path: &str) -> Option<Self> {
        match path {
            "/i" | "/ice.png" => Some(Self::SnowplowPixel),
            "/com.snowplowanalytics.snowplow/tp2" => Some(Self::SnowplowEvents),
            "/matomo.php" | "/piwik.php" => Some(Self::Matomo),
            // RudderStack's beacons have a path of their own, and their key in the query.
            "/v1/b" | "/v1/batch" | "/v1/import" | "/beacon/v1/batch" => Some(Self::SegmentBatch),
            _ => path.strip_prefix("/v1/").and_then(Kind::named).map(Self::Segment),
        }
    }

    const fn takes(self, method: &Method) -> bool {
        let is_pixel = matches!(*method, Method::GET | Method::HEAD);
        let is_post = matches!(*method, Method::POST);
        match self {
            Self::SnowplowPixel => is_pixel,
            Self::SnowplowEvents | Self::Segment(_) | Self::SegmentBatch => is_post,
            Self::Matomo => is_pixel || is_post,
        }
    }

    /// What its clients drop, or send again, where a body could not be read.
    const fn refusal(self, unread: Unread) -> (StatusCode, &'static str) {
        let (status, message) = unread.answer();
        match (self, unread) {
            (Self::SnowplowPixel | Self::SnowplowEvents, Unread::TooLarge | Unread::TooMany) => (StatusCode::UNPROCESSABLE_ENTITY, message),
            (Self::SnowplowPixel | Self::SnowplowEvents, Unread::UnknownEncoding) => (StatusCode::BAD_REQUEST, message),
            (Self::SnowplowPixel | Self::SnowplowEvents, Unread::TooSlow | Unread::NotPacked | Unread::NoJson)
            | (Self::Segment(_) | Self::SegmentBatch | Self::Matomo, _) => (status, message),
        }
    }
}

/// Whether a foreign tracker calls there.
pub fn is_known(path: &str) -> bool {
    Tracker::at(path).is_some()
}

/// Answers a foreign tracker.
pub async fn answer(public: &Public, call: Request<Incoming>, peer: Peer) -> Reply {
    let (head, incoming) = call.into_parts();
    let origin = head.headers.get(ORIGIN);
    let Some(tracker) = Tracker::at(head.uri.path()) else {
        return respond::text(StatusCode::NOT_FOUND, "There is nothing here.\n");
    };
    if head.method == Method::OPTIONS {
        return respond::preflight(origin);
    }
    if !tracker.takes(&head.method) {
        return respond::text(StatusCode::METHOD_NOT_ALLOWED, "This method is not for this path.\n");
    }
    let read = match body::read(incoming, &head.headers).await {
        Ok(bytes) => take(public, tracker, &head, peer, &bytes).await,
        Err(unread) => Err(unread),
    };
    match read {
        Ok((Taken { outcomes, changes }, content_type, body)) => {
            let mut reply = respond::taken(&outcomes, &changes, origin, content_type, body);
            if content_type.is_empty() && reply.status() == StatusCode::OK {
                *reply.status_mut() = StatusCode::NO_CONTENT;
            }
            if content_type.is_empty() {
                reply.headers_mut().remove(CONTENT_TYPE);
            }
            reply
        }
        Err(unread) => {
            public.collector.refuse_unread(public.clock.now());
            let (status, message) = tracker.refusal(unread);
            respond::refusal(status, message, origin)
        }
    }
}

type Answer = (Taken, &'static str, Bytes);

const PIXEL: (&str, Bytes) = ("image/gif", Bytes::from_static(respond::GIF));

async fn take(public: &Public, tracker: Tracker, head: &request::Parts, peer: Peer, bytes: &[u8]) -> Result<Answer, Unread> {
    let query = head.uri.query().unwrap_or("");
    let sender = Sender::Browser(&head.headers, peer);
    match tracker {
        Tracker::SnowplowPixel => {
            let call = (query, asks_for_anonymity(&head.headers));
            let taken = public.take_each(sender, Protocol::Snowplow, &call, &[Some(())], |(query, asked), (), arena| anonymous(*asked, snowplow::decode(query, None, arena))).await;
            Ok((taken, PIXEL.0, PIXEL.1))
        }
        Tracker::SnowplowEvents => {
            let Payload { data: Events(events) } = serde_json::from_slice(bytes).map_err(|_| Unread::NoJson)?;
            within(events.len())?;
            let call = (query, asks_for_anonymity(&head.headers));
            let taken = public.take_each(sender, Protocol::Snowplow, &call, &events, |(query, asked), event, arena| anonymous(*asked, snowplow::decode(query, Some(event), arena))).await;
            Ok((taken, "text/plain; charset=utf-8", Bytes::from_static(b"ok")))
        }
        Tracker::Segment(_) | Tracker::SegmentBatch => {
            let Tree(body) = serde_json::from_slice(bytes).map_err(|_| Unread::NoJson)?;
            if !body.is_object() {
                return Err(Unread::NoJson);
            }
            let key = write_key(head, query).or_else(|| tree::at(&body, "writeKey").and_then(Value::as_str).map(str::to_owned));
            let (kind, events, shared) = match tracker {
                Tracker::Segment(kind) => (Some(kind), vec![Some(Tree(body))], None),
                Tracker::SnowplowPixel | Tracker::SnowplowEvents | Tracker::SegmentBatch | Tracker::Matomo => {
                    let mut body = body;
                    let Some(Value::Array(events)) = body.get_mut("batch").map(Value::take) else { return Err(Unread::NoJson) };
                    within(events.len())?;
                    (None, events.into_iter().map(|event| event.is_object().then_some(Tree(event))).collect(), Some(body))
                }
            };
            let call = Call { site: key.as_deref(), kind, query, shared: shared.as_ref() };
            let taken = public.take_each(sender, Protocol::Segment, &call, &events, |call, event, arena| segment::decode(*call, event, arena)).await;
            Ok((taken, "application/json", Bytes::from_static(b"{\"success\":true}")))
        }
        Tracker::Matomo => matomo(public, head, sender, query, bytes).await,
    }
}

/// A picture, a form, or a bulk of queries in JSON.
async fn matomo(public: &Public, head: &request::Parts, sender: Sender<'_>, query: &str, bytes: &[u8]) -> Result<Answer, Unread> {
    let text = std::str::from_utf8(bytes).map_err(|_| Unread::NoJson)?;
    if !text.trim_start().starts_with('{') {
        let whole = if text.is_empty() { query.to_owned() } else { format!("{query}&{text}") };
        let secret = value_of(&whole, "token_auth");
        let taken = public.take_each(sender, Protocol::Matomo, &(public, secret.as_deref()), &[Some(whole.as_str())], proven).await;
        let wants_no_picture = value_of(&whole, "send_image").as_deref() == Some("0");
        return Ok(if wants_no_picture && head.method != Method::HEAD { (taken, "", Bytes::new()) } else { (taken, PIXEL.0, PIXEL.1) });
    }
    let Tree(body) = serde_json::from_str(text).map_err(|_| Unread::NoJson)?;
    let Some(Value::Array(requests)) = tree::at(&body, "requests") else { return Err(Unread::NoJson) };
    within(requests.len())?;
    let secret = tree::at(&body, "token_auth").and_then(Value::as_str);
    let requests: Vec<Option<&str>> = requests.iter().map(Value::as_str).collect();
    let taken = public.take_each(sender, Protocol::Matomo, &(public, secret), &requests, proven).await;
    let answer = format!("{{\"status\":\"success\",\"tracked\":{},\"invalid\":0}}", requests.len());
    Ok((taken, "application/json", answer.into()))
}

/// A request of Matomo's, its privileges granted where the call, or it itself, carries the secret of its site.
fn proven<'a>((public, secret): &'a (&Public, Option<&str>), request: &'a &str, arena: &'a Bump) -> Decoded<'a> {
    let own = value_of(request, "token_auth");
    let secret = own.as_deref().or(*secret);
    let site = value_of(request, "idsite").and_then(|name| public.collector.book().sites.find_by_any_name(&name));
    let is_trusted = site.is_some_and(|(_, site)| secret.is_some_and(|secret| identity::proves_client(site, secret)));
    matomo::decode(request, is_trusted, arena)
}

fn value_of(query: &str, name: &str) -> Option<String> {
    form_urlencoded::parse(query.trim_start_matches('?').as_bytes()).find(|(known, value)| known == name && !value.is_empty()).map(|(_, value)| value.into_owned())
}

const fn within(events: usize) -> Result<(), Unread> {
    if events > EVENTS_MAX { Err(Unread::TooMany) } else { Ok(()) }
}

/// `SP-Anonymous`, whatever its value: the tracker wants no id and no address used (Snowplow, "Anonymous tracking").
fn asks_for_anonymity(headers: &HeaderMap) -> bool {
    headers.contains_key("sp-anonymous")
}

fn anonymous(asked: bool, mut decoded: Decoded<'_>) -> Decoded<'_> {
    decoded.draft.anonymous |= asked;
    if asked {
        decoded.claims.device = Private::default();
    }
    decoded
}

/// The write key: the user of Basic authorisation, `X-Write-Key`, or the query's.
fn write_key(head: &request::Parts, query: &str) -> Option<String> {
    let header = |name: &str| head.headers.get(name).and_then(|value| value.to_str().ok());
    let basic = header(AUTHORIZATION.as_str())
        .and_then(|value| value.split_once(' '))
        .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("basic"))
        .and_then(|(_, packed)| STANDARD.decode(packed.trim()).ok())
        .and_then(|bytes| String::from_utf8(bytes).ok())
        .and_then(|pair| pair.split(':').next().map(str::to_owned));
    basic.filter(|key| !key.is_empty()).or_else(|| header("x-write-key").map(str::to_owned)).or_else(|| value_of(query, "writeKey"))
}
