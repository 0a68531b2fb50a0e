//! Owns the sections of the United States in a GPP string: the nation (7) and twenty states (8 to 27).
//!
//! Source: GPP, "Sections/US-National" and "Sections/US-States", and the reference encoder `@iabgpp/cmpapi`
//! 3.2. Promises: any text is read without a panic and without memory; a section cut short, with a part given
//! twice, or of a version that is not known here is malformed rather than half understood. Never grants.
//!
//! Maryland, Indiana, Kentucky and Rhode Island: the text of the specification puts a header before the core
//! (section 6, version 6, parts as a range), the reference encoder writes none. A core that begins with its
//! own section's number is read both ways, and what either says counts. The text gives the core the id 0, for
//! which there is no Fibonacci code: a header that names it all the same cannot be read, and so denies.

use super::bits::{Bits, Coding, Field, IdSet};

/// A section that could be read.
#[derive(Debug, Clone, Copy)]
pub struct UsSection<'a> {
    pub core: (Bits<'a>, &'static [UsField]),
    /// The part behind the dot.
    pub part: Option<(Bits<'a>, &'static [UsField])>,
    /// The core behind a header, where there may be one.
    behind_header: Option<Bits<'a>>,
}

/// Reads the section `id`. `None`: no section of the United States; `Some(None)`: malformed.
pub fn read(id: u16, text: &str) -> Option<Option<UsSection<'_>>> {
    SECTIONS.iter().find(|section| section.id == id).map(|section| section.read(text))
}

impl UsSection<'_> {
    /// Someone opted out of sale, sharing or targeted advertising, or their browser sends GPC. 0 is not
    /// applicable, 1 opted out, 2 did not; 3 is undefined, and so an opt-out.
    pub fn opts_out(&self) -> bool {
        self.any(Use::OptOut, |value| matches!(value, 1 | 3))
    }

    /// The sender knows of a child: 0 is no knowledge, anything else is a child, with consent or without.
    pub fn knows_child(&self) -> bool {
        self.any(Use::Child, |value| value != 0)
    }

    fn any(&self, asked: Use, says: impl Fn(u64) -> bool) -> bool {
        let (core, layout) = self.core;
        [Some((core, layout)), self.behind_header.map(|core| (core, layout)), self.part].into_iter().flatten().any(|(bits, layout)| {
            let fields = layout.iter().filter(|field| field.means == asked);
            fields.flat_map(|field| (0..field.field.count).filter_map(move |index| field.field.at(&bits, index))).any(&says)
        })
    }
}

/// A field, and what it means to the ruling.
#[derive(Debug, Clone, Copy)]
pub struct UsField {
    pub field: Field,
    means: Use,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Use {
    /// Kept in the text, not asked for.
    Nothing,
    OptOut,
    Child,
    /// Says how to read the rest: 1 to this, or it cannot be read.
    UpTo(u64),
}

// A line of a layout: name, offset in bits, bits of a number, how many numbers.
const fn said(name: &'static str, offset: usize, length: usize, count: usize) -> UsField {
    UsField { field: Field { name, offset, length, count }, means: Use::Nothing }
}

const fn opt_out(name: &'static str, offset: usize, length: usize, count: usize) -> UsField {
    UsField { means: Use::OptOut, ..said(name, offset, length, count) }
}

const fn child(name: &'static str, offset: usize, length: usize, count: usize) -> UsField {
    UsField { means: Use::Child, ..said(name, offset, length, count) }
}

const fn up_to(name: &'static str, offset: usize, length: usize, count: usize, most: u64) -> UsField {
    UsField { means: Use::UpTo(most), ..said(name, offset, length, count) }
}

/// The nation, version 2.
const NATIONAL: &[UsField] = &[
    up_to("Version",                                    0, 6,  1, 2),
    said("SharingNotice",                               6, 2,  1),
    said("SaleOptOutNotice",                            8, 2,  1),
    said("SharingOptOutNotice",                        10, 2,  1),
    said("TargetedAdvertisingOptOutNotice",            12, 2,  1),
    said("SensitiveDataProcessingOptOutNotice",        14, 2,  1),
    said("SensitiveDataLimitUseNotice",                16, 2,  1),
    opt_out("SaleOptOut",                              18, 2,  1),
    opt_out("SharingOptOut",                           20, 2,  1),
    opt_out("TargetedAdvertisingOptOut",               22, 2,  1),
    said("SensitiveDataProcessing",                    24, 2, 16),
    child("KnownChildSensitiveDataConsents",           56, 2,  3),
    said("PersonalDataConsents",                       62, 2,  1),
    said("MspaCoveredTransaction",                     64, 2,  1),
    said("MspaOptOutOptionMode",                       66, 2,  1),
    said("MspaServiceProviderMode",                    68, 2,  1),
];
/// The nation, version 1: fewer categories and ages.
const NATIONAL_1: &[UsField] = &[
    up_to("Version",                                    0, 6,  1, 1),
    said("SharingNotice",                               6, 2,  1),
    said("SaleOptOutNotice",                            8, 2,  1),
    said("SharingOptOutNotice",                        10, 2,  1),
    said("TargetedAdvertisingOptOutNotice",            12, 2,  1),
    said("SensitiveDataProcessingOptOutNotice",        14, 2,  1),
    said("SensitiveDataLimitUseNotice",                16, 2,  1),
    opt_out("SaleOptOut",                              18, 2,  1),
    opt_out("SharingOptOut",                           20, 2,  1),
    opt_out("TargetedAdvertisingOptOut",               22, 2,  1),
    said("SensitiveDataProcessing",                    24, 2, 12),
    child("KnownChildSensitiveDataConsents",           48, 2,  2),
    said("PersonalDataConsents",                       52, 2,  1),
    said("MspaCoveredTransaction",                     54, 2,  1),
    said("MspaOptOutOptionMode",                       56, 2,  1),
    said("MspaServiceProviderMode",                    58, 2,  1),
];
const CALIFORNIA: &[UsField] = &[
    up_to("Version",                                    0, 6,  1, 1),
    said("SaleOptOutNotice",                            6, 2,  1),
    said("SharingOptOutNotice",                         8, 2,  1),
    said("SensitiveDataLimitUseNotice",                10, 2,  1),
    opt_out("SaleOptOut",                              12, 2,  1),
    opt_out("SharingOptOut",                           14, 2,  1),
    said("SensitiveDataProcessing",                    16, 2,  9),
    child("KnownChildSensitiveDataConsents",           34, 2,  2),
    said("PersonalDataConsents",                       38, 2,  1),
    said("MspaCoveredTransaction",                     40, 2,  1),
    said("MspaOptOutOptionMode",                       42, 2,  1),
    said("MspaServiceProviderMode",                    44, 2,  1),
];
const VIRGINIA: &[UsField] = &[
    up_to("Version",                                    0, 6,  1, 1),
    said("SharingNotice",                               6, 2,  1),
    said("SaleOptOutNotice",                            8, 2,  1),
    said("TargetedAdvertisingOptOutNotice",            10, 2,  1),
    opt_out("SaleOptOut",                              12, 2,  1),
    opt_out("TargetedAdvertisingOptOut",               14, 2,  1),
    said("SensitiveDataProcessing",                    16, 2,  8),
    child("KnownChildSensitiveDataConsents",           32, 2,  1),
    said("MspaCoveredTransaction",                     34, 2,  1),
    said("MspaOptOutOptionMode",                       36, 2,  1),
    said("MspaServiceProviderMode",                    38, 2,  1),
];
const COLORADO: &[UsField] = &[
    up_to("Version",                                    0, 6,  1, 1),
    said("SharingNotice",                               6, 2,  1),
    said("SaleOptOutNotice",                            8, 2,  1),
    said("TargetedAdvertisingOptOutNotice",            10, 2,  1),
    opt_out("SaleOptOut",                              12, 2,  1),
    opt_out("TargetedAdvertisingOptOut",               14, 2,  1),
    said("SensitiveDataProcessing",                    16, 2,  7),
    child("KnownChildSensitiveDataConsents",           30, 2,  1),
    said("MspaCoveredTransaction",                     32, 2,  1),
    said("MspaOptOutOptionMode",                       34, 2,  1),
    said("MspaServiceProviderMode",                    36, 2,  1),
];
const UTAH: &[UsField] = &[
    up_to("Version",                                    0, 6,  1, 1),
    said("SharingNotice",                               6, 2,  1),
    said("SaleOptOutNotice",                            8, 2,  1),
    said("TargetedAdvertisingOptOutNotice",            10, 2,  1),
    said("SensitiveDataProcessingOptOutNotice",        12, 2,  1),
    opt_out("SaleOptOut",                              14, 2,  1),
    opt_out("TargetedAdvertisingOptOut",               16, 2,  1),
    said("SensitiveDataProcessing",                    18, 2,  8),
    child("KnownChildSensitiveDataConsents",           34, 2,  1),
    said("MspaCoveredTransaction",                     36, 2,  1),
    said("MspaOptOutOptionMode",                       38, 2,  1),
    said("MspaServiceProviderMode",                    40, 2,  1),
];
const CONNECTICUT: &[UsField] = &[
    up_to("Version",                                    0, 6,  1, 1),
    said("SharingNotice",                               6, 2,  1),
    said("SaleOptOutNotice",                            8, 2,  1),
    said("TargetedAdvertisingOptOutNotice",            10, 2,  1),
    opt_out("SaleOptOut",                              12, 2,  1),
    opt_out("TargetedAdvertisingOptOut",               14, 2,  1),
    said("SensitiveDataProcessing",                    16, 2,  8),
    child("KnownChildSensitiveDataConsents",           32, 2,  3),
    said("MspaCoveredTransaction",                     38, 2,  1),
    said("MspaOptOutOptionMode",                       40, 2,  1),
    said("MspaServiceProviderMode",                    42, 2,  1),
];
const MONTANA: &[UsField] = &[
    up_to("Version",                                    0, 6,  1, 1),
    said("SharingNotice",                               6, 2,  1),
    said("SaleOptOutNotice",                            8, 2,  1),
    said("TargetedAdvertisingOptOutNotice",            10, 2,  1),
    opt_out("SaleOptOut",                              12, 2,  1),
    opt_out("TargetedAdvertisingOptOut",               14, 2,  1),
    said("SensitiveDataProcessing",                    16, 2,  8),
    child("KnownChildSensitiveDataConsents",           32, 2,  3),
    said("AdditionalDataProcessingConsent",            38, 2,  1),
    said("MspaCoveredTransaction",                     40, 2,  1),
    said("MspaOptOutOptionMode",                       42, 2,  1),
    said("MspaServiceProviderMode",                    44, 2,  1),
];
/// Florida and New Hampshire.
const FLORIDA: &[UsField] = &[
    up_to("Version",                                    0, 6,  1, 1),
    said("ProcessingNotice",                            6, 2,  1),
    said("SaleOptOutNotice",                            8, 2,  1),
    said("TargetedAdvertisingOptOutNotice",            10, 2,  1),
    opt_out("SaleOptOut",                              12, 2,  1),
    opt_out("TargetedAdvertisingOptOut",               14, 2,  1),
    said("SensitiveDataProcessing",                    16, 2,  8),
    child("KnownChildSensitiveDataConsents",           32, 2,  3),
    said("AdditionalDataProcessingConsent",            38, 2,  1),
    said("MspaCoveredTransaction",                     40, 2,  1),
    said("MspaOptOutOptionMode",                       42, 2,  1),
    said("MspaServiceProviderMode",                    44, 2,  1),
];
const OREGON: &[UsField] = &[
    up_to("Version",                                    0, 6,  1, 1),
    said("ProcessingNotice",                            6, 2,  1),
    said("SaleOptOutNotice",                            8, 2,  1),
    said("TargetedAdvertisingOptOutNotice",            10, 2,  1),
    opt_out("SaleOptOut",                              12, 2,  1),
    opt_out("TargetedAdvertisingOptOut",               14, 2,  1),
    said("SensitiveDataProcessing",                    16, 2, 11),
    child("KnownChildSensitiveDataConsents",           38, 2,  3),
    said("AdditionalDataProcessingConsent",            44, 2,  1),
    said("MspaCoveredTransaction",                     46, 2,  1),
    said("MspaOptOutOptionMode",                       48, 2,  1),
    said("MspaServiceProviderMode",                    50, 2,  1),
];
/// Texas, Nebraska, Tennessee and Minnesota.
const TEXAS: &[UsField] = &[
    up_to("Version",                                    0, 6,  1, 1),
    said("ProcessingNotice",                            6, 2,  1),
    said("SaleOptOutNotice",                            8, 2,  1),
    said("TargetedAdvertisingOptOutNotice",            10, 2,  1),
    opt_out("SaleOptOut",                              12, 2,  1),
    opt_out("TargetedAdvertisingOptOut",               14, 2,  1),
    said("SensitiveDataProcessing",                    16, 2,  8),
    child("KnownChildSensitiveDataConsents",           32, 2,  1),
    said("AdditionalDataProcessingConsent",            34, 2,  1),
    said("MspaCoveredTransaction",                     36, 2,  1),
    said("MspaOptOutOptionMode",                       38, 2,  1),
    said("MspaServiceProviderMode",                    40, 2,  1),
];
const DELAWARE: &[UsField] = &[
    up_to("Version",                                    0, 6,  1, 1),
    said("ProcessingNotice",                            6, 2,  1),
    said("SaleOptOutNotice",                            8, 2,  1),
    said("TargetedAdvertisingOptOutNotice",            10, 2,  1),
    opt_out("SaleOptOut",                              12, 2,  1),
    opt_out("TargetedAdvertisingOptOut",               14, 2,  1),
    said("SensitiveDataProcessing",                    16, 2,  9),
    child("KnownChildSensitiveDataConsents",           34, 2,  5),
    said("AdditionalDataProcessingConsent",            44, 2,  1),
    said("MspaCoveredTransaction",                     46, 2,  1),
    said("MspaOptOutOptionMode",                       48, 2,  1),
    said("MspaServiceProviderMode",                    50, 2,  1),
];
const IOWA: &[UsField] = &[
    up_to("Version",                                    0, 6,  1, 1),
    said("ProcessingNotice",                            6, 2,  1),
    said("SaleOptOutNotice",                            8, 2,  1),
    said("TargetedAdvertisingOptOutNotice",            10, 2,  1),
    said("SensitiveDataOptOutNotice",                  12, 2,  1),
    opt_out("SaleOptOut",                              14, 2,  1),
    opt_out("TargetedAdvertisingOptOut",               16, 2,  1),
    said("SensitiveDataProcessing",                    18, 2,  8),
    child("KnownChildSensitiveDataConsents",           34, 2,  1),
    said("MspaCoveredTransaction",                     36, 2,  1),
    said("MspaOptOutOptionMode",                       38, 2,  1),
    said("MspaServiceProviderMode",                    40, 2,  1),
];
const NEW_JERSEY: &[UsField] = &[
    up_to("Version",                                    0, 6,  1, 1),
    said("ProcessingNotice",                            6, 2,  1),
    said("SaleOptOutNotice",                            8, 2,  1),
    said("TargetedAdvertisingOptOutNotice",            10, 2,  1),
    opt_out("SaleOptOut",                              12, 2,  1),
    opt_out("TargetedAdvertisingOptOut",               14, 2,  1),
    said("SensitiveDataProcessing",                    16, 2, 10),
    child("KnownChildSensitiveDataConsents",           36, 2,  5),
    said("AdditionalDataProcessingConsent",            46, 2,  1),
    said("MspaCoveredTransaction",                     48, 2,  1),
    said("MspaOptOutOptionMode",                       50, 2,  1),
    said("MspaServiceProviderMode",                    52, 2,  1),
];
const MARYLAND: &[UsField] = &[
    said("MspaVersion",                                 0, 6,  1),
    said("MspaCoveredTransaction",                      6, 2,  1),
    said("MspaMode",                                    8, 2,  1),
    said("ProcessingNotice",                           10, 2,  1),
    said("SaleOptOutNotice",                           12, 2,  1),
    said("TargetedAdvertisingOptOutNotice",            14, 2,  1),
    opt_out("SaleOptOut",                              16, 2,  1),
    opt_out("TargetedAdvertisingOptOut",               18, 2,  1),
    said("AdditionalDataProcessingConsent",            20, 2,  1),
];
/// Indiana, Kentucky and Rhode Island.
const INDIANA: &[UsField] = &[
    said("MspaVersion",                                 0, 6,  1),
    said("MspaCoveredTransaction",                      6, 2,  1),
    said("MspaMode",                                    8, 2,  1),
    said("ProcessingNotice",                           10, 2,  1),
    said("SaleOptOutNotice",                           12, 2,  1),
    said("TargetedAdvertisingOptOutNotice",            14, 2,  1),
    opt_out("SaleOptOut",                              16, 2,  1),
    opt_out("TargetedAdvertisingOptOut",               18, 2,  1),
    child("KnownChildSensitiveDataConsents",           20, 2,  1),
    said("AdditionalDataProcessingConsent",            22, 2,  1),
];

/// The part behind the dot of most sections.
const GPC: &[UsField] = &[
    up_to("SubsectionType",                             0, 2,  1, 1),
    opt_out("Gpc",                                      2, 1,  1),
];
/// The part of Indiana, Kentucky and Rhode Island, which has no type and knows no GPC.
const SENSITIVE_DATA: &[UsField] = &[
    said("SensitiveDataProcessing",                     0, 2,  8),
];

/// Where the fields of a section stand.
struct Layout {
    id: u16,
    core: &'static [UsField],
    part: &'static [UsField],
    may_have_header: bool,
}

const fn section(id: u16, core: &'static [UsField]) -> Layout {
    Layout { id, core, part: GPC, may_have_header: false }
}

const fn late_section(id: u16, core: &'static [UsField], part: &'static [UsField]) -> Layout {
    Layout { id, core, part, may_have_header: true }
}

const SECTION_NATIONAL: u16 = 7;
const SECTIONS: &[Layout] = &[
    section(SECTION_NATIONAL, NATIONAL),
    section(8, CALIFORNIA),
    section(9, VIRGINIA),
    section(10, COLORADO),
    section(11, UTAH),
    section(12, CONNECTICUT),
    section(13, FLORIDA),
    section(14, MONTANA),
    section(15, OREGON),
    section(16, TEXAS),
    section(17, DELAWARE),
    section(18, IOWA),
    section(19, TEXAS),       // Nebraska
    section(20, FLORIDA),     // New Hampshire
    section(21, NEW_JERSEY),
    section(22, TEXAS),       // Tennessee
    section(23, TEXAS),       // Minnesota
    late_section(24, MARYLAND, GPC),
    late_section(25, INDIANA, SENSITIVE_DATA),
    late_section(26, INDIANA, SENSITIVE_DATA), // Kentucky
    late_section(27, INDIANA, SENSITIVE_DATA), // Rhode Island
];

impl Layout {
    fn read<'a>(&self, text: &'a str) -> Option<UsSection<'a>> {
        let mut parts = text.split('.');
        let core = Bits::new(parts.next()?)?;
        // Version 2 has more fields than version 1, and was sent under the number 1 too: its length tells.
        let is_first = self.id == SECTION_NATIONAL && core.length() < end(NATIONAL);
        let layout = if is_first { NATIONAL_1 } else { self.core };
        let part = parts.next().map(|part| self.read_part(part));
        let section = UsSection {
            core: (fitting(core, layout)?, layout),
            part: match part {
                Some(part) => Some(part?),
                None => None,
            },
            behind_header: if self.may_have_header && core.int(0, SECTION_ID_BITS)? == u64::from(self.id) {
                // [section 6][version 6][parts: a range], and the core.
                let (_, end) = IdSet::read_ranges(&core, 12, PART_IDS_MAX, Coding::Fibonacci)?;
                Some(fitting(core.skip(end)?, layout)?)
            } else {
                None
            },
        };
        parts.next().is_none().then_some(section)
    }

    fn read_part<'a>(&self, text: &'a str) -> Option<(Bits<'a>, &'static [UsField])> {
        let bits = Bits::new(text)?;
        // What is too short for the section's own part may still be a GPC that a sender put there.
        let layout = if bits.length() < end(self.part) { GPC } else { self.part };
        fitting(bits, layout).map(|bits| (bits, layout))
    }
}

const SECTION_ID_BITS: usize = 6;
/// A section has two parts; a sender may count them from 1.
const PART_IDS_MAX: u16 = 2;

fn end(layout: &[UsField]) -> usize {
    layout.last().map_or(0, |last| last.field.end())
}

/// The bits, if the layout's fields are all there and of a version that is known.
fn fitting<'a>(bits: Bits<'a>, layout: &[UsField]) -> Option<Bits<'a>> {
    let is_known = layout.iter().all(|field| match field.means {
        Use::UpTo(most) => field.field.int(&bits).is_some_and(|value| (1..=most).contains(&value)),
        Use::Nothing | Use::OptOut | Use::Child => true,
    });
    (is_known && end(layout) <= bits.length()).then_some(bits)
}

#[cfg(test)]
mod tests {
    use super::{SECTIONS, UsSection, read};
    use crate::rules::bits::text_of;
    use proptest::prelude::*;

    /// A core of `length` bits whose first number is 1 and that has `value` of two bits at `offset`.
    fn core(length: usize, offset: usize, value: &str) -> String {
        let mut bits = format!("000001{}", "0".repeat(length - 6));
        bits.replace_range(offset..offset + 2, value);
        bits
    }

    fn said(id: u16, text: &str) -> Option<(bool, bool)> {
        read(id, text).unwrap().map(|section: UsSection<'_>| (section.opts_out(), section.knows_child()))
    }

    #[test]
    fn the_fields_of_a_layout_follow_each_other() {
        for layout in SECTIONS.iter().flat_map(|section| [section.core, section.part]) {
            let mut end = 0;
            for field in layout {
                assert_eq!(field.field.offset, end, "{}", field.field.name);
                end = field.field.end();
            }
        }
    }

    #[test]
    fn opt_outs_and_children_at_their_bits() {
        // Offsets as the specification's sum gives them: sale, sharing, targeted advertising; the first child.
        for (id, length, opt_outs, child) in [
            (7, 70, &[18, 20, 22][..], 56), (8, 46, &[12, 14], 34), (9, 40, &[12, 14], 32), (10, 38, &[12, 14], 30),
            (11, 42, &[14, 16], 34), (12, 44, &[12, 14], 32), (13, 46, &[12, 14], 32), (14, 46, &[12, 14], 32),
            (15, 52, &[12, 14], 38), (16, 42, &[12, 14], 32), (17, 52, &[12, 14], 34), (18, 42, &[14, 16], 34),
            (19, 42, &[12, 14], 32), (20, 46, &[12, 14], 32), (21, 54, &[12, 14], 36), (22, 42, &[12, 14], 32),
            (23, 42, &[12, 14], 32), (24, 22, &[16, 18], 0), (25, 24, &[16, 18], 20), (26, 24, &[16, 18], 20), (27, 24, &[16, 18], 20),
        ] {
            assert_eq!(said(id, &text_of(&core(length, 10, "00"))), Some((false, false)), "{id}");
            for offset in opt_outs {
                assert_eq!(said(id, &text_of(&core(length, *offset, "01"))), Some((true, false)), "{id}");
                assert_eq!(said(id, &text_of(&core(length, *offset, "11"))), Some((true, false)), "{id}");
                assert_eq!(said(id, &text_of(&core(length, *offset, "10"))), Some((false, false)), "{id}");
            }
            for value in ["01", "10", "11"] {
                assert!(child == 0 || said(id, &text_of(&core(length, child, value))) == Some((false, true)), "{id}");
            }
        }
    }

    #[test]
    fn what_is_malformed() {
        let california = text_of(&core(46, 10, "00"));
        for text in ["", ".", "B", "B!", &california[..7], &format!("{california}."), &format!("{california}.QA.QA"), &format!("{california}.AA"), &format!("C{}", &california[1..])] {
            assert_eq!(said(8, text), None, "{text}");
        }
        assert_eq!(said(8, &format!("{california}.YA")), Some((true, false)));
        assert_eq!(said(8, &format!("{california}.QA")), Some((false, false)));
        assert!(read(28, &california).is_none() && read(6, "1YNN").is_none());
    }

    #[test]
    fn both_versions_of_the_nation() {
        // 60 bits, as the encoder pads them to 66 or not at all: a child at 48; more bits: a child at 56.
        for (length, child) in [(60, 48), (60, 50), (66, 48), (70, 56), (70, 60)] {
            assert_eq!(said(7, &text_of(&core(length, child, "10"))), Some((false, true)), "{length}");
        }
        assert_eq!(said(7, &text_of(&core(70, 48, "10"))), Some((false, false)));
        assert_eq!(said(7, &text_of(&format!("000010{}", "0".repeat(54)))), None);
        assert_eq!(said(7, &text_of(&format!("000011{}", "0".repeat(64)))), None);
    }

    #[test]
    fn a_header_of_the_text_and_none_of_the_encoder() {
        for id in 24..=27_u16 {
            let header = |parts: &str, core: &str| text_of(&format!("{id:06b}000001{parts}{core}"));
            // No part named, 1, 2, 1 and 2; 3 is none.
            for parts in ["000000000000", "000000000001011", "0000000000010011", "00000000000111111", "00000000000100011"] {
                let readable = parts != "00000000000100011";
                for (offset, value, opts_out) in [(16, "00", false), (16, "01", true), (18, "01", true), (18, "10", false)] {
                    let expected = readable.then_some((opts_out, false));
                    assert_eq!(said(id, &header(parts, &core(24, offset, value))), expected, "{id} {parts} {offset}");
                }
            }
            // The id 0 as the reference encoder's Fibonacci code writes it, alone and beside 1.
            for parts in ["00000000000101", "0000000000011111"] {
                assert_eq!(said(id, &header(parts, &core(24, 16, "00"))), None, "{id} {parts}");
            }
            assert_eq!(said(id, &text_of(&format!("{id:06b}"))), None);
            assert_eq!(said(id, &format!("{}.YA", text_of(&core(24, 16, "00")))), Some((true, false)));
        }
        // Sensitive data that looks like a GPC: no consent to the first category, none known to the second.
        let sensitive = |bits| format!("{}.{}", text_of(&core(24, 16, "00")), text_of(bits));
        assert_eq!(said(26, &sensitive("0110000000000000")), Some((false, false)));
    }

    proptest! {
        #[test]
        fn any_text_is_read_without_a_panic(id in 7_u16..28, text in "[A-R][A-Za-z0-9_-]{0,20}(\\.[A-Za-z0-9_-]{0,4}){0,2}") {
            if let Some(section) = read(id, &text).unwrap() {
                let (core, layout) = section.core;
                prop_assert!(layout.iter().all(|field| field.field.int(&core).is_some()));
                section.opts_out();
                section.knows_child();
            }
        }
    }
}
