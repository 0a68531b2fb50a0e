//! Owns the Parquet file: batches of one day in, bytes and what the log says of them out.
//!
//! Promises: written by the table of columns alone; the log's statistics hold the number of rows and
//! nothing of a person. Never touches a store.

use super::columns::{TableName, arrow_schema, writer_properties};
use crate::hit::clock::{Day, Moment};
use arrow::record_batch::RecordBatch;
use bytes::Bytes;
use chrono::DateTime;
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_writer::ArrowWriterOptions;
use parquet::errors::ParquetError;

/// A file ready to be stored and committed.
pub struct FileToAdd {
    /// `day=YYYY-MM-DD/part-SOURCE-NUMBER.parquet`, below the table's folder.
    pub path: String,
    /// `YYYY-MM-DD`.
    pub day: String,
    pub bytes: Bytes,
    pub rows: usize,
    /// The statistics of the Delta log, as JSON (Delta protocol, "Per-file Statistics").
    pub stats: String,
    pub written_at_ms: i64,
}

/// A file of one day being written; it grows in memory, compressed (about 30 bytes a row).
pub struct FileWriter {
    writer: ArrowWriter<Vec<u8>>,
    day: Day,
    rows: usize,
}

impl FileWriter {
    pub fn new(table: TableName, day: Day) -> Result<Self, ParquetError> {
        let options = ArrowWriterOptions::new().with_properties(writer_properties(table)?).with_skip_arrow_metadata(true);
        let writer = ArrowWriter::try_new_with_options(Vec::new(), arrow_schema(table), options)?;
        Ok(Self { writer, day, rows: 0 })
    }

    pub fn write(&mut self, batch: &RecordBatch) -> Result<(), ParquetError> {
        self.rows += batch.num_rows();
        self.writer.write(batch)
    }

    /// Ends the file. `source` and `number` name it, so that a second try after a crash writes over
    /// the first and leaves nothing behind.
    pub fn finish(self, source: &str, number: i64, now: Moment) -> Result<FileToAdd, ParquetError> {
        let day = day_text(self.day);
        Ok(FileToAdd {
            path: format!("day={day}/part-{source}-{number:012}.parquet"),
            day,
            bytes: self.writer.into_inner()?.into(),
            rows: self.rows,
            stats: format!("{{\"numRecords\":{}}}", self.rows),
            written_at_ms: now.micros() / 1_000,
        })
    }
}

/// `YYYY-MM-DD`.
pub fn day_text(day: Day) -> String {
    DateTime::from_timestamp_micros(day.start().micros()).map_or_else(String::new, |time| time.format("%Y-%m-%d").to_string())
}
