//! Holds the ledger to the hit: one hit for each reason there is, through a socket, and after a restart.

use crate::program::{BEHIND_PROXY, FRANCE, Home, Settings, UNITED_STATES};
use serde_json::json;

const SITES: &str = r#"
[[site]]
key = "acme"
[[site]]
key = "strict"
origins = ["https://shop.example"]
gpc = "refuse"
[[site]]
key = "busy"
hits_per_second_max = 1
[[site]]
key = "kids"
child_directed = true
"#;

#[test]
fn every_hit_is_counted_where_it_ended() {
    let home = Home::new(Settings { door: BEHIND_PROXY, sites: SITES, ..Settings::default() });
    let program = home.start();
    let mut client = program.connect();
    let mut hit = |query: &str, headers: &[(&str, &str)]| {
        assert_eq!(client.get(&format!("/p.gif?{query}"), headers).status, 200);
    };
    let us = ("X-Forwarded-For", UNITED_STATES);
    let fr = ("X-Forwarded-For", FRANCE);
    hit("s=acme&id=a&t=for+jane%40example.org&u=https%3A%2F%2Fshop.example%2F%3Fa%3D1%26b%3D2", &[us]);
    hit("s=acme&id=b&consent=granted", &[fr]);
    hit("s=acme&id=a", &[us]);
    hit("s=acme", &[fr]);
    hit("s=acme&consent=denied", &[us]);
    hit("s=acme", &[us, ("Cookie", "__Host-cp_optout.acme=1")]);
    hit("s=acme", &[us, ("DNT", "1")]);
    hit("s=acme&gdpr_consent=nonsense", &[fr]);
    hit("s=acme&child=1", &[us]);
    hit("s=acme&sw=wide", &[us]);
    hit("s=acme", &[us, ("Sec-Purpose", "prefetch;prerender")]);
    hit("s=acme&at=1500000000000", &[us]);
    hit("s=strict", &[us, ("Sec-GPC", "1")]);
    hit("s=strict", &[us, ("Referer", "https://elsewhere.example/page")]);
    hit("s=strict", &[us, ("Referer", "https://shop.example/page")]);
    hit("s=kids&consent=granted", &[us]);
    hit("s=nobody", &[us]);
    hit("", &[us]);
    for _ in 0..20 {
        hit("s=busy", &[us]);
    }
    let mut events = program.connect();
    assert_eq!(events.call("POST", "/e", &[us], b"no JSON").status, 400);
    assert_eq!(events.call("POST", "/e", &[us], b"[7,{\"site\":\"nobody\"},{\"site\":\"acme\",\"event_id\":\"c\"}]").status, 204);

    let acme = json!({"received": 13, "stored": 3, "duplicate": 1, "failed": 0, "refused": {
        "no_consent": 2, "opted_out": 1, "dnt": 1, "consent_string": 1, "child": 1, "bad_request": 1, "prefetch": 1, "too_old": 1,
    }, "scrubbed": {"email": 1, "query": 2}});
    let strict = json!({"received": 3, "stored": 1, "duplicate": 0, "failed": 0, "refused": {"gpc": 1, "wrong_origin": 1}, "scrubbed": {}});
    let kids = json!({"received": 1, "stored": 0, "duplicate": 0, "failed": 0, "refused": {"child": 1}, "scrubbed": {}});
    let unknown = json!({"received": 5, "stored": 0, "duplicate": 0, "failed": 0, "refused": {"unknown_site": 3, "bad_request": 2}, "scrubbed": {}});
    // How many seconds those 20 hits took is not known: the lake says how many of them were kept.
    let busy = |stored: u64| json!({"received": 20, "stored": stored, "duplicate": 0, "failed": 0, "refused": {"over_quota": 20 - stored}, "scrubbed": {}});

    for (site, expected) in [("acme", &acme), ("strict", &strict), ("kids", &kids), ("-", &unknown)] {
        program.await_ledger(site, expected);
    }
    let kept = program.ledger("busy")["stored"].as_u64().unwrap();
    assert!((1..20).contains(&kept), "{kept} of 20 hits within the quota of one a second");
    program.await_ledger("busy", &busy(kept));
    home.await_rows(4 + kept);
    assert_eq!(home.number("select count(*) as n from interactions where site = 'busy'"), kept);
    program.stop();

    let again = home.start();
    for (site, expected) in [("acme", &acme), ("strict", &strict), ("kids", &kids), ("-", &unknown), ("busy", &busy(kept))] {
        again.await_ledger(site, expected);
    }
    again.stop();
    for row in home.query("select site, sum(interactions) as n from trends where dimension = 'outcome' group by site") {
        let expected = match row["site"].as_str().unwrap() {
            "acme" => 13,
            "strict" => 3,
            "kids" => 1,
            "-" => 5,
            "busy" => 20,
            other => panic!("a ledger of {other}"),
        };
        assert_eq!(row["n"], expected, "{row}");
    }
}
