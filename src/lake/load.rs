//! Owns the loading of frames into the lake, into both tables, each exactly once.
//!
//! A *source* (this node's journal, or one imported file) numbers its portions with rising numbers.
//! Each table remembers, in the same commit that adds the rows, the highest number it has of each
//! source; a portion is loaded into just those tables that do not have it. So a crash between the two
//! tables, or after a commit whose answer was lost, is mended by doing it again.

use super::batch::InteractionFile;
use super::chunk::Press;
use super::columns::TableName;
use super::file::{FileToAdd, FileWriter};
use super::store::Layer;
use super::table::{Table, TableError};
use super::trends::Trends;
use crate::hit::clock::{Day, Moment};
use crate::journal::frame::Frame;
use crate::journal::replay::{Replayed, replay};
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
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

    /// How many files both tables have.
    pub fn count_of_files(&self) -> Result<usize, TableError> {
        Ok(self.interactions.count_of_files()? + self.trends.count_of_files()?)
    }
}

/// Portions on their way into both tables: each is read once.
struct Gathered {
    days: BTreeMap<Day, InteractionFile>,
    trends: Trends,
    trends_days: BTreeMap<Day, FileWriter>,
    press: Press,
    torn_bytes: u64,
}

impl Gathered {
    /// Reads what either table does not have yet: each has all portions up to a number.
    fn read(portions: &[impl Portion], interactions_have: i64, trends_have: i64) -> Result<Self, LoadError> {
        let mut gathered = Self { days: BTreeMap::new(), trends: Trends::default(), trends_days: BTreeMap::new(), press: Press::new()?, torn_bytes: 0 };
        for portion in portions {
            let wanted = Wanted { rows: portion.number() > interactions_have, counts: portion.number() > trends_have };
            if !wanted.rows && !wanted.counts {
                continue;
            }
            let mut failure: Option<LoadError> = None;
            let replayed = portion.read(&mut |frame| {
                if failure.is_none() {
                    failure = gathered.take(frame, wanted).err();
                }
            })?;
            if let Some(failure) = failure {
                return Err(failure);
            }
            gathered.torn_bytes += replayed.torn_bytes;
        }
        Ok(gathered)
    }

    fn take(&mut self, frame: &Frame<'_>, wanted: Wanted) -> Result<(), LoadError> {
        match frame {
            Frame::Interaction(record) if wanted.rows => {
                let file = match self.days.entry(record.day()) {
                    Entry::Occupied(there) => there.into_mut(),
                    Entry::Vacant(free) => free.insert(InteractionFile::new(record.day())?),
                };
                file.push(record, &mut self.press, wanted.counts.then_some(&mut self.trends))?;
            }
            Frame::Interaction(_) | Frame::Tally { .. } => {
                if wanted.counts {
                    self.trends.count(frame);
                }
            }
        }
        if self.trends.is_full() { self.take_trends() } else { Ok(()) }
    }

    fn take_trends(&mut self) -> Result<(), LoadError> {
        for (day, batch) in self.trends.take()? {
            let writer = match self.trends_days.entry(day) {
                Entry::Occupied(there) => there.into_mut(),
                Entry::Vacant(free) => free.insert(FileWriter::new(TableName::Trends, day)?),
            };
            writer.write(&batch)?;
        }
        Ok(())
    }

    /// The files of both tables, named after the last portion in them.
    fn files(mut self, source: &str, last: i64, now: Moment) -> Result<(Vec<FileToAdd>, Vec<FileToAdd>), LoadError> {
        self.take_trends()?;
        let Self { days, trends_days, mut press, .. } = self;
        let interactions = days.into_values().map(|file| file.finish(source, last, now, &mut press)).collect::<Result<_, _>>()?;
        let trends = trends_days.into_values().map(|writer| writer.finish(source, last, now)).collect::<Result<_, _>>()?;
        Ok((interactions, trends))
    }
}

/// Which tables a portion is for.
#[derive(Clone, Copy)]
struct Wanted {
    rows: bool,
    counts: bool,
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
        Ok(replay(&self.frames, each))
    }
}
