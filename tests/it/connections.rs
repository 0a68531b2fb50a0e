//! Holds the life of a connection: its first word, however it comes, and what follows it; crowds of new ones; and those
//! who say nothing.

use crate::program::{Answer, BEHIND_PROXY, Client, Home, Program, Settings, UNITED_STATES, connected};
use serde_json::json;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr};
use std::thread;
use std::time::{Duration, Instant};

const CLOSE: (&str, &str) = ("Connection", "close");
/// Who says nothing for so long is let go.
const SILENCE: Duration = Duration::from_secs(10);
const ADDRESS: (&str, &str) = ("X-Forwarded-For", UNITED_STATES);

/// In one the worker writes the journal itself, in the other it waits for who does.
fn each_durability(test: impl Fn(&Program)) {
    each_until_its_stop(|program| {
        test(&program);
        program.stop();
    });
}

/// The same for who stops it.
fn each_until_its_stop(test: impl Fn(Program)) {
    for durability in ["process", "disk"] {
        let sections = format!("[journal]\ndurability = \"{durability}\"\n");
        let home = Home::new(Settings { door: BEHIND_PROXY, sections: &sections, ..Settings::default() });
        test(home.start());
    }
}

fn last(address: SocketAddr, query: &str) -> (Answer, usize) {
    let mut client = Client::connect(address).unwrap();
    let answer = client.get(&format!("/p.gif?{query}"), &[ADDRESS, CLOSE]);
    (answer, client.into_stream().read(&mut [0; 1]).unwrap())
}

#[test]
fn a_first_request_is_answered_however_it_comes() {
    each_durability(|program| {
        let connect = || Client::connect(program.public).unwrap();
        let pixel = format!("GET /p.gif?s=acme HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: {UNITED_STATES}\r\n\r\n");
        let (answer, further) = last(program.public, "s=acme");
        assert_eq!((answer.status, answer.header("connection"), answer.body.len(), further), (200, Some("close"), 43, 0));

        let mut kept = connect();
        for _ in 0..3 {
            let answer = kept.pixel_from(UNITED_STATES, "s=acme");
            assert_eq!((answer.status, answer.header("connection")), (200, None));
        }
        assert_eq!(kept.get("/tag.js", &[]).status, 200);
        assert_eq!(kept.pixel_from(UNITED_STATES, "s=acme").status, 200);

        let mut in_parts = connect();
        for part in [&pixel[..9], &pixel[9..]] {
            in_parts.send_bytes(part.as_bytes()).unwrap();
            thread::sleep(Duration::from_millis(50));
        }
        assert_eq!(in_parts.read_answer(false).unwrap().status, 200);

        let mut late = connect();
        thread::sleep(Duration::from_millis(1_500));
        for _ in 0..2 {
            assert_eq!(late.pixel_from(UNITED_STATES, "s=acme").status, 200, "longer than a connection is kept back");
        }

        let mut at_once = connect();
        at_once.send_bytes(pixel.repeat(2).as_bytes()).unwrap();
        assert_eq!([(); 2].map(|()| at_once.read_answer(false).unwrap().status), [200, 200]);

        let mut other = connect();
        assert_eq!(other.get("/no-such-page", &[]).status, 404);
        assert_eq!(other.pixel_from(UNITED_STATES, "s=acme").status, 200);

        let mut rubbish = connect();
        rubbish.send_bytes(b"\0\0\0\0").unwrap();
        assert_eq!(rubbish.read_answer(false).unwrap().status, 400);
        drop(connect());

        program.await_ledger("acme", &json!({"received": 11, "stored": 11, "duplicate": 0, "failed": 0, "refused": {}}));
    });
}

#[test]
fn a_crowd_of_new_connections_is_answered_and_counted() {
    each_durability(|program| {
        let public = program.public;
        let idle: Vec<_> = (0..40).map(|_| connected(public).unwrap()).collect();
        let mut kept = Client::connect(public).unwrap();
        let crowd: Vec<_> = (0..8)
            .map(|client| {
                thread::spawn(move || {
                    (0..50).all(|at| {
                        let own = last(public, &format!("s=acme&id=c{client}-{at}"));
                        // Eight at once ask for the same: one of them is stored, and none is answered before it is.
                        let shared = last(public, &format!("s=acme&id=shared-{at}"));
                        let refused = last(public, "s=acme&consent=denied");
                        [own, shared, refused].iter().all(|(answer, further)| answer.status == 200 && *further == 0)
                    })
                })
            })
            .collect();
        assert!((0..100).all(|_| kept.pixel_from(UNITED_STATES, "s=acme").status == 200));
        assert!(crowd.into_iter().all(|client| client.join().unwrap()));
        program.await_ledger("acme", &json!({"received": 1_300, "stored": 400 + 50 + 100, "duplicate": 350, "failed": 0, "refused": {"no_consent": 400}}));
        drop(idle);
    });
}

/// What comes while the answer before is not there yet, and what comes with the end.
#[test]
fn who_does_not_wait_for_an_answer_has_each_in_its_turn() {
    each_durability(|program| {
        let pixel = |id: String| format!("GET /p.gif?s=acme&id={id} HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: {UNITED_STATES}\r\n\r\n");
        let connect = || Client::connect(program.public).unwrap();
        for round in 0..40 {
            let mut hasty = connect();
            for at in 0..3 {
                hasty.send_bytes(pixel(format!("h{round}-{at}")).as_bytes()).unwrap();
                // From all in one read to each in its own.
                thread::sleep(Duration::from_micros(round * 25));
            }
            assert!((0..3).all(|_| hasty.read_answer(false).unwrap().status == 200), "round {round}");
        }
        let mut hasty = connect();
        // The same, to the same end: repeats wait for the one that they repeat.
        for _ in 0..3 {
            hasty.send_bytes(pixel("same".to_owned()).as_bytes()).unwrap();
            thread::sleep(Duration::from_micros(300));
        }
        assert!((0..3).all(|_| hasty.read_answer(false).unwrap().status == 200));
        for is_first in [true, false] {
            let mut ending = connect();
            if !is_first {
                assert_eq!(ending.pixel_from(UNITED_STATES, "s=acme&id=ending").status, 200);
            }
            ending.send_bytes(pixel(format!("end-{is_first}")).as_bytes()).unwrap();
            let (mut stream, mut answer, began) = (ending.into_stream(), Vec::new(), Instant::now());
            stream.shutdown(Shutdown::Write).unwrap();
            stream.read_to_end(&mut answer).unwrap();
            assert!(began.elapsed() < SILENCE, "it was let go for its silence");
            assert!(answer.starts_with(b"HTTP/1.1 200 "), "first {is_first}: {} bytes", answer.len());
        }
        program.await_ledger("acme", &json!({"received": 126, "stored": 124, "duplicate": 2, "failed": 0, "refused": {}}));
    });
}

#[test]
fn a_stop_waits_for_no_connection_that_is_idle() {
    each_until_its_stop(|program| {
        let kept: Vec<_> = (0..20)
            .map(|_| {
                let mut client = Client::connect(program.public).unwrap();
                assert_eq!(client.pixel_from(UNITED_STATES, "s=acme").status, 200);
                client
            })
            .collect();
        let began = Instant::now();
        program.stop();
        assert!(began.elapsed() < Duration::from_secs(8), "connections are waited for");
        assert!(kept.into_iter().all(|client| client.into_stream().read(&mut [0; 1]).unwrap_or(0) == 0));
    });
}

/// Each asks for far more than the system keeps for it; one begins to take it in time.
#[test]
fn who_takes_none_of_its_answers_is_let_go() {
    const ASKED: usize = 2_000;
    let home = Home::new(Settings { door: BEHIND_PROXY, ..Settings::default() });
    let program = home.start();
    let takers = [Duration::from_secs(2), SILENCE + Duration::from_secs(5)].map(|late| {
        let mut asking = connected(program.public).unwrap();
        let mut client = Client::over(asking.try_clone().unwrap());
        // What it asks waits with the system as well.
        let asked = thread::spawn(move || (0..ASKED).take_while(|_| asking.write_all(b"GET /tag.js HTTP/1.1\r\nHost: a\r\n\r\n").is_ok()).count());
        thread::spawn(move || {
            thread::sleep(late);
            let answers = (0..ASKED).take_while(|_| client.read_answer(false).is_ok_and(|answer| answer.status == 200)).count();
            drop(client);
            (answers, asked.join().unwrap())
        })
    });
    let [(taken, asked), (too_late, _)] = takers.map(|taker| taker.join().unwrap());
    assert_eq!((taken, asked), (ASKED, ASKED));
    assert!(too_late < ASKED, "all answers were kept for who took none");
    program.stop();
}
