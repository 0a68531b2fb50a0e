//! Owns how rows are counted whose groups are of texts or of ids: a text is hashed and compared where its view is met the
//! first time; from there on its view has a number, and a row's group is found by its numbers, where DataFusion hashes and
//! compares the texts of every row. Of ids there are more than the processor's caches hold, and rows of one lie together:
//! what is counted stays small, where DataFusion's table grows with all of them.
//!
//! Knows Arrow's view layout: rows that Parquet's dictionary gave the same text have the same view, for as long as the
//! buffers behind the views are the same. Promises: right for any rows; where hardly any comes again it stops to look, as
//! DataFusion does. Limits: what it has counted is handed on when it comes to 64 Ki groups or 32 MiB, and it begins anew:
//! a partial aggregate may tell a group in several parts.

use super::chosen::{Chosen, Source, evaluated};
use super::{ids, runs};
use arrow::array::{Array, ArrayRef, ArrowPrimitiveType, AsArray, PrimitiveArray, RecordBatch, StringViewBuilder};
use arrow::buffer::{Buffer, NullBuffer};
use arrow::datatypes::{DataType, Date32Type, Decimal128Type, Int32Type, Int64Type, TimeUnit, TimestampMicrosecondType, TimestampNanosecondType};
use datafusion::common::{Result, internal_datafusion_err};
use datafusion::logical_expr::{EmitTo, GroupsAccumulator};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::aggregates::AggregateExec;
use futures::Stream;
use hashbrown::{DefaultHashBuilder, HashTable};
use std::hash::BuildHasher;
use std::sync::Arc;

/// What the partial aggregate `whole` gives of `rows`.
pub fn counted(whole: Arc<AggregateExec>, rows: Source, most: Most) -> Result<impl Stream<Item = Result<RecordBatch>>> {
    let groups = Groups::new(whole)?;
    Ok(futures::stream::try_unfold(Some((groups, rows)), move |state| async move {
        let Some((mut groups, mut rows)) = state else { return Ok(None) };
        while let Some(batch) = rows.next().await? {
            if groups.are_many {
                return Ok(Some((groups.each_alone(&batch)?, Some((groups, rows)))));
            }
            groups.count(&batch)?;
            let count = groups.so_far.count();
            if count >= most.groups || groups.so_far.bytes() >= most.bytes {
                groups.are_many = groups.so_far.rows < 2 * count;
                let told = groups.tell()?;
                return Ok(Some((told, Some((groups, rows)))));
            }
        }
        Ok(Some((groups.tell()?, None)))
    }))
}

/// Whether its groups are of texts or ids, and its aggregates take up little. Of ids it has to count each row: which ids
/// there are DataFusion's table tells sooner, of the few rows that `lake::runs` leaves.
pub fn applies(whole: &AggregateExec) -> bool {
    let schema = whole.input_schema();
    let keys: Result<Vec<DataType>> = whole.group_expr().expr().iter().map(|(key, _)| key.data_type(&schema)).collect();
    let is_small = |name: &str| matches!(name, "count" | "sum" | "min" | "max" | "avg");
    let pays = |keys: &[DataType]| if keys.contains(&ids::NUMBER) { !runs::applies(whole) } else { keys.contains(&DataType::Utf8View) };
    keys.is_ok_and(|keys| pays(&keys) && keys.iter().all(is_numbered))
        && whole.aggr_expr().iter().all(|aggregate| is_small(aggregate.fun().name()) && aggregate.groups_accumulator_supported())
}

/// How much is counted before it is handed on.
#[derive(Debug, Clone, Copy)]
pub struct Most {
    pub groups: usize,
    pub bytes: usize,
}

impl Default for Most {
    fn default() -> Self {
        Self { groups: 64 << 10, bytes: 32 << 20 }
    }
}

/// Counts groups.
struct Groups {
    whole: Arc<AggregateExec>,
    so_far: SoFar,
    /// Fewer than two rows a group came when they were last told: numbers do not pay, and rows are handed on as they come.
    are_many: bool,
    /// Of a batch's chosen rows: where they are, and what number they have.
    rows: Vec<u32>,
    numbers: Vec<u32>,
    of_key: Vec<u32>,
    groups: Vec<usize>,
}

/// Groups since they were last told. A group's number is that of its only key; of several keys, that of the pair of the
/// last one's number and the number of what stands before it.
struct SoFar {
    keys: Vec<Key>,
    /// One less than there are keys.
    pairs: Vec<Pairs>,
    rows: usize,
    aggregates: Vec<Box<dyn GroupsAccumulator>>,
}

impl SoFar {
    fn none(whole: &AggregateExec) -> Result<Self> {
        let schema = whole.schema();
        let count = whole.group_expr().expr().len();
        let keys = schema.fields().iter().take(count).map(|field| Key::new(field.data_type().clone())).collect();
        let pairs = (1..count).map(|_| Pairs::default()).collect();
        let aggregates = whole.aggr_expr().iter().map(|aggregate| aggregate.create_groups_accumulator()).collect::<Result<_>>()?;
        Ok(Self { keys, pairs, rows: 0, aggregates })
    }

    fn count(&self) -> usize {
        self.pairs.last().map_or_else(|| self.keys.first().map_or(0, Key::count), |pairs| pairs.pairs.len())
    }

    fn bytes(&self) -> usize {
        self.keys.iter().map(Key::bytes).chain(self.pairs.iter().map(Pairs::bytes)).chain(self.aggregates.iter().map(|aggregate| aggregate.size())).sum()
    }
}

impl Groups {
    fn new(whole: Arc<AggregateExec>) -> Result<Self> {
        let so_far = SoFar::none(&whole)?;
        Ok(Self { whole, so_far, are_many: false, rows: Vec::new(), numbers: Vec::new(), of_key: Vec::new(), groups: Vec::new() })
    }

    fn count(&mut self, batch: &Chosen) -> Result<()> {
        self.rows.clear();
        match &batch.which {
            None => self.rows.extend(0..u32::try_from(batch.rows.num_rows()).unwrap_or(u32::MAX)),
            Some(which) => self.rows.extend(which.values().set_indices_u32()),
        }
        self.so_far.rows += self.rows.len();
        let columns = evaluated(self.whole.group_expr().expr().iter().map(|(key, _)| key), &batch.rows)?;
        self.numbers.clear();
        for (at, (key, column)) in self.so_far.keys.iter_mut().zip(&columns).enumerate() {
            match at.checked_sub(1).and_then(|before| self.so_far.pairs.get_mut(before)) {
                None => key.number(column, &self.rows, &mut self.numbers)?,
                Some(pairs) => {
                    self.of_key.clear();
                    key.number(column, &self.rows, &mut self.of_key)?;
                    pairs.number(&mut self.numbers, &self.of_key);
                }
            }
        }
        let count = self.so_far.count();
        self.groups.clear();
        self.groups.extend(self.numbers.iter().map(|number| *number as usize));
        for ((aggregate, of), also) in self.so_far.aggregates.iter_mut().zip(self.whole.aggr_expr()).zip(self.whole.filter_expr()) {
            let values = batch.values(&of.expressions(), None)?;
            let also = also.as_ref().map(|also| batch.where_also(also)).transpose()?;
            aggregate.update_batch(&values, &self.groups, also.as_ref(), count)?;
        }
        Ok(())
    }

    /// Each chosen row as a group of its own.
    fn each_alone(&self, batch: &Chosen) -> Result<RecordBatch> {
        let keys: Vec<_> = self.whole.group_expr().expr().iter().map(|(key, _)| key.clone()).collect();
        let mut columns = batch.values(&keys, None)?;
        for ((aggregate, of), also) in self.so_far.aggregates.iter().zip(self.whole.aggr_expr()).zip(self.whole.filter_expr()) {
            let also = also.as_ref().map(|also| batch.where_also(also)).transpose()?;
            columns.extend(aggregate.convert_to_state(&batch.values(&of.expressions(), None)?, also.as_ref())?);
        }
        Ok(RecordBatch::try_new(self.whole.schema(), columns)?)
    }

    /// A row for each group: its key, and what each of its aggregates hands on. Begins anew.
    fn tell(&mut self) -> Result<RecordBatch> {
        let schema = self.whole.schema();
        let count = self.so_far.count();
        if count == 0 {
            return Ok(RecordBatch::new_empty(schema));
        }
        let SoFar { keys, pairs, aggregates, .. } = std::mem::replace(&mut self.so_far, SoFar::none(&self.whole)?);
        let mut numbers: Vec<u32> = (0..number_of(count)).collect();
        // From the last key to the first.
        let mut columns: Vec<ArrayRef> = Vec::with_capacity(schema.fields().len());
        for (at, key) in keys.iter().enumerate().rev() {
            let Some(pairs) = at.checked_sub(1).and_then(|before| pairs.get(before)) else {
                columns.push(key.values(&numbers)?);
                continue;
            };
            let (before, own): (Vec<u32>, Vec<u32>) = numbers.iter().map(|number| pairs.pairs[*number as usize]).unzip();
            columns.push(key.values(&own)?);
            numbers = before;
        }
        columns.reverse();
        for mut aggregate in aggregates {
            columns.extend(aggregate.state(EmitTo::All)?);
        }
        Ok(RecordBatch::try_new(schema, columns)?)
    }
}

/// A key's values by number.
struct Key {
    kind: DataType,
    /// Null's number.
    null: Option<u32>,
    known: Known,
}

enum Known {
    Texts(Texts),
    /// Numbers, times and ids, by their bits. At null's place is 0.
    Others { table: Table, values: Vec<i128> },
}

fn is_numbered(kind: &DataType) -> bool {
    *kind == ids::NUMBER || matches!(kind, DataType::Utf8View | DataType::Date32 | DataType::Int32 | DataType::Int64)
        || matches!(kind, DataType::Timestamp(TimeUnit::Microsecond | TimeUnit::Nanosecond, _))
}

/// Does `$does!(KIND)` with the Arrow type that a key of numbers has.
macro_rules! of_kind {
    ($kind:expr, $does:ident) => {
        match $kind {
            DataType::Date32 => $does!(Date32Type),
            DataType::Int32 => $does!(Int32Type),
            DataType::Int64 => $does!(Int64Type),
            DataType::Timestamp(TimeUnit::Microsecond, _) => $does!(TimestampMicrosecondType),
            DataType::Timestamp(TimeUnit::Nanosecond, _) => $does!(TimestampNanosecondType),
            DataType::Decimal128(..) => $does!(Decimal128Type),
            other => return Err(internal_datafusion_err!("{other} is not numbered")),
        }
    };
}

impl Key {
    fn new(kind: DataType) -> Self {
        let known = match kind {
            DataType::Utf8View => Known::Texts(Texts::default()),
            _ => Known::Others { table: Table::default(), values: Vec::new() },
        };
        Self { kind, null: None, known }
    }

    fn count(&self) -> usize {
        match &self.known {
            Known::Texts(texts) => texts.ends.len(),
            Known::Others { values, .. } => values.len(),
        }
    }

    fn bytes(&self) -> usize {
        match &self.known {
            Known::Texts(texts) => texts.bytes.capacity() + texts.ends.capacity() * size_of::<(usize, usize)>() + texts.of_views.bytes(),
            Known::Others { table, values } => table.bytes() + values.capacity() * size_of::<i128>(),
        }
    }

    /// Adds the numbers of the column's values in `rows`.
    fn number(&mut self, column: &ArrayRef, rows: &[u32], numbers: &mut Vec<u32>) -> Result<()> {
        let (nulls, null) = (column.nulls(), &mut self.null);
        match &mut self.known {
            Known::Texts(texts) => {
                let column = column.as_string_view();
                texts.begin(column.data_buffers());
                let views = column.views();
                number_each(rows, nulls, |row| views[row], numbers, |row, view| match view {
                    Some(view) => texts.number(view, || column.value(row)),
                    None => *null.get_or_insert_with(|| texts.add("")),
                });
            }
            Known::Others { table, values } => {
                macro_rules! number {
                    ($kind:ty) => {{
                        let own = column.as_primitive::<$kind>().values();
                        let bits = |row: usize| i128::from(own[row]).cast_unsigned();
                        number_each(rows, nulls, bits, numbers, |row, value| match value {
                            Some(value) => table.number(value, || added(values, own[row].into())),
                            None => *null.get_or_insert_with(|| added(values, 0)),
                        });
                    }};
                }
                of_kind!(&self.kind, number);
            }
        }
        Ok(())
    }

    /// The values that have these numbers.
    fn values(&self, numbers: &[u32]) -> Result<ArrayRef> {
        let there = numbers.iter().map(|number| (Some(*number) != self.null).then_some(*number as usize));
        Ok(match &self.known {
            Known::Texts(texts) => {
                let mut array = StringViewBuilder::with_capacity(numbers.len());
                for number in there {
                    array.append_option(number.map(|number| texts.text(number)));
                }
                Arc::new(array.finish())
            }
            Known::Others { values, .. } => {
                macro_rules! array {
                    ($kind:ty) => {{
                        let values = there.map(|number| number.map(|number| values[number] as <$kind as ArrowPrimitiveType>::Native));
                        Arc::new(values.collect::<PrimitiveArray<$kind>>().with_data_type(self.kind.clone())) as ArrayRef
                    }};
                }
                of_kind!(&self.kind, array)
            }
        })
    }
}

fn added(values: &mut Vec<i128>, value: i128) -> u32 {
    values.push(value);
    number_of(values.len() - 1)
}

/// A batch adds 8,192 at most, and counting begins anew at 64 Ki: none is that large.
fn number_of(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

/// Adds the number of each row's value, `None` where that is null. Rows lie by visit, so that many have the value of the
/// row before.
#[inline]
fn number_each(rows: &[u32], nulls: Option<&NullBuffer>, value_of: impl Fn(usize) -> u128, numbers: &mut Vec<u32>, mut number: impl FnMut(usize, Option<u128>) -> u32) {
    let mut last = None;
    numbers.extend(rows.iter().map(|row| {
        let row = *row as usize;
        if nulls.is_some_and(|nulls| nulls.is_null(row)) {
            return number(row, None);
        }
        let value = value_of(row);
        match last {
            Some((before, number)) if before == value => number,
            Some(_) | None => {
                let number = number(row, Some(value));
                last = Some((value, number));
                number
            }
        }
    }));
}

/// Texts by number.
#[derive(Default)]
struct Texts {
    bytes: Vec<u8>,
    /// Where each begins and ends.
    ends: Vec<(usize, usize)>,
    of_texts: HashTable<u32>,
    hasher: DefaultHashBuilder,
    of_views: Table,
    /// What the views of `of_views` point into. Held, so that nothing else comes to lie there.
    buffers: Vec<Buffer>,
}

impl Texts {
    /// Before a batch whose views point into `buffers`.
    fn begin(&mut self, buffers: &[Buffer]) {
        let is_same = |(own, other): (&Buffer, &Buffer)| own.as_ptr() == other.as_ptr() && own.len() == other.len();
        if self.buffers.len() != buffers.len() || !self.buffers.iter().zip(buffers).all(is_same) {
            self.of_views.forget();
            self.buffers = buffers.to_vec();
        }
    }

    fn number<'t>(&mut self, view: u128, text: impl FnOnce() -> &'t str) -> u32 {
        let Self { bytes, ends, of_texts, hasher, of_views, .. } = self;
        of_views.number(view, || {
            let text = text();
            let text_of = |number: u32| ends.get(number as usize).and_then(|(start, end)| bytes.get(*start..*end));
            let hash = hasher.hash_one(text.as_bytes());
            if let Some(number) = of_texts.find(hash, |number| text_of(*number) == Some(text.as_bytes())) {
                return *number;
            }
            let number = number_of(ends.len());
            of_texts.insert_unique(hash, number, |number| hasher.hash_one(text_of(*number).unwrap_or_default()));
            ends.push((bytes.len(), bytes.len() + text.len()));
            bytes.extend_from_slice(text.as_bytes());
            number
        })
    }

    /// Adds a text that is not looked for.
    fn add(&mut self, text: &str) -> u32 {
        self.ends.push((self.bytes.len(), self.bytes.len() + text.len()));
        self.bytes.extend_from_slice(text.as_bytes());
        number_of(self.ends.len() - 1)
    }

    fn text(&self, number: usize) -> &str {
        let bytes = self.ends.get(number).and_then(|(start, end)| self.bytes.get(*start..*end)).unwrap_or_default();
        std::str::from_utf8(bytes).unwrap_or_default()
    }
}

/// Pairs of numbers by number.
#[derive(Default)]
struct Pairs {
    table: Table,
    pairs: Vec<(u32, u32)>,
}

impl Pairs {
    /// In place of each of `numbers` the number of its pair with that of `others`.
    fn number(&mut self, numbers: &mut [u32], others: &[u32]) {
        let mut last = None;
        for (number, other) in numbers.iter_mut().zip(others) {
            let pair = (*number, *other);
            *number = match last {
                Some((before, number)) if before == pair => number,
                Some(_) | None => {
                    let pairs = &mut self.pairs;
                    let number = self.table.number(u128::from(pair.0) << 32 | u128::from(pair.1), || {
                        pairs.push(pair);
                        number_of(pairs.len() - 1)
                    });
                    last = Some((pair, number));
                    number
                }
            };
        }
    }

    fn bytes(&self) -> usize {
        self.table.bytes() + self.pairs.capacity() * size_of::<(u32, u32)>()
    }
}

/// Numbers of values of sixteen bytes.
struct Table {
    /// Where a value is looked for by its hash, and from there on. A power of two.
    slots: Vec<Slot>,
    used: usize,
    /// Which slots are of now.
    turn: u32,
}

/// 24 bytes: as one number the value would make it 32.
#[derive(Clone, Copy, Default)]
struct Slot {
    value: [u64; 2],
    number: u32,
    turn: u32,
}

impl Default for Table {
    fn default() -> Self {
        Self { slots: vec![Slot::default(); SLOTS_MIN], used: 0, turn: 1 }
    }
}

impl Table {
    /// The value's number; a new one where it has none.
    #[inline]
    fn number(&mut self, value: u128, new: impl FnOnce() -> u32) -> u32 {
        let value = [value as u64, (value >> 64) as u64];
        let mask = self.slots.len() - 1;
        let mut at = hash(value);
        loop {
            at &= mask;
            let slot = &mut self.slots[at];
            if slot.turn != self.turn {
                let number = new();
                *slot = Slot { value, number, turn: self.turn };
                self.used += 1;
                if self.used > self.room() {
                    self.grow();
                }
                return number;
            }
            if slot.value == value {
                return slot.number;
            }
            at += 1;
        }
    }

    /// How many values it has room for before it grows.
    const fn room(&self) -> usize {
        let length = self.slots.len();
        length / if length <= SLOTS_NEAR { 4 } else { 2 }
    }

    fn forget(&mut self) {
        self.used = 0;
        self.turn = self.turn.wrapping_add(1);
        if self.turn == 0 {
            self.slots.fill(Slot::default());
            self.turn = 1;
        }
    }

    #[cold]
    fn grow(&mut self) {
        let length = self.slots.len() * 2;
        let old = std::mem::replace(&mut self.slots, vec![Slot::default(); length]);
        for slot in old.into_iter().filter(|slot| slot.turn == self.turn) {
            let mut at = hash(slot.value) & (length - 1);
            while self.slots[at].turn == self.turn {
                at = (at + 1) & (length - 1);
            }
            self.slots[at] = slot;
        }
    }

    fn bytes(&self) -> usize {
        self.slots.len() * size_of::<Slot>()
    }
}

/// Of so many slots, 192 KiB, a quarter is used at most, so that mostly the first slot is the one: where else to look
/// nobody could foretell. Of more a half, for they come from further away.
const SLOTS_NEAR: usize = 8 << 10;
/// 6 KiB: room for 64 different values, more than most columns have.
const SLOTS_MIN: usize = 256;

/// Both halves multiplied, and the halves of that mixed (as wyhash and foldhash do). Without a secret: who makes values
/// meet in one place makes their own question slow.
#[inline]
fn hash([low, high]: [u64; 2]) -> usize {
    let product = u128::from(high ^ 0x9e37_79b9_7f4a_7c15) * u128::from(low ^ 0xd1b5_4a32_d192_ed03);
    ((product >> 64) as u64 ^ product as u64) as usize
}
