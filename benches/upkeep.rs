//! Owns the measuring of maintenance, and the large lake that other measurements read: how long it takes, how
//! much it writes and how much memory it holds to compact a large table and to erase 1, 100 and 10,000
//! visitors from it.
//!
//! `cargo bench --bench upkeep -- --rows 100000000 --visitors 2000000 --days 60 --data DIR` makes the tables in
//! DIR and leaves them there (`--busiest 10000000`: so many of the rows on the newest day). With `--only fill`,
//! `compact`, or the number of visitors to erase, one step is done in a process of its own, which is what its
//! peak of memory then is of; `--only subjects --subjects FILE` erases whom FILE names (`SITE VISITOR_ID` a line).
//! `--only scatter --files 10000` adds so many small files. Without arguments all are done with a small table,
//! which proves that this runs. `ops/ask`, `ops/erase` and `ops/grow` are its callers.
//!
//! What is in the tables: visits of seven interactions, each of one of the visitors, who keep their site, network,
//! country and browser; 70 % of the visitors are of `acme`, the rest of nine other sites.

#![expect(clippy::unwrap_used, reason = "a bench that cannot be set up stops")]
#![expect(clippy::print_stdout, reason = "the figures are what it is for")]
#![expect(clippy::disallowed_methods, reason = "measures time")]

use clearpixel::config::Config;
use clearpixel::desk::maintain::{Extent, Maintenance};
use clearpixel::hit::clock::{Clock, Moment};
use clearpixel::hit::field::{Channel, ConsentSource, Country, Device, Id, LegalBasis, Medium, Protocol, Regime};
use clearpixel::hit::record::{Number, Record, Text};
use clearpixel::journal::frame::Frame;
use clearpixel::lake::batch::InteractionFile;
use clearpixel::lake::chunk::Press;
use clearpixel::lake::columns::TableName;
use clearpixel::lake::file::FileWriter;
use clearpixel::lake::rewrite::Report;
use clearpixel::lake::subjects::Subjects;
use clearpixel::lake::table::Table;
use clearpixel::lake::trends::Trends;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicI64;
use std::time::{Duration, Instant};

/// 2026-11-20T12:00:00Z.
const NOON: i64 = (1_795_132_800 + 43_200) * 1_000_000;
const DAY: i64 = 86_400 * 1_000_000;
const ROWS_A_FLUSH: u64 = 500_000;

struct Size {
    rows: u64,
    visitors: u64,
    days: u64,
    /// Of the rows, those of the newest day; 0 = as many as of every other day.
    busiest: u64,
    /// Small files to scatter.
    files: u64,
    data: Option<PathBuf>,
    only: Option<String>,
    subjects: Option<PathBuf>,
}

impl Size {
    fn has(&self, step: &str) -> bool {
        self.only.as_ref().is_none_or(|only| only == step)
    }

    /// Rows of a day, the newest being the first.
    fn of_day(&self, day: u64) -> u64 {
        match (self.busiest, day) {
            (0, _) => self.rows / self.days,
            (busiest, 0) => busiest,
            (busiest, _) => (self.rows - busiest) / (self.days - 1),
        }
    }
}

fn main() {
    let mut size = Size { rows: 20_000, visitors: 400, days: 3, busiest: 0, files: 20, data: None, only: None, subjects: None };
    let arguments: Vec<String> = std::env::args().collect();
    for pair in arguments.windows(2) {
        match pair[0].as_str() {
            "--rows" => size.rows = pair[1].parse().unwrap(),
            "--visitors" => size.visitors = pair[1].parse().unwrap(),
            "--days" => size.days = pair[1].parse().unwrap(),
            "--busiest" => size.busiest = pair[1].parse().unwrap(),
            "--files" => size.files = pair[1].parse().unwrap(),
            "--subjects" => size.subjects = Some(pair[1].clone().into()),
            "--only" => size.only = Some(pair[1].clone()),
            "--data" => size.data = Some(pair[1].clone().into()),
            _ => {}
        }
    }
    let folder = tempfile::tempdir().unwrap();
    let data = size.data.clone().unwrap_or_else(|| folder.path().to_owned());
    let lake = data.join("lake");
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).max_blocking_threads(4).enable_all().build().unwrap();
    if size.has("fill") {
        let started = Instant::now();
        runtime.block_on(fill(&lake, &size));
        println!("filled: {} rows, {} visitors, {} days, {:.1} s", size.rows, size.visitors, size.days, started.elapsed().as_secs_f64());
    }
    if size.has("scatter") {
        runtime.block_on(scatter(&lake, size.files));
        println!("scattered: {} files", size.files);
    }

    let settings: String = (0..SITES).map(|number| format!("[[site]]\nkey = \"{}\"\n", site(number))).collect();
    let sites = Config::parse(&settings, "bench").unwrap().sites;
    let clock = Clock::set(Arc::new(AtomicI64::new(NOON + DAY)));
    let maintenance = Maintenance { lake: &lake, spill: data.join("spill"), sites: &sites, holder: "bench", clock: &clock, grace: Duration::ZERO, layer: &|store| store };
    println!("{:<22} {:>9} {:>7} {:>14} {:>14} {:>12} {:>10}", "", "s", "files", "bytes read", "bytes written", "rows removed", "peak MiB");
    if size.has("compact") {
        measure("compact", || runtime.block_on(maintenance.turn(Extent::Day, &mut |_| {})).unwrap().compaction);
    }
    // Each time others than before.
    for (from, count) in [(0, 1), (1, 100), (101, 10_000)].into_iter().filter(|(_, count)| size.has(&count.to_string())) {
        let persons: Vec<(String, String)> = (from..from + count).map(|number| number % size.visitors).map(|number| (site_of(number), text(visitor(number)))).collect();
        let subjects = Subjects::new(persons.iter().map(|(site, id)| (site.as_str(), id.as_str())));
        measure(&format!("erase {count}"), || runtime.block_on(maintenance.erase(&subjects)).unwrap());
    }
    if let Some(file) = &size.subjects {
        let lines = std::fs::read_to_string(file).unwrap();
        let subjects = Subjects::new(lines.lines().filter_map(|line| line.split_once(' ')));
        measure(&format!("erase {}", lines.lines().count()), || runtime.block_on(maintenance.erase(&subjects)).unwrap());
    }
}

fn measure(name: &str, work: impl FnOnce() -> Report) {
    let started = Instant::now();
    let report = work();
    let bytes = |files: &[clearpixel::lake::rewrite::Digested]| files.iter().map(|file| file.bytes).sum::<u64>();
    let seconds = started.elapsed().as_secs_f64();
    let removed = report.rows_in - report.rows_out;
    println!("{name:<22} {seconds:>9.2} {:>7} {:>14} {:>14} {removed:>12} {:>10}", report.before.len(), bytes(&report.before), bytes(&report.after), peak_mib());
}

fn peak_mib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").trim().parse::<u64>().unwrap() / 1_024
}

/// SplitMix64.
const fn mixed(number: u64) -> u64 {
    let mut z = number.wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

fn visitor(number: u64) -> Id {
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&mixed(number).to_le_bytes());
    bytes[8..].copy_from_slice(&mixed(!number).to_le_bytes());
    Id(bytes)
}

fn text(id: Id) -> String {
    String::from_utf8(id.digits().to_vec()).unwrap()
}

/// Files as flushes leave them: of one day each, in the order of time, and the trends of the same rows.
async fn fill(lake: &Path, size: &Size) {
    let mut table = Table::open_or_create(lake, TableName::Interactions).await.unwrap();
    let mut aggregates = Table::open_or_create(lake, TableName::Trends).await.unwrap();
    let (mut number, mut before) = (0, 0);
    for day in 0..size.days {
        let midnight = NOON - DAY / 2 - i64::try_from(day).unwrap() * DAY;
        let a_day = size.of_day(day);
        let mut row = 0;
        while row < a_day {
            let end = (row + ROWS_A_FLUSH).min(a_day);
            let (mut press, mut file, mut trends) = (Press::new().unwrap(), InteractionFile::new(Moment(midnight).day()).unwrap(), Trends::default());
            for at in row..end {
                each_record(before + at, size.visitors, midnight, DAY / i64::try_from(a_day).unwrap() * i64::try_from(at).unwrap(), |record| {
                    file.push(&record, &mut press, None).unwrap();
                    trends.count(&Frame::Interaction(record));
                });
            }
            number += 1;
            table.commit("bench", number, vec![file.finish("bench", number, Moment(NOON), &mut press).unwrap()]).await.unwrap();
            let mut files = Vec::new();
            for (day, batch) in trends.take().unwrap() {
                let mut writer = FileWriter::new(TableName::Trends, day).unwrap();
                writer.write(&batch).unwrap();
                files.push(writer.finish("bench", number, Moment(NOON)).unwrap());
            }
            aggregates.commit("bench", number, files).await.unwrap();
            row = end;
        }
        before += a_day;
    }
}

/// Small files in both tables, a thousand of each in a commit, over the days of a year.
async fn scatter(lake: &Path, files: u64) {
    for name in TableName::ALL {
        let mut table = Table::open_or_create(lake, name).await.unwrap();
        let numbers: Vec<u64> = (1..=files).collect();
        for numbers in numbers.chunks(1_000) {
            let mut written = Vec::new();
            for &number in numbers {
                let midnight = NOON - DAY / 2 - i64::try_from(number % 365).unwrap() * DAY;
                let day = Moment(midnight).day();
                let (mut press, mut file, mut trends) = (Press::new().unwrap(), InteractionFile::new(day).unwrap(), Trends::default());
                each_record(number, 1_000, midnight, 0, |record| {
                    file.push(&record, &mut press, None).unwrap();
                    trends.count(&Frame::Interaction(record));
                });
                let numbered = i64::try_from(number).unwrap();
                written.push(match name {
                    TableName::Interactions => file.finish("scatter", numbered, Moment(NOON), &mut press).unwrap(),
                    TableName::Trends => {
                        let mut writer = FileWriter::new(name, day).unwrap();
                        writer.write(&trends.take().unwrap()[0].1).unwrap();
                        writer.finish("scatter", numbered, Moment(NOON)).unwrap()
                    }
                });
            }
            table.commit("scatter", i64::try_from(numbers[numbers.len() - 1]).unwrap(), written).await.unwrap();
        }
    }
}

const SITES: u64 = 10;

fn site(number: u64) -> String {
    if number == 0 { "acme".to_owned() } else { format!("site-{number}") }
}

/// Seven visitors in ten are of the first site.
fn site_of(visitor: u64) -> String {
    let draw = mixed(visitor + (1 << 42));
    site(if draw % 10 < 7 { 0 } else { 1 + draw / 10 % (SITES - 1) })
}

/// Row `row`, `after` its day's midnight.
fn each_record(row: u64, visitors: u64, midnight: i64, after: i64, then: impl FnOnce(Record<'_>)) {
    let (turn, within) = (row / 7, row % 7);
    let (dice, of_turn) = (mixed(row), mixed(turn + (1 << 43)));
    let who = of_turn % visitors;
    let of_visitor = mixed(who + (1 << 44));
    let draw = |dice: u64, shift: u32, among: u64| ((dice >> shift) & 0xffff) % among;
    let at = Moment(midnight + (after + i64::try_from(within).unwrap() * 20_000_000).min(DAY - 1));
    let event_id = text(visitor(row + (1 << 40)));
    // Few pages have most of the views.
    let popular = (draw(dice, 0, 1_000) * draw(dice, 16, 1_000) / 1_000) * 977 / 1_000;
    let (path, title) = (format!("/products/{popular}"), format!("Product number {popular}"));
    let url = format!("https://shop.example{path}");
    let network = format!("203.{}.{}.0/24", draw(of_visitor, 0, 64), draw(of_visitor, 16, 256));
    let (medium, source, referrer) = [
        (Medium::Direct, "", ""), (Medium::Direct, "", ""), (Medium::Search, "Google", "www.google.com"), (Medium::Search, "Bing", "www.bing.com"),
        (Medium::Social, "Facebook", "www.facebook.com"), (Medium::Campaign, "newsletter", ""), (Medium::Campaign, "newsletter", ""), (Medium::Referral, "blog.example.net", "blog.example.net"),
    ][(draw(of_turn, 32, 8)) as usize];
    let referrer_url = if referrer.is_empty() { String::new() } else { format!("https://{referrer}/") };
    let campaign = ["autumn", "winter-ink", "summer-sale"][draw(of_turn, 16, 3) as usize];
    let (utm_source, utm_medium, utm_campaign) = if source == "newsletter" { (source, "email", campaign) } else { ("", "", "") };
    let event = if within == 0 { "page_view" } else { ["page_view", "page_view", "page_view", "engagement", "click"][draw(dice, 32, 5) as usize] };
    let (browser, version, os, device) = [
        ("Chrome", "141", "Windows", Device::Desktop), ("Mobile Safari", "18", "iOS", Device::Mobile), ("Chrome Mobile", "141", "Android", Device::Mobile),
        ("Firefox", "140", "Linux", Device::Desktop), ("Edge", "141", "Windows", Device::Desktop), ("Safari", "18", "macOS", Device::Tablet),
    ][draw(of_visitor, 32, 6) as usize];
    let site = site_of(who);
    let mut record = Record {
        received_at: at,
        occurred_at: at,
        texts: [""; Text::COUNT],
        numbers: [None; Number::COUNT],
        visitor_id: Some(visitor(who)),
        visit_id: Some(visitor(turn + (1 << 41))),
        starts_visit: within == 0,
        country: Country::parse(["FR", "DE", "US", "GB", "US", "ES"][draw(of_visitor, 8, 6) as usize]),
        channel: Channel::Web,
        medium,
        device,
        is_bot: false,
        regime: Regime::OptIn,
        basis: LegalBasis::Consent,
        consent_source: ConsentSource::Cookie,
        may_share: true,
        protocol: Protocol::Native,
        properties: Vec::new(),
        scrubbed: Default::default(),
    };
    if event == "engagement" {
        record.numbers[Number::EngagedMs as usize] = Some(1_000 + (dice >> 48) as i32 % 60_000);
    }
    for (of, value) in [
        (Text::EventId, event_id.as_str()),
        (Text::Site, &site),
        (Text::Event, event),
        (Text::PageUrl, &url),
        (Text::PageHost, "shop.example"),
        (Text::PagePath, &path),
        (Text::PageTitle, &title),
        (Text::ReferrerUrl, &referrer_url),
        (Text::ReferrerHost, referrer),
        (Text::SourceName, source),
        (Text::UtmSource, utm_source),
        (Text::UtmMedium, utm_medium),
        (Text::UtmCampaign, utm_campaign),
        (Text::Network, &network),
        (Text::Browser, browser),
        (Text::BrowserVersion, version),
        (Text::Os, os),
        (Text::Language, "fr-FR"),
    ] {
        record.texts[of as usize] = value;
    }
    then(record);
}
