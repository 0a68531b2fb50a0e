//! Owns the board: live aggregates in memory, for the dashboard and `live`.
//!
//! Knows `DashMap`, a map of sharded locks: no hit touches it; each worker hands over what it gathered every
//! 100 ms, or, where that is much, a tenth of its sites; a few busy sites' rows as soon as they are enough; and what
//! belongs to a group that failed is dropped first.
//! Promises that the board is a second behind at most, and bounds: 60 minutes a
//! site, 200 values a dimension, 20,000 visitors an hour told apart; what is beyond is `(other)`, or
//! no longer told apart. 1,000 busy sites are 1,000 × (5 × 200 × 80 B + 20,000 × 16 B) = 400 MB at the
//! very worst; a site of 1,000 visitors an hour takes under 100 KB; what a worker gathers in a second of 100,000 hits
//! is 100,000 rows of 130 bytes, 13 MB. Never holds a visitor's id: only a
//! keyed 64-bit hash, and not beyond two hours.

use crate::hit::clock::Moment;
use crate::hit::record::{Number, Record, Text};
use crate::rules::ahead;
use dashmap::DashMap;
use dashmap::mapref::one::RefMut;
use hashbrown::{DefaultHashBuilder, HashMap, HashSet};
use serde::Serialize;
use std::collections::BTreeMap;
use std::hash::BuildHasher;
use std::sync::Arc;

/// Live aggregates of all sites.
#[derive(Default)]
pub struct Board {
    sites: DashMap<Arc<str>, SiteBoard, DefaultHashBuilder>,
}

/// Minutes that the board looks back.
pub const MINUTES: i64 = 60;
const VALUES_MAX: usize = 200;
const VISITORS_MAX: usize = 20_000;
const OTHER: &str = "(other)";

/// What the board counts by.
const DIMENSIONS: [&str; 5] = ["page", "source", "country", "device", "event"];

#[derive(Default)]
struct SiteBoard {
    minutes: BTreeMap<i64, Minute>,
    /// This hour's and the last one's, so that what is shown covers at least 60 minutes.
    hours: BTreeMap<i64, HourBoard>,
}

#[derive(Default, Clone, Copy)]
struct Minute {
    interactions: u64,
    page_views: u64,
}

#[derive(Default)]
struct HourBoard {
    values: [HashMap<Box<str>, u64>; DIMENSIONS.len()],
    visitors: HashSet<u64>,
    visits: u64,
    engaged_ms: u64,
}

/// What a site's board shows.
#[derive(Debug, Clone, Serialize)]
pub struct View {
    pub interactions: u64,
    pub page_views: u64,
    pub visits: u64,
    /// Visitors told apart, up to a bound.
    pub visitors: u64,
    pub engaged_ms: u64,
    /// The last 60 minutes, oldest first: interactions and page views.
    pub minutes: Vec<(u64, u64)>,
    /// The ten most frequent values of each dimension.
    pub top: BTreeMap<&'static str, Vec<(String, u64)>>,
}

impl Board {
    /// What the board shows of a site at `now`.
    pub fn view(&self, site: &str, now: Moment) -> View {
        let minute = now.minute();
        let first = minute - MINUTES + 1;
        let board = self.sites.get(site);
        let mut view = View {
            interactions: 0,
            page_views: 0,
            visits: 0,
            visitors: 0,
            engaged_ms: 0,
            minutes: Vec::new(),
            top: BTreeMap::new(),
        };
        for at in first..=minute {
            let counts = board.as_ref().and_then(|board| board.minutes.get(&at)).copied().unwrap_or_default();
            view.minutes.push((counts.interactions, counts.page_views));
            view.interactions += counts.interactions;
            view.page_views += counts.page_views;
        }
        let hours: Vec<&HourBoard> =
            board.as_ref().map_or_else(Vec::new, |board| board.hours.range(now.hour().0 - 1..).map(|(_, hour)| hour).collect());
        view.visitors = hours.iter().flat_map(|hour| &hour.visitors).collect::<HashSet<_>>().len() as u64;
        view.visits = hours.iter().map(|hour| hour.visits).sum();
        view.engaged_ms = hours.iter().map(|hour| hour.engaged_ms).sum();
        for (at, dimension) in DIMENSIONS.into_iter().enumerate() {
            let mut sums: HashMap<&str, u64> = HashMap::new();
            for (value, count) in hours.iter().filter_map(|hour| hour.values.get(at)).flatten() {
                *sums.entry(value).or_default() += count;
            }
            let mut top: Vec<(String, u64)> = sums.into_iter().map(|(value, count)| (value.to_owned(), count)).collect();
            top.sort_by(|left, right| right.1.cmp(&left.1).then_with(|| left.0.cmp(&right.0)));
            top.truncate(10);
            view.top.insert(dimension, top);
        }
        view
    }

    fn site(&self, site: &str) -> RefMut<'_, Arc<str>, SiteBoard> {
        match self.sites.get_mut(site) {
            Some(board) => board,
            None => self.sites.entry(site.into()).or_default(),
        }
    }
}

impl SiteBoard {
    fn count(&mut self, row: &Row, values: [&str; DIMENSIONS.len()]) {
        let minute = self.minutes.entry(row.minute).or_default();
        minute.interactions += 1;
        minute.page_views += u64::from(row.is_page_view);
        let hour = self.hours.entry(row.hour).or_default();
        hour.visits += u64::from(row.starts_visit);
        hour.engaged_ms += row.engaged_ms;
        if let Some(visitor) = row.visitor
            && hour.visitors.len() < VISITORS_MAX
        {
            hour.visitors.insert(visitor);
        }
        for (sums, value) in hour.values.iter_mut().zip(values) {
            if value.is_empty() {
                continue;
            }
            if let Some(sum) = sums.get_mut(value) {
                *sum += 1;
            } else if sums.len() < VALUES_MAX {
                sums.insert(value.into(), 1);
            } else {
                *sums.entry(OTHER.into()).or_default() += 1;
            }
        }
        while self.minutes.len() > 2 * MINUTES as usize {
            self.minutes.pop_first();
        }
        while self.hours.len() > 2 {
            self.hours.pop_first();
        }
    }
}

/// What one worker gathered since it last handed over: rows one after the other, for to add them up by site would
/// cost more than they do where there are many sites.
pub struct Portion {
    /// Rows by their sites, so that each site's have their turn together.
    parts: [Part; PARTS],
    /// Whose turn it is.
    turn: usize,
    /// Keyed for this process, so that a hash says nothing outside of it.
    hasher: DefaultHashBuilder,
    /// Visitors that the board was told of in this hour, each in its one place: most are met again and again.
    told: Box<[u64; TOLD]>,
    hour: i64,
}

/// Rows of some sites.
#[derive(Default)]
struct Part {
    rows: Vec<Row>,
    /// The texts of all rows, end to end.
    texts: String,
    /// How many sites there were when it was handed over last.
    sites: usize,
}

/// Ten turns of 100 ms are a second. With 10,000 sites a second's rows are some nine of each site that has any, those of
/// 100 ms three: the more there are, the less each costs, since a site's counts come into the cache once for all.
const PARTS: usize = 10;
/// So few rows are handed over whoever's turn it is: a quiet collector's board is 100 ms behind.
const FEW: usize = 1_000;
/// So many of a part do not wait for its turn: a millisecond's work is not to become ten.
const MANY: usize = 4_000;
/// So many of a part do not wait for anything, where its sites have `TOGETHER_MAX` each: 64 KiB, that they and what
/// the worker needs for its next hits stay in the processor's own cache.
const ENOUGH: usize = 500;

/// 64 KiB a worker.
const TOLD: usize = 8_192;

/// So many rows of a site are counted under one lock, some 10 µs, before others have their turn.
const TOGETHER_MAX: usize = 64;

/// A row as the board counts it.
struct Row {
    /// The hash of its site.
    site: u64,
    /// Where its texts begin.
    at: usize,
    /// Bytes of its site and of its value in each dimension.
    lengths: [u32; 1 + DIMENSIONS.len()],
    minute: i64,
    hour: i64,
    is_page_view: bool,
    starts_visit: bool,
    engaged_ms: u64,
    /// `None` where the board knows of the visitor, or there is none.
    visitor: Option<u64>,
}

impl Portion {
    pub fn new(hasher: DefaultHashBuilder) -> Self {
        Self { parts: Default::default(), turn: 0, hasher, told: Box::new([0; TOLD]), hour: 0 }
    }

    /// Hands over what has its turn, or is not to wait for it.
    pub fn hand_over(&mut self, board: &Board) {
        let is_little = self.parts.iter().map(|part| part.rows.len()).sum::<usize>() <= FEW;
        for (number, part) in self.parts.iter_mut().enumerate() {
            if is_little || number == self.turn || part.rows.len() > MANY {
                part.hand_over(board);
            }
        }
        self.turn = (self.turn + 1) % PARTS;
    }

    /// Hands over what is enough to be counted together, whoever's turn it is.
    pub fn hand_over_enough(&mut self, board: &Board) {
        for part in &mut self.parts {
            if part.rows.len() >= ENOUGH.max(part.sites * TOGETHER_MAX) {
                part.hand_over(board);
            }
        }
    }

    /// Drops what was gathered: it is not to show. Whom the board was told of before is told again.
    pub fn drop_all(&mut self) {
        self.parts.iter_mut().for_each(Part::clear);
        self.told.fill(0);
    }

    /// Counts a row.
    pub fn count(&mut self, record: &Record<'_>) {
        let hour = record.received_at.hour().0;
        if self.hour != hour {
            self.hour = hour;
            self.told.fill(0);
        }
        let Self { parts, hasher, told, .. } = self;
        let site = hasher.hash_one(record.text(Text::Site));
        let Part { rows, texts, .. } = &mut parts[site as usize % PARTS];
        let at = texts.len();
        let visitor = record.visitor_id.map(|visitor| hasher.hash_one(u128::from_ne_bytes(visitor.0)));
        if let Some(hash) = visitor {
            ahead::fetch(&told[hash as usize % TOLD]);
        }
        let source = record.text(Text::SourceName);
        let lengths = [
            record.text(Text::Site),
            record.text(Text::PagePath),
            if source.is_empty() { record.medium.name() } else { source },
            record.country.as_ref().map_or("(unknown)", |country| country.code()),
            record.device.name(),
            record.text(Text::Event),
        ]
        .map(|text| {
            texts.push_str(text);
            u32::try_from(text.len()).unwrap_or(u32::MAX)
        });
        rows.push(Row {
            site,
            at,
            lengths,
            minute: record.received_at.minute(),
            hour,
            is_page_view: record.text(Text::Event) == "page_view",
            starts_visit: record.starts_visit,
            engaged_ms: record.number(Number::EngagedMs).map_or(0, |ms| u64::from(ms.unsigned_abs())),
            visitor: visitor.filter(|hash| std::mem::replace(&mut told[*hash as usize % TOLD], *hash) != *hash),
        });
    }
}

impl Part {
    /// Hands over all rows, those of a site together.
    fn hand_over(&mut self, board: &Board) {
        if self.rows.is_empty() {
            return;
        }
        let mut order: Vec<(u64, usize)> = self.rows.iter().enumerate().map(|(number, row)| (row.site, number)).collect();
        order.sort_unstable();
        self.sites = order.chunk_by(|left, right| left.0 == right.0).count();
        let mut rows = order.iter().filter_map(|(_, number)| self.rows.get(*number)).map(|row| (row, row.texts(&self.texts)));
        let mut next = rows.next();
        while let Some((_, [site, ..])) = next {
            let mut there = board.site(site);
            for _ in 0..TOGETHER_MAX {
                let Some((row, [_, values @ ..])) = next.filter(|(_, texts)| texts[0] == site) else { break };
                there.count(row, values);
                next = rows.next();
            }
        }
        self.clear();
    }

    fn clear(&mut self) {
        self.rows.clear();
        self.texts.clear();
    }
}

impl Row {
    /// Its site and its value in each dimension.
    fn texts<'t>(&self, of_all: &'t str) -> [&'t str; 1 + DIMENSIONS.len()] {
        let mut left = of_all.get(self.at..).unwrap_or_default();
        self.lengths.map(|length| {
            let (text, rest) = left.split_at_checked(length as usize).unwrap_or_default();
            left = rest;
            text
        })
    }
}

#[cfg(test)]
mod tests {
    use super::{Board, ENOUGH, FEW, MANY, PARTS, Portion, TOGETHER_MAX};
    use crate::hit::clock::Moment;
    use crate::hit::field::{Channel, ConsentSource, Device, Id, LegalBasis, Medium, Protocol, Regime};
    use crate::hit::record::{Number, Record, Text};
    use crate::hit::scrubbed::Scrubbed;
    use hashbrown::DefaultHashBuilder;

    const NOW: Moment = Moment(1_700_000_000_000_000);

    fn view_of(visitor: u8, at: Moment) -> Record<'static> {
        let mut texts = [""; Text::COUNT];
        (texts[Text::Site as usize], texts[Text::Event as usize], texts[Text::PagePath as usize]) = ("acme", "page_view", "/a");
        Record {
            received_at: at,
            occurred_at: at,
            texts,
            numbers: [None; Number::COUNT],
            visitor_id: Some(Id([visitor; 16])),
            visit_id: None,
            starts_visit: true,
            country: None,
            channel: Channel::Web,
            medium: Medium::Direct,
            device: Device::Desktop,
            is_bot: false,
            regime: Regime::OptOut,
            basis: LegalBasis::OptOutRegime,
            consent_source: ConsentSource::None,
            may_share: false,
            protocol: Protocol::Native,
            properties: vec![],
            scrubbed: Scrubbed::default(),
        }
    }

    #[test]
    fn rows_of_many_sites_are_counted_each_at_its_own() {
        let (board, mut portion) = (Board::default(), Portion::new(DefaultHashBuilder::default()));
        let paths: Vec<String> = (0..300).map(|page| format!("/{page}")).collect();
        for (at, path) in paths.iter().cycle().take(3_000).enumerate() {
            let mut record = view_of((at % 250) as u8, NOW);
            (record.texts[Text::Site as usize], record.texts[Text::PagePath as usize]) = (["acme", "", "other"][at % 3], path);
            record.numbers[Number::EngagedMs as usize] = Some(2);
            portion.count(&record);
        }
        assert_eq!(board.view("acme", NOW).interactions, 0, "it was not told yet");
        (0..=PARTS).for_each(|_| portion.hand_over(&board));
        for site in ["acme", "", "other"] {
            let view = board.view(site, NOW);
            assert_eq!((view.interactions, view.visits, view.engaged_ms), (1_000, 1_000, 2_000), "{site}");
            assert_eq!((view.top["page"].len(), view.top["page"][0].1, view.top["source"][0].clone()), (10, 10, ("direct".to_owned(), 1_000)));
        }
        for path in &paths {
            let mut record = view_of(1, NOW);
            record.texts[Text::PagePath as usize] = path;
            portion.count(&record);
        }
        portion.hand_over(&board);
        assert_eq!(board.view("acme", NOW).top["page"][0], ("(other)".to_owned(), 100));
    }

    #[test]
    fn little_is_told_at_once_and_a_busy_site_waits_for_no_turn() {
        let (board, mut portion) = (Board::default(), Portion::new(DefaultHashBuilder::default()));
        let mut told = 0;
        for rows in [1, FEW, MANY + 1] {
            (0..rows).for_each(|_| portion.count(&view_of(1, NOW)));
            portion.hand_over(&board);
            told += rows as u64;
            assert_eq!(board.view("acme", NOW).interactions, told);
        }
    }

    #[test]
    fn what_is_enough_of_its_sites_waits_for_nothing() {
        let (board, mut portion) = (Board::default(), Portion::new(DefaultHashBuilder::default()));
        let of = |site, portion: &mut Portion| {
            let mut record = view_of(1, NOW);
            record.texts[Text::Site as usize] = site;
            portion.count(&record);
        };
        let told = |portion: &mut Portion, sites: &[&str]| {
            portion.hand_over_enough(&board);
            sites.iter().map(|site| board.view(site, NOW).interactions).sum::<u64>()
        };
        (1..ENOUGH).for_each(|_| of("acme", &mut portion));
        assert_eq!(told(&mut portion, &["acme"]), 0);
        of("acme", &mut portion);
        assert_eq!(told(&mut portion, &["acme"]), ENOUGH as u64);
        // Of a hundred sites, ten in each part and more, that many have not yet enough together.
        let names: Vec<String> = (0..100).map(|number| format!("site-{number}")).collect();
        let sites: Vec<&str> = names.iter().map(String::as_str).collect();
        sites.iter().for_each(|site| of(site, &mut portion));
        (0..PARTS).for_each(|_| portion.hand_over(&board));
        assert_eq!(told(&mut portion, &sites), 100);
        for rows in 2..=TOGETHER_MAX / 2 {
            sites.iter().for_each(|site| of(site, &mut portion));
            assert_eq!(told(&mut portion, &sites), 100, "{rows}");
        }
        (0..TOGETHER_MAX).for_each(|_| sites.iter().for_each(|site| of(site, &mut portion)));
        assert!(told(&mut portion, &sites) > 100 * (TOGETHER_MAX as u64));
    }

    #[test]
    fn many_sites_take_turns() {
        let (board, mut portion) = (Board::default(), Portion::new(DefaultHashBuilder::default()));
        let sites: Vec<String> = (0..64).map(|number| format!("site-{number}")).collect();
        for _ in 0..=FEW / sites.len() {
            for site in &sites {
                let mut record = view_of(1, NOW);
                record.texts[Text::Site as usize] = site;
                portion.count(&record);
            }
        }
        let told = || sites.iter().filter(|site| board.view(site, NOW).interactions > 0).count();
        portion.hand_over(&board);
        assert!((0..64).contains(&told()));
        (1..PARTS).for_each(|_| portion.hand_over(&board));
        assert_eq!(told(), 64);
    }

    #[test]
    fn visitors_are_told_once_an_hour_and_again_where_what_was_told_was_dropped() {
        let (board, mut portion) = (Board::default(), Portion::new(DefaultHashBuilder::default()));
        portion.count(&view_of(1, NOW));
        portion.drop_all();
        for visitor in [1, 2, 1] {
            portion.count(&view_of(visitor, NOW));
            portion.hand_over(&board);
        }
        let view = board.view("acme", NOW);
        assert_eq!((view.interactions, view.page_views, view.visitors, view.visits), (3, 3, 2, 3));
        // Each of the two hours that are looked at knows its own.
        let later = NOW.plus_seconds(2 * 3_600);
        portion.count(&view_of(1, later));
        portion.hand_over(&board);
        assert_eq!((board.view("acme", later).visitors, board.view("acme", later).interactions), (1, 1));
    }
}
