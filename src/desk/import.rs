//! Owns bringing past interactions in: web-server logs and NDJSON, through the same gate as live hits.
//!
//! A file is known by the hash of its first 64 KiB; each portion of 200,000 lines is committed under the
//! number of its last line. So an import that was cut short goes on where it was, a second run of the
//! same file adds nothing, and a log that has grown is taken up where it ended (if it had 64 KiB before;
//! visitors of that day are then counted anew, since the salt of their ids went with the first import).
//! Promises: lines that cannot be read are counted and named; rows are in the lake when it ends; a log
//! line carries no consent, and is kept only where the law of its place and the contract need none.

use crate::hit::claims::Claims;
use crate::hit::clock::{Clock, Hour, Moment};
use crate::hit::field::{Channel, Id, Protocol};
use crate::hit::outcome::{Outcome, Reason};
use crate::hit::private::Private;
use crate::hit::raw::{Address, HeaderSignals, RawHit};
use crate::hit::record::Text;
use crate::hit::site::{Site, Sites};
use crate::journal::{folder, frame};
use crate::lake::load::{FramesInMemory, Lake, LoadError};
use crate::lake::suppressions::in_force;
use crate::lake::table::TableError;
use crate::line::collect::{Judge, Rulebook, Weighed};
use crate::line::guard::{Quotas, Repeats, Seen, Visits};
use crate::line::salts::Salts;
use crate::rules::agent::Classifier;
use crate::rules::decode::{log_line, native};
use crate::rules::identity::{SigningKey, keyed_hash};
use crate::rules::place::{Atlas, AtlasError};
use crate::rules::source::Sources;
use bumpalo::Bump;
use indicatif::{ProgressBar, ProgressStyle};
use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

/// What a file is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    Combined,
    Ndjson,
}

/// An import.
pub struct Import<'c> {
    pub sites: &'c [Site],
    pub lake: &'c Path,
    pub data_dir: &'c Path,
    pub geo_database: Option<&'c Path>,
    pub site: &'c str,
    pub format: Format,
    pub rejects: Option<&'c Path>,
}

/// Why an import did not end well. What was committed stays, and a second run goes on behind it.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    #[error("there is no site `{0}` in these settings: name one of its sites, or add it")]
    UnknownSite(String),
    #[error("{path}: {reason}")]
    File { path: String, reason: io::Error },
    #[error(transparent)]
    Atlas(#[from] AtlasError),
    #[error("the data inside the program is broken: {0}")]
    Assets(String),
    #[error("the lake: {0}")]
    Lake(#[from] LoadError),
    #[error("the lake: {0}")]
    Table(#[from] TableError),
    #[error("cannot start: {0}")]
    Start(io::Error),
}

/// Imports `files` one after the other.
pub fn import(import: &Import<'_>, files: &[PathBuf], clock: &Clock) -> Result<(), ImportError> {
    let Some(site) = import.sites.iter().find(|site| site.key.as_str() == import.site) else {
        return Err(ImportError::UnknownSite(import.site.to_owned()));
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().map_err(ImportError::Start)?;
    let mut rejects = import.rejects.map(Rejects::create).transpose()?;
    for path in files {
        let failed = |reason| ImportError::File { path: path.display().to_string(), reason };
        let identity = identity_of(path, import).map_err(failed)?;
        let salt = ImportSalt::open(import.data_dir, identity).map_err(failed)?;
        let book = Arc::new(rulebook(import, &salt)?);
        let mut lake = runtime.block_on(Lake::open(import.lake, &format!("import-{identity}")))?;
        let (done, _) = runtime.block_on(lake.committed())?;
        let started = clock.now();
        let progress = progress_bar(path).map_err(failed)?;
        let reader = open(path, &progress).map_err(failed)?;
        let mut reading = Reading { import, site, judge: Judge::new(book.clone()), book, identity, is_resumed: salt.is_resumed, clock };
        let (sender, portions) = sync_channel(1);
        // One thread reads and decides, this one writes: each waits for the other, no more than one portion ahead.
        #[expect(clippy::disallowed_methods, reason = "a thread of this command alone, joined before it ends")]
        let (read, written) = std::thread::scope(|scope| {
            let rejects = &mut rejects;
            let read = scope.spawn(move || reading.read(reader, done, &sender, rejects));
            let written = write(&mut lake, &portions, &runtime, clock, &progress);
            drop(portions);
            (read.join(), written)
        });
        let written = written?;
        let tally = match read {
            Ok(tally) => tally.map_err(failed)?,
            Err(_) => return Err(failed(io::Error::other("the reader broke down"))),
        };
        salt.destroy().map_err(failed)?;
        progress.finish_and_clear();
        tell(path, &tally, &written, done, clock.now().since(started));
    }
    Ok(())
}

/// The secret of an import's daily ids, kept beside the lake until the import is through, so that one
/// that was cut short goes on with the same ids; then destroyed, and nobody can compute them again.
struct ImportSalt {
    path: PathBuf,
    secret: [u8; 32],
    /// It lay there: the import before this one was cut short.
    is_resumed: bool,
}

impl ImportSalt {
    fn open(data_dir: &Path, identity: Id) -> io::Result<Self> {
        folder::make_private(data_dir)?;
        let path = data_dir.join(format!("import-{identity}.salt"));
        let is_resumed = path.exists();
        Ok(Self { secret: folder::kept_bytes(&path)?, path, is_resumed })
    }

    fn destroy(self) -> io::Result<()> {
        let mut file = OpenOptions::new().write(true).open(&self.path)?;
        file.write_all(&[0; 32])?;
        file.sync_all()?;
        std::fs::remove_file(&self.path)
    }
}

fn rulebook(import: &Import<'_>, salt: &ImportSalt) -> Result<Rulebook, ImportError> {
    let assets = |error: &dyn std::fmt::Display| ImportError::Assets(error.to_string());
    let atlas = import.geo_database.map_or_else(Atlas::built_in, Atlas::open)?;
    let suppressions = in_force(import.data_dir, import.lake).map_err(ImportError::Start)?;
    let mut key = [0; 32];
    getrandom::fill(&mut key).map_err(|error| assets(&error))?;
    Ok(Rulebook {
        sites: Sites::new(import.sites.to_vec()),
        sources: Sources::new().map_err(|error| assets(&error))?,
        classifier: Arc::new(Classifier::new().map_err(|error| assets(&error))?),
        // Signs nothing: a log line sets no cookie.
        key: SigningKey::new(key),
        salts: Salts::Derived(salt.secret),
        repeats: Arc::new(Repeats::new(64 << 20)),
        visits: Visits::new(16 << 20),
        quotas: Quotas::new(0),
        atlas: tokio::sync::watch::channel(Arc::new(atlas)).1,
        suppressions: tokio::sync::watch::channel(Arc::new(suppressions)).1,
    })
}

const IDENTITY_BYTES: u64 = 64 << 10;

/// What makes a file the same file: its beginning, the site and the format.
fn identity_of(path: &Path, import: &Import<'_>) -> io::Result<Id> {
    let mut head = Vec::new();
    File::open(path)?.take(IDENTITY_BYTES).read_to_end(&mut head)?;
    let format: &[u8] = match import.format {
        Format::Combined => b"combined",
        Format::Ndjson => b"ndjson",
    };
    Ok(keyed_hash(b"import", &[import.site.as_bytes(), format, &head]))
}

type Lines = Box<dyn BufRead + Send>;

/// The lines of a file, unpacked where its name ends in `.gz`.
fn open(path: &Path, progress: &ProgressBar) -> io::Result<Lines> {
    let file = progress.wrap_read(BufReader::with_capacity(1 << 20, File::open(path)?));
    if path.extension().is_some_and(|ending| ending == "gz") {
        return Ok(Box::new(BufReader::with_capacity(1 << 20, flate2::read::MultiGzDecoder::new(file))));
    }
    Ok(Box::new(BufReader::with_capacity(1 << 20, file)))
}

fn progress_bar(path: &Path) -> io::Result<ProgressBar> {
    let bar = ProgressBar::new(std::fs::metadata(path)?.len());
    if let Ok(style) = ProgressStyle::with_template("{wide_bar} {percent:>3} %  {binary_bytes_per_sec}  {msg}  {eta} left") {
        bar.set_style(style);
    }
    Ok(bar)
}

/// Lines a portion: 200,000 frames of some 200 bytes are 40 MB, of which two are in memory.
const LINES_A_PORTION: u64 = 200_000;
/// A longer line is no line of a log.
const LINE_BYTES_MAX: u64 = 64 << 10;

/// What reading found.
#[derive(Default)]
struct Tally {
    lines: u64,
    stored: u64,
    duplicate: u64,
    no_pages: u64,
    malformed: u64,
    /// Line number and the part that could not be read, of the first 100.
    named: Vec<(u64, String)>,
    refused: [u64; Reason::ALL.len()],
}

struct Reading<'i> {
    import: &'i Import<'i>,
    site: &'i Site,
    book: Arc<Rulebook>,
    judge: Judge,
    identity: Id,
    is_resumed: bool,
    clock: &'i Clock,
}

/// How one line ended.
enum Ended {
    Counted(Outcome),
    NoPage,
    Malformed(String),
}

impl Reading<'_> {
    fn read(&mut self, mut lines: Lines, done: i64, portions: &SyncSender<FramesInMemory>, rejects: &mut Option<Rejects>) -> io::Result<Tally> {
        let mut tally = Tally::default();
        let mut frames = Vec::new();
        let mut ended = [0; Outcome::COUNT];
        let mut line = Vec::new();
        let mut number = 0_u64;
        let mut arena = Bump::new();
        loop {
            line.clear();
            if lines.by_ref().take(LINE_BYTES_MAX).read_until(b'\n', &mut line)? == 0 {
                break;
            }
            let is_whole = line.last() == Some(&b'\n') || (line.len() as u64) < LINE_BYTES_MAX;
            if !is_whole {
                skip_line(&mut lines)?;
            }
            number += 1;
            if line.trim_ascii().is_empty() {
                continue;
            }
            if number <= done.unsigned_abs() {
                if !self.is_resumed {
                    continue;
                }
                // In the lake already: weighed once more for the visits and repeats that it leads to.
                let text = String::from_utf8_lossy(&line);
                self.take(text.trim_end(), number, self.clock.now(), &mut frames, &arena);
                frames.clear();
                arena.reset();
                continue;
            }
            tally.lines += 1;
            let text = String::from_utf8_lossy(&line);
            let now = self.clock.now();
            let end = if is_whole { self.take(text.trim_end(), number, now, &mut frames, &arena) } else { Ended::Malformed("longer than 64 KiB".to_owned()) };
            arena.reset();
            match end {
                Ended::Counted(outcome) => ended[outcome.index()] += 1,
                Ended::NoPage => tally.no_pages += 1,
                Ended::Malformed(part) => {
                    ended[Outcome::Refused(Reason::BadRequest).index()] += 1;
                    tally.malformed += 1;
                    if tally.named.len() < NAMED_MAX {
                        tally.named.push((number, part));
                    }
                    if let Some(rejects) = rejects {
                        rejects.0.write_all(&line)?;
                    }
                }
            }
            if number.is_multiple_of(LINES_A_PORTION) {
                tally.add(&ended);
                self.hand_over(number, std::mem::take(&mut frames), &mut ended, portions);
            }
        }
        tally.add(&ended);
        if number > done.unsigned_abs() {
            self.hand_over(number, frames, &mut ended, portions);
        }
        if let Some(rejects) = rejects {
            rejects.0.flush()?;
        }
        Ok(tally)
    }

    fn hand_over(&self, number: u64, mut frames: Vec<u8>, ended: &mut [u64; Outcome::COUNT], portions: &SyncSender<FramesInMemory>) {
        let hour = self.clock.now().hour();
        tally_frames(self.site, hour, ended, &mut frames);
        *ended = [0; Outcome::COUNT];
        // Nobody takes it where writing failed: that error is the one to tell.
        let _ = portions.send(FramesInMemory { number: i64::try_from(number).unwrap_or(i64::MAX), frames });
    }

    fn take(&mut self, line: &str, number: u64, now: Moment, frames: &mut Vec<u8>, arena: &Bump) -> Ended {
        let own_id = arena.alloc_str(&keyed_hash(&self.identity.0, &[&number.to_le_bytes()]).to_string());
        match self.import.format {
            Format::Combined => match log_line::parse(line) {
                log_line::Line::NoPage => Ended::NoPage,
                log_line::Line::Malformed(part) => Ended::Malformed(format!("{part} cannot be read")),
                log_line::Line::Page(page) => {
                    let origin = self.site.origins.iter().next();
                    let mut draft = log_line::draft(&page, self.site.key.as_str(), origin, arena);
                    draft.event_id = Some(own_id);
                    self.weigh(draft, page.address, page.user_agent, Channel::Log, now, frames)
                }
            },
            Format::Ndjson => {
                let event: native::Event = match serde_json::from_str(line) {
                    Ok(event) => event,
                    Err(error) => return Ended::Malformed(format!("no JSON object: {error}")),
                };
                let mut draft = native::from_event(&event, arena);
                if draft.unreadable {
                    return Ended::Malformed("a field is of the wrong type".to_owned());
                }
                draft.site.get_or_insert(self.site.key.as_str());
                if draft.site != Some(self.site.key.as_str()) {
                    return Ended::Malformed("an event of another site".to_owned());
                }
                draft.event_id.get_or_insert(own_id);
                let text = |name: &str| event.text(name).unwrap_or("");
                let channel = Channel::from_name(text("channel")).unwrap_or(Channel::Log);
                self.weigh(draft, text("address"), text("user_agent"), channel, now, frames)
            }
        }
    }

    fn weigh(&mut self, draft: crate::hit::draft::Draft<'_>, address: &str, user_agent: &str, channel: Channel, now: Moment, frames: &mut Vec<u8>) -> Ended {
        let hit = RawHit {
            protocol: Protocol::Import,
            channel,
            received_at: now,
            address: Private::new(parse_address(address)),
            user_agent: Private::new(user_agent.as_bytes()),
            cookies: Private::new(&[]),
            referer: Private::new(b""),
            origin: None,
            accept_language: None,
            signals: HeaderSignals::default(),
            draft,
            claims: Claims::default(),
        };
        let book = &self.book;
        let outcome = self.judge.weigh(hit, |weighed: Weighed<'_>| match weighed.kept {
            Err(reason) => Outcome::Refused(reason),
            Ok(kept) => {
                let record = kept.interaction.record();
                match book.repeats.look(book.repeats.seek(record.text(Text::Site), record.text(Text::EventId)), now) {
                    Seen::Pending(_) | Seen::Durable => Outcome::Duplicate,
                    Seen::Fresh(noted) => {
                        book.repeats.settle(noted, true);
                        frame::write_interaction(&kept.interaction, frames);
                        Outcome::Stored
                    }
                }
            }
        });
        Ended::Counted(outcome)
    }
}

const NAMED_MAX: usize = 100;

impl Tally {
    fn add(&mut self, ended: &[u64; Outcome::COUNT]) {
        self.stored += ended[Outcome::Stored.index()];
        self.duplicate += ended[Outcome::Duplicate.index()];
        for (sum, reason) in self.refused.iter_mut().zip(Reason::ALL) {
            *sum += ended[Outcome::Refused(reason).index()];
        }
    }
}

/// All ends but `stored`, which the rows themselves count.
fn tally_frames(site: &Site, hour: Hour, ended: &[u64; Outcome::COUNT], frames: &mut Vec<u8>) {
    for (outcome, count) in Outcome::ALL.into_iter().zip(ended).filter(|(outcome, count)| *outcome != Outcome::Stored && **count > 0) {
        frame::write_tally(site.key.as_str(), hour, outcome, *count, frames);
    }
}

#[expect(clippy::disallowed_types, reason = "a log's address, parsed to be cut at once")]
fn parse_address(text: &str) -> Address {
    text.parse::<std::net::IpAddr>().ok()
}

fn skip_line(lines: &mut Lines) -> io::Result<()> {
    loop {
        let buffer = lines.fill_buf()?;
        if buffer.is_empty() {
            return Ok(());
        }
        let end = buffer.iter().position(|byte| *byte == b'\n');
        let used = end.map_or(buffer.len(), |end| end + 1);
        lines.consume(used);
        if end.is_some() {
            return Ok(());
        }
    }
}

/// What writing did.
#[derive(Default)]
struct Written {
    rows: usize,
    bytes: usize,
}

/// A rival commit is met by looking again: five times, for a server that commits every second at most.
const TRIES: u32 = 5;

fn write(lake: &mut Lake, portions: &Receiver<FramesInMemory>, runtime: &tokio::runtime::Runtime, clock: &Clock, progress: &ProgressBar) -> Result<Written, ImportError> {
    let mut written = Written::default();
    for portion in portions {
        let portion = [portion];
        for tried in 1.. {
            match runtime.block_on(lake.load(&portion, clock.now())) {
                Ok(loaded) => {
                    written.rows += loaded.rows;
                    written.bytes += loaded.bytes;
                    progress.set_message(format!("{} rows", written.rows));
                    break;
                }
                Err(error) if tried == TRIES => return Err(error.into()),
                // The next load looks at the lake first.
                Err(error) => tracing::info!(%error, tried, "trying again"),
            }
        }
    }
    Ok(written)
}

/// Lines that could not be read, as they were: the operator's own, readable by its owner alone.
struct Rejects(io::BufWriter<File>);

impl Rejects {
    fn create(path: &Path) -> Result<Self, ImportError> {
        use std::os::unix::fs::OpenOptionsExt;
        let file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path);
        let file = file.map_err(|reason| ImportError::File { path: path.display().to_string(), reason })?;
        Ok(Self(io::BufWriter::new(file)))
    }
}

fn tell(path: &Path, tally: &Tally, written: &Written, done: i64, micros: i64) {
    let mut out = io::stderr().lock();
    let seconds = micros.max(1) as f64 / 1e6;
    let _ = writeln!(out, "{}: {} lines in {seconds:.1} s ({:.0} lines/s)", path.display(), tally.lines, tally.lines as f64 / seconds);
    if done > 0 {
        let _ = writeln!(out, "  {done} lines were imported before and were passed over");
    }
    let bytes_a_row = if written.rows > 0 { format!(", {:.1} bytes a row", written.bytes as f64 / written.rows as f64) } else { String::new() };
    let _ = writeln!(out, "  stored      {}{bytes_a_row}", tally.stored);
    for (name, count) in [("duplicate", tally.duplicate), ("no page", tally.no_pages), ("malformed", tally.malformed)] {
        if count > 0 {
            let _ = writeln!(out, "  {name:<11} {count}");
        }
    }
    for (reason, count) in Reason::ALL.into_iter().zip(tally.refused) {
        let count = if reason == Reason::BadRequest { count.saturating_sub(tally.malformed) } else { count };
        if count > 0 {
            let _ = writeln!(out, "  {:<11} {count}  ({})", reason.name(), reason.meaning());
        }
    }
    for (number, part) in &tally.named {
        let _ = writeln!(out, "  line {number}: {part}");
    }
    if tally.malformed > NAMED_MAX as u64 {
        let _ = writeln!(out, "  … and {} more; --rejects FILE keeps them all", tally.malformed - NAMED_MAX as u64);
    }
}
