//! Owns the table of places: what the law of a country asks before an interaction may be kept.
//!
//! Promises: an unknown place is the strictest place. Never loosens: a site's contract acts in
//! `rules::ruling`, and only where the law leaves it a choice. Not legal advice.

use crate::hit::field::{Country, Regime};

/// What the law of a place asks, the strictest last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum Law {
    /// Keep unless refused, with notice.
    OptOut,
    /// As `OptIn`, but statistics about one's own service need only notice and an opt-out
    /// (PECR Schedule A1, since 5 February 2026): a site may say so.
    OptInButStatistics,
    /// Keep only with consent.
    #[default]
    OptIn,
}

/// What the law of `country` asks; `None` is an unknown place.
pub fn law_of(country: Option<Country>) -> Law {
    let Some(country) = country else {
        return Law::OptIn;
    };
    let code = country.code();
    if code == "GB" {
        Law::OptInButStatistics
    } else if OPT_IN.iter().any(|(codes, _)| codes.split(' ').any(|listed| listed == code)) {
        Law::OptIn
    } else {
        Law::OptOut
    }
}

impl Law {
    /// The regime, where the site's contract takes the statistics exception or not.
    pub const fn regime(self, statistics_exception: bool) -> Regime {
        match (self, statistics_exception) {
            (Self::OptOut, _) | (Self::OptInButStatistics, true) => Regime::OptOut,
            (Self::OptIn, _) | (Self::OptInButStatistics, false) => Regime::OptIn,
        }
    }
}

/// Places that ask for consent first, and on which ground.
pub const OPT_IN: &[(&str, &str)] = &[
    ("AT BE BG HR CY CZ DK EE FI FR DE GR HU IE IT LV LT LU MT NL PL PT RO SK SI ES SE", "EU: ePrivacy 5(3), GDPR"),
    ("IS LI NO", "EEA Agreement"),
    ("AX GP MQ GF RE YT MF", "EU territories with codes of their own"),
    ("BL PM WF PF NC TF", "French Data Protection Act, Art. 82"),
    ("GI GG JE IM", "UK Crown dependencies and Gibraltar: laws like the GDPR"),
    ("CH", "Art. 45c TCA and FADP: careful default"),
    ("CA BR IN KR TR ZA", "mixed laws: careful default"),
    // What databases use for "somewhere": anonymous proxies, satellites, continents.
    ("XX T1 A1 A2 EU AP O1", "unknown place: strictest"),
];

#[cfg(test)]
mod tests {
    use super::{Law, law_of};
    use crate::hit::field::Country;

    #[test]
    fn places() {
        for (code, law) in [
            ("FR", Law::OptIn), ("NO", Law::OptIn), ("RE", Law::OptIn), ("PF", Law::OptIn), ("JE", Law::OptIn),
            ("CH", Law::OptIn), ("BR", Law::OptIn), ("A1", Law::OptIn), ("XX", Law::OptIn),
            ("GB", Law::OptInButStatistics), ("US", Law::OptOut), ("JP", Law::OptOut), ("AU", Law::OptOut),
        ] {
            assert_eq!(law_of(Country::parse(code)), law, "{code}");
        }
        assert_eq!(law_of(None), Law::OptIn);
    }
}
