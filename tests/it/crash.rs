//! Proves what an acknowledgement is worth: under load the program is killed again and again, and in the
//! end every acknowledged hit is in the lake exactly once.

use crate::program::{BEHIND_PROXY, Client, Dice, Home, Settings, UNITED_STATES, eventually};
use serde_json::json;
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// Where the collector is at the moment, if it is.
type Target = Arc<Mutex<Option<SocketAddr>>>;

/// A sender that numbers its hits. What was not acknowledged it sends again, under the same number.
struct Sender {
    name: String,
    /// Hits in one call: 1 goes by pixel, more by `POST /e`.
    batch: u64,
    acknowledged: Arc<Mutex<BTreeSet<String>>>,
}

impl Sender {
    /// Sends until told to stop, and then until all that was sent is acknowledged.
    fn send(&self, target: &Target, stop: &AtomicBool) {
        let mut next = 0;
        let mut connection: Option<(SocketAddr, Client)> = None;
        while !stop.load(Ordering::Acquire) {
            let ids: Vec<String> = (next..next + self.batch).map(|number| format!("{}-{number}", self.name)).collect();
            self.until_acknowledged(&ids, target, &mut connection);
            self.acknowledged.lock().unwrap().extend(ids);
            next += self.batch;
        }
    }

    fn until_acknowledged(&self, ids: &[String], target: &Target, connection: &mut Option<(SocketAddr, Client)>) {
        eventually("an acknowledgement", || {
            let address = (*target.lock().unwrap()).ok_or("no collector")?;
            if connection.as_ref().is_none_or(|(known, _)| *known != address) {
                let client = Client::connect(address).map_err(|error| error.to_string())?;
                *connection = Some((address, client));
            }
            let Some((_, client)) = connection else { return Err("no connection".to_owned()) };
            let sent = call(client, ids);
            if sent.is_err() {
                *connection = None;
            }
            match sent.map_err(|error| error.to_string())? {
                200 | 204 => Ok(()),
                status => Err(status.to_string()),
            }
        });
    }
}

fn call(client: &mut Client, ids: &[String]) -> std::io::Result<u16> {
    let from = [("X-Forwarded-For", UNITED_STATES)];
    let answer = match ids {
        [id] => client.try_call("GET", &format!("/p.gif?s=acme&u=https%3A%2F%2Fshop.example%2F{id}%3Ftoken%3Dabc&id={id}"), &from, b""),
        _ => {
            let events: Vec<_> = ids.iter().map(|id| json!({"site": "acme", "event_id": id, "event": "click", "target_url": "https://shop.example/?token=abc"})).collect();
            client.try_call("POST", "/e", &from, serde_json::to_string(&events).unwrap().as_bytes())
        }
    };
    answer.map(|answer| answer.status)
}

fn start_senders(target: &Target, stop: &Arc<AtomicBool>, acknowledged: &Arc<Mutex<BTreeSet<String>>>) -> Vec<JoinHandle<()>> {
    let senders = [("pixel-a", 1), ("pixel-b", 1), ("pixel-c", 1), ("batch-a", 7), ("batch-b", 40)];
    let start = |(name, batch): (&str, u64)| {
        let sender = Sender { name: name.to_owned(), batch, acknowledged: acknowledged.clone() };
        let (target, stop) = (target.clone(), stop.clone());
        thread::spawn(move || sender.send(&target, &stop))
    };
    senders.map(start).into()
}

const ROUNDS: u64 = 24;

#[test]
fn after_any_number_of_kills_each_acknowledged_hit_is_there_once() {
    let mut dice = Dice::thrown("crash");
    let home = Home::new(Settings { door: BEHIND_PROXY, ..Settings::default() });
    let (target, stop, acknowledged) = (Target::default(), Arc::new(AtomicBool::new(false)), Arc::default());
    let senders = start_senders(&target, &stop, &acknowledged);
    for round in 0..ROUNDS {
        if round % 4 == 3 {
            // While it starts: opening its files, replaying the journal, committing what it found.
            let starting = home.spawn();
            thread::sleep(Duration::from_micros(dice.between(0, 250_000)));
            starting.kill();
        }
        let program = home.start();
        *target.lock().unwrap() = Some(program.public);
        // Up to beyond a flush, so that kills meet commits as well as appends.
        thread::sleep(Duration::from_millis(dice.between(20, 1_500)));
        program.kill();
        *target.lock().unwrap() = None;
    }
    let program = home.start();
    *target.lock().unwrap() = Some(program.public);
    stop.store(true, Ordering::Release);
    for sender in senders {
        sender.join().unwrap();
    }
    let acknowledged = acknowledged.lock().unwrap();
    let sent = acknowledged.len() as u64;
    println!("crash: {sent} hits acknowledged over {ROUNDS} kills");
    assert!(sent > ROUNDS * 10, "only {sent} hits: the load was none");
    let ledger = eventually("a ledger that has them all", || {
        let seen = program.ledger("acme");
        if seen["stored"].as_u64() == Some(sent) { Ok(seen) } else { Err(format!("{seen} for {sent} acknowledged")) }
    });
    let of = |name: &str| ledger[name].as_u64().unwrap();
    let refused: u64 = ledger["refused"].as_object().unwrap().values().filter_map(serde_json::Value::as_u64).sum();
    assert_eq!(of("received"), of("stored") + of("duplicate") + of("failed") + refused, "{ledger}");
    assert_eq!(ledger["scrubbed"], json!({"query": sent}), "one parameter was dropped from each hit");
    program.stop();

    let rows = home.query("select event_id from interactions");
    let kept: BTreeSet<String> = rows.iter().map(|row| row["event_id"].as_str().unwrap().to_owned()).collect();
    assert_eq!(rows.len(), kept.len(), "some hits are there twice");
    let lost: Vec<_> = acknowledged.difference(&kept).take(10).collect();
    let unasked: Vec<_> = kept.difference(&acknowledged).take(10).collect();
    assert!(lost.is_empty() && unasked.is_empty(), "lost {lost:?}, not acknowledged {unasked:?}");
    for sql in [
        "select count(distinct event_id) as n from interactions",
        "select sum(interactions) as n from trends where dimension = 'all'",
        "select sum(interactions) as n from trends where dimension = 'event'",
        "select sum(interactions) as n from trends where dimension = 'outcome' and value = 'stored'",
        "select sum(interactions) as n from trends where dimension = 'scrubbed' and value = 'query'",
    ] {
        assert_eq!(home.number(sql), sent, "{sql}");
    }
    assert_eq!(std::fs::read_dir(home.data().join("journal")).unwrap().count(), 0, "the journal is empty after a stop");
}

#[test]
fn sigterm_under_load_keeps_what_was_acknowledged() {
    let home = Home::new(Settings { door: BEHIND_PROXY, flush_after: "1h", ..Settings::default() });
    let program = home.start();
    let address = program.public;
    let acknowledged: Arc<Mutex<BTreeSet<String>>> = Arc::default();
    let senders: Vec<_> = [("a", 1), ("b", 1), ("c", 10), ("d", 100)]
        .into_iter()
        .map(|(name, batch)| {
            let acknowledged = acknowledged.clone();
            thread::spawn(move || {
                let mut client = Client::connect(address).unwrap();
                for number in 0.. {
                    let ids: Vec<String> = (0..batch).map(|at| format!("{name}-{number}-{at}")).collect();
                    match call(&mut client, &ids) {
                        Ok(200 | 204) => acknowledged.lock().unwrap().extend(ids),
                        Ok(status) => panic!("answered {status} while it stops"),
                        Err(_) => break,
                    }
                }
            })
        })
        .collect();
    eventually("a load", || match acknowledged.lock().unwrap().len() {
        seen if seen > 500 => Ok(()),
        seen => Err(format!("{seen} hits")),
    });
    program.stop();
    for sender in senders {
        sender.join().unwrap();
    }
    let rows = home.query("select event_id from interactions");
    let kept: BTreeSet<String> = rows.iter().map(|row| row["event_id"].as_str().unwrap().to_owned()).collect();
    assert_eq!(rows.len(), kept.len(), "some hits are there twice");
    let acknowledged = acknowledged.lock().unwrap();
    let lost: Vec<_> = acknowledged.difference(&kept).take(10).collect();
    assert!(lost.is_empty(), "{} acknowledged, lost {lost:?}", acknowledged.len());
    assert_eq!(home.number("select sum(interactions) as n from trends where dimension = 'all'"), rows.len() as u64);
}

#[test]
fn a_start_after_a_crash_knows_repeats_visits_and_the_ledger_at_once() {
    let home = Home::new(Settings { door: BEHIND_PROXY, flush_after: "1h", ..Settings::default() });
    let program = home.start();
    let us = [("X-Forwarded-For", UNITED_STATES)];
    let first = program.connect().get("/p.gif?s=acme&id=a", &us);
    let cookie = first.cookies("__Host-cp_id.acme")[0].split(';').next().unwrap().to_owned();
    let same = [us[0], ("Cookie", cookie.as_str())];
    assert_eq!(program.connect().get("/p.gif?s=acme&id=b", &same).status, 200);
    program.kill();

    let program = home.start();
    let ledger = |received: u64, stored: u64, duplicate: u64| json!({"received": received, "stored": stored, "duplicate": duplicate, "failed": 0, "refused": {}});
    program.await_ledger("acme", &ledger(2, 2, 0));
    for id in ["a", "b", "c"] {
        assert_eq!(program.connect().get(&format!("/p.gif?s=acme&id={id}"), &same).status, 200);
    }
    program.await_ledger("acme", &ledger(5, 3, 2));
    program.stop();
    assert_eq!(home.rows(), 3);
    assert_eq!(home.number("select count(distinct visit_id) as n from interactions"), 1);
    assert_eq!(home.number("select sum(visits) as n from trends where dimension = 'all'"), 1);
}
