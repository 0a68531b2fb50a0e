//! Owns the work of requests in the files: whoever is erased goes out of every row, sketch and version;
//! what is to be rectified is.
//!
//! All that is due is gathered and done in one pass over the files. Besides those who are asked for here,
//! a pass finds whoever the suppressions say is erased and whose rows lie there nevertheless: an older
//! copy of the lake was put back, or another collector's journal came late. Promises: a request is done
//! only after its rows were looked for again and not found; cut short at any step, the next pass does
//! the rest; receipts name files, versions, counts and digests, and no identifier. Whoever calls it has
//! seen to it that no journal segment from before the erasures is left.

use super::maintain::{MaintainError, Maintenance};
use super::persons;
use super::book::TRAITS;
use super::rights::{Done, Rights, RightsError, Work};
use super::text::rfc3339;
use crate::hit::clock::Day;
use crate::hit::field::{Id, RequestKind};
use crate::hit::site::SiteKey;
use crate::lake::audience::Audience;
use crate::lake::columns::TableName;
use crate::lake::read::{self, text};
use crate::lake::sketches::Touched;
use crate::lake::sql::{Session, SessionOptions, SqlError};
use crate::lake::subjects::{Fields, Subjects};
use crate::lake::table::{LiveFile, Table, TableError};
use crate::people::file::PeopleError;
use crate::people::write::{PeopleWriter, Rewritten};
use crate::rules::suppression::Suppressions;
use futures::StreamExt;
use parquet::arrow::ProjectionMask;
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::path::Path;
use std::sync::Arc;

/// Why a pass was not finished. The next one goes on with it.
#[derive(Debug, thiserror::Error)]
pub enum ErasureError {
    #[error(transparent)]
    Maintain(#[from] MaintainError),
    #[error(transparent)]
    Rights(#[from] RightsError),
    #[error(transparent)]
    Sql(#[from] SqlError),
    #[error(transparent)]
    Table(#[from] TableError),
    #[error(transparent)]
    People(#[from] PeopleError),
    #[error("{path} cannot be looked through: {reason}")]
    File { path: String, reason: String },
    #[error("after the files were rewritten {0} rows of the erased were found: nothing is reported as done")]
    Found(u64),
}

/// Who is where: by site, by visitor id, how many rows were found.
type Persons = BTreeMap<String, BTreeMap<String, u64>>;

/// What earlier passes of this process looked through.
#[derive(Default)]
pub struct LookedThrough {
    files: HashSet<String>,
    erased: HashSet<Id>,
    /// The files of people in which none of so many erased are.
    people: BTreeMap<SiteKey, ((u64, u64), usize)>,
    tended: Option<Day>,
}

/// One pass: does `work`, all that was due before the caller saw to the journal, and says how many requests
/// that was.
pub async fn carry_out(rights: &Rights, work: Vec<Work>, maintenance: &Maintenance<'_>, people: &PeopleWriter, spill: &Path, looked: &mut LookedThrough) -> Result<usize, ErasureError> {
    looked.tend(people, maintenance)?;
    let (erasures, rectifications): (Vec<Work>, Vec<Work>) = work.into_iter().partition(|work| work.kind == RequestKind::Erasure);
    let suppressions = rights.subscribe().borrow().clone();
    let mut persons = Persons::new();
    for work in &erasures {
        people.people().must_open(&work.site)?;
        persons.entry(work.site.to_string()).or_default().extend(work.visitors.iter().map(|visitor| (visitor.to_string(), 0)));
    }
    looked.look_for(&suppressions, &erasures, maintenance.lake, &mut persons).await?;
    let report = if persons.is_empty() { None } else { Some(erase(maintenance, &suppressions, spill, &mut persons).await?) };
    // Behind the rows, whose work another maintainer may keep waiting: so the receipt tells of both.
    let rewritten = looked.erase_people(people, &suppressions)?;
    if let Some(mut report) = report {
        if let Some(report) = report.as_object_mut() {
            report.insert("people".to_owned(), json!(rewritten));
        }
        let of = |site: &str, visitor: &Id| persons.get(site).and_then(|site| site.get(&visitor.to_string())).copied().unwrap_or(0);
        let rows = |work: &Work| work.visitors.iter().map(|visitor| of(work.site.as_str(), visitor)).sum();
        let done: Vec<Done> = erasures.iter().map(|work| Done { request: work.request, rows: rows(work) }).collect();
        rights.finish(&done, report, maintenance.clock.now())?;
    }
    for work in &rectifications {
        rectify(rights, maintenance, people, spill, work).await?;
    }
    Ok(erasures.len() + rectifications.len())
}

async fn erase(maintenance: &Maintenance<'_>, suppressions: &Arc<Suppressions>, spill: &Path, persons: &mut Persons) -> Result<serde_json::Value, ErasureError> {
    let open = |audience| Session::open(maintenance.lake, SessionOptions::new(spill.to_owned(), audience));
    let mut touched = Touched::default();
    touched.by(&open(Audience::Maintenance)?, persons).await?;
    let pairs = persons.iter().flat_map(|(site, visitors)| visitors.keys().map(move |visitor| (site.as_str(), visitor.as_str())));
    let interactions = maintenance.erase(&Subjects::new(pairs)).await?;
    let trends = maintenance.renew_sketches(&open(Audience::Subject(suppressions.clone()))?, &touched).await?;
    let mut again: Persons = persons.clone();
    let found = Touched::default().by(&open(Audience::Maintenance)?, &mut again).await?;
    if found > 0 {
        return Err(ErasureError::Found(found));
    }
    Ok(json!({"finished_at": rfc3339(maintenance.clock.now()), "interactions": interactions, "trends": trends, "rows_found_afterwards": found}))
}

async fn rectify(rights: &Rights, maintenance: &Maintenance<'_>, people: &PeopleWriter, spill: &Path, work: &Work) -> Result<(), ErasureError> {
    let now = maintenance.clock.now();
    let mut fields = work.fields.clone();
    fields.retain(|field, _| !field.starts_with(TRAITS));
    let has_rows = !fields.is_empty();
    let fields = match Fields::new(fields) {
        Ok(fields) => fields,
        Err(field) => return Ok(rights.fail(work.request, &format!("the field `{field}` cannot be rectified"), now)?),
    };
    let mut report = serde_json::Map::new();
    if let Some(sealed) = &work.sealed {
        match persons::rectify(people, &work.site, &work.visitors, sealed)? {
            Some(rewritten) => report.insert("people".to_owned(), json!([rewritten])),
            None => return Ok(rights.fail(work.request, "its values were sealed with another people_key", now)?),
        };
    }
    let mut rows = 0;
    if has_rows {
        let (site, visitors) = (work.site.to_string(), work.visitors.iter().map(ToString::to_string).collect::<Vec<_>>());
        let session = Session::open(maintenance.lake, SessionOptions::new(spill.to_owned(), Audience::Maintenance))?;
        let mut person = Persons::from([(site.clone(), visitors.iter().map(|visitor| (visitor.clone(), 0)).collect())]);
        rows = Touched::default().by(&session, &mut person).await?;
        let subjects = Subjects::new(visitors.iter().map(|visitor| (site.as_str(), visitor.as_str())));
        report.insert("interactions".to_owned(), json!(maintenance.rectify(&subjects, &fields).await?));
    }
    report.insert("finished_at".to_owned(), json!(rfc3339(maintenance.clock.now())));
    let report = serde_json::Value::Object(report);
    Ok(rights.finish(&[Done { request: work.request, rows }], report, now)?)
}

impl LookedThrough {
    /// Lets go of people who are past their term: once a day, and at the start.
    fn tend(&mut self, people: &PeopleWriter, maintenance: &Maintenance<'_>) -> Result<(), ErasureError> {
        let now = maintenance.clock.now();
        if self.tended == Some(now.day()) {
            return Ok(());
        }
        for site in maintenance.sites.iter().filter(|site| people.people().has(&site.key)) {
            if let Some(Rewritten { site, removed, before, after, .. }) = persons::tend(people, site, now)? {
                tracing::info!(%site, removed, bytes_before = before.bytes, bytes_after = after.bytes, "people were written anew: those past their term are gone");
            }
        }
        self.tended = Some(now.day());
        Ok(())
    }

    /// Takes the erased out of every site's people, looks for them again, and says what that did.
    fn erase_people(&mut self, people: &PeopleWriter, suppressions: &Suppressions) -> Result<Vec<Rewritten>, ErasureError> {
        let (mut done, erased) = (Vec::new(), suppressions.erased());
        for site in people.sites() {
            if erased == 0 || self.people.get(site) == Some(&(people.stamp(site)?, erased)) {
                continue;
            }
            done.extend(persons::erase(people, site, suppressions)?);
            // What comes from here on is of nobody who is erased: the writer looks at each.
            let stamp = people.stamp(site)?;
            match persons::left(people.people(), site, suppressions)? {
                0 => self.people.insert(*site, (stamp, erased)),
                found => return Err(ErasureError::Found(found)),
            };
        }
        Ok(done)
    }

    /// Adds to `persons` whoever is erased and has rows in a file that was not looked through since. Those
    /// who are erased by this node's own requests need not be sought so: `persons` has them.
    async fn look_for(&mut self, suppressions: &Suppressions, own: &[Work], lake: &Path, persons: &mut Persons) -> Result<(), ErasureError> {
        let erased: HashSet<Id> = suppressions.erased_subjects().collect();
        if erased.iter().any(|subject| !self.erased.contains(subject) && !own.iter().any(|work| work.subject == *subject)) {
            self.files.clear();
        }
        self.erased = erased;
        if self.erased.is_empty() {
            return Ok(());
        }
        let table = Table::open(lake, TableName::Interactions).await?;
        let files = table.live_files()?;
        let live: HashSet<&str> = files.iter().map(|file| file.path.as_str()).collect();
        self.files.retain(|path| live.contains(path.as_str()));
        for file in &files {
            if !self.files.contains(&file.path) {
                for (site, visitor) in erased_in(&table, file, suppressions).await? {
                    persons.entry(site).or_default().entry(visitor).or_insert(0);
                }
                self.files.insert(file.path.clone());
            }
        }
        Ok(())
    }
}

/// Whoever is erased and has rows in `file`, by site and visitor id. Reads two columns.
async fn erased_in(table: &Table, file: &LiveFile, suppressions: &Suppressions) -> Result<BTreeSet<(String, String)>, ErasureError> {
    let failed = |reason: &dyn std::fmt::Display| ErasureError::File { path: file.path.clone(), reason: reason.to_string() };
    let builder = read::open(table.store(), &file.path, file.bytes).await.map_err(|error| failed(&error))?;
    let mask = ProjectionMask::columns(builder.parquet_schema(), ["site", "visitor_id"]);
    let mut rows = builder.with_projection(mask).build().map_err(|error| failed(&error))?;
    let mut found = BTreeSet::new();
    let mut last = (String::new(), String::new());
    while let Some(batch) = rows.next().await {
        let batch = batch.map_err(|error| failed(&error))?;
        let (sites, visitors) = (text(&batch, "site").map_err(|error| failed(&error))?, text(&batch, "visitor_id").map_err(|error| failed(&error))?);
        for pair in sites.iter().zip(visitors) {
            let (Some(site), Some(visitor)) = pair else { continue };
            if last.0 == site && last.1 == visitor {
                continue;
            }
            last = (site.to_owned(), visitor.to_owned());
            if Id::parse(visitor.as_bytes()).is_some_and(|visitor| suppressions.standing(site, visitor).erased) {
                found.insert(last.clone());
            }
        }
    }
    Ok(found)
}
