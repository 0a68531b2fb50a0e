//! Owns reading back, after a start, what the line keeps in memory: the event ids and visits of the
//! last day.
//!
//! Promises: reads four columns of the live files of two days, file by file, oldest first; keeps nothing.

use super::columns::TableName;
use super::file::{day_text, is_by_maintenance};
use super::table::{Table, TableError};
use crate::hit::clock::{Day, Moment};
use crate::hit::field::Id;
use arrow::array::{Array, AsArray};
use arrow::datatypes::TimestampMicrosecondType;
use arrow::record_batch::RecordBatch;
use std::path::Path;

/// What is recalled of a row.
pub struct Recalled<'a> {
    pub site: &'a str,
    pub event_id: &'a str,
    pub received_at: Moment,
    pub visitor: Option<Id>,
}

/// Calls `each` for every row of `today` and the day before.
pub async fn recall(lake: &Path, today: Day, mut each: impl FnMut(Recalled<'_>)) -> Result<usize, TableError> {
    let table = match Table::open(lake, TableName::Interactions).await {
        Ok(table) => table,
        Err(TableError::Missing { .. }) => return Ok(0),
        Err(error) => return Err(error),
    };
    let yesterday = day_text(Day(today.0 - 1));
    let mut files = table.live_files()?;
    files.retain(|file| file.day >= yesterday);
    // Numbers of portions rise, and stand in the names; what was compacted is older than what was not.
    files.sort_by_key(|file| (!is_by_maintenance(&file.path), file.path.clone()));
    let mut rows = 0;
    for file in files {
        for batch in table.read(&file.path, &["event_id", "site", "received_at", "visitor_id"]).await? {
            rows += batch.num_rows();
            tell(&batch, &mut each).ok_or_else(|| table.unlike(&file.path))?;
        }
    }
    Ok(rows)
}

fn tell(batch: &RecordBatch, each: &mut impl FnMut(Recalled<'_>)) -> Option<()> {
    let event_ids = batch.column_by_name("event_id")?.as_string_opt::<i32>()?;
    let sites = batch.column_by_name("site")?.as_string_opt::<i32>()?;
    let received = batch.column_by_name("received_at")?.as_primitive_opt::<TimestampMicrosecondType>()?;
    let visitors = batch.column_by_name("visitor_id")?.as_string_opt::<i32>()?;
    for at in 0..batch.num_rows() {
        each(Recalled {
            site: sites.value(at),
            event_id: event_ids.value(at),
            received_at: Moment(received.value(at)),
            visitor: if visitors.is_null(at) { None } else { Id::parse(visitors.value(at).as_bytes()) },
        });
    }
    Some(())
}
