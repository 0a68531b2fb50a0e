//! Owns `/share` over HTTP: a site's week and dimension in, the published table as JSON or CSV out.
//!
//! Promises: only where the site's contract opens it; one grid of weeks and no filter, so nothing can be asked
//! for that was not counted for everybody; what leaves is in the audit log before it leaves.

use super::respond::{self, Reply};
use crate::desk::audit::Event;
use crate::desk::query::{csv_line, unformulated};
use crate::desk::rights::Rights;
use crate::desk::share::{Dimension, Frozen, Table, Week};
use crate::desk::share_counts::{self, ShareError};
use crate::desk::text::rfc3339;
use crate::hit::clock::Moment;
use crate::hit::field::{Asker, hex};
use crate::hit::site::Site;
use hyper::StatusCode;
use hyper::header::{CONTENT_DISPOSITION, HeaderValue};
use serde_json::json;
use sha2::{Digest, Sha256};
use std::path::{Path, PathBuf};

/// What a table is made from, and who asks.
pub struct Sharing<'a> {
    pub rights: &'a Rights,
    pub lake: &'a Path,
    pub spill: PathBuf,
    pub site: &'a Site,
    pub by: Asker,
    pub now: Moment,
}

impl Sharing<'_> {
    /// Answers `/v1/sites/KEY/share?query`.
    pub async fn answer(&self, query: &str) -> Reply {
        if !self.site.share {
            return respond::text(StatusCode::FORBIDDEN, "The contract of this site does not open /share: `share = true` in its settings does.\n");
        }
        let question = match question(query, self.now) {
            Ok(question) => question,
            Err(problem) => return respond::text(StatusCode::BAD_REQUEST, &problem),
        };
        let frozen = match share_counts::week(self.lake, self.spill.clone(), self.rights, self.site, question.week, self.now).await {
            Ok(frozen) => frozen,
            Err(error) => return refused(&error),
        };
        let table = frozen.published.tables.get(question.dimension.name()).cloned().unwrap_or_default();
        let body = match question.format {
            Format::Json => json(&frozen, &question, &table),
            Format::Csv => csv(&table),
        };
        let export = Event::Shared {
            site: self.site.key.to_string(),
            week: question.week.to_string(),
            dimension: question.dimension.name().to_owned(),
            format: question.format.name().to_owned(),
            by: self.by,
            cells: table.cells.len() as u64,
            withheld: table.withheld,
            sha256: hex(&Sha256::digest(body.as_bytes())),
            published_sha256: frozen.sha256,
        };
        if let Err(error) = self.rights.shared(export, self.now) {
            tracing::error!(%error, "an export could not be put into the audit log, so it did not leave");
            return respond::text(StatusCode::SERVICE_UNAVAILABLE, "The audit log cannot be written at the moment; nothing leaves without it.\n");
        }
        match question.format {
            Format::Json => respond::json(StatusCode::OK, body),
            Format::Csv => {
                let mut reply = respond::of(StatusCode::OK, "text/csv; charset=utf-8", body.into());
                let name = format!("attachment; filename=\"{}-{}-{}.csv\"", self.site.key, question.week, question.dimension.name());
                if let Ok(name) = HeaderValue::from_str(&name) {
                    reply.headers_mut().insert(CONTENT_DISPOSITION, name);
                }
                reply
            }
        }
    }
}

#[derive(Debug, PartialEq, Eq)]
struct Question {
    week: Week,
    dimension: Dimension,
    format: Format,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Format {
    Json,
    Csv,
}

impl Format {
    const fn name(self) -> &'static str {
        match self {
            Self::Json => "json",
            Self::Csv => "csv",
        }
    }
}

fn question(query: &str, now: Moment) -> Result<Question, String> {
    let mut question = Question { week: Week::newest(now), dimension: Dimension::All, format: Format::Json };
    for (name, value) in form_urlencoded::parse(query.as_bytes()) {
        match (&*name, &*value) {
            ("week", week) => question.week = Week::parse(week).ok_or("`week` is a week of ISO 8601, such as 2026-W47, from Monday to Sunday (UTC).\n")?,
            ("dimension", dimension) => {
                let names = Dimension::ALL.map(Dimension::name).join(", ");
                question.dimension = Dimension::from_name(dimension).ok_or_else(|| format!("`dimension` is one of {names}.\n"))?;
            }
            ("format", "json") => question.format = Format::Json,
            ("format", "csv") => question.format = Format::Csv,
            ("format", _) => return Err("`format` is json or csv.\n".to_owned()),
            _ => return Err("There are `week`, `dimension` and `format`, and no filters: what a filter leaves out could be worked out.\n".to_owned()),
        }
    }
    Ok(question)
}

fn json(frozen: &Frozen, question: &Question, table: &Table) -> String {
    let published = &frozen.published;
    json!({
        "site": published.site, "week": published.week,
        "from": rfc3339(question.week.first().start()), "to": rfc3339(question.week.end().start()),
        "published_at": published.published_at, "dimension": question.dimension.name(),
        "people_min": published.people_min, "rounded_to": published.rounded_to, "rows": table.cells,
    })
    .to_string()
}

fn csv(table: &Table) -> String {
    let mut lines = String::from("value,interactions,visitor_days\n");
    for cell in &table.cells {
        let cells = [unformulated(cell.value.clone()), cell.interactions.to_string(), cell.visitor_days.to_string()];
        csv_line(&mut lines, cells.into_iter().map(Some));
    }
    lines
}

fn refused(error: &ShareError) -> Reply {
    match error {
        ShareError::Open(_) | ShareError::Past(_) | ShareError::Empty => respond::text(StatusCode::NOT_FOUND, &format!("{error}.\n")),
        ShareError::Lost(_) | ShareError::Changed(_) => {
            tracing::error!(%error, "a published week is not there as it was");
            respond::text(StatusCode::SERVICE_UNAVAILABLE, &format!("{error}.\n"))
        }
        ShareError::Sql(_) | ShareError::Rights(_) | ShareError::Io(_) => {
            tracing::error!(%error, "a week could not be published");
            respond::text(StatusCode::SERVICE_UNAVAILABLE, "The week cannot be counted at the moment.\n")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Format, csv, question};
    use crate::desk::share::{Cell, Dimension, Table};
    use crate::hit::clock::Moment;

    /// 2026-11-25.
    const NOW: Moment = Moment(1_795_564_800_000_000);

    #[test]
    fn questions_know_weeks_dimensions_and_no_filters() {
        let asked = question("", NOW).unwrap();
        assert_eq!((asked.week.to_string().as_str(), asked.dimension, asked.format), ("2026-W47", Dimension::All, Format::Json));
        let asked = question("week=2026-W40&dimension=os&format=csv", NOW).unwrap();
        assert_eq!((asked.week.to_string().as_str(), asked.dimension, asked.format), ("2026-W40", Dimension::Os, Format::Csv));
        for (query, told) in [
            ("week=2026-11-16", "ISO 8601"),
            ("dimension=visitor_id", "one of all, page, source, country, browser, os, device"),
            ("format=pdf", "json or csv"),
            ("country=DE", "no filters"),
            ("from=2026-11-16T00:00:00Z", "no filters"),
        ] {
            let error = question(query, NOW).unwrap_err();
            assert!(error.contains(told), "{query}: {error}");
        }
    }

    #[test]
    fn csv_runs_nothing() {
        let cell = |value: &str| Cell { value: value.to_owned(), interactions: 20, visitor_days: 10 };
        let table = Table { cells: vec![cell("=1+1"), cell("a,\"b\""), cell("@x")], withheld: 0 };
        assert_eq!(csv(&table), "value,interactions,visitor_days\n'=1+1,20,10\n\"a,\"\"b\"\"\",20,10\n'@x,20,10\n");
    }
}
