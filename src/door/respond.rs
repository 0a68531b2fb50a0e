//! Owns the answers of the public port.
//!
//! Promises: an answer to a pixel or an event call is the same bytes whatever became of the hit; only
//! `Set-Cookie` and `Date` differ, and a hit that should have been stored and could not be is 503. No
//! answer carries a validator (`ETag`, `Last-Modified`) that could serve as an id.

use crate::hit::outcome::Outcome;
use crate::rules::cookies::{self, Change};
use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{
    ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_MAX_AGE, CACHE_CONTROL, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, RETRY_AFTER, SET_COOKIE, VARY,
};
use hyper::{Response, StatusCode};

pub type Reply = Response<Full<Bytes>>;

/// The pixel, always with its picture: 200, or 503 where the hit failed.
pub fn pixel(outcome: Outcome, changes: &[Change]) -> Reply {
    let mut reply = of(status_of(&[outcome], StatusCode::OK), "image/gif", Bytes::from_static(GIF));
    unstored(reply.headers_mut(), &[outcome]);
    set_cookies(reply.headers_mut(), changes);
    reply
}

/// The answer to events: 204, or 503 where one of them failed.
pub fn events(outcomes: &[Outcome], changes: &[Change], origin: Option<&HeaderValue>) -> Reply {
    let mut reply = Response::new(Full::default());
    *reply.status_mut() = status_of(outcomes, StatusCode::NO_CONTENT);
    unstored(reply.headers_mut(), outcomes);
    set_cookies(reply.headers_mut(), changes);
    allow_origin(reply.headers_mut(), origin);
    reply
}

/// The answer to a foreign tracker: what its maker's collector would say of a hit that was taken, and 503
/// where one of the call's hits failed, so that the client comes again.
pub fn taken(outcomes: &[Outcome], changes: &[Change], origin: Option<&HeaderValue>, content_type: &'static str, body: Bytes) -> Reply {
    let mut reply = of(status_of(outcomes, StatusCode::OK), content_type, body);
    unstored(reply.headers_mut(), outcomes);
    set_cookies(reply.headers_mut(), changes);
    allow_origin(reply.headers_mut(), origin);
    reply
}

/// The answer to a browser's question before a cross-origin call.
pub fn preflight(origin: Option<&HeaderValue>) -> Reply {
    let mut reply = Response::new(Full::default());
    *reply.status_mut() = StatusCode::NO_CONTENT;
    let headers = reply.headers_mut();
    headers.insert(ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static("GET, POST"));
    headers.insert(ACCESS_CONTROL_ALLOW_HEADERS, HeaderValue::from_static(HEADERS_ALLOWED));
    headers.insert(ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("86400"));
    allow_origin(headers, origin);
    reply
}

/// A page of the collector's own: never framed, never cached, nothing from elsewhere.
pub fn page(status: StatusCode, html: String) -> Reply {
    let mut reply = of(status, "text/html; charset=utf-8", html.into());
    let headers = reply.headers_mut();
    headers.insert(HeaderName::from_static("content-security-policy"), HeaderValue::from_static(PAGE_POLICY));
    headers.insert(HeaderName::from_static("referrer-policy"), HeaderValue::from_static("same-origin"));
    headers.insert(HeaderName::from_static("x-frame-options"), HeaderValue::from_static("DENY"));
    reply
}

/// How long a script may be kept.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Lasts {
    AnHour,
    /// Under an address that is its content's.
    ForEver,
}

/// A script of ours, for any page, also under subresource integrity.
pub fn script(source: &'static str, lasts: Lasts) -> Reply {
    let mut reply = of(StatusCode::OK, "text/javascript; charset=utf-8", Bytes::from_static(source.as_bytes()));
    let keeping = match lasts {
        Lasts::AnHour => "public, max-age=3600",
        Lasts::ForEver => "public, max-age=31536000, immutable",
    };
    reply.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static(keeping));
    reply.headers_mut().insert(ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
    reply
}

pub fn json(status: StatusCode, body: String) -> Reply {
    of(status, "application/json", body.into())
}

/// A short word for people.
pub fn text(status: StatusCode, message: &str) -> Reply {
    of(status, "text/plain; charset=utf-8", Bytes::copy_from_slice(message.as_bytes()))
}

/// An error of an event call: the page may read it too.
pub fn refusal(status: StatusCode, message: &str, origin: Option<&HeaderValue>) -> Reply {
    let mut reply = text(status, message);
    allow_origin(reply.headers_mut(), origin);
    reply
}

/// 303 to `place`, a path of this host.
pub fn see_other(place: &str, changes: &[Change]) -> Reply {
    let mut reply = Response::new(Full::default());
    *reply.status_mut() = StatusCode::SEE_OTHER;
    if let Ok(place) = HeaderValue::from_str(place) {
        reply.headers_mut().insert(hyper::header::LOCATION, place);
    }
    set_cookies(reply.headers_mut(), changes);
    reply
}

pub fn no_content(changes: &[Change]) -> Reply {
    let mut reply = Response::new(Full::default());
    *reply.status_mut() = StatusCode::NO_CONTENT;
    set_cookies(reply.headers_mut(), changes);
    reply
}

pub fn of(status: StatusCode, content_type: &'static str, body: Bytes) -> Reply {
    let mut reply = Response::new(Full::new(body));
    *reply.status_mut() = status;
    let headers = reply.headers_mut();
    headers.reserve(8);
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store, no-cache, must-revalidate, private"));
    headers.insert(HeaderName::from_static("cross-origin-resource-policy"), HeaderValue::from_static("cross-origin"));
    headers.insert(HeaderName::from_static("x-content-type-options"), HeaderValue::from_static("nosniff"));
    reply
}

pub fn set_cookies(headers: &mut HeaderMap, changes: &[Change]) {
    for cookie in changes.iter().flat_map(cookies::set) {
        if let Ok(cookie) = HeaderValue::from_str(&cookie.to_string()) {
            headers.append(SET_COOKIE, cookie);
        }
    }
}

/// Text for HTML, in elements and quoted attributes.
pub fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            other => escaped.push(other),
        }
    }
    escaped
}

/// A transparent GIF89a of one pixel, 43 bytes.
pub const GIF: &[u8; 43] = b"GIF89a\x01\x00\x01\x00\x80\x00\x00\xff\xff\xff\x00\x00\x00\x21\xf9\x04\x01\x00\x00\x00\x00\x2c\x00\x00\x00\x00\x01\x00\x01\x00\x00\x02\x02\x44\x01\x00\x3b";

const PAGE_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'unsafe-inline'; img-src 'self' data:; \
    connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

fn status_of(outcomes: &[Outcome], otherwise: StatusCode) -> StatusCode {
    if outcomes.contains(&Outcome::Failed) { StatusCode::SERVICE_UNAVAILABLE } else { otherwise }
}

fn unstored(headers: &mut HeaderMap, outcomes: &[Outcome]) {
    if outcomes.contains(&Outcome::Failed) {
        headers.insert(RETRY_AFTER, HeaderValue::from_static("1"));
    }
}

/// What our tag and the trackers of others send: Snowplow's `SP-Anonymous`, Segment's and RudderStack's
/// `Authorization`, `AnonymousId`, `X-Write-Key`, `X-Retry-Count`.
const HEADERS_ALLOWED: &str = "content-type, content-encoding, authorization, sp-anonymous, anonymousid, x-write-key, x-retry-count";

/// Echoes the asking origin: the answer says nothing that any page may not know.
fn allow_origin(headers: &mut HeaderMap, origin: Option<&HeaderValue>) {
    headers.insert(VARY, HeaderValue::from_static("Origin"));
    if let Some(origin) = origin {
        headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
        headers.insert(ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true"));
    }
}

#[cfg(test)]
mod tests {
    use super::{GIF, events, pixel};
    use crate::hit::outcome::{Outcome, Reason};

    #[test]
    fn an_answer_does_not_tell_what_became_of_the_hit() {
        let shown = |outcome| format!("{:?}", pixel(outcome, &[]));
        for outcome in [Outcome::Duplicate, Outcome::Refused(Reason::OptedOut), Outcome::Refused(Reason::UnknownSite)] {
            assert_eq!(shown(outcome), shown(Outcome::Stored));
        }
        assert_eq!(pixel(Outcome::Failed, &[]).status(), 503);
        assert_eq!(pixel(Outcome::Failed, &[]).headers()["retry-after"], "1");
        assert_eq!(events(&[Outcome::Stored, Outcome::Failed], &[], None).status(), 503);
        assert_eq!(events(&[Outcome::Stored, Outcome::Duplicate], &[], None).status(), 204);
        assert_eq!(GIF.len(), 43);
    }
}
