//! Owns the ledger's part in the lake: the rows of `trends` whose dimension is `outcome` or `scrubbed`.
//!
//! Promises: files never change, so each is read once and its counts are remembered; only the days asked
//! for are read. Limits: 20,000 remembered files of about 2 accounts of 280 bytes, 12 MB.

use super::columns::TableName;
use super::file::day_text;
use super::table::{Table, TableError};
use super::dimension::Dimension;
use crate::hit::clock::{Hour, Moment};
use crate::hit::outcome::{Account, Outcome};
use crate::hit::scrubbed::Kind;
use arrow::array::AsArray;
use arrow::datatypes::{Int64Type, TimestampMicrosecondType};
use arrow::record_batch::RecordBatch;
use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

/// Reads the ledger, remembering the files it has read.
#[derive(Default)]
pub struct Outcomes {
    known: HashMap<String, Arc<[Entry]>>,
}

/// The account of a site and an hour, as one file has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    pub site: Arc<str>,
    pub hour: Hour,
    pub account: Account,
}

/// What the lake says, and up to which number of the source it says it.
pub struct Seen {
    pub entries: Vec<Entry>,
    pub committed: i64,
}

const KNOWN_MAX: usize = 20_000;

impl Outcomes {
    /// The ledger of the hours from `from` up to and without `to`, by the newest version of the lake.
    pub async fn read(&mut self, lake: &Path, source: &str, from: Hour, to: Hour) -> Result<Seen, TableError> {
        match self.look(lake, source, from, to).await {
            // Retention may have taken a file away between the look at the log and the look into it.
            Err(TableError::File { .. }) => self.look(lake, source, from, to).await,
            seen => seen,
        }
    }

    async fn look(&mut self, lake: &Path, source: &str, from: Hour, to: Hour) -> Result<Seen, TableError> {
        let table = match Table::open(lake, TableName::Trends).await {
            Ok(table) => table,
            Err(TableError::Missing { .. }) => return Ok(Seen { entries: Vec::new(), committed: 0 }),
            Err(error) => return Err(error),
        };
        let committed = table.committed(source).await?.unwrap_or(0);
        let days = day_text(from.day())..=day_text(to.day());
        if self.known.len() > KNOWN_MAX {
            self.known.clear();
        }
        let mut entries = Vec::new();
        for file in table.live_files()?.into_iter().filter(|file| days.contains(&file.day)) {
            let known = match self.known.get(&file.path) {
                Some(known) => known.clone(),
                None => {
                    let read: Arc<[Entry]> = read_file(&table, &file.path).await?.into();
                    self.known.insert(file.path, read.clone());
                    read
                }
            };
            entries.extend(known.iter().filter(|entry| entry.hour >= from && entry.hour < to).cloned());
        }
        Ok(Seen { entries, committed })
    }
}

async fn read_file(table: &Table, path: &str) -> Result<Vec<Entry>, TableError> {
    let mut entries = Vec::new();
    for batch in table.read(path, &["site", "hour", "dimension", "value", "interactions"]).await? {
        gather(&batch, &mut entries).ok_or_else(|| table.unlike(path))?;
    }
    Ok(entries)
}

fn gather(batch: &RecordBatch, entries: &mut Vec<Entry>) -> Option<()> {
    let sites = batch.column_by_name("site")?.as_string_opt::<i32>()?;
    let hours = batch.column_by_name("hour")?.as_primitive_opt::<TimestampMicrosecondType>()?;
    let dimensions = batch.column_by_name("dimension")?.as_string_opt::<i32>()?;
    let values = batch.column_by_name("value")?.as_string_opt::<i32>()?;
    let counts = batch.column_by_name("interactions")?.as_primitive_opt::<Int64Type>()?;
    for at in 0..batch.num_rows() {
        let mut account = Account::default();
        let count = u64::try_from(counts.value(at)).unwrap_or(0);
        // A value that this version does not know was written by a later one: it is left to that.
        let (dimension, value) = (dimensions.value(at), values.value(at));
        if dimension == Dimension::Outcome.name() && let Some(outcome) = Outcome::from_name(value) {
            account.ends.0[outcome.index()] = count;
        } else if dimension == Dimension::Scrubbed.name() && let Some(kind) = Kind::from_name(value) {
            account.scrubbed.0[kind as usize] = count;
        } else {
            continue;
        }
        let (site, hour) = (sites.value(at), Moment(hours.value(at)).hour());
        // Rows are sorted by site and hour.
        match entries.last_mut().filter(|last| &*last.site == site && last.hour == hour) {
            Some(last) => last.account.add(account),
            None => entries.push(Entry { site: site.into(), hour, account }),
        }
    }
    Some(())
}
