//! Owns the replay of the fuzzers' corpus (`fuzz/corpus`) and of what lies one step beside its examples.

use crate::targets::{self, Target};
use percent_encoding::percent_decode_str;
use std::fs;
use std::panic::catch_unwind;
use std::path::Path;

/// Tries a target on an input; where a promise breaks, says on which.
fn hold(name: &str, target: Target, input: &[u8]) {
    assert!(catch_unwind(|| target(input)).is_ok(), "{name} breaks on {}", input.escape_ascii());
}

#[test]
fn every_promise_holds_for_all_that_the_fuzzers_found() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus");
    let mut files: Vec<String> = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    files.sort();
    let mut expected = targets::ALL.map(|(name, _)| format!("{name}.txt"));
    expected.sort();
    assert_eq!(files, expected);
    for (name, target) in targets::ALL {
        let lines = fs::read_to_string(folder.join(format!("{name}.txt"))).unwrap();
        assert!(lines.lines().count() > 0, "{name} has inputs");
        for line in lines.lines() {
            hold(name, target, &percent_decode_str(line).collect::<Vec<u8>>());
        }
    }
}

#[test]
fn every_promise_holds_for_every_prefix_and_every_flipped_bit() {
    let vectors = |lines: &str, key: &str| -> Vec<String> {
        lines.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap()[key].as_str().unwrap().to_owned()).collect()
    };
    let owned = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
    for (name, target, examples) in [
        ("tcf", targets::tcf as Target, vectors(include_str!("../data/consent/vectors_tcf.jsonl"), "tc")),
        ("gpp", targets::gpp, vectors(include_str!("../data/consent/vectors_gpp.jsonl"), "gpp")),
        ("gpp", targets::gpp, vectors(include_str!("../data/consent/vectors_gpp_states.jsonl"), "gpp")),
        ("us_privacy_and_google", targets::us_privacy_and_google, owned(&["1YNN\nG111\n11t1t1t1t5", "1---\nG100\n13p3q3p3p5"])),
        ("cookies", targets::cookies, owned(&["__Host-cp_optout.acme=1; __Host-cp_consent.acme=1.m.1795000000; __Host-cp_id.acme=0"])),
        ("forwarded", targets::forwarded, owned(&["x-forwarded-for: 8.8.8.8, [2001:200::1]:80\nforwarded: for=\"[::1]\";by=a, for=_b\nsec-gpc: 1"])),
        ("url", targets::url, owned(&["https://u:p@shop.example:1/a@b.de/4242-4242-4242-4242?utm_term=jane%2540example.org#x"])),
        ("text", targets::text, owned(&["0123abcd4567\n+44 20 7946 0958, 2001:db8::1 at GB82 WEST 1234 5698 7654 32"])),
        ("native", targets::native, owned(&["s=acme&e=a&p.k=%41&sw=1&gdpr=1&consent=granted", r#"{"site":"acme","properties":{"a":1},"at":1.5,"child":true}"#])),
        ("foreign", targets::foreign, owned(&[
            "e=pp&aid=acme&pp_may=400&ds=9x2000&vp=9x500&duid=d&consent=granted&stm=1&dtm=2",
            "idsite=1&e_c=a&e_a=b&dimension1=x&_cvar=%7B%221%22%3A%5B%22a%22%2C%22b%22%5D%7D&cip=8.8.8.8&cdt=1700000000&consent=1",
            r#"{"type":"track","event":"x","properties":{"a":[1,{"b":2}]},"context":{"consent":{"categoryPreferences":{"Analytics":false}},"consentManagement":{"allowedConsentIds":["a"]}}}"#,
            r#"{"schema":"s","data":[{"e":"ue","ue_pr":"{\"data\":{\"schema\":\"iglu:a/link_click/jsonschema/1-0-0\",\"data\":{\"targetUrl\":\"u\"}}}","co":"{\"data\":[{\"schema\":\"iglu:a/consent/jsonschema/1-0-0\",\"data\":{\"consent\":\"denied\"}}]}"}]}"#,
            r#"{"channel":"telephony","caller":"+49 30 1","country":"DE","visitor":"v","occurred_at":"2026-11-23T10:00:00Z"}"#,
        ])),
        ("log_line", targets::log_line, owned(&[r#"203.0.113.7 - a [23/Nov/2026:10:00:00 +0100] "GET /a?b=c HTTP/1.1" 200 5 "-" "x\"y""#])),
    ] {
        for example in examples {
            for end in 0..=example.len() {
                hold(name, target, &example.as_bytes()[..end]);
            }
            for bit in 0..example.len() * 8 {
                let mut flipped = example.clone().into_bytes();
                flipped[bit / 8] ^= 1 << (bit % 8);
                hold(name, target, &flipped);
            }
        }
    }
}
