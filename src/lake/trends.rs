//! Owns trends: aggregates without persons, made from the rows and tallies of one commit.
//!
//! Knows the dimensions and Apache DataSketches' HLL. Promises: at most 1,000 values a dimension,
//! site and hour whenever they are taken, the most frequent ones, the rest under `(other)`, so that totals stay
//! whole; a sketch is fed with the bytes of `visitor_id`, so that other languages merge it. Holds 96 MiB, 192 at the
//! very most, and says when it is full. Never holds a visitor's id itself.

use super::columns::{TableName, arrow_schema};
use super::known::Known;
use super::vocabulary::{BEYOND, Ids, NONE, Word};
use crate::hit::clock::{Day, Hour};
use crate::hit::outcome::Outcome;
use crate::hit::record::{Number, Record, Text};
use crate::journal::frame::Frame;
use crate::rules::ahead;
use arrow::array::{ArrayRef, BinaryBuilder, Int64Builder, StringBuilder, TimestampMicrosecondBuilder};
use arrow::error::ArrowError;
use arrow::record_batch::RecordBatch;
use datasketches::hash::value::raw_bytes;
use datasketches::hll::{Coupon, HllSketch, HllType};
use hashbrown::HashMap;
use std::collections::BTreeMap;
use std::sync::Arc;

/// What a row of `trends` counts by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Dimension {
    All,
    Event,
    Page,
    EntryPage,
    Referrer,
    Source,
    Campaign,
    Country,
    Browser,
    Os,
    Device,
    Language,
    Target,
    Element,
    Outcome,
    Scrubbed,
}

impl Dimension {
    pub const ALL: [Self; 16] = [
        Self::All,
        Self::Event,
        Self::Page,
        Self::EntryPage,
        Self::Referrer,
        Self::Source,
        Self::Campaign,
        Self::Country,
        Self::Browser,
        Self::Os,
        Self::Device,
        Self::Language,
        Self::Target,
        Self::Element,
        Self::Outcome,
        Self::Scrubbed,
    ];

    pub const fn name(self) -> &'static str {
        match self {
            Self::All => "all",
            Self::Event => "event",
            Self::Page => "page",
            Self::EntryPage => "entry_page",
            Self::Referrer => "referrer",
            Self::Source => "source",
            Self::Campaign => "campaign",
            Self::Country => "country",
            Self::Browser => "browser",
            Self::Os => "os",
            Self::Device => "device",
            Self::Language => "language",
            Self::Target => "target",
            Self::Element => "element",
            Self::Outcome => "outcome",
            Self::Scrubbed => "scrubbed",
        }
    }

    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|dimension| dimension.name() == name)
    }

    /// The value of `record` in this dimension as one or two joined parts; empty = none.
    fn value<'a>(self, record: &'a Record<'_>) -> [&'a str; 2] {
        let one = |text| [record.text(text), ""];
        match self {
            Self::All | Self::Scrubbed => ["", ""],
            // A row is a hit that was stored.
            Self::Outcome => [Outcome::Stored.name(), ""],
            Self::Event => one(Text::Event),
            Self::Page => [record.text(Text::PageHost), record.text(Text::PagePath)],
            Self::EntryPage if record.starts_visit => [record.text(Text::PageHost), record.text(Text::PagePath)],
            Self::EntryPage => ["", ""],
            Self::Referrer => one(Text::ReferrerHost),
            Self::Source if record.text(Text::SourceName).is_empty() => [record.medium.name(), ""],
            Self::Source => one(Text::SourceName),
            Self::Campaign => one(Text::UtmCampaign),
            Self::Country => [record.country.as_ref().map_or("", |country| country.code()), ""],
            Self::Browser => one(Text::Browser),
            Self::Os => one(Text::Os),
            Self::Device => [record.device.name(), ""],
            Self::Language => one(Text::Language),
            Self::Target => one(Text::TargetHost),
            Self::Element => one(Text::Element),
        }
    }

    /// The numbers of the value of a row, `None` where it has none. `BEYOND` among them says that they do not
    /// tell values apart.
    const fn numbers(self, record: &Record<'_>, ids: &Ids) -> Option<[u16; 2]> {
        let numbers = match self {
            Self::All | Self::Outcome => [0, 0],
            Self::Scrubbed => [NONE, 0],
            Self::Event => [ids.text(Text::Event), 0],
            Self::Page => [ids.text(Text::PageHost), ids.text(Text::PagePath)],
            Self::EntryPage if record.starts_visit => [ids.text(Text::PageHost), ids.text(Text::PagePath)],
            Self::EntryPage => [NONE, 0],
            Self::Referrer => [ids.text(Text::ReferrerHost), 0],
            // Names and media have numbers of their own.
            Self::Source if ids.text(Text::SourceName) == NONE => [ids.word(Word::Medium), 1],
            Self::Source => [ids.text(Text::SourceName), 0],
            Self::Campaign => [ids.text(Text::UtmCampaign), 0],
            Self::Country => [ids.country, 0],
            Self::Browser => [ids.text(Text::Browser), 0],
            Self::Os => [ids.text(Text::Os), 0],
            Self::Device => [ids.word(Word::Device), 0],
            Self::Language => [ids.text(Text::Language), 0],
            Self::Target => [ids.text(Text::TargetHost), 0],
            Self::Element => [ids.text(Text::Element), 0],
        };
        if numbers[0] == NONE { None } else { Some(numbers) }
    }
}

/// Values a dimension, site and hour may have; the rest is counted under `OTHER`.
pub const VALUES_MAX: usize = 1_000;
pub const OTHER: &str = "(other)";

/// Sketches of 2^12 registers: a standard error of 1.04 / √4096 = 1.6 %, 4 KiB at most.
pub const SKETCH_LG_K: u8 = 12;

/// Aggregates being gathered.
#[derive(Default)]
pub struct Trends {
    sites: HashMap<Arc<str>, BTreeMap<Hour, Dimensions>>,
    cells: Vec<Cell>,
    /// Places in `cells` that are nobody's.
    free: Vec<u32>,
    known: Known,
    waiting: Waiting,
    /// Bytes held, roughly.
    held: usize,
}

/// The values of each dimension, in the order of `Dimension::ALL`, and where their cells are.
type Dimensions = [Values; Dimension::ALL.len()];
/// Seeded anew for each map; a sender who could make values collide would slow one flush of one site.
type Values = HashMap<Box<str>, u32>;

/// Rows whose cells are known and wait for their turn: taken dimension by dimension and in each site by site, the
/// cells and sketches at hand stay in the processor's nearest caches, however many sites there are.
#[derive(Default)]
struct Waiting {
    addends: Vec<Addend>,
    /// The number of each row's site and hour, and the row.
    site_hours: Vec<(u32, u32)>,
    /// The place of each row's cell, or `NO_CELL`.
    cells: [Vec<u32>; Dimension::ALL.len()],
}

/// Half of what `Option<u32>` takes.
const NO_CELL: u32 = u32::MAX;

/// 64 Ki rows: an addend of 16 bytes, 8 of its site's hour and 16 cells of 4 are 6 MiB. Of 1,000 sites some 60 rows each:
/// their cells come from memory once in 60 rows.
const WAITING_MAX: usize = 64 << 10;

/// 8 Ki cells of 80 bytes are 640 KiB. A cell is asked for so many rows before its own.
const CELLS_NEAR: usize = 8 << 10;
const AHEAD: usize = 8;

/// A row may make 16 sketches of two visitors each.
const ROW_GROWTH_MAX: usize = Dimension::ALL.len() * sketch_bytes(2);

#[derive(Default)]
struct Cell {
    interactions: i64,
    page_views: i64,
    visits: i64,
    engaged_ms: i64,
    visitors: Visitors,
}

/// Most values have one visitor in a commit: those need no sketch.
#[derive(Default)]
enum Visitors {
    #[default]
    None,
    One(Coupon),
    Many(Box<HllSketch>),
}

/// A dimension of a site's hour is cut to `VALUES_MAX` when it has grown to this: a value of which one row in
/// 3,000 is stays in any case. 16 dimensions of 4,000 cells of some 250 bytes are 16 MB a site and hour.
const VALUES_HELD: usize = 4 * VALUES_MAX;

/// 10,000 sites and hours with many values each are written in several turns, for rows of one key add up.
const HELD_MAX: usize = 96 << 20;
/// What waits may make of it at the very most: each row two visitors of each of its cells.
const GROWN_MAX: usize = 2 * HELD_MAX;

impl Trends {
    /// Counts a frame: an interaction in every dimension, as `stored` and by what was removed from it; a tally
    /// as its outcome.
    pub fn count(&mut self, frame: &Frame<'_>) {
        match frame {
            Frame::Interaction(record) => self.count_record(record),
            Frame::Tally { site, hour, outcome, count } => self.count_outcome(site, *hour, *outcome, *count),
        }
    }

    /// Counts an interaction whose texts have numbers.
    pub fn count_numbered(&mut self, record: &Record<'_>, ids: &Ids) {
        let (hour, site) = (record.hour(), ids.text(Text::Site));
        if site == BEYOND || hour != record.received_at.hour() {
            return self.count_record(record);
        }
        let site_hour = self.known.site_hour((ids.epoch, site, hour));
        // All are asked for at once, so that they answer together, while other things are counted.
        let sought = Dimension::ALL.map(|dimension| {
            let numbers = dimension.numbers(record, ids)?;
            Some((self.known.seek(site_hour, dimension as u8, numbers), numbers.contains(&BEYOND)))
        });
        self.count_scrubbed(record);
        let addend = Addend::of(record);
        let mut places = [NO_CELL; Dimension::ALL.len()];
        for ((place, sought), dimension) in places.iter_mut().zip(&sought).zip(Dimension::ALL) {
            let Some((wanted, is_beyond)) = *sought else { continue };
            let known = self.known.find(site_hour, wanted);
            let Some(at) = known.or_else(|| self.look_up(record, dimension)) else { continue };
            if known.is_none() && !is_beyond {
                self.known.note(site_hour, wanted, at);
            }
            *place = at;
        }
        self.waiting.push(site_hour, addend, &places);
        let rows = self.waiting.addends.len();
        if rows >= WAITING_MAX || self.held + rows * ROW_GROWTH_MAX >= GROWN_MAX {
            self.held += self.waiting.settle(&mut self.cells);
        }
    }

    pub fn count_outcome(&mut self, site: &str, hour: Hour, outcome: Outcome, count: u64) {
        self.add_up(site, hour, Dimension::Outcome, outcome.name(), count);
    }

    fn count_record(&mut self, record: &Record<'_>) {
        // The ledger counts when a hit came; what is brought in from the past came now.
        self.count_outcome(record.text(Text::Site), record.received_at.hour(), Outcome::Stored, 1);
        self.count_scrubbed(record);
        let addend = Addend::of(record);
        for dimension in Dimension::ALL {
            if matches!(dimension, Dimension::Outcome | Dimension::Scrubbed) {
                continue;
            }
            if let Some(at) = self.look_up(record, dimension)
                && let Some(cell) = self.cells.get_mut(at as usize)
            {
                self.held += cell.add(addend);
            }
        }
    }

    fn count_scrubbed(&mut self, record: &Record<'_>) {
        for (kind, count) in record.scrubbed.kinds() {
            self.add_up(record.text(Text::Site), record.received_at.hour(), Dimension::Scrubbed, kind.name(), count);
        }
    }

    fn add_up(&mut self, site: &str, hour: Hour, dimension: Dimension, value: &str, count: u64) {
        let at = self.cell(site, hour, dimension, value);
        if let Some(cell) = self.cells.get_mut(at as usize) {
            cell.interactions += i64::try_from(count).unwrap_or(i64::MAX);
        }
    }

    /// The place of the cell in which `record` counts, `None` where it has no value.
    fn look_up(&mut self, record: &Record<'_>, dimension: Dimension) -> Option<u32> {
        let [first, second] = dimension.value(record);
        if dimension != Dimension::All && first.is_empty() {
            return None;
        }
        let (site, hour) = (record.text(Text::Site), record.hour());
        if second.is_empty() {
            return Some(self.cell(site, hour, dimension, first));
        }
        Some(self.cell(site, hour, dimension, &[first, second].concat()))
    }

    /// The place of a cell, made where it is missing.
    fn cell(&mut self, site: &str, hour: Hour, dimension: Dimension, value: &str) -> u32 {
        let Self { sites, cells, free, known, held, waiting } = self;
        let values = &mut sites.entry_ref(site).or_default().entry(hour).or_default()[dimension as usize];
        if values.len() >= VALUES_HELD && !values.contains_key(value) {
            *held += waiting.settle(cells);
            *held = held.saturating_sub(cut(values, cells, free));
            known.clear();
        }
        *values.entry_ref(value).or_insert_with(|| {
            *held += CELL_BYTES + value.len();
            free.pop().unwrap_or_else(|| {
                cells.push(Cell::default());
                u32::try_from(cells.len() - 1).unwrap_or(u32::MAX)
            })
        })
    }

    pub fn is_empty(&self) -> bool {
        self.sites.is_empty()
    }

    /// Whether what is gathered has to be taken before more is counted.
    pub const fn is_full(&self) -> bool {
        self.held >= HELD_MAX
    }

    /// All rows, a batch a day, those of a site together and in them those of a dimension; nothing is held after that.
    pub fn take(&mut self) -> Result<Vec<(Day, RecordBatch)>, ArrowError> {
        let Self { sites, mut cells, mut waiting, .. } = std::mem::take(self);
        waiting.settle(&mut cells);
        let mut days: BTreeMap<Day, Rows> = BTreeMap::new();
        // The same few visitors are alone in many cells of their site.
        let mut alone = Alone::new();
        let mut sites: Vec<_> = sites.into_iter().collect();
        sites.sort_by(|left, right| left.0.cmp(&right.0));
        for (site, mut hours) in sites {
            alone.clear();
            for dimension in Dimension::ALL {
                for (hour, dimensions) in &mut hours {
                    let mut values = std::mem::take(&mut dimensions[dimension as usize]);
                    if values.len() > VALUES_MAX {
                        cut(&mut values, &mut cells, &mut Vec::new());
                    }
                    let mut values: Vec<_> = values.into_iter().collect();
                    values.sort_unstable_by(|left, right| left.0.cmp(&right.0));
                    let rows = days.entry(hour.day()).or_default();
                    for (value, at) in values {
                        if let Some(cell) = cells.get(at as usize) {
                            rows.push(&site, *hour, dimension, &value, cell, &mut alone);
                        }
                    }
                }
            }
        }
        days.into_iter().map(|(day, rows)| Ok((day, rows.finish()?))).collect()
    }
}

impl Waiting {
    fn push(&mut self, site_hour: u32, addend: Addend, places: &[u32; Dimension::ALL.len()]) {
        // Never more than `WAITING_MAX`.
        self.site_hours.push((site_hour, self.addends.len() as u32));
        self.addends.push(addend);
        for (cells, at) in self.cells.iter_mut().zip(places) {
            cells.push(*at);
        }
    }

    /// Adds rows to their cells; by how many bytes those may have grown.
    fn settle(&mut self, cells: &mut [Cell]) -> usize {
        let Self { addends, site_hours, cells: places } = self;
        // Rows of one site together, as they came.
        site_hours.sort_unstable();
        let mut grown = 0;
        // Where cells take more room than the nearest caches have, each is asked for before its turn.
        let asks_ahead = cells.len() > CELLS_NEAR;
        for (dimension, places) in Dimension::ALL.into_iter().zip(places) {
            let cell_of = |number: usize| site_hours.get(number).and_then(|(_, row)| places.get(*row as usize)).filter(|at| **at != NO_CELL);
            for (number, (_, row)) in site_hours.iter().enumerate() {
                if asks_ahead {
                    if let Some(cell) = cell_of(number + AHEAD).and_then(|at| cells.get(*at as usize)) {
                        ahead::fetch(&cell.interactions);
                        ahead::fetch(&cell.visitors);
                    }
                    // Its sketch, once the cell itself is near.
                    if let Some(Cell { visitors: Visitors::Many(sketch), .. }) = cell_of(number + AHEAD / 2).and_then(|at| cells.get(*at as usize)) {
                        ahead::fetch(&**sketch);
                    }
                }
                let Some(at) = cell_of(number) else { continue };
                let (Some(cell), Some(addend)) = (cells.get_mut(*at as usize), addends.get(*row as usize)) else { continue };
                if dimension == Dimension::Outcome {
                    cell.interactions += 1;
                } else {
                    grown += cell.add(*addend);
                }
            }
            places.clear();
        }
        site_hours.clear();
        addends.clear();
        grown
    }
}

/// Leaves the most frequent values and gathers the others under `OTHER`, at most `VALUES_MAX` in all; how many
/// bytes that set free. Adds the places of cells that are nobody's any more to `free`.
fn cut(values: &mut Values, cells: &mut [Cell], free: &mut Vec<u32>) -> usize {
    let mut take = |at: u32| cells.get_mut(at as usize).map(std::mem::take).unwrap_or_default();
    let mut rest = values.remove(OTHER).map(|at| (at, take(at))).into_iter().collect::<Vec<_>>();
    let mut ranked: Vec<_> = values.drain().map(|(value, at)| (take(at), value, at)).collect();
    ranked.sort_unstable_by(|left, right| right.0.interactions.cmp(&left.0.interactions).then_with(|| left.1.cmp(&right.1)));
    let mut freed = 0;
    for (cell, value, at) in ranked.split_off(ranked.len().min(VALUES_MAX - 1)) {
        freed += CELL_BYTES + value.len() + sketch_bytes(cell.interactions);
        rest.push((at, cell));
    }
    for (cell, value, at) in ranked {
        if let Some(place) = cells.get_mut(at as usize) {
            *place = cell;
        }
        values.insert(value, at);
    }
    let mut places = rest.iter().map(|(at, _)| *at).collect::<Vec<_>>();
    if let Some(other) = places.pop() {
        if let Some(place) = cells.get_mut(other as usize) {
            *place = merged(rest.into_iter().map(|(_, cell)| cell));
        }
        values.insert(OTHER.into(), other);
    }
    free.append(&mut places);
    freed
}

/// What a row adds to each of its cells, worked out once.
#[derive(Clone, Copy)]
struct Addend {
    engaged_ms: i32,
    is_page_view: bool,
    starts_visit: bool,
    /// The visitor as a sketch sees them.
    visitor: Option<Coupon>,
}

impl Addend {
    fn of(record: &Record<'_>) -> Self {
        Self {
            engaged_ms: record.number(Number::EngagedMs).unwrap_or(0),
            is_page_view: record.text(Text::Event) == "page_view",
            starts_visit: record.starts_visit,
            visitor: record.visitor_id.map(|visitor| Coupon::from_value(raw_bytes::from_slice(&visitor.digits()))),
        }
    }
}

/// A cell (80 bytes), its place by text (24 and the text) and by numbers (13), in tables half full.
const CELL_BYTES: usize = 200;

/// What a sketch of so many interactions may take up: it grows when it has 2, 8, 24, 48, … visitors.
const fn sketch_bytes(interactions: i64) -> usize {
    match interactions {
        ..2 => 0,
        2..8 => 200,
        8..24 => 330,
        24..48 => 460,
        48..96 => 720,
        96..192 => 1_230,
        192..384 => 2_250,
        384.. => 4_300,
    }
}

impl Cell {
    /// Adds a row; by how many bytes that may have made it larger.
    fn add(&mut self, addend: Addend) -> usize {
        self.interactions += 1;
        self.page_views += i64::from(addend.is_page_view);
        self.visits += i64::from(addend.starts_visit);
        self.engaged_ms += i64::from(addend.engaged_ms);
        let Some(visitor) = addend.visitor else { return 0 };
        self.visitors.add(visitor);
        if self.interactions > 384 {
            return 0;
        }
        sketch_bytes(self.interactions) - sketch_bytes(self.interactions - 1)
    }
}

impl Visitors {
    fn add(&mut self, visitor: Coupon) {
        match self {
            Self::None => *self = Self::One(visitor),
            Self::One(there) if *there == visitor => {}
            Self::One(there) => {
                if let Some(mut sketch) = sketch_of(*there) {
                    sketch.update_with_coupon(visitor);
                    *self = Self::Many(Box::new(sketch));
                }
            }
            Self::Many(sketch) => sketch.update_with_coupon(visitor),
        }
    }

    /// Appends the sketch's bytes, null where there is nobody.
    fn append_to(&self, sketches: &mut BinaryBuilder, alone: &mut Alone) {
        match self {
            Self::None => sketches.append_null(),
            Self::One(visitor) => sketches.append_option(alone.entry(*visitor).or_insert_with(|| sketch_of(*visitor).map(|sketch| sketch.serialize())).as_ref()),
            Self::Many(sketch) => sketches.append_value(sketch.serialize()),
        }
    }
}

/// All cells in one.
fn merged(cells: impl IntoIterator<Item = Cell>) -> Cell {
    let (mut whole, mut sketches) = (Cell::default(), Vec::new());
    for cell in cells {
        whole.interactions += cell.interactions;
        whole.page_views += cell.page_views;
        whole.visits += cell.visits;
        whole.engaged_ms += cell.engaged_ms;
        match cell.visitors {
            Visitors::None => {}
            Visitors::One(visitor) => whole.visitors.add(visitor),
            Visitors::Many(sketch) => sketches.push(sketch),
        }
    }
    if !sketches.is_empty() {
        let ones = match &whole.visitors {
            Visitors::None => None,
            Visitors::One(visitor) => sketch_of(*visitor).map(Box::new),
            Visitors::Many(sketch) => Some(sketch.clone()),
        };
        if let Some(sketch) = merge_sketches(sketches.iter().chain(&ones).map(|sketch| &**sketch)) {
            whole.visitors = Visitors::Many(Box::new(sketch));
        }
    }
    whole
}

/// Visitors who are alone in a cell, and the bytes of their sketches.
type Alone = HashMap<Coupon, Option<Vec<u8>>>;

fn sketch_of(visitor: Coupon) -> Option<HllSketch> {
    let mut sketch = new_sketch()?;
    sketch.update_with_coupon(visitor);
    Some(sketch)
}

/// An empty sketch of the lake's size.
pub fn new_sketch() -> Option<HllSketch> {
    HllSketch::new(SKETCH_LG_K, HllType::Hll8).ok()
}

/// One sketch that counts whoever any of `sketches` counts.
pub fn merge_sketches<'s>(sketches: impl IntoIterator<Item = &'s HllSketch>) -> Option<HllSketch> {
    let mut union = datasketches::hll::HllUnion::new(SKETCH_LG_K).ok()?;
    for sketch in sketches {
        union.update(sketch);
    }
    Some(union.to_sketch(HllType::Hll8))
}

#[derive(Default)]
struct Rows {
    site: StringBuilder,
    hour: TimestampMicrosecondBuilder,
    dimension: StringBuilder,
    value: StringBuilder,
    interactions: Int64Builder,
    page_views: Int64Builder,
    visits: Int64Builder,
    engaged_ms: Int64Builder,
    visitors_sketch: BinaryBuilder,
}

impl Rows {
    fn push(&mut self, site: &str, hour: Hour, dimension: Dimension, value: &str, cell: &Cell, alone: &mut Alone) {
        self.site.append_value(site);
        self.hour.append_value(hour.start().micros());
        self.dimension.append_value(dimension.name());
        self.value.append_value(value);
        self.interactions.append_value(cell.interactions);
        self.page_views.append_value(cell.page_views);
        self.visits.append_value(cell.visits);
        self.engaged_ms.append_value(cell.engaged_ms);
        cell.visitors.append_to(&mut self.visitors_sketch, alone);
    }

    fn finish(mut self) -> Result<RecordBatch, ArrowError> {
        let arrays: Vec<ArrayRef> = vec![
            Arc::new(self.site.finish()),
            Arc::new(self.hour.finish().with_timezone("UTC")),
            Arc::new(self.dimension.finish()),
            Arc::new(self.value.finish()),
            Arc::new(self.interactions.finish()),
            Arc::new(self.page_views.finish()),
            Arc::new(self.visits.finish()),
            Arc::new(self.engaged_ms.finish()),
            Arc::new(self.visitors_sketch.finish()),
        ];
        RecordBatch::try_new(arrow_schema(TableName::Trends), arrays)
    }
}

#[cfg(test)]
mod tests {
    use super::{Dimension, OTHER, Trends, VALUES_MAX};
    use crate::hit::clock::Hour;
    use crate::hit::outcome::{Outcome, Reason};
    use crate::hit::record::{Number, Text};
    use crate::journal::frame::Frame;
    use crate::hit::sample::page_view;
    use crate::lake::vocabulary::Vocabularies;
    use arrow::array::{AsArray, Array};
    use arrow::datatypes::{Int64Type, TimestampMicrosecondType};

    #[test]
    fn more_values_than_fit_are_gathered_and_the_total_stays_whole() {
        let mut trends = Trends::default();
        for page in 0..VALUES_MAX as u64 + 500 {
            trends.add_up("acme", Hour(1), Dimension::Page, &format!("/p{page}"), if page < 10 { 100 } else { 1 });
        }
        let days = trends.take().unwrap();
        let batch = &days[0].1;
        assert_eq!(batch.num_rows(), VALUES_MAX);
        let values = batch.column_by_name("value").unwrap().as_string::<i32>();
        assert!(values.iter().flatten().any(|value| value == OTHER));
        assert!(values.iter().flatten().any(|value| value == "/p9"));
        let total: i64 = batch.column_by_name("interactions").unwrap().as_primitive::<Int64Type>().iter().flatten().sum();
        assert_eq!(total, 1_000 + 1_490);
        assert_eq!(batch.column_by_name("visitors_sketch").unwrap().null_count(), VALUES_MAX);
    }

    /// Rows by site, hour, dimension and value.
    fn rows(trends: &mut Trends) -> Vec<(String, Vec<i64>, Option<Vec<u8>>)> {
        let mut rows = Vec::new();
        for (_, batch) in trends.take().unwrap() {
            let text = |column: &str, row| batch.column_by_name(column).unwrap().as_string::<i32>().value(row).to_owned();
            let sketches = batch.column_by_name("visitors_sketch").unwrap().as_binary::<i32>();
            for row in 0..batch.num_rows() {
                let hour = batch.column(1).as_primitive::<TimestampMicrosecondType>().value(row);
                let number = |column: &str| batch.column_by_name(column).unwrap().as_primitive::<Int64Type>().value(row);
                let key = format!("{} {hour} {} {}", text("site", row), text("dimension", row), text("value", row));
                rows.push((key, ["interactions", "page_views", "visits", "engaged_ms"].map(number).to_vec(), sketches.is_valid(row).then(|| sketches.value(row).to_vec())));
            }
        }
        rows
    }

    fn counted(count: u64, pages: u64) -> (Trends, Trends) {
        let (mut by_text, mut by_number, mut vocabularies) = (Trends::default(), Trends::default(), Vocabularies::default());
        for row in 0..count {
            let path = format!("/{}", if row % 3 == 0 { row % 7 } else { row.wrapping_mul(7_919) % pages });
            let mut record = page_view(row as i64 / 9, (row % 251) as u8, 2, &path);
            record.texts[Text::Site as usize] = ["acme", "other"][(row / 50 % 2) as usize];
            record.texts[Text::Event as usize] = ["page_view", "click"][(row % 5 / 4) as usize];
            record.texts[Text::SourceName as usize] = ["", "direct"][(row % 2) as usize];
            record.starts_visit = row % 4 == 0;
            record.numbers[Number::EngagedMs as usize] = Some(row as i32);
            if row % 1_000 == 999 {
                vocabularies = Vocabularies::default();
            }
            by_text.count(&Frame::Interaction(record.clone()));
            by_number.count_numbered(&record, &vocabularies.ids(&record));
        }
        (by_text, by_number)
    }

    #[test]
    fn rows_are_counted_alike_by_texts_and_by_numbers() {
        let (mut by_text, mut by_number) = counted(40_000, 900);
        assert_eq!(rows(&mut by_text), rows(&mut by_number));
    }

    #[test]
    fn many_values_are_cut_in_time_and_the_frequent_ones_and_the_total_are_whole() {
        let (by_text, mut by_number) = counted(60_000, 20_000);
        assert!(by_number.cells.len() < 40_000 && by_text.cells.len() < 40_000, "{}", by_number.cells.len());
        let rows = rows(&mut by_number);
        let of_pages = |key: &str| key.contains(" page ");
        let total: i64 = rows.iter().filter(|(key, ..)| of_pages(key)).map(|(_, numbers, _)| numbers[0]).sum();
        assert_eq!(total, 60_000);
        let frequent: i64 = rows.iter().filter(|(key, ..)| (0..7).any(|page| key.ends_with(&format!(" page shop.example/{page}")))).map(|(_, numbers, _)| numbers[0]).sum();
        assert!(frequent >= 20_000, "{frequent}");
        let hours = rows.iter().map(|(key, ..)| key.split(' ').take(2).collect::<Vec<_>>().join(" ")).collect::<std::collections::BTreeSet<_>>();
        assert!(rows.iter().filter(|(key, ..)| of_pages(key)).count() <= hours.len() * VALUES_MAX);
    }

    #[test]
    fn what_is_held_is_measured() {
        let mut trends = Trends::default();
        let mut row = 0;
        while !trends.is_full() {
            let path = format!("/{}", row % 3_000);
            let mut record = page_view(0, (row / 1_000) as u8, 2, &path);
            let site = format!("site-{}", row / 3_000);
            record.texts[Text::Site as usize] = &site;
            trends.count(&Frame::Interaction(record));
            row += 1;
        }
        assert!(row < 1_000_000);
        assert!(!trends.take().unwrap().is_empty() && trends.is_empty() && !trends.is_full());
    }

    #[test]
    fn outcomes_of_two_days_lie_in_two_batches() {
        let mut trends = Trends::default();
        trends.count_outcome("acme", Hour(23), Outcome::Refused(Reason::NoConsent), 3);
        trends.count_outcome("-", Hour(24), Outcome::Refused(Reason::UnknownSite), 1);
        let days = trends.take().unwrap();
        assert_eq!(days.iter().map(|(day, batch)| (day.0, batch.num_rows())).collect::<Vec<_>>(), [(0, 1), (1, 1)]);
    }
}
