//! Owns retention: what is older than a site's contract lets it be kept is removed for good.
//!
//! Terms are kept by whole UTC days: a day goes as soon as its first moment is as old as the term, so that
//! no row is ever older than its term, and none goes more than a day sooner. A site that the settings do
//! not name (any more) gets the longest terms there may be. Promises: a visitors' sketch is emptied
//! when the interactions that it counts go. Never keeps a file for readers: what is removed is
//! deleted in the same run.

use super::columns::TableName;
use super::file::day_text;
use super::read::{column, text, unlike};
use super::rewrite::{Change, Purpose, Report, RewriteError, Rewriter};
use super::dimension::Dimension;
use crate::hit::clock::{Day, Moment};
use crate::hit::outcome::Outcome;
use crate::hit::site::Site;
use arrow::array::{Array, ArrayRef, AsArray, BinaryArray, BooleanArray, Int64Array};
use arrow::compute::{filter_record_batch, nullif};
use arrow::datatypes::Int64Type;
use arrow::error::ArrowError;
use arrow::record_batch::RecordBatch;
use std::collections::HashMap;
use std::sync::Arc;

/// Removes from `rewriter`'s table what is past its term.
pub async fn retain(rewriter: &mut Rewriter<'_>, terms: &Terms, report: &mut Report) -> Result<(), RewriteError> {
    rewriter.table.refresh().await?;
    let name = rewriter.table.name();
    let latest = terms.latest(name);
    let mut files = rewriter.table.live_files()?;
    files.retain(|file| file.day < latest);
    let mut change = Retention { terms, table: name, dropped: 0, dropped_stored: 0 };
    let chosen = rewriter.choose(files, &mut change, report).await?;
    rewriter.rewrite_by_day(Purpose::Retention, chosen, &mut change, report).await
}

/// The first day (`YYYY-MM-DD`) that is kept, by site.
#[derive(Debug, Clone)]
pub struct Terms {
    sites: HashMap<String, Kept>,
    others: Kept,
}

/// The first day of a site that is kept in each table.
#[derive(Debug, Clone)]
struct Kept {
    interactions: String,
    trends: String,
}

/// 760 days: within the 25 months that audience data may be kept (CNIL).
pub const INTERACTIONS_KEEP_MAX_SECONDS: i64 = 760 * 86_400;

impl Terms {
    /// The terms at `now` of sites by key, each with the seconds that its interactions and its trends are kept.
    pub fn new<'s>(sites: impl IntoIterator<Item = (&'s str, i64, i64)>, now: Moment) -> Self {
        // The day in which the oldest allowed moment lies began before it, and goes.
        let first = |seconds: i64| day_text(Day(now.plus_seconds(-seconds).day().0 + 1));
        let kept = |interactions: i64, trends: i64| Kept { interactions: first(interactions.min(INTERACTIONS_KEEP_MAX_SECONDS)), trends: first(trends) };
        let mut longest = TRENDS_KEEP_SECONDS;
        let mut by_key = HashMap::new();
        for (site, interactions, trends) in sites {
            longest = longest.max(trends);
            by_key.insert(site.to_owned(), kept(interactions, trends));
        }
        Self { sites: by_key, others: kept(INTERACTIONS_KEEP_MAX_SECONDS, longest) }
    }

    /// The terms of `sites` at `now`.
    pub fn of_sites(sites: &[Site], now: Moment) -> Self {
        Self::new(sites.iter().map(|site| (site.key.as_str(), site.interactions_keep_seconds, site.trends_keep_seconds)), now)
    }

    /// The first day (`YYYY-MM-DD`) of `site` that `table` keeps; of trends, their counts.
    pub fn first_kept(&self, table: TableName, site: &str) -> &str {
        match table {
            TableName::Interactions => &self.of(site).interactions,
            TableName::Trends => &self.of(site).trends,
        }
    }

    fn of(&self, site: &str) -> &Kept {
        self.sites.get(site).unwrap_or(&self.others)
    }

    /// No file of this day or a later one holds anything past its term.
    fn latest(&self, table: TableName) -> String {
        let kept = self.sites.values().chain([&self.others]);
        let days = kept.map(|kept| match table {
            TableName::Interactions => &kept.interactions,
            // Sketches go with the interactions.
            TableName::Trends => (&kept.trends).max(&kept.interactions),
        });
        days.max().cloned().unwrap_or_default()
    }
}

/// 5 years, the default of `site.trends_keep`.
const TRENDS_KEEP_SECONDS: i64 = 5 * 366 * 86_400;

/// The running sums of what retention takes out of `trends`: interactions counted under `all`, and hits
/// that ended `stored`.
pub const DROPPED: &str = "dropped";
pub const DROPPED_STORED: &str = "dropped-stored";

struct Retention<'t> {
    terms: &'t Terms,
    table: TableName,
    dropped: i64,
    dropped_stored: i64,
}

impl Retention<'_> {
    /// For each row, whether it is kept on the day `day`.
    fn kept(&self, day: &str, rows: &RecordBatch) -> Result<BooleanArray, ArrowError> {
        by_site(rows, |site| day >= self.terms.first_kept(self.table, site))
    }

    /// For each row, whether its sketch is past its term on the day `day`.
    fn is_forgotten(&self, day: &str, rows: &RecordBatch) -> Result<BooleanArray, ArrowError> {
        by_site(rows, |site| day < self.terms.of(site).interactions.as_str())
    }
}

impl Change for Retention<'_> {
    fn looks_at(&self) -> &'static [&'static str] {
        match self.table {
            TableName::Interactions => &["site"],
            TableName::Trends => &["site", "visitors_sketch"],
        }
    }

    fn means(&mut self, day: &str, rows: &RecordBatch) -> Result<bool, ArrowError> {
        if self.kept(day, rows)?.false_count() > 0 {
            return Ok(true);
        }
        match self.table {
            TableName::Interactions => Ok(false),
            TableName::Trends => {
                let sketches = sketches(rows)?;
                Ok(self.is_forgotten(day, rows)?.iter().enumerate().any(|(at, forgotten)| forgotten == Some(true) && sketches.is_valid(at)))
            }
        }
    }

    fn apply(&mut self, day: &str, rows: RecordBatch) -> Result<RecordBatch, ArrowError> {
        let kept = self.kept(day, &rows)?;
        if self.table == TableName::Interactions {
            return filter_record_batch(&rows, &kept);
        }
        let (dimensions, values) = (text(&rows, "dimension")?, text(&rows, "value")?);
        let counts: &Int64Array = column(&rows, "interactions")?.as_primitive_opt::<Int64Type>().ok_or_else(|| unlike("interactions"))?;
        for at in (0..rows.num_rows()).filter(|at| !kept.value(*at)) {
            if dimensions.value(at) == Dimension::All.name() {
                self.dropped += counts.value(at);
            } else if dimensions.value(at) == Dimension::Outcome.name() && values.value(at) == Outcome::Stored.name() {
                self.dropped_stored += counts.value(at);
            }
        }
        let rows = filter_record_batch(&rows, &kept)?;
        let at = rows.schema().index_of("visitors_sketch")?;
        let mut columns: Vec<ArrayRef> = rows.columns().to_vec();
        let forgotten = self.is_forgotten(day, &rows)?;
        if let Some(sketches) = columns.get_mut(at) {
            *sketches = emptied(sketches, &forgotten)?;
        }
        RecordBatch::try_new(rows.schema(), columns)
    }

    fn sums(&mut self, gone: i64) -> Vec<(&'static str, i64)> {
        match self.table {
            TableName::Interactions => vec![(super::rewrite::REMOVED, gone)],
            TableName::Trends => vec![(DROPPED, std::mem::take(&mut self.dropped)), (DROPPED_STORED, std::mem::take(&mut self.dropped_stored))],
        }
    }
}

/// The sketches without the forgotten ones. The bytes are copied: a null that keeps its bytes behind it
/// would still be written nowhere, but be held.
fn emptied(sketches: &ArrayRef, forgotten: &BooleanArray) -> Result<ArrayRef, ArrowError> {
    let nulled = nullif(sketches, forgotten)?;
    let nulled = nulled.as_binary_opt::<i32>().ok_or_else(|| unlike("visitors_sketch"))?;
    Ok(Arc::new(nulled.iter().collect::<BinaryArray>()))
}

fn by_site(rows: &RecordBatch, each: impl Fn(&str) -> bool) -> Result<BooleanArray, ArrowError> {
    Ok(text(rows, "site")?.iter().map(|site| Some(each(site.unwrap_or_default()))).collect())
}

fn sketches(rows: &RecordBatch) -> Result<&BinaryArray, ArrowError> {
    column(rows, "visitors_sketch")?.as_binary_opt::<i32>().ok_or_else(|| unlike("visitors_sketch"))
}

#[cfg(test)]
mod tests {
    use super::Terms;
    use crate::hit::clock::Moment;
    use crate::lake::columns::TableName;

    #[test]
    fn a_day_goes_when_its_first_moment_is_as_old_as_the_term() {
        const DAY: i64 = 86_400;
        let sites = [("month", 30 * DAY, 90 * DAY), ("moment", 1, 90 * DAY)];
        // 2026-11-20.
        let midnight = Moment(1_795_132_800_000_000);
        for (now, month, moment, gone) in [
            (midnight, "2026-10-22", "2026-11-20", "2024-10-22"),
            (midnight.plus_seconds(-1), "2026-10-21", "2026-11-20", "2024-10-21"),
            (midnight.plus_seconds(1), "2026-10-22", "2026-11-21", "2024-10-22"),
            (midnight.plus_seconds(86_399), "2026-10-22", "2026-11-21", "2024-10-22"),
        ] {
            let terms = Terms::new(sites, now);
            assert_eq!(terms.of("month").interactions, month, "{now:?}");
            assert_eq!(terms.of("moment").interactions, moment, "{now:?}");
            assert_eq!(terms.of("no site any more").interactions, gone, "{now:?}");
            assert_eq!(terms.latest(TableName::Interactions), moment);
            assert_eq!(terms.latest(TableName::Trends), moment, "sketches go with the interactions");
        }
        assert_eq!(Terms::new(sites, midnight).of("month").trends, "2026-08-23");
    }
}
