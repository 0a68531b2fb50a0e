//! Owns the removal of files that no version needs any more: replaced data files, what a crash left, and
//! the log of versions past.
//!
//! Which files may go is told by their names and by the log, never by their age alone: a source's file is
//! past when the log has its number, and one that is still being written has a number that the log
//! has not. Promises: never deletes a live file or one that a live writer may yet commit; looks that
//! what it deleted is gone.

use super::file::{MAINTAIN, number_of};
use super::lease::token_of;
use super::rewrite::{RewriteError, Rewriter};
use super::table::{Table, TableError};
use object_store::ObjectMeta;
use object_store::path::Path as StorePath;
use std::collections::{HashMap, HashSet};

/// Deletes the data files of `rewriter`'s table that no version names any more: those that left it at least
/// `grace_ms` ago, and all that a crashed maintainer left. Returns how many, and how many wait.
pub async fn sweep(rewriter: &mut Rewriter<'_>, grace_ms: i64) -> Result<Swept, RewriteError> {
    let objects = rewriter.table.objects().await?;
    rewriter.table.refresh().await?;
    let own = rewriter.lease.token();
    let is_of_another = |object: &ObjectMeta| number_of(object.location.as_ref()).is_some_and(|(source, number)| source == MAINTAIN && token_of(number) < own);
    let live = live_paths(&rewriter.table)?;
    let left: Vec<ObjectMeta> = objects.into_iter().filter(|object| object.location.as_ref().starts_with("day=") && !live.contains(object.location.as_ref())).collect();
    let last = rewriter.table.committed(MAINTAIN).await?.map_or(0, token_of);
    if last < own && left.iter().any(is_of_another) {
        // Whoever wrote them may only be slow: after this it can commit nothing.
        rewriter.fence().await?;
    }
    let live = live_paths(&rewriter.table)?;
    let gone = rewriter.table.gone().await?;
    let now_ms = rewriter.clock.now().micros() / 1_000;
    let mut known = HashMap::new();
    let mut swept = Swept { deleted: rewriter.table.sweep_unfinished(MAINTAIN)?, waiting: 0 };
    for object in left {
        rewriter.lease.keep().await?;
        let path = object.location.as_ref();
        if live.contains(path) || !is_past(&rewriter.table, path, &mut known).await? {
            continue;
        }
        if gone.get(path).is_some_and(|since| now_ms - since < grace_ms) {
            swept.waiting += 1;
        } else {
            rewriter.table.delete(&object.location).await?;
            swept.deleted += 1;
        }
    }
    Ok(swept)
}

/// What a sweep did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Swept {
    pub deleted: usize,
    /// Files that were replaced so lately that readers may still be at them.
    pub waiting: usize,
}

/// Removes the log of versions that no reader needs: entries and checkpoints before the newest checkpoint,
/// but those of the last `grace_ms`. A new checkpoint is made where `at_once`, or where many entries lie
/// behind the last one.
pub async fn tidy_log(rewriter: &mut Rewriter<'_>, grace_ms: i64, at_once: bool) -> Result<usize, RewriteError> {
    rewriter.table.refresh().await?;
    let newest = rewriter.table.version().unwrap_or(0);
    let mut entries = log_entries(&rewriter.table).await?;
    let last = entries.iter().filter(|entry| entry.is_checkpoint).map(|entry| entry.version).max();
    let is_due = if at_once { last != Some(newest) } else { newest.saturating_sub(last.unwrap_or(0)) >= ENTRIES_A_CHECKPOINT };
    if newest > 0 && is_due && rewriter.table.checkpoint().await {
        entries = log_entries(&rewriter.table).await?;
    }
    let Some(base) = entries.iter().filter(|entry| entry.is_checkpoint).map(|entry| entry.version).max() else { return Ok(0) };
    let now_ms = rewriter.clock.now().micros() / 1_000;
    let mut past: Vec<LogEntry> = entries.into_iter().filter(|entry| entry.version < base && (at_once || now_ms - entry.written_at_ms >= grace_ms)).collect();
    if past.is_empty() {
        return Ok(0);
    }
    // The log is shortened only when the table opens without what goes.
    let whole = rewriter.table.opens_from_checkpoint().await?;
    if !whole {
        return Ok(0);
    }
    // Checkpoints first, the oldest entries last: what is left by a crash is never a checkpoint whose
    // entries after it are missing.
    past.sort_by_key(|entry| (!entry.is_checkpoint, std::cmp::Reverse(entry.version)));
    for entry in &past {
        rewriter.lease.keep().await?;
        rewriter.table.delete(&entry.path).await?;
    }
    Ok(past.len())
}

/// A checkpoint for this many entries: to open the table a reader reads no more than these behind it.
const ENTRIES_A_CHECKPOINT: u64 = 20;

/// An object of `_delta_log` that belongs to a version.
struct LogEntry {
    path: StorePath,
    version: u64,
    is_checkpoint: bool,
    written_at_ms: i64,
}

async fn log_entries(table: &Table) -> Result<Vec<LogEntry>, TableError> {
    let objects = table.objects().await?;
    let entries = objects.into_iter().filter_map(|object| {
        let name = object.location.as_ref().strip_prefix("_delta_log/")?;
        let (digits, rest) = name.split_at_checked(VERSION_DIGITS)?;
        let is_entry = rest.starts_with('.') && ["json", "parquet", "crc"].iter().any(|ending| rest.ends_with(ending));
        let version = digits.parse().ok().filter(|_| is_entry)?;
        let is_checkpoint = rest.starts_with(".checkpoint");
        Some(LogEntry { version, is_checkpoint, written_at_ms: object.last_modified.timestamp_millis(), path: object.location })
    });
    Ok(entries.collect())
}

/// Versions are written with 20 digits (Delta protocol, "Delta Log Entries").
const VERSION_DIGITS: usize = 20;

fn live_paths(table: &Table) -> Result<HashSet<String>, TableError> {
    Ok(table.live_files()?.into_iter().map(|file| file.path).collect())
}

/// Whether the log has a number of this file's source that is not below the file's own: then its writer is
/// done with it. A file of another make is left alone.
async fn is_past(table: &Table, path: &str, known: &mut HashMap<String, i64>) -> Result<bool, TableError> {
    let Some((source, number)) = number_of(path) else { return Ok(false) };
    let committed = match known.get(source) {
        Some(committed) => *committed,
        None => {
            let committed = table.committed(source).await?.unwrap_or(0);
            known.insert(source.to_owned(), committed);
            committed
        }
    };
    Ok(number <= committed)
}
