//! Owns the table of the public port: which call is answered by whom, and the limits of a call.
//!
//! Limits: request line 16 KiB, headers 32 KiB (`listen`), body 1 MiB before and after it is unpacked,
//! 500 events, 30 s for a body. A worker's requests in flight hold at most (connections × 1 MiB); see
//! `listen::CONNECTIONS_MAX`.

use super::choices;
use super::demo::Demo;
use super::request::{self, Parts};
use super::respond::{self, Reply};
use crate::hit::clock::Clock;
use crate::hit::draft::Draft;
use crate::hit::field::{Channel, Protocol};
use crate::hit::private::Private;
use crate::hit::raw::RawHit;
use crate::line::collect::{Collector, End, Verdict};
use crate::rules::cookies::Change;
use crate::rules::decode::native::{self, Event, Events};
use bumpalo::Bump;
use bytes::Bytes;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper::header::{CONTENT_ENCODING, ORIGIN};
use hyper::{Method, Request, StatusCode};
use ipnet::IpNet;
use std::cell::RefCell;
use std::io::Read;
use std::sync::Arc;

/// One worker's public door.
pub struct Public {
    pub collector: Collector,
    pub clock: Clock,
    pub trusted_proxies: Arc<[IpNet]>,
    pub demo: Option<Demo>,
    pub arena: RefCell<Bump>,
}

/// The address a connection came from.
#[expect(clippy::disallowed_types, reason = "handed on to `request`, which wraps it")]
pub type Peer = std::net::IpAddr;

impl Public {
    /// Answers a call.
    pub async fn answer(&self, request: Request<Incoming>, peer: Peer) -> Reply {
        if request.uri().path_and_query().is_some_and(|line| line.as_str().len() > REQUEST_LINE_MAX) {
            return respond::text(StatusCode::URI_TOO_LONG, "The request line is longer than 16 KiB.\n");
        }
        match (request.method(), request.uri().path()) {
            (&Method::GET | &Method::HEAD, "/p.gif") => self.pixel(&request, peer).await,
            (&Method::POST, "/e") => self.events(request, peer).await,
            (&Method::OPTIONS, "/e") => respond::preflight(request.headers().get(ORIGIN)),
            (&Method::GET | &Method::HEAD, "/tag.js") => respond::script(TAG),
            (&Method::GET | &Method::HEAD, "/.well-known/gpc.json") => respond::json(StatusCode::OK, GPC.to_owned()),
            (_, "/choices" | "/optout" | "/consent" | "/optin") => choices::answer(self.collector.book(), self.clock.now(), request).await,
            (_, "/p.gif" | "/e" | "/tag.js" | "/.well-known/gpc.json") => {
                respond::text(StatusCode::METHOD_NOT_ALLOWED, "This method is not for this path.\n")
            }
            (method, path) => {
                let page = self.demo.as_ref().filter(|_| *method == Method::GET).and_then(|demo| demo.page(self.collector.book(), self.clock.now(), path, request.headers()));
                page.unwrap_or_else(|| respond::text(StatusCode::NOT_FOUND, "There is nothing here.\n"))
            }
        }
    }

    async fn pixel(&self, request: &Request<Incoming>, peer: Peer) -> Reply {
        let verdict = {
            let parts = request::read(request.headers(), peer, &self.trusted_proxies);
            let mut arena = self.arena.borrow_mut();
            let draft = native::from_query(request.uri().query().unwrap_or(""), &arena);
            let verdict = self.collect(parts, draft);
            arena.reset();
            verdict
        };
        let outcome = self.collector.settle(verdict.end).await;
        respond::pixel(outcome, &verdict.changes)
    }

    async fn events(&self, request: Request<Incoming>, peer: Peer) -> Reply {
        let (head, body) = request.into_parts();
        let origin = head.headers.get(ORIGIN);
        let encoding = head.headers.get(CONTENT_ENCODING).map_or(&b""[..], |value| value.as_bytes());
        let read = match read_body(body, encoding).await {
            Ok(bytes) => parse_events(&bytes),
            Err(unread) => Err(unread),
        };
        let events = match read {
            Ok(events) => events,
            Err(unread) => {
                self.collector.refuse_unread(self.clock.now());
                let (status, message) = unread.answer();
                return respond::refusal(status, message, origin);
            }
        };
        let mut changes: Vec<Change> = Vec::new();
        let mut ends: Vec<End> = Vec::with_capacity(events.len());
        for event in &events {
            let arena = Bump::new();
            let Some(event) = event else {
                self.collector.refuse_unread(self.clock.now());
                continue;
            };
            let draft = native::from_event(event, &arena);
            let mut parts = request::read(&head.headers, peer, &self.trusted_proxies);
            // An id made for an event of this very call is the id of the events after it.
            let made = id_cookies(&changes);
            parts.cookies.extend(made.iter().map(String::as_bytes));
            let verdict = self.collect(parts, draft);
            ends.push(verdict.end);
            changes.extend(verdict.changes.into_iter().filter(|change| !changes.contains(change)).collect::<Vec<_>>());
        }
        let mut outcomes = Vec::with_capacity(ends.len());
        for end in ends {
            outcomes.push(self.collector.settle(end).await);
        }
        respond::events(&outcomes, &changes, origin)
    }

    fn collect<'a>(&self, parts: Parts<'a>, draft: Draft<'a>) -> Verdict {
        self.collector.collect(RawHit {
            protocol: Protocol::Native,
            channel: Channel::Web,
            received_at: self.clock.now(),
            address: parts.address,
            user_agent: Private::new(parts.user_agent),
            cookies: Private::new(&parts.cookies),
            referer: Private::new(parts.referer),
            origin: parts.origin.as_deref(),
            accept_language: parts.accept_language,
            signals: parts.signals,
            draft,
        })
    }
}

const REQUEST_LINE_MAX: usize = 16 << 10;
const BODY_MAX: usize = 1 << 20;
const EVENTS_MAX: usize = 500;

const TAG: &str = include_str!("../../assets/tag.js");
/// The day this build's handling of GPC was last looked at (W3C GPC, "GPC Support Resource").
const GPC: &str = "{\"gpc\":true,\"lastUpdate\":\"2026-11-23\"}";

/// Why a body was not read.
enum Unread {
    TooLarge,
    TooMany,
    TooSlow,
    UnknownEncoding,
    NotPacked,
    NoJson,
}

impl Unread {
    const fn answer(&self) -> (StatusCode, &'static str) {
        match self {
            Self::TooLarge => (StatusCode::PAYLOAD_TOO_LARGE, "The body is larger than 1 MiB, as sent or unpacked: send fewer events.\n"),
            Self::TooMany => (StatusCode::PAYLOAD_TOO_LARGE, "More than 500 events: send fewer at once.\n"),
            Self::TooSlow => (StatusCode::REQUEST_TIMEOUT, "The body did not arrive within 30 s.\n"),
            Self::UnknownEncoding => (StatusCode::UNSUPPORTED_MEDIA_TYPE, "Content-Encoding is none of gzip, br, zstd, identity.\n"),
            Self::NotPacked => (StatusCode::BAD_REQUEST, "The body is not what its Content-Encoding says.\n"),
            Self::NoJson => (StatusCode::BAD_REQUEST, "The body is neither a JSON object nor an array of them.\n"),
        }
    }
}

async fn read_body(body: Incoming, encoding: &[u8]) -> Result<Bytes, Unread> {
    let collected = tokio::time::timeout(request::BODY_DEADLINE, Limited::new(body, BODY_MAX).collect()).await.map_err(|_| Unread::TooSlow)?;
    let bytes = match collected {
        Ok(collected) => collected.to_bytes(),
        Err(error) if error.is::<LengthLimitError>() => return Err(Unread::TooLarge),
        // The sender went away: whatever is said here, nobody hears it.
        Err(_) => return Err(Unread::NotPacked),
    };
    match encoding.to_ascii_lowercase().as_slice() {
        b"" | b"identity" => Ok(bytes),
        b"gzip" | b"x-gzip" => unpack(flate2::read::MultiGzDecoder::new(&*bytes)),
        b"br" => unpack(brotli_decompressor::Decompressor::new(&*bytes, 4_096)),
        b"zstd" => zstd::stream::read::Decoder::new(&*bytes).map_err(|_| Unread::NotPacked).and_then(unpack),
        _ => Err(Unread::UnknownEncoding),
    }
}

fn unpack(packed: impl Read) -> Result<Bytes, Unread> {
    let mut bytes = Vec::new();
    packed.take(BODY_MAX as u64 + 1).read_to_end(&mut bytes).map_err(|_| Unread::NotPacked)?;
    if bytes.len() > BODY_MAX { Err(Unread::TooLarge) } else { Ok(bytes.into()) }
}

fn parse_events(bytes: &[u8]) -> Result<Vec<Option<Event>>, Unread> {
    match serde_json::from_slice(bytes) {
        Ok(Events(events)) if events.len() > EVENTS_MAX => Err(Unread::TooMany),
        Ok(Events(events)) => Ok(events),
        Err(_) => Err(Unread::NoJson),
    }
}

fn id_cookies(changes: &[Change]) -> Vec<String> {
    let made = |change: &Change| match change {
        Change::Identify { site, value } => Some(format!("__Host-cp_id.{site}={value}")),
        Change::OptOut(_) | Change::OptIn(_) | Change::Consent { .. } | Change::Forget(_) => None,
    };
    changes.iter().filter_map(made).collect()
}

