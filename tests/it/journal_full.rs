//! Proves what happens where hits cannot be kept: they are told so, counted as failed, and taken again
//! without anybody's doing once there is space.

use crate::program::{BEHIND_PROXY, Home, Settings, UNITED_STATES, eventually};
use serde_json::json;

#[test]
fn a_full_journal_answers_503_and_comes_back_by_itself() {
    let home = Home::new(Settings { door: BEHIND_PROXY, flush_after: "8s", sections: "[journal]\nbytes_max = \"64 KiB\"\n", ..Settings::default() });
    let program = home.start();
    let mut client = program.connect();
    let from = [("X-Forwarded-For", UNITED_STATES)];
    let (mut stored, mut failed) = (0, 0);
    let mut number = 0;
    let mut batch = |size: u64| {
        let events: Vec<_> = (0..size).map(|at| json!({"site": "acme", "event_id": format!("{number}-{at}")})).collect();
        number += 1;
        let answer = client.call("POST", "/e", &from, serde_json::to_string(&events).unwrap().as_bytes());
        match answer.status {
            204 => stored += size,
            503 => failed += size,
            other => panic!("{other}: {}", answer.text()),
        }
        answer
    };
    let full = eventually("a full journal", || {
        let answer = batch(50);
        if answer.status == 503 { Ok(answer) } else { Err("every hit was taken".to_owned()) }
    });
    assert_eq!(full.header("retry-after"), Some("1"));
    // Down to the last bytes, so that not even one hit goes in.
    eventually("not one hit more", || if batch(1).status == 503 { Ok(()) } else { Err("one more was taken".to_owned()) });
    let pixel = program.connect().pixel_from(UNITED_STATES, "s=acme&id=pixel");
    assert_eq!((pixel.status, pixel.header("retry-after"), pixel.header("content-type"), pixel.body.len()), (503, Some("1"), Some("image/gif"), 43));
    failed += 1;
    // What is refused needs no space.
    assert_eq!(program.connect().get("/p.gif?s=acme&child=1", &from).status, 200);
    let unwritten = json!({"received": stored + failed + 1, "stored": stored, "duplicate": 0, "failed": failed, "refused": {"child": 1}});
    program.await_ledger("acme", &unwritten);

    // The flush makes space. A hit that failed is no repeat when it comes again.
    let mut client = program.connect();
    eventually("the service", || match client.pixel_from(UNITED_STATES, "s=acme&id=pixel").status {
        200 => Ok(()),
        status => {
            failed += 1;
            Err(status.to_string())
        }
    });
    stored += 1;
    let whole = json!({"received": stored + failed + 1, "stored": stored, "duplicate": 0, "failed": failed, "refused": {"child": 1}});
    program.await_ledger("acme", &whole);
    program.stop();
    assert_eq!(home.rows(), stored);
    let again = home.start();
    again.await_ledger("acme", &whole);
    again.stop();
}
