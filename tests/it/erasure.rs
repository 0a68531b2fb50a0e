//! Holds what an erasure leaves: nothing of the person in any file below the data folder, compressed or not,
//! everything of everybody else, and a ledger that agrees; also when it is killed, and when an older copy of
//! the lake is put back.

use crate::program::{BEHIND_PROXY, Home, Program, Settings, UNITED_STATES, eventually, files_below};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

fn home(maintain_every: &str) -> Home {
    let flush_after = format!("1s\"\nmaintain_every = \"{maintain_every}");
    Home::new(Settings { door: BEHIND_PROXY, flush_after: &flush_after, ..Settings::default() })
}

/// A page view, as a visitor with this cookie; gives back the cookie that there is then.
fn hit(program: &Program, cookie: Option<&str>, event_id: &str) -> String {
    let path = format!("/p.gif?s=acme&id={event_id}&u=https%3A%2F%2Fshop.example%2F{event_id}&p.plan=gold");
    let mut headers = vec![("X-Forwarded-For", UNITED_STATES)];
    headers.extend(cookie.map(|cookie| ("Cookie", cookie)));
    let answer = program.connect().get(&path, &headers);
    assert_eq!(answer.status, 200);
    let set = answer.cookies("__Host-cp_id.acme").first().map(|line| line.split(';').next().unwrap().to_owned());
    set.or_else(|| cookie.map(str::to_owned)).unwrap()
}

fn id_of(cookie: &str) -> String {
    cookie.split_once('=').unwrap().1.split_once('.').unwrap().0.to_owned()
}

/// Where below `folder` the id is: as text of either case, as bytes, or in a decoded column of Parquet.
fn places_of(folder: &Path, id: &str) -> Vec<String> {
    let raw: Vec<u8> = (0..16).map(|at| u8::from_str_radix(&id[2 * at..2 * at + 2], 16).unwrap()).collect();
    let holds = |bytes: &[u8]| {
        bytes.windows(32).any(|window| window.eq_ignore_ascii_case(id.as_bytes())) || bytes.windows(16).any(|window| window == raw)
    };
    let mut places = Vec::new();
    for (path, bytes) in files_below(folder) {
        let is_parquet = path.extension().is_some_and(|ending| ending == "parquet");
        if holds(path.as_os_str().as_encoded_bytes()) || holds(&bytes) || (is_parquet && holds(decoded(bytes).as_bytes())) {
            places.push(path.strip_prefix(folder).unwrap().display().to_string());
        }
    }
    places
}

fn assert_gone(folder: &Path, id: &str) {
    assert_eq!(places_of(folder, id), [""; 0]);
}

pub fn decoded(bytes: Vec<u8>) -> String {
    let mut text = String::new();
    for batch in ParquetRecordBatchReaderBuilder::try_new(bytes::Bytes::from(bytes)).unwrap().build().unwrap() {
        let batch = batch.unwrap();
        for column in batch.columns() {
            let options = FormatOptions::default();
            let cells = ArrayFormatter::try_new(column.as_ref(), &options).unwrap();
            (0..batch.num_rows()).for_each(|row| text.push_str(&format!("{}\n", cells.value(row))));
        }
    }
    text
}

/// Every row with one of these event ids, as text, in no order.
fn rows_of(home: &Home, like: &str) -> BTreeSet<String> {
    home.query(&format!("select * from interactions where event_id like '{like}'")).iter().map(Value::to_string).collect()
}

fn erase(program: &Program, id: &str) -> String {
    let body = json!({"kind": "erasure", "visitor_id": id, "now": true}).to_string();
    let answer = program.connect_admin().call("POST", "/v1/sites/acme/requests", &[("Content-Type", "application/json")], body.as_bytes());
    assert_eq!(answer.status, 202, "{}", answer.text());
    serde_json::from_slice::<Value>(&answer.body).unwrap()["id"].as_str().unwrap().to_owned()
}

fn await_done(program: &Program, request: &str) -> Value {
    eventually("the end of the erasure", || {
        let told = program.admin_json(&format!("/v1/sites/acme/requests/{request}"));
        if told["state"] == json!("done") { Ok(told) } else { Err(format!("{told}\n{}", program.printed())) }
    })
}

/// Who is killed with the lease keeps it for its term, a minute: so this waits for longer than others do.
fn await_done_after_a_kill(program: &Program, request: &str) {
    let started = Instant::now();
    loop {
        let told = program.admin_json(&format!("/v1/sites/acme/requests/{request}"));
        if told["state"] == json!("done") {
            return;
        }
        assert!(started.elapsed() < Duration::from_secs(150), "{told}\n{}", program.printed());
        thread::sleep(Duration::from_millis(200));
    }
}

fn assert_all_agrees(home: &Home) {
    let output = home.run_here(&["verify"]);
    assert!(output.status.success(), "{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
}

#[test]
fn nothing_is_left_of_the_erased_and_everything_of_the_others_while_hits_come_in() {
    let home = home("1h");
    let program = home.start();
    let (jane, other) = (hit(&program, None, "jane-0"), hit(&program, None, "other-0"));
    for round in 1..4 {
        hit(&program, Some(&jane), &format!("jane-{round}"));
        hit(&program, Some(&other), &format!("other-{round}"));
        home.await_rows(2 + 2 * round);
    }
    let (before, id) = (rows_of(&home, "other-%"), id_of(&jane));
    // A segment is removed a moment after the lake has its rows.
    eventually("her id in the lake alone", || {
        let places = places_of(&home.data(), &id);
        let is_settled = !places.is_empty() && places.iter().all(|place| place.starts_with("lake/interactions/day="));
        if is_settled { Ok(()) } else { Err(format!("{places:?}")) }
    });
    let (is_over, sent) = (AtomicBool::new(false), AtomicU64::new(0));
    let told = thread::scope(|scope| {
        scope.spawn(|| {
            while !is_over.load(Ordering::Relaxed) {
                let number = sent.fetch_add(1, Ordering::Relaxed);
                hit(&program, Some(&other), &format!("busy-{number}"));
            }
        });
        // The last of her hits are still in the journal.
        hit(&program, Some(&jane), "jane-4");
        let request = erase(&program, &id);
        let told = await_done(&program, &request);
        let places = places_of(&home.data(), &id);
        is_over.store(true, Ordering::Relaxed);
        assert_eq!(places, [""; 0]);
        told
    });
    assert_eq!(rows_of(&home, "other-%"), before);
    let sent = sent.load(Ordering::Relaxed);
    home.await_rows(4 + sent);
    let receipt: Value = serde_json::from_str(told["receipt"]["signed"].as_str().unwrap()).unwrap();
    assert_eq!((&receipt["rows"], &told["receipt"]["pass"]["rows_found_afterwards"]), (&json!(5), &json!(0)));
    assert!(!told["receipt"]["pass"]["interactions"]["before"].as_array().unwrap().is_empty());
    assert!(!told.to_string().contains(&id));
    let sketches = "select visitors(visitors_sketch) as n from trends where dimension = 'all'";
    assert_eq!(home.number(sketches), 1, "the sketches count the one who stays");
    let by_page = "select count(*) as n from trends where dimension = 'page' and value like '%/jane-%' and visitors_sketch is not null";
    assert_eq!(home.number(by_page), 0);
    program.await_ledger("acme", &json!({"received": 4 + 5 + sent, "stored": 4 + 5 + sent, "duplicate": 0, "failed": 0, "refused": {}}));
    let printed = program.stop();
    assert!(!printed.contains(&id));
    assert_gone(&home.data(), &id);
    assert_all_agrees(&home);
}

#[test]
fn killed_at_any_moment_it_is_finished_by_the_next_start() {
    let home = home("1s");
    let mut program = home.start();
    let other = hit(&program, None, "other-0");
    home.await_rows(1);
    let before = rows_of(&home, "other-%");
    for round in 0..3_u64 {
        let jane = hit(&program, None, &format!("jane-{round}-0"));
        let id = id_of(&jane);
        hit(&program, Some(&jane), &format!("jane-{round}-1"));
        eventually("her rows", || match home.number(&format!("select count(*) as n from interactions where visitor_id = '{id}'")) {
            2 => Ok(()),
            seen => Err(seen.to_string()),
        });
        let request = erase(&program, &id);
        // The flush waits 2 s for what is on the road; the pass follows within some tenths of a second.
        thread::sleep(Duration::from_millis(1_900 + 450 * round));
        program.kill();
        program = home.start();
        await_done_after_a_kill(&program, &request);
        assert_gone(&home.data(), &id);
        assert_eq!(rows_of(&home, "other-%"), before);
    }
    hit(&program, Some(&other), "late-0");
    home.await_rows(2);
    program.stop();
    assert_all_agrees(&home);
}

#[test]
fn an_older_copy_of_the_lake_loses_the_erased_from_its_files_with_the_next_maintenance() {
    let home = home("1s");
    let program = home.start();
    let (jane, other) = (hit(&program, None, "jane-0"), hit(&program, None, "other-0"));
    home.await_rows(2);
    program.stop();
    let (lake, older) = (home.data().join("lake"), home.file("older"));
    let copy = |from: &Path, to: &Path| assert!(std::process::Command::new("cp").arg("-a").arg(from).arg(to).status().unwrap().success());
    copy(&lake, &older);
    let output = home.run_here(&["subject", "erase", "--site", "acme", "--visitor", &id_of(&jane), "--now"]);
    assert!(output.status.success() && String::from_utf8_lossy(&output.stdout).contains("erasure, done"), "{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert_gone(&home.data(), &id_of(&jane));
    std::fs::remove_dir_all(&lake).unwrap();
    copy(&older, &lake);
    assert_eq!(home.rows(), 1, "hidden before anything was done to the files");
    let output = home.run_here(&["maintain", "--once"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_gone(&home.data(), &id_of(&jane));
    assert_eq!(home.number(&format!("select count(*) as n from interactions where visitor_id = '{}'", id_of(&other))), 1);
    assert_all_agrees(&home);
}

#[test]
fn a_rectification_is_in_the_files_and_nowhere_else() {
    let home = home("1h");
    let program = home.start();
    let (jane, other) = (hit(&program, None, "jane-0"), hit(&program, None, "other-0"));
    home.await_rows(2);
    let before = rows_of(&home, "other-%");
    let output = home.run_here(&["subject", "rectify", "--site", "acme", "--visitor", &id_of(&jane), "--set", "country=DE", "--set", "language=", "--now"]);
    assert!(output.status.success(), "{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    let rows = home.query("select country, language, page_path, properties from interactions where event_id = 'jane-0'");
    assert_eq!(rows, [json!({"country": "DE", "page_path": "/jane-0", "properties": {"plan": "gold"}})]);
    assert_eq!(rows_of(&home, "other-%"), before);
    hit(&program, Some(&other), "late-0");
    home.await_rows(3);
    program.stop();
    assert_all_agrees(&home);
}
