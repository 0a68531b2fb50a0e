//! The model test of journal, flush and commit: whatever fails, and wherever the program stops,
//! every acknowledged hit is in the lake exactly once.
//!
//! Two parts: one fixed scenario with every fault at every single operation of the disk and of the
//! store, and generated histories (`PROPTEST_CASES` for more; a failing one is shrunk and printed).
//! And the same for maintenance: whatever fails, old rows or new ones are there, and a later turn ends it.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on stops")]
#![expect(clippy::print_stdout, reason = "says how many cases ran, under --nocapture")]
#![expect(clippy::disallowed_methods, reason = "PROPTEST_CASES asks for more cases; maintainers and collectors run beside one another")]

mod disk;
mod faults;
mod rivals;
mod store;
mod upkeep;
mod upkeep_faults;
mod world;

use faults::{Dice, Fault};
use proptest::prelude::*;
use world::{End, Plan, World};

/// Two groups, one tally, a flush, a group, a flush; who was told "failed" tries again, and so does
/// the flusher. Ends early where the program stops.
fn scenario(world: &mut World, plan: &Plan) {
    if !world.start(plan) {
        return;
    }
    world.send(0, 2, false, plan);
    world.send(0, 1, false, plan);
    world.send(1, 0, true, plan);
    let _ = world.send_again(0, plan) || world.send_again(1, plan);
    world.pass_hours(5);
    let _ = world.flush(plan) || world.flush(plan);
    world.send(0, 2, false, plan);
    let _ = world.send_again(1, plan) || world.send_again(0, plan);
    let _ = world.flush(plan) || world.flush(plan);
}

fn run_scenario(on_store: bool, faults: &[(usize, Fault)], end: End) -> std::thread::Result<()> {
    let ran = || {
        let plan = Plan::none();
        for (number, fault) in faults {
            if on_store { &plan.store } else { &plan.shelf }.plan(*number, *fault);
        }
        let mut world = World::new(faults.iter().map(|(number, _)| *number as u64).sum());
        scenario(&mut world, &plan);
        world.resume(&plan);
        if world.is_alive() || plan.has_stopped() {
            world.end(end);
        }
        world.finish();
    };
    std::panic::catch_unwind(ran)
}

/// Whether each operation of the scenario changes something, where nothing goes wrong.
fn operations(on_store: bool) -> Vec<bool> {
    let plan = Plan::none();
    let mut world = World::new(0);
    scenario(&mut world, &plan);
    world.finish();
    if on_store { plan.store.done() } else { plan.shelf.done() }
}

fn every_operation(on_store: bool) {
    let operations = operations(on_store);
    // The lake's disk loses nothing that it promised: for it, a power loss is only worse for the journal.
    let ends: &[End] = if on_store { &[End::PowerLost] } else { &[End::Killed, End::PowerLost] };
    let (mut runs, mut failed) = (0, Vec::new());
    for (number, changes) in operations.iter().enumerate() {
        let faults: &[Fault] = match (on_store, changes) {
            (true, true) => &[Fault::Fails, Fault::FailsAfter, Fault::FailsAsRival, Fault::StopsBefore, Fault::StopsAfter],
            (false, true) => &[Fault::Fails, Fault::FailsAfter, Fault::StopsBefore, Fault::StopsAfter],
            (_, false) => &[Fault::Fails, Fault::StopsBefore],
        };
        for fault in faults {
            for end in ends {
                runs += 1;
                if run_scenario(on_store, &[(number, *fault)], *end).is_err() {
                    failed.push((number, *fault, *end));
                }
            }
        }
    }
    println!("{} operations, {runs} runs", operations.len());
    assert!(failed.is_empty(), "(operation, fault, end): {failed:?}");
}

#[test]
fn every_fault_at_every_operation_of_the_disk() {
    every_operation(false);
}

#[test]
fn every_fault_at_every_operation_of_the_store() {
    every_operation(true);
}

/// What fails and is sent again must not come back when the power goes soon after.
#[test]
fn every_error_of_the_disk_and_a_power_loss_soon_after() {
    let (mut runs, mut failed) = (0, Vec::new());
    for (number, _) in operations(false).iter().enumerate().filter(|(_, changes)| **changes) {
        for fault in [Fault::Fails, Fault::FailsAfter] {
            for later in 1..=5 {
                runs += 1;
                if run_scenario(false, &[(number, fault), (number + later, Fault::StopsBefore)], End::PowerLost).is_err() {
                    failed.push((number, fault, later));
                }
            }
        }
    }
    println!("{runs} runs");
    assert!(failed.is_empty(), "(operation, fault, operations until the power loss): {failed:?}");
}

/// A commit whose answer was lost, and a lake that cannot be looked at just then.
#[test]
fn every_lost_answer_of_the_store_and_an_error_after_it() {
    let (mut runs, mut failed) = (0, Vec::new());
    for (number, _) in operations(true).iter().enumerate().filter(|(_, changes)| **changes) {
        for fault in [Fault::FailsAfter, Fault::FailsAsRival] {
            runs += 1;
            if run_scenario(true, &[(number, fault), (number + 1, Fault::Fails), (number + 2, Fault::Fails)], End::Killed).is_err() {
                failed.push((number, fault));
            }
        }
    }
    println!("{runs} runs");
    assert!(failed.is_empty(), "(operation, fault): {failed:?}");
}

/// A step of a generated history.
#[derive(Debug, Clone)]
enum Step {
    Send { writer: usize, hits: usize, tally: bool },
    SendAgain { writer: usize },
    Seal { writer: usize },
    Flush,
    Hours(i64),
    /// The operation so many from now goes wrong.
    Fault { on_store: bool, after: usize, fault: Fault },
    /// The program ends, and starts again; where a fault is planned, it meets the start.
    Restart { end: End, on_store: bool, fault: Option<(usize, Fault)> },
}

fn fault() -> impl Strategy<Value = Fault> {
    prop_oneof![
        3 => Just(Fault::Fails),
        2 => Just(Fault::FailsAfter),
        1 => Just(Fault::FailsAsRival),
        1 => Just(Fault::StopsBefore),
        1 => Just(Fault::StopsAfter),
    ]
}

fn end() -> impl Strategy<Value = End> {
    prop_oneof![Just(End::Killed), Just(End::PowerLost)]
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => (0..2_usize, 0..4_usize, any::<bool>()).prop_map(|(writer, hits, tally)| Step::Send { writer, hits, tally: tally || hits == 0 }),
        3 => (0..2_usize).prop_map(|writer| Step::SendAgain { writer }),
        1 => (0..2_usize).prop_map(|writer| Step::Seal { writer }),
        4 => Just(Step::Flush),
        1 => (1..30_i64).prop_map(Step::Hours),
        6 => (any::<bool>(), 0..25_usize, fault()).prop_map(|(on_store, after, fault)| Step::Fault { on_store, after: if on_store { after } else { after / 6 }, fault }),
        2 => (end(), any::<bool>(), proptest::option::of((0..25_usize, fault()))).prop_map(|(end, on_store, fault)| Step::Restart { end, on_store, fault }),
    ]
}

fn run_history(seed: u64, steps: &[Step]) {
    let mut world = World::new(seed);
    let mut dice = Dice::new(seed);
    let mut plan = Plan::none();
    assert!(world.start(&plan));
    for step in steps {
        match step {
            Step::Send { writer, hits, tally } => {
                world.send(*writer, *hits, *tally, &plan);
            }
            Step::SendAgain { writer } => {
                world.send_again(*writer, &plan);
            }
            Step::Seal { writer } => world.seal(*writer),
            Step::Flush => {
                world.flush(&plan);
            }
            Step::Hours(hours) => world.pass_hours(*hours),
            Step::Fault { on_store, after, fault } => if *on_store { &plan.store } else { &plan.shelf }.plan(*after, *fault),
            Step::Restart { end, on_store, fault } => {
                world.end(*end);
                plan = Plan::none();
                if let Some((after, fault)) = fault {
                    if *on_store { &plan.store } else { &plan.shelf }.plan(if *on_store { *after } else { after / 6 }, *fault);
                }
                world.start(&plan);
            }
        }
        if plan.has_stopped() || !world.is_alive() {
            world.end(if dice.below(2) == 0 { End::Killed } else { End::PowerLost });
            plan = Plan::none();
            assert!(world.start(&plan), "a start in which nothing goes wrong");
        }
    }
    world.resume(&plan);
    world.finish();
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(80),
        failure_persistence: None,
        max_shrink_iters: 400,
        ..ProptestConfig::default()
    })]

    #[test]
    fn generated_histories(seed: u64, steps in proptest::collection::vec(step(), 1..40)) {
        run_history(seed, &steps);
    }
}
