//! Holds what becomes of identify calls: without a contract nothing of their traits is anywhere; with one they
//! are kept encrypted, apart from the rows, through a kill, and a person's rights reach them by the client's
//! own name of the person.

use crate::erasure::decoded;
use crate::program::{Answer, BEHIND_PROXY, Dice, FRANCE, Home, Program, Settings, UNITED_STATES, eventually, files_below, sha256_hex};
use clearpixel::config::Config;
use clearpixel::people::read::People;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::PermissionsExt;
use std::thread;
use std::time::Duration;

const SECRET: &str = "acme's own secret";
/// In every trait and name of these tests, so that one search finds what should be nowhere.
const CANARY: &str = "canary";
const USER: &str = "customer-canary-7";

fn key_of(home: &Home, name: &str, first: u8) -> String {
    let path = home.file(name);
    let digits: String = (0..32).map(|at| format!("{:02x}", first.wrapping_add(at))).collect();
    std::fs::write(&path, digits).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    path.display().to_string()
}

/// A home with the site `acme`, whose contract these lines are.
fn home(contract: &str) -> Home {
    let home = Home::new(Settings::default());
    let sites = format!("[[site]]\nkey = \"acme\"\nsecret_sha256 = \"{}\"\n{contract}\n", sha256_hex(SECRET));
    home.settle(Settings { door: BEHIND_PROXY, flush_after: "1s\"\nmaintain_every = \"1h", sites: &sites, ..Settings::default() });
    home
}

fn with_people(more: &str) -> Home {
    let home = home("");
    let key = key_of(&home, "acme.key", 10);
    let sites = format!("[[site]]\nkey = \"acme\"\nsecret_sha256 = \"{}\"\npersonal_information = true\npeople_key = \"{key}\"\n{more}\n", sha256_hex(SECRET));
    home.settle(Settings { door: BEHIND_PROXY, flush_after: "1s\"\nmaintain_every = \"1h", sites: &sites, ..Settings::default() });
    home
}

fn post(program: &Program, from: &str, path: &str, body: &Value) -> Answer {
    let bearer = format!("Bearer {SECRET}");
    let mut headers = vec![("X-Forwarded-For", from), ("Content-Type", "application/json")];
    if path == "/v1/interactions" {
        headers.push(("Authorization", &bearer));
    }
    program.connect().call("POST", path, &headers, body.to_string().as_bytes())
}

/// A Segment identify call of Jane's.
fn identify(program: &Program, id: &str, traits: &Value) -> Answer {
    post(program, UNITED_STATES, "/v1/identify", &json!({"writeKey": "acme", "messageId": id, "userId": USER, "anonymousId": "device-of-jane", "traits": traits}))
}

/// Where a text is below the data folder or in the log: in bytes, or in a decoded column of Parquet.
fn places_of(home: &Home, text: &str) -> Vec<String> {
    let holds = |bytes: &[u8]| bytes.windows(text.len()).any(|window| window.eq_ignore_ascii_case(text.as_bytes()));
    let mut places = Vec::new();
    for (path, bytes) in files_below(&home.data()) {
        let is_parquet = path.extension().is_some_and(|ending| ending == "parquet");
        if holds(path.as_os_str().as_encoded_bytes()) || holds(&bytes) || (is_parquet && holds(decoded(bytes).as_bytes())) {
            places.push(path.display().to_string());
        }
    }
    places
}

/// All that the key opens, as text.
fn opened(home: &Home) -> String {
    let config = Config::read(&home.settings()).unwrap();
    let people = People::of_settings(&config.sites, &config.data_dir, &config.lake).unwrap();
    let mut text = String::new();
    for site in people.sites() {
        let mut each = |person: clearpixel::rules::person::Person| {
            text.push_str(&String::from_utf8(person.to_bytes()).unwrap());
            Ok(())
        };
        people.each(site, &|_| true, &mut each).unwrap();
    }
    text
}

fn personal(home: &Home, sql: &str) -> Vec<Value> {
    let output = home.run_here(&["query", sql, "--format", "ndjson", "--personal"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn request(program: &Program, body: &Value) -> Value {
    let bearer = format!("Bearer {SECRET}");
    let answer = program.connect_admin().call("POST", "/v1/sites/acme/requests", &[("Authorization", &bearer), ("Content-Type", "application/json")], body.to_string().as_bytes());
    assert_eq!(answer.status, 202, "{}", answer.text());
    assert!(!answer.text().contains(USER), "an answer repeats the identifier");
    serde_json::from_slice(&answer.body).unwrap()
}

fn await_done(program: &Program, request: &Value) -> Value {
    let path = format!("/v1/sites/acme/requests/{}", request["id"].as_str().unwrap());
    eventually("the end of the request", || {
        let told = program.admin_json(&path);
        if told["state"] == json!("done") { Ok(told) } else { Err(format!("{told}\n{}", program.printed())) }
    })
}

fn assert_all_agrees(home: &Home) {
    let output = home.run_here(&["verify"]);
    assert!(output.status.success(), "{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
}

/// An identify call in every form there is, from an address.
fn every_identify(program: &Program, from: &str) -> u64 {
    let traits = json!({"email": "jane@canary.example", "plan": CANARY, "address": {"city": CANARY}, "canaries": [CANARY]});
    let calls = [
        ("/v1/identify", json!({"writeKey": "acme", "userId": "u", "traits": traits})),
        ("/v1/i", json!({"writeKey": "acme", "anonymousId": "a", "traits": traits})),
        ("/v1/batch", json!({"writeKey": "acme", "batch": [{"type": "identify", "userId": "u", "context": {"traits": traits}}]})),
        ("/v1/track", json!({"writeKey": "acme", "event": "e", "userId": "u", "traits": traits, "context": {"traits": traits}})),
        ("/v1/group", json!({"writeKey": "acme", "groupId": CANARY, "userId": "u", "traits": traits})),
        ("/e", json!({"site": "acme", "event": "identify", "properties": {"plan": CANARY, "canary": "x"}})),
        ("/e", json!({"site": "acme", "event": " Identify", "properties": {"plan": CANARY}})),
        ("/v1/interactions", json!({"event": "identify", "user_id": "u", "country": if from == FRANCE { "FR" } else { "US" }, "properties": {"plan": CANARY}})),
    ];
    for (path, body) in &calls {
        let answer = post(program, from, path, body);
        assert!(answer.status < 300, "{path}: {}", answer.text());
    }
    program.connect().pixel_from(from, "s=acme&e=identify&p.plan=canary");
    calls.len() as u64 + 1
}

#[test]
fn without_contract_or_basis_traits_are_nowhere() {
    for (contract, from, more, stored) in [
        ("", UNITED_STATES, "", true),
        ("KEY", FRANCE, "", false),
        ("KEY", UNITED_STATES, "identity = \"daily\"", true),
        ("KEY", UNITED_STATES, "identity = \"none\"", true),
        ("KEY", UNITED_STATES, "child_directed = true", false),
    ] {
        let home = if contract.is_empty() { home(more) } else { with_people(more) };
        let program = home.start();
        let sent = every_identify(&program, from);
        if stored {
            home.await_rows(sent);
            assert_eq!(home.number("select count(*) as n from interactions where event = 'identify' and cardinality(map_keys(properties)) > 0"), 0, "{more}");
        }
        eventually("the ledger", || match program.ledger("acme")["received"].as_u64() {
            Some(received) if received == sent => Ok(()),
            seen => Err(format!("{seen:?}")),
        });
        let printed = program.stop();
        assert!(!printed.contains(CANARY));
        assert_eq!(places_of(&home, CANARY), [""; 0], "{contract} {from} {more}");
        if !contract.is_empty() {
            assert_eq!(opened(&home), "", "{from} {more}");
        }
        assert_all_agrees(&home);
    }
}

#[test]
fn with_a_contract_people_are_kept_encrypted_and_through_a_kill() {
    let home = with_people("");
    let program = home.start();
    let traits = json!({"email": "jane@canary.example", "phone": "+44 20 7946 0958", "name": "Jane Canary", "address": {"city": "Bonn"}, "card": "4111 1111 1111 1111", "note": "pays by 4111111111111111", "password": "canary-secret"});
    let answer = identify(&program, "i-1", &traits);
    assert_eq!(answer.status, 200);
    program.kill();
    let program = home.start();
    assert_eq!(identify(&program, "i-2", &json!({"plan": "canary-gold"})).status, 200);
    assert_eq!(post(&program, UNITED_STATES, "/v1/interactions", &json!({"event": "identify", "user_id": USER, "country": "US", "properties": {"tier": "two"}})).status, 200);
    let rows = personal(&home, "select site, user_id, visitor_id, traits, linked_visitor_ids, first_seen < last_seen as later from people");
    assert_eq!(rows.len(), 1, "{rows:?}");
    let (row, traits) = (&rows[0], &rows[0]["traits"]);
    assert_eq!((&row["site"], &row["user_id"], &row["later"]), (&json!("acme"), &json!(USER), &json!(true)));
    assert_eq!(row["linked_visitor_ids"].as_array().unwrap().len(), 1, "the device");
    for (name, value) in [("email", "jane@canary.example"), ("phone", "+44 20 7946 0958"), ("name", "Jane Canary"), ("address.city", "Bonn"), ("plan", "canary-gold"), ("tier", "two"), ("password", "[redacted:key]"), ("card", "[redacted:key]"), ("note", "pays by [redacted:card]")] {
        assert_eq!(traits[name], json!(value), "{traits}");
    }
    home.await_rows(3);
    let visitor = row["visitor_id"].as_str().unwrap();
    assert_eq!(home.number(&format!("select count(*) as n from interactions where visitor_id = '{visitor}' and event = 'identify'")), 3, "rows are under the same pseudonym");
    for sql in ["select * from people", "select count(*) from interactions i join people p on i.visitor_id = p.visitor_id"] {
        let output = home.run_here(&["query", sql]);
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && told.contains("--personal"), "{told}");
    }
    assert!(home.query("select table_name from information_schema.tables").iter().all(|row| row["table_name"] != json!("people")));
    let printed = program.stop();
    assert!(!printed.contains(CANARY));
    assert_eq!(places_of(&home, CANARY), [""; 0]);
    assert_eq!(places_of(&home, "20 7946 0958"), [""; 0]);
    assert!(opened(&home).contains("jane@canary.example") && !opened(&home).contains("4111"));
    for (path, mode) in [("people", 0o700), ("people/acme", 0o700), ("people/acme/00000001.people", 0o600)] {
        assert_eq!(std::fs::metadata(home.data().join(path)).unwrap().permissions().mode() & 0o777, mode, "{path}");
    }
    let key = std::fs::read(home.file("acme.key")).unwrap();
    assert_eq!(places_of(&home, std::str::from_utf8(&key).unwrap()), [""; 0], "the key is copied nowhere");
    assert_all_agrees(&home);
}

#[test]
fn killed_at_any_moment_every_acknowledged_person_is_there() {
    let home = with_people("");
    let mut dice = Dice::thrown("people");
    let mut acknowledged: Vec<String> = Vec::new();
    for round in 0..4 {
        let program = home.start();
        let clients: Vec<_> = (0..3).map(|_| program.connect()).collect();
        let lasts = Duration::from_millis(dice.between(30, 500));
        thread::scope(|scope| {
            let senders: Vec<_> = clients.into_iter().enumerate().map(|(sender, mut client)| {
                scope.spawn(move || {
                    let mut taken = Vec::new();
                    for number in 0.. {
                        let user = format!("canary-{round}-{sender}-{number}");
                        let body = json!({"writeKey": "acme", "messageId": format!("m-{round}-{sender}-{number}"), "userId": user, "traits": {"email": format!("{user}@canary.example")}}).to_string();
                        match client.try_call("POST", "/v1/identify", &[("X-Forwarded-For", UNITED_STATES)], body.as_bytes()) {
                            Ok(answer) if answer.status == 200 => taken.push(user),
                            Ok(_) | Err(_) => break,
                        }
                    }
                    taken
                })
            }).collect();
            thread::sleep(lasts);
            program.kill();
            acknowledged.extend(senders.into_iter().flat_map(|sender| sender.join().unwrap()));
        });
    }
    let program = home.start();
    let rows = personal(&home, "select user_id, traits['email'] as email from people");
    let people: BTreeMap<&str, &str> = rows.iter().map(|row| (row["user_id"].as_str().unwrap(), row["email"].as_str().unwrap())).collect();
    for user in &acknowledged {
        assert_eq!(people.get(user.as_str()).copied(), Some(format!("{user}@canary.example").as_str()), "{user}, of {} acknowledged", acknowledged.len());
    }
    println!("{} acknowledged, {} kept", acknowledged.len(), people.len());
    // The rows come from the journal, which a start does not wait for.
    program.stop();
    let kept: BTreeSet<String> = home.query("select visitor_id from interactions").iter().map(|row| row["visitor_id"].as_str().unwrap().to_owned()).collect();
    let known: BTreeSet<String> = personal(&home, "select visitor_id from people").iter().map(|row| row["visitor_id"].as_str().unwrap().to_owned()).collect();
    assert!(kept.len() >= acknowledged.len() && kept.is_subset(&known), "no row is without its person");
    assert_eq!(places_of(&home, CANARY), [""; 0]);
    assert_all_agrees(&home);
}

#[test]
fn rights_reach_a_person_by_the_client_s_own_name() {
    let home = with_people("");
    let program = home.start();
    // Before she named herself: a visit under the device's name alone.
    let before = json!({"writeKey": "acme", "messageId": "b", "anonymousId": "device-of-jane", "name": "Before"});
    assert_eq!(post(&program, UNITED_STATES, "/v1/page", &before).status, 200);
    identify(&program, "i-1", &json!({"email": "old@canary.example", "plan": "gold"}));
    post(&program, UNITED_STATES, "/v1/identify", &json!({"writeKey": "acme", "messageId": "o-1", "userId": "other", "traits": {"email": "other@other.example"}}));
    home.await_rows(3);

    let output = home.run_here(&["subject", "find", "--site", "acme", "--user", USER]);
    let told = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(told.contains("2 rows in all") && told.contains("people  2 traits, 1 linked ids") && !told.contains(CANARY), "{told}{}", String::from_utf8_lossy(&output.stderr));

    let copy = request(&program, &json!({"kind": "access", "user_id": USER}));
    for format in ["json", "csv", "pdf"] {
        let bearer = format!("Bearer {SECRET}");
        let path = format!("/v1/sites/acme/requests/{}/export?format={format}", copy["id"].as_str().unwrap());
        let answer = program.connect_admin().get(&path, &[("Authorization", &bearer)]);
        assert_eq!(answer.status, 200, "{}", answer.text());
        assert!(answer.text().contains("old@canary.example") && answer.text().contains(USER) && !answer.text().contains("other@other.example"), "{format}: {}", answer.text());
        if format == "json" {
            let copy: Value = serde_json::from_slice(&answer.body).unwrap();
            assert_eq!((copy["interactions"].as_array().unwrap().len(), copy["people"].as_array().unwrap().len()), (2, 1));
        }
    }

    let asked = request(&program, &json!({"kind": "rectification", "user_id": USER, "fields": {"traits.email": "new@canary.example", "traits.plan": null}, "now": true}));
    let told = await_done(&program, &asked);
    assert_eq!((&told["notify"], &told["fields"]), (&json!(["new@canary.example", "old@canary.example"]), &json!(["traits.email", "traits.plan"])));
    assert!(told["notice"].as_str().unwrap().contains("old and to the new one"));
    assert!(!opened(&home).contains("old@canary.example") && opened(&home).contains("new@canary.example"));
    assert_eq!(places_of(&home, "canary.example"), [""; 0], "neither address is in a log, a receipt or a pending file");
    let refused = program.connect_admin().call("POST", "/v1/sites/acme/requests", &[], json!({"kind": "rectification", "user_id": USER, "fields": {"traits.note": "4111111111111111"}}).to_string().as_bytes());
    assert!(refused.status == 400 && !refused.text().contains("4111"), "{}", refused.text());

    request(&program, &json!({"kind": "restriction", "user_id": USER}));
    assert_eq!((personal(&home, "select user_id from people").len(), home.rows()), (1, 1), "she is out of every answer");
    request(&program, &json!({"kind": "release", "user_id": USER}));
    assert_eq!((personal(&home, "select user_id from people").len(), home.rows()), (2, 3));

    let files: Vec<String> = files_below(&home.data().join("people")).into_iter().map(|(path, _)| path.display().to_string()).collect();
    let erasure = await_done(&program, &request(&program, &json!({"kind": "erasure", "user_id": USER, "now": true})));
    let receipt: Value = serde_json::from_str(erasure["receipt"]["signed"].as_str().unwrap()).unwrap();
    let people = &erasure["receipt"]["pass"]["people"][0];
    assert_eq!((&receipt["rows"], &people["removed"]), (&json!(2), &json!(1)), "the row before she named herself is hers too: {erasure}");
    assert!(people["before"]["sha256"].is_string() && people["after"]["file"] != people["before"]["file"] && !erasure.to_string().contains(CANARY));
    assert!(!opened(&home).contains(CANARY) && opened(&home).contains("other@other.example"));
    assert!(files.iter().all(|old| !std::path::Path::new(old).exists()), "no file from before is left");
    assert_eq!(home.rows(), 1);

    identify(&program, "late", &json!({"email": "late@canary.example"}));
    eventually("the refusal", || {
        let ledger = program.ledger("acme");
        if ledger["refused"]["erased_subject"] == json!(1) { Ok(()) } else { Err(ledger.to_string()) }
    });
    assert!(!opened(&home).contains(CANARY));
    let printed = program.stop();
    assert!(!printed.contains(CANARY));
    assert_eq!(places_of(&home, CANARY), [""; 0]);
    assert_all_agrees(&home);
}

#[test]
fn a_command_reaches_a_person_by_name_and_an_older_copy_of_people_brings_nobody_back() {
    let home = with_people("");
    let program = home.start();
    identify(&program, "i-1", &json!({"email": "jane@canary.example"}));
    home.await_rows(1);
    program.stop();
    let file = home.data().join("people/acme/00000001.people");
    let older = std::fs::read(&file).unwrap();
    let run = |arguments: &[&str]| {
        let output = home.run_here(arguments);
        assert!(output.status.success(), "{arguments:?}: {}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    let to = home.file("notify");
    let told = run(&["subject", "rectify", "--site", "acme", "--user", USER, "--set", "traits.email=new@canary.example", "--output", to.to_str().unwrap(), "--now"]);
    assert!(told.contains("rectification, done") && !told.contains(CANARY), "{told}");
    assert_eq!(std::fs::read_to_string(&to).unwrap(), "jane@canary.example\nnew@canary.example\n");
    assert_eq!(std::fs::metadata(&to).unwrap().permissions().mode() & 0o777, 0o600);
    assert!(run(&["subject", "export", "--site", "acme", "--user", USER]).contains("new@canary.example"));
    let hold = |until: &str| run(&["subject", "hold", "--site", "acme", "--user", USER, "--reason", "case 12", "--until", until]);
    hold("2099-01-01T00:00:00Z");
    assert!(run(&["subject", "erase", "--site", "acme", "--user", USER, "--now"]).contains("erasure, held"));
    assert!(opened(&home).contains(CANARY) && personal(&home, "select * from people").is_empty());
    hold("2000-01-01T00:00:00Z");
    assert!(run(&["subject", "erase", "--site", "acme", "--user", USER, "--now"]).contains("erasure, done"));
    assert_eq!(opened(&home), "");
    for (path, _) in files_below(&home.data().join("people")) {
        std::fs::remove_file(path).unwrap();
    }
    std::fs::write(&file, older).unwrap();
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
    assert!(opened(&home).contains(CANARY));
    assert!(personal(&home, "select * from people").is_empty(), "hidden before anything was done to the file");
    run(&["maintain", "--once"]);
    assert_eq!(opened(&home), "");
    assert_all_agrees(&home);
}

#[test]
fn whoever_is_past_the_term_goes_with_the_next_maintenance() {
    let home = with_people("people_keep = \"1s\"");
    let program = home.start();
    identify(&program, "i-1", &json!({"email": "jane@canary.example"}));
    home.await_rows(1);
    program.stop();
    assert!(opened(&home).contains(CANARY));
    thread::sleep(Duration::from_millis(1_100));
    let output = home.run_here(&["maintain", "--once"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(opened(&home), "");
}

#[test]
fn a_wrong_key_or_none_is_told_at_the_start() {
    let home = with_people("");
    let program = home.start();
    identify(&program, "i-1", &json!({"email": "jane@canary.example"}));
    program.stop();
    key_of(&home, "acme.key", 99);
    let check = home.run_here(&["check"]);
    assert_eq!(check.status.code(), Some(64));
    let (status, printed) = home.spawn().ended();
    assert_eq!(status.code(), Some(64), "{printed}");
    assert!(printed.contains("people_key") && printed.contains("put the key back"), "{printed}");
    let erase = home.run_here(&["subject", "erase", "--site", "acme", "--visitor", &"ab".repeat(16), "--now"]);
    assert!(!erase.status.success(), "nothing is reported as erased while people cannot be read");
    let output = home.run_here(&["query", "select * from people", "--personal"]);
    assert!(!output.status.success() && !String::from_utf8_lossy(&output.stdout).contains(CANARY));
    assert!(!home.run_here(&["verify"]).status.success());
    std::fs::set_permissions(home.file("acme.key"), std::fs::Permissions::from_mode(0o644)).unwrap();
    let told = String::from_utf8_lossy(&home.run_here(&["check"]).stderr).into_owned();
    assert!(told.contains("chmod 600"), "{told}");
    std::fs::remove_file(home.file("acme.key")).unwrap();
    let (status, printed) = home.spawn().ended();
    assert!(status.code() == Some(64) && printed.contains("cannot be read"), "{printed}");
    key_of(&home, "acme.key", 10);
    assert!(opened(&home).contains(CANARY));
    assert_eq!(home.run_here(&["check"]).status.code(), Some(0));
}
