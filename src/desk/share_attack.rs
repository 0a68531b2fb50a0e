//! Owns an attacker on what is shared: has everything that was ever published of a site, knows every value
//! that could be there and which combinations there are, and tries to work out a cell of fewer people than may be shown.
//!
//! What is published is equations over unknowns: the interactions of each key, day and state of the lake.
//! Linear algebra finds whatever follows from them (sums over dimensions, totals less cells, this export less
//! that one); bounds find what follows from nothing being negative. The attacker is stronger than a real one:
//! the linear part is given the exact figures. That it can win is shown by what others do against it.

use super::share::{COUNTED_MAX, Cell, Count, Dimension, Group, OTHER, PEOPLE_MIN, ROUNDED_TO, Rest, SEPARATOR, Shelf, Tables, Week, publish, shown, suppressed};
use super::share_counts::WeekOfRows;
use crate::hit::clock::{Day, Moment};
use crate::hit::field::{Country, Device, Id};
use crate::hit::record::{Record, Text};
use crate::hit::site::Site;
use crate::lake::audience::Audience;
use crate::hit::sample::page_view;
use crate::lake::sample::commit;
use crate::lake::sql::{Session, SessionOptions};
use futures::executor::block_on;
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;

/// Some interactions of one person on one page and day.
#[derive(Debug, Clone, PartialEq)]
struct Row {
    person: usize,
    /// Days from the first Monday.
    day: i64,
    visitor: Id,
    network: String,
    page: usize,
    source: usize,
    country: usize,
    technology: usize,
    interactions: u64,
}

/// The network, and what is browsed with.
type Trait = (String, usize);

const PAGES: [&str; 8] = ["/", "/shoes", "/it's", "/a\\'b", "/(other)", "(other)", "/ü", "/last"];
const SOURCES: [&str; 5] = ["Google", "Bing", "it's", "news", "mail"];
const COUNTRIES: [&str; 6] = ["DE", "FR", "BE", "AT", "NL", "LU"];
const TECHNOLOGY: [[&str; 3]; 8] = [
    ["Chrome", "Windows", "desktop"],
    ["Mobile Safari", "iOS", "mobile"],
    ["Chrome", "Mac OS X", "desktop"],
    ["Chrome Mobile", "Android", "mobile"],
    ["Firefox", "Linux", "desktop"],
    ["Firefox", "Windows", "desktop"],
    ["Mobile Safari", "iOS", "tablet"],
    ["Samsung", "Tizen", "tv"],
];
/// 2026-11-16, a Monday.
const MONDAY: Day = Day(20_773);

impl Row {
    fn key(&self, group: Group) -> String {
        match group {
            Group::All => String::new(),
            Group::Page => PAGES[self.page].to_owned(),
            Group::Source => SOURCES[self.source].to_owned(),
            Group::Country => COUNTRIES[self.country].to_owned(),
            Group::Technology => TECHNOLOGY[self.technology].join(&SEPARATOR.to_string()),
        }
    }

    fn trait_(&self) -> Trait {
        (self.network.clone(), self.technology)
    }
}

/// The value of a dimension in a key.
fn value(dimension: Dimension, key: &str) -> String {
    key.split(SEPARATOR).nth(dimension.place().1).unwrap().to_owned()
}

/// A period of rows, counted in memory: the SQL has to agree with it.
struct InMemory<'r> {
    rows: &'r [Row],
    days: std::ops::Range<i64>,
}

impl InMemory<'_> {
    fn rows(&self) -> impl Iterator<Item = &Row> {
        self.rows.iter().filter(|row| self.days.contains(&row.day))
    }

    fn keys(&self, group: Group) -> BTreeSet<String> {
        self.rows().map(|row| row.key(group)).collect()
    }

    fn people<'r>(rows: impl Iterator<Item = &'r Row>) -> u64 {
        let mut days: BTreeMap<i64, BTreeMap<Id, Trait>> = BTreeMap::new();
        for row in rows {
            let least = days.entry(row.day).or_default().entry(row.visitor).or_insert_with(|| row.trait_());
            *least = row.trait_().min(least.clone());
        }
        days.values().map(|visitors| visitors.values().collect::<BTreeSet<_>>().len() as u64).max().unwrap_or(0)
    }
}

impl Count for InMemory<'_> {
    type Error = Infallible;

    async fn common(&self, group: Group) -> Result<Vec<String>, Infallible> {
        let people = |key: &String| Self::people(self.rows().filter(|row| row.key(group) == *key));
        let mut keys: Vec<(u64, String)> = self.keys(group).into_iter().map(|key| (people(&key), key)).filter(|(people, _)| *people >= PEOPLE_MIN).collect();
        keys.sort_by(|left, right| right.0.cmp(&left.0).then_with(|| left.1.cmp(&right.1)));
        Ok(keys.into_iter().map(|(_, key)| key).collect())
    }

    async fn rest(&self, group: Group, shown: &[String]) -> Result<Rest, Infallible> {
        let rest = || self.rows().filter(|row| !shown.contains(&row.key(group)));
        Ok(Rest { people: Self::people(rest()), keys: rest().map(|row| row.key(group)).collect::<BTreeSet<_>>().len() as u64 })
    }

    async fn figures(&self, dimension: Dimension, shown: &[String]) -> Result<Vec<Cell>, Infallible> {
        let mut counts: BTreeMap<String, BTreeMap<(i64, Id), u64>> = BTreeMap::new();
        for row in self.rows() {
            let key = row.key(dimension.place().0);
            let value = if shown.contains(&key) { value(dimension, &key) } else { OTHER.to_owned() };
            *counts.entry(value).or_default().entry((row.day, row.visitor)).or_default() += row.interactions;
        }
        let cell = |(value, counts): (String, BTreeMap<_, u64>)| Cell {
            value,
            interactions: counts.values().map(|count| (*count).min(COUNTED_MAX)).sum(),
            visitor_days: counts.len() as u64,
        };
        Ok(counts.into_iter().map(cell).collect())
    }
}

/// How many persons there really are.
fn persons<'r>(rows: impl Iterator<Item = &'r Row>) -> usize {
    rows.map(|row| row.person).collect::<BTreeSet<_>>().len()
}

/// An unknown: the interactions of a key, a day and a state of the lake.
type Unknown = (Group, String, i64, usize);

/// A sum of unknowns, and what is known of it.
#[derive(Debug, Clone)]
struct Equation {
    sum: BTreeMap<Unknown, i64>,
    least: u64,
    most: u64,
}

/// What the attacker would like to know, and may not.
struct Secret {
    what: String,
    sum: BTreeMap<Unknown, i64>,
}

fn sum_of(group: Group, keys: impl Iterator<Item = String>, days: std::ops::Range<i64>, state: usize) -> BTreeMap<Unknown, i64> {
    keys.flat_map(|key| days.clone().map(move |day| ((group, key.clone(), day, state), 1))).collect()
}

/// Every key that could be in a group.
fn universe(group: Group) -> Vec<String> {
    let texts = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
    match group {
        Group::All => vec![String::new()],
        Group::Page => texts(&PAGES),
        Group::Source => texts(&SOURCES),
        Group::Country => texts(&COUNTRIES),
        Group::Technology => TECHNOLOGY.iter().map(|values| values.join(&SEPARATOR.to_string())).collect(),
    }
}

/// What a publication tells: each cell is the sum of the keys that it is of, and every group sums up to all.
/// `shown` says which keys are shown by value in each group; `keys` are those that there are, as far as the
/// attacker knows; `slack` is what rounding took at most.
fn told(tables: &Tables, shown: &BTreeMap<Group, Vec<String>>, keys: impl Fn(Group) -> Vec<String>, days: &std::ops::Range<i64>, state: usize, slack: u64) -> Vec<Equation> {
    let mut equations = Vec::new();
    let mut equation = |sum, figure: u64| equations.push(Equation { sum, least: figure, most: figure + slack });
    for dimension in Dimension::ALL {
        let Some(table) = tables.get(dimension.name()) else { continue };
        let group = dimension.place().0;
        for cell in &table.cells {
            let is_of = |key: &String| if shown[&group].contains(key) { cell.value == value(dimension, key) } else { cell.value == OTHER };
            equation(sum_of(group, keys(group).into_iter().filter(is_of), days.clone(), state), cell.interactions);
        }
    }
    if let Some(total) = tables.get("all").and_then(|table| table.cells.first()) {
        for group in Group::ALL {
            equation(sum_of(group, keys(group).into_iter(), days.clone(), state), total.interactions);
        }
    }
    equations
}

/// The keys that there are in a period: the strongest attacker knows which they are.
fn occurring(rows: &[Row], days: &std::ops::Range<i64>, group: Group) -> Vec<String> {
    InMemory { rows, days: days.clone() }.keys(group).into_iter().collect()
}

/// The cells of fewer people than may be shown: of keys, of values and of all small keys together, of a week
/// and of a day of it.
fn secrets(rows: &[Row], days: &std::ops::Range<i64>, state: usize) -> Vec<Secret> {
    let periods = std::iter::once(days.clone()).chain(days.clone().map(|day| day..day + 1));
    let mut secrets = Vec::new();
    for period in periods {
        let within = |row: &&Row| period.contains(&row.day);
        let mut secret = |what: String, group: Group, keys: Vec<String>| {
            let people = persons(rows.iter().filter(within).filter(|row| keys.contains(&row.key(group))));
            if (1..PEOPLE_MIN as usize).contains(&people) {
                secrets.push(Secret { what: format!("{what} of {people} people, days {period:?}"), sum: sum_of(group, keys.into_iter(), period.clone(), state) });
            }
        };
        for group in Group::ALL {
            let keys = occurring(rows, days, group);
            let is_small = |key: &String| persons(rows.iter().filter(within).filter(|row| row.key(group) == *key)) < PEOPLE_MIN as usize;
            secret(format!("{group:?} all that are small"), group, keys.iter().filter(|key| is_small(key)).cloned().collect());
            for key in keys {
                secret(format!("{group:?} {key:?}"), group, vec![key]);
            }
        }
        for dimension in Dimension::ALL {
            let group = dimension.place().0;
            let keys = occurring(rows, days, group);
            for of in keys.iter().map(|key| value(dimension, key)).collect::<BTreeSet<_>>() {
                secret(format!("{} {of:?}", dimension.name()), group, keys.iter().filter(|key| value(dimension, key) == of).cloned().collect());
            }
        }
    }
    secrets
}

/// What changed of few people between two states of the lake: of each key, in a week.
fn changes(before: &[Row], after: &[Row], days: &std::ops::Range<i64>) -> Vec<Secret> {
    let mut secrets = Vec::new();
    for group in Group::ALL {
        for key in occurring(&[before, after].concat(), days, group) {
            let is_of = |row: &&Row| days.contains(&row.day) && row.key(group) == key;
            let (was, is): (Vec<_>, Vec<_>) = (before.iter().filter(is_of).collect(), after.iter().filter(is_of).collect());
            let moved = was.iter().filter(|row| !is.contains(row)).chain(is.iter().filter(|row| !was.contains(row)));
            let people = persons(moved.copied());
            if (1..PEOPLE_MIN as usize).contains(&people) {
                let mut sum = sum_of(group, std::iter::once(key.clone()), days.clone(), 0);
                sum.extend(sum_of(group, std::iter::once(key.clone()), days.clone(), 1).into_keys().map(|unknown| (unknown, -1)));
                secrets.push(Secret { what: format!("the change of {people} people in {group:?} {key:?}, days {days:?}"), sum });
            }
        }
    }
    secrets
}

/// A prime: what follows over the rationals follows modulo it, but for one chance in 10^18.
const PRIME: u128 = (1 << 61) - 1;

/// Linear equations in echelon form.
struct Solved {
    places: BTreeMap<Unknown, usize>,
    rows: Vec<(usize, Vec<u128>)>,
}

impl Solved {
    fn new(equations: &[Equation]) -> Self {
        let unknowns: BTreeSet<Unknown> = equations.iter().flat_map(|equation| equation.sum.keys().cloned()).collect();
        let places = unknowns.into_iter().enumerate().map(|(at, unknown)| (unknown, at)).collect();
        let mut solved = Self { places, rows: Vec::new() };
        for equation in equations {
            let Some(mut row) = solved.row(&equation.sum).map(|row| solved.reduced(row)) else { continue };
            let Some(pivot) = row.iter().position(|value| *value != 0) else { continue };
            let inverse = power(row[pivot], PRIME - 2);
            row.iter_mut().for_each(|value| *value = *value * inverse % PRIME);
            solved.rows.push((pivot, row));
        }
        solved
    }

    /// Whether a sum follows from the equations.
    fn tells(&self, sum: &BTreeMap<Unknown, i64>) -> bool {
        self.row(sum).is_some_and(|row| self.reduced(row).iter().all(|value| *value == 0))
    }

    fn row(&self, sum: &BTreeMap<Unknown, i64>) -> Option<Vec<u128>> {
        let mut row = vec![0; self.places.len()];
        for (unknown, times) in sum {
            row[*self.places.get(unknown)?] = (i128::from(*times).rem_euclid(PRIME as i128)) as u128;
        }
        Some(row)
    }

    fn reduced(&self, mut row: Vec<u128>) -> Vec<u128> {
        for (pivot, known) in &self.rows {
            let times = row[*pivot];
            if times != 0 {
                row.iter_mut().zip(known).for_each(|(value, known)| *value = (*value + (PRIME - times) * known) % PRIME);
            }
        }
        row
    }
}

fn power(base: u128, mut exponent: u128) -> u128 {
    let (mut result, mut base) = (1, base % PRIME);
    while exponent > 0 {
        if exponent & 1 == 1 {
            result = result * base % PRIME;
        }
        base = base * base % PRIME;
        exponent >>= 1;
    }
    result
}

/// The least and the most that each unknown may be, nothing being negative. Of sums alone.
fn bounds(equations: &[Equation]) -> BTreeMap<Unknown, (u64, u64)> {
    let mut bounds: BTreeMap<Unknown, (u64, u64)> = equations.iter().flat_map(|equation| equation.sum.keys().cloned()).map(|unknown| (unknown, (0, u64::MAX / 1_000))).collect();
    loop {
        let before = bounds.clone();
        for Equation { sum, least, most } in equations.iter().filter(|equation| equation.sum.values().all(|times| *times == 1)) {
            let (all_least, all_most) = sum.keys().fold((0u64, 0u64), |(low, high), unknown| (low + bounds[unknown].0, high.saturating_add(bounds[unknown].1)));
            for unknown in sum.keys() {
                let (low, high) = bounds[unknown];
                let others = (all_least - low, all_most.saturating_sub(high));
                let tightened = (low.max(least.saturating_sub(others.1)), high.min(most.saturating_sub(others.0)));
                bounds.insert(unknown.clone(), tightened);
            }
        }
        if bounds == before {
            return bounds;
        }
    }
}

/// The secrets that come out: linearly from `exact`, or within bounds from `rounded`.
fn broken(exact: &[Equation], rounded: &[Equation], secrets: &[Secret]) -> Vec<String> {
    let (solved, bounds) = (Solved::new(exact), bounds(rounded));
    let is_pinned = |secret: &Secret| {
        let sums = secret.sum.keys().map(|unknown| bounds.get(unknown).copied().unwrap_or((0, u64::MAX / 1_000)));
        let (least, most) = sums.fold((0u64, 0u64), |(low, high), (least, most)| (low + least, high.saturating_add(most)));
        most - least == 0
    };
    secrets.iter().filter(|secret| solved.tells(&secret.sum) || is_pinned(secret)).map(|secret| secret.what.clone()).collect()
}

fn all_shown(counts: &InMemory<'_>) -> BTreeMap<Group, Vec<String>> {
    Group::ALL.into_iter().map(|group| (group, block_on(shown(counts, group)).unwrap().0)).collect()
}

/// A person: how cookies are taken, where from, with what.
#[derive(Debug, Clone)]
struct Person {
    kind: u8,
    source: usize,
    country: usize,
    technology: usize,
    visits: Vec<(i64, usize, u64)>,
}

/// Small numbers are frequent, great ones rare.
fn skewed(values: usize) -> impl Strategy<Value = usize> {
    (0..values, 0..values, 0..values).prop_map(|(one, two, three)| one.min(two).min(three))
}

fn person() -> impl Strategy<Value = Person> {
    let visits = prop::collection::vec((0..14i64, skewed(PAGES.len()), 1..4u64), 1..8);
    (0..6u8, skewed(SOURCES.len()), skewed(COUNTRIES.len()), skewed(TECHNOLOGY.len()), visits)
        .prop_map(|(kind, source, country, technology, visits)| Person { kind, source, country, technology, visits })
}

fn rows_of(people: &[Person]) -> Vec<Row> {
    let mut rows = Vec::new();
    for (person, of) in people.iter().enumerate() {
        for (visit, (day, page, interactions)) in of.visits.iter().enumerate() {
            let id = |parts: [usize; 2]| Id(std::array::from_fn(|at| ((person * 1_000 + parts[0] * 50 + parts[1]) >> (8 * (at % 3))) as u8 ^ of.kind));
            let (visitor, network) = match of.kind {
                // Another id every time: cookies are refused.
                4 => (id([1 + *day as usize, visit]), format!("{person}")),
                // Another id every day.
                5 => (id([1 + *day as usize, 49]), format!("{person}")),
                // A cookie that moves about.
                _ => (id([0, 0]), format!("{person}-{visit}")),
            };
            rows.push(Row { person, day: *day, visitor, network, page: *page, source: of.source, country: of.country, technology: of.technology, interactions: *interactions });
        }
    }
    rows
}

/// Everything published of two weeks, before and after the lake changed, by way of the shelf.
fn attack(before: &[Row], after: &[Row]) -> Vec<String> {
    attack_on(before, after, true)
}

/// The same, also against a program that counts a week anew each time.
fn attack_on(before: &[Row], after: &[Row], is_frozen: bool) -> Vec<String> {
    let folder = tempfile::tempdir().unwrap();
    let (shelf, site) = (Shelf::of(folder.path()), Site::sample());
    let (mut exact_told, mut rounded_told, mut secret) = (Vec::new(), Vec::new(), Vec::new());
    for (name, days) in [("2026-W47", 0..7), ("2026-W48", 7..14)] {
        let week = Week::parse(name).unwrap();
        let mut first = None;
        for (state, rows) in [before, after].into_iter().enumerate() {
            let counts = InMemory { rows, days: days.clone() };
            let made = block_on(publish(&counts)).unwrap();
            let left = shelf.keep(&site, week, made.clone(), Moment(0)).unwrap().published.tables;
            let left = if is_frozen { left } else { made };
            let is_first = *first.get_or_insert_with(|| left.clone()) == left && (is_frozen || state == 0);
            assert!(!is_frozen || is_first, "a published week changed");
            secret.extend(secrets(rows, &days, state));
            // What left a second time as it was tells of the first state again, and of nothing else.
            if state == 0 || !is_first {
                exact_told.extend(told(&block_on(suppressed(&counts)).unwrap(), &all_shown(&counts), |group| occurring(rows, &days, group), &days, state, 0));
                rounded_told.extend(told(&left, &all_shown(&counts), universe, &days, state, ROUNDED_TO - 1));
            }
        }
        secret.extend(changes(before, after, &days));
    }
    broken(&exact_told, &rounded_told, &secret)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn no_cell_of_few_people_follows_from_what_is_shared(people in prop::collection::vec(person(), 0..140), erased in 0..140usize, late in prop::collection::vec(person(), 0..4)) {
        let before = rows_of(&people);
        let mut changed = people.clone();
        if erased < changed.len() {
            changed[erased].visits.clear();
        }
        changed.extend(late);
        let after = rows_of(&changed);
        let broken = attack(&before, &after);
        prop_assert!(broken.is_empty(), "{:?}", broken);
    }

    #[test]
    fn every_cell_and_every_rest_is_of_enough_people(people in prop::collection::vec(person(), 0..140)) {
        let rows = rows_of(&people);
        let counts = InMemory { rows: &rows, days: 0..7 };
        let tables = block_on(publish(&counts)).unwrap();
        for dimension in Dimension::ALL {
            let group = dimension.place().0;
            let (shown, _) = block_on(shown(&counts, group)).unwrap();
            let cells = &tables[dimension.name()].cells;
            for cell in cells {
                let is_of = |row: &&Row| {
                    let key = row.key(group);
                    if shown.contains(&key) { cell.value == value(dimension, &key) } else { cell.value == OTHER }
                };
                let people = persons(counts.rows().filter(is_of));
                prop_assert!(people >= PEOPLE_MIN as usize, "{} {:?} is of {} people", dimension.name(), cell, people);
                prop_assert!(cell.interactions % ROUNDED_TO == 0 && cell.interactions >= PEOPLE_MIN && cell.visitor_days >= PEOPLE_MIN);
            }
            let withheld = persons(counts.rows().filter(|row| !shown.contains(&row.key(group))));
            prop_assert!(withheld == 0 || withheld >= PEOPLE_MIN as usize || cells.is_empty());
        }
    }
}

/// So many people with one visit each, on the first day.
fn crowd(number: usize, country: usize, technology: usize) -> Vec<Person> {
    let person = Person { kind: 0, source: 0, country, technology, visits: vec![(0, 0, 2)] };
    vec![person; number]
}

/// What others do: cells of few people are left out, and that is all.
fn naive(rows: &[Row], days: std::ops::Range<i64>, state: usize, dimensions: &[Dimension]) -> Vec<Equation> {
    let counts = InMemory { rows, days: days.clone() };
    let mut equations = Vec::new();
    for dimension in dimensions.iter().copied() {
        let group = dimension.place().0;
        let mut values: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for key in counts.keys(group) {
            values.entry(value(dimension, &key)).or_default().push(key);
        }
        for keys in values.into_values() {
            let of = || counts.rows().filter(|row| keys.contains(&row.key(group)));
            if persons(of()) >= PEOPLE_MIN as usize {
                let figure = of().map(|row| row.interactions).sum();
                equations.push(Equation { sum: sum_of(group, keys.into_iter(), days.clone(), state), least: figure, most: figure });
            }
        }
        let total = counts.rows().map(|row| row.interactions).sum();
        equations.push(Equation { sum: sum_of(group, counts.keys(group).into_iter(), days.clone(), state), least: total, most: total });
    }
    equations
}

#[test]
fn a_total_less_what_is_shown_gives_the_one_cell_that_is_not() {
    let rows = rows_of(&[crowd(40, 0, 0), crowd(20, 1, 0), crowd(9, 2, 0)].concat());
    let equations = naive(&rows, 0..7, 0, &[Dimension::Country]);
    let found = broken(&equations, &[], &secrets(&rows, &(0..7), 0));
    assert!(found.iter().any(|secret| secret.contains("BE") && secret.contains("9 people")), "{found:?}");
    assert_eq!(attack(&rows, &rows), Vec::<String>::new());
    let tables = block_on(publish(&InMemory { rows: &rows, days: 0..7 })).unwrap();
    let cells: Vec<_> = tables["country"].cells.iter().map(|cell| (cell.value.as_str(), cell.interactions)).collect();
    assert_eq!((cells, tables["country"].withheld), (vec![("DE", 80), (OTHER, 50)], 2), "29 people and 58 interactions, cut down");
}

#[test]
fn tables_that_follow_from_one_another_undo_what_each_withholds() {
    // Two small systems together are enough people; the table of devices has each of them by itself.
    let rows = rows_of(&[crowd(40, 0, 0), crowd(30, 0, 1), crowd(3, 0, 3), crowd(8, 0, 4)].concat());
    let secrets = secrets(&rows, &(0..7), 0);
    assert_eq!(broken(&naive(&rows, 0..7, 0, &[Dimension::Os]), &[], &secrets), Vec::<String>::new());
    let found = broken(&naive(&rows, 0..7, 0, &[Dimension::Os, Dimension::Device]), &[], &secrets);
    assert!(found.iter().any(|secret| secret.contains("os \"Android\" of 3 people")), "{found:?}");
    assert_eq!(attack(&rows, &rows), Vec::<String>::new());
}

#[test]
fn a_second_export_after_an_erasure_less_the_first_gives_the_one_who_was_erased() {
    let rows = rows_of(&crowd(40, 0, 0));
    let rest: Vec<Row> = rows.iter().filter(|row| row.person != 7).cloned().collect();
    // What an erasure, a late row or a correction changed is a secret as well.
    let mut change = sum_of(Group::Country, std::iter::once("DE".to_owned()), 0..7, 0);
    change.extend(sum_of(Group::Country, std::iter::once("DE".to_owned()), 0..7, 1).into_keys().map(|unknown| (unknown, -1)));
    let change = [Secret { what: "the erased".to_owned(), sum: change }];
    let twice = [naive(&rows, 0..7, 0, &[Dimension::Country]), naive(&rest, 0..7, 1, &[Dimension::Country])].concat();
    assert_eq!(broken(&twice, &[], &change), ["the erased"]);
    // With everything else as it is, counting anew is enough to lose: 40 people less 39.
    let anew = attack_on(&rows, &rest, false);
    assert!(anew.iter().any(|secret| secret.contains("the change of 1 people")), "{anew:?}");
    assert_eq!(attack(&rows, &rest), Vec::<String>::new());
}

#[test]
fn periods_that_overlap_give_the_day_between_them() {
    let mut people = crowd(40, 0, 0);
    people[0].visits.push((6, 0, 3));
    let rows = rows_of(&people);
    let secrets = secrets(&rows, &(0..7), 0);
    let week = naive(&rows, 0..7, 0, &[Dimension::Country]);
    assert_eq!(broken(&week, &[], &secrets), Vec::<String>::new());
    let and_the_rest = [week, naive(&rows, 0..6, 0, &[Dimension::Country])].concat();
    assert!(broken(&and_the_rest, &[], &secrets).iter().any(|secret| secret.contains("days 6..7")));
    assert_eq!(attack(&rows, &rows), Vec::<String>::new());
}

#[test]
fn one_who_keeps_no_cookies_and_one_who_comes_every_day_are_one_each() {
    let often = |kind| Person { kind, source: 1, country: 1, technology: 1, visits: (0..14).map(|visit| (visit % 7, 1, 1)).collect() };
    for kind in [4, 5] {
        let rows = rows_of(&[crowd(30, 0, 0), vec![often(kind), often(kind)]].concat());
        let counts = InMemory { rows: &rows, days: 0..7 };
        assert!(InMemory::people(counts.rows().filter(|row| row.country == 1)) <= 2);
        assert_eq!(attack(&rows, &rows), Vec::<String>::new());
        // Twenty-eight interactions of two people are with the others, or nowhere.
        let tables = block_on(publish(&counts)).unwrap();
        assert!(tables["country"].cells.iter().all(|cell| cell.value == OTHER), "{tables:?}");
    }
}

/// The rows as the collector writes them.
fn records(rows: &[Row]) -> Vec<Record<'_>> {
    let mut records = Vec::new();
    for row in rows {
        for _ in 0..row.interactions {
            let seconds = (MONDAY.0 + row.day - crate::hit::sample::START.day().0) * 86_400 + 60;
            let mut record = page_view(seconds, 0, 0, "");
            let [browser, os, device] = TECHNOLOGY[row.technology];
            for (text, value) in [
                (Text::PageHost, ""),
                (Text::PagePath, PAGES[row.page]),
                (Text::SourceName, SOURCES[row.source]),
                (Text::Network, row.network.as_str()),
                (Text::Browser, browser),
                (Text::Os, os),
            ] {
                record.texts[text as usize] = value;
            }
            (record.visitor_id, record.country, record.device) = (Some(row.visitor), Country::parse(COUNTRIES[row.country]), Device::from_name(device).unwrap());
            records.push(record);
        }
    }
    records
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(6))]

    #[test]
    fn sql_counts_as_memory_does(people in prop::collection::vec(person(), 60..140)) {
        let rows = rows_of(&people);
        let (sql, memory) = tokio::runtime::Runtime::new().unwrap().block_on(async {
            let folder = tempfile::tempdir().unwrap();
            let lake = folder.path().join("lake");
            let mut all = records(&rows);
            // None of these may count: not to be shared, a robot, nobody, another site.
            for unshared in 0..4 {
                for mut record in records(&rows) {
                    match unshared {
                        0 => record.may_share = false,
                        1 => record.is_bot = true,
                        2 => record.visitor_id = None,
                        _ => record.texts[Text::Site as usize] = "other",
                    }
                    record.texts[Text::PagePath as usize] = "/unshared";
                    all.push(record);
                }
            }
            commit(&lake, 1, &all, &[]).await;
            let session = Session::open(&lake, SessionOptions::new(folder.path().join("spill"), Audience::Maintenance)).unwrap();
            let site = Site::sample();
            let counts = WeekOfRows { session: &session, site: &site, week: Week::parse("2026-W47").unwrap() };
            let in_memory = InMemory { rows: &rows, days: 0..7 };
            for group in Group::ALL {
                assert_eq!(shown(&counts, group).await.unwrap(), shown(&in_memory, group).await.unwrap(), "{group:?}");
            }
            (publish(&counts).await.unwrap(), publish(&in_memory).await.unwrap())
        });
        prop_assert_eq!(sql, memory);
    }
}
