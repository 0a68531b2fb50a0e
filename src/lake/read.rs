//! Owns the reading of a Parquet file that lies on a store, a row group at a time.
//!
//! Promises: holds the compressed columns of one row group and one batch of rows; a column that an older
//! version did not write is null. Never reads a file whole.

use arrow::array::{ArrayRef, AsArray, StringArray, new_null_array};
use arrow::compute::cast;
use arrow::datatypes::SchemaRef;
use arrow::error::ArrowError;
use arrow::record_batch::RecordBatch;
use bytes::Bytes;
use futures::future::BoxFuture;
use futures::{FutureExt, TryFutureExt};
use object_store::path::Path as StorePath;
use object_store::{ObjectStore, ObjectStoreExt};
use parquet::arrow::arrow_reader::ArrowReaderOptions;
use parquet::arrow::async_reader::{AsyncFileReader, ParquetRecordBatchStreamBuilder};
use parquet::errors::ParquetError;
use parquet::file::metadata::{ParquetMetaData, ParquetMetaDataReader};
use std::ops::Range;
use std::sync::Arc;

/// Opens the file at `path` of `bytes` length: its footer is read.
pub async fn open(store: Arc<dyn ObjectStore>, path: &str, bytes: u64) -> Result<ParquetRecordBatchStreamBuilder<StoredFile>, ParquetError> {
    ParquetRecordBatchStreamBuilder::new(StoredFile { store, path: StorePath::from(path), bytes }).await
}

/// A file on a store.
pub struct StoredFile {
    store: Arc<dyn ObjectStore>,
    path: StorePath,
    bytes: u64,
}

fn failed(error: object_store::Error) -> ParquetError {
    ParquetError::External(Box::new(error))
}

impl AsyncFileReader for StoredFile {
    fn get_bytes(&mut self, range: Range<u64>) -> BoxFuture<'_, Result<Bytes, ParquetError>> {
        async move { self.store.get_range(&self.path, range).map_err(failed).await }.boxed()
    }

    fn get_byte_ranges(&mut self, ranges: Vec<Range<u64>>) -> BoxFuture<'_, Result<Vec<Bytes>, ParquetError>> {
        async move { self.store.get_ranges(&self.path, &ranges).await.map_err(failed) }.boxed()
    }

    fn get_metadata<'a>(&'a mut self, options: Option<&'a ArrowReaderOptions>) -> BoxFuture<'a, Result<Arc<ParquetMetaData>, ParquetError>> {
        async move {
            let bytes = self.bytes;
            let reader = ParquetMetaDataReader::new().with_arrow_reader_options(options).with_prefetch_hint(Some(FOOTER_BYTES));
            Ok(Arc::new(reader.load_and_finish(self, bytes).await?))
        }
        .boxed()
    }
}

/// Read at once from a file's end: 44 columns of some 100 bytes in each of 8 row groups are 35 KiB.
/// So a footer is a small read (`store`).
pub const FOOTER_BYTES: usize = 64 << 10;

/// Rows of a file in the table's own schema: a column that an older version did not write is null.
pub fn conform(batch: &RecordBatch, schema: &SchemaRef) -> Result<RecordBatch, ArrowError> {
    let columns = schema.fields().iter().map(|field| match batch.column_by_name(field.name()) {
        Some(column) if column.data_type() == field.data_type() => Ok(column.clone()),
        Some(column) => cast(column, field.data_type()),
        None => Ok(new_null_array(field.data_type(), batch.num_rows())),
    });
    RecordBatch::try_new(schema.clone(), columns.collect::<Result<Vec<ArrayRef>, _>>()?)
}

/// A text column of `rows`.
pub fn text<'r>(rows: &'r RecordBatch, name: &str) -> Result<&'r StringArray, ArrowError> {
    column(rows, name)?.as_string_opt::<i32>().ok_or_else(|| unlike(name))
}

/// A column of `rows`.
pub fn column<'r>(rows: &'r RecordBatch, name: &str) -> Result<&'r ArrayRef, ArrowError> {
    rows.column_by_name(name).ok_or_else(|| unlike(name))
}

/// The error of a column that is not what the table says.
pub fn unlike(name: &str) -> ArrowError {
    ArrowError::SchemaError(format!("the column {name} is missing or of another type"))
}
