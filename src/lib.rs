//! clearpixel: a tracking pixel and interaction-data collector that decides before it keeps.
//!
//! This file is the floor plan, read from the street down to the cellar. **A file may name only
//! files declared below it** (`tests/house.rs` reads the plan and holds every file to it), so what
//! stands at the bottom knows nothing of what stands above: the rules never see HTTP, the lake
//! never sees a socket, the words at the bottom see nobody.
//!
//! The road of one hit runs straight down this page: `door::listen` lets a connection in, `door::connections` hears it,
//! `door::pixel` takes what is plain (for the rest `door::converse` has hyper, and `door::route` finds the answer's
//! maker), `door::request` turns HTTP into a `RawHit`, `line::collect` takes it by value through the `rules` to
//! `rules::gate`, the only maker of an `Interaction`; `line::intake` makes it durable in the `journal`; then the reply
//! leaves. Later `line::flush` carries whole segments into the `lake`. Nothing walks back up. What an identify call
//! says of a person goes another way, by `line::persons` into `people`, and meets the row nowhere.

/// The roof: knows every floor, decides nothing.
pub mod cli;
pub mod subject;
pub mod app;
pub mod site_add;
pub mod config;

/// Where HTTP comes in, and where it is forgotten.
pub mod door {
    pub mod admin;
    pub mod opendsr;
    pub mod opendsr_seal;
    pub mod share;
    pub mod requests;
    pub mod dashboard;
    pub mod trends;
    pub mod listen;
    pub mod connections;
    pub mod converse;
    pub mod pixel;
    #[cfg(test)]
    pub mod sample;
    pub mod route;
    pub mod foreign;
    pub mod interactions;
    pub mod tag;
    pub mod public;
    pub mod demo;
    pub mod choices;
    pub mod notice;
    pub mod choices_page;
    pub mod language;
    pub mod words {
        pub mod de;
        pub mod en;
        pub mod es;
        pub mod fr;
        pub mod it;
        pub mod nl;
        pub mod pl;
        pub mod pt;
    }
    pub mod phrases;
    pub mod respond;
    pub mod body;
    pub mod request;
    pub mod tls;
}

/// People's work on the lake: asking it, and bringing the past into it.
pub mod desk {
    pub mod report;
    pub mod import;
    #[cfg(test)]
    pub mod share_attack;
    pub mod share_counts;
    pub mod subject;
    pub mod query;
    pub mod paper;
    pub mod people_table;
    pub mod erasure;
    pub mod maintain;
    pub mod verify;
    pub mod persons;
    pub mod share;
    pub mod rights;
    pub mod book;
    pub mod audit;
    pub mod text;
}

/// The production line of a running collector: tokio, but no HTTP and no Parquet.
pub mod line {
    pub mod collect;
    pub mod flush;
    pub mod intake;
    pub mod ledger;
    pub mod board;
    pub mod guard;
    pub mod persons;
    pub mod ids;
    pub mod salts;
}

/// The tables: Delta Lake and Parquet. Spawns nothing.
pub mod lake {
    pub mod sketches;
    pub mod sql;
    pub mod pool;
    pub mod schema;
    pub mod groups;
    pub mod few;
    pub mod days;
    pub mod runs;
    pub mod chosen;
    pub mod texts;
    pub mod suppressions;
    pub mod audience;
    pub mod functions;
    pub mod compact;
    pub mod merge;
    pub mod subjects;
    pub mod retain;
    pub mod sweep;
    pub mod rewrite;
    pub mod order;
    pub mod scan;
    pub mod ids;
    #[cfg(test)]
    pub mod sample;
    pub mod outcomes;
    pub mod recall;
    pub mod load;
    pub mod batch;
    pub mod trends;
    pub mod cells;
    pub mod dimension;
    pub mod known;
    pub mod values;
    pub mod table;
    pub mod lease;
    pub mod read;
    pub mod file;
    pub mod chunk;
    pub mod encodings;
    pub mod vocabulary;
    pub mod slots;
    pub mod columns;
    pub mod store;
}

/// Personal information, apart from all else: encrypted files.
pub mod people {
    pub mod write;
    pub mod read;
    pub mod file;
    pub mod frame;
    pub mod key;
}

/// Segments on disk: bytes and files.
pub mod journal {
    pub mod replay;
    pub mod segment;
    pub mod disk;
    pub mod folder;
    pub mod frame;
}

/// Pure functions that decide and describe: no async, no clock, no I/O, no metrics.
pub mod rules {
    pub mod gate;
    pub mod person;
    pub mod decode {
        pub mod log_line;
        pub mod server;
        pub mod snowplow;
        pub mod segment;
        pub mod matomo;
        pub mod fields;
        pub mod tree;
        pub mod native;
    }
    pub mod timing;
    pub mod strings;
    pub mod gpp;
    pub mod us_sections;
    pub mod us_privacy;
    pub mod additional_consent;
    pub mod tcf_canada;
    pub mod tcf;
    pub mod tcf_string;
    pub mod bits;
    pub mod ruling;
    pub mod cookies;
    pub mod suppression;
    pub mod identity;
    pub mod place;
    pub mod regime;
    pub mod agent_cache;
    pub mod agent;
    pub mod source;
    pub mod memory;
    pub mod recent;
    pub mod ahead;
    pub mod scrub;
    pub mod echo;
    pub mod patterns;
    pub mod percent;
    pub mod names;
    pub mod numbers;
    pub mod marks;
    pub mod words;
}

/// The words all floors share: std only.
pub mod hit {
    #[cfg(test)]
    pub mod sample;
    pub mod raw;
    pub mod record;
    pub mod claims;
    pub mod draft;
    pub mod site;
    pub mod sums;
    pub mod outcome;
    pub mod scrubbed;
    pub mod field;
    pub mod private;
    pub mod clock;
}
