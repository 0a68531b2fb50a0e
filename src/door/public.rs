//! Owns one worker's public door: the way of a decoded hit from a request's headers to the line, and of
//! many hits of one call.
//!
//! Promises: an id made for an event of a call is the id of the events after it; a call is answered only
//! when the end of each of its hits is known.

use super::demo::Demo;
use super::request::{self, Parts};
use crate::hit::claims::Decoded;
use crate::hit::clock::{Clock, Moment};
use crate::hit::field::Protocol;
use crate::hit::outcome::{Outcome, Reason};
use crate::hit::private::Private;
use crate::hit::raw::RawHit;
use crate::line::collect::{Collector, End, Verdict};
use crate::rules::cookies::Change;
use bumpalo::Bump;
use hyper::header::HeaderMap;
use ipnet::IpNet;
use std::cell::RefCell;
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

/// Reads an event of a wire format.
pub type Decode<C, E> = for<'a> fn(&'a C, &'a E, &'a Bump) -> Decoded<'a>;

/// How the hits of one call ended, and the cookies to set with the answer.
#[derive(Debug, Default)]
pub struct Taken {
    pub outcomes: Vec<Outcome>,
    pub changes: Vec<Change>,
}

/// Who sends: a browser with its headers, or a client's server that proved itself, whose own address,
/// cookies and headers are nobody's.
#[derive(Clone, Copy)]
pub enum Sender<'a> {
    Browser(&'a HeaderMap, Peer),
    Server,
}

impl Public {
    /// Takes the events of one call, `None` for each that cannot be read; `decode` reads one, with what the
    /// call says of all.
    pub async fn take_each<C, E>(&self, sender: Sender<'_>, protocol: Protocol, call: &C, events: &[Option<E>], decode: Decode<C, E>) -> Taken {
        let mut changes: Vec<Change> = Vec::new();
        let mut ends: Vec<End> = Vec::with_capacity(events.len());
        let mut arena = Bump::new();
        for event in events {
            let Some(event) = event else {
                self.collector.refuse_unread(self.clock.now());
                ends.push(End::Known(Outcome::Refused(Reason::BadRequest)));
                continue;
            };
            let made = id_cookies(&changes);
            let parts = match sender {
                Sender::Browser(headers, peer) => request::read(request::pairs(headers), peer, &self.trusted_proxies, &made, &arena),
                Sender::Server => Parts::default(),
            };
            let verdict = self.take(parts, protocol, decode(call, event, &arena), self.clock.now());
            ends.push(verdict.end);
            changes.extend(verdict.changes.into_iter().filter(|change| !changes.contains(change)).collect::<Vec<_>>());
            arena.reset();
        }
        let mut outcomes = Vec::with_capacity(ends.len());
        for end in ends {
            outcomes.push(self.collector.settle(end).await);
        }
        Taken { outcomes, changes }
    }

    /// Takes one hit; its end is still to be awaited.
    #[inline(always)]
    pub fn take<'a>(&self, parts: Parts<'a>, protocol: Protocol, decoded: Decoded<'a>, received_at: Moment) -> Verdict {
        let Decoded { channel, mut draft, claims } = decoded;
        let address = match *claims.address.reveal() {
            None => parts.address,
            Some(claimed) => {
                let address = request::address_of(claimed);
                draft.unreadable |= address.reveal().is_none();
                address
            }
        };
        self.collector.collect(RawHit {
            protocol,
            channel,
            received_at,
            address,
            user_agent: Private::new(parts.user_agent),
            cookies: Private::new(parts.cookies),
            referer: Private::new(parts.referer),
            origin: parts.origin,
            accept_language: parts.accept_language,
            signals: parts.signals,
            draft,
            claims,
        })
    }
}

fn id_cookies(changes: &[Change]) -> Vec<String> {
    let made = |change: &Change| match change {
        Change::Identify { site, value } => Some(format!("__Host-cp_id.{site}={value}")),
        Change::OptOut(_) | Change::OptIn(_) | Change::Consent { .. } | Change::Unchoose(_) | Change::Forget(_) => None,
    };
    changes.iter().filter_map(made).collect()
}
