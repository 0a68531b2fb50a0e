//! Owns the form that the TC strings of Europe and of Canada share: a core that ends in two sets of vendors
//! and the publisher's restrictions, and behind it, in any order, segments that say their type.
//!
//! Source: IAB Europe, "Consent string and vendor list formats v2"; GPP, "IAB Canada TCF". Promises: any text
//! is read without a panic, without memory and in time that grows with its length; a segment given twice, or
//! cut off, makes the whole malformed. Never judges what the string says.

use super::bits::{Bits, Coding, Field, IdSet, layout};

/// A TC string that could be read. What it calls interests is implied consent in Canada.
#[derive(Debug, Clone, Copy)]
pub struct TcString<'a> {
    pub core: Bits<'a>,
    pub vendor_consents: IdSet,
    pub vendor_interests: IdSet,
    /// Vendors that were shown to the visitor; `None` where the string does not say.
    pub disclosed: Option<(Bits<'a>, IdSet)>,
    /// The publisher's own purposes, behind the segment's type: `PUBLISHER`, then the bits of the custom ones.
    pub publisher: Option<Bits<'a>>,
    /// Where the publisher's restrictions begin, and how their ranges are written.
    restrictions: usize,
    coding: Coding,
}

// Types of the segments behind the core: three bits each. 2 is retired (allowed vendors), 0 would be a core.
const TYPE_BITS: usize = 3;
const DISCLOSED_VENDORS: u64 = 1;
const PUBLISHER_TC: u64 = 3;

layout! {
    /// The publisher segment, behind its type; bits of custom consents and of custom interests follow.
    PUBLISHER:
    PUB_PURPOSES_CONSENT   "PubPurposesConsent"          0  1 24;
    PUB_PURPOSES_INTEREST  "PubPurposesLITransparency"  24  1 24;
    NUM_CUSTOM_PURPOSES    "NumCustomPurposes"          48  6  1;
}

impl<'a> TcString<'a> {
    /// Reads the segments; the core's vendors begin at `vendors`. `None` where anything is malformed.
    pub fn parse(text: &'a str, vendors: usize, coding: Coding) -> Option<Self> {
        let mut segments = text.split('.');
        let core = Bits::new(segments.next()?)?;
        let (vendor_consents, next) = IdSet::read(&core, vendors, coding)?;
        let (vendor_interests, restrictions) = IdSet::read(&core, next, coding)?;
        let mut tc = Self { core, vendor_consents, vendor_interests, disclosed: None, publisher: None, restrictions, coding };
        tc.each_restriction(|_, _, _| {})?;
        let mut seen = 1_u8;
        for segment in segments {
            let bits = Bits::new(segment)?;
            let kind = bits.int(0, TYPE_BITS)?;
            if seen & (1 << kind) != 0 {
                return None;
            }
            seen |= 1 << kind;
            match kind {
                DISCLOSED_VENDORS => tc.disclosed = Some((bits, IdSet::read(&bits, TYPE_BITS, coding)?.0)),
                PUBLISHER_TC => {
                    let publisher = bits.skip(TYPE_BITS)?;
                    tc.publisher = Some(publisher);
                    publisher.skip(tc.custom_purposes(1)?.end())?;
                }
                _ => {}
            }
        }
        Some(tc)
    }

    /// The bits of the publisher's custom consents (0) or custom interests (1), as many as it says it has.
    pub fn custom_purposes(&self, which: usize) -> Option<Field> {
        let count = usize::try_from(NUM_CUSTOM_PURPOSES.int(&self.publisher?)?).ok()?;
        let name = if which == 0 { "CustomPurposesConsent" } else { "CustomPurposesLITransparency" };
        Some(Field { name, offset: NUM_CUSTOM_PURPOSES.end() + which * count, length: 1, count })
    }

    /// Gives each restriction of the publisher's: the purpose, its type (0 not allowed, 1 require consent,
    /// 2 require legitimate interest, 3 undefined) and the vendors. `[count 12]`, then each
    /// `[purpose 6][type 2][vendors]`; `None` where malformed.
    pub fn each_restriction(&self, mut each: impl FnMut(u8, u8, IdSet)) -> Option<()> {
        let mut at = self.restrictions + 12;
        for _ in 0..self.core.int(self.restrictions, 12)? {
            let purpose = u8::try_from(self.core.int(at, 6)?).ok()?;
            let kind = u8::try_from(self.core.int(at + 6, 2)?).ok()?;
            // The TCF writes entries alone; the GPP's ranges say their highest id and their form first.
            let (vendors, next) = match self.coding {
                Coding::Fixed => IdSet::read_ranges(&self.core, at + 8, u16::MAX, Coding::Fixed)?,
                Coding::Fibonacci | Coding::Field => IdSet::read(&self.core, at + 8, self.coding)?,
            };
            each(purpose, kind, vendors);
            at = next;
        }
        Some(())
    }
}
