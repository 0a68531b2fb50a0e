//! Owns how a question groups by ids, and counts different ones: by their sixteen bytes, in place of 32 digits.
//!
//! Knows DataFusion's logical plans. A number of sixteen bytes is hashed and compared at once, and lies in the table
//! of groups itself, where a text of 32 bytes lies elsewhere. Promises: a question's answer is the same, digit for
//! digit; a column is taken for one of ids where its field says so (`marked`), and a text in it that is no id is an
//! error, never another id. Never sees a file.

use crate::hit::field::Id;
use arrow::array::{Array, AsArray, Decimal128Array, StringViewArray, StringViewBuilder};
use arrow::datatypes::{DataType, Decimal128Type, Field, FieldRef};
use datafusion::common::tree_node::Transformed;
use datafusion::common::{DFSchema, ExprSchema, Result, exec_datafusion_err, internal_datafusion_err};
use datafusion::logical_expr::expr::AggregateFunction;
use datafusion::logical_expr::simplify::{ExprSimplifyResult, SimplifyContext};
use datafusion::logical_expr::{Aggregate, ColumnarValue, Expr, LogicalPlan, Projection, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility};
use datafusion::optimizer::{ApplyOrder, Optimizer, OptimizerConfig, OptimizerRule};
use std::iter;
use std::sync::Arc;

/// DataFusion's rules for plans, and ours before the one that makes `count(DISTINCT x)` a grouping.
pub fn rules() -> Vec<Arc<dyn OptimizerRule + Send + Sync>> {
    let mut rules = Optimizer::new().rules;
    let distinct = rules.iter().position(|rule| rule.name() == "single_distinct_aggregation_to_group_by");
    rules.insert(distinct.unwrap_or(rules.len()), Arc::new(ByBytes::new()));
    rules
}

/// The field of a column in which every text is an id, or null.
pub fn marked(field: Field) -> Field {
    field.with_metadata([(MARK.to_owned(), String::new())].into())
}

/// Expressions that only hand a column on keep its field's metadata; what makes other texts of it does not.
const MARK: &str = "clearpixel.id";

fn is_marked(field: &Field) -> bool {
    *field.data_type() == DataType::Utf8View && field.metadata().contains_key(MARK)
}

#[derive(Debug)]
struct ByBytes {
    bytes: Arc<ScalarUDF>,
    digits: Arc<ScalarUDF>,
}

impl OptimizerRule for ByBytes {
    fn rewrite(&self, plan: LogicalPlan, _: &dyn OptimizerConfig) -> Result<Transformed<LogicalPlan>> {
        let LogicalPlan::Aggregate(aggregate) = plan else { return Ok(Transformed::no(plan)) };
        let of = aggregate.input.schema();
        let (groups, is_grouped): (Vec<_>, Vec<_>) = aggregate.group_expr.iter().map(|group| self.of_bytes(group, of)).unzip();
        let (counts, is_counted): (Vec<_>, Vec<_>) = aggregate.aggr_expr.iter().map(|count| self.counted(count, of)).unzip();
        if !is_grouped.iter().chain(&is_counted).any(|is_changed| *is_changed) {
            return Ok(Transformed::no(LogicalPlan::Aggregate(aggregate)));
        }
        let new = Aggregate::try_new(aggregate.input.clone(), groups, counts)?;
        // After the groups come counts; and a grouping set, one expression, has columns of its own.
        let answers = aggregate.schema.iter().zip(new.schema.columns()).zip(is_grouped.into_iter().chain(iter::repeat(false)));
        let answers = answers.map(|(((of, field), column), is_of_bytes)| {
            let answer = Expr::Column(column);
            let answer = if is_of_bytes { self.digits.call(vec![answer]) } else { answer };
            answer.alias_qualified(of.cloned(), field.name())
        });
        let answers = answers.collect();
        Ok(Transformed::yes(LogicalPlan::Projection(Projection::try_new(answers, Arc::new(LogicalPlan::Aggregate(new)))?)))
    }

    fn name(&self) -> &'static str {
        "ByBytes"
    }

    fn apply_order(&self) -> Option<ApplyOrder> {
        Some(ApplyOrder::TopDown)
    }
}

impl ByBytes {
    fn new() -> Self {
        Self { bytes: Arc::new(ScalarUDF::from(Bytes::new())), digits: Arc::new(ScalarUDF::from(Digits::new())) }
    }

    /// The bytes of a column of ids, and whether it is one; else the expression itself.
    fn of_bytes(&self, expression: &Expr, of: &DFSchema) -> (Expr, bool) {
        let is_of_ids = expression.try_as_col().and_then(|column| of.field_from_column(column).ok()).is_some_and(|field| is_marked(field));
        (if is_of_ids { self.bytes.call(vec![expression.clone()]) } else { expression.clone() }, is_of_ids)
    }

    /// A count of different ids as one of their bytes, and whether it is such a count; else the expression itself.
    fn counted(&self, expression: &Expr, of: &DFSchema) -> (Expr, bool) {
        if let Expr::AggregateFunction(AggregateFunction { func, params }) = expression
            && params.distinct
            && func.name() == "count"
            && let [of_ids] = params.args.as_slice()
            && let (bytes, true) = self.of_bytes(of_ids, of)
        {
            let mut params = params.clone();
            params.args = vec![bytes];
            return (Expr::AggregateFunction(AggregateFunction { func: func.clone(), params }), true);
        }
        (expression.clone(), false)
    }
}

/// The kind of number that DataFusion groups by fastest of those of sixteen bytes. Nobody counts with it.
pub const NUMBER: DataType = DataType::Decimal128(38, 0);

/// An id's digits to its bytes.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Bytes {
    signature: Signature,
}

impl Bytes {
    fn new() -> Self {
        Self { signature: Signature::exact(vec![DataType::Utf8View], Volatility::Immutable) }
    }
}

impl ScalarUDFImpl for Bytes {
    fn invoke_with_args(&self, arguments: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let columns = ColumnarValue::values_to_arrays(&arguments.args)?;
        let texts = columns.first().and_then(|column| column.as_string_view_opt()).ok_or_else(|| internal_datafusion_err!("an id's digits are a text"))?;
        Ok(ColumnarValue::Array(Arc::new(bytes_of(texts)?)))
    }

    fn name(&self) -> &'static str {
        "bytes_of_id"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(NUMBER)
    }
}

fn bytes_of(texts: &StringViewArray) -> Result<Decimal128Array> {
    let mut bytes = Vec::with_capacity(texts.len());
    // A visit's rows often stand one after the other: where they have the view of the row before, they have its text.
    let mut last = (None, 0);
    for (row, view) in texts.views().iter().enumerate() {
        if texts.is_null(row) {
            bytes.push(0);
            continue;
        }
        if last.0 != Some(*view) {
            let id = Id::parse(texts.value(row).as_bytes());
            let id = id.ok_or_else(|| exec_datafusion_err!("a column of ids (visitor_id, visit_id) holds a text that is not 32 lower-case hex digits: the file is damaged, or not of this lake"))?;
            last = (Some(*view), i128::from_be_bytes(id.0));
        }
        bytes.push(last.1);
    }
    Ok(Decimal128Array::new(bytes.into(), texts.nulls().cloned()).with_data_type(NUMBER))
}

/// An id's bytes to its digits.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Digits {
    signature: Signature,
}

impl Digits {
    fn new() -> Self {
        Self { signature: Signature::exact(vec![NUMBER], Volatility::Immutable) }
    }
}

impl ScalarUDFImpl for Digits {
    fn invoke_with_args(&self, arguments: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let columns = ColumnarValue::values_to_arrays(&arguments.args)?;
        let numbers = columns.first().and_then(|column| column.as_primitive_opt::<Decimal128Type>()).ok_or_else(|| internal_datafusion_err!("an id's bytes are a number"))?;
        Ok(ColumnarValue::Array(Arc::new(digits_of(numbers))))
    }

    /// What was made a number only to be made a text again was a text.
    fn simplify(&self, arguments: Vec<Expr>, _: &SimplifyContext) -> Result<ExprSimplifyResult> {
        if let [Expr::ScalarFunction(inner)] = arguments.as_slice()
            && inner.func.inner().is::<Bytes>()
            && let [text] = inner.args.as_slice()
        {
            return Ok(ExprSimplifyResult::Simplified(text.clone()));
        }
        Ok(ExprSimplifyResult::Original(arguments))
    }

    fn name(&self) -> &'static str {
        "digits_of_id"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::Utf8View)
    }

    /// Of ids again: who groups by what was grouped does it by bytes too.
    fn return_field_from_args(&self, _: ReturnFieldArgs<'_>) -> Result<FieldRef> {
        Ok(Arc::new(marked(Field::new(self.name(), DataType::Utf8View, true))))
    }
}

fn digits_of(numbers: &Decimal128Array) -> StringViewArray {
    let mut texts = StringViewBuilder::with_capacity(numbers.len()).with_fixed_block_size(TEXTS_BYTES);
    for number in numbers {
        let digits = number.map(|number| Id(number.to_be_bytes()).digits());
        texts.append_option(digits.as_ref().and_then(|digits| std::str::from_utf8(digits).ok()));
    }
    texts.finish()
}

/// The texts of a batch of 8,192 rows.
const TEXTS_BYTES: u32 = 32 * 8_192;

#[cfg(test)]
mod tests {
    use super::{bytes_of, digits_of, marked, rules};
    use crate::hit::field::Id;
    use arrow::array::{ArrayRef, Int32Array, RecordBatch, StringViewArray};
    use arrow::compute::take;
    use arrow::datatypes::{DataType, Field, Schema};
    use arrow::util::pretty::pretty_format_batches;
    use datafusion::datasource::MemTable;
    use datafusion::execution::SessionStateBuilder;
    use datafusion::prelude::SessionContext;
    use proptest::prelude::*;
    use std::sync::Arc;

    fn texts(ids: &[Option<[u8; 16]>]) -> StringViewArray {
        ids.iter().map(|id| id.map(|id| Id(id).to_string())).collect()
    }

    /// A table of ids marked as such, and of the same texts unmarked.
    fn session(rows: &StringViewArray) -> SessionContext {
        let field = |name| Field::new(name, DataType::Utf8View, true);
        let schema = Arc::new(Schema::new(vec![marked(field("id")), field("text"), Field::new("n", DataType::Int32, false)]));
        let numbers = Int32Array::from_iter_values((0..).take(arrow::array::Array::len(rows)).map(|n| n % 3));
        let columns: Vec<ArrayRef> = vec![Arc::new(rows.clone()), Arc::new(rows.clone()), Arc::new(numbers)];
        let table = MemTable::try_new(schema.clone(), vec![vec![RecordBatch::try_new(schema, columns).unwrap()]]).unwrap();
        let context = SessionContext::new_with_state(SessionStateBuilder::new().with_default_features().with_optimizer_rules(rules()).build());
        context.register_table("rows", Arc::new(table)).unwrap();
        context
    }

    fn ask(context: &SessionContext, sql: &str) -> Result<String, String> {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let batches = runtime.block_on(async { context.sql(sql).await?.collect().await }).map_err(|error| error.to_string())?;
        Ok(pretty_format_batches(&batches).unwrap().to_string())
    }

    /// Questions that group by ids or count different ones, with `id` for the column.
    const QUESTIONS: [&str; 11] = [
        "SELECT id AS who, count(*) FROM rows GROUP BY id ORDER BY id",
        "SELECT DISTINCT id AS who FROM rows ORDER BY 1",
        "SELECT n, count(DISTINCT id) AS kinds FROM rows GROUP BY n ORDER BY n",
        "SELECT count(DISTINCT id) AS kinds, count(DISTINCT n) AS numbers, count(DISTINCT id) FILTER (WHERE n = 1) AS some FROM rows",
        "SELECT count(*) AS kinds FROM (SELECT id AS who FROM rows GROUP BY id HAVING min(n) < max(n))",
        "SELECT first.who AS who, count(DISTINCT later.id) AS kinds FROM (SELECT id AS who, min(n) AS n FROM rows GROUP BY id) first JOIN rows later ON first.who = later.id AND first.n < later.n GROUP BY first.who ORDER BY 1",
        "SELECT max(who) AS who FROM (SELECT id AS who, n FROM rows GROUP BY id, n) WHERE who <> '00000000000000000000000000000000' GROUP BY who ORDER BY 1",
        "SELECT upper(id) AS who, count(DISTINCT concat(id, 'x')) AS kinds FROM rows GROUP BY id ORDER BY 1",
        "SELECT n, count(DISTINCT id) AS kinds, count(*) FROM rows GROUP BY ROLLUP (n) ORDER BY 1",
        "SELECT id AS who, n, count(DISTINCT id) AS kinds FROM rows GROUP BY CUBE (id, n) ORDER BY 1, 2, 3",
        "SELECT coalesce(id, 'nobody') AS who, count(*) FROM rows GROUP BY coalesce(id, 'nobody') ORDER BY 1",
    ];

    proptest! {
        #[test]
        fn ids_come_back(ids in prop::collection::vec(prop::option::of(any::<[u8; 16]>()), 0..40), picks in prop::collection::vec(0..40u32, 0..40)) {
            let all = texts(&ids);
            prop_assert_eq!(&digits_of(&bytes_of(&all).unwrap()), &all);
            // With views used twice, as a dictionary's are.
            let picks: Vec<u32> = picks.into_iter().filter(|pick| (*pick as usize) < ids.len()).collect();
            let some = take(&all, &arrow::array::UInt32Array::from(picks), None).unwrap();
            let some = arrow::array::AsArray::as_string_view(&some);
            prop_assert_eq!(&digits_of(&bytes_of(some).unwrap()), some);
        }

        #[test]
        fn answers_are_those_of_texts(ids in prop::collection::vec(prop::option::weighted(0.9, (0..6u8).prop_map(|id| [id; 16])), 0..30)) {
            let session = session(&texts(&ids));
            for question in QUESTIONS {
                let by_text = question.replace("(id", "(text").replace(" id", " text").replace(".id", ".text");
                prop_assert_eq!(ask(&session, question), ask(&session, &by_text), "{}", question);
            }
        }
    }

    #[test]
    fn ids_alone_are_grouped_by_bytes() {
        let session = session(&texts(&[Some([1; 16])]));
        for (question, is_by_bytes) in QUESTIONS.into_iter().zip([true, true, true, true, true, true, true, true, true, true, false]) {
            let plan = ask(&session, &format!("EXPLAIN {question}")).unwrap();
            assert_eq!(plan.contains("bytes_of_id"), is_by_bytes, "{plan}");
        }
        let counted = ask(&session, &format!("EXPLAIN {}", QUESTIONS[2])).unwrap();
        assert!(!counted.contains("digits_of_id"), "nobody asked for the texts:\n{counted}");
    }

    #[test]
    fn a_filter_on_an_id_is_one_on_the_text() {
        let session = session(&texts(&[Some([1; 16])]));
        let digits = "01".repeat(16);
        let plan = ask(&session, &format!("EXPLAIN SELECT * FROM (SELECT id, count(*) FROM rows GROUP BY id) WHERE id = '{digits}'")).unwrap();
        assert!(plan.contains(&format!("FilterExec: id@0 = {digits}")), "{plan}");
    }

    #[test]
    fn a_text_that_is_no_id_is_told() {
        for wrong in ["", "A0000000000000000000000000000000", "0000000000000000000000000000000g"] {
            let session = session(&StringViewArray::from_iter_values([wrong]));
            let told = ask(&session, "SELECT count(DISTINCT id) FROM rows").unwrap_err();
            assert!(told.contains("not 32 lower-case hex digits"), "{told}");
        }
    }
}
