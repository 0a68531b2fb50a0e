//! Owns the reading of a table in SQL: which files of a snapshot a query has to open.
//!
//! Knows DataFusion's `TableProvider`. Promises: just the files that the log names are read, so what
//! a crash left behind is never seen; a filter on `day` alone opens no file of another day; every
//! other filter is passed on to Parquet's statistics and bloom filters. Never lists a folder, never
//! writes.

use super::columns::{DAY, TableName, arrow_field, arrow_schema};
use super::ids;
use super::read::FOOTER_BYTES;
use super::table::LiveFile;
use arrow::datatypes::{DataType, Field, Fields, Schema, SchemaRef};
use async_trait::async_trait;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::stats::Precision;
use datafusion::common::tree_node::TreeNode;
use datafusion::common::{DFSchema, Result, ScalarValue, Statistics, internal_datafusion_err};
use datafusion::datasource::TableType;
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::listing::helpers::{expr_applicable_for_cols, filter_partitioned_file};
use datafusion::datasource::physical_plan::{FileGroup, FileScanConfigBuilder, ParquetSource};
use datafusion::datasource::source::DataSourceExec;
use datafusion::datasource::table_schema::TableSchema;
use datafusion::execution::object_store::ObjectStoreUrl;
use datafusion::logical_expr::{BinaryExpr, Expr, Operator, TableProviderFilterPushDown};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::empty::EmptyExec;
use std::sync::Arc;

/// One version of a table, as SQL sees it.
#[derive(Debug)]
pub struct Scan {
    place: ObjectStoreUrl,
    schema: TableSchema,
    /// And how many rows each holds.
    files: Vec<(PartitionedFile, Precision<usize>)>,
    /// Rows lie by what is asked for.
    is_in_order: bool,
}

#[async_trait]
impl TableProvider for Scan {
    async fn scan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let files = self.files_for(filters)?;
        if files.is_empty() {
            let schema = self.schema();
            let schema = projection.map_or_else(|| Ok(schema.clone()), |columns| schema.project(columns).map(Arc::new))?;
            return Ok(Arc::new(EmptyExec::new(schema)));
        }
        let mut statistics = Statistics::new_unknown(self.schema.table_schema());
        // So that `count(*)` opens none.
        statistics.num_rows = files.iter().fold(Precision::Exact(0), |sum, (_, rows)| sum.add(rows));
        let files = files.into_iter().map(|(file, _)| file).collect();
        let threads = state.config().target_partitions();
        let groups = FileGroup::new(parts(files, threads)).split_files(threads);
        // Filters are answered while pages are read, and the other columns read just where they hold: pays where that
        // is in few places, costs elsewhere.
        let skips_pages = self.is_in_order || filters.iter().any(is_of_an_id);
        let source = ParquetSource::new(self.schema.clone()).with_pushdown_filters(skips_pages).with_metadata_size_hint(FOOTER_BYTES);
        let scan = FileScanConfigBuilder::new(self.place.clone(), Arc::new(source))
            .with_file_groups(groups)
            .with_statistics(statistics)
            .with_projection_indices(projection.cloned())?
            .with_limit(limit)
            .build();
        Ok(DataSourceExec::from_data_source(scan))
    }

    /// `day` alone is decided here for good. The rest is only a hint: DataFusion filters again, and
    /// hands the predicate to Parquet by itself.
    fn supports_filters_pushdown(&self, filters: &[&Expr]) -> Result<Vec<TableProviderFilterPushDown>> {
        Ok(filters
            .iter()
            .map(|filter| match of_day_alone(filter) {
                true => TableProviderFilterPushDown::Exact,
                false => TableProviderFilterPushDown::Inexact,
            })
            .collect())
    }

    fn schema(&self) -> SchemaRef {
        self.schema.table_schema().clone()
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }
}

impl Scan {
    /// The table `name` made of `files`, which lie in the store registered at `place_of(name)`.
    pub fn new(name: TableName, files: &[LiveFile]) -> Result<Self> {
        Self::with_schema(arrow_schema(name), name, files)
    }

    /// The same with texts as views into Parquet's pages: they are not copied for each row, which halves what
    /// a question over texts costs (`docs/decisions/0034`).
    pub fn viewed(name: TableName, files: &[LiveFile]) -> Result<Self> {
        let as_view = |field: &Arc<Field>| match field.data_type() {
            DataType::Utf8 => {
                let view = field.as_ref().clone().with_data_type(DataType::Utf8View);
                Arc::new(if MADE_HERE.contains(&field.name().as_str()) { ids::marked(view) } else { view })
            }
            _ => field.clone(),
        };
        let fields: Fields = arrow_schema(name).fields().iter().map(as_view).collect();
        Self::with_schema(Arc::new(Schema::new(fields)), name, files)
    }

    fn with_schema(file_schema: SchemaRef, name: TableName, files: &[LiveFile]) -> Result<Self> {
        let files = files
            .iter()
            .map(|file| {
                let day = ScalarValue::try_from_string(file.day.clone(), &DataType::Date32)
                    .map_err(|error| internal_datafusion_err!("the file {} has no readable day: {error}", file.path))?;
                let rows = file.rows.map_or(Precision::Absent, Precision::Exact);
                Ok((PartitionedFile::new(file.path.clone(), file.bytes).with_partition_values(vec![day]), rows))
            })
            .collect::<Result<_>>()?;
        let schema = TableSchema::builder(file_schema).with_table_partition_cols(vec![Arc::new(arrow_field(&DAY))]).build();
        Ok(Self { place: place_of(name)?, schema, files, is_in_order: name == TableName::Trends })
    }

    /// The files that can hold rows for `filters`.
    fn files_for(&self, filters: &[Expr]) -> Result<Vec<(PartitionedFile, Precision<usize>)>> {
        let days: Vec<Expr> = filters.iter().filter(|filter| of_day_alone(filter)).cloned().collect();
        let schema = DFSchema::try_from(Schema::new(vec![arrow_field(&DAY)]))?;
        let kept = self.files.iter().map(|(file, rows)| {
            let kept = filter_partitioned_file(file.clone(), &days, &schema)?;
            Ok(kept.map(|file| (file, *rows)))
        });
        kept.filter_map(Result::transpose).collect()
    }
}

/// The files as `threads` readers take them from one queue: the largest first, and none so large that the others would
/// have nothing left to do beside its end. A newest day is often as large as all others of a week.
fn parts(files: Vec<PartitionedFile>, threads: usize) -> Vec<PartitionedFile> {
    let bytes: u64 = files.iter().map(|file| file.object_meta.size).sum();
    let part_max = (bytes / (PARTS_A_THREAD * threads as u64)).max(PART_BYTES_MIN);
    let mut parts: Vec<PartitionedFile> = files.into_iter().flat_map(|file| cut(file, part_max)).collect();
    parts.sort_by_key(|part| std::cmp::Reverse(part.effective_size()));
    parts
}

/// At its end the last thread is alone for a fourth of its own share at most.
const PARTS_A_THREAD: u64 = 4;
/// Two row groups, as a rule: a part opens its file, and reads its footer, by itself.
const PART_BYTES_MIN: u64 = 32 << 20;

/// A file in equal ranges of at most `part_max` bytes. A row group is of the range that it begins in.
fn cut(file: PartitionedFile, part_max: u64) -> impl Iterator<Item = PartitionedFile> {
    let bytes = file.object_meta.size;
    let count = bytes.div_ceil(part_max).max(1);
    (0..count).map(move |part| {
        let at = |part: u64| i64::try_from(bytes * part / count).unwrap_or(i64::MAX);
        if count == 1 { file.clone() } else { file.clone().with_range(at(part), at(part + 1)) }
    })
}

/// The URL under which a table's store is registered: each table has its own.
pub fn place_of(name: TableName) -> Result<ObjectStoreUrl> {
    ObjectStoreUrl::parse(format!("lake://{}", name.as_str()))
}

/// Whether the files' days decide the filter. A subquery's answer is not known yet when they are chosen.
fn of_day_alone(filter: &Expr) -> bool {
    let asks = |part: &Expr| {
        Ok(matches!(part, Expr::ScalarSubquery(_) | Expr::InSubquery(_) | Expr::Exists(_) | Expr::SetComparison(_)))
    };
    expr_applicable_for_cols(&[DAY.name], filter) && !filter.exists(asks).unwrap_or(true)
}

/// Columns of which a value is in few rows.
const IDS: [&str; 3] = ["event_id", "visitor_id", "visit_id"];
/// Columns of ids that were made here, which `hit::field::Id` holds: an event's may be any text of the sender's.
const MADE_HERE: [&str; 2] = ["visitor_id", "visit_id"];

/// Whether the filter asks for the rows of certain ids.
fn is_of_an_id(filter: &Expr) -> bool {
    let is_id = |side: &Expr| matches!(side, Expr::Column(column) if IDS.contains(&column.name()));
    match filter {
        Expr::BinaryExpr(BinaryExpr { left, op: Operator::Eq, right }) => is_id(left) || is_id(right),
        // A short list is made into this.
        Expr::BinaryExpr(BinaryExpr { left, op: Operator::Or, right }) => is_of_an_id(left) && is_of_an_id(right),
        Expr::InList(list) => !list.negated && is_id(&list.expr),
        _ => false,
    }
}
