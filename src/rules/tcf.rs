//! Owns the TC string: IAB Europe's Transparency and Consent Framework v2 (2.2 and 2.3).
//!
//! Source: "Consent string and vendor list formats v2", the core segment and its siblings. Promises: any
//! text is read without a panic and without memory; a string that is malformed, not service-specific, of
//! a retired policy, or made after 28 February 2026 without disclosed vendors grants nothing. Never keeps
//! or changes the string.

use super::bits::{Bits, IdSet};
use super::ruling::StringVerdict;
use crate::hit::clock::Moment;

/// A TC string that could be read.
#[derive(Debug, Clone, Copy)]
pub struct TcString<'a> {
    core: Bits<'a>,
    disclosed: Option<(Bits<'a>, IdSet)>,
    vendor_consents: IdSet,
    vendor_interests: IdSet,
    /// Where the publisher's restrictions begin.
    restrictions: usize,
}

/// What the string says of measuring with `vendor` (0 = on no list: it can deny, never grant).
pub fn verdict(text: &str, vendor: u16, now: Moment) -> StringVerdict {
    let Some(tc) = TcString::parse(text) else { return StringVerdict::Unreadable };
    if !tc.is_valid(now) {
        return StringVerdict::Unreadable;
    }
    let asked = [STORE_AND_ACCESS, MEASURE_CONTENT];
    if !asked.into_iter().all(|purpose| tc.purpose_consent(purpose)) {
        return StringVerdict::Denies;
    }
    if vendor == 0 {
        return StringVerdict::Silent;
    }
    let is_forbidden = asked.into_iter().any(|purpose| matches!(tc.restriction(purpose, vendor), Some(NOT_ALLOWED | REQUIRE_INTEREST | 3)));
    let is_disclosed = tc.discloses(vendor) != Some(false);
    if !is_forbidden && is_disclosed && tc.vendor_consent(vendor) { StringVerdict::Grants } else { StringVerdict::Denies }
}

/// Purpose 1, "Store and/or access information on a device": the id cookie.
pub const STORE_AND_ACCESS: u8 = 1;
/// Purpose 8, "Measure content performance": the row.
pub const MEASURE_CONTENT: u8 = 8;

const NOT_ALLOWED: u8 = 0;
/// The publisher asks for legitimate interest: this collector measures by consent alone.
const REQUIRE_INTEREST: u8 = 2;

// Bit offsets of the core segment: field, offset, length.
const VERSION: (usize, usize) = (0, 6);
const CREATED: (usize, usize) = (6, 36);
const POLICY_VERSION: (usize, usize) = (132, 6);
const IS_SERVICE_SPECIFIC: usize = 138;
const PURPOSES_CONSENT: usize = 152;
const PURPOSES_INTEREST: usize = 176;
const PURPOSE_ONE_TREATMENT: usize = 200;
const VENDOR_CONSENTS: usize = 213;

/// Segment types of three bits, of the segments behind the core.
const DISCLOSED_VENDORS: u64 = 1;

/// TCF 2.2 began with policy 4: older strings are invalid since 30 September 2023.
const POLICY_MIN: u64 = 4;
/// 28 February 2026: since then a string must say which vendors were disclosed (TCF 2.3).
const DISCLOSURE_SINCE: Moment = Moment(1_772_236_800_000_000);
/// A question is asked again after 13 months.
const AGE_MAX_SECONDS: i64 = 13 * 31 * 86_400;

impl<'a> TcString<'a> {
    /// Reads the segments; `None` where anything in them is malformed.
    pub fn parse(text: &'a str) -> Option<Self> {
        let mut segments = text.split('.');
        let core = Bits::new(segments.next()?)?;
        if core.int(VERSION.0, VERSION.1)? != 2 {
            return None;
        }
        let (vendor_consents, next) = IdSet::read(&core, VENDOR_CONSENTS)?;
        let (vendor_interests, restrictions) = IdSet::read(&core, next)?;
        let mut tc = Self { core, disclosed: None, vendor_consents, vendor_interests, restrictions };
        tc.walk_restrictions(|_, _, _| {})?;
        for segment in segments {
            let bits = Bits::new(segment)?;
            if bits.int(0, 3)? == DISCLOSED_VENDORS {
                let (set, _) = IdSet::read(&bits, 3)?;
                tc.disclosed = Some((bits, set));
            }
        }
        Some(tc)
    }

    /// Whether the string may be believed at `now`.
    pub fn is_valid(&self, now: Moment) -> bool {
        let Some(created) = self.created() else { return false };
        let is_young = (-86_400..AGE_MAX_SECONDS).contains(&(now.since(created) / 1_000_000));
        self.core.flag(IS_SERVICE_SPECIFIC) == Some(true)
            && self.policy_version().is_some_and(|version| version >= POLICY_MIN)
            && is_young
            && (created < DISCLOSURE_SINCE || self.disclosed.is_some())
    }

    /// When it was made, to the day (deciseconds since the epoch in the string).
    pub fn created(&self) -> Option<Moment> {
        let deciseconds = self.core.int(CREATED.0, CREATED.1)?;
        i64::try_from(deciseconds).ok().map(|deciseconds| Moment(deciseconds * 100_000))
    }

    pub fn policy_version(&self) -> Option<u64> {
        self.core.int(POLICY_VERSION.0, POLICY_VERSION.1)
    }

    /// Consent to a purpose, 1 to 24. Purpose 1 that was never asked (PurposeOneTreatment) is not given.
    pub fn purpose_consent(&self, purpose: u8) -> bool {
        let was_asked = purpose != STORE_AND_ACCESS || self.core.flag(PURPOSE_ONE_TREATMENT) == Some(false);
        was_asked && self.purpose(PURPOSES_CONSENT, purpose)
    }

    pub fn purpose_interest(&self, purpose: u8) -> bool {
        self.purpose(PURPOSES_INTEREST, purpose)
    }

    pub fn vendor_consent(&self, vendor: u16) -> bool {
        self.vendor_consents.contains(&self.core, vendor)
    }

    pub fn vendor_interest(&self, vendor: u16) -> bool {
        self.vendor_interests.contains(&self.core, vendor)
    }

    /// Whether the vendor was shown to the visitor; `None` where the string does not say.
    pub fn discloses(&self, vendor: u16) -> Option<bool> {
        self.disclosed.map(|(bits, set)| set.contains(&bits, vendor))
    }

    /// The publisher's restriction of `vendor` for `purpose`: 0 not allowed, 1 require consent, 2 require
    /// legitimate interest, 3 undefined. The strictest, where there are several.
    pub fn restriction(&self, purpose: u8, vendor: u16) -> Option<u8> {
        let mut found = None;
        self.walk_restrictions(|at, kind, set| {
            if at == purpose && set.contains(&self.core, vendor) {
                found = Some(found.map_or(kind, |before: u8| before.min(kind)));
            }
        })?;
        found
    }

    fn purpose(&self, offset: usize, purpose: u8) -> bool {
        (1..=24).contains(&purpose) && self.core.flag(offset + usize::from(purpose) - 1) == Some(true)
    }

    /// `[count 12]`, then each `[purpose 6][type 2][entries]`; `None` where malformed.
    fn walk_restrictions(&self, mut each: impl FnMut(u8, u8, IdSet)) -> Option<()> {
        let count = self.core.int(self.restrictions, 12)?;
        let mut at = self.restrictions + 12;
        for _ in 0..count {
            let purpose = u8::try_from(self.core.int(at, 6)?).ok()?;
            let kind = u8::try_from(self.core.int(at + 6, 2)?).ok()?;
            let (set, next) = IdSet::read_ranges(&self.core, at + 8, u16::MAX)?;
            each(purpose, kind, set);
            at = next;
        }
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::{TcString, verdict};
    use crate::hit::clock::Moment;
    use crate::rules::ruling::StringVerdict;
    use proptest::prelude::*;

    /// Made with the reference encoder, `@iabtechlabtcf/core` 1.5.21 (TCF 2.3, policy 5).
    const VECTORS: &str = include_str!("../../tests/data/consent/vectors_tcf.jsonl");
    const REJECT_ALL: &str = "CQhG6EAQhG6EAAfACBENB4FgAAAAAAAAAAYgAAAAAAAA.IF5wAwABAB7AXmAA.YAAAAAAAAAAA";
    const ACCEPT: &str = "CQhG6EAQhG6EAAfACBENB4FgAIPAAAAAAAYgA9wAgABAB7AAAAAA.IF5wAwABAB7AXmAA.YAAAAAAAAAAA";
    const RESTRICTED: &str = "CQhG6EAQhG6EAAfACBENB4FgAIMAAAAAAAYgA9wAQA9gAAABIAAQA9gA.IA9wAQA9gAAA.YAAAAAAAAAAA";

    fn now() -> Moment {
        TcString::parse(ACCEPT).unwrap().created().unwrap().plus_seconds(86_400)
    }

    fn vectors() -> Vec<serde_json::Value> {
        VECTORS.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    #[test]
    fn every_field_of_every_vector() {
        for vector in vectors() {
            let name = &vector["name"];
            let list = |key: &str| -> Vec<u16> { vector[key].as_array().unwrap().iter().map(|id| id.as_u64().unwrap() as u16).collect() };
            let tc = TcString::parse(vector["tc"].as_str().unwrap()).unwrap();
            let purposes = |of: &dyn Fn(u8) -> bool| (1..=24).filter(|id| of(*id)).map(u16::from).collect::<Vec<_>>();
            let vendors = |of: &dyn Fn(u16) -> bool| (1..=2_000).filter(|id| of(*id)).collect::<Vec<_>>();
            assert_eq!(purposes(&|id| tc.purpose_consent(id)), list("p"), "{name}");
            assert_eq!(purposes(&|id| tc.purpose_interest(id)), list("li"), "{name}");
            assert_eq!(vendors(&|id| tc.vendor_consent(id)), list("vc"), "{name}");
            assert_eq!(vendors(&|id| tc.vendor_interest(id)), list("vl"), "{name}");
            assert_eq!(vendors(&|id| tc.discloses(id) == Some(true)), list("disc"), "{name}");
            assert_eq!(tc.policy_version(), vector["policy"].as_u64(), "{name}");
            for restriction in vector["pr"].as_array().unwrap() {
                let (purpose, kind) = (restriction[0].as_u64().unwrap() as u8, restriction[1].as_u64().unwrap() as u8);
                let ids: Vec<u16> = restriction[2].as_array().unwrap().iter().map(|id| id.as_u64().unwrap() as u16).collect();
                assert_eq!(vendors(&|id| tc.restriction(purpose, id) == Some(kind)), ids, "{name}");
            }
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
