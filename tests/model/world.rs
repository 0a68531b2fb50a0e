//! Owns the model: a collector from journal to lake on a disk and a store that fail, what its senders
//! were told, and what must therefore be in the lake.
//!
//! Every hit has an id of its own, every tally a site of its own, so that each is looked for by name.

use crate::disk::{Disk, FakeShelf};
use crate::faults::{Dice, Faults};
use crate::store::FailingStore;
use arrow::array::AsArray;
use arrow::datatypes::Int64Type;
use bumpalo::Bump;
use clearpixel::config::Config;
use clearpixel::hit::clock::{Clock, Hour, Moment};
use clearpixel::hit::draft::Draft;
use clearpixel::hit::field::{Channel, ConsentSource, Id, IdentityMode, LegalBasis, Protocol, Regime};
use clearpixel::hit::outcome::{Account, Item, Outcome, Reason};
use clearpixel::hit::record::Text;
use clearpixel::hit::scrubbed::{Kind, Scrubbed};
use clearpixel::hit::site::{Site, SiteKey, SiteNumber, Sites};
use clearpixel::journal::frame::{Frame, write_interaction, write_tally};
use clearpixel::journal::replay::{replay, replay_segment};
use clearpixel::journal::segment::{Register, Writer};
use clearpixel::lake::columns::TableName;
use clearpixel::lake::load::{Lake, LoadError};
use clearpixel::lake::outcomes::{self, Outcomes};
use clearpixel::lake::table::Table;
use clearpixel::line::flush::{Figures, Flusher};
use clearpixel::line::guard::{Memories, Repeats, Seen, Visits};
use clearpixel::line::ledger::{Entry, Ledger};
use clearpixel::rules::agent::Agent;
use clearpixel::rules::echo::Echo;
use clearpixel::rules::gate::{Facts, mint};
use clearpixel::rules::memory::Memory;
use clearpixel::rules::place::Place;
use clearpixel::rules::ruling::Grounds;
use clearpixel::rules::source::Sources;
use object_store::{ObjectStore, ObjectStoreExt};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, LazyLock};
use tokio::runtime::Runtime;

const NODE: &str = "node";
/// 2026-11-20T00:00:00Z.
const START: i64 = 1_795_132_800 * 1_000_000;
const ENDED: Outcome = Outcome::Refused(Reason::NoConsent);

/// What is removed from each hit that `write_hit` makes.
const REMOVED_FROM_A_HIT: [(Kind, u64); 4] = [(Kind::Email, 1), (Kind::Ip, 1), (Kind::Query, 2), (Kind::Fragment, 1)];

pub static RUNTIME: LazyLock<Runtime> =
    LazyLock::new(|| tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap());
static SOURCES: LazyLock<Sources> = LazyLock::new(|| Sources::new().unwrap());
static SITE: LazyLock<Site> = LazyLock::new(|| Config::parse("[[site]]\nkey = \"acme\"", "model").unwrap().sites.remove(0));

/// What a sender knows of a hit or a tally.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Told {
    /// Durable.
    Stored,
    /// Written by a journal that survives a killed program, not a power loss.
    Written,
    /// Not stored: send it again.
    Failed,
    /// The program was gone before it said anything, or its promise did not cover what happened.
    Nothing,
}

/// `acme`, and a site for each tally a world may send.
static SITES: LazyLock<(Sites, Vec<Site>)> = LazyLock::new(|| {
    let of_tally = |number: usize| Site { key: SiteKey::parse(&format!("t{number}")).unwrap(), ..SITE.clone() };
    let sites: Vec<Site> = std::iter::once(SITE.clone()).chain((0..TALLIES_MAX).map(of_tally)).collect();
    (Sites::new(sites.clone()), sites)
});
const TALLIES_MAX: usize = 2_000;

fn number_of(site: &str) -> SiteNumber {
    SITES.0.find(site).map(|(number, _)| number).unwrap()
}

/// One hit (`h…`) or one tally of `count` (`t…`, which is its site).
#[derive(Debug, Clone)]
struct Sent {
    count: u64,
    received_at: Moment,
    told: Told,
}

/// How a program ends without a word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    Killed,
    PowerLost,
}

pub struct World {
    folder: tempfile::TempDir,
    disk: Arc<Disk>,
    hand: Arc<AtomicI64>,
    dice: Dice,
    sent: BTreeMap<String, Sent>,
    lives: usize,
    /// Which life wrote an acknowledged group to this segment.
    segments: HashMap<u64, usize>,
    life: Option<Life>,
}

/// The program, from a start to its end.
struct Life {
    register: Arc<Register>,
    /// One that syncs and one that does not.
    writers: [Writer; 2],
    flusher: Flusher,
    ledger: Arc<Ledger>,
}

/// The faults of one life.
#[derive(Clone)]
pub struct Plan {
    pub shelf: Arc<Faults>,
    pub store: Arc<Faults>,
}

impl Plan {
    pub fn none() -> Self {
        Self { shelf: Faults::none(), store: Faults::none() }
    }

    /// Both stop together: they are one machine.
    pub fn has_stopped(&self) -> bool {
        let stopped = self.shelf.has_stopped() || self.store.has_stopped();
        if stopped {
            self.stop();
        }
        stopped
    }

    fn stop(&self) {
        self.shelf.stop();
        self.store.stop();
    }
}

/// What is in the lake.
#[derive(Debug, Default)]
struct Found {
    ids: BTreeMap<String, u64>,
    all: u64,
    /// Values removed.
    scrubbed: u64,
    /// Of outcomes, by site.
    outcomes: BTreeMap<String, u64>,
}

impl World {
    pub fn new(seed: u64) -> Self {
        Self {
            // In memory where there is such a place: what a disk loses is modelled, not awaited.
            folder: tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap(),
            disk: Disk::new(seed),
            hand: Arc::new(AtomicI64::new(START + 3_600_000_000 * 20)),
            dice: Dice::new(!seed),
            sent: BTreeMap::new(),
            lives: 0,
            segments: HashMap::new(),
            life: None,
        }
    }

    /// Starts the program, as `app` does. `false` where it could not, or ended meanwhile.
    pub fn start(&mut self, plan: &Plan) -> bool {
        assert!(self.life.is_none());
        self.lives += 1;
        let faults = plan.store.clone();
        let layer = move |inner: Arc<dyn ObjectStore>| -> Arc<dyn ObjectStore> { Arc::new(FailingStore { inner, faults: faults.clone() }) };
        let shelf = Arc::new(FakeShelf { disk: self.disk.clone(), faults: plan.shelf.clone() });
        let Ok(lake) = RUNTIME.block_on(Lake::open_on(self.folder.path(), NODE, &layer)) else { return false };
        let Ok((_, highest)) = RUNTIME.block_on(lake.committed()) else { return false };
        let Ok(register) = Register::open(shelf, 1 << 30, u64::try_from(highest).unwrap()) else { return false };
        let register = Arc::new(register);
        let ledger = Arc::new(Ledger::of(SITES.1.as_slice()));
        let flusher = Flusher {
            lake,
            register: register.clone(),
            journals: Vec::new(),
            ledger: ledger.clone(),
            figures: Arc::new(Figures::default()),
            clock: Clock::set(self.hand.clone()),
        };
        let Ok((repeats, left)) = RUNTIME.block_on(self.recall(&flusher)) else { return false };
        if plan.has_stopped() {
            return false;
        }
        let writers = [Writer::new(register.clone(), true), Writer::new(register.clone(), false)];
        self.life = Some(Life { register, writers, flusher, ledger });
        self.learn(&repeats, left);
        true
    }

    /// What the line remembers at a start of the last day: what the lake has, then what only the journal has; and
    /// the ids of what only the journal has.
    async fn recall(&self, flusher: &Flusher) -> Result<(Repeats, BTreeSet<String>), LoadError> {
        let (repeats, visits, mut left) = (Repeats::new(1 << 16), Visits::new(1 << 10), BTreeSet::new());
        let count = flusher.remember_last_day(self.folder.path(), Memories { repeats: &repeats, visits: &visits }).await?;
        let (everywhere, _) = flusher.lake.committed().await?;
        for sealed in flusher.register.ready().into_iter().filter(|sealed| sealed.sequence > everywhere.unsigned_abs()) {
            replay_segment(flusher.register.read(&sealed)?, sealed.sequence, |frame| {
                if let Frame::Interaction(record) = frame {
                    left.insert(record.text(Text::EventId).to_owned());
                }
            })?;
        }
        assert_eq!(count, left.len());
        Ok((repeats, left))
    }

    /// Ends the program without a word.
    pub fn end(&mut self, how: End) {
        self.life = None;
        if how == End::PowerLost {
            self.disk.lose_power();
        }
        for sent in self.sent.values_mut() {
            // A sender that was told "failed" comes again; until then its hit may have come through.
            if sent.told == Told::Failed || (sent.told == Told::Written && how == End::PowerLost) {
                sent.told = Told::Nothing;
            }
        }
    }

    pub const fn is_alive(&self) -> bool {
        self.life.is_some()
    }

    pub fn pass_hours(&self, hours: i64) {
        self.hand.fetch_add(hours * 3_600_000_000, Ordering::Relaxed);
    }

    /// Sends `hits` new hits, and a tally where asked, as one group. Whether it was acknowledged.
    pub fn send(&mut self, writer: usize, hits: usize, tally: bool, plan: &Plan) -> bool {
        let received_at = Moment(self.hand.fetch_add(1_000, Ordering::Relaxed));
        let mut names = Vec::new();
        for number in 0..hits + usize::from(tally) {
            let (mark, count) = if number < hits { ('h', 1) } else { ('t', 2 + self.dice.below(9) as u64) };
            let name = format!("{mark}{}", self.sent.len());
            self.sent.insert(name.clone(), Sent { count, received_at, told: Told::Failed });
            names.push(name);
        }
        self.append(writer, &names, plan)
    }

    /// Sends again all that failed, as one group.
    pub fn send_again(&mut self, writer: usize, plan: &Plan) -> bool {
        let failed = self.sent.iter().filter(|(_, sent)| sent.told == Told::Failed);
        let names: Vec<_> = failed.map(|(name, _)| name.clone()).collect();
        names.is_empty() || self.append(writer, &names, plan)
    }

    fn append(&mut self, writer: usize, names: &[String], plan: &Plan) -> bool {
        let Some(life) = &mut self.life else { return false };
        let mut group = Vec::new();
        for name in names {
            let sent = &self.sent[name];
            if name.starts_with('h') {
                write_hit(name, sent.received_at, &mut group);
            } else {
                write_tally(name, sent.received_at.hour(), ENDED, sent.count, &mut group);
            }
        }
        let appended = life.writers[writer].append(&group);
        let stopped = plan.has_stopped();
        if let Ok(segment) = &appended {
            // As the intake counts.
            let mut entries = Vec::new();
            replay(&group, |frame| match frame {
                Frame::Interaction(record) => entries.extend(Entry::of_stored(number_of(record.text(Text::Site)), record)),
                Frame::Tally { site, hour, outcome, count } => entries.push(Entry { count: *count, ..Entry::one(number_of(site), *hour, Item::Ended(*outcome)) }),
            });
            life.ledger.add(*segment, &entries);
            if writer == 0 {
                let wrote = *self.segments.entry(*segment).or_insert(self.lives);
                assert_eq!(wrote, self.lives, "segment {segment} was used twice");
            }
        }
        let told = match (&appended, writer) {
            _ if stopped => Told::Nothing,
            (Ok(_), 0) => Told::Stored,
            (Ok(_), _) => Told::Written,
            (Err(_), _) => Told::Failed,
        };
        for name in names {
            self.sent.get_mut(name).unwrap().told = told;
        }
        matches!(told, Told::Stored | Told::Written)
    }

    pub fn seal(&mut self, writer: usize) {
        if let Some(life) = &mut self.life {
            life.writers[writer].seal();
        }
    }

    /// Flushes; where that went well, all that was acknowledged must be in the lake.
    pub fn flush(&mut self, plan: &Plan) -> bool {
        let Some(life) = &mut self.life else { return false };
        life.writers.iter_mut().for_each(Writer::seal);
        let flushed = RUNTIME.block_on(life.flusher.flush(|| true));
        if plan.has_stopped() {
            return false;
        }
        if flushed.is_ok() {
            for sent in self.sent.values_mut().filter(|sent| sent.told == Told::Written) {
                sent.told = Told::Stored;
            }
            self.check();
        }
        self.check_ledger();
        flushed.is_ok()
    }

    /// After a start, before anything is flushed: what nobody was told of is there or is not, and stays so.
    fn learn(&mut self, repeats: &Repeats, left: BTreeSet<String>) {
        let Some(life) = &self.life else { return };
        let now = life.flusher.clock.now();
        let mut there = left;
        there.extend(RUNTIME.block_on(read(self.folder.path())).ids.into_keys());
        for (name, _) in self.sent.iter().filter(|(_, sent)| is_of_last_day(sent.received_at, now)) {
            let seen = repeats.look(repeats.seek("acme", name), now);
            assert_eq!(seen == Seen::Durable, there.contains(name), "whether a repeat of {name} would be told: {seen:?}");
            if let Seen::Fresh(noted) = seen {
                repeats.settle(noted, false);
            }
        }
        let seen = self.outcomes();
        there.extend(seen.entries.iter().map(|entry| entry.site.to_string()));
        there.extend(self.sent.keys().filter(|name| name.starts_with('t') && !self.above(&seen, name).is_empty()).cloned());
        for (name, sent) in &mut self.sent {
            let is_there = there.contains(name);
            match sent.told {
                Told::Stored | Told::Written => assert!(is_there, "{name} was acknowledged and is not remembered; {sent:?}"),
                Told::Failed => assert!(!is_there, "{name} failed and is remembered; {sent:?}"),
                Told::Nothing => {}
            }
            // What is remembered answers a repeat: it has to outlive a power loss from here on.
            sent.told = if is_there { Told::Stored } else { Told::Failed };
        }
        self.check_ledger();
    }

    /// What must hold whenever the lake has all of the journal.
    fn check(&self) -> Found {
        let found = RUNTIME.block_on(read(self.folder.path()));
        for (id, count) in &found.ids {
            assert_eq!(*count, 1, "{id} is in the lake {count} times; {:?}", self.sent[id]);
            assert_ne!(self.sent[id].told, Told::Failed, "{id} failed and is in the lake");
        }
        for (name, count) in found.outcomes.iter().filter(|(name, _)| *name != "acme") {
            assert_eq!(*count, self.sent[name].count, "{name} was counted wrong");
            assert_ne!(self.sent[name].told, Told::Failed, "{name} failed and is in the lake");
        }
        for (name, sent) in &self.sent {
            let is_there = found.ids.contains_key(name) || found.outcomes.contains_key(name);
            let must_be = matches!(sent.told, Told::Stored | Told::Written);
            assert!(is_there || !must_be, "{name} was acknowledged and is lost; {sent:?}");
        }
        let rows = found.ids.len() as u64;
        assert_eq!(found.all, rows, "trends and rows differ");
        assert_eq!(found.outcomes.get("acme").copied().unwrap_or(0), rows, "the ledger in the lake and rows differ");
        let removed: u64 = REMOVED_FROM_A_HIT.iter().map(|(_, count)| count).sum();
        assert_eq!(found.scrubbed, rows * removed, "what was removed is counted in the lake with each row once");
        found
    }

    /// The lake's ledger and what is above it are what was acknowledged, at any moment of a life.
    fn check_ledger(&self) {
        if self.life.is_none() {
            return;
        }
        let seen = self.outcomes();
        let sites = self.sent.keys().map(String::as_str).filter(|name| name.starts_with('t')).chain(["acme"]);
        let above: Vec<Account> = sites.flat_map(|site| self.above(&seen, site)).collect();
        let ended = |outcome: Outcome| {
            let lake: u64 = seen.entries.iter().map(|entry| entry.account.ends.of(outcome)).sum();
            lake + above.iter().map(|account| account.ends.of(outcome)).sum::<u64>()
        };
        let told = |mark: char| {
            let sent = self.sent.iter().filter(|(name, sent)| name.starts_with(mark) && matches!(sent.told, Told::Stored | Told::Written));
            sent.map(|(_, sent)| sent.count).sum::<u64>()
        };
        assert_eq!((ended(Outcome::Stored), ended(ENDED)), (told('h'), told('t')), "the ledger does not balance");
        let mut scrubbed = Scrubbed::default();
        seen.entries.iter().map(|entry| entry.account.scrubbed).chain(above.iter().map(|account| account.scrubbed)).for_each(|part| scrubbed.add(part));
        for (kind, count) in REMOVED_FROM_A_HIT {
            assert_eq!(scrubbed.of(kind), count * told('h'), "what was removed is counted wrong: {}", kind.name());
        }
    }

    /// What the ledger adds to the lake's counts of a site.
    fn above(&self, seen: &outcomes::Seen, site: &str) -> Vec<Account> {
        let committed = u64::try_from(seen.committed).unwrap();
        self.life.iter().flat_map(|life| life.ledger.above(number_of(site), committed).into_values()).collect()
    }

    /// How hits ended, as the lake has it.
    fn outcomes(&self) -> outcomes::Seen {
        RUNTIME.block_on(Outcomes::default().read(self.folder.path(), NODE, Hour(0), Hour(600_000))).unwrap()
    }

    /// When nothing goes wrong any more, the program goes on by itself.
    pub fn resume(&mut self, plan: &Plan) {
        if self.is_alive() && !plan.has_stopped() {
            plan.shelf.calm();
            plan.store.calm();
            assert!(self.send(0, 1, true, plan), "the journal takes no hits any more");
            assert!(self.send_again(1, plan) && self.flush(plan), "the lake takes no hits any more");
            assert_eq!(self.disk.segments(), Vec::<u64>::new(), "a segment is left");
        }
    }

    /// The end of every case: a start, and a life in which nothing goes wrong.
    pub fn finish(&mut self) {
        if self.is_alive() {
            self.end(End::Killed);
        }
        let plan = Plan::none();
        assert!(self.start(&plan), "a start in which nothing goes wrong");
        assert!(self.send(0, 1, true, &plan) && self.send_again(1, &plan) && self.flush(&plan));
        assert_eq!(self.disk.segments(), Vec::<u64>::new(), "a segment is left");
        assert_eq!(self.life.as_ref().unwrap().register.bytes(), 0);
        for name in TableName::ALL {
            let on_disk = files_below(&self.folder.path().join(name.as_str()));
            let live = RUNTIME.block_on(async { Table::open(self.folder.path(), name).await }).unwrap().live_files().unwrap();
            assert_eq!(on_disk, live.into_iter().map(|file| file.path).collect::<BTreeSet<_>>(), "{name:?} has orphans");
        }
    }
}

fn is_of_last_day(received_at: Moment, now: Moment) -> bool {
    now.since(received_at) < 86_400_000_000
}

/// A hit as the model's senders send it.
pub struct Hit<'h> {
    pub site: &'h Site,
    pub event_id: &'h str,
    pub received_at: Moment,
    pub visitor: Option<Id>,
    pub page: &'h str,
}

fn write_hit(event_id: &str, received_at: Moment, group: &mut Vec<u8>) {
    let page = "https://shop.example/sale?token=abc&code=1#x";
    write(&Hit { site: &SITE, event_id, received_at, visitor: Some(Id([7; 16])), page }, group);
}

pub fn write(hit: &Hit<'_>, group: &mut Vec<u8>) {
    let arena = Bump::new();
    let facts = Facts {
        site: hit.site,
        grounds: Grounds {
            regime: Regime::OptIn,
            basis: LegalBasis::Consent,
            source: ConsentSource::Cookie,
            may_share: true,
            identity: IdentityMode::Daily,
        },
        draft: &Draft { page_url: Some(hit.page), page_title: Some("A page with a title for jane@example.org and 203.0.113.77"), ..Draft::default() },
        protocol: Protocol::Native,
        channel: Channel::Web,
        received_at: hit.received_at,
        occurred_at: hit.received_at,
        event_id: hit.event_id,
        place: &Place::default(),
        agent: &Agent::UNKNOWN,
        sources: &SOURCES,
        visitor: hit.visitor,
        visit: None,
        referer: b"",
        accept_language: None,
        echo: Echo::default(),
        memory: &mut Memory::new(0),
        removed: Scrubbed::default(),
    };
    write_interaction(&mint(facts, &arena), group);
}

async fn read(lake: &std::path::Path) -> Found {
    let mut found = Found::default();
    for name in TableName::ALL {
        let table = Table::open(lake, name).await.unwrap();
        for file in table.live_files().unwrap() {
            let bytes = table.store().get(&file.path.as_str().into()).await.unwrap().bytes().await.unwrap();
            for batch in ParquetRecordBatchReaderBuilder::try_new(bytes).unwrap().build().unwrap() {
                let batch = batch.unwrap();
                let texts = |name| batch.column_by_name(name).unwrap().as_string::<i32>();
                if name == TableName::Interactions {
                    for id in texts("event_id").iter().flatten() {
                        *found.ids.entry(id.to_owned()).or_default() += 1;
                    }
                    continue;
                }
                let counts = batch.column_by_name("interactions").unwrap().as_primitive::<Int64Type>();
                for (at, dimension) in texts("dimension").iter().flatten().enumerate() {
                    let count = u64::try_from(counts.value(at)).unwrap();
                    match dimension {
                        "all" => found.all += count,
                        "scrubbed" => found.scrubbed += count,
                        "outcome" => *found.outcomes.entry(texts("site").value(at).to_owned()).or_default() += count,
                        _ => {}
                    }
                }
            }
        }
    }
    found
}

/// The Parquet files of a table's folder, as the log names them.
pub fn files_below(table: &std::path::Path) -> BTreeSet<String> {
    let days = std::fs::read_dir(table).unwrap().map(|entry| entry.unwrap().path());
    let mut files = BTreeSet::new();
    for day in days.filter(|path| path.file_name().unwrap() != "_delta_log") {
        for file in std::fs::read_dir(&day).unwrap() {
            let path = file.unwrap().path();
            files.insert(path.strip_prefix(table).unwrap().to_str().unwrap().to_owned());
        }
    }
    files
}
