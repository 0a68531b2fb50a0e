//! Owns the answer to an SQL question as bytes: a table to look at, CSV, NDJSON or Parquet.
//!
//! Promises: rows are passed on as they come, so that an answer of any length needs little memory; a
//! table shows the first 1,000 rows and says when there are more; no cell of CSV is taken for a formula
//! by a spreadsheet; nothing in a cell steers the terminal. Never opens a file: it is given where to write.

use super::text;
use crate::lake::sql::{Session, SqlError};
use crate::people::file::PeopleError;
use arrow::array::{Array, RecordBatch};
use arrow::buffer::NullBuffer;
use arrow::datatypes::{DataType, SchemaRef};
use arrow::error::ArrowError;
use arrow::json::LineDelimitedWriter;
use arrow::json::writer::{EncoderOptions, NullableEncoder, make_encoder};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use datafusion::execution::SendableRecordBatchStream;
use futures::StreamExt;
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::errors::ParquetError;
use parquet::file::properties::WriterProperties;
use std::io::Write;

/// The forms of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    Table,
    Csv,
    Ndjson,
    Parquet,
}

impl Format {
    pub const ALL: [Self; 4] = [Self::Table, Self::Csv, Self::Ndjson, Self::Parquet];

    pub const fn name(self) -> &'static str {
        match self {
            Self::Table => "table",
            Self::Csv => "csv",
            Self::Ndjson => "ndjson",
            Self::Parquet => "parquet",
        }
    }

    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|format| format.name() == name)
    }
}

/// What was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Answered {
    pub rows: usize,
    /// There were more rows than a table shows.
    pub cut: bool,
}

/// Why an answer is missing or incomplete.
#[derive(Debug, thiserror::Error)]
pub enum QueryError {
    #[error(transparent)]
    Sql(#[from] SqlError),
    #[error(transparent)]
    People(#[from] PeopleError),
    #[error("the answer could not be written: {0}")]
    Output(#[from] std::io::Error),
    #[error("the answer could not be put into this format: {0}")]
    Format(#[from] ArrowError),
    #[error("the answer could not be written as Parquet: {0}")]
    Parquet(#[from] ParquetError),
}

/// Rows a table shows: it is laid out by its widest cells, so all of it is held in memory.
pub const TABLE_ROWS_MAX: usize = 1_000;

/// Asks `sql` and writes the answer to `output`.
pub async fn query(session: &Session, sql: &str, format: Format, mut output: impl Write + Send) -> Result<Answered, QueryError> {
    let batches = session.run(sql).await?;
    let answered = match format {
        Format::Table => table(batches, &mut output).await,
        Format::Csv => csv(batches, &mut output).await,
        Format::Ndjson => ndjson(batches, &mut output).await,
        Format::Parquet => parquet(batches, &mut output).await,
    }?;
    output.flush()?;
    Ok(answered)
}

async fn csv(mut batches: SendableRecordBatchStream, output: &mut (impl Write + Send)) -> Result<Answered, QueryError> {
    let mut lines = String::new();
    let names = batches.schema();
    csv_line(&mut lines, names.fields().iter().map(|field| Some(unformulated(field.name().clone()))));
    let mut rows = 0;
    loop {
        output.write_all(lines.as_bytes())?;
        lines.clear();
        let Some(batch) = next(&mut batches).await? else { break };
        let mut cells = columns(&batch)?;
        for row in 0..batch.num_rows() {
            csv_line(&mut lines, cells.iter_mut().map(|cells| cells.text(row).map(|text| if cells.number { text } else { unformulated(text) })));
        }
        rows += batch.num_rows();
    }
    Ok(Answered { rows, cut: false })
}

/// One record of RFC 4180. Nothing between two commas is null; an empty text is `""`.
pub fn csv_line(line: &mut String, cells: impl Iterator<Item = Option<String>>) {
    for (at, cell) in cells.enumerate() {
        if at > 0 {
            line.push(',');
        }
        match cell {
            None => {}
            Some(cell) if cell.is_empty() || cell.contains([',', '"', '\r', '\n']) => {
                line.push('"');
                line.push_str(&cell.replace('"', "\"\""));
                line.push('"');
            }
            Some(cell) => line.push_str(&cell),
        }
    }
    line.push('\n');
}

/// A spreadsheet runs a cell that begins so; a leading `'` makes it text (OWASP, "CSV Injection").
pub fn unformulated(cell: String) -> String {
    if cell.starts_with(['=', '+', '-', '@', '\t', '\r']) { format!("'{cell}") } else { cell }
}

async fn ndjson(mut batches: SendableRecordBatchStream, output: &mut (impl Write + Send)) -> Result<Answered, QueryError> {
    let mut rows = 0;
    while let Some(batch) = next(&mut batches).await? {
        let mut writer = LineDelimitedWriter::new(Vec::new());
        writer.write(&batch)?;
        writer.finish()?;
        output.write_all(&writer.into_inner())?;
        rows += batch.num_rows();
    }
    Ok(Answered { rows, cut: false })
}

async fn parquet(mut batches: SendableRecordBatchStream, output: &mut (impl Write + Send)) -> Result<Answered, QueryError> {
    let properties = WriterProperties::builder().set_compression(Compression::ZSTD(ZstdLevel::try_new(3)?)).build();
    let mut writer = ArrowWriter::try_new(output, batches.schema(), Some(properties))?;
    let mut rows = 0;
    while let Some(batch) = next(&mut batches).await? {
        writer.write(&batch)?;
        rows += batch.num_rows();
    }
    writer.close()?;
    Ok(Answered { rows, cut: false })
}

async fn table(mut batches: SendableRecordBatchStream, output: &mut (impl Write + Send)) -> Result<Answered, QueryError> {
    let names = batches.schema();
    let mut lines: Vec<Vec<String>> = Vec::new();
    let mut cut = false;
    while let Some(batch) = next(&mut batches).await? {
        let fits = batch.num_rows().min(TABLE_ROWS_MAX - lines.len());
        let mut cells = columns(&batch)?;
        lines.extend((0..fits).map(|row| cells.iter_mut().map(|cells| cells.shown(row)).collect()));
        if fits < batch.num_rows() {
            cut = true;
            break;
        }
    }
    let text = layout(&names, &lines);
    output.write_all(text.as_bytes())?;
    Ok(Answered { rows: lines.len(), cut })
}

/// Every field of every row that holds something, by its column's name: for people to read.
pub fn fields(batch: &RecordBatch) -> Result<Vec<Vec<(String, String)>>, QueryError> {
    let mut cells = columns(batch)?;
    let schema = batch.schema();
    let row = |row: usize| schema.fields().iter().zip(&mut cells).filter_map(|(field, cells)| Some((field.name().clone(), cells.text(row)?))).collect();
    Ok((0..batch.num_rows()).map(row).collect())
}

/// Columns a cell of a table may take; CSV and NDJSON have all of it.
const CELL_WIDTH_MAX: usize = 60;

fn layout(names: &SchemaRef, lines: &[Vec<String>]) -> String {
    let heads: Vec<_> = names.fields().iter().map(|field| text::cut(&text::plain(field.name()), CELL_WIDTH_MAX).into_owned()).collect();
    let widths: Vec<_> = heads
        .iter()
        .enumerate()
        .map(|(at, head)| lines.iter().filter_map(|line| line.get(at)).chain([head]).map(|cell| text::width(cell)).max().unwrap_or(0))
        .collect();
    let mut out = String::new();
    let mut line = |cells: &[String]| {
        let fields = cells.iter().zip(&widths).zip(names.fields()).map(|((cell, width), field)| {
            if field.data_type().is_numeric() { text::right(cell, *width) } else { text::left(cell, *width) }
        });
        let fields: Vec<_> = fields.collect();
        out.push_str(fields.join("  ").trim_end());
        out.push('\n');
    };
    line(&heads);
    line(&widths.iter().map(|width| "─".repeat(*width)).collect::<Vec<_>>());
    for cells in lines {
        line(cells);
    }
    out
}

/// The cells of one column of a batch, as text.
struct Cells<'a> {
    nulls: Option<NullBuffer>,
    form: Form<'a>,
    number: bool,
}

enum Form<'a> {
    Plain(ArrayFormatter<'a>),
    /// Maps, lists and structures.
    Json(NullableEncoder<'a>),
}

const OPTIONS: FormatOptions<'static> = FormatOptions::new().with_display_error(false);

fn columns(batch: &RecordBatch) -> Result<Vec<Cells<'_>>, QueryError> {
    let columns = batch.columns().iter().zip(batch.schema_ref().fields());
    let cells = columns.map(|(array, field)| {
        let form = if field.data_type().is_nested() {
            Form::Json(make_encoder(field, array.as_ref(), &JSON)?)
        } else {
            Form::Plain(ArrayFormatter::try_new(array.as_ref(), &OPTIONS)?)
        };
        Ok(Cells { nulls: array.logical_nulls(), form, number: is_number(field.data_type()) })
    });
    cells.collect()
}

/// Encoders borrow their options; these are arrow-json's own.
static JSON: std::sync::LazyLock<EncoderOptions> = std::sync::LazyLock::new(EncoderOptions::default);

fn is_number(data_type: &DataType) -> bool {
    data_type.is_numeric() || matches!(data_type, DataType::Boolean)
}

impl Cells<'_> {
    /// `None` where null.
    fn text(&mut self, row: usize) -> Option<String> {
        if self.nulls.as_ref().is_some_and(|nulls| nulls.is_null(row)) {
            return None;
        }
        Some(match &mut self.form {
            Form::Plain(formatter) => formatter.value(row).to_string(),
            Form::Json(encoder) => {
                let mut bytes = Vec::new();
                encoder.encode(row, &mut bytes);
                String::from_utf8_lossy(&bytes).into_owned()
            }
        })
    }

    /// As a table shows it.
    fn shown(&mut self, row: usize) -> String {
        self.text(row).map_or_else(String::new, |cell| text::cut(&text::plain(&cell), CELL_WIDTH_MAX).into_owned())
    }
}

async fn next(batches: &mut SendableRecordBatchStream) -> Result<Option<RecordBatch>, SqlError> {
    batches.next().await.transpose().map_err(SqlError::from)
}

#[cfg(test)]
mod tests {
    use super::{Answered, Format, TABLE_ROWS_MAX, query};
    use crate::hit::sample::page_view;
    use crate::lake::sample::commit;
    use crate::lake::audience::Audience;
    use crate::lake::sql::{Session, SessionOptions};
    use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
    use parquet::basic::Encoding;

    async fn session(folder: &tempfile::TempDir) -> Session {
        let lake = folder.path().join("lake");
        let mut first = page_view(1, 1, 1, "/");
        first.properties = vec![("plan", "=1+1"), ("colour", "\u{1b}[31mred")];
        commit(&lake, 1, &[first, page_view(2, 2, 2, "/a,\"b\"")], &[]).await;
        Session::open(&lake, SessionOptions::new(folder.path().join("spill"), Audience::Maintenance)).unwrap()
    }

    async fn text(session: &Session, sql: &str, format: Format) -> String {
        let mut out = Vec::new();
        query(session, sql, format, &mut out).await.unwrap();
        String::from_utf8(out).unwrap()
    }

    #[tokio::test]
    async fn csv_has_no_formulas_and_knows_null_from_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let session = session(&folder).await;
        let sql = "SELECT '=1+1' AS \"=a\", '+x' AS b, '-x' AS c, '@x' AS d, chr(9) AS e, chr(13) AS f, -5 AS g, '' AS h, NULL AS i, 'a=b' AS j, -1.5 AS k, true AS l";
        let csv = text(&session, sql, Format::Csv).await;
        assert_eq!(csv, "'=a,b,c,d,e,f,g,h,i,j,k,l\n'=1+1,'+x,'-x,'@x,'\t,\"'\r\",-5,\"\",,a=b,-1.5,true\n");
        let csv = text(&session, "SELECT page_path, properties, received_at, day FROM interactions ORDER BY received_at", Format::Csv).await;
        let lines: Vec<_> = csv.lines().collect();
        assert_eq!(lines[1], "/,\"{\"\"plan\"\":\"\"=1+1\"\",\"\"colour\"\":\"\"\\u001b[31mred\"\"}\",2026-11-20T00:00:01Z,2026-11-20");
        assert_eq!(lines[2], "\"/a,\"\"b\"\"\",,2026-11-20T00:00:02Z,2026-11-20");
        assert_eq!(text(&session, "SELECT site FROM interactions WHERE false", Format::Csv).await, "site\n");
    }

    #[tokio::test]
    async fn ndjson_has_maps_as_objects() {
        let folder = tempfile::tempdir().unwrap();
        let session = session(&folder).await;
        let sql = "SELECT site, properties, properties['plan'] AS plan, received_at, is_bot, network FROM interactions ORDER BY received_at LIMIT 1";
        let expected = "{\"site\":\"acme\",\"properties\":{\"plan\":\"=1+1\",\"colour\":\"\\u001b[31mred\"},\"plan\":\"=1+1\",\
                        \"received_at\":\"2026-11-20T00:00:01Z\",\"is_bot\":false}\n";
        assert_eq!(text(&session, sql, Format::Ndjson).await, expected);
    }

    #[tokio::test]
    async fn tables_are_aligned_harmless_and_bounded() {
        let folder = tempfile::tempdir().unwrap();
        let session = session(&folder).await;
        let table = text(&session, "SELECT '日本' AS place, 7 AS n UNION ALL SELECT 'x' || chr(27) || '[2J', 1234567 ORDER BY n", Format::Table).await;
        assert_eq!(table, "place        n\n─────  ───────\n日本         7\nx�[2J  1234567\n");
        let mut out = Vec::new();
        let answered = query(&session, "SELECT value FROM generate_series(1, 5000)", Format::Table, &mut out).await.unwrap();
        assert_eq!(answered, Answered { rows: TABLE_ROWS_MAX, cut: true });
        assert_eq!(String::from_utf8(out).unwrap().lines().count(), TABLE_ROWS_MAX + 2);
    }

    #[tokio::test]
    async fn parquet_holds_the_same_rows() {
        let folder = tempfile::tempdir().unwrap();
        let session = session(&folder).await;
        let mut out = Vec::new();
        let answered = query(&session, "SELECT * FROM interactions", Format::Parquet, &mut out).await.unwrap();
        assert_eq!(answered, Answered { rows: 2, cut: false });
        let batches = ParquetRecordBatchReaderBuilder::try_new(bytes::Bytes::from(out)).unwrap().build().unwrap();
        let batches: Vec<_> = batches.map(Result::unwrap).collect();
        assert_eq!(batches.iter().map(|batch| (batch.num_rows(), batch.num_columns())).collect::<Vec<_>>(), [(2, 44)]);
    }

    /// Also where a dictionary is full: tools that know no other encodings are told to ask for this (docs/columns.md).
    #[tokio::test]
    async fn parquet_of_an_answer_has_the_oldest_encodings_alone() {
        let folder = tempfile::tempdir().unwrap();
        let session = session(&folder).await;
        let mut out = Vec::new();
        query(&session, "SELECT 'id-' || lpad(value::text, 40, '0') AS id, value FROM generate_series(1, 50000)", Format::Parquet, &mut out).await.unwrap();
        let reader = ParquetRecordBatchReaderBuilder::try_new(bytes::Bytes::from(out)).unwrap();
        for column in reader.metadata().row_group(0).columns() {
            let encodings: Vec<_> = column.encodings().collect();
            assert!(encodings.contains(&Encoding::PLAIN), "{}: {encodings:?}", column.column_path());
            assert!(encodings.iter().all(|it| matches!(it, Encoding::PLAIN | Encoding::RLE | Encoding::RLE_DICTIONARY)), "{}: {encodings:?}", column.column_path());
        }
    }
}
