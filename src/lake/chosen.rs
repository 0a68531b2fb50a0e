//! Owns rows of which some are chosen: a filter's answer beside the batch that it was asked about, so that what is not
//! counted need not be copied to be left out.
//!
//! Knows DataFusion's expressions. Promises: an expression is asked about rows that are not chosen only where it cannot
//! fail there (`cannot_fail`). Never sees a file.

use super::texts;
use arrow::array::{Array, ArrayRef, BooleanArray, RecordBatch, RecordBatchOptions};
use arrow::compute::{and, filter, prep_null_mask_filter};
use arrow::datatypes::{DataType, Schema};
use datafusion::common::Result;
use datafusion::common::cast::as_boolean_array;
use datafusion::execution::SendableRecordBatchStream;
use datafusion::logical_expr::Operator;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::{BinaryExpr, CastExpr, Column, IsNotNullExpr, IsNullExpr, Literal, NotExpr};
use datafusion::physical_expr::utils::collect_columns;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::filter::FilterExec;
use futures::StreamExt;
use std::sync::Arc;

/// Batches, of each the rows that a filter chooses.
pub struct Source {
    rows: SendableRecordBatchStream,
    filter: Option<Arc<FilterExec>>,
}

impl Source {
    /// The next batch of which any row is chosen.
    pub async fn next(&mut self) -> Result<Option<Chosen>> {
        while let Some(rows) = self.rows.next().await.transpose()? {
            let Some(filter) = &self.filter else { return Ok(Some(Chosen { rows, which: None })) };
            let which = holds(filter.predicate(), &rows)?;
            let count = which.true_count();
            if count > 0 {
                let which = (count < rows.num_rows()).then_some(which);
                let rows = filter.projection().as_ref().map_or_else(|| Ok(rows.clone()), |columns| rows.project(columns))?;
                return Ok(Some(Chosen { rows, which }));
            }
        }
        Ok(None)
    }

    /// `rows` as they come to `filter`.
    pub const fn new(rows: SendableRecordBatchStream, filter: Option<Arc<FilterExec>>) -> Self {
        Self { rows, filter }
    }
}

/// A batch, and which of its rows are chosen; `None`: all.
pub struct Chosen {
    pub rows: RecordBatch,
    pub which: Option<BooleanArray>,
}

impl Chosen {
    /// The values of expressions in the chosen rows, of those where `also` holds.
    pub fn values(&self, expressions: &[Arc<dyn PhysicalExpr>], also: Option<&Arc<dyn PhysicalExpr>>) -> Result<Vec<ArrayRef>> {
        let also = also.map(|also| holds(also, &self.rows)).transpose()?;
        match (&self.which, also) {
            (None, None) => evaluated(expressions, &self.rows),
            (Some(which), None) => evaluated_where(expressions, which, &self.rows),
            (None, Some(also)) => evaluated_where(expressions, &also, &self.rows),
            (Some(which), Some(also)) => evaluated_where(expressions, &and(which, &also)?, &self.rows),
        }
    }

    /// In which of the chosen rows `also` holds.
    pub fn where_also(&self, also: &Arc<dyn PhysicalExpr>) -> Result<BooleanArray> {
        let also = holds(also, &self.rows)?;
        match &self.which {
            None => Ok(also),
            Some(which) => Ok(as_boolean_array(&filter(&also, which)?)?.clone()),
        }
    }

    /// Rows `start` to `start + length`; `None` where none of them is chosen.
    pub fn part(&self, start: usize, length: usize) -> Option<Self> {
        let which = self.which.as_ref().map(|which| which.slice(start, length));
        let is_empty = which.as_ref().is_some_and(|which| which.true_count() == 0);
        (!is_empty).then(|| Self { rows: self.rows.slice(start, length), which })
    }
}

/// The filter that `input` is, where it can be asked by who takes its rows.
pub fn filter_of(input: &Arc<dyn ExecutionPlan>) -> Option<Arc<FilterExec>> {
    let filter = input.downcast_ref::<FilterExec>().filter(|filter| filter.fetch().is_none())?;
    Some(Arc::new(filter.clone()))
}

/// Whether an expression over such rows has an answer for each: it takes what a column has, compares, or makes a number
/// of one that is wider.
pub fn cannot_fail(expression: &Arc<dyn PhysicalExpr>, rows: &Schema) -> bool {
    let compares = |binary: &BinaryExpr| {
        matches!(binary.op(), Operator::Eq | Operator::NotEq | Operator::Lt | Operator::LtEq | Operator::Gt | Operator::GtEq | Operator::And | Operator::Or)
    };
    if expression.downcast_ref::<Column>().is_some() || expression.downcast_ref::<Literal>().is_some() || texts::is_by_view(expression) {
        return true;
    }
    if let Some(cast) = expression.downcast_ref::<CastExpr>() {
        let is_narrow = |kind: DataType| matches!(kind, DataType::Int8 | DataType::Int16 | DataType::Int32 | DataType::UInt8 | DataType::UInt16 | DataType::UInt32);
        let is_wider = matches!(cast.cast_type(), DataType::Int64 | DataType::Float64) && cast.expr().data_type(rows).is_ok_and(is_narrow);
        return is_wider && cannot_fail(cast.expr(), rows);
    }
    let is_sure = expression.downcast_ref::<BinaryExpr>().is_some_and(compares)
        || expression.downcast_ref::<NotExpr>().is_some()
        || expression.downcast_ref::<IsNullExpr>().is_some()
        || expression.downcast_ref::<IsNotNullExpr>().is_some();
    is_sure && expression.children().into_iter().all(|part| cannot_fail(part, rows))
}

/// Expressions of a batch's rows.
pub fn evaluated<'e>(expressions: impl IntoIterator<Item = &'e Arc<dyn PhysicalExpr>>, rows: &RecordBatch) -> Result<Vec<ArrayRef>> {
    expressions.into_iter().map(|expression| expression.evaluate(rows)?.into_array(rows.num_rows())).collect()
}

/// Where a filter holds; not where it is null. Of two comparisons each is asked of all rows: DataFusion asks the second
/// of those alone that the first leaves, and takes longer to move them there and back than to compare them.
fn holds(chosen: &Arc<dyn PhysicalExpr>, rows: &RecordBatch) -> Result<BooleanArray> {
    let both = chosen.downcast_ref::<BinaryExpr>().filter(|both| *both.op() == Operator::And && cannot_fail(both.right(), rows.schema_ref()));
    if let Some(both) = both {
        let first = holds(both.left(), rows)?;
        let second = if first.has_true() { holds(both.right(), rows)? } else { return Ok(first) };
        return Ok(BooleanArray::new(first.values() & second.values(), None));
    }
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
