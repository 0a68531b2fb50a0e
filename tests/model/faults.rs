//! Owns what goes wrong and when: a count of operations, and a plan for some of them.
//!
//! Shared by the disk under the journal and the store under the lake, one for each.

use std::sync::{Arc, Mutex};

/// What goes wrong with an operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// An error, and nothing of it happened (of an append: a part of it did).
    Fails,
    /// An error, and yet all of it happened.
    FailsAfter,
    /// The same, reported as "someone else was first": what a store says whose client repeats a
    /// conditional write after its answer was lost.
    FailsAsRival,
    /// The program stops before it. Nothing happens any more.
    StopsBefore,
    /// The program stops after it.
    StopsAfter,
}

/// How an operation goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Course {
    pub happens: bool,
    pub error: Option<Fault>,
}

/// Counts operations and lets the planned one go wrong.
#[derive(Default)]
pub struct Faults(Mutex<State>);

#[derive(Default)]
struct State {
    /// Whether each operation so far changes something.
    done: Vec<bool>,
    plan: Vec<(usize, Fault)>,
    has_stopped: bool,
}

impl Faults {
    /// The `after`th operation from now on goes wrong so.
    pub fn plan(&self, after: usize, fault: Fault) {
        let mut state = self.0.lock().unwrap();
        let at = state.done.len() + after;
        state.plan.push((at, fault));
    }

    /// Nothing goes wrong any more.
    pub fn calm(&self) {
        self.0.lock().unwrap().plan.clear();
    }

    pub fn none() -> Arc<Self> {
        Arc::default()
    }

    pub fn has_stopped(&self) -> bool {
        self.0.lock().unwrap().has_stopped
    }

    pub fn stop(&self) {
        self.0.lock().unwrap().has_stopped = true;
    }

    /// Whether each operation so far changes something.
    pub fn done(&self) -> Vec<bool> {
        self.0.lock().unwrap().done.clone()
    }

    pub fn next(&self, changes: bool) -> Course {
        let mut state = self.0.lock().unwrap();
        if state.has_stopped {
            return Course { happens: false, error: Some(Fault::StopsBefore) };
        }
        let number = state.done.len();
        state.done.push(changes);
        let fault = state.plan.iter().find(|(at, _)| *at == number).map(|(_, fault)| *fault);
        state.has_stopped = matches!(fault, Some(Fault::StopsBefore | Fault::StopsAfter));
        Course { happens: !matches!(fault, Some(Fault::Fails | Fault::StopsBefore)), error: fault }
    }
}

/// Random numbers that a seed repeats (SplitMix64).
pub struct Dice(u64);

impl Dice {
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((mixed ^ (mixed >> 31)) % bound.max(1) as u64).unwrap()
    }
}
