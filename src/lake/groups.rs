//! Owns how a question groups rows where much of a row is the same as of the rows before it: in place of DataFusion's
//! partial aggregate, which looks every row's group up, stands one that does so once for each day (`lake::days`), or
//! once for each different row of a batch (`lake::few`).
//!
//! Knows DataFusion's physical plans. Promises: what it gives is what the partial aggregate would give that it stands
//! for, of any rows. Never sees a file.

use super::chosen::{self, Source};
use super::{days, few};
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{Result, internal_datafusion_err};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::aggregates::{AggregateExec, AggregateMode};
use datafusion::physical_plan::filter::{FilterExec, FilterExecBuilder};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{ChildrenPropertiesMode, DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties, ReplaceChildrenOptions};
use std::fmt;
use std::sync::Arc;

/// The rule that puts `Partial` in place of partial aggregates.
pub fn rule() -> Arc<dyn PhysicalOptimizerRule + Send + Sync> {
    Arc::new(InGroups(few::Most::default()))
}

#[derive(Debug)]
struct InGroups(few::Most);

impl PhysicalOptimizerRule for InGroups {
    fn optimize(&self, plan: Arc<dyn ExecutionPlan>, _: &ConfigOptions) -> Result<Arc<dyn ExecutionPlan>> {
        let changed = plan.transform_up(|node| {
            let partial = node.downcast_ref::<AggregateExec>().and_then(|whole| Partial::of(whole, self.0));
            Ok(partial.map_or(Transformed::no(node), |partial| Transformed::yes(Arc::new(partial) as _)))
        })?;
        Ok(changed.data)
    }

    fn name(&self) -> &'static str {
        "InGroups"
    }

    fn schema_check(&self) -> bool {
        true
    }
}

/// A partial aggregate.
#[derive(Debug)]
struct Partial {
    /// What it stands for, and all but its work follows from.
    whole: Arc<AggregateExec>,
    /// What its rows are filtered by, where that is asked here.
    filter: Option<Arc<FilterExec>>,
    way: Way,
}

impl Partial {
    fn of(whole: &AggregateExec, most: few::Most) -> Option<Self> {
        let way = Way::of(whole, most)?;
        let groups = whole.group_expr().expr().iter().map(|(group, _)| group.clone());
        let counted = whole.aggr_expr().iter().flat_map(|aggregate| aggregate.expressions());
        let asked = groups.chain(counted).chain(whole.filter_expr().iter().flatten().cloned());
        let rows = whole.input().schema();
        let filter = chosen::filter_of(whole.input()).filter(|_| asked.into_iter().all(|expression| chosen::cannot_fail(&expression, &rows)));
        Some(Self { whole: Arc::new(whole.clone()), filter, way })
    }

    fn input(&self) -> &Arc<dyn ExecutionPlan> {
        self.filter.as_ref().map_or_else(|| self.whole.input(), |filter| filter.input())
    }
}

#[derive(Debug, Clone, Copy)]
enum Way {
    Days,
    Few(few::Most),
}

impl Way {
    /// The way to count what `whole` does, where there is one.
    fn of(whole: &AggregateExec, most: few::Most) -> Option<Self> {
        let groups = whole.group_expr();
        let is_plain = *whole.mode() == AggregateMode::Partial
            && groups.is_single()
            && !groups.expr().is_empty()
            && whole.limit_options().is_none()
            && whole.aggr_expr().iter().all(|aggregate| !aggregate.is_distinct() && aggregate.order_bys().is_empty());
        match is_plain {
            true if days::applies(whole) => Some(Self::Days),
            true if few::applies(whole) => Some(Self::Few(most)),
            true | false => None,
        }
    }
}

impl ExecutionPlan for Partial {
    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let rows = Source::new(self.input().execute(partition, context)?, self.filter.clone());
        let (whole, schema) = (self.whole.clone(), self.whole.schema());
        Ok(match self.way {
            Way::Days => Box::pin(RecordBatchStreamAdapter::new(schema, futures::stream::once(days::counted(whole, rows)))),
            Way::Few(most) => Box::pin(RecordBatchStreamAdapter::new(schema, few::counted(whole, rows, most)?)),
        })
    }

    fn name(&self) -> &'static str {
        match self.way {
            Way::Days => "ByDays",
            Way::Few(_) => "ByFew",
        }
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        self.whole.properties()
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![self.input()]
    }

    fn with_new_children(self: Arc<Self>, mut children: Vec<Arc<dyn ExecutionPlan>>) -> Result<Arc<dyn ExecutionPlan>> {
        let Some(mut input) = children.pop() else { return Ok(self) };
        let filter = self.filter.as_ref().map(|filter| FilterExecBuilder::from(filter.as_ref()).with_input(input.clone()).build()).transpose()?.map(Arc::new);
        if let Some(filter) = &filter {
            input = filter.clone();
        }
        let whole = self.whole.clone().replace_children(vec![input], ReplaceChildrenOptions::new(ChildrenPropertiesMode::Recompute))?;
        let whole = whole.downcast_ref::<AggregateExec>().ok_or_else(|| internal_datafusion_err!("an aggregate of other rows is an aggregate"))?;
        Ok(Arc::new(Self { whole: Arc::new(whole.clone()), filter, way: self.way }))
    }

    fn apply_expressions(&self, each: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>) -> Result<TreeNodeRecursion> {
        self.whole.apply_expressions(each)
    }
}

impl DisplayAs for Partial {
    fn fmt_as(&self, format: DisplayFormatType, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}: ", self.name())?;
        self.whole.fmt_as(format, formatter)?;
        match &self.filter {
            Some(filter) => write!(formatter, ", where {}", filter.predicate()),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{InGroups, rule};
    use crate::hit::field::Id;
    use crate::lake::few::Most;
    use crate::lake::{ids, runs};
    use arrow::array::{Date32Array, Int32Array, RecordBatch, StringViewArray};
    use arrow::datatypes::{DataType, Field, Schema};
    use arrow::util::pretty::pretty_format_batches;
    use datafusion::datasource::MemTable;
    use datafusion::execution::SessionStateBuilder;
    use datafusion::physical_optimizer::PhysicalOptimizerRule;
    use datafusion::physical_optimizer::optimizer::PhysicalOptimizer;
    use datafusion::prelude::{SessionConfig, SessionContext};
    use proptest::prelude::*;
    use std::sync::Arc;

    /// A day, an event, a page and a number.
    type Row = (Option<i32>, Option<&'static str>, Option<&'static str>, Option<i32>);

    fn session(files: &[Vec<Vec<Row>>], ours: Option<Arc<dyn PhysicalOptimizerRule + Send + Sync>>) -> SessionContext {
        let rules = PhysicalOptimizer::new().rules.into_iter().chain(ours).collect();
        let config = SessionConfig::new().with_target_partitions(2);
        let state = SessionStateBuilder::new().with_config(config).with_default_features().with_physical_optimizer_rules(rules);
        let context = SessionContext::new_with_state(state.build());
        let field = |name, of| Field::new(name, of, true);
        let schema = Arc::new(Schema::new(vec![
            field("day", DataType::Date32),
            field("event", DataType::Utf8View),
            field("page", DataType::Utf8View),
            field("n", DataType::Int32),
        ]));
        let batch = |rows: &Vec<Row>| {
            let days = rows.iter().map(|row| row.0).collect::<Date32Array>();
            let events = rows.iter().map(|row| row.1).collect::<StringViewArray>();
            let pages = rows.iter().map(|row| row.2).collect::<StringViewArray>();
            let numbers = rows.iter().map(|row| row.3).collect::<Int32Array>();
            RecordBatch::try_new(schema.clone(), vec![Arc::new(days), Arc::new(events), Arc::new(pages), Arc::new(numbers)]).unwrap()
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
        // Short enough for a view, too long for one with the same beginning, and none.
        let page = prop::sample::select(vec![Some(""), Some("/a"), Some("/products/of/ours/7"), Some("/products/of/ours/8"), None]);
        prop::collection::vec((day, event, page, prop::option::of(-9..9)), 0..20)
    }

    fn files() -> impl Strategy<Value = Vec<Vec<Vec<Row>>>> {
        prop::collection::vec(prop::collection::vec(rows(), 0..4), 2..4)
    }

    const COUNTS: &str = "count(*), count(n), count(*) FILTER (WHERE event = 'click'), count(n) FILTER (WHERE n > 3), \
                          sum(n) FILTER (WHERE n <> 3), min(event), max(n) FILTER (WHERE event IS NULL)";

    const FILTER: &str = "WHERE n > -5 AND (event = 'click' OR page IS NULL OR event <> 'page_view')";

    #[test]
    fn a_filter_is_asked_beside_the_rows_where_nothing_can_fail_in_those_it_leaves_out() {
        let rows = vec![(Some(1), Some("click"), Some("/a"), Some(0)), (Some(1), Some("click"), Some("/a"), Some(2))];
        let session = session(&[vec![rows], Vec::new()], Some(rule()));
        for (sql, is_beside) in [
            ("SELECT page, sum(n) FROM rows WHERE n <> 0 GROUP BY page", true),
            ("SELECT page, sum(4 / n) FROM rows WHERE n <> 0 GROUP BY page", false),
            ("SELECT day, count(*) FILTER (WHERE 4 / n = 2) FROM rows WHERE n <> 0 GROUP BY day", false),
            ("SELECT 4 / n, page, count(*) FROM rows WHERE n <> 0 GROUP BY 1, 2", false),
        ] {
            let plan = ask(&session, &format!("EXPLAIN {sql}"));
            assert!(plan.contains("ByFew") || plan.contains("ByDays"), "{plan}");
            assert_eq!(plan.contains(", where"), is_beside, "{plan}");
            let answer = ask(&session, sql);
            assert!(answer.lines().count() == 5, "one group: {answer}");
        }
    }

    proptest! {
        #[test]
        fn by_day_answers_are_those_of_datafusion(files in files()) {
            let (ours, theirs) = (session(&files, Some(rule())), session(&files, None));
            for (of_day, of) in [("day", ""), ("date_trunc('month', day)", ""), ("day", FILTER), ("date_trunc('month', day)", FILTER)] {
                let sql = format!("SELECT {of_day}, {COUNTS} FROM rows {of} GROUP BY 1 ORDER BY 1");
                let plan = ask(&ours, &format!("EXPLAIN {sql}"));
                prop_assert!(plan.contains("ByDays"), "{}", plan);
                prop_assert_eq!(ask(&ours, &sql), ask(&theirs, &sql), "{}", sql);
            }
        }

        #[test]
        fn by_text_answers_are_those_of_datafusion(files in files(), groups in 1..9_usize, bytes in prop_oneof![Just(1), Just(32_usize << 20)]) {
            let rule = Arc::new(InGroups(Most { groups, bytes }));
            let (ours, theirs) = (session(&files, Some(rule)), session(&files, None));
            for keys in ["page", "event, page", "day, page", "page, n, event", "date_trunc('week', day), event", "n + 1, page", "upper(page), n"] {
                let order: Vec<String> = (1..=keys.matches(", ").count() + 1 - keys.matches("', ").count()).map(|at| at.to_string()).collect();
                let order = order.join(", ");
                for of in ["", FILTER] {
                    let sql = format!("SELECT {keys}, {COUNTS}, avg(n) FROM rows {of} GROUP BY {order} ORDER BY {order}");
                    let plan = ask(&ours, &format!("EXPLAIN {sql}"));
                    prop_assert!(plan.contains("ByFew"), "{}", plan);
                    prop_assert_eq!(ask(&ours, &sql), ask(&theirs, &sql), "{}", sql);
                }
            }
            let distinct = "SELECT DISTINCT page, event FROM rows ORDER BY 1, 2";
            prop_assert_eq!(ask(&ours, distinct), ask(&theirs, distinct));
        }
    }

    /// A visit, a page and a number.
    type OfVisit = (Option<u8>, &'static str, Option<i32>);

    fn session_of_visits(batches: &[Vec<OfVisit>], ours: Option<Most>) -> SessionContext {
        let ours = ours.map(|most| [runs::rule(), Arc::new(InGroups(most)) as _]);
        let rules = PhysicalOptimizer::new().rules.into_iter().chain(ours.into_iter().flatten()).collect();
        let state = SessionStateBuilder::new().with_config(SessionConfig::new().with_target_partitions(2)).with_default_features();
        let context = SessionContext::new_with_state(state.with_optimizer_rules(ids::rules()).with_physical_optimizer_rules(rules).build());
        let fields = vec![ids::marked(Field::new("visit", DataType::Utf8View, true)), Field::new("page", DataType::Utf8View, false), Field::new("n", DataType::Int32, true)];
        let schema = Arc::new(Schema::new(fields));
        let batch = |rows: &Vec<OfVisit>| {
            let visits: StringViewArray = rows.iter().map(|row| row.0.map(|visit| Id([visit; 16]).to_string())).collect();
            let pages: StringViewArray = rows.iter().map(|row| Some(row.1)).collect();
            let numbers: Int32Array = rows.iter().map(|row| row.2).collect();
            RecordBatch::try_new(schema.clone(), vec![Arc::new(visits), Arc::new(pages), Arc::new(numbers)]).unwrap()
        };
        let table = MemTable::try_new(schema.clone(), vec![batches.iter().map(batch).collect(), Vec::new()]).unwrap();
        context.register_table("rows", Arc::new(table)).unwrap();
        context
    }

    proptest! {
        #[test]
        fn by_id_answers_are_those_of_datafusion(
            batches in prop::collection::vec(prop::collection::vec((prop::option::weighted(0.9, any::<u8>().prop_map(|byte| byte % 5 * 51)), prop::sample::select(vec!["/a", "/products/of/ours/7"]), prop::option::of(-9..9)), 1..20), 1..4),
            groups in 1..9_usize,
        ) {
            let (ours, theirs) = (session_of_visits(&batches, Some(Most { groups, bytes: 32 << 20 })), session_of_visits(&batches, None));
            for (sql, is_counted_here) in [
                ("SELECT visit, count(*), sum(n), avg(n) FROM rows GROUP BY visit ORDER BY 1", true),
                ("SELECT visit, page, count(n) FILTER (WHERE n > 1), max(n) FROM rows WHERE page <> '/a' OR n > 0 GROUP BY 1, 2 ORDER BY 1, 2", true),
                ("SELECT count(*) FROM (SELECT visit FROM rows GROUP BY visit HAVING sum(n) FILTER (WHERE page = '/a') < max(n))", true),
                ("SELECT page, count(DISTINCT visit) FROM rows GROUP BY page ORDER BY 1", false),
                ("SELECT visit, min(n), max(page) FROM rows GROUP BY visit ORDER BY 1", false),
            ] {
                let plan = ask(&ours, &format!("EXPLAIN {sql}"));
                let is_by_bytes = plan.lines().any(|line| line.contains("ByFew") && line.contains("bytes_of_id"));
                prop_assert_eq!((is_by_bytes, plan.contains("differs from the row before")), (is_counted_here, !is_counted_here), "{}", plan);
                prop_assert_eq!(ask(&ours, sql), ask(&theirs, sql), "{}", sql);
            }
        }
    }

    #[test]
    fn what_is_of_other_groups_or_takes_up_much_is_left_as_it_is() {
        let session = session(&[vec![vec![(Some(1), Some("click"), Some("/a"), Some(1))]], Vec::new()], Some(rule()));
        for sql in [
            "SELECT n, count(*) FROM rows GROUP BY n",
            "SELECT page, array_agg(n) FROM rows GROUP BY page",
            "SELECT day, array_agg(n) FROM rows GROUP BY day",
            "SELECT page, count(*), n > 1 FROM rows GROUP BY page, n > 1",
            "SELECT day, avg(n) FROM rows GROUP BY day",
            "SELECT day, sum(DISTINCT n), count(DISTINCT event) FROM rows GROUP BY day",
            "SELECT count(*) FROM rows",
            "SELECT page, n, count(*) FROM rows GROUP BY ROLLUP (page, n)",
        ] {
            let plan = ask(&session, &format!("EXPLAIN {sql}"));
            assert!(plan.contains("Aggregate") && !plan.contains("ByDays") && !plan.contains("ByFew"), "{plan}");
        }
    }
}
