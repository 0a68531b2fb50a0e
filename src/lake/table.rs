//! Owns a Delta table of the lake: opening, adding files exactly once, which files are live.
//!
//! Knows the Delta protocol (reader 1, writer 2) through `deltalake`. Promises: a commit carries the
//! application transaction `clearpixel/TABLE/SOURCE` with a rising number, and whoever commits reads
//! that number back after a start and after any error, because a commit that reports an error may
//! have become durable (`docs/decisions/0004`). Never deletes or rewrites a live file, never writes
//! statistics of a column that could single out a person.

use super::columns::{self, TableName};
use super::file::FileToAdd;
use super::store::{self, StoreError};
use deltalake::checkpoints::create_checkpoint;
use deltalake::kernel::transaction::{CommitBuilder, CommitProperties};
use deltalake::kernel::{Action, Add, Transaction};
use deltalake::operations::create::CreateBuilder;
use deltalake::protocol::{DeltaOperation, SaveMode};
use deltalake::{DeltaTable, DeltaTableBuilder, DeltaTableError};
use futures::TryStreamExt;
use object_store::path::Path as StorePath;
use object_store::{ObjectStore, ObjectStoreExt};
use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Why a table could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum TableError {
    #[error(transparent)]
    Place(#[from] StoreError),
    #[error("the table {table}: {reason}")]
    Delta { table: &'static str, reason: Box<DeltaTableError> },
    #[error("the table {table}: {reason}")]
    Store { table: &'static str, reason: object_store::Error },
    #[error("there is no table {table} in {folder} yet: nothing was collected, or this is another folder")]
    Missing { table: &'static str, folder: String },
}

/// What is laid over a table's stores (its own, and the one that the Delta library is given).
pub type Layer<'l> = &'l (dyn Fn(Arc<dyn ObjectStore>) -> Arc<dyn ObjectStore> + Sync);

/// A table, and the version of it that was last seen.
pub struct Table {
    name: TableName,
    delta: DeltaTable,
    store: Arc<dyn ObjectStore>,
    folder: PathBuf,
}

/// A file that belongs to the table now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LiveFile {
    /// Below the table's folder.
    pub path: String,
    /// `YYYY-MM-DD`.
    pub day: String,
    pub bytes: u64,
    pub rows: Option<usize>,
}

impl Table {
    /// Opens the table in `lake/NAME`, and makes it where it is missing.
    pub async fn open_or_create(lake: &Path, name: TableName) -> Result<Self, TableError> {
        Self::open_or_create_on(lake, name, &|store| store).await
    }

    /// The same with `layer` laid over the store, under the table: tests put failures there.
    pub async fn open_or_create_on(lake: &Path, name: TableName, layer: Layer<'_>) -> Result<Self, TableError> {
        store::make_table_folder(&lake.join(name.as_str()))?;
        let mut table = Self::place(lake, name, layer)?;
        if table.exists().await? {
            table.refresh().await?;
            return Ok(table);
        }
        let skipping = name.columns().iter().filter(|column| column.skips).map(|column| column.name).collect::<Vec<_>>();
        let created = CreateBuilder::new()
            .with_log_store(table.delta.log_store())
            .with_table_name(name.as_str())
            .with_columns(columns::delta_schema(name))
            .with_partition_columns([columns::DAY.name])
            .with_configuration([
                ("delta.dataSkippingStatsColumns", Some(skipping.join(","))),
                ("delta.enableExpiredLogCleanup", Some("false".to_owned())),
            ])
            .with_raise_if_key_not_exists(false)
            .with_save_mode(SaveMode::Ignore)
            .await;
        // Another process may have made it in the meantime: look, rather than believe the error.
        match created {
            Ok(delta) => table.delta = delta,
            Err(error) => {
                if table.refresh().await.is_err() {
                    return Err(table.failed(error));
                }
            }
        }
        Ok(table)
    }

    /// Opens the table in `lake/NAME` to read it.
    pub async fn open(lake: &Path, name: TableName) -> Result<Self, TableError> {
        let missing = || TableError::Missing { table: name.as_str(), folder: lake.display().to_string() };
        if !lake.join(name.as_str()).join("_delta_log").is_dir() {
            return Err(missing());
        }
        let mut table = Self::place(lake, name, &|store| store)?;
        if !table.exists().await? {
            return Err(missing());
        }
        table.refresh().await?;
        Ok(table)
    }

    fn place(lake: &Path, name: TableName, layer: Layer<'_>) -> Result<Self, TableError> {
        let path = lake.join(name.as_str());
        let folder = store::open_table_folder(&path)?;
        let failed = |reason| TableError::Delta { table: name.as_str(), reason: Box::new(reason) };
        let delta = DeltaTableBuilder::from_url(folder.url.clone())
            .and_then(|builder| builder.with_storage_backend(layer(folder.root), folder.url).build())
            .map_err(failed)?;
        Ok(Self { name, delta, store: layer(folder.files), folder: path })
    }

    async fn exists(&self) -> Result<bool, TableError> {
        self.delta.verify_deltatable_existence().await.map_err(|error| self.failed(error))
    }

    /// Looks at the newest version.
    pub async fn refresh(&mut self) -> Result<(), TableError> {
        let updated = if self.delta.version().is_some() { self.delta.update_state().await } else { self.delta.load().await };
        updated.map_err(|error| self.failed(error))
    }

    pub const fn name(&self) -> TableName {
        self.name
    }

    pub fn version(&self) -> Option<u64> {
        self.delta.version()
    }

    pub fn store(&self) -> Arc<dyn ObjectStore> {
        self.store.clone()
    }

    /// The highest number that `source` committed, as of the version last seen.
    pub async fn committed(&self, source: &str) -> Result<Option<i64>, TableError> {
        let state = self.delta.snapshot().map_err(|error| self.failed(error))?;
        let log_store = self.delta.log_store();
        state.transaction_version(log_store.as_ref(), self.transaction(source)).await.map_err(|error| self.failed(error))
    }

    /// The files of the version last seen.
    pub fn live_files(&self) -> Result<Vec<LiveFile>, TableError> {
        let state = self.delta.snapshot().map_err(|error| self.failed(error))?;
        Ok(state
            .log_data()
            .iter()
            .map(|view| LiveFile {
                path: view.path().into_owned(),
                day: view.partition_values_map().remove(columns::DAY.name).flatten().unwrap_or_default(),
                bytes: u64::try_from(view.size()).unwrap_or(0),
                rows: view.num_records(),
            })
            .collect())
    }

    /// Adds `files` in one commit numbered `number` by `source`. Returns only when that is durable;
    /// an error means "unknown": refresh, and look at `committed`.
    pub async fn commit(&mut self, source: &str, number: i64, files: Vec<FileToAdd>) -> Result<(), TableError> {
        let mut actions = Vec::with_capacity(files.len());
        for file in files {
            let path = StorePath::from(file.path.as_str());
            let size = file.bytes.len() as i64;
            self.store.put(&path, file.bytes.into()).await.map_err(|reason| TableError::Store { table: self.name.as_str(), reason })?;
            actions.push(Action::Add(Add {
                path: file.path,
                partition_values: HashMap::from([(columns::DAY.name.to_owned(), Some(file.day))]),
                size,
                modification_time: file.written_at_ms,
                data_change: true,
                stats: Some(file.stats),
                ..Add::default()
            }));
        }
        let properties = CommitProperties::default()
            .with_application_transaction(Transaction::new(self.transaction(source), number))
            .with_create_checkpoint(false)
            .with_cleanup_expired_logs(Some(false));
        let operation = DeltaOperation::Write {
            mode: SaveMode::Append,
            partition_by: Some(vec![columns::DAY.name.to_owned()]),
            predicate: None,
        };
        let state = self.delta.snapshot().map_err(|error| self.failed(error))?;
        let committed = CommitBuilder::from(properties)
            .with_actions(actions)
            .build(Some(state), self.delta.log_store(), operation)
            .await
            .map_err(|error| self.failed(error))?;
        let version = committed.version();
        self.delta.update_state().await.map_err(|error| self.failed(error))?;
        if version > 0 && version % CHECKPOINT_EVERY == 0 {
            // A checkpoint saves readers time and nothing else: without it the log says the same.
            if let Err(error) = create_checkpoint(&self.delta, None).await {
                tracing::warn!(table = self.name.as_str(), version, %error, "no checkpoint was made");
            }
        }
        Ok(())
    }

    /// Deletes the files that `source` wrote and no version names: what a crash left between writing
    /// and committing. Only `source` itself may call it, before it writes.
    pub async fn sweep(&self, source: &str) -> Result<usize, TableError> {
        let failed = |reason| TableError::Store { table: self.name.as_str(), reason };
        let live: HashSet<String> = self.live_files()?.into_iter().map(|file| file.path).collect();
        let mark = format!("/part-{source}-");
        let all: Vec<_> = self.store.list(None).try_collect().await.map_err(failed)?;
        let unfinished = store::sweep_unfinished(&self.folder, &format!("part-{source}-"));
        let mut swept = unfinished.map_err(|reason| StoreError::Folder { path: self.folder.display().to_string(), reason })?;
        for file in all.into_iter().map(|meta| meta.location) {
            if file.as_ref().contains(&mark) && !live.contains(file.as_ref()) {
                self.store.delete(&file).await.map_err(failed)?;
                swept += 1;
            }
        }
        Ok(swept)
    }

    fn transaction(&self, source: &str) -> String {
        format!("clearpixel/{}/{source}", self.name.as_str())
    }

    fn failed(&self, reason: DeltaTableError) -> TableError {
        TableError::Delta { table: self.name.as_str(), reason: Box::new(reason) }
    }
}

/// Opening a table reads at most this many log entries behind a checkpoint.
const CHECKPOINT_EVERY: u64 = 50;
