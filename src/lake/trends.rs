//! Owns trends: aggregates without persons, made from the rows and tallies of one commit.
//!
//! Promises: at most 1,000 values a dimension, site and hour whenever they are taken, the most
//! frequent ones, the rest under `(other)`, so that totals stay whole. Holds 96 MiB, 192 at the very most, and says when
//! it is full. Never holds a visitor's id.

use super::cells::{Addend, Alone, Cell, NO_CELL, NO_PLACES, WAITING_MAX, Waiting, merged, sketch_bytes};
use super::columns::{TableName, arrow_schema};
use super::dimension::Dimension;
use super::known::{Known, Wanted};
use super::values::{Texts, Values};
use super::vocabulary::{BEYOND, Ids};
use crate::hit::clock::{Day, Hour};
use crate::hit::outcome::{Item, Outcome};
use crate::hit::record::{Record, Text};
use crate::hit::sums::Sums;
use crate::journal::frame::Frame;
use arrow::array::{ArrayRef, BinaryBuilder, Int64Builder, StringBuilder, TimestampMicrosecondBuilder};
use arrow::error::ArrowError;
use arrow::record_batch::RecordBatch;
use hashbrown::HashMap;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Values a dimension, site and hour may have; the rest is counted under `OTHER`.
pub const VALUES_MAX: usize = 1_000;
pub const OTHER: &str = "(other)";

/// Aggregates being gathered.
#[derive(Default)]
pub struct Trends {
    /// Where each site's hour is in `hours`.
    sites: HashMap<Arc<str>, BTreeMap<Hour, u32>>,
    hours: Vec<Dimensions>,
    /// What the ledger counts, by the places of sites' hours.
    sums: Sums,
    texts: Texts,
    cells: Vec<Cell>,
    /// Places in `cells` that are nobody's.
    free: Vec<u32>,
    known: Known,
    waiting: Waiting,
    /// Bytes held, roughly.
    held: usize,
}

/// The values of each dimension, in the order of `Dimension::OF_INTERACTIONS`.
type Dimensions = [Values; Dimension::OF_INTERACTIONS.len()];

/// Where the cells of an interaction may be; `None` where they have to be looked for by its texts.
pub struct Sought(Option<SoughtCells>);

struct SoughtCells {
    /// The site's hour by its number, and where it is.
    site_hour: u32,
    at_hour: u32,
    /// Each dimension's cell, and whether its numbers say too little to be noted.
    cells: [Option<(Wanted, bool)>; Dimension::OF_INTERACTIONS.len()],
}

/// A row may make 14 sketches of two visitors each.
const ROW_GROWTH_MAX: usize = Dimension::OF_INTERACTIONS.len() * sketch_bytes(2);

/// A dimension of a site's hour is cut to `VALUES_MAX` when it has grown to this: a value of which one row in
/// 3,000 is stays in any case. 14 dimensions of 4,000 cells of some 200 bytes are 11 MB a site and hour.
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

    /// Begins to count an interaction whose texts have numbers: all its cells are looked for at once, so that they
    /// answer together, while other things are done.
    #[inline(always)]
    pub fn seek(&mut self, record: &Record<'_>, ids: &Ids) -> Sought {
        let (hour, site) = (record.hour(), ids.text(Text::Site));
        if site == BEYOND || hour != record.received_at.hour() {
            return Sought(None);
        }
        let Self { known, sites, hours, held, .. } = self;
        let (site_hour, at_hour) = known.site_hour(ids.epoch, site, hour, || place_of(sites, hours, held, record.text(Text::Site), hour));
        let cells = Dimension::OF_INTERACTIONS.map(|dimension| {
            let numbers = dimension.numbers(record, ids)?;
            Some((self.known.seek(site_hour, dimension as u8, numbers), numbers.contains(&BEYOND)))
        });
        Sought(Some(SoughtCells { site_hour, at_hour, cells }))
    }

    /// Counts the interaction that was sought last.
    #[inline(always)]
    pub fn count_sought(&mut self, record: &Record<'_>, Sought(sought): &Sought) {
        let Some(SoughtCells { site_hour, at_hour, cells }) = sought else { return self.count_record(record) };
        self.count_stored(record, *at_hour);
        let addend = Addend::of(record);
        let mut places = NO_PLACES;
        for ((place, cell), dimension) in places.iter_mut().zip(cells).zip(Dimension::OF_INTERACTIONS) {
            let Some((wanted, is_beyond)) = *cell else { continue };
            let known = self.known.find(*site_hour, wanted);
            let Some(at) = known.or_else(|| self.look_up(record, *at_hour, dimension)) else { continue };
            if known.is_none() && !is_beyond {
                self.known.note(*site_hour, wanted, at);
            }
            *place = at;
        }
        self.waiting.push(*site_hour, addend, places);
        let rows = self.waiting.rows();
        if rows >= WAITING_MAX || self.held + rows * ROW_GROWTH_MAX >= GROWN_MAX {
            self.held += self.waiting.settle(&mut self.cells);
        }
    }

    pub fn count_outcome(&mut self, site: &str, hour: Hour, outcome: Outcome, count: u64) {
        let at_hour = self.at_hour(site, hour);
        self.sums.add(at_hour as usize, Item::Ended(outcome), count);
    }

    fn count_record(&mut self, record: &Record<'_>) {
        // The ledger counts when a hit came; what is brought in from the past came now.
        let at_coming = self.at_hour(record.text(Text::Site), record.received_at.hour());
        self.count_stored(record, at_coming);
        let addend = Addend::of(record);
        let at_hour = self.at_hour(record.text(Text::Site), record.hour());
        for dimension in Dimension::OF_INTERACTIONS {
            if let Some(at) = self.look_up(record, at_hour, dimension)
                && let Some(cell) = self.cells.get_mut(at as usize)
            {
                self.held += cell.add(addend);
            }
        }
    }

    /// Counts a row as the ledger does, in the hour in which it came.
    fn count_stored(&mut self, record: &Record<'_>, at_hour: u32) {
        self.sums.add(at_hour as usize, Item::Ended(Outcome::Stored), 1);
        for (kind, count) in record.scrubbed.kinds() {
            self.sums.add(at_hour as usize, Item::Removed(kind), count);
        }
    }

    /// The place of a site's hour, made where it is missing.
    fn at_hour(&mut self, site: &str, hour: Hour) -> u32 {
        place_of(&mut self.sites, &mut self.hours, &mut self.held, site, hour)
    }

    /// The place of the cell in which `record` counts in its hour, `None` where it has no value.
    fn look_up(&mut self, record: &Record<'_>, at_hour: u32, dimension: Dimension) -> Option<u32> {
        let [first, second] = dimension.value(record);
        if dimension != Dimension::All && first.is_empty() {
            return None;
        }
        if second.is_empty() {
            return Some(self.cell(at_hour, dimension, first));
        }
        Some(self.cell(at_hour, dimension, &[first, second].concat()))
    }

    /// The place of a cell, made where it is missing.
    fn cell(&mut self, at_hour: u32, dimension: Dimension, value: &str) -> u32 {
        let Self { hours, texts, cells, free, known, held, waiting, .. } = self;
        // Whoever asks has it from `place_of`.
        let Some(values) = hours.get_mut(at_hour as usize).map(|dimensions| &mut dimensions[dimension as usize]) else { return NO_CELL };
        if let Some(there) = values.find(value, texts) {
            return there;
        }
        if values.count() >= VALUES_HELD {
            *held += waiting.settle(cells);
            *held = held.saturating_sub(cut(values, texts, cells, free));
            known.clear();
            // `OTHER` may be there only now.
            if let Some(there) = values.find(value, texts) {
                return there;
            }
        }
        *held += CELL_BYTES + value.len();
        let cell = free.pop().unwrap_or_else(|| {
            cells.push(Cell::default());
            u32::try_from(cells.len() - 1).unwrap_or(NO_CELL)
        });
        values.add(value, cell, texts);
        cell
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
        let Self { sites, mut hours, sums, mut texts, mut cells, mut waiting, .. } = std::mem::take(self);
        waiting.settle(&mut cells);
        let mut days: BTreeMap<Day, Rows> = BTreeMap::new();
        // The same few visitors are alone in many cells of their site.
        let mut alone = Alone::new();
        let mut sites: Vec<_> = sites.into_iter().collect();
        sites.sort_by(|left, right| left.0.cmp(&right.0));
        for (site, of_site) in sites {
            alone.clear();
            for dimension in Dimension::OF_INTERACTIONS {
                for (hour, at) in &of_site {
                    let Some(dimensions) = hours.get_mut(*at as usize) else { continue };
                    let mut values = std::mem::take(&mut dimensions[dimension as usize]);
                    if values.count() > VALUES_MAX {
                        cut(&mut values, &mut texts, &mut cells, &mut Vec::new());
                    }
                    let mut values: Vec<_> = values.drain().map(|value| (texts.of(value), value.cell)).collect();
                    values.sort_unstable();
                    let rows = days.entry(hour.day()).or_default();
                    for (value, cell) in values {
                        if let Some(cell) = cells.get(cell as usize) {
                            rows.push(&site, *hour, (dimension, value), cell, &mut alone);
                        }
                    }
                }
            }
            let items = of_site.iter().flat_map(|(hour, at)| sums.of(*at as usize).map(|(item, count)| (Dimension::of_item(item), *hour, count)));
            let mut items: Vec<_> = items.collect();
            items.sort_unstable();
            for (value, hour, count) in items {
                let cell = Cell { interactions: i64::try_from(count).unwrap_or(i64::MAX), ..Cell::default() };
                days.entry(hour.day()).or_default().push(&site, hour, value, &cell, &mut alone);
            }
        }
        days.into_iter().map(|(day, rows)| Ok((day, rows.finish()?))).collect()
    }
}

/// The place of a site's hour, made where it is missing.
fn place_of(sites: &mut HashMap<Arc<str>, BTreeMap<Hour, u32>>, hours: &mut Vec<Dimensions>, held: &mut usize, site: &str, hour: Hour) -> u32 {
    *sites.entry_ref(site).or_default().entry(hour).or_insert_with(|| {
        *held += HOUR_BYTES;
        hours.push(Dimensions::default());
        u32::try_from(hours.len() - 1).unwrap_or(u32::MAX)
    })
}

/// Leaves the most frequent values and gathers the others under `OTHER`, at most `VALUES_MAX` in all; how many
/// bytes that set free. Adds the places of cells that are nobody's any more to `free`.
fn cut(values: &mut Values, texts: &mut Texts, cells: &mut [Cell], free: &mut Vec<u32>) -> usize {
    let mut take = |at: u32| cells.get_mut(at as usize).map(std::mem::take).unwrap_or_default();
    let mut rest = values.remove(OTHER, texts).map(|at| (at, take(at))).into_iter().collect::<Vec<_>>();
    let mut ranked: Vec<_> = values.drain().map(|value| (take(value.cell), value)).collect();
    ranked.sort_unstable_by(|left, right| right.0.interactions.cmp(&left.0.interactions).then_with(|| texts.of(left.1).cmp(texts.of(right.1))));
    let mut freed = 0;
    for (cell, value) in ranked.split_off(ranked.len().min(VALUES_MAX - 1)) {
        // Its text stays where it is.
        freed += CELL_BYTES + sketch_bytes(cell.interactions);
        rest.push((value.cell, cell));
    }
    for (cell, value) in ranked {
        if let Some(place) = cells.get_mut(value.cell as usize) {
            *place = cell;
        }
        values.put_back(value, texts);
    }
    let mut places = rest.iter().map(|(at, _)| *at).collect::<Vec<_>>();
    if let Some(other) = places.pop() {
        if let Some(place) = cells.get_mut(other as usize) {
            *place = merged(rest.into_iter().map(|(_, cell)| cell));
        }
        values.add(OTHER, other, texts);
    }
    free.append(&mut places);
    freed
}

/// A cell (48 bytes) in a list that is half full at the least, its place by text (13 bytes, and the text) in a table that
/// is as well, and by numbers (8) in one that is a quarter full.
const CELL_BYTES: usize = 2 * 48 + 2 * 13 + 4 * 8;

/// A site's hour (448 bytes) in a list that is half full at the least, some 160 bytes of its place by name and of its site,
/// and the counts of ten items.
const HOUR_BYTES: usize = 2 * size_of::<Dimensions>() + 160 + 10 * 16;

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
    fn push(&mut self, site: &str, hour: Hour, (dimension, value): (Dimension, &str), cell: &Cell, alone: &mut Alone) {
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
    use super::{Dimension, HELD_MAX, HOUR_BYTES, OTHER, Trends, VALUES_MAX};
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
            let at_hour = trends.at_hour("acme", Hour(1));
            let cell = trends.cell(at_hour, Dimension::Page, &format!("/p{page}"));
            trends.cells[cell as usize].interactions += if page < 10 { 100 } else { 1 };
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
            let sought = by_number.seek(&record, &vocabularies.ids(&record));
            by_number.count_sought(&record, &sought);
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
        let mut hour = 0;
        while !trends.is_full() {
            trends.count_outcome("acme", Hour(hour), Outcome::Stored, 1);
            hour += 1;
        }
        assert_eq!(hour, HELD_MAX.div_ceil(HOUR_BYTES) as i64, "an hour takes room, however few it has");
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
