//! Owns a lake under maintenance: what was loaded, what maintenance must make of it, and the look whether
//! it did; and the tests in which nothing fails.

use crate::world::{Hit, RUNTIME, files_below, write};
use arrow::array::AsArray;
use arrow::datatypes::{Int64Type, TimestampMicrosecondType};
use clearpixel::config::Config;
use clearpixel::desk::maintain::{Extent, MaintainError, Maintenance, Turn};
use clearpixel::desk::verify::verify;
use clearpixel::hit::clock::{Clock, Moment};
use clearpixel::hit::field::Id;
use clearpixel::hit::site::Site;
use clearpixel::lake::columns::TableName;
use clearpixel::lake::lease::LeaseError;
use clearpixel::lake::load::{FramesInMemory, Lake, LoadError};
use clearpixel::lake::rewrite::Report;
use clearpixel::lake::store::Layer;
use clearpixel::lake::subjects::{Fields, Subjects};
use clearpixel::lake::table::{Swap, Table};
use deltalake::protocol::DeltaOperation;
use object_store::ObjectStoreExt;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

/// 2026-11-20T12:00:00Z.
pub const NOON: i64 = (1_795_132_800 + 43_200) * 1_000_000;
const DAY: i64 = 86_400 * 1_000_000;
pub const GRACE: Duration = Duration::from_secs(900);
const NODE: &str = "0a1b2c3d4e5f";

/// Two sites of one contract but for their terms: `acme` keeps 30 days, `bravo` 400.
pub static SITES: LazyLock<Vec<Site>> = LazyLock::new(|| {
    let text = "[[site]]\nkey = \"acme\"\ninteractions_keep = \"30d\"\ntrends_keep = \"90d\"\n[[site]]\nkey = \"bravo\"\ninteractions_keep = \"400d\"\n";
    Config::parse(text, "upkeep").unwrap().sites
});

/// One loaded hit.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Row {
    pub days_ago: i64,
    pub site: usize,
    pub event_id: String,
    pub visitor: u8,
    pub second: i64,
}

impl Row {
    fn received_at(&self) -> Moment {
        Moment(NOON - self.days_ago * DAY + self.second * 1_000_000)
    }

    fn site(&self) -> &'static Site {
        &SITES[self.site]
    }

    fn is_kept(&self) -> bool {
        self.days_ago < SITES[self.site].interactions_keep_seconds / 86_400
    }
}

pub fn visitor(number: u8) -> Id {
    let mut bytes = [0xa7; 16];
    bytes[3] = number;
    bytes[11] = !number;
    Id(bytes)
}

pub fn visitor_text(number: u8) -> String {
    String::from_utf8(visitor(number).digits().to_vec()).unwrap()
}

pub struct Upkeep {
    pub folder: tempfile::TempDir,
    pub hand: Arc<AtomicI64>,
    pub loaded: Vec<Row>,
    number: i64,
}

/// Rows of `interactions`: what tells them apart.
pub type Rows = BTreeMap<(String, String, i64, String), u64>;

/// Sums of `trends` by site, day and dimension; and how many rows share a key with another.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Sums {
    pub by_dimension: BTreeMap<(String, String, String), i64>,
    pub rows_of_a_key: u64,
    pub sketches: BTreeSet<(String, String)>,
}

impl Upkeep {
    pub fn new() -> Self {
        let folder = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
        Self { folder, hand: Arc::new(AtomicI64::new(NOON + DAY / 4)), loaded: Vec::new(), number: 0 }
    }

    pub fn lake(&self) -> PathBuf {
        self.folder.path().join("lake")
    }

    pub fn clock(&self) -> Clock {
        Clock::set(self.hand.clone())
    }

    pub fn pass(&self, time: Duration) {
        self.hand.fetch_add(i64::try_from(time.as_micros()).unwrap(), Ordering::Relaxed);
    }

    /// Loads `rows` as one portion, in one commit a table.
    pub fn load(&mut self, rows: &[Row]) -> Result<(), LoadError> {
        self.number += 1;
        let frames = frames(rows);
        RUNTIME.block_on(async {
            let mut lake = Lake::open(&self.lake(), NODE).await?;
            lake.load(&[FramesInMemory { number: self.number, frames }], self.clock().now()).await
        })?;
        self.loaded.extend(rows.iter().cloned());
        Ok(())
    }

    pub fn maintain<T>(&self, layer: Layer<'_>, work: impl AsyncFnOnce(&Maintenance<'_>) -> Result<T, MaintainError>) -> Result<T, MaintainError> {
        let (lake, clock) = (self.lake(), self.clock());
        let spill = self.folder.path().join("spill");
        let maintenance = Maintenance { lake: &lake, spill, sites: &SITES, holder: "test", clock: &clock, grace: GRACE, layer };
        RUNTIME.block_on(work(&maintenance))
    }

    pub fn turn(&self, layer: Layer<'_>) -> Result<Turn, MaintainError> {
        self.maintain(layer, async |maintenance| maintenance.turn(Extent::All, &mut |_| {}).await)
    }

    pub fn erase(&self, layer: Layer<'_>, visitors: &[u8]) -> Result<Report, MaintainError> {
        let ids: Vec<_> = visitors.iter().map(|number| visitor_text(*number)).collect();
        let subjects = Subjects::new(ids.iter().map(|id| ("acme", id.as_str())));
        self.maintain(layer, async |maintenance| maintenance.erase(&subjects).await)
    }

    /// All rows, whether or not there should be any.
    pub fn rows(&self) -> Rows {
        let mut rows = Rows::new();
        for_each_batch(&self.lake(), TableName::Interactions, |day, batch| {
            let text = |name| batch.column_by_name(name).unwrap().as_string::<i32>();
            let received = batch.column_by_name("received_at").unwrap().as_primitive::<TimestampMicrosecondType>();
            for at in 0..batch.num_rows() {
                assert_eq!(Moment(received.value(at)).day().start().micros().div_euclid(DAY), day_number(day), "a row lies in another day");
                *rows.entry((text("site").value(at).to_owned(), text("event_id").value(at).to_owned(), received.value(at), text("visitor_id").value(at).to_owned())).or_default() += 1;
            }
        });
        rows
    }

    pub fn sums(&self) -> Sums {
        let mut sums = Sums::default();
        let mut keys = BTreeSet::new();
        for_each_batch(&self.lake(), TableName::Trends, |day, batch| {
            let text = |name| batch.column_by_name(name).unwrap().as_string::<i32>();
            let hours = batch.column_by_name("hour").unwrap().as_primitive::<TimestampMicrosecondType>();
            let counts = batch.column_by_name("interactions").unwrap().as_primitive::<Int64Type>();
            let sketches = batch.column_by_name("visitors_sketch").unwrap().as_binary::<i32>();
            for at in 0..batch.num_rows() {
                let (site, dimension) = (text("site").value(at).to_owned(), text("dimension").value(at).to_owned());
                let is_new = keys.insert((site.clone(), hours.value(at), dimension.clone(), text("value").value(at).to_owned()));
                sums.rows_of_a_key += u64::from(!is_new);
                if sketches.iter().nth(at).unwrap().is_some() {
                    sums.sketches.insert((site.clone(), day.to_owned()));
                }
                *sums.by_dimension.entry((site, day.to_owned(), dimension)).or_default() += counts.value(at);
            }
        });
        sums
    }

    /// Nothing lies in the tables' folders but what the newest version names, and the newest version opens.
    pub fn assert_no_orphans(&self) {
        self.assert_no_orphans_in(&TableName::ALL);
    }

    pub fn assert_no_orphans_in(&self, tables: &[TableName]) {
        for name in tables.iter().copied() {
            let on_disk = files_below(&self.lake().join(name.as_str()));
            let live = RUNTIME.block_on(async { Table::open(&self.lake(), name).await }).unwrap().live_files().unwrap();
            assert_eq!(on_disk, live.into_iter().map(|file| file.path).collect::<BTreeSet<_>>(), "{name:?} has orphans");
        }
    }

    /// What the program itself has to say of its lake.
    pub fn assert_verified(&self) {
        assert_eq!(self.faults(), [""; 0]);
    }

    /// The same, where no turn has yet let go of what is past its term.
    pub fn assert_verified_but_for_terms(&self) {
        let mut faults = self.faults();
        faults.retain(|fault| !fault.starts_with("retention: acme"));
        assert_eq!(faults, [""; 0]);
    }

    fn faults(&self) -> Vec<String> {
        let journal = self.folder.path().join("journal");
        RUNTIME.block_on(verify(&self.lake(), &journal, (&SITES, self.clock().now()), &mut |_, _| {})).unwrap().faults
    }

    /// What must be there after a turn that compacted every day.
    pub fn expected(&self, erased: &[u8]) -> Rows {
        let mut firsts: BTreeMap<(usize, &str, i64), &Row> = BTreeMap::new();
        for row in self.loaded.iter().filter(|row| row.is_kept() && !(row.site == 0 && erased.contains(&row.visitor))) {
            let first = firsts.entry((row.site, &row.event_id, row.days_ago)).or_insert(row);
            if row.received_at() < first.received_at() {
                *first = row;
            }
        }
        let is_repeat = |row: &Row| firsts.contains_key(&(row.site, row.event_id.as_str(), row.days_ago + 1));
        firsts.values().filter(|row| !is_repeat(row)).map(|row| (key_of(row), 1)).collect()
    }

    /// No byte of any file under the folder is a visitor's id, in digits or as it is.
    pub fn assert_no_trace(&self, number: u8) {
        let id = visitor(number);
        let mut files = Vec::new();
        all_files(self.folder.path(), &mut files);
        assert!(files.len() > 3);
        for path in files {
            let bytes = std::fs::read(&path).unwrap();
            for trace in [&id.digits()[..], &id.0[..]] {
                assert!(!bytes.windows(trace.len()).any(|window| window == trace), "{} holds the id", path.display());
            }
        }
        for_each_file(&self.lake(), TableName::Interactions, |_, bytes| {
            let options = parquet::file::serialized_reader::ReadOptionsBuilder::new()
                .with_reader_properties(parquet::file::properties::ReaderProperties::builder().set_read_bloom_filter(true).build())
                .build();
            let reader = parquet::file::reader::SerializedFileReader::new_with_options(bytes.clone(), options).unwrap();
            use parquet::file::reader::FileReader;
            for group in 0..reader.num_row_groups() {
                let at = reader.metadata().file_metadata().schema_descr().columns().iter().position(|column| column.name() == "visitor_id").unwrap();
                let group = reader.get_row_group(group).unwrap();
                let filter = group.get_column_bloom_filter(at).unwrap();
                // The ids of these tests are few: no false positive is met.
                assert!(!filter.check(&visitor_text(number).as_str()), "a bloom filter knows the id");
            }
        });
    }
}

pub fn key_of(row: &Row) -> (String, String, i64, String) {
    (row.site().key.to_string(), row.event_id.clone(), row.received_at().micros(), visitor_text(row.visitor))
}

fn frames(rows: &[Row]) -> Vec<u8> {
    let mut frames = Vec::new();
    for row in rows {
        let page = format!("https://shop.example/p{}", row.second % 3);
        let hit = Hit { site: row.site(), event_id: &row.event_id, received_at: row.received_at(), visitor: Some(visitor(row.visitor)), page: &page };
        write(&hit, &mut frames);
    }
    frames
}

fn day_number(day: &str) -> i64 {
    let day: chrono::NaiveDate = day.parse().unwrap();
    day.signed_duration_since(chrono::NaiveDate::from_ymd_opt(1970, 1, 1).unwrap()).num_days()
}

fn all_files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { all_files(&path, found) } else { found.push(path) }
    }
}

/// Every live file must be there: a reader finds no hole at any moment.
fn for_each_file(lake: &Path, name: TableName, mut each: impl FnMut(&str, bytes::Bytes)) {
    RUNTIME.block_on(async {
        let table = Table::open(lake, name).await.unwrap();
        for file in table.live_files().unwrap() {
            let bytes = table.store().get(&file.path.as_str().into()).await.unwrap().bytes().await.unwrap();
            assert_eq!(bytes.len() as u64, file.bytes);
            each(&file.day, bytes);
        }
    });
}

fn for_each_batch(lake: &Path, name: TableName, mut each: impl FnMut(&str, &arrow::record_batch::RecordBatch)) {
    for_each_file(lake, name, |day, bytes| {
        for batch in ParquetRecordBatchReaderBuilder::try_new(bytes).unwrap().build().unwrap() {
            each(day, &batch.unwrap());
        }
    });
}

pub fn row(days_ago: i64, site: usize, event_id: &str, visitor: u8, second: i64) -> Row {
    Row { days_ago, site, event_id: event_id.to_owned(), visitor, second }
}

/// Three days of two sites in four portions: something past its term, repeats, and visitors all over.
pub fn portions() -> Vec<Vec<Row>> {
    vec![
        vec![row(40, 0, "old", 1, 0), row(40, 1, "old", 1, 0), row(1, 0, "a", 1, 10), row(1, 0, "b", 2, 20), row(1, 1, "a", 1, 5)],
        vec![row(1, 0, "a", 1, 400), row(1, 1, "c", 3, 30), row(40, 0, "older", 2, 1)],
        vec![row(0, 0, "d", 1, 10), row(0, 0, "b", 2, 11), row(0, 0, "e", 2, 12)],
        vec![row(0, 0, "e", 2, 3), row(0, 1, "f", 1, 9), row(1, 1, "g", 3, 33)],
    ]
}

#[test]
fn a_turn_compacts_lets_go_and_leaves_nothing() {
    let mut upkeep = Upkeep::new();
    for portion in portions() {
        upkeep.load(&portion).unwrap();
    }
    upkeep.assert_verified_but_for_terms();
    upkeep.load(&[row(40, 0, "only then", 9, 5)]).unwrap();
    let before = upkeep.sums();
    assert!(before.rows_of_a_key > 0);
    let turn = upkeep.turn(&|store| store).unwrap();
    assert_eq!(upkeep.rows(), upkeep.expected(&[]));
    let sums = upkeep.sums();
    assert_eq!(sums.rows_of_a_key, 0, "trends are not one row a key");
    assert_eq!(sums.by_dimension, before.by_dimension, "a total changed");
    // acme keeps interactions 30 days and trends 90: the numbers of 40 days ago stay, the sketches do not.
    let old = "2026-10-11".to_owned();
    assert!(before.sketches.contains(&("acme".to_owned(), old.clone())) && !sums.sketches.contains(&("acme".to_owned(), old.clone())));
    assert!(sums.sketches.contains(&("bravo".to_owned(), old)));
    // Who came only then has left no byte.
    upkeep.assert_no_trace(9);
    assert!(turn.retention.deleted > 0 && turn.compaction.before.len() > turn.compaction.after.len(), "{turn:?}");
    upkeep.assert_no_orphans();
    // A second turn has nothing to do, and a file that comes later is merged into what is there.
    let again = upkeep.turn(&|store| store).unwrap();
    assert_eq!((again.compaction.versions.len(), again.retention.versions.len(), again.swept), (0, 0, 0), "{again:?}");
    upkeep.load(&[row(1, 0, "late", 2, 99), row(1, 0, "a", 1, 600)]).unwrap();
    let before = upkeep.sums().by_dimension;
    upkeep.turn(&|store| store).unwrap();
    assert_eq!(upkeep.rows(), upkeep.expected(&[]));
    assert_eq!((upkeep.sums().by_dimension, upkeep.sums().rows_of_a_key), (before, 0));
    upkeep.pass(GRACE);
    upkeep.turn(&|store| store).unwrap();
    upkeep.assert_no_orphans();
    upkeep.assert_verified();
}

#[test]
fn an_erased_visitor_leaves_no_byte_and_everyone_else_stays() {
    let mut upkeep = Upkeep::new();
    let portions = portions();
    for portion in &portions[..3] {
        upkeep.load(portion).unwrap();
    }
    upkeep.turn(&|store| store).unwrap();
    // Replaced files wait for readers, and a file that was never compacted holds the visitor as well.
    upkeep.load(&portions[3]).unwrap();
    upkeep.load(&[row(0, 0, "n", 1, 77), row(0, 0, "o", 2, 78)]).unwrap();
    upkeep.turn(&|store| store).unwrap();
    upkeep.load(&[row(1, 0, "p", 1, 81), row(0, 0, "q", 2, 82)]).unwrap();
    let (before, sums) = (upkeep.rows(), upkeep.sums());
    let id = visitor_text(1);
    assert!(before.keys().any(|(site, _, _, visitor)| site == "bravo" && *visitor == id));
    let report = upkeep.erase(&|store| store, &[1]).unwrap();
    let mut others = before.clone();
    others.retain(|(site, _, _, visitor), _| site != "acme" || *visitor != id);
    assert_eq!(upkeep.rows(), others);
    assert_eq!(upkeep.sums(), sums, "an erasure changes no trend");
    assert_eq!(report.rows_in - report.rows_out, (before.len() - others.len()) as u64);
    assert!(report.before.iter().chain(&report.after).all(|file| file.sha256.len() == 64) && !serde_json::to_string(&report).unwrap().contains(&id));
    // The same id at another site is another person, and is still there.
    upkeep.maintain(&|store| store, async |maintenance| maintenance.erase(&Subjects::new([("bravo", visitor_text(1).as_str())])).await).unwrap();
    upkeep.assert_no_trace(1);
    upkeep.assert_no_orphans_in(&[TableName::Interactions]);
    let log = std::fs::read_dir(upkeep.lake().join("interactions/_delta_log")).unwrap().count();
    assert!(log <= 3, "{log} objects of log: a version from before the erasure is left");
    assert_eq!(upkeep.erase(&|store| store, &[1]).unwrap().versions, []);
    upkeep.assert_verified();
}

/// One changed byte in a file, a file too many, a row too few: each is told.
#[test]
fn what_is_wrong_is_verified_as_wrong() {
    let mut upkeep = Upkeep::new();
    for portion in portions() {
        upkeep.load(&portion).unwrap();
    }
    let folder = upkeep.lake().join("interactions");
    let faults = || upkeep.faults().join("\n");
    let past = "retention: acme: the oldest interactions are of 2026-10-11, and 2026-10-22 is the first day that is kept";
    assert!(faults().contains(past), "{}", faults());
    upkeep.turn(&|store| store).unwrap();
    upkeep.pass(GRACE);
    upkeep.turn(&|store| store).unwrap();
    assert_eq!(faults(), "");
    let path = folder.join(files_below(&folder).first().unwrap());
    let whole = std::fs::read(&path).unwrap();
    for at in [4, whole.len() / 2, whole.len() - 20] {
        let mut changed = whole.clone();
        changed[at] ^= 1;
        std::fs::write(&path, changed).unwrap();
        assert!(faults().contains("its bytes are not those that were written"), "byte {at}: {}", faults());
    }
    std::fs::remove_file(&path).unwrap();
    assert!(faults().contains("not found") || faults().contains("No such file"), "{}", faults());
    std::fs::write(&path, &whole).unwrap();
    let stray = path.with_file_name("stray.parquet");
    std::fs::write(&stray, &whole).unwrap();
    assert!(faults().contains("no version of the table names it"), "{}", faults());
    std::fs::remove_file(&stray).unwrap();
    // Rows that no trend counts.
    RUNTIME.block_on(async {
        let mut table = Table::open(&upkeep.lake(), TableName::Interactions).await.unwrap();
        let go = table.live_files().unwrap();
        let swap = Swap { go: &go[..1], come: &[], numbers: Vec::new(), operation: DeltaOperation::Delete { predicate: Some("visitor_id = 'x'".to_owned()) }, now_ms: 0 };
        table.swap(&swap).await.unwrap().unwrap();
    });
    assert!(faults().contains("ledger: ") && faults().contains("predicate"), "{}", faults());
}

#[test]
fn a_rectified_field_is_changed_and_the_old_value_is_gone() {
    let mut upkeep = Upkeep::new();
    for portion in portions() {
        upkeep.load(&portion).unwrap();
    }
    assert_eq!(Fields::new([("visitor_id".to_owned(), None)]).unwrap_err(), "visitor_id");
    assert_eq!(Fields::new([("site".to_owned(), None)]).unwrap_err(), "site");
    let fields = Fields::new([("page_title".to_owned(), Some("right".to_owned())), ("page_path".to_owned(), None)]).unwrap();
    let id = visitor_text(2);
    upkeep.maintain(&|store| store, async |maintenance| maintenance.rectify(&Subjects::new([("acme", id.as_str())]), &fields).await).unwrap();
    let mut rows = 0;
    for_each_batch(&upkeep.lake(), TableName::Interactions, |_, batch| {
        let text = |name| batch.column_by_name(name).unwrap().as_string::<i32>();
        for at in 0..batch.num_rows() {
            let is_theirs = text("site").value(at) == "acme" && text("visitor_id").value(at) == id;
            assert_eq!(text("page_title").value(at) == "right", is_theirs);
            assert_eq!(text("page_path").iter().nth(at).unwrap().is_none(), is_theirs);
            rows += 1;
        }
    });
    assert_eq!(rows, upkeep.loaded.len());
    upkeep.assert_no_orphans();
}

#[test]
fn of_two_maintainers_one_works() {
    let mut upkeep = Upkeep::new();
    for portion in portions() {
        upkeep.load(&portion).unwrap();
    }
    let (lake, clock) = (upkeep.lake(), upkeep.clock());
    let ended = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..2)
            .map(|number| {
                let (lake, clock, spill) = (&lake, &clock, upkeep.folder.path().join(format!("spill-{number}")));
                scope.spawn(move || {
                    let maintenance = Maintenance { lake, spill, sites: &SITES, holder: "one of two", clock, grace: GRACE, layer: &|store| store };
                    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
                    runtime.block_on(maintenance.turn(Extent::All, &mut |_| {}))
                })
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect::<Vec<_>>()
    });
    let refused = ended.iter().filter(|turn| matches!(turn, Err(MaintainError::Lease(LeaseError::Held { .. } | LeaseError::Lost))));
    // One may have been done before the other began.
    let (refused, done) = (refused.count(), ended.iter().filter(|turn| turn.is_ok()).count());
    assert!(done >= 1 && refused + done == 2, "{ended:?}");
    assert_eq!(upkeep.rows(), upkeep.expected(&[]));
    upkeep.turn(&|store| store).unwrap();
    upkeep.assert_no_orphans();
}

/// A file that was rewritten as it lay, before it was ever compacted, is compacted all the same.
#[test]
fn repeats_go_from_what_retention_and_erasure_rewrote() {
    for erased in [&[][..], &[3]] {
        let mut upkeep = Upkeep::new();
        // Of 35 days ago one site's rows are past their term, so retention rewrites the file for the other's.
        upkeep.load(&[row(35, 1, "twice", 0, 0), row(35, 0, "past", 1, 0), row(35, 1, "twice", 0, 9), row(1, 0, "again", 3, 0), row(1, 0, "more", 2, 0), row(1, 0, "more", 2, 5)]).unwrap();
        upkeep.erase(&|store| store, erased).unwrap();
        upkeep.turn(&|store| store).unwrap();
        assert_eq!(upkeep.rows(), upkeep.expected(erased));
    }
}

/// Of a day that went on when its files were merged, repeats go when it is over, though nothing came after.
#[test]
fn repeats_go_from_what_was_merged_while_the_day_went_on() {
    let mut upkeep = Upkeep::new();
    for number in 0..8 {
        upkeep.load(&[row(0, 1, "twice", 0, number)]).unwrap();
    }
    upkeep.maintain(&|store| store, async |maintenance| maintenance.turn(Extent::Often, &mut |_| {}).await).unwrap();
    assert_eq!(upkeep.rows().values().sum::<u64>(), 8);
    upkeep.pass(Duration::from_secs(86_400));
    upkeep.maintain(&|store| store, async |maintenance| maintenance.turn(Extent::Often, &mut |_| {}).await).unwrap();
    assert_eq!(upkeep.rows(), upkeep.expected(&[]));
    let idle = upkeep.maintain(&|store| store, async |maintenance| maintenance.turn(Extent::Often, &mut |_| {}).await).unwrap();
    assert_eq!(idle.compaction.versions.len(), 0, "what is settled is left alone");
}

#[test]
fn ingest_goes_on_while_old_files_change() {
    let mut upkeep = Upkeep::new();
    for portion in portions() {
        upkeep.load(&portion).unwrap();
    }
    let (lake, clock) = (upkeep.lake(), upkeep.clock());
    let added: Vec<Row> = (0..60).map(|number| row(number % 2, 0, &format!("new-{number}"), 3, number)).collect();
    std::thread::scope(|scope| {
        let loading = scope.spawn(|| {
            RUNTIME.block_on(async {
                // A collector opens its tables once and commits on what it knows.
                let mut open = Lake::open(&lake, "fedcba987654").await.unwrap();
                for (number, row) in added.iter().enumerate() {
                    let portion = FramesInMemory { number: number as i64 + 1, frames: frames(std::slice::from_ref(row)) };
                    open.load(&[portion], clock.now()).await.unwrap();
                }
            });
        });
        let mut turns = 0;
        while !loading.is_finished() {
            match turns % 3 {
                2 => drop(upkeep.erase(&|store| store, &[1]).unwrap()),
                _ => drop(upkeep.turn(&|store| store).unwrap()),
            }
            turns += 1;
        }
        loading.join().unwrap();
        assert!(turns > 2, "{turns} turns");
    });
    upkeep.loaded.extend(added);
    upkeep.erase(&|store| store, &[1]).unwrap();
    upkeep.turn(&|store| store).unwrap();
    assert_eq!(upkeep.rows(), upkeep.expected(&[1]));
    upkeep.pass(GRACE);
    upkeep.turn(&|store| store).unwrap();
    upkeep.assert_no_orphans();
    upkeep.assert_verified();
}

fn any_row() -> impl Strategy<Value = Row> {
    let days = prop_oneof![Just(0_i64), Just(1), Just(35), Just(500)];
    (days, 0..2_usize, 0..12_u8, 0..5_u8, 0..40_000_i64).prop_map(|(days_ago, site, id, visitor, second)| row(days_ago, site, &format!("e{id}"), visitor, second))
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(24),
        failure_persistence: None,
        max_shrink_iters: 200,
        ..ProptestConfig::default()
    })]

    /// Whatever is in a table and whoever is erased: the rows are those of the model.
    #[test]
    fn any_table_under_any_upkeep(portions in proptest::collection::vec(proptest::collection::vec(any_row(), 0..12), 1..5), erased in proptest::collection::vec(0..5_u8, 0..3), compacts_first: bool) {
        let mut upkeep = Upkeep::new();
        for portion in &portions {
            upkeep.load(portion).unwrap();
        }
        if compacts_first {
            // Which repeats are left then depends on which of them were erased: first come, first kept.
            upkeep.turn(&|store| store).unwrap();
            prop_assert_eq!(upkeep.rows(), upkeep.expected(&[]));
        }
        let before = upkeep.rows();
        upkeep.erase(&|store| store, &erased).unwrap();
        let ids: Vec<_> = erased.iter().map(|number| visitor_text(*number)).collect();
        let mut others = before;
        others.retain(|(site, _, _, visitor), _| site != "acme" || !ids.contains(visitor));
        prop_assert_eq!(upkeep.rows(), others);
        upkeep.assert_no_orphans_in(&[TableName::Interactions]);
        if !compacts_first {
            upkeep.turn(&|store| store).unwrap();
            prop_assert_eq!(upkeep.rows(), upkeep.expected(&erased));
        }
    }
}
