//! Owns what a question leaves out before it groups by ids: rows that are in all it asks for as the row before them.
//!
//! Knows that compaction lays a visitor's rows side by side, so that of a visit's rows the first tells all that a count of
//! different visits asks, and the table of groups, larger than the processor's caches, is asked once for a visit.
//! Knows DataFusion's physical plans and Arrow's view layout. Promises: the answer is the same, in whatever order rows
//! come; where few are left out, none is. Never sees a file.

use super::ids;
use arrow::array::{Array, ArrayRef, ArrowPrimitiveType, AsArray, BooleanArray, RecordBatch, StringViewArray};
use arrow::buffer::BooleanBuffer;
use arrow::datatypes::{DataType, Date32Type, Int32Type, Int64Type, Schema};
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{Result, ScalarValue, internal_datafusion_err};
use datafusion::logical_expr::ColumnarValue;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_expr::utils::collect_columns;
use datafusion::physical_expr_common::physical_expr::is_volatile;
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::aggregates::{AggregateExec, AggregateMode};
use datafusion::physical_plan::filter::FilterExecBuilder;
use datafusion::physical_plan::{ChildrenPropertiesMode, ExecutionPlan, ReplaceChildrenOptions};
use std::fmt;
use std::sync::Arc;

/// The rule that leaves such rows out.
pub fn rule() -> Arc<dyn PhysicalOptimizerRule + Send + Sync> {
    Arc::new(FirstOfRuns)
}

#[derive(Debug)]
struct FirstOfRuns;

impl PhysicalOptimizerRule for FirstOfRuns {
    fn optimize(&self, plan: Arc<dyn ExecutionPlan>, _: &ConfigOptions) -> Result<Arc<dyn ExecutionPlan>> {
        let changed = plan.transform_up(|node| {
            let aggregate = node.downcast_ref::<AggregateExec>();
            let Some((aggregate, differs)) = aggregate.and_then(|aggregate| Some((aggregate, Differs::asked_by(aggregate)?))) else {
                return Ok(Transformed::no(node));
            };
            let firsts = FilterExecBuilder::new(Arc::new(differs), aggregate.input().clone()).build()?;
            let of_firsts = ReplaceChildrenOptions::new(ChildrenPropertiesMode::Recompute);
            Ok(Transformed::yes(node.replace_children(vec![Arc::new(firsts)], of_firsts)?))
        })?;
        Ok(changed.data)
    }

    fn name(&self) -> &'static str {
        "FirstOfRuns"
    }

    fn schema_check(&self) -> bool {
        true
    }
}

/// Whether rows are left out of those that an aggregate is of.
pub fn applies(aggregate: &AggregateExec) -> bool {
    Differs::asked_by(aggregate).is_some()
}

/// Whether a row differs from the one before it in any of these columns; or "yes" where it says so of nearly all.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Differs(Vec<Arc<dyn PhysicalExpr>>);

impl Differs {
    /// In what a row has to differ to tell an aggregate anything new; `None` where that is not known, or does not pay.
    fn asked_by(aggregate: &AggregateExec) -> Option<Self> {
        let rows = aggregate.input_schema();
        let groups = aggregate.group_expr();
        let is_of_ids = groups.expr().iter().any(|(group, _)| group.data_type(&rows).is_ok_and(|kind| kind == ids::NUMBER));
        let counts_once = aggregate.aggr_expr().iter().all(|one| one.order_bys().is_empty() && (one.is_distinct() || matches!(one.fun().name(), "min" | "max")));
        if *aggregate.mode() != AggregateMode::Partial || !groups.is_single() || !is_of_ids || !counts_once {
            return None;
        }
        let counted = aggregate.aggr_expr().iter().flat_map(|one| one.expressions());
        let asked: Vec<_> = groups.expr().iter().map(|(group, _)| group.clone()).chain(counted).chain(aggregate.filter_expr().iter().flatten().cloned()).collect();
        if asked.iter().any(is_volatile) {
            return None;
        }
        let mut columns: Vec<Column> = asked.iter().flat_map(collect_columns).collect();
        columns.sort_by_key(Column::index);
        columns.dedup();
        let is_known = |column: &Column| rows.fields().get(column.index()).is_some_and(|field| is_compared(field.data_type()));
        columns.iter().all(is_known).then(|| Self(columns.into_iter().map(|column| Arc::new(column) as Arc<dyn PhysicalExpr>).collect()))
    }
}

impl PhysicalExpr for Differs {
    fn evaluate(&self, batch: &RecordBatch) -> Result<ColumnarValue> {
        let count = batch.num_rows();
        let mut repeats = BooleanBuffer::new_set(count);
        for column in &self.0 {
            repeats = &repeats & &as_before(&column.evaluate(batch)?.into_array(count)?)?;
            if repeats.count_set_bits() * FEW < count {
                return Ok(ColumnarValue::Scalar(ScalarValue::Boolean(Some(true))));
            }
        }
        Ok(ColumnarValue::Array(Arc::new(BooleanArray::new(!&repeats, None))))
    }

    fn data_type(&self, _: &Schema) -> Result<DataType> {
        Ok(DataType::Boolean)
    }

    fn nullable(&self, _: &Schema) -> Result<bool> {
        Ok(false)
    }

    fn children(&self) -> Vec<&Arc<dyn PhysicalExpr>> {
        self.0.iter().collect()
    }

    fn with_new_children(self: Arc<Self>, children: Vec<Arc<dyn PhysicalExpr>>) -> Result<Arc<dyn PhysicalExpr>> {
        Ok(Arc::new(Self(children)))
    }

    fn fmt_sql(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}

impl fmt::Display for Differs {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("differs from the row before in (")?;
        for (at, column) in self.0.iter().enumerate() {
            write!(formatter, "{}{column}", if at > 0 { ", " } else { "" })?;
        }
        formatter.write_str(")")
    }
}

/// To leave out less than an eighth of the rows would spare less than it takes to move the others together.
const FEW: usize = 8;

/// Not times, which are another in nearly every row.
fn is_compared(kind: &DataType) -> bool {
    matches!(kind, DataType::Utf8View | DataType::Date32 | DataType::Int32 | DataType::Int64)
}

/// Which rows have what the row before them has; the first has none.
fn as_before(column: &ArrayRef) -> Result<BooleanBuffer> {
    let values = match column.data_type() {
        DataType::Utf8View => texts_as_before(column.as_string_view()),
        DataType::Date32 => numbers_as_before::<Date32Type>(column),
        DataType::Int32 => numbers_as_before::<Int32Type>(column),
        DataType::Int64 => numbers_as_before::<Int64Type>(column),
        other => return Err(internal_datafusion_err!("rows are not compared by a column of {other}")),
    };
    let Some(there) = column.nulls() else { return Ok(values) };
    // Two nulls are alike, whatever lies below them.
    Ok(BooleanBuffer::collect_bool(column.len(), |row| {
        row > 0 && match (there.is_valid(row - 1), there.is_valid(row)) {
            (true, true) => values.value(row),
            (before, now) => before == now,
        }
    }))
}

fn numbers_as_before<T: ArrowPrimitiveType>(column: &ArrayRef) -> BooleanBuffer
where
    T::Native: PartialEq,
{
    let numbers = column.as_primitive::<T>().values();
    BooleanBuffer::collect_bool(numbers.len(), |row| row > 0 && numbers[row - 1] == numbers[row])
}

/// Of nulls anything.
fn texts_as_before(texts: &StringViewArray) -> BooleanBuffer {
    let views = texts.views();
    BooleanBuffer::collect_bool(views.len(), |row| {
        let Some(before) = row.checked_sub(1) else { return false };
        let (is_same, may_be_same) = (views[before] == views[row], views[before] as u64 == views[row] as u64);
        // Where each text lies by itself, as past a full dictionary, the same text has another view: its length and
        // first bytes are the same.
        is_same || (may_be_same && texts.is_valid(before) && texts.is_valid(row) && texts.value(before) == texts.value(row))
    })
}

#[cfg(test)]
mod tests {
    use super::{Differs, as_before, rule};
    use crate::hit::field::Id;
    use crate::lake::ids;
    use arrow::array::{ArrayRef, AsArray, Date32Array, Int32Array, RecordBatch, StringViewArray, TimestampMicrosecondArray, UInt32Array};
    use arrow::compute::take;
    use arrow::datatypes::{DataType, Field, Schema, TimeUnit};
    use arrow::util::pretty::pretty_format_batches;
    use datafusion::datasource::MemTable;
    use datafusion::execution::SessionStateBuilder;
    use datafusion::logical_expr::ColumnarValue;
    use datafusion::physical_expr::PhysicalExpr;
    use datafusion::physical_expr::expressions::Column;
    use datafusion::physical_optimizer::optimizer::PhysicalOptimizer;
    use datafusion::prelude::{SessionConfig, SessionContext};
    use proptest::prelude::*;
    use std::sync::Arc;

    /// A visit, its source, a day, a number and a time.
    type Row = (Option<u8>, Option<&'static str>, Option<i32>, Option<i32>, i64);

    fn schema() -> Arc<Schema> {
        let field = |name, of| Field::new(name, of, true);
        let at = Field::new("at", DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())), false);
        let fields = vec![ids::marked(field("visit", DataType::Utf8View)), field("source", DataType::Utf8View), field("day", DataType::Date32), field("n", DataType::Int32), at];
        Arc::new(Schema::new(fields))
    }

    /// `shares`: rows of the same text have the same view, as a dictionary gives it.
    fn batch(rows: &[Row], shares: bool) -> RecordBatch {
        let texts = |of: &dyn Fn(&Row) -> Option<String>| {
            let each: Vec<Option<String>> = rows.iter().map(of).collect();
            let mut different = each.clone();
            different.sort();
            different.dedup();
            if !shares {
                return Arc::new(each.iter().map(Option::as_deref).collect::<StringViewArray>()) as ArrayRef;
            }
            let numbers = each.iter().map(|text| different.iter().position(|other| other == text).unwrap() as u32);
            let different = different.iter().map(Option::as_deref).collect::<StringViewArray>();
            take(&different, &UInt32Array::from_iter_values(numbers), None).unwrap()
        };
        let columns: Vec<ArrayRef> = vec![
            texts(&|row| row.0.map(|visit| Id([visit; 16]).to_string())),
            texts(&|row| row.1.map(str::to_owned)),
            Arc::new(rows.iter().map(|row| row.2).collect::<Date32Array>()),
            Arc::new(rows.iter().map(|row| row.3).collect::<Int32Array>()),
            Arc::new(TimestampMicrosecondArray::from_iter_values(rows.iter().map(|row| row.4)).with_timezone("UTC")),
        ];
        RecordBatch::try_new(schema(), columns).unwrap()
    }

    fn session(batches: Vec<RecordBatch>, has_rule: bool) -> SessionContext {
        let rules = PhysicalOptimizer::new().rules.into_iter().chain(has_rule.then(rule)).collect();
        let state = SessionStateBuilder::new().with_config(SessionConfig::new().with_target_partitions(2)).with_default_features();
        let context = SessionContext::new_with_state(state.with_optimizer_rules(ids::rules()).with_physical_optimizer_rules(rules).build());
        let table = MemTable::try_new(schema(), vec![batches, Vec::new()]).unwrap();
        context.register_table("rows", Arc::new(table)).unwrap();
        context
    }

    fn ask(context: &SessionContext, sql: &str) -> String {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let batches = runtime.block_on(async { context.sql(sql).await.unwrap().collect().await.unwrap() });
        pretty_format_batches(&batches).unwrap().to_string()
    }

    /// What is asked of every visit once, and what is asked of each of its rows.
    const ONCE: [&str; 6] = [
        "SELECT count(DISTINCT visit) FROM rows",
        "SELECT source, day, count(DISTINCT visit) FROM rows GROUP BY 1, 2 ORDER BY 1, 2",
        "SELECT visit, min(day), max(n) FROM rows GROUP BY visit ORDER BY 1",
        "SELECT visit, min(n) FILTER (WHERE source = 'search') FROM rows WHERE n > 1 GROUP BY visit ORDER BY 1",
        "SELECT DISTINCT visit, n + 1, upper(source) FROM rows ORDER BY 1, 2, 3",
        "SELECT date_trunc('month', day), count(DISTINCT visit) FROM rows GROUP BY 1 ORDER BY 1",
    ];
    const OF_EACH: [&str; 5] = [
        "SELECT visit, min(at) FROM rows GROUP BY visit ORDER BY 1",
        "SELECT visit, count(*), min(n) FROM rows GROUP BY visit ORDER BY 1",
        "SELECT visit, sum(n) FROM rows GROUP BY visit ORDER BY 1",
        "SELECT source, count(*) FROM rows GROUP BY source ORDER BY 1",
        "SELECT max(n) FROM rows",
    ];

    fn rows() -> impl Strategy<Value = Vec<Row>> {
        let visit = prop::option::weighted(0.9, 0..4_u8);
        let source = prop::sample::select(vec![Some("search"), Some("a campaign of ours"), Some("a campaign of theirs"), Some(""), None]);
        let row = (visit, source, prop::option::weighted(0.8, 1..3), prop::option::weighted(0.8, 0..4), 0..3_i64);
        prop::collection::vec((row, 1..5_usize), 0..12).prop_map(|runs| runs.into_iter().flat_map(|(row, length)| std::iter::repeat_n(row, length)).collect())
    }

    proptest! {
        #[test]
        fn answers_are_those_of_all_rows(files in prop::collection::vec((rows(), any::<bool>()), 0..4)) {
            let batches: Vec<RecordBatch> = files.iter().map(|(rows, shares)| batch(rows, *shares)).collect();
            let (ours, theirs) = (session(batches.clone(), true), session(batches, false));
            for sql in ONCE.into_iter().chain(OF_EACH) {
                prop_assert_eq!(ask(&ours, sql), ask(&theirs, sql), "{}", sql);
            }
        }

        #[test]
        fn a_row_is_as_before_in_every_column(rows in rows(), shares: bool) {
            for (at, column) in batch(&rows, shares).columns().iter().take(4).enumerate() {
                let alike = |left: &Row, right: &Row| match at {
                    0 => left.0 == right.0,
                    1 => left.1 == right.1,
                    2 => left.2 == right.2,
                    _ => left.3 == right.3,
                };
                let expected: Vec<bool> = (0..rows.len()).map(|row| row > 0 && alike(&rows[row - 1], &rows[row])).collect();
                prop_assert_eq!(as_before(column).unwrap().iter().collect::<Vec<_>>(), expected);
            }
        }
    }

    #[test]
    fn rows_are_left_out_where_each_tells_no_more() {
        let session = session(vec![batch(&[(Some(1), None, None, None, 0)], true)], true);
        let plan = |sql: &str| ask(&session, &format!("EXPLAIN {sql}"));
        for sql in ONCE {
            assert!(plan(sql).contains("differs from the row before in (visit@"), "{}", plan(sql));
        }
        for sql in OF_EACH {
            assert!(!plan(sql).contains("differs"), "{}", plan(sql));
        }
    }

    #[test]
    fn where_few_would_be_left_out_none_is() {
        let answer = |visits: &[u8]| {
            let rows: Vec<Row> = visits.iter().map(|visit| (Some(*visit), None, None, None, 0)).collect();
            Differs(vec![Arc::new(Column::new("visit", 0))]).evaluate(&batch(&rows, true)).unwrap()
        };
        let mut visits: Vec<u8> = (0..16).collect();
        visits[5] = 4;
        assert!(matches!(answer(&visits), ColumnarValue::Scalar(_)));
        visits[9] = 8;
        let ColumnarValue::Array(differs) = answer(&visits) else { panic!("an eighth is left out") };
        assert_eq!(differs.as_boolean().iter().map(Option::unwrap).filter(|differs| !differs).count(), 2);
    }
}
