//! Owns the proof that lake and journal hold what they say they hold.
//!
//! Reads everything: each live file's bytes against the digest in the log, its footer and its rows against
//! the log's count, its statistics against the list of columns that may have any, every object against
//! the list of live files, the ledger against the rows, the days of every site's rows against the terms of
//! its contract, and the journal's frames against their checksums.
//! Promises: bounded memory (a row group and a batch at a time); changes nothing; beside a running
//! collector a difference is a fault only where it stays when both tables are looked at again.

use crate::journal::replay::replay_segment;
use crate::journal::segment::{Directory, Shelf};
use crate::lake::columns::TableName;
use crate::lake::file::number_of;
use crate::lake::read::{self, column, text, unlike};
use crate::lake::retain::{DROPPED, DROPPED_STORED, Terms};
use crate::lake::rewrite::{REMOVED, sha256_of};
use crate::lake::table::{LiveFile, Table, TableError};
use crate::lake::dimension::Dimension;
use crate::hit::clock::Moment;
use crate::hit::outcome::Outcome;
use crate::hit::site::Site;
use arrow::array::{Array, AsArray};
use arrow::datatypes::Int64Type;
use arrow::error::ArrowError;
use arrow::record_batch::RecordBatch;
use futures::StreamExt;
use object_store::{ObjectMeta, ObjectStoreExt};
use std::collections::{BTreeMap, HashSet};
use std::fmt::Write as _;
use std::path::Path;

/// What was read, and what is wrong with it.
#[derive(Debug, Default)]
pub struct Verified {
    /// A line each, for people.
    pub facts: Vec<String>,
    /// None = all agrees.
    pub faults: Vec<String>,
}

/// Verifies the lake in `lake` and the journal in `journal`; `contracts` are the sites' and the time they
/// are held to. `tell` hears how many files of how many are done.
pub async fn verify(lake: &Path, journal: &Path, contracts: (&[Site], Moment), tell: &mut (dyn FnMut(usize, usize) + Send)) -> Result<Verified, TableError> {
    let mut verified = Verified::default();
    let mut oldest = Oldest::default();
    let mut counts = BTreeMap::new();
    for name in TableName::ALL {
        let table = match Table::open(lake, name).await {
            Ok(table) => table,
            Err(TableError::Missing { .. }) => {
                verified.facts.push(format!("{}: there is no such table yet", name.as_str()));
                continue;
            }
            Err(error) => return Err(error),
        };
        let counted = Reading { table: &table, verified: &mut verified, oldest: &mut oldest }.read(tell).await?;
        counts.insert(name.as_str(), counted);
    }
    retention(&oldest, contracts, &mut verified);
    if let (Some(rows), Some(trends)) = (counts.get("interactions"), counts.get("trends")) {
        ledger(rows, trends, lake, &mut verified).await?;
    }
    read_journal(journal, &mut verified);
    Ok(verified)
}

/// What a table's rows add up to.
#[derive(Debug, Clone, Default)]
struct Counts {
    version: Option<u64>,
    rows: i64,
    /// Of `trends`: interactions under `all`, and hits that ended `stored`.
    all: i64,
    stored: i64,
    /// Running sums of what left the table.
    removed: i64,
    dropped: i64,
    dropped_stored: i64,
}

/// The oldest day of each site in each table, and of its sketches.
#[derive(Default)]
struct Oldest {
    days: BTreeMap<(String, Part), String>,
}

/// What a site's contract has a term for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Part {
    Interactions,
    Trends,
    /// They go with the interactions that they count.
    Sketches,
}

impl Part {
    const fn name(self) -> &'static str {
        match self {
            Self::Interactions => "interactions",
            Self::Trends => "trends",
            Self::Sketches => "sketches of visitors",
        }
    }

    fn first_kept<'t>(self, terms: &'t Terms, site: &str) -> &'t str {
        match self {
            Self::Interactions | Self::Sketches => terms.first_kept(TableName::Interactions, site),
            Self::Trends => terms.first_kept(TableName::Trends, site),
        }
    }
}

impl Oldest {
    fn note(&mut self, table: TableName, day: &str, rows: &RecordBatch) -> Result<(), ArrowError> {
        let sites = text(rows, "site")?;
        let sketches = match table {
            TableName::Interactions => None,
            TableName::Trends => Some(column(rows, "visitors_sketch")?),
        };
        let part = if sketches.is_some() { Part::Trends } else { Part::Interactions };
        let mut last = None;
        for at in 0..rows.num_rows() {
            let (site, has_sketch) = (sites.value(at), sketches.is_some_and(|sketches| sketches.is_valid(at)));
            // In most rows it is the same again.
            if last == Some((site, has_sketch)) {
                continue;
            }
            last = Some((site, has_sketch));
            self.see(site, part, day);
            if has_sketch {
                self.see(site, Part::Sketches, day);
            }
        }
        Ok(())
    }

    fn see(&mut self, site: &str, part: Part, day: &str) {
        let oldest = self.days.entry((site.to_owned(), part)).or_insert_with(|| day.to_owned());
        if day < oldest.as_str() {
            day.clone_into(oldest);
        }
    }
}

/// Of each site the oldest day and the first that its contract keeps. Maintenance lets go once a UTC day:
/// what became past its term since yesterday may wait for it, what is older may not be there.
fn retention(oldest: &Oldest, (sites, now): (&[Site], Moment), verified: &mut Verified) {
    let (today, yesterday) = (Terms::of_sites(sites, now), Terms::of_sites(sites, now.plus_seconds(-86_400)));
    for ((site, part), day) in &oldest.days {
        let first = part.first_kept(&today, site);
        let told = format!("retention: {site}: the oldest {} are of {day}, and {first} is the first day that is kept", part.name());
        match day.as_str() {
            day if day >= first => verified.facts.push(told),
            day if day >= part.first_kept(&yesterday, site) => verified.facts.push(format!("{told}: the next maintenance removes what is before")),
            _ => verified.faults.push(told),
        }
    }
}

/// A table being read.
struct Reading<'v> {
    table: &'v Table,
    verified: &'v mut Verified,
    oldest: &'v mut Oldest,
}

impl Reading<'_> {
    async fn read(&mut self, tell: &mut (dyn FnMut(usize, usize) + Send)) -> Result<Counts, TableError> {
        let objects = self.table.objects().await?;
        let files = self.table.live_files()?;
        let sum = async |of| Ok::<_, TableError>(self.table.committed(of).await?.unwrap_or(0));
        let mut counts = Counts { version: self.table.version(), removed: sum(REMOVED).await?, dropped: sum(DROPPED).await?, dropped_stored: sum(DROPPED_STORED).await?, ..Counts::default() };
        let (mut bytes, mut undigested) = (0, 0);
        for (done, file) in files.iter().enumerate() {
            tell(done, files.len());
            bytes += file.bytes;
            undigested += usize::from(file.sha256.is_none());
            self.file(file, &mut counts).await;
        }
        tell(files.len(), files.len());
        let name = self.table.name().as_str();
        let mut fact = format!("{name}: version {}, {} rows in {} files of {bytes} bytes", counts.version.unwrap_or(0), counts.rows, files.len());
        if undigested > 0 {
            let _ = write!(fact, ", {undigested} of them written before digests were kept");
        }
        self.verified.facts.push(fact);
        self.objects(&objects, &files).await?;
        self.log(&objects).await?;
        Ok(counts)
    }

    async fn file(&mut self, file: &LiveFile, counts: &mut Counts) {
        match sha256_of(self.table, &file.path).await {
            Ok(found) if file.sha256.as_ref().is_some_and(|digest| *digest != found) => self.fault(&file.path, "its bytes are not those that were written"),
            Ok(_) => {}
            Err(error) => return self.fault(&file.path, &error.to_string()),
        }
        if let Err(reason) = self.rows(file, counts).await {
            self.fault(&file.path, &reason);
        }
    }

    async fn rows(&mut self, file: &LiveFile, counts: &mut Counts) -> Result<(), String> {
        let told = |error: &dyn std::fmt::Display| error.to_string();
        let builder = read::open(self.table.store(), &file.path, file.bytes).await.map_err(|error| told(&error))?;
        let may_have: HashSet<_> = self.table.name().columns().iter().filter(|column| column.skips).map(|column| column.name).collect();
        for group in builder.metadata().row_groups() {
            for column in group.columns().iter().filter(|column| column.statistics().is_some()) {
                let name = column.column_path().string();
                if !may_have.contains(name.as_str()) {
                    self.fault(&file.path, &format!("its footer has statistics of {name}"));
                }
            }
        }
        if file.stats.as_deref().is_some_and(|stats| !tells_rows_alone(stats)) {
            self.fault(&file.path, "the log has statistics of it besides the number of rows");
        }
        let mut rows = builder.build().map_err(|error| told(&error))?;
        let mut found = 0;
        while let Some(batch) = rows.next().await {
            let batch = batch.map_err(|error| told(&error))?;
            found += batch.num_rows();
            self.oldest.note(self.table.name(), &file.day, &batch).map_err(|error| told(&error))?;
            if self.table.name() == TableName::Trends {
                add_trends(&batch, counts).map_err(|error| told(&error))?;
            }
        }
        counts.rows += found as i64;
        match file.rows {
            Some(rows) if rows == found => Ok(()),
            Some(rows) => Err(format!("it has {found} rows and the log says {rows}")),
            None => Err("the log does not say how many rows it has".to_owned()),
        }
    }

    /// Every data file is live, or named so that a later sweep will know what it is.
    async fn objects(&mut self, objects: &[ObjectMeta], files: &[LiveFile]) -> Result<(), TableError> {
        let live: HashSet<_> = files.iter().map(|file| file.path.as_str()).collect();
        let (mut replaced, mut unfinished) = (0, 0);
        for object in objects {
            let path = object.location.as_ref();
            if path.starts_with("_delta_log/") || live.contains(path) {
                continue;
            }
            match number_of(path) {
                Some((source, number)) if number <= self.table.committed(source).await?.unwrap_or(0) => replaced += 1,
                Some(_) => unfinished += 1,
                None => self.fault(path, "no version of the table names it, and no part of this program writes files of such a name"),
            }
        }
        if replaced > 0 {
            self.verified.facts.push(format!("{}: {replaced} replaced files wait to be deleted by the next maintenance", self.table.name().as_str()));
        }
        if unfinished > 0 {
            self.verified.facts.push(format!("{}: {unfinished} files are being written, or were left by a crash for the next start or maintenance", self.table.name().as_str()));
        }
        Ok(())
    }

    /// The log names no person: no predicate, and no statistics but counts.
    async fn log(&mut self, objects: &[ObjectMeta]) -> Result<(), TableError> {
        let entries = objects.iter().filter(|object| object.location.as_ref().starts_with("_delta_log/") && object.location.as_ref().ends_with(".json"));
        for entry in entries {
            let path = entry.location.as_ref();
            let read = async { self.table.store().get(&entry.location).await?.bytes().await };
            let bytes = match read.await {
                Ok(bytes) => bytes,
                // Tidied meanwhile.
                Err(object_store::Error::NotFound { .. }) => continue,
                Err(reason) => return Err(TableError::Store { table: self.table.name().as_str(), reason }),
            };
            for line in bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
                let Ok(action) = serde_json::from_slice::<serde_json::Value>(line) else {
                    self.fault(path, "it holds a line that is no JSON");
                    continue;
                };
                if action["commitInfo"]["operationParameters"].get("predicate").is_some_and(|predicate| !predicate.is_null()) {
                    self.fault(path, "it tells the predicate of a change");
                }
                let stats = ["add", "remove"].iter().find_map(|kind| action[*kind]["stats"].as_str());
                if stats.is_some_and(|stats| !tells_rows_alone(stats)) {
                    self.fault(path, "it has statistics besides numbers of rows");
                }
            }
        }
        Ok(())
    }

    fn fault(&mut self, path: &str, what: &str) {
        self.verified.faults.push(format!("{}/{path}: {what}", self.table.name().as_str()));
    }
}

fn tells_rows_alone(stats: &str) -> bool {
    let told: Result<BTreeMap<String, serde_json::Value>, _> = serde_json::from_str(stats);
    told.is_ok_and(|told| told.iter().all(|(name, value)| name == "numRecords" || is_empty(value) || name == "tightBounds"))
}

fn is_empty(value: &serde_json::Value) -> bool {
    value.is_null() || value.as_object().is_some_and(serde_json::Map::is_empty)
}

fn add_trends(rows: &RecordBatch, counts: &mut Counts) -> Result<(), ArrowError> {
    let (dimensions, values) = (text(rows, "dimension")?, text(rows, "value")?);
    let interactions = column(rows, "interactions")?.as_primitive_opt::<Int64Type>().ok_or_else(|| unlike("interactions"))?;
    for at in 0..rows.num_rows() {
        if dimensions.value(at) == Dimension::All.name() {
            counts.all += interactions.value(at);
        } else if dimensions.value(at) == Dimension::Outcome.name() && values.value(at) == Outcome::Stored.name() {
            counts.stored += interactions.value(at);
        }
    }
    Ok(())
}

/// Every row that was ever kept is a row now, or was removed and counted; trends counted it once, and the
/// ledger as `stored`.
async fn ledger(rows: &Counts, trends: &Counts, lake: &Path, verified: &mut Verified) -> Result<(), TableError> {
    let ever = rows.rows + rows.removed;
    let fact = format!(
        "ledger: {} rows and {} removed; trends count {} and {} dropped; {} stored and {} dropped",
        rows.rows, rows.removed, trends.all, trends.dropped, trends.stored, trends.dropped_stored
    );
    verified.facts.push(fact.clone());
    if ever == trends.all + trends.dropped && ever == trends.stored + trends.dropped_stored {
        return Ok(());
    }
    let mut is_moving = false;
    for (name, version) in [(TableName::Interactions, rows.version), (TableName::Trends, trends.version)] {
        is_moving |= Table::open(lake, name).await?.version() != version;
    }
    if is_moving {
        verified.facts.push("ledger: the lake changed while it was read, so these need not agree; run it again while nothing comes in".to_owned());
    } else {
        verified.faults.push(fact);
    }
    Ok(())
}

fn read_journal(folder: &Path, verified: &mut Verified) {
    if !folder.is_dir() {
        verified.facts.push("journal: there is none here".to_owned());
        return;
    }
    let read = || {
        let shelf = Directory::open(folder)?;
        let (mut frames, mut torn, mut count) = (0, 0, 0);
        for segment in shelf.list()? {
            let bytes = match shelf.read(segment.sequence) {
                Ok(bytes) => bytes,
                // Loaded meanwhile.
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
                Err(error) => return Err(error),
            };
            count += 1;
            let replayed = replay_segment(bytes, segment.sequence, |_| {})?;
            frames += replayed.frames;
            torn += replayed.torn_bytes;
        }
        Ok((count, frames, torn))
    };
    match read() {
        Ok((count, frames, torn)) => {
            verified.facts.push(format!("journal: {frames} frames in {count} segments wait for the lake; {torn} bytes after the last good frame of one"));
        }
        Err(error) => verified.faults.push(format!("journal: {error}")),
    }
}
