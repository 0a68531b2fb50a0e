//! Holds the calls of other makers' trackers: their rows, their statuses, and the same gate.

use crate::program::{Answer, BEHIND_PROXY, FRANCE, Home, Program, Settings, UNITED_STATES, sha256_hex};
use serde_json::{Value, json};

const ORIGIN: (&str, &str) = ("Origin", "https://shop.example");
const TP2: &str = "/com.snowplowanalytics.snowplow/tp2";
const SECRET: &str = "of-acme";

fn home() -> Home {
    let sites = format!("[[site]]\nkey = \"acme\"\naliases = [\"1\", \"wk_Acme\", \"acme-app\"]\nsecret_sha256 = \"{}\"\n", sha256_hex(SECRET));
    Home::new(Settings { door: BEHIND_PROXY, sites: &sites, ..Settings::default() })
}

fn call(program: &Program, method: &str, path: &str, from: &str, headers: &[(&str, &str)], body: &str) -> Answer {
    let mut all = vec![ORIGIN, ("X-Forwarded-For", from)];
    all.extend(headers);
    program.connect().call(method, path, &all, body.as_bytes())
}

fn tp2(events: &Value) -> String {
    json!({"schema": "iglu:com.snowplowanalytics.snowplow/payload_data/jsonschema/1-0-4", "data": events}).to_string()
}

#[test]
fn snowplow() {
    let home = home();
    let program = home.start();
    let pixel = |from: &str, query: &str, headers: &[(&str, &str)]| call(&program, "GET", &format!("/i?aid=acme-app&e=pv&{query}"), from, headers, "");
    let stored = pixel(UNITED_STATES, "eid=p1&p=web&duid=d1&url=https%3A%2F%2Fshop.example%2Fx", &[]);
    assert_eq!((stored.status, stored.body.len(), stored.header("content-type")), (200, 43, Some("image/gif")));
    assert_eq!((stored.header("access-control-allow-origin"), stored.header("access-control-allow-credentials")), (Some("https://shop.example"), Some("true")));
    assert!(stored.header("set-cookie").is_none(), "the tracker has a name for the visitor: none of ours is set");
    for (from, query, headers) in [
        (UNITED_STATES, "eid=p1", &[][..]),
        (FRANCE, "eid=silent", &[]),
        (FRANCE, "eid=granted&duid=d1&consent=granted", &[]),
        (UNITED_STATES, "eid=out", &[("Cookie", "__Host-cp_optout=1")]),
        (UNITED_STATES, "eid=anon&duid=d1&p=srv", &[("SP-Anonymous", "*")]),
    ] {
        assert_eq!(pixel(from, query, headers).without_cookies_and_date(), stored.without_cookies_and_date(), "{query}");
    }
    let post = |body: &str| call(&program, "POST", TP2, UNITED_STATES, &[("Content-Type", "application/json; charset=UTF-8")], body);
    let event = |more: Value| {
        let mut event = json!({"aid": "acme", "p": "web", "duid": "d1", "url": "https://shop.example/x"});
        event.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        event
    };
    let outer = json!({"schema": "iglu:com.snowplowanalytics.snowplow/unstruct_event/jsonschema/1-0-0", "data": {"schema": "iglu:com.acme/purchase/jsonschema/1-0-0", "data": {"plan": "gold"}}});
    let answer = post(&tp2(&json!([
        event(json!({"e": "pp", "eid": "t1", "pp_may": "500", "ds": "900x2000", "vp": "900x500"})),
        event(json!({"e": "se", "eid": "t2", "se_ca": "shop", "se_ac": "add"})),
        event(json!({"e": "ue", "eid": "t3", "ue_pr": outer.to_string()})),
        event(json!({"e": "what", "eid": "t4"})),
        7,
    ])));
    assert_eq!((answer.status, answer.text().as_str()), (200, "ok"));
    // What cannot come better is dropped by the trackers: 400 and 422 alone are.
    let many: Vec<Value> = (0..501).map(|_| json!({"e": "pv"})).collect();
    for (body, status) in [("hello".to_owned(), 400), ("{}".to_owned(), 400), (tp2(&json!(many)), 422), (" ".repeat((1 << 20) + 1), 422)] {
        assert_eq!(post(&body).status, status);
    }
    let preflight = call(&program, "OPTIONS", TP2, UNITED_STATES, &[("Access-Control-Request-Headers", "content-type,sp-anonymous")], "");
    assert_eq!((preflight.status, preflight.header("access-control-allow-origin")), (204, Some("https://shop.example")));
    assert!(preflight.header("access-control-allow-headers").unwrap().contains("sp-anonymous"));
    assert_eq!(call(&program, "GET", TP2, UNITED_STATES, &[], "").status, 405);
    program.stop();
    let rows = home.query("select event_id, event, protocol, channel, visitor_id, page_path, engaged_ms, scroll_percent, properties['plan'] as plan from interactions order by event_id");
    let ids: Vec<&str> = rows.iter().map(|row| row["event_id"].as_str().unwrap()).collect();
    assert_eq!(ids, ["anon", "granted", "p1", "t1", "t2", "t3"]);
    assert!(rows.iter().all(|row| row["protocol"] == "snowplow"));
    assert!(rows[0]["visitor_id"].is_null() && rows[0]["channel"] == "server");
    assert!(rows[1..].iter().all(|row| row["visitor_id"].is_string() && row["visitor_id"] == rows[1]["visitor_id"]));
    assert_eq!((&rows[3]["event"], &rows[3]["engaged_ms"], &rows[3]["scroll_percent"]), (&json!("engagement"), &json!(10_000), &json!(50)));
    assert_eq!((&rows[4]["event"], &rows[5]["event"], &rows[5]["plan"]), (&json!("add"), &json!("purchase"), &json!("gold")));
}

#[test]
fn segment() {
    let home = home();
    let program = home.start();
    // `wk_Acme:` in base64.
    let basic = ("Authorization", "Basic d2tfQWNtZTo=");
    let post = |path: &str, from: &str, headers: &[(&str, &str)], body: &Value| call(&program, "POST", path, from, headers, &body.to_string());
    let event = |id: &str, more: Value| {
        let mut event = json!({"messageId": id, "anonymousId": "a1", "context": {"page": {"url": "https://shop.example/x"}}});
        event.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        event
    };
    for (path, body) in [("/v1/t", event("t", json!({"event": "Order Completed", "properties": {"total": 5}}))), ("/v1/page", event("p", json!({"name": "Home"}))), ("/v1/i", event("i", json!({"userId": "u1", "traits": {"plan": "zq7trait"}})))] {
        let answer = post(path, UNITED_STATES, &[basic], &body);
        assert_eq!((answer.status, answer.text().as_str()), (200, "{\"success\":true}"), "{path}");
        assert!(answer.header("set-cookie").is_none());
    }
    let shared = json!({"writeKey": "wk_Acme", "context": {"consent": {"categoryPreferences": {"Analytics": true}}}, "batch": [
        event("b1", json!({"type": "track", "event": "kept", "context": {"library": {"name": "@segment/analytics-node"}}})),
        event("b2", json!({"type": "track", "event": "refused", "context": {"consent": {"categoryPreferences": {"Analytics": false}}}})),
        event("b3", json!({"type": "what"})),
        "no object",
    ]});
    assert_eq!(post("/v1/batch", FRANCE, &[], &shared).status, 200);
    // RudderStack's beacon, whose key stands in the query.
    let beacon = json!({"batch": [event("beacon", json!({"type": "page"}))]});
    assert_eq!(post("/beacon/v1/batch?writeKey=wk_Acme", UNITED_STATES, &[("Content-Type", "text/plain")], &beacon).status, 200);
    assert_eq!(post("/v1/p", FRANCE, &[basic], &event("silent", json!({}))).status, 200);
    assert_eq!(post("/v1/p", UNITED_STATES, &[], &event("nobody", json!({"writeKey": "other"}))).status, 200);
    for (path, body, status) in [("/v1/b", json!({}), 400), ("/v1/t", json!([]), 400), ("/v1/b", json!({"batch": vec![json!({}); 501]}), 413)] {
        assert_eq!(post(path, UNITED_STATES, &[basic], &body).status, status, "{path}");
    }
    assert_eq!(call(&program, "GET", "/v1/t", UNITED_STATES, &[], "").status, 405);
    assert_eq!(call(&program, "POST", "/v1/x", UNITED_STATES, &[], "{}").status, 404);
    program.stop();
    let rows = home.query("select event_id, event, channel, visitor_id, properties['total'] as total, properties['plan'] as plan from interactions order by event_id");
    let seen: Vec<(&str, &str, &str)> = rows.iter().map(|row| (row["event_id"].as_str().unwrap(), row["event"].as_str().unwrap(), row["channel"].as_str().unwrap())).collect();
    assert_eq!(seen, [("b1", "kept", "server"), ("beacon", "page_view", "web"), ("i", "identify", "web"), ("p", "page_view", "web"), ("t", "Order Completed", "web")]);
    assert!(rows.iter().all(|row| row["visitor_id"].is_string() && row["visitor_id"] == rows[0]["visitor_id"] && row["plan"].is_null()));
    assert_eq!(rows[4]["total"], "5");
}

#[test]
fn matomo() {
    let home = home();
    let program = home.start();
    let get = |from: &str, query: &str| call(&program, "GET", &format!("/matomo.php?idsite=1&rec=1&_id=0123456789abcdef&url=https%3A%2F%2Fshop.example%2Fx&{query}"), from, &[], "");
    let view = get(UNITED_STATES, "action_name=view");
    assert_eq!((view.status, view.body.len()), (200, 43));
    assert_eq!(get(FRANCE, "action_name=silent").without_cookies_and_date(), view.without_cookies_and_date());
    let plain = get(FRANCE, "action_name=granted&consent=granted&send_image=0");
    assert_eq!((plain.status, plain.body.len(), plain.header("content-type")), (204, 0, None));
    // An address and a time are the secret's alone to tell.
    get(FRANCE, "action_name=claims&cip=8.8.8.8&cdt=1700000000");
    get(FRANCE, "action_name=wrong&cip=8.8.8.8&token_auth=wrong");
    get(FRANCE, &format!("action_name=proven&cip=8.8.8.8&token_auth={SECRET}"));
    let form = call(&program, "POST", "/matomo.php", UNITED_STATES, &[("Content-Type", "application/x-www-form-urlencoded")], "idsite=1&rec=1&action_name=form&e_c=shop&e_a=add");
    assert_eq!(form.status, 200);
    let bulk = json!({"requests": ["?idsite=1&rec=1&action_name=bulk&ping=1", "?idsite=nobody&rec=1", 7], "token_auth": SECRET}).to_string();
    let bulk = call(&program, "POST", "/matomo.php", UNITED_STATES, &[], &bulk);
    assert_eq!((bulk.status, bulk.text().as_str()), (200, "{\"status\":\"success\",\"tracked\":3,\"invalid\":0}"));
    assert_eq!(call(&program, "POST", "/matomo.php", UNITED_STATES, &[], "{").status, 400);
    // What its pages load, and its older names.
    for path in ["/matomo.js", "/piwik.js"] {
        let script = call(&program, "GET", path, UNITED_STATES, &[], "");
        assert_eq!((script.status, script.header("content-type"), script.header("set-cookie")), (200, Some("text/javascript; charset=utf-8"), None));
        assert!(script.text().contains("_paq"), "{path}");
    }
    assert_eq!(call(&program, "POST", "/matomo.js", UNITED_STATES, &[], "").status, 405);
    call(&program, "GET", "/piwik.php?idsite=1&rec=1&action_name=older&consent=1", FRANCE, &[], "");
    // Whoever knows the site by that name opts out by it.
    let out = call(&program, "POST", "/optout?s=1", UNITED_STATES, &[], "");
    assert!(out.status == 204 && out.cookies("__Host-cp_optout.acme").len() == 2, "{out:?}");
    assert!(call(&program, "GET", "/choices?s=wk_Acme", UNITED_STATES, &[], "").text().contains("name=s value=\"acme\""));
    program.stop();
    let rows = home.query("select page_title, event, protocol, network, engaged_ms from interactions order by page_title");
    let seen: Vec<(&str, &str)> = rows.iter().map(|row| (row["page_title"].as_str().unwrap(), row["event"].as_str().unwrap())).collect();
    assert_eq!(seen, [("bulk", "engagement"), ("form", "add"), ("granted", "page_view"), ("older", "page_view"), ("proven", "page_view"), ("view", "page_view")]);
    assert!(rows.iter().all(|row| row["protocol"] == "matomo"));
    assert_eq!((&rows[4]["network"], &rows[0]["engaged_ms"]), (&json!("8.8.8.0/24"), &json!(15_000)));
}
