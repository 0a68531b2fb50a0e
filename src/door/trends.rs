//! Owns the trends of a site over HTTP: `from`, `to`, `dimension`, `interval` in, rows as JSON out.
//!
//! Promises: reads the table of trends alone, so a visitor is only ever a part of a sketch; every word of
//! a question comes from a closed list or a checked key, so nothing of a caller's reaches SQL as it was
//! written. Asks for some days at a time, the earliest first, so that only those sketches are in memory and an
//! answer that is full ends the reading. Limits: 64 MiB of memory and 10,000 rows a question.

use crate::hit::clock::{Day, Moment};
use crate::lake::file::day_text;
use crate::lake::audience::Audience;
use crate::lake::sql::{Session, SessionOptions, SqlError};
use crate::lake::table::TableError;
use crate::lake::dimension::Dimension;
use arrow::array::{Array, AsArray};
use arrow::datatypes::{Int64Type, TimestampMicrosecondType};
use arrow::record_batch::RecordBatch;
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
    let session = match Session::open(lake, SessionOptions { memory_bytes: 64 << 20, ..SessionOptions::new(spill, audience) }) {
        Ok(session) => session,
        Err(SqlError::Table(TableError::Missing { .. })) => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut answer = Vec::new();
    // An hour that has begun before `from` belongs to it.
    let (mut from, mut days) = (question.from.hour().start(), DAYS_AT_FIRST);
    while from < question.to && answer.len() < ROWS_MAX {
        let to = Day(from.day().0.saturating_add(days)).start().min(question.to);
        let sql = sql(site, question, (from, to), ROWS_MAX - answer.len());
        let batches: Vec<RecordBatch> = session.run(&sql).await?.try_collect().await.map_err(SqlError::from)?;
        let before = answer.len();
        answer.extend(batches.iter().filter_map(rows).flatten());
        if answer.len() - before <= ROWS_OF_FEW {
            days = days.saturating_mul(2);
        }
        from = to;
    }
    Ok(answer)
}

const ROWS_MAX: usize = 10_000;

/// Four days of 1,000 values are 16 MiB of the largest sketches.
const DAYS_AT_FIRST: i64 = 4;
/// After so few rows twice as many days are asked for: 60 days of one value are four questions, a hundred years
/// of nothing are fifteen.
const ROWS_OF_FEW: usize = 2_000;

/// A part of a question: the hours from `from` and before `to`, `rows_max` rows at most.
fn sql(site: &str, question: &Question, (from, to): (Moment, Moment), rows_max: usize) -> String {
    // A literal in words goes through nanoseconds, which end in 2262.
    let time = |moment: Moment| format!("arrow_cast({}, 'Timestamp(Microsecond, Some(\"UTC\"))')", moment.micros());
    format!(
        "SELECT date_trunc('{interval}', hour) AS time, value, CAST(sum(interactions) AS BIGINT) AS interactions, \
         CAST(sum(page_views) AS BIGINT) AS page_views, CAST(sum(visits) AS BIGINT) AS visits, \
         CAST(sum(engaged_ms) AS BIGINT) AS engaged_ms, CAST(visitors(visitors_sketch) AS BIGINT) AS visitors \
         FROM trends_parts WHERE site = '{site}' AND dimension = '{dimension}' \
         AND hour >= {from} AND hour < {to} AND day >= DATE '{first}' AND day <= DATE '{last}' \
         GROUP BY 1, 2 ORDER BY 1, 3 DESC, 2 LIMIT {rows_max}",
        interval = question.interval.name(),
        dimension = question.dimension.name(),
        from = time(from),
        to = time(to),
        first = day_text(from.day()),
        last = day_text(Moment(to.micros() - 1).day()),
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

#[cfg(test)]
mod tests {
    use super::{Interval, Question, ROWS_MAX, ask};
    use crate::hit::clock::Moment;
    use crate::hit::sample::page_view;
    use crate::lake::audience::Audience;
    use crate::lake::sample::commit;
    use crate::lake::dimension::Dimension;
    use std::path::Path;

    const DAY: i64 = 86_400;

    async fn rows(lake: &Path, question: Question) -> Vec<(i64, String, i64, i64)> {
        let spill = lake.join("../spill");
        let rows = ask(lake, spill, Audience::Maintenance, "acme", &question).await.unwrap();
        rows.into_iter().map(|row| (row.time.seconds(), row.value, row.interactions, row.visitors)).collect()
    }

    #[tokio::test]
    async fn a_long_question_is_answered_part_by_part_as_if_it_were_one() {
        let folder = tempfile::tempdir().unwrap();
        let lake = folder.path().join("lake");
        let days = [0, 1, 3, 4, 5, 11, 12, 13, 60, 400];
        let hits: Vec<_> = days.iter().flat_map(|day| [page_view(day * DAY, 1, 1, "/a"), page_view(day * DAY + 3_600, 2, 2, "/a"), page_view(day * DAY + 7_200, 1, 1, "/b")]).collect();
        commit(&lake, 1, &hits, &[]).await;
        let first = hits[0].received_at;
        let asked = |from: i64, to: i64, dimension, interval| Question { from: first.plus_seconds(from), to: first.plus_seconds(to), dimension, interval };

        let start = first.day().start().seconds();
        let expected: Vec<_> = days.iter().flat_map(|day| [(start + day * DAY, "shop.example/a".to_owned(), 2, 2), (start + day * DAY, "shop.example/b".to_owned(), 1, 1)]).collect();
        assert_eq!(rows(&lake, asked(0, 500 * DAY, Dimension::Page, Interval::Day)).await, expected);
        // From the hour in which `from` lies, to before `to`; nothing twice where a part ends.
        let hours = rows(&lake, asked(1_800, 4 * DAY + 1, Dimension::All, Interval::Hour)).await;
        assert_eq!(hours.len(), 10);
        assert_eq!(hours.iter().map(|(.., interactions, _)| interactions).sum::<i64>(), 10);
        assert_eq!(rows(&lake, Question { from: Moment(0), to: Moment(253_402_300_799_000_000), dimension: Dimension::All, interval: Interval::Day }).await.len(), days.len());
    }

    #[tokio::test]
    async fn an_answer_ends_at_its_limit_with_the_earliest() {
        let folder = tempfile::tempdir().unwrap();
        let lake = folder.path().join("lake");
        let paths: Vec<String> = (0..900).map(|page| format!("/{page}")).collect();
        let hits: Vec<_> = (0..14).flat_map(|day| paths.iter().map(move |path| page_view(day * DAY, 1, 1, path))).collect();
        commit(&lake, 1, &hits, &[]).await;
        let first = hits[0].received_at;
        let rows = rows(&lake, Question { from: first, to: first.plus_seconds(20 * DAY), dimension: Dimension::Page, interval: Interval::Day }).await;
        assert_eq!(rows.len(), ROWS_MAX);
        assert!(rows.is_sorted_by_key(|(time, ..)| *time));
        assert_eq!(rows.last().map(|(time, ..)| *time), Some(first.day().start().seconds() + 11 * DAY));
    }
}
