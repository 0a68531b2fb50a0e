//! Proves absence: what tells of a person is sent in every field there is, and afterwards looked for in
//! every file, every line printed and every answer of the admin port.

use crate::program::{BEHIND_PROXY, Client, Home, Program, Settings, UNITED_STATES, eventually, files_below, sha256_hex};
use aho_corasick::AhoCorasick;
use serde_json::{Value, json};
use std::fs;
use std::path::Path;
use std::sync::LazyLock;

const ADDRESS: &str = "46.4.113.237";
const ADDRESS_6: &str = "2a01:4f8:c17:b0f:a1b2:c3d4:e5f6:789a";
const AGENT: &str = "Mozilla/5.0 (X11; Linux x86_64; zq7agentcanary) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/120.0.0.0 Safari/537.36";
const COOKIE: &str = "zq7cookiecanary4242";
const MAIL: &str = "zq7mailcanary@mail.example";
const CARD: &str = "4111111111111111";
const CARD_IN_GROUPS: &str = "4111 1111 1111 1111";

/// What must be found nowhere. Addresses also as the bytes they are.
fn canaries() -> Vec<(&'static str, Vec<u8>)> {
    let six: std::net::Ipv6Addr = ADDRESS_6.parse().unwrap();
    let four: std::net::Ipv4Addr = ADDRESS.parse().unwrap();
    let mut canaries: Vec<(&str, Vec<u8>)> = [ADDRESS, ADDRESS_6, "zq7agentcanary", COOKIE, "zq7mailcanary", CARD, CARD_IN_GROUPS, "4111-1111-1111-1111", "4111%201111"]
        .map(|text| (text, text.as_bytes().to_vec()))
        .into();
    canaries.push(("an IPv6 address as bytes", six.octets().to_vec()));
    canaries.push(("an IPv4 address as bytes", four.octets().to_vec()));
    canaries
}

fn assert_absent(place: &str, bytes: &[u8]) {
    static LOOKED_FOR: LazyLock<AhoCorasick> = LazyLock::new(|| {
        let canaries = canaries().into_iter().map(|(_, canary)| canary);
        AhoCorasick::builder().ascii_case_insensitive(true).build(canaries).unwrap()
    });
    if let Some(found) = LOOKED_FOR.find(bytes) {
        let around = &bytes[found.start().saturating_sub(80)..(found.end() + 80).min(bytes.len())];
        panic!("{} is in {place}: {:?}", canaries()[found.pattern().as_usize()].0, String::from_utf8_lossy(around));
    }
}

fn assert_absent_below(folder: &Path) {
    for (path, bytes) in files_below(folder) {
        assert_absent(&path.display().to_string(), path.display().to_string().as_bytes());
        assert_absent(&path.display().to_string(), &bytes);
    }
}

/// Percent-encoded, every byte of it.
fn encoded(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02X}")).collect()
}

/// Only what a URL must not hold as it stands.
fn escaped(text: &str) -> String {
    text.bytes().map(|byte| if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) { (byte as char).to_string() } else { format!("%{byte:02X}") }).collect()
}

/// The canaries as a field may hold them: bare, within words, and encoded once and twice.
fn carriers() -> Vec<String> {
    let mut carriers = Vec::new();
    for canary in [ADDRESS, ADDRESS_6, AGENT, COOKIE, MAIL, CARD, CARD_IN_GROUPS, "4111-1111-1111-1111"] {
        carriers.extend([canary.to_owned(), format!("see {canary}, please"), encoded(canary), escaped(canary), escaped(&escaped(canary)), format!("https://shop.example/{}?q={}#{}", escaped(canary), escaped(canary), escaped(canary))]);
    }
    carriers
}

const FIELDS: [&str; 20] = [
    "event", "event_id", "page_url", "referrer_url", "page_title", "language", "element", "target_url", "screen_width", "engaged_ms", "occurred_at",
    "consent", "gdpr_consent", "gpp", "gpp_sid", "us_privacy", "addtl_consent", "site", "anonymous", "unknown_field",
];
const SHORT: [&str; 9] = ["e", "id", "u", "r", "t", "l", "el", "to", "s"];

fn headers(address: &str) -> [(&str, String); 5] {
    [
        ("X-Forwarded-For", address.to_owned()),
        ("User-Agent", AGENT.to_owned()),
        ("Cookie", format!("session={COOKIE}; __Host-cp_other.acme={COOKIE}")),
        ("Referer", format!("https://{MAIL}/{}?card={CARD}&ip={ADDRESS}", escaped(MAIL))),
        ("Accept-Language", format!("{MAIL},{COOKIE}")),
    ]
}

/// The same through other makers' trackers and a client's server: as names of devices, persons and callers, and
/// in all that they say.
fn send_foreign(client: &mut Client, headers: &[(&str, &str)], carrier: &str) -> u64 {
    let text = escaped(carrier);
    let said = |names: &[&str]| names.iter().map(|name| format!("{name}={text}")).collect::<Vec<_>>().join("&");
    let snowplow = said(&["duid", "uid", "nuid", "tnuid", "sid", "ip", "ua", "url", "page", "refr", "lang", "se_ca", "se_ac", "se_la", "se_pr", "eid"]);
    let matomo = said(&["_id", "uid", "cid", "cip", "ua", "url", "action_name", "urlref", "lang", "e_c", "e_a", "e_n", "dimension1", "token_auth"]);
    let variables = escaped(&json!({"1": ["plan", carrier], "2": [carrier, "value"]}).to_string());
    for path in [format!("/i?e=se&aid=acme&consent=granted&{snowplow}"), format!("/matomo.php?idsite=acme&rec=1&consent=granted&{matomo}&_cvar={variables}")] {
        assert_eq!(client.get(&path, headers).status, 200);
    }
    let entity = |name: &str, data: Value| json!({"schema": format!("iglu:com.acme/{name}/jsonschema/1-0-0"), "data": data});
    let entities = json!({"data": [entity("thing", json!({"plan": carrier, (carrier): {"inner": [carrier]}})), entity("client_session", json!({"userId": carrier}))]});
    let event = json!({"data": entity("bought", json!({"plan": carrier, (carrier): carrier}))});
    let tp2 = json!({"data": [{"e": "ue", "aid": "acme", "consent": "granted", "duid": carrier, "uid": carrier, "ua": carrier, "url": carrier, "page": carrier, "co": entities.to_string(), "ue_pr": event.to_string()}]});
    let context = json!({"ip": carrier, "userAgent": carrier, "locale": carrier, "traits": {"email": carrier}, "page": {"title": carrier, "referrer": carrier, "url": carrier}, "campaign": {"name": carrier}, "consent": {"categoryPreferences": {"Analytics": true}}});
    let segment = json!({"writeKey": "acme", "event": carrier, "messageId": carrier, "anonymousId": carrier, "userId": carrier, "traits": {"name": carrier, (carrier): carrier}, "properties": {"plan": carrier, (carrier): carrier, "list": [{"of": carrier}]}, "context": context});
    let server = json!({"event": "call", "channel": "telephony", "consent": "granted", "caller": carrier, "visitor": carrier, "user_id": carrier, "user_agent": carrier});
    for (path, body, status) in [("/com.snowplowanalytics.snowplow/tp2", &tp2, 200), ("/v1/track", &segment, 200), ("/v1/page", &segment, 200), ("/v1/identify", &segment, 200), ("/v1/interactions", &server, 200)] {
        let mut all = headers.to_vec();
        all.extend((path == "/v1/interactions").then_some(("Authorization", "Bearer of-canaries")));
        let answer = client.call("POST", path, &all, body.to_string().as_bytes());
        assert_eq!(answer.status, status, "{path}");
        assert_absent(path, &answer.body);
    }
    7
}

fn send_all(program: &Program) -> u64 {
    let mut client = program.connect();
    let mut sent = 0;
    for address in [ADDRESS, ADDRESS_6, UNITED_STATES] {
        let headers = headers(address);
        let headers: Vec<(&str, &str)> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
        for carrier in carriers() {
            let mut events = Vec::new();
            for field in FIELDS {
                let mut event = json!({"site": "acme", "consent": "granted", "page_url": "https://shop.example/plain"});
                event[field] = Value::from(carrier.as_str());
                events.push(event);
            }
            events.push(json!({"site": "acme", "consent": "granted", "properties": {"plan": carrier, (carrier.as_str()): "value"}}));
            events.push(json!({"site": "acme", "consent": "granted", "properties": {(format!("a key of {carrier}")): carrier}}));
            let utm = ["source", "medium", "campaign", "term", "content"].map(|key| format!("utm_{key}={}", escaped(&carrier))).join("&");
            let user = escaped(&carrier);
            for url in [format!("https://shop.example/landing?{utm}"), format!("https://{user}@shop.example/{user}/{user}?{user}={user}&{utm}#{user}"), format!("https://{carrier}/"), carrier.clone()] {
                events.push(json!({"site": "acme", "consent": "granted", "page_url": url, "referrer_url": url, "target_url": url}));
            }
            sent += events.len() as u64;
            let answer = client.call("POST", "/e", &headers, serde_json::to_string(&events).unwrap().as_bytes());
            assert_eq!(answer.status, 204);
            let mut queries: Vec<String> = SHORT.iter().map(|name| format!("s=acme&consent=granted&{name}={}", escaped(&carrier))).collect();
            queries.push(format!("s=acme&consent=granted&p.plan={0}&p.{0}=1&{0}={0}", escaped(&carrier)));
            queries.push(format!("s={}", escaped(&carrier)));
            for query in queries {
                assert_eq!(client.get(&format!("/p.gif?{query}"), &headers).status, 200);
                sent += 1;
            }
            sent += send_foreign(&mut client, &headers, &carrier);
        }
        // Bodies and paths that are none.
        assert_eq!(client.call("POST", "/e", &headers, format!("{{\"{MAIL}\": {CARD}").as_bytes()).status, 400);
        assert_eq!(client.get(&format!("/{}/{CARD}?{COOKIE}", escaped(MAIL)), &headers).status, 404);
        assert_eq!(client.get(&format!("/choices?s={}", escaped(MAIL)), &headers).status, 404);
        client.get("/optout?s=acme", &headers);
        client.get("/choices?s=acme", &headers);
    }
    sent
}

#[test]
fn what_tells_of_a_person_is_nowhere() {
    let sites = format!("[[site]]\nkey = \"acme\"\nname = \"Acme\"\nsecret_sha256 = \"{}\"\n", sha256_hex("of-canaries"));
    let home = Home::new(Settings { door: BEHIND_PROXY, flush_after: "1h", sites: &sites, ..Settings::default() });
    let program = home.start();
    let sent = send_all(&program);
    let ledgers = eventually("a ledger of all", || {
        let ledgers = [program.ledger("acme"), program.ledger("-")];
        let received: u64 = ledgers.iter().map(|ledger| ledger["received"].as_u64().unwrap()).sum();
        // And three bodies that were none.
        if received == sent + 3 { Ok(ledgers) } else { Err(format!("{received} of {}", sent + 3)) }
    });
    let stored = ledgers[0]["stored"].as_u64().unwrap();
    assert!(stored * 2 > sent, "only {stored} of {sent} were kept: little is proven");
    // All of it is in the journal, none of it in the lake.
    assert_absent_below(&home.data());
    let show = |program: &Program| {
        let mut paths: Vec<String> = vec!["/metrics".to_owned(), "/?site=acme".to_owned(), "/readyz".to_owned(), "/v1/sites/acme/ledger".to_owned(), "/v1/sites/-/ledger".to_owned()];
        for dimension in ["all", "event", "page", "entry_page", "referrer", "source", "campaign", "country", "browser", "os", "device", "language", "target", "element", "outcome"] {
            paths.push(format!("/v1/sites/acme/trends?dimension={dimension}"));
        }
        for path in paths {
            let answer = program.connect_admin().get(&path, &[]);
            assert_eq!(answer.status, 200, "{path}");
            assert_absent(&path, &answer.body);
        }
        let mut live = program.connect_admin();
        live.send("GET", "/v1/sites/acme/live", &[], b"").unwrap();
        let board = std::iter::repeat_with(|| live.read_line()).find(|line| line.starts_with("data: ")).unwrap();
        assert_absent("the live board", board.as_bytes());
    };
    show(&program);
    assert_absent("what the program printed", program.stop().as_bytes());
    assert_eq!(home.rows(), stored);

    let log = home.file("access.log");
    let time = "22/Nov/2026:10:00:00 +0000";
    let mut lines = String::new();
    // Nobody can tell that a word of a log's line was once a cookie.
    let carriers: Vec<String> = carriers().into_iter().filter(|carrier| !carrier.contains(COOKIE) && !carrier.contains(&encoded(COOKIE))).collect();
    for carrier in &carriers {
        let target = escaped(carrier);
        for address in [ADDRESS, ADDRESS_6, UNITED_STATES] {
            lines.push_str(&format!("{address} - {target} [{time}] \"GET /{target}?q={target}&utm_source={target} HTTP/1.1\" 200 1 \"https://shop.example/{target}\" \"{AGENT}\"\n"));
        }
        lines.push_str(&format!("{carrier} is no line \"{carrier}\n"));
        lines.push_str(&format!("{UNITED_STATES} - - [{carrier}] \"GET /{target} HTTP/1.1\" 200 1 \"-\" \"{AGENT}\"\n"));
    }
    fs::write(&log, &lines).unwrap();
    let events = home.file("events.ndjson");
    let mut lines = String::new();
    for carrier in &carriers {
        for field in FIELDS {
            let mut event = json!({"address": UNITED_STATES, "user_agent": AGENT});
            event[field] = Value::from(carrier.as_str());
            lines.push_str(&format!("{event}\n"));
        }
        lines.push_str(&format!("{}\n", json!({"address": carrier, "user_agent": AGENT, "channel": carrier, "properties": {(carrier.as_str()): carrier}})));
        lines.push_str(&format!("{{\"{carrier}\": {carrier}\n"));
    }
    fs::write(&events, &lines).unwrap();
    for (format, file) in [("combined", &log), ("ndjson", &events)] {
        let output = home.run_here(&["import", "--site", "acme", "--format", format, file.to_str().unwrap()]);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        assert_absent("what the import printed", &output.stdout);
        assert_absent("what the import printed", &output.stderr);
    }
    assert!(home.rows() > stored, "nothing was imported");

    assert_absent_below(&home.data());
    for table in ["interactions", "trends", "visits"] {
        for row in home.query(&format!("select * from {table}")) {
            assert_absent(table, row.to_string().as_bytes());
            // Nor encoded: as whoever opens a link would read it.
            let mut decoded = row.to_string();
            for _ in 0..2 {
                decoded = percent_encoding::percent_decode_str(&decoded).decode_utf8_lossy().into_owned();
                assert_absent(&format!("{table}, decoded: {row}"), decoded.as_bytes());
            }
        }
    }
    let again = home.start();
    show(&again);
    assert_absent("what the program printed", again.stop().as_bytes());
}
