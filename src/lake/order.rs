//! Owns the sorting of a table's files, and the finding of rows that are there twice, on disk where they
//! do not fit in memory.
//!
//! Knows DataFusion. Promises: reads just the files it is given; holds `Limits::sort_bytes` and spills the
//! rest into `Limits::spill`. Never writes a file of the lake.

use super::columns::{TableName, arrow_schema};
use super::read::conform;
use super::scan::{self, Scan};
use super::table::{LiveFile, Table};
use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{Int64Type, TimestampMicrosecondType};
use datafusion::error::DataFusionError;
use datafusion::execution::disk_manager::{DiskManagerBuilder, DiskManagerMode};
use datafusion::execution::memory_pool::FairSpillPool;
use datafusion::execution::runtime_env::RuntimeEnvBuilder;
use datafusion::prelude::{SessionConfig, SessionContext};
use futures::{Stream, StreamExt, TryStreamExt};
use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;

/// What a rewrite may use up. 64 MiB for sorting, and as much again while a part is being sorted and spilled;
/// beside it one row group being read (64 MiB at most, some 20 as a rule) and one being written (the same),
/// and 3 parts of 8 MiB on their way to the store: some 256 MiB at most, whatever the table's size. The
/// allocator keeps more: a process of its own (45 MiB before it begins) was seen to peak at 278 MiB compacting
/// 0.5 million rows a day and at 312 to 358 with 5 million, erasing at 140 to 230 (`benches/upkeep.rs`).
#[derive(Debug, Clone)]
pub struct Limits {
    pub sort_bytes: usize,
    /// A folder for what does not fit; made where missing, emptied before use.
    pub spill: PathBuf,
    pub spill_bytes_max: u64,
    /// A file is ended when it has reached this.
    pub file_bytes: u64,
}

impl Limits {
    pub const fn new(spill: PathBuf) -> Self {
        Self { sort_bytes: 64 << 20, spill, spill_bytes_max: 64 << 30, file_bytes: 128 << 20 }
    }
}

/// Where files of one table are sorted.
pub struct Sorter {
    context: SessionContext,
    table: TableName,
}

/// Why sorting failed.
#[derive(Debug, thiserror::Error)]
#[error("sorting {table}: {reason}")]
pub struct OrderError {
    table: &'static str,
    reason: Box<DataFusionError>,
}

/// Which rows of an event id stay.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keep {
    /// The one that came first, at this moment (µs since the epoch).
    First(i64),
    /// None: it is in another file already.
    None,
}

/// What to keep of each `(site, event_id)` that is there more than once.
pub type Repeats = HashMap<(String, String), Keep>;

impl Sorter {
    /// All rows of `files` in the table's order.
    pub async fn sorted(&self, files: &[LiveFile]) -> Result<impl Stream<Item = Result<RecordBatch, OrderError>> + Send + 'static + use<>, OrderError> {
        let schema = arrow_schema(self.table);
        let columns: Vec<_> = schema.fields().iter().map(|field| field.name().as_str()).collect();
        let sql = format!("SELECT {} FROM files ORDER BY {}", columns.join(", "), order_of(self.table).join(", "));
        self.register("files", files)?;
        let rows = self.ask(&sql).await?;
        let table = self.table.as_str();
        let failed = move |reason| OrderError { table, reason: Box::new(reason) };
        Ok(rows.map(move |batch| batch.and_then(|batch| Ok(conform(&batch, &schema)?)).map_err(failed)))
    }

    /// The event ids of a site that are in `inside` more than once, or in `outside` as well; at most
    /// `REPEATS_MAX`.
    pub async fn repeats(&self, inside: &[LiveFile], outside: &[LiveFile]) -> Result<Repeats, OrderError> {
        self.register("inside", inside)?;
        self.register("outside", outside)?;
        let sql = format!(
            "SELECT site, event_id, min(received_at) AS first, sum(n) AS inside, count(*) AS everywhere FROM (\
               SELECT site, event_id, received_at, 1 AS n FROM inside UNION ALL SELECT site, event_id, NULL, 0 FROM outside) \
             GROUP BY site, event_id HAVING count(*) > 1 AND sum(n) > 0 LIMIT {REPEATS_MAX}"
        );
        let mut repeats = Repeats::new();
        let mut rows = self.ask(&sql).await?;
        while let Some(batch) = rows.try_next().await.map_err(|reason| self.failed(reason))? {
            let unlike = || self.failed(DataFusionError::Internal("the answer has other columns than were asked for".to_owned()));
            let sites = batch.column(0).as_string_opt::<i32>().ok_or_else(unlike)?;
            let ids = batch.column(1).as_string_opt::<i32>().ok_or_else(unlike)?;
            let firsts = batch.column(2).as_primitive_opt::<TimestampMicrosecondType>().ok_or_else(unlike)?;
            let inside = batch.column(3).as_primitive_opt::<Int64Type>().ok_or_else(unlike)?;
            let everywhere = batch.column(4).as_primitive_opt::<Int64Type>().ok_or_else(unlike)?;
            for at in 0..batch.num_rows() {
                let is_elsewhere = everywhere.value(at) > inside.value(at) || firsts.is_null(at);
                let keep = if is_elsewhere { Keep::None } else { Keep::First(firsts.value(at)) };
                repeats.insert((sites.value(at).to_owned(), ids.value(at).to_owned()), keep);
            }
        }
        Ok(repeats)
    }

    pub fn open(table: &Table, limits: &Limits) -> Result<Self, OrderError> {
        let name = table.name();
        let failed = |reason| OrderError { table: name.as_str(), reason: Box::new(reason) };
        // One thread: two would halve what each may hold, and the other core belongs to the collector.
        let config = SessionConfig::new().with_target_partitions(1).with_batch_size(BATCH_ROWS).with_sort_spill_reservation_bytes(limits.sort_bytes / 8);
        let disk = DiskManagerBuilder::default()
            .with_mode(DiskManagerMode::Directories(vec![limits.spill.clone()]))
            .with_max_temp_directory_size(limits.spill_bytes_max);
        let runtime = RuntimeEnvBuilder::new()
            .with_memory_pool(Arc::new(FairSpillPool::new(limits.sort_bytes)))
            .with_disk_manager_builder(disk)
            .build_arc()
            .map_err(failed)?;
        let context = SessionContext::new_with_config_rt(config, runtime);
        context.register_object_store(scan::place_of(name).map_err(failed)?.as_ref(), table.store());
        Ok(Self { context, table: name })
    }

    fn register(&self, name: &str, files: &[LiveFile]) -> Result<(), OrderError> {
        let scan = Scan::new(self.table, files).map_err(|reason| self.failed(reason))?;
        self.context.register_table(name, Arc::new(scan)).map_err(|reason| self.failed(reason))?;
        Ok(())
    }

    async fn ask(&self, sql: &str) -> Result<datafusion::execution::SendableRecordBatchStream, OrderError> {
        let asked = async { self.context.sql(sql).await?.execute_stream().await };
        asked.await.map_err(|reason| self.failed(reason))
    }

    fn failed(&self, reason: DataFusionError) -> OrderError {
        OrderError { table: self.table.as_str(), reason: Box::new(reason) }
    }
}

/// Who sorts holds a batch twice: 2,048 rows of 16 KiB, the longest request, are 32 MiB.
const BATCH_ROWS: usize = 2_048;

/// 200,000 ids of some 150 bytes are 30 MB; what is beyond them goes in the next run.
const REPEATS_MAX: usize = 200_000;

/// How rows lie in a compacted file: a site's rows together, and within them a person's; of trends a dimension's,
/// which is what is asked for, so that a question reads those pages alone.
pub const fn order_of(table: TableName) -> &'static [&'static str] {
    match table {
        TableName::Interactions => &["site", "visitor_id", "occurred_at", "event_id"],
        TableName::Trends => &["site", "dimension", "hour", "value"],
    }
}
