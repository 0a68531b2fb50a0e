//! Owns the names that SQL finds in the lake: two tables, and what is seen beside them.
//!
//! Knows DataFusion's `SchemaProvider`. Promises: a table's log is read when a question first names the table, and
//! stays as it was read for as long as the schema lives; a question that names none waits for none. The whole table
//! has no name where some of its rows are not there for the audience. Never writes to the lake.

use super::columns::TableName;
use super::scan::{self, Scan};
use super::table::{Table, TableError};
use async_trait::async_trait;
use datafusion::catalog::{MemorySchemaProvider, SchemaProvider, TableProvider};
use datafusion::common::internal_datafusion_err;
use datafusion::datasource::{TableType, ViewTable, provider_as_source};
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::SessionState;
use datafusion::logical_expr::{LogicalPlanBuilder, ScalarUDF, not};
use datafusion::prelude::col;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

/// The tables of one session.
pub struct LakeSchema {
    pub lake: PathBuf,
    pub is_hidden: Option<ScalarUDF>,
    /// What the session knows: by it views are planned, and a table's store gets its place.
    pub state: Box<dyn Fn() -> Option<SessionState> + Send + Sync>,
    /// What was named already, and what the session added.
    pub there: MemorySchemaProvider,
}

/// Beside the tables themselves: name, and what it stands for.
const VIEWS: [(&str, &str); 2] = [
    // Each commit adds a part to a row; here they are one. `day` follows from `hour`, and as a key of
    // the grouping lets a filter on it through to the files.
    (
        "trends",
        "SELECT site, hour, dimension, value, \
           sum(interactions) AS interactions, sum(page_views) AS page_views, sum(visits) AS visits, \
           sum(engaged_ms) AS engaged_ms, merge_visitors(visitors_sketch) AS visitors_sketch, day \
         FROM trends_parts GROUP BY site, hour, dimension, value, day",
    ),
    // Pages are those of page views: an engagement is often sent when its page was already left.
    (
        "visits",
        "SELECT site, visit_id, min(visitor_id) AS visitor_id, \
           min(occurred_at) AS started_at, max(occurred_at) AS ended_at, \
           (CAST(max(occurred_at) AS BIGINT) - CAST(min(occurred_at) AS BIGINT)) / 1000000 AS seconds, \
           first_value(concat(page_host, page_path) ORDER BY occurred_at, received_at) FILTER (WHERE event = 'page_view') AS entry_page, \
           last_value(concat(page_host, page_path) ORDER BY occurred_at, received_at) FILTER (WHERE event = 'page_view') AS exit_page, \
           count(*) FILTER (WHERE event = 'page_view') AS pages, \
           count(*) AS interactions, \
           coalesce(sum(engaged_ms), 0) AS engaged_ms, \
           first_value(source_medium ORDER BY occurred_at, received_at) AS source_medium, \
           first_value(source_name ORDER BY occurred_at, received_at) AS source_name, \
           first_value(country ORDER BY occurred_at, received_at) AS country, \
           first_value(device ORDER BY occurred_at, received_at) AS device \
         FROM interactions WHERE visit_id IS NOT NULL GROUP BY site, visit_id",
    ),
];

/// What a name of the lake stands for.
enum Named {
    Table(TableName),
    View(&'static str),
}

impl Named {
    fn of(name: &str) -> Option<Self> {
        let view = || VIEWS.into_iter().find(|(view, _)| *view == name).map(|(_, sql)| Self::View(sql));
        TableName::ALL.into_iter().find(|table| in_sql(*table) == name).map(Self::Table).or_else(view)
    }
}

/// A table by its name in SQL.
const fn in_sql(name: TableName) -> &'static str {
    match name {
        TableName::Interactions => "interactions",
        TableName::Trends => "trends_parts",
    }
}

#[async_trait]
impl SchemaProvider for LakeSchema {
    async fn table(&self, name: &str) -> Result<Option<Arc<dyn TableProvider>>> {
        if let Some(there) = self.there.table(name).await? {
            return Ok(Some(there));
        }
        let table = match Named::of(name) {
            Some(Named::Table(table)) => self.opened(table).await?,
            Some(Named::View(sql)) => Arc::new(ViewTable::new(self.state()?.create_logical_plan(sql).await?, Some(sql.to_owned()))),
            None => return Ok(None),
        };
        // Its one error is that the name is taken: where two questions came at once, both see what the first found.
        let _ = self.there.register_table(name.to_owned(), table);
        self.there.table(name).await
    }

    fn table_names(&self) -> Vec<String> {
        let added = self.there.table_names().into_iter().filter(|name| Named::of(name).is_none());
        TableName::ALL.into_iter().map(in_sql).chain(VIEWS.map(|(view, _)| view)).map(str::to_owned).chain(added).collect()
    }

    /// Told without opening one.
    async fn table_type(&self, name: &str) -> Result<Option<TableType>> {
        match Named::of(name) {
            Some(Named::Table(TableName::Interactions)) if self.is_hidden.is_some() => Ok(Some(TableType::View)),
            Some(Named::Table(_)) => Ok(Some(TableType::Base)),
            Some(Named::View(_)) => Ok(Some(TableType::View)),
            None => self.there.table_type(name).await,
        }
    }

    fn register_table(&self, name: String, table: Arc<dyn TableProvider>) -> Result<Option<Arc<dyn TableProvider>>> {
        match Named::of(&name) {
            Some(_) => Err(internal_datafusion_err!("{name} is a table of the lake")),
            None => self.there.register_table(name, table),
        }
    }

    fn table_exist(&self, name: &str) -> bool {
        Named::of(name).is_some() || self.there.table_exist(name)
    }
}

impl LakeSchema {
    /// A table as its log has it now.
    async fn opened(&self, name: TableName) -> Result<Arc<dyn TableProvider>> {
        let files = match Table::open(&self.lake, name).await {
            Ok(table) => {
                self.state()?.runtime_env().register_object_store(scan::place_of(name)?.as_ref(), table.store());
                table.live_files().map_err(external)?
            }
            // A lake that was only just begun has its first table and not yet the other.
            Err(TableError::Missing { .. }) if name != TableName::Interactions => Vec::new(),
            Err(error) => return Err(external(error)),
        };
        let scan: Arc<dyn TableProvider> = Arc::new(Scan::viewed(name, &files)?);
        match (name, &self.is_hidden) {
            (TableName::Interactions, Some(is_hidden)) => without(is_hidden, scan, in_sql(name)),
            (TableName::Interactions, None) | (TableName::Trends, _) => Ok(scan),
        }
    }

    fn state(&self) -> Result<SessionState> {
        (self.state)().ok_or_else(|| internal_datafusion_err!("the session has ended"))
    }
}

fn external(error: TableError) -> DataFusionError {
    DataFusionError::External(Box::new(error))
}

/// The table without the rows that are not there for the audience. The whole one has no name in SQL.
fn without(is_hidden: &ScalarUDF, scan: Arc<dyn TableProvider>, name: &str) -> Result<Arc<dyn TableProvider>> {
    let is_hidden = is_hidden.call(vec![col("site"), col("visitor_id")]);
    let plan = LogicalPlanBuilder::scan(name, provider_as_source(scan), None)?.filter(not(is_hidden))?.build()?;
    Ok(Arc::new(ViewTable::new(plan, None)))
}

impl fmt::Debug for LakeSchema {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("LakeSchema").field("lake", &self.lake).finish_non_exhaustive()
    }
}
