//! Owns the file of one day's interactions while rows in words come in: one column chunk a column, in the
//! order of the table of columns.
//!
//! Texts go in by their numbers (`lake::vocabulary`, `lake::chunk`), all else through Arrow. Promises: an empty
//! text is null where the column may be, and the order here is the order there (a test holds them together).
//! Never decides what is kept. Memory: a page of 20,000 rows of 43 columns (2 MB of numbers, 0.7 MB of event
//! ids, 2 MB in Arrow's builders), the vocabularies, and the pages before it, compressed.

use super::chunk::{Chunk, ClosedChunk, Press, Whole};
use super::columns::{BLOOM_FPP, INTERACTIONS, MAP_PARTS, ROW_GROUP_BYTES, ROW_GROUP_ROWS, TableName, arrow_field};
use super::file::{FileToAdd, arrow_writer};
use super::slots::Sought;
use super::trends::Trends;
use super::vocabulary::{BEYOND, IdVocabulary, Vocabularies, Word};
use crate::hit::clock::{Day, Moment};
use crate::hit::field::Id;
use crate::hit::record::{Number, Record, Text};
use arrow::array::{
    ArrayBuilder, ArrayRef, BooleanBuilder, Int32Builder, MapBuilder, MapFieldNames, StringBuilder, TimestampMicrosecondBuilder,
};
use parquet::arrow::arrow_writer::{ArrowColumnWriter, ArrowRowGroupWriterFactory, compute_leaves};
use parquet::bloom_filter::Sbbf;
use parquet::errors::Result;
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::types::SchemaDescriptor;
use std::sync::Arc;

/// A column's place in a row group.
#[derive(Clone, Copy)]
enum Slot {
    Text(Text),
    Word(Word),
    Country,
    Visitor,
    Visit,
    ReceivedAt,
    OccurredAt,
    Number(Number),
    IsBot,
    MayShare,
    Properties,
}

/// One entry a column of `INTERACTIONS`, in its order.
const SLOTS: &[(&str, Slot)] = &[
    ("event_id", Slot::Text(Text::EventId)),
    ("site", Slot::Text(Text::Site)),
    ("received_at", Slot::ReceivedAt),
    ("occurred_at", Slot::OccurredAt),
    ("channel", Slot::Word(Word::Channel)),
    ("event", Slot::Text(Text::Event)),
    ("page_url", Slot::Text(Text::PageUrl)),
    ("page_host", Slot::Text(Text::PageHost)),
    ("page_path", Slot::Text(Text::PagePath)),
    ("page_title", Slot::Text(Text::PageTitle)),
    ("referrer_url", Slot::Text(Text::ReferrerUrl)),
    ("referrer_host", Slot::Text(Text::ReferrerHost)),
    ("source_medium", Slot::Word(Word::Medium)),
    ("source_name", Slot::Text(Text::SourceName)),
    ("utm_source", Slot::Text(Text::UtmSource)),
    ("utm_medium", Slot::Text(Text::UtmMedium)),
    ("utm_campaign", Slot::Text(Text::UtmCampaign)),
    ("utm_term", Slot::Text(Text::UtmTerm)),
    ("utm_content", Slot::Text(Text::UtmContent)),
    ("target_url", Slot::Text(Text::TargetUrl)),
    ("target_host", Slot::Text(Text::TargetHost)),
    ("element", Slot::Text(Text::Element)),
    ("visitor_id", Slot::Visitor),
    ("visit_id", Slot::Visit),
    ("engaged_ms", Slot::Number(Number::EngagedMs)),
    ("scroll_percent", Slot::Number(Number::ScrollPercent)),
    ("network", Slot::Text(Text::Network)),
    ("country", Slot::Country),
    ("browser", Slot::Text(Text::Browser)),
    ("browser_version", Slot::Text(Text::BrowserVersion)),
    ("os", Slot::Text(Text::Os)),
    ("os_version", Slot::Text(Text::OsVersion)),
    ("device", Slot::Word(Word::Device)),
    ("is_bot", Slot::IsBot),
    ("language", Slot::Text(Text::Language)),
    ("screen_width", Slot::Number(Number::ScreenWidth)),
    ("screen_height", Slot::Number(Number::ScreenHeight)),
    ("regime", Slot::Word(Word::Regime)),
    ("legal_basis", Slot::Word(Word::Basis)),
    ("consent_source", Slot::Word(Word::ConsentSource)),
    ("may_share", Slot::MayShare),
    ("protocol", Slot::Word(Word::Protocol)),
    ("properties", Slot::Properties),
];

/// Interactions of one day on their way into a file, which grows in memory.
pub struct InteractionFile {
    writer: SerializedFileWriter<Vec<u8>>,
    factory: ArrowRowGroupWriterFactory,
    group: Option<Box<RowGroup>>,
    day: Day,
    rows: usize,
}

/// A page has 20,000 rows, as `parquet` has it; a row group ends as `lake::columns` says.
const PAGE_ROWS: usize = 20_000;

impl InteractionFile {
    /// Adds a row; `trends` count it, if there are any.
    pub fn push(&mut self, record: &Record<'_>, press: &mut Press, trends: Option<&mut Trends>) -> Result<()> {
        if self.group.as_ref().is_some_and(|group| group.is_full()) {
            self.end_group(press)?;
        }
        let group = match &mut self.group {
            Some(group) => group,
            None => {
                let writers = self.factory.create_column_writers(self.writer.flushed_row_groups().len())?;
                self.group.insert(Box::new(RowGroup::new(self.writer.schema_descr(), writers)))
            }
        };
        self.rows += 1;
        group.push(record, press, trends)
    }

    pub fn new(day: Day) -> Result<Self> {
        let (writer, factory) = arrow_writer(TableName::Interactions)?.into_serialized_writer()?;
        Ok(Self { writer, factory, group: None, day, rows: 0 })
    }

    /// Ends the file, named as `FileToAdd::new` says.
    pub fn finish(mut self, source: &str, number: i64, now: Moment, press: &mut Press) -> Result<FileToAdd> {
        self.end_group(press)?;
        Ok(FileToAdd::new(self.day, self.writer.into_inner()?, self.rows, source, number, now))
    }

    fn end_group(&mut self, press: &mut Press) -> Result<()> {
        match self.group.take() {
            Some(group) => group.end(&mut self.writer, press),
            None => Ok(()),
        }
    }
}

/// Rows of one row group.
struct RowGroup {
    vocabularies: Vocabularies,
    texts: [Chunk; Text::COUNT],
    words: [Chunk; Word::ALL.len()],
    country: Chunk,
    visitor: IdColumn,
    visit: IdColumn,
    others: Others,
    /// One a leaf.
    arrow: Vec<ArrowColumnWriter>,
    rows: usize,
}

impl RowGroup {
    fn push(&mut self, record: &Record<'_>, press: &mut Press, trends: Option<&mut Trends>) -> Result<()> {
        let (visitor, visit) = (self.visitor.seek(record.visitor_id), self.visit.seek(record.visit_id));
        let (at, ids) = (self.rows, self.vocabularies.ids(record));
        // Their cells come from memory while the row goes into its pages.
        let counting = trends.map(|trends| (trends.seek(record, &ids), trends));
        for (((chunk, id), text), vocabulary) in self.texts.iter_mut().zip(&ids.texts).zip(&record.texts).zip(&self.vocabularies.texts) {
            chunk.push(at, *id, vocabulary.known(), text.as_bytes(), press)?;
        }
        for ((chunk, id), vocabulary) in self.words.iter_mut().zip(ids.words).zip(&self.vocabularies.words) {
            // Of so few words every one has a number.
            chunk.push(at, id, vocabulary.known(), &[], press)?;
        }
        let country = record.country.as_ref().map_or("", |country| country.code());
        self.country.push(at, ids.country, self.vocabularies.country.known(), country.as_bytes(), press)?;
        self.visitor.push(at, visitor, press)?;
        self.visit.push(at, visit, press)?;
        self.others.push(record);
        self.rows += 1;
        if self.rows.is_multiple_of(PAGE_ROWS) {
            self.end_page(press)?;
        }
        if let Some((sought, trends)) = counting {
            trends.count_sought(record, &sought);
        }
        Ok(())
    }

    fn new(schema: &SchemaDescriptor, arrow: Vec<ArrowColumnWriter>) -> Self {
        // `properties`, the last, is the only one with more than one leaf.
        let chunk = |is_it: &dyn Fn(Slot) -> bool, is_plain| {
            let at = SLOTS.iter().position(|(_, slot)| is_it(*slot)).unwrap_or_default();
            Chunk::new(schema.column(at), is_plain)
        };
        Self {
            vocabularies: Vocabularies::default(),
            texts: std::array::from_fn(|text| chunk(&|slot| matches!(slot, Slot::Text(other) if other as usize == text), text == Text::EventId as usize)),
            words: Word::ALL.map(|word| chunk(&|slot| matches!(slot, Slot::Word(other) if other == word), false)),
            country: chunk(&|slot| matches!(slot, Slot::Country), false),
            visitor: IdColumn::new(chunk(&|slot| matches!(slot, Slot::Visitor), false), true),
            visit: IdColumn::new(chunk(&|slot| matches!(slot, Slot::Visit), false), false),
            others: Others::default(),
            arrow,
            rows: 0,
        }
    }

    fn is_full(&self) -> bool {
        self.rows >= ROW_GROUP_ROWS || (self.rows.is_multiple_of(PAGE_ROWS) && self.bytes() >= ROW_GROUP_BYTES)
    }

    fn bytes(&self) -> usize {
        let texts: usize = self.texts.iter().chain(&self.words).chain([&self.country, &self.visitor.chunk, &self.visit.chunk]).map(Chunk::bytes).sum();
        texts + self.arrow.iter().map(ArrowColumnWriter::get_estimated_total_bytes).sum::<usize>()
    }

    fn end_page(&mut self, press: &mut Press) -> Result<()> {
        let of = &self.vocabularies;
        for (chunk, vocabulary) in self.texts.iter_mut().zip(&of.texts).chain(self.words.iter_mut().zip(&of.words)).chain([(&mut self.country, &of.country)]) {
            chunk.end_page(self.rows, vocabulary.known(), press)?;
        }
        for ids in [&mut self.visitor, &mut self.visit] {
            ids.chunk.end_page(self.rows, ids.vocabulary.known(), press)?;
        }
        for (at, ((_, slot), column)) in SLOTS.iter().zip(INTERACTIONS).enumerate() {
            if let Some(array) = self.others.finish(*slot).filter(|array| !array.is_empty()) {
                let leaves = compute_leaves(&arrow_field(column), &array)?;
                for (writer, leaf) in self.arrow.iter_mut().skip(at).zip(leaves) {
                    writer.write(&leaf)?;
                }
            }
        }
        Ok(())
    }

    fn end(mut self: Box<Self>, writer: &mut SerializedFileWriter<Vec<u8>>, press: &mut Press) -> Result<()> {
        self.end_page(press)?;
        let Self { vocabularies: of, texts, words, country, visitor, visit, arrow, .. } = *self;
        let (mut texts, mut words) = (texts.map(Some), words.map(Some));
        let (mut country, mut visitor, mut visit) = (Some(country), Some(visitor), Some(visit));
        let mut arrow = arrow.into_iter();
        let mut row_group = writer.next_row_group()?;
        for ((_, slot), column) in SLOTS.iter().zip(INTERACTIONS) {
            let closed = match *slot {
                Slot::Text(text) => texts[text as usize].take().map(|chunk| chunk.close(Whole::of(&of.texts[text as usize], column.skips), press)),
                Slot::Word(word) => words[word as usize].take().map(|chunk| chunk.close(Whole::of(&of.words[word as usize], column.skips), press)),
                Slot::Country => country.take().map(|chunk| chunk.close(Whole::of(&of.country, column.skips), press)),
                Slot::Visitor => visitor.take().map(|column| column.close(press)),
                Slot::Visit => visit.take().map(|column| column.close(press)),
                Slot::ReceivedAt | Slot::OccurredAt | Slot::Number(_) | Slot::IsBot | Slot::MayShare | Slot::Properties => {
                    for leaf in arrow.by_ref().take(if matches!(slot, Slot::Properties) { 2 } else { 1 }) {
                        leaf.close()?.append_to_row_group(&mut row_group)?;
                    }
                    continue;
                }
            };
            // Its leaf in Arrow's hands got no rows.
            arrow.next();
            if let Some(ClosedChunk { bytes, close }) = closed.transpose()? {
                row_group.append_column(&bytes, close)?;
            }
        }
        row_group.close()?;
        Ok(())
    }
}

/// A column of ids. Where there are more than a dictionary has room for, they are written as they are.
struct IdColumn {
    chunk: Chunk,
    vocabulary: IdVocabulary,
    has_filter: bool,
    /// By it a person's files are found: of all ids, once there are some that the vocabulary has not.
    filter: Option<Sbbf>,
}

impl IdColumn {
    fn push(&mut self, at: usize, id: Option<(Id, Sought)>, press: &mut Press) -> Result<()> {
        let Self { chunk, vocabulary, has_filter, filter } = self;
        let Some((id, sought)) = id else { return Ok(()) };
        if !chunk.is_spelled() {
            let number = vocabulary.number(sought, id);
            if number != BEYOND {
                return chunk.push(at, number, vocabulary.known(), &[], press);
            }
            if *has_filter {
                // As large as a row group may need; folded when it is known how many there are.
                *filter = Some(filled(vocabulary, ROW_GROUP_ROWS)?);
            }
        }
        let digits = id.digits();
        if let Some(filter) = filter {
            filter.insert(digits.as_slice());
        }
        chunk.push(at, BEYOND, vocabulary.known(), &digits, press)
    }

    /// Begins to look for a row's id.
    fn seek(&self, id: Option<Id>) -> Option<(Id, Sought)> {
        id.map(|id| (id, self.vocabulary.seek(id)))
    }

    fn new(chunk: Chunk, has_filter: bool) -> Self {
        Self { chunk, vocabulary: IdVocabulary::default(), has_filter, filter: None }
    }

    fn close(self, press: &mut Press) -> Result<ClosedChunk> {
        let Self { chunk, vocabulary, has_filter, filter } = self;
        let bloom_filter = match filter {
            Some(mut filter) => {
                filter.fold_to_target_fpp(BLOOM_FPP);
                Some(filter)
            }
            None if has_filter => Some(filled(&vocabulary, vocabulary.known().max(1))?),
            None => None,
        };
        chunk.close(Whole { dictionary: (&vocabulary.plain(), vocabulary.known()), extremes: None, bloom_filter }, press)
    }
}

/// A filter with room for so many ids, of those of the vocabulary.
fn filled(vocabulary: &IdVocabulary, room: usize) -> Result<Sbbf> {
    let mut filter = Sbbf::new_with_ndv_fpp(room as u64, BLOOM_FPP)?;
    for id in vocabulary.all() {
        filter.insert(id.digits().as_slice());
    }
    Ok(filter)
}

/// The columns that are no texts of few values.
struct Others {
    received_at: TimestampMicrosecondBuilder,
    occurred_at: TimestampMicrosecondBuilder,
    numbers: [Int32Builder; Number::COUNT],
    is_bot: BooleanBuilder,
    may_share: BooleanBuilder,
    properties: MapBuilder<StringBuilder, StringBuilder>,
}

impl Others {
    fn push(&mut self, record: &Record<'_>) {
        self.received_at.append_value(record.received_at.micros());
        self.occurred_at.append_value(record.occurred_at.micros());
        for (builder, number) in self.numbers.iter_mut().zip(&record.numbers) {
            builder.append_option(*number);
        }
        self.is_bot.append_value(record.is_bot);
        self.may_share.append_value(record.may_share);
        for (key, value) in &record.properties {
            self.properties.keys().append_value(key);
            self.properties.values().append_value(value);
        }
        // Keys and values grow together above: there is no other error.
        let _ = self.properties.append(!record.properties.is_empty());
    }

    /// The rows of a column so far; its builder is empty again.
    fn finish(&mut self, slot: Slot) -> Option<ArrayRef> {
        Some(match slot {
            Slot::Text(_) | Slot::Word(_) | Slot::Country | Slot::Visitor | Slot::Visit => return None,
            Slot::ReceivedAt => Arc::new(self.received_at.finish().with_timezone("UTC")),
            Slot::OccurredAt => Arc::new(self.occurred_at.finish().with_timezone("UTC")),
            Slot::Number(number) => ArrayBuilder::finish(&mut self.numbers[number as usize]),
            Slot::IsBot => Arc::new(self.is_bot.finish()),
            Slot::MayShare => Arc::new(self.may_share.finish()),
            Slot::Properties => Arc::new(self.properties.finish()),
        })
    }
}

impl Default for Others {
    fn default() -> Self {
        let [entry, key, value] = MAP_PARTS.map(str::to_owned);
        Self {
            received_at: TimestampMicrosecondBuilder::new(),
            occurred_at: TimestampMicrosecondBuilder::new(),
            numbers: std::array::from_fn(|_| Int32Builder::new()),
            is_bot: BooleanBuilder::new(),
            may_share: BooleanBuilder::new(),
            properties: MapBuilder::new(Some(MapFieldNames { entry, key, value }), StringBuilder::new(), StringBuilder::new()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{InteractionFile, SLOTS, Slot};
    use crate::hit::clock::{Day, Moment};
    use crate::hit::field::{Country, Device, Id, Medium};
    use crate::hit::record::{Number, Record, Text};
    use crate::lake::chunk::Press;
    use crate::lake::columns::{INTERACTIONS, TableName, arrow_schema};
    use crate::hit::sample::page_view;
    use arrow::array::{Array, ArrayRef, AsArray};
    use arrow::compute::concat_batches;
    use arrow::datatypes::{Int32Type, TimestampMicrosecondType};
    use bytes::Bytes;
    use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
    use parquet::basic::Encoding;
    use parquet::file::metadata::ParquetMetaData;
    use parquet::file::reader::FileReader;
    use parquet::file::serialized_reader::SerializedFileReader;

    #[test]
    fn every_column_has_its_slot_in_order() {
        let slots: Vec<_> = SLOTS.iter().map(|(name, _)| *name).collect();
        let columns: Vec<_> = INTERACTIONS.iter().map(|column| column.name).collect();
        assert_eq!(slots, columns);
    }

    /// What a column is to have of a row, in words.
    fn expected(slot: Slot, record: &Record<'_>, required: bool) -> Option<String> {
        let number = |number: i64| Some(number.to_string());
        match slot {
            Slot::Text(text) => Some(record.text(text)).filter(|text| required || !text.is_empty()).map(str::to_owned),
            Slot::Word(word) => Some(word.name(record).to_owned()),
            Slot::Country => record.country.map(|country| country.code().to_owned()),
            Slot::Visitor => record.visitor_id.map(|id| id.to_string()),
            Slot::Visit => record.visit_id.map(|id| id.to_string()),
            Slot::ReceivedAt => number(record.received_at.micros()),
            Slot::OccurredAt => number(record.occurred_at.micros()),
            Slot::Number(of) => record.number(of).and_then(|of| number(i64::from(of))),
            Slot::IsBot => number(i64::from(record.is_bot)),
            Slot::MayShare => number(i64::from(record.may_share)),
            Slot::Properties => (!record.properties.is_empty()).then(|| format!("{:?}", record.properties)),
        }
    }

    fn found(slot: Slot, column: &ArrayRef, row: usize) -> Option<String> {
        if column.is_null(row) {
            return None;
        }
        Some(match slot {
            Slot::Text(_) | Slot::Word(_) | Slot::Country | Slot::Visitor | Slot::Visit => column.as_string::<i32>().value(row).to_owned(),
            Slot::ReceivedAt | Slot::OccurredAt => column.as_primitive::<TimestampMicrosecondType>().value(row).to_string(),
            Slot::Number(_) => column.as_primitive::<Int32Type>().value(row).to_string(),
            Slot::IsBot | Slot::MayShare => i64::from(column.as_boolean().value(row)).to_string(),
            Slot::Properties => {
                let entries = column.as_map().value(row);
                let (keys, values) = (entries.column(0).as_string::<i32>(), entries.column(1).as_string::<i32>());
                format!("{:?}", (0..keys.len()).map(|at| (keys.value(at), values.value(at))).collect::<Vec<_>>())
            }
        })
    }

    /// Writes rows, reads them back and compares every column of every row.
    fn compare(rows: usize, make: impl Fn(usize, &mut dyn FnMut(&Record<'_>))) -> (Bytes, ParquetMetaData) {
        let (mut press, mut file) = (Press::new().unwrap(), InteractionFile::new(Day(1)).unwrap());
        for row in 0..rows {
            make(row, &mut |record| {
                file.push(record, &mut press, None).unwrap();
            });
        }
        let added = file.finish("test", 1, Moment(0), &mut press).unwrap();
        assert_eq!(added.file.rows, rows);
        let reader = ParquetRecordBatchReaderBuilder::try_new(added.bytes.clone()).unwrap().build().unwrap();
        let batches: Vec<_> = reader.map(Result::unwrap).collect();
        let whole = concat_batches(&batches[0].schema(), &batches).unwrap();
        assert_eq!(whole.num_rows(), rows);
        for field in arrow_schema(TableName::Interactions).fields() {
            assert_eq!(whole.schema().field_with_name(field.name()).unwrap().data_type(), field.data_type());
        }
        for row in 0..rows {
            make(row, &mut |record| {
                for (((name, slot), column), of) in SLOTS.iter().zip(whole.columns()).zip(INTERACTIONS) {
                    assert_eq!(found(*slot, column, row), expected(*slot, record, of.required), "{name} of row {row}");
                }
            });
        }
        let metadata = SerializedFileReader::new(added.bytes.clone()).unwrap().metadata().clone();
        (added.bytes, metadata)
    }

    fn id(number: usize) -> Id {
        Id(std::array::from_fn(|at| (number as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes()[at % 8]))
    }

    #[test]
    fn what_is_written_is_read_back() {
        let (_, metadata) = compare(45_000, |row, push| {
            let (path, title) = (format!("/p{}", row % 700), format!("Title {}", row / 3));
            let mut record = page_view(row as i64, 1, 2, &path);
            let event_id = id(row).to_string();
            record.texts[Text::EventId as usize] = &event_id;
            record.texts[Text::Event as usize] = ["page_view", "click", ""][row % 5 % 3];
            record.texts[Text::PageTitle as usize] = if row % 4 == 0 { &title } else { "" };
            record.visitor_id = (row % 3 > 0).then(|| id(row % 900));
            record.visit_id = (row % 7 > 0).then(|| id(row / 5));
            record.numbers[Number::ScreenWidth as usize] = (row % 2 == 0).then_some(row as i32 % 9);
            record.country = Country::parse(["FR", "DE", "no"][row % 3]);
            record.device = [Device::Desktop, Device::Mobile][row / 100 % 2];
            record.medium = [Medium::Direct, Medium::Search][usize::from(row > 30_000)];
            record.may_share = row % 11 > 0;
            if row % 6 == 0 {
                record.properties = vec![("plan", "gold"), ("seats", "4")];
            }
            push(&record);
        });
        let column = |name: &str| metadata.row_group(0).columns().iter().find(|column| column.column_path().string() == name).unwrap().clone();
        let event = column("event");
        let statistics = event.statistics().unwrap();
        assert_eq!((statistics.min_bytes_opt(), statistics.max_bytes_opt()), (Some(&b""[..]), Some(&b"page_view"[..])));
        assert!(event.encodings().any(|encoding| encoding == Encoding::RLE_DICTIONARY));
        assert!(column("page_path").statistics().is_none() && column("visitor_id").statistics().is_none());
        assert!(column("visitor_id").bloom_filter_offset().is_some() && column("visit_id").bloom_filter_offset().is_none());
    }

    #[test]
    fn more_texts_and_ids_than_a_dictionary_has_room_for_are_written_as_they_are() {
        let rows = 70_000;
        let (bytes, metadata) = compare(rows, |row, push| {
            let path = format!("/{row}");
            let mut record = page_view(row as i64, 1, 2, &path);
            record.texts[Text::PageTitle as usize] = if row % 2 == 0 { &path } else { "" };
            record.texts[Text::Event as usize] = &path;
            record.visitor_id = (row % 10 > 0).then(|| id(row));
            // A whole page has none.
            record.visit_id = (!(40_000..60_000).contains(&row)).then(|| id(row));
            push(&record);
        });
        let event = metadata.row_group(0).columns().iter().find(|column| column.column_path().string() == "event").unwrap();
        let statistics = event.statistics().unwrap();
        assert_eq!((statistics.min_bytes_opt(), statistics.max_bytes_opt()), (Some(&b"/0"[..]), Some(&b"/9999"[..])));
        let reader = ParquetRecordBatchReaderBuilder::try_new(bytes).unwrap();
        let at = reader.parquet_schema().columns().iter().position(|column| column.name() == "visitor_id").unwrap();
        let filter = reader.get_row_group_column_bloom_filter(0, at).unwrap().unwrap();
        assert!((0..rows).filter(|row| row % 10 > 0).all(|row| filter.check(id(row).to_string().as_str())));
        assert!((rows..2 * rows).filter(|row| filter.check(id(*row).to_string().as_str())).count() < rows / 25);
    }
}
