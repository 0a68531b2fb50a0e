//! Owns trends: aggregates without persons, made from the rows and tallies of one commit.
//!
//! Knows the dimensions and Apache DataSketches' HLL. Promises: at most 1,000 values a dimension,
//! site and hour in a commit, the most frequent ones, the rest under `(other)`, so that totals stay
//! whole; a sketch is fed with the bytes of `visitor_id`, so that other languages merge it. Never
//! holds a visitor's id itself.

use super::columns::{TableName, arrow_schema};
use crate::hit::clock::{Day, Hour};
use crate::hit::outcome::Outcome;
use crate::hit::record::{Number, Record, Text};
use crate::journal::frame::Frame;
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
            Self::All | Self::Outcome | Self::Scrubbed => ["", ""],
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
    scratch: String,
}

/// The cells of each dimension, in the order of `Dimension::ALL`.
type Dimensions = [Cells; Dimension::ALL.len()];
/// Seeded anew for each map; a sender who could make values collide would slow one flush of one site.
type Cells = HashMap<Box<str>, Cell>;

#[derive(Default)]
struct Cell {
    interactions: i64,
    page_views: i64,
    visits: i64,
    engaged_ms: i64,
    visitors: Option<HllSketch>,
}

impl Trends {
    /// Counts a frame: an interaction in every dimension, as `stored` and by what was removed from it; a tally
    /// as its outcome.
    pub fn count(&mut self, frame: &Frame<'_>) {
        match frame {
            Frame::Interaction(record) => self.count_record(record),
            Frame::Tally { site, hour, outcome, count } => self.count_outcome(site, *hour, *outcome, *count),
        }
    }

    pub fn count_outcome(&mut self, site: &str, hour: Hour, outcome: Outcome, count: u64) {
        let cells = &mut self.hour(site, hour)[Dimension::Outcome as usize];
        cell(cells, outcome.name()).interactions += i64::try_from(count).unwrap_or(i64::MAX);
    }

    fn count_record(&mut self, record: &Record<'_>) {
        // The ledger counts when a hit came; what is brought in from the past came now.
        self.count_outcome(record.text(Text::Site), record.received_at.hour(), Outcome::Stored, 1);
        for (kind, count) in record.scrubbed.kinds() {
            let cells = &mut self.hour(record.text(Text::Site), record.received_at.hour())[Dimension::Scrubbed as usize];
            cell(cells, kind.name()).interactions += i64::try_from(count).unwrap_or(i64::MAX);
        }
        let addend = Addend::of(record);
        let mut scratch = std::mem::take(&mut self.scratch);
        let hour = self.hour(record.text(Text::Site), record.hour());
        for (dimension, cells) in Dimension::ALL.into_iter().zip(hour) {
            let [first, second] = dimension.value(record);
            if dimension != Dimension::All && first.is_empty() {
                continue;
            }
            let value = if second.is_empty() {
                first
            } else {
                scratch.clear();
                scratch.push_str(first);
                scratch.push_str(second);
                &scratch
            };
            cell(cells, value).add(addend);
        }
        self.scratch = scratch;
    }

    fn hour(&mut self, site: &str, hour: Hour) -> &mut Dimensions {
        self.sites.entry_ref(site).or_default().entry(hour).or_default()
    }

    pub fn is_empty(&self) -> bool {
        self.sites.is_empty()
    }

    /// All rows, a batch a day, sorted by site, hour, dimension and value.
    pub fn finish(self) -> Result<Vec<(Day, RecordBatch)>, ArrowError> {
        let mut days: BTreeMap<Day, Rows> = BTreeMap::new();
        let mut sites: Vec<_> = self.sites.into_iter().collect();
        sites.sort_by(|left, right| left.0.cmp(&right.0));
        for (site, hours) in sites {
            for (hour, dimensions) in hours {
                let rows = days.entry(hour.day()).or_default();
                for (dimension, cells) in Dimension::ALL.into_iter().zip(dimensions) {
                    for (value, cell) in bounded(cells) {
                        rows.push(&site, hour, dimension, &value, &cell);
                    }
                }
            }
        }
        days.into_iter().map(|(day, rows)| Ok((day, rows.finish()?))).collect()
    }
}

fn cell<'c>(cells: &'c mut Cells, value: &str) -> &'c mut Cell {
    cells.entry_ref(value).or_default()
}

/// What a row adds to each of its cells, worked out once.
#[derive(Clone, Copy)]
struct Addend {
    page_views: i64,
    visits: i64,
    engaged_ms: i64,
    /// The visitor as a sketch sees them.
    visitor: Option<Coupon>,
}

impl Addend {
    fn of(record: &Record<'_>) -> Self {
        Self {
            page_views: i64::from(record.text(Text::Event) == "page_view"),
            visits: i64::from(record.starts_visit),
            engaged_ms: i64::from(record.number(Number::EngagedMs).unwrap_or(0)),
            visitor: record.visitor_id.map(|visitor| Coupon::from_value(raw_bytes::from_slice(&visitor.digits()))),
        }
    }
}

impl Cell {
    fn add(&mut self, addend: Addend) {
        self.interactions += 1;
        self.page_views += addend.page_views;
        self.visits += addend.visits;
        self.engaged_ms += addend.engaged_ms;
        if let Some(visitor) = addend.visitor {
            if self.visitors.is_none() {
                self.visitors = new_sketch();
            }
            if let Some(sketch) = &mut self.visitors {
                sketch.update_with_coupon(visitor);
            }
        }
    }

    fn merge(&mut self, other: Self) {
        self.interactions += other.interactions;
        self.page_views += other.page_views;
        self.visits += other.visits;
        self.engaged_ms += other.engaged_ms;
        self.visitors = match (self.visitors.take(), other.visitors) {
            (Some(left), Some(right)) => merge_sketches([&left, &right]),
            (left, right) => left.or(right),
        };
    }
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

/// At most `VALUES_MAX` values, sorted; the least frequent are gathered under `OTHER`.
fn bounded(cells: Cells) -> Vec<(Box<str>, Cell)> {
    let mut cells: Vec<_> = cells.into_iter().collect();
    if cells.len() > VALUES_MAX {
        cells.sort_by(|left, right| right.1.interactions.cmp(&left.1.interactions).then_with(|| left.0.cmp(&right.0)));
        let mut other = Cell::default();
        for (_, rest) in cells.drain(VALUES_MAX - 1..) {
            other.merge(rest);
        }
        cells.push((OTHER.into(), other));
    }
    cells.sort_by(|left, right| left.0.cmp(&right.0));
    cells
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
    fn push(&mut self, site: &str, hour: Hour, dimension: Dimension, value: &str, cell: &Cell) {
        self.site.append_value(site);
        self.hour.append_value(hour.start().micros());
        self.dimension.append_value(dimension.name());
        self.value.append_value(value);
        self.interactions.append_value(cell.interactions);
        self.page_views.append_value(cell.page_views);
        self.visits.append_value(cell.visits);
        self.engaged_ms.append_value(cell.engaged_ms);
        self.visitors_sketch.append_option(cell.visitors.as_ref().map(HllSketch::serialize));
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
    use arrow::array::{AsArray, Array};
    use arrow::datatypes::Int64Type;

    #[test]
    fn more_values_than_fit_are_gathered_and_the_total_stays_whole() {
        let mut trends = Trends::default();
        let hour = &mut trends.hour("acme", Hour(1))[Dimension::Page as usize];
        for page in 0..VALUES_MAX + 500 {
            super::cell(hour, &format!("/p{page}")).interactions = if page < 10 { 100 } else { 1 };
        }
        let days = trends.finish().unwrap();
        let batch = &days[0].1;
        assert_eq!(batch.num_rows(), VALUES_MAX);
        let values = batch.column_by_name("value").unwrap().as_string::<i32>();
        assert!(values.iter().flatten().any(|value| value == OTHER));
        assert!(values.iter().flatten().any(|value| value == "/p9"));
        let total: i64 = batch.column_by_name("interactions").unwrap().as_primitive::<Int64Type>().iter().flatten().sum();
        assert_eq!(total, 1_000 + 1_490);
        assert_eq!(batch.column_by_name("visitors_sketch").unwrap().null_count(), VALUES_MAX);
    }

    #[test]
    fn outcomes_of_two_days_lie_in_two_batches() {
        let mut trends = Trends::default();
        trends.count_outcome("acme", Hour(23), Outcome::Refused(Reason::NoConsent), 3);
        trends.count_outcome("-", Hour(24), Outcome::Refused(Reason::UnknownSite), 1);
        let days = trends.finish().unwrap();
        assert_eq!(days.iter().map(|(day, batch)| (day.0, batch.num_rows())).collect::<Vec<_>>(), [(0, 1), (1, 1)]);
    }
}
