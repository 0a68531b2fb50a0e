//! Owns the merging of rows of `trends`: one row a key, and at most 1,000 values a dimension, site and hour.
//!
//! Takes rows sorted by key. Promises: numbers add up and sketches merge, so that every total stays; of
//! more than 1,000 values the most frequent stay and the rest is gathered under `(other)` (the ledger's
//! and the whole are never cut); holds one key's values, 1,000 cells of 4 KiB at most, whatever comes.

use super::columns::{TableName, arrow_schema};
use super::read::{column, text, unlike};
use super::rewrite::Change;
use super::cells::SKETCH_LG_K;
use super::dimension::Dimension;
use super::trends::{OTHER, VALUES_MAX};
use arrow::array::{Array, ArrayRef, AsArray, BinaryArray, Int64Array, StringArray, TimestampMicrosecondArray};
use arrow::datatypes::{Int64Type, TimestampMicrosecondType};
use arrow::error::ArrowError;
use arrow::record_batch::RecordBatch;
use datasketches::hll::{HllSketch, HllType, HllUnion};
use std::collections::BTreeSet;
use std::sync::Arc;

/// Merges rows as they come.
#[derive(Default)]
pub struct Merge {
    group: Option<Group>,
    done: Rows,
}

/// The values of one site, hour and dimension.
struct Group {
    site: String,
    hour: i64,
    dimension: String,
    cells: Vec<Cell>,
    /// Of `cells`, by rank: the least frequent first, of equals the last by name.
    rank: BTreeSet<(i64, std::cmp::Reverse<String>)>,
    other: Option<Cell>,
}

/// One value's sums.
struct Cell {
    value: String,
    /// Interactions, page views, visits, engaged milliseconds.
    sums: [i64; 4],
    sketch: Sketch,
}

/// A lone sketch stays as its bytes are.
enum Sketch {
    None,
    One(Vec<u8>),
    Many(Box<HllUnion>),
}

#[derive(Default)]
struct Rows {
    site: Vec<String>,
    hour: Vec<i64>,
    dimension: Vec<String>,
    value: Vec<String>,
    sums: [Vec<i64>; 4],
    sketches: Vec<Option<Vec<u8>>>,
}

const SUMS: [&str; 4] = ["interactions", "page_views", "visits", "engaged_ms"];

impl Change for Merge {
    fn looks_at(&self) -> &'static [&'static str] {
        &["site"]
    }

    fn means(&mut self, _: &str, rows: &RecordBatch) -> Result<bool, ArrowError> {
        Ok(rows.num_rows() > 0)
    }

    fn apply(&mut self, _: &str, rows: RecordBatch) -> Result<RecordBatch, ArrowError> {
        let (sites, dimensions, values) = (text(&rows, "site")?, text(&rows, "dimension")?, text(&rows, "value")?);
        let hours = column(&rows, "hour")?.as_primitive_opt::<TimestampMicrosecondType>().ok_or_else(|| unlike("hour"))?;
        let sketches = column(&rows, "visitors_sketch")?.as_binary_opt::<i32>().ok_or_else(|| unlike("visitors_sketch"))?;
        let mut sums: Vec<&Int64Array> = Vec::with_capacity(SUMS.len());
        for name in SUMS {
            sums.push(column(&rows, name)?.as_primitive_opt::<Int64Type>().ok_or_else(|| unlike(name))?);
        }
        for at in 0..rows.num_rows() {
            let key = (sites.value(at), hours.value(at), dimensions.value(at));
            if self.group.as_ref().is_none_or(|group| (group.site.as_str(), group.hour, group.dimension.as_str()) != key) {
                self.end_group()?;
                self.group = Some(Group::new(key));
            }
            let mut cell = Cell { value: values.value(at).to_owned(), sums: [0; 4], sketch: Sketch::None };
            for (sum, column) in cell.sums.iter_mut().zip(&sums) {
                *sum = column.value(at);
            }
            if sketches.is_valid(at) {
                cell.sketch = Sketch::One(sketches.value(at).to_vec());
            }
            if let Some(group) = &mut self.group {
                group.add(cell)?;
            }
        }
        self.done.take()
    }

    fn finish(&mut self) -> Result<Option<RecordBatch>, ArrowError> {
        self.end_group()?;
        self.done.take().map(Some)
    }

    /// Rows become fewer and nothing goes.
    fn sums(&mut self, _: i64) -> Vec<(&'static str, i64)> {
        Vec::new()
    }
}

impl Merge {
    fn end_group(&mut self) -> Result<(), ArrowError> {
        let Some(mut group) = self.group.take() else { return Ok(()) };
        group.cut()?;
        group.cells.extend(group.other.take());
        group.cells.sort_by(|left, right| left.value.cmp(&right.value));
        for cell in group.cells {
            self.done.push(&group.site, group.hour, &group.dimension, cell);
        }
        Ok(())
    }
}

impl Group {
    fn new((site, hour, dimension): (&str, i64, &str)) -> Self {
        Self { site: site.to_owned(), hour, dimension: dimension.to_owned(), cells: Vec::new(), rank: BTreeSet::new(), other: None }
    }

    /// Adds a row. Values come in order, so a value is whole when another one comes.
    fn add(&mut self, cell: Cell) -> Result<(), ArrowError> {
        if cell.value == OTHER && self.is_cut() {
            return self.gather(cell);
        }
        if let Some(last) = self.cells.last_mut().filter(|last| last.value == cell.value) {
            self.rank.remove(&rank_of(last));
            last.merge(cell)?;
            self.rank.insert(rank_of(last));
            return Ok(());
        }
        self.cut()?;
        self.rank.insert(rank_of(&cell));
        self.cells.push(cell);
        Ok(())
    }

    /// Gathers the least frequent values while there are more than may be. Called between two values, so
    /// that the last one is whole.
    fn cut(&mut self) -> Result<(), ArrowError> {
        while self.is_cut() && self.cells.len() > self.room() {
            let Some((_, std::cmp::Reverse(value))) = self.rank.pop_first() else { return Ok(()) };
            let Some(at) = self.cells.iter().position(|cell| cell.value == value) else { return Ok(()) };
            let least = self.cells.remove(at);
            self.gather(least)?;
        }
        Ok(())
    }

    /// All values, or with `(other)` one less.
    const fn room(&self) -> usize {
        if self.other.is_some() { VALUES_MAX - 1 } else { VALUES_MAX }
    }

    fn gather(&mut self, mut cell: Cell) -> Result<(), ArrowError> {
        cell.value = OTHER.to_owned();
        match &mut self.other {
            Some(other) => other.merge(cell),
            None => {
                self.other = Some(cell);
                Ok(())
            }
        }
    }

    fn is_cut(&self) -> bool {
        ![Dimension::All, Dimension::Outcome].iter().any(|dimension| dimension.name() == self.dimension)
    }
}

fn rank_of(cell: &Cell) -> (i64, std::cmp::Reverse<String>) {
    (cell.sums[0], std::cmp::Reverse(cell.value.clone()))
}

impl Cell {
    fn merge(&mut self, other: Self) -> Result<(), ArrowError> {
        for (sum, more) in self.sums.iter_mut().zip(other.sums) {
            *sum += more;
        }
        self.sketch = match (std::mem::replace(&mut self.sketch, Sketch::None), other.sketch) {
            (Sketch::None, sketch) | (sketch, Sketch::None) => sketch,
            (left, right) => {
                let mut union = left.union()?;
                match &right {
                    Sketch::None => {}
                    Sketch::One(bytes) => union.update(&read(bytes)?),
                    Sketch::Many(more) => union.update(&more.to_sketch(HllType::Hll8)),
                }
                Sketch::Many(union)
            }
        };
        Ok(())
    }
}

impl Sketch {
    fn union(self) -> Result<Box<HllUnion>, ArrowError> {
        let empty = || HllUnion::new(SKETCH_LG_K).map(Box::new).map_err(|error| ArrowError::ComputeError(error.to_string()));
        match self {
            Self::Many(union) => Ok(union),
            Self::None => empty(),
            Self::One(bytes) => {
                let mut union = empty()?;
                union.update(&read(&bytes)?);
                Ok(union)
            }
        }
    }

    fn bytes(self) -> Option<Vec<u8>> {
        match self {
            Self::None => None,
            Self::One(bytes) => Some(bytes),
            Self::Many(union) => Some(union.to_sketch(HllType::Hll8).serialize()),
        }
    }
}

fn read(bytes: &[u8]) -> Result<HllSketch, ArrowError> {
    HllSketch::deserialize(bytes).map_err(|error| ArrowError::ComputeError(format!("bytes that are no visitors' sketch: {}", error.message())))
}

impl Rows {
    fn push(&mut self, site: &str, hour: i64, dimension: &str, cell: Cell) {
        self.site.push(site.to_owned());
        self.hour.push(hour);
        self.dimension.push(dimension.to_owned());
        self.value.push(cell.value);
        for (column, sum) in self.sums.iter_mut().zip(cell.sums) {
            column.push(sum);
        }
        self.sketches.push(cell.sketch.bytes());
    }

    fn take(&mut self) -> Result<RecordBatch, ArrowError> {
        let rows = std::mem::take(self);
        let [interactions, page_views, visits, engaged_ms] = rows.sums.map(|sums| Arc::new(Int64Array::from(sums)) as ArrayRef);
        let arrays: Vec<ArrayRef> = vec![
            Arc::new(StringArray::from(rows.site)),
            Arc::new(TimestampMicrosecondArray::from(rows.hour).with_timezone("UTC")),
            Arc::new(StringArray::from(rows.dimension)),
            Arc::new(StringArray::from(rows.value)),
            interactions,
            page_views,
            visits,
            engaged_ms,
            Arc::new(rows.sketches.iter().map(Option::as_deref).collect::<BinaryArray>()),
        ];
        RecordBatch::try_new(arrow_schema(TableName::Trends), arrays)
    }
}

#[cfg(test)]
mod tests {
    use super::Merge;
    use crate::lake::columns::{TableName, arrow_schema};
    use crate::lake::read::text;
    use crate::lake::rewrite::Change;
    use crate::lake::cells::new_sketch;
    use crate::lake::trends::{OTHER, VALUES_MAX};
    use arrow::array::{Array, AsArray, BinaryArray, Int64Array, StringArray, TimestampMicrosecondArray};
    use arrow::compute::concat_batches;
    use arrow::datatypes::Int64Type;
    use arrow::record_batch::RecordBatch;
    use datasketches::hash::value::raw_bytes;
    use datasketches::hll::HllSketch;
    use std::collections::BTreeMap;
    use std::sync::Arc;

    /// A row: dimension, value, interactions, the visitor it counts.
    type Row<'r> = (&'r str, String, i64, Option<u8>);

    fn batch(rows: &[Row<'_>]) -> RecordBatch {
        let sketch = |visitor: &Option<u8>| {
            visitor.map(|visitor| {
                let mut sketch = new_sketch().unwrap();
                sketch.update(raw_bytes::from_slice(&[visitor; 4]));
                sketch.serialize()
            })
        };
        let sums = Int64Array::from_iter_values(rows.iter().map(|row| row.2));
        let sketches: Vec<_> = rows.iter().map(|row| sketch(&row.3)).collect();
        RecordBatch::try_new(
            arrow_schema(TableName::Trends),
            vec![
                Arc::new(StringArray::from_iter_values(rows.iter().map(|_| "acme"))),
                Arc::new(TimestampMicrosecondArray::from_iter_values(rows.iter().map(|_| 0)).with_timezone("UTC")),
                Arc::new(StringArray::from_iter_values(rows.iter().map(|row| row.0))),
                Arc::new(StringArray::from_iter_values(rows.iter().map(|row| &row.1))),
                Arc::new(sums.clone()),
                Arc::new(sums.clone()),
                Arc::new(sums.clone()),
                Arc::new(sums),
                Arc::new(sketches.iter().map(Option::as_deref).collect::<BinaryArray>()),
            ],
        )
        .unwrap()
    }

    /// Merges `rows`, sorted here, `step` at a time. Value → (interactions, visitors).
    fn merged(mut rows: Vec<Row<'_>>, step: usize) -> BTreeMap<(String, String), (i64, Option<i64>)> {
        rows.sort();
        let mut merge = Merge::default();
        let mut out: Vec<_> = rows.chunks(step).map(|rows| merge.apply("", batch(rows)).unwrap()).collect();
        out.extend(merge.finish().unwrap());
        let out = concat_batches(&arrow_schema(TableName::Trends), &out).unwrap();
        let (counts, sketches) = (out.column_by_name("interactions").unwrap().as_primitive::<Int64Type>(), out.column_by_name("visitors_sketch").unwrap().as_binary::<i32>());
        let mut found = BTreeMap::new();
        for at in 0..out.num_rows() {
            let key = (text(&out, "dimension").unwrap().value(at).to_owned(), text(&out, "value").unwrap().value(at).to_owned());
            let visitors = sketches.is_valid(at).then(|| HllSketch::deserialize(sketches.value(at)).unwrap().estimate().round() as i64);
            assert_eq!(found.insert(key, (counts.value(at), visitors)), None, "a key is there twice");
        }
        found
    }

    #[test]
    fn rows_of_a_key_add_up_and_visitors_are_counted_once() {
        let rows = vec![
            ("page", "/a".to_owned(), 1, Some(1)),
            ("page", "/a".to_owned(), 2, Some(1)),
            ("page", "/a".to_owned(), 4, Some(2)),
            ("page", "/b".to_owned(), 8, None),
            ("event", "/a".to_owned(), 16, None),
            ("page", "/b".to_owned(), 32, Some(3)),
        ];
        let key = |dimension: &str, value: &str| (dimension.to_owned(), value.to_owned());
        let expected = BTreeMap::from([(key("page", "/a"), (7, Some(2))), (key("page", "/b"), (40, Some(1))), (key("event", "/a"), (16, None))]);
        for step in 1..=6 {
            assert_eq!(merged(rows.clone(), step), expected);
        }
    }

    #[test]
    fn the_most_frequent_thousand_stay_and_totals_as_well() {
        for (values, other) in [(VALUES_MAX, 0), (VALUES_MAX + 1, 0), (3 * VALUES_MAX, 0), (VALUES_MAX - 1, 5), (VALUES_MAX, 5)] {
            // Each value in two rows; the more frequent the later its number.
            let mut rows: Vec<Row<'_>> = Vec::new();
            for value in 0..values as i64 {
                let name = format!("/{:05}", value * 7_919 % 99_991);
                rows.extend([("page", name.clone(), value, None), ("page", name, value, Some(1))]);
            }
            if other > 0 {
                rows.push(("page", OTHER.to_owned(), other, None));
            }
            let total: i64 = rows.iter().map(|row| row.2).sum();
            let found = merged(rows, 97);
            let is_cut = values + usize::from(other > 0) > VALUES_MAX;
            assert_eq!(found.len(), if is_cut { VALUES_MAX } else { values + usize::from(other > 0) }, "{values} {other}");
            assert_eq!(found.values().map(|(count, _)| count).sum::<i64>(), total);
            let least = found.iter().filter(|((_, value), _)| value != OTHER).map(|(_, (count, _))| *count).min().unwrap();
            let kept = found.len() - usize::from(is_cut || other > 0);
            assert_eq!(least, 2 * (values - kept) as i64, "{values} {other}");
        }
        // The ledger is never cut.
        let outcomes = (0..2 * VALUES_MAX).map(|value| ("outcome", format!("{value:05}"), 1, None)).collect();
        assert_eq!(merged(outcomes, 100).len(), 2 * VALUES_MAX);
    }
}
