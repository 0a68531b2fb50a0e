//! Owns requests: what a person asked for through the client, how far it is, and until when it is due.
//!
//! All that is known of a request follows from the audit log, so that a crash at any moment leaves
//! nothing to repair: `mend` finishes what was begun. The identifier itself lies in a file of its own,
//! `DATA/subjects/pending/ID`, its owner's alone, for only as long as the work needs it; then it is
//! written over and removed. Promises: a request is in force everywhere when it is acknowledged; it is
//! due after 30 days (GDPR Art. 12(3)), warned of after 20 and again after 28, and its work in the files is asked of every
//! maintenance from the first. Any number of processes of a data folder may take part. Never says an
//! identifier in a message, a log or an entry. Limits: some 1 KB of memory a request.

use super::audit::{AuditError, AuditLog, Event};
use super::book::{Book, Request, TRAITS};
use super::text::rfc3339;
use crate::hit::clock::Moment;
use crate::hit::field::{Asker, Id, RequestKind, RequestState, Suppression, hex};
use crate::hit::site::SiteKey;
use crate::journal::folder;
use crate::lake::suppressions::{Stamp, SuppressionStore};
use crate::rules::suppression::{Standing, Suppressions};
use serde::{Deserialize, Serialize};
use serde_json::json;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::watch;

/// The rights exercised on one data folder and its lake.
pub struct Rights {
    store: SuppressionStore,
    pending: PathBuf,
    state: Mutex<State>,
    in_force: watch::Sender<Arc<Suppressions>>,
}

struct State {
    log: AuditLog,
    book: Book,
    stamp: Option<Stamp>,
}

/// What is asked for.
#[derive(Debug, Clone)]
pub struct Ask {
    pub kind: RequestKind,
    pub site: SiteKey,
    pub visitor: Id,
    /// Other ids that the same person was met under: it is asked for these too.
    pub linked: Vec<Id>,
    /// Of a rectification: what each field is to be; `None` empties it. A trait (`traits.NAME`) stands here
    /// without its value.
    pub fields: BTreeMap<String, Option<String>>,
    /// The values of the traits, for the key of the site's people (`desk::persons`).
    pub sealed: Option<String>,
    pub now: bool,
    pub by: Asker,
}

impl Ask {
    /// With nothing besides.
    pub const fn of(kind: RequestKind, site: SiteKey, visitor: Id, by: Asker) -> Self {
        Self { kind, site, visitor, linked: Vec::new(), fields: BTreeMap::new(), sealed: None, now: false, by }
    }
}

/// What the work of a request needs to know, from its file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Work {
    pub request: Id,
    pub kind: RequestKind,
    pub site: SiteKey,
    pub subject: Id,
    /// All ids of the person, the one that was asked for first.
    pub visitors: Vec<Id>,
    pub fields: BTreeMap<String, Option<String>>,
    pub sealed: Option<String>,
}

/// A request whose work in the files is done, and how many rows it was about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Done {
    pub request: Id,
    pub rows: u64,
}

#[derive(Serialize, Deserialize)]
struct Pending {
    visitor_id: String,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    linked: Vec<String>,
    fields: BTreeMap<String, Option<String>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    sealed: Option<String>,
}

/// Why a request was not taken, or not done.
#[derive(Debug, thiserror::Error)]
pub enum RightsError {
    #[error("a rectification names `fields`: an object of {}, each a text, or null to empty it", FIELDS.join(" or "))]
    NoFields,
    #[error("only a rectification has `fields`")]
    NeedlessFields,
    #[error("the field `{0}` cannot be rectified: {list} can, and traits.NAME where the site has people", list = FIELDS.join(" and "))]
    UnknownField(String),
    #[error("the field `{field}` cannot be that: {problem}")]
    Value { field: String, problem: &'static str },
    #[error("another request was handed in under this id")]
    Taken,
    #[error("a legal hold needs a reason of 1 to 200 characters, without an identifier in it")]
    HoldReason,
    #[error(transparent)]
    Audit(#[from] AuditError),
    #[error("the requests cannot be kept: {0}")]
    Io(#[from] io::Error),
}

/// What may be put right in rows: said of the person, not measured by the collector.
pub const FIELDS: [&str; 2] = ["country", "language"];
const DAY: i64 = 86_400;
/// GDPR Art. 12(3): one month.
const DUE_DAYS: i64 = 30;
/// On these days after it came a request that is not done is warned of; on the last its work in the files was
/// to be done, so that two days are left to look why it is not.
const WARN_DAYS: [i64; 2] = [20, 28];

impl Rights {
    /// Takes a request. When this returns its effect on hits and answers is in force and durable.
    pub fn ask(&self, ask: &Ask, now: Moment) -> Result<Request, RightsError> {
        self.ask_as(fresh_id()?, ask, now)
    }

    /// The same under an id of the caller's; the same request handed in again is the one that was taken.
    pub fn ask_as(&self, request: Id, ask: &Ask, now: Moment) -> Result<Request, RightsError> {
        check(ask)?;
        let mut state = self.lock();
        state.read_new()?;
        let hash = |id: &Id| self.store.key().subject(ask.site.as_str(), *id);
        let (subject, linked) = (hash(&ask.visitor), ask.linked.iter().map(|id| hash(id).to_string()).collect());
        if let Some(known) = state.book.requests.get(&request) {
            let is_same = known.site == ask.site && known.kind == ask.kind && known.subject == subject;
            return if is_same { Ok(known.clone()) } else { Err(RightsError::Taken) };
        }
        let needs_identifier = match ask.kind {
            RequestKind::Erasure | RequestKind::Rectification | RequestKind::Access => true,
            RequestKind::Restriction | RequestKind::Release | RequestKind::Objection => false,
        };
        if needs_identifier {
            let linked = ask.linked.iter().map(Id::to_string).collect();
            self.keep_pending(request, &Pending { visitor_id: ask.visitor.to_string(), linked, fields: ask.fields.clone(), sealed: ask.sealed.clone() })?;
        }
        let received = Event::Received {
            request,
            kind: ask.kind,
            site: ask.site.to_string(),
            subject,
            linked,
            by: ask.by,
            due_at: now.plus_seconds(DUE_DAYS * DAY),
            now: ask.now,
            fields: ask.fields.keys().cloned().collect(),
        };
        state.append(received, now)?;
        self.advance(&mut state, request, now)?;
        self.sweep(&state.book, now)?;
        state.book.requests.get(&request).cloned().ok_or_else(|| io::Error::other("a request that was just taken is not there").into())
    }

    /// Opens the requests of a data folder, and finishes what a crash cut short.
    pub fn open(data_dir: &Path, lake: &Path, node: &str, secret: &[u8; 32], now: Moment) -> Result<Self, RightsError> {
        let store = SuppressionStore::open(data_dir, lake, node, secret)?;
        let subjects = data_dir.join("subjects");
        let pending = subjects.join("pending");
        folder::make_private(&pending)?;
        let mut book = Book::default();
        let log = AuditLog::open(&subjects, now, &mut |entry| book.note(entry))?;
        let in_force = watch::Sender::new(Arc::new(store.read()?));
        let rights = Self { store, pending, state: Mutex::new(State { log, book, stamp: None }), in_force };
        rights.mend(now)?;
        Ok(rights)
    }

    /// The suppressions in force, now and later.
    pub fn subscribe(&self) -> watch::Receiver<Arc<Suppressions>> {
        self.in_force.subscribe()
    }

    /// Looks for what other processes decided, and puts it in force. Cheap where nothing changed.
    pub fn look(&self) -> Result<(), RightsError> {
        self.look_within(&mut self.lock())
    }

    /// Does what time asks for: begins what no hold keeps any more, warns of what is late, finishes what
    /// a crash cut short, forgets identifiers that nothing needs.
    pub fn mend(&self, now: Moment) -> Result<(), RightsError> {
        let mut state = self.lock();
        state.read_new()?;
        let open: Vec<Request> = state.book.requests.values().filter(|request| request.is_open()).cloned().collect();
        for request in open {
            self.advance(&mut state, request.id, now)?;
            let days = now.since(request.received_at) / (DAY * 1_000_000);
            if WARN_DAYS.into_iter().any(|day| request.warned_after < day && day <= days) {
                tracing::warn!(request = %request.id, days, "a request is not done; it is due after {DUE_DAYS} days");
                state.append(Event::Warned { request: request.id, days }, now)?;
            }
        }
        self.sweep(&state.book, now)
    }

    /// A request of a site.
    pub fn request(&self, site: &str, id: Id) -> Result<Option<Request>, RightsError> {
        let mut state = self.lock();
        state.read_new()?;
        Ok(state.book.requests.get(&id).filter(|request| request.site.as_str() == site).cloned())
    }

    /// All requests of a site, the newest first.
    pub fn requests(&self, site: &str) -> Result<Vec<Request>, RightsError> {
        let mut state = self.lock();
        state.read_new()?;
        let mut requests: Vec<Request> = state.book.requests.values().filter(|request| request.site.as_str() == site).cloned().collect();
        requests.sort_by_key(|request| std::cmp::Reverse(request.received_at));
        Ok(requests)
    }

    /// How many requests are not done, and when the first of them came.
    pub fn open_requests(&self) -> (usize, Option<Moment>) {
        let state = self.lock();
        let open = state.book.requests.values().filter(|request| request.is_open());
        open.fold((0, None), |(count, first), request| (count + 1, Some(first.map_or(request.received_at, |first: Moment| first.min(request.received_at)))))
    }

    /// The work in the files that is to be done now: of erasures and rectifications that no hold keeps.
    pub fn due(&self) -> Result<Vec<Work>, RightsError> {
        let mut state = self.lock();
        state.read_new()?;
        let running = state.book.requests.values().filter(|request| request.state == RequestState::Running);
        running.filter_map(|request| self.work(request).transpose()).collect()
    }

    /// The identifiers of an access request, for its copy; `None` where they are no longer kept.
    pub fn identifiers(&self, request: &Request) -> Result<Option<Vec<Id>>, RightsError> {
        Ok(self.work(request)?.map(|work| work.visitors))
    }

    /// What `Ask::sealed` held; `None` where it is no longer kept.
    pub fn sealed(&self, request: &Request) -> Result<Option<String>, RightsError> {
        Ok(self.work(request)?.and_then(|work| work.sealed))
    }

    /// Says that the work of some requests was done in one pass over the files, with a receipt for each,
    /// and forgets their identifiers. `report` says what the pass did.
    pub fn finish(&self, done: &[Done], report: serde_json::Value, now: Moment) -> Result<(), RightsError> {
        let mut state = self.lock();
        state.read_new()?;
        let pass = fresh_id()?;
        let sha256 = hex(&Sha256::digest(report.to_string().as_bytes()));
        state.append(Event::Pass { pass, report }, now)?;
        for Done { request, rows } in done {
            let Some(request) = state.book.requests.get(request).filter(|request| request.is_open()).cloned() else { continue };
            if request.kind == RequestKind::Rectification {
                self.suppress(&mut state, &request, Suppression::Settled, now)?;
            }
            let receipt = json!({
                "request": request.id.to_string(), "kind": request.kind.name(), "site": request.site.as_str(), "subject": request.subject.to_string(),
                "received_at": rfc3339(request.received_at), "done_at": rfc3339(now), "rows": rows, "pass": pass.to_string(), "pass_sha256": sha256,
            });
            let signature = state.log.sign(receipt.to_string().as_bytes());
            state.append(Event::Done { request: request.id, receipt: Some(json!({"signed": receipt.to_string(), "signature": signature})) }, now)?;
        }
        self.sweep(&state.book, now)
    }

    /// What the pass of a receipt did to which files.
    pub fn pass_of(&self, request: &Request) -> Option<serde_json::Value> {
        let signed: serde_json::Value = serde_json::from_str(request.receipt.as_ref()?.get("signed")?.as_str()?).ok()?;
        let pass = Id::parse(signed.get("pass")?.as_str()?.as_bytes())?;
        self.lock().book.passes.get(&pass).cloned()
    }

    /// Whether something is to be done in the files at once.
    pub fn is_urgent(&self) -> bool {
        self.lock().book.requests.values().any(|request| request.now && request.state == RequestState::Running)
    }

    /// Says that a request cannot be done.
    pub fn fail(&self, request: Id, reason: &str, now: Moment) -> Result<(), RightsError> {
        let mut state = self.lock();
        state.append(Event::Failed { request, reason: reason.to_owned() }, now)
    }

    /// Says that a copy was made.
    pub fn exported(&self, request: Id, format: &str, rows: u64, sha256: String, now: Moment) -> Result<(), RightsError> {
        self.lock().append(Event::Exported { request, format: format.to_owned(), rows, sha256 }, now)
    }

    /// Says that aggregates left for a third party.
    pub fn shared(&self, export: Event, now: Moment) -> Result<(), RightsError> {
        self.lock().append(export, now)
    }

    /// The digest of a site's week, where it was shared before.
    pub fn shared_before(&self, site: &str, week: &str) -> Result<Option<String>, RightsError> {
        let mut state = self.lock();
        state.read_new()?;
        Ok(state.book.shared.get(&(site.to_owned(), week.to_owned())).cloned())
    }

    /// A signature over `bytes` under the audit log's key, and that key, both in hexadecimal.
    pub fn sign(&self, bytes: &[u8]) -> (String, String) {
        let state = self.lock();
        (state.log.sign(bytes), hex(&state.log.public_key()))
    }

    /// Puts a subject, or a whole site, under a legal hold until then; one that ended already lifts it.
    pub fn hold(&self, site: &SiteKey, visitor: Option<Id>, reason: &str, until: Moment, now: Moment) -> Result<(), RightsError> {
        let is_clean = !reason.contains('@') && !reason.as_bytes().windows(32).any(|window| Id::parse(window).is_some());
        if reason.trim().is_empty() || reason.chars().count() > 200 || !is_clean {
            return Err(RightsError::HoldReason);
        }
        let subject = visitor.map(|visitor| self.store.key().subject(site.as_str(), visitor).to_string());
        let mut state = self.lock();
        state.append(Event::Hold { site: site.to_string(), subject, until, reason: reason.to_owned() }, now)
    }

    /// Brings a request as far as it can come without touching files of the lake. Doing it again does
    /// nothing more.
    fn advance(&self, state: &mut State, id: Id, now: Moment) -> Result<(), RightsError> {
        let Some(request) = state.book.requests.get(&id).cloned() else { return Ok(()) };
        let done = Event::Done { request: id, receipt: None };
        match request.kind {
            RequestKind::Access => state.append(done, now)?,
            RequestKind::Restriction => {
                self.suppress(state, &request, Suppression::Restricted, now)?;
                state.append(done, now)?;
            }
            RequestKind::Release => {
                self.suppress(state, &request, Suppression::Released, now)?;
                state.append(done, now)?;
            }
            RequestKind::Objection => {
                self.suppress(state, &request, Suppression::Objected, now)?;
                state.append(done, now)?;
            }
            RequestKind::Rectification => {
                self.suppress(state, &request, Suppression::Contested, now)?;
                if request.state == RequestState::Received {
                    state.append(Event::Running { request: id }, now)?;
                }
            }
            RequestKind::Erasure => match state.book.hold_of(&request, now) {
                Some(hold) => {
                    // Kept for the hold and used for nothing else.
                    self.suppress(state, &request, Suppression::Restricted, now)?;
                    if request.state != RequestState::Held || request.held_until != Some(hold.until) {
                        state.append(Event::Held { request: id, until: hold.until, reason: hold.reason }, now)?;
                    }
                }
                None => {
                    self.suppress(state, &request, Suppression::Erased, now)?;
                    if request.state != RequestState::Running {
                        state.append(Event::Running { request: id }, now)?;
                    }
                }
            },
        }
        Ok(())
    }

    /// Adds a suppression where the subject does not stand so already, and puts it in force.
    fn suppress(&self, state: &mut State, request: &Request, kind: Suppression, now: Moment) -> Result<(), RightsError> {
        for subject in std::iter::once(request.subject).chain(request.linked.iter().copied()) {
            self.suppress_one(state, subject, request.id, kind, now)?;
        }
        Ok(())
    }

    fn suppress_one(&self, state: &mut State, subject: Id, request: Id, kind: Suppression, now: Moment) -> Result<(), RightsError> {
        self.look_within(state)?;
        let known = self.in_force.borrow().clone();
        let Standing { erased, restricted, objected, contested } = known.standing_of(subject);
        let stands = match kind {
            Suppression::Erased => erased,
            Suppression::Restricted => restricted,
            Suppression::Objected => objected,
            Suppression::Contested => contested,
            Suppression::Released => !restricted && !objected,
            Suppression::Settled => !contested,
        };
        if !stands {
            self.store.add(&known, kind, subject, request, now)?;
            self.look_within(state)?;
        }
        Ok(())
    }

    fn look_within(&self, state: &mut State) -> Result<(), RightsError> {
        // The stamp before the lines: what is added in between is read with the next look.
        let stamp = self.store.stamp()?;
        if state.stamp.as_ref() != Some(&stamp) {
            let read = self.store.read()?;
            if read.unreadable() > 0 {
                tracing::error!(lines = read.unreadable(), "suppressions that this collector's secret does not open: questions are refused");
            }
            self.in_force.send_replace(Arc::new(read));
            state.stamp = Some(stamp);
        }
        Ok(())
    }

    fn work(&self, request: &Request) -> Result<Option<Work>, RightsError> {
        let bytes = match std::fs::read(self.pending.join(request.id.to_string())) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let pending: Pending = serde_json::from_slice(&bytes).map_err(|_| io::Error::other("the identifier of a request cannot be read"))?;
        let ids = std::iter::once(&pending.visitor_id).chain(&pending.linked).map(|id| Id::parse(id.as_bytes())).collect::<Option<Vec<Id>>>();
        let visitors = ids.ok_or_else(|| io::Error::other("the identifier of a request cannot be read"))?;
        Ok(Some(Work { request: request.id, kind: request.kind, site: request.site, subject: request.subject, visitors, fields: pending.fields, sealed: pending.sealed }))
    }

    fn keep_pending(&self, request: Id, pending: &Pending) -> Result<(), RightsError> {
        use std::os::unix::fs::OpenOptionsExt;
        let path = self.pending.join(request.to_string());
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)?;
        file.write_all(serde_json::to_string(pending).map_err(io::Error::from)?.as_bytes())?;
        file.sync_all()?;
        Ok(folder::sync_above(&path)?)
    }

    /// Forgets the identifiers that no request needs: of those done, of copies past their time or of a
    /// subject who was erased since, and of what was never acknowledged.
    fn sweep(&self, book: &Book, now: Moment) -> Result<(), RightsError> {
        let in_force = self.in_force.borrow().clone();
        for entry in std::fs::read_dir(&self.pending)? {
            let path = entry?.path();
            let request = path.file_name().and_then(|name| Id::parse(name.as_encoded_bytes())).and_then(|id| book.requests.get(&id));
            let is_needed = request.is_some_and(|request| match request.kind {
                RequestKind::Access => now < request.due_at && !in_force.standing_of(request.subject).erased,
                // Whom to write to of a changed address is told until the request was due.
                RequestKind::Rectification if request.state == RequestState::Done && request.has_traits() => {
                    now < request.due_at && !in_force.standing_of(request.subject).erased
                }
                RequestKind::Erasure | RequestKind::Rectification => request.is_open(),
                RequestKind::Restriction | RequestKind::Release | RequestKind::Objection => false,
            });
            if !is_needed {
                folder::forget(&path)?;
            }
        }
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Every change of the book follows one durable entry.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn read_new(&mut self) -> Result<(), RightsError> {
        let book = &mut self.book;
        Ok(self.log.read_new(&mut |entry| book.note(entry))?)
    }

    fn append(&mut self, event: Event, now: Moment) -> Result<(), RightsError> {
        let book = &mut self.book;
        Ok(self.log.append(event, now, &mut |entry| book.note(entry))?)
    }
}

fn check(ask: &Ask) -> Result<(), RightsError> {
    match (ask.kind == RequestKind::Rectification, ask.fields.len()) {
        (true, 1..) | (false, 0) => {}
        (true, 0) => return Err(RightsError::NoFields),
        (false, 1..) => return Err(RightsError::NeedlessFields),
    }
    for (field, value) in &ask.fields {
        if field.starts_with(TRAITS) && ask.sealed.is_some() {
            continue;
        }
        if !FIELDS.contains(&field.as_str()) {
            let shown = if field.len() <= 32 && Id::parse(field.as_bytes()).is_none() { field.clone() } else { "…".to_owned() };
            return Err(RightsError::UnknownField(shown));
        }
        let problem = match (field.as_str(), value) {
            (_, None) => None,
            ("country", Some(value)) if crate::hit::field::Country::parse(value).is_none() => Some("a country is two capital letters (ISO 3166-1)"),
            ("language", Some(value)) if value.is_empty() || !value.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-') => Some("a language is a tag such as `en-GB` (BCP 47)"),
            (_, Some(_)) => None,
        };
        if let Some(problem) = problem {
            return Err(RightsError::Value { field: field.clone(), problem });
        }
    }
    Ok(())
}

fn fresh_id() -> Result<Id, RightsError> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(|error| io::Error::other(error.to_string()))?;
    Ok(Id(bytes))
}

#[cfg(test)]
mod tests {
    use super::{Ask, DAY, Done, Rights, RightsError};
    use crate::desk::book::Request;
    use serde_json::json;
    use crate::desk::audit::verify_folder;
    use crate::hit::clock::Moment;
    use crate::hit::field::{Asker, Id, RequestKind, RequestState};
    use crate::hit::site::SiteKey;
    use std::collections::BTreeMap;
    use std::path::Path;

    const NOW: Moment = Moment(1_795_132_800_000_000);
    const VISITOR: Id = Id([0xab; 16]);

    fn open_at(folder: &Path, now: Moment) -> Rights {
        Rights::open(&folder.join("data"), &folder.join("lake"), "node", &[7; 32], now).unwrap()
    }

    fn acme() -> SiteKey {
        SiteKey::parse("acme").unwrap()
    }

    fn ask(kind: RequestKind) -> Ask {
        let fields = if kind == RequestKind::Rectification { BTreeMap::from([("country".to_owned(), Some("DE".to_owned()))]) } else { BTreeMap::new() };
        Ask { fields, ..Ask::of(kind, acme(), VISITOR, Asker::Client) }
    }

    fn state_of(rights: &Rights, request: &Request) -> RequestState {
        rights.request("acme", request.id).unwrap().unwrap().state
    }

    fn holds_identifier(folder: &Path) -> bool {
        let (digits, raw) = (VISITOR.to_string(), VISITOR.0);
        let mut folders = vec![folder.to_owned()];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    folders.push(path);
                    continue;
                }
                let bytes = std::fs::read(&path).unwrap();
                if bytes.windows(32).any(|window| window == digits.as_bytes()) || bytes.windows(16).any(|window| window == raw) {
                    return true;
                }
            }
        }
        false
    }

    #[test]
    fn each_kind_is_in_force_when_it_is_taken() {
        use RequestKind::{Access, Erasure, Objection, Rectification, Release, Restriction};
        use RequestState::{Done, Running};
        for (kind, state, hidden, erased, objected) in [
            (Access, Done, false, false, false),
            (Restriction, Done, true, false, false),
            (Objection, Done, false, false, true),
            (Rectification, Running, true, false, false),
            (Erasure, Running, true, true, false),
        ] {
            let folder = tempfile::tempdir().unwrap();
            let rights = open_at(folder.path(), NOW);
            let in_force = rights.subscribe();
            let taken = rights.ask(&ask(kind), NOW).unwrap();
            assert_eq!((taken.state, taken.due_at), (state, NOW.plus_seconds(30 * DAY)), "{kind}");
            let standing = in_force.borrow().standing("acme", VISITOR);
            assert_eq!((standing.is_hidden(), standing.erased, standing.objected), (hidden, erased, objected), "{kind}");
            let other = open_at(folder.path(), NOW);
            assert_eq!(other.subscribe().borrow().standing("acme", VISITOR), standing, "{kind}: another process");
            assert_eq!(other.request("acme", taken.id).unwrap(), Some(taken), "{kind}");
            rights.ask(&ask(Release), NOW).unwrap();
            other.look().unwrap();
            let standing = other.subscribe().borrow().standing("acme", VISITOR);
            assert_eq!((standing.restricted, standing.objected, standing.erased), (false, false, erased), "{kind}");
            assert_eq!(other.requests("acme").unwrap().len(), 2);
            assert!(other.requests("other").unwrap().is_empty());
            assert!(verify_folder(&folder.path().join("data"), &mut |_| ()).unwrap().is_some());
        }
    }

    #[test]
    fn the_identifier_is_kept_for_as_long_as_the_work_needs_it() {
        let folder = tempfile::tempdir().unwrap();
        let rights = open_at(folder.path(), NOW);
        rights.ask(&ask(RequestKind::Restriction), NOW).unwrap();
        assert!(!holds_identifier(folder.path()));
        let copy = rights.ask(&ask(RequestKind::Access), NOW).unwrap();
        assert_eq!(rights.identifiers(&copy).unwrap(), Some(vec![VISITOR]));
        rights.mend(copy.due_at.plus_seconds(-1)).unwrap();
        assert!(holds_identifier(folder.path()));
        rights.mend(copy.due_at).unwrap();
        assert!(!holds_identifier(folder.path()), "a copy is made until the request is due");
        let copy = rights.ask(&ask(RequestKind::Access), NOW).unwrap();
        let erasure = rights.ask(&ask(RequestKind::Erasure), NOW).unwrap();
        let due = rights.due().unwrap();
        assert_eq!(due.iter().map(|work| (work.request, work.visitors.clone())).collect::<Vec<_>>(), [(erasure.id, vec![VISITOR])]);
        rights.finish(&[Done { request: erasure.id, rows: 3 }], json!({"files": 1}), NOW).unwrap();
        assert_eq!(rights.pass_of(&rights.request("acme", erasure.id).unwrap().unwrap()), Some(json!({"files": 1})));
        assert!(!holds_identifier(folder.path()));
        assert_eq!((state_of(&rights, &erasure), rights.identifiers(&copy).unwrap(), rights.due().unwrap().len()), (RequestState::Done, None, 0));
    }

    #[test]
    fn a_rectification_hides_until_it_is_done() {
        let folder = tempfile::tempdir().unwrap();
        let rights = open_at(folder.path(), NOW);
        let taken = rights.ask(&ask(RequestKind::Rectification), NOW).unwrap();
        let due = rights.due().unwrap();
        assert_eq!(due[0].fields, BTreeMap::from([("country".to_owned(), Some("DE".to_owned()))]));
        rights.finish(&[Done { request: taken.id, rows: 1 }], json!({}), NOW).unwrap();
        assert!(!rights.subscribe().borrow().standing("acme", VISITOR).is_hidden());
    }

    #[test]
    fn a_hold_keeps_an_erasure_until_it_ends() {
        for visitor in [None, Some(VISITOR)] {
            let folder = tempfile::tempdir().unwrap();
            let rights = open_at(folder.path(), NOW);
            let until = NOW.plus_seconds(10 * DAY);
            rights.hold(&acme(), visitor, "case 12/26", until, NOW).unwrap();
            let taken = rights.ask(&ask(RequestKind::Erasure), NOW).unwrap();
            assert_eq!((taken.state, taken.held_until, taken.reason.as_deref()), (RequestState::Held, Some(until), Some("case 12/26")));
            let standing = rights.subscribe().borrow().standing("acme", VISITOR);
            assert!(standing.is_hidden() && !standing.erased && rights.due().unwrap().is_empty());
            let elsewhere = Ask { visitor: Id([1; 16]), ..ask(RequestKind::Erasure) };
            assert_eq!(rights.ask(&elsewhere, NOW).unwrap().state == RequestState::Held, visitor.is_none());
            let reopened = open_at(folder.path(), until);
            assert_eq!(state_of(&reopened, &taken), RequestState::Running);
            assert!(reopened.subscribe().borrow().standing("acme", VISITOR).erased);
        }
        let folder = tempfile::tempdir().unwrap();
        let rights = open_at(folder.path(), NOW);
        for reason in ["", " ", "about jane@example.org", &format!("visitor {VISITOR}"), &"x".repeat(201)] {
            assert!(matches!(rights.hold(&acme(), None, reason, NOW, NOW), Err(RightsError::HoldReason)), "{reason}");
        }
    }

    #[test]
    fn what_is_late_is_told_twice() {
        let folder = tempfile::tempdir().unwrap();
        let rights = open_at(folder.path(), NOW);
        rights.ask(&ask(RequestKind::Erasure), NOW).unwrap();
        let entries = || verify_folder(&folder.path().join("data"), &mut |_| ()).unwrap().unwrap().entries;
        let before = entries();
        for (days, more) in [(19, 0), (20, 1), (21, 1), (27, 1), (28, 2), (29, 2)] {
            rights.mend(NOW.plus_seconds(days * DAY)).unwrap();
            assert_eq!(entries() - before, more, "after {days} days");
        }
        assert_eq!(rights.open_requests(), (1, Some(NOW)));
    }

    #[test]
    fn killed_at_any_moment_a_request_is_whole_or_was_never_taken() {
        for kind in RequestKind::ALL.iter().copied() {
            let folder = tempfile::tempdir().unwrap();
            let taken = open_at(folder.path(), NOW).ask(&ask(kind), NOW).unwrap();
            let whole = std::fs::read(folder.path().join("data/subjects/audit.ndjson")).unwrap();
            let expected = open_at(folder.path(), NOW).subscribe().borrow().standing("acme", VISITOR);
            // The log is cut at and beside every end of a line and at some bytes between, with and without
            // the suppression, which is written after the first entry of the request and before the second.
            let ends: Vec<usize> = whole.iter().enumerate().filter(|(_, byte)| **byte == b'\n').map(|(at, _)| at).collect();
            let cuts = ends.iter().flat_map(|at| [at - 1, *at, at + 1]).chain((0..whole.len()).step_by(311));
            for length in cuts {
                for is_suppressed in [false, true] {
                    std::fs::write(folder.path().join("data/subjects/audit.ndjson"), &whole[..length]).unwrap();
                    if !is_suppressed && length < ends[2] {
                        for place in ["data/subjects", "lake/_subjects"] {
                            let _ = std::fs::remove_file(folder.path().join(place).join("node.suppressions"));
                        }
                    }
                    let pending = folder.path().join("data/subjects/pending").join(taken.id.to_string());
                    std::fs::write(&pending, format!("{{\"visitor_id\":\"{VISITOR}\",\"fields\":{{}}}}")).unwrap();
                    let rights = open_at(folder.path(), NOW);
                    match rights.request("acme", taken.id).unwrap() {
                        Some(request) => {
                            assert_ne!(request.state, RequestState::Received, "{kind} cut at {length}");
                            assert_eq!(rights.subscribe().borrow().standing("acme", VISITOR), expected, "{kind} cut at {length}");
                        }
                        None => assert!(!holds_identifier(folder.path()), "{kind} cut at {length}"),
                    }
                }
            }
        }
    }

    #[test]
    fn what_cannot_be_rectified_is_said_without_the_identifier() {
        let folder = tempfile::tempdir().unwrap();
        let rights = open_at(folder.path(), NOW);
        for (fields, told) in [
            (vec![], "names `fields`"),
            (vec![("visitor_id", Some("x"))], "`visitor_id` cannot be rectified"),
            (vec![("country", Some("Germany"))], "two capital letters"),
            (vec![("language", Some("jane@example.org"))], "BCP 47"),
            (vec![("abababababababababababababababab", None)], "`…` cannot"),
        ] {
            let fields: BTreeMap<_, _> = fields.into_iter().map(|(field, value)| (field.to_owned(), value.map(str::to_owned))).collect();
            let error = rights.ask(&Ask { fields, ..ask(RequestKind::Rectification) }, NOW).unwrap_err().to_string();
            assert!(error.contains(told) && !error.contains("jane") && !error.contains("abab"), "{error}");
        }
        let needless = Ask { fields: BTreeMap::from([("country".to_owned(), None)]), ..ask(RequestKind::Erasure) };
        assert!(matches!(rights.ask(&needless, NOW), Err(RightsError::NeedlessFields)));
        assert!(rights.requests("acme").unwrap().is_empty());
        let good = [("country", Some("DE")), ("language", None)];
        let fields = good.into_iter().map(|(field, value)| (field.to_owned(), value.map(str::to_owned))).collect();
        assert!(rights.ask(&Ask { fields, ..ask(RequestKind::Rectification) }, NOW).is_ok());
    }
}
