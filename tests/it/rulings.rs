//! Holds the order in which a hit is judged: a table that reads from the first question to the last, each
//! row a hit through a socket, to a site with a contract of its own, and the end that it must have. A second
//! table judges hits of whom the collector knows something already. Every reason of the ledger is in them.
//!
//! Behind it lie the law of places, the contract's list of reasons, and the rule that a refusal beats a
//! consent, wherever each comes from.

use crate::program::{Answer, BEHIND_PROXY, FRANCE, Home, Program, Settings, UNITED_KINGDOM, UNITED_STATES, eventually, sha256_hex};
use clearpixel::hit::outcome::Reason;
use serde_json::{Value, json};
use std::time::{SystemTime, UNIX_EPOCH};

/// Addresses whose country the database inside the program knows.
const JAPAN: &str = "133.11.0.1";
const NORWAY: &str = "129.241.0.1";
const SWITZERLAND: &str = "130.60.0.1";
const BRAZIL: &str = "200.160.0.1";
const REUNION: &str = "102.35.0.1";
const NOWHERE: &str = "10.1.2.3";

#[derive(Debug, Clone, Copy)]
enum End {
    /// Regime, basis, source of the consent, whether it may be shared, and whether there is a visitor.
    Kept(&'static str, &'static str, &'static str, bool, bool),
    Refused(&'static str),
}
use End::{Kept, Refused};

const OPT_OUT: End = Kept("opt-out", "opt-out-regime", "none", true, true);
const OPT_OUT_UNSHARED: End = Kept("opt-out", "opt-out-regime", "none", false, true);
const RELAYED: End = Kept("opt-in", "consent", "relayed", true, true);
const OUT: (&str, &str) = ("Cookie", "__Host-cp_optout=1");
const OUT_TWICE: (&str, &str) = ("Cookie", "__Host-cp_optout=0; __Host-cp_optout=1");
const GPC: (&str, &str) = ("Sec-GPC", "1");
const DNT: (&str, &str) = ("DNT", "1");

/// What is asked, the site's contract, from where, the hit's query, its headers, its end. `{grants}` and so on
/// are consent strings made today.
type Row = (&'static str, &'static str, &'static str, &'static str, &'static [(&'static str, &'static str)], End);

const ROWS: &[Row] = &[
    // 1. The hit itself: does it name a site, can it be read, is it a visit at all?
    ("a field of the wrong type", "", UNITED_STATES, "sw=wide", &[], Refused("bad_request")),
    ("a page fetched ahead", "", UNITED_STATES, "consent=granted", &[("Sec-Purpose", "prefetch;prerender")], Refused("prefetch")),
    ("an older browser's word for it", "", UNITED_STATES, "", &[("X-Moz", "prefetch")], Refused("prefetch")),
    // 2. A child is never kept, whatever else is said.
    ("child=1 beside consent", "", FRANCE, "child=1&consent=granted", &[], Refused("child")),
    ("coppa=1 in an opt-out place", "", UNITED_STATES, "coppa=1", &[], Refused("child")),
    ("a site for children", "child_directed = true", UNITED_STATES, "consent=granted", &[], Refused("child")),
    ("GPP knows of a child", "", UNITED_STATES, "gpp=DBABLA~CAAAAAAAAAQA.QA", &[], Refused("child")),
    // 3. An opt-out, in any copy of the cookie, beats every consent.
    ("opted out everywhere", "", UNITED_STATES, "consent=granted", &[OUT], Refused("opted_out")),
    ("one copy of two", "", FRANCE, "consent=granted", &[OUT_TWICE], Refused("opted_out")),
    ("opted out beside a TC string that grants", "tcf_vendor_id = 123", FRANCE, "gdpr_consent={grants}", &[OUT], Refused("opted_out")),
    ("opted out, and a cookie of broken bytes", "", UNITED_STATES, "", &[("Cookie", "a=\u{e9}; __Host-cp_optout=1")], Refused("opted_out")),
    ("a name dressed up as the consent's", "", FRANCE, "", &[("Cookie", "\u{2000}__Host-cp_consent.{site}=1.m.{now}")], Refused("no_consent")),
    // Between: what the site's contract says of senders and their clocks.
    ("from another's page", "origins = [\"https://shop.example\"]", UNITED_STATES, "", &[("Referer", "https://elsewhere.example/")], Refused("wrong_origin")),
    ("from its own page", "origins = [\"https://shop.example\"]", UNITED_STATES, "", &[("Referer", "https://shop.example/")], OPT_OUT),
    ("longer ago than late_max", "", UNITED_STATES, "at=1500000000000", &[], Refused("too_old")),
    // Do Not Track is an objection where the contract honours it, and beats consent.
    ("DNT beside consent", "", UNITED_STATES, "consent=granted", &[DNT], Refused("dnt")),
    ("DNT by its older name", "", UNITED_STATES, "", &[("X-Do-Not-Track", "1")], Refused("dnt")),
    ("DNT, not honoured", "honour_dnt = false", UNITED_STATES, "", &[DNT], OPT_OUT),
    // 4. What is malformed, given twice or never filled in is no consent.
    ("consent given twice", "", FRANCE, "consent=granted&consent=granted", &[], Refused("no_consent")),
    ("consent of another word", "", FRANCE, "consent=yes", &[], Refused("no_consent")),
    ("a TC string given twice", "tcf_vendor_id = 123", FRANCE, "gdpr_consent={grants}&gdpr_consent={grants}", &[], Refused("consent_string")),
    ("a macro never filled in", "tcf_vendor_id = 123", FRANCE, "gdpr_consent=%24%7BGDPR_CONSENT_123%7D", &[], Refused("consent_string")),
    ("a TC string cut short, beside consent", "tcf_vendor_id = 123", FRANCE, "consent=granted&gdpr_consent={cut}", &[], Refused("consent_string")),
    ("a cookie header that cannot be read", "", FRANCE, "consent=granted", &[("Cookie", "a=\u{e9}")], Refused("no_consent")),
    ("nor in an opt-out place", "", UNITED_STATES, "", &[("Cookie", "a=\u{e9}")], Refused("no_consent")),
    // 5. The law of the place; an unknown place is the strictest.
    ("the EU", "", FRANCE, "", &[], Refused("no_consent")),
    ("the EEA", "", NORWAY, "", &[], Refused("no_consent")),
    ("a territory with a code of its own", "", REUNION, "", &[], Refused("no_consent")),
    ("Switzerland", "", SWITZERLAND, "", &[], Refused("no_consent")),
    ("mixed laws, the careful default", "", BRAZIL, "", &[], Refused("no_consent")),
    ("nowhere", "", NOWHERE, "", &[], Refused("no_consent")),
    ("the United Kingdom", "", UNITED_KINGDOM, "", &[], Refused("no_consent")),
    ("the United Kingdom, statistics by contract", "gb_statistics = true", UNITED_KINGDOM, "", &[], OPT_OUT),
    ("that exception is of no other place", "gb_statistics = true", FRANCE, "", &[], Refused("no_consent")),
    ("the United States", "", UNITED_STATES, "", &[], OPT_OUT),
    ("the rest of the world", "", JAPAN, "", &[], OPT_OUT),
    ("a site that asks everywhere", "consent = \"opt-in\"", JAPAN, "", &[], Refused("no_consent")),
    ("gdpr=1 widens", "", UNITED_STATES, "gdpr=1", &[], Refused("no_consent")),
    ("so does GPP with Europe's section in force", "", UNITED_STATES, "gpp_sid=2", &[], Refused("no_consent")),
    ("and GPP with America's does not", "", UNITED_STATES, "gpp_sid=7", &[], OPT_OUT),
    ("gdpr=2 is no 0", "", UNITED_STATES, "gdpr=2", &[], Refused("no_consent")),
    ("gdpr=0 loosens nothing", "", FRANCE, "gdpr=0", &[], Refused("no_consent")),
    ("an anonymous count by contract", "without_consent = \"count\"", FRANCE, "", &[], Kept("opt-in", "count", "none", false, false)),
    ("no count of who refused", "without_consent = \"count\"", FRANCE, "consent=denied", &[], Refused("no_consent")),
    // 6. Opt-outs of sale and sharing keep the row and bar it from sharing.
    ("GPC", "", UNITED_STATES, "", &[GPC], OPT_OUT_UNSHARED),
    ("GPC, twice, once 0", "", UNITED_STATES, "", &[("Sec-GPC", "0"), GPC], OPT_OUT_UNSHARED),
    ("not GPC", "", UNITED_STATES, "", &[("Sec-GPC", "true")], OPT_OUT),
    ("GPC, refused by contract", "gpc = \"refuse\"", UNITED_STATES, "", &[GPC], Refused("gpc")),
    ("GPC, told by the page's script", "gpc = \"refuse\"", UNITED_STATES, "gpc=1", &[], Refused("gpc")),
    ("nor is a count made of what it refuses", "gpc = \"refuse\"\nwithout_consent = \"count\"", FRANCE, "", &[GPC], Refused("gpc")),
    ("GPC beside consent", "gpc = \"refuse\"", FRANCE, "consent=granted", &[GPC], Kept("opt-in", "consent", "relayed", false, true)),
    ("US Privacy", "", UNITED_STATES, "us_privacy=1YYN", &[], OPT_OUT_UNSHARED),
    ("US Privacy does not apply", "", UNITED_STATES, "us_privacy=1---", &[], OPT_OUT),
    ("US Privacy, malformed", "", UNITED_STATES, "us_privacy=1Y", &[], OPT_OUT_UNSHARED),
    ("GPP, California opts out of sale", "", UNITED_STATES, "gpp=DBABBg~BAUAAABA.QA&gpp_sid=8", &[], OPT_OUT_UNSHARED),
    ("GPP, California does not", "", UNITED_STATES, "gpp=DBABBg~BAoAAABA.QA&gpp_sid=8", &[], OPT_OUT),
    ("GPP, malformed", "", UNITED_STATES, "gpp=DBABBg", &[], OPT_OUT_UNSHARED),
    // 8. Where consent is asked, a signal must be positive; Google's may only deny.
    ("the page's own word", "", FRANCE, "consent=granted", &[], RELAYED),
    ("not believed by contract", "relayed_consent = false", FRANCE, "consent=granted", &[], Refused("no_consent")),
    ("the page's denial, anywhere", "", UNITED_STATES, "consent=denied", &[], Refused("no_consent")),
    ("Google's denial beats the page's grant", "", FRANCE, "consent=granted&gcs=G100", &[], Refused("no_consent")),
    ("Google's denial, said first", "", FRANCE, "gcs=G100&consent=granted", &[], Refused("no_consent")),
    ("Google's denial in an opt-out place", "", UNITED_STATES, "gcs=G100&consent=granted", &[], Refused("no_consent")),
    ("Google's grant alone", "", FRANCE, "gcs=G111", &[], Refused("no_consent")),
    ("the consent cookie", "", FRANCE, "", &[("Cookie", "__Host-cp_consent.{site}=1.m.{now}")], Kept("opt-in", "consent", "cookie", true, true)),
    ("another site's cookie", "", FRANCE, "", &[("Cookie", "__Host-cp_consent.other=1.m.{now}")], Refused("no_consent")),
    ("a cookie that denies", "", UNITED_STATES, "", &[("Cookie", "__Host-cp_consent.{site}=1.-.{now}")], Refused("no_consent")),
    ("a TC string that grants", "tcf_vendor_id = 123", FRANCE, "gdpr=1&gdpr_consent={grants}", &[], Kept("opt-in", "consent", "tcf", true, true)),
    ("the same in GPP", "tcf_vendor_id = 123", FRANCE, "gpp=DBABMA~{grants}&gpp_sid=2", &[], Kept("opt-in", "consent", "gpp", true, true)),
    ("a TC string that denies, beside the page's grant", "tcf_vendor_id = 123", FRANCE, "consent=granted&gdpr_consent={denies}", &[], Refused("consent_string")),
    ("a TC string that denies, in an opt-out place", "", UNITED_STATES, "gdpr_consent={denies}", &[], Refused("consent_string")),
    ("a vendor on no list is granted nothing", "", FRANCE, "gdpr_consent={grants}", &[], Refused("no_consent")),
    ("a vendor who was not disclosed", "tcf_vendor_id = 9", FRANCE, "gdpr_consent={grants}", &[], Refused("consent_string")),
    // 9. Kept: with no more identity than the hit and the contract allow.
    ("anon=1", "", FRANCE, "consent=granted&anon=1", &[], Kept("opt-in", "consent", "relayed", true, false)),
    ("an identity for a day", "identity = \"daily\"", UNITED_STATES, "", &[], OPT_OUT),
    ("no identity by contract", "identity = \"none\"", UNITED_STATES, "", &[], Kept("opt-out", "opt-out-regime", "none", true, false)),
];

/// What comes between a visitor's first hit, which is kept, and the one that is judged.
#[derive(Debug, Clone, Copy)]
enum Between {
    /// The client hands in a request of theirs.
    Asked(&'static str),
    /// Others are there, more than the contract's quota lets in.
    Crowded,
}
use Between::{Asked, Crowded};

/// What is asked, the site's contract, what came between, the hit's query, its headers, the reason of its refusal.
type LaterRow = (&'static str, &'static str, Between, &'static str, &'static [(&'static str, &'static str)], &'static str);

const LATER_ROWS: &[LaterRow] = &[
    // 2 and 3. A child and an opt-out come before all that is known of a person; an objection is an opt-out.
    ("an erased person, and a child", "", Asked("erasure"), "child=1", &[], "child"),
    ("an erased person who opted out", "", Asked("erasure"), "", &[OUT], "opted_out"),
    ("who objected", "", Asked("objection"), "consent=granted", &[], "opted_out"),
    ("who was erased", "", Asked("erasure"), "consent=granted", &[], "erased_subject"),
    ("whose data is restricted", "", Asked("restriction"), "consent=granted", &[], "restricted_subject"),
    ("an erased person, from another's page", "origins = [\"https://shop.example\"]", Asked("erasure"), "", &[("Referer", "https://elsewhere.example/")], "erased_subject"),
    ("a restricted one, with DNT", "", Asked("restriction"), "", &[DNT], "restricted_subject"),
    // Between: the quota, behind who somebody is and before what they ask.
    ("one too many", "hits_per_second_max = 1", Crowded, "consent=granted", &[], "over_quota"),
    ("one too many, with DNT", "hits_per_second_max = 1", Crowded, "", &[DNT], "over_quota"),
    ("one too many, opted out", "hits_per_second_max = 1", Crowded, "", &[OUT], "opted_out"),
    ("one too many, long ago", "hits_per_second_max = 1", Crowded, "at=1500000000000", &[], "over_quota"),
];

/// A TC string of `tests/data/consent`, dated today: its two dates are its characters 2 to 13, tenths of
/// seconds since 1970, six bits a character.
fn dated(tc: &str, now: u64) -> String {
    const ALPHABET: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let midnight = now / 86_400 * 864_000;
    let six = |at: u32| char::from(ALPHABET[(midnight >> (30 - 6 * at)) as usize & 63]);
    let date: String = (0..6).map(six).collect();
    format!("{}{date}{date}{}", &tc[..1], &tc[13..])
}

fn vector(name: &str) -> String {
    let lines = include_str!("../data/consent/vectors_tcf.jsonl").lines();
    let vectors = lines.map(|line| serde_json::from_str::<Value>(line).unwrap());
    let vector = vectors.into_iter().find(|vector| vector["name"] == name).unwrap();
    vector["tc"].as_str().unwrap().to_owned()
}

#[test]
fn each_question_in_its_order_has_its_end() {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let (grants, denies) = (dated(&vector("accept_measurement_v2_v123_range"), now), dated(&vector("reject_all"), now));
    let site = |at: usize| format!("row-{at}");
    let filled = |text: &str, at: usize| {
        text.replace("{grants}", &grants)
            .replace("{denies}", &denies)
            .replace("{cut}", &grants[..grants.len() / 2])
            .replace("{now}", &now.to_string())
            .replace("{site}", &site(at))
    };
    let sites: String = ROWS.iter().enumerate().map(|(at, row)| format!("[[site]]\nkey = \"{}\"\n{}\n", site(at), row.1)).collect();
    let home = Home::new(Settings { door: BEHIND_PROXY, sites: &sites, ..Settings::default() });
    let program = home.start();
    let mut client = program.connect();
    let mut answers = Vec::new();
    for (at, (_, _, from, query, headers, _)) in ROWS.iter().enumerate() {
        let headers: Vec<(&str, String)> = headers.iter().map(|(name, value)| (*name, filled(value, at))).collect();
        let mut all = vec![("X-Forwarded-For", *from)];
        all.extend(headers.iter().map(|(name, value)| (*name, value.as_str())));
        let answer = client.get(&format!("/p.gif?s={}&{}", site(at), filled(query, at)), &all);
        answers.push(answer);
    }
    client.pixel_from(UNITED_STATES, "s=nobody&consent=granted");

    let mut wrong = Vec::new();
    program.await_ledger("-", &json!({"received": 1, "stored": 0, "duplicate": 0, "failed": 0, "refused": {"unknown_site": 1}}));
    for (at, row) in ROWS.iter().enumerate() {
        let seen = program.ledger(&site(at));
        let ended = match row.5 {
            Kept(..) => seen["stored"] == 1,
            Refused(reason) => seen["refused"][reason] == 1 && seen["stored"] == 0,
        };
        if seen["received"] != 1 || !ended {
            wrong.push(format!("{}: {:?}, not {seen}", row.0, row.5));
        }
    }
    let bodies = answers.iter().map(|answer| answer.without_cookies_and_date());
    assert!(bodies.clone().all(|answer| Some(answer) == bodies.clone().next()), "an answer tells what became of its hit");
    program.stop();

    let columns = "site, regime, legal_basis, consent_source, may_share, visitor_id is not null as has_visitor";
    let rows = home.query(&format!("select {columns} from interactions"));
    for (at, row) in ROWS.iter().enumerate() {
        let found: Vec<_> = rows.iter().filter(|found| found["site"] == site(at).as_str()).collect();
        let expected = match row.5 {
            Kept(regime, basis, source, may_share, has_visitor) => {
                vec![json!({"site": site(at), "regime": regime, "legal_basis": basis, "consent_source": source, "may_share": may_share, "has_visitor": has_visitor})]
            }
            Refused(_) => vec![],
        };
        if found != expected.iter().collect::<Vec<_>>() {
            wrong.push(format!("{}: {expected:?}, not {found:?}", row.0));
        }
        let sets_id = !answers[at].cookies(&format!("__Host-cp_id.{}", site(at))).is_empty();
        let may_set_id = matches!(row.5, Kept(_, _, _, _, true)) && !row.1.contains("daily");
        if sets_id != may_set_id {
            wrong.push(format!("{}: an id cookie {}", row.0, if sets_id { "without a basis" } else { "is missing" }));
        }
    }
    assert!(wrong.is_empty(), "{} of {} rows:\n{}", wrong.len(), ROWS.len(), wrong.join("\n"));
}

/// A client's request in its visitor's name.
fn ask(program: &Program, site: &str, kind: &str, visitor: &str) {
    let body = json!({"kind": kind, "visitor_id": visitor}).to_string();
    let answer = program.connect_admin().call("POST", &format!("/v1/sites/{site}/requests"), &[("Authorization", "Bearer of-rulings")], body.as_bytes());
    assert_eq!(answer.status, 202, "{kind}: {}", answer.text());
}

#[test]
fn whom_the_collector_knows_of_is_judged_in_the_same_order() {
    let site = |at: usize| format!("later-{at}");
    let secret = sha256_hex("of-rulings");
    let sites: String = LATER_ROWS.iter().enumerate().map(|(at, row)| format!("[[site]]\nkey = \"{}\"\nsecret_sha256 = \"{secret}\"\n{}\n", site(at), row.1)).collect();
    let home = Home::new(Settings { door: BEHIND_PROXY, sites: &sites, ..Settings::default() });
    let program = home.start();
    let mut client = program.connect();
    let mut wrong = Vec::new();
    for (at, (asked, _, between, query, headers, reason)) in LATER_ROWS.iter().enumerate() {
        let mut hit = |query: &str, headers: &[(&str, &str)]| -> Answer {
            let mut all = vec![("X-Forwarded-For", UNITED_STATES)];
            all.extend(headers);
            client.get(&format!("/p.gif?s={}&{query}", site(at)), &all)
        };
        let first = hit("", &[]);
        let id = format!("__Host-cp_id.{}", site(at));
        let cookie = first.cookies(&id)[0].split(';').next().unwrap().to_owned();
        let visitor = &cookie[id.len() + 1..][..32];
        let mut cookies = cookie.clone();
        for (_, value) in headers.iter().filter(|(name, _)| *name == "Cookie") {
            cookies = format!("{cookies}; {value}");
        }
        let mut all: Vec<(&str, &str)> = headers.iter().filter(|(name, _)| *name != "Cookie").copied().collect();
        all.push(("Cookie", &cookies));
        let ledger_of = |hits: u64| eventually("a ledger of all hits", || {
            let ledger = program.ledger(&site(at));
            if ledger["received"] == hits { Ok(ledger) } else { Err(ledger.to_string()) }
        });
        let of = |ledger: &Value, name: &str| ledger["refused"][name].as_u64().unwrap_or(0);
        // A quota is of a second: where one ends among the crowd it lets two in, and the crowd comes again.
        let (crowd, attempts) = match between {
            Asked(kind) => {
                ask(&program, &site(at), kind, visitor);
                (0, 1)
            }
            Crowded => (3, 10),
        };
        let mut sent = 1;
        let ended = (0..attempts).any(|_| {
            let before = ledger_of(sent);
            (0..crowd).for_each(|_| drop(hit("", &[])));
            let answer = hit(query, &all);
            assert_eq!(answer.without_cookies_and_date(), first.without_cookies_and_date(), "{asked}");
            assert!(answer.cookies(&id).iter().all(|line| line.contains("Max-Age=0")), "{asked}: an id without a basis");
            sent += crowd + 1;
            let after = ledger_of(sent);
            let let_in = after["stored"].as_u64().unwrap() - before["stored"].as_u64().unwrap();
            let expected = if *reason == "over_quota" { crowd + 1 - let_in } else { 1 };
            let_in <= crowd.min(1) && of(&after, reason) - of(&before, reason) == expected
        });
        if !ended {
            wrong.push(format!("{asked}: {reason}, not {}", ledger_of(sent)));
        }
    }
    program.stop();
    assert!(wrong.is_empty(), "{} of {} rows:\n{}", wrong.len(), LATER_ROWS.len(), wrong.join("\n"));
}

#[test]
fn every_reason_of_the_ledger_is_in_a_table() {
    let first = ROWS.iter().filter_map(|row| match row.5 {
        Refused(reason) => Some(reason),
        Kept(..) => None,
    });
    let judged: Vec<&str> = first.chain(LATER_ROWS.iter().map(|row| row.5)).chain(["unknown_site"]).collect();
    let missing: Vec<&str> = Reason::ALL.into_iter().map(Reason::name).filter(|name| !judged.contains(name)).collect();
    assert!(missing.is_empty(), "{missing:?}");
}
