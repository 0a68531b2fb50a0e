//! Holds `POST /v1/interactions`: who may send, what each event is answered, and that nothing of a caller stays.

use crate::program::{BEHIND_PROXY, Home, Program, Settings, UNITED_STATES, files_below, sha256_hex};
use serde_json::{Value, json};

const SECRET: &str = "of-acme";
const CALLER: &str = "+49 (30) 901820-55";

fn home() -> Home {
    let sites = format!(
        "[[site]]\nkey = \"acme\"\nsecret_sha256 = \"{}\"\n[[site]]\nkey = \"calls\"\nserver_basis = \"contract\"\nsecret_sha256 = \"{}\"\n[[site]]\nkey = \"open\"\n",
        sha256_hex(SECRET),
        sha256_hex("of-calls")
    );
    Home::new(Settings { door: BEHIND_PROXY, sites: &sites, ..Settings::default() })
}

fn post(program: &Program, secret: &str, body: &str) -> (u16, Value) {
    let bearer = format!("Bearer {secret}");
    // The address, the opt-out and the user agent of the server are nobody's.
    let headers = [("Authorization", bearer.as_str()), ("X-Forwarded-For", UNITED_STATES), ("Cookie", "__Host-cp_optout=1"), ("User-Agent", "curl/8"), ("Sec-GPC", "1")];
    let answer = program.connect().call("POST", "/v1/interactions", &headers, body.as_bytes());
    assert!(answer.header("set-cookie").is_none());
    (answer.status, serde_json::from_slice(&answer.body).unwrap_or(Value::Null))
}

fn results(program: &Program, secret: &str, events: &Value) -> Vec<(String, String)> {
    let (status, answer) = post(program, secret, &events.to_string());
    assert_eq!(status, 200, "{answer}");
    let word = |result: &Value, name: &str| result[name].as_str().unwrap_or("").to_owned();
    answer["results"].as_array().unwrap().iter().map(|result| (word(result, "result"), word(result, "reason"))).collect()
}

#[test]
fn a_result_for_each_event() {
    let home = home();
    let program = home.start();
    let call = |id: &str, more: Value| {
        let mut event = json!({"event": "call", "event_id": id, "channel": "telephony", "consent": "granted", "caller": CALLER,
            "properties": {"direction": "inbound", "queue": "orders", "duration_s": 63, "menu_path": "1>3", "outcome": "answered"}});
        event.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        event
    };
    let days_ago = |days: u64| (std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs() - days * 86_400) * 1_000;
    let cases = [
        (call("one", json!({})), "stored", ""),
        (call("one", json!({})), "duplicate", ""),
        (call("other-way", json!({"caller": "0049 30 90182055"})), "stored", ""),
        (call("denied", json!({"consent": "denied"})), "refused", "no_consent"),
        // The server stands in the United States; where the caller is it does not say.
        (call("silent", json!({"consent": null})), "refused", "no_consent"),
        (call("told", json!({"consent": null, "country": "US"})), "stored", ""),
        (call("told-fr", json!({"consent": null, "country": "FR"})), "refused", "no_consent"),
        (call("by-address", json!({"consent": null, "address": "8.8.8.8", "channel": "web"})), "stored", ""),
        (call("no-address", json!({"address": "somewhere"})), "refused", "bad_request"),
        (call("child", json!({"child": 1})), "refused", "child"),
        (call("late", json!({"occurred_at": days_ago(6)})), "stored", ""),
        (call("too-late", json!({"occurred_at": days_ago(8)})), "refused", "too_old"),
        (call("fax", json!({"channel": "fax"})), "refused", "bad_request"),
        (call("elsewhere", json!({"site": "calls"})), "refused", "unknown_site"),
        (json!({"event_id": "nobody", "consent": "granted"}), "stored", ""),
        (json!(7), "refused", "bad_request"),
    ];
    let events: Vec<&Value> = cases.iter().map(|(event, ..)| event).collect();
    let found = results(&program, SECRET, &json!(events));
    for ((event, result, reason), found) in cases.iter().zip(&found) {
        assert_eq!((found.0.as_str(), found.1.as_str()), (*result, *reason), "{event}");
    }
    assert_eq!(found.len(), cases.len());
    // The client's contract with the caller, where its settings say so; never against a denial.
    let of_calls = json!([{"event_id": "c1", "channel": "telephony"}, {"event_id": "c2", "channel": "web"}, {"event_id": "c3", "consent": "denied"}]);
    let found: Vec<String> = results(&program, "of-calls", &of_calls).into_iter().map(|(result, _)| result).collect();
    assert_eq!(found, ["stored", "refused", "refused"]);

    let lines = "{\"event_id\":\"l1\",\"consent\":\"granted\"}\n{\"event_id\":\"l2\"\n{\"event_id\":\"l1\",\"consent\":\"granted\"}\n";
    let (status, answer) = post(&program, SECRET, lines);
    let found: Vec<&str> = answer["results"].as_array().unwrap().iter().map(|result| result["result"].as_str().unwrap()).collect();
    assert_eq!((status, found), (200, vec!["stored", "refused", "duplicate"]));
    for (secret, body, status) in [("wrong", "{}", 401), ("", "{}", 401), (SECRET, "hello", 400)] {
        assert_eq!(post(&program, secret, body).0, status, "{secret} {body}");
    }
    assert_eq!(program.connect().call("GET", "/v1/interactions", &[], b"").status, 405);
    program.stop();

    let rows = home.query("select event_id, protocol, channel, visitor_id, visit_id, network, country, browser, is_bot, legal_basis, may_share, properties['outcome'] as outcome from interactions order by event_id");
    let row = |id: &str| rows.iter().find(|row| row["event_id"] == id).unwrap();
    assert!(row("one")["visitor_id"].is_string() && row("one")["visit_id"].is_string());
    assert_eq!(row("one")["visitor_id"], row("other-way")["visitor_id"], "one caller, written in two ways");
    assert!(row("nobody")["visitor_id"].is_null(), "an event that claims nothing is nobody's");
    for (id, column, expected) in [
        ("one", "protocol", json!("server")), ("one", "channel", json!("telephony")), ("one", "outcome", json!("answered")), ("one", "legal_basis", json!("consent")),
        ("one", "may_share", json!(true)), ("one", "is_bot", json!(false)), ("nobody", "channel", json!("server")), ("told", "country", json!("US")), ("told", "legal_basis", json!("opt-out-regime")),
        ("by-address", "network", json!("8.8.8.0/24")), ("c1", "legal_basis", json!("contract")), ("c1", "may_share", json!(false)),
    ] {
        assert_eq!(row(id)[column], expected, "{id} {column}");
    }
    assert!(rows.iter().all(|row| row["network"].is_null() || row["event_id"] == "by-address"), "a server's address is nobody's network");
    let digits: String = CALLER.chars().filter(char::is_ascii_digit).collect();
    for (path, bytes) in files_below(&home.data()) {
        for number in [CALLER, digits.as_str(), "90182055", SECRET] {
            assert!(!bytes.windows(number.len()).any(|window| window == number.as_bytes()), "{number} is in {}", path.display());
        }
    }
}
