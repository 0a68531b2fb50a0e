//! Owns the admin port: who may see what, and the paths under it.
//!
//! Promises: without a token it answers loopback addresses alone, under loopback names alone (a web page
//! cannot reach it by renaming itself); a site's secret opens that site's paths and no other; nothing
//! here tells of a visitor: counts only.

use super::dashboard;
use super::converse::HEAD_MAX;
use super::opendsr::{self, OpenDsr};
use super::opendsr_seal::Seal;
use super::request::{BODY_DEADLINE, HEADER_DEADLINE};
use super::requests::Desk;
use super::respond;
use crate::desk::persons::Persons;
use super::share::Sharing;
use crate::desk::rights::Rights;
use crate::desk::text::{self, rfc3339};
use super::trends::{self, Interval, Question};
use super::public::Peer;
use crate::hit::clock::{Clock, Hour, Moment};
use crate::hit::field::{Asker, Id};
use crate::hit::outcome::{Account, Outcome, Reason};
use crate::hit::site::{Site, SiteKey, SiteNumber, UNKNOWN_SITE};
use crate::journal::segment::Register;
use crate::lake::audience::Audience;
use crate::lake::outcomes::Outcomes;
use crate::lake::dimension::Dimension;
use crate::line::board::Board;
use crate::line::collect::Rulebook;
use crate::line::flush::Figures;
use crate::line::ledger::Ledger;
use crate::people::read::People;
use crate::rules::identity::keyed_hash;
use bytes::Bytes;
use futures::stream::{self, StreamExt};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, Limited, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::header::{AUTHORIZATION, CACHE_CONTROL, CONTENT_TYPE, COOKIE, HOST, HeaderMap, HeaderValue, SET_COOKIE, WWW_AUTHENTICATE};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use serde_json::json;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::fmt::Write as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use subtle::ConstantTimeEq;
use tokio::sync::{Mutex, watch};
use tokio::task::JoinSet;

type Reply = Response<UnsyncBoxBody<Bytes, Infallible>>;

/// All that the admin port shows.
pub struct Admin {
    pub book: Arc<Rulebook>,
    pub ledger: Arc<Ledger>,
    pub board: Arc<Board>,
    pub register: Arc<Register>,
    pub figures: Arc<Figures>,
    pub outcomes: Mutex<Outcomes>,
    pub rights: Arc<Rights>,
    pub people: Arc<People>,
    pub seal: Seal,
    /// A week is counted for third parties by one at a time.
    pub sharing: Mutex<()>,
    pub lake: PathBuf,
    pub spill: PathBuf,
    /// This node's name in the lake.
    pub node: String,
    pub token_sha256: Option<[u8; 32]>,
    pub session_key: [u8; 32],
    pub is_ready: AtomicBool,
    pub clock: Clock,
    pub stop: watch::Receiver<bool>,
}

/// Serves the admin port until `stop` says so.
pub async fn serve(listener: std::net::TcpListener, admin: Arc<Admin>) {
    let Ok(listener) = tokio::net::TcpListener::from_std(listener) else { return };
    let mut stop = admin.stop.clone();
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            Ok((stream, peer)) = listener.accept(), if connections.len() < CONNECTIONS_MAX => {
                let admin = admin.clone();
                connections.spawn_local(async move {
                    let service = service_fn(move |request| {
                        let admin = admin.clone();
                        async move { Ok::<Reply, Infallible>(admin.answer(request, peer.ip()).await) }
                    });
                    let _ = http1::Builder::new()
                        .timer(TokioTimer::new())
                        .header_read_timeout(HEADER_DEADLINE)
                        .max_buf_size(HEAD_MAX)
                        .serve_connection(TokioIo::new(stream), service)
                        .await;
                });
            }
            Some(_) = connections.join_next(), if !connections.is_empty() => {}
            _ = stop.changed() => return,
        }
    }
}

const CONNECTIONS_MAX: usize = 256;

/// Who asks.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Caller<'a> {
    Operator,
    /// The client of this one site.
    Client(&'a str),
    Nobody,
}

impl Caller<'_> {
    /// As whom the caller may act for a site.
    fn asker(self, site: &str) -> Option<Asker> {
        match self {
            Self::Operator => Some(Asker::Operator),
            Self::Client(own) if own == site => Some(Asker::Client),
            Self::Client(_) | Self::Nobody => None,
        }
    }
}

impl Admin {
    async fn answer(&self, request: Request<Incoming>, peer: Peer) -> Reply {
        let path = request.uri().path().to_owned();
        let query = request.uri().query().unwrap_or("").to_owned();
        if request.method() == Method::POST && path == "/login" {
            return self.log_in(request).await;
        }
        let parts: Vec<&str> = path.trim_matches('/').split('/').collect();
        let is_request = matches!(parts.as_slice(), ["v1", "sites", _, "requests", ..] | ["opendsr", ..]);
        if !is_request && !matches!(request.method(), &Method::GET | &Method::HEAD) {
            return whole(respond::text(StatusCode::METHOD_NOT_ALLOWED, "This method is not for this path.\n"));
        }
        match path.as_str() {
            "/healthz" => return whole(respond::text(StatusCode::OK, "ok\n")),
            "/readyz" => return whole(self.ready()),
            _ => {}
        }
        let caller = self.caller(request.headers(), peer, parts.get(2).copied());
        match parts.as_slice() {
            [""] if caller == Caller::Operator => whole(self.dashboard(&query).await),
            [""] => whole(respond::page(StatusCode::UNAUTHORIZED, dashboard::login().to_owned())),
            ["metrics"] if caller == Caller::Operator => {
                whole(respond::of(StatusCode::OK, "text/plain; version=0.0.4", self.metrics().into()))
            }
            ["v1", "sites", key, "requests", below @ ..] => self.requests(key, below, &query, caller, request).await,
            ["v1", "sites", key, "share"] => whole(self.share(key, &query, caller).await),
            ["opendsr", "v2", below @ ..] => whole(self.opendsr(below, &query, caller, request).await),
            ["opendsr", ..] => whole(opendsr::error(StatusCode::NOT_FOUND, "version", "Version 2 is spoken here: /opendsr/v2/discovery.")),
            ["v1", "sites", key, what] => {
                if caller != Caller::Operator && caller != Caller::Client(key) {
                    return whole(unauthorized());
                }
                let Some(number) = self.number_of(key) else {
                    return whole(respond::text(StatusCode::NOT_FOUND, "There is no such site here.\n"));
                };
                self.site_path((key, number), what, &query).await
            }
            ["metrics"] => whole(unauthorized()),
            _ => whole(respond::text(StatusCode::NOT_FOUND, "There is nothing here.\n")),
        }
    }

    /// Also of the name under which the ledger has hits of no known site.
    fn number_of(&self, key: &str) -> Option<SiteNumber> {
        if key == UNKNOWN_SITE { Some(SiteNumber::UNKNOWN) } else { self.book.sites.find(key).map(|(number, _)| number) }
    }

    async fn site_path(&self, (key, number): (&str, SiteNumber), what: &str, query: &str) -> Reply {
        let is_known = number != SiteNumber::UNKNOWN;
        match what {
            "ledger" => whole(self.ledger_reply((key, number), query).await),
            "live" if is_known => self.live(key),
            "trends" if is_known => whole(self.trends(key, query).await),
            _ => whole(respond::text(StatusCode::NOT_FOUND, "There is nothing here: live, trends, ledger, share or requests?\n")),
        }
    }

    async fn requests(&self, key: &str, below: &[&str], query: &str, caller: Caller<'_>, request: Request<Incoming>) -> Reply {
        let Some(by) = caller.asker(key) else { return whole(unauthorized()) };
        let Some((_, site)) = self.book.sites.find(key) else {
            return whole(respond::text(StatusCode::NOT_FOUND, "There is no such site here.\n"));
        };
        let (head, body) = request.into_parts();
        let desk = Desk { rights: &self.rights, persons: self.persons(&site.key), lake: &self.lake, spill: self.spill.clone(), site, by, now: self.clock.now() };
        whole(desk.answer(&head.method, below, query, &head.headers, body).await)
    }

    fn persons<'p>(&'p self, site: &'p SiteKey) -> Persons<'p> {
        Persons { people: &self.people, key: &self.book.key, site }
    }

    async fn share(&self, key: &str, query: &str, caller: Caller<'_>) -> respond::Reply {
        let Some(by) = caller.asker(key) else { return unauthorized() };
        let Some((_, site)) = self.book.sites.find(key) else {
            return respond::text(StatusCode::NOT_FOUND, "There is no such site here.\n");
        };
        if !self.figures.has_caught_up() {
            // A week leaves once: not without what the last run took of it.
            return respond::text(StatusCode::SERVICE_UNAVAILABLE, "The lake does not have all of the journal yet: ask again later.\n");
        }
        let _turn = self.sharing.lock().await;
        Sharing { rights: &self.rights, lake: &self.lake, spill: self.spill.clone(), site, by, now: self.clock.now() }.answer(query).await
    }

    /// A site's secret says which site it is; an operator says it with `?site=KEY`.
    async fn opendsr(&self, below: &[&str], query: &str, caller: Caller<'_>, request: Request<Incoming>) -> respond::Reply {
        let (head, body) = request.into_parts();
        if matches!(head.method, Method::GET | Method::HEAD)
            && let Some(reply) = opendsr::discover(below, &head.headers, &self.seal, &self.rights)
        {
            return reply;
        }
        let named = form_urlencoded::parse(query.as_bytes()).find(|(name, _)| name == "site").map(|(_, value)| value.into_owned());
        let key = match (caller, named) {
            (Caller::Nobody, _) => None,
            (Caller::Client(own), None) => Some(own.to_owned()),
            (Caller::Operator | Caller::Client(_), named) => named,
        };
        let Some(by) = key.as_deref().map_or_else(|| caller.asker(""), |key| caller.asker(key)) else {
            let mut reply = opendsr::error(StatusCode::UNAUTHORIZED, "authorization", "Send `Authorization: Bearer SECRET` with the secret of a site.");
            reply.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
            return reply;
        };
        let Some((_, site)) = key.and_then(|key| self.book.sites.find(&key)) else {
            return opendsr::error(StatusCode::BAD_REQUEST, "site", "An operator names the controller with `?site=KEY`, a site of the settings.");
        };
        let persons = self.persons(&site.key);
        OpenDsr { rights: &self.rights, persons, seal: &self.seal, site, by, now: self.clock.now() }.answer(&head.method, below, &head.headers, body).await
    }

    fn ready(&self) -> respond::Reply {
        if self.is_ready.load(Ordering::Acquire) {
            respond::json(StatusCode::OK, json!({"ready": true, "journal_bytes": self.register.bytes()}).to_string())
        } else {
            respond::json(StatusCode::SERVICE_UNAVAILABLE, json!({"ready": false}).to_string())
        }
    }

    /// Who calls; of a client's sites with one secret the one that is `asked` for.
    fn caller<'s>(&'s self, headers: &HeaderMap, peer: Peer, asked: Option<&str>) -> Caller<'s> {
        let bearer = headers
            .get(AUTHORIZATION)
            .and_then(|value| value.to_str().ok())
            .and_then(|value| value.split_once(' '))
            .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
            .map(|(_, token)| <[u8; 32]>::from(Sha256::digest(token.trim().as_bytes())));
        if let Some(digest) = bearer {
            if self.token_sha256.is_some_and(|token| bool::from(token.ct_eq(&digest))) {
                return Caller::Operator;
            }
            let own = |site: &&Site| site.secret_sha256.is_some_and(|secret| bool::from(secret.ct_eq(&digest)));
            let mut owned = self.book.sites.iter().filter(own).peekable();
            let first = owned.peek().copied();
            if let Some(site) = owned.find(|site| Some(site.key.as_str()) == asked).or(first) {
                return Caller::Client(site.key.as_str());
            }
        }
        match self.token_sha256 {
            None if is_local(headers, peer) => Caller::Operator,
            Some(token) if self.holds_session(headers, &token) => Caller::Operator,
            None | Some(_) => Caller::Nobody,
        }
    }

    fn session(&self, token: &[u8; 32]) -> Id {
        keyed_hash(&self.session_key, &[b"admin", token])
    }

    fn holds_session(&self, headers: &HeaderMap, token: &[u8; 32]) -> bool {
        let session = self.session(token).digits();
        headers.get_all(COOKIE).iter().flat_map(|value| value.as_bytes().split(|byte| *byte == b';')).any(|pair| {
            pair.trim_ascii().strip_prefix(b"clearpixel_admin=").is_some_and(|value| bool::from(value.ct_eq(&session)))
        })
    }

    async fn log_in(&self, request: Request<Incoming>) -> Reply {
        let Ok(Ok(body)) = tokio::time::timeout(BODY_DEADLINE, Limited::new(request.into_body(), 4_096).collect()).await else {
            return whole(unauthorized());
        };
        let bytes = body.to_bytes();
        let token = form_urlencoded::parse(&bytes).find(|(name, _)| name == "token").map(|(_, value)| value.into_owned());
        let digest: [u8; 32] = Sha256::digest(token.unwrap_or_default().trim().as_bytes()).into();
        match self.token_sha256 {
            Some(known) if bool::from(known.ct_eq(&digest)) => {
                let mut reply = respond::see_other("/", &[]);
                let cookie = format!("clearpixel_admin={}; Path=/; HttpOnly; SameSite=Strict; Max-Age=43200", self.session(&known));
                if let Ok(cookie) = HeaderValue::from_str(&cookie) {
                    reply.headers_mut().insert(SET_COOKIE, cookie);
                }
                whole(reply)
            }
            Some(_) | None => whole(respond::page(StatusCode::UNAUTHORIZED, dashboard::login().to_owned())),
        }
    }

    async fn ledger_reply(&self, (key, number): (&str, SiteNumber), query: &str) -> respond::Reply {
        let now = self.clock.now();
        let (from, to) = match period(query, now, 24 * 3_600) {
            Ok(period) => period,
            Err(message) => return respond::text(StatusCode::BAD_REQUEST, &message),
        };
        match self.ledger((key, number), from, to).await {
            Ok(hours) => respond::json(StatusCode::OK, ledger_json(key, &hours)),
            Err(error) => {
                tracing::warn!(%error, "the ledger could not be read from the lake");
                respond::text(StatusCode::SERVICE_UNAVAILABLE, "The lake cannot be read at the moment.\n")
            }
        }
    }

    /// How the hits of a site ended, by hour: the lake's part and this node's own on top of it.
    async fn ledger(&self, (key, number): (&str, SiteNumber), from: Moment, to: Moment) -> Result<BTreeMap<Hour, Account>, crate::lake::table::TableError> {
        // An hour that has begun counts: to is moved up to the next full one.
        let (first, last) = (from.hour(), Hour(Moment(to.micros().saturating_sub(1)).hour().0 + 1));
        let seen = self.outcomes.lock().await.read(&self.lake, &self.node, first, last).await?;
        let mut hours: BTreeMap<Hour, Account> = BTreeMap::new();
        for entry in seen.entries.iter().filter(|entry| &*entry.site == key) {
            hours.entry(entry.hour).or_default().add(entry.account);
        }
        for (hour, account) in self.ledger.above(number, u64::try_from(seen.committed).unwrap_or(0)) {
            if hour >= first && hour < last {
                hours.entry(hour).or_default().add(account);
            }
        }
        Ok(hours)
    }

    async fn trends(&self, key: &str, query: &str) -> respond::Reply {
        let question = match question(query, self.clock.now()) {
            Ok(question) => question,
            Err(message) => return respond::text(StatusCode::BAD_REQUEST, &message),
        };
        match trends::ask(&self.lake, self.spill.clone(), self.audience(), key, &question).await {
            Ok(rows) => respond::json(
                StatusCode::OK,
                json!({
                    "site": key, "from": rfc3339(question.from), "to": rfc3339(question.to),
                    "dimension": question.dimension.name(), "interval": question.interval.name(), "rows": rows,
                })
                .to_string(),
            ),
            Err(error) => {
                tracing::warn!(%error, "trends could not be read from the lake");
                respond::text(StatusCode::SERVICE_UNAVAILABLE, "The lake cannot be read at the moment.\n")
            }
        }
    }

    fn audience(&self) -> Audience {
        Audience::Anyone(self.book.suppressions.borrow().clone())
    }

    /// Page views and visitors an hour over 7 days.
    async fn page_views(&self, key: &str, now: Moment) -> Option<Vec<(Moment, u64, u64)>> {
        let question = Question { from: now.plus_seconds(-7 * 86_400), to: now, dimension: Dimension::All, interval: Interval::Hour };
        match trends::ask(&self.lake, self.spill.clone(), self.audience(), key, &question).await {
            Ok(rows) => Some(rows.iter().map(|row| (row.time, row.page_views.unsigned_abs(), row.visitors.unsigned_abs())).collect()),
            Err(error) => {
                tracing::warn!(%error, "trends could not be read from the lake");
                None
            }
        }
    }

    async fn dashboard(&self, query: &str) -> respond::Reply {
        let asked = form_urlencoded::parse(query.as_bytes()).find(|(name, _)| name == "site").map(|(_, value)| value.into_owned());
        let sites: Vec<(&str, &str)> = self.book.sites.iter().map(|site| (site.key.as_str(), site.name.as_str())).collect();
        let known = asked.as_deref().and_then(|key| sites.iter().find(|(known, _)| *known == key)).or(sites.first());
        let site = known.map_or(UNKNOWN_SITE, |(key, _)| *key);
        let now = self.clock.now();
        let number = self.number_of(site).unwrap_or(SiteNumber::UNKNOWN);
        let ledger = self.ledger((site, number), now.plus_seconds(-86_400), now).await.unwrap_or_default();
        let ledger = ledger.into_iter().map(|(hour, account)| (hour, account.ends)).collect();
        let trends = self.page_views(site, now).await;
        let shown = dashboard::Shown { sites, site, board: self.board.view(site, now), ledger, trends, now };
        respond::page(StatusCode::OK, dashboard::page(&shown))
    }

    /// The board of a site, every second, as server-sent events (WHATWG HTML §9.2).
    fn live(&self, key: &str) -> Reply {
        let (board, clock, key, stop) = (self.board.clone(), self.clock.clone(), key.to_owned(), self.stop.clone());
        let ticks = stream::unfold((tokio::time::interval(Duration::from_secs(1)), stop), move |(mut every, mut stop)| {
            let (board, clock, key) = (board.clone(), clock.clone(), key.clone());
            async move {
                tokio::select! {
                    _ = every.tick() => {}
                    _ = stop.changed() => return None,
                }
                let view = serde_json::to_string(&board.view(&key, clock.now())).unwrap_or_default();
                Some((Ok::<_, Infallible>(Frame::data(Bytes::from(format!("event: board\ndata: {view}\n\n")))), (every, stop)))
            }
        });
        let mut reply = Response::new(BodyExt::boxed_unsync(StreamBody::new(ticks.boxed())));
        reply.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
        reply.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        reply
    }

    fn metrics(&self) -> String {
        let mut text = String::from("# HELP clearpixel_hits_total Hits by how they ended, since the start.\n# TYPE clearpixel_hits_total counter\n");
        let totals = self.ledger.totals();
        for (site, account) in &totals {
            for (outcome, count) in Outcome::ALL.into_iter().zip(account.ends.0) {
                if count > 0 {
                    let _ = writeln!(text, "clearpixel_hits_total{{site=\"{site}\",outcome=\"{}\"}} {count}", outcome.name());
                }
            }
        }
        text.push_str("# HELP clearpixel_scrubbed_values_total Values removed from stored hits, by kind, since the start.\n# TYPE clearpixel_scrubbed_values_total counter\n");
        for (site, account) in &totals {
            for (kind, count) in account.scrubbed.kinds() {
                let _ = writeln!(text, "clearpixel_scrubbed_values_total{{site=\"{site}\",kind=\"{}\"}} {count}", kind.name());
            }
        }
        let figures = &self.figures;
        let (open_requests, oldest_request) = self.rights.open_requests();
        for (name, kind, help, value) in [
            ("journal_bytes", "gauge", "Journal that the lake does not have yet.", self.register.bytes()),
            ("lake_rows_total", "counter", "Rows written to the lake.", figures.rows.load(Ordering::Relaxed)),
            ("lake_bytes_total", "counter", "Bytes of Parquet written for interactions.", figures.bytes.load(Ordering::Relaxed)),
            ("lake_commits_total", "counter", "Flushes that the lake took.", figures.commits.load(Ordering::Relaxed)),
            ("lake_failures_total", "counter", "Flushes that failed and were tried again.", figures.failures.load(Ordering::Relaxed)),
            ("lake_files", "gauge", "Live files of both tables.", figures.files.load(Ordering::Relaxed)),
            ("journal_torn_bytes_total", "counter", "Bytes of writes cut short, never acknowledged.", figures.torn_bytes.load(Ordering::Relaxed)),
            ("lake_success_seconds", "gauge", "When the lake last had everything (seconds since the epoch).", figures.last_success.load(Ordering::Relaxed).unsigned_abs()),
            ("requests_open", "gauge", "Requests of persons that are not done.", open_requests as u64),
            ("requests_oldest_seconds", "gauge", "When the oldest of them came (seconds since the epoch, 0 = none); it is due 30 days later.", oldest_request.map_or(0, |at| at.seconds().unsigned_abs())),
            ("ready", "gauge", "1 where hits are taken.", u64::from(self.is_ready.load(Ordering::Acquire))),
        ] {
            let _ = write!(text, "# HELP clearpixel_{name} {help}\n# TYPE clearpixel_{name} {kind}\nclearpixel_{name} {value}\n");
        }
        text
    }
}

fn account_json(account: &Account) -> serde_json::Map<String, serde_json::Value> {
        let of = |outcome: Outcome| account.ends.of(outcome);
        let mut refused = serde_json::Map::new();
        for reason in Reason::ALL.into_iter().filter(|reason| of(Outcome::Refused(*reason)) > 0) {
            refused.insert(reason.name().to_owned(), of(Outcome::Refused(reason)).into());
        }
        let mut row = serde_json::Map::new();
        row.insert("received".to_owned(), account.ends.0.iter().sum::<u64>().into());
        for outcome in [Outcome::Stored, Outcome::Duplicate, Outcome::Failed] {
            row.insert(outcome.name().to_owned(), of(outcome).into());
        }
        row.insert("refused".to_owned(), refused.into());
        let scrubbed: serde_json::Map<_, _> = account.scrubbed.kinds().map(|(kind, count)| (kind.name().to_owned(), count.into())).collect();
        row.insert("scrubbed".to_owned(), scrubbed.into());
        row
}

fn ledger_json(key: &str, hours: &BTreeMap<Hour, Account>) -> String {
    let mut total = Account::default();
    let mut rows = Vec::with_capacity(hours.len());
    for (hour, account) in hours {
        total.add(*account);
        let mut row = account_json(account);
        row.insert("hour".to_owned(), rfc3339(hour.start()).into());
        rows.push(row);
    }
    json!({"site": key, "rows": rows, "total": account_json(&total)}).to_string()
}

/// `from` and `to` of a query (RFC 3339); the last `default_seconds` where they are absent.
fn period(query: &str, now: Moment, default_seconds: i64) -> Result<(Moment, Moment), String> {
    let mut from = now.plus_seconds(-default_seconds);
    let mut to = now;
    for (name, value) in form_urlencoded::parse(query.as_bytes()) {
        let slot = match &*name {
            "from" => &mut from,
            "to" => &mut to,
            _ => continue,
        };
        // A `+` of the offset that was not encoded arrives as a space.
        *slot = text::moment(&value.replace(' ', "+"))
            .ok_or_else(|| format!("`{name}` is no RFC 3339 time, such as 2026-11-23T10:00:00Z.\n"))?;
    }
    if from >= to { Err("`from` must lie before `to`.\n".to_owned()) } else { Ok((from, to)) }
}

fn question(query: &str, now: Moment) -> Result<Question, String> {
    let (from, to) = period(query, now, 7 * 86_400)?;
    let mut question = Question { from, to, dimension: Dimension::All, interval: Interval::Hour };
    for (name, value) in form_urlencoded::parse(query.as_bytes()) {
        match (&*name, &*value) {
            ("interval", "hour") => question.interval = Interval::Hour,
            ("interval", "day") => question.interval = Interval::Day,
            ("interval", _) => return Err("`interval` is `hour` or `day`.\n".to_owned()),
            ("dimension", dimension) => {
                let names = Dimension::ALL.map(Dimension::name).join(", ");
                question.dimension = Dimension::from_name(dimension).ok_or_else(|| format!("`dimension` is one of {names}.\n"))?;
            }
            _ => {}
        }
    }
    Ok(question)
}

fn whole(reply: respond::Reply) -> Reply {
    reply.map(|body: Full<Bytes>| body.boxed_unsync())
}

fn unauthorized() -> respond::Reply {
    let mut reply = respond::text(
        StatusCode::UNAUTHORIZED,
        "Send `Authorization: Bearer TOKEN` with the admin token, or the secret of this site. Without a token in the settings only loopback addresses are answered.\n",
    );
    reply.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    reply
}

/// A loopback peer that asks for a loopback name: a page elsewhere that renames itself to 127.0.0.1 still
/// asks for its own name, and `127.0.0.1.elsewhere.example` is a name like any other.
#[expect(clippy::disallowed_types, reason = "the name asked for, not where a visitor is")]
fn is_local(headers: &HeaderMap, peer: Peer) -> bool {
    let host = headers.get(HOST).and_then(|host| host.to_str().ok()).unwrap_or("");
    let name = host.rsplit_once(':').map_or(host, |(name, port)| if port.ends_with(']') { host } else { name });
    let is_loopback = name == "localhost" || name == "[::1]" || name.parse::<std::net::Ipv4Addr>().is_ok_and(|address| address.is_loopback());
    peer.to_canonical().is_loopback() && is_loopback
}
