//! Owns how a question groups rows by their day alone: a file's rows are all of one, so that a batch is counted into
//! its day at once, where DataFusion looks every row's group up.
//!
//! Knows DataFusion's physical plans. Promises: it gives what the partial aggregate gives that it stands for, of any
//! rows, wherever their days change; just slower where they change often. Holds an account for each day, of aggregates
//! that take up a few bytes each. Never sees a file.

use super::columns::DAY;
use arrow::array::{Array, ArrayRef, BooleanArray, RecordBatch, RecordBatchOptions, new_empty_array};
use arrow::compute::{filter, partition, prep_null_mask_filter};
use arrow::datatypes::Schema;
use datafusion::common::cast::as_boolean_array;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{Result, ScalarValue, internal_datafusion_err};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::logical_expr::Accumulator;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::utils::collect_columns;
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::aggregates::{AggregateExec, AggregateMode};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{ChildrenPropertiesMode, DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties, ReplaceChildrenOptions};
use futures::StreamExt;
use std::fmt;
use std::sync::Arc;

/// The rule that puts `ByDays` in place of partial aggregates.
pub fn rule() -> Arc<dyn PhysicalOptimizerRule + Send + Sync> {
    Arc::new(InDays)
}

#[derive(Debug)]
struct InDays;

impl PhysicalOptimizerRule for InDays {
    fn optimize(&self, plan: Arc<dyn ExecutionPlan>, _: &ConfigOptions) -> Result<Arc<dyn ExecutionPlan>> {
        let changed = plan.transform_up(|node| {
            let by_days = node.downcast_ref::<AggregateExec>().filter(|whole| is_by_days(whole)).map(|whole| ByDays { whole: Arc::new(whole.clone()) });
            Ok(by_days.map_or(Transformed::no(node), |by_days| Transformed::yes(Arc::new(by_days) as _)))
        })?;
        Ok(changed.data)
    }

    fn name(&self) -> &'static str {
        "InDays"
    }

    fn schema_check(&self) -> bool {
        true
    }
}

/// Whether its groups are days, or follow from them, and its aggregates take up little.
fn is_by_days(whole: &AggregateExec) -> bool {
    let groups = whole.group_expr();
    let of_day = |expression: &Arc<dyn PhysicalExpr>| collect_columns(expression).iter().all(|column| column.name() == DAY.name);
    // `avg` is small too, but DataFusion's (55) hands on a count of none where its groups' expects null, and makes NaN of it.
    let is_small = |name: &str| matches!(name, "count" | "sum" | "min" | "max");
    *whole.mode() == AggregateMode::Partial
        && groups.is_single()
        && !groups.expr().is_empty()
        && groups.expr().iter().all(|(group, _)| of_day(group))
        && whole.limit_options().is_none()
        && whole.aggr_expr().iter().all(|aggregate| is_small(aggregate.fun().name()) && !aggregate.is_distinct() && aggregate.order_bys().is_empty())
}

/// A partial aggregate by days.
#[derive(Debug)]
struct ByDays {
    /// What it stands for, and all but its work follows from.
    whole: Arc<AggregateExec>,
}

impl ExecutionPlan for ByDays {
    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let rows = self.whole.input().execute(partition, context)?;
        let counted = futures::stream::once(counted(self.whole.clone(), rows));
        Ok(Box::pin(RecordBatchStreamAdapter::new(self.whole.schema(), counted)))
    }

    fn name(&self) -> &'static str {
        "ByDays"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        self.whole.properties()
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![self.whole.input()]
    }

    fn with_new_children(self: Arc<Self>, children: Vec<Arc<dyn ExecutionPlan>>) -> Result<Arc<dyn ExecutionPlan>> {
        let whole = self.whole.clone().replace_children(children, ReplaceChildrenOptions::new(ChildrenPropertiesMode::Recompute))?;
        let whole = whole.downcast_ref::<AggregateExec>().ok_or_else(|| internal_datafusion_err!("an aggregate of other rows is an aggregate"))?;
        Ok(Arc::new(Self { whole: Arc::new(whole.clone()) }))
    }

    fn apply_expressions(&self, each: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>) -> Result<TreeNodeRecursion> {
        self.whole.apply_expressions(each)
    }
}

impl DisplayAs for ByDays {
    fn fmt_as(&self, format: DisplayFormatType, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("ByDays: ")?;
        self.whole.fmt_as(format, formatter)
    }
}

/// A group's aggregates so far.
struct Account {
    key: Vec<ScalarValue>,
    aggregates: Vec<Box<dyn Accumulator>>,
}

async fn counted(whole: Arc<AggregateExec>, mut rows: SendableRecordBatchStream) -> Result<RecordBatch> {
    let mut accounts: Vec<Account> = Vec::new();
    while let Some(batch) = rows.next().await.transpose()? {
        let keys = evaluated(whole.group_expr().expr().iter().map(|(key, _)| key), &batch)?;
        for days in partition(&keys)?.ranges() {
            let key = keys.iter().map(|column| ScalarValue::try_from_array(column, days.start)).collect::<Result<Vec<_>>>()?;
            let account = account_of(&mut accounts, key, &whole)?;
            count(account, &whole, &batch.slice(days.start, days.len()))?;
        }
    }
    answer(accounts, &whole.schema())
}

fn account_of<'a>(accounts: &'a mut Vec<Account>, key: Vec<ScalarValue>, whole: &AggregateExec) -> Result<&'a mut Account> {
    // A file's batches come one after the other, so that the newest account is nearly always the one.
    let at = match accounts.iter().rposition(|account| account.key == key) {
        Some(at) => at,
        None => {
            let aggregates = whole.aggr_expr().iter().map(|aggregate| aggregate.create_accumulator()).collect::<Result<_>>()?;
            accounts.push(Account { key, aggregates });
            accounts.len() - 1
        }
    };
    accounts.get_mut(at).ok_or_else(|| internal_datafusion_err!("an account that was found is there"))
}

/// Counts rows of one group into its account.
fn count(account: &mut Account, whole: &AggregateExec, rows: &RecordBatch) -> Result<()> {
    for ((account, aggregate), chosen) in account.aggregates.iter_mut().zip(whole.aggr_expr()).zip(whole.filter_expr()) {
        let arguments = aggregate.expressions();
        let values = match chosen {
            None => evaluated(&arguments, rows)?,
            Some(chosen) => evaluated_where(&arguments, &holds(chosen, rows)?, rows)?,
        };
        account.update_batch(&values)?;
    }
    Ok(())
}

fn evaluated<'e>(expressions: impl IntoIterator<Item = &'e Arc<dyn PhysicalExpr>>, rows: &RecordBatch) -> Result<Vec<ArrayRef>> {
    expressions.into_iter().map(|expression| expression.evaluate(rows)?.into_array(rows.num_rows())).collect()
}

/// Where a filter holds; not where it is null.
fn holds(chosen: &Arc<dyn PhysicalExpr>, rows: &RecordBatch) -> Result<BooleanArray> {
    let held = chosen.evaluate(rows)?.into_array(rows.num_rows())?;
    let held = as_boolean_array(&held)?;
    Ok(if held.null_count() == 0 { held.clone() } else { prep_null_mask_filter(held) })
}

fn evaluated_where(expressions: &[Arc<dyn PhysicalExpr>], chosen: &BooleanArray, rows: &RecordBatch) -> Result<Vec<ArrayRef>> {
    expressions.iter().map(|expression| {
        if collect_columns(expression).is_empty() {
            // `count(*)` looks at no row: so many of none are enough.
            let rows = RecordBatch::try_new_with_options(Arc::new(Schema::empty()), Vec::new(), &RecordBatchOptions::new().with_row_count(Some(chosen.true_count())))?;
            return expression.evaluate(&rows)?.into_array(rows.num_rows());
        }
        Ok(filter(&expression.evaluate(rows)?.into_array(rows.num_rows())?, chosen)?)
    }).collect()
}

/// A row for each group: its key, and what each of its aggregates hands on.
fn answer(accounts: Vec<Account>, schema: &Arc<Schema>) -> Result<RecordBatch> {
    let mut columns: Vec<Vec<ScalarValue>> = schema.fields().iter().map(|_| Vec::with_capacity(accounts.len())).collect();
    for Account { key, mut aggregates } in accounts {
        let mut row = key;
        for aggregate in &mut aggregates {
            row.extend(aggregate.state()?);
        }
        for (column, value) in columns.iter_mut().zip(row) {
            column.push(value);
        }
    }
    let columns = columns.into_iter().zip(schema.fields()).map(|(values, field)| match values.is_empty() {
        true => Ok(new_empty_array(field.data_type())),
        false => ScalarValue::iter_to_array(values),
    });
    Ok(RecordBatch::try_new(schema.clone(), columns.collect::<Result<_>>()?)?)
}

#[cfg(test)]
mod tests {
    use super::rule;
    use arrow::array::{Date32Array, Int32Array, RecordBatch, StringArray};
    use arrow::datatypes::{DataType, Field, Schema};
    use arrow::util::pretty::pretty_format_batches;
    use datafusion::datasource::MemTable;
    use datafusion::execution::SessionStateBuilder;
    use datafusion::physical_optimizer::optimizer::PhysicalOptimizer;
    use datafusion::prelude::{SessionConfig, SessionContext};
    use proptest::prelude::*;
    use std::sync::Arc;

    type Row = (Option<i32>, Option<&'static str>, Option<i32>);

    fn session(files: &[Vec<Vec<Row>>], is_by_days: bool) -> SessionContext {
        let rules = PhysicalOptimizer::new().rules.into_iter().chain(is_by_days.then(rule)).collect();
        let config = SessionConfig::new().with_target_partitions(2);
        let state = SessionStateBuilder::new().with_config(config).with_default_features().with_physical_optimizer_rules(rules);
        let context = SessionContext::new_with_state(state.build());
        let field = |name, of| Field::new(name, of, true);
        let schema = Arc::new(Schema::new(vec![field("day", DataType::Date32), field("event", DataType::Utf8), field("n", DataType::Int32)]));
        let batch = |rows: &Vec<Row>| {
            let days = rows.iter().map(|row| row.0).collect::<Date32Array>();
            let events = rows.iter().map(|row| row.1).collect::<StringArray>();
            let numbers = rows.iter().map(|row| row.2).collect::<Int32Array>();
            RecordBatch::try_new(schema.clone(), vec![Arc::new(days), Arc::new(events), Arc::new(numbers)]).unwrap()
        };
        let files: Vec<Vec<RecordBatch>> = files.iter().map(|rows| rows.iter().map(batch).collect()).collect();
        let table = MemTable::try_new(schema, files).unwrap();
        context.register_table("rows", Arc::new(table)).unwrap();
        context
    }

    fn ask(context: &SessionContext, sql: &str) -> String {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let batches = runtime.block_on(async { context.sql(sql).await.unwrap().collect().await.unwrap() });
        pretty_format_batches(&batches).unwrap().to_string()
    }

    fn rows() -> impl Strategy<Value = Vec<Row>> {
        let day = prop_oneof![3 => Just(Some(1)), 2 => Just(Some(2)), 1 => Just(Some(40)), 1 => Just(None)];
        let event = prop::sample::select(vec![Some("click"), Some("page_view"), None]);
        prop::collection::vec((day, event, prop::option::of(-9..9)), 0..20)
    }

    const ALL: &str = "SELECT day, count(*), count(n), count(*) FILTER (WHERE event = 'click'), count(n) FILTER (WHERE n > 3), \
                       sum(n) FILTER (WHERE n <> 3), min(event), max(n) FILTER (WHERE event IS NULL) FROM rows GROUP BY day ORDER BY day";

    proptest! {
        #[test]
        fn answers_are_those_of_datafusion(files in prop::collection::vec(prop::collection::vec(rows(), 0..4), 2..4)) {
            let (ours, theirs) = (session(&files, true), session(&files, false));
            let by_month = ALL.replace("SELECT day", "SELECT date_trunc('month', day)").replace("BY day", "BY 1");
            for sql in [ALL, &by_month] {
                let plan = ask(&ours, &format!("EXPLAIN {sql}"));
                prop_assert!(plan.contains("ByDays"), "{}", plan);
                prop_assert_eq!(ask(&ours, sql), ask(&theirs, sql), "{}", sql);
            }
        }
    }

    #[test]
    fn what_is_not_of_days_alone_or_takes_up_much_is_left_as_it_is() {
        let session = session(&[vec![vec![(Some(1), Some("click"), Some(1))]], Vec::new()], true);
        for sql in [
            "SELECT day, event, count(*) FROM rows GROUP BY day, event",
            "SELECT day, array_agg(n) FROM rows GROUP BY day",
            "SELECT day, avg(n) FROM rows GROUP BY day",
            "SELECT day, sum(DISTINCT n), count(DISTINCT event) FROM rows GROUP BY day",
            "SELECT count(*) FROM rows",
            "SELECT day, n, count(*) FROM rows GROUP BY ROLLUP (day, n)",
        ] {
            let plan = ask(&session, &format!("EXPLAIN {sql}"));
            assert!(plan.contains("Aggregate") && !plan.contains("ByDays"), "{plan}");
        }
    }
}
