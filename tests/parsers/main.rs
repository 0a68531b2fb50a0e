//! Owns the proofs about every reader of what strangers send: the fuzzers' promises, kept for all that the
//! fuzzers found, and the bounds of what a reader takes.

#![expect(clippy::expect_used, clippy::panic, reason = "a test that cannot go on has failed")]

// Where `targets` looks for them.
use clearpixel::{door, hit, rules};

mod bounds;
mod corpus;
mod inputs;
#[path = "../../fuzz/src/targets.rs"]
mod targets;
