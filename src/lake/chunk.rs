//! Owns the column chunk of texts that are known by numbers: one dictionary page, then data pages (V1) of
//! numbers, and of texts spelled out from where the dictionary is full (Parquet's Encodings.md: RLE_DICTIONARY,
//! DELTA_LENGTH_BYTE_ARRAY). What the `parquet` crate would write too, without hashing every value of every row once more.
//!
//! Promises: `parquet` writes the headers, the footer and the order of chunks; only what stands in a page
//! is made here. A dictionary holds what its own rows have, in the order in which it came.

use super::columns::ZSTD_LEVEL;
use super::encodings::{put_hybrid, put_lengths, put_levels};
use super::vocabulary::{BEYOND, NONE, Vocabulary};
use bytes::Bytes;
use parquet::basic::{Compression, Encoding, PageType, ZstdLevel};
use parquet::bloom_filter::Sbbf;
use parquet::column::page::{CompressedPage, Page, PageWriter};
use parquet::column::writer::ColumnCloseResult;
use parquet::data_type::ByteArray;
use parquet::errors::{ParquetError, Result};
use parquet::file::metadata::{ColumnChunkMetaData, OffsetIndexBuilder, PageEncodingStats};
use parquet::file::statistics::{Statistics, ValueStatistics};
use parquet::file::writer::{SerializedPageWriter, TrackedWrite};
use parquet::schema::types::ColumnDescPtr;
use zstd::bulk::Compressor;

/// Compresses pages, one after the other: making zstd's tables anew for each would cost more than most pages.
pub struct Press {
    zstd: Compressor<'static>,
    page: Vec<u8>,
    levels: Vec<u16>,
    numbers: Vec<u16>,
}

impl Press {
    pub fn new() -> Result<Self> {
        Ok(Self { zstd: Compressor::new(ZSTD_LEVEL)?, page: Vec::new(), levels: Vec::new(), numbers: Vec::new() })
    }

    fn press(&mut self) -> Result<(Bytes, usize)> {
        Ok((self.zstd.compress(&self.page)?.into(), self.page.len()))
    }
}

/// A page of texts that are spelled out is ended here.
const PAGE_BYTES_MAX: usize = 1 << 20;

/// A chunk being gathered: one page in memory, those before it compressed.
pub struct Chunk {
    column: ColumnDescPtr,
    /// The numbers of the page's rows; in a page of texts that are spelled out, whether there is one.
    numbers: Vec<u16>,
    lengths: Vec<i32>,
    texts: Vec<u8>,
    is_spelled: bool,
    pages: TrackedWrite<Vec<u8>>,
    index: OffsetIndexBuilder,
    /// Rows in the pages before.
    rows: usize,
    nulls: u64,
    uncompressed: usize,
    numbered_pages: i32,
    spelled_pages: i32,
    /// The least and the greatest of the texts that have no number.
    extremes: Option<(Vec<u8>, Vec<u8>)>,
}

/// A chunk that is done.
pub struct ClosedChunk {
    pub bytes: Bytes,
    pub close: ColumnCloseResult,
}

/// What belongs to a chunk as a whole.
#[derive(Default)]
pub struct Whole<'c> {
    /// The dictionary in the plain encoding, and how many texts it has.
    pub dictionary: (&'c [u8], usize),
    /// The dictionary's least and greatest text, where readers may skip by the column.
    pub extremes: Option<Option<(&'c [u8], &'c [u8])>>,
    pub bloom_filter: Option<Sbbf>,
}

impl<'c> Whole<'c> {
    pub fn of(vocabulary: &'c Vocabulary, skips: bool) -> Self {
        Self { dictionary: (vocabulary.plain(), vocabulary.known()), extremes: skips.then(|| vocabulary.extremes()), bloom_filter: None }
    }
}

impl Chunk {
    /// `is_spelled`: without a dictionary from the start.
    pub fn new(column: ColumnDescPtr, is_spelled: bool) -> Self {
        Self {
            column,
            numbers: Vec::new(),
            lengths: Vec::new(),
            texts: Vec::new(),
            is_spelled,
            pages: TrackedWrite::new(Vec::new()),
            index: OffsetIndexBuilder::new(),
            rows: 0,
            nulls: 0,
            uncompressed: 0,
            numbered_pages: 0,
            spelled_pages: 0,
            extremes: None,
        }
    }

    /// Adds the text of row `at` of the group; rows left out have none. `known` is how many numbers are given so
    /// far; `text` counts only where the number does not say it, or where the pages have texts by now.
    #[inline]
    pub fn push(&mut self, at: usize, number: u16, known: usize, text: &[u8], press: &mut Press) -> Result<()> {
        if number == NONE {
            return Ok(());
        }
        if number == BEYOND || self.is_spelled {
            return self.push_spelled(at, number, known, text, press);
        }
        if self.rows + self.numbers.len() != at {
            self.fill(at);
        }
        self.numbers.push(number);
        Ok(())
    }

    /// Rows without a text, up to row `at`.
    #[inline(never)]
    fn fill(&mut self, at: usize) {
        let length = at.saturating_sub(self.rows);
        if self.numbers.len() < length {
            self.numbers.resize(length, NONE);
        }
    }

    /// Whether the dictionary is full, or there is none: texts are spelled out.
    pub const fn is_spelled(&self) -> bool {
        self.is_spelled
    }

    #[inline(never)]
    fn push_spelled(&mut self, at: usize, number: u16, known: usize, text: &[u8], press: &mut Press) -> Result<()> {
        if !self.is_spelled {
            self.end_page(at, known, press)?;
            self.is_spelled = true;
        }
        self.fill(at);
        self.numbers.push(number);
        self.lengths.push(i32::try_from(text.len()).map_err(|_| ParquetError::General("a text of more than 2 GiB".to_owned()))?);
        self.texts.extend_from_slice(text);
        match &mut self.extremes {
            None => self.extremes = Some((text.to_owned(), text.to_owned())),
            Some((least, _)) if text < least.as_slice() => text.clone_into(least),
            Some((_, greatest)) if text > greatest.as_slice() => text.clone_into(greatest),
            Some(_) => {}
        }
        if self.texts.len() >= PAGE_BYTES_MAX { self.end_page(at + 1, known, press) } else { Ok(()) }
    }

    /// Ends the page being gathered before row `at`.
    pub fn end_page(&mut self, at: usize, known: usize, press: &mut Press) -> Result<()> {
        self.fill(at);
        if self.numbers.is_empty() {
            return Ok(());
        }
        let nulls = self.numbers.iter().filter(|number| **number == NONE).count();
        press.page.clear();
        if self.column.max_def_level() > 0 {
            press.levels.clear();
            press.levels.extend(self.numbers.iter().map(|number| u16::from(*number != NONE)));
            put_levels(&press.levels, &mut press.page);
        }
        let encoding = if self.is_spelled {
            put_lengths(&self.lengths, &mut press.page);
            press.page.extend_from_slice(&self.texts);
            self.lengths.clear();
            self.texts.clear();
            self.spelled_pages += 1;
            Encoding::DELTA_LENGTH_BYTE_ARRAY
        } else {
            let width = usize::BITS - known.saturating_sub(1).leading_zeros();
            press.page.push(u8::try_from(width).unwrap_or(16));
            if nulls == 0 {
                put_hybrid(&self.numbers, width, &mut press.page);
            } else if nulls < self.numbers.len() {
                press.numbers.clear();
                press.numbers.extend(self.numbers.iter().filter(|number| **number != NONE));
                put_hybrid(&press.numbers, width, &mut press.page);
            }
            self.numbered_pages += 1;
            Encoding::RLE_DICTIONARY
        };
        let (buf, length) = press.press()?;
        let num_values = u32::try_from(self.numbers.len()).unwrap_or(u32::MAX);
        let page = Page::DataPage { buf, num_values, encoding, def_level_encoding: Encoding::RLE, rep_level_encoding: Encoding::RLE, statistics: None };
        let written = SerializedPageWriter::new(&mut self.pages).write_page(CompressedPage::new(page, length))?;
        self.index.append_row_count(i64::from(num_values));
        self.index.append_offset_and_size(i64_of(written.offset), i32::try_from(written.compressed_size).unwrap_or(i32::MAX));
        self.uncompressed += written.uncompressed_size;
        self.rows += self.numbers.len();
        self.nulls += nulls as u64;
        self.numbers.clear();
        Ok(())
    }

    /// Bytes of the pages that are done.
    pub fn bytes(&self) -> usize {
        self.pages.bytes_written()
    }

    /// Ends the chunk, whose last page is ended.
    pub fn close(mut self, whole: Whole<'_>, press: &mut Press) -> Result<ClosedChunk> {
        let (dictionary, known) = whole.dictionary;
        let mut bytes = TrackedWrite::new(Vec::with_capacity(self.pages.bytes_written() + dictionary.len() / 2 + 64));
        let mut page_stats = Vec::with_capacity(3);
        let mut count = |page_type, encoding, count| page_stats.push(PageEncodingStats { page_type, encoding, count });
        let has_dictionary = self.numbered_pages > 0;
        if has_dictionary {
            press.page.clear();
            press.page.extend_from_slice(dictionary);
            let (buf, length) = press.press()?;
            let page = Page::DictionaryPage { buf, num_values: u32::try_from(known).unwrap_or(u32::MAX), encoding: Encoding::PLAIN, is_sorted: false };
            self.uncompressed += SerializedPageWriter::new(&mut bytes).write_page(CompressedPage::new(page, length))?.uncompressed_size;
            count(PageType::DICTIONARY_PAGE, Encoding::PLAIN, 1);
            count(PageType::DATA_PAGE, Encoding::RLE_DICTIONARY, self.numbered_pages);
        }
        if self.spelled_pages > 0 {
            count(PageType::DATA_PAGE, Encoding::DELTA_LENGTH_BYTE_ARRAY, self.spelled_pages);
        }
        let data_page_offset = bytes.bytes_written();
        let mut bytes = bytes.into_inner()?;
        bytes.extend_from_slice(&self.pages.into_inner()?);
        let encodings = std::iter::once(Encoding::RLE).chain(page_stats.iter().map(|pages| pages.encoding)).collect();
        let mut metadata = ColumnChunkMetaData::builder(self.column)
            .set_compression(Compression::ZSTD(ZstdLevel::try_new(ZSTD_LEVEL)?))
            .set_encodings(encodings)
            .set_page_encoding_stats(page_stats)
            .set_num_values(i64_of(self.rows as u64))
            .set_total_compressed_size(i64_of(bytes.len() as u64))
            .set_total_uncompressed_size(i64_of(self.uncompressed as u64))
            .set_data_page_offset(i64_of(data_page_offset as u64))
            .set_dictionary_page_offset(has_dictionary.then_some(0));
        if let Some(of_dictionary) = whole.extremes {
            metadata = metadata.set_statistics(statistics(of_dictionary, self.extremes.as_ref(), self.nulls));
        }
        let mut index = self.index.build();
        for location in &mut index.page_locations {
            location.offset += i64_of(data_page_offset as u64);
        }
        let close = ColumnCloseResult {
            bytes_written: bytes.len() as u64,
            rows_written: self.rows as u64,
            metadata: metadata.build()?,
            bloom_filter: whole.bloom_filter,
            column_index: None,
            offset_index: Some(index),
        };
        Ok(ClosedChunk { bytes: bytes.into(), close })
    }
}

/// A longer text is not for statistics.
const EXTREME_BYTES_MAX: usize = 64;

fn statistics(of_dictionary: Option<(&[u8], &[u8])>, beyond: Option<&(Vec<u8>, Vec<u8>)>, nulls: u64) -> Statistics {
    let beyond = beyond.map(|(least, greatest)| (least.as_slice(), greatest.as_slice()));
    let least = of_dictionary.into_iter().chain(beyond).map(|(least, _)| least).min();
    let greatest = of_dictionary.into_iter().chain(beyond).map(|(_, greatest)| greatest).max();
    let fitting = |text: &&[u8]| text.len() <= EXTREME_BYTES_MAX;
    let extremes = least.filter(fitting).zip(greatest.filter(fitting));
    let (least, greatest) = extremes.map(|(least, greatest)| (ByteArray::from(least.to_owned()), ByteArray::from(greatest.to_owned()))).unzip();
    Statistics::ByteArray(ValueStatistics::new(least, greatest, None, Some(nulls), false))
}

fn i64_of(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
