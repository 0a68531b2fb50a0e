//! Owns the trends of a site over HTTP: `from`, `to`, `dimension`, `interval` in, rows as JSON out.
//!
//! Promises: reads the table of trends alone, so a visitor is only ever a part of a sketch; every word of
//! a question comes from a closed list or a checked key, so nothing of a caller's reaches SQL as it was
//! written. Limits: 64 MiB of memory and 10,000 rows a question.

use crate::hit::clock::Moment;
use crate::lake::file::day_text;
use crate::lake::audience::Audience;
use crate::lake::sql::{Session, SessionOptions, SqlError};
use crate::lake::table::TableError;
use crate::lake::trends::Dimension;
use arrow::array::{Array, AsArray};
use arrow::datatypes::{Int64Type, TimestampMicrosecondType};
use arrow::record_batch::RecordBatch;
use chrono::DateTime;
use futures::TryStreamExt;
use std::path::{Path, PathBuf};

/// A question about a site's trends.
pub struct Question {
    pub from: Moment,
    pub to: Moment,
    pub dimension: Dimension,
    pub interval: Interval,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Interval {
    Hour,
    Day,
}

impl Interval {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Hour => "hour",
            Self::Day => "day",
        }
    }
}

/// One row of an answer.
#[derive(Debug, serde::Serialize)]
pub struct Row {
    #[serde(serialize_with = "as_rfc3339")]
    pub time: Moment,
    pub value: String,
    pub interactions: i64,
    pub page_views: i64,
    pub visits: i64,
    pub engaged_ms: i64,
    /// Estimated from sketches, within some 2 %.
    pub visitors: i64,
}

/// Answers from the newest version of the lake; an empty lake has no rows. `site` is a known site's key.
pub async fn ask(lake: &Path, spill: PathBuf, audience: Audience, site: &str, question: &Question) -> Result<Vec<Row>, SqlError> {
    let session = match Session::open(lake, SessionOptions { memory_bytes: 64 << 20, ..SessionOptions::new(spill, audience) }).await {
        Ok(session) => session,
        Err(SqlError::Table(TableError::Missing { .. })) => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let batches: Vec<RecordBatch> = session.run(&sql(site, question)).await?.try_collect().await.map_err(SqlError::from)?;
    Ok(batches.iter().filter_map(rows).flatten().collect())
}

const ROWS_MAX: usize = 10_000;

fn sql(site: &str, question: &Question) -> String {
    let time = |moment: Moment| DateTime::from_timestamp_micros(moment.micros()).map_or_else(String::new, |time| time.format("%Y-%m-%dT%H:%M:%S%.6fZ").to_string());
    // An hour that has begun before `from` belongs to it.
    let from = question.from.hour().start();
    format!(
        "SELECT date_trunc('{interval}', hour) AS time, value, CAST(sum(interactions) AS BIGINT) AS interactions, \
         CAST(sum(page_views) AS BIGINT) AS page_views, CAST(sum(visits) AS BIGINT) AS visits, \
         CAST(sum(engaged_ms) AS BIGINT) AS engaged_ms, CAST(visitors(visitors_sketch) AS BIGINT) AS visitors \
         FROM trends_parts WHERE site = '{site}' AND dimension = '{dimension}' \
         AND hour >= TIMESTAMP '{from}' AND hour < TIMESTAMP '{to}' AND day >= DATE '{first}' AND day <= DATE '{last}' \
         GROUP BY 1, 2 ORDER BY 1, 3 DESC, 2 LIMIT {ROWS_MAX}",
        interval = question.interval.name(),
        dimension = question.dimension.name(),
        from = time(from),
        to = time(question.to),
        first = day_text(from.day()),
        last = day_text(question.to.day()),
    )
}

fn rows(batch: &RecordBatch) -> Option<Vec<Row>> {
    let times = arrow::compute::cast(batch.column_by_name("time")?, &arrow::datatypes::DataType::Timestamp(arrow::datatypes::TimeUnit::Microsecond, Some("UTC".into()))).ok()?;
    let times = times.as_primitive_opt::<TimestampMicrosecondType>()?;
    let values = arrow::compute::cast(batch.column_by_name("value")?, &arrow::datatypes::DataType::Utf8).ok()?;
    let values = values.as_string_opt::<i32>()?;
    let number = |name: &str| batch.column_by_name(name)?.as_primitive_opt::<Int64Type>();
    let numbers = ["interactions", "page_views", "visits", "engaged_ms", "visitors"].map(number);
    let at = |which: usize, row: usize| numbers.get(which).copied().flatten().filter(|column| !column.is_null(row)).map_or(0, |column| column.value(row));
    Some(
        (0..batch.num_rows())
            .map(|row| Row {
                time: Moment(times.value(row)),
                value: values.value(row).to_owned(),
                interactions: at(0, row),
                page_views: at(1, row),
                visits: at(2, row),
                engaged_ms: at(3, row),
                visitors: at(4, row),
            })
            .collect(),
    )
}

fn as_rfc3339<S: serde::Serializer>(moment: &Moment, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&crate::desk::text::rfc3339(*moment))
}
