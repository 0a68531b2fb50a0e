//! Owns the board: live aggregates in memory, for the dashboard and `live`.
//!
//! Knows `DashMap`, a map of sharded locks: no hit touches it; each worker hands over what it gathered every
//! 100 ms, and what belongs to a group that failed is dropped first. Promises bounds: 60 minutes a
//! site, 200 values a dimension, 20,000 visitors an hour told apart; what is beyond is `(other)`, or
//! no longer told apart. 1,000 busy sites are 1,000 × (5 × 200 × 80 B + 20,000 × 16 B) = 400 MB at the
//! very worst; a site of 1,000 visitors an hour takes under 100 KB. Never holds a visitor's id: only a
//! keyed 64-bit hash, and not beyond two hours.

use crate::hit::clock::Moment;
use crate::hit::record::{Number, Record, Text};
use dashmap::DashMap;
use hashbrown::{HashMap, HashSet};
use serde::Serialize;
use std::collections::BTreeMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;

/// Live aggregates of all sites.
#[derive(Default)]
pub struct Board {
    sites: DashMap<Arc<str>, SiteBoard>,
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
}

impl SiteBoard {
    fn merge(&mut self, counted: Counted) {
        for (minute, counts) in counted.minutes {
            let there = self.minutes.entry(minute).or_default();
            there.interactions += counts.interactions;
            there.page_views += counts.page_views;
        }
        for (hour, counts) in counted.hours {
            let there = self.hours.entry(hour).or_default();
            there.visits += counts.visits;
            there.engaged_ms += counts.engaged_ms;
            for (sums, values) in there.values.iter_mut().zip(counts.values) {
                for (value, count) in values {
                    let is_known = sums.contains_key(&value) || sums.len() < VALUES_MAX;
                    *sums.entry(if is_known { value } else { OTHER.into() }).or_default() += count;
                }
            }
            for visitor in counts.visitors {
                if there.visitors.len() < VISITORS_MAX {
                    there.visitors.insert(visitor);
                }
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

/// What one worker gathered since it last handed over.
pub struct Portion {
    sites: HashMap<Arc<str>, Counted>,
    /// Keyed for this process, so that a hash says nothing outside of it.
    hasher: RandomState,
    /// Visitors that the board was told of in this hour, each in its one place: most are met again and again.
    told: Box<[u64; TOLD]>,
    hour: i64,
}

/// 64 KiB a worker.
const TOLD: usize = 8_192;

/// Hits arrive in the order of the clock: of minutes and hours there is one, or two, the newest last.
#[derive(Default)]
struct Counted {
    minutes: Vec<(i64, Minute)>,
    hours: Vec<(i64, HourPortion)>,
}

#[derive(Default)]
struct HourPortion {
    values: [HashMap<Box<str>, u64>; DIMENSIONS.len()],
    visitors: Vec<u64>,
    visits: u64,
    engaged_ms: u64,
}

/// What belongs to `key`, begun where it is not there.
fn of<K: Copy + PartialEq, V: Default>(list: &mut Vec<(K, V)>, key: K) -> &mut V {
    let at = list.iter().rposition(|(known, _)| *known == key).unwrap_or_else(|| {
        list.push((key, V::default()));
        list.len() - 1
    });
    &mut list[at].1
}

impl Portion {
    pub fn new(hasher: RandomState) -> Self {
        Self { sites: HashMap::new(), hasher, told: Box::new([0; TOLD]), hour: 0 }
    }

    /// Hands over what was gathered, and begins anew.
    pub fn hand_over(&mut self, board: &Board) {
        for (site, counted) in self.sites.drain() {
            board.sites.entry(site).or_default().merge(counted);
        }
    }

    /// Drops what was gathered: it is not to show. Whom the board was told of before is told again.
    pub fn drop_all(&mut self) {
        self.sites.clear();
        self.told.fill(0);
    }

    /// Counts a row.
    pub fn count(&mut self, record: &Record<'_>) {
        let at = record.received_at.hour().0;
        if self.hour != at {
            self.hour = at;
            self.told.fill(0);
        }
        let Self { sites, hasher, told, .. } = self;
        let counted = sites.entry_ref(record.text(Text::Site)).or_default();
        let minute = of(&mut counted.minutes, record.received_at.minute());
        minute.interactions += 1;
        minute.page_views += u64::from(record.text(Text::Event) == "page_view");
        let hour = of(&mut counted.hours, at);
        hour.visits += u64::from(record.starts_visit);
        hour.engaged_ms += record.number(Number::EngagedMs).map_or(0, |ms| u64::from(ms.unsigned_abs()));
        if let Some(visitor) = record.visitor_id {
            let hash = hasher.hash_one(visitor.0);
            let told = &mut told[hash as usize % TOLD];
            if *told != hash {
                *told = hash;
                hour.visitors.push(hash);
            }
        }
        let source = record.text(Text::SourceName);
        let values = [
            record.text(Text::PagePath),
            if source.is_empty() { record.medium.name() } else { source },
            record.country.as_ref().map_or("(unknown)", |country| country.code()),
            record.device.name(),
            record.text(Text::Event),
        ];
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
    }
}

#[cfg(test)]
mod tests {
    use super::{Board, Portion};
    use crate::hit::clock::Moment;
    use crate::hit::field::{Channel, ConsentSource, Device, Id, LegalBasis, Medium, Protocol, Regime};
    use crate::hit::record::{Number, Record, Text};
    use crate::hit::scrubbed::Scrubbed;
    use std::hash::RandomState;

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
    fn visitors_are_told_once_an_hour_and_again_where_what_was_told_was_dropped() {
        let (board, mut portion) = (Board::default(), Portion::new(RandomState::new()));
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
