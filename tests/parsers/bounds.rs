//! Owns the bounds of what a reader may take of memory, whatever it reads: on ordinary inputs and on the
//! worst of 16 KiB, counted allocation by allocation.

use crate::inputs;

/// The most bytes that a reader may hold at once, of an input of `length` bytes.
fn heap_max(name: &str, length: usize) -> u64 {
    let length = length as u64;
    match name.split('/').next().unwrap_or_default() {
        // Fields are read where they stand, ranges are walked.
        "tcf" | "gpp" | "us_privacy" | "log_line" => 0,
        // The list of a header's lines: the first piece of an arena, 512 bytes.
        "forwarded" => 512,
        // 24 bytes are the site's key, which the case makes.
        "cookies" => 24,
        // A value of two characters (`1,`) takes 32 bytes, in a list that grows by doubling: 16 × 2.
        "native" if name.contains("JSON") => 4_096 + 32 * length,
        // Decoded once: the arena takes no more than twice what is asked of it, and begins with 512 bytes.
        // 64 properties are 64 × 32 = 2,048 bytes, and 1,024 more while that list grows.
        "native" => 512 + 2 * length + 3_072,
        // Each pass writes marks of up to 18 bytes for findings of 3 and a gap: five times the length at
        // most, in four passes; percent-decoded copies are gone before the next.
        "url" | "text" => 1_024 + 20 * length,
        other => panic!("{other} has no bound"),
    }
}

#[test]
fn no_reader_takes_more_memory_than_its_bound() {
    for case in inputs::all() {
        let taken = allocation_counter::measure(|| {
            (case.run)();
        });
        let most = heap_max(case.name, case.length);
        assert!(taken.bytes_max <= most, "{} of {} bytes holds {} bytes, more than {most}", case.name, case.length, taken.bytes_max);
        assert!(case.length <= inputs::LENGTH + 128, "{} has {} bytes", case.name, case.length);
    }
}

#[test]
fn the_worst_inputs_reach_the_loops_that_they_are_made_for() {
    let cases = inputs::all();
    let said = |name: &str| &cases.iter().find(|case| case.name == name).unwrap().said;
    for (name, expected) in [
        ("tcf/ordinary: 1,100 vendors", "Grants"),
        // Only who walked all entries knows that the vendor is not among them.
        ("tcf/worst: 4,095 ranges", "Denies"),
        ("tcf/worst: 4,095 empty restrictions", "Grants"),
        ("tcf/worst: restrictions of a range each", "Grants"),
        ("tcf/worst: a restriction of 4,095 vendors", "Grants"),
        ("tcf/worst: a field of 65,535 vendors", "Denies"),
        ("gpp/ordinary: US national", "Said { verdict: Silent, opts_out: false, is_child: false }"),
        ("gpp/worst: a TC string", "Said { verdict: Denies, opts_out: false, is_child: false }"),
        ("cookies/worst: consents", "Granted"),
        ("native/worst: properties", "64"),
        ("native/worst: JSON of events", "5460"),
        ("forwarded/worst: hops", "true"),
        ("forwarded/worst: trusted hops", "false"),
    ] {
        assert_eq!(said(name), expected, "{name}");
    }
}
