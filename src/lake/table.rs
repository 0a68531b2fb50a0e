//! Owns a Delta table of the lake: opening, adding files exactly once, which files are live.
//!
//! Knows the Delta protocol (reader 1, writer 2) through `deltalake`. Promises: a commit carries the
//! application transaction `clearpixel/TABLE/SOURCE` with a rising number, and whoever commits reads
//! that number back after a start and after any error, because a commit that reports an error may
//! have become durable (`docs/decisions/0004`). Never deletes or rewrites a live file, never writes
//! statistics of a column that could single out a person.

use super::columns::{self, TableName};
use super::file::{FileToAdd, NewFile};
use super::store::{self, Layer, StoreError};
use deltalake::checkpoints::create_checkpoint;
use deltalake::kernel::transaction::{CommitBuilder, CommitProperties, TransactionError};
use deltalake::kernel::{Action, Add, Remove, Transaction};
use deltalake::operations::create::CreateBuilder;
use deltalake::protocol::{DeltaOperation, SaveMode};
use deltalake::{DeltaTable, DeltaTableBuilder, DeltaTableError};
use futures::TryStreamExt;
use arrow::record_batch::RecordBatch;
use object_store::path::Path as StorePath;
use object_store::{ObjectMeta, ObjectStore, ObjectStoreExt};
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
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
    #[error("the file {path} of the table {table} cannot be read: {reason}")]
    File { table: &'static str, path: String, reason: String },
    #[error("the table {table}: others were first with their commits {tries} times running")]
    Busy { table: &'static str, tries: usize },
    #[error("there is no table {table} in {folder} yet: nothing was collected, or this is another folder")]
    Missing { table: &'static str, folder: String },
}

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
    /// SHA-256 of its bytes, hex; files of the first versions have none.
    pub sha256: Option<String>,
    /// Its statistics in the log, as JSON.
    pub stats: Option<String>,
}

/// Files that go and files that come in one commit.
pub struct Swap<'s> {
    pub go: &'s [LiveFile],
    pub come: &'s [NewFile],
    /// Numbers that the commit remembers, by what they are of.
    pub numbers: Vec<(String, i64)>,
    pub operation: DeltaOperation,
    pub now_ms: i64,
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
        if Self::find(lake, name).is_ok() {
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
                ("delta.logRetentionDuration", Some("interval 1 day".to_owned())),
                ("delta.deletedFileRetentionDuration", Some("interval 1 day".to_owned())),
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

    /// Opens the table in `lake/NAME` where it is.
    pub async fn open(lake: &Path, name: TableName) -> Result<Self, TableError> {
        Self::open_on(lake, name, &|store| store).await
    }

    /// The same with `layer` laid over the store, under the table: tests put failures there.
    pub async fn open_on(lake: &Path, name: TableName, layer: Layer<'_>) -> Result<Self, TableError> {
        Self::find(lake, name)?;
        let mut table = Self::place(lake, name, layer)?;
        table.refresh().await?;
        Ok(table)
    }

    /// Whether there is a table in `lake/NAME`: its log has a commit or a checkpoint. Reads none.
    pub fn find(lake: &Path, name: TableName) -> Result<(), TableError> {
        let log = std::fs::read_dir(lake.join(name.as_str()).join("_delta_log"));
        let is_version = |name: &str| name.ends_with(".json") || name.ends_with(".parquet");
        let is_there = log.is_ok_and(|entries| entries.flatten().any(|entry| is_version(&entry.file_name().to_string_lossy())));
        if is_there { Ok(()) } else { Err(TableError::Missing { table: name.as_str(), folder: lake.display().to_string() }) }
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

    /// Some columns of one live file, batch by batch.
    pub async fn read(&self, path: &str, columns: &[&str]) -> Result<Vec<RecordBatch>, TableError> {
        let failed = |reason: &dyn std::fmt::Display| TableError::File { table: self.name.as_str(), path: path.to_owned(), reason: reason.to_string() };
        let found = self.store.get(&StorePath::from(path)).await.map_err(|error| failed(&error))?;
        let bytes = found.bytes().await.map_err(|error| failed(&error))?;
        let builder = ParquetRecordBatchReaderBuilder::try_new(bytes).map_err(|error| failed(&error))?;
        let mask = ProjectionMask::columns(builder.parquet_schema(), columns.iter().copied());
        let reader = builder.with_projection(mask).build().map_err(|error| failed(&error))?;
        reader.collect::<Result<_, _>>().map_err(|error| failed(&error))
    }

    /// The error of a file whose columns are not this table's.
    pub fn unlike(&self, path: &str) -> TableError {
        TableError::File { table: self.name.as_str(), path: path.to_owned(), reason: "its columns are not this table's".to_owned() }
    }

    /// The files of the version last seen.
    pub fn live_files(&self) -> Result<Vec<LiveFile>, TableError> {
        let state = self.delta.snapshot().map_err(|error| self.failed(error))?;
        Ok(state
            .log_data()
            .iter()
            .map(|view| {
                #[expect(deprecated, reason = "the only way to a file's tags")]
                let add = view.add_action();
                LiveFile {
                    rows: view.num_records(),
                    path: add.path,
                    day: add.partition_values.get(columns::DAY.name).cloned().flatten().unwrap_or_default(),
                    bytes: u64::try_from(add.size).unwrap_or(0),
                    sha256: add.tags.and_then(|mut tags| tags.remove(SHA256).flatten()),
                    stats: add.stats,
                }
            })
            .collect())
    }

    /// How many those are: to make a list of them would take a flush longer the more there are.
    pub fn count_of_files(&self) -> Result<usize, TableError> {
        Ok(self.delta.snapshot().map_err(|error| self.failed(error))?.log_data().num_files())
    }

    /// Adds `files` in one commit numbered `number` by `source`. Returns only when that is durable;
    /// an error means "unknown": refresh, and look at `committed`.
    pub async fn commit(&mut self, source: &str, number: i64, files: Vec<FileToAdd>) -> Result<(), TableError> {
        let mut added = Vec::with_capacity(files.len());
        for FileToAdd { file, bytes } in files {
            let path = StorePath::from(file.path.as_str());
            self.store.put(&path, bytes.into()).await.map_err(|reason| TableError::Store { table: self.name.as_str(), reason })?;
            added.push(file);
        }
        let operation = DeltaOperation::Write {
            mode: SaveMode::Append,
            partition_by: Some(vec![columns::DAY.name.to_owned()]),
            predicate: None,
        };
        let swap = Swap { go: &[], come: &added, numbers: vec![(source.to_owned(), number)], operation, now_ms: 0 };
        for _ in 0..COMMIT_TRIES {
            if self.swap(&swap).await?.is_some() {
                return Ok(());
            }
            // Who was first may have been this very commit, whose answer was lost.
            if self.committed(source).await?.is_some_and(|has| has >= number) {
                return Ok(());
            }
        }
        Err(TableError::Busy { table: self.name.as_str(), tries: COMMIT_TRIES })
    }

    /// Commits right on top of the version last seen, and returns the new version. `None`: somebody else's
    /// commit lies there, the newest version has been looked at, and the caller decides anew. An error
    /// means "unknown".
    pub async fn swap(&mut self, swap: &Swap<'_>) -> Result<Option<u64>, TableError> {
        let go = swap.go.iter().map(|file| {
            Action::Remove(Remove {
                path: file.path.clone(),
                data_change: true,
                deletion_timestamp: Some(swap.now_ms),
                extended_file_metadata: Some(true),
                partition_values: Some(partition_of(&file.day)),
                size: i64::try_from(file.bytes).ok(),
                ..Remove::default()
            })
        });
        let come = swap.come.iter().map(|file| {
            Action::Add(Add {
                path: file.path.clone(),
                partition_values: partition_of(&file.day),
                size: i64::try_from(file.bytes).unwrap_or(i64::MAX),
                modification_time: file.written_at_ms,
                data_change: true,
                stats: Some(format!("{{\"numRecords\":{}}}", file.rows)),
                tags: Some(HashMap::from([(SHA256.to_owned(), Some(file.sha256.clone()))])),
                ..Add::default()
            })
        });
        let actions = go.chain(come).collect();
        let numbers = swap.numbers.iter().map(|(of, number)| Transaction::new(self.transaction(of), *number)).collect();
        let properties = CommitProperties::default()
            .with_application_transactions(numbers)
            .with_max_retries(0)
            .with_create_checkpoint(false)
            .with_cleanup_expired_logs(Some(false));
        let state = self.delta.snapshot().map_err(|error| self.failed(error))?;
        let committed = CommitBuilder::from(properties)
            .with_actions(actions)
            .build(Some(state), self.delta.log_store(), swap.operation.clone())
            .await;
        // What the commit came to is known: to look at the log for it would be to go through all its files once more.
        let version = match committed {
            Ok(committed) => {
                self.delta.state = Some(committed.snapshot);
                committed.version
            }
            Err(error) if is_about_order(&error) => {
                self.refresh().await?;
                return Ok(None);
            }
            Err(error) => return Err(self.failed(error)),
        };
        if version > 0 && version % CHECKPOINT_EVERY == 0 {
            self.checkpoint().await;
        }
        Ok(Some(version))
    }

    /// Writes a checkpoint of the version last seen; whether it was written.
    pub async fn checkpoint(&self) -> bool {
        let made = create_checkpoint(&self.delta, None).await;
        if let Err(error) = &made {
            // A checkpoint saves readers time and nothing else: without it the log says the same.
            tracing::warn!(table = self.name.as_str(), version = self.version(), %error, "no checkpoint was made");
        }
        made.is_ok()
    }

    /// Whether the table, opened anew as a reader would, has the files of the version last seen, or is a
    /// later version already.
    pub async fn opens_from_checkpoint(&self) -> Result<bool, TableError> {
        let mut again = Self {
            name: self.name,
            delta: DeltaTable::new(self.delta.log_store()),
            store: self.store.clone(),
            folder: self.folder.clone(),
        };
        again.refresh().await?;
        let paths = |table: &Self| Ok::<_, TableError>(table.live_files()?.into_iter().map(|file| file.path).collect::<HashSet<_>>());
        Ok(again.version() > self.version() || (again.version() == self.version() && paths(&again)? == paths(self)?))
    }

    /// When files left the table (ms since the epoch), as far as the log still tells.
    pub async fn gone(&self) -> Result<HashMap<String, i64>, TableError> {
        let state = self.delta.snapshot().map_err(|error| self.failed(error))?;
        let log_store = self.delta.log_store();
        let gone = state.all_tombstones(log_store.as_ref()).map_ok(|file| (file.path().into_owned(), file.deletion_timestamp().unwrap_or(0)));
        gone.try_collect().await.map_err(|error| self.failed(error))
    }

    /// Every object below the table's folder.
    pub async fn objects(&self) -> Result<Vec<ObjectMeta>, TableError> {
        self.store.list(None).try_collect().await.map_err(|reason| self.unstored(reason))
    }

    /// Deletes an object of the table's folder and looks that it is gone.
    pub async fn delete(&self, path: &StorePath) -> Result<(), TableError> {
        match self.store.delete(path).await {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => {}
            Err(reason) => return Err(self.unstored(reason)),
        }
        match self.store.head(path).await {
            Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(reason) => Err(self.unstored(reason)),
            Ok(_) => Err(TableError::File { table: self.name.as_str(), path: path.to_string(), reason: "it was deleted and is still there".to_owned() }),
        }
    }

    /// Removes what a write that was cut short left of files of `source`; no listing shows it.
    pub fn sweep_unfinished(&self, source: &str) -> Result<usize, TableError> {
        store::sweep_unfinished(&self.folder, &format!("part-{source}-"))
            .map_err(|reason| StoreError::Folder { path: self.folder.display().to_string(), reason }.into())
    }

    /// Deletes the files that `source` wrote and no version names: what a crash left between writing
    /// and committing. Only `source` itself may call it, before it writes.
    pub async fn sweep(&self, source: &str) -> Result<usize, TableError> {
        let live: HashSet<String> = self.live_files()?.into_iter().map(|file| file.path).collect();
        let mark = format!("/part-{source}-");
        let mut swept = self.sweep_unfinished(source)?;
        for file in self.objects().await?.into_iter().map(|meta| meta.location) {
            if file.as_ref().contains(&mark) && !live.contains(file.as_ref()) {
                self.delete(&file).await?;
                swept += 1;
            }
        }
        Ok(swept)
    }

    fn unstored(&self, reason: object_store::Error) -> TableError {
        TableError::Store { table: self.name.as_str(), reason }
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

/// Between two tries of a commit lies one commit of another: 20 in a row are no bad luck any more.
pub const COMMIT_TRIES: usize = 20;

/// The tag of a file in the log that holds its digest.
const SHA256: &str = "sha256";

fn partition_of(day: &str) -> HashMap<String, Option<String>> {
    HashMap::from([(columns::DAY.name.to_owned(), Some(day.to_owned()))])
}

/// Whether a commit failed because another one was first, or because the log before it was tidied.
fn is_about_order(error: &DeltaTableError) -> bool {
    matches!(
        error,
        DeltaTableError::VersionAlreadyExists(_)
            | DeltaTableError::InvalidVersion(_)
            | DeltaTableError::Transaction {
                source: TransactionError::VersionAlreadyExists(_) | TransactionError::MaxCommitAttempts(_) | TransactionError::CommitConflict(_)
            }
    )
}
