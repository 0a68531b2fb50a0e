//! Owns the hit that benches, counts and the test of allocations measure with, and what judges it.

use bumpalo::Bump;
use clearpixel::config::Config;
use clearpixel::hit::claims::Claims;
use clearpixel::hit::clock::Moment;
use clearpixel::hit::field::{Channel, Id, Protocol};
use clearpixel::hit::private::Private;
use clearpixel::hit::raw::{HeaderSignals, RawHit};
use clearpixel::hit::site::{SiteKey, Sites};
use clearpixel::journal::frame::{self, Frame, Next};
use clearpixel::line::collect::{Judge, Rulebook};
use clearpixel::line::guard::{Quotas, Repeats, Visits};
use clearpixel::line::salts::Salts;
use clearpixel::rules::agent::Classifier;
use clearpixel::rules::decode::native;
use clearpixel::rules::identity::SigningKey;
use clearpixel::rules::place::Atlas;
use clearpixel::rules::source::Sources;
use std::sync::Arc;

pub const NOW: Moment = Moment(1_795_000_000_000_000);
pub const QUERY: &str = "s=acme&e=page_view&id=5f2b8c1d9e3a4b6c7d8e9f0a1b2c3d4e&u=https%3A%2F%2Fshop.example%2Fproducts%2Fwinter-ink%3Futm_source%3Dnews%26utm_campaign%3Dwinter%26id%3D7&r=https%3A%2F%2Fwww.google.com%2F&t=Winter%20ink&l=en-US&sw=1920&sh=1080";
pub const AGENT: &[u8] = b"Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0 Safari/537.36";
pub const COOKIES: &[&[u8]] = &[b"theme=dark; _session=0123456789abcdef; lang=en"];

/// The rules, with one site, `acme`.
pub fn book() -> Arc<Rulebook> {
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
        suppressions: tokio::sync::watch::channel(Arc::default()).1,
        atlas: tokio::sync::watch::channel(Arc::new(Atlas::built_in().unwrap())).1,
    })
}

/// A page view of a visitor with these cookies.
pub fn hit<'a>(cookies: &'a [&'a [u8]], arena: &'a Bump) -> RawHit<'a> {
    RawHit {
        protocol: Protocol::Native,
        channel: Channel::Web,
        received_at: NOW,
        address: Private::new(Some("8.8.8.8".parse().unwrap())),
        user_agent: Private::new(AGENT),
        cookies: Private::new(cookies),
        referer: Private::new(b"https://shop.example/"),
        origin: Some("https://shop.example"),
        accept_language: Some("en-US,en;q=0.9"),
        signals: HeaderSignals::default(),
        draft: native::from_query(QUERY, arena),
        claims: Claims::default(),
    }
}

/// So many frames of new visitors.
pub fn frames(judge: &mut Judge, count: usize) -> Vec<u8> {
    let mut group = Vec::new();
    for _ in 0..count {
        let arena = Bump::new();
        judge.weigh(hit(COOKIES, &arena), |weighed| frame::write_interaction(&weighed.kept.unwrap().interaction, &mut group));
    }
    group
}

/// Calls `each` for every frame.
pub fn each_frame(mut bytes: &[u8], mut each: impl FnMut(&Frame<'_>)) {
    while let Next::Frame(frame, rest) = frame::read(bytes) {
        each(&frame);
        bytes = rest;
    }
}

/// The cookies of a visitor who was here before.
pub fn returning() -> String {
    let key = SigningKey::new([7; 32]);
    format!("theme=dark; _session=0123456789abcdef; __Host-cp_id.acme={}", key.sign(&SiteKey::parse("acme").unwrap(), Id([9; 16])))
}
