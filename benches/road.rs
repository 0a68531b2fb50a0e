//! Owns the benches of the road: every stage of a hit by itself, and the whole of it in process.
//!
//! `cargo bench` measures; `cargo test --benches` proves that they run. Times move with the machine:
//! compare within one run.

#![expect(clippy::unwrap_used, reason = "a bench that cannot be set up stops")]

mod sample;

use bumpalo::Bump;
use clearpixel::hit::clock::Hour;
use clearpixel::hit::outcome::{Outcome, Reason};
use clearpixel::hit::private::Private;
use clearpixel::hit::scrubbed::Scrubbed;
use clearpixel::hit::site::SiteKey;
use clearpixel::journal::frame::{self, Frame};
use clearpixel::journal::segment::{Directory, Register, Writer};
use clearpixel::lake::batch::InteractionFile;
use clearpixel::lake::chunk::Press;
use clearpixel::lake::columns::TableName;
use clearpixel::lake::file::FileWriter;
use clearpixel::lake::trends::Trends;
use clearpixel::lake::vocabulary::Vocabularies;
use clearpixel::line::collect::Judge;
use clearpixel::rules::agent::Classifier;
use clearpixel::rules::agent_cache::AgentCache;
use clearpixel::rules::cookies::{self, Remembered};
use clearpixel::rules::decode::native;
use clearpixel::rules::echo::Echo;
use clearpixel::rules::place::{Atlas, Places};
use clearpixel::rules::regime::Law;
use clearpixel::rules::ruling::{self, Signals};
use clearpixel::rules::scrub;
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use sample::{AGENT, COOKIES, NOW, QUERY, book, each_frame, frames, hit, returning};
use std::hint::black_box;
use std::sync::Arc;

fn rules(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("rules");
    let mut arena = Bump::new();
    group.bench_function("decode a query", |bench| {
        bench.iter(|| {
            black_box(native::from_query(black_box(QUERY), &arena).screen_width);
            arena.reset();
        });
    });
    let acme = SiteKey::parse("acme").unwrap();
    group.bench_function("read cookies", |bench| bench.iter(|| cookies::read(black_box(COOKIES), &acme, NOW).opted_out()));
    let rulebook = book();
    let (_, site) = rulebook.sites.find("acme").unwrap();
    let signals = Signals { remembered: Remembered::Granted, ..Signals::quiet(Law::OptIn) };
    group.bench_function("rule", |bench| bench.iter(|| ruling::rule(site, black_box(&signals))));
    let mut places = Places::new(Arc::new(Atlas::built_in().unwrap()));
    group.bench_function("find a known place", |bench| bench.iter(|| { black_box(places.locate(Private::new(Some("8.8.8.8".parse().unwrap())))); }));
    let mut agents = AgentCache::new(Arc::new(Classifier::new().unwrap()));
    group.bench_function("name a known browser", |bench| bench.iter(|| agents.classify(agents.seek(black_box(AGENT))).is_bot));
    let mut arena = Bump::new();
    for (name, url) in [
        ("scrub a typical URL", "https://shop.example/products/winter-ink?utm_source=news&utm_campaign=winter&id=7"),
        ("scrub a URL full of persons", "https://u:p@shop.example/u/jane%2540example.org/4242-4242-4242-4242/9f86d081884c7d659a2feaa0c55ad015?utm_term=a%40b.cd&email=x#y"),
    ] {
        group.bench_function(name, |bench| {
            bench.iter(|| {
                black_box(scrub::url(black_box(url), Echo::default(), &mut Scrubbed::default(), &arena).url.len());
                arena.reset();
            });
        });
    }
    group.bench_function("scrub a typical hit", |bench| {
        bench.iter(|| {
            let kept = Bump::new();
            let echo = Echo::of(AGENT, COOKIES, &kept);
            let mut removed = Scrubbed::default();
            for url in ["https://shop.example/products/winter-ink?utm_source=news&utm_campaign=winter&id=7", "https://www.google.com/"] {
                black_box(scrub::url(black_box(url), echo, &mut removed, &arena).url.len());
            }
            for text in ["Winter ink - Acme shop", "page_view", "5f2b8c1d9e3a4b6c7d8e9f0a1b2c3d4e"] {
                black_box(scrub::text(black_box(text), 512, echo, &mut removed, &arena).len());
            }
            for (key, value) in [("plan", "gold"), ("price", "19.99")] {
                black_box(scrub::property(black_box(key), black_box(value), echo, &mut removed, &arena));
            }
            arena.reset();
            removed
        });
    });
    // 16 KB, the most that a request line carries, of what begins like a finding at every second byte.
    for near_miss in ["4 ", "4242 4242 4242 4241 ", "1.2.3.", "a:b:", "token:", "a@", "%2525", "/a+b"] {
        let text = near_miss.repeat(16_384 / near_miss.len());
        group.bench_function(format!("scrub 16 KB of {near_miss:?}"), |bench| {
            bench.iter(|| {
                black_box(scrub::text(black_box(&text), 1_024, Echo::default(), &mut Scrubbed::default(), &arena).len());
                arena.reset();
            });
        });
    }
    // The same beside as many cookies as the headers have room for, each of which begins as the text does everywhere.
    let cookies = (0..2_000).map(|number| format!("a=11111111{number}; ")).collect::<String>();
    let (cookies, text) = ([cookies.as_bytes()], "1".repeat(16_384));
    group.bench_function("scrub 16 KB beside 2,000 cookies", |bench| {
        bench.iter(|| {
            let echo = Echo::of(AGENT, &cookies, &arena);
            black_box(scrub::text(black_box(&text), 1_024, echo, &mut Scrubbed::default(), &arena).len());
            arena.reset();
        });
    });
    group.finish();
}

fn road(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("road");
    group.throughput(Throughput::Elements(1));
    let mut judge = Judge::new(book());
    let mut arena = Bump::new();
    let mut out = Vec::new();
    let returning = returning();
    for (name, cookies) in [
        ("decode, decide, enrich, scrub, encode: a new visitor", COOKIES),
        ("decode, decide, enrich, scrub, encode: a known visitor", &[returning.as_bytes()]),
    ] {
        group.bench_function(name, |bench| {
            bench.iter(|| {
                out.clear();
                judge.weigh(hit(cookies, &arena), |weighed| {
                    if let Ok(kept) = weighed.kept {
                        frame::write_interaction(&kept.interaction, &mut out);
                    }
                });
                arena.reset();
                out.len()
            });
        });
    }
    judge.weigh(hit(COOKIES, &arena), |weighed| {
        let kept = weighed.kept.ok().unwrap();
        group.bench_function("encode", |bench| {
            bench.iter(|| {
                out.clear();
                frame::write_interaction(&kept.interaction, &mut out);
                out.len()
            });
        });
    });
    let mut tally = Vec::new();
    group.bench_function("encode a tally", |bench| {
        bench.iter(|| {
            tally.clear();
            frame::write_tally("acme", Hour(1), Outcome::Refused(Reason::NoConsent), 3, &mut tally);
        });
    });
    group.finish();
}

fn journal(criterion: &mut Criterion) {
    const HITS: usize = 64;
    let mut group = criterion.benchmark_group("journal");
    group.sample_size(20).throughput(Throughput::Elements(HITS as u64));
    let bytes = frames(&mut Judge::new(book()), HITS);
    for (name, sync) in [("append 64 hits, process", false), ("append 64 hits, disk", true)] {
        let folder = tempfile::tempdir().unwrap();
        let shelf = Arc::new(Directory::open(folder.path()).unwrap());
        let mut writer = Writer::new(Arc::new(Register::open(shelf, 64 << 30, 0).unwrap()), sync);
        group.bench_function(name, |bench| bench.iter(|| writer.append(&bytes).unwrap()));
    }
    group.finish();
}

fn lake(criterion: &mut Criterion) {
    const ROWS: usize = 10_000;
    let mut group = criterion.benchmark_group("lake");
    group.sample_size(20).throughput(Throughput::Elements(ROWS as u64));
    let bytes = frames(&mut Judge::new(book()), ROWS);
    group.bench_function("replay", |bench| {
        bench.iter(|| {
            let mut count = 0;
            each_frame(&bytes, |_| count += 1);
            count
        });
    });
    group.bench_function("replay into numbers", |bench| {
        bench.iter_batched_ref(
            Vocabularies::default,
            |vocabularies| each_frame(&bytes, |frame| if let Frame::Interaction(record) = frame { black_box(vocabularies.ids(record)); }),
            BatchSize::LargeInput,
        );
    });
    group.bench_function("replay into Parquet", |bench| bench.iter(|| loaded(&bytes, None)));
    group.bench_function("replay into trends", |bench| {
        bench.iter(|| {
            let mut trends = Trends::default();
            each_frame(&bytes, |frame| trends.count(frame));
            trends.take().unwrap().len()
        });
    });
    group.bench_function("replay into both", |bench| bench.iter(|| loaded(&bytes, Some(Trends::default()))));
    group.finish();
}

/// Bytes of the files of a segment's frames.
fn loaded(bytes: &[u8], mut trends: Option<Trends>) -> usize {
    let (mut press, mut file) = (Press::new().unwrap(), InteractionFile::new(NOW.day()).unwrap());
    each_frame(bytes, |frame| {
        if let Frame::Interaction(record) = frame {
            file.push(record, &mut press, trends.as_mut()).unwrap();
        }
    });
    let mut length = file.finish("bench", 1, NOW, &mut press).unwrap().bytes.len();
    for (day, batch) in trends.map_or_else(Vec::new, |mut trends| trends.take().unwrap()) {
        let mut file = FileWriter::new(TableName::Trends, day).unwrap();
        file.write(&batch).unwrap();
        length += file.finish("bench", 1, NOW).unwrap().bytes.len();
    }
    length
}

criterion_group!(benches, rules, road, journal, lake);
criterion_main!(benches);
