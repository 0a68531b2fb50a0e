//! Owns the TC string of Canada: section 5 of the GPP, "IAB Canada TCF" version 1.
//!
//! Promises as the European string's. Its vendors' ranges are the GPP's, Fibonacci-coded; reference encoders
//! before 3.2 wrote the TCF's: both are read. Never grants: this collector is on no Canadian list.

use super::bits::{Bits, Coding, Field, layout};
use super::tcf_string::TcString;

/// Whether the visitor consented to `purpose`, expressly or impliedly; `None` where the string is malformed.
pub fn allows(text: &str, purpose: u8) -> Option<bool> {
    let tc = parse(text)?;
    Some(PURPOSES_EXPRESS.has(&tc.core, purpose) || PURPOSES_IMPLIED.has(&tc.core, purpose))
}

/// Reads a string of version 1.
pub fn parse(text: &str) -> Option<TcString<'_>> {
    let core = Bits::new(text.split('.').next()?)?;
    if VERSION.int(&core)? != 1 {
        return None;
    }
    TcString::parse(text, VENDORS, Coding::Fibonacci).or_else(|| TcString::parse(text, VENDORS, Coding::Fixed))
}

layout! {
    /// The core segment, as far as its fields stand in fixed places.
    CORE:
    VERSION                  "Version"                        0   6  1;
    CREATED                  "Created"                        6  36  1;
    LAST_UPDATED             "LastUpdated"                   42  36  1;
    CMP_ID                   "CmpId"                         78  12  1;
    CMP_VERSION              "CmpVersion"                    90  12  1;
    CONSENT_SCREEN           "ConsentScreen"                102   6  1;
    CONSENT_LANGUAGE         "ConsentLanguage"              108   6  2;
    VENDOR_LIST_VERSION      "VendorListVersion"            120  12  1;
    TCF_POLICY_VERSION       "TcfPolicyVersion"             132   6  1;
    USE_NON_STANDARD_STACKS  "UseNonStandardStacks"         138   1  1;
    SPECIAL_FEATURES_EXPRESS "SpecialFeatureExpressConsent" 139   1 12;
    PURPOSES_EXPRESS         "PurposesExpressConsent"       151   1 24;
    PURPOSES_IMPLIED         "PurposesImpliedConsent"       175   1 24;
}
const VENDORS: usize = PURPOSES_IMPLIED.end();

#[cfg(test)]
mod tests {
    use super::{VENDORS, allows, parse};
    use crate::rules::bits::text_of;
    use crate::rules::tcf::MEASURE_CONTENT;
    use proptest::prelude::*;

    /// A string whose core has consent to the purposes given, and `vendors` behind its fixed fields.
    fn text(purpose_bits: &[usize], vendors: &str) -> String {
        let mut bits = format!("000001{}{}", "0".repeat(VENDORS - 6), vendors);
        for bit in purpose_bits {
            bits.replace_range(bit..&(bit + 1), "1");
        }
        text_of(&bits)
    }

    #[test]
    fn express_or_implied_consent_and_both_ways_to_write_vendors() {
        let none = format!("{0}0 {0}0 {1}", "0".repeat(16), "0".repeat(12));
        // Vendor 300 alone as the TCF writes it, vendor 2 as the GPP does.
        let fixed = format!("{:016b} 1 000000000001 0 {:016b} {}0 {}", 300, 300, "0".repeat(16), "0".repeat(12));
        let fibonacci = format!("{:016b} 1 000000000001 0 011 {}0 {}", 2, "0".repeat(16), "0".repeat(12));
        for (vendors, holds) in [(&none, None), (&fixed, Some(300)), (&fibonacci, Some(2))] {
            for (bits, allowed) in [(&[][..], false), (&[158][..], true), (&[182], true), (&[157, 159, 181, 183], false)] {
                assert_eq!(allows(&text(bits, vendors), MEASURE_CONTENT), Some(allowed), "{vendors} {bits:?}");
            }
            let text = text(&[], vendors);
            let tc = parse(&text).unwrap();
            for id in 0..400 {
                assert_eq!(tc.vendor_consents.contains(&tc.core, id), Some(id) == holds, "{vendors} {id}");
            }
        }
        assert_eq!(allows(&text(&[4], &none), MEASURE_CONTENT), None, "version 3");
        assert_eq!(allows(&text(&[], "1"), MEASURE_CONTENT), None, "cut off");
    }

    proptest! {
        #[test]
        fn any_text_is_read_without_a_panic(text in "B[A-Za-z0-9_-]{30,80}(\\.[A-Za-z0-9_-]{0,40}){0,3}") {
            allows(&text, MEASURE_CONTENT);
        }
    }
}
