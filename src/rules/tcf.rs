//! Owns the TC string: IAB Europe's Transparency and Consent Framework v2 (2.2 and 2.3).
//!
//! Source: "Consent string and vendor list formats v2", the core segment and its siblings. Promises: any
//! text is read without a panic and without memory; a string that is malformed, not service-specific, of
//! a retired policy, too old, or made after 28 February 2026 without disclosed vendors grants nothing. Never
//! keeps or changes the string; never lets the publisher's own segment rule.

use super::bits::{Bits, Coding, Field, layout};
use super::ruling::StringVerdict;
use super::tcf_string::TcString;
use crate::hit::clock::Moment;

/// What the string says of measuring with `vendor` (0 = on no list: it can deny, never grant).
pub fn verdict(text: &str, vendor: u16, now: Moment) -> StringVerdict {
    let Some(tc) = parse(text) else { return StringVerdict::Unreadable };
    if !is_valid(&tc, now) {
        return StringVerdict::Unreadable;
    }
    // Purpose 1 that was never asked (PurposeOneTreatment) is not given.
    let was_asked = PURPOSE_ONE_TREATMENT.int(&tc.core) == Some(0);
    if !was_asked || !ASKED.into_iter().all(|purpose| PURPOSES_CONSENT.has(&tc.core, purpose)) {
        return StringVerdict::Denies;
    }
    if vendor == 0 {
        return StringVerdict::Silent;
    }
    let is_disclosed = tc.disclosed.is_none_or(|(bits, vendors)| vendors.contains(&bits, vendor));
    let is_consented = tc.vendor_consents.contains(&tc.core, vendor);
    if is_disclosed && is_consented && !is_restricted(&tc, vendor) { StringVerdict::Grants } else { StringVerdict::Denies }
}

/// Reads a TC string of version 2; `None` where it is malformed or of another version.
pub fn parse(text: &str) -> Option<TcString<'_>> {
    let tc = TcString::parse(text, VENDORS, Coding::Fixed)?;
    (VERSION.int(&tc.core)? == 2).then_some(tc)
}

/// Purpose 1, "Store and/or access information on a device": the id cookie.
pub const STORE_AND_ACCESS: u8 = 1;
/// Purpose 8, "Measure content performance": the row.
pub const MEASURE_CONTENT: u8 = 8;
const ASKED: [u8; 2] = [STORE_AND_ACCESS, MEASURE_CONTENT];

/// The only restriction that leaves this collector what it asks for: it measures by consent alone.
const REQUIRE_CONSENT: u8 = 1;

layout! {
    /// The core segment, as far as its fields stand in fixed places: vendors and restrictions follow.
    CORE:
    VERSION                 "Version"                  0   6  1;
    CREATED                 "Created"                  6  36  1;
    LAST_UPDATED            "LastUpdated"             42  36  1;
    CMP_ID                  "CmpId"                   78  12  1;
    CMP_VERSION             "CmpVersion"              90  12  1;
    CONSENT_SCREEN          "ConsentScreen"          102   6  1;
    CONSENT_LANGUAGE        "ConsentLanguage"        108   6  2;
    VENDOR_LIST_VERSION     "VendorListVersion"      120  12  1;
    TCF_POLICY_VERSION      "TcfPolicyVersion"       132   6  1;
    IS_SERVICE_SPECIFIC     "IsServiceSpecific"      138   1  1;
    USE_NON_STANDARD_TEXTS  "UseNonStandardTexts"    139   1  1;
    SPECIAL_FEATURE_OPT_INS "SpecialFeatureOptIns"   140   1 12;
    PURPOSES_CONSENT        "PurposesConsent"        152   1 24;
    PURPOSES_INTEREST       "PurposesLITransparency" 176   1 24;
    PURPOSE_ONE_TREATMENT   "PurposeOneTreatment"    200   1  1;
    PUBLISHER_CC            "PublisherCC"            201   6  2;
}
const VENDORS: usize = PUBLISHER_CC.end();

/// TCF 2.2 began with policy 4: older strings are invalid since 30 September 2023.
const POLICY_MIN: u64 = 4;
/// 28 February 2026: since then a string must say which vendors were disclosed (TCF 2.3).
const DISCLOSURE_SINCE: Moment = Moment(1_772_236_800_000_000);
/// A question is asked again after 13 months.
const AGE_MAX_SECONDS: i64 = 13 * 31 * 86_400;
/// Clocks differ: a day.
const AHEAD_MAX_SECONDS: i64 = 86_400;

/// Whether the string may be believed at `now`.
fn is_valid(tc: &TcString<'_>, now: Moment) -> bool {
    // Both are the same day since policy 3; where they differ, each must be right.
    let (Some(created), Some(updated)) = (moment(CREATED, &tc.core), moment(LAST_UPDATED, &tc.core)) else { return false };
    let is_young = |made: Moment| (-AHEAD_MAX_SECONDS..AGE_MAX_SECONDS).contains(&(now.since(made) / 1_000_000));
    IS_SERVICE_SPECIFIC.int(&tc.core) == Some(1)
        && TCF_POLICY_VERSION.int(&tc.core).is_some_and(|version| version >= POLICY_MIN)
        && is_young(created)
        && is_young(updated)
        && (created.max(updated) < DISCLOSURE_SINCE || tc.disclosed.is_some())
}

/// A field of deciseconds since the epoch.
fn moment(field: Field, core: &Bits<'_>) -> Option<Moment> {
    field.int(core).and_then(|deciseconds| i64::try_from(deciseconds).ok()).map(|deciseconds| Moment(deciseconds * 100_000))
}

/// Whether the publisher keeps the vendor from a purpose that is asked for. Where restrictions contradict each
/// other, the strictest holds.
fn is_restricted(tc: &TcString<'_>, vendor: u16) -> bool {
    let mut found = false;
    let whole = tc.each_restriction(|purpose, kind, vendors| {
        found |= kind != REQUIRE_CONSENT && ASKED.contains(&purpose) && vendors.contains(&tc.core, vendor);
    });
    found || whole.is_none()
}

#[cfg(test)]
mod tests {
    use super::{CREATED, MEASURE_CONTENT, PURPOSES_CONSENT, PURPOSES_INTEREST, STORE_AND_ACCESS, TCF_POLICY_VERSION, VENDORS, moment, parse, verdict};
    use crate::hit::clock::Moment;
    use crate::rules::bits::text_of;
    use crate::rules::ruling::StringVerdict;
    use proptest::prelude::*;

    /// Made with the reference encoder, `@iabtechlabtcf/core` 1.5.21 (TCF 2.3, policy 5).
    const VECTORS: &str = include_str!("../../tests/data/consent/vectors_tcf.jsonl");
    const REJECT_ALL: &str = "CQhG6EAQhG6EAAfACBENB4FgAAAAAAAAAAYgAAAAAAAA.IF5wAwABAB7AXmAA.YAAAAAAAAAAA";
    const ACCEPT: &str = "CQhG6EAQhG6EAAfACBENB4FgAIPAAAAAAAYgA9wAgABAB7AAAAAA.IF5wAwABAB7AXmAA.YAAAAAAAAAAA";
    const RESTRICTED: &str = "CQhG6EAQhG6EAAfACBENB4FgAIMAAAAAAAYgA9wAQA9gAAABIAAQA9gA.IA9wAQA9gAAA.YAAAAAAAAAAA";

    fn now() -> Moment {
        moment(CREATED, &parse(ACCEPT).unwrap().core).unwrap().plus_seconds(86_400)
    }

    fn vectors() -> Vec<serde_json::Value> {
        VECTORS.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    #[test]
    fn every_field_of_every_vector() {
        for vector in vectors() {
            let name = &vector["name"];
            let list = |key: &str| -> Vec<u16> { vector[key].as_array().unwrap().iter().map(|id| id.as_u64().unwrap() as u16).collect() };
            let tc = parse(vector["tc"].as_str().unwrap()).unwrap();
            let purposes = |of: &dyn Fn(u8) -> bool| (1..=24).filter(|id| of(*id)).map(u16::from).collect::<Vec<_>>();
            let vendors = |of: &dyn Fn(u16) -> bool| (1..=2_000).filter(|id| of(*id)).collect::<Vec<_>>();
            assert_eq!(purposes(&|id| PURPOSES_CONSENT.has(&tc.core, id)), list("p"), "{name}");
            assert_eq!(purposes(&|id| PURPOSES_INTEREST.has(&tc.core, id)), list("li"), "{name}");
            assert_eq!(vendors(&|id| tc.vendor_consents.contains(&tc.core, id)), list("vc"), "{name}");
            assert_eq!(vendors(&|id| tc.vendor_interests.contains(&tc.core, id)), list("vl"), "{name}");
            assert_eq!(vendors(&|id| tc.disclosed.is_some_and(|(bits, set)| set.contains(&bits, id))), list("disc"), "{name}");
            assert_eq!(TCF_POLICY_VERSION.int(&tc.core), vector["policy"].as_u64(), "{name}");
            let mut restrictions = Vec::new();
            tc.each_restriction(|purpose, kind, set| restrictions.push(serde_json::json!([purpose, kind, vendors(&|id| set.contains(&tc.core, id))]))).unwrap();
            assert_eq!(serde_json::Value::from(restrictions), vector["pr"], "{name}");
        }
    }

    #[test]
    fn verdicts() {
        for (text, vendor, expected) in [
            (REJECT_ALL, 123, StringVerdict::Denies),
            (REJECT_ALL, 0, StringVerdict::Denies),
            (ACCEPT, 123, StringVerdict::Grants),
            (ACCEPT, 2, StringVerdict::Grants),
            (ACCEPT, 755, StringVerdict::Denies),
            (ACCEPT, 9, StringVerdict::Denies),
            (ACCEPT, 0, StringVerdict::Silent),
            (RESTRICTED, 123, StringVerdict::Denies),
            ("", 123, StringVerdict::Unreadable),
            ("${GDPR_CONSENT_123}", 123, StringVerdict::Unreadable),
            (ACCEPT.split('.').next().unwrap(), 123, StringVerdict::Unreadable),
        ] {
            assert_eq!(verdict(text, vendor, now()), expected, "{text} {vendor}");
        }
        assert_eq!(verdict(ACCEPT, 123, now().plus_seconds(500 * 86_400)), StringVerdict::Unreadable);
        assert_eq!(verdict(ACCEPT, 123, now().plus_seconds(-30 * 86_400)), StringVerdict::Unreadable);
        let segments: Vec<&str> = ACCEPT.split('.').collect();
        let [core, disclosed, publisher] = segments[..] else { panic!() };
        for (text, expected) in [
            (format!("{core}.{publisher}.{disclosed}"), StringVerdict::Grants),
            (format!("{core}.{disclosed}"), StringVerdict::Grants),
            (format!("{core}.{publisher}"), StringVerdict::Unreadable),
            (format!("{core}.{disclosed}.{disclosed}"), StringVerdict::Unreadable),
            (format!("{core}.{disclosed}.{publisher}.{publisher}"), StringVerdict::Unreadable),
            (format!("{core}.{disclosed}.{core}"), StringVerdict::Unreadable),
            (format!("{core}.{disclosed}."), StringVerdict::Unreadable),
            (format!("{core}.{disclosed}.YAAA"), StringVerdict::Unreadable),
        ] {
            assert_eq!(verdict(&text, 123, now()), expected, "{text}");
        }
    }

    /// The accepting string with some of its core's bits set otherwise.
    fn accept_with(offset: usize, bits: &str) -> String {
        let mut core = accept_bits();
        core.replace_range(offset..offset + bits.len(), bits);
        format!("{}.{}", text_of(&core), ACCEPT.split_once('.').unwrap().1)
    }

    #[test]
    fn what_makes_a_string_worth_nothing() {
        for (name, offset, bits, expected) in [
            ("as it is", 0, "", StringVerdict::Grants),
            ("version 1", 0, "000001", StringVerdict::Unreadable),
            ("version 3", 0, "000011", StringVerdict::Unreadable),
            ("created long ago", 7, "0", StringVerdict::Unreadable),
            ("updated long ago", 43, "0", StringVerdict::Unreadable),
            ("created in the future", 6, "1", StringVerdict::Unreadable),
            ("policy 3", 132, "000011", StringVerdict::Unreadable),
            ("policy 4", 132, "000100", StringVerdict::Grants),
            ("global", 138, "0", StringVerdict::Unreadable),
            ("purpose 1 was not asked", 200, "1", StringVerdict::Denies),
            ("no purpose 1", 152, "0", StringVerdict::Denies),
            ("no purpose 8", 159, "0", StringVerdict::Denies),
            ("no purpose 2", 153, "0", StringVerdict::Grants),
            ("every interest", 176, "111111111111111111111111", StringVerdict::Grants),
            ("vendors past the highest", VENDORS, "0000000000000000", StringVerdict::Unreadable),
        ] {
            assert_eq!(verdict(&accept_with(offset, bits), 123, now()), expected, "{name}");
        }
    }

    #[test]
    fn restrictions_and_their_contradictions() {
        // A core with consent to all purposes and to vendor 9, and the restrictions given of vendors 5 to 12.
        let verdict_with = |restrictions: &[(u8, u8)]| {
            let mut bits: String = accept_bits()[..152].to_owned();
            bits += &"1".repeat(24);
            bits += &"0".repeat(37);
            bits += &format!("{:016b}0000000001{:016b}0", 9, 0);
            bits += &format!("{:012b}", restrictions.len());
            for (purpose, kind) in restrictions {
                bits += &format!("{purpose:06b}{kind:02b}{:012b}1{:016b}{:016b}", 1, 5, 12);
            }
            let disclosed = format!("001{:016b}0{}", 9, "1".repeat(9));
            verdict(&format!("{}.{}", text_of(&bits), text_of(&disclosed)), 9, now())
        };
        for (restrictions, expected) in [
            (&[][..], StringVerdict::Grants),
            (&[(2, 0), (7, 2)], StringVerdict::Grants),
            (&[(STORE_AND_ACCESS, 1), (MEASURE_CONTENT, 1)], StringVerdict::Grants),
            (&[(STORE_AND_ACCESS, 0)], StringVerdict::Denies),
            (&[(MEASURE_CONTENT, 0)], StringVerdict::Denies),
            (&[(MEASURE_CONTENT, 2)], StringVerdict::Denies),
            (&[(MEASURE_CONTENT, 3)], StringVerdict::Denies),
            (&[(MEASURE_CONTENT, 1), (MEASURE_CONTENT, 2)], StringVerdict::Denies),
        ] {
            assert_eq!(verdict_with(restrictions), expected, "{restrictions:?}");
        }
    }

    fn accept_bits() -> String {
        let core = parse(ACCEPT).unwrap().core;
        (0..core.length()).map(|at| if core.flag(at).unwrap() { '1' } else { '0' }).collect()
    }

    #[test]
    fn every_prefix_and_every_flipped_bit_is_read_without_a_panic() {
        for vector in vectors() {
            let text = vector["tc"].as_str().unwrap();
            for end in 0..text.len() {
                verdict(&text[..end], 123, now());
            }
            const ALPHABET: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
            for at in 0..text.len() {
                let Some(six) = ALPHABET.iter().position(|byte| *byte == text.as_bytes()[at]) else { continue };
                for bit in 0..6 {
                    let mut flipped = text.as_bytes().to_vec();
                    flipped[at] = ALPHABET[six ^ (1 << bit)];
                    verdict(std::str::from_utf8(&flipped).unwrap(), 123, now());
                }
            }
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read_without_a_panic(text in "C[A-Za-z0-9_.-]{0,300}") {
            verdict(&text, 123, now());
        }
    }
}
