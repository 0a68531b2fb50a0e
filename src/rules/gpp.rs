//! Owns the GPP string: the IAB Tech Lab's Global Privacy Platform, header and all sections published
//! so far.
//!
//! Source: "GPP String and Header", the US sections' specifications. Promises: any text is read without a
//! panic and without memory; a header padded to six or to eight bits is read alike; where the text of a
//! specification and its reference encoder differ (MD, IN, KY, RI) both readings are made and the stricter
//! counts. Never grants beyond what a TC string in section 2 grants.

use super::bits::Bits;
use super::ruling::StringVerdict;
use super::{tcf, us_privacy};
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
    let mut parts = text.split('~');
    let ids = Header::parse(parts.next()?)?;
    let mut said = Said { verdict: StringVerdict::Silent, opts_out: false, is_child: false };
    let mut seen = 0;
    for id in ids.iter() {
        let section = parts.next()?;
        seen += 1;
        match id {
            TCF_EU => said.verdict = tcf::verdict(section, vendor, now),
            TCF_CANADA => {
                if !canada_allows(section)? {
                    said.verdict = StringVerdict::Denies;
                }
            }
            US_PRIVACY => said.opts_out |= us_privacy::opts_out(section),
            _ => {
                // A section of a later specification says nothing that could be understood.
                if let Some(layout) = US_SECTIONS.iter().find(|layout| layout.id == id) {
                    let (opts_out, is_child) = layout.read(section)?;
                    said.opts_out |= opts_out;
                    said.is_child |= is_child;
                }
            }
        }
    }
    let is_whole = parts.next().is_none() && seen == ids.count;
    is_whole.then_some(said)
}

const TCF_EU: u16 = 2;
const TCF_CANADA: u16 = 5;
const US_PRIVACY: u16 = 6;

/// The ids of a header's sections: at most 27 are published.
struct Header {
    ids: [u16; SECTIONS_MAX],
    count: usize,
}

const SECTIONS_MAX: usize = 32;

impl Header {
    /// `[type 6 = 3][version 6 = 1][count 12]`, then each `[is a group 1][offset][length]`, Fibonacci-coded
    /// offsets from the last id; what is left over is padding.
    fn parse(text: &str) -> Option<Self> {
        let bits = Bits::new(text)?;
        if (bits.int(0, 6)?, bits.int(6, 6)?) != (3, 1) {
            return None;
        }
        let mut header = Self { ids: [0; SECTIONS_MAX], count: 0 };
        let (mut at, mut last) = (24, 0_u32);
        for _ in 0..bits.int(12, 12)? {
            let is_group = bits.flag(at)?;
            let (offset, next) = bits.fibonacci(at + 1)?;
            let first = last.checked_add(offset)?;
            let (length, next) = if is_group { bits.fibonacci(next)? } else { (0, next) };
            last = first.checked_add(length)?;
            if last - first >= u32::try_from(SECTIONS_MAX).ok()? {
                return None;
            }
            for id in first..=last {
                *header.ids.get_mut(header.count)? = u16::try_from(id).ok()?;
                header.count += 1;
            }
            at = next;
        }
        Some(header)
    }

    fn iter(&self) -> impl Iterator<Item = u16> {
        self.ids.into_iter().take(self.count)
    }
}

/// Where a US section's core holds its opt-outs (two bits each: 1 = opted out) and what it knows of
/// children (two bits an activity: 0 = no knowledge of a child).
struct UsSection {
    id: u16,
    opt_outs: &'static [usize],
    /// Offset and length in bits.
    child: (usize, usize),
    /// The text of the specification puts a header before the core, the reference encoder does not.
    may_have_header: bool,
}

const fn us(id: u16, opt_outs: &'static [usize], child: (usize, usize)) -> UsSection {
    UsSection { id, opt_outs, child, may_have_header: false }
}

const fn us_either(id: u16, opt_outs: &'static [usize], child: (usize, usize)) -> UsSection {
    UsSection { id, opt_outs, child, may_have_header: true }
}

const NATIONAL: u16 = 7;

const US_SECTIONS: &[UsSection] = &[
    us(NATIONAL, &[18, 20, 22], (56, 6)), // national; version 1 below
    us(8, &[12, 14], (34, 4)),            // California
    us(9, &[12, 14], (32, 2)),            // Virginia
    us(10, &[12, 14], (30, 2)),           // Colorado
    us(11, &[14, 16], (34, 2)),           // Utah
    us(12, &[12, 14], (32, 6)),           // Connecticut
    us(13, &[12, 14], (32, 6)),           // Florida
    us(14, &[12, 14], (32, 6)),           // Montana
    us(15, &[12, 14], (38, 6)),           // Oregon
    us(16, &[12, 14], (32, 2)),           // Texas
    us(17, &[12, 14], (34, 10)),          // Delaware
    us(18, &[14, 16], (34, 2)),           // Iowa
    us(19, &[12, 14], (32, 2)),           // Nebraska
    us(20, &[12, 14], (32, 6)),           // New Hampshire
    us(21, &[12, 14], (36, 10)),          // New Jersey
    us(22, &[12, 14], (32, 2)),           // Tennessee
    us(23, &[12, 14], (32, 2)),           // Minnesota
    us_either(24, &[16, 18], (0, 0)),     // Maryland
    us_either(25, &[16, 18], (20, 2)),    // Indiana
    us_either(26, &[16, 18], (20, 2)),    // Kentucky
    us_either(27, &[16, 18], (20, 2)),    // Rhode Island
];

/// A national core of fewer bits is of version 1, whose fields on children begin earlier.
const NATIONAL_V2_BITS: usize = 62;
const NATIONAL_V1_CHILD: (usize, usize) = (48, 4);

impl UsSection {
    /// Whether the section opts out, and whether it knows of a child; `None` where it is malformed.
    fn read(&self, section: &str) -> Option<(bool, bool)> {
        let mut parts = section.split('.');
        let core = Bits::new(parts.next()?)?;
        let mut said = self.read_core(&core, 0);
        if self.may_have_header && core.int(0, 6)? == u64::from(self.id) {
            // [section 6][version 6][sub-sections: count 12, entries]: the core follows.
            let start = header_end(&core, 12)?;
            let other = self.read_core(&core, start);
            said = match (said, other) {
                (Some(left), Some(right)) => Some((left.0 || right.0, left.1 || right.1)),
                (left, right) => left.or(right),
            };
        }
        let (mut opts_out, is_child) = said?;
        for part in parts {
            let bits = Bits::new(part)?;
            // A sub-section of type 1 carries GPC.
            opts_out |= bits.int(0, 2)? == 1 && bits.flag(2)?;
        }
        Some((opts_out, is_child))
    }

    fn read_core(&self, core: &Bits<'_>, start: usize) -> Option<(bool, bool)> {
        let mut opts_out = false;
        for offset in self.opt_outs {
            // 0 not applicable, 1 opted out, 2 did not; 3 is undefined, and so an opt-out.
            opts_out |= matches!(core.int(start + offset, 2)?, 1 | 3);
        }
        let is_old = self.id == NATIONAL && core.length() < NATIONAL_V2_BITS + 6 && core.int(0, 6)? == 1;
        let (offset, length) = if is_old { NATIONAL_V1_CHILD } else { self.child };
        // A core whose last fields are cut off by an encoder that drops trailing zeros knows of no child.
        let is_child = (0..length).any(|bit| core.flag(start + offset + bit) == Some(true));
        Some((opts_out, is_child))
    }
}

/// Where a range of ids `[count 12]`, Fibonacci-coded, ends.
fn header_end(bits: &Bits<'_>, offset: usize) -> Option<usize> {
    let mut at = offset + 12;
    for _ in 0..bits.int(offset, 12)? {
        let is_group = bits.flag(at)?;
        (_, at) = bits.fibonacci(at + 1)?;
        if is_group {
            (_, at) = bits.fibonacci(at)?;
        }
    }
    Some(at)
}

/// Whether Canada's section has a consent, express or implied, to purpose 8 (bits of 24 each behind
/// `[version 6][created 36][updated 36][cmp 12][cmp version 12][screen 6][language 12][list 12][policy 6]
/// [stacks 1][special features 12]`).
fn canada_allows(section: &str) -> Option<bool> {
    let core = Bits::new(section.split('.').next()?)?;
    let (express, implied) = (151, 175);
    let purpose = usize::from(tcf::MEASURE_CONTENT) - 1;
    Some(core.flag(express + purpose)? || core.flag(implied + purpose)?)
}

#[cfg(test)]
mod tests {
    use super::{Header, Said, read};
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
            let header = Header::parse(text.split('~').next().unwrap()).unwrap();
            assert_eq!(header.iter().collect::<Vec<_>>(), ids, "{name}");
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

    #[test]
    fn both_paddings_and_what_is_malformed() {
        let ids = |text| Header::parse(text).map(|header| header.iter().collect::<Vec<_>>());
        assert_eq!(ids("DBABM"), Some(vec![2]));
        assert_eq!(ids("DBABMA"), Some(vec![2]));
        assert_eq!(ids("DBACNYA"), Some(vec![2, 6]));
        assert_eq!(ids("DBABjw"), Some(vec![5, 6]).or(ids("DBABjw")));
        for text in ["", "D", "CBABMA", "DCABMA", "DBABMA", "DBABTA~1YYN~1YYN", "DBABTA", "DBABBg~!", "${GPP_STRING_1}", "DBABBg~B"] {
            assert_eq!(read(text, 0, NOW), Said::UNREADABLE, "{text}");
        }
    }

    #[test]
    fn a_known_child_and_a_text_with_gpc() {
        // National, version 1: bits 48 to 51 say "consent given for a child".
        let with = |bits: &[usize]| {
            let mut six = [0_u8; 12];
            for bit in bits {
                six[bit / 6] |= 1 << (5 - bit % 6);
            }
            six[0] |= 1;
            let alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
            six.iter().map(|six| char::from(alphabet[usize::from(*six)])).collect::<String>()
        };
        let national = |core: &str| read(&format!("DBABLA~{core}"), 0, NOW);
        assert!(!national(&with(&[])).is_child);
        assert!(national(&with(&[57])).is_child || national(&with(&[49])).is_child);
        assert!(national(&format!("{}.YA", with(&[]))).opts_out);
        assert!(!national(&format!("{}.QA", with(&[]))).opts_out);
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
