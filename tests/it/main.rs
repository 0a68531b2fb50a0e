//! Owns the tests of the whole program: each starts the real binary on free ports with a folder of its
//! own, talks to it over sockets, ends it by a signal, and looks into the lake that it left.

mod admin;
mod answers;
mod canary;
mod consent;
mod crash;
mod geo;
mod import;
mod journal_full;
mod ledger;
mod program;
mod settings;
