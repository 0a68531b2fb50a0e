//! Proves maintenance and verification from outside: beside a running collector, two at a time, and by
//! the collector itself.

use crate::program::{BEHIND_PROXY, Home, Settings, UNITED_STATES, eventually, files_below};
use serde_json::json;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

const KEEPS_LONG: &str = "[[site]]\nkey = \"acme\"\ninteractions_keep = \"760d\"\n";
const KEEPS_A_MONTH: &str = "[[site]]\nkey = \"acme\"\ninteractions_keep = \"30d\"\n";

/// A home whose lake has 20 rows of 40 days ago.
fn home_with_a_past() -> Home {
    let home = Home::new(Settings { door: BEHIND_PROXY, sites: KEEPS_LONG, ..Settings::default() });
    let at = (std::time::UNIX_EPOCH.elapsed().unwrap().as_secs() - 40 * 86_400) * 1_000;
    let mut lines = String::new();
    for number in 0..20 {
        let event = json!({"event_id": format!("past-{number}"), "event": "click", "page_url": "https://shop.example/", "occurred_at": at + number, "consent": "granted"});
        let _ = writeln!(lines, "{event}");
    }
    let file = home.file("past.ndjson");
    std::fs::write(&file, lines).unwrap();
    let output = home.run_here(&["import", "--site", "acme", "--format", "ndjson", file.to_str().unwrap()]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(home.rows(), 20);
    home
}

fn verify(home: &Home) {
    let output = home.run_here(&["verify"]);
    let told = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success() && told.contains("all agrees"), "{told}{}", String::from_utf8_lossy(&output.stderr));
}

fn data_files(home: &Home) -> Vec<(PathBuf, Vec<u8>)> {
    let mut files = files_below(&home.data().join("lake/interactions"));
    files.retain(|(path, _)| path.parent().and_then(Path::file_name).is_some_and(|day| day.to_string_lossy().starts_with("day=")));
    files
}

#[test]
fn commands_beside_a_collector_let_go_compact_and_verify() {
    let home = home_with_a_past();
    home.settle(Settings { door: BEHIND_PROXY, sites: KEEPS_A_MONTH, ..Settings::default() });
    let program = home.start();
    for round in 1..=3 {
        let mut client = program.connect();
        for number in 0..5 {
            client.pixel_from(UNITED_STATES, &format!("s=acme&u=https%3A%2F%2Fshop.example%2F&id=now-{round}-{number}"));
        }
        home.await_rows(20 + round * 5);
    }
    // Two at once take turns, and neither undoes the other.
    let mut both = [home.spawn_here(&["maintain", "--once"]), home.spawn_here(&["maintain", "--once"])];
    for child in &mut both {
        assert!(child.wait().unwrap().success());
    }
    let rows = home.query("select event_id from interactions");
    assert!(rows.len() == 15 && rows.iter().all(|row| row["event_id"].as_str().unwrap().starts_with("now-")), "{rows:?}");
    assert_eq!(home.number("select sum(interactions) as n from trends where dimension = 'all'"), 35, "numbers are kept longer");
    assert_eq!(home.number("select count(*) as n from trends where visitors_sketch is not null and hour < now() - interval '31 days'"), 0);
    assert_eq!(home.number("select count(*) - count(distinct concat(site, hour, dimension, value)) as n from trends_parts"), 0);
    verify(&home);
    // The collector goes on as if nothing had been.
    program.connect().pixel_from(UNITED_STATES, "s=acme&u=https%3A%2F%2Fshop.example%2F&id=after");
    home.await_rows(16);
    program.stop();
    verify(&home);
    // Some of the files wait for readers that may be at them, and are nobody's any more: all are changed.
    for (path, mut bytes) in data_files(&home) {
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        std::fs::write(path, bytes).unwrap();
    }
    assert_eq!(home.run_here(&["verify"]).status.code(), Some(1), "one changed byte is found");
}

#[test]
fn the_collector_maintains_its_lake_by_itself() {
    let home = home_with_a_past();
    let sections = "maintain_every = \"1s\"\nreaders_grace = \"1s\"\n";
    home.settle(Settings { door: BEHIND_PROXY, sites: KEEPS_A_MONTH, sections, ..Settings::default() });
    let program = home.start();
    home.await_rows(0);
    for round in 1..=10 {
        program.connect().pixel_from(UNITED_STATES, &format!("s=acme&u=https%3A%2F%2Fshop.example%2F&id=now-{round}"));
        home.await_rows(round);
    }
    eventually("fewer files than flushes", || match data_files(&home).len() {
        files if files <= 8 => Ok(()),
        files => Err(format!("{files} files")),
    });
    program.stop();
    assert_eq!(home.rows(), 10);
    verify(&home);
}
