//! Owns the one verb that changes old files: choose them, keep, map or sort their rows, write new ones,
//! swap them in one commit, delete the old ones by name and look that they are gone.
//!
//! Compaction, erasure, rectification and retention are callers of it; nothing else changes a file.
//! Promises: a commit removes only files that are live in the very version it stands on, so that of two
//! rivals one fails and no row is doubled; ingest, which only adds, never makes it fail; a holder of an
//! older lease than the log has seen commits nothing; a crash at any step leaves the old rows or the
//! new ones, and files that the next run sweeps. What it writes into the log names no person. Memory:
//! see `order::Limits`.

use crate::hit::field::hex;
use super::columns::{TableName, arrow_schema};
use super::file::{FileSink, MAINTAIN, NewFile, is_by_maintenance};
use super::lease::{Lease, LeaseError, token_of};
use super::order::{Limits, OrderError, Sorter};
use super::read::{self, StoredFile, conform};
use super::table::{COMMIT_TRIES, LiveFile, Swap, Table, TableError};
use crate::hit::clock::Clock;
use arrow::record_batch::RecordBatch;
use arrow::error::ArrowError;
use deltalake::protocol::DeltaOperation;
use futures::{Stream, StreamExt, TryStreamExt};
use object_store::ObjectStoreExt;
use object_store::path::Path as StorePath;
use parquet::arrow::ProjectionMask;
use parquet::arrow::async_reader::ParquetRecordBatchStreamBuilder;
use parquet::errors::ParquetError;
use serde::Serialize;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::Arc;

/// Changes old files of one table, under a lease.
pub struct Rewriter<'l> {
    pub table: Table,
    pub lease: &'l Lease,
    pub limits: &'l Limits,
    pub clock: &'l Clock,
}

/// What a rewrite does to rows. Batches have the table's own schema.
pub trait Change: Send {
    /// Ids of visitors, where only rows of these are meant: files whose bloom filters have none of them
    /// are not read.
    fn visitors(&self) -> Option<&[String]> {
        None
    }

    /// The columns that `means` looks at.
    fn looks_at(&self) -> &'static [&'static str];

    /// Whether a row of `rows` (of file day `day`, with the columns of `looks_at`) would be changed.
    fn means(&mut self, day: &str, rows: &RecordBatch) -> Result<bool, ArrowError>;

    /// The rows of a file of day `day` as they are to be.
    fn apply(&mut self, day: &str, rows: RecordBatch) -> Result<RecordBatch, ArrowError>;

    /// What is left to write after the last row of a task.
    fn finish(&mut self) -> Result<Option<RecordBatch>, ArrowError> {
        Ok(None)
    }

    /// By how much the commit raises the table's running sums; `gone` rows less come out than went in.
    fn sums(&mut self, gone: i64) -> Vec<(&'static str, i64)> {
        vec![(REMOVED, gone)]
    }
}

/// The running sum of rows that left `interactions` by other ways than a file's replacement.
pub const REMOVED: &str = "removed";

/// Why files are rewritten.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Purpose {
    Compaction,
    Retention,
    Erasure,
    Rectification,
}

/// Files of one day that are rewritten together, in one commit.
pub struct Task {
    pub purpose: Purpose,
    pub day: String,
    pub files: Vec<LiveFile>,
    pub order: Order,
}

/// How rows lie in what a task writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// As they lay, each file with a successor of its own.
    Kept,
    /// All in the table's order; the day goes on, so repeats may still come.
    Sorted,
    /// All in the table's order and without repeats: the day is over.
    Settled,
}

/// What a run of rewrites did. Holds nothing of a person.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Report {
    pub files_looked_at: usize,
    /// Files that were replaced, in the order of their commits.
    pub before: Vec<Digested>,
    pub after: Vec<Digested>,
    /// Versions of the tables that the commits made.
    pub versions: Vec<Version>,
    pub rows_in: u64,
    pub rows_out: u64,
    /// Files that were deleted, and looked for.
    pub deleted: usize,
    pub elapsed_ms: i64,
}

/// A file and its digest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Digested {
    pub table: &'static str,
    pub path: String,
    pub bytes: u64,
    pub rows: u64,
    pub sha256: String,
}

/// A version of a table, and what made it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Version {
    pub table: &'static str,
    pub version: u64,
    pub purpose: Purpose,
}

/// Why a rewrite was not done, or not as far as is known.
#[derive(Debug, thiserror::Error)]
pub enum RewriteError {
    #[error(transparent)]
    Table(#[from] TableError),
    #[error(transparent)]
    Lease(#[from] LeaseError),
    #[error(transparent)]
    Order(#[from] OrderError),
    #[error("another maintainer changed {table} meanwhile: {path} is not its file any more")]
    Rival { table: &'static str, path: String },
    #[error("a later maintainer has already changed {table}")]
    Fenced { table: &'static str },
    #[error("{path} of {table}: {reason}")]
    File { table: &'static str, path: String, reason: String },
    #[error("{table}: of {wrote} rows written {found} can be read back")]
    Unlike { table: &'static str, wrote: usize, found: i64 },
    #[error("the rows of {table}: {reason}")]
    Rows { table: &'static str, reason: ArrowError },
}

type Rows = Pin<Box<dyn Stream<Item = Result<RecordBatch, RewriteError>> + Send>>;

impl Rewriter<'_> {
    /// Rewrites the files of `task` by `change` in one commit, then deletes them (but for a compaction's,
    /// which readers may still be at: `sweep` takes those). Without rows to write files only go.
    pub async fn rewrite(&mut self, task: &Task, change: &mut dyn Change, report: &mut Report) -> Result<(), RewriteError> {
        let started = self.clock.now();
        let number = self.lease.next_number();
        let (mut rows_in, mut come) = (0, Vec::new());
        // Sorted, all is one; otherwise each file has a successor of its own.
        let (sorts, at_once) = match task.order {
            Order::Kept => (false, 1),
            Order::Sorted | Order::Settled => (true, task.files.len().max(1)),
        };
        for files in task.files.chunks(at_once) {
            let is_settled = match task.order {
                Order::Kept => files.iter().all(|file| is_settled(&file.path)),
                Order::Sorted => false,
                Order::Settled => true,
            };
            let mut rows = self.rows(files, sorts).await?;
            let mut sink: Option<FileSink> = None;
            while let Some(batch) = self.lease.during(rows.next()).await? {
                let batch = batch?;
                self.lease.keep().await?;
                rows_in += batch.num_rows();
                let batch = change.apply(&task.day, batch).map_err(|reason| self.unsound(reason))?;
                self.write(task, (number, is_settled), batch, &mut sink, &mut come).await?;
            }
            if let Some(rest) = change.finish().map_err(|reason| self.unsound(reason))? {
                self.write(task, (number, is_settled), rest, &mut sink, &mut come).await?;
            }
            if let Some(sink) = sink {
                come.push(sink.finish().await.map_err(|error| self.unwritten(task, &error))?);
            }
        }
        let rows_out: usize = come.iter().map(|file| file.rows).sum();
        for file in &come {
            self.look_at(file).await?;
        }
        let before = self.digests(&task.files).await?;
        let sums = change.sums(rows_in as i64 - rows_out as i64);
        let version = self.swap(task, number, &come, sums).await?;
        if task.purpose != Purpose::Compaction {
            for file in &task.files {
                self.table.delete(&StorePath::from(file.path.as_str())).await?;
                report.deleted += 1;
            }
        }
        let table = self.name();
        report.before.extend(before);
        report.after.extend(come.into_iter().map(|file| Digested { table, path: file.path, bytes: file.bytes, rows: file.rows as u64, sha256: file.sha256 }));
        report.versions.push(Version { table, version, purpose: task.purpose });
        report.rows_in += rows_in as u64;
        report.rows_out += rows_out as u64;
        report.elapsed_ms += self.clock.now().since(started) / 1_000;
        Ok(())
    }

    /// Rewrites `files` as they lie, each to a successor of its own, in one commit a day.
    pub async fn rewrite_by_day(&mut self, purpose: Purpose, files: Vec<LiveFile>, change: &mut dyn Change, report: &mut Report) -> Result<(), RewriteError> {
        let mut days: BTreeMap<String, Vec<LiveFile>> = BTreeMap::new();
        for file in files {
            days.entry(file.day.clone()).or_default().push(file);
        }
        for (day, files) in days {
            self.rewrite(&Task { purpose, day, files, order: Order::Kept }, change, report).await?;
        }
        Ok(())
    }

    /// Those of `files` that hold a row which `change` means. A bloom filter rules a row group out where
    /// visitors are sought; what has none is read, the columns of `looks_at` alone.
    pub async fn choose(&self, files: Vec<LiveFile>, change: &mut dyn Change, report: &mut Report) -> Result<Vec<LiveFile>, RewriteError> {
        let mut chosen = Vec::new();
        for file in files {
            self.lease.keep().await?;
            report.files_looked_at += 1;
            if self.holds(&file, change).await? {
                chosen.push(file);
            }
        }
        Ok(chosen)
    }

    async fn holds(&self, file: &LiveFile, change: &mut dyn Change) -> Result<bool, RewriteError> {
        let failed = |error: ParquetError| self.unread(&file.path, &error);
        let mut builder = self.open(&file.path, file.bytes).await?;
        let groups = match change.visitors() {
            Some(visitors) => {
                let column = builder.parquet_schema().columns().iter().position(|column| column.name() == "visitor_id");
                let mut groups = Vec::new();
                for group in 0..builder.metadata().num_row_groups() {
                    let filter = match column {
                        Some(column) => builder.get_row_group_column_bloom_filter(group, column).await.map_err(failed)?,
                        None => None,
                    };
                    if filter.is_none_or(|filter| visitors.iter().any(|visitor| filter.check(&visitor.as_str()))) {
                        groups.push(group);
                    }
                }
                groups
            }
            None => (0..builder.metadata().num_row_groups()).collect(),
        };
        if groups.is_empty() {
            return Ok(false);
        }
        let mask = ProjectionMask::columns(builder.parquet_schema(), change.looks_at().iter().copied());
        let mut rows = builder.with_row_groups(groups).with_projection(mask).build().map_err(failed)?;
        while let Some(batch) = rows.next().await {
            let batch = batch.map_err(failed)?;
            let schema = Arc::new(arrow_schema(self.table.name()).project(&indices(self.table.name(), change.looks_at())).map_err(|reason| self.unsound(reason))?);
            let batch = conform(&batch, &schema).map_err(|reason| self.unsound(reason))?;
            if change.means(&file.day, &batch).map_err(|reason| self.unsound(reason))? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Leaves a commit without files under this lease's token: whoever held an older one can commit
    /// nothing after it, and what it wrote can be swept.
    pub async fn fence(&mut self) -> Result<(), RewriteError> {
        let task = Task { purpose: Purpose::Compaction, day: String::new(), files: Vec::new(), order: Order::Kept };
        let number = self.lease.next_number();
        self.swap(&task, number, &[], Vec::new()).await.map(|_| ())
    }

    /// One commit of Remove and Add on top of the newest version, whatever ingest adds meanwhile.
    async fn swap(&mut self, task: &Task, number: i64, come: &[NewFile], sums: Vec<(&'static str, i64)>) -> Result<u64, RewriteError> {
        let table = self.name();
        for _ in 0..COMMIT_TRIES {
            self.lease.keep().await?;
            self.lease.check().await?;
            if self.table.committed(MAINTAIN).await?.is_some_and(|last| token_of(last) > self.lease.token()) {
                return Err(RewriteError::Fenced { table });
            }
            let live = self.table.live_files()?;
            if let Some(gone) = task.files.iter().find(|file| !live.iter().any(|live| live.path == file.path)) {
                return Err(RewriteError::Rival { table, path: gone.path.clone() });
            }
            let mut numbers = vec![(MAINTAIN.to_owned(), number)];
            for (of, more) in &sums {
                if *more != 0 {
                    numbers.push(((*of).to_owned(), self.table.committed(of).await?.unwrap_or(0) + more));
                }
            }
            let operation = match task.purpose {
                Purpose::Compaction => DeltaOperation::Optimize { predicate: None, target_size: i64::try_from(self.limits.file_bytes).unwrap_or(i64::MAX) },
                Purpose::Retention | Purpose::Erasure => DeltaOperation::Delete { predicate: None },
                Purpose::Rectification => DeltaOperation::Update { predicate: None },
            };
            let swap = Swap { go: &task.files, come, numbers, operation, now_ms: self.clock.now().micros() / 1_000 };
            let swapped = self.table.swap(&swap).await;
            if let Ok(Some(version)) = swapped {
                return Ok(version);
            }
            // The answer may have been lost, not the commit: its number tells.
            self.table.refresh().await?;
            if self.table.committed(MAINTAIN).await? == Some(number) {
                return Ok(self.table.version().unwrap_or(0));
            }
            swapped?;
        }
        Err(TableError::Busy { table, tries: COMMIT_TRIES }.into())
    }

    async fn rows(&self, files: &[LiveFile], sorts: bool) -> Result<Rows, RewriteError> {
        let table = self.name();
        if sorts {
            let sorter = Sorter::open(&self.table, self.limits)?;
            return Ok(sorter.sorted(files).await?.map_err(RewriteError::from).boxed());
        }
        let mut all: Rows = futures::stream::empty().boxed();
        for file in files {
            let builder = self.open(&file.path, file.bytes).await?;
            let rows = builder.with_batch_size(BATCH_ROWS).build().map_err(|error| self.unread(&file.path, &error))?;
            let (path, schema) = (file.path.clone(), arrow_schema(self.table.name()));
            let rows = rows.map(move |batch| {
                let batch = batch.map_err(|error| RewriteError::File { table, path: path.clone(), reason: error.to_string() })?;
                conform(&batch, &schema).map_err(|reason| RewriteError::Rows { table, reason })
            });
            all = all.chain(rows).boxed();
        }
        Ok(all)
    }

    async fn write(&self, task: &Task, (number, is_settled): (i64, bool), rows: RecordBatch, sink: &mut Option<FileSink>, come: &mut Vec<NewFile>) -> Result<(), RewriteError> {
        if rows.num_rows() == 0 {
            return Ok(());
        }
        let mut open = match sink.take() {
            Some(open) => open,
            None => {
                let ending = if is_settled { "" } else { UNSETTLED };
                let path = format!("day={}/part-{MAINTAIN}-{number:016}-{:04}{ending}.parquet", task.day, come.len());
                FileSink::new(self.table.name(), self.table.store(), &task.day, path, self.clock.now()).map_err(|error| self.unwritten(task, &error))?
            }
        };
        open.write(&rows).await.map_err(|error| self.unwritten(task, &error))?;
        if open.bytes() >= self.limits.file_bytes {
            come.push(open.finish().await.map_err(|error| self.unwritten(task, &error))?);
        } else {
            *sink = Some(open);
        }
        Ok(())
    }

    /// Opens a file that was just written and counts its rows.
    async fn look_at(&self, file: &NewFile) -> Result<(), RewriteError> {
        let found = self.open(&file.path, file.bytes).await?.metadata().file_metadata().num_rows();
        match usize::try_from(found) == Ok(file.rows) {
            true => Ok(()),
            false => Err(RewriteError::Unlike { table: self.name(), wrote: file.rows, found }),
        }
    }

    async fn digests(&self, files: &[LiveFile]) -> Result<Vec<Digested>, RewriteError> {
        let mut digests = Vec::with_capacity(files.len());
        for file in files {
            let sha256 = match &file.sha256 {
                Some(known) => known.clone(),
                None => sha256_of(&self.table, &file.path).await?,
            };
            digests.push(Digested { table: self.name(), path: file.path.clone(), bytes: file.bytes, rows: file.rows.unwrap_or(0) as u64, sha256 });
        }
        Ok(digests)
    }

    async fn open(&self, path: &str, bytes: u64) -> Result<ParquetRecordBatchStreamBuilder<StoredFile>, RewriteError> {
        read::open(self.table.store(), path, bytes).await.map_err(|error| self.unread(path, &error))
    }

    fn name(&self) -> &'static str {
        self.table.name().as_str()
    }

    fn unread(&self, path: &str, error: &ParquetError) -> RewriteError {
        RewriteError::File { table: self.name(), path: path.to_owned(), reason: error.to_string() }
    }

    fn unwritten(&self, task: &Task, error: &ParquetError) -> RewriteError {
        RewriteError::File { table: self.name(), path: format!("day={}", task.day), reason: error.to_string() }
    }

    const fn unsound(&self, reason: ArrowError) -> RewriteError {
        RewriteError::Rows { table: self.table.name().as_str(), reason }
    }
}

/// Ends the name of a file that maintenance wrote and that is still to be sorted, or rid of repeats, when
/// its day is over.
const UNSETTLED: &str = "-unsettled";

/// Whether a file's rows are in order and without repeats: compaction of a day that was over wrote it, or
/// it is the successor of such a file.
pub fn is_settled(path: &str) -> bool {
    is_by_maintenance(path) && !path.contains(UNSETTLED)
}

/// 8,192 rows of 1 KiB are 8 MiB.
const BATCH_ROWS: usize = 8_192;

/// The SHA-256 of a live file's bytes, hex.
pub async fn sha256_of(table: &Table, path: &str) -> Result<String, TableError> {
    let failed = |reason| TableError::Store { table: table.name().as_str(), reason };
    let mut bytes = table.store().get(&StorePath::from(path)).await.map_err(failed)?.into_stream();
    let mut hash = Sha256::new();
    while let Some(part) = bytes.try_next().await.map_err(failed)? {
        hash.update(&part);
    }
    Ok(hex(&hash.finalize()))
}

fn indices(table: TableName, names: &[&str]) -> Vec<usize> {
    table.columns().iter().enumerate().filter(|(_, column)| names.contains(&column.name)).map(|(at, _)| at).collect()
}
