//! Owns compaction: which files of a day are merged, and what becomes of rows that are there twice.
//!
//! A day that is over ends as few files of the right size, sorted by the table's order, whatever number it
//! was collected in; of a day that goes on, files of like size are merged by eights, so that a row is
//! rewritten a few times and not at every run. Promises: an `event_id` of a site that came again on the
//! same or the next day is there once when both days are over (the first by `received_at`); trends are
//! one row a key. Changes no row otherwise.

use super::columns::TableName;
use super::merge::Merge;
use super::order::{Keep, Repeats, Sorter};
use super::read::{column, text, unlike};
use super::rewrite::{Change, Order, Purpose, Report, RewriteError, Rewriter, Task, is_settled};
use super::table::LiveFile;
use arrow::array::{AsArray, BooleanArray};
use arrow::compute::filter_record_batch;
use arrow::datatypes::TimestampMicrosecondType;
use arrow::error::ArrowError;
use arrow::record_batch::RecordBatch;
use chrono::NaiveDate;
use std::collections::{BTreeMap, HashSet};

/// Compacts `rewriter`'s table, a commit a day. Days before `over` (`YYYY-MM-DD`) are over.
pub async fn compact(rewriter: &mut Rewriter<'_>, over: &str, report: &mut Report) -> Result<(), RewriteError> {
    rewriter.table.refresh().await?;
    let mut days: BTreeMap<String, Vec<LiveFile>> = BTreeMap::new();
    for file in rewriter.table.live_files()? {
        days.entry(file.day.clone()).or_default().push(file);
    }
    let small = rewriter.limits.file_bytes / 2;
    for (day, files) in &days {
        let is_over = day.as_str() < over;
        let merged = if is_over { whole_day(rewriter.table.name(), files, small) } else { like_sized(files, small) };
        if !merged.is_empty() {
            let task = Task { purpose: Purpose::Compaction, day: day.clone(), files: merged, order: if is_over { Order::Settled } else { Order::Sorted } };
            match rewriter.table.name() {
                TableName::Trends => rewriter.rewrite(&task, &mut Merge::default(), report).await?,
                TableName::Interactions => {
                    let mut change = FirstOfEach::default();
                    if is_over {
                        let before = day_before(day).and_then(|before| days.get(&before));
                        // Other files of this day and those of the day before: an event id comes again within a day.
                        let is_elsewhere = |file: &&LiveFile| !task.files.iter().any(|merged| merged.path == file.path);
                        let elsewhere: Vec<_> = files.iter().filter(is_elsewhere).chain(before.into_iter().flatten()).cloned().collect();
                        let sorter = Sorter::open(&rewriter.table, rewriter.limits)?;
                        change.repeats = rewriter.lease.during(sorter.repeats(&task.files, &elsewhere)).await??;
                    }
                    rewriter.rewrite(&task, &mut change, report).await?;
                }
            }
        }
    }
    Ok(())
}

/// Of a day that is over: all that is not settled yet, and what is small if there is more than one of it.
fn whole_day(table: TableName, files: &[LiveFile], small: u64) -> Vec<LiveFile> {
    let is_new = |file: &LiveFile| !is_settled(&file.path);
    let merged: Vec<_> = match table {
        TableName::Interactions => files.iter().filter(|file| is_new(file) || file.bytes < small).cloned().collect(),
        // One row a key needs all rows of the day.
        TableName::Trends => files.to_vec(),
    };
    let is_worth_it = files.iter().any(is_new) || merged.iter().filter(|file| file.bytes < small).count() > 1;
    if is_worth_it { merged } else { Vec::new() }
}

/// Of a day that goes on: files of one size class, where there are enough of them.
fn like_sized(files: &[LiveFile], small: u64) -> Vec<LiveFile> {
    let mut classes: BTreeMap<u32, Vec<LiveFile>> = BTreeMap::new();
    for file in files.iter().filter(|file| file.bytes < small) {
        // Below 64 KiB all are alike.
        classes.entry((file.bytes >> 16).checked_ilog(FILES_A_MERGE).map_or(0, |class| class + 1)).or_default().push(file.clone());
    }
    classes.into_values().find(|files| files.len() as u64 >= FILES_A_MERGE).unwrap_or_default()
}

/// A row is rewritten once for each power of 8 between its flush's file and the largest: 4 times at most
/// from 64 KiB to 64 MiB; and a day that goes on has at most 7 files of each class, 35 in all.
const FILES_A_MERGE: u64 = 8;

fn day_before(day: &str) -> Option<String> {
    Some(day.parse::<NaiveDate>().ok()?.pred_opt()?.to_string())
}

/// Leaves the first row of each repeated event id.
#[derive(Default)]
struct FirstOfEach {
    repeats: Repeats,
    /// Two may have come in the same microsecond: one of them was passed already.
    passed: HashSet<(String, String)>,
}

impl Change for FirstOfEach {
    fn looks_at(&self) -> &'static [&'static str] {
        &["site"]
    }

    fn means(&mut self, _: &str, rows: &RecordBatch) -> Result<bool, ArrowError> {
        Ok(rows.num_rows() > 0)
    }

    fn apply(&mut self, _: &str, rows: RecordBatch) -> Result<RecordBatch, ArrowError> {
        if self.repeats.is_empty() {
            return Ok(rows);
        }
        let (sites, ids) = (text(&rows, "site")?, text(&rows, "event_id")?);
        let received = column(&rows, "received_at")?.as_primitive_opt::<TimestampMicrosecondType>().ok_or_else(|| unlike("received_at"))?;
        let mut kept = Vec::with_capacity(rows.num_rows());
        for at in 0..rows.num_rows() {
            let key = (sites.value(at).to_owned(), ids.value(at).to_owned());
            kept.push(match self.repeats.get(&key) {
                None => true,
                Some(Keep::None) => false,
                Some(Keep::First(first)) => *first == received.value(at) && self.passed.insert(key),
            });
        }
        filter_record_batch(&rows, &BooleanArray::from(kept))
    }
}

#[cfg(test)]
mod tests {
    use super::{day_before, like_sized, whole_day};
    use crate::lake::columns::TableName;
    use crate::lake::table::LiveFile;

    const KIB: u64 = 1 << 10;
    const SMALL: u64 = 64 << 20;

    /// Files by size; the settled ones are marked, the others are a collector's or maintenance's in turn.
    fn files(sizes: &[(u64, bool)]) -> Vec<LiveFile> {
        let named = |(at, (bytes, is_settled)): (usize, &(u64, bool))| LiveFile {
            path: match (is_settled, at % 2) {
                (true, _) => format!("day=2026-11-20/part-maintain-0000000001048577-{at:04}.parquet"),
                (false, 0) => format!("day=2026-11-20/part-maintain-0000000001048577-{at:04}-unsettled.parquet"),
                (false, _) => format!("day=2026-11-20/part-0a1b2c3d4e5f-{at:012}.parquet"),
            },
            day: "2026-11-20".to_owned(),
            bytes: *bytes,
            rows: Some(1),
            sha256: None,
            stats: None,
        };
        sizes.iter().enumerate().map(named).collect()
    }

    #[test]
    fn of_a_day_that_is_over() {
        let large = 128 << 20;
        for (sizes, interactions, trends) in [
            (&[][..], 0, 0),
            (&[(KIB, false)], 1, 1),
            (&[(large, false)], 1, 1),
            (&[(KIB, true)], 0, 0),
            (&[(large, true), (KIB, true)], 0, 0),
            (&[(large, true), (large, true)], 0, 0),
            (&[(large, true), (KIB, true), (KIB, true)], 2, 3),
            (&[(large, true), (KIB, true), (KIB, false)], 2, 3),
        ] {
            let files = files(sizes);
            assert_eq!(whole_day(TableName::Interactions, &files, SMALL).len(), interactions, "{sizes:?}");
            assert_eq!(whole_day(TableName::Trends, &files, SMALL).len(), trends, "{sizes:?}");
        }
    }

    #[test]
    fn of_a_day_that_goes_on() {
        for (sizes, merged) in [
            (vec![(KIB, false); 7], 0),
            (vec![(KIB, false); 8], 8),
            ([vec![(KIB, false); 7], vec![(100 * KIB, true); 7], vec![(1_000 * KIB, true); 7]].concat(), 0),
            ([vec![(KIB, false); 7], vec![(100 * KIB, true); 9]].concat(), 9),
            (vec![(SMALL, false); 20], 0),
        ] {
            assert_eq!(like_sized(&files(&sizes), SMALL).len(), merged, "{sizes:?}");
        }
    }

    #[test]
    fn the_day_before() {
        assert_eq!(day_before("2026-03-01").as_deref(), Some("2026-02-28"));
        assert_eq!(day_before("no day"), None);
    }
}
