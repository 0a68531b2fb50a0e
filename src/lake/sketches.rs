//! Owns what an erasure does to trends: the sketches of hours that counted an erased visitor are made
//! anew from the rows that stay.
//!
//! A sketch holds bits of its visitors' hashes; counts hold nothing of anybody and stay. Promises: touches
//! no other hour of no other site; a value whose rows cannot be told from the row of `trends` alone (`(other)`,
//! `entry_page`) has no sketch afterwards, rather than one that counts the erased. Memory: a day's sketches,
//! 24 hours × 13 dimensions × 1,000 values of 4 KiB at the very most for a site, a hundredth of it in use.

use super::read::{column, text, unlike};
use super::rewrite::{Change, Purpose, Report, RewriteError, Rewriter};
use super::sql::{Session, SqlError};
use super::cells::new_sketch;
use super::dimension::Dimension;
use crate::hit::clock::Moment;
use arrow::array::{Array, AsArray, BinaryBuilder};
use arrow::datatypes::{DataType, Int64Type, TimestampMicrosecondType};
use arrow::error::ArrowError;
use arrow::record_batch::RecordBatch;
use datasketches::hash::value::raw_bytes;
use datasketches::hll::HllSketch;
use futures::TryStreamExt;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

/// The hours in which somebody was counted: by day, site and hour.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Touched {
    days: BTreeMap<String, BTreeSet<(String, i64)>>,
}

/// Why sketches were not made anew.
#[derive(Debug, thiserror::Error)]
pub enum SketchError {
    #[error(transparent)]
    Sql(#[from] SqlError),
    #[error(transparent)]
    Rewrite(#[from] RewriteError),
}

/// Makes the sketches of `touched` anew, day by day; `rest` sees every row that stays.
pub async fn renew(rewriter: &mut Rewriter<'_>, rest: &Session, touched: &Touched, report: &mut Report) -> Result<(), SketchError> {
    for (day, hours) in &touched.days {
        let mut change = Renewal { hours, sketches: gather(rest, day, hours).await? };
        rewriter.table.refresh().await.map_err(RewriteError::from)?;
        let mut files = rewriter.table.live_files().map_err(RewriteError::from)?;
        files.retain(|file| file.day == *day);
        let chosen = rewriter.choose(files, &mut change, report).await?;
        rewriter.rewrite_by_day(Purpose::Erasure, chosen, &mut change, report).await?;
    }
    Ok(())
}

impl Touched {
    /// Adds the hours of `trends` in which any of `persons` (by site, by visitor id) was counted, as `all`
    /// rows tell, sets how many rows each has, and says how many that is in all.
    pub async fn by(&mut self, all: &Session, persons: &mut BTreeMap<String, BTreeMap<String, u64>>) -> Result<u64, SqlError> {
        let mut sum = 0;
        for (site, visitors) in persons {
            let ids: Vec<String> = visitors.keys().cloned().collect();
            for some in ids.chunks(VISITORS_A_QUESTION) {
                let sql = format!(
                    "SELECT CAST(day AS VARCHAR) AS day, {FILED_HOUR} AS hour, CAST(visitor_id AS VARCHAR) AS visitor, CAST(count(*) AS BIGINT) AS rows \
                     FROM interactions WHERE site = '{site}' AND visitor_id IN ('{}') GROUP BY 1, 2, 3",
                    some.join("', '")
                );
                let mut batches = all.run(&sql).await?;
                while let Some(batch) = batches.try_next().await.map_err(SqlError::from)? {
                    sum += self.note(&batch, site, visitors).ok_or_else(|| SqlError::Failed("the hours of a visitor have other columns than asked for".to_owned()))?;
                }
            }
        }
        Ok(sum)
    }

    fn note(&mut self, batch: &RecordBatch, site: &str, visitors: &mut BTreeMap<String, u64>) -> Option<u64> {
        let texts = |name: &str| arrow::compute::cast(batch.column_by_name(name)?, &DataType::Utf8).ok();
        let (days, ids) = (texts("day")?, texts("visitor")?);
        let (days, ids) = (days.as_string_opt::<i32>()?, ids.as_string_opt::<i32>()?);
        let hours = batch.column_by_name("hour")?.as_primitive_opt::<Int64Type>()?;
        let rows = batch.column_by_name("rows")?.as_primitive_opt::<Int64Type>()?;
        for at in 0..batch.num_rows() {
            self.days.entry(days.value(at).to_owned()).or_default().insert((site.to_owned(), hours.value(at)));
            *visitors.get_mut(ids.value(at))? += rows.value(at).unsigned_abs();
        }
        Some(rows.values().iter().sum::<i64>().unsigned_abs())
    }
}

/// Visitors in one question: the list is text of 36 bytes each.
const VISITORS_A_QUESTION: usize = 1_000;

/// The hour of `trends` that a row counts in (`Record::hour`), counted from the epoch.
const FILED_HOUR: &str = "CAST(floor(CAST(CASE WHEN protocol = 'import' THEN occurred_at ELSE received_at END AS BIGINT) / 3600000000) AS BIGINT)";

/// Where the value of a dimension stands in a row; `None` where the row alone does not tell it.
const fn value_of(dimension: Dimension) -> Option<&'static str> {
    match dimension {
        Dimension::All => Some("''"),
        Dimension::Event => Some("event"),
        Dimension::Page => Some("concat(page_host, page_path)"),
        Dimension::Referrer => Some("referrer_host"),
        Dimension::Source => Some("coalesce(source_name, source_medium)"),
        Dimension::Campaign => Some("utm_campaign"),
        Dimension::Country => Some("country"),
        Dimension::Browser => Some("browser"),
        Dimension::Os => Some("os"),
        Dimension::Device => Some("device"),
        Dimension::Language => Some("language"),
        Dimension::Target => Some("target_host"),
        Dimension::Element => Some("element"),
        Dimension::EntryPage | Dimension::Outcome | Dimension::Scrubbed => None,
    }
}

type Sketches = HashMap<(String, i64), HashMap<(&'static str, String), HllSketch>>;

async fn gather(rest: &Session, day: &str, hours: &BTreeSet<(String, i64)>) -> Result<Sketches, SqlError> {
    let mut sketches = Sketches::new();
    let sites: BTreeSet<&str> = hours.iter().map(|(site, _)| site.as_str()).collect();
    let dimensions: Vec<(Dimension, &str)> = Dimension::ALL.into_iter().filter_map(|dimension| Some((dimension, value_of(dimension)?))).collect();
    for site in sites {
        let own: Vec<String> = hours.iter().filter(|(of, _)| of == site).map(|(_, hour)| hour.to_string()).collect();
        let values: Vec<String> = dimensions.iter().map(|(dimension, value)| format!("CAST({value} AS VARCHAR) AS {}_value", dimension.name())).collect();
        let sql = format!(
            "SELECT {FILED_HOUR} AS hour, CAST(visitor_id AS VARCHAR) AS visitor, {} FROM interactions \
             WHERE site = '{site}' AND day = '{day}' AND visitor_id IS NOT NULL AND {FILED_HOUR} IN ({})",
            values.join(", "),
            own.join(", ")
        );
        let mut batches = rest.run(&sql).await?;
        while let Some(batch) = batches.try_next().await.map_err(SqlError::from)? {
            count(&mut sketches, &batch, site, &dimensions).ok_or_else(|| SqlError::Failed("the rows of an hour have other columns than asked for".to_owned()))?;
        }
    }
    Ok(sketches)
}

fn count(sketches: &mut Sketches, batch: &RecordBatch, site: &str, dimensions: &[(Dimension, &'static str)]) -> Option<()> {
    let texts = |name: &str| arrow::compute::cast(batch.column_by_name(name)?, &DataType::Utf8).ok();
    let hours = batch.column_by_name("hour")?.as_primitive_opt::<Int64Type>()?;
    let visitors = texts("visitor")?;
    let visitors = visitors.as_string_opt::<i32>()?;
    for (dimension, _) in dimensions {
        let values = texts(&format!("{}_value", dimension.name()))?;
        let values = values.as_string_opt::<i32>()?;
        for at in 0..batch.num_rows() {
            let value = if values.is_null(at) { "" } else { values.value(at) };
            if value.is_empty() && *dimension != Dimension::All {
                continue;
            }
            let of_hour = sketches.entry((site.to_owned(), hours.value(at))).or_default();
            let key = (dimension.name(), value.to_owned());
            if !of_hour.contains_key(&key) {
                of_hour.insert(key.clone(), new_sketch()?);
            }
            of_hour.get_mut(&key)?.update(raw_bytes::from_slice(visitors.value(at).as_bytes()));
        }
    }
    Some(())
}

/// Replaces the sketches of some hours. Parts of one key all get the whole: they merge to the same.
struct Renewal<'h> {
    hours: &'h BTreeSet<(String, i64)>,
    sketches: Sketches,
}

impl Renewal<'_> {
    fn hour_of(&self, site: &str, hour: i64) -> Option<(String, i64)> {
        let key = (site.to_owned(), Moment(hour).hour().0);
        self.hours.contains(&key).then_some(key)
    }
}

impl Change for Renewal<'_> {
    fn looks_at(&self) -> &'static [&'static str] {
        &["site", "hour"]
    }

    fn means(&mut self, _: &str, rows: &RecordBatch) -> Result<bool, ArrowError> {
        let (sites, hours) = (text(rows, "site")?, hours_of(rows)?);
        Ok((0..rows.num_rows()).any(|at| self.hour_of(sites.value(at), hours.value(at)).is_some()))
    }

    fn apply(&mut self, _: &str, rows: RecordBatch) -> Result<RecordBatch, ArrowError> {
        let (sites, hours) = (text(&rows, "site")?, hours_of(&rows)?);
        let (dimensions, values) = (text(&rows, "dimension")?, text(&rows, "value")?);
        let sketches = column(&rows, "visitors_sketch")?.as_binary_opt::<i32>().ok_or_else(|| unlike("visitors_sketch"))?;
        let mut renewed = BinaryBuilder::new();
        for at in 0..rows.num_rows() {
            let there = sketches.is_valid(at).then(|| sketches.value(at));
            match self.hour_of(sites.value(at), hours.value(at)) {
                None => renewed.append_option(there),
                // Who had no visitor to count has none now.
                Some(_) if there.is_none() => renewed.append_null(),
                Some(hour) => {
                    let dimension = Dimension::from_name(dimensions.value(at)).map_or("", Dimension::name);
                    let of_hour = self.sketches.get(&hour);
                    let sketch = of_hour.and_then(|sketches| sketches.get(&(dimension, values.value(at).to_owned())));
                    renewed.append_option(sketch.map(HllSketch::serialize));
                }
            }
        }
        let at = rows.schema().index_of("visitors_sketch")?;
        let mut columns = rows.columns().to_vec();
        if let Some(column) = columns.get_mut(at) {
            *column = Arc::new(renewed.finish());
        }
        RecordBatch::try_new(rows.schema(), columns)
    }

    /// No row comes or goes.
    fn sums(&mut self, _: i64) -> Vec<(&'static str, i64)> {
        Vec::new()
    }
}

fn hours_of(rows: &RecordBatch) -> Result<&arrow::array::TimestampMicrosecondArray, ArrowError> {
    column(rows, "hour")?.as_primitive_opt::<TimestampMicrosecondType>().ok_or_else(|| unlike("hour"))
}

#[cfg(test)]
mod tests {
    use super::{Dimension, value_of};

    #[test]
    fn every_dimension_but_three_can_be_told_from_a_row() {
        let without: Vec<_> = Dimension::ALL.into_iter().filter(|dimension| value_of(*dimension).is_none()).map(Dimension::name).collect();
        assert_eq!(without, ["entry_page", "outcome", "scrubbed"]);
    }
}
