//! Owns the column chunk of texts that are known by numbers: one dictionary page, then data pages (V1) of
//! numbers, and of texts as they are from where the dictionary is full (Parquet's Encodings.md: PLAIN,
//! RLE_DICTIONARY). What the `parquet` crate would write too, without hashing every value of every row once more.
//!
//! Promises: `parquet` writes the headers, the footer and the order of chunks; only what stands in a page
//! is made here. A dictionary holds what its own rows have, in the order in which it came.

use super::columns::ZSTD_LEVEL;
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

/// A page of texts as they are is ended here.
const PAGE_BYTES_MAX: usize = 1 << 20;

/// A chunk being gathered: one page in memory, those before it compressed.
pub struct Chunk {
    column: ColumnDescPtr,
    /// The numbers of the page's rows; in a page of texts as they are, whether there is one.
    numbers: Vec<u16>,
    texts: Vec<u8>,
    is_plain: bool,
    pages: TrackedWrite<Vec<u8>>,
    index: OffsetIndexBuilder,
    /// Rows in the pages before.
    rows: usize,
    nulls: u64,
    uncompressed: usize,
    numbered_pages: i32,
    plain_pages: i32,
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
    /// `is_plain`: without a dictionary from the start.
    pub fn new(column: ColumnDescPtr, is_plain: bool) -> Self {
        Self {
            column,
            numbers: Vec::new(),
            texts: Vec::new(),
            is_plain,
            pages: TrackedWrite::new(Vec::new()),
            index: OffsetIndexBuilder::new(),
            rows: 0,
            nulls: 0,
            uncompressed: 0,
            numbered_pages: 0,
            plain_pages: 0,
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
        if number == BEYOND || self.is_plain {
            return self.push_plain(at, number, known, text, press);
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

    /// Whether the dictionary is full, or there is none: pages have texts as they are.
    pub const fn is_plain(&self) -> bool {
        self.is_plain
    }

    #[inline(never)]
    fn push_plain(&mut self, at: usize, number: u16, known: usize, text: &[u8], press: &mut Press) -> Result<()> {
        if !self.is_plain {
            self.end_page(at, known, press)?;
            self.is_plain = true;
        }
        self.fill(at);
        self.numbers.push(number);
        let length = u32::try_from(text.len()).map_err(|_| ParquetError::General("a text of more than 4 GiB".to_owned()))?;
        self.texts.extend_from_slice(&length.to_le_bytes());
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
        let encoding = if self.is_plain {
            press.page.extend_from_slice(&self.texts);
            self.texts.clear();
            self.plain_pages += 1;
            Encoding::PLAIN
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
        if self.plain_pages > 0 {
            count(PageType::DATA_PAGE, Encoding::PLAIN, self.plain_pages);
        }
        let data_page_offset = bytes.bytes_written();
        let mut bytes = bytes.into_inner()?;
        bytes.extend_from_slice(&self.pages.into_inner()?);
        let mut encodings = vec![Encoding::PLAIN, Encoding::RLE];
        if has_dictionary {
            encodings.push(Encoding::RLE_DICTIONARY);
        }
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

/// Definition levels of 0 and 1, their length before them.
fn put_levels(levels: &[u16], out: &mut Vec<u8>) {
    let start = out.len();
    out.extend_from_slice(&[0; 4]);
    put_hybrid(levels, 1, out);
    let length = u32::try_from(out.len() - start - 4).unwrap_or(u32::MAX);
    if let Some(head) = out.get_mut(start..start + 4) {
        head.copy_from_slice(&length.to_le_bytes());
    }
}

/// Groups of 8 in one run of packed numbers: its header then takes one byte.
const GROUPS_MAX: usize = 63;

/// Parquet's hybrid of runs and packed numbers (Encodings.md, "Run Length Encoding / Bit-Packing Hybrid"): 8 and
/// more equal numbers are a run, what lies between is packed by 8.
fn put_hybrid(mut numbers: &[u16], width: u32, out: &mut Vec<u8>) {
    // Where the header of the packed run being written lies, and its groups.
    let mut open: Option<(usize, usize)> = None;
    while let Some(first) = numbers.first().copied() {
        let (group, rest) = numbers.split_at(numbers.len().min(8));
        if group.len() == 8 && group.iter().all(|number| *number == first) {
            end_packed(&mut open, out);
            let more = rest.iter().position(|number| *number != first).unwrap_or(rest.len());
            put_varint(out, (8 + more) << 1);
            out.extend_from_slice(first.to_le_bytes().get(..width.div_ceil(8) as usize).unwrap_or_default());
            numbers = rest.get(more..).unwrap_or_default();
            continue;
        }
        if open.is_some_and(|(_, groups)| groups == GROUPS_MAX) {
            end_packed(&mut open, out);
        }
        let (_, groups) = open.get_or_insert_with(|| {
            out.push(0);
            (out.len() - 1, 0)
        });
        *groups += 1;
        let packed = group.iter().rev().fold(0_u128, |packed, number| packed << width | u128::from(*number)).to_le_bytes();
        out.extend_from_slice(packed.get(..width as usize).unwrap_or_default());
        numbers = rest;
    }
    end_packed(&mut open, out);
}

fn end_packed(open: &mut Option<(usize, usize)>, out: &mut [u8]) {
    if let Some((at, groups)) = open.take()
        && let Some(header) = out.get_mut(at)
    {
        *header = (groups << 1 | 1) as u8;
    }
}

fn put_varint(out: &mut Vec<u8>, mut value: usize) {
    while value >= 0x80 {
        out.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

#[cfg(test)]
mod tests {
    use super::put_hybrid;
    use proptest::prelude::*;

    /// As Encodings.md has it: runs and packed groups of 8, until there are `count`.
    fn read_hybrid(mut bytes: &[u8], width: u32, count: usize) -> Vec<u16> {
        let mut numbers = Vec::new();
        while numbers.len() < count {
            let (mut header, mut shift) = (0_usize, 0);
            loop {
                let byte = bytes[0];
                bytes = &bytes[1..];
                header |= usize::from(byte & 0x7f) << shift;
                shift += 7;
                if byte & 0x80 == 0 {
                    break;
                }
            }
            if header & 1 == 0 {
                let length = width.div_ceil(8) as usize;
                let number = bytes[..length].iter().rev().fold(0, |number, byte| number << 8 | u16::from(*byte));
                bytes = &bytes[length..];
                numbers.extend(std::iter::repeat_n(number, header >> 1));
            } else {
                for _ in 0..header >> 1 {
                    let bit = |at: usize| u16::from(bytes[at / 8] >> (at % 8) & 1);
                    numbers.extend((0..8).map(|at| (0..width as usize).fold(0, |number, of| number | bit(at * width as usize + of) << of)));
                    bytes = &bytes[width as usize..];
                }
            }
        }
        assert!(bytes.is_empty());
        numbers.truncate(count);
        numbers
    }

    proptest! {
        #[test]
        fn numbers_are_read_back(runs in proptest::collection::vec((any::<u16>(), 1_usize..30), 0..200), width in 0_u32..=16) {
            let mask = ((1_u32 << width) - 1) as u16;
            let numbers: Vec<u16> = runs.iter().flat_map(|(number, length)| std::iter::repeat_n(number & mask, if length % 3 == 0 { *length } else { 1 })).collect();
            let mut bytes = Vec::new();
            put_hybrid(&numbers, width, &mut bytes);
            prop_assert_eq!(read_hybrid(&bytes, width, numbers.len()), numbers);
        }
    }
}
