//! Owns the cells of trends: what one counts, and how waiting rows are added to theirs.
//!
//! Knows Apache DataSketches' HLL, and how memory answers: the cells of thousands of sites lie in no cache. Promises: a
//! sketch is fed with the bytes of `visitor_id`, so that other languages merge it; a visitor who is alone in a cell needs
//! none. Never holds a visitor's id itself.

use super::dimension::Dimension;
use crate::hit::record::{Number, Record, Text};
use crate::rules::ahead;
use arrow::array::BinaryBuilder;
use datasketches::hash::value::raw_bytes;
use datasketches::hll::{Coupon, HllSketch, HllType, HllUnion};
use hashbrown::HashMap;

/// Rows whose cells are known and wait for their turn: taken site by site and in each dimension by dimension, the cells
/// and sketches at hand stay in the processor's nearest caches. Those of a site that has few rows were made in few places
/// of memory.
#[derive(Default)]
pub struct Waiting {
    addends: Vec<Addend>,
    /// The number of each row's site and hour, and the row.
    site_hours: Vec<(u32, u32)>,
    places: Vec<Places>,
}

impl Waiting {
    /// Has a row of a site's hour wait, whose cells are known.
    pub fn push(&mut self, site_hour: u32, addend: Addend, places: Places) {
        // Never more than `WAITING_MAX`.
        self.site_hours.push((site_hour, self.addends.len() as u32));
        self.addends.push(addend);
        self.places.push(places);
    }

    /// Adds rows to their cells; by how many bytes those may have grown.
    pub fn settle(&mut self, cells: &mut [Cell]) -> usize {
        let Self { addends, site_hours, places } = self;
        // Rows of one site together, as they came.
        site_hours.sort_unstable();
        // Where cells take more room than the nearest caches have, each is asked for before its turn.
        let asks_ahead = cells.len() > CELLS_NEAR;
        let (mut grown, mut settled) = (0, 0);
        let mut groups = site_hours.chunk_by(|left, right| left.0 == right.0).flat_map(|rows| rows.chunks(TOGETHER_MAX)).peekable();
        while let Some(group) = groups.next() {
            let place_of = |rows: &[(u32, u32)], number: usize, dimension: usize| {
                let (_, row) = rows.get(number)?;
                places.get(*row as usize).map(|places| places[dimension]).filter(|at| *at != NO_CELL)
            };
            if asks_ahead {
                for (_, row) in site_hours.iter().skip(settled + ROWS_AHEAD).take(group.len()) {
                    if let (Some(places), Some(addend)) = (places.get(*row as usize), addends.get(*row as usize)) {
                        ahead::fetch(places);
                        ahead::fetch(addend);
                    }
                }
                let next = groups.peek().copied().unwrap_or_default();
                for number in 0..AHEAD.min(next.len()) {
                    for dimension in 0..NO_PLACES.len() {
                        fetch(cells, place_of(next, number, dimension));
                    }
                }
            }
            settled += group.len();
            for dimension in Dimension::OF_INTERACTIONS {
                for (number, (_, row)) in group.iter().enumerate() {
                    if asks_ahead {
                        fetch(cells, place_of(group, number + AHEAD, dimension as usize));
                        // Its sketch, once the cell itself is near.
                        if let Some(Cell { visitors: Visitors::Many(sketch), .. }) = place_of(group, number + AHEAD / 2, dimension as usize).and_then(|at| cells.get(at as usize)) {
                            ahead::fetch(&**sketch);
                        }
                    }
                    let Some(at) = place_of(group, number, dimension as usize) else { continue };
                    let (Some(cell), Some(addend)) = (cells.get_mut(at as usize), addends.get(*row as usize)) else { continue };
                    grown += cell.add(*addend);
                }
            }
        }
        site_hours.clear();
        addends.clear();
        places.clear();
        grown
    }

    /// How many rows wait.
    pub const fn rows(&self) -> usize {
        self.addends.len()
    }
}

fn fetch(cells: &[Cell], at: Option<u32>) {
    if let Some(cell) = at.and_then(|at| cells.get(at as usize)) {
        ahead::fetch(&cell.interactions);
        ahead::fetch(&cell.visitors);
    }
}

/// What is counted of a value.
#[derive(Default)]
pub struct Cell {
    pub interactions: i64,
    pub page_views: i64,
    pub visits: i64,
    pub engaged_ms: i64,
    pub visitors: Visitors,
}

/// Most values have one visitor in a commit: those need no sketch.
#[derive(Default)]
pub enum Visitors {
    #[default]
    None,
    One(Coupon),
    Many(Box<HllSketch>),
}

/// What a row adds to each of its cells, worked out once.
#[derive(Clone, Copy)]
pub struct Addend {
    engaged_ms: i32,
    is_page_view: bool,
    starts_visit: bool,
    /// The visitor as a sketch sees them.
    visitor: Option<Coupon>,
}

impl Addend {
    pub fn of(record: &Record<'_>) -> Self {
        Self {
            engaged_ms: record.number(Number::EngagedMs).unwrap_or(0),
            is_page_view: record.text(Text::Event) == "page_view",
            starts_visit: record.starts_visit,
            visitor: record.visitor_id.map(|visitor| Coupon::from_value(raw_bytes::from_slice(&visitor.digits()))),
        }
    }
}

/// Half of what `Option<u32>` takes.
pub const NO_CELL: u32 = u32::MAX;

/// Where the cells of a row are, in the order of `Dimension::OF_INTERACTIONS`.
pub type Places = [u32; Dimension::OF_INTERACTIONS.len()];
pub const NO_PLACES: Places = [NO_CELL; Dimension::OF_INTERACTIONS.len()];

/// 64 Ki rows: an addend of 16 bytes, 8 of its site's hour and 14 cells of 4 are 5 MiB. Of 1,000 sites some 60 rows each:
/// their cells come from memory once in 60 rows.
pub const WAITING_MAX: usize = 64 << 10;

/// 8 Ki cells of 48 bytes are 384 KiB.
const CELLS_NEAR: usize = 8 << 10;
/// A cell is asked for so many rows before its own, and a row itself before that.
const AHEAD: usize = 8;
const ROWS_AHEAD: usize = 4 * AHEAD;
/// Of a site at once: their places are 256 KiB.
const TOGETHER_MAX: usize = 4_096;

/// Sketches of 2^12 registers: a standard error of 1.04 / √4096 = 1.6 %, 4 KiB at most.
pub const SKETCH_LG_K: u8 = 12;

/// What a sketch of so many interactions may take up: it grows when it has 2, 8, 24, 48, … visitors.
pub const fn sketch_bytes(interactions: i64) -> usize {
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
    pub fn add(&mut self, addend: Addend) -> usize {
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
    pub fn append_to(&self, sketches: &mut BinaryBuilder, alone: &mut Alone) {
        match self {
            Self::None => sketches.append_null(),
            Self::One(visitor) => sketches.append_option(alone.entry(*visitor).or_insert_with(|| sketch_of(*visitor).map(|sketch| sketch.serialize())).as_ref()),
            Self::Many(sketch) => sketches.append_value(sketch.serialize()),
        }
    }
}

/// All cells in one.
pub fn merged(cells: impl IntoIterator<Item = Cell>) -> Cell {
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
pub type Alone = HashMap<Coupon, Option<Vec<u8>>>;

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
fn merge_sketches<'s>(sketches: impl IntoIterator<Item = &'s HllSketch>) -> Option<HllSketch> {
    let mut union = HllUnion::new(SKETCH_LG_K).ok()?;
    for sketch in sketches {
        union.update(sketch);
    }
    Some(union.to_sketch(HllType::Hll8))
}
