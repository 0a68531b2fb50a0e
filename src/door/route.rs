//! Owns the table of the public port: which call is answered by whom, and the limits of a call.
//!
//! Limits: request line 16 KiB, headers 32 KiB (`listen`); of a body, see `body`.

use super::body::{self, EVENTS_MAX, Unread};
use super::choices;
use super::foreign;
use super::interactions;
use super::public::{Peer, Public, Sender};
use super::request;
use super::respond::{self, Lasts, Reply};
use super::tag;
use crate::hit::claims::Decoded;
use crate::hit::clock::Moment;
use crate::hit::field::Protocol;
use crate::line::collect::Verdict;
use crate::rules::decode::native::{self, Event, Events};
use bumpalo::Bump;
use hyper::body::Incoming;
use hyper::header::ORIGIN;
use hyper::{Method, Request, StatusCode};

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
            (&Method::POST, "/v1/interactions") => interactions::answer(self, request).await,
            (&Method::GET | &Method::HEAD, "/tag.js") => respond::script(tag::tag(), Lasts::AnHour),
            (&Method::GET | &Method::HEAD, "/matomo.js" | "/piwik.js") => respond::script(tag::matomo(), Lasts::AnHour),
            (&Method::GET | &Method::HEAD, path) if tag::is_versioned(path) => respond::script(tag::tag(), if path == tag::path() { Lasts::ForEver } else { Lasts::AnHour }),
            (&Method::GET | &Method::HEAD, "/.well-known/gpc.json") => respond::json(StatusCode::OK, GPC.to_owned()),
            (_, "/choices" | "/optout" | "/consent" | "/optin") => {
                let place = self.collector.place(request::read(request::pairs(request.headers()), peer, &self.trusted_proxies, &[], &Bump::new()).address);
                choices::answer(self.collector.book(), self.clock.now(), &place, request).await
            }
            (_, path) if foreign::is_known(path) => foreign::answer(self, request, peer).await,
            (_, "/p.gif" | "/e" | "/v1/interactions" | "/tag.js" | "/matomo.js" | "/piwik.js" | "/.well-known/gpc.json") => {
                respond::text(StatusCode::METHOD_NOT_ALLOWED, "This method is not for this path.\n")
            }
            (method, path) => {
                let page = self.demo.as_ref().filter(|_| *method == Method::GET).and_then(|demo| demo.page(self.collector.book(), self.clock.now(), path, request.headers()));
                page.unwrap_or_else(|| respond::text(StatusCode::NOT_FOUND, "There is nothing here.\n"))
            }
        }
    }

    async fn pixel(&self, request: &Request<Incoming>, peer: Peer) -> Reply {
        let verdict = self.collect_pixel(request.uri().query().unwrap_or(""), request::pairs(request.headers()), peer, self.clock.now());
        let outcome = self.collector.settle(verdict.end).await;
        respond::pixel(outcome, &verdict.changes)
    }

    /// Takes the hit of a pixel's query and headers.
    pub fn collect_pixel<'a>(&self, query: &'a str, headers: impl Iterator<Item = (&'a str, &'a [u8])>, peer: Peer, received_at: Moment) -> Verdict {
        let mut arena = self.arena.borrow_mut();
        let parts = request::read(headers, peer, &self.trusted_proxies, &[], &arena);
        self.collector.announce(&parts.address);
        let verdict = self.take(parts, Protocol::Native, Decoded::of_page(native::from_query(query, &arena)), received_at);
        arena.reset();
        verdict
    }

    async fn events(&self, request: Request<Incoming>, peer: Peer) -> Reply {
        let (head, body) = request.into_parts();
        let origin = head.headers.get(ORIGIN);
        let events = match body::read(body, &head.headers).await.and_then(|bytes| parse_events(&bytes)) {
            Ok(events) => events,
            Err(unread) => {
                self.collector.refuse_unread(self.clock.now());
                let (status, message) = unread.answer();
                return respond::refusal(status, message, origin);
            }
        };
        let taken = self.take_each(Sender::Browser(&head.headers, peer), Protocol::Native, &(), &events, |(), event, arena| Decoded::of_page(native::from_event(event, arena))).await;
        respond::events(&taken.outcomes, &taken.changes, origin)
    }
}

const REQUEST_LINE_MAX: usize = 16 << 10;

/// The day this build's handling of GPC was last looked at (W3C GPC, "GPC Support Resource").
const GPC: &str = "{\"gpc\":true,\"lastUpdate\":\"2026-11-23\"}";

fn parse_events(bytes: &[u8]) -> Result<Vec<Option<Event>>, Unread> {
    match serde_json::from_slice(bytes) {
        Ok(Events(events)) if events.len() > EVENTS_MAX => Err(Unread::TooMany),
        Ok(Events(events)) => Ok(events),
        Err(_) => Err(Unread::NoJson),
    }
}
