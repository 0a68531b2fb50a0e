//! Owns the order of the rules: what happens to a hit, from all that arrived to what is kept of it.
//!
//! Promises: the hit is taken by value and is gone when `collect` returns; nothing of it goes anywhere
//! but through the gate; every hit ends in exactly one outcome. Never waits: who must wait for the disk
//! gets a ticket.

use super::guard::{Noted, Quotas, Repeats, Seen, Sought, Visits};
use super::ids::Ids;
use super::intake::{Intake, Ticket};
use super::salts::Salts;
use crate::hit::claims::Claims;
use crate::hit::clock::{Hour, Moment};
use crate::hit::draft::{Once, Relayed};
use crate::hit::private::Private;
use crate::hit::field::{Channel, Id, IdentityMode, Protocol};
use crate::hit::outcome::{Outcome, Reason};
use crate::hit::raw::{Address, HeaderSignals, RawHit};
use crate::hit::scrubbed::Scrubbed;
use crate::hit::site::{Site, SiteNumber, Sites};
use crate::rules::agent::Classifier;
use crate::rules::agent_cache::AgentCache;
use crate::rules::cookies::{self, Change, Findings};
use crate::rules::echo::Echo;
use crate::rules::gate::{self, Facts, Interaction};
use crate::rules::identity::{self, PERSON, SigningKey};
use crate::rules::memory::{self, Memory};
use crate::rules::person::{self, Person, Said};
use crate::rules::place::{Atlas, Place, Places};
use crate::rules::recent::Rate;
use crate::rules::ruling::{self, Grounds, Ruling, Signals};
use crate::rules::source::Sources;
use crate::rules::strings;
use crate::rules::suppression::{Standing, Suppressions};
use crate::rules::timing;
use bumpalo::Bump;
use std::cell::{Cell, RefCell};
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
    /// Replaced when somebody exercises a right.
    pub suppressions: tokio::sync::watch::Receiver<Arc<Suppressions>>,
}

/// Weighs hits by the rules, one after the other. Keeps caches between hits, and nothing of a visitor.
pub struct Judge {
    book: Arc<Rulebook>,
    agents: AgentCache,
    memory: Memory,
    places: Places,
    atlas: tokio::sync::watch::Receiver<Arc<Atlas>>,
    suppressed: Arc<Suppressions>,
    suppressions: tokio::sync::watch::Receiver<Arc<Suppressions>>,
    ids: Ids,
    arena: Bump,
}

/// A hit, weighed.
pub struct Weighed<'a> {
    /// `None` where the hit named no known site.
    pub site: Option<(SiteNumber, &'a Site)>,
    pub kept: Result<Kept<'a>, Reason>,
    /// Cookies to set with the answer.
    pub changes: Vec<Change>,
}

/// What may be kept of a hit.
pub struct Kept<'a> {
    pub interaction: Interaction<'a>,
    /// The event id, where it is the sender's own: a repeat of it would be known.
    pub own_id: Option<Sought>,
    /// Of an identify call, where the contract and the ruling let a person be known.
    pub person: Option<Person>,
}

impl Judge {
    pub fn new(book: Arc<Rulebook>) -> Self {
        let atlas = book.atlas.clone();
        let places = Places::new(atlas.borrow().clone());
        let suppressions = book.suppressions.clone();
        let suppressed = suppressions.borrow().clone();
        let agents = AgentCache::new(book.classifier.clone());
        Self { agents, memory: Memory::new(memory::ENTRIES), places, atlas, suppressed, suppressions, ids: Ids::default(), arena: Bump::new(), book }
    }

    /// Weighs a hit, and gives what is left of it to `then`. The hit is gone when this returns.
    #[inline(always)]
    pub fn weigh<T>(&mut self, mut hit: RawHit<'_>, then: impl FnOnce(Weighed<'_>) -> T) -> T {
        let Self { book, agents, memory, places, atlas, suppressed, suppressions, ids, arena } = self;
        let Some((number, site)) = hit.draft.site.and_then(|name| book.sites.find_by_any_name(name)) else {
            return then(Weighed { site: None, kept: Err(Reason::UnknownSite), changes: Vec::new() });
        };
        // The snapshot is this worker's own: no lock is taken where nothing changed.
        if suppressions.has_changed().unwrap_or(false) {
            *suppressed = suppressions.borrow_and_update().clone();
        }
        let told;
        let place = match (*hit.address.reveal(), hit.claims.country) {
            (None, Some(country)) => {
                told = Place::told(country);
                &told
            }
            (Some(_), _) | (None, None) => renewed(places, atlas).locate(std::mem::take(&mut hit.address)),
        };
        let (kept, changes) = judge((book, suppressed), (number, site), (agents, memory), ids, place, hit, arena);
        let result = then(Weighed { site: Some((number, site)), kept, changes });
        arena.reset();
        result
    }

    /// The place of an address, for a page that tells its visitor which law applies.
    pub fn place(&mut self, address: Private<Address>) -> Place {
        *renewed(&mut self.places, &mut self.atlas).locate(address)
    }

    /// How often a place, a browser, a URL and another text were known already.
    pub const fn rates(&self) -> [Rate; 4] {
        let [urls, texts] = self.memory.rates();
        [self.places.rate(), self.agents.rate(), urls, texts]
    }
}

/// The places, in the atlas of today.
fn renewed<'p>(places: &'p mut Places, atlas: &mut tokio::sync::watch::Receiver<Arc<Atlas>>) -> &'p mut Places {
    if atlas.has_changed().unwrap_or(false) {
        places.renew(atlas.borrow_and_update().clone());
    }
    places
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
    Repeats { noted: Noted, site: SiteNumber, hour: Hour },
}

impl Collector {
    pub fn new(book: Arc<Rulebook>, intake: Rc<Intake>) -> Self {
        Self { judge: RefCell::new(Judge::new(book.clone())), book, intake }
    }

    /// Where who lets connections in says how many there are.
    pub fn connected(&self) -> Rc<Cell<usize>> {
        self.intake.connected()
    }

    pub fn book(&self) -> &Rulebook {
        &self.book
    }

    /// The place of an address, which is given up for it.
    pub fn place(&self, address: Private<Address>) -> Place {
        self.judge.borrow_mut().place(address)
    }

    /// Says that a hit from this address is about to be collected: what is known of its network is brought near.
    pub fn announce(&self, address: &Private<Address>) {
        self.judge.borrow().places.fetch(address);
    }

    /// Decides what becomes of a hit and keeps what may be kept.
    // A hit is taken by value, 700 bytes: out of line, each of these calls would copy it and what is kept of it.
    #[inline(always)]
    pub fn collect(&self, hit: RawHit<'_>) -> Verdict {
        let hour = hit.received_at.hour();
        self.judge.borrow_mut().weigh(hit, |weighed| {
            let end = match (weighed.site, weighed.kept) {
                (Some(site), Ok(kept)) => self.keep(site, kept),
                (Some((site, _)), Err(reason)) => self.end(site, hour, Outcome::Refused(reason)),
                (None, kept) => self.end(SiteNumber::UNKNOWN, hour, Outcome::Refused(kept.err().unwrap_or(Reason::UnknownSite))),
            };
            Verdict { end, changes: weighed.changes }
        })
    }

    /// Counts hits that never became one: a body that cannot be read.
    pub fn refuse_unread(&self, received_at: Moment) {
        self.intake.tally(SiteNumber::UNKNOWN, received_at.hour(), Outcome::Refused(Reason::BadRequest));
    }

    /// Has what was collected so far made durable, at once where that takes no waiting; else the ticket tells when.
    /// After that most ends are [`Self::known`].
    pub fn write(&self) -> Option<Ticket> {
        self.intake.write()
    }

    /// The end of a hit, where it is known without waiting.
    pub fn known(end: &End) -> Option<Outcome> {
        match end {
            End::Known(outcome) => Some(*outcome),
            End::Awaited(ticket) => ticket.known().map(of_stored),
            End::Repeats { .. } => None,
        }
    }

    /// Waits until the end is known. Only then may the hit be answered.
    pub async fn settle(&self, end: End) -> Outcome {
        match end {
            End::Known(outcome) => outcome,
            End::Awaited(ticket) => of_stored(ticket.await),
            // In a box, so that a connection does not carry the room for what is rare.
            End::Repeats { noted, site, hour } => Box::pin(self.settle_repeat(noted, site, hour)).await,
        }
    }

    /// Waits for the end of the hit that this one repeats.
    async fn settle_repeat(&self, noted: Noted, site: SiteNumber, hour: Hour) -> Outcome {
        let mut fate = None;
        for _ in 0..REPEAT_LOOKS_MAX {
            fate = self.book.repeats.fate(noted);
            if fate.is_some() {
                break;
            }
            tokio::time::sleep(REPEAT_LOOK_EVERY).await;
        }
        let outcome = if fate == Some(true) { Outcome::Duplicate } else { Outcome::Failed };
        self.intake.tally(site, hour, outcome);
        outcome
    }

    fn end(&self, site: SiteNumber, hour: Hour, outcome: Outcome) -> End {
        self.intake.tally(site, hour, outcome);
        End::Known(outcome)
    }

    fn keep(&self, (number, site): (SiteNumber, &Site), kept: Kept<'_>) -> End {
        let record = kept.interaction.record();
        let hour = record.received_at.hour();
        let mut noted = None;
        if let Some(sought) = kept.own_id {
            match self.book.repeats.look(sought, record.received_at) {
                Seen::Fresh(fresh) => noted = Some(fresh),
                Seen::Pending(noted) => return End::Repeats { noted, site: number, hour },
                Seen::Durable => return self.end(number, hour, Outcome::Duplicate),
            }
        }
        let ticket = match kept.person {
            None => self.intake.append(number, &kept.interaction, noted),
            Some(person) => self.intake.append_after((number, &site.key), person, &kept.interaction, noted),
        };
        if let Some(ticket) = ticket {
            return End::Awaited(ticket);
        }
        if let Some(noted) = noted {
            self.book.repeats.settle(noted, false);
        }
        self.end(number, hour, Outcome::Failed)
    }
}

const fn of_stored(is_durable: bool) -> Outcome {
    if is_durable { Outcome::Stored } else { Outcome::Failed }
}

/// A hit that repeats one on its way looks for that one's fate so often: 5 s in all, more than any sync
/// that is not an outage.
const REPEAT_LOOKS_MAX: u32 = 2_500;
const REPEAT_LOOK_EVERY: Duration = Duration::from_millis(2);

/// What a hit of `site` is to become, and the cookies to set with the answer.
#[inline(always)]
fn judge<'a>(
    (book, suppressed): (&'a Rulebook, &Suppressions),
    (number, site): (SiteNumber, &'a Site),
    (agents, memory): (&'a mut AgentCache, &'a mut Memory),
    ids: &mut Ids,
    place: &'a Place,
    mut hit: RawHit<'a>,
    arena: &'a Bump,
) -> (Result<Kept<'a>, Reason>, Vec<Change>) {
    let received_at = hit.received_at;
    // What an identify call brings is of the person, never of the row.
    let traits = if is_identify(&hit) { Some(std::mem::take(&mut hit.draft.properties)) } else { None };
    let found = cookies::read(hit.cookies.reveal(), &site.key, received_at);
    let late_max = match hit.protocol {
        Protocol::Import => site.interactions_keep_seconds,
        Protocol::Native | Protocol::Snowplow | Protocol::Segment | Protocol::Matomo | Protocol::Server => site.late_max_seconds,
    };
    let occurred_at = timing::occurred_at(received_at, hit.draft.occurred_at, hit.draft.sent_at, late_max);
    let said = strings::read(&hit.draft.strings, site.tcf_vendor_id, received_at);
    let standing = standing(book, suppressed, site, &found, place, &hit);
    let signals = Signals {
        unreadable: hit.draft.unreadable,
        headers: HeaderSignals { gpc: hit.signals.gpc || hit.draft.gpc, ..hit.signals },
        child: hit.draft.child || said.is_child,
        opted_out: found.opted_out() || standing.objected,
        erased: standing.erased,
        restricted: standing.restricted,
        wrong_origin: hit.origin.is_some_and(|origin| !site.owns_origin(origin)),
        over_quota: book.quotas.exceeds(number, site.hits_per_second_max, received_at),
        too_old: occurred_at.is_none(),
        cookies_unreadable: found.unreadable,
        remembered: found.consent,
        relayed: hit.draft.consent,
        gdpr_applies: said.gdpr_applies,
        tcf: said.tcf,
        gpp: said.gpp,
        us_opts_out: said.us_opts_out,
        anonymous: hit.draft.anonymous,
        by_server: hit.protocol == Protocol::Server && matches!(hit.channel, Channel::Server | Channel::Telephony),
        law: place.law,
    };
    let grounds = match ruling::rule(site, &signals) {
        Ruling::Keep(grounds) => grounds,
        Ruling::Refuse(reason) => {
            let changes = changes_of_refusal(site, &found, standing, hit.draft.consent, reason);
            return (Err(reason), changes);
        }
    };
    let (visitor, changes) = identify(book, site, grounds, &found, place, &hit, ids);
    let given_id = hit.draft.event_id;
    let sought = given_id.map(|id| book.repeats.seek(site.key.as_str(), id));
    let approach = visitor.map(|visitor| book.visits.approach(visitor));
    let agent = agents.seek(user_agent(&hit));
    // All three memories are asked in one breath and ahead, so that they answer together, while texts are cleaned.
    sought.into_iter().for_each(|sought| book.repeats.fetch(sought));
    approach.iter().for_each(|approach| book.visits.fetch(approach));
    agents.fetch(&agent);
    let echo = Echo::of(hit.user_agent.reveal(), hit.cookies.reveal(), arena);
    // What is brought in from the past belongs to the visits of its own time.
    let attended_at = if hit.protocol == Protocol::Import { occurred_at.unwrap_or(received_at) } else { received_at };
    let mut removed = Scrubbed::default();
    let own_id = gate::event_id(given_id, echo, &mut removed, arena);
    // One too long to be kept is known by its hash.
    let sought = own_id.and_then(|id| if own_id == given_id { sought } else { Some(book.repeats.seek(site.key.as_str(), id)) });
    let person = match (traits, visitor) {
        (Some(traits), Some(visitor)) if may_be_known(site, grounds, &hit) => {
            let linked = linked(book, suppressed, site, &found, &hit);
            let said = Said { visitor, user_id: *hit.claims.user.reveal(), linked: &linked, traits: &traits, at: received_at };
            Some(person::sight(said, echo, &mut removed, arena))
        }
        (Some(_) | None, _) => None,
    };
    let facts = Facts {
        site,
        grounds,
        protocol: hit.protocol,
        channel: hit.channel,
        received_at,
        occurred_at: occurred_at.unwrap_or(received_at),
        event_id: own_id.unwrap_or_else(|| arena.alloc_str(std::str::from_utf8(&ids.fresh().digits()).unwrap_or_default())),
        place,
        agent: agents.classify(agent),
        sources: &book.sources,
        visitor,
        visit: approach.map(|approach| book.visits.attend(approach, attended_at)),
        referer: hit.referer.reveal(),
        accept_language: hit.accept_language,
        echo,
        memory,
        removed,
        draft: &hit.draft,
    };
    (Ok(Kept { interaction: gate::mint(facts, arena), own_id: sought, person }), changes)
}

/// An opt-out is set again with every hit that carries it, so that no cookie's end ends it; a
/// withdrawal takes the id away. Who objected under an id gets the opt-out cookie in its place; who was
/// erased loses the id, so that the next visit is nobody's known.
fn changes_of_refusal(site: &Site, found: &Findings<'_>, standing: Standing, relayed: Once<Relayed>, reason: Reason) -> Vec<Change> {
    let mut changes = Vec::new();
    if reason != Reason::Child {
        changes.extend(found.opted_out_everywhere.then_some(Change::OptOut(None)));
        changes.extend((found.opted_out_here || standing.objected).then_some(Change::OptOut(Some(site.key))));
    }
    let withdrawn = found.opted_out()
        || standing.objected
        || standing.erased
        || reason == Reason::Child
        || relayed == Once::Given(Relayed::Denied)
        || found.consent == cookies::Remembered::Denied
        || reason == Reason::ConsentString;
    if withdrawn && found.ids.iter().any(Option::is_some) {
        changes.push(Change::Forget(site.key));
    }
    changes
}

/// How those stand who the hit may be of. Only this is made of their ids before the ruling, and only
/// where somebody is suppressed at all.
fn standing(book: &Rulebook, suppressed: &Suppressions, site: &Site, found: &Findings<'_>, place: &Place, hit: &RawHit<'_>) -> Standing {
    if suppressed.is_empty() {
        return Standing::default();
    }
    let proven = found.ids.into_iter().flatten().filter_map(|value| book.key.prove(&site.key, value));
    let is_daily = site.identity == IdentityMode::Daily || hit.protocol == Protocol::Import;
    let daily = if is_daily { daily(book, site, place, hit) } else { None };
    let named = Name::of(&hit.claims, site.personal_information).map(|name| book.key.pseudonym(&site.key, name.kind, name.text));
    proven.chain(daily).chain(named).fold(Standing::default(), |all, visitor| all.and(suppressed.standing(site.key.as_str(), visitor)))
}

fn is_identify(hit: &RawHit<'_>) -> bool {
    hit.draft.event.is_some_and(|event| event.trim().eq_ignore_ascii_case("identify"))
}

/// Whether the person of an identify call may be kept: by contract, on grounds that let visitors be known for
/// longer than a day, and not out of a log, whose ids are of another key.
fn may_be_known(site: &Site, grounds: Grounds, hit: &RawHit<'_>) -> bool {
    site.personal_information && grounds.identity == IdentityMode::Cookie && hit.protocol != Protocol::Import
}

/// The other ids that the hit of a person carries: what they did under these before is theirs too. Nobody
/// who was erased is brought back by it.
fn linked(book: &Rulebook, suppressed: &Suppressions, site: &Site, found: &Findings<'_>, hit: &RawHit<'_>) -> Vec<Id> {
    let proven = found.ids.into_iter().flatten().filter_map(|value| book.key.prove(&site.key, value));
    let names = [("caller", *hit.claims.caller.reveal()), ("device", *hit.claims.device.reveal())];
    let named = names.into_iter().filter_map(|(kind, name)| name.map(|name| book.key.pseudonym(&site.key, kind, name)));
    proven.chain(named).filter(|id| !suppressed.standing(site.key.as_str(), *id).erased).collect()
}

/// The visitor's user agent: the sender's word for it, or the header, which a server sends of itself.
fn user_agent<'a>(hit: &RawHit<'a>) -> &'a [u8] {
    match (*hit.claims.user_agent.reveal(), hit.channel) {
        (Some(claimed), _) => claimed.as_bytes(),
        (None, Channel::Server | Channel::Telephony) => b"",
        (None, Channel::Web | Channel::Mobile | Channel::Log) => hit.user_agent.reveal(),
    }
}

/// Who it is, as far as the grounds allow it to be known: the client's own name of a person where its
/// contract takes such names, then our cookie, then the sender's name of a device or a caller.
fn identify(book: &Rulebook, site: &Site, grounds: Grounds, found: &Findings<'_>, place: &Place, hit: &RawHit<'_>, ids: &mut Ids) -> (Option<Id>, Vec<Change>) {
    match grounds.identity {
        IdentityMode::None => (None, Vec::new()),
        // A line of a log has no cookie and cannot be given one.
        IdentityMode::Cookie if hit.protocol == Protocol::Import => (daily(book, site, place, hit), Vec::new()),
        IdentityMode::Daily => (daily(book, site, place, hit), Vec::new()),
        IdentityMode::Cookie => {
            let named = |name: Name<'_>| (Some(book.key.pseudonym(&site.key, name.kind, name.text)), Vec::new());
            let name = Name::of(&hit.claims, site.personal_information);
            if let Some(name) = name
                && name.kind == PERSON
            {
                return named(name);
            }
            if let Some(known) = found.ids.into_iter().flatten().find_map(|value| book.key.prove(&site.key, value)) {
                return (Some(known), Vec::new());
            }
            if let Some(name) = name {
                return named(name);
            }
            if is_not_the_visitor(hit.channel) {
                return (None, Vec::new());
            }
            let visitor = ids.fresh();
            let value = book.key.sign(&site.key, visitor);
            (Some(visitor), vec![Change::Identify { site: site.key, value }])
        }
    }
}

/// A sender's name of its visitor, and of what kind it is.
#[derive(Clone, Copy)]
struct Name<'a> {
    kind: &'static str,
    text: &'a str,
}

impl<'a> Name<'a> {
    fn of(claims: &Claims<'a>, takes_persons: bool) -> Option<Self> {
        let person = claims.user.reveal().filter(|_| takes_persons);
        [(PERSON, person), ("caller", *claims.caller.reveal()), ("device", *claims.device.reveal())]
            .into_iter()
            .find_map(|(kind, text)| text.map(|text| Self { kind, text }))
    }
}

/// Who connects is a server that speaks for many: its address and its cookies are nobody's.
const fn is_not_the_visitor(channel: Channel) -> bool {
    match channel {
        Channel::Server | Channel::Telephony => true,
        Channel::Web | Channel::Mobile | Channel::Log => false,
    }
}

/// The id of one day; none where nothing tells visitors apart, for then all would be one.
fn daily(book: &Rulebook, site: &Site, place: &Place, hit: &RawHit<'_>) -> Option<Id> {
    let moment = match (hit.protocol, hit.draft.occurred_at.and_then(Moment::from_millis)) {
        (Protocol::Import, Some(occurred)) => occurred,
        _ => hit.received_at,
    };
    let day = moment.day();
    let salt = book.salts.of(day)?;
    if let Some(name) = Name::of(&hit.claims, site.personal_information) {
        return Some(identity::daily(&salt, &site.key, day, name.kind, name.text.as_bytes()));
    }
    if is_not_the_visitor(hit.channel) {
        return None;
    }
    Some(identity::daily(&salt, &site.key, day, place.network.as_deref()?, user_agent(hit)))
}
