//! Owns what erasure and rectification do to rows: those of some visitors go, or get other values.
//!
//! A visitor is known by site and id: the same id at another site is somebody else. Promises: touches no
//! row of anybody else; files are found by bloom filters, then by the two columns that name a visitor.

use super::columns::{Column, Kind, TableName};
use super::read::text;
use super::rewrite::{Change, Purpose, Report, RewriteError, Rewriter};
use arrow::array::{ArrayRef, BooleanArray, Scalar, StringArray};
use arrow::compute::filter_record_batch;
use arrow::compute::kernels::zip::zip;
use arrow::error::ArrowError;
use arrow::record_batch::RecordBatch;
use std::collections::{BTreeMap, HashSet};

/// Removes every row of `subjects` from `interactions`, all in one pass over the files that hold any,
/// and those files with them. A second run finds nothing to do.
pub async fn erase(rewriter: &mut Rewriter<'_>, subjects: &Subjects, report: &mut Report) -> Result<(), RewriteError> {
    in_all_files(rewriter, Purpose::Erasure, &mut Erasure(subjects), report).await
}

/// Gives the rows of `subjects` the values of `fields`: text columns of `interactions` that may be null,
/// by name; `None` empties. A second run finds nothing to do.
pub async fn rectify(rewriter: &mut Rewriter<'_>, subjects: &Subjects, fields: &Fields, report: &mut Report) -> Result<(), RewriteError> {
    in_all_files(rewriter, Purpose::Rectification, &mut Rectification { subjects, fields }, report).await
}

/// Visitors of sites.
#[derive(Debug, Clone, Default)]
pub struct Subjects {
    sites: BTreeMap<String, HashSet<String>>,
    visitors: Vec<String>,
}

impl Subjects {
    /// From pairs of a site's key and a `visitor_id` (32 lower-case hex digits).
    pub fn new<'s>(pairs: impl IntoIterator<Item = (&'s str, &'s str)>) -> Self {
        let mut subjects = Self::default();
        for (site, visitor) in pairs {
            if subjects.sites.entry(site.to_owned()).or_default().insert(visitor.to_owned()) {
                subjects.visitors.push(visitor.to_owned());
            }
        }
        subjects
    }

    pub fn is_empty(&self) -> bool {
        self.visitors.is_empty()
    }

    /// For each row, whether it is one of theirs.
    fn mask(&self, rows: &RecordBatch) -> Result<BooleanArray, ArrowError> {
        let (sites, visitors) = (text(rows, "site")?, text(rows, "visitor_id")?);
        let meant = sites.iter().zip(visitors).map(|pair| match pair {
            (Some(site), Some(visitor)) => self.sites.get(site).is_some_and(|visitors| visitors.contains(visitor)),
            (Some(_) | None, _) => false,
        });
        Ok(meant.map(Some).collect())
    }
}

/// New values by column; made of columns that may be rectified alone.
#[derive(Debug, Clone)]
pub struct Fields(BTreeMap<&'static str, Option<String>>);

impl Fields {
    /// `Err` names a column that cannot be rectified: one that is no text, may not be null, or says who the
    /// visitor is.
    pub fn new(values: impl IntoIterator<Item = (String, Option<String>)>) -> Result<Self, String> {
        let column = |name: &str| {
            let may_be = |column: &Column| column.kind == Kind::Text && !column.required && !["visitor_id", "visit_id"].contains(&column.name);
            TableName::Interactions.columns().iter().find(|column| column.name == name && may_be(column))
        };
        values.into_iter().map(|(name, value)| column(&name).map(|column| (column.name, value)).ok_or(name)).collect::<Result<_, _>>().map(Self)
    }
}

async fn in_all_files(rewriter: &mut Rewriter<'_>, purpose: Purpose, change: &mut dyn Change, report: &mut Report) -> Result<(), RewriteError> {
    if change.visitors().is_some_and(<[String]>::is_empty) {
        return Ok(());
    }
    rewriter.table.refresh().await?;
    let files = rewriter.table.live_files()?;
    let chosen = rewriter.choose(files, change, report).await?;
    rewriter.rewrite_by_day(purpose, chosen, change, report).await
}

struct Erasure<'s>(&'s Subjects);

impl Change for Erasure<'_> {
    fn visitors(&self) -> Option<&[String]> {
        Some(&self.0.visitors)
    }

    fn looks_at(&self) -> &'static [&'static str] {
        &["site", "visitor_id"]
    }

    fn means(&mut self, _: &str, rows: &RecordBatch) -> Result<bool, ArrowError> {
        Ok(self.0.mask(rows)?.true_count() > 0)
    }

    fn apply(&mut self, _: &str, rows: RecordBatch) -> Result<RecordBatch, ArrowError> {
        let others: BooleanArray = self.0.mask(&rows)?.iter().map(|is_theirs| is_theirs.map(|is_theirs| !is_theirs)).collect();
        filter_record_batch(&rows, &others)
    }
}

struct Rectification<'s> {
    subjects: &'s Subjects,
    fields: &'s Fields,
}

impl Change for Rectification<'_> {
    fn visitors(&self) -> Option<&[String]> {
        Some(&self.subjects.visitors)
    }

    fn looks_at(&self) -> &'static [&'static str] {
        // All that may be rectified are a few columns of many: reading two finds the file.
        &["site", "visitor_id"]
    }

    fn means(&mut self, _: &str, rows: &RecordBatch) -> Result<bool, ArrowError> {
        Ok(self.subjects.mask(rows)?.true_count() > 0)
    }

    fn apply(&mut self, _: &str, rows: RecordBatch) -> Result<RecordBatch, ArrowError> {
        let theirs = self.subjects.mask(&rows)?;
        let mut columns: Vec<ArrayRef> = rows.columns().to_vec();
        for (name, value) in &self.fields.0 {
            let at = rows.schema().index_of(name)?;
            let value = Scalar::new(StringArray::from(vec![value.as_deref()]));
            if let Some(column) = columns.get_mut(at) {
                *column = zip(&theirs, &value, column)?;
            }
        }
        RecordBatch::try_new(rows.schema(), columns)
    }
}
