//! Owns the two tables' columns: name, type, unit and meaning, in one list each. The Arrow schema, the
//! Delta schema, the Parquet writer's settings and `docs/columns.md` all follow from it.
//!
//! Promises: a column that could single out a person is marked so and gets no statistics, in Parquet
//! or in Delta; `visitor_id` gets a bloom filter instead. Never renames: names are the contract's.

use arrow::datatypes::{DataType, Field, Fields, Schema, SchemaRef, TimeUnit};
use deltalake::kernel::{DataType as DeltaType, MapType, PrimitiveType, StructField};
use parquet::basic::{Compression, Encoding, ZstdLevel};
use parquet::errors::ParquetError;
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::schema::types::ColumnPath;
use std::sync::Arc;

/// A table of the lake.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TableName {
    Interactions,
    Trends,
}

impl TableName {
    pub const ALL: [Self; 2] = [Self::Interactions, Self::Trends];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Interactions => "interactions",
            Self::Trends => "trends",
        }
    }

    /// All columns but the partition's.
    pub const fn columns(self) -> &'static [Column] {
        match self {
            Self::Interactions => INTERACTIONS,
            Self::Trends => TRENDS,
        }
    }
}

/// The partition column of both tables.
pub const DAY: Column =
    Column { name: "day", kind: Kind::Date, required: true, skips: false, doc: "UTC day; the partition" };

/// A column.
#[derive(Debug)]
pub struct Column {
    pub name: &'static str,
    pub kind: Kind,
    pub required: bool,
    /// Readers may skip by it: it has statistics, and so must never tell of a person.
    pub skips: bool,
    pub doc: &'static str,
}

/// The types of columns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Text,
    /// Microseconds since the epoch, UTC.
    Timestamp,
    Date,
    Int,
    Long,
    Truth,
    /// Text to text.
    Map,
    Binary,
}

const fn column(name: &'static str, kind: Kind, doc: &'static str) -> Column {
    Column { name, kind, required: false, skips: false, doc }
}

const fn required(name: &'static str, kind: Kind, doc: &'static str) -> Column {
    Column { name, kind, required: true, skips: false, doc }
}

const fn skipped_by(name: &'static str, kind: Kind, doc: &'static str) -> Column {
    Column { name, kind, required: true, skips: true, doc }
}

/// One row an interaction. `lake::batch` fills them in this order.
pub const INTERACTIONS: &[Column] = &[
    required("event_id", Kind::Text, "the sender's id of the event, or one made here; repeats within 24 h are dropped"),
    skipped_by("site", Kind::Text, "the site's key"),
    skipped_by("received_at", Kind::Timestamp, "when it arrived, by the collector's clock (UTC, µs)"),
    skipped_by("occurred_at", Kind::Timestamp, "when it happened: the sender's clock, corrected by its skew (UTC, µs)"),
    required("channel", Kind::Text, "`web`, `mobile`, `telephony`, `server` or `log`"),
    skipped_by("event", Kind::Text, "`page_view`, `engagement`, `click`, `outbound_click`, `download`, `identify`, or a name of the client's own"),
    column("page_url", Kind::Text, "the page, without user, fragment and every query parameter but `utm_*`"),
    column("page_host", Kind::Text, "its host, lower case"),
    column("page_path", Kind::Text, "its path"),
    column("page_title", Kind::Text, "its title"),
    column("referrer_url", Kind::Text, "the page before, cleaned as `page_url`"),
    column("referrer_host", Kind::Text, "its host"),
    required("source_medium", Kind::Text, "`direct`, `search`, `social`, `email`, `campaign`, `referral` or `internal`"),
    column("source_name", Kind::Text, "the search engine, network, campaign source or referring host"),
    column("utm_source", Kind::Text, "of the page's URL"),
    column("utm_medium", Kind::Text, "of the page's URL"),
    column("utm_campaign", Kind::Text, "of the page's URL"),
    column("utm_term", Kind::Text, "of the page's URL"),
    column("utm_content", Kind::Text, "of the page's URL"),
    column("target_url", Kind::Text, "where a link or a download leads, cleaned as `page_url`"),
    column("target_host", Kind::Text, "its host"),
    column("element", Kind::Text, "a stable description of what was clicked"),
    column("visitor_id", Kind::Text, "32 hex digits: the visitor within this site, or within one day; null where none may be kept"),
    column("visit_id", Kind::Text, "32 hex digits: the visit, which ends after 30 minutes of silence"),
    column("engaged_ms", Kind::Int, "time in which the page was visible and used (ms)"),
    column("scroll_percent", Kind::Int, "how far the page was scrolled (0 to 100)"),
    column("network", Kind::Text, "the address cut to /24 (IPv4) or /48 (IPv6), as CIDR"),
    column("country", Kind::Text, "of the cut network (ISO 3166-1 alpha-2); null where unknown"),
    column("browser", Kind::Text, "the browser's family"),
    column("browser_version", Kind::Text, "its version, as far as it is kept"),
    column("os", Kind::Text, "the operating system's family"),
    column("os_version", Kind::Text, "its version, as far as it is kept"),
    required("device", Kind::Text, "`desktop`, `mobile`, `tablet`, `tv`, `bot` or `other`"),
    required("is_bot", Kind::Truth, "the user agent names itself a robot"),
    column("language", Kind::Text, "the first language asked for, with its region (BCP 47)"),
    column("screen_width", Kind::Int, "CSS pixels"),
    column("screen_height", Kind::Int, "CSS pixels"),
    required("regime", Kind::Text, "what the law of the place asks: `opt-in` or `opt-out`"),
    required("legal_basis", Kind::Text, "`consent`, `opt-out-regime`, `contract` or `count`"),
    required("consent_source", Kind::Text, "`cookie`, `relayed`, `tcf`, `gpp`, `us_privacy` or `none`"),
    required("may_share", Kind::Truth, "no signal objects to its counting in shared aggregates"),
    required("protocol", Kind::Text, "`native`, `snowplow`, `segment`, `matomo`, `import` or `server`"),
    column("properties", Kind::Map, "the client's own fields, cleaned"),
];

/// Aggregates without persons. Rows of one key add up: each commit adds what came since the last.
pub const TRENDS: &[Column] = &[
    skipped_by("site", Kind::Text, "the site's key; `-` where a hit named no known site"),
    skipped_by("hour", Kind::Timestamp, "start of the hour (UTC)"),
    skipped_by("dimension", Kind::Text, "what `value` is: `all`, `event`, `page`, …, `outcome`, `scrubbed` (the ledger)"),
    required("value", Kind::Text, "the dimension's value; `(other)` beyond 1,000 a dimension, site and hour"),
    required("interactions", Kind::Long, "rows (for `outcome`: hits that ended so; for `scrubbed`: values removed)"),
    required("page_views", Kind::Long, "rows whose event is `page_view`"),
    required("visits", Kind::Long, "visits that began with this value"),
    required("engaged_ms", Kind::Long, "sum (ms)"),
    column("visitors_sketch", Kind::Binary, "Apache DataSketches HLL of `visitor_id` (lgK 12); null where no row has a visitor, and once the interactions are past their term"),
];

/// The Arrow schema of a table's files.
pub fn arrow_schema(table: TableName) -> SchemaRef {
    Arc::new(Schema::new(table.columns().iter().map(arrow_field).collect::<Fields>()))
}

pub fn arrow_field(column: &Column) -> Field {
    let data_type = match column.kind {
        Kind::Text => DataType::Utf8,
        Kind::Timestamp => DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
        Kind::Date => DataType::Date32,
        Kind::Int => DataType::Int32,
        Kind::Long => DataType::Int64,
        Kind::Truth => DataType::Boolean,
        Kind::Map => map_type(),
        Kind::Binary => DataType::Binary,
    };
    Field::new(column.name, data_type, !column.required)
}

/// Parquet's own names for the parts of a map (LogicalTypes.md, "Maps").
pub const MAP_PARTS: [&str; 3] = ["key_value", "key", "value"];

fn map_type() -> DataType {
    let [entry, key, value] = MAP_PARTS;
    let parts = [Field::new(key, DataType::Utf8, false), Field::new(value, DataType::Utf8, true)];
    DataType::Map(Arc::new(Field::new(entry, DataType::Struct(Fields::from_iter(parts)), false)), false)
}

/// The Delta schema of a table, partition included.
pub fn delta_schema(table: TableName) -> Vec<StructField> {
    table.columns().iter().chain([&DAY]).map(delta_field).collect()
}

fn delta_field(column: &Column) -> StructField {
    let primitive = |primitive| DeltaType::Primitive(primitive);
    let data_type = match column.kind {
        Kind::Text => primitive(PrimitiveType::String),
        Kind::Timestamp => primitive(PrimitiveType::Timestamp),
        Kind::Date => primitive(PrimitiveType::Date),
        Kind::Int => primitive(PrimitiveType::Integer),
        Kind::Long => primitive(PrimitiveType::Long),
        Kind::Truth => primitive(PrimitiveType::Boolean),
        Kind::Map => DeltaType::Map(Box::new(MapType::new(
            primitive(PrimitiveType::String),
            primitive(PrimitiveType::String),
            true,
        ))),
        Kind::Binary => primitive(PrimitiveType::Binary),
    };
    StructField::new(column.name, data_type, true)
}

/// Levels cost alike (`docs/decisions/0007`).
pub const ZSTD_LEVEL: i32 = 1;
/// A row group ends at either: one is held in memory while it is written.
pub const ROW_GROUP_ROWS: usize = 256 << 10;
pub const ROW_GROUP_BYTES: usize = 64 << 20;
/// A page of the largest sketches ends at 4 MiB; a quarter of these rows would make files 3 % larger.
const TRENDS_PAGE_ROWS: usize = 4 << 10;
/// How often a filter says yes to an id that is not there.
pub const BLOOM_FPP: f64 = 0.01;

/// How a table's files are written: statistics only where readers skip, no key-value metadata.
pub fn writer_properties(table: TableName) -> Result<WriterProperties, ParquetError> {
    let mut properties = WriterProperties::builder()
        .set_created_by(concat!("clearpixel ", env!("CARGO_PKG_VERSION")).to_owned())
        .set_compression(Compression::ZSTD(ZstdLevel::try_new(ZSTD_LEVEL)?))
        .set_statistics_enabled(EnabledStatistics::None)
        .set_max_row_group_row_count(Some(ROW_GROUP_ROWS))
        .set_max_row_group_bytes(Some(ROW_GROUP_BYTES));
    // Trends lie by what is asked for, so pages can be skipped; interactions do not, within a row group.
    let (skips, uniques): (_, &[&str]) = match table {
        TableName::Interactions => (EnabledStatistics::Chunk, &["event_id", "received_at", "occurred_at"]),
        TableName::Trends => (EnabledStatistics::Page, &["visitors_sketch"]),
    };
    for column in table.columns().iter().filter(|column| column.skips) {
        properties = properties.set_column_statistics_enabled(ColumnPath::from(column.name), skips);
    }
    // Each is another: a dictionary of them would be built only to be given up.
    for unique in uniques {
        properties = properties.set_column_dictionary_enabled(ColumnPath::from(*unique), false);
    }
    // Where a dictionary is full, or there is none: lengths and then digits take less than both in turn (docs/decisions/0053).
    for column in table.columns().iter().filter(|column| column.kind == Kind::Text) {
        properties = properties.set_column_encoding(ColumnPath::from(column.name), Encoding::DELTA_LENGTH_BYTE_ARRAY);
    }
    match table {
        TableName::Interactions => {
            let visitor = ColumnPath::from("visitor_id");
            properties = properties.set_column_bloom_filter_enabled(visitor.clone(), true).set_column_bloom_filter_fpp(visitor, BLOOM_FPP);
        }
        TableName::Trends => {
            properties = properties.set_data_page_row_count_limit(TRENDS_PAGE_ROWS);
            // Small numbers, and hours that lie together: five look-ups in a dictionary a row, of eight (docs/decisions/0007).
            for column in table.columns().iter().filter(|column| matches!(column.kind, Kind::Long | Kind::Timestamp)) {
                let path = ColumnPath::from(column.name);
                properties = properties.set_column_dictionary_enabled(path.clone(), false).set_column_encoding(path, Encoding::DELTA_BINARY_PACKED);
            }
        }
    }
    Ok(properties.build())
}

/// `docs/columns.md`.
pub fn document() -> String {
    let mut text = String::from(
        "# Columns\n\nGenerated from `src/lake/columns.rs`. Both tables are partitioned by `day` (Delta `date`, UTC). \
         Columns marked † have statistics, so that readers can skip by them; no column that could single out a person has. \
         Files are Parquet with zstd and data pages V1; texts without a dictionary, ids above all, are `DELTA_LENGTH_BYTE_ARRAY`, \
         numbers of `trends` `DELTA_BINARY_PACKED`. For a tool that reads neither, `clearpixel query \"SELECT …\" --format parquet` \
         writes dictionaries and `PLAIN` alone.\n",
    );
    for table in TableName::ALL {
        let note = match table {
            TableName::Interactions => "One row an interaction.",
            TableName::Trends => "Aggregates without persons. Each commit adds what came since the last: rows of one key add up, and their sketches merge; compaction leaves one row a key. In `clearpixel query`, `trends` shows one row for each key and `trends_parts` the rows as they lie.",
        };
        text.push_str(&format!("\n## {}\n\n{note}\n\n| column | type | null | meaning |\n|---|---|---|---|\n", table.as_str()));
        for column in table.columns().iter().chain([&DAY]) {
            let kind = match column.kind {
                Kind::Text => "string",
                Kind::Timestamp => "timestamp",
                Kind::Date => "date",
                Kind::Int => "int",
                Kind::Long => "long",
                Kind::Truth => "boolean",
                Kind::Map => "map<string,string>",
                Kind::Binary => "binary",
            };
            let (dagger, null) = (if column.skips { " †" } else { "" }, if column.required { "no" } else { "yes" });
            text.push_str(&format!("| `{}`{dagger} | {kind} | {null} | {} |\n", column.name, column.doc));
        }
    }
    text
}
