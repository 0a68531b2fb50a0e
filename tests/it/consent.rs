//! Holds the road of consent: what is kept of whom, which cookies are set, and who may loosen a choice.

use crate::program::{Answer, BEHIND_PROXY, FRANCE, Home, Program, Settings, UNITED_KINGDOM, UNITED_STATES, eventually};
use serde_json::{Value, json};

fn home() -> Home {
    Home::new(Settings { door: BEHIND_PROXY, ..Settings::default() })
}

/// `name=value` of a cookie that an answer sets, and all of its attributes.
fn pair_of(answer: &Answer, name: &str) -> String {
    let cookies = answer.cookies(name);
    assert!(!cookies.is_empty(), "{name} is not set: {:?}", answer.headers);
    cookies[0].split(';').next().unwrap().to_owned()
}

fn row(home: &Home, event_id: &str) -> Value {
    let mut rows = home.query(&format!("select * from interactions where event_id = '{event_id}'"));
    assert_eq!(rows.len(), 1, "{event_id}");
    rows.remove(0)
}

#[test]
fn nothing_is_kept_before_consent_and_all_of_it_says_why() {
    let home = home();
    let program = home.start();
    let mut client = program.connect();
    let mut hit = |address: &str, query: &str, cookie: Option<&str>| {
        let mut headers = vec![("X-Forwarded-For", address)];
        headers.extend(cookie.map(|cookie| ("Cookie", cookie)));
        client.get(&format!("/p.gif?s=acme&{query}"), &headers)
    };

    let silent = hit(FRANCE, "id=fr-silent", None);
    assert!(silent.header("set-cookie").is_none());
    let granted = hit(FRANCE, "id=fr-granted&consent=granted", None);
    let id_lines = granted.cookies("__Host-cp_id.acme");
    assert_eq!(id_lines.len(), 1);
    let attributes = id_lines[0].split_once(';').unwrap().1;
    assert_eq!(attributes, " Max-Age=33696000; Path=/; Secure; HttpOnly; SameSite=None; Partitioned");
    let id = pair_of(&granted, "__Host-cp_id.acme");
    let value = id.split_once('=').unwrap().1;
    let (visitor, mac) = value.split_once('.').unwrap();
    assert!(visitor.len() == 32 && mac.len() == 32 && visitor.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b)), "{value}");

    let known = hit(FRANCE, "id=fr-known&consent=granted", Some(&id));
    assert!(known.header("set-cookie").is_none(), "an id is not prolonged: {:?}", known.headers);
    let forged = hit(FRANCE, "id=fr-forged&consent=granted", Some(&format!("__Host-cp_id.acme={}.{}", "0".repeat(32), "0".repeat(32))));
    assert!(!pair_of(&forged, "__Host-cp_id.acme").contains(&"0".repeat(32)));
    let anonymous = hit(FRANCE, "id=fr-anonymous&consent=granted&anon=1", None);
    assert!(anonymous.header("set-cookie").is_none());
    let denied = hit(FRANCE, "id=fr-denied&consent=denied", Some(&id));
    let deleted = denied.cookies("__Host-cp_id.acme");
    assert!(deleted.iter().any(|line| line.starts_with("__Host-cp_id.acme=; Max-Age=0;") && line.contains("Partitioned")), "{deleted:?}");
    assert!(deleted.iter().all(|line| line.contains("Max-Age=0")));
    let twice = hit(FRANCE, "id=fr-twice&consent=granted&consent=granted", None);
    assert!(twice.header("set-cookie").is_none());

    assert_eq!(hit(UNITED_KINGDOM, "id=gb-silent", None).header("set-cookie"), None);
    hit(UNITED_STATES, "id=us-silent", None);
    let out = hit(UNITED_STATES, "id=us-out", Some("__Host-cp_optout.acme=1"));
    let again = out.cookies("__Host-cp_optout.acme");
    assert!(!again.is_empty() && again.iter().all(|line| line.starts_with("__Host-cp_optout.acme=1; Max-Age=34560000; Path=/; Secure; HttpOnly; SameSite=None")), "{again:?}");
    let all_out = hit(UNITED_STATES, "id=us-all-out&consent=granted", Some("__Host-cp_optout=1"));
    assert!(!all_out.cookies("__Host-cp_optout").is_empty());
    client.get("/p.gif?s=acme&id=us-gpc", &[("X-Forwarded-For", UNITED_STATES), ("Sec-GPC", "1")]);
    client.get("/p.gif?s=acme&id=us-opted-out-of-sale&us_privacy=1YYN", &[("X-Forwarded-For", UNITED_STATES)]);
    client.get("/p.gif?s=acme&id=fr-gpc&consent=granted", &[("X-Forwarded-For", FRANCE), ("Sec-GPC", "1")]);
    program.stop();

    let ground = |row: &Value| ["regime", "legal_basis", "consent_source", "may_share", "country"].map(|column| row[column].clone());
    for (event_id, expected) in [
        ("fr-granted", json!(["opt-in", "consent", "relayed", true, "FR"])),
        ("fr-gpc", json!(["opt-in", "consent", "relayed", false, "FR"])),
        ("fr-anonymous", json!(["opt-in", "consent", "relayed", true, "FR"])),
        ("us-silent", json!(["opt-out", "opt-out-regime", "none", true, "US"])),
        ("us-gpc", json!(["opt-out", "opt-out-regime", "none", false, "US"])),
        ("us-opted-out-of-sale", json!(["opt-out", "opt-out-regime", "none", false, "US"])),
    ] {
        assert_eq!(Value::from(ground(&row(&home, event_id)).to_vec()), expected, "{event_id}");
    }
    let (first, second) = (row(&home, "fr-granted"), row(&home, "fr-known"));
    assert_eq!(first["visitor_id"], visitor);
    assert_eq!((&first["visitor_id"], &first["visit_id"]), (&second["visitor_id"], &second["visit_id"]));
    assert_ne!(row(&home, "fr-forged")["visitor_id"], "0".repeat(32));
    let anonymous = row(&home, "fr-anonymous");
    assert_eq!((&anonymous["visitor_id"], &anonymous["visit_id"]), (&Value::Null, &Value::Null));
    assert_eq!(home.rows(), 8);
}

#[test]
fn strings_that_cannot_be_read_grant_nothing_and_what_they_stand_beside_neither() {
    let home = home();
    let program = home.start();
    let mut client = program.connect();
    for (id, address, query) in [
        ("kept-additional-1", FRANCE, "consent=granted&addtl_consent=1~1.35.41"),
        ("kept-additional-2", FRANCE, "consent=granted&addtl_consent=2~1.35~dv.9.21"),
        ("kept-sections", FRANCE, "consent=granted&gpp=DBAA&gpp_sid=7"),
        ("kept-mode", FRANCE, "consent=granted&gcs=G111&gcd=13t3t3t3t5"),
        ("no-additional", FRANCE, "consent=granted&addtl_consent=%24%7BADDTL_CONSENT%7D"),
        ("no-additional-twice", FRANCE, "consent=granted&addtl_consent=1~1&addtl_consent=1~1"),
        ("no-sections", FRANCE, "consent=granted&gpp=DBAA&gpp_sid=seven"),
        ("no-sections-twice", FRANCE, "consent=granted&gpp_sid=7&gpp_sid=7"),
        ("no-mode", UNITED_STATES, "gcs=G110&consent=granted"),
        ("no-mode-letter", UNITED_STATES, "consent=granted&gcd=13t3x3t3t5"),
        ("no-child", UNITED_STATES, "gpp=DBABLA~BAAAAAAAAIAA.QA"),
    ] {
        let answer = client.get(&format!("/p.gif?s=acme&id={id}&{query}"), &[("X-Forwarded-For", address)]);
        assert_eq!(answer.header("set-cookie").is_some(), id.starts_with("kept"), "{id}");
    }
    program.stop();
    assert_eq!(home.query("select event_id from interactions where event_id like 'kept%'").len(), 4);
    assert_eq!(home.rows(), 4);
}

fn form_token(program: &Program) -> String {
    let page = program.connect().get("/choices?s=acme", &[]);
    let html = page.text();
    html.split("name=token value=\"").nth(1).and_then(|rest| rest.split('"').next()).expect("a form with a token").to_owned()
}

#[test]
fn a_choice_is_loosened_only_from_the_collector_s_own_page() {
    let home = Home::new(Settings {
        door: BEHIND_PROXY,
        sites: "[[site]]\nkey = \"acme\"\nname = \"A <b>shop</b>\"\ncontact = \"privacy@shop.example\"\nprivacy_policy = \"https://shop.example/privacy\"\n[[site]]\nkey = \"other\"\n",
        ..Settings::default()
    });
    let program = home.start();
    let mut client = program.connect();
    let host = program.public.to_string();
    let own_origin = format!("http://{host}");

    let page = client.get("/choices?s=acme", &[("Sec-GPC", "1")]);
    assert_eq!((page.status, page.header("content-type")), (200, Some("text/html; charset=utf-8")));
    for (header, part) in [("content-security-policy", "frame-ancestors 'none'"), ("x-frame-options", "DENY"), ("cache-control", "no-store")] {
        assert!(page.header(header).is_some_and(|value| value.contains(part)), "{header}: {:?}", page.headers);
    }
    for part in ["A &lt;b&gt;shop&lt;/b&gt;", "privacy@shop.example", "https://shop.example/privacy", "400 days", "Your opt-out request is honoured", "You have not made a choice", "No country was found"] {
        assert!(page.text().contains(part), "{part} is not on the page");
    }
    assert!(page.header("set-cookie").is_none());

    let token = form_token(&program);
    let mut post = |path: &str, form: &str, headers: &[(&str, &str)]| {
        let mut all = vec![("Host", host.as_str()), ("Content-Type", "application/x-www-form-urlencoded")];
        all.extend(headers);
        client.call("POST", path, &all, form.as_bytes())
    };
    let same = ("Sec-Fetch-Site", "same-origin");
    let form = format!("s=acme&choice=granted&token={token}");
    for (name, form, headers) in [
        ("no token", "s=acme&choice=granted".to_owned(), vec![same]),
        ("a forged token", format!("s=acme&choice=granted&token={}", "0".repeat(32)), vec![same]),
        ("another site's token", format!("s=other&choice=granted&token={token}"), vec![same]),
        ("no origin", form.clone(), vec![]),
        ("cross-site", form.clone(), vec![("Sec-Fetch-Site", "cross-site")]),
        ("same site, another origin", form.clone(), vec![("Sec-Fetch-Site", "same-site"), ("Origin", &own_origin)]),
        ("another origin", form.clone(), vec![("Origin", "https://elsewhere.example")]),
        ("no origin to name", form.clone(), vec![("Origin", "null")]),
    ] {
        for path in ["/consent", "/optin"] {
            let answer = post(path, &form, &headers);
            assert_eq!((answer.status, answer.header("set-cookie")), (403, None), "{path}: {name}");
        }
    }
    assert_eq!(post("/consent", &format!("s=acme&choice=perhaps&token={token}"), &[same]).status, 400);

    for headers in [vec![same], vec![("Origin", own_origin.as_str())]] {
        let granted = post("/consent", &form, &headers);
        assert_eq!(granted.status, 204);
        assert!(granted.cookies("__Host-cp_optout.acme").iter().all(|line| line.contains("Max-Age=0")));
        assert!(pair_of(&granted, "__Host-cp_consent.acme").starts_with("__Host-cp_consent.acme=1.m."));
    }
    let granted = post("/consent", &form, &[same, ("Accept", "text/html")]);
    assert_eq!((granted.status, granted.header("location")), (303, Some("/choices?s=acme&set=granted")));
    let consent = pair_of(&granted, "__Host-cp_consent.acme");
    // To refuse needs neither token nor origin.
    let denied = post("/consent", "s=acme&choice=denied", &[("Origin", "https://shop.example")]);
    assert_eq!(denied.status, 204);
    assert!(pair_of(&denied, "__Host-cp_consent.acme").starts_with("__Host-cp_consent.acme=1.-."));
    assert!(denied.cookies("__Host-cp_id.acme").iter().all(|line| line.contains("Max-Age=0")));
    let back = post("/optin", &form, &[same]);
    assert!(back.status == 204 && back.cookies("__Host-cp_optout.acme").iter().all(|line| line.contains("Max-Age=0")), "{back:?}");

    let get = |path: &str, headers: &[(&str, &str)]| program.connect().get(path, headers);
    for _ in 0..2 {
        let out = get("/optout?s=acme", &[("Cookie", "__Host-cp_optout.acme=1")]);
        assert_eq!(out.status, 204);
        let lines = out.cookies("__Host-cp_optout.acme");
        assert!(lines.len() == 2 && lines.iter().all(|line| line.starts_with("__Host-cp_optout.acme=1;")), "never toggles: {lines:?}");
    }
    // An old consent does not outlive it.
    for path in ["/optout?s=acme", "/optout"] {
        let out = get(path, &[("Cookie", &consent)]);
        let lines = out.cookies("__Host-cp_consent.acme");
        assert!(lines.len() == 2 && lines.iter().all(|line| line.starts_with("__Host-cp_consent.acme=; Max-Age=0;")), "{path}: {lines:?}");
    }
    let everywhere = get("/optout", &[("Accept", "text/html"), ("Referer", "https://elsewhere.example/")]);
    assert_eq!((everywhere.status, everywhere.header("location")), (303, Some("/choices?set=opted_out")));
    let out = pair_of(&everywhere, "__Host-cp_optout");
    assert!(out.ends_with("=1"));
    let kept = get("/choices?set=opted_out", &[("Cookie", &out)]).text();
    assert!(kept.contains("Your choice is saved") && kept.contains("You opted out of every site"), "{kept}");
    assert!(get("/choices?set=opted_out", &[]).text().contains("Your choice was not saved"));
    // Taken back for every site, by the token of that page alone.
    let for_all = kept.split("name=token value=\"").nth(1).and_then(|rest| rest.split('"').next()).expect("a token");
    assert_eq!(post("/optin", &format!("token={token}"), &[same]).status, 403);
    let back = post("/optin", &format!("token={for_all}"), &[same]);
    assert!(back.status == 204 && back.cookies("__Host-cp_optout").iter().all(|line| line.contains("Max-Age=0")), "{back:?}");
    assert_eq!(post("/consent", &format!("choice=granted&token={for_all}"), &[same]).status, 400);

    // A link: the person sees, in their language, whether it worked.
    let html = ("Accept", "text/html,application/xhtml+xml");
    let by_link = get("/optout?s=acme&lang=de", &[html, ("Referer", "https://shop.example/privacy"), ("Sec-Fetch-Site", "cross-site")]);
    assert_eq!((by_link.status, by_link.header("location")), (303, Some("/choices?s=acme&set=opted_out&lang=de")));
    let shown = get("/choices?s=acme&set=opted_out&lang=de", &[("Cookie", "__Host-cp_optout.acme=1")]).text();
    assert!(shown.contains("<html lang=de>") && shown.contains("Ihre Wahl ist gespeichert") && shown.contains("name=lang value=\"de\""));
    let polish = get("/choices?s=acme", &[("Accept-Language", "sv, pl;q=0.8, de;q=0.3")]).text();
    assert!(polish.contains("<html lang=pl>") && !polish.contains("name=lang"));
    // The law of the caller's place.
    for (address, words) in [(FRANCE, "There, visits are recorded only with your consent"), (UNITED_STATES, "There, visits are recorded unless you object")] {
        assert!(get("/choices?s=acme", &[("X-Forwarded-For", address)]).text().contains(words), "{words}");
    }
    // A form that was open for too long is answered with a fresh one.
    let stale = post("/consent", &format!("s=acme&choice=granted&token={}", "0".repeat(32)), &[same, html]);
    assert!(stale.status == 403 && stale.header("set-cookie").is_none() && stale.text().contains("Your choice was not saved") && stale.text().contains(&token));

    for (cookie, words) in [(consent.as_str(), "You agreed"), ("__Host-cp_optout.acme=1", "You opted out"), ("__Host-cp_consent.acme=1.-.1", "You refused")] {
        assert!(get("/choices?s=acme", &[("Cookie", cookie)]).text().contains(words), "{words}");
    }
    let remembered = get("/p.gif?s=acme&id=by-cookie", &[("X-Forwarded-For", FRANCE), ("Cookie", &consent)]);
    let id = pair_of(&remembered, "__Host-cp_id.acme");
    let page = get("/choices?s=acme", &[("Cookie", &format!("{consent}; {id}"))]).text();
    assert!(page.contains(id.split(['=', '.']).nth(2).unwrap()), "the visitor's own number is shown");
    program.stop();
    let row = row(&home, "by-cookie");
    assert_eq!((&row["legal_basis"], &row["consent_source"]), (&json!("consent"), &json!("cookie")));
}

#[test]
fn an_id_is_good_for_its_site_alone_and_a_daily_number_for_its_day() {
    let sites = "[[site]]\nkey = \"acme\"\n[[site]]\nkey = \"other\"\n[[site]]\nkey = \"day\"\nidentity = \"daily\"\n[[site]]\nkey = \"same-day\"\nidentity = \"daily\"\n";
    let home = Home::new(Settings { door: BEHIND_PROXY, sites, ..Settings::default() });
    let program = home.start();
    let hit = |program: &Program, query: &str, cookie: &str| {
        program.connect().get(&format!("/p.gif?{query}"), &[("X-Forwarded-For", UNITED_STATES), ("User-Agent", "Mozilla/5.0 (X11; Linux x86_64) Firefox/140.0"), ("Cookie", cookie)])
    };
    let own = pair_of(&hit(&program, "s=acme&id=own", "a=b"), "__Host-cp_id.acme");
    let carried = own.replace("cp_id.acme", "cp_id.other");
    let made = pair_of(&hit(&program, "s=other&id=carried", &carried), "__Host-cp_id.other");
    assert_ne!(made, carried, "an id of one site is taken by another");
    for (site, id) in [("day", "day-1"), ("same-day", "same-day-1")] {
        assert!(hit(&program, &format!("s={site}&id={id}"), "a=b").header("set-cookie").is_none());
    }
    program.stop();
    let salt = std::fs::read(home.data().join("salt")).unwrap();
    let program = home.start();
    hit(&program, "s=day&id=day-2", "a=b");
    program.stop();
    let visitor = |event_id: &str| row(&home, event_id)["visitor_id"].as_str().unwrap().to_owned();
    let of_acme = own.split(['=', '.']).nth(2).unwrap();
    assert_eq!(visitor("own"), of_acme);
    assert_ne!(visitor("carried"), of_acme);
    assert_ne!(visitor("day-1"), visitor("same-day-1"), "one number on two sites");
    // Midnight may lie between the two.
    if row(&home, "day-1")["day"] == row(&home, "day-2")["day"] {
        assert_eq!(visitor("day-1"), visitor("day-2"), "a restart within the day");
        assert_eq!(std::fs::read(home.data().join("salt")).unwrap(), salt);
    } else {
        assert_ne!(visitor("day-1"), visitor("day-2"));
    }
    // A salt of a day that is over is wiped by whoever starts, before any visitor comes.
    std::fs::write(home.data().join("salt"), [&1_i64.to_le_bytes(), &salt[8..]].concat()).unwrap();
    let program = home.start();
    eventually("the old salt is gone", || if std::fs::read(home.data().join("salt")).unwrap() == [0; 40] { Ok(()) } else { Err("there".to_owned()) });
    program.stop();
}

#[test]
fn forwarding_headers_are_believed_from_trusted_peers_alone() {
    let headers: [(&str, &[(&str, &str)]); 6] = [
        ("left-is-said-by-the-sender", &[("X-Forwarded-For", "8.8.8.8, 90.0.0.1")]),
        ("two-lines-are-one-list", &[("X-Forwarded-For", "90.0.0.1"), ("X-Forwarded-For", "8.8.8.8")]),
        ("our-own-hop-is-passed-over", &[("X-Forwarded-For", "90.0.0.1, 8.8.8.8, 127.0.0.9")]),
        ("unreadable-is-nowhere", &[("X-Forwarded-For", "8.8.8.8, nonsense")]),
        ("forwarded", &[("Forwarded", "for=90.0.0.1;proto=https, for=\"8.8.8.8:4711\"")]),
        ("nothing-said-is-the-peer", &[]),
    ];
    let places = |door: &str| {
        let home = Home::new(Settings { door, ..Settings::default() });
        let program = home.start();
        let mut client = program.connect();
        for (event_id, headers) in headers {
            client.get(&format!("/p.gif?s=acme&consent=granted&id={event_id}"), headers);
        }
        program.stop();
        headers.map(|(event_id, _)| row(&home, event_id)["country"].as_str().map(str::to_owned))
    };
    let [us, fr] = ["US", "FR"].map(|code| Some(code.to_owned()));
    assert_eq!(places(BEHIND_PROXY), [fr, us.clone(), us.clone(), None, us, None]);
    assert_eq!(places(""), [const { None }; 6]);
}
