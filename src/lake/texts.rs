//! Owns how a question compares texts: by the sixteen bytes of a view, and, where looking into a text is dear, each
//! different text of a batch once.
//!
//! Knows Arrow's view layout, and DataFusion's physical plans. A text of up to twelve bytes is all in its view, so
//! that two such texts are the same where their views are; a longer one's view has its length, its first four bytes and
//! where it lies, and rows that Parquet's dictionary gave the same text have the same view. Promises: an expression
//! answers as the one it stands for does, and is written like it. Never sees a file.

use arrow::array::{Array, AsArray, BooleanArray, RecordBatch, StringViewArray, UInt32Array, make_view};
use arrow::buffer::{BooleanBuffer, Buffer};
use arrow::compute::take;
use arrow::datatypes::{DataType, FieldRef, Schema};
use datafusion::common::Result;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::logical_expr::{ColumnarValue, Operator};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::{BinaryExpr, Column, LikeExpr, Literal};
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_optimizer::optimizer::PhysicalOptimizer;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::aggregates::AggregateExec;
use datafusion::physical_plan::filter::{FilterExec, FilterExecBuilder};
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

/// DataFusion's rules for plans, and ours after the one that hands filters to Parquet: its statistics and bloom
/// filters are asked with the expressions as they were.
pub fn rules() -> Vec<Arc<dyn PhysicalOptimizerRule + Send + Sync>> {
    let mut rules = PhysicalOptimizer::new().rules;
    let handed = rules.iter().position(|rule| rule.name() == "FilterPushdown");
    rules.insert(handed.map_or(0, |at| at + 1), Arc::new(ByViews));
    rules
}

/// Puts `ByView` in place of comparisons, where rows are filtered and where aggregates are.
#[derive(Debug)]
struct ByViews;

impl PhysicalOptimizerRule for ByViews {
    fn optimize(&self, plan: Arc<dyn ExecutionPlan>, _: &ConfigOptions) -> Result<Arc<dyn ExecutionPlan>> {
        let changed = plan.transform_up(|node| {
            let new: Option<Arc<dyn ExecutionPlan>> = if let Some(filter) = node.downcast_ref::<FilterExec>() {
                filtered(filter)?.map(|new| Arc::new(new) as _)
            } else if let Some(aggregate) = node.downcast_ref::<AggregateExec>() {
                aggregated(aggregate)?.map(|new| Arc::new(new) as _)
            } else {
                None
            };
            Ok(new.map_or(Transformed::no(node), Transformed::yes))
        })?;
        Ok(changed.data)
    }

    fn name(&self) -> &'static str {
        "ByViews"
    }

    fn schema_check(&self) -> bool {
        true
    }
}

fn filtered(filter: &FilterExec) -> Result<Option<FilterExec>> {
    let predicate = by_views(filter.predicate(), &filter.input().schema())?;
    predicate.map(|predicate| FilterExecBuilder::from(filter).with_predicate(predicate).build()).transpose()
}

fn aggregated(aggregate: &AggregateExec) -> Result<Option<AggregateExec>> {
    let schema = aggregate.input_schema();
    let mut filters = aggregate.filter_expr().to_vec();
    let mut is_changed = false;
    for filter in filters.iter_mut().flatten() {
        if let Some(new) = by_views(filter, &schema)? {
            *filter = new;
            is_changed = true;
        }
    }
    if !is_changed {
        return Ok(None);
    }
    let new = AggregateExec::try_new(*aggregate.mode(), aggregate.group_expr().clone(), aggregate.aggr_expr().to_vec(), filters, aggregate.input().clone(), schema)?;
    Ok(Some(new.with_limit_options(aggregate.limit_options())))
}

/// The expression with `ByView` where it compares texts; `None` where it does not.
fn by_views(expression: &Arc<dyn PhysicalExpr>, schema: &Schema) -> Result<Option<Arc<dyn PhysicalExpr>>> {
    let changed = expression.clone().transform_up(|part| {
        let new = ByView::of(&part, |column| schema.fields().get(column).cloned());
        Ok(new.map_or(Transformed::no(part), |new| Transformed::yes(Arc::new(new))))
    })?;
    Ok(changed.transformed.then_some(changed.data))
}

/// Whether an expression compares a column with a text by views: it has an answer for every row.
pub fn is_by_view(expression: &Arc<dyn PhysicalExpr>) -> bool {
    expression.downcast_ref::<ByView>().is_some()
}

/// A comparison of a column with a text.
#[derive(Debug)]
struct ByView {
    /// What it stands for, and all else follows from.
    whole: Arc<dyn PhysicalExpr>,
    column: usize,
    field: FieldRef,
    way: Way,
}

#[derive(Debug)]
enum Way {
    /// Whether they are the same text.
    Same(String),
    /// Whether they are not.
    Other(String),
    /// What looks into the text: the comparison over a batch that has this column alone.
    Once(Arc<dyn PhysicalExpr>),
}

// By hand: what `derive` makes of a part behind `dyn` does not compile (rust-lang/rust#78808).
impl PartialEq for ByView {
    fn eq(&self, other: &Self) -> bool {
        self.whole.eq(&other.whole) && self.field == other.field
    }
}

impl Eq for ByView {}

impl Hash for ByView {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.whole.hash(state);
    }
}

impl ByView {
    /// `None` where `whole` is no comparison of a column of views with a text.
    fn of(whole: &Arc<dyn PhysicalExpr>, field: impl FnOnce(usize) -> Option<FieldRef>) -> Option<Self> {
        let (column, way) = if let Some(like) = whole.downcast_ref::<LikeExpr>() {
            text_of(like.pattern())?;
            (like.expr(), None)
        } else {
            let binary = whole.downcast_ref::<BinaryExpr>()?;
            let (column, text) = match (text_of(binary.left()), text_of(binary.right())) {
                (None, Some(text)) => (binary.left(), text),
                // `'x' ~ pattern` looks into what stands on the left.
                (Some(text), None) if matches!(binary.op(), Operator::Eq | Operator::NotEq) => (binary.right(), text),
                (Some(_), _) | (None, None) => return None,
            };
            match binary.op() {
                Operator::Eq => (column, Some(Way::Same(text.to_owned()))),
                Operator::NotEq => (column, Some(Way::Other(text.to_owned()))),
                Operator::RegexMatch | Operator::RegexIMatch | Operator::RegexNotMatch | Operator::RegexNotIMatch => (column, None),
                _ => return None,
            }
        };
        let column = column.downcast_ref::<Column>()?;
        let field = field(column.index()).filter(|field| *field.data_type() == DataType::Utf8View)?;
        let way = match way {
            Some(way) => way,
            None => Way::Once(of_first_column(whole)?),
        };
        Some(Self { whole: whole.clone(), column: column.index(), field, way })
    }
}

fn text_of(expression: &Arc<dyn PhysicalExpr>) -> Option<&str> {
    expression.downcast_ref::<Literal>()?.value().try_as_str().flatten()
}

/// The expression over a batch in which its one column is the first.
fn of_first_column(expression: &Arc<dyn PhysicalExpr>) -> Option<Arc<dyn PhysicalExpr>> {
    let changed = expression.clone().transform_up(|part| {
        let new = part.downcast_ref::<Column>().map(|column| Arc::new(Column::new(column.name(), 0)) as Arc<dyn PhysicalExpr>);
        Ok(new.map_or(Transformed::no(part), Transformed::yes))
    });
    changed.ok().map(|changed| changed.data)
}

impl PhysicalExpr for ByView {
    fn evaluate(&self, batch: &RecordBatch) -> Result<ColumnarValue> {
        let texts = batch.columns().get(self.column).and_then(|column| column.as_string_view_opt());
        let answers = match (texts, &self.way) {
            (Some(texts), Way::Same(text)) => Some(same(texts, text)),
            (Some(texts), Way::Other(text)) => Some(!&same(texts, text)),
            (Some(texts), Way::Once(alone)) => once(texts, alone, &self.field)?,
            (None, _) => None,
        };
        match (texts, answers) {
            (Some(texts), Some(answers)) => Ok(ColumnarValue::Array(Arc::new(BooleanArray::new(answers, texts.nulls().cloned())))),
            (_, None) | (None, _) => self.whole.evaluate(batch),
        }
    }

    fn data_type(&self, schema: &Schema) -> Result<DataType> {
        self.whole.data_type(schema)
    }

    fn nullable(&self, schema: &Schema) -> Result<bool> {
        self.whole.nullable(schema)
    }

    fn return_field(&self, schema: &Schema) -> Result<FieldRef> {
        self.whole.return_field(schema)
    }

    fn children(&self) -> Vec<&Arc<dyn PhysicalExpr>> {
        vec![&self.whole]
    }

    /// The column may have come to stand elsewhere.
    fn with_new_children(self: Arc<Self>, mut children: Vec<Arc<dyn PhysicalExpr>>) -> Result<Arc<dyn PhysicalExpr>> {
        let Some(whole) = children.pop() else { return Ok(self) };
        match Self::of(&whole, |_| Some(self.field.clone())) {
            Some(new) => Ok(Arc::new(new)),
            None => Ok(whole),
        }
    }

    fn fmt_sql(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.whole.fmt_sql(formatter)
    }
}

impl fmt::Display for ByView {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.whole.fmt(formatter)
    }
}

/// Which of `texts` are `text`; of nulls anything.
fn same(texts: &StringViewArray, text: &str) -> BooleanBuffer {
    let wanted = make_view(text.as_bytes(), 0, 0);
    if text.len() <= INLINE_BYTES_MAX {
        return answered(texts.views(), |view| view == wanted);
    }
    // Length and first four bytes.
    let begins = |view: u128| view as u64 == wanted as u64;
    // The view that was looked at last: Parquet's dictionary gives rows of the same text the same.
    let mut last = (0, false);
    BooleanBuffer::collect_bool(texts.len(), |row| {
        let view = texts.views()[row];
        // A null may have the view that its text had before.
        if !begins(view) || texts.is_null(row) {
            return false;
        }
        if last.0 != view {
            last = (view, texts.value(row) == text);
        }
        last.1
    })
}

/// Of so many bytes a text is in its view (Arrow columnar format, variable-size binary view layout).
const INLINE_BYTES_MAX: usize = 12;

/// The answer of each view, by words of 64.
fn answered(views: &[u128], is_so: impl Fn(u128) -> bool) -> BooleanBuffer {
    let bytes = |views: &[u128]| views.iter().enumerate().fold(0, |byte, (bit, view)| byte | u64::from(is_so(*view)) << bit);
    let words = views.chunks(64).map(|views| views.chunks(8).enumerate().fold(0, |word, (byte, views)| word | bytes(views) << (8 * byte)));
    BooleanBuffer::new(Buffer::from_vec(words.collect::<Vec<u64>>()), 0, views.len())
}

/// The answers of `alone` to each different text of `texts`, and by them of all; of nulls anything. `None` where there
/// are too many different ones for this to pay, or none.
fn once(texts: &StringViewArray, alone: &Arc<dyn PhysicalExpr>, field: &FieldRef) -> Result<Option<BooleanBuffer>> {
    let Some((firsts, numbers)) = numbered(texts) else { return Ok(None) };
    let different = take(texts, &UInt32Array::from(firsts), None)?;
    let count = different.len();
    let batch = RecordBatch::try_new(Arc::new(Schema::new(vec![field.clone()])), vec![different])?;
    let answers = alone.evaluate(&batch)?.into_array(count)?;
    let Some(answers) = answers.as_boolean_opt().filter(|answers| answers.null_count() == 0) else { return Ok(None) };
    let answers: Vec<bool> = answers.values().iter().collect();
    Ok(Some(BooleanBuffer::collect_bool(numbers.len(), |row| answers[usize::from(numbers[row])])))
}

/// In which row each different view is first, and its number among these, row by row; nulls have the first's.
fn numbered(texts: &StringViewArray) -> Option<(Vec<u32>, Vec<u16>)> {
    let views = texts.views();
    let (mut firsts, mut numbers) = (Vec::new(), Vec::with_capacity(views.len()));
    // One more than the number; 0 = free.
    let mut places = [0_u16; PLACES];
    for (row, view) in views.iter().enumerate() {
        if texts.is_null(row) {
            numbers.push(0);
            continue;
        }
        let mut place = place_of(*view);
        let number = loop {
            match places[place].checked_sub(1) {
                None if firsts.len() == DIFFERENT_MAX => return None,
                None => {
                    let number = u16::try_from(firsts.len()).ok()?;
                    firsts.push(u32::try_from(row).ok()?);
                    places[place] = number + 1;
                    break number;
                }
                Some(number) if views[firsts[usize::from(number)] as usize] == *view => break number,
                Some(_) => place = (place + 1) % PLACES,
            }
        };
        numbers.push(number);
    }
    if firsts.is_empty() { None } else { Some((firsts, numbers)) }
}

/// A batch has 8,192 rows: where more than a fourth of them differ, too little is spared. A place for each two of
/// these is free, and 8 KiB lie on the stack.
const DIFFERENT_MAX: usize = 2_048;
const PLACES: usize = 2 * DIFFERENT_MAX;

/// Fibonacci hashing (Knuth, TAOCP 3, 6.4): the upper bits of a product with 2^64 over the golden ratio.
const fn place_of(view: u128) -> usize {
    let mixed = (view as u64 ^ (view >> 64) as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (mixed >> (u64::BITS - PLACES.trailing_zeros())) as usize
}

#[cfg(test)]
mod tests {
    use super::{ByView, DIFFERENT_MAX, by_views, numbered, rules};
    use arrow::array::{ArrayRef, AsArray, BooleanArray, Int64Array, RecordBatch, StringViewArray, UInt32Array};
    use arrow::compute::{nullif, take};
    use arrow::datatypes::{DataType, Field, Schema};
    use datafusion::execution::SessionStateBuilder;
    use datafusion::logical_expr::{Expr, col, lit, not};
    use datafusion::common::{ScalarValue, ToDFSchema};
    use datafusion::prelude::SessionContext;
    use proptest::prelude::*;
    use std::sync::Arc;

    fn session() -> SessionContext {
        SessionContext::new_with_state(SessionStateBuilder::new().with_default_features().with_physical_optimizer_rules(rules()).build())
    }

    /// The rows with every `nth` text made null, its view left as it was.
    fn with_nulls(rows: &RecordBatch, nth: usize) -> RecordBatch {
        let nulls: BooleanArray = (0..rows.num_rows()).map(|row| Some(row % nth == 0)).collect();
        RecordBatch::try_new(rows.schema(), vec![rows.column(0).clone(), nullif(rows.column(1), &nulls).unwrap()]).unwrap()
    }

    /// Rows that take their texts from a dictionary as Parquet's do: those of the same text have the same view.
    fn rows(texts: &[Option<String>], of: &[u32]) -> RecordBatch {
        let dictionary: StringViewArray = texts.iter().map(Option::as_deref).collect();
        let texts = take(&dictionary, &UInt32Array::from(of.to_vec()), None).unwrap();
        let schema = Schema::new(vec![Field::new("number", DataType::Int64, true), Field::new("text", DataType::Utf8View, true)]);
        let numbers: ArrayRef = Arc::new(Int64Array::from_iter_values((0..of.len()).map(|row| row as i64)));
        RecordBatch::try_new(Arc::new(schema), vec![numbers, texts]).unwrap()
    }

    /// What `expression` answers by views, and as it is.
    fn both_ways(expression: Expr, rows: &RecordBatch) -> [ArrayRef; 2] {
        let schema = rows.schema().to_dfschema().unwrap();
        let whole = session().create_physical_expr(expression, &schema).unwrap();
        let by_views = by_views(&whole, &rows.schema()).unwrap().unwrap();
        assert_eq!(by_views.to_string(), whole.to_string());
        [by_views, whole].map(|expression| expression.evaluate(rows).unwrap().into_array(rows.num_rows()).unwrap())
    }

    /// A literal as a plan has it.
    fn view(text: &str) -> Expr {
        lit(ScalarValue::Utf8View(Some(text.to_owned())))
    }

    fn comparisons(text: &str) -> Vec<Expr> {
        let (column, text, parts) = (|| col("text"), || view(text), || view(&format!("%{text}%")));
        vec![
            column().eq(text()),
            text().eq(column()),
            column().not_eq(text()),
            not(column().eq(text())),
            column().eq(text()).and(col("number").gt(lit(3_i64))),
            column().like(parts()),
            column().not_like(parts()),
            column().ilike(parts()),
        ]
    }

    proptest! {
        #[test]
        fn answers_are_those_of_the_expression_itself(
            texts in proptest::collection::vec(proptest::option::weighted(0.9, "[ab]{0,3}|[ab]{11,14}|aaaa[ab]{9,20}"), 1..12),
            of in proptest::collection::vec(any::<u32>(), 0..200),
            wanted in any::<prop::sample::Index>(),
            other in "[ab]{0,14}",
            cut in 0..100_usize,
            nth in 1..4_usize,
        ) {
            let of: Vec<u32> = of.into_iter().map(|at| at % texts.len() as u32).collect();
            let rows = rows(&texts, &of);
            let cut = cut.min(rows.num_rows());
            let rows = rows.slice(cut, rows.num_rows() - cut);
            let holed = with_nulls(&rows, nth);
            for text in [wanted.get(&texts).clone().unwrap_or_default(), other] {
                for (comparison, rows) in comparisons(&text).into_iter().flat_map(|comparison| [(comparison.clone(), &rows), (comparison, &holed)]) {
                    let [by_views, whole] = both_ways(comparison.clone(), rows);
                    prop_assert_eq!(by_views.as_boolean(), whole.as_boolean(), "{}", comparison);
                }
            }
        }
    }

    #[test]
    fn a_null_that_had_a_text_does_not_answer_for_those_that_have_it() {
        let rows = with_nulls(&rows(&[Some("an event of a long name".to_owned())], &[0, 0, 0]), 2);
        let [by_views, whole] = both_ways(col("text").eq(view("an event of a long name")), &rows);
        assert_eq!(by_views.as_boolean(), whole.as_boolean());
        assert_eq!(by_views.as_boolean(), &BooleanArray::from(vec![None, Some(true), None]));
    }

    #[test]
    fn what_differs_in_too_many_rows_is_asked_for_each() {
        let texts: Vec<Option<String>> = (0..=DIFFERENT_MAX).map(|number| Some(format!("a text of the number {number}"))).collect();
        let all: Vec<u32> = (0..texts.len() as u32).collect();
        for (of, is_numbered) in [(&all[..], false), (&all[1..], true), (&[0, 1, 0, 1, 0][..], true), (&[][..], false)] {
            let rows = rows(&texts, of);
            assert_eq!(numbered(rows.column(1).as_string_view()).is_some(), is_numbered);
            let [by_views, whole] = both_ways(col("text").like(view("%number 1%")), &rows);
            assert_eq!(by_views.as_boolean(), whole.as_boolean());
        }
    }

    #[tokio::test]
    async fn filters_of_rows_and_of_aggregates_are_by_views_and_answer_as_before() {
        let texts = ["click", "page_view", "an event of a long name", "another event of a long name"].map(|text| Some(text.to_owned()));
        let rows = rows(&[&texts[..], &[None]].concat(), &[0, 1, 2, 3, 4, 1, 1, 2]);
        let sql = "SELECT number % 2 AS odd, count(*) FILTER (WHERE text = 'page_view') AS views, count(*) FILTER (WHERE text ~ 'o.{3}r') AS other, count(*) AS rows \
                   FROM events WHERE text <> 'click' AND (text LIKE '%long%' OR text = 'page_view') GROUP BY number % 2 ORDER BY odd";
        let mut answers = Vec::new();
        for (session, by_views) in [(session(), 5), (SessionContext::new(), 0)] {
            session.register_batch("events", rows.clone()).unwrap();
            let frame = session.sql(sql).await.unwrap();
            let plan = format!("{:?}", frame.clone().create_physical_plan().await.unwrap());
            // An aggregate in two steps has its filters twice.
            assert!(plan.matches("ByView {").count() >= by_views && (by_views > 0 || !plan.contains("ByView")), "{plan}");
            answers.push(arrow::util::pretty::pretty_format_batches(&frame.collect().await.unwrap()).unwrap().to_string());
        }
        assert_eq!(answers[0], answers[1]);
        assert!(answers[0].contains("| 1   | 2     | 1     | 4    |"), "{}", answers[0]);
    }

    #[test]
    fn other_expressions_stay() {
        let rows = rows(&[Some("a".to_owned())], &[0]);
        let schema = rows.schema().to_dfschema().unwrap();
        for expression in [col("number").eq(lit(1_i64)), col("text").gt(view("a")), col("text").eq(col("text")), col("text").is_null(), view("a").like(col("text"))] {
            let whole = session().create_physical_expr(expression.clone(), &schema).unwrap();
            assert!(ByView::of(&whole, |at| Some(rows.schema().fields()[at].clone())).is_none(), "{expression}");
        }
    }
}
