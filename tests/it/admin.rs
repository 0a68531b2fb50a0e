//! Holds the admin port: who may see what, and that what it shows is right and harmless.

use crate::program::{BEHIND_PROXY, Home, Settings, UNITED_STATES, eventually, sha256_hex};
use serde_json::Value;

const SITES: &str = "[[site]]\nkey = \"acme\"\n[[site]]\nkey = \"other\"\n";

#[test]
fn without_a_token_loopback_names_alone_are_answered() {
    let home = Home::new(Settings { sites: SITES, ..Settings::default() });
    let program = home.start();
    let status = |path: &str, host: &str| program.connect_admin().get(path, &[("Host", host)]).status;
    for path in ["/", "/metrics", "/v1/sites/acme/ledger", "/v1/sites/acme/trends", "/v1/sites/-/ledger"] {
        for host in ["localhost", "localhost:8081", "127.0.0.1:8081", "[::1]:8081"] {
            assert_eq!(status(path, host), 200, "{path} at {host}");
        }
        // A page elsewhere that had its own name point to this machine.
        for host in ["rebound.example", "rebound.example:8081", "localhost.rebound.example", "127.0.0.1.rebound.example", ""] {
            assert_eq!(status(path, host), 401, "{path} at {host}");
        }
    }
    for path in ["/healthz", "/readyz"] {
        assert_eq!(status(path, "anything.example"), 200, "{path}");
    }
    assert_eq!(status("/v1/sites/nobody/ledger", "localhost"), 404);
    assert_eq!(status("/v1/sites/acme/nothing", "localhost"), 404);
    assert_eq!(status("/v1/sites/acme/ledger?from=yesterday", "localhost"), 400);
    assert_eq!(status("/v1/sites/acme/trends?dimension=person", "localhost"), 400);
    assert_eq!(program.connect_admin().call("DELETE", "/metrics", &[], b"").status, 405);
    program.stop();
}

#[test]
fn a_token_opens_all_and_a_secret_its_own_site() {
    let (token, secret) = ("the operator's token", "acme's own secret");
    let door = format!("admin_token_sha256 = \"{}\"\n", sha256_hex(token));
    let sites = format!("[[site]]\nkey = \"acme\"\nsecret_sha256 = \"{}\"\n[[site]]\nkey = \"other\"\nsecret_sha256 = \"{}\"\n", sha256_hex(secret), sha256_hex("another"));
    let home = Home::new(Settings { door: &door, sites: &sites, ..Settings::default() });
    let program = home.start();
    let status = |path: &str, bearer: Option<&str>| {
        let authorization = bearer.map(|bearer| format!("Bearer {bearer}"));
        let headers: Vec<_> = authorization.iter().map(|value| ("Authorization", value.as_str())).collect();
        program.connect_admin().get(path, &headers).status
    };
    let own = ["/v1/sites/acme/ledger", "/v1/sites/acme/trends"];
    for path in ["/", "/metrics", "/v1/sites/-/ledger", "/v1/sites/other/ledger", "/v1/sites/other/trends"].into_iter().chain(own) {
        assert_eq!(status(path, None), 401, "{path}");
        assert_eq!(status(path, Some("a guess")), 401, "{path}");
        assert_eq!(status(path, Some("")), 401, "{path}");
        assert_eq!(status(path, Some(token)), 200, "{path}");
        assert_eq!(status(path, Some(secret)), if own.contains(&path) { 200 } else { 401 }, "{path}");
    }
    assert_eq!((status("/healthz", None), status("/readyz", None)), (200, 200));

    let mut client = program.connect_admin();
    let form = |token: &str| format!("token={}", token.replace(' ', "+").replace('\'', "%27"));
    assert_eq!(client.call("POST", "/login", &[], form("a guess").as_bytes()).status, 401);
    let entered = client.call("POST", "/login", &[], form(token).as_bytes());
    assert_eq!(entered.status, 303);
    let cookie = entered.header("set-cookie").unwrap();
    assert!(cookie.contains("HttpOnly") && cookie.contains("SameSite=Strict"), "{cookie}");
    let cookie = cookie.split(';').next().unwrap();
    assert!(!cookie.contains("token") && !cookie.contains(&sha256_hex(token)));
    assert_eq!(client.get("/", &[("Cookie", cookie)]).status, 200);
    assert_eq!(client.get("/", &[("Cookie", &format!("{cookie}0"))]).status, 401);
    program.stop();
}

#[test]
fn what_it_shows_is_right_and_harmless() {
    let home = Home::new(Settings { door: BEHIND_PROXY, sites: SITES, ..Settings::default() });
    let program = home.start();
    let mut live = program.connect_admin();
    live.send("GET", "/v1/sites/acme/live", &[], b"").unwrap();
    let mut client = program.connect();
    for number in 0..7 {
        client.pixel_from(UNITED_STATES, &format!("s=acme&id={number}&u=https%3A%2F%2Fshop.example%2F%3Cscript%3Ealert(1)%3C%2Fscript%3E&r=https%3A%2F%2Fwww.google.com%2F%3Fq%3Dx&t=for+jane%40example.org"));
    }
    client.pixel_from(UNITED_STATES, "s=acme&child=1");
    home.await_rows(7);

    let head: Vec<String> = std::iter::repeat_with(|| live.read_line()).take_while(|line| line != "\r\n").collect();
    assert!(head[0].starts_with("HTTP/1.1 200") && head.iter().any(|line| line.trim() == "content-type: text/event-stream"), "{head:?}");
    let board = eventually("a live board of seven", || {
        let line = live.read_line();
        let Some(data) = line.strip_prefix("data: ") else { return Err(line) };
        let board: Value = serde_json::from_str(data).unwrap();
        if board["interactions"] == 7 { Ok(board) } else { Err(line) }
    });
    assert_eq!(board["page_views"], 7, "{board}");

    let trends = program.admin_json("/v1/sites/acme/trends");
    let sum = |trends: &Value, column: &str| -> i64 { trends["rows"].as_array().unwrap().iter().map(|row| row[column].as_i64().unwrap()).sum() };
    assert_eq!((sum(&trends, "interactions"), sum(&trends, "page_views")), (7, 7), "{trends}");
    let sources = program.admin_json("/v1/sites/acme/trends?dimension=source&interval=day");
    assert!(sources["rows"].as_array().unwrap().iter().any(|row| row["value"].as_str().unwrap().contains("Google")), "{sources}");
    let countries = program.admin_json("/v1/sites/acme/trends?dimension=country&from=2020-01-01T00:00:00Z&to=2099-01-01T00:00:00Z");
    assert_eq!((sum(&countries, "interactions"), &countries["rows"][0]["value"]), (7, &Value::from("US")));
    assert_eq!(sum(&program.admin_json("/v1/sites/other/trends"), "interactions"), 0);

    let dashboard = program.connect_admin().get("/?site=acme", &[]);
    let html = dashboard.text();
    assert!(dashboard.header("content-security-policy").unwrap().contains("default-src 'none'"));
    assert!(html.contains('7') && html.contains("child"), "{html}");
    assert!(!html.contains("<script>alert"), "a page's path is shown unescaped");
    assert!(html.contains("alert(1)"), "the page is shown: {html}");

    let metrics = program.connect_admin().get("/metrics", &[]).text();
    let mut names = Vec::new();
    for line in metrics.lines().filter(|line| !line.starts_with('#')) {
        let (name, value) = line.rsplit_once(' ').unwrap();
        assert!(value.parse::<f64>().is_ok(), "{line}");
        assert!(name.starts_with("clearpixel_"), "{line}");
        names.push(name.split('{').next().unwrap());
    }
    for line in metrics.lines().filter_map(|line| line.strip_prefix("# TYPE ")) {
        let (name, kind) = line.split_once(' ').unwrap();
        assert!(names.contains(&name), "{name} is described and not given");
        assert_eq!(kind == "counter", name.ends_with("_total"), "{line}");
    }
    assert!(metrics.contains("clearpixel_hits_total{site=\"acme\",outcome=\"stored\"} 7"), "{metrics}");
    assert!(metrics.contains("clearpixel_hits_total{site=\"acme\",outcome=\"child\"} 1"), "{metrics}");
    assert!(metrics.contains("clearpixel_scrubbed_values_total{site=\"acme\",kind=\"email\"} 7"), "{metrics}");
    assert!(metrics.contains("clearpixel_scrubbed_values_total{site=\"acme\",kind=\"query\"} 7"), "{metrics}");
    assert_eq!(program.admin_json("/readyz")["ready"], true);
    program.stop();
}
