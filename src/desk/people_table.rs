//! Owns `people` as a table of SQL: made for one question, in memory, and only where it was asked for.
//!
//! Promises: whoever is erased, restricted or contests a field is not in it; no session has it but one that
//! it was added to. Limits: 256 MiB of people in all; more is to be asked for site by site, or exported.

use crate::hit::site::SiteKey;
use crate::lake::sql::{Session, SqlError};
use crate::people::file::PeopleError;
use crate::people::read::People;
use crate::rules::person::Person;
use crate::rules::suppression::Suppressions;
use arrow::array::{ArrayRef, BooleanBuilder, ListBuilder, MapBuilder, MapFieldNames, StringBuilder, TimestampMicrosecondBuilder};
use arrow::error::ArrowError;
use arrow::record_batch::RecordBatch;
use std::sync::Arc;

/// The name in SQL.
pub const NAME: &str = "people";

/// Why there is no table.
#[derive(Debug, thiserror::Error)]
pub enum TableFault {
    #[error("no site of these settings has a people_key, so there are no people to be seen")]
    NoKeys,
    #[error("people take more than 256 MiB in memory: too many for a question; `subject export` writes one person's copy")]
    TooMany,
    #[error(transparent)]
    People(#[from] PeopleError),
    #[error(transparent)]
    Arrow(#[from] ArrowError),
    #[error(transparent)]
    Sql(#[from] SqlError),
}

/// Adds the table of all sites' people to a session.
pub fn add(session: &Session, people: &People, suppressions: &Suppressions) -> Result<(), TableFault> {
    if people.sites().next().is_none() {
        return Err(TableFault::NoKeys);
    }
    let (mut rows, mut is_too_large) = (Rows::new(), false);
    for site in people.sites() {
        people.each(site, &|id| !suppressions.standing(site.as_str(), id).is_hidden(), &mut |person| {
            is_too_large |= rows.bytes > BYTES_MAX;
            if !is_too_large {
                rows.push(site, &person);
            }
            Ok(())
        })?;
    }
    if is_too_large {
        return Err(TableFault::TooMany);
    }
    Ok(session.add(NAME, rows.finish()?)?)
}

const BYTES_MAX: usize = 256 << 20;

struct Rows {
    bytes: usize,
    site: StringBuilder,
    user_id: StringBuilder,
    visitor_id: StringBuilder,
    traits: MapBuilder<StringBuilder, StringBuilder>,
    linked: ListBuilder<StringBuilder>,
    linked_more: BooleanBuilder,
    first_seen: TimestampMicrosecondBuilder,
    last_seen: TimestampMicrosecondBuilder,
}

impl Rows {
    fn new() -> Self {
        let names = MapFieldNames { entry: "key_value".to_owned(), key: "key".to_owned(), value: "value".to_owned() };
        Self {
            bytes: 0,
            site: StringBuilder::new(),
            user_id: StringBuilder::new(),
            visitor_id: StringBuilder::new(),
            traits: MapBuilder::new(Some(names), StringBuilder::new(), StringBuilder::new()),
            linked: ListBuilder::new(StringBuilder::new()),
            linked_more: BooleanBuilder::new(),
            first_seen: TimestampMicrosecondBuilder::new().with_timezone("UTC"),
            last_seen: TimestampMicrosecondBuilder::new().with_timezone("UTC"),
        }
    }

    fn push(&mut self, site: &SiteKey, person: &Person) {
        self.site.append_value(site.as_str());
        self.user_id.append_option(person.user_id.as_deref());
        self.visitor_id.append_value(person.visitor.to_string());
        for (name, value) in &person.traits {
            self.traits.keys().append_value(name);
            self.traits.values().append_value(value);
            self.bytes += name.len() + value.len();
        }
        // A map of as many keys as values: there is no such error.
        let _ = self.traits.append(true);
        for id in &person.linked {
            self.linked.values().append_value(id.to_string());
        }
        self.linked.append(true);
        self.linked_more.append_value(person.linked_more);
        self.first_seen.append_value(person.first_seen.micros());
        self.last_seen.append_value(person.last_seen.micros());
        self.bytes += 128 + 32 * person.linked.len();
    }

    fn finish(mut self) -> Result<RecordBatch, ArrowError> {
        let columns: [(&str, ArrayRef); 8] = [
            ("site", Arc::new(self.site.finish())),
            ("user_id", Arc::new(self.user_id.finish())),
            ("visitor_id", Arc::new(self.visitor_id.finish())),
            ("traits", Arc::new(self.traits.finish())),
            ("linked_visitor_ids", Arc::new(self.linked.finish())),
            ("linked_more", Arc::new(self.linked_more.finish())),
            ("first_seen", Arc::new(self.first_seen.finish())),
            ("last_seen", Arc::new(self.last_seen.finish())),
        ];
        RecordBatch::try_from_iter(columns)
    }
}
