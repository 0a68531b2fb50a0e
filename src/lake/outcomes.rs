//! Owns the ledger's part in the lake: the rows of `trends` whose dimension is `outcome`.
//!
//! Promises: files never change, so each is read once and its counts are remembered; only the days asked
//! for are read. Limits: 20,000 remembered files of about 10 rows of 60 bytes, 12 MB.

use super::columns::TableName;
use super::file::day_text;
use super::table::{Table, TableError};
use super::trends::Dimension;
use crate::hit::clock::{Hour, Moment};
use crate::hit::outcome::Outcome;
use arrow::array::AsArray;
use arrow::datatypes::{Int64Type, TimestampMicrosecondType};
use arrow::record_batch::RecordBatch;
use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

/// Reads outcomes, remembering the files it has read.
#[derive(Default)]
pub struct Outcomes {
    known: HashMap<String, Arc<[Ended]>>,
}

/// So many hits of a site ended so within an hour.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ended {
    pub site: Arc<str>,
    pub hour: Hour,
    pub outcome: Outcome,
    pub count: u64,
}

/// What the lake says, and up to which number of the source it says it.
pub struct Seen {
    pub ended: Vec<Ended>,
    pub committed: i64,
}

const KNOWN_MAX: usize = 20_000;

impl Outcomes {
    /// How hits ended in the hours from `from` up to and without `to`, by the newest version of the lake.
    pub async fn read(&mut self, lake: &Path, source: &str, from: Hour, to: Hour) -> Result<Seen, TableError> {
        let table = match Table::open(lake, TableName::Trends).await {
            Ok(table) => table,
            Err(TableError::Missing { .. }) => return Ok(Seen { ended: Vec::new(), committed: 0 }),
            Err(error) => return Err(error),
        };
        let committed = table.committed(source).await?.unwrap_or(0);
        let days = day_text(from.day())..=day_text(to.day());
        if self.known.len() > KNOWN_MAX {
            self.known.clear();
        }
        let mut ended = Vec::new();
        for file in table.live_files()?.into_iter().filter(|file| days.contains(&file.day)) {
            let known = match self.known.get(&file.path) {
                Some(known) => known.clone(),
                None => {
                    let read: Arc<[Ended]> = read_file(&table, &file.path).await?.into();
                    self.known.insert(file.path, read.clone());
                    read
                }
            };
            ended.extend(known.iter().filter(|row| row.hour >= from && row.hour < to).cloned());
        }
        Ok(Seen { ended, committed })
    }
}

async fn read_file(table: &Table, path: &str) -> Result<Vec<Ended>, TableError> {
    let mut rows = Vec::new();
    for batch in table.read(path, &["site", "hour", "dimension", "value", "interactions"]).await? {
        gather(&batch, &mut rows).ok_or_else(|| table.unlike(path))?;
    }
    Ok(rows)
}

fn gather(batch: &RecordBatch, rows: &mut Vec<Ended>) -> Option<()> {
    let sites = batch.column_by_name("site")?.as_string_opt::<i32>()?;
    let hours = batch.column_by_name("hour")?.as_primitive_opt::<TimestampMicrosecondType>()?;
    let dimensions = batch.column_by_name("dimension")?.as_string_opt::<i32>()?;
    let values = batch.column_by_name("value")?.as_string_opt::<i32>()?;
    let counts = batch.column_by_name("interactions")?.as_primitive_opt::<Int64Type>()?;
    for at in (0..batch.num_rows()).filter(|at| dimensions.value(*at) == Dimension::Outcome.name()) {
        // An outcome that this version does not know was written by a later one: it is left to that.
        if let Some(outcome) = Outcome::from_name(values.value(at)) {
            rows.push(Ended {
                site: sites.value(at).into(),
                hour: Moment(hours.value(at)).hour(),
                outcome,
                count: u64::try_from(counts.value(at)).unwrap_or(0),
            });
        }
    }
    Some(())
}
