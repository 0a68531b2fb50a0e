//! Owns the measuring of maintenance: how long it takes, how much it writes and how much memory it holds to
//! compact a large table and to erase 1, 100 and 10,000 visitors from it.
//!
//! `cargo bench --bench upkeep -- --rows 100000000 --visitors 2000000 --days 60 --data DIR` makes the table in
//! DIR and leaves it there. With `--only fill`, `compact`, or the number of visitors to erase, one step is
//! done in a process of its own, which is what its peak of memory then is of. Without arguments all are done
//! with a small table, which proves that this runs.

#![expect(clippy::unwrap_used, reason = "a bench that cannot be set up stops")]
#![expect(clippy::print_stdout, reason = "the figures are what it is for")]
#![expect(clippy::disallowed_methods, reason = "measures time")]

use clearpixel::config::Config;
use clearpixel::desk::maintain::{Extent, Maintenance};
use clearpixel::hit::clock::{Clock, Moment};
use clearpixel::hit::field::{Channel, ConsentSource, Country, Device, Id, LegalBasis, Medium, Protocol, Regime};
use clearpixel::hit::record::{Number, Record, Text};
use clearpixel::lake::batch::InteractionFile;
use clearpixel::lake::chunk::Press;
use clearpixel::lake::columns::TableName;
use clearpixel::lake::rewrite::Report;
use clearpixel::lake::subjects::Subjects;
use clearpixel::lake::table::Table;
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
    data: Option<PathBuf>,
    only: Option<String>,
}

impl Size {
    fn has(&self, step: &str) -> bool {
        self.only.as_ref().is_none_or(|only| only == step)
    }
}

fn main() {
    let mut size = Size { rows: 20_000, visitors: 400, days: 3, data: None, only: None };
    let arguments: Vec<String> = std::env::args().collect();
    for pair in arguments.windows(2) {
        match pair[0].as_str() {
            "--rows" => size.rows = pair[1].parse().unwrap(),
            "--visitors" => size.visitors = pair[1].parse().unwrap(),
            "--days" => size.days = pair[1].parse().unwrap(),
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

    let sites = Config::parse("[[site]]\nkey = \"acme\"\n", "bench").unwrap().sites;
    let clock = Clock::set(Arc::new(AtomicI64::new(NOON + DAY)));
    let maintenance = Maintenance { lake: &lake, spill: data.join("spill"), sites: &sites, holder: "bench", clock: &clock, grace: Duration::ZERO, layer: &|store| store };
    println!("{:<22} {:>9} {:>7} {:>14} {:>14} {:>12} {:>10}", "", "s", "files", "bytes read", "bytes written", "rows removed", "peak MiB");
    if size.has("compact") {
        measure("compact", || runtime.block_on(maintenance.turn(Extent::Day, &mut |_| {})).unwrap().compaction);
    }
    // Each time others than before.
    for (from, count) in [(0, 1), (1, 100), (101, 10_000)].into_iter().filter(|(_, count)| size.has(&count.to_string())) {
        let ids: Vec<String> = (from..from + count).map(|number| visitor(number % size.visitors)).map(text).collect();
        let subjects = Subjects::new(ids.iter().map(|id| ("acme", id.as_str())));
        measure(&format!("erase {count}"), || runtime.block_on(maintenance.erase(&subjects)).unwrap());
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

/// Files as flushes leave them: of one day each, in the order of time.
async fn fill(lake: &Path, size: &Size) {
    let mut table = Table::open_or_create(lake, TableName::Interactions).await.unwrap();
    let a_day = size.rows / size.days;
    let mut number = 0;
    for day in 0..size.days {
        let midnight = NOON - DAY / 2 - i64::try_from(day).unwrap() * DAY;
        let mut row = 0;
        while row < a_day {
            let end = (row + ROWS_A_FLUSH).min(a_day);
            let (mut press, mut file) = (Press::new().unwrap(), InteractionFile::new(Moment(midnight).day()).unwrap());
            for at in row..end {
                push(&mut file, &mut press, day * a_day + at, size.visitors, Moment(midnight + DAY / i64::try_from(a_day).unwrap() * i64::try_from(at).unwrap()));
            }
            number += 1;
            table.commit("bench", number, vec![file.finish("bench", number, Moment(NOON), &mut press).unwrap()]).await.unwrap();
            row = end;
        }
    }
}

fn push(file: &mut InteractionFile, press: &mut Press, row: u64, visitors: u64, at: Moment) {
    let dice = mixed(row);
    let (event_id, visit) = (text(visitor(row + (1 << 40))), visitor(row / 7 + (1 << 41)));
    let page = dice % 977;
    let (path, title) = (format!("/products/{page}"), format!("Product number {page}"));
    let url = format!("https://shop.example{path}");
    let network = format!("203.{}.{}.0/24", dice >> 8 & 63, dice >> 16 & 255);
    let mut record = Record {
        received_at: at,
        occurred_at: at,
        texts: [""; Text::COUNT],
        numbers: [None; Number::COUNT],
        visitor_id: Some(visitor(dice % visitors)),
        visit_id: Some(visit),
        starts_visit: false,
        country: Country::parse(["FR", "DE", "US", "GB"][(dice >> 24 & 3) as usize]),
        channel: Channel::Web,
        medium: Medium::Direct,
        device: Device::Desktop,
        is_bot: false,
        regime: Regime::OptIn,
        basis: LegalBasis::Consent,
        consent_source: ConsentSource::Cookie,
        may_share: true,
        protocol: Protocol::Native,
        properties: Vec::new(),
        scrubbed: Default::default(),
    };
    for (of, value) in [
        (Text::EventId, event_id.as_str()),
        (Text::Site, "acme"),
        (Text::Event, if dice >> 32 & 3 == 0 { "click" } else { "page_view" }),
        (Text::PageUrl, &url),
        (Text::PageHost, "shop.example"),
        (Text::PagePath, &path),
        (Text::PageTitle, &title),
        (Text::Network, &network),
        (Text::Browser, "Firefox"),
        (Text::BrowserVersion, "140"),
        (Text::Os, "Linux"),
        (Text::Language, "fr-FR"),
    ] {
        record.texts[of as usize] = value;
    }
    file.push(&record, press).unwrap();
}
