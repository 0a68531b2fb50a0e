//! Owns SQL over the lake: a session that sees one version of the tables and reads it in bounded memory.
//!
//! Knows DataFusion. Promises: a session reads what was committed when a table was first asked for, beside a running
//! collector and without troubling it; a statement that would write, or change the session, is refused;
//! what does not fit in `memory_bytes` is sorted and grouped on disk, within `spill_bytes_max`. Never
//! writes to the lake.

use super::audience::Audience;
use super::columns::TableName;
use super::groups;
use super::functions;
use super::ids;
use super::pool::Pool;
use super::runs;
use super::schema::LakeSchema;
use super::table::{Table, TableError};
use super::texts;
use arrow::array::{RecordBatch, RecordBatchOptions};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Fields, Schema};
use datafusion::catalog::{CatalogProvider, MemoryCatalogProvider, MemorySchemaProvider};
use datafusion::datasource::MemTable;
use datafusion::error::DataFusionError;
use datafusion::execution::{SendableRecordBatchStream, SessionStateBuilder};
use datafusion::execution::disk_manager::{DiskManagerBuilder, DiskManagerMode};
use datafusion::execution::runtime_env::RuntimeEnvBuilder;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::prelude::{SQLOptions, SessionConfig, SessionContext};
use futures::StreamExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A version of the lake, ready to be asked.
pub struct Session {
    context: SessionContext,
}

/// `clearpixel.lake.interactions` is a table's whole name.
const CATALOG: &str = "clearpixel";
const SCHEMA: &str = "lake";

/// What a session may use up.
#[derive(Debug, Clone)]
pub struct SessionOptions {
    /// For sorting, grouping and joining, over all queries of the session.
    pub memory_bytes: usize,
    /// A folder for what does not fit; made where missing.
    pub spill: PathBuf,
    pub spill_bytes_max: u64,
    pub audience: Audience,
}

impl SessionOptions {
    /// 512 MiB of memory and 16 GiB in `spill`.
    pub const fn new(spill: PathBuf, audience: Audience) -> Self {
        Self { memory_bytes: 512 << 20, spill, spill_bytes_max: 16 << 30, audience }
    }
}

/// Why a question got no answer.
#[derive(Debug, thiserror::Error)]
pub enum SqlError {
    #[error(transparent)]
    Table(#[from] TableError),
    #[error("queries only read the lake: {0}. Write SELECT, SHOW, DESCRIBE or EXPLAIN")]
    Writes(String),
    #[error("{0}")]
    Question(String),
    #[error("the query needs more than it may use; ask for less at once (fewer days, fewer columns): {0}")]
    TooLarge(String),
    #[error("the query failed while running: {0}")]
    Failed(String),
    #[error("{0} lines of the suppressions cannot be read with the secret of this data folder, so whom they hide is unknown: use the data folder of the collector that wrote the lake (its file `secret`)")]
    Suppressed(usize),
}

impl Session {
    /// Runs one statement. Batches come as they are asked for; an error may also come on the way.
    pub async fn run(&self, sql: &str) -> Result<SendableRecordBatchStream, SqlError> {
        let plan = self.context.state().create_logical_plan(sql).await?;
        let reading = SQLOptions::new().with_allow_ddl(false).with_allow_dml(false).with_allow_statements(false);
        reading.verify_plan(&plan).map_err(|error| SqlError::Writes(text_of(&error)))?;
        Ok(plain(self.context.execute_logical_plan(plan).await?.execute_stream().await?))
    }

    /// A session over the lake in the folder `lake`. A table is as its newest version is when it is first asked for.
    ///
    /// # Errors
    /// There is no lake yet; a suppression cannot be read; the folder to spill to cannot be used.
    pub fn open(lake: &Path, options: SessionOptions) -> Result<Self, SqlError> {
        if options.audience.unreadable() > 0 {
            return Err(SqlError::Suppressed(options.audience.unreadable()));
        }
        Table::find(lake, TableName::Interactions)?;
        let is_hidden = options.audience.is_hidden();
        let session = Self::empty(options)?;
        let state = session.context.state_weak_ref();
        let schema = LakeSchema {
            lake: lake.to_owned(),
            is_hidden,
            state: Box::new(move || state.upgrade().map(|state| state.read().clone())),
            there: MemorySchemaProvider::new(),
        };
        let catalog = MemoryCatalogProvider::new();
        catalog.register_schema(SCHEMA, Arc::new(schema))?;
        session.context.register_catalog(CATALOG, Arc::new(catalog));
        Ok(session)
    }

    /// Adds a table of this session alone.
    pub fn add(&self, name: &str, rows: RecordBatch) -> Result<(), SqlError> {
        let table = MemTable::try_new(rows.schema(), vec![vec![rows]])?;
        self.context.register_table(name, Arc::new(table))?;
        Ok(())
    }

    fn empty(options: SessionOptions) -> Result<Self, SqlError> {
        let SessionOptions { memory_bytes, spill, spill_bytes_max, audience: _ } = options;
        let config = SessionConfig::new().with_information_schema(true).with_default_catalog_and_schema(CATALOG, SCHEMA);
        // Half of the pool is shared out evenly, and who sorts has to hold a batch twice: 8,192 rows of 1 KiB are
        // 8 MiB. So a thread less, rather than a thread with less than 64 MiB.
        let threads = (memory_bytes >> 26).clamp(1, config.target_partitions().max(1));
        // Each sorting thread holds this back for merging what it spilled: an eighth of all at most.
        let held_back = config.options().execution.sort_spill_reservation_bytes.min(memory_bytes / (8 * threads));
        let config = config.with_target_partitions(threads).with_sort_spill_reservation_bytes(held_back);
        let disk = DiskManagerBuilder::default()
            .with_mode(DiskManagerMode::Directories(vec![spill]))
            .with_max_temp_directory_size(spill_bytes_max);
        let runtime = RuntimeEnvBuilder::new()
            .with_memory_pool(Arc::new(Pool::new(memory_bytes)))
            .with_disk_manager_builder(disk)
            .build_arc()?;
        let state = SessionStateBuilder::new().with_config(config).with_runtime_env(runtime).with_default_features();
        let physical = texts::rules().into_iter().chain([runs::rule(), groups::rule()]).collect();
        let state = state.with_optimizer_rules(ids::rules()).with_physical_optimizer_rules(physical);
        let context = SessionContext::new_with_state(state.build());
        context.register_udaf(functions::visitors());
        context.register_udaf(functions::merge_visitors());
        context.register_udf(functions::estimate());
        context.register_udf(functions::date_trunc());
        Ok(Self { context })
    }
}

/// The answer with texts as texts: inside they are views (`Scan::viewed`), which not every reader of an answer knows.
fn plain(batches: SendableRecordBatchStream) -> SendableRecordBatchStream {
    let as_text = |field: &Arc<Field>| match field.data_type() {
        DataType::Utf8View => Arc::new(Field::new(field.name(), DataType::Utf8, field.is_nullable())),
        _ => field.clone(),
    };
    let schema = Arc::new(Schema::new(batches.schema().fields().iter().map(as_text).collect::<Fields>()));
    let to = schema.clone();
    let as_texts = move |batch: RecordBatch| {
        let columns = batch.columns().iter().zip(to.fields()).map(|(column, field)| cast(column, field.data_type())).collect::<Result<Vec<_>, _>>()?;
        Ok(RecordBatch::try_new_with_options(to.clone(), columns, &RecordBatchOptions::new().with_row_count(Some(batch.num_rows())))?)
    };
    Box::pin(RecordBatchStreamAdapter::new(schema, batches.map(move |batch| batch.and_then(&as_texts))))
}

impl From<DataFusionError> for SqlError {
    fn from(error: DataFusionError) -> Self {
        let error = match error {
            DataFusionError::External(cause) => match cause.downcast::<TableError>() {
                Ok(error) => return Self::Table(*error),
                Err(cause) => DataFusionError::External(cause),
            },
            error => error,
        };
        let text = text_of(&error);
        match error.find_root() {
            DataFusionError::ResourcesExhausted(_) => Self::TooLarge(text),
            // Past `spill_bytes_max` comes as an I/O error of Arrow's; only its advice tells it apart.
            _ if text.contains("max_temp_directory_size") => Self::TooLarge(text.split(" Please try").next().unwrap_or(&text).to_owned()),
            DataFusionError::SQL(..) | DataFusionError::Plan(_) | DataFusionError::SchemaError(..) | DataFusionError::NotImplemented(_) => {
                Self::Question(text)
            }
            _ => Self::Failed(text),
        }
    }
}

/// DataFusion's words, without the name of the error and the list of all columns there are.
fn text_of(error: &DataFusionError) -> String {
    let text = error.find_root().strip_backtrace();
    let text = ["Error during planning: ", "Schema error: "].iter().find_map(|name| text.strip_prefix(name)).unwrap_or(&text);
    if let Some((problem, _)) = text.split_once("Valid fields are ") {
        let problem = problem.trim_end();
        return format!("{problem} `DESCRIBE interactions` (or trends, visits) lists the columns.");
    }
    if text.contains("not found") && text.contains(".people'") {
        return "people is personal information and no part of the lake: it is seen where it is asked for, by `clearpixel query --personal` with the settings that name its key".to_owned();
    }
    if text.contains("not found") && text.contains("table '") {
        return format!("{text}. There are interactions, visits, trends and trends_parts.");
    }
    text.to_owned()
}

#[cfg(test)]
mod tests {
    use super::{Session, SessionOptions, SqlError};
    use crate::hit::clock::Moment;
    use crate::hit::field::{Id, Suppression};
    use crate::hit::outcome::{Outcome, Reason};
    use crate::hit::scrubbed::Kind;
    use crate::hit::record::{Number, Text};
    use crate::lake::columns::TableName;
    use crate::hit::sample::page_view;
    use crate::lake::sample::commit;
    use crate::lake::audience::Audience;
    use crate::lake::table::Table;
    use crate::rules::suppression::{Entry, SuppressionKey, Suppressions};
    use std::sync::Arc;
    use arrow::util::pretty::pretty_format_batches;
    use futures::TryStreamExt;
    use std::path::Path;

    const DAY: i64 = 86_400;

    fn session(lake: &Path) -> Session {
        Session::open(lake, SessionOptions::new(lake.join("../spill"), Audience::Maintenance)).unwrap()
    }

    async fn ask(session: &Session, sql: &str) -> Vec<String> {
        let batches: Vec<_> = session.run(sql).await.unwrap().try_collect().await.unwrap();
        let text = pretty_format_batches(&batches).unwrap().to_string();
        let cells = |line: &str| line.trim_matches('|').split('|').map(str::trim).collect::<Vec<_>>().join(" ");
        text.lines().filter(|line| line.starts_with('|')).skip(1).map(cells).collect()
    }

    /// Two commits over two days: visitor 1 in both, visitors 2 and 3 in one.
    async fn lake(folder: &Path) -> std::path::PathBuf {
        let lake = folder.join("lake");
        let mut engagement = page_view(95, 1, 1, "/left-already");
        engagement.texts[Text::Event as usize] = "engagement";
        engagement.numbers[Number::EngagedMs as usize] = Some(7_000);
        engagement.scrubbed.count(Kind::Email);
        engagement.scrubbed.count(Kind::Email);
        let first = [page_view(10, 1, 1, "/"), page_view(90, 1, 1, "/buy"), engagement, page_view(20, 2, 2, "/")];
        commit(&lake, 1, &first, &[("acme", Outcome::Refused(Reason::NoConsent), 5)]).await;
        let mut nobody = page_view(30, 0, 0, "/");
        nobody.scrubbed.count(Kind::Email);
        (nobody.visitor_id, nobody.visit_id) = (None, None);
        let second = [page_view(40, 1, 1, "/"), page_view(50, 3, 3, "/"), nobody, page_view(DAY, 2, 4, "/")];
        commit(&lake, 2, &second, &[("acme", Outcome::Refused(Reason::NoConsent), 6)]).await;
        lake
    }

    #[tokio::test]
    async fn parts_of_a_trend_are_one_row_and_visitors_are_counted_once() {
        let folder = tempfile::tempdir().unwrap();
        let session = session(&lake(folder.path()).await);
        let parts = "SELECT count(*), visitors(visitors_sketch) FROM trends_parts WHERE dimension = 'all' AND day = '2026-11-20'";
        assert_eq!(ask(&session, parts).await, ["2 3"]);
        let rows = "SELECT day, interactions, page_views, engaged_ms, estimate(visitors_sketch) FROM trends WHERE dimension = 'all' ORDER BY day";
        assert_eq!(ask(&session, rows).await, ["2026-11-20 7 6 7000 3", "2026-11-21 1 1 0 1"]);
        let refused = "SELECT interactions, visitors_sketch IS NULL FROM trends WHERE dimension = 'outcome' AND value = 'no_consent'";
        assert_eq!(ask(&session, refused).await, ["11 true"]);
        assert_eq!(ask(&session, "SELECT visitors(visitors_sketch) FROM trends WHERE dimension = 'outcome'").await, ["0"]);
        let scrubbed = "SELECT value, interactions, page_views FROM trends WHERE dimension = 'scrubbed'";
        assert_eq!(ask(&session, scrubbed).await, ["email 3 0"]);
        let exact = "SELECT count(DISTINCT visitor_id), (SELECT visitors(visitors_sketch) FROM trends WHERE dimension = 'all') FROM interactions";
        assert_eq!(ask(&session, exact).await, ["3 3"]);
    }

    #[tokio::test]
    async fn whoever_is_suppressed_is_in_no_answer() {
        let folder = tempfile::tempdir().unwrap();
        let lake = lake(folder.path()).await;
        let key = SuppressionKey::new(&[7; 32]).unwrap();
        let suppressed = |decisions: &[(Suppression, u8)]| {
            let line = |(kind, visitor): &(Suppression, u8)| Entry { kind: *kind, subject: key.subject("acme", Id([*visitor; 16])), at: Moment(1), request: Id([9; 16]) }.line(&key);
            let lines: Vec<String> = decisions.iter().map(line).collect();
            Arc::new(Suppressions::of_lines(Some(key.clone()), lines.iter().map(String::as_bytes)))
        };
        let open = |audience| Session::open(&lake, SessionOptions::new(lake.join("../spill"), audience)).unwrap();
        let both = suppressed(&[(Suppression::Erased, 1), (Suppression::Restricted, 2), (Suppression::Objected, 3)]);
        let counts = "SELECT count(*) AS a, count(DISTINCT visitor_id) AS b, (SELECT count(*) FROM visits) AS c, sum(CASE WHEN visitor_id IS NULL THEN 1 ELSE 0 END) FROM interactions";
        assert_eq!(ask(&open(Audience::Anyone(both.clone())), counts).await, ["2 1 1 1"]);
        assert_eq!(ask(&open(Audience::Subject(both.clone())), counts).await, ["4 2 3 1"]);
        assert_eq!(ask(&open(Audience::Maintenance), counts).await, ["8 3 4 1"]);
        let nobody = open(Audience::Anyone(suppressed(&[])));
        assert_eq!(ask(&nobody, counts).await, ["8 3 4 1"]);
        assert!(!ask(&nobody, "EXPLAIN SELECT event FROM interactions").await.join("").contains("is_hidden"));
        let hidden = open(Audience::Anyone(both));
        for bypass in ["SELECT is_hidden('acme', '')", "SELECT * FROM lake.interactions_all"] {
            assert!(hidden.run(bypass).await.is_err());
        }
        assert_eq!(ask(&hidden, "SELECT count(*) FROM lake.interactions WHERE site = 'acme' AND day = '2026-11-20'").await, ["2"]);
        let elsewhere = Suppressions::of_lines(None, [&b"erased x"[..]].into_iter());
        let refused = Session::open(&lake, SessionOptions::new(lake.join("../spill"), Audience::Anyone(Arc::new(elsewhere))));
        assert!(matches!(refused, Err(SqlError::Suppressed(1))));
    }

    #[tokio::test]
    async fn a_visit_is_a_row() {
        let folder = tempfile::tempdir().unwrap();
        let session = session(&lake(folder.path()).await);
        let sql = "SELECT visit_id, started_at, seconds, entry_page, exit_page, pages, interactions, engaged_ms, source_medium, country, device \
                   FROM visits ORDER BY visit_id";
        let visits = ask(&session, sql).await;
        let digits = "01".repeat(16);
        let first = format!("{digits} 2026-11-20T00:00:10Z 85 shop.example/ shop.example/buy 3 4 7000 direct FR desktop");
        assert_eq!((visits.len(), visits[0].as_str()), (4, first.as_str()));
    }

    #[tokio::test]
    async fn a_filter_on_the_day_opens_no_other_file() {
        let folder = tempfile::tempdir().unwrap();
        let lake = lake(folder.path()).await;
        std::fs::write(lake.join("interactions/day=2026-11-20/part-orphan.parquet"), "not a table's file").unwrap();
        let session = session(&lake);
        let files = async |sql: &str| ask(&session, &format!("EXPLAIN {sql}")).await.join("\n").matches(".parquet").count();
        assert_eq!(files("SELECT event FROM interactions").await, 3);
        assert_eq!(files("SELECT event FROM interactions WHERE day = '2026-11-20'").await, 2);
        assert_eq!(files("SELECT event FROM interactions WHERE day > DATE '2026-11-20' AND event = 'x'").await, 1);
        assert_eq!(files("SELECT event FROM interactions WHERE day < '2026-01-01'").await, 0);
        assert_eq!(files("SELECT value FROM trends WHERE day = '2026-11-21'").await, 1);
        assert_eq!(files("SELECT count(*) FROM interactions").await, 0, "the log knows how many rows there are");
        assert_eq!(ask(&session, "SELECT count(*), count(visitor_id) FROM interactions").await, ["8 7"]);
        assert_eq!(ask(&session, "SELECT count(*) FROM interactions WHERE day = (SELECT max(day) FROM interactions)").await, ["1"]);
        assert_eq!(ask(&session, "SELECT event_id FROM interactions LIMIT 3").await.len(), 3);
    }

    #[tokio::test]
    async fn predicates_reach_parquet() {
        let folder = tempfile::tempdir().unwrap();
        let session = session(&lake(folder.path()).await);
        let plan = ask(&session, "EXPLAIN SELECT event FROM interactions WHERE visitor_id = 'x' AND received_at > '2026-11-20T00:00:30Z'").await.join("\n");
        assert!(plan.contains("pruning_predicate") && plan.contains("received_at_max"), "{plan}");
        // A person's rows are few: the other columns are read just there.
        for (filter, rows) in [("visitor_id = '01010101010101010101010101010101'", "4"), ("visitor_id IN ('x', 'y')", "0"), ("event = 'engagement'", "1"), ("visitor_id <> 'x'", "7")] {
            let sql = format!("SELECT count(page_path) FROM interactions WHERE {filter}");
            assert_eq!(ask(&session, &sql).await, [rows], "{filter}");
            let plan = ask(&session, &format!("EXPLAIN {sql}")).await.join("\n");
            assert_eq!(plan.contains("FilterExec"), !filter.starts_with("visitor_id =") && !filter.contains("IN ("), "{plan}");
        }
    }

    #[tokio::test]
    async fn times_are_cut_in_utc_as_they_are_without_a_zone() {
        let folder = tempfile::tempdir().unwrap();
        let session = session(&lake(folder.path()).await);
        for unit in ["second", "minute", "hour", "day", "week", "month", "quarter", "year"] {
            let moments = "SELECT occurred_at AS at FROM interactions UNION ALL SELECT TIMESTAMP '1969-12-31 23:59:59.5' AT TIME ZONE 'UTC' UNION ALL SELECT NULL";
            let differ = format!("SELECT count(*), count(date_trunc('{unit}', at)), arrow_typeof(min(date_trunc('{unit}', at))) FROM ({moments}) WHERE date_trunc('{unit}', at) IS DISTINCT FROM date_trunc('{unit}', CAST(at AS TIMESTAMP))");
            assert_eq!(ask(&session, &differ).await[0].split(' ').take(2).collect::<Vec<_>>(), ["0", "0"], "{unit}");
        }
        assert_eq!(ask(&session, "SELECT DISTINCT date_trunc('HOUR', occurred_at), arrow_typeof(date_trunc('hour', occurred_at)) FROM interactions WHERE day = '2026-11-21'").await, ["2026-11-21T00:00:00Z Timestamp(µs, \"UTC\")"]);
        let elsewhere = "SELECT date_trunc('day', CAST('2026-11-20T23:30:00Z' AS TIMESTAMP) AT TIME ZONE 'Europe/Berlin')";
        assert_eq!(ask(&session, elsewhere).await, ["2026-11-20T00:00:00+01:00"]);
    }

    #[tokio::test]
    async fn what_would_write_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let session = session(&lake(folder.path()).await);
        for sql in [
            "DROP TABLE interactions",
            "CREATE TABLE x AS SELECT 1",
            "CREATE VIEW x AS SELECT 1",
            "CREATE EXTERNAL TABLE x STORED AS PARQUET LOCATION '/etc'",
            "COPY interactions TO 'x.parquet'",
            "INSERT INTO interactions SELECT * FROM interactions",
            "DELETE FROM interactions",
            "UPDATE interactions SET site = 'x'",
            "SET datafusion.execution.batch_size = 1",
            "EXPLAIN ANALYZE COPY interactions TO 'x.parquet'",
            "PREPARE x AS SELECT 1",
        ] {
            let error = session.run(sql).await.map(|_| ()).unwrap_err();
            assert!(matches!(error, SqlError::Writes(_)), "{sql}: {error:?}");
        }
        for sql in ["SELECT 1; SELECT 2", "SELECT", "", "SELECT * FROM '/etc/passwd'", "SELECT visitors('x', 1) FROM trends"] {
            let error = session.run(sql).await.map(|_| ()).unwrap_err();
            assert!(matches!(error, SqlError::Question(_)), "{sql}: {error:?}");
        }
        for sql in ["SHOW TABLES", "DESCRIBE interactions", "EXPLAIN ANALYZE SELECT count(*) FROM visits", "SHOW COLUMNS FROM visits"] {
            assert!(!ask(&session, sql).await.is_empty(), "{sql}");
        }
    }

    #[tokio::test]
    async fn errors_say_what_would_be_right() {
        let folder = tempfile::tempdir().unwrap();
        let missing = Session::open(folder.path(), SessionOptions::new(folder.path().join("spill"), Audience::Maintenance)).map(|_| ()).unwrap_err();
        assert!(missing.to_string().contains("there is no table interactions in"), "{missing}");
        let session = session(&lake(folder.path()).await);
        let error = async |sql: &str| session.run(sql).await.map(|_| ()).unwrap_err().to_string();
        let column = error("SELECT pge_path FROM interactions").await;
        assert!(column.contains("No field named pge_path") && column.contains("DESCRIBE") && column.len() < 250, "{column}");
        let table = error("SELECT 1 FROM hits").await;
        assert!(table.contains("hits") && table.contains("There are interactions, visits"), "{table}");
        let stream = session.run("SELECT visitors(CAST(value AS BYTEA)) FROM trends_parts").await.unwrap();
        let sketch = SqlError::from(stream.try_collect::<Vec<_>>().await.unwrap_err()).to_string();
        assert!(sketch.contains("no visitors' sketch"), "{sketch}");
    }

    #[tokio::test]
    async fn a_lake_that_was_only_just_begun_is_empty() {
        let folder = tempfile::tempdir().unwrap();
        Table::open_or_create(folder.path(), TableName::Interactions).await.unwrap();
        let session = session(folder.path());
        assert_eq!(ask(&session, "SELECT count(*), max(day) FROM interactions").await, ["0 "]);
        assert_eq!(ask(&session, "SELECT visitors(visitors_sketch) FROM trends").await, ["0"]);
        assert!(ask(&session, "SELECT * FROM visits").await.is_empty());
    }

    #[tokio::test]
    async fn a_question_opens_just_the_tables_that_it_names_and_each_once() {
        let folder = tempfile::tempdir().unwrap();
        let lake = lake(folder.path()).await;
        let session = session(&lake);
        assert_eq!(ask(&session, "SELECT table_name, table_type FROM information_schema.tables WHERE table_schema = 'lake' ORDER BY 1").await, [
            "interactions BASE TABLE", "trends VIEW", "trends_parts BASE TABLE", "visits VIEW",
        ]);
        assert_eq!(ask(&session, "SELECT count(*) FROM interactions").await, ["8"]);
        commit(&lake, 3, &[page_view(60, 1, 1, "/")], &[]).await;
        assert_eq!(ask(&session, "SELECT count(*) FROM lake.interactions").await, ["8"], "as when it was first asked for");
        assert_eq!(ask(&session, "SELECT sum(interactions) FROM trends WHERE dimension = 'all'").await, ["9"]);
        std::fs::write(lake.join("trends/_delta_log/00000000000000000000.json"), "{").unwrap();
        let session = self::session(&lake);
        assert_eq!(ask(&session, "SELECT count(*) FROM visits").await, ["4"]);
        let error = session.run("SELECT count(*) FROM trends").await.map(|_| ()).unwrap_err();
        assert!(matches!(error, SqlError::Table(_)), "{error:?}");
        let taken = arrow::array::RecordBatch::new_empty(Arc::new(arrow::datatypes::Schema::empty()));
        assert!(session.add("interactions", taken.clone()).is_err() && session.add("people", taken).is_ok());
    }

    #[tokio::test]
    async fn sorting_more_than_fits_goes_to_disk_and_no_further_than_allowed() {
        let folder = tempfile::tempdir().unwrap();
        let lake = lake(folder.path()).await;
        let sql = "SELECT repeat(CAST(value AS VARCHAR), 40) AS pad FROM generate_series(1, 100000) ORDER BY value * 7919 % 100003, pad";
        let narrow = |spill_bytes_max| SessionOptions { memory_bytes: 16 << 20, spill: folder.path().join("spill"), spill_bytes_max, audience: Audience::Maintenance };
        let session = Session::open(&lake, narrow(1 << 30)).unwrap();
        assert_eq!(ask(&session, sql).await.len(), 100_000);
        let plan = ask(&session, &format!("EXPLAIN ANALYZE {sql}")).await.join("\n");
        assert!(plan.lines().any(|line| line.contains("spill_count=") && !line.contains("spill_count=0,")), "{plan}");
        let session = Session::open(&lake, narrow(1 << 20)).unwrap();
        let error = session.run(sql).await.unwrap().try_collect::<Vec<_>>().await.unwrap_err();
        let error = SqlError::from(error);
        assert!(matches!(error, SqlError::TooLarge(_)), "{error:?}");
    }
}
