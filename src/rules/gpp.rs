//! Owns the GPP string: the IAB Tech Lab's Global Privacy Platform, header and all sections published
//! so far.
//!
//! Source: "GPP String and Header", the US sections' specifications. Promises: any text is read without a
//! panic and without memory; a header padded to six or to eight bits is read alike; a section that cannot be
//! read makes the whole unreadable, one of a later specification says nothing. Never grants beyond what a TC
//! string in section 2 grants; never lets `gpp_sid` take an opt-out away.

use super::bits::{Bits, Coding, IdSet};
use super::ruling::StringVerdict;
use super::{tcf, tcf_canada, us_privacy, us_sections};
use crate::hit::clock::Moment;

/// What a GPP string says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Said {
    /// Of measuring with the site's vendor.
    pub verdict: StringVerdict,
    /// A US section opts out of sale, sharing or targeted advertising, or carries GPC.
    pub opts_out: bool,
    /// The sender knows of a child.
    pub is_child: bool,
}

impl Said {
    pub const NOTHING: Self = Self { verdict: StringVerdict::Absent, opts_out: false, is_child: false };
    /// What cannot be read grants nothing and bars sharing.
    pub const UNREADABLE: Self = Self { verdict: StringVerdict::Unreadable, opts_out: true, is_child: false };
}

/// Reads a GPP string for the site's TCF vendor.
pub fn read(text: &str, vendor: u16, now: Moment) -> Said {
    read_sections(text, vendor, now).unwrap_or(Said::UNREADABLE)
}

fn read_sections(text: &str, vendor: u16, now: Moment) -> Option<Said> {
    let mut said = Said { verdict: StringVerdict::Silent, opts_out: false, is_child: false };
    each_section(text, |id, section| {
        match id {
            TCF_EU => said.verdict = tcf::verdict(section, vendor, now),
            TCF_CANADA => {
                if !tcf_canada::allows(section, tcf::MEASURE_CONTENT)? {
                    said.verdict = StringVerdict::Denies;
                }
            }
            US_PRIVACY => said.opts_out |= us_privacy::opts_out(section),
            _ => {
                if let Some(section) = us_sections::read(id, section) {
                    let section = section?;
                    said.opts_out |= section.opts_out();
                    said.is_child |= section.knows_child();
                }
            }
        }
        Some(())
    })?;
    Some(said)
}

/// Gives each section's id and text, ids ascending. `None` where the header is malformed, where there are more
/// or fewer sections than it names, or where `each` gave `None`.
pub fn each_section<'a>(text: &'a str, mut each: impl FnMut(u16, &'a str) -> Option<()>) -> Option<()> {
    let mut sections = text.split('~');
    // [type 6 = 3][version 6 = 1], and the ids as a range; what is left over is padding.
    let header = Bits::new(sections.next()?)?;
    if (header.int(0, 6)?, header.int(6, 6)?) != (3, 1) {
        return None;
    }
    let (ids, _) = IdSet::read_ranges(&header, 12, u16::MAX, Coding::Fibonacci)?;
    for range in ids.ranges(header) {
        let (first, last) = range?;
        for id in first..=last {
            each(id, sections.next()?)?;
        }
    }
    sections.next().is_none().then_some(())
}

/// Whether `gpp_sid` is what the GPP asks for: the ids of the sections in force, two at most, with commas; 0
/// is not known, -1 none. It is read for its form alone: an opt-out counts wherever it stands.
pub fn is_section_list(text: &str) -> bool {
    let is_id = |id: &str| id == "-1" || (id.len() <= 2 && !id.is_empty() && id.bytes().all(|digit| digit.is_ascii_digit()));
    text.split(',').all(is_id) && text.split(',').count() <= 2
}

const TCF_EU: u16 = 2;
const TCF_CANADA: u16 = 5;
const US_PRIVACY: u16 = 6;

#[cfg(test)]
mod tests {
    use super::{Said, each_section, is_section_list, read};
    use crate::hit::clock::Moment;
    use crate::rules::ruling::StringVerdict;
    use proptest::prelude::*;

    /// Made with the reference encoder, `@iabgpp/cmpapi` 3.2.0.
    const VECTORS: &str = concat!(
        include_str!("../../tests/data/consent/vectors_gpp.jsonl"),
        include_str!("../../tests/data/consent/vectors_gpp_states.jsonl")
    );
    const NOW: Moment = Moment(1_797_000_000_000_000);

    fn vectors() -> Vec<(String, String, Vec<u16>)> {
        let line = |line: &str| {
            let vector: serde_json::Value = serde_json::from_str(line).unwrap();
            let ids = vector["sids"].as_array().unwrap().iter().map(|id| id.as_u64().unwrap() as u16).collect();
            (vector["name"].as_str().unwrap().to_owned(), vector["gpp"].as_str().unwrap().to_owned(), ids)
        };
        VECTORS.lines().map(line).collect()
    }

    #[test]
    fn headers_and_opt_outs_of_every_vector() {
        for (name, text, ids) in vectors() {
            assert_eq!(ids_of(&text), Some(ids.clone()), "{name}");
            let said = read(&text, 0, NOW);
            assert_ne!(said.verdict, StringVerdict::Grants, "{name}");
            let has_tcf = ids.contains(&2);
            assert!(has_tcf || said.verdict == StringVerdict::Silent, "{name}");
            assert!(!said.is_child, "{name}");
            let expected = if name.contains("_no_optout") || name == "empty" || name == "tcfeu+usp" {
                Some(false)
            } else if name.contains("optout") || name == "uspv1_1YYN" {
                Some(true)
            } else {
                None
            };
            if let Some(expected) = expected {
                assert_eq!(said.opts_out, expected, "{name}");
            }
        }
    }

    fn ids_of(text: &str) -> Option<Vec<u16>> {
        let mut ids = Vec::new();
        each_section(text, |id, _| { ids.push(id); Some(()) })?;
        Some(ids)
    }

    #[test]
    fn both_paddings_and_what_is_malformed() {
        for (text, expected) in [
            ("DBABM~x", &[2][..]), ("DBABMA~x", &[2]), ("DBACNY~x~x", &[2, 6]), ("DBACNYA~x~x", &[2, 6]), ("DBABjw~x~x", &[5, 6]),
            ("DBADTMw~x~x~x", &[6, 8, 10]), ("DBAA", &[]),
        ] {
            assert_eq!(ids_of(text).as_deref(), Some(expected), "{text}");
        }
        for text in ["", "D", "CBABMA", "DCABMA", "DBABMA", "DBABMA~1YNN~1YNN", "DBABTA~1YYN~1YYN", "DBABTA", "DBABBg~!", "${GPP_STRING_1}", "DBABBg~B", "DBABMA~~"] {
            assert_eq!(read(text, 0, NOW), Said::UNREADABLE, "{text}");
        }
        // A section that is not known here says nothing, and does not hide the one beside it: 6 and 40.
        let said = read("DBACTAM~1YYN~anything", 0, NOW);
        assert_eq!(said, Said { verdict: StringVerdict::Silent, opts_out: true, is_child: false });
    }

    #[test]
    fn lists_of_sections() {
        for (text, is_list) in [
            ("2", true), ("7,8", true), ("-1", true), ("0", true), ("", false), ("7,8,9", false), ("7,", false), ("7;8", false),
            ("seven", false), ("-2", false), ("${GPP_SID}", false), ("700", false), (" 7", false),
        ] {
            assert_eq!(is_section_list(text), is_list, "{text}");
        }
    }

    #[test]
    fn a_text_with_gpc_a_child_and_canada() {
        assert_eq!(read("DBABLA~BAAAAAAAAAAA.YA", 0, NOW), Said { verdict: StringVerdict::Silent, opts_out: true, is_child: false });
        assert_eq!(read("DBABLA~BAAAAAAAAIAA.QA", 0, NOW), Said { verdict: StringVerdict::Silent, opts_out: false, is_child: true });
        // Canada with no consent at all.
        assert_eq!(read(&format!("DBABDA~B{}", "A".repeat(45)), 0, NOW).verdict, StringVerdict::Denies);
        assert_eq!(read(&format!("DBABDA~B{}", "A".repeat(30)), 0, NOW), Said::UNREADABLE);
    }

    #[test]
    fn every_prefix_and_every_flipped_bit_is_read_without_a_panic() {
        const ALPHABET: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
        for (_, text, _) in vectors() {
            for end in 0..text.len() {
                read(&text[..end], 123, NOW);
            }
            for at in 0..text.len() {
                let Some(six) = ALPHABET.iter().position(|byte| *byte == text.as_bytes()[at]) else { continue };
                for bit in 0..6 {
                    let mut flipped = text.as_bytes().to_vec();
                    flipped[at] = ALPHABET[six ^ (1 << bit)];
                    read(std::str::from_utf8(&flipped).unwrap(), 123, NOW);
                }
            }
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read_without_a_panic_and_never_grants(text in "DB[A-Za-z0-9_.~-]{0,200}") {
            prop_assert!(read(&text, 0, NOW).verdict != StringVerdict::Grants);
        }
    }
}
