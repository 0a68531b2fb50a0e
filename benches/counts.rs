//! Owns what is counted in instructions: taking hits, and flushing their frames.
//!
//! `ops/count` runs it under callgrind, which counts inside the two functions named here and nowhere else;
//! run by itself (`cargo test --benches`) it only does the work once.

#![expect(clippy::unwrap_used, reason = "what cannot be set up stops")]

mod sample;

use bumpalo::Bump;
use clearpixel::journal::frame::{self, Frame};
use clearpixel::lake::batch::InteractionFile;
use clearpixel::lake::chunk::Press;
use clearpixel::lake::columns::TableName;
use clearpixel::lake::file::FileWriter;
use clearpixel::lake::trends::Trends;
use clearpixel::line::collect::Judge;
use sample::{COOKIES, NOW, book, each_frame, frames, hit, returning};
use std::hint::black_box;

/// `ops/count` divides by it.
const HITS: usize = 1_000;

fn main() {
    let mut judge = Judge::new(book());
    let returning = returning();
    let cookies: [&[&[u8]]; 2] = [COOKIES, &[returning.as_bytes()]];
    // Caches are warm on a server that is running: this warms them.
    let segment = frames(&mut judge, HITS);
    let (mut arena, mut group) = (Bump::new(), Vec::new());
    for at in 0..HITS {
        counted_collect(&mut judge, cookies[at % 2], &arena, &mut group);
        arena.reset();
    }
    black_box(counted_flush(&segment));
}

/// Counting begins and ends with this name: it must not stand in the name of anything called below.
#[inline(never)]
fn counted_collect(judge: &mut Judge, cookies: &[&[u8]], arena: &Bump, group: &mut Vec<u8>) {
    collect(judge, cookies, arena, group);
}

/// As `counted_collect`.
#[inline(never)]
fn counted_flush(segment: &[u8]) -> usize {
    flush(segment)
}

/// A new visitor or a known one.
fn collect(judge: &mut Judge, cookies: &[&[u8]], arena: &Bump, group: &mut Vec<u8>) {
    judge.weigh(hit(cookies, arena), |weighed| {
        frame::write_interaction(&weighed.kept.ok().unwrap().interaction, group);
    });
}

/// A segment's frames to the bytes of both tables' files.
fn flush(segment: &[u8]) -> usize {
    let (mut press, mut trends, mut file) = (Press::new().unwrap(), Trends::default(), InteractionFile::new(NOW.day()).unwrap());
    each_frame(segment, |frame| {
        if let Frame::Interaction(record) = frame {
            file.push(record, &mut press, Some(&mut trends)).unwrap();
        }
    });
    let mut length = file.finish("counts", 1, NOW, &mut press).unwrap().bytes.len();
    for (day, batch) in trends.take().unwrap() {
        let mut file = FileWriter::new(TableName::Trends, day).unwrap();
        file.write(&batch).unwrap();
        length += file.finish("counts", 1, NOW).unwrap().bytes.len();
    }
    length
}
