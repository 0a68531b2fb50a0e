//! Owns the trends in a terminal: headline numbers, a chart, the most frequent values, the ledger.
//!
//! Knows the dimensions of `trends` and how wide a terminal is. Promises: plain text, no line wider
//! than asked (72 columns at least), nothing that steers the terminal, the same numbers as the SQL
//! beside it would give. Times are UTC. Reads aggregates alone: no person is in them.

use super::text::{bar, eighths, grouped, left, plain, right};
use crate::hit::clock::{Day, Hour, Moment};
use crate::hit::outcome::Outcome;
use crate::lake::sql::{Session, SqlError};
use crate::lake::dimension::Dimension;
use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::{Int64Type, TimestampMicrosecondType};
use chrono::{DateTime, Utc};
use datafusion::error::DataFusionError;
use futures::TryStreamExt;
use std::collections::BTreeMap;

/// The last `seconds` before `now`, of one site or of all, as text of `width` columns.
pub async fn report(session: &Session, site: Option<&str>, seconds: i64, now: Moment, width: usize) -> Result<String, SqlError> {
    let asked = Asked::new(session, site, seconds, now);
    let (totals, ledger) = (asked.totals().await?, asked.values(Dimension::Outcome, "interactions", Outcome::COUNT).await?);
    let mut page = Page { text: String::new(), width: width.max(72) };
    page.title(&asked);
    if totals.interactions == 0 && ledger.is_empty() {
        page.nothing(&asked);
        return Ok(page.text);
    }
    page.headline(&totals);
    page.chart(&asked, &asked.page_views().await?);
    if site.is_none() {
        page.list("Sites", "page views", &asked.sites().await?, totals.page_views);
    }
    for (dimension, head, measure) in LISTS {
        let whole = if measure == "page_views" { totals.page_views } else { totals.interactions };
        page.list(head, &measure.replace('_', " "), &asked.values(dimension, measure, LIST_ROWS).await?, whole);
    }
    page.ledger(&ledger);
    Ok(page.text)
}

/// What is listed, and by which measure.
const LISTS: [(Dimension, &str, &str); 6] = [
    (Dimension::Page, "Pages", "page_views"),
    (Dimension::Source, "Sources", "page_views"),
    (Dimension::Country, "Countries", "page_views"),
    (Dimension::Device, "Devices", "page_views"),
    (Dimension::Browser, "Browsers", "page_views"),
    (Dimension::Event, "Events", "interactions"),
];
const LIST_ROWS: usize = 8;

/// The question behind the page.
struct Asked<'a> {
    session: &'a Session,
    site: Option<&'a str>,
    first: Hour,
    last: Hour,
}

#[derive(Default)]
struct Totals {
    interactions: i64,
    page_views: i64,
    visits: i64,
    engaged_ms: i64,
    visitors: i64,
}

impl<'a> Asked<'a> {
    /// Whole hours: the one that runs now, and as many before it as `seconds` make.
    fn new(session: &'a Session, site: Option<&'a str>, seconds: i64, now: Moment) -> Self {
        let hours = (seconds.max(0).saturating_add(3_599) / 3_600).clamp(1, HOURS_MAX);
        Self { session, site, first: Hour(now.hour().0 - hours + 1), last: now.hour() }
    }

    async fn totals(&self) -> Result<Totals, SqlError> {
        let measures = "sum(interactions), sum(page_views), sum(visits), sum(engaged_ms), visitors(visitors_sketch)";
        let batches = self.ask(measures, Dimension::All, "").await?;
        let number = |column: usize| batches.iter().find_map(|batch| longs(batch, column).next()).unwrap_or(0);
        Ok(Totals { interactions: number(0), page_views: number(1), visits: number(2), engaged_ms: number(3), visitors: number(4) })
    }

    async fn page_views(&self) -> Result<BTreeMap<Hour, i64>, SqlError> {
        let batches = self.ask("hour, sum(page_views)", Dimension::All, "GROUP BY hour").await?;
        let hours = batches.iter().flat_map(|batch| {
            let starts = batch.columns().first().and_then(|column| column.as_primitive_opt::<TimestampMicrosecondType>());
            let starts = starts.into_iter().flat_map(|starts| starts.iter().flatten());
            starts.map(|micros| Moment(micros).hour()).zip(longs(batch, 1))
        });
        Ok(hours.collect())
    }

    async fn sites(&self) -> Result<Vec<(String, i64)>, SqlError> {
        let batches = self.ask("site, sum(page_views) AS n", Dimension::All, &format!("GROUP BY site ORDER BY n DESC, site LIMIT {LIST_ROWS}")).await?;
        Ok(counted(&batches))
    }

    /// The values with most of `measure`.
    async fn values(&self, dimension: Dimension, measure: &str, most: usize) -> Result<Vec<(String, i64)>, SqlError> {
        let columns = format!("value, sum({measure}) AS n");
        let batches = self.ask(&columns, dimension, &format!("GROUP BY value HAVING sum({measure}) > 0 ORDER BY n DESC, value LIMIT {most}")).await?;
        Ok(counted(&batches))
    }

    /// Asks the parts themselves: sums and sketches are the same, and it is one grouping less.
    async fn ask(&self, columns: &str, dimension: Dimension, rest: &str) -> Result<Vec<RecordBatch>, SqlError> {
        let site = self.site.map_or_else(String::new, |site| format!(" AND site = '{}'", site.replace('\'', "''")));
        let (dimension, first, last) = (dimension.name(), self.first, self.last);
        let sql = format!(
            "SELECT {columns} FROM trends_parts WHERE dimension = '{dimension}'{site} \
             AND day BETWEEN '{}' AND '{}' AND hour BETWEEN '{}' AND '{}' {rest}",
            day_text(first.day()), day_text(last.day()), hour_text(first), hour_text(last),
        );
        self.session.run(&sql).await?.try_collect().await.map_err(|error: DataFusionError| error.into())
    }
}

/// A hundred years: more is a slip of the pen, and would not fit a date.
const HOURS_MAX: i64 = 100 * 366 * 24;

fn longs(batch: &RecordBatch, column: usize) -> impl Iterator<Item = i64> {
    let column = batch.columns().get(column).and_then(|column| column.as_primitive_opt::<Int64Type>());
    column.into_iter().flat_map(|numbers| numbers.iter().map(|number| number.unwrap_or(0)))
}

fn counted(batches: &[RecordBatch]) -> Vec<(String, i64)> {
    let rows = batches.iter().flat_map(|batch| {
        let values = batch.columns().first().and_then(|column| column.as_string_opt::<i32>());
        let values = values.into_iter().flat_map(|values| values.iter().map(|value| value.unwrap_or("").to_owned()));
        values.zip(longs(batch, 1))
    });
    rows.collect()
}

/// The page being written.
struct Page {
    text: String,
    width: usize,
}

/// Lines of the chart: eight steps each.
const CHART_LINES: usize = 8;
/// Columns left of the chart, for the scale.
const SCALE: usize = 10;
/// Columns of a number and of a share.
const NUMBER: usize = 13;
const SHARE: usize = 9;

impl Page {
    fn line(&mut self, line: &str) {
        self.text.push_str(line.trim_end());
        self.text.push('\n');
    }

    fn title(&mut self, asked: &Asked<'_>) {
        let site = asked.site.map_or_else(|| "all sites".into(), plain);
        self.line(&left(&format!("{site}: {} to {} UTC", hour_words(asked.first), hour_words(Hour(asked.last.0 + 1))), self.width));
        self.line(&"═".repeat(self.width));
    }

    fn nothing(&mut self, asked: &Asked<'_>) {
        self.line("");
        self.line("Nothing was collected in this time.");
        self.line("");
        if let Some(site) = asked.site {
            self.line(&left(&format!("· Is {:?} a site of the settings? `clearpixel check`", plain(site)), self.width));
        }
        self.line("· Is the tag in the page?");
        self.line("  <script async src=\"https://HOST/tag.js\" data-site=\"KEY\"></script>");
        self.line("· A longer time: `clearpixel report --last 30d`");
        self.line("· To see it at work: `clearpixel demo`");
    }

    fn headline(&mut self, totals: &Totals) {
        let minutes = totals.engaged_ms / 60_000;
        let cells = [
            ("visitors", totals.visitors), ("visits", totals.visits), ("page views", totals.page_views),
            ("interactions", totals.interactions), ("engaged min", minutes),
        ];
        let each = self.width / cells.len();
        self.line("");
        self.line(&cells.map(|(_, number)| left(&grouped(number), each)).concat());
        self.line(&cells.map(|(name, _)| left(name, each)).concat());
        if totals.visits > 0 {
            let pages = tenths(totals.page_views, totals.visits);
            let seconds = totals.engaged_ms / 1_000 / totals.visits;
            self.line("");
            let minutes = format!("{}:{:02}", seconds / 60, seconds % 60);
            self.line(&format!("A visit has {pages} page views and {minutes} minutes of engagement."));
        }
    }

    /// Page views as columns of block characters, each one or more hours.
    fn chart(&mut self, asked: &Asked<'_>, hours: &BTreeMap<Hour, i64>) {
        let room = self.width - SCALE;
        let count = |step: i64| usize::try_from(asked.last.0.div_euclid(step) - asked.first.0.div_euclid(step) + 1).unwrap_or(1);
        // Beyond a week, nights and days would only be a comb.
        let finest = if asked.last.0 - asked.first.0 < 8 * 24 { 1 } else { 24 };
        let step = steps().find(|step| *step >= finest && count(*step) <= room).unwrap_or(HOURS_MAX);
        let origin = asked.first.0.div_euclid(step);
        let mut columns = vec![0; count(step)];
        for (hour, views) in hours {
            if let Some(column) = usize::try_from(hour.0.div_euclid(step) - origin).ok().and_then(|at| columns.get_mut(at)) {
                *column += views;
            }
        }
        let wide = (room / columns.len().max(1)).clamp(1, 6);
        let most = columns.iter().copied().max().unwrap_or(0).max(1);
        self.line("");
        self.line(&format!("Page views {}", step_words(step)));
        for level in (0..CHART_LINES).rev() {
            let scale = match level + 1 {
                CHART_LINES => grouped(most),
                half if half * 2 == CHART_LINES => grouped(most / 2),
                _ => String::new(),
            };
            let mut line = format!("{} ┤", right(&scale, SCALE - 2));
            for column in &columns {
                line.push_str(&block(eighths(*column, most, CHART_LINES).saturating_sub(level * 8), wide));
            }
            self.line(&line);
        }
        self.line(&format!("{} └{}", " ".repeat(SCALE - 2), "─".repeat(wide * columns.len())));
        self.line(&labels(origin, step, columns.len(), wide));
    }

    fn list(&mut self, head: &str, measure: &str, values: &[(String, i64)], whole: i64) {
        let Some((_, most)) = values.first() else { return };
        let (name, room) = self.names_and_bars();
        self.line("");
        self.line(&format!("{}{}{}", left(head, name), right(measure, NUMBER), right("share", SHARE)));
        for (value, count) in values {
            let value = if value.is_empty() { "(none)".into() } else { plain(value) };
            let share = format!("{} %", tenths(count.saturating_mul(100), whole));
            let bar = bar(*count, *most, room);
            self.line(&format!("{}{}{}  {bar}", left(&value, name), right(&grouped(*count), NUMBER), right(&share, SHARE)));
        }
    }

    /// Of what the numbers leave, two thirds for the names and the rest for the bars.
    fn names_and_bars(&self) -> (usize, usize) {
        let room = self.width.saturating_sub(NUMBER + SHARE + 2);
        let names = (room * 2 / 3).min(60);
        (names, room - names)
    }

    fn ledger(&mut self, outcomes: &[(String, i64)]) {
        let received: i64 = outcomes.iter().map(|(_, count)| count).sum();
        let named: Vec<_> = outcomes
            .iter()
            .map(|(name, count)| match Outcome::from_name(name) {
                Some(Outcome::Refused(_)) => (format!("refused: {name}"), *count),
                _ => (name.clone(), *count),
            })
            .collect();
        self.list("Ledger", "hits", &named, received);
        if received > 0 {
            self.line(&format!("{}{}", left("received", self.names_and_bars().0), right(&grouped(received), NUMBER)));
        }
    }
}

/// The hours a column of the chart may stand for: 1, 3, 6, 12, a day, a week, then whole numbers of weeks.
fn steps() -> impl Iterator<Item = i64> {
    [1, 3, 6, 12, 24].into_iter().chain((1..).map(|weeks| weeks * 168))
}

fn step_words(hours: i64) -> String {
    match hours {
        1 => "by hour".to_owned(),
        24 => "by day".to_owned(),
        168 => "by week".to_owned(),
        _ if hours % 168 == 0 => format!("every {} weeks", hours / 168),
        _ => format!("every {hours} hours"),
    }
}

/// One character cell of a column, `filled` eighths high, with a gap beside it where there is room.
fn block(filled: usize, wide: usize) -> String {
    const EIGHTHS: [&str; 9] = [" ", "▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"];
    let (bar, gap) = if wide > 2 { (wide - 1, 1) } else { (wide, 0) };
    format!("{}{}", EIGHTHS[filled.min(8)].repeat(bar), " ".repeat(gap))
}

/// The times below the chart: round ones, as many as fit without touching.
fn labels(origin: i64, step: i64, columns: usize, wide: usize) -> String {
    // Up to two days have their hours below them, more have their days.
    let round = if step * columns as i64 <= 48 { 4 } else { 24 };
    let mut line = " ".repeat(SCALE);
    let mut free = SCALE;
    for column in 0..columns {
        let hour = (origin + column as i64) * step;
        let Some(start) = time(hour).filter(|_| step >= round || hour % round == 0) else { continue };
        let label = start.format(if hour % 24 == 0 { "%-d %b" } else { "%H:00" }).to_string();
        let at = SCALE + column * wide;
        if at >= free && at + label.len() <= SCALE + (columns * wide).max(label.len()) {
            line.push_str(&" ".repeat(at - line.len()));
            line.push_str(&label);
            free = at + label.len() + 2;
        }
    }
    line
}

/// `part / whole` with one digit after the point.
fn tenths(part: i64, whole: i64) -> String {
    if whole <= 0 {
        return "0.0".to_owned();
    }
    let tenths = (i128::from(part) * 10 + i128::from(whole) / 2) / i128::from(whole);
    format!("{}.{}", tenths / 10, tenths % 10)
}

fn time(hour: i64) -> Option<DateTime<Utc>> {
    DateTime::from_timestamp(hour.checked_mul(3_600)?, 0)
}

fn hour_words(hour: Hour) -> String {
    time(hour.0).map_or_else(String::new, |time| time.format("%-d %b %Y %H:00").to_string())
}

fn hour_text(hour: Hour) -> String {
    time(hour.0).map_or_else(String::new, |time| time.format("%Y-%m-%dT%H:00:00Z").to_string())
}

fn day_text(day: Day) -> String {
    time(day.0 * 24).map_or_else(String::new, |time| time.format("%Y-%m-%d").to_string())
}

#[cfg(test)]
mod tests {
    use super::report;
    use crate::desk::text::width;
    use crate::hit::field::{Country, Device, Medium};
    use crate::hit::outcome::{Outcome, Reason};
    use crate::hit::record::{Number, Text};
    use crate::hit::sample::{START, page_view};
    use crate::lake::sample::commit;
    use crate::lake::audience::Audience;
    use crate::lake::sql::{Session, SessionOptions};

    /// Five days of a site whose afternoons are busier than its nights, and an evil page title or two.
    async fn session(folder: &tempfile::TempDir) -> Session {
        let lake = folder.path().join("lake");
        let paths = ["/", "/shoes", "/shoes/red-suede-with-a-very-long-name-indeed-that-will-not-fit", "/basket", "/\u{1b}[2Jevil", "/日本語のページ"];
        let mut records = Vec::new();
        for at in 0..5 * 24 * 4_i64 {
            let busy = 1 + (at / 4 % 24 - 4).clamp(0, 12) * (1 + at % 3) / 4;
            for view in 0..busy {
                let visitor = ((at * 7 + view * 13) % 97) as u8;
                let mut record = page_view(at * 900 + view, visitor, visitor, paths[((at * view + view) % 6) as usize]);
                record.starts_visit = view % 2 == 0;
                record.country = [Some("FR"), Some("US"), Some("DE"), None][(view % 4) as usize].and_then(Country::parse);
                record.device = if visitor.is_multiple_of(3) { Device::Mobile } else { Device::Desktop };
                record.medium = [Medium::Direct, Medium::Search][(view % 2) as usize];
                record.texts[Text::SourceName as usize] = ["", "Google"][(view % 2) as usize];
                record.texts[Text::Browser as usize] = ["Firefox", "Chrome", "Safari"][(visitor % 3) as usize];
                records.push(record.clone());
                if view % 3 == 0 {
                    record.texts[Text::Event as usize] = "engagement";
                    record.numbers[Number::EngagedMs as usize] = Some(31_000);
                    records.push(record);
                }
            }
        }
        let outcomes = [("acme", Outcome::Refused(Reason::NoConsent), 1_200), ("acme", Outcome::Duplicate, 3), ("-", Outcome::Refused(Reason::UnknownSite), 40)];
        commit(&lake, 1, &records, &outcomes).await;
        Session::open(&lake, SessionOptions::new(folder.path().join("spill"), Audience::Maintenance)).unwrap()
    }

    #[tokio::test]
    async fn a_report_is_plain_fits_and_tells_the_numbers() {
        let folder = tempfile::tempdir().unwrap();
        let session = session(&folder).await;
        let now = START.plus_seconds(5 * 86_400 - 1);
        for (site, seconds, columns) in [(Some("acme"), 7 * 86_400, 80), (None, 86_400, 80), (None, 90 * 86_400, 120), (Some("acme"), 36_000, 72)] {
            let text = report(&session, site, seconds, now, columns).await.unwrap();
            for line in text.lines() {
                assert!(width(line) <= columns && !line.chars().any(char::is_control), "{line:?}");
            }
            for word in ["visitors", "Page views ", "Pages", "Google", "Countries", "FR", "Devices", "mobile", "engagement"] {
                assert!(text.contains(word), "{word}");
            }
            assert_eq!(text.contains("Sites"), site.is_none());
            assert_eq!(text.contains("refused: unknown_site"), site.is_none() && seconds > 5 * 86_400);
        }
    }

    #[test]
    fn the_times_below_a_chart_are_round() {
        let start = START.hour().0;
        assert_eq!(super::labels(start - 4, 1, 15, 2).trim(), "20:00   20 Nov  04:00   08:00");
        assert_eq!(super::labels(start / 3 - 2, 3, 20, 1).trim(), "20 Nov  21 Nov");
        assert_eq!(super::labels(start / 24, 24, 4, 6).trim(), "20 Nov      22 Nov");
        assert_eq!(super::labels(start + 1, 1, 1, 6).trim(), "");
    }

    #[tokio::test]
    async fn no_data_is_no_error() {
        let folder = tempfile::tempdir().unwrap();
        let session = session(&folder).await;
        for site in [Some("it's-another"), None] {
            let text = report(&session, site, 3_600, START.plus_seconds(-86_400), 80).await.unwrap();
            assert!(text.contains("Nothing was collected") && text.contains("tag.js"));
        }
    }
}
