//! Owns the tests of the whole program: each starts the real binary on free ports with a folder of its
//! own, talks to it over sockets, ends it by a signal, and looks into the lake that it left.

#![expect(clippy::type_complexity, reason = "tables of cases read best where they stand")]
#![expect(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test that cannot go on has failed")]
#![expect(clippy::print_stdout, reason = "seeds and sums, for whoever reads a failure")]
#![expect(clippy::disallowed_methods, clippy::disallowed_types, reason = "watches the program from outside: its addresses, with threads and deadlines of its own")]

mod admin;
mod answers;
mod canary;
mod connections;
mod consent;
mod crash;
mod erasure;
mod foreign;
mod geo;
mod import;
mod journal_full;
mod ledger;
mod maintain;
mod people;
mod opendsr;
mod program;
mod recovery;
mod rights;
mod rulings;
mod server_events;
mod settings;
mod share;
mod site_add;
mod tls;
