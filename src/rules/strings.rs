//! Owns what a hit's consent strings say together: TCF, GPP, US Privacy, Google's additional consent.
//!
//! Promises: a string that is malformed, given twice or left unreplaced grants nothing, and takes no denial,
//! opt-out or child away that another string tells of. Never judges: the ruling does.

use super::ruling::StringVerdict;
use super::{additional_consent, gpp, tcf, us_privacy};
use crate::hit::clock::Moment;
use crate::hit::draft::{ConsentStrings, Once};

/// What the strings say of measuring with the site's vendor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Said {
    pub tcf: StringVerdict,
    pub gpp: StringVerdict,
    /// Out of sale, sharing or targeted advertising.
    pub us_opts_out: bool,
    pub is_child: bool,
    /// The law asks for consent first, says the sender: `gdpr=1`, or `gpp_sid` with Europe's section. What
    /// cannot be read asks too; `gdpr=0` asks for nothing and loosens nothing.
    pub gdpr_applies: bool,
}

/// Reads a hit's strings for the site's TCF vendor (0 = on no list).
pub fn read(strings: &ConsentStrings<'_>, vendor: u16, now: Moment) -> Said {
    let gpp = match strings.gpp {
        Once::Absent => gpp::Said::NOTHING,
        Once::Given(text) => gpp::read(text, vendor, now),
        Once::Malformed => gpp::Said::UNREADABLE,
    };
    let tcf = match strings.gdpr_consent {
        Once::Absent => StringVerdict::Absent,
        Once::Given(text) => tcf::verdict(text, vendor, now),
        Once::Malformed => StringVerdict::Unreadable,
    };
    let us_privacy = reads(strings.us_privacy, |text| !us_privacy::opts_out(text));
    Said {
        tcf: beside(tcf, reads(strings.addtl_consent, |text| additional_consent::parse(text).is_some())),
        gpp: beside(gpp.verdict, reads(strings.gpp_sid, gpp::is_section_list)),
        us_opts_out: gpp.opts_out || !us_privacy,
        is_child: gpp.is_child,
        gdpr_applies: !matches!(strings.gdpr, Once::Absent | Once::Given(false)) || !reads(strings.gpp_sid, |list| !list.split(',').any(|id| id == "2")),
    }
}

/// Whether a string is absent, or as it `should` be.
fn reads(string: Once<&str>, should: impl Fn(&str) -> bool) -> bool {
    match string {
        Once::Absent => true,
        Once::Given(text) => should(text),
        Once::Malformed => false,
    }
}

/// A string's verdict beside another that belongs to it: a denial stands; what else it says is worth nothing
/// where the other cannot be read.
const fn beside(verdict: StringVerdict, other_is_readable: bool) -> StringVerdict {
    match verdict {
        StringVerdict::Denies => verdict,
        StringVerdict::Absent | StringVerdict::Grants | StringVerdict::Silent | StringVerdict::Unreadable if other_is_readable => verdict,
        StringVerdict::Absent | StringVerdict::Grants | StringVerdict::Silent | StringVerdict::Unreadable => StringVerdict::Unreadable,
    }
}

#[cfg(test)]
mod tests {
    use super::{Said, read};
    use crate::hit::clock::Moment;
    use crate::hit::draft::{ConsentStrings, Once};
    use crate::rules::ruling::StringVerdict;
    use proptest::prelude::*;

    /// Purposes 1 and 8, and vendor 123, of the reference encoder; five minutes later.
    const ACCEPT: &str = "CQhG6EAQhG6EAAfACBENB4FgAIPAAAAAAAYgA9wAgABAB7AAAAAA.IF5wAwABAB7AXmAA.YAAAAAAAAAAA";
    const REJECT: &str = "CQhG6EAQhG6EAAfACBENB4FgAAAAAAAAAAYgAAAAAAAA.IF5wAwABAB7AXmAA.YAAAAAAAAAAA";
    const NOW: Moment = Moment(1_774_742_700_000_000);

    fn said(strings: &ConsentStrings<'_>) -> Said {
        read(strings, 123, NOW)
    }

    fn with(tcf: &'static str) -> ConsentStrings<'static> {
        ConsentStrings { gdpr_consent: Once::Given(tcf), ..ConsentStrings::default() }
    }

    #[test]
    fn who_says_that_consent_is_asked_for_first() {
        for (gdpr, gpp_sid, applies) in [
            (Once::Absent, Once::Absent, false),
            (Once::Given(true), Once::Absent, true),
            (Once::Given(false), Once::Absent, false),
            (Once::Malformed, Once::Absent, true),
            (Once::Given(false), Once::Given("2"), true),
            (Once::Absent, Once::Given("7,2"), true),
            (Once::Absent, Once::Given("7,8"), false),
            (Once::Absent, Once::Given("22"), false),
            (Once::Absent, Once::Malformed, true),
        ] {
            let strings = ConsentStrings { gdpr, gpp_sid, ..ConsentStrings::default() };
            assert_eq!(said(&strings).gdpr_applies, applies, "{gdpr:?} {gpp_sid:?}");
        }
    }

    #[test]
    fn an_additional_string_changes_nothing_but_where_it_cannot_be_read() {
        assert_eq!(said(&with(ACCEPT)).tcf, StringVerdict::Grants);
        assert_eq!(said(&ConsentStrings::default()).tcf, StringVerdict::Absent);
        for (additional, is_readable) in [
            (Once::Given("1~1.35.41"), true),
            (Once::Given("2~1.35~dv.9.21"), true),
            (Once::Given("2~~dv."), true),
            (Once::Given("${ADDTL_CONSENT}"), false),
            (Once::Given("2~1.35"), false),
            (Once::Malformed, false),
        ] {
            for tcf in [ACCEPT, REJECT] {
                let alone = said(&with(tcf)).tcf;
                let expected = if is_readable || alone == StringVerdict::Denies { alone } else { StringVerdict::Unreadable };
                assert_eq!(said(&ConsentStrings { addtl_consent: additional, ..with(tcf) }).tcf, expected, "{additional:?}");
            }
        }
        let alone = ConsentStrings { addtl_consent: Once::Malformed, ..ConsentStrings::default() };
        assert_eq!(said(&alone).tcf, StringVerdict::Unreadable);
    }

    #[test]
    fn a_list_of_sections_takes_nothing_away() {
        // California: opted out of sale.
        let gpp = ConsentStrings { gpp: Once::Given("DBABBg~BAEAAAAA"), ..ConsentStrings::default() };
        for (list, expected) in [
            (Once::Absent, StringVerdict::Silent),
            (Once::Given("8"), StringVerdict::Silent),
            (Once::Given("2"), StringVerdict::Silent),
            (Once::Given("-1"), StringVerdict::Silent),
            (Once::Given("nonsense"), StringVerdict::Unreadable),
            (Once::Malformed, StringVerdict::Unreadable),
        ] {
            let found = said(&ConsentStrings { gpp_sid: list, ..gpp });
            assert_eq!((found.gpp, found.us_opts_out), (expected, true), "{list:?}");
        }
    }

    fn any_string() -> impl Strategy<Value = Once<&'static str>> {
        const TEXTS: &[&str] = &[
            ACCEPT, REJECT, "", "C", "DBAA", "DBABMA", "1YNN", "1YYN", "1---", "1Y", "1~1.35", "2~1~dv.2", "2~1", "7", "7,8,9", "${X}",
            "DBABBg~BAEAAAAA", "DBABLA~BAAAAAAAAIAA.QA", "DBABMA~CQhG6EAQhG6EAAfACBENB4FgAIPAAAAAAAYgA9wAgABAB7AAAAAA.IF5wAwABAB7AXmAA.YAAAAAAAAAAA",
        ];
        prop_oneof![1 => Just(Once::Absent), 1 => Just(Once::Malformed), 6 => proptest::sample::select(TEXTS).prop_map(Once::Given)]
    }

    fn is_grant(said: Said) -> bool {
        said.tcf == StringVerdict::Grants || said.gpp == StringVerdict::Grants
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]

        #[test]
        fn one_more_string_or_a_malformed_one_never_grants_or_frees(
            gdpr_consent in any_string(), gpp in any_string(), gpp_sid in any_string(), us_privacy in any_string(), addtl_consent in any_string(), which in 0..5,
        ) {
            let strings = ConsentStrings { gdpr: Once::Absent, gdpr_consent, gpp, gpp_sid, us_privacy, addtl_consent };
            let mut broken = strings;
            let slot = match which {
                0 => &mut broken.gdpr_consent,
                1 => &mut broken.gpp,
                2 => &mut broken.gpp_sid,
                3 => &mut broken.us_privacy,
                _ => &mut broken.addtl_consent,
            };
            *slot = Once::Malformed;
            let (before, after) = (said(&strings), said(&broken));
            prop_assert!(is_grant(before) || !is_grant(after));
            // Whatever a string said by itself, its list and the additional string do not take away.
            if which == 2 || which == 4 {
                prop_assert_eq!((before.us_opts_out, before.is_child), (after.us_opts_out, after.is_child));
                prop_assert!(before.tcf != StringVerdict::Denies || after.tcf == StringVerdict::Denies);
                prop_assert!(before.gpp != StringVerdict::Denies || after.gpp == StringVerdict::Denies);
            }
            // The strings that only stand beside others grant nothing by being there.
            let bare = ConsentStrings { gpp_sid: Once::Absent, us_privacy: Once::Absent, addtl_consent: Once::Absent, ..strings };
            prop_assert!(is_grant(said(&bare)) || !is_grant(before));
            // Only what is well-formed grants.
            prop_assert!(!(before.tcf == StringVerdict::Grants && (gdpr_consent != Once::Given(ACCEPT) || addtl_consent.is_malformed())));
        }
    }
}
