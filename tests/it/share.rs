//! Holds what leaves for third parties: by contract alone, no cell of nine people and no total that gives it
//! away, the same for ever, and nothing without its entry in the audit log.

use crate::program::{Answer, Home, Program, Settings, sha256_hex};
use serde_json::{Value, json};
use std::fmt::Write as _;

const SECRET: &str = "acme's own secret";
const AGENT: &str = "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/120.0.0.0 Safari/537.36";
const DAY: i64 = 86_400;

fn home() -> Home {
    let sites = format!(
        "[[site]]\nkey = \"acme\"\nshare = true\nsecret_sha256 = \"{}\"\n[[site]]\nkey = \"other\"\nsecret_sha256 = \"{}\"\n",
        sha256_hex(SECRET),
        sha256_hex("another")
    );
    Home::new(Settings { sites: &sites, ..Settings::default() })
}

/// A week that is over and settled whatever the hour, and its Wednesday at noon (ms).
fn week() -> (String, i64) {
    let now = std::time::UNIX_EPOCH.elapsed().unwrap().as_secs() as i64;
    let today = now.div_euclid(DAY);
    let monday = today - (today + 3).rem_euclid(7) - 14;
    let date = chrono::DateTime::from_timestamp(monday * DAY, 0).unwrap();
    (date.format("%G-W%V").to_string(), (monday + 2) * DAY * 1_000 + 12 * 3_600 * 1_000)
}

/// Brings in one page view each of people `from` up to and without `to`, each of another network.
fn visit(home: &Home, path: &str, from: usize, to: usize, gpc: bool) {
    let (_, noon) = week();
    let mut text = String::new();
    for person in from..to {
        let event = json!({
            "event_id": format!("{path}-{person}"), "page_url": format!("https://shop.example{path}"), "occurred_at": noon, "address": format!("8.8.{person}.8"),
            "user_agent": AGENT, "consent": "granted", "gpc": gpc,
        });
        writeln!(text, "{event}").unwrap();
    }
    let file = home.file("events.ndjson");
    std::fs::write(&file, text).unwrap();
    let output = home.run_here(&["import", "--site", "acme", "--format", "ndjson", file.to_str().unwrap()]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

fn call(program: &Program, path: &str, bearer: &str) -> Answer {
    program.connect_admin().get(path, &[("Authorization", &format!("Bearer {bearer}"))])
}

fn rows(answer: &Answer) -> Vec<(String, u64, u64)> {
    assert_eq!(answer.status, 200, "{}", answer.text());
    let told: Value = serde_json::from_slice(&answer.body).unwrap();
    let row = |row: &Value| (row["value"].as_str().unwrap().to_owned(), row["interactions"].as_u64().unwrap(), row["visitor_days"].as_u64().unwrap());
    told["rows"].as_array().unwrap().iter().map(row).collect()
}

#[test]
fn nine_people_are_in_no_cell_and_in_no_difference_of_two() {
    let home = home();
    visit(&home, "/", 0, 40, false);
    visit(&home, "/shoes", 40, 52, false);
    visit(&home, "/secret", 60, 69, false);
    visit(&home, "/objected", 70, 90, true);
    assert_eq!(home.rows(), 81);
    assert_eq!(home.number("select count(*) as n from interactions where may_share"), 61);
    let (week, _) = week();
    let program = home.start();
    let of = |dimension: &str| call(&program, &format!("/v1/sites/acme/share?week={week}&dimension={dimension}"), SECRET);
    let first = of("page");
    // Nine people of /secret alone would be the total less the rest: /shoes is withheld with them.
    assert_eq!(rows(&first), [("shop.example/".to_owned(), 40, 40), ("(other)".to_owned(), 20, 20)]);
    assert_eq!(rows(&of("all")), [(String::new(), 60, 60)]);
    for (dimension, value) in [("browser", "Chrome"), ("os", "Windows"), ("device", "desktop"), ("source", "direct")] {
        assert_eq!(rows(&of(dimension)), [(value.to_owned(), 60, 60)], "{dimension}");
    }
    let csv = call(&program, &format!("/v1/sites/acme/share?week={week}&dimension=page&format=csv"), SECRET);
    assert_eq!((csv.status, csv.header("content-type")), (200, Some("text/csv; charset=utf-8")));
    assert_eq!(csv.text(), "value,interactions,visitor_days\nshop.example/,40,40\n(other),20,20\n");

    // Late rows and an erasure change nothing of what is out.
    visit(&home, "/late", 100, 130, false);
    let visitor = home.query("select visitor_id from interactions where page_path = '/'")[0]["visitor_id"].as_str().unwrap().to_owned();
    let body = json!({"kind": "erasure", "visitor_id": visitor}).to_string();
    let authorization = format!("Bearer {SECRET}");
    assert_eq!(program.connect_admin().call("POST", "/v1/sites/acme/requests", &[("Authorization", &authorization)], body.as_bytes()).status, 202);
    assert_eq!(home.number("select count(*) as n from interactions where page_path = '/'"), 39);
    assert_eq!(of("page").body, first.body);
    program.stop();
    let program = home.start();
    let again = call(&program, &format!("/v1/sites/acme/share?week={week}&dimension=page"), SECRET);
    assert_eq!(again.body, first.body);

    let log = std::fs::read_to_string(home.data().join("subjects/audit.ndjson")).unwrap();
    assert_eq!(log.matches("\"name\":\"shared\"").count(), 9);
    assert_eq!(log.matches(&sha256_hex(&first.text())).count(), 3, "the same table left three times");
    assert!(log.contains("\"dimension\":\"page\",\"format\":\"json\",\"by\":\"site's secret\",\"cells\":2,\"withheld\":2"), "{log}");
    assert!(!log.contains(&visitor));

    // What was published is gone, or is another: then nothing leaves.
    let shelf = home.data().join("lake/_shared/acme").join(format!("{week}.json"));
    let published = std::fs::read_to_string(&shelf).unwrap();
    assert!(!published.contains("secret") && !published.contains("shoes") && !published.contains(&visitor), "{published}");
    let ask = || call(&program, &format!("/v1/sites/acme/share?week={week}&dimension=page"), SECRET);
    std::fs::write(&shelf, published.replacen("40", "50", 1)).unwrap();
    assert_eq!((ask().status, ask().text().contains("not what left the first time")), (503, true));
    std::fs::remove_file(&shelf).unwrap();
    assert_eq!((ask().status, ask().text().contains("could be subtracted")), (503, true));
    std::fs::write(&shelf, &published).unwrap();
    assert_eq!(ask().body, first.body);
    program.stop();
    let verified = home.run_here(&["verify"]);
    assert!(verified.status.success(), "{}", String::from_utf8_lossy(&verified.stdout));
    assert!(String::from_utf8_lossy(&verified.stdout).contains("shared weeks: 1; 1 were given out by this collector"));
    std::fs::write(&shelf, published.replacen("40", "50", 1)).unwrap();
    let verified = home.run_here(&["verify"]);
    let told = String::from_utf8_lossy(&verified.stderr);
    assert!(!verified.status.success() && told.contains(&format!("{week}.json: it is not what left the first time")), "{told}");
}

#[test]
fn who_may_ask_and_for_what() {
    let home = home();
    visit(&home, "/", 0, 9, false);
    let program = home.start();
    let (week, _) = week();
    let status = |path: &str, bearer: &str| call(&program, path, bearer).status;
    let path = format!("/v1/sites/acme/share?week={week}");
    assert_eq!((status(&path, SECRET), status(&path, "another")), (200, 401));
    assert_eq!(program.connect_admin().get(&path, &[("Host", "elsewhere.example")]).status, 401);
    assert_eq!(status("/v1/sites/other/share", "another"), 403, "its contract does not open it");
    assert!(rows(&call(&program, &path, SECRET)).is_empty(), "nine people in all");
    assert_eq!(program.connect_admin().get("/v1/sites/nobody/share", &[]).status, 404);
    assert_eq!(program.connect_admin().get(&path, &[("Host", "localhost")]).status, 200);
    for (query, expected) in [("week=2999-W01", 404), ("week=1999-W01", 404), ("week=yesterday", 400), ("dimension=visitor_id", 400), ("country=US", 400), ("from=2026-01-01T00:00:00Z", 400), ("interval=day", 400), ("format=xml", 400)] {
        let answer = call(&program, &format!("/v1/sites/acme/share?{query}"), SECRET);
        assert_eq!(answer.status, expected, "{query}: {}", answer.text());
    }
    assert_eq!(program.connect_admin().call("POST", &path, &[("Authorization", &format!("Bearer {SECRET}"))], b"").status, 405);
    program.stop();
}
