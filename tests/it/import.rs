//! Proves that the past comes in whole, once, and through the same gate: also where the import was killed
//! on its way, and beside a running collector.

use crate::program::{BEHIND_PROXY, FRANCE, Home, Settings, UNITED_STATES, eventually};
use serde_json::json;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::Output;

const AGENT: &str = "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/120.0.0.0 Safari/537.36";
const SITES: &str = "[[site]]\nkey = \"acme\"\norigins = [\"https://shop.example\"]\n";

fn home() -> Home {
    Home::new(Settings { door: BEHIND_PROXY, sites: SITES, ..Settings::default() })
}

/// A time some days ago, as logs and as NDJSON write it.
fn days_ago(days: u64) -> (String, u64) {
    let seconds = std::time::UNIX_EPOCH.elapsed().unwrap().as_secs() - days * 86_400;
    let time = chrono::DateTime::from_timestamp(seconds as i64, 0).unwrap();
    (time.format("%d/%b/%Y:%H:%M:%S +0000").to_string(), seconds * 1_000)
}

fn line(address: &str, time: &str, request: &str, status: u16) -> String {
    format!("{address} - - [{time}] \"{request}\" {status} 512 \"https://www.google.com/\" \"{AGENT}\"\n")
}

fn import(home: &Home, format: &str, file: &Path, more: &[&str]) -> (Output, String) {
    let arguments = [&["import", "--site", "acme", "--format", format, file.to_str().unwrap()], more].concat();
    let output = home.run_here(&arguments);
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    (output, told)
}

#[test]
fn a_combined_log_comes_in_once_and_says_what_it_left_out() {
    let home = home();
    let (recent, _) = days_ago(3);
    let (ancient, _) = days_ago(900);
    let us = |request: &str, status| line(UNITED_STATES, &recent, request, status);
    let page = us("GET /shoes?size=42 HTTP/1.1", 200);
    let lines = [
        page.clone(),
        page.clone(),
        us("GET / HTTP/2.0", 200),
        us("GET /style.css HTTP/1.1", 200),
        us("GET /gone HTTP/1.1", 404),
        us("POST /cart HTTP/1.1", 200),
        line(FRANCE, &recent, "GET /shoes HTTP/1.1", 200),
        line(UNITED_STATES, &ancient, "GET /shoes HTTP/1.1", 200),
        "this is no line of a log\n".to_owned(),
        line(UNITED_STATES, "yesterday", "GET / HTTP/1.1", 200),
        "\n".to_owned(),
        us("GET /last HTTP/1.1", 200).trim_end().to_owned(),
    ];
    let log = home.file("access.log");
    fs::write(&log, lines.concat()).unwrap();
    let rejects = home.file("rejects.log");
    let (output, told) = import(&home, "combined", &log, &["--rejects", rejects.to_str().unwrap()]);
    assert!(output.status.success(), "{told}");
    for part in ["11 lines", "stored      4", "no page     3", "malformed   2", "no_consent  1", "too_old     1", "line 9: ", "line 10: "] {
        assert!(told.contains(part), "{part}: {told}");
    }
    assert_eq!(fs::read_to_string(&rejects).unwrap(), lines[8..10].concat());
    assert_eq!(home.rows(), 4);
    let paths = home.query("select page_path, page_host, count(*) as n, count(distinct event_id) as ids from interactions group by 1, 2 order by 1");
    assert_eq!(
        paths,
        [("/", 1), ("/last", 1), ("/shoes", 2)].map(|(path, n)| json!({"page_path": path, "page_host": "shop.example", "n": n, "ids": n}))
    );
    let kinds = home.query("select distinct event, channel, protocol, country, regime, legal_basis, source_medium, browser, cast(day as varchar) as day, cast(occurred_at as date) as occurred from interactions");
    assert_eq!(kinds.len(), 1, "{kinds:?}");
    assert_eq!(
        ["event", "channel", "protocol", "country", "regime", "legal_basis", "source_medium", "browser"].map(|column| kinds[0][column].as_str().unwrap()),
        ["page_view", "log", "import", "US", "opt-out", "opt-out-regime", "search", "Chrome"]
    );
    assert_eq!(kinds[0]["day"], kinds[0]["occurred"], "a past day lands where it belongs");

    let (again, told) = import(&home, "combined", &log, &[]);
    assert!(again.status.success() && told.contains("12 lines were imported before"), "{told}");
    assert_eq!(home.rows(), 4);
    let program = home.start();
    program.await_ledger("acme", &json!({"received": 8, "stored": 4, "duplicate": 0, "failed": 0, "refused": {"bad_request": 2, "no_consent": 1, "too_old": 1}}));
    program.stop();
    let (missing, told) = import(&home, "combined", &home.file("missing.log"), &[]);
    assert!(missing.status.code() == Some(1) && told.contains("missing.log"), "{told}");
}

#[test]
fn ndjson_comes_in_beside_a_running_collector() {
    let home = home();
    let program = home.start();
    let (_, past) = days_ago(40);
    let mut text = String::new();
    for number in 0..2_000 {
        let event = json!({"event_id": format!("past-{number}"), "event": "call", "channel": "telephony", "page_url": "https://shop.example/a", "occurred_at": past + number, "address": UNITED_STATES, "user_agent": AGENT});
        writeln!(text, "{event}").unwrap();
    }
    // A repeat of an id, another site's, an unreadable field, no JSON, no object, FR without and with consent.
    for event in [
        json!({"event_id": "past-0", "occurred_at": past, "address": UNITED_STATES}),
        json!({"event_id": "x", "site": "other", "occurred_at": past, "address": UNITED_STATES}),
        json!({"event_id": "y", "screen_width": "wide", "occurred_at": past, "address": UNITED_STATES}),
        json!(7),
        json!({"event_id": "fr", "occurred_at": past, "address": FRANCE}),
        json!({"event_id": "fr-granted", "occurred_at": past, "address": FRANCE, "consent": "granted"}),
    ] {
        writeln!(text, "{event}").unwrap();
    }
    text.push_str("{no json\n");
    let file = home.file("events.ndjson");
    fs::write(&file, text).unwrap();

    // Live hits go on meanwhile, over several commits of both.
    let mut importing = home.spawn_here(&["import", "--site", "acme", "--format", "ndjson", file.to_str().unwrap()]);
    let mut client = program.connect();
    let mut live = 0_u64;
    let status = eventually("the end of the import", || {
        assert_eq!(client.pixel_from(UNITED_STATES, &format!("s=acme&id=live-{live}")).status, 200);
        live += 1;
        importing.try_wait().unwrap().ok_or_else(|| "it runs".to_owned())
    });
    assert!(status.success());
    let past_rows = || home.number("select count(*) as n from interactions where protocol = 'import'");
    assert_eq!(past_rows(), 2_001, "rows are in the lake at exit 0");
    let (again, told) = import(&home, "ndjson", &file, &[]);
    assert!(again.status.success(), "{told}");
    program.await_ledger("acme", &json!({"received": 2_001 + live + 6, "stored": 2_001 + live, "duplicate": 1, "failed": 0, "refused": {"bad_request": 4, "no_consent": 1}}));
    program.stop();
    assert_eq!((past_rows(), home.rows()), (2_001, 2_001 + live));
    assert_eq!(home.number("select count(distinct event_id) as n from interactions"), 2_001 + live);
    let call = &home.query("select channel, event, protocol, country from interactions where event_id = 'past-7'")[0];
    assert_eq!(call, &json!({"channel": "telephony", "event": "call", "protocol": "import", "country": "US"}));
}

/// More than two portions of 200,000 lines; most are assets, so that it is the lines and not the rows
/// that take the time.
const LINES: u64 = 450_000;

#[test]
fn an_import_that_was_killed_goes_on_where_it_was() {
    let home = home();
    let (time, _) = days_ago(2);
    let log = home.file("access.log");
    let mut text = String::with_capacity(LINES as usize * 120);
    let mut pages = 0;
    for number in 0..LINES {
        if number % 9 == 0 {
            pages += 1;
            writeln!(text, "{UNITED_STATES} - - [{time}] \"GET /page/{number} HTTP/1.1\" 200 1 \"-\" \"{AGENT}\"").unwrap();
        } else {
            writeln!(text, "{UNITED_STATES} - - [{time}] \"GET /asset/{number}.png HTTP/1.1\" 200 1 \"-\" \"-\"").unwrap();
        }
    }
    fs::write(&log, text).unwrap();
    let mut importing = home.spawn_here(&["import", "--site", "acme", "--format", "combined", log.to_str().unwrap()]);
    let first_commit = home.data().join("lake/interactions/_delta_log/00000000000000000001.json");
    eventually("the first portion in the lake", || if first_commit.exists() { Ok(()) } else { Err("nothing".to_owned()) });
    importing.kill().unwrap();
    let killed = importing.wait().unwrap();
    assert_eq!(killed.code(), None, "it had ended before it could be killed");
    let partly = home.rows();
    assert!(partly > 0 && partly < pages, "{partly} of {pages}");

    let (output, told) = import(&home, "combined", &log, &[]);
    // Between its two tables' commits, nothing counts as imported: it is read again for one of them.
    assert!(output.status.success(), "{told}");
    for sql in [
        "select count(*) as n from interactions",
        "select count(distinct page_path) as n from interactions",
        "select count(distinct event_id) as n from interactions",
        "select sum(interactions) as n from trends where dimension = 'all'",
        "select sum(interactions) as n from trends where dimension = 'outcome' and value = 'stored'",
    ] {
        assert_eq!(home.number(sql), pages, "{sql}");
    }
    let (again, told) = import(&home, "combined", &log, &[]);
    assert!(again.status.success() && told.contains(&format!("{LINES} lines were imported before")), "{told}");
    assert_eq!(home.rows(), pages);
}
