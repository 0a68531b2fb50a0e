//! Owns the command `subject`: a person's rights from a command line, with no server running or beside one.
//!
//! Promises: takes part in the same requests as the admin port; an identifier given as `-` is read from
//! standard input, so that it stands in no list of processes and no history; results go to standard
//! output and say no identifier.

use crate::app::{self, AppError};
use crate::config::Config;
use crate::desk::erasure::{ErasureError, LookedThrough};
use crate::desk::maintain::{MaintainError, Maintenance};
use crate::desk::query::QueryError;
use crate::desk::book::Request;
use crate::desk::rights::{Ask, Rights, RightsError};
use crate::desk::persons::{Persons, PersonsError};
use crate::desk::subject::{self, CopyFormat, Whose};
use crate::desk::text::{moment, rfc3339};
use crate::hit::clock::{Clock, Moment};
use crate::hit::field::{Asker, Id, RequestKind, RequestState};
use crate::hit::site::SiteKey;
use crate::journal::folder;
use crate::lake::audience::Audience;
use crate::lake::lease::LeaseError;
use crate::lake::sql::{Session, SessionOptions, SqlError};
use crate::people::file::PeopleError;
use crate::people::key::KeyError;
use crate::people::read::People;
use crate::rules::identity::SigningKey;
use clap::{Args, ValueEnum};
use std::collections::BTreeMap;
use std::io::{self, BufWriter, Write};
use std::path::PathBuf;
use std::time::Duration;

/// What to do for the person.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Action {
    /// Say where rows of the person are: days and counts.
    Find,
    /// Write a copy of all that is kept about the person.
    Export,
    /// Forget the person: out of every answer at once, out of every file with the next maintenance.
    Erase,
    /// Put fields right (`--set`): out of every answer until that is done in the files.
    Rectify,
    /// Keep the rows and use them for nothing; refuse further hits.
    Restrict,
    /// End a restriction or an objection.
    Release,
    /// Refuse further hits of the person; what is kept stays.
    Object,
    /// Put the person, or without `--visitor` and `--user` the whole site, under a legal hold that suspends erasures.
    Hold,
}

/// The options of `subject`.
#[derive(Args, Debug)]
pub struct SubjectOptions {
    /// What to do for the person.
    #[arg(value_enum)]
    action: Action,
    /// The site.
    #[arg(long, value_name = "KEY", value_parser = site_key)]
    site: SiteKey,
    /// The person's visitor id, as /choices shows it; `-` reads it from standard input.
    #[arg(long, value_name = "ID", required_unless_present_any = ["reason", "user"], conflicts_with = "user")]
    visitor: Option<String>,
    /// The client's own name of the person, where the site has people; `-` reads it from standard input.
    #[arg(long, value_name = "ID")]
    user: Option<String>,
    /// Erase, rectify: do the work in the files at once, not with the next maintenance, and wait for it.
    #[arg(long)]
    now: bool,
    /// Rectify: what a field (`country`, `language`, `traits.NAME`) is to be; nothing behind `=` empties it.
    /// May be given several times.
    #[arg(long = "set", value_name = "FIELD=TEXT")]
    fields: Vec<String>,
    /// Export: the form of the copy.
    #[arg(long, value_enum, default_value = "json")]
    format: CopyFormat,
    /// Export: write to this file instead of standard output. Rectify: write whom the notice of a changed e-mail
    /// address goes to.
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Hold: why, without naming the person.
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    /// Hold: until when (RFC 3339); a time that is past ends a hold.
    #[arg(long, value_name = "TIME", value_parser = time, requires = "reason")]
    until: Option<Moment>,
}

/// Why the command failed.
#[derive(Debug, thiserror::Error)]
pub enum SubjectError {
    #[error("`--visitor` is 32 lower-case hexadecimal digits, as /choices shows them to the person")]
    NoVisitor,
    #[error("`--user` is empty: give the name that identify calls bring as `userId`")]
    NoUser,
    #[error("`--set` is FIELD=TEXT")]
    NoField,
    #[error("a hold needs `--reason` and `--until`")]
    NoHold,
    #[error("there is no site `{0}` in these settings: name one of its sites")]
    UnknownSite(SiteKey),
    #[error("there is no collector's data in {0}: nothing was collected there, or this is another folder")]
    NoData(String),
    #[error("request {0} is in force, and its work in the files goes on")]
    NotYet(Id),
    #[error(transparent)]
    App(#[from] AppError),
    #[error(transparent)]
    Rights(#[from] RightsError),
    #[error(transparent)]
    Persons(#[from] PersonsError),
    #[error(transparent)]
    People(#[from] PeopleError),
    #[error(transparent)]
    Key(#[from] KeyError),
    #[error(transparent)]
    Query(#[from] QueryError),
    #[error(transparent)]
    Sql(#[from] SqlError),
    #[error("{0}")]
    Io(#[from] io::Error),
}

/// Runs the command.
pub async fn run(subject: &SubjectOptions, config: &Config, clock: &Clock) -> Result<(), SubjectError> {
    let now = clock.now();
    if !config.sites.iter().any(|site| site.key == subject.site) {
        return Err(SubjectError::UnknownSite(subject.site));
    }
    let mut out = io::stdout();
    match subject.action {
        Action::Hold => {
            let (Some(reason), Some(until)) = (&subject.reason, subject.until) else { return Err(SubjectError::NoHold) };
            let rights = open(config, now)?;
            let visitors = if subject.visitor.is_some() || subject.user.is_some() { ids(&Office::open(config, subject)?.ask(RequestKind::Restriction, BTreeMap::new())?).into_iter().map(Some).collect() } else { vec![None] };
            for visitor in visitors {
                rights.hold(&subject.site, visitor, reason, until, now)?;
            }
            writeln!(out, "held until {}", rfc3339(until))?;
        }
        Action::Find => {
            let rights = open(config, now)?;
            let office = Office::open(config, subject)?;
            let visitors = ids(&office.ask(RequestKind::Access, BTreeMap::new())?);
            let found = subject::find(&session(config, &rights)?, &subject.site, &visitors).await?;
            for found in &found {
                writeln!(out, "{}  {}  {} rows  from {} to {}", found.table, found.day, found.rows, found.first_received_at, found.last_received_at)?;
            }
            writeln!(out, "{} rows in all; what came within the last flush is not among them yet", found.iter().map(|found| found.rows).sum::<u64>())?;
            for record in office.persons().records(&visitors)? {
                let (traits, linked, more) = (record.traits.len(), record.linked.len(), if record.linked_more { ", and more that are not known" } else { "" });
                writeln!(out, "people  {traits} traits, {linked} linked ids{more}  from {} to {}", rfc3339(record.first_seen), rfc3339(record.last_seen))?;
            }
        }
        Action::Export => {
            let rights = open(config, now)?;
            let office = Office::open(config, subject)?;
            let ask = office.ask(RequestKind::Access, BTreeMap::new())?;
            let request = rights.ask(&ask, now)?;
            export(&office, config, &rights, &request, &ids(&ask), now).await?;
        }
        Action::Erase => take(subject, config, RequestKind::Erasure, BTreeMap::new(), clock).await?,
        Action::Rectify => take(subject, config, RequestKind::Rectification, fields(subject)?, clock).await?,
        Action::Restrict => take(subject, config, RequestKind::Restriction, BTreeMap::new(), clock).await?,
        Action::Release => take(subject, config, RequestKind::Release, BTreeMap::new(), clock).await?,
        Action::Object => take(subject, config, RequestKind::Objection, BTreeMap::new(), clock).await?,
    }
    Ok(())
}

async fn take(subject: &SubjectOptions, config: &Config, kind: RequestKind, fields: BTreeMap<String, Option<String>>, clock: &Clock) -> Result<(), SubjectError> {
    let office = Office::open(config, subject)?;
    let ask = office.ask(kind, fields)?;
    let request = open(config, clock.now())?.ask(&ask, clock.now())?;
    if let (RequestKind::Rectification, Some(path), Some(sealed)) = (kind, &subject.output, &ask.sealed) {
        folder::private_file(path)?.write_all((office.persons().notify(sealed).join("\n") + "\n").as_bytes())?;
    }
    if !subject.now || request.state != RequestState::Running {
        return tell(&request);
    }
    let spill = config.data_dir.join("spill").join("maintain");
    let maintenance = Maintenance { lake: &config.lake, spill, sites: &config.sites, holder: "the command `subject`", clock, grace: config.readers_grace, layer: &|store| store };
    let mut looked = LookedThrough::default();
    for _ in 0..LOOKS_MAX {
        // Where a collector runs it does the work; where another maintains, this waits for its turn.
        match app::carry_out_rights(config, &maintenance, &mut looked).await {
            Ok(_) | Err(AppError::Erasure(ErasureError::Maintain(MaintainError::Lease(LeaseError::Held { .. })))) => {}
            Err(error) => return Err(error.into()),
        }
        match open(config, clock.now())?.request(subject.site.as_str(), request.id)? {
            Some(request) if request.state != RequestState::Running => return tell(&request),
            Some(_) | None => tokio::time::sleep(LOOK_EVERY).await,
        }
    }
    Err(SubjectError::NotYet(request.id))
}

/// 10 minutes: longer than a pass over a table of 100 million rows should take.
const LOOKS_MAX: u32 = 1_200;
const LOOK_EVERY: Duration = Duration::from_millis(500);

fn tell(request: &Request) -> Result<(), SubjectError> {
    let mut out = io::stdout().lock();
    writeln!(out, "request {}: {}, {}, due {}", request.id, request.kind, request.state, rfc3339(request.due_at))?;
    if let (Some(until), Some(reason)) = (request.held_until, &request.reason) {
        writeln!(out, "held until {}: {reason}", rfc3339(until))?;
    }
    if let Some(notice) = subject::notice(request) {
        writeln!(out, "to the person: {notice}")?;
    }
    Ok(())
}

async fn export(office: &Office<'_>, config: &Config, rights: &Rights, request: &Request, visitors: &[Id], now: Moment) -> Result<(), SubjectError> {
    let session = session(config, rights)?;
    let (subject, records) = (office.subject, office.persons().records(visitors)?);
    let whose = Whose { site: &subject.site, visitors, records: &records };
    let copied = match &subject.output {
        None => subject::copy(&session, whose, subject.format, &mut io::stdout(), now).await?,
        Some(path) => {
            // A copy appears whole or not at all, and is its maker's alone.
            let unfinished = path.with_extension("unfinished");
            let mut file = BufWriter::new(folder::private_file(&unfinished)?);
            let copied = subject::copy(&session, whose, subject.format, &mut file, now).await?;
            file.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all()?;
            std::fs::rename(&unfinished, path)?;
            copied
        }
    };
    rights.exported(request.id, subject.format.name(), copied.rows, copied.sha256.clone(), now)?;
    writeln!(io::stderr().lock(), "request {}: {} rows, SHA-256 {}", request.id, copied.rows, copied.sha256)?;
    Ok(())
}

fn session(config: &Config, rights: &Rights) -> Result<Session, SqlError> {
    let suppressions = rights.subscribe().borrow().clone();
    Session::open(&config.lake, SessionOptions::new(config.data_dir.join("spill"), Audience::Subject(suppressions)))
}

/// The requests of a collector's data folder, which has to be there: a new secret would hash otherwise.
fn open(config: &Config, now: Moment) -> Result<Rights, SubjectError> {
    if !config.data_dir.join("secret").is_file() {
        return Err(SubjectError::NoData(config.data_dir.display().to_string()));
    }
    let (node, secret) = (folder::node(&config.data_dir)?, folder::kept_bytes(&config.data_dir.join("secret"))?);
    Ok(Rights::open(&config.data_dir, &config.lake, &node, &secret, now)?)
}

/// What a request is made with: the options, the people, and the key that makes ids of names.
struct Office<'o> {
    subject: &'o SubjectOptions,
    people: People,
    key: SigningKey,
}

impl<'o> Office<'o> {
    fn open(config: &Config, subject: &'o SubjectOptions) -> Result<Self, SubjectError> {
        let people = People::of_settings(&config.sites, &config.data_dir, &config.lake)?;
        people.must_open(&subject.site)?;
        if !config.data_dir.join("secret").is_file() {
            return Err(SubjectError::NoData(config.data_dir.display().to_string()));
        }
        Ok(Self { subject, people, key: SigningKey::new(folder::kept_bytes(&config.data_dir.join("secret"))?) })
    }

    const fn persons(&self) -> Persons<'_> {
        Persons { people: &self.people, key: &self.key, site: &self.subject.site }
    }

    fn ask(&self, kind: RequestKind, fields: BTreeMap<String, Option<String>>) -> Result<Ask, SubjectError> {
        let of = |visitor| Ask { fields, now: self.subject.now, ..Ask::of(kind, self.subject.site, visitor, Asker::CommandLine) };
        let ask = match &self.subject.user {
            Some(user) => self.persons().by_user(of(Id([0; 16])), given(user, SubjectError::NoUser)?.as_str())?,
            None => of(Id::parse(given(self.subject.visitor.as_deref().unwrap_or_default(), SubjectError::NoVisitor)?.as_bytes()).ok_or(SubjectError::NoVisitor)?),
        };
        Ok(self.persons().seal(ask)?)
    }
}

fn ids(ask: &Ask) -> Vec<Id> {
    std::iter::once(ask.visitor).chain(ask.linked.iter().copied()).collect()
}

/// What an option says, or, where it is `-`, a line of standard input.
fn given(option: &str, absent: SubjectError) -> Result<String, SubjectError> {
    let mut given = option.to_owned();
    if given == "-" {
        given.clear();
        io::stdin().read_line(&mut given)?;
    }
    let given = given.trim().to_owned();
    if given.is_empty() { Err(absent) } else { Ok(given) }
}

fn fields(subject: &SubjectOptions) -> Result<BTreeMap<String, Option<String>>, SubjectError> {
    let field = |text: &String| {
        let (field, value) = text.split_once('=').ok_or(SubjectError::NoField)?;
        Ok((field.to_owned(), (!value.is_empty()).then(|| value.to_owned())))
    };
    subject.fields.iter().map(field).collect()
}

fn site_key(text: &str) -> Result<SiteKey, String> {
    SiteKey::parse(text).ok_or_else(|| "a site's key is 1 to 32 of a-z 0-9 -".to_owned())
}

fn time(text: &str) -> Result<Moment, String> {
    moment(text).ok_or_else(|| "write a time as 2026-11-23T10:00:00Z".to_owned())
}
