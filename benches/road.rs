//! Owns the benches of the road: every stage of a hit by itself, and the whole of it in process.
//!
//! `cargo bench` measures; `cargo test --benches` proves that they run. Times move with the machine:
//! compare within one run.

#![expect(clippy::unwrap_used, reason = "a bench that cannot be set up stops")]

use bumpalo::Bump;
use clearpixel::config::Config;
use clearpixel::hit::clock::{Hour, Moment};
use clearpixel::hit::field::{Channel, Protocol};
use clearpixel::hit::outcome::{Outcome, Reason};
use clearpixel::hit::private::Private;
use clearpixel::hit::raw::{HeaderSignals, RawHit};
use clearpixel::hit::site::{SiteKey, Sites};
use clearpixel::journal::frame::{self, Frame, Next};
use clearpixel::lake::batch::InteractionRows;
use clearpixel::lake::columns::TableName;
use clearpixel::lake::file::FileWriter;
use clearpixel::lake::trends::Trends;
use clearpixel::line::collect::{Judge, Rulebook};
use clearpixel::line::guard::{Quotas, Repeats, Visits};
use clearpixel::line::salts::Salts;
use clearpixel::rules::agent::Classifier;
use clearpixel::rules::agent_cache::AgentCache;
use clearpixel::rules::cookies;
use clearpixel::rules::decode::native;
use clearpixel::rules::identity::SigningKey;
use clearpixel::rules::place::{Atlas, Places};
use clearpixel::rules::scrub::{self, Echo};
use clearpixel::rules::source::Sources;
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use std::hint::black_box;
use std::sync::Arc;

const NOW: Moment = Moment(1_795_000_000_000_000);
const QUERY: &str = "s=acme&e=page_view&id=5f2b8c1d9e3a4b6c7d8e9f0a1b2c3d4e&u=https%3A%2F%2Fshop.example%2Fproducts%2Fwinter-ink%3Futm_source%3Dnews%26utm_campaign%3Dwinter%26id%3D7&r=https%3A%2F%2Fwww.google.com%2F&t=Winter%20ink&l=en-US&sw=1920&sh=1080";
const AGENT: &[u8] = b"Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0 Safari/537.36";
const COOKIES: &[&[u8]] = &[b"theme=dark; _session=0123456789abcdef; lang=en"];

fn book() -> Arc<Rulebook> {
    let config = Config::parse("[[site]]\nkey = \"acme\"\norigins = [\"https://shop.example\"]\n", "bench").unwrap();
    Arc::new(Rulebook {
        quotas: Quotas::new(config.sites.len()),
        sites: Sites::new(config.sites),
        sources: Sources::new().unwrap(),
        classifier: Arc::new(Classifier::new().unwrap()),
        key: SigningKey::new([7; 32]),
        salts: Salts::Derived([7; 32]),
        repeats: Arc::new(Repeats::new(64 << 20)),
        visits: Visits::new(16 << 20),
        atlas: tokio::sync::watch::channel(Arc::new(Atlas::built_in().unwrap())).1,
    })
}

fn hit<'a>(arena: &'a Bump) -> RawHit<'a> {
    RawHit {
        protocol: Protocol::Native,
        channel: Channel::Web,
        received_at: NOW,
        address: Private::new(Some("8.8.8.8".parse().unwrap())),
        user_agent: Private::new(AGENT),
        cookies: Private::new(COOKIES),
        referer: Private::new(b"https://shop.example/"),
        origin: Some("https://shop.example"),
        accept_language: Some("en-US,en;q=0.9"),
        signals: HeaderSignals::default(),
        draft: native::from_query(QUERY, arena),
    }
}

fn frames(count: usize) -> Vec<u8> {
    let mut judge = Judge::new(book());
    let mut group = Vec::new();
    for _ in 0..count {
        let arena = Bump::new();
        judge.weigh(hit(&arena), |weighed| frame::write_interaction(&weighed.kept.unwrap().interaction, &mut group));
    }
    group
}

fn each_frame(mut bytes: &[u8], mut each: impl FnMut(&Frame<'_>)) {
    while let Next::Frame(frame, rest) = frame::read(bytes) {
        each(&frame);
        bytes = rest;
    }
}

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
    group.bench_function("read cookies", |bench| bench.iter(|| cookies::read(black_box(COOKIES), &acme, NOW).opted_out));
    let mut places = Places::new(Arc::new(Atlas::built_in().unwrap()));
    group.bench_function("find a known place", |bench| bench.iter(|| places.locate(Private::new(Some("8.8.8.8".parse().unwrap())))));
    let mut agents = AgentCache::new(Arc::new(Classifier::new().unwrap()));
    group.bench_function("name a known browser", |bench| bench.iter(|| agents.classify(black_box(AGENT)).is_bot));
    let mut arena = Bump::new();
    for (name, url) in [
        ("scrub a typical URL", "https://shop.example/products/winter-ink?utm_source=news&utm_campaign=winter&id=7"),
        ("scrub a URL full of persons", "https://u:p@shop.example/u/jane%2540example.org/4242-4242-4242-4242/9f86d081884c7d659a2feaa0c55ad015?utm_term=a%40b.cd&email=x#y"),
    ] {
        group.bench_function(name, |bench| {
            bench.iter(|| {
                black_box(scrub::url(black_box(url), Echo::default(), &arena).url.len());
                arena.reset();
            });
        });
    }
    group.finish();
}

fn road(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("road");
    group.throughput(Throughput::Elements(1));
    let mut judge = Judge::new(book());
    let mut arena = Bump::new();
    let mut out = Vec::new();
    group.bench_function("decode, decide, enrich, scrub, encode", |bench| {
        bench.iter(|| {
            out.clear();
            judge.weigh(hit(&arena), |weighed| {
                if let Ok(kept) = weighed.kept {
                    frame::write_interaction(&kept.interaction, &mut out);
                }
            });
            arena.reset();
            out.len()
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

fn lake(criterion: &mut Criterion) {
    const ROWS: usize = 10_000;
    let mut group = criterion.benchmark_group("lake");
    group.sample_size(20).throughput(Throughput::Elements(ROWS as u64));
    let bytes = frames(ROWS);
    group.bench_function("replay", |bench| {
        bench.iter(|| {
            let mut count = 0;
            each_frame(&bytes, |_| count += 1);
            count
        });
    });
    let gather = |rows: &mut InteractionRows| {
        each_frame(&bytes, |frame| {
            if let Frame::Interaction(record) = frame {
                rows.push(record);
            }
        });
        rows.finish().unwrap()
    };
    group.bench_function("replay into columns", |bench| bench.iter_batched_ref(InteractionRows::default, gather, BatchSize::LargeInput));
    let batch = gather(&mut InteractionRows::default());
    group.bench_function("columns into Parquet", |bench| {
        bench.iter(|| {
            let mut writer = FileWriter::new(TableName::Interactions, NOW.day()).unwrap();
            writer.write(&batch).unwrap();
            writer.finish("bench", 1, NOW).unwrap().bytes.len()
        });
    });
    group.bench_function("replay into trends", |bench| {
        bench.iter(|| {
            let mut trends = Trends::default();
            each_frame(&bytes, |frame| trends.count(frame));
            trends.finish().unwrap().len()
        });
    });
    group.finish();
}

criterion_group!(benches, rules, road, lake);
criterion_main!(benches);
