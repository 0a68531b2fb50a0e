//! Owns the benches of every reader of what strangers send: an ordinary input of each, and the worst.
//!
//! `cargo bench --bench decoders` measures; `cargo test --benches` proves that they run. An ordinary input is
//! to take about a microsecond, the worst of 16 KiB less than a millisecond (`docs/fuzzing.md`).

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a bench that cannot be set up stops")]

// Where `inputs` looks for them.
use clearpixel::{door, hit, rules};

use clearpixel::config::Config;
use clearpixel::hit::draft::{Once, Relayed};
use clearpixel::rules::cookies::Remembered;
use clearpixel::rules::regime;
use clearpixel::rules::ruling::{self, Signals, StringVerdict};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use std::hint::black_box;

#[path = "../tests/parsers/inputs.rs"]
mod inputs;

fn readers(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("readers");
    for case in inputs::all() {
        black_box(&case.said);
        group.throughput(Throughput::Bytes(case.length as u64));
        group.bench_function(case.name, |bench| bench.iter(|| black_box((case.run)())));
    }
    group.finish();
}

/// The ruling on what was found: all that a decision costs once the readers are done.
fn rulings(criterion: &mut Criterion) {
    let site = Config::parse("[[site]]\nkey = \"acme\"\norigins = [\"https://shop.example\"]\n", "bench").unwrap().sites.remove(0);
    let nothing = Signals::quiet(regime::law_of(None));
    let mut group = criterion.benchmark_group("ruling");
    for (name, signals) in [
        ("nothing said", nothing),
        ("consent by TCF", Signals { gdpr_applies: true, tcf: StringVerdict::Grants, ..nothing }),
        ("all at odds", Signals { tcf: StringVerdict::Grants, gpp: StringVerdict::Unreadable, remembered: Remembered::Granted, relayed: Once::Given(Relayed::Denied), us_opts_out: true, ..nothing }),
    ] {
        group.bench_function(name, |bench| bench.iter(|| ruling::rule(black_box(&site), black_box(&signals))));
    }
    group.finish();
}

criterion_group!(benches, readers, rulings);
criterion_main!(benches);
