//! Proves that a hit of a known visitor is taken without one allocation: decoded, decided, enriched, cleaned
//! and encoded.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[path = "../benches/sample/mod.rs"]
mod sample;

use bumpalo::Bump;
use clearpixel::journal::frame;
use clearpixel::line::collect::Judge;
use sample::{COOKIES, book, each_frame, frames, hit, returning};

#[test]
fn a_known_visitor_s_hit_allocates_nothing() {
    let mut judge = Judge::new(book());
    let mut arena = Bump::with_capacity(4 << 10);
    let mut group = Vec::with_capacity(64 << 10);
    let returning = returning();
    let cookies = [returning.as_bytes()];
    let mut take = |cookies: &[&[u8]]| {
        group.clear();
        judge.weigh(hit(cookies, &arena), |weighed| {
            let kept = weighed.kept.ok().unwrap();
            frame::write_interaction(&kept.interaction, &mut group);
        });
        arena.reset();
    };
    // The first hits fill caches and arenas.
    for _ in 0..3 {
        take(&cookies);
        take(COOKIES);
    }
    let known = allocation_counter::measure(|| take(&cookies));
    assert_eq!(known.count_total, 0, "a known visitor");
    // A new visitor's answer sets a cookie: the list of what to set is the one allocation.
    let new = allocation_counter::measure(|| take(COOKIES));
    assert!(new.count_total <= 1, "a new visitor: {}", new.count_total);
}

#[test]
fn a_frame_is_read_back_without_allocating() {
    let bytes = frames(&mut Judge::new(book()), 10);
    let mut seen = 0;
    let read = allocation_counter::measure(|| each_frame(&bytes, |_| seen += 1));
    assert_eq!((read.count_total, seen), (0, 10));
}
