//! Owns what of a site's traffic may be given to third parties: which cells of which tables, how exact, of
//! which weeks, and once only.
//!
//! Statistical disclosure control by suppression: a value is shown where `PEOPLE_MIN` people at least were
//! there; all others are one cell, `(other)`, which itself has as many people or takes in the least frequent
//! of the shown ones until it has. Tables whose values follow from one another (browser, system, device) are
//! suppressed as one table of their combinations. So every number that leaves, and every difference of two, is of
//! `PEOPLE_MIN` people or of nobody. Weeks do not overlap; a week is counted once, all its tables from one
//! version of the lake, and frozen in `LAKE/_shared/SITE/WEEK.json`, so that two exports cannot be subtracted.
//! Why each rule is there: docs/decisions/0029-share.md. Never holds a person, an id or a sketch.

use super::text::rfc3339;
use crate::hit::clock::{Day, Moment};
use crate::hit::field::hex;
use crate::hit::site::Site;
use crate::journal::folder;
use chrono::{Datelike, NaiveDate, Weekday};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// k: a cell is of so many people at least.
pub const PEOPLE_MIN: u64 = 10;
/// Figures are cut down to a multiple of this.
pub const ROUNDED_TO: u64 = 10;
/// Values that a table shows besides `(other)`: seven tables of 101 cells of some 100 bytes are 70 KB a week.
pub const CELLS_MAX: usize = 100;
/// A visitor's interactions count up to this a day and cell, so that nobody is most of a cell.
pub const COUNTED_MAX: u64 = 50;
pub const OTHER: &str = "(other)";
/// Between the values of a combination: no value holds it.
pub const SEPARATOR: char = '\u{1f}';

/// What a table counts by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Dimension {
    All,
    Page,
    Source,
    Country,
    Browser,
    Os,
    Device,
}

impl Dimension {
    pub const ALL: [Self; 7] = [Self::All, Self::Page, Self::Source, Self::Country, Self::Browser, Self::Os, Self::Device];

    pub const fn name(self) -> &'static str {
        match self {
            Self::All => "all",
            Self::Page => "page",
            Self::Source => "source",
            Self::Country => "country",
            Self::Browser => "browser",
            Self::Os => "os",
            Self::Device => "device",
        }
    }

    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|dimension| dimension.name() == name)
    }

    /// The group it is suppressed with, and which part of the group's combinations it is.
    pub const fn place(self) -> (Group, usize) {
        match self {
            Self::All => (Group::All, 0),
            Self::Page => (Group::Page, 0),
            Self::Source => (Group::Source, 0),
            Self::Country => (Group::Country, 0),
            Self::Browser => (Group::Technology, 0),
            Self::Os => (Group::Technology, 1),
            Self::Device => (Group::Technology, 2),
        }
    }
}

/// Dimensions that tell of one another, and so are suppressed together. A row has one key in each group: its
/// values joined by `SEPARATOR`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Group {
    All,
    Page,
    Source,
    Country,
    /// Browser, system, device: Safari is Apple's, a television has its own system.
    Technology,
}

impl Group {
    pub const ALL: [Self; 5] = [Self::All, Self::Page, Self::Source, Self::Country, Self::Technology];
}

/// Counts a site's week. People are counted so that no more are seen than were there: a row without a visitor
/// counts for nobody and in nothing; a visitor of a daily id is another one each day, and a browser without
/// cookies another one each time, while a cookie that is kept may come from many networks. So people of a key are
/// those pairs of a visitor and of what it came with, on its fullest *day*, in which neither comes twice: whoever
/// has many of one has one of the other (a matching is never larger than a cover; König, 1931).
#[expect(async_fn_in_trait, reason = "counted on the thread that asks")]
pub trait Count {
    type Error;

    /// Keys of `group` with `PEOPLE_MIN` people at least, those with the most first, `CELLS_MAX` at most.
    async fn common(&self, group: Group) -> Result<Vec<String>, Self::Error>;

    /// What is under no key of `shown`.
    async fn rest(&self, group: Group, shown: &[String]) -> Result<Rest, Self::Error>;

    /// Figures of each value of `dimension` in the keys `shown`, and of the rest as `OTHER`.
    async fn figures(&self, dimension: Dimension, shown: &[String]) -> Result<Vec<Cell>, Self::Error>;
}

/// What is not shown by a value of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Rest {
    pub people: u64,
    /// So many keys.
    pub keys: u64,
}

/// A cell of a table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cell {
    pub value: String,
    /// Up to `COUNTED_MAX` a visitor and day.
    pub interactions: u64,
    /// The visitors of each day, added up over the week.
    pub visitor_days: u64,
}

/// A table as it may leave.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Table {
    pub cells: Vec<Cell>,
    /// So many values, or combinations, have no cell of their own.
    pub withheld: u64,
}

/// Every table of a week, by the dimension's name.
pub type Tables = BTreeMap<String, Table>;

/// Counts the tables of a week, suppressed and rounded.
pub async fn publish<C: Count>(counts: &C) -> Result<Tables, C::Error> {
    let mut tables = suppressed(counts).await?;
    for table in tables.values_mut() {
        for cell in &mut table.cells {
            cell.interactions -= cell.interactions % ROUNDED_TO;
            cell.visitor_days -= cell.visitor_days % ROUNDED_TO;
        }
        // By what is told: an order by the exact figures would tell of them.
        table.cells.sort_by(|left, right| {
            let rank = |cell: &Cell| (cell.value == OTHER, std::cmp::Reverse(cell.visitor_days), std::cmp::Reverse(cell.interactions));
            rank(left).cmp(&rank(right)).then_with(|| left.value.cmp(&right.value))
        });
    }
    Ok(tables)
}

/// The tables with exact figures: never to leave, and for the attacker of the tests alone.
pub(super) async fn suppressed<C: Count>(counts: &C) -> Result<Tables, C::Error> {
    let mut tables = Tables::new();
    for group in Group::ALL {
        let (shown, rest) = shown(counts, group).await?;
        let is_empty = shown.is_empty() && rest.people < PEOPLE_MIN;
        for dimension in Dimension::ALL.into_iter().filter(|dimension| dimension.place().0 == group) {
            let cells = if is_empty { Vec::new() } else { counts.figures(dimension, &shown).await? };
            tables.insert(dimension.name().to_owned(), Table { cells, withheld: rest.keys });
        }
    }
    Ok(tables)
}

/// The keys that are shown, and what is left: nothing, or `PEOPLE_MIN` people at least, or nothing is shown.
pub async fn shown<C: Count>(counts: &C, group: Group) -> Result<(Vec<String>, Rest), C::Error> {
    let mut shown = counts.common(group).await?;
    shown.retain(|key| key.split(SEPARATOR).all(|value| value != OTHER));
    loop {
        let rest = counts.rest(group, &shown).await?;
        if rest.keys == 0 || rest.people >= PEOPLE_MIN || shown.pop().is_none() {
            return Ok((shown, rest));
        }
    }
}

/// A week of ISO 8601 in UTC, from Monday to Sunday: `2026-W47`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Week {
    monday: Day,
}

/// How long after its end a week is counted: what was acknowledged in it is in the lake by then.
const SETTLED_AFTER: i64 = 86_400;

impl Week {
    pub fn parse(text: &str) -> Option<Self> {
        let (year, week) = text.split_once("-W")?;
        let number = |text: &str, digits: usize| (text.len() == digits && text.bytes().all(|byte| byte.is_ascii_digit())).then(|| text.parse::<u16>().ok()).flatten();
        let monday = NaiveDate::from_isoywd_opt(i32::from(number(year, 4)?), u32::from(number(week, 2)?), Weekday::Mon)?;
        Some(Self { monday: Day(i64::from(monday.to_epoch_days())) })
    }

    /// The newest week that is over and settled.
    pub const fn newest(now: Moment) -> Self {
        let day = now.plus_seconds(-SETTLED_AFTER).day().0;
        // 1970-01-01 was a Thursday.
        Self { monday: Day(day - (day + 3).rem_euclid(7) - 7) }
    }

    pub fn is_settled(self, now: Moment) -> bool {
        self <= Self::newest(now)
    }

    pub const fn first(self) -> Day {
        self.monday
    }

    /// The day after its last.
    pub const fn end(self) -> Day {
        Day(self.monday.0 + 7)
    }

    /// Whether its first day is past a term, as retention reckons.
    pub const fn is_past(self, keep_seconds: i64, now: Moment) -> bool {
        self.monday.0 <= now.plus_seconds(-keep_seconds).day().0
    }
}

impl fmt::Display for Week {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let monday = NaiveDate::from_epoch_days(self.monday.number()).map(|date| date.iso_week());
        match monday {
            Some(week) => write!(formatter, "{:04}-W{:02}", week.year(), week.week()),
            None => formatter.write_str("-"),
        }
    }
}

/// A week as it was published once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Published {
    pub site: String,
    pub week: String,
    pub published_at: String,
    pub people_min: u64,
    pub rounded_to: u64,
    pub tables: Tables,
}

/// A published week, and the digest of the bytes it is kept as.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frozen {
    pub published: Published,
    pub sha256: String,
}

/// Where published weeks are kept: in the lake, so that all its collectors publish the same.
pub struct Shelf {
    folder: PathBuf,
}

impl Shelf {
    pub fn of(lake: &Path) -> Self {
        Self { folder: lake.join("_shared") }
    }

    /// The week as it was published, if it was.
    pub fn read(&self, site: &str, week: Week) -> io::Result<Option<Frozen>> {
        match std::fs::read(self.path(site, week)) {
            Ok(bytes) => frozen(&bytes).map(Some),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Publishes a week, durably; where another was quicker, gives back what that one published.
    pub fn keep(&self, site: &Site, week: Week, tables: Tables, now: Moment) -> io::Result<Frozen> {
        use std::os::unix::fs::OpenOptionsExt;
        let key = site.key.as_str();
        let published = Published { site: key.to_owned(), week: week.to_string(), published_at: rfc3339(now), people_min: PEOPLE_MIN, rounded_to: ROUNDED_TO, tables };
        let path = self.path(key, week);
        let mut random = [0; 8];
        getrandom::fill(&mut random).map_err(|error| io::Error::other(error.to_string()))?;
        let draft = path.with_extension(format!("{}.draft", hex(&random)));
        folder::make_private(&self.folder.join(key))?;
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&draft)?;
        file.write_all(&serde_json::to_vec(&published)?)?;
        file.sync_all()?;
        // A second name is given to a whole file, and only where there is none yet.
        let linked = std::fs::hard_link(&draft, &path);
        std::fs::remove_file(&draft)?;
        folder::sync_above(&path)?;
        match linked {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
            Ok(()) | Err(_) => frozen(&std::fs::read(&path)?),
        }
    }

    /// Proves that weeks are as they left: `left` are the digests of those that did, by site and week. Gives how many
    /// weeks lie here, and a line of each that is missing before its term, was changed or cannot be read. What another
    /// collector of this lake published has to be readable: its digest is in that one's log.
    pub fn verify(&self, left: &BTreeMap<(String, String), String>, sites: &[Site], now: Moment) -> io::Result<(usize, Vec<String>)> {
        let (mut count, mut faults) = (0, Vec::new());
        for folder in entries(&self.folder)? {
            let site = folder.file_name().and_then(|name| name.to_str()).unwrap_or_default().to_owned();
            for path in entries(&folder)? {
                let Some(week) = week_of(&path) else { continue };
                match self.read(&site, week) {
                    Ok(Some(frozen)) if left.get(&(site.clone(), week.to_string())).is_none_or(|sha256| *sha256 == frozen.sha256) => {}
                    Ok(Some(_)) => faults.push(format!("{}: it is not what left the first time: put it back from a copy", path.display())),
                    // Maintenance was there in between.
                    Ok(None) => continue,
                    Err(error) => faults.push(format!("{}: {error}", path.display())),
                }
                count += 1;
            }
        }
        for (site, week) in left.keys() {
            let Some(week) = Week::parse(week) else { continue };
            let path = self.path(site, week);
            if !week.is_past(keep_seconds(site, sites), now) && !path.try_exists()? {
                faults.push(format!("{}: it was published and is not there any more: put it back from a copy", path.display()));
            }
        }
        Ok((count, faults))
    }

    /// Removes what is past the term of its site's trends, and what a crash left; says how many weeks went.
    pub fn retain(&self, sites: &[Site], now: Moment) -> io::Result<usize> {
        let mut removed = 0;
        for folder in entries(&self.folder)? {
            let name = folder.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            let keep = keep_seconds(name, sites);
            for path in entries(&folder)? {
                let week = week_of(&path);
                let is_draft = path.extension().is_some_and(|ending| ending == "draft");
                if is_draft && is_old(&path)? || week.is_some_and(|week| week.is_past(keep, now)) {
                    std::fs::remove_file(&path)?;
                    File::open(&folder)?.sync_all()?;
                    removed += usize::from(!is_draft);
                }
            }
        }
        Ok(removed)
    }

    fn path(&self, site: &str, week: Week) -> PathBuf {
        self.folder.join(site).join(format!("{week}.json"))
    }
}

/// How long a site's weeks are kept. One that the settings do not name (any more) has the longest term there is.
fn keep_seconds(site: &str, sites: &[Site]) -> i64 {
    let longest = sites.iter().map(|site| site.trends_keep_seconds).max().unwrap_or(0).max(5 * 366 * 86_400);
    sites.iter().find(|other| other.key.as_str() == site).map_or(longest, |site| site.trends_keep_seconds)
}

/// The week whose file this is.
fn week_of(path: &Path) -> Option<Week> {
    Week::parse(path.file_name()?.to_str()?.strip_suffix(".json")?)
}

fn frozen(bytes: &[u8]) -> io::Result<Frozen> {
    let published = serde_json::from_slice(bytes).map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "a published week is not what was written"))?;
    Ok(Frozen { published, sha256: hex(&Sha256::digest(bytes)) })
}

/// What lies in a folder; nothing where there is none.
fn entries(folder: &Path) -> io::Result<Vec<PathBuf>> {
    match std::fs::read_dir(folder) {
        Ok(entries) => entries.map(|entry| Ok(entry?.path())).collect(),
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

/// Another may be about to give it its name.
fn is_old(draft: &Path) -> io::Result<bool> {
    let age = std::fs::metadata(draft)?.modified()?.elapsed();
    Ok(age.is_ok_and(|age| age.as_secs() > 3_600))
}

#[cfg(test)]
mod tests {
    use super::{Cell, Shelf, Table, Tables, Week};
    use crate::hit::clock::{Day, Moment};
    use crate::hit::site::Site;
    use std::collections::BTreeMap;

    const HOUR: i64 = 3_600;
    const DAY: i64 = 24 * HOUR;
    /// Monday, 2026-11-16T00:00:00Z.
    const MONDAY: Moment = Moment(1_794_787_200_000_000);

    #[test]
    fn weeks_are_those_of_iso_8601() {
        for (text, first) in [("2026-W47", MONDAY.day()), ("1970-W01", Day(-3)), ("2020-W53", Day(18_624)), ("2021-W01", Day(18_631))] {
            let week = Week::parse(text).unwrap();
            assert_eq!((week.first(), week.end(), week.to_string().as_str()), (first, Day(first.0 + 7), text));
        }
        for bad in ["", "2026", "2026-W", "2026-W1", "2026-W00", "2026-W54", "2025-W53", "2026-W47 ", "2026-w47", "+026-W47", "../../-W47", "2026-W4٧"] {
            assert_eq!(Week::parse(bad), None, "{bad}");
        }
        let week = Week::parse("2026-W47").unwrap();
        let newest = |seconds| Week::newest(MONDAY.plus_seconds(seconds));
        assert_eq!((newest(8 * DAY), newest(8 * DAY - 1)), (week, Week { monday: Day(week.monday.0 - 7) }), "a day after its end");
        assert!(week.is_settled(MONDAY.plus_seconds(80 * DAY)) && !week.is_settled(MONDAY.plus_seconds(8 * DAY - 1)));
        assert!(week.is_past(10 * DAY, MONDAY.plus_seconds(10 * DAY)) && !week.is_past(10 * DAY, MONDAY.plus_seconds(10 * DAY - 1)));
    }

    #[test]
    fn what_left_is_there_as_it_was_until_its_term() {
        let folder = tempfile::tempdir().unwrap();
        let (shelf, site, week) = (Shelf::of(folder.path()), Site::sample(), Week::parse("2026-W47").unwrap());
        let verified = |left: &BTreeMap<(String, String), String>, days| shelf.verify(left, std::slice::from_ref(&site), MONDAY.plus_seconds(days * DAY)).unwrap();
        let mut left = BTreeMap::new();
        assert_eq!(verified(&left, 10), (0, vec![]), "a lake of which nothing left");
        let key = ("acme".to_owned(), "2026-W47".to_owned());
        left.insert(key, shelf.keep(&site, week, Tables::new(), MONDAY).unwrap().sha256);
        shelf.keep(&site, Week::parse("2026-W46").unwrap(), Tables::new(), MONDAY).unwrap();
        assert_eq!(verified(&left, 10), (2, vec![]), "one is another collector's");
        let path = folder.path().join("_shared/acme/2026-W47.json");
        let whole = std::fs::read_to_string(&path).unwrap();
        for (bytes, told) in [(Some(whole.replace("2026-11-16T", "2026-11-17T")), "not what left"), (Some(whole[..9].to_owned()), "not what was written"), (None, "not there any more")] {
            match bytes {
                Some(bytes) => std::fs::write(&path, bytes).unwrap(),
                None => std::fs::remove_file(&path).unwrap(),
            }
            let (_, faults) = verified(&left, 10);
            assert!(faults.len() == 1 && faults[0].contains("2026-W47.json") && faults[0].contains(told), "{faults:?}");
        }
        assert_eq!(verified(&left, site.trends_keep_seconds / DAY), (1, vec![]), "its term is over");
        std::fs::write(&path, whole).unwrap();
        assert_eq!(verified(&left, 10), (2, vec![]));
    }

    #[test]
    fn a_week_is_published_once_and_kept_as_long_as_trends() {
        let folder = tempfile::tempdir().unwrap();
        let (shelf, site, week) = (Shelf::of(folder.path()), Site::sample(), Week::parse("2026-W47").unwrap());
        assert_eq!(shelf.read("acme", week).unwrap(), None);
        let tables = |interactions| {
            let cell = Cell { value: "DE".to_owned(), interactions, visitor_days: 10 };
            Tables::from([("country".to_owned(), Table { cells: vec![cell], withheld: 2 })])
        };
        let first = shelf.keep(&site, week, tables(20), MONDAY).unwrap();
        let second = shelf.keep(&site, week, tables(30), MONDAY.plus_seconds(1)).unwrap();
        assert_eq!((&second, shelf.read("acme", week).unwrap().as_ref()), (&first, Some(&first)));
        assert_eq!((&first.published.tables, first.published.week.as_str()), (&tables(20), "2026-W47"));
        let files = |folder: &std::path::Path| std::fs::read_dir(folder.join("_shared/acme")).unwrap().count();
        assert_eq!(files(folder.path()), 1);
        let other = Site { trends_keep_seconds: 30 * DAY, ..site };
        for (days, removed) in [(29, 0), (30, 1), (31, 0)] {
            assert_eq!(shelf.retain(std::slice::from_ref(&other), MONDAY.plus_seconds(days * DAY)).unwrap(), removed, "after {days} days");
        }
        assert_eq!((files(folder.path()), shelf.read("acme", week).unwrap()), (0, None));
        std::fs::write(folder.path().join("_shared/acme/2026-W47.json"), "{}").unwrap();
        assert!(shelf.read("acme", week).is_err());
        assert_eq!(Shelf::of(&folder.path().join("nowhere")).retain(&[], MONDAY).unwrap(), 0);
    }
}
