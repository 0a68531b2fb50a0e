//! Owns what the entries of the audit log add up to: requests and their states, holds, what was done in one
//! pass, which weeks were shared.
//!
//! Promises: the same entries give the same book, whoever reads them; nothing in it but what the log says, so
//! no identifier. Decides nothing.

use super::audit::{Entry, Event};
use crate::hit::clock::Moment;
use crate::hit::field::{Asker, Id, RequestKind, RequestState};
use crate::hit::site::SiteKey;
use std::collections::BTreeMap;

/// What the audit log says, added up.
#[derive(Default)]
pub struct Book {
    pub requests: BTreeMap<Id, Request>,
    holds: Vec<Hold>,
    pub passes: BTreeMap<Id, serde_json::Value>,
    /// The digest of each week that was shared, by site and week.
    pub shared: BTreeMap<(String, String), String>,
}

/// A request, as far as it may be told.
#[derive(Debug, Clone, PartialEq)]
pub struct Request {
    pub id: Id,
    pub kind: RequestKind,
    pub site: SiteKey,
    /// The keyed hash of site and visitor.
    pub subject: Id,
    /// Those of other ids that the same person was met under.
    pub linked: Vec<Id>,
    pub by: Asker,
    pub received_at: Moment,
    pub due_at: Moment,
    pub state: RequestState,
    /// To be done at once, not with the next maintenance.
    pub now: bool,
    /// Of a rectification: the names of the fields.
    pub fields: Vec<String>,
    pub done_at: Option<Moment>,
    /// Of a hold or a failure.
    pub reason: Option<String>,
    pub held_until: Option<Moment>,
    pub receipt: Option<serde_json::Value>,
    /// The days after which it was warned of last; 0: never.
    pub warned_after: i64,
}

/// A legal hold on a subject, or on a whole site.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hold {
    site: String,
    subject: Option<String>,
    pub until: Moment,
    pub reason: String,
}

/// Before the name of a trait among fields.
pub const TRAITS: &str = "traits.";

impl Book {
    /// Takes an entry in.
    pub fn note(&mut self, Entry { at, event, .. }: Entry) {
        match event {
            Event::Began { .. } | Event::Exported { .. } => {}
            Event::Received { request: id, kind, site, subject, linked, by, due_at, now, fields } => {
                // The log is signed: a site's key was checked before it was written.
                let Some(site) = SiteKey::parse(&site) else { return };
                let request = Request {
                    id, kind, site, subject, by, due_at, now, fields,
                    linked: linked.iter().filter_map(|id| Id::parse(id.as_bytes())).collect(),
                    received_at: at,
                    state: RequestState::Received,
                    done_at: None,
                    reason: None,
                    held_until: None,
                    receipt: None,
                    warned_after: 0,
                };
                self.requests.insert(id, request);
            }
            Event::Held { request, until, reason } => self.change(request, |request| {
                (request.state, request.held_until, request.reason) = (RequestState::Held, Some(until), Some(reason));
            }),
            Event::Running { request } => self.change(request, |request| {
                (request.state, request.held_until, request.reason) = (RequestState::Running, None, None);
            }),
            Event::Done { request, receipt } => self.change(request, |request| {
                (request.state, request.done_at, request.receipt, request.reason) = (RequestState::Done, Some(at), receipt, None);
            }),
            Event::Failed { request, reason } => self.change(request, |request| {
                (request.state, request.reason) = (RequestState::Failed, Some(reason));
            }),
            Event::Pass { pass, report } => {
                self.passes.insert(pass, report);
            }
            Event::Warned { request, days } => self.change(request, |request| request.warned_after = days),
            Event::Shared { site, week, published_sha256, .. } => {
                self.shared.insert((site, week), published_sha256);
            }
            Event::Hold { site, subject, until, reason } => {
                self.holds.retain(|hold| (&hold.site, &hold.subject) != (&site, &subject));
                self.holds.push(Hold { site, subject, until, reason });
            }
        }
    }

    fn change(&mut self, request: Id, change: impl FnOnce(&mut Request)) {
        if let Some(request) = self.requests.get_mut(&request) {
            change(request);
        }
    }

    /// The hold that keeps an erasure the longest.
    pub fn hold_of(&self, request: &Request, now: Moment) -> Option<Hold> {
        let is_held = |held: &String| std::iter::once(&request.subject).chain(&request.linked).any(|subject| subject.to_string() == *held);
        let keeps = |hold: &&Hold| hold.until > now && hold.site == request.site.as_str() && hold.subject.as_ref().is_none_or(is_held);
        self.holds.iter().filter(keeps).max_by_key(|hold| hold.until).cloned()
    }
}

impl Request {
    /// Whether it is about traits, whose values are sealed.
    pub fn has_traits(&self) -> bool {
        self.fields.iter().any(|field| field.starts_with(TRAITS))
    }

    /// Whether work is left.
    pub const fn is_open(&self) -> bool {
        match self.state {
            RequestState::Received | RequestState::Running | RequestState::Held => true,
            RequestState::Done | RequestState::Failed => false,
        }
    }
}
