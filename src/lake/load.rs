//! Owns the loading of frames into the lake, into both tables, each exactly once.
//!
//! A *source* (this node's journal, or one imported file) numbers its portions with rising numbers.
//! Each table remembers, in the same commit that adds the rows, the highest number it has of each
//! source; a portion is loaded into just those tables that do not have it. So a crash between the two
//! tables, or after a commit whose answer was lost, is mended by doing it again.

use super::batch::InteractionRows;
use super::columns::TableName;
use super::file::{FileToAdd, FileWriter};
use super::store::Layer;
use super::table::{Table, TableError};
use super::trends::Trends;
use crate::hit::clock::{Day, Moment};
use crate::journal::frame::Frame;
use crate::journal::replay::{Replayed, replay};
use std::collections::BTreeMap;
use std::path::Path;

/// The lake, open for writing by one source.
pub struct Lake {
    interactions: Table,
    trends: Table,
    source: String,
    /// A load did not end: what became of it has to be looked at first.
    is_unsure: bool,
}

/// A portion of a source's frames, numbered.
pub trait Portion {
    fn number(&self) -> i64;
    /// Calls `each` for every frame, in order.
    fn read(&self, each: &mut dyn FnMut(&Frame<'_>)) -> std::io::Result<Replayed>;
}

/// Why a load did not happen, as far as is known.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    #[error(transparent)]
    Table(#[from] TableError),
    #[error("a segment could not be read: {0}")]
    Journal(#[from] std::io::Error),
    #[error("rows could not be written as Parquet: {0}")]
    Parquet(#[from] parquet::errors::ParquetError),
    #[error("rows could not be gathered: {0}")]
    Arrow(#[from] arrow::error::ArrowError),
}

/// What a load did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Loaded {
    pub rows: usize,
    pub bytes: usize,
    pub torn_bytes: u64,
}

impl Lake {
    /// Loads `portions` (of rising numbers) and returns when both tables have all of them, durably. A
    /// portion without rows for a table makes no commit there: reading it again would do no harm.
    /// After an error, or where this was dropped halfway, nothing is known: the next load looks first.
    pub async fn load(&mut self, portions: &[impl Portion], now: Moment) -> Result<Loaded, LoadError> {
        if self.is_unsure {
            self.refresh().await?;
            self.sweep().await?;
        }
        self.is_unsure = true;
        let loaded = self.load_what_is_missing(portions, now).await?;
        self.is_unsure = false;
        Ok(loaded)
    }

    async fn load_what_is_missing(&mut self, portions: &[impl Portion], now: Moment) -> Result<Loaded, LoadError> {
        let Some(last) = portions.last().map(Portion::number) else {
            return Ok(Loaded::default());
        };
        // Interactions go first, so they have what trends have; they know the number only of what had rows.
        let (_, interactions_have) = self.committed().await?;
        let trends_have = self.trends.committed(&self.source).await?.unwrap_or(0);
        let gathered = Gathered::read(portions, interactions_have, trends_have)?;
        let torn_bytes = gathered.torn_bytes;
        let (interactions, trends) = gathered.files(&self.source, last, now)?;
        let loaded = Loaded {
            rows: interactions.iter().map(|file| file.file.rows).sum(),
            bytes: interactions.iter().map(|file| file.bytes.len()).sum(),
            torn_bytes,
        };
        if !interactions.is_empty() {
            self.interactions.commit(&self.source, last, interactions).await?;
        }
        if !trends.is_empty() {
            self.trends.commit(&self.source, last, trends).await?;
        }
        Ok(loaded)
    }

    /// Opens both tables (made where missing) for `source`, and removes what its last crash left.
    pub async fn open(folder: &Path, source: &str) -> Result<Self, TableError> {
        Self::open_on(folder, source, &|store| store).await
    }

    /// The same with `layer` laid over the store, under the tables: tests put failures there.
    pub async fn open_on(folder: &Path, source: &str, layer: Layer<'_>) -> Result<Self, TableError> {
        let interactions = Table::open_or_create_on(folder, TableName::Interactions, layer).await?;
        let trends = Table::open_or_create_on(folder, TableName::Trends, layer).await?;
        let lake = Self { interactions, trends, source: source.to_owned(), is_unsure: false };
        lake.sweep().await?;
        Ok(lake)
    }

    /// Removes what an interrupted load left.
    async fn sweep(&self) -> Result<(), TableError> {
        let mut swept = 0;
        for table in [&self.interactions, &self.trends] {
            swept += table.sweep(&self.source).await?;
        }
        if swept > 0 {
            tracing::info!(files = swept, "removed files that an interrupted commit left");
        }
        Ok(())
    }

    /// Looks at the newest versions of both tables.
    async fn refresh(&mut self) -> Result<(), TableError> {
        self.interactions.refresh().await?;
        self.trends.refresh().await
    }

    /// Up to which number each table has this source: the lower and the higher of the two.
    pub async fn committed(&self) -> Result<(i64, i64), TableError> {
        let interactions = self.interactions.committed(&self.source).await?.unwrap_or(0);
        let trends = self.trends.committed(&self.source).await?.unwrap_or(0);
        Ok((interactions.min(trends), interactions.max(trends)))
    }

    pub fn live_files(&self) -> Result<usize, TableError> {
        Ok(self.interactions.live_files()?.len() + self.trends.live_files()?.len())
    }
}

/// Rows gathered before they go to a file: 16 Ki rows of some 600 bytes are 10 MiB.
const ROWS_A_BATCH: usize = 16 << 10;

/// Portions on their way into both tables: each is read once.
#[derive(Default)]
struct Gathered {
    days: BTreeMap<Day, (InteractionRows, FileWriter)>,
    trends: Trends,
    torn_bytes: u64,
}

impl Gathered {
    /// Reads what either table does not have yet: each has all portions up to a number.
    fn read(portions: &[impl Portion], interactions_have: i64, trends_have: i64) -> Result<Self, LoadError> {
        let mut gathered = Self::default();
        let mut failure: Option<LoadError> = None;
        for portion in portions {
            let (rows, counts) = (portion.number() > interactions_have, portion.number() > trends_have);
            if !rows && !counts {
                continue;
            }
            let replayed = portion.read(&mut |frame| {
                if counts {
                    gathered.trends.count(frame);
                }
                if let (true, Frame::Interaction(record), None) = (rows, frame, &failure)
                    && let Err(error) = gather(&mut gathered.days, record)
                {
                    failure = Some(error);
                }
            })?;
            gathered.torn_bytes += replayed.torn_bytes;
        }
        failure.map_or(Ok(gathered), Err)
    }

    /// The files of both tables, named after the last portion in them.
    fn files(self, source: &str, last: i64, now: Moment) -> Result<(Vec<FileToAdd>, Vec<FileToAdd>), LoadError> {
        let mut interactions = Vec::with_capacity(self.days.len());
        for (mut rows, mut writer) in self.days.into_values() {
            if !rows.is_empty() {
                writer.write(&rows.finish()?)?;
            }
            interactions.push(writer.finish(source, last, now)?);
        }
        let mut trends = Vec::new();
        for (day, batch) in self.trends.finish()? {
            let mut writer = FileWriter::new(TableName::Trends, day)?;
            writer.write(&batch)?;
            trends.push(writer.finish(source, last, now)?);
        }
        Ok((interactions, trends))
    }
}

fn gather(days: &mut BTreeMap<Day, (InteractionRows, FileWriter)>, record: &crate::hit::record::Record<'_>) -> Result<(), LoadError> {
    let day = record.day();
    let (rows, writer) = match days.entry(day) {
        std::collections::btree_map::Entry::Occupied(there) => there.into_mut(),
        std::collections::btree_map::Entry::Vacant(free) => {
            free.insert((InteractionRows::default(), FileWriter::new(TableName::Interactions, day)?))
        }
    };
    rows.push(record);
    if rows.len() >= ROWS_A_BATCH {
        writer.write(&rows.finish()?)?;
    }
    Ok(())
}

/// Frames in memory: a portion of an import.
pub struct FramesInMemory {
    pub number: i64,
    pub frames: Vec<u8>,
}

impl Portion for FramesInMemory {
    fn number(&self) -> i64 {
        self.number
    }

    fn read(&self, each: &mut dyn FnMut(&Frame<'_>)) -> std::io::Result<Replayed> {
        Ok(replay(&self.frames, |frame| each(&frame)))
    }
}
