//! Holds a person's rights: asked for over a socket or beside the running program, in force at once in hits
//! and answers, told to nobody, and still in force after a kill and after an older copy of the lake.

use crate::program::{Answer, BEHIND_PROXY, Home, Program, Settings, UNITED_STATES, eventually, sha256_hex};
use serde_json::{Value, json};
use std::path::Path;

const SECRET: &str = "acme's own secret";

fn home(flush_after: &str) -> Home {
    let sites = format!("[[site]]\nkey = \"acme\"\nsecret_sha256 = \"{}\"\n[[site]]\nkey = \"other\"\nsecret_sha256 = \"{}\"\n", sha256_hex(SECRET), sha256_hex("another"));
    Home::new(Settings { door: BEHIND_PROXY, flush_after, sites: &sites, ..Settings::default() })
}

/// A visitor as the browser holds one.
struct Visitor {
    cookie: String,
    id: String,
}

impl Visitor {
    fn arrive(program: &Program, event_id: &str) -> Self {
        let answer = program.connect().pixel_from(UNITED_STATES, &format!("s=acme&id={event_id}&u=https%3A%2F%2Fshop.example%2F{event_id}"));
        let cookie = answer.cookies("__Host-cp_id.acme")[0].split(';').next().unwrap().to_owned();
        let id = cookie.split_once('=').unwrap().1.split_once('.').unwrap().0.to_owned();
        Self { cookie, id }
    }

    fn hit(&self, program: &Program, event_id: &str) -> Answer {
        program.connect().get(&format!("/p.gif?s=acme&id={event_id}"), &[("X-Forwarded-For", UNITED_STATES), ("Cookie", &self.cookie)])
    }

    fn rows(&self, home: &Home) -> u64 {
        home.number(&format!("select count(*) as n from interactions where visitor_id = '{}'", self.id))
    }
}

fn call(program: &Program, method: &str, path: &str, bearer: &str, body: &str) -> Answer {
    let authorization = format!("Bearer {bearer}");
    program.connect_admin().call(method, path, &[("Authorization", &authorization), ("Content-Type", "application/json")], body.as_bytes())
}

fn ask(program: &Program, kind: &str, visitor: &Visitor) -> Value {
    let body = json!({"kind": kind, "visitor_id": visitor.id}).to_string();
    let answer = call(program, "POST", "/v1/sites/acme/requests", SECRET, &body);
    assert_eq!(answer.status, 202, "{}", answer.text());
    assert!(!answer.text().contains(&visitor.id), "an answer repeats the identifier: {}", answer.text());
    serde_json::from_slice(&answer.body).unwrap()
}

fn copy_folder(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let target = to.join(path.file_name().unwrap());
        if path.is_dir() {
            copy_folder(&path, &target);
        } else {
            std::fs::copy(&path, &target).unwrap();
        }
    }
}

#[test]
fn a_request_is_in_force_when_it_is_answered() {
    for (kind, state, reason, hidden, cookie_goes) in [
        ("erasure", "running", "erased_subject", true, true),
        ("restriction", "done", "restricted_subject", true, false),
        ("objection", "done", "opted_out", false, true),
    ] {
        let home = home("1s");
        let program = home.start();
        let (jane, other) = (Visitor::arrive(&program, "jane-1"), Visitor::arrive(&program, "other-1"));
        home.await_rows(2);
        let request = ask(&program, kind, &jane);
        assert_eq!((&request["kind"], &request["state"], &request["asked_by"]), (&json!(kind), &json!(state), &json!("site's secret")));
        let answered = jane.hit(&program, "jane-2");
        assert_eq!((answered.status, answered.body.len()), (200, 43));
        let deleted = answered.cookies("__Host-cp_id.acme");
        assert_eq!(!deleted.is_empty() && deleted.iter().all(|line| line.contains("Max-Age=0")), cookie_goes, "{kind}: {deleted:?}");
        assert_eq!(!answered.cookies("__Host-cp_optout.acme").is_empty(), kind == "objection");
        other.hit(&program, "other-2");
        let anew = Visitor::arrive(&program, "anew-1");
        assert_ne!(anew.id, jane.id);
        program.await_ledger("acme", &json!({"received": 5, "stored": 4, "duplicate": 0, "failed": 0, "refused": {reason: 1}}));
        assert_eq!(jane.rows(&home), u64::from(!hidden), "{kind}");
        eventually("the others' rows", || match (other.rows(&home), anew.rows(&home)) {
            (2, 1) => Ok(()),
            seen => Err(format!("{seen:?}")),
        });
        program.kill();
        let program = home.start();
        jane.hit(&program, "jane-3");
        program.await_ledger("acme", &json!({"received": 6, "stored": 4, "duplicate": 0, "failed": 0, "refused": {reason: 2}}));
        assert_eq!(jane.rows(&home), u64::from(!hidden), "{kind} after a kill");
        let id = request["id"].as_str().unwrap();
        let told = call(&program, "GET", &format!("/v1/sites/acme/requests/{id}"), SECRET, "");
        assert_eq!(serde_json::from_slice::<Value>(&told.body).unwrap()["state"], json!(state));
        program.stop();
    }
}

#[test]
fn a_command_beside_the_program_is_in_force_within_its_look() {
    let home = home("1s");
    let program = home.start();
    let jane = Visitor::arrive(&program, "jane-1");
    home.await_rows(1);
    let run = |action: &str| {
        let output = home.run_here(&["subject", action, "--site", "acme", "--visitor", &jane.id]);
        assert!(output.status.success(), "{action}: {}", String::from_utf8_lossy(&output.stderr));
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(!text.contains(&jane.id), "{action}: {text}");
        text
    };
    assert!(run("find").contains("1 rows in all"));
    run("restrict");
    eventually("a refusal", || {
        jane.hit(&program, "jane-again");
        let ledger = program.ledger("acme");
        if ledger["refused"]["restricted_subject"].is_u64() { Ok(()) } else { Err(ledger.to_string()) }
    });
    assert_eq!(jane.rows(&home), 0);
    run("release");
    eventually("the rows", || match jane.rows(&home) {
        0 => Err("none".to_owned()),
        _ => Ok(()),
    });
    let requests = call(&program, "GET", "/v1/sites/acme/requests", SECRET, "");
    let kinds: Vec<Value> = serde_json::from_slice::<Value>(&requests.body).unwrap()["requests"].as_array().unwrap().iter().map(|request| request["kind"].clone()).collect();
    assert_eq!(kinds, [json!("release"), json!("restriction")]);
    program.stop();
}

#[test]
fn a_copy_is_the_persons_own_and_its_digest_is_in_the_audit_log() {
    let home = home("1s");
    let program = home.start();
    let (jane, other) = (Visitor::arrive(&program, "jane-1"), Visitor::arrive(&program, "other-1"));
    home.await_rows(2);
    ask(&program, "restriction", &jane);
    let id = ask(&program, "access", &jane)["id"].as_str().unwrap().to_owned();
    for (format, kind) in [("json", "application/json"), ("csv", "text/csv; charset=utf-8"), ("pdf", "application/pdf")] {
        let copy = call(&program, "GET", &format!("/v1/sites/acme/requests/{id}/export?format={format}"), SECRET, "");
        assert_eq!((copy.status, copy.header("content-type")), (200, Some(kind)));
        let text = copy.text();
        assert!(text.contains(&jane.id) && text.contains("jane-1"), "{format}");
        assert!(!text.contains(&other.id) && !text.contains("other-1"), "{format}");
        use sha2::{Digest, Sha256};
        let digest: String = Sha256::digest(&copy.body).iter().map(|byte| format!("{byte:02x}")).collect();
        let log = std::fs::read_to_string(home.data().join("subjects/audit.ndjson")).unwrap();
        assert!(log.contains(&digest) && !log.contains(&jane.id), "{format}");
    }
    let written = home.file("copy.pdf");
    let output = home.run_here(&["subject", "export", "--site", "acme", "--visitor", &jane.id, "--format", "pdf", "--output", written.to_str().unwrap()]);
    assert!(output.status.success() && std::fs::read(written).unwrap().starts_with(b"%PDF-"));
    ask(&program, "erasure", &jane);
    let gone = call(&program, "GET", &format!("/v1/sites/acme/requests/{id}/export"), SECRET, "");
    assert_eq!(gone.status, 410, "{}", gone.text());
    program.stop();
}

#[test]
fn who_may_ask_and_what_is_said_of_what_cannot_be_read() {
    let home = home("1s");
    let program = home.start();
    let jane = Visitor::arrive(&program, "jane-1");
    let good = json!({"kind": "erasure", "visitor_id": jane.id}).to_string();
    for (path, bearer, body, status) in [
        ("/v1/sites/acme/requests", "another", good.as_str(), 401),
        ("/v1/sites/other/requests", SECRET, &good, 401),
        ("/v1/sites/nobody/requests", SECRET, &good, 401),
        ("/v1/sites/acme/requests", SECRET, "{\"kind\":\"erasure\",\"visitor_id\":\"jane@mail.example\"}", 400),
        ("/v1/sites/acme/requests", SECRET, "not JSON jane@mail.example", 400),
        ("/v1/sites/acme/requests", SECRET, &format!("{{\"kind\":\"rectification\",\"visitor_id\":\"{}\",\"fields\":{{\"visitor_id\":\"jane@mail.example\"}}}}", jane.id), 400),
        ("/v1/sites/acme/requests", SECRET, &"x".repeat(70_000), 413),
    ] {
        let answer = call(&program, "POST", path, bearer, body);
        assert_eq!(answer.status, status, "{path} {body}");
        assert!(!answer.text().contains("jane@") && !answer.text().contains(&jane.id), "{}", answer.text());
    }
    let from_a_page = [("Authorization", &*format!("Bearer {SECRET}")), ("Origin", "https://elsewhere.example")];
    assert_eq!(program.connect_admin().call("POST", "/v1/sites/acme/requests", &from_a_page, good.as_bytes()).status, 403);
    assert_eq!(call(&program, "DELETE", "/v1/sites/acme/requests", SECRET, "").status, 405);
    assert_eq!(call(&program, "GET", "/v1/sites/acme/requests/0123", SECRET, "").status, 404);
    let list = call(&program, "GET", "/v1/sites/acme/requests", SECRET, "");
    assert_eq!(serde_json::from_slice::<Value>(&list.body).unwrap()["requests"], json!([]));
    let printed = program.stop();
    assert!(!printed.contains("jane@") && !printed.contains(&jane.id));
}

#[test]
fn an_older_copy_of_the_lake_brings_nobody_back() {
    let home = home("1s");
    let program = home.start();
    let (jane, other) = (Visitor::arrive(&program, "jane-1"), Visitor::arrive(&program, "other-1"));
    home.await_rows(2);
    let (lake, older) = (home.data().join("lake"), home.file("older"));
    copy_folder(&lake, &older);
    ask(&program, "erasure", &jane);
    program.kill();
    std::fs::remove_dir_all(&lake).unwrap();
    copy_folder(&older, &lake);
    assert_eq!((jane.rows(&home), other.rows(&home)), (0, 1), "before the program starts");
    let program = home.start();
    assert_eq!((jane.rows(&home), other.rows(&home)), (0, 1));
    jane.hit(&program, "jane-late");
    eventually("the refusal", || {
        let ledger = program.ledger("acme");
        if ledger["refused"]["erased_subject"] == json!(1) { Ok(()) } else { Err(ledger.to_string()) }
    });
    program.stop();
    std::fs::remove_file(home.data().join("secret")).unwrap();
    let output = home.run_here(&["query", "select count(*) from interactions"]);
    assert!(!output.status.success(), "whom the suppressions hide cannot be known without the secret");
}
