//! Owns the counting of a site's week for third parties: SQL over one version of the lake.
//!
//! Counts rows that may be shared, of visitors who are no robots; whom a suppression hides is not there (the
//! session's audience). Groups by visitor before it counts, so that what does not fit in memory goes to disk.
//! Promises: values of rows come back into SQL as quoted texts alone.

use super::rights::{Rights, RightsError};
use super::share::{CELLS_MAX, COUNTED_MAX, Cell, Count, Dimension, Frozen, Group, OTHER, PEOPLE_MIN, Rest, SEPARATOR, Shelf, Week, publish};
use crate::hit::clock::Moment;
use crate::hit::site::Site;
use crate::lake::audience::Audience;
use crate::lake::file::day_text;
use crate::lake::sql::{Session, SessionOptions, SqlError};
use crate::lake::table::TableError;
use arrow::array::AsArray;
use arrow::datatypes::{DataType, Int64Type};
use arrow::record_batch::RecordBatch;
use futures::TryStreamExt;
use std::io;
use std::path::{Path, PathBuf};

/// Why a week cannot be given.
#[derive(Debug, thiserror::Error)]
pub enum ShareError {
    #[error("the week {0} is not over, or not settled: it is counted a day after its end")]
    Open(Week),
    #[error("the week {0} was never published, and its interactions are past their term")]
    Past(Week),
    #[error("nothing was collected yet")]
    Empty,
    #[error("the week {0} was published before, and what was published is not there any more: counted anew it could be subtracted from the first; put the lake's folder `_shared` back")]
    Lost(Week),
    #[error("the published week {0} is not what left the first time: put the lake's folder `_shared` back")]
    Changed(Week),
    #[error(transparent)]
    Sql(#[from] SqlError),
    #[error(transparent)]
    Rights(#[from] RightsError),
    #[error("the published weeks cannot be read or kept: {0}")]
    Io(#[from] io::Error),
}

/// A site's week as it was published; published now where it was not yet. One at a time: the caller sees to it.
pub async fn week(lake: &Path, spill: PathBuf, rights: &Rights, site: &Site, week: Week, now: Moment) -> Result<Frozen, ShareError> {
    if !week.is_settled(now) {
        return Err(ShareError::Open(week));
    }
    let (shelf, key) = (Shelf::of(lake), site.key.as_str());
    let known = rights.shared_before(key, &week.to_string())?;
    match (shelf.read(key, week)?, known) {
        (Some(frozen), Some(sha256)) if frozen.sha256 != sha256 => return Err(ShareError::Changed(week)),
        (Some(frozen), Some(_) | None) => return Ok(frozen),
        (None, Some(_)) if !week.is_past(site.trends_keep_seconds, now) => return Err(ShareError::Lost(week)),
        (None, Some(_)) => return Err(ShareError::Past(week)),
        (None, None) => {}
    }
    if week.is_past(site.interactions_keep_seconds.min(site.trends_keep_seconds), now) {
        return Err(ShareError::Past(week));
    }
    let audience = Audience::Anyone(rights.subscribe().borrow().clone());
    let session = match Session::open(lake, SessionOptions::new(spill, audience)) {
        Ok(session) => session,
        Err(SqlError::Table(TableError::Missing { .. })) => return Err(ShareError::Empty),
        Err(error) => return Err(error.into()),
    };
    let tables = publish(&WeekOfRows { session: &session, site, week }).await?;
    Ok(shelf.keep(site, week, tables, now)?)
}

/// The rows of a site's week.
pub struct WeekOfRows<'s> {
    pub session: &'s Session,
    pub site: &'s Site,
    pub week: Week,
}

impl WeekOfRows<'_> {
    /// `key`, `day`, `visitor_id` and `trait` of the rows that count.
    fn rows(&self, group: Group) -> String {
        format!(
            "SELECT {} AS key, day, visitor_id, {TRAIT} AS trait FROM interactions WHERE site = '{}' AND day >= DATE '{}' AND day < DATE '{}' \
             AND may_share AND NOT is_bot AND visitor_id IS NOT NULL",
            key_of(group),
            self.site.key,
            day_text(self.week.first()),
            day_text(self.week.end()),
        )
    }

    async fn ask(&self, sql: &str) -> Result<Vec<RecordBatch>, SqlError> {
        self.session.run(sql).await?.try_collect().await.map_err(SqlError::from)
    }

    async fn number(&self, sql: &str) -> Result<u64, SqlError> {
        read(&self.ask(sql).await?, |batch| numbers(batch, "n"))?.first().copied().ok_or_else(unlike)
    }
}

/// A row for each pair of a visitor and a trait within `by` in which no visitor and no trait comes twice: each
/// visitor's least trait, and of each trait one visitor. Somebody with many ids has one trait, somebody who moves
/// about has one id; whoever is in two pairs has both.
fn people(by: &str, rows: &str) -> String {
    format!("SELECT {by}, trait FROM (SELECT {by}, visitor_id, min(trait) AS trait FROM ({rows}) GROUP BY {by}, visitor_id) GROUP BY {by}, trait")
}

/// What a browser came with on a day.
const TRAIT: &str = "concat_ws(chr(31), network, browser, browser_version, os, os_version, device, language)";

fn key_of(group: Group) -> String {
    let part = |value: &str| format!("replace(coalesce({value}, '(unknown)'), chr(31), ' ')");
    match group {
        Group::All => "''".to_owned(),
        Group::Page => part("nullif(concat(page_host, page_path), '')"),
        Group::Source => part("coalesce(source_name, source_medium)"),
        Group::Country => part("country"),
        Group::Technology => ["browser", "os", "device"].map(part).join(" || chr(31) || "),
    }
}

/// Whether `key` is one of `shown`.
fn is_shown(shown: &[String]) -> String {
    if shown.is_empty() { "false".to_owned() } else { format!("key IN ({})", shown.iter().map(|key| literal(key)).collect::<Vec<_>>().join(", ")) }
}

/// A text in SQL: a quote is written twice, and nothing else means anything.
fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

impl Count for WeekOfRows<'_> {
    type Error = SqlError;

    async fn common(&self, group: Group) -> Result<Vec<String>, SqlError> {
        let sql = format!(
            "SELECT key FROM (SELECT key, day, count(*) AS n FROM ({}) GROUP BY 1, 2 HAVING count(*) >= {PEOPLE_MIN}) GROUP BY key ORDER BY max(n) DESC, key LIMIT {CELLS_MAX}",
            people("key, day", &self.rows(group)),
        );
        let batches = self.ask(&sql).await?;
        read(&batches, |batch| texts(batch, "key"))
    }

    async fn rest(&self, group: Group, shown: &[String]) -> Result<Rest, SqlError> {
        let rows = format!("SELECT key, day, visitor_id, trait FROM ({}) WHERE NOT ({})", self.rows(group), is_shown(shown));
        let keys = self.number(&format!("SELECT CAST(count(*) AS BIGINT) AS n FROM (SELECT key FROM ({rows}) GROUP BY key)")).await?;
        if keys == 0 {
            return Ok(Rest::default());
        }
        let sql = format!(
            "SELECT CAST(coalesce(max(n), 0) AS BIGINT) AS n FROM (SELECT day, count(*) AS n FROM ({}) GROUP BY day)",
            people("day", &rows),
        );
        Ok(Rest { people: self.number(&sql).await?, keys })
    }

    async fn figures(&self, dimension: Dimension, shown: &[String]) -> Result<Vec<Cell>, SqlError> {
        let (group, part) = dimension.place();
        let sql = format!(
            "SELECT value, CAST(sum(n) AS BIGINT) AS interactions, CAST(count(*) AS BIGINT) AS visitor_days FROM \
             (SELECT value, day, visitor_id, CASE WHEN count(*) > {COUNTED_MAX} THEN {COUNTED_MAX} ELSE count(*) END AS n FROM \
             (SELECT CASE WHEN {} THEN split_part(key, chr({}), {}) ELSE '{OTHER}' END AS value, day, visitor_id FROM ({})) \
             GROUP BY 1, 2, 3) GROUP BY 1",
            is_shown(shown),
            u32::from(SEPARATOR),
            part + 1,
            self.rows(group),
        );
        let cells = |batch: &RecordBatch| {
            let (values, interactions, visitor_days) = (texts(batch, "value")?, numbers(batch, "interactions")?, numbers(batch, "visitor_days")?);
            let figures = interactions.into_iter().zip(visitor_days);
            Some(values.into_iter().zip(figures).map(|(value, (interactions, visitor_days))| Cell { value, interactions, visitor_days }).collect::<Vec<_>>())
        };
        read(&self.ask(&sql).await?, cells)
    }
}

/// The rows of all batches; a column of another kind than asked for is an error, never a row less.
fn read<T>(batches: &[RecordBatch], rows: impl Fn(&RecordBatch) -> Option<Vec<T>>) -> Result<Vec<T>, SqlError> {
    let mut all = Vec::new();
    for batch in batches {
        all.extend(rows(batch).ok_or_else(unlike)?);
    }
    Ok(all)
}

fn unlike() -> SqlError {
    SqlError::Failed("a count has another form than asked for".to_owned())
}

fn texts(batch: &RecordBatch, name: &str) -> Option<Vec<String>> {
    let column = arrow::compute::cast(batch.column_by_name(name)?, &DataType::Utf8).ok()?;
    Some(column.as_string_opt::<i32>()?.iter().map(|text| text.unwrap_or_default().to_owned()).collect())
}

fn numbers(batch: &RecordBatch, name: &str) -> Option<Vec<u64>> {
    Some(batch.column_by_name(name)?.as_primitive_opt::<Int64Type>()?.iter().map(|number| number.unwrap_or(0).unsigned_abs()).collect())
}
