//! Owns the Parquet file: batches of one day in; bytes, or a file on a store, and what the log says of it out.
//!
//! Promises: written by the table of columns alone; the log is told the number of rows, the digest, and
//! nothing of a person. A `FileWriter` gathers a file in memory, a `FileSink` sends it off in parts.

use crate::hit::field::hex;
use super::columns::{TableName, arrow_schema, writer_properties};
use crate::hit::clock::{Day, Moment};
use arrow::record_batch::RecordBatch;
use bytes::Bytes;
use chrono::DateTime;
use object_store::ObjectStore;
use object_store::buffered::BufWriter;
use object_store::path::Path as StorePath;
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_writer::ArrowWriterOptions;
use parquet::errors::ParquetError;
use sha2::{Digest, Sha256};
use std::sync::Arc;
use tokio::io::AsyncWriteExt;

/// A file that was written and not committed yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewFile {
    /// Below the table's folder.
    pub path: String,
    /// `YYYY-MM-DD`.
    pub day: String,
    pub bytes: u64,
    pub rows: usize,
    /// SHA-256 of its bytes, hex.
    pub sha256: String,
    pub written_at_ms: i64,
}

/// As what maintenance numbers its commits and names its files, where a collector does by its node.
pub const MAINTAIN: &str = "maintain";

/// Whether maintenance wrote the file of this path.
pub fn is_by_maintenance(path: &str) -> bool {
    number_of(path).is_some_and(|(source, _)| source == MAINTAIN)
}

/// The source and the number in a data file's name.
pub fn number_of(path: &str) -> Option<(&str, i64)> {
    let name = path.rsplit('/').next()?.strip_prefix("part-")?.strip_suffix(".parquet")?;
    let (source, number) = match name.strip_prefix(MAINTAIN).and_then(|rest| rest.strip_prefix('-')) {
        Some(rest) => (MAINTAIN, rest.split('-').next()?),
        None => name.rsplit_once('-')?,
    };
    Some((source, number.parse().ok()?))
}

/// A file ready to be stored and committed: `day=YYYY-MM-DD/part-SOURCE-NUMBER.parquet`.
pub struct FileToAdd {
    pub file: NewFile,
    pub bytes: Bytes,
}

/// A file of one day being written; it grows in memory, compressed (about 30 bytes a row).
pub struct FileWriter {
    writer: ArrowWriter<Vec<u8>>,
    day: Day,
    rows: usize,
}

impl FileWriter {
    pub fn new(table: TableName, day: Day) -> Result<Self, ParquetError> {
        Ok(Self { writer: arrow_writer(table)?, day, rows: 0 })
    }

    pub fn write(&mut self, batch: &RecordBatch) -> Result<(), ParquetError> {
        self.rows += batch.num_rows();
        self.writer.write(batch)
    }

    /// Ends the file. `source` and `number` name it, so that a second try after a crash writes over
    /// the first and leaves nothing behind.
    pub fn finish(self, source: &str, number: i64, now: Moment) -> Result<FileToAdd, ParquetError> {
        Ok(FileToAdd::new(self.day, self.writer.into_inner()?, self.rows, source, number, now))
    }
}

impl FileToAdd {
    /// The file `number` of `source` for `day`.
    pub fn new(day: Day, bytes: Vec<u8>, rows: usize, source: &str, number: i64, now: Moment) -> Self {
        let day = day_text(day);
        let file = NewFile {
            path: format!("day={day}/part-{source}-{number:012}.parquet"),
            day,
            bytes: bytes.len() as u64,
            rows,
            sha256: hex(&Sha256::digest(&bytes)),
            written_at_ms: now.micros() / 1_000,
        };
        Self { file, bytes: bytes.into() }
    }
}

/// A file of one day on its way to a store, a row group in memory at a time.
pub struct FileSink {
    writer: ArrowWriter<Vec<u8>>,
    upload: BufWriter,
    hash: Sha256,
    file: NewFile,
}

impl FileSink {
    pub fn new(table: TableName, store: Arc<dyn ObjectStore>, day: &str, path: String, now: Moment) -> Result<Self, ParquetError> {
        let upload = BufWriter::with_capacity(store, StorePath::from(path.as_str()), PART_BYTES).with_max_concurrency(2);
        let file = NewFile { path, day: day.to_owned(), bytes: 0, rows: 0, sha256: String::new(), written_at_ms: now.micros() / 1_000 };
        Ok(Self { writer: arrow_writer(table)?, upload, hash: Sha256::new(), file })
    }

    pub async fn write(&mut self, batch: &RecordBatch) -> Result<(), ParquetError> {
        self.file.rows += batch.num_rows();
        self.writer.write(batch)?;
        self.send().await
    }

    /// What the file would have if it ended here.
    pub fn bytes(&self) -> u64 {
        (self.writer.bytes_written() + self.writer.in_progress_size()) as u64
    }

    /// Ends the file: it is on the store, durably.
    pub async fn finish(mut self) -> Result<NewFile, ParquetError> {
        self.writer.finish()?;
        self.send().await?;
        self.upload.shutdown().await.map_err(|error| ParquetError::External(Box::new(error)))?;
        self.file.sha256 = hex(&self.hash.finalize());
        Ok(self.file)
    }

    async fn send(&mut self) -> Result<(), ParquetError> {
        let bytes: Bytes = std::mem::take(self.writer.inner_mut()).into();
        if bytes.is_empty() {
            return Ok(());
        }
        self.hash.update(&bytes);
        self.file.bytes += bytes.len() as u64;
        self.upload.put(bytes).await.map_err(|error| ParquetError::External(Box::new(error)))
    }
}

/// A file below this goes to the store in one put, a larger one in parts of this size.
const PART_BYTES: usize = 8 << 20;

/// What writes a table's files.
pub fn arrow_writer(table: TableName) -> Result<ArrowWriter<Vec<u8>>, ParquetError> {
    let options = ArrowWriterOptions::new().with_properties(writer_properties(table)?).with_skip_arrow_metadata(true);
    ArrowWriter::try_new_with_options(Vec::new(), arrow_schema(table), options)
}

/// `YYYY-MM-DD`.
pub fn day_text(day: Day) -> String {
    DateTime::from_timestamp_micros(day.start().micros()).map_or_else(String::new, |time| time.format("%Y-%m-%d").to_string())
}

#[cfg(test)]
mod tests {
    use super::number_of;

    #[test]
    fn names_tell_source_and_number() {
        for (path, is) in [
            ("day=2026-11-20/part-0a1b2c3d4e5f-000000000012.parquet", Some(("0a1b2c3d4e5f", 12))),
            ("day=2026-11-20/part-import-ab-cd-000000000002.parquet", Some(("import-ab-cd", 2))),
            ("day=2026-11-20/part-maintain-0000000001048577-0003.parquet", Some(("maintain", 1_048_577))),
            ("day=2026-11-20/part-maintain-0000000001048577-0003-unsettled.parquet", Some(("maintain", 1_048_577))),
            ("day=2026-11-20/part-00000-1b2c-c000.snappy.parquet", None),
            ("day=2026-11-20/other.parquet", None),
            ("_delta_log/00000000000000000001.checkpoint.parquet", None),
        ] {
            assert_eq!(number_of(path), is, "{path}");
        }
    }
}
