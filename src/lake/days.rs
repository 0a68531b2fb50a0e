//! Owns how rows are counted whose groups are days, or follow from them: a file's rows are all of one day, so that a
//! batch is counted into its day at once, where DataFusion looks every row's group up.
//!
//! Promises: right for any rows, wherever their days change; just slower where they change often. Holds an account for
//! each day, of aggregates that take up a few bytes each.

use super::chosen::{Chosen, Source, evaluated};
use super::columns::DAY;
use arrow::array::{RecordBatch, new_empty_array};
use arrow::compute::partition;
use arrow::datatypes::Schema;
use datafusion::common::{Result, ScalarValue, internal_datafusion_err};
use datafusion::logical_expr::Accumulator;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::utils::collect_columns;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::aggregates::AggregateExec;
use std::sync::Arc;

/// What the partial aggregate `whole` gives of `rows`.
pub async fn counted(whole: Arc<AggregateExec>, mut rows: Source) -> Result<RecordBatch> {
    let mut accounts: Vec<Account> = Vec::new();
    while let Some(batch) = rows.next().await? {
        let keys = evaluated(whole.group_expr().expr().iter().map(|(key, _)| key), &batch.rows)?;
        for days in partition(&keys)?.ranges() {
            let Some(rows) = batch.part(days.start, days.len()) else { continue };
            let key = keys.iter().map(|column| ScalarValue::try_from_array(column, days.start)).collect::<Result<Vec<_>>>()?;
            let account = account_of(&mut accounts, key, &whole)?;
            count(account, &whole, &rows)?;
        }
    }
    answer(accounts, &whole.schema())
}

/// Whether its groups are days, or follow from them, and its aggregates take up little.
pub fn applies(whole: &AggregateExec) -> bool {
    let of_day = |expression: &Arc<dyn PhysicalExpr>| collect_columns(expression).iter().all(|column| column.name() == DAY.name);
    // `avg` is small too, but DataFusion's (55) hands on a count of none where its groups' expects null, and makes NaN of it.
    let is_small = |name: &str| matches!(name, "count" | "sum" | "min" | "max");
    whole.group_expr().expr().iter().all(|(group, _)| of_day(group)) && whole.aggr_expr().iter().all(|aggregate| is_small(aggregate.fun().name()))
}

/// A group's aggregates so far.
struct Account {
    key: Vec<ScalarValue>,
    aggregates: Vec<Box<dyn Accumulator>>,
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
fn count(account: &mut Account, whole: &AggregateExec, rows: &Chosen) -> Result<()> {
    for ((account, aggregate), also) in account.aggregates.iter_mut().zip(whole.aggr_expr()).zip(whole.filter_expr()) {
        account.update_batch(&rows.values(&aggregate.expressions(), also.as_ref())?)?;
    }
    Ok(())
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
