//! Owns maintenance under faults: it fails or stops at every single operation of the store, and a later
//! turn finishes what it began.

use crate::faults::{Fault, Faults};
use crate::store::FailingStore;
use crate::upkeep::{GRACE, Row, Rows, Upkeep, key_of, portions, row, visitor_text};
use clearpixel::lake::columns::TableName;
use clearpixel::lake::lease::TERM;
use object_store::ObjectStore;
use std::collections::BTreeSet;
use std::sync::Arc;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Work {
    Turn,
    Erasure,
}

/// Something past its term, something repeated, and somebody to erase.
fn few() -> [Vec<Row>; 2] {
    [
        vec![row(40, 0, "old", 1, 0), row(1, 0, "a", 1, 10), row(1, 0, "b", 2, 20)],
        vec![row(1, 0, "a", 1, 400), row(1, 1, "c", 1, 30)],
    ]
}

/// Works on a lake with the fault at the given operation. Returns what each operation did.
fn work(work: Work, fault: Option<(usize, Fault)>) -> Vec<bool> {
    let mut upkeep = Upkeep::new();
    for portion in few() {
        upkeep.load(&portion).unwrap();
    }
    let before = upkeep.rows();
    let faults = Faults::none();
    if let Some((at, fault)) = fault {
        faults.plan(at, fault);
    }
    let layer = |inner: Arc<dyn ObjectStore>| -> Arc<dyn ObjectStore> { Arc::new(FailingStore { inner, faults: faults.clone() }) };
    let ended = match work {
        Work::Turn => upkeep.turn(&layer).map(|_| ()),
        Work::Erasure => upkeep.erase(&layer, &[1]).map(|_| ()),
    };
    assert!(ended.is_ok() || fault.is_some(), "{ended:?}");
    // In between a reader sees rows that were there, each as often or less, and nobody's but who goes is missing.
    let between = upkeep.rows();
    assert_between(&before, &between, &upkeep.expected(if work == Work::Erasure { &[1] } else { &[] }));
    // Ingest goes on meanwhile.
    upkeep.load(&[row(1, 1, "meanwhile", 4, 7)]).unwrap();
    upkeep.pass(TERM);
    let erased: &[u8] = if work == Work::Erasure { &[1] } else { &[] };
    if work == Work::Erasure {
        upkeep.erase(&|store| store, erased).unwrap();
        let id = visitor_text(1);
        assert!(upkeep.rows().keys().all(|(site, _, _, visitor)| site != "acme" || *visitor != id));
        upkeep.assert_no_orphans_in(&[TableName::Interactions]);
    }
    upkeep.turn(&|store| store).unwrap();
    assert_eq!(upkeep.rows(), upkeep.expected(erased));
    assert_eq!(upkeep.sums().rows_of_a_key, 0);
    upkeep.pass(GRACE);
    upkeep.turn(&|store| store).unwrap();
    upkeep.assert_no_orphans();
    upkeep.assert_verified();
    faults.done()
}

fn assert_between(before: &Rows, between: &Rows, after: &Rows) {
    for (row, count) in between {
        assert!(count <= before.get(row).unwrap_or(&0), "{row:?} is there {count} times");
    }
    let kept: BTreeSet<_> = between.keys().collect();
    let missing: Vec<_> = after.keys().filter(|row| !kept.contains(row)).collect();
    assert!(missing.is_empty(), "lost {missing:?}");
}

fn every_operation(what: Work) {
    let operations = work(what, None);
    println!("{what:?}: {} operations, {} of them changes", operations.len(), operations.iter().filter(|changes| **changes).count());
    let (mut runs, mut failed) = (0, Vec::new());
    let looks_at_all = std::env::var_os("PROPTEST_CASES").is_some();
    for (number, changes) in operations.iter().enumerate() {
        let faults: &[Fault] = match changes {
            true => &[Fault::Fails, Fault::FailsAfter, Fault::FailsAsRival, Fault::StopsBefore, Fault::StopsAfter],
            // What a look that fails leaves behind depends on the changes before it alone: the first one
            // after a change and every fifth stand for the others, where nobody asks for more.
            false if looks_at_all || number % 5 == 0 || (number > 0 && operations[number - 1]) => &[Fault::Fails],
            false => &[],
        };
        for fault in faults {
            runs += 1;
            if std::panic::catch_unwind(|| work(what, Some((number, *fault)))).is_err() {
                failed.push((number, *fault));
            }
        }
    }
    println!("{what:?}: {runs} runs");
    assert!(failed.is_empty(), "(operation, fault): {failed:?}");
}

#[test]
fn every_fault_at_every_operation_of_a_turn() {
    every_operation(Work::Turn);
}

#[test]
fn every_fault_at_every_operation_of_an_erasure() {
    every_operation(Work::Erasure);
}

#[test]
fn the_model_tells_rows_apart() {
    let rows: BTreeSet<_> = portions().iter().flatten().map(key_of).collect();
    assert_eq!(rows.len(), portions().iter().map(Vec::len).sum::<usize>());
}
