//! Owns the running collector: what is built in which order, what is spawned, and how it all stops.
//!
//! Promises: a port or a lake that cannot be had is told before the first hit is taken; starting after
//! a crash and after a clean stop is the same: hits are taken as soon as memory has what the journal holds, and the
//! lake gets it meanwhile; on SIGTERM or SIGINT the doors close first, then the journals, then the lake gets
//! what is there, each within its time, and what did not finish is named.
//! The only file that spawns what lives on: threads elsewhere end with the function that has them.
#![expect(clippy::disallowed_methods, reason = "the one place that spawns threads and tasks that live on")]
#![expect(clippy::disallowed_types, reason = "tells the addresses it listens on")]

use crate::config::{Config, ConfigError};
use crate::desk::erasure::{self, ErasureError, LookedThrough};
use crate::desk::maintain::{Extent, MaintainError, Maintenance};
use crate::desk::rights::{Rights, RightsError};
use crate::door::admin::{self, Admin};
use crate::door::demo::Demo;
use crate::door::listen;
use crate::door::opendsr_seal::{Seal, SealError};
use crate::door::public::Public;
use crate::door::tls;
use crate::hit::clock::Clock;
use crate::hit::field::Durability;
use crate::hit::site::Sites;
use crate::journal::folder;
use crate::journal::segment::{Directory, Register, Shelf, Writer};
use crate::lake::lease::{LeaseError, TERM};
use crate::lake::load::{Lake, LoadError};
use crate::lake::outcomes::Outcomes;
use crate::line::board::Board;
use crate::line::collect::{Collector, Rulebook};
use crate::line::flush::{Figures, Flusher};
use crate::line::guard::{Memories, Quotas, Repeats, Visits};
use crate::line::intake::{Intake, Journal, keep_journal};
use crate::line::ledger::Ledger;
use crate::line::persons::{self, PersonsDoor, keep_people};
use crate::line::salts::Salts;
use crate::people::file::PeopleError;
use crate::people::key::KeyError;
use crate::people::read::People;
use crate::people::write::PeopleWriter;
use crate::rules::agent::Classifier;
use crate::rules::identity::SigningKey;
use crate::rules::place::{Atlas, AtlasError};
use crate::rules::source::Sources;
use crate::rules::suppression::Suppressions;
use bumpalo::Bump;
use hashbrown::DefaultHashBuilder;
use std::cell::RefCell;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::sync_channel;
use std::thread::{self, JoinHandle};
use std::time::Duration;
use tokio::runtime::LocalOptions;
use tokio::sync::{Mutex, watch};
use tokio::task::LocalSet;
use tokio::time::MissedTickBehavior;

/// Why the collector did not start, or did not stop well.
#[derive(Debug, thiserror::Error)]
pub enum AppError {
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error("cannot listen on {address} ({setting}): {reason}")]
    Listen { setting: &'static str, address: SocketAddr, reason: io::Error },
    #[error("the data folder {path} cannot be used: {reason}")]
    DataDir { path: String, reason: io::Error },
    #[error("the data folder {0} is in use by another collector: give each its own data_dir")]
    InUse(String),
    #[error(transparent)]
    Atlas(#[from] AtlasError),
    #[error(transparent)]
    Tls(#[from] tls::TlsError),
    #[error(transparent)]
    Seal(#[from] SealError),
    #[error("what the journal holds cannot be brought into the lake: {0}")]
    Load(#[from] LoadError),
    #[error("the lake cannot be read: {0}")]
    Table(#[from] crate::lake::table::TableError),
    #[error("the data inside the program is broken: {0}")]
    Assets(String),
    #[error(transparent)]
    Rights(#[from] RightsError),
    #[error(transparent)]
    Erasure(#[from] ErasureError),
    #[error(transparent)]
    PeopleKey(#[from] KeyError),
    #[error(transparent)]
    People(#[from] PeopleError),
    #[error("a thread cannot be started: {0}")]
    Thread(io::Error),
    /// Exit code 70.
    #[error("stopped with hits still in flight: {0}")]
    InFlight(String),
}

/// Runs the collector until it is told to stop.
pub fn run(config: &Config, demo: bool) -> Result<(), AppError> {
    let workers = if config.workers == 0 { thread::available_parallelism().map_or(1, usize::from) } else { config.workers };
    let tls = config.tls.as_ref().map(|tls| tls::acceptor(&tls.certificate, &tls.private_key)).transpose()?;
    let people = people(config)?;
    let seal = seal(config)?;
    // The parsers' data takes some 50 ms to build: meanwhile the lake is opened.
    let data = thread::spawn(|| Ok::<_, String>((Classifier::new().map_err(|e| e.to_string())?, Sources::new().map_err(|e| e.to_string())?)));

    let listen_failed = |setting, address| move |reason| AppError::Listen { setting, address, reason };
    let listeners = listen::bind(config.listen, workers).map_err(listen_failed("door.listen", config.listen))?;
    let admin_listener = listen::bind_one(config.admin_listen, false).map_err(listen_failed("door.admin_listen", config.admin_listen))?;
    let address_of = |listener: Option<&std::net::TcpListener>, or: SocketAddr| listener.and_then(|l| l.local_addr().ok()).unwrap_or(or);
    let address = address_of(listeners.first(), config.listen);
    let admin_address = address_of(Some(&admin_listener), config.admin_listen);

    let folder = DataFolder::open(&config.data_dir)?;
    let lake_runtime = threaded_runtime("lake")?;
    let people = Arc::new(PeopleWriter::open(people)?);

    let clock = Clock::system();
    let rights = Arc::new(Rights::open(&config.data_dir, &config.lake, &folder.node, &folder.secret, clock.now())?);
    let suppressions = rights.subscribe();

    let ledger = Arc::new(Ledger::of(&config.sites));
    let board = Arc::new(Board::default());
    let mut flusher = lake_runtime.block_on(open_flusher(config, &folder, &ledger, &clock))?;
    let (register, figures) = (flusher.register.clone(), flusher.figures.clone());
    let repeats = Arc::new(Repeats::new(usize::try_from(config.repeats_bytes).unwrap_or(64 << 20)));
    let visits = Visits::new(VISITS_BYTES);
    lake_runtime.block_on(remember_last_day(config, &flusher, Memories { repeats: &repeats, visits: &visits }))?;

    let atlas = Arc::new(config.geo_database.as_deref().map_or_else(Atlas::built_in, Atlas::open)?);
    let (atlas_sender, atlas) = watch::channel(atlas);
    let (classifier, sources) = data.join().map_err(|_| AppError::Assets("its reader stopped".to_owned()))?.map_err(AppError::Assets)?;
    let book = Arc::new(Rulebook {
        sites: Sites::new(config.sites.clone()),
        sources,
        classifier: Arc::new(classifier),
        key: SigningKey::new(folder.secret),
        salts: Salts::open(&config.data_dir.join("salt")).map_err(|reason| folder.failed(reason))?,
        repeats: repeats.clone(),
        visits,
        quotas: Quotas::new(config.sites.len()),
        atlas,
        suppressions,
    });

    let (stop_sender, stop) = watch::channel(false);
    let (persons, people_thread) = start_people(&people, rights.subscribe())?;
    let (journals, journal_threads) = start_journals(workers, config, &register)?;
    flusher.journals.clone_from(&journals);

    let demo = demo.then(|| Demo { dashboard: format!("http://{admin_address}/") });
    // One for all, so that a visitor met by two workers is one on the board.
    let hasher = DefaultHashBuilder::default();
    let mut worker_threads = Vec::with_capacity(workers);
    for (index, (listener, journal)) in listeners.into_iter().zip(journals).enumerate() {
        let plan = Worker {
            index,
            listener,
            journal,
            tls: tls.clone(),
            book: book.clone(),
            repeats: repeats.clone(),
            ledger: ledger.clone(),
            board: board.clone(),
            hasher: hasher.clone(),
            persons: persons.clone(),
            proxies: config.trusted_proxies.clone().into(),
            demo: demo.clone(),
            clock: clock.clone(),
            stop: stop.clone(),
        };
        worker_threads.push(named(format!("worker-{index}"), move || plan.run())?);
    }
    // The thread that writes people ends with the last worker.
    drop(persons);
    let (upkeep_clock, upkeep_figures) = (clock.clone(), figures.clone());
    let admin = Arc::new(Admin {
        rights: rights.clone(),
        people: people.people().clone(),
        seal,
        sharing: Mutex::default(),
        book,
        ledger,
        board,
        register: register.clone(),
        figures,
        outcomes: Mutex::new(Outcomes::default()),
        lake: config.lake.clone(),
        spill: config.data_dir.join("spill"),
        node: folder.node.clone(),
        token_sha256: config.admin_token_sha256,
        session_key: folder.secret,
        is_ready: AtomicBool::new(true),
        clock,
        stop: stop.clone(),
    });
    let admin_thread = start_admin(admin_listener, admin.clone(), config.geo_database.clone(), atlas_sender)?;
    let (flush_after, flush_rows) = (config.flush_after, config.flush_rows);
    let (flush_stop, erased) = (stop.clone(), rights.subscribe());
    let flush_thread = named("flush".to_owned(), move || {
        lake_runtime.block_on(keep_flushing(&mut flusher, erased, flush_after, flush_rows, flush_stop));
        (flusher, lake_runtime)
    })?;

    let maintain_thread = start_maintenance(Upkeep { config: config.clone(), clock: upkeep_clock, node: folder.node.clone(), rights, people, figures: upkeep_figures }, stop.clone())?;

    tracing::info!(public = %address, admin = %admin_address, workers, sites = config.sites.len(), "ready");
    announce(address, admin_address, tls.is_some(), demo.is_some());
    wait_for_signal()?;
    tracing::info!("stopping");
    admin.is_ready.store(false, Ordering::Release);
    let _ = stop_sender.send(true);
    let mut unfinished: Vec<String> = Vec::new();
    for thread in worker_threads {
        unfinished.extend(thread.join().unwrap_or_else(|_| Some("a worker that broke down".to_owned())));
    }
    if people_thread.is_some_and(|thread| thread.join().is_err()) {
        unfinished.push("the writer of people, which broke down".to_owned());
    }
    // The workers' orders are dropped with them, the flusher's copies with this: then those threads end.
    match flush_thread.join() {
        Ok((mut flusher, lake_runtime)) => {
            flusher.journals.retain(|journal| matches!(journal, Journal::Here(_)));
            for thread in journal_threads {
                if thread.join().is_err() {
                    unfinished.push("a journal that broke down".to_owned());
                }
            }
            match lake_runtime.block_on(async { tokio::time::timeout(LAST_FLUSH_DEADLINE, flusher.flush(|| true)).await }) {
                Ok(Ok(loaded)) => tracing::info!(rows = loaded.unwrap_or_default().rows, "the lake has everything"),
                // Nothing is lost: the journal keeps it for the next start.
                Ok(Err(error)) => tracing::warn!(%error, "the last hits wait in the journal for the next start"),
                Err(_) => tracing::warn!("the lake took too long: the last hits wait in the journal for the next start"),
            }
        }
        Err(_) => unfinished.push("the flusher, which broke down".to_owned()),
    }
    if maintain_thread.join().is_err() {
        tracing::warn!("the maintenance broke down");
    }
    if admin_thread.join().is_err() {
        tracing::warn!("the admin port broke down");
    }
    if unfinished.is_empty() {
        tracing::info!("stopped");
        Ok(())
    } else {
        Err(AppError::InFlight(unfinished.join(", ")))
    }
}

const LAST_FLUSH_DEADLINE: Duration = Duration::from_secs(30);

/// What can be seen wrong with settings without starting: files that they name.
pub fn check(config: &Config) -> Result<(), AppError> {
    if let Some(tls) = &config.tls {
        tls::acceptor(&tls.certificate, &tls.private_key)?;
    }
    if let Some(database) = &config.geo_database {
        Atlas::open(database)?;
    }
    people(config)?;
    seal(config).map(|_| ())
}

fn seal(config: &Config) -> Result<Seal, AppError> {
    let pair = config.opendsr.as_ref().map(|pair| Seal::read(&pair.certificate, &pair.private_key)).transpose()?;
    Ok(pair.unwrap_or(Seal::AuditLog))
}

/// The people of the settings' sites: every key is there, and opens what lies here.
fn people(config: &Config) -> Result<Arc<People>, AppError> {
    let people = People::of_settings(&config.sites, &config.data_dir, &config.lake)?;
    people.prove()?;
    Ok(Arc::new(people))
}

/// The thread that writes people, and the way to it; neither where no site has any.
fn start_people(people: &Arc<PeopleWriter>, suppressions: watch::Receiver<Arc<Suppressions>>) -> Result<(Option<PersonsDoor>, Option<JoinHandle<()>>), AppError> {
    if people.sites().next().is_none() {
        return Ok((None, None));
    }
    let ((door, notes), people) = (persons::door(), people.clone());
    let thread = named("people".to_owned(), move || keep_people(&notes, &people, &suppressions))?;
    Ok((Some(door), Some(thread)))
}

/// 2 million visits in progress (see `line::guard`).
const VISITS_BYTES: usize = 16 << 20;

/// The collector's own files besides journal and lake, held by one process at a time.
struct DataFolder {
    path: PathBuf,
    /// This node's name in the lake: random, made once.
    node: String,
    /// Signs ids and tokens: random, made once.
    secret: [u8; 32],
    _lock: File,
}

impl DataFolder {
    fn open(path: &Path) -> Result<Self, AppError> {
        let failed = |reason| AppError::DataDir { path: path.display().to_string(), reason };
        folder::make_private(path).map_err(failed)?;
        let lock = OpenOptions::new().write(true).create(true).truncate(false).open(path.join("lock")).map_err(failed)?;
        if rustix::fs::flock(&lock, rustix::fs::FlockOperation::NonBlockingLockExclusive).is_err() {
            return Err(AppError::InUse(path.display().to_string()));
        }
        sweep_spill(&path.join("spill"));
        let secret = folder::kept_bytes(&path.join("secret")).map_err(failed)?;
        let node = folder::node(path).map_err(failed)?;
        Ok(Self { path: path.to_owned(), node, secret, _lock: lock })
    }

    fn failed(&self, reason: io::Error) -> AppError {
        AppError::DataDir { path: self.path.display().to_string(), reason }
    }
}

/// Whether a collector, or a command that does its work, has the data folder now.
pub fn is_in_use(data_dir: &Path) -> bool {
    File::open(data_dir.join("lock")).is_ok_and(|lock| rustix::fs::flock(&lock, rustix::fs::FlockOperation::NonBlockingLockShared).is_err())
}

/// Removes what questions that were killed left of their sorting; younger folders may be in use.
fn sweep_spill(folder: &Path) {
    let Ok(entries) = std::fs::read_dir(folder) else { return };
    for entry in entries.flatten() {
        let age = entry.metadata().and_then(|meta| meta.modified()).ok().and_then(|time| time.elapsed().ok());
        if age.is_some_and(|age| age > Duration::from_secs(86_400))
            && let Err(error) = std::fs::remove_dir_all(entry.path())
        {
            tracing::warn!(%error, "an old spill folder could not be removed");
        }
    }
}

type Journals = (Vec<Journal>, Vec<JoinHandle<()>>);

fn start_journals(workers: usize, config: &Config, register: &Arc<Register>) -> Result<Journals, AppError> {
    let (mut journals, mut threads) = (Vec::new(), Vec::new());
    for index in 0..workers {
        let sync = config.durability == Durability::Disk;
        let writer = Writer::new(register.clone(), sync);
        journals.push(match config.durability {
            Durability::Process => Journal::Here(Arc::new(std::sync::Mutex::new(writer))),
            Durability::Disk => {
                // One group in flight and one order to seal: more never wait.
                let (sender, orders) = sync_channel(4);
                threads.push(named(format!("journal-{index}"), move || keep_journal(&orders, writer))?);
                Journal::There(sender)
            }
        });
    }
    Ok((journals, threads))
}

/// What a worker's thread is given.
struct Worker {
    index: usize,
    listener: std::net::TcpListener,
    journal: Journal,
    tls: Option<tokio_rustls::TlsAcceptor>,
    book: Arc<Rulebook>,
    repeats: Arc<Repeats>,
    ledger: Arc<Ledger>,
    board: Arc<Board>,
    hasher: DefaultHashBuilder,
    persons: Option<PersonsDoor>,
    proxies: Arc<[ipnet::IpNet]>,
    demo: Option<Demo>,
    clock: Clock,
    stop: watch::Receiver<bool>,
}

impl Worker {
    /// Runs until told to stop; what did not finish is its result.
    fn run(self) -> Option<String> {
        // A runtime of local tasks: a `LocalSet` would keep a second list of what is to run beside it.
        let Ok(runtime) = builder(&format!("worker-{}", self.index)).build_local(LocalOptions::default()) else {
            return Some(format!("worker-{} never started", self.index));
        };
        runtime.block_on(async {
            let intake = Rc::new(Intake::new(self.index, self.journal, self.repeats, self.ledger, self.board, self.hasher).with_persons(self.persons));
            let collector = Collector::new(self.book, intake.clone());
            let public = Public { collector, clock: self.clock, trusted_proxies: self.proxies, demo: self.demo, arena: RefCell::new(Bump::new()) };
            let pumped = intake.clone();
            tokio::task::spawn_local(async move { pumped.pump().await });
            let tallied = intake.clone();
            tokio::task::spawn_local(async move {
                let mut every = tokio::time::interval(TALLY_EVERY);
                loop {
                    every.tick().await;
                    tallied.turn_in_tallies();
                }
            });
            let finished = listen::serve(self.listener, Rc::new(public), self.tls, self.stop).await;
            intake.turn_in_tallies();
            for _ in 0..200 {
                if intake.is_idle() {
                    break;
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            match (finished, intake.is_idle()) {
                (true, true) => None,
                (false, _) => Some(format!("connections of worker-{}", self.index)),
                (true, false) => Some(format!("the journal of worker-{}", self.index)),
            }
        })
    }
}

const TALLY_EVERY: Duration = Duration::from_millis(100);

/// Flushes when it is time and when there is enough, until told to stop.
async fn keep_flushing(flusher: &mut Flusher, suppressions: watch::Receiver<Arc<Suppressions>>, after: Duration, rows: u64, mut stop: watch::Receiver<bool>) {
    // What the last run left waited long enough.
    let mut waited = if flusher.figures.has_caught_up() { Duration::ZERO } else { after };
    let mut pause = Duration::ZERO;
    let (mut erased, mut since_erasure) = (suppressions.borrow().erased() as u64, Duration::ZERO);
    let mut look = tokio::time::interval(LOOK_EVERY);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = look.tick() => waited += LOOK_EVERY,
            _ = stop.changed() => return,
        }
        // Rows are not counted on the road: a row is some 200 bytes of journal.
        let is_enough = flusher.register.bytes() / BYTES_A_ROW >= rows;
        let erased_now = suppressions.borrow().erased() as u64;
        since_erasure = if erased_now == erased { since_erasure + LOOK_EVERY } else { Duration::ZERO };
        erased = erased_now;
        // What the journal holds of someone erased has to be in the lake before it can be taken out there.
        let is_settled = since_erasure >= ON_THE_ROAD_MAX;
        let is_asked = is_settled && flusher.figures.erased.load(Ordering::Relaxed) < erased;
        let has_failed = !pause.is_zero();
        if (waited >= after || is_enough || is_asked || has_failed) && waited >= pause {
            waited = Duration::ZERO;
            let goes_on = || !*stop.borrow();
            pause = match flusher.flush(goes_on).await {
                Ok(None) => return,
                Ok(Some(_)) => {
                    if is_settled && flusher.register.tidy().is_ok() {
                        flusher.figures.erased.store(erased, Ordering::Release);
                    }
                    Duration::ZERO
                }
                Err(error) => {
                    tracing::error!(%error, "the lake does not have the newest hits; they wait in the journal");
                    (pause * 2).clamp(Duration::from_secs(1), after)
                }
            };
        }
    }
}

/// A hit that was judged before an erasure was in force is in the journal by then, or failed.
const ON_THE_ROAD_MAX: Duration = Duration::from_secs(2);
const LOOK_EVERY: Duration = Duration::from_millis(200);
const BYTES_A_ROW: u64 = 200;

fn start_admin(
    listener: std::net::TcpListener,
    admin: Arc<Admin>,
    geo_database: Option<PathBuf>,
    atlas: watch::Sender<Arc<Atlas>>,
) -> Result<JoinHandle<()>, AppError> {
    named("admin".to_owned(), move || {
        let Ok(runtime) = threaded_runtime("admin") else { return };
        LocalSet::new().block_on(&runtime, async {
            let stop = admin.stop.clone();
            tokio::task::spawn_local(keep_atlas(geo_database, atlas, stop.clone()));
            tokio::task::spawn_local(keep_rights(admin.rights.clone(), admin.clock.clone(), stop.clone()));
            tokio::task::spawn_local(let_go_of_salts(admin.clone(), stop));
            admin::serve(listener, admin).await;
        });
    })
}

/// What the thread that maintains the lake is given.
struct Upkeep {
    config: Config,
    clock: Clock,
    node: String,
    rights: Arc<Rights>,
    people: Arc<PeopleWriter>,
    figures: Arc<Figures>,
}

fn start_maintenance(upkeep: Upkeep, stop: watch::Receiver<bool>) -> Result<JoinHandle<()>, AppError> {
    named("maintain".to_owned(), move || {
        let Ok(runtime) = maintenance_runtime() else { return };
        runtime.block_on(upkeep.keep(stop));
    })
}

impl Upkeep {
    /// A turn of maintenance every `lake.maintain_every`, the first soon after the start: a program that is
    /// started anew again and again must not keep what is past its term. After each turn, and at once where
    /// that was asked, the work of requests in the files.
    async fn keep(self, mut stop: watch::Receiver<bool>) {
        let Self { config, clock, .. } = &self;
        let holder = format!("the collector {}", self.node);
        let maintenance = Maintenance { lake: &config.lake, spill: config.data_dir.join("spill").join("maintain"), sites: &config.sites, holder: &holder, clock, grace: config.readers_grace, layer: &|store| store };
        let (mut looked, spill) = (LookedThrough::default(), config.data_dir.join("spill"));
        let mut pause = config.maintain_every.min(FIRST_TURN_AFTER);
        let mut retained_on = None;
        let (mut waited, mut rest, mut owes_rights) = (Duration::ZERO, Duration::ZERO, false);
        loop {
            tokio::select! {
                () = tokio::time::sleep(UPKEEP_LOOK_EVERY) => waited += UPKEEP_LOOK_EVERY,
                _ = stop.changed() => return,
            }
            rest = rest.saturating_sub(UPKEEP_LOOK_EVERY);
            if waited >= pause {
                (waited, pause, owes_rights) = (Duration::ZERO, config.maintain_every, true);
                let today = clock.now().day();
                let extent = if retained_on == Some(today) { Extent::Often } else { Extent::Day };
                // A turn that is dropped halfway is one that crashed: the next one finishes it.
                let turned = tokio::select! {
                    turned = turn(&maintenance, extent) => turned,
                    _ = stop.changed() => return,
                };
                match turned {
                    Turned::Whole => retained_on = Some(today),
                    Turned::Failed => {}
                    Turned::ByAnother => pause = config.maintain_every.min(TERM),
                }
            }
            if !rest.is_zero() || !(owes_rights || self.rights.is_urgent()) {
                continue;
            }
            let work = self.rights.due().unwrap_or_else(|error| {
                tracing::error!(%error, "what is due of requests cannot be read");
                Vec::new()
            });
            // What was due before this look is in the lake, as far as the journal had it: of this run and the last.
            let had_the_erased = self.figures.erased.load(Ordering::Acquire) >= self.rights.subscribe().borrow().erased() as u64;
            if had_the_erased && self.figures.has_caught_up() {
                let carried_out = tokio::select! {
                    carried_out = erasure::carry_out(&self.rights, work, &maintenance, &self.people, &spill, &mut looked) => carried_out,
                    _ = stop.changed() => return,
                };
                owes_rights = match carried_out {
                    Ok(requests) => {
                        if requests > 0 {
                            tracing::info!(requests, "requests of persons were carried out in the files");
                        }
                        false
                    }
                    Err(ErasureError::Maintain(MaintainError::Lease(LeaseError::Held { .. }))) => true,
                    Err(error) => {
                        tracing::error!(%error, "requests of persons were not carried out; it is tried again");
                        rest = REST_AFTER_FAILURE;
                        true
                    }
                };
            }
        }
    }
}

/// What became of a turn.
enum Turned {
    Whole,
    Failed,
    ByAnother,
}

async fn turn(maintenance: &Maintenance<'_>, extent: Extent) -> Turned {
    match maintenance.turn(extent, &mut |_: &str| {}).await {
        Ok(turn) => {
            let (compacted, let_go) = (turn.compaction.before.len(), turn.retention.rows_in - turn.retention.rows_out);
            tracing::info!(compacted_files = compacted, rows_past_their_term = let_go, deleted_files = turn.swept + turn.retention.deleted, "maintained");
            Turned::Whole
        }
        Err(MaintainError::Lease(LeaseError::Held { holder, .. })) => {
            tracing::info!(%holder, "another maintains this lake");
            Turned::ByAnother
        }
        Err(error) => {
            tracing::error!(%error, "maintenance was not finished; the next turn goes on with it");
            Turned::Failed
        }
    }
}

/// Carries out what is due of requests, for a command: `None` where a collector runs on the data folder, for
/// then it does so itself.
pub async fn carry_out_rights(config: &Config, maintenance: &Maintenance<'_>, looked: &mut LookedThrough) -> Result<Option<usize>, AppError> {
    if !config.data_dir.join("secret").is_file() {
        // Nobody ever collected here, so nobody can have asked.
        return Ok(Some(0));
    }
    let folder = match DataFolder::open(&config.data_dir) {
        Ok(folder) => folder,
        Err(AppError::InUse(_)) => return Ok(None),
        Err(error) => return Err(error),
    };
    let people = PeopleWriter::open(people(config)?)?;
    let rights = Rights::open(&config.data_dir, &config.lake, &folder.node, &folder.secret, maintenance.clock.now())?;
    // What a collector that was killed left in its journal has to be in the lake before it can be taken out.
    let work = rights.due()?;
    open_flusher(config, &folder, &Arc::new(Ledger::of(&config.sites)), maintenance.clock).await?.flush(|| true).await?;
    Ok(Some(erasure::carry_out(&rights, work, maintenance, &people, &config.data_dir.join("spill"), looked).await?))
}

/// Gives the line what it remembers of the last day, and says what the last run left.
async fn remember_last_day(config: &Config, flusher: &Flusher, memories: Memories<'_>) -> Result<(), AppError> {
    let left = flusher.remember_last_day(&config.lake, memories).await;
    let left = left.map_err(|error| match error {
        LoadError::Journal(reason) => AppError::DataDir { path: config.data_dir.join("journal").display().to_string(), reason },
        LoadError::Table(error) => error.into(),
        LoadError::Parquet(_) | LoadError::Arrow(_) => error.into(),
    })?;
    if flusher.register.ready().is_empty() {
        flusher.figures.caught_up(flusher.clock.now());
    }
    if left > 0 {
        tracing::info!(interactions = left, "the last run left acknowledged interactions in the journal: they are being brought into the lake");
    }
    Ok(())
}

async fn open_flusher(config: &Config, folder: &DataFolder, ledger: &Arc<Ledger>, clock: &Clock) -> Result<Flusher, AppError> {
    let lake = Lake::open(&config.lake, &folder.node).await?;
    let (_, highest) = lake.committed().await?;
    let shelf = Directory::open(&config.data_dir.join("journal")).map_err(|reason| folder.failed(reason))?;
    let shelf: Arc<dyn Shelf> = Arc::new(shelf.past_the_cache(config.durability == Durability::Disk));
    let register = Register::open(shelf, config.journal_bytes_max, u64::try_from(highest).unwrap_or(0)).map_err(|reason| folder.failed(reason))?;
    Ok(Flusher { lake, register: Arc::new(register), journals: Vec::new(), ledger: ledger.clone(), figures: Arc::default(), clock: clock.clone() })
}

const REST_AFTER_FAILURE: Duration = Duration::from_secs(30);
const UPKEEP_LOOK_EVERY: Duration = Duration::from_millis(500);
const FIRST_TURN_AFTER: Duration = Duration::from_secs(60);

/// Destroys each day's salt when the day is over, also where nobody comes to ask for the next one.
async fn let_go_of_salts(admin: Arc<Admin>, mut stop: watch::Receiver<bool>) {
    loop {
        admin.book.salts.let_go(admin.clock.now().day());
        tokio::select! {
            () = tokio::time::sleep(SALT_LOOK_EVERY) => {}
            _ = stop.changed() => return,
        }
    }
}

const SALT_LOOK_EVERY: Duration = Duration::from_secs(10);

/// Reads the operator's country database again when it changes; one that cannot be read changes nothing.
async fn keep_atlas(path: Option<PathBuf>, atlas: watch::Sender<Arc<Atlas>>, mut stop: watch::Receiver<bool>) {
    let Some(path) = path else {
        // Held until the end: without a sender workers would take the atlas for gone.
        let _ = stop.changed().await;
        return;
    };
    let stamp = || std::fs::metadata(&path).and_then(|meta| Ok((meta.modified()?, meta.len()))).ok();
    let mut known = stamp();
    loop {
        tokio::select! {
            () = tokio::time::sleep(ATLAS_LOOK_EVERY) => {}
            _ = stop.changed() => return,
        }
        let now = stamp();
        if now.is_some() && now != known {
            known = now;
            let loaded = match Atlas::open(&path) {
                Ok(read) => Some(Arc::new(read)),
                Err(error) => {
                    tracing::warn!(%error, "the country database changed and cannot be read; the one before stays in use");
                    None
                }
            };
            if let Some(read) = loaded {
                tracing::info!("the country database changed and was read again");
                let _ = atlas.send(read);
            }
        }
    }
}

/// Puts in force what a command or another collector decided, and does what time asks of requests.
async fn keep_rights(rights: Arc<Rights>, clock: Clock, mut stop: watch::Receiver<bool>) {
    let mut looks: u32 = 0;
    loop {
        tokio::select! {
            () = tokio::time::sleep(RIGHTS_LOOK_EVERY) => {}
            _ = stop.changed() => return,
        }
        looks = looks.wrapping_add(1);
        let looked = if looks.is_multiple_of(LOOKS_A_MEND) { rights.look().and_then(|()| rights.mend(clock.now())) } else { rights.look() };
        if let Err(error) = looked {
            tracing::error!(%error, "the requests of persons cannot be looked at; what is known stays in force");
        }
    }
}

/// A right exercised beside the server is in force within this, and a margin to a second.
const RIGHTS_LOOK_EVERY: Duration = Duration::from_millis(250);
const LOOKS_A_MEND: u32 = 240;

const ATLAS_LOOK_EVERY: Duration = Duration::from_secs(2);

fn announce(address: SocketAddr, admin: SocketAddr, tls: bool, demo: bool) {
    let scheme = if tls { "https" } else { "http" };
    let mut out = io::stdout().lock();
    let _ = if demo {
        writeln!(out, "clearpixel demo\n  shop       {scheme}://{address}/\n  dashboard  http://{admin}/\nStop with Ctrl-C.")
    } else {
        writeln!(out, "clearpixel\n  public  {scheme}://{address}/\n  admin   http://{admin}/")
    };
    let _ = out.flush();
}

fn wait_for_signal() -> Result<(), AppError> {
    use tokio::signal::unix::{SignalKind, signal};
    runtime("signals")?.block_on(async {
        let mut terminate = signal(SignalKind::terminate()).map_err(AppError::Thread)?;
        let mut interrupt = signal(SignalKind::interrupt()).map_err(AppError::Thread)?;
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        Ok(())
    })
}

fn runtime(name: &str) -> Result<tokio::runtime::Runtime, AppError> {
    builder(name).build().map_err(AppError::Thread)
}

fn builder(name: &str) -> tokio::runtime::Builder {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    builder.enable_all().thread_name(name);
    builder
}

/// For what reads the lake: its library blocks on tasks of its own, which needs a second thread.
fn threaded_runtime(name: &str) -> Result<tokio::runtime::Runtime, AppError> {
    tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().thread_name(name).build().map_err(AppError::Thread)
}

/// For maintenance. Few threads for files: each thread's share of freed memory stays with it, and with the
/// 512 of the default a third more was held at the peak.
pub fn maintenance_runtime() -> io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread().worker_threads(1).max_blocking_threads(4).enable_all().thread_name("maintain").build()
}

fn named<T: Send + 'static>(name: String, body: impl FnOnce() -> T + Send + 'static) -> Result<JoinHandle<T>, AppError> {
    thread::Builder::new().name(name).spawn(body).map_err(AppError::Thread)
}
