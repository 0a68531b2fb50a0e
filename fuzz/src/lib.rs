//! Owns the fuzzers' view of the program: the floors that read what strangers send, and nothing above.
//!
//! They are built from the same files as the program, not from its library: under a sanitizer that would
//! be DataFusion, Delta and Arrow for an hour, none of which these files know. The floor plan
//! (`../../src/lib.rs`) promises that, and this crate holds it to it: it does not build otherwise.

/// See the floor plan.
#[path = "../../src/door"]
pub mod door {
    pub mod request;
}

/// See the floor plan.
#[path = "../../src/rules"]
pub mod rules {
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
    pub mod identity;
    pub mod regime;
    pub mod scrub;
    pub mod echo;
    pub mod patterns;
    pub mod percent;
    pub mod names;
    pub mod numbers;
    pub mod marks;
    pub mod words;
}

/// See the floor plan.
#[path = "../../src/hit"]
pub mod hit {
    pub mod raw;
    pub mod claims;
    pub mod draft;
    pub mod site;
    pub mod outcome;
    pub mod scrubbed;
    pub mod field;
    pub mod private;
    pub mod clock;
}

pub mod targets;
