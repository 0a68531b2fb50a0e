//! Owns the order of the rules: what happens to a hit, from all that arrived to what is kept of it.
//!
//! Promises: the hit is taken by value and is gone when `collect` returns; nothing of it goes anywhere
//! but through the gate; every hit ends in exactly one outcome. Never waits: who must wait for the disk
//! gets a ticket.

use super::guard::{Noted, Quotas, Repeats, Seen, Visits};
use super::intake::{Intake, Ticket};
use super::salts::Salts;
use crate::hit::clock::{Hour, Moment};
use crate::hit::draft::{ConsentStrings, Once, Relayed};
use crate::hit::private::Private;
use crate::hit::field::{Id, IdentityMode, Protocol};
use crate::hit::outcome::{Outcome, Reason};
use crate::hit::raw::RawHit;
use crate::hit::record::Text;
use crate::hit::site::{Site, SiteKey, Sites, UNKNOWN_SITE};
use crate::rules::agent::Classifier;
use crate::rules::agent_cache::AgentCache;
use crate::rules::cookies::{self, Change, Findings};
use crate::rules::gpp;
use crate::rules::gate::{self, Facts, Interaction};
use crate::rules::identity::{self, SigningKey};
use crate::rules::place::{Atlas, Place, Places};
use crate::rules::regime;
use crate::rules::ruling::{self, Grounds, Ruling, Signals, StringVerdict};
use crate::rules::scrub::Echo;
use crate::rules::source::Sources;
use crate::rules::tcf;
use crate::rules::timing;
use crate::rules::us_privacy;
use bumpalo::Bump;
use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

/// What all workers share and none changes.
pub struct Rulebook {
    pub sites: Sites,
    pub sources: Sources,
    pub classifier: Arc<Classifier>,
    pub key: SigningKey,
    pub salts: Salts,
    pub repeats: Arc<Repeats>,
    pub visits: Visits,
    pub quotas: Quotas,
    /// Replaced when the operator's file changes.
    pub atlas: tokio::sync::watch::Receiver<Arc<Atlas>>,
}

/// Weighs hits by the rules, one after the other. Keeps caches between hits, and nothing of a visitor.
pub struct Judge {
    book: Arc<Rulebook>,
    agents: AgentCache,
    places: Places,
    atlas: tokio::sync::watch::Receiver<Arc<Atlas>>,
    arena: Bump,
}

/// A hit, weighed.
pub struct Weighed<'a> {
    /// `None` where the hit named no known site.
    pub site: Option<&'a Site>,
    pub kept: Result<Kept<'a>, Reason>,
    /// Cookies to set with the answer.
    pub changes: Vec<Change>,
}

/// What may be kept of a hit.
pub struct Kept<'a> {
    pub interaction: Interaction<'a>,
    /// The event id is the sender's own, so that a repeat would be known.
    pub has_own_id: bool,
}

impl Judge {
    pub fn new(book: Arc<Rulebook>) -> Self {
        let atlas = book.atlas.clone();
        let places = Places::new(atlas.borrow().clone());
        Self { agents: AgentCache::new(book.classifier.clone()), places, atlas, arena: Bump::new(), book }
    }

    /// Weighs a hit, and gives what is left of it to `then`. The hit is gone when this returns.
    pub fn weigh<T>(&mut self, mut hit: RawHit<'_>, then: impl FnOnce(Weighed<'_>) -> T) -> T {
        let Self { book, agents, places, atlas, arena } = self;
        let Some((index, site)) = hit.draft.site.and_then(|key| book.sites.find(key)) else {
            return then(Weighed { site: None, kept: Err(Reason::UnknownSite), changes: Vec::new() });
        };
        if atlas.has_changed().unwrap_or(false) {
            places.renew(atlas.borrow_and_update().clone());
        }
        let place = places.locate(std::mem::replace(&mut hit.address, Private::new(None)));
        let (kept, changes) = judge(book, (index, site), agents, &place, hit, arena);
        let result = then(Weighed { site: Some(site), kept, changes });
        arena.reset();
        result
    }
}

/// One worker's place on the line.
pub struct Collector {
    book: Arc<Rulebook>,
    judge: RefCell<Judge>,
    intake: Rc<Intake>,
}

/// What became of a hit, as far as is known at once.
pub struct Verdict {
    pub end: End,
    /// Cookies to set with the answer.
    pub changes: Vec<Change>,
}

/// The end of a hit, or how to learn of it.
pub enum End {
    Known(Outcome),
    /// Durable or failed: the ticket knows.
    Awaited(Ticket),
    /// A repeat of a hit that is on its way right now: it may be answered only when that one is durable.
    Repeats { noted: Noted, site: SiteKey, hour: Hour },
}

impl Collector {
    pub fn new(book: Arc<Rulebook>, intake: Rc<Intake>) -> Self {
        Self { judge: RefCell::new(Judge::new(book.clone())), book, intake }
    }

    pub fn book(&self) -> &Rulebook {
        &self.book
    }

    /// Decides what becomes of a hit and keeps what may be kept.
    pub fn collect(&self, hit: RawHit<'_>) -> Verdict {
        let hour = hit.received_at.hour();
        self.judge.borrow_mut().weigh(hit, |weighed| {
            let key = weighed.site.map_or(UNKNOWN_SITE, |site| site.key.as_str());
            let end = match (weighed.site, weighed.kept) {
                (Some(site), Ok(kept)) => self.keep(site, &kept),
                (_, Err(reason)) => self.end(key, hour, Outcome::Refused(reason)),
                (None, Ok(_)) => self.end(key, hour, Outcome::Refused(Reason::UnknownSite)),
            };
            Verdict { end, changes: weighed.changes }
        })
    }

    /// Counts hits that never became one: a body that cannot be read.
    pub fn refuse_unread(&self, received_at: Moment) {
        self.intake.tally(UNKNOWN_SITE, received_at.hour(), Outcome::Refused(Reason::BadRequest));
    }

    /// Waits until the end is known. Only then may the hit be answered.
    pub async fn settle(&self, end: End) -> Outcome {
        match end {
            End::Known(outcome) => outcome,
            End::Awaited(ticket) => {
                if ticket.await { Outcome::Stored } else { Outcome::Failed }
            }
            End::Repeats { noted, site, hour } => {
                let mut fate = None;
                for _ in 0..REPEAT_LOOKS_MAX {
                    fate = self.book.repeats.fate(noted);
                    if fate.is_some() {
                        break;
                    }
                    tokio::time::sleep(REPEAT_LOOK_EVERY).await;
                }
                let outcome = if fate == Some(true) { Outcome::Duplicate } else { Outcome::Failed };
                self.intake.tally(site.as_str(), hour, outcome);
                outcome
            }
        }
    }

    fn end(&self, site: &str, hour: Hour, outcome: Outcome) -> End {
        self.intake.tally(site, hour, outcome);
        End::Known(outcome)
    }

    fn keep(&self, site: &Site, kept: &Kept<'_>) -> End {
        let record = kept.interaction.record();
        let (key, hour) = (site.key.as_str(), record.received_at.hour());
        let mut noted = None;
        if kept.has_own_id {
            match self.book.repeats.look(key, record.text(Text::EventId), record.received_at) {
                Seen::Fresh(fresh) => noted = Some(fresh),
                Seen::Pending(noted) => return End::Repeats { noted, site: site.key.clone(), hour },
                Seen::Durable => return self.end(key, hour, Outcome::Duplicate),
            }
        }
        if let Some(ticket) = self.intake.append(&kept.interaction, noted) {
            return End::Awaited(ticket);
        }
        if let Some(noted) = noted {
            self.book.repeats.settle(noted, false);
        }
        self.end(key, hour, Outcome::Failed)
    }
}

/// A hit that repeats one on its way looks for that one's fate so often: 5 s in all, more than any sync
/// that is not an outage.
const REPEAT_LOOKS_MAX: u32 = 2_500;
const REPEAT_LOOK_EVERY: Duration = Duration::from_millis(2);

/// What a hit of `site` is to become, and the cookies to set with the answer.
fn judge<'a>(
    book: &'a Rulebook,
    (index, site): (usize, &'a Site),
    agents: &'a mut AgentCache,
    place: &'a Place,
    hit: RawHit<'a>,
    arena: &'a Bump,
) -> (Result<Kept<'a>, Reason>, Vec<Change>) {
    let received_at = hit.received_at;
    let found = cookies::read(hit.cookies.reveal(), &site.key, received_at);
    let late_max = match hit.protocol {
        Protocol::Import => site.interactions_keep_seconds,
        Protocol::Native | Protocol::Snowplow | Protocol::Segment | Protocol::Matomo | Protocol::Server => site.late_max_seconds,
    };
    let occurred_at = timing::occurred_at(received_at, hit.draft.occurred_at, hit.draft.sent_at, late_max);
    let gpp = said_by_gpp(hit.draft.strings.gpp, site, received_at);
    let signals = Signals {
        unreadable: hit.draft.unreadable,
        headers: hit.signals,
        child: hit.draft.child || gpp.is_child,
        opted_out: found.opted_out,
        wrong_origin: hit.origin.is_some_and(|origin| !site.owns_origin(origin)),
        over_quota: book.quotas.exceeds(index, site.hits_per_second_max, received_at),
        too_old: occurred_at.is_none(),
        cookies_unreadable: found.unreadable,
        remembered: found.consent,
        relayed: hit.draft.consent,
        gdpr: hit.draft.strings.gdpr,
        tcf: tcf_verdict(hit.draft.strings.gdpr_consent, site, received_at),
        gpp: gpp.verdict,
        us_opts_out: us_privacy_opts_out(&hit.draft.strings) || gpp.opts_out,
        anonymous: hit.draft.anonymous,
        law: regime::law_of(place.country),
    };
    let grounds = match ruling::rule(site, &signals) {
        Ruling::Keep(grounds) => grounds,
        Ruling::Refuse(reason) => {
            let changes = changes_of_refusal(site, &found, hit.draft.consent, reason);
            return (Err(reason), changes);
        }
    };
    let (visitor, changes) = identify(book, site, grounds, &found, place, &hit);
    let echo = Echo { user_agent: hit.user_agent.reveal(), cookies: hit.cookies.reveal() };
    // What is brought in from the past belongs to the visits of its own time.
    let attended_at = if hit.protocol == Protocol::Import { occurred_at.unwrap_or(received_at) } else { received_at };
    let own_id = gate::event_id(hit.draft.event_id, echo, arena);
    let facts = Facts {
        site,
        grounds,
        protocol: hit.protocol,
        channel: hit.channel,
        received_at,
        occurred_at: occurred_at.unwrap_or(received_at),
        event_id: own_id.unwrap_or_else(|| &*arena.alloc_str(&fresh_id().to_string())),
        place,
        agent: agents.classify(hit.user_agent.reveal()),
        sources: &book.sources,
        visitor,
        visit: visitor.map(|visitor| book.visits.attend(visitor, attended_at)),
        referer: hit.referer.reveal(),
        accept_language: hit.accept_language,
        echo,
        draft: hit.draft,
    };
    (Ok(Kept { interaction: gate::mint(facts, arena), has_own_id: own_id.is_some() }), changes)
}

fn tcf_verdict(string: Once<&str>, site: &Site, now: Moment) -> StringVerdict {
    match string {
        Once::Absent => StringVerdict::Absent,
        Once::Given(text) => tcf::verdict(text, site.tcf_vendor_id, now),
        Once::Malformed => StringVerdict::Unreadable,
    }
}

fn said_by_gpp(string: Once<&str>, site: &Site, now: Moment) -> gpp::Said {
    match string {
        Once::Absent => gpp::Said::NOTHING,
        Once::Given(text) => gpp::read(text, site.tcf_vendor_id, now),
        Once::Malformed => gpp::Said::UNREADABLE,
    }
}

fn us_privacy_opts_out(strings: &ConsentStrings<'_>) -> bool {
    match strings.us_privacy {
        Once::Absent => false,
        Once::Given(text) => us_privacy::opts_out(text),
        Once::Malformed => true,
    }
}

/// An opt-out is set again with every hit that carries it, so that no cookie's end ends it; a
/// withdrawal takes the id away.
fn changes_of_refusal(site: &Site, found: &Findings<'_>, relayed: Once<Relayed>, reason: Reason) -> Vec<Change> {
    let mut changes = Vec::new();
    if found.opted_out && reason != Reason::Child {
        changes.push(Change::OptOut((!found.opted_out_everywhere).then(|| site.key.clone())));
    }
    let withdrawn = found.opted_out
        || relayed == Once::Given(Relayed::Denied)
        || found.consent == cookies::Remembered::Denied
        || reason == Reason::ConsentString;
    if withdrawn && found.ids.iter().any(Option::is_some) {
        changes.push(Change::Forget(site.key.clone()));
    }
    changes
}

/// Who it is, as far as the grounds allow it to be known.
fn identify(book: &Rulebook, site: &Site, grounds: Grounds, found: &Findings<'_>, place: &Place, hit: &RawHit<'_>) -> (Option<Id>, Vec<Change>) {
    match grounds.identity {
        IdentityMode::None => (None, Vec::new()),
        // A line of a log has no cookie and cannot be given one.
        IdentityMode::Cookie if hit.protocol == Protocol::Import => (daily(book, site, place, hit), Vec::new()),
        IdentityMode::Daily => (daily(book, site, place, hit), Vec::new()),
        IdentityMode::Cookie => {
            if let Some(known) = found.ids.into_iter().flatten().find_map(|value| book.key.prove(&site.key, value)) {
                return (Some(known), Vec::new());
            }
            let visitor = fresh_id();
            let value = book.key.sign(&site.key, visitor);
            (Some(visitor), vec![Change::Identify { site: site.key.clone(), value }])
        }
    }
}

/// The id of one day; none where the network is unknown, for then all would be one.
fn daily(book: &Rulebook, site: &Site, place: &Place, hit: &RawHit<'_>) -> Option<Id> {
    let moment = match (hit.protocol, hit.draft.occurred_at.and_then(Moment::from_millis)) {
        (Protocol::Import, Some(occurred)) => occurred,
        _ => hit.received_at,
    };
    let day = moment.day();
    let salt = book.salts.of(day)?;
    Some(identity::daily(&salt, &site.key, day, place.network.as_deref()?, hit.user_agent.reveal()))
}

/// Sixteen random bytes of the operating system.
fn fresh_id() -> Id {
    let mut bytes = [0; 16];
    if let Err(error) = getrandom::fill(&mut bytes) {
        // Without randomness ids could be guessed: none is better. It has not been seen on any system
        // that starts; the row is kept with an id that belongs to nobody.
        tracing::error!(%error, "the system gives no random bytes");
    }
    Id(bytes)
}
