//! Owns what a person may see of their own data: where rows are, and a copy of all of them.
//!
//! Promises: every stored field of that visitor of that site and none of another, and what the client told of
//! the person; a restriction does not bar a person from their own data (GDPR Art. 15 and 18), an erasure does;
//! the copy is hashed as it is written, for the audit log. Never says an identifier but inside the copy.

use super::paper::Paper;
use super::query::{self, Format, QueryError};
use super::text::{rfc3339, rfc3339_micros};
use crate::hit::clock::Moment;
use crate::hit::field::{Id, hex};
use crate::hit::site::SiteKey;
use crate::lake::sql::{Session, SqlError};
use crate::rules::person::Person;
use arrow::array::AsArray;
use arrow::datatypes::{DataType, Int64Type, TimeUnit, TimestampMicrosecondType};
use arrow::json::WriterBuilder;
use arrow::json::writer::JsonArray;
use arrow::record_batch::RecordBatch;
use futures::TryStreamExt;
use serde_json::json;
use sha2::{Digest, Sha256};
use std::io::{self, Write};

/// The forms of a copy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum CopyFormat {
    /// Every field of every row, for another program (GDPR Art. 20).
    Json,
    /// The same as a table.
    Csv,
    /// For the person to read.
    Pdf,
}

impl CopyFormat {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Json => "json",
            Self::Csv => "csv",
            Self::Pdf => "pdf",
        }
    }

    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Json, Self::Csv, Self::Pdf].into_iter().find(|format| format.name() == name)
    }
}

/// A copy that was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Copied {
    pub rows: u64,
    /// Of all its bytes, in hexadecimal.
    pub sha256: String,
}

/// Rows of one day.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Found {
    pub table: &'static str,
    pub day: String,
    pub rows: u64,
    pub first_received_at: String,
    pub last_received_at: String,
}

/// Whose data a copy is of.
#[derive(Clone, Copy)]
pub struct Whose<'w> {
    pub site: &'w SiteKey,
    /// All ids of the person; the first is the one that was asked for.
    pub visitors: &'w [Id],
    /// What is known under these ids of identify calls.
    pub records: &'w [Person],
}

/// Writes a copy of all rows of a person, and of what is known of identify calls. The session is one for the
/// subject: `Audience::Subject`. In CSV the records stand behind the rows, after an empty line, a trait a line.
pub async fn copy(session: &Session, whose: Whose<'_>, format: CopyFormat, output: &mut (impl Write + Send), now: Moment) -> Result<Copied, QueryError> {
    let mut output = Hashed { output, sha256: Sha256::new() };
    let sql = format!("SELECT * FROM interactions WHERE {} ORDER BY received_at, event_id", of(whose.site, whose.visitors));
    let rows = match format {
        CopyFormat::Csv => {
            let rows = query::query(session, &sql, Format::Csv, &mut output).await?.rows as u64;
            csv_of_records(whose.records, &mut output)?;
            rows
        }
        CopyFormat::Json => json(session, &sql, whose, &mut output, now).await?,
        CopyFormat::Pdf => pdf(session, &sql, whose, &mut output, now).await?,
    };
    output.flush()?;
    Ok(Copied { rows, sha256: hex(&output.sha256.finalize()) })
}

/// Where a person's rows are, by day.
pub async fn find(session: &Session, site: &SiteKey, visitors: &[Id]) -> Result<Vec<Found>, SqlError> {
    let sql = format!(
        "SELECT CAST(day AS VARCHAR) AS day, CAST(count(*) AS BIGINT) AS rows, min(received_at) AS first, max(received_at) AS last \
         FROM interactions WHERE {} GROUP BY day ORDER BY day",
        of(site, visitors)
    );
    let batches: Vec<RecordBatch> = session.run(&sql).await?.try_collect().await?;
    let found = |batch: &RecordBatch| {
        let text = arrow::compute::cast(batch.column_by_name("day")?, &DataType::Utf8).ok()?;
        let day = text.as_string_opt::<i32>()?;
        let rows = batch.column_by_name("rows")?.as_primitive_opt::<Int64Type>()?;
        let time = |name: &str| arrow::compute::cast(batch.column_by_name(name)?, &DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()))).ok();
        let (first, last) = (time("first")?, time("last")?);
        let (first, last) = (first.as_primitive_opt::<TimestampMicrosecondType>()?, last.as_primitive_opt::<TimestampMicrosecondType>()?);
        let of = |at: usize| Found {
            table: "interactions",
            day: day.value(at).to_owned(),
            rows: rows.value(at).unsigned_abs(),
            first_received_at: rfc3339(Moment(first.value(at))),
            last_received_at: rfc3339(Moment(last.value(at))),
        };
        Some((0..batch.num_rows()).map(of).collect::<Vec<_>>())
    };
    Ok(batches.iter().filter_map(found).flatten().collect())
}

/// Both are of closed alphabets, so no quote can end the text.
fn of(site: &SiteKey, visitors: &[Id]) -> String {
    let visitors: Vec<String> = visitors.iter().map(|visitor| format!("'{visitor}'")).collect();
    format!("site = '{site}' AND visitor_id IN ({})", visitors.join(", "))
}

/// A record as JSON has it.
fn told(record: &Person) -> serde_json::Value {
    json!({
        "visitor_id": record.visitor.to_string(), "user_id": record.user_id, "traits": record.traits,
        "linked_visitor_ids": record.linked.iter().map(Id::to_string).collect::<Vec<_>>(), "linked_more": record.linked_more,
        "first_seen": rfc3339_micros(record.first_seen), "last_seen": rfc3339_micros(record.last_seen),
    })
}

fn csv_of_records(records: &[Person], output: &mut impl Write) -> io::Result<()> {
    if records.is_empty() {
        return Ok(());
    }
    let mut lines = String::from("\n");
    query::csv_line(&mut lines, ["visitor_id", "user_id", "first_seen", "last_seen", "trait", "value"].into_iter().map(|name| Some(name.to_owned())));
    for record in records {
        let head = || [Some(record.visitor.to_string()), record.user_id.clone(), Some(rfc3339_micros(record.first_seen)), Some(rfc3339_micros(record.last_seen))];
        let linked = record.linked.iter().map(|id| ("(linked visitor id)".to_owned(), id.to_string()));
        for (name, value) in record.traits.clone().into_iter().chain(linked) {
            let cells = head().into_iter().chain([Some(name), Some(value)]);
            query::csv_line(&mut lines, cells.map(|cell| cell.map(query::unformulated)));
        }
    }
    output.write_all(lines.as_bytes())
}

async fn json(session: &Session, sql: &str, Whose { site, visitors, records }: Whose<'_>, output: &mut (impl Write + Send), now: Moment) -> Result<u64, QueryError> {
    let visitor = visitors.first().map(Id::to_string).unwrap_or_default();
    write!(output, "{{\"site\":\"{site}\",\"visitor_id\":\"{visitor}\",\"made_at\":\"{}\",", rfc3339(now))?;
    if !records.is_empty() {
        write!(output, "\"people\":{},", serde_json::Value::from(records.iter().map(told).collect::<Vec<_>>()))?;
    }
    write!(output, "\"interactions\":")?;
    let mut batches = session.run(sql).await?;
    let mut rows = 0;
    let mut writer = WriterBuilder::new().with_explicit_nulls(true).build::<_, JsonArray>(&mut *output);
    while let Some(batch) = batches.try_next().await.map_err(SqlError::from)? {
        rows += batch.num_rows() as u64;
        writer.write(&batch)?;
    }
    writer.finish()?;
    drop(writer);
    output.write_all(b"}\n")?;
    Ok(rows)
}

async fn pdf(session: &Session, sql: &str, Whose { site, visitors, records }: Whose<'_>, output: &mut impl Write, now: Moment) -> Result<u64, QueryError> {
    let mut paper = Paper::new("Your data");
    paper.field("site", site.as_str());
    for visitor in visitors {
        paper.field("visitor", &visitor.to_string());
    }
    paper.field("made at", &rfc3339(now));
    paper.paragraph("");
    paper.paragraph(
        "This is all that is kept under this number at this site: one entry for each interaction, the oldest first, with every field that holds something. \
         Times are in UTC. Network addresses were cut, and what looked like an e-mail address was taken out of texts, before anything was kept.",
    );
    for record in records {
        paper.heading("What the site told of you");
        if let Some(user_id) = &record.user_id {
            paper.field("user id", user_id);
        }
        record.traits.iter().for_each(|(name, value)| paper.field(name, value));
        paper.field("first told", &rfc3339(record.first_seen));
        paper.field("last told", &rfc3339(record.last_seen));
        record.linked.iter().for_each(|id| paper.field("also known as", &id.to_string()));
    }
    let mut batches = session.run(sql).await?;
    let mut rows = 0;
    while let Some(batch) = batches.try_next().await.map_err(SqlError::from)? {
        for fields in query::fields(&batch)? {
            rows += 1;
            let of = |name: &str| fields.iter().find(|(field, _)| field == name).map_or("", |(_, value)| value.as_str());
            paper.heading(&format!("{rows}. {} at {}", of("event"), of("occurred_at")));
            for (name, value) in &fields {
                paper.field(name, value);
            }
        }
    }
    if rows == 0 && records.is_empty() {
        paper.paragraph("Nothing is kept.");
    }
    if paper.had_other_letters {
        paper.paragraph("Letters that this paper cannot show are written by their Unicode number, as U+65E5. The copy in JSON has them as they are.");
    }
    paper.paragraph(&format!("{rows} in all. You may ask the site to correct this, to use it no longer, or to erase it."));
    output.write_all(&paper.finish())?;
    Ok(rows)
}

/// Passes bytes on and hashes them.
struct Hashed<'o, W> {
    output: &'o mut W,
    sha256: Sha256,
}

impl<W: Write> Write for Hashed<'_, W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.output.write(bytes)?;
        self.sha256.update(bytes.get(..written).unwrap_or_default());
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.output.flush()
    }
}

/// Bytes in memory, up to a bound: for a copy that leaves by a socket.
pub struct Bounded {
    pub bytes: Vec<u8>,
    bytes_max: usize,
}

impl Bounded {
    pub const fn new(bytes_max: usize) -> Self {
        Self { bytes: Vec::new(), bytes_max }
    }
}

impl Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.bytes.len() + bytes.len() > self.bytes_max {
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, "the copy is too large for one answer: `clearpixel subject export --output FILE` writes it to a file"));
        }
        self.bytes.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What the client may send to the person when a request is done.
pub fn notice(request: &super::book::Request) -> Option<String> {
    use crate::hit::field::{RequestKind, RequestState};
    if request.state != RequestState::Done {
        return None;
    }
    let (asked, done) = (rfc3339_micros(request.received_at), rfc3339_micros(request.done_at?));
    let (asked, done) = (asked.get(..10)?, done.get(..10)?);
    let what = match request.kind {
        RequestKind::Access => "A copy of the data kept about you is ready. It holds every field of every entry.".to_owned(),
        RequestKind::Erasure => "The data kept about you was erased: from the tables, their logs and the journal. Copies made before by backups are brought back without it. The number by which your browser was known is refused from now on.".to_owned(),
        RequestKind::Rectification => format!(
            "The data kept about you was corrected: {}. (To the sender: where an e-mail address was corrected, send this to the old and to the new one{}.)",
            request.fields.join(", "),
            if request.has_traits() { "; `notify` beside this notice names them until the request is 30 days old" } else { "" }
        ),
        RequestKind::Restriction => "The data kept about you is no longer used: it stays stored, out of every evaluation, until you or we lift this, of which you will be told before.".to_owned(),
        RequestKind::Release => "The restriction or the objection that you asked for was lifted.".to_owned(),
        RequestKind::Objection => "Your objection is in force: visits under your number are no longer kept.".to_owned(),
    };
    Some(format!("On {asked} you asked us about the data kept about your visits. {what} This was done on {done}. Request {}.", request.id))
}

#[cfg(test)]
mod tests {
    use crate::hit::field::hex;
    use super::{Bounded, CopyFormat, Whose, copy, find};
    use crate::hit::field::Id;
    use crate::hit::record::Text;
    use crate::hit::site::SiteKey;
    use crate::lake::audience::Audience;
    use crate::hit::sample::{START, page_view};
    use crate::lake::sample::commit;
    use crate::lake::sql::{Session, SessionOptions};
    use crate::rules::person::Person;
    use sha2::{Digest, Sha256};

    async fn session(folder: &tempfile::TempDir) -> Session {
        let lake = folder.path().join("lake");
        let mut first = page_view(1, 1, 1, "/mine");
        first.properties = vec![("plan", "日本"), ("colour", "red")];
        let mut elsewhere = page_view(2, 1, 1, "/elsewhere");
        elsewhere.texts[Text::Site as usize] = "other";
        commit(&lake, 1, &[first, page_view(2, 2, 2, "/theirs"), elsewhere, page_view(86_400, 1, 3, "/mine/too")], &[]).await;
        Session::open(&lake, SessionOptions::new(folder.path().join("spill"), Audience::Maintenance)).unwrap()
    }

    #[tokio::test]
    async fn a_copy_has_every_field_of_the_person_and_none_of_another() {
        let folder = tempfile::tempdir().unwrap();
        let session = session(&folder).await;
        let acme = SiteKey::parse("acme").unwrap();
        for (format, mine) in [(CopyFormat::Json, "日本"), (CopyFormat::Csv, "日本"), (CopyFormat::Pdf, "U+65E5U+672C")] {
            let mut out = Bounded::new(1 << 20);
            let traits = std::collections::BTreeMap::from([("email".to_owned(), "jane@example.org".to_owned()), ("=x".to_owned(), "=1+1".to_owned())]);
            let record = Person { visitor: Id([1; 16]), user_id: Some("jane-7".to_owned()), linked: vec![Id([7; 16])], linked_more: false, traits, first_seen: START, last_seen: START };
            let whose = Whose { site: &acme, visitors: &[Id([1; 16])], records: &[record] };
            let copied = copy(&session, whose, format, &mut out, START).await.unwrap();
            assert_eq!(copied.rows, 2, "{format:?}");
            if format == CopyFormat::Csv {
                let end = "\n\nvisitor_id,user_id,first_seen,last_seen,trait,value\n01010101010101010101010101010101,jane-7,2026-11-20T00:00:00.000000Z,2026-11-20T00:00:00.000000Z,'=x,'=1+1\n";
                assert!(String::from_utf8_lossy(&out.bytes).contains(end), "{}", String::from_utf8_lossy(&out.bytes));
            }
            assert_eq!(copied.sha256, hex(&Sha256::digest(&out.bytes)));
            let text = String::from_utf8_lossy(&out.bytes).into_owned();
            for part in ["/mine", mine, &"01".repeat(16), "jane@example.org", "jane-7", &"07".repeat(16)] {
                assert!(text.contains(part), "{format:?} lacks {part}");
            }
            for part in ["/theirs", "/elsewhere", &"02".repeat(16)] {
                assert!(!text.contains(part), "{format:?} tells {part}");
            }
            if format == CopyFormat::Json {
                let json: serde_json::Value = serde_json::from_str(&text).unwrap();
                assert_eq!(json["interactions"].as_array().unwrap().len(), 2);
                assert_eq!(json["interactions"][0].as_object().unwrap().len(), 44, "every column, also where it holds nothing");
            }
        }
        let mut out = Bounded::new(1 << 20);
        let whose = |visitors| Whose { site: &acme, visitors, records: &[] };
        copy(&session, whose(&[Id([9; 16])]), CopyFormat::Json, &mut out, START).await.unwrap();
        assert_eq!(serde_json::from_slice::<serde_json::Value>(&out.bytes).unwrap()["interactions"].as_array().unwrap().len(), 0);
        assert!(copy(&session, whose(&[Id([1; 16])]), CopyFormat::Json, &mut Bounded::new(100), START).await.is_err());
        let mut both = Bounded::new(1 << 20);
        assert_eq!(copy(&session, whose(&[Id([1; 16]), Id([2; 16])]), CopyFormat::Csv, &mut both, START).await.unwrap().rows, 3);
    }

    #[tokio::test]
    async fn rows_are_found_by_day() {
        let folder = tempfile::tempdir().unwrap();
        let found = find(&session(&folder).await, &SiteKey::parse("acme").unwrap(), &[Id([1; 16])]).await.unwrap();
        assert_eq!(found.iter().map(|found| (found.day.as_str(), found.rows)).collect::<Vec<_>>(), [("2026-11-20", 1), ("2026-11-21", 1)]);
        assert_eq!(found[1].first_received_at, "2026-11-21T00:00:00Z");
    }
}
