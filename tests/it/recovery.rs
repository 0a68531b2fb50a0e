//! Proves a start with a journal that the lake does not have: hits are taken before it has, and it makes no
//! difference to anything that is asked.

use crate::program::{BEHIND_PROXY, Client, Home, Program, Settings, UNITED_STATES, eventually};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

fn home() -> Home {
    Home::new(Settings { door: BEHIND_PROXY, flush_after: "1h", ..Settings::default() })
}

/// Has the names of a table's next files, so that none of them can be written.
struct Barrier(Vec<PathBuf>);

impl Barrier {
    fn before(home: &Home, table: &str) -> Self {
        let today = UNIX_EPOCH.elapsed().unwrap().as_secs() / 86_400;
        let days = [today, today + 1].map(|day| chrono::DateTime::from_timestamp((day * 86_400).cast_signed(), 0).unwrap().format("day=%F").to_string());
        let node: String = std::fs::read(home.data().join("node")).unwrap()[..6].iter().map(|byte| format!("{byte:02x}")).collect();
        let name = |day: &String, number| home.data().join("lake").join(table).join(day).join(format!("part-{node}-{number:012}.parquet"));
        let places: Vec<_> = days.iter().flat_map(|day| (1..60).map(move |number| name(day, number))).collect();
        places.iter().for_each(|place| std::fs::create_dir_all(place).unwrap());
        Self(places)
    }

    fn lift(self) {
        self.0.iter().for_each(|place| std::fs::remove_dir(place).unwrap());
    }
}

/// One visitor, by the cookie that the first answer set.
#[derive(Default)]
struct Visitor(String);

impl Visitor {
    fn hit(&mut self, client: &mut Client, id: &str) {
        let path = format!("/p.gif?s=acme&id={id}&u=https%3A%2F%2Fshop.example%2F%3Fa%3D1");
        let answer = client.get(&path, &[("X-Forwarded-For", UNITED_STATES), ("Cookie", &self.0)]);
        assert_eq!(answer.status, 200);
        if let Some(cookie) = answer.cookies("__Host-cp_id.acme").first() {
            self.0 = cookie.split(';').next().unwrap().to_owned();
        }
    }
}

/// Ten hits, one of them twice, and one that is refused; the ledger of them.
fn first_hits(program: &Program, visitor: &mut Visitor) -> Value {
    let mut client = program.connect();
    for number in 0..10 {
        visitor.hit(&mut client, &format!("first-{number}"));
    }
    visitor.hit(&mut client, "first-3");
    client.pixel_from(UNITED_STATES, "s=acme&child=1");
    eventually("a ledger of twelve", || {
        let ledger = program.ledger("acme");
        if ledger["received"] == 12 { Ok(ledger) } else { Err(ledger.to_string()) }
    })
}

/// A collector that took the first hits and cannot write one of the lake's tables.
fn begun(table: &str) -> (Home, Visitor, Program, Barrier, Value) {
    let (home, mut visitor) = (home(), Visitor::default());
    let program = home.start();
    let barrier = Barrier::before(&home, table);
    let ledger = first_hits(&program, &mut visitor);
    (home, visitor, program, barrier, ledger)
}

fn journal_bytes(program: &Program) -> u64 {
    program.admin_json("/readyz")["journal_bytes"].as_u64().unwrap()
}

fn await_empty_journal(program: &Program) {
    eventually("an empty journal", || match journal_bytes(program) {
        0 => Ok(()),
        bytes => Err(format!("{bytes} bytes")),
    });
}

fn await_a_failed_flush(program: &Program) {
    program.await_printed("the lake does not have the newest hits");
}

/// That the lake has each of so many hits once, all of one visit, and counts that agree.
fn prove(home: &Home, hits: u64) {
    for (sql, expected) in [
        ("select count(*) as n from interactions", hits),
        ("select count(distinct event_id) as n from interactions", hits),
        ("select count(distinct visit_id) as n from interactions", 1),
        ("select sum(visits) as n from trends where dimension = 'all'", 1),
        ("select sum(interactions) as n from trends where dimension = 'all'", hits),
        ("select sum(interactions) as n from trends where dimension = 'outcome' and value = 'stored'", hits),
        ("select sum(interactions) as n from trends where dimension = 'outcome' and value = 'child'", 1),
        ("select sum(interactions) as n from trends where dimension = 'scrubbed' and value = 'query'", hits),
    ] {
        assert_eq!(home.number(sql), expected, "{sql}");
    }
    let output = home.run_here(&["verify"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
}

#[test]
fn hits_are_taken_and_counted_before_the_lake_has_the_journal() {
    let (home, mut visitor, program, barrier, ledger) = begun("interactions");
    program.kill();

    // Twice: what was recalled is there for the next start as well.
    for life in 1..=2 {
        let program = home.start();
        assert_eq!(program.ledger("acme")["stored"], 9 + life, "at once");
        await_a_failed_flush(&program);
        assert!(journal_bytes(&program) > 0);
        assert_eq!(home.rows(), 0);
        assert_eq!(program.connect_admin().get("/v1/sites/acme/share?week=2026-W01", &[]).status, 503, "a week leaves whole");
        let mut client = program.connect();
        visitor.hit(&mut client, "first-7");
        visitor.hit(&mut client, &format!("life-{life}"));
        eventually("a ledger of all lives", || {
            let seen = program.ledger("acme");
            if seen["stored"] == 10 + life && seen["duplicate"] == 1 + life { Ok(()) } else { Err(format!("{seen}, before {ledger}")) }
        });
        assert!(program.printed().contains(&format!("\"interactions\":{}}}", 9 + life)), "{}", program.printed());
        program.kill();
    }

    let program = home.start();
    await_a_failed_flush(&program);
    let before = program.ledger("acme");
    barrier.lift();
    // Tried again by itself, long before an hour is over.
    await_empty_journal(&program);
    assert_eq!(program.ledger("acme"), before);
    let metrics = program.connect_admin().get("/metrics", &[]).text();
    assert!(!metrics.contains("outcome=\"stored\""), "no hit ended since the start: {metrics}");
    program.stop();
    prove(&home, 12);
}

/// A kill between a commit and the removal of its segments, or between the commits of the two tables.
#[test]
fn what_the_lake_has_and_the_journal_still_holds_is_counted_once() {
    // The first of the tables takes it, the second does not.
    let (home, mut visitor, program, barrier, ledger) = begun("trends");
    program.kill();
    let (journal, kept) = (home.data().join("journal"), home.file("journal"));
    copy_files(&journal, &kept);

    for _ in 0..2 {
        let program = home.start();
        assert_eq!(program.ledger("acme"), ledger);
        home.await_rows(10);
        await_a_failed_flush(&program);
        assert_eq!(program.ledger("acme"), ledger);
        program.kill();
    }
    barrier.lift();
    let program = home.start();
    await_empty_journal(&program);
    assert_eq!(program.ledger("acme"), ledger);
    program.kill();

    // Both have it.
    copy_files(&kept, &journal);
    let program = home.start();
    assert_eq!(program.ledger("acme"), ledger);
    await_empty_journal(&program);
    assert_eq!(program.ledger("acme"), ledger);
    visitor.hit(&mut program.connect(), "first-0");
    eventually("a repeat", || match program.ledger("acme") {
        seen if seen["duplicate"] == 2 && seen["stored"] == 10 => Ok(()),
        seen => Err(seen.to_string()),
    });
    program.stop();
    prove(&home, 10);
}

#[test]
fn who_is_told_to_stop_while_the_lake_is_away_stops_and_keeps_everything() {
    let (home, _, program, barrier, ledger) = begun("interactions");
    let printed = program.stop();
    assert!(printed.contains("wait in the journal for the next start"), "{printed}");
    let program = home.start();
    await_a_failed_flush(&program);
    program.stop();
    barrier.lift();
    let program = home.start();
    assert_eq!(program.ledger("acme"), ledger);
    home.await_rows(10);
    program.stop();
    prove(&home, 10);
}

#[test]
fn a_journal_that_cannot_be_read_stops_the_start() {
    let home = home();
    home.start().kill();
    std::fs::create_dir(home.data().join("journal/00000000000000ff.segment")).unwrap();
    let (status, printed) = home.spawn().ended();
    assert!(!status.success() && printed.contains("00000000000000ff") && printed.contains("data folder"), "{printed}");
}

fn copy_files(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
}
