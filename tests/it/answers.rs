//! Holds the public port's answers to the contract, byte for byte.

use crate::program::{Answer, BEHIND_PROXY, Client, FRANCE, Home, Settings, UNITED_STATES};
use std::io::Write;

const GIF: &[u8] = b"GIF89a\x01\0\x01\0\x80\0\0\xff\xff\xff\0\0\0\x21\xf9\x04\x01\0\0\0\0\x2c\0\0\0\0\x01\0\x01\0\0\x02\x02\x44\x01\0\x3b";

fn home() -> Home {
    Home::new(Settings { door: BEHIND_PROXY, ..Settings::default() })
}

#[test]
fn a_pixel_s_answer_tells_nothing() {
    let home = home();
    let program = home.start();
    let mut client = program.connect();
    let stored = client.pixel_from(UNITED_STATES, "s=acme&id=first");
    assert_eq!((stored.status, stored.body.as_slice(), stored.body.len()), (200, GIF, 43));
    let mut plain = stored.without_cookies_and_date().1;
    plain.sort();
    let expected = [
        ("cache-control", "no-store, no-cache, must-revalidate, private"),
        ("content-length", "43"),
        ("content-type", "image/gif"),
        ("cross-origin-resource-policy", "cross-origin"),
        ("x-content-type-options", "nosniff"),
    ];
    assert_eq!(plain, expected.map(|(name, value)| (name.to_owned(), value.to_owned())));

    let opted_out = ("Cookie", "__Host-cp_optout=1");
    let cases: [(&str, &str, Vec<(&str, &str)>); 9] = [
        ("a repeat", "s=acme&id=first", vec![("X-Forwarded-For", UNITED_STATES)]),
        ("no consent", "s=acme", vec![("X-Forwarded-For", FRANCE)]),
        ("nowhere", "s=acme", vec![]),
        ("opted out", "s=acme", vec![("X-Forwarded-For", UNITED_STATES), opted_out]),
        ("a child", "s=acme&child=1", vec![("X-Forwarded-For", UNITED_STATES)]),
        ("unknown site", "s=nobody", vec![("X-Forwarded-For", UNITED_STATES)]),
        ("no site", "", vec![]),
        ("bad request", "s=acme&sw=wide", vec![("X-Forwarded-For", UNITED_STATES)]),
        ("stored with an id", "s=acme&id=second&consent=granted", vec![("X-Forwarded-For", FRANCE)]),
    ];
    for (name, query, headers) in &cases {
        let answer = client.get(&format!("/p.gif?{query}"), headers);
        assert_eq!(answer.without_cookies_and_date(), stored.without_cookies_and_date(), "{name}");
    }

    let head = client.call("HEAD", "/p.gif?s=acme", &[], b"");
    assert_eq!(head.status, 200);
    assert_eq!(head.without_cookies_and_date().1, stored.without_cookies_and_date().1);
    // Nothing of a body followed: the connection still speaks HTTP.
    assert_eq!(client.get("/p.gif", &[]).status, 200);
    program.stop();
}

const ORIGIN: (&str, &str) = ("Origin", "https://shop.example");

fn post(client: &mut Client, headers: &[(&str, &str)], body: &[u8]) -> Answer {
    let mut all = vec![ORIGIN, ("X-Forwarded-For", UNITED_STATES), ("Content-Type", "text/plain")];
    all.extend(headers);
    client.call("POST", "/e", &all, body)
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// A brotli stream of one uncompressed meta-block (RFC 7932 §9.2) and the empty last one.
fn brotli(bytes: &[u8]) -> Vec<u8> {
    assert!(bytes.len() <= 1 << 16);
    let head = u32::try_from(bytes.len() - 1).unwrap() << 4 | 1 << 20;
    [&head.to_le_bytes()[..3], bytes, &[0x03]].concat()
}

#[test]
fn events_are_taken_in_every_form_and_within_limits() {
    let home = home();
    let program = home.start();
    let mut client = program.connect();
    let event = |id: &str| format!("{{\"site\":\"acme\",\"event_id\":\"{id}\",\"event\":\"click\"}}");

    let plain = post(&mut client, &[], event("plain").as_bytes());
    assert_eq!((plain.status, plain.body.len()), (204, 0));
    assert_eq!(plain.header("access-control-allow-origin"), Some("https://shop.example"));
    assert_eq!(plain.header("access-control-allow-credentials"), Some("true"));
    assert!(plain.header("vary").unwrap().to_ascii_lowercase().contains("origin"));

    for (encoding, packed) in [
        ("identity", event("identity").into_bytes()),
        ("gzip", gzip(event("gzip").as_bytes())),
        ("br", brotli(event("br").as_bytes())),
        ("zstd", zstd::encode_all(event("zstd").as_bytes(), 1).unwrap()),
    ] {
        let answer = post(&mut client, &[("Content-Encoding", encoding)], &packed);
        assert_eq!(answer.without_cookies_and_date(), plain.without_cookies_and_date(), "{encoding}");
    }
    // Refused, a repeat, for an unknown site, from another origin, one event that is none: the same bytes.
    for body in [
        event("plain"),
        event("other").replace("acme", "nobody"),
        event("child").replace("}", ",\"child\":1}"),
        event("wide").replace("}", ",\"screen_width\":\"wide\"}"),
        format!("[{},7]", event("beside-a-number")),
        "[]".to_owned(),
    ] {
        let answer = post(&mut client, &[], body.as_bytes());
        assert_eq!(answer.without_cookies_and_date(), plain.without_cookies_and_date(), "{body}");
    }
    let batch: Vec<String> = (0..500).map(|n| event(&format!("batch-{n}"))).collect();
    assert_eq!(post(&mut client, &[], format!("[{}]", batch.join(",")).as_bytes()).status, 204);

    let too_many = format!("[{},{}]", batch.join(","), event("one-more"));
    let bomb = gzip(&vec![b' '; 64 << 20]);
    assert!(bomb.len() < 1 << 20);
    let cases: [(&str, u16, &[(&str, &str)], Vec<u8>); 10] = [
        ("no JSON", 400, &[], b"hello".to_vec()),
        ("empty", 400, &[], Vec::new()),
        ("a number", 400, &[], b"7".to_vec()),
        ("not packed", 400, &[("Content-Encoding", "gzip")], event("x").into_bytes()),
        ("501 events", 413, &[], too_many.into_bytes()),
        ("more than 1 MiB", 413, &[], vec![b' '; (1 << 20) + 1]),
        ("a gzip bomb", 413, &[("Content-Encoding", "gzip")], bomb),
        ("a zstd bomb", 413, &[("Content-Encoding", "zstd")], zstd::encode_all(&vec![b' '; 64 << 20][..], 1).unwrap()),
        ("unknown encoding", 415, &[("Content-Encoding", "compress")], event("y").into_bytes()),
        ("two encodings", 415, &[("Content-Encoding", "gzip, br")], event("z").into_bytes()),
    ];
    for (name, status, headers, body) in &cases {
        // A body that is too large may end the connection: each case has its own.
        let answer = post(&mut program.connect(), headers, body);
        assert_eq!(answer.status, *status, "{name}: {}", answer.text());
        assert_eq!(answer.header("access-control-allow-origin"), Some("https://shop.example"), "{name}");
    }

    let preflight = client.call("OPTIONS", "/e", &[ORIGIN, ("Access-Control-Request-Method", "POST"), ("Access-Control-Request-Headers", "content-type")], b"");
    assert_eq!(preflight.status, 204);
    assert_eq!(preflight.header("access-control-allow-origin"), Some("https://shop.example"));
    assert_eq!(preflight.header("access-control-allow-credentials"), Some("true"));
    assert!(preflight.header("access-control-allow-methods").unwrap().contains("POST"));
    assert!(preflight.header("access-control-allow-headers").unwrap().contains("content-type"));

    program.stop();
    let kept = home.query("select event_id from interactions where event_id not like 'batch-%' order by 1");
    let kept: Vec<&str> = kept.iter().map(|row| row["event_id"].as_str().unwrap()).collect();
    assert_eq!(kept, ["beside-a-number", "br", "gzip", "identity", "plain", "zstd"]);
    assert_eq!(home.rows(), 506);
}

#[test]
fn what_is_too_long_or_not_there_is_told() {
    let home = home();
    let program = home.start();
    let status = |method: &str, path: &str, headers: &[(&str, &str)]| program.connect().call(method, path, headers, b"").status;
    let long = |length: usize| format!("/p.gif?s=acme&t={}", "a".repeat(length));
    assert_eq!(status("GET", &long(16_000), &[]), 200);
    assert_eq!(status("GET", &long(16 << 10), &[]), 414);
    // Longer than line and headers may be together, it is not even read to its end.
    assert_eq!(status("GET", &long(60 << 10), &[]), 431);
    let (within, beyond, far_beyond) = ("a".repeat(32_000), "a".repeat(33 << 10), "a".repeat(200 << 10));
    assert_eq!(status("GET", "/p.gif?s=acme", &[("X-Long", &within)]), 200);
    assert_eq!(status("GET", "/p.gif?s=acme", &[("X-Long", &beyond)]), 431);
    assert_eq!(status("GET", "/p.gif?s=acme", &[("X-Long", &far_beyond)]), 431);
    assert_eq!(status("GET", "/nothing", &[]), 404);
    assert_eq!(status("GET", "/choices?s=nobody", &[]), 404);
    for (method, path) in [("POST", "/p.gif"), ("GET", "/e"), ("DELETE", "/e"), ("POST", "/tag.js"), ("GET", "/consent?s=acme"), ("PUT", "/optout")] {
        assert_eq!(status(method, path, &[]), 405, "{method} {path}");
    }
    let tag = program.connect().get("/tag.js", &[]);
    assert_eq!((tag.status, tag.header("content-type")), (200, Some("text/javascript; charset=utf-8")));
    let gpc = program.connect().get("/.well-known/gpc.json", &[]);
    let gpc: serde_json::Value = serde_json::from_slice(&gpc.body).unwrap();
    assert_eq!(gpc["gpc"], true);
    assert!(gpc["lastUpdate"].is_string());
    program.stop();
}

#[test]
fn nobody_holds_a_connection_by_being_slow() {
    let home = home();
    let program = home.start();
    // All at once: each takes its whole deadline.
    let mut slow = ["/e", "/consent", "/optout?s=acme"].map(|path| {
        let mut client = program.connect();
        client.send_head("POST", path, &[("Content-Length", "10")]).unwrap();
        client
    });
    let mut login = program.connect_admin();
    login.send_head("POST", "/login", &[("Content-Length", "10")]).unwrap();
    // One that never says anything, and one that has nothing more to say.
    let mut idle = [program.connect(), program.connect()];
    assert_eq!(idle[1].get("/p.gif?s=acme", &[]).status, 200);
    let mut headless = program.connect();
    headless.send_bytes(b"GET /p.gif?s=acme HTTP/1.1\r\nHost: local").unwrap();
    assert!(headless.read_answer(false).is_err_and(|error| error.kind() == std::io::ErrorKind::UnexpectedEof));
    for client in &mut idle {
        assert!(client.read_answer(false).is_err_and(|error| error.kind() == std::io::ErrorKind::UnexpectedEof));
    }
    for client in &mut slow {
        assert_eq!(client.read_answer(false).unwrap().status, 408);
    }
    assert_eq!(login.read_answer(false).unwrap().status, 401);
    program.stop();
}
